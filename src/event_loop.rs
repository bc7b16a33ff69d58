//! The loop and its options: [`EventLoop`], its [`LoopBuilder`], a reference to the running loop, and
//! errors of a run.

use crate::callback::CallHandle;
use crate::error::{NoRunningLoop, TaskError};
#[cfg(feature = "report")]
use crate::inspect::call_graph::{CallGraph, Span, TaskSnapshot, WaitSnapshot};
#[cfg(feature = "report")]
use crate::inspect::deadlock::{DeadlockReport, REPORTER, Reporter, write_all};
use crate::inspect::metrics::Metrics;
#[cfg(feature = "replay")]
use crate::inspect::replay::WrittenAtTheEnd;
#[cfg(not(feature = "report"))]
use crate::inspect::unreported::DeadlockReport;
use crate::kernel::callbacks::exceptions::{self, Exception, Handler};
use crate::kernel::cancel::shutdown::{NeverEnds, Patience};
use crate::kernel::cell::{AnyTask, lend};
use crate::kernel::explore::unknown;
#[cfg(feature = "probe")]
use crate::kernel::observe::probe::Probe;
use crate::kernel::{Clock as KernelClock, Instant, Kernel, OBSERVED, Observed, StepWatch, context};
use crate::leaf::running;
#[cfg(all(unix, feature = "io"))]
use crate::net::{Resolver, remove_resolver, set_resolver};
use crate::outside::remote::Remote;
#[cfg(all(unix, feature = "signals"))]
use crate::outside::signals::CtrlC;
#[cfg(all(unix, feature = "signals", feature = "report"))]
use crate::outside::signals::Printer;
use crate::task::{Task, TaskRef};
use alloc::boxed::Box;
use alloc::{rc::Rc, vec::Vec};
use core::cell::RefCell;
use core::fmt;
use core::marker::PhantomData;
use core::panic::Location;
use core::time::Duration;
use futures_task::{LocalFutureObj, LocalSpawn, SpawnError};

/// An event loop: a ready queue, a timer wheel, a task table, and the tasks in it.
///
/// [`run`](Self::run) runs a whole program. A host with a loop of its own calls
/// [`turn`](Self::turn) instead, which never blocks, and [`next_deadline`](Self::next_deadline) to
/// know when to call again.
///
/// Neither `Send` nor `Sync`.
///
/// ```compile_fail,E0277
/// let event_loop = onelane::EventLoop::new();
/// std::thread::spawn(move || drop(event_loop));
/// ```
///
/// Several loops may exist on a thread, but only one of them is in a turn at a time. Dropping a
/// loop cancels its tasks, and all futures are dropped before the drop returns (END-1). While the
/// tasks end, callbacks in the ready queue and due timers may still be called; later timers do not
/// fire any more. A loop cannot be dropped in its own turn, because `run` and `turn` borrow it. If
/// a task calls `std::process::exit`, its loop is left as it is, even one in a thread-local.
///
/// ```compile_fail,E0505
/// let event_loop = onelane::EventLoop::new();
/// event_loop.run(async move { drop(event_loop) });
/// ```
///
/// asyncio: the event loop, and `Runner`.
///
/// # Examples
///
/// ```
/// use onelane::{Clock, EventLoop, sleep};
/// use std::time::Duration;
///
/// let event_loop = EventLoop::builder().clock(Clock::Virtual).build();
/// let start = event_loop.time();
/// event_loop.run(async { sleep(Duration::from_secs(86_400)).await });
/// assert_eq!(event_loop.time() - start, Duration::from_secs(86_400));
/// ```
#[doc(alias = "Runner")]
#[doc(alias = "AbstractEventLoop")]
#[doc(alias = "new_event_loop")]
pub struct EventLoop {
    pub(crate) kernel: Rc<Kernel>,
    cancel_on_ctrl_c: bool,
    /// Whether `exceptions` has an entry for this loop.
    is_handled: bool,
    /// Set if this loop detects deadlocks: on a virtual clock, or in debug mode. It is a pointer, so
    /// that other programs do not contain the code of the reports.
    #[cfg(feature = "report")]
    reporter: Option<&'static Reporter>,
    #[cfg(feature = "threads")]
    thread_join_timeout: Duration,
    /// Kept until the loop is dropped.
    #[cfg(all(unix, feature = "signals", feature = "report"))]
    printer: Option<Printer>,
}

/// The clock of a loop.
///
/// # Examples
///
/// ```
/// use onelane::{Clock, EventLoop, sleep};
/// use std::time::Duration;
///
/// /// How long a program took, which its tests run on the virtual clock.
/// fn took(clock: Clock) -> Duration {
///     let event_loop = EventLoop::builder().clock(clock).build();
///     let begun = event_loop.time();
///     event_loop.run(async { sleep(Duration::from_secs(3600)).await });
///     event_loop.time() - begun
/// }
///
/// assert_eq!(took(Clock::Virtual), Duration::from_secs(3600));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub enum Clock {
    /// The machine's monotonic clock.
    #[default]
    Real,
    /// A clock that stands still while anything is ready, and jumps to the next deadline when
    /// nothing is.
    ///
    /// Tests on this clock take no time, and are exact to the nanosecond. A program that cannot
    /// continue is reported as a [deadlock](crate::RunError::Deadlock) instead of hanging. In three
    /// cases the loop waits in real time instead, because work may still arrive: a [`Remote`] of
    /// the loop exists; code outside the loop holds a waker of one of its tasks (another thread, or
    /// a future or a channel of another crate); or a task waits for a socket. If such a wait takes
    /// longer than a second, the loop prints once on stderr where each task waits.
    Virtual,
}

/// Builds an [`EventLoop`].
///
/// # Examples
///
/// ```
/// use onelane::{Clock, EventLoop, LoopBuilder, spawn, yield_now};
///
/// /// What all tests of a program have in common.
/// fn for_tests() -> LoopBuilder {
///     EventLoop::builder().clock(Clock::Virtual).debug(false)
/// }
///
/// let event_loop = for_tests().exception_handler(|_| ()).build();
/// event_loop.run(async {
///     drop(spawn(async { panic!("of which nobody is told") as () }));
///     yield_now().await;
/// });
/// assert_eq!(event_loop.turn().tasks, 0);
/// ```
#[must_use = "a builder makes nothing until `build`"]
#[derive(Default)]
pub struct LoopBuilder {
    clock: Clock,
    handler: Option<Handler>,
    /// `None` if `debug` was not called; `Some(None)` if debug mode was turned off. The function
    /// pointer keeps debug mode out of programs that do not turn it on.
    #[cfg(feature = "report")]
    debug: Option<Option<MakeWatch>>,
    #[cfg(feature = "report")]
    slow_step: Option<Duration>,
    #[cfg(feature = "report")]
    slow_step_handler: Option<SlowStepHandler>,
    #[cfg(feature = "report")]
    deadlock_handler: Option<DeadlockHandler>,
    #[cfg(feature = "report")]
    reporter: Option<&'static Reporter>,
    metrics: bool,
    /// Set by the options that need an observed loop.
    observed: Option<&'static Observed>,
    /// Always false without the feature `signals`.
    cancel_on_ctrl_c: bool,
    #[cfg(all(unix, feature = "signals", feature = "report"))]
    print_on: Option<i32>,
    #[cfg(feature = "threads")]
    thread_join_timeout: Option<Duration>,
    #[cfg(feature = "probe")]
    probe: Option<Box<dyn Probe>>,
    /// Where to write the replay.
    #[cfg(feature = "replay")]
    replay: Option<std::path::PathBuf>,
    /// Whether `ONELANE_REPLAY` does not count.
    #[cfg(feature = "replay")]
    has_no_page: bool,
    #[cfg(all(unix, feature = "io"))]
    resolver: Option<Rc<dyn Resolver>>,
    #[cfg(feature = "explore")]
    order: Option<crate::explore::Order>,
}

/// The same as `asyncio.run`'s timeout for its threads.
#[cfg(feature = "threads")]
const THREAD_JOIN_TIMEOUT: Duration = Duration::from_secs(300);

