//! Finding the loop: the one that runs here, or the one to which a task belongs.

use crate::kernel::task::{AnyTask, Header};
use crate::kernel::{Kernel, context};
use std::rc::Rc;

/// The loop that is running on this thread, or a panic that says what was asked for.
#[track_caller]
#[inline]
pub(crate) fn running(asked: &str) -> Rc<Kernel> {
    match context::running() {
        Some(kernel) => kernel,
        None => panic!("{asked} was called, but there is no running event loop; call it from inside of onelane::run()"),
    }
}

/// Tasks of one loop are awaited in that loop.
///
/// # Panics
///
/// If a loop is running on this thread, and it is not the task's.
#[track_caller]
#[inline]
pub(crate) fn check_loop(kernel: &Kernel, task: &Header) {
    assert!(
        kernel.id() == task.loop_id,
        "task {:?} belongs to another event loop; await it there, and send its result over a channel",
        task.name()
    );
}

/// Cancels a task, whatever loop it belongs to. False if it has ended.
pub(crate) fn cancel(task: &Rc<dyn AnyTask>) -> bool {
    // A loop that has gone has left no task alive (END-1).
    context::find(task.header().loop_id).is_some_and(|kernel| kernel.cancel(task))
}
