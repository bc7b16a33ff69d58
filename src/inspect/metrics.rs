//! The counters of a loop.

use crate::kernel::Kernel;
use crate::kernel::explore::unknown;
#[cfg(feature = "report")]
use crate::kernel::observe::watch::LongestStep as Longest;
use crate::leaf::running;
#[cfg(feature = "report")]
use crate::task::TaskId;
#[cfg(feature = "report")]
use alloc::string::{String, ToString};
#[cfg(feature = "report")]
use core::panic::Location;
#[cfg(feature = "report")]
use core::time::Duration;

/// What a loop has done since it was created, as [`metrics`] returns it.
///
/// These equations always hold:
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
    /// Steps of tasks: a task was polled, or continued to end because it was cancelled.
    pub steps: u64,
    /// Callbacks that were called, from the ready queue and by timers.
    pub callbacks: u64,
    /// Wakes of tasks: by themselves, other tasks, timers and other threads. The cancellation of a
    /// waiting task counts as one too.
    pub wakes: u64,
    /// Wakes that put their task into the ready queue. If the task was running, that happens at the
    /// end of its step, unless the task ends.
    pub wakes_queued: u64,
    /// Wakes of tasks that were already in the ready queue.
    pub wakes_merged: u64,
    /// Wakes of tasks that had ended.
    pub wakes_late: u64,
    /// Wakes from other threads, from other loops, and between two turns. They are included in the
    /// other counts. Of several such wakes of one task between two turns, some may not be counted.
    pub wakes_foreign: u64,
    /// Tasks that were spawned, including main tasks.
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
    /// Timers that have fired.
    pub timers_fired: u64,
    /// Timers that were cancelled.
    pub timers_cancelled: u64,
    /// Timers that are pending.
    pub timers_pending: u64,
    /// Times that the loop's thread began to sleep.
    pub parks: u64,
    /// The longest step, in [debug mode](crate::LoopBuilder::debug). Otherwise `None`, because steps
    /// are not timed.
    #[cfg(feature = "report")]
    #[cfg_attr(docsrs, doc(cfg(feature = "report")))]
    pub longest_step: Option<LongestStep>,
}

/// The longest step of a task; see [`Metrics::longest_step`].
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
#[cfg(feature = "report")]
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct LongestStep {
    /// The time that it took, on the machine's clock.
    pub took: Duration,
    /// The id of the task.
    pub id: TaskId,
    /// The name of the task.
    pub name: String,
    /// The await at which the step ended. If the task has ended, has yielded, or waits in a future
    /// of another crate: where it was spawned.
    pub at: &'static Location<'static>,
}

/// Returns what the running loop has done since it was created.
///
/// # Panics
///
/// If no loop is running on this thread. If the loop does not count: enable that with
/// [`LoopBuilder::metrics(true)`](crate::LoopBuilder::metrics).
///
/// # Cost
///
/// O(1), at most one allocation.
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
    unknown("metrics()");
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
            #[cfg(feature = "report")]
            longest_step: kernel.longest_step().map(|Longest { took, task, name, place }| LongestStep {
                took,
                id: TaskId(task),
                name: name.to_string(),
                at: place,
            }),
        }
    }
}
