//! What tasks wait for, and who waits for them: nodes of lists that begin in the tasks' headers.

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

/// Where a cancellation goes on.
pub(crate) enum Link {
    /// To a task, whose end is waited for.
    Task(AnyTask),
    /// To something that is interrupted by that, and then calls back.
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

/// What a task waits for, as its leaf futures have it. Sleeps are not among these: their timers say who sleeps.
#[derive(Clone)]
pub(crate) enum Wait {
    /// The end of a task: a link, on which a cancellation goes on.
    Task(Token),
    /// Anything else. Not owned: what a task waits for is its future's, and must not outlive it in here.
    On(Weak<dyn Awaited>),
}

impl Wait {
    /// The end of a task that a `Remote` has spawned, in this loop or in another, which is no link.
    pub(crate) const ELSEWHERE: Wait = Wait::Task(Token::NOBODY);

    /// What has to be told what becomes of the task that waits.
    pub(in crate::kernel) fn upgrade(&self) -> Option<Rc<dyn Awaited>> {
        match self {
            Wait::Task(_) => None,
            Wait::On(awaited) => awaited.upgrade(),
        }
    }
}

/// A wait that has begun.
#[derive(Clone)]
pub(crate) struct WaitEntry {
    pub(crate) wait: Wait,
    /// Where it is awaited.
    pub(crate) place: &'static Location<'static>,
}

/// What a task can wait for other than a moment and one task: several tasks, a lock, a promise.
pub(crate) trait Awaited {
    /// To what a cancellation of the waiting task goes on, in this order. None if it stays with that task.
    fn links(&self) -> Option<Vec<Link>> {
        None
    }

    /// The tasks that are awaited, also those to which a cancellation does not go on.
    fn tasks(&self) -> Vec<AnyTask> {
        self.links().into_iter().flatten().filter_map(Link::into_task).collect()
    }

    /// The tasks whose ends the waiting task waits for also when it is cancelled.
    fn outwaited(&self) -> Vec<AnyTask> {
        self.links().into_iter().flatten().filter_map(Link::into_task).collect()
    }

    /// The tasks that have what is waited for.
    fn holders(&self) -> Vec<Token> {
        Vec::new()
    }

    /// The tasks that took what is waited for, though they may have passed it on since; nobody, if it is on its way from one to the
    /// next, or may come from elsewhere too. None if it may come from anybody, or from the tasks that are awaited alone.
    fn takers(&self) -> Option<Vec<Token>> {
        None
    }

    /// The one task that took all of it, if it was one.
    fn taker(&self) -> Option<Token> {
        None
    }

    /// When it was taken: numbers among those of the waits, each of which lies inside of the scopes in which it was taken.
    fn taken_at(&self) -> Vec<u64> {
        Vec::new()
    }

    /// The one task without which it cannot come, if that is certain.
    fn sole_holder(&self) -> Option<Token> {
        None
    }

    /// The waiting task was cancelled, or a timeout around the wait has expired: the future that waits will be dropped, so
    /// nothing is to be given to it from now on. Called where nothing is borrowed; may wake.
    fn interrupt(&self) {}

    /// The cancellation was taken back before the future was dropped.
    fn resume(&self) {}

    /// The future that waits is not dropped soon: it stands beside a cleanup, or its task waits for its children. What it was
    /// given meanwhile goes to others. Called where nothing is borrowed; may wake.
    fn yield_gift(&self) {}

    /// What is waited for, for people.
    fn describe(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result;
}

/// What is to be done at a task's end.
pub(crate) enum Then {
    /// Wake whoever awaits.
    Wake(Waker),
    /// Queue a callback.
    Queue(Call),
}

/// Names one who waits for a task, among those who wait for that task, for ever. Packed, since whoever waits keeps it, and much
/// of it would be padding.
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
/// Packed, since whoever waits keeps it, and much of it would be padding.
#[derive(Clone, Copy, Debug)]
#[repr(Rust, packed(4))]
pub(crate) struct WaitKey {
    pub(crate) task: Token,
    number: NonZeroU64,
    index: u32,
}

impl TaskTable {
    /// The running task waits for this, until `end_wait`. None if no task is running.
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

