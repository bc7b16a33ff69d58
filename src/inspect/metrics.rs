//! How much a loop has done.

use crate::kernel::{Kernel, LongestStep as Longest};
use crate::leaf::running;
use crate::task::TaskId;
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

/// What a loop has done since it was made, from [`metrics`].
///
/// At any moment these hold:
///
/// - `spawned = alive + finished + cancelled + panicked`
/// - `wakes = wakes_queued + wakes_merged + wakes_late`
/// - `timers_armed = timers_fired + timers_cancelled + timers_pending`
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, metrics, spawn};
///
/// let before_and_after = EventLoop::builder().metrics(true).build().run(async {
///     let before = metrics();
///     spawn(async {}).await.unwrap();
///     (before, metrics())
/// });
/// let (before, after) = before_and_after;
/// assert_eq!((after.spawned - before.spawned, after.finished - before.finished), (1, 1));
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Metrics {
    /// Turns of the loop.
    pub turns: u64,
    /// Times that a task came to its turn: that it was polled, or that it went on its way to an end because it was cancelled.
    pub steps: u64,
    /// Callbacks that were called, from the ready queue and by timers.
    pub callbacks: u64,
    /// Wakes of tasks, by whomever: themselves, other tasks, timers, other threads. A cancellation of a waiting task is one
    /// as well.
    pub wakes: u64,
    /// Wakes that have put their task into the ready queue. If it was running, that is done at the end of its step, unless
    /// it ends with it.
    pub wakes_queued: u64,
    /// Wakes of tasks that stood in the ready queue already.
    pub wakes_merged: u64,
    /// Wakes of tasks that had ended.
    pub wakes_late: u64,
    /// Wakes from elsewhere: other threads, other loops, between two turns. They are among the others. Of several wakes of
    /// one task between two turns, not all have to be counted.
    pub wakes_foreign: u64,
    /// Tasks that were spawned, main tasks too.
    pub spawned: u64,
    /// Tasks that have not ended.
    pub alive: u64,
    /// Tasks that have ended with a value.
    pub finished: u64,
    /// Tasks that have ended because they were cancelled.
    pub cancelled: u64,
    /// Tasks that have panicked.
    pub panicked: u64,
    /// Timers that were set: by sleeps that had to wait, timeouts, `call_later`.
    pub timers_armed: u64,
    /// Timers whose time has come.
    pub timers_fired: u64,
    /// Timers that were taken back.
    pub timers_cancelled: u64,
    /// Timers that are still to come.
    pub timers_pending: u64,
    /// Times that the loop's thread went to sleep.
    pub parks: u64,
    /// The longest step of all, in [debug mode](crate::Builder::debug). Elsewhere none is timed.
    pub longest_step: Option<LongestStep>,
}

/// The step of a task that took longest; see [`Metrics::longest_step`].
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, metrics, task, yield_now};
/// use std::time::Duration;
///
/// EventLoop::builder().debug(true).build().run(async {
///     drop(task::Builder::new().name("busy").spawn(async { std::thread::sleep(Duration::from_millis(3)) }));
///     yield_now().await;
///     let longest = metrics().longest_step.unwrap();
///     assert_eq!(&*longest.name, "busy");
///     assert!(longest.took >= Duration::from_millis(3));
/// });
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct LongestStep {
    /// How long it took, on the machine's clock.
    pub took: Duration,
    /// The number of the task.
    pub id: TaskId,
    /// The name of the task.
    pub name: Rc<str>,
    /// The await at which the step ended; where the task was spawned, if it has ended, has given way to others, or waits in
    /// a future that is not onelane's.
    pub at: &'static Location<'static>,
}

/// What the running loop has done since it was made.
///
/// # Panics
///
/// If no loop is running on this thread. If it does not count: ask for that with
/// [`Builder::metrics(true)`](crate::Builder::metrics).
///
/// # Cost
///
/// O(1), one allocation at most.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, metrics, yield_now};
///
/// EventLoop::builder().metrics(true).build().run(async {
///     yield_now().await;
///     let now = metrics();
///     assert_eq!((now.turns, now.steps, now.wakes_queued), (2, 2, 1));
/// });
/// ```
#[track_caller]
pub fn metrics() -> Metrics {
    Metrics::of(&running("metrics()"), "metrics()")
}

impl Metrics {
    #[track_caller]
    pub(crate) fn of(kernel: &Kernel, asked: &str) -> Self {
        assert!(
            kernel.table.is_observed(),
            "{asked} was called, but this loop does not count; build it with EventLoop::builder().metrics(true)"
        );
        let tally = kernel.tally();
        let (pushed, taken) = kernel.table.entries();
        let noted = u64::from(kernel.table.running_is_woken());
        Metrics {
            turns: tally.turns.get(),
            steps: taken - tally.calls_taken.get(),
            callbacks: tally.callbacks.get(),
            wakes: tally.wakes.get(),
            wakes_queued: pushed - tally.calls_pushed.get() - tally.spawned.get() + noted + tally.outrun.get(),
            wakes_merged: tally.merged.get(),
            wakes_late: tally.late.get(),
            wakes_foreign: tally.foreign.get(),
            spawned: tally.spawned.get(),
            alive: kernel.table.len() as u64,
            finished: tally.returned.get(),
            cancelled: tally.cancelled.get(),
            panicked: tally.panicked.get(),
            timers_armed: tally.timers_armed.get(),
            timers_fired: tally.timers_fired.get(),
            timers_cancelled: tally.timers_cancelled.get(),
            timers_pending: kernel.timers() as u64,
            parks: tally.parks.get(),
            longest_step: kernel.longest_step().map(|Longest { took, task, name, place }| LongestStep {
                took,
                id: TaskId(task),
                name,
                at: place,
            }),
        }
    }
}
