//! Tasks that belong together: all have ended when the group has, and the failure of one cancels the others.
//!
//! The group hears of its children by done callbacks. It is a block (`block.rs`), which the first failure interrupts, with a
//! scope around it, so that a cancellation of the task goes to the children and waits for their end.

use crate::block::{Block, Interrupted, Interruption};
use crate::current::{Place, Record, cancel, running};
use crate::error::{Panic, TaskError};
use crate::gather::describe_tasks;
use crate::kernel::task::{AnyTask, Awaited, Scope, Unwound, Wait};
use crate::kernel::{context, exceptions, keep};
use crate::task::Task;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker, ready};

/// Runs `body` in the current task with a group into which it spawns children, and ends when all of them have ended.
///
/// `body` gets the [`TaskGroup`] as a handle that can be cloned, so children may spawn children. A child that panics fails
/// the group: the other children are cancelled, and so is what the body awaits; when all have ended, the panics come together
/// in a [`GroupError`]. A child that is cancelled does not disturb the group. With children that return a `Result`, use
/// [`try_task_group`].
///
/// A cancellation of the task cancels the children; the task ends when they have ended, cleanups and all. A second cancellation
/// changes nothing about that. `body` is not polled meanwhile, and what it holds is dropped behind the children.
///
/// Cancel safety: errors of children are lost with a group that is cancelled, interrupted or dropped; their panics go to the
/// exception handler then. (asyncio raises them in place of the cancellation.) Dropped without a cancellation, in a
/// `select!` that something else has won for example, it cancels the children and cannot wait for their end.
///
/// asyncio: `async with TaskGroup() as group: ...`.
///
/// # Errors
///
/// The panics of children.
///
/// # Panics
///
/// With the panic of `body`, when the children have ended.
///
/// # Cost
///
/// Three allocations, and three for each child; a child's end and the group's cost a turn each. Without children there is no
/// pause.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, sleep, task_group};
/// use std::time::Duration;
///
/// let (a, b) = EventLoop::with_virtual_clock().run(async {
///     let (a, b) = task_group(async |group| {
///         let a = group.spawn(async { sleep(Duration::from_secs(1)).await; 1 });
///         let b = group.spawn(async { 2 });
///         (a, b)
///     })
///     .await
///     .unwrap();
///     assert!(a.is_done() && b.is_done());
///     (a.await.unwrap(), b.await.unwrap())
/// });
/// assert_eq!((a, b), (1, 2));
/// ```
#[doc(alias = "TaskGroup")]
#[track_caller]
pub fn task_group<B, F>(body: B) -> RunGroup<F, Infallible>
where
    B: FnOnce(TaskGroup<Infallible>) -> F,
    F: Future,
{
    RunGroup::new(body)
}

/// As [`task_group`], with failures: an `Err` of `body`, or of a child that was started with
/// [`try_spawn`](TaskGroup::try_spawn), fails the group as well.
///
/// # Errors
///
/// The errors and panics of the children, in the order in which they ended, then the error of `body`.
///
/// # Panics
///
/// As [`task_group`].
///
/// # Examples
///
/// ```
/// use onelane::{ChildError, EventLoop, sleep, try_task_group};
/// use std::time::Duration;
///
/// let result = EventLoop::with_virtual_clock().run(try_task_group(async |group| {
///     group.try_spawn(async {
///         sleep(Duration::from_secs(1)).await;
///         Err::<(), _>("disk full")
///     });
///     group.spawn(sleep(Duration::from_secs(3600))); // is cancelled after a second
///     sleep(Duration::from_secs(3600)).await; // so is this
///     Ok(())
/// }));
/// assert_eq!(result.unwrap_err().errors, [ChildError::Failed("disk full")]);
/// ```
#[doc(alias = "TaskGroup")]
#[track_caller]
pub fn try_task_group<B, F, T, E>(body: B) -> TryRunGroup<F, E>
where
    B: FnOnce(TaskGroup<E>) -> F,
    F: Future<Output = Result<T, E>>,
    E: 'static,
{
    TryRunGroup { group: RunGroup::new(body) }
}

