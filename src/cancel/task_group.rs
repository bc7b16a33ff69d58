//! Task groups: a group ends when all its tasks have ended, and the failure of one task cancels the
//! others.
//!
//! A group uses the done callbacks of its children. It is a block (`block.rs`); the first failure
//! interrupts it. An interruption that comes from code around the group waits in the group until
//! the children have ended. If a child has failed, the interruption then ends here; otherwise it
//! continues.
//!
//! This file does not know what children do. Next: `cleanup.rs`.

use crate::cancel::block::{Block, BlockScope, Interruption};
use crate::error::{Panic, TaskError};
use crate::kernel::callbacks::exceptions::{self, Exception};
use crate::kernel::cancel::scopes::{Arrival, Dropped, Inside, Scope, Unwound};
use crate::kernel::cell::AnyTask;
use crate::kernel::explore::unknown;
use crate::kernel::table::records::{Awaited, Wait};
use crate::kernel::{ScopeKey, clone_uncounted, context};
use crate::leaf::{Record, cancel, raise, running};
use crate::platform::{catch_unwind, resume_unwind};
use crate::task::Task;
use crate::task::child::describe_tasks;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::rc::{Rc, Weak};
use alloc::vec::Vec;
use core::any::Any;
use core::cell::{Cell, RefCell};
use core::convert::Infallible;
use core::fmt;
use core::panic::AssertUnwindSafe;
use core::pin::Pin;
use core::task::{Context, Poll, Waker, ready};

/// Runs `body` in the current task, with a group in which it can spawn children. Ends when the body
/// and all children have ended.
///
/// `body` gets the [`TaskGroup`], a handle that can be cloned, so children may spawn children. A
/// child that panics fails the group: the other children are cancelled, and so is what the body
/// awaits. When all have ended, the group returns the panics in a [`GroupError`]. A child that is
/// cancelled does not affect the group. For children that return a `Result`, use
/// [`try_task_group`].
///
/// When the task is cancelled, `body` is dropped first. Then the children are cancelled, and the
/// group waits for their end, including their cleanups. A second cancellation does not end this
/// wait. If no child has failed by then, the cancellation continues. If a child has failed, the
/// group returns the errors, and the task is interrupted again when it next suspends. If the task
/// returns before that, for example by `?`, this value is its outcome, so no error is lost. The
/// same holds when a timeout around the group expires, and when a group around it fails.
///
/// If another future waits beside the group in the same task, in a `join!`, `body` is dropped only
/// after the children have ended. The group detects such a future if it waits on a future of this
/// crate (except a pending sleep), or has caused an earlier poll of the group. A future that the
/// group does not detect may be polled once more after the cancellation.
///
/// Cancel safety: a cancellation loses nothing. If the group is dropped without a cancellation, for
/// example in a `select!` that another branch has won, it cancels its children and cannot wait for
/// their end. Errors that were not returned by then, and later ones, go to the exception handler.
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
/// Two allocations, one more if the body awaits something, and two more for the first child. Each
/// child takes two, or three with [`try_spawn`](TaskGroup::try_spawn). The first scope of a task
/// takes two more, for the task's list of scopes. A child's end and the group's end take a turn
/// each. Without children there is no extra turn.
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
    // The compiler shows this line.
    B: FnOnce(TaskGroup<Infallible>) -> F, // an `AsyncFnOnce` that you pass on: `|group| body(group)`
    F: Future,
{
    unknown("task groups");
    RunGroup::new(body)
}

