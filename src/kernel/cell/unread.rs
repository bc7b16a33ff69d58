//! Drops values that were never read: outcomes, and the value of a future whose destructor panics.
#![allow(unsafe_code, reason = "takes an outcome out of a cell without references")]

use super::{Ending, Header, Holds, Outcome, TaskCell, memory};
use crate::error::TaskError;
use crate::kernel::callbacks::exceptions;
use crate::kernel::explore::unknown;
use core::mem::{ManuallyDrop, needs_drop};
use core::ptr::NonNull;

/// The value of a future that is being dropped. If the future's destructor panics, the value is
/// dropped too. A panic of the value's own destructor is then ignored.
pub(super) struct Unwritten<T>(pub(super) Option<T>);

impl<T> Drop for Unwritten<T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(value) = self.0.take() {
            drop_unwritten(value);
        }
    }
}

#[cold]
fn drop_unwritten<T>(value: T) {
    exceptions::drop_value(value);
}

impl Header {
    /// In `Header::records`: the outcome was read.
    pub(in crate::kernel) const LOOKED_AT: u8 = 128;

    /// Records that the outcome is read. Freeing the cell reports a panic that was not read.
    #[inline]
    pub(crate) fn look_at(&self) {
        self.records.set(self.records.get() | Self::LOOKED_AT);
    }

    #[inline]
    fn was_looked_at(&self) -> bool {
        self.records.get() & Self::LOOKED_AT != 0
    }
}

impl<F: Future> TaskCell<F> {
    /// Whether nothing is left to drop: the outcome was taken, and the task has no extra data.
    ///
    /// # Safety
    ///
    /// This is such a cell, and no reference to it is left.
    #[inline(always)]
    pub(super) unsafe fn is_spent(task: NonNull<Header>) -> bool {
        // SAFETY: the caller says so. The outcome is there if `holds` says so.
        unsafe {
            let (header, stage) = Self::parts(task);
            header.holds.get() == Holds::Outcome && !header.has_extra() && (*(*stage).outcome).get_mut().is_none()
        }
    }

    /// Frees a cell that contains something. A separate function, because an awaited task leaves an empty
    /// cell, which is then freed without saving registers.
    ///
    /// # Safety
    ///
    /// As for `is_spent`. The cell is not used again.
    #[inline(never)]
    pub(super) unsafe fn free_unspent(task: NonNull<Header>) {
        // `Drop for TaskCell` drops what the union holds.
        // SAFETY: the caller says so. `allocate` took the memory.
        unsafe { memory::drop_and_give(task.cast::<Self>()) };
    }

    /// Takes the outcome out of the cell for good.
    fn take_outcome(&mut self) -> Option<Outcome<F::Output>> {
        if self.header.holds.get() != Holds::Outcome {
            return None;
        }
        self.header.holds.set(Holds::Nothing);
        // SAFETY: the outcome is there, and `holds` prevents that it is taken again.
        unsafe { ManuallyDrop::take(&mut self.stage.outcome) }.into_inner()
    }
}

impl<F: Future> Drop for TaskCell<F> {
    fn drop(&mut self) {
        // SAFETY: the last reference to the cell is gone, so no code uses the future.
        unsafe { Self::drop_future(NonNull::from(&mut *self).cast()) };
        let outcome = self.take_outcome();
        if needs_drop::<F::Output>() && matches!(outcome, Some(Ok(_))) {
            // Whether the task ends first or the last handle is dropped first decides in whose step this is.
            unknown("a value that was dropped with the last handle of its task");
        }
        #[cfg(feature = "report")]
        if size_of::<F::Output>() > 0 && matches!(outcome, Some(Ok(_))) && !self.header.was_looked_at() {
            self.header.never_taken(core::any::type_name::<F::Output>());
        }
        if let (Some(Ending::Panicked), false) = (self.header.ending.get(), self.header.was_looked_at()) {
            if let Some(Err(TaskError::Panicked(panic))) = outcome {
                self.header.reached_nobody(panic);
            }
        }
    }
}
