//! A task ends without a value.
#![allow(unsafe_code, reason = "writes an outcome where the future was")]

use super::{AnyTask, Header, Holds, TaskCell};
use crate::error::TaskError;
use std::ptr::NonNull;

impl AnyTask {
    /// The task has ended without a value, whatever it returned. Its future was dropped.
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
        // SAFETY: `Kind` says that this is such a cell; somebody holds it.
        let (header, stage) = unsafe { Self::parts(task) };
        if header.holds.get() == Holds::Outcome {
            // SAFETY: it is there.
            let outcome = unsafe { &*(*stage).outcome };
            // The borrow ends before the value is dropped: its destructor is foreign code.
            let value = outcome.replace(Some(Err(error)));
            drop(value);
        } else {
            // SAFETY: by the caller's word there is no future, and no outcome.
            unsafe { Self::write(header, stage, Err(error)) };
        }
    }
}
