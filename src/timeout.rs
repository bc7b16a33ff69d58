//! A limit of time for a future.
//!
//! When the time is up, the await inside is interrupted as a cancellation would do it, but the task is not cancelled: tasks
//! that are awaited inside are, and the timeout comes back when they have ended; without such, it comes back in the next
//! turn. Either way the inner future is dropped without another poll.

use crate::current::{check_loop, running};
use crate::kernel::calls::{Call, CallKey, Watcher};
use crate::kernel::task::{AnyTask, Then, same};
use crate::kernel::{Alarm, Time, TimerKey, context};
use crate::task::{Task, TaskRef};
use std::cell::Cell;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// The time was up: asyncio's `TimeoutError`.
#[doc(alias = "TimeoutError")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time was up")
    }
}

impl std::error::Error for Elapsed {}

impl From<Elapsed> for std::io::Error {
    fn from(elapsed: Elapsed) -> Self {
        std::io::Error::new(std::io::ErrorKind::TimedOut, elapsed)
    }
}

/// Runs a future in the current task for `duration` at most, counted from this call.
///
/// When the time is up, what the future awaits is interrupted: tasks that it awaits are cancelled, and it is dropped when they
/// have ended. A value that comes in the same turn as the end of the time, but behind it, is lost. With a duration of zero
/// the future is polled once, and the time is up in the next turn.
///
/// Cancel safety: that of the future inside.
///
/// asyncio: `timeout(delay)`.
///
/// # Errors
///
/// [`Elapsed`] if the time was up.
///
/// # Panics
///
/// If no loop is running on this thread, now or when it is polled.
///
/// # Cost
///
/// Two allocations, one more if something is awaited inside, and a timer.
///
/// # Examples
///
/// ```
/// use onelane::{Elapsed, EventLoop, sleep, timeout};
/// use std::time::Duration;
///
/// EventLoop::with_virtual_clock().run(async {
///     let second = Duration::from_secs(1);
///     assert_eq!(timeout(second, sleep(second / 2)).await, Ok(()));
///     assert_eq!(timeout(second, sleep(second * 2)).await, Err(Elapsed));
/// });
/// ```
#[track_caller]
pub fn timeout<F: IntoFuture>(duration: Duration, future: F) -> Timeout<F::IntoFuture> {
    let now = running("timeout()").clock.now();
    Timeout::new(now.after(duration), future.into_future())
}

/// Runs a future in the current task until a moment of the loop's [`time`](crate::time()) at most. Otherwise as [`timeout`].
///
/// asyncio: `timeout_at(when)`.
///
/// # Errors
///
/// [`Elapsed`] if the time was up.
///
/// # Panics
///
/// If no loop is running on this thread, now or when it is polled.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// onelane::EventLoop::with_virtual_clock().run(async {
///     let moment = onelane::time() + Duration::from_secs(1);
///     onelane::timeout_at(moment, std::future::pending::<()>()).await.unwrap_err();
///     assert_eq!(onelane::time(), moment);
/// });
/// ```
#[track_caller]
pub fn timeout_at<F: IntoFuture>(moment: Instant, future: F) -> Timeout<F::IntoFuture> {
    let deadline = running("timeout_at()").clock.time_at(moment);
    Timeout::new(deadline, future.into_future())
}

/// The future of [`timeout`] and [`timeout_at`].
#[must_use = "futures do nothing unless they are awaited"]
pub struct Timeout<F> {
    /// In a box, so that it can be dropped when the time is up, and moved with the rest.
    future: Option<Pin<Box<F>>>,
    deadline: Time,
    armed: Option<Armed>,
}

/// From the first poll on.
struct Armed {
    expiry: Rc<Expiry>,
    loop_id: u64,
    key: Key,
}

#[derive(Clone, Copy)]
enum Key {
    Timer(TimerKey),
    /// The time was up when the timeout was entered.
    Soon(CallKey),
}

/// What happens when the time is up. The timer holds it.
#[derive(Default)]
struct Expiry {
    expired: Cell<bool>,
    waker: Cell<Option<Waker>>,
    inside: Cell<Option<Inside>>,
}

/// What was begun inside of the timeout: waits of this task, by their numbers.
struct Inside {
    task: Rc<dyn AnyTask>,
    /// Behind the first of a pair, up to the second.
    numbers: Vec<(u64, u64)>,
}

