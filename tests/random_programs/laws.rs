//! The main task of a program, and the laws.
//!
//! ```text
//!   always         no timer fires early; a lock has one holder; metrics add up
//!                  an await returns after its task has ended, and a task ends after its cleanups
//!                  a cancelled task runs no line of its body, and ends as cancelled; a group may
//!                  give it errors, and then it goes on until it suspends
//!                  a timeout whose time is up passes on the cancellations after its entry
//!                  an on_cancel that was not cancelled has no cleanup
//!                  tasks that a cancelled task awaits end before it; no child outlives its group
//!   in quiet       a satisfied wait wakes its task; a cancelled task ends
//!   at the end     each program ends; each task ends once; locks are free, permits are back
//!                  each future is dropped once; each finally that was polled cleans up
//!                  each panic is one that the program asked for, and none escapes from the loop
//!   of two runs    a program leaves the same trace in each way of running
//! ```
//!
//! *Quiet* means that only main's timer is left and nothing is ready: main sleeps longer than all
//! other timers last. A law is not checked where it cannot be decided. This is the case for a
//! future that was kept without polls, moved to another task, or was in a set with a destructor
//! that panicked. It is also the case for a scope with a neighbour (another future of its task)
//! that changes an interruption:
//!
//! - a group whose body is dropped, because a poll does this;
//! - a `catch_cancel`, which catches a cancellation that has already passed through other scopes;
//! - a `raise_cancelled`, which waits for no task.

use crate::machine::{Entry, Machine, STUCK, TaskRecord, take, tolerate};
use crate::parts::{BOMB, Cleanup, Scope, Sort, Stage, WaitRecord, ms};
use crate::program::{Ending, SLOTS, Word};
use onelane::sync::Event;
use onelane::{
    CallGraph, TaskId, TaskRef, TaskSnapshot, TaskState, WaitSnapshot, all_tasks, call_graph, call_later, current_task,
    metrics, sleep, wait, yield_now,
};
use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

/// Longer than all timers of a program together. After this time, nothing else happens.
const LONG: Duration = Duration::from_secs(1_000_000);

impl Machine {
    // ---- the main task ----

    /// Spawns the tasks, runs the script, and ends the program.
    pub(crate) async fn main(self: Rc<Self>) {
        self.current();
        let scope = Scope::default();
        for (slot, node) in self.program.tasks.iter().enumerate() {
            let task = self.spawn(node, &scope);
            let task_ref = task.task_ref();
            self.put(slot, Entry { task: Some(Rc::new(task)), task_ref });
        }
        for node in &self.program.script {
            match node.word {
                Word::Turns => {
                    for _ in 0..node.numbers[0] {
                        yield_now().await;
                    }
                }
                Word::Pause => sleep(ms(node.numbers[0])).await,
                _ => tolerate(|| self.act(node, &scope)),
            }
        }
        match self.program.ending {
            Ending::Orderly => self.end_in_order().await,
            Ending::Leave(pause) => {
                self.cancel_later(self.limit());
                sleep(ms(pause)).await;
            }
            Ending::Stuck => {
                self.wait_for_tasks().await;
                self.cancel_later(self.limit());
            }
            Ending::Drop(_) => std::future::pending().await,
        }
        self.log(0, "main is over");
        self.is_over.set(true);
    }

    /// The number of rounds after which a task that has not ended will never end.
    fn limit(&self) -> usize {
        self.program.len() * 2 + 10
    }

    /// Waits for all tasks that exist now.
    async fn wait_for_tasks(&self) {
        let me = current_task();
        let all: Vec<TaskRef> = all_tasks().into_iter().filter(|task| Some(task) != me.as_ref()).collect();
        if !all.is_empty() {
            wait(all).await;
        }
    }

    /// The host found nothing ready and no timer pending.
    pub(crate) fn note_stuck(&self) {
        self.check_quiet();
        self.note_end_of_stuck();
    }

    /// `run` reported a deadlock, and ended all tasks.
    pub(crate) fn note_end_of_stuck(&self) {
        self.log(0, STUCK);
        self.is_over.set(true);
    }

