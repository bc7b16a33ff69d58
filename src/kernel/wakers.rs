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
//! A task that has ended leaves its row to the next generation, so its old wakers compare unequal (WAKE-1), and nothing has to
//! stay alive for them.
//!
//! Does not know what wakes a task, nor what becomes of it when it has ended. Next: `mod.rs`.
#![allow(unsafe_code, reason = "the waker's vtable, and a table that is borrowed without a flag on the switch path")]

use super::lanes::{self, Lane};
use super::ready::ReadyQueue;
use super::task::{AnyTask, CONDEMNED, FORCED, Header, QUEUED, Scope, UNWINDING, Wait};
use super::token::{LAST_GENERATION, MAX_SLOTS, Token};
use std::cell::{Cell, UnsafeCell};
use std::ptr::{self, NonNull};
use std::rc::{Rc, Weak};
use std::task::{Context, RawWaker, RawWakerVTable, Waker};

thread_local! {
    /// The table of the loop that is in a turn on this thread. It has no destructor, so wakers may look here at any time, also
    /// while the thread is being torn down.
    static HOME: Cell<Option<NonNull<Wakers>>> = const { Cell::new(None) };
}

pub(crate) struct Wakers {
    lane: Lane,
    /// The task that is being stepped, or `Token::NOBODY`. A task that wakes itself is known by this alone.
    running: Cell<Token>,
    /// What came upon the running task meanwhile: of `QUEUED` and `CONDEMNED`.
    meanwhile: Cell<u8>,
    /// Borrowed in `with` alone.
    table: UnsafeCell<Table>,
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
}

struct Row {
    /// The tenant's token, or the next one's while the row is vacant.
    token: Token,
    /// The tenant. The row owns one count of it.
    task: Option<NonNull<Header>>,
}

/// An entry of the ready queue, in one word: a task, or the key of a callback, doubled, plus one. Headers have even addresses.
#[derive(Clone, Copy)]
struct Entry(*const Header);

const _: () = assert!(align_of::<Header>() > 1);

impl Entry {
    const UNUSED: Entry = Entry(ptr::null());

    fn task(task: NonNull<Header>) -> Self {
        Entry(task.as_ptr())
    }

    fn call(key: u32) -> Self {
        Entry(ptr::without_provenance((key as usize) << 1 | 1))
    }

    /// The key, if it is a callback's.
    #[inline]
    fn key(self) -> Option<u32> {
        (self.0.addr() & 1 == 1).then(|| (self.0.addr() >> 1) as u32)
    }
}

/// Names one wait or one scope of one task, for ever.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WaitKey {
    pub(crate) loop_id: u64,
    task: Token,
    number: u64,
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

/// Why `switch` has stopped, and what is to be done before it goes on. In the last three, the task is still running.
pub(crate) enum Halt {
    /// This turn's entries are through.
    Over,
    /// A task was stepped and has suspended: only if `switch` was to stop there.
    Stepped(Rc<dyn AnyTask>),
    /// A callback is to be called.
    Call(u32),
    /// The future is ready and gone, its outcome is there.
    Ready(Rc<dyn AnyTask>),
    /// The task has suspended, and was cancelled while it ran.
    Suspended(Rc<dyn AnyTask>),
    /// The task was cancelled, and it is its turn: it was not polled, and is to unwind.
    Condemned(Rc<dyn AnyTask>),
}

impl Halt {
    pub(crate) fn task(&self) -> Option<&Rc<dyn AnyTask>> {
        match self {
            Halt::Over | Halt::Call(_) => None,
            Halt::Stepped(task) | Halt::Ready(task) | Halt::Suspended(task) | Halt::Condemned(task) => Some(task),
        }
    }
}

