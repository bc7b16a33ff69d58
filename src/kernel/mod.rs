//! The kernel: the state of a loop, and one turn of it.
//!
//! ```text
//!            +----------------------------------------------------------+
//!            v                                                          |
//!   drain    what came from elsewhere: tasks to wake, callbacks         |
//!   listen   to the sockets, now and then, if there are any             |
//!   look     at the clock, once; a virtual one jumps if nothing is ready|
//!   expire   set aside the timers that are due                          |
//!   step     what was ready when the turn began: tasks, callbacks       |
//!   fire     the timers that were set aside                             |
//!   rest     until a deadline, or until something comes ----------------+
//! ```
//!
//! Foreign code runs in `step` and `fire` alone, and at the end of a task: polls, destructors, callbacks, foreign wakers. It may
//! call anything here, so no borrow is held while it runs (STEP-1). Its panics are caught around the turns and not
//! around each step: `Wakers::running` says who it was, and the turn goes on behind it.
//!
//! Knows no word of the vocabulary: no gather, no sleep, no handle. To read before: `ready`, `wheel`, `clock`, `pace`, `token`,
//! `calls`, `inbox`, `lanes`, `task`, `wakers`. Next: `cancel.rs`.

/// Tells the probe, if one is set: `tell!(wakers, EventKind::TurnBegin)`. Foreign code, so nothing may be borrowed. Without
/// the feature `probe` it is nothing, and what it would tell is not computed.
macro_rules! tell {
    ($wakers:expr, $kind:expr) => {
        #[cfg(feature = "probe")]
        {
            let wakers: &crate::kernel::wakers::Wakers = &$wakers;
            if wakers.probe.is_set() {
                wakers.probe.emit($kind);
            }
        }
    };
}

pub(crate) mod calls;
mod cancel;
mod clock;
pub(crate) mod context;
pub(crate) mod exceptions;
mod frozen;
pub(crate) mod guest;
mod inbox;
mod lanes;
mod listen;
mod lists;
pub(crate) mod locals;
mod names;
mod pace;
#[cfg(all(unix, feature = "io"))]
mod poller;
#[cfg(feature = "probe")]
pub(crate) mod probe;
#[cfg(all(unix, feature = "io"))]
pub(crate) mod reactor;
mod ready;
pub(crate) mod scopes;
pub(crate) mod shutdown;
mod sort;
#[cfg(all(unix, feature = "io"))]
mod source;
mod tally;
pub(crate) mod task;
pub(crate) mod task_id;
mod token;
pub(crate) mod unwind;
mod wakers;
mod wheel;

pub(crate) use cancel::Links;
pub(crate) use clock::{Clock, Time};
pub(crate) use inbox::{Inbox, Message, Parked};
pub(crate) use lanes::inbox;
pub(crate) use sort::sorted_once;
pub(crate) use task::WaiterKey;
pub(crate) use token::Token;
pub(crate) use wakers::{ScopeKey, State, WaitKey};
pub(crate) use wakers::{keep, wakes_the_same};
pub(crate) use wheel::TimerKey;

use crate::error::{Panic, TaskError};
use calls::{Call, CallKey, Calls};
use frozen::Cleanups;
use locals::Locals;
use pace::Pace;
#[cfg(feature = "probe")]
use probe::{EventKind, Source};
use scopes::{Region, Unwinding};
use sort::sorted;
use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell};
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tally::Tally;
use task::{AnyTask, Draft, Ending, Header, Then, TypedTask};
#[cfg(feature = "probe")]
use task_id::TaskId;
use unwind::Stop;
use wakers::{Halt, Wakers};
use wheel::Wheel;

pub(crate) struct Kernel {
    /// The waker table and the ready queue.
    pub(crate) wakers: Rc<Wakers>,
    wheel: RefCell<Wheel<Alarm>>,
    /// The memory of the messages that were read last, for the next ones.
    messages: Cell<Vec<Message>>,
    calls: RefCell<Calls>,
    pub(crate) clock: Clock,
    /// No timer is due before this. Without timers it is `Time::NEVER`, and no clock is read.
    next: Cell<Time>,
    /// How often a real clock is looked at, while timers are pending.
    pace: Pace,
    /// There are timers that were set aside and have not fired yet.
    firing: Cell<bool>,
    /// A callback is being called.
    calling: Cell<bool>,
    /// How many tasks were ever spawned: the last one's id.
    spawned: Cell<u64>,
    /// How many times a cancellation spread (`cancel.rs`).
    spreads: Cell<u32>,
    /// The loop is being shut down: a task that is spawned now is cancelled.
    closing: Cell<bool>,
    /// While it is being shut down: it waits for cleanups, and what they spawn runs.
    waits_for_cleanups: Cell<bool>,
    /// Something was spawned that was not cancelled.
    has_exempted: Cell<bool>,
    /// A cleanup is being polled.
    cleaning: Cell<bool>,
    /// A future is polled only so that a scope in it drops its body: nothing begins in there.
    only_drops: Cell<bool>,
    /// Cleanups that wait for others (`frozen.rs`).
    cleanups: OnceCell<Box<Cleanups>>,
    /// A task-local variable was set in this loop. As long as none was, nobody looks for values.
    has_locals: Cell<bool>,
    /// The task-local values of the callback that is being called.
    callback_locals: RefCell<Locals>,
    /// In debug mode.
    watch: Option<StepWatch>,
    /// What tells of the first rest on a virtual clock that takes longer than `patience`: others may never come.
    pub(crate) tell_of_long_rest: Cell<Option<fn(&Kernel)>>,
    patience: Cell<Duration>,
    /// So many timers were taken out of the wheel at the end of the loop, and are to be cancelled one by one.
    drained: Cell<usize>,
    /// How many turns and calls of `EventLoop::enter` it is in, one inside of the other (`context.rs`).
    entered: Cell<u32>,
    /// A turn that a host has paused: so many of its entries are left, and then its timers.
    paused: Cell<Option<usize>>,
    /// A host was told that there is nothing to do before this moment (`guest.rs`).
    told_to_sleep: Cell<Option<Time>>,
    /// There is a host to be called.
    hosted: Cell<bool>,
    /// Who knows that there is work, and comes by himself.
    work_is_known: Cell<guest::Knows>,
    #[cfg(all(unix, feature = "io"))]
    reactor: OnceCell<Rc<reactor::Reactor>>,
}

/// The step of a task that took longest.
#[derive(Clone)]
pub(crate) struct LongestStep {
    pub(crate) took: Duration,
    /// Its number.
    pub(crate) task: u64,
    pub(crate) name: Rc<str>,
    /// The await at which it ended, or where the task was spawned.
    pub(crate) place: &'static Location<'static>,
}

/// So many entries of a turn follow a look at the sockets before it is asked whether it is time for another.
const PORTION: usize = 16;

