//! Channels from many senders to one receiver: a queue that is shut down when one side is dropped.
//!
//! ```
//! use onelane::{EventLoop, gather, sync::channel};
//!
//! async fn count(words: channel::Sender<String>, up_to: u32) {
//!     for n in 1..=up_to {
//!         words.send(n.to_string()).await.unwrap();
//!     }
//! }
//!
//! async fn join(words: channel::Receiver<String>) -> String {
//!     let mut text = String::new();
//!     while let Some(word) = words.recv().await {
//!         text += &word;
//!     }
//!     text
//! }
//!
//! EventLoop::with_virtual_clock().run(async {
//!     let (sender, receiver) = channel::channel(1);
//!     assert_eq!(gather!(count(sender, 4), join(receiver)).await, Ok(((), "1234".into())));
//! });
//! ```
//!
//! Next: `queue.rs`, on which this is built.

use crate::kernel::explore::Known;
use crate::sync::queue::{PutError, Queue, QueueGet, QueuePut, TryGetError, TryPutError, Words};
#[cfg(feature = "stream")]
use crate::sync::stream::Getting;
use alloc::rc::Rc;
use core::cell::Cell;
use core::fmt;
use core::num::NonZeroUsize;
#[cfg(feature = "stream")]
use core::panic::Location;
use core::pin::Pin;
use core::task::{Context, Poll};

const CHANNEL: &Words = &Words { whole: "a channel", item: "a message" };

/// Creates a channel for at most `capacity` messages: a sender waits while it is full.
///
/// When all senders have been dropped, the receiver gets the remaining messages, and then `None`.
/// When the receiver has been dropped, the remaining messages are dropped, and senders get their
/// messages back.
///
/// asyncio has no channel; this is a `Queue` that is shut down when one side is dropped.
///
/// # Panics
///
/// If `capacity` is zero: a message always passes through the channel's buffer.
///
/// # Cost
///
/// Two allocations besides the messages, and memory for the greatest number of tasks that ever
/// waited at once.
///
/// # Examples
///
/// ```
/// use onelane::{spawn, sync::channel};
///
/// onelane::EventLoop::with_virtual_clock().run(async {
///     let (sender, receiver) = channel(2);
///     for n in 0..3 {
///         let sender = sender.clone();
///         drop(spawn(async move { sender.send(n).await }));
///     }
///     drop(sender);
///     let mut received = Vec::new();
///     while let Some(n) = receiver.recv().await {
///         received.push(n);
///     }
///     assert_eq!(received, [0, 1, 2]);
/// });
/// ```
#[doc(alias = "Queue")]
#[track_caller]
#[must_use = "without both ends nothing can be sent"]
pub fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let Some(capacity) = NonZeroUsize::new(capacity) else {
        panic!("channel(0) was called, but there has to be room for one message; use channel(1), or oneshot()")
    };
    ends(Some(capacity))
}

/// Creates a channel that is never full. Otherwise like [`channel`].
///
/// # Examples
///
/// ```
/// onelane::EventLoop::with_virtual_clock().run(async {
///     let (sender, receiver) = onelane::sync::unbounded();
///     sender.try_send('a').unwrap();
///     drop(sender);
///     assert_eq!(receiver.recv().await, Some('a'));
///     assert_eq!(receiver.recv().await, None);
/// });
/// ```
#[must_use = "without both ends nothing can be sent"]
#[track_caller]
pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    ends(None)
}

#[track_caller]
fn ends<T>(capacity: Option<NonZeroUsize>) -> (Sender<T>, Receiver<T>) {
    let shared = Rc::new(Shared { queue: Queue::fifo(capacity, CHANNEL), senders: Cell::new(1), known: Known::new() });
    let receiver = Receiver {
        shared: shared.clone(),
        #[cfg(feature = "stream")]
        begun: Cell::new(None),
        #[cfg(feature = "stream")]
        made_at: Location::caller(),
    };
    (Sender { shared }, receiver)
}

