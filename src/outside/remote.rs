//! Using the loop from other threads.

use crate::error::{LoopClosed, TaskError};
use crate::kernel::cell::Outcome;
use crate::kernel::table::records::Wait;
use crate::kernel::{Inbox, Kernel, Message, Token, clone_uncounted, context};
use crate::leaf::Record;
use crate::platform::{Condvar, Mutex, MutexGuard};
use crate::task::Task;
use crate::task::join::take_outcome;
use alloc::{boxed::Box, sync::Arc};
use core::fmt;
use core::panic::Location;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use futures_task::{FutureObj, Spawn, SpawnError};

/// The `Send` handle of a loop: spawns tasks and schedules callbacks on it from any thread.
///
/// The loop takes what was sent at the beginning of its next turn, in the order of sending; a
/// sleeping loop is woken. A `call_soon` on the loop's own thread comes after what was sent before.
/// While a `Remote` exists, a loop on a virtual clock, or in debug mode, waits for messages instead
/// of reporting a deadlock; a virtual clock still jumps. A `Remote` does not keep the loop alive.
///
/// Implements `futures_task::Spawn`.
///
/// # Examples
///
/// ```
/// let event_loop = onelane::EventLoop::new();
/// let remote = event_loop.remote();
/// let thread = std::thread::spawn(move || {
///     let task = remote.spawn(async { 6 * 7 }).unwrap();
///     task.wait()
/// });
/// while !thread.is_finished() {
///     event_loop.turn();
/// }
/// assert_eq!(thread.join().unwrap(), Ok(42));
/// ```
pub struct Remote {
    inbox: &'static Inbox,
    loop_id: u64,
}

impl Remote {
    pub(crate) fn to(kernel: &Kernel) -> Self {
        let remote = Remote { inbox: kernel.inbox(), loop_id: kernel.id() };
        remote.inbox.add_remote(remote.loop_id);
        kernel.note_remote();
        remote
    }

    /// Whether the loop exists and belongs to this thread.
    #[cfg(feature = "sync")]
    pub(super) fn is_here(&self) -> bool {
        crate::kernel::context::find(self.loop_id).is_some()
    }

    /// Schedules `callback` on the loop's thread.
    ///
    /// asyncio: `loop.call_soon_threadsafe`.
    ///
    /// # Errors
    ///
    /// If the loop has been dropped; the callback is dropped too. A callback that the loop has not
    /// reached when it is dropped is never called.
    ///
    /// # Examples
    ///
    /// ```
    /// let remote = onelane::EventLoop::new().remote();
    /// assert_eq!(remote.call_soon(|| ()), Err(onelane::LoopClosed));
    /// ```
    #[doc(alias = "call_soon_threadsafe")]
    pub fn call_soon(&self, callback: impl FnOnce() + Send + 'static) -> Result<(), LoopClosed> {
        // The message is dropped here, where the inbox is not locked.
        self.inbox.send(self.loop_id, Message::Call(Box::new(callback))).map_err(|_| LoopClosed)
    }

    /// Spawns a task on the loop. Dropping the returned handle lets the task run on.
    ///
    /// asyncio: `run_coroutine_threadsafe`.
    ///
    /// # Errors
    ///
    /// If the loop has been dropped; the future is dropped too.
    ///
    /// # Cost
    ///
    /// Five allocations and three locks.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, sleep};
    /// use std::{thread, time::Duration};
    ///
    /// let event_loop = EventLoop::with_virtual_clock();
    /// let remote = event_loop.remote();
    /// let thread = thread::spawn(move || {
    ///     remote.spawn(async {
    ///         sleep(Duration::from_secs(3600)).await; // on the loop, so by its clock
    ///         "rested"
    ///     })
    /// });
    /// let task = thread.join().unwrap().unwrap();
    /// assert_eq!(event_loop.run(task), Ok("rested"));
    /// ```
    #[doc(alias = "run_coroutine_threadsafe")]
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> Result<RemoteTask<F::Output>, LoopClosed>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let state = State { outcome: None, waker: None, token: None, cancelled: false, ended: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let promise = Promise(Some(shared.clone()));
        let caller = Location::caller();
        self.call_soon(move || start(caller, future, promise))?;
        Ok(RemoteTask { shared, inbox: self.inbox, loop_id: self.loop_id, record: Record::here() })
    }
}

/// Called on the loop's thread, in a callback. Creates the task. If the task was cancelled in the
/// meantime, it is cancelled before its first step.
fn start<F>(spawned_at: &'static Location<'static>, future: F, promise: Promise<F::Output>)
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    let kernel = context::running().expect("a callback is called in a turn of its loop");
    let task = Task { cell: kernel.spawn(None, spawned_at, future) };
    let delivery = promise.accept(&task);
    let cancelled = {
        let mut state = delivery.shared.lock();
        state.token = Some(task.cell.header().token());
        state.cancelled
    };
    task.add_done_callback(move |_| drop(delivery));
    if cancelled {
        task.cancel();
    }
}

impl Clone for Remote {
    fn clone(&self) -> Self {
        self.inbox.add_remote(self.loop_id);
        Remote { inbox: self.inbox, loop_id: self.loop_id }
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.inbox.remove_remote(self.loop_id);
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("loop_id", &self.loop_id).finish()
    }
}

impl Spawn for Remote {
    fn spawn_obj(&self, future: FutureObj<'static, ()>) -> Result<(), SpawnError> {
        self.spawn(future).map(drop).map_err(|LoopClosed| SpawnError::shutdown())
    }
}

