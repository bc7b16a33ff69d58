//! Stage 6: time. A timer wakes a task at its deadline. On a virtual clock, time jumps to the next deadline when
//! nothing is ready.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::pin::Pin;
use std::ptr::without_provenance;
use std::rc::Rc;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};
use std::time::{Duration, Instant};

pub type LocalFuture = Pin<Box<dyn Future<Output = ()>>>;

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
    /// Whether the task is in the ready queue.
    is_queued: bool,
    /// `None` while the task runs, and when there is none.
    future: Option<LocalFuture>,
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
pub fn spawn(future: impl Future<Output = ()> + 'static) {
    LANE.with(|lane| lane.insert(Box::pin(future)));
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
    let result = Rc::new(Cell::new(None));
    let slot = result.clone();
    spawn(async move { slot.set(Some(main.await)) });
    let value = loop {
        let goes_on = turn();
        let value = result.take();
        if value.is_some() || !goes_on {
            break value;
        }
    };
    LANE.with(Lane::clear);
    value.ok_or(RunError::Deadlock)
}

/// Why `try_run` has no value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RunError {
    /// A loop runs already on this thread.
    Nested,
    /// The main task waits, and nothing can wake it.
    Deadlock,
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RunError::Nested => "lane::run() cannot be called from a running event loop",
            RunError::Deadlock => "deadlock: the main task waits, and nothing can wake it",
        })
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
    fn insert(&self, future: LocalFuture) {
        let mut rows = self.rows.borrow_mut();
        let slot = self.free.borrow_mut().pop().unwrap_or(rows.len());
        if slot == rows.len() {
            rows.push(Row { generation: 0, is_queued: false, future: None });
        }
        rows[slot].future = Some(future);
        rows[slot].is_queued = true;
        self.ready.borrow_mut().push_back(Token { slot, generation: rows[slot].generation });
    }

    fn wake(&self, token: Token) {
        let mut rows = self.rows.borrow_mut();
        let row = rows.get_mut(token.slot).filter(|row| row.generation == token.generation);
        let is_first = row.is_some_and(|row| !std::mem::replace(&mut row.is_queued, true));
        if is_first {
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

    /// Polls a task that was in the ready queue.
    fn step(&self, token: Token) {
        let Some(mut future) = self.take(token) else { return };
        if future.as_mut().poll(&mut Context::from_waker(&token.waker())).is_pending() {
            self.rows.borrow_mut()[token.slot].future = Some(future);
        } else {
            drop(future);
            self.remove(token);
        }
    }

    /// Takes a task's future out of its row. From now on the task can be queued again.
    fn take(&self, token: Token) -> Option<LocalFuture> {
        let mut rows = self.rows.borrow_mut();
        let row = rows.get_mut(token.slot).filter(|row| row.generation == token.generation)?;
        row.is_queued = false;
        row.future.take()
    }

    /// The task has ended: its row is free, for a tenant of the next generation.
    fn remove(&self, token: Token) {
        self.rows.borrow_mut()[token.slot].generation += 1;
        self.free.borrow_mut().push(token.slot);
    }

    /// Drops the tasks that are left.
    fn clear(&self) {
        while let Some(slot) = { self.rows.borrow().iter().position(|row| row.future.is_some()) } {
            let token = Token { slot, generation: self.rows.borrow()[slot].generation };
            drop(self.take(token));
            self.remove(token);
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
