//! Which loop is running on this thread, and which loops live on it.
//!
//! The thread-locals have no destructors, so they may be used while the thread is being torn down: a loop may itself stand in
//! a thread-local.

use super::Kernel;
use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::rc::{Rc, Weak};

/// Each with its id.
type Loops = Vec<(u64, Weak<Kernel>)>;

thread_local! {
    /// The loop that is in a turn. Emptied by the guard that has filled it, so nothing is lost by not dropping it.
    static RUNNING: ManuallyDrop<RefCell<Option<Rc<Kernel>>>> = const { ManuallyDrop::new(RefCell::new(None)) };

    /// The loops of this thread, the oldest first. The last to leave frees the memory.
    static LOOPS: ManuallyDrop<RefCell<Loops>> = const { ManuallyDrop::new(RefCell::new(Vec::new())) };
}

/// The loop that is in a turn on this thread.
#[inline]
pub(crate) fn running() -> Option<Rc<Kernel>> {
    RUNNING.with(|running| running.borrow().clone())
}

pub(crate) fn is_running() -> bool {
    RUNNING.with(|running| running.borrow().is_some())
}

/// A loop of this thread by its id, if it is still there.
pub(crate) fn find(loop_id: u64) -> Option<Rc<Kernel>> {
    if let Some(kernel) = running() {
        if kernel.id() == loop_id {
            return Some(kernel);
        }
    }
    LOOPS.with(|loops| {
        let loops = loops.borrow();
        loops.iter().find(|(id, _)| *id == loop_id).and_then(|(_, kernel)| kernel.upgrade())
    })
}

/// Until the guard is dropped, `kernel` is the loop that runs on this thread. Guards nest.
pub(crate) fn enter(kernel: &Rc<Kernel>) -> Entered {
    let home = kernel.wakers.clone().enter();
    let before = RUNNING.with(|running| running.replace(Some(kernel.clone())));
    Entered { before, _home: home }
}

pub(crate) struct Entered {
    before: Option<Rc<Kernel>>,
    _home: super::wakers::Home,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let left = RUNNING.with(|running| running.replace(self.before.take()));
        // The loop is owned by somebody else as well, so this drops a count and runs no foreign code.
        drop(left);
    }
}

pub(crate) fn add_loop(kernel: &Rc<Kernel>) {
    LOOPS.with(|loops| loops.borrow_mut().push((kernel.id(), Rc::downgrade(kernel))));
}

pub(crate) fn remove_loop(loop_id: u64) {
    LOOPS.with(|loops| {
        let mut loops = loops.borrow_mut();
        loops.retain(|(id, _)| *id != loop_id);
        if loops.is_empty() {
            *loops = Vec::new();
        }
    });
}
