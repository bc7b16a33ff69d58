//! Replaces `guided.rs` without the feature `explore`: no loop has a guide.

use crate::kernel::cell::AnyTask;
use crate::kernel::timers::Alarm;
use crate::kernel::{Kernel, Time};

/// Has no content.
#[derive(Default)]
pub(crate) struct Slot {}

impl Kernel {
    #[inline(always)]
    pub(in crate::kernel) fn is_guided(&self) -> bool {
        let Slot {} = self.guide;
        false
    }

    #[inline(always)]
    pub(in crate::kernel) fn next_entry(&self) -> Option<AnyTask> {
        self.table.mark_next()
    }

    #[inline(always)]
    pub(in crate::kernel) fn entry_ended(&self, _task: Option<&AnyTask>) {}

    #[inline(always)]
    pub(in crate::kernel) fn pass_time(&self) {}

    #[inline(always)]
    pub(in crate::kernel) fn next_jump(&self) -> Option<Time> {
        self.next_deadline()
    }

    #[inline(always)]
    pub(in crate::kernel) fn pop_due(&self) -> Option<(u64, Alarm)> {
        self.wheel.borrow_mut().pop_due()
    }

    #[inline(always)]
    pub(crate) fn note_remote(&self) {}

    #[inline(always)]
    pub(crate) fn main_ended(&self) {}

    #[inline(always)]
    pub(in crate::kernel) fn gives_up_shutdown(&self) -> bool {
        false
    }
}
