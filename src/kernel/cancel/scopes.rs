//! The scopes of a task: the parts of its future that an interruption does not simply drop.
//!
//! ```text
//!   task { timeout { finally { sleep } cleanup { group { .. } } } }
//!
//!   number   1  timeout    inside: 2, and what waits in the body of the finally
//!            2  finally    inside: 3, since its cleanup began
//!            3  group
//! ```
//!
//! A task enters a scope when the scope is first polled. The scope then gets a number, from the
//! counter that numbers the waits of all tasks. What begins while a block (a timeout or a group) is
//! polled, or while the cleanup of a scope is polled, is inside that scope. So each scope keeps
//! ranges of these numbers, and the ranges form a tree. The body of a `finally` needs no range: an
//! unwinding goes through the scopes from the highest number to the lowest. A scope that cleans up
//! is polled by the driver of the unwinding, and not by the scopes around it. What begins in this
//! cleanup is inside those scopes because the scope's own number is in their ranges (`lineage`).
//!
//! This file has data and queries on it. Nothing here calls user code.

use crate::error::TaskError;
use alloc::rc::{Rc, Weak};
use alloc::vec::Vec;
use core::task::{Context, Poll};

/// A part of a task's future that an interruption does not simply drop: it cleans up, or the task
/// continues after it.
pub(crate) trait Scope {
    /// An interruption has reached this scope; the scopes inside are finished.
    fn unwind(&self, arrival: Arrival) -> Unwound;

    /// Drops what was polled here so far. Called after `unwind` has returned `CleansUp`, before the
    /// first `poll_cleanup`. If `is_alone` is false, something waits beside the scope in its task,
    /// and must not be polled.
    fn drop_body(&self, _is_alone: bool) -> Dropped {
        Dropped::Here
    }

    /// Polls the cleanup. Ready with `Through` or `Caught`. After a panic the cleanup has ended.
    fn poll_cleanup(&self, _context: &mut Context<'_>) -> Poll<Unwound> {
        Poll::Ready(Unwound::Through)
    }

    /// Whether the scope has a time limit that may still expire.
    fn is_timed(&self) -> bool {
        false
    }

    /// The inside, if it can be interrupted while the task continues.
    fn inside(&self) -> Option<&dyn Inside> {
        None
    }

    /// The future of this scope was dropped while its cleanup was running, and the unwinding has no
    /// driver any more.
    fn hand_over(self: Rc<Self>) {}
}

/// The inside of a scope that can be interrupted separately: the scope unwinds it, unless code
/// further out does.
pub(crate) trait Inside {
    /// Interrupt it now, because the time limit of a scope inside has expired.
    fn interrupt(&self);

    /// Interrupt it when it suspends next.
    fn interrupt_next(&self);

    /// An interruption from further out takes over the unwinding that was running or requested.
    /// Returns whether there was one.
    fn overtake(&self) -> bool;

    /// The outer interruption took over from this scope's own, but was caught beside this scope.
    /// Continue the cleanup that was running here, or request the scope's own interruption again.
    fn resume(&self);

    /// The interruption must not wait for the tasks that are awaited inside: one of them waits for
    /// what this task holds.
    fn force(&self);

    /// Whether it is interrupted, and waits for the tasks that are awaited inside.
    fn waits(&self) -> bool;

    /// Wakes the code that polls the scope.
    fn wake(&self);

    /// Like `wake`, but only if the code that polls the scope has a waker of its own. The task
    /// itself is running.
    fn wake_poller(&self);
}

/// How an interruption reaches a scope.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    /// The interruption is the panic of a cleanup, and is not caught.
    pub(crate) panicked: bool,
    /// Code outside this scope has requested it since the scope was entered.
    pub(crate) is_from_outside: bool,
}

/// What a scope does with an interruption.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unwound {
    /// It passes to the scope around this one.
    Through,
    /// The scope runs a cleanup first. Then the interruption passes to the scope around this one.
    CleansUp,
    /// It ends here, and the unwinding that it interrupted continues.
    Absorbed,
    /// It ends here, and the future around this scope continues.
    Caught,
}

/// What is left to do for the body after `Scope::drop_body`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Dropped {
    /// Nothing: the body is gone, or it stays and is dropped with the future of the scope.
    Here,
    /// The body is in the future of the scope. It is dropped when that future is polled.
    WhenPolled,
}

/// What an interruption applies to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Region {
    /// The whole task.
    Task,
    /// What is inside the scope with this number.
    Inside(u64),
}