/// The memory of so many messages is kept for the next ones.
const KEPT_MESSAGES: usize = 1024;

/// Told of the task, unless it was a callback, and of the time.
type Report = Box<dyn Fn(Option<AnyTask>, Duration)>;

/// In debug mode: looks at each entry of the ready queue when it is over.
pub(crate) struct StepWatch {
    limit: Duration,
    /// Hears of those that took that long.
    slow: Report,
    /// Hears of each task that waits after its step.
    suspended: Box<dyn Fn(&AnyTask)>,
    /// When what runs now began.
    began: Cell<Option<Instant>>,
    longest: RefCell<Option<LongestStep>>,
}

impl StepWatch {
    pub(crate) fn new(limit: Duration, slow: Report, suspended: Box<dyn Fn(&AnyTask)>) -> Self {
        StepWatch { limit, slow, suspended, began: Cell::new(None), longest: RefCell::default() }
    }

    fn begin(&self) {
        self.began.set(Some(Instant::now()));
    }

    fn is_longest(&self, took: Duration) -> bool {
        self.longest.borrow().as_ref().is_none_or(|longest| took > longest.took)
    }
}

/// What a timer does.
pub(crate) enum Alarm {
    /// Wakes the task that sleeps, at this place.
    Task(Token, &'static Location<'static>),
    /// Wakes something in the task that sleeps, which has a waker of its own, or another task.
    Within(Token, &'static Location<'static>, Waker),
    Call(Call),
}

/// A sleep of a task.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SleepRecord {
    pub(crate) task: Token,
    /// Among the numbers of waits.
    pub(crate) number: u64,
    pub(crate) until: Time,
    /// Where it is awaited.
    pub(crate) place: &'static Location<'static>,
}

/// Nothing is ready, no timer is pending, and nobody has promised to send anything.
#[derive(Debug)]
pub(crate) struct Stuck;

impl Kernel {
    /// A loop that is `observed` knows who holds wakers; one on a virtual clock always is. With a `watch` it has to be,
    /// since then it tells when it can never go on.
    pub(crate) fn new(clock: Clock, observed: bool, watch: Option<StepWatch>) -> Rc<Self> {
        debug_assert!(observed || watch.is_none());
        Rc::new(Kernel {
            wakers: Rc::new(Wakers::new(observed || clock.is_virtual())),
            wheel: RefCell::new(Wheel::new()),
            messages: Cell::default(),
            calls: RefCell::new(Calls::default()),
            clock,
            next: Cell::new(Time::NEVER),
            pace: Pace::new(),
            firing: Cell::new(false),
            calling: Cell::new(false),
            spawned: Cell::new(0),
            spreads: Cell::new(0),
            closing: Cell::new(false),
            waits_for_cleanups: Cell::new(false),
            has_exempted: Cell::new(false),
            cleaning: Cell::new(false),
            only_drops: Cell::new(false),
            cleanups: OnceCell::new(),
            has_locals: Cell::new(false),
            callback_locals: RefCell::default(),
            watch,
            tell_of_long_rest: Cell::new(None),
            patience: Cell::new(Duration::from_secs(1)),
            drained: Cell::new(0),
            entered: Cell::new(0),
            paused: Cell::new(None),
            told_to_sleep: Cell::new(None),
            hosted: Cell::new(false),
            work_is_known: Cell::default(),
            #[cfg(all(unix, feature = "io"))]
            reactor: OnceCell::new(),
        })
    }

    /// Whether the task is, or was, one of this loop.
    #[inline]
    pub(crate) fn has(&self, task: Token) -> bool {
        self.wakers.lane().tenancy().has(task)
    }

    #[inline]
    pub(crate) fn id(&self) -> u64 {
        self.wakers.lane().loop_id
    }

    #[inline]
    pub(crate) fn tally(&self) -> &Tally {
        &self.wakers.tally
    }

