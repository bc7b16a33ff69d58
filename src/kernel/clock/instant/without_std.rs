//! `Instant` where std has no clock: the time that `Platform::now` returns, or JavaScript's
//! `performance.now()`.

use core::ops::{Add, AddAssign, Sub, SubAssign};
use core::time::Duration;

/// A moment, as the program's `Platform` measures time. On `wasm32-unknown-unknown` with the feature
/// `std`: as the page, the worker or the Node process measures it.
///
/// It has the methods of std's `Instant`. Elsewhere, with the feature `std`, `onelane::Instant` is std's
/// type.
///
/// JavaScript: `performance.now()`, with the feature `web`. asyncio: a value of `loop.time()`.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, Instant, sleep_until, time};
/// use std::time::Duration;
///
/// EventLoop::with_virtual_clock().run(async {
///     let tea_time: Instant = time() + Duration::from_secs(180);
///     sleep_until(tea_time).await;
///     assert_eq!(time(), tea_time);
/// });
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Instant(Duration);

impl Instant {
    pub(in crate::kernel::clock) const ZERO: Instant = Instant(Duration::ZERO);

    /// Returns the current moment. Never earlier than what an earlier call has returned.
    ///
    /// JavaScript: `performance.now()`. Browsers round it, to a millisecond at worst.
    ///
    /// # Panics
    ///
    /// If the program has no platform. On `wasm32-unknown-unknown`, without the feature `web`, because
    /// there is no clock. Also where JavaScript has no `performance`, as in an audio worklet.
    ///
    /// # Cost
    ///
    /// That of `Platform::now`, or of a call of JavaScript.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::Instant;
    ///
    /// let before = Instant::now();
    /// assert!(Instant::now() >= before);
    /// ```
    #[must_use]
    pub fn now() -> Instant {
        Instant(crate::platform::now())
    }

    /// Returns the time from `earlier` to this moment; zero if `earlier` is later.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::Instant;
    /// use std::time::Duration;
    ///
    /// let now = Instant::now();
    /// assert_eq!((now + Duration::from_secs(1)).duration_since(now), Duration::from_secs(1));
    /// ```
    #[must_use]
    pub fn duration_since(&self, earlier: Instant) -> Duration {
        self.saturating_duration_since(earlier)
    }

    /// Returns the time from `earlier` to this moment; `None` if `earlier` is later.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::Instant;
    /// use std::time::Duration;
    ///
    /// let now = Instant::now();
    /// assert_eq!(now.checked_duration_since(now + Duration::from_secs(1)), None);
    /// ```
    #[must_use]
    pub fn checked_duration_since(&self, earlier: Instant) -> Option<Duration> {
        self.0.checked_sub(earlier.0)
    }

    /// Returns the time from `earlier` to this moment; zero if `earlier` is later.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::Instant;
    /// use std::time::Duration;
    ///
    /// let now = Instant::now();
    /// assert_eq!(now.saturating_duration_since(now + Duration::from_secs(1)), Duration::ZERO);
    /// ```
    #[must_use]
    pub fn saturating_duration_since(&self, earlier: Instant) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// Returns the time since this moment; zero if it is in the future.
    ///
    /// # Panics
    ///
    /// Like [`Instant::now`].
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::Instant;
    /// use std::time::Duration;
    ///
    /// assert!(Instant::now().elapsed() < Duration::from_secs(60));
    /// ```
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Instant::now().saturating_duration_since(*self)
    }

    /// Returns the moment `duration` later; `None` if it cannot be expressed.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::Instant;
    /// use std::time::Duration;
    ///
    /// assert_eq!(Instant::now().checked_add(Duration::MAX), None);
    /// ```
    #[must_use]
    pub fn checked_add(&self, duration: Duration) -> Option<Instant> {
        self.0.checked_add(duration).map(Instant)
    }

    /// Returns the moment `duration` earlier; `None` if the platform's time began later.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::Instant;
    /// use std::time::Duration;
    ///
    /// assert_eq!(Instant::now().checked_sub(Duration::MAX), None);
    /// ```
    #[must_use]
    pub fn checked_sub(&self, duration: Duration) -> Option<Instant> {
        self.0.checked_sub(duration).map(Instant)
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    #[track_caller]
    fn add(self, duration: Duration) -> Instant {
        self.checked_add(duration).expect("a moment that `Instant` can express")
    }
}

impl AddAssign<Duration> for Instant {
    #[track_caller]
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for Instant {
    type Output = Instant;

    #[track_caller]
    fn sub(self, duration: Duration) -> Instant {
        self.checked_sub(duration).expect("a moment after the platform's time began")
    }
}

impl SubAssign<Duration> for Instant {
    #[track_caller]
    fn sub_assign(&mut self, duration: Duration) {
        *self = *self - duration;
    }
}

impl Sub<Instant> for Instant {
    type Output = Duration;

    fn sub(self, earlier: Instant) -> Duration {
        self.duration_since(earlier)
    }
}
