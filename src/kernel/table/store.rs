//! The waits, or the waiters, of all tasks, each with its number.
//!
//! ```text
//!   firsts   [   | w |   | w |   ]        by slot: the one that began first
//!                          |
//!   heads    [   |   |   | o |   ]        by slot: the list of those that began later
//!                          '---> w <---> w
//! ```
//!
//! Most tasks wait for one thing at a time, and one task awaits them. Such a record needs no node
//! of a list. If every record were a node, spawning and awaiting a task would take a quarter more
//! instructions. Two bits in the task's header say whether the task has a first record, and whether
//! it has further ones. So code that finds none, the usual case, reads only the header.

use crate::kernel::cell::Header;
use crate::kernel::table::lists::{List, Lists};
use std::num::NonZeroU64;

/// Instead of the index of a node: the record in `firsts`.
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

/// Something for each slot that uses it, in pages: a wait of a task with a high slot takes one page.
pub(super) struct Places<T> {
    /// Each is empty, or has `PAGE` places.
    pages: Vec<Vec<T>>,
    /// Number of pages that have memory.
    taken: usize,
    /// Number of times that a place was taken into use, and number of times that one was released.
    pub(super) put: usize,
    pub(super) released: usize,
    /// The value of `put` when the memory was last freed.
    born_at: usize,
}

/// Number of slots of a page.
const PAGE: usize = 32;

impl<T> Places<T> {
    const NONE: Self = Places { pages: Vec::new(), taken: 0, put: 0, released: 0, born_at: 0 };

    #[inline]
    fn len(&self) -> usize {
        self.put.wrapping_sub(self.released)
    }

    #[inline]
    fn get(&self, slot: u32) -> Option<&T> {
        self.pages.get(slot as usize / PAGE)?.get(slot as usize % PAGE)
    }

    /// The place of a slot, if its page has memory.
    #[inline]
    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.pages.get_mut(slot as usize / PAGE)?.get_mut(slot as usize % PAGE)
    }

    /// Takes the place of a slot into use.
    #[inline]
    fn put(&mut self, slot: u32, empty: fn() -> T) -> &mut T {
        if self.get(slot).is_none() {
            self.take_page(slot, empty);
        }
        self.put = self.put.wrapping_add(1);
        self.get_mut(slot).expect("the page has memory now")
    }

    #[inline]
    fn release(&mut self) {
        self.released = self.released.wrapping_add(1);
        if self.put == self.released && self.taken * PAGE > KEPT {
            self.give_back();
        }
    }

    /// Whether `release` might give memory back.
    #[inline]
    pub(super) fn may_give_back(&self) -> bool {
        self.taken * PAGE > KEPT && self.len() == 1
    }

    #[cold]
    #[inline(never)]
    fn take_page(&mut self, slot: u32, empty: fn() -> T) {
        let page = slot as usize / PAGE;
        if page >= self.pages.len() {
            self.pages.resize_with(page + 1, Vec::new);
        }
        self.pages[page].resize_with(PAGE, empty);
        self.taken += 1;
    }

    /// No place is used. The memory is given back if it was used for half as many places as it has;
    /// otherwise a few tasks might take and give it again and again.
    #[cold]
    #[inline(never)]
    fn give_back(&mut self) {
        if self.put.wrapping_sub(self.born_at) >= self.taken * PAGE / 2 {
            (self.pages, self.taken, self.born_at) = (Vec::new(), 0, self.put);
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
        let slot = task.token().slot();
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
        let slot = task.token().slot();
        let head = match self.heads.get_mut(slot) {
            Some(head) if task.records.get() & Self::MORE != 0 => head,
            _ => self.heads.put(slot, || List::EMPTY),
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
        let first = self.heads.get(task.token().slot())?.first()?;
        Some(self.remove_further(task, first))
    }

    #[inline]
    fn take_first(&mut self, task: &Header) -> Option<T> {
        Self::took_first(task);
        let record = self.firsts.get_mut(task.token().slot())?.take();
        self.firsts.release();
        record.map(|record| record.value)
    }

    #[inline(never)]
    fn remove_further(&mut self, task: &Header, index: u32) -> T {
        let head = self.heads.get_mut(task.token().slot()).expect("a list with records has a head");
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
        let record =
            if index == FIRST { self.firsts.get(task.token().slot())?.as_ref() } else { self.further.get(index) };
        record.filter(|record| record.number == number).map(|record| &record.value)
    }

    pub(super) fn get_mut(&mut self, task: &Header, index: u32, number: NonZeroU64) -> Option<&mut T> {
        let record = if index == FIRST {
            self.firsts.get_mut(task.token().slot())?.as_mut()
        } else {
            self.further.get_mut(index)
        };
        record.filter(|record| record.number == number).map(|record| &mut record.value)
    }

    /// Calls `see` with each record of a task, in the order in which they began.
    pub(super) fn each(&self, task: &Header, mut see: impl FnMut(&Numbered<T>)) {
        let slot = task.token().slot();
        if Self::has_first(task) {
            self.firsts.get(slot).into_iter().flatten().for_each(&mut see);
        }
        if task.records.get() & Self::MORE != 0 {
            let mut next = self.heads.get(slot).and_then(|head| head.first());
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

    fn begin(places: &mut Places<u32>, slot: u32) {
        *places.put(slot, || 0) = 1;
    }

    #[test]
    fn give_the_memory_of_a_burst_back() {
        let mut places = Places::NONE;
        let many = 10 * KEPT as u32;
        (0..many).for_each(|slot| begin(&mut places, slot));
        assert_eq!(places.taken, 10 * KEPT / PAGE);
        (1..many).for_each(|_| places.release());
        assert!(places.may_give_back() && places.taken > 0);
        places.release();
        assert_eq!((places.pages.capacity(), places.taken), (0, 0));
        (0..many / 20).for_each(|slot| begin(&mut places, slot));
        (0..many / 20).for_each(|_| places.release());
        assert!(places.taken > 0 && !places.may_give_back(), "a little memory is kept");
    }

    /// A few tasks with high slots wait for one thing after the other.
    #[test]
    fn take_a_page_for_a_high_slot() {
        let mut places = Places::NONE;
        for _ in 0..1000 {
            for slot in [5, 1_000_000, 2_000_000] {
                begin(&mut places, slot);
                assert_eq!(places.get(slot), Some(&1));
            }
            (0..3).for_each(|_| places.release());
        }
        assert_eq!((places.taken, places.get(77)), (3, None));
    }
}
