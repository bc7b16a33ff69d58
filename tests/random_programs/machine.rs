//! The state of a running program: what its tasks share, the trace, and a record of each task.
//!
//! Next: `futures.rs` and `acts.rs`, which implement the words, then `laws.rs`.

use crate::parts::{
    Boxed, Cleanup, Count, Fuse, Group, Item, Oops, Out, Protected, Root, Scope, Stage, Value, WaitRecord,
};
use crate::program::{Node, Program, SLOTS, Word};
use onelane::sync::{
    Barrier, BoundedSemaphore, Condition, Event, LifoQueue, Lock, Permit, PriorityQueue, Queue, Semaphore, channel,
    oneshot, unbounded,
};
use onelane::{
    CallHandle, CallbackId, Deadline, EventLoop, Promise, Task, TaskId, TaskRef, call_graph, current_task, spawn,
    task_local,
};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

task_local! {
    static LOCAL: u32 = 0;
}

thread_local! {
    /// The program that runs on this thread.
    static RUNNING: RefCell<Weak<Machine>> = const { RefCell::new(Weak::new()) };
    /// The depth of nested drops that no cancellation has caused.
    static BY_HAND: Cell<u32> = const { Cell::new(0) };
}

pub(crate) fn is_loop_running() -> bool {
    EventLoop::try_current().is_ok()
}

/// Runs a drop that no cancellation causes, for example the drop of the loser of a race.
pub(crate) fn by_hand<T>(act: impl FnOnce() -> T) -> T {
    struct Back;
    impl Drop for Back {
        fn drop(&mut self) {
            BY_HAND.set(BY_HAND.get() - 1);
        }
    }
    BY_HAND.set(BY_HAND.get() + 1);
    let _back = Back;
    act()
}

/// Calls `act`, and ignores its panic.
pub(crate) fn tolerate(act: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(act)) {
        drop_payload(payload);
    }
}

/// Drops a payload. Its destructor may panic with another payload.
pub(crate) fn drop_payload(mut payload: Box<dyn Any + Send>) {
    while let Err(next) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        payload = next;
    }
}

/// Takes a value out of a table, so that it is dropped while nothing is borrowed.
pub(crate) fn take<T, const N: usize>(all: &RefCell<[Option<T>; N]>, which: usize) -> Option<T> {
    all.borrow_mut()[which].take()
}

/// A law that was broken, and the evidence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Failure {
    pub(crate) law: String,
    pub(crate) text: String,
}

/// An entry of the trace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Line {
    at: Duration,
    who: u32,
    node: usize,
    what: &'static str,
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Line { at, who, node, what } = self;
        write!(f, "{:>10} ms  task {who:>3}  node {node:>3} {what}", at.as_millis())
    }
}

/// The record of a task.
pub(crate) struct TaskRecord {
    pub(crate) name: u32,
    pub(crate) task: TaskRef,
    /// The number of cancellations that it caught.
    pub(crate) caught: Cell<u32>,
    /// It was polled after it was cancelled.
    pub(crate) ran_on: Cell<bool>,
    /// A group gave it errors in this step although it is cancelled. It goes on until it suspends.
    pub(crate) lives_on: Cell<bool>,
    /// A cancellation was taken back when the task perhaps already unwound because of it.
    pub(crate) may_unwind: Cell<bool>,
    /// It has cancelled itself by `raise_cancelled`.
    pub(crate) has_raised: Cell<bool>,
    /// It entered a `catch_cancel` that it may not poll again.
    pub(crate) is_caught_elsewhere: Cell<bool>,
    pub(crate) has_panicked: Cell<bool>,
    /// The number of calls of its done callback.
    pub(crate) told: Cell<u32>,
    pub(crate) is_to_be_told: Cell<bool>,
    /// The group whose child it is.
    pub(crate) group: RefCell<Option<Rc<Group>>>,
}

impl TaskRecord {
    pub(crate) fn id(&self) -> TaskId {
        self.task.id()
    }

    /// Whether a cancellation is pending: it was neither caught nor taken back.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.task.cancelling() > self.caught.get() && !self.is_caught_elsewhere.get() && !self.lives_on.get()
    }
}

/// The last entry of a program that waits for ever.
pub(crate) const STUCK: &str = "main waits for ever";

impl Line {
    pub(crate) fn is_of_stuck(&self) -> bool {
        self.what == STUCK
    }
}

/// The name of the main task.
pub(crate) const MAIN: u32 = 1;

/// A task in a slot.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) task: Option<Rc<Task<Out>>>,
    pub(crate) task_ref: TaskRef,
}

