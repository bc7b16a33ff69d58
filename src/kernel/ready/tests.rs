#![allow(unsafe_code, reason = "makes entries that stay where they are")]

use super::*;
use std::collections::VecDeque;

#[derive(Clone, Copy)]
struct Entry<T: Copy + 'static>(&'static Node<T>);

struct Node<T: Copy + 'static> {
    value: T,
    link: Link<Entry<T>>,
}

impl<T: Copy> Linked for Entry<T> {
    fn link(self) -> NonNull<Link<Self>> {
        NonNull::from(&self.0.link)
    }
}

/// A queue of values, its nodes, and its first link.
struct Queue<T: Copy + 'static>(ReadyQueue<Entry<T>>, Vec<NonNull<Node<T>>>, NonNull<Link<Entry<T>>>);

impl<T: Copy> Queue<T> {
    fn new() -> Self {
        let first = NonNull::from(Box::leak(Box::new(Link::new())));
        // SAFETY: the link is new, and is freed with the queue.
        Queue(unsafe { ReadyQueue::new(first) }, Vec::new(), first)
    }

    fn push(&mut self, value: T) {
        let node = NonNull::from(Box::leak(Box::new(Node { value, link: Link::new() })));
        self.1.push(node);
        // SAFETY: the node is new, and is freed with the queue.
        unsafe { self.0.push(Entry(node.as_ref())) };
    }

    fn pop_marked(&mut self) -> Option<T> {
        self.0.pop_marked().map(|entry| entry.0.value)
    }

    fn mark_next(&mut self) -> Option<T> {
        self.0.mark_next().map(|entry| entry.0.value)
    }
}

impl<T: Copy> Drop for Queue<T> {
    fn drop(&mut self) {
        // SAFETY: each comes from a box, and no entry outlives the queue in these tests.
        self.1.drain(..).for_each(|node| drop(unsafe { Box::from_raw(node.as_ptr()) }));
        // SAFETY: it comes from a box.
        drop(unsafe { Box::from_raw(self.2.as_ptr()) });
    }
}

/// Compares the queue with a simple model: a deque, and the number of entries before the mark.
#[test]
fn pushes_marks_and_pops_as_a_deque_does() {
    let mut queue = Queue::new();
    // Begin just before the numbers wrap, so that the test crosses that edge.
    let edge = usize::MAX - 5;
    (queue.0.pushed, queue.0.taken) = (edge, edge);
    let (mut model, mut marked) = (VecDeque::new(), 0);
    let mut random = 1u32;
    let mut longest = 0;
    for nth in 0..20_000 {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let some = (random >> 16) as usize % (model.len() + 1);
        match random >> 28 {
            0..=6 => {
                queue.push(nth);
                model.push_back(nth);
            }
            // May begin a turn before the previous one has ended.
            7 => {
                marked = model.len();
                queue.0.mark();
            }
            // A portion of a turn: at least the entries that are already marked.
            8 => {
                marked = some.max(marked);
                queue.0.mark();
                queue.0.mark_first(marked);
            }
            9 if !model.is_empty() && marked <= 1 => {
                marked = 1;
                queue.0.mark();
                assert_eq!(queue.mark_next(), model.front().copied());
            }
            10 if marked == 0 && !model.is_empty() => {
                marked = model.len();
                queue.0.mark_next_turn_or_rest();
            }
            #[cfg(feature = "explore")]
            11 if some < model.len() => {
                marked = model.len();
                queue.0.bring_forward(some);
                let chosen = model.remove(some).unwrap();
                model.push_front(chosen);
            }
            _ if marked == 0 => assert_eq!(queue.pop_marked(), None),
            _ => {
                marked -= 1;
                assert_eq!(queue.pop_marked(), model.pop_front());
            }
        }
        assert_eq!((queue.0.len(), queue.0.is_empty()), (model.len(), model.is_empty()));
        assert_eq!(queue.0.marked_len(), marked);
        longest = longest.max(model.len());
    }
    assert!(longest > 20, "the queue never grew");
    let (pushed, taken) = queue.0.numbers();
    assert_eq!(pushed.wrapping_sub(taken), model.len() as u64);
    let mut left = Vec::new();
    queue.0.each(&mut |entry| left.push(entry.0.value));
    assert_eq!(left, Vec::from(model));
}

impl<T: Copy> ReadyQueue<Entry<T>> {
    fn mark_next_turn_or_rest(&mut self) {
        if self.rest.is_some() { self.mark() } else { self.mark_next_turn() }
    }
}

#[test]
fn push_while_popping_stays_behind_the_mark() {
    let mut queue = Queue::new();
    queue.push("a");
    queue.push("b");
    queue.0.mark();
    assert_eq!(queue.pop_marked(), Some("a"));
    queue.push("c");
    assert_eq!(queue.pop_marked(), Some("b"));
    assert_eq!(queue.pop_marked(), None, "READY-2");
    queue.0.mark();
    assert_eq!(queue.pop_marked(), Some("c"));
}

/// The entry may be the only one.
#[test]
fn push_an_entry_again_that_was_taken() {
    let mut queue = Queue::new();
    queue.push("a");
    for _ in 0..3 {
        queue.0.mark();
        let entry = queue.0.pop_marked().unwrap();
        assert_eq!(entry.0.value, "a");
        // SAFETY: it was taken.
        unsafe { queue.0.push(entry) };
        assert_eq!((queue.pop_marked(), queue.0.len()), (None, 1), "READY-2");
    }
}

#[test]
fn mark_one_after_the_other() {
    let mut queue = Queue::new();
    queue.push("a");
    queue.push("b");
    queue.0.mark();
    assert_eq!(queue.0.marked_len(), 2);
    for entry in ["a", "b"] {
        assert_eq!((queue.mark_next(), queue.0.marked_len()), (Some(entry), 1));
        assert_eq!((queue.pop_marked(), queue.pop_marked()), (Some(entry), None));
    }
    assert_eq!((queue.mark_next(), queue.0.marked_len()), (None, 0));
}

#[test]
fn mark_some_and_then_the_rest() {
    let mut queue = Queue::new();
    (0..5).for_each(|entry| queue.push(entry));
    queue.0.mark();
    queue.0.mark_first(2);
    assert_eq!([(); 3].map(|()| queue.pop_marked()), [Some(0), Some(1), None]);
    queue.0.mark_first(0);
    assert_eq!(queue.pop_marked(), None);
    queue.0.mark_first(2);
    queue.push(5);
    // A portion of a portion.
    assert_eq!((queue.mark_next(), queue.pop_marked(), queue.pop_marked()), (Some(2), Some(2), None));
    queue.0.mark_first(2);
    assert_eq!([(); 3].map(|()| queue.pop_marked()), [Some(3), Some(4), None]);
    assert_eq!(queue.0.len(), 1);
    queue.push(6);
    queue.0.mark();
    queue.push(7);
    // More than the turn has: the turn stays as it is.
    assert!(!queue.0.mark_first(100));
    assert_eq!([(); 3].map(|()| queue.pop_marked()), [Some(5), Some(6), None]);
    assert_eq!((queue.0.mark_first(0), queue.0.len()), (false, 1));
    queue.0.mark();
    assert!(queue.0.mark_first(0));
    queue.0.mark_rest();
    assert_eq!([(); 2].map(|()| queue.pop_marked()), [Some(7), None]);
}
