//! The state of a loop, computed from its events alone.
//!
//! ```text
//!   event ---> State::apply ---> the ready queue, the timers, the tasks, ...
//! ```
//!
//! `page/reducer.js` does the same in the page, event for event; their hashes are compared. In debug
//! builds, `Recording` compares this state with the loop's own at the end of each turn. So an event
//! that the loop forgot to emit is an assertion failure, and not a wrong picture.

use crate::kernel::observe::probe::{Choice, EventKind, Failure, Source, WaitTarget, WakeOutcome};
use crate::kernel::observe::task_id::TaskId;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

/// What the loop is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Between two turns.
    Between = 0,
    Turn = 1,
    Parked = 2,
}

/// An entry of the ready queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// The task. `None` for a callback.
    pub(super) task: Option<u64>,
    /// Who put it there.
    pub(super) by: Source,
}

#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) name: Rc<str>,
    pub(super) at: &'static Location<'static>,
    pub(super) by: Source,
    pub(super) row: u32,
    pub(super) generation: u32,
    pub(super) steps: u64,
    pub(super) waits: BTreeMap<u64, Wait>,
    /// The last known line. At first, where the task was spawned.
    pub(super) last: &'static Location<'static>,
    /// Whether it has yielded there, and has not run since.
    pub(super) yields: bool,
    /// Whether it was cancelled and has not unwound yet.
    pub(super) is_cancelled: bool,
    /// Whether this step unwinds it.
    pub(super) unwinds: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Wait {
    pub(super) what: Rc<str>,
    pub(super) on: WaitTarget,
    pub(super) at: &'static Location<'static>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Timer {
    pub(super) deadline: u64,
    /// The task that sleeps. `None` for a callback.
    pub(super) task: Option<u64>,
    /// Set aside, to fire in this turn.
    pub(super) is_due: bool,
}

/// See the [module](self).
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) time: u64,
    pub(super) turns: u64,
    pub(super) phase: Phase,
    /// The running task.
    pub(super) running: Option<u64>,
    /// Whether the running task was woken in this step.
    pub(super) is_woken: bool,
    /// Whether a callback is being called.
    pub(super) is_calling: bool,
    /// Whether the last event was a timer that fired. Then the next callback is the timer's.
    pub(super) has_fired: bool,
    /// Number of entries at the head of the ready queue that belong to this turn.
    pub(super) marked: usize,
    pub(super) ready: VecDeque<Entry>,
    pub(super) tasks: BTreeMap<u64, Task>,
    pub(super) timers: BTreeMap<u64, Timer>,
    /// The timers that are not due, with their numbers, the next one first.
    pending: BTreeSet<(u64, u64)>,
    /// The time of the timer wheel.
    pub(super) wheel: u64,
    pub(super) failure: Option<Failure>,
}

impl State {
    pub(super) fn new() -> Self {
        State {
            time: 0,
            turns: 0,
            phase: Phase::Between,
            running: None,
            is_woken: false,
            is_calling: false,
            has_fired: false,
            marked: 0,
            ready: VecDeque::new(),
            tasks: BTreeMap::new(),
            timers: BTreeMap::new(),
            pending: BTreeSet::new(),
            wheel: 0,
            failure: None,
        }
    }

