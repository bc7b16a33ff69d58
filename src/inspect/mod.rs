//! Inspecting a loop: its call graph, deadlocks, metrics, the probe.

pub(crate) mod call_graph;
pub(crate) mod deadlock;
pub(crate) mod introspect;
pub(crate) mod json;
pub(crate) mod metrics;
#[cfg(feature = "probe")]
pub mod probe;

/// A short source location, for tests of what is shown of locations.
#[cfg(test)]
const PLACE: &std::panic::Location<'static> = std::panic::Location::caller();