impl Inside {
    /// After a poll of the future inside, before which the task's last number was `before`.
    fn add(&mut self, before: u64) {
        let header = self.task.header();
        let last = header.numbered();
        if last == before {
            return;
        }
        // Ranges in which nothing waits any more go, so that there are as many as there are waits.
        self.numbers.push((before, last));
        self.numbers.retain(|&range| {
            let mut waits = false;
            header.each_wait(|number, _| waits |= contains(range, number));
            waits
        });
    }

    /// Cancels the tasks that are awaited in there. False if none is.
    fn interrupt(self) -> bool {
        let header = self.task.header();
        let Some(kernel) = context::find(header.loop_id) else { return false };
        let inside = |number| self.numbers.iter().any(|&range| contains(range, number));
        match kernel.interrupt_waits(header, inside) {
            Some(links) => kernel.interrupt(&self.task, links),
            None => return false,
        }
        true
    }
}

fn contains((before, last): (u64, u64), number: u64) -> bool {
    before < number && number <= last
}

impl Watcher for Expiry {
    fn called(&self, _: u32) {
        self.expired.set(true);
        let waker = self.waker.take();
        if self.inside.take().is_some_and(|inside| inside.interrupt()) {
            // The end of what it awaits wakes the task. If that has ended, it is woken already.
            return;
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<F> Timeout<F> {
    fn new(deadline: Time, future: F) -> Self {
        Timeout { future: Some(Box::pin(future)), deadline, armed: None }
    }

    fn arm(&self) -> Armed {
        let kernel = running("poll() of a timeout");
        let expiry = Rc::new(Expiry::default());
        let call = Call::Watch(expiry.clone(), 0);
        let key = if self.deadline <= kernel.clock.now() {
            Key::Soon(kernel.call_soon(call))
        } else {
            Key::Timer(kernel.add_timer(self.deadline, Alarm::Call(call)))
        };
        Armed { expiry, loop_id: kernel.id(), key }
    }

    fn disarm(&mut self) {
        let Some(armed) = self.armed.take() else { return };
        drop(armed.expiry.waker.take());
        drop(armed.expiry.inside.take());
        // What comes out is dropped here, where no borrow is held.
        if let Some(kernel) = context::find(armed.loop_id) {
            match armed.key {
                Key::Timer(key) => drop(kernel.cancel_timer(key)),
                Key::Soon(key) => drop(kernel.cancel_call(key)),
            }
        }
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.armed.is_none() {
            // Before the future is polled: of equal deadlines, this one is older than those inside.
            this.armed = Some(this.arm());
        }
        let Some(armed) = &this.armed else { unreachable!() };
        let Some(future) = &mut this.future else { panic!("a timeout was polled after it was over") };
        if armed.expiry.expired.get() {
            this.future = None;
            this.disarm();
            return Poll::Ready(Err(Elapsed));
        }
        let task = context::running().and_then(|kernel| kernel.current());
        let before = task.as_ref().map_or(0, |task| task.header().numbered());
        if let Poll::Ready(value) = future.as_mut().poll(context) {
            this.disarm();
            this.future = None;
            return Poll::Ready(Ok(value));
        }
        let mut inside = armed.expiry.inside.take();
        if let Some(task) = task {
            // What another task began in here is not this task's.
            let known = inside.filter(|inside| same(&inside.task, &task));
            let mut known = known.unwrap_or(Inside { task, numbers: Vec::new() });
            known.add(before);
            inside = Some(known);
        }
        let waker = context.waker().clone();
        armed.expiry.inside.set(inside);
        drop(armed.expiry.waker.replace(Some(waker)));
        Poll::Pending
    }
}

impl<F> Drop for Timeout<F> {
    fn drop(&mut self) {
        self.disarm();
    }
}

impl<F> fmt::Debug for Timeout<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeout").field("deadline", &self.deadline).field("begun", &self.armed.is_some()).finish()
    }
}

/// What [`wait_for`] takes: a future, `Task<T>`, or `&Task<T>`.
pub trait Awaitable: IntoFuture {
    /// The task, if it is one.
    fn as_task(&self) -> Option<TaskRef>;
}

impl<F: Future> Awaitable for F {
    fn as_task(&self) -> Option<TaskRef> {
        None
    }
}

impl<T> Awaitable for Task<T> {
    fn as_task(&self) -> Option<TaskRef> {
        Some(self.task_ref())
    }
}

impl<T: Clone> Awaitable for &Task<T> {
    fn as_task(&self) -> Option<TaskRef> {
        Some(self.task_ref())
    }
}

/// Waits for a future or a task for `duration` at most, counted from this call. If the time is up, a task is cancelled, and the
/// wait is over when it has ended.
///
/// As [`timeout`], but for a duration of zero: then what has ended already gives its result, a task is cancelled at once, and
/// a future is dropped without ever having been polled.
///
/// Cancel safety: as for an await of the task or future.
///
/// asyncio: `wait_for(aw, timeout)`.
///
/// # Errors
///
/// [`Elapsed`] if the time was up.
///
/// # Panics
///
/// If no loop is running on this thread, now or when it is polled.
///
/// # Cost
///
/// Two allocations, one more if something is awaited inside, and a timer.
///
/// # Examples
///
/// ```
/// use onelane::{Elapsed, EventLoop, sleep, spawn, wait_for};
/// use std::time::Duration;
///
/// EventLoop::with_virtual_clock().run(async {
///     let task = spawn(sleep(Duration::from_secs(2)));
///     assert_eq!(wait_for(&task, Duration::from_secs(1)).await, Err(Elapsed));
///     assert!(task.is_cancelled());
/// });
/// ```
#[track_caller]
pub fn wait_for<A: Awaitable>(awaitable: A, duration: Duration) -> WaitFor<A::IntoFuture> {
    let now = running("wait_for()").clock.now();
    if !duration.is_zero() {
        return WaitFor { stage: Stage::Timed(Timeout::new(now.after(duration), awaitable.into_future())) };
    }
    let task = awaitable.as_task();
    let future = Some(Box::pin(awaitable.into_future()));
    WaitFor {
        stage: match task {
            Some(task) => Stage::CancelledAtOnce { task, future, ended: None },
            None => Stage::NeverStarted { future, turns: 3 },
        },
    }
}

/// The future of [`wait_for`].
#[must_use = "futures do nothing unless they are awaited"]
pub struct WaitFor<F> {
    stage: Stage<F>,
}

enum Stage<F> {
    Timed(Timeout<F>),
    /// A task and no time: once begun, a done callback tells of its end, and we are the waiter of this number.
    CancelledAtOnce {
        task: TaskRef,
        future: Option<Pin<Box<F>>>,
        ended: Option<(Rc<Expiry>, u64)>,
    },
    /// A future and no time: asyncio makes a task of it and cancels that, which takes so many turns.
    NeverStarted {
        future: Option<Pin<Box<F>>>,
        turns: u32,
    },
}

impl<F: Future> Future for WaitFor<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.stage {
            Stage::Timed(timeout) => Pin::new(timeout).poll(context),
            Stage::CancelledAtOnce { task, future, ended } => {
                if !task.is_done() || ended.as_ref().is_some_and(|(ended, _)| !ended.expired.get()) {
                    cancel_and_wait(task, ended, context);
                    return Poll::Pending;
                }
                let timed_out = ended.take().is_some() && task.is_cancelled();
                let mut future = future.take().expect("a wait_for was polled after it was over");
                if timed_out {
                    return Poll::Ready(Err(Elapsed));
                }
                // The task has ended, so this is its result.
                future.as_mut().poll(context).map(Ok)
            }
            Stage::NeverStarted { turns: 0, .. } => Poll::Ready(Err(Elapsed)),
            Stage::NeverStarted { future, turns } => {
                if *turns < 3 {
                    *future = None;
                }
                *turns -= 1;
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

fn cancel_and_wait(task: &TaskRef, ended: &mut Option<(Rc<Expiry>, u64)>, context: &Context<'_>) {
    let begins = ended.is_none();
    if begins {
        check_loop(&running("poll() of a wait_for"), task.cell.header());
    }
    let (expiry, _) = ended.get_or_insert_with(|| {
        let expiry = Rc::new(Expiry::default());
        let waiter = task.cell.header().add_waiter(Then::Queue(Call::Watch(expiry.clone(), 0)));
        (expiry, waiter)
    });
    let waker = context.waker().clone();
    drop(expiry.waker.replace(Some(waker)));
    if begins {
        task.cancel();
    }
}

impl<F> Drop for WaitFor<F> {
    fn drop(&mut self) {
        if let Stage::CancelledAtOnce { task, ended: Some((expiry, waiter)), .. } = &self.stage {
            drop(task.cell.header().remove_waiter(*waiter));
            drop(expiry.waker.take());
        }
    }
}

impl<F> fmt::Debug for WaitFor<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("WaitFor");
        match &self.stage {
            Stage::Timed(timeout) => out.field("timeout", timeout),
            Stage::CancelledAtOnce { task, .. } => out.field("cancelled", task),
            Stage::NeverStarted { .. } => out.field("started", &false),
        };
        out.finish()
    }
}
