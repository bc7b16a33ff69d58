//! The loop: its state, and one turn of it. Begin here.
//!
//! A loop owns tasks. A task is a future that the loop polls. A future that cannot continue stores its waker where the awaited event
//! will find it, and returns `Pending`. The loop decides two things: which task it polls next, and what it does when no task is ready.
//!
//! ```text
//!                +-----------------------------------------------------+
//!                v                                                     |
//!   drain        take over what came from other threads                |
//!   listen       poll the sockets, now and then, if there are any      |
//!   look         read the clock, once; a virtual clock may jump        |
//!   expire       set aside the timers that are due                     |
//!   mark         what is ready now belongs to this turn                |
//!   run_marked   run what is marked: tasks, callbacks;                 |
//!                `run_ready` may begin further turns                   |
//!   fire         fire the timers that were set aside                   |
//!   idle         sleep until a deadline, or until something comes -----+
//! ```
//!
//! This is the order of asyncio's `_run_once`. `tests/conformance/` compares it with CPython's own traces. Three rules define it:
//!
//! - What becomes ready after the mark waits for the next turn (READY-2). A task that is always ready does not keep others from running.
//! - Timers fire after the entries that were marked, in the order of their deadlines (TIME-3). A timer that wakes
//!   a task queues it for the next turn.
//! - Messages from other threads are taken over at the beginning of a turn, in the order in which they were sent.
//!
//! Two shortcuts do not change this order. Without timers and sockets, the loop reads no clock. While no message arrives and no
//! timer can be due, `TaskTable::run_ready` starts the next turn itself. It returns when anything else has to be done.
//!
//! # One task, followed
//!
//! 1. `spawn` allocates a cell (`cell.rs`). `TaskTable::insert` gives it a row and a token, and puts it into the ready queue.
//! 2. In the next turn, `TaskTable::run_ready` takes the task out of the queue and polls its future. The waker contains the token.
//! 3. The future waits for a timer, for example. It stores the waker there and returns `Pending`. The row keeps the task alive.
//! 4. The timer is due. `fire_next` wakes the task: the token names the row, and the task is put into the ready queue again.
//! 5. `run_ready` polls the task again. The future returns; the cell drops it and keeps the value. `run_ready` returns
//!    `Stop::Ready`.
//! 6. `finish` takes the task out of its row and notifies its waiters. The cell exists as long as a handle to it exists.
//!
//! A task lives while it has a row, so the program need not keep a handle. A task can be woken while it runs, mostly by itself.
//! On the loop's own thread, such a wake sets a flag; when the task suspends, the loop puts it at the end of the queue. A wake
//! from another thread puts the token into the loop's inbox, even if the task is running, and wakes a sleeping loop thread.
//! The next `drain` takes the token out of the inbox and wakes the task as in step 4.
//!
//! # User code
//!
//! User code is all code that the loop calls and does not own: polls, destructors, callbacks, exception handlers, and the wakers of
//! other executors. (Some comments call it foreign code.) It may call anything here: spawn, cancel, wake, drop the last handle of a
//! task. So nothing is borrowed while it runs (STEP-1), and a value is taken out of its place before it is dropped. It runs in:
//!
//! - `run_marked` and `fire`: tasks and callbacks; and at the end of a task, its destructors and its waiters' wakers.
//! - `drain`: if a sleep or a socket was dropped on another thread, its timer, callback or waker is dropped here.
//! - `listen` and `idle`: the wakers that wait for sockets.
//! - Wherever `tell!` stands: the probe, if the program has set one.
//!
//! `guarded` catches panics once around all steps of `run_marked`. A panic belongs to the task in `TaskTable::running`: that task
//! ends, and the turn continues with the next entry. If no task runs, the panic comes from a callback or a destructor, and
//! goes to the exception handler. `fire_call` and `tolerate` catch the panics of fired callbacks and of most destructors.
//!
//! # The rooms
//!
//! The files in this folder are the heart; subfolders are rooms. A room does one thing for the turn. The heart mainly calls:
//!
//! ```text
//!   read_messages, listen, idle             idle/        messages, sockets, waiting, hosts
//!   call, fire_call, panicked, tolerate     callbacks/   callbacks, and panics of user code
//!   suspended, unwind, fail                 cancel/      tasks that were cancelled
//!   next_deadline                           timers/      setting and cancelling timers
//!   tell!, tally, watched_run               observe/     counters, the probe, debug mode
//!   pop_due, next_jump, choose              explore/     which timer or entry is next, if a test explores
//! ```
//!
//! Tags such as READY-1 name the invariants of `docs/architecture.md`.
//!
//! The kernel imports nothing from the public API (the vocabulary): no gather, no lock, no handle; only errors. It knows
//! sleeps, because a timer that wakes a task is also the record of that task's sleep. Next: `ready.rs`.

