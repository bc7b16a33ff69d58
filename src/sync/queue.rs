//! Queues: tasks put items in and get them out.
//!
//! As in asyncio, putting an item wakes the first getter, but does not reserve the item for it: the
//! first task that is stepped takes it. A getter that finds no item goes to the end of the waiters.
//! A getter that was woken and is dropped wakes the next. The same holds for putters and free
//! places.
//!
//! The part that counts and wakes knows no items (`Core`); the part that holds items knows no
//! waiters (`Items`).
//!
//! Next: `channel.rs`.

use crate::sync::label::Label;
use crate::sync::waiters::{Place, Ticket, Waiters};
use alloc::collections::{BinaryHeap, VecDeque};
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::cmp::Ordering;
use core::fmt;
use core::num::NonZeroUsize;
use core::ops::Deref;
use core::pin::Pin;
use core::task::{Context, Poll, ready};

/// A queue of items, first in, first out.
///
/// If it is bounded, a task that puts an item waits while the queue is full. With
/// [`task_done`](Queue::task_done) and [`join`](Queue::join) a task can wait until all items were
/// processed; [`shutdown`](Queue::shutdown) ends the queue.
///
/// No item is lost: if a task that was woken for an item is cancelled, the item stays, and the next
/// getter is woken.
///
/// asyncio: `Queue`.
///
/// # Cost
///
/// One allocation for the queue besides its items, and memory for the greatest number of tasks that
/// ever waited at once.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, sleep, spawn, sync::Queue, time};
/// use std::{rc::Rc, time::Duration};
///
/// EventLoop::with_virtual_clock().run(async {
///     let second = Duration::from_secs(1);
///     let (start, queue) = (time(), Rc::new(Queue::bounded(10)));
///     for _worker in 0..2 {
///         let queue = queue.clone();
///         drop(spawn(async move {
///             while let Ok(seconds) = queue.get().await {
///                 sleep(second * seconds).await;
///                 queue.task_done();
///             }
///         }));
///     }
///     for seconds in [3, 1, 2] {
///         queue.put(seconds).await.unwrap();
///     }
///     queue.join().await;
///     assert_eq!(time() - start, second * 3);
/// });
/// ```
pub struct Queue<T> {
    core: Rc<Core>,
    items: Items<T>,
}

/// A [`Queue`] that returns the last item first: it derefs to one.
///
/// asyncio: `LifoQueue`.
///
/// # Examples
///
/// ```
/// use onelane::sync::LifoQueue;
///
/// let queue = LifoQueue::unbounded();
/// for n in 1..=3 {
///     queue.try_put(n).unwrap();
/// }
/// assert_eq!([(); 3].map(|()| queue.try_get().unwrap()), [3, 2, 1]);
/// ```
pub struct LifoQueue<T> {
    queue: Queue<T>,
}

/// A [`Queue`] that returns the smallest item first: it derefs to one.
///
/// Equal items are returned first in, first out. asyncio leaves their order open. To get the
/// largest first, put [`Reverse`](std::cmp::Reverse).
///
/// asyncio: `PriorityQueue`.
///
/// # Panics
///
/// `put`, `get` and similar methods panic if a comparison of items panics, or uses this queue. The
/// item that was being taken is dropped then; all others stay, in unknown order.
///
/// # Examples
///
/// ```
/// use onelane::sync::PriorityQueue;
///
/// let queue = PriorityQueue::unbounded();
/// for n in [2, 3, 1] {
///     queue.try_put(n).unwrap();
/// }
/// assert_eq!([(); 3].map(|()| queue.try_get().unwrap()), [1, 2, 3]);
/// ```
pub struct PriorityQueue<T> {
    queue: Queue<T>,
}

// ---- the items ----

enum Items<T> {
    /// Borrowed only in this file, and while no user code runs.
    Fifo(RefCell<VecDeque<T>>),
    Lifo(RefCell<Vec<T>>),
    Ranked(Ranked<T>),
}

/// Items in their order. A comparison is user code, so the heap is taken out while it is used.
struct Ranked<T> {
    /// `None` while items are compared.
    heap: Cell<Option<BinaryHeap<Entry<T>>>>,
    numbered: Cell<u64>,
    // The functions that need `T: Ord`. The constructor sets them: only there this bound is known.
    push: fn(&mut BinaryHeap<Entry<T>>, Entry<T>),
    pop: fn(&mut BinaryHeap<Entry<T>>) -> Option<Entry<T>>,
}

struct Entry<T> {
    item: T,
    number: u64,
}

/// The smallest item is the greatest entry, because `BinaryHeap` returns the greatest first; of
/// equal items, the older.
impl<T: Ord> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.item.cmp(&self.item).then_with(|| other.number.cmp(&self.number))
    }
}

impl<T: Ord> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Ord> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T: Ord> Eq for Entry<T> {}

/// The heap while it is taken out. It is put back even if a comparison panics.
struct TakenOut<'a, T> {
    /// `Some` until it is put back. Older compilers cannot make an empty heap of a type that may
    /// not be `Ord`.
    heap: Option<BinaryHeap<Entry<T>>>,
    home: &'a Cell<Option<BinaryHeap<Entry<T>>>>,
}

impl<T> Drop for TakenOut<'_, T> {
    fn drop(&mut self) {
        self.home.set(self.heap.take());
    }
}

impl<T> TakenOut<'_, T> {
    fn heap(&mut self) -> &mut BinaryHeap<Entry<T>> {
        self.heap.as_mut().expect("it is out until this is dropped")
    }
}

