//! Which loop is running on this thread, and which loops live on it.
//!
//! The thread-locals have no destructors, so they can be used while the thread ends: a loop may
//! itself be in a thread-local.
#![allow(unsafe_code, reason = "finds the running loop uncounted")]

use crate::kernel::cell::{TypedTask, memory};
use crate::kernel::{Kernel, Token};
use crate::platform::thread_local;
use alloc::rc::Rc;
use core::cell::Cell;
use core::iter;
use core::mem::ManuallyDrop;
use core::panic::Location;
use core::ptr;

thread_local! {
    /// The loop that is in a turn. The cell owns this loop, so guards may be dropped in any order,
    /// and even be leaked. The guard that fills the cell also empties it, so the thread-local needs
    /// no destructor.
    static RUNNING: ManuallyDrop<Cell<Option<Rc<Kernel>>>> = const { ManuallyDrop::new(Cell::new(None)) };

    /// The youngest loop of this thread, or null. Each loop points to the one that is older. A list in
    /// the loops themselves needs no memory that this thread would have to free.
    static YOUNGEST: Cell<*const Kernel> = const { Cell::new(ptr::null()) };
}

/// The loop that is in a turn on this thread.
#[inline]
pub(crate) fn running() -> Option<Rc<Kernel>> {
    // SAFETY: only this thread accesses the thread-local, and counting a reference runs no code that
    // could replace its content.
    RUNNING.with(|running| unsafe { (*running.as_ptr()).clone() })
}

#[inline]
pub(crate) fn is_running() -> bool {
    // SAFETY: the reference is used only here.
    unsafe { here() }.is_some()
}

/// Whether the loop that is in a turn on this thread has a probe.
#[cfg(feature = "probe")]
#[inline]
pub(crate) fn is_probed() -> bool {
    // SAFETY: the reference is used only here.
    unsafe { here() }.is_some_and(|kernel| kernel.table.is_probed())
}

/// Like `running`, but counts no reference: that would take ten instructions.
///
/// # Safety
///
/// The reference is used only within the calling function, and no user code is called there, not
/// even a probe: user code may be a stackful coroutine. It may switch to another stack, and code
/// there may drop the `Entered` guard that owns the loop.
#[inline(always)]
pub(in crate::kernel) unsafe fn here<'a>() -> Option<&'a Kernel> {
    // SAFETY: only this thread accesses the thread-local. The cell owns its content. Only `Entered`
    // replaces the content, and keeps the loop that was there before until it is dropped.
    RUNNING.with(|running| unsafe { (*running.as_ptr()).as_deref() })
}

/// Spawns a task in the running loop, and counts no reference to the loop. Drops the future if no loop is
/// running.
#[inline]
pub(crate) fn spawn<F: Future<Output: 'static> + 'static>(
    spawned_at: &'static Location<'static>,
    future: F,
) -> Option<TypedTask<F::Output>> {
    // SAFETY: the reference is used only here. A probe is called only by `insert_and_tell`, which counts
    // a reference.
    let kernel = unsafe { here() }?;
    Some(kernel.spawn(None, spawned_at, future))
}

/// The loop of this thread with this id, if it still exists.
#[inline]
pub(crate) fn find(loop_id: u64) -> Option<Rc<Kernel>> {
    match running() {
        Some(kernel) if kernel.id() == loop_id => Some(kernel),
        _ => find_by(&|kernel| kernel.id() == loop_id),
    }
}

/// The loop of a task, if it is on this thread and still exists.
#[inline]
pub(crate) fn loop_of(task: Token) -> Option<Rc<Kernel>> {
    match running() {
        Some(kernel) if kernel.has(task) => Some(kernel),
        _ => find_by(&|kernel| kernel.has(task)),
    }
}

#[cold]
fn find_by(is_it: &dyn Fn(&Kernel) -> bool) -> Option<Rc<Kernel>> {
    iter::successors(listed(YOUNGEST.get()), |kernel| listed(kernel.idling.older.get())).find(|kernel| is_it(kernel))
}

/// The loop to which a pointer of the list points.
fn listed(kernel: *const Kernel) -> Option<Rc<Kernel>> {
    if kernel.is_null() {
        return None;
    }
    // SAFETY: `add_loop` got the pointer from an `Rc`. A loop in the list exists: its `EventLoop` owns
    // it, and removes it from the list before.
    unsafe {
        Rc::increment_strong_count(kernel);
        Some(Rc::from_raw(kernel))
    }
}

