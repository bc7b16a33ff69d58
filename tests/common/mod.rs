//! Helpers of several test files: a list of events, counted values, a place for wakers, foreign
//! wakers.
#![allow(dead_code, reason = "each test file is a crate of its own, and uses a part of this")]

#[cfg(feature = "report")]
use onelane::TaskSnapshot;
use onelane::{Clock, EventLoop, Metrics, Sleep, sleep};
use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, ThreadId};
use std::time::Duration;

/// A list of events, which a test compares as a whole.
#[derive(Clone, Default)]
pub(crate) struct Trace(Rc<RefCell<Vec<String>>>);

impl Trace {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn push(&self, what: impl Into<String>) {
        self.0.borrow_mut().push(what.into());
    }

    pub(crate) fn extend(&self, what: impl IntoIterator<Item = String>) {
        self.0.borrow_mut().extend(what);
    }

    /// The events since the last call.
    pub(crate) fn take(&self) -> Vec<String> {
        self.0.take()
    }
}

/// The descriptions of what a task waits for.
#[cfg(feature = "report")]
pub(crate) fn words(task: &TaskSnapshot) -> String {
    let words: Vec<_> = task.waits_for.iter().map(|wait| &*wait.what).collect();
    words.join(", ")
}

/// Checks the laws of a loop's counters.
pub(crate) fn check_metrics(now: &Metrics) {
    assert_eq!(now.spawned, now.alive + now.finished + now.cancelled + now.panicked, "{now:?}");
    assert_eq!(now.wakes, now.wakes_queued + now.wakes_merged + now.wakes_late, "{now:?}");
    assert_eq!(now.timers_armed, now.timers_fired + now.timers_cancelled + now.timers_pending, "{now:?}");
    // Each step is the first of its task, or a wake has caused it. Steps that are still queued are
    // missing here.
    assert!(now.steps <= now.spawned + now.wakes_queued, "{now:?}");
}

/// Counts its members: the number made, the number dropped, and the threads of the drops.
#[derive(Clone, Default)]
pub(crate) struct Census(Arc<CensusState>);

#[derive(Default)]
struct CensusState {
    made: AtomicUsize,
    dropped: Mutex<Vec<ThreadId>>,
}

impl Census {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn member(&self) -> Member {
        self.0.made.fetch_add(1, Ordering::SeqCst);
        Member(self.clone())
    }

    /// The number of members made, and the number dropped.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.0.made.load(Ordering::SeqCst), self.0.dropped.lock().unwrap().len())
    }

    /// The threads on which members were dropped, in order.
    pub(crate) fn dropped_on(&self) -> Vec<ThreadId> {
        self.0.dropped.lock().unwrap().clone()
    }
}

/// A value that a census counts.
pub(crate) struct Member(Census);

impl Drop for Member {
    fn drop(&mut self) {
        self.0.0.dropped.lock().unwrap().push(thread::current().id());
    }
}

/// Calls a function when it is dropped.
pub(crate) struct OnDrop<F: FnOnce()>(Option<F>);

pub(crate) fn on_drop<F: FnOnce()>(act: F) -> OnDrop<F> {
    OnDrop(Some(act))
}

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0.take().unwrap())();
    }
}

/// A future stores its waker here at each poll, and waits until the post is opened.
#[derive(Clone, Default)]
pub(crate) struct Post(Arc<PostState>);

#[derive(Default)]
struct PostState {
    waker: Mutex<Option<Waker>>,
    polls: AtomicUsize,
    open: AtomicBool,
}

impl Post {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn wait(&self) -> impl Future<Output = ()> + Send + 'static {
        let post = self.clone();
        std::future::poll_fn(move |context| {
            post.0.polls.fetch_add(1, Ordering::SeqCst);
            *post.0.waker.lock().unwrap() = Some(context.waker().clone());
            if post.0.open.load(Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }
        })
    }

    /// A clone of the waker that was stored last.
    pub(crate) fn waker(&self) -> Waker {
        self.0.waker.lock().unwrap().clone().expect("no future has polled here yet")
    }

    pub(crate) fn has_waker(&self) -> bool {
        self.0.waker.lock().unwrap().is_some()
    }

    pub(crate) fn polls(&self) -> usize {
        self.0.polls.load(Ordering::SeqCst)
    }

    /// A future that waits here is ready at its next poll. It is not woken.
    pub(crate) fn unlock(&self) {
        self.0.open.store(true, Ordering::SeqCst);
    }

    /// A future that waits here is woken, and is ready.
    pub(crate) fn open(&self) {
        self.unlock();
        self.waker().wake();
    }
}

/// A foreign waker, with functions for its wake and for the drop of its last clone.
struct Foreign {
    on_wake: Box<dyn Fn() + Send + Sync>,
    on_drop: Box<dyn Fn() + Send + Sync>,
}

pub(crate) fn foreign(on_wake: impl Fn() + Send + Sync + 'static, on_drop: impl Fn() + Send + Sync + 'static) -> Waker {
    Waker::from(Arc::new(Foreign { on_wake: Box::new(on_wake), on_drop: Box::new(on_drop) }))
}

impl Wake for Foreign {
    fn wake(self: Arc<Self>) {
        (self.on_wake)();
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        (self.on_drop)();
    }
}

pub(crate) fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

pub(crate) fn virtual_loop() -> EventLoop {
    EventLoop::with_virtual_clock()
}

/// A sleep of this loop that was not polled yet.
#[allow(clippy::async_yields_async, reason = "it is not to be awaited here")]
pub(crate) fn sleep_of(event_loop: &EventLoop, duration: Duration) -> Sleep {
    event_loop.run(async { sleep(duration) })
}

