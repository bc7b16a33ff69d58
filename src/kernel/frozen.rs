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
//! The kernel looks for this when a cleanup suspends, and when a task begins to wait for a lock or a permit that a task which is
//! ending has taken. Next: `shutdown.rs`.

use super::Kernel;
use super::scopes::Region;
use super::task::{AnyTask, Header, Wait, same};
use super::token::Token;

impl Kernel {
    /// A cleanup in a region of this task has suspended. Answers whether the frozen future of the region is to be dropped for it.
    #[cold]
    pub(crate) fn is_held_up_by_itself(&self, task: &AnyTask, region: Region) -> bool {
        (!self.tells_deadlocks() || self.has_frozen_waits(task.header(), region)) && self.waits_for_own(task)
    }

    /// Somebody waits for what this task has taken. If the task, or a part of it, unwinds, and would drop its frozen future for
    /// that, it is to look.
    pub(crate) fn is_wanted_of(&self, taker: Token) {
        let Some(task) = self.wakers.task(taker).filter(|task| task.header().unwinds_somewhere()) else { return };
        if !self.tells_deadlocks() || self.has_frozen_waits(task.header(), Region::Task) {
            self.wakers.wake(taker);
        }
    }

    /// Whether a task waits for what it has taken itself, by way of the ends of others and of what they have taken.
    fn waits_for_own(&self, task: &AnyTask) -> bool {
        let mut seen = vec![task.clone()];
        let mut next = 0;
        while let Some(waiting) = seen.get(next).cloned() {
            next += 1;
            let mut wanted = Vec::new();
            let mut is_own = false;
            // One that was cancelled waits for tasks alone.
            let waits_on = !waiting.header().is_condemned();
            self.each_wait(waiting.header(), &mut |_, begun| match begun.wait {
                Wait::Task(token) => wanted.extend(self.wakers.task(token)),
                Wait::On(awaited) => {
                    let Some(awaited) = awaited.upgrade() else { return };
                    wanted.extend(awaited.outwaited());
                    if let Some(taker) = awaited.taker().filter(|_| waits_on) {
                        is_own |= taker == task.header().token();
                        wanted.extend(self.wakers.task(taker));
                    }
                }
            });
            if is_own {
                return true;
            }
            for one in wanted {
                if !seen.iter().any(|known| same(known, &one)) {
                    seen.push(one);
                }
            }
        }
        false
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
