//! Synchronization between tasks: events, locks, conditions, semaphores, barriers, queues,
//! channels.
//!
//! All of these are for one thread: they contain no atomics and no mutexes, and are not `Send`. You
//! may create them outside a loop, use them in one loop after another, and drop them when the loop
//! has gone. To share one between tasks, put it into an [`Rc`](std::rc::Rc).
//!
//! The order is exactly asyncio's. What a task waits for wakes the task directly, and the task is
//! stepped in the next turn. An operation that does not have to wait does not suspend. All waiters
//! are served first come, first served.
//!
//! From the moment of its cancellation, a waiter does not count: a lock for which only cancelled
//! tasks wait is free, and permits, items and notifications go to other tasks. What a task was
//! handed before its cancellation, its wait passes on when it is dropped.
//!
//! ```
//! use onelane::{EventLoop, sync::Queue};
//! use std::rc::Rc;
//!
//! let queue = Rc::new(Queue::unbounded());
//! let copy = queue.clone();
//! EventLoop::with_virtual_clock().run(async move { copy.put("from one loop").await }).unwrap();
//! let item = EventLoop::with_virtual_clock().run(async move { queue.get().await });
//! assert_eq!(item, Ok("from one loop"));
//! ```
//!
//! [`call_graph`](crate::call_graph()) and deadlock reports show where each of these was created
//! or, except for channels, the name that you gave it.
//!
//! ```
//! use onelane::{EventLoop, call_graph, spawn, sync::Event, yield_now};
//!
//! EventLoop::with_virtual_clock().run(async {
//!     let ready = Event::new().named("ready");
//!     let waiter = spawn(ready.wait());
//!     yield_now().await;
//!     assert_eq!(call_graph().task(waiter.id()).unwrap().waits_for[0].what, r#"event "ready""#);
//!     ready.set();
//! });
//! ```
//!
//! ```compile_fail,E0277
//! fn send<T: Send>(_: T) {}
//! send(onelane::sync::Lock::new(1)); // for one thread
//! ```

mod barrier;
pub mod channel;
mod condition;
mod event;
mod label;
mod lock;
pub mod oneshot;
mod queue;
mod semaphore;
#[cfg(feature = "stream")]
mod stream;
mod tracked;
mod waiters;

pub use barrier::{Barrier, BarrierWait, BrokenBarrier};
pub use channel::{channel, unbounded};
pub use condition::{Condition, ConditionWait, ConditionWaitFor};
pub use event::{Event, EventWait};
pub use lock::{Lock, LockAcquire, LockAcquireOwned, LockGuard, OwnedLockGuard};
pub use oneshot::{SenderDropped, oneshot};
pub use queue::{LifoQueue, PriorityQueue, PutError, Queue, QueueGet, QueueJoin, QueuePut, QueueShutDown};
pub use queue::{TryGetError, TryPutError};
pub use semaphore::{BoundedSemaphore, Permit, Semaphore, SemaphoreAcquire};
#[cfg(feature = "stream")]
#[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
pub use stream::QueueStream;
pub use tracked::Tracked;
