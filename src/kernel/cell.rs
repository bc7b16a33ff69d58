//! The task cell: a task's future, its outcome and its bookkeeping, in one allocation.
//!
//! ```text
//!   TypedTask<T> --.                 +--------+-------------------------+
//!   AnyTask -------+---------------> | Header | future, then outcome    |     one cell: 64 bytes and the larger of the two
//!   row of the table                 +--------+-------------------------+
//! ```
//!
//! The cell counts its references. The task table holds it while the task lives, and so does each handle. When the task ends,
//! the future is dropped and the outcome takes its place. The cell is freed with its last reference.
//!
//! Why not an `Rc<dyn Trait>`? Here handles, rows and queue entries take one word, not two; there is no weak count; and outcome
//! and future share their place. With `Rc` the cell of the smallest task took 248 bytes. Now it takes 88.
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
//!   5 TaskTable::wake        6 TaskTable::run_ready
//! ```
//!
//! A cancelled task may unwind before it ends (`cancel/unwind.rs`). It then goes through the same states, but its steps poll
//! cleanups instead of the future.
//!
//! Three fields together say in which state a task is. Each field is stored where the code that reads it finds it quickly:
//!
//! ```text
//!   field                 says                                            read by
//!   Header::life          SCHEDULED or not; whether it was cancelled      each wake, each step
//!   TaskTable::running    which task is RUNNING, one per loop             each wake
//!   Header::ending        DONE, and how it ended                          handles
//! ```
//!
//! The mark `SCHEDULED` stays set while the task runs. So RUNNING is the mark plus the token in `TaskTable::running`, and most
//! steps write `life` only when the task suspends. One field for all states would have to be written twice in each step.
//!
//! A task's waits (what it waits for) and its waiters (what its end wakes) are in the table, except the first awaiter
//! (`cell/extra.rs`). Bits say whether there are any. The cell has no reference to its loop: the token names the loop.
//!
//! # Unsafe code
//!
//! Three things are unsafe here, and one field guards each. `holders` counts the references, as in an `Rc`. `kind` has the
//! functions that know the erased type. `holds` says whether the shared place contains the future or the outcome. When a future
//! is dropped before it has returned, `kind` is replaced by one that polls nothing, so a dropped future cannot be polled again.
//!
//! Next: `table.rs`.
#![allow(unsafe_code, reason = "counts and erases cells, and keeps the future and the outcome in one place")]

mod extra;
mod failed;
pub(super) mod memory;
mod typed;
mod unread;

use super::callbacks::exceptions;
use super::ready::Link;
use super::table::entry::Entry;
use super::token::Token;
use crate::error::TaskError;
use core::alloc::Layout;
use core::cell::{Cell, RefCell};
use core::mem::{ManuallyDrop, offset_of};
use core::panic::Location;
use core::pin::Pin;
use core::ptr::{self, NonNull};
use core::task::{Context, Poll, ready};

use extra::Slot;
pub(crate) use typed::{Draft, TypedTask, lend, same};
use unread::Unwritten;

/// How a task ended.
pub(crate) type Outcome<T> = Result<T, TaskError>;

/// In `Header::life`: the task is in the ready queue, once (READY-1), or is running.
pub(super) const SCHEDULED: u8 = 1;
/// In `Header::life`: the task was cancelled. At its next step it unwinds, and its future is dropped.
pub(super) const CONDEMNED: u8 = 2;
/// In `Header::life`: the cancellation has reached the task's scopes, and a cleanup is not finished.
pub(super) const UNWINDING: u8 = 4;

/// In `Header::life`, with `CONDEMNED`: the task was cancelled in a circle of tasks that await each other, or at the end of the
/// loop. It does not wait for the tasks that it awaits.
pub(super) const FORCED: u8 = 8;
/// In `TaskTable::running_flags`: the task ends as cancelled in this step, at the point that it has reached.
pub(super) const RAISED: u8 = 16;
/// In `TaskTable::running_flags`: the task is condemned if it suspends. If it returns in this step instead, the value counts.
pub(super) const DOOMED: u8 = 32;

