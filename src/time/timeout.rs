//! Time limits for futures.
//!
//! When the time has passed, the future inside is interrupted (`block.rs`). Tasks that it awaits
//! are cancelled, and the timeout is ready when they have ended; if there are none, in the next
//! turn.

use crate::cancel::block::{Block, BlockScope, Interrupted, Interruption};
use crate::kernel::callbacks::calls::{Call, CallKey, Watcher};
use crate::kernel::cancel::scopes::{Arrival, Inside, Scope, Unwound};
use crate::kernel::cell::AnyTask;
use crate::kernel::explore::unknown;
use crate::kernel::table::records::{Awaited, Then, Wait};
use crate::kernel::{Alarm, Instant, Kernel, Time, TimerKey, Token, WaiterKey, clone_uncounted, context};
use crate::leaf::{Record, cancel, check_loop, raise, remove_waiter, running};
use crate::task::promise::{AnyPromise, Promise};
use crate::task::{Task, TaskRef};
use alloc::boxed::Box;
use alloc::rc::{Rc, Weak};
use alloc::vec::Vec;
use core::cell::Cell;
use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll, Waker, ready};
use core::time::Duration;

/// The time limit has passed: asyncio's `TimeoutError`.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, timeout};
/// use std::{future::pending, io, time::Duration};
///
/// async fn read() -> io::Result<u8> {
///     let byte = timeout(Duration::from_secs(5), pending()).await?;
///     Ok(byte)
/// }
///
/// let error = EventLoop::with_virtual_clock().run(read()).unwrap_err();
/// assert_eq!(error.kind(), io::ErrorKind::TimedOut);
/// ```
#[doc(alias = "TimeoutError")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time was up")
    }
}

impl core::error::Error for Elapsed {}

#[cfg(feature = "std")]
impl From<Elapsed> for std::io::Error {
    fn from(elapsed: Elapsed) -> Self {
        std::io::Error::new(std::io::ErrorKind::TimedOut, elapsed)
    }
}

/// Runs a future in the current task for at most `duration`, counted from this call.
///
/// When the time has passed, the future is interrupted: tasks that it awaits are cancelled, and the
/// future is dropped when they have ended. A value that the future would return later in the same
/// turn is lost. With a duration of zero, the future is polled once, and the time has passed in the
/// next turn.
///
/// If the interruption starts cleanups inside ([`finally`](crate::finally())), the timeout waits
/// for them, however long they take. A cleanup inside may already run, because a cancellation or a
/// timeout around this one has started it. Such a cleanup ends when the time has passed.
///
/// Code outside the timeout may have requested an interruption since the timeout was entered: a
/// cancellation of the task, a timeout or a failing group around this one. Then the interruption
/// continues through the timeout, and nothing after the timeout runs. This is so even if the
/// cancellation was caught inside, unless it was taken back by [`uncancel`](crate::Task::uncancel).
///
/// Cancel safety: that of the future inside.
///
/// asyncio: `timeout(delay)`.
///
/// # Errors
///
/// [`Elapsed`] if the time has passed.
///
/// # Panics
///
/// If no loop is running on this thread, now or when it is polled.
///
/// # Cost
///
/// Two allocations, one more if something is awaited inside, and a timer. The first scope of a task
/// takes two more allocations, for its list of scopes.
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
    let kernel = running("timeout()");
    Timeout::new(&kernel, kernel.clock.now().after(duration), None, future.into_future())
}

/// Runs a future in the current task at most until a moment of the loop's [`time`](crate::time()).
/// Otherwise like [`timeout`].
///
/// asyncio: `timeout_at(when)`.
///
/// # Errors
///
/// [`Elapsed`] if the time has passed.
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
    let kernel = running("timeout_at()");
    Timeout::new(&kernel, kernel.clock.time_at(moment), None, future.into_future())
}

/// The future of [`timeout`] and [`timeout_at`].
///
/// It is not `Send`: it is a scope of its task. Where a framework requires `Send`, wrap the future around it in
/// [`local`](crate::local()).
///
/// # Examples
///
/// ```
/// use onelane::{Elapsed, EventLoop, Timeout, timeout};
/// use std::{future::pending, time::Duration};
///
/// /// The limit that holds everywhere in a program.
/// fn limited<F: IntoFuture>(future: F) -> Timeout<F::IntoFuture> {
///     timeout(Duration::from_secs(30), future)
/// }
///
/// EventLoop::with_virtual_clock().run(async {
///     assert_eq!(limited(async { 1 }).await, Ok(1));
///     assert_eq!(limited(pending::<u8>()).await, Err(Elapsed));
/// });
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct Timeout<F> {
    block: Block<F, Limit>,
}

