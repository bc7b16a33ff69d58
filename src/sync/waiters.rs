//! The waiters of a primitive: a queue, first come, first served.
//!
//! A waiter is *waiting* until the primitive gives it something (a wake, a permit, a notification),
//! or until it is *dying*: its task was cancelled, or a timeout around it expired, so its future
//! will be dropped. A dying waiter does not count, but keeps its place, because a cancellation may
//! be taken back. Only `give`, which gives all waiters the same thing, reaches dying waiters too,
//! after all others, and without waking them.
//!
//! ```text
//!               take_next, take_foremost, give, give_all
//!     WAITING ---------------------------------------------> GIVEN
//!      |   ^                                                  ^  |
//!      v   | interrupt, resume                           give |  |
//!     DYING -------------------------------------------------+   |
//!      |                                                         |
//!      +----------------------> GONE <---------------------------+
//!               yield_gift, Ticket::leave, Ticket::poll
//! ```
//!
//! A *ticket* is a future's place in the queue. What is given to a waiter is up to the primitive,
//! which is notified (`Place::left`) when a ticket leaves.
//!
//! This file does not know the primitive, and knows the loop only for the record of the wait. Next:
//! `lock.rs`.

use crate::kernel::callbacks::exceptions;
use crate::kernel::table::lists::{List, Lists};
use crate::kernel::table::records::{Awaited, InLine, Lines, Wait};
use crate::kernel::{Token, clone_uncounted, context, own, wake_at_home};
use crate::leaf::Record;
use crate::platform::catch_unwind;
use alloc::{collections::BTreeMap, rc::Rc, vec::Vec};
use core::cell::{Cell, RefCell};
use core::fmt;
use core::panic::AssertUnwindSafe;
use core::task::{Context, Poll, Waker};

/// A primitive, as its waiters use it. A primitive with several queues numbers them.
pub(super) trait Place {
    fn line(&self, line: u8) -> &Waiters;

    /// Called when a waiter that was dying waits again. It was given nothing in the meantime. If
    /// there is something to give now, the primitive gives it. Primitives that use `Waiters::give`
    /// have nothing to do, because `give` reaches dying waiters.
    fn resumed(&self, _line: u8) {}

    /// Called when a waiter leaves without using what it may have been given.
    fn left(&self, _line: u8, _given: bool) {}

    /// Whether a waiter that will not be polled for some time leaves the queue, and enters it again
    /// if it is polled after all. If all waiters are given the same thing, it can stay.
    fn gives_way(&self, _line: u8) -> bool {
        false
    }

    /// The tasks that hold what this queue waits for, a lock for example.
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

    /// The only task that can provide what this queue waits for, if that is certain.
    fn sole_holder(&self, _line: u8) -> Option<Token> {
        None
    }

