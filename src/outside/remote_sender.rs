//! Sending from other threads into a queue or a channel of the loop.
//!
//! ```text
//!   any thread                                        the loop's thread
//!   send(item) --> pending items, behind a lock  -->  the task "remote sender" --> put(item).await
//!                  wakes the task by its waker
//! ```
//!
//! The task owns the queue, which is not `Send`. So a sender owns nothing of the loop, and may be
//! dropped anywhere. While the queue is full, the task waits, and the items stay behind the lock.
//!
//! This file knows of a queue only that an item can be put into it. Next: `sync/queue.rs`.

use crate::kernel::callbacks::exceptions;
use crate::kernel::table::records::{Awaited, Wait};
use crate::leaf::{Record, running};
use crate::outside::remote::Remote;
use crate::platform::{Condvar, Mutex, MutexGuard, PoisonError};
use crate::sync::channel::Sender;
use crate::sync::{PutError, Queue};
use crate::task::Task;
use alloc::{collections::VecDeque, rc::Rc, sync::Arc};
use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

/// Sends items from other threads into a queue or a channel of a loop. `Send`, `Sync` and `Clone`.
///
/// [`Queue::remote_sender`] and [`Sender::remote_sender`] make one. A task of the loop, named
/// "remote sender", puts the items into the queue, in the order in which they were sent. If the
/// queue is bounded and full, the task waits for room, and further items stay outside of the queue.
///
/// When the last clone is dropped, the task puts what is left, and ends; its share of the queue, or
/// its `Sender` of a channel, is dropped then. While one exists, the loop reports no deadlock. At
/// the end of `run` the task is cancelled like any other, and the items that are left are dropped.
///
/// asyncio: `loop.call_soon_threadsafe(queue.put_nowait, item)`.
///
/// # Cost
///
/// A task. Each item takes a lock twice. If the task waits, an item also takes a message to the loop.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, sync::Queue};
/// use std::{rc::Rc, thread};
///
/// EventLoop::new().run(async {
///     let queue = Rc::new(Queue::unbounded());
///     let sender = queue.remote_sender();
///     let other = thread::spawn(move || {
///         for number in 1..=3 {
///             sender.send(number).unwrap();
///         }
///     });
///     assert_eq!((queue.get().await, queue.get().await, queue.get().await), (Ok(1), Ok(2), Ok(3)));
///     other.join().unwrap();
/// });
/// ```
#[doc(alias = "call_soon_threadsafe")]
pub struct RemoteSender<T> {
    shared: Arc<Shared<T>>,
    /// Keeps the loop from reporting a deadlock.
    remote: Remote,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    /// Notified when the task has taken the pending items, and at its end.
    changed: Condvar,
}

struct State<T> {
    pending: VecDeque<T>,
    senders: usize,
    /// The waker of the task, while it waits for an item.
    waker: Option<Waker>,
    /// The task has ended.
    closed: bool,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Send + 'static> RemoteSender<T> {
    /// Makes a sender, and a task of the running loop that calls `put` with each item. The task
    /// ends when the last sender is dropped, or when `put` returns an error.
    ///
    /// # Panics
    ///
    /// If no loop is running on this thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, RemoteSender, sync::PriorityQueue};
    /// use std::{rc::Rc, thread};
    ///
    /// EventLoop::new().run(async {
    ///     let queue = Rc::new(PriorityQueue::unbounded());
    ///     let copy = queue.clone();
    ///     let sender = RemoteSender::new(async move |item| copy.put(item).await);
    ///     thread::spawn(move || sender.send("urgent").unwrap());
    ///     assert_eq!(queue.get().await, Ok("urgent"));
    /// });
    /// ```
    #[track_caller]
    pub fn new(mut put: impl AsyncFnMut(T) -> Result<(), PutError<T>> + 'static) -> Self {
        let kernel = running("RemoteSender::new()");
        let state = State { pending: VecDeque::new(), senders: 1, waker: None, closed: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let open = Open(shared.clone());
        let task = async move {
            while let Some(item) = (Receive { shared: &open.0, record: Record::here() }).await {
                if put(item).await.is_err() {
                    break;
                }
            }
        };
        drop(Task::spawn_on(&kernel, Some("remote sender".into()), task));
        RemoteSender { shared, remote: Remote::to(&kernel) }
    }
}

impl<T> RemoteSender<T> {
    /// Sends an item. Never waits: if the queue is bounded and full, the item stays outside of it
    /// until there is room. May be called on any thread, also in the loop.
    ///
    /// An item that was sent before the queue is shut down may reach it afterwards. Then it is
    /// dropped.
    ///
    /// # Errors
    ///
    /// With the item, if the queue or the channel was found closed by an earlier item, or if the
    /// loop has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, sync::{PutError, unbounded}};
    ///
    /// let sender = EventLoop::new().run(async {
    ///     let (sender, receiver) = unbounded();
    ///     let remote = sender.remote_sender();
    ///     remote.send("early").unwrap();
    ///     assert_eq!(receiver.recv().await, Some("early"));
    ///     remote
    /// });
    /// assert_eq!(sender.send("late"), Err(PutError("late"))); // the loop has ended
    /// ```
    pub fn send(&self, item: T) -> Result<(), PutError<T>> {
        self.push(self.shared.lock(), item)
    }

