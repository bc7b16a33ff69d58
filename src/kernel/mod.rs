//! The loop: its state, and one turn of it. Begin here.
//!
//! A loop owns tasks. A task is a future that the loop polls. A future that cannot go on returns `Pending`, and leaves its waker
//! with somebody who will know when it can. Two questions are left for the loop: which task is polled next, and what is done when
//! there is none.
//!
//! ```text
//!                +-----------------------------------------------------+
//!                v                                                     |
//!   drain        take over what came from other threads                |
//!   listen       poll the sockets, now and then, if there are any      |
//!   look         read the clock, once; a virtual clock may jump        |
//!   expire       set aside the timers that are due                     |
//!   run_marked   run what was ready when the turn began: tasks,        |
//!                callbacks; `run_ready` may begin further turns        |
//!   fire         fire the timers that were set aside                   |
//!   idle         sleep until a deadline, or until something comes -----+
//! ```
//!
//! This is the order of asyncio's `_run_once`, and `tests/conformance/` compares it with CPython's own traces. Three rules make it:
//!
//! - What becomes ready during a turn waits for the next turn (READY-2). A task that is always ready does not keep others from
//!   running.
//! - Timers fire behind what was ready when the turn began, in the order of their deadlines (TIME-3). A timer that wakes a task
//!   queues it for the next turn.
//! - What came from other threads is taken over when a turn begins, in the order in which it came.
//!
//! Two short cuts change nothing of this order. Without timers no clock is read. And as long as nothing comes from elsewhere and no
//! timer can be due, `TaskTable::run_ready` goes from turn to turn by itself; it returns when there is something to do other than to
//! poll.
//!
//! # One task, followed
//!
//! 1. `spawn` makes a cell (`cell.rs`); `TaskTable::insert` gives it a row and a token, and puts it into the ready queue.
//! 2. In the next turn `TaskTable::run_ready` takes it out of the queue and polls its future. The waker is the token.
//! 3. The future waits for a timer, say. It leaves the waker there and returns `Pending`. Now the task stands in its row alone.
//! 4. The timer is due. `fire_next` wakes the task: the token leads to the row, and the task goes into the ready queue again.
//! 5. `run_ready` polls it once more, and the future returns. The cell drops the future and keeps the value; `run_ready` stops, and says
//!    `Stop::Ready`.
//! 6. `finish` takes the task out of its row, and tells those who wait for it. The cell stays as long as somebody has a handle.
//!
//! A task lives as long as it has a row, so nobody has to keep a handle. A wake from another thread differs in the fourth step alone:
//! it puts the token into the loop's inbox and knocks if the loop sleeps, and the next `drain` goes on as above. A task that is
//! woken while it runs is not polled again in the same step. It is noted, and goes to the end of the queue when it suspends.
//!
//! # Foreign code
//!
//! Polls, destructors, callbacks and the wakers of others are foreign code. They run in `run_marked` and in `fire`, and when a task ends.
//! They may call anything here: spawn, cancel, wake, drop the last handle of a task. So nothing is borrowed while they run (STEP-1),
//! and what is to be dropped is first taken out of its place. Panics are caught around many steps at once, in `guarded`:
//! `TaskTable::running` says whose panic it was, the task ends with it, and the turn goes on behind that task.
//!
//! # The rooms
//!
//! The folders here are rooms. Each does one thing that a loop can do beside its turn. The heart calls them at these places:
//!
//! ```text
//!   read_messages, listen, idle             idle/        what comes from elsewhere; sockets; the sleep; hosts
//!   call, fire_call, panicked, tolerate     callbacks/   callbacks; panics of foreign code
//!   suspended, unwind, fail                 cancel/      tasks that were cancelled
//!   next_deadline                           timers/      those who set timers and cancel them
//!   tell!, tally, run_marked_watched              observe/     counters, the probe, debug mode
//! ```
//!
//! Nothing here knows a word of the vocabulary: no gather, no sleep, no handle. Next: `ready.rs`.

