//! Waiting for a time.

use crate::kernel::callbacks::exceptions;
use crate::kernel::timers::{self, Begun};
use crate::kernel::{Instant, Kernel, Message, Time, TimerKey, context, inbox};
use crate::leaf::{no_loop, place_of, running};
use alloc::rc::Rc;
use core::panic::Location;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;

/// Waits for `duration`, counted from this call (TIME-1), and never less (TIME-2). A duration
/// beyond what the clock can count, 584 years, never ends.
///
/// It always lets other tasks run first. With a duration of zero, or if the time has already passed
/// when it is first polled, it is like [`yield_now`](crate::yield_now()).
///
/// On a real clock it may be late, because the system wakes the thread late, or because steps of
/// other tasks take long. A busy loop reads the clock about once a microsecond, and not in each
/// turn. Many timers that are due close together share wake-ups a quarter of a millisecond apart.
///
/// Cancel safety: nothing is lost; dropping it removes the timer.
///
/// asyncio: `sleep(delay)`.
///
/// # Panics
///
/// If no loop is running on this thread, now or when it is polled.
///
/// # Cost
///
/// O(1) to arm and to drop; no allocation of its own. It is armed at its first poll: of two equal
/// deadlines, the one that was polled first fires first (TIME-3).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// onelane::EventLoop::with_virtual_clock().run(async {
///     let before = onelane::time();
///     onelane::sleep(Duration::from_secs(2)).await;
///     assert_eq!(onelane::time() - before, Duration::from_secs(2));
/// });
/// ```
#[track_caller]
pub fn sleep(duration: Duration) -> Sleep {
    let Some((loop_id, lane, deadline)) = timers::from_now(duration) else { no_loop("sleep()") };
    Sleep { loop_id, lane, deadline, stage: Stage::New, place: Location::caller() }
}

/// Waits until a moment of the loop's [`time`](crate::time()). Otherwise like [`sleep`].
///
/// # Panics
///
/// If no loop is running on this thread, now or when it is polled.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// onelane::EventLoop::with_virtual_clock().run(async {
///     let moment = onelane::time() + Duration::from_secs(2);
///     onelane::sleep_until(moment).await;
///     assert_eq!(onelane::time(), moment);
/// });
/// ```
#[track_caller]
pub fn sleep_until(moment: Instant) -> Sleep {
    let kernel = running("sleep_until()");
    Sleep::new(&kernel, kernel.clock.time_at(moment))
}

/// The future of [`sleep`] and [`sleep_until`].
///
/// It contains plain numbers and finds its loop when it is polled, so it is `Send`, `Sync` and
/// `Unpin`. It must be polled in the loop in which it was created.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, sleep, time};
/// use std::time::Duration;
///
/// EventLoop::with_virtual_clock().run(async {
///     let begun = time();
///     // For libraries that require it, such as hyper.
///     let pause: Box<dyn Future<Output = ()> + Send + Sync + Unpin> = Box::new(sleep(Duration::from_secs(1)));
///     pause.await;
///     assert_eq!(time() - begun, Duration::from_secs(1));
/// });
/// ```
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub struct Sleep {
    loop_id: u64,
    lane: u16,
    deadline: Time,
    stage: Stage,
    /// As in `Record`: where it was polled last, or created.
    place: &'static Location<'static>,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    New,
    /// The moment had passed at the first poll: it is ready in the next turn.
    Yielded,
    Armed(TimerKey),
    Over,
}

impl Sleep {
    /// A sleep that is created at the caller's location.
    #[track_caller]
    pub(crate) fn new(kernel: &Kernel, deadline: Time) -> Self {
        let place = Location::caller();
        Sleep { loop_id: kernel.id(), lane: kernel.table.lane().number, deadline, stage: Stage::New, place }
    }

    /// Sets the location to the caller's, as if it were created there.
    #[track_caller]
    pub(crate) fn made_here(&mut self) {
        self.place = Location::caller();
    }

