//! Runs random programs twice, once with a `task_group` and once with a `scope`, and compares the
//! traces: a scope's children run in the order of a group's, step for step.
//!
//! A program is a tree of statements. It may have groups in groups, sleeps, yields, locks, events,
//! errors, panics, cancellations of children, of the group and of the task around it, timeouts,
//! cleanups, and caught cancellations. Children need no borrow here, so the same program fits both.
//!
//! `ONELANE_SEEDS=0..100000 cargo test --release --test scope_and_group -- --nocapture` runs other
//! seeds.

#[path = "common/mod.rs"]
mod common;
#[allow(dead_code, reason = "this test uses a part of it")]
#[path = "random_programs/random.rs"]
mod random;
#[cfg(feature = "probe")]
#[path = "common/strict.rs"]
mod strict;

use common::{Trace, ms};
use onelane::{
    ChildError, ChildFailed, Clock, EventLoop, GroupError, Scope, ScopedTask, Task, TaskError, TaskGroup, TaskRef,
    catch_cancel, current_task, finally, metrics, on_cancel, raise_cancelled, sleep, spawn, sync, timeout, try_scope,
    try_task_group, wait, yield_now,
};
use random::Random;
use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;

/// The seeds of a plain `cargo test`.
const SEEDS: Range<u64> = 0..2000;

type Name = u32;

#[derive(Clone, Debug)]
enum Statement {
    Say,
    Yield,
    /// In milliseconds.
    Sleep(u64),
    /// Spawns a child into the innermost group.
    Spawn(Name, Body),
    /// The same, by a handle of any group around.
    SpawnOuter(Name, Body),
    /// Awaits the child of this group that was spawned last.
    Join,
    /// Waits for all children of this group, up to a number of milliseconds.
    WaitAll(u64),
    /// Cancels one of the children of this group.
    CancelChild(usize),
    CancelSelf,
    CancelRoot,
    CancelGroup,
    Uncancel,
    Fail,
    Panic,
    Raise,
    Group(Body),
    Timeout(u64, Body),
    Finally(Body, Body),
    OnCancel(Body, Body),
    Catch(Body),
    Set,
    Wait,
    Lock(Body),
}

type Body = Rc<Vec<(Name, Statement)>>;

/// The type of the groups in a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Group,
    Scope,
}

#[derive(Clone)]
enum Nursery {
    Group(TaskGroup<String>),
    Scope(Scope<'static, String>),
}

enum Child {
    Task(Task<Result<(), ChildFailed>>),
    Scoped(ScopedTask<Result<(), ChildFailed>>),
}

impl Child {
    fn task(&self) -> TaskRef {
        match self {
            Child::Task(task) => task.task_ref(),
            Child::Scoped(task) => task.task_ref(),
        }
    }

    async fn join(self) -> Result<Result<(), ChildFailed>, TaskError> {
        match self {
            Child::Task(task) => task.await,
            Child::Scoped(task) => task.await,
        }
    }
}

/// What the statements of a run share.
struct Shared {
    kind: Kind,
    trace: Trace,
    event: sync::Event,
    lock: sync::Lock<()>,
    root: RefCell<Option<TaskRef>>,
    /// A program may spawn without end, so their number is limited.
    spawned: Cell<u32>,
}

/// Where a statement runs.
#[derive(Clone)]
struct Place {
    shared: Rc<Shared>,
    nurseries: Vec<Nursery>,
    children: Rc<RefCell<Vec<Child>>>,
}

/// Writes when it is dropped, and in which task.
struct Guard(Place, Name);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.say(self.1, "dropped");
    }
}

type Run = Pin<Box<dyn Future<Output = Result<(), String>>>>;

impl Place {
    fn say(&self, name: Name, what: &str) {
        let task = current_task().map_or("nobody".into(), |task| task.name());
        self.shared.trace.push(format!("{name} {what} in {task}"));
    }

    fn spawn(&self, nursery: &Nursery, name: Name, body: &Body) {
        if self.shared.spawned.replace(self.shared.spawned.get() + 1) > 40 {
            return;
        }
        let run = self.run(name, body.clone());
        let child = match nursery {
            Nursery::Group(group) => Child::Task(group.try_spawn(run)),
            Nursery::Scope(scope) => Child::Scoped(scope.try_spawn(run)),
        };
        child.task().set_name(format!("child {name}"));
        self.children.borrow_mut().push(child);
    }