impl<T> Ranked<T> {
    #[track_caller]
    fn take_out(&self) -> TakenOut<'_, T> {
        TakenOut { heap: Some(self.heap.take().expect(COMPARED)), home: &self.heap }
    }
}

const COUNTED: &str = "a queue has as many items as it counts";

const COMPARED: &str =
    "a PriorityQueue was used from inside of a comparison of its items; let comparisons look at the items alone";

impl<T> Items<T> {
    /// Panics if a comparison of items is running. Called before anything is counted.
    #[track_caller]
    fn check(&self) {
        if let Items::Ranked(ranked) = self {
            drop(ranked.take_out());
        }
    }

    #[track_caller]
    fn push(&self, item: T) {
        match self {
            Items::Fifo(items) => items.borrow_mut().push_back(item),
            Items::Lifo(items) => items.borrow_mut().push(item),
            Items::Ranked(ranked) => {
                ranked.numbered.set(ranked.numbered.get() + 1);
                let entry = Entry { item, number: ranked.numbered.get() };
                (ranked.push)(ranked.take_out().heap(), entry);
            }
        }
    }

    #[track_caller]
    fn pop(&self) -> Option<T> {
        match self {
            Items::Fifo(items) => items.borrow_mut().pop_front(),
            Items::Lifo(items) => items.borrow_mut().pop(),
            Items::Ranked(ranked) => (ranked.pop)(ranked.take_out().heap()).map(|entry| entry.item),
        }
    }

    /// Takes all items, to be dropped where everything is consistent.
    #[track_caller]
    fn take_all(&self) -> Vec<T> {
        match self {
            Items::Fifo(items) => items.take().into(),
            Items::Lifo(items) => items.take(),
            Items::Ranked(ranked) => ranked.take_out().heap().drain().map(|entry| entry.item).collect(),
        }
    }
}

// ---- counting and waking ----

pub(super) const GETTERS: u8 = 0;
const PUTTERS: u8 = 1;
const JOINERS: u8 = 2;

pub(super) struct Core {
    /// `None` if there is no bound.
    bound: Option<NonZeroUsize>,
    len: Cell<usize>,
    /// Items can be put while `len` is less than this. 0 if and only if the queue is shut down.
    limit: Cell<usize>,
    /// Number of items that were put and not reported as done.
    unfinished: Cell<usize>,
    getters: Waiters,
    putters: Waiters,
    joiners: Waiters,
    words: &'static Words,
    label: Label,
}

/// The names of the queue and of its items.
pub(super) struct Words {
    pub(super) whole: &'static str,
    pub(super) item: &'static str,
}

const QUEUE: &Words = &Words { whole: "a queue", item: "an item" };

impl Core {
    /// The running step uses the queue.
    #[cfg(feature = "stream")]
    #[inline(always)]
    pub(super) fn touch(&self) {
        self.label.touch();
    }

    fn is_full(&self) -> bool {
        self.bound.is_some_and(|bound| self.len.get() >= bound.get())
    }

    #[inline]
    fn is_shut_down(&self) -> bool {
        self.limit.get() == 0
    }

    #[inline]
    fn has_room(&self) -> bool {
        self.len.get() < self.limit.get()
    }

    #[inline]
    fn count_put(&self) {
        self.len.set(self.len.get() + 1);
        self.unfinished.set(self.unfinished.get() + 1);
    }

    fn finish(&self) {
        if self.unfinished.get() == 0 {
            self.joiners.give_all();
        }
    }
}

/// On drop, wakes the next waiter, because an item was put or taken. A panic of a comparison does
/// not prevent this.
struct WakesNext<'a>(&'a Waiters);

impl Drop for WakesNext<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.wake_next();
    }
}

impl Place for Core {
    fn line(&self, line: u8) -> &Waiters {
        match line {
            GETTERS => &self.getters,
            PUTTERS => &self.putters,
            _ => &self.joiners,
        }
    }

    fn resumed(&self, line: u8) {
        // Each waiter that was already woken will use one item, or one free place.
        let is_more = match line {
            GETTERS => self.len.get() > self.getters.given(),
            PUTTERS => self.bound.is_none_or(|bound| bound.get() > self.len.get() + self.putters.given()),
            // `give_all`, at the end of the last item, also reaches dying waiters.
            _ => false,
        };
        if is_more {
            self.line(line).wake_next();
        }
    }

    fn left(&self, line: u8, given: bool) {
        match line {
            GETTERS if given && self.len.get() > 0 => self.getters.wake_next(),
            PUTTERS if given && !self.is_full() => self.putters.wake_next(),
            _ => {}
        }
    }

    fn gives_way(&self, line: u8) -> bool {
        line == GETTERS || line == PUTTERS
    }

    fn describe(&self, line: u8, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (words, label) = (self.words, &self.label);
        match line {
            GETTERS => {
                write!(f, "{} of ", words.item)?;
                label.write(words.whole, f)
            }
            PUTTERS => {
                let (len, bound) = (self.len.get(), self.bound.map_or(0, NonZeroUsize::get));
                f.write_str("room in ")?;
                label.write_with(words.whole, Some(format_args!("{len} of {bound} taken")), f)
            }
            _ => {
                f.write_str("the end of all items of ")?;
                label.write_with(words.whole, Some(format_args!("{} unfinished", self.unfinished.get())), f)
            }
        }
    }
}

// ---- the queue ----

