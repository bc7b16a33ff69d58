//! The loop as a guest: what a host calls that has a loop of its own.
//!
//! The contract, and `tests/host.rs` holds it:
//!
//! 1. The wake hook is called on the edge from idle to ready, once, from any thread: a thousand wakes are one call, and none is lost.
//! 2. It may be called at any moment, also inside of a turn of another loop. It does not turn the loop: that panics.
//! 3. A turn steps what was ready when it began, within a budget. A task that always wakes itself cannot eat a frame.
//! 4. Timers that are due fire against one reading of the clock.
//! 5. A turn that leaves work says so: its next deadline is now.
//! 6. When the loop has gone, the hook is dropped, and called no more, unless a call from another thread was on its way; the loop's
//!    tasks have ended on its own thread. It cannot be sent to another.
//! 7. No turn blocks.
//!
//! Knows no host. What hosts there are stands in `examples/`.

use crate::event_loop::EventLoop;
use crate::kernel::idle::guest::Meter;
use crate::kernel::{Kernel, context};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// How much a host gives to [`EventLoop::turn_within`]: so many steps, so long, or both.
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
    /// No limit but that nothing is ready any more. A task that always wakes itself keeps the host for ever.
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

    /// So many steps, callbacks and timers. At least one.
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

    /// So long on the machine's clock, whatever clock the loop has: no step begins after that. The first one does, so that a host
    /// which has no time left gets on nevertheless. A step is not interrupted; one that takes long takes what it takes.
    ///
    /// # Cost
    ///
    /// A look at the clock for each step.
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

    /// The same, but no more than so many steps.
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
        // A time that cannot be expressed is none.
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
    /// So many times a task was stepped, or ended because it was cancelled.
    pub steps: usize,
    /// So many callbacks were called from the ready queue.
    pub callbacks: usize,
    /// So many timers fired.
    pub timers: usize,
    /// So many messages came from elsewhere: wakes, callbacks, and what was dropped on another thread.
    pub messages: usize,
    /// So much is ready for the next turn: tasks and callbacks; also what came from elsewhere meanwhile, and timers that are due, if
    /// the budget was used up before them.
    pub ready: usize,
    /// So many tasks are alive.
    pub tasks: usize,
    /// When to turn again; see [`EventLoop::next_deadline`].
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
    /// One turn: takes what came from elsewhere, steps what is ready, fires the timers that are due. Never blocks; what becomes
    /// ready meanwhile waits for the next turn. A virtual clock jumps to the next deadline if nothing is ready. If
    /// [`turn_within`](Self::turn_within) was stopped in the middle of a turn, this is the rest of it.
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

    /// Turns until nothing is ready any more, or until the budget is used up. Never blocks. What the [`Turn`] tells is of all
    /// these turns together.
    ///
    /// The budget may end in the middle of a turn; the next call goes on from there, so that the order in which things happen
    /// is the same for any budget. What comes from elsewhere is taken over between two turns.
    ///
    /// # Panics
    ///
    /// If a loop is running on this thread.
    ///
    /// # Cost
    ///
    /// That of the steps, and a dozen nanoseconds for each, since none is stepped without a look at the budget; with a limit in
    /// time, a look at the clock too.
    ///
    /// # Examples
    ///
    /// A game loop gives two milliseconds of each frame:
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
            // Whoever watches the loop's descriptor for changes must not sleep while anything is ready there.
            self.kernel.listen_if_idle();
            self.kernel.look_before_the_host_rests();
        }
        let after = count();
        let [entries, callbacks, timers, messages] = std::array::from_fn(|n| after[n].wrapping_sub(before[n]) as usize);
        // What comes after this calls the host.
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

    /// So many turns, or fewer, if nothing is ready before.
    pub(crate) fn turn_while_ready(&self, turns: u32) {
        let _entered = context::enter(&self.kernel);
        for _ in 0..turns {
            self.kernel.turn();
            if self.kernel.table.is_idle() {
                break;
            }
        }
    }

    /// When to turn again: now, if anything is ready, else at the next timer; `None` if only a wake from elsewhere can change
    /// anything, or a socket: of sockets, `as_fd` tells (feature `io`).
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

    /// Sets who is called when the loop, which was idle, has something to do again: the *wake hook*, which tells the host to
    /// turn. It takes the place of an earlier one.
    ///
    /// It is called once, and not again before the next turn: when a wake, a callback or a task comes from elsewhere, from the
    /// thread from which it comes; when this thread, outside of a turn, spawns, calls or cancels; and when a timer is set that is
    /// due before the [`next_deadline`](Self::next_deadline) that the host knows. If there is something to do already, it is
    /// called at once. It is not called during a turn of the loop, nor while a turn has left work: then [`Turn::ready`] and the
    /// next deadline say so. Where the loop was [entered](Self::enter), the call waits until it is left. [`run`](Self::run) needs no host; what is left when it returns is told by a call.
    ///
    /// It hears of no socket: a host whose loop has some (feature `io`) watches `as_fd` as well, or turns now and then.
    ///
    /// The hook is to tell the host, and nothing else: to post an event, to write to a pipe. It cannot turn the loop. A panic of
    /// the hook loses nothing. If the call came through a waker or a [`Remote`](crate::Remote), or from this function, the panic goes on
    /// in whoever used that; otherwise the exception handler is told. To have no hook any more, set one that does nothing.
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
        // The hook before is dropped last: the panic of its destructor is the caller's, and must not keep this one from being called.
    }

    /// Calls `act` as if the loop were running, and gives what it returns: [`spawn`](crate::spawn()), [`sleep`](crate::sleep()),
    /// [`call_soon`](crate::call_soon()) and the others find this loop. For the callbacks of a host: what they spawn runs in the
    /// next turn.
    ///
    /// Nothing is stepped in there, and no loop can be turned or run. It may be called inside of a turn: in one of the same loop it
    /// changes nothing; in one of another, no task is the current one until it is over.
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
        /// Wakes in there find the loop, and not the host.
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

    /// The file descriptor of the loop's poller: readable when a turn has something to do for a socket, and when something has
    /// come from elsewhere, as the [wake hook](Self::set_wake_hook) tells it. With this and the
    /// [`next_deadline`](Self::next_deadline), a host that can poll needs no more.
    ///
    /// It is for waiting alone: in another poller, for reading, level- or edge-triggered. [`turn`](Self::turn) looks at it.
    /// The same as long as the loop lives.
    ///
    /// # Errors
    ///
    /// What the system says if the poller cannot be made, which the first call of this or the first socket does.
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

    /// The loop as a future, for the executor of somebody else: each poll of it is a [`turn_within`](Self::turn_within). Ready
    /// when no task is left.
    ///
    /// The other executor wakes it for what comes from elsewhere. For timers it needs the other's clock: `sleep_until` makes a
    /// future that is ready at a moment, and is called when the next deadline is another than before.
    ///
    /// Cancel safety: dropping it leaves the tasks in the loop, where another one goes on with them. Dropping the loop ends them.
    ///
    /// # Panics
    ///
    /// When it is polled in a turn of a loop of onelane's.
    ///
    /// # Cost
    ///
    /// A waker, cloned in each poll, and a box for each deadline.
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

