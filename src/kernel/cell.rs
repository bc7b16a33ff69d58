//! The task cell: a task's future, its outcome and its bookkeeping, in one allocation.
//!
//! ```text
//!   TypedTask<T> --.                 +--------+-------------------------+
//!   AnyTask -------+---------------> | Header | future, then outcome    |     one cell: 64 bytes and the larger of the two
//!   row of the table                 +--------+-------------------------+
//! ```
//!
//! The cell is counted: the waker table holds it while the task lives, handles hold it as long as they like. The future is
//! dropped when the task ends, and the outcome takes its place; the rest of the cell goes with its last holder.
//!
//! Why this is not an `Rc<dyn Trait>`: handles, rows and queue hold one word, not two, nobody counts weak references that nobody
//! has, and outcome and future share their place. With `Rc` the cell of the smallest task took 248 bytes; it
//! takes 88.
//!
//! ```text
//!            spawn
//!              | 1
//!              v        2                  3
//!           SCHEDULED ----------> RUNNING ----------> DONE
//!            ^  ^               |   |
//!          5 |  |       4       |   | 6
//!            |  +---------------+   v
//!            +---------------- WAITING
//!
//!   1 Kernel::spawn          2 TaskTable::run_ready
//!   3 Kernel::finish         4 TaskTable::run_ready, if it was woken while it ran
//!   5 TaskTable::wake           6 TaskTable::run_ready
//! ```
//!
//! Between its cancellation and its end a task may be unwinding (`cancel/unwind.rs`): it is queued, running and waiting as before,
//! but its steps poll cleanups.
//!
//! Where a task is in this picture, three fields say, each where it is looked at:
//!
//! ```text
//!   Header::life          SCHEDULED or not, and whether it was cancelled      each wake, each step
//!   TaskTable::running    which task is RUNNING: one in the whole loop     each wake
//!   Header::ending        DONE, and how                                    whoever has a handle
//! ```
//!
//! One field would need a branch more a switch: to become `RUNNING`, and not to be any more, a task would have to be written to
//! twice. As it is, the loop writes down the one task that it polls, and the task itself is not touched if it wakes itself.
//!
//! What is kept here of waits and waiters are the beginnings of lists, whose nodes stand in the table. Does not know the loop:
//! whoever needs it looks it up by the token.
//!
//! # Unsafe code
//!
//! Three things are done by hand here, and each is guarded by one field that says what is true now. The cell is counted by
//! `holders`, as an `Rc` is. Its type is forgotten, and `kind` has the functions that know it. Future and outcome share a place, and `holds`
//! says which of them is there. When a future is dropped unfinished, `kind` becomes one that polls nothing: no flag that somebody
//! could clear stands between a dropped future and a poll.
//!
//! Next: `table.rs`.
#![allow(unsafe_code, reason = "counts and erases cells, and keeps the future and the outcome in one place")]

mod extra;
mod failed;
mod typed;
mod unread;

use super::callbacks::exceptions;
use super::table::lists::List;
use super::token::Token;
use crate::error::TaskError;
use std::cell::{Cell, RefCell};
use std::mem::{ManuallyDrop, offset_of};
use std::panic::Location;
use std::pin::Pin;
use std::ptr::{self, NonNull};
use std::task::{Context, Poll, ready};

use extra::Slot;
pub(crate) use typed::{Draft, TypedTask, lend, same};
use unread::Unwritten;

/// How a task ended.
pub(crate) type Outcome<T> = Result<T, TaskError>;

/// In `Header::life`: the task stands in the ready queue, once (READY-1), or is being stepped.
pub(super) const SCHEDULED: u8 = 1;
/// In `Header::life`: it was cancelled; when it is stepped next, it unwinds, and its future is dropped.
pub(super) const CONDEMNED: u8 = 2;
/// In `Header::life`: the cancellation has come to its scopes, and the cleanup of one is not through.
pub(super) const UNWINDING: u8 = 4;

