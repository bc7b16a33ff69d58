//! The end of a task without a value.
#![allow(unsafe_code, reason = "writes an outcome where the future was")]

use super::{AnyTask, Header, Holds, TaskCell};
use crate::error::TaskError;
use core::ptr::NonNull;

impl AnyTask {
    /// Writes an error as the outcome, even if the future returned a value. The future was dropped.
    pub(in crate::kernel) fn set_error(&self, error: TaskError) {
        debug_assert!(self.header().holds.get() != Holds::Future, "DONE-1: an outcome was written over a future");
        // SAFETY: the function is this cell's.
        unsafe { (self.header().kind.get().set_error)(self.0, error) }
    }
}

impl<F: Future> TaskCell<F> {
    /// # Safety
    ///
    /// The future was dropped.
    pub(super) unsafe fn set_error(task: NonNull<Header>, error: TaskError) {
        // SAFETY: the caller of a function in `Kind` says that this is such a cell and that it
        // exists.
        let (header, stage) = unsafe { Self::parts(task) };
        if header.holds.get() == Holds::Outcome {
            // SAFETY: the cell contains the outcome.
            let outcome = unsafe { &*(*stage).outcome };
            // The borrow ends before the value is dropped, because its destructor is user code.
            let value = outcome.replace(Some(Err(error)));
            drop(value);
        } else {
            // SAFETY: the caller says that the future was dropped, and there is no outcome.
            unsafe { Self::write(header, stage, Err(error)) };
        }
    }
}
