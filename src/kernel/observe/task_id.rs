//! The ids of tasks, as users see them.
//!
//! This file knows no tasks.

use core::fmt;

/// The id of a task, unique in its loop.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, TaskId, as_completed, spawn};
/// use std::collections::HashMap;
///
/// EventLoop::with_virtual_clock().run(async {
///     let words = ["tea", "toast"];
///     let tasks = words.map(|word| spawn(async { word.len() }));
///     let labels: HashMap<TaskId, &str> = tasks.iter().map(|task| task.id()).zip(words).collect();
///     let results = as_completed(tasks);
///     while let Some(task) = results.next_task().await {
///         assert_eq!(labels[&task.id()].len(), *task.result().unwrap());
///     }
/// });
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TaskId(pub(crate) u64);

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
