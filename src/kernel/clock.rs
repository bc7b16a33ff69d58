//! Clocks: the machine's, and one that stands still until it is moved.
//!
//! The loop's time is a number of nanoseconds since the loop was made (`Time`); it never goes back (TIME-1). An `Instant` is
//! what users see of it: on a virtual clock, the moment of the loop's making plus the virtual time that has gone by.
//!
//! A virtual clock makes a program that sleeps for a year end at once, and in the same order each time. The rule is simple: the clock
//! stands still while anything is ready, and jumps to the next deadline when nothing is. A step takes no virtual time, so what happens
//! at one moment is ordered by the ready queue alone. And when nothing is ready and no timer is pending, time could pass for ever
//! without any effect: that is a deadlock, and a loop on a virtual clock reports it.
//!
//! 64 bits of nanoseconds last for 584 years. What lies beyond that never comes.
//!
//! Knows no timer and no task. Next: `wheel.rs`.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// Nanoseconds since the loop was made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Time(pub(crate) u64);

impl Time {
    /// Beyond what a clock can reach, 584 years after the loop was made. A timer for this moment never fires.
    pub(crate) const NEVER: Time = Time(u64::MAX);

    /// This long afterwards, or never.
    pub(crate) fn after(self, duration: Duration) -> Time {
        Time(self.0.saturating_add(nanoseconds(duration)))
    }

    /// How long it is since an earlier moment; nothing, if that was later.
    pub(crate) fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// A clock, real or virtual. To read a real one takes about as long as five switches, so the loop remembers what it showed last.
#[derive(Debug)]
pub(crate) struct Clock {
    epoch: Instant,
    /// What it showed last. A virtual clock stands there.
    seen: Cell<Time>,
    is_virtual: bool,
}

impl Clock {
    /// The machine's, from now on.
    pub(crate) fn real() -> Self {
        Clock { epoch: Instant::now(), seen: Cell::new(Time(0)), is_virtual: false }
    }

    /// One that stands at zero.
    pub(crate) fn virtual_time() -> Self {
        Clock { epoch: Instant::now(), seen: Cell::new(Time(0)), is_virtual: true }
    }

    pub(crate) fn is_virtual(&self) -> bool {
        self.is_virtual
    }

    /// The time: of a real clock, a new reading.
    pub(crate) fn now(&self) -> Time {
        if !self.is_virtual {
            self.seen.set(self.time_at(Instant::now()));
        }
        self.seen.get()
    }

    /// What it showed last: the time is this or later. Costs nothing.
    #[inline]
    pub(crate) fn seen(&self) -> Time {
        self.seen.get()
    }

    /// What the machine's clock shows, also beside a virtual one. Does not count as having been seen.
    #[cfg(all(unix, feature = "io"))]
    pub(crate) fn machine_time(&self) -> Time {
        self.time_at(Instant::now())
    }

    /// Moves a virtual clock to `time`; back is no direction (TIME-1).
    pub(crate) fn jump(&self, time: Time) {
        assert!(self.is_virtual, "only a virtual clock can be moved");
        let stands_at = self.seen.replace(time);
        assert!(time >= stands_at, "TIME-1: the clock stands at {} ns and was moved to {} ns", stands_at.0, time.0);
    }

    /// The loop's time at an instant; an instant before the loop was made counts as its first moment.
    pub(crate) fn time_at(&self, instant: Instant) -> Time {
        Time(nanoseconds(instant.saturating_duration_since(self.epoch)))
    }

    /// The instant of a time, as far as the platform can express it.
    pub(crate) fn instant_at(&self, time: Time) -> Option<Instant> {
        self.epoch.checked_add(Duration::from_nanos(time.0))
    }

    pub(crate) fn now_as_instant(&self) -> Instant {
        if !self.is_virtual {
            return Instant::now();
        }
        self.instant_at(self.now()).expect("a virtual clock that stays within what `Instant` can express")
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
