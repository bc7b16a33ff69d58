//! Tasks as users hold them: [`Task`] with the type of its output, [`TaskRef`] without, and how
//! they are spawned.
//!
//! `kernel/cell.rs` says what a task is, `join.rs` how it is awaited.
//!
//! ```
//! use onelane::{EventLoop, task::{self, TaskRef}};
//!
//! EventLoop::with_virtual_clock().run(async {
//!     let tea = task::Builder::new().name("tea").spawn(async { "ready" });
//!     let known: TaskRef = tea.task_ref();
//!     assert_eq!(tea.await, Ok("ready"));
//!     assert_eq!((&*known.name(), known.state()), ("tea", task::TaskState::Done));
//! });
//! ```

pub(crate) mod child;
pub(crate) mod join;
pub(crate) mod promise;
pub(crate) mod task_local;
pub(crate) mod yield_now;

use crate::error::TaskError;
use crate::kernel::cell::{AnyTask, Ending, Header, TypedTask, same};
use crate::kernel::explore::{Mode, Of, touch, touches_all, unknown};
use crate::kernel::table::records::Then;
use crate::kernel::{Kernel, State, Token, WaiterKey, context};
use crate::leaf::{cancel, no_loop, remove_waiter, running, uncancel};
use crate::task::join::Join;
use alloc::rc::Rc;
use core::cell::Ref;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::panic::Location;

pub use crate::kernel::observe::task_id::TaskId;

#[cfg(doctest)]
mod tests;

/// Spawns a task on the running loop.
///
/// The future is first polled in the next turn, behind everything that is ready now. Dropping the
/// [`Task`] detaches it: it continues to run. Await it to get its result.
///
/// The task keeps the value that the future returns until its last handle is dropped. So the output
/// must be `'static` too.
///
/// Like `create_task`, this function takes no task and no promise, because these are not futures.
/// Await them, or spawn `async { promise.await }`:
///
/// ```compile_fail,E0277
/// # onelane::EventLoop::with_virtual_clock().run(async {
/// onelane::spawn(onelane::Promise::<u8>::new());
/// # });
/// ```
///
/// asyncio: `create_task(coro)`.
///
/// # Panics
///
/// If no loop is running on this thread. Call `spawn` inside [`run`](crate::run()), or use
/// [`EventLoop::spawn`](crate::EventLoop::spawn).
///
/// # Cost
///
/// One allocation, or none if the memory of an ended task of the same size is free: a thread that
/// has a loop keeps up to 256 KiB of such memory. No allocation for the ready queue.
///
/// # Examples
///
/// ```
/// let value = onelane::EventLoop::with_virtual_clock().run(async {
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
    // The compiler shows this line.
    F: Future<Output: 'static> + 'static, // a task may outlive what it borrows: share it by an `Rc`
{
    match context::spawn(Location::caller(), future) {
        Some(cell) => Task { cell },
        None => no_loop("spawn()"),
    }
}

/// Spawns a task with a name.
///
/// asyncio: `create_task(coro, name=...)`.
///
/// # Examples
///
/// ```
/// onelane::EventLoop::with_virtual_clock().run(async {
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
    /// Returns a builder. Without a name, the task is named after its function and its id:
    /// `worker-7`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, task::Builder};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     for (label, name) in [(Some("tea"), "tea"), (None, "main-3")] {
    ///         let builder = label.map_or_else(Builder::new, |label| Builder::new().name(label));
    ///         assert_eq!(&*builder.spawn(async {}).name(), name);
    ///     }
    /// });
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// Names the task.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, RunError, task::Builder};
    /// use std::future::pending;
    ///
    /// let result = EventLoop::with_virtual_clock().try_run(async {
    ///     Builder::new().name(format!("shop {}", 7)).spawn(pending::<()>());
    ///     pending::<()>().await
    /// });
    /// // Names make reports clearer.
    /// let Err(RunError::Deadlock(report)) = result else { unreachable!() };
    /// assert_eq!(report.tasks[1].name, "shop 7");
    /// ```
    #[doc(alias = "create_task")]
    pub fn name(mut self, name: impl Into<Rc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Spawns the task, as [`spawn`](crate::spawn()) does.
    ///
    /// # Panics
    ///
    /// If no loop is running on this thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, gather, task::Builder};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let builder = Builder::new().name("worker");
    ///     let workers = [1, 2].map(|n| builder.clone().spawn(async move { n * n }));
    ///     assert!(workers.iter().all(|worker| &*worker.name() == "worker"));
    ///     assert_eq!(gather(workers).await, Ok(vec![1, 4]));
    /// });
    /// ```
    #[track_caller]
    pub fn spawn<F>(self, future: F) -> Task<F::Output>
    where
        F: Future<Output: 'static> + 'static,
    {
        Task::spawn_on(&running("task::Builder::spawn()"), self.name, future)
    }
}

