//! Queries on the queue, and turns that are run in portions.

use super::ReadyQueue;

impl<E: Copy> ReadyQueue<E> {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.tail.wrapping_sub(self.head)
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    /// Number of entries that were ever pushed, and that were taken.
    pub(crate) fn numbers(&self) -> (u64, u64) {
        (self.tail as u64, self.head as u64)
    }

    /// Number of entries of this turn that are left.
    pub(crate) fn marked_len(&self) -> usize {
        self.mark.wrapping_sub(self.head)
    }

    /// Limits this turn to the first `count` entries.
    pub(crate) fn mark_first(&mut self, count: usize) {
        debug_assert!(count <= self.len(), "READY-2: more is marked than there is");
        self.mark = self.head.wrapping_add(count);
    }

    /// Limits this turn to the next entry. Returns the entry, and leaves it in the queue.
    pub(crate) fn mark_next(&mut self) -> Option<E> {
        if self.is_empty() {
            return None;
        }
        self.mark_first(1);
        Some(self.ring[self.place(self.head)])
    }
}
