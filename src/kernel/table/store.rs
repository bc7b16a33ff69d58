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
use std::mem::ManuallyDrop;
use std::num::NonZeroU64;

/// Instead of the index of a node: the record in `firsts`.
pub(super) const FIRST: u32 = u32::MAX;

/// Maximum number of places whose memory is kept when no record is left.
const KEPT: usize = 1024;

/// Number of times that no record is left before memory is given back.
const PATIENCE: u8 = 16;

/// A record. Without a destructor, so that the store needs no code that drops records: it is empty
/// when the loop ends, unless tasks are leaked, and then their records are leaked too.
pub(in crate::kernel) struct Numbered<T> {
    pub(super) number: NonZeroU64,
    pub(super) value: ManuallyDrop<T>,
}

impl<T> Numbered<T> {
    #[inline]
    pub(super) fn new(number: NonZeroU64, value: T) -> Self {
        Numbered { number, value: ManuallyDrop::new(value) }
    }
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
    pages: Vec<Option<Box<[T; PAGE]>>>,
    /// Number of pages that have memory.
    taken: usize,
    /// Number of places that are in use.
    used: usize,
    /// Number of times that no place was in use any more, while there was much memory.
    emptied: u8,
}

/// Number of slots of a page.
const PAGE: usize = 32;

/// A page, and a place in it.
#[inline]
fn split(slot: u32) -> (usize, usize) {
    (slot as usize / PAGE, slot as usize % PAGE)
}

impl<T> Places<T> {
    const NONE: Self = Places { pages: Vec::new(), taken: 0, used: 0, emptied: 0 };

    #[inline]
    fn get(&self, slot: u32) -> Option<&T> {
        let (page, place) = split(slot);
        Some(&self.pages.get(page)?.as_ref()?[place])
    }

    /// The place of a slot, if its page has memory.
    #[inline]
    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        let (page, place) = split(slot);
        Some(&mut self.pages.get_mut(page)?.as_mut()?[place])
    }

    /// Takes the place of a slot into use.
    #[inline(always)]
    pub(super) fn put(&mut self, slot: u32, empty: fn() -> T) -> &mut T {
        let (page, place) = split(slot);
        if !matches!(self.pages.get(page), Some(Some(_))) {
            self.take_page(page, empty);
        }
        let Some(Some(page)) = self.pages.get_mut(page) else { unreachable!("the page has memory now") };
        self.used += 1;
        &mut page[place]
    }

    #[inline]
    pub(super) fn release(&mut self) {
        self.used -= 1;
        if self.taken > KEPT / PAGE {
            self.give_back();
        }
    }

    #[cold]
    #[inline(never)]
    fn take_page(&mut self, page: usize, empty: fn() -> T) {
        if page >= self.pages.len() {
            self.pages.resize_with(page + 1, || None);
        }
        self.pages[page] = Some(Box::new(std::array::from_fn(|_| empty())));
        self.taken += 1;
    }

    /// Gives the memory back if no place is used, but not each time: otherwise a few tasks with high
    /// slots might take and give it again and again.
    #[cold]
    #[inline(never)]
    fn give_back(&mut self) {
        if self.used > 0 {
            return;
        }
        self.emptied += 1;
        if self.emptied == PATIENCE {
            *self = Places::NONE;
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

    /// Adds a record of a task. Returns its index.
    #[inline]
    pub(super) fn push(&mut self, task: &Header, record: Numbered<T>) -> u32 {
        if !Self::is_empty(task) {
            return self.push_further(task, record);
        }
        *self.put_first(task) = Some(record);
        FIRST
    }

    /// The place of the first record of a task, which has no records yet. The caller fills it.
    #[inline(always)]
    pub(super) fn put_first(&mut self, task: &Header) -> &mut Option<Numbered<T>> {
        task.records.set(task.records.get() | BIT);
        self.firsts.put(task.token().slot(), || None)
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

    /// Takes the first record of a task.
    #[inline]
    fn take_first(&mut self, task: &Header) -> Option<T> {
        self.take_first_if(task, |_| true).map(ManuallyDrop::into_inner)
    }

    /// Takes the first record of a task if it `is_it`.
    #[inline(always)]
    pub(super) fn take_first_if(
        &mut self,
        task: &Header,
        is_it: impl FnOnce(&Numbered<T>) -> bool,
    ) -> Option<ManuallyDrop<T>> {
        let place = self.firsts.get_mut(task.token().slot())?;
        if !is_it(place.as_ref()?) {
            return None;
        }
        let record = place.take()?;
        task.records.set(task.records.get() & !BIT);
        self.firsts.release();
        Some(record.value)
    }

    #[inline(never)]
    fn remove_further(&mut self, task: &Header, index: u32) -> T {
        let head = self.heads.get_mut(task.token().slot()).expect("a list with records has a head");
        let record = self.further.remove(head, index);
        if head.is_empty() {
            task.records.set(task.records.get() & !Self::MORE);
            self.heads.release();
        }
        ManuallyDrop::into_inner(record.value)
    }

    /// The record of a task with this number, if it still exists.
    #[inline]
    pub(super) fn get(&self, task: &Header, index: u32, number: NonZeroU64) -> Option<&T> {
        let record =
            if index == FIRST { self.firsts.get(task.token().slot())?.as_ref() } else { self.further.get(index) };
        record.filter(|record| record.number == number).map(|record| &*record.value)
    }

    pub(super) fn get_mut(&mut self, task: &Header, index: u32, number: NonZeroU64) -> Option<&mut T> {
        let record = if index == FIRST {
            self.firsts.get_mut(task.token().slot())?.as_mut()
        } else {
            self.further.get_mut(index)
        };
        record.filter(|record| record.number == number).map(|record| &mut *record.value)
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
        self.firsts.used + self.further.len()
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
        assert_eq!((places.used, places.taken), (10 * KEPT, 10 * KEPT / PAGE));
        (0..many).for_each(|_| places.release());
        for _ in 1..PATIENCE {
            assert!(places.taken > 0);
            begin(&mut places, 7);
            places.release();
        }
        assert_eq!((places.pages.capacity(), places.taken), (0, 0));
        (0..KEPT as u32).for_each(|slot| begin(&mut places, slot));
        (0..KEPT).for_each(|_| places.release());
        assert_eq!((places.taken, places.emptied), (KEPT / PAGE, 0), "a little memory is kept");
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
