//! Runs random programs on onelane and compares what they do with what they did on CPython's asyncio.
//!
//! Each program of `conformance/*.jsonl` is a list of bodies, each body a list of statements; beside it stands the
//! trace that CPython left: who logged what, in which order, at which millisecond. An interpreter runs the statements
//! through the public API alone, on a virtual clock, and must leave the same trace. `ONELANE_PROGRAMS` names further
//! files, separated by `:`.
//!
//! In order: the test, the files, the statements, the interpreter, the traces.

#[cfg(feature = "probe")]
#[path = "common/strict.rs"]
mod strict;
#[cfg(feature = "probe")]
#[path = "common/trace.rs"]
#[expect(dead_code, reason = "others count more")]
mod trace;

use onelane::sync::{Condition, Event, Lock, Queue, Semaphore};
use onelane::{
    Budget, Elapsed, EventLoop, Handle, Promise, ReturnWhen, RunError, Task, TaskError, TryGatherError, all_tasks,
    as_completed, call_later, call_soon, current_task, gather, shield, sleep, spawn, timeout, try_gather, try_wait,
    wait_for,
};
use serde_json::Value;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};
#[cfg(feature = "probe")]
use strict::Strict;

#[test]
fn run_and_compare_with_cpython() {
    compare(1, &EventLoop::with_virtual_clock);
}

/// A host that gives a step at a time, or a few, or hardly any time, changes when things are done, and nothing else: a budget that
/// ends in the middle of a turn leaves the rest of it to the next.
#[test]
fn turn_within_budgets_and_compare_with_cpython() {
    let budgets = [Budget::steps(1), Budget::steps(3), Budget::time(Duration::ZERO), Budget::UNLIMITED];
    let mut turns = 0;
    for path in files() {
        for (nth, program) in programs(&path).enumerate() {
            let (lines, taken) = lines_within(&program.bodies, budgets[nth % budgets.len()]);
            turns += taken;
            assert!(lines == program.trace.lines, "{} of {} differs", program.id, path.display());
        }
    }
    assert!(turns > 10_000, "only {turns} turns: the budgets did not end early");
}

/// What a program logs until body 0 has ended, or until it is stuck, and how many calls of the host that took.
fn lines_within(bodies: &Bodies, budget: Budget) -> (Vec<Line>, usize) {
    let event_loop = EventLoop::with_virtual_clock();
    let machine = Machine::new(bodies, &event_loop);
    let main = event_loop.spawn(machine.clone().main());
    let mut turns = 0;
    while !main.is_done() && event_loop.next_deadline().is_some() {
        event_loop.turn_within(budget);
        turns += 1;
    }
    machine.stage.set(Stage::Silent);
    (machine.lines.take(), turns)
}

/// Whoever looks changes nothing: a picture of all tasks at each event leaves the same traces. The events are what
/// their docs say, the metrics agree with them, and their laws hold in the middle of everything.
#[cfg(feature = "probe")]
#[test]
fn look_at_the_call_graph_all_the_time() {
    use onelane::probe::{Counters, Event, EventKind, Probe, Tee};

    /// How often somebody looked and saw something, and what was wrong.
    type Notes = (Cell<usize>, RefCell<Vec<String>>);

    struct Looks(Strict, Rc<Notes>, Rc<Counters>);

    impl Probe for Looks {
        fn event(&self, event: &Event<'_>) {
            // In the middle of what a task does, too.
            if EventLoop::try_current().is_err() {
                return;
            }
            let graph = onelane::call_graph();
            self.1.0.set(self.1.0.get() + format!("{graph:?}").len().min(1));
            let now = onelane::metrics();
            assert_eq!(now.spawned, now.alive + now.finished + now.cancelled + now.panicked);
            assert_eq!(now.wakes, now.wakes_queued + now.wakes_merged + now.wakes_late);
            assert_eq!(now.timers_armed, now.timers_fired + now.timers_cancelled + now.timers_pending);
            // What was told so far is what was counted so far.
            let told = self.2.counts();
            let wakes = [told.wakes_queued, told.wakes_merged, told.wakes_late];
            let timers = [told.timers_armed, told.timers_fired, told.timers_cancelled];
            let ends = [told.spawns, told.finished, told.cancelled, told.panicked];
            assert_eq!(wakes, [now.wakes_queued, now.wakes_merged, now.wakes_late], "{event}");
            assert_eq!(timers, [now.timers_armed, now.timers_fired, now.timers_cancelled], "{event}");
            assert_eq!(ends, [now.spawned, now.finished, now.cancelled, now.panicked], "{event}");
            if event.kind == EventKind::TurnEnd {
                let steps = [told.turns_begun, told.steps_begun, told.calls_begun];
                assert_eq!(steps, [now.turns, now.steps, now.callbacks], "{event}");
            }
            assert!(graph.circles().iter().all(|circle| !circle.is_empty()));
        }
    }

    impl Drop for Looks {
        fn drop(&mut self) {
            self.1.1.borrow_mut().extend(self.0.complaints_at_the_end());
        }
    }

    let notes = Rc::new(Notes::default());
    let copy = notes.clone();
    compare(OBSERVED, &move || {
        let (strict, notes, counters) = (Strict::default(), copy.clone(), Rc::new(Counters::new()));
        let told = notes.clone();
        EventLoop::builder()
            .clock(onelane::Clock::Virtual)
            .probe(Tee(counters.clone(), Tee(strict.clone(), Looks(strict, notes, counters))))
            .exception_handler(move |exception| {
                told.1.borrow_mut().extend(exception.message.contains("a probe").then(|| exception.to_string()))
            })
            .metrics(true)
            .build()
    });
    let complaints = notes.1.take();
    assert!(complaints.is_empty(), "{} complaints: {:#?}", complaints.len(), &complaints[..complaints.len().min(20)]);
    assert!(notes.0.get() > 200_000 / OBSERVED, "{} looks saw anything", notes.0.get());
}

