//! What a task keeps of its scopes, and of those who ask it to end. Few tasks have any of it.

use crate::kernel::cancel::scopes::{Region, Scope, Scopes, Unwinding};
use crate::kernel::cell::Header;
use crate::kernel::{Token, WaiterKey};
use std::rc::{Rc, Weak};

#[derive(Default)]
pub(in crate::kernel) struct Record {
    scopes: Scopes,
    /// While it is unwinding, and no step has taken it out.
    unwinding: Option<Unwinding>,
    /// While it is cancelled and not polled: the task whose end it waits for, and where it stands among those who do.
    link: Option<(Token, WaiterKey)>,
    /// The number of the sleep that was over last, and the turn in which it was.
    slept: (u64, u64),
    /// The numbers of the sleeps that were over while they were frozen.
    slept_frozen: Vec<u64>,
    /// The last number that had been given out when it was asked to end while it ran.
    request: Option<u64>,
    /// It is a cleanup that was handed over, and not to be disturbed by the first request to end.
    is_spared: bool,
    /// How many requests to end it was spared.
    spared: u32,
    /// The last turn in which the program has asked it to end, by a handle to it, while it waited for tasks.
    asked_in: u64,
    /// The program has asked twice in one turn.
    is_pressed: bool,
    /// A future in which it had waited was moved to another task.
    has_moved: bool,
}

impl Header {
    /// A future in which it had waited was moved to another task, and with it whatever that future has.
    pub(in crate::kernel) fn mark_moved(&self) {
        self.cancel_record(|record| record.has_moved = true);
    }

    pub(crate) fn has_moved_on(&self) -> bool {
        self.if_cancel_record(|record| record.has_moved).unwrap_or(false)
    }

    /// The task enters a scope after those that it has entered before. The number names it.
    pub(in crate::kernel) fn add_scope(&self, number: u64, scope: Weak<dyn Scope>) {
        let requests = self.requests();
        self.cancel_record(|record| record.scopes.add(number, scope, requests));
    }

    /// It has left the scope. What comes back is to be dropped where nothing is borrowed.
    #[inline(never)]
    pub(in crate::kernel) fn remove_scope(&self, number: u64) -> Option<Rc<dyn Scope>> {
        self.scopes(|scopes| scopes.remove(number)).flatten()
    }

    /// The future of a scope is dropped. If it lies where somebody unwinds, that one goes on with the scope, and the answer is
    /// true.
    pub(crate) fn leave_to_driver(&self, number: u64, scope: impl FnOnce() -> Rc<dyn Scope>) -> bool {
        let is_driven = self.scope(number).is_some() && self.driver_over(number).is_some();
        if is_driven {
            let scope = scope();
            let before = self.scopes(|scopes| scopes.own(number, scope)).flatten();
            drop(before);
        }
        is_driven
    }

    /// Who drives the unwinding in which what has this number is not polled.
    pub(crate) fn driver_over(&self, number: u64) -> Option<Region> {
        let unwinds = self.is_unwinding();
        match self.scopes(|scopes| scopes.driver_over(number, unwinds)) {
            Some(driver) => driver,
            None => unwinds.then_some(Region::Task),
        }
    }

    pub(crate) fn scope(&self, number: u64) -> Option<Rc<dyn Scope>> {
        self.scopes(|scopes| scopes.scope(number)).flatten()
    }

    /// A block begins to drive the unwinding of what is inside of it, or does not any more.
    pub(crate) fn set_driving(&self, number: u64, drives: bool) {
        self.scopes(|scopes| scopes.set_driving(number, drives));
    }

    /// A scope asks for the interruption of what is inside of it.
    pub(crate) fn ask(&self, number: u64) {
        self.scopes(|scopes| scopes.ask(number));
    }

    /// Whether somebody outside of a scope has asked for an interruption since it was entered.
    pub(crate) fn is_asked_from_outside(&self, number: u64) -> bool {
        let requests = self.requests();
        self.scopes(|scopes| scopes.is_asked_from_outside(number, requests)).unwrap_or(false)
    }

    pub(in crate::kernel) fn has_asking_scopes(&self) -> bool {
        self.scopes(|scopes| scopes.any_asks()).unwrap_or(false)
    }

    /// The outermost scope around a number that has asked for an interruption.
    pub(crate) fn asking_around(&self, number: u64) -> Option<Rc<dyn Scope>> {
        self.scopes(|scopes| scopes.asking_around(number)).flatten()
    }

    /// Whether what has this number lies in the region.
    pub(crate) fn is_inside(&self, region: Region, number: u64) -> bool {
        region == Region::Task || self.scopes(|scopes| scopes.is_inside(number, region)).unwrap_or(false)
    }

    /// Whether a cleanup runs inside of this scope, or it is one itself.
    pub(crate) fn cleans_inside(&self, number: u64) -> bool {
        self.scopes(|scopes| scopes.cleans_inside(number)).unwrap_or(false)
    }

    /// Whether what has this number is not polled, since the task, or a part of it, unwinds.
    pub(crate) fn is_frozen(&self, number: u64) -> bool {
        self.driver_over(number).is_some()
    }

    /// The scopes that wait, before they unwind, for the tasks that are awaited in there.
    pub(in crate::kernel) fn asking_scopes(&self) -> Vec<u64> {
        self.scopes(|scopes| scopes.asking()).unwrap_or_default()
    }

