//! The machine that runs a program.
//!
//! Each run of a body is an [`Instance`]. All instances share the [`Machine`]: the variables, the
//! objects that they wait for, and the logged lines. Blocks nest as they do in the program, and
//! each block is a separate future.
//!
//! The effects of the statements are in `levels_a_to_c.rs` and `level_d.rs`. Read `outcome.rs` and
//! `shared.rs` before these.

use crate::comparison::{Line, Trace};
use crate::outcome::{Output, Several, Variable, describe_output};
use crate::program::Bodies;
use crate::shared::{PROMISES, Shared, seen};
use crate::statement::{Block, Scope, Statement};
use onelane::{
    Budget, CallHandle, CallbackId, Deadline, EventLoop, Instant, Promise, RunError, TaskGroup, TaskId, TaskRef,
    current_task,
};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;

/// Runs a program to its end, on its own loop.
pub(crate) fn run(bodies: &Bodies, event_loop: &dyn Fn() -> EventLoop) -> Trace {
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
            // `try_run` has cancelled the remaining tasks. If the main task caught that, it went on
            // to its end.
            trace.shutdown = Some(Vec::new());
            if agree { "deadlock" } else { "deadlock, but turned by hand it goes on" }.into()
        }
        Ok(Err(error)) => error.to_string(),
        Err(panic) => format!("panic: {}", message(&*panic)),
    };
    if machine.has_panicked.get() {
        trace.end += ", and a body panicked";
    }
    trace
}

fn message(panic: &dyn Any) -> &str {
    let literal = panic.downcast_ref::<&str>().copied();
    literal.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("not a text")
}

/// The lines that a program logs before a deadlock. `try_run` cancels the remaining tasks before it
/// reports the deadlock, and their guards then log more lines. So the program runs once more,
/// turned by hand, and stops at the deadlock.
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

