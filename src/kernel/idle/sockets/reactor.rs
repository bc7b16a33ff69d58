//! The reactor: sources that can be read or written, and the tasks that wait for them. With it, a
//! loop waits in the poller instead of parking.
//!
//! A source has two sides. Each side is *ready*, as far as is known, or tasks wait for it:
//!
//! ```text
//!              somebody found that it would block, and waits
//!      ready --------------------------------------------------> awaited
//!        ^                                                          |
//!        +----------------------------------------------------------+
//!              the poller says that it can be read (or written): all who wait are woken
//! ```
//!
//! If "ready" is wrong, the next operation is a system call in vain: it would block. Only then is
//! the side "not ready", with one exception. If a read from a TCP connection returns fewer bytes
//! than the buffer holds, nothing more is there, except what follows urgent data, which epoll
//! reports. So the next read waits at once; that saves one system call per request. For other
//! types, a short read means nothing: a read from a Unix socket ends at a passed descriptor, and a
//! type that reads from a buffer of its own may return any length.
//!
//! We considered three ways to report readiness. They differ in system calls per wait:
//!
//! - **One-shot**, the default of `polling`: each wait is a system call, to arm the poller.
//! - **Level-triggered**: the poller reports a side at every poll while it is ready. A wait needs
//!   no system call. But the kernel checks each reported side again at the next poll, and does not
//!   report sides in order of arrival. With 256 connections under full load, the slowest one per
//!   cent of the answers came a third later than tokio's. A side that no task waits for has to be
//!   disabled.
//! - **Edge-triggered**: the poller reports a side once, when it becomes ready. A wait needs no
//!   system call, and sides are reported in order of arrival. But if the end of the stream arrives
//!   with the last bytes, both are reported once, and a reader that stops after a short read would
//!   miss the end. epoll reports the end separately (`RDHUP`).
//!
//! On Linux the reactor uses edges. A side that is *ended*, or whose last report was *vague*
//! (`idle/sockets/poller.rs`), is always tried, until an operation would block. On other systems
//! the `polling` crate does not report the end, so the reactor uses level-triggered mode there. If
//! a second poll reports a side that is already known to be ready, no task wants that side at the
//! moment. The reactor disables the side until a task waits for it. (Some errors stay when the side
//! is read, such as a queue of errors that was requested and is never read. The reactor cannot
//! disable these while a task waits.)
//!
//! A wait and a wake therefore cost no system call of their own, only the shared call to the
//! poller. `Async::readable` waits without an operation; it asks the poller to report once more.
//!
//! This file knows tasks only by their tokens.

use crate::kernel::clock::{Clock, Time};
use crate::kernel::idle::sockets::poller::{News, Waiting};
pub(crate) use crate::kernel::idle::sockets::source::SourceKey;
use crate::kernel::idle::sockets::watched::Watched;
use crate::kernel::table::records::Awaited;
use crate::kernel::table::records::WaitKey;
use crate::kernel::table::waker::wakes_the_same;
use crate::kernel::token::Token;
use polling::{Event, Poller};
use rustix::net::{getpeername, getsockname};
use slab::Slab;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::{Rc, Weak};
use std::sync::{Arc, Weak as ArcWeak};
use std::task::Waker;
use std::time::Duration;

/// Anything with a file descriptor.
pub(crate) trait Descriptor: AsFd + Send + Sync + 'static {
    /// What it is called in reports.
    fn kind(&self) -> &'static str;
}

/// A side of a source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    Read,
    Write,
}

/// Time between two polls of the sockets in a busy loop. A poll takes about a microsecond, which is
/// one per cent of that.
const EVERY: Duration = Duration::from_micros(100);

/// Size of the loop's own read buffer.
#[cfg(any(feature = "hyper", feature = "tokio-io"))]
pub(crate) const SCRATCH: usize = 64 * 1024;

/// After at least this many new wakers at a side of a source, the older wakers there are woken, to
/// see which still wait.
const MANY: usize = 16;

