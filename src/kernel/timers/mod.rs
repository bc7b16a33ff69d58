//! Timers: the alarms in the wheel, and how often a real clock is read for them (`pace`).

pub(crate) mod pace;

use crate::kernel::callbacks::calls::Call;
#[cfg(feature = "probe")]
use crate::kernel::observe::probe::EventKind;
use crate::kernel::table::waker::{clone_uncounted, token_of};
use crate::kernel::{Kernel, Time, TimerKey, Token};
use std::panic::Location;
use std::task::Waker;
#[cfg(feature = "probe")]
use std::time::Duration;

/// What a timer does when it fires.
pub(crate) enum Alarm {
    /// Wakes the sleeping task. The sleep is awaited at this source location.
    Task(Token, &'static Location<'static>),
    /// Wakes a waker other than the sleeping task's own: that of a sub-executor in the task, or of
    /// another task.
    Within(Token, &'static Location<'static>, Waker),
    Call(Call),
}

impl Kernel {
    pub(crate) fn add_timer(&self, deadline: Time, alarm: Alarm) -> TimerKey {
        self.tally().timers_armed.count();
        self.next.set(self.next.get().min(deadline));
        // Numbered like waits, because some timers are also records of waits.
        let age = self.table.next_number();
        #[cfg(feature = "probe")]
        let sleeper = self.sleeper(&alarm);
        let key = self.wheel.borrow_mut().insert(deadline.0, age, alarm);
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
            tell!(self.table, EventKind::WaitBegin { task, wait: age, what: "a sleep", at });
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

    /// The alarm for a sleep of the running task that is polled with `waker`. The timer is also the
    /// record of this wait.
    #[inline]
    pub(crate) fn alarm_for(&self, waker: &Waker, place: &'static Location<'static>) -> Alarm {
        match self.table.running_token() {
            token if token_of(waker) == Some(token) => Alarm::Task(token, place),
            token => Alarm::Within(token, place, clone_uncounted(waker)),
        }
    }

    /// Makes the timer wake `waker` from now on. Returns false if the timer has fired.
    pub(crate) fn timer_wakes(&self, key: TimerKey, waker: &Waker, place: &'static Location<'static>) -> bool {
        // Cloning and dropping a waker may run user code, so neither happens under the borrow,
        // which ends with the match.
        let mut alarm = self.alarm_for(waker, place);
        match (self.wheel.borrow_mut().get_mut(key), &mut alarm) {
            (None, _) => return false,
            (Some(old), alarm) => std::mem::swap(old, alarm),
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