struct Shared<T> {
    queue: Queue<T>,
    /// Number of senders.
    senders: Cell<usize>,
    /// For `senders`.
    known: Known,
}

/// The sending side of a [`channel`]. Clone it for more senders.
///
/// # Examples
///
/// ```
/// use onelane::sync::{channel, channel::Sender};
///
/// struct Log {
///     lines: Sender<String>,
/// }
///
/// impl Log {
///     fn write(&self, line: &str) {
///         self.lines.try_send(line.into()).ok(); // what finds no room is left out
///     }
/// }
///
/// let (lines, reader) = channel(1);
/// let log = Log { lines };
/// log.write("up");
/// log.write("and running");
/// assert_eq!(reader.try_recv().unwrap(), "up");
/// assert!(reader.is_empty());
/// ```
#[must_use = "the channel is closed when all senders are dropped"]
pub struct Sender<T> {
    shared: Rc<Shared<T>>,
}

/// The receiving side of a [`channel`].
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, sync::{channel::Receiver, unbounded}};
///
/// async fn first_even(numbers: Receiver<u32>) -> Option<u32> {
///     loop {
///         let number = numbers.recv().await?;
///         if number % 2 == 0 {
///             return Some(number);
///         }
///     }
/// }
///
/// EventLoop::with_virtual_clock().run(async {
///     let (sender, receiver) = unbounded();
///     [3, 5, 6, 7].into_iter().for_each(|number| sender.try_send(number).unwrap());
///     assert_eq!(first_even(receiver).await, Some(6));
/// });
/// ```
#[must_use = "the channel is closed when the receiver is dropped"]
pub struct Receiver<T> {
    shared: Rc<Shared<T>>,
    /// The place of the stream, after a pending poll.
    #[cfg(feature = "stream")]
    begun: Cell<Option<Getting>>,
    #[cfg(feature = "stream")]
    made_at: &'static Location<'static>,
}

impl<T> Sender<T> {
    /// Sends a message, and waits while the channel is full.
    ///
    /// Cancel safety: a message that was not sent is dropped with the future; its place in the
    /// queue of senders is lost.
    ///
    /// # Errors
    ///
    /// [`PutError`] with the message if the receiver was dropped.
    ///
    /// # Panics
    ///
    /// When polled after it was ready.
    ///
    /// # Cost
    ///
    /// As for [`Queue::put`].
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::sync::{PutError, channel};
    ///
    /// onelane::EventLoop::with_virtual_clock().run(async {
    ///     let (sender, receiver) = channel(1);
    ///     assert_eq!(sender.send('a').await, Ok(()));
    ///     drop(receiver);
    ///     assert_eq!(sender.send('b').await, Err(PutError('b')));
    /// });
    /// ```
    #[track_caller]
    pub fn send(&self, message: T) -> ChannelSend<'_, T> {
        ChannelSend { put: self.shared.queue.put(message) }
    }

    /// Sends a message if there is room.
    ///
    /// # Errors
    ///
    /// [`TryPutError`] with the message if the channel is full, or if the receiver was dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::sync::{TryPutError, channel};
    ///
    /// let (sender, _receiver) = channel(1);
    /// assert_eq!(sender.try_send('a'), Ok(()));
    /// assert_eq!(sender.try_send('b'), Err(TryPutError::Full('b')));
    /// ```
    pub fn try_send(&self, message: T) -> Result<(), TryPutError<T>> {
        self.shared.queue.try_put(message)
    }

    /// Whether the receiver was dropped, so that nothing can be sent.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, spawn, sync::channel};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let (sender, receiver) = channel(1);
    ///     spawn(async move { receiver.recv().await }); // wants one, and goes
    ///     let mut made = 0;
    ///     while !sender.is_closed() {
    ///         made += 1;
    ///         sender.send(made).await.ok();
    ///     }
    ///     assert_eq!(made, 2); // nothing is made in vain for long
    /// });
    /// ```
    pub fn is_closed(&self) -> bool {
        // The queue is shut down by the last sender or by the receiver. A sender is left: `self`.
        self.shared.queue.is_shut_down()
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.shared.known.writes();
        self.shared.senders.set(self.shared.senders.get() + 1);
        Sender { shared: self.shared.clone() }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.shared.known.writes();
        self.shared.senders.set(self.shared.senders.get() - 1);
        if self.shared.senders.get() == 0 {
            self.shared.queue.shutdown(false);
        }
    }
}