    /// Writes what is waited for, for reports: a noun phrase that follows "waits for".
    fn describe(&self, line: u8, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

/// One queue of waiters.
#[derive(Default)]
pub(super) struct Waiters {
    /// Borrowed only in this file, and while no user code runs: wakers are taken out before they
    /// are used or dropped.
    line: RefCell<Line>,
    /// Number of waiters that wait.
    waiting: Cell<usize>,
    /// Number of waiters that were given something and have not used it yet.
    given: Cell<usize>,
}

/// Instead of the index of a node: the waiter in `Line::first`.
const FIRST: u32 = u32::MAX;

#[derive(Default)]
struct Line {
    /// A waiter that entered while no other was waiting or dying, so it is before all that are. Mostly
    /// one task waits at a time. Then it needs no node of a list, and no memory for nodes.
    first: Option<Waiter>,
    /// All other waiters that have a ticket.
    waiters: Lists<Waiter>,
    /// Those of them that wait, by number in ascending order.
    waiting: List,
    /// The waiters that are dying: their indices, by number.
    dying: BTreeMap<u64, u32>,
    numbered: u64,
}

/// Waiters are left if their futures were leaked. Their wakers may be user code.
impl Drop for Line {
    fn drop(&mut self) {
        if let Some(first) = self.first.take() {
            exceptions::drop_value(first);
        }
        if !self.waiters.is_empty() {
            self.waiters.drain(exceptions::drop_value);
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Waiting,
    Dying,
    Given,
    Gone,
}

const EXISTS: &str = "a waiter exists until its ticket leaves";

/// A waiter. It exists until its ticket leaves.
struct Waiter {
    number: u64,
    state: State,
    waker: Option<Waker>,
}

/// A waiter to which something was given. Wake it when the primitive is consistent.
#[must_use = "it has to be woken"]
pub(super) struct Given(Option<Waker>);

impl Given {
    #[inline]
    pub(super) fn wake(self) {
        if let Some(waker) = self.0.and_then(wake_at_home) {
            wake_other(waker);
        }
    }
}

/// A waker of another executor may panic. The other waiters must be woken all the same, and no
/// panic may leave a destructor, in which this may run.
#[cold]
#[inline(never)]
pub(super) fn wake_other(waker: Waker) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
        let loop_id = context::running().map_or(0, |kernel| kernel.id());
        exceptions::reached_nobody(loop_id, exceptions::IN_A_WAKER, payload);
    }
}

impl Line {
    #[inline]
    fn get(&self, index: u32) -> Option<&Waiter> {
        if index == FIRST { self.first.as_ref() } else { self.waiters.get(index) }
    }

    fn state(&self, index: u32) -> State {
        self.get(index).map_or(State::Gone, |waiter| waiter.state)
    }

    #[inline]
    fn waiter(&mut self, index: u32) -> &mut Waiter {
        let waiter = if index == FIRST { self.first.as_mut() } else { self.waiters.get_mut(index) };
        waiter.expect(EXISTS)
    }

    /// The waiter whose turn is next.
    #[inline]
    fn first_waiting(&self) -> Option<u32> {
        match &self.first {
            Some(first) if first.state == State::Waiting => Some(FIRST),
            _ => self.waiting.first(),
        }
    }

    /// Adds a waiter at the end.
    #[inline(always)]
    fn enter(&mut self, waker: Option<Waker>) -> u32 {
        self.numbered += 1;
        let waiter = Waiter { number: self.numbered, state: State::Waiting, waker };
        if self.first.is_some() || !self.waiting.is_empty() || !self.dying.is_empty() {
            return self.waiters.push(&mut self.waiting, waiter);
        }
        self.first = Some(waiter);
        FIRST
    }

    /// Takes a waiter that waits out of the list of those that do. The caller changes its state.
    #[inline]
    fn stop_waiting(&mut self, index: u32) {
        if index != FIRST {
            self.waiters.unlink(&mut self.waiting, index);
        }
    }

    #[inline]
    fn free(&mut self, index: u32) -> Waiter {
        if index == FIRST { self.first.take().expect(EXISTS) } else { self.waiters.free(index) }
    }

    /// Puts a dying waiter back into its old place among the waiting ones.
    #[cold]
    fn wait_again(&mut self, index: u32) {
        let number = self.waiter(index).number;
        self.dying.remove(&number);
        self.waiter(index).state = State::Waiting;
        if index == FIRST {
            return;
        }
        let mut later = Vec::new();
        let mut next = self.waiting.first();
        while let Some(other) = next {
            next = self.waiters.next(other);
            if self.waiter(other).number > number {
                later.push(other);
            }
        }
        later.iter().for_each(|&other| self.waiters.unlink(&mut self.waiting, other));
        [&[index], &*later].concat().into_iter().for_each(|index| self.waiters.link(&mut self.waiting, index));
    }

    /// Takes a waiter out of its line, and keeps it as `Gone`. Returns its state before.
    fn leave(&mut self, index: u32) -> State {
        let Waiter { state, number, .. } = *self.waiter(index);
        match state {
            State::Waiting => self.stop_waiting(index),
            State::Dying => _ = self.dying.remove(&number),
            State::Given | State::Gone => {}
        }
        self.waiter(index).state = State::Gone;
        state
    }
}

impl Waiters {
    /// Whether any waiter counts: it waits, or was given something and has not used it.
    pub(super) fn any(&self) -> bool {
        self.len() > 0
    }

    /// Number of waiters that count.
    pub(super) fn len(&self) -> usize {
        self.given.get() + self.waiting.get()
    }

    /// Number of waiters that were given something and have not used it.
    pub(super) fn given(&self) -> usize {
        self.given.get()
    }

    /// Adds a waiter at the end. Returns its index.
    #[inline(always)]
    fn enter(&self, waker: Option<Waker>) -> u32 {
        self.waiting.set(self.waiting.get() + 1);
        self.line.borrow_mut().enter(waker)
    }

    /// Gives something to the first waiter, if there is one, and wakes it.
    #[inline]
    pub(super) fn wake_next(&self) {
        if self.waiting.get() > 0 {
            self.wake_first();
        }
    }

    #[inline(never)]
    fn wake_first(&self) {
        if let Some(waiter) = self.take() {
            waiter.wake();
        }
    }

    /// Gives something to the first waiter.
    pub(super) fn take_next(&self) -> Option<Given> {
        self.take()
    }

    #[inline(always)]
    fn take(&self) -> Option<Given> {
        let mut line = self.line.borrow_mut();
        let index = line.first_waiting()?;
        line.stop_waiting(index);
        let waiter = line.waiter(index);
        waiter.state = State::Given;
        self.waiting.set(self.waiting.get() - 1);
        self.given.set(self.given.get() + 1);
        Some(Given(waiter.waker.take()))
    }

    /// Like `take_next`, but only if no other waiter is before the first one: neither a waiter that
    /// was given something, nor a dying waiter. A dying waiter passes its turn on when it leaves.
    pub(super) fn take_foremost(&self) -> Option<Given> {
        if self.given.get() > 0 {
            return None;
        }
        {
            let mut line = self.line.borrow_mut();
            let first = line.first_waiting()?;
            if let Some(&dying) = line.dying.keys().next() {
                if dying < line.waiter(first).number {
                    return None;
                }
            }
        }
        self.take_next()
    }

    /// Gives something to the first `count` waiters, and wakes them. If fewer wait, gives the rest
    /// to dying waiters without waking them, in case they wait again.
    pub(super) fn give(&self, count: usize) {
        // All are taken before the first is woken, because a waker is user code and may call this
        // primitive.
        let taken: Vec<_> = core::iter::from_fn(|| self.take_next()).take(count).collect();
        {
            let mut line = self.line.borrow_mut();
            for _ in taken.len()..count {
                let Some((_, index)) = line.dying.pop_first() else { break };
                line.waiter(index).state = State::Given;
                self.given.set(self.given.get() + 1);
            }
        }
        taken.into_iter().for_each(Given::wake);
    }

    pub(super) fn give_all(&self) {
        self.give(usize::MAX);
    }

    fn state(&self, index: u32) -> State {
        self.line.borrow().state(index)
    }

    /// The number of the waiter with this index.
    fn number(&self, index: u32) -> Option<u64> {
        self.line.borrow().get(index).map(|waiter| waiter.number)
    }

    /// Takes a waiter out of the line; its waker stays. Returns whether it was given something.
    fn leave(&self, index: u32) -> bool {
        let before = self.line.borrow_mut().leave(index);
        let was_given = before == State::Given;
        self.waiting.set(self.waiting.get() - usize::from(before == State::Waiting));
        self.given.set(self.given.get() - usize::from(was_given));
        was_given
    }

    /// Removes a waiter if it need not wait any more.
    #[inline]
    fn remove_if_over(&self, index: u32) -> Option<Waiter> {
        let mut line = self.line.borrow_mut();
        let state = line.waiter(index).state;
        if !matches!(state, State::Given | State::Gone) {
            return None;
        }
        self.given.set(self.given.get() - usize::from(state == State::Given));
        Some(line.free(index))
    }

    /// Lets a dying waiter wait again: the interruption was taken back.
    #[cold]
    #[inline(never)]
    fn resume(&self, index: u32, place: &dyn Place, line: u8) {
        match self.state(index) {
            State::Dying => {
                self.line.borrow_mut().wait_again(index);
                self.waiting.set(self.waiting.get() + 1);
                place.resumed(line);
            }
            // It was given something while it was dying, without a wake. Or it has left the queue,
            // and must be polled to enter it again.
            State::Given | State::Gone => {
                let waker = self.line.borrow_mut().waiter(index).waker.take();
                Given(waker).wake();
            }
            State::Waiting => {}
        }
    }
}

// ---- what the kernel sees of a waiter ----

/// A waiter of a primitive. If the waiter has left, all functions do nothing.
struct Waiting<P> {
    place: Rc<P>,
    at: InLine,
    /// Another waiter may get the same index, but not the same number.
    number: Option<u64>,
}

impl<P: Place + 'static> Lines for P {
    fn awaited(self: Rc<Self>, at: InLine) -> Rc<dyn Awaited> {
        let number = self.line(at.line).number(at.index);
        Rc::new(Waiting { place: self, at, number })
    }
}

impl<P: Place> Waiting<P> {
    /// The index of the waiter, unless it has left.
    fn index(&self) -> Option<u32> {
        let number = self.place.line(self.at.line).number(self.at.index);
        (number.is_some() && number == self.number).then_some(self.at.index)
    }
}

impl<P: Place> Awaited for Waiting<P> {
    fn interrupt(&self) {
        let Some(index) = self.index() else { return };
        let waiters = self.place.line(self.at.line);
        let mut line = waiters.line.borrow_mut();
        if line.state(index) == State::Waiting {
            line.leave(index);
            waiters.waiting.set(waiters.waiting.get() - 1);
            let waiter = line.waiter(index);
            waiter.state = State::Dying;
            let number = waiter.number;
            line.dying.insert(number, index);
        }
    }

