//! Signals of the operating system: Ctrl-C that ends a program in order, one that prints what its tasks wait for, and
//! [`listen`] for any other.
//!
//! Behind the feature `signals`, which is off by default, and on Unix alone. There is one thread for them,
//! "onelane-signals", which is started when a process first asks for a signal.
//!
//! [`Builder::cancel_on_ctrl_c`](crate::Builder::cancel_on_ctrl_c) makes a loop that ends in order:
//!
//! ```
//! use onelane::{EventLoop, RunError};
//!
//! let event_loop = EventLoop::builder().cancel_on_ctrl_c(true).build();
//! let result = event_loop.try_run(async {
//!     // In place of your Ctrl-C.
//! #   signal_hook::low_level::raise(onelane::signals::SIGINT).unwrap();
//!     std::future::pending::<()>().await
//! });
//! assert!(matches!(result, Err(RunError::Interrupted)));
//! ```

// How a signal comes to a loop:
//
//   the handler, on any thread, at any moment      the thread "onelane-signals"     the loop's thread
//     the default action, if nobody listens
//     a byte into a pipe ------------------------>   who listens? a message ----->    a callback: wakes, or
//     with Ctrl-C: the next is the default's                                          cancels the main task, or
//                                                                                     prints the call graph
//
// A handler may take no lock and no memory, so it does not touch an inbox: it sets a flag and writes a byte, and that is all. A
// handler that was installed stays, so a signal that nobody listens for any more would be ignored. The flag `default_now` is the
// way back: while it is true, the handler does what would be done without it.
//
// The hub does not know what is cancelled or woken: that is in the closures that it calls. Next: `event_loop.rs`, which holds a
// `CtrlC` while a main task runs.

use crate::inspect::call_graph::print_call_graph;
use crate::kernel::callbacks::exceptions;
use crate::kernel::cell::Header;
use crate::kernel::table::records::{Awaited, Wait};
use crate::kernel::{Kernel, Message, clone_uncounted, context};
use crate::leaf::{Record, running};
use crate::outside::remote::Remote;
use signal_hook::iterator::{Handle, Signals as Arrivals};
use signal_hook::low_level::{signal_name, unregister};
use signal_hook::{SigId, flag};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::thread;

#[doc(no_inline)]
pub use signal_hook::consts::{
    SIGALRM, SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2, SIGWINCH,
};

/// Listens for a signal, which from now on does not do what it does by default.
///
/// Every listener hears every signal, also several of the same signal, also of different loops. Signals that come before the last
/// one was taken with [`next`](Signals::next) count as one, as they do for the system. A signal comes to the loop at the
/// beginning of a turn, some moments after it was sent, and at most once a turn. With the last listener of a signal its
/// default action comes back, if it had that before.
///
/// On a virtual clock, the loop waits for signals instead of reporting a deadlock as long as a listener is there; its clock
/// jumps all the same.
///
/// asyncio: `loop.add_signal_handler(signal, callback)`; dropping the listener is `remove_signal_handler`.
///
/// # Errors
///
/// If there is no such signal, if nobody can listen for it (`SIGKILL`, `SIGSTOP`, `SIGILL`, `SIGFPE`, `SIGSEGV`), or if the
/// thread for signals could not be started.
///
/// # Panics
///
/// If no loop is running on this thread.
///
/// # Cost
///
/// A thread for the process, and a few allocations; two more for each signal that comes.
///
/// # Examples
///
/// ```
/// use onelane::EventLoop;
/// use onelane::signals::{self, SIGTERM};
///
/// EventLoop::with_virtual_clock().run(async {
///     let mut terminations = signals::listen(SIGTERM).unwrap();
///     // In place of `kill`.
/// #   signal_hook::low_level::raise(SIGTERM).unwrap();
///     terminations.next().await;
/// });
/// ```
#[doc(alias = "add_signal_handler")]
#[track_caller]
pub fn listen(signal: i32) -> io::Result<Signals> {
    let kernel = running("signals::listen()");
    let shared = Arc::new(Shared { on_its_way: AtomicBool::new(false), state: Mutex::default() });
    let remote = Remote::to(&kernel);
    let copy = shared.clone();
    let ear = Ear::new(signal, Listener::Other, move || {
        // One message at a time, however many signals come while the loop is busy.
        if !copy.on_its_way.swap(true, Ordering::SeqCst) {
            let shared = copy.clone();
            // If the loop has gone, nobody waits.
            let _gone = remote.call_soon(move || shared.arrive());
        }
    })?;
    Ok(Signals { ear, shared, loop_id: kernel.id(), waits_for: Rc::new(ASignal(signal)) })
}

