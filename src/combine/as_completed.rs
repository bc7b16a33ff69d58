//! Results as they come.
//!
//! Each child's done callback, when its turn comes, puts the child's number into a queue, and wakes the first who waits at
//! it. The queue works as asyncio's does: whoever is woken has no right to what was put in, but looks again, and stands at
//! the end of the line if somebody else was faster. A place in the line that is given up is passed on.
//!
//! ```text
//!   child ends --> callback: delivered [ 2, 0 ] --> wake the first of the line [ getter, getter ]
//!   time is up --> callback: delivered [ 2, 0, up, up ], one for each child that is left
//! ```

use crate::combine::gather::children;
use crate::error::TaskError;
use crate::kernel::callbacks::calls::{Call, Watcher};
use crate::kernel::callbacks::exceptions;
use crate::kernel::cell::AnyTask;
use crate::kernel::table::records::{Awaited, Wait};
use crate::kernel::{Alarm, TimerKey, Token, clone_uncounted, context};
use crate::leaf::{Record, running};
use crate::task::child::{
    AnyChild, Child, IntoTask, TaskOrPromise, describe_children, may_come_from_anybody, tasks_of,
};
use crate::task::{CallbackId, Task};
use crate::time::timeout::Elapsed;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fmt;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Runs futures and tasks at once, awaits promises with them, and gives their results in the order in which they end.
///
/// Futures become tasks here and now, in order, so they run also if nobody asks for their results. Tasks and promises are taken as
/// they are, and what is given twice counts once; one list of both is a list of [`TaskOrPromise`]. The order is that in which the
/// done callbacks run; those that are done already are heard of in that way too, so their results come in the next turn, in the
/// order of the arguments.
///
/// A child's failure is its result, and decides nothing. Children are never cancelled: not when this is dropped, nor when a task
/// that awaits is cancelled, nor when the time is up.
///
/// asyncio: `as_completed(aws)`, both for `async for` and for the loop over coroutines.
///
/// # Panics
///
/// If no loop is running on this thread, or if a task is of another loop.
///
/// # Cost
///
/// Seven allocations, one more for each future, and two for each wait; a result comes two turns after its child's
/// end.
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
/// It takes several; a task by itself does not compile:
///
/// ```compile_fail,E0277
/// # onelane::EventLoop::with_virtual_clock().run(async {
/// onelane::as_completed(onelane::spawn(async {})); // await it
/// # });
/// ```
#[track_caller]
pub fn as_completed<I>(iterable: I) -> AsCompleted<<I::Item as IntoTask>::Output>
where
    I: IntoIterator,
    I::Item: IntoTask<Output: 'static>,
{
    let mut seen = HashSet::new();
    let mut children = children("as_completed()", iterable);
    children.retain(|child| seen.insert(child.any().address()));
    AsCompleted { owner: Owner::new(children), begun: None }
}

/// What a callback has told: the number of a child that has ended, or that the time was up for one of them.
type Delivery = Result<u32, Elapsed>;

/// What the timer calls, where children call their number.
const TIME_IS_UP: u32 = u32::MAX;

/// Several children under way. Their callbacks hold it, and whoever wants their results.
struct Completing<T> {
    loop_id: u64,
    /// By their numbers; None if it was given out.
    children: RefCell<Vec<Option<Child<T>>>>,
    /// Our callback with each child; none if it had ended when we came.
    callbacks: RefCell<Vec<Option<CallbackId>>>,
    /// So many callbacks have not been called yet.
    running: Cell<usize>,
    /// So many results are neither given out nor awaited.
    unclaimed: Cell<usize>,
    delivered: RefCell<VecDeque<Delivery>>,
    /// Those who wait, by their numbers, so in the order in which they came.
    line: RefCell<BTreeMap<u64, Rc<Getter<T>>>>,
    numbered: Cell<u64>,
    timer: Cell<Option<TimerKey>>,
    /// The time is up, or nobody wants results any more: callbacks that are still to come change nothing.
    over: Cell<bool>,
}

impl<T: 'static> Completing<T> {
    fn deliver(&self, delivery: Delivery) {
        self.delivered.borrow_mut().push_back(delivery);
        self.wake_next();
    }

    /// Wakes the first of the line that is not about to be dropped.
    fn wake_next(&self) {
        let mut line = self.line.borrow_mut();
        let first = line.iter().find(|(_, getter)| getter.stage.get() == Stage::Waiting).map(|(&number, _)| number);
        let getter = first.and_then(|number| line.remove(&number));
        drop(line);
        if let Some(getter) = getter {
            getter.stage.set(Stage::Woken);
            if let Some(waker) = getter.waker.take() {
                // Others are to be woken too, and a foreign waker that panics must not keep them from it.
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
            // The alarm is dropped here, where no borrow is held.
            drop(kernel.cancel_timer(timer));
        }
    }

    /// The children keep nothing of us from here on.
    fn remove_callbacks(&self) {
        let callbacks = self.callbacks.take();
        for (child, callback) in self.list().into_iter().zip(callbacks) {
            child.zip(callback).into_iter().for_each(|(child, callback)| child.remove_call(callback));
        }
    }

    /// By their numbers, without those that were given out.
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

/// Held by those who want results. With the last of them, the children are left alone.
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
                kernel.call_soon(call);
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

    /// The child of a delivery, which is not held here any more.
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
        // Outcomes may go with the children, so this is foreign code.
        let children = self.completing.children.take();
        drop(children);
    }
}

