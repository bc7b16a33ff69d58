//! Plain callbacks: at once, after a while, at a moment.

use crate::current::running;
use crate::kernel::calls::CallKey;
use crate::kernel::{Alarm, Kernel, Time, TimerKey, context};
use std::fmt;
use std::marker::PhantomData;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Calls `callback` in the next turn, behind everything that is ready now.
///
/// A panic of it goes to the loop's exception handler. Inside of it [`current_task`](crate::current_task()) is `None`.
///
/// asyncio: `loop.call_soon`.
///
/// # Panics
///
/// If no loop is running on this thread.
///
/// # Examples
///
/// ```
/// use std::{cell::Cell, rc::Rc};
///
/// let called = Rc::new(Cell::new(false));
/// let flag = called.clone();
/// onelane::run(async {
///     onelane::call_soon(move || flag.set(true));
///     assert!(!called.get());
///     onelane::yield_now().await;
///     assert!(called.get());
/// });
/// ```
#[track_caller]
pub fn call_soon(callback: impl FnOnce() + 'static) -> Handle {
    Handle::soon(&running("call_soon()"), callback)
}

/// Calls `callback` after `delay`: in the first turn whose time has reached it, behind what was ready before. A delay of
/// zero is a timer too.
///
/// asyncio: `loop.call_later`.
///
/// # Panics
///
/// If no loop is running on this thread.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, call_later, sleep};
/// use std::{cell::RefCell, rc::Rc, time::Duration};
///
/// let trace = Rc::new(RefCell::new(Vec::new()));
/// EventLoop::with_virtual_clock().run(async {
///     for ms in [30, 10, 20] {
///         let trace = trace.clone();
///         call_later(Duration::from_millis(ms), move || trace.borrow_mut().push(ms));
///     }
///     sleep(Duration::from_millis(40)).await;
/// });
/// assert_eq!(*trace.borrow(), [10, 20, 30]);
/// ```
#[track_caller]
pub fn call_later(delay: Duration, callback: impl FnOnce() + 'static) -> Handle {
    Handle::later(&running("call_later()"), delay, callback)
}

/// Calls `callback` at a moment of the loop's [`time`]; one that has passed is due in the next turn.
///
/// asyncio: `loop.call_at`.
///
/// # Panics
///
/// If no loop is running on this thread.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// onelane::EventLoop::with_virtual_clock().run(async {
///     let handle = onelane::call_at(onelane::time() + Duration::from_secs(1), || unreachable!());
///     assert!(handle.cancel());
///     onelane::sleep(Duration::from_secs(2)).await;
/// });
/// ```
#[track_caller]
pub fn call_at(moment: Instant, callback: impl FnOnce() + 'static) -> Handle {
    let kernel = running("call_at()");
    let deadline = kernel.clock.time_at(moment);
    Handle::timer(&kernel, deadline, callback)
}

/// The running loop's time: `Instant::now()` on a real clock, on a virtual one the moment at which it stands.
///
/// asyncio: `loop.time()`.
///
/// # Panics
///
/// If no loop is running on this thread.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// onelane::EventLoop::with_virtual_clock().run(async {
///     let before = onelane::time();
///     onelane::sleep(Duration::from_millis(1500)).await;
///     assert_eq!(onelane::time() - before, Duration::from_millis(1500));
/// });
/// ```
#[track_caller]
pub fn time() -> Instant {
    running("time()").clock.now_as_instant()
}

/// A callback that was asked for. Dropping the handle changes nothing.
///
/// asyncio: `Handle`, `TimerHandle`.
#[doc(alias = "TimerHandle")]
#[derive(Clone)]
pub struct Handle {
    loop_id: u64,
    key: Key,
    /// The callback lives on the loop's thread.
    _not_send: PhantomData<Rc<()>>,
}

#[derive(Clone, Copy)]
enum Key {
    Soon(CallKey),
    Timer(TimerKey),
}

impl Handle {
    pub(crate) fn soon(kernel: &Kernel, callback: impl FnOnce() + 'static) -> Self {
        let key = kernel.call_soon(kernel.callback(callback));
        Handle { loop_id: kernel.id(), key: Key::Soon(key), _not_send: PhantomData }
    }

    pub(crate) fn later(kernel: &Kernel, delay: Duration, callback: impl FnOnce() + 'static) -> Self {
        Self::timer(kernel, kernel.clock.now().after(delay), callback)
    }

    fn timer(kernel: &Kernel, deadline: Time, callback: impl FnOnce() + 'static) -> Self {
        let key = kernel.add_timer(deadline, Alarm::Call(kernel.callback(callback)));
        Handle { loop_id: kernel.id(), key: Key::Timer(key), _not_send: PhantomData }
    }

    /// Drops the callback uncalled. False if it was called, or cancelled before.
    ///
    /// asyncio: `Handle.cancel()`.
    pub fn cancel(&self) -> bool {
        let Some(kernel) = context::find(self.loop_id) else { return false };
        // What comes out is dropped here, where no borrow is held.
        match self.key {
            Key::Soon(key) => kernel.cancel_call(key).is_some(),
            Key::Timer(key) => kernel.cancel_timer(key).is_some(),
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.key {
            Key::Soon(_) => "call_soon",
            Key::Timer(_) => "timer",
        };
        f.debug_struct("Handle").field("kind", &kind).finish_non_exhaustive()
    }
}