    fn run(&self, name: Name, body: Body) -> Run {
        let place = self.clone();
        Box::pin(async move {
            let _guard = Guard(place.clone(), name);
            for (name, statement) in body.iter() {
                place.step(*name, statement).await?;
            }
            place.say(name, "ends");
            Ok(())
        })
    }

    /// For a cleanup.
    fn clean(&self, name: Name, body: Body) -> impl Future<Output = ()> + 'static {
        let place = self.clone();
        async move {
            if let Err(error) = place.run(name, body).await {
                place.say(name, &format!("failed with {error}"));
            }
        }
    }

    async fn group(&self, name: Name, body: Body) -> Result<(), GroupError<String>> {
        let place = Place { children: Rc::default(), ..self.clone() };
        match self.shared.kind {
            Kind::Group => {
                try_task_group(move |group| {
                    let mut place = place.clone();
                    place.nurseries.push(Nursery::Group(group));
                    place.run(name, body)
                })
                .await
            }
            Kind::Scope => {
                try_scope(move |scope| {
                    let mut place = place.clone();
                    place.nurseries.push(Nursery::Scope(scope));
                    place.run(name, body)
                })
                .await
            }
        }
    }

    async fn step(&self, name: Name, statement: &Statement) -> Result<(), String> {
        let shared = &self.shared;
        match statement {
            Statement::Say => self.say(name, "says"),
            Statement::Yield => {
                yield_now().await;
                self.say(name, "goes on");
            }
            Statement::Sleep(time) => {
                sleep(ms(*time)).await;
                self.say(name, "wakes up");
            }
            Statement::Spawn(child, body) => self.spawn(self.nurseries.last().unwrap(), *child, body),
            Statement::SpawnOuter(child, body) => self.spawn(&self.nurseries[0], *child, body),
            Statement::Join => {
                let child = self.children.borrow_mut().pop();
                if let Some(child) = child.filter(|child| Some(child.task()) != current_task()) {
                    let ended = child.join().await;
                    let ended = match ended {
                        Ok(ended) => format!("joined {ended:?}"),
                        Err(TaskError::Cancelled) => "joined a cancelled one".into(),
                        Err(TaskError::Panicked(panic)) => format!("joined a panic: {}", panic.message()),
                    };
                    self.say(name, &ended);
                }
            }
            Statement::WaitAll(time) => {
                let children: Vec<_> = self.children.borrow().iter().map(Child::task).collect();
                if !children.is_empty() && !children.contains(&current_task().unwrap()) {
                    let (done, pending) = wait(children).timeout(ms(*time)).await;
                    let names: Vec<_> = done.iter().map(TaskRef::name).collect();
                    self.say(name, &format!("waited for {}, {} are left", names.join(", "), pending.len()));
                }
            }
            Statement::CancelChild(which) => {
                let children: Vec<_> = self.children.borrow().iter().map(Child::task).collect();
                if let Some(child) = children.get(which % children.len().max(1)) {
                    self.say(name, &format!("cancels {}: {}", child.name(), child.cancel()));
                }
            }
            Statement::CancelSelf => _ = current_task().unwrap().cancel(),
            Statement::CancelRoot => _ = shared.root.borrow().as_ref().unwrap().cancel(),
            Statement::CancelGroup => match self.nurseries.last().unwrap() {
                Nursery::Group(group) => group.cancel(),
                Nursery::Scope(scope) => scope.cancel(),
            },
            Statement::Uncancel => _ = current_task().unwrap().uncancel(),
            Statement::Fail => return Err(format!("error {name}")),
            Statement::Panic => panic!("panic {name}"),
            Statement::Raise => raise_cancelled().await,
            Statement::Group(body) => {
                let ended = self.group(name, body.clone()).await;
                let ended = ended.map_err(|group| {
                    let told = |error: ChildError<String>| match error {
                        ChildError::Failed(error) => error,
                        ChildError::Panicked(panic) => panic.message().to_string(),
                    };
                    group.errors.into_iter().map(told).collect::<Vec<_>>().join(" and ")
                });
                self.say(name, &format!("group: {ended:?}"));
            }
            Statement::Timeout(time, body) => {
                let ended = timeout(ms(*time), self.run(name, body.clone())).await;
                self.say(name, &format!("timeout: {ended:?}"));
            }
            Statement::Finally(body, cleanup) => {
                finally(self.run(name, body.clone()), self.clean(name, cleanup.clone())).await?;
            }
            Statement::OnCancel(body, cleanup) => {
                on_cancel(self.run(name, body.clone()), self.clean(name, cleanup.clone())).await?;
            }
            Statement::Catch(body) => {
                let ended = catch_cancel(self.run(name, body.clone())).await;
                self.say(name, &format!("catch: {ended:?}"));
            }
            Statement::Set => shared.event.set(),
            Statement::Wait => {
                shared.event.wait().await;
                shared.event.clear();
                self.say(name, "has the event");
            }
            Statement::Lock(body) => {
                let _guard = shared.lock.lock().await;
                self.say(name, "has the lock");
                self.run(name, body.clone()).await?;
            }
        }
        Ok(())
    }
}

