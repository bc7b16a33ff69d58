//! Stage 13, the last one: other threads may wake a task. Their wakes arrive in an inbox, and the loop sleeps only if that
//! is empty.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::Pin;
use std::ptr::without_provenance;
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};
use std::time::{Duration, Instant};

pub type LocalFuture<T = ()> = Pin<Box<dyn Future<Output = T>>>;

thread_local! {
    static LANE: Lane = Lane::default();
    /// The number of this thread's loop, if it has one.
    static HERE: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// The inboxes of all loops. The number of a loop is its place here.
static INBOXES: Mutex<Vec<Arc<Inbox>>> = Mutex::new(Vec::new());

/// Where the wakes of other threads arrive. Other threads use no other part of a loop.
#[derive(Default)]
struct Inbox {
    woken: Mutex<Vec<Token>>,
    bell: Condvar,
}

impl Inbox {
    /// The inbox of a new loop on this thread.
    fn register() -> Arc<Self> {
        let inbox = Arc::new(Inbox::default());
        let mut all = INBOXES.lock().unwrap();
        HERE.set(all.len());
        assert!(all.len() < 1 << 16, "a token has room for 65,536 loops");
        all.push(inbox.clone());
        inbox
    }

    fn post(&self, token: Token) {
        self.woken.lock().unwrap().push(token);
        self.bell.notify_one();
    }

    /// Waits until something is in the inbox, or until the time is up. It looks under the lock, so no wake comes between
    /// the look and the sleep (WAKE-2).
    fn wait(&self, time: Option<Duration>) {
        let woken = self.woken.lock().unwrap();
        match time {
            Some(time) => drop(self.bell.wait_timeout_while(woken, time, |woken| woken.is_empty())),
            None => drop(self.bell.wait_while(woken, |woken| woken.is_empty())),
        }
    }
}

/// The loop of this thread. Nothing of it is borrowed while a future is polled or dropped, because that runs
/// other people's code, which may call `spawn`.
struct Lane {
    inbox: Arc<Inbox>,
    /// The number of calls on other threads that are awaited.
    calls: Cell<usize>,
    /// Whether `run` runs.
    is_running: Cell<bool>,
    /// The task that is stepped now.
    running: RefCell<Option<Rc<dyn AnyCell>>>,
    /// What is to run: tasks, each once (READY-1), and callbacks.
    ready: RefCell<VecDeque<Entry>>,
    rows: RefCell<Vec<Row>>,
    /// The slots of rows without a task.
    free: RefCell<Vec<usize>>,
    clock: Cell<Clock>,
    /// Whom to wake, by deadline, and for one deadline by age (TIME-3).
    timers: RefCell<BTreeMap<Alarm, Waker>>,
    /// The number of timers that were made: the age of the next one.
    alarms: Cell<u64>,
    /// The number of tasks that were spawned.
    spawned: Cell<u64>,
}

impl Default for Lane {
    fn default() -> Self {
        Lane {
            inbox: Inbox::register(),
            calls: Cell::new(0),
            is_running: Cell::new(false),
            running: RefCell::default(),
            ready: RefCell::default(),
            rows: RefCell::default(),
            free: RefCell::default(),
            clock: Cell::default(),
            timers: RefCell::default(),
            alarms: Cell::new(0),
            spawned: Cell::new(0),
        }
    }
}

enum Entry {
    Step(Token),
    Call(Callback),
}

type Callback = Box<dyn FnOnce()>;

/// A deadline, and the timer's age among those of one deadline.
type Alarm = (Duration, u64);

#[derive(Clone, Copy, Default)]
enum Clock {
    /// Stands still until it is moved.
    Virtual(Duration),
    Real(Instant),
    /// Real, but nobody has looked at it yet.
    #[default]
    New,
}

/// A row of the task table. Its slot is used again when its task has ended.
struct Row {
    /// The number of tasks that were in this row before. A token with another generation is out of date.
    generation: usize,
    task: Option<Rc<dyn AnyCell>>,
}

/// A task: its future, later its outcome, and what the kernel knows of it.
struct TaskCell<T> {
    head: Head,
    /// `None` while the task runs, and when it has ended.
    future: RefCell<Option<LocalFuture<T>>>,
    outcome: RefCell<Option<Outcome<T>>>,
}

/// A task that is awaited, and the gather in between if there is one. A cancellation takes this way down.
type Link = (Rc<dyn AnyCell>, Option<Rc<Tally>>);

/// What the kernel knows of a task, whatever its type.
struct Head {
    token: Token,
    /// Whether the task is in the ready queue.
    is_queued: Cell<bool>,
    /// Whom to notify of the end, in the order of registration.
    waiters: RefCell<Vec<Waiter>>,
    /// Whether it is to be cancelled at its next step.
    is_cancelled: Cell<bool>,
    /// Whether its cancellation is on its way down, so that a circle of awaits is noticed.
    is_spreading: Cell<bool>,
    /// Whether its future was dropped, and its cleanups run.
    unwinds: Cell<bool>,
    /// What it has awaited since its last step.
    links: RefCell<Vec<Link>>,
    /// The number of the task, from 1, and its name.
    id: u64,
    name: RefCell<String>,
    /// The line of the await that it has reached, and for what it waits.
    waits: Cell<Option<(&'static Location<'static>, &'static str)>>,
    /// The cleanups of the `finally` blocks that it is in, the innermost last.
    cleanups: RefCell<Vec<LocalFuture>>,
}

enum Waiter {
    Wake(Waker),
    Call(Callback),
    /// One that waits no longer.
    Gone,
}

impl Head {
    fn new(token: Token, id: u64) -> Self {
        Head {
            token,
            is_queued: Cell::new(true),
            waiters: RefCell::default(),
            is_cancelled: Cell::new(false),
            is_spreading: Cell::new(false),
            unwinds: Cell::new(false),
            links: RefCell::default(),
            id,
            name: RefCell::new(format!("Task-{id}")),
            waits: Cell::new(None),
            cleanups: RefCell::default(),
        }
    }
}

/// A task cell of any type.
trait AnyCell {
    fn head(&self) -> &Head;
    fn is_done(&self) -> bool;
    fn step(&self, cx: &mut Context<'_>) -> Poll<()>;
    fn unwind(&self, cx: &mut Context<'_>) -> Poll<()>;
    fn drop_future(&self);
}

/// How a task has ended.
pub type Outcome<T> = Result<T, TaskError>;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TaskError {
    Cancelled,
    Panicked(String),
}

impl<T> AnyCell for TaskCell<T> {
    fn head(&self) -> &Head {
        &self.head
    }

    fn is_done(&self) -> bool {
        self.outcome.borrow().is_some()
    }

    /// Polls the future. If that is its end, drops it, and writes the outcome afterwards: who sees the outcome knows
    /// that the destructors have run (DONE-1).
    fn step(&self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(mut future) = self.future.take() else { return Poll::Pending };
        let outcome = match caught(|| future.as_mut().poll(cx)) {
            Ok(Poll::Pending) => {
                *self.future.borrow_mut() = Some(future);
                return Poll::Pending;
            }
            Ok(Poll::Ready(value)) => Ok(value),
            Err(panic) => Err(panic),
        };
        let dropped = caught(|| drop(future));
        // Who returns in the step in which it was cancelled has still been cancelled.
        let cancelled = if self.head.is_cancelled.get() { Err(TaskError::Cancelled) } else { Ok(()) };
        *self.outcome.borrow_mut() = Some(dropped.and(cancelled).and(outcome));
        Poll::Ready(())
    }

    /// Steps a cancelled task: no line of its body runs any more. Runs its cleanups, the innermost first.
    fn unwind(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.drop_future();
        if self.head.is_cancelled.take() && self.head.unwinds.replace(true) {
            // Cancelled in a cleanup: that one is cut off too.
            let cleanup = self.head.cleanups.borrow_mut().pop();
            _ = caught(|| drop(cleanup));
        }
        while let Some(mut cleanup) = { self.head.cleanups.borrow_mut().pop() } {
            if let Ok(Poll::Pending) = caught(|| cleanup.as_mut().poll(cx)) {
                self.head.cleanups.borrow_mut().push(cleanup);
                return Poll::Pending;
            }
        }
        *self.outcome.borrow_mut() = Some(Err(TaskError::Cancelled));
        Poll::Ready(())
    }

    fn drop_future(&self) {
        _ = caught(|| drop(self.future.take()));
    }
}

/// Calls other people's code. Its panic ends the task, not the loop.
fn caught<R>(call: impl FnOnce() -> R) -> Result<R, TaskError> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| text.to_string());
        TaskError::Panicked(text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default())
    })
}