/// Like [`task_group`], with errors: an `Err` of `body`, or of a child that was spawned with
/// [`try_spawn`](TaskGroup::try_spawn), fails the group as well.
///
/// The body is a closure that returns a future. An `AsyncFnOnce` that your function gets as an
/// argument is not one for the compiler; pass it on in a closure:
///
/// ```
/// use onelane::{GroupError, TaskGroup, try_task_group};
///
/// async fn logged<T>(body: impl AsyncFnOnce(TaskGroup<String>) -> Result<T, String>) -> Result<T, GroupError<String>> {
///     try_task_group(|group| body(group)).await.inspect_err(|error| eprintln!("{error}"))
/// }
///
/// assert_eq!(onelane::run(logged(async |_| Ok(7))).unwrap(), 7);
/// ```
///
/// # Errors
///
/// The errors and panics of the children, in the order in which they ended, then the error of
/// `body`.
///
/// # Panics
///
/// As for [`task_group`].
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
    // The compiler shows this line.
    B: FnOnce(TaskGroup<E>) -> F, // an `AsyncFnOnce` that you pass on: `|group| body(group)`
    F: Future<Output = Result<T, E>>,
    E: 'static,
{
    unknown("task groups");
    TryRunGroup { group: RunGroup::new(body) }
}

/// A handle of a task group, for its body and its children. See [`task_group`].
///
/// Cloning creates another handle to the same group.
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

/// The result of a child whose error went to its group.
///
/// # Examples
///
/// ```
/// use onelane::{ChildFailed, EventLoop, try_task_group};
///
/// EventLoop::with_virtual_clock().run(async {
///     let mut child = None;
///     let result = try_task_group(async |group| {
///         child = Some(group.try_spawn(async { Err::<(), _>("disk full") }));
///         Ok(())
///     });
///     // The group returns the error; the child only reports that it failed.
///     assert_eq!(result.await.unwrap_err().to_string(), "1 failure(s) in a task group: disk full");
///     assert_eq!(child.unwrap().await, Ok(Err(ChildFailed)));
/// });
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChildFailed;

impl fmt::Display for ChildFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the child failed, and its group has the error")
    }
}

impl core::error::Error for ChildFailed {}

/// How one child, or the body, failed.
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

/// The source of `Panicked` is the [`Panic`]. An error of the child is in `Failed`, and need not
/// implement this trait.
impl<E: fmt::Debug + fmt::Display> core::error::Error for ChildError<E> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            ChildError::Failed(_) => None,
            ChildError::Panicked(panic) => Some(panic),
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
/// // Like asyncio's `except*`: takes the known errors out, and continues with the others.
/// let mut error = EventLoop::with_virtual_clock().run(upload()).unwrap_err();
/// error.errors.retain(|error| *error != ChildError::Failed("no route"));
/// assert_eq!(error.errors, [ChildError::Failed("no space")]);
/// ```
#[doc(alias = "ExceptionGroup")]
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupError<E> {
    /// The failures of the children, in the order in which they ended, then the failure of the
    /// body. Empty if nothing failed, and the group was [cancelled](TaskGroup::cancel) before its
    /// body returned.
    pub errors: Vec<ChildError<E>>,
}

impl<E: fmt::Display> fmt::Display for GroupError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.errors.is_empty() {
            return f.write_str("the task group was cancelled");
        }
        write!(f, "{} failure(s) in a task group", self.errors.len())?;
        for (nth, error) in self.errors.iter().enumerate() {
            write!(f, "{} {error}", if nth == 0 { ":" } else { ";" })?;
        }
        Ok(())
    }
}

/// The source is the first failure, a [`ChildError`].
impl<E: fmt::Debug + fmt::Display + 'static> core::error::Error for GroupError<E> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        self.errors.first().map(|error| error as _)
    }
}

/// A single error that a child has returned stays as it is. Otherwise the kind is that of the first
/// such error.
#[cfg(feature = "std")]
impl From<GroupError<std::io::Error>> for std::io::Error {
    fn from(mut error: GroupError<std::io::Error>) -> Self {
        if let [ChildError::Failed(_)] = error.errors[..] {
            if let Some(ChildError::Failed(only)) = error.errors.pop() {
                return only;
            }
        }
        let kind = error.errors.iter().find_map(|error| match error {
            ChildError::Failed(error) => Some(error.kind()),
            ChildError::Panicked(_) => None,
        });
        std::io::Error::new(kind.unwrap_or(std::io::ErrorKind::Other), error)
    }
}

