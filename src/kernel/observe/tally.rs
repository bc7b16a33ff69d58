//! What a loop counts, from its making on.
//!
//! Steps, and wakes that have queued a task, need no counters of their own: the ready queue numbers its entries. Nor do
//! wakes of the running task by itself while nobody looks (`table.rs`).
//!
//! Knows nothing.

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

    /// It was counted in the wrong place.
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
    /// Callbacks of the ready queue that were pushed, and that were taken: called, or found cancelled.
    pub(crate) calls_pushed: Counter,
    pub(crate) calls_taken: Counter,
    /// Callbacks that were called, of timers too.
    pub(crate) callbacks: Counter,
    /// Tasks that were queued for the first time.
    pub(crate) spawned: Counter,
    pub(crate) returned: Counter,
    pub(crate) cancelled: Counter,
    pub(crate) panicked: Counter,
    /// Wakes of any task, by anybody; those of the running task by itself only if the loop is observed.
    pub(crate) wakes: Counter,
    /// Those of tasks that were queued already.
    pub(crate) merged: Counter,
    /// Those of tasks that had ended.
    pub(crate) late: Counter,
    /// Those of the running task that was to be queued by them, and ended in that step.
    pub(crate) outrun: Counter,
    /// Those that came from elsewhere.
    pub(crate) foreign: Counter,
    pub(crate) timers_armed: Counter,
    pub(crate) timers_fired: Counter,
    pub(crate) timers_cancelled: Counter,
    pub(crate) messages: Counter,
    pub(crate) parks: Counter,
}
