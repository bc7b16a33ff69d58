//! Results in the order in which they are ready.
//!
//! The done callback of each child pushes the child's number into a queue, and wakes the first
//! waiter of the queue. The queue works as asyncio's does: a woken waiter has no right to the item.
//! The waiter checks again, and joins the end of the line if another waiter was faster. If a woken
//! waiter is dropped before that, it wakes the next one.
//!
//! ```text
//!   child ends --> callback: delivered [ 2, 0 ] --> wake the first of the line [ getter, getter ]
//!   time is up --> callback: delivered [ 2, 0, up, up ], one for each child that is left
//! ```

use crate::error::TaskError;
use crate::kernel::callbacks::calls::{Call, Watcher};
use crate::kernel::callbacks::exceptions;
use crate::kernel::cell::AnyTask;
use crate::kernel::explore::unknown;
use crate::kernel::table::records::{Awaited, Wait};
use crate::kernel::{Alarm, TimerKey, Token, clone_uncounted, context};
use crate::leaf::{Record, running};
use crate::platform::HashSet;
use crate::task::child::{
    AnyChild, Child, IntoTasks, Spawner, TaskOrPromise, describe_children, may_come_from_anybody, tasks_of,
};
use crate::task::{CallbackId, Task};
use crate::time::timeout::Elapsed;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::rc::{Rc, Weak};
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;

/// Runs futures and tasks concurrently, awaits promises with them, and returns their results in the
/// order in which they end.
///
/// Futures become tasks immediately, in order, so they run even if the results are never requested.
/// Tasks and promises are used as they are, and duplicates count once. A list of both is a list of
/// [`TaskOrPromise`]. Results come in the order in which the done callbacks of the children are
/// called. The callbacks of children that have already ended are called in the next turn, in the
/// order of the arguments.
///
/// A child's failure is its result, and has no other effect. Children are never cancelled: not when
/// the `AsCompleted` is dropped, not when an awaiting task is cancelled, and not when the time has
/// passed.
///
/// asyncio: `as_completed(aws)`, for `async for` and for the loop over coroutines.
///
/// # Panics
///
/// If no loop is running on this thread, or if a task belongs to another loop.
///
/// # Cost
///
/// Seven allocations, a spawn per future, and two allocations per wait. A result comes two turns
/// after its child's end.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, as_completed, sleep};
/// use std::time::Duration;
///
/// EventLoop::with_virtual_clock().run(async {
///     let results = as_completed([3, 1, 2].map(|n| async move {
///         sleep(Duration::from_secs(n)).await;
///         n
///     }));
///     let mut order = Vec::new();
///     while let Some(result) = results.next().await {
///         order.push(result.unwrap());
///     }
///     assert_eq!(order, [1, 2, 3]);
/// });
/// ```
///
/// The argument is a list of children; a single task does not compile:
///
/// ```compile_fail,E0277
/// # onelane::EventLoop::with_virtual_clock().run(async {
/// onelane::as_completed(onelane::spawn(async {})); // await it
/// # });
/// ```
#[track_caller]
pub fn as_completed<I: IntoTasks>(iterable: I) -> AsCompleted<I::Output> {
    unknown("as_completed()");
    let mut seen = HashSet::new();
    let mut children = iterable.into_children(&Spawner::asked_by("as_completed()"));
    children.retain(|child| seen.insert(child.any().address()));
    AsCompleted { owner: Owner::new(children), begun: None }
}

/// A callback's message: the number of a child that has ended, or that the time has passed for one
/// of them.
type Delivery = Result<u32, Elapsed>;

/// The number for the timer's call, in place of a child's number.
const TIME_IS_UP: u32 = u32::MAX;

/// Several running children. Owned by their callbacks, and by the code that requests results.
struct Completing<T> {
    loop_id: u64,
    /// By number. `None` after the result was returned.
    children: RefCell<Vec<Option<Child<T>>>>,
    /// Our callback with each child. `None` if the child had already ended.
    callbacks: RefCell<Vec<Option<CallbackId>>>,
    /// Number of callbacks that have not been called yet.
    running: Cell<usize>,
    /// Number of results that were neither returned nor are awaited.
    unclaimed: Cell<usize>,
    delivered: RefCell<VecDeque<Delivery>>,
    /// The waiters, by number, and so in the order in which they came.
    line: RefCell<BTreeMap<u64, Rc<Getter<T>>>>,
    numbered: Cell<u64>,
    timer: Cell<Option<TimerKey>>,
    /// The time has passed, or no code can request results any more. Later callbacks have no
    /// effect.
    over: Cell<bool>,
}