/// A handle to the deadline of a [`Timeout`], for use anywhere: inside the future that it limits,
/// or in another task.
///
/// Cloning creates another handle to the same deadline. A deadline limits one future.
///
/// asyncio: what `async with timeout(..) as cm` binds.
///
/// # Examples
///
/// ```
/// use onelane::{Deadline, EventLoop, sleep, time};
/// use std::time::Duration;
///
/// EventLoop::with_virtual_clock().run(async {
///     let second = Duration::from_secs(1);
///     let deadline = Deadline::never();
///     let inside = deadline.clone();
///     let start = time();
///     let result = deadline.limit(async move {
///         sleep(second).await;
///         assert!(inside.reschedule(Some(time() + second))); // there is one second more
///         sleep(10 * second).await;
///     });
///     assert!(result.await.is_err());
///     assert_eq!(time() - start, 2 * second);
///     assert!(deadline.has_expired());
/// });
/// ```
#[derive(Clone)]
pub struct Deadline {
    limit: Rc<Limit>,
}

/// A deadline, and the interruption that it causes. A pending timer owns it too.
struct Limit {
    loop_id: u64,
    when: Cell<Time>,
    stage: Cell<Stage>,
    /// Whether it limits a future.
    taken: Cell<bool>,
    /// The timer or the callback to cancel if the future is ready first.
    key: Cell<Option<Key>>,
    /// Whether an interruption has ended at this timeout, although a scope further out drove it.
    has_caught: Cell<bool>,
    /// Whether an interruption has passed through this timeout, to the scopes further out.
    goes_on: Cell<bool>,
    interruption: Interruption,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    New,
    Active,
    /// The time has passed; the future may not be interrupted yet.
    Expired,
    /// The future was ready first, or was dropped.
    Finished,
}

#[derive(Clone, Copy)]
enum Key {
    Timer(TimerKey),
    /// The time had passed when the timeout was entered.
    Soon(CallKey),
}

impl Watcher for Limit {
    fn limits(&self) -> Option<Token> {
        self.interruption.task()
    }

    fn called(&self, _: u32) {
        self.key.set(None);
        self.stage.set(Stage::Expired);
        self.interruption.request();
    }
}

impl Scope for Limit {
    /// The interruption ends here if the time has passed and no code further out has requested it.
    fn unwind(&self, arrival: Arrival) -> Unwound {
        let is_own = self.stage.get() == Stage::Expired && !arrival.panicked && !arrival.is_from_outside;
        self.has_caught.set(is_own);
        self.finish();
        self.interruption.wake_poller();
        if is_own { Unwound::Caught } else { Unwound::Through }
    }

    fn is_timed(&self) -> bool {
        self.stage.get() == Stage::Active && self.when.get() != Time::NEVER
    }

    fn inside(&self) -> Option<&dyn Inside> {
        Some(&self.interruption)
    }
}

impl BlockScope for Limit {
    fn interruption(&self) -> &Interruption {
        &self.interruption
    }
}

impl Limit {
    fn new(kernel: &Kernel, when: Time) -> Rc<Self> {
        Rc::new(Limit {
            loop_id: kernel.id(),
            when: Cell::new(when),
            stage: Cell::new(Stage::New),
            taken: Cell::new(false),
            key: Cell::new(None),
            has_caught: Cell::new(false),
            goes_on: Cell::new(false),
            interruption: Interruption::default(),
        })
    }

    fn arm(self: &Rc<Self>, kernel: &Kernel) {
        let when = self.when.get();
        let call = Call::Watch(self.clone(), 0);
        self.key.set(if when == Time::NEVER {
            None
        } else if when <= kernel.clock.now() {
            Some(Key::Soon(kernel.call_soon(call)))
        } else {
            Some(Key::Timer(kernel.add_timer(when, Alarm::Call(call))))
        });
    }

