//! The data of the page: the events as lists of numbers, with tables for what they name.
//!
//! ```text
//!   {"format":"onelane-replay/1", "title":..,
//!    "files":[{"name":..,"text":..}],      text: null if there is none
//!    "places":[[file,line,column]],
//!    "texts":["main-1","a lock"],
//!    "times":["0","10000000"],             nanoseconds, as texts, because they may exceed 2^53
//!    "first":0,                            the world with which the page opens
//!    "worlds":[{                           one, or the orders of an exploration
//!      "schedule":"7=2/3", "fault":null,
//!      "lost":.., "cut":..,               events that were dropped; texts that were cut
//!      "ignored":false,                   whether another loop was ignored
//!      "base":{..},                        the state before the first event
//!      "events":[[code,time,..]],          the codes are in `write_event`
//!      "hashes":[..]}]}                    if asked for
//! ```

use crate::inspect::json::{Text, list};
use crate::inspect::replay::recording::{Recorded, Recording};
use crate::inspect::replay::sources::{shortened, text};
use crate::inspect::replay::state::{State, failure_code, nanos, source_code, target_code};
use crate::kernel::observe::probe::{Choice, Ending, EventKind, WaitTarget, WakeOutcome};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::hash::Hash;
use std::panic::Location;
use std::path::Path;
use std::rc::Rc;

/// Things in the order of their first use, each once.
struct Table<T> {
    items: Vec<T>,
    places: HashMap<T, usize>,
}

impl<T: Clone + Eq + Hash> Table<T> {
    fn new() -> Self {
        Table { items: Vec::new(), places: HashMap::new() }
    }

    fn place(&mut self, item: T) -> usize {
        *self.places.entry(item).or_insert_with_key(|item| {
            self.items.push(item.clone());
            self.items.len() - 1
        })
    }
}

struct Tables {
    places: Table<&'static Location<'static>>,
    texts: Table<Rc<str>>,
    times: Table<u64>,
    /// The addresses of awaited objects.
    objects: Table<usize>,
}

impl Tables {
    /// The description of a wait. It may say where an object was made.
    fn description(&mut self, what: &Rc<str>) -> usize {
        self.texts.place(match shortened(what) {
            Cow::Borrowed(_) => what.clone(),
            Cow::Owned(short) => short.into(),
        })
    }
}

/// One run of the page, and where it belongs among others.
pub(crate) struct World<'a> {
    /// The deviations from the normal order, as `explore` writes them. Empty for the normal order.
    pub(crate) schedule: &'a str,
    /// Why the run has failed.
    pub(crate) fault: Option<&'a str>,
    pub(crate) recording: &'a Recording,
}

