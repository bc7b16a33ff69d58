//! Loops in a page, a worker or Node: the event loop of JavaScript runs their turns.
//!
//! With the feature `web`, on `wasm32-unknown-unknown`. Code in a page cannot block, so there is no
//! [`run`](crate::run()): [`spawn`] starts a task and returns. Inside, everything else of this crate
//! works as elsewhere: tasks, timers, cancellation, `sync`, reports.
//!
//! - **Wakes are microtasks.** What wakes a task, such as a handler of an event, ends first. The loop
//!   runs its turns before the page continues.
//! - **The page is not kept waiting.** After four milliseconds of turns ([`WebLoop::set_budget`]), the
//!   loop posts a macrotask and lets the page continue: events, `fetch`, frames.
//! - **Timers are `setTimeout`s**, one for the whole loop. None fires early. A delay of more than 2^31
//!   milliseconds, which `setTimeout` cannot express, is made of several.
//! - **The clock is `performance.now()`**: [`Instant`](crate::Instant).
//! - **Promises** are awaited by [`from_promise`] and made by [`to_promise`].
//!
//! Reports go to `console.error`. WebAssembly is usually built without unwinding. Then a panic of a task
//! is not caught: JavaScript sees a `RuntimeError`, and no loop of the program runs any more. Browsers
//! delay the timers of pages in the background. WebAssembly with threads (`+atomics`) is not supported.
//!
//! asyncio: the loop of Pyodide, `WebLoop`, follows the same plan.
//!
//! # Examples
//!
//! ```
//! use onelane::{gather, sleep, web};
//! use std::time::Duration;
//!
//! web::spawn(async {
//!     let naps = (1..=3).map(|n| async move {
//!         sleep(Duration::from_millis(n)).await;
//!         n
//!     });
//!     assert_eq!(gather(naps).await, Ok(vec![1, 2, 3]));
//! });
//! ```

mod driver;
mod js;
mod promises;

pub use promises::{from_promise, to_promise};

use crate::event_loop::EventLoop;
use crate::task::Task;
use driver::Driver;
use std::cell::RefCell;
use std::fmt;
use std::ops::Deref;
use std::rc::Rc;
use std::time::Duration;

#[cfg(target_feature = "atomics")]
compile_error!("the feature `web` of onelane does not support WebAssembly with threads");

thread_local! {
    /// The loop of this page, worker or process.
    static OURS: RefCell<Option<WebLoop>> = const { RefCell::new(None) };
}

/// Spawns a task in [the loop of this page](event_loop()). Returns at once; the task begins in a
/// microtask.
///
/// In code that runs inside a loop, [`onelane::spawn`](crate::spawn()) does the same for that loop.
///
/// asyncio: `ensure_future` in Pyodide. wasm-bindgen-futures: `spawn_local`.
///
/// # Examples
///
/// ```
/// use onelane::web;
///
/// let task = web::spawn(async { 6 * 7 });
/// assert!(!task.is_done());
/// web::spawn(async move { assert_eq!(task.await, Ok(42)) });
/// ```
#[doc(alias = "spawn_local")]
#[doc(alias = "ensure_future")]
#[track_caller]
pub fn spawn<F>(future: F) -> Task<F::Output>
where
    F: Future<Output: 'static> + 'static,
{
    event_loop().spawn(future)
}

/// Returns the loop of this page, worker or Node process. The first call creates it. It never ends.
///
/// asyncio: `get_event_loop` in Pyodide.
///
/// # Examples
///
/// ```
/// use onelane::{sleep, web};
/// use std::time::Duration;
///
/// // Called by JavaScript, outside of any loop.
/// fn on_click() {
///     web::event_loop().enter(|| {
///         onelane::call_later(Duration::from_millis(2), || ());
///     });
/// }
///
/// on_click();
/// assert!(web::event_loop().next_deadline().is_some());
/// ```
#[doc(alias = "get_event_loop")]
pub fn event_loop() -> WebLoop {
    // Creating a loop runs no user code.
    OURS.with(|ours| ours.borrow_mut().get_or_insert_with(|| WebLoop::new(EventLoop::new())).clone())
}

/// A loop whose turns are run by the event loop of JavaScript, and a handle to it.
///
/// [`event_loop()`] returns the one that suffices for most programs. Others are for a loop with
/// options, and for a part of a page that ends as a whole: when the last handle is dropped, the loop
/// ends, and so do its tasks.
///
/// It dereferences to [`EventLoop`], so that its methods can be called: `spawn`, `enter`, `call_soon`,
/// `call_graph` and others. Leave its [wake hook](EventLoop::set_wake_hook) alone: without it,
/// JavaScript runs no turns. [`EventLoop::run`] panics if it would have to wait.
///
/// Pyodide: `WebLoop`.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, TaskError, web};
/// use std::future::pending;
///
/// let dialog = web::WebLoop::new(EventLoop::builder().metrics(true).build());
/// let task = dialog.spawn(pending::<()>());
/// drop(dialog); // the dialog is closed
/// assert!(matches!(task.result().map(|_| ()), Err(TaskError::Cancelled)));
/// ```
#[derive(Clone)]
pub struct WebLoop(Rc<Driver>);

impl WebLoop {
    /// Has JavaScript run the turns of a loop. If the loop has a [wake
    /// hook](EventLoop::set_wake_hook), it is replaced.
    ///
    /// # Panics
    ///
    /// If this JavaScript has neither `setImmediate` nor `MessageChannel`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, sleep, time, web};
    /// use std::time::Duration;
    ///
    /// // A virtual clock works too: this takes no time.
    /// let virtual_loop = web::WebLoop::new(EventLoop::with_virtual_clock());
    /// let same = virtual_loop.clone();
    /// virtual_loop.spawn(async move {
    ///     sleep(Duration::from_secs(3600)).await;
    ///     drop(same); // it must live until now
    /// });
    /// ```
    #[must_use = "the loop ends when it is dropped"]
    pub fn new(event_loop: EventLoop) -> Self {
        WebLoop(Driver::new(event_loop))
    }

    /// Sets how long turns may run until the page continues: the *budget*. It is four milliseconds
    /// at first. A step is never interrupted, and a budget of zero allows one step at a time.
    ///
    /// If the loop is woken by microtasks again and again, the page waits for at most two budgets and
    /// two steps.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::web;
    /// use std::time::Duration;
    ///
    /// // A worker has no frames to draw.
    /// web::event_loop().set_budget(Duration::from_millis(50));
    /// ```
    pub fn set_budget(&self, budget: Duration) {
        self.0.budget.set(budget);
    }
}

impl Deref for WebLoop {
    type Target = EventLoop;

    fn deref(&self) -> &EventLoop {
        &self.0.event_loop
    }
}

impl fmt::Debug for WebLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