impl<T> Queue<T> {
    #[track_caller]
    fn with(bound: Option<NonZeroUsize>, items: Items<T>, words: &'static Words) -> Self {
        let core = Core {
            bound,
            len: Cell::new(0),
            limit: Cell::new(bound.map_or(usize::MAX, NonZeroUsize::get)),
            unfinished: Cell::new(0),
            getters: Waiters::default(),
            putters: Waiters::default(),
            joiners: Waiters::default(),
            words,
            label: Label::here(),
        };
        Queue { core: Rc::new(core), items }
    }

    #[cfg(feature = "stream")]
    pub(super) fn core(&self) -> &Rc<Core> {
        &self.core
    }

    /// First in, first out, with names of its own.
    #[track_caller]
    pub(super) fn fifo(bound: Option<NonZeroUsize>, words: &'static Words) -> Self {
        Queue::with(bound, Items::Fifo(RefCell::default()), words)
    }

    /// Creates a queue for at most `max_size` items.
    ///
    /// asyncio: `Queue(maxsize)`.
    ///
    /// # Panics
    ///
    /// If `max_size` is zero. In asyncio that means no bound: use [`unbounded`](Queue::unbounded).
    ///
    /// # Examples
    ///
    /// ```
    /// let queue = onelane::sync::Queue::bounded(1);
    /// queue.try_put('a').unwrap();
    /// assert!(queue.is_full());
    /// ```
    #[track_caller]
    pub fn bounded(max_size: usize) -> Self {
        Queue::fifo(Some(bound(max_size)), QUEUE)
    }

    /// Creates a queue that is never full.
    ///
    /// asyncio: `Queue()`.
    ///
    /// # Examples
    ///
    /// ```
    /// let queue = onelane::sync::Queue::unbounded();
    /// queue.try_put('a').unwrap();
    /// assert!(!queue.is_full());
    /// ```
    #[track_caller]
    pub fn unbounded() -> Self {
        Queue::fifo(None, QUEUE)
    }

    /// Sets a name, for reports of what tasks wait for: `an item of queue "jobs"`. Without a name,
    /// reports show where the queue was created.
    ///
    /// # Cost
    ///
    /// One allocation, unless the name is an `Rc<str>`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, RunError, sync::Queue};
    ///
    /// let result = EventLoop::with_virtual_clock().try_run(async {
    ///     let jobs = Queue::bounded(1).named("jobs");
    ///     let _both = (jobs.put('a').await, jobs.put('b').await);
    /// });
    /// let Err(RunError::Deadlock(report)) = result else { unreachable!() };
    /// assert_eq!(report.tasks[0].waits_for[0].what, r#"room in queue "jobs" (1 of 1 taken)"#);
    /// ```
    #[must_use = "it gives back what was named"]
    pub fn named(self, name: impl Into<Rc<str>>) -> Self {
        self.core.label.set_name(name.into());
        self
    }

