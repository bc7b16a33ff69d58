//! Tests that move a virtual clock by hand.
//!
//! This file does not know how a turn works.

use crate::event_loop::EventLoop;
use core::time::Duration;

impl EventLoop {
    /// Runs turns until nothing is ready and no timer is due. Time does not pass on a virtual clock. Never
    /// blocks.
    ///
    /// If tasks wake each other without end, this does not return.
    ///
    /// # Panics
    ///
    /// If a loop is running on this thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, sleep, yield_now};
    /// use std::time::Duration;
    ///
    /// let event_loop = EventLoop::with_virtual_clock();
    /// let tea = event_loop.spawn(async {
    ///     yield_now().await;
    ///     sleep(Duration::from_secs(180)).await;
    /// });
    /// event_loop.run_until_stalled();
    /// assert!(!tea.is_done());
    /// assert_eq!(event_loop.advance_to_next_timer(), Some(Duration::from_secs(180)));
    /// assert!(tea.is_done());
    /// ```
    #[track_caller]
    pub fn run_until_stalled(&self) {
        while self.next_deadline().is_some_and(|next| next <= self.time()) {
            self.turn();
        }
    }

    /// Lets virtual time pass. Each timer fires at its own time, in order, and what it causes runs until
    /// nothing is ready, before the next one fires. What is ready now runs first.
    ///
    /// Timers that are set while time passes also fire, if they are due by then.
    ///
    /// # Panics
    ///
    /// If the clock is not virtual. If a loop is running on this thread. If the time cannot be expressed.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, interval};
    /// use std::{cell::Cell, rc::Rc, time::Duration};
    ///
    /// let event_loop = EventLoop::with_virtual_clock();
    /// let (ticks, second) = (Rc::new(Cell::new(0)), Duration::from_secs(1));
    /// let copy = ticks.clone();
    /// let _clock = event_loop.spawn(async move {
    ///     let mut seconds = interval(second);
    ///     loop {
    ///         seconds.tick().await;
    ///         copy.set(copy.get() + 1);
    ///     }
    /// });
    /// event_loop.advance(second * 5 / 2);
    /// assert_eq!(ticks.get(), 3); // at 0, 1 and 2 seconds
    /// ```
    #[track_caller]
    pub fn advance(&self, time: Duration) {
        self.assert_virtual("EventLoop::advance()");
        let until = self.kernel.clock.now().after(time);
        self.run_until_stalled();
        while self.kernel.next_deadline().is_some_and(|next| next <= until) {
            self.turn(); // Time jumps to this timer, because nothing is ready.
            self.run_until_stalled();
        }
        self.kernel.clock.jump(until.max(self.kernel.clock.now()));
    }

    /// Lets virtual time pass to the next timer, fires all timers for that moment, and runs what they
    /// cause until nothing is ready. What is ready now runs first. Returns how much time has passed, or
    /// `None` if there is no timer.
    ///
    /// # Panics
    ///
    /// If the clock is not virtual. If a loop is running on this thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::EventLoop;
    /// use std::{cell::Cell, rc::Rc, time::Duration};
    ///
    /// let event_loop = EventLoop::with_virtual_clock();
    /// let (calls, second) = (Rc::new(Cell::new(0)), Duration::from_secs(1));
    /// for delay in [second, second, 5 * second] {
    ///     let calls = calls.clone();
    ///     event_loop.call_later(delay, move || calls.set(calls.get() + 1));
    /// }
    /// assert_eq!((event_loop.advance_to_next_timer(), calls.get()), (Some(second), 2));
    /// assert_eq!((event_loop.advance_to_next_timer(), calls.get()), (Some(4 * second), 3));
    /// assert_eq!(event_loop.advance_to_next_timer(), None);
    /// ```
    #[track_caller]
    pub fn advance_to_next_timer(&self) -> Option<Duration> {
        self.assert_virtual("EventLoop::advance_to_next_timer()");
        self.run_until_stalled();
        let (next, now) = (self.kernel.next_deadline()?, self.kernel.clock.now());
        self.turn();
        self.run_until_stalled();
        Some(next.since(now))
    }

    #[track_caller]
    fn assert_virtual(&self, asked: &str) {
        assert!(
            self.kernel.clock.is_virtual(),
            "{asked} was called on a loop with a real clock; build the loop with EventLoop::with_virtual_clock()"
        );
    }
}