#[cfg(feature = "report")]
type MakeWatch = fn(&mut LoopBuilder) -> Box<StepWatch>;
#[cfg(feature = "report")]
type SlowStepHandler = Box<dyn Fn(&SlowStep)>;
#[cfg(feature = "report")]
type DeadlockHandler = Box<dyn Fn(&DeadlockReport)>;

/// A step or a callback that took long and delayed all others, as debug mode reports it. `Display`
/// formats it as one line.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, SlowStep};
/// use std::{cell::RefCell, rc::Rc, time::Duration};
///
/// let steps = Rc::new(RefCell::new(Vec::new()));
/// let copy = steps.clone();
/// let event_loop = EventLoop::builder()
///     .debug(true)
///     .slow_step(Duration::ZERO) // everything is slow
///     .slow_step_handler(move |step: &SlowStep| copy.borrow_mut().push(step.clone()))
///     .build();
/// event_loop.call_soon(|| ());
/// event_loop.spawn(async {});
/// event_loop.turn();
/// let of_tasks: Vec<bool> = steps.borrow().iter().map(|step| step.task.is_some()).collect();
/// assert_eq!(of_tasks, [false, true]);
/// ```
#[cfg(feature = "report")]
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SlowStep {
    /// The time that it took, on the machine's clock.
    pub took: Duration,
    /// The task, or `None` for a callback.
    pub task: Option<TaskRef>,
    /// What the task waits for now.
    pub waits_for: Vec<WaitSnapshot>,
}

#[cfg(feature = "report")]
impl fmt::Display for SlowStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(task) = &self.task else {
            return write!(f, "a callback took {}, and kept the others waiting", Span(self.took));
        };
        let took = Span(self.took);
        write!(f, "a step of task {:?}, spawned at {}, took {took}", task.name(), task.spawned_at())?;
        match self.waits_for.as_slice() {
            _ if task.is_done() => f.write_str("; it has ended"),
            [] => Ok(()),
            waits => {
                f.write_str("; it waits ")?;
                write_all(waits, f)
            }
        }
    }
}

