//! The vtables of our wakers: what a wake does, from any thread.
#![allow(unsafe_code, reason = "the waker's vtable")]

use crate::kernel::cell::SCHEDULED;
use crate::kernel::idle::lanes;
use crate::kernel::table::{TaskTable, context};
use crate::kernel::token::Token;
use crate::kernel::token::data::{self, IS_COUNTED, token_in};
use crate::platform::OnceLock;
use core::ptr;
use core::task::{RawWaker, RawWakerVTable, Waker};

// ---- the vtables ----

/// For loops that are not observed.
pub(crate) static PLAIN: RawWakerVTable = RawWakerVTable::new(clone, WAKE, wake_by_ref, release);

/// For observed loops: clones are counted, except `KEPT` ones. Each clone and each drop takes the
/// inbox's lock.
static COUNTED: RawWakerVTable = RawWakerVTable::new(clone_counted, wake_counted, wake_by_ref_observed, drop_counted);

/// For observed loops: like `COUNTED`, but clones are not counted. Only our own futures hold such
/// wakers, so all their clones are ours too.
static KEPT: RawWakerVTable = RawWakerVTable::new(clone_kept, WAKE_OBSERVED, wake_by_ref_observed, release);

/// `wake`, and then the waker's data is released, if it is counted.
const WAKE: unsafe fn(*const ()) = if IS_COUNTED { wake } else { wake_by_ref };
const WAKE_OBSERVED: unsafe fn(*const ()) = if IS_COUNTED { wake_observed_and_release } else { wake_by_ref_observed };

/// `COUNTED` and `KEPT`. Set when the first observed loop is created, so that a program without
/// such loops does not contain their wakers.
static OBSERVED: OnceLock<[&RawWakerVTable; 2]> = OnceLock::new();

/// The vtable of the wakers with which an observed loop polls its tasks.
pub(crate) fn observed() -> &'static RawWakerVTable {
    OBSERVED.get_or_init(|| [&COUNTED, &KEPT])[0]
}

// Each of these functions gets the data of a waker that is not dropped yet: `RawWaker` says so, and
// only this file, `Lender` and unsafe code of others make wakers with these vtables.

fn clone(data: *const ()) -> RawWaker {
    // SAFETY: see above.
    unsafe { data::keep(data) };
    RawWaker::new(data, &PLAIN)
}

fn clone_kept(data: *const ()) -> RawWaker {
    // SAFETY: see above.
    unsafe { data::keep(data) };
    RawWaker::new(data, &KEPT)
}

fn clone_counted(data: *const ()) -> RawWaker {
    // SAFETY: see above.
    let token = unsafe { token_in(data) };
    lanes::inbox(token.lane()).add_waker(token);
    // SAFETY: see above.
    unsafe { data::keep(data) };
    RawWaker::new(data, &COUNTED)
}

fn drop_counted(data: *const ()) {
    // SAFETY: see above.
    let token = unsafe { token_in(data) };
    lanes::inbox(token.lane()).remove_waker(token);
    release(data);
}

fn release(data: *const ()) {
    // SAFETY: see above. The waker is gone.
    unsafe { data::release(data) };
}

fn wake(data: *const ()) {
    wake_by_ref(data);
    release(data);
}

fn wake_observed_and_release(data: *const ()) {
    wake_by_ref_observed(data);
    release(data);
}

/// The table of the loop that is in a turn on this thread.
///
/// # Safety
///
/// As for `context::here`.
#[inline(always)]
pub(super) unsafe fn home<'a>() -> Option<&'a TaskTable> {
    // SAFETY: the caller promises the same.
    unsafe { context::here() }.map(|kernel| &kernel.table)
}

fn wake_by_ref(data: *const ()) {
    // SAFETY: as in `clone`.
    let token = unsafe { token_in(data) };
    // SAFETY: the reference is used only in this function.
    if let Some(home) = unsafe { home() } {
        if token == home.running.get() {
            return home.note(SCHEDULED);
        }
    }
    wake_another(token);
}

/// Wakes a task other than the running one. A separate function, so that a task which wakes itself
/// has no registers to save.
#[inline(never)]
fn wake_another(token: Token) {
    // SAFETY: as in `wake_by_ref`. No probe is called: loops with a probe have other wakers.
    if let Some(home) = unsafe { home() } {
        // A token of this lane that names no task belongs to a task that has ended (WAKE-1).
        if home.queue(token, |_| {}) || home.lane.number == token.lane() {
            return;
        }
    }
    lanes::inbox(token.lane()).wake(token);
}

