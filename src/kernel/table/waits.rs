//! The waits of tasks. The leaf futures of a task record what it waits for, and at which await.
#![allow(unsafe_code, reason = "reads the headers of tasks that rows hold")]

use crate::kernel::cell::{AnyTask, Header};
#[cfg(feature = "probe")]
use crate::kernel::observe::probe::{EventKind, WaitTarget};
#[cfg(feature = "probe")]
use crate::kernel::observe::task_id::TaskId;
use crate::kernel::table::records::{Link, Wait, WaitEntry, WaitKey};
use crate::kernel::table::store::{FIRST, Item, Record, Side};
use crate::kernel::table::waker::home;
use crate::kernel::table::{Rows, TaskTable, context};
use crate::kernel::token::Token;
#[cfg(feature = "probe")]
use alloc::string::String;
use alloc::vec::Vec;
use core::panic::Location;

impl Rows {
    /// Removes the waits that a task has at its end. They are of leaked futures, and own nothing.
    #[inline]
    pub(super) fn forget_waits(&mut self, task: &Header) {
        if !Side::Waits.is_empty(task) {
            self.forget_each_wait(task);
        }
    }

    #[cold]
    #[inline(never)]
    fn forget_each_wait(&mut self, task: &Header) {
        while self.records.pop(task, Side::Waits).is_some() {}
    }
}

/// Records that the running task of this thread waits, until `TaskTable::end_wait`, and sets `key`.
/// Does nothing if no task is running. `key` is `None` before, and is written where it stays:
/// returning it would take more instructions.
#[inline]
pub(crate) fn begin_wait(key: &mut Option<WaitKey>, wait: impl FnOnce() -> Wait, place: &'static Location<'static>) {
    // SAFETY: the references are used only in this function, and no user code is called: there is
    // no probe, and `wait` is code of this crate that only copies a weak reference or a number. The
    // row holds the task.
    let Some((home, header)) = (unsafe { home().and_then(|home| Some((home, home.running_task()?.as_ref()))) }) else {
        return;
    };
    if home.is_probed() || !Side::Waits.is_empty(header) {
        return begin_any_wait(key, wait(), place);
    }
    home.with(|table| {
        let number = table.number();
        // Also built in its place.
        *table.records.put_first(header, Side::Waits) = Some(Record::wait(number, WaitEntry { wait: wait(), place }));
        *key = Some(WaitKey { task: header.token(), number, index: FIRST });
    });
}

/// Like `begin_wait`, in all cases: the task may have other waits, and there may be a probe.
#[cold]
#[inline(never)]
pub(crate) fn begin_any_wait(key: &mut Option<WaitKey>, wait: Wait, place: &'static Location<'static>) {
    *key = context::running().and_then(|kernel| kernel.table.begin_wait(wait, place));
}

/// Ends a wait in the usual case, and clears its key: the wait is the first one of the running task,
/// and no probe is set. Otherwise changes nothing and returns false.
#[inline]
pub(crate) fn end_first_wait(key: &mut Option<WaitKey>) -> bool {
    // SAFETY: the reference is used only in this function, and no user code is called: a record
    // owns nothing but a weak reference.
    let (Some(home), Some(ended)) = (unsafe { home() }, &*key) else { return false };
    let slot = { ended.task }.slot();
    if home.running.get() != { ended.task } || ended.index != FIRST || home.is_probed() {
        return false;
    }
    home.with(
        #[inline(always)]
        |table| {
            // SAFETY: a task whose wait began has a token, and it is the running one, so it has a row.
            let header = unsafe { table.rows.get_unchecked(slot as usize).held().as_ref() };
            table.records.end_first_wait(header, slot, key)
        },
    )
}

impl TaskTable {
    /// Records that the running task waits, until `end_wait`. Returns `None` if no task is running.
    pub(crate) fn begin_wait(&self, wait: Wait, place: &'static Location<'static>) -> Option<WaitKey> {
        let task = self.running.get();
        // SAFETY: the row holds the task it names.
        let header = unsafe { self.row(task)?.as_ref() };
        #[cfg(feature = "probe")]
        let (what, on) = if self.probe.is_set() {
            (self.describe(&wait), self.target(&wait))
        } else {
            (String::new(), WaitTarget::Elsewhere)
        };
        let key = self.with(|table| {
            let number = table.number();
            let index = table.records.push(header, Side::Waits, Record::wait(number, WaitEntry { wait, place }));
            WaitKey { task, number, index }
        });
        tell!(
            self,
            EventKind::WaitBegin { task: TaskId(header.id), wait: { key.number }.get(), what: &what, on, at: place }
        );
        Some(key)
    }

