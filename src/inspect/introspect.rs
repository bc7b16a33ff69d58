//! The running task, and all tasks.

use crate::kernel::explore::unknown;
use crate::leaf::running;
use crate::task::TaskRef;
use alloc::vec::Vec;

/// Returns the running task; `None` in a callback.
///
/// In the destructor of a cancelled task's future, this is the cancelled task.
///
/// asyncio: `current_task()`.
///
/// # Panics
///
/// If no loop is running on this thread.
///
/// # Examples
///
/// ```
/// onelane::EventLoop::with_virtual_clock().run(async {
///     assert_eq!(&*onelane::current_task().unwrap().name(), "main-1");
///     onelane::call_soon(|| assert!(onelane::current_task().is_none()));
/// });
/// ```
#[track_caller]
pub fn current_task() -> Option<TaskRef> {
    running("current_task()").current().map(|cell| TaskRef { cell })
}

/// Returns the tasks of the running loop that have not ended, in the order in which they were
/// spawned.
///
/// asyncio: `all_tasks()`, which returns a set.
///
/// # Panics
///
/// If no loop is running on this thread.
///
/// # Cost
///
/// O(n log n), a few allocations.
///
/// # Examples
///
/// ```
/// onelane::EventLoop::with_virtual_clock().run(async {
///     let task = onelane::spawn(async {});
///     assert_eq!(onelane::all_tasks().len(), 2);
///     task.await.unwrap();
///     assert_eq!(onelane::all_tasks(), [onelane::current_task().unwrap()]);
/// });
/// ```
#[track_caller]
pub fn all_tasks() -> Vec<TaskRef> {
    unknown("all_tasks()");
    running("all_tasks()").tasks().into_iter().map(|cell| TaskRef { cell }).collect()
}
