//! The timer wheel: exact to the nanosecond. Timers fire by deadline; with equal deadlines, in order of creation (TIME-3).
//!
//! Write a deadline as eleven digits in base 64. The highest digit in which the deadline differs from the wheel's time gives
//! the timer's level; the value of that digit in the deadline gives its slot:
//!
//! ```text
//!   time       0 0 0 0 0 0 0 2 17 40 05
//!   deadline   0 0 0 0 0 0 0 2 19 03 61      differs first in digit 2: level 2, slot 19
//! ```
//!
//! A timer that is due ten nanoseconds after this time differs in the last digit only, so it is on level 0. The slots of level
//! 0 are 1 ns wide, of level 1 64 ns, of level 2 about 4 µs, of level 5 about a second, of level 9 half a year.
//!
//! All digits above the level agree, so an occupied slot is ahead of the time's own digit (on level 0, at it or ahead). Every
//! timer on a lower level is due before every timer on a higher one. The next slot is the first set bit of the lowest occupied
//! level. When time enters a slot, its timers move down to the level on which they differ now. On level 0 they are due.
//!
//! Why do equal deadlines keep the order of creation? Until time enters a slot, all timers of its span are in this slot's list,
//! in order. So timers that move down find empty slots; the lists keep their order, and later timers are appended behind them.
//!
//! `insert` and `remove` are O(1). A timer moves down at most once per level, so at most eleven times. Timers whose deadline
//! has already passed when they are inserted are rare. They wait in a separate list (`late`), which is sorted when they fire.
//!
//! # Why a wheel
//!
//! asyncio keeps its timers in a heap; `benches/wheel` measures both. A heap is faster for timers that fire, because it has no
//! levels through which they move. But most timers are timeouts, which are cancelled and never fire. In asyncio's heap, a
//! cancelled timer stays until it reaches the top, or until half of the timers are cancelled: then the heap is rebuilt, a pause
//! that grows with its size. In the wheel, a cancelled timer is removed at once, with its value, by two list operations. And
//! timers with equal deadlines keep their order by their places in a list, without comparisons.
//!
//! A digit has six bits, so that a machine word holds the occupied slots of a level, and one instruction finds the next one.
//!
//! This file knows no wakers, callbacks or clocks: its callers pass the time as a number. It is the last file of the heart.
//! Read the rooms in any order; `table/waker.rs` and `cancel/spread.rs` are good ones to begin with.

use super::table::lists::{List, Lists};
use super::table::sort::sorted;
use alloc::vec::Vec;

const DIGIT_BITS: u32 = 6;
const SLOTS: usize = 1 << DIGIT_BITS;
/// Number of digits of a `u64` in base 64.
const LEVELS: u32 = u64::BITS.div_ceil(DIGIT_BITS);

/// Timers by deadline, each with a value.
#[derive(Debug)]
pub(crate) struct Wheel<T> {
    /// The wheel's time. Never goes back. No timer on a level is due before it.
    time: u64,
    /// Either all levels or none: a wheel that never had a timer takes no memory.
    levels: Vec<Level>,
    /// Timers whose deadlines had passed when they were inserted, in order of age.
    late: List,
    /// Timers that `expire` has set aside and `pop_due` has not taken yet, in order.
    due: List,
    timers: Lists<Timer<T>>,
    /// The earliest deadline, if known. It is unknown after the timer with this deadline was removed or has fired.
    earliest: Option<u64>,
}

/// One level: timers by the digit in which their deadlines first differ from the time.
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

/// Which list a timer is in.
#[derive(Debug, Clone, Copy)]
enum Place {
    Slot { level: u8, slot: u8 },
    Late,
    Due,
}

/// Names one timer of one wheel, for ever: `age` distinguishes it from later timers with the same index.
///
/// Packed, because each sleep contains one, and a quarter of it would be padding.
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

    /// Inserts a timer. If `deadline` has passed, the timer is due at the next `expire`. Each timer needs a higher `age`.
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

    /// Removes a timer if it exists and its value `is_it`.
    #[inline]
    pub(crate) fn remove_if(&mut self, key: TimerKey, is_it: impl FnOnce(&T) -> bool) -> Option<T> {
        let timer = self.timers.get(key.index).filter(|timer| timer.age == key.age && is_it(&timer.value))?;
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

    /// The earliest deadline, exactly.
    ///
    /// O(1), except after the timer with this deadline was removed or has fired: then a call searches one slot and `late`.
    pub(crate) fn next_deadline(&mut self) -> Option<u64> {
        if self.timers.is_empty() {
            return None;
        }
        if self.earliest.is_none() {
            self.earliest = self.find_earliest();
        }
        self.earliest
    }

    /// Sets aside the timers that are due at `now`, and moves the wheel's time to `now`. Before that, `pop_due` must have taken
    /// all timers that were set aside.
    ///
    /// Time skips the empty slots: a virtual clock jumps over a year as quickly as over a second.
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

    /// Takes the next of the timers that `expire` has set aside: its age and its value.
    pub(crate) fn pop_due(&mut self) -> Option<(u64, T)> {
        let timer = self.timers.pop(&mut self.due)?;
        // This timer may have been the earliest. Which one is next is not known yet.
        self.earliest = None;
        debug_assert!(timer.deadline <= self.time, "TIME-2: a timer for {} fires at {}", timer.deadline, self.time);
        Some((timer.age, timer.value))
    }

    /// The occupied slot that time enters next: its level, its number, and the time at which it begins.
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

    /// Time enters a slot: its timers are due if the slot is on level 0; otherwise they move down.
    fn enter(&mut self, level: u32, slot: u32) {
        let from = &mut self.levels[level as usize];
        from.occupied &= !(1 << slot);
        let mut next = core::mem::replace(&mut from.slots[slot as usize], List::EMPTY).first();
        while let Some(index) = next {
            next = self.timers.next(index);
            if level == 0 {
                self.set_due(index);
            } else {
                self.move_down(index);
            }
        }
    }

    /// Moves a timer to the level on which it differs from the time now.
    fn move_down(&mut self, index: u32) {
        let deadline = self.timer_mut(index).deadline;
        let place = self.place(deadline);
        self.timer_mut(index).place = place;
        if let Place::Slot { level, slot } = place {
            self.link(level, slot, index);
        }
    }

    /// Sets the late timers aside, in the order of deadlines and ages.
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

    /// The level and slot of a deadline that has not passed.
    #[inline]
    fn place(&self, deadline: u64) -> Place {
        debug_assert!(deadline >= self.time);
        let difference = deadline ^ self.time;
        // The digit that contains the highest differing bit. If the deadline is this very moment, no bit differs: level 0.
        let level = (difference | 1).ilog2() / DIGIT_BITS;
        let slot = (deadline >> (level * DIGIT_BITS)) % SLOTS as u64;
        Place::Slot { level: level as u8, slot: slot as u8 }
    }

    /// Appends a timer to a slot.
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

    /// Finds the earliest deadline by searching the slot that comes next.
    fn find_earliest(&self) -> Option<u64> {
        // Deadlines of timers that are set aside or late are at or before the wheel's time; all others are at or after it.
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
