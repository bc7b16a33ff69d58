//! The loop as a guest: functions for a *host*, a program that has an event loop of its own.
//!
//! The contract, which `tests/host.rs` tests:
//!
//! 1. The wake hook is called once when the loop goes from idle to ready, on any thread. A thousand
//!    wakes make one call, and no wake is lost.
//! 2. The hook may be called at any moment, even inside a turn of another loop. It must not run a
//!    turn of the loop: that panics.
//! 3. A turn steps what was ready when it began, within a budget. A task that always wakes itself
//!    cannot use up a frame.
//! 4. All timers of a turn fire against one reading of the clock.
//! 5. If a turn leaves work, its next deadline is now.
//! 6. When the loop is dropped, it first drops the hook. From then on the hook is not called,
//!    unless a call from another thread is already on its way. Then the loop's tasks end, on the
//!    loop's own thread. The loop cannot be sent to another thread.
//! 7. No turn blocks.
//!
//! This file knows no particular host. `examples/` has several.

use crate::event_loop::EventLoop;
use crate::kernel::idle::guest::Meter;
use crate::kernel::{Instant, Kernel, context};
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;

/// The budget of [`EventLoop::turn_within`]: a number of steps, a time, or both.
///
/// # Examples
///
/// ```
/// use onelane::Budget;
/// use std::time::Duration;
///
/// // An eighth of a frame at 60 Hz, and never more than a thousand steps.
/// let budget = Budget::time(Duration::from_millis(2)).and_steps(1000);
/// # assert_ne!(budget, Budget::steps(1000));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    steps: usize,
    time: Option<Duration>,
}

impl Budget {
    /// No limit: the loop runs until nothing is ready. A task that always wakes itself then keeps
    /// the host for ever.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{Budget, EventLoop, yield_now};
    ///
    /// let event_loop = EventLoop::with_virtual_clock();
    /// event_loop.spawn(async {
    ///     for _ in 0..10 {
    ///         yield_now().await;
    ///     }
    /// });
    /// assert_eq!(event_loop.turn_within(Budget::UNLIMITED).steps, 11);
    /// ```
    pub const UNLIMITED: Budget = Budget { steps: usize::MAX, time: None };

    /// At most `steps` steps, callbacks and timers; at least one.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{Budget, EventLoop, yield_now};
    ///
    /// let event_loop = EventLoop::with_virtual_clock();
    /// event_loop.spawn(async {
    ///     loop {
    ///         yield_now().await; // would keep the host for ever
    ///     }
    /// });
    /// let turn = event_loop.turn_within(Budget::steps(100));
    /// assert_eq!((turn.steps, turn.is_idle()), (100, false));
    /// ```
    pub const fn steps(steps: usize) -> Self {
        Budget { steps, time: None }
    }

    /// At most this time on the machine's clock, whatever clock the loop has. After that no step
    /// begins. The first step always begins, so that a host without any time left still makes
    /// progress. A step is not interrupted, however long it takes.
    ///
    /// # Cost
    ///
    /// A reading of the clock per step.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{Budget, EventLoop};
    /// use std::time::Duration;
    ///
    /// let event_loop = EventLoop::with_virtual_clock();
    /// (0..3).for_each(|_| drop(event_loop.spawn(async {})));
    /// assert_eq!(event_loop.turn_within(Budget::time(Duration::ZERO)).steps, 1);
    /// ```
    pub const fn time(time: Duration) -> Self {
        Budget { steps: usize::MAX, time: Some(time) }
    }

    /// The same, but at most `steps` steps.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{Budget, EventLoop};
    /// use std::time::Duration;
    ///
    /// let event_loop = EventLoop::with_virtual_clock();
    /// (0..3).for_each(|_| drop(event_loop.spawn(async {})));
    /// let budget = Budget::time(Duration::from_secs(3600)).and_steps(2);
    /// assert_eq!(event_loop.turn_within(budget).steps, 2);
    /// ```
    #[must_use = "it makes another budget"]
    pub const fn and_steps(self, steps: usize) -> Self {
        Budget { steps, time: self.time }
    }

    fn meter(self) -> Meter {
        // A time that cannot be expressed is no limit.
        Meter::new(self.steps, self.time.and_then(|time| Instant::now().checked_add(time)))
    }
}

