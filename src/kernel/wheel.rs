//! The timer wheel: exact to the nanosecond, in the order of deadlines, equals in the order of their making (TIME-3).
//!
//! Write a deadline as eleven digits of base 64. A timer stands on the level of the highest digit in which its deadline
//! differs from the wheel's time, in the slot that this digit names:
//!
//! ```text
//!   time       0 0 0 0 0 0 0 2 17 40 05
//!   deadline   0 0 0 0 0 0 0 2 19 03 61      differs first in digit 2: level 2, slot 19
//! ```
//!
//! At that time, a timer for ten nanoseconds later differs in the last digit alone. It stands on level 0, whose slots are a nanosecond
//! wide; those of level 1 are 64 ns wide, of level 2 about 4 µs, of level 5 about a second, of level 9 about half a year.
//!
//! All earlier digits agree, so on each level the occupied slots lie ahead of the time's own digit, and everything on a lower
//! level is due before anything on a higher one. The first set bit of the lowest occupied level is the slot that comes next.
//! When time enters a slot, its timers move down to where they differ now, on level 0 they are due.
//!
//! Why equals stay in the order of their making: a slot is entered before anything can be put below it, so what moves down
//! meets empty slots, and keeps its order, and what is made later stands behind.
//!
//! `insert` and `remove` are O(1). A timer moves down once a level at most, so a deadline costs eleven moves in the worst
//! case. Deadlines that have passed already when they are inserted are rare, and wait in a list of their own (`late`) that
//! is sorted when they fire.
//!
//! # Why a wheel
//!
//! asyncio keeps its timers in a heap, and `benches/wheel` measures one beside this. A heap is quicker as long as timers fire, since
//! nothing moves down in it. But most timers never fire: they are limits, and are taken back. In a heap such a timer stays until
//! it comes to the top, or until half of them are such and the heap is made anew, which is a pause that grows with their number.
//! Here it is gone at once, with what it holds, by two operations on lists, however many there are. And equals keep their order
//! by where they stand, without being compared.
//!
//! The digits have six bits, because the occupied slots of a level are then one machine word, and the next of them is one instruction.
//!
//! Knows no waker, no callback and no clock: time is a number that somebody hands in. This is the last file of the heart. The
//! rooms can be read in any order; `table/waker.rs` and `cancel/spread.rs` are good ones to begin with.

use super::table::lists::{List, Lists};
use super::table::sort::sorted;

const DIGIT_BITS: u32 = 6;
const SLOTS: usize = 1 << DIGIT_BITS;
/// So many digits has a `u64` in base 64.
const LEVELS: u32 = u64::BITS.div_ceil(DIGIT_BITS);

/// Timers by their deadlines, each with a value.
#[derive(Debug)]
pub(crate) struct Wheel<T> {
    /// The wheel's time. Never goes back; no timer on a level is due before it.
    time: u64,
    /// All or none: a wheel that never had a timer takes no memory.
    levels: Vec<Level>,
    /// Timers whose deadlines had passed when they were inserted, by age.
    late: List,
    /// What `expire` has set aside and `pop_due` has not taken yet, in order.
    due: List,
    timers: Lists<Timer<T>>,
    /// The earliest deadline, if it is known. Removing that timer makes it unknown.
    earliest: Option<u64>,
}

/// The timers whose deadlines differ from the time first in one digit, by that digit.
#[derive(Debug)]
struct Level {
    /// Bit n is set if and only if slot n has a timer.
    occupied: u64,
    slots: [List; SLOTS],
}

#[derive(Debug)]
struct Timer<T> {
    deadline: u64,
    age: u64,
    place: Place,
    value: T,
}

/// Where a timer stands.
#[derive(Debug, Clone, Copy)]
enum Place {
    Slot { level: u8, slot: u8 },
    Late,
    Due,
}