impl<T: 'static> Completing<T> {
    fn deliver(&self, delivery: Delivery) {
        self.delivered.borrow_mut().push_back(delivery);
        self.wake_next();
    }

    /// Wakes the first waiter that is not about to be dropped.
    fn wake_next(&self) {
        let mut line = self.line.borrow_mut();
        let first = line.iter().find(|(_, getter)| getter.stage.get() == Stage::Waiting).map(|(&number, _)| number);
        let getter = first.and_then(|number| line.remove(&number));
        drop(line);
        if let Some(getter) = getter {
            getter.stage.set(Stage::Woken);
            if let Some(waker) = getter.waker.take() {
                // Other waiters must be woken even if another executor's waker panics.
                exceptions::tolerate(self.loop_id, exceptions::IN_A_WAKER, || waker.wake());
            }
        }
    }

    fn add_to_line(&self, getter: Rc<Getter<T>>) -> u64 {
        self.numbered.set(self.numbered.get() + 1);
        getter.number.set(self.numbered.get());
        self.line.borrow_mut().insert(self.numbered.get(), getter);
        self.numbered.get()
    }

    fn child_ended(&self, which: u32) {
        self.running.set(self.running.get() - 1);
        if self.running.get() == 0 {
            self.cancel_timer();
        }
        self.deliver(Ok(which));
    }

    fn time_is_up(&self) {
        self.over.set(true);
        self.timer.set(None);
        self.remove_callbacks();
        for _ in 0..self.running.take() {
            self.deliver(Err(Elapsed));
        }
    }

    fn cancel_timer(&self) {
        let kernel = context::find(self.loop_id);
        if let (Some(kernel), Some(timer)) = (kernel, self.timer.take()) {
            // The alarm is dropped here, where nothing is borrowed.
            drop(kernel.cancel_timer(timer));
        }
    }

    /// Removes our callbacks from the children.
    fn remove_callbacks(&self) {
        let callbacks = self.callbacks.take();
        for (child, callback) in self.list().into_iter().zip(callbacks) {
            child.zip(callback).into_iter().for_each(|(child, callback)| child.remove_call(callback));
        }
    }

    /// The children by number. `None` if a child's result was returned.
    fn list(&self) -> Vec<Option<AnyChild>> {
        self.children.borrow().iter().map(|child| child.as_ref().map(Child::any)).collect()
    }
}

impl<T: 'static> Watcher for Completing<T> {
    fn called(&self, which: u32) {
        match which {
            _ if self.over.get() => {}
            TIME_IS_UP => self.time_is_up(),
            which => self.child_ended(which),
        }
    }
}

/// Owned by the code that requests results. When the last reference is dropped, the callbacks are
/// removed; the children continue.
struct Owner<T: 'static> {
    completing: Rc<Completing<T>>,
}

impl<T: 'static> Owner<T> {
    #[track_caller]
    fn new(children: Vec<Child<T>>) -> Rc<Self> {
        let kernel = running("as_completed()");
        let completing = Rc::new(Completing {
            loop_id: kernel.id(),
            callbacks: RefCell::default(),
            running: Cell::new(children.len()),
            unclaimed: Cell::new(children.len()),
            delivered: RefCell::default(),
            line: RefCell::default(),
            numbered: Cell::new(0),
            timer: Cell::new(None),
            over: Cell::new(false),
            children: RefCell::new(children.into_iter().map(Some).collect()),
        });
        let call_back = |(which, child): (usize, Option<AnyChild>)| {
            let which =
                u32::try_from(which).ok().filter(|&which| which != TIME_IS_UP).expect("fewer than 2^32 - 1 children");
            let call = Call::Watch(completing.clone(), which);
            let child = child.expect("no child was given out yet");
            if child.is_done() {
                kernel.queue_call(call);
                return None;
            }
            Some(child.add_call(&kernel, call))
        };
        let callbacks = completing.list().into_iter().enumerate().map(call_back).collect();
        completing.callbacks.replace(callbacks);
        Rc::new(Owner { completing })
    }

    fn arm(&self, duration: Duration) {
        let Some(kernel) = context::find(self.completing.loop_id) else { return };
        if self.completing.running.get() == 0 {
            return;
        }
        self.completing.cancel_timer();
        let deadline = kernel.clock.now().after(duration);
        let alarm = Alarm::Call(Call::Watch(self.completing.clone(), TIME_IS_UP));
        self.completing.timer.set(Some(kernel.add_timer(deadline, alarm)));
    }

    fn unclaimed(&self) -> usize {
        self.completing.unclaimed.get()
    }

    /// Takes the child of a result out of the list.
    fn give(&self, delivery: Delivery) -> Result<Child<T>, Elapsed> {
        let which = delivery?;
        let child = self.completing.children.borrow_mut()[which as usize].take();
        Ok(child.expect("a child is delivered once"))
    }

    fn fmt(&self, mut out: fmt::DebugStruct<'_, '_>) -> fmt::Result {
        out.field("running", &self.completing.running.get()).field("left", &self.unclaimed()).finish()
    }
}

