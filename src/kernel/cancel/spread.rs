//! How a cancellation spreads.
//!
//! A cancelled task is condemned: at its next step it unwinds (`cancel/unwind.rs`), and its future
//! is dropped instead of polled. What the task waits for decides when that is. A task that waits
//! for tasks passes the cancellation on to them, and is stepped when the last of them has ended.
//! Any other task is queued at once. So children end before the destructors of their parents run.
//!
//! Until then the task is not polled, and neither is the future that awaits the other tasks. So the
//! task registers itself as a waiter of the next awaited task that has not ended (`follow_link`). A
//! block that was interrupted does the same.
//!
//! Tasks that await each other in a circle would wait for ever. If the spread comes back to a task
//! on its own path, it *forces* the task before it: that task is queued, and waits for nothing.
//! This does not find a circle through a group. As in asyncio, the tasks of such a circle stay,
//! unless the program has cancelled each of them twice within one turn. The shutdown of the loop
//! searches for such circles, and breaks them.

use crate::kernel::cancel::scopes::{Inside, Region};
use crate::kernel::cell::{AnyTask, Header, same};
#[cfg(feature = "probe")]
use crate::kernel::observe::probe::Source;
use crate::kernel::table::records::{Awaited, Link, Then, Wait, WaitEntry, WaiterKey};
use crate::kernel::table::waker::clone_uncounted;
use crate::kernel::token::Token;
use crate::kernel::{Kernel, sorted_once};
use std::rc::Rc;
use std::task::Waker;

/// A step of the spread, which is a depth-first walk. The stack is a list, so a chain of any length
/// fits.
enum Visit {
    Enter {
        task: AnyTask,
        from: Option<AnyTask>,
    },
    Leave(AnyTask),
    /// The task also waits for a lock, say. A lock that was handed to it (a *gift*) goes to other
    /// waiters, because the task is not stepped before the awaited tasks have ended.
    YieldGift(AnyTask),
    /// Interrupts an object that is not a task, and leads no further.
    Interrupt(Rc<dyn Awaited>),
}

impl Kernel {
    /// Cancels a task. Returns false if it has ended.
    pub(crate) fn cancel(&self, task: &AnyTask) -> bool {
        let header = task.header();
        if header.is_done() {
            return false;
        }
        self.spread(vec![Visit::Enter { task: task.clone(), from: None }], self.new_spread());
        true
    }

    /// The program has requested a task's end by a handle. If the task waits in a circle, and the
    /// program has requested the end of each task of the circle twice in one turn, the task is
    /// forced.
    pub(crate) fn note_asked(&self, task: &AnyTask) {
        let header = task.header();
        if self.outwaited_tasks(header).is_empty() {
            return;
        }
        header.note_asked(self.tally().turns.get());
        if header.is_pressed() && self.waits_for_itself(task) {
            self.table.force(header);
        }
    }

    /// Cancels all tasks. Each is visited once, so a chain of tasks that await each other costs its
    /// length, and not its square.
    #[cold]
    pub(crate) fn cancel_all(&self) {
        #[cfg(feature = "probe")]
        let _because = self.because_of(Source::Kernel);
        let spread = self.new_spread();
        for task in self.tasks() {
            self.spread(vec![Visit::Enter { task, from: None }], spread);
        }
    }

    /// Takes one request back, and returns the number of requests that are left. If none is left
    /// and the task has not unwound yet, it continues as if no request had come. The tasks that it
    /// awaits stay cancelled.
    pub(crate) fn uncancel(&self, task: &Header) -> u32 {
        let left = task.cancelling.get().saturating_sub(1);
        task.cancelling.set(left);
        if left == 0 && (task.is_condemned() || self.table.is_doomed(task)) {
            self.revoke_cancel(task);
        }
        left
    }

    /// A task that was condemned, and has not unwound yet, continues.
    fn revoke_cancel(&self, task: &Header) {
        self.table.revoke_cancel(task);
        task.take_request();
        if let Some(link) = task.replace_link(None) {
            // The task had waited for the end of another task instead of its own wakes. It is
            // woken, to poll what it missed.
            self.drop_link(Some(link));
            self.table.wake(task.token());
        }
        self.resume_waits(task, Region::Task);
    }