/// Tells the probe, if one is set: `tell!(table, EventKind::TurnBegin)`. Foreign code, so nothing may be borrowed. Without
/// the feature `probe` it is nothing, and what it would tell is not computed.
macro_rules! tell {
    ($table:expr, $kind:expr) => {
        #[cfg(feature = "probe")]
        {
            let table: &crate::kernel::table::TaskTable = &$table;
            if table.probe.is_set() {
                table.probe.emit($kind);
            }
        }
    };
}

pub(crate) mod callbacks;
pub(crate) mod cancel;
pub(crate) mod cell;
mod clock;
pub(crate) mod idle;
pub(crate) mod observe;
mod ready;
pub(crate) mod table;
mod timers;
mod token;
mod wheel;

pub(crate) use callbacks::callback_with;
pub(crate) use cancel::marks::ScopeKey;
pub(crate) use cancel::spread::Links;
pub(crate) use clock::{Clock, Time};
pub(crate) use idle::inbox::{Inbox, Message, Parked};
pub(crate) use idle::lanes::inbox;
pub(crate) use idle::park::Stuck;
pub(crate) use observe::view::SleepRecord;
pub(crate) use observe::watch::{LongestStep, StepWatch};
pub(crate) use table::context;
pub(crate) use table::records::{WaitKey, WaiterKey};
pub(crate) use table::sort::sorted_once;
pub(crate) use table::view::State;
pub(crate) use table::waker::{clone_uncounted, wakes_the_same};
pub(crate) use timers::Alarm;
pub(crate) use token::Token;
pub(crate) use wheel::TimerKey;

use crate::error::TaskError;
use callbacks::calls::Calls;
use cancel::scopes::Region;
use cell::{AnyTask, Draft, Ending, TypedTask};
#[cfg(feature = "probe")]
use observe::probe::{EventKind, Source};
#[cfg(feature = "probe")]
use observe::task_id::TaskId;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::rc::Rc;
use std::task::Waker;
use table::records::Then;
use table::{Stop, TaskTable};
use timers::pace::Pace;
use wheel::Wheel;

/// A loop, as everything inside of the crate knows it. An `EventLoop` owns one.
///
/// All fields are cells: a loop is only ever seen by `&self`, because foreign code that runs in a turn comes back to it by way of
/// the thread's context (`table/context.rs`).
pub(crate) struct Kernel {
    // The heart's own. Written in this file alone, but for the clock, which moves itself.
    /// The waker table and the ready queue.
    pub(crate) table: Rc<TaskTable>,
    /// The callbacks that stand in the ready queue, by the numbers that stand there for them.
    calls: RefCell<Calls>,
    /// The loop's time. A real clock, or a virtual one.
    pub(crate) clock: Clock,
    /// How many tasks were ever spawned: the last one's id.
    spawned: Cell<u64>,

    // Timers. `timers/` puts them in and takes them out; `expire` and `fire` here let them go off.
    /// By their deadlines.
    wheel: RefCell<Wheel<Alarm>>,
    /// No timer is due before this. Without timers it is `Time::NEVER`, and no clock is read.
    next: Cell<Time>,
    /// How often a real clock is looked at, while timers are pending.
    pace: Pace,
    /// There are timers that were set aside and have not fired yet.
    firing: Cell<bool>,

    // Of the rooms. The heart reads here, and leaves the writing to them.
    pub(crate) callbacks: callbacks::Notes,
    cancels: cancel::Notes,
    pub(crate) idling: idle::Notes,
    /// In debug mode.
    watch: Option<StepWatch>,
}

impl Kernel {
    /// A loop that is `observed` knows who holds wakers; one on a virtual clock always is. With a `watch` it has to be,
    /// since then it tells when it can never go on.
    pub(crate) fn new(clock: Clock, observed: bool, watch: Option<StepWatch>) -> Rc<Self> {
        debug_assert!(observed || watch.is_none());
        Rc::new(Kernel {
            table: Rc::new(TaskTable::new(observed || clock.is_virtual())),
            calls: RefCell::default(),
            clock,
            spawned: Cell::new(0),
            wheel: RefCell::new(Wheel::new()),
            next: Cell::new(Time::NEVER),
            pace: Pace::new(),
            firing: Cell::new(false),
            callbacks: callbacks::Notes::default(),
            cancels: cancel::Notes::default(),
            idling: idle::Notes::default(),
            watch,
        })
    }

