//! Observers of the loop: counters, the probe, debug mode, and the names under which tasks are
//! shown.

pub(crate) mod names;
pub(crate) mod note;
#[cfg(feature = "probe")]
pub(crate) mod probe;
pub(crate) mod tally;
pub(crate) mod task_id;
pub(crate) mod view;
pub(crate) mod watch;