/// Listens for a signal; see [`listen`]. Dropping it ends that.
///
/// # Examples
///
/// ```
/// use onelane::EventLoop;
/// use onelane::signals::{self, SIGUSR1};
///
/// EventLoop::with_virtual_clock().run(async {
///     let mut listeners = [(); 2].map(|()| signals::listen(SIGUSR1).unwrap());
///     // In place of `kill -USR1`.
/// #   signal_hook::low_level::raise(SIGUSR1).unwrap();
///     for listener in &mut listeners {
///         listener.next().await; // each hears it
///     }
///     assert_eq!(listeners.len(), 2);
/// });
/// ```
#[derive(Debug)]
#[must_use = "dropping a listener gives the signal back its default action"]
pub struct Signals {
    ear: Ear,
    shared: Arc<Shared>,
    loop_id: u64,
    waits_for: Rc<ASignal>,
}

impl Signals {
    /// Waits for a signal. One that has come since the last one was taken counts.
    ///
    /// Cancel safety: nothing is lost; a signal that was not taken is there for the next call.
    ///
    /// # Panics
    ///
    /// When polled in another loop than the listener's.
    ///
    /// # Cost
    ///
    /// No allocation of its own.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::signals::{self, SIGHUP};
    /// use std::time::Duration;
    ///
    /// onelane::EventLoop::with_virtual_clock().run(async {
    ///     let mut hangups = signals::listen(SIGHUP).unwrap();
    ///     let early = onelane::timeout(Duration::from_secs(1), hangups.next()).await;
    ///     assert!(early.is_err());
    /// #   signal_hook::low_level::raise(SIGHUP).unwrap();
    ///     // After `kill -HUP`:
    ///     hangups.next().await;
    /// });
    /// ```
    #[allow(clippy::should_implement_trait, reason = "the word that streams have for it")]
    #[track_caller]
    pub fn next(&mut self) -> Next<'_> {
        Next { signals: self, record: Record::here() }
    }

    /// The number of the signal.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::EventLoop;
    /// use onelane::signals::{self, SIGTERM, SIGUSR2};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let listeners = [SIGTERM, SIGUSR2].map(|signal| signals::listen(signal).unwrap());
    ///     let numbers: Vec<i32> = listeners.iter().map(|listener| listener.signal()).collect();
    ///     assert_eq!(numbers, [SIGTERM, SIGUSR2]);
    /// });
    /// ```
    pub fn signal(&self) -> i32 {
        self.ear.signal
    }
}

/// The future of [`Signals::next`].
///
/// # Examples
///
/// ```
/// use futures_util::future::{Either, select};
/// use onelane::EventLoop;
/// use onelane::signals::{self, SIGUSR1, SIGUSR2};
///
/// EventLoop::with_virtual_clock().run(async {
///     let (mut reload, mut report) = (signals::listen(SIGUSR1).unwrap(), signals::listen(SIGUSR2).unwrap());
///     // In place of `kill -USR2`.
/// #   signal_hook::low_level::raise(SIGUSR2).unwrap();
///     // It is `Unpin`, as `select` asks for.
///     let came = select(reload.next(), report.next()).await;
///     assert!(matches!(came, Either::Right(_)));
/// });
/// ```
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub struct Next<'a> {
    signals: &'a mut Signals,
    record: Record,
}

