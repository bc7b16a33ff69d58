//! A cleanup that waits for what its own task has.
//!
//! ```text
//!   join!(                                                     the body, frozen:   [ guard | .. ]
//!       async { let _guard = lock.lock().await; .. },                                   ^
//!       finally(.., async { drop(lock.lock().await) }),        the cleanup  ---- waits for it
//!   )
//! ```
//!
//! While a cleanup runs, the future around it is frozen: the kernel neither polls nor drops it,
//! because a function around a cleanup keeps what it holds until the cleanup has ended. A cleanup
//! that waits for a lock or a permit of its own task would wait for ever. Only dropping the frozen
//! future can help. In asyncio, branches beside the cleanup are separate tasks, which release the
//! lock when they are cancelled. If a function around the cleanup holds the lock, asyncio waits
//! for ever too. The kernel cannot tell whether a branch beside the cleanup or a function around
//! it holds the lock.
//!
//! So the kernel drops the future, and the task keeps the cleanups that are still to come. There is
//! one exception: a loop that reports deadlocks (on a virtual clock, or in debug mode) drops the
//! future only if something waits beside the cleanup, and reports the deadlock otherwise.
//!
//! The kernel knows which task took a lock or a permit, and inside which scopes, but not where the
//! guard is now. It therefore distinguishes two cases.
//!
//! - The task itself has taken it. Either the cleanup waits for it, or the cleanup awaits another
//!   task that waits for it. The kernel checks this when a cleanup suspends, and again when a task
//!   begins to wait for something that a task under cancellation has taken.
//! - Other tasks have taken it, and each of them waits only for this task, directly or indirectly.
//!   If a taker has ended, its guard may be anywhere; then every other task must be waiting for
//!   tasks or for what tasks hold, with no timer pending and no socket awaited. The kernel has to
//!   search for such a cycle, and another task may complete the cycle at any time. So it searches
//!   when nothing is ready, at a few of the suspended cleanups at a time.
//!
//! The search does not find a guard that another task took and handed to this task, if that other
//! task continues to run. Next: `cancel/shutdown.rs`.

use crate::kernel::cancel::scopes::{Inside, Region};
use crate::kernel::cell::{AnyTask, Header};
use crate::kernel::table::records::{Wait, WaitEntry};
use crate::kernel::token::Token;
use crate::kernel::{Alarm, Kernel, State, Time, context};
use crate::platform::{HashMap, HashSet};
use alloc::{boxed::Box, collections::BTreeSet, vec::Vec};
use core::cell::{Cell, RefCell};
use core::ops::Bound;
use core::time::Duration;

/// The cleanups that have suspended and wait for others, by task and region. Some of them may have
/// ended.
#[derive(Default)]
pub(in crate::kernel) struct Cleanups {
    /// Borrowed only in this file, and while no user code runs.
    waiting: RefCell<BTreeSet<(Token, Region)>>,
    /// Cleanups that were found to be stuck, and that will be polled.
    found: RefCell<BTreeSet<(Token, Region)>>,
    /// The cleanup that was checked last.
    last: Cell<Option<(Token, Region)>>,
    /// If `waiting` is longer than this and than `AT_ONCE`, ended cleanups are removed from it.
    most: Cell<usize>,
    /// The number of rests (times when nothing is ready) without a search before the next search.
    /// They spread the cost of a search.
    rests: Cell<usize>,
}

/// The part of `Cleanups` that an idle loop calls. It is a trait object, which is created when the
/// first cleanup waits for other tasks, so that programs without cleanups do not contain this code.
pub(in crate::kernel) trait HeldUp {
    /// Called when nothing is ready before the next timer. Wakes unwinding tasks that wait for
    /// themselves through other tasks. Returns whether it has woken any, and until when the loop
    /// may wait: until `next`, or earlier if more cleanups are left to check.
    fn wake(&self, kernel: &Kernel, next: Option<Time>) -> (bool, Option<Time>);

    fn cleanups(&self) -> &Cleanups;
}