    fn resume(&self) {
        if let Some(index) = self.index() {
            self.place.line(self.at.line).resume(index, &*self.place, self.at.line);
        }
    }

    fn yield_gift(&self) {
        if let Some(index) = self.index() {
            yield_gift(&*self.place, self.at.line, index);
        }
    }

    fn takers(&self) -> Option<Vec<Token>> {
        self.place.takers(self.at.line)
    }

    fn taker(&self) -> Option<Token> {
        self.place.taker(self.at.line)
    }

    fn taken_at(&self) -> Vec<u64> {
        self.place.taken_at(self.at.line)
    }

    fn sole_holder(&self) -> Option<Token> {
        self.place.sole_holder(self.at.line)
    }

    fn holders(&self) -> Vec<Token> {
        self.place.holders(self.at.line)
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.describe(self.at.line, f)
    }
}

fn yield_gift(place: &dyn Place, line: u8, index: u32) {
    let waiters = place.line(line);
    if waiters.state(index) != State::Gone && place.gives_way(line) {
        let given = waiters.leave(index);
        place.left(line, given);
    }
}

// ---- tickets ----

/// What a future stores about its place in a queue. The future also stores the primitive, and
/// passes it to each function.
pub(super) struct Ticket {
    at: Option<InLine>,
    record: Record,
}

impl Ticket {
    /// For a future that is created at the caller's location.
    #[track_caller]
    pub(super) fn here() -> Self {
        Ticket { at: None, record: Record::here() }
    }

