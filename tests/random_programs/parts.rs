//! The parts of a running program: values that are counted and may panic, and futures that wrap
//! other futures to watch them.
//!
//! Next: `machine.rs`, the state that these parts share.

use crate::machine::{Machine, TaskRecord, is_loop_running, with_running};
use crate::program::Word;
use onelane::{EventLoop, TaskId, TaskRef, call_later, call_soon, current_task};
use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

/// The output of each future of a program.
pub(crate) type Out = Result<Value, Oops>;

pub(crate) type Boxed = Pin<Box<dyn Future<Output = Out>>>;

/// A failure that is a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Oops {
    Failed,
    Cancelled,
    Panicked,
    Elapsed,
    Nobody,
}

/// Counts how many instances were made and dropped.
#[derive(Default)]
pub(crate) struct Count {
    pub(crate) made: Cell<u64>,
    pub(crate) dropped: Cell<u64>,
}

const LIVING: u64 = 0x11fe_11fe_11fe_11fe;

/// A counted instance. Its destructor detects a second drop.
pub(crate) struct Counted {
    count: Rc<Count>,
    life: u64,
}

impl Counted {
    pub(crate) fn new(count: &Rc<Count>) -> Self {
        count.made.set(count.made.get() + 1);
        Counted { count: count.clone(), life: LIVING }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        // AddressSanitizer gives a better report, but this check costs nothing and works
        // everywhere.
        if std::mem::replace(&mut self.life, 0) != LIVING {
            eprintln!("something was dropped twice");
            std::process::abort();
        }
        self.count.dropped.set(self.count.dropped.get() + 1);
    }
}

// ---- bombs ----

/// The prefix of the message of each panic that a program asks for.
pub(crate) const BOMB: &str = "bomb: ";

/// A payload whose destructor panics.
pub(crate) struct Payload;

impl Drop for Payload {
    fn drop(&mut self) {
        explode_in_drop("the destructor of a payload");
    }
}

/// Panics, unless this thread already panics.
pub(crate) fn explode(what: &str) {
    if !std::thread::panicking() {
        with_running(Machine::note_panic);
        panic!("{BOMB}{what}");
    }
}

/// Panics in a destructor, unless this thread already panics.
pub(crate) fn explode_in_drop(what: &str) {
    with_running(|machine| machine.has_destructor_panicked.set(true));
    explode(what);
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fuse {
    None,
    Drop,
    Clone,
    DropWithPayload,
}

/// A value that futures return. Its fuse says which operation on it panics.
pub(crate) struct Value {
    fuse: Fuse,
    counted: Counted,
}

impl Value {
    pub(crate) fn new(count: &Rc<Count>, fuse: Fuse) -> Self {
        Value { fuse, counted: Counted::new(count) }
    }
}

impl Clone for Value {
    fn clone(&self) -> Self {
        if self.fuse == Fuse::Clone {
            explode("the clone of a value");
        }
        Value { fuse: self.fuse, counted: Counted::new(&self.counted.count) }
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        match self.fuse {
            Fuse::Drop => explode_in_drop("the destructor of a value"),
            Fuse::DropWithPayload if !std::thread::panicking() => {
                with_running(|machine| {
                    machine.note_panic();
                    machine.has_destructor_panicked.set(true);
                });
                std::panic::panic_any(Payload);
            }
            _ => {}
        }
    }
}

/// An item of queues and channels.
pub(crate) struct Item {
    number: u64,
    _counted: Counted,
}

impl Item {
    pub(crate) fn new(number: u64, count: &Rc<Count>) -> Self {
        Item { number, _counted: Counted::new(count) }
    }
}

impl PartialEq for Item {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Item {}

impl PartialOrd for Item {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Item {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.number.cmp(&other.number)
    }
}

/// The value that a lock protects.
#[derive(Default)]
pub(crate) struct Protected {
    /// The number of guards that exist.
    pub(crate) holders: u32,
}

impl std::fmt::Debug for Protected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut is_bomb = false;
        with_running(|machine| is_bomb = machine.is_debug_a_bomb.get());
        if is_bomb {
            explode("the Debug of a value");
        }
        f.write_str("..")
    }
}

// ---- the place of a future ----

