//! A value that comes later: somebody awaits it, somebody else sets it.
//!
//! A promise is done once, by a value or by a cancellation. Whoever waits for that stands in one list of its own: wakers of
//! awaits, and done callbacks. At the end they are woken and queued in the order in which they came, so awaits and callbacks mix
//! as they do at the end of a task.
//!
//! A promise has no row in the loop's table, and belongs to no loop: each of its waiters knows the loop in which it waits.
//! TaskTable, callbacks and values are foreign code, and nothing is borrowed while they run. Next: `shield.rs`.

use crate::error::TaskError;
use crate::kernel::callbacks::calls::Call;
use crate::kernel::callbacks::exceptions;
use crate::kernel::callbacks::locals::Locals;
use crate::kernel::cell::{Ending, Outcome};
use crate::kernel::table::records::{Awaited, Wait};
use crate::kernel::{callback_with, clone_uncounted, context, wakes_the_same};
use crate::leaf::{Record, running};
use crate::task::CallbackId;
use std::cell::{Cell, Ref, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::panic::Location;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

/// A value that somebody sets later, and any number of tasks await.
///
/// Await it to get `Result<T, TaskError>`: on a promise that is done without a pause, else in the turn after it was set.
/// `(&promise).await` leaves the value and gives a clone, `promise.await` takes it; await by reference where several want it.
/// Cloning a promise gives another handle to the same one. It is `IntoFuture` and not `Future`, as [`Task`](crate::Task) is.
///
/// **A cancellation of a task that awaits a promise cancels the promise, at the moment of `cancel()`, and with it all who await
/// it; so does dropping an await that has begun.** [`shield(&promise)`](crate::shield()) keeps it from that.
///
/// [`gather`](crate::gather()), [`wait`](crate::wait()), [`as_completed`](crate::as_completed()), [`shield`](crate::shield()) and
/// [`wait_for`](crate::wait_for) take it as it is, and make no task of it. For a task that awaits it, spawn
/// `async { promise.await }`.
///
/// It may be made anywhere on the thread, and awaited in any loop of the thread. An await keeps the promise alive, not a way
/// to set it: if the last handle is dropped while a task awaits it, that task waits for ever, which a virtual clock reports.
/// Callbacks do not keep it alive: a pending promise that nobody holds or awaits drops its callbacks uncalled.
///
/// A failure of yours is a value: `Promise<Result<T, E>>` takes the place of `set_exception`.
///
/// asyncio: `Future`, `loop.create_future()`.
///
/// # Cost
///
/// One allocation for the promise, one for the list of those who wait, however many they are up to eleven. O(log n) for each that
/// comes and goes.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, Promise, sleep, spawn};
/// use std::time::Duration;
///
/// EventLoop::with_virtual_clock().run(async {
///     let promise = Promise::new();
///     let setter = promise.clone();
///     spawn(async move {
///         sleep(Duration::from_secs(1)).await;
///         setter.set_result("tea").unwrap();
///     });
///     assert_eq!((&promise).await, Ok("tea"));
///     assert_eq!(promise.await, Ok("tea"));
/// });
/// ```
#[doc(alias = "Future")]
#[doc(alias = "create_future")]
pub struct Promise<T> {
    cell: Rc<PromiseCell<T>>,
}

struct PromiseCell<T> {
    made_at: &'static Location<'static>,
    /// For the callbacks, which are given the promise.
    this: Weak<PromiseCell<T>>,
    /// None while it is pending.
    ending: Cell<Option<Ending>>,
    /// None while it is pending, and after the value was taken.
    outcome: RefCell<Option<Outcome<T>>>,
    /// By their numbers, so in the order in which they came.
    waiters: RefCell<BTreeMap<u64, Waiter<T>>>,
}

/// Somebody who waits, and the loop in which it waits. An await in a foreign executor has none.
struct Waiter<T> {
    loop_id: Option<u64>,
    then: Then<T>,
}

type Callback<T> = Box<dyn FnOnce(&Promise<T>)>;

/// What is to be done when the promise is done.
enum Then<T> {
    /// Wake whoever awaits.
    Wake(Waker),
    /// Queue one of ours.
    Queue(Call),
    /// Queue a callback of the user's, with the task-local values that it sees. It is given the promise only then, so that it
    /// does not keep it alive before.
    CallBack(Callback<T>, Locals),
}

thread_local! {
    /// Waiters are numbered over all promises of the thread, so a number is never found in another promise. It has no
    /// destructor, so promises may be used while the thread is being torn down.
    static NUMBERED: Cell<u64> = const { Cell::new(0) };
}

const WHILE_TELLING: &str = "a foreign waker or a destructor panicked when a promise was done";

impl<T> PromiseCell<T> {
    fn is_done(&self) -> bool {
        self.ending.get().is_some()
    }

    fn held(&self) -> Rc<Self> {
        self.this.upgrade().unwrap_or_else(|| unreachable!("whoever calls this holds it"))
    }

    /// Returns a number under which the waiter can be found again; never 0.
    fn add_waiter(&self, loop_id: Option<u64>, then: Then<T>) -> u64 {
        let number = NUMBERED.get() + 1;
        NUMBERED.set(number);
        self.waiters.borrow_mut().insert(number, Waiter { loop_id, then });
        number
    }

    /// Takes a waiter out, to be dropped where no borrow is held. None if it has gone.
    fn remove_waiter(&self, number: u64) -> Option<Waiter<T>> {
        self.waiters.borrow_mut().remove(&number)
    }

    /// Enters a waker, or makes sure that it stands there.
    fn wait_in(&self, waiter: Option<u64>, loop_id: Option<u64>, context: &Context<'_>) -> u64 {
        let is_ours = |then: &Then<T>| matches!(then, Then::Wake(old) if wakes_the_same(old, context.waker()));
        if let Some(number) = waiter {
            if self.waiters.borrow().get(&number).is_some_and(|waiter| is_ours(&waiter.then)) {
                return number;
            }
        }
        // A waker's clone and its drop may be foreign code: both happen here, where no borrow is held.
        let new = Waiter { loop_id, then: Then::Wake(clone_uncounted(context.waker())) };
        let Some(number) = waiter else { return self.add_waiter(loop_id, new.then) };
        let old = self.waiters.borrow_mut().insert(number, new);
        drop(old);
        number
    }
}

impl<T: 'static> PromiseCell<T> {
    fn cancel(&self) -> bool {
        let is_pending = !self.is_done();
        if is_pending {
            self.settle(Ending::Cancelled, Err(TaskError::Cancelled));
        }
        is_pending
    }

    /// The only place where a promise is done.
    fn settle(&self, ending: Ending, outcome: Outcome<T>) {
        let promise = Promise { cell: self.held() };
        debug_assert!(!self.is_done(), "DONE-1: a promise was set twice");
        let nothing = self.outcome.replace(Some(outcome));
        debug_assert!(nothing.is_none(), "DONE-1: a pending promise had an outcome");
        self.ending.set(Some(ending));
        // In the order in which they came. Nobody comes any more: whoever looks from now on finds the promise done.
        for waiter in self.waiters.take().into_values() {
            promise.tell(waiter);
        }
    }
}

