//! What is said of a program that cannot go on.

use crate::kernel::task::{Awaited, Header, Wait};
use crate::kernel::{Kernel, Time};
use crate::task::TaskId;
use std::fmt;
use std::panic::Location;

/// All tasks of a loop in which nothing can happen any more, with what each waits for.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, RunError};
///
/// let result = EventLoop::with_virtual_clock().try_run(std::future::pending::<()>());
/// let Err(RunError::Deadlock(report)) = result else { unreachable!() };
/// assert_eq!(&*report.tasks[0].name, "Task-1");
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DeadlockReport {
    /// The tasks, in the order in which they were spawned.
    pub tasks: Vec<StuckTask>,
}

/// A task that waits for ever.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, RunError, sync::Lock};
///
/// let lock = Lock::new(());
/// let result = EventLoop::with_virtual_clock().try_run(async {
///     let _guard = lock.lock().await;
///     drop(lock.lock().await); // has it already, and waits for itself
/// });
/// let Err(RunError::Deadlock(report)) = result else { unreachable!() };
/// let stuck = &report.tasks[0];
/// println!("{}, spawned at {}", stuck.name, stuck.spawned_at);
/// assert_eq!(stuck.waits_for, ["a lock"]);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StuckTask {
    /// Its number.
    pub id: TaskId,
    /// Its name.
    pub name: String,
    /// Where it was spawned.
    pub spawned_at: &'static Location<'static>,
    /// What it waits for: tasks by their names, a sleep that never ends. Empty if it waits in a future that is not onelane's.
    pub waits_for: Vec<String>,
}

impl DeadlockReport {
    pub(crate) fn of(kernel: &Kernel) -> Self {
        let sleeps = kernel.sleeps();
        let mut tasks = Vec::new();
        for task in kernel.tasks() {
            let header = task.header();
            let waits_for = waits_for(kernel, &sleeps, header);
            let (name, spawned_at) = (String::from(&*header.name()), header.spawned_at);
            tasks.push(StuckTask { id: TaskId(header.id), name, spawned_at, waits_for });
        }
        DeadlockReport { tasks }
    }
}

/// `a sleep and for a lock`
pub(crate) fn write_all(waits: &[String], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (nth, wait) in waits.iter().enumerate() {
        write!(f, "{}{wait}", if nth == 0 { "" } else { " and for " })?;
    }
    Ok(())
}

/// What a task waits for, in words, in the order in which it began. `sleeps` are those of all tasks, from `Kernel::sleeps`.
pub(crate) fn waits_for(kernel: &Kernel, sleeps: &[(u64, u64, u64)], task: &Header) -> Vec<String> {
    let (token, frozen) = (task.token().bits(), task.frozen().unwrap_or(0));
    let mut next = sleeps.partition_point(|&(sleeper, number, _)| (sleeper, number) <= (token, frozen));
    let mut words = Vec::new();
    // Those sleeps that began before a wait stand before it, and the rest at the end.
    let mut add_sleeps = |words: &mut Vec<String>, before| {
        while let Some(&(_, _, until)) =
            sleeps.get(next).filter(|&&(sleeper, number, _)| sleeper == token && number < before)
        {
            words.push(String::from(if Time(until) == Time::NEVER { "a sleep that never ends" } else { "a sleep" }));
            next += 1;
        }
    };
    kernel.each_wait(task, &mut |number, wait| {
        add_sleeps(&mut words, number);
        words.push(describe(kernel, &wait));
    });
    add_sleeps(&mut words, u64::MAX);
    words
}

fn describe(kernel: &Kernel, wait: &Wait) -> String {
    struct Described<'a>(&'a dyn Awaited);
    impl fmt::Display for Described<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.describe(f)
        }
    }
    let gone = match wait {
        Wait::Task(token) => match kernel.wakers.task(*token) {
            Some(task) => return format!("task {:?}", task.header().name()),
            None => "a task that has ended",
        },
        Wait::On(awaited) => match awaited.upgrade() {
            Some(awaited) => return format!("{}", Described(&*awaited)),
            None => "what is no longer there",
        },
    };
    gone.into()
}

impl fmt::Display for DeadlockReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tasks = self.tasks.len();
        write!(f, "deadlock: nothing is ready, no timer is pending, and {tasks} task(s) wait:")?;
        for task in &self.tasks {
            write!(f, "\n  {:?}, spawned at {}, waits for ", task.name, task.spawned_at)?;
            match task.waits_for.as_slice() {
                [] => f.write_str("a future that is not onelane's")?,
                waits => write_all(waits, f)?,
            }
        }
        Ok(())
    }
}
