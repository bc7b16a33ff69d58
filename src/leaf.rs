//! What leaf futures need: to find the loop, and to record what their task waits for. A *leaf* is a
//! future that waits by itself, without polling another future: a sleep, or the wait for a lock.

use crate::kernel::cancel::scopes::Scope;
use crate::kernel::cell::{AnyTask, Header};
use crate::kernel::explore::{Mode, Of, touch};
use crate::kernel::table::records::{Then, Wait};
use crate::kernel::table::waiters::begin_first_join;
use crate::kernel::table::waits::{begin_any_wait, begin_wait, end_first_wait};
use crate::kernel::{Kernel, ScopeKey, WaitKey, WaiterKey, context};
use crate::platform::thread_local;
use alloc::rc::{Rc, Weak};
use core::cell::Cell;
use core::panic::Location;
use core::ptr;
use core::task::{Context, Poll, Waker};

/// Returns the loop that is running on this thread. Panics with a message that contains what was
/// called.
#[track_caller]
#[inline]
pub(crate) fn running(asked: &str) -> Rc<Kernel> {
    match context::running() {
        Some(kernel) => kernel,
        None => no_loop(asked),
    }
}

#[track_caller]
#[cold]
pub(crate) fn no_loop(asked: &str) -> ! {
    panic!("{asked} was called, but there is no running event loop; call it from inside of onelane::run()")
}

/// Checks that a task is awaited in its own loop.
///
/// # Panics
///
/// If a loop is running on this thread that is not the task's.
#[track_caller]
#[inline]
pub(crate) fn check_loop(kernel: &Kernel, task: &Header) {
    touch(Of::End, task.id, Mode::Read);
    assert!(
        kernel.has(task.token()),
        "task {:?} belongs to another event loop; await it there, and send its result over a channel",
        task.name()
    );
}

/// Cancels a task of any loop. Returns false if the task has ended.
pub(crate) fn cancel(task: &AnyTask) -> bool {
    // A loop that has gone has left no task alive (END-1).
    context::loop_of(task.header().token()).is_some_and(|kernel| kernel.cancel(task))
}

/// Called when an await of the task is dropped. Cancels the task, with two exceptions: a task that
/// is ending already, because it only runs its own cleanups; and the running task.
pub(crate) fn abandon(task: &AnyTask) {
    let header = task.header();
    touch(Of::End, header.id, Mode::Read);
    if header.is_done() || header.is_ending() {
        return;
    }
    if let Some(kernel) = context::loop_of(header.token()).filter(|kernel| !kernel.table.is_running(header)) {
        kernel.cancel(task);
    }
}

/// Removes a waiter of a task of any loop. `None` if the waiter was notified or removed before. The
/// result may be user code, so drop it where nothing is borrowed.
pub(crate) fn remove_waiter(task: &AnyTask, key: WaiterKey) -> Option<Then> {
    let header = task.header();
    touch(Of::End, header.id, Mode::Read);
    let kernel = if header.is_done() { None } else { context::loop_of(header.token()) };
    kernel?.table.remove_waiter(header, key)
}

/// Takes back one cancellation request, for a task of any loop. Returns the number that are left.
pub(crate) fn uncancel(task: &Header) -> u32 {
    match context::loop_of(task.token()) {
        Some(kernel) if !task.is_done() => kernel.uncancel(task),
        _ => task.cancelling.get(),
    }
}

/// The running task yields here. This is no wait, because the task is queued: only the probe and an
/// exploration are notified.
#[cfg(any(feature = "probe", feature = "explore"))]
#[inline]
pub(crate) fn yields_at(polled_at: &'static Location<'static>, made_at: &'static Location<'static>) {
    #[cfg(feature = "explore")]
    crate::kernel::explore::yields_at(place_of(polled_at, made_at));
    #[cfg(feature = "probe")]
    if context::is_probed() {
        yields_probed(place_of(polled_at, made_at));
    }
}

#[cfg(feature = "probe")]
#[cold]
fn yields_probed(place: &'static Location<'static>) {
    if let Some(kernel) = context::running() {
        kernel.tell_yield(place);
    }
}

/// A leaf's record of what its task waits for. It exists from the first pending poll until the leaf
/// is ready or dropped. If several leaves of a task wait, each has a record, whichever was polled
/// last.
#[derive(Debug)]
pub(crate) struct Record {
    key: Option<WaitKey>,
    /// Where it was polled last. Before the first poll, and behind a `Box<dyn Future>`, where it
    /// was created.
    place: &'static Location<'static>,
}

