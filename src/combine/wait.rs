//! Waiting for some of several tasks and promises.
//!
//! As in asyncio, a wait uses the done callbacks of its tasks, even of tasks that have already
//! ended. So other tasks always run before the wait is ready. The wait determines which tasks are
//! done when the waiting task is stepped, not when it is woken.

use crate::kernel::callbacks::calls::{Call, Watcher};
use crate::kernel::cell::AnyTask;
use crate::kernel::explore::unknown;
use crate::kernel::table::records::Awaited;
use crate::kernel::table::records::Wait as WaitsFor;
use crate::kernel::{Alarm, TimerKey, Token, clone_uncounted, context};
use crate::leaf::{Record, check_loop, running};
use crate::platform::HashSet;
use crate::task::child::{AnyChild, Child, TaskOrPromise, describe_children, may_come_from_anybody, tasks_of};
use crate::task::promise::Promise;
use crate::task::{CallbackId, Task, TaskRef};
use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::Cell;
use core::fmt;
use core::pin::Pin;
use core::slice;
use core::task::{Context, Poll, Waker};
use core::time::Duration;

/// A handle of a task: `Task<T>`, `&Task<T>`, and for tasks of different types [`TaskRef`].
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, TaskHandle, spawn, wait};
///
/// /// Waits until all have ended, and counts those that did not come to their own end.
/// async fn count_cancelled(tasks: Vec<impl TaskHandle>) -> usize {
///     let (done, _) = wait(tasks).await;
///     done.iter().filter(|task| task.task_ref().is_cancelled()).count()
/// }
///
/// EventLoop::with_virtual_clock().run(async {
///     let (number, word) = (spawn(async { 1 }), spawn(async { "one" }));
///     word.cancel();
///     assert_eq!(count_cancelled(vec![number.task_ref(), word.task_ref()]).await, 1);
///     assert_eq!(count_cancelled(vec![number]).await, 0);
/// });
/// ```
pub trait TaskHandle {
    /// The task of this handle.
    fn task_ref(&self) -> TaskRef;
}

impl<T> TaskHandle for Task<T> {
    fn task_ref(&self) -> TaskRef {
        Task::task_ref(self)
    }
}

impl TaskHandle for TaskRef {
    fn task_ref(&self) -> TaskRef {
        self.clone()
    }
}

impl<H: TaskHandle> TaskHandle for &H {
    fn task_ref(&self) -> TaskRef {
        (**self).task_ref()
    }
}

/// The argument of [`wait`]: a [`TaskHandle`], a [`Promise<T>`](Promise) or `&Promise<T>`, and for
/// lists of both a [`TaskOrPromise<T>`](TaskOrPromise) or a reference to one.
///
/// A bare future is none of these:
///
/// ```compile_fail,E0277
/// # onelane::EventLoop::with_virtual_clock().run(async {
/// onelane::wait([async {}]).await; // spawn() it first
/// # });
/// ```
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, Promise, ReturnWhen, Waitable, spawn, wait};
///
/// /// Waits until one of them is done, and returns how many are not.
/// async fn count_pending(things: Vec<impl Waitable>) -> usize {
///     wait(things).return_when(ReturnWhen::FirstCompleted).await.1.len()
/// }
///
/// EventLoop::with_virtual_clock().run(async {
///     assert_eq!(count_pending(vec![spawn(async {})]).await, 0);
///     let promises = [Promise::new(), Promise::new()];
///     promises[0].set_result(1).unwrap();
///     assert_eq!(count_pending(promises.iter().collect()).await, 1);
/// });
/// ```
#[diagnostic::on_unimplemented(
    message = "wait() takes tasks and promises alone, and `{Self}` is none",
    note = "make a task of a future with `onelane::spawn(..)`, or use `onelane::gather(..)`, which does it for you"
)]
pub trait Waitable {
    #[doc(hidden)]
    fn waited(&self) -> Waited;
}

