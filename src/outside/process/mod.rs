//! Child processes: [`Command`] starts one, [`Child`] is one.
//!
//! With the feature `process`, on Unix. asyncio's `create_subprocess_exec` is
//! [`Command::new`] and [`spawn`](Command::spawn), its `create_subprocess_shell` is
//! [`Command::shell`]. The builder has the names of [`std::process::Command`].
//!
//! ```
//! use onelane::{EventLoop, process::{Command, Stdio}};
//!
//! EventLoop::new().run(async {
//!     let output = Command::new("echo").arg("hello").output().await?;
//!     assert!(output.status.success());
//!     assert_eq!(output.stdout, b"hello\n");
//!
//!     let mut cat = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
//!     let output = cat.communicate(b"to the cat").await?;
//!     assert_eq!(output.stdout, b"to the cat");
//!     Ok::<(), std::io::Error>(())
//! })
//! # .unwrap();
//! ```
//!
//! # Pipes
//!
//! A pipe of a child is an [`Async`](crate::io::Async), as everything with a file descriptor is:
//! it has futures-io's traits, and [`readable`](crate::io::Async::readable),
//! [`into_inner`](crate::io::Async::into_inner) and the rest. `into_stream` makes asyncio's
//! [`StreamReader`](crate::net::StreamReader) or [`StreamWriter`](crate::net::StreamWriter) of it:
//!
//! ```
//! use onelane::{EventLoop, process::{Command, Stdio}};
//!
//! EventLoop::new().run(async {
//!     let mut child = Command::shell("echo one; echo two").stdout(Stdio::piped()).spawn()?;
//!     let mut lines = child.stdout.take().unwrap().into_stream();
//!     assert_eq!(lines.read_line().await?, b"one\n");
//!     assert_eq!(lines.read_line().await?, b"two\n");
//!     assert!(child.wait().await?.success());
//!     Ok::<(), std::io::Error>(())
//! })
//! # .unwrap();
//! ```
//!
//! # The end of a process
//!
//! A process that has ended is a *zombie* until its parent has taken its exit status. Then the
//! operating system may give its number to a new process.
//!
//! - **Linux.** The loop's poller watches a *pidfd*, a file descriptor of the process. No thread
//!   and no signal handler is involved.
//! - **Elsewhere, and on Linux before 5.3.** The program listens for `SIGCHLD`, as
//!   [`signals::listen`](crate::signals::listen) does: with one thread per program, and each signal
//!   checks all children that are awaited. At least one thread of the program must not block
//!   `SIGCHLD`: a signal that all of them block does not arrive, and a wait would not end.
//!
//! If another event loop drives this one ([`drive`](crate::EventLoop::drive)), the ends of processes
//! are seen like sockets: give that loop the descriptor of this one.
//!
//! On a virtual clock, while a task awaits a child, the loop waits for it instead of reporting a
//! deadlock. Its clock still jumps: a timeout around a wait expires at once if nothing else is
//! ready.
//!
//! A [`Child`] that is dropped runs on, unless [`kill_on_drop`](Command::kill_on_drop) is set. It
//! is then an *orphan*: no task waits for it, and the loop may report a deadlock while it runs. Its
//! exit status is taken in these moments:
//!
//! - On Linux, the next time that its loop polls its sockets after the process has ended. An idle
//!   loop does so at once. A busy loop does so when it is next idle, or within a tenth of a
//!   millisecond if a task waits for a socket, a pipe or a child.
//! - Without a pidfd, when `SIGCHLD` arrives, on the thread for signals.
//! - If it was killed, at the latest when its loop is dropped: that waits for its end, for at most a
//!   second after the kill. An end usually takes less than a millisecond.
//! - In any case, when the next child is started, in any loop of the program. This also takes those
//!   whose loop has gone.
//!
//! A program that ignores `SIGCHLD`, or that waits for all its children with `waitpid(-1)`, takes
//! the exit status away. Then [`wait`](Child::wait) fails with an error that says so.

mod child;
mod command;
mod ending;
mod orphans;
#[cfg(target_os = "linux")]
mod pidfd;
mod pipes;
#[cfg(all(test, not(loom)))]
mod tests;

pub use child::{Child, Communicate};
pub use command::{Command, RunOutput, RunStatus};
pub use ending::Wait;
pub use pipes::{ChildStderr, ChildStdin, ChildStdout};
#[doc(no_inline)]
pub use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGSTOP, SIGTERM, SIGUSR1, SIGUSR2};
#[doc(no_inline)]
pub use std::process::{ExitStatus, Output, Stdio};

/// On systems without pidfds, so that the other files need not distinguish.
#[cfg(not(target_os = "linux"))]
mod pidfd {
    use crate::kernel::Kernel;
    use crate::kernel::idle::sockets::reactor::SourceKey;
    use rustix::process::Signal;
    use std::io;

    #[derive(Clone)]
    pub(super) enum Pidfd {}

    impl Pidfd {
        pub(super) fn reserve(_kernel: &Kernel) -> io::Result<()> {
            Ok(())
        }

        pub(super) fn open(_kernel: &Kernel, _id: u32) -> Option<Self> {
            None
        }

        pub(super) fn key(&self) -> SourceKey {
            match *self {}
        }

        pub(super) fn send(&self, _signal: Signal) -> io::Result<()> {
            match *self {}
        }
    }
}