    /// Sends an item, and blocks this thread while earlier items wait for room in the queue. So a
    /// fast thread does not fill the memory.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send).
    ///
    /// # Panics
    ///
    /// In a turn of a loop, which it would block: use the queue itself there. On the thread of its
    /// own loop, where it would wait for itself: use [`send`](Self::send) there.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, sync::channel};
    /// use std::thread;
    ///
    /// let sum = EventLoop::new().run(async {
    ///     let (sender, receiver) = channel(1);
    ///     let remote = sender.remote_sender();
    ///     drop(sender);
    ///     let other = thread::spawn(move || {
    ///         for number in 1..=100 {
    ///             remote.send_blocking(number).unwrap(); // waits for the loop, most of the time
    ///         }
    ///     });
    ///     let mut sum = 0;
    ///     while let Some(number) = receiver.recv().await {
    ///         sum += number;
    ///     }
    ///     other.join().unwrap();
    ///     sum
    /// });
    /// assert_eq!(sum, 5050);
    /// ```
    #[cfg(feature = "std")]
    #[cfg_attr(docsrs, doc(cfg(feature = "std")))]
    pub fn send_blocking(&self, item: T) -> Result<(), PutError<T>> {
        assert!(
            !crate::kernel::context::is_running(),
            "RemoteSender::send_blocking() was called in a turn of a loop, which it would block; put into the queue there"
        );
        assert!(
            !self.remote.is_here(),
            "RemoteSender::send_blocking() was called on the thread of its loop, which it would block; use send()"
        );
        let waits = |state: &mut State<T>| !state.pending.is_empty() && !state.closed;
        let state = self.shared.changed.wait_while(self.shared.lock(), waits);
        self.push(state.unwrap_or_else(PoisonError::into_inner), item)
    }

    /// Whether the task that puts the items has ended, so that nothing can be sent.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, sync::unbounded};
    ///
    /// let event_loop = EventLoop::new();
    /// let sender = event_loop.enter(|| unbounded::<u8>().0.remote_sender());
    /// assert!(!sender.is_closed());
    /// drop(event_loop);
    /// assert!(sender.is_closed());
    /// ```
    pub fn is_closed(&self) -> bool {
        self.shared.lock().closed
    }

    fn push(&self, mut state: MutexGuard<'_, State<T>>, item: T) -> Result<(), PutError<T>> {
        if state.closed {
            return Err(PutError(item));
        }
        state.pending.push_back(item);
        let waker = state.waker.take();
        // A wake may call the loop's wake hook, which is user code.
        drop(state);
        waker.into_iter().for_each(Waker::wake);
        Ok(())
    }
}

impl<T: Send + 'static> Queue<T> {
    /// Returns a sender for other threads, with a share of the queue.
    ///
    /// asyncio: `loop.call_soon_threadsafe(queue.put_nowait, item)`.
    ///
    /// # Panics
    ///
    /// If no loop is running on this thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, sync::Queue};
    /// use std::{rc::Rc, thread};
    ///
    /// EventLoop::new().run(async {
    ///     let lines = Rc::new(Queue::bounded(16));
    ///     let sender = lines.remote_sender();
    ///     thread::spawn(move || sender.send_blocking(String::from("from a thread")).unwrap());
    ///     assert_eq!(lines.get().await.unwrap(), "from a thread");
    /// });
    /// ```
    #[doc(alias = "call_soon_threadsafe")]
    #[track_caller]
    pub fn remote_sender(self: &Rc<Self>) -> RemoteSender<T> {
        let queue = self.clone();
        RemoteSender::new(async move |item| queue.put(item).await)
    }
}

