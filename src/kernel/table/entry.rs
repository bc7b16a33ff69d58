//! An entry of the ready queue: a task, or a callback.
#![allow(unsafe_code, reason = "finds the link of an entry")]

use crate::kernel::callbacks::calls::Callback;
use crate::kernel::cell::{Header, memory};
use crate::kernel::ready::{Link, Linked};
use core::alloc::Layout;
use core::cell::Cell;
use core::hint::assert_unchecked;
use core::mem::offset_of;
use core::ptr::NonNull;

/// An entry of the ready queue, in one word: the address of a task's header, which is even, or the
/// address of a callback's node plus one, which is odd.
#[derive(Clone, Copy)]
pub(in crate::kernel) struct Entry(NonNull<Header>);

const _: () = assert!(align_of::<Header>() > 1 && align_of::<CallNode>() > 1);

/// A callback in the queue, with the link that each entry needs.
#[repr(C)]
struct CallNode {
    link: Link<Entry>,
    callback: Cell<Callback>,
}

impl Entry {
    #[inline]
    pub(super) fn task(task: NonNull<Header>) -> Self {
        // SAFETY: `task` points to a header, so it is even. The hint saves a check in `link`.
        unsafe { assert_unchecked(task.addr().get() & 1 == 0) };
        Entry(task)
    }

    /// Makes an entry for a callback. `into_callback` must be called once for it.
    #[inline]
    pub(super) fn call(callback: Callback) -> Self {
        let node = memory::take(Layout::new::<CallNode>()).cast::<CallNode>();
        // SAFETY: the memory has the layout of a node, and nobody else has a pointer to it.
        unsafe { node.write(CallNode { link: Link::new(), callback: Cell::new(callback) }) };
        // SAFETY: the address plus one is still inside the node.
        Entry(unsafe { node.byte_add(1) }.cast())
    }

    /// The task, if it is one.
    #[inline]
    pub(super) fn as_task(self) -> Option<NonNull<Header>> {
        (self.0.addr().get() & 1 == 0).then_some(self.0)
    }

    /// A separate cold function, so that the `link` of a task pays only a branch for callbacks.
    #[cold]
    #[inline(never)]
    fn call_link(self) -> NonNull<Link<Entry>> {
        self.node().cast()
    }

    #[inline]
    fn node(self) -> NonNull<CallNode> {
        // SAFETY: only called for callbacks, whose nodes begin a byte earlier.
        unsafe { self.0.byte_sub(1) }.cast()
    }

    /// Takes the callback out of its node, and puts another one there.
    ///
    /// # Safety
    ///
    /// This is the entry of a callback, for which `into_callback` was not called.
    pub(super) unsafe fn replace_callback(self, callback: Callback) -> Callback {
        // SAFETY: the caller says that the node exists.
        unsafe { self.node().as_ref() }.callback.replace(callback)
    }

    /// Takes the callback, and frees the node.
    ///
    /// # Safety
    ///
    /// This is the entry of a callback. It is in no queue, and is not used again.
    #[inline]
    pub(super) unsafe fn into_callback(self) -> Callback {
        debug_assert!(self.as_task().is_none());
        let node = self.node();
        // SAFETY: `call` has made the node, and the caller says that it is not used again.
        unsafe {
            let callback = node.read().callback.into_inner();
            memory::give(node.cast(), Layout::new::<CallNode>());
            callback
        }
    }
}

impl Linked for Entry {
    #[inline]
    fn link(self) -> NonNull<Link<Entry>> {
        match self.as_task() {
            // SAFETY: this is a field of the header.
            Some(task) => unsafe { task.byte_add(offset_of!(Header, link)) }.cast(),
            None => self.call_link(),
        }
    }
}