/// The surroundings of a future in its task.
#[derive(Clone, Default)]
pub(crate) struct Scope {
    pub(crate) group: Option<Rc<Group>>,
    /// The task that spawned this one.
    pub(crate) parent: Option<TaskRef>,
    /// The cleanup that the future is a part of.
    pub(crate) cleanup: Option<Rc<Cleanup>>,
    around: Option<Rc<Around>>,
}

/// A reason why a future may go unpolled although its task is alive.
struct Around {
    reason: Reason,
    further_out: Option<Rc<Around>>,
}

#[derive(Clone)]
pub(crate) enum Reason {
    /// Its owner keeps the future and polls something else.
    Kept(Rc<Cell<bool>>),
    /// The future is in a timeout, which may have expired.
    IsUp(Rc<Limit>),
    /// The future is in the body of a group, and a child may have failed.
    Failed(Rc<Group>),
    /// The future may have moved to another task. This alone does not stop the polls.
    Moved(Rc<Cell<bool>>),
}

impl Scope {
    pub(crate) fn of_child(&self) -> Self {
        let parent = if is_loop_running() { current_task() } else { None };
        Scope { group: self.group.clone(), parent, cleanup: None, around: None }
    }

    pub(crate) fn in_cleanup(&self, cleanup: &Rc<Cleanup>) -> Self {
        Scope { cleanup: Some(cleanup.clone()), around: None, ..self.clone() }
    }

    pub(crate) fn within(&self, reason: Reason) -> Self {
        let around = Around { reason, further_out: self.around.clone() };
        Scope { around: Some(Rc::new(around)), ..self.clone() }
    }

    pub(crate) fn in_group(&self, group: &Rc<Group>) -> Self {
        Scope { group: Some(group.clone()), ..self.within(Reason::Failed(group.clone())) }
    }

    /// Whether a future in this scope is polled when its task runs.
    pub(crate) fn is_polled(&self) -> bool {
        !self.any(|reason| match reason {
            Reason::Kept(kept) => kept.get(),
            Reason::IsUp(limit) => limit.is_up() || limit.was_left.get(),
            Reason::Failed(group) => group.has_failed.get(),
            Reason::Moved(_) => false,
        })
    }

    /// A `catch_cancel` in this scope caught a cancellation, so the expired timeouts around it go
    /// on. This does not hold for timeouts in a task that the scope has left.
    pub(crate) fn note_caught(&self) {
        let has_left = self.any(|reason| match reason {
            Reason::IsUp(limit) => {
                limit.was_caught.set((limit.is_up)());
                false
            }
            Reason::Moved(moved) => moved.get(),
            _ => false,
        });
        if has_left {
            return;
        }
        if let Some(cleanup) = &self.cleanup {
            cleanup.scope.note_caught();
        }
    }

    /// A cancellation was raised in this scope. The timeouts around the scope pass it on, and are
    /// never ready themselves.
    pub(crate) fn note_raised(&self) {
        let mut has_left = false;
        self.any(|reason| {
            match reason {
                Reason::IsUp(limit) => {
                    limit.was_caught.set(true);
                    limit.was_left.set(has_left || limit.was_left.get());
                }
                Reason::Moved(moved) => has_left |= moved.get(),
                _ => {}
            }
            false
        });
        if let Some(cleanup) = &self.cleanup {
            cleanup.scope.note_raised();
        }
    }

    /// Whether a future in this scope may be kept without polls, or move to another task.
    pub(crate) fn may_move(&self) -> bool {
        let around = self.cleanup.as_ref();
        self.any(|reason| matches!(reason, Reason::Kept(_) | Reason::Moved(_)))
            || around.is_some_and(|cleanup| cleanup.scope.may_move())
    }

    /// Whether the owner of a future in this scope keeps it, and polls something else.
    pub(crate) fn is_kept(&self) -> bool {
        self.any(|reason| matches!(reason, Reason::Kept(kept) if kept.get()))
    }

    /// Whether a future in this scope has moved to another task.
    pub(crate) fn has_moved(&self) -> bool {
        self.any(|reason| matches!(reason, Reason::Moved(moved) if moved.get()))
    }