/// The handle of a task. Without it, the task runs on.
pub struct Task<T>(Rc<TaskCell<T>>);

impl<T> Clone for Task<T> {
    fn clone(&self) -> Self {
        Task(self.0.clone())
    }
}

impl<T: 'static> Task<T> {
    /// The task without its type.
    pub fn task_ref(&self) -> TaskRef {
        TaskRef(self.0.clone())
    }

    /// The same task, with a name.
    pub fn named(self, name: impl Into<String>) -> Self {
        self.task_ref().set_name(name);
        self
    }
}

/// A task of any type. Equal if it is the same task.
#[derive(Clone)]
pub struct TaskRef(Rc<dyn AnyCell>);

impl PartialEq for TaskRef {
    fn eq(&self, other: &TaskRef) -> bool {
        self.0.head().id == other.0.head().id
    }
}

impl TaskRef {
    pub fn name(&self) -> String {
        self.0.head().name.borrow().clone()
    }

    pub fn set_name(&self, name: impl Into<String>) {
        self.0.head().name.replace(name.into());
    }
}

/// The task that calls this. `None` in a callback, and outside of a loop.
pub fn current_task() -> Option<TaskRef> {
    LANE.with(|lane| lane.running.borrow().clone().map(TaskRef))
}

/// The tasks that have not ended, in the order in which they were spawned.
pub fn all_tasks() -> Vec<TaskRef> {
    let tasks = LANE.with(|lane| lane.rows.borrow().iter().filter_map(|row| row.task.clone()).collect::<Vec<_>>());
    let mut tasks: Vec<_> = tasks.into_iter().filter(|task| !task.is_done()).map(TaskRef).collect();
    tasks.sort_by_key(|task| task.0.head().id);
    tasks
}

