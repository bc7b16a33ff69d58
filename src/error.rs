//! How a task can end other than with its value, and other errors.
//!
//! An error of the user's is a value (a `Result` in the task's output), the end of a task itself is
//! a [`TaskError`], and misuse is a panic.

use crate::platform::Mutex;
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use core::any::Any;
use core::fmt;

/// Why a task ended without a value.
///
/// asyncio raises `CancelledError`, or the exception that the task raised.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, TaskError, spawn};
///
/// EventLoop::with_virtual_clock().run(async {
///     match spawn(async { "1O".parse::<u32>().unwrap() }).await {
///         Ok(number) => println!("{number}"),
///         Err(TaskError::Cancelled) => println!("nobody wanted it any more"),
///         Err(TaskError::Panicked(panic)) => assert!(panic.message().contains("InvalidDigit")),
///     }
/// });
/// ```
#[doc(alias = "CancelledError")]
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TaskError {
    /// The task was cancelled: its future was dropped.
    Cancelled,
    /// The task's future panicked.
    Panicked(Panic),
}

impl TaskError {
    /// Whether the task was cancelled.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, TaskError, gather, spawn};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let jobs = [1, 2, 3].map(|n| spawn(async move { n }));
    ///     jobs[1].cancel();
    ///     let mut outcomes = gather(jobs).return_exceptions().await;
    ///     // What was cancelled was cancelled on purpose, and is no failure.
    ///     outcomes.retain(|outcome| !outcome.as_ref().is_err_and(TaskError::is_cancelled));
    ///     assert_eq!(outcomes, [Ok(1), Ok(3)]);
    /// });
    /// ```
    pub fn is_cancelled(&self) -> bool {
        matches!(self, TaskError::Cancelled)
    }

    /// Whether the task panicked.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, spawn};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let mut attempt = 0;
    ///     let outcome = loop {
    ///         attempt += 1;
    ///         match spawn(async move { assert!(attempt > 1, "not at once") }).await {
    ///             Err(error) if error.is_panic() => continue,
    ///             outcome => break outcome,
    ///         }
    ///     };
    ///     assert_eq!((outcome, attempt), (Ok(()), 2));
    /// });
    /// ```
    pub fn is_panic(&self) -> bool {
        matches!(self, TaskError::Panicked(_))
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TaskError::Cancelled => f.write_str("the task was cancelled"),
            TaskError::Panicked(panic) => write!(f, "the task panicked: {}", panic.message()),
        }
    }
}

/// The source of `Panicked` is the [`Panic`].
impl core::error::Error for TaskError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            TaskError::Cancelled => None,
            TaskError::Panicked(panic) => Some(panic),
        }
    }
}

// No `From` for it: then `?` in a future without other errors tells the compiler their type.

#[cfg(feature = "std")]
impl From<TaskError> for std::io::Error {
    fn from(error: TaskError) -> Self {
        std::io::Error::other(error)
    }
}

/// A cancellation that was caught; asyncio's `CancelledError` where it is handled.
///
/// # Examples
///
/// ```
/// use onelane::{Cancelled, EventLoop, catch_cancel, sleep, spawn, yield_now};
/// use std::time::Duration;
///
/// async fn nap() -> Result<&'static str, Cancelled> {
///     catch_cancel(sleep(Duration::from_secs(60))).await?;
///     Ok("rested")
/// }
///
/// EventLoop::with_virtual_clock().run(async {
///     let task = spawn(nap());
///     yield_now().await;
///     task.cancel();
///     assert_eq!(task.await, Ok(Err(Cancelled)));
/// });
/// ```
#[doc(alias = "CancelledError")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cancelled;

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cancelled")
    }
}

impl core::error::Error for Cancelled {}

#[cfg(feature = "std")]
impl From<Cancelled> for std::io::Error {
    fn from(cancelled: Cancelled) -> Self {
        std::io::Error::other(cancelled)
    }
}

/// The result of a panic: its message and, for one caller, its payload. As an error, it is the
/// source of [`TaskError::Panicked`].
///
/// Cloning shares the payload.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, TaskError, spawn};
///
/// EventLoop::with_virtual_clock().run(async {
///     let task = spawn(async { assert!(2 + 2 == 5, "miscounted") });
///     let outcome = (&task).await;
///     assert_eq!(outcome, (&task).await); // the same panic for all awaits
///     let Err(TaskError::Panicked(panic)) = outcome else { unreachable!() };
///     assert_eq!(format!("{panic:?}"), "Panic(\"miscounted\")");
/// });
/// ```
#[derive(Clone)]
pub struct Panic(Arc<Shared>);