impl HeldUp for Cleanups {
    #[cold]
    fn wake(&self, kernel: &Kernel, next: Option<Time>) -> (bool, Option<Time>) {
        kernel.wake_held_up(self, next)
    }

    fn cleanups(&self) -> &Cleanups {
        self
    }
}

/// The greatest number of cleanups that are searched in one rest.
const AT_ONCE: usize = 128;

/// After a search, one rest without a search follows for this many tasks and timers visited.
const PER_REST: usize = 16;

/// If the loop is about to wait this long or longer, it searches in any case. If more cleanups are
/// left to check after the search, it waits only this long.
const LONG: Duration = Duration::from_millis(10);

impl Kernel {
    /// A cleanup in a region of this task has suspended, and the region's frozen future still
    /// exists. Returns whether the future must be dropped for the cleanup. If not, the kernel
    /// checks again later.
    #[cold]
    pub(crate) fn cleanup_suspended(&self, task: &AnyTask, region: Region) -> bool {
        let one = (task.header().token(), region);
        let was_found = self.cancels.cleanups.get().is_some_and(|it| it.cleanups().found.borrow_mut().remove(&one));
        if self.is_held_up(task, region) || was_found && self.is_stuck(task, region).0 {
            return true;
        }
        // A cleanup that was found once, but is not stuck now, is not searched again.
        if !was_found && self.waits_for_others(task.header()) {
            let cleanups = self.cancels.cleanups.get_or_init(|| Box::<Cleanups>::default()).cleanups();
            let mut waiting = cleanups.waiting.borrow_mut();
            waiting.insert(one);
            // A loop that is never idle would otherwise keep cleanups that have ended.
            if waiting.len() > cleanups.most.get().max(AT_ONCE) {
                let is_there = |&(token, region): &(Token, Region)| {
                    self.table.task(token).is_some_and(|task| task.header().is_driving(region))
                };
                waiting.retain(is_there);
                cleanups.found.borrow_mut().retain(is_there);
                cleanups.most.set(2 * waiting.len());
            }
        }
        false
    }

    /// A task begins to wait for something that the task `taker` has taken.
    pub(crate) fn is_wanted_of(&self, taker: Token) {
        let Some(task) = self.table.task(taker) else { return };
        let header = task.header();
        if header.is_condemned() && !header.is_forced() {
            if self.is_held_up_by_its_links(&task, Region::Task) {
                self.table.force(header);
            }
            return;
        }
        for number in header.asking_scopes() {
            if self.is_held_up_by_its_links(&task, Region::Inside(number)) {
                self.tolerate(|| {
                    header.scope(number).iter().filter_map(|scope| scope.inside()).for_each(Inside::force)
                });
            }
        }
        let Some(cleanups) = self.cancels.cleanups.get().map(|it| it.cleanups()) else { return };
        let first = (taker, Region::Task);
        let regions: Vec<_> =
            cleanups.waiting.borrow().range(first..).take_while(|(token, _)| *token == taker).copied().collect();
        for (_, region) in regions {
            if header.is_driving(region) && self.is_held_up(&task, region) {
                self.drive(&task, region);
            }
        }
    }

    /// Like `HeldUp::wake`, for a loop whose host is about to do other things.
    pub(crate) fn look_before_the_host_rests(&self) {
        if let Some(cleanups) = self.cancels.cleanups.get().filter(|_| self.table.is_idle()) {
            cleanups.wake(self, self.next_deadline());
        }
    }

    /// See `HeldUp::wake`.
    fn wake_held_up(&self, cleanups: &Cleanups, next: Option<Time>) -> (bool, Option<Time>) {
        if cleanups.waiting.borrow().is_empty() {
            return (false, next);
        }
        let left = cleanups.rests.get();
        let is_virtual = self.clock.is_virtual();
        // A virtual clock is about to jump; afterwards the situation may have changed.
        let is_long = is_virtual || next.is_none_or(|next| next.since(self.clock.now()) >= LONG);
        if left > 0 && !is_long {
            cleanups.rests.set(left - 1);
            return (false, next);
        }
        let (mut has_woken, has_more) = self.wake_portion(cleanups);
        if is_virtual && next.is_none() {
            // A deadlock is about to be reported, so all cleanups are checked.
            for _ in 0..cleanups.waiting.borrow().len() / AT_ONCE {
                has_woken |= self.wake_portion(cleanups).0;
            }
        }
        let soon = (has_more && !is_virtual).then(|| self.clock.now().after(LONG));
        (has_woken, next.into_iter().chain(soon).min())
    }

