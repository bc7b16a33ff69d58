//! The reactor: sources that can be read or written, and who waits for that. It takes the place of the park.
//!
//! A source has two sides. Each is *ready*, as far as is known, or somebody waits for it:
//!
//! ```text
//!              somebody found that it would block, and waits
//!      ready --------------------------------------------------> awaited
//!        ^                                                          |
//!        +----------------------------------------------------------+
//!              the poller says that it can be read (or written): all who wait are woken
//! ```
//!
//! "Ready" may be wrong, and costs a system call then. "Not ready" is found by a system call too: an operation that would block. There
//! is one exception. If a read from a TCP connection returns fewer bytes than the buffer holds, nothing more is there, except what
//! follows urgent data, which epoll reports. So the reactor does not read again; that saves one system call per request. Nothing else
//! is concluded from a length: a read from a Unix socket ends at a descriptor that was passed, and a type that reads from a buffer of
//! its own may return any length. We considered three ways for the poller to report readiness. They differ in the number of system
//! calls per wait:
//!
//! - **One-shot**, the default of `polling`: each wait is a system call, to arm the poller.
//! - **Level-triggered**: the poller reports a side at every poll while it is ready. A wait needs no system call. But the kernel checks
//!   each reported side again at the next poll, and does not report sides in order of arrival. With 256 connections under full load,
//!   the slowest one per cent of the answers came a third later than tokio's. A side that no task waits for has to be disabled.
//! - **Edge-triggered**: the poller reports a side once, when it becomes ready. A wait needs no system call, and sides are reported in
//!   order of arrival. But if the end of the stream arrives with the last bytes, both are reported once, and a reader that stops
//!   after a short read would miss the end. epoll reports the end separately (`RDHUP`).
//!
//! On Linux the reactor uses edges: a side that is *ended* is always worth a try, and so is one of which the news was *vague*
//! (`idle/sockets/poller.rs`), until an operation would block. On other systems the `polling` crate does not report
//! the end, so the reactor uses level-triggered mode there. If a second poll reports a side that is already known to be ready, no task
//! wants that side at the moment. The reactor disables it until a task waits for it. (It cannot disable, while a task waits, an error
//! that reading does not take away, such as a queue of errors that was asked for and that nobody reads.)
//!
//! A wait and a wake therefore cost no system call of their own, only the shared call to the poller. `Async::readable`, which does not
//! try, asks the poller to report once more.
//!
//! It knows tasks by their tokens alone.

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
    /// What it is called, for people.
    fn kind(&self) -> &'static str;
}

/// A side of a source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    Read,
    Write,
}

/// A busy loop looks at its sockets so often: a look takes about a microsecond, which is one per cent of that.
const EVERY: Duration = Duration::from_micros(100);

/// So much is read at once by way of the loop's own memory.
#[cfg(feature = "hyper")]
const SCRATCH: usize = 64 * 1024;

/// The number of new wakers at a side of a source from which the wakers that are there are woken, to see which still wait.
const MANY: usize = 16;

/// Who waits comes again within so many turns.
const PATIENCE: u64 = 16;

/// The number of operations that may succeed in one step before their task lets others run.
const PORTION: u32 = 64;

/// The time that they may take together.
const PORTION_LASTS: Duration = Duration::from_micros(50);

/// The number of operations before the clock is read the first time. A request and its answer need no more. Behind that it is read
/// before every second one.
const UNTIMED: u32 = 2;

pub(crate) struct Reactor {
    waiting: Waiting,
    /// Borrowed in this file alone, where no foreign code runs: what is taken out is dropped by the caller.
    sources: RefCell<Slab<Source>>,
    /// How many sides somebody waits for.
    awaited: Cell<usize>,
    /// The number of the last source, and of the last waiter.
    numbered: Cell<u64>,
    looked_at: Cell<Time>,
    /// How many looks there were.
    looks: Cell<u64>,
    /// The memory of those who were woken last, for the next.
    woken: Cell<Vec<Waiter>>,
    portion: Cell<Portion>,
    /// Memory to read into, for those who have none that is initialized.
    #[cfg(feature = "hyper")]
    scratch: Cell<Vec<u8>>,
}

/// The operations of one step of a task.
#[derive(Clone, Copy)]
struct Portion {
    task: Token,
    turn: u64,
    operations: u32,
    /// The time behind the first few operations.
    timed_from: Time,
}

struct Source {
    number: u64,
    watched: Watched<dyn Descriptor>,
    sides: [State; 2],
}

#[derive(Default)]
struct State {
    ready: bool,
    /// The end, or an error, was told of, and will not be again.
    ended: bool,
    /// Urgent bytes have come. Others may.
    is_urgent: bool,
    /// An end, or urgent bytes, may have been among what was told of last. It is found by an operation that would block, or not.
    is_vague: bool,
    /// The last look that has told that it is.
    told_in: u64,
    /// The poller tells of this side.
    is_on: bool,
    /// Nobody, while it is ready.
    waiters: Vec<Waiter>,
    /// Those of them whom polls have entered.
    polled: Polled,
    /// What those who wait here tell that they wait for.
    awaited: Option<Rc<ASide>>,
}

