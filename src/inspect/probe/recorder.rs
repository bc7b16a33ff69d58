//! A trace of a run for <https://ui.perfetto.dev> and `chrome://tracing`.
//!
//! ```text
//!   track 0, the loop    |turn |  |park      |  |turn        |
//!                                                |callback|
//!   track 1, main-1      |ready|run|wait a sleep     |ready|run|
//!                                |                              spawned, woken: an arrow from there to the run
//!   track 2, worker-2            '-->|ready|run|wait a lock + a sleep
//! ```
//!
//! On each track, slices follow each other or nest. A task is in one of four states. If it waits
//! for several things, that is one slice. `trace.rs` describes how lines are written.

use crate::inspect::probe::by_id::ById;
use crate::inspect::probe::trace::{Stamp, Trace};
use crate::kernel::observe::probe::{Event, EventKind, Failure, Probe, Source, WakeOutcome};
use crate::kernel::observe::task_id::TaskId;
use std::cell::RefCell;
use std::fmt::{self, Display};
use std::io;
use std::panic::Location;
use std::time::Duration;

/// Writes a trace in Chrome's JSON format, for <https://ui.perfetto.dev> or `chrome://tracing`.
///
/// | in the trace | category | what it is |
/// | --- | --- | --- |
/// | track 0, "loop" | | the loop |
/// | one track per task, with its name and number | | the task |
/// | slices of the loop | `turn`, `call`, `park` | turns, callbacks in them, and sleeps |
/// | slices of a task | `ready`, `run`, `wait` | in the ready queue; a step; between its steps, with what it waits for, `at` the place |
/// | arrows | `spawn`, `wake` | from where a task was spawned or woken, to the step that follows |
/// | instants | `spawn`, `end`, `wake`, `fail` | also wakes without effect: `merged`, `late` |
/// | async slices | `timer` | from the setting of a timer until it fires or is cancelled |
/// | counters | | living and ready tasks, before each turn and each sleep |
///
/// A task that waits for several things at once has one slice for them. If a wake or a spawn occurs
/// between two turns, the loop's track has a slice `outside` of one nanosecond.
///
/// Each time in the trace is at least one nanosecond after the previous one. On a virtual clock,
/// which stands still during a turn, the trace runs ahead of the clock by a nanosecond per line,
/// and the clock catches up at the next wait.
///
/// The trace is complete after [`finish`](Self::finish), or when the recorder is dropped, which
/// happens with its loop.
///
/// # Cost
///
/// About a hundred bytes per event, written 64 kB at a time, while the loop waits. It keeps a
/// record per living task and per timer.
///
/// # Examples
///
/// ```
/// use onelane::EventLoop;
/// use onelane::probe::Recorder;
/// use std::{fs::File, rc::Rc};
///
/// # fn main() -> std::io::Result<()> {
/// # let path = std::env::temp_dir().join(format!("onelane-trace-{}.json", std::process::id()));
/// let recorder = Rc::new(Recorder::new(File::create(&path)?));
/// EventLoop::builder().probe(recorder.clone()).build().run(async {
///     onelane::task::Builder::new().name("tea").spawn(async {}).await.unwrap();
/// });
/// recorder.finish()?;
/// assert!(std::fs::read_to_string(&path)?.contains(r#""name":"thread_name","args":{"name":"tea"}"#));
/// # std::fs::remove_file(path)
/// # }
/// ```
pub struct Recorder {
    state: RefCell<State>,
}

struct State {
    trace: Trace,
    tracks: ById<Track>,
    /// The timers that have not fired.
    timers: ById<()>,
    /// The open slices of the loop, outermost first.
    phases: Vec<Phase>,
    /// The task whose step is open.
    running: Option<TaskId>,
    /// Number of arrows so far; the number of the last one.
    arrows: u64,
    ready: u64,
    /// Living and ready tasks, as last shown.
    shown: Option<[u64; 2]>,
}

