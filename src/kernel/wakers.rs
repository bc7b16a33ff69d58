//! The waker table: a row for each living task, and wakers that are the numbers of rows.
//!
//! A waker's data pointer is a `Token`. Cloning and dropping a waker do nothing. A wake on the loop's own thread, inside of a
//! turn, finds the row, compares the token, and pushes the row's number into the ready queue: no count, no lock, no atomic
//! operation. A wake from anywhere else goes to the inbox of the token's lane, and comes back here when the loop drains it.
//!
//! ```text
//!   thread_local HOME ----> Wakers { rows: [ token | state | task ], ready: [ 3 7 1 ] }
//!                                      ^
//!   Waker { data: token, vtable } ----'  row = token.slot(); same token? waiting? then ready.push(row)
//! ```
//!
//! A task that has ended leaves its row with the next generation, so its old wakers compare unequal (WAKE-1), and nothing but
//! the row's number has to stay alive for them.
//!
//! Does not know what wakes a task, nor what becomes of it when it has ended. Next: `task.rs`.
#![allow(unsafe_code, reason = "the waker's vtable, and a table that is borrowed without a flag on the switch path")]

use super::lanes::{self, Lane};
use super::ready::{Entry, ReadyQueue};
use super::task::AnyTask;
use super::token::{LAST_GENERATION, MAX_SLOTS, Token};
use std::cell::{Cell, UnsafeCell};
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::rc::Rc;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

thread_local! {
    /// The table of the loop that is in a turn on this thread. It has no destructor, so wakers may look here at any time, also
    /// while the thread is being torn down.
    static HOME: Cell<Option<NonNull<Wakers>>> = const { Cell::new(None) };
}

pub(crate) struct Wakers {
    lane: Lane,
    /// Borrowed in `with` alone.
    table: UnsafeCell<Table>,
    /// In debug builds, whether `table` is borrowed.
    #[cfg(debug_assertions)]
    borrowed: Cell<bool>,
}

struct Table {
    rows: Vec<Row>,
    ready: ReadyQueue,
    /// Vacant rows, to be used again. The last to come is the first to go.
    vacant: Vec<u32>,
    /// How many rows have a tenant.
    tenants: usize,
}

struct Row {
    /// The tenant's token, or the next one's while the row is vacant.
    token: Token,
    state: State,
    /// Something is to be done before the tenant is polled: `Step::Attend`.
    attend: bool,
    /// From `Rc::into_raw`. It is there while the row has a tenant.
    task: Option<NonNull<dyn AnyTask>>,
}

/// Where a task is in its life. See the picture in `task.rs`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// The row has no tenant.
    Vacant,
    /// Not in the ready queue; a wake puts it there.
    Waiting,
    /// In the ready queue, once (READY-1).
    Queued,
    /// Being polled, or having its future dropped.
    Running,
    /// Running, and to be queued again if it does not end.
    Woken,
}

/// What a step came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// The task waits, or is queued again.
    Pending,
    /// The same, and meanwhile somebody has asked for attention to it.
    PendingAttend,
    /// The future is ready and gone, the outcome is there; the task is still `Running`.
    Ready,
    /// Nothing was polled: the caller has to look at the task's header first, and to call again or to end the task.
    Attend,
}

impl Wakers {
    pub(crate) fn new() -> Self {
        let table = Table { rows: Vec::new(), ready: ReadyQueue::new(), vacant: Vec::new(), tenants: 0 };
        Wakers {
            lane: lanes::enter(),
            table: UnsafeCell::new(table),
            #[cfg(debug_assertions)]
            borrowed: Cell::new(false),
        }
    }

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

    /// Gives a task a row, and queues it. The row holds the task until `remove` gives it back.
    pub(crate) fn insert(&self, task: Rc<dyn AnyTask>) -> Token {
        let task = NonNull::new(Rc::into_raw(task).cast_mut());
        self.with(|table| {
            let slot = match table.vacant.pop() {
                Some(slot) => slot,
                None => table.add_row(&self.lane),
            };
            table.tenants += 1;
            table.ready.push_task(slot);
            let row = &mut table.rows[slot as usize];
            debug_assert!(row.state == State::Vacant);
            (row.state, row.attend, row.task) = (State::Queued, false, task);
            row.token
        })
    }

