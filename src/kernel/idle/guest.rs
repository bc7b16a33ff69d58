//! The loop as a guest: a host runs its turns within a budget, and is called when the loop has new
//! work.
//!
//! A budget may end in the middle of a turn. The turn is then *paused*, and the next call continues
//! it: first the entries that are left, then the timers. So a budget changes when something runs,
//! but never the order (READY-2, TIME-3).
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
//! This file does not know who the host is, or how it waits.

use crate::kernel::callbacks::exceptions;
#[cfg(feature = "probe")]
use crate::kernel::observe::probe::Source;
use crate::kernel::{Instant, Kernel, Time};
use core::cell::Cell;

/// Who knows about the remaining work, or about the next deadline.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum Knows {
    #[default]
    Nobody,
    /// The code that polls the loop as a future.
    Driver,
    /// The host too.
    Everybody,
}

/// The functions that only a loop with a host needs. The rest of the kernel calls them through
/// these pointers, which are set when a host comes. So a program without a host does not contain
/// them.
pub(in crate::kernel) struct Guest {
    finish_turn: fn(&Kernel),
    give_turn_up: fn(&Kernel),
    return_to_host: fn(&Kernel),
    call_host: fn(&Kernel),
    detach_host: fn(&Kernel),
}

static GUEST: Guest = Guest {
    finish_turn: Kernel::finish_turn,
    give_turn_up: Kernel::give_turn_up,
    return_to_host: |kernel| kernel.tolerate_hook(Kernel::tell_host),
    call_host: Kernel::call_host,
    detach_host: Kernel::detach_host,
};

/// The rest of a budget.
#[derive(Debug)]
pub(crate) struct Meter {
    steps: usize,
    until: Option<Instant>,
    /// The first entry is free, so that a host without any time left still makes progress.
    begun: bool,
}

impl Meter {
    pub(crate) fn new(steps: usize, until: Option<Instant>) -> Self {
        Meter { steps: steps.max(1), until, begun: false }
    }

    /// Called after a turn. Returns whether another turn may begin. A turn that only took messages
    /// is the last one; otherwise a flood of messages could keep us here for ever.
    fn goes_on(&mut self, steps_before: usize) -> bool {
        let has_taken = self.steps < steps_before;
        self.begun = true;
        has_taken && !self.is_used_up()
    }

    fn is_used_up(&self) -> bool {
        self.begun && (self.steps == 0 || self.until.is_some_and(|until| Instant::now() >= until))
    }

    /// Takes the number of entries, at most `count`, that may follow before the budget is checked
    /// again. 0 if the budget is used up.
    fn take(&mut self, count: usize) -> usize {
        if self.is_used_up() {
            return 0;
        }
        // With a time limit, the budget is checked after each entry, because each may take long.
        let count = if self.until.is_some() { count.min(1) } else { count.min(self.steps) };
        (self.steps, self.begun) = (self.steps - count, true);
        count
    }
}

impl Kernel {
    /// A value of `over` for `run_turn` and `run_marked`, with which they begin no further turn.
    #[inline]
    pub(in crate::kernel) fn this_turn_only() -> Cell<bool> {
        Cell::new(true)
    }

