//! What a loop tells of what it does: the events, who hears of them, and the slot in which a loop keeps whom it tells.
//!
//! ```text
//!   Kernel, TaskTable --- is_set()? ---> ProbeSlot --- event() ---> dyn Probe, which is foreign code
//!                      no: a byte                   meanwhile the slot is empty, so nothing that comes of it is told
//! ```
//!
//! With the feature `probe` alone. Knows no task and no loop, but for their numbers.

use crate::kernel::callbacks::exceptions::{self, drop_payload};
use crate::kernel::clock::Time;
use crate::kernel::observe::task_id::TaskId;
use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

/// Hears of each thing that a loop does, when it does it.
///
/// [`Builder::probe`](crate::Builder::probe) sets it. It may do anything that a callback may; what it does to the loop is not
/// told to it. If it panics, it is taken out and hears of nothing more, the exception handler is told, and the loop goes on.
///
/// A probe is for one loop: the numbers of tasks, waits and timers are those of their loop. An `Rc` of a probe is a probe, so
/// that it can be looked at while the loop runs.
///
/// # Examples
///
/// ```
/// use onelane::EventLoop;
/// use onelane::probe::{Event, EventKind, Probe};
/// use std::{cell::RefCell, rc::Rc};
///
/// /// The names of all tasks that were ever spawned.
/// #[derive(Default)]
/// struct Names(RefCell<Vec<String>>);
///
/// impl Probe for Names {
///     fn event(&self, event: &Event<'_>) {
///         if let EventKind::Spawn { name, .. } = event.kind {
///             self.0.borrow_mut().push(name.to_string());
///         }
///     }
/// }
///
/// let names = Rc::new(Names::default());
/// let event_loop = EventLoop::builder().probe(names.clone()).build();
/// event_loop.run(async {
///     onelane::task::Builder::new().name("tea").spawn(async {});
/// });
/// assert_eq!(names.0.borrow()[1..], ["tea"]);
/// ```
pub trait Probe {
    /// Something has happened.
    fn event(&self, event: &Event<'_>);
}

impl<P: Probe + ?Sized> Probe for Rc<P> {
    fn event(&self, event: &Event<'_>) {
        (**self).event(event);
    }
}

impl<P: Probe + ?Sized> Probe for Box<P> {
    fn event(&self, event: &Event<'_>) {
        (**self).event(event);
    }
}

impl<P: Probe + ?Sized> Probe for &P {
    fn event(&self, event: &Event<'_>) {
        (**self).event(event);
    }
}

/// Something that a loop did, and when. `Display` makes one line of it, as [`Printer`](crate::probe::Printer) tells.
///
/// # Examples
///
/// ```
/// use onelane::probe::{Event, EventKind};
/// use std::time::Duration;
///
/// // As a test of a probe makes them.
/// let event = Event::new(Duration::from_millis(1500), EventKind::TimerFire { timer: 7 });
/// assert_eq!(event.to_string(), "1.500000000 timer-fire timer=7");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Event<'a> {
    /// Since the loop was made, on its clock. A virtual clock stands still while anything is ready.
    pub time: Duration,
    /// What it was.
    pub kind: EventKind<'a>,
}

impl<'a> Event<'a> {
    /// An event, for tests of probes: a loop makes its own.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::probe::{Counters, Event, EventKind, Probe};
    /// use std::time::Duration;
    ///
    /// let counters = Counters::new();
    /// counters.event(&Event::new(Duration::ZERO, EventKind::Unpark));
    /// assert_eq!(counters.counts().unparks, 1);
    /// ```
    pub fn new(time: Duration, kind: EventKind<'a>) -> Self {
        Event { time, kind }
    }
}

