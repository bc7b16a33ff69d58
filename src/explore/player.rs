//! The guide of one run: it plays a schedule, or draws one, and notes what happened.
//!
//! A run notes, for each choice behind the last deviation, the number of things to choose from,
//! because these are the orders to try later. A run that is shown also notes a row for each thing that
//! ran. A search does not: with rows, an order takes more than twice as many instructions.
//!
//! This file does not know what a program does, or which schedule comes next.

use crate::explore::reduce::{self, Path};
use crate::explore::schedule::{Deviation, Schedule, in_line};
use crate::kernel::Kernel;
use crate::kernel::cell::AnyTask;
use crate::kernel::explore::{Entry, Guide, Kind, Sources, take_place};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

/// How choices are made that are not in the schedule.
#[derive(Debug)]
pub(crate) enum Policy {
    Fifo,
    /// Each of the things to choose from is equally likely.
    Uniform(Random),
    /// Probabilistic concurrency testing: each task has a random priority, and the ready task with
    /// the highest runs. At a few random choices, the task that would run gets the lowest priority.
    Pct(RefCell<Pct>),
    /// The reduced search.
    Reduced(Rc<RefCell<Path>>),
}

#[derive(Debug)]
pub(crate) struct Pct {
    random: Random,
    /// By task id; 0 for callbacks.
    priorities: Vec<Option<u64>>,
    /// The choices at which a priority is lowered.
    changes: Vec<u32>,
    /// The lowest priority so far.
    lowest: u64,
}

impl Policy {
    pub(crate) fn uniform(seed: u64) -> Self {
        Policy::Uniform(Random::new(seed))
    }

    /// A bug of this depth needs `depth` - 1 changes. `choices` is the number of choices of a usual run.
    pub(crate) fn pct(seed: u64, depth: u32, choices: u32) -> Self {
        let random = Random::new(seed);
        let changes = (1..depth).map(|_| 1 + random.below(choices.max(1) as usize) as u32).collect();
        Policy::Pct(RefCell::new(Pct { random, priorities: Vec::new(), changes, lowest: u64::from(u32::MAX) }))
    }
}

impl Pct {
    /// Which of these tasks runs, at this choice.
    fn choose(&mut self, ids: &[u64], choice: u32) -> usize {
        loop {
            let priorities: Vec<u64> = ids.iter().map(|&id| self.priority(id)).collect();
            let best = (0..ids.len()).rev().max_by_key(|&nth| priorities[nth]).unwrap_or(0);
            let Some(place) = self.changes.iter().position(|&change| change == choice) else { return best };
            self.changes.swap_remove(place);
            self.lowest -= 1;
            self.priorities[ids[best] as usize] = Some(self.lowest);
        }
    }

    fn priority(&mut self, id: u64) -> u64 {
        let id = id as usize;
        if self.priorities.len() <= id {
            self.priorities.resize(id + 1, None);
        }
        // Above every lowered priority.
        *self.priorities[id].get_or_insert_with(|| self.random.next() | 1 << 63)
    }
}

/// SplitMix64.
#[derive(Debug)]
pub(crate) struct Random(Cell<u64>);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(Cell::new(seed))
    }

    pub(crate) fn next(&self) -> u64 {
        self.0.set(self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        mixed(self.0.get())
    }

    pub(crate) fn below(&self, limit: usize) -> usize {
        ((u128::from(self.next()) * limit as u128) >> 64) as usize
    }
}

fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// A choice behind the last deviation of a schedule: it could be made in another way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Open {
    pub(crate) at: u32,
    pub(crate) among: u16,
    /// Of everything that happened before the choice.
    pub(crate) hash: u32,
}

/// Something that ran, or that was chosen.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Row {
    pub(crate) time: Duration,
    pub(crate) what: What,
    /// The choice that led to this row, if there was one.
    pub(crate) choice: Option<Chosen>,
    /// Where the task has suspended.
    pub(crate) place: Option<&'static Location<'static>>,
    pub(crate) ended: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum What {
    Ran(Who),
    /// Virtual time passes: with late timers, further than it must.
    TimePasses,
    Cancelled(Who),
    /// `explore::choose` returned this.
    Own(usize),
}

