//! The task table: a row for each living task, the ready queue, and the switch.
//!
//! A waker's data pointer is a `Token`, which names a row. Cloning and dropping a waker usually do nothing. A wake on the loop's own
//! thread, inside a turn, finds the row, compares the tokens, and pushes the task into the ready queue: no reference count, no
//! lock, no atomic operation. A wake from anywhere else goes to the inbox of the token's lane, until `drain` reads it.
//!
//! ```text
//!   thread_local RUNNING -> TaskTable { rows: [ task .. ], ready: task -> task -> task }
//!                                      ^
//!   Waker { data: token, vtable } ----'  row = token.slot(); same token? waiting? then ready.push(task)
//! ```
//!
//! This holds for loops that are not observed. A loop is observed if it has a virtual clock, debug mode, metrics or a probe.
//! Its inbox then counts the wakers that user code holds, so the loop knows whether a task can still be woken. The wakers of
//! an observed loop have another vtable.
//!
//! When a task ends, its row gets the next generation, so the task's old wakers match no task (WAKE-1), and keep nothing alive.
//!
//! # The switch
//!
//! `run_ready` is the one loop that matters for speed: it takes an entry, polls it, and takes the next. A task keeps its mark
//! `SCHEDULED` while it is polled, although it has left the queue. A wake of the running task, mostly by itself, only sets
//! `SCHEDULED` in `running_flags`. If that is the only flag when the task suspends, the task is pushed again, and no other
//! field is written. Other events that concern the running task, for example a cancellation, set other flags in
//! `running_flags`. All flags are handled when the task suspends.
//!
//! # Who holds what
//!
//! A row holds a reference to its task: as long as a token names the task, the cell exists. The ready queue holds no
//! references; each task in it has a row. The running task has a row too. Only `remove` empties a row, and it is called only
//! for a task at which the switch has stopped. Each `SAFETY` comment here rests on this.
//!
//! The table also contains the tasks' waits and waiters (`table/store.rs`).
//!
//! This file does not know what wakes a task, or what happens when a task ends. Next: `clock.rs`.
#![allow(unsafe_code, reason = "the waker's vtable, and a table that is found uncounted and borrowed without a flag")]

pub(crate) mod context;
pub(super) mod entry;
pub(crate) mod lists;
pub(crate) mod records;
mod rows;
pub(crate) mod sort;
mod store;
pub(crate) mod unwinding;
pub(crate) mod view;
pub(crate) mod waiters;
pub(crate) mod waits;
pub(crate) mod waker;

use super::callbacks::calls::Callback;
use super::cell::{self, AnyTask, Header, SCHEDULED};
use super::idle::lanes::{self, Lane};
#[cfg(feature = "probe")]
use super::observe::probe::{EventKind, ProbeSlot, WakeOutcome};
use super::observe::tally::Tally;
use super::ready::{Link, ReadyQueue};
use super::token::{Token, data::Lent};
use alloc::vec::Vec;
use core::cell::{Cell, UnsafeCell};
use core::mem::{ManuallyDrop, offset_of};
use core::ptr::NonNull;
use core::task::{Context, RawWakerVTable};
use entry::Entry;
use rows::Row;
use store::{MERGED, Store};
use waker::PLAIN;

/// The tasks of a loop. Wakers find it through the running loop of the thread (`table/context.rs`).
pub(crate) struct TaskTable {
    /// The loop's number among the loops of the process, and its inbox.
    lane: Lane,
    /// The vtable of the wakers with which tasks are polled: `PLAIN`, or `COUNTED` if the loop is observed.
    vtable: &'static RawWakerVTable,
    /// The running task, or `Token::NOBODY`. A wake of the running task is recognised by this alone.
    pub(super) running: Cell<Token>,
    /// Events that concern the running task: a set of `SCHEDULED`, `CONDEMNED`, `RAISED` and `DOOMED`.
    pub(super) running_flags: Cell<u8>,
    /// The link to the first entry of the next turn. The ready queue uses it, and it is not borrowed with the queue.
    first: Link<Entry>,
    /// Borrowed only in `with`.
    rows: UnsafeCell<Rows>,
    pub(crate) tally: Tally,
    /// Receives the loop's events.
    #[cfg(feature = "probe")]
    pub(crate) probe: ProbeSlot,
    /// In debug builds, whether `rows` is borrowed.
    #[cfg(debug_assertions)]
    borrowed: Cell<bool>,
}

