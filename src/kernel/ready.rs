//! The ready queue: first in, first out.
//!
//! A ring buffer that doubles when it is full. A turn sets a mark, when it has found out what is ready, and takes the entries
//! before the mark. What is pushed meanwhile is behind the mark and waits for the next turn (READY-2).
//!
//! ```text
//!   ring    [ h | . | . | c | d | e | f | g ]      the entries 3 to 8, in the places 3, 4, 5, 6, 7 and 0
//!                         ^           ^
//!                       head 3      mark 6  tail 9     c, d and e are of this turn; f, g and h of the next
//! ```
//!
//! Entries are numbered as they are pushed. The numbers never go back; they wrap, which subtraction handles. An entry's place
//! is its number modulo the length of the ring. The length is a power of two, so the remainder is a mask.
//!
//! The numbers also serve the loop's metrics: `tail` and `head` say how many entries were ever pushed and taken.
//!
//! An entry is any type that is cheap to copy; this file knows no tasks and no callbacks. Next: `token.rs`.

#[derive(Debug)]
pub(crate) struct ReadyQueue<E> {
    /// Its length is a power of two. An entry's place is its number modulo the length.
    ring: Box<[E]>,
    /// Number of the entry that is taken next. Numbers count up and wrap.
    head: usize,
    /// Number of the first entry that does not belong to this turn.
    mark: usize,
    /// Number of the entry that is pushed next.
    tail: usize,
}

/// Initial length of the ring.
const LENGTH: usize = 16;

impl<E: Copy> ReadyQueue<E> {
    /// An empty queue. At first `unused` fills the places. A place that holds no entry is never read.
    pub(crate) fn new(unused: E) -> Self {
        ReadyQueue { ring: Box::new([unused; LENGTH]), head: 0, mark: 0, tail: 0 }
    }

    /// Begins a turn: all entries in the queue now belong to it.
    #[inline]
    pub(crate) fn mark(&mut self) {
        self.mark = self.tail;
    }

    /// Takes the next entry of this turn. Returns `None` at the end of the turn, even if more entries follow behind the mark.
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

    /// Pushes an entry at the end. Before the mark is set it belongs to the coming turn, after that to the next.
    #[inline]
    pub(crate) fn push(&mut self, entry: E) {
        if self.len() == self.ring.len() {
            self.grow();
        }
        let place = self.place(self.tail);
        self.ring[place] = entry;
        self.tail = self.tail.wrapping_add(1);
    }

    /// The place of the entry with this number.
    #[inline]
    fn place(&self, number: usize) -> usize {
        number & (self.ring.len() - 1)
    }

    /// Doubles the ring. It never shrinks: a queue that was long once will probably be long again.
    #[cold]
    #[inline(never)]
    fn grow(&mut self) {
        // The numbers stay the same; only the places change.
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