    /// Waits until `moment` instead, whether the sleep is running or over. Poll it again after this
    /// call.
    ///
    /// # Panics
    ///
    /// On a thread other than its loop's, and if the loop has been dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, sleep, time};
    /// use std::time::Duration;
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let (begun, limit) = (time(), Duration::from_secs(10));
    ///     let mut watchdog = sleep(limit);
    ///     for _ in 0..3 {
    ///         sleep(limit / 2).await;
    ///         watchdog.reset(time() + limit); // something arrived
    ///     }
    ///     watchdog.await;
    ///     assert_eq!(time() - begun, Duration::from_secs(25));
    /// });
    /// ```
    #[track_caller]
    pub fn reset(&mut self, moment: Instant) {
        let Some(kernel) = context::find(self.loop_id) else { elsewhere("Sleep::reset()") };
        self.disarm();
        self.deadline = kernel.clock.time_at(moment);
        self.stage = Stage::New;
    }

    /// Whether the time had passed at the last poll.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures_util::future::select;
    /// use onelane::{EventLoop, sleep};
    /// use std::time::Duration;
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let mut short = sleep(Duration::from_secs(1));
    ///     let mut long = sleep(Duration::from_secs(2));
    ///     select(&mut short, &mut long).await;
    ///     assert!(short.is_elapsed() && !long.is_elapsed());
    /// });
    /// ```
    pub fn is_elapsed(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }

    /// The first poll.
    fn begin(&mut self, waker: &Waker) {
        match timers::begin(self.loop_id, self.deadline, waker, self.place) {
            Begun::Armed(key) => self.stage = Stage::Armed(key),
            Begun::Passed => {
                self.stage = Stage::Yielded;
                waker.wake_by_ref();
            }
            Begun::Elsewhere => elsewhere("poll() of a sleep"),
        }
    }

    fn poll_armed(&mut self, key: TimerKey, waker: &Waker) -> Poll<()> {
        if self.kernel().timer_wakes(key, waker, self.place) {
            return Poll::Pending;
        }
        self.stage = Stage::Over;
        Poll::Ready(())
    }

    fn kernel(&self) -> Rc<Kernel> {
        match context::running() {
            Some(kernel) if kernel.id() == self.loop_id => kernel,
            _ => elsewhere("poll() of a sleep"),
        }
    }

    fn disarm(&mut self) {
        let Stage::Armed(key) = core::mem::replace(&mut self.stage, Stage::Over) else { return };
        if !timers::end(self.loop_id, key) {
            self.disarm_elsewhere(key);
        }
    }

    #[cold]
    fn disarm_elsewhere(&self, key: TimerKey) {
        // The old alarm is dropped here, where nothing is borrowed.
        let alarm = context::find(self.loop_id).and_then(|kernel| kernel.cancel_timer(key));
        if alarm.is_none() {
            // On another thread, or after the loop has gone. In the second case no loop reads the
            // message, which does not matter. A hook may be called, whose panic must not come out
            // of a destructor.
            let send = || drop(inbox(self.lane).send(self.loop_id, Message::CancelTimer(key)));
            exceptions::tolerate(self.loop_id, exceptions::IN_A_HOOK, send);
        }
    }
}

impl Future for Sleep {
    type Output = ();

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let key = match self.stage {
            Stage::Over => return Poll::Ready(()),
            Stage::Yielded => {
                self.stage = Stage::Over;
                return Poll::Ready(());
            }
            Stage::Armed(key) => Some(key),
            Stage::New => None,
        };
        self.place = place_of(Location::caller(), self.place);
        match key {
            Some(key) => self.poll_armed(key, context.waker()),
            None => {
                self.begin(context.waker());
                Poll::Pending
            }
        }
    }
}

#[cfg(feature = "stream")]
#[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
impl futures_core::FusedFuture for Sleep {
    fn is_terminated(&self) -> bool {
        self.is_elapsed()
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.disarm();
    }
}

#[cold]
#[track_caller]
fn elsewhere(asked: &str) -> ! {
    panic!("{asked} was called where its loop is not; use a sleep in the loop that it was made in")
}