/// Hides the type of children from the trait's signature.
#[doc(hidden)]
pub struct Waited(AnyChild);

impl fmt::Debug for Waited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe_children(slice::from_ref(&self.0), f)
    }
}

impl<H: TaskHandle> Waitable for H {
    fn waited(&self) -> Waited {
        Waited(AnyChild::Task(self.task_ref().cell))
    }
}

impl<T: 'static> Waitable for Promise<T> {
    fn waited(&self) -> Waited {
        Waited(AnyChild::Promise(self.any()))
    }
}

impl<T: 'static> Waitable for &Promise<T> {
    fn waited(&self) -> Waited {
        (**self).waited()
    }
}

impl<T: 'static> Waitable for TaskOrPromise<T> {
    fn waited(&self) -> Waited {
        match self {
            TaskOrPromise::Task(task) => task.waited(),
            TaskOrPromise::Promise(promise) => promise.waited(),
        }
    }
}

impl<T: 'static> Waitable for &TaskOrPromise<T> {
    fn waited(&self) -> Waited {
        (**self).waited()
    }
}

/// The argument of [`try_wait`]: a [`Waitable`] whose output is a `Result`.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, Promise, ReturnWhen, TryWaitable, try_wait};
///
/// /// Waits for the first failure, and returns how many are done by then.
/// async fn count_done(things: Vec<impl TryWaitable>) -> usize {
///     try_wait(things).return_when(ReturnWhen::FirstException).await.0.len()
/// }
///
/// EventLoop::with_virtual_clock().run(async {
///     let promises: [Promise<Result<u8, &str>>; 3] = [Promise::new(), Promise::new(), Promise::new()];
///     promises[0].set_result(Ok(1)).unwrap();
///     promises[1].set_result(Err("no")).unwrap();
///     assert_eq!(count_done(promises.iter().collect()).await, 2);
/// });
/// ```
#[diagnostic::on_unimplemented(
    message = "try_wait() takes tasks and promises alone whose output is a `Result`, and `{Self}` is none"
)]
pub trait TryWaitable: Waitable {
    /// The value on success.
    type Ok: 'static;
    /// The error on failure.
    type Error: 'static;

    #[doc(hidden)]
    fn child(&self) -> Child<Result<Self::Ok, Self::Error>>;
}

impl<T: 'static, E: 'static> TryWaitable for Task<Result<T, E>> {
    type Ok = T;
    type Error = E;

    fn child(&self) -> Child<Result<T, E>> {
        Child::of_task(&self.cell)
    }
}

impl<T: 'static, E: 'static> TryWaitable for Promise<Result<T, E>> {
    type Ok = T;
    type Error = E;

    fn child(&self) -> Child<Result<T, E>> {
        Child::of_promise(self)
    }
}

impl<T: 'static, E: 'static> TryWaitable for TaskOrPromise<Result<T, E>> {
    type Ok = T;
    type Error = E;

    fn child(&self) -> Child<Result<T, E>> {
        match self {
            TaskOrPromise::Task(task) => task.child(),
            TaskOrPromise::Promise(promise) => promise.child(),
        }
    }
}

impl<'a, H: TryWaitable> TryWaitable for &'a H
where
    &'a H: Waitable,
{
    type Ok = H::Ok;
    type Error = H::Error;

    fn child(&self) -> Child<Result<H::Ok, H::Error>> {
        (**self).child()
    }
}

