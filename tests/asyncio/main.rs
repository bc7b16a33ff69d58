//! Twins of CPython's own tests of asyncio. They have the same names, in modules named after the
//! Python classes, and assert the same in Rust.
//!
//! An exception is a value, or a panic that is a [`TaskError`](onelane::TaskError). A
//! `CancelledError` that a coroutine sees is a destructor that runs. `TimeoutError` is
//! [`Elapsed`](onelane::Elapsed), and `run_until_complete` is `EventLoop::run`. A Python test reads
//! the loop's queues; here the result of `EventLoop::turn` contains the numbers.

#[path = "../common/mod.rs"]
mod common;

mod as_completed;
mod barrier;
mod call_graph;
mod cancellation;
mod condition;
mod context;
mod eager;
mod event;
mod future;
mod gather;
mod lock;
mod loop_core;
mod queues;
mod remote;
mod runner;
mod runner_interrupt;
mod semaphore;
#[cfg(all(unix, feature = "io"))]
mod server;
mod shield;
#[cfg(all(unix, feature = "signals"))]
mod signals;
mod sleep;
#[cfg(all(unix, feature = "io"))]
mod sock_lowlevel;
#[cfg(all(unix, feature = "io"))]
mod staggered;
#[cfg(all(unix, feature = "io"))]
mod streams;
mod task;
mod task_group;
mod timeout;
#[cfg(all(unix, feature = "tls"))]
mod tls;
mod to_thread;
mod wait;
mod wait_for;

use onelane::Promise;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// A value that one task waits for and other code sets: a minimal version of asyncio's `Future`.
struct Cue<T>(Rc<CueState<T>>);

struct CueState<T> {
    value: RefCell<Option<T>>,
    waker: Cell<Option<Waker>>,
}

impl<T> Clone for Cue<T> {
    fn clone(&self) -> Self {
        Cue(self.0.clone())
    }
}

impl<T> Cue<T> {
    fn new() -> Self {
        Cue(Rc::new(CueState { value: RefCell::new(None), waker: Cell::new(None) }))
    }

    fn set(&self, value: T) {
        *self.0.value.borrow_mut() = Some(value);
        if let Some(waker) = self.0.waker.take() {
            waker.wake();
        }
    }

    /// Waits for the value, and takes it.
    async fn wait(&self) -> T {
        poll_fn(|context| match self.0.value.borrow_mut().take() {
            Some(value) => Poll::Ready(value),
            None => {
                self.0.waker.set(Some(context.waker().clone()));
                Poll::Pending
            }
        })
        .await
    }
}

/// Whether a task waits for the promise. Only one task can, so this replaces
/// `task._fut_waiter is fut`.
fn is_awaited<T>(promise: &Promise<T>) -> bool {
    format!("{promise:?}").contains("waiters: 1")
}

/// `except CancelledError: act; raise`, for an `act` that does not await.
async fn except_cancelled<F: Future>(future: F, act: impl FnOnce()) -> F::Output {
    let over = Cell::new(false);
    let _guard = common::on_drop(|| {
        if !over.get() {
            act();
        }
    });
    let output = future.await;
    over.set(true);
    output
}