    /// Whether this scope, or a cleanup around it, has moved to another task. In a set, it may not
    /// have been polled there.
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.has_moved() || self.cleanup.as_ref().is_some_and(|cleanup| cleanup.scope.is_elsewhere())
    }

    /// The number of timeouts around a future in this scope whose time is up.
    fn limits_that_are_up(&self) -> usize {
        let count = Cell::new(self.cleanup.as_ref().map_or(0, |cleanup| cleanup.scope.limits_that_are_up()));
        self.any(|reason| {
            count.set(count.get() + usize::from(matches!(reason, Reason::IsUp(limit) if limit.is_up())));
            false
        });
        count.get()
    }

    fn any(&self, mut is_it: impl FnMut(&Reason) -> bool) -> bool {
        let mut next = self.around.as_ref();
        while let Some(around) = next {
            if is_it(&around.reason) {
                return true;
            }
            next = around.further_out.as_ref();
        }
        false
    }
}

/// The time of a timeout.
pub(crate) struct Limit {
    pub(crate) is_up: Box<dyn Fn() -> bool>,
    /// The future inside caught the interruption and goes on.
    pub(crate) was_caught: Cell<bool>,
    /// A cancellation was raised inside, perhaps in another task, so the timeout may not know of
    /// it.
    was_left: Cell<bool>,
}

impl Limit {
    pub(crate) fn new(is_up: impl Fn() -> bool + 'static) -> Rc<Self> {
        Rc::new(Limit { is_up: Box::new(is_up), was_caught: Cell::new(false), was_left: Cell::new(false) })
    }

    pub(crate) fn is_up(&self) -> bool {
        (self.is_up)() && !self.was_caught.get()
    }
}

/// A task group that futures in it can spawn into.
#[derive(Default)]
pub(crate) struct Group {
    pub(crate) handle: RefCell<Option<GroupHandle>>,
    pub(crate) children: RefCell<Vec<TaskRef>>,
    /// A child has failed, or the body has panicked.
    pub(crate) has_failed: Cell<bool>,
}

#[derive(Clone)]
pub(crate) enum GroupHandle {
    Plain(onelane::TaskGroup),
    Fallible(onelane::TaskGroup<Oops>),
}

/// The record of a `finally`.
pub(crate) struct Cleanup {
    pub(crate) node: usize,
    /// The surroundings of the `finally`.
    pub(crate) scope: Scope,
    /// The `finally` was polled.
    pub(crate) is_begun: Cell<bool>,
    /// The task that polled the `finally` last.
    pub(crate) owner: Cell<Option<TaskId>>,
    /// No task has to wait for the cleanup: two tasks polled the `finally`, or it was dropped
    /// without a cancellation, or its task panicked.
    is_free: Cell<bool>,
    pub(crate) body_is_gone: Cell<bool>,
    /// The body has returned or panicked.
    pub(crate) body_is_over: Cell<bool>,
    /// It is an `on_cancel`.
    is_on_cancel: bool,
    pub(crate) stage: Cell<Stage>,
    pub(crate) was_polled: Cell<bool>,
    /// The number of cancellations of its task that were handled before the cleanup started.
    pub(crate) cancelled: Cell<u32>,
    /// The unwinding of its task started the cleanup.
    pub(crate) unwinds: Cell<bool>,
    /// The number of timeouts around it whose time was up when the cleanup started.
    limits: Cell<usize>,
    /// The task that polled the cleanup last.
    pub(crate) runs_in: Cell<Option<TaskId>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    New,
    Begun,
    Over,
}

impl Cleanup {
    pub(crate) fn new(node: usize, is_on_cancel: bool, scope: Scope) -> Rc<Self> {
        Rc::new(Cleanup {
            node,
            is_on_cancel,
            body_is_over: Cell::new(false),
            scope,
            is_begun: Cell::new(false),
            owner: Cell::new(None),
            is_free: Cell::new(false),
            body_is_gone: Cell::new(false),
            stage: Cell::new(Stage::New),
            was_polled: Cell::new(false),
            cancelled: Cell::new(0),
            unwinds: Cell::new(false),
            limits: Cell::new(0),
            runs_in: Cell::new(None),
        })
    }

    /// Whether the `finally` has to clean up.
    pub(crate) fn is_needed(&self) -> bool {
        !self.is_on_cancel || !self.body_is_over.get()
    }

