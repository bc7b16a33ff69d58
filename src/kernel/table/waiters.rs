//! The waiters of tasks: what the end of a task wakes or queues, in the order of registration.
#![allow(unsafe_code, reason = "finds the table uncounted, and reads the header of the running task")]

use crate::kernel::cell::Header;
use crate::kernel::explore::touched::woken;
use crate::kernel::explore::{Mode, Of, touch};
use crate::kernel::table::TaskTable;
use crate::kernel::table::records::{Then, Wait, WaitEntry, WaitKey, WaiterKey};
use crate::kernel::table::store::{FIRST, Item, Record, Side};
use crate::kernel::table::waker::{home, token_of, wakes_the_same};
use crate::kernel::{Kernel, Token, clone_uncounted};
use core::num::NonZeroU64;
use core::panic::Location;
use core::task::Waker;

impl WaiterKey {
    /// The key of every await that is the first to wait for a task. They can share one key, because an
    /// await that is over does not use its key any more.
    pub(crate) const FIRST: WaiterKey = WaiterKey { number: NonZeroU64::MAX, index: FIRST };

    /// If `begin_first_join` has begun the await, and the wait has not ended: the key of the wait. Other
    /// functions know the waiter as `FIRST`.
    pub(crate) fn wait_of_join(self, task: &Header) -> Option<WaitKey> {
        let awaiter = task.awaiter().filter(|_| self.index == JOINED)?;
        Some(WaitKey { task: awaiter, number: self.number, index: FIRST })
    }
}

/// Instead of the index of a waiter: `begin_first_join` has begun the await, and the number is that of
/// the wait.
const JOINED: u32 = u32::MAX - 1;

/// Begins to await a task in the usual case: the running task waits for nothing else, and no other
/// code awaits `task`. Records the wait, registers the running task as the waiter, and sets one key for
/// both. The end of `task` mostly ends the wait too (`tell_waiters`).
///
/// In all other cases this changes nothing. Everything here is inlined, and what seldom happens is
/// left to the general functions or comes last, so few registers have to be saved: this takes half as
/// many instructions as the general functions.
#[inline(always)]
pub(crate) fn begin_first_join(
    task: &Header,
    waker: &Waker,
    key: &mut Option<WaiterKey>,
    place: &'static Location<'static>,
) -> bool {
    // SAFETY: the reference is used only in this function, and no user code is called.
    let Some(home) = (unsafe { home() }) else { return false };
    touch(Of::End, task.id, Mode::Write);
    let (awaiter, token) = (home.running.get(), task.token());
    let is_usual = Side::Waiters.is_empty(task) && home.is_of_running(waker) && home.lane.tenancy.has(token);
    if !is_usual || token == awaiter || home.is_probed() {
        return false;
    }
    let Some(header) = home.running_task() else { return false };
    // SAFETY: the row holds the task.
    let header = unsafe { header.as_ref() };
    if !Side::Waits.is_empty(header) {
        return false;
    }
    let has_begun = home.with(
        #[inline(always)]
        |table| {
            let number = table.number();
            let wait = WaitEntry { wait: Wait::Task(token), place };
            let is_put = table.records.try_put_first_wait(awaiter.slot(), Record::wait(number, wait));
            if is_put {
                header.records.set(header.records.get() | Side::Waits.first());
                *key = Some(WaiterKey { number, index: JOINED });
            }
            is_put
        },
    );
    if has_begun {
        task.set_awaiter(awaiter);
    }
    has_begun
}

impl TaskTable {
    /// Registers an await of a living task. `None` if the task has ended meanwhile: to clone the waker
    /// may run user code, and that code may run a turn, or drop the loop.
    pub(crate) fn add_awaiter(&self, task: &Header, waker: &Waker) -> Option<WaiterKey> {
        touch(Of::End, task.id, Mode::Write);
        debug_assert!(!task.is_done(), "DONE-1: a wait began for a task that has ended");
        let then = self.then_wake(waker);
        if task.is_done() {
            return None;
        }
        if !Side::Waiters.is_empty(task) {
            return Some(self.add_waiter(task, then));
        }
        match then {
            Then::Resume(awaiter) => task.set_awaiter(awaiter),
            then => self.set_first_waiter(task, then),
        }
        Some(WaiterKey::FIRST)
    }

    /// Puts a waiter with the key `WaiterKey::FIRST` into the table.
    fn set_first_waiter(&self, task: &Header, then: Then) {
        let waiter = Record::waiter(WaiterKey::FIRST.number, then);
        self.with(|table| {
            // The waiter does not need it, but a store is only freed if a number was given.
            table.number();
            *table.records.put_first(task, Side::Waiters) = Some(waiter);
        });
    }

    /// Cloning a waker may run user code, so nothing may be borrowed.
    fn then_wake(&self, waker: &Waker) -> Then {
        if self.is_of_running(waker) { Then::Resume(self.running.get()) } else { Then::Wake(clone_uncounted(waker)) }
    }