/// Where each task waits: a line for a task, with the line of its await, and the tasks for which it waits.
pub fn who_waits() -> Vec<String> {
    let show = |task: TaskRef| {
        let head = task.0.head();
        let Some((at, what)) = head.waits.get() else { return format!("{} is ready", task.name()) };
        let names: Vec<_> = head.links.borrow().iter().map(|(child, _)| child.head().name.borrow().clone()).collect();
        let of = if names.is_empty() { String::new() } else { format!(": {}", names.join(", ")) };
        format!("{} waits at line {} for {what}{of}", task.name(), at.line())
    };
    all_tasks().into_iter().map(show).collect()
}

impl<T> Task<T> {
    pub fn is_done(&self) -> bool {
        self.0.outcome.borrow().is_some()
    }

    /// Asks the task to end. Returns false if it has ended already. It ends at its next step, and before it what it
    /// awaits ends.
    pub fn cancel(&self) -> bool
    where
        T: 'static,
    {
        let task: Rc<dyn AnyCell> = self.0.clone();
        LANE.with(|lane| lane.cancel(&task))
    }

    /// How the task has ended. `None` before.
    pub fn result(&self) -> Option<Outcome<T>>
    where
        T: Clone,
    {
        self.0.outcome.borrow().clone()
    }
}

impl<T: 'static> Task<T> {
    /// Calls `f` when the task has ended: in a later turn, from the ready queue.
    pub fn add_done_callback(&self, f: impl FnOnce(&Task<T>) + 'static) {
        let task = self.clone();
        let call: Callback = Box::new(move || f(&task));
        if self.is_done() {
            LANE.with(|lane| lane.ready.borrow_mut().push_back(Entry::Call(call)));
        } else {
            self.0.head.waiters.borrow_mut().push(Waiter::Call(call));
        }
    }
}

/// `task.await` waits for the end of the task. It goes on in the turn after that.
impl<T: Clone + 'static> IntoFuture for Task<T> {
    type Output = Outcome<T>;
    type IntoFuture = Join<T>;

    fn into_future(self) -> Join<T> {
        Join { task: self, place: None }
    }
}

pub struct Join<T> {
    task: Task<T>,
    /// The place among the waiters.
    place: Option<usize>,
}

impl<T: Clone + 'static> Future for Join<T> {
    type Output = Outcome<T>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome<T>> {
        if let Some(outcome) = self.task.result() {
            return Poll::Ready(outcome);
        }
        let link: Link = (self.task.0.clone(), None);
        let at = Location::caller();
        LANE.with(|lane| {
            lane.note(at, "a task");
            lane.link(link);
        });
        let waiter = Waiter::Wake(cx.waker().clone());
        let this = &mut *self;
        let mut waiters = this.task.0.head.waiters.borrow_mut();
        let place = *this.place.get_or_insert(waiters.len());
        if place == waiters.len() {
            waiters.push(Waiter::Gone);
        }
        let old = std::mem::replace(&mut waiters[place], waiter);
        drop(waiters);
        drop(old);
        Poll::Pending
    }
}