    /// Whether a timeout around the cleanup has expired since the cleanup started. Then the cleanup
    /// is interrupted again. The interruption waits for the tasks that the cleanup awaits, and
    /// until then nothing in the cleanup is polled.
    pub(crate) fn is_out_of_time(&self) -> bool {
        self.scope.limits_that_are_up() > self.limits.get()
    }

    /// Whether no task has to wait for the cleanup.
    pub(crate) fn is_free(&self) -> bool {
        // A cleanup that moves takes its inner scopes along.
        let around = self.scope.cleanup.as_ref();
        self.is_free.get() || self.scope.has_moved() || around.is_some_and(|cleanup| cleanup.is_free())
    }
}

// ---- futures around futures ----

/// Records a panic of the running task if it is dropped by one.
struct PanicGuard<'a>(&'a Machine);

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.note_panic();
        }
    }
}

/// Wraps the future of each word: counts it, and logs how it ends.
pub(crate) struct Watched {
    inside: Boxed,
    machine: Rc<Machine>,
    node: usize,
    stage: Stage,
    _counted: Counted,
}

impl Watched {
    pub(crate) fn new(machine: &Rc<Machine>, node: usize, inside: Boxed) -> Self {
        let counted = Counted::new(&machine.futures);
        Watched { inside, machine: machine.clone(), node, stage: Stage::New, _counted: counted }
    }
}

impl Future for Watched {
    type Output = Out;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Out> {
        let this = &mut *self;
        let _notes = PanicGuard(&this.machine);
        if this.stage == Stage::Over {
            this.machine
                .broken("no future is polled after it was ready", format!("node {} was polled again", this.node));
        }
        this.stage = Stage::Over;
        match this.inside.as_mut().poll(context) {
            Poll::Pending => {
                this.stage = Stage::Begun;
                Poll::Pending
            }
            Poll::Ready(out) => {
                this.machine.has_run.set(true);
                this.machine.log(this.node, if out.is_ok() { "gives a value" } else { "fails" });
                Poll::Ready(out)
            }
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if self.stage == Stage::Begun {
            self.machine.log(self.node, "is dropped");
        }
    }
}

/// The outermost future of a task. Detects that a cancelled task is polled.
pub(crate) struct Root {
    inside: Boxed,
    machine: Rc<Machine>,
    node: usize,
    local: u32,
    begun: bool,
    /// The group that fails if this future returns an error.
    group: Option<Rc<Group>>,
}

impl Root {
    pub(crate) fn new(machine: &Rc<Machine>, node: usize, group: Option<Rc<Group>>, inside: Boxed) -> Self {
        Root { inside, machine: machine.clone(), node, local: machine.local(), begun: false, group }
    }
}

impl Future for Root {
    type Output = Out;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Out> {
        let this = &mut *self;
        if !std::mem::replace(&mut this.begun, true) && this.machine.local() != this.local {
            this.machine
                .broken("a task starts with the task-local values of its spawner", format!("node {}", this.node));
        }
        let state = this.machine.current();
        let before =
            state.as_ref().is_some_and(|state| state.ran_on.replace(state.ran_on.get() || state.is_cancelled()));
        let dropped_bodies = this.machine.dropped_bodies.get();
        let is_cancelled = state.as_ref().is_some_and(|state| state.task.cancelling() > state.caught.get());
        this.machine.before_poll.set((dropped_bodies, is_cancelled));
        let had_run = this.machine.has_run.replace(false);
        let poll = {
            let _in_root = InRoot::new(&this.machine);
            this.inside.as_mut().poll(context)
        };
        // This poll may only have dropped the body of a group. Then only neighbours of the group go
        // on, and the machine cannot identify them. A neighbour may also keep the group aside and
        // stop the poll before it reaches the body. A group that moved out of the task has the same
        // effect.
        let drops_body = this.machine.dropped_bodies.get() > dropped_bodies;
        let has_run = this.machine.has_run.replace(had_run);
        let has_neighbours = this.machine.program.has_neighbours_of_groups();
        let is_excused = drops_body && !has_run || has_neighbours;
        if let Some(state) = state.filter(|state| is_excused && state.ran_on.get()) {
            state.ran_on.set(before);
        }
        this.machine.note_end_of_step(poll.is_ready());
        if poll.is_pending() && this.machine.program.has(Word::awaits_a_slot) {
            this.machine.look_for_circles();
        }
        if let (Some(group), Poll::Ready(Err(_))) = (&this.group, &poll) {
            group.has_failed.set(true);
        }
        poll
    }
}

/// Marks a poll of a task's own future. The loop polls cleanups without this mark.
pub(crate) struct InRoot<'a>(&'a Machine, bool);

