//! How a cancellation goes through a task: from scope to scope, innermost first.
//!
//! ```text
//!   task { a { b { c } d { .. } } }      entered: a 1, b 2, c 3; b and c left; d 4
//!
//!   cancel:   d unwinds, then a, then the task's future is dropped
//!   again, while d cleans up, in a scope e of that cleanup:   e, then d's cleanup is dropped, then a
//! ```
//!
//! A task knows the scopes that it has entered and not left, by ascending numbers: whatever lies inside of a scope was
//! entered after it. The future around the scopes is not polled meanwhile, so a cancelled task runs no line of its body.
//!
//! The same way goes an interruption of a part of a task, the end of a timeout for one: then only the scopes inside count.
//!
//! Does not know how a task ends when all scopes are through. Next: `mod.rs`.

use super::exceptions;
use super::task::{Header, Unwinding, Unwound};
use super::wakers::Wakers;
use crate::error::{Panic, TaskError};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll, ready};

impl Unwinding {
    pub(crate) fn new() -> Self {
        Unwinding { doomed: 0, cleaning: Vec::new(), error: TaskError::Cancelled }
    }

    /// A panic takes the place of the cancellation, or of an earlier panic, the destructor of which may be foreign code.
    pub(crate) fn panicked(&mut self, payload: Box<dyn Any + Send>) {
        let before = std::mem::replace(&mut self.error, TaskError::Panicked(Panic::new(payload)));
        exceptions::drop_payload(Box::new(before));
    }

    /// What it has become: the cancellation, or the last panic.
    pub(crate) fn into_error(self) -> TaskError {
        self.error
    }

    /// A cancellation arrives: all scopes that are entered now are to unwind, and a cleanup under way is to end.
    pub(crate) fn interrupt(&mut self, task: &Header, counts: &dyn Fn(u64) -> bool) {
        self.doomed = task.innermost_scope(counts).map_or(0, |(number, _)| number);
    }

    /// Goes on until a cleanup has to wait, or all is through, or the cancellation was caught, which is the answer.
    ///
    /// A panic of foreign code does not stop this.
    pub(crate) fn poll(
        &mut self,
        wakers: &Wakers,
        task: &Header,
        counts: &dyn Fn(u64) -> bool,
        context: &mut Context<'_>,
    ) -> Poll<bool> {
        loop {
            match catch_unwind(AssertUnwindSafe(|| self.poll_once(wakers, task, counts, context))) {
                Ok(poll) => return poll,
                Err(payload) => self.panicked(payload),
            }
        }
    }

    fn stop_cleaning(&mut self, number: u64) {
        if let Some(place) = self.cleaning.iter().position(|(other, _)| *other == number) {
            self.cleaning.remove(place);
        }
    }

    fn poll_once(
        &mut self,
        wakers: &Wakers,
        task: &Header,
        counts: &dyn Fn(u64) -> bool,
        context: &mut Context<'_>,
    ) -> Poll<bool> {
        loop {
            // The time of a timeout around a cleanup is up: to what is inside, that is another cancellation.
            if task.take_late(counts) {
                self.interrupt(task, counts);
            }
            let doomed = self.doomed;
            if let Some((number, scope)) = self.cleaning.last().filter(|(number, _)| *number > doomed) {
                ready!(scope.poll_cleanup(context));
                task.remove_scope(*number);
                self.cleaning.pop();
                continue;
            }
            let Some((number, scope)) = task.innermost_scope(&|number| number <= doomed && counts(number)) else {
                return Poll::Ready(false);
            };
            self.doomed = number - 1;
            // A panic is behind what is entered in a cleanup under way, which a new cancellation has come to.
            let panicked = self.error.is_panic() && self.cleaning.last().is_none_or(|(cleaning, _)| *cleaning > number);
            let unwound = scope.unwind(panicked);
            // If it was cleaning up, that is over.
            self.stop_cleaning(number);
            match unwound {
                Unwound::Through => task.remove_scope(number),
                Unwound::CleansUp => {
                    // Its place is taken before foreign code runs: if that panics, the cleanup is still to come.
                    self.cleaning.push((number, scope.clone()));
                    task.begin_cleanup(number, wakers.numbered());
                    scope.drop_body();
                }
                Unwound::Caught => {
                    task.remove_scope(number);
                    task.note_caught(number);
                    // A second cancellation, caught inside of a cleanup: the first is still on its way.
                    let Some((number, _)) = self.cleaning.last() else { return Poll::Ready(true) };
                    self.doomed = number - 1;
                }
            }
        }
    }
}