/// A running group. Owned by its children's callbacks, its handles, and its future.
struct State<E> {
    /// By number, and so in the order in which they were spawned.
    children: RefCell<BTreeMap<u64, AnyTask>>,
    failures: RefCell<Vec<Failure<E>>>,
    stage: Cell<Stage>,
    /// The loop of the children, to which the numbers belong.
    loop_id: Cell<Option<u64>>,
    /// A failure or a cancellation has occurred. All children were cancelled, and children that are
    /// spawned later will be.
    aborting: Cell<bool>,
    /// `cancel` was called.
    is_cancelled: Cell<bool>,
    /// The children's futures may be in a scope (`scope.rs`).
    kind: Cell<&'static Kind>,
    /// The interruption of the body.
    interruption: Interruption,
    /// The body has returned an error, or has panicked.
    body_failed: Cell<bool>,
    /// The state of an interruption of the whole group.
    exit: Exit,
    /// The waker of the task that waits for the last child.
    waker: Cell<Option<Waker>>,
    /// The record that the task waits for the children, after the body or in a cleanup.
    record: RefCell<Record>,
    this: Weak<Self>,
}

/// The state of an interruption that has reached a group and is driven by code further out.
#[derive(Default)]
struct Exit {
    /// It has arrived, and waits here for the children.
    has_come: Cell<bool>,
    /// For what the body waited then, by number. The body is not polled any more.
    body_waits: RefCell<Vec<u64>>,
    /// It is the panic of a cleanup.
    is_panic: Cell<bool>,
    /// It ends here, because the group has errors.
    is_caught: Cell<bool>,
    /// The future of the group was dropped, and the body with it.
    body_is_gone: Cell<bool>,
    /// The next poll must drop the body.
    drops_body: Cell<bool>,
    /// The panic of the body's destructors.
    payload: Cell<Option<Box<dyn Any + Send>>>,
    /// Another future is beside the group in its task. A poll of the task would also poll that
    /// future.
    is_beside: Cell<bool>,
}

struct Failure<E> {
    /// When the group returns this failure, a panic of the child counts as read: it is not reported
    /// any more.
    child: AnyTask,
    error: ChildError<E>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Body,
    /// The body has ended; the last child ends the group.
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
            self.failed();
        }
        if self.children.borrow().is_empty() {
            self.wake();
        }
        drop(held);
    }

    /// The first failure cancels the other children, and interrupts the task inside the group.
    fn failed(&self) {
        let is_first = !self.aborting.get();
        self.abort();
        match self.stage.get() {
            Stage::Body if is_first => self.interruption.request(),
            Stage::Exiting if is_first => self.wake(),
            Stage::Finished => self.report_failures(),
            _ => {}
        }
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Whether the group was cancelled by a handle, and no code further out has requested an
    /// interruption.
    fn ends_by_its_own_cancellation(&self) -> bool {
        self.is_cancelled.get() && !self.interruption.is_asked_from_outside()
    }

    fn has_failures(&self) -> bool {
        !self.failures.borrow().is_empty() || self.body_failed.get()
    }

    /// The errors will not be returned any more, so they are reported to the exception handler.
    /// Panics are reported by their tasks.
    fn report_failures(&self) {
        for Failure { child, error } in self.failures.take() {
            if let ChildError::Failed(error) = error {
                let what = format!("an error of type {}", core::any::type_name::<E>());
                exceptions::drop_value(error);
                let task = Some((child.header().name(), child.header().spawned_at));
                let panic = Panic::new(Box::new(what));
                exceptions::report_of(child.header().token(), Exception { message: self.kind.get().lost, panic, task });
            }
        }
    }

    fn is_in_running_task(&self) -> bool {
        let running = context::running().and_then(|kernel| kernel.current());
        running.is_some_and(|task| self.interruption.task() == Some(task.header().token()))
    }

    /// Whether the future of the group has moved into the group's last child. Then the group must
    /// not wait for this child.
    fn is_waited_for_by_its_last_child(&self) -> bool {
        let Some(task) = context::running().and_then(|kernel| kernel.current()) else { return false };
        self.children.borrow().keys().all(|&id| id == task.header().id)
    }

    /// Wakes the children whose steps have not reached the scope. From now on the scope is not polled
    /// for itself, so they try once more, or end. A cancelled one does not wait for tasks any more: if
    /// they are children of a scope in it, nothing will poll them.
    fn wake_missed(&self) {
        let Some(kernel) = context::running() else { return };
        let children: Vec<_> = self.children.borrow().values().cloned().collect();
        for child in children.iter().map(AnyTask::header).filter(|child| child.is_missed()) {
            kernel.table.force(child);
            kernel.table.wake(child.token());
        }
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
        let new = clone_uncounted(context.waker());
        drop(self.waker.replace(Some(new)));
        self.record.borrow_mut().begin(|| Wait::On(self.this.clone()));
        Poll::Pending
    }
}