/// Emits an event to the probe, if one is set: `tell!(table, EventKind::TurnBegin)`. The probe is user code, so nothing may be
/// borrowed here. Without the feature `probe`, the macro expands to nothing, and its argument is not evaluated.
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
pub(crate) mod clock;
pub(crate) mod explore;
pub(crate) mod idle;
pub(crate) mod observe;
mod ready;
pub(crate) mod table;
pub(crate) mod timers;
mod token;
mod wheel;

use alloc::{
    boxed::Box,
    rc::{Rc, Weak},
};
pub(crate) use callbacks::callback_with;
pub(crate) use cancel::marks::ScopeKey;
pub(crate) use cancel::spread::Links;
pub(crate) use clock::{Clock, Instant, Time};
pub(crate) use idle::inbox::{Inbox, Message, Parked};
pub(crate) use idle::lanes::inbox;
pub(crate) use idle::park::{OBSERVED, Observed, Stuck};
#[cfg(feature = "report")]
pub(crate) use observe::view::SleepRecord;
pub(crate) use observe::watch::StepWatch;
pub(crate) use table::context;
pub(crate) use table::records::{WaitKey, WaiterKey};
pub(crate) use table::sort::sorted_once;
pub(crate) use table::view::State;
pub(crate) use table::waker::{clone_uncounted, wakes_the_same};
#[cfg(feature = "sync")]
pub(crate) use table::waker::{own, wake_at_home};
pub(crate) use timers::Alarm;
pub(crate) use token::Token;
pub(crate) use wheel::TimerKey;

use crate::error::TaskError;
use crate::platform::catch_unwind;
use callbacks::calls::Calls;
use cell::{AnyTask, Draft, Ending, TypedTask};
use core::cell::{Cell, RefCell};
use core::mem::offset_of;
use core::panic::{AssertUnwindSafe, Location};
use core::task::Waker;
#[cfg(feature = "probe")]
use observe::probe::{EventKind, Source};
#[cfg(feature = "probe")]
use observe::task_id::TaskId;
use table::{Stop, TaskTable};
use timers::pace::Pace;
use wheel::Wheel;

/// The loop, as the rest of the crate sees it. An `EventLoop` owns one.
///
/// All state that changes is in cells, because a loop is used only through `&self`: user code that runs in a turn reaches the
/// loop again through the thread's context (`table/context.rs`).
pub(crate) struct Kernel {
    // Fields of the heart. `table` and `clock` change only through their methods; `callbacks/` changes `calls`.
    /// The task table and the ready queue.
    pub(crate) table: TaskTable,
    /// The callbacks in the ready queue that can be cancelled. In the queue, each is represented by its key in this collection.
    calls: RefCell<Calls>,
    /// The loop's time. A real clock, or a virtual one.
    pub(crate) clock: Clock,
    /// Number of tasks that were ever spawned. It is also the id of the last one.
    spawned: Cell<u64>,

    // Timers. `timers/` inserts and removes them; `expire` and `fire` here fire them.
    /// The pending timers, by deadline.
    wheel: RefCell<Wheel<Alarm>>,
    /// No timer is due before this time. `Time::NEVER` if there are no timers; then `look` reads no clock.
    next: Cell<Time>,
    /// How often a real clock is read while timers are pending.
    pace: Pace,
    /// Whether timers were set aside that have not fired yet.
    firing: Cell<bool>,