impl LoopBuilder {
    /// Sets the clock. The default is the machine's clock.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{Clock, EventLoop};
    /// use std::time::Duration;
    ///
    /// let event_loop = EventLoop::builder().clock(Clock::Virtual).build();
    /// event_loop.call_later(Duration::from_secs(3600), || ());
    /// assert_eq!(event_loop.turn().timers, 1); // without an hour's wait
    /// ```
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        if clock == Clock::Virtual {
            self.observed = Some(&OBSERVED);
        }
        #[cfg(feature = "report")]
        if clock == Clock::Virtual {
            self.reporter = Some(REPORTER);
        }
        self
    }

    /// Sets the handler for panics that no code handles: of a task whose result is never read, of a
    /// callback, of a destructor. It also gets the failed TLS handshakes of servers. Without a
    /// handler, each is a line on stderr.
    ///
    /// A handler may do everything that a callback may do. If the handler itself panics, the line
    /// goes to stderr.
    ///
    /// asyncio: `set_exception_handler`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{cell::RefCell, rc::Rc};
    ///
    /// let told = Rc::new(RefCell::new(Vec::new()));
    /// let copy = told.clone();
    /// let event_loop = onelane::EventLoop::builder()
    ///     .exception_handler(move |exception| copy.borrow_mut().push(exception.panic.message().to_string()))
    ///     .build();
    /// event_loop.run(async {
    ///     onelane::call_soon(|| panic!("oh"));
    ///     onelane::yield_now().await;
    /// });
    /// assert_eq!(*told.borrow(), ["oh"]);
    /// ```
    #[doc(alias = "set_exception_handler")]
    pub fn exception_handler(mut self, handler: impl Fn(&Exception) + 'static) -> Self {
        self.handler = Some(Rc::new(handler));
        self
    }

    /// Sets debug mode. In debug mode the loop reports
    ///
    /// - steps and callbacks that take long and delay all others: see
    ///   [`slow_step`](Self::slow_step) and [`slow_step_handler`](Self::slow_step_handler). The
    ///   longest is in the [`metrics`](crate::metrics()), which debug mode enables;
    /// - tasks that wait for each other in a circle: see
    ///   [`deadlock_handler`](Self::deadlock_handler);
    /// - programs that cannot continue, also on a real clock, where `run` would otherwise wait for
    ///   ever: see [`RunError::Deadlock`];
    /// - results that are never read: a line on stderr when the last handle of a task with a value
    ///   is dropped. Values without a size, such as `()`, are not reported.
    ///
    /// A task whose panic is never read is reported in every mode, see
    /// [`exception_handler`](Self::exception_handler). Calls from a wrong thread are detected in
    /// every mode: types that must stay on the loop's thread are not `Send`, so sending them does
    /// not compile; and a function that finds no loop on its thread panics with a message that says
    /// so.
    ///
    /// The default is debug mode if the environment variable `ONELANE_DEBUG` is set and not empty, in
    /// programs that are built with debug assertions (`cargo build` without `--release`). Other
    /// programs contain debug mode only if they call this:
    /// `debug(std::env::var_os("ONELANE_DEBUG").is_some())`.
    ///
    /// asyncio: `set_debug`, `run(debug=True)`, `PYTHONASYNCIODEBUG`.
    ///
    /// # Cost
    ///
    /// In debug mode, two readings of the machine's clock and about 260 instructions per step.
    /// Otherwise none.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{Clock, EventLoop, yield_now};
    /// use std::{cell::RefCell, rc::Rc, time::Duration};
    ///
    /// let told = Rc::new(RefCell::new(Vec::new()));
    /// let copy = told.clone();
    /// EventLoop::builder()
    ///     .clock(Clock::Virtual)
    ///     .debug(true)
    ///     .slow_step(Duration::from_millis(1))
    ///     .slow_step_handler(move |step| copy.borrow_mut().push(step.to_string()))
    ///     .build()
    ///     .run(async {
    ///         std::thread::sleep(Duration::from_millis(5)); // blocks the whole loop
    ///         yield_now().await;
    ///     });
    /// assert!(told.borrow()[0].starts_with("a step of task \"main-1\""));
    /// ```
    #[cfg(feature = "report")]
    #[cfg_attr(docsrs, doc(cfg(feature = "report")))]
    #[doc(alias = "set_debug")]
    #[doc(alias = "PYTHONASYNCIODEBUG")]
    pub fn debug(mut self, debug: bool) -> Self {
        self.debug = Some(debug.then_some(LoopBuilder::watch as MakeWatch));
        if debug {
            self.observed = Some(&OBSERVED);
            self.reporter = Some(REPORTER);
        }
        self
    }

    /// Sets how long a step may take before debug mode reports it. The default is 100 ms.
    ///
    /// asyncio: `slow_callback_duration`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::EventLoop;
    /// use std::{cell::Cell, rc::Rc, time::Duration};
    ///
    /// for (limit, is_told) in [(Duration::ZERO, true), (Duration::from_secs(3600), false)] {
    ///     let told = Rc::new(Cell::new(false));
    ///     let copy = told.clone();
    ///     let builder = EventLoop::builder().debug(true).slow_step(limit);
    ///     builder.slow_step_handler(move |_| copy.set(true)).build().run(async {});
    ///     assert_eq!(told.get(), is_told);
    /// }
    /// ```
    #[cfg(feature = "report")]
    #[cfg_attr(docsrs, doc(cfg(feature = "report")))]
    #[doc(alias = "slow_callback_duration")]
    pub fn slow_step(mut self, limit: Duration) -> Self {
        self.slow_step = Some(limit);
        self
    }

    /// Sets the handler for slow steps in debug mode. Without a handler, each is a line on stderr.
    ///
    /// A handler may do everything that a callback may do. Its panic goes to the exception handler.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::EventLoop;
    /// use std::{cell::Cell, rc::Rc, thread, time::Duration};
    ///
    /// let lost = Rc::new(Cell::new(Duration::ZERO));
    /// let sum = lost.clone();
    /// EventLoop::builder()
    ///     .debug(true)
    ///     .slow_step(Duration::from_millis(1))
    ///     .slow_step_handler(move |step| sum.set(sum.get() + step.took))
    ///     .build()
    ///     .run(async { thread::sleep(Duration::from_millis(2)) });
    /// assert!(lost.get() >= Duration::from_millis(2));
    /// ```
    #[cfg(feature = "report")]
    #[cfg_attr(docsrs, doc(cfg(feature = "report")))]
    pub fn slow_step_handler(mut self, handler: impl Fn(&SlowStep) + 'static) -> Self {
        self.slow_step_handler = Some(Box::new(handler));
        self
    }

    /// Sets the handler for tasks that wait for each other in a circle while other tasks run, in
    /// debug mode. Without a handler, the report is written to stderr.
    ///
    /// It is called at the end of the step that closes the circle. In a circle, each task waits
    /// only for the end of the next task, or for a [`Lock`](crate::sync::Lock) that the next task
    /// has taken. A lock counts only if the task cannot have passed it on, by an
    /// [`OwnedLockGuard`](crate::sync::OwnedLockGuard) or in a future that was moved to another
    /// task. A report may be wrong in two cases, and its text mentions them: the guard of a
    /// `&'static Lock` was passed on, or a guard was passed on in a future that waits for nothing
    /// of onelane's.
    ///
    /// A circle is not reported if one of its tasks also sleeps or is limited by a
    /// [`timeout`](crate::timeout()), or is awaited by such a task: the sleep or the timeout may
    /// end the circle. Nor is the circle reported later, when the sleep or the timeout has ended.
    /// Only a cancellation can end a reported circle, for example by a task group in which another
    /// child fails. If nothing else in the loop can continue either, the circle is reported here,
    /// and then the run ends with [`RunError::Deadlock`].
    ///
    ///
    /// A handler may do everything that a callback may do. Its panic goes to the exception handler.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, Task, spawn, yield_now};
    /// use std::{cell::RefCell, rc::Rc};
    ///
    /// let told = Rc::new(RefCell::new(Vec::new()));
    /// let copy = told.clone();
    /// let builder = EventLoop::builder().debug(true).deadlock_handler(move |report| copy.borrow_mut().push(report.clone()));
    /// builder.build().run(async {
    ///     // Each awaits the other.
    ///     let tasks: Rc<RefCell<Vec<Task<()>>>> = Rc::default();
    ///     for nth in [0, 1] {
    ///         let others = tasks.clone();
    ///         let task = spawn(async move {
    ///             let other = others.borrow_mut().swap_remove(0);
    ///             let _ = other.await;
    ///         });
    ///         task.set_name(["tic", "tac"][nth]);
    ///         tasks.borrow_mut().insert(0, task);
    ///     }
    ///     for _ in 0..3 {
    ///         yield_now().await; // the rest of the program continues
    ///     }
    /// });
    /// let circle = &told.borrow()[0];
    /// assert!(circle.others_go_on && circle.tasks.len() == 2);
    /// ```
    #[cfg(feature = "report")]
    #[cfg_attr(docsrs, doc(cfg(feature = "report")))]
    pub fn deadlock_handler(mut self, handler: impl Fn(&DeadlockReport) + 'static) -> Self {
        self.deadlock_handler = Some(Box::new(handler));
        self
    }

    /// Sets whether the loop counts what it does, for [`metrics`](crate::metrics()). By default it
    /// counts only on a virtual clock, in debug mode, and with a probe.
    ///
    /// # Cost
    ///
    /// A few instructions per wake. A waker that a future of another crate keeps takes a lock when
    /// it is cloned and when it is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// let event_loop = onelane::EventLoop::builder().metrics(true).build();
    /// event_loop.run(async {});
    /// assert_eq!(event_loop.metrics().finished, 1);
    /// ```
    pub fn metrics(mut self, metrics: bool) -> Self {
        self.metrics = metrics;
        if metrics {
            self.observed = Some(&OBSERVED);
        }
        self
    }

    /// Sets whether Ctrl-C cancels the main task of a [`run`](EventLoop::run), so that all tasks
    /// unwind, instead of killing the process at once. The default is false.
    ///
    /// While the main task runs, the first Ctrl-C (`SIGINT`) cancels it: futures are dropped, with
    /// everything that they own. Then [`try_run`](EventLoop::try_run) returns
    /// [`RunError::Interrupted`]; or [`RunError::Cancelled`] if other code has cancelled the main
    /// task as well; or the value, if the main task returns one anyway. The second Ctrl-C kills the
    /// process, even if the loop's thread is stuck in a computation. When the main task has ended,
    /// `SIGINT` has its earlier effect again.
    ///
    /// The cancellation reaches the main task at the beginning of a turn, shortly after the key was
    /// pressed. If several loops have this option, the first Ctrl-C cancels all their running main
    /// tasks. A listener of [`signals::listen(SIGINT)`](crate::signals::listen) receives the first
    /// Ctrl-C too, and does not prevent the second from killing. On a virtual clock a deadlock is
    /// reported, although Ctrl-C could still come. On a real clock, where only debug mode reports
    /// deadlocks, the program waits for it. [`turn`](EventLoop::turn) has no main task and ignores
    /// this option.
    ///
    /// The earlier effect of `SIGINT` is the default one, with two exceptions: it was ignored, as
    /// for a background program of a script, or it had another handler, when the process first used
    /// this option. Linux reports these cases; on other systems the default is assumed. Other
    /// handlers are still called. asyncio does not handle `SIGINT` in these two cases; this option
    /// does, because you asked for it.
    ///
    /// If the thread for signals cannot be started, the program runs without this option.
    ///
    /// asyncio: what `asyncio.run` always does; the error is `KeyboardInterrupt`.
    ///
    /// # Cost
    ///
    /// One thread per process, and some allocations and a lock per run.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, RunError, sleep};
    /// use std::time::Duration;
    ///
    /// let event_loop = EventLoop::builder().cancel_on_ctrl_c(true).build();
    /// let result = event_loop.try_run(async {
    ///     // In place of your Ctrl-C.
    /// #   signal_hook::low_level::raise(onelane::signals::SIGINT).unwrap();
    ///     sleep(Duration::from_secs(3600)).await;
    /// });
    /// match result {
    ///     Ok(()) => println!("done"),
    ///     Err(RunError::Interrupted) => println!("everything was dropped in order"),
    ///     Err(error) => panic!("{error}"),
    /// }
    /// # assert!(matches!(event_loop.try_run(async { 1 }), Ok(1)));
    /// ```
    #[cfg(all(unix, feature = "signals"))]
    #[cfg_attr(docsrs, doc(cfg(feature = "signals")))]
    #[doc(alias = "KeyboardInterrupt")]
    pub fn cancel_on_ctrl_c(mut self, cancel: bool) -> Self {
        self.cancel_on_ctrl_c = cancel;
        self
    }

    /// Sets how long [`run`](EventLoop::run) waits at its end for functions of
    /// [`to_thread`](crate::to_thread()) that still run. The default is five minutes. If functions
    /// still run after that, `run` prints their number on stderr and returns. These functions are
    /// stopped when the process exits. With zero, `run` does not wait and prints nothing.
    ///
    /// This is real time, also for a loop on a virtual clock.
    ///
    /// asyncio: `loop.shutdown_default_executor(timeout)`, which `asyncio.run` calls.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, to_thread};
    /// use std::time::Duration;
    ///
    /// let event_loop = EventLoop::builder().thread_join_timeout(Duration::ZERO).build();
    /// event_loop.run(async {
    ///     // Nobody types.
    ///     let line = onelane::spawn(to_thread(|| std::io::stdin().lines().next()));
    ///     onelane::sleep(Duration::from_millis(1)).await;
    ///     line.cancel();
    /// });
    /// ```
    #[cfg(feature = "threads")]
    #[cfg_attr(docsrs, doc(cfg(feature = "threads")))]
    #[doc(alias = "shutdown_default_executor")]
    pub fn thread_join_timeout(mut self, limit: Duration) -> Self {
        self.thread_join_timeout = Some(limit);
        self
    }

    /// Sets a signal upon which the loop prints its call graph on stderr, as
    /// [`print_call_graph`](crate::print_call_graph) does. With `SIGUSR1`, the command
    /// `kill -USR1 PID` shows where each task of a running program waits.
    ///
    /// The graph is printed in the loop's next turn, even if the loop sleeps until then. Several
    /// signals before that turn print it once. If several loops have this option, each prints its
    /// own graph. Outside [`run`](EventLoop::run), the next [`turn`](EventLoop::turn) prints it. A
    /// loop whose thread is stuck in a step prints when that step ends.
    ///
    /// From [`build`](Self::build) until the loop is dropped, the signal does not have its default
    /// effect, which for most signals kills the process. Other listeners, for example of
    /// [`signals::listen`](crate::signals::listen), receive it too. On a virtual clock and in debug
    /// mode a deadlock is reported, although the signal could still come. A second call replaces
    /// the first.
    ///
    /// If the thread for signals cannot be started, the program runs without this option.
    ///
    /// asyncio: `python -m asyncio pstree PID`, which reads the memory of the other process.
    ///
    /// # Panics
    ///
    /// [`build`](Self::build) panics if a program cannot handle this signal. Choose one of those in
    /// [`signals`](crate::signals).
    ///
    /// # Cost
    ///
    /// One thread per process, and some allocations per signal. Until a signal comes, nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, signals::SIGUSR1, sleep};
    /// use std::time::Duration;
    ///
    /// let event_loop = EventLoop::builder().print_call_graph_on(SIGUSR1).build();
    /// event_loop.run(async {
    ///     // In place of `kill -USR1`.
    /// #   signal_hook::low_level::raise(SIGUSR1).unwrap();
    ///     sleep(Duration::from_millis(20)).await; // meanwhile it is printed
    /// });
    /// ```
    #[cfg(all(unix, feature = "signals", feature = "report"))]
    #[cfg_attr(docsrs, doc(cfg(all(feature = "signals", feature = "report"))))]
    #[doc(alias = "pstree")]
    pub fn print_call_graph_on(mut self, signal: i32) -> Self {
        self.print_on = Some(signal);
        self
    }

    /// Records the run of the loop, and writes it as an HTML page to `path` when the loop is dropped.
    /// The page replays the run step by step; see [`replay`](crate::replay). A probe that is set
    /// too receives all events, after the recording. If it panics, only the probe is removed. It
    /// must not cause events itself, such as spawns and wakes: the recording is not notified of them.
    ///
    /// **The page contains source files** of the program: those that the events name. To leave them
    /// out, use a [`Recording`](crate::replay::Recording) and its
    /// [`without_sources`](crate::replay::Recording::without_sources).
    ///
    /// A relative path starts in the folder that is current at [`build`](Self::build). If the file cannot be
    /// written, `build` prints that on stderr, and nothing is recorded. A page that exists is replaced
    /// at the end, when the new one is whole. A program that ends by [`std::process::exit`] does not
    /// drop its loop, and writes nothing.
    ///
    /// The environment variable `ONELANE_REPLAY` does the same for each loop without this call. Then a
    /// page of an earlier process is kept: `run.html` becomes `run-old-1.html`.
    ///
    /// # Cost
    ///
    /// That of a [`Recording`](crate::replay::Recording).
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::EventLoop;
    ///
    /// let path = std::env::temp_dir().join(format!("onelane-run-{}.html", std::process::id()));
    /// let event_loop = EventLoop::builder().replay(&path).build();
    /// event_loop.run(async {});
    /// drop(event_loop);
    /// assert!(std::fs::read_to_string(&path)?.contains("</html>"));
    /// # std::fs::remove_file(path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[cfg(feature = "replay")]
    #[cfg_attr(docsrs, doc(cfg(feature = "replay")))]
    pub fn replay(mut self, path: impl Into<std::path::PathBuf>) -> Self {
        self.replay = Some(path.into());
        self
    }

    /// For a loop of an exploration, which has a page of its own.
    #[cfg(all(feature = "replay", feature = "explore"))]
    pub(crate) fn without_page(mut self) -> Self {
        self.has_no_page = true;
        self
    }

    /// Sets the probe, which receives an event for each thing that the loop does: spawns, wakes,
    /// steps, waits, timers, ends. A second call replaces the first; a [tee](crate::probe::Tee)
    /// combines two probes.
    ///
    /// A probe may do everything that a callback may do. It is not notified of events that it
    /// causes itself. If it panics, it is removed, and the panic goes to the exception handler. It
    /// is dropped with the loop.
    ///
    /// # Cost
    ///
    /// The cost of the probe itself, and a reading of the clock per event, which is free on a
    /// virtual clock. With a probe, the loop steps each entry of the ready queue separately, and
    /// does not run several turns in one go. Without a probe, each event costs a comparison;
    /// without the feature `probe`, nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, sleep, spawn};
    /// use onelane::probe::Ring;
    /// use std::{rc::Rc, time::Duration};
    ///
    /// let ring = Rc::new(Ring::new(1000));
    /// let event_loop = EventLoop::builder().probe(ring.clone()).build();
    /// event_loop.run(async {
    ///     spawn(sleep(Duration::from_millis(1))).await.unwrap();
    /// });
    /// println!("{ring}"); // what happened, line by line
    /// assert!(!ring.is_empty());
    /// ```
    #[cfg(feature = "probe")]
    #[cfg_attr(docsrs, doc(cfg(feature = "probe")))]
    pub fn probe(mut self, probe: impl Probe + 'static) -> Self {
        self.probe = Some(Box::new(probe));
        self.observed = Some(&OBSERVED);
        self
    }

    /// Sets what looks up names for the sockets of this loop. The default is the operating system, by
    /// [`SystemResolver`](crate::net::SystemResolver). A second call replaces the first.
    ///
    /// asyncio: `loop.getaddrinfo`, overridden in a subclass.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::{Lookups, Resolver, TcpStream}};
    /// use std::io::{Error, ErrorKind};
    ///
    /// /// For tests that must not use the network.
    /// struct NoNames;
    ///
    /// impl Resolver for NoNames {
    ///     fn lookup(&self, _host: &str, _port: u16) -> Lookups {
    ///         Box::pin(async { Err(Error::new(ErrorKind::NotFound, "there are no names here")) })
    ///     }
    /// }
    ///
    /// let event_loop = EventLoop::builder().resolver(NoNames).build();
    /// let error = event_loop.run(TcpStream::connect("example.org:443")).unwrap_err();
    /// assert_eq!(error.to_string(), "cannot look up \"example.org\": there are no names here");
    /// ```
    #[cfg(all(unix, feature = "io"))]
    #[cfg_attr(docsrs, doc(cfg(feature = "io")))]
    #[doc(alias = "getaddrinfo")]
    pub fn resolver(mut self, resolver: impl Resolver + 'static) -> Self {
        self.resolver = Some(Rc::new(resolver));
        self
    }

    /// Runs the loop in another order than the normal one: which ready entry is next, which of the timers
    /// for one moment fires first, and what [`explore::choose`](crate::explore::choose) returns. A number
    /// is a seed, from which each choice is drawn. The same seed always gives the same order, as long as
    /// the program is deterministic; use it with the [virtual clock](Clock::Virtual).
    ///
    /// A text that is parsed is the schedule of a [`Failure`](crate::explore::Failure). At the first
    /// choice that does not fit to it, the run ends as if main had been cancelled.
    ///
    /// # Cost
    ///
    /// Entries are run one by one, as in debug mode, and each choice looks at all ready entries.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{Clock, EventLoop, call_soon, yield_now};
    /// use std::{cell::RefCell, collections::HashSet, rc::Rc};
    ///
    /// let orders: HashSet<String> = (0..50)
    ///     .map(|seed| {
    ///         let order = Rc::new(RefCell::new(String::new()));
    ///         EventLoop::builder().clock(Clock::Virtual).schedule(seed).build().run(async {
    ///             for name in ['a', 'b', 'c'] {
    ///                 let order = order.clone();
    ///                 call_soon(move || order.borrow_mut().push(name));
    ///             }
    ///             while order.borrow().len() < 3 {
    ///                 yield_now().await;
    ///             }
    ///         });
    ///         order.take()
    ///     })
    ///     .collect();
    /// assert_eq!(orders.len(), 6);
    /// ```
    #[cfg(feature = "explore")]
    #[cfg_attr(docsrs, doc(cfg(feature = "explore")))]
    pub fn schedule(mut self, order: impl Into<crate::explore::Order>) -> Self {
        self.order = Some(order.into());
        self
    }

    /// Debug mode: it measures each step, and checks what the task of the step waits for.
    #[cfg(feature = "report")]
    fn watch(&mut self) -> Box<StepWatch> {
        let handler = self.slow_step_handler.take();
        let handler = handler.unwrap_or_else(|| Box::new(|step| exceptions::complain(step)));
        let report = move |task: Option<AnyTask>, took| {
            let waits_for = match (context::running(), &task) {
                (Some(kernel), Some(task)) => TaskSnapshot::of(&kernel, &kernel.sleeps(), task).waits_for,
                _ => Vec::new(),
            };
            handler(&SlowStep { took, task: task.map(|cell| TaskRef { cell }), waits_for });
        };
        let limit = self.slow_step.unwrap_or(Duration::from_millis(100));
        let handler = self.deadlock_handler.take();
        let handler = handler.unwrap_or_else(|| Box::new(|report| exceptions::complain(report)));
        let told = RefCell::default();
        let suspended = move |task: &AnyTask| {
            let report = context::running().and_then(|kernel| DeadlockReport::of_circle(&kernel, task, &told));
            report.iter().for_each(&*handler);
        };
        Box::new(StepWatch::new(limit, Box::new(report), Box::new(suspended)))
    }

    /// Builds the loop.
    ///
    /// # Panics
    ///
    /// If 65,535 loops exist in the process. If `print_call_graph_on` was called with a signal that
    /// a program cannot handle.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{Clock, EventLoop};
    ///
    /// // Two loops on a thread, of which one runs at a time.
    /// let [real, quick] = [Clock::Real, Clock::Virtual].map(|clock| EventLoop::builder().clock(clock).build());
    /// let half = real.run(async { 21 });
    /// assert_eq!(quick.run(async { half * 2 }), 42);
    /// ```
    #[track_caller]
    #[cfg_attr(not(feature = "report"), allow(unused_mut, reason = "the feature adds debug mode"))]
    pub fn build(mut self) -> EventLoop {
        crate::platform::check();
        unknown("another event loop");
        let clock = match self.clock {
            Clock::Real => KernelClock::real(),
            Clock::Virtual => KernelClock::virtual_time(),
        };
        // Optimized programs ignore the variable: otherwise all of them would contain debug mode.
        #[cfg(all(feature = "report", debug_assertions))]
        if self.debug.is_none() && std::env::var_os("ONELANE_DEBUG").is_some_and(|value| !value.is_empty()) {
            self = self.debug(true);
        }
        #[cfg(feature = "report")]
        let watch = self.debug.flatten().map(|watch| watch(&mut self));
        #[cfg(not(feature = "report"))]
        let watch: Option<Box<StepWatch>> = None;
        let never_taken = watch.as_deref().map(StepWatch::never_taken);
        #[cfg(feature = "replay")]
        let recording = match self.replay.take() {
            Some(path) => WrittenAtTheEnd::to(&path),
            None if self.has_no_page => None,
            None => WrittenAtTheEnd::as_asked(),
        };
        let is_probed = {
            #[cfg(feature = "probe")]
            {
                self.probe.is_some()
            }
            #[cfg(not(feature = "probe"))]
            false
        };
        #[cfg(feature = "replay")]
        let is_probed = is_probed || recording.is_some();
        let is_observed = self.clock == Clock::Virtual || watch.is_some() || self.metrics || is_probed;
        let kernel = Kernel::new(clock, self.observed.filter(|_| is_observed), watch);
        #[cfg(feature = "report")]
        kernel.idling.tell_of_long_rest.set(self.reporter.map(|reporter| reporter.long_rest));
        context::add_loop(&kernel);
        let is_handled = never_taken.is_some() || self.handler.is_some();
        // From here on, the loop is removed from the list of this thread even if a probe panics.
        #[allow(unused_mut, reason = "without the feature `signals` nothing is added")]
        let mut event_loop = EventLoop {
            kernel,
            cancel_on_ctrl_c: self.cancel_on_ctrl_c,
            is_handled,
            #[cfg(feature = "report")]
            reporter: self.reporter,
            #[cfg(feature = "threads")]
            thread_join_timeout: self.thread_join_timeout.unwrap_or(THREAD_JOIN_TIMEOUT),
            #[cfg(all(unix, feature = "signals", feature = "report"))]
            printer: None,
        };
        let kernel = &event_loop.kernel;
        if is_handled {
            exceptions::set_handler(kernel.id(), kernel.table.lane().tenancy, self.handler, never_taken);
        }
        #[cfg(feature = "replay")]
        if let Some(recording) = recording {
            self.probe = Some(Box::new(recording.beside(kernel.id(), self.probe)));
        }
        #[cfg(feature = "probe")]
        if let Some(probe) = self.probe {
            kernel.set_probe(probe);
        }
        #[cfg(all(unix, feature = "io"))]
        if let Some(resolver) = self.resolver {
            set_resolver(kernel.id(), resolver);
        }
        #[cfg(feature = "explore")]
        if let Some(order) = self.order {
            crate::explore::order(kernel, order);
        }
        #[cfg(all(unix, feature = "signals", feature = "report"))]
        if let Some(signal) = self.print_on {
            event_loop.printer = Printer::on(signal, &event_loop.kernel);
        }
        event_loop
    }
}

