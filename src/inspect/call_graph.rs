//! The call graph: which task waits where, for what, and for which task, at one moment.
//!
//! It is read only from the records that leaf futures keep while they wait (`leaf.rs`), and from
//! the timers of sleeps. No future is polled, and no order changes.
//!
//! This file does not know how the graph is shown. Next: `call_graph/tree.rs`,
//! `call_graph/table.rs`.

mod table;
#[cfg(test)]
mod tests;
mod tree;

use crate::inspect::json::is_invisible;
use crate::kernel::cell::{AnyTask, Header};
use crate::kernel::explore::unknown;
use crate::kernel::table::records::Wait;
use crate::kernel::{Instant, Kernel, SleepRecord, State, Time, Token, sorted_once};
use crate::leaf::running;
use crate::task::{TaskId, TaskState};
use std::fmt::{self, Write as _};
use std::panic::Location;
use std::time::Duration;

/// All tasks of a loop at one moment: what each waits for, where, and for which task.
///
/// `Display` draws it as a tree, like asyncio's `pstree`: below a task what it waits for, and below
/// that the tasks that it awaits. Each task is drawn once; where it occurs again, a hint says where
/// it is drawn. Where a circle closes, the circle is named. Tasks that hold what is waited for, for
/// example a lock, are mentioned in words and are not branches. After sixteen levels a tree is
/// broken off and continues at the left.
///
/// A wait is known from the first pending poll of a future of onelane until that future is ready or
/// dropped. No future is polled to find it out, and no order changes. Waits in futures of other
/// crates are not known, except for onelane's futures inside them.
///
/// asyncio: `FutureCallGraph`, `python -m asyncio pstree`.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, sleep, task};
/// use std::time::Duration;
///
/// let event_loop = EventLoop::with_virtual_clock();
/// event_loop.spawn(async {
///     let tea = task::Builder::new().name("tea").spawn(sleep(Duration::from_secs(3)));
///     tea.await
/// });
/// event_loop.turn();
/// event_loop.turn();
/// let tree = event_loop.call_graph().to_string();
/// let lines: Vec<&str> = tree.lines().collect();
/// assert!(lines[1].starts_with("    └── task \"tea\", at "));
/// assert_eq!(lines[2], "        └── (T) tea");
/// assert!(lines[3].starts_with("            └── a sleep, 3.000 s more, at "));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
#[doc(alias = "FutureCallGraph")]
#[doc(alias = "pstree")]
pub struct CallGraph {
    /// The loop's time when the graph was made.
    pub time: Instant,
    /// The living tasks, in the order in which they were spawned.
    pub tasks: Vec<TaskSnapshot>,
}

/// A task in a [`CallGraph`].
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, TaskSnapshot, TaskState, call_graph, sleep, spawn, yield_now};
/// use std::time::Duration;
///
/// EventLoop::with_virtual_clock().run(async {
///     let _tea = spawn(sleep(Duration::from_secs(3)));
///     yield_now().await;
///     let graph = call_graph();
///     let waiting: Vec<&TaskSnapshot> = graph.tasks.iter().filter(|task| task.state == TaskState::Waiting).collect();
///     assert_eq!(waiting.len(), 1);
///     assert_eq!(waiting[0].spawned_at.file(), file!());
/// });
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TaskSnapshot {
    /// Its id.
    pub id: TaskId,
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: TaskState,
    /// Where it was spawned.
    pub spawned_at: &'static Location<'static>,
    /// What it waits for, in the order in which the waits began. Empty if it does not wait, or if
    /// it waits in a future of another crate. A task that is running or queued may still have
    /// waits: those that have begun and not ended.
    pub waits_for: Vec<WaitSnapshot>,
    /// Number of its wakers that are held outside onelane's own futures: by other threads, or by
    /// futures and primitives of other crates. `None` if the loop does not count them. It counts
    /// them on a virtual clock, in debug mode, with metrics and with a probe.
    pub outside_wakers: Option<usize>,
}

/// What a task waits for.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, WaitSnapshot, call_graph, sleep, spawn, time, yield_now};
/// use std::time::Duration;
///
/// EventLoop::with_virtual_clock().run(async {
///     let line = line!() + 1;
///     let tea = spawn(async { sleep(Duration::from_secs(3)).await });
///     yield_now().await;
///     let graph = call_graph();
///     let wait: &WaitSnapshot = &graph.task(tea.id()).unwrap().waits_for[0];
///     assert_eq!((wait.at.line(), wait.what.as_str()), (line, "a sleep, 3.000 s more"));
///     assert_eq!(wait.until.unwrap() - time(), Duration::from_secs(3));
/// });
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WaitSnapshot {
    /// In words: `a lock`, `task "worker-3"`, `a sleep`.
    pub what: String,
    /// The source location of the await; behind a `Box<dyn Future>`, where the future was created.
    pub at: &'static Location<'static>,
    /// The tasks that are awaited.
    pub tasks: Vec<TaskId>,
    /// The tasks that hold what is waited for, for example a lock.
    pub held_by: Vec<TaskId>,
    /// The end of the sleep, if the wait is a sleep. `None` for other waits, and for a sleep that never
    /// ends.
    pub until: Option<Instant>,
}

