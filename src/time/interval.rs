//! Ticks at regular intervals.

use crate::kernel::explore::unknown;
use crate::kernel::{Instant, Kernel, Time};
use crate::leaf::running;
use crate::time::sleep::Sleep;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;

/// Ticks every `period`. The first tick is due at once, so it comes in the next turn; the others
/// follow at regular intervals.
///
/// tokio: `time::interval`; asyncio has none.
///
/// # Panics
///
/// If `period` is zero, or if no loop is running on this thread, now or when it is polled.
///
/// # Cost
///
/// No allocation; a tick costs a timer.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, interval, time};
/// use std::time::Duration;
///
/// EventLoop::with_virtual_clock().run(async {
///     let begun = time();
///     let mut interval = interval(Duration::from_secs(10));
///     for n in 0..3 {
///         assert_eq!(interval.tick().await - begun, Duration::from_secs(10) * n);
///     }
///     assert_eq!(time() - begun, Duration::from_secs(20));
/// });
/// ```
#[track_caller]
pub fn interval(period: Duration) -> Interval {
    unknown("intervals");
    let kernel = running("interval()");
    Interval::new(&kernel, "interval()", kernel.clock.now(), period)
}

/// Ticks at `start`, a moment of the loop's [`time`](crate::time()), and every `period` after it.
/// Otherwise like [`interval`].
///
/// # Panics
///
/// As for [`interval`].
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, interval_at, time};
/// use std::time::Duration;
///
/// EventLoop::with_virtual_clock().run(async {
///     let begun = time();
///     let second = Duration::from_secs(1);
///     let mut interval = interval_at(begun + 5 * second, second);
///     assert_eq!(interval.tick().await - begun, 5 * second);
///     assert_eq!(interval.tick().await - begun, 6 * second);
/// });
/// ```
#[track_caller]
pub fn interval_at(start: Instant, period: Duration) -> Interval {
    unknown("intervals");
    let kernel = running("interval_at()");
    let start = kernel.clock.time_at(start);
    Interval::new(&kernel, "interval_at()", start, period)
}

/// When the next tick comes if one was late.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, MissedTickBehavior, interval, sleep};
/// use std::time::Duration;
///
/// EventLoop::with_virtual_clock().run(async {
///     let seconds = Duration::from_secs;
///     use MissedTickBehavior::{Burst, Delay, Skip};
///     for (behavior, third) in [(Burst, 20), (Delay, 35), (Skip, 30)] {
///         let mut interval = interval(seconds(10));
///         interval.set_missed_tick_behavior(behavior);
///         let first = interval.tick().await;
///         sleep(seconds(25)).await;
///         interval.tick().await; // was due after 10 s
///         assert_eq!(interval.tick().await - first, seconds(third));
///     }
/// });
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
#[non_exhaustive]
pub enum MissedTickBehavior {
    /// Missed ticks come one after the other, one per turn, until the interval has caught up. None
    /// is left out.
    #[default]
    Burst,
    /// The next tick comes a period after the late one was returned. Two ticks are never closer
    /// than a period, and all later ticks are moved. On a real clock, where every tick is a little
    /// late, the ticks drift.
    Delay,
    /// The next tick comes at the next moment of the schedule that has not passed. Missed ticks are
    /// left out.
    Skip,
}

/// Ticks at regular intervals, as [`interval`] and [`interval_at`] return it.
///
/// It contains a [`Sleep`], so it is `Send` and `Sync`, and must be polled in the loop in which it
/// was created.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, Interval, interval, timeout};
/// use std::time::Duration;
///
/// struct Heart {
///     interval: Interval,
///     beats: u32,
/// }
///
/// impl Heart {
///     async fn beat(&mut self) {
///         self.interval.tick().await;
///         self.beats += 1;
///     }
/// }
///
/// EventLoop::with_virtual_clock().run(async {
///     let mut heart = Heart { interval: interval(Duration::from_millis(800)), beats: 0 };
///     let life = async {
///         loop {
///             heart.beat().await;
///         }
///     };
///     assert!(timeout(Duration::from_secs(2), life).await.is_err());
///     assert_eq!(heart.beats, 3); // at 0, 800 and 1600 ms
/// });
/// ```
#[derive(Debug)]
#[must_use = "an interval ticks for those who await `tick()`"]
pub struct Interval {
    sleep: Sleep,
    /// When the next tick is due.
    due: Time,
    period: Duration,
    behavior: MissedTickBehavior,
}

