//! Tasks as their users hold them: [`Task`] with the type of its output, [`TaskRef`] without, and how they are spawned.
//!
//! What a task *is* stands in `kernel/task.rs`, how it is awaited in `join.rs`.

use crate::current::{cancel, running, uncancel};
use crate::error::TaskError;
use crate::join::Join;
use crate::kernel::task::{AnyTask, Ending, Then, TypedTask, same};
use crate::kernel::{Kernel, State, context};
use std::cell::Ref;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::panic::Location;
use std::rc::Rc;

/// Starts a task on the running loop.
///
/// The future is polled first in the next turn, behind everything that is ready now. Dropping the [`Task`] lets it run on; to
/// have its result, await it.
///
/// asyncio: `create_task(coro)`.
///
/// # Panics
///
/// If no loop is running on this thread: call it from inside of [`run`](crate::run()), or use
/// [`EventLoop::spawn`](crate::EventLoop::spawn).
///
/// # Cost
///
/// One allocation, one entry of the ready queue.
///
/// # Examples
///
/// ```
/// let value = onelane::run(async {
///     let task = onelane::spawn(async { 6 * 7 });
///     task.await
/// });
/// assert_eq!(value, Ok(42));
/// ```
#[doc(alias = "create_task")]
#[doc(alias = "ensure_future")]
#[track_caller]
pub fn spawn<F>(future: F) -> Task<F::Output>
where
    F: Future + 'static,
{
    Task::spawn_on(&running("spawn()"), None, future)
}

/// Makes a task that has a name.
///
/// asyncio: `create_task(coro, name=...)`.
///
/// # Examples
///
/// ```
/// onelane::run(async {
///     let task = onelane::task::Builder::new().name("answer").spawn(async { 42 });
///     assert_eq!(&*task.name(), "answer");
/// });
/// ```
#[derive(Clone, Default, Debug)]
#[must_use = "a builder makes nothing until `spawn`"]
pub struct Builder {
    name: Option<Rc<str>>,
}

impl Builder {
    /// A builder for a task that is named after its number, `Task-7`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Names the task.
    #[doc(alias = "create_task")]
    pub fn name(mut self, name: impl Into<Rc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Starts the task, as [`spawn`](crate::spawn()) does.
    ///
    /// # Panics
    ///
    /// If no loop is running on this thread.
    #[track_caller]
    pub fn spawn<F>(self, future: F) -> Task<F::Output>
    where
        F: Future + 'static,
    {
        Task::spawn_on(&running("task::Builder::spawn()"), self.name, future)
    }
}

/// A task whose result is a `T`.
///
/// Await it to get `Result<T, TaskError>`; `task.await` takes the result, `(&task).await` leaves it and gives a clone.
/// **Dropping a `Task` lets it run on; dropping an await of it that has begun cancels it.** It is `IntoFuture` and not `Future`,
/// so that the two are told apart.
///
/// Neither `Send` nor `Sync`: a task lives on the thread of its loop. It keeps the outcome, not the loop.
///
/// asyncio: `Task`.
///
/// # Examples
///
/// ```
/// use onelane::{TaskError, sleep, spawn};
/// use std::time::Duration;
///
/// onelane::EventLoop::with_virtual_clock().run(async {
///     let task = spawn(async {
///         sleep(Duration::from_secs(3600)).await;
///     });
///     task.cancel();
///     assert_eq!(task.await, Err(TaskError::Cancelled));
/// });
/// ```
pub struct Task<T> {
    pub(crate) cell: Rc<dyn TypedTask<T>>,
}

/// Names a done callback of a task or a promise, so that it can be removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CallbackId {
    loop_id: u64,
    /// No task is number 0: then it is a promise's.
    task: TaskId,
    /// Its number among those who wait; 0 if what it waits for had ended.
    number: u64,
}

impl CallbackId {
    /// Promises belong to no loop, and number those who wait for any of them.
    pub(crate) fn in_promise(number: u64) -> Self {
        CallbackId { loop_id: 0, task: TaskId(0), number }
    }