impl<T> Drop for Join<T> {
    fn drop(&mut self) {
        let place = self.place.filter(|_| !self.task.is_done());
        let waiter = place.and_then(|place| {
            let mut waiters = self.task.0.head.waiters.borrow_mut();
            Some(std::mem::replace(waiters.get_mut(place)?, Waiter::Gone))
        });
        drop(waiter);
    }
}

/// What `gather` takes: tasks as they are, and futures, which become tasks.
pub trait IntoTask<T> {
    fn into_task(self) -> Task<T>;
}

impl<T> IntoTask<T> for Task<T> {
    fn into_task(self) -> Task<T> {
        self
    }
}

impl<T: 'static, F: Future<Output = T> + 'static> IntoTask<T> for F {
    fn into_task(self) -> Task<T> {
        spawn(self)
    }
}

/// Runs all, and returns their values in the order of the arguments, or the first error.
#[track_caller]
pub fn gather<T, I>(items: I) -> impl Future<Output = Result<Vec<T>, TaskError>>
where
    T: Clone + 'static,
    I: IntoIterator<Item: IntoTask<T>>,
{
    let all = Gather::new(items, |outcome| outcome.is_err());
    async {
        match all.await {
            Ok(outcomes) => outcomes.into_iter().collect(),
            Err(outcome) => Err(outcome.err().expect("only an error stops it")),
        }
    }
}

/// A gather that ends early with the first outcome for which `stops` is true.
pub struct Gather<T> {
    tasks: Vec<Task<T>>,
    tally: Watch,
    at: &'static Location<'static>,
}

impl<T: Clone + 'static> Gather<T> {
    #[track_caller]
    pub fn new(items: impl IntoIterator<Item: IntoTask<T>>, stops: fn(&Outcome<T>) -> bool) -> Self {
        let tasks: Vec<_> = items.into_iter().map(IntoTask::into_task).collect();
        let tally = Watch::new(tasks.len());
        for (nth, task) in tasks.iter().enumerate() {
            // What has ended already counts at once. The others count when their callbacks are called.
            match task.result() {
                Some(outcome) => tally.0.count(nth, stops(&outcome)),
                None => tally.count_at_the_end(nth, task, stops),
            }
        }
        Gather { tasks, tally, at: Location::caller() }
    }
}

impl<T: Clone + 'static> Future for Gather<T> {
    type Output = Result<Vec<Outcome<T>>, Outcome<T>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = |task: &Task<T>| task.result().expect("it was counted when it had ended");
        match self.tally.0.poll(cx) {
            Poll::Pending => {
                LANE.with(|lane| lane.note(self.at, "a gather"));
                for task in &self.tasks {
                    let link: Link = (task.0.clone(), Some(self.tally.0.clone()));
                    LANE.with(|lane| lane.link(link));
                }
                Poll::Pending
            }
            Poll::Ready(Some(nth)) => Poll::Ready(Err(outcome(&self.tasks[nth]))),
            Poll::Ready(None) => Poll::Ready(Ok(self.tasks.iter().map(outcome).collect())),
        }
    }
}

/// Waits until all have ended, and returns those that have and those that have not.
pub fn wait<T>(tasks: Vec<Task<T>>) -> Wait<T> {
    Wait { tally: Watch::new(tasks.len()), tasks, stops: |_| false, timeout: None, has_begun: false }
}

pub struct Wait<T> {
    tasks: Vec<Task<T>>,
    tally: Watch,
    stops: fn(&Outcome<T>) -> bool,
    timeout: Option<Sleep>,
    has_begun: bool,
}

impl<T> Wait<T> {
    /// Waits no longer than this. No task is cancelled.
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout = Some(Sleep { pause: Pause::Until(now() + time) });
        self
    }

    /// Waits until an outcome is true for `stops`: `|_| true` is asyncio's `FIRST_COMPLETED`.
    pub fn until(mut self, stops: fn(&Outcome<T>) -> bool) -> Self {
        self.stops = stops;
        self
    }
}