/// A group of tasks, as its body and its children hold it. See [`task_group`].
///
/// Cloning gives another handle to the same group.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, TaskGroup, task_group};
/// use std::{cell::Cell, rc::Rc};
///
/// /// A child spawns children of its own into the same group.
/// fn grow(group: TaskGroup, height: u32, leaves: Rc<Cell<u32>>) {
///     if height == 0 {
///         leaves.set(leaves.get() + 1);
///         return;
///     }
///     for _ in 0..2 {
///         let (copy, leaves) = (group.clone(), leaves.clone());
///         group.spawn(async move { grow(copy, height - 1, leaves) });
///     }
/// }
///
/// let leaves = Rc::new(Cell::new(0));
/// let root = task_group(async |group| grow(group, 3, leaves.clone()));
/// EventLoop::with_virtual_clock().run(root).unwrap();
/// assert_eq!(leaves.get(), 8);
/// ```
pub struct TaskGroup<E = Infallible> {
    state: Rc<State<E>>,
}

impl<E> Clone for TaskGroup<E> {
    fn clone(&self) -> Self {
        TaskGroup { state: self.state.clone() }
    }
}

/// What a child has returned whose error went to its group.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, Failed, try_task_group};
///
/// EventLoop::with_virtual_clock().run(async {
///     let mut child = None;
///     let result = try_task_group(async |group| {
///         child = Some(group.try_spawn(async { Err::<(), _>("disk full") }));
///         Ok(())
///     });
///     // Why it failed, the group tells; that it failed, the child.
///     assert_eq!(result.await.unwrap_err().to_string(), "1 failure(s) in a task group: disk full");
///     assert_eq!(child.unwrap().await, Ok(Err(Failed)));
/// });
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Failed;

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the child failed, and its group has the error")
    }
}

impl std::error::Error for Failed {}

/// How one child failed, or the body.
///
/// # Examples
///
/// ```
/// use onelane::{ChildError, EventLoop, try_task_group};
///
/// let result = EventLoop::with_virtual_clock().run(try_task_group(async |group| {
///     group.try_spawn(async { "x".parse::<u32>() });
///     group.spawn(async { assert!(false, "a bug") });
///     Ok(())
/// }));
/// let told = result.unwrap_err().errors.into_iter().map(|error| match error {
///     ChildError::Failed(error) => format!("bad input: {error}"),
///     ChildError::Panicked(panic) => format!("panic: {}", panic.message()),
/// });
/// assert_eq!(told.collect::<Vec<_>>(), ["bad input: invalid digit found in string", "panic: a bug"]);
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ChildError<E> {
    /// It returned this error.
    Failed(E),
    /// It panicked.
    Panicked(Panic),
}

impl<E: fmt::Display> fmt::Display for ChildError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChildError::Failed(error) => error.fmt(f),
            ChildError::Panicked(panic) => write!(f, "panicked: {}", panic.message()),
        }
    }
}

/// All failures in a group.
///
/// asyncio: `ExceptionGroup`.
///
/// # Examples
///
/// ```
/// use onelane::{ChildError, EventLoop, GroupError, try_task_group};
///
/// async fn upload() -> Result<(), GroupError<&'static str>> {
///     try_task_group(async |group| {
///         group.try_spawn(async { Err::<(), _>("no route") });
///         group.try_spawn(async { Err::<(), _>("no space") });
///         Ok(())
///     })
///     .await
/// }
///
/// // What asyncio's `except*` does: takes out what is known, and goes on with the others.
/// let mut error = EventLoop::with_virtual_clock().run(upload()).unwrap_err();
/// error.errors.retain(|error| *error != ChildError::Failed("no route"));
/// assert_eq!(error.errors, [ChildError::Failed("no space")]);
/// ```
#[doc(alias = "ExceptionGroup")]
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupError<E> {
    /// Of the children in the order in which they ended, then of the body; never empty.
    pub errors: Vec<ChildError<E>>,
}

impl<E: fmt::Display> fmt::Display for GroupError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failure(s) in a task group", self.errors.len())?;
        for (nth, error) in self.errors.iter().enumerate() {
            write!(f, "{} {error}", if nth == 0 { ":" } else { ";" })?;
        }
        Ok(())
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for GroupError<E> {}