/// An interruption in progress. `cancel/unwind.rs` has its methods.
pub(crate) struct Unwinding {
    pub(in crate::kernel) region: Region,
    /// The interruption has not yet reached the scopes with this number and lower ones.
    pub(in crate::kernel) doomed: u64,
    /// The scopes that the interruption has reached, except those in cleanups. This includes scopes
    /// that were finished before another interruption arrived: their futures may still exist, and
    /// must not be polled.
    pub(in crate::kernel) passed: Vec<u64>,
    /// The scopes whose cleanups have caught the interruption inside: these cleanups continue.
    pub(in crate::kernel) caught_in: Vec<u64>,
    /// The scopes that had requested an interruption of their own, or were unwinding, when this
    /// interruption took over.
    pub(in crate::kernel) overtaken: Vec<u64>,
    /// The scopes that were entered after the request and before the interruption arrived.
    pub(in crate::kernel) asked_before: Ranges,
    /// How the region will end. A panic in a cleanup replaces the cancellation.
    pub(in crate::kernel) error: TaskError,
}

/// The scopes that a task has entered and not left, in ascending order of their numbers.
#[derive(Default)]
pub(in crate::kernel) struct Scopes {
    entered: Vec<Entered>,
    /// The unwinding, while the task unwinds and is not being stepped.
    pub(in crate::kernel) unwinding: Option<Unwinding>,
    /// The number of the sleep, or wait for a socket, that ended last, and the turn in which it ended.
    slept: (u64, u64),
    /// The numbers of the sleeps that ended before that one in the same turn.
    slept_before: Vec<u64>,
    /// The numbers of sleeps that ended while they were frozen.
    pub(in crate::kernel) slept_frozen: Vec<u64>,
}

struct Entered {
    number: u64,
    /// A weak reference: the scope's future owns the scope, and this entry must not keep it alive.
    scope: Weak<dyn Scope>,
    /// A strong reference while the scope must be unwound in any case: its cleanup is running, or
    /// its future was dropped during an unwinding.
    owned: Option<Rc<dyn Scope>>,
    /// Its future was dropped, so only the driver can continue it.
    is_abandoned: bool,
    /// Its cleanup is running.
    cleans: bool,
    /// It polls the cleanups of the scopes inside, and not its future.
    drives: bool,
    /// It has requested an interruption of what is inside it.
    has_asked: bool,
    /// A scope around it has requested an interruption since it was entered.
    is_overtaken: bool,
    /// How many cancellation requests the task had when the scope was entered.
    requests: u32,
    inside: Ranges,
}

impl Scopes {
    pub(in crate::kernel) fn add(&mut self, number: u64, scope: Weak<dyn Scope>, requests: u32) {
        self.entered.push(Entered {
            number,
            scope,
            owned: None,
            is_abandoned: false,
            cleans: false,
            drives: false,
            has_asked: false,
            is_overtaken: false,
            requests,
            inside: Ranges::default(),
        });
    }

    /// Removes a scope. Returns what the entry owned, to be dropped where nothing is borrowed, if
    /// the scope was cleaning up. What slept inside the scope is gone too.
    pub(in crate::kernel) fn remove(&mut self, number: u64) -> Option<Rc<dyn Scope>> {
        let mut over = core::mem::take(&mut self.slept_frozen);
        over.retain(|&sleep| !self.is_inside(sleep, Region::Inside(number)));
        self.slept_frozen = over;
        let place = self.entered.iter().rposition(|entered| entered.number == number)?;
        self.entered.remove(place).owned
    }

    pub(in crate::kernel) fn numbers(&self) -> impl Iterator<Item = u64> {
        self.entered.iter().map(|entered| entered.number)
    }

    fn get(&self, number: u64) -> Option<&Entered> {
        self.entered.iter().rfind(|entered| entered.number == number)
    }

    fn get_mut(&mut self, number: u64) -> Option<&mut Entered> {
        self.entered.iter_mut().rfind(|entered| entered.number == number)
    }

    pub(in crate::kernel) fn scope(&self, number: u64) -> Option<Rc<dyn Scope>> {
        self.get(number)?.scope()
    }

    // ---- which item is inside which scope ----

    /// Returns this number, then the numbers of the scopes in whose cleanups it is, directly or not,
    /// innermost first.
    fn lineage(&self, number: u64) -> Vec<u64> {
        let mut lineage = vec![number];
        for entered in self.entered.iter().rev().filter(|entered| entered.cleans) {
            if lineage.iter().any(|&number| entered.inside.contains(number)) {
                lineage.push(entered.number);
            }
        }
        lineage
    }