    async fn end_in_order(self: &Rc<Self>) {
        for round in 0..self.limit() {
            sleep(LONG).await;
            let is_alone = all_tasks().len() == 1;
            if is_alone && self.has_let_go() {
                return self.check_locks();
            }
            if is_alone {
                // The drops may hand cleanups over to new tasks.
                self.let_go();
                continue;
            }
            self.check_quiet();
            if self.failure().is_some() {
                return;
            }
            self.log(round, "all is quiet");
            if round < 2 { self.satisfy() } else { self.cancel_all(round) }
        }
        self.broken("each program ends", format!("\n{}", call_graph()));
    }

    /// Satisfies some of the waits.
    fn satisfy(&self) {
        self.events.iter().for_each(Event::set);
        (0..3).for_each(|which| self.set_promise(which));
        (0..2).for_each(|which| self.notify(which, 1));
        for which in 0..4 {
            drop(self.queue(which).try_get());
            drop(self.queue(which).try_put(self.item()));
        }
        for which in 0..2 {
            drop(self.receiver(which).try_recv());
            drop(self.sender(which).try_send(self.item()));
        }
    }

    /// Cancels all tasks but main. Each third round does so twice, to break circles through groups.
    /// Nothing is dropped in these rounds, because a drop would end the cleanups that were handed
    /// over to tasks.
    fn cancel_all(&self, round: usize) {
        self.look_for_circles();
        let me = current_task();
        let cancel = || all_tasks().iter().filter(|task| Some(*task) != me.as_ref()).for_each(|task| _ = task.cancel());
        if round % 3 == 2 {
            cancel();
        } else {
            (0..3).for_each(|which| tolerate(|| self.drop_parked(which)));
        }
        cancel();
    }

    /// Cancels the tasks that main leaves behind, repeatedly. `run` would wait for their cleanups
    /// without a limit.
    fn cancel_later(self: &Rc<Self>, rounds: usize) {
        let machine = self.clone();
        call_later(LONG, move || {
            if all_tasks().is_empty() {
                return;
            }
            machine.check_quiet();
            if rounds == 0 {
                machine.broken("each program ends", format!("behind main:\n{}", call_graph()));
            }
            if let Some(failure) = machine.failure() {
                // `run` might never return.
                crate::say_and_exit(&failure);
            }
            machine.cancel_all(rounds);
            machine.cancel_later(rounds - 1);
        });
    }

    fn has_let_go(&self) -> bool {
        let slots = self.slots.borrow().iter().all(Option::is_none);
        slots && self.parked.borrow().iter().all(Option::is_none)
    }

    /// Drops everything that the machine keeps. Destructors may panic.
    pub(crate) fn let_go(&self) {
        (0..3).for_each(|which| tolerate(|| self.drop_parked(which)));
        (0..SLOTS).for_each(|slot| tolerate(|| drop(take(&self.slots, slot))));
        for which in 0..2 {
            tolerate(|| drop(take(&self.callbacks, which)));
            tolerate(|| _ = take(&self.handles, which).map(|handle| handle.cancel()));
            tolerate(|| drop(take(&self.oneshots, which)));
            tolerate(|| drop(take(&self.deadlines, which)));
        }
        (0..3).for_each(|which| tolerate(|| self.renew_promise(which)));
        for which in 0..4 {
            while self.queue(which).try_get().is_ok() {}
        }
        for which in 0..2 {
            while self.receiver(which).try_recv().is_ok() {}
        }
    }

    // ---- laws ----