/// A promise of whatever value.
#[derive(Clone)]
#[doc(hidden)]
pub struct AnyPromise(Rc<dyn Settles>);

trait Settles {
    fn is_done(&self) -> bool;
    fn cancel(&self) -> bool;
    fn add_call(&self, loop_id: u64, call: Call) -> u64;
    fn remove_call(&self, number: u64);
    fn awaited(&self) -> Rc<dyn Awaited>;
}

impl<T: 'static> Settles for PromiseCell<T> {
    fn is_done(&self) -> bool {
        PromiseCell::is_done(self)
    }

    fn cancel(&self) -> bool {
        PromiseCell::cancel(self)
    }

    fn add_call(&self, loop_id: u64, call: Call) -> u64 {
        self.add_waiter(Some(loop_id), Then::Queue(call))
    }

    fn remove_call(&self, number: u64) {
        drop(self.remove_waiter(number));
    }

    fn awaited(&self) -> Rc<dyn Awaited> {
        self.held()
    }
}

impl AnyPromise {
    pub(crate) fn is_done(&self) -> bool {
        self.0.is_done()
    }

    pub(crate) fn cancel(&self) -> bool {
        self.0.cancel()
    }

    /// Queues one of ours in a loop when the promise is done. Returns a number under which it can be removed.
    pub(crate) fn add_call(&self, loop_id: u64, call: Call) -> u64 {
        self.0.add_call(loop_id, call)
    }

