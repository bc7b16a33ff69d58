//! A barrier: tasks wait until a given number of them has arrived.
//!
//! ```text
//!              the last party has come            the last has left
//!     FILLING --------------------------> DRAINING ----------------> FILLING
//!        | reset, somebody waits                       the last has left
//!        +------------------------------> RESETTING ---------------> FILLING
//!
//!     any state, abort: BROKEN, until reset
//! ```
//!
//! One queue holds the tasks that have arrived, and those that arrive while the barrier drains or
//! is reset. A notified task checks the state, and goes to the end of the queue if it has to wait
//! longer. asyncio builds a barrier on a condition, whose lock is never contended; ours has no
//! lock.

use crate::sync::label::Label;
use crate::sync::waiters::{Place, Ticket, Waiters};
use alloc::rc::Rc;
use core::cell::Cell;
use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll, ready};

/// A point where tasks wait for each other: when a given number has arrived, all of them continue,
/// and the barrier fills again.
///
/// The last task to arrive does not wait. A task that arrives before all tasks of the previous
/// round have left waits until they have left, and belongs to the next round. A task that has
/// arrived and is cancelled counts until its wait is dropped, which may be after its cleanups.
///
/// asyncio: `Barrier`.
///
/// # Cost
///
/// One allocation for the barrier, and memory for the greatest number of tasks that
/// ever waited at once.
///
/// # Examples
///
/// ```
/// use onelane::{gather, sync::Barrier};
/// use std::rc::Rc;
///
/// onelane::EventLoop::with_virtual_clock().run(async {
///     let barrier = Rc::new(Barrier::new(3));
///     let indices = gather([(); 3].map(|()| barrier.wait())).await.unwrap();
///     assert_eq!(indices, [Ok(0), Ok(1), Ok(2)]);
/// });
/// ```
pub struct Barrier {
    core: Rc<Core>,
}

struct Core {
    label: Label,
    parties: usize,
    state: Cell<State>,
    /// Number of tasks that have arrived and not left.
    count: Cell<usize>,
    waiters: Waiters,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Filling,
    Draining,
    Resetting,
    Broken,
}

/// A [`Barrier`] was aborted or reset: asyncio's `BrokenBarrierError`.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, spawn, sync::{Barrier, BrokenBarrier}, yield_now};
///
/// EventLoop::with_virtual_clock().run(async {
///     let barrier = Barrier::new(2);
///     let other = spawn(barrier.wait());
///     yield_now().await;
///     barrier.abort(); // this side has failed, and will not come
///     match other.await.unwrap() {
///         Ok(_) => unreachable!("it went on alone"),
///         Err(BrokenBarrier) => println!("the other side does not wait in vain"),
///     }
/// });
/// ```
#[doc(alias = "BrokenBarrierError")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BrokenBarrier;

impl fmt::Display for BrokenBarrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the barrier was aborted or reset")
    }
}

impl core::error::Error for BrokenBarrier {}

#[cfg(feature = "std")]
impl From<BrokenBarrier> for std::io::Error {
    fn from(error: BrokenBarrier) -> Self {
        std::io::Error::other(error)
    }
}

impl Core {
    /// A task that has arrived leaves.
    fn leave(&self) {
        self.count.set(self.count.get() - 1);
        if self.count.get() == 0 {
            if matches!(self.state.get(), State::Resetting | State::Draining) {
                self.state.set(State::Filling);
            }
            self.waiters.give_all();
        }
    }
}

impl Place for Core {
    fn line(&self, _: u8) -> &Waiters {
        &self.waiters
    }

    fn describe(&self, _: u8, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, parties) = (self.count.get(), self.parties);
        let what = "a barrier";
        match self.state.get() {
            State::Filling => self.label.write_with(what, Some(format_args!("{count} of {parties} have come")), f),
            State::Broken => self.label.write_with(what, Some(format_args!("broken")), f),
            State::Draining | State::Resetting => {
                self.label.write_with(what, Some(format_args!("{count} of {parties} have not left yet")), f)
            }
        }
    }
}

impl Barrier {
    /// Creates a barrier for `parties` tasks.
    ///
    /// asyncio: `Barrier(parties)`.
    ///
    /// # Panics
    ///
    /// If `parties` is zero.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(onelane::sync::Barrier::new(3).parties(), 3);
    /// ```
    #[track_caller]
    pub fn new(parties: usize) -> Self {
        assert!(parties > 0, "Barrier::new(0) was called, but no task could ever arrive; pass at least one party");
        let core = Core {
            label: Label::here(),
            parties,
            state: Cell::new(State::Filling),
            count: Cell::new(0),
            waiters: Waiters::default(),
        };
        Barrier { core: Rc::new(core) }
    }