/// A future that was polled once and put aside.
pub(crate) struct Parked {
    pub(crate) future: Boxed,
    /// Whether it is still put aside.
    pub(crate) kept: Rc<Cell<bool>>,
}

/// A done callback that can be removed.
pub(crate) struct Callback {
    pub(crate) task: Rc<Task<Out>>,
    pub(crate) id: CallbackId,
}

pub(crate) struct Machine {
    pub(crate) program: Program,
    start: Instant,
    pub(crate) main_loop: onelane::LoopRef,
    pub(crate) counts: bool,
    pub(crate) trace: RefCell<Vec<Line>>,
    broken: RefCell<Option<Failure>>,
    pub(crate) has_destructor_panicked: Cell<bool>,
    /// Tasks awaited each other in a circle when one of them was cancelled.
    pub(crate) has_circles: Cell<bool>,
    /// A cancellation was raised in a future that has neighbours, or moves.
    pub(crate) has_raised_beside: Cell<bool>,
    /// A `catch_cancel` has caught something.
    pub(crate) has_caught: Cell<bool>,
    /// A `catch_cancel` has caught something, and may have moved into a timeout in another task.
    pub(crate) has_caught_elsewhere: Cell<bool>,
    /// The number of futures inside of a `Shared` that are being polled.
    pub(crate) in_shared: Cell<u32>,
    /// A task's own future is being polled.
    pub(crate) is_in_root: Cell<bool>,
    /// In this poll of a task's own future, something in it went on.
    pub(crate) has_run: Cell<bool>,
    /// The number of destructors with acts that are under way.
    pub(crate) in_destructors: Cell<u32>,
    /// The number of bodies of groups that were dropped.
    pub(crate) dropped_bodies: Cell<u32>,
    /// The value of `dropped_bodies` at the start of the current poll of a task or a cleanup, and
    /// whether a cancellation had come before.
    pub(crate) before_poll: Cell<(u32, bool)>,
    pub(crate) is_debug_a_bomb: Cell<bool>,
    /// The trace is complete, and nothing is logged any more.
    pub(crate) is_over: Cell<bool>,

    pub(crate) futures: Rc<Count>,
    pub(crate) values: Rc<Count>,
    items: Cell<u64>,

    pub(crate) tasks: RefCell<HashMap<TaskId, Rc<TaskRecord>>>,
    pub(crate) slots: RefCell<[Option<Entry>; SLOTS]>,
    pub(crate) cleanups: RefCell<Vec<Rc<Cleanup>>>,
    pub(crate) waits: RefCell<BTreeMap<u64, WaitRecord>>,
    numbered: Cell<u64>,

    pub(crate) parked: RefCell<[Option<Parked>; 3]>,
    /// The number of owners that keep a future and poll something else.
    pub(crate) kept: Cell<u32>,
    pub(crate) callbacks: RefCell<[Option<Callback>; 2]>,
    pub(crate) handles: RefCell<[Option<CallHandle>; 2]>,
    pub(crate) deadlines: RefCell<[Option<Deadline>; 2]>,
    pub(crate) promises: RefCell<[Promise<Out>; 3]>,
    pub(crate) events: [Event; 3],
    pub(crate) locks: [Rc<Lock<Protected>>; 3],
    pub(crate) semaphore: Semaphore,
    pub(crate) bounded_semaphore: BoundedSemaphore,
    pub(crate) in_semaphores: [Cell<usize>; 2],
    pub(crate) conditions: [Condition<()>; 2],
    pub(crate) barriers: [Barrier; 2],
    queues: (Queue<Item>, Queue<Item>, PriorityQueue<Item>, LifoQueue<Item>),
    channels: [(channel::Sender<Item>, channel::Receiver<Item>); 2],
    pub(crate) oneshots: RefCell<[Option<oneshot::Sender<Item>>; 2]>,
    pub(crate) other_loop: RefCell<Option<Rc<EventLoop>>>,
    pub(crate) others: RefCell<Vec<TaskRef>>,
}

/// Whether this task waits for the running task, directly or through other tasks.
fn waits_for_current(task: &TaskRef) -> bool {
    let graph = call_graph();
    let mut seen = vec![task.id()];
    let mut next = 0;
    while let Some(&id) = seen.get(next) {
        next += 1;
        let waits = graph.tasks.iter().filter(|task| task.id == id).flat_map(|task| &task.waits_for);
        let awaited: Vec<_> = waits.flat_map(|wait| &wait.tasks).copied().filter(|id| !seen.contains(id)).collect();
        seen.extend(awaited);
    }
    current_task().is_some_and(|task| seen.contains(&task.id()))
}