/// What a turn did, and what is left.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, Turn};
/// use std::time::Duration;
///
/// let event_loop = EventLoop::with_virtual_clock();
/// event_loop.spawn(async {});
/// let handle = event_loop.call_later(Duration::from_secs(5), || ());
/// let Turn { steps, ready, tasks, next_deadline, .. } = event_loop.turn();
/// assert_eq!((steps, ready, tasks), (1, 0, 0));
/// assert_eq!(next_deadline, handle.when());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Turn {
    /// Number of steps of tasks. A task that ended because it was cancelled counts as a step.
    pub steps: usize,
    /// Number of callbacks that were called from the ready queue.
    pub callbacks: usize,
    /// Number of timers that fired.
    pub timers: usize,
    /// Number of messages that arrived from other threads or from outside a turn: wakes, callbacks,
    /// and objects that were dropped on another thread.
    pub messages: usize,
    /// Number of tasks and callbacks that are ready for the next turn. Includes messages that
    /// arrived in the meantime. If the budget was used up before the timers that are due have fired,
    /// it includes these timers.
    pub ready: usize,
    /// Number of living tasks.
    pub tasks: usize,
    /// When to run the next turn; see [`EventLoop::next_deadline`].
    pub next_deadline: Option<Instant>,
}

impl Turn {
    /// Whether nothing is ready, so that the next turn is pointless before the deadline or a wake.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, yield_now};
    ///
    /// let event_loop = EventLoop::with_virtual_clock();
    /// let task = event_loop.spawn(async {
    ///     for _ in 0..3 {
    ///         yield_now().await;
    ///     }
    /// });
    /// while !event_loop.turn().is_idle() {} // all that can be done now
    /// assert!(task.is_done());
    /// ```
    pub fn is_idle(&self) -> bool {
        self.ready == 0
    }
}

impl EventLoop {
    /// Runs one turn: takes messages from other threads, steps what is ready, fires the timers that
    /// are due. Never blocks. What becomes ready meanwhile waits for the next turn. A virtual clock
    /// jumps to the next deadline if nothing is ready. If [`turn_within`](Self::turn_within) has
    /// stopped in the middle of a turn, this runs the rest of that turn.
    ///
    /// # Panics
    ///
    /// If a loop is running on this thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, yield_now};
    ///
    /// let event_loop = EventLoop::new();
    /// let task = event_loop.spawn(yield_now());
    /// let turn = event_loop.turn();
    /// assert_eq!((turn.steps, turn.ready, turn.tasks), (1, 1, 1));
    /// let turn = event_loop.turn();
    /// assert_eq!((turn.steps, turn.ready, turn.tasks), (1, 0, 0));
    /// assert!(task.is_done() && turn.is_idle());
    /// ```
    #[track_caller]
    pub fn turn(&self) -> Turn {
        self.turn_by("EventLoop::turn()", || {
            if !self.kernel.finish_paused_turn() {
                self.kernel.turn();
            }
        })
    }

    /// Runs turns until nothing is ready or the budget is used up. Never blocks. The returned
    /// [`Turn`] is the sum of all these turns.
    ///
    /// The budget may end in the middle of a turn. The next call continues there, so the order of
    /// events is the same for every budget. Messages from other threads are taken between two
    /// turns.
    ///
    /// # Panics
    ///
    /// If a loop is running on this thread.
    ///
    /// # Cost
    ///
    /// The cost of the steps, and about a dozen nanoseconds per step to check the budget; with a
    /// time limit, also a reading of the clock.
    ///
    /// # Examples
    ///
    /// A game loop that gives two milliseconds of each frame:
    ///
    /// ```
    /// use onelane::{Budget, EventLoop, sleep};
    /// use std::time::Duration;
    ///
    /// let event_loop = EventLoop::with_virtual_clock();
    /// let door = event_loop.spawn(async {
    ///     sleep(Duration::from_secs(3)).await;
    ///     "open"
    /// });
    /// while !door.is_done() {
    ///     event_loop.turn_within(Budget::time(Duration::from_millis(2)));
    ///     // Physics, and a picture.
    /// }
    /// ```
    #[track_caller]
    pub fn turn_within(&self, budget: Budget) -> Turn {
        self.turn_by("EventLoop::turn_within()", || self.kernel.turn_within(&mut budget.meter()))
    }