/// Where a group is.
pub(super) struct Whereabouts {
    pub(super) key: ScopeKey,
    /// If an interruption from further out has reached the group, and waits here for the children:
    /// for what the body waited when it came, by number.
    pub(super) body_waits: Option<Vec<u64>>,
}

/// What misuse and lost errors are reported of: a task group, or a scope.
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) short: &'static str,
    pub(super) spawn: &'static str,
    pub(super) lost: &'static str,
    pub(super) in_a_body: &'static str,
    pub(super) polled_again: &'static str,
}

static GROUP: Kind = Kind {
    name: "task group",
    short: "group",
    spawn: "TaskGroup::spawn()",
    lost: "a child of a task group failed, and its group was dropped before it could tell",
    in_a_body: "the body of a task group panicked, and the group ended before its children had",
    polled_again: "a task group was polled after it was ready",
};

impl<E: 'static> Scope for State<E> {
    fn unwind(&self, arrival: Arrival) -> Unwound {
        if self.exit.has_come.replace(true) {
            // The group already waits for the children, and they have been cancelled.
            return Unwound::Absorbed;
        }
        self.exit.is_panic.set(arrival.panicked);
        if !core::ptr::eq(self.kind.get(), &GROUP) {
            self.exit.body_waits.replace(self.interruption.waits_inside());
            self.wake_missed();
        }
        self.interruption.wake_poller();
        // What the group waited for before is not polled any more.
        self.record.borrow_mut().end();
        Unwound::CleansUp
    }

    /// The body may borrow, so it is in the group's future, and only a poll of that future can drop
    /// it early. Such a poll would also poll other branches of the task, beside the group. So if
    /// there are any, the body stays, and is dropped with the future after the children have ended.
    fn drop_body(&self, is_alone: bool) -> Dropped {
        if self.stage.get() != Stage::Body || !is_alone || self.exit.is_beside.get() || self.exit.body_is_gone.get() {
            return Dropped::Here;
        }
        self.exit.drops_body.set(true);
        Dropped::WhenPolled
    }

    fn poll_cleanup(&self, context: &mut Context<'_>) -> Poll<Unwound> {
        self.exit.drops_body.set(false);
        if let Some(payload) = self.exit.payload.take() {
            self.exit.is_panic.set(true);
            resume_unwind(payload);
        }
        self.stage.set(Stage::Exiting);
        self.abort();
        if self.is_waited_for_by_its_last_child() {
            self.record.borrow_mut().end();
        } else {
            ready!(self.poll_children(context));
        }
        if self.has_failures() && !self.exit.is_panic.get() {
            self.exit.is_caught.set(true);
            // The task may never poll the group again. So the interruption is requested again here,
            // and not only when the group returns its errors.
            self.interruption.ask_again();
            self.interruption.wake_poller();
            return Poll::Ready(Unwound::Caught);
        }
        self.stage.set(Stage::Finished);
        self.report_failures();
        self.interruption.wake_poller();
        Poll::Ready(Unwound::Through)
    }

    fn inside(&self) -> Option<&dyn Inside> {
        Some(&self.interruption)
    }

    /// The children are cancelled, and the group does not wait for them.
    fn hand_over(self: Rc<Self>) {
        self.abort();
        self.stage.set(Stage::Finished);
        self.report_failures();
    }
}