    /// Checks some of the cleanups. Returns whether it has woken any, and whether more are left.
    fn wake_portion(&self, cleanups: &Cleanups) -> (bool, bool) {
        let (portion, has_more) = cleanups.next_portion();
        let mut work = portion.len();
        let mut has_woken = false;
        for one @ (token, region) in portion {
            let task = self.table.task(token).filter(|task| task.header().is_driving(region));
            let is_held_up = task.as_ref().is_some_and(|task| {
                let (is_stuck, cost) = self.is_stuck(task, region);
                work += cost;
                is_stuck
            });
            if task.is_none() || is_held_up {
                cleanups.waiting.borrow_mut().remove(&one);
            }
            if let Some(task) = task.filter(|_| is_held_up) {
                // A cleanup that was found is checked once more when it suspends.
                cleanups.found.borrow_mut().insert(one);
                self.drive(&task, region);
                has_woken = true;
            }
        }
        cleanups.rests.set(work / PER_REST);
        (has_woken, has_more)
    }

    /// Wakes the driver of a region.
    fn drive(&self, task: &AnyTask, region: Region) {
        match region {
            Region::Task => _ = self.table.wake(task.header().token()),
            Region::Inside(number) => {
                let scope = task.header().scope(number);
                self.tolerate(|| scope.iter().filter_map(|scope| scope.inside()).for_each(Inside::wake));
            }
        }
    }

    /// Whether a frozen future of this task may be dropped as a last resort. A loop that reports
    /// deadlocks drops it only if something is known to wait beside the cleanup.
    fn may_drop(&self, header: &Header, region: Region) -> bool {
        !self.tells_deadlocks() || self.has_frozen_waits(header, region)
    }

    /// Whether a task waits for other tasks, or for something that tasks have taken. Such tasks may
    /// themselves begin to wait for this task.
    fn waits_for_others(&self, header: &Header) -> bool {
        let waits_for_others = |begun: WaitEntry| match begun.wait {
            Wait::Task(_) => true,
            awaited @ (Wait::In(..) | Wait::On(_) | Wait::Outside(..)) => {
                awaited.upgrade().is_some_and(|on| on.takers().is_some() || !on.tasks().is_empty())
            }
        };
        self.waits_of(header).into_iter().any(|(_, begun)| waits_for_others(begun))
    }

    /// The waits of the polled part of a task, with their numbers. Sleeps are not among them.
    fn waits_of(&self, header: &Header) -> Vec<(u64, WaitEntry)> {
        let mut waits = Vec::new();
        self.each_wait(header, &mut |number, begun| waits.push((number, begun)));
        waits
    }

    // ---- the task has taken it itself ----

    /// Whether a cleanup in this region waits for something that was taken in the region, so that
    /// the frozen future must be dropped.
    fn is_held_up(&self, task: &AnyTask, region: Region) -> bool {
        let header = task.header();
        self.wants_what_it_has(task, region) && self.may_drop(header, region)
    }

    /// Like `is_held_up`, for an interruption that first waits for the tasks awaited in the region:
    /// one of these waits for what the task holds.
    fn is_held_up_by_its_links(&self, task: &AnyTask, region: Region) -> bool {
        let header = task.header();
        // A function around an await has no wait of its own, so a second wait is beside the await.
        let has_others = || {
            let sleeps = self.sleeps_of(header).into_iter();
            let waits = self.table.waits(header).map(|(number, _)| number);
            waits.chain(sleeps).filter(|&number| header.is_inside(region, number)).count() > 1
        };
        self.wants_what_it_has(task, region) && (!self.tells_deadlocks() || has_others())
    }

