//! What leaf futures need of the loop: to find it, and to tell it what their task waits for.

use crate::kernel::cancel::scopes::Scope;
use crate::kernel::cell::{AnyTask, Header};
use crate::kernel::table::records::{Then, Wait};
use crate::kernel::{Kernel, ScopeKey, WaitKey, WaiterKey, context};
use std::cell::Cell;
use std::panic::Location;
use std::ptr;
use std::rc::{Rc, Weak};
use std::task::{Context, Waker};

/// The loop that is running on this thread, or a panic that says what was asked for.
#[track_caller]
#[inline]
pub(crate) fn running(asked: &str) -> Rc<Kernel> {
    match context::running() {
        Some(kernel) => kernel,
        None => panic!("{asked} was called, but there is no running event loop; call it from inside of onelane::run()"),
    }
}

/// Tasks of one loop are awaited in that loop.
///
/// # Panics
///
/// If a loop is running on this thread, and it is not the task's.
#[track_caller]
#[inline]
pub(crate) fn check_loop(kernel: &Kernel, task: &Header) {
    assert!(
        kernel.has(task.token()),
        "task {:?} belongs to another event loop; await it there, and send its result over a channel",
        task.name()
    );
}

/// Cancels a task, whatever loop it belongs to. False if it has ended.
pub(crate) fn cancel(task: &AnyTask) -> bool {
    // A loop that has gone has left no task alive (END-1).
    context::loop_of(task.header().token()).is_some_and(|kernel| kernel.cancel(task))
}

/// An await of the task is dropped, which cancels it, unless it is ending already: what it still does is its own cleanup. Nor
/// does a task cancel itself by that.
pub(crate) fn abandon(task: &AnyTask) {
    let header = task.header();
    if header.is_done() || header.is_ending() {
        return;
    }
    if let Some(kernel) = context::loop_of(header.token()).filter(|kernel| !kernel.table.is_running(header)) {
        kernel.cancel(task);
    }
}

/// Takes somebody out who waits for a task, whatever loop it belongs to. None if he was told already, or taken out. What
/// comes back is to be dropped where nothing is borrowed, and may be foreign.
pub(crate) fn remove_waiter(task: &AnyTask, key: WaiterKey) -> Option<Then> {
    let header = task.header();
    let kernel = if header.is_done() { None } else { context::loop_of(header.token()) };
    kernel?.table.remove_waiter(header, key)
}

/// Takes one request to end back, whatever loop the task belongs to. Returns how many are left.
pub(crate) fn uncancel(task: &Header) -> u32 {
    match context::loop_of(task.token()) {
        Some(kernel) if !task.is_done() => kernel.uncancel(task),
        _ => task.cancelling.get(),
    }
}

/// What a leaf future keeps of the record that its task waits for it: from the first poll that was pending until it is ready or
/// dropped. Of several futures in one task, all that have begun are recorded, whichever was polled last.
#[derive(Debug)]
pub(crate) struct Record {
    key: Option<WaitKey>,
    /// Where it was polled last; before that, and behind a `Box<dyn Future>`, where it was made.
    place: &'static Location<'static>,
}

impl Record {
    /// Of a leaf that is made where the caller was called.
    #[track_caller]
    #[inline]
    pub(crate) fn here() -> Self {
        Record { key: None, place: Location::caller() }
    }

    /// The leaf was polled in the running task, where the caller was called, and is pending.
    #[track_caller]
    #[inline]
    pub(crate) fn begin(&mut self, kernel: &Kernel, wait: impl FnOnce() -> Wait) {
        let place = place_of(Location::caller(), self.place);
        if self.key.is_some() && self.goes_on(kernel, place) {
            return;
        }
        self.place = place;
        self.key = kernel.table.begin_wait(wait(), place);
    }

    /// The same for a first poll that waits for a task, and enters the waker among those who do.
    #[track_caller]
    #[inline]
    pub(crate) fn begin_join(&mut self, kernel: &Kernel, awaited: &Header, waker: Waker) -> WaiterKey {
        debug_assert!(self.key.is_none(), "a wait was begun twice");
        self.place = place_of(Location::caller(), self.place);
        let (waiter, key) = kernel.table.begin_join(awaited, waker, self.place);
        self.key = key;
        waiter
    }

    /// It was polled before. False if that was in another task, from which it was moved here.
    #[cold]
    #[inline(never)]
    fn goes_on(&mut self, kernel: &Kernel, place: &'static Location<'static>) -> bool {
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
        if let Some(key) = self.key.take() {
            end_wait(key);
        }
    }
}

/// In a function of its own, since most leaves are ready at once and have no record.
#[inline(never)]
fn end_wait(key: WaitKey) {
    // On another thread, or after the loop, there is nothing to be found, and nothing is lost.
    if let Some(kernel) = context::loop_of(key.task) {
        kernel.table.end_wait(key);
    }
}

