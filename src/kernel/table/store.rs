//! The waits, or the waiters, of all tasks, each with its number.
//!
//! ```text
//!   firsts   [   | w |   | w |   ]        by slot: the one that began first
//!                          |
//!   heads    [   |   |   | o |   ]        by slot: the list of those that began later
//!                          '---> w <---> w
//! ```
//!
//! Most tasks wait for one thing at a time, and one task awaits them. For these no node has to be
//! taken from a list, linked, unlinked and put back: with nodes alone, spawning and awaiting a task
//! took a quarter more instructions. Two bits in the task's header say whether there is a first one,
//! and whether there are others, so that the usual answer, none, is read there.

use crate::kernel::cell::Header;
use crate::kernel::table::lists::{List, Lists};
use std::num::NonZeroU64;

/// Instead of the index of a node: the record that began first.
pub(super) const FIRST: u32 = u32::MAX;

/// Maximum number of places whose memory is kept when no record is left.
const KEPT: usize = 1024;

pub(in crate::kernel) struct Numbered<T> {
    pub(super) number: NonZeroU64,
    pub(super) value: T,
}

/// `BIT` in `Header::records` says that a task has a first record, and the next bit that it has
/// further ones.
pub(super) struct Store<T, const BIT: u8> {
    pub(super) firsts: Places<Option<Numbered<T>>>,
    further: Lists<Numbered<T>>,
    heads: Places<List>,
}

/// Something for each slot. The memory is given back when no place is used, if half as many places
/// were used since it was taken. Otherwise a task with a high slot, which begins and ends one wait
/// after the other, would take and give all of it each time.
pub(super) struct Places<T> {
    pub(super) places: Vec<T>,
    /// How often a place was put to use, and released.
    pub(super) put: usize,
    pub(super) released: usize,
    /// `put` when there was no memory last.
    born_at: usize,
}

impl<T> Places<T> {
    const NONE: Self = Places { places: Vec::new(), put: 0, released: 0, born_at: 0 };

    #[inline]
    fn len(&self) -> usize {
        self.put.wrapping_sub(self.released)
    }

    /// The place of a slot is put to use.
    #[inline]
    fn put(&mut self, slot: usize, empty: fn() -> T) -> &mut T {
        if slot >= self.places.len() {
            self.grow(slot, empty);
        }
        self.put = self.put.wrapping_add(1);
        &mut self.places[slot]
    }

    #[inline]
    fn release(&mut self) {
        self.released = self.released.wrapping_add(1);
        if self.put == self.released && self.places.len() > KEPT {
            self.give_back();
        }
    }

    /// Whether `release` might give memory back.
    #[inline]
    pub(super) fn may_give_back(&self) -> bool {
        self.places.len() > KEPT && self.len() == 1
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, slot: usize, empty: fn() -> T) {
        // A quarter more than needed, since the next slots will probably follow.
        let len = slot + slot / 4 + 16;
        self.places.reserve_exact(len - self.places.len());
        self.places.resize_with(len, empty);
    }

    #[cold]
    #[inline(never)]
    fn give_back(&mut self) {
        if self.put.wrapping_sub(self.born_at) >= self.places.len() / 2 {
            self.places = Vec::new();
            self.born_at = self.put;
        }
    }
}

impl<T, const BIT: u8> Store<T, BIT> {
    const MORE: u8 = BIT << 1;

    pub(super) fn new() -> Self {
        Store { firsts: Places::NONE, further: Lists::new(), heads: Places::NONE }
    }

    #[inline]
    pub(super) fn is_empty(task: &Header) -> bool {
        task.records.get() & (BIT | Self::MORE) == 0
    }

    #[inline]
    pub(super) fn has_first(task: &Header) -> bool {
        task.records.get() & BIT != 0
    }

    /// The first record of the task was put into `firsts`.
    #[inline]
    pub(super) fn put_first(task: &Header) {
        task.records.set(task.records.get() | BIT);
    }

    /// The first record of the task was taken out of `firsts`.
    #[inline]
    pub(super) fn took_first(task: &Header) {
        task.records.set(task.records.get() & !BIT);
    }

    /// Adds a record of a task. Returns its index.
    #[inline]
    pub(super) fn push(&mut self, task: &Header, record: Numbered<T>) -> u32 {
        let slot = task.token().slot() as usize;
        if !Self::is_empty(task) {
            return self.push_further(task, record);
        }
        // The place is empty. Forgotten, so that no drop code is compiled.
        std::mem::forget(self.firsts.put(slot, || None).replace(record));
        Self::put_first(task);
        FIRST
    }

