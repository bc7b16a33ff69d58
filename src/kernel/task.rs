//! The task cell: a task's future, its outcome and its bookkeeping, in one allocation.
//!
//! The cell is counted (`Rc`): the waker table holds it while the task lives, handles hold it as long as they like. The
//! future is dropped when the task ends, the rest of the cell with its last holder.
//!
//! ```text
//!            spawn
//!              | 1
//!              v        2                  3
//!           QUEUED ----------> RUNNING ----------> DONE
//!            ^  ^               |   |
//!          5 |  |       4       |   | 6
//!            |  +---------------+   v
//!            +---------------- WAITING
//!
//!   1 Kernel::spawn          2 Wakers::switch
//!   3 Kernel::finish         4 Wakers::switch, if it was woken while it ran
//!   5 Wakers::wake           6 Wakers::switch
//! ```
//!
//! `QUEUED` and `WAITING` are `Header::life`, `RUNNING` is the one task of `Wakers::running`, `DONE` is `Header::ending`.
//!
//! Does not know the loop: whoever needs it looks it up by `Header::loop_id`. Next: `cancel.rs`.
#![allow(unsafe_code, reason = "pins a future inside of a shared cell, and forgets a lifetime (`lend`)")]

use super::calls::Call;
use super::clock::Time;
use super::few::Few;
use super::token::Token;
use crate::error::TaskError;
use std::cell::{Cell, OnceCell, RefCell, UnsafeCell};
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::pin::Pin;
use std::ptr::NonNull;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

/// How a task ended.
pub(crate) type Outcome<T> = Result<T, TaskError>;

/// In `Header::life`: the task stands in the ready queue, once (READY-1), or is being stepped.
pub(super) const QUEUED: u8 = 1;
/// In `Header::life`: it waits for something that is recorded; the record is void when it is stepped next.
pub(super) const WAITS: u8 = 2;
/// In `Header::life`: it was cancelled; when it is stepped next, its future is dropped.
pub(super) const CONDEMNED: u8 = 4;

/// What is known of a task without knowing its type.
pub(crate) struct Header {
    // The waker table's: it alone writes here. `whole`, `waker` and `token` are set when the task is put into it.
    /// The cell of this header, with the right to count it.
    pub(super) whole: Cell<Option<NonNull<dyn AnyTask>>>,
    pub(super) waker: OnceCell<Waker>,
    pub(super) token: Cell<Token>,
    /// Of `QUEUED`, `WAITS` and `CONDEMNED`.
    pub(super) life: Cell<u8>,

    // Fixed when the task is made.
    pub(crate) id: u64,
    pub(crate) loop_id: u64,
    pub(crate) spawned_at: &'static Location<'static>,

    // The life of the task; the kernel writes.
    /// None while the task lives.
    pub(crate) ending: Cell<Option<Ending>>,
    /// Somebody has looked at the outcome, so a panic is known.
    pub(crate) looked_at: Cell<bool>,
    /// How often a cancellation was asked for.
    pub(crate) cancelling: Cell<u32>,
    /// The last spread of a cancellation that came by here (`cancel.rs`).
    pub(crate) visited: Cell<u64>,
    /// What it waits for. Void when it is stepped next.
    waits: RefCell<Few<Wait>>,
    /// Counts how often `waits` became void, so that a place in it can be told from the same place later.
    pub(crate) waits_epoch: Cell<u32>,
    /// The number of the last waiter.
    waiters_made: Cell<u32>,
    /// Who waits for its end, in the order in which they came.
    waiters: RefCell<Few<Waiter>>,
    name: Cell<Option<Rc<str>>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    Value,
    Cancelled,
    Panicked,
}

/// What a task waits for, as its leaf futures have it.
pub(crate) enum Wait {
    /// A moment.
    Sleep(Time),
    /// The end of a task: a link, on which a cancellation goes on.
    Task(Token),
    /// Several tasks.
    Group(Rc<dyn Group>),
}