/// Names one timer of one wheel, for ever: `age` tells it from later ones under the same index.
///
/// Packed, since whoever waits keeps one, and a quarter of it would be padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(Rust, packed(4))]
pub(crate) struct TimerKey {
    index: u32,
    age: u64,
}

impl<T> Wheel<T> {
    pub(crate) fn new() -> Self {
        Wheel { time: 0, levels: Vec::new(), late: List::EMPTY, due: List::EMPTY, timers: Lists::new(), earliest: None }
    }

    /// A timer for `deadline`, which may have passed already, and is then due at the next `expire`. Later ones have higher ages,
    /// and no two have the same.
    #[inline]
    pub(crate) fn insert(&mut self, deadline: u64, age: u64, value: T) -> TimerKey {
        if self.timers.is_empty() || self.earliest.is_some_and(|earliest| deadline < earliest) {
            self.earliest = Some(deadline);
        }
        let place = if deadline < self.time { Place::Late } else { self.place(deadline) };
        let index = self.timers.add(Timer { deadline, age, place, value });
        match place {
            Place::Slot { level, slot } => self.link(level, slot, index),
            _ => self.timers.link(&mut self.late, index),
        }
        TimerKey { index, age }
    }

    /// Takes a timer out, unless it was taken or has fired.
    pub(crate) fn remove(&mut self, key: TimerKey) -> Option<T> {
        let timer = self.timers.get(key.index).filter(|timer| timer.age == key.age)?;
        let deadline = timer.deadline;
        match timer.place {
            Place::Late => self.timers.unlink(&mut self.late, key.index),
            Place::Due => self.timers.unlink(&mut self.due, key.index),
            Place::Slot { level, slot } => {
                let level = &mut self.levels[level as usize];
                let list = &mut level.slots[slot as usize];
                self.timers.unlink(list, key.index);
                if list.is_empty() {
                    level.occupied &= !(1 << slot);
                }
            }
        }
        if self.earliest == Some(deadline) {
            self.earliest = None;
        }
        Some(self.timers.free(key.index).value)
    }

    /// The deadline of the timer that is due next; exact.
    ///
    /// O(1), but for the first call after that timer has gone: then one slot is looked through.
    pub(crate) fn next_deadline(&mut self) -> Option<u64> {
        if self.timers.is_empty() {
            return None;
        }
        if self.earliest.is_none() {
            self.earliest = self.find_earliest();
        }
        self.earliest
    }

    /// Sets aside what is due at `now`, for `pop_due`, and moves the wheel's time there. What was set aside before must be gone.
    ///
    /// Time goes from one occupied slot to the next, and never through the empty ones between them: a virtual clock jumps over a year
    /// as quickly as over a second.
    pub(crate) fn expire(&mut self, now: u64) {
        debug_assert!(now >= self.time, "TIME-1: the wheel was turned back from {} to {now}", self.time);
        debug_assert!(self.due.is_empty(), "TIME-3: timers of an earlier turn have not fired yet");
        if !self.late.is_empty() {
            self.expire_late();
        }
        while let Some((level, slot, begin)) = self.next_slot() {
            if begin > now {
                break;
            }
            self.time = self.time.max(begin);
            self.enter(level, slot);
        }
        self.time = now;
    }

    /// The next timer of those that `expire` has set aside.
    pub(crate) fn pop_due(&mut self) -> Option<(u64, T)> {
        let timer = self.timers.pop(&mut self.due)?;
        // What was set aside was the earliest; now something else is.
        self.earliest = None;
        debug_assert!(timer.deadline <= self.time, "TIME-2: a timer for {} fires at {}", timer.deadline, self.time);
        Some((timer.age, timer.value))
    }

