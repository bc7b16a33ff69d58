//! Stage 7: the task cell. A task has an outcome, which others see when its future is gone. A panic is an outcome
//! too.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::ptr::without_provenance;
use std::rc::Rc;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};
use std::time::{Duration, Instant};

pub type LocalFuture<T = ()> = Pin<Box<dyn Future<Output = T>>>;

thread_local! {
    static LANE: Lane = Lane::default();
}

/// The loop of this thread. Nothing of it is borrowed while a future is polled or dropped, because that runs
/// other people's code, which may call `spawn`.
#[derive(Default)]
struct Lane {
    /// Whether `run` runs.
    is_running: Cell<bool>,
    /// The tasks that are to be polled, each once (READY-1).
    ready: RefCell<VecDeque<Token>>,
    rows: RefCell<Vec<Row>>,
    /// The slots of rows without a task.
    free: RefCell<Vec<usize>>,
    clock: Cell<Clock>,
    /// Whom to wake, by deadline, and for one deadline by age (TIME-3).
    timers: RefCell<BTreeMap<Alarm, Waker>>,
    /// The number of timers that were made: the age of the next one.
    alarms: Cell<u64>,
}

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

/// What the kernel knows of a task, whatever its type.
struct Head {
    token: Token,
    /// Whether the task is in the ready queue.
    is_queued: Cell<bool>,
}

/// A task cell of any type.
trait AnyCell {
    fn head(&self) -> &Head;
    fn step(&self, cx: &mut Context<'_>) -> Poll<()>;
    fn drop_future(&self);
}

/// How a task has ended.
pub type Outcome<T> = Result<T, TaskError>;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TaskError {
    Panicked(String),
}

impl<T> AnyCell for TaskCell<T> {
    fn head(&self) -> &Head {
        &self.head
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
        *self.outcome.borrow_mut() = Some(dropped.and(outcome));
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

impl<T> Task<T> {
    pub fn is_done(&self) -> bool {
        self.0.outcome.borrow().is_some()
    }

    /// How the task has ended. `None` before.
    pub fn result(&self) -> Option<Outcome<T>>
    where
        T: Clone,
    {
        self.0.outcome.borrow().clone()
    }
}

/// The name of a task: its row, and which tenant of the row it is. No other task ever gets it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Token {
    slot: usize,
    generation: usize,
}

impl Token {
    /// The token as a waker's data. It is a number and points to nothing.
    fn pack(self) -> *const () {
        without_provenance(self.generation << 32 | self.slot)
    }

    fn unpack(data: *const ()) -> Token {
        Token { slot: data.addr() & 0xffff_ffff, generation: data.addr() >> 32 }
    }

    fn waker(self) -> Waker {
        // SAFETY: The functions of the table take the data as a number, so a waker can outlive its task and its
        // loop. They use only the loop of their own thread, so a waker may be on any thread.
        #[allow(unsafe_code)]
        unsafe {
            Waker::from_raw(RawWaker::new(self.pack(), &VTABLE))
        }
    }
}

static VTABLE: RawWakerVTable = RawWakerVTable::new(|data| RawWaker::new(data, &VTABLE), wake, wake, |_| {});

fn wake(data: *const ()) {
    // While the thread ends, there is no loop any more.
    _ = LANE.try_with(|lane| lane.wake(Token::unpack(data)));
}

/// Adds a task. It runs while `run` runs.
pub fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> Task<T> {
    LANE.with(|lane| {
        let token = lane.vacant_row();
        let cell = Rc::new(TaskCell {
            head: Head { token, is_queued: Cell::new(true) },
            future: RefCell::new(Some(Box::pin(future))),
            outcome: RefCell::new(None),
        });
        lane.rows.borrow_mut()[token.slot].task = Some(cell.clone());
        lane.ready.borrow_mut().push_back(token);
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
    while !main.is_done() && turn() {}
    LANE.with(Lane::clear);
    match main.0.outcome.take() {
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
            rows.push(Row { generation: 0, task: None });
        }
        Token { slot, generation: rows[slot].generation }
    }

    /// The task of a token, if it has not ended (WAKE-1).
    fn task(&self, token: Token) -> Option<Rc<dyn AnyCell>> {
        let rows = self.rows.borrow();
        rows.get(token.slot).filter(|row| row.generation == token.generation)?.task.clone()
    }

    fn wake(&self, token: Token) {
        if self.task(token).is_some_and(|task| !task.head().is_queued.replace(true)) {
            self.ready.borrow_mut().push_back(token);
        }
    }

    fn turn(&self) -> bool {
        if self.ready.borrow().is_empty() {
            let Some(alarm) = self.first_alarm() else { return false };
            self.sleep_until(alarm.0);
        }
        // The turn has one reading of the clock, and does not fire timers that are made in it.
        let (now, young) = (self.now(), self.alarms.get());
        let marked = self.ready.borrow().len();
        for _ in 0..marked {
            let Some(token) = self.ready.borrow_mut().pop_front() else { break };
            self.step(token);
        }
        while let Some(alarm) = self.first_alarm().filter(|alarm| alarm.0 <= now && alarm.1 < young) {
            let waker = self.timers.borrow_mut().remove(&alarm);
            waker.unwrap().wake();
        }
        true
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
            _ => std::thread::sleep(deadline.saturating_sub(self.now())),
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
        // From now on, a wake queues it again.
        task.head().is_queued.set(false);
        if task.step(&mut Context::from_waker(&token.waker())).is_ready() {
            self.remove(token);
        }
    }

    /// The task has ended: its row is free, for a tenant of the next generation.
    fn remove(&self, token: Token) {
        let task = self.rows.borrow_mut()[token.slot].task.take();
        self.rows.borrow_mut()[token.slot].generation += 1;
        self.free.borrow_mut().push(token.slot);
        // Perhaps the last handle: the outcome is dropped here.
        drop(task);
    }

    /// Drops the tasks that are left.
    fn clear(&self) {
        while let Some(task) = { self.rows.borrow().iter().find_map(|row| row.task.clone()) } {
            task.drop_future();
            self.remove(task.head().token);
        }
        self.ready.borrow_mut().clear();
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

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let waker = cx.waker().clone();
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
