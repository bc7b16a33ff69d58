//! The events that a loop emits, the trait that receives them, and the loop's slot for the
//! receiver.
//!
//! ```text
//!   Kernel, TaskTable --- is_set()? ---> ProbeSlot --- event() ---> dyn Probe, which is foreign code
//!                      no: a byte                   during the call, the slot is empty
//! ```
//!
//! Only with the feature `probe`. This file knows tasks and loops only by their numbers.

use crate::kernel::callbacks::exceptions::{self, drop_payload};
use crate::kernel::clock::Time;
use crate::kernel::observe::task_id::TaskId;
use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

/// Receives an event for each thing that a loop does, when the loop does it.
///
/// [`LoopBuilder::probe`](crate::LoopBuilder::probe) sets the probe. A probe may do everything that a
/// callback may do. It is not notified of events that it causes itself. If it panics, it is removed
/// and receives nothing more; the panic goes to the exception handler, and the loop continues.
///
/// Use one probe per loop: the numbers of tasks, waits and timers are unique only in their loop. An
/// `Rc` of a probe is a probe too, so that you can read it while the loop runs.
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
    /// Called with each event.
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

/// Something that a loop did, and when. `Display` formats it as one line, as
/// [`Printer`](crate::probe::Printer) prints it.
///
/// # Examples
///
/// ```
/// use onelane::probe::{Event, EventKind};
/// use std::time::Duration;
///
/// // A test of a probe makes events in this way.
/// let event = Event::new(Duration::from_millis(1500), EventKind::TimerFire { timer: 7 });
/// assert_eq!(event.to_string(), "1.500000000 timer-fire timer=7");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Event<'a> {
    /// Time since the loop was created, on its clock. A virtual clock stands still while anything
    /// is ready.
    pub time: Duration,
    /// What the loop did.
    pub kind: EventKind<'a>,
}

