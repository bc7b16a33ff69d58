//! What a task stores about its scopes and its cancellation requests. Few tasks have any of it.

use crate::kernel::cancel::scopes::{Region, Scope, Scopes};
use crate::kernel::cancel::unwind::{UNWINDER, Unwinder};
use crate::kernel::cell::Header;
use crate::kernel::{Token, WaiterKey};
use alloc::rc::{Rc, Weak};
use alloc::vec::Vec;
use core::mem::ManuallyDrop;

#[derive(Default)]
pub(in crate::kernel) struct Record {
    /// Set when the task enters its first scope. Until then, `scopes` is empty.
    unwinder: Option<&'static Unwinder>,
    /// Dropped by a function of the unwinder.
    scopes: ManuallyDrop<Scopes>,
    /// While the task is cancelled and not polled: the task for whose end it waits, and its place
    /// among that task's waiters.
    link: Option<(Token, WaiterKey)>,
    /// If a request came while the task was in a poll: the last number given out before the request.
    request: Option<u64>,
    /// This task is a cleanup that was handed over. Its first cancellation request only counts.
    is_spared: bool,
    /// Number of requests that only counted.
    spared: u32,
    /// The latest turn in which the program requested the task's end by a handle while it waited
    /// for tasks.
    asked_in: u64,
    /// Whether the program has requested the end twice in one turn.
    is_pressed: bool,
    /// Whether a future in which the task has waited was moved to another task.
    has_moved: bool,
    /// The future of the task is in a scope that a step of the task has not reached. So the wakers in
    /// the future may have been used up.
    is_missed: bool,
}

impl Drop for Record {
    fn drop(&mut self) {
        if let Some(unwinder) = self.unwinder {
            (unwinder.drop_scopes)(core::mem::take(&mut *self.scopes));
        }
    }
}

impl Header {
    /// Records that a future in which the task has waited was moved to another task, with
    /// everything that the future has.
    pub(in crate::kernel) fn mark_moved(&self) {
        self.cancel_record(|record| record.has_moved = true);
    }

    pub(crate) fn has_moved_on(&self) -> bool {
        self.if_cancel_record(|record| record.has_moved).unwrap_or(false)
    }

    /// Sets whether the last step of this child has not reached its scope.
    pub(crate) fn set_missed(&self, is_missed: bool) {
        if is_missed != self.is_missed() {
            self.cancel_record(|record| record.is_missed = is_missed);
        }
    }

    pub(crate) fn is_missed(&self) -> bool {
        self.if_cancel_record(|record| record.is_missed).unwrap_or(false)
    }

    /// Enters a scope, behind the scopes that the task has entered before. Returns its number.
    pub(in crate::kernel) fn add_scope(&self, number: u64, scope: Weak<dyn Scope>) {
        let requests = self.requests();
        self.cancel_record(|record| {
            record.unwinder = Some(&UNWINDER);
            record.scopes.add(number, scope, requests);
        });
    }

    /// Leaves the scope. The result is to be dropped where nothing is borrowed.
    #[inline(never)]
    pub(in crate::kernel) fn remove_scope(&self, number: u64) -> Option<Rc<dyn Scope>> {
        self.scopes(|scopes| scopes.remove(number)).flatten()
    }

    /// The future of a scope is dropped. Returns true if an unwinding is in progress there; its
    /// driver then continues with the scope.
    pub(crate) fn leave_to_driver(&self, number: u64, scope: impl FnOnce() -> Rc<dyn Scope>) -> bool {
        let is_driven = self.scope(number).is_some() && self.driver_over(number).is_some();
        if is_driven {
            let scope = scope();
            let before = self.scopes(|scopes| scopes.own(number, scope)).flatten();
            drop(before);
        }
        is_driven
    }

    /// The driver of the unwinding because of which the item with this number is not polled.
    pub(crate) fn driver_over(&self, number: u64) -> Option<Region> {
        match self.unwinder() {
            Some(unwinder) => (unwinder.driver_over)(self, number),
            None => self.is_unwinding().then_some(Region::Task),
        }
    }

