//! How often a loop looks at a real clock for the sake of its timers.
//!
//! A busy loop: reading a clock takes longer than a step of a task that does little. So a loop that is busy with such tasks goes
//! on for some entries of its ready queue before it looks again: twice as many as before while they take less than a
//! microsecond together, at most 63, and far fewer once they take longer. A timer can be late by that stretch, which is a
//! microsecond or so, and whenever steps that were short become long, by 63 of them.
//!
//! Measured: with a look in each turn, a yield of one task with a timer pending took six times as long as one without, and so it
//! takes 1.2 times as long.
//!
//! An idle loop: each wake-up of a thread costs as much as a hundred timers. A timer is met as closely as the system can, unless
//! the last wake-up had a swarm of them to fire: then the next one is a quarter of a millisecond later. So a swarm wakes the
//! thread 4,000 times a second, and not for each timer. (With epoll, asyncio waits in whole milliseconds, always.)
//!
//! Knows no clock, no timer and no queue: time and counts are handed in.

use crate::kernel::clock::Time;
use std::cell::Cell;
use std::time::Duration;

/// So long may a stretch without a look take.
const SHORT: Duration = Duration::from_micros(1);

/// So many entries may a stretch have.
const LONGEST: usize = 63;

/// So many timers at one wake-up are a swarm.
const SWARM: usize = 4;

/// So far apart are the wake-ups for a swarm.
const SHARED: Duration = Duration::from_micros(250);

#[derive(Debug)]
pub(crate) struct Pace {
    /// So many entries may follow without a look.
    left: Cell<usize>,
    /// So many there were when the clock was looked at.
    stretch: Cell<usize>,
    looked_at: Cell<Time>,
    /// When an idle loop woke up for a timer.
    woke_at: Cell<Time>,
    /// So many timers have fired since.
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

    /// Whether a turn of so many entries may follow without a look at the clock.
    #[inline]
    pub(crate) fn goes_on(&self, entries: usize) -> bool {
        let left = self.left.get().checked_sub(entries);
        self.left.set(left.unwrap_or(0));
        left.is_some()
    }

    /// When an idle loop is to wake up, if its next timer is due at `deadline`.
    pub(crate) fn wake_up(&self, deadline: Time) -> Time {
        if self.fired.get() < SWARM {
            return deadline;
        }
        deadline.max(self.woke_at.get().after(SHARED))
    }

    /// An idle loop woke up for a timer.
    pub(crate) fn woke(&self, now: Time) {
        self.woke_at.set(now);
        self.fired.set(0);
    }

    /// A timer fires.
    #[inline]
    pub(crate) fn fired(&self) {
        self.fired.set(self.fired.get() + 1);
    }

    /// The clock was looked at.
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

    /// Turns of one entry, each as long as `each` nanoseconds. Returns the number of entries between two looks, from the moment
    /// at which the clock is looked at.
    fn stretches(pace: &Pace, now: &mut u64, each: u64, looks: usize) -> Vec<usize> {
        let mut stretches = Vec::new();
        while stretches.len() < looks {
            pace.looked(Time(*now));
            let mut entries = 0;
            // The turn that begins with the look, and those that follow it without.
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