impl Record {
    /// A record for a leaf that is created at the caller's location.
    #[track_caller]
    #[inline]
    pub(crate) fn here() -> Self {
        Record { key: None, place: Location::caller() }
    }

    /// A record for a leaf that was created elsewhere.
    #[cfg(feature = "stream")]
    pub(crate) fn made_at(place: &'static Location<'static>) -> Self {
        Record { key: None, place }
    }

    /// The leaf was polled, at the caller's location, and is pending. Does nothing outside of a
    /// turn, and outside of a task.
    #[track_caller]
    #[inline]
    pub(crate) fn begin(&mut self, wait: impl FnOnce() -> Wait) {
        let place = place_of(Location::caller(), self.place);
        if self.key.is_some() && self.goes_on(place) {
            return;
        }
        self.place = place;
        begin_wait(&mut self.key, wait, place);
    }

    /// Like `begin`, in less code: for callers that are seldom reached.
    #[track_caller]
    pub(crate) fn begin_seldom(&mut self, wait: Wait) {
        let place = place_of(Location::caller(), self.place);
        if self.key.is_none() || !self.goes_on(place) {
            self.place = place;
            begin_any_wait(&mut self.key, wait, place);
        }
    }

    /// A fast form of `begin`, for the first poll of an await of a task. Also registers the await, and sets
    /// its key. If it does nothing and returns false, the caller must use the general functions.
    #[track_caller]
    #[inline(always)]
    pub(crate) fn begin_first_join(&mut self, waiter: &mut Option<WaiterKey>, awaited: &Header, waker: &Waker) -> bool {
        debug_assert!(self.key.is_none(), "a wait was begun twice");
        let place = Location::caller();
        if !is_same_file(place, self.place) {
            return false;
        }
        self.place = place;
        begin_first_join(awaited, waker, waiter, place)
    }

    /// Before the general functions are used for an await that `begin_first_join` may have begun: gives
    /// wait and waiter a key each.
    pub(crate) fn split_join(&mut self, waiter: &mut Option<WaiterKey>, awaited: &Header) {
        if let Some(wait) = waiter.and_then(|waiter| waiter.wait_of_join(awaited)) {
            self.key = Some(wait);
            *waiter = Some(WaiterKey::FIRST);
        }
    }

    /// Called if the leaf was polled before. Returns false if the earlier poll was in another task:
    /// then the leaf has moved to this task.
    #[cold]
    #[inline(never)]
    fn goes_on(&mut self, place: &'static Location<'static>) -> bool {
        let Some(kernel) = context::running() else { return true };
        let Some(key) = self.key.filter(|&key| kernel.table.waits_here(key)) else {
            if let Some(key) = self.key {
                context::loop_of(key.task).iter().for_each(|kernel| kernel.table.mark_moved(key.task));
            }
            self.end();
            return false;
        };
        if !ptr::eq(place, self.place) {
            self.place = place;
            kernel.table.move_wait(key, place);
        }
        true
    }

    /// The leaf is ready, or is dropped.
    #[inline]
    pub(crate) fn end(&mut self) {
        if self.key.is_some() {
            end_wait(&mut self.key);
        }
    }
}

/// A separate function, because most leaves are ready at once and have no record.
#[inline(never)]
fn end_wait(key: &mut Option<WaitKey>) {
    if !end_first_wait(key) {
        end_wait_elsewhere(key);
    }
}

#[cold]
fn end_wait_elsewhere(key: &mut Option<WaitKey>) {
    let Some(key) = key.take() else { return };
    // On another thread, or after the loop has ended, nothing is found and nothing is lost.
    if let Some(kernel) = context::loop_of(key.task) {
        kernel.table.end_wait(key);
    }
}

/// The location to show for a leaf that was polled at `polled_at`. That is `polled_at` itself,
/// unless it is inside a library that polls for other code, as `Box<dyn Future>` does. Then it is
/// `known`: the location of an earlier poll of the same leaf, or of its creation.
#[inline]
pub(crate) fn place_of(
    polled_at: &'static Location<'static>,
    known: &'static Location<'static>,
) -> &'static Location<'static> {
    // Without these features no source location is shown. And an await is mostly in the same file as
    // the creation of its leaf.
    let is_certain = !cfg!(any(feature = "report", feature = "probe")) || is_same_file(polled_at, known);
    if is_certain || is_shown(polled_at, known) { polled_at } else { known }
}

/// Compares only addresses. One name may be stored at two addresses, but not two names at one.
#[inline]
fn is_same_file(one: &Location<'_>, other: &Location<'_>) -> bool {
    ptr::addr_eq(one.file(), other.file())
}

