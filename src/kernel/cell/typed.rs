//! `TypedTask`, a task whose output type is known; and `lend`, for a task whose future borrows.
#![allow(unsafe_code, reason = "makes cells, and reads their outcomes")]

use super::{AnyTask, Header, Holds, Outcome, Stage, TaskCell, memory};
use crate::kernel::callbacks::exceptions;
use alloc::rc::Rc;
use core::alloc::Layout;
use core::cell::{Ref, RefCell};
use core::hash::{Hash, Hasher};
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::panic::Location;

/// A task that is about to be created.
pub(crate) struct Draft {
    pub(in crate::kernel) id: u64,
    pub(in crate::kernel) spawned_at: &'static Location<'static>,
    pub(in crate::kernel) name: Option<Rc<str>>,
}

/// A task whose output type is known.
pub(crate) struct TypedTask<T> {
    task: AnyTask,
    /// A `TypedTask` reads and writes the outcome, and only on this thread.
    output: PhantomData<RefCell<Option<Outcome<T>>>>,
}

impl<T> TypedTask<T> {
    #[inline]
    pub(crate) fn new<F: Future<Output = T> + 'static>(draft: impl FnOnce() -> Draft, future: F) -> Self
    where
        // An `async` block may count as `'static` though its output does not
        // (rust-lang/rust#84366).
        T: 'static,
    {
        // SAFETY: neither the future nor its output borrows anything.
        unsafe { Self::allocate(draft, future) }
    }

    /// # Safety
    ///
    /// The future and its output are removed from the cell before the lifetime of anything that
    /// they borrow ends.
    #[inline]
    unsafe fn allocate<F: Future<Output = T>>(draft: impl FnOnce() -> Draft, future: F) -> Self {
        // The memory first, so that the cell is built in its place. The draft afterwards, so that it is
        // not kept in registers meanwhile.
        let cell = memory::take(Layout::new::<TaskCell<F>>()).cast::<TaskCell<F>>();
        let stage = Stage { future: ManuallyDrop::new(future) };
        // SAFETY: the memory has the layout of such a cell, and nobody else has a pointer to it.
        unsafe { cell.write(TaskCell { header: Header::new(TaskCell::<F>::KIND, draft()), stage }) };
        TypedTask { task: AnyTask(cell.cast()), output: PhantomData }
    }

    #[inline]
    pub(crate) fn header(&self) -> &Header {
        self.task.header()
    }

    /// The task without its type.
    #[inline]
    pub(crate) fn any(&self) -> &AnyTask {
        &self.task
    }

    /// `None` until the outcome is written. The inner `Option` is `None` after it was taken.
    #[inline]
    pub(crate) fn outcome(&self) -> Option<&RefCell<Option<Outcome<T>>>> {
        let header = self.header();
        if header.holds.get() != Holds::Outcome {
            return None;
        }
        // SAFETY: the outcome was written there, with this type: `T` is the output of the cell's
        // future. It stays until the cell is freed, and `self` is a reference to the cell. `lend`
        // empties cells whose `T` is about to end.
        Some(unsafe { self.task.0.byte_add(header.kind.get().outcome_at).cast().as_ref() })
    }
}

/// A handle does not pin an outcome.
impl<T> Unpin for TypedTask<T> {}

impl<T> Clone for TypedTask<T> {
    #[inline]
    fn clone(&self) -> Self {
        TypedTask { task: self.task.clone(), output: PhantomData }
    }
}

/// Runs `body` with a task whose future may borrow from the caller.
///
/// The cell may live for ever, because `body` may keep the task. But the future and the outcome,
/// which borrow from the caller, are dropped when `lend` returns or unwinds.
#[inline]
pub(crate) fn lend<F: Future, R>(
    draft: impl FnOnce() -> Draft,
    future: F,
    body: impl FnOnce(&TypedTask<F::Output>) -> R,
) -> R {
    // SAFETY: `Empty` removes the future and its output before the borrows end. What is left of the
    // outcome is `None` or an error, which borrows nothing.
    let task = unsafe { TypedTask::allocate(draft, future) };
    body(Empty(&task).0)
}

/// Empties a cell that was lent.
struct Empty<'a, T>(&'a TypedTask<T>);

impl<T> Drop for Empty<'_, T> {
    /// In the usual case, `body` has taken the outcome, and nothing is left.
    #[inline]
    fn drop(&mut self) {
        let is_taken =
            |outcome: &RefCell<_>| outcome.try_borrow().is_ok_and(|outcome: Ref<'_, Option<_>>| outcome.is_none());
        if !self.0.outcome().is_some_and(is_taken) || self.0.header().has_extra() {
            self.empty();
        }
    }
}

impl<T> Empty<'_, T> {
    #[cold]
    #[inline(never)]
    fn empty(&self) {
        let task = self.0.any();
        let header = task.header();
        if header.has_future() {
            // First, because destructors may panic: from now on the cell polls nothing, even if the
            // task still has a row because `body` has unwound.
            // SAFETY: steps do not outlive `body`, which has returned or unwound, so no code is
            // polling the future.
            exceptions::tolerate_of(header.token(), || unsafe { task.drop_future() });
        }
        if let Some(value) = self.0.outcome().and_then(RefCell::take) {
            exceptions::tolerate_of(header.token(), || drop(value));
        }
        if header.has_extra() {
            // A scope that is referenced elsewhere lives longer than this call, and must not refer
            // to this task then.
            header.forget_scopes();
        }
    }
}

impl Hash for AnyTask {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

/// Compares identities, not contents.
pub(crate) fn same(one: &AnyTask, other: &AnyTask) -> bool {
    one.0 == other.0
}
