//! A value that is set later: some tasks await it, other code sets it.
//!
//! A promise becomes done once, by a value or by a cancellation. It has one list of waiters: wakers
//! of awaits, and done callbacks. When the promise is done, it wakes these wakers and queues these
//! callbacks in the order of registration, as at the end of a task.
//!
//! A promise has no row in the loop's table and belongs to no loop: each of its waiters knows its
//! own loop. Wakers, callbacks and destructors are user code, and nothing is borrowed while they
//! run. The one exception is the value, which is borrowed while it is cloned. Next: `shield.rs`.

use crate::error::TaskError;
use crate::kernel::callbacks::calls::Call;
use crate::kernel::callbacks::exceptions;
use crate::kernel::callbacks::locals::Locals;
use crate::kernel::cell::{Ending, Outcome};
use crate::kernel::explore::Known;
use crate::kernel::table::records::{Awaited, Wait};
use crate::kernel::{callback_with, clone_uncounted, context, wakes_the_same};
use crate::leaf::{Record, running};
use crate::platform::thread_local;
use crate::task::CallbackId;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::rc::{Rc, Weak};
use core::cell::{Cell, Ref, RefCell};
use core::fmt;
use core::hash::{Hash, Hasher};
use core::panic::Location;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

/// A value that is set later, and that any number of tasks may await.
///
/// Await it to get `Result<T, TaskError>`. If the promise is done, the await is ready at once;
/// otherwise in the turn after the promise is set. `(&promise).await` leaves the value in place and
/// returns a clone; `promise.await` takes the value. Await by reference if several tasks need the
/// value. Cloning a promise creates another handle to the same promise. Like
/// [`Task`](crate::Task), a promise implements `IntoFuture` and not `Future`.
///
/// **A cancellation of a task that awaits a promise cancels the promise immediately. Other tasks
/// that await the promise then get [`TaskError::Cancelled`]. Dropping an await that was polled has
/// the same effect.** [`shield(&promise)`](crate::shield()) prevents that.
///
/// [`gather`](crate::gather()), [`wait`](crate::wait()), [`as_completed`](crate::as_completed()),
/// [`shield`](crate::shield()) and [`wait_for`](crate::wait_for) take a promise as it is, and do
/// not wrap it into a task. To get a task that awaits it, spawn `async { promise.await }`.
///
/// A promise may be created anywhere on the thread, and awaited in any loop of the thread. An await
/// keeps the promise alive, but cannot set it. If the last handle is dropped while a task awaits
/// the promise, that task waits for ever. A loop on a virtual clock or in debug mode reports this
/// as a deadlock, if nothing else can continue. Callbacks do not keep the promise alive. If a
/// pending promise has no handles and no awaits, its callbacks are dropped without being called.
///
/// There is no `set_exception`. To set an error, use a `Promise<Result<T, E>>`.
///
/// asyncio: `Future`, `loop.create_future()`.
///
/// # Cost
///
/// One allocation for the promise. One more for its list of up to eleven waiters; a longer list
/// takes more. Adding or removing a waiter takes O(log n).
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
    /// For callbacks: each is called with the promise.
    this: Weak<PromiseCell<T>>,
    /// `None` while it is pending.
    ending: Cell<Option<Ending>>,
    /// `None` while it is pending, and after the value was taken.
    outcome: RefCell<Option<Outcome<T>>>,
    /// By number, and so in the order of registration.
    waiters: RefCell<BTreeMap<u64, Waiter<T>>>,
    /// For an exploration that asks what a step touches.
    known: Known,
}

/// A waiter, and its loop. An await in another executor has no loop.
struct Waiter<T> {
    loop_id: Option<u64>,
    then: Then<T>,
}

type Callback<T> = Box<dyn FnOnce(&Promise<T>)>;

/// What happens when the promise is done.
enum Then<T> {
    /// Wake the awaiting task.
    Wake(Waker),
    /// Queue a callback of the crate.
    Queue(Call),
    /// Queue a callback of the user, with the task-local values that it sees. The callback gets the
    /// promise only when it is queued, so it does not keep the promise alive before that.
    CallBack(Callback<T>, Locals),
}

thread_local! {
    /// Waiters are numbered over all promises of the thread, so a number is never found in another
    /// promise. Without a destructor, so promises can be used while the thread ends.
    static NUMBERED: Cell<u64> = const { Cell::new(0) };
}

const WHILE_TELLING: &str = "a foreign waker or a destructor panicked when a promise was done";

impl<T> PromiseCell<T> {
    fn is_done(&self) -> bool {
        self.known.reads();
        self.ending.get().is_some()
    }

    fn held(&self) -> Rc<Self> {
        self.this.upgrade().unwrap_or_else(|| unreachable!("the caller holds it"))
    }