/// Whether to show where a leaf was polled.
#[inline]
fn is_shown(polled_at: &'static Location<'static>, known: &Location<'_>) -> bool {
    is_known_to_be_outside(polled_at) || polled_at.file() == known.file() || !is_in_library(polled_at)
}

/// Whether this was the last location of its pair that was classified, and is not in a library. The
/// usual case, so it is inlined.
#[inline]
fn is_known_to_be_outside(place: &'static Location<'static>) -> bool {
    LAST_LOOKS.with(|looks| matches!(looks[pair_of(place)].get()[0], Some((last, false)) if ptr::eq(last, place)))
}

/// Locations are aligned to words, so their addresses differ in these bits.
#[inline]
fn pair_of(place: &Location<'_>) -> usize {
    ptr::from_ref(place).addr() / align_of::<Location<'_>>() % PAIRS
}

/// The number of pairs of locations that are remembered.
const PAIRS: usize = 16;

/// A location that was classified, and the result.
type Looked = Option<(&'static Location<'static>, bool)>;

thread_local! {
    /// Locations that were classified; the address of a location selects its pair. A leaf in a box
    /// is polled at the same location again and again. The locations of two leaves that are polled
    /// in turn may select the same pair, so a pair has room for both.
    static LAST_LOOKS: [Cell<[Looked; 2]>; PAIRS] = const { [const { Cell::new([None; 2]) }; PAIRS] };
}

/// Whether a location is in the standard library, in this crate, or in any downloaded crate.
#[inline(never)]
fn is_in_library(place: &'static Location<'static>) -> bool {
    let pair = pair_of(place);
    LAST_LOOKS.with(|looks| {
        let known = looks[pair].get();
        let is_it = |(last, _): &(&'static Location<'static>, bool)| ptr::eq(*last, place);
        match known.into_iter().flatten().find(is_it) {
            Some((_, found)) => found,
            None => {
                let found = is_library(place.file());
                looks[pair].set([Some((place, found)), known[0]]);
                found
            }
        }
    })
}

fn is_library(file: &str) -> bool {
    const HERE: &str = file!();
    const NAME: &str = "leaf.rs";
    let (ours, _) = HERE.split_at(HERE.len() - NAME.len());
    // Folders of the standard library, of crates from a registry, and of crates from a repository,
    // with either separator.
    let parts = ["library?core?src", "library?alloc?src", "library?std?src", "registry?src", "git?checkouts"];
    // Older compilers give the whole path for generic code.
    const WHOLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/");
    file.starts_with(ours)
        || file.starts_with(WHOLE)
        || parts.iter().any(|part| has_part(file.as_bytes(), part.as_bytes()))
}

/// Not inlined, because it would be copied for each part.
#[inline(never)]
fn has_part(file: &[u8], part: &[u8]) -> bool {
    let is_same = |(one, other): (&u8, &u8)| one == other || (*other == b'?' && matches!(one, b'/' | b'\\'));
    file.windows(part.len()).any(|window| window.iter().zip(part).all(is_same))
}

/// Whether a waker is the running task's own.
pub(crate) fn wakes_running(waker: &Waker) -> bool {
    context::running().is_some_and(|kernel| kernel.table.wakes_running(waker))
}

/// Raises a cancellation: the running task, or the block that is being polled, ends as cancelled.
/// If a `catch_cancel` in another branch of the task catches this, the waker causes the next poll
/// here.
pub(crate) fn raise(context: &Context<'_>) {
    put_raised();
    if !wakes_running(context.waker()) {
        context.waker().wake_by_ref();
    }
}

/// Puts back a cancellation that `take_raised` has returned: it was raised beside the polled block,
/// in another branch of the task.
fn put_raised() {
    context::running().iter().for_each(|kernel| kernel.table.raise());
}

/// Whether the code that was just polled has raised a cancellation. True once.
pub(crate) fn take_raised() -> bool {
    context::running().is_some_and(|kernel| kernel.table.take_raised())
}

/// Around a poll of the future of a scope. If it returns although a part of it has raised a
/// cancellation, the cancellation comes to nothing, as in a block: it ends neither the scope's cleanup
/// nor what follows the scope. This happens if another part was ready in the same step. A
/// cancellation that was raised beside the scope continues, even if the poll panics: code around the
/// scope may catch the panic.
///
/// Not a function that takes the poll as a closure: a closure hides where it was polled.
pub(crate) struct PollInScope {
    was_raised: bool,
}

impl PollInScope {
    pub(crate) fn begin() -> Self {
        PollInScope { was_raised: take_raised() }
    }