/// The trace of each program can be read: its slices nest, its arrows lie in slices.
#[cfg(feature = "probe")]
#[test]
fn record_each_program() {
    struct Paper(Vec<u8>, Rc<Cell<usize>>);

    impl std::io::Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Drop for Paper {
        fn drop(&mut self) {
            let counts = trace::check_trace(std::str::from_utf8(&self.0).unwrap());
            self.1.set(self.1.get() + counts.slices("run"));
        }
    }

    let steps = Rc::new(Cell::new(0));
    let copy = steps.clone();
    compare(OBSERVED, &move || {
        let recorder = onelane::probe::Recorder::new(Paper(Vec::new(), copy.clone()));
        EventLoop::builder().clock(onelane::Clock::Virtual).probe(recorder).build()
    });
    assert!(steps.get() > 20_000 / OBSERVED, "{} steps", steps.get());
}

/// One of so many programs runs where somebody looks on: that takes its time, and a build that is not optimized makes it seconds.
#[cfg(feature = "probe")]
const OBSERVED: usize = if cfg!(debug_assertions) { 8 } else { 1 };

/// Runs one of so many programs, each on a loop of its own.
fn compare(one_of: usize, event_loop: &dyn Fn() -> EventLoop) {
    let mut levels: BTreeMap<String, Tally> = BTreeMap::new();
    let mut first_difference = None;
    for path in files() {
        for program in programs(&path).step_by(one_of) {
            let tally = levels.entry(program.level.clone()).or_default();
            if let Some(ours) = tally.compare(&program, event_loop) {
                first_difference.get_or_insert_with(|| show_difference(&path, &program, &ours));
            }
        }
    }
    for (level, tally) in &levels {
        println!("conformance {level}: {tally}");
    }
    if let Some(difference) = first_difference {
        println!("\n{difference}");
    }
    let differ: usize = levels.values().map(|tally| tally.differ).sum();
    assert!(differ == 0, "{differ} program(s) left another trace than CPython's; the first is shown above");
}

/// What became of the programs of one level.
#[derive(Default)]
struct Tally {
    run: usize,
    differ: usize,
}

impl Tally {
    /// Runs the program. Answers the trace that it left, if it should have left another.
    fn compare(&mut self, program: &Program, event_loop: &dyn Fn() -> EventLoop) -> Option<Trace> {
        self.run += 1;
        let ours = run(&program.bodies, event_loop);
        let differs = ours != program.trace;
        self.differ += usize::from(differs);
        differs.then_some(ours)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} programs, {} differ", self.run, self.differ)
    }
}

// ---- the files ----

struct Program {
    id: String,
    level: String,
    bodies: Bodies,
    /// The bodies as they stand in the file, to be shown.
    source: Value,
    /// What CPython left.
    trace: Trace,
}

type Bodies = Rc<[Vec<Statement>]>;

/// Our own files, and those that the environment names.
fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance");
    let mut files = Vec::from(["A", "B", "C"].map(|level| folder.join(format!("programs-{level}.jsonl"))));
    if let Some(more) = std::env::var_os("ONELANE_PROGRAMS") {
        files.extend(std::env::split_paths(&more).filter(|path| !path.as_os_str().is_empty()));
    }
    files
}

/// The programs of a file, one by one: a file of fresh programs may be large.
fn programs(path: &Path) -> impl Iterator<Item = Program> {
    let name = path.display().to_string();
    let file = File::open(path).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut lines = BufReader::new(file).lines().zip(1..).peekable();
    assert!(lines.peek().is_some(), "{name}: there is no program in this file");
    lines.map(move |(line, number)| {
        let program = line.map_err(|error| error.to_string()).and_then(|line| read_program(&line));
        program.unwrap_or_else(|error| panic!("{name}:{number}: {error}"))
    })
}

