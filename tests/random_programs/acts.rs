//! The acts: words that run at once, in a task, in a callback or in a destructor.
//!
//! Next: `laws.rs`.

use crate::common::check_metrics;
use crate::machine::{Callback, Entry, MAIN, Machine, by_hand, drop_payload, is_loop_running, take, with_running};
use crate::parts::{Cleanup, Counted, GroupHandle, Root, Scope, Sends, after, explode, ms};
use crate::program::{Node, Word};
use onelane::{
    EventLoop, TaskRef, all_tasks, call_graph, call_later, call_soon, current_task, metrics, sleep, spawn, task,
    yield_now,
};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

impl Machine {
    pub(crate) fn act(self: &Rc<Self>, node: &Rc<Node>, scope: &Scope) {
        // A destructor may run after the loop was dropped.
        if !is_loop_running() {
            return;
        }
        self.log(node.id, node.word.spec().name);
        self.has_run.set(self.has_run.get() || self.in_destructors.get() == 0);
        let [a, b] = node.numbers;
        match node.word {
            Word::Cancel => {
                self.look_for_circles();
                self.entry(a).map(|entry| entry.task_ref.cancel());
            }
            Word::CancelMe => _ = self.current().filter(|state| state.name != MAIN).map(|state| state.task.cancel()),
            Word::CancelParent => {
                // The main task must not end before the program.
                let parent = scope.parent.as_ref().filter(|parent| self.state(parent).name != MAIN);
                parent.map(TaskRef::cancel);
            }
            Word::Uncancel => _ = self.entry(a).map(|entry| self.uncancel(&entry.task_ref)),
            Word::UncancelMe => _ = current_task().map(|task| self.uncancel(&task)),
            Word::DropTask => drop(take(&self.slots, a)),
            Word::AddCallback => self.add_callback(node),
            Word::RemoveCallback => {
                take(&self.callbacks, a).map(|Callback { task, id }| task.remove_done_callback(id));
            }
            Word::CallSoon => drop(call_soon(self.call(node))),
            Word::CallLater => {
                let handle = call_later(ms(b), self.call(node));
                let old = self.handles.borrow_mut()[a].replace(handle);
                drop(old);
            }
            Word::CancelHandle => {
                take(&self.handles, a).map(|handle| handle.cancel());
            }
            Word::SetPromise => self.set_promise(a),
            Word::CancelPromise => _ = self.promise(a).cancel(),
            Word::NewPromise => self.renew_promise(a),
            Word::CallBackPromise => {
                let call = self.call(node);
                self.promise(a).add_done_callback(move |_| call());
            }
            Word::Set => self.events[a].set(),
            Word::Clear => self.events[a].clear(),
            Word::Notify => self.notify(a, b),
            Word::TryPut => drop(self.queue(a).try_put(self.item())),
            Word::TryGet => drop(self.queue(a).try_get()),
            Word::TaskDone => self.task_done(a),
            Word::ResetBarrier => self.barriers[a].reset(),
            Word::AbortBarrier => self.barriers[a].abort(),
            Word::TrySend => drop(self.sender(a).try_send(self.item())),
            Word::TryReceive => drop(self.receiver(a).try_recv()),
            Word::SendOneshot => {
                take(&self.oneshots, a).map(|sender| sender.send(self.item()));
            }
            Word::Reschedule => {
                let deadline = self.deadlines.borrow()[a].clone();
                deadline.map(|deadline| deadline.reschedule(Some(after(b))));
            }
            Word::Spawn => self.spawn_into(node, scope),
            Word::GroupSpawn => self.spawn_in_group(node, scope),
            Word::DropParked => self.drop_parked(a),
            Word::Look => self.look(),
            Word::Format => {
                self.is_debug_a_bomb.set(b == 1);
                let text = catch_unwind(AssertUnwindSafe(|| format!("{:?}", self.locks[a])));
                self.is_debug_a_bomb.set(false);
                drop(text.unwrap_or_else(|payload| resume_unwind(payload)));
            }
            Word::PanicNow => {
                // The act may run in a destructor.
                self.has_destructor_panicked.set(true);
                explode("an act");
            }
            Word::FromThread => self.send_from_thread(a),
            Word::SpawnElsewhere => self.spawn_elsewhere(node),
            Word::CancelElsewhere => {
                let others = self.others.borrow().clone();
                others.iter().for_each(|task| _ = task.cancel());
            }
            Word::SetLocal => drop(self.set_local()),
            _ => unreachable!("{:?} is no act", node.word),
        }
    }

    pub(crate) fn uncancel(&self, task: &TaskRef) -> u32 {
        let state = self.state(task);
        // A group waits for its children.
        let may_unwind = state.is_cancelled() && self.program.has_neighbours_of_groups();
        state.may_unwind.set(state.may_unwind.get() || may_unwind);
        // A cancellation that interrupted a running cleanup keeps its effect, although `cancelling`
        // does not count it any more.
        let has_come = |cleanup: &&Rc<Cleanup>| {
            cleanup.runs_in.get() == Some(task.id()) && task.cancelling() > cleanup.cancelled.get()
        };
        self.cleanups.borrow().iter().filter(has_come).for_each(|cleanup| cleanup.cancelled.set(u32::MAX));
        let left = task.uncancel();
        state.caught.set(state.caught.get().min(left));
        left
    }