    /// Whether the time of a scope in what is polled of this task may come to be up.
    pub(in crate::kernel) fn is_timed(&self) -> bool {
        let numbers: Vec<u64> = self.scopes(|scopes| scopes.numbers().collect()).unwrap_or_default();
        numbers
            .into_iter()
            .any(|number| !self.is_frozen(number) && self.scope(number).is_some_and(|scope| scope.is_timed()))
    }

    /// Whether the task unwinds, or the scope with this region.
    pub(crate) fn is_driving(&self, region: Region) -> bool {
        match region {
            Region::Task => self.is_unwinding(),
            Region::Inside(number) => self.scopes(|scopes| scopes.is_driving(number)).unwrap_or(false),
        }
    }

    /// Lends the scopes to `act`, which must call no foreign code. None if the task never had any.
    #[inline(never)]
    pub(in crate::kernel) fn scopes<R>(&self, act: impl FnOnce(&mut Scopes) -> R) -> Option<R> {
        self.if_cancel_record(|record| act(&mut record.scopes))
    }

    /// The task's scopes are nobody's. What they held is to be dropped where nothing is borrowed: that may be foreign code.
    pub(in crate::kernel) fn take_scopes(&self) -> Option<(Scopes, Option<Unwinding>)> {
        self.if_cancel_record(|record| (std::mem::take(&mut record.scopes), record.unwinding.take()))
    }

    /// The task waits for the end of another, while it is cancelled and not polled. Returns whom it has waited for so far.
    pub(in crate::kernel) fn replace_link(&self, link: Option<(Token, WaiterKey)>) -> Option<(Token, WaiterKey)> {
        match link {
            Some(_) => self.cancel_record(|record| std::mem::replace(&mut record.link, link)),
            None => self.if_cancel_record(|record| record.link.take())?,
        }
    }

    /// The program has asked it to end in this turn, while it waits for tasks.
    pub(in crate::kernel) fn note_asked(&self, turn: u64) {
        self.cancel_record(|record| {
            record.is_pressed |= record.asked_in == turn;
            record.asked_in = turn;
        });
    }

    /// Whether the program has asked it to end twice in one turn.
    pub(in crate::kernel) fn is_pressed(&self) -> bool {
        self.if_cancel_record(|record| record.is_pressed).unwrap_or(false)
    }

    /// A sleep is over.
    #[inline]
    pub(in crate::kernel) fn note_sleep(&self, number: u64, turn: u64) {
        if self.if_cancel_record(|record| record.slept = (number, turn)).is_some() && self.is_ending() {
            self.note_frozen_sleep(number);
        }
    }

    #[cold]
    pub(in crate::kernel) fn note_frozen_sleep(&self, number: u64) {
        if self.is_condemned() || self.is_frozen(number) {
            self.if_cancel_record(|record| record.slept_frozen.push(number));
        }
    }

    /// The numbers of the sleeps that were over since the task was polled last, as far as they are known in this turn.
    pub(in crate::kernel) fn sleeps_over(&self, turn: u64) -> Vec<u64> {
        let sleeps = |record: &mut Record| {
            let (number, over) = record.slept;
            let last = (over + 1 == turn).then_some(number);
            record.slept_frozen.iter().copied().chain(last).collect()
        };
        self.if_cancel_record(sleeps).unwrap_or_default()
    }

    /// The task is polled again, and so are its sleeps.
    pub(in crate::kernel) fn forget_sleeps(&self) {
        self.if_cancel_record(|record| record.slept_frozen.clear());
    }

    pub(in crate::kernel) fn note_request(&self, number: u64) {
        self.cancel_record(|record| record.request = Some(number));
    }

    /// The last number from before the request to end that comes to the task now. If that came while it did not run, all its scopes
    /// are from before.
    pub(in crate::kernel) fn take_request(&self) -> u64 {
        self.if_cancel_record(|record| record.request.take()).flatten().unwrap_or(u64::MAX)
    }

    /// The first request to end is counted, and changes nothing.
    pub(in crate::kernel) fn spare(&self) {
        self.cancel_record(|record| record.is_spared = true);
    }

    /// Whether it is spared a request to end. Asked once.
    pub(in crate::kernel) fn take_spared(&self) -> bool {
        let take = |record: &mut Record| {
            let is_spared = std::mem::take(&mut record.is_spared);
            record.spared += u32::from(is_spared);
            is_spared
        };
        self.if_cancel_record(take).unwrap_or(false)
    }

    /// How often a cancellation was asked for that it was not spared.
    pub(crate) fn requests(&self) -> u32 {
        let spared = self.if_cancel_record(|record| record.spared).unwrap_or(0);
        self.cancelling.get().saturating_sub(spared)
    }

    pub(in crate::kernel) fn take_unwinding(&self) -> Option<Unwinding> {
        self.if_cancel_record(|record| record.unwinding.take())?
    }

    pub(in crate::kernel) fn put_unwinding(&self, unwinding: Unwinding) {
        let before = self.cancel_record(|record| record.unwinding.replace(unwinding));
        debug_assert!(before.is_none(), "STEP-2: a task unwinds inside of its unwinding");
    }
}