/// Returns the call graph of the running loop: which task waits where, for what, and for which
/// task.
///
/// May be called anywhere in a turn: in tasks, callbacks and destructors. Outside a turn, use
/// [`EventLoop::call_graph`](crate::EventLoop::call_graph).
///
/// asyncio: `capture_call_graph()`, which starts at one task; [`CallGraph::task`] and
/// [`CallGraph::awaited_by`] lead from task to task.
///
/// # Panics
///
/// If no loop is running on this thread.
///
/// # Cost
///
/// O(n log n) for n tasks and waits, with a few allocations for each. Without a call, only the
/// record of each wait is kept.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, call_graph, gather, sleep, spawn, yield_now};
/// use std::time::Duration;
///
/// EventLoop::with_virtual_clock().run(async {
///     let both = spawn(gather([1, 2].map(|n| sleep(Duration::from_secs(n)))));
///     yield_now().await;
///     yield_now().await;
///     let graph = call_graph();
///     let wait = &graph.task(both.id()).unwrap().waits_for[0];
///     assert_eq!(wait.tasks, [graph.tasks[1].id, graph.tasks[2].id]);
/// });
/// ```
#[doc(alias = "capture_call_graph")]
#[track_caller]
pub fn call_graph() -> CallGraph {
    unknown("call_graph()");
    CallGraph::of(&running("call_graph()"))
}

/// Prints the tree of the running loop on stderr: all tasks, where each waits, for what, and for
/// which task.
///
/// It is written in one call, so that no other output comes in between. If writing fails, the text
/// is lost, without a panic. [`CallGraph`] describes the format. The first line says how many tasks
/// there are, and on which thread.
///
/// Any thread can print it by a [`Remote`](crate::Remote): `remote.call_soon(print_call_graph)`.
/// With the feature `signals`, `LoopBuilder::print_call_graph_on` prints it upon `kill -USR1`.
///
/// asyncio: `print_call_graph()`, which writes to stdout, and `python -m asyncio pstree`. On stderr
/// it does not mix with the output of the program, and is beside the loop's other reports.
///
/// # Panics
///
/// If no loop is running on this thread.
///
/// # Cost
///
/// The cost of [`call_graph`], and the text. The loop stands still while it is written.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, print_call_graph, sleep};
/// use std::{thread, time::Duration};
///
/// let event_loop = EventLoop::with_virtual_clock();
/// let remote = event_loop.remote();
/// event_loop.run(async {
///     print_call_graph();
///     let asked = thread::spawn(move || remote.call_soon(print_call_graph)).join();
///     assert_eq!(asked.unwrap(), Ok(()));
///     sleep(Duration::from_secs(1)).await; // meanwhile it is printed once more
/// });
/// ```
#[track_caller]
pub fn print_call_graph() {
    unknown("print_call_graph()");
    let graph = CallGraph::of(&running("print_call_graph()"));
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("that has no name");
    let line_end = if graph.tasks.is_empty() { "" } else { "\n" };
    let text = format!("onelane: {} task(s) on thread {}:{line_end}{graph}\n", graph.tasks.len(), Plain(thread));
    crate::platform::complain(&text);
}

impl CallGraph {
    pub(crate) fn of(kernel: &Kernel) -> Self {
        let sleeps = kernel.sleeps();
        let tasks = kernel.tasks().iter().map(|task| TaskSnapshot::of(kernel, &sleeps, task)).collect();
        CallGraph { time: kernel.clock.now_as_instant(), tasks }
    }

    /// Returns the task with this id, if it was alive.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, call_graph, current_task, spawn};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let ended = spawn(async {});
    ///     (&ended).await.unwrap();
    ///     let graph = call_graph();
    ///     assert!(graph.task(current_task().unwrap().id()).is_some());
    ///     assert!(graph.task(ended.id()).is_none());
    /// });
    /// ```
    pub fn task(&self, id: TaskId) -> Option<&TaskSnapshot> {
        self.place_of(id).map(|place| &self.tasks[place])
    }

