//! The shutdown of a loop.
//!
//! ```text
//!   cancel    cancel all tasks, also those that are spawned from now on
//!   turn      run turns until no task is left; a virtual clock stands still
//!   unblock   if nothing is ready and tasks are left:
//!               if the shutdown waits for cleanups: break circles, or wait and run one normal turn;
//!               otherwise force the cancelled tasks that wait for others, or cancel all once more
//! ```
//!
//! If the shutdown waits for cleanups, the tasks that they spawn run too. The shutdown of a loop
//! that is dropped does not wait. Both give up on tasks that spawn tasks for ever, or that catch
//! cancellations for ever.
//!
//! This file does not know why the loop ends.

use crate::kernel::callbacks::calls::Call;
use crate::kernel::callbacks::exceptions;
use crate::kernel::cell::AnyTask;
#[cfg(feature = "probe")]
use crate::kernel::observe::probe::{EventKind, Source};
use crate::kernel::{Alarm, Kernel, Message, context};
use alloc::{rc::Rc, vec::Vec};
use core::fmt;
use core::panic::Location;
use core::task::Waker;

/// Number of rounds after which the shutdown gives up on tasks that spawn or that do not end.
const SHUTDOWN_ROUNDS: u32 = 1000;

/// Whether the shutdown waits for cleanups that have to wait themselves, or ends them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Patience {
    Waits,
    GivesUp,
}

impl Kernel {
    /// Cancels all tasks, and runs turns until they and their cleanups have ended, and the
    /// callbacks that were queued by then have run. Does nothing if there are no tasks, like
    /// `run_until_complete`.
    ///
    /// # Errors
    ///
    /// The place where the last task was spawned, if tasks still spawn tasks or catch
    /// cancellations. That task still exists then.
    #[inline]
    pub(crate) fn finish_tasks(&self, patience: Patience) -> Result<(), &'static Location<'static>> {
        if self.table.len() == 0 { Ok(()) } else { self.finish_all(patience) }
    }

    #[cold]
    #[inline(never)]
    fn finish_all(&self, patience: Patience) -> Result<(), &'static Location<'static>> {
        self.cancels.closing.set(true);
        self.cancels.waits_for_cleanups.set(patience == Patience::Waits);
        self.cancels.has_exempted.set(false);
        self.cancel_all();
        // `idle_turns`: number of turns since a task ended.
        let (mut rounds, mut idle_turns, mut fewest) = (0, 0_u32, usize::MAX);
        let mut turns_to_go = 2;
        while turns_to_go >= 0 && rounds < SHUTDOWN_ROUNDS {
            // A loop that is dropped has a limit already: `resists` below.
            if patience == Patience::Waits && self.gives_up_shutdown() {
                break;
            }
            let spawned = self.spawned.get();
            if self.table.len() > 0 && self.table.is_idle() {
                rounds += self.unblock(patience);
            }
            self.shutdown_turn();
            idle_turns = if self.table.len() < fewest { 0 } else { idle_turns + 1 };
            fewest = fewest.min(self.table.len());
            let resists = patience == Patience::GivesUp && idle_turns % SHUTDOWN_ROUNDS == SHUTDOWN_ROUNDS - 1;
            if resists || self.cancels.has_exempted.get() && !self.has_task_that_ends() {
                self.cancel_all();
                rounds += 1;
            }
            rounds += u32::from(self.spawned.get() > spawned);
            if self.table.len() == 0 {
                // Two more turns: callbacks of the last task's end, and the callbacks that these
                // queue. `asyncio.run()` does the same.
                turns_to_go -= 1;
            }
        }
        self.cancels.closing.set(false);
        let mut last = None;
        self.each_task(&mut |task| last = Some(task.header().spawned_at));
        assert!(last.is_some() || self.table.len() == 0, "END-1: {} tasks are left at the end", self.table.len());
        last.map_or(Ok(()), Err)
    }

