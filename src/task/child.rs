//! The children of `gather`, `wait`, `as_completed` and `shield`: tasks and promises.
//!
//! A task has a row in its loop; a promise belongs to no loop. Both end once, and at their end they
//! queue calls in the order of registration. The four functions need nothing else. They do not wrap
//! a promise into a task: the task would take a step of its own, and the result would come a turn
//! later than in asyncio.
//!
//! ```text
//!   argument                  as it is read: Child<T>           as it ends: AnyChild
//!   future --- spawn --.
//!   Task<T>, &Task<T> --+---> the task, and how its             AnyTask
//!   Promise<T>, &.. --------> the promise, result is read       AnyPromise
//! ```
//!
//! Next: `gather.rs`.

use crate::kernel::Kernel;
use crate::kernel::callbacks::calls::Call;
use crate::kernel::cell::{AnyTask, Ending, Outcome, TypedTask};
use crate::kernel::explore::{Mode, Of, touch};
use crate::kernel::table::records::{Link, Then};
use crate::leaf::{abandon, check_loop, running};
use crate::task::join::{clone_outcome, take_outcome};
use crate::task::promise::{AnyPromise, Promise};
use crate::task::{CallbackId, Task};
use alloc::{rc::Rc, vec::Vec};
use core::fmt;
use core::ptr;

/// The argument of [`gather`](crate::gather()), [`as_completed`](crate::as_completed()) and
/// [`shield`](crate::shield()): a task or a promise, which is used as it is, or a future, which
/// becomes a task.
///
/// A `&Task<T>` or `&Promise<T>` keeps its result, and the result is cloned.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, IntoTask, Promise, gather, spawn};
///
/// async fn sum(parts: Vec<impl IntoTask<Output = u32> + 'static>) -> u32 {
///     gather(parts).await.unwrap().iter().sum()
/// }
///
/// EventLoop::with_virtual_clock().run(async {
///     assert_eq!(sum(vec![async { 3 }]).await, 3);
///     assert_eq!(sum(vec![spawn(async { 1 }), spawn(async { 2 })]).await, 3);
///     let promise = Promise::new();
///     promise.set_result(3).unwrap();
///     assert_eq!(sum(vec![promise]).await, 3);
/// });
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot become a task: it is no future that is `'static`, and no task or promise whose result can be read",
    note = "the result of a `&Task<T>` or a `&Promise<T>` is cloned, so `T` has to be `Clone`; otherwise pass the task or the promise by value, or use an `Rc` as `T`"
)]
pub trait IntoTask {
    /// The value on success.
    type Output;

    #[doc(hidden)]
    fn into_child(self, spawner: &Spawner) -> Child<Self::Output>;
}

/// A list of futures, tasks or promises: the argument of [`gather`](crate::gather()),
/// [`try_gather`](crate::try_gather) and [`as_completed`](crate::as_completed()). Each
/// `IntoIterator` over [`IntoTask`] is one.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, IntoTasks, TaskError, gather};
///
/// async fn count(list: impl IntoTasks) -> Result<usize, TaskError> {
///     Ok(gather(list).await?.len())
/// }
///
/// EventLoop::with_virtual_clock().run(async {
///     assert_eq!(count([async { 'a' }]).await, Ok(1));
///     assert_eq!(count((0..5).map(|n| async move { n })).await, Ok(5));
/// });
/// ```
#[diagnostic::on_unimplemented(
    message = "one list of futures, tasks or promises is expected, and `{Self}` is none",
    note = "several arguments of any types: `gather!(a(), b()).await`; one list, of one type: `gather([a(), b()]).await`"
)]
pub trait IntoTasks {
    /// The value of one of them on success.
    type Output: 'static;

    #[doc(hidden)]
    fn into_children(self, spawner: &Spawner) -> Vec<Child<Self::Output>>;
}

impl<I> IntoTasks for I
where
    I: IntoIterator,
    I::Item: IntoTask<Output: 'static>,
{
    type Output = <I::Item as IntoTask>::Output;

    #[track_caller]
    fn into_children(self, spawner: &Spawner) -> Vec<Child<Self::Output>> {
        // A loop instead of `map`: a closure would hide the caller's location from the tasks that
        // are spawned here.
        let iterable = self.into_iter();
        let mut children = Vec::with_capacity(iterable.size_hint().0);
        for item in iterable {
            children.push(item.into_child(spawner));
        }
        children
    }
}

