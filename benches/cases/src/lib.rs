//! The work that runtimes are measured by: each case once, generic over the runtime.
//!
//! The [`catalogue`](CASES) says what the cases are; [`runtime`] says what a runtime must have to take part. A case is a [`Work`]: it
//! runs on a runtime that it makes itself, tells the [`Meter`] when what is measured begins and ends, and returns how many operations
//! it has seen done, so that no runtime wins by leaving something out. It does not know how it is measured (time, instructions, memory).
//!
//! Two runtimes stand here since they need no other crate: [`Floor`] and [`Onelane`]. The others are in `benches/peers`.

mod catalogue;
mod combinators;
mod floor;
mod memory;
mod onelane;
pub mod runtime;
mod spawns;
mod sync;
mod timers;
mod wakes;
mod yields;

pub use catalogue::{CASES, Case, Measure, Rounds, Size, find};
pub use combinators::gathers;
pub use floor::Floor;
pub use memory::{sleeping, waiting};
pub use onelane::{Counting, Debugged, Onelane};
pub use spawns::spawns;
pub use sync::{channels, oneshots};
pub use timers::timers;
pub use wakes::{foreign_wakes, runs};
pub use yields::{own_yields, yields};

/// Whom a case tells when what is measured begins and ends: each is called once in a run, on the thread of the runtime.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    /// What comes from here on is measured.
    pub start: fn(),
    /// Up to here.
    pub stop: fn(),
}

impl Meter {
    /// Measures nothing: for tests and warm-ups.
    pub const NONE: Meter = Meter { start: || {}, stop: || {} };
}

/// A case on a certain runtime. Returns how many operations were done, which must be [`Size::operations`].
pub type Work = fn(Size, Meter) -> u64;

/// A runtime's works, each with the id of its case.
pub type Works = Vec<(&'static str, Work)>;

/// What any [`Runtime`](runtime::Runtime) can do.
pub fn basics<R: runtime::Runtime>() -> Works {
    [yields::<R>(), spawns::<R>(), waiting::<R>()].concat()
}
