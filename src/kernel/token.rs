//! Tokens: a waker as a number.
//!
//! ```text
//!   63        48 47            24 23             0
//!  +------------+----------------+----------------+
//!  |  lane: 16  | generation: 24 |    slot: 24    |
//!  +------------+----------------+----------------+
//! ```
//!
//! `lane` names the loop, `slot` the row of that loop's table, and `generation` the tenant of the row: the task that is in it.
//! No two tasks of a process ever share a token. Each tenant of a row has a new generation, and a row that has used up its
//! generations is retired. A loop that takes over a lane begins with generations that the lane has not used (`idle/lanes.rs`).
//! So a token names one task for ever, and the token of a task that has ended names no task (WAKE-1).
//!
//! Why a number? A waker is a data pointer and a table of functions. It may be cloned, kept for ever, sent to another thread,
//! and used when its task has ended long ago. If the pointer pointed to the task, the clones would have to be counted, with
//! atomic operations, because they may be on any thread. A number points to nothing. It is copied, forgotten and compared, and
//! the loop that it names knows whether the task still exists. So a waker keeps nothing alive, and costs
//! nothing to clone and drop, unless the loop is observed (`table.rs`).
//!
//! The price is a limit: 65,535 loops at a time, and 16,777,216 tasks at a time in each loop. A row is retired after about
//! 16.8 million tasks.
//!
//! A token has 64 bits on every platform. Where a pointer has fewer, a waker's data is the address of a token that its clones
//! share and count (`token/shared.rs`). The limits stay, and a kept waker keeps sixteen bytes.
//!
//! This file knows nothing of tasks, tables and threads. Next: `cell.rs`.

const SLOT_BITS: u32 = 24;
const GENERATION_BITS: u32 = 24;
const LANE_BITS: u32 = 16;

/// Number of lanes, one for each loop of the process. No loop gets the last lane.
pub(crate) const MAX_LANES: usize = 1 << LANE_BITS;
/// Maximum number of tasks in a loop at the same time.
pub(crate) const MAX_SLOTS: usize = 1 << SLOT_BITS;
/// The last generation of a slot. No task gets it.
pub(crate) const LAST_GENERATION: u32 = (1 << GENERATION_BITS) - 1;

const _: () = assert!(SLOT_BITS + GENERATION_BITS + LANE_BITS == u64::BITS);

/// Names one task of one loop, for ever.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Token(u64);

impl Token {
    /// A token that names no task, because no loop gets the last lane.
    pub(crate) const NOBODY: Token = Token(u64::MAX);

    pub(crate) fn new(lane: u16, generation: u32, slot: u32) -> Self {
        debug_assert!(generation <= LAST_GENERATION && (slot as usize) < MAX_SLOTS);
        let lane = u64::from(lane) << (GENERATION_BITS + SLOT_BITS);
        Token(lane | u64::from(generation) << SLOT_BITS | u64::from(slot))
    }

    /// A token of the lane that names no task.
    #[cfg(test)]
    pub(crate) fn unplaced(lane: u16) -> Self {
        Token::new(lane, LAST_GENERATION, 0)
    }

    #[inline]
    pub(crate) fn slot(self) -> u32 {
        self.0 as u32 & (MAX_SLOTS as u32 - 1)
    }

    #[inline]
    pub(crate) fn generation(self) -> u32 {
        (self.0 >> SLOT_BITS) as u32 & LAST_GENERATION
    }

    #[inline]
    pub(crate) fn lane(self) -> u16 {
        (self.0 >> (GENERATION_BITS + SLOT_BITS)) as u16
    }

    /// As a number.
    #[inline]
    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    #[inline]
    pub(crate) fn from_bits(bits: u64) -> Self {
        Token(bits)
    }
}

#[cfg_attr(any(not(target_pointer_width = "64"), onelane_shared_tokens), path = "token/shared.rs")]
pub(crate) mod data;

#[cfg(test)]
mod tests;
mod traits;
