//! Observers of the loop: counters, the probe, debug mode, and the names under which tasks are
//! shown.

#[cfg(feature = "report")]
pub(crate) mod names;
pub(crate) mod note;
#[cfg(feature = "probe")]
pub(crate) mod probe;
pub(crate) mod tally;
pub(crate) mod task_id;
pub(crate) mod view;
#[cfg(feature = "report")]
pub(crate) mod watch;
#[cfg(not(feature = "report"))]
#[path = "unwatched.rs"]
pub(crate) mod watch;