/// What is needed to spawn a future as a task.
#[derive(Debug)]
#[doc(hidden)]
pub struct Spawner(pub(crate) Rc<Kernel>);

impl Spawner {
    #[doc(hidden)]
    #[track_caller]
    pub fn new() -> Self {
        Self::asked_by("gather()")
    }

    #[track_caller]
    pub(crate) fn asked_by(asked: &str) -> Self {
        Spawner(running(asked))
    }
}

impl<F: Future<Output: 'static> + 'static> IntoTask for F {
    type Output = F::Output;

    #[track_caller]
    fn into_child(self, spawner: &Spawner) -> Child<F::Output> {
        Task::spawn_on(&spawner.0, None, self).into_child(spawner)
    }
}

impl<T> IntoTask for Task<T> {
    type Output = T;

    #[track_caller]
    fn into_child(self, spawner: &Spawner) -> Child<T> {
        check_loop(&spawner.0, self.cell.header());
        Child(Kind::Task(self.cell, take_outcome::<T>))
    }
}

impl<T: Clone> IntoTask for &Task<T> {
    type Output = T;

    #[track_caller]
    fn into_child(self, spawner: &Spawner) -> Child<T> {
        check_loop(&spawner.0, self.cell.header());
        Child(Kind::Task(self.cell.clone(), clone_outcome::<T>))
    }
}

impl<T> IntoTask for Promise<T> {
    type Output = T;

    fn into_child(self, _: &Spawner) -> Child<T> {
        Child(Kind::Promise(self, Promise::take_outcome))
    }
}

impl<T: Clone> IntoTask for &Promise<T> {
    type Output = T;

    fn into_child(self, _: &Spawner) -> Child<T> {
        Child(Kind::Promise(self.clone(), Promise::clone_outcome))
    }
}

/// A task or a promise, for lists that contain both: for [`gather`](crate::gather()),
/// [`wait`](crate::wait()), [`as_completed`](crate::as_completed()).
///
/// asyncio: a `Future`; `Task` is a subclass of it.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, Promise, TaskOrPromise, call_soon, gather, spawn};
///
/// EventLoop::with_virtual_clock().run(async {
///     let promise = Promise::new();
///     let both: [TaskOrPromise<u32>; 2] = [spawn(async { 1 }).into(), promise.clone().into()];
///     call_soon(move || promise.set_result(2).unwrap());
///     assert_eq!(gather(&both).await, Ok(vec![1, 2]));
///     let TaskOrPromise::Task(task) = &both[0] else { unreachable!() };
///     assert_eq!(task.await, Ok(1)); // by reference, so it was left in place
/// });
/// ```
pub enum TaskOrPromise<T> {
    /// A task.
    Task(Task<T>),
    /// A promise.
    Promise(Promise<T>),
}

impl<T> From<Task<T>> for TaskOrPromise<T> {
    fn from(task: Task<T>) -> Self {
        TaskOrPromise::Task(task)
    }
}

impl<T> From<Promise<T>> for TaskOrPromise<T> {
    fn from(promise: Promise<T>) -> Self {
        TaskOrPromise::Promise(promise)
    }
}

impl<T> IntoTask for TaskOrPromise<T> {
    type Output = T;

    #[track_caller]
    fn into_child(self, spawner: &Spawner) -> Child<T> {
        match self {
            TaskOrPromise::Task(task) => task.into_child(spawner),
            TaskOrPromise::Promise(promise) => promise.into_child(spawner),
        }
    }
}

impl<T: Clone> IntoTask for &TaskOrPromise<T> {
    type Output = T;

    #[track_caller]
    fn into_child(self, spawner: &Spawner) -> Child<T> {
        match self {
            TaskOrPromise::Task(task) => task.into_child(spawner),
            TaskOrPromise::Promise(promise) => promise.into_child(spawner),
        }
    }
}

