//! Queues and channels as streams, with the feature `stream`.
//!
//! Between two polls, a stream keeps its place among the getters of its queue. So it gets its item
//! in the order of arrival, although no future of it exists in between.

use crate::sync::queue::{Core, GETTERS, Queue, TryGetError};
use crate::sync::waiters::Ticket;
use alloc::rc::Rc;
use core::fmt;
use core::ops::Deref;
use core::panic::Location;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use futures_core::{FusedStream, Stream};

/// The place of a stream among the getters of a queue.
pub(super) struct Getting {
    core: Rc<Core>,
    ticket: Ticket,
}

impl Getting {
    pub(super) fn new(core: &Rc<Core>, made_at: &'static Location<'static>) -> Self {
        Getting { core: core.clone(), ticket: Ticket::made_at(made_at) }
    }

    #[track_caller]
    pub(super) fn poll<T>(&mut self, queue: &Queue<T>, context: &mut Context<'_>) -> Poll<Option<T>> {
        self.core.touch();
        loop {
            ready!(self.ticket.poll(&self.core, context));
            match queue.try_get() {
                Ok(item) => return Poll::Ready(Some(item)),
                Err(TryGetError::ShutDown) => return Poll::Ready(None),
                Err(TryGetError::Empty) => self.ticket.enter(&*self.core, GETTERS),
            }
        }
    }
}

impl Drop for Getting {
    fn drop(&mut self) {
        self.core.touch();
        self.ticket.give_up(&*self.core);
    }
}

/// The items of a queue as a stream: [`Queue::stream`], or [`QueueStream::new`] for a stream that
/// owns the queue or a share of it.
///
/// It ends when the queue was shut down and is empty. Several streams and getters may share a
/// queue: each item goes to one of them.
///
/// Between two polls, the stream keeps its place in the queue of getters, so poll it or drop it: an
/// item that is meant for it waits. A stream that is dropped passes its place on.
///
/// # Examples
///
/// ```
/// use futures_util::StreamExt;
/// use onelane::{EventLoop, sleep, spawn, sync::{Queue, QueueStream}};
/// use std::{rc::Rc, time::Duration};
///
/// EventLoop::with_virtual_clock().run(async {
///     let queue = Rc::new(Queue::bounded(1));
///     // It owns a share of the queue, so it is `'static`.
///     let numbers = QueueStream::new(queue.clone());
///     let sum = spawn(numbers.fold(0, async |sum, number| sum + number));
///     for number in 1..=3 {
///         queue.put(number).await.unwrap();
///     }
///     queue.shutdown(false);
///     assert_eq!(sum.await, Ok(6));
/// });
/// ```
#[must_use = "streams do nothing unless they are polled"]
pub struct QueueStream<Q> {
    queue: Q,
    getting: Getting,
}

impl<T, Q: Deref<Target = Queue<T>>> QueueStream<Q> {
    /// Returns the items of a queue as a stream. The queue is a `&Queue`, an `Rc<Queue>`, a
    /// [`LifoQueue`](crate::sync::LifoQueue) or a [`PriorityQueue`](crate::sync::PriorityQueue).
    ///
    /// # Examples
    ///
    /// ```
    /// use futures_util::StreamExt;
    /// use onelane::{EventLoop, sync::{LifoQueue, QueueStream}};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let queue = LifoQueue::unbounded();
    ///     "abc".chars().for_each(|letter| queue.try_put(letter).unwrap());
    ///     queue.shutdown(false);
    ///     assert_eq!(QueueStream::new(queue).collect::<String>().await, "cba");
    /// });
    /// ```
    #[track_caller]
    pub fn new(queue: Q) -> Self {
        let getting = Getting::new(queue.core(), Location::caller());
        QueueStream { queue, getting }
    }
}

impl<T> Queue<T> {
    /// Returns the items as a stream, which ends when the queue was shut down and is empty.
    ///
    /// asyncio: a loop around `get()` that ends with `QueueShutDown`.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures_util::StreamExt;
    /// use onelane::{EventLoop, sync::Queue};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let queue = Queue::unbounded();
    ///     (1..=4).for_each(|number| queue.try_put(number).unwrap());
    ///     queue.shutdown(false);
    ///     let even = queue.stream().filter(|number| std::future::ready(number % 2 == 0));
    ///     assert_eq!(even.collect::<Vec<_>>().await, [2, 4]);
    /// });
    /// ```
    #[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
    #[track_caller]
    pub fn stream(&self) -> QueueStream<&Self> {
        QueueStream::new(self)
    }
}

// The queue is not pinned.
impl<Q> Unpin for QueueStream<Q> {}

impl<T, Q: Deref<Target = Queue<T>>> Stream for QueueStream<Q> {
    type Item = T;

    #[track_caller]
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let this = &mut *self;
        this.getting.poll(&this.queue, context)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, self.queue.is_shut_down().then(|| self.queue.len()))
    }
}

impl<T, Q: Deref<Target = Queue<T>>> FusedStream for QueueStream<Q> {
    fn is_terminated(&self) -> bool {
        self.queue.is_shut_down() && self.queue.is_empty()
    }
}

impl<Q: fmt::Debug> fmt::Debug for QueueStream<Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueStream").field("queue", &self.queue).finish_non_exhaustive()
    }
}