impl<'a> Event<'a> {
    /// Creates an event, for tests of probes. A loop creates its own events.
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
/// Begin and end events come in pairs that nest: callbacks and steps are inside turns, and not
/// inside each other. If a step or callback wakes or spawns a task, or sets a timer, that event
/// comes before the end of the step or callback. The last step of a task contains the task's
/// [`End`](Self::End), and the wakes of its waiters.
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
    /// A turn ends. The events that follow happen between two turns, such as a spawn by a host.
    TurnEnd,
    /// A task was spawned. It is in the ready queue.
    Spawn {
        /// The task.
        task: TaskId,
        /// Its name.
        name: &'a str,
        /// Where it was spawned.
        at: &'static Location<'static>,
        /// Who spawned it.
        by: Source,
        /// The row of the loop's waker table that the task has got.
        row: u32,
        /// The generation of the row, which distinguishes the task from other tasks that had the row.
        /// The task's wakers contain both numbers.
        generation: u32,
    },
    /// A task was woken.
    Wake {
        /// The task. `None` if it has ended.
        task: Option<TaskId>,
        /// Who woke it.
        by: Source,
        /// The result of the wake.
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
        /// Whether it was the task's last step.
        ended: bool,
    },
    /// A task is cancelled: by a handle, or because a cancelled task waits for it. Its next step unwinds
    /// it, unless the cancellation is taken back before.
    Cancel {
        /// The task.
        task: TaskId,
        /// What has cancelled it.
        by: Source,
    },
    /// A request to cancel a task was taken back, by
    /// [`Task::uncancel`](crate::Task::uncancel).
    Uncancel {
        /// The task.
        task: TaskId,
        /// Who took it back.
        by: Source,
        /// The number of requests that are left.
        left: u32,
        /// Whether the task continues as if it had not been cancelled. False if requests are left, or if
        /// the task has begun to unwind.
        revoked: bool,
    },
    /// The running task yields, with [`yield_now`](crate::yield_now). Its [`Wake`](Self::Wake) follows.
    Yield {
        /// The task.
        task: TaskId,
        /// The source location of the await.
        at: &'static Location<'static>,
    },
    /// The running task suspends, but its step is not over: the task was cancelled, and the rest of
    /// the step passes the cancellation on. If the task was woken in this step, it is in the ready
    /// queue from now on. In a step without this event, its end does both.
    Suspend {
        /// The task.
        task: TaskId,
    },
    /// In an explored loop: more than one thing could happen next, and one was chosen (feature
    /// `explore`).
    Choose {
        /// What is chosen.
        what: Choice,
        /// The number of things to choose from, at least 2.
        among: usize,
        /// The number of the chosen one. 0 is what happens in the normal order.
        index: usize,
    },
    /// A callback was put into the ready queue.
    CallQueue {
        /// Who put it there.
        by: Source,
    },
    /// The loop has reached a callback of the ready queue that was cancelled, and calls nothing.
    CallSkip,
    /// A callback of the ready queue or of a timer is called.
    CallBegin,
    /// A callback has returned, or has panicked.
    CallEnd,
    /// A task begins to wait for something. It may wait for several things at once.
    WaitBegin {
        /// The task.
        task: TaskId,
        /// The number of the wait, unique in its loop.
        wait: u64,
        /// What the task waits for, in words: `a lock`.
        what: &'a str,
        /// What the task waits for, as an identity: two tasks that wait for the same lock have equal
        /// targets.
        on: WaitTarget,
        /// The source location of the await.
        at: &'static Location<'static>,
    },
    /// A wait has ended, or was given up.
    WaitEnd {
        /// The task.
        task: TaskId,
        /// The number of the wait.
        wait: u64,
        /// The source location of the latest await.
        at: &'static Location<'static>,
    },
    /// A timer was set.
    TimerArm {
        /// The number of the timer, unique in its loop.
        timer: u64,
        /// Its deadline, as the time since the loop was created.
        deadline: Duration,
        /// The task that sleeps. `None` if the timer is for a callback.
        task: Option<TaskId>,
    },
    /// The timers that are due at this time were set aside. The turn that begins now fires them, after
    /// the entries of the ready queue.
    Expire {
        /// The time to which the timer wheel was turned, as the time since the loop was created.
        now: Duration,
    },
    /// A timer fires. The next events are the end of the wait, if a task sleeps on the timer, and
    /// then the wake or the callback.
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
        /// How it ended.
        ending: Ending,
    },
    /// Nothing is ready: the loop begins to sleep.
    Park {
        /// The latest end of the sleep, as the time since the loop was created. `None` if no timer
        /// is pending.
        until: Option<Duration>,
    },
    /// The sleep has ended.
    Unpark,
    /// The program has failed: its main task has panicked, or no task can ever continue. Emitted before
    /// `run` returns or panics.
    Fail {
        /// The reason.
        why: Failure,
    },
}

/// What a task waits for. Shows which waits are for the same thing.
///
/// # Examples
///
/// ```
/// use onelane::probe::{Event, EventKind, Probe, WaitTarget};
/// use onelane::{Clock, EventLoop, gather, sleep, sync::Event as Door};
/// use std::{cell::RefCell, rc::Rc, time::Duration};
///
/// /// The targets of all waits.
/// #[derive(Default)]
/// struct Targets(RefCell<Vec<WaitTarget>>);
///
/// impl Probe for Targets {
///     fn event(&self, event: &Event<'_>) {
///         if let EventKind::WaitBegin { on, .. } = event.kind {
///             self.0.borrow_mut().push(on);
///         }
///     }
/// }
///
/// let targets = Rc::new(Targets::default());
/// let event_loop = EventLoop::builder().clock(Clock::Virtual).probe(targets.clone()).build();
/// event_loop.run(async {
///     let door = Door::new();
///     let open = async {
///         sleep(Duration::from_secs(1)).await;
///         door.set();
///     };
///     futures_util::join!(door.wait(), door.wait(), open);
/// });
/// let targets = targets.0.borrow();
/// assert_eq!(targets[0], targets[1]);
/// assert_eq!(targets[2], WaitTarget::Timer);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum WaitTarget {
    /// The end of a task of this loop.
    Task(TaskId),
    /// A timer, for a sleep. Its number is the number of the wait.
    Timer,
    /// Anything else: a lock, a queue, a promise, a group of tasks, a side of a socket. The number
    /// belongs to it while the wait lasts. After that, another object may get the same number.
    Object(usize),
    /// The end of a task of another loop, or of a task that has ended.
    Elsewhere,
}

