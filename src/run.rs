//! The door for whole programs: make a loop, run it, drop it.

use crate::event_loop::{EventLoop, RunError};
use crate::kernel::context;

/// Runs a program: makes a loop, runs `main` as its first task, and gives what it returns.
///
/// When `main` has ended, the loop finishes the turn in which its done callbacks run. Then every task that is left is
/// cancelled, and the loop turns until all have ended: when `run` returns, every future was dropped, on this thread (END-1).
/// Callbacks that are ready by then are called in a few turns more; timers that are not due never fire.
/// `main` may borrow from the caller. Ctrl-C kills the process, and nothing is dropped; for an end in order build a loop with
/// `EventLoop::builder().cancel_on_ctrl_c(true)` (feature `signals`).
///
/// asyncio: `asyncio.run(main())`.
///
/// # Panics
///
/// With the panic of `main`, if it panics. If a loop is running on this thread already, see [`try_run`]. If the main task
/// was cancelled. If tasks that are dropped at the end go on spawning tasks for a thousand rounds. With `ONELANE_DEBUG` in the
/// environment, if the program cannot go on, see [`RunError::Deadlock`].
///
/// # Examples
///
/// ```
/// let name = String::from("lane");
/// let length = onelane::run(async { name.len() });
/// assert_eq!(length, 4);
/// ```
#[track_caller]
pub fn run<F: IntoFuture>(main: F) -> F::Output {
    try_run(main).unwrap_or_else(|error| panic!("{error}"))
}

/// As [`run()`], but answers what went wrong.
///
/// # Errors
///
/// [`RunError::Nested`] if a loop is running on this thread already, [`RunError::Cancelled`] if the main task was cancelled.
/// `main` is dropped in both cases.
///
/// # Panics
///
/// With the panic of `main`, and if tasks go on spawning tasks at the end.
///
/// # Examples
///
/// ```
/// onelane::run(async {
///     let error = onelane::try_run(async {}).unwrap_err();
///     assert_eq!(error.to_string(), "onelane::run() cannot be called from a running event loop");
/// });
/// ```
#[track_caller]
pub fn try_run<F: IntoFuture>(main: F) -> Result<F::Output, RunError> {
    if context::is_running() {
        return Err(RunError::Nested);
    }
    let event_loop = EventLoop::new();
    let result = event_loop.try_run(main);
    // What is ready now, and what follows from it: before it closes its loop, `asyncio.run` makes so many turns for its own
    // purposes, and callbacks of the last tasks have always been called in them.
    event_loop.turn_while_ready(TURNS_BEFORE_THE_END);
    result
}

const TURNS_BEFORE_THE_END: u32 = 4;