    pub(crate) fn end<T>(self, polled: Poll<T>) -> Poll<T> {
        if polled.is_ready() {
            take_raised();
        }
        polled
    }
}

impl Drop for PollInScope {
    fn drop(&mut self) {
        if self.was_raised {
            put_raised();
        }
    }
}

/// What the future of a scope (a `finally`, a timeout, a group) stores about its place in a task.
/// It is set from the first poll until the scope is left or dropped.
#[derive(Debug, Default)]
pub(crate) struct Place(Option<ScopeKey>);

impl Place {
    /// Called when the scope is polled. Enters it in the running task, as the task's latest scope,
    /// unless it was entered there before. Returns whether it has moved here from another task.
    pub(crate) fn enter(&mut self, scope: impl FnOnce() -> Weak<dyn Scope>) -> bool {
        let Some(kernel) = context::running() else { return false };
        if self.0.is_some_and(|key| kernel.table.is_entered_here(key)) {
            return false;
        }
        let moved = self.0.is_some();
        self.leave();
        self.0 = kernel.table.enter_scope(scope());
        moved
    }

    /// Whether the scope was entered in another task than the running one.
    pub(crate) fn has_moved(&self) -> bool {
        self.0.is_some_and(|key| context::running().is_some_and(|kernel| !kernel.table.is_entered_here(key)))
    }

    /// Whether this poll must do nothing. This is so if the scope has not begun in the running
    /// task, and the code around it is polled only so that a group beside it drops its body. If the
    /// cancellation is caught there, the scope is polled again.
    pub(crate) fn is_too_late(&self, context: &Context<'_>) -> bool {
        let is_new = |kernel: &Kernel| !self.0.is_some_and(|key| kernel.table.is_entered_here(key));
        let is_too_late = context::running().is_some_and(|kernel| kernel.only_drops() && is_new(&kernel));
        if is_too_late && !wakes_running(context.waker()) {
            context.waker().wake_by_ref();
        }
        is_too_late
    }

    /// Where it was entered.
    pub(crate) fn key(&self) -> Option<ScopeKey> {
        self.0
    }

    /// Whether the scope is *frozen*: the task, or the part of it around the scope, unwinds, so
    /// only the unwinding polls the scope.
    pub(crate) fn is_frozen(&self) -> bool {
        let task = self.0.and_then(|key| Some((context::loop_of(key.task)?.table.task(key.task)?, key.number)));
        task.is_some_and(|(task, number)| task.header().is_frozen(number))
    }

    pub(crate) fn is_entered(&self) -> bool {
        self.0.is_some()
    }

    /// Leaves the scope. Returns its loop, if that still exists.
    pub(crate) fn leave(&mut self) -> Option<Rc<Kernel>> {
        let key = self.0.take()?;
        let kernel = context::loop_of(key.task)?;
        kernel.table.leave_scope(key);
        Some(kernel)
    }

    /// The future of the scope is dropped. Returns true if the task unwinds; then the unwinding
    /// takes over the scope.
    pub(crate) fn leave_to_unwinding(&mut self, scope: impl FnOnce() -> Rc<dyn Scope>) -> bool {
        let Some(key) = self.0 else { return false };
        let Some(kernel) = context::loop_of(key.task) else { return false };
        let Some(task) = kernel.table.task(key.task) else { return false };
        let is_left = task.header().leave_to_driver(key.number, scope);
        if is_left {
            self.0 = None;
        }
        is_left
    }
}

#[cfg(test)]
mod tests {
    use super::is_library;

    #[test]
    fn know_libraries_by_their_folders() {
        for (file, expected) in [
            ("shop/src/main.rs", false),
            ("examples/tour.rs", false),
            ("/home/a/shop/src/main.rs", false),
            (r"C:\a\shop\src\main.rs", false),
            ("/rustc/0123abcd/library/core/src/future/future.rs", true),
            (r"/rustc/0123abcd\library\alloc\src\boxed.rs", true),
            ("/home/a/.rustup/toolchains/stable/lib/rustlib/src/rust/library/alloc/src/boxed.rs", true),
            ("/home/a/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/futures-util-0.3.31/src/lib.rs", true),
            (r"C:\a\.cargo\registry\src\index.crates.io-6f17d22bba15001f\futures-util-0.3.31\src\lib.rs", true),
            ("/home/a/.cargo/git/checkouts/shop-0123/abc/src/lib.rs", true),
            (concat!("", file!()), true),
            ("", false),
        ] {
            assert_eq!(is_library(file), expected, "{file}");
        }
    }
}