    /// Sets a name, for reports of what tasks wait for: `barrier "start" (1 of 3 have come)`.
    /// Without a name, reports show where the barrier was created.
    ///
    /// # Cost
    ///
    /// One allocation, unless the name is an `Rc<str>`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, RunError, sync::Barrier};
    ///
    /// let result = EventLoop::with_virtual_clock().try_run(async {
    ///     _ = Barrier::new(3).named("start").wait().await; // the others do not come
    /// });
    /// let Err(RunError::Deadlock(report)) = result else { unreachable!() };
    /// assert_eq!(report.tasks[0].waits_for[0].what, r#"barrier "start" (1 of 3 have come)"#);
    /// ```
    #[must_use = "it gives back what was named"]
    pub fn named(self, name: impl Into<Rc<str>>) -> Self {
        self.core.label.set_name(name.into());
        self
    }

    /// Waits until as many tasks have arrived as the barrier has parties. Returns the number of
    /// tasks that had arrived before this one: in a round in which no wait is given up, each task
    /// gets a different number.
    ///
    /// Cancel safety: a cancelled task has not arrived; the others wait for another one instead.
    ///
    /// asyncio: `Barrier.wait()`.
    ///
    /// # Errors
    ///
    /// [`BrokenBarrier`] if the barrier is aborted, or if it is reset while this waits.
    ///
    /// # Panics
    ///
    /// When polled after it was ready.
    ///
    /// # Cost
    ///
    /// No allocation unless more tasks wait than ever before. When the last has arrived, the others
    /// are stepped in the turn after that.
    ///
    /// # Examples
    ///
    /// ```
    /// onelane::EventLoop::with_virtual_clock().run(async {
    ///     let barrier = onelane::sync::Barrier::new(2);
    ///     let first = onelane::spawn(barrier.wait());
    ///     onelane::yield_now().await;
    ///     assert_eq!(barrier.wait().await, Ok(1));
    ///     assert_eq!(first.await, Ok(Ok(0)));
    /// });
    /// ```
    #[track_caller]
    pub fn wait(&self) -> BarrierWait {
        BarrierWait { core: self.core.clone(), ticket: Ticket::here(), stage: Stage::New }
    }

    /// Releases all waiting tasks with [`BrokenBarrier`]. A new round begins when they have left.
    /// Repairs a barrier that was aborted.
    ///
    /// asyncio: `Barrier.reset()`, which must be awaited, but never suspends.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::sync::{Barrier, BrokenBarrier};
    ///
    /// onelane::EventLoop::with_virtual_clock().run(async {
    ///     let barrier = Barrier::new(2);
    ///     let waiter = onelane::spawn(barrier.wait());
    ///     onelane::yield_now().await;
    ///     barrier.reset();
    ///     assert_eq!(waiter.await, Ok(Err(BrokenBarrier)));
    ///     assert!(!barrier.is_broken());
    /// });
    /// ```
    pub fn reset(&self) {
        self.core.label.touch();
        let nobody_is_in = self.core.count.get() == 0;
        self.core.state.set(if nobody_is_in { State::Filling } else { State::Resetting });
        self.core.waiters.give_all();
    }

    /// Breaks the barrier: waiting tasks get [`BrokenBarrier`], and so do tasks that arrive before
    /// it is [reset](Barrier::reset).
    ///
    /// asyncio: `Barrier.abort()`, which must be awaited, but never suspends.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::sync::{Barrier, BrokenBarrier};
    ///
    /// onelane::EventLoop::with_virtual_clock().run(async {
    ///     let barrier = Barrier::new(2);
    ///     barrier.abort();
    ///     assert_eq!(barrier.wait().await, Err(BrokenBarrier));
    /// });
    /// ```
    pub fn abort(&self) {
        self.core.label.touch();
        self.core.state.set(State::Broken);
        self.core.waiters.give_all();
    }

    /// Returns the number of tasks for which the barrier waits.
    ///
    /// asyncio: `Barrier.parties`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, gather, sync::Barrier};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let barrier = Barrier::new(3);
    ///     // As many tasks as the barrier waits for.
    ///     let waits = (0..barrier.parties()).map(|_| barrier.wait());
    ///     assert!(gather(waits).await.unwrap().iter().all(Result::is_ok));
    /// });
    /// ```
    pub fn parties(&self) -> usize {
        self.core.parties
    }

