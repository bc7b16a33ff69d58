//! Who waits where, for what, and for whom: a picture of all tasks of a loop, taken at once.
//!
//! It is read from the records that leaf futures keep while they wait (`current.rs`), from the timers of the sleeps, and from
//! nothing else: nobody is polled, and no order changes.

use crate::current::running;
use crate::kernel::task::{AnyTask, Header, Wait};
use crate::kernel::{Kernel, SleepRecord, State, Time, Token};
use crate::task::{TaskId, TaskState};
use std::fmt;
use std::panic::Location;
use std::time::{Duration, Instant};

/// All tasks of a loop at one moment, with what each waits for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CallGraph {
    /// The living tasks, in the order in which they were spawned.
    pub tasks: Vec<TaskSnapshot>,
}

/// A task in a [`CallGraph`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TaskSnapshot {
    /// Its number.
    pub id: TaskId,
    /// Its name.
    pub name: String,
    /// Where it is in its life.
    pub state: TaskState,
    /// Where it was spawned.
    pub spawned_at: &'static Location<'static>,
    /// What it waits for, in the order in which that began. Empty if it does not wait, or waits in a future that is not
    /// onelane's.
    pub waits_for: Vec<WaitSnapshot>,
    /// How many of its wakers are held by others than onelane's own futures: by other threads, or by futures and primitives of
    /// other crates. `None` if the loop does not count them, which it does on a virtual clock and in debug mode.
    pub outside_wakers: Option<usize>,
}

/// What a task waits for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WaitSnapshot {
    /// In words: `a lock`, `task "worker-3"`, `a sleep`.
    pub what: String,
    /// Where it is awaited; behind a `Box<dyn Future>`, where the future was made.
    pub at: &'static Location<'static>,
    /// The tasks that are awaited.
    pub tasks: Vec<TaskId>,
    /// The tasks that have what is waited for, a lock for example.
    pub held_by: Vec<TaskId>,
    /// When it is over by itself, if it is a sleep.
    pub until: Option<Instant>,
}

/// A picture of the running loop: who waits where, for what, and for whom.
#[track_caller]
pub fn call_graph() -> CallGraph {
    CallGraph::of(&running("call_graph()"))
}

impl CallGraph {
    pub(crate) fn of(kernel: &Kernel) -> Self {
        let sleeps = kernel.sleeps();
        let tasks = kernel.tasks().iter().map(|task| TaskSnapshot::of(kernel, &sleeps, task)).collect();
        CallGraph { tasks }
    }

    /// The task of this number, if it is alive.
    pub fn task(&self, id: TaskId) -> Option<&TaskSnapshot> {
        let place = self.tasks.binary_search_by_key(&id, |task| task.id).ok()?;
        Some(&self.tasks[place])
    }

    /// The tasks that await this one, in the order in which they were spawned.
    pub fn awaited_by(&self, id: TaskId) -> impl Iterator<Item = &TaskSnapshot> {
        self.tasks.iter().filter(move |task| task.waits_for.iter().any(|wait| wait.tasks.contains(&id)))
    }

    /// The circles in which tasks wait for each other: for their ends, or for what another has. Each begins with the task that was
    /// spawned first, and each task waits for the next, the last for the first.
    pub fn circles(&self) -> Vec<Vec<TaskId>> {
        let mut search =
            Search { graph: self, path: Vec::new(), seen: vec![false; self.tasks.len()], circles: Vec::new() };
        for place in 0..self.tasks.len() {
            search.visit(place);
        }
        search.circles
    }
}

/// A search for circles, depth first.
struct Search<'a> {
    graph: &'a CallGraph,
    /// The places of the tasks on the way, and how many of the edges of each were followed.
    path: Vec<(usize, usize)>,
    seen: Vec<bool>,
    circles: Vec<Vec<TaskId>>,
}

