//! What a task can wait for, and what happens when a task ends: the contents of `waits.rs` and `waiters.rs`.

use crate::kernel::callbacks::calls::Call;
use crate::kernel::cell::AnyTask;
use crate::kernel::token::Token;
use std::num::NonZeroU64;
use std::panic::Location;
use std::rc::{Rc, Weak};
use std::task::Waker;

/// Where a cancellation continues.
pub(crate) enum Link {
    /// At a task that is awaited.
    Task(AnyTask),
    /// At an object that is interrupted, and then calls back.
    On(Rc<dyn Awaited>),
}

impl Link {
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
    /// A place in a line of waiters.
    In(Weak<dyn Lines>, InLine),
    /// Anything else. A weak reference, as in `In`: the waiting future owns the object, and this
    /// record must not keep it alive.
    On(Weak<dyn Awaited>),
}

impl Wait {
    /// The end of a task that a `Remote` has spawned, in this loop or another one. Not a link.
    pub(crate) const ELSEWHERE: Wait = Wait::Task(Token::NOBODY);

    /// The object to notify about the task that waits.
    pub(crate) fn upgrade(&self) -> Option<Rc<dyn Awaited>> {
        match self {
            Wait::Task(_) => None,
            Wait::In(lines, at) => Some(lines.upgrade()?.awaited(*at)),
            Wait::On(awaited) => awaited.upgrade(),
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
    /// Where a cancellation of the waiting task continues, in this order. `None` if it stays with
    /// that task.
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

    /// The tasks that took what is waited for, even if they have passed it on since. Empty if what
    /// is waited for is on its way to the next task, or may also come from outside. `None` if any
    /// code may provide it, or only the tasks that are awaited.
    fn takers(&self) -> Option<Vec<Token>> {
        None
    }

    /// The task that took all of it, if a single task did.
    fn taker(&self) -> Option<Token> {
        None
    }

    /// When what is waited for was taken: numbers from the counter of waits. Each number is inside
    /// the scopes in which the task took it.
    fn taken_at(&self) -> Vec<u64> {
        Vec::new()
    }

    /// The only task that can provide it, if that is certain.
    fn sole_holder(&self) -> Option<Token> {
        None
    }

    /// The waiting task was cancelled, or a timeout around the wait has expired. The waiting future
    /// will be dropped, so nothing must be handed to it from now on. Called where nothing is
    /// borrowed; may wake tasks.
    fn interrupt(&self) {}

    /// The cancellation was revoked before the future was dropped.
    fn resume(&self) {}

    /// The waiting future is not dropped soon, because it is beside a running cleanup, or its task
    /// waits for its children. What was already handed to it goes to other waiters. Called where
    /// nothing is borrowed; may wake tasks.
    fn yield_gift(&self) {}

    /// Writes what is waited for, for reports.
    fn describe(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result;
}

/// A primitive with lines of waiters. A waiter needs no object of its own until something is asked
/// about it.
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

/// Names one waiter of one task: a callback for ever, an await while it is registered. Packed, because join futures contain it, and much of it
/// would be padding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(Rust, packed(4))]
pub(crate) struct WaiterKey {
    pub(in crate::kernel) number: NonZeroU64,
    pub(in crate::kernel) index: u32,
}

/// Names one wait of one task, for ever.
///
/// Packed, because waiting futures contain it, and much of it would be padding.
#[derive(Clone, Copy, Debug)]
#[repr(Rust, packed(4))]
pub(crate) struct WaitKey {
    pub(crate) task: Token,
    pub(super) number: NonZeroU64,
    pub(super) index: u32,
}
