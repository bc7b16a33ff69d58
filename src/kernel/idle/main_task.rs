//! The main task: the loop runs until it has ended.

use crate::kernel::callbacks::calls::{Call, Watcher};
use crate::kernel::cell::AnyTask;
use crate::kernel::table::records::Then;
use crate::kernel::{Kernel, Stuck, Time};
use alloc::rc::Rc;

impl Kernel {
    /// Runs turns until `main`, which was inserted, has ended. As in asyncio, main's done callback stops
    /// the loop, at the end of the turn in which it runs.
    pub(crate) fn run_main(self: &Rc<Self>, main: &AnyTask) -> Result<(), Stuck> {
        let run = self.idling.run.get().wrapping_add(1);
        self.idling.run.set(run);
        self.idling.over.set(false);
        let stop = || Call::Watch(self.clone(), run);
        if self.table.is_observed() {
            self.table.add_waiter(main.header(), Then::Queue(stop()));
            return self.turn_until(&self.idling.over);
        }
        // The loop is not observed. So if main ends in its first turn and nothing is left, the
        // callback, and the turn in which it would run, are left out.
        self.turn();
        if !main.header().is_done() {
            self.table.add_waiter(main.header(), Then::Queue(stop()));
        } else if self.is_at_rest() {
            return Ok(());
        } else {
            self.queue_call(stop());
        }
        self.idle()?;
        self.turn_until(&self.idling.over)
    }

    /// Whether the next turn would do nothing.
    fn is_at_rest(&self) -> bool {
        self.table.is_idle()
            && self.next.get() == Time::NEVER
            && !self.firing.get()
            && !self.inbox().has_messages()
            && !self.is_listening()
    }
}

/// The main task of run number `run` has ended. If the main task of an earlier run did not end with
/// its run, its end does not stop this one.
impl Watcher for Kernel {
    fn called(&self, run: u32) {
        if run == self.idling.run.get() {
            self.idling.over.set(true);
        }
    }
}