    #[inline(never)]
    fn push_further(&mut self, task: &Header, record: Numbered<T>) -> u32 {
        let slot = task.token().slot() as usize;
        let head = if task.records.get() & Self::MORE == 0 {
            self.heads.put(slot, || List::EMPTY)
        } else {
            &mut self.heads.places[slot]
        };
        task.records.set(task.records.get() | Self::MORE);
        self.further.push(head, record)
    }

    /// Removes the record of a task with this number, if it still exists.
    #[inline]
    pub(super) fn remove(&mut self, task: &Header, index: u32, number: NonZeroU64) -> Option<T> {
        self.get(task, index, number)?;
        if index == FIRST { self.take_first(task) } else { Some(self.remove_further(task, index)) }
    }

    /// Removes the oldest record of a task.
    #[inline]
    pub(super) fn pop(&mut self, task: &Header) -> Option<T> {
        if Self::has_first(task) {
            return self.take_first(task);
        }
        if Self::is_empty(task) {
            return None;
        }
        let first = self.heads.places[task.token().slot() as usize].first()?;
        Some(self.remove_further(task, first))
    }

    #[inline]
    fn take_first(&mut self, task: &Header) -> Option<T> {
        Self::took_first(task);
        let record = self.firsts.places[task.token().slot() as usize].take();
        self.firsts.release();
        record.map(|record| record.value)
    }

    #[inline(never)]
    fn remove_further(&mut self, task: &Header, index: u32) -> T {
        let head = &mut self.heads.places[task.token().slot() as usize];
        let record = self.further.remove(head, index);
        if head.is_empty() {
            task.records.set(task.records.get() & !Self::MORE);
            self.heads.release();
        }
        record.value
    }

    /// The record of a task with this number, if it still exists.
    #[inline]
    pub(super) fn get(&self, task: &Header, index: u32, number: NonZeroU64) -> Option<&T> {
        let record = if index == FIRST {
            self.firsts.places.get(task.token().slot() as usize)?.as_ref()
        } else {
            self.further.get(index)
        };
        record.filter(|record| record.number == number).map(|record| &record.value)
    }

    pub(super) fn get_mut(&mut self, task: &Header, index: u32, number: NonZeroU64) -> Option<&mut T> {
        let record = if index == FIRST {
            self.firsts.places.get_mut(task.token().slot() as usize)?.as_mut()
        } else {
            self.further.get_mut(index)
        };
        record.filter(|record| record.number == number).map(|record| &mut record.value)
    }

    /// Shows the records of a task, in the order in which they began.
    pub(super) fn each(&self, task: &Header, mut see: impl FnMut(&Numbered<T>)) {
        let slot = task.token().slot() as usize;
        if Self::has_first(task) {
            self.firsts.places[slot].iter().for_each(&mut see);
        }
        if task.records.get() & Self::MORE != 0 {
            let mut next = self.heads.places[slot].first();
            while let Some(index) = next {
                self.further.get(index).into_iter().for_each(&mut see);
                next = self.further.next(index);
            }
        }
    }

    /// Number of records of all tasks.
    #[cfg(all(test, not(loom)))]
    pub(super) fn len(&self) -> usize {
        self.firsts.len() + self.further.len()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn begin(places: &mut Places<u32>, slot: usize) {
        *places.put(slot, || 0) = 1;
    }

    #[test]
    fn give_the_memory_of_a_burst_back() {
        let mut places = Places::NONE;
        (0..10 * KEPT).for_each(|slot| begin(&mut places, slot));
        let len = places.places.len();
        assert!((10 * KEPT..15 * KEPT).contains(&len) && places.places.capacity() < 15 * KEPT, "{len} places");
        (1..10 * KEPT).for_each(|_| places.release());
        assert!(places.may_give_back() && places.places.len() == len);
        places.release();
        assert_eq!(places.places.capacity(), 0);
        (0..KEPT / 2).for_each(|slot| begin(&mut places, slot));
        (0..KEPT / 2).for_each(|_| places.release());
        assert!(places.places.len() >= KEPT / 2 && !places.may_give_back(), "a little memory is kept");
    }

    /// A task with a high slot waits for one thing after the other: the memory is taken once in many waits.
    #[test]
    fn keep_the_memory_of_a_high_slot() {
        let mut places = Places::NONE;
        let (mut taken, waits) = (0, 100_000);
        for _ in 0..waits {
            taken += usize::from(places.places.is_empty());
            begin(&mut places, 10 * KEPT);
            places.release();
        }
        assert!(taken <= 1 + waits / (5 * KEPT), "taken {taken} times");
    }
}