    pub(in crate::kernel) fn is_inside(&self, number: u64, region: Region) -> bool {
        match region {
            Region::Task => true,
            Region::Inside(scope) => self.get(scope).is_some_and(|scope| {
                scope.inside.contains(number)
                    || self.lineage(number).iter().any(|&number| scope.inside.contains(number))
            }),
        }
    }

    /// The driver of the unwinding that keeps the item with this number from being polled; the
    /// outermost, if there are several. A driver polls only the innermost cleanup.
    pub(in crate::kernel) fn driver_over(&self, number: u64, task_unwinds: bool) -> Option<Region> {
        if !task_unwinds && !self.entered.iter().any(|entered| entered.drives) {
            return None;
        }
        let lineage = self.lineage(number);
        let drives_over = |&region: &Region| {
            let polled = self.innermost_cleaning(region, 0);
            self.is_inside(number, region) && polled.is_none_or(|(polled, _)| !lineage[1..].contains(&polled))
        };
        let scopes = self.entered.iter().filter(|entered| entered.drives).map(|entered| Region::Inside(entered.number));
        task_unwinds.then_some(Region::Task).into_iter().chain(scopes).find(drives_over)
    }

    /// A poll of the scope begins: what begins until `close` is inside it.
    pub(in crate::kernel) fn open(&mut self, number: u64, before: u64) {
        if let Some(entered) = self.get_mut(number) {
            entered.inside.open = Some(before);
        }
    }

    pub(in crate::kernel) fn close(&mut self, number: u64, last: u64) {
        if let Some(inside) = self.get_mut(number).map(|entered| &mut entered.inside) {
            if let Some(before) = inside.open.take().filter(|&before| before < last) {
                inside.add(before, last);
            }
        }
    }

    /// Whether the scope has more ranges than it probably needs.
    pub(in crate::kernel) fn is_to_be_pruned(&self, number: u64) -> bool {
        self.get(number).is_some_and(|entered| entered.inside.are_many())
    }

    /// Removes the ranges of a scope that contain none of these numbers, which must be in ascending
    /// order.
    pub(in crate::kernel) fn prune(&mut self, number: u64, living: &[u64]) {
        if let Some(entered) = self.get_mut(number) {
            entered.inside.prune(living);
        }
    }

    // ---- sleeps ----

    /// A sleep has ended. A frozen one is not polled now.
    pub(in crate::kernel) fn note_sleep(&mut self, number: u64, turn: u64, is_frozen: bool) {
        let (before, over) = core::mem::replace(&mut self.slept, (number, turn));
        if over == turn {
            self.slept_before.push(before);
        } else {
            self.slept_before.clear();
        }
        if is_frozen {
            self.slept_frozen.push(number);
        }
    }

    /// The numbers of the sleeps that ended since the task was polled last, as far as they are
    /// known in this turn.
    pub(in crate::kernel) fn sleeps_over(&self, turn: u64) -> Vec<u64> {
        let (number, over) = self.slept;
        let last = if over + 1 == turn { &self.slept_before[..] } else { &[] };
        let last = last.iter().copied().chain((over + 1 == turn).then_some(number));
        self.slept_frozen.iter().copied().chain(last).collect()
    }

    // ---- an interruption in progress ----

    /// The innermost scope of a region, among those with this number or a lower one.
    pub(in crate::kernel) fn innermost(&self, region: Region, up_to: u64) -> Option<(u64, Rc<dyn Scope>)> {
        let scopes = self.entered.iter().rev().filter(|entered| entered.number <= up_to);
        scopes
            .filter(|entered| self.is_inside(entered.number, region))
            .find_map(|entered| Some((entered.number, entered.scope()?)))
    }

    /// The innermost scope of a region that cleans up, among those with higher numbers than
    /// `above`. Scopes that a block inside the region drives are left to that block.
    pub(in crate::kernel) fn innermost_cleaning(&self, region: Region, above: u64) -> Option<(u64, Rc<dyn Scope>)> {
        let scopes = self.entered.iter().rev().filter(|entered| entered.cleans && entered.number > above);
        scopes
            .filter(|entered| self.is_inside(entered.number, region) && !self.is_driven_inside(entered.number, region))
            .find_map(|entered| Some((entered.number, entered.scope()?)))
    }

    /// Whether a block inside the region drives the item with this number.
    fn is_driven_inside(&self, number: u64, region: Region) -> bool {
        let mut drivers = self.entered.iter().filter(|driver| driver.drives && self.is_inside(driver.number, region));
        drivers.any(|driver| self.is_inside(number, Region::Inside(driver.number)))
    }