/// What a loop did.
///
/// What begins and ends, does so in pairs that nest: callbacks and steps in turns, and neither in the other. What a step,
/// a callback or a timer does, is told inside of it: the wakes, spawns and timers that it causes, and for a task's last step
/// its [`End`](Self::End) and the wakes of those who awaited it.
///
/// # Examples
///
/// ```
/// use onelane::probe::{EventKind, WakeOutcome};
///
/// fn is_wasted(kind: &EventKind<'_>) -> bool {
///     matches!(kind, EventKind::Wake { outcome: WakeOutcome::Merged | WakeOutcome::Late, .. })
/// }
///
/// assert!(!is_wasted(&EventKind::TurnBegin));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum EventKind<'a> {
    /// A turn of the loop begins.
    TurnBegin,
    /// It is over. What follows happens between two turns, such as a spawn by a host.
    TurnEnd,
    /// A task was spawned. It stands in the ready queue.
    Spawn {
        /// The task.
        task: TaskId,
        /// Its name.
        name: &'a str,
        /// Where it was spawned.
        at: &'static Location<'static>,
        /// Who spawned it.
        by: Source,
    },
    /// A task was woken.
    Wake {
        /// The task. None if it has ended.
        task: Option<TaskId>,
        /// Who has woken it.
        by: Source,
        /// What became of it.
        outcome: WakeOutcome,
    },
    /// A step of a task begins.
    StepBegin {
        /// The task.
        task: TaskId,
    },
    /// A step is over.
    StepEnd {
        /// The task.
        task: TaskId,
        /// It was the last.
        ended: bool,
    },
    /// A callback of the ready queue or of a timer is called.
    CallBegin,
    /// A callback has returned, or has panicked.
    CallEnd,
    /// A task waits for something, from now on until the wait has ended. It may wait for several things at once.
    WaitBegin {
        /// The task.
        task: TaskId,
        /// The number of the wait in its loop.
        wait: u64,
        /// What it waits for, in words: `a lock`.
        what: &'a str,
        /// Where it is awaited.
        at: &'static Location<'static>,
    },
    /// A wait is over, or was given up.
    WaitEnd {
        /// The task.
        task: TaskId,
        /// The number of the wait.
        wait: u64,
        /// Where it was awaited last.
        at: &'static Location<'static>,
    },
    /// A timer was set.
    TimerArm {
        /// The number of the timer in its loop.
        timer: u64,
        /// When it is to fire, since the loop was made.
        deadline: Duration,
        /// The task that sleeps. None if it is for a callback.
        task: Option<TaskId>,
    },
    /// A timer fires. Right behind come the end of the wait, if it is a sleep, and the wake or the callback that it is for.
    TimerFire {
        /// The number of the timer.
        timer: u64,
    },
    /// A timer was cancelled before it fired.
    TimerCancel {
        /// The number of the timer.
        timer: u64,
    },
    /// A task has ended.
    End {
        /// The task.
        task: TaskId,
        /// How.
        ending: Ending,
    },
    /// Nothing is ready: the loop sleeps.
    Park {
        /// Until then at the latest, since the loop was made. None if no timer is pending.
        until: Option<Duration>,
    },
    /// The loop has slept.
    Unpark,
    /// The program does not come to its end. Told before the caller of `run` is.
    Fail {
        /// Why.
        why: Failure,
    },
}

/// Who has caused something.
///
/// # Examples
///
/// ```
/// use onelane::probe::Source;
///
/// assert_eq!(Source::Outside.to_string(), "outside");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Source {
    /// A task, in a step of it.
    Task(TaskId),
    /// A callback.
    Callback,
    /// A timer that fired.
    Timer,
    /// The loop itself: the end of a task that is awaited, a cancellation that has come so far, the end of the loop or of `run`.
    Kernel,
    /// Another thread, another loop, or the host between two turns.
    Outside,
}

/// What became of a wake.
///
/// # Examples
///
/// ```
/// use onelane::probe::WakeOutcome;
///
/// assert_eq!(WakeOutcome::Merged.to_string(), "merged");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum WakeOutcome {
    /// The task was put into the ready queue, or will be when its step is over.
    Queued,
    /// It was to be stepped already.
    Merged,
    /// It has ended.
    Late,
}

/// How a task ended.
///
/// # Examples
///
/// ```
/// use onelane::probe::Ending;
///
/// assert_eq!(Ending::Value.to_string(), "value");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Ending {
    /// With a value.
    Value,
    /// It was cancelled.
    Cancelled,
    /// It panicked.
    Panicked,
}

/// Why a program does not come to its end.
///
/// # Examples
///
/// ```
/// use onelane::probe::Failure;
///
/// assert_eq!(Failure::Deadlock.to_string(), "deadlock");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Failure {
    /// Its main task has panicked.
    Panic,
    /// Nothing can go on any more.
    Deadlock,
}