/// Waiters that were entered by polls. Nobody tells when one is given up, and until there is news it cannot be told from one that waits:
/// so they are woken now and then, and who waits comes again.
#[derive(Default)]
struct Polled {
    /// The number of new wakers since the last time at which the others were woken to see which still wait.
    fresh: usize,
    /// The number of those that have been registered again since then.
    living: usize,
    /// The wakers of the others, with the turns in which they were woken.
    asked: Vec<(u64, Waker)>,
}

/// Somebody who waits for a side. What comes out of the reactor is to be woken, or dropped, where nothing is borrowed.
#[derive(Debug)]
pub(crate) struct Waiter {
    number: u64,
    /// Entered by a poll, so it does not leave when its future is dropped.
    is_polled: bool,
    pub(crate) waker: Waker,
    /// The record of that wait.
    pub(crate) wait: Option<WaitKey>,
}

/// Who is to be asked whether it still waits.
#[derive(Default)]
pub(crate) struct Asked {
    pub(crate) waiters: Vec<Waiter>,
    /// The waker of one that was asked, and has come.
    _came: Option<Waker>,
}

/// What a look has heard.
pub(crate) struct Heard {
    /// To be woken, where nothing is borrowed.
    pub(crate) woken: Vec<Waiter>,
    /// The next look will hear of more, if it was not of what nobody wants.
    pub(crate) has_more: bool,
}