/// A group under way: its children's callbacks hold it, its handles, and its future.
struct State<E> {
    /// By their numbers, so in the order in which they were spawned.
    children: RefCell<BTreeMap<u64, AnyTask>>,
    failures: RefCell<Vec<Failure<E>>>,
    stage: Cell<Stage>,
    /// The loop of the children, whose numbers are its own.
    loop_id: Cell<Option<u64>>,
    /// A failure or a cancellation has come: children are cancelled, also those to come.
    aborting: Cell<bool>,
    /// Of the body, while it may be interrupted.
    interruption: Cell<Option<Rc<Interruption>>>,
    /// Of whoever waits for the last child.
    waker: Cell<Option<Waker>>,
    /// That the task waits for the children, behind the body or in a cleanup.
    record: RefCell<Record>,
    this: Weak<Self>,
}

struct Failure<E> {
    /// Its panic is known when the group has told of it.
    child: AnyTask,
    error: ChildError<E>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Body,
    /// The body is over; the last child ends the group.
    Exiting,
    Finished,
}

impl<E> State<E> {
    fn abort(&self) {
        if self.aborting.replace(true) {
            return;
        }
        let children: Vec<_> = self.children.borrow().values().cloned().collect();
        for child in children {
            cancel(&child);
        }
    }

    /// A child has ended, and its callback is called.
    fn ended(&self, child: &AnyTask, error: Option<ChildError<E>>) {
        let held = self.children.borrow_mut().remove(&child.header().id);
        if let Some(error) = error {
            self.failures.borrow_mut().push(Failure { child: child.clone(), error });
            self.abort();
            if let Some(interruption) = self.interruption.take() {
                interruption.interrupt();
            }
        }
        if self.children.borrow().is_empty() {
            if let Some(waker) = self.waker.take() {
                waker.wake();
            }
        }
        drop(held);
    }

    /// Ready when no child is left.
    #[track_caller]
    fn poll_children(&self, context: &Context<'_>) -> Poll<()>
    where
        E: 'static,
    {
        if self.children.borrow().is_empty() {
            self.record.borrow_mut().end();
            return Poll::Ready(());
        }
        let new = keep(context.waker());
        drop(self.waker.replace(Some(new)));
        if let Some(kernel) = context::running() {
            self.record.borrow_mut().begin(&kernel, || Wait::On(self.this.clone()));
        }
        Poll::Pending
    }
}

impl<E: 'static> Scope for State<E> {
    fn unwind(&self, _panicked: bool) -> Unwound {
        self.abort();
        // What it waited for before is not polled any more.
        self.record.borrow_mut().end();
        self.stage.set(Stage::Exiting);
        Unwound::CleansUp
    }

    /// The body is a part of the group's future, and dropped with that.
    fn drop_body(&self) {}

    fn poll_cleanup(&self, context: &mut Context<'_>) -> Poll<()> {
        self.poll_children(context)
    }
}

/// It has no links: a cancellation comes to the children by the scope.
impl<E> Awaited for State<E> {
    fn tasks(&self) -> Vec<AnyTask> {
        self.children.borrow().values().cloned().collect()
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a group of ")?;
        describe_tasks(&self.tasks(), f)
    }
}

