//! Many linked lists in one vector: the timers of the wheel, what tasks wait for, and their
//! waiters.
//!
//! ```text
//!   List(2) ---> [2] <---> [5] <---> [0]          the first node's `previous` is the last node
//!                 '-----------------> ^
//! ```
//!
//! The owner empties all lists before it drops them: dropping the lists drops no values, so that no
//! code for this is compiled.
//!
//! A list is one number, so each task and each slot of the wheel can have one, and an empty list
//! needs no nodes. Removed nodes are reused; after a peak, their memory is freed when all lists are
//! empty. Appending, and removing anywhere, are O(1).
//!
//! Code that names a node by its index must know that the node still exists, and which list it is
//! in. This file does not know what the values are.

use alloc::vec::Vec;
use core::mem::ManuallyDrop;

const NIL: u32 = u32::MAX;

/// Maximum number of nodes whose memory is kept when all lists are empty.
const KEPT: usize = 1024;

#[derive(Debug)]
pub(crate) struct Lists<T> {
    nodes: Vec<Node<T>>,
    /// The first vacant node. Its `next` is the next vacant node. Last in, first out.
    vacant: u32,
    /// Number of nodes that are not vacant.
    used: usize,
}

#[derive(Debug)]
struct Node<T> {
    /// Index of the previous node; in the first node, of the last one.
    previous: u32,
    /// Index of the next node; `NIL` in the last node.
    next: u32,
    /// `None` if the node is vacant.
    value: Option<ManuallyDrop<T>>,
}

/// The first node of a list, if there is one. A copy is invalid after the list has changed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct List(u32);

impl Default for List {
    fn default() -> Self {
        List::EMPTY
    }
}

impl<T> Default for Lists<T> {
    fn default() -> Self {
        Lists::new()
    }
}

impl List {
    pub(crate) const EMPTY: List = List(NIL);

    #[inline]
    pub(crate) fn is_empty(self) -> bool {
        self.0 == NIL
    }

    /// Index of the first node.
    #[inline]
    pub(crate) fn first(self) -> Option<u32> {
        (self.0 != NIL).then_some(self.0)
    }
}

impl<T> Lists<T> {
    pub(crate) const EMPTY: Self = Lists { nodes: Vec::new(), vacant: NIL, used: 0 };

    pub(crate) fn new() -> Self {
        Lists::EMPTY
    }

    /// Number of values in all lists.
    pub(crate) fn len(&self) -> usize {
        self.used
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Adds a node that is in no list yet: `link` puts it into one.
    #[inline]
    pub(crate) fn add(&mut self, value: T) -> u32 {
        if self.vacant == NIL {
            self.grow();
        }
        let index = self.vacant;
        let node = &mut self.nodes[index as usize];
        self.vacant = node.next;
        self.used += 1;
        debug_assert!(node.value.is_none(), "a vacant node had a value");
        node.value = Some(ManuallyDrop::new(value));
        index
    }

    /// Adds a node at the end of a list.
    #[inline(always)]
    pub(crate) fn push(&mut self, list: &mut List, value: T) -> u32 {
        let index = self.add(value);
        self.link(list, index);
        index
    }

    /// Removes a node from its list, and frees it.
    #[inline]
    pub(crate) fn remove(&mut self, list: &mut List, index: u32) -> T {
        self.unlink(list, index);
        self.free(index)
    }

    #[inline]
    pub(crate) fn pop(&mut self, list: &mut List) -> Option<T> {
        let first = list.first()?;
        Some(self.remove(list, first))
    }

    /// Appends a node that is in no list to a list.
    #[inline]
    pub(crate) fn link(&mut self, list: &mut List, index: u32) {
        let previous = self.set_last(list, index);
        let node = &mut self.nodes[index as usize];
        (node.previous, node.next) = (previous, NIL);
    }

    /// Makes a node the last one of a list. Returns the new `previous` of this node.
    #[inline]
    fn set_last(&mut self, list: &mut List, index: u32) -> u32 {
        match list.first() {
            None => {
                list.0 = index;
                index
            }
            Some(first) => {
                let last = core::mem::replace(&mut self.nodes[first as usize].previous, index);
                self.nodes[last as usize].next = index;
                last
            }
        }
    }

    /// Removes a node from its list. The caller must then link the node again, or free it.
    #[inline]
    pub(crate) fn unlink(&mut self, list: &mut List, index: u32) {
        let Node { previous, next, .. } = self.nodes[index as usize];
        if list.0 == index {
            list.0 = next;
        } else {
            self.nodes[previous as usize].next = next;
        }
        // If this was the last node, the first node refers to the new last one.
        let behind = if next == NIL { list.0 } else { next };
        if behind != NIL {
            self.nodes[behind as usize].previous = previous;
        }
    }

    /// Frees a node that is in no list.
    #[inline]
    pub(crate) fn free(&mut self, index: u32) -> T {
        let node = &mut self.nodes[index as usize];
        let value = node.value.take().expect("a node that is freed has a value");
        node.next = core::mem::replace(&mut self.vacant, index);
        self.used -= 1;
        if self.used == 0 && self.nodes.len() > KEPT {
            self.give_back();
        }
        ManuallyDrop::into_inner(value)
    }

    /// Frees the memory of all nodes. All lists are empty.
    #[cold]
    #[inline(never)]
    fn give_back(&mut self) {
        *self = Lists::new();
    }

    #[cold]
    fn grow(&mut self) {
        let index = u32::try_from(self.nodes.len()).ok().filter(|&index| index < NIL).expect("fewer than 2^32 nodes");
        if self.nodes.len() == self.nodes.capacity() {
            // By a quarter: doubling would cost a timer up to its own size more.
            self.nodes.reserve_exact((self.nodes.len() / 4).max(16));
        }
        self.nodes.push(Node { previous: NIL, next: NIL, value: None });
        self.vacant = index;
    }

    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        self.nodes.get(index as usize)?.value.as_deref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.nodes.get_mut(index as usize)?.value.as_deref_mut()
    }