    /// Adds a waiter. Returns its number, which is never 0.
    fn add_waiter(&self, loop_id: Option<u64>, then: Then<T>) -> u64 {
        self.known.writes();
        let number = NUMBERED.get() + 1;
        NUMBERED.set(number);
        self.waiters.borrow_mut().insert(number, Waiter { loop_id, then });
        number
    }

    /// Removes a waiter, to be dropped where nothing is borrowed. `None` if it is gone.
    fn remove_waiter(&self, number: u64) -> Option<Waiter<T>> {
        self.known.writes();
        self.waiters.borrow_mut().remove(&number)
    }

    /// Adds the waker of this poll. If an earlier poll has added one (`waiter`), replaces that.
    /// Returns the waker's number.
    fn wait_in(&self, waiter: Option<u64>, loop_id: Option<u64>, context: &Context<'_>) -> u64 {
        self.known.writes();
        let is_ours = |then: &Then<T>| matches!(then, Then::Wake(old) if wakes_the_same(old, context.waker()));
        if let Some(number) = waiter {
            if self.waiters.borrow().get(&number).is_some_and(|waiter| is_ours(&waiter.then)) {
                return number;
            }
        }
        // Cloning and dropping a waker may run user code, so both happen here, where nothing is
        // borrowed.
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

    /// The only place where a promise becomes done.
    fn settle(&self, ending: Ending, outcome: Outcome<T>) {
        self.known.writes();
        let promise = Promise { cell: self.held() };
        debug_assert!(!self.is_done(), "DONE-1: a promise was set twice");
        let nothing = self.outcome.replace(Some(outcome));
        debug_assert!(nothing.is_none(), "DONE-1: a pending promise had an outcome");
        self.ending.set(Some(ending));
        // In the order of registration. No waiter can be added any more: code that checks from now
        // on finds the promise done.
        for waiter in self.waiters.take().into_values() {
            promise.tell(waiter);
        }
    }
}

/// A promise of any type.
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

    /// Queues a callback of the crate in a loop when the promise is done. Returns its number, for
    /// removing it.
    pub(crate) fn add_call(&self, loop_id: u64, call: Call) -> u64 {
        self.0.add_call(loop_id, call)
    }

    pub(crate) fn remove_call(&self, callback: CallbackId) {
        if let Some(number) = callback.number_in_promise() {
            self.0.remove_call(number);
        }
    }

    /// Returns the promise as the object of a wait. Interrupting the wait cancels the promise.
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

/// A cancelled await cancels the promise, which wakes all tasks that await it.
impl<T: 'static> Awaited for PromiseCell<T> {
    fn interrupt(&self) {
        self.cancel();
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a promise made at {}", self.made_at)
    }
}

impl<T> Promise<T> {
    /// Creates a pending promise. No loop needs to be running.
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
    #[must_use = "a promise without handles is never set"]
    #[track_caller]
    pub fn new() -> Self {
        let made_at = Location::caller();
        let new = |this: &Weak<PromiseCell<T>>| PromiseCell {
            made_at,
            this: this.clone(),
            ending: Cell::new(None),
            outcome: RefCell::new(None),
            waiters: RefCell::default(),
            known: Known::new(),
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
    ///     assert!(promise.is_cancelled()); // so the code that computes the value may stop
    /// });
    /// ```
    #[doc(alias = "cancelled")]
    pub fn is_cancelled(&self) -> bool {
        self.cell.known.reads();
        self.cell.ending.get() == Some(Ending::Cancelled)
    }

    /// Returns the outcome of a promise that is done, borrowed.
    ///
    /// asyncio: `result()`, and `exception()`.
    ///
    /// # Errors
    ///
    /// If it was cancelled.
    ///
    /// # Panics
    ///
    /// If the promise is pending. Check [`is_done`](Self::is_done) first, or await it. (asyncio
    /// raises `InvalidStateError`.) Also if its value was taken: by an await of the promise by
    /// value, or by `gather`, `as_completed` or `shield` that got the promise by value.
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
        self.cell.known.reads();
        if !self.is_done() {
            panic!("result() of a promise was called, but it is pending; check is_done(), or await it");
        }
        let outcome = self.cell.outcome.borrow();
        match &*outcome {
            None => {
                panic!(
                    "result() of a promise was called, but its value was taken; await `&promise` to leave it in place"
                )
            }
            Some(Err(error)) => Err(error.clone()),
            Some(Ok(_)) => Ok(Ref::map(outcome, |outcome| match outcome {
                Some(Ok(value)) => value,
                _ => unreachable!("it was a value just now, and is borrowed"),
            })),
        }
    }

    /// Removes a done callback. Returns false if the promise is done, because the callback is then
    /// already queued. Also if the callback was removed before, or belongs to another promise.
    ///
    /// asyncio: `remove_done_callback`, which removes all equal callbacks and returns their number.
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
        // The callback is dropped here, where nothing is borrowed.
        callback.number_in_promise().is_some_and(|number| self.cell.remove_waiter(number).is_some())
    }

