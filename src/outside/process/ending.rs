//! A process that was started, and its end: what a [`Child`](super::Child) and its waits share.
//!
//! Only this file and `orphans.rs` take exit statuses. So while the status is not taken, the number
//! of the process is its own, and a signal can be sent to it.
//!
//! The pidfd, or `SIGCHLD`, only wakes the tasks that wait. Each of them then checks whether the
//! process has ended; the first that finds it so takes the exit status and stores it for the
//! others. So a wake without cause does no harm.

use crate::kernel::idle::sockets::reactor::Side;
use crate::kernel::table::records::{Awaited, Wait as Waits};
use crate::kernel::{Kernel, clone_uncounted, context};
use crate::leaf::Record;
use crate::outside::process::orphans;
use crate::outside::process::pidfd::Pidfd;
use crate::outside::signals::{Listening, SIGCHLD};
use rustix::process::{Pid, Signal, kill_process};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::pin::Pin;
use std::process::{Child, ExitStatus};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use std::time::Instant;

pub(super) struct Process {
    pub(super) id: u32,
    /// What reports call it.
    name: String,
    loop_id: u64,
    /// Borrowed only in this file, while no user code runs.
    state: RefCell<State>,
    /// `None` if the system has no pidfds, and when the process has ended.
    pidfd: Cell<Option<Pidfd>>,
    /// When `SIGKILL` was sent first.
    killed_at: Cell<Option<Instant>>,
}

enum State {
    /// As far as is known.
    Runs(Child),
    Ended(ExitStatus),
    /// Other code has taken the exit status.
    Lost,
}

impl Process {
    /// For a child that was just started.
    pub(super) fn new(kernel: &Kernel, child: Child, name: String) -> Self {
        let (id, loop_id, pidfd) = (child.id(), kernel.id(), Pidfd::open(kernel, child.id()));
        let state = RefCell::new(State::Runs(child));
        Process { id, name, loop_id, state, pidfd: Cell::new(pidfd), killed_at: Cell::new(None) }
    }

    /// The exit status, if the process has ended.
    pub(super) fn check(&self) -> io::Result<Option<ExitStatus>> {
        let mut state = self.state.borrow_mut();
        let checked = match &mut *state {
            State::Ended(status) => return Ok(Some(*status)),
            State::Lost => return Err(self.lost()),
            State::Runs(child) => child.try_wait(),
        };
        let result = match checked {
            Ok(None) => return Ok(None),
            Ok(Some(status)) => {
                *state = State::Ended(status);
                Ok(Some(status))
            }
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::CHILD.raw_os_error()) => {
                *state = State::Lost;
                Err(self.lost())
            }
            Err(error) => return Err(error),
        };
        drop(state);
        self.close();
        result
    }

    /// What an earlier check has found.
    fn known(&self) -> Option<io::Result<ExitStatus>> {
        match &*self.state.borrow() {
            State::Runs(_) => None,
            State::Ended(status) => Some(Ok(*status)),
            State::Lost => Some(Err(self.lost())),
        }
    }

    /// Whether the process has ended.
    pub(super) fn has_ended(&self) -> bool {
        !matches!(self.check(), Ok(None))
    }

    fn lost(&self) -> io::Error {
        let why = "its exit status was taken by other code: SIGCHLD is ignored, or all children are waited for";
        io::Error::new(io::ErrorKind::NotFound, format!("{self} has ended, but {why}"))
    }

    pub(super) fn send(&self, signal: Signal) -> io::Result<()> {
        let gone = || io::Error::new(io::ErrorKind::NotFound, format!("{self} has ended, and cannot get a signal"));
        if self.has_ended() {
            return Err(gone());
        }
        let sent = match self.pidfd() {
            Some(pidfd) => pidfd.send(signal),
            // Its exit status was not taken, so its number is its own. (`kill(0, ..)` would be for
            // all processes of the group, but no process has that number.)
            None => match i32::try_from(self.id).ok().and_then(Pid::from_raw) {
                Some(pid) => kill_process(pid, signal).map_err(io::Error::from),
                None => return Err(gone()),
            },
        };
        if sent.is_ok() && signal == Signal::KILL {
            self.killed_at.set(self.killed_at.get().or_else(|| Some(Instant::now())));
        }
        match sent {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => Err(gone()),
            sent => sent,
        }
    }

    fn pidfd(&self) -> Option<Pidfd> {
        let pidfd = self.pidfd.take();
        self.pidfd.set(pidfd.clone());
        pidfd
    }

    #[cfg(test)]
    pub(super) fn has_pidfd(&self) -> bool {
        self.pidfd().is_some()
    }

    /// Closes the pidfd, and wakes the other tasks that wait for it.
    fn close(&self) {
        if let (Some(pidfd), Some(kernel)) = (self.pidfd.take(), context::find(self.loop_id)) {
            kernel.remove_source(pidfd.key());
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.has_ended() {
            if let State::Runs(child) = self.state.replace(State::Lost) {
                orphans::adopt(child, self.pidfd.take(), self.loop_id, self.killed_at.get());
            }
        }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.id, self.name)
    }
}

