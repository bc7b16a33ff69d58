//! Panics that no code handles, and how they are reported to the exception handler.
//!
//! A panic of a task is its outcome. If the last handle is dropped before the outcome was read, the
//! panic is reported to the loop's exception handler. So is a panic of a callback or a destructor.
//!
//! This file knows loops only by their numbers and lanes.

use crate::error::Panic;
use crate::kernel::Token;
use crate::kernel::cell::Header;
use crate::kernel::explore::touches_all;
use crate::kernel::idle::lanes::Tenancy;
use crate::platform::{catch_unwind, thread_local};
use alloc::{boxed::Box, rc::Rc, string::String, vec::Vec};
use core::any::Any;
use core::cell::RefCell;
use core::fmt;
use core::mem::ManuallyDrop;
use core::panic::{AssertUnwindSafe, Location};

/// A panic that no code has handled, as it is reported to an exception handler. `Display` formats
/// it as one line.
///
/// With the feature `tls`, a failed handshake of a server is reported in the same way. It did not
/// panic: `panic` then only holds the address of the client and the error, as a text.
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
    /// The name of the task, if a task panicked, and where it was spawned.
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
    /// The loops of this thread that have a handler or are in debug mode. Without a destructor,
    /// like all thread-locals here. Removing the last loop frees the memory.
    static HANDLERS: ManuallyDrop<RefCell<Vec<Entry>>> = const { ManuallyDrop::new(RefCell::new(Vec::new())) };
}

struct Entry {
    loop_id: u64,
    tenancy: Tenancy,
    handler: Option<Handler>,
    never_taken: Option<NeverTaken>,
}

/// In debug mode, the function that reports that the value of a task was never read. The last argument
/// is the name of the value's type.
pub(crate) type NeverTaken = fn(&Header, &str);

pub(crate) const NEVER_LOOKED_AT: &str = "a task panicked and its result was never read";
pub(crate) const IN_A_CALLBACK: &str = "a callback panicked";
pub(crate) const IN_A_WAKER: &str = "a foreign waker panicked";
pub(crate) const IN_A_HOOK: &str = "a wake hook panicked";
pub(crate) const IN_A_HANDLER: &str = "a handler of debug mode panicked";
#[cfg(feature = "probe")]
pub(crate) const IN_A_PROBE: &str = "a probe panicked, and was taken out";
pub(crate) const AT_AN_END: &str = "a destructor or a foreign waker panicked when a task ended";

pub(crate) fn set_handler(loop_id: u64, tenancy: Tenancy, handler: Option<Handler>, never_taken: Option<NeverTaken>) {
    HANDLERS.with(|handlers| handlers.borrow_mut().push(Entry { loop_id, tenancy, handler, never_taken }));
}

/// Returns the handler. The caller drops it where nothing is borrowed: its destructor is user code.
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

/// Reports, in debug mode, that the value of a task was never read.
#[cfg(feature = "report")]
pub(crate) fn never_taken(task: &Header, type_name: &str) {
    let find = |handlers: &RefCell<Vec<Entry>>| {
        let handlers = handlers.borrow();
        handlers.iter().find(|entry| entry.tenancy.has(task.token())).and_then(|entry| entry.never_taken)
    };
    if let Some(tell) = HANDLERS.with(|handlers| find(handlers)) {
        tell(task, type_name);
    }
}

/// Reports a panic that belongs to no task.
pub(crate) fn reached_nobody(loop_id: u64, message: &'static str, payload: Box<dyn Any + Send>) {
    report(handler(&|entry| entry.loop_id == loop_id), Exception { message, panic: Panic::new(payload), task: None });
}

/// Reports that a server could not shake hands with a client. `why` names the client.
#[cfg(feature = "tls")]
pub(crate) fn handshake_failed(loop_id: u64, why: String) {
    let (message, panic) = ("a TLS handshake failed", Panic::new(Box::new(why)));
    report(handler(&|entry| entry.loop_id == loop_id), Exception { message, panic, task: None });
}

/// Runs user code, and reports a panic in it to the loop's exception handler.
pub(crate) fn tolerate(loop_id: u64, message: &'static str, act: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(act)) {
        reached_nobody(loop_id, message, payload);
    }
}

/// Like `tolerate`, but finds the loop by the token of a task, which may have ended.
pub(crate) fn tolerate_of(task: Token, act: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(act)) {
        report_of(task, Exception { message: AT_AN_END, panic: Panic::new(payload), task: None });
    }
}

/// Reports a panic to the loop of the task with this token. The task may have ended.
pub(crate) fn report_of(task: Token, exception: Exception) {
    report(handler(&|entry| entry.tenancy.has(task)), exception);
}

fn report(handler: Option<Handler>, exception: Exception) {
    touches_all();
    // A panic of the handler must not leave this function, because this runs in destructors. If the
    // handler has dropped its loop, the handler itself is also dropped in here.
    let told = catch_unwind(AssertUnwindSafe(|| handler.map(|handler| handler(&exception))));
    if !matches!(told, Ok(Some(()))) {
        complain(&exception);
    }
    if let Err(payload) = told {
        drop_payload(payload);
    }
    drop_payload(Box::new(exception));
}

/// Drops the payload of a panic. The payload's destructor may panic too, with a new payload. After
/// a hundred such panics, the last payload is leaked.
pub(crate) fn drop_payload(mut payload: Box<dyn Any>) {
    for _ in 0..100 {
        match catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            Ok(()) => return,
            Err(next) => payload = next,
        }
    }
    core::mem::forget(payload);
}

/// Drops a value of the user. A panic of its destructor is ignored.
pub(crate) fn drop_value<T>(value: T) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
        drop_payload(payload);
    }
}

/// Writes a line to stderr, or where the platform writes.
pub(crate) fn complain(what: &dyn fmt::Display) {
    crate::platform::complain(&text(format_args!("onelane: {what}\n")));
}

/// Like `format!`, but with less code.
pub(crate) fn text(arguments: fmt::Arguments<'_>) -> String {
    struct Text(String);
    impl fmt::Write for Text {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.push_str(text);
            Ok(())
        }
    }
    let mut text = Text(String::new());
    let _ = fmt::write(&mut text, arguments);
    text.0
}