/// `first` is the number of the world with which the page opens.
pub(crate) fn json(title: &str, worlds: &[World<'_>], first: usize, checked: bool) -> String {
    let mut tables = Tables { places: Table::new(), texts: Table::new(), times: Table::new(), objects: Table::new() };
    let mut runs = String::new();
    list(&mut runs, worlds, |out, world| write_world(out, world, checked, &mut tables));
    let has_sources = worlds.iter().all(|world| world.recording.kept().has_sources);
    let mut out = String::from(r#"{"format":"onelane-replay/1""#);
    _ = write!(out, r#","title":{},"version":{},"files":"#, Text(title), Text(env!("CARGO_PKG_VERSION")));
    let mut files = Table::new();
    let places: Vec<_> =
        tables.places.items.iter().map(|at| (files.place(at.file()), at.line(), at.column())).collect();
    list(&mut out, files.items, |out, file| {
        _ = write!(out, r#"{{"name":{},"text":"#, Text(&shortened(file)));
        let named = tables.places.items.iter().filter(|at| at.file() == file);
        let text = if has_sources { text(file, named.map(|at| (at.line(), at.column()))) } else { None };
        match text {
            Some(text) => _ = write!(out, "{}}}", Text(&text)),
            None => out.push_str("null}"),
        }
    });
    out.push_str(r#","places":"#);
    list(&mut out, places, |out, (file, line, column)| _ = write!(out, "[{file},{line},{column}]"));
    out.push_str(r#","texts":"#);
    list(&mut out, tables.texts.items, |out, text| _ = write!(out, "{}", Text(&text)));
    out.push_str(r#","times":"#);
    list(&mut out, tables.times.items, |out, time| _ = write!(out, "\"{time}\""));
    _ = write!(out, r#","first":{first},"worlds":{runs}}}"#);
    out
}

fn write_world(out: &mut String, world: &World<'_>, checked: bool, tables: &mut Tables) {
    let kept = world.recording.kept();
    // Numbered in each world by itself, so that worlds are equal up to the choice where they part.
    tables.objects = Table::new();
    _ = write!(out, r#"{{"schedule":{},"fault":"#, Text(world.schedule));
    match world.fault {
        Some(fault) => _ = write!(out, "{}", Text(&shortened(fault))),
        None => out.push_str("null"),
    }
    _ = write!(out, r#","lost":{},"cut":{},"ignored":{},"base":"#, kept.lost, kept.cut, kept.has_ignored);
    write_state(out, &kept.base, tables);
    out.push_str(r#","events":"#);
    list(out, &kept.events, |out, event| write_event(out, event, tables));
    if checked {
        out.push_str(r#","hashes":"#);
        let mut state = kept.base.clone();
        list(out, &kept.events, |out, Recorded { time, kind, text }| {
            state.apply(*time, kind, text);
            _ = write!(out, "{}", state.hash());
        });
    }
    out.push('}');
}

/// `[code,time,..]`.
fn write_event(out: &mut String, event: &Recorded, tables: &mut Tables) {
    let time = tables.times.place(nanos(event.time));
    let (code, numbers): (u32, Vec<i64>) = match event.kind {
        EventKind::TurnBegin => (0, vec![]),
        EventKind::TurnEnd => (1, vec![]),
        EventKind::Spawn { task, at, by, row, generation, .. } => {
            let (name, at) = (tables.texts.place(event.text.clone()), tables.places.place(at));
            (2, vec![task.0 as i64, name as i64, at as i64, source_code(by), row.into(), generation.into()])
        }
        EventKind::Wake { task, by, outcome } => {
            let outcome = match outcome {
                WakeOutcome::Queued => 0,
                WakeOutcome::Merged => 1,
                WakeOutcome::Late => 2,
            };
            (3, vec![task.map_or(0, |task| task.0 as i64), source_code(by), outcome])
        }
        EventKind::StepBegin { task } => (4, vec![task.0 as i64]),
        EventKind::StepEnd { task, ended } => (5, vec![task.0 as i64, ended.into()]),
        EventKind::CallBegin => (6, vec![]),
        EventKind::CallEnd => (7, vec![]),
        EventKind::CallQueue { by } => (8, vec![source_code(by)]),
        EventKind::CallSkip => (9, vec![]),
        EventKind::WaitBegin { task, wait, on, at, .. } => {
            let (what, at) = (tables.description(&event.text), tables.places.place(at));
            (10, vec![task.0 as i64, wait as i64, what as i64, target_code(&on).into(), target(&on, tables), at as i64])
        }
        EventKind::WaitEnd { task, wait, at } => (11, vec![task.0 as i64, wait as i64, tables.places.place(at) as i64]),
        EventKind::TimerArm { timer, deadline, task } => {
            let deadline = tables.times.place(nanos(deadline));
            (12, vec![timer as i64, deadline as i64, task.map_or(0, |task| task.0 as i64)])
        }
        EventKind::TimerFire { timer } => (13, vec![timer as i64]),
        EventKind::TimerCancel { timer } => (14, vec![timer as i64]),
        EventKind::Expire { now } => (15, vec![tables.times.place(nanos(now)) as i64]),
        EventKind::End { task, ending } => {
            let ending = match ending {
                Ending::Value => 0,
                Ending::Cancelled => 1,
                Ending::Panicked => 2,
            };
            (16, vec![task.0 as i64, ending])
        }
        EventKind::Park { until } => (17, vec![until.map_or(-1, |until| tables.times.place(nanos(until)) as i64)]),
        EventKind::Unpark => (18, vec![]),
        EventKind::Cancel { task, by } => (22, vec![task.0 as i64, source_code(by)]),
        EventKind::Uncancel { task, by, left, revoked } => {
            (23, vec![task.0 as i64, source_code(by), left.into(), revoked.into()])
        }
        EventKind::Yield { task, at } => (24, vec![task.0 as i64, tables.places.place(at) as i64]),
        EventKind::Suspend { task } => (20, vec![task.0 as i64]),
        EventKind::Choose { what, among, index } => {
            let what = match what {
                Choice::Entry => 0,
                Choice::Timer => 1,
                Choice::Time => 2,
                Choice::Cancellation => 3,
                Choice::Own => 4,
            };
            (21, vec![what, among as i64, index as i64])
        }
        EventKind::Fail { why } => (19, vec![failure_code(why).into()]),
    };
    _ = write!(out, "[{code},{time}");
    for number in numbers {
        _ = write!(out, ",{number}");
    }
    out.push(']');
}

/// The number of a target, among the targets of its kind.
fn target(on: &WaitTarget, tables: &mut Tables) -> i64 {
    match on {
        WaitTarget::Task(task) => task.0 as i64,
        WaitTarget::Object(address) => tables.objects.place(*address) as i64,
        WaitTarget::Timer | WaitTarget::Elsewhere => 0,
    }
}

fn write_state(out: &mut String, state: &State, tables: &mut Tables) {
    let time = tables.times.place(state.time);
    let wheel = tables.times.place(state.wheel);
    _ = write!(out, r#"{{"time":{time},"turns":{},"phase":{}"#, state.turns, state.phase as u32);
    _ = write!(out, r#","running":{},"woken":{}"#, state.running.unwrap_or(0), state.is_woken);
    _ = write!(out, r#","calling":{},"fired":{},"marked":{}"#, state.is_calling, state.has_fired, state.marked);
    _ = write!(out, r#","wheel":{wheel},"failure":{},"ready":"#, state.failure.map_or(0, failure_code));
    list(out, &state.ready, |out, entry| {
        _ = write!(out, "[{},{}]", entry.task.unwrap_or(0), source_code(entry.by));
    });
    out.push_str(r#","tasks":"#);
    list(out, &state.tasks, |out, (id, task)| {
        let (name, at) = (tables.texts.place(task.name.clone()), tables.places.place(task.at));
        _ = write!(out, "[{id},{name},{at},{},{},{},{},", source_code(task.by), task.row, task.generation, task.steps);
        list(out, &task.waits, |out, (wait, begun)| {
            let (what, at) = (tables.description(&begun.what), tables.places.place(begun.at));
            let target = target(&begun.on, tables);
            _ = write!(out, "[{wait},{what},{},{target},{at}]", target_code(&begun.on));
        });
        let last = tables.places.place(task.last);
        _ = write!(out, ",{last},{},{},{}]", task.yields, task.is_cancelled, task.unwinds);
    });
    out.push_str(r#","timers":"#);
    list(out, &state.timers, |out, (id, timer)| {
        let deadline = tables.times.place(timer.deadline);
        _ = write!(out, "[{id},{deadline},{},{}]", timer.task.unwrap_or(0), timer.is_due);
    });
    out.push('}');
}

/// The name of the program. Cargo gives the program of a test a name with a hash, which is left out.
pub(crate) fn program() -> String {
    let program = std::env::current_exe().ok();
    let name = program.as_deref().and_then(Path::file_stem).unwrap_or_default().to_string_lossy();
    let is_hash = |hash: &str| hash.len() == 16 && hash.bytes().all(|digit| digit.is_ascii_hexdigit());
    match name.rsplit_once('-') {
        Some((name, hash)) if is_hash(hash) => name.into(),
        _ => name.into(),
    }
}