/// A task whose result is a `T`.
///
/// Await it to get `Result<T, TaskError>`. `task.await` takes the result; `(&task).await` leaves it
/// in place and returns a clone. **Dropping a `Task` detaches the task. Dropping an await of the
/// task, after its first poll, cancels the task.** So the handle and the await are different types:
/// `Task` implements `IntoFuture` and not `Future`.
///
/// `task.await` consumes the handle, so a second one does not compile ("use of moved value"). To
/// await a task twice, await `&task`, in parentheses: `(&task).await`. `&task.await` is something
/// else: a reference to the result.
///
/// A `Task` is neither `Send` nor `Sync`, because a task lives on the thread of its loop. The
/// handle keeps the outcome alive, but not the loop.
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
    pub(crate) cell: TypedTask<T>,
}

/// Names a done callback of a task or a promise, so that it can be removed.
///
/// # Examples
///
/// ```
/// use onelane::{CallbackId, EventLoop, Task, spawn};
/// use std::{cell::Cell, rc::Rc};
///
/// /// Is notified of the end of a task, as long as it exists.
/// struct Subscription<'a>(&'a Task<()>, CallbackId);
///
/// impl Drop for Subscription<'_> {
///     fn drop(&mut self) {
///         self.0.remove_done_callback(self.1);
///     }
/// }
///
/// EventLoop::with_virtual_clock().run(async {
///     let (task, told) = (spawn(async {}), Rc::new(Cell::new(false)));
///     let copy = told.clone();
///     let subscription = Subscription(&task, task.add_done_callback(move |_| copy.set(true)));
///     drop(subscription);
///     task.await.unwrap();
///     assert!(!told.get());
/// });
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CallbackId(Callback);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Callback {
    /// A callback of a task. It has no key if the task had ended when the callback was added.
    OfTask(Token, Option<WaiterKey>),
    /// Promises belong to no loop, and have one counter for all their waiters.
    OfPromise(u64),
}

impl CallbackId {
    pub(crate) fn in_task(task: &Header, key: Option<WaiterKey>) -> Self {
        CallbackId(Callback::OfTask(task.token(), key))
    }

    pub(crate) fn in_promise(number: u64) -> Self {
        CallbackId(Callback::OfPromise(number))
    }

    pub(crate) fn number_in_promise(self) -> Option<u64> {
        match self.0 {
            Callback::OfPromise(number) => Some(number),
            Callback::OfTask(..) => None,
        }
    }

    /// Removes the callback. Returns false if it was already called or removed, or belongs to
    /// another task.
    pub(crate) fn remove_from(self, task: &AnyTask) -> bool {
        match self.0 {
            Callback::OfTask(token, Some(key)) if token == task.header().token() => remove_waiter(task, key).is_some(),
            _ => false,
        }
    }
}