impl Machine {
    pub(crate) fn new(program: &Program, event_loop: &EventLoop, counts: bool) -> Rc<Self> {
        let machine = Rc::new(Machine {
            program: program.clone(),
            start: event_loop.time(),
            main_loop: event_loop.loop_ref(),
            counts,
            trace: RefCell::default(),
            broken: RefCell::default(),
            has_destructor_panicked: Cell::new(false),
            has_circles: Cell::new(false),
            has_raised_beside: Cell::new(false),
            has_caught: Cell::new(false),
            has_caught_elsewhere: Cell::new(false),
            in_shared: Cell::new(0),
            is_in_root: Cell::new(false),
            has_run: Cell::new(false),
            in_destructors: Cell::new(0),
            dropped_bodies: Cell::new(0),
            before_poll: Cell::default(),
            is_debug_a_bomb: Cell::new(false),
            is_over: Cell::new(false),
            futures: Rc::default(),
            values: Rc::default(),
            items: Cell::new(0),
            tasks: RefCell::default(),
            slots: RefCell::default(),
            cleanups: RefCell::default(),
            waits: RefCell::default(),
            numbered: Cell::new(0),
            parked: RefCell::default(),
            kept: Cell::new(0),
            callbacks: RefCell::default(),
            handles: RefCell::default(),
            deadlines: RefCell::default(),
            promises: RefCell::default(),
            events: Default::default(),
            locks: Default::default(),
            semaphore: Semaphore::new(1),
            bounded_semaphore: BoundedSemaphore::new(2),
            in_semaphores: Default::default(),
            conditions: Default::default(),
            barriers: [Barrier::new(2), Barrier::new(3)],
            queues: (Queue::bounded(1), Queue::unbounded(), PriorityQueue::bounded(2), LifoQueue::unbounded()),
            channels: [channel(1), unbounded()],
            oneshots: RefCell::default(),
            other_loop: RefCell::default(),
            others: RefCell::default(),
        });
        RUNNING.set(Rc::downgrade(&machine));
        machine
    }

    // ---- the trace ----

    /// Records that a law was broken. The first one counts.
    pub(crate) fn broken(&self, law: &str, text: String) {
        let failure = Failure { law: law.to_string(), text };
        self.broken.borrow_mut().get_or_insert(failure);
    }

    pub(crate) fn failure(&self) -> Option<Failure> {
        self.broken.borrow().clone()
    }

    pub(crate) fn holds(&self, law: &str, holds: bool, text: impl FnOnce() -> String) {
        if !holds {
            self.broken(law, text());
        }
    }

    pub(crate) fn log(&self, node: usize, what: &'static str) {
        if self.is_over.get() {
            return;
        }
        let (mut at, mut who) = (Duration::ZERO, 0);
        if let Ok(current) = EventLoop::try_current() {
            if current == self.main_loop {
                at = current.time() - self.start;
            }
            who = self.current().map_or(0, |state| state.name);
        }
        self.trace.borrow_mut().push(Line { at, who, node, what });
    }

    pub(crate) fn value(&self) -> Out {
        Ok(Value::new(&self.values, Fuse::None))
    }

    pub(crate) fn item(&self) -> Item {
        self.items.set(self.items.get() + 1);
        // The items do not ascend, so that a priority queue has to sort them.
        Item::new(self.items.get() * 7 % 10, &self.values)
    }

    // ---- tasks ----

    pub(crate) fn state(&self, task: &TaskRef) -> Rc<TaskRecord> {
        let mut tasks = self.tasks.borrow_mut();
        let name = tasks.len() as u32 + 1;
        let new = || {
            Rc::new(TaskRecord {
                name,
                task: task.clone(),
                caught: Cell::new(0),
                ran_on: Cell::new(false),
                lives_on: Cell::new(false),
                may_unwind: Cell::new(false),
                has_raised: Cell::new(false),
                is_caught_elsewhere: Cell::new(false),
                has_panicked: Cell::new(false),
                told: Cell::new(0),
                is_to_be_told: Cell::new(false),
                group: RefCell::default(),
            })
        };
        tasks.entry(task.id()).or_insert_with(new).clone()
    }

    /// The task that runs.
    pub(crate) fn current(&self) -> Option<Rc<TaskRecord>> {
        let task = if is_loop_running() { current_task() } else { None };
        task.map(|task| self.state(&task))
    }

    pub(crate) fn note_panic(&self) {
        if let Some(state) = self.current() {
            state.has_panicked.set(true);
            if let Some(group) = &*state.group.borrow() {
                group.has_failed.set(true);
            }
        }
    }