/// A task, a callback or a timer, as the report names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Who {
    Task(u64, Rc<str>),
    Callback,
    TimerOf(Option<Rc<str>>),
}

impl Who {
    fn of(entry: &Entry) -> Self {
        match entry {
            Entry::Task(task) => Who::task(task),
            Entry::Callback => Who::Callback,
            Entry::Timer(task) => Who::TimerOf(task.as_ref().map(name)),
        }
    }

    /// As a schedule writes it.
    pub(crate) fn in_line(&self) -> String {
        match self {
            Who::Task(_, name) => in_line(name),
            Who::Callback => "callback".into(),
            Who::TimerOf(Some(name)) => format!("timer:{}", in_line(name)),
            Who::TimerOf(None) => "timer".into(),
        }
    }

    fn task(task: &AnyTask) -> Self {
        Who::Task(task.header().id, name(task))
    }
}

/// The first task of a loop is the main task.
fn name(task: &AnyTask) -> Rc<str> {
    if task.header().id == 1 { "main".into() } else { task.header().name() }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Task(_, name) => write!(f, "`{name}`"),
            Who::Callback => f.write_str("a callback"),
            Who::TimerOf(Some(name)) => write!(f, "the timer of `{name}`"),
            Who::TimerOf(None) => f.write_str("a timer"),
        }
    }
}

/// A choice that was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Chosen {
    pub(crate) kind: Kind,
    pub(crate) deviation: Deviation,
    /// What there was to choose from, if it has names and the choice is a deviation. The first would
    /// have run without a guide.
    pub(crate) from: Vec<Who>,
}

/// Why a run does not follow its schedule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Divergence {
    /// The schedule has another number of things to choose from.
    Among { recorded: Deviation, now: usize },
    /// What happened before the choice is not what happened before.
    Past { at: u32 },
    /// The run ended before this choice.
    Ended { recorded: Deviation, choices: u32 },
}

#[derive(Debug)]
pub(crate) struct Player {
    schedule: Schedule,
    /// The deviation that comes next.
    next: Cell<usize>,
    /// The hash before the last deviation, if it is known.
    expected: Option<u32>,
    policy: Policy,
    max_steps: u64,
    hash: Cell<u64>,
    pub(crate) choices: Cell<u32>,
    pub(crate) steps: Cell<u64>,
    /// Whether `open` and `drawn` are noted.
    notes: bool,
    /// The choices behind the last deviation.
    pub(crate) open: RefCell<Vec<Open>>,
    /// What a policy has chosen.
    pub(crate) drawn: RefCell<Vec<Deviation>>,
    /// A bit for each kind of choice that there was.
    pub(crate) kinds: Cell<u8>,
    pub(crate) diverged: Cell<Option<Divergence>>,
    /// Where the run has diverged: what there was to choose from, in words.
    pub(crate) instead: RefCell<Vec<String>>,
    pub(crate) is_at_limit: Cell<bool>,
    /// The reduced search has ended the run.
    has_left: Cell<bool>,
    pub(crate) sources: Cell<Sources>,
    /// Names of the tasks that were left when main had ended, if they are asked for.
    pub(crate) left: RefCell<Vec<Rc<str>>>,
    asks_for_left: bool,
    rows: Option<RefCell<Vec<Row>>>,
    /// Number of entries that ran in the shutdown.
    steps_at_end: Cell<u64>,
    /// These entries, if rows are noted.
    rows_at_end: RefCell<Vec<Row>>,
    /// The choice that belongs to the next row.
    chosen: RefCell<Option<Chosen>>,
    /// The task that a choice of `Kind::Cancel` concerns.
    last: RefCell<Option<Who>>,
}