    /// A task that was condemned while it ran has suspended. Only now is it known what it waits
    /// for.
    #[cold]
    pub(crate) fn cancel_suspended(&self, task: &AnyTask) {
        let spread = self.new_spread();
        let mut stack = Vec::new();
        self.go_on_from(task, spread, &mut stack);
        self.spread(stack, spread);
    }

    /// Interrupts what a task does in a region, without cancelling the task: the region unwinds at
    /// its next poll. Returns what it has to wait for before that.
    pub(crate) fn interrupt(&self, task: &AnyTask, region: Region) -> Links {
        let (links, has_others) = self.interrupt_waits(task.header(), region);
        let Some(links) = links else { return Links::None };
        let spread = self.new_spread();
        task.header().visited.set(on_the_way(spread));
        let mut stack = Vec::new();
        let is_living = links.iter().any(|link| matches!(link, Link::Task(task) if !task.header().is_done()));
        enter_links(links, task, &mut stack);
        match self.spread(stack, spread) {
            true => Links::LeadBack,
            false if is_living => {
                if has_others {
                    self.yield_gift(task.header(), region, false);
                }
                Links::Living
            }
            false => Links::Ended,
        }
    }

    /// A block in a task that already unwinds requests an interruption. Interrupts the task again.
    pub(crate) fn interrupt_again(&self, task: &AnyTask) {
        self.table.condemn(task.header());
        if !self.table.is_running(task.header()) {
            self.cancel_suspended(task);
        }
    }

    /// Searches for cancelled tasks that wait for each other's ends in circles, also by way of
    /// groups and cleanups, and forces one task of each circle. Returns whether there was one.
    #[cold]
    pub(crate) fn break_circles(&self) -> bool {
        let spread = self.new_spread();
        let mut has_broken = false;
        let mut stack = Vec::new();
        for task in self.tasks() {
            stack.push(Visit::Enter { task, from: None });
            while let Some(visit) = stack.pop() {
                let (task, from) = match visit {
                    Visit::Enter { task, from } => (task, from),
                    Visit::Leave(task) => {
                        task.header().visited.set(left_behind(spread));
                        continue;
                    }
                    Visit::YieldGift(_) | Visit::Interrupt(_) => continue,
                };
                let visited = task.header().visited.get();
                if visited == on_the_way(spread) {
                    has_broken |= self.break_circle(&task, from, &stack);
                } else if visited != left_behind(spread) && task.header().is_ending() {
                    task.header().visited.set(on_the_way(spread));
                    stack.push(Visit::Leave(task.clone()));
                    let tasks = self.awaited_tasks(task.header()).into_iter().map(Link::Task);
                    enter_links(tasks.collect(), &task, &mut stack);
                }
            }
        }
        has_broken
    }

    /// The path leads back to `first`, from `last`. Forces one cancelled, waiting task on the
    /// circle. Returns whether there was one.
    fn break_circle(&self, first: &AnyTask, last: Option<AnyTask>, way: &[Visit]) -> bool {
        let on_the_way = way.iter().rev().filter_map(|visit| match visit {
            Visit::Leave(task) => Some(task),
            Visit::Enter { .. } | Visit::YieldGift(_) | Visit::Interrupt(_) => None,
        });
        let mut circle = Vec::from_iter(last);
        for task in on_the_way {
            circle.push(task.clone());
            if same(task, first) {
                break;
            }
        }
        let waits = circle.into_iter().find(|task| task.header().is_condemned() && !task.header().is_forced());
        waits.inspect(|task| self.table.force(task.header())).is_some()
    }

    /// Whether a task waits for its own end through other tasks whose ends the program has also
    /// requested twice in one turn.
    #[cold]
    fn waits_for_itself(&self, task: &AnyTask) -> bool {
        let spread = self.new_spread();
        let mut stack = self.outwaited_tasks(task.header());
        while let Some(next) = stack.pop() {
            if same(&next, task) {
                return true;
            }
            let is_new = next.header().visited.replace(on_the_way(spread)) != on_the_way(spread);
            if is_new && next.header().is_pressed() {
                stack.extend(self.outwaited_tasks(next.header()));
            }
        }
        false
    }

