//! Other people's crates on the loop, as they are: channels, locks, combinators, timers and sockets that know no more of
//! onelane than the waker that they are polled with.
//!
//! A file for each crate stands beside this one; `cancelled.rs` has what holds of all of them when a task that waits in
//! them is cancelled, or its loop ends.

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
#[path = "tokio_sync.rs"]
mod of_tokio_sync;
#[path = "cancelled.rs"]
mod when_cancelled;

use common::{Trace, virtual_loop, watched};
use onelane::time;
use std::fmt::Display;
use std::time::Instant;

/// Runs a test on a virtual clock, and fails if it hangs: whoever waits for another crate may be woken by anybody, so if a
/// wake were lost the loop would wait for it, and report no deadlock.
fn on_virtual_clock(test: impl AsyncFnOnce() + Send + 'static) {
    watched(|| virtual_loop().run(test()));
}

/// A list of what happened, and when: in milliseconds of the running loop's clock since the list was begun.
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