impl Player {
    pub(crate) fn new(schedule: Schedule, policy: Policy, max_steps: u64) -> Self {
        Player {
            schedule,
            next: Cell::new(0),
            expected: None,
            policy,
            max_steps,
            hash: Cell::new(0),
            choices: Cell::new(0),
            steps: Cell::new(0),
            notes: true,
            open: RefCell::default(),
            drawn: RefCell::default(),
            kinds: Cell::new(0),
            diverged: Cell::new(None),
            instead: RefCell::default(),
            is_at_limit: Cell::new(false),
            has_left: Cell::new(false),
            sources: Cell::default(),
            left: RefCell::default(),
            asks_for_left: false,
            rows: None,
            steps_at_end: Cell::new(0),
            rows_at_end: RefCell::default(),
            chosen: RefCell::default(),
            last: RefCell::default(),
        }
    }

    /// For a loop that is not searched, and may run for ever: notes nothing.
    pub(crate) fn without_notes(mut self) -> Self {
        self.notes = false;
        self
    }

    /// Reports a divergence if the past of the last deviation has another hash.
    pub(crate) fn expect(mut self, hash: u32) -> Self {
        self.expected = Some(hash);
        self
    }

    /// Notes a row for each thing that runs.
    pub(crate) fn recording(mut self) -> Self {
        self.rows = Some(RefCell::default());
        self
    }

    pub(crate) fn asking_for_left(mut self, asks: bool) -> Self {
        self.asks_for_left = asks;
        self
    }

    pub(crate) fn rows(&self) -> Vec<Row> {
        self.rows.as_ref().map_or_else(Vec::new, |rows| rows.borrow().clone())
    }

    /// Whether the shutdown was given up. Then the entries that it ran.
    pub(crate) fn never_ends(&self) -> Option<Vec<Row>> {
        (self.steps_at_end.get() >= self.max_steps).then(|| self.rows_at_end.borrow().clone())
    }

    /// Of everything that has happened.
    pub(crate) fn hash(&self) -> u32 {
        (self.hash.get() >> 32) as u32
    }

    /// What the schedule says that there was to choose from.
    pub(crate) fn recorded_names(&self, at: u32) -> &[String] {
        self.schedule.names(at).unwrap_or_default()
    }

    /// Called after the run: the schedule may have choices that the run did not reach.
    pub(crate) fn over(&self) {
        if let (Some(&recorded), None) = (self.schedule.0.get(self.next.get()), self.diverged.get()) {
            self.diverged.set(Some(Divergence::Ended { recorded, choices: self.choices.get() }));
        }
    }

    fn mix(&self, number: u64) {
        self.hash.set(mixed(self.hash.get() ^ number).wrapping_add(1));
    }

    fn row(&self, kernel: &Kernel, what: What, choice: Option<Chosen>) {
        if let Some(rows) = &self.rows {
            rows.borrow_mut().push(Row { time: kernel.time_passed(), what, choice, place: None, ended: false });
        }
    }

    /// The number that the schedule has for this choice, or that the policy draws.
    fn index(&self, kernel: &Kernel, kind: Kind, at: u32, among: usize) -> usize {
        if let Some(&deviation) = self.schedule.0.get(self.next.get()) {
            if at < deviation.at {
                return 0;
            }
            self.next.set(self.next.get() + 1);
            let is_last = self.next.get() == self.schedule.0.len();
            let recorded = self.schedule.names(at);
            let has_other_names = recorded.is_some_and(|recorded| recorded != names(kernel, kind));
            let divergence = if usize::from(deviation.among) != among || has_other_names {
                Some(Divergence::Among { recorded: deviation, now: among })
            } else if is_last && self.expected.is_some_and(|expected| expected != self.hash()) {
                Some(Divergence::Past { at })
            } else {
                None
            };
            if divergence.is_none() {
                return deviation.index.into();
            }
            self.diverged.set(divergence);
            self.instead.replace(names(kernel, kind));
            kernel.stop_run();
            return 0;
        }
        match &self.policy {
            Policy::Fifo => 0,
            // One cancellation in eight, so that several tasks live on.
            Policy::Uniform(random) if kind == Kind::Cancel => usize::from(random.below(8) == 0),
            Policy::Uniform(random) => random.below(among),
            Policy::Pct(pct) if kind == Kind::Ready => {
                let ids: Vec<u64> = kernel.ready_entries().iter().map(id).collect();
                pct.borrow_mut().choose(&ids, at)
            }
            Policy::Pct(pct) if kind == Kind::Cancel => usize::from(pct.borrow().random.below(8) == 0),
            Policy::Pct(pct) => pct.borrow().random.below(among),
            Policy::Reduced(path) => self.reduced(kernel, kind, among, &mut path.borrow_mut()),
        }
    }