impl<'a> InRoot<'a> {
    pub(crate) fn new(machine: &'a Machine) -> Self {
        InRoot(machine, machine.is_in_root.replace(true))
    }
}

impl Drop for InRoot<'_> {
    fn drop(&mut self) {
        self.0.is_in_root.set(self.1);
    }
}

/// The future of a `Shared`.
pub(crate) struct InShared {
    pub(crate) inside: Boxed,
    pub(crate) machine: Rc<Machine>,
}

impl Future for InShared {
    type Output = Out;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Out> {
        struct Polled<'a>(&'a Cell<u32>);
        impl Drop for Polled<'_> {
            fn drop(&mut self) {
                self.0.set(self.0.get() - 1);
            }
        }
        let machine = self.machine.clone();
        machine.in_shared.set(machine.in_shared.get() + 1);
        let _polled = Polled(&machine.in_shared);
        self.inside.as_mut().poll(context)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let Some(state) = self.machine.current() else { return };
        if state.ran_on.get() && state.is_cancelled() && !state.has_panicked.get() {
            self.machine
                .broken("a cancelled task runs no line of its body", format!("node {}, {}", self.node, state.name));
        }
    }
}

/// Wraps a wait, and registers when it has to end.
pub(crate) struct WatchedWait<F> {
    future: Pin<Box<F>>,
    machine: Rc<Machine>,
    /// The number of its record, while it waits.
    number: Option<u64>,
    known: WaitRecord,
}

/// The record of a wait.
#[derive(Clone)]
pub(crate) struct WaitRecord {
    pub(crate) node: usize,
    pub(crate) sort: Sort,
    pub(crate) scope: Scope,
    pub(crate) is_satisfied: Rc<dyn Fn(&Machine) -> bool>,
    /// The task that waits.
    pub(crate) task: Option<TaskId>,
    /// The awaited task, if it is an await of one.
    pub(crate) child: Option<TaskRef>,
    /// Whether the wait began in a poll that only drops the body of an interrupted group. `None`
    /// until the wait has begun.
    pub(crate) is_too_late: Option<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sort {
    /// The wait ends when it is satisfied.
    Plain,
    /// The wait is in a queue for something that has one owner. If an earlier waiter is not polled,
    /// it can block the queue.
    Exclusive,
    /// The wait is a timeout. It is satisfied when the time is up, and ends after the cleanups
    /// inside.
    Limit,
}

impl<F: Future> WatchedWait<F> {
    pub(crate) fn new(machine: &Rc<Machine>, known: WaitRecord, future: F) -> Self {
        WatchedWait { future: Box::pin(future), machine: machine.clone(), number: None, known }
    }
}

impl<F: Future> Future for WatchedWait<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        this.machine.forget_wait(this.number.take());
        if this.known.sort != Sort::Limit {
            this.machine.has_run.set(true);
        }
        let poll = this.future.as_mut().poll(context);
        if poll.is_pending() && is_loop_running() {
            this.known.task = current_task().map(|task| task.id());
            let is_too_late = || this.machine.may_drop_a_body(&this.known.scope);
            this.known.is_too_late = this.known.is_too_late.or_else(|| Some(is_too_late()));
            this.number = Some(this.machine.note_wait(this.known.clone()));
            if let Some(me) = this.known.task.filter(|_| this.machine.program.has(Word::awaits_a_slot)) {
                this.machine.look_for_a_way_back(me);
            }
        }
        poll
    }
}

impl<F> Drop for WatchedWait<F> {
    fn drop(&mut self) {
        if let Some(child) = self.known.child.as_ref().filter(|_| self.number.is_some()) {
            self.machine.check_abandoned(child, &self.known);
        }
        self.machine.forget_wait(self.number.take());
    }
}