impl<'a> EventKind<'a> {
    /// The same, with another text in place of its own, if it has one.
    pub(crate) fn with_text<'b>(&self, text: &'b str) -> EventKind<'b> {
        match *self {
            EventKind::TurnBegin => EventKind::TurnBegin,
            EventKind::TurnEnd => EventKind::TurnEnd,
            EventKind::Spawn { task, at, by, .. } => EventKind::Spawn { task, name: text, at, by },
            EventKind::Wake { task, by, outcome } => EventKind::Wake { task, by, outcome },
            EventKind::StepBegin { task } => EventKind::StepBegin { task },
            EventKind::StepEnd { task, ended } => EventKind::StepEnd { task, ended },
            EventKind::CallBegin => EventKind::CallBegin,
            EventKind::CallEnd => EventKind::CallEnd,
            EventKind::WaitBegin { task, wait, at, .. } => EventKind::WaitBegin { task, wait, what: text, at },
            EventKind::WaitEnd { task, wait, at } => EventKind::WaitEnd { task, wait, at },
            EventKind::TimerArm { timer, deadline, task } => EventKind::TimerArm { timer, deadline, task },
            EventKind::TimerFire { timer } => EventKind::TimerFire { timer },
            EventKind::TimerCancel { timer } => EventKind::TimerCancel { timer },
            EventKind::End { task, ending } => EventKind::End { task, ending },
            EventKind::Park { until } => EventKind::Park { until },
            EventKind::Unpark => EventKind::Unpark,
            EventKind::Fail { why } => EventKind::Fail { why },
        }
    }

    /// The text of which `with_text` speaks.
    pub(crate) fn text(&self) -> &'a str {
        match *self {
            EventKind::Spawn { name: text, .. } | EventKind::WaitBegin { what: text, .. } => text,
            _ => "",
        }
    }

    /// The task that it is about.
    pub(crate) fn task(&self) -> Option<TaskId> {
        match *self {
            EventKind::Wake { task, .. } | EventKind::TimerArm { task, .. } => task,
            EventKind::Spawn { task, .. }
            | EventKind::StepBegin { task }
            | EventKind::StepEnd { task, .. }
            | EventKind::WaitBegin { task, .. }
            | EventKind::WaitEnd { task, .. }
            | EventKind::End { task, .. } => Some(task),
            _ => None,
        }
    }
}

impl fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", Seconds(self.time), self.kind)
    }
}

impl fmt::Display for EventKind<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            EventKind::TurnBegin => f.write_str("turn-begin"),
            EventKind::TurnEnd => f.write_str("turn-end"),
            EventKind::Spawn { task, name, at, by } => write!(f, "spawn task={task} name={name:?} by={by} at={at}"),
            EventKind::Wake { task: Some(task), by, outcome } => {
                write!(f, "wake task={task} by={by} outcome={outcome}")
            }
            EventKind::Wake { task: None, by, outcome } => write!(f, "wake by={by} outcome={outcome}"),
            EventKind::StepBegin { task } => write!(f, "step-begin task={task}"),
            EventKind::StepEnd { task, ended } => write!(f, "step-end task={task} ended={ended}"),
            EventKind::CallBegin => f.write_str("call-begin"),
            EventKind::CallEnd => f.write_str("call-end"),
            EventKind::WaitBegin { task, wait, what, at } => {
                write!(f, "wait-begin task={task} wait={wait} what={what:?} at={at}")
            }
            EventKind::WaitEnd { task, wait, at } => write!(f, "wait-end task={task} wait={wait} at={at}"),
            EventKind::TimerArm { timer, deadline, task } => {
                write!(f, "timer-arm timer={timer} deadline={}", Seconds(deadline))?;
                task.map_or(Ok(()), |task| write!(f, " task={task}"))
            }
            EventKind::TimerFire { timer } => write!(f, "timer-fire timer={timer}"),
            EventKind::TimerCancel { timer } => write!(f, "timer-cancel timer={timer}"),
            EventKind::End { task, ending } => write!(f, "end task={task} ending={ending}"),
            EventKind::Park { until: Some(until) } => write!(f, "park until={}", Seconds(until)),
            EventKind::Park { until: None } => f.write_str("park"),
            EventKind::Unpark => f.write_str("unpark"),
            EventKind::Fail { why } => write!(f, "fail why={why}"),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Task(task) => write!(f, "task:{task}"),
            Source::Callback => f.write_str("callback"),
            Source::Timer => f.write_str("timer"),
            Source::Kernel => f.write_str("kernel"),
            Source::Outside => f.write_str("outside"),
        }
    }
}

impl fmt::Display for WakeOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WakeOutcome::Queued => "queued",
            WakeOutcome::Merged => "merged",
            WakeOutcome::Late => "late",
        })
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ending::Value => "value",
            Ending::Cancelled => "cancelled",
            Ending::Panicked => "panicked",
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Failure::Panic => "panic",
            Failure::Deadlock => "deadlock",
        })
    }
}