/// The place to be shown for a leaf that was polled at `polled_at`: there, unless that is inside of a library that polls for
/// others, as `Box<dyn Future>` does. Then it is `known`, an earlier poll of the same leaf, or where it was made.
#[inline]
pub(crate) fn place_of(
    polled_at: &'static Location<'static>,
    known: &'static Location<'static>,
) -> &'static Location<'static> {
    // An await mostly stands in the file in which its leaf is made.
    if ptr::eq(polled_at.file(), known.file()) || is_shown(polled_at, known) { polled_at } else { known }
}

/// The same file may be named in two places.
#[inline(never)]
fn is_shown(polled_at: &'static Location<'static>, known: &Location<'_>) -> bool {
    polled_at.file() == known.file() || !is_in_library(polled_at)
}

/// The number of pairs of places that are remembered.
const PAIRS: usize = 16;

/// A place that was looked at, and what was found.
type Looked = Option<(&'static Location<'static>, bool)>;

thread_local! {
    /// Places that were looked at, each in the pair of its address: a leaf in a box is polled at the same one again and again, and
    /// beside it another at its own. Two that are polled by turns may have the same pair, so it has room for both.
    static LAST_LOOKS: [Cell<[Looked; 2]>; PAIRS] = const { [const { Cell::new([None; 2]) }; PAIRS] };
}

/// Whether a place is in the standard library, in this crate, or in any that was downloaded.
fn is_in_library(place: &'static Location<'static>) -> bool {
    let pair = ptr::from_ref(place).addr() / size_of::<Location<'_>>() % PAIRS;
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
    // Folders of the standard library, of crates from a registry, and of crates from a repository, with either separator.
    let parts = ["library?core?src", "library?alloc?src", "library?std?src", "registry?src", "git?checkouts"];
    // Older compilers name the places of what is generic by the whole path.
    const WHOLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/");
    file.starts_with(ours)
        || file.starts_with(WHOLE)
        || parts.iter().any(|part| has_part(file.as_bytes(), part.as_bytes()))
}

fn has_part(file: &[u8], part: &[u8]) -> bool {
    let is_same = |(one, other): (&u8, &u8)| one == other || (*other == b'?' && matches!(one, b'/' | b'\\'));
    file.windows(part.len()).any(|window| window.iter().zip(part).all(is_same))
}

/// Whether a waker is the running task's own.
pub(crate) fn wakes_running(waker: &Waker) -> bool {
    context::running().is_some_and(|kernel| kernel.table.wakes_running(waker))
}

/// The running task, or the block that is being polled, ends as cancelled from where it stands. If a
/// `catch_cancel` beside this place catches that, the waker brings the next poll here.
pub(crate) fn raise(context: &Context<'_>) {
    put_raised();
    if !wakes_running(context.waker()) {
        context.waker().wake_by_ref();
    }
}

/// What `take_raised` has taken stood beside the block that was polled meanwhile.
pub(crate) fn put_raised() {
    context::running().iter().for_each(|kernel| kernel.table.raise());
}

/// Whether what was polled just now has raised. Asked once.
pub(crate) fn take_raised() -> bool {
    context::running().is_some_and(|kernel| kernel.table.take_raised())
}

/// What the future of a scope keeps of its place in a task: from its first poll until it is left or dropped.
#[derive(Debug, Default)]
pub(crate) struct Place(Option<ScopeKey>);

impl Place {
    /// The scope is polled in the running task. In each task that it comes to, it is entered last. Returns whether it came
    /// from another.
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

    /// Whether it was entered in another task than the running one.
    pub(crate) fn has_moved(&self) -> bool {
        self.0.is_some_and(|key| context::running().is_some_and(|kernel| !kernel.table.is_entered_here(key)))
    }

    /// Whether it is polled for nothing: it has not begun in the running task, and what is around it is polled only so that
    /// something beside it drops its body. If that is caught, it is polled again.
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

    /// Whether it is not polled by itself now, since the task, or the part of it around this place, unwinds.
    pub(crate) fn is_frozen(&self) -> bool {
        let task = self.0.and_then(|key| Some((context::loop_of(key.task)?.table.task(key.task)?, key.number)));
        task.is_some_and(|(task, number)| task.header().is_frozen(number))
    }

    pub(crate) fn is_entered(&self) -> bool {
        self.0.is_some()
    }

    /// Returns the loop in which it was, if that is still there.
    pub(crate) fn leave(&mut self) -> Option<Rc<Kernel>> {
        let key = self.0.take()?;
        let kernel = context::loop_of(key.task)?;
        kernel.table.leave_scope(key);
        Some(kernel)
    }

    /// The future of the scope is dropped. If the task unwinds, the scope is left to that: then the answer is true.
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