    pub(crate) fn remove_call(&self, callback: CallbackId) {
        if let Some(number) = callback.number_in_promise() {
            self.0.remove_call(number);
        }
    }

    /// As what somebody waits for; its interruption cancels it.
    pub(crate) fn awaited(&self) -> Rc<dyn Awaited> {
        self.0.awaited()
    }

    pub(crate) fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.awaited().describe(f)
    }

    pub(crate) fn address(&self) -> *const () {
        Rc::as_ptr(&self.0).cast()
    }
}

impl fmt::Debug for AnyPromise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyPromise").field("done", &self.is_done()).finish()
    }
}

/// A cancelled await cancels the promise, which wakes whoever awaits.
impl<T: 'static> Awaited for PromiseCell<T> {
    fn interrupt(&self) {
        self.cancel();
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a promise made at {}", self.made_at)
    }
}

impl<T> Promise<T> {
    /// A promise that is pending. No loop needs to be running.
    ///
    /// asyncio: `Future()`, `loop.create_future()`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, Promise, call_soon};
    /// use std::collections::BTreeMap;
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     // Requests by their numbers, until the answer comes.
    ///     let (mut asked, reply) = (BTreeMap::new(), Promise::new());
    ///     asked.insert(7, reply.clone());
    ///     call_soon(move || asked.remove(&7).unwrap().set_result("pong").unwrap());
    ///     assert_eq!(reply.await, Ok("pong"));
    /// });
    /// ```
    #[must_use = "a promise that nobody holds is never set"]
    #[track_caller]
    pub fn new() -> Self {
        let made_at = Location::caller();
        let new = |this: &Weak<PromiseCell<T>>| PromiseCell {
            made_at,
            this: this.clone(),
            ending: Cell::new(None),
            outcome: RefCell::new(None),
            waiters: RefCell::default(),
        };
        Promise { cell: Rc::new_cyclic(new) }
    }

    /// Whether it was set or cancelled.
    ///
    /// asyncio: `done()`.
    ///
    /// # Examples
    ///
    /// ```
    /// let winner = onelane::Promise::new();
    /// for name in ["hare", "tortoise"] {
    ///     if !winner.is_done() {
    ///         winner.set_result(name).unwrap();
    ///     }
    /// }
    /// assert_eq!(*winner.result().unwrap(), "hare");
    /// ```
    #[doc(alias = "done")]
    pub fn is_done(&self) -> bool {
        self.cell.is_done()
    }

    /// Whether it was cancelled.
    ///
    /// asyncio: `cancelled()`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, Promise, spawn, yield_now};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let promise = Promise::<u32>::new();
    ///     let reader = spawn(promise.clone().into_future());
    ///     yield_now().await;
    ///     reader.cancel();
    ///     assert!(promise.is_cancelled()); // so whoever works on the value may stop
    /// });
    /// ```
    #[doc(alias = "cancelled")]
    pub fn is_cancelled(&self) -> bool {
        self.cell.ending.get() == Some(Ending::Cancelled)
    }