    /// Index of the next node in the list.
    pub(crate) fn next(&self, index: u32) -> Option<u32> {
        List(self.nodes[index as usize].next).first()
    }

    /// The values of a list, in order.
    pub(crate) fn iter(&self, list: List) -> impl Iterator<Item = &T> {
        core::iter::successors(list.first(), |&index| self.next(index)).filter_map(|index| self.get(index))
    }

    /// The values of all lists, in no particular order.
    pub(crate) fn iter_all(&self) -> impl Iterator<Item = &T> {
        self.nodes.iter().filter_map(|node| node.value.as_deref())
    }

    /// Passes all values of all lists to `take`, in no particular order.
    pub(crate) fn drain(&mut self, take: impl FnMut(T)) {
        self.nodes.iter_mut().filter_map(|node| node.value.take()).map(ManuallyDrop::into_inner).for_each(take);
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The simple model: vectors of values. Nodes are named by their values, which never repeat.
    #[test]
    fn push_remove_move_and_pop_as_vectors_do() {
        let mut lists = Lists::new();
        let mut handles = [List::EMPTY; 3];
        let mut model: [Vec<u32>; 3] = Default::default();
        let mut indices = std::collections::HashMap::new();
        let mut random = 1u32;
        let mut longest = 0;
        for value in 0..20_000u32 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (which, other) = ((random >> 20) as usize % 3, (random >> 24) as usize % 3);
            let place = (random >> 8) as usize % model[which].len().max(1);
            match random >> 29 {
                0..=3 => {
                    indices.insert(value, lists.push(&mut handles[which], value));
                    model[which].push(value);
                }
                4..=5 if !model[which].is_empty() => {
                    let gone = model[which].remove(place);
                    assert_eq!(lists.remove(&mut handles[which], indices[&gone]), gone);
                }
                6 if !model[which].is_empty() => {
                    let moved = model[which].remove(place);
                    model[other].push(moved);
                    lists.unlink(&mut handles[which], indices[&moved]);
                    lists.link(&mut handles[other], indices[&moved]);
                }
                _ => {
                    let first = if model[which].is_empty() { None } else { Some(model[which].remove(0)) };
                    assert_eq!(lists.pop(&mut handles[which]), first);
                }
            }
            for (list, model) in handles.iter().zip(&model) {
                assert!(lists.iter(*list).eq(model));
                assert_eq!(list.is_empty(), model.is_empty());
                longest = longest.max(model.len());
            }
        }
        assert!(longest > 20, "the lists never grew");
        let left: usize = model.iter().map(Vec::len).sum();
        let (len, mut drained) = (lists.len(), 0);
        lists.drain(|_| drained += 1);
        assert_eq!((len, drained, lists.is_empty()), (left, left, true));
    }

    #[test]
    fn give_the_memory_of_a_flood_back() {
        let (mut lists, mut list) = (Lists::new(), List::EMPTY);
        for (length, kept) in [(KEPT, KEPT), (KEPT + 1, 0)] {
            (0..length).for_each(|value| _ = lists.push(&mut list, value));
            assert_eq!(lists.nodes.len(), length);
            (0..length).for_each(|value| assert_eq!(lists.pop(&mut list), Some(value)));
            assert_eq!(lists.nodes.len(), kept);
        }
    }
}
