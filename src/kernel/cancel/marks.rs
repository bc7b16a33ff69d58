//! The marks of a cancellation on a task, and the scopes that it enters and leaves.

use crate::kernel::Token;
use crate::kernel::cancel::scopes::{Inside, Region, Scope};
use crate::kernel::cell::{CONDEMNED, DOOMED, FORCED, Header, RAISED, SCHEDULED, UNWINDING};
use crate::kernel::table::TaskTable;
use std::rc::Weak;

/// Names one scope of one task, for ever.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScopeKey {
    pub(crate) task: Token,
    pub(crate) number: u64,
}

impl TaskTable {
    /// The task is to end when it is stepped next, or when it suspends, if it is running.
    pub(crate) fn condemn(&self, task: &Header) {
        if task.token() == self.running.get() {
            self.note_request(task);
            self.note(CONDEMNED);
        }
        task.life.set(task.life.get() | CONDEMNED);
    }

    /// The running task is to end when it suspends; what it returns before that counts.
    pub(crate) fn doom(&self, task: &Header) {
        self.note_request(task);
        self.note(DOOMED);
    }

    /// The running task is asked to end, and may still enter scopes before that comes to it.
    pub(in crate::kernel) fn note_request(&self, task: &Header) {
        if self.running_flags.get() & (CONDEMNED | DOOMED) == 0 {
            task.note_request(self.numbered());
        }
    }

    /// Whether the task is running, and is to end when it suspends.
    pub(crate) fn is_doomed(&self, task: &Header) -> bool {
        self.is_running(task) && self.running_flags.get() & DOOMED != 0
    }

    /// A condemned task is queued, and not to wait for what it awaits.
    pub(crate) fn force(&self, task: &Header) {
        if !task.is_condemned() {
            return;
        }
        task.life.set(task.life.get() | FORCED);
        self.wake(task.token());
    }

    /// The task is not to end after all.
    pub(crate) fn revoke_cancel(&self, task: &Header) {
        if task.token() == self.running.get() {
            self.running_flags.set(self.running_flags.get() & !(CONDEMNED | DOOMED));
        }
        task.life.set(task.life.get() & !(CONDEMNED | FORCED));
    }

    /// What a task waited for was moved to another one, perhaps, and then it will not wake this one.
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

    /// The running task has suspended, and is to be cancelled for what came upon it meanwhile. Returns whether it ends as cancelled
    /// in this step, from where it stands; then it is still running.
    #[cold]
    pub(crate) fn interrupted(&self, task: &Header) -> bool {
        if self.take_raised() {
            // A wake has nothing to bring it back for.
            return true;
        }
        let flags = self.running_flags.get();
        task.life.set(flags & SCHEDULED | CONDEMNED);
        if flags & SCHEDULED != 0 {
            self.push_running(task);
        }
        self.leave_step();
        false
    }

    /// The running task was cancelled, and waits on for what it awaits.
    pub(crate) fn keep_waiting(&self, task: &Header) {
        task.life.set(task.life.get() & !SCHEDULED);
        self.leave_step();
    }

    /// Takes the mark of a cancellation from the running task, which is unwinding from now on. Returns whether there was one.
    pub(crate) fn begin_unwinding(&self, task: &Header) -> bool {
        let was_condemned = task.is_condemned();
        task.life.set(SCHEDULED | UNWINDING);
        was_condemned
    }

    /// The running task ends as cancelled, from where it stands: whoever polls what has suspended there is to interrupt it.
    pub(crate) fn raise(&self) {
        self.note(RAISED);
    }

    /// Whether the running task has asked for that. Asked once.
    pub(crate) fn take_raised(&self) -> bool {
        let flags = self.running_flags.get();
        self.running_flags.set(flags & !RAISED);
        flags & RAISED != 0
    }

    /// The running task suspends in a cleanup. Returns whether it was cancelled meanwhile.
    pub(crate) fn suspend_unwinding(&self, task: &Header) -> bool {
        let flags = self.running_flags.get();
        let condemned = if flags & (CONDEMNED | DOOMED) != 0 { CONDEMNED } else { 0 };
        task.life.set(flags & SCHEDULED | condemned | UNWINDING);
        if flags & SCHEDULED != 0 {
            self.push_running(task);
        }
        self.leave_step();
        condemned != 0
    }

    /// The running task enters a scope, until `leave_scope`. None if no task is running.
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

    /// It has left the scope. If the task has ended, nothing is left to be done.
    pub(crate) fn leave_scope(&self, key: ScopeKey) {
        let Some(task) = self.task(key.task) else { return };
        let header = task.header();
        let was_cleaning = header.scopes(|scopes| scopes.is_cleaning(key.number)).unwrap_or(false);
        let driver = if was_cleaning { header.driver_over(key.number) } else { None };
        drop(header.remove_scope(key.number));
        if was_cleaning && !self.is_running(header) {
            // It waits for the end of that cleanup, which goes on elsewhere; and so does the block in it that drives.
            self.wake(key.task);
            if let Some(Region::Inside(driver)) = driver {
                let driver = header.scope(driver);
                driver.iter().filter_map(|driver| driver.inside()).for_each(Inside::wake);
            }
        }
    }

    /// Whether the scope is the running task's.
    pub(crate) fn is_entered_here(&self, key: ScopeKey) -> bool {
        key.task == self.running.get()
    }
}
