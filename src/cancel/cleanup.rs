//! Cleanups that a cancelled task runs and that may await; catching a cancellation; and ending as
//! cancelled.
//!
//! A cancellation drops a future, and a destructor cannot await. So a [`finally`] registers itself
//! with its task as a scope. When the task is cancelled, the kernel goes through the scopes,
//! innermost first: it drops the body of each, and polls its cleanup (`kernel/cancel/unwind.rs`).
//! In the meantime it does not poll the future around them.
//!
//! Body and cleanup must be `'static`, because the kernel polls the cleanup directly, and not
//! through the futures around it. A poll through these futures would also poll other branches of a
//! `join!`, *beside* the cleanup, and a cancelled task would run on.

use crate::error::Cancelled;
use crate::kernel::callbacks::exceptions::drop_payload;
use crate::kernel::cancel::scopes::{Arrival, Dropped, Scope, Unwound};
use crate::kernel::explore::unknown;
use crate::kernel::{Kernel, clone_uncounted, context};
use crate::leaf::{Place, PollInScope, raise, running, take_raised, wakes_running};
use crate::platform::{catch_unwind, resume_unwind};
use alloc::{boxed::Box, rc::Rc};
use core::any::Any;
use core::cell::{Cell, RefCell};
use core::fmt;
use core::marker::PhantomData;
use core::panic::{AssertUnwindSafe, Location};
use core::pin::Pin;
use core::task::{Context, Poll, Waker, ready};

/// Runs a future, and after it a cleanup. The cleanup runs when the future is ready, when it
/// panics, and when it is interrupted: by a cancellation of the task, by a timeout around it, or by
/// a group that fails.
///
/// The cleanup is a future that may await. It runs only if `future` was polled at least once. When
/// the task is cancelled, the future inside is dropped first. Then the cleanup runs in the same
/// task. Then the cleanups around it run. The task ends with its last cleanup: code that awaits the
/// task, a [`timeout`](crate::timeout()) around the cleanup, and [`run`](crate::run()) at its end
/// wait for the cleanup. A [`sleep`](crate::sleep()) that is passed as the cleanup counts from its
/// creation, as always; in an `async` block it counts from the beginning of the cleanup.
///
/// A cancellation that arrives during the cleanup ends the cleanup. If the future has returned or
/// panicked, this is the task's first cancellation. If a cancellation started the cleanup, it is
/// the second.
///
/// If the `finally` is dropped without a cancellation, for example in a `select!` that another
/// branch has won, the cleanup continues in a task of its own. The first cancellation of that task
/// only counts; the second ends the cleanup.
///
/// The future and the cleanup must be `'static`: after a cancellation, the end of the task runs
/// them. So they cannot borrow `self` or a local variable; the compiler says that borrowed data
/// escapes. Share the data by an `Rc`:
///
/// ```
/// use onelane::finally;
/// use std::rc::Rc;
///
/// struct Client;
///
/// impl Client {
///     async fn work(self: Rc<Self>) {}
///     async fn close(self: Rc<Self>) {}
///
///     async fn run(self: Rc<Self>) {
///         finally(self.clone().work(), self.close()).await
///     }
/// }
///
/// onelane::run(Rc::new(Client).run());
/// ```
///
/// Code around a cleanup, or beside it in a `join!`, keeps what it holds until the cleanup has
/// ended. There is one exception. If the cleanup waits for a lock or a permit that the task itself
/// has taken, then the code around and beside the cleanup is dropped, because nothing else could
/// help. The same happens if other tasks have taken the lock, and each of them waits, directly or
/// indirectly, only for this task. If a task that has ended took the lock, the whole loop must be
/// waiting. A loop on a virtual clock or in debug mode reports the deadlock instead, unless
/// something is known to wait beside the cleanup.
///
/// Cancel safety: the cleanup runs when this is cancelled.
///
/// asyncio: `try: ... finally: await ...`.
///
/// # Panics
///
/// With the panic of the future, when the cleanup has ended, or with the panic of the cleanup.
///
/// # Cost
///
/// Three allocations, and an entry in the task's list of scopes.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, finally, sleep, spawn};
/// use std::{cell::Cell, rc::Rc, time::Duration};
///
/// let closed = Rc::new(Cell::new(false));
/// let copy = closed.clone();
/// EventLoop::with_virtual_clock().run(async move {
///     let second = Duration::from_secs(1);
///     let task = spawn(finally(sleep(60 * second), async move {
///         sleep(second).await; // says goodbye to the other side
///         copy.set(true);
///     }));
///     onelane::yield_now().await;
///     task.cancel();
///     assert!(task.await.unwrap_err().is_cancelled()); // a second later
/// });
/// assert!(closed.get());
/// ```
#[track_caller]
pub fn finally<F, C>(future: F, cleanup: C) -> Finally<F::IntoFuture, C::IntoFuture>
where
    // The compiler shows these lines.
    F: IntoFuture<IntoFuture: 'static>, // the task's end may need it: share by an `Rc`, do not borrow
    C: IntoFuture<Output = (), IntoFuture: 'static>, // it may outlive the caller: share by an `Rc`, do not borrow
{
    unknown("finally()");
    Finally::new(true, future.into_future(), cleanup.into_future())
}