    /// The occupied slot that time enters next: its level, its number and the moment of its beginning.
    fn next_slot(&self) -> Option<(u32, u32, u64)> {
        let level = self.levels.iter().position(|level| level.occupied != 0)?;
        let slot = self.levels[level].occupied.trailing_zeros();
        let level = level as u32;
        let shift = level * DIGIT_BITS;
        // The time's digits above this level, this slot's digit, zeros below.
        let above = self.time.checked_shr(shift + DIGIT_BITS).unwrap_or(0);
        let above = above.checked_shl(shift + DIGIT_BITS).unwrap_or(0);
        Some((level, slot, above | u64::from(slot) << shift))
    }

    /// Time has come to a slot: its timers are due, if it is one of level 0, else they move down.
    fn enter(&mut self, level: u32, slot: u32) {
        let from = &mut self.levels[level as usize];
        from.occupied &= !(1 << slot);
        let mut next = std::mem::replace(&mut from.slots[slot as usize], List::EMPTY).first();
        while let Some(index) = next {
            next = self.timers.next(index);
            if level == 0 {
                self.set_due(index);
            } else {
                self.move_down(index);
            }
        }
    }

    /// A timer's slot of a higher level has come: it goes to where it differs from the time now.
    fn move_down(&mut self, index: u32) {
        let deadline = self.timer_mut(index).deadline;
        let place = self.place(deadline);
        self.timer_mut(index).place = place;
        if let Place::Slot { level, slot } = place {
            self.link(level, slot, index);
        }
    }

    /// Those that were late already, in the order of deadlines and ages.
    #[cold]
    fn expire_late(&mut self) {
        let mut late = Vec::new();
        while let Some(index) = self.late.first() {
            self.timers.unlink(&mut self.late, index);
            let timer = self.timer_mut(index);
            late.push((timer.deadline, timer.age, u64::from(index)));
        }
        for (_, _, index) in sorted(late) {
            self.set_due(index as u32);
        }
    }

    fn set_due(&mut self, index: u32) {
        self.timer_mut(index).place = Place::Due;
        self.timers.link(&mut self.due, index);
    }

    fn timer_mut(&mut self, index: u32) -> &mut Timer<T> {
        self.timers.get_mut(index).expect("a timer that stands in a list is there")
    }

    /// Where a deadline belongs that has not passed.
    #[inline]
    fn place(&self, deadline: u64) -> Place {
        debug_assert!(deadline >= self.time);
        let difference = deadline ^ self.time;
        // The digit of the highest bit that differs; none differs in a deadline that is this very moment: level 0.
        let level = (difference | 1).ilog2() / DIGIT_BITS;
        let slot = (deadline >> (level * DIGIT_BITS)) % SLOTS as u64;
        Place::Slot { level: level as u8, slot: slot as u8 }
    }

    /// Puts a timer at the end of a slot.
    #[inline]
    fn link(&mut self, level: u8, slot: u8, index: u32) {
        if self.levels.is_empty() {
            self.add_levels();
        }
        let level = &mut self.levels[level as usize];
        level.occupied |= 1 << slot;
        self.timers.link(&mut level.slots[slot as usize], index);
    }

    #[cold]
    fn add_levels(&mut self) {
        self.levels.reserve_exact(LEVELS as usize);
        while self.levels.len() < LEVELS as usize {
            self.levels.push(Level { occupied: 0, slots: [List::EMPTY; SLOTS] });
        }
    }

    /// The earliest deadline of all, by a look at the slot that comes next.
    fn find_earliest(&self) -> Option<u64> {
        // What is set aside or late lies before the wheel's time, everything else at it or behind it.
        let due = self.timers.iter(self.due).next().map(|timer| timer.deadline);
        let late = self.timers.iter(self.late).map(|timer| timer.deadline).min();
        if due.is_some() || late.is_some() {
            return due.into_iter().chain(late).min();
        }
        let (level, slot, begin) = self.next_slot()?;
        if level == 0 {
            return Some(begin);
        }
        let list = self.levels[level as usize].slots[slot as usize];
        self.timers.iter(list).map(|timer| timer.deadline).min()
    }
}

#[cfg(test)]
mod tests;
mod view;