    /// Changes the state as the event says. `text` is the text of the event, which `kind` may lack.
    pub(super) fn apply(&mut self, time: Duration, kind: &EventKind<'_>, text: &Rc<str>) {
        self.time = nanos(time);
        let has_fired = std::mem::take(&mut self.has_fired);
        match *kind {
            EventKind::TurnBegin => {
                self.phase = Phase::Turn;
                self.turns += 1;
                self.marked = self.ready.len();
            }
            EventKind::TurnEnd | EventKind::Unpark => self.phase = Phase::Between,
            EventKind::Park { .. } => self.phase = Phase::Parked,
            EventKind::Spawn { task, at, by, row, generation, .. } => {
                let name = text.clone();
                let (steps, waits, last) = (0, BTreeMap::new(), at);
                let (yields, is_cancelled, unwinds) = (false, false, false);
                let spawned = Task { name, at, by, row, generation, steps, waits, last, yields, is_cancelled, unwinds };
                self.tasks.insert(task.0, spawned);
                self.ready.push_back(Entry { task: Some(task.0), by });
            }
            EventKind::Wake { task: Some(task), by, outcome: WakeOutcome::Queued } => {
                if self.running == Some(task.0) {
                    self.is_woken = true;
                } else {
                    self.ready.push_back(Entry { task: Some(task.0), by });
                }
            }
            // These change nothing.
            EventKind::Wake { .. } => {}
            EventKind::StepBegin { task } => {
                self.take(Some(task.0));
                self.running = Some(task.0);
                self.is_woken = false;
                if let Some(task) = self.tasks.get_mut(&task.0) {
                    task.steps += 1;
                    task.yields = false;
                    task.unwinds = task.is_cancelled;
                }
            }
            EventKind::StepEnd { task, ended } => {
                self.running = None;
                if !ended {
                    self.queue_if_woken(task);
                }
                self.is_woken = false;
                if let Some(task) = self.tasks.get_mut(&task.0).filter(|task| task.unwinds) {
                    (task.unwinds, task.is_cancelled) = (false, false);
                }
            }
            EventKind::Cancel { task, .. } => {
                if let Some(task) = self.tasks.get_mut(&task.0) {
                    task.is_cancelled = true;
                }
            }
            EventKind::Uncancel { task, revoked, .. } => {
                if let Some(task) = self.tasks.get_mut(&task.0).filter(|_| revoked) {
                    task.is_cancelled = false;
                }
            }
            EventKind::Yield { task, at } => {
                if let Some(task) = self.tasks.get_mut(&task.0) {
                    (task.last, task.yields) = (at, true);
                }
            }
            EventKind::Suspend { task } => {
                self.running = None;
                self.queue_if_woken(task);
            }
            EventKind::Choose { what: Choice::Entry, index, .. } => {
                if let Some(chosen) = self.ready.remove(index) {
                    self.ready.push_front(chosen);
                }
            }
            EventKind::Choose { .. } => {}
            EventKind::CallQueue { by } => self.ready.push_back(Entry { task: None, by }),
            EventKind::CallSkip => self.take(None),
            EventKind::CallBegin => {
                self.is_calling = true;
                if !has_fired {
                    self.take(None);
                }
            }
            EventKind::CallEnd => self.is_calling = false,
            EventKind::WaitBegin { task, wait, on, at, .. } => {
                if let Some(task) = self.tasks.get_mut(&task.0) {
                    task.waits.insert(wait, Wait { what: text.clone(), on, at });
                    task.last = at;
                }
            }
            EventKind::WaitEnd { task, wait, at } => {
                if let Some(task) = self.tasks.get_mut(&task.0) {
                    task.waits.remove(&wait);
                    task.last = at;
                }
            }
            EventKind::TimerArm { timer, deadline, task } => {
                let (task, deadline) = (task.map(|task| task.0), nanos(deadline));
                self.timers.insert(timer, Timer { deadline, task, is_due: false });
                self.pending.insert((deadline, timer));
            }
            EventKind::TimerFire { timer } => {
                self.remove_timer(timer);
                self.has_fired = true;
            }
            EventKind::TimerCancel { timer } => self.remove_timer(timer),
            EventKind::Expire { now } => {
                self.wheel = nanos(now);
                while self.pending.first().is_some_and(|&(deadline, _)| deadline <= self.wheel) {
                    let due = self.pending.pop_first().and_then(|(_, timer)| self.timers.get_mut(&timer));
                    due.into_iter().for_each(|timer| timer.is_due = true);
                }
            }
            EventKind::End { task, .. } => _ = self.tasks.remove(&task.0),
            EventKind::Fail { why } => self.failure = Some(why),
        }
    }