/// The part of the table that `with` borrows.
struct Rows {
    /// By slot. Rows are never removed.
    rows: Vec<Row>,
    /// The ready queue is in here, so that a wake reaches row and queue with one borrow.
    ready: ReadyQueue<Entry>,
    /// The first vacant row, or `Row::NONE`. Each vacant row names the next one. Last in, first out.
    vacant: u32,
    /// Number of rows with a tenant.
    tenants: usize,
    /// What tasks wait for, and their waiters. Dropped only if a number was given: otherwise the store has no memory.
    records: ManuallyDrop<Store>,
    /// The number of the latest wait, waiter, scope or timer of any task. Numbers are unique, so a removed item is never
    /// confused with another one. Numbers increase, so the item that began earlier has the lower number.
    numbered: u64,
}

/// Why `run_ready` has stopped. In the last three cases, the task is still the running task.
pub(crate) enum Stop {
    /// All entries of this turn were stepped.
    Over,
    /// The entry is a callback, which is to be called.
    Call(Callback),
    /// The future has returned and was dropped; the outcome is written. This is the row's reference, which `remove` returns.
    Ready(ManuallyDrop<AnyTask>),
    /// The task has suspended, and a flag was set while it ran, a cancellation for example (`TaskTable::interrupted`).
    Suspended(AnyTask),
    /// The task was cancelled before this step, or is unwinding. Its future was not polled.
    Unwinds(AnyTask),
}