    fn disarm(&self) {
        let (Some(key), Some(kernel)) = (self.key.take(), context::find(self.loop_id)) else { return };
        // The timer is dropped here, where nothing is borrowed.
        match key {
            Key::Timer(key) => drop(kernel.cancel_timer(key)),
            Key::Soon(key) => drop(kernel.cancel_call(key)),
        }
    }

    fn finish(&self) {
        self.disarm();
        if self.stage.get() != Stage::Expired {
            self.stage.set(Stage::Finished);
        }
    }
}

impl Deadline {
    /// Creates a deadline `duration` from now.
    ///
    /// # Panics
    ///
    /// If no loop is running on this thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{Deadline, EventLoop, sleep, time};
    /// use std::time::Duration;
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let deadline = Deadline::after(Duration::from_secs(5));
    ///     sleep(Duration::from_secs(3)).await; // counts
    ///     let begun = time();
    ///     assert!(deadline.limit(sleep(Duration::from_secs(60))).await.is_err());
    ///     assert_eq!(time() - begun, Duration::from_secs(2));
    /// });
    /// ```
    #[track_caller]
    pub fn after(duration: Duration) -> Self {
        unknown("deadlines");
        let kernel = running("Deadline::after()");
        Deadline { limit: Limit::new(&kernel, kernel.clock.now().after(duration)) }
    }

    /// Creates a deadline at a moment of the loop's [`time`](crate::time()).
    ///
    /// # Panics
    ///
    /// If no loop is running on this thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{Deadline, EventLoop, sleep, time};
    /// use std::time::Duration;
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let closing_time = time() + Duration::from_secs(10);
    ///     let mut served = 0;
    ///     for _ in 0..5 {
    ///         let visit = Deadline::at(closing_time).limit(sleep(Duration::from_secs(4)));
    ///         served += u32::from(visit.await.is_ok());
    ///     }
    ///     assert_eq!(served, 2);
    /// });
    /// ```
    #[track_caller]
    pub fn at(moment: Instant) -> Self {
        unknown("deadlines");
        let kernel = running("Deadline::at()");
        Deadline { limit: Limit::new(&kernel, kernel.clock.time_at(moment)) }
    }

    /// Creates a deadline without a limit, until it is [rescheduled](Self::reschedule).
    ///
    /// asyncio: `timeout(None)`.
    ///
    /// # Panics
    ///
    /// If no loop is running on this thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{Deadline, Elapsed, EventLoop, sleep};
    /// use std::time::Duration;
    ///
    /// async fn work(limit: Option<Duration>) -> Result<(), Elapsed> {
    ///     let deadline = limit.map_or_else(Deadline::never, Deadline::after);
    ///     deadline.limit(sleep(Duration::from_secs(3600))).await
    /// }
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     assert_eq!(work(None).await, Ok(()));
    ///     assert_eq!(work(Some(Duration::from_secs(1))).await, Err(Elapsed));
    /// });
    /// ```
    #[track_caller]
    pub fn never() -> Self {
        unknown("deadlines");
        Deadline { limit: Limit::new(&running("Deadline::never()"), Time::NEVER) }
    }

    /// Runs a future in the current task at most until this deadline: [`timeout`] with a handle.
    ///
    /// # Panics
    ///
    /// If it already limits a future: create a deadline for each future.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{Deadline, Elapsed, EventLoop, spawn, time, yield_now};
    /// use std::{future::pending, time::Duration};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let deadline = Deadline::after(Duration::from_secs(60));
    ///     let download = spawn(deadline.limit(pending::<()>()));
    ///     yield_now().await;
    ///     // The other end of the handle is here: the time is up now.
    ///     assert!(deadline.reschedule(Some(time())));
    ///     assert_eq!(download.await, Ok(Err(Elapsed)));
    /// });
    /// ```
    #[track_caller]
    pub fn limit<F: IntoFuture>(&self, future: F) -> Timeout<F::IntoFuture> {
        assert!(
            !self.limit.taken.replace(true),
            "Deadline::limit() was called for a second future; make a deadline for each"
        );
        Timeout { block: Block::new(self.limit.clone(), future.into_future()) }
    }

