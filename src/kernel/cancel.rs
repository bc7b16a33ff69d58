//! How a cancellation spreads.
//!
//! A cancelled task is condemned: when it is stepped next, it unwinds (`unwind.rs`), and its future is dropped instead of polled.
//! What it waits for decides when that is. A task that waits for tasks passes the cancellation on to them, is woken by
//! their end, and waits until the last has ended; any other is queued at once. So children end before the destructors of
//! their parents run.
//!
//! Tasks that await each other in a circle would wait for ever for each other's end: where the way leads back to a task that
//! it has come through, the last one before it is queued, and does not wait.
//!
//! Next: `shutdown.rs`.

use super::Kernel;
#[cfg(feature = "probe")]
use super::probe::Source;
use super::task::{AnyTask, Awaited, Begun, Header, Wait};
use super::token::Token;
use std::rc::Rc;

/// A place on the way, which is a walk in depth-first order; the stack is a list, so a chain of any length fits.
enum Visit {
    Enter { task: AnyTask, from: Option<AnyTask> },
    Leave(AnyTask),
}

impl Kernel {
    /// Asks a task to end. False if it has ended.
    pub(crate) fn cancel(&self, task: &AnyTask) -> bool {
        if task.header().is_done() {
            return false;
        }
        self.spread(vec![Visit::Enter { task: task.clone(), from: None }], self.new_spread());
        true
    }

    /// Asks all tasks to end. Each is come by once, so a chain of tasks that await each other costs its length, and not its
    /// square.
    #[cold]
    pub(crate) fn cancel_all(&self) {
        #[cfg(feature = "probe")]
        let _because = self.because_of(Source::Kernel);
        let spread = self.new_spread();
        for task in self.tasks() {
            self.spread(vec![Visit::Enter { task, from: None }], spread);
        }
    }

    /// Takes one request back, and answers how many are left. With the last of them, a task that has not been stepped since goes
    /// on as if nothing had been asked for; what it awaited stays cancelled.
    pub(crate) fn uncancel(&self, task: &Header) -> u32 {
        let left = task.cancelling.get().saturating_sub(1);
        task.cancelling.set(left);
        if left == 0 && task.is_condemned() {
            self.wakers.pardon(task);
            self.resume_waits(task, &|_| true);
        }
        left
    }

    /// A task that was condemned while it ran has suspended: what it waits for decides only now.
    #[cold]
    pub(crate) fn cancel_suspended(&self, task: &AnyTask) {
        let spread = self.new_spread();
        let mut stack = Vec::new();
        self.go_on_from(task, spread, &mut stack);
        self.spread(stack, spread);
    }

    /// Interrupts an await of a task that is not itself cancelled: its time is up. The links of that await are cancelled.
    pub(crate) fn interrupt(&self, task: &AnyTask, links: Vec<AnyTask>) {
        let spread = self.new_spread();
        task.header().visited.set(on_the_way(spread));
        let mut stack = Vec::new();
        enter_links(links, task, &mut stack);
        self.spread(stack, spread);
    }

    fn new_spread(&self) -> u32 {
        if self.spreads.get() == LAST_SPREAD {
            self.forget_spreads();
        }
        self.spreads.set(self.spreads.get() + 1);
        self.spreads.get()
    }

    /// The numbers begin anew, and no mark of an old one may be left.
    #[cold]
    fn forget_spreads(&self) {
        self.tasks().iter().for_each(|task| task.header().visited.set(0));
        self.spreads.set(0);
    }

    /// Goes on until the stack is worked off, from its end.
    fn spread(&self, mut stack: Vec<Visit>, spread: u32) {
        while let Some(visit) = stack.pop() {
            match visit {
                Visit::Leave(task) => task.header().visited.set(left_behind(spread)),
                Visit::Enter { task, from } => {
                    let header = task.header();
                    if header.is_done() || header.visited.get() == left_behind(spread) {
                        continue;
                    }
                    if header.visited.get() == on_the_way(spread) {
                        if let Some(from) = from {
                            self.wakers.force(from.header());
                        }
                        continue;
                    }
                    header.cancelling.set(header.cancelling.get().saturating_add(1));
                    self.wakers.condemn(header);
                    if self.wakers.is_running(header) {
                        // It comes by `cancel_suspended`, or ends.
                        header.visited.set(left_behind(spread));
                    } else {
                        self.go_on_from(&task, spread, &mut stack);
                    }
                }
            }
        }
        self.stir();
    }

    /// A task that has links is left to them, and they come next; any other is queued.
    fn go_on_from(&self, task: &AnyTask, spread: u32, stack: &mut Vec<Visit>) {
        let header = task.header();
        let Some(links) = self.interrupt_waits(header, &|_| true) else {
            header.visited.set(left_behind(spread));
            self.wakers.wake(header.token());
            return;
        };
        header.visited.set(on_the_way(spread));
        // The task is left after the last of them.
        stack.push(Visit::Leave(task.clone()));
        enter_links(links, task, stack);
    }