    fn sleeps_of(&self, header: &Header) -> Vec<u64> {
        let sleeps = self.sleeps().into_iter().filter(|sleep| sleep.task == header.token());
        sleeps.map(|sleep| sleep.number).collect()
    }

    /// Whether something in this region waits, directly or through other tasks, for what the task
    /// has taken in the region.
    fn wants_what_it_has(&self, task: &AnyTask, region: Region) -> bool {
        let own = task.header().token();
        let mut seen = HashSet::from([own]);
        let mut next = vec![task.clone()];
        while let Some(waiting) = next.pop() {
            let header = waiting.header();
            if header.is_missed() && !header.is_ending() {
                // A child of a scope in this task may never be polled any more: in its step it finds out.
                self.table.wake(header.token());
            }
            if header.token() != own && header.is_timed() {
                // A timeout may soon end the wait of this task.
                continue;
            }
            for (number, begun) in self.waits_of(header) {
                if header.token() == own && !header.is_inside(region, number) {
                    continue;
                }
                let mut tasks: Vec<AnyTask> = match &begun.wait {
                    Wait::Task(token) => self.table.task(*token).into_iter().collect(),
                    awaited @ (Wait::In(..) | Wait::On(_) | Wait::Outside(..)) => match awaited.upgrade() {
                        // A cancelled task waits only for tasks.
                        Some(on) if header.is_condemned() => on.outwaited(),
                        Some(on) => {
                            let taker = on.taker();
                            let is_here = |number: u64| task.header().is_inside(region, number);
                            if taker == Some(own) && on.taken_at().into_iter().all(is_here) {
                                return true;
                            }
                            taker.and_then(|taker| self.table.task(taker)).into_iter().chain(on.tasks()).collect()
                        }
                        None => Vec::new(),
                    },
                };
                tasks.retain(|task| seen.insert(task.header().token()));
                next.extend(tasks);
            }
        }
        false
    }

    // ---- no other task can provide it ----

    /// Whether the frozen future of a region must be dropped, because nothing else can help the
    /// region: everything for which it waits can come only from tasks that wait for this task,
    /// directly or indirectly, and for nothing else. Also returns the cost of the search, about one
    /// for each task that was looked at.
    ///
    /// False if the task has a timer, if `may_drop` forbids the drop, or if all wait only for the ends
    /// of tasks, because a drop would not help then.
    fn is_stuck(&self, task: &AnyTask, region: Region) -> (bool, usize) {
        let header = task.header();
        if !self.may_drop(header, region) {
            return (false, 1);
        }
        let own = header.token();
        let mut search =
            Search { kernel: self, own, known: HashMap::from([(own, true)]), work: 1, is_alone: None, is_taken: false };
        let waits = self.waits_of(header);
        let is_inside = |number: u64| header.is_inside(region, number);
        let is_stuck = !waits.is_empty()
            && waits.iter().all(|(number, begun)| is_inside(*number) && search.is_closed(header, begun, 0))
            && search.is_taken
            && !header.is_timed()
            && !search.any_sleeps(header);
        (is_stuck, search.work)
    }
}

impl Cleanups {
    /// The cleanups to check now. Also returns whether more are left.
    fn next_portion(&self) -> (Vec<(Token, Region)>, bool) {
        let waiting = self.waiting.borrow();
        let after = self.last.get().map_or(Bound::Unbounded, Bound::Excluded);
        let mut portion: Vec<_> = waiting.range((after, Bound::Unbounded)).take(AT_ONCE).copied().collect();
        if portion.len() < AT_ONCE {
            // The rest is taken from the beginning.
            let up_to = self.last.get().map_or(Bound::Unbounded, Bound::Included);
            let left = AT_ONCE - portion.len();
            if self.last.get().is_some() {
                portion.extend(waiting.range((Bound::Unbounded, up_to)).take(left).copied());
            }
        }
        self.last.set(portion.last().copied());
        let has_more = portion.len() < waiting.len();
        (portion, has_more)
    }
}