/// A task that was woken to see whether it still waits polls again within this many turns.
const PATIENCE: u64 = 16;

/// The number of operations that may succeed in one step before their task lets others run.
const PORTION: u32 = 64;

/// The number of operations then refused in the same step, so that all branches of a `select!`
/// suspend. After them, operations succeed again: an executor inside the task may poll until then.
const REFUSED: u32 = 1024;

/// The time that the operations of one step may take together.
const PORTION_LASTS: Duration = Duration::from_micros(50);

/// The number of operations before the clock is read the first time. A request and its answer need
/// no more. After that, the clock is read before every second operation.
const UNTIMED: u32 = 2;

pub(crate) struct Reactor {
    waiting: Waiting,
    /// Borrowed only in this file, while no user code runs: the caller drops what is taken out.
    sources: RefCell<Slab<Source>>,
    /// Number of sides for which tasks wait.
    awaited: Cell<usize>,
    /// The number of the last source, and of the last waiter.
    numbered: Cell<u64>,
    looked_at: Cell<Time>,
    /// Number of polls so far.
    looks: Cell<u64>,
    /// The memory of the last list of woken waiters, to be reused.
    woken: Cell<Vec<Waiter>>,
    portion: Cell<Portion>,
    /// A read buffer for callers whose own is not initialized.
    #[cfg(any(feature = "hyper", feature = "tokio-io"))]
    scratch: Cell<Vec<u8>>,
}

/// The operations of one step of a task.
#[derive(Clone, Copy)]
struct Portion {
    task: Token,
    turn: u64,
    /// Number of operations in this step. From `PORTION` on, it counts refused ones.
    operations: u32,
    /// The time after the first `UNTIMED` operations.
    timed_from: Time,
}

struct Source {
    number: u64,
    watched: Watched<dyn Descriptor>,
    sides: [State; 2],
    /// Woken by the next report. No task waits with it, so it does not count as a waiter.
    #[cfg(feature = "process")]
    watcher: Option<Waker>,
}

#[derive(Default)]
struct State {
    ready: bool,
    /// The end, or an error, was reported, and will not be reported again.
    ended: bool,
    /// Urgent bytes have arrived. More may follow.
    is_urgent: bool,
    /// The last report may have included an end or urgent bytes. The next operation shows this: it
    /// would block if there are none.
    is_vague: bool,
    /// The number of the last poll that reported this side as ready.
    told_in: u64,
    /// The poller reports this side.
    is_on: bool,
    /// The waiters. Empty while the side is ready.
    waiters: Vec<Waiter>,
    /// The number of them that were registered by polls.
    polled: Polled,
    /// The object of these waits, for reports.
    awaited: Option<Rc<ASide>>,
}

/// Waiters that were registered by polls. An abandoned poll does not deregister, and cannot be
/// distinguished from one that still waits. So these waiters are woken from time to time, and those
/// that still wait poll again.
#[derive(Default)]
struct Polled {
    /// The number of new wakers since the waiters of this side were last woken, to see which still
    /// wait.
    fresh: usize,
    /// The number of woken waiters that have been registered again since then.
    living: usize,
    /// The wakers of the other woken waiters, with the turns in which they were woken.
    asked: Vec<(u64, Waker)>,
}

/// A waiter for a side. After it is taken out of the reactor, it must be woken or dropped where
/// nothing is borrowed.
#[derive(Debug)]
pub(crate) struct Waiter {
    number: u64,
    /// Registered by a poll, so it is not removed when its future is dropped.
    is_polled: bool,
    pub(crate) waker: Waker,
    /// The record of this wait.
    pub(crate) wait: Option<WaitKey>,
}

/// A waiter to be woken, to see whether it still waits.
#[derive(Default)]
pub(crate) struct Asked {
    pub(crate) waiters: Vec<Waiter>,
    /// The old waker of a waiter that was woken and has polled again. Dropped with this.
    _came: Option<Waker>,
}