    // ---- the turn ----

    /// One turn, but for the rest. The caller has entered the context, so that wakes find the table.
    pub(crate) fn turn(&self) {
        let over = self.turn_until(&Self::this_turn_only());
        debug_assert!(over.is_ok());
    }

    /// Turns, and rests in between, until `over` is set at the end of a turn: by a callback at the end of the main task, for example.
    /// `Stuck` if nothing can ever become ready.
    #[inline(never)]
    pub(crate) fn turn_until(&self, over: &Cell<bool>) -> Result<(), Stuck> {
        loop {
            self.begin();
            self.run_turn(over);
            if over.get() {
                return Ok(());
            }
            self.idle()?;
        }
    }

    /// Whether a turn of so many entries may follow in which no clock is read, no timer fires and no socket is looked at.
    ///
    /// On a virtual clock that is certain: time stands still while anything is ready. A real clock would have to be read to know it, and
    /// that takes longer than a short step. `pace` says how many entries may go by until the next reading (`timers/pace.rs`).
    #[inline]
    fn may_skip_checks(&self, entries: usize) -> bool {
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
        self.begin_turn();
    }

    fn begin_turn(&self) {
        self.table.mark();
        #[cfg(feature = "probe")]
        self.table.probe.cause.set(Source::Kernel);
        tell!(self.table, EventKind::TurnBegin);
    }

    /// The second half: foreign code runs. If `over` is not set by the end of this turn, more turns may follow in here.
    #[inline]
    fn run_turn(&self, over: &Cell<bool>) {
        if self.is_watched() {
            self.run_marked_watched()
        } else if self.is_listening() {
            self.run_marked_and_listen(over)
        } else {
            self.run_marked(over)
        }
        self.fire();
        self.end_turn();
    }

    #[inline]
    fn end_turn(&self) {
        tell!(self.table, EventKind::TurnEnd);
        #[cfg(feature = "probe")]
        self.table.probe.cause.set(Source::Outside);
    }

    /// Takes over what came from elsewhere, in the order in which it came.
    #[inline]
    pub(crate) fn drain(&self) {
        if self.inbox().has_messages() {
            self.read_messages();
        }
    }

    /// The time of this turn, if a timer may be due. One reading serves the whole turn (TIME-1).
    #[inline]
    fn look(&self) -> Option<Time> {
        if self.next.get() == Time::NEVER { None } else { self.read_clock() }
    }