    /// What the reduced search chooses.
    fn reduced(&self, kernel: &Kernel, kind: Kind, among: usize, path: &mut Path) -> usize {
        let chosen = match kind {
            Kind::Ready => path.ready(kernel).and_then(|ready| path.choose_step(ready)),
            Kind::Timer if kernel.due_timers_only_wake() => Some(0),
            Kind::Timer => {
                path.time_passes();
                Some(path.choose(among))
            }
            Kind::Clock if kernel.ready_entries().is_empty() => {
                path.time_passes();
                Some(path.choose(among))
            }
            Kind::Clock => {
                path.give_up("late timers, while something is ready");
                Some(0)
            }
            Kind::Cancel | Kind::Own => Some(path.choose(among)),
        };
        self.leave_unless(kernel, chosen.is_some() && !path.differs());
        chosen.unwrap_or(0)
    }

    /// The reduced search ends the run.
    fn leave_unless(&self, kernel: &Kernel, goes_on: bool) -> bool {
        if !goes_on {
            self.has_left.set(true);
            kernel.stop_run();
        }
        goes_on
    }

    fn reduced_begins(&self, kernel: &Kernel, entry: &Entry, path: &mut Path) -> bool {
        if kernel.run_is_over() {
            path.give_up(reduce::LEFT);
        }
        match entry {
            Entry::Timer(_) => {
                if path.is_in_step() && !kernel.ready_entries().is_empty() {
                    path.give_up("a timer that is due while something is ready");
                }
                path.time_passes();
                true
            }
            Entry::Task(task) => {
                let id = task.header().id;
                self.leave_unless(kernel, path.begin_step(|_| reduce::Who::Task(id)))
            }
            Entry::Callback => self.leave_unless(kernel, path.begin_step(Path::only_callback)),
        }
    }

    /// Called when the loop has run, while notes are taken.
    pub(crate) fn run_is_over(&self) {
        if let Policy::Reduced(path) = &self.policy {
            path.borrow_mut().end_run();
        }
    }

    pub(crate) fn is_reduced(&self) -> bool {
        matches!(self.policy, Policy::Reduced(_))
    }

    fn note(&self, kernel: &Kernel, chosen: Chosen) {
        match chosen.kind {
            Kind::Ready | Kind::Timer => _ = self.chosen.replace(Some(chosen)),
            Kind::Clock if chosen.deviation.index > 0 => self.row(kernel, What::TimePasses, Some(chosen)),
            Kind::Cancel if chosen.deviation.index > 0 => {
                let who = self.last.borrow().clone().unwrap_or(Who::Callback);
                self.row(kernel, What::Cancelled(who), Some(chosen));
            }
            Kind::Own => self.row(kernel, What::Own(chosen.deviation.index.into()), Some(chosen)),
            Kind::Clock | Kind::Cancel => {}
        }
    }
}

/// What there is to choose from, if it has names.
fn entries(kernel: &Kernel, kind: Kind) -> Vec<Entry> {
    match kind {
        Kind::Ready => kernel.ready_entries(),
        Kind::Timer => kernel.due_entries(),
        Kind::Clock | Kind::Cancel | Kind::Own => Vec::new(),
    }
}

