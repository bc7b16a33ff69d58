//! The laws of the task cell. Tasks with random lives run on the reader's kernel: their guards, and another task, look at
//! their outcomes all the time.

use crate::common::{self, Random, expect, fail};
use crate::kernel::{self, Task, TaskError};
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Value(u64),
    Panic,
    /// The value is there, and a destructor of the future panics.
    PanicInDrop,
}

struct Life {
    number: usize,
    task: RefCell<Option<Task<u64>>>,
    /// Whether the future exists.
    is_alive: Cell<bool>,
    drops: Cell<usize>,
}

/// Is in the future, and dropped with it.
struct Guard(Rc<Life>, bool);

impl Drop for Guard {
    fn drop(&mut self) {
        let (life, number) = (&self.0, self.0.number);
        common::event(&[], format!("the future of task {number} is being dropped"));
        life.drops.set(life.drops.get() + 1);
        expect("DONE-1", &format!("the times that the future of task {number} is dropped"), life.drops.get(), 1);
        let calls = catch_unwind(AssertUnwindSafe(|| {
            look(life, "its own destructor");
            // It may spawn, as any code may.
            _ = kernel::spawn(async {});
        }));
        // The kernel would catch this panic, and take it for one of the task.
        if let Err(panic) = calls {
            let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
            if !text.contains("borrow") {
                resume_unwind(panic);
            }
            let what = format!("the destructor of task {number} calls the kernel, and that panics: {text}");
            fail("PANIC", format!("{what}. Is a borrow held while the future is dropped?"));
        }
        life.is_alive.set(false);
        if self.1 {
            panic!("a destructor panics");
        }
    }
}

/// A future with a guard. What an `async` block has captured is dropped when its body ends; this guard is dropped later, with
/// the future.
struct Held {
    body: Pin<Box<dyn Future<Output = u64>>>,
    _guard: Guard,
}

impl Future for Held {
    type Output = u64;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u64> {
        self.body.as_mut().poll(cx)
    }
}

/// An outcome is seen only when the future is gone.
fn look(life: &Life, who: &str) {
    let number = life.number;
    let task = life.task.borrow();
    let Some(task) = task.as_ref() else { return };
    if life.is_alive.get() && task.is_done() {
        fail("DONE-1", format!("{who} sees task {number} done, and its future has not been dropped"));
    }
    if life.is_alive.get() && task.result().is_some() {
        fail("DONE-1", format!("{who} sees the outcome of task {number}, and its future has not been dropped"));
    }
}

fn run_one(seed: u64) {
    let mut random = Random::new(seed + 3);
    let count = 1 + random.below(1 + seed as usize / 30);
    let mut lines = Vec::new();
    let mut plans = Vec::new();
    for number in 1..=count {
        let pauses = random.below(4);
        let end = match random.below(6) {
            0 => End::Panic,
            1 => End::PanicInDrop,
            _ => End::Value(random.below(1_000) as u64),
        };
        let is_dropped = random.below(3) == 0;
        let handle = if is_dropped { ", and its handle is dropped" } else { "" };
        lines.push(format!("task {number}: pauses {}, then {end:?}{handle}", common::times(pauses)));
        plans.push((number, pauses, end, is_dropped));
    }
    common::begin(format!("random program {seed}"), lines);
    let new = |number| Life { number, task: RefCell::default(), is_alive: Cell::new(true), drops: Cell::new(0) };
    let lives: Vec<_> = plans.iter().map(|plan| Rc::new(new(plan.0))).collect();
    for (life, (number, pauses, end, is_dropped)) in lives.iter().zip(plans.clone()) {
        let guard = Guard(life.clone(), end == End::PanicInDrop);
        let own = life.clone();
        let body = Box::pin(async move {
            for _ in 0..pauses {
                kernel::yield_now().await;
                look(&own, "the task itself");
            }
            common::event(&[], format!("task {number} ends"));
            match end {
                End::Value(value) => value,
                End::PanicInDrop => 1,
                End::Panic => panic!("a body panics"),
            }
        });
        let task = kernel::spawn(Held { body, _guard: guard });
        common::event(&[], format!("task {number} is spawned"));
        if !is_dropped {
            life.task.replace(Some(task));
        }
    }
    for turn in 0..8 {
        common::event(&[], format!("turn {turn} begins"));
        kernel::turn();
        for (life, (number, pauses, end, is_dropped)) in lives.iter().zip(&plans) {
            look(life, "main");
            let has_ended = turn >= *pauses;
            if life.drops.get() != usize::from(has_ended) {
                let found = if has_ended { "has not been dropped" } else { "was dropped" };
                fail("DONE-1", format!("the future of task {number} {found} after turn {turn}"));
            }
            if *is_dropped {
                continue;
            }
            let task = life.task.borrow().clone().unwrap();
            expect("DONE-1", &format!("whether task {number} is done"), task.is_done(), has_ended);
            let expected = has_ended.then_some(match *end {
                End::Value(value) => Ok(value),
                End::Panic => Err(TaskError::Panicked("a body panics".into())),
                End::PanicInDrop => Err(TaskError::Panicked("a destructor panics".into())),
            });
            // Twice: to look at an outcome does not take it.
            expect("DONE-1", &format!("the outcome of task {number}"), task.result(), expected.clone());
            expect("DONE-1", &format!("the outcome of task {number}"), task.result(), expected);
        }
    }
    let value = kernel::run(async { 5 });
    expect("DONE-1", "the value of main", value, 5);
    for life in &lives {
        life.task.replace(None);
    }
}

/// Values are dropped once, also those that nobody has looked at.
fn values_are_dropped() {
    struct Value(Rc<Cell<u32>>);

    impl Drop for Value {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
            // No borrow of the kernel is held here.
            _ = kernel::spawn(async {});
        }
    }

    common::begin("values that nobody looks at".into(), Vec::new());
    let drops = Rc::new(Cell::new(0));
    for nth in 0..6 {
        let value = Value(drops.clone());
        let task = kernel::spawn(async move { value });
        if nth % 2 == 0 {
            drop(task);
            kernel::turn();
        } else {
            kernel::turn();
            expect("DONE-1", "whether a task is done", task.is_done(), true);
            drop(task);
        }
        expect("DONE-1", "the number of values that were dropped", drops.get(), nth + 1);
    }
    kernel::run(async {});
}

pub fn check() {
    for seed in 0..600 {
        run_one(seed);
    }
    values_are_dropped();
}
