//! A file descriptor of a process, which the loop's poller reports when the process has ended.

use crate::kernel::Kernel;
use crate::kernel::idle::sockets::reactor::{Descriptor, Side, SourceKey};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// A pidfd that is registered with a loop. Whoever drops the last clone deregisters it before.
#[derive(Clone)]
pub(super) struct Pidfd {
    source: Arc<Source>,
    key: SourceKey,
}

/// Also owned by the loop's reactor.
struct Source(OwnedFd);

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Descriptor for Source {
    fn kind(&self) -> &'static str {
        "process"
    }
}

impl Pidfd {
    /// Takes a descriptor, to be closed right before `open`. So a program that has too many
    /// descriptors open learns of it before the process is started.
    pub(super) fn reserve(kernel: &Kernel) -> io::Result<OwnedFd> {
        Ok(fcntl_dupfd_cloexec(kernel.reactor()?, 0)?)
    }

    /// For a child whose exit status was not taken, so that its number is still its own.
    ///
    /// `None` if the system has no pidfds or forbids them, if another thread has taken the last
    /// descriptor, or if the poller has no room. The process runs already, so this is no reason to
    /// fail: its end is then known by `SIGCHLD`. The first wait for that needs descriptors too, for
    /// the pipe of the signals; while there are none, it fails, and may be repeated. `None` also if
    /// other code has taken the exit status, which the first check of the child reports.
    pub(super) fn open(kernel: &Kernel, id: u32) -> Option<Self> {
        #[cfg(test)]
        if super::tests::is_without_pidfds() {
            return None;
        }
        let pid = i32::try_from(id).ok().and_then(Pid::from_raw)?;
        let source = Arc::new(Source(pidfd_open(pid, PidfdFlags::empty()).ok()?));
        let key = kernel.reactor().ok()?.add(source.clone(), Side::Read).ok()?;
        Some(Pidfd { source, key })
    }

    pub(super) fn key(&self) -> SourceKey {
        self.key
    }

    /// Sends a signal to this process, and never to another one that has got its number.
    pub(super) fn send(&self, signal: Signal) -> io::Result<()> {
        Ok(pidfd_send_signal(&*self.source, signal)?)
    }
}