/// What a poll of a [`Drive`] has, unless it is told otherwise.
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
    /// Tells it from others of the same loop; 0 before the first poll.
    number: u64,
    budget: Budget,
    sleep_until: Box<dyn FnMut(Instant) -> BoxFuture<'a> + 'a>,
    /// The host's timer, and for when it is.
    sleeping: Option<(Instant, BoxFuture<'a>)>,
    #[cfg(all(unix, feature = "io"))]
    readable: Option<Readable<'a>>,
}

/// Tells that the loop's file descriptor can be read.
#[cfg(all(unix, feature = "io"))]
struct Readable<'a> {
    wait: Box<dyn FnMut() -> BoxFuture<'a> + 'a>,
    waiting: Option<BoxFuture<'a>>,
}

impl<'a> Drive<'a> {
    /// How much of the loop runs in a poll; 128 steps and no more than half a millisecond, unless this says otherwise. Whoever shares
    /// the other executor waits that long.
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

    /// For a loop with sockets: `readable` makes a future that is ready when the loop's [`as_fd`](EventLoop::as_fd) can be read,
    /// and it is called anew each time. If it is told of changes alone, as tokio's `AsyncFd` is, it is to forget that it was ready
    /// before it returns (`clear_ready`): the turn that follows looks at everything. Without it, sockets are looked at only when something else wakes the loop.
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
    ///     let listener = net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
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

    /// Waits for the host's timer. Whether its moment has come.
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

    /// Waits for the file descriptor. Whether it can be read.
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
        // Before the turn: from its end on, somebody may call.
        let before = kernel.inbox().set_driver(this.number, Some(context.waker().clone()));
        kernel.attach_driver();
        drop(before);
        let turn = this.event_loop.turn_within(this.budget);
        kernel.told_driver();
        if turn.tasks == 0 && turn.is_idle() {
            return Poll::Ready(());
        }
        let has_work = match turn.next_deadline {
            // A virtual clock jumps there.
            Some(_) if !turn.is_idle() || kernel.clock.is_virtual() => true,
            Some(deadline) => this.poll_timer(deadline, context),
            None => {
                this.sleeping = None;
                false
            }
        };
        // Also if there is work, so that sockets are heard of meanwhile.
        if this.poll_io(context) || has_work {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl Drop for Drive<'_> {
    fn drop(&mut self) {
        let kernel = &self.event_loop.kernel;
        // Foreign, so it is dropped last.
        let _before = kernel.inbox().set_driver(self.number, None);
        if self.number > 0 {
            // What was told to this one alone is told to others who drive the loop, or to its host.
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