    // Fields of the rooms. The rooms write them, and the heart only reads them, except that `insert` sets `has_exempted`.
    pub(crate) callbacks: callbacks::Notes,
    cancels: cancel::Notes,
    guide: explore::Slot,
    pub(crate) idling: idle::Notes,
    /// Measures steps. `Some` in debug mode.
    watch: Option<Box<StepWatch>>,
}

impl Kernel {
    /// An observed loop counts the wakers that user code holds. A loop on a virtual clock and a loop with a `watch` must be
    /// observed, because they report deadlocks.
    pub(crate) fn new(clock: Clock, observed: Option<&'static Observed>, watch: Option<Box<StepWatch>>) -> Rc<Self> {
        debug_assert!(observed.is_some() || watch.is_none() && !clock.is_virtual());
        // Not `Rc::new`: this allocates first, so that the loop is built in its place.
        let vtable = observed.map(|observed| observed.vtable);
        Rc::new_cyclic(|kernel: &Weak<Kernel>| Kernel {
            table: TaskTable::new(kernel.as_ptr().wrapping_byte_add(offset_of!(Kernel, table)).cast(), vtable),
            calls: RefCell::default(),
            clock,
            spawned: Cell::new(0),
            wheel: RefCell::new(Wheel::new()),
            next: Cell::new(Time::NEVER),
            pace: Pace::new(),
            firing: Cell::new(false),
            callbacks: callbacks::Notes::default(),
            cancels: cancel::Notes::default(),
            guide: explore::Slot::default(),
            idling: idle::Notes { observed, ..idle::Notes::default() },
            watch,
        })
    }

    // ---- the turn ----

    /// Runs one turn, without `idle`. The caller has entered the thread's context, so that wakes find the table.
    pub(crate) fn turn(&self) {
        let over = self.turn_until(&Self::this_turn_only());
        debug_assert!(over.is_ok());
    }

    /// Runs turns, and waits between them. Returns after the turn in which `over` was set, for example by the callback that
    /// runs when the main task has ended. Returns `Stuck` if nothing can ever become ready.
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

    /// Whether another turn, of `entries` entries, may run without reading a clock, firing a timer or polling a socket.
    ///
    /// On a virtual clock without watched sockets, the last reading is enough: time stands still while anything is ready.
    /// Reading a real clock takes longer than a short step. So `pace` limits how many entries run between two readings.
    #[inline]
    fn may_skip_checks(&self, entries: usize) -> bool {
        if self.next.get() == Time::NEVER && !self.is_listening() {
            return true;
        }
        // `next` keeps its value until the timers that were set aside have fired, so these timers count as due here.
        let none_is_due = self.next.get() > self.clock.seen();
        let stands_still = self.clock.is_virtual() && !self.is_listening();
        none_is_due && (stands_still || self.pace.goes_on(entries))
    }

    /// Runs the first half of a turn: finds out what there is to do.
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

