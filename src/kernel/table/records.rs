//! What a task can wait for, and what happens when a task ends: the contents of `waits.rs` and `waiters.rs`.

use crate::kernel::Kernel;
use crate::kernel::callbacks::calls::Call;
use crate::kernel::cell::{AnyTask, Header};
use crate::kernel::token::Token;
use alloc::rc::{Rc, Weak};
use alloc::vec::Vec;
use core::num::NonZeroU64;
use core::panic::Location;
use core::task::Waker;

/// Where the cancellation of a waiting task continues.
pub(crate) enum Link {
    /// At a task that is awaited.
    Task(AnyTask),
    /// At an object, such as a promise, whose `interrupt` is called.
    On(Rc<dyn Awaited>),
}

impl Link {
    pub(crate) fn task(&self) -> Option<&AnyTask> {
        match self {
            Link::Task(task) => Some(task),
            Link::On(_) => None,
        }
    }

    pub(crate) fn object(&self) -> Option<&Rc<dyn Awaited>> {
        match self {
            Link::Task(_) => None,
            Link::On(awaited) => Some(awaited),
        }
    }

    pub(crate) fn into_task(self) -> Option<AnyTask> {
        match self {
            Link::Task(task) => Some(task),
            Link::On(_) => None,
        }
    }
}

/// What a task waits for, as its leaf futures record it. Sleeps are not recorded here: their timers
/// name the sleeping task.
#[derive(Clone)]
pub(crate) enum Wait {
    /// The end of a task: a link, along which a cancellation spreads.
    Task(Token),
    /// Something outside of the loop, such as a signal, named by a number. The function makes the object when other code
    /// requests it. So the waiting future owns no object, and is `Send`.
    Outside(fn(i32) -> Rc<dyn Awaited>, i32),
    /// A place in a line of waiters: the number of the line, and the index there. Not an `InLine`, so
    /// that the two fill what would be padding.
    In(Weak<dyn Lines>, u8, u32),
    /// Anything else. A weak reference, as in `In`: the waiting future owns the object, and this
    /// record must not keep it alive.
    On(Weak<dyn Awaited>),
}

impl Wait {
    /// The end of a task that a `Remote` has spawned, in any loop. No cancellation spreads to it.
    pub(crate) const ELSEWHERE: Wait = Wait::Task(Token::NOBODY);

    /// The object that is waited for, if it still exists. `None` for the end of a task.
    pub(crate) fn upgrade(&self) -> Option<Rc<dyn Awaited>> {
        match self {
            Wait::Task(_) => None,
            Wait::In(lines, line, index) => Some(lines.upgrade()?.awaited(InLine { line: *line, index: *index })),
            Wait::On(awaited) => awaited.upgrade(),
            Wait::Outside(make, number) => Some(make(*number)),
        }
    }
}

/// A recorded wait.
#[derive(Clone)]
pub(crate) struct WaitEntry {
    pub(crate) wait: Wait,
    /// The source location of the await.
    pub(crate) place: &'static Location<'static>,
}

/// What a task can wait for, except time and a single task: several tasks, a lock, a promise.
pub(crate) trait Awaited {
    /// Where a cancellation of the waiting task continues, in this order. `None` if the
    /// cancellation does not spread from the waiting task.
    fn links(&self) -> Option<Vec<Link>> {
        None
    }

    /// The awaited tasks, including those to which a cancellation does not spread.
    fn tasks(&self) -> Vec<AnyTask> {
        self.links().into_iter().flatten().filter_map(Link::into_task).collect()
    }

    /// The tasks for whose ends the waiting task waits even when it is cancelled.
    fn outwaited(&self) -> Vec<AnyTask> {
        self.links().into_iter().flatten().filter_map(Link::into_task).collect()
    }

    /// The tasks that hold what is waited for.
    fn holders(&self) -> Vec<Token> {
        Vec::new()
    }