/// The future of [`finally`].
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, Finally, Sleep, finally, sleep};
/// use std::future::{Ready, ready};
/// use std::time::Duration;
///
/// struct Visit {
///     stay: Finally<Sleep, Ready<()>>,
/// }
///
/// EventLoop::with_virtual_clock().run(async {
///     let visit = Visit { stay: finally(sleep(Duration::from_secs(1)), ready(())) };
///     assert!(format!("{:?}", visit.stay).starts_with("Finally { stage: Body"));
///     visit.stay.await;
/// });
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct Finally<F: Future + 'static, C: Future<Output = ()> + 'static> {
    parts: Rc<Parts<F, C>>,
    /// What the body returned, or its panic, until the cleanup has ended.
    outcome: Option<Ended<F::Output>>,
    /// It was polled.
    begun: bool,
    place: Place,
}

/// The part that the kernel reaches when the task is cancelled.
struct Parts<F, C> {
    body: Slot<F>,
    cleanup: Slot<C>,
    stage: Cell<Stage>,
    /// Whether the cleanup also runs when the body has returned.
    is_always: bool,
    poller: Poller,
    made_at: &'static Location<'static>,
}

/// The poller of a scope, if it is not the task itself but something in the task with a waker of
/// its own, for example `FuturesUnordered`. When the kernel has unwound the scope, the kernel wakes
/// this waker, so that the scope is polled.
#[derive(Default)]
struct Poller(Cell<Option<Waker>>);

impl Poller {
    fn set(&self, context: &Context<'_>) {
        drop(self.0.replace((!wakes_running(context.waker())).then(|| clone_uncounted(context.waker()))));
    }

    fn wake(&self) {
        if let Some(waker) = self.0.take() {
            // User code, whose panic must not prevent a cleanup.
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
                drop_payload(payload);
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Body,
    /// The body has ended or was dropped.
    Cleanup,
}

/// A future in a slot, from which it is taken while user code runs.
type Slot<F> = RefCell<Option<Pin<Box<F>>>>;

/// What a future returned, or its panic.
type Ended<T> = Result<T, Box<dyn Any + Send>>;

/// Polls the future in the slot, and drops it when it has ended. `None` if the slot is empty.
fn poll_slot<F>(slot: &Slot<F>, context: &mut Context<'_>) -> Poll<Option<Ended<F::Output>>>
where
    F: Future + 'static,
{
    let Some(mut future) = slot.take() else { return Poll::Ready(None) };
    let polled = match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(Poll::Pending) => {
            *slot.borrow_mut() = Some(future);
            return Poll::Pending;
        }
        Ok(Poll::Ready(output)) => Ok(output),
        Err(payload) => Err(payload),
    };
    // Dropped outside an unwinding, so that a destructor may panic.
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(future)));
    Poll::Ready(Some(match (polled, dropped) {
        (ended, Ok(())) => ended,
        (Ok(output), Err(payload)) => {
            drop_payload(Box::new(output));
            Err(payload)
        }
        (Err(payload), Err(second)) => {
            drop_payload(Box::new(second));
            Err(payload)
        }
    }))
}