/// In `Header::life`, beside `CONDEMNED`: it was cancelled in a circle, or at the end of the loop, and is not to wait for what it
/// awaits.
pub(super) const FORCED: u8 = 8;
/// In what comes upon a task while it runs: it ends as cancelled in this step, from where it stands.
pub(super) const RAISED: u8 = 16;
/// In what comes upon a task while it runs: it is condemned if it suspends. What it returns before that counts.
pub(super) const DOOMED: u8 = 32;

/// What is known of a task without knowing its type.
///
/// A line of the cache, so that a switch touches one line of the task before its future. The fields stand in groups by who writes
/// them. Nobody needs a lock: a cell never leaves its thread. What other threads have of a task is its token.
pub(crate) struct Header {
    /// What the cell can do, whose type is forgotten. Another one once the future was dropped unfinished.
    kind: Cell<&'static Kind>,
    /// So many `AnyTask`s there are.
    holders: Cell<u32>,
    /// What stands behind the header.
    holds: Cell<Holds>,

    // The waker table's: it alone writes here.
    /// Of `SCHEDULED`, `CONDEMNED`, `UNWINDING` and `FORCED`; in the step in which it suspends, of `RAISED` and `DOOMED` as well.
    pub(super) life: Cell<u8>,
    /// Until the task is put into the table, one of its lane that nobody has.
    pub(super) token: Cell<Token>,
    /// What it waits for.
    pub(super) waits: Cell<List>,
    /// Who waits for it.
    pub(super) waiters: Cell<List>,

    // Fixed when the task is made.
    pub(crate) id: u64,
    pub(crate) spawned_at: &'static Location<'static>,

    // The life of the task; the kernel writes.
    /// None while the task lives.
    pub(crate) ending: Cell<Option<Ending>>,
    /// Somebody has looked at the outcome, so a panic is known.
    pub(crate) looked_at: Cell<bool>,
    /// How often a cancellation was asked for.
    pub(crate) cancelling: Cell<u32>,
    /// The last spread of a cancellation that came by here (`cancel/spread.rs`).
    pub(crate) visited: Cell<u32>,
    /// What few tasks have. Taken out while it is used (`Header::extra`).
    extra: Slot,
}

const _: () = assert!(size_of::<Header>() == 64, "a header is a line of the cache");

/// What stands behind a header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Holds {
    /// The task lives, or was never put into a table.
    Future,
    /// The future was dropped, and there is no outcome yet; or the outcome was taken with the cell's end.
    Nothing,
    /// Written once, and read by whoever holds the cell.
    Outcome,
}

/// How a task ended, without its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    Value,
    Cancelled,
    Panicked,
}

impl Header {
    #[inline]
    fn new(kind: &'static Kind, draft: Draft) -> Self {
        let extra = Slot::of(draft.name);
        Header {
            kind: Cell::new(kind),
            holders: Cell::new(1),
            holds: Cell::new(Holds::Future),
            life: Cell::new(0),
            token: Cell::new(Token::unplaced(draft.lane)),
            waits: Cell::new(List::EMPTY),
            waiters: Cell::new(List::EMPTY),
            id: draft.id,
            spawned_at: draft.spawned_at,
            ending: Cell::new(None),
            looked_at: Cell::new(false),
            cancelling: Cell::new(0),
            visited: Cell::new(0),
            extra,
        }
    }

    /// Names the task, and its loop.
    #[inline]
    pub(crate) fn token(&self) -> Token {
        self.token.get()
    }

    /// It was cancelled, and has not ended.
    pub(crate) fn is_ending(&self) -> bool {
        self.life.get() & (CONDEMNED | UNWINDING) != 0
    }

    pub(crate) fn is_unwinding(&self) -> bool {
        self.life.get() & UNWINDING != 0
    }

    pub(crate) fn is_condemned(&self) -> bool {
        self.life.get() & CONDEMNED != 0
    }

    /// It was cancelled in a circle, or at the end of the loop.
    pub(crate) fn is_forced(&self) -> bool {
        self.life.get() & FORCED != 0
    }

    /// Its future is there: it has not returned, and was not dropped.
    pub(super) fn has_future(&self) -> bool {
        self.holds.get() == Holds::Future
    }

    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        self.ending.get().is_some()
    }

    // In functions of their own, since they are parts of all that use `extra`.

    // ---- how it unwinds ----

    // ---- its task-local values ----
}