impl Wakers {
    pub(crate) fn new() -> Self {
        let table = Table { rows: Vec::new(), ready: ReadyQueue::new(Entry::UNUSED), vacant: Vec::new(), tenants: 0 };
        Wakers {
            lane: lanes::enter(),
            running: Cell::new(Token::NOBODY),
            meanwhile: Cell::new(0),
            table: UnsafeCell::new(table),
            #[cfg(debug_assertions)]
            borrowed: Cell::new(false),
        }
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
        let before = HOME.replace(Some(NonNull::from(&*self)));
        Home { before, _wakers: self }
    }

    // ---- rows ----

    /// Gives a task a row, a token and a waker, and queues it. The row owns it until `remove` gives it back.
    #[inline]
    pub(crate) fn insert(&self, task: Rc<dyn AnyTask>) {
        // Before the row takes the task over: a panic leaves it with the caller.
        let has_room = self.with(|table| !table.vacant.is_empty() || table.rows.len() < MAX_SLOTS);
        assert!(
            has_room,
            "a new task was asked for, but {MAX_SLOTS} are alive or have used up their rows; let some end first"
        );
        let whole = Rc::into_raw(task).cast_mut();
        // SAFETY: `whole` is from `Rc::into_raw`, and its count is the row's from here on.
        let header = unsafe { &*whole }.header();
        let token = self.with(|table| {
            let slot = match table.vacant.pop() {
                Some(slot) => slot,
                None => table.add_row(&self.lane),
            };
            let row = &mut table.rows[slot as usize];
            debug_assert!(row.task.is_none(), "WAKE-1: two tasks in a row");
            row.task = Some(NonNull::from(header));
            table.tenants += 1;
            table.ready.push(Entry::task(NonNull::from(header)));
            row.token
        });
        header.whole.set(NonNull::new(whole));
        header.token.set(token);
        header.life.set(QUEUED);
        // SAFETY: the vtable's functions do what `RawWaker` asks for, with any data.
        let set = header.waker.set(unsafe { Waker::new(token.to_data(), &VTABLE) });
        debug_assert!(set.is_ok(), "READY-1: a task was inserted twice");
    }

    /// Takes a running task out of its row, which its token does not name any more (WAKE-1).
    #[inline]
    pub(crate) fn remove(&self, token: Token) -> Rc<dyn AnyTask> {
        debug_assert!(token == self.running.get(), "STEP-2: a task ended outside of its step");
        self.running.set(Token::NOBODY);
        let task = self.with(|table| {
            let row = &mut table.rows[token.slot() as usize];
            assert!(row.token == token, "WAKE-1: {token:?} was to be removed from a row of {:?}", row.token);
            table.tenants -= 1;
            if token.generation() + 1 < LAST_GENERATION {
                row.token = token.next();
                table.vacant.push(token.slot());
            } else {
                // Used up: the row stays vacant, under a token that nobody ever had.
                row.token = Token::new(token.lane(), LAST_GENERATION, token.slot());
            }
            row.task.take()
        });
        let task = task.expect("WAKE-1: a row without its task");
        // SAFETY: the row owned the task until just now, and `whole` is from `Rc::into_raw`; its count comes back once.
        unsafe {
            let header = task.as_ref();
            header.life.set(0);
            Rc::from_raw(whole(header).as_ptr())
        }
    }

    /// The task of a token, while it lives.
    pub(crate) fn task(&self, token: Token) -> Option<Rc<dyn AnyTask>> {
        // SAFETY: the row owns the task it names.
        self.row(token).map(|task| unsafe { count(task) })
    }

    #[inline]
    fn row(&self, token: Token) -> Option<NonNull<Header>> {
        self.with(|table| {
            let row = table.rows.get(token.slot() as usize)?;
            if row.token == token { row.task } else { None }
        })
    }