    /// The tasks for whose ends a task waits even when it is cancelled.
    fn outwaited_tasks(&self, header: &Header) -> Vec<AnyTask> {
        let mut tasks = Vec::new();
        self.each_wait(header, &mut |_, begun| match begun.wait {
            Wait::Task(token) => tasks.extend(self.table.task(token)),
            awaited @ (Wait::In(..) | Wait::On(_)) => {
                tasks.extend(awaited.upgrade().into_iter().flat_map(|awaited| awaited.outwaited()))
            }
        });
        tasks
    }

    /// The tasks for whose ends a task waits.
    fn awaited_tasks(&self, header: &Header) -> Vec<AnyTask> {
        let mut tasks = Vec::new();
        self.each_wait(header, &mut |_, begun| match begun.wait {
            Wait::Task(token) => tasks.extend(self.table.task(token)),
            awaited @ (Wait::In(..) | Wait::On(_)) => {
                tasks.extend(awaited.upgrade().into_iter().flat_map(|awaited| awaited.tasks()))
            }
        });
        tasks
    }

    fn new_spread(&self) -> u32 {
        if self.cancels.spreads.get() == LAST_SPREAD {
            self.forget_spreads();
        }
        self.cancels.spreads.set(self.cancels.spreads.get() + 1);
        self.cancels.spreads.get()
    }

    /// Numbering starts again, so all old marks are removed.
    #[cold]
    fn forget_spreads(&self) {
        self.tasks().iter().for_each(|task| task.header().visited.set(0));
        self.cancels.spreads.set(0);
    }

    /// Works off the stack. Returns whether the path leads back to a task that is not cancelled
    /// itself: the task of an interrupted block.
    fn spread(&self, mut stack: Vec<Visit>, spread: u32) -> bool {
        let mut leads_back = false;
        while let Some(visit) = stack.pop() {
            match visit {
                Visit::Leave(task) => task.header().visited.set(left_behind(spread)),
                Visit::Interrupt(awaited) => awaited.interrupt(),
                Visit::YieldGift(task) => {
                    let header = task.header();
                    if header.is_condemned() && !header.is_forced() && self.has_living_links(header, Region::Task) {
                        self.yield_gift(header, Region::Task, false);
                    }
                }
                Visit::Enter { task, from } => {
                    let header = task.header();
                    if header.is_done() || header.visited.get() == left_behind(spread) {
                        continue;
                    }
                    if header.visited.get() == on_the_way(spread) {
                        match from {
                            Some(from) if from.header().is_condemned() => self.table.force(from.header()),
                            _ => leads_back = true,
                        }
                        continue;
                    }
                    if header.take_spared() {
                        header.cancelling.set(header.cancelling.get().saturating_add(1));
                        continue;
                    }
                    header.cancelling.set(header.cancelling.get().saturating_add(1));
                    self.table.condemn(header);
                    if self.table.is_running(header) {
                        // The task continues in `cancel_suspended` when it suspends, or it ends.
                        header.visited.set(left_behind(spread));
                    } else {
                        self.go_on_from(&task, spread, &mut stack);
                    }
                }
            }
        }
        self.work_arrived();
        leads_back
    }

    /// If the task awaits tasks, these come next. Otherwise the task is queued.
    fn go_on_from(&self, task: &AnyTask, spread: u32, stack: &mut Vec<Visit>) {
        let header = task.header();
        let (links, has_others) = self.interrupt_waits(header, Region::Task);
        let Some(links) = links else {
            header.visited.set(left_behind(spread));
            self.table.wake(header.token());
            return;
        };
        header.visited.set(on_the_way(spread));
        if has_others {
            stack.push(Visit::YieldGift(task.clone()));
        }
        // The stack is last in, first out: the spread leaves the task after all of its links.
        stack.push(Visit::Leave(task.clone()));
        enter_links(links, task, stack);
    }

