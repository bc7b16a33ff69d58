//! What is said of a program that cannot go on.

use crate::call_graph::{CallGraph, TaskSnapshot};
use crate::kernel::Kernel;
use crate::task::TaskId;
use std::fmt;

/// All tasks of a loop in which nothing can happen any more, with where each waits, and for what.
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
/// assert_eq!(stuck.waits_for[0].what, "a lock");
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DeadlockReport {
    /// The tasks, in the order in which they were spawned.
    pub tasks: Vec<TaskSnapshot>,
    /// The circles in which tasks wait for each other, as [`CallGraph::circles`] tells them.
    pub circles: Vec<Vec<TaskId>>,
}

impl DeadlockReport {
    pub(crate) fn of(kernel: &Kernel) -> Self {
        let graph = CallGraph::of(kernel);
        DeadlockReport { circles: graph.circles(), tasks: graph.tasks }
    }
}

impl fmt::Display for DeadlockReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tasks = self.tasks.len();
        write!(f, "deadlock: nothing is ready, no timer is pending, and {tasks} task(s) wait:")?;
        for task in &self.tasks {
            write!(f, "\n  {:?}, spawned at {}, waits ", task.name, task.spawned_at)?;
            match task.waits_for.as_slice() {
                [] => f.write_str("for a future that is not onelane's")?,
                waits => write_all(waits, f)?,
            }
        }
        Ok(())
    }
}

/// `at a.rs:1:2 for a sleep, and at a.rs:3:4 for a lock`
pub(crate) fn write_all(waits: &[crate::call_graph::WaitSnapshot], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (nth, wait) in waits.iter().enumerate() {
        write!(f, "{}at {} for {}", if nth == 0 { "" } else { ", and " }, wait.at, wait.what)?;
    }
    Ok(())
}
