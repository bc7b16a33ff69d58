//! The events that the loop emits to the probe, if there is one, and to debug mode (`watch.rs`).

use crate::kernel::Kernel;
#[cfg(feature = "probe")]
use crate::kernel::cell::Ending;
use crate::kernel::cell::{AnyTask, Header};
#[cfg(feature = "probe")]
use crate::kernel::observe::probe::{self, EventKind, Source, WaitTarget, WakeOutcome};
#[cfg(feature = "probe")]
use crate::kernel::observe::task_id::TaskId;
use crate::kernel::table::TaskTable;
#[cfg(feature = "probe")]
use crate::kernel::table::records::Wait;
use crate::kernel::timers::Alarm;
#[cfg(feature = "probe")]
use crate::kernel::{Time, Token};
use crate::platform::catch_unwind;
#[cfg(feature = "probe")]
use alloc::boxed::Box;
#[cfg(feature = "probe")]
use alloc::rc::Rc;
use core::panic::AssertUnwindSafe;
#[cfg(feature = "probe")]
use core::panic::Location;

/// See `Kernel::because_of`.
#[cfg(feature = "probe")]
pub(in crate::kernel) struct Because<'a> {
    slot: &'a probe::ProbeSlot,
    before: Source,
}

#[cfg(feature = "probe")]
impl Drop for Because<'_> {
    fn drop(&mut self) {
        self.slot.cause.set(self.before);
    }
}

#[cfg(feature = "probe")]
impl From<Ending> for probe::Ending {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Value => probe::Ending::Value,
            Ending::Cancelled => probe::Ending::Cancelled,
            Ending::Panicked => probe::Ending::Panicked,
        }
    }
}

impl Kernel {
    /// Emits the end of a sleep, whose timer has fired or was cancelled.
    pub(in crate::kernel) fn tell_awake(&self, _age: u64, _alarm: &Alarm) {
        #[cfg(feature = "probe")]
        if let Some((task, at)) = self.sleeper(_alarm) {
            tell!(self.table, EventKind::WaitEnd { task, wait: _age, at });
        }
    }

    /// If the alarm is a sleep's: the task that sleeps, and the location of the await.
    #[cfg(feature = "probe")]
    pub(in crate::kernel) fn sleeper(&self, alarm: &Alarm) -> Option<(TaskId, &'static Location<'static>)> {
        match *alarm {
            Alarm::Task(token, at) | Alarm::Within(token, at, _) => self.table.id(token).map(|task| (task, at)),
            Alarm::Call(_) => None,
        }
    }

    /// Emits the end of a sleep and its new begin, if the sleep has moved to the running task.
    #[cfg(feature = "probe")]
    pub(in crate::kernel) fn tell_moved(&self, age: u64, before: &Alarm, at: &'static Location<'static>) {
        let now = self.table.running_token();
        if matches!(*before, Alarm::Task(task, _) | Alarm::Within(task, ..) if task != now) {
            self.tell_awake(age, before);
            if let Some(task) = self.table.id(now) {
                tell!(self.table, EventKind::WaitBegin { task, wait: age, what: "a sleep", on: WaitTarget::Timer, at });
            }
        }
    }

    /// Sets the loop's probe, and drops the previous one.
    #[cfg(feature = "probe")]
    pub(crate) fn set_probe(self: &Rc<Self>, probe: Box<dyn probe::Probe>) {
        let kernel = Rc::downgrade(self);
        let now = move || kernel.upgrade().map_or(Time(0), |kernel| kernel.clock.now());
        drop(self.table.probe.set(self.id(), Box::new(now), probe));
    }

    #[inline]
    pub(in crate::kernel) fn tell_skipped(&self) {
        tell!(self.table, EventKind::CallSkip);
    }

    pub(crate) fn tell_panic(&self) {
        tell!(self.table, EventKind::Fail { why: probe::Failure::Panic });
    }

    pub(crate) fn tell_deadlock(&self) {
        tell!(self.table, EventKind::Fail { why: probe::Failure::Deadlock });
    }

    pub(in crate::kernel) fn tell_spawn(&self, _task: &Header) {
        tell!(
            self.table,
            EventKind::Spawn {
                task: TaskId(_task.id),
                name: &_task.name(),
                at: _task.spawned_at,
                by: self.table.source(),
                row: _task.token().slot(),
                generation: _task.token().generation(),
            }
        );
    }

