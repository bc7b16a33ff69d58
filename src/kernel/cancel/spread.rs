//! How a cancellation spreads.
//!
//! A cancelled task is condemned: when it is stepped next, it unwinds (`cancel/unwind.rs`), and its future is dropped instead of polled.
//! What it waits for decides when that is. A task that waits for tasks passes the cancellation on to them, is woken by
//! their end, and waits until the last has ended; any other is queued at once. So children end before the destructors of
//! their parents run.
//!
//! While it waits for the last it is not polled, nor is the future through which it awaits them: the task registers itself as a
//! waiter of the next one that still lives (`follow_link`). So does a block that was interrupted.
//!
//! Tasks that await each other in a circle would wait for ever for each other's end: if the walk comes back to a task on
//! its own path, the last task before it is forced: it is queued, and waits for nothing. A circle through a group is not found by
//! this walk, and as in asyncio its tasks stay, unless the program has cancelled each of them twice within one turn. At the
//! end of the loop such circles are looked for, and broken.

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

/// A place on the way, which is a walk in depth-first order; the stack is a list, so a chain of any length fits.
enum Visit {
    Enter {
        task: AnyTask,
        from: Option<AnyTask>,
    },
    Leave(AnyTask),
    /// What is no task is interrupted, and leads nowhere.
    Interrupt(Rc<dyn Awaited>),
}

impl Kernel {
    /// Asks a task to end. False if it has ended.
    pub(crate) fn cancel(&self, task: &AnyTask) -> bool {
        let header = task.header();
        if header.is_done() {
            return false;
        }
        self.spread(vec![Visit::Enter { task: task.clone(), from: None }], self.new_spread());
        true
    }