    /// For a future that was created elsewhere.
    #[cfg(feature = "stream")]
    pub(super) fn made_at(place: &'static core::panic::Location<'static>) -> Self {
        Ticket { at: None, record: Record::made_at(place) }
    }

    #[inline]
    pub(super) fn is_in_line(&self, place: &impl Place) -> bool {
        self.at.is_some_and(|at| place.line(at.line).state(at.index) != State::Gone)
    }

    /// Whether the future has no place in a queue. The caller then looks whether it has to wait, and
    /// enters. Frees the waiter of an earlier place, which is `Gone`, before that: its waker may be
    /// user code, which may release what the caller looks at.
    #[inline]
    pub(super) fn enters(&mut self, place: &impl Place) -> bool {
        let enters = !self.is_in_line(place);
        if enters {
            self.leave(place);
        }
        enters
    }

    /// Takes a place at the end of the queue. The caller then polls.
    pub(super) fn enter(&mut self, place: &impl Place, line: u8) {
        debug_assert!(!self.is_in_line(place), "one place a ticket");
        // The waiter of an earlier place, which is `Gone`, is freed.
        self.leave(place);
        self.at = Some(InLine { line, index: place.line(line).enter(None) });
    }

    /// Takes a place at the end of the queue, and polls.
    #[track_caller]
    #[inline]
    pub(super) fn wait<P: Place + 'static>(&mut self, place: &Rc<P>, line: u8, context: &mut Context<'_>) -> Poll<()> {
        // Inlined, because the caller knows the number of the queue when it is compiled.
        self.wait_in(place, place.line(line), line, context)
    }

