//! Polls for tasks that unwind.
#![allow(unsafe_code, reason = "polls and drops the future of the running task")]

use crate::kernel::cell::{self, AnyTask, CONDEMNED, Header, SCHEDULED};
use crate::kernel::table::{Stop, TaskTable};
use std::task::Context;

impl TaskTable {
    /// Continues the running task after a scope has caught its cancellation: polls its future,
    /// which still exists, in the same step.
    pub(crate) fn end_unwinding(&self, task: &Header) -> Option<Stop> {
        assert!(self.is_running(task) && task.has_future(), "STEP-2: a future was polled outside of its step");
        // Without `DOOMED`: until the task suspends, this flag is only in `running_flags`, and
        // `revoke_cancel` clears it only there.
        task.life.set(SCHEDULED | self.running_flags.get() & CONDEMNED);
        let token = task.token();
        let task = self.row(token).expect("WAKE-1: a running task has a row");
        // SAFETY: the row holds the task that it names.
        unsafe { self.poll(task, token) }
    }

    /// Polls the future of the running task, so that a scope in the future drops its body. The task
    /// is unwinding, and nothing else in the future was woken.
    pub(crate) fn poll_for_a_drop(&self, task: &AnyTask) {
        let header = task.header();
        assert!(self.is_running(header) && header.has_future(), "STEP-2: a future was polled outside of its step");
        let waker = self.waker_of(header.token());
        let entry = self.row(header.token()).expect("WAKE-1: a running task has a row");
        // SAFETY: the row holds the task, and its future exists. `run_ready` has stopped at it, so
        // no other code is polling it.
        let poll = unsafe { cell::poll(entry, &mut Context::from_waker(&waker)) };
        if poll.is_ready() {
            // From now on the cell polls nothing, whatever marks the task gets.
            self.drop_future(task);
        }
    }

    /// Drops the future of the running task, at which `run_ready` has stopped with `Stop::Unwinds`
    /// or by a panic.
    pub(crate) fn drop_future(&self, task: &AnyTask) {
        assert!(task.header().token() == self.running.get(), "STEP-2: a future was dropped outside of its step");
        // SAFETY: the task is running but not being polled: `run_ready` has returned or unwound.
        unsafe { task.drop_future() };
    }
}
