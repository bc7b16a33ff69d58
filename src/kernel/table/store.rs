//! The records of all tasks: their waits and their waiters, each with its number.
//!
//! ```text
//!   firsts   [   | w |   | w |   ]        by slot: the one that began first
//!                          |
//!   heads    [   |   |   | o |   ]        by slot: the list of those that began later
//!                          '---> w <---> w
//! ```
//!
//! Most tasks wait for one thing at a time, and most have one waiter. Such a record needs no node
//! of a list. If every record were a node, spawning and awaiting a task would take a quarter more
//! instructions. The first awaiter is not even here, but in the header (`cell/extra.rs`). Two bits in
//! the task's header say whether the task has a first record, and whether it has further ones. So code
//! that finds none, the usual case, reads only the header.
//!
//! Waits and waiters are in one store, because the code of two stores would be twice as long. Each has
//! pages of its own, so a task that waits takes no memory for waiters.

use crate::kernel::cell::Header;
use crate::kernel::table::lists::{List, Lists};
use crate::kernel::table::records::{Then, Wait, WaitEntry, WaitKey};
use crate::kernel::token::Token;
use alloc::{boxed::Box, vec::Vec};
use core::hint::black_box;
use core::mem::{self, ManuallyDrop};
use core::num::NonZeroU64;

/// Instead of the index of a node: the record in `firsts`.
pub(super) const FIRST: u32 = u32::MAX;

/// Maximum number of places whose memory is kept when no record is left.
const KEPT: usize = 1024;

/// Number of times that no record is left before memory is given back.
const PATIENCE: u8 = 16;

/// In `Header::records`: a wake found the task in the ready queue, or as the stepped task in whose
/// place another one runs. Only `cancel/through.rs` reads and clears this mark.
pub(in crate::kernel) const MERGED: u8 = 64;

const _: () = assert!(MERGED & (Header::ANY_AWAITER | Header::LOOKED_AT | 15) == 0, "each bit has one meaning");

/// Which records of a task. As a number, the bit in `Header::records` that says that the task has a
/// first one; the next bit says that it has further ones.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Side {
    Waits = 1,
    Waiters = 4,
}

impl Side {
    #[inline]
    pub(super) const fn first(self) -> u8 {
        self as u8
    }

    #[inline]
    const fn more(self) -> u8 {
        self.first() << 1
    }

    #[inline]
    pub(super) fn is_empty(self, task: &Header) -> bool {
        let elsewhere = if matches!(self, Side::Waiters) { Header::ANY_AWAITER } else { 0 };
        task.records.get() & (self.first() | self.more() | elsewhere) == 0
    }

    /// Whether something is recorded under the task's slot.
    #[inline]
    pub(super) fn is_recorded(self, task: &Header) -> bool {
        task.records.get() & (self.first() | self.more()) != 0
    }

    #[inline]
    fn has_first(self, task: &Header) -> bool {
        task.records.get() & self.first() != 0
    }

    #[inline]
    fn has_more(self, task: &Header) -> bool {
        task.records.get() & self.more() != 0
    }

    #[inline]
    const fn nth(self) -> usize {
        (self as u8 / Side::Waiters as u8) as usize
    }
}

/// A wait, or a waiter.
pub(super) enum Item {
    Wait(WaitEntry),
    Waiter(Then),
}

/// An item with its number. It has no destructor, so that no code is compiled that drops records:
/// the store is empty when the loop ends, unless tasks are leaked, and then their records are
/// leaked too.
pub(in crate::kernel) struct Record {
    pub(super) number: NonZeroU64,
    pub(super) item: ManuallyDrop<Item>,
}

const _: () = assert!(size_of::<Option<Record>>() <= 40);

impl Record {
    #[inline]
    pub(super) fn wait(number: NonZeroU64, wait: WaitEntry) -> Self {
        Record { number, item: ManuallyDrop::new(Item::Wait(wait)) }
    }

    /// Whether this is a wait for the end of a task.
    #[inline]
    fn is_of_task(&self) -> bool {
        matches!(*self.item, Item::Wait(WaitEntry { wait: Wait::Task(_), .. }))
    }

    /// Whether this is a wait for the end of this task.
    #[inline]
    fn awaits(&self, task: Token) -> bool {
        matches!(*self.item, Item::Wait(WaitEntry { wait: Wait::Task(awaited), .. }) if awaited == task)
    }

    #[inline]
    pub(super) fn waiter(number: NonZeroU64, then: Then) -> Self {
        Record { number, item: ManuallyDrop::new(Item::Waiter(then)) }
    }
}

pub(super) struct Store {
    // Those of waits, and those of waiters.
    firsts: [Places<Option<Record>>; 2],
    further: Lists<Record>,
    heads: [Places<List>; 2],
}

/// Something for each place that is used, in pages: a wait of a task with a high slot takes one page.
struct Places<T> {
    pages: Vec<Option<Box<[T; PAGE]>>>,
    /// Number of pages that have memory.
    taken: usize,
    /// Number of places that are in use.
    used: usize,
    /// Number of times that no place was in use any more, while there was much memory.
    emptied: u8,
}