    /// Puts an item at the end, and waits while the queue is full. Does not suspend if there is
    /// room, even if other tasks wait for it.
    ///
    /// Cancel safety: an item that was not put is dropped with the future; its place among the
    /// waiters is lost.
    ///
    /// asyncio: `Queue.put(item)`.
    ///
    /// # Errors
    ///
    /// [`PutError`] with the item if the queue is shut down.
    ///
    /// # Panics
    ///
    /// When polled after it was ready.
    ///
    /// # Cost
    ///
    /// An allocation for the item may be needed; otherwise none, unless more tasks wait than ever
    /// before. The putter is stepped in the turn after an item was taken.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::sync::{PutError, Queue};
    ///
    /// onelane::EventLoop::with_virtual_clock().run(async {
    ///     let queue = Queue::bounded(1);
    ///     assert_eq!(queue.put('a').await, Ok(()));
    ///     queue.shutdown(false);
    ///     assert_eq!(queue.put('b').await, Err(PutError('b')));
    /// });
    /// ```
    #[track_caller]
    pub fn put(&self, item: T) -> QueuePut<'_, T> {
        QueuePut { queue: self, item: Some(item), ticket: Ticket::here() }
    }

    /// Takes the first item, and waits while there is none. Does not suspend if there is one, even
    /// if other tasks wait.
    ///
    /// Cancel safety: no item is lost, only the place among the waiters.
    ///
    /// asyncio: `Queue.get()`.
    ///
    /// # Errors
    ///
    /// [`QueueShutDown`] if the queue is empty and shut down.
    ///
    /// # Panics
    ///
    /// When polled after it was ready.
    ///
    /// # Cost
    ///
    /// No allocation unless more tasks wait than ever before; the getter is stepped in the turn
    /// after an item was put.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{spawn, sync::Queue};
    /// use std::rc::Rc;
    ///
    /// onelane::EventLoop::with_virtual_clock().run(async {
    ///     let queue = Rc::new(Queue::unbounded());
    ///     let copy = queue.clone();
    ///     let getter = spawn(async move { copy.get().await });
    ///     queue.put('a').await.unwrap();
    ///     assert_eq!(getter.await, Ok(Ok('a')));
    /// });
    /// ```
    #[track_caller]
    pub fn get(&self) -> QueueGet<'_, T> {
        QueueGet { queue: self, ticket: Ticket::here(), over: false }
    }

    /// Puts an item at the end if there is room.
    ///
    /// asyncio: `Queue.put_nowait(item)`.
    ///
    /// # Errors
    ///
    /// [`TryPutError`] with the item if the queue is full or shut down.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::sync::{Queue, TryPutError};
    ///
    /// let queue = Queue::bounded(1);
    /// assert_eq!(queue.try_put('a'), Ok(()));
    /// assert_eq!(queue.try_put('b'), Err(TryPutError::Full('b')));
    /// ```
    #[doc(alias = "put_nowait")]
    #[track_caller]
    pub fn try_put(&self, item: T) -> Result<(), TryPutError<T>> {
        self.core.label.touch();
        if self.core.has_room() {
            self.put_now(item);
            return Ok(());
        }
        Err(if self.core.is_shut_down() { TryPutError::ShutDown(item) } else { TryPutError::Full(item) })
    }

    /// Puts an item. There is room.
    #[inline]
    #[track_caller]
    fn put_now(&self, item: T) {
        let Items::Fifo(items) = &self.items else { return self.put_in_order(item) };
        items.borrow_mut().push_back(item);
        self.core.count_put();
        self.core.getters.wake_next();
    }

    /// A separate function, so that a queue without an order saves fewer registers.
    #[inline(never)]
    #[track_caller]
    fn put_in_order(&self, item: T) {
        self.items.check();
        // Counted first: the item is inserted even if a comparison panics.
        self.core.count_put();
        let _told = WakesNext(&self.core.getters);
        self.items.push(item);
    }

    /// Takes the first item, if there is one.
    ///
    /// asyncio: `Queue.get_nowait()`.
    ///
    /// # Errors
    ///
    /// [`TryGetError`] if the queue is empty, or empty and shut down.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::sync::{Queue, TryGetError};
    ///
    /// let queue = Queue::unbounded();
    /// queue.try_put('a').unwrap();
    /// assert_eq!(queue.try_get(), Ok('a'));
    /// assert_eq!(queue.try_get(), Err(TryGetError::Empty));
    /// ```
    #[doc(alias = "get_nowait")]
    #[track_caller]
    pub fn try_get(&self) -> Result<T, TryGetError> {
        self.core.label.touch();
        let core = &self.core;
        let Some(left) = core.len.get().checked_sub(1) else {
            return Err(if core.is_shut_down() { TryGetError::ShutDown } else { TryGetError::Empty });
        };
        let Items::Fifo(items) = &self.items else { return Ok(self.get_in_order(left)) };
        let item = items.borrow_mut().pop_front().expect(COUNTED);
        core.len.set(left);
        core.putters.wake_next();
        Ok(item)
    }

    /// Takes the first item, and leaves `left` ones.
    #[inline(never)]
    #[track_caller]
    fn get_in_order(&self, left: usize) -> T {
        self.items.check();
        self.core.len.set(left);
        let _told = WakesNext(&self.core.putters);
        self.items.pop().expect(COUNTED)
    }

    /// Returns the number of items in the queue.
    ///
    /// asyncio: `Queue.qsize()`.
    ///
    /// # Examples
    ///
    /// ```
    /// let queue = onelane::sync::Queue::unbounded();
    /// for job in 0..25 {
    ///     queue.try_put(job).unwrap();
    /// }
    /// let workers = queue.len().div_ceil(10); // one for each ten jobs
    /// assert_eq!(workers, 3);
    /// ```
    #[doc(alias = "qsize")]
    pub fn len(&self) -> usize {
        self.core.label.look();
        self.core.len.get()
    }

    /// Whether the queue is empty.
    ///
    /// asyncio: `Queue.empty()`.
    ///
    /// # Examples
    ///
    /// ```
    /// let mailbox = onelane::sync::Queue::unbounded();
    /// let flag = || if mailbox.is_empty() { "down" } else { "up" };
    /// assert_eq!(flag(), "down");
    /// mailbox.try_put("letter").unwrap();
    /// assert_eq!(flag(), "up");
    /// ```
    #[doc(alias = "empty")]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the queue is full. Never true if it has no bound.
    ///
    /// asyncio: `Queue.full()`.
    ///
    /// # Examples
    ///
    /// ```
    /// // The last two readings: when there is no room, the oldest goes.
    /// let readings = onelane::sync::Queue::bounded(2);
    /// for reading in [17, 18, 19] {
    ///     if readings.is_full() {
    ///         readings.try_get().unwrap();
    ///     }
    ///     readings.try_put(reading).unwrap();
    /// }
    /// assert_eq!(readings.try_get(), Ok(18));
    /// ```
    #[doc(alias = "full")]
    pub fn is_full(&self) -> bool {
        self.core.label.look();
        self.core.is_full()
    }

    /// Returns the maximum number of items, if the queue has a bound.
    ///
    /// asyncio: `Queue.maxsize`, which is 0 without a bound.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::sync::Queue;
    ///
    /// /// So full it is, in percent; what has no bound is never full.
    /// fn load(queue: &Queue<char>) -> usize {
    ///     queue.max_size().map_or(0, |bound| queue.len() * 100 / bound)
    /// }
    ///
    /// let queue = Queue::bounded(4);
    /// queue.try_put('a').unwrap();
    /// assert_eq!((load(&queue), load(&Queue::unbounded())), (25, 0));
    /// ```
    #[doc(alias = "maxsize")]
    pub fn max_size(&self) -> Option<usize> {
        self.core.bound.map(NonZeroUsize::get)
    }

    /// Whether it was shut down.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::sync::Queue;
    ///
    /// fn state(queue: &Queue<char>) -> &'static str {
    ///     match (queue.is_shut_down(), queue.is_empty()) {
    ///         (false, _) => "open",
    ///         (true, false) => "closing", // what is left can still be got
    ///         (true, true) => "closed",
    ///     }
    /// }
    ///
    /// let queue = Queue::unbounded();
    /// queue.try_put('a').unwrap();
    /// assert_eq!(state(&queue), "open");
    /// queue.shutdown(false);
    /// assert_eq!(state(&queue), "closing");
    /// ```
    pub fn is_shut_down(&self) -> bool {
        self.core.label.look();
        self.core.is_shut_down()
    }

    /// Reports that the work on one item is done. After the last one, all tasks in
    /// [`join`](Queue::join) are woken.
    ///
    /// asyncio: `Queue.task_done()`.
    ///
    /// # Panics
    ///
    /// If it is called more often than items were put: asyncio's `ValueError`.
    ///
    /// # Examples
    ///
    /// ```
    /// onelane::EventLoop::with_virtual_clock().run(async {
    ///     let queue = onelane::sync::Queue::unbounded();
    ///     queue.put('a').await.unwrap();
    ///     let item = queue.get().await.unwrap();
    ///     // ... work on the item ...
    ///     queue.task_done();
    ///     queue.join().await;
    /// });
    /// ```
    #[track_caller]
    pub fn task_done(&self) {
        self.core.label.touch();
        let Some(left) = self.core.unfinished.get().checked_sub(1) else {
            panic!("task_done() of a queue was called too many times; call it once for each item that was got");
        };
        self.core.unfinished.set(left);
        self.core.finish();
    }

    /// Waits until all items that were put are reported as [done](Queue::task_done). Does not
    /// suspend if all are.
    ///
    /// After the last `task_done` it returns even if new items are put before it is stepped.
    ///
    /// Cancel safety: nothing is lost.
    ///
    /// asyncio: `Queue.join()`.
    ///
    /// # Cost
    ///
    /// No allocation unless more tasks wait than ever before. The waiting task is stepped in the
    /// turn after the last `task_done`.
    ///
    /// # Examples
    ///
    /// ```
    /// onelane::EventLoop::with_virtual_clock().run(async {
    ///     let queue = onelane::sync::Queue::<u8>::unbounded();
    ///     queue.join().await; // nothing was put
    /// });
    /// ```
    #[track_caller]
    pub fn join(&self) -> QueueJoin {
        QueueJoin { core: self.core.clone(), ticket: Ticket::here(), over: false }
    }

    /// Shuts the queue down: from now on no item can be put, and when the queue is empty, `get`
    /// returns an error. All waiters are woken.
    ///
    /// If `immediate` is true, the remaining items are dropped and count as done. Otherwise they
    /// can still be taken.
    ///
    /// asyncio: `Queue.shutdown(immediate)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::sync::{Queue, QueueShutDown};
    ///
    /// onelane::EventLoop::with_virtual_clock().run(async {
    ///     let queue = Queue::unbounded();
    ///     queue.put('a').await.unwrap();
    ///     queue.shutdown(false);
    ///     assert_eq!(queue.get().await, Ok('a'));
    ///     assert_eq!(queue.get().await, Err(QueueShutDown));
    /// });
    /// ```
    pub fn shutdown(&self, immediate: bool) {
        self.core.label.touch();
        let core = &self.core;
        self.items.check();
        core.limit.set(0);
        let mut dropped = None;
        if immediate {
            let count = core.len.replace(0);
            dropped = Some(self.items.take_all());
            core.unfinished.set(core.unfinished.get().saturating_sub(count));
            core.finish();
        }
        core.getters.give_all();
        core.putters.give_all();
        // Last, because an item's destructor may use this queue.
        drop(dropped);
    }
}

