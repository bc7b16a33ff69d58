//! Records what each task did, step by step. A future that wraps the task's own future does this,
//! through the public API alone.
//!
//! ```text
//!   made         Recorder::task()       the row is ready: it is spawned in the same step
//!   step begins  Recorded::poll()       running
//!   step ends    Recorded::poll()       asleep, unless it was woken meanwhile, or has ended
//!   woken        NotedWaker             ready; then the wake goes on to the loop's own waker
//!   dropped      Recorded::drop()       cancelled, if it had not ended
//! ```
//!
//! A column of the recording is a step and not a moment: a program of two seconds runs for a
//! fraction of a millisecond. A wait of the loop between two steps is a column too.
//!
//! Some events use neither a future nor a waker, and are not recorded: the callbacks with which
//! `gather` and `wait` count, and the queuing of a task that is cancelled. This file does not know
//! how the recording is drawn; next: `timeline.rs`.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

/// A pause that people would notice. Shorter ones are the loop at work, or the machine.
const VISIBLE: Duration = Duration::from_millis(10);

/// Records what happens to the tasks of one program. Its clones write to the same recording.
#[derive(Clone)]
pub(crate) struct Recorder {
    /// Not an `Rc<RefCell>`: a waker holds it, and wakers may be sent to other threads.
    log: Arc<Mutex<Log>>,
}

/// The result.
pub(crate) struct Recording {
    pub(crate) rows: Vec<String>,
    pub(crate) columns: Vec<Column>,
    /// How long the program took.
    pub(crate) took: Duration,
    /// The total time of its sleeps: how long it would take if they were one after the other.
    pub(crate) asleep: Duration,
}

/// A step of one task, or a wait of the loop, with the state of each row that exists by then.
#[derive(Clone)]
pub(crate) struct Column {
    pub(crate) kind: Kind,
    /// When it began, since the start of the program.
    pub(crate) at: Duration,
    pub(crate) states: Vec<State>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Step,
    /// Time passes, and no task runs.
    Rest,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// It has ended.
    Absent,
    /// Spawned or woken, but not stepped yet.
    Ready,
    Running,
    Asleep,
    /// Its future is dropped before its end.
    Cancelled,
}

struct Log {
    start: Instant,
    /// The time of the last event.
    last: Instant,
    rows: Vec<Row>,
    columns: Vec<Column>,
}

struct Row {
    name: String,
    kind: RowKind,
    state: State,
    /// When it entered this state.
    since: Instant,
    /// It was woken while it was running.
    woken: bool,
    asleep: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum RowKind {
    /// It waits for the tasks, so its sleep is not counted.
    Main,
    Task,
    /// All callbacks share one row, which has a state only while one of them runs.
    Callbacks,
}

impl Recorder {
    /// A recorder whose time begins now.
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Recorder { log: Arc::new(Mutex::new(Log { start: now, last: now, rows: Vec::new(), columns: Vec::new() })) }
    }

    /// Wraps the main task's future, to record it.
    pub(crate) fn main<F: Future>(&self, future: F) -> Recorded<F> {
        self.recorded("main".into(), RowKind::Main, future)
    }

    /// Wraps the future of a task that is spawned right after this call, to record it.
    pub(crate) fn task<F: Future>(&self, name: impl Into<String>, future: F) -> Recorded<F> {
        self.recorded(name.into(), RowKind::Task, future)
    }

    /// Calls a callback, and records the call.
    pub(crate) fn call(&self, callback: impl FnOnce()) {
        let row = self.log().callbacks();
        self.log().step_begins(row);
        callback();
        self.log().step_ends(row, true);
    }

    /// What was recorded until now.
    pub(crate) fn recording(&self) -> Recording {
        let log = self.log();
        let tasks = log.rows.iter().filter(|row| row.kind == RowKind::Task);
        Recording {
            rows: log.rows.iter().map(|row| row.name.clone()).collect(),
            columns: log.columns.clone(),
            took: log.start.elapsed(),
            asleep: tasks.map(|row| row.asleep).sum(),
        }
    }

    fn recorded<F: Future>(&self, name: String, kind: RowKind, future: F) -> Recorded<F> {
        let row = self.log().add_row(name, kind, State::Ready);
        Recorded { future: Box::pin(future), recorder: self.clone(), row, waker: None }
    }