/// The lines that a program logs until body 0 has ended or is stuck, and the number of calls of the
/// host.
pub(crate) fn lines_within(bodies: &Bodies, budget: Budget) -> (Vec<Line>, usize) {
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

pub(crate) type LocalFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// A running program.
pub(crate) struct Machine {
    bodies: Bodies,
    /// The loop's time when the program began.
    pub(crate) start: Instant,
    stage: Cell<Stage>,
    lines: RefCell<Vec<Line>>,
    shutdown: RefCell<Vec<String>>,
    /// Whether something panicked. No program does, so this would be a bug. The trace may not show
    /// the panic, because a remaining task ends without a line.
    has_panicked: Cell<bool>,
    /// The number of instances made so far.
    instances: Cell<u32>,
    /// The task of body 0.
    pub(crate) main: RefCell<Option<TaskRef>>,
    /// The variables, which all instances share; a spawn rebinds one.
    pub(crate) tasks: RefCell<BTreeMap<String, Variable>>,
    pub(crate) handles: RefCell<BTreeMap<String, CallHandle>>,
    pub(crate) promises: RefCell<[Option<Promise<i64>>; PROMISES]>,
    pub(crate) callbacks: RefCell<BTreeMap<String, (Variable, CallbackId)>>,
    pub(crate) deadlines: RefCell<BTreeMap<String, Deadline>>,
    /// The tasks that the program has given a name.
    pub(crate) named: RefCell<BTreeSet<TaskId>>,
    /// What children of groups have raised.
    pub(crate) failures: RefCell<BTreeMap<TaskId, String>>,
    pub(crate) shared: Shared,
}

#[derive(Clone, Copy)]
enum Stage {
    Running,
    /// Body 0 has ended. The order of the following lines has no meaning.
    Over,
    /// The following lines are not part of the trace.
    Silent,
}

impl Machine {
    fn new(bodies: &Bodies, event_loop: &EventLoop) -> Rc<Self> {
        Rc::new(Machine {
            bodies: bodies.clone(),
            start: event_loop.time(),
            stage: Cell::new(Stage::Running),
            lines: RefCell::default(),
            shutdown: RefCell::default(),
            has_panicked: Cell::new(false),
            instances: Cell::new(0),
            main: RefCell::default(),
            tasks: RefCell::default(),
            handles: RefCell::default(),
            promises: RefCell::default(),
            callbacks: RefCell::default(),
            deadlines: RefCell::default(),
            named: RefCell::default(),
            failures: RefCell::default(),
            shared: Shared::new(),
        })
    }

    /// The main task: body 0 runs in it.
    async fn main(self: Rc<Self>) {
        *self.main.borrow_mut() = current_task();
        let output = self.instantiate(0, None).await;
        self.log("main", describe_output(&output));
        self.stage.set(Stage::Over);
    }

    /// An instance of a body. It gets its number when it is created, not when it first runs.
    pub(crate) fn instantiate(self: &Rc<Self>, body: usize, group: Option<Group>) -> LocalFuture<Output> {
        self.instances.set(self.instances.get() + 1);
        let name = format!("i{}", self.instances.get()).into();
        let block = Instance { machine: self.clone(), name, group }.run_block(&self.bodies[body]);
        Box::pin(async { block.await.unwrap_or(Ok(None)) })
    }

    pub(crate) fn log(&self, who: &str, text: impl Into<String>) {
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
        Trace { lines: self.lines.take(), shutdown: Some(shutdown), end: String::new() }
    }
}

/// A group of tasks whose children raise texts.
pub(crate) type Group = TaskGroup<String>;

/// One run of a body, or of a block in it.
#[derive(Clone)]
pub(crate) struct Instance {
    pub(crate) machine: Rc<Machine>,
    name: Rc<str>,
    /// The innermost group around the block, or else the group whose child this instance is.
    pub(crate) group: Option<Group>,
}

impl Instance {
    pub(crate) fn log(&self, text: impl Into<String>) {
        self.machine.log(&self.name, text);
    }

    /// The same instance in a block of a group.
    pub(crate) fn inside(&self, group: Group) -> Instance {
        Instance { group: Some(group), ..self.clone() }
    }

    /// Runs a block, which has its own guards. Returns the output if a statement in it ends the
    /// body. The future owns its data, because a cleanup must own it.
    pub(crate) fn run_block(&self, block: &Block) -> LocalFuture<Option<Output>> {
        let (me, block) = (self.clone(), block.clone());
        Box::pin(async move {
            let mut guards = Guards { instance: me.clone(), labels: Vec::new() };
            for statement in &*block {
                let output = match statement {
                    Statement::Guard(label) => {
                        guards.labels.push(label.clone());
                        None
                    }
                    Statement::Return(value) => Some(Ok(Some(*value))),
                    Statement::Raise(text) => Some(Err(text.clone())),
                    Statement::Scope(scope) => me.run_scope(scope).await,
                    Statement::Basic(basic) => {
                        me.run_basic(basic).await;
                        None
                    }
                    Statement::Further(further) => {
                        me.run_further(further).await;
                        None
                    }
                };
                if output.is_some() {
                    return output;
                }
            }
            None
        })
    }

    async fn run_scope(&self, scope: &Scope) -> Option<Output> {
        match scope {
            Scope::Timeout(ms, block) => self.timeout(*ms, block).await,
            Scope::Lock(lock, block) => self.lock(*lock, block).await,
            Scope::Semaphore(semaphore, block) => self.semaphore(*semaphore, block).await,
            Scope::Deadline { ms, slot, block } => self.deadline(*ms, slot, block).await,
            Scope::Group(block) => self.group(block).await,
            Scope::Finally { block, cleanup } => self.finally(block, cleanup).await,
            Scope::Catch { block, uncancel } => self.catch(block, *uncancel).await,
            Scope::ContextWith(which, value, block) => self.context_with(*which, *value, block).await,
            Scope::ConditionHold(condition, block) => self.condition_hold(*condition, block).await,
        }
    }

    pub(crate) fn task(&self, variable: &str) -> Option<Variable> {
        self.machine.tasks.borrow().get(variable).cloned()
    }

    /// The variable's task, unless it is the running one.
    pub(crate) fn other_task(&self, variable: &str) -> Option<Variable> {
        self.task(variable).filter(|task| current_task() != Some(task.task_ref()))
    }

    /// The tasks of those variables that are bound, without the running one.
    pub(crate) fn other_tasks(&self, variables: &[String]) -> Several {
        let (mut plain, mut children) = (Vec::new(), Vec::new());
        for name in variables {
            match self.other_task(name) {
                Some(Variable::Plain(task)) => plain.push((name.clone(), task)),
                Some(Variable::Child(task)) => children.push((name.clone(), task)),
                None => {}
            }
        }
        assert!(plain.is_empty() || children.is_empty(), "children of groups and other tasks in one list");
        if children.is_empty() { Several::Plain(plain) } else { Several::Children(children) }
    }
}

/// The guards of a block. Their labels are logged when the block ends, beginning with the last
/// guard.
struct Guards {
    instance: Instance,
    labels: Vec<String>,
}

impl Drop for Guards {
    fn drop(&mut self) {
        while let Some(label) = self.labels.pop() {
            self.instance.log(format!("guard {label}{}", seen()));
        }
        if std::thread::panicking() {
            self.instance.machine.has_panicked.set(true);
        }
    }
}