impl<F: Future + 'static, C: Future<Output = ()> + 'static> Scope for Parts<F, C> {
    fn unwind(&self, _: Arrival) -> Unwound {
        if self.stage.replace(Stage::Cleanup) == Stage::Body {
            self.poller.wake();
            return Unwound::CleansUp;
        }
        // A second interruption ends the cleanup. A poller with a waker of its own is woken, to see
        // that the cleanup has ended.
        drop(self.cleanup.take());
        self.poller.wake();
        Unwound::Through
    }

    fn drop_body(&self, _: bool) -> Dropped {
        drop(self.body.take());
        Dropped::Here
    }

    fn poll_cleanup(&self, context: &mut Context<'_>) -> Poll<Unwound> {
        let over = ready!(poll_slot(&self.cleanup, context));
        // A poller with a waker of its own may have polled the scope in the meantime. The wakes of
        // the cleanup came here, and not to that poller.
        self.poller.wake();
        match over {
            Some(Err(payload)) => resume_unwind(payload),
            Some(Ok(())) | None => Poll::Ready(Unwound::Through),
        }
    }

    fn hand_over(self: Rc<Self>) {
        // The body is gone, or belongs to a future that is not polled any more.
        let body = self.body.take();
        if let Some(kernel) = context::running() {
            self.hand_cleanup_over(&kernel);
        }
        drop(body);
    }
}

impl<F, C> Parts<F, C> {
    fn fmt_as(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(name).field("stage", &self.stage.get()).field("made_at", &self.made_at).finish()
    }
}

impl<F: Future + 'static, C: Future<Output = ()> + 'static> Parts<F, C> {
    /// The rest of the cleanup continues in a task of its own.
    fn hand_cleanup_over(&self, kernel: &Kernel) {
        let Some(cleanup) = self.cleanup.take() else { return };
        let task = kernel.current().map(|task| task.header().name());
        let name = format!("cleanup of {}", task.as_deref().unwrap_or("a future that was dropped"));
        let draft = kernel.draft(Some(name.into()), self.made_at);
        kernel.spawn_cleanup(draft, cleanup);
    }
}

// The output is not pinned; body and cleanup are in boxes.
impl<F: Future, C: Future<Output = ()>> Unpin for Finally<F, C> {}

impl<F: Future, C: Future<Output = ()>> Finally<F, C> {
    #[track_caller]
    fn new(is_always: bool, body: F, cleanup: C) -> Self {
        let parts = Parts {
            body: RefCell::new(Some(Box::pin(body))),
            cleanup: RefCell::new(Some(Box::pin(cleanup))),
            stage: Cell::new(Stage::Body),
            is_always,
            poller: Poller::default(),
            made_at: Location::caller(),
        };
        Finally { parts: Rc::new(parts), outcome: None, begun: false, place: Place::default() }
    }
}

impl<F: Future, C: Future<Output = ()>> Future for Finally<F, C> {
    type Output = F::Output;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        if this.place.is_too_late(context) {
            return Poll::Pending;
        }
        this.place.enter(|| Rc::<Parts<F, C>>::downgrade(&this.parts));
        this.begun = true;
        this.parts.poller.set(context);
        if this.parts.stage.get() == Stage::Body {
            if this.outcome.is_none() {
                let scope = PollInScope::begin();
                this.outcome = ready!(scope.end(poll_slot(&this.parts.body, context)));
            }
            if this.place.is_frozen() {
                // This poll happens only so that a group beside this scope drops its body. The
                // interruption will also reach this scope, and start the cleanup.
                return Poll::Pending;
            }
            this.parts.stage.set(Stage::Cleanup);
            if !this.parts.is_always {
                let cleanup = this.parts.cleanup.take();
                if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(cleanup))) {
                    this.place.leave();
                    drop_payload(Box::new(this.outcome.take()));
                    resume_unwind(payload);
                }
            }
        }
        let cleanup = ready!(poll_slot(&this.parts.cleanup, context));
        if this.outcome.is_none() && context::running().is_some_and(|kernel| kernel.defers(context.waker())) {
            // The task was polled for a child of a scope, and the cleanup has ended in this poll. The
            // unwinding continues in the task's next step.
            if let Some(Err(payload)) = cleanup {
                resume_unwind(payload);
            }
            if wakes_running(context.waker()) {
                context.waker().wake_by_ref();
            }
            return Poll::Pending;
        }
        this.place.leave();
        let outcome = this.outcome.take().expect(
            "a finally was polled after it was ready, or after a cancellation of the task that polled it last: it has cleaned up; \
             own it in the task that may be cancelled, and put a catch_cancel around it, not beside it",
        );
        match (outcome, cleanup) {
            (Ok(output), Some(Ok(())) | None) => Poll::Ready(output),
            (Err(payload), Some(Ok(())) | None) => resume_unwind(payload),
            (outcome, Some(Err(payload))) => {
                // The panic of the cleanup counts, and must not meet another panic.
                drop_payload(Box::new(outcome));
                resume_unwind(payload)
            }
        }
    }
}