impl<E: 'static> BlockScope for State<E> {
    fn interruption(&self) -> &Interruption {
        &self.interruption
    }
}

/// This wait has no links: a cancellation reaches the children through the scope.
impl<E> Awaited for State<E> {
    fn tasks(&self) -> Vec<AnyTask> {
        self.children.borrow().values().cloned().collect()
    }

    fn outwaited(&self) -> Vec<AnyTask> {
        self.tasks()
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a group of ")?;
        describe_tasks(&self.tasks(), f)
    }
}

impl<E: 'static> TaskGroup<E> {
    /// The group belongs to a scope. Returns a function that returns where the group is, as long as it
    /// is polled in a task.
    pub(super) fn whereabouts(&self, kind: &'static Kind) -> impl Fn() -> Option<Whereabouts> + 'static {
        self.state.kind.set(kind);
        let state = self.state.this.clone();
        move || {
            let state = state.upgrade()?;
            Some(Whereabouts {
                key: state.interruption.key()?,
                body_waits: state.exit.has_come.get().then(|| state.exit.body_waits.borrow().clone()),
            })
        }
    }

    /// Cancels the group: its children are cancelled, also those that are spawned from now on. Its
    /// body is interrupted where it waits, or when it next suspends. Cleanups run. The cancellation
    /// does not reach the task around the group. If a child or the body fails nevertheless, the
    /// group returns a [`GroupError`] with those failures. Otherwise it returns the output of the
    /// body, if the body has returned one, or a [`GroupError`] without errors.
    ///
    /// If the group has ended, nothing happens. If the task around the group is cancelled as well,
    /// the cancellation of the task continues after the group has ended.
    ///
    /// asyncio: `TaskGroup.cancel()` (Python 3.15), where a cancelled group ends without an error.
    /// Here a group whose body has not returned has no output, so it returns an error.
    ///
    /// # Examples
    ///
    /// The first child that finds something ends the search:
    ///
    /// ```
    /// use onelane::{EventLoop, sleep, task_group};
    /// use std::{cell::Cell, rc::Rc, time::Duration};
    ///
    /// let found = Rc::new(Cell::new(None));
    /// let copy = found.clone();
    /// let result = EventLoop::with_virtual_clock().run(task_group(async move |group| {
    ///     for place in [30, 10, 20] {
    ///         let (group_of_all, found) = (group.clone(), copy.clone());
    ///         group.spawn(async move {
    ///             sleep(Duration::from_secs(place)).await;
    ///             found.set(Some(place));
    ///             group_of_all.cancel();
    ///         });
    ///     }
    /// }));
    /// assert_eq!((found.get(), result), (Some(10), Ok(())));
    /// ```
    #[doc(alias = "cancel_scope")]
    pub fn cancel(&self) {
        let state = &self.state;
        if state.stage.get() == Stage::Finished || state.is_cancelled.replace(true) {
            return;
        }
        let is_first = !state.aborting.get();
        state.abort();
        match state.stage.get() {
            Stage::Body if is_first && state.is_in_running_task() => {
                state.interruption.interrupt_next();
                Inside::wake(&state.interruption);
            }
            Stage::Body if is_first => state.interruption.request(),
            Stage::Exiting if is_first => state.wake(),
            _ => {}
        }
    }

    /// Spawns a child, like [`spawn`](crate::spawn()). While the group ends because of a failure or
    /// a cancellation, the child is cancelled at once.
    ///
    /// asyncio: `TaskGroup.create_task(coro)`.
    ///
    /// # Panics
    ///
    /// If the group has ended: its body and all children have ended. If no loop is running on this
    /// thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, sleep, task_group};
    /// use std::time::Duration;
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let slow = task_group(async |group| group.spawn(sleep(Duration::from_secs(60)))).await;
    ///     assert!(slow.unwrap().is_done()); // it was not awaited, but the group has waited for it
    /// });
    /// ```
    #[doc(alias = "create_task")]
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future<Output: 'static> + 'static,
    {
        self.add(None, future, || None, |_| false)
    }

    /// Like [`spawn`](Self::spawn). An `Err` fails the group, which takes the error. An await of
    /// the child returns [`ChildFailed`].
    ///
    /// # Panics
    ///
    /// As for [`spawn`](Self::spawn).
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
    ///         // The group reports the first two errors.
    ///         total += part.await.unwrap().unwrap();
    ///     }
    ///     Ok(total)
    /// }));
    /// assert_eq!(total, Ok(7));
    /// ```
    #[doc(alias = "create_task")]
    #[track_caller]
    pub fn try_spawn<T, F>(&self, future: F) -> Task<Result<T, ChildFailed>>
    where
        F: Future<Output = Result<T, E>> + 'static,
        T: 'static,
    {
        let error = Rc::new(Cell::new(None));
        let copy = error.clone();
        let child = async move {
            future.await.map_err(|error| {
                copy.set(Some(error));
                keep_result();
                ChildFailed
            })
        };
        self.add(None, child, move || error.take(), |result| result.is_err() || size_of::<T>() == 0)
    }

    /// When the child has ended, `error` returns the error that it has left for the group.
    /// `is_told` returns whether the group reports everything that is in the child's outcome. If
    /// so, the outcome counts as read. `future_type` is the type that the child is named after, if
    /// it is not the type of the future.
    #[track_caller]
    pub(super) fn add<F>(
        &self,
        future_type: Option<&str>,
        future: F,
        error: impl FnOnce() -> Option<E> + 'static,
        is_told: fn(&F::Output) -> bool,
    ) -> Task<F::Output>
    where
        F: Future<Output: 'static> + 'static,
    {
        let kind = self.state.kind.get();
        assert!(
            self.state.stage.get() != Stage::Finished,
            "a child was spawned into a {} that has ended; spawn while its body or a child runs",
            kind.name
        );
        let kernel = running(kind.spawn);
        assert!(
            self.state.loop_id.get().is_none_or(|loop_id| loop_id == kernel.id()),
            "a child was spawned into a {} of another event loop; spawn in the {}'s own loop",
            kind.name,
            kind.short
        );
        self.state.loop_id.set(Some(kernel.id()));
        let name = future_type.and_then(|future_type| kernel.next_name(future_type));
        let task = Task::spawn_on(&kernel, name, future);
        self.state.children.borrow_mut().insert(task.cell.header().id, task.erased());
        let state = self.state.clone();
        // This is the child's first callback, so its outcome was not taken before the call.
        task.add_done_callback(move |task| {
            let panic = match task.cell.outcome().map(RefCell::borrow).as_deref() {
                Some(Some(Err(TaskError::Panicked(panic)))) => Some(ChildError::Panicked(panic.clone())),
                Some(Some(Ok(output))) if is_told(output) => {
                    task.cell.header().look_at();
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

/// The output of a body, or its panic. `Ok(None)` if the body was interrupted.
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
///     assert_eq!(all_tasks().len(), 1); // the child has ended with the group
/// });
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct RunGroup<F: Future, E: 'static> {
    body: Block<F, State<E>>,
    /// Set when the body has ended.
    ended: Option<BodyEnd<F::Output>>,
    /// The group was polled.
    begun: bool,
}

impl<F: Future, E: 'static> RunGroup<F, E> {
    #[track_caller]
    pub(super) fn new(body: impl FnOnce(TaskGroup<E>) -> F) -> Self {
        let record = Record::here();
        let new = |this: &Weak<State<E>>| State {
            children: RefCell::default(),
            failures: RefCell::default(),
            stage: Cell::new(Stage::Body),
            loop_id: Cell::new(None),
            aborting: Cell::new(false),
            is_cancelled: Cell::new(false),
            kind: Cell::new(&GROUP),
            interruption: Interruption::default(),
            body_failed: Cell::new(false),
            exit: Exit::default(),
            waker: Cell::new(None),
            record: RefCell::new(record),
            this: this.clone(),
        };
        let state = Rc::new_cyclic(new);
        let future = body(TaskGroup { state: state.clone() });
        RunGroup { body: Block::new(state, future), ended: None, begun: false }
    }

    fn state(&self) -> &Rc<State<E>> {
        self.body.scope()
    }

    /// Ready when the body and all children have ended, with the result of the body and the errors
    /// of the children.
    #[expect(clippy::type_complexity, reason = "it is taken apart at once, in two places")]
    #[track_caller]
    pub(super) fn poll_ended(
        &mut self,
        has_failed: impl FnOnce(&F::Output) -> bool,
        context: &mut Context<'_>,
    ) -> Poll<(Option<F::Output>, Vec<ChildError<E>>)> {
        let state = self.state().clone();
        if state.exit.drops_body.take() {
            self.drop_body(&state);
            state.interruption.keep_waker(context);
            return Poll::Pending;
        }
        if state.exit.is_caught.get() {
            self.body.drop_future();
            return Poll::Ready(self.finish(&state));
        }
        if state.exit.has_come.get() && state.stage.get() == Stage::Finished && !self.body.place().is_entered() {
            // Code beside the group has caught the interruption that was passing through.
            raise(context);
            return Poll::Pending;
        }
        if self.body.place().is_too_late(context) {
            return Poll::Pending;
        }
        let moved = self.body.enter();
        if state.exit.has_come.get() && !moved {
            // Code further out waits for the children. Or it has waited, and code beside the group
            // has caught the interruption.
            if state.interruption.is_left_behind() {
                raise(context);
            }
            state.interruption.keep_waker(context);
            return Poll::Pending;
        }
        if moved && state.exit.has_come.take() && self.ended.is_none() {
            // The group was interrupted in another task, and continues in this one. If something
            // was beside the group there, the body may still exist. The body is dropped without a
            // poll.
            state.stage.set(Stage::Exiting);
            self.ended = Some(catch_unwind(AssertUnwindSafe(|| self.body.drop_future())).map(|()| None));
        }
        if self.ended.is_none() {
            assert!(!self.body.is_over(), "{}", state.kind.get().polled_again);
            let ended = ready!(self.poll_body(&state, context));
            state.stage.set(Stage::Exiting);
            state.body_failed.set(match &ended {
                Ok(Some(output)) => has_failed(output),
                Ok(None) => false,
                Err(_) => true,
            });
            if state.body_failed.get() || matches!(ended, Ok(None)) {
                state.abort();
            }
            self.ended = Some(ended);
        }
        if state.poll_children(context).is_pending() {
            state.interruption.keep_waker(context);
            if state.interruption.take_next() {
                // An interruption that was meant for the body has reached the wait for the
                // children. It does not end this wait.
                context.waker().wake_by_ref();
            }
            return Poll::Pending;
        }
        if matches!(self.ended, Some(Ok(None))) && !state.has_failures() && !state.ends_by_its_own_cancellation() {
            // The interruption of the body continues outside the group, in this step.
            state.stage.set(Stage::Finished);
            state.exit.has_come.set(true);
            self.body.leave();
            raise(context);
            return Poll::Pending;
        }
        Poll::Ready(self.finish(&state))
    }

    #[track_caller]
    fn poll_body(&mut self, state: &State<E>, context: &mut Context<'_>) -> Poll<BodyEnd<F::Output>> {
        let kernel = context::running();
        let look = || kernel.as_ref().map(|kernel| (kernel.table.numbered(), kernel.table.running_is_woken()));
        let before = look();
        let ended = match catch_unwind(AssertUnwindSafe(|| self.body.poll(context))) {
            Ok(Poll::Ready(end)) => Ok(end.ok()),
            Ok(Poll::Pending) => {
                // Something else woke the task in this step, or polled the group although the group was
                // not woken.
                let is_woken = before.is_some_and(|(_, is_woken)| is_woken);
                let is_for_nothing = core::mem::replace(&mut self.begun, true) && before == look();
                let is_for_a_child = || kernel.as_ref().is_some_and(|kernel| kernel.target() != 0);
                if (is_woken || is_for_nothing) && !state.interruption.is_frozen() && !is_for_a_child() {
                    state.exit.is_beside.set(true);
                }
                return Poll::Pending;
            }
            Err(payload) => Err(payload),
        };
        Poll::Ready(ended)
    }

    fn drop_body(&mut self, state: &State<E>) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| self.body.drop_future())) {
            let before = state.exit.payload.replace(Some(payload));
            debug_assert!(before.is_none(), "a body is dropped once");
        }
    }

    /// The group has ended.
    fn finish(&mut self, state: &State<E>) -> (Option<F::Output>, Vec<ChildError<E>>) {
        if state.has_failures() {
            // The errors are returned first. If other code has requested an interruption, the task
            // is interrupted after that.
            state.interruption.ask_again();
        }
        self.body.leave();
        state.stage.set(Stage::Finished);
        // If the body panicked, that panic continues, and the panics of children go to the
        // exception handler.
        let ended = self.ended.take().unwrap_or(Ok(None));
        let output = ended.unwrap_or_else(|payload| {
            state.report_failures();
            resume_unwind(payload)
        });
        let told = |failure: Failure<E>| {
            failure.child.header().look_at();
            failure.error
        };
        (output, state.failures.take().into_iter().map(told).collect())
    }
}

/// Called by a child that is about to return an error. The child ends with this error, even if it
/// was cancelled in this step.
pub(super) fn keep_result() {
    if let Some(kernel) = context::running() {
        kernel.keep_result();
    }
}

// The output of the body is not pinned, and the body is in a box.
impl<F: Future, E> Unpin for RunGroup<F, E> {}

impl<F: Future> Future for RunGroup<F, Infallible> {
    type Output = Result<F::Output, GroupError<Infallible>>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let (output, errors) = ready!(self.poll_ended(|_| false, context));
        Poll::Ready(match output {
            Some(output) if errors.is_empty() => Ok(output),
            // The group has failed, or was cancelled by a handle.
            _ => Err(GroupError { errors }),
        })
    }
}