    /// Checks the laws of quiet.
    fn check_quiet(&self) {
        let graph = call_graph();
        let states: HashMap<TaskId, Rc<TaskRecord>> = self.tasks.borrow().clone();
        let waits = self.waits.borrow().clone();
        let is_alive = |id: TaskId| graph.task(id).is_some();
        // A waiter that is not polled can block a queue of waiters.
        let lines_move = self.kept.get() == 0
            && self.parked.borrow().iter().all(Option::is_none)
            && waits.values().all(|known| known.task.is_some_and(is_alive));
        for known in waits.values() {
            let Some(state) = known.task.filter(|&id| is_alive(id)).and_then(|id| states.get(&id)) else { continue };
            if known.sort == Sort::Exclusive && !lines_move || !self.is_polled(&known.scope, state) {
                continue;
            }
            if known.scope.has_moved() && (self.has_raised_beside.get() || self.program.takes_out_of_sets()) {
                // The wait is in another task now, and this task may unwind.
                continue;
            }
            // An interruption has passed through a timeout that is still alive. The timeout is in a
            // `Shared`, in another task to which it moved, or beside a `catch_cancel`.
            let is_shared = self.program.has(|word| word == Word::Shared);
            let has_left = known.scope.has_moved() && self.program.has(|word| word == Word::Raise);
            let is_beside_a_catch = self.has_caught.get() && known.scope.may_move() || self.has_caught_elsewhere.get();
            if known.sort == Sort::Limit && (is_shared || has_left || is_beside_a_catch) {
                continue;
            }
            if (known.is_satisfied)(self) {
                let is_held = || self.has_raised_beside.get() || self.is_explained(state.id(), &graph, &states);
                if known.sort != Sort::Limit || !is_held() {
                    let what = if known.sort == Sort::Limit { "a timeout" } else { "a wait" };
                    let text = format!("{what} of task {} in node {}:\n{graph}", state.name, known.node);
                    self.broken("a satisfied wait wakes its task", text);
                }
            }
        }
        for task in &graph.tasks {
            let Some(state) = states.get(&task.id) else { continue };
            let waits_for_tasks = task.waits_for.iter().any(|wait| !wait.tasks.is_empty());
            let waits = waits.values().any(|known| known.task == Some(task.id) && !(known.is_satisfied)(self));
            // A wait that moved in a set is still registered with the task that it left.
            let waits = waits || self.program.has(Word::moves) || self.has_raised_beside.get();
            let waits = waits || state.is_cancelled() && self.waits_in_vain(task);
            // A cancellation went through a timeout and was caught beside it.
            let waits = waits || self.has_caught.get() && self.program.has_neighbours_of_limits();
            if !waits && !waits_for_tasks && !self.cleans_up(task.id) && task.state != TaskState::Running {
                self.broken(
                    "a waiting task waits for something",
                    format!("task {}, {}:\n{graph}", state.name, task.name),
                );
            }
            if state.is_cancelled() && !self.is_explained(task.id, &graph, &states) {
                self.broken("a cancelled task ends", format!("task {} goes on:\n{graph}", state.name));
            }
        }
        self.check_metrics();
    }

    /// Whether a wait in a scope of a task is certainly polled.
    fn is_polled(&self, scope: &Scope, state: &TaskRecord) -> bool {
        let in_time = match &scope.cleanup {
            Some(cleanup) => {
                cleanup.stage.get() == Stage::Begun
                    && cleanup.runs_in.get() == Some(state.id())
                    && cleanup.cancelled.get() == state.task.cancelling()
                    && !state.is_caught_elsewhere.get()
                    && !state.has_raised.get()
                    && !self.unwinds_inside(cleanup)
                    && !cleanup.is_out_of_time()
                    // The cleanup may have begun without an interruption, in another cleanup that
                    // an interruption started.
                    && (cleanup.unwinds.get() && !cleanup.body_is_over.get() && !cleanup.scope.is_kept()
                        || self.is_polled(&cleanup.scope, state))
            }
            None => {
                let is_over = state.has_panicked.get()
                    || state.has_raised.get()
                    || state.may_unwind.get()
                    || self.unwinds(state.id());
                !state.is_cancelled() && !state.is_caught_elsewhere.get() && !is_over
            }
        };
        in_time && scope.is_polled()
    }

    /// Whether a task unwinds. An `uncancel` during the unwinding has no effect on it.
    fn unwinds(&self, id: TaskId) -> bool {
        self.cleanups.borrow().iter().any(|cleanup| {
            cleanup.unwinds.get() && cleanup.stage.get() == Stage::Begun && cleanup.runs_in.get() == Some(id)
        })
    }