/// When a [`wait`] ends.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, ReturnWhen, sleep, spawn, wait};
/// use std::time::Duration;
///
/// EventLoop::with_virtual_clock().run(async {
///     use ReturnWhen::{AllCompleted, FirstCompleted, FirstException};
///     for (when, count) in [(FirstCompleted, 1), (FirstException, 2), (AllCompleted, 3)] {
///         let tasks = [1, 2, 3].map(|n| spawn(async move {
///             sleep(Duration::from_secs(n)).await;
///             assert!(n != 2, "the second fails");
///         }));
///         let (done, _) = wait(&tasks).return_when(when).await;
///         assert_eq!(done.len(), count);
///     }
/// });
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub enum ReturnWhen {
    /// When all are done. asyncio: `ALL_COMPLETED`.
    #[default]
    #[doc(alias = "ALL_COMPLETED")]
    AllCompleted,
    /// When the first is done in any way. asyncio: `FIRST_COMPLETED`.
    #[doc(alias = "FIRST_COMPLETED")]
    FirstCompleted,
    /// When the first has panicked or, with [`try_wait`], ended with an `Err`; otherwise when all
    /// are done. A cancellation does not count as a failure. asyncio: `FIRST_EXCEPTION`.
    #[doc(alias = "FIRST_EXCEPTION")]
    FirstException,
}

/// Waits for tasks and promises, and returns those that are done and those that are pending, both
/// in the order of the arguments.
///
/// A wait takes no futures: [spawn](crate::spawn()) them first. The wait never fails because a task
/// fails. It never cancels a task or a promise, even if the wait itself is cancelled or its time
/// has passed. Duplicates count once.
///
/// Cancel safety: nothing is lost if you pass `&task` or `&promise`. Tasks that were passed by
/// value continue without a handle.
///
/// asyncio: `wait(tasks, timeout=..., return_when=...)`.
///
/// # Panics
///
/// If the list is empty. When polled, if no loop is running on this thread, or if a task belongs to
/// another loop.
///
/// # Cost
///
/// Seven allocations and a hash set of the tasks, and an entry in the ready queue when each task
/// ends.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, ReturnWhen, sleep, spawn, wait};
/// use std::time::Duration;
///
/// EventLoop::with_virtual_clock().run(async {
///     let tasks = [2, 1].map(|n| spawn(async move { sleep(Duration::from_secs(n)).await; n }));
///     let (done, pending) = wait(tasks).return_when(ReturnWhen::FirstCompleted).await;
///     assert_eq!((done.len(), pending.len()), (1, 1));
///     assert_eq!(*done[0].result().unwrap(), 1);
///
///     let (done, pending) = wait(pending).timeout(Duration::from_millis(10)).await;
///     assert_eq!((done.len(), pending.len()), (0, 1));
/// });
/// ```
#[track_caller]
pub fn wait<I>(tasks: I) -> Wait<I::Item>
where
    I: IntoIterator,
    I::Item: Waitable,
{
    unknown("wait()");
    Wait::new(distinct(tasks), |list| Box::new(move |which| list[which].has_panicked()))
}

/// Like [`wait`], for tasks and promises whose output is a `Result`: an `Err` counts as an
/// exception for [`ReturnWhen::FirstException`].
///
/// # Panics
///
/// As for [`wait`].
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, ReturnWhen, sleep, spawn, try_wait};
/// use std::time::Duration;
///
/// EventLoop::with_virtual_clock().run(async {
///     let tasks = [3, 1, 2].map(|n| spawn(async move {
///         sleep(Duration::from_secs(n)).await;
///         if n == 2 { Err("no") } else { Ok(n) }
///     }));
///     let (done, pending) = try_wait(&tasks).return_when(ReturnWhen::FirstException).await;
///     assert_eq!((done.len(), pending.len()), (2, 1));
/// });
/// ```
#[doc(alias = "wait")]
#[track_caller]
pub fn try_wait<I>(tasks: I) -> Wait<I::Item>
where
    I: IntoIterator,
    I::Item: TryWaitable,
{
    unknown("wait()");
    let handles = distinct(tasks);
    let children: Vec<_> = handles.iter().map(TryWaitable::child).collect();
    Wait::new(handles, |list| Box::new(move |which| list[which].has_panicked() || children[which].has_error()))
}

/// Each task and promise once, in the order of the arguments.
fn distinct<I>(tasks: I) -> Vec<I::Item>
where
    I: IntoIterator,
    I::Item: Waitable,
{
    let mut seen = HashSet::new();
    tasks.into_iter().filter(|handle| seen.insert(handle.waited().0.address())).collect()
}

