//! Something that the poller watches, and that must not go before the poller has let it go.
#![allow(unsafe_code, reason = "the system keeps the number of a descriptor")]

use polling::{Event, PollMode, Poller};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;

/// Something that a poller watches, as long as this lives.
///
/// Stands here since it is what a waker is, at the other end of the process: the system keeps a number of ours, and what it
/// names must not go before the number is taken back.
#[derive(Debug)]
pub(crate) struct Watched<S: AsFd + ?Sized> {
    poller: Arc<Poller>,
    source: Arc<S>,
    /// What the source said when it was asked, once: it may say something else the next time.
    fd: RawFd,
    is_watched: bool,
}

impl<S: AsFd + ?Sized> Watched<S> {
    /// Of a source that the poller does not watch yet. Asking for its descriptor may be foreign code.
    pub(crate) fn new(poller: Arc<Poller>, source: Arc<S>) -> Self {
        let fd = source.as_fd().as_raw_fd();
        Watched { poller, source, fd, is_watched: false }
    }

    /// From now on the poller watches it.
    pub(crate) fn begin(&mut self, interest: Event, mode: PollMode) -> io::Result<()> {
        // SAFETY: the source is held here, and was asked for its descriptor by a reference that may last as long: so it is open
        // until the source is dropped, and `drop` takes it out of the poller before that.
        unsafe { self.poller.add_with_mode(self.fd, interest, mode)? };
        self.is_watched = true;
        Ok(())
    }

    /// The same, by one of the poller's own ways that asks for no promise.
    pub(crate) fn begin_by(&mut self, add: impl FnOnce(&Poller, BorrowedFd<'_>) -> io::Result<()>) -> io::Result<()> {
        add(&self.poller, self.fd())?;
        self.is_watched = true;
        Ok(())
    }

    pub(crate) fn source(&self) -> &Arc<S> {
        &self.source
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: it is open as long as the source lives, as said in `begin`, and the source is held here.
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }

    /// From now on it does not watch it any more.
    pub(crate) fn end(&mut self) {
        if std::mem::take(&mut self.is_watched) {
            // It can fail if somebody has closed the descriptor behind our back, and then there is nothing to take out.
            drop(self.poller.delete(self.fd()));
        }
    }
}

impl<S: AsFd + ?Sized> Drop for Watched<S> {
    fn drop(&mut self) {
        self.end();
    }
}