    /// A callback that runs the acts inside of a node.
    fn call(self: &Rc<Self>, node: &Rc<Node>) -> impl FnOnce() + 'static {
        let (machine, node, counted) = (self.clone(), node.clone(), Counted::new(&self.futures));
        move || {
            let _counted = counted;
            machine.log(node.id, "is called");
            node.inside.iter().for_each(|act| machine.act(act, &Scope::default()));
        }
    }

    fn add_callback(self: &Rc<Self>, node: &Rc<Node>) {
        let [slot, place] = node.numbers;
        let Some(task) = self.entry(slot).and_then(|entry| entry.task) else { return };
        let call = self.call(node);
        let id = task.add_done_callback(move |_| call());
        let old = self.callbacks.borrow_mut()[place].replace(Callback { task, id });
        drop(old);
    }

    pub(crate) fn set_promise(&self, which: usize) {
        if self.promise(which).is_done() {
            self.renew_promise(which);
        }
        let value = self.value();
        drop(self.promise(which).set_result(value));
    }

    pub(crate) fn notify(&self, which: usize, count: usize) {
        let condition = &self.conditions[which];
        if let Some(guard) = condition.try_lock() {
            condition.notify(&guard, count);
        }
    }

    /// `task_done` panics if it is called too often. The queue does not show how many calls are
    /// left.
    fn task_done(&self, which: usize) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| self.queue(which).task_done())) {
            drop_payload(payload);
        }
    }

    fn spawn_into(self: &Rc<Self>, node: &Rc<Node>, scope: &Scope) {
        let [slot, is_named] = node.numbers;
        let root = self.root(&node.inside[0], scope);
        let task = if is_named == 1 { task::Builder::new().name("named").spawn(root) } else { spawn(root) };
        self.note_spawned(&task, node);
        let task_ref = task.task_ref();
        self.put(slot, Entry { task: Some(Rc::new(task)), task_ref });
    }

    fn spawn_in_group(self: &Rc<Self>, node: &Rc<Node>, scope: &Scope) {
        let Some(group) = scope.group.clone() else { return };
        let Some(handle) = group.handle.borrow().clone() else { return };
        let future = self.future(&node.inside[0], &scope.of_child());
        let task_ref = match handle {
            GroupHandle::Plain(handle) => {
                let task = handle.spawn(Root::new(self, node.id, None, future));
                self.note_spawned(&task, node);
                task.task_ref()
            }
            GroupHandle::Fallible(handle) => {
                handle.try_spawn(Root::new(self, node.id, Some(group.clone()), future)).task_ref()
            }
        };
        group.children.borrow_mut().push(task_ref.clone());
        *self.state(&task_ref).group.borrow_mut() = Some(group);
        self.put(node.numbers[0], Entry { task: None, task_ref });
    }

    pub(crate) fn drop_parked(&self, which: usize) {
        let parked = take(&self.parked, which);
        by_hand(|| drop(parked));
    }

    pub(crate) fn look(&self) {
        let graph = call_graph();
        self.holds("a call graph shows all tasks", graph.tasks.len() == all_tasks().len(), || graph.to_string());
        drop((format!("{graph:?}"), graph.to_string(), graph.ps().to_string(), graph.to_json()));
        for task in all_tasks() {
            drop(format!("{task:?}"));
        }
        self.check_metrics();
    }

    pub(crate) fn check_metrics(&self) {
        if self.counts {
            self.holds_or_says("the metrics add up", || check_metrics(&metrics()));
        }
    }

    /// Turns an assertion into a law.
    fn holds_or_says(&self, law: &str, act: impl FnOnce()) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(act)) {
            let text = payload.downcast_ref::<String>().cloned().unwrap_or_default();
            self.broken(law, text);
        }
    }

    /// Sends a message from another thread, and joins that thread.
    fn send_from_thread(&self, way: usize) {
        let remote = EventLoop::current().remote();
        let thread = std::thread::spawn(move || match way {
            0 => drop(remote.call_soon(|| with_running(|machine| machine.events[0].set()))),
            1 => drop(remote.call_soon(|| {
                with_running(|machine| _ = machine.entry(0).map(|entry| entry.task_ref.cancel()));
            })),
            _ => drop(remote.spawn(async { Sends::default().await })),
        });
        thread.join().expect("nothing panics there");
    }

    fn spawn_elsewhere(self: &Rc<Self>, node: &Rc<Node>) {
        if EventLoop::current() != self.main_loop {
            return;
        }
        let new = || Rc::new(EventLoop::with_virtual_clock());
        let other = self.other_loop.borrow_mut().get_or_insert_with(new).clone();
        let (machine, way, id) = (self.clone(), node.numbers[0], node.id);
        let counted = Counted::new(&self.futures);
        let task = other.enter(|| {
            spawn(async move {
                let _counted = counted;
                match way {
                    0 => machine.events[1].wait().await,
                    1 => drop((&machine.promise(1)).await),
                    2 => {
                        let guard = machine.locks[1].lock().await;
                        yield_now().await;
                        drop(guard);
                    }
                    _ => sleep(ms(3)).await,
                }
                machine.log(id, "ends in another loop");
            })
        });
        self.others.borrow_mut().push(task.task_ref());
    }
}