impl Future for Next<'_> {
    type Output = ();

    #[track_caller]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let kernel = context::running().filter(|kernel| kernel.id() == this.signals.loop_id);
        let Some(kernel) = kernel else {
            panic!(
                "poll() of Signals::next() was called where its loop is not; listen in the loop that waits for the signal"
            )
        };
        // Cloning and dropping a waker may be foreign code: both happen outside of the lock. It is woken on this thread, and the
        // listener's `Remote` keeps the loop waiting.
        let waker = clone_uncounted(context.waker());
        let mut state = this.signals.shared.lock();
        if std::mem::take(&mut state.came) {
            drop(state);
            this.record.end();
            return Poll::Ready(());
        }
        let old = state.waker.replace(waker);
        drop(state);
        drop(old);
        let waits_for = &this.signals.waits_for;
        this.record.begin(&kernel, || Wait::On(Rc::downgrade(waits_for) as Weak<dyn Awaited>));
        Poll::Pending
    }
}

impl Drop for Next<'_> {
    fn drop(&mut self) {
        self.record.end();
        let waker = self.signals.shared.lock().waker.take();
        drop(waker);
    }
}

/// What is waited for.
#[derive(Debug)]
struct ASignal(i32);

impl Awaited for ASignal {
    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "signal {}", signal_name(self.0).unwrap_or("?"))
    }
}

/// Between the thread for signals and a listener.
#[derive(Debug)]
struct Shared {
    /// A message that a signal has come is on its way to the loop.
    on_its_way: AtomicBool,
    /// Used on the loop's thread alone.
    state: Mutex<State>,
}