    /// The loop shuts down, nothing is ready, and tasks are left. Returns whether this counts as a
    /// round.
    #[cold]
    fn unblock(&self, patience: Patience) -> u32 {
        if patience == Patience::Waits {
            // Tasks in a circle would wait for ever, and without a deadline so would the loop.
            if self.next_deadline().is_none() && self.has_broken_circles() {
                return 0;
            }
            if self.idle().is_ok() {
                self.turn();
                return 0;
            }
        }
        // These tasks can never end, or the shutdown does not wait for them.
        if !self.force_all() {
            self.cancel_all();
        }
        1
    }

    fn has_broken_circles(&self) -> bool {
        let mut unwinder = None;
        self.each_task(&mut |task| unwinder = unwinder.or(task.header().unwinder()));
        unwinder.is_some_and(|unwinder| (unwinder.break_circles)(self))
    }

    /// Forces all cancelled tasks that wait for others. Returns whether there was one.
    #[cold]
    fn force_all(&self) -> bool {
        #[cfg(feature = "probe")]
        let _because = self.because_of(Source::Kernel);
        let mut forced = false;
        self.each_task(&mut |task| {
            forced |= task.header().is_condemned();
            self.table.force(task.header());
        });
        forced
    }

    #[cold]
    fn has_task_that_ends(&self) -> bool {
        let mut found = false;
        self.each_task(&mut |task| found |= task.header().is_ending());
        found
    }

    /// Calls `act` with each living task, in the order in which the tasks were spawned.
    #[inline(never)]
    pub(in crate::kernel) fn each_task(&self, act: &mut dyn FnMut(&AnyTask)) {
        for task in &self.tasks() {
            act(task);
        }
    }

    /// Like a turn, but a virtual clock stands still.
    fn shutdown_turn(&self) {
        self.drain();
        let now = self.clock.now();
        // A paused turn may have set timers aside already.
        if now >= self.next.get() && !self.firing.get() {
            self.expire(now);
        }
        self.begin_turn();
        self.run_turn(&Self::this_turn_only());
    }

    /// The loop is dropped: its tasks end. The callbacks, timers and messages that are left are
    /// dropped without being called.
    ///
    /// # Errors
    ///
    /// As in `finish_tasks`.
    pub(crate) fn close(&self) -> Result<(), &'static Location<'static>> {
        self.give_paused_turn_up();
        loop {
            let ended = self.finish_tasks(Patience::GivesUp);
            let mut left = Vec::new();
            self.calls.borrow_mut().drain(|call| left.push(Alarm::Call(call)));
            self.table.take_calls(&mut |call| left.push(Alarm::Call(call)));
            self.drain_timers(&mut left);
            let messages = self.inbox().close();
            let has_woken = !messages.is_empty() && self.take_last_messages(messages, &mut left);
            if left.is_empty() && !has_woken || ended.is_err() {
                return ended;
            }
            // Their destructors are user code and may spawn and schedule again, so there is another
            // round.
            left.reverse(); // `pop` begins at the end.
            while let Some(alarm) = left.pop() {
                self.tolerate(|| drop(alarm));
            }
        }
    }

    /// Messages that no turn reads any more. Returns whether user code may have been woken.
    #[cold]
    fn take_last_messages(&self, messages: Vec<Message>, left: &mut Vec<Alarm>) -> bool {
        #[allow(unused_mut, reason = "without the feature `io` there are no sockets")]
        let mut has_woken = false;
        for message in messages {
            match message {
                Message::Call(call) => left.push(Alarm::Call(Call::Once(call))),
                #[cfg(all(unix, feature = "io"))]
                Message::RemoveSource(key) => {
                    // Wakers of other executors are user code, like the destructors in `close`.
                    self.tolerate(|| self.remove_source(key));
                    has_woken = true;
                }
                Message::Wake(_) | Message::CancelTimer(_) => {}
            }
        }
        has_woken
    }

    /// Like `close`, and reports tasks that do not end.
    pub(crate) fn close_and_complain(&self) {
        if let Err(spawned_at) = self.close() {
            exceptions::complain(&NeverEnds(spawned_at));
        }
    }