/// A future that is made of tasks.
pub(crate) trait Group {
    /// The tasks to which a cancellation of the waiting task goes on. None if it stays with that task.
    fn links(&self) -> Option<Vec<Rc<dyn AnyTask>>>;
    /// What is waited for, for people.
    fn describe(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result;
}

/// Who waits for a task's end.
pub(crate) struct Waiter {
    /// Tells this waiter from the others of the same task.
    pub(crate) number: u32,
    pub(crate) then: Then,
}

/// What is to be done at a task's end.
pub(crate) enum Then {
    /// Wake whoever awaits.
    Wake(Waker),
    /// Queue a callback.
    Queue(Call),
}

impl Header {
    #[inline]
    pub(crate) fn new(id: u64, loop_id: u64, spawned_at: &'static Location<'static>, name: Option<Rc<str>>) -> Self {
        Header {
            whole: Cell::new(None),
            waker: OnceCell::new(),
            token: Cell::new(Token::NOBODY),
            life: Cell::new(0),
            id,
            loop_id,
            spawned_at,
            ending: Cell::new(None),
            looked_at: Cell::new(false),
            cancelling: Cell::new(0),
            visited: Cell::new(0),
            waits: RefCell::new(Few::None),
            waits_epoch: Cell::new(0),
            waiters_made: Cell::new(0),
            waiters: RefCell::new(Few::None),
            name: Cell::new(name),
        }
    }

    /// Names the task in its loop.
    pub(crate) fn token(&self) -> Token {
        self.token.get()
    }

    pub(crate) fn is_condemned(&self) -> bool {
        self.life.get() & CONDEMNED != 0
    }

    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        self.ending.get().is_some()
    }

    pub(crate) fn name(&self) -> Rc<str> {
        let name = self.name.take();
        self.name.set(name.clone());
        name.unwrap_or_else(|| Rc::from(format!("Task-{}", self.id)))
    }

    pub(crate) fn set_name(&self, name: Rc<str>) {
        self.name.set(Some(name));
    }

    /// What the task waits for, which is void from now on.
    pub(crate) fn void_waits(&self) -> Few<Wait> {
        self.waits_epoch.set(self.waits_epoch.get().wrapping_add(1));
        self.with_waits(std::mem::take)
    }

    /// The task has ended: nobody waits for it any more.
    pub(crate) fn take_waiters(&self) -> Few<Waiter> {
        self.with_waiters(std::mem::take)
    }

    /// Lends the waiters to `act`, which must call no foreign code: whatever it takes out is dropped by the caller.
    #[inline]
    pub(crate) fn with_waiters<R>(&self, act: impl FnOnce(&mut Few<Waiter>) -> R) -> R {
        act(&mut self.waiters.borrow_mut())
    }

    /// As `with_waiters`, for what the task waits for.
    #[inline]
    pub(crate) fn with_waits<R>(&self, act: impl FnOnce(&mut Few<Wait>) -> R) -> R {
        act(&mut self.waits.borrow_mut())
    }

    pub(crate) fn add_waiter(&self, then: Then) -> u32 {
        let number = self.waiters_made.get().wrapping_add(1);
        self.waiters_made.set(number);
        self.with_waiters(|waiters| waiters.push(Waiter { number, then }));
        number
    }

    pub(crate) fn remove_waiter(&self, number: u32) -> Option<Waiter> {
        self.with_waiters(|waiters| waiters.remove(|waiter| waiter.number == number))
    }
}

/// A task cell of which only the header is known.
pub(crate) trait AnyTask {
    fn header(&self) -> &Header;

    /// Polls the future. When it is ready, it was dropped and its value is the outcome.
    ///
    /// # Safety
    ///
    /// The future must be there, and nobody may be polling or dropping it.
    unsafe fn poll(&self, context: &mut Context<'_>) -> Poll<()>;

    /// Drops the future if it is still there.
    ///
    /// # Safety
    ///
    /// Nobody may be polling it.
    unsafe fn drop_future(&self);

    /// The task has ended without a value, whatever it returned.
    fn set_error(&self, error: TaskError);
}

/// A task cell of which the output's type is known.
pub(crate) trait TypedTask<T>: AnyTask {
    /// None before the end, and after the outcome was taken.
    fn outcome(&self) -> &RefCell<Option<Outcome<T>>>;
    fn erase(self: Rc<Self>) -> Rc<dyn AnyTask>;
}

pub(crate) struct TaskCell<F: Future> {
    header: Header,
    outcome: RefCell<Option<Outcome<F::Output>>>,
    /// The future has not been dropped yet.
    has_future: Cell<bool>,
    future: UnsafeCell<ManuallyDrop<F>>,
}

impl<F: Future> TaskCell<F> {
    pub(crate) fn new(header: Header, future: F) -> Rc<Self> {
        Rc::new(TaskCell {
            header,
            outcome: RefCell::new(None),
            has_future: Cell::new(true),
            future: UnsafeCell::new(ManuallyDrop::new(future)),
        })
    }
}

impl<F: Future> AnyTask for TaskCell<F> {
    fn header(&self) -> &Header {
        &self.header
    }

