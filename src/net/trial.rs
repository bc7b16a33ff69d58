//! How an operation that borrows a buffer is tried and waited for: the state that the named futures
//! of this folder keep between polls.
//!
//! [`Operation`](crate::io::Operation) holds a closure, whose type has no name. Here the closure is
//! created anew for each poll. Only the wait is kept, and it ends when the future is dropped, so
//! abandoned operations leave no waiter behind.

use crate::kernel::idle::sockets::reactor::Side;
use crate::outside::io::{Async, Readiness};
use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Tries, and waits before it tries again.
pub(crate) struct Trial<'a, T> {
    io: &'a Async<T>,
    side: Side,
    waiting: Option<Readiness<'a, T>>,
}

impl<'a, T> Trial<'a, T> {
    pub(crate) fn to_read(io: &'a Async<T>) -> Self {
        Trial { io, side: Side::Read, waiting: None }
    }

    pub(crate) fn to_write(io: &'a Async<T>) -> Self {
        Trial { io, side: Side::Write, waiting: None }
    }

    /// Waits before the next try, which would probably block. This wait also ends if data or room
    /// is already there.
    pub(crate) fn wait_first(&mut self) {
        self.waiting = Some(self.io.readiness(self.side, false));
    }

    #[track_caller]
    pub(crate) fn poll<R>(
        &mut self,
        cx: &mut Context<'_>,
        mut act: impl FnMut(&T) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        loop {
            if let Some(waiting) = &mut self.waiting {
                ready!(Pin::new(waiting).poll(cx))?;
                self.waiting = None;
            }
            let mut operation = match self.side {
                Side::Read => self.io.read_with(&mut act),
                Side::Write => self.io.write_with(&mut act),
            };
            let result = Pin::new(&mut operation).poll(cx);
            // The operation may be pending only to let other tasks run.
            if result.is_ready() || !operation.would_block() {
                return result;
            }
            drop(operation);
            self.waiting = Some(self.io.readiness(self.side, true));
        }
    }
}

impl<T> fmt::Debug for Trial<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trial").field("side", &self.side).field("waits", &self.waiting.is_some()).finish()
    }
}