impl<T: Clone + 'static> Future for Wait<T> {
    type Output = (Vec<Task<T>>, Vec<Task<T>>);

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let at = Location::caller();
        LANE.with(|lane| lane.note(at, "a wait"));
        if !std::mem::replace(&mut self.has_begun, true) {
            for (nth, task) in self.tasks.iter().enumerate() {
                self.tally.count_at_the_end(nth, task, self.stops);
            }
        }
        let expired = self.timeout.as_mut().is_some_and(|timeout| Pin::new(timeout).poll(cx).is_ready());
        if self.tally.0.poll(cx).is_pending() && !expired {
            return Poll::Pending;
        }
        Poll::Ready(std::mem::take(&mut self.tasks).into_iter().partition(Task::is_done))
    }
}

/// How many of several tasks have not ended, and who waits for that.
struct Tally {
    left: Cell<usize>,
    /// The decision, once: `Some(n)` if task `n` has stopped it.
    decided: Cell<Option<Option<usize>>>,
    waker: RefCell<Option<Waker>>,
}

/// The one who waits. When it is gone, the callbacks that are left wake nobody.
struct Watch(Rc<Tally>);

impl Drop for Watch {
    fn drop(&mut self) {
        let waker = self.0.waker.take();
        drop(waker);
    }
}

impl Watch {
    fn new(left: usize) -> Self {
        let decided = Cell::new(if left == 0 { Some(None) } else { None });
        Watch(Rc::new(Tally { left: Cell::new(left), decided, waker: RefCell::default() }))
    }

    fn count_at_the_end<T: 'static>(&self, nth: usize, task: &Task<T>, stops: fn(&Outcome<T>) -> bool) {
        let tally = self.0.clone();
        task.add_done_callback(move |task| {
            let stops = task.0.outcome.borrow().as_ref().is_some_and(stops);
            tally.count(nth, stops);
        });
    }
}

impl Tally {
    fn count(&self, nth: usize, stops: bool) {
        self.left.set(self.left.get() - 1);
        if self.decided.get().is_none() && (stops || self.left.get() == 0) {
            self.decided.set(Some(stops.then_some(nth)));
            if let Some(waker) = self.waker.take() {
                waker.wake();
            }
        }
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<usize>> {
        if let Some(decision) = self.decided.get() {
            return Poll::Ready(decision);
        }
        let old = self.waker.replace(Some(cx.waker().clone()));
        drop(old);
        Poll::Pending
    }
}

/// The name of a task: its loop, its row, and which tenant of the row it is. No other task ever gets it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Token {
    lane: usize,
    slot: usize,
    generation: usize,
}

impl Token {
    /// The token as a waker's data. It is a number and points to nothing.
    fn pack(self) -> *const () {
        without_provenance(self.lane << 48 | self.generation << 24 | self.slot)
    }

    fn unpack(data: *const ()) -> Token {
        let number = data.addr();
        Token { lane: number >> 48, generation: number >> 24 & 0xff_ffff, slot: number & 0xff_ffff }
    }

    fn waker(self) -> Waker {
        // SAFETY: The functions of the table take the data as a number, so a waker can outlive its task and its
        // loop. On another thread they use only the inbox, which has a lock, so a waker may be on any thread.
        #[allow(unsafe_code)]
        unsafe {
            Waker::from_raw(RawWaker::new(self.pack(), &VTABLE))
        }
    }
}

static VTABLE: RawWakerVTable = RawWakerVTable::new(|data| RawWaker::new(data, &VTABLE), wake, wake, |_| {});

fn wake(data: *const ()) {
    let token = Token::unpack(data);
    if HERE.get() == token.lane {
        // While the thread ends, there is no loop any more.
        _ = LANE.try_with(|lane| lane.wake(token));
    } else {
        let inbox = INBOXES.lock().unwrap()[token.lane].clone();
        inbox.post(token);
    }
}

/// Adds a task. It runs while `run` runs.
pub fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> Task<T> {
    LANE.with(|lane| {
        let token = lane.vacant_row();
        lane.spawned.set(lane.spawned.get() + 1);
        let cell = Rc::new(TaskCell {
            head: Head::new(token, lane.spawned.get()),
            future: RefCell::new(Some(Box::pin(future))),
            outcome: RefCell::new(None),
        });
        lane.rows.borrow_mut()[token.slot].task = Some(cell.clone());
        lane.ready.borrow_mut().push_back(Entry::Step(token));
        Task(cell)
    })
}

