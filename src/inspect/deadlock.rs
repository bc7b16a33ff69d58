//! Deadlock reports: a program that cannot continue, or tasks that block each other while others
//! run.

use crate::inspect::call_graph::{CallGraph, TaskSnapshot, WaitSnapshot};
use crate::kernel::callbacks::exceptions::complain;
use crate::kernel::cell::{AnyTask, Header};
use crate::kernel::table::records::Wait;
use crate::kernel::{Kernel, State, Time, Token, sorted_once};
use crate::task::TaskId;
use std::cell::RefCell;
use std::fmt;

/// Tasks that can never continue, with where each waits, and for what.
///
/// There are two kinds. If nothing in the loop can ever happen again, the report contains all
/// tasks, and `run` ends: nothing is ready, no timer is pending, and no code outside has a waker or
/// a [`Remote`](crate::Remote). In debug mode there is also a report of a circle, as soon as it
/// closes, while other tasks run: each of its tasks waits only for the end of the next, or for a
/// lock that the next has taken; see
/// [`LoopBuilder::deadlock_handler`](crate::LoopBuilder::deadlock_handler).
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, RunError, sync::Lock};
///
/// let lock = Lock::new(()).named("db");
/// let result = EventLoop::with_virtual_clock().try_run(async {
///     let _guard = lock.lock().await;
///     drop(lock.lock().await); // has it already, and waits for itself
/// });
/// let Err(RunError::Deadlock(report)) = result else { unreachable!() };
/// let stuck = &report.tasks[0];
/// assert_eq!(stuck.waits_for[0].what, r#"lock "db", held by "main-1""#);
/// assert_eq!(report.circles, [[stuck.id]]);
/// println!("{report}");
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct DeadlockReport {
    /// The tasks, in the order in which they were spawned.
    pub tasks: Vec<TaskSnapshot>,
    /// The circles in which tasks wait for each other, as [`CallGraph::circles`] returns them.
    pub circles: Vec<Vec<TaskId>>,
    /// Whether other tasks of the loop can continue. Then only a cancellation can end the tasks in
    /// the circle.
    pub others_go_on: bool,
    /// Pointers, so that a program that makes no report does not contain these functions.
    words: &'static Words,
}

/// The functions behind `Display` and `Debug`.
struct Words {
    display: fn(&DeadlockReport, &mut fmt::Formatter<'_>) -> fmt::Result,
    debug: fn(&DeadlockReport, &mut fmt::Formatter<'_>) -> fmt::Result,
}

/// Pointers to the functions that report deadlocks. `LoopBuilder` sets them only for a loop on a
/// virtual clock or in debug mode, so the code is not linked into other programs.
pub(crate) struct Reporter {
    /// Called when nothing can happen in the loop any more.
    pub(crate) deadlock: fn(&Kernel) -> DeadlockReport,
    /// Called once on a virtual clock, when the loop has waited for other threads for a while and can do
    /// nothing else.
    pub(crate) long_rest: fn(&Kernel),
}

pub(crate) const REPORTER: &Reporter = &Reporter { deadlock: DeadlockReport::of, long_rest: tell_of_long_rest };

impl DeadlockReport {
    /// A report on a loop in which nothing can happen any more.
    fn of(kernel: &Kernel) -> Self {
        let graph = CallGraph::of(kernel);
        let circles = graph.circles();
        Self::new(graph.tasks, circles, false)
    }

    /// A report on the circle that this task has just closed, if there is one that was not `told`
    /// before.
    pub(crate) fn of_circle(kernel: &Kernel, task: &AnyTask, told: &RefCell<Vec<u64>>) -> Option<Self> {
        let Circle { tasks: circle, first_wait } = circle(kernel, task.header())?;
        if told.borrow().contains(&first_wait) {
            return None;
        }
        let graph = CallGraph::of(kernel);
        if may_be_freed(kernel, &graph, &circle) {
            return None;
        }
        let circle = sorted_once(circle.iter().map(|id| id.0));
        let tasks: Vec<_> = circle.iter().filter_map(|&id| graph.task(TaskId(id))).cloned().collect();
        let circles = CallGraph { time: graph.time, tasks: tasks.clone() }.circles();
        told.borrow_mut().push(first_wait);
        Some(Self::new(tasks, circles, true))
    }

    fn new(tasks: Vec<TaskSnapshot>, circles: Vec<Vec<TaskId>>, others_go_on: bool) -> Self {
        DeadlockReport { tasks, circles, others_go_on, words: &Words { display: Self::display, debug: Self::debug } }
    }
}

struct Circle {
    tasks: Vec<TaskId>,
    /// The lowest number among the circle's waits. No other circle has this number.
    first_wait: u64,
}

/// The circle through this task in which each task waits only for the next, if there is one.
fn circle(kernel: &Kernel, first: &Header) -> Option<Circle> {
    let mut circle = vec![TaskId(first.id)];
    let (mut blocker, mut first_wait) = sole_blocker(kernel, first)?;
    // A task on the path, replaced each time that the path's length is a power of two. If the path
    // enters a circle that does not contain `first`, it comes back to this task.
    let mut milestone = Token::NOBODY;
    while blocker != first.token() {
        if blocker == milestone {
            // There is a circle, but `first` is not part of it. The circle was reported when it
            // closed.
            return None;
        }
        let next = kernel.table.task(blocker)?;
        circle.push(TaskId(next.header().id));
        if circle.len().is_power_of_two() {
            milestone = blocker;
        }
        let (next, wait) = sole_blocker(kernel, next.header())?;
        (blocker, first_wait) = (next, first_wait.min(wait));
    }
    Some(Circle { tasks: circle, first_wait })
}

/// The only task that a task waits for, and the number of the wait. `None` if the task waits for
/// more, or if other code can wake it.
fn sole_blocker(kernel: &Kernel, task: &Header) -> Option<(Token, u64)> {
    let is_free = kernel.table.state(task) != State::Waiting || task.is_ending();
    if is_free || kernel.inbox().wakers(task.token()) > 0 {
        return None;
    }
    let mut waits = kernel.table.waits(task);
    let (number, begun) = waits.next()?;
    if waits.next().is_some() {
        return None;
    }
    let blocker = match begun.wait {
        Wait::Task(token) => token,
        awaited @ (Wait::In(..) | Wait::On(_) | Wait::Outside(..)) => {
            // If a future has moved out of the holder, the guard may have moved with it.
            let has_it =
                |holder: &Token| kernel.table.task(*holder).is_some_and(|holder| !holder.header().has_moved_on());
            awaited.upgrade()?.sole_holder().filter(has_it)?
        }
    };
    Some((blocker, number))
}

/// Whether a task of the circle also sleeps or is in a timeout, or is awaited by a task that does
/// so. A sleep or a timeout ends without other tasks.
fn may_be_freed(kernel: &Kernel, graph: &CallGraph, circle: &[TaskId]) -> bool {
    let place = |token: Token| graph.place_of(TaskId(kernel.table.task(token)?.header().id));
    // A sleep that never ends cannot end the circle.
    let sleeps = kernel.sleeps().into_iter().filter(|sleep| sleep.until != Time::NEVER);
    let mut next: Vec<usize> =
        kernel.limited().into_iter().chain(sleeps.map(|sleep| sleep.task)).filter_map(place).collect();
    let mut reached = vec![false; graph.tasks.len()];
    while let Some(place) = next.pop() {
        if !std::mem::replace(&mut reached[place], true) {
            // The tasks that this task awaits end with it. A task that only holds a lock that this
            // task wants does not.
            next.extend(graph.tasks[place].awaited().filter_map(|id| graph.place_of(id)));
        }
    }
    circle.iter().any(|&id| graph.place_of(id).is_some_and(|place| reached[place]))
}

impl fmt::Display for DeadlockReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (self.words.display)(self, f)
    }
}