    /// Whether a cancelled task waits for tasks that have ended, because nothing woke it. There are
    /// two reasons. A future that was polled in a set and then taken out does not wake the set any
    /// more. A gather can be decided before its last task has ended; its set was woken for this,
    /// and has not been polled since.
    fn waits_in_vain(&self, task: &TaskSnapshot) -> bool {
        let is_taken_out = self.program.takes_out_of_sets();
        let is_in_vain = |wait: &WaitSnapshot| {
            wait.tasks.is_empty() && (is_taken_out && wait.until.is_none() || wait.what.starts_with("a gather of"))
        };
        (is_taken_out || self.program.has(Word::is_set)) && task.waits_for.iter().any(is_in_vain)
    }

    /// Whether a part of a cleanup unwinds. The neighbours of that part are not polled.
    fn unwinds_inside(&self, outer: &Rc<Cleanup>) -> bool {
        let is_inside = |cleanup: &Rc<Cleanup>| {
            let around = |cleanup: &Rc<Cleanup>| cleanup.scope.cleanup.clone();
            std::iter::successors(around(cleanup), around).any(|around| Rc::ptr_eq(&around, outer))
        };
        self.cleanups.borrow().iter().any(|cleanup| {
            let is_begun = cleanup.unwinds.get() && cleanup.stage.get() == Stage::Begun;
            is_begun && cleanup.runs_in.get() == outer.runs_in.get() && is_inside(cleanup)
        })
    }

    /// Whether a cleanup of the running task may wait for a lock or a permit, or for a task that
    /// waits for one. If the running task itself holds the lock or permit, the loop drops the
    /// task's future before its cleanups are over.
    pub(crate) fn is_held_up_by_itself(&self) -> bool {
        let Some(id) = self.current().map(|state| state.id()) else { return false };
        if self.cleans_up(id) {
            return self.waits.borrow().values().any(|known| known.sort == Sort::Exclusive);
        }
        // An interrupted group cleans up as well: it waits for its children.
        let graph = call_graph();
        let is_group = |wait: &&WaitSnapshot| wait.what.starts_with("a group of");
        let groups = graph.task(id).into_iter().flat_map(|task| &task.waits_for).filter(is_group);
        groups.flat_map(|wait| &wait.tasks).any(|&child| self.is_held_up_by(child))
    }

    /// Whether this task waits, directly or through other tasks, for what the running task holds.
    /// If the running task awaits this task, the future of the running task is dropped first. The
    /// running task may have just released what it held.
    pub(crate) fn is_held_up_by(&self, task: TaskId) -> bool {
        let Some(me) = self.current() else { return false };
        let graph = call_graph();
        let waits = self.waits.borrow();
        let is_free = |id: TaskId| {
            let mut of_it = waits.values().filter(|known| known.task == Some(id) && known.sort == Sort::Exclusive);
            of_it.any(|known| (known.is_satisfied)(self))
        };
        let mut seen = HashSet::from([task]);
        let mut next = vec![task];
        while let Some(id) = next.pop() {
            let Some(task) = graph.task(id) else { continue };
            if task.waits_for.iter().any(|wait| wait.held_by.contains(&me.id())) || is_free(id) {
                return true;
            }
            let awaited = task.waits_for.iter().flat_map(|wait| wait.tasks.iter().chain(&wait.held_by));
            next.extend(awaited.copied().filter(|&id| seen.insert(id)));
        }
        false
    }

    fn cleans_up(&self, id: TaskId) -> bool {
        let is_in = |cleanup: &Rc<Cleanup>| cleanup.stage.get() == Stage::Begun && cleanup.runs_in.get() == Some(id);
        self.cleanups.borrow().iter().any(is_in)
    }