    #[track_caller]
    #[inline(never)]
    fn wait_in<P: Place + 'static>(
        &mut self,
        place: &Rc<P>,
        waiters: &Waiters,
        line: u8,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        // Mostly there is no earlier place. And mostly the waker can be cloned before the waiter
        // enters, because this calls no user code.
        match own(context.waker()) {
            Some(waker) if self.at.is_none() => {
                let index = waiters.enter(Some(waker));
                self.at = Some(InLine { line, index });
                self.record.begin(|| Wait::In(Rc::<P>::downgrade(place), line, index));
                Poll::Pending
            }
            _ => {
                self.enter(&**place, line);
                self.poll_in_line(place, context)
            }
        }
    }

    /// Notifies the task that has taken what is waited for, if that task is ending.
    #[cold]
    #[inline(never)]
    pub(super) fn tell_taker(&self, place: &dyn Place) {
        let taker = self.at.and_then(|at| place.taker(at.line));
        if let Some((taker, kernel)) = taker.zip(context::running()) {
            kernel.is_wanted_of(taker);
        }
    }

    /// Ready when something was given: then the waiter leaves the queue. A spurious poll changes
    /// only the waker.
    #[track_caller]
    #[inline]
    pub(super) fn poll<P: Place + 'static>(&mut self, place: &Rc<P>, context: &mut Context<'_>) -> Poll<()> {
        let Some(InLine { line, .. }) = self.at else { return Poll::Ready(()) };
        self.poll_in(place, place.line(line), context)
    }

    /// Like `poll`, if the caller knows which queue it is.
    #[track_caller]
    #[inline]
    pub(super) fn poll_in<P: Place + 'static>(
        &mut self,
        place: &Rc<P>,
        waiters: &Waiters,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        let Some(InLine { index, .. }) = self.at else { return Poll::Ready(()) };
        if self.ends(waiters, index) {
            return Poll::Ready(());
        }
        self.poll_in_line(place, context)
    }

    /// Frees the waiter and returns true if it need not wait any more.
    #[inline(never)]
    fn ends(&mut self, waiters: &Waiters, index: u32) -> bool {
        let Some(waiter) = waiters.remove_if_over(index) else { return false };
        self.at = None;
        self.record.end();
        // The waiter's waker may be user code. It is dropped here, where nothing is borrowed.
        drop(waiter);
        true
    }

    /// Polls while the waiter waits or is dying.
    #[track_caller]
    #[cold]
    #[inline(never)]
    fn poll_in_line<P: Place + 'static>(&mut self, place: &Rc<P>, context: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else { return Poll::Ready(()) };
        let waiters = place.line(at.line);
        let new = clone_uncounted(context.waker());
        let old = waiters.line.borrow_mut().waiter(at.index).waker.replace(new);
        drop(old);
        // The code of a waker may have called this primitive.
        match waiters.state(at.index) {
            State::Waiting => {}
            // A waiter that is polled is not dying: its future has moved out of the cancelled task.
            State::Dying => {
                waiters.resume(at.index, &**place, at.line);
                if waiters.state(at.index) == State::Given {
                    self.leave(&**place);
                    return Poll::Ready(());
                }
            }
            // The code of a waker has called this primitive, and so has given something.
            State::Given => {
                self.leave(&**place);
                return Poll::Ready(());
            }
            // The code of a waker has made the waiter leave the queue. The next poll enters again.
            State::Gone => {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        self.record.begin(|| Wait::In(Rc::<P>::downgrade(place), at.line, at.index));
        Poll::Pending
    }

    /// Leaves the queue. Returns whether something had been given, which the caller must pass on.
    #[inline]
    pub(super) fn leave(&mut self, place: &(impl Place + ?Sized)) -> bool {
        let Some(InLine { line, index }) = self.at.take() else { return false };
        self.leave_line(place.line(line), index)
    }

    #[inline(never)]
    fn leave_line(&mut self, waiters: &Waiters, index: u32) -> bool {
        self.record.end();
        let was_given = waiters.leave(index);
        let waiter = waiters.line.borrow_mut().free(index);
        // Its waker may be user code; here nothing is borrowed.
        drop(waiter);
        was_given
    }

    /// Called when the waiting future is dropped. Passes on what the waiter was given.
    #[inline]
    pub(super) fn give_up(&mut self, place: &impl Place) {
        if let Some(InLine { line, index }) = self.at {
            yield_gift(place, line, index);
            self.leave(place);
        }
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("at", &self.at).finish_non_exhaustive()
    }
}
