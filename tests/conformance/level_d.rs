//! The effects of the statements of level D: groups, cleanups, caught cancellations, deadlines, and
//! the rest of the vocabulary.

use crate::levels_a_to_c::one_done_at_most;
use crate::machine::{Group, Instance};
use crate::outcome::{Failure, Named, Output, Several, Variable, describe_output, with_task};
use crate::shared::{context_variable, seen};
use crate::statement::{Block, Further};
use onelane::sync::BrokenBarrier;
use onelane::{
    Cancelled, ChildError, Deadline, Elapsed, as_completed, catch_cancel, current_task, finally, try_task_group,
    wait_for,
};
use std::rc::Rc;
use std::time::Duration;

impl Instance {
    pub(crate) async fn run_further(&self, further: &Further) {
        match further {
            Further::Child(variable, body) => self.child(variable, *body),
            Further::Cancelling => self.log(format!("cancelling {}", current_task().unwrap().cancelling())),
            Further::Uncancel => self.uncancel(),
            Further::CancelMe => self.cancel_me(),
            Further::Reschedule(slot, ms) => self.reschedule(slot, *ms),
            Further::ShowDeadline(slot) => self.show_deadline(slot),
            Further::WaitForBody(body, ms) => self.wait_for_body(*body, *ms).await,
            Further::AsCompletedWithin(variables, ms) => self.as_completed_within(variables, *ms).await,
            Further::RemoveCallback(label) => self.remove_callback(label),
            Further::ShowName(variable) => self.show_name(variable),
            Further::Rename(variable, name) => self.rename(variable, name),
            Further::ContextSet(which, value) => drop(context_variable(*which).set(*value)),
            Further::ContextGet(which) => self.context_get(*which),
            Further::ConditionWaitFor(condition, count) => self.condition_wait_for(*condition, *count).await,
            Further::ConditionAdd { condition, count, notified } => {
                self.condition_add(*condition, *count, *notified).await
            }
            Further::TaskDone(queue) => self.task_done(*queue),
            Further::JoinQueue(queue) => self.join_queue(*queue).await,
            Further::ShutDown(queue, immediate) => self.machine.shared.queues[*queue].shut_down(*immediate),
            Further::BarrierWait(barrier) => self.barrier_wait(*barrier).await,
            Further::BarrierAbort(barrier) => self.machine.shared.barriers[*barrier].abort(),
            Further::BarrierReset(barrier) => self.machine.shared.barriers[*barrier].reset(),
        }
    }

    // ---- groups ----

    pub(crate) async fn group(&self, block: &Block) -> Option<Output> {
        let result = try_task_group(async |group: Group| {
            // A block that raises is an error of the group; one that returns is not.
            self.inside(group).run_block(block).await.transpose()
        });
        match result.await {
            Ok(output) => {
                self.log("group: ok");
                output.map(Ok)
            }
            Err(errors) => {
                let errors = errors.errors.into_iter().map(|error| match error {
                    ChildError::Failed(text) => text,
                    // Programs do not panic, so this panic is a bug of the crate.
                    ChildError::Panicked(panic) => format!("panicked: {}", panic.message()),
                });
                self.log(format!("group: [{}]", errors.collect::<Vec<_>>().join(", ")));
                None
            }
        }
    }

    fn child(&self, variable: &str, body: usize) {
        let Some(group) = &self.group else { return self.log(format!("child {variable}: skipped")) };
        let machine = self.machine.clone();
        let instance = self.machine.instantiate(body, Some(group.clone()));
        let task = group.try_spawn(async move {
            let output = instance.await;
            if let Err(text) = &output {
                machine.failures.borrow_mut().insert(current_task().unwrap().id(), text.clone());
            }
            output
        });
        self.machine.tasks.borrow_mut().insert(variable.to_owned(), Variable::Child(Rc::new(task)));
        self.log(format!("child {variable}"));
    }

    // ---- cleanups and cancellations ----

    pub(crate) async fn finally(&self, block: &Block, cleanup: &Block) -> Option<Output> {
        let (me, cleanup) = (self.clone(), cleanup.clone());
        let cleanup = async move {
            me.log(format!("cleanup{}", seen()));
            me.run_block(&cleanup).await;
            me.log("cleaned up");
        };
        finally(self.run_block(block), cleanup).await
    }

    pub(crate) async fn catch(&self, block: &Block, uncancel: bool) -> Option<Output> {
        match catch_cancel(self.run_block(block)).await {
            Ok(output) => output,
            Err(Cancelled) => {
                self.log("caught");
                if uncancel {
                    self.uncancel();
                }
                None
            }
        }
    }

    fn uncancel(&self) {
        self.log(format!("uncancel {}", current_task().unwrap().uncancel()));
    }

    fn cancel_me(&self) {
        let me = current_task().unwrap();
        if Some(&me) == self.machine.main.borrow().as_ref() {
            return self.log("cancel me: skipped");
        }
        self.log(format!("cancel me: {}", me.cancel()));
    }

    // ---- time ----

    pub(crate) async fn deadline(&self, ms: Option<u64>, slot: &str, block: &Block) -> Option<Output> {
        let deadline = ms.map_or_else(Deadline::never, |ms| Deadline::after(Duration::from_millis(ms)));
        self.machine.deadlines.borrow_mut().insert(slot.to_owned(), deadline.clone());
        // Kept until the line is logged: the block's guards must be dropped when the deadline
        // passes, not with the future.
        let mut limited = deadline.limit(self.run_block(block));
        let result = (&mut limited).await;
        self.after_timeout(&ms.map_or("None".to_owned(), |ms| ms.to_string()), result)
    }

