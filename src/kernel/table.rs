//! The task table: a row for each living task, the ready queue, and the switch.
//!
//! A waker's data pointer is a `Token`, which names a row. Cloning and dropping a waker do nothing. A wake on the loop's own thread,
//! inside of a turn, finds the row, compares the token, and pushes the task into the ready queue: no count, no lock, no atomic
//! operation. A wake from anywhere else goes to the inbox of the token's lane, and comes back here when the loop drains it.
//!
//! ```text
//!   thread_local HOME ----> TaskTable { rows: [ token | task ], ready: [ task task task ] }
//!                                      ^
//!   Waker { data: token, vtable } ----'  row = token.slot(); same token? waiting? then ready.push(task)
//! ```
//!
//! That is so in a loop that nobody observes. In one on a virtual clock, in debug mode, with metrics or a probe, wakers that
//! others keep are counted, by the inbox, so that the loop knows who could still wake its tasks: they have another vtable.
//!
//! A task that has ended leaves its row to the next generation, so its old wakers compare unequal (WAKE-1), and nothing has to
//! stay alive for them.
//!
//! # The switch
//!
//! `run_ready` is the one loop that matters for speed: it takes an entry, polls it, and takes the next. While a task is polled it keeps
//! its mark `SCHEDULED` though it has left the queue. So a wake of it, mostly by itself, finds nothing to do but to note `SCHEDULED`
//! in `running_flags`, and a task that comes back with that note is pushed again, with nothing else to be written. Whatever else comes upon
//! a task while it runs, a cancellation for example, is noted there too, and looked at when it suspends.
//!
//! # Who holds what
//!
//! A row holds its task: as long as a token names the task, the cell is there. The ready queue holds nothing; a task in it has a row.
//! The running task is held by its row as well, and no row is given up but by `remove`, which is called for a task at which the switch
//! has stopped. This is what each `SAFETY` comment here rests on.
//!
//! What tasks wait for, and who waits for them, stands here too (`table/records.rs`): nodes of lists that begin in the tasks'
//! headers.
//!
//! Does not know what wakes a task, nor what becomes of it when it has ended. Next: `clock.rs`.
#![allow(unsafe_code, reason = "the waker's vtable, and a table that is found uncounted and borrowed without a flag")]

pub(crate) mod context;
mod entry;
pub(crate) mod lists;
pub(crate) mod records;
mod rows;
pub(crate) mod sort;
pub(crate) mod unwinding;
pub(crate) mod view;
pub(crate) mod waker;

use super::cell::{self, AnyTask, Header, SCHEDULED};
use super::idle::lanes::{self, Lane};
#[cfg(feature = "probe")]
use super::observe::probe::{EventKind, ProbeSlot, WakeOutcome};
use super::observe::tally::Tally;
use super::ready::ReadyQueue;
use super::token::{LAST_GENERATION, MAX_SLOTS, Token};
use entry::Entry;
use lists::{List, Lists};
use records::{Numbered, Then, WaitEntry};
use std::cell::{Cell, UnsafeCell};
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::task::{Context, RawWakerVTable, Waker};
use waker::{COUNTED, PLAIN};

/// The tasks of a loop. In an `Rc` of its own, apart from the loop, since wakers look for it on the thread (`table/waker.rs`).
pub(crate) struct TaskTable {
    /// The loop's number among the loops of the process, and its inbox.
    lane: Lane,
    /// Of the wakers that tasks are polled with: `PLAIN`, or `COUNTED` if the loop is observed.
    vtable: &'static RawWakerVTable,
    /// The task that is being stepped, or `Token::NOBODY`. A task that wakes itself is known by this alone.
    pub(super) running: Cell<Token>,
    /// What came upon the running task flags: of `SCHEDULED`, `CONDEMNED`, `RAISED` and `DOOMED`.
    pub(super) running_flags: Cell<u8>,
    /// Borrowed in `with` alone.
    rows: UnsafeCell<Rows>,
    pub(crate) tally: Tally,
    /// Who hears of what the loop does.
    #[cfg(feature = "probe")]
    pub(crate) probe: ProbeSlot,
    /// In debug builds, whether `table` is borrowed.
    #[cfg(debug_assertions)]
    borrowed: Cell<bool>,
}

