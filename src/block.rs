//! A part of a task's future that can be interrupted without the task: what a timeout and a group are made of.
//!
//! An interruption does to the inside what a cancellation does to a task: tasks that are awaited in there are cancelled and
//! waited for, what is waited in is told, cleanups run, innermost first, and then the future is dropped without another
//! poll. If a `catch_cancel` in there catches it, the future goes on.
//!
//! Inside is what the task has entered and begun to wait for while the block was polled; the task numbers both.
//!
//! Does not know why it is interrupted.

use crate::error::TaskError;
use crate::kernel::task::{AnyTask, Ending, Unwinding, same};
use crate::kernel::{Kernel, Token, context, keep, sorted_once};
use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

/// The future of a block, and what is to be known of it from outside.
pub(crate) struct Block<F> {
    /// In a box, so that it can be dropped when it is interrupted, and moved with the rest. None when it is over.
    future: Option<Pin<Box<F>>>,
    interruption: Rc<Interruption>,
    /// The task that is awaited, if the future is an await of one: what it says in spite of an interruption counts.
    awaited: Option<AnyTask>,
    /// Since the interruption has come to the first step.
    unwinding: Option<Unwinding>,
}

/// The future was interrupted, and dropped.
pub(crate) struct Interrupted;

/// The handle by which a block is interrupted.
#[derive(Default)]
pub(crate) struct Interruption {
    /// It has come and was not dealt with.
    pending: Cell<bool>,
    waker: Cell<Option<Waker>>,
    /// Taken out while it is used; whoever finds it gone comes by again with the next poll.
    inside: Cell<Option<Inside>>,
}

/// What was begun in a block: waits and scopes of this task, by their numbers.
struct Inside {
    task: AnyTask,
    /// Behind the first of a pair, up to the second.
    numbers: Vec<(u64, u64)>,
    /// So many ranges may there be before it is looked whether all are needed.
    pruned_at: usize,
}

impl Inside {
    fn contains(&self, number: u64) -> bool {
        // They stand in the order of their numbers.
        let behind = self.numbers.partition_point(|&(_, last)| last < number);
        self.numbers.get(behind).is_some_and(|&(before, _)| before < number)
    }

    /// Ranges of which nothing is left go. Done when there are twice as many as were left, so it costs each little.
    fn prune(&mut self, kernel: &Kernel) {
        let living = sorted_once(kernel.numbers(self.task.header()).into_iter());
        self.numbers.retain(|&(before, last)| {
            let next = living.partition_point(|&number| number <= before);
            living.get(next).is_some_and(|&number| number <= last)
        });
        self.pruned_at = 2 * self.numbers.len() + 8;
    }

    /// Tells what is waited in, and cancels the tasks that are awaited. False if none is.
    fn interrupt(&self) -> bool {
        let header = self.task.header();
        let Some(kernel) = context::loop_of(header.token()) else { return false };
        // The cleanups that a cancellation has begun in here, or a block around this one, are limited by this one as well.
        let cleaning = header.end_cleanups(&|number| self.contains(number));
        let counts = |number| self.contains(number) || cleaning.is_some_and(|before| number > before);
        let links = kernel.interrupt_waits(header, &counts);
        if cleaning.is_some() {
            kernel.wakers.wake(header.token());
        }
        links.map(|links| kernel.interrupt(&self.task, links)).is_some()
    }

    /// After a poll of the future, before which the last number was `before`.
    fn add(&mut self, kernel: &Kernel, before: u64) {
        let last = kernel.wakers.numbered();
        if last == before {
            return;
        }
        match self.numbers.last_mut() {
            Some((_, end)) if *end == before => *end = last,
            _ => self.numbers.push((before, last)),
        }
        if self.numbers.len() > self.pruned_at {
            self.prune(kernel);
        }
    }
}

impl Interruption {
    /// The task in which the block is polled.
    pub(crate) fn task(&self) -> Option<Token> {
        let inside = self.inside.take()?;
        let task = inside.task.header().token();
        self.inside.set(Some(inside));
        Some(task)
    }