    /// The outcome of a promise that is done, borrowed.
    ///
    /// asyncio: `result()`, and `exception()`.
    ///
    /// # Errors
    ///
    /// If it was cancelled.
    ///
    /// # Panics
    ///
    /// If it is pending, where asyncio raises `InvalidStateError`: ask [`is_done`](Self::is_done), or await it. If its value was
    /// taken, which only somebody who awaits a promise by value can do.
    ///
    /// # Examples
    ///
    /// ```
    /// let promise = onelane::Promise::new();
    /// promise.set_result(42).unwrap();
    /// assert_eq!(*promise.result().unwrap(), 42);
    /// ```
    #[doc(alias = "exception")]
    #[track_caller]
    pub fn result(&self) -> Result<Ref<'_, T>, TaskError> {
        if !self.is_done() {
            panic!("result() of a promise was asked for, but it is pending; check is_done(), or await it");
        }
        let outcome = self.cell.outcome.borrow();
        match &*outcome {
            None => {
                panic!("result() of a promise was asked for, but it was taken; await `&promise` to leave it there")
            }
            Some(Err(error)) => Err(error.clone()),
            Some(Ok(_)) => Ok(Ref::map(outcome, |outcome| match outcome {
                Some(Ok(value)) => value,
                _ => unreachable!("it was a value just now, and is borrowed"),
            })),
        }
    }

    /// Removes a done callback. False if the promise is done, so that it is queued already, or if it was removed, or is not
    /// this promise's.
    ///
    /// asyncio: `remove_done_callback`, which finds it by equality and answers how many it removed.
    ///
    /// # Examples
    ///
    /// ```
    /// onelane::EventLoop::with_virtual_clock().run(async {
    ///     let promise = onelane::Promise::new();
    ///     let callback = promise.add_done_callback(|_| unreachable!());
    ///     assert!(promise.remove_done_callback(callback));
    ///     promise.set_result(()).unwrap();
    ///     onelane::yield_now().await;
    /// });
    /// ```
    pub fn remove_done_callback(&self, callback: CallbackId) -> bool {
        // What comes out is dropped here, where no borrow is held.
        callback.number_in_promise().is_some_and(|number| self.cell.remove_waiter(number).is_some())
    }

    /// Does what is to be done for somebody who waits, in the loop in which it waits. If that has gone, nothing is to be done.
    ///
    /// A panic of foreign code is nobody's here, and must not keep the others from being told.
    fn tell(&self, waiter: Waiter<T>)
    where
        T: 'static,
    {
        let Waiter { loop_id, then } = waiter;
        let (is_wake, known) = (matches!(then, Then::Wake(_)), loop_id.unwrap_or(0));
        exceptions::tolerate(known, WHILE_TELLING, || {
            let kernel = loop_id.and_then(context::find);
            match (then, kernel) {
                (Then::Wake(waker), Some(kernel)) => {
                    // Between two turns, a wake would go through the inbox, and come behind all callbacks.
                    let is_running = context::running().is_some_and(|it| it.id() == kernel.id());
                    let _entered = (!is_running).then(|| context::enter_to_wake(&kernel));
                    waker.wake();
                }
                (Then::Wake(waker), None) => waker.wake(),
                (Then::Queue(call), Some(kernel)) => _ = kernel.call_soon(call),
                (Then::CallBack(callback, locals), Some(kernel)) => {
                    let promise = self.clone();
                    kernel.call_soon(callback_with(locals, move || callback(&promise)));
                }
                (Then::Queue(_) | Then::CallBack(..), None) => {}
            }
        });
        if is_wake {
            // It did not go through the inbox, so nobody has called the host.
            loop_id.and_then(context::find).iter().for_each(|kernel| kernel.work_arrived());
        }
    }

    pub(crate) fn any(&self) -> AnyPromise
    where
        T: 'static,
    {
        AnyPromise(self.cell.clone())
    }

    /// Takes the outcome of a promise that is done.
    #[track_caller]
    pub(crate) fn take_outcome(&self) -> Outcome<T> {
        let Ok(mut outcome) = self.cell.outcome.try_borrow_mut() else {
            panic!("the value of a promise was to be taken while it was borrowed; let go of what result() gave first");
        };
        let taken = outcome.take().unwrap_or_else(|| {
            panic!("the value of a promise was asked for twice; await `&promise` to leave it for others")
        });
        if let Err(error) = &taken {
            // A cancellation stays, for whoever else reads the outcome.
            *outcome = Some(Err(error.clone()));
        }
        taken
    }

    /// Whether its value is there, and is such.
    pub(crate) fn is_value(&self, is_such: impl FnOnce(&T) -> bool) -> bool {
        matches!(&*self.cell.outcome.borrow(), Some(Ok(value)) if is_such(value))
    }

    /// Clones the outcome of a promise that is done.
    #[track_caller]
    pub(crate) fn clone_outcome(&self) -> Outcome<T>
    where
        T: Clone,
    {
        self.cell.outcome.borrow().clone().unwrap_or_else(|| {
            panic!("the value of a promise was asked for after it was taken; let everybody await `&promise`")
        })
    }
}

