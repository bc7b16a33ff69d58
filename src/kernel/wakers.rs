//! The waker table: a row for each living task, and wakers that are the numbers of rows.
//!
//! A waker's data pointer is a `Token`. Cloning and dropping a waker do nothing. A wake on the loop's own thread, inside of
//! a turn, finds the row, compares the token, and pushes the task into the ready queue: no count, no lock, no atomic
//! operation. A wake from anywhere else goes to the inbox of the token's lane, and comes back here when the loop drains it.
//!
//! ```text
//!   thread_local HOME ----> Wakers { rows: [ token | task ], ready: [ task task task ] }
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
//! What tasks wait for, and who waits for them, stands here too: nodes of lists that begin in the tasks' headers.
//!
//! Does not know what wakes a task, nor what becomes of it when it has ended. Next: `mod.rs`.
#![allow(unsafe_code, reason = "the waker's vtable, and a table that is found uncounted and borrowed without a flag")]

use super::lanes::{self, Lane};
use super::lists::{List, Lists};
#[cfg(feature = "probe")]
use super::probe::{EventKind, ProbeSlot, Source, WakeOutcome};
use super::ready::ReadyQueue;
use super::scopes::{Inside, Region, Scope};
use super::tally::Tally;
use super::task::{
    self, AnyTask, Awaited, Begun, CONDEMNED, DOOMED, FORCED, Header, QUEUED, RAISED, Then, UNWINDING, Wait, WaiterKey,
};
#[cfg(feature = "probe")]
use super::task_id::TaskId;
use super::token::{LAST_GENERATION, MAX_SLOTS, Token};
#[cfg(all(unix, feature = "io"))]
use polling::{Event, PollMode, Poller};
use std::cell::{Cell, UnsafeCell};
use std::fmt;
use std::mem::ManuallyDrop;
use std::num::NonZeroU64;
use std::panic::Location;
use std::ptr::{self, NonNull};
use std::rc::{Rc, Weak};
#[cfg(all(unix, feature = "io"))]
use std::sync::Arc;
use std::task::{Context, RawWaker, RawWakerVTable, Waker};
#[cfg(all(unix, feature = "io"))]
use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
};

thread_local! {
    /// The table of the loop that is in a turn on this thread. The cell owns it, in whatever order the guards are dropped, and also
    /// if one is forgotten. It has no destructor, so wakers may look here at any time, also while the thread is being torn down.
    static HOME: ManuallyDrop<Cell<Option<Rc<Wakers>>>> = const { ManuallyDrop::new(Cell::new(None)) };
}

pub(crate) struct Wakers {
    lane: Lane,
    /// Of the wakers that tasks are polled with: `PLAIN`, or `COUNTED` if the loop is observed.
    vtable: &'static RawWakerVTable,
    /// The task that is being stepped, or `Token::NOBODY`. A task that wakes itself is known by this alone.
    running: Cell<Token>,
    /// What came upon the running task meanwhile: of `QUEUED`, `CONDEMNED`, `RAISED` and `DOOMED`.
    meanwhile: Cell<u8>,
    /// Borrowed in `with` alone.
    table: UnsafeCell<Table>,
    pub(crate) tally: Tally,
    /// Who hears of what the loop does.
    #[cfg(feature = "probe")]
    pub(crate) probe: ProbeSlot,
    /// In debug builds, whether `table` is borrowed.
    #[cfg(debug_assertions)]
    borrowed: Cell<bool>,
}

struct Table {
    rows: Vec<Row>,
    ready: ReadyQueue<Entry>,
    /// Vacant rows, to be used again. The last to come is the first to go.
    vacant: Vec<u32>,
    /// How many rows have a tenant.
    tenants: usize,
    waits: Lists<Numbered<Begun>>,
    waiters: Lists<Numbered<Then>>,
    /// The number of the last wait, waiter or scope of any task. Each has its own, so that one that has gone is not taken for
    /// another, and what began earlier has the lower one.
    numbered: u64,
}

struct Numbered<T> {
    number: NonZeroU64,
    value: T,
}

struct Row {
    /// The tenant's token, or the next one's while the row is vacant.
    token: Token,
    /// The tenant, from `AnyTask::into_raw`. The row holds it.
    task: Option<NonNull<Header>>,
}

/// An entry of the ready queue, in one word: a task, or the key of a callback, doubled, plus one. Headers have even addresses.
#[derive(Clone, Copy)]
struct Entry(NonNull<Header>);

const _: () = assert!(align_of::<Header>() > 1);

impl Entry {
    const UNUSED: Entry = Entry(NonNull::dangling());

    fn task(task: NonNull<Header>) -> Self {
        Entry(task)
    }

    fn call(key: u32) -> Self {
        let number = ptr::without_provenance_mut((key as usize) << 1 | 1);
        Entry(NonNull::new(number).expect("it is odd"))
    }

    /// The key, if it is a callback's.
    #[inline]
    fn key(self) -> Option<u32> {
        let number = self.0.addr().get();
        (number & 1 == 1).then_some((number >> 1) as u32)
    }
}

