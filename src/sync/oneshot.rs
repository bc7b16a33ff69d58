//! Oneshot channels: one value from one task to another.
//!
//! ```
//! use onelane::{EventLoop, spawn, sync::{oneshot, unbounded}};
//!
//! /// A question, and where the answer is to go.
//! struct Question(u32, oneshot::Sender<u32>);
//!
//! EventLoop::with_virtual_clock().run(async {
//!     let (questions, desk) = unbounded();
//!     spawn(async move {
//!         while let Some(Question(n, reply)) = desk.recv().await {
//!             reply.send(n * n).unwrap();
//!         }
//!     });
//!     let (reply, answer) = oneshot::oneshot();
//!     questions.try_send(Question(9, reply)).unwrap();
//!     assert_eq!(answer.await, Ok(81));
//! });
//! ```
//!
//! Only the receiver ever waits, so there is no queue of waiters.

use crate::kernel::table::records::{Awaited, Wait};
use crate::kernel::{clone_uncounted, own, wake_at_home, wakes_the_same};
use crate::leaf::Record;
use crate::sync::label::Label;
use crate::sync::waiters::wake_other;
use alloc::rc::{Rc, Weak};
use core::cell::Cell;
use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

/// Creates a channel for one value: the [`Sender`] sends it, and awaiting the [`Receiver`] returns
/// it.
///
/// Either side may be dropped: then the receiver gets [`SenderDropped`], or the sender gets its
/// value back.
///
/// asyncio has no oneshot; use a `Future` there.
///
/// # Cost
///
/// One allocation.
///
/// # Examples
///
/// ```
/// use onelane::{spawn, sync::oneshot};
///
/// onelane::EventLoop::with_virtual_clock().run(async {
///     let (sender, receiver) = oneshot();
///     let task = spawn(async move { receiver.await });
///     sender.send(42).unwrap();
///     assert_eq!(task.await, Ok(Ok(42)));
/// });
/// ```
#[must_use = "without both ends nothing can be sent"]
#[track_caller]
pub fn oneshot<T: 'static>() -> (Sender<T>, Receiver<T>) {
    let label = Label::here();
    // Not `Rc::new`: this allocates first, so that the channel is built in its place.
    let shared = Rc::new_cyclic(|_| Shared {
        label,
        value: Cell::new(None),
        sender_dropped: Cell::new(false),
        receiver_dropped: Cell::new(false),
        is_interrupted: Cell::new(false),
        waker: Cell::new(None),
    });
    (Sender { shared: shared.clone() }, Receiver { shared, record: Record::here(), over: false })
}

struct Shared<T> {
    label: Label,
    value: Cell<Option<T>>,
    sender_dropped: Cell<bool>,
    receiver_dropped: Cell<bool>,
    /// Whether the receiver's task was interrupted. Then the receiver is woken only if the
    /// interruption is taken back.
    is_interrupted: Cell<bool>,
    /// The receiver's waker, while it waits.
    waker: Cell<Option<Waker>>,
}

impl<T> Shared<T> {
    /// Keeps a waker beside an old one, or one of another executor. Cloning and dropping it may run user
    /// code, so nothing is borrowed meanwhile.
    #[cold]
    #[inline(never)]
    fn keep_any_waker(&self, old: Option<Waker>, context: &Context<'_>) {
        let is_known = old.as_ref().is_some_and(|old| wakes_the_same(old, context.waker()));
        let kept = if is_known { old } else { Some(clone_uncounted(context.waker())) };
        drop(self.waker.replace(kept));
    }

    #[inline]
    fn wake(&self) {
        wake(&self.waker);
    }
}

/// Independent of the value's type, so that it is compiled once.
#[inline(never)]
fn wake(waker: &Cell<Option<Waker>>) {
    // This runs in the destructor of the sender, which must not panic if a foreign waker does.
    if let Some(waker) = waker.take().and_then(wake_at_home) {
        wake_other(waker);
    }
}

impl<T> Awaited for Shared<T> {
    fn interrupt(&self) {
        self.is_interrupted.set(true);
    }

    fn resume(&self) {
        if self.is_interrupted.replace(false) && self.sender_dropped.get() {
            self.wake();
        }
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the value of ")?;
        self.label.write("a oneshot", f)
    }
}

/// The sending side of a [`oneshot`].
///
/// # Examples
///
/// ```
/// let (sender, receiver) = onelane::sync::oneshot();
/// drop(receiver);
/// assert_eq!(sender.send('a'), Err('a'));
/// ```
#[must_use = "the receiver fails when this is dropped"]
pub struct Sender<T> {
    shared: Rc<Shared<T>>,
}

/// The receiving side of a [`oneshot`]: a future of the value.
///
/// Cancel safety: a value that was sent stays until the receiver is dropped, and is dropped with
/// it.
///
/// # Errors
///
/// [`SenderDropped`] if nothing was sent, and nothing will be.
///
/// # Panics
///
/// When polled after it was ready.
///
/// # Examples
///
/// ```
/// use onelane::sync::{oneshot, SenderDropped};
///
/// onelane::EventLoop::with_virtual_clock().run(async {
///     let (sender, receiver) = oneshot::<u8>();
///     drop(sender);
///     assert_eq!(receiver.await, Err(SenderDropped));
/// });
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct Receiver<T> {
    shared: Rc<Shared<T>>,
    record: Record,
    over: bool,
}

