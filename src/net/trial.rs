//! How an operation that borrows a buffer is tried and waited for: what the named futures of this folder keep between their polls.
//!
//! [`Operation`](crate::io::Operation) holds a closure, whose type has no name. Here the closure is made anew for each poll, and
//! what stays is the wait, which ends when the future is dropped: nobody stays entered who has given up.

use crate::outside::io::{Async, Readiness};
use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Tries, and waits before it tries again.
pub(crate) struct Trial<'a, T> {
    io: &'a Async<T>,
    writes: bool,
    waiting: Option<Readiness<'a, T>>,
}

impl<'a, T> Trial<'a, T> {
    pub(crate) fn to_read(io: &'a Async<T>) -> Self {
        Trial { io, writes: false, waiting: None }
    }

    pub(crate) fn to_write(io: &'a Async<T>) -> Self {
        Trial { io, writes: true, waiting: None }
    }

    /// The next try would block, as is known: it saves a system call to wait for news first.
    pub(crate) fn wait_first(&mut self) {
        self.waiting = Some(if self.writes { self.io.writable() } else { self.io.readable() });
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
            let mut operation = if self.writes { self.io.write_with(&mut act) } else { self.io.read_with(&mut act) };
            let result = Pin::new(&mut operation).poll(cx);
            // It may only let others run.
            if result.is_ready() || !operation.would_block() {
                return result;
            }
            drop(operation);
            self.wait_first();
        }
    }
}

impl<T> fmt::Debug for Trial<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trial").field("writes", &self.writes).field("waits", &self.waiting.is_some()).finish()
    }
}