    /// None if the task has never entered a scope.
    pub(in crate::kernel) fn unwinder(&self) -> Option<&'static Unwinder> {
        self.if_cancel_record(|record| record.unwinder)?
    }

    pub(crate) fn scope(&self, number: u64) -> Option<Rc<dyn Scope>> {
        self.scopes(|scopes| scopes.scope(number)).flatten()
    }

    /// Sets whether a block drives the unwinding of what is inside it.
    pub(crate) fn set_driving(&self, number: u64, drives: bool) {
        self.scopes(|scopes| scopes.set_driving(number, drives));
    }

    /// A scope requests the interruption of what is inside it.
    pub(crate) fn ask(&self, number: u64) {
        self.scopes(|scopes| scopes.ask(number));
    }

    /// Whether code outside a scope has requested an interruption since the scope was entered.
    pub(crate) fn is_asked_from_outside(&self, number: u64) -> bool {
        let requests = self.requests();
        self.scopes(|scopes| scopes.is_asked_from_outside(number, requests)).unwrap_or(false)
    }

    /// Whether a scope of the task has requested an interruption.
    pub(in crate::kernel) fn has_asking_scopes(&self) -> bool {
        self.unwinder().is_some_and(|unwinder| (unwinder.any_asks)(self))
    }

    /// The outermost scope around a number that has requested an interruption.
    pub(crate) fn asking_around(&self, number: u64) -> Option<Rc<dyn Scope>> {
        self.scopes(|scopes| scopes.asking_around(number)).flatten()
    }

    /// Whether the item with this number is inside the region.
    pub(crate) fn is_inside(&self, region: Region, number: u64) -> bool {
        region == Region::Task || self.unwinder().is_some_and(|unwinder| (unwinder.is_inside)(self, number, region))
    }

    /// Whether a cleanup runs inside this scope, or the scope itself cleans up.
    pub(crate) fn cleans_inside(&self, number: u64) -> bool {
        self.scopes(|scopes| scopes.cleans_inside(number)).unwrap_or(false)
    }

    /// Whether the item with this number is not polled, because the task, or a part of it, unwinds.
    pub(crate) fn is_frozen(&self, number: u64) -> bool {
        self.driver_over(number).is_some()
    }

    /// The scopes that, before they unwind, wait for the tasks that are awaited inside them.
    pub(in crate::kernel) fn asking_scopes(&self) -> Vec<u64> {
        self.scopes(|scopes| scopes.asking()).unwrap_or_default()
    }

    /// Whether a scope in the polled part of this task has a time limit that may still expire.
    pub(in crate::kernel) fn is_timed(&self) -> bool {
        let numbers: Vec<u64> = self.scopes(|scopes| scopes.numbers().collect()).unwrap_or_default();
        numbers
            .into_iter()
            .any(|number| !self.is_frozen(number) && self.scope(number).is_some_and(|scope| scope.is_timed()))
    }

    /// Whether the region's own driver unwinds it: the task, or the block. Returns false for a block
    /// that an outer driver has taken over.
    pub(crate) fn is_driving(&self, region: Region) -> bool {
        match region {
            Region::Task => self.is_unwinding(),
            Region::Inside(number) => self.scopes(|scopes| scopes.is_driving(number)).unwrap_or(false),
        }
    }

    /// Lends the scopes to `act`, which must call no user code. `None` if the task has no record.
    #[inline(never)]
    pub(in crate::kernel) fn scopes<R>(&self, act: impl FnOnce(&mut Scopes) -> R) -> Option<R> {
        self.if_cancel_record(|record| act(&mut record.scopes))
    }

    /// Forgets the task's scopes. Dropping what they hold may run user code.
    pub(in crate::kernel) fn forget_scopes(&self) {
        if let Some(unwinder) = self.unwinder() {
            (unwinder.forget_scopes)(self);
        }
    }

    /// Sets the task for whose end this task waits while it is cancelled and not polled. Returns
    /// the previous one.
    pub(in crate::kernel) fn replace_link(&self, link: Option<(Token, WaiterKey)>) -> Option<(Token, WaiterKey)> {
        match link {
            Some(_) => self.cancel_record(|record| core::mem::replace(&mut record.link, link)),
            None => self.if_cancel_record(|record| record.link.take())?,
        }
    }

    /// The program requests the task's end in this turn, while the task waits for tasks.
    pub(in crate::kernel) fn note_asked(&self, turn: u64) {
        self.cancel_record(|record| {
            record.is_pressed |= record.asked_in == turn;
            record.asked_in = turn;
        });
    }

    /// Whether the program has requested its end twice in one turn.
    pub(in crate::kernel) fn is_pressed(&self) -> bool {
        self.if_cancel_record(|record| record.is_pressed).unwrap_or(false)
    }

    /// A sleep, or a wait for a socket, has ended, and its future was not polled since. This is noted because a group that is
    /// interrupted before that poll must know that something waits beside it.
    ///
    /// A task that has never entered a scope has no memory for it. That is a gap only if the task
    /// enters its first scope, a group, in its next step, raises a cancellation in the same step,
    /// and does not poll the sleep in this step. `join!`, `select` and sets poll it; a hand-written
    /// future that leaves out a branch that is ready may see this branch polled once more.
    #[inline]
    pub(in crate::kernel) fn note_sleep(&self, number: u64, turn: u64) {
        if let Some(unwinder) = self.unwinder() {
            (unwinder.note_sleep)(self, number, turn);
        }
    }

    /// The numbers of the sleeps that ended while they were frozen.
    pub(in crate::kernel) fn frozen_sleeps_over(&self) -> Vec<u64> {
        self.scopes(|scopes| scopes.slept_frozen.clone()).unwrap_or_default()
    }

    pub(in crate::kernel) fn note_request(&self, number: u64) {
        self.cancel_record(|record| record.request = Some(number));
    }

    /// If a request came while the task was in a poll: the last number given out before the request.
    pub(in crate::kernel) fn request(&self) -> Option<u64> {
        self.if_cancel_record(|record| record.request).flatten()
    }

    /// The latest number from before the request that now reaches the task. If the request came
    /// while the task was not running, all its scopes are older than the request.
    pub(in crate::kernel) fn take_request(&self) -> u64 {
        self.if_cancel_record(|record| record.request.take()).flatten().unwrap_or(u64::MAX)
    }

    /// The first request will only count, and change nothing.
    pub(in crate::kernel) fn spare(&self) {
        self.cancel_record(|record| record.is_spared = true);
    }

    /// Whether this request only counts. True once.
    pub(in crate::kernel) fn take_spared(&self) -> bool {
        let take = |record: &mut Record| {
            let is_spared = core::mem::take(&mut record.is_spared);
            record.spared += u32::from(is_spared);
            is_spared
        };
        self.if_cancel_record(take).unwrap_or(false)
    }

    /// Number of requests, without those that only counted.
    pub(crate) fn requests(&self) -> u32 {
        let spared = self.if_cancel_record(|record| record.spared).unwrap_or(0);
        self.cancelling.get().saturating_sub(spared)
    }
}