/// Limits of a search. A search that exceeds one of them finds nothing.
const DEPTH: usize = 256;
const MOST_WORK: usize = 4096;

/// Searches for tasks that wait, directly or indirectly, for one task and for nothing else. Such
/// tasks *lead back* to that task.
struct Search<'a> {
    kernel: &'a Kernel,
    own: Token,
    /// For each task that was checked, whether it leads back. While a task is being checked, it
    /// counts as one that does not.
    known: HashMap<Token, bool>,
    work: usize,
    /// Whether any of these tasks waits for something that was taken. If they wait only for the
    /// ends of tasks, dropping the future does not help.
    is_taken: bool,
    /// Whether no other task of the loop can continue, if that was checked.
    is_alone: Option<bool>,
}

impl Search<'_> {
    fn leads_back(&mut self, task: &AnyTask, depth: usize) -> bool {
        let header = task.header();
        self.work += 1;
        if let Some(&known) = self.known.get(&header.token()) {
            return known;
        }
        if depth > DEPTH || self.work > MOST_WORK {
            return false;
        }
        self.known.insert(header.token(), false);
        let waits = self.kernel.waits_of(header);
        let leads_back = self.kernel.table.state(header) == State::Waiting
            && !waits.is_empty()
            && !header.is_timed()
            && waits.iter().all(|(_, begun)| self.is_closed(header, begun, depth));
        self.known.insert(header.token(), leads_back);
        leads_back
    }

    /// Whether what a task waits for can come only from tasks that lead back.
    fn is_closed(&mut self, waiting: &Header, begun: &WaitEntry, depth: usize) -> bool {
        let (takers, tasks) = match &begun.wait {
            // A task that has ended has already woken its waiters.
            Wait::Task(token) => (None, self.kernel.table.task(*token).into_iter().collect()),
            awaited @ (Wait::In(..) | Wait::On(_) | Wait::Outside(..)) => match awaited.upgrade() {
                Some(on) if waiting.is_condemned() => (None, on.outwaited()),
                Some(on) => (on.takers(), on.tasks()),
                None => return false,
            },
        };
        match takers {
            // Without takers, what is waited for may be on its way to a waiter that has not taken
            // it yet.
            Some(takers) => {
                let is_closed =
                    !takers.is_empty() && takers.into_iter().all(|taker| self.is_taken_for_good(taker, depth + 1));
                self.is_taken |= is_closed;
                is_closed
            }
            None => !tasks.is_empty() && tasks.iter().all(|task| self.leads_back(task, depth + 1)),
        }
    }

    fn is_taken_for_good(&mut self, taker: Token, depth: usize) -> bool {
        match self.kernel.table.task(taker) {
            Some(task) => self.leads_back(&task, depth),
            None if self.kernel.is_of_another(taker) => false,
            None => self.is_alone(),
        }
    }

    /// Whether all tasks of the loop wait for each other, and nothing can continue. Checked because
    /// what was taken by a task that has ended, or outside any task, may be anywhere.
    fn is_alone(&mut self) -> bool {
        if let Some(is_alone) = self.is_alone {
            return is_alone;
        }
        let kernel = self.kernel;
        let has_other_timers = |alarm: &Alarm| match alarm {
            Alarm::Task(token, _) | Alarm::Within(token, ..) => *token != self.own,
            Alarm::Call(_) => true,
        };
        let waits_for_tasks = |begun: &WaitEntry| match &begun.wait {
            Wait::Task(_) => true,
            awaited @ (Wait::In(..) | Wait::On(_) | Wait::Outside(..)) => {
                awaited.upgrade().is_some_and(|on| match on.takers() {
                    Some(takers) => !takers.is_empty() && !takers.into_iter().any(|taker| kernel.is_of_another(taker)),
                    None => !on.tasks().is_empty(),
                })
            }
        };
        let is_stuck = |task: &AnyTask| {
            let header = task.header();
            let waits = kernel.waits_of(header);
            header.token() == self.own
                || kernel.table.state(header) == State::Waiting
                    && !header.is_timed()
                    && !waits.is_empty()
                    && waits.iter().all(|(_, begun)| waits_for_tasks(begun))
        };
        let tasks = kernel.tasks();
        let is_alone = !kernel.is_listening()
            && !kernel.wheel.borrow().iter().any(|(_, _, alarm)| has_other_timers(alarm))
            && tasks.iter().all(is_stuck);
        self.work += tasks.len();
        self.is_alone = Some(is_alone);
        is_alone
    }

    /// Whether a task that leads back sleeps, or whether the task `own` sleeps in its polled part.
    fn any_sleeps(&mut self, own: &Header) -> bool {
        let wheel = self.kernel.wheel.borrow();
        self.work += wheel.len();
        wheel.iter().any(|(number, _, alarm)| match *alarm {
            Alarm::Task(token, _) | Alarm::Within(token, ..) if token == own.token() => !own.is_frozen(number),
            Alarm::Task(token, _) | Alarm::Within(token, ..) => self.known.get(&token) == Some(&true),
            Alarm::Call(_) => false,
        })
    }
}

