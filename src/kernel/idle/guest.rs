//! The loop as a guest: a host turns it, for as long as it likes, and is called when there is something to do again.
//!
//! A budget may end in the middle of a turn. Then the turn is *paused*, and the next one goes on where it stopped: with what is
//! left of its entries, then with its timers. So a budget changes when a thing is done, and never the order (READY-2, TIME-3).
//!
//! ```text
//!   host                     the loop
//!     turn  ----------------> awake: it calls nobody, what comes is found at the end of the turn
//!     "nothing before T" <--- told_to_sleep = T, and the inbox: asleep
//!     (sleeps)
//!     <- called, once ------- a message; or on this thread, outside of a turn: a task, a callback, a timer before T
//!     turn  ----------------> ..
//! ```
//!
//! Does not know who the host is, and how it sleeps.

use crate::kernel::callbacks::exceptions;
#[cfg(feature = "probe")]
use crate::kernel::observe::probe::Source;
use crate::kernel::{Kernel, Time};
use std::cell::Cell;
use std::time::Instant;

/// Who knows of the work that is left, or of the next deadline.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum Knows {
    #[default]
    Nobody,
    /// Who polls the loop as a future.
    Driver,
    /// The host too.
    Everybody,
}

/// What is left of a budget.
#[derive(Debug)]
pub(crate) struct Meter {
    steps: usize,
    until: Option<Instant>,
    /// The first entry is free, so that a host which is always late gets on.
    begun: bool,
}

impl Meter {
    pub(crate) fn new(steps: usize, until: Option<Instant>) -> Self {
        Meter { steps: steps.max(1), until, begun: false }
    }

    /// A turn is over. Whether another may begin: one that has taken nothing but messages is the last, or a flood of them would never
    /// end.
    fn goes_on(&mut self, steps_before: usize) -> bool {
        let has_taken = self.steps < steps_before;
        self.begun = true;
        has_taken && !self.is_used_up()
    }

    fn is_used_up(&self) -> bool {
        self.begun && (self.steps == 0 || self.until.is_some_and(|until| Instant::now() >= until))
    }

    /// So many of `count` entries may follow without a look at the budget; 0 if it is used up.
    fn take(&mut self, count: usize) -> usize {
        if self.is_used_up() {
            return 0;
        }
        // With a limit in time, each entry may be the one that takes long.
        let count = if self.until.is_some() { count.min(1) } else { count.min(self.steps) };
        (self.steps, self.begun) = (self.steps - count, true);
        count
    }
}

impl Kernel {
    /// For `run_turn` and `run_marked`: no further turn begins in there.
    #[inline]
    pub(in crate::kernel) fn this_turn_only() -> Cell<bool> {
        Cell::new(true)
    }

    /// Turns until nothing is ready, or until the budget is used up, which may be in the middle of a turn. The caller has entered
    /// the context.
    pub(crate) fn turn_within(&self, meter: &mut Meter) {
        loop {
            let steps_before = meter.steps;
            self.begin_or_resume();
            if !self.run_turn_within(meter) {
                // Until it goes on, what happens is the host's doing.
                #[cfg(feature = "probe")]
                self.table.probe.cause.set(Source::Outside);
                return;
            }
            self.idling.paused.set(None);
            self.end_turn();
            if !meter.goes_on(steps_before) || !self.has_work() {
                return;
            }
        }
    }

    /// Finishes a turn that was paused. False if there is none.
    #[inline]
    pub(crate) fn finish_paused_turn(&self) -> bool {
        let is_paused = self.idling.paused.get().is_some();
        if is_paused {
            self.finish_turn();
        }
        is_paused
    }

    #[cold]
    fn finish_turn(&self) {
        self.begin_or_resume();
        let finished = self.run_turn_within(&mut Meter::new(usize::MAX, None));
        debug_assert!(finished, "READY-2: a budget without a limit was used up");
        self.idling.paused.set(None);
        self.end_turn();
    }

    fn begin_or_resume(&self) {
        if self.idling.paused.get().is_none() {
            self.begin();
            self.idling.paused.set(Some(self.table.marked_len()));
        }
        #[cfg(feature = "probe")]
        self.table.probe.cause.set(Source::Kernel);
    }

    /// What is left of this turn: its entries, then its timers. False if the budget is used up before.
    fn run_turn_within(&self, meter: &mut Meter) -> bool {
        while let Some(left) = self.idling.paused.get().filter(|&left| left > 0) {
            let count = meter.take(left);
            if count == 0 {
                return false;
            }
            self.idling.paused.set(Some(left - count));
            self.table.mark_first(count);
            if self.is_watched() {
                self.run_marked_watched();
            } else {
                self.run_marked(&Self::this_turn_only());
            }
        }
        while self.firing.get() {
            if self.wheel.borrow().has_due() && meter.take(1) == 0 {
                return false;
            }
            self.fire_next();
        }
        true
    }

    /// Whether a turn would find anything to do now, timers that have become due apart.
    pub(crate) fn has_work(&self) -> bool {
        self.has_own_work() || self.inbox().has_messages()
    }

