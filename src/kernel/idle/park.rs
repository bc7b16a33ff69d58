//! Nothing is ready: the loop sleeps, or finds that the program is stuck.

#[cfg(feature = "probe")]
use crate::kernel::observe::probe::EventKind;
use crate::kernel::table::waker::observed as observed_vtable;
use crate::kernel::{Instant, Kernel, Parked, Time, Token};
use core::task::RawWakerVTable;
use core::time::Duration;

/// Nothing is ready, no timer is pending, and no message can arrive.
#[derive(Debug)]
pub(crate) struct Stuck;

/// Whether another thread can send a message. If not, a loop that has nothing to run and no timer is
/// stuck, on a real clock too, and must not wait: WebAssembly's condition variable would panic.
pub(crate) const HAS_THREADS: bool =
    !cfg!(all(feature = "std", target_family = "wasm", not(target_feature = "atomics")));

/// Whether the thread can sleep until a deadline. In JavaScript it cannot.
const CAN_WAIT: bool = !cfg!(all(target_arch = "wasm32", target_os = "unknown"));

/// What only observed loops do. Such a loop counts the wakers that user code holds, so that it knows
/// whether a task can still be woken. The functions are called only through these pointers, so that
/// a program without observed loops does not contain them.
pub(crate) struct Observed {
    /// Returns the vtable of the loop's wakers.
    pub(in crate::kernel) vtable: fn() -> &'static RawWakerVTable,
    rest: fn(&Kernel) -> Result<(), Stuck>,
}

pub(crate) static OBSERVED: Observed = Observed { vtable: observed_vtable, rest: Kernel::rest };

impl Kernel {
    /// If nothing is ready, sleeps until the next deadline or until a message arrives.
    pub(crate) fn idle(&self) -> Result<(), Stuck> {
        if !self.table.is_idle() || self.inbox().has_messages() {
            return Ok(());
        }
        #[allow(unused_mut, reason = "without groups and locks there are no cleanups to wake")]
        let mut next = self.next_deadline();
        #[cfg(any(feature = "groups", feature = "sync"))]
        if let Some(cleanups) = self.cancels.cleanups.get() {
            let (has_woken, soon) = cleanups.wake(self, next);
            if has_woken {
                return Ok(());
            }
            next = soon;
        }
        if let Some(observed) = self.idling.observed.filter(|_| next.is_none() && self.tells_deadlocks()) {
            return (observed.rest)(self);
        }
        if self.clock.is_virtual() {
            // The next turn jumps to the deadline, unless a socket is ready now.
            self.listen_if_idle();
            return Ok(());
        }
        if !HAS_THREADS && next.is_none() {
            return Err(Stuck);
        }
        if !CAN_WAIT {
            panic!(
                "a loop would have to wait for a timer, and nothing can wait on wasm32-unknown-unknown; spawn the \
                 future by web::spawn() (feature `web`) instead of calling run(), or use a virtual clock"
            );
        }
        let wake_up = next.map(|next| self.pace.wake_up(next));
        let timeout = wake_up.map(|wake_up| wake_up.since(self.clock.now()));
        if self.park(wake_up, timeout, None) == Parked::TimedOut {
            // The wait may have returned early. Then it was not a wake-up for a timer.
            let now = self.clock.now();
            if wake_up.is_some_and(|wake_up| now >= wake_up) {
                self.pace.woke(now);
            }
        }
        Ok(())
    }

    /// Sleeps until a message arrives; there is no deadline. Returns `Stuck` if no message can arrive.
    fn rest(&self) -> Result<(), Stuck> {
        // Only `Remote`s and counted wakers can still cause work.
        let is_alive = |token| self.table.is_alive(token);
        let is_listening = self.is_listening();
        if !is_listening && (!HAS_THREADS || !self.inbox().may_receive(&is_alive)) {
            return Err(Stuck);
        }
        let tell = self.clock.is_virtual().then(|| self.idling.tell_of_long_rest.take()).flatten();
        let begun = Instant::now();
        let timeout = tell.map(|_| self.idling.patience.get());
        // If a task waits for a socket, the loop waits without a limit.
        let parked = self.park(None, timeout, if is_listening { None } else { Some(&is_alive) });
        match tell {
            // The wait may have returned early, as in `idle`.
            Some(tell) if parked == Parked::TimedOut && begun.elapsed() >= self.idling.patience.get() => tell(self),
            tell => self.idling.tell_of_long_rest.set(tell),
        }
        if parked == Parked::Abandoned { Err(Stuck) } else { Ok(()) }
    }

    /// Whether the loop reports deadlocks. A loop on a real clock that is observed only for metrics
    /// or a probe does not.
    pub(in crate::kernel) fn tells_deadlocks(&self) -> bool {
        self.clock.is_virtual() || self.watch.is_some()
    }

    /// Sleeps until a message arrives or the timeout has passed. With `is_alive`, it also returns
    /// when no message can arrive any more. `until` is the deadline that the probe sees.
    pub(in crate::kernel) fn park(
        &self,
        _until: Option<Time>,
        timeout: Option<Duration>,
        is_alive: Option<&dyn Fn(Token) -> bool>,
    ) -> Parked {
        self.tally().parks.count();
        let next = self.next.get();
        tell!(self.table, EventKind::Park { until: _until.map(|until| Duration::from_nanos(until.0)) });
        // The probe may have made something ready, or have set a timer.
        let has_changed = !self.table.is_idle() || self.next.get() < next;
        let parked = if has_changed { Parked::Message } else { self.sleep(timeout, is_alive) };
        tell!(self.table, EventKind::Unpark);
        parked
    }
}