/// The part of a task that does not depend on its type.
///
/// As long as one cache line, so that a switch touches few lines before it polls the future. The fields are grouped by their
/// writers. No lock is needed: a cell never leaves its thread. Other threads have only the task's token.
pub(crate) struct Header {
    /// The functions for the erased type. Replaced when the future is dropped before it has returned.
    kind: Cell<&'static Kind>,
    /// Number of references.
    holders: Cell<u32>,
    /// What follows the header in the cell.
    holds: Cell<Holds>,

    // Written by the task table; `life` also by `poll_nothing` here, `records` also by `cell/unread.rs`.
    /// A set of `SCHEDULED`, `CONDEMNED`, `UNWINDING` and `FORCED`. Also of `RAISED` and `DOOMED`, from the moment when the
    /// task suspends until the loop has handled these two.
    pub(super) life: Cell<u8>,
    /// The next entry of the ready queue, while this task is in it.
    pub(super) link: Link<Entry>,
    /// Until the task is inserted into the table, a token that names no task.
    pub(super) token: Cell<Token>,
    /// Bits that say where this task has waits and waiters (`table/store.rs`, `cell/extra.rs`), and whether the outcome was read.
    pub(super) records: Cell<u8>,

    // Fixed when the task is made.
    pub(crate) id: u64,
    pub(crate) spawned_at: &'static Location<'static>,

    // Written by the kernel.
    /// `None` until the task has ended.
    pub(crate) ending: Cell<Option<Ending>>,
    /// Number of cancellation requests.
    pub(crate) cancelling: Cell<u32>,
    /// The number of the last cancellation that spread through this task (`cancel/spread.rs`).
    pub(crate) visited: Cell<u32>,
    /// Data that few tasks have, taken out while it is used (`Header::extra`). In the other tasks, the first awaiter.
    extra: Slot,
}

const _: () = assert!(size_of::<Header>() <= 64, "a header fits into one cache line");

/// What follows a header in a cell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Holds {
    /// The task lives, or was never put into a table.
    Future,
    /// The future was dropped, and the outcome is not written yet.
    Nothing,
    /// The outcome. Code with a handle may read it, or take it out. An error may replace it before the task ends.
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
            link: Link::new(),
            token: Cell::new(Token::NOBODY),
            records: Cell::new(0),
            id: draft.id,
            spawned_at: draft.spawned_at,
            ending: Cell::new(None),
            cancelling: Cell::new(0),
            visited: Cell::new(0),
            extra,
        }
    }

    /// The token, which names the task and its loop.
    #[inline]
    pub(crate) fn token(&self) -> Token {
        self.token.get()
    }

    /// Whether the task was cancelled and has not ended.
    pub(crate) fn is_ending(&self) -> bool {
        self.life.get() & (CONDEMNED | UNWINDING) != 0
    }

    pub(crate) fn is_unwinding(&self) -> bool {
        self.life.get() & UNWINDING != 0
    }

    pub(crate) fn is_condemned(&self) -> bool {
        self.life.get() & CONDEMNED != 0
    }

    /// Whether the task was cancelled in a circle, or at the end of the loop.
    pub(crate) fn is_forced(&self) -> bool {
        self.life.get() & FORCED != 0
    }

    /// Whether the future is still in the cell: it has not returned, and was not dropped.
    pub(super) fn has_future(&self) -> bool {
        self.holds.get() == Holds::Future
    }

    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        self.ending.get().is_some()
    }
}

// ---- the cell ----

/// A counted reference to a task of unknown type.
pub(crate) struct AnyTask(NonNull<Header>);

/// The header comes first, so a pointer to the cell is also a pointer to the header.
#[repr(C)]
struct TaskCell<F: Future> {
    header: Header,
    stage: Stage<F>,
}

/// `Header::holds` says which field is valid.
#[repr(C)]
union Stage<F: Future> {
    future: ManuallyDrop<F>,
    outcome: ManuallyDrop<RefCell<Option<Outcome<F::Output>>>>,
}