    /// All living tasks, in the order of their rows.
    pub(crate) fn tasks(&self) -> Vec<Rc<dyn AnyTask>> {
        let tasks = self.with(|table| table.rows.iter().filter_map(|row| row.task).collect::<Vec<_>>());
        // SAFETY: the rows own the tasks that they name, and nothing foreign runs in between.
        tasks.into_iter().map(|task| unsafe { count(task) }).collect()
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
        let Some(task) = self.row(token) else { return false };
        // SAFETY: the row owns the task it names.
        let header = unsafe { task.as_ref() };
        if token == self.running.get() {
            self.note(QUEUED);
        } else if header.life.get() & QUEUED == 0 {
            header.life.set(header.life.get() | QUEUED);
            self.with(|table| table.ready.push(Entry::task(task)));
        }
        true
    }

    /// The task is to end when it is stepped next.
    pub(crate) fn condemn(&self, task: &Header) {
        if task.token() == self.running.get() {
            self.note(CONDEMNED);
        }
        task.life.set(task.life.get() | CONDEMNED);
    }

    /// A condemned task is queued, and not to wait for what it awaits.
    pub(crate) fn force(&self, task: &Header) {
        task.life.set(task.life.get() | FORCED);
        self.wake(task.token());
    }

    /// The task is not to end after all.
    pub(crate) fn pardon(&self, task: &Header) {
        if task.token() == self.running.get() {
            self.meanwhile.set(self.meanwhile.get() & !CONDEMNED);
        }
        task.life.set(task.life.get() & !(CONDEMNED | FORCED));
    }

    /// The running task waits for this, until `end_wait`. None if no task is running.
    #[inline]
    pub(crate) fn begin_wait(&self, wait: Wait) -> Option<WaitKey> {
        let task = self.running.get();
        let header = self.row(task)?;
        // SAFETY: the row owns the task it names.
        let number = unsafe { header.as_ref() }.add_wait(wait);
        Some(WaitKey { loop_id: self.lane.loop_id, task, number })
    }

    /// It waits for this no longer. If the task has ended, nothing is left to be done.
    #[inline]
    pub(crate) fn end_wait(&self, key: WaitKey) {
        if let Some(header) = self.row(key.task) {
            // SAFETY: the row owns the task it names.
            unsafe { header.as_ref() }.remove_wait(key.number);
        }
    }

    /// The running task enters a scope, until `leave_scope`. None if no task is running.
    pub(crate) fn enter_scope(&self, scope: Weak<dyn Scope>) -> Option<WaitKey> {
        let task = self.running.get();
        let header = self.row(task)?;
        // SAFETY: the row owns the task it names.
        let number = unsafe { header.as_ref() }.add_scope(scope);
        Some(WaitKey { loop_id: self.lane.loop_id, task, number })
    }

    /// It has left the scope. If the task has ended, nothing is left to be done.
    pub(crate) fn leave_scope(&self, key: WaitKey) {
        if let Some(header) = self.row(key.task) {
            // SAFETY: the row owns the task it names.
            unsafe { header.as_ref() }.remove_scope(key.number);
        }
    }

    /// Whether the wait or scope is the running task's.
    #[inline]
    pub(crate) fn waits_here(&self, key: WaitKey) -> bool {
        key.task == self.running.get()
    }

    #[inline]
    fn note(&self, what: u8) {
        self.meanwhile.set(self.meanwhile.get() | what);
    }

