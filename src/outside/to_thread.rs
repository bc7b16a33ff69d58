//! Blocking functions on other threads.
//!
//! The thread pool is that of the crate `blocking`, one per process. The loop does not know it: a
//! job wakes the awaiting task through the inbox, like any other thread.

use crate::error::{Panic, TaskError};
use crate::kernel::callbacks::exceptions::drop_payload;
use crate::kernel::explore::unknown;
use crate::kernel::idle::park::HAS_THREADS;
use crate::kernel::table::records::{Awaited, Wait};
use crate::leaf::{Record, running};
use crate::outside::remote::Remote;
use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// Calls a function on a thread of a pool, so that the loop continues while the function computes
/// or blocks. Returns its result.
///
/// Nothing happens before this is awaited. What the function captures is sent to the other thread,
/// and its result is sent back, so both must be `Send`.
///
/// On a virtual clock, the loop waits for the function instead of reporting a deadlock. Its clock
/// still jumps, so a timeout around this expires at once if nothing else is ready.
///
/// Cancel safety: **a running function cannot be stopped**. If this is dropped, the function runs
/// on, and its result is dropped on its thread. If it has not begun to run, it is never called.
///
/// At its end, [`run`](crate::run()) waits for functions of its loop that still run, for at most
/// five minutes, like `asyncio.run`, so that their work is done.
/// [`LoopBuilder::thread_join_timeout`](crate::LoopBuilder::thread_join_timeout) sets another limit. A
/// limit of zero disables the wait, for functions that may never return, such as one that reads the
/// keyboard.
///
/// asyncio: `to_thread`, and `run_in_executor` with the default executor.
///
/// # Errors
///
/// [`TaskError::Panicked`], if the function panicked. Never [`TaskError::Cancelled`].
///
/// # Panics
///
/// When polled, if no loop is running on this thread, and after it was ready. On a platform without
/// threads, such as WASI, when first polled.
///
/// # Cost
///
/// Two allocations, a lock that is taken twice, and two trips between threads: to the pool, and
/// back through the loop's inbox. The pool starts threads as needed, up to 500 (or
/// `BLOCKING_MAX_THREADS` in the environment).
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, to_thread};
///
/// EventLoop::with_virtual_clock().run(async {
///     let word = String::from("lane");
///     let length = to_thread(move || word.len()).await;
///     assert_eq!(length, Ok(4));
///
///     let error = to_thread(|| -> u32 { panic!("no") }).await.unwrap_err();
///     assert_eq!(error.to_string(), "the task panicked: no");
/// });
/// ```
#[doc(alias = "run_in_executor")]
#[doc(alias = "spawn_blocking")]
#[doc(alias = "unblock")]
#[track_caller]
pub fn to_thread<F, T>(function: F) -> ToThread<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    unknown("to_thread()");
    ToThread { stage: Stage::New(Box::new(function)), record: Record::here() }
}

/// The future of [`to_thread`].
///
/// It is `Send`. It must be polled in a turn of a loop, of whichever thread.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, ToThread, to_thread};
///
/// EventLoop::with_virtual_clock().run(async {
///     let job: ToThread<i32> = to_thread(|| 6 * 7);
///     assert_eq!(format!("{job:?}"), r#"ToThread { stage: "new" }"#); // no thread has it yet
///     assert_eq!(job.await, Ok(42));
/// });
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct ToThread<T> {
    stage: Stage<T>,
    record: Record,
}

enum Stage<T> {
    New(Box<dyn FnOnce() -> T + Send>),
    Out(Job<T>),
    Over,
}

/// A function that was passed to the pool.
struct Job<T> {
    /// Dropping it makes the pool drop the function, or its result.
    result: blocking::Task<Tolerant<Ended<T>>>,
    loop_id: u64,
    /// Keeps the loop waiting for the end of the function.
    _remote: Remote,
}

/// What a function returned, or its panic.
type Ended<T> = Result<T, Box<dyn Any + Send>>;