    /// The running task, if any is, waits for another, and `waker` is woken at that one's end.
    #[inline]
    pub(crate) fn begin_join(
        &self,
        awaited: &Header,
        waker: Waker,
        place: &'static Location<'static>,
    ) -> (WaiterKey, Option<WaitKey>) {
        debug_assert!(!awaited.is_done(), "DONE-1: somebody waits for a task that has ended");
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

    /// A wait of the running task goes on at another place.
    pub(crate) fn move_wait(&self, WaitKey { number, index, .. }: WaitKey, place: &'static Location<'static>) {
        self.with(|table| {
            if let Some(wait) = table.waits.get_mut(index).filter(|wait| wait.number == number) {
                wait.value.place = place;
            }
        });
    }

    /// The running task takes something for which others will wait: who it is, and a number of that moment.
    pub(crate) fn take(&self) -> (Token, u64) {
        self.with(|table| table.numbered += 1);
        (self.running.get(), self.numbered())
    }

    /// It waits for this no longer. If the task has ended, nothing is left to be done.
    #[inline]
    pub(crate) fn end_wait(&self, key: WaitKey) {
        let Some(task) = self.row(key.task) else { return };
        // SAFETY: the row holds the task it names.
        let header = unsafe { task.as_ref() };
        // What is removed owns nothing, so no foreign code runs.
        let _ended = self.with(|table| remove(&mut table.waits, &header.waits, key.index, key.number));
        #[cfg(feature = "probe")]
        if let Some(begun) = _ended {
            tell!(self, EventKind::WaitEnd { task: TaskId(header.id), wait: { key.number }.get(), at: begun.place });
        }
        if { key.task } != self.running.get() {
            self.ended_elsewhere(header);
        }
    }

    /// Whether the wait is the running task's.
    #[inline]
    pub(crate) fn waits_here(&self, WaitKey { task, .. }: WaitKey) -> bool {
        task == self.running.get()
    }

    /// What a task waits for, with the numbers, in the order in which it began. Nobody may begin or end a wait meanwhile.
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

    /// Enters somebody among those who wait for a living task.
    #[inline]
    pub(crate) fn add_waiter(&self, task: &Header, then: Then) -> WaiterKey {
        debug_assert!(!task.is_done(), "DONE-1: somebody waits for a task that has ended");
        self.with(|table| {
            let number = table.number();
            let index = push(&mut table.waiters, &task.waiters, Numbered { number, value: then });
            WaiterKey { number, index }
        })
    }

    /// Takes a waiter out, to be dropped where nothing is borrowed. None if it has gone.
    #[inline]
    pub(crate) fn remove_waiter(&self, task: &Header, key: WaiterKey) -> Option<Then> {
        self.with(|table| remove(&mut table.waiters, &task.waiters, key.index, key.number))
    }

    /// Puts another waker in the place of a waiter. What comes back is to be dropped where nothing is borrowed.
    pub(crate) fn change_waiter(&self, WaiterKey { number, index }: WaiterKey, mut then: Then) -> Then {
        self.with(|table| {
            if let Some(waiter) = table.waiters.get_mut(index).filter(|waiter| waiter.number == number) {
                std::mem::swap(&mut waiter.value, &mut then);
            }
        });
        then
    }

    /// Whether the waiter wakes the same as `waker`.
    #[inline]
    pub(crate) fn waiter_wakes(&self, WaiterKey { number, index }: WaiterKey, waker: &Waker) -> bool {
        self.with(|table| {
            let waiter = table.waiters.get(index).filter(|waiter| waiter.number == number);
            waiter.is_some_and(|waiter| matches!(&waiter.value, Then::Wake(old) if wakes_the_same(old, waker)))
        })
    }

    /// Takes the first of those who wait for a task.
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

    /// How many waits are recorded, of all tasks.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn records(&self) -> usize {
        self.with(|table| table.waits.len())
    }

    /// The number of a wait that stands elsewhere.
    #[inline]
    pub(crate) fn next_number(&self) -> u64 {
        self.with(|table| table.number()).get()
    }

    /// The number of the last wait, waiter or scope: those that come later have higher ones.
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

/// Takes out the node of this number, if it is still there. The number says that it stands in this list.
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