fn read_program(line: &str) -> Result<Program, String> {
    let mut json: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let source = json["bodies"].take();
    let bodies = source.as_array().filter(|bodies| !bodies.is_empty()).ok_or("\"bodies\" is missing")?;
    let reader = Reader { bodies: bodies.len() };
    let bodies = bodies.iter().map(|body| reader.block(body)).collect::<Result<_, _>>()?;
    Ok(Program {
        id: json["id"].as_str().ok_or("\"id\" is missing")?.to_owned(),
        level: json["level"].as_str().ok_or("\"level\" is missing")?.to_owned(),
        bodies,
        source,
        trace: read_trace(&json).ok_or("\"trace\", \"shutdown\" or \"end\" is missing or malformed")?,
    })
}

fn read_trace(json: &Value) -> Option<Trace> {
    let line = |line: &Value| {
        let [at, who, text] = line.as_array()?.as_slice() else { return None };
        Some(Line {
            at: Duration::from_millis(at.as_u64()?),
            who: who.as_str()?.into(),
            text: text.as_str()?.to_owned(),
        })
    };
    Some(Trace {
        lines: json["trace"].as_array()?.iter().map(line).collect::<Option<_>>()?,
        shutdown: texts(&json["shutdown"])?,
        end: json["end"].as_str()?.to_owned(),
    })
}

fn texts(json: &Value) -> Option<Vec<String>> {
    json.as_array()?.iter().map(|text| text.as_str().map(str::to_owned)).collect()
}

// ---- the statements ----

/// Times are in milliseconds.
enum Statement {
    Log(String),
    Guard(String),
    Sleep(u64),
    Return(i64),
    Raise(String),
    Spawn(String, usize),
    Await(String),
    Gather { items: Vec<Item>, return_exceptions: bool },
    Wait { variables: Vec<String>, timeout: Option<u64>, return_when: ReturnWhen },
    Cancel(String),
    Callback(String, String),
    Inspect,
    CallSoon(String),
    CallLater(String, u64),
    CancelHandle(String),
    WaitFor(String, u64),
    Timeout(u64, Vec<Statement>),
    Shield(String),
    AsCompleted(Vec<String>),
    Promise(usize),
    Fulfil(usize, i64),
    AwaitPromise(usize),
    EventWait(usize),
    EventSet(usize),
    EventClear(usize),
    Lock(usize, Vec<Statement>),
    Semaphore(usize, Vec<Statement>),
    ConditionWait(usize),
    ConditionNotify(usize, usize),
    Put(usize, i64),
    Get(usize),
}

/// An argument of `gather`.
enum Item {
    Variable(String),
    Body(usize),
}

struct Reader {
    /// So many bodies the program has.
    bodies: usize,
}

impl Reader {
    fn block(&self, source: &Value) -> Result<Vec<Statement>, String> {
        let mut block = Vec::new();
        for statement in source.as_array().ok_or_else(|| format!("{source} is no list of statements"))? {
            block.push(self.statement(statement).ok_or_else(|| format!("{statement} is no statement"))?);
        }
        Ok(block)
    }

    fn statement(&self, source: &Value) -> Option<Statement> {
        let (op, args) = source.as_array()?.split_first()?;
        let text = |n: usize| args.get(n)?.as_str().map(str::to_owned);
        let ms = |n: usize| args.get(n)?.as_u64();
        let number = |n: usize| usize::try_from(args.get(n)?.as_u64()?).ok();
        let among = |n: usize, count: usize| number(n).filter(|&which| which < count);
        Some(match op.as_str()? {
            "log" => Statement::Log(text(0)?),
            "guard" => Statement::Guard(text(0)?),
            "sleep" => Statement::Sleep(ms(0)?),
            "return" => Statement::Return(args.first()?.as_i64()?),
            "raise" => Statement::Raise(text(0)?),
            "spawn" => Statement::Spawn(text(0)?, self.body(args.get(1)?)?),
            "await" => Statement::Await(text(0)?),
            "gather" => self.gather(args)?,
            "wait" => wait_statement(args)?,
            "cancel" => Statement::Cancel(text(0)?),
            "callback" => Statement::Callback(text(0)?, text(1)?),
            "inspect" => Statement::Inspect,
            "call_soon" => Statement::CallSoon(text(0)?),
            "call_later" => Statement::CallLater(text(0)?, ms(1)?),
            "cancel_handle" => Statement::CancelHandle(text(0)?),
            "wait_for" => Statement::WaitFor(text(0)?, ms(1)?),
            "timeout" => Statement::Timeout(ms(0)?, self.block(args.get(1)?).ok()?),
            "shield" => Statement::Shield(text(0)?),
            "as_completed" => Statement::AsCompleted(texts(args.first()?)?),
            "promise" => Statement::Promise(among(0, PROMISES)?),
            "fulfil" => Statement::Fulfil(among(0, PROMISES)?, args.get(1)?.as_i64()?),
            "await_promise" => Statement::AwaitPromise(among(0, PROMISES)?),
            "event_wait" => Statement::EventWait(among(0, 2)?),
            "event_set" => Statement::EventSet(among(0, 2)?),
            "event_clear" => Statement::EventClear(among(0, 2)?),
            "lock" => Statement::Lock(among(0, 2)?, self.block(args.get(1)?).ok()?),
            "semaphore" => Statement::Semaphore(among(0, 1)?, self.block(args.get(1)?).ok()?),
            "condition_wait" => Statement::ConditionWait(among(0, 1)?),
            "condition_notify" => Statement::ConditionNotify(among(0, 1)?, number(1)?),
            "put" => Statement::Put(among(0, 2)?, args.get(1)?.as_i64()?),
            "get" => Statement::Get(among(0, 2)?),
            _ => return None,
        })
    }