    /// The guard is not held while user code runs: a poll, a wake or a destructor may call the
    /// recorder again.
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().expect("recording does not panic")
    }
}

/// A future whose steps are recorded.
pub(crate) struct Recorded<F> {
    /// In a box, so that it can be polled without `unsafe`.
    future: Pin<Box<F>>,
    recorder: Recorder,
    row: usize,
    /// The same one at each poll, so that the future does not have to replace its registered waker.
    waker: Option<Arc<NotedWaker>>,
}

/// Is notified of a wake, and passes it on.
struct NotedWaker {
    inner: Waker,
    recorder: Recorder,
    row: usize,
}

impl<F: Future> Future for Recorded<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let waker = self.noted(context.waker());
        self.recorder.log().step_begins(self.row);
        let poll = self.future.as_mut().poll(&mut Context::from_waker(&waker));
        self.recorder.log().step_ends(self.row, poll.is_ready());
        poll
    }
}

impl<F> Recorded<F> {
    fn noted(&mut self, inner: &Waker) -> Waker {
        let known = self.waker.take().filter(|waker| waker.inner.will_wake(inner));
        let waker = known.unwrap_or_else(|| {
            Arc::new(NotedWaker { inner: inner.clone(), recorder: self.recorder.clone(), row: self.row })
        });
        self.waker.insert(waker).clone().into()
    }
}

impl<F> Drop for Recorded<F> {
    fn drop(&mut self) {
        self.recorder.log().dropped(self.row);
    }
}

impl Wake for NotedWaker {
    fn wake(self: Arc<Self>) {
        self.recorder.log().woken(self.row);
        self.inner.wake_by_ref();
    }
}

impl Log {
    fn add_row(&mut self, name: String, kind: RowKind, state: State) -> usize {
        let since = self.now();
        self.rows.push(Row { name, kind, state, since, woken: false, asleep: Duration::ZERO });
        self.rows.len() - 1
    }

    /// The row of the callbacks, which is created with the first of them.
    fn callbacks(&mut self) -> usize {
        let found = self.rows.iter().position(|row| row.kind == RowKind::Callbacks);
        found.unwrap_or_else(|| self.add_row("callback".into(), RowKind::Callbacks, State::Absent))
    }

    fn woken(&mut self, row: usize) {
        let now = self.now();
        match self.rows[row].state {
            State::Asleep => self.rows[row].enter(State::Ready, now),
            State::Running => self.rows[row].woken = true,
            // It is in the ready queue already, or has ended.
            State::Ready | State::Absent | State::Cancelled => {}
        }
    }

    fn step_begins(&mut self, row: usize) {
        let now = self.now();
        self.rows[row].enter(State::Running, now);
    }

    /// The column is created now, so that it shows which tasks became ready in this step.
    fn step_ends(&mut self, row: usize, over: bool) {
        let now = self.now();
        let began = self.rows[row].since;
        self.add_column(Kind::Step, began);
        let woken = std::mem::take(&mut self.rows[row].woken);
        let next = match (over, woken) {
            (true, _) => State::Absent,
            (false, true) => State::Ready,
            (false, false) => State::Asleep,
        };
        self.rows[row].enter(next, now);
    }

    fn dropped(&mut self, row: usize) {
        if self.rows[row].state == State::Absent {
            return;
        }
        let now = self.now();
        self.rows[row].enter(State::Cancelled, now);
        self.add_column(Kind::Step, now);
        self.rows[row].enter(State::Absent, now);
    }

    /// The current time. If it has visibly advanced while all slept, the loop has waited.
    fn now(&mut self) -> Instant {
        let now = Instant::now();
        let at_rest = self.rows.iter().all(|row| matches!(row.state, State::Asleep | State::Absent));
        if at_rest && now - self.last >= VISIBLE {
            self.add_column(Kind::Rest, self.last);
        }
        self.last = now;
        now
    }

    fn add_column(&mut self, kind: Kind, at: Instant) {
        let states = self.rows.iter().map(|row| row.state).collect();
        self.columns.push(Column { kind, at: at - self.start, states });
    }
}

impl Row {
    fn enter(&mut self, state: State, now: Instant) {
        if self.state == State::Asleep {
            self.asleep += now - self.since;
        }
        (self.state, self.since) = (state, now);
    }
}