/// Runs `main` and the tasks that are spawned, until `main` returns. Then it drops the others.
///
/// # Panics
///
/// If it is called inside of a running loop, and if `main` waits for ever: with "deadlock".
pub fn run<T: 'static>(main: impl Future<Output = T> + 'static) -> T {
    try_run(main).unwrap_or_else(|error| panic!("{error}"))
}

/// Like `run`, but returns what is wrong.
pub fn try_run<T: 'static>(main: impl Future<Output = T> + 'static) -> Result<T, RunError> {
    if LANE.with(|lane| lane.is_running.replace(true)) {
        return Err(RunError::Nested);
    }
    let main = spawn(main);
    // The turn in which the callback is called is the last one, and runs to its end.
    let is_over = Rc::new(Cell::new(false));
    let over = is_over.clone();
    main.add_done_callback(move |_| over.set(true));
    while !is_over.get() && turn() {}
    let is_stuck = !is_over.get();
    LANE.with(Lane::end);
    match main.0.outcome.take() {
        _ if is_stuck => Err(RunError::Deadlock),
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) => Err(RunError::Main(error)),
        None => Err(RunError::Deadlock),
    }
}

/// Why `try_run` has no value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RunError {
    /// A loop runs already on this thread.
    Nested,
    /// The main task waits, and nothing can wake it.
    Deadlock,
    /// The main task has ended without a value.
    Main(TaskError),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Nested => f.write_str("lane::run() cannot be called from a running event loop"),
            RunError::Deadlock => f.write_str("deadlock: the main task waits, and nothing can wake it"),
            RunError::Main(error) => write!(f, "the main task has ended: {error:?}"),
        }
    }
}

/// Makes time virtual, and zero. It then moves only when nothing is ready.
pub fn virtual_clock() {
    LANE.with(|lane| lane.clock.set(Clock::Virtual(Duration::ZERO)));
}

/// The time of the loop.
pub fn now() -> Duration {
    LANE.with(Lane::now)
}

/// One turn: steps each task that is ready now. What becomes ready meanwhile waits for the next turn (READY-2). Then
/// the timers that are due wake their tasks, which step in the next turn. If nothing is ready, a turn waits for the
/// first deadline. Returns false if there is no deadline either.
pub fn turn() -> bool {
    LANE.with(Lane::turn)
}

impl Lane {
    fn vacant_row(&self) -> Token {
        let mut rows = self.rows.borrow_mut();
        let slot = self.free.borrow_mut().pop().unwrap_or(rows.len());
        if slot == rows.len() {
            assert!(slot < 1 << 24, "a token has room for 16 million tasks");
            rows.push(Row { generation: 0, task: None });
        }
        Token { lane: HERE.get(), slot, generation: rows[slot].generation }
    }

    /// The task of a token, if it has not ended (WAKE-1).
    fn task(&self, token: Token) -> Option<Rc<dyn AnyCell>> {
        let rows = self.rows.borrow();
        rows.get(token.slot).filter(|row| row.generation == token.generation)?.task.clone()
    }

    fn wake(&self, token: Token) {
        if self.task(token).is_some_and(|task| !task.head().is_queued.replace(true)) {
            self.ready.borrow_mut().push_back(Entry::Step(token));
        }
    }

    fn turn(&self) -> bool {
        self.drain();
        if self.ready.borrow().is_empty() {
            match self.first_alarm() {
                Some(alarm) => self.sleep_until(alarm.0),
                None if self.calls.get() > 0 => self.inbox.wait(None),
                None => return false,
            }
            self.drain();
        }
        // The turn has one reading of the clock, and does not fire timers that are made in it.
        let (now, young) = (self.now(), self.alarms.get());
        let marked = self.ready.borrow().len();
        for _ in 0..marked {
            let Some(entry) = self.ready.borrow_mut().pop_front() else { break };
            match entry {
                Entry::Step(token) => self.step(token),
                Entry::Call(call) => _ = caught(call),
            }
        }
        while let Some(alarm) = self.first_alarm().filter(|alarm| alarm.0 <= now && alarm.1 < young) {
            let waker = self.timers.borrow_mut().remove(&alarm);
            waker.unwrap().wake();
        }
        true
    }

    /// Queues the tasks that other threads have woken.
    fn drain(&self) {
        let woken = std::mem::take(&mut *self.inbox.woken.lock().unwrap());
        for token in woken {
            self.wake(token);
        }
    }

    fn first_alarm(&self) -> Option<Alarm> {
        self.timers.borrow().keys().next().copied()
    }

