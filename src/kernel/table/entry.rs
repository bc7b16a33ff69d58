//! An entry of the ready queue.

use crate::kernel::cell::Header;
use std::ptr::{self, NonNull};

/// An entry of the ready queue, in one word: the address of a task, which is even, or twice the key
/// of a callback plus one, which is odd.
#[derive(Clone, Copy)]
pub(super) struct Entry(pub(super) NonNull<Header>);

const _: () = assert!(align_of::<Header>() > 1);

impl Entry {
    pub(super) const UNUSED: Entry = Entry(NonNull::dangling());

    pub(super) fn task(task: NonNull<Header>) -> Self {
        Entry(task)
    }

    pub(super) fn call(key: u32) -> Self {
        let number = ptr::without_provenance_mut((key as usize) << 1 | 1);
        Entry(NonNull::new(number).expect("it is odd"))
    }

    /// The key, if this is the entry of a callback.
    #[inline]
    pub(super) fn key(self) -> Option<u32> {
        let number = self.0.addr().get();
        (number & 1 == 1).then_some((number >> 1) as u32)
    }
}
