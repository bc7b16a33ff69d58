//! Queries on the queue, and turns that are run in portions.
#![allow(unsafe_code, reason = "follows links to entries that their owners keep")]

use super::{Link, Linked, ReadyQueue};
use core::ptr::NonNull;

impl<E: Linked> ReadyQueue<E> {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.pushed.wrapping_sub(self.taken)
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.pushed == self.taken
    }

    /// Replaces the pointer to the first link by another one to the same link.
    ///
    /// # Safety
    ///
    /// As for `new`.
    pub(crate) unsafe fn find_first_at(&mut self, first: NonNull<Link<E>>) {
        debug_assert!(first == self.first);
        self.first = first;
    }

    /// Number of entries that were ever pushed, and number of entries that were ever taken.
    pub(crate) fn numbers(&self) -> (u64, u64) {
        (self.pushed as u64, self.taken as u64)
    }

    /// Number of entries of this turn, or of its portion, that are left. O(n).
    pub(crate) fn marked_len(&self) -> usize {
        core::iter::successors(self.head, |&entry| self.after(entry)).count()
    }

    /// Limits this turn to a portion: its first `count` entries. Returns whether the turn has more.
    /// O(count), if all entries of the previous portion were taken.
    pub(crate) fn mark_first(&mut self, count: usize) -> bool {
        self.unite();
        self.rest = self.head;
        let mut last = None;
        for _ in 0..count {
            let Some(entry) = self.rest else { break };
            last = Some(entry);
            self.rest = self.after(entry);
        }
        match last {
            Some(last) => self.end_after(last),
            None => self.head = None,
        }
        self.rest.is_some()
    }

    /// Makes entry number `index` the next entry of this turn. Entries are numbered from 0: first those
    /// of this turn, then those of the next turn, which become entries of this turn. The order of the
    /// others does not change. O(number of entries), if `index` is not 0.
    #[cfg(feature = "explore")]
    pub(crate) fn bring_forward(&mut self, index: usize) {
        self.mark();
        if index == 0 {
            return;
        }
        let before = core::iter::successors(self.head, |&entry| self.after(entry)).nth(index - 1);
        let Some((before, chosen)) = before.and_then(|before| Some((before, self.after(before)?))) else { return };
        let (first, after) = (self.head, self.after(chosen));
        // SAFETY: as in `after`, for both.
        unsafe {
            before.link().as_ref().0.set(after);
            chosen.link().as_ref().0.set(first);
        }
        self.head = Some(chosen);
    }

    /// Ends the limit that `mark_first` has set: the rest of the turn follows.
    pub(crate) fn mark_rest(&mut self) {
        self.unite();
    }

    /// Limits this turn to its next entry. Returns the entry, and leaves it in the queue.
    #[inline]
    pub(crate) fn mark_next(&mut self) -> Option<E> {
        self.unite();
        let next = self.head?;
        self.rest = self.after(next);
        self.end_after(next);
        self.head
    }

    /// Like `mark`, if entries of the previous turn are left. These entries come first.
    #[cold]
    pub(super) fn mark_all(&mut self) {
        self.unite();
        let left = self.head;
        self.mark_next_turn();
        self.rest = self.head;
        self.head = left;
        self.unite();
    }

    /// Makes one list of this portion and the rest of the turn.
    #[inline]
    fn unite(&mut self) {
        let Some(rest) = self.rest.take() else { return };
        let Some(mut last) = self.head else { return self.head = Some(rest) };
        while let Some(next) = self.after(last) {
            last = next;
        }
        // SAFETY: as in `after`.
        unsafe { last.link().as_ref() }.0.set(Some(rest));
    }

    /// Cuts the list behind an entry.
    fn end_after(&self, entry: E) {
        // SAFETY: as in `after`.
        unsafe { entry.link().as_ref() }.0.set(None);
    }

    /// The entry behind `entry` in the same turn. `entry` was not taken yet.
    fn after(&self, entry: E) -> Option<E> {
        // SAFETY: the entry exists until it is taken (`push`).
        unsafe { entry.link().as_ref() }.0.get()
    }

    /// Calls `see` with each entry. `see` must not free entries.
    #[inline]
    pub(crate) fn each(&self, see: &mut dyn FnMut(E)) {
        if !self.is_empty() {
            self.each_entry(see);
        }
    }

    #[inline(never)]
    fn each_entry(&self, see: &mut dyn FnMut(E)) {
        for first in [self.head, self.rest] {
            let mut next = first;
            while let Some(entry) = next {
                see(entry);
                next = self.after(entry);
            }
        }
        // The last link has no next entry, whatever it contains.
        let mut link = self.first;
        while link != self.last {
            // SAFETY: `first` is ours, and the links of entries exist until they are taken (`push`).
            let Some(entry) = unsafe { link.as_ref() }.0.get() else { break };
            see(entry);
            link = entry.link();
        }
    }
}
