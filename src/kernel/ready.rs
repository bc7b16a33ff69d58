//! The ready queue: first in, first out.
//!
//! The queue is two linked lists of entries: each entry contains a `Link`, which names the next entry. A turn takes the entries
//! that are ready when it begins. Entries that are pushed during the turn go into the second list, for the next turn (READY-2).
//!
//! ```text
//!   head ---> c ---> d ---> e ---> nothing        this turn: taken at `head`
//!   first --> f ---> g ---> h                     the next turn: pushed at `last`
//!                           ^
//!                          last
//! ```
//!
//! `first` is a link that belongs to no entry, so that pushing is the same whether the list is empty or not. The other usual
//! form is a ring buffer: with one, a switch took fourteen instructions more, and each ready task eight to sixteen bytes more.
//!
//! An entry is anything that has a link and stays where it is; this file knows no tasks and no callbacks. Next: `token.rs`.
#![allow(unsafe_code, reason = "follows links to entries that their owners keep")]

use core::cell::Cell;
use core::ptr::NonNull;

/// The place in an entry for the next entry. Its content counts only while the entry is in a queue.
pub(crate) struct Link<E>(Cell<Option<E>>);

impl<E> Link<E> {
    pub(crate) fn new() -> Self {
        Link(Cell::new(None))
    }
}

/// Something that can be in a queue.
pub(crate) trait Linked: Copy {
    fn link(self) -> NonNull<Link<Self>>;
}

pub(crate) struct ReadyQueue<E> {
    /// The entry of this turn that is taken next.
    head: Option<E>,
    /// If this turn is run in portions (`ready/view.rs`): the first entry of this turn that is behind the current portion.
    rest: Option<E>,
    /// The link to the first entry of the next turn. It is outside of the queue, so a borrow of the queue does not include it.
    first: NonNull<Link<E>>,
    /// The link behind the last entry of the next turn.
    last: NonNull<Link<E>>,
    /// Number of entries that were ever pushed. Numbers wrap.
    pushed: usize,
    /// Number of entries that were ever taken.
    taken: usize,
}

impl<E: Linked> ReadyQueue<E> {
    /// # Safety
    ///
    /// When the queue is used, `first` points to a link. Nothing else uses this link, moves it, or has a `&mut` to it.
    pub(crate) unsafe fn new(first: NonNull<Link<E>>) -> Self {
        ReadyQueue { head: None, rest: None, first, last: first, pushed: 0, taken: 0 }
    }

    /// Begins a turn: all entries that are in the queue now belong to this turn.
    #[inline]
    pub(crate) fn mark(&mut self) {
        if self.head.is_some() || self.rest.is_some() {
            return self.mark_all();
        }
        self.mark_next_turn();
    }

    /// Like `mark`, but only if no entry of the previous turn is left.
    #[inline]
    pub(crate) fn mark_next_turn(&mut self) {
        // SAFETY: `last` is `first` or the link of an entry, which exists until it is taken (`push`).
        unsafe { self.last.as_ref() }.0.set(None);
        self.last = self.first;
        // SAFETY: `first` is ours (`new`).
        self.head = unsafe { self.first.as_ref() }.0.get();
    }

    /// Takes the next entry of this turn. Returns `None` at the end of the turn, even if more entries wait for the next.
    #[inline]
    pub(crate) fn pop_marked(&mut self) -> Option<E> {
        let entry = self.head?;
        // SAFETY: the entry exists until it is taken (`push`).
        self.head = unsafe { entry.link().as_ref() }.0.get();
        self.taken = self.taken.wrapping_add(1);
        Some(entry)
    }

    /// Appends an entry. The entry belongs to the turn that the next call of `mark` begins.
    ///
    /// # Safety
    ///
    /// The entry is in no queue. Its link exists, and stays where it is, until the entry is taken or the queue is dropped.
    #[inline]
    pub(crate) unsafe fn push(&mut self, entry: E) {
        // SAFETY: `last` is `first` or the link of an entry, which exists until it is taken.
        unsafe { self.last.as_ref() }.0.set(Some(entry));
        self.last = entry.link();
        self.pushed = self.pushed.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests;
mod view;
