//! The type of moments, `Instant`: std's, or without the feature `std` one with the same methods.

#[cfg(not(feature = "std"))]
mod without_std;

#[cfg(feature = "std")]
pub use std::time::Instant;
#[cfg(not(feature = "std"))]
pub use without_std::Instant;