impl fmt::Debug for LoopBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("LoopBuilder");
        out.field("clock", &self.clock);
        #[cfg(feature = "report")]
        out.field("debug", &self.debug.map(|watch| watch.is_some()));
        out.field("cancel_on_ctrl_c", &self.cancel_on_ctrl_c).finish_non_exhaustive()
    }
}

/// Why a program did not run to its end.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, RunError, current_task, yield_now};
///
/// fn exit_code(result: Result<(), RunError>) -> u8 {
///     match result {
///         Ok(()) => 0,
///         Err(RunError::Cancelled) => 1,
///         Err(error) => {
///             eprintln!("{error}"); // of a deadlock, every task and what it waits for
///             2
///         }
///     }
/// }
///
/// let result = EventLoop::with_virtual_clock().try_run(async {
///     current_task().unwrap().cancel();
///     yield_now().await;
/// });
/// assert_eq!(exit_code(result), 1);
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum RunError {
    /// A loop is already running on this thread.
    Nested,
    /// The program cannot continue. Nothing is ready, and no timer is pending. No [`Remote`]
    /// exists, no code outside the loop holds a waker, and no task waits for a socket. On a virtual
    /// clock this is always reported, on a real clock only in [debug mode](LoopBuilder::debug);
    /// otherwise the loop sleeps for ever. On a platform without threads, such as WASI, it is always
    /// reported, even if there is a [`Remote`] or a waker: no code is left that could use it.
    Deadlock(DeadlockReport),
    /// The main task was cancelled.
    Cancelled,
    /// Ctrl-C, and no other code, has cancelled the main task. Only a loop that was built with
    /// `cancel_on_ctrl_c` (feature `signals`) reports this. On other loops Ctrl-C kills the
    /// process.
    #[doc(alias = "KeyboardInterrupt")]
    Interrupted,
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Nested => f.write_str("onelane::run() cannot be called from a running event loop"),
            RunError::Deadlock(report) => report.fmt(f),
            RunError::Cancelled => f.write_str("the main task was cancelled"),
            RunError::Interrupted => f.write_str("the main task was cancelled by Ctrl-C"),
        }
    }
}