/// What the kernel knows about cells of one future type. A function here that takes a pointer to a header gets it from
/// such a cell, and may use the whole cell.
struct Kind {
    /// The name of the future's type.
    #[cfg(feature = "report")]
    future: fn() -> &'static str,
    poll: unsafe fn(NonNull<Header>, &mut Context<'_>) -> Poll<()>,
    drop_future: unsafe fn(NonNull<Header>),
    set_error: unsafe fn(NonNull<Header>, TaskError),
    free: unsafe fn(NonNull<Header>),
    /// Offset of the outcome in the cell.
    outcome_at: usize,
    /// Replaces this `Kind` when the future is dropped before it has returned: the same functions, but `poll` polls nothing.
    gone: Option<&'static Kind>,
}

impl AnyTask {
    #[inline]
    pub(crate) fn header(&self) -> &Header {
        // SAFETY: `self` is a reference to the cell, and no `&mut` to a header exists.
        unsafe { self.0.as_ref() }
    }

    /// Converts the reference into a pointer, without releasing it.
    #[inline]
    pub(super) fn into_raw(self) -> NonNull<Header> {
        ManuallyDrop::new(self).0
    }

    /// Converts a pointer back into a reference.
    ///
    /// # Safety
    ///
    /// The pointer is from `into_raw`, and is converted back only once.
    #[inline]
    pub(super) unsafe fn from_raw(task: NonNull<Header>) -> Self {
        AnyTask(task)
    }

    /// Adds a reference.
    ///
    /// # Safety
    ///
    /// The pointer is from `into_raw`, and a reference to the cell exists.
    #[inline]
    pub(super) unsafe fn held(task: NonNull<Header>) -> Self {
        // SAFETY: the caller says that the cell exists.
        let holders = unsafe { &task.as_ref().holders };
        let Some(more) = holders.get().checked_add(1) else { too_many_holders() };
        holders.set(more);
        AnyTask(task)
    }

    /// Drops the future if the cell still contains it.
    ///
    /// # Safety
    ///
    /// No code may be polling it.
    pub(super) unsafe fn drop_future(&self) {
        let kind = self.header().kind.get();
        // Replaced first, because nothing may poll the future after its destructor has panicked.
        self.header().kind.set(kind.gone.unwrap_or(kind));
        // SAFETY: the function is this cell's; the caller says the rest.
        unsafe { (kind.drop_future)(self.0) }
    }
}

/// Aborts, as `Rc` does: a program that has leaked four billion handles cannot be helped.
#[cold]
fn too_many_holders() -> ! {
    exceptions::complain(&"a task is held by more than 2^32 handles");
    crate::platform::abort()
}

/// Polls the future of a task. When the future returns, it is dropped, its value becomes the outcome, and this returns ready.
/// If the future was dropped before it has returned, this polls nothing, marks the task as condemned, and returns ready.
/// If the future has returned in the step of another task (`cancel/through.rs`), this only returns ready.
///
/// # Safety
///
/// The pointer is from `into_raw`, and a reference to the cell exists at least until this returns. If the future has returned
/// before, `AnyTask::drop_future` was called after that. No other code may be polling or dropping it.
#[inline(always)]
pub(super) unsafe fn poll(task: NonNull<Header>, context: &mut Context<'_>) -> Poll<()> {
    // SAFETY: the caller says that the cell exists, and the rest; the function is this cell's.
    unsafe { (task.as_ref().kind.get().poll)(task, context) }
}

impl Clone for AnyTask {
    #[inline]
    fn clone(&self) -> Self {
        // SAFETY: the pointer is like one from `into_raw`, and `self` is a reference to the cell.
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
            // SAFETY: this was the last reference, and the function is this cell's.
            unsafe { free(self.0) }
        }
    }
}

/// Replaces `TaskCell::poll` when the future was dropped before it returned.
///
/// # Safety
///
/// As for the function `poll`.
unsafe fn poll_nothing(task: NonNull<Header>, _: &mut Context<'_>) -> Poll<()> {
    // SAFETY: the caller says that the cell exists.
    let header = unsafe { task.as_ref() };
    debug_assert!(header.holds.get() != Holds::Future, "DONE-1: a future is there that was said to be gone");
    if header.holds.get() == Holds::Nothing {
        header.life.set(header.life.get() | CONDEMNED);
    }
    Poll::Ready(())
}

