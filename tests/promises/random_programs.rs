//! Random programs of promises, compared with CPython's traces. `random_programs.py` explains them.

use crate::common::{on_drop, virtual_loop};
use onelane::{
    Promise, ReturnWhen, Task, TaskError, TaskOrPromise, TryGatherError, as_completed, catch_cancel, gather, shield,
    spawn, try_gather, try_wait, yield_now,
};
use serde_json::Value;
use std::cell::{Cell, RefCell};
use std::future::pending;
use std::rc::Rc;

/// The result of a child. An `Err` stands for `set_exception`.
type Text = Result<String, ()>;

type Child = TaskOrPromise<Text>;

#[derive(Clone, Default)]
struct Log {
    lines: Rc<RefCell<Vec<String>>>,
    turn: Rc<Cell<usize>>,
}

impl Log {
    fn say(&self, text: &str) {
        self.lines.borrow_mut().push(format!("{} {text}", self.turn.get()));
    }

    /// Awaits the future, and logs the text if it is dropped before it is ready.
    async fn or_say<F: IntoFuture>(&self, text: String, future: F) -> F::Output {
        let is_over = Cell::new(false);
        let _guard = on_drop(|| {
            if !is_over.get() {
                self.say(&text);
            }
        });
        let output = future.await;
        is_over.set(true);
        output
    }
}

async fn turns(count: usize) {
    for _ in 0..count {
        yield_now().await;
    }
}

async fn worker(log: Log, name: String, count: usize, resists: bool) -> Text {
    if resists {
        catch_cancel(pending::<()>()).await.unwrap_err();
        log.say(&format!("{name} resists"));
        turns(count).await;
    } else {
        log.or_say(format!("{name} cleans up"), turns(count)).await;
    }
    Ok(name)
}

fn printed(outcome: Result<Text, TaskError>) -> String {
    match outcome {
        Ok(Ok(text)) => text,
        Ok(Err(())) => "failed".into(),
        Err(_) => "cancelled".into(),
    }
}

fn state(child: &Child) -> String {
    let result = match child {
        TaskOrPromise::Task(task) if task.is_done() => task.result(),
        TaskOrPromise::Promise(promise) if promise.is_done() => promise.result(),
        _ => return "pending".into(),
    };
    printed(result.map(|value| value.clone()))
}

fn cancel(child: &Child) -> bool {
    match child {
        TaskOrPromise::Task(task) => task.cancel(),
        TaskOrPromise::Promise(promise) => promise.cancel(),
    }
}

fn promise_of(child: &Child) -> &Promise<Text> {
    match child {
        TaskOrPromise::Promise(promise) => promise,
        TaskOrPromise::Task(_) => panic!("the program says that it is a promise"),
    }
}

async fn follow(log: Log, name: String, kind: String, which: Vec<usize>, children: Rc<Vec<Child>>) {
    let some = || which.iter().map(|&nth| &children[nth]);
    let dropped = format!("{name}: cancelled");
    let outcome = match &*kind {
        "gather" => match log.or_say(dropped, try_gather(some())).await {
            Ok(values) => values.join(" "),
            Err(TryGatherError::Failed(())) => "failed".into(),
            Err(TryGatherError::Task(_)) => "cancelled".into(),
        },
        "gather_all" => {
            let outcomes = log.or_say(dropped, gather(some()).return_exceptions()).await;
            outcomes.into_iter().map(printed).collect::<Vec<_>>().join(" ")
        }
        "first" | "all" | "exception" => {
            let when = match &*kind {
                "first" => ReturnWhen::FirstCompleted,
                "all" => ReturnWhen::AllCompleted,
                _ => ReturnWhen::FirstException,
            };
            let (done, _) = log.or_say(dropped, try_wait(some()).return_when(when)).await;
            let is_done = |nth: &usize| done.iter().any(|child| std::ptr::eq(*child, &children[*nth]));
            let mut done: Vec<_> = which.iter().filter(|nth| is_done(nth)).collect();
            done.sort();
            done.dedup();
            format!("done {}", done.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        }
        "completed" => {
            let results = as_completed(some());
            while let Some(result) = log.or_say(dropped.clone(), results.next()).await {
                log.say(&format!("{name}: {}", printed(result)));
            }
            "over".into()
        }
        "await" => printed(log.or_say(dropped, promise_of(&children[which[0]])).await),
        "shield" => printed(log.or_say(dropped, shield(&children[which[0]])).await),
        _ => panic!("{kind} is unknown"),
    };
    log.say(&format!("{name}: {outcome}"));
}

fn number(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

async fn run(program: &Value) -> Vec<String> {
    let log = Log::default();
    let turn = log.turn.clone();
    spawn(async move {
        loop {
            turn.set(turn.get() + 1);
            yield_now().await;
        }
    });
    yield_now().await;
    let mut children: Vec<Child> = (0..number(&program["promises"])).map(|_| Promise::new().into()).collect();
    for (nth, one) in program["workers"].as_array().unwrap().iter().enumerate() {
        let task = worker(log.clone(), format!("w{nth}"), number(&one[0]), one[1].as_bool().unwrap());
        children.push(spawn(task).into());
    }
    let children = Rc::new(children);
    let mut followers: Vec<Task<()>> = Vec::new();
    for acts in program["steps"].as_array().unwrap() {
        for act in acts.as_array().unwrap() {
            let nth = || number(&act[1]);
            match act[0].as_str().unwrap() {
                "start" => {
                    let which = act[2].as_array().unwrap().iter().map(number).collect();
                    let (name, kind) = (format!("f{}", followers.len()), act[1].as_str().unwrap().into());
                    followers.push(spawn(follow(log.clone(), name, kind, which, children.clone())));
                }
                // A promise that is already done does not change.
                "set" => _ = promise_of(&children[nth()]).set_result(Ok(format!("p{}", nth()))),
                "fail" => _ = promise_of(&children[nth()]).set_result(Err(())),
                "cancel" => {
                    let answer = if cancel(&children[nth()]) { "True" } else { "False" };
                    log.say(&format!("cancel {}: {answer}", nth()));
                }
                "stop" => _ = followers[nth()].cancel(),
                "tell" => {
                    let (log, name) = (log.clone(), format!("p{}", nth()));
                    promise_of(&children[nth()]).add_done_callback(move |promise| {
                        let result = promise.result().map(|value| value.clone());
                        log.say(&format!("{name} is {}", printed(result)));
                    });
                }
                other => panic!("{other} is unknown"),
            }
        }
        yield_now().await;
    }
    turns(12).await;
    log.say(&children.iter().map(state).collect::<Vec<_>>().join(" "));
    let lines = log.lines.take();
    drop(followers);
    lines
}

#[test]
fn random_programs_leave_the_traces_of_cpython() {
    let programs = include_str!("random_programs.jsonl");
    let mut differ = 0;
    for (nth, line) in programs.lines().enumerate() {
        let program: Value = serde_json::from_str(line).unwrap();
        let expected: Vec<_> = program["trace"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
        let trace = virtual_loop().run(run(&program));
        if trace != expected {
            differ += 1;
            println!("program {nth}: {line}\n  onelane: {trace:?}\n  CPython: {expected:?}");
        }
    }
    assert_eq!(differ, 0, "of {}", programs.lines().count());
}