impl Interval {
    #[track_caller]
    fn new(kernel: &Kernel, asked: &str, start: Time, period: Duration) -> Self {
        assert!(
            !period.is_zero(),
            "{asked} was called with a period of zero, and would tick for ever at one moment; give a longer one, \
             or use yield_now()"
        );
        Interval { sleep: Sleep::new(kernel, start), due: start, period, behavior: MissedTickBehavior::default() }
    }

    /// Waits for the next tick, and returns the moment at which it was due. This is earlier than
    /// [`time`](crate::time()) if the tick was missed. If a tick is already due when it is first polled,
    /// it comes in the next turn. If it was polled before and has become due since, it comes at once.
    ///
    /// Cancel safety: no tick is lost. A tick is consumed only when the future is ready.
    ///
    /// # Panics
    ///
    /// When polled in a loop other than its own.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, interval, sleep, time};
    /// use std::time::Duration;
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let mut interval = interval(Duration::from_secs(1));
    ///     let first = interval.tick().await;
    ///     sleep(Duration::from_millis(2500)).await;
    ///     assert_eq!(interval.tick().await - first, Duration::from_secs(1));
    ///     assert_eq!(time() - first, Duration::from_millis(2500));
    /// });
    /// ```
    #[track_caller]
    pub fn tick(&mut self) -> Tick<'_> {
        self.sleep.made_here();
        Tick { interval: self }
    }

    /// Like [`tick`](Self::tick), for a future that is polled by hand.
    ///
    /// # Panics
    ///
    /// In a loop other than its own.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// onelane::EventLoop::with_virtual_clock().run(async {
    ///     let mut interval = onelane::interval(Duration::from_secs(1));
    ///     let tick = std::future::poll_fn(|context| interval.poll_tick(context)).await;
    ///     assert_eq!(tick, onelane::time());
    /// });
    /// ```
    #[track_caller]
    pub fn poll_tick(&mut self, context: &mut Context<'_>) -> Poll<Instant> {
        ready!(Pin::new(&mut self.sleep).poll(context));
        let kernel = running("poll() of a tick");
        let due = self.due;
        self.sleep_until(&kernel, self.behavior.next(due, kernel.clock.now(), self.period));
        Poll::Ready(kernel.clock.instant_at(due).expect("a moment that has come, which `Instant` can express"))
    }

    /// Restarts the interval: the next tick is a period from now, and the others follow it.
    ///
    /// # Panics
    ///
    /// If no loop is running on this thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, interval, sleep, time};
    /// use std::time::Duration;
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let begun = time();
    ///     let mut interval = interval(Duration::from_secs(10));
    ///     sleep(Duration::from_secs(3)).await;
    ///     interval.reset();
    ///     assert_eq!(interval.tick().await - begun, Duration::from_secs(13));
    /// });
    /// ```
    #[track_caller]
    pub fn reset(&mut self) {
        let kernel = running("Interval::reset()");
        self.sleep_until(&kernel, kernel.clock.now().after(self.period));
    }

    /// Returns the time between two ticks.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, interval};
    /// use std::time::Duration;
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let frames = interval(Duration::from_millis(20));
    ///     let per_minute = Duration::from_secs(60).as_millis() / frames.period().as_millis();
    ///     assert_eq!(per_minute, 3000);
    /// });
    /// ```
    pub fn period(&self) -> Duration {
        self.period
    }

    /// Returns what happens to missed ticks.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, MissedTickBehavior, interval};
    /// use std::time::Duration;
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let mut interval = interval(Duration::from_secs(1));
    ///     let usual = interval.missed_tick_behavior();
    ///     interval.set_missed_tick_behavior(MissedTickBehavior::Skip); // for a while
    ///     interval.set_missed_tick_behavior(usual);
    ///     assert_eq!(interval.missed_tick_behavior(), MissedTickBehavior::Burst);
    /// });
    /// ```
    pub fn missed_tick_behavior(&self) -> MissedTickBehavior {
        self.behavior
    }

    /// Sets what happens to missed ticks, from the next tick on. The default is a
    /// [burst](MissedTickBehavior::Burst).
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, MissedTickBehavior, interval, sleep};
    /// use std::time::Duration;
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let mut interval = interval(Duration::from_secs(1));
    ///     interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ///     let first = interval.tick().await;
    ///     sleep(Duration::from_millis(2500)).await;
    ///     assert_eq!(interval.tick().await - first, Duration::from_secs(1));
    ///     assert_eq!(interval.tick().await - first, Duration::from_secs(3));
    /// });
    /// ```
    pub fn set_missed_tick_behavior(&mut self, behavior: MissedTickBehavior) {
        self.behavior = behavior;
    }

    #[track_caller]
    fn sleep_until(&mut self, kernel: &Kernel, due: Time) {
        self.due = due;
        self.sleep = Sleep::new(kernel, due);
    }
}