impl<T: 'static> Drop for Owner<T> {
    fn drop(&mut self) {
        self.completing.over.set(true);
        self.completing.cancel_timer();
        self.completing.remove_callbacks();
        // Outcomes may be dropped with the children, which runs user code.
        let children = self.completing.children.take();
        drop(children);
    }
}

/// A waiter in the line.
struct Getter<T> {
    completing: Weak<Completing<T>>,
    /// Its place in the line.
    number: Cell<u64>,
    stage: Cell<Stage>,
    waker: Cell<Option<Waker>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Waiting,
    /// A result was delivered and the waiter was woken. It must check the queue.
    Woken,
    /// The waiter is about to be dropped, and does not count.
    Dying,
}

/// Without links: a cancellation does not reach the children.
impl<T: 'static> Awaited for Getter<T> {
    fn tasks(&self) -> Vec<AnyTask> {
        tasks_of(&self.list())
    }

    fn takers(&self) -> Option<Vec<Token>> {
        may_come_from_anybody(&self.list()).then(Vec::new)
    }

    fn interrupt(&self) {
        // A waiter that is already woken wakes the next one when it is dropped.
        if self.stage.get() == Stage::Waiting {
            self.stage.set(Stage::Dying);
            // The waiter is removed from the line, so that `wake_next` does not visit it. Its
            // future still owns it.
            if let Some(completing) = self.completing.upgrade() {
                drop(completing.line.borrow_mut().remove(&self.number.get()));
            }
        }
    }

    fn resume(&self) {
        if self.stage.get() == Stage::Dying {
            // Results that were delivered in the meantime did not wake this waiter, so it must
            // check.
            self.stage.set(Stage::Woken);
            if let Some(waker) = self.waker.take() {
                waker.wake();
            }
        }
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the next to complete of ")?;
        describe_children(&self.list(), f)
    }
}

impl<T: 'static> Getter<T> {
    /// The children whose results were not returned.
    fn list(&self) -> Vec<AnyChild> {
        let list = self.completing.upgrade().map(|completing| completing.list());
        list.into_iter().flatten().flatten().collect()
    }
}

/// A claim to one result, from the first poll on.
struct Claim<T: 'static> {
    owner: Rc<Owner<T>>,
    claimed: bool,
    /// Our place in the line, while we have one.
    place: Option<(u64, Rc<Getter<T>>)>,
    record: Record,
}

