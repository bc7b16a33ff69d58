//! Awaiting a task, and reading its outcome.

use crate::error::TaskError;
use crate::kernel::cell::{AnyTask, Header, Outcome, TypedTask};
use crate::kernel::explore::{Mode, Of, touch};
use crate::kernel::table::records::Wait;
use crate::kernel::{Kernel, WaiterKey, context};
use crate::leaf::{Record, abandon, check_loop, remove_waiter};
use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll};

/// An await of a [`Task`](crate::Task), as `task.into_future()` returns it.
///
/// If the task has ended, the await is ready at once; otherwise in the turn after the end. A
/// cancellation of the awaiting task spreads to the awaited task.
///
/// Cancel safety: **dropping the await after its first poll cancels the awaited task**. Dropping it
/// before its first poll detaches that task.
///
/// It is not `Send`: it counts as a handle of its task, without atomic instructions. Where a framework requires
/// `Send`, wrap the future around it in [`local`](crate::local()).
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, Join, TaskError, spawn};
/// use std::{pin::Pin, task::{Context, Poll}};
///
/// /// A task as a future: for code that cannot do with `IntoFuture`.
/// struct Answer(Join<u32>);
///
/// impl Future for Answer {
///     type Output = Result<u32, TaskError>;
///
///     fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
///         Pin::new(&mut self.0).poll(context)
///     }
/// }
///
/// EventLoop::with_virtual_clock().run(async {
///     let task = spawn(async { 42 });
///     assert_eq!(Answer(task.into_future()).await, Ok(42));
/// });
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct Join<T> {
    cell: TypedTask<T>,
    /// How the result is read: taken or cloned.
    read: fn(&TypedTask<T>) -> Outcome<T>,
    /// Our waker among the task's waiters, once we wait.
    waiter: Option<WaiterKey>,
    record: Record,
}

impl<T> Join<T> {
    #[track_caller]
    pub(crate) fn taking(cell: TypedTask<T>) -> Self {
        Join { cell, read: take_outcome::<T>, waiter: None, record: Record::here() }
    }

    #[track_caller]
    pub(crate) fn cloning(cell: TypedTask<T>) -> Self
    where
        T: Clone,
    {
        Join { cell, read: clone_outcome::<T>, waiter: None, record: Record::here() }
    }
}

impl<T> Future for Join<T> {
    type Output = Result<T, TaskError>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let header = this.cell.header();
        touch(Of::End, header.id, Mode::Write);
        if !header.is_done() {
            begin_or_wait(header, &mut this.waiter, &mut this.record, context);
            return Poll::Pending;
        }
        if header.has_awaiter() {
            // The end of the task has not ended the wait.
            this.record.split_join(&mut this.waiter, header);
        }
        this.waiter = None;
        this.record.end();
        Poll::Ready((this.read)(&this.cell))
    }
}

/// Waits for the end of a task. Independent of the output type, so that it is compiled once.
#[inline(never)]
#[track_caller]
fn begin_or_wait(header: &Header, waiter: &mut Option<WaiterKey>, record: &mut Record, context: &Context<'_>) {
    if waiter.is_some() || !record.begin_first_join(waiter, header, context.waker()) {
        wait(header, waiter, record, context);
    }
}

/// Like `begin_or_wait`, in all cases.
#[cold]
#[inline(never)]
#[track_caller]
fn wait(header: &Header, waiter: &mut Option<WaiterKey>, record: &mut Record, context: &Context<'_>) {
    record.split_join(waiter, header);
    let running = context::running();
    if let Some(kernel) = &running {
        check(kernel, header);
    }
    // An await that is polled outside a turn still finds its task's loop, unless the loop has gone.
    let Some(kernel) = running.or_else(|| context::loop_of(header.token())) else { return };
    *waiter = match *waiter {
        None => kernel.table.add_awaiter(header, context.waker()),
        // The await was polled before, and the awaited task has not ended: something else has woken
        // the awaiting task, or the await has moved to another task.
        Some(key) => {
            kernel.table.change_awaiter(header, key, context.waker());
            Some(key)
        }
    };
    if header.is_done() {
        // The code that clones the waker has run a turn. The end has not notified this waker, so
        // nothing else causes the next poll.
        *waiter = None;
        context.waker().wake_by_ref();
        return;
    }
    record.begin_seldom(Wait::Task(header.token()));
}

#[inline]
fn check(kernel: &Kernel, task: &Header) {
    check_loop(kernel, task);
    assert!(
        !kernel.table.is_running(task),
        "task {:?} awaits itself, and would wait for ever; await another task, or none",
        task.name()
    );
}

impl<T> Drop for Join<T> {
    #[inline]
    fn drop(&mut self) {
        if self.waiter.is_some() {
            give_up(self.cell.any(), &mut self.waiter, &mut self.record);
        } else {
            self.record.end();
        }
    }
}

/// An await that has begun is dropped.
#[cold]
#[inline(never)]
fn give_up(task: &AnyTask, waiter: &mut Option<WaiterKey>, record: &mut Record) {
    record.split_join(waiter, task.header());
    record.end();
    let waiter = waiter.and_then(|key| remove_waiter(task, key));
    abandon(task);
    // Last, because the waker may be user code, and a panic in it must not keep the task alive.
    drop(waiter);
}

impl<T> fmt::Debug for Join<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Join").field("task", &self.cell.header().name()).field("begun", &self.waiter.is_some()).finish()
    }
}

const ENDED: &str = "DONE-1: a task that has ended has an outcome";

/// Takes the outcome of a task that has ended. What seldom happens is in a function of its own, so that
/// no registers are saved for it.
pub(crate) fn take_outcome<T>(cell: &TypedTask<T>) -> Outcome<T> {
    cell.header().look_at();
    let mut outcome = cell.outcome().and_then(|outcome| outcome.try_borrow_mut().ok());
    match outcome.as_deref_mut() {
        Some(outcome @ Some(Ok(_))) => outcome.take().expect("it was just seen"),
        _ => {
            drop(outcome);
            take_unusual_outcome(cell)
        }
    }
}

#[cold]
#[inline(never)]
fn take_unusual_outcome<T>(cell: &TypedTask<T>) -> Outcome<T> {
    let name = || cell.header().name();
    let Ok(mut outcome) = cell.outcome().expect(ENDED).try_borrow_mut() else {
        panic!(
            "the result of task {:?} was to be taken while it was borrowed; drop the borrow that result() returned first",
            name()
        );
    };
    match outcome.take() {
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) => {
            // An error stays in place, for a group or other code that reads the outcome later.
            *outcome = Some(Err(error.clone()));
            Err(error)
        }
        None => panic!("the result of task {:?} was taken twice; await `&task` to leave it for others", name()),
    }
}

/// Clones the outcome of a task that has ended.
#[track_caller]
pub(crate) fn clone_outcome<T: Clone>(cell: &TypedTask<T>) -> Outcome<T> {
    cell.header().look_at();
    cell.outcome().expect(ENDED).borrow().clone().unwrap_or_else(|| {
        let name = cell.header().name();
        panic!("the result of task {name:?} was read after it was taken; await `&task` everywhere")
    })
}
