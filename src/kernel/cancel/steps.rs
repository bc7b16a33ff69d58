//! The steps of a task that was cancelled.

use crate::error::{Panic, TaskError};
use crate::kernel::Kernel;
use crate::kernel::cancel::scopes::{Region, Unwinding};
use crate::kernel::cancel::unwind::Pause;
use crate::kernel::cell::{AnyTask, Draft, Ending, Header, TypedTask};
use crate::kernel::explore::touches_all;
use crate::kernel::table::Stop;
use crate::platform::{Caught, catch_unwind};
use core::panic::AssertUnwindSafe;
use core::task::{Context, Poll, Waker};

impl Kernel {
    /// The task was cancelled while it ran. What it waits for now decides how the cancellation
    /// continues.
    pub(in crate::kernel) fn suspended(&self, task: &AnyTask) {
        touches_all();
        if self.table.interrupted(task.header()) {
            self.unwind(task, true);
        } else {
            self.cancel_suspended(task);
        }
    }

    /// A step of a task that was cancelled. Its cleanups run first, innermost first
    /// (`cancel/unwind.rs`); then its future is dropped. If a scope catches the cancellation, the
    /// step continues with the future. If the task has `raised` the cancellation itself, it does
    /// not wait for the tasks that it awaits.
    #[inline(never)]
    pub(in crate::kernel) fn unwind(&self, task: &AnyTask, raised: bool) {
        touches_all();
        let header = task.header();
        let waker = self.table.waker_of(header.token());
        let mut link = header.replace_link(None);
        let waits = !raised && header.is_condemned() && !header.is_forced();
        if waits && self.follow_link(&mut link, header, Region::Task, &waker) {
            header.replace_link(link);
            self.table.keep_waiting(header);
            if let Some(for_objects) = self.for_objects(header) {
                (for_objects.yield_gifts)(self, header);
            }
            return;
        }
        self.drop_link(link);
        match header.unwinder() {
            Some(unwinder) => (unwinder.unwind)(self, task, raised, &waker),
            None => self.end_without_scopes(task),
        }
    }

    /// A task that has never entered a scope has nothing to unwind.
    fn end_without_scopes(&self, task: &AnyTask) {
        let header = task.header();
        self.table.begin_unwinding(header);
        let error = match catch_unwind(AssertUnwindSafe(|| self.table.drop_future(task))) {
            Ok(()) => TaskError::Cancelled,
            Err(payload) => TaskError::Panicked(Panic::new(payload)),
        };
        // A destructor may have entered a scope.
        if let Some(unwinder) = header.unwinder() {
            (unwinder.hand_orphans_over)(self, header, Region::Task);
        }
        self.fail(task, error);
    }