    /// Whether a cleanup runs inside this scope, or the scope itself cleans up.
    pub(in crate::kernel) fn cleans_inside(&self, number: u64) -> bool {
        let is_in = |inner: u64| inner == number || self.is_inside(inner, Region::Inside(number));
        self.entered.iter().any(|entered| entered.cleans && is_in(entered.number))
    }

    /// The innermost scope of a region whose cleanup contains this number.
    pub(in crate::kernel) fn cleaning_around(&self, number: u64, region: Region) -> Option<u64> {
        self.lineage(number)[1..].iter().copied().find(|&cleaning| self.is_inside(cleaning, region))
    }

    pub(in crate::kernel) fn is_cleaning(&self, number: u64) -> bool {
        self.get(number).is_some_and(|entered| entered.cleans)
    }

    /// The cleanup of a scope begins. What began in its body is not inside the scope any more.
    pub(in crate::kernel) fn begin_cleanup(&mut self, number: u64, scope: Rc<dyn Scope>) {
        if let Some(entered) = self.get_mut(number) {
            entered.owned = Some(scope);
            entered.cleans = true;
            entered.inside = Ranges::default();
        }
    }

    /// The scope's future is dropped. The driver of the unwinding continues with the scope.
    pub(in crate::kernel) fn own(&mut self, number: u64, scope: Rc<dyn Scope>) -> Option<Rc<dyn Scope>> {
        let entered = self.get_mut(number)?;
        entered.is_abandoned = true;
        entered.owned.replace(scope)
    }

    /// Takes the scopes of a region that their entries own: the driver of their unwinding has
    /// stopped. Scopes that a block inside the region drives stay.
    pub(in crate::kernel) fn orphans(&mut self, region: Region) -> Vec<Rc<dyn Scope>> {
        self.take_owned(region, false, |_| true)
    }

    /// Takes the orphans whose futures are gone. Called when what is inside the region may continue
    /// in another task.
    pub(in crate::kernel) fn abandoned(&mut self, region: Region) -> Vec<Rc<dyn Scope>> {
        // A task that ends drives nothing any more, and neither does a block in it.
        self.take_owned(region, region == Region::Task, |entered| entered.is_abandoned)
    }

    fn take_owned(&mut self, region: Region, also_driven: bool, is_wanted: fn(&Entered) -> bool) -> Vec<Rc<dyn Scope>> {
        // Which are taken is decided before any is removed: a scope may be inside one that is taken.
        let mut taken = Vec::new();
        for entered in &self.entered {
            let number = entered.number;
            let is_here = self.is_inside(number, region) && (also_driven || !self.is_driven_inside(number, region));
            if is_here && entered.owned.is_some() && is_wanted(entered) {
                taken.push(number);
            }
        }
        let mut orphans = Vec::new();
        for number in taken {
            if let Some(place) = self.entered.iter().position(|entered| entered.number == number) {
                orphans.extend(self.entered.remove(place).owned);
            }
        }
        orphans
    }

    pub(in crate::kernel) fn set_driving(&mut self, number: u64, drives: bool) {
        if let Some(entered) = self.get_mut(number) {
            entered.drives = drives;
        }
    }

    pub(in crate::kernel) fn is_driving(&self, number: u64) -> bool {
        self.get(number).is_some_and(|entered| entered.drives)
    }

    /// The scopes of a region. An interruption takes them over, so none of them drives any more.
    pub(in crate::kernel) fn taken_over(&mut self, region: Region) -> Vec<(u64, Rc<dyn Scope>)> {
        let inside: Vec<u64> = self.numbers().filter(|&number| self.is_inside(number, region)).collect();
        inside.iter().for_each(|&number| self.set_driving(number, false));
        inside.into_iter().filter_map(|number| Some((number, self.scope(number)?))).collect()
    }

    // ---- who has requested an interruption ----

    /// The scope requests an interruption of what is inside it.
    pub(in crate::kernel) fn ask(&mut self, number: u64) {
        if let Some(entered) = self.get_mut(number) {
            entered.has_asked = true;
        }
        let inside: Vec<u64> = self.numbers().filter(|&other| self.is_inside(other, Region::Inside(number))).collect();
        for number in inside {
            if let Some(entered) = self.get_mut(number) {
                entered.is_overtaken = true;
            }
        }
    }

    /// Whether code outside the scope has requested an interruption since the scope was entered.
    pub(in crate::kernel) fn is_asked_from_outside(&self, number: u64, requests: u32) -> bool {
        self.get(number).is_some_and(|entered| entered.is_overtaken || requests > entered.requests)
    }

    pub(in crate::kernel) fn any_asks(&self) -> bool {
        self.entered.iter().any(|entered| entered.has_asked)
    }