/// The track of the loop. Tasks count from 1.
const LOOP: u64 = 0;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Turn,
    Call,
    Park,
}

/// The record of a task.
#[derive(Default)]
struct Track {
    is_named: bool,
    doing: Doing,
    /// It was woken in its current step.
    is_queued: bool,
    /// It has ended in its current step.
    has_ended: bool,
    /// Where the arrow to its next step begins.
    tail: Option<Tail>,
    waits: Vec<Waiting>,
}

/// The states. Each except the first is a slice.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Doing {
    #[default]
    Nothing,
    Ready,
    Running,
    Waiting,
}

struct Waiting {
    number: u64,
    what: Box<str>,
    at: &'static Location<'static>,
}

#[derive(Clone, Copy)]
struct Tail {
    category: &'static str,
    track: u64,
    stamp: Stamp,
}

impl Recorder {
    /// Creates a recorder that writes to `out`. It buffers its output, so `out` needs no buffer.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::EventLoop;
    /// use onelane::probe::Recorder;
    ///
    /// // To a collector that knows the format.
    /// let event_loop = EventLoop::builder().probe(Recorder::new(std::io::sink())).build();
    /// event_loop.run(async {});
    /// ```
    pub fn new(out: impl io::Write + 'static) -> Self {
        let mut trace = Trace::new(Box::new(out));
        trace.line('M', LOOP, 0).text("name", &"thread_name").args(&[("name", &"loop")]).end();
        let state = State {
            trace,
            tracks: ById::new(),
            timers: ById::new(),
            phases: Vec::new(),
            running: None,
            arrows: 0,
            ready: 0,
            shown: None,
        };
        Recorder { state: RefCell::new(state) }
    }

    /// Ends the trace: open slices end now. Nothing is recorded any more.
    ///
    /// # Errors
    ///
    /// The first error of the writer, also of an earlier write: nothing was written after it.
    /// Returned once; later calls return `Ok`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::EventLoop;
    /// use onelane::probe::Recorder;
    /// use std::{io::ErrorKind, rc::Rc};
    ///
    /// let full: &mut [u8] = &mut [];
    /// let recorder = Rc::new(Recorder::new(full));
    /// EventLoop::builder().probe(recorder.clone()).build().run(async {});
    /// assert_eq!(recorder.finish().unwrap_err().kind(), ErrorKind::WriteZero);
    /// assert!(recorder.finish().is_ok());
    /// ```
    pub fn finish(&self) -> io::Result<()> {
        // It is borrowed only if its own writer calls this.
        self.state.try_borrow_mut().map_or(Ok(()), |mut state| state.finish())
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // To know about errors, call `finish` before.
        let _ = self.state.get_mut().finish();
    }
}

