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