// ---- the cell ----

/// A task of which only the header is known. Counted: it holds the cell.
pub(crate) struct AnyTask(NonNull<Header>);

/// The header comes first, so a pointer to the cell is one to the header.
#[repr(C)]
struct TaskCell<F: Future> {
    header: Header,
    stage: Stage<F>,
}

/// What it is, `Header::holds` says.
#[repr(C)]
union Stage<F: Future> {
    future: ManuallyDrop<F>,
    outcome: ManuallyDrop<RefCell<Option<Outcome<F::Output>>>>,
}

/// What can be done with a cell of one type of future. Each pointer is to the header of a cell of that type, with the right to
/// use the whole of it.
struct Kind {
    /// The name of the future's type.
    future: fn() -> &'static str,
    poll: unsafe fn(NonNull<Header>, &mut Context<'_>) -> Poll<()>,
    drop_future: unsafe fn(NonNull<Header>),
    set_error: unsafe fn(NonNull<Header>, TaskError),
    free: unsafe fn(NonNull<Header>),
    /// Where the outcome stands in the cell.
    outcome_at: usize,
    /// What takes the place of this when the future is dropped unfinished: the same, but it polls nothing.
    gone: Option<&'static Kind>,
}

impl AnyTask {
    #[inline]
    pub(crate) fn header(&self) -> &Header {
        // SAFETY: this holds the cell, and nobody has a `&mut` to a header.
        unsafe { self.0.as_ref() }
    }

    /// Gives the hold up, without an end to it.
    #[inline]
    pub(super) fn into_raw(self) -> NonNull<Header> {
        ManuallyDrop::new(self).0
    }

    /// Takes a hold over.
    ///
    /// # Safety
    ///
    /// It is from `into_raw`, and nobody else takes it over.
    #[inline]
    pub(super) unsafe fn from_raw(task: NonNull<Header>) -> Self {
        AnyTask(task)
    }

    /// One more hold.
    ///
    /// # Safety
    ///
    /// The pointer is from `into_raw`, and somebody holds the cell.
    #[inline]
    pub(super) unsafe fn held(task: NonNull<Header>) -> Self {
        // SAFETY: by the caller's word it is there.
        let holders = unsafe { &task.as_ref().holders };
        let Some(more) = holders.get().checked_add(1) else { too_many_holders() };
        holders.set(more);
        AnyTask(task)
    }

    /// Drops the future if it is still there.
    ///
    /// # Safety
    ///
    /// Nobody may be polling it.
    pub(super) unsafe fn drop_future(&self) {
        let kind = self.header().kind.get();
        // First, since a destructor that panics must not leave the way to a poll open.
        self.header().kind.set(kind.gone.unwrap_or(kind));
        // SAFETY: the function is this cell's, and the rest is the caller's word.
        unsafe { (kind.drop_future)(self.0) }
    }
}

/// As `Rc` does it: whoever has leaked four billion handles cannot be helped.
#[cold]
fn too_many_holders() -> ! {
    exceptions::complain(&"a task is held by more than 2^32 handles");
    std::process::abort()
}

/// Polls the future of a task. When it is ready, it was dropped and its value is the outcome. If the future was dropped
/// unfinished, nothing is polled, and the task is condemned and ready.
///
/// # Safety
///
/// The pointer is from `into_raw`, and somebody holds the cell, at least until this returns. The task must not have returned
/// before, and nobody may be polling or dropping the future.
#[inline(always)]
pub(super) unsafe fn poll(task: NonNull<Header>, context: &mut Context<'_>) -> Poll<()> {
    // SAFETY: the cell is there, the function is its own, and the rest is the caller's word.
    unsafe { (task.as_ref().kind.get().poll)(task, context) }
}

impl Clone for AnyTask {
    #[inline]
    fn clone(&self) -> Self {
        // SAFETY: it is from `into_raw` or equal to one, and this holds the cell.
        unsafe { AnyTask::held(self.0) }
    }
}

impl Drop for AnyTask {
    #[inline]
    fn drop(&mut self) {
        let header = self.header();
        let left = header.holders.get() - 1;
        header.holders.set(left);
        if left == 0 {
            let free = header.kind.get().free;
            // SAFETY: nobody holds the cell any more, and the function is its own.
            unsafe { free(self.0) }
        }
    }
}

/// Stands for `TaskCell::poll` once the future was dropped unfinished: the cell itself knows that there is nothing to be polled.
///
/// # Safety
///
/// As the function `poll` says.
unsafe fn poll_nothing(task: NonNull<Header>, _: &mut Context<'_>) -> Poll<()> {
    // SAFETY: somebody holds the cell.
    let header = unsafe { task.as_ref() };
    debug_assert!(header.holds.get() != Holds::Future, "DONE-1: a future is there that was said to be gone");
    header.life.set(header.life.get() | CONDEMNED);
    Poll::Ready(())
}

impl<F: Future> TaskCell<F> {
    const KIND: &'static Kind = &Kind { poll: Self::poll, gone: Some(Self::GONE), ..*Self::GONE };

