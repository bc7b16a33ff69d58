//! A probe that checks the events of a loop against their documentation.

use onelane::TaskId;
use onelane::probe::{Event, EventKind, Probe, Source, WakeOutcome};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

/// Receives all events of one loop from its beginning, and records each wrong event.
#[derive(Clone, Default)]
pub(crate) struct Strict(Rc<RefCell<Seen>>);

#[derive(Default)]
struct Seen {
    complaints: Vec<String>,
    time: Duration,
    /// The spans that have begun and not ended, the outermost first.
    open: Vec<Open>,
    tasks: HashMap<TaskId, Task>,
    /// The deadlines of pending timers.
    timers: HashMap<u64, Duration>,
    /// Number of callbacks in the ready queue.
    calls: usize,
    /// The next wake or call may come from a timer.
    fired: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Open {
    Turn,
    Step(TaskId),
    Call,
    Park,
}

#[derive(Default)]
struct Task {
    /// The task was spawned or woken, and was not stepped since.
    is_queued: bool,
    has_ended: bool,
    /// The numbers of its waits.
    waits: Vec<u64>,
}

impl Strict {
    /// The complaints at the end of the loop. Only timers may be left, because the loop drops them.
    pub(crate) fn complaints_at_the_end(&self) -> Vec<String> {
        let mut seen = self.0.borrow_mut();
        let alive = seen.tasks.values().filter(|task| !task.has_ended).count();
        let open = seen.open.clone();
        if alive > 0 || !open.is_empty() {
            seen.complaints.push(format!("{alive} tasks have not ended, and nor has {open:?}"));
        }
        std::mem::take(&mut seen.complaints)
    }
}

impl Probe for Strict {
    fn event(&self, event: &Event<'_>) {
        let mut seen = self.0.borrow_mut();
        let before = seen.open.clone();
        if let Err(problem) = seen.take(event) {
            seen.complaints.push(format!("{problem}: {event} in {before:?}"));
        }
    }
}

fn holds(condition: bool, problem: &str) -> Result<(), String> {
    if condition { Ok(()) } else { Err(problem.to_string()) }
}

impl Seen {
    fn take(&mut self, event: &Event<'_>) -> Result<(), String> {
        holds(event.time >= self.time, "time went back")?;
        self.time = event.time;
        let fired = self.fired;
        // Between the event of a timer and the event of its wake, only the end of a sleep may come.
        self.fired &= matches!(event.kind, EventKind::WaitEnd { .. });
        match event.kind {
            EventKind::TurnBegin => self.begin(Open::Turn),
            EventKind::TurnEnd => self.end(Open::Turn),
            EventKind::Cancel { task, by } => {
                self.living(task)?;
                self.is_by(by, true)
            }
            EventKind::Uncancel { task, by, left, revoked } => {
                self.living(task)?;
                holds(left == 0 || !revoked, "continues in spite of a request")?;
                self.is_by(by, true)
            }
            EventKind::Yield { task, .. } => {
                holds(self.open.last() == Some(&Open::Step(task)), "yields outside of its step")?;
                self.living(task).map(drop)
            }
            EventKind::Suspend { task } => {
                holds(self.open.last() == Some(&Open::Step(task)), "suspends outside of its step")?;
                self.living(task).map(drop)
            }
            EventKind::CallQueue { by } => {
                self.calls += 1;
                // Done callbacks are queued at the end of a task, which a panic of its step may cause.
                self.is_by(by, false)
            }
            EventKind::CallSkip => {
                holds(self.open == [Open::Turn], "a callback is skipped in something else")?;
                self.calls = self.calls.checked_sub(1).ok_or("a callback is skipped that was not queued")?;
                Ok(())
            }
            EventKind::CallBegin => {
                if !fired {
                    self.calls = self.calls.checked_sub(1).ok_or("a callback is called that was not queued")?;
                }
                self.begin(Open::Call)
            }
            EventKind::Expire { now } => {
                holds(now <= event.time, "timers expire ahead of the clock")?;
                holds(self.open.is_empty(), "timers expire in something else")
            }
            EventKind::CallEnd => self.end(Open::Call),
            EventKind::Park { .. } => self.begin(Open::Park),
            EventKind::Unpark => self.end(Open::Park),
            EventKind::Spawn { task, by, .. } => {
                let before = self.tasks.insert(task, Task { is_queued: true, ..Task::default() });
                holds(before.is_none(), "spawned twice")?;
                self.is_by(by, false)
            }
            EventKind::Wake { task, by, outcome } => {
                let is_by = self.is_by(by, fired);
                let Some(task) = task else { return is_by.and(holds(outcome == WakeOutcome::Late, "not late")) };
                let task = self.living(task)?;
                let was_queued = std::mem::replace(&mut task.is_queued, true);
                let expected = if was_queued { WakeOutcome::Merged } else { WakeOutcome::Queued };
                is_by.and(holds(outcome == expected, "another outcome"))
            }
            EventKind::StepBegin { task } => {
                let was_queued = std::mem::take(&mut self.living(task)?.is_queued);
                self.begin(Open::Step(task))?;
                holds(was_queued, "a step of a task that was not woken")
            }
            EventKind::StepEnd { task, ended } => {
                let has_ended = self.tasks.get(&task).is_some_and(|task| task.has_ended);
                self.end(Open::Step(task))?;
                holds(ended == has_ended, "it ended or not")
            }
            EventKind::WaitBegin { task, wait, what, .. } => {
                holds(!what.is_empty() && !what.contains("no longer"), "no words")?;
                holds(self.open.last() == Some(&Open::Step(task)), "a wait of another than the running task")?;
                let task = self.living(task)?;
                holds(!task.waits.contains(&wait), "a wait begins twice")?;
                task.waits.push(wait);
                Ok(())
            }
            EventKind::WaitEnd { task, wait, .. } => {
                let waits = &mut self.living(task)?.waits;
                let place = waits.iter().position(|&other| other == wait).ok_or("a wait ends that has not begun")?;
                waits.remove(place);
                Ok(())
            }
            EventKind::TimerArm { timer, deadline, task } => {
                holds(self.timers.insert(timer, deadline).is_none(), "a timer is set twice")?;
                task.map_or(Ok(()), |task| self.living(task).map(drop))
            }
            EventKind::TimerFire { timer } => {
                self.fired = true;
                let deadline = self.timers.remove(&timer).ok_or("a timer fires that was not set")?;
                holds(self.open == [Open::Turn], "a timer fires in something else")?;
                holds(deadline <= event.time, "a timer fires early")
            }
            EventKind::TimerCancel { timer } => {
                holds(self.timers.remove(&timer).is_some(), "a timer is cancelled that was not set")
            }
            EventKind::End { task, .. } => {
                holds(self.open.last() == Some(&Open::Step(task)), "an end outside of a step")?;
                let task = self.living(task)?;
                task.has_ended = true;
                Ok(())
            }
            EventKind::Fail { .. } => holds(self.open.is_empty(), "a failure in something"),
            _ => Ok(()),
        }
    }