    pub(crate) fn number_in_promise(self) -> Option<u64> {
        (self.task == TaskId(0)).then_some(self.number)
    }
}

impl<T: 'static> Task<T> {
    /// Calls `callback` with this task when it has ended, from the ready queue: in the turn after the end, in the order in
    /// which callbacks and awaits came. On a task that has ended already it is queued at once. Inside of it
    /// [`current_task`](crate::current_task()) is `None`.
    ///
    /// A panic of it goes to the loop's exception handler. If the loop is dropped first, so is the callback.
    ///
    /// asyncio: `add_done_callback`.
    ///
    /// # Cost
    ///
    /// One allocation, and one more if several wait for the task.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{cell::Cell, rc::Rc};
    ///
    /// let seen = Rc::new(Cell::new(0));
    /// let copy = seen.clone();
    /// onelane::run(async move {
    ///     let task = onelane::spawn(async { 42 });
    ///     task.add_done_callback(move |task| copy.set(*task.result().unwrap()));
    ///     assert_eq!((&task).await, Ok(42));
    /// });
    /// assert_eq!(seen.get(), 42);
    /// ```
    pub fn add_done_callback(&self, callback: impl FnOnce(&Task<T>) + 'static) -> CallbackId {
        let task = Task { cell: self.cell.clone() };
        let callback = move || callback(&task);
        let header = self.cell.header();
        let mut number = 0;
        // If the loop has gone, the task has ended, and nobody is left to call it.
        if let Some(kernel) = context::find(header.loop_id) {
            let call = kernel.callback(callback);
            if header.is_done() {
                kernel.call_soon(call);
            } else {
                number = header.add_waiter(Then::Queue(call));
            }
        }
        CallbackId { loop_id: header.loop_id, task: self.id(), number }
    }

    /// Removes a done callback. False if it was queued already, or removed, or is another task's.
    ///
    /// asyncio: `remove_done_callback`, which finds it by equality and answers how many it removed.
    pub fn remove_done_callback(&self, callback: CallbackId) -> bool {
        let header = self.cell.header();
        let is_ours = (callback.loop_id, callback.task) == (header.loop_id, self.id());
        // What comes out is dropped here, where no borrow is held.
        is_ours && header.remove_waiter(callback.number).is_some()
    }
}

impl<T> Task<T> {
    #[track_caller]
    pub(crate) fn spawn_on<F>(kernel: &Kernel, name: Option<Rc<str>>, future: F) -> Self
    where
        F: Future<Output = T> + 'static,
    {
        let header = kernel.new_header(name, Location::caller());
        Task { cell: kernel.spawn(header, future) }
    }