/// What an explored loop chooses.
///
/// # Examples
///
/// ```
/// use onelane::probe::Choice;
///
/// assert_eq!(Choice::Entry.to_string(), "entry");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Choice {
    /// Which entry of the ready queue runs next. It moves to the head of the queue.
    Entry,
    /// Which of the timers for one moment fires next.
    Timer,
    /// To which deadline virtual time passes.
    Time,
    /// Whether a task is cancelled at its await.
    Cancellation,
    /// A choice of the program.
    Own,
}

/// The cause of an event.
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
    /// A task, in one of its steps.
    Task(TaskId),
    /// A callback.
    Callback,
    /// A timer that fired.
    Timer,
    /// The loop itself: the end of an awaited task, a cancellation that reaches a task, the end of
    /// the loop or of `run`.
    Kernel,
    /// Something outside of the loop's own code: another thread, another loop, a socket that has
    /// become ready, or the host, also while a turn is paused.
    Outside,
}

/// The result of a wake.
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
    /// The task was put into the ready queue, or will be when its step ends.
    Queued,
    /// The task was already in the ready queue, or had been woken in this step.
    Merged,
    /// The task has ended.
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

/// Why a program cannot reach its end.
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
    /// Nothing can continue any more.
    Deadlock,
}

impl<'a> EventKind<'a> {
    /// Returns the event with `text` in place of its own text, if it has one.
    pub(crate) fn with_text<'b>(&self, text: &'b str) -> EventKind<'b> {
        match *self {
            EventKind::TurnBegin => EventKind::TurnBegin,
            EventKind::TurnEnd => EventKind::TurnEnd,
            EventKind::Spawn { task, at, by, row, generation, .. } => {
                EventKind::Spawn { task, name: text, at, by, row, generation }
            }
            EventKind::Wake { task, by, outcome } => EventKind::Wake { task, by, outcome },
            EventKind::StepBegin { task } => EventKind::StepBegin { task },
            EventKind::StepEnd { task, ended } => EventKind::StepEnd { task, ended },
            EventKind::Cancel { task, by } => EventKind::Cancel { task, by },
            EventKind::Uncancel { task, by, left, revoked } => EventKind::Uncancel { task, by, left, revoked },
            EventKind::Yield { task, at } => EventKind::Yield { task, at },
            EventKind::Suspend { task } => EventKind::Suspend { task },
            EventKind::Choose { what, among, index } => EventKind::Choose { what, among, index },
            EventKind::CallQueue { by } => EventKind::CallQueue { by },
            EventKind::CallSkip => EventKind::CallSkip,
            EventKind::CallBegin => EventKind::CallBegin,
            EventKind::CallEnd => EventKind::CallEnd,
            EventKind::WaitBegin { task, wait, on, at, .. } => EventKind::WaitBegin { task, wait, what: text, on, at },
            EventKind::WaitEnd { task, wait, at } => EventKind::WaitEnd { task, wait, at },
            EventKind::TimerArm { timer, deadline, task } => EventKind::TimerArm { timer, deadline, task },
            EventKind::Expire { now } => EventKind::Expire { now },
            EventKind::TimerFire { timer } => EventKind::TimerFire { timer },
            EventKind::TimerCancel { timer } => EventKind::TimerCancel { timer },
            EventKind::End { task, ending } => EventKind::End { task, ending },
            EventKind::Park { until } => EventKind::Park { until },
            EventKind::Unpark => EventKind::Unpark,
            EventKind::Fail { why } => EventKind::Fail { why },
        }
    }

    /// The text that `with_text` replaces.
    pub(crate) fn text(&self) -> &'a str {
        match *self {
            EventKind::Spawn { name: text, .. } | EventKind::WaitBegin { what: text, .. } => text,
            _ => "",
        }
    }

    /// The task that the event is about.
    pub(crate) fn task(&self) -> Option<TaskId> {
        match *self {
            EventKind::Wake { task, .. } | EventKind::TimerArm { task, .. } => task,
            EventKind::Spawn { task, .. }
            | EventKind::StepBegin { task }
            | EventKind::StepEnd { task, .. }
            | EventKind::Cancel { task, .. }
            | EventKind::Uncancel { task, .. }
            | EventKind::Yield { task, .. }
            | EventKind::Suspend { task }
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
            // Without the row and its generation, which depend on other loops.
            EventKind::Spawn { task, name, at, by, .. } => write!(f, "spawn task={task} name={name:?} by={by} at={at}"),
            EventKind::Wake { task: Some(task), by, outcome } => {
                write!(f, "wake task={task} by={by} outcome={outcome}")
            }
            EventKind::Wake { task: None, by, outcome } => write!(f, "wake by={by} outcome={outcome}"),
            EventKind::StepBegin { task } => write!(f, "step-begin task={task}"),
            EventKind::StepEnd { task, ended } => write!(f, "step-end task={task} ended={ended}"),
            EventKind::Cancel { task, by } => write!(f, "cancel task={task} by={by}"),
            EventKind::Uncancel { task, by, left, revoked } => {
                write!(f, "uncancel task={task} by={by} left={left} revoked={revoked}")
            }
            EventKind::Yield { task, at } => write!(f, "yield task={task} at={at}"),
            EventKind::Suspend { task } => write!(f, "suspend task={task}"),
            EventKind::Choose { what, among, index } => write!(f, "choose what={what} among={among} index={index}"),
            EventKind::CallQueue { by } => write!(f, "call-queue by={by}"),
            EventKind::CallSkip => f.write_str("call-skip"),
            EventKind::CallBegin => f.write_str("call-begin"),
            EventKind::CallEnd => f.write_str("call-end"),
            EventKind::WaitBegin { task, wait, what, at, .. } => {
                write!(f, "wait-begin task={task} wait={wait} what={what:?} at={at}")
            }
            EventKind::WaitEnd { task, wait, at } => write!(f, "wait-end task={task} wait={wait} at={at}"),
            EventKind::TimerArm { timer, deadline, task } => {
                write!(f, "timer-arm timer={timer} deadline={}", Seconds(deadline))?;
                task.map_or(Ok(()), |task| write!(f, " task={task}"))
            }
            EventKind::Expire { now } => write!(f, "expire now={}", Seconds(now)),
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

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Choice::Entry => "entry",
            Choice::Timer => "timer",
            Choice::Time => "time",
            Choice::Cancellation => "cancellation",
            Choice::Own => "own",
        })
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