impl<T: 'static> Task<T> {
    /// Calls `callback` with this task when the task has ended. The callback is called from the
    /// ready queue, in the turn after the end; callbacks and awaits run in the order of
    /// registration. If the task has already ended, the callback is queued at once. Inside the
    /// callback, [`current_task`](crate::current_task()) returns `None`.
    ///
    /// If the callback panics, the panic goes to the loop's exception handler. If the loop is
    /// dropped first, the callback is dropped too.
    ///
    /// asyncio: `add_done_callback`.
    ///
    /// # Cost
    ///
    /// One allocation.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{cell::Cell, rc::Rc};
    ///
    /// let seen = Rc::new(Cell::new(0));
    /// let copy = seen.clone();
    /// onelane::EventLoop::with_virtual_clock().run(async move {
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
        let mut key = None;
        // If the loop has gone, the task has ended, and no loop is left to call the callback.
        if let Some(kernel) = context::loop_of(header.token()) {
            let call = kernel.callback(callback);
            touch(Of::End, header.id, Mode::Write);
            if header.is_done() {
                kernel.queue_call(call);
            } else {
                key = Some(kernel.table.add_waiter(header, Then::Queue(call)));
            }
        }
        CallbackId::in_task(header, key)
    }

    /// Removes a done callback. Returns false if it was already queued or removed, or belongs to
    /// another task.
    ///
    /// asyncio: `remove_done_callback`, which removes all equal callbacks and returns their number.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, spawn};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let [one, other] = [1, 2].map(|n| spawn(async move { n }));
    ///     let callback = one.add_done_callback(|_| unreachable!());
    ///     assert!(!other.remove_done_callback(callback)); // it is not there
    ///     assert!(one.remove_done_callback(callback));
    ///     assert_eq!(one.await, Ok(1));
    /// });
    /// ```
    pub fn remove_done_callback(&self, callback: CallbackId) -> bool {
        callback.remove_from(self.cell.any())
    }
}

impl<T> Task<T> {
    #[track_caller]
    pub(crate) fn spawn_on<F>(kernel: &Kernel, name: Option<Rc<str>>, future: F) -> Self
    where
        F: Future<Output = T> + 'static,
        T: 'static,
    {
        Task { cell: kernel.spawn(name, Location::caller(), future) }
    }

