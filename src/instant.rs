//! The type of moments, [`Instant`]: std's.
//!
//! This file does not know the loop. Next: `kernel/clock.rs`.

#[doc(no_inline)]
pub use std::time::Instant;