impl<F: Future> TaskCell<F> {
    const KIND: &'static Kind = &Kind { poll: Self::poll, gone: Some(Self::GONE), ..*Self::GONE };

    const GONE: &'static Kind = &Kind {
        #[cfg(feature = "report")]
        future: core::any::type_name::<F>,
        poll: poll_nothing,
        drop_future: Self::drop_future,
        set_error: Self::set_error,
        free: Self::free,
        outcome_at: offset_of!(Self, stage),
        gone: None,
    };

    /// # Safety
    ///
    /// As for the function `poll` in this file.
    unsafe fn poll(task: NonNull<Header>, context: &mut Context<'_>) -> Poll<()> {
        // SAFETY: the caller of a function in `Kind` says that this is such a cell and that it exists.
        let (_header, stage) = unsafe { Self::parts(task) };
        debug_assert!(_header.holds.get() == Holds::Future, "DONE-1: a task was polled after its future was dropped");
        // SAFETY: the future is there, is never moved, and is dropped where it is, so it is pinned. The caller says that no
        // other code uses it (STEP-2).
        let future = unsafe { Pin::new_unchecked(&mut *(*stage).future) };
        let value = ready!(future.poll(context));
        // SAFETY: `poll` has returned, and as before no other code uses the future.
        unsafe { Self::complete(task, value) };
        Poll::Ready(())
    }

    /// Drops a future that has returned, and writes its value in its place. A separate function, so that a poll that returns
    /// `Pending` saves no registers for this code.
    ///
    /// # Safety
    ///
    /// No code may be polling the future.
    #[inline(never)]
    unsafe fn complete(task: NonNull<Header>, value: F::Output) {
        let mut value = Unwritten(Some(value));
        // SAFETY: the caller says that no code uses the future. After its drop the place is free.
        unsafe {
            Self::drop_future(task);
            if let Some(value) = value.0.take() {
                let (header, stage) = Self::parts(task);
                Self::write(header, stage, Ok(value));
            }
        }
    }

    /// # Safety
    ///
    /// No code may be polling the future.
    unsafe fn drop_future(task: NonNull<Header>) {
        // SAFETY: the caller of a function in `Kind` says that this is such a cell and that it exists.
        let (header, stage) = unsafe { Self::parts(task) };
        if header.holds.get() == Holds::Future {
            // `holds` is set first, so that a destructor that panics or ends this task cannot drop the future a second time.
            header.holds.set(Holds::Nothing);
            // SAFETY: the cell contains the future, and the caller says that no code is polling it.
            unsafe { ManuallyDrop::drop(&mut (*stage).future) };
        }
    }

    /// # Safety
    ///
    /// No reference to the cell is left.
    unsafe fn free(task: NonNull<Header>) {
        // SAFETY: the caller says that this is such a cell, and that no reference is left. `allocate` took its memory.
        unsafe {
            if Self::is_spent(task) {
                memory::give(task.cast(), Layout::new::<Self>())
            } else {
                Self::free_unspent(task)
            }
        }
    }

    /// # Safety
    ///
    /// Such a cell exists, and a reference to it exists while the header is used.
    #[inline(always)]
    unsafe fn parts<'a>(task: NonNull<Header>) -> (&'a Header, *mut Stage<F>) {
        let cell = task.cast::<Self>().as_ptr();
        // SAFETY: the cell exists. The place of the stage is only computed, not read.
        unsafe { (&(*cell).header, &raw mut (*cell).stage) }
    }

    /// # Safety
    ///
    /// The place is the one in the header's cell, and it is empty.
    #[inline(always)]
    unsafe fn write(header: &Header, stage: *mut Stage<F>, outcome: Outcome<F::Output>) {
        // SAFETY: the place is free.
        unsafe { ptr::write(stage, Stage { outcome: ManuallyDrop::new(RefCell::new(Some(outcome))) }) };
        header.holds.set(Holds::Outcome);
    }
}
