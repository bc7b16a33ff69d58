//! The last stage runs the programs of level A of `tests/conformance`, and leaves CPython's traces.
//!
//! The programs, their reader and the comparison are those of the crate's own tests. Only the effects of the statements
//! are here, since the reader's kernel has other names.

#[allow(dead_code)]
#[path = "../../../tests/conformance/comparison.rs"]
mod comparison;
#[allow(dead_code)]
#[path = "../../../tests/conformance/program.rs"]
mod program;
#[allow(dead_code)]
#[path = "../../../tests/conformance/statement.rs"]
mod statement;

/// The reader names this type by the crate that it was written for.
extern crate self as onelane;

#[derive(Clone, Copy)]
pub enum ReturnWhen {
    AllCompleted,
    FirstCompleted,
    FirstException,
}

/// How many objects the programs of other levels have.
mod shared {
    pub(crate) const PROMISES: usize = 2;
    pub(crate) const EVENTS: usize = 2;
    pub(crate) const LOCKS: usize = 2;
    pub(crate) const SEMAPHORES: usize = 1;
    pub(crate) const CONDITIONS: usize = 1;
    pub(crate) const QUEUES: usize = 4;
    pub(crate) const BARRIERS: usize = 2;
    pub(crate) const CONTEXT_VARIABLES: usize = 2;
}

use comparison::{Comparison, Line, Trace};
use lane::stage_13::lane::{
    Gather, Outcome, RunError, Task, TaskError, all_tasks, current_task, now, sleep, spawn, try_run, turn,
    virtual_clock, wait,
};
use program::{Bodies, programs};
use statement::{Basic, Item, Statement};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

/// What a body returns, or raises.
type Output = Result<Option<i64>, String>;

struct Machine {
    bodies: Bodies,
    lines: RefCell<Vec<Line>>,
    shutdown: RefCell<Vec<String>>,
    /// Whether body 0 has ended.
    is_over: Cell<bool>,
    instances: Cell<u32>,
    tasks: RefCell<BTreeMap<String, Task<Output>>>,
}

#[derive(Clone)]
struct Instance {
    machine: Rc<Machine>,
    name: Rc<str>,
}

impl Machine {
    fn new(bodies: &Bodies) -> Rc<Self> {
        virtual_clock();
        Rc::new(Machine {
            bodies: bodies.clone(),
            lines: RefCell::default(),
            shutdown: RefCell::default(),
            is_over: Cell::new(false),
            instances: Cell::new(0),
            tasks: RefCell::default(),
        })
    }

    async fn main(self: Rc<Self>) {
        let output = self.instantiate(0).await;
        self.log("main", describe(&Ok(output)));
        self.is_over.set(true);
    }

    fn instantiate(self: &Rc<Self>, body: usize) -> Pin<Box<dyn Future<Output = Output>>> {
        self.instances.set(self.instances.get() + 1);
        let instance = Instance { machine: self.clone(), name: format!("i{}", self.instances.get()).into() };
        Box::pin(instance.run(body))
    }

    fn log(&self, who: &str, text: impl Into<String>) {
        let text = text.into();
        if self.is_over.get() {
            self.shutdown.borrow_mut().push(format!("{who} {text}"));
        } else {
            self.lines.borrow_mut().push(Line { at: now(), who: who.into(), text });
        }
    }
}

fn describe(outcome: &Outcome<Output>) -> String {
    match outcome {
        Ok(Ok(Some(value))) => format!("ok {value}"),
        Ok(Ok(None)) => "ok None".into(),
        Ok(Err(text)) => format!("err {text}"),
        Err(TaskError::Cancelled) => "cancelled".into(),
        Err(TaskError::Panicked(text)) => format!("panicked: {text}"),
    }
}

/// A value that logs when its instance ends, however it ends.
struct Guards(Instance, Vec<String>);

impl Drop for Guards {
    fn drop(&mut self) {
        while let Some(label) = self.1.pop() {
            self.0.log(format!("guard {label}"));
        }
    }
}

impl Instance {
    fn log(&self, text: impl Into<String>) {
        self.machine.log(&self.name, text);
    }

    async fn run(self, body: usize) -> Output {
        let mut guards = Guards(self.clone(), Vec::new());
        for statement in &*self.machine.bodies[body] {
            match statement {
                Statement::Guard(label) => guards.1.push(label.clone()),
                Statement::Return(value) => return Ok(Some(*value)),
                Statement::Raise(text) => return Err(text.clone()),
                Statement::Basic(basic) => self.basic(basic).await,
                Statement::Scope(_) | Statement::Further(_) => panic!("this is no statement of level A"),
            }
        }
        Ok(None)
    }

    /// The variable's task, unless it is the running one.
    fn other(&self, variable: &str) -> Option<Task<Output>> {
        let task = self.machine.tasks.borrow().get(variable).cloned();
        task.filter(|task| current_task() != Some(task.task_ref()))
    }