/// Number of places of a page.
const PAGE: usize = 32;

/// A page, and a place in it.
#[inline]
fn split(place: u32) -> (usize, usize) {
    (place as usize / PAGE, place as usize % PAGE)
}

#[inline]
fn find<T>(pages: &mut [Option<Box<[T; PAGE]>>], place: u32) -> Option<&mut T> {
    let (page, place) = split(place);
    Some(&mut pages.get_mut(page)?.as_mut()?[place])
}

impl<T> Places<T> {
    const NONE: Self = Places { pages: Vec::new(), taken: 0, used: 0, emptied: 0 };

    /// A place, if its page has memory.
    #[inline]
    fn get(&self, place: u32) -> Option<&T> {
        let (page, place) = split(place);
        Some(&self.pages.get(page)?.as_ref()?[place])
    }

    /// A place, if its page has memory.
    #[inline]
    fn get_mut(&mut self, place: u32) -> Option<&mut T> {
        find(&mut self.pages, place)
    }

    /// Takes a place into use.
    #[inline(always)]
    fn put(&mut self, place: u32, empty: fn() -> T) -> &mut T {
        let (page, place) = split(place);
        if !matches!(self.pages.get(page), Some(Some(_))) {
            self.take_page(page, empty);
        }
        let Some(Some(page)) = self.pages.get_mut(page) else { unreachable!("the page has memory now") };
        self.used += 1;
        &mut page[place]
    }

    #[inline]
    fn release(&mut self) {
        self.used -= 1;
        if self.is_large() {
            self.give_back();
        }
    }

    /// Whether there is more memory than is kept when no place is in use.
    #[inline]
    fn is_large(&self) -> bool {
        self.taken > KEPT / PAGE
    }