/// The sender of a [`oneshot`] was dropped without sending.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, sleep, spawn, sync::{SenderDropped, oneshot}, yield_now};
/// use std::time::Duration;
///
/// EventLoop::with_virtual_clock().run(async {
///     let (sender, receiver) = oneshot();
///     let worker = spawn(async move {
///         sleep(Duration::from_secs(60)).await;
///         sender.send("done").unwrap();
///     });
///     yield_now().await;
///     worker.cancel();
///     // The wait ends when the sender is dropped.
///     assert_eq!(receiver.await, Err(SenderDropped));
/// });
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SenderDropped;

impl fmt::Display for SenderDropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the sender was dropped and has sent nothing")
    }
}

impl core::error::Error for SenderDropped {}

/// Of the kind [`BrokenPipe`](std::io::ErrorKind::BrokenPipe).
#[cfg(feature = "std")]
impl From<SenderDropped> for std::io::Error {
    fn from(error: SenderDropped) -> Self {
        std::io::Error::new(std::io::ErrorKind::BrokenPipe, error)
    }
}

impl<T> Sender<T> {
    /// Sends the value, and wakes the receiver.
    ///
    /// # Errors
    ///
    /// The value, if the receiver was dropped.
    ///
    /// # Cost
    ///
    /// The receiver is stepped in the next turn.
    ///
    /// # Examples
    ///
    /// ```
    /// onelane::EventLoop::with_virtual_clock().run(async {
    ///     let (sender, receiver) = onelane::sync::oneshot();
    ///     assert_eq!(sender.send(1), Ok(()));
    ///     assert_eq!(receiver.await, Ok(1));
    /// });
    /// ```
    pub fn send(self, value: T) -> Result<(), T> {
        self.shared.label.touch();
        if self.is_closed() {
            return Err(value);
        }
        // This drops no earlier value: the sender sends once. Dropping the sender wakes the
        // receiver.
        self.shared.value.set(Some(value));
        Ok(())
    }

    /// Whether the receiver was dropped, so that nothing can be sent.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::sync::{oneshot, oneshot::Sender};
    ///
    /// /// Returns whether the answer was received.
    /// fn answer(sender: Sender<u64>) -> bool {
    ///     if sender.is_closed() {
    ///         return false; // the result is not wanted, so it is not computed
    ///     }
    ///     sender.send((1..=20).product()).is_ok()
    /// }
    ///
    /// let (sender, receiver) = oneshot();
    /// drop(receiver);
    /// assert!(!answer(sender));
    /// ```
    pub fn is_closed(&self) -> bool {
        self.shared.label.look();
        self.shared.receiver_dropped.get()
    }
}

impl<T> Drop for Sender<T> {
    #[inline]
    fn drop(&mut self) {
        self.shared.label.touch();
        self.shared.sender_dropped.set(true);
        if !self.shared.is_interrupted.get() {
            self.shared.wake();
        }
    }
}

impl<T> Receiver<T> {
    /// Takes the value, if it was sent and not received.
    ///
    /// # Examples
    ///
    /// ```
    /// let (sender, mut receiver) = onelane::sync::oneshot();
    /// assert_eq!(receiver.try_recv(), None);
    /// sender.send('a').unwrap();
    /// assert_eq!(receiver.try_recv(), Some('a'));
    /// ```
    pub fn try_recv(&mut self) -> Option<T> {
        self.shared.label.touch();
        self.shared.value.take()
    }

    /// Dropped before it was ready.
    #[cold]
    #[inline(never)]
    fn give_up(&mut self) {
        self.record.end();
        drop(self.shared.waker.take());
        self.shared.receiver_dropped.set(true);
        drop(self.try_recv());
    }
}

impl<T: 'static> Receiver<T> {
    /// Waits for the value. Returns false if the sender was dropped meanwhile. A separate function, so that
    /// a poll that is ready saves no registers for it.
    #[track_caller]
    #[inline(never)]
    fn wait(&mut self, context: &Context<'_>) -> bool {
        let shared = &self.shared;
        // A receiver that is polled is alive: it may have moved out of a cancelled task.
        shared.is_interrupted.set(false);
        match (shared.waker.take(), own(context.waker())) {
            (None, Some(waker)) => shared.waker.set(Some(waker)),
            (old, _) => {
                shared.keep_any_waker(old, context);
                if shared.sender_dropped.get() {
                    return false; // The code of a waker has dropped it.
                }
            }
        }
        self.record.begin(|| Wait::On(Rc::downgrade(shared) as Weak<dyn Awaited>));
        true
    }
}

impl<T: 'static> Future for Receiver<T> {
    type Output = Result<T, SenderDropped>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.shared.label.touch();
        let this = &mut *self;
        assert!(!this.over, "the receiver of a oneshot was polled after it was ready; a oneshot has one value");
        if !this.shared.sender_dropped.get() && this.wait(context) {
            return Poll::Pending;
        }
        this.record.end();
        this.over = true;
        Poll::Ready(this.try_recv().ok_or(SenderDropped))
    }
}

#[cfg(feature = "stream")]
#[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
impl<T: 'static> futures_core::FusedFuture for Receiver<T> {
    fn is_terminated(&self) -> bool {
        self.over
    }
}

impl<T> Drop for Receiver<T> {
    #[inline]
    fn drop(&mut self) {
        self.shared.label.touch();
        // When it was ready, the sender is dropped too, and nothing is left to do.
        if !self.over {
            self.give_up();
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("closed", &self.is_closed()).finish()
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.label.look();
        f.debug_struct("Receiver").field("sender_dropped", &self.shared.sender_dropped.get()).finish()
    }
}