    /// Runs the second half of a turn: the user code. If `over` is still false at the end of the turn, this may run further turns.
    #[inline]
    fn run_turn(&self, over: &Cell<bool>) {
        if let Some(run) = self.watched_run() {
            run(self)
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

    /// Takes over the messages from other threads, in the order in which they were sent.
    #[inline]
    pub(crate) fn drain(&self) {
        if self.inbox().has_messages() {
            self.read_messages();
        }
    }

    /// Returns the time of this turn if a timer may be due. One reading serves the whole turn (TIME-1).
    #[inline]
    fn look(&self) -> Option<Time> {
        if self.next.get() == Time::NEVER { None } else { self.read_clock() }
    }

    fn read_clock(&self) -> Option<Time> {
        if self.clock.is_virtual() && self.table.is_idle() {
            // Nothing is ready, so virtual time passes: it jumps to the next deadline.
            let next = self.next_jump()?;
            if next > self.clock.now() {
                self.clock.jump(next);
            }
        }
        let now = self.clock.now();
        if !self.is_listening() || !self.clock.is_virtual() {
            // In the other case, with sockets on a virtual clock, `listen` calls `looked` with the machine's time.
            self.pace.looked(now);
        }
        (now >= self.next.get()).then_some(now)
    }

    /// Sets aside the timers that are due.
    #[cold]
    fn expire(&self, now: Time) {
        self.firing.set(true);
        self.wheel.borrow_mut().expire(now.0);
        tell!(self.table, EventKind::Expire { now: core::time::Duration::from_nanos(now.0) });
    }

    /// Steps the entries that were in the ready queue when the turn began (READY-2), and may then run further turns.
    ///
    /// The switch (`TaskTable::run_ready`) polls task after task. It returns if something other than a poll has to be done.
    /// This is done here, because the table does not know the loop.
    #[inline(never)]
    fn run_marked(&self, over: &Cell<bool>) {
        self.guarded(move || {
            // If no message has arrived and no timer can be due, `run_ready` starts the next turn itself.
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

    /// Fires the next of the timers that were set aside. Returns false if none is left. It takes out one timer at a time,
    /// because a callback may cancel later ones.
    #[inline(always)]
    fn fire_next(&self) -> bool {
        let Some((age, alarm)) = self.pop_due() else {
            self.firing.set(false);
            self.next_deadline(); // Updates `next`.
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

    /// Ends a task whose future has returned. If the task was condemned in this step, it ends as cancelled, whatever the future
    /// returned. (Condemned means cancelled, and is a mark in `Header::life`. `cancel/marks.rs` sets it at once.)
    #[inline]
    fn returned(&self, task: &AnyTask) {
        if task.header().has_extra() {
            self.leave_scopes(task.header());
        }
        if task.header().is_condemned() {
            self.fail(task, TaskError::Cancelled);
        } else {
            self.finish(task, Ending::Value);
        }
    }

    /// The only place where a task ends: its future has been dropped, and its outcome is written (DONE-1).
    ///
    /// The task gives up its row, so from now on its wakers wake nothing (WAKE-1). Then its waiters are notified, in order of
    /// registration.
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
        let held = self.table.remove(header);
        #[cfg(feature = "probe")]
        let _because = self.because_of(Source::Kernel);
        tell!(self.table, EventKind::End { task: TaskId(header.id), ending: ending.into() });
        self.tell_waiters(header);
        // After the waiters, because this may run user code: destructors of task-local values, and with `held`, if it is the
        // last reference, an outcome that nobody wants.
        if let Some(locals) = self.callbacks.locals_in_use() {
            (locals.end_task)(self, header);
        }
        drop(held);
    }

    /// Runs `act` until it returns: after each panic, `act` is called again. One call of `catch_unwind` serves many steps, so a
    /// step pays nothing for it.
    #[inline]
    fn guarded(&self, act: impl Fn()) {
        while let Err(payload) = catch_unwind(AssertUnwindSafe(&act)) {
            self.panicked(payload);
        }
    }

    /// Calls a waker. A waker of this loop goes directly to the table; any other waker is user code.
    #[inline]
    fn wake(&self, waker: Waker) {
        match table::waker::token_of(&waker) {
            Some(token) if self.has(token) => _ = self.table.wake(token),
            _ => self.tolerate(|| waker.wake()),
        }
    }

    // ---- what the other parts of the crate call ----

    /// Prepares a task that is about to be spawned.
    #[inline]
    pub(crate) fn draft(&self, name: Option<Rc<str>>, spawned_at: &'static Location<'static>) -> Draft {
        self.spawned.set(self.spawned.get() + 1);
        Draft { id: explore::touched::spawned(self.spawned.get()), spawned_at, name }
    }

    /// Creates a task and queues it. See `insert` for what happens while the loop shuts down.
    #[inline]
    pub(crate) fn spawn<F: Future<Output: 'static> + 'static>(
        &self,
        name: Option<Rc<str>>,
        spawned_at: &'static Location<'static>,
        future: F,
    ) -> TypedTask<F::Output> {
        let task = TypedTask::new(|| self.draft(name, spawned_at), future);
        self.insert(task.any().clone());
        task
    }

    /// Puts a task into the table. In the usual case there is nothing else to do.
    pub(crate) fn insert(&self, task: AnyTask) {
        let is_usual = self.callbacks.locals_in_use().is_none() && !self.cancels.closing.get() && !self.host_sleeps();
        if is_usual && !self.table.is_probed() { self.table.insert(task) } else { self.insert_and_tell(task) }
    }

    /// The running task.
    pub(crate) fn current(&self) -> Option<AnyTask> {
        self.table.running()
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