    #[track_caller]
    fn turn_by(&self, asked: &str, turn: impl FnOnce()) -> Turn {
        assert!(
            !context::is_running(),
            "{asked} was called from a running event loop; call it from the host's loop, or spawn into the running one"
        );
        self.kernel.host_comes();
        let tally = self.kernel.tally();
        let count = || {
            let counted = [&tally.calls_taken, &tally.timers_fired, &tally.messages].map(|counter| counter.get());
            [self.kernel.table.entries().1, counted[0], counted[1], counted[2]]
        };
        let before = count();
        {
            let _entered = context::enter(&self.kernel);
            self.kernel.listen_if_idle();
            turn();
            // A second poll of the sockets, for a host that watches the loop's descriptor
            // edge-triggered: it must not sleep while the poller still has something to report.
            self.kernel.listen_if_idle();
            self.kernel.look_before_the_host_rests();
        }
        let after = count();
        let [entries, callbacks, timers, messages] =
            core::array::from_fn(|n| after[n].wrapping_sub(before[n]) as usize);
        // From here on, new work calls the host.
        let left = self.kernel.host_goes();
        Turn {
            steps: entries - callbacks,
            callbacks,
            timers,
            messages,
            ready: self.kernel.ready_len() + left,
            tasks: self.kernel.table.len(),
            next_deadline: if left > 0 { Some(self.time()) } else { self.next_deadline() },
        }
    }

    /// Runs up to `turns` turns, fewer if nothing is ready.
    pub(crate) fn turn_while_ready(&self, turns: u32) {
        let _entered = context::enter(&self.kernel);
        for _ in 0..turns {
            self.kernel.turn();
            if self.kernel.table.is_idle() {
                break;
            }
        }
    }