/// Formats a duration in seconds, with nanoseconds: `1.500000000`.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.0.as_secs(), self.0.subsec_nanos())
    }
}

/// The loop's place for its probe.
pub(crate) struct ProbeSlot {
    /// There is a probe, and it is not being called.
    is_set: Cell<bool>,
    /// The probe. Taken out while it is called.
    listener: Cell<Option<Listener>>,
    /// The cause of events that no task causes.
    pub(crate) cause: Cell<Source>,
}

struct Listener {
    probe: Box<dyn Probe>,
    now: Box<dyn Fn() -> Time>,
    /// A panic of the probe goes to the exception handler of this loop.
    loop_id: u64,
}

impl Default for ProbeSlot {
    fn default() -> Self {
        ProbeSlot { is_set: Cell::new(false), listener: Cell::new(None), cause: Cell::new(Source::Outside) }
    }
}

impl ProbeSlot {
    /// Sets the probe. Returns the previous one, to be dropped where nothing is borrowed.
    pub(crate) fn set(
        &self,
        loop_id: u64,
        now: Box<dyn Fn() -> Time>,
        probe: Box<dyn Probe>,
    ) -> Option<Box<dyn Probe>> {
        self.is_set.set(true);
        self.listener.replace(Some(Listener { probe, now, loop_id })).map(|before| before.probe)
    }

    /// Removes the probe and returns it, to be dropped where nothing is borrowed.
    pub(crate) fn take(&self) -> Option<Box<dyn Probe>> {
        self.is_set.set(false);
        self.listener.take().map(|listener| listener.probe)
    }

    /// Whether there is a probe to call. False while the probe is being called.
    #[inline]
    pub(crate) fn is_set(&self) -> bool {
        self.is_set.get()
    }

    /// Calls the probe. The probe is user code, so nothing may be borrowed. This returns even if
    /// the probe panics.
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

    /// Advances by a nanosecond at each reading.
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

    /// If the payload panics again when it is dropped, that panic is discarded.
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