    /// Takes a task out of its row, which no token names any more (WAKE-1).
    pub(crate) fn remove(&self, token: Token) -> Rc<dyn AnyTask> {
        let task = self.with(|table| {
            let slot = token.slot();
            let row = &mut table.rows[slot as usize];
            assert!(row.token == token, "WAKE-1: {token:?} was removed from a row of {:?}", row.token);
            debug_assert!(
                matches!(row.state, State::Running | State::Woken),
                "READY-1: a task ended while it was queued"
            );
            row.state = State::Vacant;
            table.tenants -= 1;
            if token.generation() + 1 < LAST_GENERATION {
                row.token = token.next();
                table.vacant.push(slot);
            } else {
                // Used up: the row stays vacant, under a token that nobody ever had.
                row.token = Token::new(token.lane(), LAST_GENERATION, slot);
            }
            row.task.take()
        });
        let task = task.expect("WAKE-1: a row without its task").as_ptr();
        // SAFETY: the pointer is from `Rc::into_raw` in `insert`, and was taken out of the row just now, so it comes back once.
        unsafe { Rc::from_raw(task) }
    }

    /// Queues a task if it waits. False if the token names no task of this loop.
    #[inline]
    pub(crate) fn wake(&self, token: Token) -> bool {
        self.with(|table| {
            let slot = token.slot();
            let Some(row) = table.rows.get_mut(slot as usize) else { return false };
            if row.token != token {
                return false;
            }
            match row.state {
                State::Waiting => {
                    row.state = State::Queued;
                    table.ready.push_task(slot);
                }
                State::Running => row.state = State::Woken,
                // A waker is made for a tenant's step, so nobody has the token of a row that has had none.
                State::Queued | State::Woken | State::Vacant => {}
            }
            true
        })
    }

    /// The task's next step does not poll it: it comes back with `Step::Attend`.
    pub(crate) fn attend(&self, token: Token) {
        self.with(|table| {
            let row = &mut table.rows[token.slot() as usize];
            debug_assert!(row.token == token);
            row.attend = true;
        });
    }

    /// Polls the task in a row. A panic of its future comes through, and leaves the task `Running`.
    #[inline]
    pub(crate) fn step(&self, slot: u32) -> Step {
        let (token, task) = match self.begin(slot) {
            Some(begun) => begun,
            None => return Step::Attend,
        };
        // SAFETY: the vtable's functions do what `RawWaker` asks for, with any data.
        let waker = ManuallyDrop::new(unsafe { Waker::new(token.to_data(), &VTABLE) });
        let mut context = Context::from_waker(&waker);
        // SAFETY: the row holds the task until `remove`, which is for tasks that have been polled to their end or taken out of
        // their turn. Its state was `Queued` and is `Running` now, so nobody else is polling it (STEP-2), and its future is
        // there (DONE-1).
        let poll = unsafe { task.as_ref().poll(&mut context) };
        match poll {
            Poll::Ready(()) => Step::Ready,
            Poll::Pending => self.suspend(slot),
        }
    }

    /// `Queued` becomes `Running`, unless something is to be done first: then it has become `Running` for that.
    #[inline]
    fn begin(&self, slot: u32) -> Option<(Token, NonNull<dyn AnyTask>)> {
        self.with(|table| {
            let row = &mut table.rows[slot as usize];
            debug_assert!(
                row.state == State::Queued || row.state == State::Running && !row.attend,
                "READY-1: a task was stepped that was not queued, but {:?}",
                row.state
            );
            row.state = State::Running;
            if row.attend {
                row.attend = false;
                return None;
            }
            let task = row.task.expect("READY-1: a row without a task was queued");
            Some((row.token, task))
        })
    }

    /// After a poll that was pending: `Running` becomes `Waiting`, `Woken` becomes `Queued`.
    #[inline]
    fn suspend(&self, slot: u32) -> Step {
        self.with(|table| {
            let row = &mut table.rows[slot as usize];
            if row.state == State::Woken {
                row.state = State::Queued;
                table.ready.push_task(slot);
            } else {
                debug_assert!(row.state == State::Running);
                row.state = State::Waiting;
            }
            if row.attend { Step::PendingAttend } else { Step::Pending }
        })
    }