impl<F: Future, C: Future<Output = ()>> Drop for Finally<F, C> {
    fn drop(&mut self) {
        // If it began in a callback, it has no place in a task.
        let was_entered = self.place.is_entered();
        if self.place.leave_to_unwinding(|| self.parts.clone()) {
            // The cleanup runs there.
            return drop(self.parts.body.take());
        }
        let kernel = if was_entered { self.place.leave() } else { context::running() };
        let Some(kernel) = kernel.filter(|_| self.begun) else { return };
        // The inside has scopes of its own, which come first. A destructor that panics must not
        // prevent the cleanup.
        let body = self.parts.body.take();
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(body)));
        self.parts.hand_cleanup_over(&kernel);
        if let Err(payload) = dropped {
            if crate::platform::panicking() {
                return drop_payload(payload);
            }
            resume_unwind(payload);
        }
    }
}

impl<F: Future, C: Future<Output = ()>> fmt::Debug for Finally<F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.fmt_as("Finally", f)
    }
}

/// Runs a future, and a cleanup if the future is interrupted: by a cancellation of the task, by a
/// timeout or a failing group around it, or by [`raise_cancelled`] inside it. Then the interruption
/// continues.
///
/// Like [`finally`], except that no cleanup follows a future that returns or panics: then the
/// cleanup is dropped without a poll. If the `on_cancel` is dropped without a cancellation, for
/// example in a `select!` that another branch has won, the cleanup runs in a task of its own, as
/// with `finally`.
///
/// Cancel safety: the cleanup runs when this is cancelled.
///
/// asyncio: `try: ... except CancelledError: await ...; raise`.
///
/// # Panics
///
/// With the panic of the future, or with the panic of the cleanup.
///
/// # Cost
///
/// As for [`finally`].
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, on_cancel, sleep, spawn};
/// use std::{cell::Cell, rc::Rc, time::Duration};
///
/// EventLoop::with_virtual_clock().run(async {
///     let undone = Rc::new(Cell::new(0));
///     let transfer = |seconds: u64| {
///         let undone = undone.clone();
///         spawn(on_cancel(sleep(Duration::from_secs(seconds)), async move {
///             sleep(Duration::from_secs(1)).await; // takes back what was done so far
///             undone.set(undone.get() + 1);
///         }))
///     };
///     let (quick, slow) = (transfer(1), transfer(60));
///     assert!(quick.await.is_ok());
///     slow.cancel();
///     assert!(slow.await.unwrap_err().is_cancelled());
///     assert_eq!(undone.get(), 1);
/// });
/// ```
#[doc(alias = "except CancelledError")]
#[track_caller]
pub fn on_cancel<F, C>(future: F, cleanup: C) -> OnCancel<F::IntoFuture, C::IntoFuture>
where
    // The compiler shows these lines.
    F: IntoFuture<IntoFuture: 'static>, // the task's end may need it: share by an `Rc`, do not borrow
    C: IntoFuture<Output = (), IntoFuture: 'static>, // it may outlive the caller: share by an `Rc`, do not borrow
{
    unknown("on_cancel()");
    OnCancel { scope: Finally::new(false, future.into_future(), cleanup.into_future()) }
}

