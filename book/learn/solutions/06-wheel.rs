//! Chapter 6: a timer wheel. Each level has 64 slots, one for each digit in base 64. A deadline is put on the level of the
//! highest digit in which it differs from the time, in the slot of this digit. So a timer is inserted without a search.
//! When the time enters a slot of a higher level, its timers move down.

const LEVELS: usize = 4;
const SLOTS: usize = 64;

pub struct Wheel {
    now: u64,
    slots: Vec<[Vec<Timer>; SLOTS]>,
}

struct Timer {
    deadline: u64,
    id: u64,
}

/// The digit of a time that belongs to a level.
fn digit(time: u64, level: usize) -> usize {
    (time >> (6 * level)) as usize % SLOTS
}

impl Wheel {
    pub fn new() -> Self {
        Wheel { now: 0, slots: (0..LEVELS).map(|_| std::array::from_fn(|_| Vec::new())).collect() }
    }

    /// Adds a timer. Its deadline is later than the wheel's time, and less than 64 to the fourth.
    pub fn insert(&mut self, id: u64, deadline: u64) {
        let level = self.level(deadline);
        self.slots[level][digit(deadline, level)].push(Timer { deadline, id });
    }

    /// Removes a timer. Returns false if it is not there.
    pub fn remove(&mut self, id: u64, deadline: u64) -> bool {
        let level = self.level(deadline);
        let slot = &mut self.slots[level][digit(deadline, level)];
        let before = slot.len();
        slot.retain(|timer| timer.id != id);
        slot.len() < before
    }

    fn level(&self, deadline: u64) -> usize {
        (0..LEVELS).rev().find(|&level| digit(deadline, level) != digit(self.now, level)).unwrap_or(0)
    }

    /// Moves the time to `now`. Returns the timers that are due: by deadline, equals in the order of insertion.
    /// It does not walk through the moments in between: its work does not grow with the time that has passed.
    pub fn expire(&mut self, now: u64) -> Vec<u64> {
        let mut due = Vec::new();
        while let Some((level, slot)) = self.first() {
            // The first moment of the slot: the digits above are those of the time, the digits below are zero.
            let above = self.now >> (6 * (level + 1)) << (6 * (level + 1));
            let start = above + ((slot as u64) << (6 * level));
            if start > now {
                break;
            }
            self.now = start;
            for timer in std::mem::take(&mut self.slots[level][slot]) {
                if timer.deadline == start {
                    due.push(timer.id);
                } else {
                    self.insert(timer.id, timer.deadline);
                }
            }
        }
        self.now = now;
        due
    }

    /// The slot that the time enters first: the lowest level that has timers, and the first slot on it.
    fn first(&self) -> Option<(usize, usize)> {
        let first = |level: usize| self.slots[level].iter().position(|slot| !slot.is_empty());
        (0..LEVELS).find_map(|level| Some((level, first(level)?)))
    }
}
