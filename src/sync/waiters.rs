//! The waiters of a primitive: a queue, first come, first served.
//!
//! A waiter is *waiting* until it is given something (a wake, a permit, a notification), or until
//! it is *dying*: its task was cancelled, or a timeout around it expired, so its future will be
//! dropped. A dying waiter does not count and is given nothing, but keeps its place, because a
//! cancellation may be taken back.
//!
//! ```text
//!               take_next, take_foremost, give, give_all
//!     WAITING ---------------------------------------------> GIVEN
//!      |   ^                                                  ^  |
//!      v   | interrupt, resume                       give_all |  |
//!     DYING -------------------------------------------------+   |
//!      |                                                         |
//!      +----------------------> GONE <---------------------------+
//!                 Ticket::leave, Ticket::poll
//! ```
//!
//! What is given to a waiter is up to the primitive, which is notified when a ticket leaves.
//!
//! This file does not know the primitive, and knows the loop only for the record of the wait. Next:
//! `lock.rs`.

use crate::kernel::callbacks::exceptions;
use crate::kernel::table::records::{Awaited, Wait};
use crate::kernel::{Token, clone_uncounted, context};
use crate::leaf::Record;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

/// A primitive, as its waiters use it. A primitive with several queues numbers them.
pub(super) trait Place {
    fn line(&self, line: u8) -> &Waiters;

    /// A waiter that was dying waits again. It was given nothing in the meantime; if there is
    /// something to give now, the primitive gives it. Primitives that use `Waiters::give`, which
    /// also reaches dying waiters, have nothing to do.
    fn resumed(&self, _line: u8) {}

    /// A waiter leaves, without using what it may have been given.
    fn left(&self, _line: u8, _given: bool) {}

    /// Whether a waiter that will not be polled for some time leaves the queue, and enters it again
    /// if it is polled after all. If all waiters are given the same thing, it can stay.
    fn gives_way(&self, _line: u8) -> bool {
        false
    }

    /// The tasks that hold what is waited for.
    fn holders(&self, _line: u8) -> Vec<Token> {
        Vec::new()
    }

    /// Like `Awaited::takers`.
    fn takers(&self, _line: u8) -> Option<Vec<Token>> {
        None
    }

    /// Like `Awaited::taker`.
    fn taker(&self, _line: u8) -> Option<Token> {
        None
    }

    /// Like `Awaited::taken_at`.
    fn taken_at(&self, _line: u8) -> Vec<u64> {
        Vec::new()
    }

    /// The only task that can provide it, if that is certain.
    fn sole_holder(&self, _line: u8) -> Option<Token> {
        None
    }

