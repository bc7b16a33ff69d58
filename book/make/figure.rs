//! The figure of a run: what the loop did, turn by turn, as a text. It is made from the events of a real run.

use onelane::probe::{Ending, Event, EventKind, Probe, Source, Tee, WakeOutcome};
use onelane::replay::Recording;
use onelane::{Clock, EventLoop};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;
use std::{env, fs};

/// Parts the figure from what the program prints.
pub const BEGIN: &str = "\n===figure===\n";

/// The environment variable with the path of the page that replays the run.
pub const PAGE: &str = "ONELANE_BOOK_PAGE";

/// Runs a program on a virtual clock. Prints its figure, and writes the page if it is asked for.
pub fn record(name: &str, program: impl Future<Output = ()>) {
    let figure = Rc::new(Figure::default());
    let recording = Rc::new(Recording::new());
    let event_loop = EventLoop::builder().clock(Clock::Virtual).probe(Tee(figure.clone(), recording.clone())).build();
    event_loop.run(main(program));
    drop(event_loop);
    println!("{BEGIN}{}", figure.text());
    if let Some(path) = env::var_os(PAGE) {
        if let Err(error) = fs::write(&path, recording.to_html()) {
            panic!("the page of {name} was not written: {error}");
        }
    }
}

/// Gives the main task its name.
async fn main(program: impl Future<Output = ()>) {
    program.await;
}

#[derive(Default)]
struct Figure(RefCell<State>);

#[derive(Default)]
struct State {
    names: HashMap<String, String>,
    lines: Vec<String>,
    turn: usize,
    /// Who runs: a task, a callback, or the loop itself; and what it has done.
    who: String,
    did: Vec<String>,
}

impl State {
    fn name(&self, task: impl ToString) -> String {
        let task = task.to_string();
        self.names.get(&task).cloned().unwrap_or(task)
    }

    /// A line for what was done since the last one.
    fn end_line(&mut self) {
        if !self.did.is_empty() {
            self.lines.push(format!("    {:<10} {}", self.who, self.did.join(", ")));
            self.did.clear();
        }
        self.who = "(loop)".into();
    }

    fn begin_turn(&mut self, now: Duration) {
        self.end_line();
        self.turn += 1;
        self.lines.push(format!("turn {}, at {now:?}", self.turn));
    }
}

impl Figure {
    fn text(&self) -> String {
        self.0.borrow().lines.join("\n")
    }
}

impl Probe for Figure {
    fn event(&self, event: &Event<'_>) {
        let state = &mut *self.0.borrow_mut();
        match event.kind {
            EventKind::TurnBegin => state.begin_turn(event.time),
            EventKind::Spawn { task, name, .. } => {
                state.names.insert(task.to_string(), name.to_string());
                if state.turn > 0 {
                    state.did.push(format!("spawns {name}"));
                }
            }
            EventKind::StepBegin { task } => {
                state.end_line();
                state.who = state.name(task);
            }
            EventKind::StepEnd { ended, .. } => {
                if !ended && state.did.is_empty() {
                    state.did.push("pauses".into());
                }
                state.end_line();
            }
            EventKind::CallBegin => {
                state.end_line();
                state.who = "(call)".into();
                state.did.push("runs".into());
            }
            EventKind::CallEnd => state.end_line(),
            EventKind::TurnEnd => {
                state.end_line();
                // The loop looks around, and finds that it is done.
                if state.lines.last().is_some_and(|line| line.starts_with("turn ")) {
                    state.lines.pop();
                    state.turn -= 1;
                }
            }
            EventKind::Wake { task: Some(task), outcome, by } => {
                let from = if by == Source::Outside { "from outside " } else { "" };
                let task = state.name(task);
                let task = if task == state.who { "itself" } else { &task };
                state.did.push(match outcome {
                    WakeOutcome::Queued => format!("wakes {task} {from}").trim_end().to_string(),
                    _ => format!("wakes {task} again"),
                });
            }
            EventKind::Wake { task: None, .. } => state.did.push("wakes a task that has ended".into()),
            EventKind::Cancel { task, .. } => state.did.push(format!("cancels {}", state.name(task))),
            EventKind::WaitBegin { what, .. } => {
                // A gather names all its children.
                let short = what.split(" of \"").next().and_then(|what| what.split(" on \"").next());
                state.did.push(format!("waits for {}", short.unwrap_or(what)));
            }
            EventKind::TimerArm { deadline, .. } => state.did.push(format!("arms a timer for {deadline:?}")),
            EventKind::TimerFire { .. } => state.did.push("a timer fires".into()),
            EventKind::TimerCancel { .. } => state.did.push("disarms a timer".into()),
            EventKind::End { ending, .. } => state.did.push(match ending {
                Ending::Value => "ends".into(),
                Ending::Cancelled => "ends, cancelled".into(),
                _ => "ends with a panic".into(),
            }),
            EventKind::Park { until: Some(until) } => {
                state.end_line();
                state.lines.push(format!("the loop rests until {until:?}"));
            }
            EventKind::Park { until: None } => {
                state.end_line();
                state.lines.push("the loop rests until somebody wakes it".into());
            }
            _ => {}
        }
    }
}