    /// Returns when to run the next turn: now if anything is ready, otherwise when the next timer
    /// is due. `None` if only a wake from another thread or a socket can cause work. For sockets,
    /// watch `as_fd` (feature `io`).
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, sleep};
    /// use std::time::Duration;
    ///
    /// let event_loop = EventLoop::with_virtual_clock();
    /// event_loop.spawn(async {
    ///     for _ in 0..3 {
    ///         sleep(Duration::from_secs(2)).await;
    ///     }
    /// });
    /// let mut free = Duration::ZERO;
    /// while let Some(moment) = event_loop.next_deadline() {
    ///     free += moment - event_loop.time(); // the host does other things
    ///     event_loop.turn();
    /// }
    /// assert_eq!(free, Duration::from_secs(6));
    /// ```
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.kernel.has_work() {
            return Some(self.time());
        }
        self.kernel.next_deadline().and_then(|time| self.kernel.clock.instant_at(time))
    }

    /// Sets the *wake hook*, which is called when the idle loop has new work. It tells the host to
    /// run a turn. Replaces an earlier hook.
    ///
    /// After a turn, the hook is called at most once before the next turn, in three cases: a wake,
    /// a callback or a task arrives from another thread (the hook runs on that thread); this thread
    /// spawns, schedules or cancels outside a turn; or a timer is set that is due before the
    /// [`next_deadline`](Self::next_deadline) that the host knows. If there is work already when
    /// the hook is set, it is called at once. It is not called during a turn, or after a turn that
    /// has left work: [`Turn::ready`] and the next deadline report that work. While the loop is
    /// [entered](Self::enter), the call waits until the loop is left. [`run`](Self::run) needs no
    /// host; if it leaves work when it returns, the hook is called.
    ///
    /// The hook is not called for sockets. A host whose loop has sockets (feature `io`) also
    /// watches `as_fd`, or runs a turn from time to time.
    ///
    /// The hook should only notify the host, for example by posting an event or writing to a pipe.
    /// It cannot run a turn of the loop. A panic of the hook loses nothing. If the call came
    /// through a waker, a [`Remote`](crate::Remote) or this function, the panic continues in the
    /// code that used it; otherwise it goes to the exception handler. To remove a hook, set one
    /// that does nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, yield_now};
    /// use std::sync::mpsc;
    ///
    /// let event_loop = EventLoop::new();
    /// let (post, events) = mpsc::channel();
    /// event_loop.set_wake_hook(move || post.send("turn").unwrap());
    ///
    /// let remote = event_loop.remote();
    /// let thread = std::thread::spawn(move || {
    ///     remote.spawn(yield_now()).unwrap().wait().unwrap();
    /// });
    /// // The host's loop: it sleeps as it is used to.
    /// while !thread.is_finished() {
    ///     if events.recv_timeout(std::time::Duration::from_millis(1)).is_ok() {
    ///         while !event_loop.turn().is_idle() {}
    ///     }
    /// }
    /// # thread.join().unwrap();
    /// ```
    pub fn set_wake_hook(&self, hook: impl Fn() + Send + Sync + 'static) {
        let _before = self.kernel.inbox().set_hook(Arc::new(hook));
        self.kernel.attach_host();
        // The previous hook is dropped last: a panic of its destructor goes to the caller, and must
        // not prevent the call of this one.
    }

    /// Calls `act` as if the loop were running, and returns its result: [`spawn`](crate::spawn()),
    /// [`sleep`](crate::sleep()), [`call_soon`](crate::call_soon()) and the others use this loop.
    /// For the callbacks of a host: what they spawn runs in the next turn.
    ///
    /// Nothing is stepped inside, and no loop can run or run a turn. `enter` may be called inside a
    /// turn. In a turn of the same loop it changes nothing. In a turn of another loop, there is no
    /// current task until it returns.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, sleep, spawn};
    /// use std::time::Duration;
    ///
    /// fn on_click() {
    ///     drop(spawn(sleep(Duration::from_millis(200)))); // knows of no loop
    /// }
    ///
    /// let event_loop = EventLoop::with_virtual_clock();
    /// event_loop.enter(on_click);
    /// assert_eq!(event_loop.turn().tasks, 1);
    /// ```
    pub fn enter<R>(&self, act: impl FnOnce() -> R) -> R {
        /// Inside, wakes go directly to the loop, and do not call the host. So the drop of this
        /// calls the host, if there is work of which the host does not know.
        struct Stir<'a>(&'a EventLoop);
        impl Drop for Stir<'_> {
            fn drop(&mut self) {
                self.0.kernel.tolerate_hook(Kernel::leave_to_host);
            }
        }
        let _stir = Stir(self);
        let _entered = context::enter(&self.kernel);
        act()
    }

    /// Returns the file descriptor of the loop's poller. It is readable when a turn has work to do
    /// for a socket, and when a message has arrived for which the [wake hook](Self::set_wake_hook)
    /// is called. A host that polls needs only this descriptor and the
    /// [`next_deadline`](Self::next_deadline).
    ///
    /// Use it only for waiting: in another poller, for reading, level- or edge-triggered. A
    /// [`turn`](Self::turn) polls the sockets. The descriptor is the same as long as the loop
    /// lives.
    ///
    /// # Errors
    ///
    /// The error of the operating system if the poller cannot be created. The first call of this
    /// function, or the first socket, creates it.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::EventLoop;
    /// use std::os::fd::AsRawFd;
    ///
    /// let event_loop = EventLoop::new();
    /// let fd = event_loop.as_fd()?;
    /// assert!(fd.as_raw_fd() >= 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[cfg(all(unix, feature = "io"))]
    #[cfg_attr(docsrs, doc(cfg(feature = "io")))]
    pub fn as_fd(&self) -> std::io::Result<std::os::fd::BorrowedFd<'_>> {
        let reactor = self.kernel.reactor()?;
        self.kernel.attach_host_once();
        Ok(std::os::fd::AsFd::as_fd(&**reactor))
    }

    /// Returns the loop as a future, for another executor. Each poll of it is a
    /// [`turn_within`](Self::turn_within). It is ready when no task is left.
    ///
    /// Messages from other threads wake it in the other executor. For timers it uses the other
    /// executor's clock: `sleep_until` creates a future that is ready at a given moment, and is
    /// called when the next deadline has changed.
    ///
    /// Cancel safety: dropping it leaves the tasks in the loop, and another such future can
    /// continue them. Dropping the loop ends them.
    ///
    /// # Panics
    ///
    /// If it is polled in a turn of a loop of onelane.
    ///
    /// # Cost
    ///
    /// A clone of the waker per poll, and a box per deadline.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, sleep, spawn};
    /// use std::time::{Duration, Instant};
    ///
    /// # use std::{future::poll_fn, pin::pin, task::{Context, Poll, Waker}};
    /// # fn block_on(future: impl Future) {
    /// #     let mut future = pin!(future);
    /// #     while future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {}
    /// # }
    /// # async fn sleep_until(moment: Instant) {
    /// #     poll_fn(|_| if Instant::now() < moment { Poll::Pending } else { Poll::Ready(()) }).await;
    /// # }
    /// let event_loop = EventLoop::new();
    /// let task = event_loop.spawn(async {
    ///     let child = spawn(async { 6 * 7 });
    ///     sleep(Duration::from_millis(1)).await;
    ///     child.await
    /// });
    /// // `block_on` and `sleep_until` belong to the other executor: `async_io::block_on`, for one, and
    /// // `|moment| async move { async_io::Timer::at(moment).await; }`.
    /// block_on(event_loop.drive(sleep_until));
    /// assert_eq!(event_loop.run(task).unwrap(), Ok(42));
    /// ```
    pub fn drive<'a, F>(&'a self, mut sleep_until: impl FnMut(Instant) -> F + 'a) -> Drive<'a>
    where
        F: Future<Output = ()> + 'a,
    {
        let sleep_until = move |moment| Box::pin(sleep_until(moment)) as Pin<Box<dyn Future<Output = ()> + 'a>>;
        Drive {
            event_loop: self,
            number: 0,
            budget: BUDGET_OF_A_POLL,
            sleep_until: Box::new(sleep_until),
            sleeping: None,
            #[cfg(all(unix, feature = "io"))]
            readable: None,
        }
    }
}

