//! A cleanup that waits for what its own task has.
//!
//! ```text
//!   join!(                                                     the body, frozen:   [ guard | .. ]
//!       async { let _guard = lock.lock().await; .. },                                   ^
//!       finally(.., async { drop(lock.lock().await) }),        the cleanup  ---- waits for it
//!   )
//! ```
//!
//! While a cleanup runs, the future around it is frozen: it is not polled, and it is not dropped either, since a frame around
//! a cleanup keeps what it has until the cleanup has ended. If the cleanup waits for a lock or a permit that the task itself has
//! taken, it would wait for ever, and nothing but dropping the frozen future can help. asyncio runs neighbours in tasks of
//! their own, which let go when they are cancelled; a frame around the cleanup would wait for ever there too. Whether
//! the lock stands beside the cleanup or around it cannot be known.
//!
//! So the future is dropped, and the cleanups that are still to come are kept by the task. There is one exception: a loop that
//! reports deadlocks (one on a virtual clock, or in debug mode) drops the future only if something waits beside the cleanup, and
//! reports the deadlock otherwise.
//!
//! Known is who has *taken* a lock or a permit, not where the guard is now. So a task is held up by itself if what it waits for
//! can come only from itself, or from tasks that wait for it in turn, or from a task that has ended: that one gave its guard away,
//! and the frozen future may have it.
//!
//! The kernel looks for this when a cleanup suspends. Others may begin to wait later, and close the circle: so it looks again at
//! all cleanups that wait for others when nothing is ready. Next: `shutdown.rs`.

use super::scopes::{Inside, Region};
use super::task::{AnyTask, Header, Wait, same};
use super::token::Token;
use super::{Kernel, Time, context};
use std::cell::{Cell, RefCell};
use std::time::Duration;

/// The cleanups that have suspended and wait for others, by task and region. Some may be over, some may stand here twice.
#[derive(Default)]
pub(super) struct Suspended {
    /// Borrowed in this file alone, and while no foreign code runs.
    cleanups: RefCell<Vec<(Token, Region)>>,
    /// So many rests go by before the next look: fewer than there are cleanups, so that a look costs each rest a little.
    rests: Cell<usize>,
}

/// So many cleanups are looked at for each rest.
const LOOKS: usize = 16;

/// A rest that takes longer is worth a look in any case.
const LONG: Duration = Duration::from_millis(10);

impl Kernel {
    /// A cleanup in a region of this task has suspended, and the region's frozen future is there. Returns whether it is to be
    /// dropped for the cleanup.
    #[cold]
    pub(crate) fn is_held_up_by_itself(&self, task: &AnyTask, region: Region) -> bool {
        let is_held_up = self.is_held_up(task, region);
        if !is_held_up && self.waits_for_others(task.header()) {
            let mut cleanups = self.suspended.get_or_init(Box::default).cleanups.borrow_mut();
            // In a loop that never rests it must not grow for ever.
            if cleanups.len() == cleanups.capacity() {
                self.forget_those_over(&mut cleanups);
            }
            cleanups.push((task.header().token(), region));
        }
        is_held_up
    }

    /// Nothing is ready before the next timer. Wakes what unwinds and is held up by itself by now; false if nothing is.
    #[inline]
    pub(crate) fn wakes_held_up(&self, next: Option<Time>) -> bool {
        self.suspended.get().is_some_and(|suspended| self.wakes_held_up_among(suspended, next))
    }

    /// As `wakes_held_up`, of a loop that is at rest while its host does other things.
    pub(crate) fn look_before_the_host_rests(&self) {
        if self.wakers.is_idle() && self.suspended.get().is_some() {
            self.wakes_held_up(self.next_deadline());
        }
    }

    #[cold]
    fn wakes_held_up_among(&self, suspended: &Suspended, next: Option<Time>) -> bool {
        let left = suspended.rests.get();
        // On a virtual clock it takes no time to wait.
        let is_long = next.is_none_or(|next| !self.clock.is_virtual() && next.since(self.clock.now()) >= LONG);
        if left > 0 && !is_long {
            suspended.rests.set(left - 1);
            return false;
        }
        let mut cleanups = suspended.cleanups.take();
        self.forget_those_over(&mut cleanups);
        suspended.rests.set(cleanups.len() / LOOKS);
        let mut held_up = Vec::new();
        cleanups.retain(|&(token, region)| {
            let task = self.wakers.task(token).filter(|task| self.is_held_up(task, region));
            let is_held_up = task.is_some();
            held_up.extend(task.zip(Some(region)));
            !is_held_up
        });
        suspended.cleanups.replace(cleanups);
        let wakes = !held_up.is_empty();
        for (task, region) in held_up {
            match region {
                Region::Task => _ = self.wakers.wake(task.header().token()),
                Region::Inside(number) => {
                    let scope = task.header().scope(number);
                    self.tolerate(|| scope.iter().filter_map(|scope| scope.inside()).for_each(Inside::wake));
                }
            }
        }
        wakes
    }