struct Generator {
    random: Random,
    last: Name,
    left: usize,
}

impl Generator {
    fn body(&mut self, depth: usize) -> Body {
        let length = self.random.below(5);
        let mut body = Vec::new();
        for _ in 0..length {
            if self.left == 0 {
                break;
            }
            self.left -= 1;
            self.last += 1;
            let name = self.last;
            let statement = self.statement(depth);
            body.push((name, statement));
        }
        Rc::new(body)
    }

    fn name(&mut self) -> Name {
        self.last += 1;
        self.last
    }

    fn statement(&mut self, depth: usize) -> Statement {
        let simple = depth == 0;
        match self.random.below(if simple { 26 } else { 48 }) {
            0..=2 => Statement::Say,
            3..=7 => Statement::Yield,
            8..=12 => Statement::Sleep(self.random.below(4) as u64),
            13 => Statement::Join,
            14 => Statement::WaitAll(self.random.below(4) as u64),
            15..=16 => Statement::CancelChild(self.random.below(5)),
            17 => Statement::CancelSelf,
            18 => Statement::CancelRoot,
            19 => Statement::CancelGroup,
            20 => Statement::Uncancel,
            21 => Statement::Fail,
            22 => Statement::Panic,
            23 => Statement::Raise,
            24 => Statement::Set,
            25 => Statement::Wait,
            26..=33 => Statement::Spawn(self.name(), self.body(depth - 1)),
            34 => Statement::SpawnOuter(self.name(), self.body(depth - 1)),
            35..=39 => Statement::Group(self.body(depth - 1)),
            40..=41 => Statement::Timeout(self.random.below(5) as u64, self.body(depth - 1)),
            42..=43 => Statement::Finally(self.body(depth - 1), self.body(depth - 1)),
            44 => Statement::OnCancel(self.body(depth - 1), self.body(depth - 1)),
            45..=46 => Statement::Catch(self.body(depth - 1)),
            _ => Statement::Lock(self.body(depth - 1)),
        }
    }
}

/// A program, and after how many milliseconds its task is cancelled, each time.
fn program(seed: u64) -> (Body, Vec<u64>) {
    let mut generator = Generator { random: Random::new(seed), last: 0, left: 40 };
    let mut body = Vec::new();
    for _ in 0..1 + generator.random.below(3) {
        let name = generator.name();
        body.push((name, Statement::Group(generator.body(5))));
    }
    let cancels = (0..generator.random.below(4)).map(|_| generator.random.below(4) as u64).collect();
    (Rc::new(body), cancels)
}

/// Writes each event of the loop, without the names and places that differ between the kinds, and
/// checks the events against their documentation.
#[cfg(feature = "probe")]
mod events {
    use super::Trace;
    use super::strict::Strict;
    use onelane::probe::{Event, EventKind, Probe};

    pub(crate) struct Events {
        pub(crate) trace: Trace,
        pub(crate) strict: Strict,
    }

    impl Probe for Events {
        fn event(&self, event: &Event<'_>) {
            self.strict.event(event);
            self.trace.push(match event.kind {
                EventKind::Spawn { task, by, .. } => format!("Spawn {task} by {by:?}"),
                EventKind::WaitBegin { task, wait, what, .. } => format!("WaitBegin {task} {wait} {what}"),
                EventKind::WaitEnd { task, wait, .. } => format!("WaitEnd {task} {wait}"),
                kind => format!("{kind:?}"),
            });
        }
    }
}

