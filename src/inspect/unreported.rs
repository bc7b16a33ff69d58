//! The deadlock report without the feature `report`.

use core::fmt;

/// A report of a deadlock: no task is ready, no timer is pending, and no other code holds a waker or
/// a [`Remote`](crate::Remote).
///
/// With the feature `report`, which is on by default, it lists the tasks, and where and for what each
/// waits.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, RunError};
/// use std::future::pending;
///
/// let stuck = EventLoop::with_virtual_clock().try_run(pending::<()>());
/// assert!(matches!(stuck, Err(RunError::Deadlock(_))));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DeadlockReport {}

impl fmt::Display for DeadlockReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("deadlock: nothing is ready, no timer is pending, and nobody else holds a waker")
    }
}