#[track_caller]
fn bound(max_size: usize) -> NonZeroUsize {
    NonZeroUsize::new(max_size)
        .expect("a queue was asked to hold no item at all; for one without bound, use unbounded()")
}

impl<T> LifoQueue<T> {
    /// Creates a queue for at most `max_size` items.
    ///
    /// asyncio: `LifoQueue(maxsize)`.
    ///
    /// # Panics
    ///
    /// If `max_size` is zero.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::sync::LifoQueue;
    ///
    /// // Idle connections: the one that was used last is given first, and what is too many is closed.
    /// let idle = LifoQueue::bounded(2);
    /// let kept = ["one", "two", "three"].map(|connection| idle.try_put(connection).is_ok());
    /// assert_eq!(kept, [true, true, false]);
    /// assert_eq!(idle.try_get(), Ok("two"));
    /// ```
    #[track_caller]
    pub fn bounded(max_size: usize) -> Self {
        LifoQueue { queue: Queue::with(Some(bound(max_size)), Items::Lifo(RefCell::default()), QUEUE) }
    }

    /// Creates a queue that is never full.
    ///
    /// asyncio: `LifoQueue()`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::sync::LifoQueue;
    ///
    /// // A walk over a tree, depth first.
    /// let (to_visit, mut visited) = (LifoQueue::unbounded(), Vec::new());
    /// to_visit.try_put(1).unwrap();
    /// while let Ok(node) = to_visit.try_get() {
    ///     visited.push(node);
    ///     for child in [2 * node + 1, 2 * node].into_iter().filter(|child| *child < 8) {
    ///         to_visit.try_put(child).unwrap();
    ///     }
    /// }
    /// assert_eq!(visited, [1, 2, 4, 5, 3, 6, 7]);
    /// ```
    #[track_caller]
    pub fn unbounded() -> Self {
        LifoQueue { queue: Queue::with(None, Items::Lifo(RefCell::default()), QUEUE) }
    }