    /// Returns the tasks that await this one, in the order in which they were spawned.
    ///
    /// asyncio: `FutureCallGraph.awaited_by`.
    ///
    /// # Cost
    ///
    /// Checks all waits of all tasks.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, call_graph, spawn, yield_now};
    /// use std::{future::pending, rc::Rc};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let shared = Rc::new(spawn(pending::<()>()));
    ///     let waiters = [(); 2].map(|()| {
    ///         let shared = shared.clone();
    ///         spawn(async move { (&*shared).await })
    ///     });
    ///     yield_now().await;
    ///     let graph = call_graph();
    ///     let ids: Vec<_> = graph.awaited_by(shared.id()).map(|task| task.id).collect();
    ///     assert_eq!(ids, waiters.map(|waiter| waiter.id()));
    /// });
    /// ```
    pub fn awaited_by(&self, id: TaskId) -> impl Iterator<Item = &TaskSnapshot> {
        self.tasks.iter().filter(move |task| task.waits_for.iter().any(|wait| wait.tasks.contains(&id)))
    }

    /// Returns the circles in which tasks wait for each other: for their ends, or for what another
    /// holds. Each begins with the task that was spawned first; each task waits for the next, and
    /// the last for the first.
    ///
    /// If several circles share tasks, some of them may be missing, because there can be very many.
    /// But every circle that is missing shares a task with one that is returned. A task in a circle
    /// that also waits for something else, for example a sleep, may leave the circle.
    ///
    /// # Cost
    ///
    /// The cost of the graph, and of the circles that are found.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, Task, call_graph, spawn, yield_now};
    /// use std::{cell::RefCell, rc::Rc};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let chair = Rc::new(RefCell::new(None::<Task<()>>));
    ///     let copy = chair.clone();
    ///     let one = spawn(async move {
    ///         let other = copy.take().unwrap();
    ///         other.await.unwrap();
    ///     });
    ///     let first = one.id();
    ///     let other = spawn(async move { one.await.unwrap() });
    ///     let second = other.id();
    ///     chair.replace(Some(other));
    ///     yield_now().await;
    ///     assert_eq!(call_graph().circles(), [[first, second]]);
    /// });
    /// ```
    pub fn circles(&self) -> Vec<Vec<TaskId>> {
        let mut circles = Vec::new();
        let edges = self.edges(TaskSnapshot::blockers);
        let close = |path: &[(usize, usize)], begin: usize| {
            let mut places: Vec<_> = path[begin..].iter().map(|&(place, _)| place).collect();
            let first = places.iter().enumerate().min_by_key(|&(_, place)| place).map_or(0, |(nth, _)| nth);
            places.rotate_left(first);
            circles.push(places.into_iter().map(|place| self.tasks[place].id).collect());
        };
        walk(&edges, 0..edges.len(), close, |_| ());
        circles
    }

    pub(crate) fn place_of(&self, id: TaskId) -> Option<usize> {
        self.tasks.binary_search_by_key(&id, |task| task.id).ok()
    }

    /// For each task, the positions of those to which `next` leads, without duplicates.
    fn edges<'a, I: Iterator<Item = TaskId>>(&'a self, next: impl Fn(&'a TaskSnapshot) -> I) -> Vec<Vec<usize>> {
        let places = |task: &'a TaskSnapshot| {
            let places = next(task).filter_map(|id| self.place_of(id));
            sorted_once(places.map(|place| place as u64)).into_iter().map(|place| place as usize).collect()
        };
        self.tasks.iter().map(places).collect()
    }

    /// For each task, the positions of those that await it.
    fn awaiters(&self) -> Vec<Vec<usize>> {
        let mut awaiters = vec![Vec::new(); self.tasks.len()];
        for (place, awaited) in self.edges(TaskSnapshot::awaited).iter().enumerate() {
            awaited.iter().for_each(|&next| awaiters[next].push(place));
        }
        awaiters
    }
}

/// Follows all edges, depth first, each once. Calls `close` for each edge that leads back into the
/// path, with the position in the path. Calls `leave` for each task when every task that is
/// reachable from it was left before, or is in the path.
fn walk(
    edges: &[Vec<usize>],
    starts: impl Iterator<Item = usize>,
    mut close: impl FnMut(&[(usize, usize)], usize),
    mut leave: impl FnMut(usize),
) {
    let mut seen = vec![false; edges.len()];
    let mut depths = vec![None; edges.len()];
    // The path, and how many edges of each task were followed.
    let mut path: Vec<(usize, usize)> = Vec::new();
    for start in starts {
        let mut next = Some(start);
        loop {
            if let Some(place) = next.take() {
                if let Some(depth) = depths[place] {
                    close(&path, depth);
                } else if !std::mem::replace(&mut seen[place], true) {
                    depths[place] = Some(path.len());
                    path.push((place, 0));
                }
            }
            let Some((place, followed)) = path.last_mut() else { break };
            next = edges[*place].get(*followed).copied();
            *followed += 1;
            if next.is_none() {
                depths[*place] = None;
                leave(*place);
                path.pop();
            }
        }
    }
}

