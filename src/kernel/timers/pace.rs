//! How often a loop reads a real clock for its timers.
//!
//! A busy loop: reading a clock takes longer than a short step. So the loop steps several entries
//! of its ready queue, a stretch, between two readings. If a stretch takes less than a microsecond,
//! the next one is twice as long, up to 63 entries. If it takes longer, the next one is a quarter
//! as long. So a timer can be late by one stretch: by about a microsecond, or, when short steps
//! become long, once by 63 long steps.
//!
//! Measured: with a reading in each turn, a yield with a timer pending took six times as long as a
//! yield without. With this rule it takes 1.2 times as long.
//!
//! An idle loop: waking a thread costs as much as a hundred timers. A timer fires as punctually as
//! the system allows, unless four or more timers (a swarm) have fired since the last wake-up. Then
//! the next one is at least a quarter of a millisecond after it. So a swarm of timers wakes the
//! thread at most 4,000 times a second. (With epoll, asyncio always waits for whole milliseconds.)
//!
//! This file knows no clock, timer or queue: its callers pass times and counts.

use crate::kernel::clock::Time;
use core::cell::Cell;
use core::time::Duration;

/// Maximum time that a stretch without a reading may take before it is shortened.
const SHORT: Duration = Duration::from_micros(1);

/// Maximum number of entries in a stretch.
const LONGEST: usize = 63;

/// Minimum number of timers in a swarm.
const SWARM: usize = 4;

/// Minimum time between two wake-ups for a swarm.
const SHARED: Duration = Duration::from_micros(250);

#[derive(Debug)]
pub(crate) struct Pace {
    /// Number of entries that may follow before the next reading.
    left: Cell<usize>,
    /// Number of entries in the current stretch.
    stretch: Cell<usize>,
    looked_at: Cell<Time>,
    /// When an idle loop last woke up for a timer.
    woke_at: Cell<Time>,
    /// Number of timers that have fired since `woke_at`.
    fired: Cell<usize>,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Pace {
            left: Cell::new(0),
            stretch: Cell::new(0),
            looked_at: Cell::new(Time(0)),
            woke_at: Cell::new(Time(0)),
            fired: Cell::new(0),
        }
    }

    /// Whether a turn of `entries` entries may follow without a reading of the clock.
    #[inline]
    pub(crate) fn goes_on(&self, entries: usize) -> bool {
        let left = self.left.get().checked_sub(entries);
        self.left.set(left.unwrap_or(0));
        left.is_some()
    }

    /// When an idle loop should wake up if its next timer is due at `deadline`.
    pub(crate) fn wake_up(&self, deadline: Time) -> Time {
        if self.fired.get() < SWARM {
            return deadline;
        }
        deadline.max(self.woke_at.get().after(SHARED))
    }

    /// Records that an idle loop woke up for a timer.
    pub(crate) fn woke(&self, now: Time) {
        self.woke_at.set(now);
        self.fired.set(0);
    }

    /// Records that a timer fires.
    #[inline]
    pub(crate) fn fired(&self) {
        self.fired.set(self.fired.get() + 1);
    }

    /// Records that the clock was read.
    pub(crate) fn looked(&self, now: Time) {
        let took = now.since(self.looked_at.replace(now));
        let stretch = self.stretch.get();
        let next = if took < SHORT { (2 * stretch + 1).min(LONGEST) } else { stretch / 4 };
        self.stretch.set(next);
        self.left.set(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs turns of one entry that take `each` nanoseconds. Returns the numbers of entries between
    /// two readings.
    fn stretches(pace: &Pace, now: &mut u64, each: u64, looks: usize) -> Vec<usize> {
        let mut stretches = Vec::new();
        while stretches.len() < looks {
            pace.looked(Time(*now));
            let mut entries = 0;
            // The turn that begins with the reading, and the turns without one that follow.
            loop {
                (entries, *now) = (entries + 1, *now + each);
                if !pace.goes_on(1) {
                    break;
                }
            }
            stretches.push(entries);
        }
        stretches
    }

    #[test]
    fn look_seldom_at_short_steps_and_each_turn_at_long_ones() {
        let (pace, mut now) = (Pace::new(), 5_000_000);
        assert_eq!(stretches(&pace, &mut now, 10, 8), [1, 2, 4, 8, 16, 32, 64, 64]);
        assert_eq!(stretches(&pace, &mut now, 10_000, 5), [64, 16, 4, 1, 1]);
        let at_a_tenth = stretches(&pace, &mut now, 100, 40);
        assert!(at_a_tenth[10..].iter().all(|&stretch| (2..=20).contains(&stretch)), "{at_a_tenth:?}");
    }

    #[test]
    fn meet_each_timer_and_let_a_swarm_share() {
        let (pace, microseconds) = (Pace::new(), |count| Time(0).after(Duration::from_micros(count)));
        // The next deadline, and how many timers fire then.
        let wake_ups = [(1000, 1), (1020, 1), (1040, 3), (1041, 9), (1042, 40), (1300, 1), (1541, 1)];
        let seen = wake_ups.map(|(deadline, fires)| {
            let wake_up = pace.wake_up(microseconds(deadline));
            pace.woke(wake_up);
            (0..fires).for_each(|_| pace.fired());
            wake_up
        });
        assert_eq!(seen, [1000, 1020, 1040, 1041, 1291, 1541, 1541].map(microseconds));
    }

    #[test]
    fn long_turn_is_followed_by_a_look() {
        let (pace, mut now) = (Pace::new(), 5_000_000);
        stretches(&pace, &mut now, 10, 8);
        pace.looked(Time(now));
        assert!(pace.goes_on(60) && !pace.goes_on(1000), "63 entries may follow");
        assert!(!pace.goes_on(1), "what was left was used up");
    }
}