impl core::error::Error for RunError {}

#[cfg(feature = "std")]
impl From<RunError> for std::io::Error {
    fn from(error: RunError) -> Self {
        std::io::Error::other(error)
    }
}

impl EventLoop {
    /// Creates a loop on the machine's clock.
    ///
    /// # Examples
    ///
    /// ```
    /// let event_loop = onelane::EventLoop::new();
    /// let runs = (1..=3).map(|n| event_loop.run(async move { n }));
    /// assert_eq!(runs.sum::<i32>(), 6); // one loop, three runs
    /// ```
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Creates a loop on a [virtual clock](Clock::Virtual).
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, sleep};
    /// use std::time::{Duration, Instant};
    ///
    /// let (begun, hour) = (Instant::now(), Duration::from_secs(3600));
    /// EventLoop::with_virtual_clock().run(async { sleep(hour).await });
    /// assert!(begun.elapsed() < hour);
    /// ```
    pub fn with_virtual_clock() -> Self {
        Self::builder().clock(Clock::Virtual).build()
    }

    /// Returns a builder for a loop with options.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::EventLoop;
    /// use std::time::Instant;
    ///
    /// let event_loop = EventLoop::builder().debug(true).build();
    /// let before = Instant::now();
    /// assert!(event_loop.time() >= before); // on the machine's clock, since nothing was said of it
    /// ```
    pub fn builder() -> LoopBuilder {
        LoopBuilder::default()
    }

    /// Returns the loop that is running on this thread.
    ///
    /// asyncio: `get_running_loop()`.
    ///
    /// # Panics
    ///
    /// If no loop is running on this thread; see [`try_current`](Self::try_current).
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{CallHandle, EventLoop, LoopRef};
    ///
    /// /// Made in a loop, and used outside of its turns too, where `onelane::call_soon` panics.
    /// struct Bell {
    ///     home: LoopRef,
    /// }
    ///
    /// impl Bell {
    ///     fn ring(&self) -> CallHandle {
    ///         self.home.call_soon(|| println!("ding"))
    ///     }
    /// }
    ///
    /// let event_loop = EventLoop::with_virtual_clock();
    /// let bell = event_loop.run(async { Bell { home: EventLoop::current() } });
    /// bell.ring();
    /// assert_eq!(event_loop.turn().callbacks, 1);
    /// ```
    #[doc(alias = "get_running_loop")]
    #[track_caller]
    pub fn current() -> LoopRef {
        unknown("EventLoop::current()");
        LoopRef::to(&running("EventLoop::current()"))
    }

    /// Returns the loop that is running on this thread, if there is one.
    ///
    /// # Errors
    ///
    /// If no loop is running on this thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, current_task};
    ///
    /// /// For a line in a log that is written inside and outside of tasks.
    /// fn writer() -> String {
    ///     let task = EventLoop::try_current().ok().and_then(|_| current_task());
    ///     task.map_or("-".into(), |task| task.name().to_string())
    /// }
    ///
    /// assert_eq!(writer(), "-");
    /// assert_eq!(EventLoop::with_virtual_clock().run(async { writer() }), "main-1");
    /// ```
    pub fn try_current() -> Result<LoopRef, NoRunningLoop> {
        unknown("EventLoop::current()");
        context::running().map(|kernel| LoopRef::to(&kernel)).ok_or(NoRunningLoop)
    }

    /// Runs `main` as a task until it has ended. Then cancels all other tasks, and runs turns until
    /// they have ended and their callbacks have run. Timers and callbacks that are not due stay for
    /// the next run.
    ///
    /// `main` may borrow from the caller.
    ///
    /// asyncio: `Runner.run(main)`.
    ///
    /// # Panics
    ///
    /// With the panic of `main`, if it panics. If a loop is running on this thread. If the main
    /// task was cancelled, also by Ctrl-C. On a virtual clock and in debug mode, if the program
    /// cannot continue; the message contains the report. If, at the end, cancelled tasks still
    /// spawn new tasks after a thousand rounds: the tasks that are left are leaked.
    ///
    /// # Examples
    ///
    /// ```
    /// let event_loop = onelane::EventLoop::new();
    /// let words = vec!["one", "lane"];
    /// let letters = event_loop.run(async { words.iter().map(|word| word.len()).sum::<usize>() });
    /// assert_eq!(letters, 7);
    /// ```
    #[doc(alias = "run_until_complete")]
    #[track_caller]
    pub fn run<F: IntoFuture>(&self, main: F) -> F::Output {
        self.try_run(main).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Like [`run`](Self::run), but returns an error instead of panicking.
    ///
    /// # Errors
    ///
    /// See [`RunError`].
    ///
    /// # Panics
    ///
    /// With the panic of `main`. If, at the end, cancelled tasks still spawn new tasks.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, RunError, task};
    ///
    /// // Waits for a task that waits for ever.
    /// let stuck = EventLoop::with_virtual_clock().try_run(async {
    ///     task::Builder::new().name("lost").spawn(std::future::pending::<()>()).await
    /// });
    /// let Err(RunError::Deadlock(report)) = stuck else { unreachable!() };
    /// assert_eq!(report.tasks[0].waits_for[0].what, "task \"lost\"");
    /// ```
    #[track_caller]
    pub fn try_run<F: IntoFuture>(&self, main: F) -> Result<F::Output, RunError> {
        self.try_run_at(main, Location::caller())
    }

    /// Like `try_run`, with the source location at which the main task is said to be spawned.
    #[track_caller]
    pub(crate) fn try_run_at<F: IntoFuture>(
        &self,
        main: F,
        spawned_at: &'static Location<'static>,
    ) -> Result<F::Output, RunError> {
        if context::is_running() {
            return Err(RunError::Nested);
        }
        self.kernel.host_comes();
        // Whatever happens in `run`, a host is informed of the remaining work.
        let _host = Host(&self.kernel);
        let _entered = context::enter(&self.kernel);
        let draft = || self.kernel.draft(None, spawned_at);
        lend(draft, main.into_future(), |main| {
            let interrupted = self.complete(main.any())?;
            match main.outcome().and_then(RefCell::take) {
                Some(Ok(value)) => Ok(value),
                Some(Err(TaskError::Panicked(panic))) => {
                    self.kernel.tell_panic();
                    panic.resume()
                }
                Some(Err(TaskError::Cancelled)) | None if interrupted => Err(RunError::Interrupted),
                Some(Err(TaskError::Cancelled)) | None => Err(RunError::Cancelled),
            }
        })
    }

    /// Runs turns until the main task has ended, and then until all other tasks have. Returns whether
    /// Ctrl-C has cancelled the main task.
    ///
    /// # Errors
    ///
    /// If the main task could not be run to its end.
    #[track_caller]
    fn complete(&self, main: &AnyTask) -> Result<bool, RunError> {
        let kernel = &*self.kernel;
        kernel.finish_paused_turn();
        kernel.insert(main.clone());
        let ctrl_c = CtrlC::watch(self.cancel_on_ctrl_c, kernel, main.header());
        let stuck = self.kernel.run_main(main).err().map(|_| self.deadlock());
        if stuck.is_some() {
            kernel.tell_deadlock();
        }
        kernel.main_ended();
        let interrupted = ctrl_c.end(main.header());
        let finished = kernel.finish_tasks(Patience::Waits);
        #[cfg(feature = "threads")]
        self.join_threads();
        if let Err(spawned_at) = finished {
            panic!("{}", NeverEnds(spawned_at));
        }
        match stuck {
            Some(report) => Err(RunError::Deadlock(report)),
            None => Ok(interrupted),
        }
    }

    /// Where there are threads, only a loop on a virtual clock or in debug mode detects deadlocks.
    /// With the feature `report`, such a loop has a reporter.
    fn deadlock(&self) -> DeadlockReport {
        #[cfg(feature = "report")]
        let reporter = if crate::kernel::idle::park::HAS_THREADS { self.reporter } else { Some(REPORTER) };
        #[cfg(feature = "report")]
        return (reporter.expect("a loop that finds deadlocks reports them").deadlock)(&self.kernel);
        #[cfg(not(feature = "report"))]
        DeadlockReport {}
    }

    #[cfg(feature = "threads")]
    fn join_threads(&self) {
        let limit = self.thread_join_timeout;
        match crate::outside::to_thread::join(self.kernel.id(), limit) {
            left @ 1.. if !limit.is_zero() => exceptions::complain(&format_args!(
                "{left} function(s) of to_thread() still run, {limit:?} after their loop has ended; they are left to themselves"
            )),
            _ => {}
        }
    }

    /// Spawns a task, even while the loop is not running.
    ///
    /// # Examples
    ///
    /// ```
    /// let event_loop = onelane::EventLoop::with_virtual_clock();
    /// let early = event_loop.spawn(async { 6 });
    /// let product = event_loop.run(async { early.await.unwrap() * 7 });
    /// assert_eq!(product, 42);
    /// ```
    #[doc(alias = "create_task")]
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future<Output: 'static> + 'static,
    {
        Task::spawn_on(&self.kernel, None, future)
    }

    /// Like [`call_soon`](crate::call_soon()), but works also while the loop is not running.
    ///
    /// # Examples
    ///
    /// ```
    /// let event_loop = onelane::EventLoop::new();
    /// event_loop.call_soon(|| ());
    /// assert_eq!(event_loop.turn().callbacks, 1);
    /// ```
    #[track_caller]
    pub fn call_soon(&self, callback: impl FnOnce() + 'static) -> CallHandle {
        CallHandle::soon(&self.kernel, callback)
    }

    /// Like [`call_later`](crate::call_later()), but works also while the loop is not running.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let event_loop = onelane::EventLoop::with_virtual_clock();
    /// let handle = event_loop.call_later(Duration::from_secs(5), || ());
    /// assert_eq!(event_loop.next_deadline(), handle.when());
    /// ```
    #[track_caller]
    pub fn call_later(&self, delay: Duration, callback: impl FnOnce() + 'static) -> CallHandle {
        CallHandle::later(&self.kernel, delay, callback)
    }

    /// Like [`call_at`](crate::call_at()), but works also while the loop is not running.
    ///
    /// # Examples
    ///
    /// ```
    /// let event_loop = onelane::EventLoop::new();
    /// event_loop.call_at(event_loop.time(), || ());
    /// assert_eq!(event_loop.turn().timers, 1);
    /// ```
    #[track_caller]
    pub fn call_at(&self, moment: Instant, callback: impl FnOnce() + 'static) -> CallHandle {
        CallHandle::at(&self.kernel, moment, callback)
    }

    /// Returns the loop's time.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, sleep};
    /// use std::time::Duration;
    ///
    /// let [one, other] = [(); 2].map(|()| EventLoop::with_virtual_clock());
    /// let (begun, second) = ((one.time(), other.time()), Duration::from_secs(1));
    /// one.run(async { sleep(second).await });
    /// // Each virtual clock goes by itself.
    /// assert_eq!((one.time() - begun.0, other.time() - begun.1), (second, Duration::ZERO));
    /// ```
    pub fn time(&self) -> Instant {
        self.kernel.clock.now_as_instant()
    }

    /// Returns a handle for other threads.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::thread;
    ///
    /// let event_loop = onelane::EventLoop::with_virtual_clock();
    /// let remote = event_loop.remote();
    /// let thread = thread::spawn(move || remote.call_soon(|| println!("called where the loop is")));
    /// thread.join().unwrap().unwrap();
    /// assert_eq!(event_loop.turn().messages, 1);
    /// ```
    pub fn remote(&self) -> Remote {
        Remote::to(&self.kernel)
    }

    /// Returns a reference to this loop, for code that runs in it.
    ///
    /// # Examples
    ///
    /// ```
    /// let event_loop = onelane::EventLoop::new();
    /// assert_eq!(event_loop.run(async { onelane::EventLoop::current() }), event_loop.loop_ref());
    /// ```
    pub fn loop_ref(&self) -> LoopRef {
        LoopRef::to(&self.kernel)
    }

    /// Whether this loop is in a turn, or was [entered](Self::enter), on this thread.
    ///
    /// asyncio: `loop.is_running()`.
    ///
    /// # Examples
    ///
    /// ```
    /// let event_loop = onelane::EventLoop::new();
    /// assert!(!event_loop.is_running());
    /// assert!(event_loop.run(async { event_loop.is_running() }));
    /// ```
    pub fn is_running(&self) -> bool {
        context::running().is_some_and(|kernel| Rc::ptr_eq(&kernel, &self.kernel))
    }

    /// Returns the running task of this loop; `None` in a callback, and while the loop is not
    /// running.
    ///
    /// asyncio: `current_task(loop)`.
    ///
    /// # Examples
    ///
    /// ```
    /// let event_loop = onelane::EventLoop::new();
    /// assert_eq!(event_loop.current_task(), None);
    /// event_loop.run(async { assert_eq!(event_loop.current_task(), onelane::current_task()) });
    /// ```
    pub fn current_task(&self) -> Option<TaskRef> {
        self.kernel.current().map(|cell| TaskRef { cell })
    }

    /// Returns what this loop has counted since it was created; see [`metrics`](crate::metrics()).
    ///
    /// # Panics
    ///
    /// If the loop does not count: enable that with [`LoopBuilder::metrics(true)`](LoopBuilder::metrics).
    ///
    /// # Examples
    ///
    /// ```
    /// let event_loop = onelane::EventLoop::builder().metrics(true).build();
    /// event_loop.call_soon(|| ());
    /// event_loop.turn();
    /// let now = event_loop.metrics();
    /// assert_eq!((now.turns, now.callbacks, now.steps), (1, 1, 0));
    /// ```
    #[track_caller]
    pub fn metrics(&self) -> Metrics {
        Metrics::of(&self.kernel, "EventLoop::metrics()")
    }

    /// Like [`call_graph`](crate::call_graph()), but works also while the loop is not running:
    /// which task waits where, for what, and for which task.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, sleep};
    /// use std::time::Duration;
    ///
    /// let event_loop = EventLoop::with_virtual_clock();
    /// event_loop.spawn(async { sleep(Duration::from_secs(60)).await });
    /// event_loop.turn();
    /// let graph = event_loop.call_graph();
    /// assert_eq!(graph.tasks[0].waits_for[0].what, "a sleep, 60.000 s more");
    /// ```
    #[cfg(feature = "report")]
    #[cfg_attr(docsrs, doc(cfg(feature = "report")))]
    #[doc(alias = "capture_call_graph")]
    pub fn call_graph(&self) -> CallGraph {
        CallGraph::of(&self.kernel)
    }

    /// Returns the living tasks, in the order in which they were spawned.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::future::pending;
    ///
    /// let event_loop = onelane::EventLoop::with_virtual_clock();
    /// event_loop.spawn(pending::<u8>());
    /// event_loop.spawn(pending::<String>());
    /// for task in event_loop.all_tasks() {
    ///     task.cancel();
    /// }
    /// event_loop.turn();
    /// assert!(event_loop.all_tasks().is_empty());
    /// ```
    pub fn all_tasks(&self) -> Vec<TaskRef> {
        self.kernel.tasks().into_iter().map(|cell| TaskRef { cell }).collect()
    }
}

