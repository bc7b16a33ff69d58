//! Polls for tasks that unwind, or whose futures contain the futures of other tasks.
#![allow(unsafe_code, reason = "polls and drops the future of the running task")]

use crate::kernel::cell::{self, AnyTask, CONDEMNED, Header, SCHEDULED};
use crate::kernel::table::store::MERGED;
use crate::kernel::table::{Stop, TaskTable};
use crate::kernel::token::Token;
use core::task::Context;

impl Header {
    /// Whether a wake of the task was merged since this was called last.
    pub(in crate::kernel) fn take_merged(&self) -> bool {
        let records = self.records.get();
        self.records.set(records & !MERGED);
        records & MERGED != 0
    }
}

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

    /// Polls the future of the running task for the sake of one scope in it: the scope drops its
    /// body (the task is unwinding), or it polls a child (`cancel/through.rs`). Nothing else in the
    /// future was woken. If the future returns, the cell keeps its value, and polls nothing more.
    pub(crate) fn poll_for_a_scope(&self, task: &AnyTask) {
        let header = task.header();
        assert!(self.is_running(header) && header.has_future(), "STEP-2: a future was polled outside of its step");
        let waker = self.waker_of(header.token());
        let entry = self.row(header.token()).expect("WAKE-1: a running task has a row");
        // SAFETY: the row holds the task, and its future exists. No other code is polling it:
        // either `run_ready` has stopped at it, or the task is not the one that is stepped. Then
        // `poll_through`, which alone calls this for such a task, has checked that no call further
        // up polls it.
        let poll = unsafe { cell::poll(entry, &mut Context::from_waker(&waker)) };
        if poll.is_ready() {
            // From now on the cell polls nothing, whatever marks the task gets.
            self.drop_future(task);
        }
    }

    /// Makes another task the running one, with the flags that were set while it ran. Returns the
    /// task that was running, with its flags. No task runs if the other one has ended: the running
    /// task must have a row (`running_task`).
    pub(in crate::kernel) fn replace_running(&self, (token, flags): (Token, u8)) -> (Token, u8) {
        let (token, flags) = if self.is_alive(token) { (token, flags) } else { (Token::NOBODY, 0) };
        (self.running.replace(token), self.running_flags.replace(flags))
    }

    /// Queues a task that was woken while it stood in for the running task.
    pub(in crate::kernel) fn queue_again(&self, token: Token) {
        self.queue(token, |_| {});
    }

    /// Drops the future of the running task, at which `run_ready` has stopped with `Stop::Unwinds`
    /// or by a panic, or which has just panicked in `poll_through`.
    pub(crate) fn drop_future(&self, task: &AnyTask) {
        assert!(task.header().token() == self.running.get(), "STEP-2: a future was dropped outside of its step");
        // SAFETY: the task is running but not being polled: `run_ready` has returned or unwound, or
        // the poll by `poll_through` has.
        unsafe { task.drop_future() };
    }
}