    /// Interrupts the block. Called where nothing is borrowed.
    pub(crate) fn interrupt(&self) {
        self.pending.set(true);
        let waker = self.waker.take();
        if let Some(inside) = self.inside.take() {
            let has_links = inside.interrupt();
            self.inside.set(Some(inside));
            if has_links {
                // The end of what it awaits wakes the task. If that has ended, it is woken already.
                return;
            }
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Nobody will come back for what waits in here.
    pub(crate) fn forget(&self) {
        let (waker, inside) = (self.waker.take(), self.inside.take());
        drop((waker, inside));
    }
}

impl<F> Block<F> {
    pub(crate) fn new(future: F) -> Self {
        Self::awaiting(None, future)
    }

    pub(crate) fn awaiting(awaited: Option<AnyTask>, future: F) -> Self {
        Block { future: Some(Box::pin(future)), interruption: Rc::default(), awaited, unwinding: None }
    }

    pub(crate) fn interruption(&self) -> &Rc<Interruption> {
        &self.interruption
    }

    pub(crate) fn is_over(&self) -> bool {
        self.future.is_none()
    }

    fn is_interrupted(&self) -> bool {
        self.interruption.pending.get() || self.unwinding.is_some()
    }

    /// Drops the future.
    pub(crate) fn end(&mut self) {
        self.end_after(self.is_interrupted());
    }

    /// What was interrupted and has outlived the future, in a set of somebody else's or a `Shared`, waits on.
    fn end_after(&mut self, interruption: bool) {
        let inside = self.interruption.inside.take();
        self.interruption.forget();
        self.unwinding = None;
        self.future = None;
        if let Some(inside) = inside.filter(|_| interruption) {
            if let Some(kernel) = context::loop_of(inside.task.header().token()) {
                kernel.release_waits(inside.task.header(), &|number| inside.contains(number));
            }
        }
    }
}

impl<F: Future> Block<F> {
    #[track_caller]
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<F::Output, Interrupted>> {
        let kernel = context::running();
        let before = kernel.as_ref().map_or(0, |kernel| kernel.wakers.numbered());
        let was_interrupted = self.is_interrupted();
        let poll = self.poll_inside(context);
        match &poll {
            Poll::Ready(_) => self.end_after(was_interrupted),
            Poll::Pending => self.suspend(kernel.as_deref(), before, context),
        }
        poll
    }

    #[track_caller]
    fn poll_inside(&mut self, context: &mut Context<'_>) -> Poll<Result<F::Output, Interrupted>> {
        let goes_on = self.is_interrupted();
        if goes_on {
            let caught = ready!(self.unwind(context));
            let error = self.unwinding.take().map(Unwinding::into_error);
            match error {
                Some(TaskError::Panicked(panic)) if !caught => panic.resume(),
                _ if caught || self.was_resisted() => {}
                _ => return Poll::Ready(Err(Interrupted)),
            }
        }
        let future = self.future.as_mut().expect("a block is not polled after it is over");
        let poll = future.as_mut().poll(context);
        if goes_on && poll.is_pending() {
            self.resume();
        }
        poll.map(Ok)
    }

    /// Whether the task that is awaited was cancelled, and has ended otherwise. One that had ended before was not cancelled: its
    /// value came too late.
    fn was_resisted(&self) -> bool {
        self.awaited.as_ref().map(|task| task.header()).is_some_and(|header| {
            let ending = header.ending.get();
            header.cancelling.get() > 0 && ending.is_some() && ending != Some(Ending::Cancelled)
        })
    }

    /// What waits in here lives on, and was told otherwise.
    fn resume(&self) {
        let Some(inside) = self.interruption.inside.take() else { return };
        if let Some(kernel) = context::running() {
            kernel.resume_waits(inside.task.header(), &|number| inside.contains(number));
        }
        self.interruption.inside.set(Some(inside));
    }

    /// Polls the cleanups inside. Ready when they are through, or when the interruption was caught.
    fn unwind(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        let Some(inside) = self.interruption.inside.take() else { return Poll::Ready(false) };
        let header = inside.task.header();
        let counts = &|number| inside.contains(number);
        let Some(kernel) = context::loop_of(header.token()) else { return Poll::Ready(false) };
        if self.unwinding.is_none() && kernel.awaits_living(header, counts) {
            // One of several that are awaited has ended; the others come.
            self.interruption.inside.set(Some(inside));
            return Poll::Pending;
        }
        // A cancellation of the task may have come to the same scopes, and was caught there.
        let caught = self.unwinding.is_some() && header.take_caught(counts);
        let unwinding = self.unwinding.get_or_insert_with(Unwinding::new);
        if self.interruption.pending.replace(false) {
            unwinding.interrupt(header, counts);
        }
        let poll = if caught { Poll::Ready(true) } else { unwinding.poll(&kernel.wakers, header, counts, context) };
        header.take_caught(counts);
        self.interruption.inside.set(Some(inside));
        poll
    }

    /// What was begun in this poll is inside.
    fn suspend(&self, kernel: Option<&Kernel>, before: u64, context: &Context<'_>) {
        let mut inside = self.interruption.inside.take();
        if let Some((kernel, task)) = kernel.and_then(|kernel| Some((kernel, kernel.current()?))) {
            // What another task began in here is not this task's.
            let known = inside.filter(|inside| same(&inside.task, &task));
            let mut known = known.unwrap_or(Inside { task, numbers: Vec::new(), pruned_at: 8 });
            known.add(kernel, before);
            inside = Some(known);
        }
        self.interruption.inside.set(inside);
        let waker = keep(context.waker());
        drop(self.interruption.waker.replace(Some(waker)));
    }
}

impl<F> Drop for Block<F> {
    fn drop(&mut self) {
        self.end();
    }
}
