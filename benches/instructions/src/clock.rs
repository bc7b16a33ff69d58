//! A clock that goes on by the same step whenever it is read, in place of the system's.
//!
//! A real one shows something else in each run, and the arithmetic on what it shows takes an instruction more or less. The
//! library's code is that of the real clock. What the system's clock itself takes is not in the figures.

use std::ffi::{c_int, c_long};
use std::sync::atomic::{AtomicI64, Ordering};

/// As C has it on a 64-bit Unix.
#[repr(C)]
pub(crate) struct Timespec {
    seconds: c_long,
    nanoseconds: c_long,
}

/// What it showed last, in nanoseconds.
static SHOWN: AtomicI64 = AtomicI64::new(1_000_000_000);
const STEP: i64 = 100;

/// Found before the C library's by everything in this program, for all clocks.
///
/// # Safety
///
/// As the C library has it: `time` must be valid for a write.
// SAFETY: the name is the C library's, and so are the signature and what it does.
#[allow(unsafe_code, reason = "the standard library reads the clock through this function alone")]
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn clock_gettime(_clock: c_int, time: *mut Timespec) -> c_int {
    let now = SHOWN.fetch_add(STEP, Ordering::Relaxed) + STEP;
    let now = Timespec { seconds: now / 1_000_000_000, nanoseconds: now % 1_000_000_000 };
    // SAFETY: the caller's promise.
    unsafe { time.write(now) };
    0
}