    fn gather(&self, args: &[Value]) -> Option<Statement> {
        let item = |item: &Value| match item.get("v") {
            Some(variable) => Some(Item::Variable(variable.as_str()?.to_owned())),
            None => Some(Item::Body(self.body(item.get("b")?)?)),
        };
        let [items, return_exceptions] = args else { return None };
        Some(Statement::Gather {
            items: items.as_array()?.iter().map(item).collect::<Option<_>>()?,
            return_exceptions: return_exceptions.as_bool()?,
        })
    }

    fn body(&self, source: &Value) -> Option<usize> {
        let body = usize::try_from(source.as_u64()?).ok()?;
        (body < self.bodies).then_some(body)
    }
}

fn wait_statement(args: &[Value]) -> Option<Statement> {
    let [variables, timeout, return_when] = args else { return None };
    Some(Statement::Wait {
        variables: texts(variables)?,
        timeout: if timeout.is_null() { None } else { Some(timeout.as_u64()?) },
        return_when: match return_when.as_str()? {
            "ALL_COMPLETED" => ReturnWhen::AllCompleted,
            "FIRST_COMPLETED" => ReturnWhen::FirstCompleted,
            "FIRST_EXCEPTION" => ReturnWhen::FirstException,
            _ => return None,
        },
    })
}

// ---- the interpreter ----

/// What a body gives: asyncio's "returns an int or None, or raises".
type Output = Result<Option<i64>, String>;

type LocalFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// A program that runs.
struct Machine {
    bodies: Bodies,
    /// The loop's time when it began.
    start: Instant,
    stage: Cell<Stage>,
    lines: RefCell<Vec<Line>>,
    shutdown: RefCell<Vec<String>>,
    /// So many instances were made.
    instances: Cell<u32>,
    /// The variables, which all instances share; a spawn rebinds one.
    tasks: RefCell<BTreeMap<String, Rc<Task<Output>>>>,
    handles: RefCell<BTreeMap<String, Handle>>,
    promises: RefCell<[Option<Promise<i64>>; PROMISES]>,
    shared: Shared,
}

/// What all instances share to wait for each other.
struct Shared {
    events: [Event; 2],
    locks: [Lock; 2],
    semaphores: [Semaphore; 1],
    conditions: [Condition; 1],
    queues: [Queue<i64>; 2],
}

impl Shared {
    fn new() -> Self {
        Shared {
            events: Default::default(),
            locks: Default::default(),
            semaphores: [Semaphore::new(2)],
            conditions: Default::default(),
            queues: [Queue::bounded(2), Queue::unbounded()],
        }
    }
}

/// A program has so many places for promises.
const PROMISES: usize = 2;

#[derive(Clone, Copy)]
enum Stage {
    Running,
    /// Body 0 has ended: what is logged now comes in no order.
    Over,
    /// What is logged now is not asked for.
    Silent,
}