/// What is borrowed in `with`.
struct Rows {
    /// By their slots. None is ever taken away.
    rows: Vec<Row>,
    /// Here and not beside it, so that a wake finds row and queue by one borrow.
    ready: ReadyQueue<Entry>,
    /// Vacant rows, to be used again. The last to come is the first to go.
    vacant: Vec<u32>,
    /// How many rows have a tenant.
    tenants: usize,
    /// What all tasks wait for.
    waits: Lists<Numbered<WaitEntry>>,
    /// Who waits for all tasks.
    waiters: Lists<Numbered<Then>>,
    /// The number of the last wait, waiter or scope of any task. Each has its own, so that one that has gone is not taken for
    /// another, and what began earlier has the lower one.
    numbered: u64,
}

/// One task after the other lives here.
struct Row {
    /// The tenant's token, or the next one's while the row is vacant.
    token: Token,
    /// The tenant, from `AnyTask::into_raw`. The row holds it.
    task: Option<NonNull<Header>>,
}

/// Why `run_ready` has stopped, and what is to be done before it goes on. In all but the first two, the task is still running.
pub(crate) enum Stop {
    /// This turn's entries are through.
    Over,
    /// A callback is to be called.
    Call(u32),
    /// The future is ready and gone, its outcome is there.
    Ready(AnyTask),
    /// The task has suspended, and was cancelled while it ran (`TaskTable::interrupted`).
    Suspended(AnyTask),
    /// The task was cancelled, or unwinds already, and it is its turn: it was not polled.
    Unwinds(AnyTask),
}

impl TaskTable {
    /// In an observed loop all wakes are counted, and who else holds wakers is known.
    pub(crate) fn new(observed: bool) -> Self {
        let rows = Rows {
            rows: Vec::new(),
            ready: ReadyQueue::new(Entry::UNUSED),
            vacant: Vec::new(),
            tenants: 0,
            waits: Lists::new(),
            waiters: Lists::new(),
            numbered: 0,
        };
        TaskTable {
            lane: lanes::enter(),
            vtable: if observed { &COUNTED } else { &PLAIN },
            running: Cell::new(Token::NOBODY),
            running_flags: Cell::new(0),
            rows: UnsafeCell::new(rows),
            tally: Tally::default(),
            #[cfg(feature = "probe")]
            probe: ProbeSlot::default(),
            #[cfg(debug_assertions)]
            borrowed: Cell::new(false),
        }
    }

    #[inline]
    pub(crate) fn lane(&self) -> &Lane {
        &self.lane
    }

    /// Lends the rows to `act`. Private to this file and its folder, where each `act` is a few lines that call no foreign code and
    /// drop no task: what they take out they return.
    #[inline(always)]
    fn with<R>(&self, act: impl FnOnce(&mut Rows) -> R) -> R {
        #[cfg(debug_assertions)]
        assert!(!self.borrowed.replace(true), "STEP-1: the waker table was borrowed while it was borrowed");
        // SAFETY: `TaskTable` is not `Sync`, so only this thread is here, and no `act` in this file and its folder can lead back to
        // `with` (STEP-1). Debug builds count.
        let result = act(unsafe { &mut *self.rows.get() });
        #[cfg(debug_assertions)]
        self.borrowed.set(false);
        result
    }

    // ---- rows ----