/// A value whose destructor may panic. The pool drops unwanted results on its threads, where such a
/// panic would end the process, so it is caught here.
struct Tolerant<V>(Option<V>);

impl<V> Tolerant<V> {
    fn take(&mut self) -> V {
        self.0.take().expect("it is taken once")
    }
}

impl<V> Drop for Tolerant<V> {
    fn drop(&mut self) {
        let value = self.0.take();
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
            drop_payload(payload);
        }
    }
}

/// Counts a function in `OUT`: from the first poll until the function has returned, or was dropped
/// without being called.
struct Out {
    loop_id: u64,
}

/// The number of such functions per loop, by the loop's id.
static OUT: Mutex<BTreeMap<u64, usize>> = Mutex::new(BTreeMap::new());
static CAME_BACK: Condvar = Condvar::new();

fn all_out() -> MutexGuard<'static, BTreeMap<u64, usize>> {
    OUT.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Out {
    fn of(loop_id: u64) -> Self {
        *all_out().entry(loop_id).or_default() += 1;
        Out { loop_id }
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        let mut out = all_out();
        if let Some(count) = out.get_mut(&self.loop_id) {
            *count -= 1;
            if *count == 0 {
                out.remove(&self.loop_id);
                CAME_BACK.notify_all();
            }
        }
    }
}

/// Called when the loop has ended. Waits until none of the loop's functions is running, for at most
/// `limit`. Returns the number of functions that still run.
pub(crate) fn join(loop_id: u64, limit: Duration) -> usize {
    let is_out = |out: &mut BTreeMap<u64, usize>| out.contains_key(&loop_id);
    let (out, _) = CAME_BACK.wait_timeout_while(all_out(), limit, is_out).unwrap_or_else(PoisonError::into_inner);
    out.get(&loop_id).copied().unwrap_or(0)
}

/// The object of the wait.
struct Thread;

impl Awaited for Thread {
    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a thread")
    }
}

impl<T: Send + 'static> Future for ToThread<T> {
    type Output = Result<T, TaskError>;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let kernel = running("poll() of a to_thread()");
        let this = self.get_mut();
        let begin = |function: Box<dyn FnOnce() -> T + Send>| {
            if !HAS_THREADS {
                panic!("to_thread() was awaited on a platform without threads; call the function itself");
            }
            let mut function = Tolerant(Some(function));
            let out = Out::of(kernel.id());
            Job {
                result: blocking::unblock(move || {
                    let _out = out;
                    // Caught here, because otherwise the pool would raise the panic on its own
                    // thread.
                    Tolerant(Some(catch_unwind(AssertUnwindSafe(function.take()))))
                }),
                loop_id: kernel.id(),
                _remote: Remote::to(&kernel),
            }
        };
        let mut job = match std::mem::replace(&mut this.stage, Stage::Over) {
            Stage::New(function) => begin(function),
            Stage::Out(job) if job.loop_id == kernel.id() => job,
            // It was moved here from another loop; from now on this loop waits for it.
            Stage::Out(job) => Job { loop_id: kernel.id(), _remote: Remote::to(&kernel), ..job },
            Stage::Over => panic!("a to_thread() was polled after its end; keep what the first await gave"),
        };
        let result = Pin::new(&mut job.result).poll(context);
        if result.is_pending() {
            this.stage = Stage::Out(job);
            this.record.begin(|| Wait::Outside(|_| Rc::new(Thread), 0));
        } else {
            this.record.end();
        }
        Poll::Ready(ready!(result).take().map_err(|payload| TaskError::Panicked(Panic::new(payload))))
    }
}

#[cfg(feature = "stream")]
#[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
impl<T: Send + 'static> futures_core::FusedFuture for ToThread<T> {
    fn is_terminated(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }
}

impl<T> Drop for ToThread<T> {
    fn drop(&mut self) {
        self.record.end();
    }
}

impl<T> fmt::Debug for ToThread<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match &self.stage {
            Stage::New(_) => "new",
            Stage::Out(_) => "out",
            Stage::Over => "over",
        };
        f.debug_struct("ToThread").field("stage", &stage).finish()
    }
}