    /// Moves the deadline, or removes it with `None`. If the new moment has passed, the time has
    /// passed in the next turn. Returns false if it is too late: the time has passed, the future
    /// was ready first, or the loop has gone.
    ///
    /// asyncio: `Timeout.reschedule(when)`, which raises where this returns false, and before the
    /// block is entered.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{Deadline, EventLoop, sleep, time};
    /// use std::time::Duration;
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let deadline = Deadline::after(Duration::from_secs(2));
    ///     let copy = deadline.clone();
    ///     let read = deadline.limit(async move {
    ///         for _ in 0..5 {
    ///             sleep(Duration::from_secs(1)).await;
    ///             // Something has come: there are two seconds for the next.
    ///             assert!(copy.reschedule(Some(time() + Duration::from_secs(2))));
    ///         }
    ///     });
    ///     assert_eq!(read.await, Ok(()));
    ///     assert!(!deadline.reschedule(None)); // too late
    /// });
    /// ```
    #[must_use = "it may be too late"]
    pub fn reschedule(&self, moment: Option<Instant>) -> bool {
        let limit = &self.limit;
        let Some(kernel) = context::find(limit.loop_id) else { return false };
        let stage = limit.stage.get();
        if !matches!(stage, Stage::New | Stage::Active) {
            return false;
        }
        limit.disarm();
        limit.when.set(moment.map_or(Time::NEVER, |moment| kernel.clock.time_at(moment)));
        if stage == Stage::Active {
            limit.arm(&kernel);
        }
        true
    }

    /// Returns the moment, if there is one.
    ///
    /// asyncio: `Timeout.when()`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{Deadline, EventLoop, sleep, time};
    /// use std::time::Duration;
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let deadline = Deadline::after(Duration::from_secs(5));
    ///     sleep(Duration::from_secs(3)).await;
    ///     let left = deadline.when().map(|when| when - time());
    ///     assert_eq!(left, Some(Duration::from_secs(2)));
    ///     assert_eq!(Deadline::never().when(), None);
    /// });
    /// ```
    pub fn when(&self) -> Option<Instant> {
        let when = self.limit.when.get();
        let kernel = context::find(self.limit.loop_id).filter(|_| when != Time::NEVER)?;
        kernel.clock.instant_at(when)
    }

    /// Whether the time had passed before the future was ready, even if the future has caught the
    /// interruption.
    ///
    /// asyncio: `Timeout.expired()`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{Deadline, EventLoop};
    /// use std::{future::pending, time::Duration};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let inner = Deadline::after(Duration::from_secs(2));
    ///     let outer = Deadline::after(Duration::from_secs(1));
    ///     assert!(outer.limit(inner.limit(pending::<()>())).await.is_err());
    ///     // Whose time was up?
    ///     assert!(outer.has_expired() && !inner.has_expired());
    /// });
    /// ```
    #[doc(alias = "expired")]
    pub fn has_expired(&self) -> bool {
        self.limit.stage.get() == Stage::Expired
    }
}

impl fmt::Debug for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = Some(self.limit.when.get()).filter(|&when| when != Time::NEVER);
        f.debug_struct("Deadline").field("stage", &self.limit.stage.get()).field("when", &when).finish()
    }
}

impl<F> Timeout<F> {
    fn new(kernel: &Kernel, deadline: Time, awaited: Option<AnyTask>, future: F) -> Self {
        let limit = Limit::new(kernel, deadline);
        limit.taken.set(true);
        Timeout { block: Block::awaiting(awaited, limit, future) }
    }

    fn limit(&self) -> &Rc<Limit> {
        self.block.scope()
    }

