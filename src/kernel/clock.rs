//! Clocks: the machine's, and a virtual one that stands still until it is moved.
//!
//! The loop's time is the number of nanoseconds since the loop was created (`Time`). It never goes back (TIME-1). Users see it
//! as an `Instant`: on a virtual clock, the moment when the loop was created plus the virtual time that has passed.
//!
//! On a virtual clock, a program that sleeps for a year ends at once, and runs in the same order each time. The clock stands
//! still while anything is ready, and jumps to the next deadline when nothing is. A step takes no virtual time, so the ready
//! queue alone orders what happens at one moment. If nothing is ready and no timer is pending, the passing of time changes
//! nothing. Unless a wake can still come from outside, this is a deadlock. A loop on a virtual clock reports deadlocks.
//!
//! 64 bits of nanoseconds last for 584 years. A timer beyond that never fires.
//!
//! This file knows no timers and no tasks. Next: `wheel.rs`.

pub(crate) mod instant;

use core::cell::Cell;
use core::time::Duration;
pub(crate) use instant::Instant;

/// Nanoseconds since the loop was created.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Time(pub(crate) u64);

impl Time {
    /// The end of time, 584 years after the loop was created. A timer for this moment never fires.
    pub(crate) const NEVER: Time = Time(u64::MAX);

    /// The time `duration` later, or `NEVER`.
    pub(crate) fn after(self, duration: Duration) -> Time {
        Time(self.0.saturating_add(nanoseconds(duration)))
    }

    /// The time that has passed since `earlier`; zero if `earlier` is later.
    pub(crate) fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// A clock, real or virtual. It stores its last reading, because reading a real clock takes about as long as five switches.
#[derive(Debug)]
pub(crate) struct Clock {
    epoch: Instant,
    /// The last reading. A virtual clock stands at this time.
    seen: Cell<Time>,
    is_virtual: bool,
}

impl Clock {
    /// The machine's clock. It starts at zero now.
    pub(crate) fn real() -> Self {
        Clock { epoch: Instant::now(), seen: Cell::new(Time(0)), is_virtual: false }
    }

    /// A virtual clock that stands at zero.
    pub(crate) fn virtual_time() -> Self {
        Clock { epoch: instant::begin(), seen: Cell::new(Time(0)), is_virtual: true }
    }

    pub(crate) fn is_virtual(&self) -> bool {
        self.is_virtual
    }

    /// The current time. Reads a real clock.
    pub(crate) fn now(&self) -> Time {
        if !self.is_virtual {
            self.seen.set(self.time_at(Instant::now()));
        }
        self.seen.get()
    }

    /// The last reading: the current time is the same or later. Does not read the clock.
    #[inline]
    pub(crate) fn seen(&self) -> Time {
        self.seen.get()
    }

    /// The machine's time, even if this clock is virtual. Does not change `seen`.
    #[cfg(all(unix, feature = "io"))]
    pub(crate) fn machine_time(&self) -> Time {
        self.time_at(Instant::now())
    }

    /// Moves a virtual clock forward to `time` (TIME-1).
    pub(crate) fn jump(&self, time: Time) {
        assert!(self.is_virtual, "only a virtual clock can be moved");
        let stands_at = self.seen.replace(time);
        assert!(time >= stands_at, "TIME-1: the clock stands at {} ns and was moved to {} ns", stands_at.0, time.0);
    }

    /// The loop's time at an instant; zero for an instant before the loop was created.
    pub(crate) fn time_at(&self, instant: Instant) -> Time {
        Time(nanoseconds(instant.saturating_duration_since(self.epoch)))
    }

    /// The instant of a time, if the platform can express it.
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
    let seconds = duration.as_secs().checked_mul(1_000_000_000);
    seconds.and_then(|seconds| seconds.checked_add(duration.subsec_nanos().into())).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