/// The body of a `finally`.
pub(crate) struct BodyFuture {
    pub(crate) inside: Option<Boxed>,
    pub(crate) cleanup: Rc<Cleanup>,
}

impl Future for BodyFuture {
    type Output = Out;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Out> {
        self.cleanup.is_begun.set(true);
        // A panic ends the body as well.
        self.cleanup.body_is_over.set(true);
        let poll = self.inside.as_mut().expect("it is dropped with the body").as_mut().poll(context);
        self.cleanup.body_is_over.set(poll.is_ready());
        poll
    }
}

impl Drop for BodyFuture {
    fn drop(&mut self) {
        struct Gone<'a>(&'a Cleanup);
        impl Drop for Gone<'_> {
            fn drop(&mut self) {
                self.0.body_is_gone.set(true);
            }
        }
        let _gone = Gone(&self.cleanup);
        // The drop may cancel this task a second time.
        let mut cancelled = 0;
        with_running(|machine| cancelled = machine.current().map_or(0, |state| state.task.cancelling()));
        self.cleanup.cancelled.set(cancelled);
        drop(self.inside.take());
    }
}

/// The cleanup of a `finally`. The future inside is made at the first poll.
pub(crate) struct CleanupFuture<M: FnOnce() -> Boxed> {
    pub(crate) make: Option<M>,
    pub(crate) inside: Option<Boxed>,
    pub(crate) cleanup: Rc<Cleanup>,
    pub(crate) machine: Rc<Machine>,
}

impl<M: FnOnce() -> Boxed> Unpin for CleanupFuture<M> {}

impl<M: FnOnce() -> Boxed> Future for CleanupFuture<M> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let (machine, cleanup) = (this.machine.clone(), this.cleanup.clone());
        let _notes = PanicGuard(&machine);
        let task = machine.current();
        let is_cancelled = task.as_ref().is_some_and(|state| state.task.cancelling() > cleanup.cancelled.get());
        machine.before_poll.set((machine.dropped_bodies.get(), is_cancelled));
        cleanup.runs_in.set(task.as_ref().map(|state| state.id()));
        if let Some(make) = this.make.take() {
            if !cleanup.body_is_gone.get() {
                machine.broken("a cleanup starts after its body was dropped", format!("node {}", cleanup.node));
            }
            // If a group beside the body unwinds, the body may return and be cancelled in one step.
            if !cleanup.is_needed() && !machine.program.has_neighbours_of_groups() {
                machine.broken("an on_cancel that was not cancelled has no cleanup", format!("node {}", cleanup.node));
            }
            machine.log(cleanup.node, "cleans up");
            cleanup.was_polled.set(true);
            cleanup.stage.set(Stage::Begun);
            // In a poll of the task's own future, a pending cancellation is not handled yet.
            cleanup.unwinds.set(!machine.is_in_root.get());
            let dealt_with = |state: Rc<TaskRecord>| {
                if cleanup.unwinds.get() { cleanup.cancelled.get() } else { state.caught.get() }
            };
            cleanup.cancelled.set(task.map_or(0, dealt_with));
            cleanup.limits.set(cleanup.scope.limits_that_are_up());
            this.inside = Some(make());
        }
        let inside = this.inside.as_mut().expect("it was made just now");
        let poll = inside.as_mut().poll(context).map(|out| {
            cleanup.stage.set(Stage::Over);
            drop(out);
        });
        if !machine.is_in_root.get() {
            machine.note_end_of_step(false);
        }
        poll
    }
}

impl<M: FnOnce() -> Boxed> Drop for CleanupFuture<M> {
    fn drop(&mut self) {
        self.cleanup.stage.set(Stage::Over);
    }
}

/// Wraps a `finally`: records the task that polls it, and checks its drop.
pub(crate) struct WatchedFinally {
    pub(crate) inside: Boxed,
    pub(crate) cleanup: Rc<Cleanup>,
    pub(crate) machine: Rc<Machine>,
}

impl Future for WatchedFinally {
    type Output = Out;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Out> {
        let this = &mut *self;
        let task = this.machine.current().map(|state| state.id());
        let before = this.cleanup.owner.replace(task);
        if before.is_some() && before != task {
            this.cleanup.is_free.set(true);
        }
        this.inside.as_mut().poll(context)
    }
}