    /// Changes the source location of a wait of the running task.
    pub(crate) fn move_wait(&self, WaitKey { task, number, index }: WaitKey, place: &'static Location<'static>) {
        let Some(header) = self.row(task) else { return };
        self.with(|table| {
            // SAFETY: the row holds the task it names.
            let wait = table.records.get_mut(unsafe { header.as_ref() }, Side::Waits, index, number);
            if let Some(Item::Wait(wait)) = wait {
                wait.place = place;
            }
        });
    }

    /// Ends a wait. Does nothing if the waiting task has ended.
    pub(crate) fn end_wait(&self, key: WaitKey) {
        let Some(task) = self.row(key.task) else { return };
        // SAFETY: the row holds the task it names.
        let header = unsafe { task.as_ref() };
        // The removed record owns nothing, so no user code runs.
        let _ended = self.with(|table| table.records.remove(header, Side::Waits, key.index, key.number));
        #[cfg(feature = "probe")]
        if let Some(Item::Wait(WaitEntry { place: at, .. })) = _ended {
            tell!(self, EventKind::WaitEnd { task: TaskId(header.id), wait: { key.number }.get(), at });
        }
        if { key.task } != self.running.get() {
            self.ended_elsewhere(header);
        }
    }

    /// Ends a wait when its task is woken, and not when its future is polled. Until that poll, it
    /// counts as a neighbour, like a sleep that has ended.
    #[cfg(all(unix, feature = "io"))]
    pub(crate) fn end_wait_unpolled(&self, key: WaitKey) {
        self.end_wait(key);
        if let Some(task) = self.task(key.task) {
            task.header().note_sleep({ key.number }.get(), self.tally.turns.get());
        }
    }

    /// Whether the wait belongs to the running task.
    #[inline]
    pub(crate) fn waits_here(&self, WaitKey { task, .. }: WaitKey) -> bool {
        task == self.running.get()
    }

    /// The waits of a task with their numbers, in the order in which they began.
    #[inline(never)]
    pub(crate) fn waits(&self, task: &Header) -> alloc::vec::IntoIter<(u64, WaitEntry)> {
        let mut waits = Vec::new();
        // Not by an iterator: its code would be three times as long.
        self.with(|table| {
            table.records.each_wait(task, &mut |number, wait| waits.push((number.get(), wait.clone())));
        });
        waits.into_iter()
    }

    /// What a task waits for, in the order in which the waits began: tasks that have not ended, and
    /// objects. Only waits whose numbers count. `counts` uses nothing of the table.
    #[inline(never)]
    pub(crate) fn awaited(&self, task: &Header, counts: &dyn Fn(u64) -> bool) -> Vec<Link> {
        let mut awaited = Vec::new();
        self.with(|table| {
            table.records.each_wait(task, &mut |number, wait| {
                if !counts(number.get()) {
                    return;
                }
                let link = match wait.wait {
                    // SAFETY: the row holds the task it names.
                    Wait::Task(token) => table.tenant(token).map(|task| Link::Task(unsafe { AnyTask::held(task) })),
                    ref awaited @ (Wait::In(..) | Wait::On(_) | Wait::Outside(..)) => awaited.upgrade().map(Link::On),
                };
                if let Some(link) = link {
                    awaited.push(link);
                }
            });
        });
        awaited
    }

    /// Number of recorded waits of all tasks.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn records(&self) -> usize {
        self.with(|table| table.records.len())
    }

    /// The running task takes something for which other tasks may wait, such as a lock. Returns the
    /// running task, and a new number that stands for this moment.
    pub(crate) fn take(&self) -> (Token, u64) {
        self.with(|table| table.numbered += 1);
        (self.running.get(), self.numbered())
    }

    /// A new number for an item that is stored elsewhere: a timer or a scope, for example.
    #[inline]
    pub(crate) fn next_number(&self) -> u64 {
        self.with(|table| table.number()).get()
    }

    /// The number of the latest wait, waiter, scope or timer. Later items have higher numbers.
    pub(crate) fn numbered(&self) -> u64 {
        self.with(|table| table.numbered)
    }
}