    /// Wakes with this loop as the running one, between two turns. A wake through the inbox would
    /// run the task after all callbacks.
    ///
    /// The waker is user code. It may drop the loop, and then spawn or schedule in it. Nobody would run
    /// or drop that, so the loop is closed again.
    pub(crate) fn wake_between_turns(self: &Rc<Self>, waker: Waker) {
        struct Closing<'a>(&'a Kernel);
        impl Drop for Closing<'_> {
            fn drop(&mut self) {
                if self.0.is_removed() {
                    self.0.close_and_complain();
                }
            }
        }
        let _entered = context::enter_to_wake(self);
        let _closing = Closing(self);
        waker.wake();
    }

    /// The timers are reported as cancelled, as if each had been removed.
    fn drain_timers(&self, left: &mut Vec<Alarm>) {
        if self.wheel.borrow().is_empty() {
            return;
        }
        let mut ages = Vec::new();
        self.wheel.borrow_mut().drain(|age, alarm| {
            ages.push(age);
            left.push(alarm);
        });
        self.cancels.drained.set(ages.len());
        for _age in ages {
            self.cancels.drained.set(self.cancels.drained.get() - 1);
            self.tally().timers_cancelled.count();
            tell!(self.table, EventKind::TimerCancel { timer: _age });
        }
    }

    /// Whether the running code may spawn during a shutdown: the shutdown waits for cleanups, and
    /// the code is a cleanup or was spawned by one.
    fn exempts(&self) -> bool {
        self.cancels.waits_for_cleanups.get()
            && (self.cancels.cleaning.get() || self.current().is_some_and(|task| !task.header().is_ending()))
    }

    /// Puts a task into the table, with all that may follow. The task gets a copy of its spawner's
    /// task-local values. The spawn is reported to the probe and to a host. While the loop shuts down, new
    /// tasks are cancelled at once, except tasks that a cleanup spawns (`exempts`).
    #[cold]
    #[inline(never)]
    pub(in crate::kernel) fn insert_and_tell(&self, task: AnyTask) {
        // `context::spawn` has not counted a reference, and a probe is user code.
        let _kept = context::running();
        if let Some(locals) = self.callbacks.locals_in_use() {
            (locals.hand_on)(self, task.header());
        }
        let exempt = self.cancels.closing.get() && self.exempts();
        self.table.insert(task.clone());
        self.tell_spawn(task.header());
        if exempt {
            self.cancels.has_exempted.set(true);
        } else if self.cancels.closing.get() {
            self.cancel(&task);
        }
        self.work_arrived();
    }
}

/// A shutdown has given up.
pub(crate) struct NeverEnds(pub(crate) &'static Location<'static>);

impl fmt::Display for NeverEnds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the loop was to end, but tasks go on spawning tasks when they are dropped, or catch each cancellation; the last \
             was spawned at {}; do not spawn in a destructor what spawns in its own, and let a cancellation through",
            self.0
        )
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::kernel::{Clock, OBSERVED, Time};

    /// The end of the loop drops the callbacks that were not called, and runs none of them.
    #[test]
    fn close_drops_callbacks_and_timers_uncalled() {
        let kernel = Kernel::new(Clock::virtual_time(), Some(&OBSERVED), None);
        let _entered = context::enter(&kernel);
        let held = Rc::new(());
        for deadline in [Time(0), Time(5), Time::NEVER] {
            let held = held.clone();
            kernel.add_timer(deadline, Alarm::Call(Call::Once(Box::new(move || unreachable!("{held:?}")))));
        }
        let copy = held.clone();
        kernel.call_soon(Call::Once(Box::new(move || unreachable!("{copy:?}"))));
        assert_eq!(Rc::strong_count(&held), 5);
        assert!(kernel.close().is_ok());
        assert_eq!((Rc::strong_count(&held), kernel.table.len()), (1, 0), "END-1");
    }
}
