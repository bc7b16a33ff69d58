//! The counters of a loop, from its creation on.
//!
//! Steps, and wakes that queue a task, need no counters: the ready queue counts its entries. In a
//! loop that is not observed (`Kernel::new` says which are), a call of a `Waker` inside a turn is not
//! counted in `wakes`.

use core::cell::Cell;

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
    /// Number of callbacks that were pushed to the ready queue, and number that were taken from it
    /// and then called, or found cancelled.
    pub(crate) calls_pushed: Counter,
    pub(crate) calls_taken: Counter,
    /// Callbacks that were called, including those of timers.
    pub(crate) callbacks: Counter,
    /// Tasks that were spawned.
    pub(crate) spawned: Counter,
    pub(crate) returned: Counter,
    pub(crate) cancelled: Counter,
    pub(crate) panicked: Counter,
    /// Wakes of all tasks. If the loop is not observed, wakes that a waker delivers inside a turn
    /// are not counted.
    pub(crate) wakes: Counter,
    /// Wakes of tasks that were queued already.
    pub(crate) merged: Counter,
    /// Wakes of tasks that had ended.
    pub(crate) late: Counter,
    /// Running tasks that were woken in the step in which they ended.
    pub(crate) outrun: Counter,
    /// Wakes that came through the inbox.
    pub(crate) foreign: Counter,
    pub(crate) timers_armed: Counter,
    pub(crate) timers_fired: Counter,
    pub(crate) timers_cancelled: Counter,
    pub(crate) messages: Counter,
    pub(crate) parks: Counter,
}
