//! Awaiting something without taking it along when one is cancelled.
//!
//! A shield stands between whoever awaits and what is awaited: it hears of the end by a done callback, and has no links, so a
//! cancellation ends at it.

use crate::current::{Record, check_loop, running};
use crate::error::TaskError;
use crate::gather::describe_tasks;
use crate::join::{clone_outcome, take_outcome};
use crate::kernel::calls::{Call, Watcher};
use crate::kernel::task::{AnyTask, Awaited, Outcome, Then, TypedTask, Wait};
use crate::kernel::{Kernel, Token, context, keep};
use crate::promise::Promise;
use crate::task::{CallbackId, Task};
use std::cell::Cell;
use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// What [`shield`] takes: a future, `Task<T>`, `&Task<T>`, [`Promise<T>`](Promise), `&Promise<T>`.
///
/// Of what is given as a reference the result is left in place, and cloned.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, Promise, Shield, Shieldable, shield, spawn};
///
/// /// A save that was begun is not to be broken off, whatever it is.
/// fn save<S: Shieldable>(work: S) -> Shield<S::Output> {
///     println!("saving");
///     shield(work)
/// }
///
/// EventLoop::with_virtual_clock().run(async {
///     let promise = Promise::new();
///     promise.set_result(3).unwrap();
///     assert_eq!(save(async { 1 }).await, Ok(1));
///     assert_eq!(save(spawn(async { 2 })).await, Ok(2));
///     assert_eq!(save(&promise).await, Ok(3));
/// });
/// ```
#[diagnostic::on_unimplemented(
    message = "shield() takes a future, a task or a promise, and `{Self}` is none",
    note = "of a `&Task<T>` or a `&Promise<T>` the result is cloned, so `T` has to be `Clone`; a future has to be `'static`"
)]
pub trait Shieldable {
    /// What it gives when it has ended well.
    type Output;

    #[doc(hidden)]
    fn into_shielded(self, place: &Place) -> Shielded<Self::Output>;
}

/// Where the shield was made.
#[derive(Debug)]
#[doc(hidden)]
pub struct Place(Rc<Kernel>);

/// What is behind a shield, and how its result is read.
#[doc(hidden)]
pub struct Shielded<T>(Behind<T>);

enum Behind<T> {
    Task(TypedTask<T>, fn(&TypedTask<T>) -> Outcome<T>),
    Promise(Promise<T>, fn(&Promise<T>) -> Outcome<T>),
}

impl<F: Future<Output: 'static> + 'static> Shieldable for F {
    type Output = F::Output;

    #[track_caller]
    fn into_shielded(self, place: &Place) -> Shielded<F::Output> {
        Task::spawn_on(&place.0, None, self).into_shielded(place)
    }
}

impl<T> Shieldable for Task<T> {
    type Output = T;

    #[track_caller]
    fn into_shielded(self, place: &Place) -> Shielded<T> {
        check_loop(&place.0, self.cell.header());
        Shielded(Behind::Task(self.cell, take_outcome::<T>))
    }
}

impl<T: Clone> Shieldable for &Task<T> {
    type Output = T;

    #[track_caller]
    fn into_shielded(self, place: &Place) -> Shielded<T> {
        check_loop(&place.0, self.cell.header());
        Shielded(Behind::Task(self.cell.clone(), clone_outcome::<T>))
    }
}

impl<T> Shieldable for Promise<T> {
    type Output = T;

    fn into_shielded(self, _: &Place) -> Shielded<T> {
        Shielded(Behind::Promise(self, Promise::take_outcome))
    }
}

impl<T: Clone> Shieldable for &Promise<T> {
    type Output = T;

    fn into_shielded(self, _: &Place) -> Shielded<T> {
        Shielded(Behind::Promise(self.clone(), Promise::clone_outcome))
    }
}

impl<T> Behind<T> {
    fn is_done(&self) -> bool {
        match self {
            Behind::Task(cell, _) => cell.header().is_done(),
            Behind::Promise(promise, _) => promise.is_done(),
        }
    }

    fn read(&self) -> Outcome<T> {
        match self {
            Behind::Task(cell, read) => read(cell),
            Behind::Promise(promise, read) => read(promise),
        }
    }

    /// Queues the call at its end.
    fn add_call(&self, kernel: &Kernel, call: Call) -> CallbackId {
        match self {
            Behind::Task(cell, _) => {
                CallbackId::in_task(cell.header(), Some(kernel.wakers.add_waiter(cell.header(), Then::Queue(call))))
            }
            Behind::Promise(promise, _) => CallbackId::in_promise(promise.add_call(kernel.id(), call)),
        }
    }

    fn remove_call(&self, callback: CallbackId) {
        match self {
            Behind::Task(cell, _) => callback.remove_from(cell.any()),
            Behind::Promise(promise, _) => promise.remove_done_callback(callback),
        };
    }

    fn what(&self) -> What {
        match self {
            Behind::Task(cell, _) => What::Task(cell.header().token()),
            Behind::Promise(promise, _) => What::Promise(promise.made_at()),
        }
    }
}