    /// Interrupts what a task waits for in a region. Returns the links along which the cancellation
    /// continues, or `None` if no wait has links. If there are links, but none is a living task,
    /// the task is already queued, or a callback will wake it. The second value is whether the task
    /// waits for anything but single tasks and sleeps.
    fn interrupt_waits(&self, header: &Header, region: Region) -> (Option<Vec<Link>>, bool) {
        let counts = &|number| polled(header, region, number);
        let links = self.links(header, counts);
        let awaited = self.awaited(header, counts);
        awaited.iter().for_each(|awaited| awaited.interrupt());
        (links, !awaited.is_empty())
    }

    /// Whether a task that is awaited in a region is alive, so that the region is not polled yet.
    fn has_living_links(&self, header: &Header, region: Region) -> bool {
        let links = self.links(header, &|number| polled(header, region, number));
        links.into_iter().flatten().any(|link| matches!(link, Link::Task(task) if !task.header().is_done()))
    }

    /// Revokes the interruption of what a task waits for in a region.
    pub(crate) fn resume_waits(&self, header: &Header, region: Region) {
        self.awaited(header, &|number| polled(header, region, number)).iter().for_each(|awaited| awaited.resume());
    }

    /// The future of a region is gone. Waits that are still recorded there are in a future of other
    /// code, which polls them only when they are woken. So their interruption is revoked.
    #[cold]
    pub(crate) fn release_waits(&self, header: &Header, region: Region) {
        // This may wake, and the wakers may be user code.
        let counts = &|number| header.is_inside(region, number);
        self.awaited(header, counts).iter().for_each(|awaited| self.tolerate(|| awaited.resume()));
    }

    /// The waits in a region, or with `is_frozen_alone` the frozen ones among them, are not polled
    /// for some time. What was handed to them, for example a lock, goes to other waiters.
    pub(crate) fn yield_gift(&self, header: &Header, region: Region, is_frozen_alone: bool) {
        let counts = &|number| header.is_inside(region, number) && (!is_frozen_alone || header.is_frozen(number));
        self.awaited(header, counts).iter().for_each(|awaited| awaited.yield_gift());
    }

    // ---- a task that is not polled registers its own waiters ----

    /// Of the tasks that are awaited in a region, takes the first that has not ended, and adds
    /// `waker` to its waiters. Returns false if all have ended.
    pub(crate) fn follow_link(
        &self,
        link: &mut Option<(Token, WaiterKey)>,
        header: &Header,
        region: Region,
        waker: &Waker,
    ) -> bool {
        self.drop_link(link.take());
        let links = self.links(header, &|number| polled(header, region, number));
        let mut tasks = links.into_iter().flatten().filter_map(Link::into_task);
        let Some(next) = tasks.find(|task| !task.header().is_done()) else { return false };
        *link = Some(self.add_link(&next, waker));
        true
    }

    fn add_link(&self, task: &AnyTask, waker: &Waker) -> (Token, WaiterKey) {
        let waiter = self.table.add_waiter(task.header(), Then::Wake(clone_uncounted(waker)));
        (task.header().token(), waiter)
    }

    /// The task is interrupted, and a gather that it awaits is decided. The wake of the gather may
    /// not reach the task. So this wakes the task, which checks again.
    pub(crate) fn link_is_over(&self, task: Token) {
        let Some(task) = self.table.task(task) else { return };
        let header = task.header();
        if header.is_condemned() {
            self.table.wake(header.token());
        }
        for scope in header.asking_scopes().into_iter().filter_map(|number| header.scope(number)) {
            self.tolerate(|| scope.inside().into_iter().for_each(Inside::wake));
        }
    }

    /// Removes the waiter.
    pub(crate) fn drop_link(&self, link: Option<(Token, WaiterKey)>) {
        let Some((task, waiter)) = link else { return };
        if let Some(task) = self.table.task(task) {
            // Its waker may be user code.
            drop(self.table.remove_waiter(task.header(), waiter));
        }
    }

