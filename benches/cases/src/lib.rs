//! The cases by which runtimes are measured. Each case is written once, generic over the runtime.
//!
//! The [`catalogue`](CASES) lists the cases; [`runtime`] has the traits that a runtime implements
//! to take part. A case on a runtime is a [`Work`]: a function that creates the runtime and runs
//! the case on it. It calls the [`Meter`] when the measured part begins and ends. It returns the
//! number of operations that were done, so no runtime wins by leaving something out. A work does
//! not know what is measured: time, instructions or memory.
//!
//! Two runtimes are in this package, because they need no other crate: [`Floor`] and [`Onelane`].
//! The others are in `benches/peers`.

mod catalogue;
mod combinators;
mod floor;
mod memory;
mod onelane;
pub mod runtime;
mod spawns;
mod sync;
mod timers;
mod waits;
mod wakes;
mod yields;

pub use catalogue::{CASES, Case, Measure, ONELANE_ONLY, Rounds, Size, find};
pub use combinators::gathers;
pub use floor::Floor;
pub use memory::{sleeping, waiting};
pub use onelane::{Counting, Debugged, Onelane};
pub use spawns::spawns;
pub use sync::{channels, oneshots};
pub use timers::timers;
pub use waits::waits;
pub use wakes::{foreign_wakes, runs};
pub use yields::{own_yields, yields};

/// What a case calls when its measured part begins and ends. A run calls each function once, on the
/// thread of the runtime.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    /// Called when the measured part begins.
    pub start: fn(),
    /// Called when it ends.
    pub stop: fn(),
}

impl Meter {
    /// Measures nothing; for tests and warm-ups.
    pub const NONE: Meter = Meter { start: || {}, stop: || {} };
}

/// A case on one runtime. Returns the number of operations that were done, which must be
/// [`Size::operations`].
pub type Work = fn(Size, Meter) -> u64;

/// A runtime's works, each with the id of its case.
pub type Works = Vec<(&'static str, Work)>;

/// The works of any [`Runtime`](runtime::Runtime).
pub fn basics<R: runtime::Runtime>() -> Works {
    [yields::<R>(), spawns::<R>(), waiting::<R>()].concat()
}
