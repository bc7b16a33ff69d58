//! The effects of the statements of levels A to C: tasks, callbacks, timers, and `onelane::sync`.
//!
//! Level D uses all of them, with children of groups in place of tasks. Read `level_d.rs` next.

use crate::machine::{Instance, LocalFuture};
use crate::outcome::{
    Failure, Named, Output, Several, TaskOf, Variable, describe_all, describe_error, describe_outcome, describe_values,
    with_task,
};
use crate::shared::seen;
use crate::statement::{Basic, Block, Item};
use onelane::{
    ChildFailed, Elapsed, Promise, ReturnWhen, Task, all_tasks, as_completed, call_later, call_soon, current_task,
    gather, shield, sleep, spawn, task, timeout, try_gather, try_wait, wait_for,
};
use std::rc::Rc;
use std::time::Duration;

impl Instance {
    pub(crate) async fn run_basic(&self, basic: &Basic) {
        match basic {
            Basic::Log(text) => self.log(text),
            Basic::Sleep(ms) => self.sleep(*ms).await,
            Basic::Spawn { variable, body, name } => self.spawn(variable, *body, name.as_deref()),
            Basic::Await(variable) => self.await_task(variable).await,
            Basic::Gather { items, return_exceptions } => self.gather(items, *return_exceptions).await,
            Basic::Wait { variables, timeout, return_when } => self.wait(variables, *timeout, *return_when).await,
            Basic::Cancel(variable) => self.cancel(variable),
            Basic::Callback(variable, label) => self.add_callback(variable, label),
            Basic::Inspect => self.inspect(),
            Basic::CallSoon(label) => drop(call_soon(self.log_of_loop(format!("soon {label}")))),
            Basic::CallLater(handle, ms) => self.call_later(handle, *ms),
            Basic::CancelHandle(handle) => self.cancel_handle(handle),
            Basic::WaitFor(variable, ms) => self.wait_for(variable, *ms).await,
            Basic::Shield(variable) => self.shield(variable).await,
            Basic::AsCompleted(variables) => self.as_completed(variables).await,
            Basic::Promise(promise) => self.machine.promises.borrow_mut()[*promise] = Some(Promise::new()),
            Basic::Fulfil(promise, value) => self.fulfil(*promise, *value),
            Basic::AwaitPromise(promise) => self.await_promise(*promise).await,
            Basic::EventWait(event) => self.event_wait(*event).await,
            Basic::EventSet(event) => self.machine.shared.events[*event].set(),
            Basic::EventClear(event) => self.machine.shared.events[*event].clear(),
            Basic::ConditionWait(condition) => self.condition_wait(*condition).await,
            Basic::ConditionNotify(condition, count) => self.condition_notify(*condition, *count).await,
            Basic::Put(queue, value) => self.put(*queue, *value).await,
            Basic::Get(queue) => self.get(*queue).await,
        }
    }

    // ---- level A ----

    async fn sleep(&self, ms: u64) {
        sleep(Duration::from_millis(ms)).await;
        self.log(format!("slept {ms}"));
    }

    fn spawn(&self, variable: &str, body: usize, name: Option<&str>) {
        let instance = self.machine.instantiate(body, None);
        let task = match name {
            Some(name) => task::Builder::new().name(name).spawn(instance),
            None => spawn(instance),
        };
        self.machine.named.borrow_mut().extend(name.map(|_| task.id()));
        self.machine.tasks.borrow_mut().insert(variable.to_owned(), Variable::Plain(Rc::new(task)));
        self.log(format!("spawned {variable}"));
    }

    async fn await_task(&self, variable: &str) {
        let Some(task) = self.other_task(variable) else { return self.log(format!("await {variable}: skipped")) };
        let outcome = with_task!(&task, task => self.machine.outcome(task.id(), (&**task).await));
        self.log(format!("await {variable}: {}", describe_outcome(&outcome)));
    }

    async fn gather(&self, items: &[Item], return_exceptions: bool) {
        let text = match self.gathered(items) {
            Gathered::Bodies(bodies) if return_exceptions => describe_all(&gather(bodies).return_exceptions().await),
            Gathered::Bodies(bodies) => describe_values(try_gather(bodies).await),
            Gathered::Tasks(tasks) => {
                let tasks = tasks.iter().map(|task| &**task);
                if return_exceptions {
                    describe_all(&gather(tasks).return_exceptions().await)
                } else {
                    describe_values(try_gather(tasks).await)
                }
            }
            Gathered::Children(tasks) => {
                assert!(return_exceptions, "a `gather` of children collects their errors");
                let results = gather(tasks.iter().map(|task| &**task)).return_exceptions().await;
                let outcomes = tasks.iter().zip(results).map(|(task, result)| self.machine.outcome(task.id(), result));
                describe_all(&outcomes.collect::<Vec<_>>())
            }
        };
        self.log(format!("gather: {text}"));
    }