impl TaskTable {
    /// Built at `place`. An observed loop, which passes its wakers' vtable, counts all wakes, and the wakers that user code holds.
    #[inline]
    pub(crate) fn new(place: *const TaskTable, observed: Option<fn() -> &'static RawWakerVTable>) -> Self {
        let first = place.wrapping_byte_add(offset_of!(TaskTable, first)).cast_mut().cast();
        TaskTable {
            lane: lanes::enter(),
            vtable: observed.map_or(&PLAIN, |vtable| vtable()),
            running: Cell::new(Token::NOBODY),
            running_flags: Cell::new(0),
            first: Link::new(),
            rows: UnsafeCell::new(Rows {
                rows: Vec::new(),
                // SAFETY: `Kernel::new`, the only caller, builds the table at `place`, and a loop does not move.
                ready: unsafe { ReadyQueue::new(NonNull::new(first).expect("a loop has an address")) },
                vacant: Row::NONE,
                tenants: 0,
                records: ManuallyDrop::new(Store::EMPTY),
                numbered: 0,
            }),
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

    /// Lends the rows to `act`. Private to this file and its folder. There, each `act` is a few lines that call no user code
    /// and drop no task: they return what they take out.
    #[inline(always)]
    fn with<R>(&self, act: impl FnOnce(&mut Rows) -> R) -> R {
        #[cfg(debug_assertions)]
        assert!(!self.borrowed.replace(true), "STEP-1: the task table was borrowed while it was borrowed");
        // SAFETY: `TaskTable` is not `Sync`, so only this thread is here. No `act` in this file and its folder can lead back to
        // `with` (STEP-1). Debug builds check this.
        let result = act(unsafe { &mut *self.rows.get() });
        #[cfg(debug_assertions)]
        self.borrowed.set(false);
        result
    }

    // ---- rows ----

    /// Gives a task a row and a token, and queues it. The row holds the reference until `remove` returns it.
    #[inline]
    pub(crate) fn insert(&self, task: AnyTask) {
        if self.with(|table| table.vacant) == Row::NONE {
            return self.insert_into_new_row(task);
        }
        let task = task.into_raw();
        let token = self.with(|table| {
            let (generation, slot) = table.occupy(task);
            self.tally.spawned.count();
            table.push_task(task);
            Token::new(self.lane.number, generation, slot)
        });
        // SAFETY: the row holds the task it names.
        let header = unsafe { task.as_ref() };
        debug_assert!(header.life.get() == 0 && !header.is_done(), "READY-1: a task was inserted twice");
        header.token.set(token);
        header.life.set(SCHEDULED);
    }

    /// Takes the running task out of its row. From now on the task's token names no task (WAKE-1).
    ///
    /// If waiters of the task are still recorded under its slot, the row gets its next task only after `offer_row`.
    #[inline]
    pub(crate) fn remove(&self, task: &Header) -> AnyTask {
        debug_assert!(task.token() == self.running.get(), "STEP-2: a task ended outside of its step");
        self.running.set(Token::NOBODY);
        // Counts a wake of the task in its last step, by itself or by its destructors.
        self.tally.outrun.add(u64::from(self.running_flags.replace(0) & SCHEDULED));
        task.life.set(0);
        let held = self.with(|table| {
            table.forget_waits(task);
            table.vacate(task).expect("WAKE-1: a task was to be removed from another's row")
        });
        // SAFETY: the row has held this reference until now, and it is taken over once.
        unsafe { AnyTask::from_raw(held) }
    }

    /// A task has ended, and nothing is recorded under its slot any more. The next task gets the row.
    pub(crate) fn offer_row(&self, token: Token) {
        self.with(|table| table.offer(token));
    }

    /// The task of a token, if it has not ended.
    pub(crate) fn task(&self, token: Token) -> Option<AnyTask> {
        // SAFETY: the row holds the task it names.
        self.row(token).map(|task| unsafe { AnyTask::held(task) })
    }

    /// Whether the token's task has not ended.
    pub(crate) fn is_alive(&self, token: Token) -> bool {
        self.row(token).is_some()
    }

    /// The living task of a token: the tenant of its row, if the tenant has this token. An earlier tenant's token names none.
    #[inline]
    fn row(&self, token: Token) -> Option<NonNull<Header>> {
        self.with(|table| table.tenant(token))
    }

    // ---- wakes ----

    /// Queues a task if it waits. Returns false if the token names no task of this loop.
    ///
    /// A task that is already queued stays in its place: several wakes before a poll count as one.
    #[inline]
    pub(crate) fn wake(&self, token: Token) -> bool {
        self.wake_with(token, super::explore::touched::woken)
    }

    /// Wakes a task whose sleep with this number is over. If the task has extra data (`cell/extra.rs`), records the number.
    #[inline]
    pub(crate) fn wake_from_sleep(&self, token: Token, number: u64) {
        let turn = self.tally.turns.get();
        self.wake_with(token, |header| header.note_sleep(number, turn));
    }

    /// Like `wake`, but also calls `tell_task` with the header, if the task lives.
    #[inline(always)]
    fn wake_with(&self, token: Token, tell_task: impl FnOnce(&Header)) -> bool {
        // Counted first, because `queue` emits an event, and a probe that receives it may read the counters.
        self.tally.wakes.count();
        if self.queue(token, tell_task) {
            return true;
        }
        if token.lane() != self.lane.number {
            // The task's own loop counts the wake.
            self.tally.wakes.take_back();
        } else {
            self.tally.late.count();
            tell!(self, EventKind::Wake { task: None, by: self.source(), outcome: WakeOutcome::Late });
        }
        false
    }

    /// Like `wake_with`, but counts only merged wakes: the task is queued already, or was woken in this step.
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
            self.with(|table| table.push_task(task));
            tell!(self, self.woken(header, WakeOutcome::Queued));
        } else {
            header.records.set(header.records.get() | MERGED);
            self.tally.merged.count();
            tell!(self, self.woken(header, WakeOutcome::Merged));
        }
        true
    }

    /// Marks the running task, so that it is queued when it suspends.
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

    /// Sets a flag of the running task.
    #[inline]
    pub(super) fn note(&self, what: u8) {
        self.running_flags.set(self.running_flags.get() | what);
    }

    // ---- the ready queue ----