/// What is left of a source that was taken out; to be dropped where nothing is borrowed.
pub(crate) struct Removed {
    pub(crate) waiters: Vec<Waiter>,
    pub(crate) watched: Watched<dyn Descriptor>,
    _asked: Vec<(u64, Waker)>,
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
            #[cfg(feature = "hyper")]
            scratch: Cell::default(),
        })
    }

    pub(crate) fn poller(&self) -> &Arc<Poller> {
        self.waiting.poller()
    }

    /// Whether anybody waits for any source.
    #[inline]
    pub(crate) fn is_awaited(&self) -> bool {
        self.awaited.get() > 0
    }

    fn number(&self) -> u64 {
        self.numbered.set(self.numbered.get() + 1);
        self.numbered.get()
    }

    // ---- sources ----

    /// Watches a source until `remove`. Of `first` the poller tells from now on; that side is not taken for ready, the other is.
    pub(crate) fn add(&self, source: Arc<dyn Descriptor>, first: Side) -> io::Result<SourceKey> {
        let mut watched = Watched::new(self.poller().clone(), source);
        let mut sources = self.sources.borrow_mut();
        let (entry, number) = (sources.vacant_entry(), self.number());
        let index = entry.key();
        let interest = Event::new(index, first == Side::Read, first == Side::Write);
        let begun = self.waiting.watch(&mut watched, interest);
        if let Err(error) = begun {
            // The source is dropped behind the borrow.
            drop(sources);
            return Err(error);
        }
        let side = |side| State { ready: side != first, is_on: side == first, ..State::default() };
        entry.insert(Source { number, watched, sides: [side(Side::Read), side(Side::Write)] });
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
        Some(Removed { waiters, watched: source.watched, _asked: asked })
    }

    fn with<R>(&self, key: SourceKey, act: impl FnOnce(&mut Source) -> R) -> R {
        let mut sources = self.sources.borrow_mut();
        let source = sources.get_mut(key.index).filter(|source| source.number == key.number);
        act(source.expect("a source stays until its owner is dropped"))
    }

    // ---- readiness ----

    /// Whether it is worth a try.
    #[inline]
    pub(crate) fn is_ready(&self, key: SourceKey, side: Side) -> bool {
        self.with(key, |source| source.sides[side as usize].ready)
    }

    /// Whether another operation of this task may be tried in this turn. If not, it is to let others run first, however much there is.
    #[inline]
    pub(crate) fn may_go_on(&self, task: Token, turn: u64, clock: &Clock) -> bool {
        let mut portion = self.portion.get();
        if (portion.task, portion.turn) != (task, turn) {
            portion = Portion { task, turn, operations: 0, timed_from: Time(0) };
        }
        let is_untimed = portion.operations < UNTIMED || portion.operations % 2 == 1;
        let may_go_on = is_untimed || portion.has_time_at(clock.machine_time());
        // One that is polled on all the same is not kept from it.
        portion.operations = if may_go_on { portion.operations + 1 } else { 0 };
        self.portion.set(portion);
        may_go_on
    }

    /// It would block.
    #[inline]
    pub(crate) fn exhausted(&self, key: SourceKey, side: Side) {
        self.with(key, |source| {
            let state = &mut source.sides[side as usize];
            (state.ready, state.is_vague) = (false, false);
        });
    }

    /// A TCP connection has given, or taken, less than there was room for: nothing is left but an end that was told already, or
    /// what is behind urgent bytes, or what was told of vaguely.
    #[inline]
    pub(crate) fn drained(&self, key: SourceKey, side: Side) {
        self.with(key, |source| {
            let state = &mut source.sides[side as usize];
            state.ready = state.ended || state.is_urgent || state.is_vague;
        });
    }

    /// Enters somebody who waits from now on: for news, or also for what is there and was told of before.
    pub(crate) fn wait(&self, key: SourceKey, side: Side, waiter: Waiter, for_news: bool) -> io::Result<()> {
        // By itself: if it fails, the waiter is dropped behind the borrow.
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

    /// A waiter for a side; `wait` enters it.
    pub(crate) fn waiter(&self, waker: Waker, wait: Option<WaitKey>, is_polled: bool) -> Waiter {
        Waiter { number: self.number(), is_polled, waker, wait }
    }

    /// A poll is about to wait here, and to leave this waker. Returns those who are to be asked whether they still wait: who does,
    /// comes again when it is woken. That is so each time as many have come as there are already, or may be, so each costs
    /// the others one wake at most.
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

    /// They are being asked in this turn. What comes back, of those who have not come again, is dropped where nothing is borrowed.
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

    /// Whether somebody waits already who wakes the same, in the running task.
    pub(crate) fn is_waiting(&self, key: SourceKey, side: Side, is_it: impl Fn(&Waiter) -> bool) -> bool {
        self.with(key, |source| source.sides[side as usize].waiters.iter().any(is_it))
    }

    /// Takes somebody out who waits no longer. None if it was woken.
    pub(crate) fn leave(&self, key: SourceKey, side: Side, number: u64) -> Option<Waiter> {
        let mut sources = self.sources.borrow_mut();
        let source = sources.get_mut(key.index).filter(|source| source.number == key.number)?;
        let waiters = &mut source.sides[side as usize].waiters;
        let place = waiters.iter().position(|waiter| waiter.number == number)?;
        let waiter = waiters.remove(place);
        self.awaited.set(self.awaited.get() - usize::from(waiters.is_empty()));
        Some(waiter)
    }

    /// What those who wait for this side tell of it.
    pub(crate) fn awaited(&self, key: SourceKey, side: Side) -> Weak<dyn Awaited> {
        self.with(key, |source| {
            let descriptor = source.watched.source();
            let make = || Rc::new(ASide { side, kind: descriptor.kind(), source: Arc::downgrade(descriptor) });
            let awaited = Rc::downgrade(source.sides[side as usize].awaited.get_or_insert_with(make));
            awaited as Weak<dyn Awaited>
        })
    }

    #[cfg(feature = "hyper")]
    pub(crate) fn take_scratch(&self) -> Vec<u8> {
        let mut scratch = self.scratch.take();
        scratch.resize(SCRATCH, 0);
        scratch
    }

    #[cfg(feature = "hyper")]
    pub(crate) fn put_scratch(&self, scratch: Vec<u8>) {
        self.scratch.set(scratch);
    }

    // ---- the look ----

    /// Whether a busy loop is to look.
    pub(crate) fn is_due(&self, now: Time) -> bool {
        now.since(self.looked_at.get()) >= EVERY
    }

    pub(crate) fn looked(&self, now: Time) {
        self.looked_at.set(now);
    }

    /// Waits until something can be read or written for which somebody waits, until the poller is notified, or until the time is
    /// up.
    pub(crate) fn look(&self, timeout: Option<Duration>) -> io::Result<Heard> {
        let mut woken = self.woken.take();
        self.looks.set(self.looks.get() + 1);
        let has_more = self.waiting.wait(timeout, &mut |event| self.happened(event, &mut woken))?;
        Ok(Heard { woken, has_more })
    }

    /// Takes the memory of a look back. Nobody is in it any more.
    pub(crate) fn keep_memory(&self, woken: Vec<Waiter>) {
        debug_assert!(woken.is_empty(), "somebody was not woken");
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
            // Whoever was told in an earlier look has had a turn since.
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
        if switches {
            // If that fails, there is something wrong with the source, and whoever uses it next hears of that.
            drop(self.switch(source, event.key));
        }
    }

    fn switch_on(&self, source: &mut Source, index: usize, side: Side) -> io::Result<()> {
        if std::mem::replace(&mut source.sides[side as usize].is_on, true) {
            return Ok(());
        }
        self.switch(source, index).inspect_err(|_| source.sides[side as usize].is_on = false)
    }

    /// Tells the poller which sides are on.
    fn switch(&self, source: &Source, index: usize) -> io::Result<()> {
        let [read, write] = &source.sides;
        self.waiting.change(&source.watched, Event::new(index, read.is_on, write.is_on))
    }
}

impl Portion {
    /// Whether there is time for another operation, behind the first few.
    fn has_time_at(&mut self, now: Time) -> bool {
        if self.operations == UNTIMED {
            self.timed_from = now;
        }
        self.operations < PORTION && now.since(self.timed_from) < PORTION_LASTS
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

/// What is waited for.
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
        // Whatever has no address, a pipe for example, is known by its kind.
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
