//! Many lists in one place: what the timers of the wheel stand in, what tasks wait for, and who waits for them.
//!
//! ```text
//!   List(2) ---> [2] <---> [5] <---> [0]          the first node's `previous` is the last node
//!                 '-----------------> ^
//! ```
//!
//! A list is one number, so a task or a slot of the wheel can afford one, and an empty one needs no memory. Nodes are reused:
//! what comes and goes allocates nothing. Adding at the end and taking out anywhere are O(1).
//!
//! Whoever names a node by its index must know that it is still there, and in which list. Knows nothing of what stands in it.

const NIL: u32 = u32::MAX;

/// The memory of so many nodes is kept when all lists are empty.
const KEPT: usize = 1024;

#[derive(Debug)]
pub(crate) struct Lists<T> {
    nodes: Vec<Node<T>>,
    /// The first vacant node, whose `next` is the one after it. The last to come is the first to go.
    vacant: u32,
    /// How many nodes are not vacant.
    used: usize,
}

#[derive(Debug)]
struct Node<T> {
    /// The last node's index in the first one.
    previous: u32,
    /// `NIL` in the last one.
    next: u32,
    /// None if it is vacant.
    value: Option<T>,
}

/// The first node of a list, if there is one. A copy must not outlive a change of the list.
#[derive(Debug, Clone, Copy)]
pub(crate) struct List(u32);

impl List {
    pub(crate) const EMPTY: List = List(NIL);

    #[inline]
    pub(crate) fn is_empty(self) -> bool {
        self.0 == NIL
    }

    /// The index of its first node.
    #[inline]
    pub(crate) fn first(self) -> Option<u32> {
        (self.0 != NIL).then_some(self.0)
    }
}

impl<T> Lists<T> {
    pub(crate) fn new() -> Self {
        Lists { nodes: Vec::new(), vacant: NIL, used: 0 }
    }

    /// How many values there are in all lists together.
    pub(crate) fn len(&self) -> usize {
        self.used
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// A node that stands in no list yet: `link` it.
    #[inline]
    pub(crate) fn add(&mut self, value: T) -> u32 {
        if self.vacant == NIL {
            self.grow();
        }
        let index = self.vacant;
        let node = &mut self.nodes[index as usize];
        self.vacant = node.next;
        self.used += 1;
        let before = node.value.replace(value);
        debug_assert!(before.is_none(), "a vacant node had a value");
        // Nothing, which the compiler need not know how to drop.
        std::mem::forget(before);
        index
    }

    /// A node at the end of a list.
    #[inline(always)]
    pub(crate) fn push(&mut self, list: &mut List, value: T) -> u32 {
        let index = self.add(value);
        self.link(list, index);
        index
    }

    /// Takes a node out of its list.
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

    /// Puts a node that stands in no list at the end of one.
    #[inline]
    pub(crate) fn link(&mut self, list: &mut List, index: u32) {
        let previous = self.set_last(list, index);
        let node = &mut self.nodes[index as usize];
        (node.previous, node.next) = (previous, NIL);
    }

    /// Tells a list which node is the last from now on. Returns what that node's `previous` is to be.
    #[inline]
    fn set_last(&mut self, list: &mut List, index: u32) -> u32 {
        match list.first() {
            None => {
                list.0 = index;
                index
            }
            Some(first) => {
                let last = std::mem::replace(&mut self.nodes[first as usize].previous, index);
                self.nodes[last as usize].next = index;
                last
            }
        }
    }

    /// Takes a node out of its list. It stands in none, and is to be linked or freed.
    #[inline]
    pub(crate) fn unlink(&mut self, list: &mut List, index: u32) {
        let Node { previous, next, .. } = self.nodes[index as usize];
        if list.0 == index {
            list.0 = next;
        } else {
            self.nodes[previous as usize].next = next;
        }
        // If it was the last, the first one knows who is that now, if there is one.
        let behind = if next == NIL { list.0 } else { next };
        if behind != NIL {
            self.nodes[behind as usize].previous = previous;
        }
    }

    /// Takes away a node that stands in no list.
    #[inline]
    pub(crate) fn free(&mut self, index: u32) -> T {
        let node = &mut self.nodes[index as usize];
        let value = node.value.take().expect("a node that is freed has a value");
        node.next = std::mem::replace(&mut self.vacant, index);
        self.used -= 1;
        if self.used == 0 && self.nodes.len() > KEPT {
            self.give_back();
        }
        value
    }

    /// All lists are empty, after a flood: the memory is nobody's.
    #[cold]
    #[inline(never)]
    fn give_back(&mut self) {
        *self = Lists::new();
    }

    #[cold]
    fn grow(&mut self) {
        let index = u32::try_from(self.nodes.len()).ok().filter(|&index| index != NIL).expect("fewer than 2^32 nodes");
        self.nodes.push(Node { previous: NIL, next: NIL, value: None });
        self.vacant = index;
    }

    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        self.nodes.get(index as usize)?.value.as_ref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.nodes.get_mut(index as usize)?.value.as_mut()
    }

    /// The index of the node behind this one in its list.
    pub(crate) fn next(&self, index: u32) -> Option<u32> {
        List(self.nodes[index as usize].next).first()
    }

    /// The values of a list, in order.
    pub(crate) fn iter(&self, list: List) -> impl Iterator<Item = &T> {
        std::iter::successors(list.first(), |&index| self.next(index)).filter_map(|index| self.get(index))
    }

    /// The values of all lists, in no order.
    pub(crate) fn iter_all(&self) -> impl Iterator<Item = &T> {
        self.nodes.iter().filter_map(|node| node.value.as_ref())
    }

    /// Hands all values of all lists out, in no order.
    pub(crate) fn drain(&mut self, take: impl FnMut(T)) {
        self.nodes.iter_mut().filter_map(|node| node.value.take()).for_each(take);
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The slow, obvious twin: vectors of values. Nodes are named by their values, which never repeat.
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
