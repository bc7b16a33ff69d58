//! How a task ends before its time: the way of a cancellation from task to task, and through the scopes of one.
//!
//! `spread` is the way from task to task, `scopes` and `unwind` the way through one, `frozen` is about a cleanup that waits for its
//! own task, `shutdown` is the end of the loop itself.

pub(crate) mod frozen;
pub(crate) mod marks;
pub(crate) mod record;
pub(crate) mod scopes;
pub(crate) mod shutdown;
pub(crate) mod spread;
pub(crate) mod steps;
pub(crate) mod unwind;

use frozen::Cleanups;
use std::cell::{Cell, OnceCell};

/// What a loop notes of cancellations, and of its own end.
#[derive(Default)]
pub(in crate::kernel) struct Notes {
    /// How many times a cancellation spread (`cancel/spread.rs`).
    pub(in crate::kernel) spreads: Cell<u32>,
    /// The loop is being shut down: a task that is spawned now is cancelled.
    pub(in crate::kernel) closing: Cell<bool>,
    /// While it is being shut down: it waits for cleanups, and what they spawn runs.
    pub(in crate::kernel) waits_for_cleanups: Cell<bool>,
    /// Something was spawned that was not cancelled.
    pub(in crate::kernel) has_exempted: Cell<bool>,
    /// A cleanup is being polled.
    pub(in crate::kernel) cleaning: Cell<bool>,
    /// A future is polled only so that a scope in it drops its body: nothing begins in there.
    pub(in crate::kernel) only_drops: Cell<bool>,
    /// Cleanups that wait for others (`cancel/frozen.rs`).
    pub(in crate::kernel) cleanups: OnceCell<Box<Cleanups>>,
    /// So many timers were taken out of the wheel at the end of the loop, and are to be cancelled one by one.
    pub(in crate::kernel) drained: Cell<usize>,
}