/// Runs a program to its end.
fn run(bodies: &Bodies, event_loop: &dyn Fn() -> EventLoop) -> Trace {
    let event_loop = event_loop();
    let machine = Machine::new(bodies, &event_loop);
    let result = catch_unwind(AssertUnwindSafe(|| event_loop.try_run(machine.clone().main())));
    drop(event_loop);
    let mut trace = machine.take_trace();
    trace.end = match result {
        Ok(Ok(())) => "done".into(),
        Ok(Err(RunError::Deadlock(_))) => {
            let logged = std::mem::replace(&mut trace.lines, lines_until_stuck(bodies));
            let agree = logged.starts_with(&trace.lines);
            if agree { "deadlock" } else { "deadlock, but turned by hand it goes on" }.into()
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "panic".into(),
    };
    trace
}

/// `try_run` says that a program cannot go on after it has cancelled what was left, and by then the guards have logged.
/// So the program runs once more, turned by hand, which ends before that.
fn lines_until_stuck(bodies: &Bodies) -> Vec<Line> {
    let event_loop = EventLoop::with_virtual_clock();
    let machine = Machine::new(bodies, &event_loop);
    drop(event_loop.spawn(machine.clone().main()));
    while event_loop.next_deadline().is_some() {
        event_loop.turn();
    }
    machine.stage.set(Stage::Silent);
    machine.lines.take()
}

impl Machine {
    fn new(bodies: &Bodies, event_loop: &EventLoop) -> Rc<Self> {
        Rc::new(Machine {
            bodies: bodies.clone(),
            start: event_loop.time(),
            stage: Cell::new(Stage::Running),
            lines: RefCell::default(),
            shutdown: RefCell::default(),
            instances: Cell::new(0),
            tasks: RefCell::default(),
            handles: RefCell::default(),
            promises: RefCell::default(),
            shared: Shared::new(),
        })
    }

    /// The main task: body 0 runs in it.
    async fn main(self: Rc<Self>) {
        let output = self.instantiate(0).await;
        self.log("main", describe_output(&output));
        self.stage.set(Stage::Over);
    }

    /// An instance of a body, which counts from now on, and not only when it first runs.
    fn instantiate(self: &Rc<Self>, body: usize) -> LocalFuture<'static, Output> {
        self.instances.set(self.instances.get() + 1);
        let instance = Instance { machine: self.clone(), name: format!("i{}", self.instances.get()).into() };
        let bodies = self.bodies.clone();
        Box::pin(async move {
            let mut guards = Guards::default();
            instance.run_block(&bodies[body], &mut guards).await.unwrap_or(Ok(None))
        })
    }

    fn log(&self, who: &str, text: impl Into<String>) {
        let text = text.into();
        match self.stage.get() {
            Stage::Running => {
                let line = Line { at: onelane::time() - self.start, who: who.into(), text };
                self.lines.borrow_mut().push(line);
            }
            Stage::Over => self.shutdown.borrow_mut().push(format!("{who} {text}")),
            Stage::Silent => {}
        }
    }

    fn take_trace(&self) -> Trace {
        let mut shutdown = self.shutdown.take();
        shutdown.sort();
        Trace { lines: self.lines.take(), shutdown, end: String::new() }
    }
}

/// One run of a body.
#[derive(Clone)]
struct Instance {
    machine: Rc<Machine>,
    name: Rc<str>,
}

/// Logs its label when it is dropped.
struct Guard {
    instance: Instance,
    label: String,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.instance.log(format!("guard {}", self.label));
    }
}

/// The guards of a block.
#[derive(Default)]
struct Guards(Vec<Guard>);

impl Drop for Guards {
    fn drop(&mut self) {
        // Last guard first; a list is dropped from its front.
        while self.0.pop().is_some() {}
    }
}

impl Instance {
    fn log(&self, text: impl Into<String>) {
        self.machine.log(&self.name, text);
    }

    /// The output, if a statement ends the body.
    async fn run_block(&self, block: &[Statement], guards: &mut Guards) -> Option<Output> {
        for statement in block {
            match statement {
                Statement::Return(value) => return Some(Ok(Some(*value))),
                Statement::Raise(text) => return Some(Err(text.clone())),
                Statement::Guard(label) => guards.0.push(Guard { instance: self.clone(), label: label.clone() }),
                _ => self.run_statement(statement).await,
            }
        }
        None
    }

