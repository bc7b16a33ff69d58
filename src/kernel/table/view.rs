//! Queries on the table: which tasks exist, their states, and the entries that a turn has left.
#![allow(unsafe_code, reason = "looks at tasks that the rows and the ready queue hold")]

use crate::kernel::callbacks::calls::{Call, Callback};
use crate::kernel::cell::{AnyTask, Header, SCHEDULED};
use crate::kernel::table::TaskTable;
use crate::kernel::table::waker::{PLAIN, token_of};
use crate::kernel::token::Token;
use alloc::vec::Vec;
use core::ptr;
use core::task::Waker;

/// The state of a task. See the picture in `cell.rs`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// Not in the ready queue. A wake puts it there.
    Waiting,
    /// In the ready queue, once (READY-1).
    Queued,
    /// Being polled, or having its future dropped.
    Running,
}

impl TaskTable {
    /// The id and the token's bits of each living task, as keys for `sorted`.
    pub(crate) fn ids(&self) -> Vec<(u64, u64, u64)> {
        self.with(|table| {
            let mut ids = Vec::with_capacity(table.tenants);
            for row in &table.rows {
                if let Some(task) = row.tenant() {
                    // SAFETY: the row holds the task it names.
                    let header = unsafe { task.as_ref() };
                    ids.push((header.id, header.token().bits(), 0));
                }
            }
            ids
        })
    }

    /// Number of living tasks.
    pub(crate) fn len(&self) -> usize {
        self.with(|table| table.tenants)
    }

    /// The state of a living task.
    pub(crate) fn state(&self, task: &Header) -> State {
        if task.token() == self.running.get() {
            State::Running
        } else if task.life.get() & SCHEDULED != 0 {
            State::Queued
        } else {
            State::Waiting
        }
    }

    #[inline]
    pub(crate) fn is_observed(&self) -> bool {
        !ptr::eq(self.vtable, &PLAIN)
    }

    /// Number of entries that were ever pushed, and number of entries that were ever taken.
    pub(crate) fn entries(&self) -> (u64, u64) {
        self.with(|table| table.ready.numbers())
    }

    /// Number of entries of this turn that are left.
    pub(crate) fn marked_len(&self) -> usize {
        self.with(|table| table.ready.marked_len())
    }

    /// The entries of the ready queue, in order: ids of tasks, and `None` for a callback.
    #[cfg(all(feature = "replay", debug_assertions))]
    pub(crate) fn queued(&self) -> Vec<Option<u64>> {
        let mut queued = Vec::new();
        self.with(|table| {
            // SAFETY: a task in the ready queue has a row, which holds it (READY-1).
            table.ready.each(&mut |entry| queued.push(entry.as_task().map(|task| unsafe { task.as_ref() }.id)));
        });
        queued
    }

    /// Passes each queued callback that cannot be cancelled to `see`, which calls no user code.
    pub(crate) fn each_call(&self, see: &mut dyn FnMut(&Call)) {
        self.with(|table| {
            table.ready.each(&mut |entry| {
                if entry.as_task().is_none() {
                    // SAFETY: the entry is in the queue, so its node exists.
                    let callback = unsafe { entry.replace_callback(Callback::Dropped) };
                    if let Callback::Call(call) = &callback {
                        see(call);
                    }
                    // SAFETY: as above. `Dropped` is returned.
                    unsafe { entry.replace_callback(callback) };
                }
            });
        });
    }

    /// Passes the callbacks in the queue that cannot be cancelled to `take`, which calls no user
    /// code. They will not be called.
    pub(crate) fn take_calls(&self, take: &mut dyn FnMut(Call)) {
        self.with(|table| {
            table.ready.each(&mut |entry| {
                if entry.as_task().is_none() {
                    // SAFETY: the entry is in the queue, so its node exists.
                    match unsafe { entry.replace_callback(Callback::Dropped) } {
                        Callback::Call(call) => take(call),
                        // SAFETY: as above. `Dropped` is returned.
                        other => _ = unsafe { entry.replace_callback(other) },
                    }
                }
            });
        });
    }

    /// Limits this turn to its first `count` entries. Returns whether the turn has more.
    pub(crate) fn mark_first(&self, count: usize) -> bool {
        self.with(|table| table.ready.mark_first(count))
    }

    /// Ends the limit that `mark_first` has set.
    pub(crate) fn mark_rest(&self) {
        self.with(|table| table.ready.mark_rest());
    }

    /// Limits this turn to the next entry. Returns the task of this entry; `None` for a callback.
    pub(crate) fn mark_next(&self) -> Option<AnyTask> {
        let entry = self.with(|table| table.ready.mark_next())?;
        // SAFETY: a task in the ready queue has a row, which holds it (READY-1).
        entry.as_task().map(|task| unsafe { AnyTask::held(task) })
    }

    /// Makes entry number `index` the next entry of this turn (`ReadyQueue::bring_forward`).
    #[cfg(feature = "explore")]
    pub(in crate::kernel) fn bring_forward(&self, index: usize) {
        self.with(|table| table.ready.bring_forward(index));
    }

    /// Calls `see` for each ready entry: with the task, or with `None` for a callback.
    #[cfg(feature = "explore")]
    pub(in crate::kernel) fn each_ready(&self, see: &mut dyn FnMut(Option<AnyTask>)) {
        // `see` calls no user code: it stores a counted reference to a task that has a row.
        self.with(|table| {
            table.ready.each(&mut |entry| {
                // SAFETY: a task in the ready queue has a row, which holds it (READY-1).
                see(entry.as_task().map(|task| unsafe { AnyTask::held(task) }));
            });
        });
    }

    #[cfg(feature = "explore")]
    pub(in crate::kernel) fn is_queued(&self, task: &Header) -> bool {
        task.life.get() & SCHEDULED != 0
    }

    /// Whether a task is running and was woken in this step.
    pub(crate) fn running_is_woken(&self) -> bool {
        self.running.get() != Token::NOBODY && self.running_flags.get() & SCHEDULED != 0
    }

    /// Whether this waker wakes the running task.
    #[inline]
    pub(crate) fn wakes_running(&self, waker: &Waker) -> bool {
        let token = self.running.get();
        self.waker_of(token).will_wake(waker) || token_of(waker) == Some(token)
    }
}

impl core::fmt::Debug for TaskTable {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("TaskTable").field("lane", &self.lane.number).field("tasks", &self.len()).finish_non_exhaustive()
    }
}