/// The same, as a schedule writes it.
fn names(kernel: &Kernel, kind: Kind) -> Vec<String> {
    entries(kernel, kind).iter().map(|entry| Who::of(entry).in_line()).collect()
}

fn id(entry: &Entry) -> u64 {
    if let Entry::Task(task) = entry { task.header().id } else { 0 }
}

impl Guide for Player {
    fn choose(&self, kernel: &Kernel, kind: Kind, among: usize) -> usize {
        if self.diverged.get().is_some() || self.is_at_limit.get() || self.has_left.get() {
            return 0;
        }
        // More things than this are not told apart. A search never comes so far.
        let among = among.min(usize::from(u16::MAX));
        let at = self.choices.get() + 1;
        self.choices.set(at);
        self.kinds.set(self.kinds.get() | 1 << kind as u8);
        let before = self.hash();
        let index = self.index(kernel, kind, at, among);
        let deviation = Deviation { at, index: index as u16, among: among as u16 };
        if !self.notes {
            // Nobody asks for it.
        } else if self.next.get() == self.schedule.0.len() && matches!(self.policy, Policy::Fifo) {
            let is_open = self.schedule.0.last().is_none_or(|last| last.at < at);
            if is_open {
                self.open.borrow_mut().push(Open { at, among: among as u16, hash: before });
            }
        } else if index > 0 && !matches!(self.policy, Policy::Fifo) {
            self.drawn.borrow_mut().push(deviation);
        }
        self.mix((among as u64) << 32 | index as u64);
        if self.rows.is_some() {
            let from = if index > 0 { entries(kernel, kind) } else { Vec::new() };
            self.note(kernel, Chosen { kind, deviation, from: from.iter().map(Who::of).collect() });
        }
        index
    }

    fn begins(&self, kernel: &Kernel, entry: &Entry) -> bool {
        if self.has_left.get() {
            return false;
        }
        take_place();
        self.steps.set(self.steps.get() + 1);
        if self.steps.get() > self.max_steps && self.diverged.get().is_none() {
            self.is_at_limit.set(true);
            return false;
        }
        if let Policy::Reduced(path) = &self.policy {
            if !self.reduced_begins(kernel, entry, &mut path.borrow_mut()) {
                return false;
            }
        }
        self.mix(id(entry));
        if self.rows.is_some() {
            let who = Who::of(entry);
            self.last.replace(Some(who.clone()));
            let chosen = self.chosen.take();
            self.row(kernel, What::Ran(who), chosen);
        }
        true
    }

    fn ended(&self, kernel: &Kernel, task: Option<&AnyTask>) {
        let Some(task) = task.filter(|_| !self.is_at_limit.get()) else { return };
        let ended = task.header().is_done();
        self.mix(u64::from(ended));
        if let Some(rows) = &self.rows {
            let place = kernel.place_of(task).filter(|_| !ended);
            let who = Who::task(task);
            let mut rows = rows.borrow_mut();
            if let Some(row) = rows.iter_mut().rev().find(|row| matches!(&row.what, What::Ran(ran) if *ran == who)) {
                (row.place, row.ended) = (place, ended);
            }
        }
    }

    fn main_ended(&self, kernel: &Kernel) {
        self.sources.set(kernel.sources());
        if let Policy::Reduced(path) = &self.policy {
            path.borrow_mut().main_ended(kernel.leaves_something());
        }
        if self.asks_for_left {
            let left = kernel.tasks();
            self.left.replace(left.iter().filter(|task| task.header().id != 1).map(name).collect());
        }
    }

    fn ends(&self, kernel: &Kernel, entry: &Entry) -> bool {
        self.steps_at_end.set(self.steps_at_end.get() + 1);
        if self.rows.is_some() && self.steps_at_end.get() <= self.max_steps {
            let what = What::Ran(Who::of(entry));
            let row = Row { time: kernel.time_passed(), what, choice: None, place: None, ended: false };
            self.rows_at_end.borrow_mut().push(row);
        }
        self.steps_at_end.get() < self.max_steps
    }
}