/// A running wait: owned by the callbacks of tasks and promises, and by the code that awaits it.
struct Waiting {
    list: Rc<[AnyChild]>,
    has_failed: Box<dyn Fn(usize) -> bool>,
    return_when: Cell<ReturnWhen>,
    /// Number of ends that were not counted yet.
    left: Cell<usize>,
    /// The wait has ended; later ends have no effect.
    released: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

/// The number for the timer's call, in place of a task's number.
const TIME_IS_UP: u32 = u32::MAX;

impl Waiting {
    /// Counts one end. Returns whether the wait has ended.
    fn count(&self, which: usize) -> bool {
        self.left.set(self.left.get() - 1);
        self.left.get() == 0
            || match self.return_when.get() {
                ReturnWhen::AllCompleted => false,
                ReturnWhen::FirstCompleted => true,
                ReturnWhen::FirstException => (self.has_failed)(which),
            }
    }
}

impl Watcher for Waiting {
    fn called(&self, which: u32) {
        if self.released.get() || which != TIME_IS_UP && !self.count(which as usize) {
            return;
        }
        self.released.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// A wait has no links, so a cancelled wait does not cancel its tasks and promises.
impl Awaited for Waiting {
    fn tasks(&self) -> Vec<AnyTask> {
        tasks_of(&self.list)
    }

    fn takers(&self) -> Option<Vec<Token>> {
        may_come_from_anybody(&self.list).then(Vec::new)
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a wait on ")?;
        describe_children(&self.list, f)
    }
}

/// The future of [`wait`] and [`try_wait`].
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, Task, Wait, sleep, spawn, wait};
/// use std::time::Duration;
///
/// /// How long a program waits at its end for what is still to be done.
/// fn farewell(tasks: Vec<Task<()>>) -> Wait<Task<()>> {
///     wait(tasks).timeout(Duration::from_secs(10))
/// }
///
/// EventLoop::with_virtual_clock().run(async {
///     let tasks = [5, 50].map(|n| spawn(sleep(Duration::from_secs(n))));
///     let (_, left) = farewell(tasks.into()).await;
///     assert_eq!(left.len(), 1);
/// });
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct Wait<H> {
    handles: Vec<H>,
    waiting: Rc<Waiting>,
    timeout: Option<Duration>,
    begun: Option<WaitEntry>,
    record: Record,
}

/// What has to be undone when the wait ends.
struct WaitEntry {
    loop_id: u64,
    timer: Option<TimerKey>,
    /// Our callback with each task or promise. `None` if that had ended before the wait began.
    calls: Vec<Option<CallbackId>>,
}

impl<H: Waitable> Wait<H> {
    #[track_caller]
    fn new(handles: Vec<H>, has_failed: impl FnOnce(Rc<[AnyChild]>) -> Box<dyn Fn(usize) -> bool>) -> Self {
        assert!(!handles.is_empty(), "wait() was called with no tasks, and would wait for ever; check for that first");
        let list: Rc<[_]> = handles.iter().map(|handle| handle.waited().0).collect();
        let waiting = Waiting {
            has_failed: has_failed(list.clone()),
            return_when: Cell::new(ReturnWhen::AllCompleted),
            left: Cell::new(list.len()),
            released: Cell::new(false),
            waker: Cell::new(None),
            list,
        };
        Wait { handles, waiting: Rc::new(waiting), timeout: None, begun: None, record: Record::here() }
    }
}

impl<H> Wait<H> {
    /// Limits the wait to `duration`, counted from the first poll. Reaching the limit is no error,
    /// and cancels nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, sleep, spawn, wait};
    /// use std::time::Duration;
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let mut left = vec![spawn(sleep(Duration::from_millis(3500)))];
    ///     let mut reports = Vec::new();
    ///     while !left.is_empty() {
    ///         (_, left) = wait(left).timeout(Duration::from_secs(1)).await;
    ///         reports.push(left.len()); // each second
    ///     }
    ///     assert_eq!(reports, [1, 1, 1, 0]);
    /// });
    /// ```
    pub fn timeout(mut self, duration: Duration) -> Self {
        self.timeout = Some(duration);
        self
    }

