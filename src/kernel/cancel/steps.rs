//! The steps of a task that was cancelled.

use crate::error::TaskError;
use crate::kernel::Kernel;
use crate::kernel::cancel::scopes::{Region, Unwinding};
use crate::kernel::cancel::unwind::Pause;
use crate::kernel::cell::{AnyTask, Draft, Ending, Header, TypedTask};
use crate::kernel::table::Stop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll};

impl Kernel {
    /// It was cancelled while it ran: what it waits for now decides where that goes.
    pub(in crate::kernel) fn suspended(&self, task: &AnyTask) {
        if self.table.interrupted(task.header()) {
            self.unwind(task, true);
        } else {
            self.cancel_suspended(task);
        }
    }

    /// A step of a task that was cancelled: its cleanups come first, innermost first (`cancel/unwind.rs`), then its future is
    /// dropped. If the cancellation is caught on the way, the step goes on. One that the task has `raised` itself does not wait
    /// for what the task awaits.
    #[inline(never)]
    pub(in crate::kernel) fn unwind(&self, task: &AnyTask, raised: bool) {
        let header = task.header();
        let waker = self.table.waker_of(header.token());
        let mut link = header.replace_link(None);
        let waits = !raised && header.is_condemned() && !header.is_forced();
        if waits && self.follow_link(&mut link, header, Region::Task, &waker) {
            header.replace_link(link);
            self.table.keep_waiting(header);
            return self.yield_gift(header, Region::Task, false);
        }
        self.drop_link(link);
        let begun = header.take_unwinding();
        let begins = begun.is_none();
        let mut unwinding = begun.unwrap_or_else(|| Unwinding::new(Region::Task));
        if self.table.begin_unwinding(header) || raised {
            unwinding.interrupt(header);
        }
        loop {
            let was_cleaning = self.cancels.cleaning.replace(true);
            let poll = unwinding.poll(self, header, &mut Context::from_waker(&waker));
            self.cancels.cleaning.set(was_cleaning);
            match poll {
                Poll::Pending => {
                    if header.has_future() && self.cleanup_suspended(task, Region::Task) {
                        self.tolerate(|| self.table.drop_future(task));
                    }
                    header.put_unwinding(unwinding);
                    let cancelled_again = self.table.suspend_unwinding(header);
                    if begins {
                        self.yield_gift(header, Region::Task, true);
                    }
                    if cancelled_again {
                        self.cancel_suspended(task);
                    }
                    return;
                }
                Poll::Ready(Pause::DropsBody) if header.has_future() => {
                    let polled = self.poll_for_a_drop(|| self.table.poll_for_a_drop(task));
                    let _unwinds_already = self.table.take_raised();
                    if let Err(payload) = polled {
                        unwinding.panicked(payload);
                        // Something beside that scope has panicked, and the future is not to be polled again.
                        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| self.table.drop_future(task))) {
                            unwinding.panicked(payload);
                        }
                    }
                }
                Poll::Ready(Pause::DropsBody) => {}
                Poll::Ready(Pause::Caught) if header.has_future() => return self.go_on(task),
                Poll::Ready(Pause::Caught | Pause::Through) => {
                    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| self.table.drop_future(task))) {
                        unwinding.panicked(payload);
                    }
                    self.hand_orphans_over(header, Region::Task);
                    return self.fail(task, unwinding.into_error());
                }
            }
        }
    }

    /// Polls what unwinds, for `Pause::DropsBody`.
    pub(crate) fn poll_for_a_drop<R>(&self, poll: impl FnOnce() -> R) -> std::thread::Result<R> {
        let before = self.cancels.only_drops.replace(true);
        let polled = catch_unwind(AssertUnwindSafe(poll));
        self.cancels.only_drops.set(before);
        polled
    }

    pub(crate) fn only_drops(&self) -> bool {
        self.cancels.only_drops.get()
    }

    /// The running task returns, and what it returns counts also if it was cancelled in this step.
    pub(crate) fn keep_result(&self) {
        if let Some(task) = self.current() {
            self.table.revoke_cancel(task.header());
        }
    }

    /// Nobody drives the unwinding of this region any more: cleanups whose futures are gone get tasks of their own.
    pub(crate) fn hand_orphans_over(&self, header: &Header, region: Region) {
        let orphans = header.scopes(|scopes| scopes.orphans(region)).unwrap_or_default();
        orphans.into_iter().for_each(|scope| self.tolerate(|| scope.hand_over()));
    }

    /// Nor here, but the futures that still exist have moved, and go on elsewhere.
    pub(crate) fn hand_abandoned_over(&self, header: &Header, region: Region) {
        let abandoned = header.scopes(|scopes| scopes.abandoned(region)).unwrap_or_default();
        abandoned.into_iter().for_each(|scope| self.tolerate(|| scope.hand_over()));
    }

    /// The cancellation was caught: the running task goes on, in the same step.
    pub(in crate::kernel) fn go_on(&self, task: &AnyTask) {
        let header = task.header();
        header.forget_sleeps();
        // A cleanup that has lost its future, and to which the cancellation has not come.
        self.hand_orphans_over(header, Region::Task);
        match self.table.end_unwinding(header) {
            Some(Stop::Ready(task)) => self.returned(&task),
            Some(Stop::Suspended(task)) => self.suspended(&task),
            _ => {
                // What stood beside the scope that caught it lives on, and was not told yet.
                self.table.leave_step();
                self.resume_waits(header, Region::Task);
            }
        }
    }

    /// The future was dropped, and whatever it returned does not count.
    pub(in crate::kernel) fn fail(&self, task: &AnyTask, error: TaskError) {
        let ending = if error.is_panic() { Ending::Panicked } else { Ending::Cancelled };
        self.release_waits(task.header(), Region::Task);
        task.set_error(error);
        self.finish(task, ending);
    }

    /// Queues a task for a cleanup whose own task did not come to it. It runs also while the loop shuts down, and the first request
    /// to end lets it finish, as if its own task had been cancelled.
    pub(crate) fn spawn_cleanup<F: Future + 'static>(&self, draft: Draft, cleanup: F) {
        let task = TypedTask::new(draft, cleanup);
        task.header().spare();
        self.hand_locals_on(task.header());
        self.table.insert(task.any().clone());
        self.tell_spawn(task.header());
        self.work_arrived();
    }
}
