//! The lanes: one for each living loop, each with an inbox.
//!
//! A waker must be able to find its loop's inbox from any thread at any time, even after the loop
//! has gone. So inboxes are never freed. A loop that ends leaves its lane to the next loop, which
//! begins with generations that no token of the lane had before. The number of inboxes is the
//! greatest number of loops that were ever alive at the same time.
//!
//! Finding an inbox takes no lock: the list grows by whole blocks, each twice as long as the one
//! before, and nothing in it moves.
//!
//! This file knows no tables and no tasks.

use crate::kernel::idle::inbox::Inbox;
use crate::kernel::token::data::Lender;
use crate::kernel::token::{LAST_GENERATION, MAX_LANES, MAX_SLOTS, Token};
use crate::platform::{Mutex, OnceLock};
use alloc::vec::Vec;

/// A loop's stay in its lane: all tokens from a generation on. While the loop is alive, a token of
/// the lane that names a task is one of these. As numbers, the tokens follow each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tenancy {
    /// The first token, as a number.
    first: u64,
    /// How much greater than the first token the last one is.
    span: u64,
}

impl Tenancy {
    pub(crate) fn new(lane: u16, since: u32) -> Self {
        let first = Token::new(lane, since, 0).bits();
        let last = Token::new(lane, LAST_GENERATION, MAX_SLOTS as u32 - 1).bits();
        Tenancy { first, span: last - first }
    }

    #[inline]
    pub(crate) fn has(self, token: Token) -> bool {
        token.bits().wrapping_sub(self.first) <= self.span
    }
}

/// Block k holds the inboxes of lanes 2^k - 1 to 2^(k + 1) - 2.
static BLOCKS: [OnceLock<Vec<Inbox>>; MAX_LANES.ilog2() as usize] =
    [const { OnceLock::new() }; MAX_LANES.ilog2() as usize];

static DIRECTORY: Mutex<Directory> = Mutex::new(Directory { free: Vec::new(), lanes: 0, loops: 0 });

struct Directory {
    /// Lanes whose loops have ended, each with its inbox, and with the first generation that was not
    /// used in it.
    free: Vec<(&'static Inbox, u16, u32)>,
    lanes: u16,
    /// Number of loops that ever existed.
    loops: u64,
}

/// A lane that belongs to one loop.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) number: u16,
    /// Identifies this loop among all loops of the process, including earlier ones on the same
    /// lane.
    pub(crate) loop_id: u64,
    /// The generation of the lane's first tokens.
    pub(crate) generation: u32,
    pub(crate) tenancy: Tenancy,
    pub(crate) inbox: &'static Inbox,
    pub(crate) lender: Lender,
}

/// # Panics
///
/// Panics if 65,535 loops are alive.
pub(crate) fn enter() -> Lane {
    let (inbox, number, generation, loop_id) = {
        let mut directory = DIRECTORY.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let (inbox, number, generation) = match directory.free.pop() {
            Some(lane) => lane,
            None => {
                let number = directory.lanes;
                assert!(
                    (number as usize) < MAX_LANES - 1,
                    "a new event loop was requested, but 65,535 are alive; drop some first"
                );
                directory.lanes += 1;
                (inbox(number), number, 0)
            }
        };
        directory.loops += 1;
        (inbox, number, generation, directory.loops)
    };
    inbox.open(loop_id, generation);
    Lane { number, loop_id, generation, tenancy: Tenancy::new(number, generation), inbox, lender: Lender::new() }
}

/// The loop has ended, its inbox is closed, and no token of this lane has reached `generation`.
pub(crate) fn leave(lane: &Lane, generation: u32) {
    // A lane whose generations are used up stays empty for ever.
    if generation < LAST_GENERATION {
        let mut directory = DIRECTORY.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        directory.free.push((lane.inbox, lane.number, generation));
    }
}

pub(crate) fn inbox(lane: u16) -> &'static Inbox {
    let number = lane as usize + 1;
    let block = number.ilog2();
    let inboxes = BLOCKS[block as usize].get_or_init(|| (0..1 << block).map(|_| Inbox::new()).collect());
    &inboxes[number - (1 << block)]
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_lane_has_an_inbox_of_its_own() {
        let all: std::collections::HashSet<_> = (0..1000).map(|lane| inbox(lane) as *const Inbox).collect();
        assert_eq!(all.len(), 1000);
        assert_eq!(inbox(999) as *const Inbox, inbox(999) as *const Inbox);
    }

    #[test]
    fn lane_is_left_and_entered_again_with_later_generations() {
        let first = enter();
        let (number, id) = (first.number, first.loop_id);
        first.inbox.close();
        leave(&first, first.generation + 10);
        // Other tests take and leave lanes at the same time. The next tenant of this lane continues
        // with higher generations.
        let mut taken = Vec::new();
        let again = loop {
            let lane = enter();
            if lane.number == number {
                break lane;
            }
            taken.push(lane);
            if taken.len() == 64 {
                break taken.pop().unwrap();
            }
        };
        assert!(again.loop_id > id);
        assert!(again.number != number || again.generation >= first.generation + 10);
        for lane in taken.iter().chain([&again]) {
            lane.inbox.close();
            leave(lane, lane.generation);
        }
    }
}
