//! Plain callbacks: at once, after a while, at a moment.

use crate::kernel::callbacks::calls::CallKey;
use crate::kernel::{Alarm, Kernel, Time, TimerKey, context};
use crate::leaf::running;
use std::cell::{Cell, OnceCell};
use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
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
/// onelane::EventLoop::with_virtual_clock().run(async {
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
    Handle::at(&running("call_at()"), moment, callback)
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
/// Its `Debug` form says where it was asked for, and of a timer, when it is due.
///
/// asyncio: `Handle`, `TimerHandle`.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// onelane::EventLoop::with_virtual_clock().run(async {
///     let handle = onelane::call_later(Duration::from_secs(5), || unreachable!());
///     assert!(handle.when().is_some_and(|when| when > onelane::time()));
///     assert!(handle.cancel() && handle.is_cancelled());
/// });
/// ```
#[doc(alias = "TimerHandle")]
pub struct Handle {
    loop_id: u64,
    key: Key,
    /// When a timer is due, as far as an `Instant` can say it.
    when: Option<Instant>,
    asked_at: &'static Location<'static>,
    /// Whether it was cancelled, until there is a clone.
    cancelled: Cell<bool>,
    /// The same, from the first clone on, so that a handle which is not cloned costs no allocation.
    shared: OnceCell<Rc<Cell<bool>>>,
    /// The callback lives on the loop's thread.
    _not_send: PhantomData<Rc<()>>,
}

#[derive(Clone, Copy)]
enum Key {
    Soon(CallKey),
    Timer(TimerKey),
}

impl Handle {
    #[track_caller]
    pub(crate) fn soon(kernel: &Kernel, callback: impl FnOnce() + 'static) -> Self {
        // Who called from elsewhere before has come before.
        kernel.drain();
        let key = kernel.call_soon(kernel.callback(callback));
        Self::new(kernel, Key::Soon(key), None)
    }

    #[track_caller]
    pub(crate) fn later(kernel: &Kernel, delay: Duration, callback: impl FnOnce() + 'static) -> Self {
        let deadline = kernel.clock.now().after(delay);
        Self::timer(kernel, deadline, kernel.clock.instant_at(deadline), callback)
    }

    #[track_caller]
    pub(crate) fn at(kernel: &Kernel, moment: Instant, callback: impl FnOnce() + 'static) -> Self {
        Self::timer(kernel, kernel.clock.time_at(moment), Some(moment), callback)
    }

    #[track_caller]
    fn timer(kernel: &Kernel, deadline: Time, when: Option<Instant>, callback: impl FnOnce() + 'static) -> Self {
        let key = kernel.add_timer(deadline, Alarm::Call(kernel.callback(callback)));
        Self::new(kernel, Key::Timer(key), when)
    }

    #[track_caller]
    fn new(kernel: &Kernel, key: Key, when: Option<Instant>) -> Self {
        Handle {
            loop_id: kernel.id(),
            key,
            when,
            asked_at: Location::caller(),
            cancelled: Cell::new(false),
            shared: OnceCell::new(),
            _not_send: PhantomData,
        }
    }

    /// Drops the callback uncalled. False if it was called, or cancelled before.
    ///
    /// asyncio: `Handle.cancel()`.
    ///
    /// # Examples
    ///
    /// ```
    /// onelane::EventLoop::with_virtual_clock().run(async {
    ///     let handle = onelane::call_soon(|| unreachable!());
    ///     assert!(handle.cancel());
    ///     assert!(!handle.cancel());
    /// });
    /// ```
    pub fn cancel(&self) -> bool {
        let Some(kernel) = context::find(self.loop_id) else { return false };
        let cancel = |was_there: bool| {
            if was_there {
                self.flag().set(true);
            }
            was_there
        };
        // What comes out is dropped here, where no borrow is held, and when the flag is set.
        match self.key {
            Key::Soon(key) => {
                let call = kernel.cancel_call(key);
                cancel(call.is_some())
            }
            Key::Timer(key) => {
                let alarm = kernel.cancel_timer(key);
                cancel(alarm.is_some())
            }
        }
    }

    /// Whether the callback was dropped uncalled because this handle, or a clone of it, was cancelled.
    ///
    /// asyncio: `Handle.cancelled()`, which says so also if it was cancelled after it was called.
    ///
    /// # Examples
    ///
    /// ```
    /// onelane::EventLoop::with_virtual_clock().run(async {
    ///     let [called, cancelled] = [(); 2].map(|()| onelane::call_soon(|| ()));
    ///     cancelled.cancel();
    ///     onelane::yield_now().await;
    ///     called.cancel();
    ///     assert_eq!((called.is_cancelled(), cancelled.is_cancelled()), (false, true));
    /// });
    /// ```
    #[doc(alias = "cancelled")]
    pub fn is_cancelled(&self) -> bool {
        self.flag().get()
    }

    /// When it is due, on the loop's [`time`], or was; also after it was called or cancelled. `None` for a
    /// [`call_soon`], and if it is so far away that no `Instant` can say it.
    ///
    /// asyncio: `TimerHandle.when()`.
    ///
    /// # Examples
    ///
    /// ```
    /// onelane::EventLoop::with_virtual_clock().run(async {
    ///     let moment = onelane::time();
    ///     assert_eq!(onelane::call_at(moment, || ()).when(), Some(moment));
    ///     assert_eq!(onelane::call_soon(|| ()).when(), None);
    /// });
    /// ```
    pub fn when(&self) -> Option<Instant> {
        self.when
    }

    fn flag(&self) -> &Cell<bool> {
        self.shared.get().map_or(&self.cancelled, |shared| shared)
    }
}

impl Clone for Handle {
    fn clone(&self) -> Self {
        let shared = self.shared.get_or_init(|| Rc::new(Cell::new(self.cancelled.get())));
        Handle { shared: OnceCell::from(shared.clone()), cancelled: Cell::new(false), ..*self }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Handle");
        if let Key::Timer(_) = self.key {
            out.field("when", &self.when);
        }
        out.field("asked_at", &format_args!("{}", self.asked_at)).field("cancelled", &self.is_cancelled()).finish()
    }
}