    #[inline]
    unsafe fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        debug_assert!(self.has_future.get(), "DONE-1: a task was polled after its future was dropped");
        // SAFETY: the future lives in an `Rc` and is dropped there, so it is pinned. The caller says that it is there, and that
        // nobody else uses it (STEP-2).
        let future = unsafe { Pin::new_unchecked(&mut **self.future.get()) };
        let value = ready!(future.poll(context));
        // SAFETY: `poll` has returned, and as before nobody else uses the future.
        unsafe { self.drop_future() };
        *self.outcome.borrow_mut() = Some(Ok(value));
        Poll::Ready(())
    }

    unsafe fn drop_future(&self) {
        // First the mark, so that a destructor that panics, or asks for this task's end, does not lead here a second time.
        if self.has_future.replace(false) {
            // SAFETY: it is there, was not dropped before, and by the caller's word nobody is polling it.
            unsafe { ManuallyDrop::drop(&mut *self.future.get()) };
        }
    }

    fn set_error(&self, error: TaskError) {
        // The borrow ends before the value is dropped: its destructor is foreign code.
        let value = self.outcome.replace(Some(Err(error)));
        drop(value);
    }
}

impl<F: Future> TypedTask<F::Output> for TaskCell<F>
where
    F: 'static,
{
    fn outcome(&self) -> &RefCell<Option<Outcome<F::Output>>> {
        &self.outcome
    }

    fn erase(self: Rc<Self>) -> Rc<dyn AnyTask> {
        self
    }
}

impl<F: Future> Drop for TaskCell<F> {
    fn drop(&mut self) {
        // SAFETY: the last holder of the cell has gone, so nobody uses the future.
        unsafe { self.drop_future() };
        if let (Some(Ending::Panicked), false) = (self.header.ending.get(), self.header.looked_at.get()) {
            if let Some(Err(TaskError::Panicked(panic))) = self.outcome.get_mut() {
                super::exceptions::never_looked_at(&self.header, panic);
            }
        }
    }
}

/// Runs `body` with a cell whose future may borrow from the caller.
///
/// The erased cell claims to live for ever, and whoever gets it may keep it. What borrows from the caller does not: future
/// and outcome are gone when `lend` returns or unwinds.
pub(crate) fn lend<F: Future, R>(
    header: Header,
    future: F,
    body: impl FnOnce(&RefCell<Option<Outcome<F::Output>>>, Rc<dyn AnyTask>) -> R,
) -> R {
    struct Empty<'a, F: Future>(&'a TaskCell<F>);
    impl<F: Future> Drop for Empty<'_, F> {
        fn drop(&mut self) {
            // SAFETY: steps do not outlive `body`, which has returned or unwound, so nobody is polling the future.
            unsafe { self.0.drop_future() };
            drop(self.0.outcome.take());
        }
    }
    let cell = TaskCell::new(header, future);
    let erased: Rc<dyn AnyTask + '_> = cell.clone();
    // SAFETY: only the lifetime changes. `Empty` sees to it that nothing of `F` or its output is left when the borrows end,
    // and an empty cell touches neither, not even when it is dropped.
    let erased: Rc<dyn AnyTask> = unsafe { std::mem::transmute::<Rc<dyn AnyTask + '_>, Rc<dyn AnyTask>>(erased) };
    let empty = Empty(&cell);
    body(&empty.0.outcome, erased)
}

/// Compares identities, not contents.
pub(crate) fn same(one: &Rc<dyn AnyTask>, other: &Rc<dyn AnyTask>) -> bool {
    std::ptr::addr_eq(Rc::as_ptr(one), Rc::as_ptr(other))
}