    /// Returns the outcome of a task that has ended, borrowed.
    ///
    /// asyncio: `result()`, and `exception()`.
    ///
    /// # Errors
    ///
    /// If the task was cancelled or panicked.
    ///
    /// # Panics
    ///
    /// If the task has not ended. Check [`is_done`](Self::is_done) first, or await the task. Also
    /// if its result was taken: by an await of the task by value, or by `gather`, `as_completed` or
    /// `shield` that got the task by value.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, spawn, wait};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let tasks = ["tea", "toast"].map(|word| spawn(async { word.to_string() }));
    ///     let (done, _) = wait(&tasks).await;
    ///     let letters: usize = done.iter().map(|task| task.result().unwrap().len()).sum();
    ///     assert_eq!(letters, 8);
    /// });
    /// ```
    #[doc(alias = "exception")]
    #[track_caller]
    pub fn result(&self) -> Result<Ref<'_, T>, TaskError> {
        let header = self.cell.header();
        touch(Of::End, header.id, Mode::Write);
        if !header.is_done() {
            panic!(
                "result() of task {:?} was called, but the task has not ended; check is_done(), or await it",
                header.name()
            );
        }
        header.look_at();
        let outcome = self.cell.outcome().expect("DONE-1: a task that has ended has an outcome").borrow();
        match &*outcome {
            None => panic!(
                "result() of task {:?} was called, but the result was taken; await `&task` to leave it in place",
                header.name()
            ),
            Some(Err(error)) => Err(error.clone()),
            Some(Ok(_)) => Ok(Ref::map(outcome, |outcome| match outcome {
                Some(Ok(value)) => value,
                _ => unreachable!("it was a value just now, and is borrowed"),
            })),
        }
    }

    /// Cancels the task: its cleanups run, and its future is dropped, in the task's next steps.
    /// Tasks that it awaits are cancelled first, so they have ended when its destructors run.
    /// Returns false if the task has already ended. If it has ended with a panic, the panic then
    /// counts as read, and is not reported to the exception handler.
    ///
    /// A task that was never stepped never runs. If the task is running and returns in this step,
    /// it ends as cancelled.
    ///
    /// asyncio: `cancel()`.
    ///
    /// # Examples
    ///
    /// ```
    /// onelane::EventLoop::with_virtual_clock().run(async {
    ///     let task = onelane::spawn(async { unreachable!() });
    ///     assert!(task.cancel());
    ///     assert!(task.await.unwrap_err().is_cancelled());
    /// });
    /// ```
    pub fn cancel(&self) -> bool {
        ask_to_end(&self.erased())
    }

    /// Returns the number of cancellation requests, minus those that were taken back.
    ///
    /// asyncio: `cancelling()`.
    ///
    /// # Examples
    ///
    /// ```
    /// onelane::EventLoop::with_virtual_clock().run(async {
    ///     let task = onelane::spawn(async {});
    ///     task.cancel();
    ///     task.cancel();
    ///     assert_eq!(task.cancelling(), 2);
    /// });
    /// ```
    pub fn cancelling(&self) -> u32 {
        touches_all();
        self.cell.header().cancelling.get()
    }

    /// Takes back one cancellation request, and returns the number of requests that are left. If
    /// none is left before the task is stepped, the task continues as if no request had come. Tasks
    /// that it awaits stay cancelled. Does nothing if the task has ended.
    ///
    /// asyncio: `uncancel()`.
    ///
    /// # Examples
    ///
    /// ```
    /// onelane::EventLoop::with_virtual_clock().run(async {
    ///     let task = onelane::spawn(async { 42 });
    ///     task.cancel();
    ///     assert_eq!(task.uncancel(), 0);
    ///     assert_eq!(task.await, Ok(42));
    /// });
    /// ```
    pub fn uncancel(&self) -> u32 {
        uncancel(self.cell.header())
    }

    /// Whether the task has ended in any way.
    ///
    /// asyncio: `done()`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, yield_now};
    ///
    /// let event_loop = EventLoop::with_virtual_clock();
    /// let task = event_loop.spawn(yield_now());
    /// let mut turns = 0;
    /// while !task.is_done() {
    ///     event_loop.turn();
    ///     turns += 1;
    /// }
    /// assert_eq!(turns, 2);
    /// ```
    #[doc(alias = "done")]
    pub fn is_done(&self) -> bool {
        touch(Of::End, self.cell.header().id, Mode::Read);
        self.cell.header().is_done()
    }

    /// Whether the task has ended because it was cancelled.
    ///
    /// asyncio: `cancelled()`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, spawn, wait};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let tasks = [1, 2].map(|n| spawn(async move { n }));
    ///     tasks[0].cancel();
    ///     let (mut done, _) = wait(tasks).await;
    ///     done.retain(|task| !task.is_cancelled()); // those that are left have a result
    ///     assert_eq!(*done[0].result().unwrap(), 2);
    /// });
    /// ```
    #[doc(alias = "cancelled")]
    pub fn is_cancelled(&self) -> bool {
        touch(Of::End, self.cell.header().id, Mode::Read);
        self.cell.header().ending.get() == Some(Ending::Cancelled)
    }

    /// Returns the name. The default is `worker-7`, from the task's function and its id: `worker`
    /// is the `async fn`, or the function that contains the `async` block.
    ///
    /// asyncio: `get_name()`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, spawn, task::Builder};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let tasks = [Builder::new().name("tea").spawn(async {}), spawn(async {})];
    ///     let names = tasks.each_ref().map(|task| task.name());
    ///     assert_eq!(names.join(" and "), "tea and main-3");
    /// });
    /// ```
    #[doc(alias = "get_name")]
    pub fn name(&self) -> Rc<str> {
        touch(Of::End, self.cell.header().id, Mode::Read);
        self.cell.header().name()
    }

    /// Renames the task.
    ///
    /// asyncio: `set_name()`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, all_tasks, spawn};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     spawn(async {}).set_name("of no use"); // once it is known
    ///     assert!(all_tasks().iter().any(|task| &*task.name() == "of no use"));
    /// });
    /// ```
    pub fn set_name(&self, name: impl Into<Rc<str>>) {
        touch(Of::End, self.cell.header().id, Mode::Write);
        self.cell.header().set_name(name.into());
    }

    /// Returns the id. The tasks of a loop are numbered from 1.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, current_task, spawn};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let task = spawn(async { current_task().unwrap().id() });
    ///     let id = task.id();
    ///     assert_eq!(task.await, Ok(id)); // it is the same from inside
    /// });
    /// ```
    pub fn id(&self) -> TaskId {
        TaskId(self.cell.header().id)
    }

    /// Returns a reference to the same task without the type of its output.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, TaskRef, spawn, wait};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let (number, word) = (spawn(async { 1 }), spawn(async { "one" }));
    ///     let tasks: [TaskRef; 2] = [number.task_ref(), word.task_ref()];
    ///     let (done, _) = wait(tasks).await; // tasks of different types
    ///     assert_eq!(done.len(), 2);
    /// });
    /// ```
    pub fn task_ref(&self) -> TaskRef {
        TaskRef { cell: self.erased() }
    }

    pub(crate) fn erased(&self) -> AnyTask {
        self.cell.any().clone()
    }
}

