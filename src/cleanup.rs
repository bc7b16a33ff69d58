//! What a task still does when it is cancelled: cleanups that await, and going on all the same.
//!
//! A cancellation drops a future, and a destructor cannot await. A [`finally`] enters its name in its task as a scope; when
//! the task is cancelled, the kernel goes through the scopes, innermost first, drops what was being done there, and polls
//! the cleanup (`kernel/unwind.rs`). The future around them is not polled meanwhile.
//!
//! Body and cleanup have to be `'static`, since the kernel polls the cleanup by itself, and not by way of the futures around it:
//! through them, whatever stands beside it in a `join!` would be polled too, and a cancelled task would run on.

use crate::current::Place;
use crate::error::Cancelled;
use crate::kernel::exceptions::drop_payload;
use crate::kernel::task::{Scope, Unwound};
use crate::kernel::{context, keep};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

/// Runs a future, and a cleanup behind it: when it is ready, when it panics, and when it is cancelled.
///
/// The cleanup is a future that may await. It begins with the first poll of `future` only: what was never begun is not
/// cleaned up. When the task is cancelled, what is inside is dropped first, then the cleanup runs in the same task, then the
/// scope around this one has its turn. The task has ended when its last cleanup has, so whoever awaits it, waits for that,
/// and so do a [`timeout`](crate::timeout()) around it and [`run`](crate::run()) at its end. A [`sleep`](crate::sleep())
/// that is handed in as a cleanup counts from its making, as always; in an `async` block it counts from the cleanup.
///
/// A cancellation that comes while the cleanup runs ends the cleanup; behind a future that was ready, that is the first one.
/// Dropped without a cancellation, in a `select!` that something else has won for example, it hands the cleanup over to a
/// task of its own.
///
/// Cancel safety: that is what it is for.
///
/// asyncio: `try: ... finally: await ...`.
///
/// # Panics
///
/// With the panic of the future, when the cleanup has ended, or with the cleanup's own.
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
    F: IntoFuture<IntoFuture: 'static>,
    C: IntoFuture<Output = (), IntoFuture: 'static>,
{
    let parts = Parts {
        body: RefCell::new(Some(Box::pin(future.into_future()))),
        cleanup: RefCell::new(Some(Box::pin(cleanup.into_future()))),
        stage: Cell::new(Stage::Body),
        poller: Poller::default(),
    };
    Finally { parts: Rc::new(parts), outcome: None, begun: false, place: Place::default(), made_at: Location::caller() }
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
    /// What the body gave, or its panic, until the cleanup has ended.
    outcome: Option<Ended<F::Output>>,
    /// It was polled.
    begun: bool,
    place: Place,
    made_at: &'static Location<'static>,
}

/// What the kernel reaches when the task is cancelled.
struct Parts<F, C> {
    body: Slot<F>,
    cleanup: Slot<C>,
    stage: Cell<Stage>,
    poller: Poller,
}

/// Who polls a scope, if it is not the task itself but something in the task with a waker of its own, `FuturesUnordered` for
/// example: it does not know that the scope has something to say when the kernel has unwound it.
#[derive(Default)]
struct Poller(Cell<Option<Waker>>);

impl Poller {
    fn set(&self, context: &Context<'_>) {
        let kernel = context::running();
        let is_the_task = kernel.is_some_and(|kernel| kernel.wakers.wakes_running(context.waker()));
        drop(self.0.replace((!is_the_task).then(|| keep(context.waker()))));
    }

    fn wake(&self) {
        if let Some(waker) = self.0.take() {
            // Foreign, and its panic must not cost a cleanup.
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
                drop_payload(payload);
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Body,
    /// The body is over or gone.
    Cleanup,
}

/// A future in a place of its own, out of which it is taken while foreign code runs.
type Slot<F> = RefCell<Option<Pin<Box<F>>>>;

/// What a future gave, or its panic.
type Ended<T> = Result<T, Box<dyn Any + Send>>;

/// Polls what is in the slot; once it has ended, drops it. None if nothing is there.
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
    // Dropped where nothing unwinds, so that a destructor that panics does no more than that.
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
    fn unwind(&self, _panicked: bool) -> Unwound {
        if self.stage.replace(Stage::Cleanup) == Stage::Body {
            self.poller.wake();
            return Unwound::CleansUp;
        }
        // It was cleaning up already, and this ends it.
        drop(self.cleanup.take());
        Unwound::Through
    }

    fn drop_body(&self) {
        drop(self.body.take());
    }

    fn poll_cleanup(&self, context: &mut Context<'_>) -> Poll<()> {
        let over = ready!(poll_slot(&self.cleanup, context));
        // Somebody may have polled the scope meanwhile, and its wakes came here.
        self.poller.wake();
        match over {
            Some(Err(payload)) => resume_unwind(payload),
            Some(Ok(())) | None => Poll::Ready(()),
        }
    }
}

// The output is not pinned, and body and cleanup stand in boxes.
impl<F: Future, C: Future<Output = ()>> Unpin for Finally<F, C> {}

impl<F: Future, C: Future<Output = ()>> Future for Finally<F, C> {
    type Output = F::Output;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        this.place.enter(|| Rc::<Parts<F, C>>::downgrade(&this.parts));
        this.begun = true;
        this.parts.poller.set(context);
        if this.parts.stage.get() == Stage::Body {
            this.outcome = ready!(poll_slot(&this.parts.body, context));
            this.parts.stage.set(Stage::Cleanup);
        }
        let cleanup = ready!(poll_slot(&this.parts.cleanup, context));
        this.place.leave();
        let outcome = this.outcome.take().expect(
            "a finally was polled after it was over, or after a cancellation of the task that polled it last: it has cleaned up; \
             own it in the task that may be cancelled, and put a catch_cancel around it, not beside it",
        );
        match (outcome, cleanup) {
            (Ok(output), Some(Ok(())) | None) => Poll::Ready(output),
            (Err(payload), Some(Ok(())) | None) => resume_unwind(payload),
            (outcome, Some(Err(payload))) => {
                // The panic of the cleanup counts, and is not to meet another one.
                drop_payload(Box::new(outcome));
                resume_unwind(payload)
            }
        }
    }
}