impl Drop for WatchedFinally {
    fn drop(&mut self) {
        let cleanup = &self.cleanup;
        if self.machine.is_dropped_freely() {
            cleanup.is_free.set(true);
            // A `catch_cancel` inside may have caught a cancellation, and moves with the cleanup.
            if cleanup.is_begun.get() && cleanup.stage.get() != Stage::Over {
                self.machine.current().inspect(|state| state.is_caught_elsewhere.set(true));
            }
        } else if self.machine.is_held_up_by_itself() {
            // The loop drops this `finally` early, so that a lock or permit is released. Its
            // cleanup ends later.
        } else if cleanup.is_begun.get() && cleanup.stage.get() != Stage::Over && !cleanup.is_free() {
            let text = format!("node {} is dropped, and its cleanup is {:?}", cleanup.node, cleanup.stage.get());
            self.machine.broken("a finally that a cancellation drops has cleaned up", text);
        }
    }
}

/// Wraps a group. Its children have ended when it is ready, and when a cancellation drops it.
pub(crate) struct WatchedGroup<F> {
    pub(crate) inside: Pin<Box<F>>,
    pub(crate) group: Rc<Group>,
    pub(crate) machine: Rc<Machine>,
    pub(crate) node: usize,
    pub(crate) scope: Scope,
    pub(crate) is_begun: bool,
    /// The task that polled it last. `has_moved` says whether another task polled it before.
    pub(crate) task: Option<TaskId>,
    pub(crate) has_moved: bool,
}

impl<F> WatchedGroup<F> {
    fn check(&self) {
        drop(self.group.handle.take());
        let children = self.group.children.take();
        // A group may move into one of its own children, and then it ends in that child.
        let me = current_task();
        let living = children.iter().find(|child| !child.is_done() && Some(*child) != me.as_ref());
        // A neighbour of the group holds a lock for which this child waits, so the group was
        // dropped. The task that unwinds still waits for the child.
        if let Some(child) = living.filter(|child| !self.machine.is_held_up_by(child.id())) {
            self.machine.broken("no child outlives its group", format!("node {}: {child:?} goes on", self.node));
        }
    }
}

/// The body of a group.
pub(crate) struct GroupBody {
    pub(crate) inside: Option<Boxed>,
    pub(crate) group: Rc<Group>,
    pub(crate) machine: Rc<Machine>,
}

impl Future for GroupBody {
    type Output = Out;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Out> {
        // If the poll panics, `true` remains, because the group has then failed.
        let before = self.group.has_failed.replace(true);
        let poll = self.inside.as_mut().expect("it is dropped with the body").as_mut().poll(context);
        self.group.has_failed.set(before);
        poll
    }
}

impl Drop for GroupBody {
    fn drop(&mut self) {
        self.machine.dropped_bodies.set(self.machine.dropped_bodies.get() + 1);
        drop(self.inside.take());
    }
}

/// The second part of the output is true if the group gave errors.
impl<F: Future<Output = (Out, bool)>> Future for WatchedGroup<F> {
    type Output = Out;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Out> {
        let this = &mut *self;
        this.is_begun = true;
        let task = this.machine.current().map(|state| state.id());
        let before = std::mem::replace(&mut this.task, task);
        this.has_moved |= before.is_some() && before != task;
        struct Panics<'a>(&'a Machine, &'a Scope);
        impl Drop for Panics<'_> {
            fn drop(&mut self) {
                if std::thread::panicking() {
                    // The panic came from the group's body.
                    self.0.note_errors(self.1);
                }
            }
        }
        let poll = {
            let _panics = Panics(&this.machine, &this.scope);
            this.inside.as_mut().poll(context)
        };
        if let Poll::Ready((out, has_errors)) = poll {
            this.check();
            if has_errors {
                this.machine.note_errors(&this.scope);
            }
            return Poll::Ready(out);
        }
        Poll::Pending
    }
}

