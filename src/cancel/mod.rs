//! Code that handles cancellations: cleanups, blocks that can be interrupted, task groups.

pub(crate) mod block;
pub(crate) mod cleanup;
pub(crate) mod scope;
pub(crate) mod task_group;

#[cfg(doctest)]
mod tests;