impl MissedTickBehavior {
    /// When the next tick is due, after one that was due at `due` and is returned at `now`.
    fn next(self, due: Time, now: Time, period: Duration) -> Time {
        let late = now.since(due);
        match self {
            MissedTickBehavior::Burst => due.after(period),
            MissedTickBehavior::Delay => now.after(period),
            MissedTickBehavior::Skip => {
                let since_scheduled = late.as_nanos() % period.as_nanos();
                // Less than `late`, which is a `u64` of nanoseconds.
                let since_scheduled = Duration::from_nanos(since_scheduled as u64);
                now.after(period - since_scheduled)
            }
        }
    }
}

/// The future of [`Interval::tick`].
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, Interval, Tick, interval, time};
/// use std::time::Duration;
///
/// struct Screen {
///     frames: Interval,
/// }
///
/// impl Screen {
///     fn next_frame(&mut self) -> Tick<'_> {
///         self.frames.tick()
///     }
/// }
///
/// EventLoop::with_virtual_clock().run(async {
///     let mut screen = Screen { frames: interval(Duration::from_millis(16)) };
///     assert_eq!(screen.next_frame().await, time());
/// });
/// ```
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub struct Tick<'a> {
    interval: &'a mut Interval,
}

impl Future for Tick<'_> {
    type Output = Instant;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Instant> {
        self.interval.poll_tick(context)
    }
}

#[cfg(feature = "stream")]
#[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
impl futures_core::FusedFuture for Tick<'_> {
    /// Never: after a tick, it waits for the next one.
    fn is_terminated(&self) -> bool {
        false
    }
}

/// The ticks, without an end.
///
/// # Examples
///
/// ```
/// use futures_util::StreamExt;
/// use onelane::{EventLoop, interval, time};
/// use std::time::Duration;
///
/// EventLoop::with_virtual_clock().run(async {
///     let second = Duration::from_secs(1);
///     let begun = time();
///     let ticks = interval(second).take(3).map(|tick| tick - begun).collect::<Vec<_>>().await;
///     assert_eq!(ticks, [second * 0, second, second * 2]);
/// });
/// ```
#[cfg(feature = "stream")]
#[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
impl futures_core::Stream for Interval {
    type Item = Instant;

    #[track_caller]
    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Instant>> {
        self.get_mut().poll_tick(context).map(Some)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::MAX, None)
    }
}

#[cfg(feature = "stream")]
#[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
impl futures_core::FusedStream for Interval {
    fn is_terminated(&self) -> bool {
        false
    }
}