/// Runs a program, and returns all that has happened.
fn run(kind: Kind, seed: u64) -> Vec<String> {
    let (body, cancels) = program(seed);
    let trace = Trace::new();
    let told = trace.clone();
    let builder = EventLoop::builder();
    #[cfg(feature = "probe")]
    let strict = strict::Strict::default();
    #[cfg(feature = "probe")]
    let builder = builder.probe(events::Events { trace: trace.clone(), strict: strict.clone() });
    let event_loop = builder
        .clock(Clock::Virtual)
        .exception_handler(move |exception| {
            let task = exception.task.as_ref().map(|(name, _)| name.clone());
            told.push(format!("told of {task:?}: {}", exception.panic.message()));
        })
        .build();
    let shared = Rc::new(Shared {
        kind,
        trace: trace.clone(),
        event: sync::Event::new(),
        lock: sync::Lock::new(()),
        root: RefCell::default(),
        spawned: Cell::new(0),
    });
    let place = Place { shared: shared.clone(), nurseries: Vec::new(), children: Rc::default() };
    let seen = trace.clone();
    let ended = event_loop.try_run(async move {
        let root = spawn(place.run(0, body));
        *shared.root.borrow_mut() = Some(root.task_ref());
        // Other tasks of the loop, whose steps are between those of the program.
        let ticker = spawn({
            let trace = trace.clone();
            async move {
                for tick in 0..12 {
                    trace.push(format!("tick {tick}"));
                    yield_now().await;
                }
            }
        });
        let sleeper = spawn({
            let (trace, event) = (trace.clone(), shared.clone());
            async move {
                for tick in 0..12 {
                    sleep(ms(1)).await;
                    trace.push(format!("millisecond {tick}"));
                    event.event.set();
                }
            }
        });
        for time in cancels {
            sleep(ms(time)).await;
            trace.push(format!("the root is cancelled: {}", root.cancel()));
        }
        let ended = root.await;
        trace.push(format!("the root has ended: {ended:?}"));
        _ = (ticker.await, sleeper.await);
        let counts = metrics();
        trace.push(format!(
            "{} steps, {} turns, {} wakes, {} tasks, {} left",
            counts.steps, counts.turns, counts.wakes, counts.spawned, counts.alive
        ));
    });
    seen.push(format!("{:?}", ended.map_err(|_| "stuck")));
    drop(event_loop);
    #[cfg(feature = "probe")]
    assert_eq!(strict.complaints_at_the_end(), Vec::<String>::new(), "seed {seed}");
    // The messages of misuse name what is misused.
    seen.take().into_iter().map(|line| line.replace("into a scope that", "into a task group that")).collect()
}

fn seeds() -> Range<u64> {
    let Ok(asked) = std::env::var("ONELANE_SEEDS") else { return SEEDS };
    let (start, end) = asked.split_once("..").expect("ONELANE_SEEDS is a range, such as 0..1000");
    start.parse().unwrap()..end.parse().unwrap()
}

#[test]
fn run_as_a_group_runs() {
    std::panic::set_hook(Box::new(|_| {}));
    let seeds = seeds();
    let (mut differ, mut steps) = (Vec::new(), 0);
    for seed in seeds.clone() {
        let [of_group, of_scope] = [Kind::Group, Kind::Scope].map(|kind| run(kind, seed));
        steps += of_group.len();
        if of_group != of_scope {
            differ.push(seed);
            if differ.len() == 1 {
                eprintln!("seed {seed}: {:?}", program(seed));
                let same = of_group.iter().zip(&of_scope).take_while(|(one, other)| one == other).count();
                eprintln!("equal: {:#?}", &of_group[same.saturating_sub(30)..same]);
                let [group, scope] = [of_group, of_scope].map(|lines| lines.into_iter().skip(same).take(10));
                eprintln!("group: {:#?}\nscope: {:#?}", group.collect::<Vec<_>>(), scope.collect::<Vec<_>>());
            }
        }
    }
    _ = std::panic::take_hook();
    eprintln!("{} programs, {steps} events, {} differ", seeds.end - seeds.start, differ.len());
    assert!(differ.is_empty(), "the traces of these seeds differ: {differ:?}");
    assert!(steps as u64 > 10 * (seeds.end - seeds.start), "the programs do too little: {steps} events");
}
