//! The counters of a loop, from its creation on.
//!
//! Steps, and wakes that queue a task, need no counters: the ready queue numbers its entries. Wakes
//! of the running task by itself are counted only in observed loops (`table.rs`).
//!

use std::cell::Cell;

#[derive(Default, Debug)]
pub(crate) struct Counter(Cell<u64>);

impl Counter {
    #[inline(always)]
    pub(crate) fn add(&self, number: u64) {
        self.0.set(self.0.get().wrapping_add(number));
    }

    #[inline(always)]
    pub(crate) fn count(&self) {
        self.add(1);
    }

    /// Takes back a count that belongs to another loop.
    pub(crate) fn take_back(&self) {
        self.add(u64::MAX);
    }

    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.get()
    }
}

#[derive(Default, Debug)]
pub(crate) struct Tally {
    pub(crate) turns: Counter,
    /// Callbacks that were pushed to the ready queue, and that were taken from it: called, or found
    /// cancelled.
    pub(crate) calls_pushed: Counter,
    pub(crate) calls_taken: Counter,
    /// Callbacks that were called, including those of timers.
    pub(crate) callbacks: Counter,
    /// Tasks that were spawned.
    pub(crate) spawned: Counter,
    pub(crate) returned: Counter,
    pub(crate) cancelled: Counter,
    pub(crate) panicked: Counter,
    /// Wakes of all tasks. Those of the running task by itself are counted only if the loop is
    /// observed.
    pub(crate) wakes: Counter,
    /// Wakes of tasks that were queued already.
    pub(crate) merged: Counter,
    /// Wakes of tasks that had ended.
    pub(crate) late: Counter,
    /// Wakes of a running task that ended in the same step.
    pub(crate) outrun: Counter,
    /// Wakes that came through the inbox.
    pub(crate) foreign: Counter,
    pub(crate) timers_armed: Counter,
    pub(crate) timers_fired: Counter,
    pub(crate) timers_cancelled: Counter,
    pub(crate) messages: Counter,
    pub(crate) parks: Counter,
}