    fn now(&self) -> Duration {
        match self.clock.get() {
            Clock::Virtual(now) => now,
            Clock::Real(start) => start.elapsed(),
            Clock::New => {
                self.clock.set(Clock::Real(Instant::now()));
                Duration::ZERO
            }
        }
    }

    fn sleep_until(&self, deadline: Duration) {
        match self.clock.get() {
            Clock::Virtual(now) => self.clock.set(Clock::Virtual(deadline.max(now))),
            _ => self.inbox.wait(Some(deadline.saturating_sub(self.now()))),
        }
    }

    fn arm(&self, deadline: Duration, waker: Waker) -> Alarm {
        let alarm = (deadline, self.alarms.get());
        self.alarms.set(alarm.1 + 1);
        self.timers.borrow_mut().insert(alarm, waker);
        alarm
    }

    /// Steps a task that was in the ready queue.
    fn step(&self, token: Token) {
        let Some(task) = self.task(token) else { return };
        let head = task.head();
        // From now on, a wake queues it again.
        head.is_queued.set(false);
        let links = head.links.take();
        drop(links);
        head.waits.set(None);
        self.running.replace(Some(task.clone()));
        let waker = token.waker();
        let mut cx = Context::from_waker(&waker);
        let is_unwinding = head.is_cancelled.get() || head.unwinds.get();
        let poll = if is_unwinding { task.unwind(&mut cx) } else { task.step(&mut cx) };
        self.running.replace(None);
        if poll.is_ready() {
            let links = head.links.take();
            drop(links);
            self.remove(token);
            self.notify(&task);
        } else if head.is_cancelled.get() {
            // It was cancelled while it ran, and only now is known what it waits for.
            self.spread(&task);
        }
    }

    /// Notes where the running task waits, and for what. The first note of a step stays: it is the outermost.
    fn note(&self, at: &'static Location<'static>, what: &'static str) {
        if let Some(task) = &*self.running.borrow() {
            task.head().waits.set(task.head().waits.get().or(Some((at, what))));
        }
    }

    /// Notes that the running task awaits another one.
    fn link(&self, link: Link) {
        if let Some(task) = &*self.running.borrow() {
            task.head().links.borrow_mut().push(link);
        }
    }

    fn cancel(&self, task: &Rc<dyn AnyCell>) -> bool {
        let head = task.head();
        if task.is_done() {
            return false;
        }
        let is_running = self.running.borrow().as_ref().is_some_and(|running| running.head().token == head.token);
        if !head.is_cancelled.replace(true) && !is_running {
            self.spread(task);
        }
        true
    }

    /// Passes a cancellation on to what the task awaits. The ends of these tasks will wake it. If there is nothing to
    /// wait for, the task steps next.
    fn spread(&self, task: &Rc<dyn AnyCell>) {
        let head = task.head();
        let mut links = head.links.take();
        // A gather that is decided wakes the task already.
        links.retain(|(_, gather)| gather.as_ref().is_none_or(|tally| tally.decided.get().is_none()));
        head.is_spreading.set(true);
        if links.iter().all(|(child, _)| child.head().is_spreading.get()) {
            self.wake(head.token);
        }
        for (child, _) in &links {
            self.cancel(child);
        }
        head.is_spreading.set(false);
    }

    /// The task has an outcome: who waits for it is next.
    fn notify(&self, task: &Rc<dyn AnyCell>) {
        for waiter in task.head().waiters.take() {
            match waiter {
                Waiter::Wake(waker) => waker.wake(),
                Waiter::Call(call) => self.ready.borrow_mut().push_back(Entry::Call(call)),
                Waiter::Gone => {}
            }
        }
    }

    /// The task has ended: its row is free, for a tenant of the next generation.
    fn remove(&self, token: Token) {
        let task = self.rows.borrow_mut()[token.slot].task.take();
        // The generation has 24 bits. It begins again after 16 million tasks in one row.
        self.rows.borrow_mut()[token.slot].generation = (token.generation + 1) & 0xff_ffff;
        self.free.borrow_mut().push(token.slot);
        // Perhaps the last handle: the outcome is dropped here.
        drop(task);
    }