    // ---- the ready queue, which lives in the table so that a wake finds both at once ----

    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.with(|table| table.ready.is_empty())
    }

    pub(crate) fn ready_len(&self) -> usize {
        self.with(|table| table.ready.len())
    }

    pub(crate) fn push_call(&self, key: u32) {
        self.with(|table| table.ready.push(Entry::call(key)));
    }

    /// What is ready now is this turn's. Answers how much that is.
    #[inline]
    pub(crate) fn mark(&self) -> usize {
        self.with(|table| table.ready.mark())
    }

    // ---- the switch ----

    /// Steps the tasks of this turn, until something other than a switch is to be done. If nothing else was to be done between
    /// this turn and the next, which `calm` knows, it goes on with the next.
    ///
    /// This loop is what a task switch costs. It is one function and calls nothing but the future, so that nothing has to be
    /// saved and restored in between: written as a function a step, it took half as many instructions again.
    ///
    /// A panic of a future comes through, and leaves its task running. `EACH`: it stops after each step.
    #[inline]
    pub(crate) fn switch<const EACH: bool>(&self, calm: impl Fn() -> bool) -> Halt {
        loop {
            let Some(entry) = self.with(|table| table.ready.pop_marked()) else {
                if calm() && self.mark() > 0 {
                    continue;
                }
                self.running.set(Token::NOBODY);
                return Halt::Over;
            };
            if let Some(key) = entry.key() {
                self.running.set(Token::NOBODY);
                return Halt::Call(key);
            }
            // SAFETY: a task in the ready queue has a row, which owns it: it leaves both at once, or the queue first (READY-1).
            let header = unsafe { &*entry.0 };
            if let Some(halt) = self.step(header) {
                return halt;
            }
            if EACH {
                // SAFETY: its row owns the task: it has just suspended.
                return Halt::Stepped(unsafe { count(NonNull::from(header)) });
            }
        }
    }

    /// The task has left the queue, and is polled, unless it is to end.
    #[inline(always)]
    fn step(&self, header: &Header) -> Option<Halt> {
        debug_assert!(header.life.get() & QUEUED != 0, "READY-1: a task was stepped that was not queued");
        self.running.set(header.token());
        self.meanwhile.set(0);
        if header.life.get() != QUEUED {
            // SAFETY: its row owns the task.
            return Some(Halt::Condemned(unsafe { count(NonNull::from(header)) }));
        }
        self.poll(header)
    }

    /// Polls the running task.
    #[inline(always)]
    fn poll(&self, header: &Header) -> Option<Halt> {
        let waker = header.waker.get().expect("READY-1: a task without a waker was queued");
        let mut context = Context::from_waker(waker);
        // SAFETY: the row owns the task until `remove`, which is for tasks at which `switch` has stopped. It left the queue just
        // now and is not pushed while it is running, so nobody else is polling it (STEP-2). Its future is there: a task whose
        // future was dropped is removed (DONE-1), or was condemned by `lend`, and does not come this far.
        let poll = unsafe { whole(header).as_ref().poll(&mut context) };
        if poll.is_ready() {
            // SAFETY: its row owns the task.
            return Some(Halt::Ready(unsafe { count(NonNull::from(header)) }));
        }
        // While it ran it kept the mark `QUEUED`, so that a task which has woken itself needs no new one.
        let meanwhile = self.meanwhile.get();
        if meanwhile & QUEUED != 0 {
            self.with(|table| table.ready.push(Entry::task(NonNull::from(header))));
        }
        if meanwhile != QUEUED {
            header.life.set(meanwhile);
            if meanwhile & CONDEMNED != 0 {
                // SAFETY: its row owns the task.
                return Some(Halt::Suspended(unsafe { count(NonNull::from(header)) }));
            }
        }
        None
    }

    // ---- the steps of a task that unwinds ----

    /// The running task was cancelled, and is to wait on for what it awaits, unless it was forced.
    pub(crate) fn keep_waiting(&self, task: &Header) -> bool {
        let life = task.life.get();
        if life & (CONDEMNED | FORCED) != CONDEMNED {
            return false;
        }
        task.life.set(life & !QUEUED);
        self.leave_step();
        true
    }

    /// Takes the mark of a cancellation from the running task, which is unwinding from now on. Answers whether there was one.
    pub(crate) fn begin_unwinding(&self, task: &Header) -> bool {
        let was_condemned = task.is_condemned();
        task.life.set(QUEUED | UNWINDING);
        was_condemned
    }

    /// The running task suspends in a cleanup. Answers whether it was cancelled meanwhile.
    pub(crate) fn suspend_unwinding(&self, task: &Header) -> bool {
        let meanwhile = self.meanwhile.get();
        task.life.set(meanwhile | UNWINDING);
        if meanwhile & QUEUED != 0 {
            self.with(|table| table.ready.push(Entry::task(NonNull::from(task))));
        }
        self.leave_step();
        meanwhile & CONDEMNED != 0
    }

    /// The cancellation was caught: the running task goes on, in the same step.
    pub(crate) fn end_unwinding(&self, task: &Header) -> Option<Halt> {
        task.life.set(QUEUED | self.meanwhile.get());
        self.poll(task)
    }

    /// Drops the future of the running task, at which `switch` has stopped: with `Halt::Condemned`, or by a panic.
    pub(crate) fn drop_future(&self, task: &Rc<dyn AnyTask>) {
        assert!(task.header().token() == self.running.get(), "STEP-2: a future was dropped outside of its step");
        // SAFETY: it is running, but not being polled: `switch` has returned or unwound.
        unsafe { task.drop_future() };
    }

    /// The task that is being stepped.
    pub(crate) fn running(&self) -> Option<Rc<dyn AnyTask>> {
        self.task(self.running.get())
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

/// The cell of a header.
#[inline]
fn whole(header: &Header) -> NonNull<dyn AnyTask> {
    header.whole.get().expect("READY-1: a task that was never inserted")
}

/// One more owner of a task.
///
/// # Safety
///
/// Somebody must own the task.
unsafe fn count(task: NonNull<Header>) -> Rc<dyn AnyTask> {
    // SAFETY: by the caller's word the task is there, and `whole` is from `Rc::into_raw`; the count that is added is the one
    // that is given out.
    unsafe {
        let whole = whole(task.as_ref()).as_ptr();
        Rc::increment_strong_count(whole);
        Rc::from_raw(whole)
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
}

impl Drop for Wakers {
    fn drop(&mut self) {
        // A loop that could not come to an end leaks the tasks that are left (`Kernel::close`), and their tokens are used.
        // Closed already, unless the loop was dropped without its owner: nobody may move into an open inbox.
        drop(self.lane.inbox.close());
        let unused = |row: &Row| row.token.generation() + u32::from(row.task.is_some());
        let unused = self.table.get_mut().rows.iter().map(unused).max();
        lanes::leave(&self.lane, unused.unwrap_or(self.lane.generation));
    }
}

impl std::fmt::Debug for Wakers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wakers").field("lane", &self.lane.number).field("tasks", &self.len()).finish_non_exhaustive()
    }
}

