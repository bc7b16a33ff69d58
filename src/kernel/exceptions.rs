//! Panics that reach nobody: who is told, and what.
//!
//! A panic of a task is its outcome. If the last handle goes without a look at it, or if a callback or a destructor panics,
//! the loop's exception handler is told.

use super::context;
use super::task::Header;
use crate::error::Panic;
use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::rc::Rc;

/// A panic that reached nobody, as an exception handler is told of it. `Display` makes one line of it.
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

pub(super) const NEVER_LOOKED_AT: &str = "a task panicked and nobody looked at its result";
pub(super) const IN_A_CALLBACK: &str = "a callback panicked";
pub(super) const AT_AN_END: &str = "a destructor or a foreign waker panicked when a task ended";

/// A task's cell is dropped, and with it a panic.
pub(crate) fn never_looked_at(header: &Header, panic: &Panic) {
    let task = Some((header.name(), header.spawned_at));
    report(header.loop_id, Exception { message: NEVER_LOOKED_AT, panic: panic.clone(), task });
}

pub(crate) fn reached_nobody(loop_id: u64, message: &'static str, payload: Box<dyn Any + Send>) {
    report(loop_id, Exception { message, panic: Panic::new(payload), task: None });
}

fn report(loop_id: u64, exception: Exception) {
    let kernel = context::find(loop_id);
    let handler = kernel.as_ref().and_then(|kernel| kernel.handler());
    // A handler that panics must not take the loop with it: this runs in destructors.
    let told = handler.map(|handler| catch_unwind(AssertUnwindSafe(|| handler(&exception))));
    if !matches!(told, Some(Ok(()))) {
        eprintln!("onelane: {exception}");
    }
    // The payload is a foreign value, and its destructor may panic too. Then that payload is not dropped at all.
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(exception))) {
        std::mem::forget(payload);
    }
}