impl Default for EventLoop {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for EventLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tasks = self.kernel.table.len();
        f.debug_struct("EventLoop").field("tasks", &tasks).field("ready", &self.kernel.table.ready_len()).finish()
    }
}

impl Drop for EventLoop {
    fn drop(&mut self) {
        if self.kernel.is_entered() {
            // `std::process::exit` was called. One of the loop's tasks may be in the middle of a
            // step, so no task can end: they are leaked, like everything else on the stack.
            context::remove_loop(&self.kernel);
            return;
        }
        self.kernel.leave_host();
        {
            let _entered = context::enter(&self.kernel);
            // The loop is removed even if the shutdown panics: a loop that is gone and still in the
            // list would hide all older ones.
            let _listed = context::Listed(&self.kernel);
            self.kernel.close_and_complain();
        }
        #[cfg(all(unix, feature = "io"))]
        remove_resolver(self.kernel.id());
        // Dropped last, even if the destructor of the handler panics.
        #[cfg(feature = "probe")]
        let _probe = self.kernel.table.probe.take();
        if self.is_handled {
            drop(exceptions::remove_handler(self.kernel.id()));
        }
    }
}

/// On drop, calls the host, if there is one and the run has left work or a deadline.
struct Host<'a>(&'a Kernel);

impl Drop for Host<'_> {
    fn drop(&mut self) {
        self.0.leave_turns();
    }
}