    /// Emits that a request to cancel the task was taken back.
    pub(in crate::kernel) fn tell_uncancel(&self, _task: &Header, _left: u32, _revoked: bool) {
        tell!(
            self.table,
            EventKind::Uncancel { task: TaskId(_task.id), by: self.table.source(), left: _left, revoked: _revoked }
        );
    }

    /// Emits that the running task yields.
    #[cfg(feature = "probe")]
    #[cold]
    pub(crate) fn tell_yield(&self, at: &'static Location<'static>) {
        if let Some(task) = self.table.id(self.table.running_token()) {
            tell!(self.table, EventKind::Yield { task, at });
        }
    }

    /// Until the guard is dropped, `cause` is the cause of events that no task causes.
    #[cfg(feature = "probe")]
    pub(in crate::kernel) fn because_of(&self, cause: Source) -> Because<'_> {
        Because { slot: &self.table.probe, before: self.table.probe.cause.replace(cause) }
    }
}

impl TaskTable {
    #[inline]
    pub(crate) fn is_probed(&self) -> bool {
        #[cfg(feature = "probe")]
        return self.probe.is_set();
        #[cfg(not(feature = "probe"))]
        false
    }

    #[cfg(feature = "probe")]
    pub(in crate::kernel) fn woken(&self, task: &Header, outcome: WakeOutcome) -> EventKind<'static> {
        EventKind::Wake { task: Some(TaskId(task.id)), by: self.source(), outcome }
    }

    /// The cause of events at this moment.
    #[cfg(feature = "probe")]
    pub(crate) fn source(&self) -> Source {
        self.id(self.running.get()).map_or(self.probe.cause.get(), Source::Task)
    }

    /// What a wait is for, as an identity. A weak reference keeps the memory of its object, so while
    /// the wait is recorded, no other object has this address.
    #[cfg(feature = "probe")]
    pub(in crate::kernel) fn target(&self, wait: &Wait) -> WaitTarget {
        match wait {
            Wait::Task(token) => self.id(*token).map_or(WaitTarget::Elsewhere, WaitTarget::Task),
            Wait::In(lines, ..) => WaitTarget::Object(lines.as_ptr().addr()),
            Wait::On(awaited) => WaitTarget::Object(awaited.as_ptr().addr()),
            Wait::Outside(..) => WaitTarget::Elsewhere,
        }
    }

    /// The id of a living task.
    #[cfg(feature = "probe")]
    pub(crate) fn id(&self, token: Token) -> Option<TaskId> {
        self.task(token).map(|task| TaskId(task.header().id))
    }
}

impl Kernel {
    /// Like `run_marked`, but runs one entry at a time, and emits events and measures around each.
    #[cold]
    pub(in crate::kernel) fn run_marked_watched(&self) {
        self.pass_time();
        for _ in 0..self.table.marked_len() {
            let task = self.next_entry();
            if let Some(_header) = task.as_ref().map(AnyTask::header) {
                tell!(self.table, EventKind::StepBegin { task: TaskId(_header.id) });
            }
            self.watch.iter().for_each(|watch| watch.begin());
            self.run_marked(&Self::this_turn_only());
            if let Some(_header) = task.as_ref().map(AnyTask::header) {
                tell!(self.table, EventKind::StepEnd { task: TaskId(_header.id), ended: _header.is_done() });
            }
            self.entry_ended(task.as_ref());
            // This may be the last reference to the task. Nothing is running now, so a panic of its
            // destructor belongs to no task.
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| self.step_is_over(task))) {
                self.panicked(payload);
            }
        }
    }

    /// The function to call instead of `run_marked`, if the loop has a probe or is in debug mode.
    #[inline]
    pub(in crate::kernel) fn watched_run(&self) -> Option<fn(&Kernel)> {
        #[cfg(feature = "report")]
        if let Some(watch) = &self.watch {
            return Some(watch.run);
        }
        if self.is_guided() {
            return Some(Kernel::run_marked_watched);
        }
        #[cfg(feature = "probe")]
        if self.table.is_probed() {
            return Some(Kernel::run_marked_watched);
        }
        None
    }
}
