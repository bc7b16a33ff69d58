//! A source that is registered with the poller, and must not be closed before it is deregistered.
#![allow(unsafe_code, reason = "the system keeps the number of a descriptor")]

use polling::{Event, PollMode, Poller};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;

/// A source that is registered with a poller while this exists.
///
/// It needs `unsafe`, because the operating system keeps the number of the descriptor. The
/// descriptor must stay open until it is deregistered.
#[derive(Debug)]
pub(crate) struct Watched<S: AsFd + ?Sized> {
    poller: Arc<Poller>,
    source: Arc<S>,
    /// The descriptor of the source. The source is asked for it only once, because it might return
    /// another one the next time.
    fd: RawFd,
    is_watched: bool,
}

impl<S: AsFd + ?Sized> Watched<S> {
    /// Wraps a source that is not registered yet. Asking for its descriptor may run user code.
    pub(crate) fn new(poller: Arc<Poller>, source: Arc<S>) -> Self {
        let fd = source.as_fd().as_raw_fd();
        Watched { poller, source, fd, is_watched: false }
    }

    /// Registers the source with the poller.
    pub(crate) fn begin(&mut self, interest: Event, mode: PollMode) -> io::Result<()> {
        // SAFETY: this object owns the source. `new` borrowed the descriptor from the source, and such
        // a borrow may last as long as the source lives. So the descriptor is open until the source
        // is dropped. `drop` deregisters the descriptor before that.
        unsafe { self.poller.add_with_mode(self.fd, interest, mode)? };
        self.is_watched = true;
        Ok(())
    }

    /// Registers the source by a function of the poller that has no safety requirement.
    pub(crate) fn begin_by(&mut self, add: impl FnOnce(&Poller, BorrowedFd<'_>) -> io::Result<()>) -> io::Result<()> {
        add(&self.poller, self.fd())?;
        self.is_watched = true;
        Ok(())
    }

    pub(crate) fn source(&self) -> &Arc<S> {
        &self.source
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open as long as the source lives, as `begin` says, and the
        // source is owned here.
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }

    /// Deregisters the source.
    pub(crate) fn end(&mut self) {
        if std::mem::take(&mut self.is_watched) {
            // This can fail if other code has closed the descriptor; then it is already
            // deregistered.
            drop(self.poller.delete(self.fd()));
        }
    }
}

impl<S: AsFd + ?Sized> Drop for Watched<S> {
    fn drop(&mut self) {
        self.end();
    }
}