    /// Whether a cancelled task has a reason to live on: it cleans up, or it awaits a task that has
    /// a reason or is not cancelled. Tasks may also wait for each other in a circle through a
    /// group. They live on until each of them is cancelled directly, as `cancel_all` does.
    fn is_explained(&self, id: TaskId, graph: &CallGraph, states: &HashMap<TaskId, Rc<TaskRecord>>) -> bool {
        let mut seen = HashSet::from([id]);
        let mut next = vec![id];
        let (mut ways, mut through_groups) = (HashMap::<TaskId, Vec<TaskId>>::new(), Vec::new());
        while let Some(id) = next.pop() {
            if self.cleans_up(id) || states.get(&id).is_some_and(|state| !state.is_cancelled()) && seen.len() > 1 {
                return true;
            }
            let Some(task) = graph.task(id) else { continue };
            if self.waits_in_vain(task) {
                return true;
            }
            // A cancellation does not pass through these waits.
            let passes = |what: &str| {
                ["a shield on", "a wait on", "the next to complete"].iter().any(|begin| what.starts_with(begin))
            };
            for wait in task.waits_for.iter().filter(|wait| !passes(&wait.what)) {
                next.extend(wait.tasks.iter().copied().filter(|&id| seen.insert(id)));
                ways.entry(id).or_default().extend(&wait.tasks);
                if wait.what.starts_with("a group of") {
                    through_groups.extend(wait.tasks.iter().map(|&child| (id, child)));
                }
            }
        }
        through_groups.into_iter().any(|(parent, child)| {
            let mut reached = HashSet::from([child]);
            let mut next = vec![child];
            while let Some(id) = next.pop() {
                next.extend(ways.get(&id).into_iter().flatten().copied().filter(|&id| reached.insert(id)));
            }
            reached.contains(&parent)
        })
    }

    /// Checks an await that was dropped before it was over.
    pub(crate) fn check_abandoned(&self, child: &TaskRef, known: &WaitRecord) {
        let is_orderly = self.program.ending == Ending::Orderly && !self.is_over.get();
        // The await began after the interruption, in a poll that only drops the body of a group. It
        // ends with the scope around it, and no task waits for the end of the awaited task.
        let is_too_late = known.is_too_late == Some(true);
        let is_excused = self.has_circles.get() || self.is_dropped_freely() || known.scope.may_move() || is_too_late;
        if !is_orderly || is_excused || child.is_done() {
            return;
        }
        let Some(me) = self.current() else { return };
        if me.has_raised.get() || self.has_raised_beside.get() {
            // A raised cancellation waits for no task.
            return;
        }
        self.look_for_a_way_back(child.id());
        if self.has_circles.get() || self.is_held_up_by(child.id()) {
            return;
        }
        let text = format!("task {} awaits task {}:\n{}", me.name, self.state(child).name, call_graph());
        self.broken("tasks that a cancelled task awaits end before it", text);
    }

    /// Whether the current poll may only drop the body of a group. This is so if the poll has
    /// dropped a body, and an interruption had reached this scope before the poll.
    pub(crate) fn may_drop_a_body(&self, scope: &Scope) -> bool {
        let (dropped_bodies, is_cancelled) = self.before_poll.get();
        self.dropped_bodies.get() > dropped_bodies && (is_cancelled || !scope.is_polled())
    }

    /// Checks whether the awaited task waits for the running task. Such a circle is recorded,
    /// because one of its tasks must end first.
    pub(crate) fn look_for_a_way_back(&self, awaited: TaskId) {
        let Some(me) = self.current() else { return };
        let graph = call_graph();
        let mut seen = HashSet::new();
        let mut next = vec![awaited];
        while let Some(id) = next.pop() {
            let awaited = graph.task(id).into_iter().flat_map(|task| &task.waits_for).flat_map(|wait| &wait.tasks);
            next.extend(awaited.copied().filter(|&id| seen.insert(id)));
        }
        self.has_circles.set(self.has_circles.get() || seen.contains(&me.id()));
    }

    /// Records that there is a circle. Any of its tasks may then end first.
    pub(crate) fn look_for_circles(&self) {
        let has_circles = || !call_graph().circles().is_empty();
        self.has_circles.set(self.has_circles.get() || has_circles());
    }

