//! A file descriptor of a process, which the loop's poller reports when the process has ended.

use crate::kernel::Kernel;
use crate::kernel::idle::sockets::reactor::{Descriptor, Side, SourceKey};
use rustix::io::Errno;
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
    /// For a child whose exit status was not taken, so that its number is still its own. `None` if
    /// the system has no pidfds, or forbids them.
    pub(super) fn open(kernel: &Kernel, id: u32) -> io::Result<Option<Self>> {
        #[cfg(test)]
        if super::tests::is_without_pidfds() {
            return Ok(None);
        }
        let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) else { return Ok(None) };
        let fd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(fd) => fd,
            // `SRCH`: other code has taken the exit status already. The first check of the child
            // reports that.
            Err(Errno::NOSYS | Errno::PERM | Errno::INVAL | Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let source = Arc::new(Source(fd));
        let key = kernel.reactor()?.add(source.clone(), Side::Read)?;
        Ok(Some(Pidfd { source, key }))
    }

    pub(super) fn key(&self) -> SourceKey {
        self.key
    }

    /// Sends a signal to this process, and never to another one that has got its number.
    pub(super) fn send(&self, signal: Signal) -> io::Result<()> {
        Ok(pidfd_send_signal(&*self.source, signal)?)
    }
}