impl Search<'_> {
    fn visit(&mut self, first: usize) {
        self.enter(first);
        while let Some((place, followed)) = self.path.last_mut() {
            let next = self.graph.tasks[*place].blockers().nth(*followed);
            *followed += 1;
            match next {
                None => drop(self.path.pop()),
                Some(id) => {
                    if let Ok(next) = self.graph.tasks.binary_search_by_key(&id, |task| task.id) {
                        self.follow(next);
                    }
                }
            }
        }
    }

    fn enter(&mut self, place: usize) {
        if !std::mem::replace(&mut self.seen[place], true) {
            self.path.push((place, 0));
        }
    }

    fn follow(&mut self, next: usize) {
        let Some(begin) = self.path.iter().position(|&(place, _)| place == next) else { return self.enter(next) };
        let mut places: Vec<_> = self.path[begin..].iter().map(|&(place, _)| place).collect();
        let first = places.iter().enumerate().min_by_key(|&(_, place)| place).map_or(0, |(nth, _)| nth);
        places.rotate_left(first);
        let circle = places.into_iter().map(|place| self.graph.tasks[place].id).collect();
        if !self.circles.contains(&circle) {
            self.circles.push(circle);
        }
    }
}

impl TaskSnapshot {
    pub(crate) fn of(kernel: &Kernel, sleeps: &[SleepRecord], task: &AnyTask) -> Self {
        let header = task.header();
        TaskSnapshot {
            id: TaskId(header.id),
            name: String::from(&*header.name()),
            state: match kernel.wakers.state(header) {
                State::Queued => TaskState::Queued,
                State::Running => TaskState::Running,
                State::Waiting => TaskState::Waiting,
            },
            spawned_at: header.spawned_at,
            waits_for: waits_of(kernel, sleeps, header),
            outside_wakers: kernel.wakers.is_observed().then(|| kernel.inbox().wakers(header.token())),
        }
    }

    /// The tasks without which it cannot go on.
    pub(crate) fn blockers(&self) -> impl Iterator<Item = TaskId> {
        self.waits_for.iter().flat_map(|wait| wait.tasks.iter().chain(&wait.held_by).copied())
    }
}

/// What a task waits for, in the order in which it began.
fn waits_of(kernel: &Kernel, sleeps: &[SleepRecord], task: &Header) -> Vec<WaitSnapshot> {
    let frozen = task.frozen().unwrap_or(0);
    let mine = |sleep: &&SleepRecord| sleep.task == task.token() && sleep.number > frozen;
    let mut waits: Vec<(u64, WaitSnapshot)> =
        sleeps.iter().filter(mine).map(|sleep| (sleep.number, asleep(kernel, sleep))).collect();
    kernel.each_wait(task, &mut |number, begun| waits.push((number, awaiting(kernel, &begun.wait, begun.place))));
    waits.sort_by_key(|&(number, _)| number);
    waits.into_iter().map(|(_, wait)| wait).collect()
}

fn asleep(kernel: &Kernel, sleep: &SleepRecord) -> WaitSnapshot {
    let until = if sleep.until == Time::NEVER { None } else { kernel.clock.instant_at(sleep.until) };
    let left = sleep.until.since(kernel.clock.now());
    WaitSnapshot {
        what: match until {
            None => "a sleep that never ends".into(),
            Some(_) => format!("a sleep, {} more", Span(left)),
        },
        at: sleep.place,
        tasks: Vec::new(),
        held_by: Vec::new(),
        until,
    }
}

/// `1.500 s`, `105.250 ms`. A `Duration`'s own `Debug` would be two kilobytes of code in each binary.
pub(crate) struct Span(pub(crate) Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.subsec_micros();
        match self.0.as_secs() {
            0 => write!(f, "{}.{:03} ms", micros / 1000, micros % 1000),
            seconds => write!(f, "{seconds}.{:03} s", micros / 1000),
        }
    }
}

fn awaiting(kernel: &Kernel, wait: &Wait, at: &'static Location<'static>) -> WaitSnapshot {
    let id = |token: Token| kernel.wakers.task(token).map(|task| TaskId(task.header().id));
    let (mut tasks, mut held_by) = (Vec::new(), Vec::new());
    match wait {
        Wait::Task(token) => tasks.extend(id(*token)),
        Wait::On(awaited) => {
            if let Some(awaited) = awaited.upgrade() {
                let is_alive = |task: &&AnyTask| !task.header().is_done();
                tasks.extend(awaited.tasks().iter().filter(is_alive).map(|task| TaskId(task.header().id)));
                held_by.extend(awaited.holders().into_iter().filter_map(id));
            }
        }
    }
    WaitSnapshot { what: kernel.wakers.describe(wait), at, tasks, held_by, until: None }
}
