//! A clock that advances by the same step at each reading. It replaces the system's clock in a
//! program that counts.
//!
//! The real clock shows a different time in each run, and the arithmetic on it takes an instruction
//! more or less. The library's code is the same as for the real clock. The cost of the system's
//! clock is not in the figures.

use std::ffi::c_long;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

/// The `timespec` of C on a 64-bit Unix.
#[derive(Debug)]
#[repr(C)]
pub struct Timespec {
    seconds: c_long,
    nanoseconds: c_long,
}

/// The time that the clock has shown last, in nanoseconds.
static SHOWN: AtomicI64 = AtomicI64::new(1_000_000_000);
const STEP: i64 = 100;

/// Reads the clock.
#[inline]
pub fn read() -> Timespec {
    let now = SHOWN.fetch_add(STEP, Ordering::Relaxed) + STEP;
    Timespec { seconds: now / 1_000_000_000, nanoseconds: now % 1_000_000_000 }
}

/// Whether the standard library reads this clock.
pub(crate) fn is_read() -> bool {
    Instant::now().elapsed() == Duration::from_nanos(STEP.unsigned_abs())
}

/// Replaces the clock of the program that calls this macro in its root. The library does not call
/// it itself, because a program that measures time may use the library too.
#[macro_export]
macro_rules! replace_the_clock {
    () => {
        /// The linker prefers this function to the C library's, for all code in this program and
        /// for all clocks.
        ///
        /// # Safety
        ///
        /// The same contract as in the C library: `time` must be valid for a write.
        // SAFETY: this replaces a function of the C library, with the same signature and contract.
        #[allow(unsafe_code, reason = "the standard library reads the clock through this function alone")]
        #[unsafe(no_mangle)]
        pub(crate) unsafe extern "C" fn clock_gettime(
            _clock: ::std::ffi::c_int,
            time: *mut $crate::clock::Timespec,
        ) -> ::std::ffi::c_int {
            // SAFETY: the caller promises that `time` is valid for a write.
            unsafe { time.write($crate::clock::read()) };
            0
        }
    };
}
