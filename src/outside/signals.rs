//! Signals of the operating system: Ctrl-C that ends a program cleanly, a signal that prints the
//! call graph, and [`listen`] for all others.
//!
//! With the feature `signals`, which is off by default, on Unix. One thread per process handles
//! them, "onelane-signals". It is started when a process first uses a signal.
//!
//! [`LoopBuilder::cancel_on_ctrl_c`](crate::LoopBuilder::cancel_on_ctrl_c) builds a loop that ends
//! cleanly:
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
// A handler may take no lock and allocate no memory, so it does not touch an inbox: it only sets a
// flag and writes a byte. An installed handler stays, so a signal without listeners would be
// ignored. The flag `default_now` prevents that: while it is true, the handler performs the default
// action.
//
// The hub calls closures, and does not know what they cancel or wake. Next: `event_loop.rs`, which
// keeps a `CtrlC` while a main task runs.

#[cfg(feature = "report")]
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
#[cfg(feature = "stream")]
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::thread;

#[doc(no_inline)]
pub use signal_hook::consts::{
    SIGALRM, SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2, SIGWINCH,
};

/// Listens for a signal, which from now on does not have its default effect.
///
/// Every listener receives every signal, even if there are several for the same signal or in
/// different loops. Signals that arrive before [`next`](Signals::next) has taken the last one count
/// as one, as they do in the operating system. A signal reaches the loop at the beginning of a
/// turn, shortly after it was sent, and at most once per turn. When the last listener of a signal
/// is dropped, the signal has its default effect again, if it had that before.
///
/// On a virtual clock, the loop waits for signals instead of reporting a deadlock while a listener
/// exists; its clock still jumps.
///
/// asyncio: `loop.add_signal_handler(signal, callback)`; dropping the listener is
/// `remove_signal_handler`.
///
/// # Errors
///
/// If the signal does not exist or cannot be handled (`SIGKILL`, `SIGSTOP`, `SIGILL`, `SIGFPE`,
/// `SIGSEGV`), or if the thread for signals cannot be started.
///
/// # Panics
///
/// If no loop is running on this thread.
///
/// # Cost
///
/// One thread per process, and a few allocations; two more per signal that arrives.
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
    Ok(Signals {
        listening: Listening::new(signal, &kernel)?,
        loop_id: kernel.id(),
        #[cfg(feature = "stream")]
        begun: None,
        #[cfg(feature = "stream")]
        made_at: Location::caller(),
    })
}

/// A listener for a signal; see [`listen`]. Dropping it ends the listening.
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
///         listener.next().await; // each receives it
///     }
///     assert_eq!(listeners.len(), 2);
/// });
/// ```
#[derive(Debug)]
#[must_use = "dropping a listener gives the signal back its default action"]
pub struct Signals {
    listening: Listening,
    loop_id: u64,
    /// The record of the stream, after a pending poll.
    #[cfg(feature = "stream")]
    begun: Option<Begun>,
    #[cfg(feature = "stream")]
    made_at: &'static Location<'static>,
}

/// Ends its record when it is dropped.
#[cfg(feature = "stream")]
#[derive(Debug)]
struct Begun(Record);

#[cfg(feature = "stream")]
impl Drop for Begun {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Signals {
    /// Waits for a signal. A signal that has arrived since the last one was taken counts.
    ///
    /// Cancel safety: no signal is lost; a signal that was not taken is returned by the next call.
    ///
    /// # Panics
    ///
    /// When polled in a loop other than the listener's.
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
        #[cfg(feature = "stream")]
        drop(self.begun.take());
        Next { signals: self, record: Record::here() }
    }

    #[track_caller]
    fn poll_signal(&self, record: &mut Record, context: &mut Context<'_>) -> Poll<()> {
        if context::running().is_none_or(|kernel| kernel.id() != self.loop_id) {
            panic!(
                "poll() of Signals::next() was called where its loop is not; listen in the loop that waits for the signal"
            )
        }
        if self.listening.poll(context).is_ready() {
            record.end();
            return Poll::Ready(());
        }
        record.begin(|| Wait::Outside(|signal| Rc::new(ASignal(signal)), self.signal()));
        Poll::Pending
    }

    /// Returns the number of the signal.
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
        self.listening.ear.signal
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
        this.signals.poll_signal(&mut this.record, context)
    }
}

impl Drop for Next<'_> {
    fn drop(&mut self) {
        self.record.end();
        self.signals.listening.stop_waiting();
    }
}

#[cfg(feature = "stream")]
#[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
impl futures_core::FusedFuture for Next<'_> {
    /// Never: after a signal, it waits for the next one.
    fn is_terminated(&self) -> bool {
        false
    }
}