    fn begin(&mut self, open: Open) -> Result<(), String> {
        let around = self.open.last().copied();
        self.open.push(open);
        match open {
            Open::Turn | Open::Park => holds(around.is_none(), "begins in something else"),
            Open::Step(_) | Open::Call => holds(around == Some(Open::Turn), "begins in no turn, or in something else"),
        }
    }

    fn end(&mut self, open: Open) -> Result<(), String> {
        holds(self.open.pop() == Some(open), "ends, but something else is open")
    }

    fn living(&mut self, task: TaskId) -> Result<&mut Task, String> {
        self.tasks.get_mut(&task).filter(|task| !task.has_ended).ok_or_else(|| "a task that is not alive".into())
    }

    fn is_by(&self, by: Source, fired: bool) -> Result<(), String> {
        let inside = self.open.last().copied();
        let expected = match inside {
            None | Some(Open::Park) => by == Source::Outside || by == Source::Kernel,
            Some(Open::Step(task)) if self.tasks.get(&task).is_some_and(|task| task.has_ended) => by == Source::Kernel,
            Some(Open::Step(task)) => by == Source::Task(task) || by == Source::Kernel,
            Some(Open::Call) => by == Source::Callback,
            Some(Open::Turn) => by == if fired { Source::Timer } else { Source::Kernel },
        };
        holds(expected, "by somebody else")
    }
}