    fn read_clock(&self) -> Option<Time> {
        if self.clock.is_virtual() && self.table.is_idle() {
            // Nobody waits for the time to pass: it is later now.
            let next = self.next_deadline()?;
            if next > self.clock.now() {
                self.clock.jump(next);
            }
        }
        let now = self.clock.now();
        if !self.is_listening() || !self.clock.is_virtual() {
            // Else the pace is that of the machine's clock (`idle/sockets/listen.rs`).
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
    ///
    /// The switch polls one task after the other and returns for what is not a plain poll. What has to be done then is foreign code
    /// or leads to it, so it is done here, where the table is not borrowed.
    #[inline(never)]
    fn run_marked(&self, over: &Cell<bool>) {
        self.guarded(move || {
            // Nothing came from elsewhere, and no timer can be due: then one turn follows the other without a look around.
            let may_start_next_turn =
                |entries| !over.get() && !self.inbox().has_messages() && self.may_skip_checks(entries);
            loop {
                match self.table.run_ready(may_start_next_turn) {
                    Stop::Over => return,
                    Stop::Call(entry) => self.call(entry),
                    Stop::Ready(task) => self.returned(&task),
                    Stop::Suspended(task) => self.suspended(&task),
                    Stop::Unwinds(task) => self.unwind(&task, false),
                }
            }
        });
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

    /// Fires one of them. False if there was none: all have fired. Each is taken out by a borrow of its own, since what it does may cancel
    /// those behind it.
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
        tell!(self.table, EventKind::TimerFire { timer: age });
        self.tell_awake(age, &alarm);
        match alarm {
            Alarm::Task(token, _) => self.table.wake_from_sleep(token, age),
            Alarm::Within(_, _, waker) => self.wake(waker),
            Alarm::Call(call) => self.fire_call(call),
        }
        true
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

    /// The only place where a task ends: its future was dropped, and its outcome is written (DONE-1).
    ///
    /// It gives up its row, so that its wakers name nobody from now on (WAKE-1); then those who wait for it are told, in the order in
    /// which they came.
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
        let held = self.table.remove(header.token());
        #[cfg(feature = "probe")]
        let _because = self.because_of(Source::Kernel);
        tell!(self.table, EventKind::End { task: TaskId(header.id), ending: ending.into() });
        // In the order in which they came. Nobody comes any more: whoever looks from now on finds the task done.
        while let Some(then) = self.table.pop_waiter(header) {
            self.tell(then);
        }
        // Last, since this may drop what is foreign, an outcome that nobody wants for one, and what its destructor does is
        // its own affair.
        if self.callbacks.has_locals.get() {
            self.tolerate(|| drop(header.take_locals()));
        }
        drop(held);
    }

    /// One of those who wait for a task is told of its end: none of them runs before the next turn.
    #[inline]
    fn tell(&self, then: Then) {
        match then {
            Then::Wake(waker) => self.wake(waker),
            Then::Queue(call) => drop(self.call_soon(call)),
        }
    }

    /// Runs `act`, and again after each panic, until it comes to its end. To catch panics costs nothing as long as none comes, and so
    /// it is done once around many steps.
    #[inline]
    fn guarded(&self, act: impl Fn()) {
        while let Err(payload) = catch_unwind(AssertUnwindSafe(&act)) {
            self.panicked(payload);
        }
    }

    /// Wakes, whosever waker it is.
    #[inline]
    fn wake(&self, waker: Waker) {
        match table::waker::token_of(&waker) {
            Some(token) if self.has(token) => _ = self.table.wake(token),
            _ => self.tolerate(|| waker.wake()),
        }
    }

    // ---- what the floors above ask for ----

    /// A task that is about to be spawned.
    #[inline]
    pub(crate) fn draft(&self, name: Option<Rc<str>>, spawned_at: &'static Location<'static>) -> Draft {
        self.spawned.set(self.spawned.get() + 1);
        Draft { id: self.spawned.get(), lane: self.table.lane().number, spawned_at, name }
    }

    /// Queues a new task. While the loop shuts down it is cancelled, and its future is dropped in the next turn.
    #[inline]
    pub(crate) fn spawn<F: Future<Output: 'static> + 'static>(&self, draft: Draft, future: F) -> TypedTask<F::Output> {
        let task = TypedTask::new(draft, future);
        self.insert(task.any().clone());
        task
    }

    /// Puts a task into the table, and tells whoever looks on. It has the task-local values of whoever spawns it, and they are its own
    /// from now on. In a loop that is being shut down nothing new comes to run, but for what a cleanup needs.
    pub(crate) fn insert(&self, task: AnyTask) {
        if self.callbacks.has_locals.get() {
            self.hand_locals_on(task.header());
        }
        let exempt = self.cancels.closing.get() && self.exempts();
        self.table.insert(task.clone());
        self.tell_spawn(task.header());
        if exempt {
            self.cancels.has_exempted.set(true);
        } else if self.cancels.closing.get() {
            self.cancel(&task);
        }
        self.work_arrived();
    }

    /// The task that is being stepped.
    pub(crate) fn current(&self) -> Option<AnyTask> {
        self.table.running()
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
