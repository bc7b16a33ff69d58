//! A future that says that it may go to another thread, for tokio's `spawn`, which asks for it even where there is one thread.
//!
//! It costs nothing, and so tokio's `spawn` runs the very futures that all others run.
#![allow(unsafe_code)]

use std::pin::Pin;
use std::task::{Context, Poll};

/// A value that stays on its thread, whatever it says.
pub(super) struct AssertSend<T>(pub(super) T);

// SAFETY: it is used for tasks of a `current_thread` runtime alone. That one polls and drops its tasks on the thread that is in
// its `block_on`, or that drops it, and `tokio.rs` makes, runs and drops a runtime on one thread.
unsafe impl<T> Send for AssertSend<T> {}

impl<F: Future> Future for AssertSend<F> {
    type Output = AssertSend<F::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: the field is pinned whenever the whole is: it is never moved out of it, and nothing else is done with it.
        let future = unsafe { self.map_unchecked_mut(|this| &mut this.0) };
        future.poll(context).map(AssertSend)
    }
}
