//! The ready queue: first in, first out.
//!
//! A ring that doubles when it is full. A turn marks its end when it begins, and takes what stands before the mark; what is
//! pushed meanwhile stands behind it and waits for the next turn (READY-2).
//!
//! Knows no task and no callback: an entry is whatever is cheap to copy. Next: `wheel.rs`.

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

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.tail.wrapping_sub(self.head)
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    /// What stands in the queue now is this turn's.
    #[inline]
    pub(crate) fn mark(&mut self) {
        self.mark = self.tail;
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

    /// Takes the next entry of this turn.
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

    #[inline]
    pub(crate) fn push(&mut self, entry: E) {
        if self.len() == self.ring.len() {
            self.grow();
        }
        let place = self.place(self.tail);
        self.ring[place] = entry;
        self.tail = self.tail.wrapping_add(1);
    }

    #[inline]
    fn place(&self, number: usize) -> usize {
        number & (self.ring.len() - 1)
    }

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
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// The slow, obvious twin, with the number of entries before the mark.
    #[test]
    fn pushes_marks_and_pops_as_a_deque_does() {
        let mut queue = ReadyQueue::new(0);
        // Begin just before the numbers wrap, so that the test crosses that edge.
        let edge = usize::MAX - 5;
        (queue.head, queue.mark, queue.tail) = (edge, edge, edge);
        let (mut model, mut marked) = (VecDeque::new(), 0);
        let mut random = 1u32;
        for nth in 0..20_000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            match random >> 29 {
                0..=3 => {
                    queue.push(nth);
                    model.push_back(nth);
                }
                4 => {
                    marked = model.len();
                    queue.mark();
                    assert_eq!(queue.marked_len(), marked);
                }
                _ if marked == 0 => assert_eq!(queue.pop_marked(), None),
                _ => {
                    marked -= 1;
                    assert_eq!(queue.pop_marked(), model.pop_front());
                }
            }
            assert_eq!(queue.len(), model.len());
            assert_eq!(queue.is_empty(), model.is_empty());
        }
        assert!(model.len() > LENGTH, "the ring never grew");
    }

    #[test]
    fn push_while_popping_stays_behind_the_mark() {
        let mut queue = ReadyQueue::new("");
        queue.push("a");
        queue.push("b");
        queue.mark();
        assert_eq!(queue.pop_marked(), Some("a"));
        queue.push("c");
        assert_eq!(queue.pop_marked(), Some("b"));
        assert_eq!(queue.pop_marked(), None, "READY-2");
        queue.mark();
        assert_eq!(queue.pop_marked(), Some("c"));
    }

    #[test]
    fn mark_one_after_the_other() {
        let mut queue = ReadyQueue::new("");
        queue.push("a");
        queue.push("b");
        queue.mark();
        assert_eq!(queue.marked_len(), 2);
        for entry in ["a", "b"] {
            assert_eq!((queue.mark_next(), queue.marked_len()), (Some(entry), 1));
            assert_eq!((queue.pop_marked(), queue.pop_marked()), (Some(entry), None));
        }
        assert_eq!((queue.mark_next(), queue.marked_len()), (None, 0));
    }

    #[test]
    fn mark_some_and_then_the_rest() {
        let mut queue = ReadyQueue::new(0);
        (0..5).for_each(|entry| queue.push(entry));
        queue.mark_first(2);
        assert_eq!([(); 3].map(|()| queue.pop_marked()), [Some(0), Some(1), None]);
        queue.mark_first(0);
        assert_eq!(queue.pop_marked(), None);
        queue.mark_first(3);
        queue.push(5);
        assert_eq!([(); 4].map(|()| queue.pop_marked()), [Some(2), Some(3), Some(4), None]);
        assert_eq!(queue.len(), 1);
    }
}
