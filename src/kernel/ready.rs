//! The ready queue: first in, first out, tasks to step and callbacks to call in one line.
//!
//! A ring of small numbers that doubles when it is full. A turn asks for the length when it begins and takes so many entries
//! and no more (READY-2); what is pushed meanwhile stands behind them.
//!
//! Knows no task, no callback and no waker: an entry is the number of a slot. Next: `wheel.rs`.

/// Whose turn it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Entry {
    /// The task in this slot of the waker table is to be stepped.
    Task(u32),
    /// The callback under this key is to be called.
    Call(u32),
}

/// Marks a callback in the ring. Slots have 24 bits, so the topmost is free.
const CALL: u32 = 1 << 31;

#[derive(Debug)]
pub(crate) struct ReadyQueue {
    /// A power of two long. An entry's place is its number in the line, modulo the length.
    ring: Box<[u32]>,
    /// Number of the entry that is taken next. Counts up and wraps, as `tail` does.
    head: usize,
    /// Number of the entry that is pushed next.
    tail: usize,
}

impl ReadyQueue {
    pub(crate) fn new() -> Self {
        ReadyQueue { ring: Box::new([0; 16]), head: 0, tail: 0 }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.tail.wrapping_sub(self.head)
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    #[inline]
    pub(crate) fn push_task(&mut self, slot: u32) {
        debug_assert_eq!(slot & CALL, 0);
        self.push(slot);
    }

    pub(crate) fn push_call(&mut self, key: u32) {
        debug_assert_eq!(key & CALL, 0);
        self.push(key | CALL);
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Entry> {
        if self.is_empty() {
            return None;
        }
        let number = self.ring[self.place(self.head)];
        self.head = self.head.wrapping_add(1);
        Some(if number & CALL == 0 { Entry::Task(number) } else { Entry::Call(number & !CALL) })
    }

    #[inline]
    fn push(&mut self, number: u32) {
        if self.len() == self.ring.len() {
            self.grow();
        }
        let place = self.place(self.tail);
        self.ring[place] = number;
        self.tail = self.tail.wrapping_add(1);
    }

    #[inline]
    fn place(&self, number: usize) -> usize {
        number & (self.ring.len() - 1)
    }

    #[cold]
    fn grow(&mut self) {
        let mut ring = vec![0; self.ring.len() * 2].into_boxed_slice();
        let len = self.len();
        for (nth, place) in ring[..len].iter_mut().enumerate() {
            *place = self.ring[self.place(self.head.wrapping_add(nth))];
        }
        (self.ring, self.head, self.tail) = (ring, 0, len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// The slow, obvious twin.
    #[test]
    fn pushes_and_pops_as_a_deque_does() {
        let mut queue = ReadyQueue::new();
        // Begin just before the counters wrap, so that the test crosses that edge.
        (queue.head, queue.tail) = (usize::MAX - 5, usize::MAX - 5);
        let mut model = VecDeque::new();
        let mut random = 1u32;
        for nth in 0..10_000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            match random >> 29 {
                0..=2 => {
                    queue.push_task(nth);
                    model.push_back(Entry::Task(nth));
                }
                3 => {
                    queue.push_call(nth);
                    model.push_back(Entry::Call(nth));
                }
                _ => assert_eq!(queue.pop(), model.pop_front()),
            }
            assert_eq!(queue.len(), model.len());
            assert_eq!(queue.is_empty(), model.is_empty());
        }
        while let Some(entry) = model.pop_front() {
            assert_eq!(queue.pop(), Some(entry));
        }
        assert_eq!(queue.pop(), None);
    }
}
