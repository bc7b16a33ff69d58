//! The type of moments, `Instant`.
//!
//! With the feature `std` it is std's, except on `wasm32-unknown-unknown`: std's `Instant::now()` panics
//! there. Elsewhere `without_std.rs` has a type with the same methods.

#[cfg(any(not(feature = "std"), all(target_arch = "wasm32", target_os = "unknown")))]
mod without_std;

#[cfg(all(feature = "std", not(all(target_arch = "wasm32", target_os = "unknown"))))]
pub use std::time::Instant;
#[cfg(any(not(feature = "std"), all(target_arch = "wasm32", target_os = "unknown")))]
pub use without_std::Instant;

/// The moment at which a virtual clock begins. A platform without a clock has one too.
#[inline]
pub(super) fn begin() -> Instant {
    #[cfg(any(not(feature = "std"), all(target_arch = "wasm32", target_os = "unknown")))]
    return Instant::ZERO;
    #[cfg(all(feature = "std", not(all(target_arch = "wasm32", target_os = "unknown"))))]
    Instant::now()
}
