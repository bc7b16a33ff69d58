//! Code that handles cancellations: cleanups, blocks that can be interrupted, task groups.

pub(crate) mod block;
#[cfg(feature = "groups")]
pub(crate) mod cleanup;
#[cfg(feature = "groups")]
pub(crate) mod scope;
#[cfg(feature = "groups")]
pub(crate) mod task_group;

#[cfg(doctest)]
mod tests;
