//! Questions to the queue, and turns that are taken in portions.

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

    /// How many entries were ever pushed, and how many were taken.
    pub(crate) fn numbers(&self) -> (u64, u64) {
        (self.tail as u64, self.head as u64)
    }

    /// How many entries of this turn are left.
    pub(crate) fn marked_len(&self) -> usize {
        self.mark.wrapping_sub(self.head)
    }

    /// Only the first `count` are this turn's from now on.
    pub(crate) fn mark_first(&mut self, count: usize) {
        debug_assert!(count <= self.len(), "READY-2: more is marked than there is");
        self.mark = self.head.wrapping_add(count);
    }

    /// Only the next entry is this turn's from now on. Returns it, and leaves it in the queue.
    pub(crate) fn mark_next(&mut self) -> Option<E> {
        if self.is_empty() {
            return None;
        }
        self.mark_first(1);
        Some(self.ring[self.place(self.head)])
    }
}
