//! A count for each kind of event.

use crate::kernel::observe::probe::{Ending, Event, EventKind, Probe, WakeOutcome};
use std::cell::RefCell;

/// Counts the events of each kind. You can read it while the loop runs.
///
/// # Cost
///
/// An addition per event. It takes 240 bytes, and allocates nothing.
///
/// # Examples
///
/// ```
/// use onelane::{Clock, EventLoop, spawn};
/// use onelane::probe::Counters;
/// use std::rc::Rc;
///
/// let counters = Rc::new(Counters::new());
/// let event_loop = EventLoop::builder().clock(Clock::Virtual).probe(counters.clone()).build();
/// let tasks = event_loop.run(async move {
///     let before = counters.counts().spawns;
///     for _ in 0..3 {
///         spawn(async {});
///     }
///     counters.counts().spawns - before
/// });
/// assert_eq!(tasks, 3);
/// ```
#[derive(Default, Debug)]
pub struct Counters {
    counts: RefCell<Counts>,
}

/// Number of events of each kind.
///
/// # Examples
///
/// ```
/// use onelane::probe::{Counters, Counts, Event, EventKind, Probe};
/// use std::time::Duration;
///
/// let counters = Counters::new();
/// for kind in [EventKind::TurnBegin, EventKind::CallBegin, EventKind::CallEnd] {
///     counters.event(&Event::new(Duration::ZERO, kind));
/// }
/// let Counts { turns_begun, turns_ended, calls_ended, .. } = counters.counts();
/// assert_eq!((turns_begun, turns_ended, calls_ended), (1, 0, 1));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Counts {
    /// Turns of the loop.
    pub turns_begun: u64,
    /// Turns that have ended.
    pub turns_ended: u64,
    /// Tasks that were spawned.
    pub spawns: u64,
    /// Wakes that queued a task.
    pub wakes_queued: u64,
    /// Wakes of a task that was already queued, or woken in its running step.
    pub wakes_merged: u64,
    /// Wakes of a task that had ended.
    pub wakes_late: u64,
    /// Steps of tasks.
    pub steps_begun: u64,
    /// Steps that have ended.
    pub steps_ended: u64,
    /// Tasks that were cancelled. Each request counts, also those that came too late.
    pub cancellations: u64,
    /// Requests to cancel a task that were taken back.
    pub uncancellations: u64,
    /// Yields of tasks, by [`yield_now`](crate::yield_now).
    pub yields: u64,
    /// Suspensions of cancelled tasks before the ends of their steps.
    pub suspensions: u64,
    /// Choices in an explored loop.
    pub choices: u64,
    /// Callbacks that were put into the ready queue.
    pub calls_queued: u64,
    /// Callbacks that were cancelled before the loop reached them in the ready queue.
    pub calls_skipped: u64,
    /// Callbacks that were called.
    pub calls_begun: u64,
    /// Callbacks that have ended.
    pub calls_ended: u64,
    /// Waits of tasks.
    pub waits_begun: u64,
    /// Waits that have ended or were given up.
    pub waits_ended: u64,
    /// Timers that were set.
    pub timers_armed: u64,
    /// Times that timers were due and were set aside.
    pub expirations: u64,
    /// Timers that have fired.
    pub timers_fired: u64,
    /// Timers that were cancelled before they fired.
    pub timers_cancelled: u64,
    /// Tasks that have ended with a value.
    pub finished: u64,
    /// Tasks that have ended because they were cancelled.
    pub cancelled: u64,
    /// Tasks that have panicked.
    pub panicked: u64,
    /// Times that the loop began to sleep.
    pub parks: u64,
    /// Times that the loop stopped sleeping.
    pub unparks: u64,
    /// Programs that could not reach their end.
    pub failures: u64,
}

impl Counters {
    /// All numbers are 0.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::probe::{Counters, Counts};
    ///
    /// assert_eq!(Counters::new().counts(), Counts::default());
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the counts at this moment.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::EventLoop;
    /// use onelane::probe::Counters;
    /// use std::rc::Rc;
    ///
    /// let counters = Rc::new(Counters::new());
    /// let event_loop = EventLoop::builder().probe(counters.clone()).build();
    /// event_loop.run(async {});
    /// assert_eq!(counters.counts().spawns, 1);
    /// ```
    pub fn counts(&self) -> Counts {
        *self.counts.borrow()
    }
}

impl Counts {
    fn of(&mut self, kind: &EventKind<'_>) -> &mut u64 {
        match kind {
            EventKind::TurnBegin => &mut self.turns_begun,
            EventKind::TurnEnd => &mut self.turns_ended,
            EventKind::Spawn { .. } => &mut self.spawns,
            EventKind::Wake { outcome: WakeOutcome::Queued, .. } => &mut self.wakes_queued,
            EventKind::Wake { outcome: WakeOutcome::Merged, .. } => &mut self.wakes_merged,
            EventKind::Wake { outcome: WakeOutcome::Late, .. } => &mut self.wakes_late,
            EventKind::StepBegin { .. } => &mut self.steps_begun,
            EventKind::StepEnd { .. } => &mut self.steps_ended,
            EventKind::Cancel { .. } => &mut self.cancellations,
            EventKind::Uncancel { .. } => &mut self.uncancellations,
            EventKind::Yield { .. } => &mut self.yields,
            EventKind::Suspend { .. } => &mut self.suspensions,
            EventKind::Choose { .. } => &mut self.choices,
            EventKind::CallQueue { .. } => &mut self.calls_queued,
            EventKind::CallSkip => &mut self.calls_skipped,
            EventKind::CallBegin => &mut self.calls_begun,
            EventKind::CallEnd => &mut self.calls_ended,
            EventKind::WaitBegin { .. } => &mut self.waits_begun,
            EventKind::WaitEnd { .. } => &mut self.waits_ended,
            EventKind::TimerArm { .. } => &mut self.timers_armed,
            EventKind::Expire { .. } => &mut self.expirations,
            EventKind::TimerFire { .. } => &mut self.timers_fired,
            EventKind::TimerCancel { .. } => &mut self.timers_cancelled,
            EventKind::End { ending: Ending::Value, .. } => &mut self.finished,
            EventKind::End { ending: Ending::Cancelled, .. } => &mut self.cancelled,
            EventKind::End { ending: Ending::Panicked, .. } => &mut self.panicked,
            EventKind::Park { .. } => &mut self.parks,
            EventKind::Unpark => &mut self.unparks,
            EventKind::Fail { .. } => &mut self.failures,
        }
    }
}

impl Probe for Counters {
    fn event(&self, event: &Event<'_>) {
        *self.counts.borrow_mut().of(&event.kind) += 1;
    }
}