    pub(crate) fn inbox(&self) -> &'static Inbox {
        self.wakers.lane().inbox
    }

    // ---- the turn ----

    /// One turn, but for the rest. The caller has entered the context.
    pub(crate) fn turn(&self) {
        let over = self.turn_until(&Cell::new(true));
        debug_assert!(over.is_ok());
    }

    /// Turns, and rests in between, until `over` is set at the end of a turn.
    #[inline(never)]
    pub(crate) fn turn_until(&self, over: &Cell<bool>) -> Result<(), Stuck> {
        loop {
            self.begin();
            self.go_through(over);
            if over.get() {
                return Ok(());
            }
            self.rest()?;
        }
    }

    /// Whether a turn of so many entries may follow in which no clock is read, no timer fires and no socket is looked at.
    #[inline]
    fn may_look_away(&self, entries: usize) -> bool {
        if self.next.get() == Time::NEVER && !self.is_listening() {
            return true;
        }
        // Timers that were set aside were due at what the clock showed then, and `next` stays there until they have fired.
        let none_is_due = self.next.get() > self.clock.seen();
        none_is_due && (self.clock.is_virtual() && !self.is_listening() || self.pace.goes_on(entries))
    }

    /// The first half of a turn: what there is to do.
    #[inline]
    fn begin(&self) {
        self.drain();
        self.listen();
        if let Some(now) = self.look() {
            self.expire(now);
        }
        self.open_turn();
    }

    fn open_turn(&self) {
        self.wakers.mark();
        #[cfg(feature = "probe")]
        self.wakers.probe.cause.set(Source::Kernel);
        tell!(self.wakers, EventKind::TurnBegin);
    }

    /// The second half: foreign code runs. If `over` is not set by the end of this turn, more turns may follow in here.
    #[inline]
    fn go_through(&self, over: &Cell<bool>) {
        if self.is_watched() {
            self.step_watched()
        } else if self.is_listening() {
            self.step_and_listen(over)
        } else {
            self.step(over)
        }
        self.fire();
        self.close_turn();
    }

    #[inline]
    fn close_turn(&self) {
        tell!(self.wakers, EventKind::TurnEnd);
        #[cfg(feature = "probe")]
        self.wakers.probe.cause.set(Source::Outside);
    }

    /// Takes over what came from elsewhere, in the order in which it came.
    #[inline]
    pub(crate) fn drain(&self) {
        if self.inbox().has_messages() {
            self.read_messages();
        }
    }

    #[cold]
    fn read_messages(&self) {
        // Taken out, since reading them may be foreign code.
        let mut messages = self.inbox().take(self.messages.take());
        self.tally().messages.add(messages.len() as u64);
        for message in messages.drain(..) {
            match message {
                Message::Wake(token) => {
                    self.tally().foreign.count();
                    self.wakers.wake(token);
                }
                Message::Call(call) => {
                    self.call_soon(Call::Once(call));
                }
                // An alarm is a waker or one of ours: dropping it may be foreign code, and that panic is nobody's.
                Message::CancelTimer(key) => self.tolerate(|| drop(self.cancel_timer(key))),
                #[cfg(all(unix, feature = "io"))]
                Message::RemoveSource(key) => self.tolerate(|| self.remove_source(key)),
            }
        }
        // After a flood it is given back.
        if messages.capacity() <= KEPT_MESSAGES {
            self.messages.set(messages);
        }
    }

    /// The time of this turn, if a timer may be due.
    #[inline]
    fn look(&self) -> Option<Time> {
        if self.next.get() == Time::NEVER { None } else { self.read_clock() }
    }

    fn read_clock(&self) -> Option<Time> {
        if self.clock.is_virtual() && self.wakers.is_idle() {
            let next = self.next_deadline()?;
            if next > self.clock.now() {
                self.clock.jump(next);
            }
        }
        let now = self.clock.now();
        if !self.is_listening() || !self.clock.is_virtual() {
            // Else the pace is that of the machine's clock (`listen.rs`).
            self.pace.looked(now);
        }
        (now >= self.next.get()).then_some(now)
    }

    /// Sets aside the timers that are due.
    #[cold]
    fn expire(&self, now: Time) {
        self.firing.set(true);
        self.wheel.borrow_mut().expire(now.0);
    }

    /// Steps what was in the ready queue when the turn began, and nothing that is queued meanwhile (READY-2).
    #[inline(never)]
    fn step(&self, over: &Cell<bool>) {
        self.guarded(move || {
            // Nothing came from elsewhere, and no timer can be due: then one turn follows the other without a look around.
            let calm = |entries| !over.get() && !self.inbox().has_messages() && self.may_look_away(entries);
            loop {
                match self.wakers.switch(calm) {
                    Halt::Over => return,
                    Halt::Call(entry) => self.call(entry),
                    Halt::Ready(task) => self.returned(&task),
                    Halt::Suspended(task) => self.suspended(&task),
                    Halt::Unwinds(task) => self.unwind(&task, false),
                }
            }
        });
    }

    /// As `step`, but a turn with many entries listens in between: so requests that come meanwhile are queued as they come, and not all
    /// that came in one long turn in whatever order the poller has them.
    #[cold]
    fn step_and_listen(&self, over: &Cell<bool>) {
        let (mut left, mut portion) = (self.wakers.marked_len(), PORTION);
        while left > portion {
            self.wakers.mark_first(portion);
            self.step(&Cell::new(true));
            left -= portion;
            // Of short steps twice as many may follow: each time the clock is read.
            portion = if self.listen() { PORTION } else { 2 * portion };
            self.wakers.mark_first(left);
        }
        self.step(over);
    }

    /// It was cancelled while it ran: what it waits for now decides where that goes.
    fn suspended(&self, task: &AnyTask) {
        if self.wakers.interrupted(task.header()) {
            self.unwind(task, true);
        } else {
            self.cancel_suspended(task);
        }
    }

    /// As `step`, with a look at each entry before and after.
    #[cold]
    fn step_watched(&self) {
        for _ in 0..self.wakers.marked_len() {
            let task = self.wakers.mark_next();
            if let Some(_header) = task.as_ref().map(AnyTask::header) {
                tell!(self.wakers, EventKind::StepBegin { task: TaskId(_header.id) });
            }
            self.watch.iter().for_each(StepWatch::begin);
            self.step(&Cell::new(true));
            if let Some(_header) = task.as_ref().map(AnyTask::header) {
                tell!(self.wakers, EventKind::StepEnd { task: TaskId(_header.id), ended: _header.is_done() });
            }
            // This may be the last who holds the task. Nothing is running by now, so its panic is nobody's.
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| self.tell_if_slow(task))) {
                self.panicked(payload);
            }
        }
    }

    /// A step or a callback is over, by a panic or not: in debug mode that is told, if it took long.
    fn tell_if_slow(&self, task: Option<AnyTask>) {
        let Some(watch) = &self.watch else { return };
        let Some(took) = watch.began.take().map(|began| began.elapsed()) else { return };
        self.wakers.leave_step();
        if let Some(task) = &task {
            let header = task.header();
            if watch.is_longest(took) {
                let place = self.waits_at(header).unwrap_or(header.spawned_at);
                let longest = LongestStep { took, task: header.id, name: header.name(), place };
                let _former = watch.longest.replace(Some(longest));
            }
            if !header.is_done() && self.wakers.state(header) == State::Waiting {
                self.tolerate_in(exceptions::IN_A_HANDLER, || (watch.suspended)(task));
            }
        }
        if took >= watch.limit {
            self.tolerate_in(exceptions::IN_A_HANDLER, || (watch.slow)(task, took));
        }
    }

    /// Where a task waits, if it does: of several awaits, the one that it came to last.
    fn waits_at(&self, header: &Header) -> Option<&'static Location<'static>> {
        let wait = self.wakers.waits(header).last().map(|(number, begun)| (number, begun.place));
        let wheel = self.wheel.borrow();
        let sleeps = wheel.iter().filter_map(|(number, _, alarm)| match *alarm {
            Alarm::Task(task, place) | Alarm::Within(task, place, _) => {
                (task == header.token()).then_some((number, place))
            }
            Alarm::Call(_) => None,
        });
        wait.into_iter().chain(sleeps).max_by_key(|&(number, _)| number).map(|(_, place)| place)
    }

    /// None but in debug mode.
    pub(crate) fn longest_step(&self) -> Option<LongestStep> {
        self.watch.as_ref()?.longest.borrow().clone()
    }

    /// Fires the timers that were set aside, in the order of their deadlines (TIME-3).
    #[inline]
    fn fire(&self) {
        if self.firing.get() {
            self.fire_due();
        }
    }

    #[cold]
    fn fire_due(&self) {
        while self.fire_next() {}
    }

    /// Fires one of them. False if there was none: all have fired.
    #[inline(always)]
    fn fire_next(&self) -> bool {
        // In a line of its own: in a condition, the borrow would last until the end of the body.
        let due = self.wheel.borrow_mut().pop_due();
        let Some((age, alarm)) = due else {
            self.firing.set(false);
            self.next_deadline();
            return false;
        };
        self.tally().timers_fired.count();
        self.pace.fired();
        #[cfg(feature = "probe")]
        let _because = self.because_of(Source::Timer);
        tell!(self.wakers, EventKind::TimerFire { timer: age });
        self.tell_awake(age, &alarm);
        match alarm {
            Alarm::Task(token, _) => self.wakers.wake_from_sleep(token, age),
            Alarm::Within(_, _, waker) => self.wake(waker),
            Alarm::Call(call) => self.fire_call(call),
        }
        true
    }

    /// A sleep is over, in one way or the other.
    fn tell_awake(&self, _age: u64, _alarm: &Alarm) {
        #[cfg(feature = "probe")]
        if let Some((task, at)) = self.sleeper(_alarm) {
            tell!(self.wakers, EventKind::WaitEnd { task, wait: _age, at });
        }
    }

    /// Who sleeps until this goes off, and where, if somebody does.
    #[cfg(feature = "probe")]
    fn sleeper(&self, alarm: &Alarm) -> Option<(TaskId, &'static Location<'static>)> {
        match *alarm {
            Alarm::Task(token, at) | Alarm::Within(token, at, _) => self.wakers.id(token).map(|task| (task, at)),
            Alarm::Call(_) => None,
        }
    }

    fn fire_call(&self, call: Call) {
        self.watch.iter().for_each(StepWatch::begin);
        match catch_unwind(AssertUnwindSafe(|| self.run(call))) {
            Ok(()) => self.tell_if_slow(None),
            Err(payload) => self.panicked(payload),
        }
    }

    /// Sleeps, if nothing is ready, until the next deadline or until something comes.
    pub(crate) fn rest(&self) -> Result<(), Stuck> {
        if !self.wakers.is_idle() || self.inbox().has_messages() {
            return Ok(());
        }
        let mut next = self.next_deadline();
        if let Some(cleanups) = self.cleanups.get() {
            let (has_woken, soon) = self.wake_held_up(cleanups, next);
            if has_woken {
                return Ok(());
            }
            next = soon;
        }
        if next.is_none() && self.tells_deadlocks() {
            // There is nothing to wait for but `Remote`s and wakers that others hold.
            let is_alive = |token| self.wakers.is_alive(token);
            let is_listening = self.is_listening();
            if !is_listening && !self.inbox().may_receive(&is_alive) {
                return Err(Stuck);
            }
            let tell = self.clock.is_virtual().then(|| self.tell_of_long_rest.take()).flatten();
            let begun = Instant::now();
            let timeout = tell.map(|_| self.patience.get());
            // For a socket the loop waits as long as it takes.
            let parked = self.park(None, timeout, if is_listening { None } else { Some(&is_alive) });
            match tell {
                // It may have come back early, as below.
                Some(tell) if parked == Parked::TimedOut && begun.elapsed() >= self.patience.get() => tell(self),
                tell => self.tell_of_long_rest.set(tell),
            }
            return if parked == Parked::Abandoned { Err(Stuck) } else { Ok(()) };
        }
        if self.clock.is_virtual() {
            // The next turn jumps to the deadline, unless a socket is ready now.
            self.listen_if_idle();
            return Ok(());
        }
        let wake_up = next.map(|next| self.pace.wake_up(next));
        let timeout = wake_up.map(|wake_up| wake_up.since(self.clock.now()));
        if self.park(wake_up, timeout, None) == Parked::TimedOut {
            // It may have come back early: that is no wake-up for a timer.
            let now = self.clock.now();
            if wake_up.is_some_and(|wake_up| now >= wake_up) {
                self.pace.woke(now);
            }
        }
        Ok(())
    }

    /// A loop on a real clock that is observed for its metrics or a probe alone waits as any other.
    fn tells_deadlocks(&self) -> bool {
        self.clock.is_virtual() || self.watch.is_some()
    }

    /// Sleeps until the timer that is told of, or until the time is up that is not, or as long as anybody is alive.
    fn park(
        &self,
        _until: Option<Time>,
        timeout: Option<Duration>,
        is_alive: Option<&dyn Fn(Token) -> bool>,
    ) -> Parked {
        self.tally().parks.count();
        let next = self.next.get();
        tell!(self.wakers, EventKind::Park { until: _until.map(|until| Duration::from_nanos(until.0)) });
        // Whoever was told may have made something ready, or have set a timer.
        let has_changed = !self.wakers.is_idle() || self.next.get() < next;
        let parked = if has_changed { Parked::Message } else { self.sleep(timeout, is_alive) };
        tell!(self.wakers, EventKind::Unpark);
        parked
    }

    /// When the next timer is due, if one is; exactly.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        let next = self.wheel.borrow_mut().next_deadline().map_or(Time::NEVER, Time);
        self.next.set(next);
        (next != Time::NEVER).then_some(next)
    }

    // ---- the end of a task, callbacks, panics ----

    /// The future returned. If the task was cancelled in its last step, that counts, and not what it returned.
    #[inline]
    fn returned(&self, task: &AnyTask) {
        if task.header().is_condemned() {
            self.fail(task, TaskError::Cancelled);
        } else {
            if task.header().has_extra() {
                self.hand_abandoned_over(task.header(), Region::Task);
                self.tolerate(|| drop(task.header().take_scopes()));
            }
            self.finish(task, Ending::Value);
        }
    }

    /// A step of a task that was cancelled: its cleanups come first, innermost first (`unwind.rs`), then its future is
    /// dropped. If the cancellation is caught on the way, the step goes on. One that the task has `raised` itself does not wait
    /// for what the task awaits.
    #[inline(never)]
    fn unwind(&self, task: &AnyTask, raised: bool) {
        let header = task.header();
        let waker = self.wakers.waker_of(header.token());
        let mut link = header.replace_link(None);
        let waits = !raised && header.is_condemned() && !header.is_forced();
        if waits && self.follow_link(&mut link, header, Region::Task, &waker) {
            header.replace_link(link);
            self.wakers.keep_waiting(header);
            return self.give_way(header, Region::Task, false);
        }
        self.drop_link(link);
        let begun = header.take_unwinding();
        let begins = begun.is_none();
        let mut unwinding = begun.unwrap_or_else(|| Unwinding::new(Region::Task));
        if self.wakers.begin_unwinding(header) || raised {
            unwinding.interrupt(header);
        }
        loop {
            let was_cleaning = self.cleaning.replace(true);
            let poll = unwinding.poll(self, header, &mut Context::from_waker(&waker));
            self.cleaning.set(was_cleaning);
            match poll {
                Poll::Pending => {
                    if header.has_future() && self.cleanup_suspended(task, Region::Task) {
                        self.tolerate(|| self.wakers.drop_future(task));
                    }
                    header.put_unwinding(unwinding);
                    let cancelled_again = self.wakers.suspend_unwinding(header);
                    if begins {
                        self.give_way(header, Region::Task, true);
                    }
                    if cancelled_again {
                        self.cancel_suspended(task);
                    }
                    return;
                }
                Poll::Ready(Stop::DropsBody) if header.has_future() => {
                    let polled = self.poll_for_a_drop(|| self.wakers.poll_for_a_drop(task));
                    let _unwinds_already = self.wakers.take_raised();
                    if let Err(payload) = polled {
                        unwinding.panicked(payload);
                        // Something beside that scope has panicked, and the future is not to be polled again.
                        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| self.wakers.drop_future(task))) {
                            unwinding.panicked(payload);
                        }
                    }
                }
                Poll::Ready(Stop::DropsBody) => {}
                Poll::Ready(Stop::Caught) if header.has_future() => return self.go_on(task),
                Poll::Ready(Stop::Caught | Stop::Through) => {
                    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| self.wakers.drop_future(task))) {
                        unwinding.panicked(payload);
                    }
                    self.hand_orphans_over(header, Region::Task);
                    return self.fail(task, unwinding.into_error());
                }
            }
        }
    }

    /// Polls what unwinds, for `Stop::DropsBody`.
    pub(crate) fn poll_for_a_drop<R>(&self, poll: impl FnOnce() -> R) -> std::thread::Result<R> {
        let before = self.only_drops.replace(true);
        let polled = catch_unwind(AssertUnwindSafe(poll));
        self.only_drops.set(before);
        polled
    }

    pub(crate) fn only_drops(&self) -> bool {
        self.only_drops.get()
    }

    /// The running task returns, and what it returns counts also if it was cancelled in this step.
    pub(crate) fn keep_result(&self) {
        if let Some(task) = self.current() {
            self.wakers.pardon(task.header());
        }
    }

    /// Nobody drives the unwinding of this region any more: cleanups whose futures are gone get tasks of their own.
    pub(crate) fn hand_orphans_over(&self, header: &Header, region: Region) {
        let orphans = header.scopes(|scopes| scopes.orphans(region)).unwrap_or_default();
        orphans.into_iter().for_each(|scope| self.tolerate(|| scope.hand_over()));
    }

    /// Nor here, but the futures that still exist have moved, and go on elsewhere.
    pub(crate) fn hand_abandoned_over(&self, header: &Header, region: Region) {
        let abandoned = header.scopes(|scopes| scopes.abandoned(region)).unwrap_or_default();
        abandoned.into_iter().for_each(|scope| self.tolerate(|| scope.hand_over()));
    }

    /// The cancellation was caught: the running task goes on, in the same step.
    fn go_on(&self, task: &AnyTask) {
        let header = task.header();
        header.forget_sleeps();
        // A cleanup that has lost its future, and to which the cancellation has not come.
        self.hand_orphans_over(header, Region::Task);
        match self.wakers.end_unwinding(header) {
            Some(Halt::Ready(task)) => self.returned(&task),
            Some(Halt::Suspended(task)) => self.suspended(&task),
            _ => {
                // What stood beside the scope that caught it lives on, and was not told yet.
                self.wakers.leave_step();
                self.resume_waits(header, Region::Task);
            }
        }
    }

    /// The future was dropped, and whatever it returned does not count.
    fn fail(&self, task: &AnyTask, error: TaskError) {
        let ending = if error.is_panic() { Ending::Panicked } else { Ending::Cancelled };
        self.release_waits(task.header(), Region::Task);
        task.set_error(error);
        self.finish(task, ending);
    }

    /// The only place where a task ends: its future was dropped, and its outcome is written.
    #[inline]
    fn finish(&self, task: &AnyTask, ending: Ending) {
        let header = task.header();
        assert!(header.ending.get().is_none(), "DONE-1: a task ended twice");
        header.ending.set(Some(ending));
        match ending {
            Ending::Value => self.tally().returned.count(),
            Ending::Cancelled => self.tally().cancelled.count(),
            Ending::Panicked => self.tally().panicked.count(),
        }
        let held = self.wakers.remove(header.token());
        #[cfg(feature = "probe")]
        let _because = self.because_of(Source::Kernel);
        tell!(self.wakers, EventKind::End { task: TaskId(header.id), ending: ending.into() });
        // In the order in which they came. Nobody comes any more: whoever looks from now on finds the task done.
        while let Some(then) = self.wakers.pop_waiter(header) {
            self.tell(then);
        }
        // Last, since this may drop what is foreign, an outcome that nobody wants for one, and what its destructor does is
        // its own affair.
        if self.has_locals.get() {
            self.tolerate(|| drop(header.take_locals()));
        }
        drop(held);
    }

    #[inline]
    fn tell(&self, then: Then) {
        match then {
            Then::Wake(waker) => self.wake(waker),
            Then::Queue(call) => drop(self.call_soon(call)),
        }
    }

    fn call(&self, entry: u32) {
        self.tally().calls_taken.count();
        let call = self.calls.borrow_mut().take(entry);
        if let Some(call) = call {
            self.run(call);
        }
    }

    fn run(&self, call: Call) {
        self.tally().callbacks.count();
        self.calling.set(true);
        #[cfg(feature = "probe")]
        let _because = self.because_of(Source::Callback);
        tell!(self.wakers, EventKind::CallBegin);
        call.run();
        self.called();
    }

    /// A callback is over, and so are the values that it saw.
    fn called(&self) {
        self.calling.set(false);
        tell!(self.wakers, EventKind::CallEnd);
        if self.has_locals.get() {
            let locals = self.callback_locals.take();
            // Their destructors are foreign code, and belong to no callback any more.
            self.tolerate(|| drop(locals));
        }
    }

    /// Runs `act`, and again after each panic, until it comes to its end.
    #[inline]
    fn guarded(&self, act: impl Fn()) {
        while let Err(payload) = catch_unwind(AssertUnwindSafe(&act)) {
            self.panicked(payload);
        }
    }

    /// Foreign code has panicked: a task, which ends of it, or something that belongs to none.
    #[cold]
    fn panicked(&self, payload: Box<dyn Any + Send>) {
        let Some(task) = self.wakers.running() else {
            if !self.calling.get() {
                return exceptions::reached_nobody(self.id(), exceptions::AT_AN_END, payload);
            }
            // The handler sees the values of the callback.
            exceptions::reached_nobody(self.id(), exceptions::IN_A_CALLBACK, payload);
            self.called();
            return self.tell_if_slow(None);
        };
        self.tolerate(move || {
            self.tolerate(|| self.wakers.drop_future(&task));
            self.fail(&task, TaskError::Panicked(Panic::new(payload)));
            if self.watch.is_some() {
                self.tell_if_slow(Some(task.clone()));
            }
            // It may be the last owner, and drops what panics again.
            drop(task);
        });
    }

    /// Runs foreign code of which nobody wants to know whether it panics, but for the exception handler.
    fn tolerate(&self, act: impl FnOnce()) {
        self.tolerate_in(exceptions::AT_AN_END, act);
    }

    fn tolerate_in(&self, place: &'static str, act: impl FnOnce()) {
        exceptions::tolerate(self.id(), place, act);
    }

    /// Wakes, whosever waker it is.
    #[inline]
    fn wake(&self, waker: Waker) {
        match wakers::token_of(&waker) {
            Some(token) if self.has(token) => _ = self.wakers.wake(token),
            _ => self.tolerate(|| waker.wake()),
        }
    }

    // ---- what the floors above ask for ----

    /// A task that is about to be spawned.
    #[inline]
    pub(crate) fn draft(&self, name: Option<Rc<str>>, spawned_at: &'static Location<'static>) -> Draft {
        self.spawned.set(self.spawned.get() + 1);
        Draft { id: self.spawned.get(), lane: self.wakers.lane().number, spawned_at, name }
    }

    /// Queues a new task. While the loop shuts down it is cancelled, and its future is dropped in the next turn.
    #[inline]
    pub(crate) fn spawn<F: Future<Output: 'static> + 'static>(&self, draft: Draft, future: F) -> TypedTask<F::Output> {
        let task = TypedTask::new(draft, future);
        self.insert(task.any().clone());
        task
    }

    pub(crate) fn insert(&self, task: AnyTask) {
        if self.has_locals.get() {
            self.hand_locals_on(task.header());
        }
        let exempt = self.closing.get() && self.exempts();
        self.wakers.insert(task.clone());
        self.tell_spawn(task.header());
        if exempt {
            self.has_exempted.set(true);
        } else if self.closing.get() {
            self.cancel(&task);
        }
        self.stir();
    }

    /// Queues a task for a cleanup whose own task did not come to it. It runs also while the loop shuts down, and the first request
    /// to end lets it finish, as if its own task had been cancelled.
    pub(crate) fn spawn_cleanup<F: Future + 'static>(&self, draft: Draft, cleanup: F) {
        let task = TypedTask::new(draft, cleanup);
        task.header().spare();
        self.hand_locals_on(task.header());
        self.wakers.insert(task.any().clone());
        self.tell_spawn(task.header());
        self.stir();
    }

    pub(crate) fn call_soon(&self, call: Call) -> CallKey {
        let key = self.calls.borrow_mut().insert(call);
        self.wakers.push_call(key.entry());
        self.stir();
        key
    }

    /// The callback, which is to be dropped where no borrow is held, unless it was called or cancelled.
    pub(crate) fn cancel_call(&self, key: CallKey) -> Option<Call> {
        self.calls.borrow_mut().cancel(key)
    }

    pub(crate) fn add_timer(&self, deadline: Time, alarm: Alarm) -> TimerKey {
        self.tally().timers_armed.count();
        self.next.set(self.next.get().min(deadline));
        // Numbered as waits are, since some are records of waits.
        let age = self.wakers.next_number();
        #[cfg(feature = "probe")]
        let sleeper = self.sleeper(&alarm);
        let key = self.wheel.borrow_mut().insert(deadline.0, age, alarm);
        tell!(
            self.wakers,
            EventKind::TimerArm {
                timer: age,
                deadline: Duration::from_nanos(deadline.0),
                task: sleeper.map(|(task, _)| task),
            }
        );
        #[cfg(feature = "probe")]
        if let Some((task, at)) = sleeper {
            tell!(self.wakers, EventKind::WaitBegin { task, wait: age, what: "a sleep", at });
        }
        self.stir();
        key
    }

    /// How many timers are pending, also those that are due and have not fired yet.
    pub(crate) fn timers(&self) -> usize {
        self.wheel.borrow().len() + self.drained.get()
    }

    /// The alarm, which is to be dropped where no borrow is held, unless it has gone off or was cancelled.
    pub(crate) fn cancel_timer(&self, key: TimerKey) -> Option<Alarm> {
        let alarm = {
            let mut wheel = self.wheel.borrow_mut();
            let alarm = wheel.remove(key);
            if wheel.is_empty() {
                self.next.set(Time::NEVER);
            }
            alarm?
        };
        self.tally().timers_cancelled.count();
        tell!(self.wakers, EventKind::TimerCancel { timer: key.age() });
        self.tell_awake(key.age(), &alarm);
        Some(alarm)
    }

    /// A timer for a sleep of the running task that wakes whom `waker` wakes. It is the record of that wait, too.
    #[inline]
    pub(crate) fn alarm_for(&self, waker: &Waker, place: &'static Location<'static>) -> Alarm {
        match self.wakers.running_token() {
            token if wakers::token_of(waker) == Some(token) => Alarm::Task(token, place),
            token => Alarm::Within(token, place, wakers::keep(waker)),
        }
    }

    /// Whether the timer is still to come. If so, it wakes whom `waker` wakes from now on.
    pub(crate) fn timer_wakes(&self, key: TimerKey, waker: &Waker, place: &'static Location<'static>) -> bool {
        // Cloning and dropping a waker may be foreign code, so neither is done under the borrow, which ends with the match.
        let mut alarm = self.alarm_for(waker, place);
        match (self.wheel.borrow_mut().get_mut(key), &mut alarm) {
            (None, _) => return false,
            (Some(old), alarm) => std::mem::swap(old, alarm),
        }
        if let Alarm::Task(token, _) | Alarm::Within(token, ..) = alarm {
            if token != self.wakers.running_token() {
                self.wakers.give_away(token);
            }
        }
        #[cfg(feature = "probe")]
        self.tell_moved(key.age(), &alarm, place);
        drop(alarm);
        true
    }

    /// A sleep may have come from one task to another.
    #[cfg(feature = "probe")]
    fn tell_moved(&self, age: u64, before: &Alarm, at: &'static Location<'static>) {
        let now = self.wakers.running_token();
        if matches!(*before, Alarm::Task(task, _) | Alarm::Within(task, ..) if task != now) {
            self.tell_awake(age, before);
            if let Some(task) = self.wakers.id(now) {
                tell!(self.wakers, EventKind::WaitBegin { task, wait: age, what: "a sleep", at });
            }
        }
    }

    /// The tasks of which something is limited in time, by a timeout for example, also if its time is up already.
    pub(crate) fn limited(&self) -> Vec<Token> {
        let limit = |call: &Call| match call {
            Call::Watch(watcher, _) => watcher.limits(),
            Call::Once(_) => None,
        };
        let mut limited: Vec<Token> = self.calls.borrow().iter().filter_map(limit).collect();
        let wheel = self.wheel.borrow();
        limited.extend(wheel.iter().filter_map(|(_, _, alarm)| match alarm {
            Alarm::Call(call) => limit(call),
            _ => None,
        }));
        limited
    }

    /// The sleeps of all tasks: those of one task together, in the order in which they began.
    pub(crate) fn sleeps(&self) -> Vec<SleepRecord> {
        let mut sleeps = Vec::new();
        for (number, until, alarm) in self.wheel.borrow().iter() {
            match *alarm {
                Alarm::Task(task, place) | Alarm::Within(task, place, _) => {
                    sleeps.push(SleepRecord { task, number, until: Time(until), place });
                }
                Alarm::Call(_) => {}
            }
        }
        let order =
            sleeps.iter().enumerate().map(|(nth, sleep)| (sleep.task.bits(), sleep.number, nth as u64)).collect();
        sorted(order).into_iter().map(|(_, _, nth)| sleeps[nth as usize]).collect()
    }

    // ---- the probe ----

    /// Somebody is told of each thing that this loop does.
    #[cfg(feature = "probe")]
    pub(crate) fn set_probe(self: &Rc<Self>, probe: Box<dyn probe::Probe>) {
        let kernel = Rc::downgrade(self);
        let now = move || kernel.upgrade().map_or(Time(0), |kernel| kernel.clock.now());
        drop(self.wakers.probe.set(self.id(), Box::new(now), probe));
    }

    /// Each entry of the ready queue is looked at before and after.
    #[inline]
    fn is_watched(&self) -> bool {
        self.watch.is_some() || self.wakers.is_probed()
    }

    pub(crate) fn tell_panic(&self) {
        tell!(self.wakers, EventKind::Fail { why: probe::Failure::Panic });
    }

    pub(crate) fn tell_deadlock(&self) {
        tell!(self.wakers, EventKind::Fail { why: probe::Failure::Deadlock });
    }

    fn tell_spawn(&self, _task: &Header) {
        tell!(
            self.wakers,
            EventKind::Spawn {
                task: TaskId(_task.id),
                name: &_task.name(),
                at: _task.spawned_at,
                by: self.wakers.source()
            }
        );
    }

    /// Until the guard is dropped, what no task causes is caused by this.
    #[cfg(feature = "probe")]
    fn because_of(&self, cause: Source) -> Because<'_> {
        Because { slot: &self.wakers.probe, before: self.wakers.probe.cause.replace(cause) }
    }

    // ---- task-local values ----

    /// Those of the task that is being stepped, or of the callback that is being called. A destructor that runs in neither sees
    /// none, and what it sets is lost.
    pub(crate) fn locals(&self) -> Locals {
        match self.current() {
            Some(task) => task.header().locals(),
            None => self.callback_locals.borrow().clone(),
        }
    }

    pub(crate) fn set_locals(&self, locals: Locals) {
        self.has_locals.set(true);
        let before = match self.current() {
            Some(task) => task.header().replace_locals(locals),
            None if self.calling.get() => self.callback_locals.replace(locals),
            None => locals,
        };
        // Here, where no borrow is held.
        drop(before);
    }

    #[cold]
    fn hand_locals_on(&self, header: &Header) {
        let locals = self.locals();
        if !locals.is_empty() {
            header.replace_locals(locals);
        }
    }

    /// The values which a callback sees that is asked for now.
    pub(crate) fn locals_for_callback(&self) -> Locals {
        if self.has_locals.get() { self.locals() } else { Locals::default() }
    }

    /// A callback that sees the values which are set now.
    pub(crate) fn callback(&self, callback: impl FnOnce() + 'static) -> Call {
        callback_with(self.locals_for_callback(), callback)
    }

    /// The task that is being stepped.
    pub(crate) fn current(&self) -> Option<AnyTask> {
        self.wakers.running()
    }

    /// All living tasks, in the order in which they were spawned.
    pub(crate) fn tasks(&self) -> Vec<AnyTask> {
        let mut tasks = Vec::with_capacity(self.wakers.len());
        for (_, token, _) in sorted(self.wakers.ids()) {
            if let Some(task) = self.wakers.task(Token::from_bits(token)) {
                tasks.push(task);
            }
        }
        tasks
    }
}