    /// Notifies a waiter, in its loop. If the loop has gone, does nothing.
    ///
    /// A panic of user code belongs to no task here, and must not prevent the notification of the
    /// other waiters.
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
                    let is_running = context::running().is_some_and(|it| it.id() == kernel.id());
                    if is_running { waker.wake() } else { kernel.wake_between_turns(waker) }
                }
                (Then::Wake(waker), None) => waker.wake(),
                (Then::Queue(call), Some(kernel)) => kernel.queue_call(call),
                (Then::CallBack(callback, locals), Some(kernel)) => {
                    let promise = self.clone();
                    kernel.queue_call(callback_with(locals, move || callback(&promise)));
                }
                (Then::Queue(_) | Then::CallBack(..), None) => {}
            }
        });
        if is_wake {
            // The wake did not go through the inbox, so the host has not been called.
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
        self.cell.known.writes();
        let Ok(mut outcome) = self.cell.outcome.try_borrow_mut() else {
            panic!(
                "the value of a promise was to be taken while it was borrowed; drop the borrow that result() returned first"
            );
        };
        let taken = outcome.take().unwrap_or_else(|| {
            panic!("the value of a promise was taken twice; await `&promise` to leave it for others")
        });
        if let Err(error) = &taken {
            // A cancellation stays, for other code that reads the outcome.
            *outcome = Some(Err(error.clone()));
        }
        taken
    }

    /// Whether the promise has a value that was not taken, and that satisfies the condition.
    pub(crate) fn is_value(&self, is_such: impl FnOnce(&T) -> bool) -> bool {
        self.cell.known.reads();
        matches!(&*self.cell.outcome.borrow(), Some(Ok(value)) if is_such(value))
    }

    /// Clones the outcome of a promise that is done.
    #[track_caller]
    pub(crate) fn clone_outcome(&self) -> Outcome<T>
    where
        T: Clone,
    {
        self.cell.known.reads();
        self.cell.outcome.borrow().clone().unwrap_or_else(|| {
            panic!("the value of a promise was read after it was taken; await `&promise` everywhere")
        })
    }
}

impl<T: 'static> Promise<T> {
    /// Sets the value, wakes the tasks that await it, and queues the done callbacks, in the order
    /// of registration. May be called anywhere on the thread.
    ///
    /// asyncio: `set_result(value)`.
    ///
    /// # Errors
    ///
    /// If the promise is already done, the value is returned and nothing changes. asyncio raises
    /// `InvalidStateError` in this case; `unwrap()` on the result panics likewise. If it does not
    /// matter whether the promise was cancelled in the meantime, call `ok()`.
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

    /// Cancels the promise: tasks that await it get [`TaskError::Cancelled`]. Done callbacks are
    /// queued. Returns false if it is already done.
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

    /// Calls `callback` with this promise when the promise is done. The callback is called from the
    /// ready queue of the loop that is running now, in the turn after the promise was set;
    /// callbacks and awaits run in the order of registration. If the promise is already done, the
    /// callback is queued at once. Inside the callback, [`current_task`](crate::current_task())
    /// returns `None`.
    ///
    /// If the callback panics, the panic goes to the loop's exception handler. If the loop is
    /// dropped first, the callback is never called.
    ///
    /// A callback that captures the promise keeps it alive until the promise is done. Use the
    /// callback's argument instead.
    ///
    /// asyncio: `add_done_callback`.
    ///
    /// # Panics
    ///
    /// If no loop is running on this thread. Add the callback inside [`run`](crate::run()).
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
            kernel.queue_call(kernel.callback(move || callback(&promise)));
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

/// Whether both are handles of the same promise, not whether the values are equal.
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

/// A pending promise.
impl<T> Default for Promise<T> {
    #[track_caller]
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Promise<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cell.known.reads();
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

/// Leaves the value in place, for other awaits.
impl<T: Clone + 'static> IntoFuture for &Promise<T> {
    type Output = Result<T, TaskError>;
    type IntoFuture = Promised<T>;

    #[track_caller]
    fn into_future(self) -> Promised<T> {
        Promised { promise: self.clone(), read: Promise::clone_outcome, waiter: None, record: Record::here() }
    }
}

/// An await of a [`Promise`], as `promise.into_future()` returns it.
///
/// Cancel safety: **dropping it after its first poll cancels the promise**, for all tasks that
/// await it. Before that, nothing happens.
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
    /// How the value is read: taken or cloned.
    read: fn(&Promise<T>) -> Outcome<T>,
    /// The number of our waker among the waiters, once we wait.
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
        // Cloning another executor's waker may have set the promise.
        if cell.is_done() {
            if let Some(number) = this.waiter.take() {
                drop(cell.remove_waiter(number));
            }
            this.record.end();
            return Poll::Ready((this.read)(&this.promise));
        }
        this.record.begin(|| Wait::On(Rc::<PromiseCell<T>>::downgrade(cell)));
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