impl<T> fmt::Debug for TaskOrPromise<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TaskOrPromise::Task(task) => task.fmt(f),
            TaskOrPromise::Promise(promise) => promise.fmt(f),
        }
    }
}

/// A child, and how its result is read: taken or cloned.
#[doc(hidden)]
pub struct Child<T>(pub(crate) Kind<T>);

pub(crate) enum Kind<T> {
    Task(TypedTask<T>, fn(&TypedTask<T>) -> Outcome<T>),
    Promise(Promise<T>, fn(&Promise<T>) -> Outcome<T>),
}

impl<T> Child<T> {
    /// A task whose result is taken.
    pub(crate) fn of_task(cell: &TypedTask<T>) -> Self {
        Child(Kind::Task(cell.clone(), take_outcome::<T>))
    }

    /// A promise whose result is taken.
    pub(crate) fn of_promise(promise: &Promise<T>) -> Self {
        Child(Kind::Promise(promise.clone(), Promise::take_outcome))
    }

    pub(crate) fn read(&self) -> Outcome<T> {
        match &self.0 {
            Kind::Task(cell, read) => read(cell),
            Kind::Promise(promise, read) => read(promise),
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        match &self.0 {
            Kind::Task(cell, _) => {
                touch(Of::End, cell.header().id, Mode::Read);
                cell.header().is_done()
            }
            Kind::Promise(promise, _) => promise.is_done(),
        }
    }

    /// Whether the child was cancelled or has panicked.
    pub(crate) fn ended_without_value(&self) -> bool {
        match &self.0 {
            Kind::Task(cell, _) => cell.header().ending.get() != Some(Ending::Value),
            Kind::Promise(promise, _) => promise.is_cancelled(),
        }
    }

    #[inline]
    pub(crate) fn lend(&self) -> ChildRef<'_>
    where
        T: 'static,
    {
        ChildRef(match &self.0 {
            Kind::Task(cell, _) => Lent::Task(cell.any()),
            Kind::Promise(promise, _) => Lent::Promise(promise.any()),
        })
    }

    pub(crate) fn any(&self) -> AnyChild
    where
        T: 'static,
    {
        self.lend().into()
    }

    pub(crate) fn into_handle(self) -> TaskOrPromise<T> {
        match self.0 {
            Kind::Task(cell, _) => TaskOrPromise::Task(Task { cell }),
            Kind::Promise(promise, _) => TaskOrPromise::Promise(promise),
        }
    }
}

impl<T, E> Child<Result<T, E>> {
    /// Whether the child has ended with an `Err` of the user's.
    pub(crate) fn has_error(&self) -> bool {
        match &self.0 {
            Kind::Task(cell, _) => cell.outcome().is_some_and(|outcome| matches!(&*outcome.borrow(), Some(Ok(Err(_))))),
            Kind::Promise(promise, _) => promise.is_value(Result::is_err),
        }
    }
}

impl<T> fmt::Debug for Child<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Task(cell, _) => f.debug_tuple("Task").field(&cell.header().name()).finish(),
            Kind::Promise(promise, _) => promise.fmt(f),
        }
    }
}

/// A borrowed child of a gather, without its output type. The gather owns its children. Through
/// this type, it adds itself to each child's waiters, and queries the child later.
#[doc(hidden)]
pub struct ChildRef<'a>(pub(crate) Lent<'a>);

pub(crate) enum Lent<'a> {
    Task(&'a AnyTask),
    Promise(AnyPromise),
}

impl From<ChildRef<'_>> for AnyChild {
    fn from(child: ChildRef<'_>) -> Self {
        match child.0 {
            Lent::Task(task) => AnyChild::Task(task.clone()),
            Lent::Promise(promise) => AnyChild::Promise(promise),
        }
    }
}

impl fmt::Debug for ChildRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Lent::Task(task) => f.debug_tuple("Task").field(&task.header().name()).finish(),
            Lent::Promise(promise) => promise.fmt(f),
        }
    }
}

/// A child without its output type, owned.
#[derive(Clone)]
pub(crate) enum AnyChild {
    Task(AnyTask),
    Promise(AnyPromise),
}

impl AnyChild {
    pub(crate) fn task(&self) -> Option<&AnyTask> {
        match self {
            AnyChild::Task(task) => Some(task),
            AnyChild::Promise(_) => None,
        }
    }