    /// Gives a task a row and a token, and queues it. The row holds it until `remove` gives it back.
    #[inline]
    pub(crate) fn insert(&self, task: AnyTask) {
        // Before the row takes the task over: a panic leaves it with the caller.
        let has_room = self.with(|table| !table.vacant.is_empty() || table.rows.len() < MAX_SLOTS);
        assert!(
            has_room,
            "a new task was asked for, but {MAX_SLOTS} are alive or have used up their rows; let some end first"
        );
        let task = task.into_raw();
        let token = self.with(|table| {
            let slot = match table.vacant.pop() {
                Some(slot) => slot,
                None => table.add_row(&self.lane),
            };
            let row = &mut table.rows[slot as usize];
            debug_assert!(row.task.is_none(), "WAKE-1: two tasks in a row");
            row.task = Some(task);
            table.tenants += 1;
            self.tally.spawned.count();
            table.ready.push(Entry::task(task));
            row.token
        });
        // SAFETY: the row holds the task it names.
        let header = unsafe { task.as_ref() };
        debug_assert!(header.token.get() == Token::unplaced(self.lane.number), "READY-1: a task was inserted twice");
        header.token.set(token);
        header.life.set(SCHEDULED);
    }

    /// Takes a running task out of its row, which its token does not name any more (WAKE-1).
    ///
    /// The row goes to the next task that is made, with the next generation. After 16,777,214 tasks a row is used up and stays empty.
    #[inline]
    pub(crate) fn remove(&self, token: Token) -> AnyTask {
        debug_assert!(token == self.running.get(), "STEP-2: a task ended outside of its step");
        self.running.set(Token::NOBODY);
        // It was woken in its last step, by itself or by its destructors.
        self.tally.outrun.add(u64::from(self.running_flags.replace(0) & SCHEDULED));
        let task = self.with(|table| {
            let row = &mut table.rows[token.slot() as usize];
            assert!(row.token == token, "WAKE-1: a task was to be removed from another's row");
            table.tenants -= 1;
            if token.generation() + 1 < LAST_GENERATION {
                row.token = token.next();
                table.vacant.push(token.slot());
            } else {
                // Used up: the row stays vacant, under a token that nobody ever had.
                row.token = Token::new(token.lane(), LAST_GENERATION, token.slot());
            }
            let task = row.task.take();
            // SAFETY: the row has held it until just now, and nobody took it over.
            let task = task.map(|task| unsafe { AnyTask::from_raw(task) });
            if let Some(header) = task.as_ref().map(AnyTask::header) {
                header.life.set(0);
                // What it did not end by itself was forgotten, and owns nothing.
                let mut waits = header.waits.replace(List::EMPTY);
                while table.waits.pop(&mut waits).is_some() {}
            }
            task
        });
        task.expect("WAKE-1: a row without its task")
    }

    /// The task of a token, while it lives.
    pub(crate) fn task(&self, token: Token) -> Option<AnyTask> {
        // SAFETY: the row holds the task it names.
        self.row(token).map(|task| unsafe { AnyTask::held(task) })
    }

    /// Whether a token's task has not ended.
    pub(crate) fn is_alive(&self, token: Token) -> bool {
        self.row(token).is_some()
    }

    /// Compares the token with the row's: a number of another tenant, or of another loop, names nobody here.
    #[inline]
    fn row(&self, token: Token) -> Option<NonNull<Header>> {
        self.with(|table| {
            let row = table.rows.get(token.slot() as usize)?;
            if row.token == token { row.task } else { None }
        })
    }

    // ---- wakes ----

    /// Queues a task if it waits. False if the token names no task of this loop.
    ///
    /// A task that is queued already stays where it is: it will be polled, and that is all that a wake asks for. Several wakes before a
    /// poll are one.
    #[inline]
    pub(crate) fn wake(&self, token: Token) -> bool {
        self.wake_with(token, |_| {})
    }

    /// A sleep of a task is over, that of this number. A task that has scopes remembers which.
    #[inline]
    pub(crate) fn wake_from_sleep(&self, token: Token, number: u64) {
        let turn = self.tally.turns.get();
        self.wake_with(token, |header| header.note_sleep(number, turn));
    }

