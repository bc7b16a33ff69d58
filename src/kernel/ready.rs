//! The ready queue: first in, first out.
//!
//! A ring that doubles when it is full. A turn marks its end when it begins, and takes what stands before the mark; what is
//! pushed meanwhile stands behind it and waits for the next turn (READY-2).
//!
//! ```text
//!   ring    [ h | . | . | c | d | e | f | g ]      the entries 3 to 8, in the places 3, 4, 5, 6, 7 and 0
//!                         ^           ^
//!                       head 3      mark 6  tail 9     c, d and e are of this turn; f, g and h of the next
//! ```
//!
//! Entries are numbered as they come, and the numbers are never set back: they wrap, which a subtraction does not notice. The place
//! of an entry is its number modulo the length of the ring, which is a power of two, so that the remainder is a mask.
//!
//! The numbers are counters as well. How many entries were ever pushed, and how many were taken, is known without counting, and
//! the loop's metrics are read from here.
//!
//! Knows no task and no callback: an entry is whatever is cheap to copy. Next: `token.rs`.

#[derive(Debug)]
pub(crate) struct ReadyQueue<E> {
    /// A power of two long. An entry's place is its number in the line, modulo the length.
    ring: Box<[E]>,
    /// Number of the entry that is taken next. Numbers count up and wrap.
    head: usize,
    /// Number of the first entry that is not of this turn.
    mark: usize,
    /// Number of the entry that is pushed next.
    tail: usize,
}

/// So long is the ring at first.
const LENGTH: usize = 16;

impl<E: Copy> ReadyQueue<E> {
    /// An empty queue. What stands in unused places is never looked at.
    pub(crate) fn new(unused: E) -> Self {
        ReadyQueue { ring: Box::new([unused; LENGTH]), head: 0, mark: 0, tail: 0 }
    }

    /// What stands in the queue now is this turn's.
    #[inline]
    pub(crate) fn mark(&mut self) {
        self.mark = self.tail;
    }

    /// Takes the next entry of this turn. None at its end, also if more stands behind the mark.
    #[inline]
    pub(crate) fn pop_marked(&mut self) -> Option<E> {
        if self.head == self.mark {
            return None;
        }
        debug_assert!(self.marked_len() <= self.len(), "READY-2: the mark lies behind the tail");
        let entry = self.ring[self.place(self.head)];
        self.head = self.head.wrapping_add(1);
        Some(entry)
    }

    /// Puts an entry behind all others: into the next turn, since the mark of this one is set.
    #[inline]
    pub(crate) fn push(&mut self, entry: E) {
        if self.len() == self.ring.len() {
            self.grow();
        }
        let place = self.place(self.tail);
        self.ring[place] = entry;
        self.tail = self.tail.wrapping_add(1);
    }

    /// Where an entry of this number stands.
    #[inline]
    fn place(&self, number: usize) -> usize {
        number & (self.ring.len() - 1)
    }

    /// Twice the length, from then on: a queue that was long once will be again.
    #[cold]
    #[inline(never)]
    fn grow(&mut self) {
        // Numbers keep their meaning: only their places change.
        let mut ring = vec![self.ring[0]; self.ring.len() * 2].into_boxed_slice();
        let mut number = self.head;
        while number != self.tail {
            ring[number & (ring.len() - 1)] = self.ring[self.place(number)];
            number = number.wrapping_add(1);
        }
        self.ring = ring;
    }
}

#[cfg(test)]
mod tests;
mod view;