    /// Where a cancellation of the awaiting task continues.
    pub(crate) fn link(&self) -> Link {
        match self {
            AnyChild::Task(task) => Link::Task(task.clone()),
            AnyChild::Promise(promise) => Link::On(promise.awaited()),
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        match self {
            AnyChild::Task(task) => {
                touch(Of::End, task.header().id, Mode::Read);
                task.header().is_done()
            }
            AnyChild::Promise(promise) => promise.is_done(),
        }
    }

    pub(crate) fn has_panicked(&self) -> bool {
        self.task().is_some_and(|task| task.header().ending.get() == Some(Ending::Panicked))
    }

    /// Some code has read how the child ended, so a panic of the child is not reported any more.
    pub(crate) fn look_at(&self) {
        if let AnyChild::Task(task) = self {
            task.header().look_at();
        }
    }

    /// Adds a call that is queued when the child ends. The child has not ended yet.
    pub(crate) fn add_call(&self, kernel: &Kernel, call: Call) -> CallbackId {
        match self {
            AnyChild::Task(task) => {
                let header = task.header();
                CallbackId::in_task(header, Some(kernel.table.add_waiter(header, Then::Queue(call))))
            }
            AnyChild::Promise(promise) => CallbackId::in_promise(promise.add_call(kernel.id(), call)),
        }
    }

    pub(crate) fn remove_call(&self, callback: CallbackId) {
        match self {
            AnyChild::Task(task) => _ = callback.remove_from(task),
            AnyChild::Promise(promise) => promise.remove_call(callback),
        }
    }

    /// Called when an await of the child is dropped. Cancels the child.
    pub(crate) fn abandon(&self) {
        match self {
            AnyChild::Task(task) => abandon(task),
            AnyChild::Promise(promise) => _ = promise.cancel(),
        }
    }

    /// Distinguishes children, as long as they exist.
    pub(crate) fn address(&self) -> *const () {
        match self {
            AnyChild::Task(task) => ptr::from_ref(task.header()).cast(),
            AnyChild::Promise(promise) => promise.address(),
        }
    }
}

/// The tasks among the children.
pub(crate) fn tasks_of(children: &[AnyChild]) -> Vec<AnyTask> {
    children.iter().filter_map(AnyChild::task).cloned().collect()
}

/// Whether a pending promise is among these children. Any code that has the promise may set it at
/// any time, so a wait for the children may end without other tasks.
pub(crate) fn may_come_from_anybody(children: &[AnyChild]) -> bool {
    children.iter().any(|child| matches!(child, AnyChild::Promise(promise) if !promise.is_done()))
}

/// `"a" (done), "b", a promise made at a.rs:1:2`. If there are many, only the first unfinished
/// ones: `1000 tasks, of which 2 live: "c", "d"`
pub(crate) fn describe_children(children: &[AnyChild], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    const MANY: usize = 8;
    let are_many = children.len() > MANY;
    let living = children.iter().filter(|child| !child.is_done()).count();
    if are_many {
        let tasks = children.iter().filter(|child| child.task().is_some()).count();
        let what = match tasks {
            0 => "promises",
            _ if tasks == children.len() => "tasks",
            _ => "tasks and promises",
        };
        write!(f, "{} {what}, of which {living} live{}", children.len(), if living == 0 { "" } else { ": " })?;
    }
    let told = children.iter().filter(|child| !are_many || !child.is_done());
    for (nth, child) in told.take(MANY).enumerate() {
        f.write_str(if nth == 0 { "" } else { ", " })?;
        match child {
            AnyChild::Task(task) => write!(f, "{:?}", task.header().name())?,
            AnyChild::Promise(promise) => promise.describe(f)?,
        }
        f.write_str(if child.is_done() { " (done)" } else { "" })?;
    }
    if are_many && living > MANY { f.write_str(", ..") } else { Ok(()) }
}

/// Like `describe_children`, for tasks only.
pub(crate) fn describe_tasks(tasks: &[AnyTask], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    describe_children(&tasks.iter().cloned().map(AnyChild::Task).collect::<Vec<_>>(), f)
}