    /// Drops the future of the task in a row, which was taken out of its turn by `Step::Attend` or by a panic.
    pub(crate) fn drop_future(&self, slot: u32) {
        let task = self.with(|table| {
            let row = &mut table.rows[slot as usize];
            assert!(
                matches!(row.state, State::Running | State::Woken),
                "STEP-2: a future was dropped outside of its step"
            );
            row.task.expect("READY-1: a row without a task")
        });
        // SAFETY: the row holds the task. It is `Running`, but not being polled: `begin` gave it out for something else, or the
        // poll has unwound.
        unsafe { task.as_ref().drop_future() };
    }

    pub(crate) fn task(&self, slot: u32) -> Option<Rc<dyn AnyTask>> {
        let task = self.with(|table| table.rows.get(slot as usize).and_then(|row| row.task))?.as_ptr();
        // SAFETY: the pointer is from `Rc::into_raw`, and the row goes on holding what it held: the count goes up by one for
        // the `Rc` that is given out.
        unsafe {
            Rc::increment_strong_count(task);
            Some(Rc::from_raw(task))
        }
    }

    /// The task of a token, while it lives.
    pub(crate) fn task_of(&self, token: Token) -> Option<Rc<dyn AnyTask>> {
        if self.state(token) == State::Vacant { None } else { self.task(token.slot()) }
    }

    /// Where a living task is in its life.
    pub(crate) fn state(&self, token: Token) -> State {
        self.with(|table| match table.rows.get(token.slot() as usize) {
            Some(row) if row.token == token => row.state,
            _ => State::Vacant,
        })
    }

    /// All living tasks, in the order of their rows.
    pub(crate) fn tasks(&self) -> Vec<Rc<dyn AnyTask>> {
        let rows = self.with(|table| table.rows.len());
        (0..rows).filter_map(|slot| self.task(slot as u32)).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.with(|table| table.tenants)
    }

    // The ready queue lives in the table, so that a wake borrows once.

    #[inline]
    pub(crate) fn ready_len(&self) -> usize {
        self.with(|table| table.ready.len())
    }

    #[inline]
    pub(crate) fn pop_ready(&self) -> Option<Entry> {
        self.with(|table| table.ready.pop())
    }

    pub(crate) fn push_call(&self, key: u32) {
        self.with(|table| table.ready.push_call(key));
    }
}

impl Table {
    #[cold]
    fn add_row(&mut self, lane: &Lane) -> u32 {
        let slot = self.rows.len();
        assert!(
            slot < MAX_SLOTS,
            "a new task was asked for, but {slot} tasks are alive or have used up their rows; let some end first"
        );
        let token = Token::new(lane.number, lane.generation, slot as u32);
        self.rows.push(Row { token, state: State::Vacant, attend: false, task: None });
        slot as u32
    }
}

impl Drop for Wakers {
    fn drop(&mut self) {
        let table = self.table.get_mut();
        debug_assert!(table.tenants == 0 || std::thread::panicking(), "END-1: the table was dropped with tasks in it");
        let unused = table.rows.iter().map(|row| row.token.generation()).max();
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
        if unsafe { home.as_ref() }.wake(token) {
            return;
        }
    }
    wake_from_elsewhere(token);
}

/// The token is of another loop, or of a task that has ended, or this thread is not in a turn.
#[cold]
fn wake_from_elsewhere(token: Token) {
    // SAFETY: as in `wake_by_ref`.
    let home = HOME.get().map(|home| unsafe { home.as_ref() });
    if home.is_some_and(|home| home.lane.number == token.lane()) {
        return; // It has ended (WAKE-1).
    }
    lanes::inbox(token.lane()).wake(token);
}

/// The token behind a waker of ours.
pub(crate) fn token_of(waker: &Waker) -> Option<Token> {
    std::ptr::eq(waker.vtable(), &VTABLE).then(|| Token::from_data(waker.data()))
}