/// See `Kernel::because_of`.
#[cfg(feature = "probe")]
struct Because<'a> {
    slot: &'a probe::ProbeSlot,
    before: Source,
}

#[cfg(feature = "probe")]
impl Drop for Because<'_> {
    fn drop(&mut self) {
        self.slot.cause.set(self.before);
    }
}

#[cfg(feature = "probe")]
impl From<Ending> for probe::Ending {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Value => probe::Ending::Value,
            Ending::Cancelled => probe::Ending::Cancelled,
            Ending::Panicked => probe::Ending::Panicked,
        }
    }
}

/// A callback that sees these values. Whoever calls it takes them away again, also if it panics.
pub(crate) fn callback_with(locals: Locals, callback: impl FnOnce() + 'static) -> Call {
    if locals.is_empty() {
        return Call::Once(Box::new(callback));
    }
    Call::Once(Box::new(move || {
        let kernel = context::running().expect("a callback is called in a turn of its loop");
        kernel.callback_locals.replace(locals);
        callback();
    }))
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernel").field("id", &self.id()).field("tasks", &self.wakers.len()).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::time::Duration;

    fn enter(clock: Clock) -> (Rc<Kernel>, context::Entered) {
        let kernel = Kernel::new(clock, false, None);
        let entered = context::enter(&kernel);
        (kernel, entered)
    }

    /// A loop that has nothing to do sleeps: it does not come by to look.
    #[test]
    fn idle_loop_makes_no_turns() {
        let (kernel, _entered) = enter(Clock::real());
        let over = Rc::new(Cell::new(false));
        let flag = over.clone();
        let deadline = kernel.clock.now().after(Duration::from_millis(30));
        kernel.add_timer(deadline, Alarm::Call(Call::Once(Box::new(move || flag.set(true)))));
        assert!(kernel.turn_until(&over).is_ok());
        assert!(kernel.clock.now() >= deadline, "TIME-2: the timer was early");
        // One that fires; a condition variable may return a few times for no reason.
        assert!(kernel.tally().turns.get() <= 5, "{} turns in which nothing was due", kernel.tally().turns.get());
    }

    /// A park that a late knock has ended is no wake-up for a timer: those that follow are not put off until its end.
    #[test]
    fn late_knock_puts_no_timer_off() {
        let (kernel, _entered) = enter(Clock::real());
        let begun = kernel.clock.now();
        kernel.add_timer(begun.after(Duration::from_secs(20)), Alarm::Call(Call::Once(Box::new(|| ()))));
        let inbox = kernel.inbox();
        let late = std::thread::spawn(move || inbox.knock_late());
        kernel.rest().unwrap();
        late.join().unwrap();
        // As after a swarm.
        (0..100).for_each(|_| kernel.pace.fired());
        assert!(kernel.pace.wake_up(begun) < begun.after(Duration::from_secs(1)));
    }

    /// A virtual clock that waits for others says so once, and goes on waiting.
    #[test]
    fn tell_once_of_a_long_rest() {
        thread_local!(static TOLD: Cell<u32> = const { Cell::new(0) });
        let (kernel, _entered) = enter(Clock::virtual_time());
        kernel.patience.set(Duration::ZERO);
        kernel.tell_of_long_rest.set(Some(|_| TOLD.set(TOLD.get() + 1)));
        kernel.inbox().add_remote(kernel.id());
        assert!(kernel.rest().is_ok());
        assert_eq!(TOLD.get(), 1);
        let inbox = kernel.inbox();
        let (id, message) = (kernel.id(), Message::Call(Box::new(|| ())));
        let sender = std::thread::spawn(move || inbox.send(id, message).is_ok());
        assert!(kernel.rest().is_ok() && sender.join().unwrap());
        kernel.turn();
        kernel.inbox().remove_remote(kernel.id());
        assert!(kernel.rest().is_err(), "there is nobody left");
        assert_eq!(TOLD.get(), 1);
    }

    /// A park that a late knock has ended is none in which the loop has waited long.
    #[test]
    fn late_knock_is_no_long_rest() {
        thread_local!(static TOLD: Cell<u32> = const { Cell::new(0) });
        let (kernel, _entered) = enter(Clock::virtual_time());
        kernel.patience.set(Duration::from_secs(20));
        kernel.tell_of_long_rest.set(Some(|_| TOLD.set(TOLD.get() + 1)));
        kernel.inbox().add_remote(kernel.id());
        let inbox = kernel.inbox();
        let late = std::thread::spawn(move || inbox.knock_late());
        assert!(kernel.rest().is_ok());
        late.join().unwrap();
        assert_eq!((TOLD.get(), kernel.tell_of_long_rest.take().is_some()), (0, true));
    }

    /// The memory of messages is used again, but for that of a flood.
    #[test]
    fn messages_keep_their_memory_unless_they_are_a_flood() {
        let (kernel, _entered) = enter(Clock::virtual_time());
        let mut kept = Vec::new();
        for count in [1, KEPT_MESSAGES + 1] {
            for _ in 0..count {
                assert!(kernel.inbox().send(kernel.id(), Message::Call(Box::new(|| ()))).is_ok());
            }
            kernel.turn();
            let memory = kernel.messages.take();
            kept.push(memory.capacity() > 0);
        }
        assert_eq!((kept, kernel.tally().messages.get() as usize), (vec![true, false], KEPT_MESSAGES + 2));
    }

    /// A future that was forgotten does not end its wait: that goes with its task.
    #[test]
    fn ended_task_leaves_no_record() {
        let (kernel, _entered) = enter(Clock::virtual_time());
        let forgetful = std::future::poll_fn(|_| {
            let kernel = context::running().unwrap();
            let waits = [(); 3].map(|()| {
                kernel.wakers.begin_wait(task::Wait::Task(kernel.wakers.running_token()), Location::caller())
            });
            assert!(waits.iter().all(Option::is_some));
            assert_eq!(kernel.wakers.records(), 3);
            std::task::Poll::Ready(())
        });
        let task = kernel.spawn(kernel.draft(None, Location::caller()), forgetful);
        kernel.turn();
        assert_eq!((task.header().is_done(), kernel.wakers.records()), (true, 0));
    }

    /// The numbers of spreads begin anew when they are used up, and marks of old ones are not taken for those of new ones.
    #[test]
    fn cancel_when_the_numbers_of_spreads_are_used_up() {
        let (kernel, _entered) = enter(Clock::virtual_time());
        let tokens = Rc::new(RefCell::new(Vec::new()));
        // Two tasks that await each other.
        let task = |other: usize| {
            let tokens = tokens.clone();
            std::future::poll_fn(move |_| {
                let kernel = context::running().unwrap();
                kernel.wakers.begin_wait(task::Wait::Task(tokens.borrow()[other]), Location::caller());
                std::task::Poll::<()>::Pending
            })
        };
        let tasks = [1, 0].map(|other| kernel.spawn(kernel.draft(None, Location::caller()), task(other)));
        tokens.borrow_mut().extend(tasks.iter().map(|task| task.header().token()));
        kernel.turn();
        // Leaves the marks of spread 1.
        kernel.cancel(tasks[0].any());
        kernel.spreads.set(cancel::LAST_SPREAD);
        kernel.cancel(tasks[0].any());
        let counts = || tasks.each_ref().map(|task| task.header().cancelling.get());
        assert_eq!((kernel.spreads.get(), counts()), (1, [2, 2]));
        kernel.turn();
        kernel.turn();
        // The last before the circle closes does not wait; the first would hear of its end by a waiter, which it does not have.
        assert_eq!(tasks.map(|task| task.header().ending.get()), [None, Some(Ending::Cancelled)]);
        assert!(kernel.close().is_ok());
    }

    /// When timers have fired, the next deadline is known again, or that there is none.
    #[test]
    fn fired_timers_leave_the_next_deadline() {
        let (kernel, _entered) = enter(Clock::virtual_time());
        for deadline in [Time(5), Time(5), Time(9)] {
            kernel.add_timer(deadline, Alarm::Call(Call::Once(Box::new(|| ()))));
        }
        let mut seen = Vec::new();
        for _ in 0..3 {
            kernel.turn();
            seen.push((kernel.clock.now(), kernel.next.get(), kernel.tally().timers_fired.get()));
        }
        assert_eq!(seen, [(Time(5), Time(9), 2), (Time(9), Time::NEVER, 3), (Time(9), Time::NEVER, 3)]);
    }

    /// A timer that is cancelled leaves nothing behind that keeps the loop looking at its clock.
    #[test]
    fn cancelled_timer_leaves_the_loop_calm() {
        let (kernel, _entered) = enter(Clock::virtual_time());
        let key = kernel.add_timer(Time(5), Alarm::Call(Call::Once(Box::new(|| unreachable!()))));
        assert_eq!(kernel.next_deadline(), Some(Time(5)));
        assert!(kernel.cancel_timer(key).is_some() && kernel.cancel_timer(key).is_none());
        kernel.call_soon(Call::Once(Box::new(|| ())));
        kernel.turn();
        assert!(kernel.rest().is_err(), "there is nothing to wait for");
        assert_eq!((kernel.next.get(), kernel.clock.now()), (Time::NEVER, Time(0)));
    }

    /// DONE-1: what `lend` gives out may still have a row when its future is gone, and is not polled there.
    #[test]
    fn lent_task_is_not_polled_after_the_body_has_unwound() {
        let (kernel, _entered) = enter(Clock::virtual_time());
        let polls = Cell::new(0);
        let future = std::future::poll_fn(|_| {
            polls.set(polls.get() + 1);
            std::task::Poll::<()>::Pending
        });
        let draft = kernel.draft(None, Location::caller());
        let lent = RefCell::new(None);
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            task::lend(draft, future, |_, main| {
                *lent.borrow_mut() = Some(main.clone());
                kernel.insert(main);
                std::panic::resume_unwind(Box::new("out of the body"))
            })
        }));
        assert!(unwound.is_err() && kernel.wakers.len() == 1);
        kernel.turn();
        let ending = lent.take().and_then(|task| task.header().ending.get());
        assert_eq!((polls.get(), kernel.wakers.len(), ending), (0, 0, Some(Ending::Cancelled)));
    }
}