    async fn basic(&self, basic: &Basic) {
        match basic {
            Basic::Log(text) => self.log(text),
            Basic::Sleep(ms) => {
                sleep(Duration::from_millis(*ms)).await;
                self.log(format!("slept {ms}"));
            }
            Basic::Spawn { variable, body, .. } => {
                let task = spawn(self.machine.instantiate(*body));
                self.machine.tasks.borrow_mut().insert(variable.clone(), task);
                self.log(format!("spawned {variable}"));
            }
            Basic::Await(variable) => {
                let text = match self.other(variable) {
                    Some(task) => describe(&task.await),
                    None => "skipped".into(),
                };
                self.log(format!("await {variable}: {text}"));
            }
            Basic::Gather { items, return_exceptions } => self.gather(items, *return_exceptions).await,
            Basic::Wait { variables, timeout, return_when } => self.wait(variables, *timeout, *return_when).await,
            Basic::Cancel(variable) => {
                let accepted = self.other(variable).map(|task| task.cancel().to_string());
                self.log(format!("cancel {variable}: {}", accepted.unwrap_or("skipped".into())));
            }
            Basic::Callback(variable, label) => {
                let task = self.machine.tasks.borrow().get(variable).cloned();
                let (machine, label) = (self.machine.clone(), label.clone());
                if let Some(task) = task {
                    task.add_done_callback(move |task| {
                        machine.log("loop", format!("callback {label}: {}", describe(&task.result().unwrap())));
                    });
                }
            }
            Basic::Inspect => {
                let tasks = all_tasks();
                let me = current_task().is_some_and(|me| tasks.contains(&me));
                self.log(format!("tasks {} me {me}", tasks.len()));
            }
            _ => panic!("this is no statement of level A"),
        }
    }

    async fn gather(&self, items: &[Item], return_exceptions: bool) {
        let tasks: Vec<Task<Output>> = items
            .iter()
            .filter_map(|item| match item {
                Item::Body(body) => Some(spawn(self.machine.instantiate(*body))),
                Item::Variable(variable) => self.other(variable),
            })
            .collect();
        let stops: fn(&Outcome<Output>) -> bool =
            if return_exceptions { |_| false } else { |outcome| !matches!(outcome, Ok(Ok(_))) };
        let text = match Gather::new(tasks, stops).await {
            Ok(outcomes) => format!("[{}]", outcomes.iter().map(describe).collect::<Vec<_>>().join(", ")),
            Err(outcome) => describe(&outcome),
        };
        self.log(format!("gather: {text}"));
    }

    async fn wait(&self, variables: &[String], timeout: Option<u64>, return_when: ReturnWhen) {
        let named: Vec<_> = variables.iter().filter_map(|name| Some((name, self.other(name)?))).collect();
        if named.is_empty() {
            return self.log("wait: nothing");
        }
        let mut waiting = wait(named.iter().map(|(_, task)| task.clone()).collect()).until(match return_when {
            ReturnWhen::AllCompleted => |_| false,
            ReturnWhen::FirstCompleted => |_| true,
            ReturnWhen::FirstException => |outcome| matches!(outcome, Ok(Err(_)) | Err(TaskError::Panicked(_))),
        });
        if let Some(ms) = timeout {
            waiting = waiting.timeout(Duration::from_millis(ms));
        }
        let (done, pending) = waiting.await;
        let names = |tasks: &[Task<Output>]| {
            let is_in = |task: &Task<Output>| tasks.iter().any(|other| other.task_ref() == task.task_ref());
            let names = named.iter().filter(|(_, task)| is_in(task)).map(|(name, _)| name.as_str());
            names.collect::<Vec<_>>().join(", ")
        };
        self.log(format!("wait: done [{}] pending [{}]", names(&done), names(&pending)));
    }
}

fn run(bodies: &Bodies) -> Trace {
    let machine = Machine::new(bodies);
    let end = match try_run(machine.clone().main()) {
        Ok(()) => "done".into(),
        Err(RunError::Deadlock) => {
            // `try_run` has cancelled the tasks, whose guards have logged. Turned by hand, they stop where they are.
            let stuck = Machine::new(bodies);
            drop(spawn(stuck.clone().main()));
            while turn() {}
            *machine.lines.borrow_mut() = stuck.lines.take();
            machine.shutdown.take();
            stuck.is_over.set(true);
            _ = try_run(async {});
            "deadlock".into()
        }
        Err(error) => error.to_string(),
    };
    let mut shutdown = machine.shutdown.take();
    shutdown.sort();
    Trace { lines: machine.lines.take(), shutdown: Some(shutdown), end }
}

/// `ONELANE_PROGRAMS` names more files, as for the crate's own test; their programs must be of level A.
#[test]
fn run_and_compare_with_cpython() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/conformance/programs-A.jsonl");
    let more = std::env::var_os("ONELANE_PROGRAMS").unwrap_or_default();
    let more = std::env::split_paths(&more).filter(|path| !path.as_os_str().is_empty());
    let mut comparison = Comparison::new();
    for path in [own].into_iter().chain(more) {
        for program in programs(&path) {
            comparison.begin(&path, &program);
            let ours = run(&program.bodies);
            comparison.end(&path, &program, ours);
        }
    }
    comparison.finish();
}
