//! What tasks share: events, locks, conditions, semaphores, barriers, queues, channels.
//!
//! All of it is for one thread: there is no atomic in here and no mutex, and nothing is `Send`. All of it may be made
//! outside of a loop, used in one loop after another, and dropped when the loop has gone. To share it between tasks, put it
//! into an [`Rc`](std::rc::Rc).
//!
//! The order is asyncio's, to the letter. What was waited for wakes the waiter directly: it is stepped in the next turn. A
//! wait that has nothing to wait for does not pause. All lines are first come, first served.
//!
//! A waiter that is cancelled does not count from the moment of the cancellation: a lock for which only cancelled tasks wait
//! is free, and no permit, item or notification is given to them. What a task had been given before that, it passes on when
//! it is dropped.
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
//! [`call_graph`](crate::call_graph()) and the report of a deadlock call each of them by the place where it was made, or, all but
//! channels, by a name that it was given.
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
