//! Twins of CPython's own tests of asyncio: the same names, in modules that are named after the Python classes, and what each
//! asserts, said in Rust.

#[path = "../common/mod.rs"]
mod common;

mod cancellation;
mod task_group;
mod timeout;
mod wait_for;

/// `except CancelledError: act; raise`, for an `act` that does not await.
async fn except_cancelled<F: Future>(future: F, act: impl FnOnce()) -> F::Output {
    let over = std::cell::Cell::new(false);
    let _guard = common::on_drop(|| {
        if !over.get() {
            act();
        }
    });
    let output = future.await;
    over.set(true);
    output
}
