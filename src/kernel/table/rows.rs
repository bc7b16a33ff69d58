//! Creates rows, and frees them when the loop leaves its lane.

#![allow(unsafe_code, reason = "the ready queue links the headers of tasks that rows hold")]

use super::entry::Entry;
use super::store::Side;
use super::{Rows, TaskTable};
use crate::kernel::callbacks::exceptions;
use crate::kernel::cell::{AnyTask, Header};
use crate::kernel::idle::lanes;
use crate::kernel::token::{LAST_GENERATION, MAX_SLOTS, Token};
use alloc::vec::Vec;
use core::mem::ManuallyDrop;
use core::num::NonZeroU64;
use core::ptr::{self, NonNull};

/// A place for one task, in one word. While a task has the row (the *tenant*), the word is the
/// address of its header, which is even. While the row is vacant, the word is an odd number.
///
/// ```text
///   49           26 25          1  0
///  +---------------+-------------+---+
///  |  generation   | next vacant | 1 |      the generation of the next tenant, and the slot of another vacant row
///  +---------------+-------------+---+
/// ```
///
/// Where an address has 32 bits, it is the lower half of the word.
#[derive(Clone, Copy)]
pub(super) struct Row(NonNull<Header>, Upper);

#[cfg(target_pointer_width = "64")]
type Upper = ();
#[cfg(not(target_pointer_width = "64"))]
type Upper = u32;
#[cfg(target_pointer_width = "64")]
const NO_UPPER: Upper = ();
#[cfg(not(target_pointer_width = "64"))]
const NO_UPPER: Upper = 0;

const _: () = assert!(size_of::<Row>() == 8);

const _: () = assert!(align_of::<Header>() > 1);

impl Row {
    /// Instead of the slot of another vacant row: there is none.
    pub(super) const NONE: u32 = MAX_SLOTS as u32;
    const NEXT_BITS: u32 = 25;

    /// A vacant row that gets no tenant.
    const RESERVED: Row = Row::vacant(LAST_GENERATION, Row::NONE);

    #[inline]
    pub(super) const fn vacant(generation: u32, next: u32) -> Self {
        let bits = ((generation as u64) << Self::NEXT_BITS | next as u64) << 1 | 1;
        let lower = NonNull::new(ptr::without_provenance_mut(bits as usize)).expect("it is odd");
        #[cfg(target_pointer_width = "64")]
        return Row(lower, ());
        #[cfg(not(target_pointer_width = "64"))]
        return Row(lower, (bits >> 32) as u32);
    }

    #[inline]
    fn held_by(tenant: NonNull<Header>) -> Self {
        Row(tenant, NO_UPPER)
    }

    /// The tenant, as a pointer from `AnyTask::into_raw`: the row owns a reference to it.
    #[inline]
    pub(super) fn tenant(self) -> Option<NonNull<Header>> {
        (self.0.addr().get() & 1 == 0).then_some(self.0)
    }

    /// The tenant of a row that is not vacant.
    ///
    /// # Safety
    ///
    /// The row is not vacant.
    #[inline]
    pub(super) unsafe fn held(self) -> NonNull<Header> {
        debug_assert!(self.tenant().is_some(), "WAKE-1: a row without its task");
        self.0
    }

    fn bits(self) -> u64 {
        debug_assert!(self.tenant().is_none(), "WAKE-1: two tasks in a row");
        let lower = self.0.addr().get() as u64;
        #[cfg(target_pointer_width = "64")]
        return lower;
        #[cfg(not(target_pointer_width = "64"))]
        return u64::from(self.1) << 32 | lower;
    }

    /// The row of a task that has ended gets the next generation, and becomes the first of the vacant
    /// rows. Without a generation that is left, it stays vacant.
    #[inline]
    fn offer(&mut self, first: &mut u32, token: Token) {
        let generation = token.generation() + 1;
        if generation < LAST_GENERATION {
            *self = Row::vacant(generation, *first);
            *first = token.slot();
        } else {
            *self = Row::RESERVED;
        }
    }

    #[inline]
    pub(super) fn generation(self) -> u32 {
        (self.bits() >> (1 + Self::NEXT_BITS)) as u32
    }

    #[inline]
    pub(super) fn next_vacant(self) -> u32 {
        (self.bits() >> 1) as u32 & ((1 << Self::NEXT_BITS) - 1)
    }
}

impl TaskTable {
    /// The running task.
    #[inline]
    pub(super) fn running_task(&self) -> Option<NonNull<Header>> {
        let token = self.running.get();
        if token == Token::NOBODY {
            return None;
        }
        // SAFETY: `step` or `replace_running` has set `running`, to a task that has a row; `remove`
        // sets it back before it empties the row, and no task ends while another stands in for it.
        self.with(|table| Some(unsafe { table.rows.get_unchecked(token.slot() as usize).held() }))
    }

    /// Like `insert`, when there is no vacant row. A separate function, so that `insert` saves no registers.
    #[cold]
    #[inline(never)]
    pub(super) fn insert_into_new_row(&self, task: AnyTask) {
        self.add_row();
        self.insert(task);
    }

    /// Adds a vacant row.
    fn add_row(&self) {
        // While nothing is borrowed, because this may panic.
        assert!(
            self.with(|table| table.rows.len()) < MAX_SLOTS,
            "a task was spawned, but {MAX_SLOTS} tasks are alive or have used up their rows; let some tasks end first"
        );
        self.with(|table| table.add_row(self.lane.generation));
    }
}