    /// The end of `run`: cancels the tasks that are left, and turns until they have ended and the callbacks of that have
    /// been called.
    fn end(&self) {
        let tasks: Vec<_> = self.rows.borrow().iter().filter_map(|row| row.task.clone()).collect();
        for task in &tasks {
            self.cancel(task);
        }
        while tasks.iter().any(|task| !task.is_done()) && self.turn() {}
        let calls_are_left = !tasks.is_empty() && !self.ready.borrow().is_empty();
        if calls_are_left {
            self.turn();
        }
        self.clear();
    }

    /// Drops the tasks that are left.
    fn clear(&self) {
        while let Some(task) = { self.rows.borrow().iter().find_map(|row| row.task.clone()) } {
            task.drop_future();
            self.remove(task.head().token);
        }
        while let Some(entry) = { self.ready.borrow_mut().pop_front() } {
            drop(entry);
        }
        self.is_running.set(false);
    }
}

/// Pauses once, so that others may run: `sleep(0)` in asyncio.
pub fn yield_now() -> YieldNow {
    YieldNow { paused: false }
}

/// The state machine of `yield_now`. It has two states, so one flag is enough.
pub struct YieldNow {
    paused: bool,
}

impl Future for YieldNow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.paused {
            return Poll::Ready(());
        }
        self.paused = true;
        // Pending is a promise that a wake will come. Here it comes at once.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Waits for some time. It counts from this call (TIME-1). A sleep of zero is `yield_now`.
pub fn sleep(time: Duration) -> Sleep {
    let pause = if time.is_zero() { Pause::Yield(yield_now()) } else { Pause::Until(now() + time) };
    Sleep { pause }
}

pub struct Sleep {
    pause: Pause,
}

enum Pause {
    Yield(YieldNow),
    Until(Duration),
    Armed(Alarm),
}

impl Future for Sleep {
    type Output = ();

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let (waker, at) = (cx.waker().clone(), Location::caller());
        LANE.with(|lane| lane.note(at, "a timer"));
        LANE.with(|lane| match &mut self.pause {
            Pause::Yield(pause) => Pin::new(pause).poll(cx),
            Pause::Until(deadline) => {
                self.pause = Pause::Armed(lane.arm(*deadline, waker));
                Poll::Pending
            }
            Pause::Armed(alarm) => {
                // The last waker is the one to use. A timer that has fired is no longer there.
                let old = lane.timers.borrow_mut().get_mut(alarm).map(|armed| std::mem::replace(armed, waker));
                if old.is_some() { Poll::Pending } else { Poll::Ready(()) }
            }
        })
    }
}

/// A timer that nobody waits for any more must not keep the clock busy.
impl Drop for Sleep {
    fn drop(&mut self) {
        if let Pause::Armed(alarm) = self.pause {
            _ = LANE.try_with(|lane| lane.timers.borrow_mut().remove(&alarm));
        }
    }
}

/// Runs `body`, then `cleanup`: also if the task is cancelled in `body`. The cleanup may await.
pub async fn finally<T>(body: impl Future<Output = T>, cleanup: impl Future<Output = ()> + 'static) -> T {
    let task = LANE.with(|lane| lane.running.borrow().clone()).expect("`finally` is polled by a task of the loop");
    task.head().cleanups.borrow_mut().push(Box::pin(cleanup));
    let value = body.await;
    let cleanup = task.head().cleanups.borrow_mut().pop();
    if let Some(cleanup) = cleanup {
        cleanup.await;
    }
    value
}

/// Calls a function that blocks, on a thread of its own. The task waits, the loop does not. If the task is cancelled, the
/// call goes on, and its value is dropped.
pub async fn to_thread<R: Send + 'static>(call: impl FnOnce() -> R + Send + 'static) -> Outcome<R> {
    /// While it exists, the loop may wait for other threads.
    struct Open;

    impl Drop for Open {
        fn drop(&mut self) {
            _ = LANE.try_with(|lane| lane.calls.set(lane.calls.get() - 1));
        }
    }

    LANE.with(|lane| lane.calls.set(lane.calls.get() + 1));
    let _open = Open;
    let shared = Arc::new(Mutex::new((None, None::<Waker>)));
    let theirs = shared.clone();
    std::thread::spawn(move || {
        let outcome = caught(call);
        let mut shared = theirs.lock().unwrap();
        shared.0 = Some(outcome);
        let waker = shared.1.take();
        drop(shared);
        if let Some(waker) = waker {
            waker.wake();
        }
    });
    std::future::poll_fn(|cx| {
        let mut shared = shared.lock().unwrap();
        match shared.0.take() {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                shared.1 = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    })
    .await
}