    fn forget_those_over(&self, cleanups: &mut Vec<(Token, Region)>) {
        cleanups.sort_unstable();
        cleanups.dedup();
        cleanups
            .retain(|&(token, region)| self.wakers.task(token).is_some_and(|task| task.header().is_driving(region)));
    }

    fn is_held_up(&self, task: &AnyTask, region: Region) -> bool {
        (!self.tells_deadlocks() || self.has_frozen_waits(task.header(), region)) && self.waits_for_own(task)
    }

    /// Whether a task waits for anything that could come to wait for it in turn.
    fn waits_for_others(&self, header: &Header) -> bool {
        let mut waits_for_others = false;
        self.each_wait(header, &mut |_, begun| {
            waits_for_others |= match begun.wait {
                Wait::Task(_) => true,
                Wait::On(awaited) => {
                    awaited.upgrade().is_some_and(|on| !on.takers().is_empty() || !on.outwaited().is_empty())
                }
            };
        });
        waits_for_others
    }

    /// Whether something that a task waits for can come from nobody but itself: it has taken that, or whoever has waits for this
    /// task, or nobody knows who has.
    fn waits_for_own(&self, task: &AnyTask) -> bool {
        let mut known = vec![task.clone()];
        let mut waits = Vec::new();
        let mut next = 0;
        while let Some(waiting) = known.get(next).cloned() {
            self.each_wait(waiting.header(), &mut |_, begun| {
                let wait = |from, is_taken| AnyOf { waiting: next, from, is_taken };
                match begun.wait {
                    Wait::Task(token) => {
                        // Of one that has ended, the wake has come already.
                        let awaited = self.wakers.task(token);
                        waits.extend(awaited.map(|awaited| wait(vec![place_in(&mut known, awaited)], false)));
                    }
                    Wait::On(awaited) => {
                        let Some(awaited) = awaited.upgrade() else { return };
                        for awaited in awaited.outwaited() {
                            waits.push(wait(vec![place_in(&mut known, awaited)], false));
                        }
                        let takers = awaited.takers();
                        // One that was cancelled waits for tasks alone.
                        if !takers.is_empty() && !waiting.header().is_condemned() {
                            let mut place = |&taker: &Token| match self.wakers.task(taker) {
                                Some(taker) => Some(place_in(&mut known, taker)),
                                // Of another loop.
                                None if context::loop_of(taker).is_some_and(|other| other.wakers.is_alive(taker)) => {
                                    None
                                }
                                // The task itself may have what was taken by one that has ended.
                                None => Some(0),
                            };
                            let from: Option<Vec<_>> = takers.iter().map(&mut place).collect();
                            waits.extend(from.map(|from| wait(from, true)));
                        }
                    }
                }
            });
            next += 1;
        }
        // Who waits for the task, directly or not.
        let mut leads_back = vec![false; known.len()];
        leads_back[0] = true;
        let closed = |wait: &&AnyOf, leads_back: &[bool]| wait.from.iter().all(|&from| leads_back[from]);
        while let Some(wait) = waits.iter().find(|wait| !leads_back[wait.waiting] && closed(wait, &leads_back)) {
            leads_back[wait.waiting] = true;
        }
        let mut circle = waits.iter().filter(|wait| leads_back[wait.waiting] && closed(wait, &leads_back));
        waits.iter().any(|wait| wait.waiting == 0 && closed(&wait, &leads_back)) && circle.any(|wait| wait.is_taken)
    }

    /// Whether anything in a region is known to wait beside the scope of this number, or to have slept there until now.
    pub(crate) fn has_neighbours(&self, header: &Header, region: Region, scope: u64) -> bool {
        let is_beside = |number: u64| {
            header.is_inside(region, number)
                && !header.is_inside(Region::Inside(scope), number)
                && header.is_frozen(number)
        };
        let waits = self.wakers.waits(header).map(|(number, _)| number);
        waits.chain(header.sleeps_over(self.tally().turns.get())).any(is_beside)
    }

    /// Whether anything in a region waits that is frozen: it stands beside a cleanup, and not around it.
    fn has_frozen_waits(&self, header: &Header, region: Region) -> bool {
        let is_beside = |number: u64| header.is_inside(region, number) && header.is_frozen(number);
        let mut waits = self.wakers.waits(header).map(|(number, _)| number);
        waits.any(is_beside)
            || self.sleeps().iter().any(|sleep| sleep.task == header.token() && is_beside(sleep.number))
    }
}

/// A wait that ends when any of these tasks lets it end.
struct AnyOf {
    waiting: usize,
    from: Vec<usize>,
    /// For what they have taken, and not for their ends.
    is_taken: bool,
}

/// Where a task stands among these; at the end, if it is new.
fn place_in(known: &mut Vec<AnyTask>, task: AnyTask) -> usize {
    known.iter().position(|one| same(one, &task)).unwrap_or_else(|| {
        known.push(task);
        known.len() - 1
    })
}