    /// Returns the number of tasks that have arrived in this round and still wait. Zero while
    /// released tasks leave, while the barrier is being reset, and while it is broken.
    ///
    /// asyncio: `Barrier.n_waiting`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, spawn, sync::Barrier, yield_now};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let barrier = Barrier::new(3);
    ///     spawn(barrier.wait());
    ///     yield_now().await;
    ///     let missing = barrier.parties() - barrier.n_waiting();
    ///     assert_eq!(missing, 2);
    /// });
    /// ```
    pub fn n_waiting(&self) -> usize {
        self.core.label.look();
        if self.core.state.get() == State::Filling { self.core.count.get() } else { 0 }
    }

    /// Whether the barrier was aborted, and not reset since.
    ///
    /// asyncio: `Barrier.broken`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, sync::Barrier};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let barrier = Barrier::new(1);
    ///     barrier.abort();
    ///     if barrier.is_broken() {
    ///         barrier.reset(); // the next round is to go well
    ///     }
    ///     assert_eq!(barrier.wait().await, Ok(0));
    /// });
    /// ```
    #[doc(alias = "broken")]
    pub fn is_broken(&self) -> bool {
        self.core.label.look();
        self.core.state.get() == State::Broken
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.core.label.look();
        f.debug_struct("Barrier")
            .field("state", &self.core.state.get())
            .field("waiting", &self.n_waiting())
            .field("parties", &self.core.parties)
            .finish()
    }
}

/// The future of [`Barrier::wait`].
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, gather, sync::{Barrier, BarrierWait}};
///
/// /// Waits for a meeting at a barrier that they keep alive.
/// fn meeting() -> [BarrierWait; 2] {
///     let barrier = Barrier::new(2);
///     [barrier.wait(), barrier.wait()]
/// }
///
/// EventLoop::with_virtual_clock().run(async {
///     assert_eq!(gather(meeting()).await, Ok(vec![Ok(0), Ok(1)]));
/// });
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct BarrierWait {
    core: Rc<Core>,
    ticket: Ticket,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    New,
    /// The tasks of the earlier round have not all left.
    Blocked,
    /// The task has arrived, with this index.
    Arrived(usize),
    Over,
}

impl BarrierWait {
    /// The task leaves, with this result.
    fn leave(&mut self, result: Result<usize, BrokenBarrier>) -> Poll<Result<usize, BrokenBarrier>> {
        self.stage = Stage::Over;
        self.core.leave();
        Poll::Ready(result)
    }
}

impl Future for BarrierWait {
    type Output = Result<usize, BrokenBarrier>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.core.label.touch();
        let this = &mut *self;
        assert!(this.stage != Stage::Over, "a wait() of a barrier was polled after it was ready; wait with a new one");
        ready!(this.ticket.poll(&this.core, context));
        loop {
            match (this.stage, this.core.state.get()) {
                (Stage::Arrived(index), State::Draining) => return this.leave(Ok(index)),
                (Stage::Arrived(_), State::Broken | State::Resetting) => return this.leave(Err(BrokenBarrier)),
                // A waiter that was dropped has notified this one. The state is the same: wait
                // again.
                (Stage::Arrived(_), State::Filling) => {}
                (_, State::Draining | State::Resetting) => this.stage = Stage::Blocked,
                (_, State::Broken) => {
                    this.stage = Stage::Over;
                    return Poll::Ready(Err(BrokenBarrier));
                }
                (_, State::Filling) => {
                    let index = this.core.count.get();
                    this.core.count.set(index + 1);
                    this.stage = Stage::Arrived(index);
                    if index + 1 == this.core.parties {
                        this.core.state.set(State::Draining);
                        this.core.waiters.give_all();
                        return this.leave(Ok(index));
                    }
                }
            }
            ready!(this.ticket.wait(&this.core, 0, context));
        }
    }
}

#[cfg(feature = "stream")]
#[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
impl futures_core::FusedFuture for BarrierWait {
    fn is_terminated(&self) -> bool {
        self.stage == Stage::Over
    }
}

impl Drop for BarrierWait {
    fn drop(&mut self) {
        self.core.label.touch();
        if self.ticket.is_in_line(&*self.core) {
            self.ticket.leave(&*self.core);
            self.core.waiters.give(1);
        }
        if let Stage::Arrived(_) = self.stage {
            self.core.leave();
        }
    }
}

impl fmt::Debug for BarrierWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BarrierWait").field(&self.stage).finish()
    }
}
