//! The objects that all instances of a program share: the primitives of `onelane::sync`, and the
//! context variables.
//!
//! Read `outcome.rs` next.

use onelane::TaskLocal;
use onelane::sync::{Barrier, Condition, Event, LifoQueue, Lock, PriorityQueue, Queue, Semaphore};
use std::cell::Cell;

pub(crate) const PROMISES: usize = 2;
pub(crate) const EVENTS: usize = 2;
pub(crate) const LOCKS: usize = 2;
pub(crate) const SEMAPHORES: usize = 1;
pub(crate) const CONDITIONS: usize = 1;
pub(crate) const QUEUES: usize = 4;
pub(crate) const BARRIERS: usize = 2;
pub(crate) const CONTEXT_VARIABLES: usize = 2;

pub(crate) struct Shared {
    pub(crate) events: [Event; EVENTS],
    pub(crate) locks: [Lock; LOCKS],
    pub(crate) semaphores: [Semaphore; SEMAPHORES],
    pub(crate) conditions: [Condition; CONDITIONS],
    /// A number for each condition, which `condition_add` raises and `condition_wait_for` reads.
    pub(crate) counts: [Cell<i64>; CONDITIONS],
    pub(crate) queues: [CountedQueue; QUEUES],
    pub(crate) barriers: [Barrier; BARRIERS],
}

impl Shared {
    pub(crate) fn new() -> Self {
        let queues = [
            AnyQueue::Fifo(Queue::bounded(2)),
            AnyQueue::Fifo(Queue::unbounded()),
            AnyQueue::Priority(PriorityQueue::bounded(2)),
            AnyQueue::Lifo(LifoQueue::unbounded()),
        ];
        Shared {
            events: Default::default(),
            locks: Default::default(),
            semaphores: [Semaphore::new(2)],
            conditions: Default::default(),
            counts: Default::default(),
            queues: queues.map(|queue| CountedQueue { queue, unfinished: Cell::new(0) }),
            barriers: [Barrier::new(2), Barrier::new(3)],
        }
    }
}

enum AnyQueue {
    Fifo(Queue<i64>),
    Priority(PriorityQueue<i64>),
    Lifo(LifoQueue<i64>),
}

macro_rules! with_queue {
    ($queue:expr, $inner:ident => $do:expr) => {
        match $queue {
            AnyQueue::Fifo($inner) => $do,
            AnyQueue::Priority($inner) => $do,
            AnyQueue::Lifo($inner) => $do,
        }
    };
}

/// A queue that knows the number of its unfinished items: `task_done` panics if there is none.
pub(crate) struct CountedQueue {
    queue: AnyQueue,
    unfinished: Cell<usize>,
}

impl CountedQueue {
    /// False if the queue is shut down.
    pub(crate) async fn put(&self, value: i64) -> bool {
        let is_put = with_queue!(&self.queue, queue => queue.put(value).await.is_ok());
        self.unfinished.set(self.unfinished.get() + usize::from(is_put));
        is_put
    }

    /// `None` if the queue is shut down.
    pub(crate) async fn get(&self) -> Option<i64> {
        with_queue!(&self.queue, queue => queue.get().await.ok())
    }

    /// False if no item is unfinished.
    pub(crate) fn task_done(&self) -> bool {
        let Some(left) = self.unfinished.get().checked_sub(1) else { return false };
        self.unfinished.set(left);
        with_queue!(&self.queue, queue => queue.task_done());
        true
    }

    pub(crate) async fn join(&self) {
        with_queue!(&self.queue, queue => queue.join().await);
    }

    pub(crate) fn shut_down(&self, immediate: bool) {
        with_queue!(&self.queue, queue => {
            // The items that are thrown away count as finished.
            let thrown_away = if immediate { queue.len() } else { 0 };
            self.unfinished.set(self.unfinished.get().saturating_sub(thrown_away));
            queue.shutdown(immediate);
        });
    }
}

onelane::task_local! {
    static FIRST: i64;
    static SECOND: i64;
}

pub(crate) fn context_variable(which: usize) -> &'static TaskLocal<i64> {
    if which == 0 { &FIRST } else { &SECOND }
}

/// The value of the first context variable, as guards, cleanups and callbacks show it.
pub(crate) fn seen() -> String {
    FIRST.with(|value| value.map_or(String::new(), |value| format!(" [{value}]")))
}