/// Without the feature `signals` there is no listener for Ctrl-C.
#[cfg(not(all(unix, feature = "signals")))]
struct CtrlC;

#[cfg(not(all(unix, feature = "signals")))]
impl CtrlC {
    fn watch(_wanted: bool, _kernel: &Kernel, _main: &crate::kernel::cell::Header) -> Self {
        CtrlC
    }

    fn end(self, _main: &crate::kernel::cell::Header) -> bool {
        false
    }
}

/// A reference to a loop, for code that runs in it.
///
/// It does not keep the loop alive. Two references are equal if they refer to the same loop.
/// Implements `futures_task::LocalSpawn`.
///
/// # Examples
///
/// ```
/// let event_loop = onelane::EventLoop::new();
/// event_loop.run(async {
///     let current = onelane::EventLoop::current();
///     assert_eq!(current.spawn(async { 1 }).await, Ok(1));
/// });
/// ```
#[doc(alias = "get_running_loop")]
#[derive(Clone, PartialEq, Eq)]
pub struct LoopRef {
    loop_id: u64,
    /// A loop can be found only on its own thread.
    _not_send: PhantomData<Rc<()>>,
}

impl LoopRef {
    fn to(kernel: &Kernel) -> Self {
        LoopRef { loop_id: kernel.id(), _not_send: PhantomData }
    }

