//! How an interruption passes through a region of a task: from scope to scope, innermost first.
//!
//! ```text
//!   task { a { b { c } d { .. } } }      entered: a 1, b 2, c 3; b and c left; d 4
//!
//!   cancel:   d unwinds, then a, then the task's future is dropped
//!   a second cancel, while d's cleanup is in a scope e:   e, then d's cleanup is dropped, then a
//! ```
//!
//! An interruption begins at the innermost scope, at the point that the task has reached, and goes
//! outward, like an exception. A second interruption first ends what is inside the running cleanup,
//! then this cleanup, and then goes outward from there. While an interruption is in progress, the
//! future around the scopes is not polled, so no line of it runs.
//!
//! A cancellation passes through the whole task, and the kernel drives it. An expired timeout, or a
//! failed group, interrupts what is inside that block, and the block drives it (`block.rs`), unless
//! code further out drives already. This file does the part that is the same for both. `Unwinding`
//! stores how far the interruption has come and how the region will end. The bodies and the cleanups
//! are stored with the scopes.
//!
//! This file does not know how a region ends when all its scopes are finished.

use crate::error::{Panic, TaskError};
use crate::kernel::Kernel;
use crate::kernel::callbacks::exceptions;
use crate::kernel::cancel::scopes::{Arrival, Dropped, Inside, Ranges, Region, Scope, Scopes, Unwinding, Unwound};
use crate::kernel::cell::{AnyTask, Header};
use crate::platform::catch_unwind;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::any::Any;
use core::panic::AssertUnwindSafe;
use core::task::{Context, Poll, Waker};

/// The functions for tasks with scopes. They are called only through these pointers, which a task
/// gets when it enters its first scope, so that programs without scopes do not contain them.
pub(in crate::kernel) struct Unwinder {
    pub(in crate::kernel) unwind: fn(&Kernel, &AnyTask, bool, &Waker),
    pub(in crate::kernel) hand_orphans_over: fn(&Kernel, &Header, Region),
    pub(in crate::kernel) hand_abandoned_over: fn(&Kernel, &Header, Region),
    pub(in crate::kernel) forget_scopes: fn(&Header),
    pub(in crate::kernel) drop_scopes: fn(Scopes),
    pub(in crate::kernel) driver_over: fn(&Header, u64) -> Option<Region>,
    pub(in crate::kernel) is_inside: fn(&Header, u64, Region) -> bool,
    pub(in crate::kernel) any_asks: fn(&Header) -> bool,
    pub(in crate::kernel) note_sleep: fn(&Header, u64, u64),
    /// Circles of tasks without scopes are found when a cancellation spreads.
    pub(in crate::kernel) break_circles: fn(&Kernel) -> bool,
}

pub(in crate::kernel) static UNWINDER: Unwinder = Unwinder {
    unwind: Kernel::unwind_scopes,
    hand_orphans_over: Kernel::hand_orphans_over,
    hand_abandoned_over: Kernel::hand_abandoned_over,
    forget_scopes: |header| {
        exceptions::tolerate_of(header.token(), || drop(header.scopes(core::mem::take)));
    },
    drop_scopes: drop,
    driver_over: |header, number| header.scopes(|scopes| scopes.driver_over(number, header.is_unwinding())).flatten(),
    is_inside: |header, number, region| header.scopes(|scopes| scopes.is_inside(number, region)).unwrap_or(false),
    any_asks: |header| header.scopes(|scopes| scopes.any_asks()).unwrap_or(false),
    note_sleep: |header, number, turn| {
        let is_frozen = header.is_ending() && (header.is_condemned() || header.is_frozen(number));
        header.scopes(|scopes| scopes.note_sleep(number, turn, is_frozen));
    },
    break_circles: Kernel::break_circles,
};

/// Why an unwinding has stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pause {
    /// All scopes are finished.
    Through,
    /// A scope has caught the interruption: the future around it continues.
    Caught,
    /// The future of the region must be polled, so that a scope in it can drop its body. Then the
    /// unwinding continues.
    DropsBody,
}

