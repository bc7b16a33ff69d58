//! Which loop is running on this thread, and which loops live on it.
//!
//! The thread-locals have no destructors, so they may be used while the thread is being torn down: a loop may itself stand in
//! a thread-local.

use crate::kernel::Kernel;
use crate::kernel::Token;
use crate::kernel::idle::lanes::Tenancy;
use std::cell::{Cell, RefCell};
use std::mem::{self, ManuallyDrop};
use std::rc::{Rc, Weak};

struct Entry {
    loop_id: u64,
    tenancy: Tenancy,
    kernel: Weak<Kernel>,
}

thread_local! {
    /// The loop that is in a turn. The cell owns it, in whatever order the guards are dropped, and also if one is forgotten. Emptied
    /// by the guard that has filled it, so nothing is lost by not dropping it.
    static RUNNING: ManuallyDrop<Cell<Option<Rc<Kernel>>>> = const { ManuallyDrop::new(Cell::new(None)) };

    /// The loops of this thread, the oldest first. The last to leave frees the memory.
    static LOOPS: ManuallyDrop<RefCell<Vec<Entry>>> = const { ManuallyDrop::new(RefCell::new(Vec::new())) };
}

/// The loop that is in a turn on this thread.
#[inline]
pub(crate) fn running() -> Option<Rc<Kernel>> {
    RUNNING.with(|running| {
        // A cell lends nothing. While it is empty, nothing is called that could look.
        let kernel = running.take();
        let counted = kernel.clone();
        // That is `None`. Forgotten, since its drop would look whether it is.
        mem::forget(running.replace(kernel));
        counted
    })
}

pub(crate) fn is_running() -> bool {
    running().is_some()
}

/// A loop of this thread by its id, if it is still there.
#[inline]
pub(crate) fn find(loop_id: u64) -> Option<Rc<Kernel>> {
    match running() {
        Some(kernel) if kernel.id() == loop_id => Some(kernel),
        _ => find_by(&|entry| entry.loop_id == loop_id),
    }
}

/// The loop of a task, if it is one of this thread and still there.
#[inline]
pub(crate) fn loop_of(task: Token) -> Option<Rc<Kernel>> {
    match running() {
        Some(kernel) if kernel.has(task) => Some(kernel),
        _ => find_by(&|entry| entry.tenancy.has(task)),
    }
}

#[cold]
fn find_by(is_it: &dyn Fn(&Entry) -> bool) -> Option<Rc<Kernel>> {
    LOOPS.with(|loops| loops.borrow().iter().rfind(|entry| is_it(entry)).and_then(|entry| entry.kernel.upgrade()))
}

/// Until the guard is dropped, `kernel` is the loop that runs on this thread. Guards nest.
pub(crate) fn enter(kernel: &Rc<Kernel>) -> Entered {
    kernel.idling.entered.set(kernel.idling.entered.get() + 1);
    let mut guard = enter_to_wake(kernel);
    guard.is_counted = true;
    guard
}

/// As `enter`, for a wake between two turns. It does not count: foreign code in there may drop the loop, and its host is called.
pub(crate) fn enter_to_wake(kernel: &Rc<Kernel>) -> Entered {
    let home = kernel.table.clone().enter();
    let before = RUNNING.with(|running| running.replace(Some(kernel.clone())));
    Entered { is_counted: false, _home: home, other: before }
}

/// It is forgotten by `std::process::exit` alone, which runs the destructors of thread-locals and none of the stack. So a loop
/// that is dropped while it `is_entered` stands in a thread-local, and no code on the stack goes on.
pub(crate) struct Entered {
    /// The loop that is left counts this guard.
    is_counted: bool,
    _home: super::waker::Home,
    /// The loop that ran before. The destructor exchanges it for the one that is left.
    ///
    /// The last field, so it is dropped when all is as it was before the guard: if nobody else owns the loop any more, foreign
    /// code runs.
    other: Option<Rc<Kernel>>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        RUNNING.with(|running| self.other = running.replace(self.other.take()));
        if let Some(kernel) = self.other.as_ref().filter(|_| self.is_counted) {
            // Coroutines with stacks of their own may leave theirs out of order.
            kernel.idling.entered.set(kernel.idling.entered.get().saturating_sub(1));
        }
    }
}

impl Kernel {
    /// Whether it is in a turn, or in a call of `EventLoop::enter`, also if another loop was entered in there.
    pub(crate) fn is_entered(&self) -> bool {
        self.idling.entered.get() > 0
    }
}

pub(crate) fn add_loop(kernel: &Rc<Kernel>) {
    let tenancy = kernel.table.lane().tenancy();
    let entry = Entry { loop_id: kernel.id(), tenancy, kernel: Rc::downgrade(kernel) };
    LOOPS.with(|loops| loops.borrow_mut().push(entry));
}

pub(crate) fn remove_loop(loop_id: u64) {
    LOOPS.with(|loops| {
        let mut loops = loops.borrow_mut();
        if let Some(place) = loops.iter().position(|entry| entry.loop_id == loop_id) {
            loops.remove(place);
        }
        if loops.is_empty() {
            *loops = Vec::new();
        }
    });
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::kernel::Clock;

    /// Coroutines with stacks of their own may drop their guards in any order. What a guard puts back may be a loop that nobody
    /// else owns by then: it is there until it is left, for wakes too.
    #[test]
    fn leave_in_any_order() {
        let [outer, middle, inner] = [(); 3].map(|()| Kernel::new(Clock::virtual_time(), false, None));
        let ids = [&outer, &middle, &inner].map(|kernel| kernel.id());
        let is_left = Rc::downgrade(&middle);
        let of_nobody = middle.table.waker_of(Token::unplaced(middle.table.lane().number));
        let running_id = || running().map(|kernel| kernel.id());
        let guards = [&outer, &middle, &inner].map(enter);
        assert_eq!(running_id(), Some(ids[2]));
        let [first, second, third] = guards;
        drop(second);
        assert_eq!(running_id(), Some(ids[0]));
        drop(middle);
        drop(third);
        assert_eq!((running_id(), is_left.strong_count()), (Some(ids[1]), 1));
        of_nobody.wake_by_ref();
        drop(first);
        assert_eq!((running_id(), is_left.strong_count()), (None, 0));
    }
}