impl<F> Drop for WatchedGroup<F> {
    fn drop(&mut self) {
        let is_free = self.machine.is_dropped_freely()
            || self.machine.is_held_up_by_itself()
            || self.scope.is_elsewhere()
            || self.has_moved;
        if self.is_begun && self.group.has_failed.get() {
            // The group may have replaced a cancellation by its errors, which no task reads.
            self.machine.note_errors(&self.scope);
        }
        if is_free || !self.is_begun {
            let (handle, children) = (self.group.handle.take(), self.group.children.take());
            drop((handle, children));
        } else {
            self.check();
        }
    }
}

// ---- other wakers ----

/// Polls the future inside with another waker, which passes wakes on in one of several ways.
pub(crate) struct RelayFuture {
    pub(crate) inside: Boxed,
    relay: Arc<Relay>,
}

struct Relay {
    way: usize,
    /// The first waker that polled it, and the latest.
    wakers: Mutex<(Option<Waker>, Option<Waker>)>,
}

impl RelayFuture {
    pub(crate) fn new(way: usize, inside: Boxed) -> Self {
        RelayFuture { inside, relay: Arc::new(Relay { way, wakers: Mutex::default() }) }
    }
}

impl Future for RelayFuture {
    type Output = Out;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Out> {
        let new = context.waker().clone();
        let first = new.clone();
        let old = {
            let mut wakers = self.relay.wakers.lock().unwrap();
            wakers.0.get_or_insert(first);
            wakers.1.replace(new)
        };
        drop(old);
        let waker = Waker::from(self.relay.clone());
        self.inside.as_mut().poll(&mut Context::from_waker(&waker))
    }
}

impl Drop for RelayFuture {
    fn drop(&mut self) {
        let wakers = std::mem::take(&mut *self.relay.wakers.lock().unwrap());
        drop(wakers);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if self.way == 6 {
            explode_in_drop("the destructor of a waker");
        }
    }
}

impl Wake for Relay {
    fn wake(self: Arc<Self>) {
        let (first, last) = self.wakers.lock().unwrap().clone();
        let Some(waker) = last else { return };
        match self.way {
            1 => {
                waker.wake_by_ref();
                waker.wake();
            }
            2 if is_loop_running() => drop(call_soon(|| waker.wake())),
            3 if is_loop_running() => drop(call_later(Duration::from_millis(1), || waker.wake())),
            4 => {
                waker.wake();
                panic!("{BOMB}a waker");
            }
            5 => {
                first.into_iter().for_each(Waker::wake);
                waker.wake();
            }
            _ => waker.wake(),
        }
    }
}

/// Gives its waker to another party, and is ready after that party has used it.
pub(crate) struct Foreign {
    pub(crate) way: usize,
    pub(crate) begun: bool,
    pub(crate) post: Rc<ForeignPost>,
}

#[derive(Default)]
pub(crate) struct ForeignPost {
    pub(crate) is_open: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl ForeignPost {
    fn open(&self, times: usize) {
        self.is_open.set(true);
        let waker = self.waker.take();
        for _ in 0..times {
            if let Some(waker) = &waker {
                waker.wake_by_ref();
            }
        }
    }
}

impl Future for Foreign {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.post.is_open.get() {
            return Poll::Ready(());
        }
        let old = self.post.waker.replace(Some(context.waker().clone()));
        drop(old);
        let post = self.post.clone();
        if std::mem::replace(&mut self.begun, true) {
            return Poll::Pending;
        }
        match self.way {
            0 => post.open(1),
            1 => post.open(2),
            2 => drop(call_soon(move || post.open(1))),
            3 => drop(call_later(Duration::from_millis(2), move || post.open(1))),
            4 => {
                // The waker is used once more, when the task may already have ended.
                let late = context.waker().clone();
                call_later(Duration::from_millis(5), || late.wake());
                call_soon(move || post.open(2));
            }
            _ => {
                let waker = context.waker().clone();
                // The waker may panic.
                drop(std::thread::spawn(|| waker.wake()).join());
                post.is_open.set(true);
            }
        }
        Poll::Pending
    }
}

/// The moment this number of milliseconds from now.
pub(crate) fn after(milliseconds: usize) -> Instant {
    EventLoop::current().time() + ms(milliseconds)
}

pub(crate) fn ms(milliseconds: usize) -> Duration {
    Duration::from_millis(milliseconds as u64)
}

/// Yields once. It is `Send`.
#[derive(Default)]
pub(crate) struct Sends(bool);

impl Future for Sends {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