impl<T> fmt::Debug for Behind<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Behind::Task(cell, _) => f.debug_tuple("Task").field(&cell.header().name()).finish(),
            Behind::Promise(promise, _) => promise.fmt(f),
        }
    }
}

impl<T> fmt::Debug for Shielded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Awaits a task or a promise, and keeps a cancellation from it: if the task that awaits is cancelled, what is behind the shield
/// goes on.
///
/// A future becomes a task here and now, so it runs also if the shield is never awaited. Of what has ended already the result is
/// there without a pause. If what is behind the shield is cancelled by others, the shield gives `TaskError::Cancelled`, and the
/// task that awaits is not cancelled.
///
/// Cancel safety: dropping it lets what is behind it go on; to have the result then, give a `&Task` or a `&Promise`. A panic of a
/// task at which nobody looks goes to the exception handler.
///
/// asyncio: `shield(aw)`.
///
/// # Errors
///
/// If what is behind it was cancelled, or panicked.
///
/// # Panics
///
/// If no loop is running on this thread, or if the task is of another loop. When polled, if somebody else has taken the result.
///
/// # Cost
///
/// One allocation, one more for a future. It comes back two turns after the end, one turn later than an await.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, shield, sleep, spawn};
/// use std::time::Duration;
///
/// EventLoop::with_virtual_clock().run(async {
///     let inner = spawn(async {
///         sleep(Duration::from_secs(2)).await;
///         "saved"
///     });
///     let shielded = shield(&inner);
///     let outer = spawn(shielded);
///     sleep(Duration::from_secs(1)).await;
///     outer.cancel();
///     assert!(outer.await.unwrap_err().is_cancelled());
///     assert_eq!(inner.await, Ok("saved"));
/// });
/// ```
#[track_caller]
pub fn shield<S: Shieldable>(awaitable: S) -> Shield<S::Output> {
    let place = Place(running("shield()"));
    let Shielded(behind) = awaitable.into_shielded(&place);
    let ended = Rc::new(Ended { what: behind.what(), over: Cell::new(behind.is_done()), waker: Cell::new(None) });
    let callback = (!ended.over.get()).then(|| behind.add_call(&place.0, Call::Watch(ended.clone(), 0)));
    Shield { behind, ended, callback, record: Record::here() }
}

/// Whether the end of what is behind the shield was heard of. Its callback holds it, and the shield.
struct Ended {
    what: What,
    over: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

/// What is behind the shield, for people.
enum What {
    Task(Token),
    Promise(&'static Location<'static>),
}

impl What {
    /// The task, unless it has ended.
    fn task(&self) -> Option<AnyTask> {
        match *self {
            What::Task(token) => context::loop_of(token)?.wakers.task(token),
            What::Promise(_) => None,
        }
    }
}

impl Watcher for Ended {
    fn called(&self, _: u32) {
        self.over.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// It has no links, and nothing is given to it: a cancellation ends here.
impl Awaited for Ended {
    fn tasks(&self) -> Vec<AnyTask> {
        self.what.task().into_iter().collect()
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a shield on ")?;
        match (self.what.task(), &self.what) {
            (Some(task), _) => describe_tasks(&[task], f),
            (None, What::Task(_)) => f.write_str("a task that has ended"),
            (None, What::Promise(made_at)) => write!(f, "a promise made at {made_at}"),
        }
    }
}

/// The future of [`shield`].
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, Promise, Shield, shield, spawn};
///
/// EventLoop::with_virtual_clock().run(async {
///     let promise = Promise::new();
///     // A task and a promise behind futures of one type.
///     let shields: [Shield<u8>; 2] = [shield(spawn(async { 1 })), shield(&promise)];
///     promise.set_result(2).unwrap();
///     let mut values = Vec::new();
///     for shield in shields {
///         values.push(shield.await.unwrap());
///     }
///     assert_eq!(values, [1, 2]);
/// });
/// ```
#[must_use = "what is behind it runs, but its result is lost unless the shield is awaited"]
pub struct Shield<T> {
    behind: Behind<T>,
    ended: Rc<Ended>,
    /// Our callback, until the shield is over.
    callback: Option<CallbackId>,
    record: Record,
}

impl<T> Future for Shield<T> {
    type Output = Result<T, TaskError>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.ended.over.get() {
            this.callback = None;
            this.record.end();
            return Poll::Ready(this.behind.read());
        }
        let new = keep(context.waker());
        let old = this.ended.waker.replace(Some(new));
        drop(old);
        if let Some(kernel) = context::running() {
            this.record.begin(&kernel, || Wait::On(Rc::<Ended>::downgrade(&this.ended)));
        }
        Poll::Pending
    }
}

impl<T> Drop for Shield<T> {
    fn drop(&mut self) {
        self.record.end();
        // Dropped last, since it may be a foreign one.
        let _waker = self.ended.waker.take();
        if let Some(callback) = self.callback {
            self.behind.remove_call(callback);
        }
    }
}

impl<T> fmt::Debug for Shield<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shield").field("behind", &self.behind).field("over", &self.ended.over.get()).finish()
    }
}