    /// Like [`Queue::named`].
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, RunError, sync::LifoQueue};
    ///
    /// let result = EventLoop::with_virtual_clock().try_run(async {
    ///     let undo = LifoQueue::<char>::unbounded().named("undo");
    ///     _ = undo.get().await;
    /// });
    /// let Err(RunError::Deadlock(report)) = result else { unreachable!() };
    /// assert_eq!(report.tasks[0].waits_for[0].what, r#"an item of queue "undo""#);
    /// ```
    #[must_use = "it gives back what was named"]
    pub fn named(self, name: impl Into<Rc<str>>) -> Self {
        LifoQueue { queue: self.queue.named(name) }
    }
}

impl<T> Deref for LifoQueue<T> {
    type Target = Queue<T>;

    fn deref(&self) -> &Queue<T> {
        &self.queue
    }
}

impl<T: Ord> PriorityQueue<T> {
    /// Creates a queue for at most `max_size` items.
    ///
    /// asyncio: `PriorityQueue(maxsize)`.
    ///
    /// # Panics
    ///
    /// If `max_size` is zero.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::sync::{PriorityQueue, TryPutError};
    ///
    /// let beds = PriorityQueue::bounded(2);
    /// beds.try_put((3, "cough")).unwrap();
    /// beds.try_put((1, "heart")).unwrap();
    /// // Being urgent makes no room.
    /// assert_eq!(beds.try_put((1, "lung")), Err(TryPutError::Full((1, "lung"))));
    /// assert_eq!(beds.try_get(), Ok((1, "heart")));
    /// ```
    #[track_caller]
    pub fn bounded(max_size: usize) -> Self {
        Self::with(Some(bound(max_size)))
    }

    /// Creates a queue that is never full.
    ///
    /// asyncio: `PriorityQueue()`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::sync::PriorityQueue;
    /// use std::cmp::Reverse;
    ///
    /// let bids = PriorityQueue::unbounded();
    /// for bid in [20, 50, 30] {
    ///     bids.try_put(Reverse(bid)).unwrap(); // the highest first
    /// }
    /// assert_eq!(bids.try_get(), Ok(Reverse(50)));
    /// ```
    #[track_caller]
    pub fn unbounded() -> Self {
        Self::with(None)
    }

    /// Like [`Queue::named`].
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, RunError, sync::PriorityQueue};
    ///
    /// let result = EventLoop::with_virtual_clock().try_run(async {
    ///     let alarms = PriorityQueue::unbounded().named("alarms");
    ///     alarms.try_put(3).unwrap();
    ///     alarms.join().await; // it is never reported as done
    /// });
    /// let Err(RunError::Deadlock(report)) = result else { unreachable!() };
    /// let what = r#"the end of all items of queue "alarms" (1 unfinished)"#;
    /// assert_eq!(report.tasks[0].waits_for[0].what, what);
    /// ```
    #[must_use = "it gives back what was named"]
    pub fn named(self, name: impl Into<Rc<str>>) -> Self {
        PriorityQueue { queue: self.queue.named(name) }
    }

    #[track_caller]
    fn with(bound: Option<NonZeroUsize>) -> Self {
        let ranked = Ranked {
            heap: Cell::new(Some(BinaryHeap::new())),
            numbered: Cell::new(0),
            push: BinaryHeap::push,
            pop: BinaryHeap::pop,
        };
        PriorityQueue { queue: Queue::with(bound, Items::Ranked(ranked), QUEUE) }
    }
}

impl<T> Deref for PriorityQueue<T> {
    type Target = Queue<T>;

    fn deref(&self) -> &Queue<T> {
        &self.queue
    }
}

/// Without a bound, as in asyncio.
impl<T> Default for Queue<T> {
    #[track_caller]
    fn default() -> Self {
        Queue::unbounded()
    }
}

/// Without a bound, as in asyncio.
impl<T> Default for LifoQueue<T> {
    #[track_caller]
    fn default() -> Self {
        LifoQueue::unbounded()
    }
}

/// Without a bound, as in asyncio.
impl<T: Ord> Default for PriorityQueue<T> {
    #[track_caller]
    fn default() -> Self {
        PriorityQueue::unbounded()
    }
}

impl<T> Queue<T> {
    fn show(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.core.label.look();
        let core = &self.core;
        f.debug_struct(name)
            .field("len", &core.len.get())
            .field("max_size", &self.max_size())
            .field("getters", &core.getters.len())
            .field("putters", &core.putters.len())
            .field("unfinished", &core.unfinished.get())
            .field("shut_down", &core.is_shut_down())
            .finish()
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.show("Queue", f)
    }
}

impl<T> fmt::Debug for LifoQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.show("LifoQueue", f)
    }
}

impl<T> fmt::Debug for PriorityQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.show("PriorityQueue", f)
    }
}

// ---- the futures ----

/// The future of [`Queue::put`].
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, sync::{Queue, QueuePut}};
///
/// EventLoop::with_virtual_clock().run(async {
///     let queue = Queue::unbounded();
///     let puts: [QueuePut<'_, u8>; 3] = [1, 2, 3].map(|item| queue.put(item));
///     assert!(queue.is_empty()); // nothing is put before it is awaited
///     for put in puts.into_iter().rev() {
///         put.await.unwrap();
///     }
///     assert_eq!(queue.get().await, Ok(3));
/// });
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct QueuePut<'a, T> {
    queue: &'a Queue<T>,
    /// `None` when it has ended.
    item: Option<T>,
    ticket: Ticket,
}