    async fn run_statement(&self, statement: &Statement) {
        match statement {
            Statement::Log(text) => self.log(text),
            Statement::Sleep(ms) => self.sleep(*ms).await,
            Statement::Spawn(variable, body) => self.spawn(variable, *body),
            Statement::Await(variable) => self.await_task(variable).await,
            Statement::Gather { items, return_exceptions } => self.gather(items, *return_exceptions).await,
            Statement::Wait { variables, timeout, return_when } => self.wait(variables, *timeout, *return_when).await,
            Statement::Cancel(variable) => self.cancel(variable),
            Statement::Callback(variable, label) => self.add_callback(variable, label),
            Statement::Inspect => self.inspect(),
            Statement::CallSoon(label) => drop(call_soon(self.log_of_loop(format!("soon {label}")))),
            Statement::CallLater(handle, ms) => self.call_later(handle, *ms),
            Statement::CancelHandle(handle) => self.cancel_handle(handle),
            Statement::WaitFor(variable, ms) => self.wait_for(variable, *ms).await,
            Statement::Timeout(ms, block) => self.timeout(*ms, block).await,
            Statement::Shield(variable) => self.shield(variable).await,
            Statement::AsCompleted(variables) => self.as_completed(variables).await,
            Statement::Promise(promise) => self.machine.promises.borrow_mut()[*promise] = Some(Promise::new()),
            Statement::Fulfil(promise, value) => self.fulfil(*promise, *value),
            Statement::AwaitPromise(promise) => self.await_promise(*promise).await,
            Statement::EventWait(event) => self.event_wait(*event).await,
            Statement::EventSet(event) => self.machine.shared.events[*event].set(),
            Statement::EventClear(event) => self.machine.shared.events[*event].clear(),
            Statement::Lock(lock, block) => self.lock(*lock, block).await,
            Statement::Semaphore(semaphore, block) => self.semaphore(*semaphore, block).await,
            Statement::ConditionWait(condition) => self.condition_wait(*condition).await,
            Statement::ConditionNotify(condition, count) => self.condition_notify(*condition, *count).await,
            Statement::Put(queue, value) => self.put(*queue, *value).await,
            Statement::Get(queue) => self.get(*queue).await,
            Statement::Return(_) | Statement::Raise(_) | Statement::Guard(_) => {
                unreachable!("they are the block's affair")
            }
        }
    }

    fn task(&self, variable: &str) -> Option<Rc<Task<Output>>> {
        self.machine.tasks.borrow().get(variable).cloned()
    }

    /// The variable's task, unless that is the one that asks.
    fn other_task(&self, variable: &str) -> Option<Rc<Task<Output>>> {
        self.task(variable).filter(|task| current_task() != Some(task.task_ref()))
    }

    // ---- level A ----

    async fn sleep(&self, ms: u64) {
        sleep(Duration::from_millis(ms)).await;
        self.log(format!("slept {ms}"));
    }

    fn spawn(&self, variable: &str, body: usize) {
        let task = Rc::new(spawn(self.machine.instantiate(body)));
        self.machine.tasks.borrow_mut().insert(variable.to_owned(), task);
        self.log(format!("spawned {variable}"));
    }

    async fn await_task(&self, variable: &str) {
        let Some(task) = self.other_task(variable) else { return self.log(format!("await {variable}: skipped")) };
        let outcome = (&*task).await;
        self.log(format!("await {variable}: {}", describe_outcome(&outcome)));
    }

    async fn gather(&self, items: &[Item], return_exceptions: bool) {
        let text = match self.gathered(items) {
            Gathered::Bodies(bodies) if return_exceptions => describe_all(&gather(bodies).return_exceptions().await),
            Gathered::Bodies(bodies) => describe_values(&try_gather(bodies).await),
            Gathered::Tasks(tasks) => {
                let tasks = tasks.iter().map(|task| &**task);
                if return_exceptions {
                    describe_all(&gather(tasks).return_exceptions().await)
                } else {
                    describe_values(&try_gather(tasks).await)
                }
            }
        };
        self.log(format!("gather: {text}"));
    }

    /// The arguments of `gather`: bare bodies are left to it, as long as no task is among them. A list of both has to
    /// be of tasks; `gather` would make the same tasks in the same order.
    fn gathered(&self, items: &[Item]) -> Gathered {
        let mut bodies = Vec::new();
        let mut tasks = Vec::new();
        let all_bare = items.iter().all(|item| matches!(item, Item::Body(_)));
        for item in items {
            match item {
                Item::Body(body) if all_bare => bodies.push(self.machine.instantiate(*body)),
                Item::Body(body) => tasks.push(Rc::new(spawn(self.machine.instantiate(*body)))),
                Item::Variable(variable) => tasks.extend(self.other_task(variable)),
            }
        }
        if all_bare { Gathered::Bodies(bodies) } else { Gathered::Tasks(tasks) }
    }

    async fn wait(&self, variables: &[String], timeout: Option<u64>, return_when: ReturnWhen) {
        let tasks: Vec<_> = variables.iter().filter_map(|name| Some((name, self.other_task(name)?))).collect();
        if tasks.is_empty() {
            return self.log("wait: nothing");
        }
        let mut wait = try_wait(tasks.iter().map(|(_, task)| &**task)).return_when(return_when);
        if let Some(ms) = timeout {
            wait = wait.timeout(Duration::from_millis(ms));
        }
        let (done, pending) = wait.await;
        // Both lists come in the order of the arguments, which the files have in the order of their names.
        let name =
            |task: &&Task<Output>| tasks.iter().find(|(_, other)| std::ptr::eq(*task, &**other)).unwrap().0.as_str();
        let names = |group: &[&Task<Output>]| group.iter().map(name).collect::<Vec<_>>().join(", ");
        self.log(format!("wait: done [{}] pending [{}]", names(&done), names(&pending)));
    }