/// The signals, without an end.
///
/// # Examples
///
/// ```
/// use futures_util::StreamExt;
/// use onelane::EventLoop;
/// use onelane::signals::{self, SIGHUP};
///
/// EventLoop::with_virtual_clock().run(async {
///     let hangups = signals::listen(SIGHUP).unwrap();
/// #   signal_hook::low_level::raise(SIGHUP).unwrap();
///     // After `kill -HUP`:
///     hangups.take(1).for_each(async |()| println!("the configuration is read again")).await;
/// });
/// ```
#[cfg(feature = "stream")]
#[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
impl futures_core::Stream for Signals {
    type Item = ();

    #[track_caller]
    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<()>> {
        let this = self.get_mut();
        let mut begun = this.begun.take().unwrap_or_else(|| Begun(Record::made_at(this.made_at)));
        let poll = this.poll_signal(&mut begun.0, context);
        this.begun = Some(begun);
        poll.map(Some)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::MAX, None)
    }
}

#[cfg(feature = "stream")]
#[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
impl futures_core::FusedStream for Signals {
    fn is_terminated(&self) -> bool {
        false
    }
}

/// The object of the wait.
#[derive(Debug)]
struct ASignal(i32);

impl Awaited for ASignal {
    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "signal {}", signal_name(self.0).unwrap_or("?"))
    }
}

/// A listener for a signal in one loop. While it exists, the loop reports no deadlock.
#[derive(Debug)]
pub(super) struct Listening {
    ear: Ear,
    shared: Arc<Shared>,
}

impl Listening {
    pub(super) fn new(signal: i32, kernel: &Kernel) -> io::Result<Self> {
        let shared = Arc::new(Shared { on_its_way: AtomicBool::new(false), state: Mutex::default() });
        let remote = Remote::to(kernel);
        let copy = shared.clone();
        let ear = Ear::new(signal, Listener::Other, move || {
            // At most one message at a time, however many signals arrive while the loop is busy.
            if !copy.on_its_way.swap(true, Ordering::SeqCst) {
                let shared = copy.clone();
                // If the loop has gone, no task waits.
                let _gone = remote.call_soon(move || shared.arrive());
            }
        })?;
        Ok(Listening { ear, shared })
    }

    /// Ready if a signal has arrived since this was ready last. One task may wait at a time. Called
    /// on the loop's thread; the waker is woken there too.
    pub(super) fn poll(&self, context: &Context<'_>) -> Poll<()> {
        // Cloning and dropping a waker may run user code: both happen while the lock is not held.
        let waker = clone_uncounted(context.waker());
        let mut state = self.shared.lock();
        if std::mem::take(&mut state.came) {
            return Poll::Ready(());
        }
        let old = state.waker.replace(waker);
        drop(state);
        drop(old);
        Poll::Pending
    }

    pub(super) fn stop_waiting(&self) {
        let waker = self.shared.lock().waker.take();
        drop(waker);
    }
}

/// Shared by the thread for signals and a listener.
#[derive(Debug)]
struct Shared {
    /// Whether a message that a signal has arrived is on its way to the loop.
    on_its_way: AtomicBool,
    /// Used only on the loop's thread.
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

    /// A signal has arrived. Called on the loop's thread, in a callback.
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

/// Exists while a main task runs: the first Ctrl-C cancels the task, the second ends the process.
pub(crate) struct CtrlC {
    /// `None` if it is not enabled, or not available.
    ear: Option<Ear>,
    /// Whether a Ctrl-C found the main task alive, and has cancelled it.
    has_cancelled: Arc<AtomicBool>,
    /// Keeps the loop waiting for messages.
    _remote: Option<Remote>,
}

impl CtrlC {
    /// As in asyncio, a program runs without Ctrl-C handling if that is not available.
    pub(crate) fn watch(wanted: bool, kernel: &Kernel, main: &Header) -> Self {
        let has_cancelled = Arc::new(AtomicBool::new(false));
        let (inbox, loop_id, token) = (kernel.inbox(), kernel.id(), main.token());
        let copy = has_cancelled.clone();
        // While a `Remote` exists, the loop reports no deadlock. On a real clock (debug mode), the
        // program may be waiting for Ctrl-C, so keep one. On a virtual clock, keep none: a program
        // that cannot continue is reported, although Ctrl-C could still come.
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

    /// Called when the main task has ended. Returns whether Ctrl-C, and no other code, has
    /// cancelled it.
    pub(crate) fn end(self, main: &Header) -> bool {
        drop(self.ear);
        self.has_cancelled.load(Ordering::Relaxed) && main.cancelling.get() <= 1
    }
}

// ---- the call graph ----

/// Exists while a loop lives: each time the signal arrives, the loop prints its call graph.
#[cfg(feature = "report")]
#[derive(Debug)]
pub(crate) struct Printer {
    _ear: Ear,
}

#[cfg(feature = "report")]
impl Printer {
    /// `None` if it is not available.
    ///
    /// # Panics
    ///
    /// If the signal does not exist, or cannot be handled.
    #[track_caller]
    pub(crate) fn on(signal: i32, kernel: &Kernel) -> Option<Self> {
        let (inbox, loop_id) = (kernel.inbox(), kernel.id());
        let on_its_way = Arc::new(AtomicBool::new(false));
        // No `Remote` is kept: a program does not wait for this signal, so a deadlock is reported
        // although the signal could still come.
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
                panic!("LoopBuilder::print_call_graph_on({signal}) was called, but {error}")
            }
            Err(_) => None,
        }
    }
}