impl<T: 'static> Claim<T> {
    #[track_caller]
    fn new(owner: &Rc<Owner<T>>) -> Self {
        Claim { owner: owner.clone(), claimed: false, place: None, record: Record::here() }
    }

    /// Ready with `None` if all results were returned or are claimed by others.
    #[track_caller]
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Delivery>> {
        let completing = self.owner.completing.clone();
        if !self.claimed {
            let Some(left) = completing.unclaimed.get().checked_sub(1) else { return Poll::Ready(None) };
            completing.unclaimed.set(left);
            self.claimed = true;
        }
        // Cloning or dropping another executor's waker may run any code, so the waker is stored
        // before the check.
        let waker = clone_uncounted(context.waker());
        if let Some((_, getter)) = &self.place {
            drop(getter.waker.replace(Some(waker)));
            if getter.stage.get() == Stage::Waiting {
                self.record();
                return Poll::Pending;
            }
            // The waiter was woken. Or this await has moved here from another task, which was
            // cancelled.
            self.leave_line();
            return self.look(clone_uncounted(context.waker()));
        }
        self.look(waker)
    }

    /// Takes the first result, or a place at the end of the line.
    #[track_caller]
    fn look(&mut self, waker: Waker) -> Poll<Option<Delivery>> {
        let completing = &self.owner.completing;
        self.record.end();
        let delivery = completing.delivered.borrow_mut().pop_front();
        if let Some(delivery) = delivery {
            self.claimed = false;
            return Poll::Ready(Some(delivery));
        }
        let getter = Rc::new(Getter {
            completing: Rc::downgrade(completing),
            number: Cell::new(0),
            stage: Cell::new(Stage::Waiting),
            waker: Cell::new(Some(waker)),
        });
        self.place = Some((completing.add_to_line(getter.clone()), getter));
        self.record();
        Poll::Pending
    }

    #[track_caller]
    fn record(&mut self) {
        if let Some((_, getter)) = &self.place {
            self.record.begin(|| Wait::On(Rc::<Getter<T>>::downgrade(getter)));
        }
    }

    /// Leaves the line. Returns whether the waiter was woken to check the queue.
    fn leave_line(&mut self) -> bool {
        let Some((number, getter)) = self.place.take() else { return false };
        // A woken waiter is not in the line. `place` owned the waiter too, so the borrowed map does
        // not drop it.
        self.owner.completing.line.borrow_mut().remove(&number);
        drop(getter.waker.take());
        getter.stage.get() == Stage::Woken
    }
}

impl<T: 'static> Drop for Claim<T> {
    fn drop(&mut self) {
        self.record.end();
        if !self.claimed {
            return;
        }
        let completing = self.owner.completing.clone();
        completing.unclaimed.set(completing.unclaimed.get() + 1);
        if self.leave_line() && !completing.delivered.borrow().is_empty() {
            completing.wake_next();
        }
    }
}

/// The children of [`as_completed`], and their results in the order in which they are ready.
///
/// Several tasks may await results of the same `AsCompleted` at once. The results go to them in the
/// order in which they began to wait.
///
/// With the feature `stream` it is a `futures_core::Stream` of `Result<T, TaskError>`.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, as_completed, gather};
///
/// EventLoop::with_virtual_clock().run(async {
///     let results = as_completed((1..=3).map(|n| async move { n }));
///     // Two tasks want a result at once.
///     let pair = gather([results.next(), results.next()]).await.unwrap();
///     assert_eq!(pair, [Some(Ok(1)), Some(Ok(2))]);
///     assert_eq!(results.len(), 1);
/// });
/// ```
#[must_use = "the children run, but their results are lost unless they are requested"]
pub struct AsCompleted<T: 'static> {
    owner: Rc<Owner<T>>,
    /// The future that `poll_next` has begun.
    #[cfg_attr(not(feature = "stream"), allow(dead_code, reason = "the stream's"))]
    begun: Option<Claim<T>>,
}

impl<T> AsCompleted<T> {
    /// Waits for the next result. If one has already been delivered, it is ready at once. `None` if
    /// all results were returned or are awaited by others.
    ///
    /// The future owns what it needs, so it can be spawned as a task. Several such futures may wait
    /// at once. Each takes its place in the line at its first poll.
    ///
    /// Cancel safety: no result is lost. A result is taken only when the future is ready. If a
    /// future is dropped, the next one in the line takes its place.
    ///
    /// # Panics
    ///
    /// When polled, if other code has taken the result of a task or a promise that was passed by
    /// reference.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{as_completed, spawn};
    ///
    /// onelane::EventLoop::with_virtual_clock().run(async {
    ///     let results = as_completed([spawn(async { 1 }), spawn(async { 2 })]);
    ///     let second = results.next();
    ///     // The k-th that is awaited gets the k-th result, whichever was made first.
    ///     assert_eq!(results.next().await, Some(Ok(1)));
    ///     assert_eq!(second.await, Some(Ok(2)));
    ///     assert_eq!(results.next().await, None);
    /// });
    /// ```
    #[doc(alias = "__anext__")]
    #[track_caller]
    pub fn next(&self) -> NextCompleted<T, Option<Result<T, TaskError>>> {
        NextCompleted::new(&self.owner, |given| given.map(|child| without_time(child).read()))
    }