    /// Returns the deadline, so that other code can reschedule it.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, call_later, sleep, timeout};
    /// use std::time::Duration;
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let patience = timeout(Duration::from_secs(2), sleep(Duration::from_secs(3)));
    ///     let deadline = patience.deadline();
    ///     call_later(Duration::from_secs(1), move || {
    ///         let _in_time = deadline.reschedule(None);
    ///     });
    ///     assert_eq!(patience.await, Ok(()));
    /// });
    /// ```
    pub fn deadline(&self) -> Deadline {
        unknown("deadlines");
        Deadline { limit: self.limit().clone() }
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let limit = this.limit().clone();
        if limit.goes_on.get() {
            // The interruption that passed through this timeout was caught beside it, in another
            // branch of the task.
            raise(context);
            return Poll::Pending;
        }
        assert!(!this.block.is_over(), "a timeout was polled after it was ready");
        let may_be_passed = !matches!(limit.stage.get(), Stage::New | Stage::Active) && !limit.has_caught.get();
        if may_be_passed && !this.block.place().has_moved() && limit.interruption.is_left_behind() {
            // The same, before the timeout was polled again: it has no time limit any more.
            limit.goes_on.set(true);
            raise(context);
            return Poll::Pending;
        }
        if this.block.place().is_too_late(context) {
            return Poll::Pending;
        }
        if limit.stage.get() == Stage::New {
            let kernel = running("poll() of a timeout");
            assert!(
                kernel.id() == limit.loop_id,
                "poll() of a timeout was called in another event loop than its deadline's; make both in the loop that runs them"
            );
            limit.stage.set(Stage::Active);
            this.block.enter();
            // Before the future is polled: with equal deadlines, this timer is older than those
            // inside.
            limit.arm(&kernel);
        }
        let interrupted = limit.has_caught.get();
        let result = if interrupted { Err(Interrupted) } else { ready!(this.block.poll(context)) };
        let is_from_outside = limit.interruption.is_asked_from_outside();
        limit.finish();
        this.block.end();
        match result {
            Ok(output) => Poll::Ready(Ok(output)),
            Err(Interrupted) if interrupted || limit.stage.get() == Stage::Expired && !is_from_outside => {
                Poll::Ready(Err(Elapsed))
            }
            Err(Interrupted) => {
                // The interruption was not, or not only, requested by this timeout: it continues
                // outward.
                limit.goes_on.set(true);
                raise(context);
                Poll::Pending
            }
        }
    }
}

impl<F> Drop for Timeout<F> {
    fn drop(&mut self) {
        self.limit().finish();
    }
}

impl<F> fmt::Debug for Timeout<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeout").field("deadline", &self.deadline()).finish_non_exhaustive()
    }
}

/// The argument of [`wait_for`]: a future, `Task<T>`, `&Task<T>`, [`Promise<T>`](crate::Promise), or
/// `&Promise<T>`.
///
/// # Examples
///
/// ```
/// use onelane::{Awaitable, EventLoop, sleep, spawn, wait_for};
/// use std::time::Duration;
///
/// async fn hurry(work: impl Awaitable) -> String {
///     let name = work.as_task().map_or("a future".into(), |task| task.name());
///     match wait_for(work, Duration::from_secs(1)).await {
///         Ok(_) => format!("{name} was quick"),
///         Err(_) => format!("{name} was too slow"),
///     }
/// }
///
/// EventLoop::with_virtual_clock().run(async {
///     assert_eq!(hurry(sleep(Duration::ZERO)).await, "a future was quick");
///     assert_eq!(hurry(spawn(sleep(Duration::from_secs(2)))).await, "Sleep-2 was too slow");
/// });
/// ```
#[diagnostic::on_unimplemented(
    message = "wait_for() takes a future, a task or a promise whose result can be read, and `{Self}` is none",
    note = "the result of a `&Task<T>` or a `&Promise<T>` is cloned, so `T` has to be `Clone`; otherwise pass the task or the promise by value, or use an `Rc` as `T`"
)]
pub trait Awaitable: IntoFuture {
    /// The task, if it is one.
    fn as_task(&self) -> Option<TaskRef>;

    /// The promise, if it is one.
    #[doc(hidden)]
    fn as_promise(&self) -> Option<AnyPromise> {
        None
    }
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

impl<T: 'static> Awaitable for Promise<T> {
    fn as_task(&self) -> Option<TaskRef> {
        None
    }

    fn as_promise(&self) -> Option<AnyPromise> {
        Some(self.any())
    }
}

impl<T: Clone + 'static> Awaitable for &Promise<T> {
    fn as_task(&self) -> Option<TaskRef> {
        None
    }

    fn as_promise(&self) -> Option<AnyPromise> {
        Some(self.any())
    }
}