// ---- the listeners of the whole process ----

/// The signal handlers never lock it. No user code runs under the lock.
static HUB: Mutex<Option<Hub>> = Mutex::new(None);

struct Hub {
    /// Adds signals to those that the thread for signals receives.
    arrivals: Handle,
    signals: BTreeMap<i32, Watched>,
    /// The number of the last ear.
    numbered: u64,
}

/// A signal for which there was a listener. The entry stays, because its handler stays too.
struct Watched {
    /// Whether, before it was first used, the signal was neither ignored nor handled. An earlier
    /// handler is still called.
    was_default: bool,
    /// Whether the handler performs the default action. While there is a `fuse` (below), the handler
    /// sets this to true at the first signal.
    default_now: Arc<AtomicBool>,
    /// The listeners, in the order in which they were added.
    ears: BTreeMap<u64, (Listener, Hear)>,
    /// Set by the handler: a signal has arrived that no run has received.
    came: Arc<AtomicBool>,
    /// Number of ears that belong to runs.
    runs: usize,
    /// `Some` while at least one loop runs. This action of the signal handler sets `default_now`.
    /// Then the next signal ends the process, even if all other threads are stuck.
    fuse: Option<SigId>,
}

/// Called on the thread for signals.
type Hear = Arc<dyn Fn() + Send + Sync>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Listener {
    /// A loop that runs a main task.
    Run,
    Other,
}

/// A registered listener: an entry of the hub. Dropping it removes the entry.
#[derive(Debug)]
pub(super) struct Ear {
    signal: i32,
    number: u64,
    listener: Listener,
}

impl Ear {
    pub(super) fn new(signal: i32, listener: Listener, hear: impl Fn() + Send + Sync + 'static) -> io::Result<Self> {
        // Declared before the lock's guard, so that it is dropped after the lock is released.
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
                    // This wakes a loop and may call its hook, or wakes a task of another executor.
                    // A panic in these must not end this thread, through which all signals arrive.
                    exceptions::tolerate(0, exceptions::IN_A_WAKER, move || hear());
                }
            }
        })?;
        Ok(hub)
    }

    /// The listeners that receive a signal that has arrived. If it arrived during a run that has
    /// ended, it is not for the next run.
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

    /// Removes a listener. Returns what it called, to be dropped where no lock is held.
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
    /// The parts of a handler run in the order of registration: first the default action, then the
    /// flag that a signal has arrived, then the pipe, and the fuse last.
    fn new(signal: i32, arrivals: &Handle) -> io::Result<Self> {
        let refuse = |why| Err(io::Error::new(io::ErrorKind::InvalidInput, format!("signal {signal} {why}")));
        if signal_hook::consts::FORBIDDEN.contains(&signal) {
            return refuse("cannot be listened for; choose one that a process can live with");
        }
        if signal_name(signal).is_none() {
            return refuse("is not known; choose one of those in onelane::signals");
        }
        let was_default = is_default(signal);
        // There is no listener yet. The caller adds one.
        let default_now = Arc::new(AtomicBool::new(was_default));
        flag::register_conditional_default(signal, default_now.clone())?;
        let came = Arc::new(AtomicBool::new(false));
        flag::register(signal, came.clone())?;
        arrivals.add_signal(signal)?;
        Ok(Watched { was_default, default_now, ears: BTreeMap::new(), came, runs: 0, fuse: None })
    }

    /// A loop begins to run. It receives the first signal; the second performs the default action.
    fn add_run(&mut self, signal: i32) -> io::Result<()> {
        if self.runs == 0 {
            self.fuse = Some(flag::register(signal, self.default_now.clone())?);
            self.default_now.store(false, Ordering::SeqCst);
            // The thread for signals may not have read an earlier signal yet. That signal is not
            // for this run.
            self.came.store(false, Ordering::SeqCst);
        }
        self.runs += 1;
        Ok(())
    }

    fn remove_run(&mut self) {
        self.runs -= 1;
        if self.runs == 0 {
            if let Some(fuse) = self.fuse.take() {
                // This waits for handlers that are running. After it, none sets the flag.
                unregister(fuse);
            }
        }
    }

    /// A listener was added or removed. While a loop runs, only `fuse` decides.
    fn settle(&self) {
        if self.runs == 0 {
            self.default_now.store(self.was_default && self.ears.is_empty(), Ordering::SeqCst);
        }
    }
}

/// Whether a signal is neither ignored nor handled, as Linux reports it. Other systems report this
/// only to unsafe code; there the result is true.
fn is_default(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let in_mask = |name: &str| {
        let mask = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
            .is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
    };
    !in_mask("SigIgn") && !in_mask("SigCgt")
}