    /// The outcome of a task that has ended, borrowed.
    ///
    /// asyncio: `result()`, and `exception()`.
    ///
    /// # Errors
    ///
    /// If the task was cancelled or panicked.
    ///
    /// # Panics
    ///
    /// If the task has not ended: ask [`is_done`](Self::is_done), or await it. If its result was taken, which only somebody who
    /// awaits a `Task` by value can do.
    #[doc(alias = "exception")]
    #[track_caller]
    pub fn result(&self) -> Result<Ref<'_, T>, TaskError> {
        let header = self.cell.header();
        if !header.is_done() {
            panic!(
                "result() of task {:?} was asked for, but it has not ended; check is_done(), or await it",
                header.name()
            );
        }
        header.looked_at.set(true);
        let outcome = self.cell.outcome().borrow();
        match &*outcome {
            None => panic!(
                "result() of task {:?} was asked for, but it was taken; await `&task` to leave it there",
                header.name()
            ),
            Some(Err(error)) => Err(error.clone()),
            Some(Ok(_)) => Ok(Ref::map(outcome, |outcome| match outcome {
                Some(Ok(value)) => value,
                _ => unreachable!("it was a value just now, and is borrowed"),
            })),
        }
    }

    /// Asks the task to end: its future is dropped, on this thread, at its next turn. What it awaits is cancelled first, so its
    /// children have ended when its destructors run. False if it has ended; then, if it panicked, the exception handler is not
    /// told any more: whoever cancels a task knows that it may have failed.
    ///
    /// A task that was never stepped never runs. One that is being stepped ends as cancelled, if it returns in this step.
    ///
    /// asyncio: `cancel()`.
    ///
    /// # Examples
    ///
    /// ```
    /// onelane::run(async {
    ///     let task = onelane::spawn(async { unreachable!() });
    ///     assert!(task.cancel());
    ///     assert!(task.await.unwrap_err().is_cancelled());
    /// });
    /// ```
    pub fn cancel(&self) -> bool {
        ask_to_end(&self.erased())
    }

    /// How often a cancellation was asked for, less what was taken back.
    ///
    /// asyncio: `cancelling()`.
    ///
    /// # Examples
    ///
    /// ```
    /// onelane::run(async {
    ///     let task = onelane::spawn(async {});
    ///     task.cancel();
    ///     task.cancel();
    ///     assert_eq!(task.cancelling(), 2);
    /// });
    /// ```
    pub fn cancelling(&self) -> u32 {
        self.cell.header().cancelling.get()
    }

    /// Takes one request to end back, and answers how many are left. When none is left before the task was stepped, it goes on as
    /// if nothing had been asked for; tasks that it awaits stay cancelled. On a task that has ended it does nothing.
    ///
    /// asyncio: `uncancel()`.
    ///
    /// # Examples
    ///
    /// ```
    /// onelane::run(async {
    ///     let task = onelane::spawn(async { 42 });
    ///     task.cancel();
    ///     assert_eq!(task.uncancel(), 0);
    ///     assert_eq!(task.await, Ok(42));
    /// });
    /// ```
    pub fn uncancel(&self) -> u32 {
        uncancel(self.cell.header())
    }

    /// Whether the task has ended, in whatever way.
    ///
    /// asyncio: `done()`.
    #[doc(alias = "done")]
    pub fn is_done(&self) -> bool {
        self.cell.header().is_done()
    }

    /// Whether the task has ended because it was cancelled.
    ///
    /// asyncio: `cancelled()`.
    #[doc(alias = "cancelled")]
    pub fn is_cancelled(&self) -> bool {
        self.cell.header().ending.get() == Some(Ending::Cancelled)
    }

    /// Its name; unless it was given one, `Task-7`, after its number.
    ///
    /// asyncio: `get_name()`.
    #[doc(alias = "get_name")]
    pub fn name(&self) -> Rc<str> {
        self.cell.header().name()
    }

    /// Renames it.
    ///
    /// asyncio: `set_name()`.
    pub fn set_name(&self, name: impl Into<Rc<str>>) {
        set_name(&*self.cell, name.into());
    }

    /// Its number: the loop counts its tasks, the first is 1.
    pub fn id(&self) -> TaskId {
        TaskId(self.cell.header().id)
    }

    /// The same task, without the type of its output.
    pub fn task_ref(&self) -> TaskRef {
        TaskRef { cell: self.erased() }
    }

    pub(crate) fn erased(&self) -> Rc<dyn AnyTask> {
        self.cell.clone().erase()
    }
}

impl<T> IntoFuture for Task<T> {
    type Output = Result<T, TaskError>;
    type IntoFuture = Join<T>;

    fn into_future(self) -> Join<T> {
        Join::taking(self.cell)
    }
}

/// Leaves the result in place, for others.
impl<T: Clone> IntoFuture for &Task<T> {
    type Output = Result<T, TaskError>;
    type IntoFuture = Join<T>;

    fn into_future(self) -> Join<T> {
        Join::cloning(self.cell.clone())
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(&*self.cell, f.debug_struct("Task"))
    }
}