    /// Tells what a task waits in that it will not come back, of those waits whose numbers count, and answers the tasks to which
    /// the cancellation goes on. None if there are no links among the waits. If all that they lead to have ended, that is no
    /// task, but not none: the task is queued already, or a callback is that will wake it.
    pub(crate) fn interrupt_waits(&self, header: &Header, counts: &dyn Fn(u64) -> bool) -> Option<Vec<AnyTask>> {
        let counts = polled(header, counts);
        let links = self.links(header, &counts);
        self.awaited(header, &counts).iter().for_each(|awaited| awaited.interrupt());
        links
    }

    /// Whether a task awaits others of which one lives, in those waits whose numbers count.
    pub(crate) fn awaits_living(&self, header: &Header, counts: &dyn Fn(u64) -> bool) -> bool {
        let links = self.links(header, &polled(header, counts));
        links.is_some_and(|links| links.iter().any(|task| !task.header().is_done()))
    }

    /// Takes back that what a task waits in was told of its cancellation, or of an interruption, of those waits whose numbers
    /// count.
    pub(crate) fn resume_waits(&self, header: &Header, counts: &dyn Fn(u64) -> bool) {
        self.awaited(header, &polled(header, counts)).iter().for_each(|awaited| awaited.resume());
    }

    /// The future that was to come back for these waits is gone. Those that are still recorded have outlived it, since they stand in
    /// a future of somebody else's, which polls them only when they wake it.
    #[cold]
    pub(crate) fn release_waits(&self, header: &Header, counts: &dyn Fn(u64) -> bool) {
        // Wakes, and the wakers may be foreign.
        self.awaited(header, counts).iter().for_each(|awaited| self.tolerate(|| awaited.resume()));
    }

    /// A cancelled task keeps for a while what waits beside its cleanups, or beside the children that it waits for: others are to
    /// have what that was given.
    pub(crate) fn give_way(&self, header: &Header) {
        let frozen = header.frozen();
        let is_beside = |number| frozen.is_none_or(|frozen| number <= frozen);
        self.awaited(header, &is_beside).iter().for_each(|awaited| awaited.give_way());
    }

    /// Hands out what a task waits for but sleeps, with the numbers.
    pub(crate) fn each_wait(&self, header: &Header, act: &mut dyn FnMut(u64, Begun)) {
        self.each_that_counts(header, &polled(header, &|_| true), act);
    }

    /// The tasks that a task awaits. None if none of its waits is for tasks.
    #[inline(never)]
    fn links(&self, header: &Header, counts: &dyn Fn(u64) -> bool) -> Option<Vec<AnyTask>> {
        let mut links: Option<Vec<AnyTask>> = None;
        self.each_that_counts(header, counts, &mut |_, begun| match begun.wait {
            Wait::Task(Token::NOBODY) => {}
            Wait::Task(token) => links.get_or_insert_default().extend(self.wakers.task(token)),
            Wait::On(awaited) => {
                if let Some(tasks) = awaited.upgrade().and_then(|awaited| awaited.links()) {
                    links.get_or_insert_default().extend(tasks);
                }
            }
        });
        links
    }

    /// What is to be told what becomes of the task. All are found before the first is told.
    #[inline(never)]
    fn awaited(&self, header: &Header, counts: &dyn Fn(u64) -> bool) -> Vec<Rc<dyn Awaited>> {
        let mut awaited = Vec::new();
        self.each_that_counts(header, counts, &mut |_, begun| {
            if let Some(one) = begun.wait.upgrade() {
                awaited.push(one);
            }
        });
        awaited
    }

    /// Not a part of each that uses it: there are many.
    #[inline(never)]
    fn each_that_counts(&self, header: &Header, counts: &dyn Fn(u64) -> bool, act: &mut dyn FnMut(u64, Begun)) {
        for (number, begun) in self.wakers.waits(header) {
            if counts(number) {
                act(number, begun);
            }
        }
    }

    /// The numbers of all that a task waits for and of the scopes that it has entered.
    pub(crate) fn numbers(&self, header: &Header) -> Vec<u64> {
        let waits = self.wakers.waits(header).map(|(number, _)| number);
        waits.chain(header.scope_numbers()).collect()
    }
}

/// Of what counts, that which is polled: while a task unwinds, that is what its cleanups wait for.
fn polled(header: &Header, counts: &dyn Fn(u64) -> bool) -> impl Fn(u64) -> bool {
    let frozen = header.frozen().unwrap_or(0);
    move |number| number > frozen && counts(number)
}

/// The first link is the next to be entered.
fn enter_links(links: Vec<AnyTask>, from: &AnyTask, stack: &mut Vec<Visit>) {
    for task in links.into_iter().rev() {
        stack.push(Visit::Enter { task, from: Some(from.clone()) });
    }
}

// What `Header::visited` says: the number of the spread, doubled, and whether the way still leads through the task.

pub(super) const LAST_SPREAD: u32 = u32::MAX / 2;

fn on_the_way(spread: u32) -> u32 {
    spread * 2 + 1
}

fn left_behind(spread: u32) -> u32 {
    spread * 2
}