impl fmt::Debug for DeadlockReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (self.words.debug)(self, f)
    }
}

impl DeadlockReport {
    fn display(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tasks = self.tasks.len();
        if self.others_go_on {
            let locks = self.tasks.iter().any(|task| task.waits_for.iter().any(|wait| !wait.held_by.is_empty()));
            let unless = if locks { "unless a guard has moved to another task, " } else { "" };
            write!(f, "deadlock: {tasks} task(s) wait for each other, and {unless}only a cancellation can end that")?;
        } else {
            write!(
                f,
                "deadlock: nothing is ready, no timer is pending, no waker is held elsewhere, and {tasks} task(s) wait"
            )?;
        }
        for circle in &self.circles {
            let members = circle.iter().filter_map(|&id| self.task(id));
            for (nth, task) in members.enumerate() {
                write!(f, "\n  {} {:?} waits ", if nth == 0 { "circle:" } else { "       " }, task.name)?;
                write_all(&task.waits_for, f)?;
            }
        }
        let told = sorted_once(self.circles.iter().flatten().map(|id| id.0));
        for task in self.tasks.iter().filter(|task| told.binary_search(&task.id.0).is_err()) {
            write!(f, "\n  {:?}, spawned at {}, ", task.name, task.spawned_at)?;
            write_waits(task, f)?;
        }
        Ok(())
    }

    fn debug(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("DeadlockReport");
        out.field("tasks", &self.tasks).field("circles", &self.circles).field("others_go_on", &self.others_go_on);
        out.finish()
    }

    fn task(&self, id: TaskId) -> Option<&TaskSnapshot> {
        let place = self.tasks.binary_search_by_key(&id, |task| task.id).ok()?;
        Some(&self.tasks[place])
    }
}

/// `waits at a.rs:1:2 for a sleep`, and what is known of its wakers.
fn write_waits(task: &TaskSnapshot, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if task.waits_for.is_empty() {
        return write!(f, "waits for {}", task.note().unwrap_or("nothing"));
    }
    f.write_str("waits ")?;
    write_all(&task.waits_for, f)?;
    task.note().map_or(Ok(()), |note| write!(f, ", {note}"))
}

/// The message of a loop on a virtual clock that can only wait for other threads or wakers.
fn tell_of_long_rest(kernel: &Kernel) {
    struct LongRest(Vec<TaskSnapshot>);
    impl fmt::Display for LongRest {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(
                "a loop on a virtual clock has waited for a second of real time: nothing is ready, no timer is pending",
            )?;
            for task in &self.0 {
                write!(f, "\n  {:?}, spawned at {}, ", task.name, task.spawned_at)?;
                write_waits(task, f)?;
            }
            Ok(())
        }
    }
    complain(&LongRest(CallGraph::of(kernel).tasks));
}

/// `at a.rs:1:2 for a sleep, and at a.rs:3:4 for a lock`
pub(crate) fn write_all(waits: &[WaitSnapshot], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (nth, wait) in waits.iter().enumerate() {
        write!(f, "{}at {} for {}", if nth == 0 { "" } else { ", and " }, wait.at, wait.what)?;
    }
    Ok(())
}