    /// The scopes that have requested an interruption and do not drive yet.
    pub(in crate::kernel) fn asking(&self) -> Vec<u64> {
        let asking = self.entered.iter().filter(|entered| entered.has_asked && !entered.drives);
        asking.map(|entered| entered.number).collect()
    }

    /// The outermost scope around this number that has requested an interruption.
    pub(in crate::kernel) fn asking_around(&self, number: u64) -> Option<Rc<dyn Scope>> {
        let around = |entered: &&Entered| entered.has_asked && self.is_inside(number, Region::Inside(entered.number));
        self.entered.iter().find(around).and_then(|entered| entered.scope.upgrade())
    }
}

impl Entered {
    fn scope(&self) -> Option<Rc<dyn Scope>> {
        self.owned.clone().or_else(|| self.scope.upgrade())
    }
}

/// Numbers, as ascending ranges. A pair excludes its first number and includes its second.
#[derive(Default)]
pub(in crate::kernel) struct Ranges {
    ranges: Vec<(u64, u64)>,
    /// The number before an open range.
    open: Option<u64>,
    /// The ranges are checked again when there are more than this.
    few: usize,
}

/// Up to this number, ranges are kept without a check.
const FEW: usize = 8;

impl Ranges {
    pub(in crate::kernel) fn contains(&self, number: u64) -> bool {
        if self.open.is_some_and(|before| before < number) {
            return true;
        }
        let behind = self.ranges.partition_point(|&(_, last)| last < number);
        self.ranges.get(behind).is_some_and(|&(before, _)| before < number)
    }

    pub(in crate::kernel) fn add(&mut self, before: u64, last: u64) {
        match self.ranges.last_mut() {
            Some((_, end)) if *end == before => *end = last,
            _ => self.ranges.push((before, last)),
        }
    }

    fn are_many(&self) -> bool {
        self.ranges.len() > self.few.max(FEW)
    }

