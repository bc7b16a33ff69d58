//! Running a whole program: create a loop, run it, drop it.

use crate::event_loop::{EventLoop, RunError};
use crate::kernel::context;

/// Runs a program: creates a loop, runs `main` as its first task, and returns what `main` returns.
///
/// When `main` has ended, the loop finishes the turn in which main's done callbacks run. Then it
/// cancels every task that is left, and runs turns until all have ended. When `run` returns, every
/// future was dropped, on this thread (END-1). Callbacks that are ready by then are called in a few
/// more turns; timers that are not due never fire. `main` may borrow from the caller. Ctrl-C kills
/// the process, and nothing is dropped. To end in order on Ctrl-C, build a loop with
/// `EventLoop::builder().cancel_on_ctrl_c(true)` (feature `signals`).
///
/// asyncio: `asyncio.run(main())`.
///
/// # Panics
///
/// With the panic of `main`, if it panics. If a loop is already running on this thread, see
/// [`try_run`]. If the main task was cancelled. If, at the end, cancelled tasks still spawn new
/// tasks after a thousand rounds. In debug mode, if the program cannot continue, see [`RunError::Deadlock`].
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

/// Like [`run()`], but returns an error instead of panicking.
///
/// # Errors
///
/// [`RunError::Nested`] if a loop is already running on this thread, [`RunError::Cancelled`] if the
/// main task was cancelled. `main` is dropped in both cases.
///
/// # Panics
///
/// With the panic of `main`. If, at the end, cancelled tasks still spawn new tasks.
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
    // Runs the callbacks of the last tasks, and what follows from them. `asyncio.run` makes the
    // same number of turns before it closes its loop, so the same callbacks are called.
    event_loop.turn_while_ready(TURNS_BEFORE_THE_END);
    result
}

const TURNS_BEFORE_THE_END: u32 = 4;