    /// The tasks that took the resource that is waited for, even if they have passed it on. Empty
    /// if the resource is on its way to the next task, or may come from outside. `None` if any code
    /// may provide it, or if only the tasks that are awaited can.
    fn takers(&self) -> Option<Vec<Token>> {
        None
    }

    /// The task that took the whole resource, if a single task did.
    fn taker(&self) -> Option<Token> {
        None
    }

    /// The moments when the resource was taken, as numbers from the counter of waits. By such a
    /// number, `Header::is_inside` finds the scopes in which the taker then was.
    fn taken_at(&self) -> Vec<u64> {
        Vec::new()
    }

    /// The only task that can provide the resource, if that is certain.
    fn sole_holder(&self) -> Option<Token> {
        None
    }

    /// Called when the waiting task was cancelled, or a timeout around the wait has expired. The
    /// waiting future will be dropped, so it must be given nothing from now on. Called where
    /// nothing is borrowed; this method can wake tasks.
    fn interrupt(&self) {}

    /// Called when the cancellation was revoked before the waiting future was dropped.
    fn resume(&self) {}

    /// Called when the waiting future will not be dropped soon: a cleanup of its task runs first,
    /// or the task waits for other tasks. What the future was already given (its gift) goes to
    /// other waiters. Called where nothing is borrowed; this method can wake tasks.
    fn yield_gift(&self) {}

    /// The functions for tasks that await objects. They are found through an object, so that a
    /// program that awaits only tasks and sleeps does not contain them.
    fn functions(&self) -> &'static ForObjects {
        &FOR_OBJECTS
    }

    /// Writes what is waited for, for reports.
    fn describe(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result;
}

/// See `Awaited::functions`.
pub(crate) struct ForObjects {
    pub(in crate::kernel) links: fn(&[Link], bool) -> Option<Vec<Link>>,
    pub(in crate::kernel) release_waits: fn(&Kernel, &Header),
    pub(in crate::kernel) yield_gifts: fn(&Kernel, &Header),
}

static FOR_OBJECTS: ForObjects =
    ForObjects { links, release_waits: Kernel::release_all_waits, yield_gifts: Kernel::yield_gifts };

/// The links of everything that a task awaits, in order; `None` if there is no task, and no object
/// with links. If `interrupts`, then calls `interrupt` of each object.
fn links(awaited: &[Link], interrupts: bool) -> Option<Vec<Link>> {
    let mut links: Option<Vec<Link>> = None;
    for link in awaited {
        match link {
            Link::Task(task) => links.get_or_insert_default().push(Link::Task(task.clone())),
            Link::On(awaited) => {
                if let Some(on) = awaited.links() {
                    links.get_or_insert_default().extend(on);
                }
            }
        }
    }
    if interrupts {
        awaited.iter().filter_map(Link::object).for_each(|awaited| awaited.interrupt());
    }
    links
}

/// A primitive with lines of waiters. A waiter needs no `Awaited` object of its own until other
/// code requests one.
pub(crate) trait Lines {
    fn awaited(self: Rc<Self>, at: InLine) -> Rc<dyn Awaited>;
}

/// A waiter of a primitive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InLine {
    pub(crate) line: u8,
    pub(crate) index: u32,
}

/// What happens when a task ends.
pub(crate) enum Then {
    /// Wake the task that awaits it with its own waker.
    Resume(Token),
    /// Wake by another waker.
    Wake(Waker),
    /// Queue a callback.
    Queue(Call),
}

/// Names one waiter of one task: a callback for ever, an await only while the await is registered.
/// Packed, because join futures contain it, and a quarter of it would be padding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(Rust, packed(4))]
pub(crate) struct WaiterKey {
    pub(in crate::kernel) number: NonZeroU64,
    pub(in crate::kernel) index: u32,
}

/// Names one wait of one task, for ever.
///
/// Packed, because waiting futures contain it, and a sixth of it would be padding.
#[derive(Clone, Copy, Debug)]
#[repr(Rust, packed(4))]
pub(crate) struct WaitKey {
    pub(crate) task: Token,
    pub(super) number: NonZeroU64,
    pub(super) index: u32,
}