// The item is moved into the queue.
impl<T> Unpin for QueuePut<'_, T> {}

impl<T> Future for QueuePut<'_, T> {
    type Output = Result<(), PutError<T>>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.queue.core.label.touch();
        let this = &mut *self;
        ready!(this.ticket.poll_in(&this.queue.core, &this.queue.core.putters, context));
        assert!(this.item.is_some(), "a put() was polled after it was ready; put again with a new one");
        while !this.queue.core.has_room() && !this.queue.core.is_shut_down() {
            ready!(this.ticket.wait(&this.queue.core, PUTTERS, context));
        }
        let Some(item) = this.item.take() else { unreachable!("the item was there, and is taken only here") };
        if this.queue.core.has_room() {
            this.queue.put_now(item);
            Poll::Ready(Ok(()))
        } else {
            Poll::Ready(Err(PutError(item)))
        }
    }
}

#[cfg(feature = "stream")]
#[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
impl<T> futures_core::FusedFuture for QueuePut<'_, T> {
    fn is_terminated(&self) -> bool {
        self.item.is_none()
    }
}

impl<T> Drop for QueuePut<'_, T> {
    fn drop(&mut self) {
        self.queue.core.label.touch();
        self.ticket.give_up(&*self.queue.core);
    }
}

/// The future of [`Queue::get`].
///
/// # Examples
///
/// ```
/// use futures_util::future::select;
/// use onelane::{EventLoop, sync::Queue};
///
/// EventLoop::with_virtual_clock().run(async {
///     let (letters, parcels) = (Queue::unbounded(), Queue::unbounded());
///     parcels.put("book").await.unwrap();
///     // From whichever has something; the other loses nothing.
///     let (item, _) = select(letters.get(), parcels.get()).await.factor_first();
///     assert_eq!(item, Ok("book"));
/// });
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct QueueGet<'a, T> {
    queue: &'a Queue<T>,
    ticket: Ticket,
    over: bool,
}

impl<T> Future for QueueGet<'_, T> {
    type Output = Result<T, QueueShutDown>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.queue.core.label.touch();
        let this = &mut *self;
        assert!(!this.over, "a get() was polled after it was ready; get again with a new one");
        ready!(this.ticket.poll_in(&this.queue.core, &this.queue.core.getters, context));
        loop {
            let got = match this.queue.try_get() {
                Ok(item) => Ok(item),
                Err(TryGetError::ShutDown) => Err(QueueShutDown),
                Err(TryGetError::Empty) => {
                    ready!(this.ticket.wait(&this.queue.core, GETTERS, context));
                    continue;
                }
            };
            this.over = true;
            return Poll::Ready(got);
        }
    }
}

#[cfg(feature = "stream")]
#[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
impl<T> futures_core::FusedFuture for QueueGet<'_, T> {
    fn is_terminated(&self) -> bool {
        self.over
    }
}

impl<T> Drop for QueueGet<'_, T> {
    fn drop(&mut self) {
        self.queue.core.label.touch();
        self.ticket.give_up(&*self.queue.core);
    }
}

/// The future of [`Queue::join`].
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, Task, spawn, sync::{Queue, QueueJoin}};
///
/// EventLoop::with_virtual_clock().run(async {
///     let queue = Queue::unbounded();
///     queue.put("job").await.unwrap();
///     let join: QueueJoin = queue.join();
///     let closing: Task<()> = spawn(join); // it borrows nothing, not even the queue
///     queue.get().await.unwrap();
///     queue.task_done();
///     assert_eq!(closing.await, Ok(()));
/// });
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct QueueJoin {
    core: Rc<Core>,
    ticket: Ticket,
    over: bool,
}

impl Future for QueueJoin {
    type Output = ();

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.core.label.touch();
        let this = &mut *self;
        if !this.over && this.ticket.enters(&*this.core) {
            if this.core.unfinished.get() == 0 {
                this.over = true;
            } else {
                this.ticket.enter(&*this.core, JOINERS);
            }
        }
        ready!(this.ticket.poll(&this.core, context));
        this.over = true;
        Poll::Ready(())
    }
}

#[cfg(feature = "stream")]
#[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
impl futures_core::FusedFuture for QueueJoin {
    fn is_terminated(&self) -> bool {
        self.over
    }
}

impl Drop for QueueJoin {
    fn drop(&mut self) {
        self.core.label.touch();
        self.ticket.leave(&*self.core);
    }
}

impl<T> fmt::Debug for QueuePut<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueuePut").field("queue", self.queue).field("over", &self.item.is_none()).finish()
    }
}

impl<T> fmt::Debug for QueueGet<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueGet").field("queue", self.queue).field("over", &self.over).finish()
    }
}

impl fmt::Debug for QueueJoin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueJoin").field("unfinished", &self.core.unfinished.get()).field("over", &self.over).finish()
    }
}

// ---- the errors ----

/// A [`Queue`] was shut down before the item could be put. Contains the item.
///
/// asyncio: `QueueShutDown`.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, sync::{PutError, Queue}};
///
/// EventLoop::with_virtual_clock().run(async {
///     let (closed, open) = (Queue::unbounded(), Queue::unbounded());
///     closed.shutdown(false);
///     if let Err(PutError(job)) = closed.put("job").await {
///         open.put(job).await.unwrap(); // it was not lost
///     }
///     assert_eq!(open.get().await, Ok("job"));
/// });
/// ```
#[doc(alias = "QueueShutDown")]
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PutError<T>(pub T);

