//! One value, from one task to another.
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
//! Knows nothing but the line of its waiters, which has one place: the receiver's.

use crate::sync::label::Label;
use crate::sync::waiters::{Place, Ticket, Waiters};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// A channel for one value: what the [`Sender`] sends, the [`Receiver`] gives when it is awaited.
///
/// Either side may be dropped: the receiver then gets [`SenderDropped`], the sender its value back.
///
/// asyncio has none; there a `Future` is used for this.
///
/// # Cost
///
/// Two allocations, and two if the receiver has to wait.
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
pub fn oneshot<T>() -> (Sender<T>, Receiver<T>) {
    let core = Core {
        label: Label::here(),
        sender_dropped: Cell::new(false),
        receiver_dropped: Cell::new(false),
        receiver: Waiters::default(),
    };
    let shared = Rc::new(Shared { core: Rc::new(core), value: RefCell::new(None) });
    (Sender { shared: shared.clone() }, Receiver { shared, ticket: Ticket::here(), over: false })
}

struct Shared<T> {
    core: Rc<Core>,
    /// Borrowed in this file alone, to put in and take out.
    value: RefCell<Option<T>>,
}

/// Who waits, without the value's type.
struct Core {
    label: Label,
    sender_dropped: Cell<bool>,
    receiver_dropped: Cell<bool>,
    receiver: Waiters,
}

impl Place for Core {
    fn line(&self, _: u8) -> &Waiters {
        &self.receiver
    }

    fn describe(&self, _: u8, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the value of ")?;
        self.label.write("a oneshot", f)
    }
}

/// The sending end of a [`oneshot`].
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

/// The receiving end of a [`oneshot`]: a future of the value.
///
/// Cancel safety: a value that was sent stays until the receiver is dropped, and is dropped with it.
///
/// # Errors
///
/// [`SenderDropped`] if nothing was sent, and nothing will be.
///
/// # Panics
///
/// When polled after it was over.
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
    ticket: Ticket,
    over: bool,
}

/// The sender of a [`oneshot`] was dropped, and has sent nothing.
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
///     // Nobody waits for ever for one who has gone.
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

impl std::error::Error for SenderDropped {}

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
        if self.is_closed() {
            return Err(value);
        }
        // There was none before. The receiver is woken by the drop of the sender.
        *self.shared.value.borrow_mut() = Some(value);
        Ok(())
    }

    /// Whether the receiver was dropped, so that nothing can be sent.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::sync::{oneshot, oneshot::Sender};
    ///
    /// /// Says whether anybody has got the answer.
    /// fn answer(sender: Sender<u64>) -> bool {
    ///     if sender.is_closed() {
    ///         return false; // nobody wants to know, so there is no need to compute
    ///     }
    ///     sender.send((1..=20).product()).is_ok()
    /// }
    ///
    /// let (sender, receiver) = oneshot();
    /// drop(receiver);
    /// assert!(!answer(sender));
    /// ```
    pub fn is_closed(&self) -> bool {
        self.shared.core.receiver_dropped.get()
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.shared.core.sender_dropped.set(true);
        self.shared.core.receiver.give_all();
    }
}

impl<T> Receiver<T> {
    /// The value, if it was sent and not received.
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
        self.shared.value.borrow_mut().take()
    }
}

impl<T> Future for Receiver<T> {
    type Output = Result<T, SenderDropped>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        assert!(!this.over, "the receiver of a oneshot was polled after it was over; a oneshot has one value");
        if !this.ticket.is_in_line() && !this.shared.core.sender_dropped.get() {
            this.ticket.enter(this.shared.core.clone(), 0);
        }
        ready!(this.ticket.poll(context));
        this.over = true;
        Poll::Ready(this.try_recv().ok_or(SenderDropped))
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.ticket.leave();
        self.shared.core.receiver_dropped.set(true);
        // Dropped where nothing is borrowed.
        drop(self.try_recv());
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("closed", &self.is_closed()).finish()
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("sender_dropped", &self.shared.core.sender_dropped.get()).finish()
    }
}
