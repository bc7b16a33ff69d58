//! Tokens: a waker as a number.
//!
//! ```text
//!   63        48 47            24 23             0
//!  +------------+----------------+----------------+
//!  |  lane: 16  | generation: 24 |    slot: 24    |
//!  +------------+----------------+----------------+
//! ```
//!
//! `lane` says which loop, `slot` which row of that loop's table, `generation` which tenant of the row. No two tasks of a
//! process ever share a token: a row whose generations are used up is retired, and so is a lane. A token therefore names its
//! task for ever, and a token of a task that has ended names nobody (WAKE-1).
//!
//! Knows nothing of tasks, tables and threads. Next: `calls.rs`.

const SLOT_BITS: u32 = 24;
const GENERATION_BITS: u32 = 24;
const LANE_BITS: u32 = 16;

/// So many loops can be alive at once in a process.
pub(crate) const MAX_LANES: usize = 1 << LANE_BITS;
/// So many tasks can be alive at once in a loop.
pub(crate) const MAX_SLOTS: usize = 1 << SLOT_BITS;
/// The last generation of a slot; it has no tenant.
pub(crate) const LAST_GENERATION: u32 = (1 << GENERATION_BITS) - 1;

// A token has to fit into the data pointer of a `RawWaker`.
const _: () = assert!(SLOT_BITS + GENERATION_BITS + LANE_BITS == u64::BITS);
const _: () = assert!(
    size_of::<*const ()>() == size_of::<u64>(),
    "onelane packs slot, generation and loop into a waker's pointer and needs 64 bits for them"
);

/// Names one task of one loop, for ever.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Token(u64);

impl Token {
    /// No task has this one: no loop has the last lane.
    pub(crate) const NOBODY: Token = Token(u64::MAX);

    pub(crate) fn new(lane: u16, generation: u32, slot: u32) -> Self {
        debug_assert!(generation <= LAST_GENERATION && (slot as usize) < MAX_SLOTS);
        let lane = u64::from(lane) << (GENERATION_BITS + SLOT_BITS);
        Token(lane | u64::from(generation) << SLOT_BITS | u64::from(slot))
    }

    /// Of a task that has no row yet. Nobody has it.
    #[inline]
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

    /// The token of the slot's next tenant.
    pub(crate) fn next(self) -> Self {
        Token::new(self.lane(), self.generation() + 1, self.slot())
    }

    #[inline]
    pub(crate) fn to_data(self) -> *const () {
        std::ptr::without_provenance(self.0 as usize)
    }

    /// To sort by.
    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    pub(crate) fn from_bits(bits: u64) -> Self {
        Token(bits)
    }

    #[inline]
    pub(crate) fn from_data(data: *const ()) -> Self {
        Token(data.addr() as u64)
    }
}

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

impl Default for Token {
    fn default() -> Self {
        Token::NOBODY
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}.{}", self.lane(), self.slot(), self.generation())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pack_and_unpack_at_the_edges() {
        for lane in [0, 1, u16::MAX] {
            for generation in [0, 1, LAST_GENERATION] {
                for slot in [0, 1, MAX_SLOTS as u32 - 1] {
                    let token = Token::new(lane, generation, slot);
                    assert_eq!((token.lane(), token.generation(), token.slot()), (lane, generation, slot));
                    assert_eq!(Token::from_data(token.to_data()), token);
                }
            }
        }
    }

    #[test]
    fn tenancy_has_the_tokens_of_its_lane_from_a_generation_on() {
        let tenancy = Tenancy { lane: 7, since: 41 };
        let has = |lane, generation| tenancy.has(Token::new(lane, generation, 9));
        assert_eq!([has(7, 40), has(7, 41), has(7, 42), has(6, 41)], [false, true, true, false]);
        assert!(tenancy.has(Token::unplaced(7)) && !tenancy.has(Token::NOBODY));
    }

    #[test]
    fn next_changes_the_generation_alone() {
        let token = Token::new(7, 41, 9);
        assert_eq!(token.next(), Token::new(7, 42, 9));
    }
}