fn word_for(state: TaskState) -> &'static str {
    match state {
        TaskState::Queued => "queued",
        TaskState::Running => "running",
        TaskState::Waiting => "waiting",
        TaskState::Done => "done",
    }
}

/// Text for a terminal, on one line.
struct Plain<'a>(&'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            if is_invisible(letter) { write!(f, "{}", letter.escape_default())? } else { f.write_char(letter)? }
        }
        Ok(())
    }
}

impl TaskSnapshot {
    pub(crate) fn of(kernel: &Kernel, sleeps: &[SleepRecord], task: &AnyTask) -> Self {
        let header = task.header();
        TaskSnapshot {
            id: TaskId(header.id),
            name: String::from(&*header.name()),
            state: match kernel.table.state(header) {
                State::Queued => TaskState::Queued,
                State::Running => TaskState::Running,
                State::Waiting => TaskState::Waiting,
            },
            spawned_at: header.spawned_at,
            waits_for: waits_of(kernel, sleeps, header),
            outside_wakers: kernel.table.is_observed().then(|| kernel.inbox().wakers(header.token())),
        }
    }

    /// The tasks that it awaits.
    pub(crate) fn awaited(&self) -> impl Iterator<Item = TaskId> {
        self.waits_for.iter().flat_map(|wait| wait.tasks.iter().copied())
    }

    /// The tasks without which it cannot continue.
    pub(crate) fn blockers(&self) -> impl Iterator<Item = TaskId> {
        self.waits_for.iter().flat_map(|wait| wait.tasks.iter().chain(&wait.held_by).copied())
    }

    /// Additional remarks: that it waits in a future of another crate, and what is known of its
    /// wakers.
    pub(crate) fn note(&self) -> Option<&'static str> {
        if self.state != TaskState::Waiting {
            return None;
        }
        match (self.waits_for.is_empty(), self.outside_wakers) {
            (true, None) => Some("a future that is not onelane's"),
            (true, Some(0)) => Some("a future that is not onelane's, and its last waker was dropped"),
            (true, Some(_)) => Some("a future that is not onelane's, possibly woken from outside"),
            (false, None | Some(0)) => None,
            (false, Some(_)) => Some("possibly woken from outside"),
        }
    }
}

/// What a task waits for, in the order in which the waits began.
fn waits_of(kernel: &Kernel, sleeps: &[SleepRecord], task: &Header) -> Vec<WaitSnapshot> {
    // The sleeps are sorted by task, so those of one task are adjacent.
    let begin = sleeps.partition_point(|sleep| sleep.task.bits() < task.token().bits());
    let mine = sleeps[begin..].iter().take_while(|sleep| sleep.task == task.token());
    let mut mine = mine.filter(|sleep| !task.is_frozen(sleep.number)).peekable();
    let mut waits = Vec::new();
    kernel.each_wait(task, &mut |number, begun| {
        while let Some(earlier) = mine.next_if(|sleep| sleep.number < number) {
            waits.push(asleep(kernel, earlier));
        }
        waits.push(awaiting(kernel, &begun.wait, begun.place));
    });
    waits.extend(mine.map(|sleep| asleep(kernel, sleep)));
    waits
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

/// `1.500 s`, `105.250 ms`. A `Duration`'s own `Debug` would be two kilobytes of code in each
/// binary.
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
    let id = |token: Token| kernel.table.task(token).map(|task| TaskId(task.header().id));
    let (mut tasks, mut held_by) = (Vec::new(), Vec::new());
    match wait {
        Wait::Task(token) => tasks.extend(id(*token)),
        awaited @ (Wait::In(..) | Wait::On(_) | Wait::Outside(..)) => {
            if let Some(awaited) = awaited.upgrade() {
                let is_alive = |task: &&AnyTask| !task.header().is_done();
                tasks.extend(awaited.tasks().iter().filter(is_alive).map(|task| TaskId(task.header().id)));
                held_by.extend(awaited.holders().into_iter().filter_map(id));
            }
        }
    }
    WaitSnapshot { what: kernel.table.describe(wait), at, tasks, held_by, until: None }
}