/// The future of [`on_cancel`].
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, OnCancel, Sleep, on_cancel, sleep};
/// use std::future::{Ready, ready};
/// use std::time::Duration;
///
/// EventLoop::with_virtual_clock().run(async {
///     let stay: OnCancel<Sleep, Ready<()>> = on_cancel(sleep(Duration::from_secs(1)), ready(()));
///     assert!(format!("{stay:?}").starts_with("OnCancel { stage: Body"));
///     stay.await;
/// });
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct OnCancel<F: Future + 'static, C: Future<Output = ()> + 'static> {
    scope: Finally<F, C>,
}

impl<F: Future, C: Future<Output = ()>> Future for OnCancel<F, C> {
    type Output = F::Output;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        Pin::new(&mut self.scope).poll(context)
    }
}

impl<F: Future, C: Future<Output = ()>> fmt::Debug for OnCancel<F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.scope.parts.fmt_as("OnCancel", f)
    }
}

/// Ends the current task as cancelled, in this step: no code after the await runs. Scopes around
/// the await unwind as in a cancellation, innermost first, and a [`catch_cancel`] around it catches
/// the cancellation. There is one difference. If the task also awaits other tasks, in a `join!`,
/// these awaits are dropped, and the task does not wait for those tasks. If no scope catches the
/// cancellation, the task ends as [`TaskError::Cancelled`](crate::TaskError::Cancelled).
///
/// In the future of a [`timeout`](crate::timeout()), the cancellation ends that future, and
/// continues outside the timeout, unless the time has passed. In the body of a task group, it
/// cancels the children, waits for them, and continues; if a child has failed, the group returns
/// its errors instead. [`cancelling`](crate::Task::cancelling) does not count this cancellation,
/// because no other code has requested it.
///
/// The await never returns, so it can stand where any type is expected. If the future loses a
/// `select!` in the step in which it is polled, it has no effect.
///
/// Cancel safety: it has no effect before it is polled.
///
/// asyncio: `raise CancelledError`, and what an await of a cancelled task or future does there.
///
/// # Panics
///
/// If it is polled outside a task.
///
/// # Examples
///
/// ```
/// use onelane::{Cancelled, EventLoop, TaskError, catch_cancel, raise_cancelled, sleep, spawn, yield_now};
/// use std::time::Duration;
///
/// EventLoop::with_virtual_clock().run(async {
///     let task = spawn(async {
///         match catch_cancel(sleep(Duration::from_secs(60))).await {
///             Ok(()) => "slept",
///             // After reading it, the cancellation continues.
///             Err(Cancelled) => raise_cancelled().await,
///         }
///     });
///     yield_now().await;
///     task.cancel();
///     assert_eq!(task.await, Err(TaskError::Cancelled));
///
///     // As in asyncio, the end of the task that is awaited becomes one's own.
///     let awaited = spawn(std::future::pending::<u32>());
///     awaited.cancel();
///     let task = spawn(async move {
///         match awaited.await {
///             Err(TaskError::Cancelled) => raise_cancelled().await,
///             outcome => outcome.unwrap(),
///         }
///     });
///     assert!(task.await.unwrap_err().is_cancelled());
/// });
/// ```
#[doc(alias = "raise CancelledError")]
pub fn raise_cancelled<T>() -> RaiseCancelled<T> {
    unknown("raise_cancelled()");
    RaiseCancelled { has_raised: false, never: PhantomData }
}

/// The future of [`raise_cancelled`].
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, RaiseCancelled, raise_cancelled, spawn};
///
/// EventLoop::with_virtual_clock().run(async {
///     let end: RaiseCancelled<u8> = raise_cancelled();
///     assert!(spawn(end).await.unwrap_err().is_cancelled());
/// });
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct RaiseCancelled<T> {
    has_raised: bool,
    never: PhantomData<fn() -> T>,
}

impl<T> Future for RaiseCancelled<T> {
    type Output = T;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let kernel = running("poll() of raise_cancelled()");
        assert!(
            kernel.current().is_some(),
            "raise_cancelled() was polled outside a task; await it in the task that should end"
        );
        self.has_raised = true;
        raise(context);
        Poll::Pending
    }
}