struct Shared {
    message: Box<str>,
    payload: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Panic {
    pub(crate) fn new(payload: Box<dyn Any + Send>) -> Self {
        let message = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
            (Some(message), _) => message,
            (_, Some(message)) => message.as_str(),
            _ => "a payload that is no text",
        };
        let message = Box::from(message);
        Panic(Arc::new(Shared { message, payload: Mutex::new(Some(payload)) }))
    }

    /// The text that was passed to `panic!`, or a remark that there was none.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, TaskError, spawn};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let outcome = spawn(async { Vec::<u8>::new()[3] }).await;
    ///     let Err(TaskError::Panicked(panic)) = outcome else { unreachable!() };
    ///     assert_eq!(panic.message(), "index out of bounds: the len is 0 but the index is 3");
    /// });
    /// ```
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Takes the payload. Only the first call returns it.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, TaskError, spawn};
    /// use std::panic::panic_any;
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let outcome = spawn(async { panic_any(404) as () }).await;
    ///     let Err(TaskError::Panicked(panic)) = outcome else { unreachable!() };
    ///     let code = panic.take_payload().and_then(|payload| payload.downcast::<i32>().ok());
    ///     assert_eq!(code.as_deref(), Some(&404));
    ///     assert!(panic.take_payload().is_none());
    /// });
    /// ```
    pub fn take_payload(&self) -> Option<Box<dyn Any + Send>> {
        self.0.payload.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take()
    }

    /// Continues the panic in the caller, without calling the panic hook again.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, TaskError, spawn};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let parent = spawn(async {
    ///         match spawn(async { assert!(false, "no tea") }).await {
    ///             Err(TaskError::Panicked(panic)) => panic.resume(), // the child's panic is the parent's
    ///             outcome => outcome,
    ///         }
    ///     });
    ///     assert_eq!(parent.await.unwrap_err().to_string(), "the task panicked: no tea");
    /// });
    /// ```
    pub fn resume(self) -> ! {
        let payload = self.take_payload().unwrap_or_else(|| Box::new(self.message().to_string()));
        crate::platform::resume_unwind(payload)
    }
}

impl fmt::Debug for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Panic").field(&self.message()).finish()
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl core::error::Error for Panic {}

/// Two values are equal if they come from the same panic.
impl PartialEq for Panic {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Panic {}

/// There is no loop running on this thread: asyncio's `RuntimeError: no running event loop`.
///
/// # Examples
///
/// ```
/// use onelane::{CallHandle, EventLoop, NoRunningLoop};
///
/// fn later(callback: impl FnOnce() + 'static) -> Result<CallHandle, NoRunningLoop> {
///     Ok(EventLoop::try_current()?.call_soon(callback))
/// }
///
/// assert_eq!(later(|| ()).unwrap_err(), NoRunningLoop);
/// EventLoop::with_virtual_clock().run(async { assert!(later(|| ()).is_ok()) });
/// ```
#[doc(alias = "RuntimeError")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoRunningLoop;

impl fmt::Display for NoRunningLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no running event loop")
    }
}

impl core::error::Error for NoRunningLoop {}

#[cfg(feature = "std")]
impl From<NoRunningLoop> for std::io::Error {
    fn from(error: NoRunningLoop) -> Self {
        std::io::Error::other(error)
    }
}

/// The loop has been dropped: asyncio's `RuntimeError: Event loop is closed`.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, LoopClosed};
///
/// let event_loop = EventLoop::with_virtual_clock();
/// let remote = event_loop.remote();
/// assert!(remote.spawn(async {}).is_ok());
/// drop(event_loop);
/// match remote.spawn(async {}) {
///     Ok(_) => unreachable!(),
///     Err(LoopClosed) => println!("nobody is there to run it"),
/// }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LoopClosed;

impl fmt::Display for LoopClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the event loop is closed")
    }
}

impl core::error::Error for LoopClosed {}

/// Of the kind [`BrokenPipe`](std::io::ErrorKind::BrokenPipe).
#[cfg(feature = "std")]
impl From<LoopClosed> for std::io::Error {
    fn from(error: LoopClosed) -> Self {
        std::io::Error::new(std::io::ErrorKind::BrokenPipe, error)
    }
}