/// The result of a poll of the sockets.
pub(crate) struct Heard {
    /// To be woken, where nothing is borrowed.
    pub(crate) woken: Vec<Waiter>,
    /// The next poll will report more, unless the events left concern sides that no task wants.
    pub(crate) has_more: bool,
}

/// The rest of a removed source, to be dropped where nothing is borrowed.
pub(crate) struct Removed {
    pub(crate) waiters: Vec<Waiter>,
    pub(crate) watched: Watched<dyn Descriptor>,
    _asked: Vec<(u64, Waker)>,
    #[cfg(feature = "process")]
    _watcher: Option<Waker>,
}

impl Reactor {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Reactor {
            waiting: Waiting::new()?,
            sources: RefCell::default(),
            awaited: Cell::new(0),
            numbered: Cell::new(0),
            looked_at: Cell::new(Time(0)),
            looks: Cell::new(0),
            woken: Cell::default(),
            portion: Cell::new(Portion { task: Token::NOBODY, turn: 0, operations: 0, timed_from: Time(0) }),
            #[cfg(any(feature = "hyper", feature = "tokio-io"))]
            scratch: Cell::default(),
        })
    }

    pub(crate) fn poller(&self) -> &Arc<Poller> {
        self.waiting.poller()
    }

    /// Whether a task waits for any source.
    #[inline]
    pub(crate) fn is_awaited(&self) -> bool {
        self.awaited.get() > 0
    }

    fn number(&self) -> u64 {
        self.numbered.set(self.numbered.get() + 1);
        self.numbered.get()
    }

    // ---- sources ----

    /// Registers a source until `remove`. The poller reports `first` from now on; that side does
    /// not count as ready, the other side does.
    pub(crate) fn add(&self, source: Arc<dyn Descriptor>, first: Side) -> io::Result<SourceKey> {
        let mut watched = Watched::new(self.poller().clone(), source);
        let mut sources = self.sources.borrow_mut();
        let (entry, number) = (sources.vacant_entry(), self.number());
        let index = entry.key();
        let interest = Event::new(index, first == Side::Read, first == Side::Write);
        let begun = self.waiting.watch(&mut watched, interest);
        if let Err(error) = begun {
            // The source is dropped after the borrow.
            drop(sources);
            return Err(error);
        }
        let side = |side| State { ready: side != first, is_on: side == first, ..State::default() };
        entry.insert(Source {
            number,
            watched,
            sides: [side(Side::Read), side(Side::Write)],
            #[cfg(feature = "process")]
            watcher: None,
        });
        Ok(SourceKey { index, number })
    }

    pub(crate) fn remove(&self, key: SourceKey) -> Option<Removed> {
        let mut sources = self.sources.borrow_mut();
        let is_it = sources.get(key.index).is_some_and(|source| source.number == key.number);
        let source = is_it.then(|| sources.remove(key.index))?;
        let (mut waiters, mut asked) = (Vec::new(), Vec::new());
        for side in source.sides {
            self.awaited.set(self.awaited.get() - usize::from(!side.waiters.is_empty()));
            waiters.extend(side.waiters);
            asked.extend(side.polled.asked);
        }
        Some(Removed {
            waiters,
            watched: source.watched,
            _asked: asked,
            #[cfg(feature = "process")]
            _watcher: source.watcher,
        })
    }

    /// The next report about a source wakes `waker`. The loop does not wait for that: it may report
    /// a deadlock before. Returns the waker of an earlier call, or `waker` itself if the source was
    /// removed, to be dropped where nothing is borrowed.
    #[cfg(feature = "process")]
    pub(crate) fn watch(&self, key: SourceKey, waker: Waker) -> Option<Waker> {
        let mut sources = self.sources.borrow_mut();
        match sources.get_mut(key.index).filter(|source| source.number == key.number) {
            Some(source) => source.watcher.replace(waker),
            None => Some(waker),
        }
    }

    fn with<R>(&self, key: SourceKey, act: impl FnOnce(&mut Source) -> R) -> R {
        let mut sources = self.sources.borrow_mut();
        let source = sources.get_mut(key.index).filter(|source| source.number == key.number);
        act(source.expect("a source stays until its owner is dropped"))
    }

    // ---- readiness ----

    /// Whether an operation is worth a try.
    #[inline]
    pub(crate) fn is_ready(&self, key: SourceKey, side: Side) -> bool {
        self.with(key, |source| source.sides[side as usize].ready)
    }

    /// Counts an operation of this task, and returns whether it may be tried now. If not, the task
    /// should suspend, so that others run, even if more data is there. After `REFUSED` refusals in
    /// one step it may go on.
    #[inline]
    pub(crate) fn may_go_on(&self, task: Token, turn: u64, clock: &Clock) -> bool {
        let mut portion = self.portion.get();
        if (portion.task, portion.turn) != (task, turn) {
            portion = Portion { task, turn, operations: 0, timed_from: Time(0) };
        }
        let may_go_on = portion.operations < UNTIMED
            || portion.operations < PORTION
                && (portion.operations % 2 == 1 || portion.has_time_at(clock.machine_time()));
        portion.operations = match portion.operations {
            operations if may_go_on => operations + 1,
            operations if operations + 1 < PORTION + REFUSED => operations.max(PORTION) + 1,
            // The task polls on in the same step, so it may operate again.
            _ => 0,
        };
        self.portion.set(portion);
        may_go_on
    }

    /// An operation would block.
    #[inline]
    pub(crate) fn exhausted(&self, key: SourceKey, side: Side) {
        self.with(key, |source| {
            let state = &mut source.sides[side as usize];
            (state.ready, state.is_vague) = (false, false);
        });
    }

    /// An operation that would have blocked is dropped. The next may ask for less, so it is tried.
    pub(crate) fn given_up(&self, key: SourceKey, side: Side) {
        self.with(key, |source| {
            let state = &mut source.sides[side as usize];
            state.ready |= state.waiters.is_empty();
        });
    }

    /// A TCP connection moved fewer bytes than requested, so the next operation would block, unless
    /// the end was reported, urgent bytes have arrived, or the last report was vague.
    #[inline]
    pub(crate) fn drained(&self, key: SourceKey, side: Side) {
        self.with(key, |source| {
            let state = &mut source.sides[side as usize];
            state.ready = state.ended || state.is_urgent || state.is_vague;
        });
    }

    /// Registers a waiter. Unless `for_news`, what is ready now and was reported before counts too.
    pub(crate) fn wait(&self, key: SourceKey, side: Side, waiter: Waiter, for_news: bool) -> io::Result<()> {
        // A separate step: if it fails, the waiter is dropped after the borrow.
        if !self.waiting.tells_edges() {
            self.with(key, |source| self.switch_on(source, key.index, side))?;
        } else if !for_news {
            self.with(key, |source| self.switch(source, key.index))?;
        }
        self.with(key, |source| {
            let state = &mut source.sides[side as usize];
            state.ready = false;
            if state.waiters.is_empty() {
                self.awaited.set(self.awaited.get() + 1);
            }
            state.waiters.push(waiter);
        });
        Ok(())
    }

    /// Creates a waiter for a side; `wait` registers it.
    pub(crate) fn waiter(&self, waker: Waker, wait: Option<WaitKey>, is_polled: bool) -> Waiter {
        Waiter { number: self.number(), is_polled, waker, wait }
    }

    /// A poll is about to wait here, and to register this waker. Returns the waiters that must be
    /// woken, to see whether they still wait; a waiter that does polls again. This happens when the
    /// number of new waiters exceeds the number of existing ones, and `MANY`. So each new waiter
    /// costs the others at most one wake.
    pub(crate) fn to_be_asked(&self, key: SourceKey, side: Side, waker: &Waker) -> Asked {
        self.with(key, |source| {
            let State { waiters, polled, .. } = &mut source.sides[side as usize];
            if let Some(place) = polled.asked.iter().position(|(_, asked)| wakes_the_same(asked, waker)) {
                polled.living += 1;
                return Asked { waiters: Vec::new(), _came: Some(polled.asked.swap_remove(place).1) };
            }
            polled.fresh += 1;
            if polled.fresh <= (polled.living + polled.asked.len()).max(MANY) {
                return Asked::default();
            }
            (polled.fresh, polled.living) = (1, 0);
            let (asked, others): (Vec<_>, Vec<_>) = std::mem::take(waiters).into_iter().partition(|one| one.is_polled);
            if others.is_empty() && !asked.is_empty() {
                self.awaited.set(self.awaited.get() - 1);
            }
            *waiters = others;
            Asked { waiters: asked, _came: None }
        })
    }

    /// Notes that these waiters are woken in this turn. Returns those that were woken more than
    /// `PATIENCE` turns ago and have not polled since, to be dropped where nothing is borrowed.
    pub(crate) fn asked(&self, key: SourceKey, side: Side, wakers: Vec<Waker>, turn: u64) -> Vec<(u64, Waker)> {
        self.with(key, |source| {
            let asked = &mut source.sides[side as usize].polled.asked;
            let (gone, mut known): (Vec<_>, Vec<_>) =
                std::mem::take(asked).into_iter().partition(|(asked, _)| asked + PATIENCE < turn);
            known.extend(wakers.into_iter().map(|waker| (turn, waker)));
            *asked = known;
            gone
        })
    }

    /// Whether a waiter that satisfies `is_it` is registered.
    pub(crate) fn is_waiting(&self, key: SourceKey, side: Side, is_it: impl Fn(&Waiter) -> bool) -> bool {
        self.with(key, |source| source.sides[side as usize].waiters.iter().any(is_it))
    }

    /// Removes a waiter. `None` if it was woken.
    pub(crate) fn leave(&self, key: SourceKey, side: Side, number: u64) -> Option<Waiter> {
        let mut sources = self.sources.borrow_mut();
        let source = sources.get_mut(key.index).filter(|source| source.number == key.number)?;
        let waiters = &mut source.sides[side as usize].waiters;
        let place = waiters.iter().position(|waiter| waiter.number == number)?;
        let waiter = waiters.remove(place);
        self.awaited.set(self.awaited.get() - usize::from(waiters.is_empty()));
        Some(waiter)
    }

    /// Takes the waiters of a side, which will try again. The reason is not one that the poller
    /// reports.
    #[cfg(feature = "tls")]
    pub(crate) fn interrupt(&self, key: SourceKey, side: Side) -> Vec<Waiter> {
        self.with(key, |source| {
            let state = &mut source.sides[side as usize];
            state.ready = true;
            self.awaited.set(self.awaited.get() - usize::from(!state.waiters.is_empty()));
            std::mem::take(&mut state.waiters)
        })
    }

    /// The object of the waits for this side, for reports.
    pub(crate) fn awaited(&self, key: SourceKey, side: Side) -> Weak<dyn Awaited> {
        self.with(key, |source| {
            let descriptor = source.watched.source();
            let make = || Rc::new(ASide { side, kind: descriptor.kind(), source: Arc::downgrade(descriptor) });
            let awaited = Rc::downgrade(source.sides[side as usize].awaited.get_or_insert_with(make));
            awaited as Weak<dyn Awaited>
        })
    }

    #[cfg(any(feature = "hyper", feature = "tokio-io"))]
    pub(crate) fn take_scratch(&self) -> Vec<u8> {
        let mut scratch = self.scratch.take();
        scratch.resize(SCRATCH, 0);
        scratch
    }

    #[cfg(any(feature = "hyper", feature = "tokio-io"))]
    pub(crate) fn put_scratch(&self, scratch: Vec<u8>) {
        self.scratch.set(scratch);
    }

    // ---- polling ----

    /// Whether a busy loop should poll its sockets now.
    pub(crate) fn is_due(&self, now: Time) -> bool {
        now.since(self.looked_at.get()) >= EVERY
    }

    pub(crate) fn looked(&self, now: Time) {
        self.looked_at.set(now);
    }

    /// Waits until a side for which a task waits is ready, the poller is notified, or the timeout
    /// has passed.
    pub(crate) fn look(&self, timeout: Option<Duration>) -> io::Result<Heard> {
        let mut woken = self.woken.take();
        self.looks.set(self.looks.get() + 1);
        let has_more = self.waiting.wait(timeout, &mut |event| self.happened(event, &mut woken))?;
        Ok(Heard { woken, has_more })
    }

    /// Takes the memory of a poll's result back; it is empty.
    pub(crate) fn keep_memory(&self, woken: Vec<Waiter>) {
        debug_assert!(woken.is_empty(), "a waiter was not woken");
        self.woken.set(woken);
    }

    fn happened(&self, event: News, woken: &mut Vec<Waiter>) {
        let mut sources = self.sources.borrow_mut();
        let Some(source) = sources.get_mut(event.key) else { return };
        let mut switches = false;
        for (side, happened) in [(Side::Read, event.readable), (Side::Write, event.writable)] {
            let state = &mut source.sides[side as usize];
            if !happened {
                continue;
            }
            // An earlier poll has reported the side, and no operation has found it blocked since.
            if state.ready && state.is_on && state.told_in < self.looks.get() && !self.waiting.tells_edges() {
                (state.is_on, switches) = (false, true);
            }
            state.ended |= event.ended;
            state.is_urgent |= event.urgent;
            state.is_vague |= event.is_vague;
            if !state.waiters.is_empty() {
                self.awaited.set(self.awaited.get() - 1);
                woken.append(&mut state.waiters);
            }
            (state.ready, state.told_in) = (true, self.looks.get());
        }
        #[cfg(feature = "process")]
        if let Some(waker) = source.watcher.take() {
            woken.push(Waiter { number: 0, is_polled: false, waker, wait: None });
        }
        if switches {
            // If this fails, something is wrong with the source, and the next operation on it
            // reports that.
            drop(self.switch(source, event.key));
        }
    }

    fn switch_on(&self, source: &mut Source, index: usize, side: Side) -> io::Result<()> {
        if std::mem::replace(&mut source.sides[side as usize].is_on, true) {
            return Ok(());
        }
        self.switch(source, index).inspect_err(|_| source.sides[side as usize].is_on = false)
    }

    /// Sets which sides the poller reports.
    fn switch(&self, source: &Source, index: usize) -> io::Result<()> {
        let [read, write] = &source.sides;
        self.waiting.change(&source.watched, Event::new(index, read.is_on, write.is_on))
    }
}