    /// The arguments of `gather`. Bare bodies are passed as futures if there is no task among them.
    /// A mixed list must consist of tasks, so its bodies are spawned here. `gather` would spawn
    /// them in the same order.
    fn gathered(&self, items: &[Item]) -> Gathered {
        let (mut bodies, mut tasks, mut children) = (Vec::new(), Vec::new(), Vec::new());
        let all_bare = items.iter().all(|item| matches!(item, Item::Body(_)));
        for item in items {
            match item {
                Item::Body(body) if all_bare => bodies.push(self.machine.instantiate(*body, None)),
                Item::Body(body) => tasks.push(Rc::new(spawn(self.machine.instantiate(*body, None)))),
                Item::Variable(variable) => match self.other_task(variable) {
                    Some(Variable::Plain(task)) => tasks.push(task),
                    Some(Variable::Child(task)) => children.push(task),
                    None => {}
                },
            }
        }
        assert!(tasks.is_empty() || children.is_empty(), "children of groups and other tasks in one `gather`");
        if all_bare {
            Gathered::Bodies(bodies)
        } else if children.is_empty() {
            Gathered::Tasks(tasks)
        } else {
            Gathered::Children(children)
        }
    }

    async fn wait(&self, variables: &[String], timeout: Option<u64>, return_when: ReturnWhen) {
        match self.other_tasks(variables) {
            Several::Plain(tasks) => self.wait_for_several(&tasks, timeout, return_when).await,
            Several::Children(tasks) => self.wait_for_several(&tasks, timeout, return_when).await,
        }
    }

    async fn wait_for_several<E: Failure>(&self, tasks: &[Named<E>], timeout: Option<u64>, return_when: ReturnWhen) {
        if tasks.is_empty() {
            return self.log("wait: nothing");
        }
        let mut wait = try_wait(tasks.iter().map(|(_, task)| &**task)).return_when(return_when);
        if let Some(ms) = timeout {
            wait = wait.timeout(Duration::from_millis(ms));
        }
        let (done, pending) = wait.await;
        // Both lists are in the order of the arguments, and the files list them in the order of
        // their names.
        let name =
            |task: &&TaskOf<E>| tasks.iter().find(|(_, other)| std::ptr::eq(*task, &**other)).unwrap().0.as_str();
        let names = |several: &[&TaskOf<E>]| several.iter().map(name).collect::<Vec<_>>().join(", ");
        self.log(format!("wait: done [{}] pending [{}]", names(&done), names(&pending)));
    }

    fn cancel(&self, variable: &str) {
        let accepted = self.other_task(variable).map(|task| with_task!(task, task => task.cancel()));
        let text = accepted.map_or("skipped".to_owned(), |accepted| accepted.to_string());
        self.log(format!("cancel {variable}: {text}"));
    }

    fn add_callback(&self, variable: &str, label: &str) {
        let Some(task) = self.task(variable) else { return };
        let (machine, name) = (self.machine.clone(), label.to_owned());
        let id = with_task!(&task, task => task.add_done_callback(move |task| {
            machine.log("loop", format!("callback {name}: {}{}", machine.describe(task), seen()));
        }));
        self.machine.callbacks.borrow_mut().insert(label.to_owned(), (task, id));
    }

    fn inspect(&self) {
        let tasks = all_tasks();
        let me = current_task().is_some_and(|me| tasks.contains(&me));
        self.log(format!("tasks {} me {me}", tasks.len()));
    }

    // ---- level B ----