    /// Adds a waiter of a living task.
    #[inline]
    pub(crate) fn add_waiter(&self, task: &Header, then: Then) -> WaiterKey {
        touch(Of::End, task.id, Mode::Write);
        debug_assert!(!task.is_done(), "DONE-1: a wait began for a task that has ended");
        self.with(|table| {
            let number = table.number();
            if !Side::Waiters.is_empty(task) {
                let index = table.records.push_further(task, Side::Waiters, Record::waiter(number, then));
                return WaiterKey { number, index };
            }
            // Built in its place: a record that is moved there takes more instructions.
            *table.records.put_first(task, Side::Waiters) = Some(Record::waiter(number, then));
            WaiterKey { number, index: FIRST }
        })
    }

    /// Removes a waiter and returns it. The caller drops it where nothing is borrowed. `None` if
    /// the waiter was removed before.
    #[inline(never)]
    pub(crate) fn remove_waiter(&self, task: &Header, key: WaiterKey) -> Option<Then> {
        touch(Of::End, task.id, Mode::Write);
        if key == WaiterKey::FIRST {
            if let Some(awaiter) = task.take_awaiter() {
                return Some(Then::Resume(awaiter));
            }
        }
        match self.with(|table| table.records.remove(task, Side::Waiters, key.index, key.number))? {
            Item::Waiter(then) => Some(then),
            Item::Wait(_) => None,
        }
    }

    /// Changes the waker of a registered await. The place of the await in the order stays. Does nothing
    /// if the task has ended meanwhile, as in `add_awaiter`.
    pub(crate) fn change_awaiter(&self, task: &Header, key: WaiterKey, waker: &Waker) {
        touch(Of::End, task.id, Mode::Write);
        let awaiter = task.awaiter().filter(|_| key == WaiterKey::FIRST);
        let is_same = match awaiter {
            Some(awaiter) => token_of(waker) == Some(awaiter),
            None => self.with(|table| match table.records.get_mut(task, Side::Waiters, key.index, key.number) {
                Some(Item::Waiter(Then::Resume(token))) => token_of(waker) == Some(*token),
                Some(Item::Waiter(Then::Wake(old))) => wakes_the_same(old, waker),
                _ => false,
            }),
        };
        if is_same {
            return;
        }
        let mut then = self.then_wake(waker);
        if task.is_done() {
            return;
        }
        if awaiter.is_some() && awaiter == task.awaiter() {
            task.take_awaiter();
            return match then {
                Then::Resume(awaiter) => task.set_awaiter(awaiter),
                then => self.set_first_waiter(task, then),
            };
        }
        self.with(|table| {
            if let Some(Item::Waiter(old)) = table.records.get_mut(task, Side::Waiters, key.index, key.number) {
                core::mem::swap(old, &mut then);
            }
        });
        // Here, because dropping the old waker may run user code.
        drop(then);
    }

    /// Wakes the first awaiter of a task that has ended, and mostly ends its wait: then `task` has no
    /// awaiter any more. A scope must know which waits have ended and were not polled since, and a probe
    /// sees the end of a wait when it is polled. There the future ends the wait. An awaiter that enters its
    /// first scope in its next step, before it polls the await, has the gap that `Header::note_sleep` has.
    #[inline(always)]
    fn wake_from_join(&self, awaiter: Token, task: &Header) {
        self.wake_with(awaiter, |waiting| {
            woken(waiting);
            if !waiting.has_extra()
                && !self.is_probed()
                && self.with(|table| table.records.end_join(waiting, awaiter.slot(), task.token()))
            {
                task.forget_awaiter();
            }
        });
    }

    /// Takes the first waiter of a task.
    #[inline(always)]
    fn pop_waiter(&self, task: &Header) -> Option<Then> {
        match self.with(|table| table.records.pop(task, Side::Waiters))? {
            Item::Waiter(then) => Some(then),
            Item::Wait(_) => None,
        }
    }
}

impl Kernel {
    /// Notifies the waiters of a task that has ended, in the order of registration. Waiters of this
    /// loop run in the next turn at the earliest. No waiter can be added after the end: code that
    /// wants to add one finds the task done.
    #[inline]
    pub(in crate::kernel) fn tell_waiters(&self, task: &Header) {
        touch(Of::End, task.id, Mode::Write);
        if let Some(awaiter) = task.awaiter() {
            self.table.wake_from_join(awaiter, task);
        }
        if Side::Waiters.is_recorded(task) {
            self.tell_all_waiters(task);
        }
    }

    #[inline(never)]
    fn tell_all_waiters(&self, task: &Header) {
        while let Some(then) = self.table.pop_waiter(task) {
            match then {
                Then::Resume(task) => _ = self.table.wake(task),
                Then::Wake(waker) => self.wake(waker),
                Then::Queue(call) => self.queue_call(call),
            }
        }
        self.table.offer_row(task.token());
    }
}