    /// Runs turns until nothing is ready or the budget is used up, which may be in the middle of a
    /// turn. The caller has entered the context.
    pub(crate) fn turn_within(&self, meter: &mut Meter) {
        self.idling.guest.set(Some(&GUEST));
        loop {
            let steps_before = meter.steps;
            self.begin_or_resume();
            if !self.run_turn_within(meter) {
                // Until the turn continues, events are caused by the host.
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

    /// Finishes a paused turn. Returns false if there is none.
    #[inline]
    pub(crate) fn finish_paused_turn(&self) -> bool {
        let is_paused = self.idling.paused.get().is_some();
        if is_paused {
            self.as_guest(|guest| guest.finish_turn);
        }
        is_paused
    }

    #[cold]
    fn as_guest(&self, which: impl FnOnce(&Guest) -> fn(&Kernel)) {
        if let Some(guest) = self.idling.guest.get() {
            which(guest)(self);
        }
    }

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

    /// Runs the rest of this turn: its entries, then its timers. Returns false if the budget is
    /// used up before the end.
    fn run_turn_within(&self, meter: &mut Meter) -> bool {
        while let Some(left) = self.idling.paused.get().filter(|&left| left > 0) {
            let count = meter.take(left);
            if count == 0 {
                return false;
            }
            self.idling.paused.set(Some(left - count));
            _ = self.table.mark_first(count);
            if let Some(run) = self.watched_run() {
                run(self);
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

    /// Whether a turn would have something to do now, apart from timers that have become due.
    pub(crate) fn has_work(&self) -> bool {
        self.has_own_work() || self.inbox().has_messages()
    }

    /// Like `has_work`, without messages from outside.
    fn has_own_work(&self) -> bool {
        self.idling.paused.get().is_some() || !self.table.is_idle()
    }

    /// Number of entries that are ready, and of timers that a paused turn has set aside.
    pub(crate) fn ready_len(&self) -> usize {
        let due = if self.firing.get() { self.wheel.borrow().due_len() } else { 0 };
        self.table.ready_len() + due
    }

    // ---- the host waits, and is called ----

    /// Registers a host. If there is already work, or a deadline, the host is called at once.
    /// Inside a turn, the host learns of work when the turn ends; inside `enter`, when `enter`
    /// ends.
    pub(crate) fn attach_host(&self) {
        self.attach_driver();
        if !self.is_entered() {
            self.tell_host();
        }
    }

    /// Like `attach_host`, but does not call the host if one was registered before.
    #[cfg(all(unix, feature = "io"))]
    pub(crate) fn attach_host_once(&self) {
        if !self.idling.hosted.get() {
            self.attach_host();
        }
    }

    /// The host polls this loop as a future, and is about to run turns.
    pub(crate) fn attach_driver(&self) {
        self.idling.guest.set(Some(&GUEST));
        self.idling.hosted.set(true);
    }

    /// A driver has run turns. It knows whether there is more work, but the host does not.
    pub(crate) fn told_driver(&self) {
        self.idling.work_is_known.set(Knows::Driver);
    }

    /// A driver is dropped. It may have been the only one that knew of remaining work, or of a
    /// deadline.
    pub(crate) fn hand_over(&self) {
        let is_alone = self.idling.work_is_known.get() == Knows::Driver && !self.is_entered();
        if is_alone && (self.idling.told_to_sleep.get().is_none() || self.inbox().is_host_asleep()) {
            self.tell_host();
        }
    }

    /// Calls a hook. A panic in it goes to the exception handler.
    pub(crate) fn tolerate_hook(&self, act: impl FnOnce(&Self)) {
        self.tolerate_in(exceptions::IN_A_HOOK, || act(self));
    }

    /// The loop is about to end, and calls no host any more.
    #[inline]
    pub(crate) fn leave_host(&self) {
        self.as_guest(|guest| guest.detach_host);
    }

    fn detach_host(&self) {
        self.idling.hosted.set(false);
        self.idling.told_to_sleep.set(None);
        // User code, which may do anything while the loop still exists.
        let bells = self.inbox().take_bells();
        self.tolerate(|| drop(bells));
    }

    /// Control returns to a host, if there is one, which does not know whether there is work. If
    /// there is work, or a deadline, the host is called.
    #[inline]
    pub(crate) fn leave_turns(&self) {
        if self.idling.hosted.get() {
            self.as_guest(|guest| guest.return_to_host);
        }
    }

    fn tell_host(&self) {
        self.host_goes();
        if self.has_work() || self.next_deadline().is_some() {
            self.inbox().ring_host();
        }
    }

    /// The host leaves `enter`. Inside, wakes went directly to the loop and not to the host.
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

    /// The host begins to run turns. Until it stops, it is not called.
    #[inline]
    pub(crate) fn host_comes(&self) {
        if self.idling.told_to_sleep.take().is_some() {
            self.inbox().host_is_here();
        }
    }

    /// The host stops running turns. If nothing is ready and no message waits, the loop will call
    /// its host when new work arrives. Returns the number of waiting messages. If this is not zero,
    /// or anything is ready, the host must run another turn.
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

    /// Whether the host was told that nothing is ready.
    #[inline]
    pub(in crate::kernel) fn host_sleeps(&self) -> bool {
        self.idling.told_to_sleep.get().is_some()
    }

    /// Called when something may have become ready on this thread. If the host was told that
    /// nothing is ready, this calls the host. The call is user code, so nothing may be borrowed.
    #[inline]
    pub(crate) fn work_arrived(&self) {
        if self.host_sleeps() {
            self.as_guest(|guest| guest.call_host);
        }
    }

    /// Does not call the host while the loop is in a turn or is entered. The code that leaves the
    /// turn or the loop comes here again, or reports the work.
    fn call_host(&self) {
        let Some(until) = self.idling.told_to_sleep.get().filter(|_| !self.is_entered()) else { return };
        if self.has_own_work() || self.next.get() < until {
            self.idling.told_to_sleep.set(None);
            self.idling.work_is_known.set(Knows::Everybody);
            // The callers are in the middle of other work, which a panic would lose.
            self.tolerate_hook(|kernel| kernel.inbox().call_host());
        }
    }

    /// The loop ends, and with it a paused turn. The shutdown takes over what is left of that turn.
    #[inline]
    pub(in crate::kernel) fn give_paused_turn_up(&self) {
        self.as_guest(|guest| guest.give_turn_up);
    }

    fn give_turn_up(&self) {
        if self.idling.paused.take().is_some() {
            _ = self.table.mark_first(0);
            self.end_turn();
        }
    }
}