impl Unwinding {
    pub(crate) fn new(region: Region) -> Self {
        Unwinding {
            region,
            doomed: 0,
            passed: Vec::new(),
            caught_in: Vec::new(),
            overtaken: Vec::new(),
            asked_before: Ranges::default(),
            error: TaskError::Cancelled,
        }
    }

    /// A panic replaces the cancellation or an earlier panic. The destructor of the earlier panic's
    /// payload may be user code.
    pub(crate) fn panicked(&mut self, payload: Box<dyn Any + Send>) {
        let before = core::mem::replace(&mut self.error, TaskError::Panicked(Panic::new(payload)));
        exceptions::drop_payload(Box::new(before));
    }

    /// The result: the cancellation, or the latest panic.
    pub(crate) fn into_error(self) -> TaskError {
        self.error
    }

    /// An interruption arrives: all scopes that are entered now will unwind, and a running cleanup
    /// will end.
    pub(crate) fn interrupt(&mut self, task: &Header) {
        let innermost = task.scopes(|scopes| scopes.innermost(self.region, u64::MAX)).flatten();
        self.doomed = innermost.map_or(0, |(number, _)| number);
        let before = if self.region == Region::Task { task.take_request() } else { u64::MAX };
        if before < self.doomed {
            self.asked_before.add(before, self.doomed);
        }
        self.caught_in.clear();
        let taken_over = task.scopes(|scopes| scopes.taken_over(self.region)).unwrap_or_default();
        let is_overtaken = |scope: &dyn Scope| scope.inside().is_some_and(|inside| inside.overtake());
        self.overtaken.extend(taken_over.iter().filter(|(_, scope)| is_overtaken(&**scope)).map(|(number, _)| number));
    }

    /// Continues until a cleanup has to wait, or something else has to be done.
    ///
    /// A panic of user code does not stop the unwinding.
    pub(crate) fn poll(&mut self, kernel: &Kernel, task: &Header, context: &mut Context<'_>) -> Poll<Pause> {
        loop {
            match catch_unwind(AssertUnwindSafe(|| self.poll_once(kernel, task, context))) {
                Ok(poll) => return poll,
                Err(payload) => self.panicked(payload),
            }
        }
    }

    fn poll_once(&mut self, kernel: &Kernel, task: &Header, context: &mut Context<'_>) -> Poll<Pause> {
        let region = self.region;
        loop {
            let doomed = self.doomed;
            if let Some((number, scope)) = task.scopes(|scopes| scopes.innermost_cleaning(region, doomed)).flatten() {
                let polled = kernel.poll_scope(task, number);
                let poll = scope.poll_cleanup(context);
                drop(polled);
                match poll {
                    Poll::Pending if kernel.table.take_raised() => self.interrupt(task),
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(unwound) => {
                        // The cleanup has requested an interruption, and has returned anyway.
                        let _came_to_nothing = kernel.table.take_raised();
                        // If the cleanup has caught an interruption, the interruption has passed
                        // all scopes inside this one, as in the case `Caught` below.
                        if unwound == Unwound::Caught && self.catch(task, number) {
                            return Poll::Ready(Pause::Caught);
                        }
                        drop(task.remove_scope(number));
                    }
                }
                continue;
            }
            let Some((number, scope)) = task.scopes(|scopes| scopes.innermost(region, doomed)).flatten() else {
                return Poll::Ready(Pause::Through);
            };
            self.doomed = number - 1;
            let is_left_alone =
                |&cleaning: &u64| cleaning == number || task.is_inside(Region::Inside(cleaning), number);
            if self.caught_in.iter().any(is_left_alone) {
                continue;
            }
            let is_in_cleanup = task.scopes(|scopes| scopes.cleaning_around(number, region)).flatten().is_some();
            if !is_in_cleanup && !self.passed.contains(&number) {
                self.passed.push(number);
            }
            match scope.unwind(self.arrival(task, number)) {
                Unwound::Through => drop(task.remove_scope(number)),
                Unwound::CleansUp => {
                    let is_in = |inner: u64, outer: u64| task.is_inside(Region::Inside(outer), inner);
                    let is_beside =
                        |&passed: &u64| passed != number && !is_in(passed, number) && !is_in(number, passed);
                    let is_alone = !kernel.has_neighbours(task, region, number) && !self.passed.iter().any(is_beside);
                    // This comes first, so that the cleanup still runs if dropping the body panics.
                    task.scopes(|scopes| scopes.begin_cleanup(number, scope.clone()));
                    if scope.drop_body(is_alone) == Dropped::WhenPolled {
                        let around = task.scopes(|scopes| scopes.cleaning_around(number, region)).flatten();
                        let Some(around) = around else { return Poll::Ready(Pause::DropsBody) };
                        self.poll_around(around, kernel, task, context);
                    }
                }
                Unwound::Absorbed => {}
                Unwound::Caught => {
                    if self.catch(task, number) {
                        return Poll::Ready(Pause::Caught);
                    }
                }
            }
        }
    }