/// The default budget of a poll of a [`Drive`].
const BUDGET_OF_A_POLL: Budget = Budget::time(Duration::from_micros(500)).and_steps(128);

type BoxFuture<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// The future of [`EventLoop::drive`].
///
/// # Examples
///
/// ```
/// use futures_util::FutureExt;
/// use onelane::{Budget, EventLoop};
/// use std::future::pending;
///
/// let event_loop = EventLoop::new();
/// event_loop.spawn(async {});
/// // A loop without timers needs no clock. This one is done in one poll.
/// let drive = event_loop.drive(|_| pending()).budget(Budget::steps(10));
/// assert_eq!(drive.now_or_never(), Some(()));
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct Drive<'a> {
    event_loop: &'a EventLoop,
    /// Distinguishes this `Drive` from others of the same loop; 0 before the first poll.
    number: u64,
    budget: Budget,
    sleep_until: Box<dyn FnMut(Instant) -> BoxFuture<'a> + 'a>,
    /// The host's timer, and its deadline.
    sleeping: Option<(Instant, BoxFuture<'a>)>,
    #[cfg(all(unix, feature = "io"))]
    readable: Option<Readable<'a>>,
}

/// Waits until the loop's file descriptor is readable.
#[cfg(all(unix, feature = "io"))]
struct Readable<'a> {
    wait: Box<dyn FnMut() -> BoxFuture<'a> + 'a>,
    waiting: Option<BoxFuture<'a>>,
}