    /// The rest of `unwind`, for a task that has entered scopes.
    pub(in crate::kernel) fn unwind_scopes(&self, task: &AnyTask, raised: bool, waker: &Waker) {
        let header = task.header();
        let begun = header.scopes(|scopes| scopes.unwinding.take()).flatten();
        let begins = begun.is_none();
        let mut unwinding = begun.unwrap_or_else(|| Unwinding::new(Region::Task));
        if self.table.begin_unwinding(header) || raised {
            unwinding.interrupt(header);
        }
        loop {
            let was_cleaning = self.cancels.cleaning.replace(true);
            let poll = unwinding.poll(self, header, &mut Context::from_waker(waker));
            self.cancels.cleaning.set(was_cleaning);
            match poll {
                Poll::Pending => {
                    if header.has_future() && self.cleanup_suspended(task, Region::Task) {
                        self.tolerate(|| self.table.drop_future(task));
                    }
                    let before = header.scopes(|scopes| scopes.unwinding.replace(unwinding)).flatten();
                    debug_assert!(before.is_none(), "STEP-2: a task unwinds inside of its unwinding");
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
                    let polled = self.poll_for_a_drop(|| self.table.poll_for_a_scope(task));
                    let _unwinds_already = self.table.take_raised();
                    if let Err(payload) = polled {
                        unwinding.panicked(payload);
                        // Code beside that scope has panicked, so the future must not be polled
                        // again.
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
                    self.leave_scopes(header);
                    return self.fail(task, unwinding.into_error());
                }
            }
        }
    }

    /// Calls `poll`, which polls an unwinding future so that a scope in it drops its body.
    pub(crate) fn poll_for_a_drop<R>(&self, poll: impl FnOnce() -> R) -> Caught<R> {
        let before = self.cancels.only_drops.replace(true);
        let polled = catch_unwind(AssertUnwindSafe(poll));
        self.cancels.only_drops.set(before);
        polled
    }

    pub(crate) fn only_drops(&self) -> bool {
        self.cancels.only_drops.get()
    }

    /// The running task returns, and its value counts even if it was cancelled in this step.
    pub(crate) fn keep_result(&self) {
        if let Some(task) = self.current() {
            self.table.revoke_cancel(task.header());
        }
    }

    /// The unwinding of this region has no driver any more: cleanups whose futures are gone get
    /// tasks of their own.
    pub(crate) fn hand_orphans_over(&self, header: &Header, region: Region) {
        let orphans = header.scopes(|scopes| scopes.orphans(region)).unwrap_or_default();
        orphans.into_iter().for_each(|scope| self.tolerate(|| scope.hand_over()));
    }

    /// The same, but scopes whose futures still exist are left alone: these futures have moved to
    /// another task, and continue there.
    pub(crate) fn hand_abandoned_over(&self, header: &Header, region: Region) {
        let abandoned = header.scopes(|scopes| scopes.abandoned(region)).unwrap_or_default();
        abandoned.into_iter().for_each(|scope| self.tolerate(|| scope.hand_over()));
    }

    /// The task ends. It keeps nothing of scopes whose futures have moved elsewhere.
    #[cold]
    pub(in crate::kernel) fn leave_scopes(&self, header: &Header) {
        if let Some(unwinder) = header.unwinder() {
            (unwinder.hand_abandoned_over)(self, header, Region::Task);
            (unwinder.forget_scopes)(header);
        }
    }

    /// The cancellation was caught: the running task continues in the same step.
    pub(in crate::kernel) fn go_on(&self, task: &AnyTask) {
        let header = task.header();
        header.scopes(|scopes| scopes.slept_frozen.clear());
        // The cancellation may not have reached all cleanups whose futures were dropped.
        self.hand_orphans_over(header, Region::Task);
        match self.table.end_unwinding(header) {
            Some(Stop::Ready(task)) => self.returned(&task),
            Some(Stop::Suspended(task)) => self.suspended(&task),
            _ => {
                // Waits beside the scope that has caught the cancellation continue. They are
                // notified that they are not interrupted any more.
                self.table.leave_step();
                self.resume_waits(header, Region::Task);
            }
        }
    }

    /// Ends a task with an error. Its future was dropped, and any value that it returned does not
    /// count.
    #[cold]
    #[inline(never)]
    pub(in crate::kernel) fn fail(&self, task: &AnyTask, error: TaskError) {
        touches_all();
        let ending = if error.is_panic() { Ending::Panicked } else { Ending::Cancelled };
        if let Some(for_objects) = self.for_objects(task.header()) {
            (for_objects.release_waits)(self, task.header());
        }
        task.set_error(error);
        self.finish(task, ending);
    }

    /// Queues a task for a cleanup that its own task cannot run. It runs also during the shutdown.
    /// Its first cancellation request only counts, as if it were the cancellation of its own task.
    pub(crate) fn spawn_cleanup<F: Future + 'static>(&self, draft: Draft, cleanup: F) {
        let task = TypedTask::new(|| draft, cleanup);
        task.header().spare();
        self.hand_locals_on(task.header());
        self.table.insert(task.any().clone());
        self.tell_spawn(task.header());
        self.work_arrived();
    }
}