    /// A callback that logs.
    fn log_of_loop(&self, text: String) -> impl FnOnce() + 'static {
        let machine = self.machine.clone();
        move || machine.log("loop", format!("{text}{}", seen()))
    }

    fn call_later(&self, name: &str, ms: u64) {
        let handle = call_later(Duration::from_millis(ms), self.log_of_loop(format!("later {name}")));
        self.machine.handles.borrow_mut().insert(name.to_owned(), handle);
    }

    fn cancel_handle(&self, name: &str) {
        if let Some(handle) = self.machine.handles.borrow().get(name) {
            handle.cancel();
        }
    }

    async fn wait_for(&self, variable: &str, ms: u64) {
        let Some(task) = self.other_task(variable) else { return self.log(format!("wait_for {variable}: skipped")) };
        let text = with_task!(&task, task => match wait_for(&**task, Duration::from_millis(ms)).await {
            Ok(result) => describe_outcome(&self.machine.outcome(task.id(), result)),
            Err(Elapsed) => format!("timeout, {}", self.machine.describe(task)),
        });
        self.log(format!("wait_for {variable}: {text}"));
    }

    pub(crate) async fn timeout(&self, ms: u64, block: &Block) -> Option<Output> {
        // Kept until the line is logged: the block's guards must be dropped by the timeout, not
        // with the timeout's future.
        let mut timeout = timeout(Duration::from_millis(ms), self.run_block(block));
        let result = (&mut timeout).await;
        self.after_timeout(&ms.to_string(), result)
    }

    /// Logs the result of a timeout, unless its block raises.
    pub(crate) fn after_timeout(&self, ms: &str, result: Result<Option<Output>, Elapsed>) -> Option<Output> {
        let (text, output) = match result {
            Ok(Some(Err(text))) => return Some(Err(text)),
            Ok(output) => ("in time", output),
            Err(Elapsed) => ("expired", None),
        };
        self.log(format!("timeout {ms}: {text}"));
        output
    }

    async fn shield(&self, variable: &str) {
        let Some(task) = self.other_task(variable) else { return self.log(format!("shield {variable}: skipped")) };
        let outcome = with_task!(&task, task => self.machine.outcome(task.id(), shield(&**task).await));
        self.log(format!("shield {variable}: {}", describe_outcome(&outcome)));
    }

    async fn as_completed(&self, variables: &[String]) {
        match self.other_tasks(variables) {
            Several::Plain(tasks) => {
                let tasks = one_done_at_most(tasks);
                if tasks.is_empty() {
                    return self.log("as_completed: nothing");
                }
                let results = as_completed(tasks.iter().map(|task| &**task));
                while let Some(outcome) = results.next().await {
                    self.log(format!("as_completed: {}", describe_outcome(&outcome)));
                }
            }
            Several::Children(tasks) => {
                let tasks = one_done_at_most(tasks);
                // The error of a child is looked up by the child's task.
                let results = as_completed(tasks.iter().map(|task| &**task));
                while let Some(task) = results.next_task().await {
                    self.log(format!("as_completed: {}", self.machine.describe(&task)));
                }
            }
        }
    }

    fn promise(&self, which: usize) -> Option<Promise<i64>> {
        self.machine.promises.borrow()[which].clone()
    }

    fn fulfil(&self, which: usize, value: i64) {
        let set = self.promise(which).is_some_and(|promise| promise.set_result(value).is_ok());
        if !set {
            self.log(format!("fulfil {which}: skipped"));
        }
    }

    async fn await_promise(&self, which: usize) {
        let Some(promise) = self.promise(which) else { return self.log(format!("promise {which}: skipped")) };
        let text = match shield(&promise).await {
            Ok(value) => format!("ok {value}"),
            Err(error) => describe_error(&error),
        };
        self.log(format!("promise {which}: {text}"));
    }

    // ---- level C ----

    async fn event_wait(&self, event: usize) {
        self.machine.shared.events[event].wait().await;
        self.log(format!("event {event}"));
    }

    pub(crate) async fn lock(&self, lock: usize, block: &Block) -> Option<Output> {
        let guard = self.machine.shared.locks[lock].lock().await;
        self.log(format!("lock {lock}"));
        let output = self.run_block(block).await;
        drop(guard);
        self.log_unless_raised(&output, format!("unlock {lock}"));
        output
    }

    pub(crate) async fn semaphore(&self, semaphore: usize, block: &Block) -> Option<Output> {
        let permit = self.machine.shared.semaphores[semaphore].acquire().await;
        self.log(format!("acquired {semaphore}"));
        let output = self.run_block(block).await;
        drop(permit);
        self.log_unless_raised(&output, format!("released {semaphore}"));
        output
    }

    /// In Python, an exception leaves the statement before it logs.
    fn log_unless_raised(&self, output: &Option<Output>, text: String) {
        if !matches!(output, Some(Err(_))) {
            self.log(text);
        }
    }

    async fn condition_wait(&self, which: usize) {
        let condition = &self.machine.shared.conditions[which];
        let guard = condition.lock().await;
        let _guard = condition.wait(guard).await;
        self.log(format!("notified {which}"));
    }

    async fn condition_notify(&self, which: usize, count: usize) {
        let condition = &self.machine.shared.conditions[which];
        condition.notify(&condition.lock().await, count);
    }

    async fn put(&self, queue: usize, value: i64) {
        let is_put = self.machine.shared.queues[queue].put(value).await;
        self.log(if is_put { format!("put {queue} {value}") } else { format!("put {queue}: shut down") });
    }

    async fn get(&self, queue: usize) {
        let value = self.machine.shared.queues[queue].get().await;
        self.log(value.map_or(format!("get {queue}: shut down"), |value| format!("got {queue} {value}")));
    }
}

/// asyncio's `as_completed` makes a set of its arguments, so the order of arguments that are
/// already done is undefined. Only the first of these is kept.
pub(crate) fn one_done_at_most<E: Failure>(tasks: Vec<Named<E>>) -> Vec<Rc<TaskOf<E>>> {
    let mut is_first = true;
    let keep = |task: &Rc<TaskOf<E>>| !task.is_done() || std::mem::take(&mut is_first);
    tasks.into_iter().map(|(_, task)| task).filter(keep).collect()
}

/// The arguments of a `gather`.
enum Gathered {
    Bodies(Vec<LocalFuture<Output>>),
    Tasks(Vec<Rc<Task<Output>>>),
    Children(Vec<Rc<TaskOf<ChildFailed>>>),
}