impl<E: 'static> TaskGroup<E> {
    /// Starts a child, as [`spawn`](crate::spawn()) does. While the group ends because of a failure or a cancellation, the
    /// child is cancelled at once.
    ///
    /// asyncio: `TaskGroup.create_task(coro)`.
    ///
    /// # Panics
    ///
    /// If the group is finished: its body and all children have ended. If no loop is running on this thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, sleep, task_group};
    /// use std::time::Duration;
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let slow = task_group(async |group| group.spawn(sleep(Duration::from_secs(60)))).await;
    ///     assert!(slow.unwrap().is_done()); // nobody awaited it, and the group has waited for it
    /// });
    /// ```
    #[doc(alias = "create_task")]
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future<Output: 'static> + 'static,
    {
        self.add(future, || None, |_| false)
    }

    /// As [`spawn`](Self::spawn); an `Err` fails the group, which takes the error. Whoever asks the child gets [`Failed`].
    ///
    /// # Panics
    ///
    /// As [`spawn`](Self::spawn).
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, try_task_group};
    ///
    /// let total = EventLoop::with_virtual_clock().run(try_task_group(async |group| {
    ///     let parts = ["3", "4"].map(|text| group.try_spawn(async { text.parse::<u32>() }));
    ///     let mut total = 0;
    ///     for part in parts {
    ///         // The first two errors are the group's to tell of.
    ///         total += part.await.unwrap().unwrap();
    ///     }
    ///     Ok(total)
    /// }));
    /// assert_eq!(total, Ok(7));
    /// ```
    #[doc(alias = "create_task")]
    #[track_caller]
    pub fn try_spawn<T, F>(&self, future: F) -> Task<Result<T, Failed>>
    where
        F: Future<Output = Result<T, E>> + 'static,
        T: 'static,
    {
        let error = Rc::new(Cell::new(None));
        let copy = error.clone();
        let child = async move {
            future.await.map_err(|error| {
                copy.set(Some(error));
                Failed
            })
        };
        self.add(child, move || error.take(), |result| result.is_err() || size_of::<T>() == 0)
    }

    /// `error` answers what the child has left, when it has ended, and `is_told` whether its outcome has nothing that the
    /// group does not tell, so that nobody has to take it.
    #[track_caller]
    fn add<F>(
        &self,
        future: F,
        error: impl FnOnce() -> Option<E> + 'static,
        is_told: fn(&F::Output) -> bool,
    ) -> Task<F::Output>
    where
        F: Future<Output: 'static> + 'static,
    {
        assert!(
            self.state.stage.get() != Stage::Finished,
            "a child was to be spawned into a task group, but the group is finished; spawn while its body or a child runs"
        );
        let kernel = running("TaskGroup::spawn()");
        assert!(
            self.state.loop_id.get().is_none_or(|loop_id| loop_id == kernel.id()),
            "a child was to be spawned into a task group of another event loop; spawn where the group runs"
        );
        self.state.loop_id.set(Some(kernel.id()));
        let task = Task::spawn_on(&kernel, None, future);
        self.state.children.borrow_mut().insert(task.cell.header().id, task.erased());
        let state = self.state.clone();
        // The first callback of all, so nobody has taken the outcome when it is called.
        task.add_done_callback(move |task| {
            let panic = match task.cell.outcome().map(RefCell::borrow).as_deref() {
                Some(Some(Err(TaskError::Panicked(panic)))) => Some(ChildError::Panicked(panic.clone())),
                Some(Some(Ok(output))) if is_told(output) => {
                    task.cell.header().looked_at.set(true);
                    None
                }
                _ => None,
            };
            state.ended(&task.erased(), panic.or_else(|| error().map(ChildError::Failed)));
        });
        if self.state.aborting.get() {
            task.cancel();
        }
        task
    }
}

impl<E> fmt::Debug for TaskGroup<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let State { children, failures, stage, aborting, .. } = &*self.state;
        f.debug_struct("TaskGroup")
            .field("children", &children.borrow().len())
            .field("failures", &failures.borrow().len())
            .field("stage", &stage.get())
            .field("aborting", &aborting.get())
            .finish()
    }
}

/// The output of a body, nothing if it was interrupted, or its panic.
type BodyEnd<T> = Result<Option<T>, Box<dyn Any + Send>>;

/// The future of [`task_group`].
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, all_tasks, sleep, task_group, timeout};
/// use std::time::Duration;
///
/// EventLoop::with_virtual_clock().run(async {
///     // A future like any other: here with a limit of time.
///     let group = task_group(async |group| drop(group.spawn(sleep(Duration::from_secs(60)))));
///     assert!(timeout(Duration::from_secs(1), group).await.is_err());
///     assert_eq!(all_tasks().len(), 1); // the child has ended with it
/// });
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct RunGroup<F: Future, E: 'static> {
    body: Block<F>,
    /// Once the body is over.
    ended: Option<BodyEnd<F::Output>>,
    state: Rc<State<E>>,
    place: Place,
}