impl<T> Receiver<T> {
    /// Receives the next message. `None` if there is none and all senders have been dropped.
    ///
    /// Cancel safety: no message is lost.
    ///
    /// # Panics
    ///
    /// When polled after it was ready.
    ///
    /// # Cost
    ///
    /// As for [`Queue::get`].
    ///
    /// # Examples
    ///
    /// ```
    /// onelane::EventLoop::with_virtual_clock().run(async {
    ///     let (sender, receiver) = onelane::sync::channel(1);
    ///     sender.send('a').await.unwrap();
    ///     assert_eq!(receiver.recv().await, Some('a'));
    /// });
    /// ```
    #[track_caller]
    pub fn recv(&self) -> ChannelRecv<'_, T> {
        #[cfg(feature = "stream")]
        drop(self.begun.take());
        ChannelRecv { get: self.shared.queue.get() }
    }

    /// Receives a message if there is one.
    ///
    /// # Errors
    ///
    /// [`TryGetError`] if there is none, or none and all senders have been dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::sync::{TryGetError, channel};
    ///
    /// let (sender, receiver) = channel(1);
    /// sender.try_send('a').unwrap();
    /// assert_eq!(receiver.try_recv(), Ok('a'));
    /// assert_eq!(receiver.try_recv(), Err(TryGetError::Empty));
    /// drop(sender);
    /// assert_eq!(receiver.try_recv(), Err(TryGetError::ShutDown));
    /// ```
    pub fn try_recv(&self) -> Result<T, TryGetError> {
        self.shared.queue.try_get()
    }

    /// Returns the number of messages that were sent and not received.
    ///
    /// # Examples
    ///
    /// ```
    /// let (sender, receiver) = onelane::sync::unbounded();
    /// for position in 1..=3 {
    ///     sender.try_send(position).unwrap();
    /// }
    /// while receiver.len() > 1 {
    ///     receiver.try_recv().unwrap(); // only the newest counts
    /// }
    /// assert_eq!(receiver.try_recv(), Ok(3));
    /// ```
    pub fn len(&self) -> usize {
        self.shared.queue.len()
    }

    /// Whether no message is there.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, sync::unbounded};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let (sender, receiver) = unbounded();
    ///     "abc".chars().for_each(|letter| sender.try_send(letter).unwrap());
    ///     // Waits for the first, and takes with it what has come by then.
    ///     let mut batch = String::from_iter(receiver.recv().await);
    ///     while !receiver.is_empty() {
    ///         batch.extend(receiver.recv().await);
    ///     }
    ///     assert_eq!(batch, "abc");
    /// });
    /// ```
    pub fn is_empty(&self) -> bool {
        self.shared.queue.is_empty()
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.queue.shutdown(true);
    }
}

/// The messages, until all senders are dropped.
///
/// Between two polls, the stream keeps its place in the queue. A [`recv`](Receiver::recv) takes the
/// place over.
///
/// # Examples
///
/// ```
/// use futures_util::StreamExt;
/// use onelane::{EventLoop, spawn, sync::channel};
///
/// EventLoop::with_virtual_clock().run(async {
///     let (sender, receiver) = channel(1);
///     spawn(async move {
///         for number in 1..=3 {
///             sender.send(number).await.unwrap();
///         }
///     });
///     assert_eq!(receiver.map(|number| number * 10).collect::<Vec<_>>().await, [10, 20, 30]);
/// });
/// ```
#[cfg(feature = "stream")]
#[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
impl<T> futures_core::Stream for Receiver<T> {
    type Item = T;

