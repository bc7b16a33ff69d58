//! Who waits at a primitive: a line, first come, first served.
//!
//! A waiter is *waiting* until something is given to it (a wake, a permit, a notification), or until it is *dying*: its task was
//! cancelled, or a timeout around it expired, so its future will be dropped. A dying waiter does not count and is given nothing,
//! but keeps its place, since a cancellation may be taken back.
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
//! What is given to a waiter is the primitive's to know: it asks what became of it when a ticket leaves.
//!
//! Does not know which primitive it serves, and no loop but for the record of who waits. Next: `lock.rs`.

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

/// A primitive, as its waiters see it. One with several lines numbers them.
pub(super) trait Place {
    fn line(&self, line: u8) -> &Waiters;

    /// A waiter that was dying waits again. What came meanwhile was not given to it; if there is still something to be given, it
    /// is to be given now. Where what is given is told to the dying too, as `Waiters::give` does, there is nothing to do.
    fn resumed(&self, _line: u8) {}

    /// A waiter leaves, and does not come for what it may have been given.
    fn left(&self, _line: u8, _given: bool) {}

    /// Whether a waiter that is not going to come for long leaves the line, and enters it anew if it comes after all. Where
    /// what is given is there for all, it may stay.
    fn gives_way(&self, _line: u8) -> bool {
        false
    }

    /// The tasks that have what is waited for.
    fn holders(&self, _line: u8) -> Vec<Token> {
        Vec::new()
    }

    /// As `Awaited::takers`.
    fn takers(&self, _line: u8) -> Option<Vec<Token>> {
        None
    }

    /// As `Awaited::taker`.
    fn taker(&self, _line: u8) -> Option<Token> {
        None
    }

    /// As `Awaited::taken_at`.
    fn taken_at(&self, _line: u8) -> Vec<u64> {
        Vec::new()
    }

    /// The one task without which it cannot come, if that is certain.
    fn sole_holder(&self, _line: u8) -> Option<Token> {
        None
    }

    /// What is waited for, for people: a noun phrase that stands behind "waits for".
    fn describe(&self, line: u8, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

/// One line of waiters.
#[derive(Default)]
pub(super) struct Waiters {
    /// Borrowed in this file alone, and while no foreign code runs. What is taken out has another owner: its ticket.
    lists: RefCell<Lists>,
    numbered: Cell<u64>,
    /// So many were given something and have not come for it yet.
    given: Cell<usize>,
}

#[derive(Default)]
struct Lists {
    /// By their numbers, which ascend.
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

/// One that waits. The line holds it until it is given something, its ticket until it leaves.
pub(super) struct Waiter {
    number: u64,
    state: Cell<State>,
    waker: Cell<Option<Waker>>,
    place: Rc<dyn Place>,
    line: u8,
}

impl Waiters {
    /// Whether anybody counts: waits, or was given something and has not come for it.
    pub(super) fn any(&self) -> bool {
        self.given.get() > 0 || !self.lists.borrow().waiting.is_empty()
    }

    /// So many count.
    pub(super) fn len(&self) -> usize {
        self.given.get() + self.lists.borrow().waiting.len()
    }

    /// So many were given something and have not come for it.
    pub(super) fn given(&self) -> usize {
        self.given.get()
    }

    /// Gives to the first that waits. To be woken when the primitive is in order.
    #[must_use = "it has to be woken"]
    pub(super) fn take_next(&self) -> Option<Rc<Waiter>> {
        let waiter = self.lists.borrow_mut().waiting.pop_front()?;
        self.mark_given(&waiter);
        Some(waiter)
    }

    /// As `take_next`, but only if nobody stands before it: neither one that was given something, nor one that is dying, which
    /// passes the turn on when it leaves.
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

    /// Gives to the first `count` and wakes them. What is left over goes to those that are dying, should they live on.
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
        // All of them before the first is woken: a waker is foreign code and may come back here.
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
        // Others are to be woken too, and this runs in destructors: a foreign waker that panics must not keep them from it.
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
            let loop_id = context::running().map_or(0, |kernel| kernel.id());
            exceptions::reached_nobody(loop_id, exceptions::IN_A_WAKER, payload);
        }
    }

    /// Who is polled lives: the future has moved out of the task that was cancelled.
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
            // It was given something while it was dying, and not woken for that.
            State::Given => self.wake(),
            // It gave way, and is to come again.
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

/// What a future keeps of its place in a line.
pub(super) struct Ticket {
    waiter: Option<Rc<Waiter>>,
    record: Record,
}

impl Ticket {
    /// Of a future that is made where the caller was called.
    #[track_caller]
    pub(super) fn here() -> Self {
        Ticket { waiter: None, record: Record::here() }
    }

    pub(super) fn is_in_line(&self) -> bool {
        self.waiter.as_ref().is_some_and(|waiter| waiter.state.get() != State::Gone)
    }

    /// Takes a place at the end of a line.
    pub(super) fn enter(&mut self, place: Rc<dyn Place>, line: u8) {
        debug_assert!(!self.is_in_line(), "one place a ticket");
        // It may have given way.
        self.leave();
        self.waiter = Some(place.line(line).enter(&place, line));
    }

    /// The task that has taken what is waited for hears of it, if it is ending.
    #[cold]
    #[inline(never)]
    pub(super) fn tell_taker(&self) {
        let taker = self.waiter.as_ref().and_then(|waiter| waiter.taker());
        if let Some((taker, kernel)) = taker.zip(context::running()) {
            kernel.is_wanted_of(taker);
        }
    }

    /// Ready when something was given; then the place is left. Polls without a reason change nothing but the waker.
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
        // Looked at once more: the waker's code may have come back here.
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

    /// Leaves the line. Whether something had been given, which is the caller's to pass on.
    pub(super) fn leave(&mut self) -> bool {
        let Some(waiter) = self.waiter.take() else { return false };
        self.record.end();
        // Its waker, which may be foreign, goes with it, where nothing is borrowed.
        waiter.waiters().leave(&waiter)
    }

    /// The future that waits is dropped: what it was given is passed on.
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