    /// Writes what is waited for, for reports: a noun phrase that follows "waits for".
    fn describe(&self, line: u8, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

/// One queue of waiters.
#[derive(Default)]
pub(super) struct Waiters {
    /// Borrowed only in this file, and while no user code runs. What is taken out has another
    /// owner: its ticket.
    lists: RefCell<Lists>,
    numbered: Cell<u64>,
    /// Number of waiters that were given something and have not used it yet.
    given: Cell<usize>,
}

#[derive(Default)]
struct Lists {
    /// By number, in ascending order.
    waiting: VecDeque<Rc<Waiter>>,
    dying: BTreeMap<u64, Rc<Waiter>>,
}

impl Lists {
    fn place_of(&self, number: u64) -> Result<usize, usize> {
        self.waiting.binary_search_by_key(&number, |waiter| waiter.number)
    }

    fn remove_waiting(&mut self, number: u64) -> Option<Rc<Waiter>> {
        let place = self.place_of(number).ok()?;
        self.waiting.remove(place)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Waiting,
    Dying,
    Given,
    Gone,
}

/// A waiter. The queue owns it until it is given something; its ticket owns it until it leaves.
pub(super) struct Waiter {
    number: u64,
    state: Cell<State>,
    waker: Cell<Option<Waker>>,
    place: Rc<dyn Place>,
    line: u8,
}

impl Waiters {
    /// Whether any waiter counts: it waits, or was given something and has not used it.
    pub(super) fn any(&self) -> bool {
        self.given.get() > 0 || !self.lists.borrow().waiting.is_empty()
    }

    /// Number of waiters that count.
    pub(super) fn len(&self) -> usize {
        self.given.get() + self.lists.borrow().waiting.len()
    }

    /// Number of waiters that were given something and have not used it.
    pub(super) fn given(&self) -> usize {
        self.given.get()
    }

    /// Gives to the first waiter. It must be woken when the primitive is consistent.
    #[must_use = "it has to be woken"]
    pub(super) fn take_next(&self) -> Option<Rc<Waiter>> {
        let waiter = self.lists.borrow_mut().waiting.pop_front()?;
        self.mark_given(&waiter);
        Some(waiter)
    }

    /// Like `take_next`, but only if no other waiter is before it: neither one that was given
    /// something, nor a dying one, which passes its turn on when it leaves.
    #[must_use = "it has to be woken"]
    pub(super) fn take_foremost(&self) -> Option<Rc<Waiter>> {
        {
            let lists = self.lists.borrow();
            let first = lists.waiting.front()?.number;
            if self.given.get() > 0 || lists.dying.keys().next().is_some_and(|&dying| dying < first) {
                return None;
            }
        }
        self.take_next()
    }

    /// Gives to the first `count` waiters, and wakes them. The rest is kept for dying waiters, in
    /// case they wait again.
    pub(super) fn give(&self, count: usize) {
        let mut taken = Vec::new();
        {
            let mut lists = self.lists.borrow_mut();
            while let Some(waiter) = (taken.len() < count).then(|| lists.waiting.pop_front()).flatten() {
                taken.push(waiter);
            }
            for _ in taken.len()..count {
                let Some((_, waiter)) = lists.dying.pop_first() else { break };
                self.mark_given(&waiter);
            }
        }
        // All of them before the first is woken, because a waker is user code and may come back
        // here.
        taken.iter().for_each(|waiter| self.mark_given(waiter));
        taken.iter().for_each(|waiter| waiter.wake());
    }

    pub(super) fn give_all(&self) {
        self.give(usize::MAX);
    }

    fn mark_given(&self, waiter: &Waiter) {
        waiter.state.set(State::Given);
        self.given.set(self.given.get() + 1);
    }

    fn enter(&self, place: &Rc<dyn Place>, line: u8) -> Rc<Waiter> {
        self.numbered.set(self.numbered.get() + 1);
        let waiter = Rc::new(Waiter {
            number: self.numbered.get(),
            state: Cell::new(State::Waiting),
            waker: Cell::new(None),
            place: place.clone(),
            line,
        });
        self.lists.borrow_mut().waiting.push_back(waiter.clone());
        waiter
    }

    /// Whether it had been given something.
    fn leave(&self, waiter: &Waiter) -> bool {
        let state = waiter.state.replace(State::Gone);
        match state {
            State::Waiting => drop(self.lists.borrow_mut().remove_waiting(waiter.number)),
            State::Dying => drop(self.lists.borrow_mut().dying.remove(&waiter.number)),
            State::Given => self.given.set(self.given.get() - 1),
            State::Gone => {}
        }
        state == State::Given
    }
}

impl Waiter {
    pub(super) fn wake(&self) {
        let Some(waker) = self.waker.take() else { return };
        // Other waiters must be woken too, and this runs in destructors: a panic of another
        // executor's waker must not prevent that.
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
            let loop_id = context::running().map_or(0, |kernel| kernel.id());
            exceptions::reached_nobody(loop_id, exceptions::IN_A_WAKER, payload);
        }
    }

    /// A waiter that is polled is not dying: its future has moved out of the cancelled task.
    #[cold]
    #[inline(never)]
    fn lives_on(&self) {
        self.resume();
    }

    fn waiters(&self) -> &Waiters {
        self.place.line(self.line)
    }

    fn is_given(&self) -> bool {
        self.state.get() == State::Given
    }
}

impl Awaited for Waiter {
    fn interrupt(&self) {
        if self.state.get() == State::Waiting {
            self.state.set(State::Dying);
            let mut lists = self.waiters().lists.borrow_mut();
            if let Some(waiter) = lists.remove_waiting(self.number) {
                lists.dying.insert(self.number, waiter);
            }
        }
    }

    fn resume(&self) {
        match self.state.get() {
            State::Dying => {
                self.state.set(State::Waiting);
                {
                    let mut lists = self.waiters().lists.borrow_mut();
                    if let Some(waiter) = lists.dying.remove(&self.number) {
                        let (Ok(place) | Err(place)) = lists.place_of(self.number);
                        lists.waiting.insert(place, waiter);
                    }
                }
                self.place.resumed(self.line);
            }
            // It was given something while it was dying, and was not woken for that.
            State::Given => self.wake(),
            // It had left the queue, and enters it again.
            State::Gone => self.wake(),
            State::Waiting => {}
        }
    }

    fn yield_gift(&self) {
        if self.state.get() != State::Gone && self.place.gives_way(self.line) {
            let given = self.waiters().leave(self);
            self.place.left(self.line, given);
        }
    }

    fn takers(&self) -> Option<Vec<Token>> {
        self.place.takers(self.line)
    }

    fn taker(&self) -> Option<Token> {
        self.place.taker(self.line)
    }

    fn taken_at(&self) -> Vec<u64> {
        self.place.taken_at(self.line)
    }

    fn sole_holder(&self) -> Option<Token> {
        self.place.sole_holder(self.line)
    }

    fn holders(&self) -> Vec<Token> {
        self.place.holders(self.line)
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.describe(self.line, f)
    }
}

/// What a future stores about its place in a queue.
pub(super) struct Ticket {
    waiter: Option<Rc<Waiter>>,
    record: Record,
}

impl Ticket {
    /// For a future that is created at the caller's location.
    #[track_caller]
    pub(super) fn here() -> Self {
        Ticket { waiter: None, record: Record::here() }
    }

    pub(super) fn is_in_line(&self) -> bool {
        self.waiter.as_ref().is_some_and(|waiter| waiter.state.get() != State::Gone)
    }

    /// Takes a place at the end of the queue.
    pub(super) fn enter(&mut self, place: Rc<dyn Place>, line: u8) {
        debug_assert!(!self.is_in_line(), "one place a ticket");
        // It may have left the queue before.
        self.leave();
        self.waiter = Some(place.line(line).enter(&place, line));
    }

    /// Notifies the task that has taken what is waited for, if that task is ending.
    #[cold]
    #[inline(never)]
    pub(super) fn tell_taker(&self) {
        let taker = self.waiter.as_ref().and_then(|waiter| waiter.taker());
        if let Some((taker, kernel)) = taker.zip(context::running()) {
            kernel.is_wanted_of(taker);
        }
    }

    /// Ready when something was given; then the place is left. A poll without reason changes only
    /// the waker.
    #[track_caller]
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(waiter) = &self.waiter else { return Poll::Ready(()) };
        if matches!(waiter.state.get(), State::Given | State::Gone) {
            self.leave();
            return Poll::Ready(());
        }
        let new = clone_uncounted(context.waker());
        let old = waiter.waker.replace(Some(new));
        drop(old);
        if waiter.state.get() == State::Dying {
            waiter.lives_on();
        }
        // Checked again, because the waker's code may have come back here.
        if waiter.is_given() {
            self.leave();
            return Poll::Ready(());
        }
        if let Some(kernel) = context::running() {
            let waiter = Rc::downgrade(waiter);
            self.record.begin(&kernel, || Wait::On(waiter as Weak<dyn Awaited>));
        }
        Poll::Pending
    }

    /// Leaves the queue. Returns whether something had been given, which the caller must pass on.
    pub(super) fn leave(&mut self) -> bool {
        let Some(waiter) = self.waiter.take() else { return false };
        self.record.end();
        // Its waker, which may be user code, is dropped here, where nothing is borrowed.
        waiter.waiters().leave(&waiter)
    }

    /// The waiting future is dropped: what it was given is passed on.
    pub(super) fn give_up(&mut self) {
        if let Some(waiter) = &self.waiter {
            waiter.yield_gift();
        }
        self.leave();
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.waiter.as_ref().map(|waiter| waiter.state.get());
        f.debug_tuple("Ticket").field(&state).finish()
    }
}