    /// If the running task has raised a cancellation in this scope, it ends here. There are two
    /// exceptions. In a cleanup, the cancellation goes on after the cleanup. In a set, it may have
    /// been raised beside this scope.
    fn note_end_of_raised(state: &TaskRecord, scope: &Scope) {
        if scope.cleanup.is_none() && !scope.may_move() {
            state.has_raised.set(false);
        }
    }

    /// The running task caught its cancellation.
    pub(crate) fn note_caught(&self, scope: &Scope) {
        if let Some(state) = self.current() {
            state.caught.set(state.task.cancelling());
            state.ran_on.set(false);
            Self::note_end_of_raised(&state, scope);
            self.has_caught.set(true);
        }
    }

    /// A timeout has interrupted the running task. This also covers the cancellation requests from
    /// before the timeout was entered. There may be no later request.
    pub(crate) fn note_elapsed(&self, node: usize, entered: u32, scope: &Scope) {
        let Some(state) = self.current() else { return };
        let cancelling = state.task.cancelling();
        // The first request to a task of a handed-over cleanup has no effect.
        let spared = u32::from(state.task.name().starts_with("cleanup of "));
        // A destructor that the interruption called may have made one more request, which is
        // handled next.
        let may_ask = self.program.has(|word| word == Word::AtDrop);
        // A cancellation does not pass either if a `catch_cancel` that was put aside in the task
        // has caught it.
        let is_caught = state.is_caught_elsewhere.get();
        let is_right = cancelling <= entered + spared || scope.may_move() || may_ask || is_caught;
        self.holds("a timeout lets a cancellation pass", is_right, || {
            format!("node {node}: {cancelling} requests, {entered} when it was entered")
        });
        state.caught.set(if may_ask { cancelling.min(entered.max(state.caught.get())) } else { cancelling });
        state.ran_on.set(false);
        Self::note_end_of_raised(&state, scope);
    }

    /// A group gave errors to the running task. If there is a cancellation request, it interrupts
    /// the task again at its next suspension.
    pub(crate) fn note_errors(&self, scope: &Scope) {
        if let Some(state) = self.current() {
            state.ran_on.set(false);
            Self::note_end_of_raised(&state, scope);
            let asks_again = state.task.cancelling() > 0;
            state.lives_on.set(asks_again);
            // A running cleanup in this task is interrupted, too.
            let is_here = |cleanup: &&Rc<Cleanup>| asks_again && cleanup.runs_in.get() == Some(state.id());
            self.cleanups.borrow().iter().filter(is_here).for_each(|cleanup| cleanup.cancelled.set(u32::MAX));
        }
    }

    /// The running task raises a cancellation here. The raise is never ready, but the scope around
    /// it may poll something else and return.
    pub(crate) fn note_raised(&self, scope: &Scope) {
        scope.note_raised();
        self.has_raised_beside.set(self.has_raised_beside.get() || scope.may_move());
    }

    /// The running task has ended, or suspended.
    pub(crate) fn note_end_of_step(&self, has_returned: bool) {
        if let Some(state) = self.current().filter(|state| state.lives_on.take()) {
            let left = state.task.cancelling();
            state.caught.set(if has_returned { left } else { state.caught.get().min(left.saturating_sub(1)) });
        }
    }

    /// Whether the drop under way is not caused by a cancellation.
    pub(crate) fn is_dropped_freely(&self) -> bool {
        BY_HAND.get() > 0 || std::thread::panicking() || self.current().is_none_or(|state| state.has_panicked.get())
    }

    /// The way of a relay. A waker that panics would make a `Shared` lose other wakes.
    pub(crate) fn relay(&self, way: usize) -> usize {
        if way == 4 && self.program.has(|word| word == Word::Shared) { 0 } else { way }
    }

    pub(crate) fn local(&self) -> u32 {
        LOCAL.try_get().unwrap_or(0)
    }

    pub(crate) fn set_local(&self) -> onelane::TaskLocalToken<u32> {
        self.items.set(self.items.get() + 1);
        LOCAL.set(self.items.get() as u32)
    }

    pub(crate) fn reset_local(&self, before: onelane::TaskLocalToken<u32>) {
        LOCAL.reset(before);
    }

    /// An await or a callback reported the end of a task.
    pub(crate) fn check_ended(&self, task: &TaskRef) {
        // A raised cancellation does not wait for its neighbours, even if a timeout catches it
        // there. A timeout does not wait for a task that waits for the end of this task.
        if !task.is_done() && (self.has_raised_beside.get() || waits_for_current(task)) {
            return;
        }
        self.holds("an await returns after its task has ended", task.is_done(), || format!("{task:?}"));
        let id = task.id();
        let is_left = |cleanup: &Rc<Cleanup>| {
            cleanup.owner.get() == Some(id)
                && cleanup.is_begun.get()
                && !cleanup.is_free()
                && cleanup.stage.get() != Stage::Over
        };
        let left = self.cleanups.borrow().iter().find(|cleanup| is_left(cleanup)).cloned();
        if let Some(cleanup) = left.filter(|_| !self.may_leak()) {
            let name = self.state(task).name;
            let text = format!("task {name} has ended, and node {} has not cleaned up", cleanup.node);
            self.broken("a task ends after its cleanups", text);
        }
    }