    /// Checks that everything that tasks can hold is free.
    fn check_locks(&self) {
        if self.may_leak() {
            return;
        }
        let free = |name: &str, is_free: bool| {
            self.holds("everything is free at the end", is_free, || format!("{name} is not"));
        };
        for lock in &self.locks {
            free("a lock", !lock.is_locked() && lock.try_lock().is_some());
        }
        for condition in &self.conditions {
            free("a condition", !condition.is_locked() && condition.try_lock().is_some());
        }
        free("a semaphore", self.permits(0) == 1 && self.permits(1) == 2);
        free("a barrier", self.barriers.iter().all(|barrier| barrier.n_waiting() == 0));
        free("a wait", self.waits.borrow().is_empty());
        let counts = self.in_semaphores.each_ref().map(Cell::get);
        free("a permit", counts == [0, 0]);
        if self.counts {
            let now = metrics();
            self.holds("the metrics add up", now.alive == 1, || format!("{now:?}"));
        }
        self.check_metrics();
    }

    /// Whether a panic of a destructor may have leaked its neighbours in a set.
    pub(crate) fn may_leak(&self) -> bool {
        self.has_destructor_panicked.get() && self.program.has_sets()
    }

    /// Runs the second loop after the first was dropped.
    pub(crate) fn run_other_loop(&self) {
        let Some(other) = self.other_loop.take() else { return };
        let ended = catch_unwind(AssertUnwindSafe(|| {
            other.run(async {
                sleep(ms(10)).await;
                let me = current_task();
                all_tasks().iter().filter(|task| Some(*task) != me.as_ref()).for_each(|task| _ = task.cancel());
                sleep(ms(10)).await;
                self.holds("each program ends", all_tasks().len() == 1, || format!("another loop:\n{}", call_graph()));
            });
        }));
        self.holds("no panic escapes from the loop", ended.is_ok(), || "another loop".into());
        drop(self.others.take());
    }

    /// Checks the laws of the end, after the loops were dropped.
    pub(crate) fn check_end(&self, panics: &[String]) {
        let is_whole = matches!(self.program.ending, Ending::Orderly | Ending::Leave(_));
        for state in self.tasks.borrow().values() {
            let name = state.name;
            self.holds("each task ends", state.task.is_done(), || format!("task {name} has not"));
            let (told, expected) = (state.told.get(), u32::from(state.is_to_be_told.get()));
            let is_right = told == expected || !is_whole && told < expected;
            self.holds("each task ends once", is_right, || format!("the end of task {name} was told {told} times"));
        }
        for cleanup in self.cleanups.borrow().iter() {
            // A future that outlives its loop cannot clean up, because cleanups run in the loop.
            let is_lost = self.program.ending != Ending::Orderly && cleanup.is_free();
            let is_lost = is_lost || self.may_leak();
            let is_over = is_lost
                || !cleanup.is_begun.get()
                || !cleanup.is_needed()
                || cleanup.was_polled.get() && cleanup.stage.get() == Stage::Over;
            let text = || format!("node {} has not", cleanup.node);
            self.holds("each finally that was polled cleans up", is_over, text);
        }
        // A reference to a task keeps its output.
        tolerate(|| self.let_go());
        for (_, state) in self.tasks.take() {
            tolerate(|| drop(state));
        }
        for cleanup in self.cleanups.take() {
            tolerate(|| drop(cleanup));
        }
        for count in [&self.futures, &self.values] {
            let (made, dropped) = (count.made.get(), count.dropped.get());
            let text = || format!("{made} were made, {dropped} were dropped");
            if self.may_leak() {
                continue;
            }
            self.holds("each future is dropped once", made == dropped, text);
        }
        for panic in panics {
            self.holds("each panic is one that the program asked for", is_wanted(panic), || panic.clone());
        }
    }
}

/// Whether the program asked for a panic, or misused something. Random programs do.
fn is_wanted(message: &str) -> bool {
    let misuse = [
        " awaits itself, and would wait for ever",
        "was taken twice; await `&",
        "was read after it was taken; await `&",
        "a finally was polled after it was ready, or after a cancellation of the task that polled it last",
        "task_done() of a queue was called too many times",
        "a task group that has ended; spawn while its body or a child runs",
        // A `Shared` panics with these. The second is the result of a waker that panicked.
        "inner future panicked during poll",
        "value: PoisonError",
    ];
    message.starts_with(BOMB) || misuse.iter().any(|part| message.contains(part))
}