    /// Like [`next`](Self::next), but returns the task that has ended, with its outcome in it, so
    /// that you know which task it was.
    ///
    /// asyncio: `async for task in as_completed(tasks)`.
    ///
    /// # Panics
    ///
    /// When polled, if a promise has ended; [`next_child`](Self::next_child) returns tasks and
    /// promises.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{as_completed, task::Builder};
    ///
    /// onelane::EventLoop::with_virtual_clock().run(async {
    ///     let tasks = ["tea", "egg"].map(|name| Builder::new().name(name).spawn(async {}));
    ///     let completed = as_completed(tasks);
    ///     assert_eq!(&*completed.next_task().await.unwrap().name(), "tea");
    /// });
    /// ```
    #[track_caller]
    pub fn next_task(&self) -> NextCompleted<T, Option<Task<T>>> {
        NextCompleted::new(&self.owner, |given| given.map(|child| only_task(without_time(child))))
    }

    /// Like [`next_task`](Self::next_task), for tasks and promises.
    ///
    /// asyncio: `async for future in as_completed(futures)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, Promise, TaskOrPromise, as_completed, call_soon};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let [left, right] = [Promise::new(), Promise::new()];
    ///     let completed = as_completed([&left, &right]);
    ///     let setter = right.clone();
    ///     call_soon(move || setter.set_result("first").unwrap());
    ///     let Some(TaskOrPromise::Promise(first)) = completed.next_child().await else { unreachable!() };
    ///     assert_eq!(first, right);
    /// });
    /// ```
    #[track_caller]
    pub fn next_child(&self) -> NextCompleted<T, Option<TaskOrPromise<T>>> {
        NextCompleted::new(&self.owner, |given| given.map(|child| without_time(child).into_handle()))
    }

    /// Returns [`Elapsed`] for each child that has not ended `duration` after this call. Results
    /// that were delivered by then come first. The children continue.
    ///
    /// asyncio: `as_completed(aws, timeout=...)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{Elapsed, EventLoop, as_completed, sleep, spawn};
    /// use std::time::Duration;
    ///
    /// async fn first_ones(limit: Duration) -> Result<usize, Elapsed> {
    ///     let tasks = [1, 2, 3].map(|n| spawn(sleep(Duration::from_secs(n))));
    ///     let results = as_completed(tasks).timeout(limit);
    ///     let mut count = 0;
    ///     while let Some(result) = results.next().await? {
    ///         result.unwrap();
    ///         count += 1;
    ///     }
    ///     Ok(count)
    /// }
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     assert_eq!(first_ones(Duration::from_secs(5)).await, Ok(3));
    ///     assert_eq!(first_ones(Duration::from_secs(2)).await, Err(Elapsed));
    /// });
    /// ```
    pub fn timeout(self, duration: Duration) -> AsCompletedWithin<T> {
        self.owner.arm(duration);
        AsCompletedWithin { all: self }
    }

    /// Returns the number of results that were neither returned nor are awaited: `next` still
    /// returns this many.
    ///
    /// # Examples
    ///
    /// ```
    /// onelane::EventLoop::with_virtual_clock().run(async {
    ///     let results = onelane::as_completed([1, 2].map(|n| async move { n }));
    ///     assert_eq!((results.len(), results.is_empty()), (2, false));
    ///     results.next().await;
    ///     assert_eq!(results.len(), 1);
    /// });
    /// ```
    pub fn len(&self) -> usize {
        self.owner.unclaimed()
    }

    /// Whether no result is left.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, as_completed, sleep};
    /// use std::time::Duration;
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let replicas = as_completed([1, 2, 3].map(|n| sleep(Duration::from_secs(n))));
    ///     for _ in 0..2 {
    ///         replicas.next().await; // two of three will do
    ///     }
    ///     assert!(!replicas.is_empty()); // the third is still under way
    /// });
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[cfg(feature = "stream")]
    #[track_caller]
    fn poll_claim(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Child<T>, Elapsed>>> {
        let claim = self.begun.get_or_insert_with(|| Claim::new(&self.owner));
        let delivery = core::task::ready!(claim.poll(context));
        self.begun = None;
        Poll::Ready(delivery.map(|delivery| self.owner.give(delivery)))
    }
}

fn only_task<T>(child: Child<T>) -> Task<T> {
    match child.into_handle() {
        TaskOrPromise::Task(task) => task,
        TaskOrPromise::Promise(promise) => {
            panic!(
                "next_task() was awaited, but what has completed is a {promise:?}; use next_child(), which gives both"
            )
        }
    }
}

/// Without a timeout, the time never passes.
fn without_time<T>(given: Result<Child<T>, Elapsed>) -> Child<T> {
    match given {
        Ok(child) => child,
        Err(Elapsed) => unreachable!("there is no timer"),
    }
}

impl<T> fmt::Debug for AsCompleted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.owner.fmt(f.debug_struct("AsCompleted"))
    }
}

