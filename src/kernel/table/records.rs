//! What tasks wait for, and their waiters: nodes of lists whose heads are in the tasks' headers.

use crate::kernel::callbacks::calls::Call;
use crate::kernel::cell::{AnyTask, Header};
#[cfg(feature = "probe")]
use crate::kernel::observe::probe::EventKind;
#[cfg(feature = "probe")]
use crate::kernel::observe::task_id::TaskId;
use crate::kernel::table::TaskTable;
use crate::kernel::table::lists::{List, Lists};
use crate::kernel::table::waker::wakes_the_same;
use crate::kernel::token::Token;
use std::cell::Cell;
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
    /// Anything else. A weak reference: the waiting future owns the object, and this record must
    /// not keep it alive.
    On(Weak<dyn Awaited>),
}

impl Wait {
    /// The end of a task that a `Remote` has spawned, in this loop or another one. Not a link.
    pub(crate) const ELSEWHERE: Wait = Wait::Task(Token::NOBODY);

    /// The object to notify about the task that waits.
    pub(in crate::kernel) fn upgrade(&self) -> Option<Rc<dyn Awaited>> {
        match self {
            Wait::Task(_) => None,
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

/// What happens when a task ends.
pub(crate) enum Then {
    /// Wake the task that awaits it.
    Wake(Waker),
    /// Queue a callback.
    Queue(Call),
}

/// Names one waiter of one task, for ever. Packed, because join futures contain it, and much of it
/// would be padding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(Rust, packed(4))]
pub(crate) struct WaiterKey {
    pub(in crate::kernel) number: NonZeroU64,
    pub(in crate::kernel) index: u32,
}

pub(in crate::kernel) struct Numbered<T> {
    number: NonZeroU64,
    value: T,
}

/// Names one wait of one task, for ever.
///
/// Packed, because waiting futures contain it, and much of it would be padding.
#[derive(Clone, Copy, Debug)]
#[repr(Rust, packed(4))]
pub(crate) struct WaitKey {
    pub(crate) task: Token,
    number: NonZeroU64,
    index: u32,
}

impl TaskTable {
    /// Records that the running task waits, until `end_wait`. Returns `None` if no task is running.
    #[inline]
    pub(crate) fn begin_wait(&self, wait: Wait, place: &'static Location<'static>) -> Option<WaitKey> {
        let task = self.running.get();
        // SAFETY: the row holds the task it names.
        let header = unsafe { self.row(task)?.as_ref() };
        #[cfg(feature = "probe")]
        let what = if self.probe.is_set() { self.describe(&wait) } else { String::new() };
        let key = self.with(|table| {
            let number = table.number();
            let index = push(&mut table.waits, &header.waits, Numbered { number, value: WaitEntry { wait, place } });
            WaitKey { task, number, index }
        });
        tell!(
            self,
            EventKind::WaitBegin { task: TaskId(header.id), wait: { key.number }.get(), what: &what, at: place }
        );
        Some(key)
    }

    /// Records that the running task, if any, waits for another task, and registers `waker` as a
    /// waiter of that task.
    #[inline]
    pub(crate) fn begin_join(
        &self,
        awaited: &Header,
        waker: Waker,
        place: &'static Location<'static>,
    ) -> (WaiterKey, Option<WaitKey>) {
        debug_assert!(!awaited.is_done(), "DONE-1: a wait began for a task that has ended");
        let task = self.running.get();
        // SAFETY: the row holds the task it names.
        let header = self.row(task).map(|header| unsafe { header.as_ref() });
        let keys = self.with(|table| {
            let number = table.number();
            let index = push(&mut table.waiters, &awaited.waiters, Numbered { number, value: Then::Wake(waker) });
            let waiter = WaiterKey { number, index };
            let wait = header.map(|header| {
                let (number, wait) = (table.number(), Wait::Task(awaited.token()));
                let index =
                    push(&mut table.waits, &header.waits, Numbered { number, value: WaitEntry { wait, place } });
                WaitKey { task, number, index }
            });
            (waiter, wait)
        });
        #[cfg(feature = "probe")]
        if let (Some(header), (_, Some(key))) = (header, &keys) {
            tell!(
                self,
                EventKind::WaitBegin {
                    task: TaskId(header.id),
                    wait: { key.number }.get(),
                    what: &self.describe(&Wait::Task(awaited.token())),
                    at: place,
                }
            );
        }
        keys
    }

    /// Changes the source location of a wait of the running task.
    pub(crate) fn move_wait(&self, WaitKey { number, index, .. }: WaitKey, place: &'static Location<'static>) {
        self.with(|table| {
            if let Some(wait) = table.waits.get_mut(index).filter(|wait| wait.number == number) {
                wait.value.place = place;
            }
        });
    }

    /// The running task takes something for which other tasks will wait. Returns the task, and a
    /// new number for this moment.
    pub(crate) fn take(&self) -> (Token, u64) {
        self.with(|table| table.numbered += 1);
        (self.running.get(), self.numbered())
    }

    /// Ends a wait. Does nothing if the waiting task has ended.
    #[inline]
    pub(crate) fn end_wait(&self, key: WaitKey) {
        let Some(task) = self.row(key.task) else { return };
        // SAFETY: the row holds the task it names.
        let header = unsafe { task.as_ref() };
        // The removed record owns nothing, so no user code runs.
        let _ended = self.with(|table| remove(&mut table.waits, &header.waits, key.index, key.number));
        #[cfg(feature = "probe")]
        if let Some(begun) = _ended {
            tell!(self, EventKind::WaitEnd { task: TaskId(header.id), wait: { key.number }.get(), at: begun.place });
        }
        if { key.task } != self.running.get() {
            self.ended_elsewhere(header);
        }
    }

    /// Whether the wait belongs to the running task.
    #[inline]
    pub(crate) fn waits_here(&self, WaitKey { task, .. }: WaitKey) -> bool {
        task == self.running.get()
    }

    /// The waits of a task with their numbers, in the order in which they began. No wait may begin
    /// or end during the iteration.
    pub(crate) fn waits(&self, task: &Header) -> impl Iterator<Item = (u64, WaitEntry)> {
        let mut next = task.waits.get().first();
        std::iter::from_fn(move || {
            let index = next?;
            self.with(|table| {
                next = table.waits.next(index);
                table.waits.get(index).map(|wait| (wait.number.get(), wait.value.clone()))
            })
        })
    }

    /// Adds a waiter of a living task.
    #[inline]
    pub(crate) fn add_waiter(&self, task: &Header, then: Then) -> WaiterKey {
        debug_assert!(!task.is_done(), "DONE-1: a wait began for a task that has ended");
        self.with(|table| {
            let number = table.number();
            let index = push(&mut table.waiters, &task.waiters, Numbered { number, value: then });
            WaiterKey { number, index }
        })
    }

    /// Removes a waiter and returns it, to be dropped where nothing is borrowed. `None` if the
    /// waiter is gone.
    #[inline]
    pub(crate) fn remove_waiter(&self, task: &Header, key: WaiterKey) -> Option<Then> {
        self.with(|table| remove(&mut table.waiters, &task.waiters, key.index, key.number))
    }

    /// Replaces a waiter. The old one is returned, to be dropped where nothing is borrowed.
    pub(crate) fn change_waiter(&self, WaiterKey { number, index }: WaiterKey, mut then: Then) -> Then {
        self.with(|table| {
            if let Some(waiter) = table.waiters.get_mut(index).filter(|waiter| waiter.number == number) {
                std::mem::swap(&mut waiter.value, &mut then);
            }
        });
        then
    }

    /// Whether the waiter wakes the same task as `waker`.
    #[inline]
    pub(crate) fn waiter_wakes(&self, WaiterKey { number, index }: WaiterKey, waker: &Waker) -> bool {
        self.with(|table| {
            let waiter = table.waiters.get(index).filter(|waiter| waiter.number == number);
            waiter.is_some_and(|waiter| matches!(&waiter.value, Then::Wake(old) if wakes_the_same(old, waker)))
        })
    }

    /// Takes the first waiter of a task.
    #[inline]
    pub(crate) fn pop_waiter(&self, task: &Header) -> Option<Then> {
        if task.waiters.get().is_empty() {
            return None;
        }
        self.with(|table| {
            let mut list = task.waiters.get();
            let waiter = table.waiters.pop(&mut list);
            task.waiters.set(list);
            waiter.map(|waiter| waiter.value)
        })
    }

    /// Number of recorded waits of all tasks.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn records(&self) -> usize {
        self.with(|table| table.waits.len())
    }

    /// A number for a wait that is stored elsewhere.
    #[inline]
    pub(crate) fn next_number(&self) -> u64 {
        self.with(|table| table.number()).get()
    }

    /// The latest number given to a wait, waiter, scope or timer. Later ones have higher numbers.
    pub(crate) fn numbered(&self) -> u64 {
        self.with(|table| table.numbered)
    }
}

#[inline]
pub(in crate::kernel) fn push<T>(lists: &mut Lists<Numbered<T>>, list: &Cell<List>, value: Numbered<T>) -> u32 {
    let mut nodes = list.get();
    let index = lists.push(&mut nodes, value);
    list.set(nodes);
    index
}

/// Removes the node with this number, if it still exists. If the number matches, the node is in
/// this list.
#[inline]
pub(in crate::kernel) fn remove<T>(
    lists: &mut Lists<Numbered<T>>,
    list: &Cell<List>,
    index: u32,
    number: NonZeroU64,
) -> Option<T> {
    lists.get(index).filter(|node| node.number == number)?;
    let mut nodes = list.get();
    let node = lists.remove(&mut nodes, index);
    list.set(nodes);
    Some(node.value)
}