    /// As `wake`, and tells the task before.
    #[inline(always)]
    fn wake_with(&self, token: Token, tell_task: impl FnOnce(&Header)) -> bool {
        // First, since a probe that is told of it may ask what was counted.
        self.tally.wakes.count();
        if self.queue(token, tell_task) {
            return true;
        }
        if token.lane() != self.lane.number {
            // It counts where it comes to.
            self.tally.wakes.take_back();
        } else {
            self.tally.late.count();
            tell!(self, EventKind::Wake { task: None, by: self.source(), outcome: WakeOutcome::Late });
        }
        false
    }

    /// As `wake_with`, but for what it counts.
    #[inline]
    fn queue(&self, token: Token, tell_task: impl FnOnce(&Header)) -> bool {
        let Some(task) = self.row(token) else { return false };
        // SAFETY: the row holds the task it names.
        let header = unsafe { task.as_ref() };
        tell_task(header);
        if token == self.running.get() {
            self.wake_running();
        } else if header.life.get() & SCHEDULED == 0 {
            header.life.set(header.life.get() | SCHEDULED);
            self.with(|table| table.ready.push(Entry::task(task)));
            tell!(self, self.woken(header, WakeOutcome::Queued));
        } else {
            self.tally.merged.count();
            tell!(self, self.woken(header, WakeOutcome::Merged));
        }
        true
    }

    /// The running task is to be queued when it suspends.
    fn wake_running(&self) {
        let _is_first = self.running_flags.get() & SCHEDULED == 0;
        if !_is_first {
            self.tally.merged.count();
        }
        self.note(SCHEDULED);
        #[cfg(feature = "probe")]
        if let Some(task) = self.running() {
            let outcome = if _is_first { WakeOutcome::Queued } else { WakeOutcome::Merged };
            tell!(self, self.woken(task.header(), outcome));
        }
    }

    /// Something comes upon the running task.
    #[inline]
    pub(super) fn note(&self, what: u8) {
        self.running_flags.set(self.running_flags.get() | what);
    }

    // ---- the ready queue ----