    /// Whether nothing is ready: neither a task nor a callback.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.with(|table| table.ready.is_empty())
    }

    /// Number of entries that are ready, of this turn and of the next.
    pub(crate) fn ready_len(&self) -> usize {
        self.with(|table| table.ready.len())
    }

    /// Queues the running task again: it suspends, and was woken while it ran.
    pub(super) fn push_running(&self, task: &Header) {
        let task = self.row(task.token()).expect("WAKE-1: a running task has a row");
        self.with(|table| table.push_task(task));
    }

    /// Queues a callback, behind everything that is ready now.
    #[inline]
    pub(super) fn push_call(&self, callback: Callback) {
        self.tally.calls_pushed.count();
        let entry = Entry::call(callback);
        // SAFETY: the node is new, and is kept until `into_callback` frees it.
        self.with(|table| unsafe { table.ready.push(entry) });
    }

    /// Begins a turn: all entries that are ready now belong to it.
    #[inline]
    pub(crate) fn mark(&self) {
        self.tally.turns.count();
        self.with(|table| table.ready.mark());
    }

    // ---- the switch ----

    /// Steps the tasks of this turn until something other than a poll has to be done. At the end of a turn, if entries are
    /// ready, this calls `may_start_next_turn` with their number. If that returns true, this begins the next turn itself.
    ///
    /// The cost of a task switch is the cost of this loop. `step` and `poll` are inlined, so the loop calls only the future,
    /// and saves and restores no registers in between. With a call per step, a switch takes 1.5 times as many instructions.
    ///
    /// Why this function stops, and who handles the stop:
    ///
    /// ```text
    ///   Over          the turn is through                            the loop: timers, then the rest
    ///   Call          an entry is a callback                         the loop calls it
    ///   Ready         a future returned                              `Kernel::returned`: the task ends
    ///   Suspended     another flag was set while the task ran        `Kernel::suspended`: it is cancelled
    ///   Unwinds       it was cancelled before this step              `Kernel::unwind`: cleanups, then its end
    /// ```
    ///
    /// A panic of a future passes through, and leaves its task as the running task.
    #[inline]
    pub(crate) fn run_ready(&self, may_start_next_turn: impl Fn(usize) -> bool) -> Stop {
        loop {
            let Some(entry) = self.with(|table| table.ready.pop_marked()) else {
                let entries = self.ready_len();
                if entries > 0 && may_start_next_turn(entries) {
                    self.tally.turns.count();
                    self.with(|table| table.ready.mark_next_turn());
                    continue;
                }
                self.running.set(Token::NOBODY);
                return Stop::Over;
            };
            let Some(task) = entry.as_task() else {
                self.running.set(Token::NOBODY);
                // SAFETY: this is the entry of a callback, and has left the queue.
                return Stop::Call(unsafe { entry.into_callback() });
            };
            // SAFETY: a task in the ready queue has a row, which holds it: it leaves the queue before it leaves its row (READY-1).
            if let Some(halt) = unsafe { self.step(task) } {
                return halt;
            }
        }
    }

    /// Steps a task that was taken from the queue: polls it, unless it was cancelled.
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
            // Another flag is set: the task was cancelled, or is unwinding.
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
        // On 64 bits there is nothing to drop in the end, and checking would cost a twentieth of a switch.
        let waker = self.waker_of(token);
        // SAFETY: The task is alive: its row holds it until `remove`, which is called only after `run_ready` has stopped at it.
        // Nothing else polls it: it has left the queue, and is not pushed while it runs (STEP-2). It is not polled after its end: a
        // task that has returned is removed (DONE-1), and if its future was dropped earlier, the cell polls nothing.
        let poll = unsafe { cell::poll(task, &mut Context::from_waker(&waker)) };
        if poll.is_ready() {
            // SAFETY: the row holds the task.
            return Some(Stop::Ready(ManuallyDrop::new(unsafe { AnyTask::from_raw(task) })));
        }
        // `life` still has the mark `SCHEDULED`, so a task that has woken itself needs no new mark.
        let flags = self.running_flags.get();
        if flags == SCHEDULED {
            self.with(|table| table.push_task(task));
            return None;
        }
        header.life.set(flags);
        if flags == 0 {
            return None;
        }
        // SAFETY: the row holds the task.
        Some(Stop::Suspended(unsafe { AnyTask::held(task) }))
    }

    // ---- the running task ----

    /// A waker for the task of a token. It is lent: not counted by an observed loop, and not dropped as a waker.
    #[inline(always)]
    pub(crate) fn waker_of(&self, token: Token) -> Lent {
        self.lane.lender.lend(token, self.vtable)
    }

    /// The running task.
    pub(crate) fn running(&self) -> Option<AnyTask> {
        self.task(self.running.get())
    }

    /// The token of the running task, or `Token::NOBODY`.
    #[inline]
    pub(crate) fn running_token(&self) -> Token {
        self.running.get()
    }

    /// Whether `task` is the running task.
    #[inline]
    pub(crate) fn is_running(&self, task: &Header) -> bool {
        task.token() == self.running.get()
    }

    /// Ends the step: the code that runs next belongs to no task.
    pub(crate) fn leave_step(&self) {
        self.running.set(Token::NOBODY);
    }
}