    #[track_caller]
    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let this = self.get_mut();
        let (queue, made_at) = (&this.shared.queue, this.made_at);
        this.begun.get_mut().get_or_insert_with(|| Getting::new(queue.core(), made_at)).poll(queue, context)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len(), self.shared.queue.is_shut_down().then(|| self.len()))
    }
}

#[cfg(feature = "stream")]
#[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
impl<T> futures_core::FusedStream for Receiver<T> {
    fn is_terminated(&self) -> bool {
        self.shared.queue.is_shut_down() && self.is_empty()
    }
}

/// The future of [`Sender::send`].
///
/// # Examples
///
/// ```
/// use onelane::sync::{channel, channel::ChannelSend};
/// use std::pin::pin;
/// use std::task::{Context, Poll, Waker};
///
/// let (sender, receiver) = channel(1);
/// sender.try_send('a').unwrap();
/// // Polled by hand, without a loop.
/// let send: ChannelSend<'_, char> = sender.send('b');
/// let (mut send, mut context) = (pin!(send), Context::from_waker(Waker::noop()));
/// assert!(send.as_mut().poll(&mut context).is_pending());
/// receiver.try_recv().unwrap();
/// assert_eq!(send.poll(&mut context), Poll::Ready(Ok(())));
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct ChannelSend<'a, T> {
    put: QueuePut<'a, T>,
}

impl<T> Future for ChannelSend<'_, T> {
    type Output = Result<(), PutError<T>>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.put).poll(context)
    }
}

/// The future of [`Receiver::recv`].
///
/// # Examples
///
/// ```
/// use onelane::EventLoop;
/// use onelane::sync::{channel::{ChannelRecv, Receiver}, unbounded};
///
/// /// Where letters come from: a trait that can be a `dyn` one, since the future has a name.
/// trait Source {
///     fn next(&self) -> ChannelRecv<'_, char>;
/// }
///
/// impl Source for Receiver<char> {
///     fn next(&self) -> ChannelRecv<'_, char> {
///         self.recv()
///     }
/// }
///
/// EventLoop::with_virtual_clock().run(async {
///     let (sender, receiver) = unbounded();
///     sender.try_send('a').unwrap();
///     let source: Box<dyn Source> = Box::new(receiver);
///     assert_eq!(source.next().await, Some('a'));
/// });
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct ChannelRecv<'a, T> {
    get: QueueGet<'a, T>,
}

impl<T> Future for ChannelRecv<'_, T> {
    type Output = Option<T>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        Pin::new(&mut self.get).poll(context).map(Result::ok)
    }
}

#[cfg(feature = "stream")]
#[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
impl<T> futures_core::FusedFuture for ChannelSend<'_, T> {
    fn is_terminated(&self) -> bool {
        self.put.is_terminated()
    }
}

#[cfg(feature = "stream")]
#[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
impl<T> futures_core::FusedFuture for ChannelRecv<'_, T> {
    fn is_terminated(&self) -> bool {
        self.get.is_terminated()
    }
}

impl<T> Shared<T> {
    fn show(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.known.reads();
        f.debug_struct(name)
            .field("len", &self.queue.len())
            .field("capacity", &self.queue.max_size())
            .field("senders", &self.senders.get())
            .field("closed", &self.queue.is_shut_down())
            .finish()
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.show("Sender", f)
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.show("Receiver", f)
    }
}

impl<T> fmt::Debug for ChannelSend<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelSend").field("put", &self.put).finish()
    }
}

impl<T> fmt::Debug for ChannelRecv<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelRecv").field("get", &self.get).finish()
    }
}