    /// A scope in this cleanup has to drop its body: polls the cleanup for that, and not the future
    /// around it.
    fn poll_around(&mut self, cleaning: u64, kernel: &Kernel, task: &Header, context: &mut Context<'_>) {
        let Some(scope) = task.scope(cleaning) else { return };
        let _polled = kernel.poll_scope(task, cleaning);
        // This poll may end the cleanup. Then the interruption, which reaches the cleanup next,
        // finds nothing to end.
        let polled = kernel.poll_for_a_drop(|| scope.poll_cleanup(context));
        let _unwinds_already = kernel.table.take_raised();
        if let Err(payload) = polled {
            self.panicked(payload);
        }
    }

    /// The way in which the interruption reaches this scope.
    fn arrival(&self, task: &Header, number: u64) -> Arrival {
        let requests = task.requests();
        let seen = task.scopes(|scopes| {
            // If there is a panic, it happened before the present interruption arrived in a running
            // cleanup. So scopes that were entered in that cleanup see only the interruption.
            let is_inside = scopes.cleaning_around(number, self.region).is_some();
            (is_inside, scopes.is_asked_from_outside(number, requests))
        });
        let (is_inside, is_from_outside) = seen.unwrap_or_default();
        Arrival {
            panicked: self.error.is_panic() && !is_inside,
            is_from_outside: is_from_outside || self.asked_before.contains(number),
        }
    }

    /// A scope has caught the interruption. Returns false if the scope is in a cleanup, and another
    /// interruption around it continues.
    fn catch(&mut self, task: &Header, number: u64) -> bool {
        let around = task.scopes(|scopes| scopes.cleaning_around(number, self.region)).flatten();
        let is_beside = |&one: &u64| one != number && !task.is_inside(Region::Inside(one), number);
        // If the scope is in a cleanup, the blocks further out stay overtaken.
        let goes_on = |&one: &u64| around.is_none_or(|around| task.is_inside(Region::Inside(around), one));
        let (beside, others) = self.overtaken.iter().partition(|one| is_beside(one) && goes_on(one));
        let beside: Vec<u64> = beside;
        self.overtaken = others;
        // While the interruption ran, a block around the scope may have been polled without polling
        // its inside. A wake of the inside was used up then. So wake these blocks again, if a
        // combinator polls them with a waker of its own.
        let around_it = |&one: &u64| one != number && task.is_inside(Region::Inside(one), number);
        let numbers = task.scopes(|scopes| scopes.numbers().collect::<Vec<_>>()).unwrap_or_default();
        for scope in numbers.into_iter().filter(around_it).filter_map(|one| task.scope(one)) {
            scope.inside().into_iter().for_each(Inside::wake_poller);
        }
        drop(task.remove_scope(number));
        for scope in beside.into_iter().filter_map(|one| task.scope(one)) {
            scope.inside().into_iter().for_each(Inside::resume);
        }
        if let Some(cleaning) = around {
            // The interruption now goes to the scopes beside that cleanup, if they were entered
            // later than its scope.
            self.caught_in.push(cleaning);
            return false;
        }
        true
    }
}
