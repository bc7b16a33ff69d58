// Runs a program of `differ.rs` on one kernel. `differ.rs` includes it twice: `lane` is the reader's kernel, or the book's.

use super::{Op, Program};
use lane::{Gather, Outcome, Task, now, sleep, spawn, turn, virtual_clock, wait, yield_now};
use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

type Output = Result<u64, u64>;

/// Each line that the program logs goes here, with the time in milliseconds.
pub type Sink = Rc<dyn Fn(u64, String)>;

struct Machine {
    program: Rc<Program>,
    sink: Sink,
    instances: Cell<usize>,
    living: Cell<usize>,
    /// The variables: each has the number of the instance that is its task.
    tasks: RefCell<Vec<Option<(usize, Task<Output>)>>>,
}

fn describe(outcome: &Outcome<Output>) -> String {
    match outcome {
        Ok(Ok(value)) => format!("ok {value}"),
        Ok(Err(value)) => format!("err {value}"),
        Err(error) => format!("{error:?}").to_lowercase(),
    }
}

struct Instance {
    machine: Rc<Machine>,
    number: usize,
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.machine.living.set(self.machine.living.get() - 1);
        self.log("guard");
    }
}

impl Machine {
    fn instantiate(self: &Rc<Self>, body: usize) -> (usize, Pin<Box<dyn Future<Output = Output>>>) {
        let number = self.instances.get() + 1;
        self.instances.set(number);
        self.living.set(self.living.get() + 1);
        let instance = Instance { machine: self.clone(), number };
        (number, Box::pin(async move { instance.run(body).await }))
    }
}

impl Instance {
    fn log(&self, text: impl std::fmt::Display) {
        (self.machine.sink)(now().as_millis() as u64, format!("i{} {text}", self.number));
    }

    /// The task of a variable, unless it is this one.
    fn other(&self, variable: usize) -> Option<Task<Output>> {
        let tasks = self.machine.tasks.borrow();
        tasks[variable].as_ref().filter(|(number, _)| *number != self.number).map(|(_, task)| task.clone())
    }

    async fn run(&self, body: usize) -> Output {
        let program = self.machine.program.clone();
        for op in &program.bodies[body] {
            match op {
                Op::Log => self.log("log"),
                Op::Yield => {
                    yield_now().await;
                    self.log("yielded");
                }
                Op::Sleep(ms) => {
                    sleep(Duration::from_millis(*ms)).await;
                    self.log(format!("slept {ms}"));
                }
                Op::Spawn(variable, body) => {
                    let (number, body) = self.machine.instantiate(*body);
                    let task = spawn(body);
                    let old = self.machine.tasks.borrow_mut()[*variable].replace((number, task));
                    drop(old);
                    self.log(format!("spawned {variable}"));
                }
                Op::Await(variable) => match self.other(*variable) {
                    Some(task) => self.log(format!("await {variable}: {}", describe(&task.await))),
                    None => self.log("await: skipped"),
                },
                Op::Gather(variables, body, stops) => {
                    let mut tasks: Vec<_> = variables.iter().filter_map(|variable| self.other(*variable)).collect();
                    if let Some(body) = body {
                        tasks.push(spawn(self.machine.instantiate(*body).1));
                    }
                    let stop: fn(&Outcome<Output>) -> bool =
                        if *stops { |outcome| !matches!(outcome, Ok(Ok(_))) } else { |_| false };
                    match Gather::new(tasks, stop).await {
                        Ok(outcomes) => {
                            self.log(format!("gather: {:?}", outcomes.iter().map(describe).collect::<Vec<_>>()))
                        }
                        Err(outcome) => self.log(format!("gather: stopped by {}", describe(&outcome))),
                    }
                }
                Op::Wait(variables, timeout, first) => {
                    let tasks: Vec<_> = variables.iter().filter_map(|variable| self.other(*variable)).collect();
                    if tasks.is_empty() {
                        self.log("wait: nothing");
                        continue;
                    }
                    let mut waiting = wait(tasks).until(if *first { |_| true } else { |_| false });
                    if let Some(ms) = timeout {
                        waiting = waiting.timeout(Duration::from_millis(*ms));
                    }
                    let (done, pending) = waiting.await;
                    let done: Vec<_> = done.iter().map(|task| describe(&task.result().unwrap())).collect();
                    self.log(format!("wait: {done:?}, {} pending", pending.len()));
                }
                Op::Callback(variable) => {
                    let Some(task) = self.other(*variable) else { continue };
                    let (machine, number) = (self.machine.clone(), self.number);
                    task.add_done_callback(move |task| {
                        let outcome = task.result().as_ref().map_or("none".into(), describe);
                        (machine.sink)(now().as_millis() as u64, format!("loop callback of i{number}: {outcome}"));
                    });
                }
                #[cfg(cancel)]
                Op::Cancel(variable) => match self.other(*variable) {
                    Some(task) => self.log(format!("cancel {variable}: {}", task.cancel())),
                    None => self.log("cancel: skipped"),
                },
                #[cfg(not(cancel))]
                Op::Cancel(_) => {}
                #[cfg(cancel)]
                Op::Finally(ms, after) => {
                    let (machine, number, after) = (self.machine.clone(), self.number, *after);
                    let cleanup = async move {
                        (machine.sink)(now().as_millis() as u64, format!("i{number} cleanup begins"));
                        sleep(Duration::from_millis(after)).await;
                        (machine.sink)(now().as_millis() as u64, format!("i{number} cleanup ends"));
                    };
                    lane::finally(sleep(Duration::from_millis(*ms)), cleanup).await;
                    self.log("after finally");
                }
                #[cfg(not(cancel))]
                Op::Finally(..) => {}
                Op::Return(value) => return Ok(*value),
                Op::Raise(value) => return Err(*value),
            }
        }
        Ok(0)
    }
}

/// Runs the program until its first body has ended, or is stuck, and then until nothing is left. `over` is called in between.
/// Returns the number of instances that were not dropped.
pub fn run(program: &Rc<Program>, sink: Sink, over: &dyn Fn(String)) -> usize {
    virtual_clock();
    let machine = Rc::new(Machine {
        program: program.clone(),
        sink,
        instances: Cell::new(0),
        living: Cell::new(0),
        tasks: RefCell::new((0..super::VARIABLES).map(|_| None).collect()),
    });
    let main = spawn(machine.instantiate(0).1);
    let mut turns = 0;
    while !main.is_done() && turn() {
        turns += 1;
        super::turned(turns);
    }
    over(if main.is_done() { "main has ended".into() } else { "main is stuck".into() });
    lane::run(async {});
    let left = machine.tasks.take();
    drop(left);
    machine.living.get()
}
