//! TaskTable: the numbers of rows, and what a wake does, wherever it comes from.
#![allow(unsafe_code, reason = "the waker's vtable")]

use crate::kernel::cell::SCHEDULED;
use crate::kernel::idle::lanes;
use crate::kernel::table::TaskTable;
use crate::kernel::token::Token;
use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::ptr;
use std::rc::Rc;
use std::task::{RawWaker, RawWakerVTable, Waker};

thread_local! {
    /// The table of the loop that is in a turn on this thread. The cell owns it, in whatever order the guards are dropped, and also
    /// if one is forgotten. It has no destructor, so wakers may look here at any time, also while the thread is being torn down.
    static HOME: ManuallyDrop<Cell<Option<Rc<TaskTable>>>> = const { ManuallyDrop::new(Cell::new(None)) };
}

/// While it lives, wakes on this thread find the table directly.
pub(crate) struct Home {
    /// The table that was there before. The destructor exchanges it for the one that is left.
    other: Option<Rc<TaskTable>>,
}

impl Drop for Home {
    fn drop(&mut self) {
        HOME.with(|home| self.other = home.replace(self.other.take()));
    }
}

impl TaskTable {
    /// Makes this the table of the turn that begins on this thread, until the guard is dropped.
    pub(crate) fn enter(self: Rc<Self>) -> Home {
        Home { other: HOME.with(|home| home.replace(Some(self))) }
    }
}

// ---- the vtables ----

/// Of a loop that nobody observes.
pub(super) static PLAIN: RawWakerVTable = RawWakerVTable::new(clone, wake_by_ref, wake_by_ref, ignore);

/// Of an observed loop: its wakers are counted, as long as they are not `KEPT`. Each clone and each drop takes the inbox's lock.
pub(super) static COUNTED: RawWakerVTable =
    RawWakerVTable::new(clone_counted, wake_counted, wake_by_ref_observed, drop_counted);

/// Of an observed loop, held by one of our own futures: it wakes whom a counted one wakes. Others that are clones of such a
/// one do not exist: nobody but us has it.
static KEPT: RawWakerVTable = RawWakerVTable::new(clone_kept, wake_by_ref_observed, wake_by_ref_observed, ignore);

fn clone(data: *const ()) -> RawWaker {
    RawWaker::new(data, &PLAIN)
}

fn clone_kept(data: *const ()) -> RawWaker {
    RawWaker::new(data, &KEPT)
}

fn clone_counted(data: *const ()) -> RawWaker {
    let token = Token::from_data(data);
    lanes::inbox(token.lane()).add_waker(token);
    RawWaker::new(data, &COUNTED)
}

fn drop_counted(data: *const ()) {
    let token = Token::from_data(data);
    lanes::inbox(token.lane()).remove_waker(token);
}

fn ignore(_data: *const ()) {}

/// The table of the loop that is in a turn on this thread.
///
/// # Safety
///
/// The reference is used within the function that has asked for it. Meanwhile the guards below that on the stack stay, and so does
/// the table, whatever a probe does that is told of the wake.
#[inline(always)]
unsafe fn home<'a>() -> Option<&'a TaskTable> {
    // SAFETY: a thread-local is this thread's alone, and nothing is called here that could put another table into the cell. The
    // cell owns what is in it. `Home` alone puts another there, and keeps this one until its own end: `TaskTable::enter` takes
    // nothing away, and what a guard puts back it has owned. So it is of no matter who forgets a guard, and when a loop is dropped.
    HOME.with(|home| unsafe { (*home.as_ptr()).as_deref() })
}

fn wake_by_ref(data: *const ()) {
    let token = Token::from_data(data);
    // SAFETY: it is used in here alone.
    if let Some(home) = unsafe { home() } {
        if token == home.running.get() {
            return home.note(SCHEDULED);
        }
    }
    wake_another(token);
}

/// Not the running task. In a function of its own, so that a task which wakes itself has nothing to save.
#[inline(never)]
fn wake_another(token: Token) {
    // SAFETY: as in `wake_by_ref`.
    if let Some(home) = unsafe { home() } {
        // A token of this lane that names nobody is of a task that has ended (WAKE-1).
        if home.queue(token, |_| {}) || home.lane.number == token.lane() {
            return;
        }
    }
    lanes::inbox(token.lane()).wake(token);
}

fn wake_by_ref_observed(data: *const ()) {
    let token = Token::from_data(data);
    // SAFETY: as in `wake_by_ref`.
    if let Some(home) = unsafe { home() } {
        // The usual case, in as few instructions as can be.
        if token == home.running.get() && home.running_flags.get() == 0 && !home.is_probed() {
            home.tally.wakes.count();
            return home.running_flags.set(SCHEDULED);
        }
    }
    wake_observed(token);
}

/// A wake that goes to an inbox is counted when it is drained.
#[inline(never)]
fn wake_observed(token: Token) {
    // SAFETY: as in `wake_by_ref`.
    match unsafe { home() } {
        Some(home) if home.lane.number == token.lane() => _ = home.wake(token),
        _ => lanes::inbox(token.lane()).wake(token),
    }
}

fn wake_counted(data: *const ()) {
    wake_by_ref_observed(data);
    drop_counted(data);
}

/// A waker that one of our own futures keeps, and nobody else: such a one is not counted among those that are held outside, if it
/// is of the loop that is running. Of another loop it may be on another thread, where that one does not know of it.
#[inline]
pub(crate) fn clone_uncounted(waker: &Waker) -> Waker {
    if ptr::eq(waker.vtable(), &COUNTED) && is_at_home(Token::from_data(waker.data())) {
        // SAFETY: as in `TaskTable::waker_of`.
        return unsafe { Waker::new(waker.data(), &KEPT) };
    }
    waker.clone()
}

/// Whether the token is of the loop that is in a turn on this thread.
fn is_at_home(token: Token) -> bool {
    // SAFETY: as in `wake_by_ref`.
    unsafe { home() }.is_some_and(|home| home.lane.number == token.lane())
}

/// The token behind a waker of ours.
#[inline]
pub(crate) fn token_of(waker: &Waker) -> Option<Token> {
    let is_ours = ptr::eq(waker.vtable(), &PLAIN) || is_of_observed(waker);
    is_ours.then(|| Token::from_data(waker.data()))
}

#[cold]
fn is_of_observed(waker: &Waker) -> bool {
    ptr::eq(waker.vtable(), &COUNTED) || ptr::eq(waker.vtable(), &KEPT)
}

/// As `Waker::will_wake`, also if one of them is kept.
#[inline]
pub(crate) fn wakes_the_same(one: &Waker, other: &Waker) -> bool {
    one.will_wake(other) || token_of(one).is_some_and(|token| token_of(other) == Some(token))
}