impl<T> Drop for RaiseCancelled<T> {
    fn drop(&mut self) {
        if self.has_raised {
            // Another branch was ready in the same step, for example in a `select!`. The place
            // where the cancellation was raised is gone, so the cancellation is taken back.
            take_raised();
        }
    }
}

impl<T> fmt::Debug for RaiseCancelled<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RaiseCancelled")
    }
}

/// Runs a future in the current task and catches its cancellation: the future is dropped, and this
/// returns [`Cancelled`].
///
/// The task continues in the same step, as a task that is not cancelled.
/// [`cancelling`](crate::Task::cancelling) still counts the request;
/// [`uncancel`](crate::Task::uncancel) takes the request back. Cleanups inside the future run
/// first. An interruption by a timeout around the `catch_cancel` is caught as well. Tasks that the
/// future awaits are cancelled, as always.
///
/// To pass the cancellation on anyway, await [`raise_cancelled`]; to run code before it continues,
/// use [`on_cancel`].
///
/// Cancel safety: as for the future inside.
///
/// asyncio: `try: ... except CancelledError: ...`.
///
/// # Errors
///
/// [`Cancelled`] if the future was interrupted: by a cancellation of the task, by a timeout or a
/// failing group around it, or by [`raise_cancelled`] inside it.
///
/// # Cost
///
/// Two allocations, and an entry in the task's list of scopes.
///
/// # Examples
///
/// ```
/// use onelane::{Cancelled, EventLoop, catch_cancel, sleep, spawn};
/// use std::time::Duration;
///
/// EventLoop::with_virtual_clock().run(async {
///     let task = spawn(async {
///         match catch_cancel(sleep(Duration::from_secs(60))).await {
///             Ok(()) => "slept",
///             Err(Cancelled) => "woken",
///         }
///     });
///     onelane::yield_now().await;
///     task.cancel();
///     assert_eq!(task.await, Ok("woken"));
/// });
/// ```
#[track_caller]
pub fn catch_cancel<F: IntoFuture>(future: F) -> CatchCancel<F::IntoFuture> {
    unknown("catch_cancel()");
    let future = Some(Box::pin(future.into_future()));
    CatchCancel {
        future,
        catch: Rc::new(Catch { caught: Cell::new(false), poller: Poller::default() }),
        place: Place::default(),
    }
}

/// The future of [`catch_cancel`].
///
/// # Examples
///
/// ```
/// use onelane::{CatchCancel, EventLoop, Sleep, catch_cancel, sleep};
/// use std::time::Duration;
///
/// /// A pause that a cancellation cuts short.
/// fn pause(seconds: u64) -> CatchCancel<Sleep> {
///     catch_cancel(sleep(Duration::from_secs(seconds)))
/// }
///
/// EventLoop::with_virtual_clock().run(async {
///     assert_eq!(pause(1).await, Ok(()));
/// });
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct CatchCancel<F> {
    future: Option<Pin<Box<F>>>,
    catch: Rc<Catch>,
    place: Place,
}

/// Whether a cancellation has arrived.
struct Catch {
    caught: Cell<bool>,
    poller: Poller,
}

impl Scope for Catch {
    fn unwind(&self, arrival: Arrival) -> Unwound {
        if arrival.panicked {
            return Unwound::Through;
        }
        self.caught.set(true);
        self.poller.wake();
        Unwound::Caught
    }
}

impl<F: Future> Future for CatchCancel<F> {
    type Output = Result<F::Output, Cancelled>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let result = if this.catch.caught.get() {
            Err(Cancelled)
        } else {
            this.place.enter(|| Rc::<Catch>::downgrade(&this.catch));
            this.catch.poller.set(context);
            let future = this.future.as_mut().expect("a catch_cancel was polled after it was ready");
            let scope = PollInScope::begin();
            Ok(ready!(scope.end(future.as_mut().poll(context))))
        };
        this.place.leave();
        this.future = None;
        Poll::Ready(result)
    }
}

impl<F> Drop for CatchCancel<F> {
    fn drop(&mut self) {
        self.place.leave();
    }
}

impl<F> fmt::Debug for CatchCancel<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CatchCancel").field("caught", &self.catch.caught.get()).finish_non_exhaustive()
    }
}