impl Probe for Recorder {
    fn event(&self, event: &Event<'_>) {
        // A writer may run a turn of another loop that has the same recorder.
        if let Ok(mut state) = self.state.try_borrow_mut() {
            if state.trace.is_open() {
                state.record(event);
            }
        }
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

impl State {
    fn record(&mut self, event: &Event<'_>) {
        self.trace.clock_shows(event.time);
        match event.kind {
            EventKind::TurnBegin => self.enter(Phase::Turn, &[]),
            EventKind::TurnEnd => self.leave(Phase::Turn),
            // The trace shows callbacks and timers, not their places in the queue and in the wheel.
            EventKind::Cancel { .. }
            | EventKind::Uncancel { .. }
            | EventKind::Yield { .. }
            | EventKind::Suspend { .. }
            | EventKind::Choose { .. }
            | EventKind::CallQueue { .. }
            | EventKind::CallSkip
            | EventKind::Expire { .. } => {}
            EventKind::CallBegin => self.enter(Phase::Call, &[]),
            EventKind::CallEnd => self.leave(Phase::Call),
            EventKind::Park { until: None } => self.enter(Phase::Park, &[]),
            EventKind::Park { until: Some(until) } => self.enter(Phase::Park, &[("until", &Seconds(until))]),
            EventKind::Unpark => self.leave(Phase::Park),
            EventKind::Spawn { task, name, at, by, .. } => self.spawned(task, name, at, by),
            EventKind::Wake { task, by, outcome } => self.woken(task, by, outcome),
            EventKind::StepBegin { task } => self.begin_step(task),
            EventKind::StepEnd { task, ended } => {
                if self.running == Some(task) {
                    self.end_step(ended);
                }
            }
            EventKind::WaitBegin { task, wait, what, at, .. } => {
                self.track(task).waits.push(Waiting { number: wait, what: what.into(), at });
            }
            EventKind::WaitEnd { task, wait, .. } => {
                if let Some(track) = self.tracks.get_mut(task.0) {
                    track.waits.retain(|waiting| waiting.number != wait);
                }
            }
            EventKind::TimerArm { timer, deadline, task } => self.armed(timer, deadline, task),
            EventKind::TimerFire { timer } => self.disarmed(timer, "fired"),
            EventKind::TimerCancel { timer } => self.disarmed(timer, "cancelled"),
            EventKind::End { task, ending } => self.ended(task, &ending),
            EventKind::Fail { why } => {
                let name = match why {
                    Failure::Panic => "the main task panicked",
                    Failure::Deadlock => "deadlock",
                };
                self.instant('g', self.here(), "fail", name, &[]);
            }
        }
    }

    // ---- the parts of lines ----

    fn begin_slice(&mut self, track: u64, category: &str, name: &dyn Display, args: &[(&str, &dyn Display)]) {
        begin_slice(&mut self.trace, track, category, name, args);
    }

    fn end_slice(&mut self, track: u64) {
        let stamp = self.trace.stamp();
        self.trace.line('E', track, stamp).end();
    }

    /// `scope`: on its thread, in its process, or global.
    fn instant(&mut self, scope: char, track: u64, category: &str, name: &str, args: &[(&str, &dyn Display)]) {
        let stamp = self.trace.stamp();
        let line = self.trace.line('i', track, stamp).text("s", &scope);
        line.text("cat", &category).text("name", &name).args(args).end();
    }

    /// The track of the running task; outside a step, the loop's track.
    fn here(&self) -> u64 {
        self.running.map_or(LOOP, |task| task.0)
    }

    /// Begins an arrow here and now, for a step that this event may cause. An arrow begins inside a
    /// slice.
    fn tail(&mut self, category: &'static str) -> Tail {
        let track = self.here();
        let is_outside = track == LOOP && self.phases.is_empty();
        if is_outside {
            self.begin_slice(LOOP, "outside", &"outside", &[]);
        }
        let stamp = self.trace.stamp();
        if is_outside {
            self.end_slice(LOOP);
        }
        Tail { category, track, stamp }
    }

    /// Draws an arrow from `tail` to the current moment.
    fn arrow(&mut self, tail: Tail, track: u64) {
        self.arrows += 1;
        let (head, id) = (self.trace.stamp(), self.arrows);
        let Tail { category, .. } = tail;
        let line = self.trace.line('s', tail.track, tail.stamp);
        line.text("cat", &category).text("name", &category).number("id", id).end();
        let line = self.trace.line('f', track, head).text("bp", &"e");
        line.text("cat", &category).text("name", &category).number("id", id).end();
    }

    // ---- the loop ----

    fn enter(&mut self, phase: Phase, args: &[(&str, &dyn Display)]) {
        self.end_step(false);
        if phase != Phase::Call {
            self.leave_from(0);
            self.count();
        }
        let (category, name) = match phase {
            Phase::Turn => ("turn", "turn"),
            Phase::Call => ("call", "callback"),
            Phase::Park => ("park", "park"),
        };
        self.begin_slice(LOOP, category, &name, args);
        self.phases.push(phase);
    }

    /// Does nothing if it was not entered.
    fn leave(&mut self, phase: Phase) {
        if let Some(place) = self.phases.iter().rposition(|&entered| entered == phase) {
            self.leave_from(place);
        }
    }

    /// Ends the phases that were entered, from this one on.
    fn leave_from(&mut self, place: usize) {
        self.end_step(false);
        for _ in place..self.phases.len() {
            self.end_slice(LOOP);
        }
        self.phases.truncate(place);
    }

    /// Shows the number of tasks, unless it was already shown.
    fn count(&mut self) {
        let [alive, ready] = [self.tracks.len() as u64, self.ready];
        if self.shown.replace([alive, ready]) != Some([alive, ready]) {
            let stamp = self.trace.stamp();
            let line = self.trace.line('C', LOOP, stamp).text("name", &"tasks");
            line.numbers(&[("alive", alive), ("ready", ready)]).end();
        }
    }

    // ---- the tasks ----

    fn track(&mut self, task: TaskId) -> &mut Track {
        self.tracks.entry(task.0, Track::default)
    }

    fn name(&mut self, task: TaskId, name: &dyn Display) {
        self.track(task).is_named = true;
        let stamp = self.trace.stamp();
        self.trace.line('M', task.0, stamp).text("name", &"thread_name").args(&[("name", name)]).end();
        let line = self.trace.line('M', task.0, stamp).text("name", &"thread_sort_index");
        line.numbers(&[("sort_index", task.0)]).end();
    }

    /// Ends the track of a task. A task without a name, or whose spawn was not reported, is named
    /// by its number.
    fn close_track(&mut self, task: TaskId) {
        self.turn_to(task, Doing::Nothing);
        if !self.track(task).is_named {
            self.name(task, &format_args!("task {task}"));
        }
        self.tracks.remove(task.0);
    }

    fn spawned(&mut self, task: TaskId, name: &str, at: &'static Location<'static>, by: Source) {
        // Perfetto reports an error for a track with an empty name.
        if !name.is_empty() {
            self.name(task, &name);
        }
        self.instant('t', self.here(), "spawn", "spawn", &[("task", &task), ("name", &name), ("at", &at), ("by", &by)]);
        let tail = self.tail("spawn");
        let track = self.track(task);
        track.tail = Some(tail);
        if track.doing == Doing::Nothing {
            self.turn_to(task, Doing::Ready);
        }
    }

    fn woken(&mut self, task: Option<TaskId>, by: Source, outcome: WakeOutcome) {
        match (outcome, task) {
            (WakeOutcome::Queued, Some(task)) => {
                let tail = self.tail("wake");
                let track = self.track(task);
                track.tail.get_or_insert(tail);
                match track.doing {
                    Doing::Running => track.is_queued = true,
                    Doing::Ready => {}
                    Doing::Nothing | Doing::Waiting => self.turn_to(task, Doing::Ready),
                }
            }
            (WakeOutcome::Merged, Some(task)) => {
                self.track(task);
                self.instant('t', task.0, "wake", "merged", &[("by", &by)]);
            }
            _ => self.instant('t', self.here(), "wake", "late", &[("by", &by)]),
        }
    }

    fn begin_step(&mut self, task: TaskId) {
        self.end_step(false);
        let track = self.track(task);
        track.is_queued = false;
        let tail = track.tail.take();
        self.turn_to(task, Doing::Running);
        self.running = Some(task);
        if let Some(tail) = tail {
            self.arrow(tail, task.0);
        }
    }

    /// Ends the open step, if there is one.
    fn end_step(&mut self, is_last: bool) {
        let Some(task) = self.running.take() else { return };
        let track = self.track(task);
        let (has_ended, is_queued) = (track.has_ended, track.is_queued);
        if has_ended {
            return self.close_track(task);
        }
        let next = if is_queued { Doing::Ready } else { Doing::Waiting };
        self.turn_to(task, if is_last { Doing::Nothing } else { next });
    }

    fn ended(&mut self, task: TaskId, ending: &dyn Display) {
        let track = self.track(task);
        if track.doing == Doing::Running {
            track.has_ended = true;
        } else {
            self.close_track(task);
        }
        self.instant('t', task.0, "end", "end", &[("ending", ending)]);
    }

    /// Ends one slice of a task, and begins another.
    fn turn_to(&mut self, task: TaskId, doing: Doing) {
        let before = std::mem::replace(&mut self.track(task).doing, doing);
        if before != Doing::Nothing {
            self.end_slice(task.0);
        }
        self.ready = (self.ready + u64::from(doing == Doing::Ready)).saturating_sub(u64::from(before == Doing::Ready));
        match doing {
            Doing::Nothing => {}
            Doing::Ready => self.begin_slice(task.0, "ready", &"ready", &[]),
            Doing::Running => self.begin_slice(task.0, "run", &"run", &[]),
            Doing::Waiting => {
                let waits = self.tracks.get(task.0).map_or(&[][..], |track| &track.waits);
                let at = Places(waits);
                let args: &[(&str, &dyn Display)] = if waits.is_empty() { &[] } else { &[("at", &at)] };
                begin_slice(&mut self.trace, task.0, "wait", &Names(waits), args);
            }
        }
    }

    // ---- timers ----

    fn armed(&mut self, timer: u64, deadline: Duration, task: Option<TaskId>) {
        self.timers.entry(timer, || ());
        let stamp = self.trace.stamp();
        let line = self.trace.line('b', LOOP, stamp).text("cat", &"timer").text("name", &"timer").number("id", timer);
        match task {
            Some(task) => line.args(&[("deadline", &Seconds(deadline)), ("task", &task)]).end(),
            None => line.args(&[("deadline", &Seconds(deadline))]).end(),
        }
    }

    fn disarmed(&mut self, timer: u64, outcome: &str) {
        if self.timers.remove(timer).is_some() {
            let stamp = self.trace.stamp();
            let line = self.trace.line('e', LOOP, stamp).text("cat", &"timer").text("name", &"timer");
            line.number("id", timer).args(&[("outcome", &outcome)]).end();
        }
    }

    // ---- the end ----

    fn finish(&mut self) -> io::Result<()> {
        if self.trace.is_open() {
            self.end_step(true);
            self.leave_from(0);
            self.count();
            for timer in self.timers.ids().collect::<Vec<_>>() {
                self.disarmed(timer, "pending");
            }
            for task in self.tracks.ids().collect::<Vec<_>>() {
                self.close_track(TaskId(task));
            }
        }
        self.trace.finish()
    }
}

fn begin_slice(trace: &mut Trace, track: u64, category: &str, name: &dyn Display, args: &[(&str, &dyn Display)]) {
    let stamp = trace.stamp();
    trace.line('B', track, stamp).text("cat", &category).text("name", name).args(args).end();
}

/// Maximum number of waits of a task that are named in a slice.
const NAMED: usize = 3;

/// `wait a lock + a sleep`
struct Names<'a>(&'a [Waiting]);

impl Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("wait")?;
        for (nth, waiting) in self.0.iter().take(NAMED).enumerate() {
            write!(f, "{} {}", if nth == 0 { "" } else { " +" }, waiting.what)?;
        }
        match self.0.len().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(f, " + {more} more"),
        }
    }
}

/// `src/main.rs:1:2, src/main.rs:3:4`
struct Places<'a>(&'a [Waiting]);

impl Display for Places<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, waiting) in self.0.iter().take(NAMED).enumerate() {
            write!(f, "{}{}", if nth == 0 { "" } else { ", " }, waiting.at)?;
        }
        Ok(())
    }
}

/// `1.500000000`
struct Seconds(Duration);

impl Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.0.as_secs(), self.0.subsec_nanos())
    }
}