/// Polls a sleep in its loop, with a foreign waker. The loop must contain nothing else.
pub(crate) fn poll_in(event_loop: &EventLoop, asleep: &mut Sleep, waker: &Waker) -> Poll<()> {
    event_loop.run(async { Pin::new(asleep).poll(&mut Context::from_waker(waker)) })
}

/// A loop on a virtual clock that records the calls of its exception handler.
pub(crate) fn telling_loop() -> (EventLoop, Trace) {
    let told = Trace::new();
    let copy = told.clone();
    let event_loop = EventLoop::builder()
        .clock(Clock::Virtual)
        .exception_handler(move |exception| copy.push(format!("{}: {}", exception.message, exception.panic.message())))
        .build();
    (event_loop, told)
}

/// The message of the panic with which `act` must end.
pub(crate) fn panic_of<T>(act: impl FnOnce() -> T) -> String {
    match catch_unwind(AssertUnwindSafe(act)) {
        Ok(_) => panic!("there was no panic"),
        Err(payload) => text_of(&*payload),
    }
}

pub(crate) fn text_of(payload: &(dyn Any + Send)) -> String {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_string(),
        (_, Some(text)) => text.clone(),
        _ => "no text".to_string(),
    }
}

/// Runs a test that could hang on its own thread, and fails if it takes more than a minute.
pub(crate) fn watched<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
    watched_for(Duration::from_secs(60), test)
}

/// Like `watched`, for a test that does much.
pub(crate) fn watched_for<T: Send + 'static>(limit: Duration, test: impl FnOnce() -> T + Send + 'static) -> T {
    let (over, is_over) = channel();
    let thread = thread::spawn(move || {
        let result = test();
        over.send(()).unwrap();
        result
    });
    if let Err(RecvTimeoutError::Timeout) = is_over.recv_timeout(limit) {
        panic!("this test hangs");
    }
    thread.join().unwrap_or_else(|payload| resume_unwind(payload))
}

/// Waits on another thread than the loop's until a condition holds.
pub(crate) fn await_that(holds: impl Fn() -> bool) {
    while !holds() {
        thread::yield_now();
    }
}

/// Runs a test in its own process, because a failure could damage other tests: by a stack overflow,
/// by hanging, or by what it leaves behind.
pub(crate) fn alone(name: &str, test: impl FnOnce()) {
    alone_with(name, &[], test);
}

/// As `alone`, for a test that is known to leak. A sanitizer does not report its leaks.
pub(crate) fn alone_and_leaking(name: &str, test: impl FnOnce()) {
    alone_with(name, &[("ASAN_OPTIONS", "detect_leaks=0"), ("LSAN_OPTIONS", "detect_leaks=0")], test);
}

/// As `alone`, with more variables in the environment of the process.
pub(crate) fn alone_with(name: &str, variables: &[(&str, &str)], test: impl FnOnce()) {
    const ALONE: &str = "ONELANE_TEST_ALONE";
    if std::env::var(ALONE).as_deref() == Ok(name) {
        thread::spawn(|| {
            thread::sleep(Duration::from_secs(60));
            eprintln!("this test hangs");
            std::process::exit(101);
        });
        return test();
    }
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    let output = command
        .args(["--exact", name, "--nocapture"])
        .env(ALONE, name)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let (told, ran) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{name} failed, with {}:\n{told}", output.status);
    assert!(ran.contains("1 passed"), "there is no test {name}");
}

/// Runs a test in its own process, which a signal must kill. Returns what the process has written.
#[cfg(unix)]
pub(crate) fn killed(name: &str, signal: i32, test: impl FnOnce()) -> String {
    use std::os::unix::process::ExitStatusExt;
    const KILLED: &str = "ONELANE_TEST_KILLED";
    if std::env::var(KILLED).as_deref() == Ok(name) {
        thread::spawn(|| {
            thread::sleep(ms(60_000));
            std::process::exit(101);
        });
        test();
        eprintln!("it was not killed");
        std::process::exit(102);
    }
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--exact", name, "--nocapture"]).env(KILLED, name).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.signal(), Some(signal), "{}: {told}", output.status);
    told
}

/// Whether Ctrl-C is ignored in this process, as in a background job of a script. Then its default
/// action cannot be tested.
#[cfg(unix)]
pub(crate) fn ctrl_c_is_ignored() -> bool {
    const SIGINT: u32 = 2;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = mask.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).unwrap() & (1 << (SIGINT - 1)) != 0);
    if ignored {
        eprintln!("skipped: Ctrl-C is ignored here");
    }
    ignored
}

/// Runs `act` in a separate process of this test, and returns what it writes to stderr. Inside that
/// process it returns `None`.
pub(crate) fn stderr_of(name: &str, act: impl FnOnce()) -> Option<String> {
    stderr_with(name, None, act)
}

/// As `stderr_of`, with or without `ONELANE_DEBUG` in the environment of the process.
pub(crate) fn stderr_with(name: &str, debug: Option<&str>, act: impl FnOnce()) -> Option<String> {
    const ALONE: &str = "ONELANE_TEST_SHOWS_STDERR";
    if std::env::var(ALONE).as_deref() == Ok(name) {
        act();
        return None;
    }
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture"]).env(ALONE, name).env_remove("ONELANE_DEBUG");
    if let Some(debug) = debug {
        command.env("ONELANE_DEBUG", debug);
    }
    let output = command.output().unwrap();
    let (told, ran) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success() && ran.contains("1 passed"), "{name} failed, with {}:\n{told}", output.status);
    Some(told.into_owned())
}