impl Portion {
    /// Whether there is time for another operation, after the first few.
    fn has_time_at(&mut self, now: Time) -> bool {
        if self.operations == UNTIMED {
            self.timed_from = now;
        }
        now.since(self.timed_from) < PORTION_LASTS
    }
}

impl AsFd for Reactor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poller().as_fd()
    }
}

impl Waiter {
    pub(crate) fn number(&self) -> u64 {
        self.number
    }
}

/// The object of a wait.
#[derive(Debug)]
struct ASide {
    side: Side,
    kind: &'static str,
    source: ArcWeak<dyn Descriptor>,
}

impl Awaited for ASide {
    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.side {
            Side::Read => "something to read",
            Side::Write => "room to write",
        };
        write!(f, "{what}, {}", self.kind)?;
        let Some(source) = self.source.upgrade() else { return Ok(()) };
        // A descriptor without an address, for example a pipe, is described by its kind.
        let address = |address: rustix::net::SocketAddrAny| SocketAddr::try_from(address).ok();
        match (getpeername(source.as_fd()), getsockname(source.as_fd())) {
            (Ok(Some(peer)), _) => address(peer).map_or(Ok(()), |peer| write!(f, " to {peer}")),
            (_, Ok(own)) => address(own).map_or(Ok(()), |own| write!(f, " at {own}")),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Reactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sources = self.sources.borrow().len();
        f.debug_struct("Reactor").field("sources", &sources).field("awaited", &self.awaited.get()).finish()
    }
}