#[derive(Default, Debug)]
struct State {
    came: bool,
    waker: Option<Waker>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// On the loop's thread, in a callback.
    fn arrive(&self) {
        self.on_its_way.store(false, Ordering::SeqCst);
        let waker = {
            let mut state = self.lock();
            state.came = true;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

// ---- Ctrl-C ----

/// While a main task runs: the first Ctrl-C cancels it, the second ends the process.
pub(crate) struct CtrlC {
    /// None if it is not wanted, or not to be had.
    ear: Option<Ear>,
    /// A Ctrl-C found the main task alive, and has cancelled it.
    has_cancelled: Arc<AtomicBool>,
    /// Something may come from elsewhere.
    _remote: Option<Remote>,
}

impl CtrlC {
    /// As in asyncio, a program runs without this if it is not to be had.
    pub(crate) fn watch(wanted: bool, kernel: &Kernel, main: &Header) -> Self {
        let has_cancelled = Arc::new(AtomicBool::new(false));
        let (inbox, loop_id, token) = (kernel.inbox(), kernel.id(), main.token());
        let copy = has_cancelled.clone();
        // On a virtual clock a program that cannot go on is one, also if somebody could press Ctrl-C. In debug mode on a
        // real clock it may be waiting for just that.
        let remote = (wanted && !kernel.clock.is_virtual()).then(|| Remote::to(kernel));
        let hear = move || {
            let has_cancelled = copy.clone();
            let cancel = Box::new(move || {
                let kernel = context::running().expect("a callback is called in a turn of its loop");
                if let Some(main) = kernel.table.task(token) {
                    has_cancelled.store(true, Ordering::Relaxed);
                    kernel.cancel(&main);
                }
            });
            // If the loop has gone, so has its main task.
            drop(inbox.send(loop_id, Message::Call(cancel)));
        };
        let ear = if wanted { Ear::new(SIGINT, Listener::Run, hear).ok() } else { None };
        CtrlC { _remote: remote.filter(|_| ear.is_some()), ear, has_cancelled }
    }

    /// The main task has ended. Returns whether that, if it was cancelled, was Ctrl-C's doing alone.
    pub(crate) fn end(self, main: &Header) -> bool {
        drop(self.ear);
        self.has_cancelled.load(Ordering::Relaxed) && main.cancelling.get() <= 1
    }
}

// ---- the call graph ----

/// While a loop lives: each time the signal comes, the loop prints its call graph.
#[derive(Debug)]
pub(crate) struct Printer {
    _ear: Ear,
}

impl Printer {
    /// None if it is not to be had.
    ///
    /// # Panics
    ///
    /// If there is no such signal, or nobody can listen for it.
    #[track_caller]
    pub(crate) fn on(signal: i32, kernel: &Kernel) -> Option<Self> {
        let (inbox, loop_id) = (kernel.inbox(), kernel.id());
        let on_its_way = Arc::new(AtomicBool::new(false));
        // Not a `Remote`, for the reason of Ctrl-C.
        let hear = move || {
            if !on_its_way.swap(true, Ordering::SeqCst) {
                let on_its_way = on_its_way.clone();
                let print = Box::new(move || {
                    on_its_way.store(false, Ordering::SeqCst);
                    print_call_graph();
                });
                // If the loop has gone, there is nothing to print.
                drop(inbox.send(loop_id, Message::Call(print)));
            }
        };
        match Ear::new(signal, Listener::Other, hear) {
            Ok(ear) => Some(Printer { _ear: ear }),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                panic!("Builder::print_call_graph_on({signal}) was asked for, but {error}")
            }
            Err(_) => None,
        }
    }
}

// ---- who listens for what, in the whole process ----

/// Never locked by a handler. No foreign code runs under the lock.
static HUB: Mutex<Option<Hub>> = Mutex::new(None);

struct Hub {
    /// Adds signals to those that the thread for signals hears of.
    arrivals: Handle,
    signals: BTreeMap<i32, Watched>,
    /// The number of the last ear.
    numbered: u64,
}

/// A signal for which somebody has listened. It stays: its handler does too.
struct Watched {
    /// Before it was first listened for, the signal was neither ignored nor handled. Whoever handled it is called all the time.
    was_default: bool,
    /// Whether the handler does the default action. Written by the handler itself when a fuse is in.
    default_now: Arc<AtomicBool>,
    /// In the order in which they came.
    ears: BTreeMap<u64, (Listener, Hear)>,
    /// Set by the handler: a signal has come that no run has heard of.
    came: Arc<AtomicBool>,
    /// So many of the ears are runs'.
    runs: usize,
    /// While there are runs: the part of the handler that makes `default_now` true, so that the next signal ends the process
    /// even if all other threads are stuck.
    fuse: Option<SigId>,
}

/// Called on the thread for signals.
type Hear = Arc<dyn Fn() + Send + Sync>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Listener {
    /// A loop that runs a main task.
    Run,
    Other,
}

/// An entry of the hub, until it is dropped.
#[derive(Debug)]
struct Ear {
    signal: i32,
    number: u64,
    listener: Listener,
}

impl Ear {
    fn new(signal: i32, listener: Listener, hear: impl Fn() + Send + Sync + 'static) -> io::Result<Self> {
        // Dropped, if that is to be, behind the lock.
        let hear: Hear = Arc::new(hear);
        let mut hub = lock();
        let hub = match &mut *hub {
            Some(hub) => hub,
            none => none.insert(Hub::start()?),
        };
        let number = hub.add(signal, listener, hear.clone())?;
        Ok(Ear { signal, number, listener })
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        let hear = lock().as_mut().and_then(|hub| hub.remove(self));
        drop(hear);
    }
}

fn lock() -> MutexGuard<'static, Option<Hub>> {
    HUB.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Hub {
    fn start() -> io::Result<Self> {
        let mut arrivals = Arrivals::new(std::iter::empty::<i32>())?;
        let hub = Hub { arrivals: arrivals.handle(), signals: BTreeMap::new(), numbered: 0 };
        thread::Builder::new().name("onelane-signals".into()).spawn(move || {
            for signal in arrivals.forever() {
                let ears: Vec<Hear> = lock().as_ref().map_or_else(Vec::new, |hub| hub.take_ears(signal));
                for hear in ears {
                    // It wakes a loop, and may call its hook, or it wakes a task of somebody else's executor. A panic of these must
                    // not end this thread, on which everybody's signals arrive.
                    exceptions::tolerate(0, exceptions::IN_A_WAKER, move || hear());
                }
            }
        })?;
        Ok(hub)
    }

    /// Who is to hear of a signal that has arrived. It may have come in a run that is over, and then it is not for the next.
    fn take_ears(&self, signal: i32) -> Vec<Hear> {
        let Some(watched) = self.signals.get(&signal) else { return Vec::new() };
        let fresh = watched.came.swap(false, Ordering::SeqCst);
        let hears = |(listener, _): &&(Listener, Hear)| fresh || *listener == Listener::Other;
        watched.ears.values().filter(hears).map(|(_, hear)| hear.clone()).collect()
    }

    fn add(&mut self, signal: i32, listener: Listener, hear: Hear) -> io::Result<u64> {
        if !self.signals.contains_key(&signal) {
            self.signals.insert(signal, Watched::new(signal, &self.arrivals)?);
        }
        let watched = self.signals.get_mut(&signal).expect("it was put there");
        if listener == Listener::Run {
            watched.add_run(signal)?;
        }
        self.numbered += 1;
        watched.ears.insert(self.numbered, (listener, hear));
        watched.settle();
        Ok(self.numbered)
    }

    /// What comes back is to be dropped where nothing is locked.
    fn remove(&mut self, ear: &Ear) -> Option<Hear> {
        let watched = self.signals.get_mut(&ear.signal)?;
        let hear = watched.ears.remove(&ear.number).map(|(_, hear)| hear);
        if ear.listener == Listener::Run {
            watched.remove_run();
        }
        watched.settle();
        hear
    }
}

impl Watched {
    /// The parts of a handler run in the order in which they were registered: first the default action, then the flag that it has
    /// come, then the pipe, and the fuse last.
    fn new(signal: i32, arrivals: &Handle) -> io::Result<Self> {
        let refuse = |why| Err(io::Error::new(io::ErrorKind::InvalidInput, format!("signal {signal} {why}")));
        if signal_hook::consts::FORBIDDEN.contains(&signal) {
            return refuse("cannot be listened for; choose one that a process can live with");
        }
        if signal_name(signal).is_none() {
            return refuse("is not known; choose one of those in onelane::signals");
        }
        let was_default = is_default(signal);
        // Until somebody listens, which is about to happen.
        let default_now = Arc::new(AtomicBool::new(was_default));
        flag::register_conditional_default(signal, default_now.clone())?;
        let came = Arc::new(AtomicBool::new(false));
        flag::register(signal, came.clone())?;
        arrivals.add_signal(signal)?;
        Ok(Watched { was_default, default_now, ears: BTreeMap::new(), came, runs: 0, fuse: None })
    }

    /// A loop begins to run. The first signal is its, the second is not.
    fn add_run(&mut self, signal: i32) -> io::Result<()> {
        if self.runs == 0 {
            self.fuse = Some(flag::register(signal, self.default_now.clone())?);
            self.default_now.store(false, Ordering::SeqCst);
            // What came before is not for this run, though it may not have been read yet.
            self.came.store(false, Ordering::SeqCst);
        }
        self.runs += 1;
        Ok(())
    }

    fn remove_run(&mut self) {
        self.runs -= 1;
        if self.runs == 0 {
            if let Some(fuse) = self.fuse.take() {
                // Waits for handlers that are running: none makes the flag true after this.
                unregister(fuse);
            }
        }
    }

    /// Somebody came or went. While there are runs, the fuse alone decides.
    fn settle(&self) {
        if self.runs == 0 {
            self.default_now.store(self.was_default && self.ears.is_empty(), Ordering::SeqCst);
        }
    }
}

/// Whether a signal is neither ignored nor handled, as Linux tells it; elsewhere nobody can be asked without unsafe code,
/// and it is taken for granted.
fn is_default(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let in_mask = |name: &str| {
        let mask = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
            .is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
    };
    !in_mask("SigIgn") && !in_mask("SigCgt")
}