    /// The program has asked a task to end, by a handle to it. If it waits in a circle, each task of which the program has asked
    /// twice in one turn, it waits no longer.
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
        if left == 0 && (task.is_condemned() || self.table.is_doomed(task)) {
            self.revoke_cancel(task);
        }
        left
    }

    /// A task that was condemned, and has not been unwound for that, goes on after all.
    fn revoke_cancel(&self, task: &Header) {
        self.table.revoke_cancel(task);
        task.take_request();
        if let Some(link) = task.replace_link(None) {
            // It was woken while it waited for the end of another, and is to see what for.
            self.drop_link(Some(link));
            self.table.wake(task.token());
        }
        self.resume_waits(task, Region::Task);
    }

    /// A task that was condemned while it ran has suspended: what it waits for decides only now.
    #[cold]
    pub(crate) fn cancel_suspended(&self, task: &AnyTask) {
        let spread = self.new_spread();
        let mut stack = Vec::new();
        self.go_on_from(task, spread, &mut stack);
        self.spread(stack, spread);
    }

    /// Interrupts what a task does in a region, without cancelling the task: the region unwinds when it is polled next. Returns
    /// what it has to wait for before that.
    pub(crate) fn interrupt(&self, task: &AnyTask, region: Region) -> Links {
        let Some(links) = self.interrupt_waits(task.header(), region) else { return Links::None };
        let spread = self.new_spread();
        task.header().visited.set(on_the_way(spread));
        let mut stack = Vec::new();
        let is_living = links.iter().any(|link| matches!(link, Link::Task(task) if !task.header().is_done()));
        enter_links(links, task, &mut stack);
        match self.spread(stack, spread) {
            true => Links::LeadBack,
            false if is_living => Links::Living,
            false => Links::Ended,
        }
    }

    /// A task that waits in a scope, which somebody else than itself unwinds, is to be interrupted there once more.
    pub(crate) fn interrupt_again(&self, task: &AnyTask) {
        self.table.condemn(task.header());
        if !self.table.is_running(task.header()) {
            self.cancel_suspended(task);
        }
    }

    /// Looks for cancelled tasks that wait for each other's ends in circles, by way of groups and cleanups too, and has one of
    /// each circle wait no longer. Returns whether there was one.
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
                    Visit::Interrupt(_) => continue,
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

    /// The way leads back to `first`, by `last`, and through what is still to be left: a task of these that is cancelled and waits
    /// is forced.
    fn break_circle(&self, first: &AnyTask, last: Option<AnyTask>, way: &[Visit]) -> bool {
        let on_the_way = way.iter().rev().filter_map(|visit| match visit {
            Visit::Leave(task) => Some(task),
            Visit::Enter { .. } | Visit::Interrupt(_) => None,
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

    /// Whether a task waits for its own end, by way of others each of which the program has asked twice in one turn as
    /// well.
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

    /// The tasks whose ends a task waits for also when it is cancelled.
    fn outwaited_tasks(&self, header: &Header) -> Vec<AnyTask> {
        let mut tasks = Vec::new();
        self.each_wait(header, &mut |_, begun| match begun.wait {
            Wait::Task(token) => tasks.extend(self.table.task(token)),
            Wait::On(awaited) => tasks.extend(awaited.upgrade().into_iter().flat_map(|awaited| awaited.outwaited())),
        });
        tasks
    }

    /// The tasks without whose ends a task does not go on.
    fn awaited_tasks(&self, header: &Header) -> Vec<AnyTask> {
        let mut tasks = Vec::new();
        self.each_wait(header, &mut |_, begun| match begun.wait {
            Wait::Task(token) => tasks.extend(self.table.task(token)),
            Wait::On(awaited) => tasks.extend(awaited.upgrade().into_iter().flat_map(|awaited| awaited.tasks())),
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

    /// The numbers begin anew, and no mark of an old one may be left.
    #[cold]
    fn forget_spreads(&self) {
        self.tasks().iter().for_each(|task| task.header().visited.set(0));
        self.cancels.spreads.set(0);
    }

    /// Goes on until the stack is worked off, from its end. Returns whether the way leads back to a task that is not itself
    /// cancelled: that of a block which is interrupted.
    fn spread(&self, mut stack: Vec<Visit>, spread: u32) -> bool {
        let mut leads_back = false;
        while let Some(visit) = stack.pop() {
            match visit {
                Visit::Leave(task) => task.header().visited.set(left_behind(spread)),
                Visit::Interrupt(awaited) => awaited.interrupt(),
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
                        // It comes by `cancel_suspended`, or ends.
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

    /// A task that has links is left to them, and they come next; any other is queued.
    fn go_on_from(&self, task: &AnyTask, spread: u32, stack: &mut Vec<Visit>) {
        let header = task.header();
        let Some(links) = self.interrupt_waits(header, Region::Task) else {
            header.visited.set(left_behind(spread));
            self.table.wake(header.token());
            return;
        };
        header.visited.set(on_the_way(spread));
        // The task is left after the last of them.
        stack.push(Visit::Leave(task.clone()));
        enter_links(links, task, stack);
    }

    /// What a task waits in, in a region, is told that it will not come back. Returns to what the cancellation goes on.
    /// None if there are no links among the waits. If all that they lead to have ended, or are no tasks, that is no task, but not
    /// none: the task is queued already, or a callback is, or will be, that will wake it.
    fn interrupt_waits(&self, header: &Header, region: Region) -> Option<Vec<Link>> {
        let counts = &|number| polled(header, region, number);
        let links = self.links(header, counts);
        self.awaited(header, counts).iter().for_each(|awaited| awaited.interrupt());
        links
    }

    /// Takes back that what a task waits in, in a region, was told of an interruption.
    pub(crate) fn resume_waits(&self, header: &Header, region: Region) {
        self.awaited(header, &|number| polled(header, region, number)).iter().for_each(|awaited| awaited.resume());
    }

    /// The future of a region is gone. Waits that are still recorded there have outlived it, since they stand in a future of
    /// somebody else's, which polls them only when they wake it.
    #[cold]
    pub(crate) fn release_waits(&self, header: &Header, region: Region) {
        // Wakes, and the wakers may be foreign.
        let counts = &|number| header.is_inside(region, number);
        self.awaited(header, counts).iter().for_each(|awaited| self.tolerate(|| awaited.resume()));
    }

    /// What waits in a region, and is not polled for a while, makes room: others are to have what it was given. That is all
    /// there, or what is frozen alone.
    pub(crate) fn yield_gift(&self, header: &Header, region: Region, is_frozen_alone: bool) {
        let counts = &|number| header.is_inside(region, number) && (!is_frozen_alone || header.is_frozen(number));
        self.awaited(header, counts).iter().for_each(|awaited| awaited.yield_gift());
    }

    // ---- who is not polled waits by itself ----

    /// Waits for the next task that still lives of those which are awaited in a region. False if there is none.
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

    /// What this task awaits, while it is not polled since it was interrupted, will have no end that wakes it: it is to look.
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

    /// Waits for it no longer.
    pub(crate) fn drop_link(&self, link: Option<(Token, WaiterKey)>) {
        let Some((task, waiter)) = link else { return };
        if let Some(task) = self.table.task(task) {
            // Its waker may be foreign.
            drop(self.table.remove_waiter(task.header(), waiter));
        }
    }

    /// Hands out what a task waits for but sleeps, with the numbers.
    pub(crate) fn each_wait(&self, header: &Header, act: &mut dyn FnMut(u64, WaitEntry)) {
        self.each_that_counts(header, &|number| !header.is_frozen(number), act);
    }

    /// The tasks that a task awaits, and what is awaited beside them. None if none of its waits is for tasks or a gather.
    #[inline(never)]
    fn links(&self, header: &Header, counts: &dyn Fn(u64) -> bool) -> Option<Vec<Link>> {
        let mut links: Option<Vec<Link>> = None;
        self.each_that_counts(header, counts, &mut |_, begun| match begun.wait {
            // Of one that has ended, the wake has come already.
            Wait::Task(token) => {
                if let Some(task) = self.table.task(token) {
                    links.get_or_insert_default().push(Link::Task(task));
                }
            }
            Wait::On(awaited) => {
                if let Some(on) = awaited.upgrade().and_then(|awaited| awaited.links()) {
                    links.get_or_insert_default().extend(on);
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
    fn each_that_counts(&self, header: &Header, counts: &dyn Fn(u64) -> bool, act: &mut dyn FnMut(u64, WaitEntry)) {
        for (number, begun) in self.table.waits(header) {
            if counts(number) {
                act(number, begun);
            }
        }
    }

    /// A scope of a task is polled: what begins until the guard is dropped lies inside of it.
    pub(crate) fn poll_scope<'a>(&'a self, header: &'a Header, number: u64) -> Polled<'a> {
        let before = self.table.numbered();
        header.scopes(|scopes| scopes.open(number, before));
        Polled { kernel: self, header, number }
    }

    /// What has begun in this poll of a scope lies inside of it.
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
    /// Nothing: it is to be polled.
    None,
    /// The end of the tasks that are awaited in it, which wakes it.
    Living,
    /// The same, but they have ended, so it is woken already.
    Ended,
    /// The same, but one of them waits for the task of the block: it must not be waited for.
    LeadBack,
}

/// Whether what has this number lies in the region, and is polled: while a region unwinds, that is what its cleanups wait for.
fn polled(header: &Header, region: Region, number: u64) -> bool {
    header.is_inside(region, number) && !header.is_frozen(number)
}

/// The first link is the next to be entered.
fn enter_links(links: Vec<Link>, from: &AnyTask, stack: &mut Vec<Visit>) {
    for link in links.into_iter().rev() {
        stack.push(match link {
            Link::Task(task) => Visit::Enter { task, from: Some(from.clone()) },
            Link::On(awaited) => Visit::Interrupt(awaited),
        });
    }
}

// What `Header::visited` says: the number of the spread, doubled, and whether the way still leads through the task.

pub(in crate::kernel) const LAST_SPREAD: u32 = u32::MAX / 2;

fn on_the_way(spread: u32) -> u32 {
    spread * 2 + 1
}

fn left_behind(spread: u32) -> u32 {
    spread * 2
}
