//! Queries on the table: which tasks exist, in which state they are, what is left of a turn.
#![allow(unsafe_code, reason = "looks at tasks that the rows and the ready queue hold")]

use crate::kernel::cell::{AnyTask, Header, SCHEDULED};
use crate::kernel::table::TaskTable;
use crate::kernel::table::waker::{COUNTED, token_of};
use crate::kernel::token::Token;
use std::ptr;
use std::task::Waker;

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
    /// The ids of all living tasks, with their tokens as bits.
    pub(crate) fn ids(&self) -> Vec<(u64, u64, u64)> {
        self.with(|table| {
            let mut ids = Vec::with_capacity(table.tenants);
            for row in &table.rows {
                if let Some(task) = row.task {
                    // SAFETY: the row holds the task it names.
                    ids.push((unsafe { task.as_ref() }.id, row.token.bits(), 0));
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
        ptr::eq(self.vtable, &COUNTED)
    }

    /// Number of entries that were ever pushed, and that were taken.
    pub(crate) fn entries(&self) -> (u64, u64) {
        self.with(|table| table.ready.numbers())
    }

    /// Number of entries of this turn that are left.
    pub(crate) fn marked_len(&self) -> usize {
        self.with(|table| table.ready.marked_len())
    }

    /// Limits this turn to the first `count` entries.
    pub(crate) fn mark_first(&self, count: usize) {
        self.with(|table| table.ready.mark_first(count));
    }

    /// Limits this turn to the next entry. Returns its task, unless it is a callback.
    pub(crate) fn mark_next(&self) -> Option<AnyTask> {
        let entry = self.with(|table| table.ready.mark_next())?;
        // SAFETY: a task in the ready queue has a row, which holds it (READY-1).
        entry.key().is_none().then(|| unsafe { AnyTask::held(entry.0) })
    }

    /// Whether a task is running and was woken in this step.
    pub(crate) fn running_is_woken(&self) -> bool {
        self.running.get() != Token::NOBODY && self.running_flags.get() & SCHEDULED != 0
    }

    /// Whether this waker wakes the running task.
    #[inline]
    pub(crate) fn wakes_running(&self, waker: &Waker) -> bool {
        token_of(waker) == Some(self.running.get())
    }
}

impl std::fmt::Debug for TaskTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TaskTable").field("lane", &self.lane.number).field("tasks", &self.len()).finish_non_exhaustive()
    }
}