impl<F: Future, E> Drop for RunGroup<F, E> {
    fn drop(&mut self) {
        let state = self.state().clone();
        if self.body.place().leave_to_unwinding(|| state.clone()) {
            // The code that unwinds what is around the group waits for the children.
            state.exit.body_is_gone.set(true);
            self.body.drop_future();
        } else {
            state.record.borrow_mut().end();
            drop(state.waker.take());
            state.abort();
            // The body's destructors may still spawn; such children are cancelled at once. A panic
            // of a destructor does not replace an error of a child.
            let dropped = catch_unwind(AssertUnwindSafe(|| self.body.end()));
            state.stage.set(Stage::Finished);
            state.report_failures();
            if let Err(payload) = dropped {
                exceptions::reached_nobody(state.loop_id.get().unwrap_or(0), state.kind.get().in_a_body, payload);
            }
        }
        if let Some(Err(payload)) = self.ended.take() {
            // The body has panicked, and the group was dropped before it could pass the panic on.
            exceptions::reached_nobody(state.loop_id.get().unwrap_or(0), state.kind.get().in_a_body, payload);
        }
    }
}

impl<F: Future, E> fmt::Debug for RunGroup<F, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunGroup").field("group", &TaskGroup { state: self.state().clone() }).finish()
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

/// The result of a group whose body returns a `Result`. The error of the body comes after those of the
/// children. `None`: the body has not returned.
pub(crate) fn result_of<T, E>(
    output: Option<Result<T, E>>,
    mut errors: Vec<ChildError<E>>,
) -> Result<T, GroupError<E>> {
    match output {
        Some(Ok(value)) if errors.is_empty() => return Ok(value),
        Some(Err(error)) => errors.push(ChildError::Failed(error)),
        _ => {}
    }
    Err(GroupError { errors })
}

impl<F, T, E> Future for TryRunGroup<F, E>
where
    F: Future<Output = Result<T, E>>,
{
    type Output = Result<T, GroupError<E>>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let (output, errors) = ready!(self.group.poll_ended(|output| output.is_err(), context));
        Poll::Ready(result_of(output, errors))
    }
}

impl<F: Future, E> fmt::Debug for TryRunGroup<F, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.group.fmt(f)
    }
}