    /// Sets when the wait ends. The default is when all are done.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, ReturnWhen, sleep, spawn, wait};
    /// use std::time::Duration;
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let mirrors = [5, 2, 9].map(|n| spawn(async move { sleep(Duration::from_secs(n)).await; n }));
    ///     let (fastest, others) = wait(mirrors).return_when(ReturnWhen::FirstCompleted).await;
    ///     others.iter().for_each(|other| drop(other.cancel()));
    ///     assert_eq!(*fastest[0].result().unwrap(), 2);
    /// });
    /// ```
    pub fn return_when(self, return_when: ReturnWhen) -> Self {
        self.waiting.return_when.set(return_when);
        self
    }

    /// Starts the timer, and registers a callback with each task and promise.
    fn begin(&self) -> WaitEntry {
        let kernel = running("poll() of a wait");
        self.waiting.list.iter().filter_map(AnyChild::task).for_each(|task| check_loop(&kernel, task.header()));
        let timer = self.timeout.map(|duration| {
            let deadline = kernel.clock.now().after(duration);
            kernel.add_timer(deadline, Alarm::Call(Call::Watch(self.waiting.clone(), TIME_IS_UP)))
        });
        let call_back = |(which, child): (usize, &AnyChild)| {
            let which =
                u32::try_from(which).ok().filter(|&which| which != TIME_IS_UP).expect("fewer than 2^32 - 1 tasks");
            let call = Call::Watch(self.waiting.clone(), which);
            if child.is_done() {
                kernel.queue_call(call);
                return None;
            }
            Some(child.add_call(&kernel, call))
        };
        let calls = self.waiting.list.iter().enumerate().map(call_back).collect();
        WaitEntry { loop_id: kernel.id(), timer, calls }
    }

    /// Undoes what `begin` did, as far as it still exists.
    fn end(&mut self) {
        self.record.end();
        let Some(begun) = self.begun.take() else { return };
        self.waiting.released.set(true);
        // Dropped last, because it may be another executor's waker.
        let _waker = self.waiting.waker.take();
        if let (Some(kernel), Some(timer)) = (context::find(begun.loop_id), begun.timer) {
            drop(kernel.cancel_timer(timer));
        }
        for (child, call) in self.waiting.list.iter().zip(begun.calls) {
            call.into_iter().for_each(|call| child.remove_call(call));
        }
    }
}

// The handles are not pinned: they are moved out when the wait ends.
impl<H> Unpin for Wait<H> {}

impl<H: Waitable> Future for Wait<H> {
    type Output = (Vec<H>, Vec<H>);

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.begun.is_none() {
            assert!(!this.handles.is_empty(), "a wait was polled after it was ready");
            this.begun = Some(this.begin());
        }
        if this.waiting.released.get() {
            this.end();
            let handles = core::mem::take(&mut this.handles);
            return Poll::Ready(handles.into_iter().partition(|handle| handle.waited().0.is_done()));
        }
        let new = clone_uncounted(context.waker());
        let old = this.waiting.waker.replace(Some(new));
        drop(old);
        this.record.begin(|| WaitsFor::On(Rc::<Waiting>::downgrade(&this.waiting)));
        Poll::Pending
    }
}

#[cfg(feature = "stream")]
#[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
impl<H: Waitable> futures_core::FusedFuture for Wait<H> {
    fn is_terminated(&self) -> bool {
        self.handles.is_empty()
    }
}

impl<H> Drop for Wait<H> {
    fn drop(&mut self) {
        self.end();
    }
}

impl<H> fmt::Debug for Wait<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wait").field("tasks", &self.waiting.list.len()).field("left", &self.waiting.left.get()).finish()
    }
}