    /// The running task suspends.
    fn queue_if_woken(&mut self, task: TaskId) {
        if std::mem::take(&mut self.is_woken) {
            self.ready.push_back(Entry { task: Some(task.0), by: Source::Task(task) });
        }
    }

    fn remove_timer(&mut self, timer: u64) {
        if let Some(Timer { deadline, .. }) = self.timers.remove(&timer) {
            self.pending.remove(&(deadline, timer));
        }
    }

    /// Takes the first entry of the ready queue, a task or a callback. It is not there if a probe has
    /// queued it, which emits no event.
    fn take(&mut self, task: Option<u64>) {
        if self.ready.front().is_some_and(|entry| entry.task == task) {
            self.ready.pop_front();
            self.marked = self.marked.saturating_sub(1);
        }
    }

    /// A hash of the state, without texts and places. The same function is in `page/reducer.js`.
    pub(super) fn hash(&self) -> u32 {
        let mut hash = Hash(0x811c_9dc5);
        hash.number(self.time);
        hash.number(self.turns);
        hash.word(self.phase as u32);
        hash.number(self.running.unwrap_or(0));
        hash.word(u32::from(self.is_woken) | u32::from(self.is_calling) << 1 | u32::from(self.has_fired) << 2);
        hash.word(self.marked as u32);
        hash.word(self.ready.len() as u32);
        for entry in &self.ready {
            hash.number(entry.task.unwrap_or(0));
            hash.source(entry.by);
        }
        hash.word(self.tasks.len() as u32);
        for (&id, task) in &self.tasks {
            hash.number(id);
            hash.source(task.by);
            hash.word(task.row);
            hash.word(task.generation);
            hash.number(task.steps);
            hash.word(u32::from(task.yields) | u32::from(task.is_cancelled) << 1 | u32::from(task.unwinds) << 2);
            hash.word(task.waits.len() as u32);
            for (&wait, Wait { on, .. }) in &task.waits {
                hash.number(wait);
                hash.word(target_code(on));
                hash.number(if let WaitTarget::Task(task) = on { task.0 } else { 0 });
            }
        }
        hash.word(self.timers.len() as u32);
        for (&id, timer) in &self.timers {
            hash.number(id);
            hash.number(timer.deadline);
            hash.number(timer.task.unwrap_or(0));
            hash.word(u32::from(timer.is_due));
        }
        hash.number(self.wheel);
        hash.word(self.failure.map_or(0, failure_code));
        hash.0
    }
}

/// Times are shown in nanoseconds. A later time than 2^64 ns is the latest.
pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A cause as a number: a task by its id, others as negative numbers.
pub(super) fn source_code(by: Source) -> i64 {
    match by {
        Source::Task(task) => task.0 as i64,
        Source::Callback => -1,
        Source::Timer => -2,
        Source::Kernel => -3,
        Source::Outside => -4,
    }
}

pub(super) fn target_code(on: &WaitTarget) -> u32 {
    match on {
        WaitTarget::Task(_) => 0,
        WaitTarget::Timer => 1,
        WaitTarget::Object(_) => 2,
        WaitTarget::Elsewhere => 3,
    }
}

pub(super) fn failure_code(why: Failure) -> u32 {
    match why {
        Failure::Panic => 1,
        Failure::Deadlock => 2,
    }
}

/// FNV-1a over words of 32 bits.
struct Hash(u32);

impl Hash {
    fn word(&mut self, word: u32) {
        self.0 = (self.0 ^ word).wrapping_mul(0x0100_0193);
    }

    fn number(&mut self, number: u64) {
        self.word((number >> 32) as u32);
        self.word(number as u32);
    }

    fn source(&mut self, by: Source) {
        self.number(source_code(by) as u64);
    }
}