/// Why [`Queue::try_put`] failed, with the item.
///
/// # Examples
///
/// ```
/// use onelane::sync::{Queue, TryPutError};
///
/// fn offer(queue: &Queue<char>, item: char) -> &'static str {
///     match queue.try_put(item) {
///         Ok(()) => "taken",
///         Err(TryPutError::Full(_)) => "come back later",
///         Err(TryPutError::ShutDown(_)) => "closed for good",
///     }
/// }
///
/// let queue = Queue::bounded(1);
/// assert_eq!([offer(&queue, 'a'), offer(&queue, 'b')], ["taken", "come back later"]);
/// queue.shutdown(false);
/// assert_eq!(offer(&queue, 'c'), "closed for good");
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TryPutError<T> {
    /// There is no room: asyncio's `QueueFull`.
    #[doc(alias = "QueueFull")]
    Full(T),
    /// The queue was shut down: asyncio's `QueueShutDown`.
    #[doc(alias = "QueueShutDown")]
    ShutDown(T),
}

impl<T> TryPutError<T> {
    /// The item that was not put.
    ///
    /// # Examples
    ///
    /// ```
    /// let queue = onelane::sync::Queue::bounded(1);
    /// queue.try_put('a').unwrap();
    /// assert_eq!(queue.try_put('b').unwrap_err().into_inner(), 'b');
    /// ```
    pub fn into_inner(self) -> T {
        match self {
            TryPutError::Full(item) | TryPutError::ShutDown(item) => item,
        }
    }
}

/// Why [`Queue::try_get`] returned no item.
///
/// # Examples
///
/// ```
/// use onelane::sync::{Queue, TryGetError};
///
/// fn look(queue: &Queue<u8>) -> &'static str {
///     match queue.try_get() {
///         Ok(_) => "one at once",
///         Err(TryGetError::Empty) => "one, if you wait",
///         Err(TryGetError::ShutDown) => "none any more",
///     }
/// }
///
/// let queue = Queue::unbounded();
/// assert_eq!(look(&queue), "one, if you wait");
/// queue.shutdown(false);
/// assert_eq!(look(&queue), "none any more");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TryGetError {
    /// There is no item: asyncio's `QueueEmpty`.
    #[doc(alias = "QueueEmpty")]
    Empty,
    /// There is no item, and none will come: asyncio's `QueueShutDown`.
    #[doc(alias = "QueueShutDown")]
    ShutDown,
}

/// A [`Queue`] is empty and shut down: no item will come.
///
/// asyncio: `QueueShutDown`.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, sync::{Queue, QueueShutDown}};
///
/// async fn pair(queue: &Queue<char>) -> Result<(char, char), QueueShutDown> {
///     Ok((queue.get().await?, queue.get().await?))
/// }
///
/// EventLoop::with_virtual_clock().run(async {
///     let queue = Queue::unbounded();
///     "abc".chars().for_each(|letter| queue.try_put(letter).unwrap());
///     queue.shutdown(false);
///     assert_eq!(pair(&queue).await, Ok(('a', 'b')));
///     assert_eq!(pair(&queue).await, Err(QueueShutDown));
/// });
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueShutDown;

const IS_FULL: &str = "the queue is full";
const IS_EMPTY: &str = "the queue is empty";
const IS_SHUT_DOWN: &str = "the queue was shut down";

// The item need not be `Debug`.
impl<T> fmt::Debug for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PutError(..)")
    }
}

impl<T> fmt::Debug for TryPutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TryPutError::Full(_) => "Full(..)",
            TryPutError::ShutDown(_) => "ShutDown(..)",
        })
    }
}

impl<T> fmt::Display for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(IS_SHUT_DOWN)
    }
}

impl<T> fmt::Display for TryPutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TryPutError::Full(_) => IS_FULL,
            TryPutError::ShutDown(_) => IS_SHUT_DOWN,
        })
    }
}

impl fmt::Display for TryGetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TryGetError::Empty => IS_EMPTY,
            TryGetError::ShutDown => IS_SHUT_DOWN,
        })
    }
}

impl fmt::Display for QueueShutDown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(IS_SHUT_DOWN)
    }
}

impl<T> core::error::Error for PutError<T> {}
impl<T> core::error::Error for TryPutError<T> {}
impl core::error::Error for TryGetError {}
impl core::error::Error for QueueShutDown {}

impl<T> From<PutError<T>> for TryPutError<T> {
    fn from(PutError(item): PutError<T>) -> Self {
        TryPutError::ShutDown(item)
    }
}

impl From<QueueShutDown> for TryGetError {
    fn from(_: QueueShutDown) -> Self {
        TryGetError::ShutDown
    }
}

/// The item is dropped.
impl<T> From<PutError<T>> for QueueShutDown {
    fn from(_: PutError<T>) -> Self {
        QueueShutDown
    }
}

/// Of the kind [`BrokenPipe`](std::io::ErrorKind::BrokenPipe).
#[cfg(feature = "std")]
impl From<QueueShutDown> for std::io::Error {
    fn from(error: QueueShutDown) -> Self {
        std::io::Error::new(std::io::ErrorKind::BrokenPipe, error)
    }
}

/// Of the kind [`BrokenPipe`](std::io::ErrorKind::BrokenPipe). The item is dropped.
#[cfg(feature = "std")]
impl<T> From<PutError<T>> for std::io::Error {
    fn from(error: PutError<T>) -> Self {
        QueueShutDown::from(error).into()
    }
}
