//! Timers: the alarms in the wheel, and how often a real clock is read for them (`pace`).
#![allow(unsafe_code, reason = "finds the running loop uncounted")]

pub(crate) mod pace;

use crate::kernel::callbacks::calls::Call;
#[cfg(feature = "probe")]
use crate::kernel::observe::probe::{EventKind, WaitTarget};
use crate::kernel::table::waker::clone_uncounted;
use crate::kernel::{Kernel, Time, TimerKey, Token, context};
use core::panic::Location;
use core::task::Waker;
use core::time::Duration;

/// What a timer does when it fires.
pub(crate) enum Alarm {
    /// Wakes the sleeping task. The sleep is awaited at this source location.
    Task(Token, &'static Location<'static>),
    /// Wakes a waker that is not the sleeping task's own: the waker of a sub-executor in the task,
    /// or of another task.
    Within(Token, &'static Location<'static>, Waker),
    Call(Call),
}

/// For a sleep that begins now and takes `duration`. Returns the id of the running loop, the number
/// of its lane, by which its wakers find it, and the deadline. The deadline is `Time(0)` if the
/// duration is zero. Returns `None` if no loop is running.
#[inline]
pub(crate) fn from_now(duration: Duration) -> Option<(u64, u16, Time)> {
    // SAFETY: the reference is used only in this function, and no user code is called.
    let kernel = unsafe { context::here() }?;
    let deadline = if duration.is_zero() { Time(0) } else { kernel.clock.now().after(duration) };
    Some((kernel.id(), kernel.table.lane().number, deadline))
}

/// The result of `begin`.
pub(crate) enum Begun {
    /// The deadline of the sleep has passed.
    Passed,
    Armed(TimerKey),
    /// The loop of the sleep is not running.
    Elsewhere,
}

/// Begins a sleep of the running task.
#[inline]
pub(crate) fn begin(loop_id: u64, deadline: Time, waker: &Waker, place: &'static Location<'static>) -> Begun {
    // SAFETY: the reference is used only in this function, and no user code is called: there is no
    // probe, and no waker is cloned. A loop that is entered notifies no host.
    let Some(kernel) = unsafe { context::here() }.filter(|kernel| kernel.id() == loop_id) else {
        return Begun::Elsewhere;
    };
    if deadline == Time(0) || deadline <= kernel.clock.seen() {
        return Begun::Passed;
    }
    if kernel.table.is_probed() || !kernel.is_entered() || !kernel.table.wakes_running(waker) {
        return begin_counted(deadline, waker, place);
    }
    Begun::Armed(kernel.insert_timer(deadline, Alarm::Task(kernel.table.running_token(), place)))
}

/// Like `begin`, but may call user code.
#[cold]
fn begin_counted(deadline: Time, waker: &Waker, place: &'static Location<'static>) -> Begun {
    let Some(kernel) = context::running() else { return Begun::Elsewhere };
    Begun::Armed(kernel.add_timer(deadline, kernel.alarm_for(waker, place)))
}

/// Ends a sleep of a task of the running loop. Returns false, and changes nothing, if this could
/// call user code, or if the sleep belongs to another loop.
#[inline]
pub(crate) fn end(loop_id: u64, key: TimerKey) -> bool {
    // SAFETY: the reference is used only in this function, and no user code is called: there is no
    // probe.
    let Some(kernel) = unsafe { context::here() }.filter(|kernel| kernel.id() == loop_id) else { return false };
    if kernel.table.is_probed() {
        return false;
    }
    let mut wheel = kernel.wheel.borrow_mut();
    let Some(alarm) = wheel.remove_if(key, |alarm| matches!(alarm, Alarm::Task(..))) else { return false };
    // It owns nothing. Forgotten, so that no drop code is compiled.
    core::mem::forget(alarm);
    if wheel.is_empty() {
        kernel.next.set(Time::NEVER);
    }
    kernel.tally().timers_cancelled.count();
    true
}

impl Kernel {
    /// Inlined into its two callers: one knows the alarm, which is then built in its place.
    #[inline(always)]
    fn insert_timer(&self, deadline: Time, alarm: Alarm) -> TimerKey {
        self.tally().timers_armed.count();
        self.next.set(self.next.get().min(deadline));
        // Numbered like waits, because some timers are also records of waits.
        let age = self.table.next_number();
        self.wheel.borrow_mut().insert(deadline.0, age, alarm)
    }

    pub(crate) fn add_timer(&self, deadline: Time, alarm: Alarm) -> TimerKey {
        #[cfg(feature = "probe")]
        let sleeper = self.sleeper(&alarm);
        let key = self.insert_timer(deadline, alarm);
        #[cfg(feature = "probe")]
        let age = key.age();
        tell!(
            self.table,
            EventKind::TimerArm {
                timer: age,
                deadline: Duration::from_nanos(deadline.0),
                task: sleeper.map(|(task, _)| task),
            }
        );
        #[cfg(feature = "probe")]
        if let Some((task, at)) = sleeper {
            tell!(self.table, EventKind::WaitBegin { task, wait: age, what: "a sleep", on: WaitTarget::Timer, at });
        }
        self.work_arrived();
        key
    }

    /// Number of pending timers, including those that are due and have not fired yet.
    pub(crate) fn timers(&self) -> usize {
        self.wheel.borrow().len() + self.cancels.drained.get()
    }

    /// Cancels a timer. Returns its alarm, to be dropped where nothing is borrowed, unless the
    /// timer has fired or was cancelled.
    pub(crate) fn cancel_timer(&self, key: TimerKey) -> Option<Alarm> {
        let alarm = {
            let mut wheel = self.wheel.borrow_mut();
            let alarm = wheel.remove(key);
            if wheel.is_empty() {
                self.next.set(Time::NEVER);
            }
            alarm?
        };
        self.tally().timers_cancelled.count();
        tell!(self.table, EventKind::TimerCancel { timer: key.age() });
        self.tell_awake(key.age(), &alarm);
        Some(alarm)
    }

    /// The alarm for a sleep of the running task, which polls the sleep with `waker`. The timer is
    /// also the record of this wait.
    pub(crate) fn alarm_for(&self, waker: &Waker, place: &'static Location<'static>) -> Alarm {
        let token = self.table.running_token();
        if self.table.wakes_running(waker) {
            return Alarm::Task(token, place);
        }
        Alarm::Within(token, place, clone_uncounted(waker))
    }

    /// Makes the timer wake `waker` from now on. Returns false if the timer has fired.
    pub(crate) fn timer_wakes(&self, key: TimerKey, waker: &Waker, place: &'static Location<'static>) -> bool {
        // Cloning and dropping a waker may run user code, so neither happens under the borrow,
        // which ends with the match.
        let mut alarm = self.alarm_for(waker, place);
        match (self.wheel.borrow_mut().get_mut(key), &mut alarm) {
            (None, _) => return false,
            (Some(old), alarm) => core::mem::swap(old, alarm),
        }
        if let Alarm::Task(token, _) | Alarm::Within(token, ..) = alarm {
            if token != self.table.running_token() {
                self.table.mark_moved(token);
            }
        }
        #[cfg(feature = "probe")]
        self.tell_moved(key.age(), &alarm, place);
        drop(alarm);
        true
    }

    /// The exact deadline of the next timer, if there is one.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        let next = self.wheel.borrow_mut().next_deadline().map_or(Time::NEVER, Time);
        self.next.set(next);
        (next != Time::NEVER).then_some(next)
    }
}
