//! Runs crates of other authors unchanged on the loop: channels, locks, combinators, timers and
//! sockets. These crates know nothing of onelane except the waker with which they are polled.
//!
//! Each crate has a file in this folder. `cancelled.rs` tests what all of them have in common when
//! a waiting task is cancelled, or its loop ends.

#[path = "../common/mod.rs"]
mod common;
#[path = "async_channel.rs"]
mod of_async_channel;
#[path = "async_io.rs"]
mod of_async_io;
#[path = "async_lock.rs"]
mod of_async_lock;
#[path = "futures_util.rs"]
mod of_futures_util;
#[cfg(all(unix, feature = "tokio-io"))]
#[path = "tokio_io.rs"]
mod of_tokio_io;
#[path = "tokio_sync.rs"]
mod of_tokio_sync;
#[path = "cancelled.rs"]
mod when_cancelled;

use common::{Trace, virtual_loop, watched};
use onelane::time;
use std::fmt::Display;
use std::time::Instant;

/// Runs a test on a virtual clock, and fails if it hangs. A task that waits in another crate may be
/// woken by any thread. So if a wake were lost, the loop would wait for it, and report no deadlock.
fn on_virtual_clock(test: impl AsyncFnOnce() + Send + 'static) {
    watched(|| virtual_loop().run(test()));
}

/// A list of events with their times, in milliseconds of the running loop's clock since the list
/// was created.
#[derive(Clone)]
struct Diary {
    entries: Trace,
    begun: Instant,
}

impl Diary {
    fn begin() -> Self {
        Diary { entries: Trace::new(), begun: time() }
    }

    fn note(&self, what: impl Display) {
        self.entries.push(format!("{} ms: {what}", (time() - self.begun).as_millis()));
    }

    fn take(&self) -> Vec<String> {
        self.entries.take()
    }
}
