//! The lanes: one for each loop that is alive, each with its inbox.
//!
//! A waker must be able to find its loop's inbox from anywhere, at any time, also when the loop has gone. So inboxes are never
//! freed: a loop that goes leaves its lane to the next one, which begins with generations that no token of the lane had
//! before. There are as many inboxes as loops were ever alive at the same moment.
//!
//! Finding an inbox takes no lock: the list grows by whole blocks, each twice as long as the one before, and nothing in it
//! moves.
//!
//! Knows no table and no task.

use crate::kernel::idle::inbox::Inbox;
use crate::kernel::token::{LAST_GENERATION, MAX_LANES, Token};
use std::sync::{Mutex, OnceLock};

/// A loop's stay in its lane: all tokens from a generation on, until the loop has gone. While it is there, it has those of its
/// tasks and no others that name one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tenancy {
    pub(crate) lane: u16,
    /// The generation of its first tokens.
    pub(crate) since: u32,
}

impl Tenancy {
    #[inline]
    pub(crate) fn has(self, token: Token) -> bool {
        token.lane() == self.lane && token.generation() >= self.since
    }
}

/// Block k holds the inboxes of lanes 2^k - 1 to 2^(k + 1) - 2.
static BLOCKS: [OnceLock<Box<[Inbox]>>; MAX_LANES.ilog2() as usize] =
    [const { OnceLock::new() }; MAX_LANES.ilog2() as usize];

static DIRECTORY: Mutex<Directory> = Mutex::new(Directory { free: Vec::new(), lanes: 0, loops: 0 });

struct Directory {
    /// Lanes that a loop has left, with the first generation that was not used in them.
    free: Vec<(u16, u32)>,
    lanes: u16,
    /// How many loops there ever were.
    loops: u64,
}

/// A lane that belongs to one loop.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) number: u16,
    /// Tells this loop from all others of the process, also from earlier ones on the same lane.
    pub(crate) loop_id: u64,
    /// The generation of the lane's first tokens.
    pub(crate) generation: u32,
    pub(crate) inbox: &'static Inbox,
}

impl Lane {
    #[inline]
    pub(crate) fn tenancy(&self) -> Tenancy {
        Tenancy { lane: self.number, since: self.generation }
    }
}

/// # Panics
///
/// If 65,535 loops are alive.
pub(crate) fn enter() -> Lane {
    let (number, generation, loop_id) = {
        let mut directory = DIRECTORY.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let (number, generation) = match directory.free.pop() {
            Some(lane) => lane,
            None => {
                let number = directory.lanes;
                assert!(
                    (number as usize) < MAX_LANES - 1,
                    "a new event loop was asked for, but {number} are alive; drop some first"
                );
                directory.lanes += 1;
                (number, 0)
            }
        };
        directory.loops += 1;
        (number, generation, directory.loops)
    };
    let inbox = inbox(number);
    inbox.open(loop_id, generation);
    Lane { number, loop_id, generation, inbox }
}

/// The loop has gone, its inbox is closed, and no token of this lane has reached `generation`.
pub(crate) fn leave(lane: &Lane, generation: u32) {
    // A lane whose generations are used up stays empty for ever.
    if generation < LAST_GENERATION {
        let mut directory = DIRECTORY.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        directory.free.push((lane.number, generation));
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
        // Other tests take and leave lanes meanwhile; whoever gets this one, its generations go on.
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