/// Waits for a future, a task or a promise for at most `duration`, counted from this call. If the
/// time has passed, a task is cancelled, and the wait ends when the task has ended. If the task
/// returns a value anyway, or panics, that is the result. A promise is cancelled, also for others
/// who await it; [`shield(&promise)`](crate::shield()) prevents this.
///
/// Otherwise like [`timeout`], except for a duration of zero. Then a task or a promise that has
/// ended still gives its result, and one that has not ended is cancelled at once. A future is
/// dropped without being polled.
///
/// Cancel safety: as for an await of the task, promise or future.
///
/// asyncio: `wait_for(aw, timeout)`.
///
/// # Errors
///
/// [`Elapsed`] if the time has passed.
///
/// # Panics
///
/// If no loop is running on this thread, now or when it is polled.
///
/// # Cost
///
/// Two allocations, one more if something is awaited inside, and a timer. The first scope of a task
/// takes two more allocations, for its list of scopes.
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
    let kernel = running("wait_for()");
    if !duration.is_zero() {
        let deadline = kernel.clock.now().after(duration);
        let task = awaitable.as_task().map(|task| task.cell);
        return WaitFor { way: Way::Timed(Timeout::new(&kernel, deadline, task, awaitable.into_future())) };
    }
    let (task, promise) = (awaitable.as_task(), awaitable.as_promise());
    let future = Some(Box::pin(awaitable.into_future()));
    WaitFor {
        way: match task {
            Some(task) => Way::CancelledAtOnce { task, future, ended: None, record: Record::here() },
            None => Way::NeverStarted { future, promise, ending: None, record: Record::here() },
        },
    }
}

#[cfg(feature = "stream")]
#[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
impl<F: Future> futures_core::FusedFuture for Timeout<F> {
    fn is_terminated(&self) -> bool {
        self.block.is_over() && !self.limit().goes_on.get()
    }
}

/// The future of [`wait_for`].
///
/// # Examples
///
/// ```
/// use onelane::{Elapsed, EventLoop, Join, WaitFor, sleep, spawn, wait_for};
/// use std::time::Duration;
///
/// EventLoop::with_virtual_clock().run(async {
///     // One limit for all, counted from here, although one is awaited after the other.
///     let tasks = [3, 1, 9].map(|n| spawn(sleep(Duration::from_secs(n))));
///     let waits: [WaitFor<Join<()>>; 3] = tasks.map(|task| wait_for(task, Duration::from_secs(5)));
///     let mut in_time = Vec::new();
///     for wait in waits {
///         in_time.push(wait.await != Err(Elapsed));
///     }
///     assert_eq!(in_time, [true, true, false]);
/// });
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct WaitFor<F> {
    way: Way<F>,
}

enum Way<F> {
    Timed(Timeout<F>),
    /// A task with zero time. From the first poll on, a done callback reports the end of the task;
    /// the key removes this callback.
    CancelledAtOnce {
        task: TaskRef,
        future: Option<Pin<Box<F>>>,
        ended: Option<(Rc<Ended>, WaiterKey)>,
        record: Record,
    },
    /// A future with zero time. asyncio wraps the future into a task, cancels this task, and waits
    /// for its done callback. Here callbacks take the place of these steps, from the first poll on.
    NeverStarted {
        future: Option<Pin<Box<F>>>,
        promise: Option<AnyPromise>,
        ending: Option<Rc<NeverStarted>>,
        record: Record,
    },
}

impl<F: Future> Future for WaitFor<F> {
    type Output = Result<F::Output, Elapsed>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.way {
            Way::Timed(timeout) => Pin::new(timeout).poll(context),
            Way::CancelledAtOnce { task, future, ended, record } => {
                if !task.is_done() || ended.as_ref().is_some_and(|(ended, _)| !ended.told.get()) {
                    cancel_and_wait(task, ended, record, context);
                    return Poll::Pending;
                }
                record.end();
                let timed_out = ended.take().is_some() && task.is_cancelled();
                let mut future = future.take().expect("a wait_for was polled after it was ready");
                if timed_out {
                    return Poll::Ready(Err(Elapsed));
                }
                // The task has ended, so this is its result.
                future.as_mut().poll(context).map(Ok)
            }
            Way::NeverStarted { future, promise, ending, record } => {
                let kernel = running("poll() of a wait_for");
                if let Some(promise) = promise.as_ref().filter(|_| ending.is_none()) {
                    if promise.is_done() {
                        let future = future.as_mut().expect("a wait_for was polled after it was ready");
                        return future.as_mut().poll(context).map(Ok);
                    }
                    promise.cancel();
                }
                // A promise is done as soon as it is cancelled. asyncio's task takes one step more.
                let steps = if promise.is_some() { 1 } else { 2 };
                let ending = ending.get_or_insert_with(|| NeverStarted::begin(&kernel, steps));
                if ending.steps.get() == 0 {
                    record.end();
                    *future = None;
                    return Poll::Ready(Err(Elapsed));
                }
                let waker = clone_uncounted(context.waker());
                drop(ending.waker.replace(Some(waker)));
                record.begin(|| Wait::On(Rc::<NeverStarted>::downgrade(ending)));
                Poll::Pending
            }
        }
    }
}

