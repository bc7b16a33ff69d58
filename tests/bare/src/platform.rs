//! A platform of threads, made from std: the loop's thread waits on a condition variable.
#![allow(unsafe_code, reason = "implements `Platform`")]

use onelane::platform::Platform;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, LazyLock, Mutex};
use std::time::{Duration, Instant};

pub(crate) struct Threads {
    /// Whether a wake has come since the last wait.
    is_woken: Mutex<bool>,
    changed: Condvar,
}

pub(crate) static THREADS: Threads = Threads { is_woken: Mutex::new(false), changed: Condvar::new() };

static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);

thread_local! {
    static NUMBER: usize = {
        static LAST: AtomicUsize = AtomicUsize::new(0);
        LAST.fetch_add(1, Ordering::Relaxed)
    };
}

// SAFETY: each thread has a number of its own.
unsafe impl Platform for Threads {
    fn now(&self) -> Duration {
        BEGUN.elapsed()
    }

    fn wait(&self, until: Option<Duration>) {
        let mut is_woken = self.is_woken.lock().unwrap();
        if !*is_woken {
            is_woken = match until {
                Some(until) => self.changed.wait_timeout(is_woken, until.saturating_sub(BEGUN.elapsed())).unwrap().0,
                None => self.changed.wait(is_woken).unwrap(),
            };
        }
        *is_woken = false;
    }

    fn wake(&self) {
        *self.is_woken.lock().unwrap() = true;
        self.changed.notify_one();
    }

    // There are no interrupt handlers.
    fn mask(&self) -> usize {
        0
    }

    fn unmask(&self, _state: usize) {}

    fn context(&self) -> usize {
        NUMBER.with(|number| *number)
    }

    fn print(&self, line: &str) {
        eprintln!("{line}");
    }
}