impl<T: Send + 'static> Sender<T> {
    /// Returns a sender for other threads, which counts as a clone of this sender.
    ///
    /// # Panics
    ///
    /// If no loop is running on this thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, sync::unbounded};
    /// use std::thread;
    ///
    /// EventLoop::new().run(async {
    ///     let (sender, receiver) = unbounded();
    ///     let remote = sender.remote_sender();
    ///     drop(sender);
    ///     thread::spawn(move || remote.send(7).unwrap());
    ///     assert_eq!(receiver.recv().await, Some(7));
    ///     assert_eq!(receiver.recv().await, None); // the thread has dropped the sender
    /// });
    /// ```
    #[doc(alias = "call_soon_threadsafe")]
    #[track_caller]
    pub fn remote_sender(&self) -> RemoteSender<T> {
        let sender = self.clone();
        RemoteSender::new(async move |item| sender.send(item).await)
    }
}

impl<T> Clone for RemoteSender<T> {
    fn clone(&self) -> Self {
        self.shared.lock().senders += 1;
        RemoteSender { shared: self.shared.clone(), remote: self.remote.clone() }
    }
}

impl<T> Drop for RemoteSender<T> {
    fn drop(&mut self) {
        let waker = {
            let mut state = self.shared.lock();
            state.senders -= 1;
            if state.senders == 0 { state.waker.take() } else { None }
        };
        // A wake may call the loop's wake hook, whose panic must not come out of a destructor.
        exceptions::tolerate(0, exceptions::IN_A_WAKER, move || waker.into_iter().for_each(Waker::wake));
    }
}

impl<T> fmt::Debug for RemoteSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.lock();
        f.debug_struct("RemoteSender").field("pending", &state.pending.len()).field("closed", &state.closed).finish()
    }
}

/// Owned by the task. When it is dropped, nothing can be sent any more.
struct Open<T>(Arc<Shared<T>>);

impl<T> Drop for Open<T> {
    fn drop(&mut self) {
        let rest = {
            let mut state = self.0.lock();
            state.closed = true;
            (core::mem::take(&mut state.pending), state.waker.take())
        };
        self.0.changed.notify_all();
        // Items and wakers are user code. They are dropped where the lock is not held.
        exceptions::drop_value(rest);
    }
}

/// Waits for the next item. `None` when there are no senders any more.
struct Receive<'a, T> {
    shared: &'a Shared<T>,
    record: Record,
}

impl<T> Future for Receive<'_, T> {
    type Output = Option<T>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        // Cloning and dropping a waker happen while the lock is not held.
        let waker = context.waker().clone();
        let mut state = self.shared.lock();
        if let Some(item) = state.pending.pop_front() {
            let was_last = state.pending.is_empty();
            drop(state);
            if was_last {
                self.shared.changed.notify_all();
            }
            self.record.end();
            return Poll::Ready(Some(item));
        }
        if state.senders == 0 {
            drop(state);
            self.record.end();
            return Poll::Ready(None);
        }
        let old = state.waker.replace(waker);
        drop(state);
        drop(old);
        self.record.begin(|| Wait::Outside(|_| Rc::new(OtherThreads), 0));
        Poll::Pending
    }
}

impl<T> Drop for Receive<'_, T> {
    fn drop(&mut self) {
        self.record.end();
    }
}

/// The object of the wait.
struct OtherThreads;

impl Awaited for OtherThreads {
    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an item from another thread")
    }
}
