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
use crate::kernel::explore::{is_noting, touches_all, unknown};
#[cfg(feature = "probe")]
use crate::kernel::observe::{
    probe::{EventKind, Source},
    task_id::TaskId,
};
use crate::kernel::table::records::{Awaited, ForObjects, Link, Then, WaitEntry, WaiterKey};
use crate::kernel::table::waker::clone_uncounted;
use crate::kernel::token::Token;
use crate::kernel::{Kernel, sorted_once};
use alloc::vec::Vec;
use core::task::Waker;

/// A step of the spread, which is a depth-first walk. The stack is a list, so a chain of any length
/// fits.
enum Visit {
    /// A link from the task with this token, or from none.
    Enter(Link, Token),
    /// The functions are there if the task also waits for a lock, say. A lock that was handed to it
    /// (a *gift*) goes to other waiters, because the task is not stepped before the awaited tasks
    /// have ended.
    Leave(AnyTask, Option<&'static ForObjects>),
}

/// Where a cancellation continues.
struct Way {
    /// The tasks and other links that come next.
    links: Vec<Link>,
    /// False if no task and no object with links is awaited. If this is true, and no link is a
    /// living task, then the waiting task is already queued, or a callback will wake it.
    leads_on: bool,
    /// If an object is awaited.
    for_objects: Option<&'static ForObjects>,
}

impl Kernel {
    /// Cancels a task. Returns false if it has ended.
    pub(crate) fn cancel(&self, task: &AnyTask) -> bool {
        let header = task.header();
        // Which tasks a cancellation reaches depends on what all of them wait for.
        touches_all();
        if header.is_done() {
            return false;
        }
        self.spread_to(task, self.new_spread());
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
        if is_noting() && self.waits_for_itself(task) {
            unknown("cancelled tasks that await each other in a circle");
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
        self.each_task(&mut |task| self.spread_to(task, spread));
    }

    fn spread_to(&self, task: &AnyTask, spread: u32) {
        let mut stack = Vec::new();
        self.enter(task, Token::NOBODY, spread, &mut stack);
        self.spread(stack, spread);
    }

    /// Takes one request back, and returns the number of requests that are left. If none is left
    /// and the task has not unwound yet, it continues as if no request had come. The tasks that it
    /// awaits stay cancelled.
    pub(crate) fn uncancel(&self, task: &Header) -> u32 {
        touches_all();
        let left = task.cancelling.get().saturating_sub(1);
        let had_requests = task.cancelling.replace(left) > 0;
        let is_revoked = || task.cancelling.get() == 0 && (task.is_condemned() || self.table.is_doomed(task));
        if had_requests || is_revoked() {
            self.tell_uncancel(task, left, is_revoked());
        }
        // The probe may have cancelled the task again.
        if is_revoked() {
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
        touches_all();
        let spread = self.new_spread();
        let mut stack = Vec::new();
        self.go_on_from(task, spread, &mut stack);
        self.spread(stack, spread);
    }

    /// Interrupts what a task does in a region, without cancelling the task: the region unwinds at
    /// its next poll. Returns what it has to wait for before that.
    pub(crate) fn interrupt(&self, task: &AnyTask, region: Region) -> Links {
        touches_all();
        let header = task.header();
        let Way { links, leads_on, for_objects } = self.way(header, region, true);
        if !leads_on {
            return Links::None;
        }
        let spread = self.new_spread();
        header.visited.set(on_the_way(spread));
        let is_living = first_living(&links).is_some();
        let mut stack = Vec::new();
        enter_links(links, header.token(), &mut stack);
        match self.spread(stack, spread) {
            true => Links::LeadBack,
            false if is_living => {
                if for_objects.is_some() {
                    self.yield_gift(header, region, false);
                }
                Links::Living
            }
            false => Links::Ended,
        }
    }

    /// A region was interrupted, and was polled since, for a child of a scope in it. What the task
    /// has begun to await there, after the wait with this number, is interrupted too. Returns what
    /// the region has to wait for now: what it has waited for may be gone.
    #[cold]
    pub(crate) fn interrupt_since(&self, task: &AnyTask, region: Region, number: u64) -> Links {
        touches_all();
        let header = task.header();
        let is_new = |wait: u64| wait > number && header.is_inside(region, wait) && !header.is_frozen(wait);
        let awaited = self.table.awaited(header, &is_new);
        let links = match for_objects(&awaited) {
            Some(functions) => (functions.links)(&awaited, true).unwrap_or_default(),
            None => awaited,
        };
        let spread = self.new_spread();
        header.visited.set(on_the_way(spread));
        let mut stack = Vec::new();
        enter_links(links, header.token(), &mut stack);
        match self.spread(stack, spread) {
            true => Links::LeadBack,
            false if self.first_living_link(header, region).is_some() => Links::Living,
            false => Links::None,
        }
    }

    /// Whether a task waits for the end of another before it polls again what is around the scope
    /// with this number: directly, or through other tasks.
    #[cold]
    pub(in crate::kernel) fn waits_around(&self, task: &AnyTask, scope: u64, end: Token) -> bool {
        let spread = self.new_spread();
        let mut next = self.awaited_around(task.header(), scope);
        while let Some(waiting) = next.pop() {
            let header = waiting.header();
            if header.token() == end {
                return true;
            }
            let is_new = header.visited.replace(on_the_way(spread)) != on_the_way(spread);
            if !is_new || header.is_done() || header.is_forced() {
                continue;
            }
            if header.is_condemned() {
                next.extend(self.outwaited_tasks(header));
            } else if !header.is_timed() {
                next.extend(self.tasks_of(header, |_| true, |awaited| awaited.tasks()));
            }
        }
        false
    }

    /// The tasks that are awaited in interrupted parts of a task around this scope, and in the
    /// cleanups of such parts.
    fn awaited_around(&self, header: &Header, scope: u64) -> Vec<AnyTask> {
        let asking = header.asking_scopes().into_iter().filter(|&number| {
            let asking = header.scope(number);
            asking.is_some_and(|asking| asking.inside().is_some_and(Inside::waits))
        });
        let task = (header.is_condemned() && !header.is_forced()).then_some(Region::Task);
        let mut regions = task.into_iter().chain(asking.map(Region::Inside));
        if let Some(region) = regions.find(|&region| header.is_inside(region, scope)) {
            return self.tasks_of(header, |number| header.is_inside(region, number), |awaited| awaited.outwaited());
        }
        match header.driver_over(scope).filter(|_| !header.is_timed()) {
            Some(region) => self.tasks_of(header, |number| header.is_inside(region, number), |awaited| awaited.tasks()),
            None => Vec::new(),
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
            stack.push(Visit::Enter(Link::Task(task), Token::NOBODY));
            while let Some(visit) = stack.pop() {
                let (task, from) = match visit {
                    Visit::Enter(Link::Task(task), from) => (task, from),
                    Visit::Enter(Link::On(_), _) => continue,
                    Visit::Leave(task, _) => {
                        task.header().visited.set(left_behind(spread));
                        continue;
                    }
                };
                let header = task.header();
                let visited = header.visited.get();
                if visited == on_the_way(spread) {
                    has_broken |= self.break_circle(&task, self.table.task(from), &stack);
                } else if visited != left_behind(spread) && header.is_ending() {
                    header.visited.set(on_the_way(spread));
                    stack.push(Visit::Leave(task.clone(), None));
                    let tasks = self.tasks_of(header, |_| true, |awaited| awaited.tasks());
                    enter_links(tasks.into_iter().map(Link::Task).collect(), header.token(), &mut stack);
                }
            }
        }
        has_broken
    }

    /// The path leads back to `first`, from `last`. Forces one cancelled, waiting task on the
    /// circle. Returns whether there was one.
    fn break_circle(&self, first: &AnyTask, last: Option<AnyTask>, way: &[Visit]) -> bool {
        let on_the_way = way.iter().rev().filter_map(|visit| match visit {
            Visit::Leave(task, _) => Some(task),
            Visit::Enter(..) => None,
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
        self.tasks_of(header, |_| true, |awaited| awaited.outwaited())
    }

    /// The tasks that a task awaits, and those of each object that it awaits, among the waits whose
    /// numbers count.
    fn tasks_of(
        &self,
        header: &Header,
        counts: impl Fn(u64) -> bool,
        of_object: fn(&dyn Awaited) -> Vec<AnyTask>,
    ) -> Vec<AnyTask> {
        let mut tasks = Vec::new();
        for link in self.table.awaited(header, &|number| counts(number) && !header.is_frozen(number)) {
            match link {
                Link::Task(task) => tasks.push(task),
                Link::On(awaited) => tasks.extend(of_object(&*awaited)),
            }
        }
        tasks
    }

    fn new_spread(&self) -> u32 {
        touches_all();
        if self.cancels.spreads.get() == LAST_SPREAD {
            self.forget_spreads();
        }
        self.cancels.spreads.set(self.cancels.spreads.get() + 1);
        self.cancels.spreads.get()
    }

    /// Numbering starts again, so all old marks are removed.
    #[cold]
    fn forget_spreads(&self) {
        self.each_task(&mut |task| task.header().visited.set(0));
        self.cancels.spreads.set(0);
    }

    /// Works off the stack. Returns whether the path leads back to a task that is not cancelled
    /// itself: the task of an interrupted block.
    fn spread(&self, mut stack: Vec<Visit>, spread: u32) -> bool {
        let mut leads_back = false;
        while let Some(visit) = stack.pop() {
            match visit {
                Visit::Enter(Link::Task(task), from) => leads_back |= self.enter(&task, from, spread, &mut stack),
                Visit::Enter(Link::On(awaited), _) => awaited.interrupt(),
                Visit::Leave(task, for_objects) => {
                    let header = task.header();
                    header.visited.set(left_behind(spread));
                    let Some(for_objects) = for_objects else { continue };
                    let waits = header.is_condemned() && !header.is_forced();
                    if waits && self.first_living_link(header, Region::Task).is_some() {
                        (for_objects.yield_gifts)(self, header);
                    }
                }
            }
        }
        self.work_arrived();
        leads_back
    }

    /// The spread has reached a task, from the task with the token `from`. Returns whether the path
    /// leads back to a task that is not cancelled itself.
    fn enter(&self, task: &AnyTask, from: Token, spread: u32, stack: &mut Vec<Visit>) -> bool {
        let header = task.header();
        if header.is_done() || header.visited.get() == left_behind(spread) {
            return false;
        }
        if header.visited.get() == on_the_way(spread) {
            return match self.table.task(from).filter(|from| from.header().is_condemned()) {
                Some(from) => {
                    self.table.force(from.header());
                    false
                }
                None => true,
            };
        }
        header.cancelling.set(header.cancelling.get().saturating_add(1));
        if header.take_spared() {
            return false;
        }
        if self.is_beneath(header) && !header.is_condemned() {
            header.note_request(self.table.numbered());
        }
        self.table.condemn(header);
        tell!(self.table, EventKind::Cancel { task: TaskId(header.id), by: self.table.source() });
        if self.table.is_running(header) {
            // The task continues in `cancel_suspended` when it suspends, or it ends.
            header.visited.set(left_behind(spread));
        } else {
            self.go_on_from(task, spread, stack);
        }
        false
    }

    /// If the task awaits tasks, these come next. Otherwise the task is queued.
    fn go_on_from(&self, task: &AnyTask, spread: u32, stack: &mut Vec<Visit>) {
        let header = task.header();
        let Way { links, leads_on, for_objects } = self.way(header, Region::Task, true);
        if !leads_on {
            header.visited.set(left_behind(spread));
            self.table.wake(header.token());
            return;
        }
        header.visited.set(on_the_way(spread));
        if header.is_missed() {
            // The end of what it awaits might not wake it. In its step, it waits for that end itself.
            self.table.wake(header.token());
        }
        // The stack is last in, first out: the spread leaves the task after all of its links.
        stack.push(Visit::Leave(task.clone(), for_objects));
        enter_links(links, header.token(), stack);
    }

    /// Where a cancellation of a region continues. If `interrupts`, the objects that are awaited in
    /// the region are interrupted.
    fn way(&self, header: &Header, region: Region, interrupts: bool) -> Way {
        let awaited = self.awaited(header, region);
        match for_objects(&awaited) {
            Some(functions) => {
                let links = (functions.links)(&awaited, interrupts);
                Way { leads_on: links.is_some(), links: links.unwrap_or_default(), for_objects: Some(functions) }
            }
            // A task that has ended has already woken its waiters.
            None => Way { leads_on: !awaited.is_empty(), links: awaited, for_objects: None },
        }
    }

    /// The functions for objects, if the task waits for an object anywhere.
    pub(in crate::kernel) fn for_objects(&self, header: &Header) -> Option<&'static ForObjects> {
        for_objects(&self.table.awaited(header, &|_| true))
    }

    /// What a task waits for in a region, as far as the region is polled.
    fn awaited(&self, header: &Header, region: Region) -> Vec<Link> {
        self.table.awaited(header, &|number| header.is_inside(region, number) && !header.is_frozen(number))
    }

    /// The first task awaited in a region that has not ended. Until it has, the region is not
    /// polled.
    pub(in crate::kernel) fn first_living_link(&self, header: &Header, region: Region) -> Option<AnyTask> {
        first_living(&self.way(header, region, false).links)
    }

    /// Revokes the interruption of what a task waits for in a region.
    pub(crate) fn resume_waits(&self, header: &Header, region: Region) {
        each_object(&self.awaited(header, region), &|awaited| awaited.resume());
    }

    /// The future of a region is gone. Waits that are still recorded there are in a future of other
    /// code, which polls them only when they are woken. So their interruption is revoked.
    #[cold]
    pub(crate) fn release_waits(&self, header: &Header, region: Region) {
        // This may wake, and the wakers may be user code.
        let awaited = self.table.awaited(header, &|number| header.is_inside(region, number));
        each_object(&awaited, &|awaited| self.tolerate(|| awaited.resume()));
    }

    pub(in crate::kernel) fn release_all_waits(&self, header: &Header) {
        self.release_waits(header, Region::Task);
    }

    pub(in crate::kernel) fn yield_gifts(&self, header: &Header) {
        self.yield_gift(header, Region::Task, false);
    }

    /// The waits in a region, or with `is_frozen_alone` the frozen ones among them, are not polled
    /// for some time. What was handed to them, for example a lock, goes to other waiters.
    pub(crate) fn yield_gift(&self, header: &Header, region: Region, is_frozen_alone: bool) {
        let counts = |number| header.is_inside(region, number) && (!is_frozen_alone || header.is_frozen(number));
        each_object(&self.table.awaited(header, &counts), &|awaited| awaited.yield_gift());
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
        let Some(next) = self.first_living_link(header, region) else { return false };
        let waiter = self.table.add_waiter(next.header(), Then::Wake(clone_uncounted(waker)));
        *link = Some((next.header().token(), waiter));
        if next.header().is_missed() {
            // A child of a scope in this task may never be polled any more: in its step it finds out.
            self.table.wake(next.header().token());
        }
        true
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
        for (number, begun) in self.table.waits(header).filter(|(number, _)| !header.is_frozen(*number)) {
            act(number, begun);
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

fn first_living(links: &[Link]) -> Option<AnyTask> {
    links.iter().filter_map(Link::task).find(|task| !task.header().is_done()).cloned()
}

fn for_objects(awaited: &[Link]) -> Option<&'static ForObjects> {
    awaited.iter().find_map(Link::object).map(|awaited| awaited.functions())
}

/// Calls `act` with each object. All were collected before.
fn each_object(awaited: &[Link], act: &dyn Fn(&dyn Awaited)) {
    awaited.iter().filter_map(Link::object).for_each(|awaited| act(&**awaited));
}

/// The first link is entered next.
fn enter_links(mut links: Vec<Link>, from: Token, stack: &mut Vec<Visit>) {
    while let Some(link) = links.pop() {
        stack.push(Visit::Enter(link, from));
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
