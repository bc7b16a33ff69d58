//! How a task ends early. `spread`: a cancellation goes from task to task. `scopes`, `unwind`: it
//! goes through one task. `frozen`: a cleanup waits for its own task. `shutdown`: the loop ends.
//!
//! An interruption unwinds a *region*: a task, or the inside of a *block* (a timeout or a group).
//! The task or the block is the *driver*: it polls the cleanups. All else in the region is then
//! *frozen*: not polled. *Beside* a scope are other branches of its task, as in a `join!`.

#[cfg(any(feature = "groups", feature = "sync"))]
pub(crate) mod frozen;
pub(crate) mod marks;
pub(crate) mod record;
pub(crate) mod scopes;
pub(crate) mod shutdown;
pub(crate) mod spread;
pub(crate) mod steps;
#[cfg(feature = "groups")]
pub(crate) mod through;
mod ungrouped;
pub(crate) mod unwind;

#[cfg(any(feature = "groups", feature = "sync"))]
use alloc::boxed::Box;
use core::cell::Cell;
#[cfg(any(feature = "groups", feature = "sync"))]
use core::cell::OnceCell;
#[cfg(any(feature = "groups", feature = "sync"))]
use frozen::HeldUp;

/// The loop's fields for cancellations, and for its shutdown.
#[derive(Default)]
pub(in crate::kernel) struct Notes {
    /// Number of spreads so far (`cancel/spread.rs`).
    pub(in crate::kernel) spreads: Cell<u32>,
    /// The loop is shutting down: a task that is spawned now is cancelled.
    pub(in crate::kernel) closing: Cell<bool>,
    /// Whether the shutdown waits for cleanups. Tasks that a cleanup spawns are then not cancelled.
    pub(in crate::kernel) waits_for_cleanups: Cell<bool>,
    /// Whether the shutdown has left a task uncancelled that was spawned after it began.
    pub(in crate::kernel) has_exempted: Cell<bool>,
    /// Whether a cleanup is being polled.
    pub(in crate::kernel) cleaning: Cell<bool>,
    /// Whether a future is being polled only so that a scope in it drops its body. No wait or scope
    /// may begin in this poll.
    pub(in crate::kernel) only_drops: Cell<bool>,
    /// Cleanups that wait for other tasks (`cancel/frozen.rs`).
    #[cfg(any(feature = "groups", feature = "sync"))]
    pub(in crate::kernel) cleanups: OnceCell<Box<dyn HeldUp>>,
    /// The polls of tasks in the steps of other tasks.
    #[cfg(feature = "groups")]
    pub(in crate::kernel) through: OnceCell<Box<through::Notes>>,
    /// Number of timers that were taken out of the wheel at the end of the loop and are not
    /// cancelled yet.
    pub(in crate::kernel) drained: Cell<usize>,
}