    fn cancel(&self, variable: &str) {
        let accepted = self.other_task(variable).map(|task| task.cancel());
        let text = accepted.map_or("skipped".to_owned(), |accepted| accepted.to_string());
        self.log(format!("cancel {variable}: {text}"));
    }

    fn add_callback(&self, variable: &str, label: &str) {
        let Some(task) = self.task(variable) else { return };
        let (machine, label) = (self.machine.clone(), label.to_owned());
        task.add_done_callback(move |task| machine.log("loop", format!("callback {label}: {}", describe(task))));
    }

    fn inspect(&self) {
        let tasks = all_tasks();
        let me = current_task().is_some_and(|me| tasks.contains(&me));
        self.log(format!("tasks {} me {me}", tasks.len()));
    }

    // ---- level B ----

    /// A callback that logs.
    fn log_of_loop(&self, text: String) -> impl FnOnce() + 'static {
        let machine = self.machine.clone();
        move || machine.log("loop", text)
    }

    fn call_later(&self, name: &str, ms: u64) {
        let handle = call_later(Duration::from_millis(ms), self.log_of_loop(format!("later {name}")));
        self.machine.handles.borrow_mut().insert(name.to_owned(), handle);
    }

    fn cancel_handle(&self, name: &str) {
        if let Some(handle) = self.machine.handles.borrow().get(name) {
            handle.cancel();
        }
    }

    async fn wait_for(&self, variable: &str, ms: u64) {
        let Some(task) = self.other_task(variable) else { return self.log(format!("wait_for {variable}: skipped")) };
        let text = match wait_for(&*task, Duration::from_millis(ms)).await {
            Ok(outcome) => describe_outcome(&outcome),
            Err(Elapsed) => format!("timeout, {}", describe(&task)),
        };
        self.log(format!("wait_for {variable}: {text}"));
    }

    async fn timeout(&self, ms: u64, block: &[Statement]) {
        // Kept until all is logged: the block's guards have to be dropped by the timeout, not with it.
        let mut timeout = timeout(Duration::from_millis(ms), self.inner_block(block));
        let text = match (&mut timeout).await {
            Ok(()) => "in time",
            Err(Elapsed) => "expired",
        };
        self.log(format!("timeout {ms}: {text}"));
    }

    async fn shield(&self, variable: &str) {
        let Some(task) = self.other_task(variable) else { return self.log(format!("shield {variable}: skipped")) };
        let outcome = shield(&*task).await;
        self.log(format!("shield {variable}: {}", describe_outcome(&outcome)));
    }

    async fn as_completed(&self, variables: &[String]) {
        let mut tasks: Vec<_> = variables.iter().filter_map(|name| self.other_task(name)).collect();
        // asyncio makes a set of its arguments, so those that are done already come in no order: one at most.
        let mut finished = 0;
        tasks.retain(|task| {
            finished += usize::from(task.is_done());
            !task.is_done() || finished == 1
        });
        if tasks.is_empty() {
            return self.log("as_completed: nothing");
        }
        let results = as_completed(tasks.iter().map(|task| &**task));
        while let Some(outcome) = results.next().await {
            self.log(format!("as_completed: {}", describe_outcome(&outcome)));
        }
    }

    fn promise(&self, which: usize) -> Option<Promise<i64>> {
        self.machine.promises.borrow()[which].clone()
    }

    fn fulfil(&self, which: usize, value: i64) {
        let set = self.promise(which).is_some_and(|promise| promise.set_result(value).is_ok());
        if !set {
            self.log(format!("fulfil {which}: skipped"));
        }
    }

    async fn await_promise(&self, which: usize) {
        let Some(promise) = self.promise(which) else { return self.log(format!("promise {which}: skipped")) };
        let text = match shield(&promise).await {
            Ok(value) => format!("ok {value}"),
            Err(error) => describe_error(&error),
        };
        self.log(format!("promise {which}: {text}"));
    }

    // ---- level C ----

    async fn event_wait(&self, event: usize) {
        self.machine.shared.events[event].wait().await;
        self.log(format!("event {event}"));
    }

    async fn lock(&self, lock: usize, block: &[Statement]) {
        let guard = self.machine.shared.locks[lock].lock().await;
        self.log(format!("lock {lock}"));
        self.inner_block(block).await;
        drop(guard);
        self.log(format!("unlock {lock}"));
    }

    async fn semaphore(&self, semaphore: usize, block: &[Statement]) {
        let permit = self.machine.shared.semaphores[semaphore].acquire().await;
        self.log(format!("acquired {semaphore}"));
        self.inner_block(block).await;
        drop(permit);
        self.log(format!("released {semaphore}"));
    }

    async fn condition_wait(&self, which: usize) {
        let condition = &self.machine.shared.conditions[which];
        let guard = condition.lock().await;
        let _guard = condition.wait(guard).await;
        self.log(format!("notified {which}"));
    }

    async fn condition_notify(&self, which: usize, count: usize) {
        let condition = &self.machine.shared.conditions[which];
        condition.notify(&condition.lock().await, count);
    }

    async fn put(&self, queue: usize, value: i64) {
        self.machine.shared.queues[queue].put(value).await.unwrap();
        self.log(format!("put {queue} {value}"));
    }

    async fn get(&self, queue: usize) {
        let value = self.machine.shared.queues[queue].get().await.unwrap();
        self.log(format!("got {queue} {value}"));
    }

    /// A block that has guards of its own. It holds waits, guards and logs alone, so none of its statements ends the
    /// body. In a box, because a future cannot be a part of itself.
    fn inner_block<'a>(&'a self, block: &'a [Statement]) -> LocalFuture<'a, ()> {
        Box::pin(async move {
            let mut guards = Guards::default();
            self.run_block(block, &mut guards).await;
        })
    }
}

