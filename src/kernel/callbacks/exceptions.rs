//! Panics that nobody takes, and how the exception handler is told of them.
//!
//! A panic of a task is its outcome. If the last handle is dropped before anybody has read the outcome, or if a callback or a
//! destructor panics, the loop's exception handler is told.
//!
//! Knows loops by their numbers and lanes alone.

use crate::error::Panic;
use crate::kernel::Token;
use crate::kernel::idle::lanes::Tenancy;
use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::io::Write;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::rc::Rc;

/// A panic that reached nobody, as an exception handler is told of it. `Display` makes one line of it.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, Exception, spawn, yield_now};
/// use std::{cell::RefCell, rc::Rc};
///
/// let told = Rc::new(RefCell::new(Vec::new()));
/// let copy = told.clone();
/// let handler = move |exception: &Exception| copy.borrow_mut().push(exception.clone());
/// EventLoop::builder().exception_handler(handler).build().run(async {
///     drop(spawn(async { assert!(false, "nobody hears this") }));
///     yield_now().await;
/// });
/// let exception = &told.borrow()[0];
/// let (name, spawned_at) = exception.task.as_ref().unwrap();
/// println!("{name}, spawned in line {}: {}", spawned_at.line(), exception.message);
/// assert_eq!(exception.panic.message(), "nobody hears this");
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Exception {
    /// What happened.
    pub message: &'static str,
    /// The panic.
    pub panic: Panic,
    /// The name of the task, if it was one, and where it was spawned.
    pub task: Option<(Rc<str>, &'static Location<'static>)>,
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message)?;
        if let Some((name, spawned_at)) = &self.task {
            write!(f, " (task {name:?}, spawned at {spawned_at})")?;
        }
        write!(f, ": {}", self.panic.message())
    }
}

pub(crate) type Handler = Rc<dyn Fn(&Exception)>;

thread_local! {
    /// Of this thread's loops, those that have a handler or are in debug mode. Without a destructor, as all thread-locals
    /// here; the last loop to leave frees the memory.
    static HANDLERS: ManuallyDrop<RefCell<Vec<Entry>>> = const { ManuallyDrop::new(RefCell::new(Vec::new())) };
}

struct Entry {
    loop_id: u64,
    tenancy: Tenancy,
    handler: Option<Handler>,
    is_debug: bool,
}

pub(crate) const NEVER_LOOKED_AT: &str = "a task panicked and nobody looked at its result";
pub(crate) const IN_A_CALLBACK: &str = "a callback panicked";
pub(crate) const IN_A_WAKER: &str = "a foreign waker panicked";
pub(crate) const IN_A_HOOK: &str = "a wake hook panicked";
pub(crate) const IN_A_HANDLER: &str = "a handler of debug mode panicked";
#[cfg(feature = "probe")]
pub(crate) const IN_A_PROBE: &str = "a probe panicked, and was taken out";
pub(crate) const AT_AN_END: &str = "a destructor or a foreign waker panicked when a task ended";

pub(crate) fn set_handler(loop_id: u64, tenancy: Tenancy, handler: Option<Handler>, is_debug: bool) {
    HANDLERS.with(|handlers| handlers.borrow_mut().push(Entry { loop_id, tenancy, handler, is_debug }));
}

/// The handler, to be dropped where no borrow is held: what it captured is foreign.
pub(crate) fn remove_handler(loop_id: u64) -> Option<Handler> {
    HANDLERS.with(|handlers| {
        let mut handlers = handlers.borrow_mut();
        let place = handlers.iter().position(|entry| entry.loop_id == loop_id)?;
        let entry = handlers.remove(place);
        if handlers.is_empty() {
            *handlers = Vec::new();
        }
        entry.handler
    })
}

fn handler(is_asked: &dyn Fn(&Entry) -> bool) -> Option<Handler> {
    HANDLERS.with(|handlers| {
        handlers.borrow().iter().rfind(|entry| is_asked(entry)).and_then(|entry| entry.handler.clone())
    })
}

/// In debug mode, that nobody has taken the value of a task that has ended.
pub(crate) fn never_taken(task: Token, name: &dyn Fn() -> Rc<str>, spawned_at: &Location<'_>, type_name: &str) {
    let is_debug = |handlers: &RefCell<Vec<Entry>>| {
        handlers.borrow().iter().any(|entry| entry.is_debug && entry.tenancy.has(task))
    };
    if HANDLERS.with(|handlers| is_debug(handlers)) {
        let what = format!("task {:?}, spawned at {spawned_at}, gave a `{type_name}` that nobody has taken", name());
        complain(&what);
    }
}

/// A panic that belongs to no task.
pub(crate) fn reached_nobody(loop_id: u64, message: &'static str, payload: Box<dyn Any + Send>) {
    report(handler(&|entry| entry.loop_id == loop_id), Exception { message, panic: Panic::new(payload), task: None });
}

/// Runs foreign code whose panic belongs to nobody but the loop's exception handler.
pub(crate) fn tolerate(loop_id: u64, message: &'static str, act: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(act)) {
        reached_nobody(loop_id, message, payload);
    }
}

/// As `tolerate`, at the end of the task that has, or had, this token.
pub(crate) fn tolerate_of(task: Token, act: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(act)) {
        report_of(task, Exception { message: AT_AN_END, panic: Panic::new(payload), task: None });
    }
}

/// A panic of the task that has, or had, this token.
pub(crate) fn report_of(task: Token, exception: Exception) {
    report(handler(&|entry| entry.tenancy.has(task)), exception);
}

fn report(handler: Option<Handler>, exception: Exception) {
    // A handler that panics must not take the loop with it: this runs in destructors. One that has dropped its loop is dropped in
    // here.
    let told = catch_unwind(AssertUnwindSafe(|| handler.map(|handler| handler(&exception))));
    if !matches!(told, Ok(Some(()))) {
        complain(&exception);
    }
    if let Err(payload) = told {
        drop_payload(payload);
    }
    drop_payload(Box::new(exception));
}

/// A payload is a foreign value, and its destructor may panic too, with a payload of which the same is true. After a hundred
/// of these the last is leaked.
pub(crate) fn drop_payload(mut payload: Box<dyn Any>) {
    for _ in 0..100 {
        match catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            Ok(()) => return,
            Err(next) => payload = next,
        }
    }
    std::mem::forget(payload);
}

/// A foreign value is dropped, and its panic tells nobody anything.
pub(crate) fn drop_value<T>(value: T) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
        drop_payload(payload);
    }
}

/// A line on stderr, written at once, so that nothing comes in between. If it cannot be written, then not: `eprintln!` would
/// panic.
pub(crate) fn complain(what: &dyn fmt::Display) {
    let line = format!("onelane: {what}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}