    /// The same, but for what came from elsewhere.
    fn has_own_work(&self) -> bool {
        self.idling.paused.get().is_some() || !self.table.is_idle()
    }

    /// How much is ready: entries of the queue, and timers that a paused turn has set aside.
    pub(crate) fn ready_len(&self) -> usize {
        let due = if self.firing.get() { self.wheel.borrow().due_len() } else { 0 };
        self.table.ready_len() + due
    }

    // ---- the host sleeps, and is called ----

    /// There is a host that wants to be called, from now on. If there is work for it, or will be, it is called at once; inside of a turn
    /// it finds that at its end, and where the loop was entered, when that is left.
    pub(crate) fn attach_host(&self) {
        self.idling.hosted.set(true);
        if !self.is_entered() {
            self.return_to_host();
        }
    }

    /// The same, but a host that was here before is not called for it.
    #[cfg(all(unix, feature = "io"))]
    pub(crate) fn attach_host_once(&self) {
        if !self.idling.hosted.get() {
            self.attach_host();
        }
    }

    /// The host polls this loop as a future, and is about to turn it.
    pub(crate) fn attach_driver(&self) {
        self.idling.hosted.set(true);
    }

    /// The turn was a driver's, and so is what it has reported.
    pub(crate) fn told_driver(&self) {
        self.idling.work_is_known.set(Knows::Driver);
    }

    /// A driver goes, who may have been told what nobody else knows: of work, or of a deadline.
    pub(crate) fn hand_over(&self) {
        let is_alone = self.idling.work_is_known.get() == Knows::Driver && !self.is_entered();
        if is_alone && (self.idling.told_to_sleep.get().is_none() || self.inbox().is_host_asleep()) {
            self.tell_host();
        }
    }

    /// A panic of a hook goes to the exception handler.
    pub(crate) fn tolerate_hook(&self, act: impl FnOnce(&Self)) {
        self.tolerate_in(exceptions::IN_A_HOOK, || act(self));
    }

    /// The loop is about to end, and calls nobody any more.
    pub(crate) fn detach_host(&self) {
        self.idling.hosted.set(false);
        self.idling.told_to_sleep.set(None);
        // Foreign: it may do what it likes while the loop is still there.
        let bells = self.inbox().take_bells();
        self.tolerate(|| drop(bells));
    }

    /// The loop is the host's again, which was not here. If there is work for it, or will be, it is called.
    #[inline]
    pub(crate) fn return_to_host(&self) {
        if self.idling.hosted.get() {
            self.tell_host();
        }
    }

    #[cold]
    fn tell_host(&self) {
        self.host_goes();
        if self.has_work() || self.next_deadline().is_some() {
            self.inbox().ring_host();
        }
    }

    /// The loop was entered by its host, who leaves it now. In there its wakes have found the loop, and not the host.
    #[cold]
    pub(crate) fn leave_to_host(&self) {
        if self.idling.hosted.get()
            && !self.is_entered()
            && self.idling.told_to_sleep.get().is_none()
            && self.idling.work_is_known.get() == Knows::Nobody
        {
            self.tell_host();
        } else {
            self.work_arrived();
        }
    }

    /// The host has come: it is not called while it is here.
    #[inline]
    pub(crate) fn host_comes(&self) {
        if self.idling.told_to_sleep.take().is_some() {
            self.inbox().host_is_here();
        }
    }

    /// The host goes. If it was told that there is nothing to do, it is called as soon as there is. Returns how many messages wait
    /// to be taken over: with any, or with anything ready, it knows by itself that it is to come again.
    pub(crate) fn host_goes(&self) -> usize {
        if !self.idling.hosted.get() {
            return self.inbox().messages();
        }
        self.idling.work_is_known.set(Knows::Everybody);
        if self.has_own_work() {
            return self.inbox().messages();
        }
        let messages = self.inbox().host_sleeps();
        if messages == 0 {
            self.idling.work_is_known.set(Knows::Nobody);
            self.idling.told_to_sleep.set(Some(self.next_deadline().unwrap_or(Time::NEVER)));
        }
        messages
    }

    /// Something may have become ready on this thread: if the host was told that nothing is, it is called. That is foreign code,
    /// so nothing may be borrowed.
    #[inline]
    pub(crate) fn work_arrived(&self) {
        if let Some(until) = self.idling.told_to_sleep.get() {
            self.call_host(until);
        }
    }

    /// Not while the loop is in a turn or is entered: whoever leaves it comes here, or reports what there is.
    #[cold]
    fn call_host(&self, until: Time) {
        if self.is_entered() {
            return;
        }
        if self.has_own_work() || self.next.get() < until {
            self.idling.told_to_sleep.set(None);
            self.idling.work_is_known.set(Knows::Everybody);
            // Whoever comes here is in the middle of something: a panic would lose what follows.
            self.tolerate_hook(|kernel| kernel.inbox().call_host());
        }
    }

    /// The loop ends: a turn that was paused is over, and what is left of it is the end's.
    pub(crate) fn give_paused_turn_up(&self) {
        if self.idling.paused.take().is_some() {
            self.table.mark_first(0);
            self.end_turn();
        }
    }
}