enum Gathered {
    Bodies(Vec<LocalFuture<'static, Output>>),
    Tasks(Vec<Rc<Task<Output>>>),
}

fn describe(task: &Task<Output>) -> String {
    if !task.is_done() {
        return "pending".into();
    }
    match task.result() {
        Ok(output) => describe_output(&output),
        Err(error) => describe_error(&error),
    }
}

fn describe_outcome(outcome: &Result<Output, TaskError>) -> String {
    match outcome {
        Ok(output) => describe_output(output),
        Err(error) => describe_error(error),
    }
}

fn describe_output(output: &Output) -> String {
    match output {
        Ok(Some(value)) => format!("ok {value}"),
        Ok(None) => "ok None".into(),
        Err(text) => format!("err {text}"),
    }
}

fn describe_error(error: &TaskError) -> String {
    match error {
        TaskError::Cancelled => "cancelled".into(),
        // No program does that: the crate did.
        TaskError::Panicked(panic) => format!("panicked: {}", panic.message()),
    }
}

fn describe_all(outcomes: &[Result<Output, TaskError>]) -> String {
    format!("[{}]", outcomes.iter().map(describe_outcome).collect::<Vec<_>>().join(", "))
}

fn describe_values(values: &Result<Vec<Option<i64>>, TryGatherError<String>>) -> String {
    match values {
        Ok(values) => {
            let values = values.iter().map(|value| describe_output(&Ok(*value)));
            format!("[{}]", values.collect::<Vec<_>>().join(", "))
        }
        Err(TryGatherError::Failed(text)) => format!("err {text}"),
        Err(TryGatherError::Task(error)) => describe_error(error),
    }
}

// ---- the traces ----

#[derive(PartialEq, Eq)]
struct Trace {
    lines: Vec<Line>,
    /// What was logged after body 0 had ended, sorted: asyncio cancels what is left over in the order of a set.
    shutdown: Vec<String>,
    /// "done", "deadlock", or what went wrong.
    end: String,
}

#[derive(PartialEq, Eq)]
struct Line {
    at: Duration,
    who: Rc<str>,
    text: String,
}

impl Trace {
    fn show(&self) -> Vec<String> {
        let line = |line: &Line| format!("{:>6?} {:>4}  {}", line.at, line.who, line.text);
        let lines = self.lines.iter().map(line);
        let shutdown = self.shutdown.iter().map(|line| format!("shutdown:    {line}"));
        lines.chain(shutdown).chain([format!("end: {}", self.end)]).collect()
    }
}

/// The program, and both traces side by side.
fn show_difference(path: &Path, program: &Program, ours: &Trace) -> String {
    let mut out = vec![format!("{} of {} differs.", program.id, path.display())];
    for (number, body) in program.source.as_array().into_iter().flatten().enumerate() {
        out.push(format!("body {number}:"));
        out.extend(body.as_array().into_iter().flatten().map(|statement| format!("    {statement}")));
    }
    let (theirs, ours) = (program.trace.show(), ours.show());
    let rows = theirs.len().max(ours.len());
    let first =
        (0..rows).find(|&row| theirs.get(row) != ours.get(row)).expect("traces that differ also look different");
    out.push(format!("  {:<52} onelane", "CPython"));
    for row in 0..rows {
        let cell = |lines: &[String]| lines.get(row).cloned().unwrap_or_default();
        let mark = if row == first { '>' } else { ' ' };
        out.push(format!("{mark} {:<52} {}", cell(&theirs), cell(&ours)).trim_end().to_owned());
    }
    out.push(format!("The first line that differs is line {}.", first + 1));
    out.join("\n")
}