    #[cold]
    #[inline(never)]
    fn take_page(&mut self, page: usize, empty: fn() -> T) {
        if page >= self.pages.len() {
            self.pages.resize_with(page + 1, || None);
        }
        // `black_box`, because otherwise this loop is unrolled, to 1.5 kB for each type.
        let mut places = Vec::new();
        places.resize_with(black_box(PAGE), empty);
        self.pages[page] = Box::try_from(places).ok();
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

impl Places<Option<Record>> {
    #[cold]
    #[inline(never)]
    fn drop_wait(&mut self, place: u32) {
        self.get_mut(place).into_iter().for_each(drop_wait);
        self.release();
    }
}

/// Drops a wait where it is: to move it out first would take more instructions.
#[inline(never)]
fn drop_wait(place: &mut Option<Record>) {
    if let Some(Item::Wait(ended)) = place.as_mut().map(|record| &mut *record.item) {
        let wait = mem::replace(&mut ended.wait, Wait::ELSEWHERE);
        *place = None;
        drop(wait);
    }
}

impl Store {
    pub(super) const EMPTY: Self = Store { firsts: [Places::NONE; 2], further: Lists::EMPTY, heads: [Places::NONE; 2] };

    /// Adds a record of a task. Returns its index.
    pub(super) fn push(&mut self, task: &Header, side: Side, record: Record) -> u32 {
        if !side.is_empty(task) {
            return self.push_further(task, side, record);
        }
        *self.put_first(task, side) = Some(record);
        FIRST
    }

    /// Like `push`, if the task has records already.
    #[inline(never)]
    pub(super) fn push_further(&mut self, task: &Header, side: Side, record: Record) -> u32 {
        let (heads, slot) = (&mut self.heads[side.nth()], task.token().slot());
        let head = match heads.get_mut(slot) {
            Some(head) if side.has_more(task) => head,
            _ => heads.put(slot, || List::EMPTY),
        };
        task.records.set(task.records.get() | side.more());
        self.further.push(head, record)
    }

    /// The place of the first record of a task, which has no records yet. The caller fills it.
    #[inline(always)]
    pub(super) fn put_first(&mut self, task: &Header, side: Side) -> &mut Option<Record> {
        task.records.set(task.records.get() | side.first());
        self.firsts[side.nth()].put(task.token().slot(), || None)
    }

    /// Sets the first wait of the task in a slot, which has none, if there is memory for it.
    #[inline(always)]
    pub(super) fn try_put_first_wait(&mut self, slot: u32, record: Record) -> bool {
        let waits = &mut self.firsts[Side::Waits.nth()];
        let Some(place) = waits.get_mut(slot) else { return false };
        *place = Some(record);
        waits.used += 1;
        true
    }

    /// Removes the record of a task with this number, if it still exists.
    pub(super) fn remove(&mut self, task: &Header, side: Side, index: u32, number: NonZeroU64) -> Option<Item> {
        self.get_mut(task, side, index, number)?;
        self.take(task, side, index)
    }

    /// Removes the oldest record of a task.
    #[inline]
    pub(super) fn pop(&mut self, task: &Header, side: Side) -> Option<Item> {
        if side.has_first(task) {
            return self.take_first(task, side);
        }
        self.pop_further(task, side)
    }

    #[inline(never)]
    fn pop_further(&mut self, task: &Header, side: Side) -> Option<Item> {
        if side.is_empty(task) {
            return None;
        }
        let first = self.heads[side.nth()].get_mut(task.token().slot())?.first()?;
        self.take(task, side, first)
    }

    /// Removes a record that exists.
    fn take(&mut self, task: &Header, side: Side, index: u32) -> Option<Item> {
        if index == FIRST {
            return self.take_first(task, side);
        }
        let heads = &mut self.heads[side.nth()];
        let head = heads.get_mut(task.token().slot())?;
        let record = self.further.remove(head, index);
        if head.is_empty() {
            task.records.set(task.records.get() & !side.more());
            heads.release();
        }
        Some(ManuallyDrop::into_inner(record.item))
    }

    /// Takes the first record of a task.
    #[inline(always)]
    fn take_first(&mut self, task: &Header, side: Side) -> Option<Item> {
        let firsts = &mut self.firsts[side.nth()];
        let record = firsts.get_mut(task.token().slot())?.take()?;
        task.records.set(task.records.get() & !side.first());
        firsts.release();
        Some(ManuallyDrop::into_inner(record.item))
    }

    /// Removes the first wait of a task if it has this key, and clears the key. Otherwise does nothing.
    ///
    /// Most waits are for the end of a task. The record of such a wait owns nothing, so it is cleared
    /// without a call. The records of other waits are dropped by calls, which come last: then the
    /// compiler saves no registers for them.
    #[inline(always)]
    pub(super) fn end_first_wait(&mut self, task: &Header, slot: u32, key: &mut Option<WaitKey>) -> bool {
        let waits = &mut self.firsts[Side::Waits.nth()];
        let is_large = waits.is_large();
        let Some(ended) = &*key else { return false };
        let Some(place) = find(&mut waits.pages, slot) else { return false };
        let Some(record) = &*place else { return false };
        if record.number != { ended.number } {
            return false;
        }
        *key = None;
        task.records.set(task.records.get() & !Side::Waits.first());
        if record.is_of_task() {
            *place = None;
            waits.release();
        } else if is_large {
            waits.drop_wait(slot);
        } else {
            waits.used -= 1;
            drop_wait(place);
        }
        true
    }

    /// Ends the first wait of the task in a slot if it is a wait for this other task. Does nothing if memory may
    /// have to be given back, so that no registers are saved for a call.
    #[inline(always)]
    pub(super) fn end_join(&mut self, task: &Header, slot: u32, ended: Token) -> bool {
        let waits = &mut self.firsts[Side::Waits.nth()];
        let is_large = waits.is_large();
        let Some(place) = waits.get_mut(slot) else { return false };
        if is_large || !place.as_ref().is_some_and(|record| record.awaits(ended)) {
            return false;
        }
        *place = None;
        task.records.set(task.records.get() & !Side::Waits.first());
        waits.used -= 1;
        true
    }

    /// The record of a task with this number, if it still exists. The number alone does not tell:
    /// `WaiterKey::FIRST` has the same number for each task that a slot has had.
    pub(super) fn get_mut(&mut self, task: &Header, side: Side, index: u32, number: NonZeroU64) -> Option<&mut Item> {
        let record = match index {
            FIRST if side.has_first(task) => self.firsts[side.nth()].get_mut(task.token().slot())?.as_mut(),
            FIRST => None,
            _ => self.further.get_mut(index),
        };
        record.filter(|record| record.number == number).map(|record| &mut *record.item)
    }

    /// Calls `see` with each wait of a task, in the order in which they began.
    pub(super) fn each_wait(&self, task: &Header, see: &mut dyn FnMut(NonZeroU64, &WaitEntry)) {
        let mut see = |record: &Record| {
            if let Item::Wait(wait) = &*record.item {
                see(record.number, wait);
            }
        };
        let (waits, slot) = (Side::Waits.nth(), task.token().slot());
        if Side::Waits.has_first(task) {
            self.firsts[waits].get(slot).into_iter().flatten().for_each(&mut see);
        }
        if Side::Waits.has_more(task) {
            let mut next = self.heads[waits].get(slot).and_then(|head| head.first());
            while let Some(index) = next {
                self.further.get(index).into_iter().for_each(&mut see);
                next = self.further.next(index);
            }
        }
    }

    /// Number of records of all tasks.
    #[cfg(all(test, not(loom)))]
    pub(super) fn len(&self) -> usize {
        self.firsts[0].used + self.firsts[1].used + self.further.len()
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
                assert_eq!(places.get_mut(slot), Some(&mut 1));
            }
            (0..3).for_each(|_| places.release());
        }
        assert_eq!((places.taken, places.get_mut(77)), (3, None));
    }
}
