//! Plain callbacks: in the next turn, after a delay, at a time.

use crate::kernel::callbacks::calls::CallKey;
use crate::kernel::explore::{touches_all, unknown};
use crate::kernel::{Alarm, Instant, Kernel, Time, TimerKey, context};
use crate::leaf::running;
use alloc::rc::Rc;
use core::cell::{Cell, OnceCell};
use core::fmt;
use core::marker::PhantomData;
use core::panic::Location;
use core::time::Duration;

/// Schedules `callback` for the next turn, behind everything that is ready now.
///
/// If it panics, the panic goes to the loop's exception handler. Inside the callback,
/// [`current_task`](crate::current_task()) is `None`.
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
pub fn call_soon(callback: impl FnOnce() + 'static) -> CallHandle {
    CallHandle::soon(&running("call_soon()"), callback)
}

/// Schedules `callback` after `delay`: it is called in the first turn whose time has reached that
/// moment, behind what was ready before. A delay of zero is a timer too.
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
pub fn call_later(delay: Duration, callback: impl FnOnce() + 'static) -> CallHandle {
    CallHandle::later(&running("call_later()"), delay, callback)
}

/// Schedules `callback` at a moment of the loop's [`time`]. If the moment has passed, the callback
/// is due in the next turn.
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
pub fn call_at(moment: Instant, callback: impl FnOnce() + 'static) -> CallHandle {
    CallHandle::at(&running("call_at()"), moment, callback)
}

/// Returns the running loop's time: `Instant::now()` on a real clock; on a virtual clock, the
/// moment at which it stands.
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

/// A handle to a scheduled callback. Dropping the handle changes nothing.
///
/// Its `Debug` form says where the callback was scheduled and, for a timer, when it is due.
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
#[doc(alias = "Handle")]
#[doc(alias = "TimerHandle")]
pub struct CallHandle {
    loop_id: u64,
    key: Key,
    /// When a timer is due, if an `Instant` can express it.
    when: Option<Instant>,
    asked_at: &'static Location<'static>,
    /// Whether it was cancelled. Used as long as this handle has no clones.
    cancelled: Cell<bool>,
    /// Used instead when there is a clone. So a handle that is not cloned needs no allocation.
    shared: OnceCell<Rc<Cell<bool>>>,
    /// The callback lives on the loop's thread.
    _not_send: PhantomData<Rc<()>>,
}

#[derive(Clone, Copy)]
enum Key {
    Soon(CallKey),
    Timer(TimerKey),
}

impl CallHandle {
    #[track_caller]
    pub(crate) fn soon(kernel: &Kernel, callback: impl FnOnce() + 'static) -> Self {
        // Callbacks that other threads have scheduled before this one come first.
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
        if deadline <= kernel.clock.seen() {
            unknown("timers that are due at once");
        }
        let key = kernel.add_timer(deadline, Alarm::Call(kernel.callback(callback)));
        Self::new(kernel, Key::Timer(key), when)
    }

    #[track_caller]
    fn new(kernel: &Kernel, key: Key, when: Option<Instant>) -> Self {
        CallHandle {
            loop_id: kernel.id(),
            key,
            when,
            asked_at: Location::caller(),
            cancelled: Cell::new(false),
            shared: OnceCell::new(),
            _not_send: PhantomData,
        }
    }

    /// Cancels the callback: it is dropped and not called. Returns false if it was called or
    /// cancelled before.
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
        touches_all();
        let Some(kernel) = context::find(self.loop_id) else { return false };
        let cancel = |was_there: bool| {
            if was_there {
                self.flag().set(true);
            }
            was_there
        };
        // The callback is dropped here, where nothing is borrowed, and after the flag is set.
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

    /// Whether the callback was cancelled by this handle or a clone of it, before it was called.
    ///
    /// asyncio: `Handle.cancelled()`, which returns true also if the handle was cancelled after the
    /// call.
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
        touches_all();
        self.flag().get()
    }

    /// When the callback is or was due, on the loop's [`time`], even after it was called or
    /// cancelled. `None` for a [`call_soon`], and if an `Instant` cannot express the moment.
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

impl Clone for CallHandle {
    fn clone(&self) -> Self {
        let shared = self.shared.get_or_init(|| Rc::new(Cell::new(self.cancelled.get())));
        CallHandle { shared: OnceCell::from(shared.clone()), cancelled: Cell::new(false), ..*self }
    }
}

impl fmt::Debug for CallHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("CallHandle");
        if let Key::Timer(_) = self.key {
            out.field("when", &self.when);
        }
        out.field("asked_at", &format_args!("{}", self.asked_at)).field("cancelled", &self.is_cancelled()).finish()
    }
}