/// Makes `kernel` the running loop of this thread until the guard is dropped. Guards nest.
pub(crate) fn enter(kernel: &Rc<Kernel>) -> Entered {
    kernel.idling.entered.set(kernel.idling.entered.get() + 1);
    let mut guard = enter_to_wake(kernel);
    guard.is_counted = true;
    guard
}

/// Like `enter`, for a wake between two turns. The loop does not count as entered, so user code may
/// drop the loop while the guard exists, and new work is reported to the loop's host.
pub(crate) fn enter_to_wake(kernel: &Rc<Kernel>) -> Entered {
    let before = RUNNING.with(|running| running.replace(Some(kernel.clone())));
    Entered { is_counted: false, other: before }
}

/// Only `std::process::exit` leaks this guard: it runs the destructors of thread-locals, but none
/// of the stack. So a loop that is dropped while it `is_entered` is in a thread-local, and no code
/// on the stack continues.
pub(crate) struct Entered {
    /// Whether the loop counts this guard.
    is_counted: bool,
    /// The loop that was running before. The destructor swaps it with the loop that is left.
    ///
    /// The last field, so it is dropped when everything is as it was before the guard. If it is the
    /// last owner of its loop, dropping it runs user code.
    other: Option<Rc<Kernel>>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        RUNNING.with(|running| self.other = running.replace(self.other.take()));
        if let Some(kernel) = self.other.as_ref().filter(|_| self.is_counted) {
            // Stackful coroutines may drop their guards out of order.
            kernel.idling.entered.set(kernel.idling.entered.get().saturating_sub(1));
        }
    }
}

impl Kernel {
    /// Whether the loop is in a turn or in a call of `EventLoop::enter`, even if another loop was
    /// entered during that turn or call.
    pub(crate) fn is_entered(&self) -> bool {
        self.idling.entered.get() > 0
    }

    /// Whether the loop has been dropped. It may still be running, for a waker.
    pub(crate) fn is_removed(&self) -> bool {
        self.idling.removed.get()
    }
}

/// A loop in the list of this thread. It is removed from the list on drop.
pub(crate) struct Listed<'a>(pub(crate) &'a Kernel);

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        remove_loop(self.0);
    }
}

/// `remove_loop` must be called before `kernel` is dropped.
pub(crate) fn add_loop(kernel: &Rc<Kernel>) {
    let older = YOUNGEST.replace(Rc::as_ptr(kernel));
    kernel.idling.older.set(older);
    if older.is_null() {
        memory::begin_keeping();
    }
}

pub(crate) fn remove_loop(kernel: &Kernel) {
    kernel.idling.removed.set(true);
    let older = kernel.idling.older.replace(ptr::null());
    if !ptr::eq(YOUNGEST.get(), kernel) {
        let younger = find_by(&|other| ptr::eq(other.idling.older.get(), kernel));
        return younger.iter().for_each(|younger| younger.idling.older.set(older));
    }
    YOUNGEST.set(older);
    if older.is_null() {
        memory::stop_keeping();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::kernel::{Clock, OBSERVED};
    use std::panic::{AssertUnwindSafe, catch_unwind};

    /// Stackful coroutines may drop their guards in any order. A guard that is dropped makes the loop
    /// before it the running loop again. By then that loop may have no other owner. It exists as long
    /// as it is the running loop, and its wakers may be used in that time.
    #[test]
    fn leave_in_any_order() {
        let [outer, middle, inner] = [(); 3].map(|()| Kernel::new(Clock::virtual_time(), Some(&OBSERVED), None));
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

    /// The shutdown of a loop panics. Older loops are still found.
    #[test]
    fn panic_at_the_end_of_a_loop_and_find_an_older_one() {
        let [older, younger] = [(); 2].map(|()| Kernel::new(Clock::virtual_time(), Some(&OBSERVED), None));
        [&older, &younger].into_iter().for_each(add_loop);
        let ended: Result<(), _> = catch_unwind(AssertUnwindSafe(|| {
            let _listed = Listed(&younger);
            panic!("at the end");
        }));
        assert!(ended.is_err() && younger.is_removed());
        drop(younger);
        assert!(find(older.id()).is_some());
        remove_loop(&older);
    }
}
