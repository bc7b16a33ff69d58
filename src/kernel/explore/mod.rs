//! Exploration: the kernel asks a *guide* what happens next, where more than one thing could.
//!
//! `Kernel::choose` is the seam. The kernel calls it with the number of things that could happen
//! next, in the order in which they happen without a guide. The guide returns the number of one of
//! them. 0 is what happens without a guide, so a loop whose guide always returns 0 runs in
//! asyncio's order.
//!
//! ```text
//!   Ready    which entry of the ready queue runs next      `next_entry`, before each entry
//!   Timer    which of the timers for one moment fires next `pop_due`, before each timer
//!   Clock    how far virtual time passes                   `next_jump`, when nothing is ready;
//!            (only if asked)                               `pass_time`, at the begin of a turn
//!   Cancel   whether a task is cancelled at its await      `next_entry`: after it was woken;
//!            (only if asked)                               `entry_ended`: when it begins to wait
//!   Own      a choice of the program                       `explore::choose`
//! ```
//!
//! # The mark of a turn
//!
//! A turn takes as many entries as were ready when it began, as without a guide. But each of these
//! entries may be any that is ready, also one that became ready in this turn: READY-2 does not hold
//! here. So each order of the ready entries is possible, and the timers and messages of a turn come
//! after the same number of entries as otherwise. An entry that is not chosen stays in its place.
//!
//! An explored loop runs its entries one by one, as in debug mode (`run_marked_watched`). While a
//! loop shuts down, nothing is chosen, but the guide may end a shutdown that takes too many steps.
//!
//! This file does not know how a guide chooses; `src/explore/` does.
//!
//! # What a step touches
//!
//! `touched.rs` notes it, for a search that leaves out orders. Without the feature, `untouched.rs` has
//! the same functions, which do nothing.

#[cfg(feature = "explore")]
mod guided;
#[cfg(feature = "explore")]
pub(crate) use guided::{Entry, Guide, Kind, Options, Slot, Sources, take_place, yields_at};
#[cfg(feature = "explore")]
pub(crate) mod touched;

#[cfg(not(feature = "explore"))]
mod unguided;
#[cfg(not(feature = "explore"))]
pub(crate) use unguided::Slot;
#[cfg(not(feature = "explore"))]
#[path = "untouched.rs"]
pub(crate) mod touched;

pub(crate) use touched::{Known, Mode, Of, is_noting, touch, touches_all, unknown};