fn wake_by_ref_observed(data: *const ()) {
    // SAFETY: as in `clone`.
    let token = unsafe { token_in(data) };
    // SAFETY: as in `wake_by_ref`.
    if let Some(home) = unsafe { home() } {
        // The usual case, in as few instructions as possible.
        if token == home.running.get() && home.running_flags.get() == 0 && !home.is_probed() {
            home.tally.wakes.count();
            return home.running_flags.set(SCHEDULED);
        }
    }
    wake_observed(token);
}

/// A wake that goes to an inbox is counted when the inbox is drained.
#[inline(never)]
fn wake_observed(token: Token) {
    // SAFETY: as in `wake_by_ref`.
    match unsafe { home() } {
        Some(home) if home.lane.number != token.lane() => lanes::inbox(token.lane()).wake(token),
        Some(home) if home.is_probed() => wake_probed(token),
        Some(home) => _ = home.wake(token),
        None => lanes::inbox(token.lane()).wake(token),
    }
}

/// The probe is user code, so this function owns a reference to the loop.
#[cold]
fn wake_probed(token: Token) {
    context::running().iter().for_each(|kernel| _ = kernel.table.wake(token));
}

fn wake_counted(data: *const ()) {
    wake_by_ref_observed(data);
    drop_counted(data);
}

/// Clones a waker for one of our own futures. If the waker belongs to the running loop, the clone
/// is not counted among the wakers that user code holds. A waker of another loop is counted,
/// because that loop may be on another thread and cannot know who holds it.
#[inline]
pub(crate) fn clone_uncounted(waker: &Waker) -> Waker {
    own(waker).unwrap_or_else(|| clone_of_other(waker))
}

/// Like `clone_uncounted`, but only if that calls no user code and no other loop.
#[inline]
pub(crate) fn own(waker: &Waker) -> Option<Waker> {
    let vtable = if ptr::eq(waker.vtable(), &PLAIN) { &PLAIN } else { vtable_of_own(waker)? };
    // SAFETY: both vtables are ours, so the data is too. It is kept for the new waker.
    Some(unsafe {
        data::keep(waker.data());
        Waker::new(waker.data(), vtable)
    })
}

#[inline(never)]
fn vtable_of_own(waker: &Waker) -> Option<&'static RawWakerVTable> {
    let &[counted, kept] = OBSERVED.get()?;
    let is_of_observed = ptr::eq(waker.vtable(), counted) || ptr::eq(waker.vtable(), kept);
    (is_of_observed && is_at_home(token_of(waker)?)).then_some(kept)
}

#[cold]
#[inline(never)]
fn clone_of_other(waker: &Waker) -> Waker {
    waker.clone()
}

/// Wakes a task of the loop that is in a turn on this thread, if that calls no user code. Otherwise
/// returns the waker.
#[cfg(feature = "sync")]
#[inline]
pub(crate) fn wake_at_home(waker: Waker) -> Option<Waker> {
    if ptr::eq(waker.vtable(), &PLAIN) {
        // SAFETY: the waker is ours, and is not dropped.
        let token = unsafe { token_in(waker.data()) };
        // SAFETY: as in `wake_by_ref`.
        let is_woken =
            unsafe { home() }.is_some_and(|home| home.queue(token, |_| {}) || home.lane.number == token.lane());
        if is_woken {
            release(waker.data());
            core::mem::forget(waker); // There is nothing else to drop.
            return None;
        }
    }
    Some(waker)
}

/// Whether the token belongs to the loop that is in a turn on this thread.
fn is_at_home(token: Token) -> bool {
    // SAFETY: as in `wake_by_ref`.
    unsafe { home() }.is_some_and(|home| home.lane.number == token.lane())
}

impl TaskTable {
    /// Whether a waker is the one with which the running task is polled, or a copy of it.
    #[inline]
    pub(super) fn is_of_running(&self, waker: &Waker) -> bool {
        // SAFETY: the vtable is ours, so the data is too, and the waker is not dropped.
        ptr::eq(waker.vtable(), self.vtable) && unsafe { token_in(waker.data()) } == self.running.get()
    }
}

/// The token of a waker, if the waker is ours.
#[inline]
pub(crate) fn token_of(waker: &Waker) -> Option<Token> {
    let is_ours = ptr::eq(waker.vtable(), &PLAIN) || is_of_observed(waker);
    // SAFETY: the waker is ours, and is not dropped.
    is_ours.then(|| unsafe { token_in(waker.data()) })
}

#[cold]
fn is_of_observed(waker: &Waker) -> bool {
    OBSERVED.get().is_some_and(|&[counted, kept]| ptr::eq(waker.vtable(), counted) || ptr::eq(waker.vtable(), kept))
}

/// Like `Waker::will_wake`, but also recognises `KEPT` wakers.
#[inline]
pub(crate) fn wakes_the_same(one: &Waker, other: &Waker) -> bool {
    one.will_wake(other) || token_of(one).is_some_and(|token| token_of(other) == Some(token))
}
