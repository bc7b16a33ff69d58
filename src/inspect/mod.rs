//! Inspecting a loop: its call graph, deadlocks, metrics, the probe.

#[cfg(feature = "report")]
pub(crate) mod call_graph;
#[cfg(feature = "report")]
pub(crate) mod deadlock;
pub(crate) mod introspect;
#[cfg(any(feature = "report", feature = "probe"))]
pub(crate) mod json;
pub(crate) mod metrics;
#[cfg(feature = "probe")]
pub mod probe;
#[cfg(feature = "replay")]
pub mod replay;
#[cfg(not(feature = "report"))]
pub(crate) mod unreported;

/// A short source location, for tests of what is shown of locations.
#[cfg(test)]
const PLACE: &std::panic::Location<'static> = std::panic::Location::caller();