impl<T: 'static> Promise<T> {
    /// Sets the value, wakes those who await it, and queues the done callbacks, in the order in which they came. May be called
    /// from anywhere on the thread.
    ///
    /// asyncio: `set_result(value)`.
    ///
    /// # Errors
    ///
    /// If it is done already, the value comes back, and nothing happens. asyncio raises `InvalidStateError`; to get that,
    /// `unwrap()`. A program that does not care whether the promise was cancelled meanwhile calls `ok()`.
    ///
    /// # Examples
    ///
    /// ```
    /// let promise = onelane::Promise::new();
    /// assert_eq!(promise.set_result(1), Ok(()));
    /// assert_eq!(promise.set_result(2), Err(2));
    /// assert_eq!(onelane::EventLoop::with_virtual_clock().run(promise), Ok(1));
    /// ```
    pub fn set_result(&self, value: T) -> Result<(), T> {
        if self.is_done() {
            return Err(value);
        }
        self.cell.settle(Ending::Value, Ok(value));
        Ok(())
    }

    /// Gives it up: whoever awaits it gets [`TaskError::Cancelled`]. Done callbacks are queued. False if it is done already.
    ///
    /// asyncio: `cancel()`.
    ///
    /// # Examples
    ///
    /// ```
    /// onelane::EventLoop::with_virtual_clock().run(async {
    ///     let promise = onelane::Promise::<()>::new();
    ///     assert!(promise.cancel() && !promise.cancel());
    ///     assert_eq!(promise.await, Err(onelane::TaskError::Cancelled));
    /// });
    /// ```
    pub fn cancel(&self) -> bool {
        self.cell.cancel()
    }

    /// Calls `callback` with this promise when it is done, from the ready queue of the loop that is running now: in the turn
    /// after it was set, in the order in which callbacks and awaits came. On a promise that is done already it is queued at
    /// once. Inside of it [`current_task`](crate::current_task()) is `None`.
    ///
    /// A panic of it goes to the loop's exception handler. If the loop is dropped first, it is never called.
    ///
    /// A callback that holds the promise keeps it alive until it is done; use the one that it is given.
    ///
    /// asyncio: `add_done_callback`.
    ///
    /// # Panics
    ///
    /// If no loop is running on this thread: add it from inside of [`run`](crate::run()).
    ///
    /// # Cost
    ///
    /// Two allocations, and an entry of the ready queue.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{cell::Cell, rc::Rc};
    ///
    /// let seen = Rc::new(Cell::new(0));
    /// let copy = seen.clone();
    /// onelane::EventLoop::with_virtual_clock().run(async move {
    ///     let promise = onelane::Promise::new();
    ///     promise.add_done_callback(move |promise| copy.set(*promise.result().unwrap()));
    ///     promise.set_result(42).unwrap();
    ///     onelane::yield_now().await;
    /// });
    /// assert_eq!(seen.get(), 42);
    /// ```
    #[track_caller]
    pub fn add_done_callback(&self, callback: impl FnOnce(&Promise<T>) + 'static) -> CallbackId {
        let kernel = running("add_done_callback() of a promise");
        if self.is_done() {
            let promise = self.clone();
            kernel.call_soon(kernel.callback(move || callback(&promise)));
            return CallbackId::in_promise(0);
        }
        let then = Then::CallBack(Box::new(callback), kernel.locals_for_callback());
        CallbackId::in_promise(self.cell.add_waiter(Some(kernel.id()), then))
    }
}