/// To the nanosecond: `1.500000000`.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.0.as_secs(), self.0.subsec_nanos())
    }
}

/// Whom a loop tells.
pub(crate) struct ProbeSlot {
    /// There is somebody, and he is not being told.
    is_set: Cell<bool>,
    /// Taken out while he is told.
    listener: Cell<Option<Listener>>,
    /// Who causes what no task does.
    pub(crate) cause: Cell<Source>,
}

struct Listener {
    probe: Box<dyn Probe>,
    now: Box<dyn Fn() -> Time>,
    /// Its exception handler hears of a panic of the probe.
    loop_id: u64,
}

impl Default for ProbeSlot {
    fn default() -> Self {
        ProbeSlot { is_set: Cell::new(false), listener: Cell::new(None), cause: Cell::new(Source::Outside) }
    }
}

impl ProbeSlot {
    /// The loop tells this one from now on. Whom it has told so far comes back, to be dropped where nothing is borrowed.
    pub(crate) fn set(
        &self,
        loop_id: u64,
        now: Box<dyn Fn() -> Time>,
        probe: Box<dyn Probe>,
    ) -> Option<Box<dyn Probe>> {
        self.is_set.set(true);
        self.listener.replace(Some(Listener { probe, now, loop_id })).map(|before| before.probe)
    }

    /// Takes out whom the loop has told so far, to be dropped where nothing is borrowed.
    pub(crate) fn take(&self) -> Option<Box<dyn Probe>> {
        self.is_set.set(false);
        self.listener.take().map(|listener| listener.probe)
    }

    /// Whether anybody is to be told. False inside of the probe itself.
    #[inline]
    pub(crate) fn is_set(&self) -> bool {
        self.is_set.get()
    }

    /// Foreign code: nothing may be borrowed. Returns in any case.
    #[cold]
    #[inline(never)]
    pub(crate) fn emit(&self, kind: EventKind<'_>) {
        let Some(listener) = self.listener.take() else { return };
        self.is_set.set(false);
        let event = Event::new(Duration::from_nanos((listener.now)().0), kind);
        let Err(payload) = catch_unwind(AssertUnwindSafe(|| listener.probe.event(&event))) else {
            self.is_set.set(true);
            self.listener.set(Some(listener));
            return;
        };
        let Listener { probe, loop_id, .. } = listener;
        exceptions::reached_nobody(loop_id, exceptions::IN_A_PROBE, payload);
        // One report is enough.
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(probe))) {
            drop_payload(payload);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// Calls a function with each event.
    struct Calls<F>(F);

    impl<F: Fn(&Event<'_>)> Probe for Calls<F> {
        fn event(&self, event: &Event<'_>) {
            (self.0)(event);
        }
    }

    /// Goes on by a nanosecond at each look.
    fn clock() -> Box<dyn Fn() -> Time> {
        let time = Cell::new(1);
        Box::new(move || Time(time.replace(time.get() + 1)))
    }

    #[test]
    fn slot_tells_its_probe_and_not_of_the_probe() {
        let (slot, told) = (Rc::new(ProbeSlot::default()), Rc::new(RefCell::new(Vec::new())));
        slot.emit(EventKind::TurnBegin);
        assert!(!slot.is_set());
        let (inner, copy) = (slot.clone(), told.clone());
        let probe = Calls(move |event: &Event<'_>| {
            assert!(!inner.is_set());
            inner.emit(EventKind::Unpark);
            copy.borrow_mut().push(event.to_string());
        });
        assert!(slot.set(1, clock(), Box::new(probe)).is_none() && slot.is_set());
        slot.emit(EventKind::TurnBegin);
        slot.emit(EventKind::TurnEnd);
        assert_eq!(*told.borrow(), ["0.000000001 turn-begin", "0.000000002 turn-end"]);
        assert!(slot.take().is_some() && !slot.is_set() && slot.take().is_none());
    }

    /// What panics again as it is dropped, too, is just gone.
    #[test]
    fn slot_takes_out_what_panics() {
        struct Bomb;
        impl Probe for Bomb {
            fn event(&self, _: &Event<'_>) {
                panic!("in the probe");
            }
        }
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("as it is dropped");
            }
        }
        let slot = ProbeSlot::default();
        slot.set(u64::MAX, clock(), Box::new(Bomb));
        slot.emit(EventKind::TurnBegin);
        assert!(!slot.is_set() && slot.take().is_none());
        slot.emit(EventKind::TurnEnd);
    }
}