impl<T> IntoFuture for Task<T> {
    type Output = Result<T, TaskError>;
    type IntoFuture = Join<T>;

    #[track_caller]
    fn into_future(self) -> Join<T> {
        Join::taking(self.cell)
    }
}

/// Leaves the result in place, for other awaits.
impl<T: Clone> IntoFuture for &Task<T> {
    type Output = Result<T, TaskError>;
    type IntoFuture = Join<T>;

    #[track_caller]
    fn into_future(self) -> Join<T> {
        Join::cloning(self.cell.clone())
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(self.cell.header(), f.debug_struct("Task"))
    }
}

/// A reference to a task of unknown type: it can be named, compared, inspected and cancelled.
///
/// Cloning creates another reference to the same task. Two references are equal if they refer to
/// the same task.
///
/// # Examples
///
/// ```
/// onelane::EventLoop::with_virtual_clock().run(async {
///     let task = onelane::spawn(async {});
///     assert_eq!(onelane::all_tasks().last(), Some(&task.task_ref()));
/// });
/// ```
#[derive(Clone)]
pub struct TaskRef {
    pub(crate) cell: AnyTask,
}

/// The state of a task.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, TaskState, current_task, spawn, yield_now};
/// use std::future::pending;
///
/// EventLoop::with_virtual_clock().run(async {
///     let tasks = [current_task().unwrap(), spawn(async {}).task_ref(), spawn(pending::<()>()).task_ref()];
///     let states = || tasks.each_ref().map(|task| task.state());
///     assert_eq!(states(), [TaskState::Running, TaskState::Queued, TaskState::Queued]);
///     yield_now().await;
///     assert_eq!(states(), [TaskState::Running, TaskState::Done, TaskState::Waiting]);
/// });
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum TaskState {
    /// It is in the ready queue.
    Queued,
    /// It is being stepped.
    Running,
    /// It waits for something.
    Waiting,
    /// It has ended.
    Done,
}

impl TaskRef {
    /// Returns the id. The tasks of a loop are numbered from 1.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, all_tasks, spawn};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let asked = spawn(async {}).id(); // a number in a report, say
    ///     let task = all_tasks().into_iter().find(|task| task.id() == asked);
    ///     assert_eq!(task.unwrap().id().to_string(), "2");
    /// });
    /// ```
    pub fn id(&self) -> TaskId {
        TaskId(self.cell.header().id)
    }

