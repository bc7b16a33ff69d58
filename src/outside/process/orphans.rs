//! Orphans: processes whose `Child` was dropped while they ran. This file has the list of them, for
//! the whole program, and takes their exit statuses, so that no zombie is left.
//!
//! We considered three ways to notice that an orphan has ended:
//!
//! - **A task** of the loop that waits for it. It would appear in reports, and the end of `run`
//!   would cancel it.
//! - **A check of all orphans** from time to time. It takes a system call per orphan. And a loop
//!   that sleeps does not check.
//! - **The poller reports it**, as it reports any pidfd. The reactor then wakes a waker, which
//!   takes this one exit status. It costs nothing while the orphan runs.
//!
//! The third is used where there are pidfds. It does not count as a wait, so the loop may report a
//! deadlock and `run` may return while an orphan runs. Elsewhere `SIGCHLD` starts a check of all
//! orphans.
//!
//! The list belongs to the program and not to a loop, because a loop may end before its orphans.
//! A loop that ends waits for the orphans that were killed, because these end soon, and its poller
//! was the only one to report their ends. The start of a child also checks all orphans: one short system call for each, beside the start
//! of a process, which takes about a millisecond.

use crate::kernel::context;
use crate::kernel::idle::sockets::reactor::SourceKey;
use crate::outside::process::pidfd::Pidfd;
use crate::outside::signals::{Ear, Listener, SIGCHLD};
use std::collections::BTreeMap;
use std::process::Child;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

/// How long a loop that is dropped waits for a process that was killed. The operating system may need
/// longer if the process is in the middle of an input or output.
const DIES_WITHIN: Duration = Duration::from_secs(1);

static ORPHANS: Mutex<Orphans> = Mutex::new(Orphans { numbered: 0, children: BTreeMap::new(), ear: None });

struct Orphans {
    /// The number of the last orphan.
    numbered: u64,
    children: BTreeMap<u64, Child>,
    /// The listener for `SIGCHLD`, since there was an orphan without a pidfd.
    ear: Option<Ear>,
}

/// No user code runs under the lock.
fn lock() -> MutexGuard<'static, Orphans> {
    ORPHANS.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Orphans {
    /// Takes the exit status of an orphan. Returns whether the orphan still runs.
    fn still_runs(child: &mut Child) -> bool {
        // If it fails, other code has taken the status.
        matches!(child.try_wait(), Ok(None))
    }
}

/// Takes the exit statuses of all orphans that have ended.
pub(super) fn reap() {
    lock().children.retain(|_, child| Orphans::still_runs(child));
}

/// Keeps a child that nobody waits for, until it has ended.
pub(super) fn adopt(child: Child, pidfd: Option<Pidfd>, loop_id: u64, killed_at: Option<Instant>) {
    let number = {
        let mut orphans = lock();
        orphans.numbered += 1;
        let number = orphans.numbered;
        orphans.children.insert(number, child);
        number
    };
    match pidfd {
        Some(pidfd) => Arc::new(Orphan { number, key: pidfd.key(), loop_id, killed_at }).watch(),
        None => listen(),
    }
}

/// Listens for `SIGCHLD` from now on. If that is not possible, `reap` remains.
fn listen() {
    if lock().ear.is_none() {
        // Not under the lock, so that no thread holds it together with the lock of the listeners.
        if let Ok(ear) = Ear::new(SIGCHLD, Listener::Other, reap) {
            let old = lock().ear.replace(ear);
            drop(old);
        }
    }
    // It may have ended before.
    reap();
}

/// Woken when the poller reports the orphan's pidfd.
struct Orphan {
    number: u64,
    /// Its pidfd.
    key: SourceKey,
    loop_id: u64,
    killed_at: Option<Instant>,
}

impl Orphan {
    /// Waits for the next report. If the loop has gone, there is none, and this is dropped.
    fn watch(self: Arc<Self>) {
        let Some(kernel) = context::find(self.loop_id) else { return };
        let Ok(reactor) = kernel.reactor() else { return };
        let key = self.key;
        drop(reactor.watch(key, Waker::from(self)));
    }

    /// Takes the exit status if the orphan has ended.
    fn still_runs(&self) -> bool {
        let mut orphans = lock();
        let still_runs = orphans.children.get_mut(&self.number).is_some_and(Orphans::still_runs);
        if !still_runs {
            orphans.children.remove(&self.number);
        }
        still_runs
    }
}

impl Wake for Orphan {
    fn wake(self: Arc<Self>) {
        if self.still_runs() {
            self.watch();
        } else if let Some(kernel) = context::find(self.loop_id) {
            kernel.remove_source(self.key);
        }
    }
}

/// The loop was dropped, or the orphan has ended.
impl Drop for Orphan {
    fn drop(&mut self) {
        while self.killed_at.is_some_and(|killed_at| killed_at.elapsed() < DIES_WITHIN) && self.still_runs() {
            thread::sleep(Duration::from_micros(100));
        }
    }
}

/// The number of orphans of the program.
#[cfg(test)]
pub(super) fn count() -> usize {
    lock().children.len()
}