/// Names one wait of one task, for ever.
///
/// Packed, since whoever waits keeps it, and much of it would be padding.
#[derive(Clone, Copy, Debug)]
#[repr(Rust, packed(4))]
pub(crate) struct WaitKey {
    pub(crate) task: Token,
    number: NonZeroU64,
    index: u32,
}

/// Names one scope of one task, for ever.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScopeKey {
    pub(crate) task: Token,
    pub(crate) number: u64,
}

/// Where a task is in its life. See the picture in `task.rs`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// Not in the ready queue; a wake puts it there.
    Waiting,
    /// In the ready queue, once (READY-1).
    Queued,
    /// Being polled, or having its future dropped.
    Running,
}

/// Why `switch` has stopped, and what is to be done before it goes on. In all but the first two, the task is still running.
pub(crate) enum Halt {
    /// This turn's entries are through.
    Over,
    /// A callback is to be called.
    Call(u32),
    /// The future is ready and gone, its outcome is there.
    Ready(AnyTask),
    /// The task has suspended, and was cancelled while it ran (`Wakers::interrupted`).
    Suspended(AnyTask),
    /// The task was cancelled, or unwinds already, and it is its turn: it was not polled.
    Unwinds(AnyTask),
}

impl Wakers {
    /// In an observed loop all wakes are counted, and who else holds wakers is known.
    pub(crate) fn new(observed: bool) -> Self {
        let table = Table {
            rows: Vec::new(),
            ready: ReadyQueue::new(Entry::UNUSED),
            vacant: Vec::new(),
            tenants: 0,
            waits: Lists::new(),
            waiters: Lists::new(),
            numbered: 0,
        };
        Wakers {
            lane: lanes::enter(),
            vtable: if observed { &COUNTED } else { &PLAIN },
            running: Cell::new(Token::NOBODY),
            meanwhile: Cell::new(0),
            table: UnsafeCell::new(table),
            tally: Tally::default(),
            #[cfg(feature = "probe")]
            probe: ProbeSlot::default(),
            #[cfg(debug_assertions)]
            borrowed: Cell::new(false),
        }
    }

    #[inline]
    pub(crate) fn is_observed(&self) -> bool {
        ptr::eq(self.vtable, &COUNTED)
    }

    #[inline]
    pub(crate) fn lane(&self) -> &Lane {
        &self.lane
    }

    /// Lends the table to `act`. Private to this file, where each `act` is a few lines that call no foreign code and drop no
    /// task: what they take out they return.
    #[inline(always)]
    fn with<R>(&self, act: impl FnOnce(&mut Table) -> R) -> R {
        #[cfg(debug_assertions)]
        assert!(!self.borrowed.replace(true), "STEP-1: the waker table was borrowed while it was borrowed");
        // SAFETY: `Wakers` is not `Sync`, so only this thread is here, and no `act` in this file can lead back to `with`
        // (STEP-1). Debug builds count.
        let result = act(unsafe { &mut *self.table.get() });
        #[cfg(debug_assertions)]
        self.borrowed.set(false);
        result
    }

    /// Makes this the table of the turn that begins on this thread, until the guard is dropped.
    pub(crate) fn enter(self: Rc<Self>) -> Home {
        Home { other: HOME.with(|home| home.replace(Some(self))) }
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
        header.life.set(QUEUED);
    }

    /// Takes a running task out of its row, which its token does not name any more (WAKE-1).
    #[inline]
    pub(crate) fn remove(&self, token: Token) -> AnyTask {
        debug_assert!(token == self.running.get(), "STEP-2: a task ended outside of its step");
        self.running.set(Token::NOBODY);
        // It was woken in its last step, by itself or by its destructors.
        self.tally.outrun.add(u64::from(self.meanwhile.replace(0) & QUEUED));
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

    pub(crate) fn is_alive(&self, token: Token) -> bool {
        self.row(token).is_some()
    }

    #[inline]
    fn row(&self, token: Token) -> Option<NonNull<Header>> {
        self.with(|table| {
            let row = table.rows.get(token.slot() as usize)?;
            if row.token == token { row.task } else { None }
        })
    }

    /// The numbers of all living tasks, with the bits of their tokens.
    pub(crate) fn ids(&self) -> Vec<(u64, u64, u64)> {
        self.with(|table| {
            let mut ids = Vec::with_capacity(table.tenants);
            for row in &table.rows {
                if let Some(task) = row.task {
                    // SAFETY: the row holds the task it names.
                    ids.push((unsafe { task.as_ref() }.id, row.token.bits(), 0));
                }
            }
            ids
        })
    }

    /// How many tasks are alive.
    pub(crate) fn len(&self) -> usize {
        self.with(|table| table.tenants)
    }

    /// Where a living task is in its life.
    pub(crate) fn state(&self, task: &Header) -> State {
        if task.token() == self.running.get() {
            State::Running
        } else if task.life.get() & QUEUED != 0 {
            State::Queued
        } else {
            State::Waiting
        }
    }

    // ---- wakes ----

    /// Queues a task if it waits. False if the token names no task of this loop.
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
        } else if header.life.get() & QUEUED == 0 {
            header.life.set(header.life.get() | QUEUED);
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
        let _is_first = self.meanwhile.get() & QUEUED == 0;
        if !_is_first {
            self.tally.merged.count();
        }
        self.note(QUEUED);
        #[cfg(feature = "probe")]
        if let Some(task) = self.running() {
            let outcome = if _is_first { WakeOutcome::Queued } else { WakeOutcome::Merged };
            tell!(self, self.woken(task.header(), outcome));
        }
    }