/// Another handle to the same promise.
impl<T> Clone for Promise<T> {
    fn clone(&self) -> Self {
        Promise { cell: self.cell.clone() }
    }
}

/// Whether they are the same promise, and not two of the same value.
impl<T> PartialEq for Promise<T> {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.cell, &other.cell)
    }
}

impl<T> Eq for Promise<T> {}

impl<T> Hash for Promise<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Rc::as_ptr(&self.cell).hash(state);
    }
}

/// A promise that is pending.
impl<T> Default for Promise<T> {
    #[track_caller]
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Promise<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.cell.ending.get() {
            None => "pending",
            Some(Ending::Cancelled) => "cancelled",
            Some(_) => "set",
        };
        f.debug_struct("Promise")
            .field("state", &format_args!("{state}"))
            .field("waiters", &self.cell.waiters.borrow().len())
            .field("made_at", &format_args!("{}", self.cell.made_at))
            .finish()
    }
}

/// Takes the value.
impl<T: 'static> IntoFuture for Promise<T> {
    type Output = Result<T, TaskError>;
    type IntoFuture = Promised<T>;

    #[track_caller]
    fn into_future(self) -> Promised<T> {
        Promised { promise: self, read: Promise::take_outcome, waiter: None, record: Record::here() }
    }
}

/// Leaves the value in place, for others.
impl<T: Clone + 'static> IntoFuture for &Promise<T> {
    type Output = Result<T, TaskError>;
    type IntoFuture = Promised<T>;

    #[track_caller]
    fn into_future(self) -> Promised<T> {
        Promised { promise: self.clone(), read: Promise::clone_outcome, waiter: None, record: Record::here() }
    }
}

/// An await of a [`Promise`]: what `promise.into_future()` gives.
///
/// Cancel safety: **dropping it once it was polled cancels the promise**, for all who await it. Before, nothing happens.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, Promise, Promised};
///
/// EventLoop::with_virtual_clock().run(async {
///     let promise = Promise::new();
///     let readers: [Promised<char>; 2] = [(&promise).into_future(), (&promise).into_future()];
///     promise.set_result('a').unwrap();
///     for reader in readers {
///         assert_eq!(reader.await, Ok('a'));
///     }
/// });
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct Promised<T: 'static> {
    promise: Promise<T>,
    /// How the value is read: taken out, or cloned.
    read: fn(&Promise<T>) -> Outcome<T>,
    /// The number of our waker among those who wait, once we wait.
    waiter: Option<u64>,
    record: Record,
}

impl<T: 'static> Future for Promised<T> {
    type Output = Result<T, TaskError>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let cell = &this.promise.cell;
        let kernel = context::running();
        if !cell.is_done() {
            this.waiter = Some(cell.wait_in(this.waiter, kernel.as_ref().map(|kernel| kernel.id()), context));
        }
        // A foreign waker may have set the promise when it was cloned.
        if cell.is_done() {
            if let Some(number) = this.waiter.take() {
                drop(cell.remove_waiter(number));
            }
            this.record.end();
            return Poll::Ready((this.read)(&this.promise));
        }
        if let Some(kernel) = kernel {
            this.record.begin(&kernel, || Wait::On(Rc::<PromiseCell<T>>::downgrade(cell)));
        }
        Poll::Pending
    }
}

impl<T: 'static> Drop for Promised<T> {
    fn drop(&mut self) {
        self.record.end();
        let Some(number) = self.waiter else { return };
        let waiter = self.promise.cell.remove_waiter(number);
        self.promise.cancel();
        drop(waiter);
    }
}

impl<T: 'static> fmt::Debug for Promised<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Promised").field("promise", &self.promise).field("begun", &self.waiter.is_some()).finish()
    }
}