    /// Returns the name. The default is `worker-7`, from the task's function and its id: `worker`
    /// is the `async fn`, or the function that contains the `async` block.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, all_tasks, spawn};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     spawn(async {}).set_name("tea");
    ///     let names: Vec<_> = all_tasks().iter().map(|task| task.name()).collect();
    ///     assert_eq!(names.join(", "), "main-1, tea");
    /// });
    /// ```
    #[doc(alias = "get_name")]
    pub fn name(&self) -> Rc<str> {
        touch(Of::End, self.cell.header().id, Mode::Read);
        self.cell.header().name()
    }

    /// Renames the task.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, current_task, spawn, yield_now};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let task = spawn(async {
    ///         current_task().unwrap().set_name("loading"); // returns how far it is
    ///         yield_now().await;
    ///     });
    ///     yield_now().await;
    ///     assert_eq!(&*task.name(), "loading");
    /// });
    /// ```
    pub fn set_name(&self, name: impl Into<Rc<str>>) {
        touch(Of::End, self.cell.header().id, Mode::Write);
        self.cell.header().set_name(name.into());
    }

    /// Returns the state of the task.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, TaskState, all_tasks, spawn, yield_now};
    /// use std::future::pending;
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     drop([spawn(pending::<()>()), spawn(pending()), spawn(yield_now())]);
    ///     yield_now().await;
    ///     let waiting = all_tasks().into_iter().filter(|task| task.state() == TaskState::Waiting);
    ///     assert_eq!(waiting.count(), 2); // the third is queued again
    /// });
    /// ```
    pub fn state(&self) -> TaskState {
        state(self.cell.header())
    }

    /// Returns where the task was spawned.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, current_task, spawn};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let (task, line) = (spawn(async { current_task().unwrap().spawned_at() }), line!());
    ///     assert_eq!(task.await.unwrap().line(), line);
    /// });
    /// ```
    pub fn spawned_at(&self) -> &'static Location<'static> {
        self.cell.header().spawned_at
    }

    /// Returns the number of wakers of the task that are held outside onelane's own futures: by
    /// other threads, or by futures and primitives of other crates. `None` if the loop does not count
    /// them, or no longer exists. A loop counts them on a virtual clock, in debug mode, with metrics
    /// and with a probe.
    ///
    /// If a task is suspended, waits for nothing of onelane, and has no such waker, it will never be
    /// woken.
    ///
    /// # Cost
    ///
    /// O(1). It takes the lock of the loop's inbox.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, all_tasks, spawn, yield_now};
    /// use std::{future::poll_fn, task::Poll};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let mut kept = None;
    ///     let _task = spawn(poll_fn(move |cx| {
    ///         kept = Some(cx.waker().clone());
    ///         Poll::<()>::Pending
    ///     }));
    ///     yield_now().await;
    ///     assert_eq!(all_tasks()[1].outside_wakers(), Some(1));
    /// });
    /// ```
    pub fn outside_wakers(&self) -> Option<usize> {
        unknown("TaskRef::outside_wakers()");
        let token = self.cell.header().token();
        let kernel = context::loop_of(token).filter(|kernel| kernel.table.is_observed())?;
        Some(kernel.inbox().wakers(token))
    }