/// Results in the order in which they are ready, within a time: returned by
/// [`AsCompleted::timeout`].
///
/// If the time has passed, `next` returns `Err(Elapsed)` once for each child that is left, and then
/// `Ok(None)`. So a loop over `next().await?` ends with the error, like asyncio's `async for`.
///
/// The timer is removed when the last child has ended, or when this is dropped.
///
/// With the feature `stream`, an `AsCompletedWithin` is a `futures_core::Stream` of
/// `Result<Result<T, TaskError>, Elapsed>`. The stream's `try_next` does what `next` does here.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, as_completed, sleep};
/// use std::time::Duration;
///
/// EventLoop::with_virtual_clock().run(async {
///     let mirrors = as_completed([1, 2, 30].map(|n| sleep(Duration::from_secs(n))));
///     let mirrors = mirrors.timeout(Duration::from_secs(5));
///     let mut in_time = 0;
///     while let Ok(Some(_)) = mirrors.next().await {
///         in_time += 1;
///     }
///     assert_eq!(in_time, 2);
/// });
/// ```
#[must_use = "the children run, but their results are lost unless they are requested"]
pub struct AsCompletedWithin<T: 'static> {
    all: AsCompleted<T>,
}

impl<T> AsCompletedWithin<T> {
    /// Like [`AsCompleted::next`].
    ///
    /// # Errors
    ///
    /// [`Elapsed`] if the time has passed for one of the children.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{Elapsed, EventLoop, as_completed, sleep};
    /// use std::time::Duration;
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let seconds = [1, 9].map(|n| sleep(Duration::from_secs(n)));
    ///     let results = as_completed(seconds).timeout(Duration::from_secs(2));
    ///     assert_eq!(results.next().await, Ok(Some(Ok(()))));
    ///     assert_eq!(results.next().await, Err(Elapsed));
    ///     assert_eq!(results.next().await, Ok(None));
    /// });
    /// ```
    #[track_caller]
    pub fn next(&self) -> NextCompleted<T, Result<Option<Result<T, TaskError>>, Elapsed>> {
        NextCompleted::new(&self.all.owner, |given| Ok(given.transpose()?.map(|child| child.read())))
    }

    /// Like [`AsCompleted::next_task`].
    ///
    /// # Errors
    ///
    /// [`Elapsed`] if the time has passed for one of the children.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{as_completed, spawn};
    /// use std::time::Duration;
    ///
    /// onelane::EventLoop::with_virtual_clock().run(async {
    ///     let (quick, slow) = (spawn(async {}), spawn(std::future::pending()));
    ///     let completed = as_completed([&slow, &quick]).timeout(Duration::from_secs(1));
    ///     assert_eq!(completed.next_task().await.unwrap().unwrap().id(), quick.id());
    ///     assert!(completed.next_task().await.is_err() && !slow.is_done());
    /// });
    /// ```
    #[track_caller]
    pub fn next_task(&self) -> NextCompleted<T, Result<Option<Task<T>>, Elapsed>> {
        NextCompleted::new(&self.all.owner, |given| Ok(given.transpose()?.map(only_task)))
    }

    /// Like [`AsCompleted::next_child`].
    ///
    /// # Errors
    ///
    /// [`Elapsed`] if the time has passed for one of the children.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{Elapsed, EventLoop, Promise, as_completed};
    /// use std::time::Duration;
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let promise = Promise::<u8>::new();
    ///     let completed = as_completed([&promise]).timeout(Duration::from_secs(1));
    ///     assert_eq!(completed.next_child().await.err(), Some(Elapsed));
    ///     assert!(!promise.is_done()); // it was not cancelled
    /// });
    /// ```
    #[track_caller]
    pub fn next_child(&self) -> NextCompleted<T, Result<Option<TaskOrPromise<T>>, Elapsed>> {
        NextCompleted::new(&self.all.owner, |given| Ok(given.transpose()?.map(Child::into_handle)))
    }