impl<F: Future, E: 'static> RunGroup<F, E> {
    #[track_caller]
    fn new(body: impl FnOnce(TaskGroup<E>) -> F) -> Self {
        let record = Record::here();
        let new = |this: &Weak<State<E>>| State {
            children: RefCell::default(),
            failures: RefCell::default(),
            stage: Cell::new(Stage::Body),
            loop_id: Cell::new(None),
            aborting: Cell::new(false),
            interruption: Cell::new(None),
            waker: Cell::new(None),
            record: RefCell::new(record),
            this: this.clone(),
        };
        let state = Rc::new_cyclic(new);
        let body = Block::new(body(TaskGroup { state: state.clone() }));
        state.interruption.set(Some(body.interruption().clone()));
        RunGroup { body, ended: None, state, place: Place::default() }
    }

    /// Ready when the body and all children have ended: what became of the body, and the errors of the children.
    #[expect(clippy::type_complexity, reason = "it is taken apart at once, in two places")]
    #[track_caller]
    fn poll_ended(
        &mut self,
        has_failed: impl FnOnce(&F::Output) -> bool,
        context: &mut Context<'_>,
    ) -> Poll<(Option<F::Output>, Vec<ChildError<E>>)> {
        self.place.enter(|| Rc::<State<E>>::downgrade(&self.state));
        if self.ended.is_none() {
            assert!(!self.body.is_over(), "a task group was polled after it was over");
            let ended = match catch_unwind(AssertUnwindSafe(|| self.body.poll(context))) {
                Ok(poll) => Ok(ready!(poll).map_or_else(|Interrupted| None, Some)),
                Err(payload) => Err(payload),
            };
            drop(self.state.interruption.take());
            self.state.stage.set(Stage::Exiting);
            if ended.as_ref().map_or(true, |output| output.as_ref().is_some_and(has_failed)) {
                self.state.abort();
            }
            self.ended = Some(ended);
        }
        if self.state.poll_children(context).is_pending() {
            return Poll::Pending;
        }
        self.place.leave();
        self.state.stage.set(Stage::Finished);
        // If the body panicked, that goes on, and the panics of children reach the exception handler.
        let output = self.ended.take().expect("the body is over").unwrap_or_else(|payload| resume_unwind(payload));
        let told = |failure: Failure<E>| {
            failure.child.header().looked_at.set(true);
            failure.error
        };
        let errors = self.state.failures.take().into_iter().map(told).collect();
        Poll::Ready((output, errors))
    }
}

const IN_A_BODY: &str = "the body of a task group panicked, and the group ended before its children had";
const INTERRUPTED: &str = "the body of a group is interrupted by a failure alone, which is among the errors";

// The output of the body is not pinned, and the body stands in a box.
impl<F: Future, E> Unpin for RunGroup<F, E> {}

impl<F: Future> Future for RunGroup<F, Infallible> {
    type Output = Result<F::Output, GroupError<Infallible>>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let (output, errors) = ready!(self.poll_ended(|_| false, context));
        Poll::Ready(if errors.is_empty() { Ok(output.expect(INTERRUPTED)) } else { Err(GroupError { errors }) })
    }
}

impl<F: Future, E> Drop for RunGroup<F, E> {
    fn drop(&mut self) {
        self.state.record.borrow_mut().end();
        self.place.leave();
        drop((self.state.interruption.take(), self.state.waker.take()));
        self.state.abort();
        // Its destructors may still spawn: such children are cancelled at once.
        self.body.end();
        self.state.stage.set(Stage::Finished);
        if let Some(Err(payload)) = self.ended.take() {
            // The group had no time to pass it on.
            exceptions::reached_nobody(self.state.loop_id.get().unwrap_or(0), IN_A_BODY, payload);
        }
    }
}

impl<F: Future, E> fmt::Debug for RunGroup<F, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunGroup").field("group", &TaskGroup { state: self.state.clone() }).finish()
    }
}

/// The future of [`try_task_group`].
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, sleep, spawn, try_task_group, yield_now};
/// use std::time::Duration;
///
/// EventLoop::with_virtual_clock().run(async {
///     // As a task, which is cancelled with all that is in it.
///     let job = spawn(try_task_group(async |group| {
///         group.try_spawn(async {
///             sleep(Duration::from_secs(60)).await;
///             Err::<(), _>("too late to fail")
///         });
///         Ok(())
///     }));
///     yield_now().await;
///     job.cancel();
///     assert!(job.await.unwrap_err().is_cancelled());
/// });
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct TryRunGroup<F: Future, E: 'static> {
    group: RunGroup<F, E>,
}

impl<F, T, E> Future for TryRunGroup<F, E>
where
    F: Future<Output = Result<T, E>>,
{
    type Output = Result<T, GroupError<E>>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let (output, mut errors) = ready!(self.group.poll_ended(|output| output.is_err(), context));
        Poll::Ready(match output {
            Some(Ok(value)) if errors.is_empty() => Ok(value),
            Some(Err(error)) => {
                errors.push(ChildError::Failed(error));
                Err(GroupError { errors })
            }
            _ => Err(GroupError { errors }),
        })
    }
}

impl<F: Future, E> fmt::Debug for TryRunGroup<F, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.group.fmt(f)
    }
}