    /// Like [`Task::cancel`].
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, all_tasks, current_task, spawn, yield_now};
    /// use std::future::pending;
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     drop([spawn(pending::<()>()), spawn(pending())]);
    ///     let this = current_task().unwrap();
    ///     for task in all_tasks() {
    ///         if task != this {
    ///             task.cancel();
    ///         }
    ///     }
    ///     yield_now().await;
    ///     assert_eq!(all_tasks(), [this]);
    /// });
    /// ```
    pub fn cancel(&self) -> bool {
        ask_to_end(&self.cell)
    }

    /// Like [`Task::cancelling`].
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, catch_cancel, current_task, spawn, yield_now};
    /// use std::future::pending;
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let task = spawn(async {
    ///         // Was it cancelled, or interrupted by a timeout?
    ///         catch_cancel(pending::<()>()).await.unwrap_err();
    ///         current_task().unwrap().cancelling() > 0
    ///     });
    ///     yield_now().await;
    ///     task.cancel();
    ///     assert_eq!(task.await, Ok(true));
    /// });
    /// ```
    pub fn cancelling(&self) -> u32 {
        touches_all();
        self.cell.header().cancelling.get()
    }

    /// Like [`Task::uncancel`].
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, catch_cancel, current_task, spawn, yield_now};
    /// use std::future::pending;
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let stubborn = spawn(async {
    ///         catch_cancel(pending::<()>()).await.unwrap_err();
    ///         current_task().unwrap().uncancel() // as if nothing had happened
    ///     });
    ///     yield_now().await;
    ///     stubborn.cancel();
    ///     assert_eq!(stubborn.await, Ok(0));
    /// });
    /// ```
    pub fn uncancel(&self) -> u32 {
        uncancel(self.cell.header())
    }

    /// Like [`Task::is_done`].
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, TaskRef, spawn, yield_now};
    /// use std::future::pending;
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let mut known: Vec<TaskRef> = vec![spawn(async {}).task_ref(), spawn(pending::<u8>()).task_ref()];
    ///     yield_now().await;
    ///     known.retain(|task| !task.is_done());
    ///     assert_eq!(known.len(), 1);
    /// });
    /// ```
    #[doc(alias = "done")]
    pub fn is_done(&self) -> bool {
        touch(Of::End, self.cell.header().id, Mode::Read);
        self.cell.header().is_done()
    }

    /// Like [`Task::is_cancelled`].
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, spawn, yield_now};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let task = spawn(async {}).task_ref();
    ///     task.cancel();
    ///     assert!(!task.is_cancelled()); // it was asked to end, and has not ended yet
    ///     yield_now().await;
    ///     assert!(task.is_cancelled());
    /// });
    /// ```
    #[doc(alias = "cancelled")]
    pub fn is_cancelled(&self) -> bool {
        touch(Of::End, self.cell.header().id, Mode::Read);
        self.cell.header().ending.get() == Some(Ending::Cancelled)
    }
}

/// Whether both are handles of the same task.
impl<T> PartialEq for Task<T> {
    fn eq(&self, other: &Self) -> bool {
        same(self.cell.any(), other.cell.any())
    }
}

impl<T> Eq for Task<T> {}

impl<T> Hash for Task<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.cell.any().hash(state);
    }
}

/// Whether both refer to the same task.
impl PartialEq for TaskRef {
    fn eq(&self, other: &Self) -> bool {
        same(&self.cell, &other.cell)
    }
}

impl Eq for TaskRef {}

impl Hash for TaskRef {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.cell.hash(state);
    }
}

impl fmt::Debug for TaskRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(self.cell.header(), f.debug_struct("TaskRef"))
    }
}

/// Cancels a task by a handle. Returns false if the task has already ended. If it has ended with a
/// panic, the panic then counts as read.
fn ask_to_end(task: &AnyTask) -> bool {
    touches_all();
    let was_alive = cancel(task);
    if !was_alive {
        task.header().look_at();
    } else if let Some(kernel) = context::loop_of(task.header().token()) {
        kernel.note_asked(task);
    }
    was_alive
}

fn describe(header: &Header, mut out: fmt::DebugStruct<'_, '_>) -> fmt::Result {
    out.field("id", &header.id);
    out.field("name", &header.name());
    out.field("state", &state(header));
    if let Some(ending) = header.ending.get() {
        out.field("ending", &ending);
    } else if header.cancelling.get() > 0 {
        out.field("cancelling", &header.cancelling.get());
    }
    out.field("spawned_at", &format_args!("{}", header.spawned_at));
    out.finish()
}

fn state(header: &Header) -> TaskState {
    touch(Of::End, header.id, Mode::Read);
    touch(Of::Steps, header.id, Mode::Read);
    match context::loop_of(header.token()) {
        Some(kernel) if !header.is_done() => match kernel.table.state(header) {
            State::Queued => TaskState::Queued,
            State::Running => TaskState::Running,
            State::Waiting => TaskState::Waiting,
        },
        _ => TaskState::Done,
    }
}