impl Rows {
    fn add_row(&mut self, generation: u32) {
        let slot = self.rows.len();
        if slot == self.rows.capacity() {
            self.grow();
        }
        self.rows.push(Row::vacant(generation, Row::NONE));
        self.vacant = slot as u32;
    }

    fn grow(&mut self) {
        if self.rows.is_empty() {
            // Takes a third of the instructions of `reserve_exact`.
            self.rows = Vec::with_capacity(32);
        } else {
            // By a quarter: doubling would cost up to 8 bytes more for each waiting task.
            self.rows.reserve_exact((self.rows.len() / 4).max(32));
        }
    }

    /// The living task of a token.
    #[inline]
    pub(super) fn tenant(&self, token: Token) -> Option<NonNull<Header>> {
        let task = self.rows.get(token.slot() as usize)?.tenant()?;
        // SAFETY: the row holds its tenant.
        (unsafe { task.as_ref() }.token() == token).then_some(task)
    }

    /// Puts a task into a vacant row. Returns the row's generation and slot.
    #[inline]
    pub(super) fn occupy(&mut self, task: NonNull<Header>) -> (u32, u32) {
        let slot = self.vacant;
        let row = &mut self.rows[slot as usize];
        let generation = row.generation();
        self.vacant = row.next_vacant();
        *row = Row::held_by(task);
        self.tenants += 1;
        (generation, slot)
    }

    /// Makes the row of a task vacant, and returns the reference that it held. `None` if the task has
    /// no row. If waiters of the task are recorded under its slot, the row gets no tenant before `offer`.
    #[inline]
    pub(super) fn vacate(&mut self, task: &Header) -> Option<NonNull<Header>> {
        let row = self.rows.get_mut(task.token().slot() as usize)?;
        let tenant = row.0;
        if !ptr::eq(tenant.as_ptr(), task) {
            return None;
        }
        self.tenants -= 1;
        if Side::Waiters.is_recorded(task) {
            *row = Row::RESERVED;
        } else {
            row.offer(&mut self.vacant, task.token());
        }
        Some(tenant)
    }

    /// A row that is vacant may get its next tenant.
    pub(super) fn offer(&mut self, token: Token) {
        self.rows[token.slot() as usize].offer(&mut self.vacant, token);
    }

    /// Pushes a task into the ready queue.
    #[inline]
    pub(super) fn push_task(&mut self, task: NonNull<Header>) {
        // SAFETY: the task is not in the queue yet (READY-1), and has a row. The row holds the task
        // at least until the task runs, and a task that runs has left the queue.
        unsafe { self.ready.push(Entry::task(task)) };
    }

    #[inline]
    pub(super) fn number(&mut self) -> NonZeroU64 {
        self.numbered += 1;
        NonZeroU64::new(self.numbered).expect("numbers do not come to their end")
    }
}

impl Drop for TaskTable {
    fn drop(&mut self) {
        // A loop that could not end its tasks leaks them (`Kernel::close`), so their tokens count
        // as used. The inbox is already closed, unless the loop was dropped without its owner, or a
        // destructor has used the inbox since: the next loop must not get an open inbox.
        if !self.lane.inbox.is_closed() {
            drop(self.lane.inbox.close());
        }
        let table = self.rows.get_mut();
        let mut unused = self.lane.generation;
        while let Some(row) = table.rows.pop() {
            let used = match row.tenant() {
                // SAFETY: the row holds its tenant, which is leaked.
                Some(task) => unsafe { task.as_ref() }.token().generation() + 1,
                None => row.generation(),
            };
            unused = unused.max(used);
        }
        if table.numbered > 0 {
            // SAFETY: the table is being dropped, and uses the store no more.
            unsafe { ManuallyDrop::drop(&mut table.records) };
        }
        lanes::leave(&self.lane, unused);
        if !table.ready.is_empty() {
            self.drop_queue();
        }
    }
}

impl TaskTable {
    /// Callbacks are in the queue if the loop was dropped without its owner. Tasks are there if they are
    /// leaked.
    #[cold]
    fn drop_queue(&mut self) {
        let ready = &mut self.rows.get_mut().ready;
        let mut callbacks = Vec::new();
        // SAFETY: this is the link that the queue has. The pointer is new, because an older one may not
        // be used while `self` is a `&mut`.
        unsafe { ready.find_first_at(NonNull::from(&self.first)) };
        ready.each(&mut |entry| {
            if entry.as_task().is_none() {
                callbacks.push(entry);
            }
        });
        for entry in callbacks {
            // SAFETY: nothing is taken from the queue any more.
            exceptions::drop_value(unsafe { entry.into_callback() });
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::kernel::{Clock, Kernel};

    /// WAKE-1: no task gets the last generation.
    #[test]
    fn row_retires_when_its_generations_are_used_up() {
        let kernel = Kernel::new(Clock::real(), None, None);
        let table = &kernel.table;
        table.add_row();
        let token = |generation| Token::new(table.lane.number, generation, 0);
        table.with(|table| {
            table.vacant = Row::NONE;
            table.offer(token(LAST_GENERATION - 2));
            assert_eq!((table.vacant, table.rows[0].generation()), (0, LAST_GENERATION - 1));
            table.vacant = Row::NONE;
            table.offer(token(LAST_GENERATION - 1));
            assert_eq!((table.vacant, table.rows[0].generation()), (Row::NONE, LAST_GENERATION));
        });
    }
}