    const GONE: &'static Kind = &Kind {
        future: std::any::type_name::<F>,
        poll: poll_nothing,
        drop_future: Self::drop_future,
        set_error: Self::set_error,
        free: Self::free,
        outcome_at: offset_of!(Self, stage),
        gone: None,
    };

    /// # Safety
    ///
    /// As the function `poll` below the type says.
    unsafe fn poll(task: NonNull<Header>, context: &mut Context<'_>) -> Poll<()> {
        // SAFETY: `Kind` says that this is such a cell; somebody holds it.
        let (header, stage) = unsafe { Self::parts(task) };
        debug_assert!(header.holds.get() == Holds::Future, "DONE-1: a task was polled after its future was dropped");
        // SAFETY: the future is there, is never moved, and is dropped where it is, so it is pinned. The caller says that nobody
        // else uses it (STEP-2).
        let future = unsafe { Pin::new_unchecked(&mut *(*stage).future) };
        let mut value = Unwritten(Some(ready!(future.poll(context))));
        // SAFETY: `poll` has returned, and as before nobody else uses the future. Then the place is free.
        unsafe {
            Self::drop_future(task);
            if let Some(value) = value.0.take() {
                Self::write(header, stage, Ok(value));
            }
        }
        Poll::Ready(())
    }

    /// # Safety
    ///
    /// Nobody may be polling the future.
    unsafe fn drop_future(task: NonNull<Header>) {
        // SAFETY: `Kind` says that this is such a cell; somebody holds it.
        let (header, stage) = unsafe { Self::parts(task) };
        if header.holds.get() == Holds::Future {
            // First the mark, so that a destructor that panics, or asks for this task's end, does not lead here a second time.
            header.holds.set(Holds::Nothing);
            // SAFETY: it is there, was not dropped before, and by the caller's word nobody is polling it.
            unsafe { ManuallyDrop::drop(&mut (*stage).future) };
        }
    }

    /// # Safety
    ///
    /// Nobody holds the cell any more.
    unsafe fn free(task: NonNull<Header>) {
        // SAFETY: it comes from a box of this type, and nobody has it any more.
        drop(unsafe { Box::from_raw(task.cast::<Self>().as_ptr()) });
    }

    /// # Safety
    ///
    /// There is such a cell, and while the header is used somebody holds it.
    #[inline(always)]
    unsafe fn parts<'a>(task: NonNull<Header>) -> (&'a Header, *mut Stage<F>) {
        let cell = task.cast::<Self>().as_ptr();
        // SAFETY: the cell is there. Only the place of the stage is computed, none is looked at.
        unsafe { (&(*cell).header, &raw mut (*cell).stage) }
    }

    /// # Safety
    ///
    /// The place is that of the header's cell, and there is nothing in it.
    #[inline(always)]
    unsafe fn write(header: &Header, stage: *mut Stage<F>, outcome: Outcome<F::Output>) {
        // SAFETY: the place is free.
        unsafe { ptr::write(stage, Stage { outcome: ManuallyDrop::new(RefCell::new(Some(outcome))) }) };
        header.holds.set(Holds::Outcome);
    }
}
