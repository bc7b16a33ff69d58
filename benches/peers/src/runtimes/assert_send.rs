//! A wrapper that claims that a future is `Send`. tokio's `spawn` requires this, even with one
//! thread.
//!
//! The wrapper costs nothing, so tokio's `spawn` runs the same futures as all others.
#![allow(unsafe_code)]

use std::pin::Pin;
use std::task::{Context, Poll};

/// A value that stays on its thread, although it claims to be `Send`.
pub(super) struct AssertSend<T>(pub(super) T);

// SAFETY: it is used only for tasks of a `current_thread` runtime. Such a runtime polls and drops
// its tasks on the thread that calls `block_on`, or that drops the runtime. `tokio.rs` creates,
// runs and drops each runtime on one thread.
unsafe impl<T> Send for AssertSend<T> {}

impl<F: Future> Future for AssertSend<F> {
    type Output = AssertSend<F::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: the field is pinned whenever the wrapper is. It is never moved out of the
        // wrapper.
        let future = unsafe { self.map_unchecked_mut(|this| &mut this.0) };
        future.poll(context).map(AssertSend)
    }
}