    /// Calls `act` with each wait that is not frozen, and with its number. Sleeps are left out.
    pub(crate) fn each_wait(&self, header: &Header, act: &mut dyn FnMut(u64, WaitEntry)) {
        self.each_that_counts(header, &|number| !header.is_frozen(number), act);
    }

    /// The tasks and other links that a task awaits. `None` if it waits for no task and no object
    /// with links.
    #[inline(never)]
    fn links(&self, header: &Header, counts: &dyn Fn(u64) -> bool) -> Option<Vec<Link>> {
        let mut links: Option<Vec<Link>> = None;
        self.each_that_counts(header, counts, &mut |_, begun| match begun.wait {
            // A task that has ended has already woken its waiters.
            Wait::Task(token) => {
                if let Some(task) = self.table.task(token) {
                    links.get_or_insert_default().push(Link::Task(task));
                }
            }
            awaited @ (Wait::In(..) | Wait::On(_)) => {
                if let Some(on) = awaited.upgrade().and_then(|awaited| awaited.links()) {
                    links.get_or_insert_default().extend(on);
                }
            }
        });
        links
    }

    /// The objects to notify about the task. All are collected before the first is notified.
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

    /// Not inlined, because it has many callers.
    #[inline(never)]
    fn each_that_counts(&self, header: &Header, counts: &dyn Fn(u64) -> bool, act: &mut dyn FnMut(u64, WaitEntry)) {
        for (number, begun) in self.table.waits(header) {
            if counts(number) {
                act(number, begun);
            }
        }
    }

    /// Begins a poll of a scope of the task: what begins until the guard is dropped is inside the
    /// scope.
    pub(crate) fn poll_scope<'a>(&'a self, header: &'a Header, number: u64) -> Polled<'a> {
        let before = self.table.numbered();
        header.scopes(|scopes| scopes.open(number, before));
        Polled { kernel: self, header, number }
    }

    /// Ends the poll: what has begun in it is inside the scope.
    fn close_scope(&self, header: &Header, number: u64) {
        let last = self.table.numbered();
        let many = header.scopes(|scopes| {
            scopes.close(number, last);
            scopes.is_to_be_pruned(number)
        });
        if many == Some(true) {
            let waits = self.table.waits(header).map(|(number, _)| number);
            let scopes = header.scopes(|scopes| scopes.numbers().collect::<Vec<_>>()).unwrap_or_default();
            let living = sorted_once(waits.chain(scopes));
            header.scopes(|scopes| scopes.prune(number, &living));
        }
    }
}

/// See `Kernel::poll_scope`.
pub(crate) struct Polled<'a> {
    kernel: &'a Kernel,
    header: &'a Header,
    number: u64,
}

impl Drop for Polled<'_> {
    fn drop(&mut self) {
        self.kernel.close_scope(self.header, self.number);
    }
}

/// What an interrupted block has to wait for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Links {
    /// Nothing: it can be polled.
    None,
    /// The end of tasks that are awaited in the block, which wakes it.
    Living,
    /// Tasks were awaited in the block but have ended, so the block is already woken.
    Ended,
    /// A task that is awaited in the block waits for the task of the block, so the block must not
    /// wait for it.
    LeadBack,
}

/// Whether the item with this number is inside the region and is polled. While a region unwinds,
/// only its innermost cleanup is polled.
fn polled(header: &Header, region: Region, number: u64) -> bool {
    header.is_inside(region, number) && !header.is_frozen(number)
}

/// The first link is entered next.
fn enter_links(links: Vec<Link>, from: &AnyTask, stack: &mut Vec<Visit>) {
    for link in links.into_iter().rev() {
        stack.push(match link {
            Link::Task(task) => Visit::Enter { task, from: Some(from.clone()) },
            Link::On(awaited) => Visit::Interrupt(awaited),
        });
    }
}

// The values of `Header::visited`: twice the number of the spread, plus one while the path leads
// through the task.

pub(in crate::kernel) const LAST_SPREAD: u32 = u32::MAX / 2;

fn on_the_way(spread: u32) -> u32 {
    spread * 2 + 1
}

fn left_behind(spread: u32) -> u32 {
    spread * 2
}