/// While it lives, wakes on this thread find the table directly.
pub(crate) struct Home {
    before: Option<NonNull<Wakers>>,
    _wakers: Rc<Wakers>,
}

impl Drop for Home {
    fn drop(&mut self) {
        HOME.set(self.before);
    }
}

// ---- the vtable ----

static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake_by_ref, wake_by_ref, ignore);

fn clone(data: *const ()) -> RawWaker {
    RawWaker::new(data, &VTABLE)
}

fn ignore(_data: *const ()) {}

fn wake_by_ref(data: *const ()) {
    let token = Token::from_data(data);
    if let Some(home) = HOME.get() {
        // SAFETY: a `Home` on this thread's stack holds the table while the pointer stands in `HOME`.
        let home = unsafe { home.as_ref() };
        if token == home.running.get() {
            return home.note(QUEUED);
        }
    }
    wake_another(token);
}

/// Not the running task. In a function of its own, so that a task which wakes itself has nothing to save.
#[inline(never)]
fn wake_another(token: Token) {
    if let Some(home) = HOME.get() {
        // SAFETY: as in `wake_by_ref`.
        let home = unsafe { home.as_ref() };
        // A token of this lane that names nobody is of a task that has ended (WAKE-1).
        if home.wake(token) || home.lane.number == token.lane() {
            return;
        }
    }
    lanes::inbox(token.lane()).wake(token);
}

/// The token behind a waker of ours.
pub(crate) fn token_of(waker: &Waker) -> Option<Token> {
    ptr::eq(waker.vtable(), &VTABLE).then(|| Token::from_data(waker.data()))
}