    #[inline]
    pub(crate) fn is_probed(&self) -> bool {
        #[cfg(feature = "probe")]
        return self.probe.is_set();
        #[cfg(not(feature = "probe"))]
        false
    }

    #[cfg(feature = "probe")]
    fn woken(&self, task: &Header, outcome: WakeOutcome) -> EventKind<'static> {
        EventKind::Wake { task: Some(TaskId(task.id)), by: self.source(), outcome }
    }

    /// Who it is that causes something now.
    #[cfg(feature = "probe")]
    pub(crate) fn source(&self) -> Source {
        self.id(self.running.get()).map_or(self.probe.cause.get(), Source::Task)
    }

    /// The number of a living task.
    #[cfg(feature = "probe")]
    pub(crate) fn id(&self, token: Token) -> Option<TaskId> {
        self.task(token).map(|task| TaskId(task.header().id))
    }

    /// The task is to end when it is stepped next, or when it suspends, if it is running.
    pub(crate) fn condemn(&self, task: &Header) {
        if task.token() == self.running.get() {
            self.note_request(task);
            self.note(CONDEMNED);
        }
        task.life.set(task.life.get() | CONDEMNED);
    }

    /// The running task is to end when it suspends; what it returns before that counts.
    pub(crate) fn doom(&self, task: &Header) {
        self.note_request(task);
        self.note(DOOMED);
    }

    /// The running task is asked to end, and may still enter scopes before that comes to it.
    fn note_request(&self, task: &Header) {
        if self.meanwhile.get() & (CONDEMNED | DOOMED) == 0 {
            task.note_request(self.numbered());
        }
    }

    /// Whether the task is running, and is to end when it suspends.
    pub(crate) fn is_doomed(&self, task: &Header) -> bool {
        self.is_running(task) && self.meanwhile.get() & DOOMED != 0
    }

    /// A condemned task is queued, and not to wait for what it awaits.
    pub(crate) fn force(&self, task: &Header) {
        if !task.is_condemned() {
            return;
        }
        task.life.set(task.life.get() | FORCED);
        self.wake(task.token());
    }

    /// The task is not to end after all.
    pub(crate) fn pardon(&self, task: &Header) {
        if task.token() == self.running.get() {
            self.meanwhile.set(self.meanwhile.get() & !(CONDEMNED | DOOMED));
        }
        task.life.set(task.life.get() & !(CONDEMNED | FORCED));
    }

    #[inline]
    fn note(&self, what: u8) {
        self.meanwhile.set(self.meanwhile.get() | what);
    }

    // ---- what a task waits for, who waits for it ----

    /// The running task waits for this, until `end_wait`. None if no task is running.
    #[inline]
    pub(crate) fn begin_wait(&self, wait: Wait, place: &'static Location<'static>) -> Option<WaitKey> {
        let task = self.running.get();
        // SAFETY: the row holds the task it names.
        let header = unsafe { self.row(task)?.as_ref() };
        #[cfg(feature = "probe")]
        let what = if self.probe.is_set() { self.describe(&wait) } else { String::new() };
        let key = self.with(|table| {
            let number = table.number();
            let index = push(&mut table.waits, &header.waits, Numbered { number, value: Begun { wait, place } });
            WaitKey { task, number, index }
        });
        tell!(
            self,
            EventKind::WaitBegin { task: TaskId(header.id), wait: { key.number }.get(), what: &what, at: place }
        );
        Some(key)
    }

    /// The running task, if any is, waits for another, and `waker` is woken at that one's end.
    #[inline]
    pub(crate) fn begin_join(
        &self,
        awaited: &Header,
        waker: Waker,
        place: &'static Location<'static>,
    ) -> (WaiterKey, Option<WaitKey>) {
        debug_assert!(!awaited.is_done(), "DONE-1: somebody waits for a task that has ended");
        let task = self.running.get();
        // SAFETY: the row holds the task it names.
        let header = self.row(task).map(|header| unsafe { header.as_ref() });
        let keys = self.with(|table| {
            let number = table.number();
            let index = push(&mut table.waiters, &awaited.waiters, Numbered { number, value: Then::Wake(waker) });
            let waiter = WaiterKey { number, index };
            let wait = header.map(|header| {
                let (number, wait) = (table.number(), Wait::Task(awaited.token()));
                let index = push(&mut table.waits, &header.waits, Numbered { number, value: Begun { wait, place } });
                WaitKey { task, number, index }
            });
            (waiter, wait)
        });
        #[cfg(feature = "probe")]
        if let (Some(header), (_, Some(key))) = (header, &keys) {
            tell!(
                self,
                EventKind::WaitBegin {
                    task: TaskId(header.id),
                    wait: { key.number }.get(),
                    what: &self.describe(&Wait::Task(awaited.token())),
                    at: place,
                }
            );
        }
        keys
    }

    /// A wait of the running task goes on at another place.
    pub(crate) fn move_wait(&self, WaitKey { number, index, .. }: WaitKey, place: &'static Location<'static>) {
        self.with(|table| {
            if let Some(wait) = table.waits.get_mut(index).filter(|wait| wait.number == number) {
                wait.value.place = place;
            }
        });
    }

    /// The running task takes something for which others will wait: who it is, and a number of that moment.
    pub(crate) fn take(&self) -> (Token, u64) {
        self.with(|table| table.numbered += 1);
        (self.running.get(), self.numbered())
    }

    /// It waits for this no longer. If the task has ended, nothing is left to be done.
    #[inline]
    pub(crate) fn end_wait(&self, key: WaitKey) {
        let Some(task) = self.row(key.task) else { return };
        // SAFETY: the row holds the task it names.
        let header = unsafe { task.as_ref() };
        // What is removed owns nothing, so no foreign code runs.
        let _ended = self.with(|table| remove(&mut table.waits, &header.waits, key.index, key.number));
        #[cfg(feature = "probe")]
        if let Some(begun) = _ended {
            tell!(self, EventKind::WaitEnd { task: TaskId(header.id), wait: { key.number }.get(), at: begun.place });
        }
        if { key.task } != self.running.get() {
            self.ended_elsewhere(header);
        }
    }

    /// What a task waited for was moved to another one, perhaps, and then it will not wake this one.
    #[cold]
    #[inline(never)]
    fn ended_elsewhere(&self, task: &Header) {
        if task.is_condemned() || task.has_asking_scopes() {
            self.wake(task.token());
        }
    }

    /// A future in which this task has waited was moved to another task.
    #[cold]
    pub(crate) fn give_away(&self, task: Token) {
        if let Some(task) = self.task(task) {
            task.header().give_away();
        }
    }

    /// What is waited for, in words.
    pub(crate) fn describe(&self, wait: &Wait) -> String {
        struct Described<'a>(&'a dyn Awaited);
        impl fmt::Display for Described<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.describe(f)
            }
        }
        match wait {
            Wait::Task(Token::NOBODY) => "a task spawned by a Remote".into(),
            Wait::Task(token) => match self.task(*token) {
                Some(task) => format!("task {:?}", task.header().name()),
                None => "a task that has ended".into(),
            },
            Wait::On(awaited) => match awaited.upgrade() {
                Some(awaited) => format!("{}", Described(&*awaited)),
                None => "what is no longer there".into(),
            },
        }
    }

    /// Whether the wait is the running task's.
    #[inline]
    pub(crate) fn waits_here(&self, WaitKey { task, .. }: WaitKey) -> bool {
        task == self.running.get()
    }

    /// What a task waits for, with the numbers, in the order in which it began. Nobody may begin or end a wait meanwhile.
    pub(crate) fn waits(&self, task: &Header) -> impl Iterator<Item = (u64, Begun)> {
        let mut next = task.waits.get().first();
        std::iter::from_fn(move || {
            let index = next?;
            self.with(|table| {
                next = table.waits.next(index);
                table.waits.get(index).map(|wait| (wait.number.get(), wait.value.clone()))
            })
        })
    }

    /// Enters somebody among those who wait for a living task.
    #[inline]
    pub(crate) fn add_waiter(&self, task: &Header, then: Then) -> WaiterKey {
        debug_assert!(!task.is_done(), "DONE-1: somebody waits for a task that has ended");
        self.with(|table| {
            let number = table.number();
            let index = push(&mut table.waiters, &task.waiters, Numbered { number, value: then });
            WaiterKey { number, index }
        })
    }

    /// Takes a waiter out, to be dropped where nothing is borrowed. None if it has gone.
    #[inline]
    pub(crate) fn remove_waiter(&self, task: &Header, key: WaiterKey) -> Option<Then> {
        self.with(|table| remove(&mut table.waiters, &task.waiters, key.index, key.number))
    }

    /// Puts another waker in the place of a waiter. What comes back is to be dropped where nothing is borrowed.
    pub(crate) fn change_waiter(&self, WaiterKey { number, index }: WaiterKey, mut then: Then) -> Then {
        self.with(|table| {
            if let Some(waiter) = table.waiters.get_mut(index).filter(|waiter| waiter.number == number) {
                std::mem::swap(&mut waiter.value, &mut then);
            }
        });
        then
    }

    /// Whether the waiter wakes the same as `waker`.
    #[inline]
    pub(crate) fn waiter_wakes(&self, WaiterKey { number, index }: WaiterKey, waker: &Waker) -> bool {
        self.with(|table| {
            let waiter = table.waiters.get(index).filter(|waiter| waiter.number == number);
            waiter.is_some_and(|waiter| matches!(&waiter.value, Then::Wake(old) if wakes_the_same(old, waker)))
        })
    }

    /// Takes the first of those who wait for a task.
    #[inline]
    pub(crate) fn pop_waiter(&self, task: &Header) -> Option<Then> {
        if task.waiters.get().is_empty() {
            return None;
        }
        self.with(|table| {
            let mut list = task.waiters.get();
            let waiter = table.waiters.pop(&mut list);
            task.waiters.set(list);
            waiter.map(|waiter| waiter.value)
        })
    }

    /// How many waits are recorded, of all tasks.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn records(&self) -> usize {
        self.with(|table| table.waits.len())
    }

    /// The number of a wait that stands elsewhere.
    #[inline]
    pub(crate) fn next_number(&self) -> u64 {
        self.with(|table| table.number()).get()
    }

    /// The number of the last wait, waiter or scope: those that come later have higher ones.
    pub(crate) fn numbered(&self) -> u64 {
        self.with(|table| table.numbered)
    }

    // ---- the scopes of a task ----

    /// The running task enters a scope, until `leave_scope`. None if no task is running.
    pub(crate) fn enter_scope(&self, scope: Weak<dyn Scope>) -> Option<ScopeKey> {
        let task = self.running.get();
        // SAFETY: the row holds the task it names.
        let header = unsafe { self.row(task)?.as_ref() };
        Some(ScopeKey { task, number: self.add_scope(header, scope) })
    }

    /// A task enters a scope. Returns its number.
    pub(crate) fn add_scope(&self, task: &Header, scope: Weak<dyn Scope>) -> u64 {
        let number = self.next_number();
        task.add_scope(number, scope);
        number
    }

    /// It has left the scope. If the task has ended, nothing is left to be done.
    pub(crate) fn leave_scope(&self, key: ScopeKey) {
        let Some(task) = self.task(key.task) else { return };
        let header = task.header();
        let was_cleaning = header.scopes(|scopes| scopes.is_cleaning(key.number)).unwrap_or(false);
        let driver = if was_cleaning { header.driver_over(key.number) } else { None };
        drop(header.remove_scope(key.number));
        if was_cleaning && !self.is_running(header) {
            // It waits for the end of that cleanup, which goes on elsewhere; and so does the block in it that drives.
            self.wake(key.task);
            if let Some(Region::Inside(driver)) = driver {
                let driver = header.scope(driver);
                driver.iter().filter_map(|driver| driver.inside()).for_each(Inside::wake);
            }
        }
    }

    /// Whether the scope is the running task's.
    pub(crate) fn is_entered_here(&self, key: ScopeKey) -> bool {
        key.task == self.running.get()
    }

    // ---- the ready queue, which lives in the table so that a wake finds both at once ----

    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.with(|table| table.ready.is_empty())
    }

    pub(crate) fn ready_len(&self) -> usize {
        self.with(|table| table.ready.len())
    }

    /// How many entries were ever pushed, and how many were taken.
    pub(crate) fn entries(&self) -> (u64, u64) {
        self.with(|table| table.ready.numbers())
    }

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

    /// How much of this turn is left.
    pub(crate) fn marked_len(&self) -> usize {
        self.with(|table| table.ready.marked_len())
    }

    /// Only the first `count` entries are this turn's.
    pub(crate) fn mark_first(&self, count: usize) {
        self.with(|table| table.ready.mark_first(count));
    }

    /// Only the next entry is this turn's. Returns the task, unless it is a callback.
    pub(crate) fn mark_next(&self) -> Option<AnyTask> {
        let entry = self.with(|table| table.ready.mark_next())?;
        // SAFETY: a task in the ready queue has a row, which holds it (READY-1).
        entry.key().is_none().then(|| unsafe { AnyTask::held(entry.0) })
    }

    // ---- the switch ----

    /// Steps the tasks of this turn, until something other than a switch is to be done. If nothing else was to be done between
    /// this turn and the next, which `calm` knows for a turn of so many entries, it goes on with the next.
    ///
    /// This loop is what a task switch costs. It is one function and calls nothing but the future, so that nothing has to be
    /// saved and restored in between: written as a function a step, it took half as many instructions again.
    ///
    /// A panic of a future comes through, and leaves its task running.
    #[inline]
    pub(crate) fn switch(&self, calm: impl Fn(usize) -> bool) -> Halt {
        loop {
            let Some(entry) = self.with(|table| table.ready.pop_marked()) else {
                let entries = self.ready_len();
                if entries > 0 && calm(entries) {
                    self.mark();
                    continue;
                }
                self.running.set(Token::NOBODY);
                return Halt::Over;
            };
            if let Some(key) = entry.key() {
                self.running.set(Token::NOBODY);
                return Halt::Call(key);
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
    unsafe fn step(&self, task: NonNull<Header>) -> Option<Halt> {
        // SAFETY: a row holds the task.
        let header = unsafe { task.as_ref() };
        debug_assert!(header.life.get() & QUEUED != 0, "READY-1: a task was stepped that was not queued");
        let token = header.token();
        self.running.set(token);
        self.meanwhile.set(0);
        if header.life.get() != QUEUED {
            // SAFETY: a row holds the task.
            return Some(Halt::Unwinds(unsafe { AnyTask::held(task) }));
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
    unsafe fn poll(&self, task: NonNull<Header>, token: Token) -> Option<Halt> {
        // SAFETY: a row holds the task.
        let header = unsafe { task.as_ref() };
        // It has nothing to drop, and is not asked for it at each step: that would be a twentieth of a switch.
        let waker = self.waker_of(token);
        // SAFETY: the row holds the task until `remove`, which is for tasks at which `switch` has stopped. It left the queue just
        // now and is not pushed while it is running, so nobody else is polling it (STEP-2). A task that has returned is removed
        // (DONE-1), and of one whose future was dropped unfinished the cell polls nothing.
        let poll = unsafe { task::poll(task, &mut Context::from_waker(&waker)) };
        if poll.is_ready() {
            // SAFETY: the row holds the task.
            return Some(Halt::Ready(unsafe { AnyTask::held(task) }));
        }
        // While it ran it kept the mark `QUEUED`, so that a task which has woken itself needs no new one.
        let meanwhile = self.meanwhile.get();
        if meanwhile == QUEUED {
            self.with(|table| table.ready.push(Entry::task(task)));
            return None;
        }
        header.life.set(meanwhile);
        if meanwhile == 0 {
            return None;
        }
        // SAFETY: the row holds the task.
        Some(Halt::Suspended(unsafe { AnyTask::held(task) }))
    }

    /// The running task has suspended, and is to be cancelled for what came upon it meanwhile. Returns whether it ends as cancelled
    /// in this step, from where it stands; then it is still running.
    #[cold]
    pub(crate) fn interrupted(&self, task: &Header) -> bool {
        if self.take_raised() {
            // A wake has nothing to bring it back for.
            return true;
        }
        let meanwhile = self.meanwhile.get();
        task.life.set(meanwhile & QUEUED | CONDEMNED);
        if meanwhile & QUEUED != 0 {
            let entry = Entry::task(self.row(task.token()).expect("WAKE-1: a running task has a row"));
            self.with(|table| table.ready.push(entry));
        }
        self.leave_step();
        false
    }

    // ---- the steps of a task that unwinds ----

    /// The running task was cancelled, and waits on for what it awaits.
    pub(crate) fn keep_waiting(&self, task: &Header) {
        task.life.set(task.life.get() & !QUEUED);
        self.leave_step();
    }

    /// Takes the mark of a cancellation from the running task, which is unwinding from now on. Returns whether there was one.
    pub(crate) fn begin_unwinding(&self, task: &Header) -> bool {
        let was_condemned = task.is_condemned();
        task.life.set(QUEUED | UNWINDING);
        was_condemned
    }

    /// The running task ends as cancelled, from where it stands: whoever polls what has suspended there is to interrupt it.
    pub(crate) fn raise(&self) {
        self.note(RAISED);
    }

    /// Whether the running task has asked for that. Asked once.
    pub(crate) fn take_raised(&self) -> bool {
        let meanwhile = self.meanwhile.get();
        self.meanwhile.set(meanwhile & !RAISED);
        meanwhile & RAISED != 0
    }

    /// The running task suspends in a cleanup. Returns whether it was cancelled meanwhile.
    pub(crate) fn suspend_unwinding(&self, task: &Header) -> bool {
        let meanwhile = self.meanwhile.get();
        let condemned = if meanwhile & (CONDEMNED | DOOMED) != 0 { CONDEMNED } else { 0 };
        task.life.set(meanwhile & QUEUED | condemned | UNWINDING);
        if meanwhile & QUEUED != 0 {
            let entry = Entry::task(self.row(task.token()).expect("WAKE-1: a running task has a row"));
            self.with(|table| table.ready.push(entry));
        }
        self.leave_step();
        condemned != 0
    }

    /// The cancellation was caught: the running task, whose future is there, goes on in the same step.
    pub(crate) fn end_unwinding(&self, task: &Header) -> Option<Halt> {
        assert!(self.is_running(task) && task.has_future(), "STEP-2: a future was polled outside of its step");
        task.life.set(QUEUED | self.meanwhile.get());
        let token = task.token();
        let task = self.row(token).expect("WAKE-1: a running task has a row");
        // SAFETY: the row holds the task that it names.
        unsafe { self.poll(task, token) }
    }

    /// Polls the future of the running task, which unwinds, for a scope in it that is to drop its body: nothing else in there has
    /// been woken.
    pub(crate) fn poll_for_a_drop(&self, task: &AnyTask) {
        let header = task.header();
        assert!(self.is_running(header) && header.has_future(), "STEP-2: a future was polled outside of its step");
        let waker = self.waker_of(header.token());
        let entry = self.row(header.token()).expect("WAKE-1: a running task has a row");
        // SAFETY: the row holds the task, whose future is there. `switch` has stopped at it, so nobody is polling it.
        let poll = unsafe { task::poll(entry, &mut Context::from_waker(&waker)) };
        if poll.is_ready() {
            // From now on the cell polls nothing, whatever becomes of the marks of the task.
            self.drop_future(task);
        }
    }

    /// Drops the future of the running task, at which `switch` has stopped: with `Halt::Unwinds`, or by a panic.
    pub(crate) fn drop_future(&self, task: &AnyTask) {
        assert!(task.header().token() == self.running.get(), "STEP-2: a future was dropped outside of its step");
        // SAFETY: it is running, but not being polled: `switch` has returned or unwound.
        unsafe { task.drop_future() };
    }

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

    /// Whether a task is being stepped, and was woken meanwhile.
    pub(crate) fn running_is_woken(&self) -> bool {
        self.running.get() != Token::NOBODY && self.meanwhile.get() & QUEUED != 0
    }

    /// Whether this waker wakes the task that is being stepped.
    #[inline]
    pub(crate) fn wakes_running(&self, waker: &Waker) -> bool {
        token_of(waker) == Some(self.running.get())
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

impl Table {
    #[cold]
    fn add_row(&mut self, lane: &Lane) -> u32 {
        let slot = self.rows.len();
        let token = Token::new(lane.number, lane.generation, slot as u32);
        self.rows.push(Row { token, task: None });
        slot as u32
    }

    #[inline]
    fn number(&mut self) -> NonZeroU64 {
        self.numbered += 1;
        NonZeroU64::new(self.numbered).expect("numbers do not come to their end")
    }
}

#[inline]
fn push<T>(lists: &mut Lists<Numbered<T>>, list: &Cell<List>, value: Numbered<T>) -> u32 {
    let mut nodes = list.get();
    let index = lists.push(&mut nodes, value);
    list.set(nodes);
    index
}

/// Takes out the node of this number, if it is still there. The number says that it stands in this list.
#[inline]
fn remove<T>(lists: &mut Lists<Numbered<T>>, list: &Cell<List>, index: u32, number: NonZeroU64) -> Option<T> {
    lists.get(index).filter(|node| node.number == number)?;
    let mut nodes = list.get();
    let node = lists.remove(&mut nodes, index);
    list.set(nodes);
    Some(node.value)
}

impl Drop for Wakers {
    fn drop(&mut self) {
        // A loop that could not come to an end leaks the tasks that are left (`Kernel::close`), and their tokens are used.
        // Closed already, unless the loop was dropped without its owner: nobody may move into an open inbox.
        drop(self.lane.inbox.close());
        let table = self.table.get_mut();
        let mut unused = self.lane.generation;
        while let Some(row) = table.rows.pop() {
            unused = unused.max(row.token.generation() + u32::from(row.task.is_some()));
        }
        if table.tenants > 0 {
            // So is what waits for them.
            std::mem::forget(std::mem::replace(&mut table.waiters, Lists::new()));
        }
        lanes::leave(&self.lane, unused);
    }
}

impl std::fmt::Debug for Wakers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wakers").field("lane", &self.lane.number).field("tasks", &self.len()).finish_non_exhaustive()
    }
}

/// While it lives, wakes on this thread find the table directly.
pub(crate) struct Home {
    /// The table that was there before. The destructor exchanges it for the one that is left.
    other: Option<Rc<Wakers>>,
}

impl Drop for Home {
    fn drop(&mut self) {
        HOME.with(|home| self.other = home.replace(self.other.take()));
    }
}

/// Something that a poller watches, as long as this lives.
///
/// Stands here since it is what a waker is, at the other end of the process: the system keeps a number of ours, and what it
/// names must not go before the number is taken back.
#[cfg(all(unix, feature = "io"))]
#[derive(Debug)]
pub(crate) struct Watched<S: AsFd + ?Sized> {
    poller: Arc<Poller>,
    source: Arc<S>,
    /// What the source said when it was asked, once: it may say something else the next time.
    fd: RawFd,
    is_watched: bool,
}

#[cfg(all(unix, feature = "io"))]
impl<S: AsFd + ?Sized> Watched<S> {
    /// Of a source that the poller does not watch yet. Asking for its descriptor may be foreign code.
    pub(crate) fn new(poller: Arc<Poller>, source: Arc<S>) -> Self {
        let fd = source.as_fd().as_raw_fd();
        Watched { poller, source, fd, is_watched: false }
    }

    /// From now on the poller watches it.
    pub(crate) fn begin(&mut self, interest: Event, mode: PollMode) -> io::Result<()> {
        // SAFETY: the source is held here, and was asked for its descriptor by a reference that may last as long: so it is open
        // until the source is dropped, and `drop` takes it out of the poller before that.
        unsafe { self.poller.add_with_mode(self.fd, interest, mode)? };
        self.is_watched = true;
        Ok(())
    }

    /// The same, by one of the poller's own ways that asks for no promise.
    pub(crate) fn begin_by(&mut self, add: impl FnOnce(&Poller, BorrowedFd<'_>) -> io::Result<()>) -> io::Result<()> {
        add(&self.poller, self.fd())?;
        self.is_watched = true;
        Ok(())
    }

    pub(crate) fn source(&self) -> &Arc<S> {
        &self.source
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: it is open as long as the source lives, as said in `begin`, and the source is held here.
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }

    /// From now on it does not watch it any more.
    pub(crate) fn end(&mut self) {
        if std::mem::take(&mut self.is_watched) {
            // It can fail if somebody has closed the descriptor behind our back, and then there is nothing to take out.
            drop(self.poller.delete(self.fd()));
        }
    }
}

#[cfg(all(unix, feature = "io"))]
impl<S: AsFd + ?Sized> Drop for Watched<S> {
    fn drop(&mut self) {
        self.end();
    }
}

// ---- the vtables ----

/// Of a loop that nobody observes.
static PLAIN: RawWakerVTable = RawWakerVTable::new(clone, wake_by_ref, wake_by_ref, ignore);

/// Of an observed loop: its wakers are counted, as long as they are not `KEPT`. Each clone and each drop takes the inbox's lock.
static COUNTED: RawWakerVTable = RawWakerVTable::new(clone_counted, wake_counted, wake_by_ref_observed, drop_counted);

/// Of an observed loop, held by one of our own futures: it wakes whom a counted one wakes. Others that are clones of such a
/// one do not exist: nobody but us has it.
static KEPT: RawWakerVTable = RawWakerVTable::new(clone_kept, wake_by_ref_observed, wake_by_ref_observed, ignore);

fn clone(data: *const ()) -> RawWaker {
    RawWaker::new(data, &PLAIN)
}

fn clone_kept(data: *const ()) -> RawWaker {
    RawWaker::new(data, &KEPT)
}

fn clone_counted(data: *const ()) -> RawWaker {
    let token = Token::from_data(data);
    lanes::inbox(token.lane()).add_waker(token);
    RawWaker::new(data, &COUNTED)
}

fn drop_counted(data: *const ()) {
    let token = Token::from_data(data);
    lanes::inbox(token.lane()).remove_waker(token);
}

fn ignore(_data: *const ()) {}

/// The table of the loop that is in a turn on this thread.
///
/// # Safety
///
/// The reference is used within the function that has asked for it. Meanwhile the guards below that on the stack stay, and so does
/// the table, whatever a probe does that is told of the wake.
#[inline(always)]
unsafe fn home<'a>() -> Option<&'a Wakers> {
    // SAFETY: a thread-local is this thread's alone, and nothing is called here that could put another table into the cell. The
    // cell owns what is in it. `Home` alone puts another there, and keeps this one until its own end: `Wakers::enter` takes
    // nothing away, and what a guard puts back it has owned. So it is of no matter who forgets a guard, and when a loop is dropped.
    HOME.with(|home| unsafe { (*home.as_ptr()).as_deref() })
}

fn wake_by_ref(data: *const ()) {
    let token = Token::from_data(data);
    // SAFETY: it is used in here alone.
    if let Some(home) = unsafe { home() } {
        if token == home.running.get() {
            return home.note(QUEUED);
        }
    }
    wake_another(token);
}

/// Not the running task. In a function of its own, so that a task which wakes itself has nothing to save.
#[inline(never)]
fn wake_another(token: Token) {
    // SAFETY: as in `wake_by_ref`.
    if let Some(home) = unsafe { home() } {
        // A token of this lane that names nobody is of a task that has ended (WAKE-1).
        if home.queue(token, |_| {}) || home.lane.number == token.lane() {
            return;
        }
    }
    lanes::inbox(token.lane()).wake(token);
}

fn wake_by_ref_observed(data: *const ()) {
    let token = Token::from_data(data);
    // SAFETY: as in `wake_by_ref`.
    if let Some(home) = unsafe { home() } {
        // The usual case, in as few instructions as can be.
        if token == home.running.get() && home.meanwhile.get() == 0 && !home.is_probed() {
            home.tally.wakes.count();
            return home.meanwhile.set(QUEUED);
        }
    }
    wake_observed(token);
}

/// A wake that goes to an inbox is counted when it is drained.
#[inline(never)]
fn wake_observed(token: Token) {
    // SAFETY: as in `wake_by_ref`.
    match unsafe { home() } {
        Some(home) if home.lane.number == token.lane() => _ = home.wake(token),
        _ => lanes::inbox(token.lane()).wake(token),
    }
}

fn wake_counted(data: *const ()) {
    wake_by_ref_observed(data);
    drop_counted(data);
}

/// A waker that one of our own futures keeps, and nobody else: such a one is not counted among those that are held outside, if it
/// is of the loop that is running. Of another loop it may be on another thread, where that one does not know of it.
#[inline]
pub(crate) fn keep(waker: &Waker) -> Waker {
    if ptr::eq(waker.vtable(), &COUNTED) && is_at_home(Token::from_data(waker.data())) {
        // SAFETY: as in `Wakers::waker_of`.
        return unsafe { Waker::new(waker.data(), &KEPT) };
    }
    waker.clone()
}

/// Whether the token is of the loop that is in a turn on this thread.
fn is_at_home(token: Token) -> bool {
    // SAFETY: as in `wake_by_ref`.
    unsafe { home() }.is_some_and(|home| home.lane.number == token.lane())
}

/// The token behind a waker of ours.
#[inline]
pub(crate) fn token_of(waker: &Waker) -> Option<Token> {
    let is_ours = ptr::eq(waker.vtable(), &PLAIN) || is_of_observed(waker);
    is_ours.then(|| Token::from_data(waker.data()))
}

#[cold]
fn is_of_observed(waker: &Waker) -> bool {
    ptr::eq(waker.vtable(), &COUNTED) || ptr::eq(waker.vtable(), &KEPT)
}

/// As `Waker::will_wake`, also if one of them is kept.
#[inline]
pub(crate) fn wakes_the_same(one: &Waker, other: &Waker) -> bool {
    one.will_wake(other) || token_of(one).is_some_and(|token| token_of(other) == Some(token))
}