impl<'a> Drive<'a> {
    /// Sets how much of the loop runs in a poll. The default is 128 steps and at most half a
    /// millisecond. The tasks of the other executor wait that long.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{Budget, EventLoop};
    /// use std::{future::pending, time::Duration};
    ///
    /// let event_loop = EventLoop::new();
    /// let frugal = event_loop.drive(|_| pending()).budget(Budget::time(Duration::from_micros(50)));
    /// # drop(frugal);
    /// ```
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = budget;
        self
    }

    /// For a loop with sockets: `readable` creates a future that is ready when the loop's
    /// [`as_fd`](EventLoop::as_fd) is readable. It is called again for each wait. If the source is
    /// edge-triggered, like tokio's `AsyncFd`, the future must clear its readiness (`clear_ready`)
    /// before it completes: the turn that follows checks all sockets. Without `readable`, sockets
    /// are polled only when something else wakes the loop.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net};
    /// use std::{future::pending, net::Ipv4Addr};
    ///
    /// # use rustix::event::{PollFd, PollFlags, Timespec, poll};
    /// # use std::{future::poll_fn, pin::pin, task::{Context, Poll, Waker}};
    /// # fn block_on(future: impl Future) {
    /// #     let mut future = pin!(future);
    /// #     while future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {}
    /// # }
    /// # async fn readable(fd: std::os::fd::BorrowedFd<'_>) {
    /// #     let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    /// #     let mut is_readable = || poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&at_once)).unwrap() == 1;
    /// #     poll_fn(|_| if is_readable() { Poll::Ready(()) } else { Poll::Pending }).await;
    /// # }
    /// let event_loop = EventLoop::new();
    /// let task = event_loop.spawn(async {
    ///     let listener = net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    ///     let client = net::TcpStream::connect(listener.local_addr().unwrap());
    ///     let (accepted, connected) = futures_util::join!(listener.accept(), client);
    ///     accepted.is_ok() && connected.is_ok()
    /// });
    /// // `block_on` and `readable` belong to the other executor: `async_io::block_on`, for one, and the method
    /// // `readable` of an `async_io::Async`.
    /// let fd = event_loop.as_fd().unwrap();
    /// block_on(event_loop.drive(|_| pending()).with_io(|| readable(fd)));
    /// assert_eq!(event_loop.run(task), Ok(true));
    /// ```
    #[cfg(all(unix, feature = "io"))]
    #[cfg_attr(docsrs, doc(cfg(feature = "io")))]
    pub fn with_io<F>(mut self, mut readable: impl FnMut() -> F + 'a) -> Self
    where
        F: Future<Output = ()> + 'a,
    {
        let wait = Box::new(move || Box::pin(readable()) as BoxFuture<'a>);
        self.readable = Some(Readable { wait, waiting: None });
        self
    }

    /// Polls the host's timer. Returns whether its time has come.
    fn poll_timer(&mut self, deadline: Instant, context: &mut Context<'_>) -> bool {
        if self.sleeping.as_ref().is_none_or(|(moment, _)| *moment != deadline) {
            self.sleeping = Some((deadline, (self.sleep_until)(deadline)));
        }
        let is_up = self.sleeping.as_mut().is_some_and(|(_, timer)| timer.as_mut().poll(context).is_ready());
        if is_up {
            self.sleeping = None;
        }
        is_up
    }

    /// Waits for the file descriptor. Returns whether it is readable.
    fn poll_io(&mut self, _context: &mut Context<'_>) -> bool {
        #[cfg(all(unix, feature = "io"))]
        if let Some(readable) = &mut self.readable {
            let waiting = readable.waiting.get_or_insert_with(&mut readable.wait);
            if waiting.as_mut().poll(_context).is_ready() {
                readable.waiting = None;
                return true;
            }
        }
        false
    }
}

impl Future for Drive<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let kernel = &this.event_loop.kernel;
        if this.number == 0 {
            this.number = kernel.table.next_number();
        }
        // Set before the turn: as soon as the turn ends, new work may wake this future.
        let before = kernel.inbox().set_driver(this.number, Some(context.waker().clone()));
        kernel.attach_driver();
        drop(before);
        let turn = this.event_loop.turn_within(this.budget);
        kernel.told_driver();
        if turn.tasks == 0 && turn.is_idle() {
            return Poll::Ready(());
        }
        let has_work = match turn.next_deadline {
            // A virtual clock jumps to the deadline.
            Some(_) if !turn.is_idle() || kernel.clock.is_virtual() => true,
            Some(deadline) => this.poll_timer(deadline, context),
            None => {
                this.sleeping = None;
                false
            }
        };
        // `poll_io` comes first, so that it is polled even if there is work.
        if this.poll_io(context) || has_work {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl Drop for Drive<'_> {
    fn drop(&mut self) {
        let kernel = &self.event_loop.kernel;
        // User code, so it is dropped last.
        let _before = kernel.inbox().set_driver(self.number, None);
        if self.number > 0 {
            // This future may be the only one that knew of remaining work. Then another `Drive` of
            // the loop, or the host, is informed.
            kernel.tolerate_hook(Kernel::hand_over);
        }
    }
}

impl fmt::Debug for Drive<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let deadline = self.sleeping.as_ref().map(|(moment, _)| moment);
        f.debug_struct("Drive").field("budget", &self.budget).field("deadline", &deadline).finish_non_exhaustive()
    }
}