/// A task that was spawned from another thread.
///
/// A future, which may be awaited on any executor, or waited for with [`wait`](Self::wait).
/// Dropping it lets the task run on. If the loop is dropped first, the task counts as cancelled.
///
/// A `RemoteTask` does not keep the loop from reporting a deadlock, although it could
/// [`cancel`](Self::cancel) the task. If you intend to cancel the task, keep a [`Remote`] as well.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, TaskError};
///
/// let event_loop = EventLoop::with_virtual_clock();
/// let task = event_loop.remote().spawn(async { 1 }).unwrap();
/// drop(event_loop); // before it has taken the task over
/// assert_eq!(task.wait(), Err(TaskError::Cancelled));
/// ```
#[must_use = "the task runs, but its result is lost unless it is awaited"]
pub struct RemoteTask<T> {
    shared: Arc<Shared<T>>,
    /// How to find the loop. Not a `Remote`, because it does not promise further messages.
    inbox: &'static Inbox,
    loop_id: u64,
    record: Record,
}

const TAKEN: &str = "the result of a RemoteTask was taken twice; keep the result of the first await or wait()";

impl<T: Send + 'static> RemoteTask<T> {
    /// Blocks this thread until the task has ended.
    ///
    /// # Errors
    ///
    /// If the task was cancelled, panicked, or its loop was dropped.
    ///
    /// # Panics
    ///
    /// In a turn of a loop: it would wait for ever if the task belongs to that loop. Await the task
    /// there. If an await has taken the result.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::thread;
    ///
    /// let event_loop = onelane::EventLoop::with_virtual_clock();
    /// let task = event_loop.remote().spawn(async { 6 * 7 }).unwrap();
    /// let waiter = thread::spawn(move || task.wait());
    /// while !event_loop.turn().is_idle() {}
    /// assert_eq!(waiter.join().unwrap(), Ok(42));
    /// ```
    #[cfg(feature = "std")]
    #[cfg_attr(docsrs, doc(cfg(feature = "std")))]
    pub fn wait(self) -> Result<T, TaskError> {
        assert!(
            !context::is_running(),
            "RemoteTask::wait() was called in a turn of a loop, which it would block; await it there"
        );
        let mut state = self.shared.lock();
        loop {
            match state.outcome.take() {
                Some(outcome) => return outcome,
                None if state.ended => panic!("{TAKEN}"),
                None => state = self.shared.changed.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner()),
            }
        }
    }

    /// Cancels the task. The request reaches it in the loop's next turn.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, TaskError};
    /// use std::future::pending;
    ///
    /// let event_loop = EventLoop::with_virtual_clock();
    /// let task = event_loop.remote().spawn(pending::<()>()).unwrap();
    /// task.cancel();
    /// assert_eq!(event_loop.run(task), Err(TaskError::Cancelled));
    /// ```
    pub fn cancel(&self) {
        let token = {
            let mut state = self.shared.lock();
            state.cancelled = true;
            state.token
        };
        if let Some(token) = token {
            // If the loop has gone, the task has ended.
            let cancel = Box::new(move || {
                let kernel = context::running().expect("a callback is called in a turn of its loop");
                if let Some(task) = kernel.table.task(token) {
                    kernel.cancel(&task);
                }
            });
            drop(self.inbox.send(self.loop_id, Message::Call(cancel)));
        }
    }
}

impl<T> Future for RemoteTask<T> {
    type Output = Result<T, TaskError>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let kernel = context::running();
        // Only its own loop ends the task. If that is this loop, the waker need not be counted.
        let is_here = kernel.as_ref().is_some_and(|kernel| kernel.id() == self.loop_id);
        // Cloning and dropping a waker may run user code: both happen while the lock is not held.
        let waker = if is_here { clone_uncounted(context.waker()) } else { context.waker().clone() };
        let mut state = self.shared.lock();
        if let Some(outcome) = state.outcome.take() {
            drop(state);
            self.record.end();
            return Poll::Ready(outcome);
        }
        if state.ended {
            drop(state);
            panic!("{TAKEN}");
        }
        let old = state.waker.replace(waker);
        drop(state);
        drop(old);
        self.record.begin(|| Wait::ELSEWHERE);
        Poll::Pending
    }
}

impl<T> Drop for RemoteTask<T> {
    fn drop(&mut self) {
        self.record.end();
    }
}

impl<T> fmt::Debug for RemoteTask<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteTask").field("loop_id", &self.loop_id).finish_non_exhaustive()
    }
}

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    outcome: Option<Outcome<T>>,
    waker: Option<Waker>,
    /// The task, after it was created.
    token: Option<Token>,
    cancelled: bool,
    /// Whether there was an outcome. It may have been taken.
    ended: bool,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The first outcome counts.
    fn end(&self, outcome: Outcome<T>) {
        let mut state = self.lock();
        if core::mem::replace(&mut state.ended, true) {
            return;
        }
        state.outcome = Some(outcome);
        let waker = state.waker.take();
        drop(state);
        self.changed.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A part of the message to the loop. If it is dropped unread, the loop has gone, and the task
/// counts as cancelled.
struct Promise<T>(Option<Arc<Shared<T>>>);

impl<T> Promise<T> {
    fn accept(mut self, task: &Task<T>) -> Delivery<T> {
        let shared = self.0.take().expect("a promise is accepted once");
        Delivery { shared, task: Task { cell: task.cell.clone() } }
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        if let Some(shared) = self.0.take() {
            shared.end(Err(TaskError::Cancelled));
        }
    }
}

/// Owned by the task's done callback, on the loop. Its drop passes the outcome on: when the
/// callback is called, or when the loop is dropped first, and the callback with it.
struct Delivery<T> {
    shared: Arc<Shared<T>>,
    task: Task<T>,
}

impl<T> Drop for Delivery<T> {
    fn drop(&mut self) {
        let ended = self.task.is_done();
        self.shared.end(if ended { take_outcome(&self.task.cell) } else { Err(TaskError::Cancelled) });
    }
}