/// Somebody in the line.
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
    /// Something was delivered, and it is to look.
    Woken,
    /// It is about to be dropped, and does not count.
    Dying,
}

/// It has no links: a cancellation leaves the children alone.
impl<T: 'static> Awaited for Getter<T> {
    fn tasks(&self) -> Vec<AnyTask> {
        tasks_of(&self.list())
    }

    fn takers(&self) -> Option<Vec<Token>> {
        may_come_from_anybody(&self.list()).then(Vec::new)
    }

    fn interrupt(&self) {
        // One that is woken already passes that on when it is dropped.
        if self.stage.get() == Stage::Waiting {
            self.stage.set(Stage::Dying);
            // Out of the line, so that nobody has to look past it. Its future holds it.
            if let Some(completing) = self.completing.upgrade() {
                drop(completing.line.borrow_mut().remove(&self.number.get()));
            }
        }
    }

    fn resume(&self) {
        if self.stage.get() == Stage::Dying {
            // What was delivered meanwhile went past it, so it is to look.
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
    /// Those that were not given out.
    fn list(&self) -> Vec<AnyChild> {
        let list = self.completing.upgrade().map(|completing| completing.list());
        list.into_iter().flatten().flatten().collect()
    }
}

/// A right to one result, from the first poll on.
struct Claim<T: 'static> {
    owner: Rc<Owner<T>>,
    claimed: bool,
    /// Our place in the line, if we stand in it.
    place: Option<(u64, Rc<Getter<T>>)>,
    record: Record,
}

impl<T: 'static> Claim<T> {
    #[track_caller]
    fn new(owner: &Rc<Owner<T>>) -> Self {
        Claim { owner: owner.clone(), claimed: false, place: None, record: Record::here() }
    }

    /// None if nothing is left that is not claimed by others.
    #[track_caller]
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Delivery>> {
        let completing = self.owner.completing.clone();
        if !self.claimed {
            let Some(left) = completing.unclaimed.get().checked_sub(1) else { return Poll::Ready(None) };
            completing.unclaimed.set(left);
            self.claimed = true;
        }
        // A foreign waker may do anything when it is cloned or dropped, so it is put there before the look.
        let waker = clone_uncounted(context.waker());
        if let Some((_, getter)) = &self.place {
            drop(getter.waker.replace(Some(waker)));
            if getter.stage.get() == Stage::Waiting {
                self.record();
                return Poll::Pending;
            }
            // It was woken; or another task, which had begun this await, was cancelled.
            self.leave_line();
            return self.look(clone_uncounted(context.waker()));
        }
        self.look(waker)
    }

    /// Takes the first delivery, or a place at the end of the line.
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
        if let (Some(kernel), Some((_, getter))) = (context::running(), &self.place) {
            self.record.begin(&kernel, || Wait::On(Rc::<Getter<T>>::downgrade(getter)));
        }
    }

    /// Returns whether something was to be looked for.
    fn leave_line(&mut self) -> bool {
        let Some((number, getter)) = self.place.take() else { return false };
        // It is gone from there if it was woken. We hold it, so nothing is dropped under the borrow.
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

/// The children of [`as_completed`], and their results as they come.
///
/// Several tasks may await results of the same `AsCompleted` at once: they get them in the order in which they came.
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
#[must_use = "the children run, but their results are lost unless somebody asks for them"]
pub struct AsCompleted<T: 'static> {
    owner: Rc<Owner<T>>,
    /// What `poll_next` has begun.
    #[cfg_attr(not(feature = "stream"), allow(dead_code, reason = "the stream's"))]
    begun: Option<Claim<T>>,
}

impl<T> AsCompleted<T> {
    /// Waits for the next result; one that has been delivered already comes without a pause. `None` if all were given out or
    /// are awaited by others.
    ///
    /// The future holds what it needs, so that it can be given to a task, and several may wait at once. Each takes its place at
    /// its first poll.
    ///
    /// Cancel safety: nothing is lost. A result is given out when the future is ready; one that waits no longer leaves its
    /// place to the next.
    ///
    /// # Panics
    ///
    /// When polled, if somebody else has taken the result of a task or a promise that was given as a reference.
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
    pub fn next(&self) -> Next<T, Option<Result<T, TaskError>>> {
        Next::new(&self.owner, |given| given.map(|child| without_time(child).read()))
    }