/// Stands for the end of asyncio's task: a step in which the task ends, then its done callback,
/// which wakes the waiter. For a promise, only the callback.
struct NeverStarted {
    /// Number of steps that are left.
    steps: Cell<u32>,
    key: Cell<Option<CallKey>>,
    waker: Cell<Option<Waker>>,
    loop_id: u64,
    this: Weak<NeverStarted>,
}

impl NeverStarted {
    fn begin(kernel: &Kernel, steps: u32) -> Rc<Self> {
        let new = |this: &Weak<Self>| NeverStarted {
            steps: Cell::new(steps),
            key: Cell::new(None),
            waker: Cell::new(None),
            loop_id: kernel.id(),
            this: this.clone(),
        };
        let ending = Rc::new_cyclic(new);
        ending.call_next(kernel);
        ending
    }

    fn call_next(&self, kernel: &Kernel) {
        if let Some(this) = self.this.upgrade() {
            self.key.set(Some(kernel.call_soon(Call::Watch(this, 0))));
        }
    }

    fn give_up(&self) {
        if let (Some(key), Some(kernel)) = (self.key.take(), context::find(self.loop_id)) {
            drop(kernel.cancel_call(key));
        }
        drop(self.waker.take());
    }
}

impl Watcher for NeverStarted {
    fn called(&self, _: u32) {
        self.key.set(None);
        self.steps.set(self.steps.get() - 1);
        if self.steps.get() > 0 {
            return self.call_next(&running("a callback of wait_for"));
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Awaited for NeverStarted {
    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the end of a future that it has cancelled")
    }
}

/// Is notified of the end of a task.
struct Ended {
    task: TaskRef,
    told: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

/// Has no links for a cancellation to follow, because the task was already cancelled.
impl Awaited for Ended {
    fn tasks(&self) -> Vec<AnyTask> {
        vec![self.task.cell.clone()]
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the end of task {:?}, which it has cancelled", self.task.name())
    }
}

impl Watcher for Ended {
    fn called(&self, _: u32) {
        self.told.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

#[track_caller]
fn cancel_and_wait(
    task: &TaskRef,
    ended: &mut Option<(Rc<Ended>, WaiterKey)>,
    record: &mut Record,
    context: &Context<'_>,
) {
    let begins = ended.is_none();
    let kernel = running("poll() of a wait_for");
    let (expiry, _) = ended.get_or_insert_with(|| {
        check_loop(&kernel, task.cell.header());
        let expiry = Rc::new(Ended { task: task.clone(), told: Cell::new(false), waker: Cell::new(None) });
        let call = Call::Watch(expiry.clone(), 0);
        (expiry, kernel.table.add_waiter(task.cell.header(), Then::Queue(call)))
    });
    let waker = clone_uncounted(context.waker());
    drop(expiry.waker.replace(Some(waker)));
    record.begin(|| Wait::On(Rc::<Ended>::downgrade(expiry)));
    if begins {
        cancel(&task.cell);
    }
}

impl<F> Drop for WaitFor<F> {
    fn drop(&mut self) {
        match &mut self.way {
            Way::CancelledAtOnce { task, ended: Some((expiry, waiter)), record, .. } => {
                record.end();
                drop(remove_waiter(&task.cell, *waiter));
                drop(expiry.waker.take());
            }
            Way::NeverStarted { ending: Some(ending), record, .. } => {
                record.end();
                ending.give_up();
            }
            _ => {}
        }
    }
}

impl<F> fmt::Debug for WaitFor<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("WaitFor");
        match &self.way {
            Way::Timed(timeout) => out.field("timeout", timeout),
            Way::CancelledAtOnce { task, .. } => out.field("cancelled", task),
            Way::NeverStarted { .. } => out.field("started", &false),
        };
        out.finish()
    }
}