impl<F: Future, C: Future<Output = ()>> Drop for Finally<F, C> {
    fn drop(&mut self) {
        // Begun in a callback, it has no place.
        let kernel = if self.place.is_entered() { self.place.leave() } else { context::running() };
        let Some(kernel) = kernel.filter(|_| self.begun) else { return };
        // What is inside has scopes of its own, and they come first. A destructor that panics must not cost the cleanup.
        let body = self.parts.body.take();
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(body)));
        if let Some(cleanup) = self.parts.cleanup.take() {
            let task = kernel.current().map(|task| task.header().name());
            let name = format!("cleanup of {}", task.as_deref().unwrap_or("a future that was dropped"));
            let draft = kernel.draft(Some(name.into()), self.made_at);
            let cleanup = HandedOver::new(cleanup);
            kernel.spawn_cleanup(draft, Rc::<Parts<_, C>>::downgrade(&cleanup.0), cleanup);
        }
        if let Err(payload) = dropped {
            if std::thread::panicking() {
                return drop_payload(payload);
            }
            resume_unwind(payload);
        }
    }
}

/// A cleanup in a task of its own. The task is in its scope from the beginning, so that the first cancellation, the one at
/// the end of `run` for example, lets the cleanup go on, as if its own task had been cancelled. The second ends it.
struct HandedOver<C: Future<Output = ()> + 'static>(Rc<Parts<std::future::Ready<()>, C>>);

impl<C: Future<Output = ()> + 'static> HandedOver<C> {
    fn new(cleanup: Pin<Box<C>>) -> Self {
        let parts = Parts {
            body: RefCell::new(None),
            cleanup: RefCell::new(Some(cleanup)),
            stage: Cell::new(Stage::Body),
            poller: Poller::default(),
        };
        HandedOver(Rc::new(parts))
    }
}

impl<C: Future<Output = ()> + 'static> Future for HandedOver<C> {
    type Output = ();

    #[track_caller]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        Scope::poll_cleanup(&*self.0, context)
    }
}

impl<F: Future, C: Future<Output = ()>> fmt::Debug for Finally<F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Finally").field("stage", &self.parts.stage.get()).field("made_at", &self.made_at).finish()
    }
}

/// Runs a future in the current task and survives its cancellation: the future is dropped, and this gives [`Cancelled`].
///
/// The task goes on behind it, in the same step, and is not cancelled any more, but [`cancelling`](crate::Task::cancelling)
/// still counts the request; [`uncancel`](crate::Task::uncancel) takes it back. Cleanups inside of the future run first. An
/// interruption by a timeout around it is caught as well. What the future awaited is cancelled, as always.
///
/// To pass the cancellation on after all, [`cancel`](crate::TaskRef::cancel) the current task.
///
/// Cancel safety: that of the future inside.
///
/// asyncio: `try: ... except CancelledError: ...`.
///
/// # Errors
///
/// [`Cancelled`] if the task was cancelled while it was in the future.
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

/// Whether a cancellation has come.
struct Catch {
    caught: Cell<bool>,
    poller: Poller,
}

impl Scope for Catch {
    fn unwind(&self, panicked: bool) -> Unwound {
        if panicked {
            return Unwound::Through;
        }
        self.caught.set(true);
        self.poller.wake();
        Unwound::Caught
    }

    fn drop_body(&self) {
        unreachable!("it has no cleanup")
    }

    fn poll_cleanup(&self, _context: &mut Context<'_>) -> Poll<()> {
        unreachable!("it has no cleanup")
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
            let future = this.future.as_mut().expect("a catch_cancel was polled after it was over");
            Ok(ready!(future.as_mut().poll(context)))
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