    /// The output of a task that was awaited.
    pub(crate) fn outcome(&self, task: &TaskRef, result: Result<Out, onelane::TaskError>) -> Out {
        self.check_ended(task);
        let state = self.state(task);
        // A timeout beside the returning future may have caught the cancellation. The timeout has
        // not been polled since then, so it has not reported this.
        if result.is_ok() && state.is_cancelled() && !self.program.has_neighbours_of_limits() {
            self.broken("a cancelled task ends as cancelled", format!("task {} gives a value", state.name));
        }
        match result {
            Ok(out) => out,
            Err(onelane::TaskError::Cancelled) => Err(Oops::Cancelled),
            Err(onelane::TaskError::Panicked(_)) => Err(Oops::Panicked),
        }
    }

    /// The future of a new task that runs this node.
    pub(crate) fn root(self: &Rc<Self>, node: &Rc<Node>, scope: &Scope) -> Boxed {
        let future = self.future(node, &scope.of_child());
        Box::pin(Root::new(self, node.id, None, future))
    }

    pub(crate) fn note_spawned(self: &Rc<Self>, task: &Task<Out>, node: &Node) {
        let state = self.state(&task.task_ref());
        // Half of the tasks, because a callback changes how a task ends.
        if node.id % 2 == 0 {
            state.is_to_be_told.set(true);
            let machine = self.clone();
            task.add_done_callback(move |task| {
                let state = machine.state(&task.task_ref());
                state.told.set(state.told.get() + 1);
                machine.check_ended(&state.task);
            });
        }
    }

    pub(crate) fn spawn(self: &Rc<Self>, node: &Rc<Node>, scope: &Scope) -> Task<Out> {
        let task = spawn(self.root(node, scope));
        self.note_spawned(&task, node);
        task
    }

    pub(crate) fn put(&self, slot: usize, entry: Entry) {
        let old = self.slots.borrow_mut()[slot].replace(entry);
        drop(old);
    }

    pub(crate) fn entry(&self, slot: usize) -> Option<Entry> {
        self.slots.borrow()[slot].clone()
    }

    /// The slot's task, unless it is the running one.
    pub(crate) fn other(&self, slot: usize) -> Option<Entry> {
        self.entry(slot).filter(|entry| Some(&entry.task_ref) != current_task().as_ref())
    }

    // ---- waits ----

    pub(crate) fn note_wait(&self, known: WaitRecord) -> u64 {
        self.numbered.set(self.numbered.get() + 1);
        self.waits.borrow_mut().insert(self.numbered.get(), known);
        self.numbered.get()
    }

    pub(crate) fn forget_wait(&self, number: Option<u64>) {
        let known = number.and_then(|number| self.waits.borrow_mut().remove(&number));
        drop(known);
    }

    pub(crate) fn queue(&self, which: usize) -> &Queue<Item> {
        match which {
            0 => &self.queues.0,
            1 => &self.queues.1,
            2 => &self.queues.2,
            _ => &self.queues.3,
        }
    }

    pub(crate) fn sender(&self, which: usize) -> &channel::Sender<Item> {
        &self.channels[which].0
    }

    pub(crate) fn receiver(&self, which: usize) -> &channel::Receiver<Item> {
        &self.channels[which].1
    }

    pub(crate) async fn acquire(&self, which: usize) -> Permit {
        if which == 0 { self.semaphore.acquire().await } else { self.bounded_semaphore.acquire().await }
    }

    pub(crate) fn permits(&self, which: usize) -> usize {
        if which == 0 { self.semaphore.available_permits() } else { self.bounded_semaphore.available_permits() }
    }

    pub(crate) fn promise(&self, which: usize) -> Promise<Out> {
        self.promises.borrow()[which].clone()
    }

    pub(crate) fn renew_promise(&self, which: usize) {
        let new = Promise::new();
        let old = std::mem::replace(&mut self.promises.borrow_mut()[which], new);
        drop(old);
    }
}

pub(crate) fn with_running(act: impl FnOnce(&Machine)) {
    if let Some(machine) = RUNNING.with(|running| running.borrow().upgrade()) {
        act(&machine);
    }
}