    /// Nothing is ready: neither a task nor a callback.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.with(|table| table.ready.is_empty())
    }

    /// How much is ready, of this turn and of the next.
    pub(crate) fn ready_len(&self) -> usize {
        self.with(|table| table.ready.len())
    }

    /// The running task suspends, and was woken while it ran.
    pub(super) fn push_running(&self, task: &Header) {
        let entry = Entry::task(self.row(task.token()).expect("WAKE-1: a running task has a row"));
        self.with(|table| table.ready.push(entry));
    }

    /// A callback is to be called, behind what is ready now.
    pub(crate) fn push_call(&self, key: u32) {
        self.tally.calls_pushed.count();
        self.with(|table| table.ready.push(Entry::call(key)));
    }

    /// A turn begins: what is ready now is its own.
    #[inline]
    pub(crate) fn mark(&self) {
        self.tally.turns.count();
        self.with(|table| table.ready.mark());
    }

    // ---- the switch ----

    /// Steps the tasks of this turn, until something other than a switch is to be done. If nothing else was to be done between
    /// this turn and the next, which `may_start_next_turn` knows for a turn of so many entries, it goes on with the next.
    ///
    /// This loop is what a task switch costs. It is one function and calls nothing but the future, so that nothing has to be
    /// saved and restored in between: written as a function a step, it took half as many instructions again.
    ///
    /// What stops it, and who goes on then:
    ///
    /// ```text
    ///   Over          the turn is through                            the loop: timers, then the rest
    ///   Call          an entry is a callback                         the loop calls it
    ///   Ready         a future returned                              `Kernel::returned`: the task ends
    ///   Suspended     something came upon the task while it ran      `Kernel::suspended`: it is cancelled
    ///   Unwinds       it was cancelled before its turn came          `Kernel::unwind`: cleanups, then its end
    /// ```
    ///
    /// A panic of a future comes through, and leaves its task running.
    #[inline]
    pub(crate) fn run_ready(&self, may_start_next_turn: impl Fn(usize) -> bool) -> Stop {
        loop {
            let Some(entry) = self.with(|table| table.ready.pop_marked()) else {
                let entries = self.ready_len();
                if entries > 0 && may_start_next_turn(entries) {
                    self.mark();
                    continue;
                }
                self.running.set(Token::NOBODY);
                return Stop::Over;
            };
            if let Some(key) = entry.key() {
                self.running.set(Token::NOBODY);
                return Stop::Call(key);
            }
            // SAFETY: a task in the ready queue has a row, which holds it: it leaves both at once, or the queue first (READY-1).
            if let Some(halt) = unsafe { self.step(entry.0) } {
                return halt;
            }
        }
    }

    /// The task has left the queue, and is polled, unless it is to end.
    ///
    /// # Safety
    ///
    /// A row holds the task.
    #[inline(always)]
    unsafe fn step(&self, task: NonNull<Header>) -> Option<Stop> {
        // SAFETY: a row holds the task.
        let header = unsafe { task.as_ref() };
        debug_assert!(header.life.get() & SCHEDULED != 0, "READY-1: a task was stepped that was not queued");
        let token = header.token();
        self.running.set(token);
        self.running_flags.set(0);
        if header.life.get() != SCHEDULED {
            // SAFETY: a row holds the task.
            return Some(Stop::Unwinds(unsafe { AnyTask::held(task) }));
        }
        // SAFETY: the same.
        unsafe { self.poll(task, token) }
    }

    /// Polls the running task.
    ///
    /// # Safety
    ///
    /// A row holds the task.
    #[inline(always)]
    unsafe fn poll(&self, task: NonNull<Header>, token: Token) -> Option<Stop> {
        // SAFETY: a row holds the task.
        let header = unsafe { task.as_ref() };
        // It has nothing to drop, and is not asked for it at each step: that would be a twentieth of a switch.
        let waker = self.waker_of(token);
        // SAFETY: the row holds the task until `remove`, which is for tasks at which `run_ready` has stopped. It left the queue just
        // now and is not pushed while it is running, so nobody else is polling it (STEP-2). A task that has returned is removed
        // (DONE-1), and of one whose future was dropped unfinished the cell polls nothing.
        let poll = unsafe { cell::poll(task, &mut Context::from_waker(&waker)) };
        if poll.is_ready() {
            // SAFETY: the row holds the task.
            return Some(Stop::Ready(unsafe { AnyTask::held(task) }));
        }
        // While it ran it kept the mark `SCHEDULED`, so that a task which has woken itself needs no new one.
        let flags = self.running_flags.get();
        if flags == SCHEDULED {
            self.with(|table| table.ready.push(Entry::task(task)));
            return None;
        }
        header.life.set(flags);
        if flags == 0 {
            return None;
        }
        // SAFETY: the row holds the task.
        Some(Stop::Suspended(unsafe { AnyTask::held(task) }))
    }

    // ---- the steps of a task that unwinds ----

    /// What wakes the task of a token. Borrowed: it is not counted, and not dropped.
    #[inline(always)]
    pub(crate) fn waker_of(&self, token: Token) -> ManuallyDrop<Waker> {
        // SAFETY: the vtable's functions do what `RawWaker` asks for, with any data.
        ManuallyDrop::new(unsafe { Waker::new(token.to_data(), self.vtable) })
    }

    /// The task that is being stepped.
    pub(crate) fn running(&self) -> Option<AnyTask> {
        self.task(self.running.get())
    }

    /// The token of the task that is being stepped, or `Token::NOBODY`.
    #[inline]
    pub(crate) fn running_token(&self) -> Token {
        self.running.get()
    }

    /// Whether the task is being stepped.
    #[inline]
    pub(crate) fn is_running(&self, task: &Header) -> bool {
        task.token() == self.running.get()
    }

    /// No task is being stepped any more: what runs now is not its own.
    pub(crate) fn leave_step(&self) {
        self.running.set(Token::NOBODY);
    }
}
