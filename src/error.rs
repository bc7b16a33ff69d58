//! How a task can end other than with its value, and what else can go wrong.
//!
//! A user's failure is a value (a `Result` in the task's output), the task's own end is a [`TaskError`], misuse is a panic.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex};

/// Why a task ended without a value.
///
/// asyncio raises `CancelledError`, or the exception that the task raised.
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
    pub fn is_cancelled(&self) -> bool {
        matches!(self, TaskError::Cancelled)
    }

    /// Whether the task panicked.
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

impl std::error::Error for TaskError {}

impl From<TaskError> for std::io::Error {
    fn from(error: TaskError) -> Self {
        std::io::Error::other(error)
    }
}

/// A cancellation that was caught: asyncio's `CancelledError` where it is handled.
#[doc(alias = "CancelledError")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cancelled;

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cancelled")
    }
}

impl std::error::Error for Cancelled {}

/// What a panic left: its message, and once its payload.
///
/// Cloning shares the payload.
#[derive(Clone)]
pub struct Panic {
    message: Arc<str>,
    payload: Arc<Mutex<Option<Box<dyn Any + Send>>>>,
}

impl Panic {
    pub(crate) fn new(payload: Box<dyn Any + Send>) -> Self {
        let message: Arc<str> = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
            (Some(message), _) => Arc::from(*message),
            (_, Some(message)) => Arc::from(message.as_str()),
            _ => Arc::from("a payload that is no text"),
        };
        Panic { message, payload: Arc::new(Mutex::new(Some(payload))) }
    }

    /// The text that was given to `panic!`, or a remark that there was none.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The payload, for whoever asks first.
    pub fn take_payload(&self) -> Option<Box<dyn Any + Send>> {
        self.payload.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take()
    }

    /// Lets the panic go on in the caller, without calling the panic hook again.
    pub fn resume(self) -> ! {
        let payload = self.take_payload().unwrap_or_else(|| Box::new(self.message.to_string()));
        std::panic::resume_unwind(payload)
    }
}

impl fmt::Debug for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Panic").field(&self.message()).finish()
    }
}

/// Equal if it is the same panic.
impl PartialEq for Panic {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.payload, &other.payload)
    }
}

impl Eq for Panic {}

/// There is no loop running on this thread: asyncio's `RuntimeError: no running event loop`.
#[doc(alias = "RuntimeError")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoRunningLoop;

impl fmt::Display for NoRunningLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no running event loop")
    }
}

impl std::error::Error for NoRunningLoop {}

/// The loop has been dropped: asyncio's `RuntimeError: Event loop is closed`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LoopClosed;

impl fmt::Display for LoopClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the event loop is closed")
    }
}

impl std::error::Error for LoopClosed {}