    /// Removes the ranges that contain none of these numbers. Called when the number of ranges has
    /// doubled since the last time, so the cost per range is constant.
    fn prune(&mut self, living: &[u64]) {
        self.ranges.retain(|&(before, last)| {
            let next = living.partition_point(|&number| number <= before);
            living.get(next).is_some_and(|&number| number <= last)
        });
        self.few = 2 * self.ranges.len();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    struct Plain;

    impl Scope for Plain {
        fn unwind(&self, _: Arrival) -> Unwound {
            Unwound::Through
        }
    }

    /// A random number below `end`, the same ones in each run.
    struct Random(u64);

    impl Random {
        fn below(&mut self, end: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(self.0 >> 33).expect("31 bits fit") % end.max(1)
        }
    }

    // ---- ranges ----

    /// The simple model: a set of all the numbers.
    #[test]
    fn open_add_and_prune_ranges_as_a_set_does() {
        let mut random = Random(1);
        let (mut most, mut pruned) = (0, 0);
        for _ in 0..200 {
            let (mut ranges, mut model, mut left) = (Ranges::default(), BTreeSet::new(), 0);
            let mut last = random.below(3) as u64;
            for _ in 0..60 {
                // Other tasks have begun something since then.
                last += random.below(3) as u64;
                let before = last;
                ranges.open = Some(before);
                last += random.below(3) as u64;
                assert!((0..last + 3).all(|n| ranges.contains(n) == (n > before || model.contains(&n))));
                ranges.open = None;
                if before < last {
                    ranges.add(before, last);
                    model.extend(before + 1..=last);
                }
                let pairs: Vec<u64> = ranges.ranges.iter().flat_map(|&(before, last)| [before, last]).collect();
                // Strictly less: adjacent ranges are merged.
                assert!(pairs.is_sorted_by(|one, next| one < next), "{pairs:?}");
                assert_eq!(ranges.are_many(), ranges.ranges.len() > FEW.max(2 * left));
                if ranges.are_many() {
                    let living: Vec<u64> = (0..last + 3).filter(|_| random.below(5) == 0).collect();
                    let kept = |&(before, last): &(u64, u64)| living.iter().any(|&n| before < n && n <= last);
                    let expected: Vec<(u64, u64)> = ranges.ranges.iter().copied().filter(kept).collect();
                    ranges.prune(&living);
                    assert_eq!(ranges.ranges, expected);
                    model.retain(|&n| expected.iter().any(|&(before, last)| before < n && n <= last));
                    (left, pruned) = (expected.len(), pruned + 1);
                }
                most = most.max(ranges.ranges.len());
                assert!((0..last + 3).all(|n| ranges.contains(n) == model.contains(&n)));
            }
        }
        assert!(most > FEW && pruned > 200, "{most} ranges at most, pruned {pruned} times");
    }

    /// A timeout around an early wait and thousands of later ones that begin and end one by one.
    #[test]
    fn keep_an_early_wait_and_few_ranges_behind_ten_thousand() {
        let plain: Rc<dyn Scope> = Rc::new(Plain);
        let mut scopes = Scopes::default();
        scopes.add(1, Rc::downgrade(&plain), 0);
        let (early, mut looks) = (2, 0);
        scopes.open(1, 1);
        scopes.close(1, early);
        // Of every three numbers, the first belongs to another task.
        for before in (3..30_000).step_by(3) {
            scopes.open(1, before);
            scopes.close(1, before + 2);
            assert!(scopes.is_inside(before + 2, Region::Inside(1)) && !scopes.is_inside(before, Region::Inside(1)));
            if scopes.is_to_be_pruned(1) {
                looks += 1;
                scopes.prune(1, &[1, early, before + 2]);
            }
            assert!(scopes.is_inside(early, Region::Inside(1)), "{before}");
            assert!(scopes.get(1).unwrap().inside.ranges.len() <= FEW, "{before}");
        }
        assert!((1_000..2_000).contains(&looks), "{looks} looks at all that lives");
    }

    /// A scope may be polled many times while nothing begins in it.
    #[test]
    fn keep_no_range_of_a_poll_in_which_nothing_begins() {
        let plain: Rc<dyn Scope> = Rc::new(Plain);
        let mut scopes = Scopes::default();
        scopes.add(1, Rc::downgrade(&plain), 0);
        for number in 1..100 {
            scopes.open(1, number);
            scopes.close(1, number);
        }
        assert_eq!(scopes.get(1).unwrap().inside.ranges, []);
    }

    /// After a check, the ranges are not checked again until their number has doubled. If all of
    /// them live, this costs one check per doubling.
    #[test]
    fn look_seldom_at_many_that_live() {
        let plain: Rc<dyn Scope> = Rc::new(Plain);
        let mut scopes = Scopes::default();
        scopes.add(1, Rc::downgrade(&plain), 0);
        let (mut living, mut looks) = (vec![1], Vec::new());
        for number in (3..2_003).step_by(2) {
            scopes.open(1, number - 1);
            scopes.close(1, number);
            living.push(number);
            if scopes.is_to_be_pruned(1) {
                scopes.prune(1, &living);
                looks.push(scopes.get(1).unwrap().inside.ranges.len());
            }
        }
        assert_eq!(looks, [9, 19, 39, 79, 159, 319, 639]);
    }

    // ---- scopes ----

    /// Where a number has begun: in which scope, and whether in that scope's cleanup.
    type Parent = Option<(u64, bool)>;

    #[derive(Default)]
    struct Facts {
        cleans: bool,
        drives: bool,
        has_asked: bool,
        is_overtaken: bool,
        requests: u32,
    }

    /// The simple model: a tree that is walked upward for each query.
    #[derive(Default)]
    struct Twin {
        scopes: BTreeMap<u64, Facts>,
        waits: BTreeSet<u64>,
        /// All items that ever existed.
        parents: BTreeMap<u64, Parent>,
    }

    impl Twin {
        /// The scopes that are polled when this one is, outermost first: those around it, up to one
        /// that cleans up. `None` if this scope is in a body that is gone.
        fn polled(&self, scope: u64) -> Option<Vec<u64>> {
            let mut around = Vec::new();
            let mut next = Some(scope);
            while let Some(scope) = next {
                around.insert(0, scope);
                next = match self.parents[&scope] {
                    _ if self.scopes.get(&scope)?.cleans => None,
                    None => None,
                    Some((parent, in_cleanup)) if self.scopes.get(&parent)?.cleans == in_cleanup => Some(parent),
                    Some(_) => return None,
                };
            }
            Some(around)
        }

        /// Whether this number has begun in a poll of the scope's body, or of its cleanup if the
        /// scope cleans up.
        fn begun_in(&self, number: u64, scope: u64) -> bool {
            let Some(facts) = self.scopes.get(&scope) else { return false };
            let mut next = self.parents.get(&number).copied().flatten();
            while let Some((parent, in_cleanup)) = next {
                if parent == scope {
                    return in_cleanup == facts.cleans;
                }
                next = if in_cleanup { None } else { self.parents[&parent] };
            }
            false
        }

        fn is_inside(&self, number: u64, region: Region) -> bool {
            let Region::Inside(scope) = region else { return true };
            let mut cleaning = self.scopes.iter().filter(|(_, facts)| facts.cleans).map(|(&number, _)| number);
            self.scopes.contains_key(&scope)
                && (self.begun_in(number, scope)
                    || cleaning.any(|one| self.begun_in(number, one) && self.is_inside(one, region)))
        }

        /// The scopes whose cleanups contain a number, innermost first.
        fn cleanups_around(&self, number: u64) -> Vec<u64> {
            let cleaning = self.scopes.iter().rev().filter(|(_, facts)| facts.cleans).map(|(&number, _)| number);
            cleaning.filter(|&scope| self.is_inside(number, Region::Inside(scope))).collect()
        }

        fn drivers(&self) -> Vec<u64> {
            self.scopes.iter().filter(|(_, facts)| facts.drives).map(|(&number, _)| number).collect()
        }

        fn innermost_cleaning(&self, region: Region, above: u64) -> Option<u64> {
            let is_next = |&number: &u64| {
                let is_here = self.is_inside(number, region) && !self.is_driven_inside(number, region);
                self.scopes[&number].cleans && number > above && is_here
            };
            self.scopes.keys().rev().copied().find(is_next)
        }

        fn is_driven_inside(&self, number: u64, region: Region) -> bool {
            let inner = self.drivers().into_iter().filter(|&one| self.is_inside(one, region));
            inner.into_iter().any(|driver| self.is_inside(number, Region::Inside(driver)))
        }

        fn driver_over(&self, number: u64, task_unwinds: bool) -> Option<Region> {
            let task = task_unwinds.then_some(Region::Task);
            let blocks = self.drivers().into_iter().map(Region::Inside);
            let mut regions = task.into_iter().chain(blocks).filter(|&region| self.is_inside(number, region));
            regions.find(|&region| {
                let polled = self.innermost_cleaning(region, 0);
                polled.is_none_or(|polled| !self.cleanups_around(number).contains(&polled))
            })
        }
    }

    /// Compares the results of all queries for all numbers.
    fn compare(scopes: &Scopes, twin: &Twin, requests: u32) -> usize {
        let known: Vec<u64> = twin.scopes.keys().copied().collect();
        assert!(scopes.numbers().eq(known.iter().copied()));
        assert!(known.iter().copied().filter(|&number| scopes.is_driving(number)).eq(twin.drivers()));
        let regions: Vec<Region> = [Region::Task].into_iter().chain(known.iter().map(|&n| Region::Inside(n))).collect();
        let number = |found: Option<(u64, Rc<dyn Scope>)>| found.map(|(number, _)| number);
        let mut driven = 0;
        for &n in known.iter().chain(&twin.waits) {
            for &region in &regions {
                assert_eq!(scopes.is_inside(n, region), twin.is_inside(n, region), "{n} in {region:?}");
                let inside = twin.cleanups_around(n).into_iter().find(|&scope| twin.is_inside(scope, region));
                assert_eq!(scopes.cleaning_around(n, region), inside, "around {n} in {region:?}");
                let cleaning = twin.innermost_cleaning(region, n);
                assert_eq!(number(scopes.innermost_cleaning(region, n)), cleaning, "above {n} in {region:?}");
                let innermost = known.iter().rev().copied().find(|&one| one <= n && twin.is_inside(one, region));
                assert_eq!(number(scopes.innermost(region, n)), innermost, "up to {n} in {region:?}");
            }
            for unwinds in [false, true] {
                let driver = twin.driver_over(n, unwinds);
                assert_eq!(scopes.driver_over(n, unwinds), driver, "over {n}, {unwinds}");
                driven += usize::from(matches!(driver, Some(Region::Inside(_))));
            }
            let is_asking = |&one: &u64| twin.scopes[&one].has_asked && twin.is_inside(n, Region::Inside(one));
            let asking = known.iter().copied().find(is_asking).and_then(|one| scopes.scope(one));
            assert_eq!(scopes.asking_around(n).map(|it| Rc::as_ptr(&it)), asking.map(|it| Rc::as_ptr(&it)));
        }
        for (&n, facts) in &twin.scopes {
            assert_eq!(scopes.is_cleaning(n), facts.cleans);
            let is_asked = facts.is_overtaken || requests > facts.requests;
            assert_eq!(scopes.is_asked_from_outside(n, requests), is_asked);
        }
        driven
    }

    #[test]
    fn enter_poll_clean_up_drive_and_leave_as_a_tree_does() {
        let mut random = Random(7);
        let (mut deepest, mut driven, mut pruned) = (0, 0, 0);
        for _ in 0..15 {
            let (mut scopes, mut twin, mut owners) = (Scopes::default(), Twin::default(), BTreeMap::new());
            let (mut last, mut requests) = (0, 0);
            for _ in 0..110 {
                // Another task begins something.
                last += random.below(2) as u64;
                let known: Vec<u64> = twin.scopes.keys().copied().collect();
                let any = known.get(random.below(known.len())).copied();
                match (random.below(16), any) {
                    (0, Some(number)) if !twin.scopes[&number].cleans => {
                        scopes.begin_cleanup(number, Rc::clone(&owners[&number]));
                        twin.scopes.get_mut(&number).unwrap().cleans = true;
                    }
                    (1 | 9, Some(number)) => {
                        let drives = random.below(2) == 0;
                        scopes.set_driving(number, drives);
                        twin.scopes.get_mut(&number).unwrap().drives = drives;
                    }
                    (2, Some(number)) => {
                        assert_eq!(scopes.remove(number).is_some(), twin.scopes.remove(&number).unwrap().cleans);
                        assert!(scopes.remove(number).is_none() && scopes.scope(number).is_none());
                    }
                    (3 | 4, _) if twin.waits.len() > 6 => {
                        let nth = random.below(twin.waits.len());
                        if let Some(&wait) = twin.waits.iter().nth(nth) {
                            twin.waits.remove(&wait);
                        }
                    }
                    (5, Some(number)) => {
                        scopes.ask(number);
                        let overtaken: Vec<u64> =
                            known.into_iter().filter(|&one| twin.is_inside(one, Region::Inside(number))).collect();
                        twin.scopes.get_mut(&number).unwrap().has_asked = true;
                        overtaken.iter().for_each(|one| twin.scopes.get_mut(one).unwrap().is_overtaken = true);
                    }
                    (6, _) => requests += 1,
                    (10, Some(number)) if twin.scopes[&number].cleans => {
                        let owned = scopes.own(number, Rc::clone(&owners[&number]));
                        assert!(owned.is_some_and(|owned| Rc::ptr_eq(&owned, &owners[&number])));
                    }
                    (7, Some(number)) => {
                        let region = Region::Inside(number);
                        let inside: Vec<u64> = known.into_iter().filter(|&one| twin.is_inside(one, region)).collect();
                        assert_eq!(scopes.taken_over(region).len(), inside.len());
                        inside.iter().for_each(|one| twin.scopes.get_mut(one).unwrap().drives = false);
                    }
                    (8, Some(number)) if random.below(4) == 0 => {
                        let region = Region::Inside(number);
                        let is_here = |one| twin.is_inside(one, region) && !twin.is_driven_inside(one, region);
                        let is_orphan = |&one: &u64| twin.scopes[&one].cleans && is_here(one);
                        let orphans: Vec<u64> = known.into_iter().filter(is_orphan).collect();
                        assert_eq!(scopes.orphans(region).len(), orphans.len());
                        orphans.iter().for_each(|one| _ = twin.scopes.remove(one));
                    }
                    // Polls the task, or the inside of a scope.
                    (which, any) => {
                        let inside = any.filter(|_| which != 15);
                        let Some(polled) = inside.map_or(Some(Vec::new()), |scope| twin.polled(scope)) else {
                            continue;
                        };
                        deepest = deepest.max(polled.len());
                        polled.iter().for_each(|&scope| scopes.open(scope, last));
                        for _ in 0..random.below(3) {
                            last += 1;
                            twin.parents.insert(last, inside.map(|scope| (scope, twin.scopes[&scope].cleans)));
                            if random.below(2) == 0 && twin.scopes.len() < 7 {
                                let owner: Rc<dyn Scope> = Rc::new(Plain);
                                scopes.add(last, Rc::downgrade(&owner), requests);
                                owners.insert(last, owner);
                                twin.scopes.insert(last, Facts { requests, ..Facts::default() });
                            } else {
                                twin.waits.insert(last);
                            }
                        }
                        driven += compare(&scopes, &twin, requests);
                        for &scope in polled.iter().rev() {
                            scopes.close(scope, last);
                            if scopes.is_to_be_pruned(scope) {
                                let living: BTreeSet<u64> = twin.scopes.keys().chain(&twin.waits).copied().collect();
                                scopes.prune(scope, &living.into_iter().collect::<Vec<_>>());
                                pruned += 1;
                            }
                        }
                    }
                }
                driven += compare(&scopes, &twin, requests);
            }
        }
        assert!(deepest > 3 && driven > 500 && pruned > 2, "{deepest} deep, {driven} driven, {pruned} pruned");
    }
}
