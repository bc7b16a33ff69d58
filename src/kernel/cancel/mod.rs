//! How a task ends early: how a cancellation spreads from task to task, and how it passes through
//! the scopes of a task.
//!
//! `spread` goes from task to task; `scopes` and `unwind` go through one task; `frozen` handles a
//! cleanup that waits for its own task; `shutdown` is the end of the loop itself.

pub(crate) mod frozen;
pub(crate) mod marks;
pub(crate) mod record;
pub(crate) mod scopes;
pub(crate) mod shutdown;
pub(crate) mod spread;
pub(crate) mod steps;
pub(crate) mod unwind;

use frozen::HeldUp;
use std::cell::{Cell, OnceCell};

/// The loop's fields for cancellations, and for its shutdown.
#[derive(Default)]
pub(in crate::kernel) struct Notes {
    /// Number of spreads so far (`cancel/spread.rs`).
    pub(in crate::kernel) spreads: Cell<u32>,
    /// The loop is shutting down: a task that is spawned now is cancelled.
    pub(in crate::kernel) closing: Cell<bool>,
    /// During the shutdown: whether the loop waits for cleanups. What they spawn is then not
    /// cancelled.
    pub(in crate::kernel) waits_for_cleanups: Cell<bool>,
    /// Whether a task was spawned during the shutdown that was not cancelled.
    pub(in crate::kernel) has_exempted: Cell<bool>,
    /// Whether a cleanup is being polled.
    pub(in crate::kernel) cleaning: Cell<bool>,
    /// Whether a future is being polled only so that a scope in it drops its body. No wait or scope
    /// may begin in this poll.
    pub(in crate::kernel) only_drops: Cell<bool>,
    /// Cleanups that wait for others (`cancel/frozen.rs`).
    pub(in crate::kernel) cleanups: OnceCell<Box<dyn HeldUp>>,
    /// Number of timers that were taken out of the wheel at the end of the loop and are not
    /// cancelled yet.
    pub(in crate::kernel) drained: Cell<usize>,
}