    /// Like [`AsCompleted::len`]. A child for which the time has passed counts until its error was
    /// returned.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{Elapsed, EventLoop, as_completed};
    /// use std::{future::pending, time::Duration};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let late = as_completed([pending::<()>(), pending()]).timeout(Duration::from_secs(1));
    ///     assert_eq!(late.next().await, Err(Elapsed));
    ///     assert_eq!(late.len(), 1); // of which nothing was said yet
    /// });
    /// ```
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether no result is left.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{Elapsed, EventLoop, as_completed, sleep};
    /// use std::time::Duration;
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let jobs = [1, 60, 90].map(|n| sleep(Duration::from_secs(n)));
    ///     let results = as_completed(jobs).timeout(Duration::from_secs(5));
    ///     let (mut done, mut late) = (0, 0);
    ///     while !results.is_empty() {
    ///         match results.next().await {
    ///             Ok(_) => done += 1,
    ///             Err(Elapsed) => late += 1,
    ///         }
    ///     }
    ///     assert_eq!((done, late), (1, 2));
    /// });
    /// ```
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

impl<T> fmt::Debug for AsCompletedWithin<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.all.owner.fmt(f.debug_struct("AsCompletedWithin"))
    }
}

/// The next of several results: the future of `next`, `next_task` and `next_child` of
/// [`AsCompleted`] and [`AsCompletedWithin`]. `O` is its output.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, as_completed, sleep, timeout};
/// use std::time::Duration;
///
/// EventLoop::with_virtual_clock().run(async {
///     let second = Duration::from_secs(1);
///     let results = as_completed([sleep(3 * second)]);
///     let mut next = results.next();
///     // By reference, so that it is still there when the time is up.
///     assert!(timeout(second, &mut next).await.is_err());
///     assert_eq!(next.await, Some(Ok(())));
/// });
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct NextCompleted<T: 'static, O> {
    claim: Claim<T>,
    give: fn(Option<Result<Child<T>, Elapsed>>) -> O,
}

impl<T: 'static, O> NextCompleted<T, O> {
    #[track_caller]
    fn new(owner: &Rc<Owner<T>>, give: fn(Option<Result<Child<T>, Elapsed>>) -> O) -> Self {
        NextCompleted { claim: Claim::new(owner), give }
    }
}

impl<T: 'static, O> Future for NextCompleted<T, O> {
    type Output = O;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<O> {
        let delivery = core::task::ready!(self.claim.poll(context));
        let given = delivery.map(|delivery| self.claim.owner.give(delivery));
        Poll::Ready((self.give)(given))
    }
}

impl<T: 'static, O> fmt::Debug for NextCompleted<T, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NextCompleted").field("begun", &self.claim.claimed).finish_non_exhaustive()
    }
}

/// Each result when it is ready.
#[cfg(feature = "stream")]
#[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
impl<T> futures_core::Stream for AsCompleted<T> {
    type Item = Result<T, TaskError>;

    #[track_caller]
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let given = core::task::ready!(self.poll_claim(context));
        Poll::Ready(given.map(|child| without_time(child).read()))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let begun = usize::from(self.begun.as_ref().is_some_and(|claim| claim.claimed));
        (0, Some(self.len() + begun))
    }
}

/// Each result when it is ready, and an error for each child that has not ended in time.
#[cfg(feature = "stream")]
#[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
impl<T> futures_core::Stream for AsCompletedWithin<T> {
    type Item = Result<Result<T, TaskError>, Elapsed>;

    #[track_caller]
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let given = core::task::ready!(self.all.poll_claim(context));
        Poll::Ready(given.map(|given| Ok(given?.read())))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        futures_core::Stream::size_hint(&self.all)
    }
}

#[cfg(feature = "stream")]
#[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
impl<T> futures_core::FusedStream for AsCompleted<T> {
    fn is_terminated(&self) -> bool {
        futures_core::Stream::size_hint(self).1 == Some(0)
    }
}

#[cfg(feature = "stream")]
#[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
impl<T> futures_core::FusedStream for AsCompletedWithin<T> {
    fn is_terminated(&self) -> bool {
        self.all.is_terminated()
    }
}