    #[track_caller]
    fn kernel(&self, asked: &str) -> Rc<Kernel> {
        match self.find() {
            Some(kernel) => kernel,
            None => panic!("{asked} was called, but the event loop is closed; let the loop outlive what uses it"),
        }
    }

    /// Whether the loop has been dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// let event_loop = onelane::EventLoop::with_virtual_clock();
    /// let home = event_loop.loop_ref();
    /// assert!(!home.is_closed());
    /// drop(event_loop);
    /// assert!(home.is_closed()); // a spawn would panic
    /// ```
    pub fn is_closed(&self) -> bool {
        self.find().is_none()
    }

    /// A waker that has dropped the loop may go on, and the loop exists until the waker returns.
    fn find(&self) -> Option<Rc<Kernel>> {
        context::find(self.loop_id).filter(|kernel| !kernel.is_removed())
    }

    /// Spawns a task.
    ///
    /// # Panics
    ///
    /// If the loop has been dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// let event_loop = onelane::EventLoop::with_virtual_clock();
    /// let task = event_loop.loop_ref().spawn(async { 1 }); // between two turns
    /// assert!(!task.is_done());
    /// event_loop.turn();
    /// assert_eq!(*task.result().unwrap(), 1);
    /// ```
    #[doc(alias = "create_task")]
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future<Output: 'static> + 'static,
    {
        Task::spawn_on(&self.kernel("LoopRef::spawn()"), None, future)
    }

    /// Like [`call_soon`](crate::call_soon()).
    ///
    /// # Panics
    ///
    /// If the loop has been dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, LoopRef};
    ///
    /// fn again(home: LoopRef, times: u32) {
    ///     if times > 0 {
    ///         let copy = home.clone();
    ///         home.call_soon(move || again(copy, times - 1));
    ///     }
    /// }
    ///
    /// let event_loop = EventLoop::with_virtual_clock();
    /// again(event_loop.loop_ref(), 2);
    /// assert_eq!([(); 3].map(|()| event_loop.turn().callbacks), [1, 1, 0]);
    /// ```
    #[track_caller]
    pub fn call_soon(&self, callback: impl FnOnce() + 'static) -> CallHandle {
        CallHandle::soon(&self.kernel("LoopRef::call_soon()"), callback)
    }

    /// Like [`call_later`](crate::call_later()).
    ///
    /// # Panics
    ///
    /// If the loop has been dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, sleep};
    /// use std::time::Duration;
    ///
    /// let event_loop = EventLoop::with_virtual_clock();
    /// let home = event_loop.loop_ref();
    /// let alarm = home.call_later(Duration::from_secs(5), || panic!("the program takes too long"));
    /// event_loop.run(async {
    ///     sleep(Duration::from_secs(1)).await;
    ///     assert!(alarm.cancel());
    /// });
    /// ```
    #[track_caller]
    pub fn call_later(&self, delay: Duration, callback: impl FnOnce() + 'static) -> CallHandle {
        CallHandle::later(&self.kernel("LoopRef::call_later()"), delay, callback)
    }

    /// Like [`call_at`](crate::call_at()).
    ///
    /// # Panics
    ///
    /// If the loop has been dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// onelane::EventLoop::with_virtual_clock().run(async {
    ///     let current = onelane::EventLoop::current();
    ///     let handle = current.call_at(current.time(), || ());
    ///     assert!(handle.when().is_some());
    /// });
    /// ```
    #[track_caller]
    pub fn call_at(&self, moment: Instant, callback: impl FnOnce() + 'static) -> CallHandle {
        CallHandle::at(&self.kernel("LoopRef::call_at()"), moment, callback)
    }

    /// Returns the loop's time.
    ///
    /// # Panics
    ///
    /// If the loop has been dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, LoopRef, sleep};
    /// use std::time::{Duration, Instant};
    ///
    /// /// Asks the loop and not the machine, so that it shows virtual time too.
    /// struct Stopwatch(LoopRef, Instant);
    ///
    /// impl Stopwatch {
    ///     fn elapsed(&self) -> Duration {
    ///         self.0.time() - self.1
    ///     }
    /// }
    ///
    /// let event_loop = EventLoop::with_virtual_clock();
    /// let watch = Stopwatch(event_loop.loop_ref(), event_loop.time());
    /// event_loop.run(async { sleep(Duration::from_secs(9)).await });
    /// assert_eq!(watch.elapsed(), Duration::from_secs(9));
    /// ```
    #[track_caller]
    pub fn time(&self) -> Instant {
        self.kernel("LoopRef::time()").clock.now_as_instant()
    }

    /// Returns a handle for other threads.
    ///
    /// # Panics
    ///
    /// If the loop has been dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::EventLoop;
    /// use std::thread;
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let remote = EventLoop::current().remote();
    ///     let thread = thread::spawn(move || remote.spawn(async { 6 * 7 }).unwrap());
    ///     let task = thread.join().unwrap(); // it does no more than send
    ///     assert_eq!(task.await, Ok(42));
    /// });
    /// ```
    #[track_caller]
    pub fn remote(&self) -> Remote {
        Remote::to(&self.kernel("LoopRef::remote()"))
    }

    /// Like [`call_graph`](crate::call_graph()): which task waits where, for what, and for which
    /// task.
    ///
    /// # Panics
    ///
    /// If the loop has been dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, LoopRef, sleep};
    /// use std::time::Duration;
    ///
    /// /// How many tasks wait in this file. It may be asked between two turns.
    /// fn waiting_here(home: &LoopRef) -> usize {
    ///     let graph = home.call_graph();
    ///     graph.tasks.iter().filter(|task| task.waits_for.iter().any(|wait| wait.at.file() == file!())).count()
    /// }
    ///
    /// let event_loop = EventLoop::with_virtual_clock();
    /// event_loop.spawn(async { sleep(Duration::from_secs(1)).await });
    /// event_loop.turn();
    /// assert_eq!(waiting_here(&event_loop.loop_ref()), 1);
    /// ```
    #[cfg(feature = "report")]
    #[cfg_attr(docsrs, doc(cfg(feature = "report")))]
    #[doc(alias = "capture_call_graph")]
    #[track_caller]
    pub fn call_graph(&self) -> CallGraph {
        CallGraph::of(&self.kernel("LoopRef::call_graph()"))
    }
}

impl fmt::Debug for LoopRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoopRef").field("closed", &self.is_closed()).finish()
    }
}

impl LocalSpawn for LoopRef {
    fn spawn_local_obj(&self, future: LocalFutureObj<'static, ()>) -> Result<(), SpawnError> {
        self.status_local()?;
        drop(self.spawn(future));
        Ok(())
    }

    fn status_local(&self) -> Result<(), SpawnError> {
        if self.is_closed() { Err(SpawnError::shutdown()) } else { Ok(()) }
    }
}

impl LocalSpawn for EventLoop {
    fn spawn_local_obj(&self, future: LocalFutureObj<'static, ()>) -> Result<(), SpawnError> {
        drop(self.spawn(future));
        Ok(())
    }
}
