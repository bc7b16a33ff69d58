//! What the crate needs besides `core` and `alloc`: time, waiting, locks, the running thread, panics.
//!
//! With the feature `std`, which is on by default, std has all of it, and this module has nothing
//! public. A program without `std` implements `Platform`, and passes it to `set` before it makes its
//! first loop:
//!
//! ```
//! # #[cfg(not(feature = "std"))]
//! fn start(board: &'static impl onelane::platform::Platform) {
//!     onelane::platform::set(board);
//!     onelane::run(async { /* the program */ });
//! }
//! ```

#[cfg(any(not(feature = "std"), doc))]
mod bare;

#[cfg(any(not(feature = "std"), doc))]
#[cfg_attr(docsrs, doc(cfg(not(feature = "std"))))]
pub use bare::{Platform, set};

#[cfg(all(not(feature = "std"), feature = "sync"))]
pub(crate) use bare::PoisonError;
#[cfg(not(feature = "std"))]
pub(crate) use bare::{
    Caught, Condvar, HashSet, Mutex, MutexGuard, OfOneThread, OnceLock, abort, catch_unwind, check, complain, now,
    panicking, resume_unwind, this_thread, thread_local,
};

#[cfg(all(not(feature = "std"), any(feature = "groups", feature = "sync")))]
pub(crate) use bare::HashMap;

#[cfg(feature = "std")]
pub(crate) use hosted::*;

#[cfg(feature = "std")]
mod hosted {
    #[cfg(any(feature = "groups", feature = "sync"))]
    pub(crate) use std::collections::HashMap;
    pub(crate) use std::collections::HashSet;
    pub(crate) use std::panic::{catch_unwind, resume_unwind};
    pub(crate) use std::process::abort;
    #[cfg(feature = "sync")]
    pub(crate) use std::sync::PoisonError;
    pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, OnceLock};
    pub(crate) use std::thread::panicking;
    pub(crate) use std::thread_local;

    use std::cell::Cell;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// What `catch_unwind` returns.
    pub(crate) use std::thread::Result as Caught;

    /// Loops may be made on every thread.
    #[inline]
    pub(crate) fn check() {}

    /// Writes a text to stderr in one call, so that no other output comes in between. If writing
    /// fails, the text is lost; `eprint!` would panic.
    #[cfg(not(all(target_arch = "wasm32", target_os = "unknown", feature = "web")))]
    pub(crate) fn complain(text: &str) {
        let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
    }

    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    pub(crate) use super::page::*;

    thread_local! {
        /// The number of this thread; zero before its first use. Without a destructor, so that it can
        /// be read while the thread ends.
        static THIS_THREAD: Cell<u64> = const { Cell::new(0) };
    }

    /// A number that no other thread of the process has or had.
    pub(crate) fn this_thread() -> u64 {
        static LAST: AtomicU64 = AtomicU64::new(0);
        THIS_THREAD.with(|number| {
            if number.get() == 0 {
                number.set(LAST.fetch_add(1, Ordering::Relaxed) + 1);
            }
            number.get()
        })
    }
}

/// What std lacks on `wasm32-unknown-unknown`, and JavaScript has.
#[cfg(all(feature = "std", target_arch = "wasm32", target_os = "unknown"))]
mod page {
    use core::time::Duration;

    #[cfg(feature = "web")]
    mod js {
        use wasm_bindgen::prelude::wasm_bindgen;

        #[wasm_bindgen]
        extern "C" {
            /// The milliseconds since the page, the worker or the process began, with fractions.
            #[wasm_bindgen(js_namespace = performance)]
            pub(super) fn now() -> f64;

            #[wasm_bindgen(js_namespace = console)]
            pub(super) fn error(text: &str);
        }
    }

    #[cfg(feature = "web")]
    pub(crate) fn now() -> Duration {
        Duration::from_nanos((js::now() * 1e6) as u64)
    }

    #[cfg(not(feature = "web"))]
    pub(crate) fn now() -> Duration {
        panic!(
            "Instant::now() was called on wasm32-unknown-unknown, where std has no clock; enable the feature `web` of \
             onelane for JavaScript's clock, or use EventLoop::with_virtual_clock()"
        )
    }

    /// In JavaScript, stderr is the console.
    #[cfg(feature = "web")]
    pub(crate) fn complain(text: &str) {
        js::error(text.trim_end());
    }
}