/// The state that the last check has found.
impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state: &dyn fmt::Display = match &*self.state.borrow() {
            State::Runs(_) => &"running",
            State::Ended(status) => &status.clone(),
            State::Lost => &"ended",
        };
        write!(f, "{self}, {state}")
    }
}

impl Awaited for Process {
    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// ---- waiting ----

/// The future of [`Child::wait`](super::Child::wait). It borrows nothing, so it can be spawned.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, process::Command, spawn};
///
/// EventLoop::new().run(async {
///     let child = Command::shell("exit 7").spawn()?;
///     let waiting = spawn(child.wait());
///     assert_eq!(waiting.await.unwrap()?.code(), Some(7));
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct Wait {
    process: Rc<Process>,
    record: Record,
    stage: Stage,
}

/// Who wakes the task.
enum Stage {
    /// Nobody.
    New,
    /// The pidfd: the waiter of this number.
    Pidfd(u64),
    Signal(Listening),
}

impl Wait {
    #[track_caller]
    pub(super) fn new(process: Rc<Process>) -> Self {
        Wait { process, record: Record::here(), stage: Stage::New }
    }

    #[track_caller]
    fn look(&mut self, kernel: &Kernel, context: &Context<'_>) -> Poll<io::Result<ExitStatus>> {
        let pidfd = self.process.pidfd();
        // Another task may be polling now, so the waiter is made anew.
        self.leave(kernel);
        match pidfd {
            Some(pidfd) => {
                // Before the check: cloning and dropping a waker may run user code, which may take
                // the exit status.
                let waker = clone_uncounted(context.waker());
                if let Some(status) = self.process.check()? {
                    return Poll::Ready(Ok(status));
                }
                let reactor = kernel.reactor()?;
                let waiter = reactor.waiter(waker, None, false);
                let number = waiter.number();
                // It has not ended, so the report is still to come.
                reactor.wait(pidfd.key(), Side::Read, waiter, true)?;
                self.stage = Stage::Pidfd(number);
            }
            None => {
                // Begun before the check, so that no end is missed between the two.
                let listening = match std::mem::replace(&mut self.stage, Stage::New) {
                    Stage::Signal(listening) => listening,
                    _ => Listening::new(SIGCHLD, kernel)?,
                };
                loop {
                    if let Some(status) = self.process.check()? {
                        return Poll::Ready(Ok(status));
                    }
                    if listening.poll(context).is_pending() {
                        break;
                    }
                }
                self.stage = Stage::Signal(listening);
            }
        }
        let awaited = Rc::downgrade(&self.process) as Weak<dyn Awaited>;
        self.record.begin(|| Waits::On(awaited));
        Poll::Pending
    }

    /// Removes the waiter from the reactor.
    fn leave(&mut self, kernel: &Kernel) {
        if let Stage::Pidfd(number) = self.stage {
            self.stage = Stage::New;
            let reactor = kernel.reactor().ok().zip(self.process.pidfd());
            drop(reactor.and_then(|(reactor, pidfd)| reactor.leave(pidfd.key(), Side::Read, number)));
        }
    }

    fn end(&mut self) {
        if let Some(kernel) = context::find(self.process.loop_id) {
            self.leave(&kernel);
        }
        if let Stage::Signal(listening) = std::mem::replace(&mut self.stage, Stage::New) {
            listening.stop_waiting();
        }
        self.record.end();
    }
}

impl Future for Wait {
    type Output = io::Result<ExitStatus>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = match self.process.known() {
            Some(known) => Poll::Ready(known),
            None => match context::running().filter(|kernel| kernel.id() == self.process.loop_id) {
                Some(kernel) => self.look(&kernel, context),
                None => panic!(
                    "poll() of Child::wait() was called where its loop is not; await a process in the loop that started it"
                ),
            },
        };
        if polled.is_ready() {
            self.end();
        }
        polled
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Wait").field(&self.process).finish()
    }
}