/// A task of which the type is not known: it can be named, compared, asked for its state and cancelled.
///
/// Cloning gives another reference to the same task; equal are references to the same task.
///
/// # Examples
///
/// ```
/// onelane::run(async {
///     let task = onelane::spawn(async {});
///     assert_eq!(onelane::all_tasks().last(), Some(&task.task_ref()));
/// });
/// ```
#[derive(Clone)]
pub struct TaskRef {
    pub(crate) cell: Rc<dyn AnyTask>,
}

/// The number of a task in its loop.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TaskId(pub(crate) u64);

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a task is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TaskState {
    /// It stands in the ready queue.
    Queued,
    /// It is being stepped.
    Running,
    /// It waits for something.
    Waiting,
    /// It has ended.
    Done,
}

impl TaskRef {
    /// Its number: the loop counts its tasks, the first is 1.
    pub fn id(&self) -> TaskId {
        TaskId(self.cell.header().id)
    }

    /// Its name; unless it was given one, `Task-7`, after its number.
    #[doc(alias = "get_name")]
    pub fn name(&self) -> Rc<str> {
        self.cell.header().name()
    }

    /// Renames it.
    pub fn set_name(&self, name: impl Into<Rc<str>>) {
        set_name(&*self.cell, name.into());
    }

    /// Where it is in its life.
    pub fn state(&self) -> TaskState {
        state(&*self.cell)
    }

    /// Where it was spawned.
    pub fn spawned_at(&self) -> &'static Location<'static> {
        self.cell.header().spawned_at
    }

    /// As [`Task::cancel`].
    pub fn cancel(&self) -> bool {
        ask_to_end(&self.cell)
    }

    /// As [`Task::cancelling`].
    pub fn cancelling(&self) -> u32 {
        self.cell.header().cancelling.get()
    }

    /// As [`Task::uncancel`].
    pub fn uncancel(&self) -> u32 {
        uncancel(self.cell.header())
    }

    /// As [`Task::is_done`].
    #[doc(alias = "done")]
    pub fn is_done(&self) -> bool {
        self.cell.header().is_done()
    }

    /// As [`Task::is_cancelled`].
    #[doc(alias = "cancelled")]
    pub fn is_cancelled(&self) -> bool {
        self.cell.header().ending.get() == Some(Ending::Cancelled)
    }
}

impl PartialEq for TaskRef {
    fn eq(&self, other: &Self) -> bool {
        same(&self.cell, &other.cell)
    }
}

impl Eq for TaskRef {}

impl Hash for TaskRef {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Rc::as_ptr(&self.cell).cast::<()>().hash(state);
    }
}

impl fmt::Debug for TaskRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(&*self.cell, f.debug_struct("TaskRef"))
    }
}

/// Cancels a task as its user does. False if it has ended, and then its panic was looked at.
fn ask_to_end(task: &Rc<dyn AnyTask>) -> bool {
    let was_alive = cancel(task);
    if !was_alive {
        task.header().looked_at.set(true);
    }
    was_alive
}

fn describe(cell: &(impl AnyTask + ?Sized), mut out: fmt::DebugStruct<'_, '_>) -> fmt::Result {
    let header = cell.header();
    out.field("id", &header.id);
    out.field("name", &header.name());
    out.field("state", &state(cell));
    if let Some(ending) = header.ending.get() {
        out.field("ending", &ending);
    } else if header.cancelling.get() > 0 {
        out.field("cancelling", &header.cancelling.get());
    }
    out.field("spawned_at", &format_args!("{}", header.spawned_at));
    out.finish()
}

fn state(cell: &(impl AnyTask + ?Sized)) -> TaskState {
    let header = cell.header();
    match context::find(header.loop_id) {
        Some(kernel) if !header.is_done() => match kernel.wakers.state(header) {
            State::Queued => TaskState::Queued,
            State::Running => TaskState::Running,
            State::Waiting => TaskState::Waiting,
        },
        _ => TaskState::Done,
    }
}

fn set_name(cell: &(impl AnyTask + ?Sized), name: Rc<str>) {
    cell.header().set_name(name);
}
