//! Nothing is ready: the loop sleeps, or finds that nothing can come.

#[cfg(feature = "probe")]
use crate::kernel::observe::probe::EventKind;
use crate::kernel::{Kernel, Parked, Time, Token};
use std::time::{Duration, Instant};

/// Nothing is ready, no timer is pending, and nobody has promised to send anything.
#[derive(Debug)]
pub(crate) struct Stuck;

impl Kernel {
    /// Sleeps, if nothing is ready, until the next deadline or until something comes.
    pub(crate) fn idle(&self) -> Result<(), Stuck> {
        if !self.table.is_idle() || self.inbox().has_messages() {
            return Ok(());
        }
        let mut next = self.next_deadline();
        if let Some(cleanups) = self.cancels.cleanups.get() {
            let (has_woken, soon) = self.wake_held_up(cleanups, next);
            if has_woken {
                return Ok(());
            }
            next = soon;
        }
        if next.is_none() && self.tells_deadlocks() {
            // There is nothing to wait for but `Remote`s and wakers that others hold.
            let is_alive = |token| self.table.is_alive(token);
            let is_listening = self.is_listening();
            if !is_listening && !self.inbox().may_receive(&is_alive) {
                return Err(Stuck);
            }
            let tell = self.clock.is_virtual().then(|| self.idling.tell_of_long_rest.take()).flatten();
            let begun = Instant::now();
            let timeout = tell.map(|_| self.idling.patience.get());
            // For a socket the loop waits as long as it takes.
            let parked = self.park(None, timeout, if is_listening { None } else { Some(&is_alive) });
            match tell {
                // It may have come back early, as below.
                Some(tell) if parked == Parked::TimedOut && begun.elapsed() >= self.idling.patience.get() => tell(self),
                tell => self.idling.tell_of_long_rest.set(tell),
            }
            return if parked == Parked::Abandoned { Err(Stuck) } else { Ok(()) };
        }
        if self.clock.is_virtual() {
            // The next turn jumps to the deadline, unless a socket is ready now.
            self.listen_if_idle();
            return Ok(());
        }
        let wake_up = next.map(|next| self.pace.wake_up(next));
        let timeout = wake_up.map(|wake_up| wake_up.since(self.clock.now()));
        if self.park(wake_up, timeout, None) == Parked::TimedOut {
            // It may have come back early: that is no wake-up for a timer.
            let now = self.clock.now();
            if wake_up.is_some_and(|wake_up| now >= wake_up) {
                self.pace.woke(now);
            }
        }
        Ok(())
    }

    /// A loop on a real clock that is observed for its metrics or a probe alone waits as any other.
    pub(in crate::kernel) fn tells_deadlocks(&self) -> bool {
        self.clock.is_virtual() || self.watch.is_some()
    }

    /// Sleeps until the timer that is told of, or until the time is up that is not, or as long as anybody is alive.
    pub(in crate::kernel) fn park(
        &self,
        _until: Option<Time>,
        timeout: Option<Duration>,
        is_alive: Option<&dyn Fn(Token) -> bool>,
    ) -> Parked {
        self.tally().parks.count();
        let next = self.next.get();
        tell!(self.table, EventKind::Park { until: _until.map(|until| Duration::from_nanos(until.0)) });
        // Whoever was told may have made something ready, or have set a timer.
        let has_changed = !self.table.is_idle() || self.next.get() < next;
        let parked = if has_changed { Parked::Message } else { self.sleep(timeout, is_alive) };
        tell!(self.table, EventKind::Unpark);
        parked
    }
}