    /// As [`next`](Self::next), but gives the task that has ended, with its outcome in it: so one can tell which it was.
    ///
    /// asyncio: `async for task in as_completed(tasks)`.
    ///
    /// # Panics
    ///
    /// When polled, if what has ended is a promise: [`next_child`](Self::next_child) gives both.
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
    pub fn next_task(&self) -> Next<T, Option<Task<T>>> {
        Next::new(&self.owner, |given| given.map(|child| only_task(without_time(child))))
    }

    /// As [`next_task`](Self::next_task), of tasks and promises.
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
    pub fn next_child(&self) -> Next<T, Option<TaskOrPromise<T>>> {
        Next::new(&self.owner, |given| given.map(|child| without_time(child).into_handle()))
    }

    /// Gives [`Elapsed`] for each child that has not ended `duration` after this call. Results that were delivered by then come
    /// first. The children run on.
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

    /// How many results are neither given out nor awaited: so often `next` still gives one.
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
        let delivery = std::task::ready!(claim.poll(context));
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

/// Without a timeout, no time is ever up.
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

/// What [`AsCompleted::timeout`] gives: results as they come, within a time.
///
/// Its `next` gives `Err(Elapsed)` where the time was up, once for each child that is left, and then `Ok(None)`. So a loop over
/// `next().await?` ends with the error, as asyncio's `async for` does.
///
/// The timer is gone when the last child has ended, or when this is dropped.
///
/// With the feature `stream` it is a `futures_core::Stream` of `Result<Result<T, TaskError>, Elapsed>`, and `try_next` does what
/// `next` does here.
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
#[must_use = "the children run, but their results are lost unless somebody asks for them"]
pub struct AsCompletedWithin<T: 'static> {
    all: AsCompleted<T>,
}

impl<T> AsCompletedWithin<T> {
    /// As [`AsCompleted::next`].
    ///
    /// # Errors
    ///
    /// [`Elapsed`] if the time was up for one of the children.
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
    pub fn next(&self) -> Next<T, Result<Option<Result<T, TaskError>>, Elapsed>> {
        Next::new(&self.all.owner, |given| Ok(given.transpose()?.map(|child| child.read())))
    }

    /// As [`AsCompleted::next_task`].
    ///
    /// # Errors
    ///
    /// [`Elapsed`] if the time was up for one of the children.
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
    pub fn next_task(&self) -> Next<T, Result<Option<Task<T>>, Elapsed>> {
        Next::new(&self.all.owner, |given| Ok(given.transpose()?.map(only_task)))
    }

    /// As [`AsCompleted::next_child`].
    ///
    /// # Errors
    ///
    /// [`Elapsed`] if the time was up for one of the children.
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
    pub fn next_child(&self) -> Next<T, Result<Option<TaskOrPromise<T>>, Elapsed>> {
        Next::new(&self.all.owner, |given| Ok(given.transpose()?.map(Child::into_handle)))
    }

    /// As [`AsCompleted::len`]; children for which the time was up count until that was said.
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

/// The next of several results: the future of `next`, `next_task` and `next_child` of [`AsCompleted`] and [`AsCompletedWithin`]. `O` is what it
/// gives.
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
pub struct Next<T: 'static, O> {
    claim: Claim<T>,
    give: fn(Option<Result<Child<T>, Elapsed>>) -> O,
}

impl<T: 'static, O> Next<T, O> {
    #[track_caller]
    fn new(owner: &Rc<Owner<T>>, give: fn(Option<Result<Child<T>, Elapsed>>) -> O) -> Self {
        Next { claim: Claim::new(owner), give }
    }
}

impl<T: 'static, O> Future for Next<T, O> {
    type Output = O;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<O> {
        let delivery = std::task::ready!(self.claim.poll(context));
        let given = delivery.map(|delivery| self.claim.owner.give(delivery));
        Poll::Ready((self.give)(given))
    }
}

impl<T: 'static, O> fmt::Debug for Next<T, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Next").field("begun", &self.claim.claimed).finish_non_exhaustive()
    }
}

/// Each result as it comes.
#[cfg(feature = "stream")]
#[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
impl<T> futures_core::Stream for AsCompleted<T> {
    type Item = Result<T, TaskError>;

    #[track_caller]
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let given = std::task::ready!(self.poll_claim(context));
        Poll::Ready(given.map(|child| without_time(child).read()))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let begun = usize::from(self.begun.as_ref().is_some_and(|claim| claim.claimed));
        (0, Some(self.len() + begun))
    }
}

/// Each result as it comes, and an error for each child that has not ended in time.
#[cfg(feature = "stream")]
#[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
impl<T> futures_core::Stream for AsCompletedWithin<T> {
    type Item = Result<Result<T, TaskError>, Elapsed>;

    #[track_caller]
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let given = std::task::ready!(self.all.poll_claim(context));
        Poll::Ready(given.map(|given| Ok(given?.read())))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        futures_core::Stream::size_hint(&self.all)
    }
}
