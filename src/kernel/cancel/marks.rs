//! The marks of a cancellation on a task, and the scopes that it enters and leaves.

use crate::kernel::Token;
use crate::kernel::cancel::scopes::{Inside, Region, Scope};
use crate::kernel::cell::{CONDEMNED, DOOMED, FORCED, Header, RAISED, SCHEDULED, UNWINDING};
#[cfg(feature = "probe")]
use crate::kernel::observe::{probe::EventKind, task_id::TaskId};
use crate::kernel::table::TaskTable;
use alloc::rc::Weak;

/// Names one scope of one task, for ever.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScopeKey {
    pub(crate) task: Token,
    pub(crate) number: u64,
}

impl TaskTable {
    /// Condemns a task: it ends at its next step, or, if it is running, when it suspends.
    pub(crate) fn condemn(&self, task: &Header) {
        if task.token() == self.running.get() {
            self.note_request(task);
            self.note(CONDEMNED);
        }
        task.life.set(task.life.get() | CONDEMNED);
    }

    /// The running task ends when it suspends. If it returns before that, the value counts.
    pub(crate) fn doom(&self, task: &Header) {
        self.note_request(task);
        self.note(DOOMED);
    }

    /// The running task receives a request to end. It may still enter scopes before the request
    /// takes effect.
    pub(in crate::kernel) fn note_request(&self, task: &Header) {
        if self.running_flags.get() & (CONDEMNED | DOOMED) == 0 {
            task.note_request(self.numbered());
        }
    }

    /// Whether the task is running and ends when it suspends.
    pub(crate) fn is_doomed(&self, task: &Header) -> bool {
        self.is_running(task) && self.running_flags.get() & DOOMED != 0
    }

    /// Forces a condemned task: it is queued, and does not wait for the tasks that it awaits.
    pub(crate) fn force(&self, task: &Header) {
        if !task.is_condemned() {
            return;
        }
        task.life.set(task.life.get() | FORCED);
        self.wake(task.token());
    }

    /// Revokes the cancellation of a task.
    pub(crate) fn revoke_cancel(&self, task: &Header) {
        if task.token() == self.running.get() {
            self.running_flags.set(self.running_flags.get() & !(CONDEMNED | DOOMED));
        }
        task.life.set(task.life.get() & !(CONDEMNED | FORCED));
    }

    /// A wait of the task has ended outside its steps, so it may now be in another task.
    #[cold]
    #[inline(never)]
    pub(in crate::kernel) fn ended_elsewhere(&self, task: &Header) {
        if task.is_condemned() || task.has_asking_scopes() {
            self.wake(task.token());
        }
    }

    /// A future in which this task has waited was moved to another task.
    #[cold]
    pub(crate) fn mark_moved(&self, task: Token) {
        if let Some(task) = self.task(task) {
            task.header().mark_moved();
        }
    }

    /// The running task has suspended, and a flag was set while it ran. Returns whether it unwinds
    /// in this step, at the point that it has reached. If so, it is still the running task.
    #[cold]
    pub(crate) fn interrupted(&self, task: &Header) -> bool {
        if self.take_raised() {
            // Nothing will wake the task, so it cannot unwind in a later step.
            return true;
        }
        let flags = self.running_flags.get();
        task.life.set(flags & SCHEDULED | CONDEMNED);
        if flags & SCHEDULED != 0 {
            self.push_running(task);
        }
        self.suspend(task);
        false
    }

    /// The running task suspends, before its step is over. If it was woken in the step, it is queued.
    fn suspend(&self, _task: &Header) {
        self.leave_step();
        tell!(self, EventKind::Suspend { task: TaskId(_task.id) });
    }

    /// The running task was cancelled, and continues to wait for the tasks that it awaits.
    pub(crate) fn keep_waiting(&self, task: &Header) {
        task.life.set(task.life.get() & !SCHEDULED);
        self.suspend(task);
    }

    /// Takes the mark of a cancellation from the running task, which unwinds from now on. Returns
    /// whether the mark was set.
    pub(crate) fn begin_unwinding(&self, task: &Header) -> bool {
        let was_condemned = task.is_condemned();
        task.life.set(SCHEDULED | UNWINDING);
        was_condemned
    }

    /// The running task requests an interruption at the point that it has reached. The code that
    /// polls the suspended future, a driver or the loop, then unwinds it.
    pub(crate) fn raise(&self) {
        self.note(RAISED);
    }

    /// Whether the running task has called `raise`. True once.
    pub(crate) fn take_raised(&self) -> bool {
        let flags = self.running_flags.get();
        self.running_flags.set(flags & !RAISED);
        flags & RAISED != 0
    }

    /// The running task suspends in a cleanup. Returns whether it was cancelled in this step.
    pub(crate) fn suspend_unwinding(&self, task: &Header) -> bool {
        let flags = self.running_flags.get();
        let condemned = if flags & (CONDEMNED | DOOMED) != 0 { CONDEMNED } else { 0 };
        task.life.set(flags & SCHEDULED | condemned | UNWINDING);
        if flags & SCHEDULED != 0 {
            self.push_running(task);
        }
        self.suspend(task);
        condemned != 0
    }

    /// The running task enters a scope, until `leave_scope`. `None` if no task is running.
    pub(crate) fn enter_scope(&self, scope: Weak<dyn Scope>) -> Option<ScopeKey> {
        let task = self.running()?;
        let header = task.header();
        Some(ScopeKey { task: header.token(), number: self.add_scope(header, scope) })
    }

    /// A task enters a scope. Returns its number.
    pub(crate) fn add_scope(&self, task: &Header, scope: Weak<dyn Scope>) -> u64 {
        let number = self.next_number();
        task.add_scope(number, scope);
        number
    }

    /// Leaves a scope. Does nothing if the task has ended.
    pub(crate) fn leave_scope(&self, key: ScopeKey) {
        let Some(task) = self.task(key.task) else { return };
        let header = task.header();
        let was_cleaning = header.scopes(|scopes| scopes.is_cleaning(key.number)).unwrap_or(false);
        let driver = if was_cleaning { header.driver_over(key.number) } else { None };
        drop(header.remove_scope(key.number));
        if was_cleaning && !self.is_running(header) {
            // The cleanup has ended in another task. This task, and the block in it that drives,
            // wait for that end.
            self.wake(key.task);
            if let Some(Region::Inside(driver)) = driver {
                let driver = header.scope(driver);
                driver.iter().filter_map(|driver| driver.inside()).for_each(Inside::wake);
            }
        }
    }

    /// Whether the scope belongs to the running task.
    pub(crate) fn is_entered_here(&self, key: ScopeKey) -> bool {
        key.task == self.running.get()
    }
}