impl Kernel {
    /// Whether this is a living task of another loop.
    fn is_of_another(&self, task: Token) -> bool {
        !self.has(task) && context::loop_of(task).is_some_and(|other| other.table.is_alive(task))
    }

    /// Whether anything in a region is known to wait beside the scope with this number, or has just
    /// ended a sleep there. Pending sleeps do not count, because a poll does not change them.
    pub(crate) fn has_neighbours(&self, header: &Header, region: Region, scope: u64) -> bool {
        let is_beside = |number: u64| {
            header.is_inside(region, number)
                && !header.is_inside(Region::Inside(scope), number)
                && header.is_frozen(number)
        };
        let turn = self.tally().turns.get();
        let sleeps = header.scopes(|scopes| scopes.sleeps_over(turn)).unwrap_or_default();
        let waits = self.table.waits(header).map(|(number, _)| number);
        waits.chain(sleeps).any(is_beside)
    }

    /// The numbers of the waits and pending sleeps inside a scope that is not cleaning up.
    pub(crate) fn waits_inside(&self, header: &Header, scope: u64) -> Vec<u64> {
        let mut inside = self.all_waits(header);
        inside.retain(|&number| header.is_inside(Region::Inside(scope), number));
        inside
    }

    /// Whether anything in a region is known to wait frozen beside the scope with this number. `body`
    /// are the waits that were inside the scope before it cleaned up. Unlike `has_neighbours`, this
    /// counts pending sleeps, because the scope will be polled also when they have ended.
    pub(in crate::kernel) fn has_frozen_beside(
        &self,
        header: &Header,
        region: Region,
        scope: u64,
        body: Option<&[u64]>,
    ) -> bool {
        let is_beside = |number: u64| {
            header.is_inside(region, number)
                && !header.is_inside(Region::Inside(scope), number)
                && header.is_frozen(number)
        };
        match body {
            Some(body) => self.all_waits(header).into_iter().any(|number| !body.contains(&number) && is_beside(number)),
            None => self.all_waits(header).into_iter().chain(header.frozen_sleeps_over()).any(is_beside),
        }
    }

    /// The numbers of the waits and pending sleeps of a task.
    fn all_waits(&self, header: &Header) -> Vec<u64> {
        let waits = self.table.waits(header).map(|(number, _)| number);
        waits.chain(self.sleeps_of(header)).collect()
    }

    /// Whether any wait in a region is frozen. Only futures beside a cleanup have such waits.
    fn has_frozen_waits(&self, header: &Header, region: Region) -> bool {
        let is_beside = |number: u64| header.is_inside(region, number) && header.is_frozen(number);
        let mut waits = self.table.waits(header).map(|(number, _)| number);
        waits.any(is_beside) || self.sleeps_of(header).into_iter().any(is_beside)
    }
}