    fn deadline_in(&self, slot: &str) -> Option<Deadline> {
        self.machine.deadlines.borrow().get(slot).cloned()
    }

    fn reschedule(&self, slot: &str, ms: Option<u64>) {
        let Some(deadline) = self.deadline_in(slot) else { return self.log(format!("reschedule {slot}: skipped")) };
        let moment = ms.map(|ms| onelane::time() + Duration::from_millis(ms));
        self.log(format!("reschedule {slot}: {}", deadline.reschedule(moment)));
    }

    fn show_deadline(&self, slot: &str) {
        let Some(deadline) = self.deadline_in(slot) else { return self.log(format!("deadline {slot}: skipped")) };
        let when = deadline.when().map(|when| (when - self.machine.start).as_millis().to_string());
        self.log(format!("deadline {slot}: {} {}", when.as_deref().unwrap_or("None"), deadline.has_expired()));
    }

    async fn wait_for_body(&self, body: usize, ms: u64) {
        let text = match wait_for(self.machine.instantiate(body, None), Duration::from_millis(ms)).await {
            Ok(output) => describe_output(&output),
            Err(Elapsed) => "timeout".into(),
        };
        self.log(format!("wait_for body: {text}"));
    }

    async fn as_completed_within(&self, variables: &[String], ms: u64) {
        match self.other_tasks(variables) {
            Several::Plain(tasks) => self.as_completed_of(tasks, ms).await,
            Several::Children(tasks) => self.as_completed_of(tasks, ms).await,
        }
    }

    async fn as_completed_of<E: Failure>(&self, tasks: Vec<Named<E>>, ms: u64) {
        let tasks = one_done_at_most(tasks);
        if tasks.is_empty() {
            return self.log("as_completed: nothing");
        }
        let results = as_completed(tasks.iter().map(|task| &**task)).timeout(Duration::from_millis(ms));
        loop {
            match results.next_task().await {
                Ok(Some(task)) => self.log(format!("as_completed: {}", self.machine.describe(&task))),
                Ok(None) => return,
                Err(Elapsed) => return self.log("as_completed: timeout"),
            }
        }
    }

    // ---- tasks ----

    fn remove_callback(&self, label: &str) {
        let callback = self.machine.callbacks.borrow().get(label).cloned();
        let Some((task, id)) = callback else { return self.log(format!("remove {label}: skipped")) };
        let removed = with_task!(task, task => task.remove_done_callback(id));
        self.log(format!("remove {label}: {removed}"));
    }

    /// Only a name that the program has given is shown. Default names differ from asyncio's.
    fn show_name(&self, variable: &str) {
        let task = self.task(variable).map(|task| task.task_ref());
        let name = task.filter(|task| self.machine.named.borrow().contains(&task.id())).map(|task| task.name());
        self.log(format!("name {variable}: {}", name.as_deref().unwrap_or("none")));
    }

    fn rename(&self, variable: &str, name: &str) {
        let Some(task) = self.task(variable) else { return };
        task.task_ref().set_name(name);
        self.machine.named.borrow_mut().insert(task.task_ref().id());
    }

    fn context_get(&self, which: usize) {
        let value = context_variable(which).try_get().map(|value| value.to_string());
        self.log(format!("context {which}: {}", value.as_deref().unwrap_or("None")));
    }

    pub(crate) async fn context_with(&self, which: usize, value: i64, block: &Block) -> Option<Output> {
        let before = context_variable(which).set(value);
        let output = self.run_block(block).await;
        // In Python, an exception leaves the statement before the variable is reset.
        if !matches!(output, Some(Err(_))) {
            context_variable(which).reset(before);
        }
        output
    }

    // ---- primitives ----

    async fn condition_wait_for(&self, which: usize, count: i64) {
        let condition = &self.machine.shared.conditions[which];
        let counted = &self.machine.shared.counts[which];
        let guard = condition.lock().await;
        let _guard = condition.wait_for(guard, |()| counted.get() >= count).await;
        self.log(format!("condition {which} has {}", counted.get()));
    }

    async fn condition_add(&self, which: usize, count: i64, notified: usize) {
        let condition = &self.machine.shared.conditions[which];
        let guard = condition.lock().await;
        let counted = &self.machine.shared.counts[which];
        counted.set(counted.get() + count);
        condition.notify(&guard, notified);
    }

    pub(crate) async fn condition_hold(&self, which: usize, block: &Block) -> Option<Output> {
        let condition = &self.machine.shared.conditions[which];
        let guard = condition.lock().await;
        self.log(format!("condition {which}"));
        let output = self.run_block(block).await;
        if !matches!(output, Some(Err(_))) {
            condition.notify_all(&guard);
        }
        output
    }

    fn task_done(&self, queue: usize) {
        if !self.machine.shared.queues[queue].task_done() {
            self.log(format!("task_done {queue}: skipped"));
        }
    }

    async fn join_queue(&self, queue: usize) {
        self.machine.shared.queues[queue].join().await;
        self.log(format!("joined {queue}"));
    }

    async fn barrier_wait(&self, barrier: usize) {
        match self.machine.shared.barriers[barrier].wait().await {
            Ok(index) => self.log(format!("barrier {barrier}: {index}")),
            Err(BrokenBarrier) => self.log(format!("barrier {barrier}: broken")),
        }
    }
}
