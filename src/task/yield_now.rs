//! Yielding to other tasks.

#[cfg(any(feature = "probe", feature = "explore"))]
use crate::leaf;
#[cfg(any(feature = "probe", feature = "explore"))]
use core::panic::Location;
use core::pin::Pin;
use core::task::{Context, Poll};

/// Puts the task at the end of the ready queue: everything that is ready now runs first.
///
/// asyncio: `sleep(0)`.
///
/// # Cost
///
/// One switch; no allocation, no reading of the clock.
///
/// # Examples
///
/// ```
/// use std::{cell::RefCell, rc::Rc};
///
/// let trace = Rc::new(RefCell::new(String::new()));
/// let other = trace.clone();
/// onelane::EventLoop::with_virtual_clock().run(async {
///     let task = onelane::spawn(async move { other.borrow_mut().push('b') });
///     trace.borrow_mut().push('a');
///     onelane::yield_now().await;
///     trace.borrow_mut().push('c');
///     task.await
/// })
/// .unwrap();
/// assert_eq!(*trace.borrow(), "abc");
/// ```
#[doc(alias = "sleep")]
#[cfg_attr(any(feature = "probe", feature = "explore"), track_caller)]
pub fn yield_now() -> YieldNow {
    YieldNow {
        yielded: false,
        #[cfg(any(feature = "probe", feature = "explore"))]
        made_at: Location::caller(),
    }
}

/// The future of [`yield_now`].
///
/// # Examples
///
/// ```
/// use futures_util::poll;
/// use onelane::{EventLoop, YieldNow, yield_now};
///
/// EventLoop::with_virtual_clock().run(async {
///     let mut pause: YieldNow = yield_now();
///     assert!(poll!(&mut pause).is_pending()); // once, and it has asked to be polled again
///     assert!(poll!(&mut pause).is_ready());
/// });
/// ```
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub struct YieldNow {
    yielded: bool,
    /// Only observers show it.
    #[cfg(any(feature = "probe", feature = "explore"))]
    made_at: &'static Location<'static>,
}

impl Future for YieldNow {
    type Output = ();

    #[inline]
    #[cfg_attr(any(feature = "probe", feature = "explore"), track_caller)]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if core::mem::replace(&mut self.yielded, true) {
            return Poll::Ready(());
        }
        #[cfg(any(feature = "probe", feature = "explore"))]
        leaf::yields_at(Location::caller(), self.made_at);
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
