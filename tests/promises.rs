//! Promises in `gather`, `wait` and `as_completed` together with tasks: in asyncio's order turn by
//! turn, and in edge cases.
//!
//! `tests/promises/twin.py` has the same programs in Python, and `traces.txt` has their output
//! under CPython 3.13. `random_programs.rs` has the random programs.

#[path = "common/mod.rs"]
mod common;
#[path = "promises/random_programs.rs"]
mod random_programs;

use common::{Census, Trace, on_drop, panic_of, virtual_loop};
use onelane::{
    AsCompleted, Elapsed, Promise, ReturnWhen, Task, TaskError, TaskOrPromise, TryGatherError, as_completed,
    call_later, catch_cancel, finally, gather, sleep, spawn, time, timeout, try_gather, try_wait, wait, wait_for,
    yield_now,
};
use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

// ---- helpers of the programs ----

thread_local! {
    static LOG: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    static TURN: Cell<usize> = const { Cell::new(0) };
}

fn say(text: impl Display) {
    LOG.with_borrow_mut(|log| log.push(format!("{} {text}", TURN.get())));
}

/// The text of a promise. An `Err` stands for asyncio's `set_exception`.
type Text = Result<&'static str, &'static str>;

fn promise() -> Promise<Text> {
    Promise::new()
}

fn set(promise: &Promise<Text>, text: &'static str) {
    promise.set_result(Ok(text)).unwrap();
}

fn tell(name: &'static str, promise: &Promise<Text>) {
    promise.add_done_callback(move |promise| match promise.result() {
        Ok(value) => say(format_args!("{name} is {}", value.unwrap())),
        Err(_) => say(format_args!("{name} is cancelled")),
    });
}

fn tell_task(name: &'static str, task: &Task<Text>) {
    task.add_done_callback(move |task| match task.result() {
        Ok(value) => say(format_args!("{name} is {}", value.unwrap())),
        Err(_) => say(format_args!("{name} is cancelled")),
    });
}

async fn turns(count: usize) {
    for _ in 0..count {
        yield_now().await;
    }
}

async fn worker(name: &'static str, count: usize) -> Text {
    or_say(format!("{name} cleans up"), turns(count)).await;
    Ok(name)
}

/// Logs the text if the future is dropped before it is ready.
async fn or_say<F: Future>(text: String, future: F) -> F::Output {
    let is_over = Cell::new(false);
    let _guard = on_drop(|| {
        if !is_over.get() {
            say(text);
        }
    });
    let output = future.await;
    is_over.set(true);
    output
}

/// The outcome of a gather, as Python prints a list.
fn listed(outcome: Result<Vec<&str>, TryGatherError<&str>>) -> String {
    match outcome {
        Ok(values) => format!("[{}]", values.iter().map(|value| format!("'{value}'")).collect::<Vec<_>>().join(", ")),
        Err(TryGatherError::Failed(error)) => format!("failed, {error}"),
        Err(TryGatherError::Task(_)) => "cancelled".into(),
    }
}

fn printed(outcome: Result<Text, TaskError>) -> String {
    outcome.map_or("cancelled".into(), |value| value.unwrap().into())
}

async fn follow<F: IntoFuture>(name: &'static str, future: F, print: fn(F::Output) -> String) {
    let output = or_say(format!("{name}: cancelled"), future.into_future()).await;
    say(format_args!("{name}: {}", print(output)));
}

/// A boolean as Python prints it.
fn truth(is_so: bool) -> &'static str {
    if is_so { "True" } else { "False" }
}

/// A list of tasks and promises with their names.
type Named<'a> = Vec<(TaskOrPromise<Text>, &'a str)>;

fn is_done(child: &TaskOrPromise<Text>) -> bool {
    match child {
        TaskOrPromise::Task(task) => task.is_done(),
        TaskOrPromise::Promise(promise) => promise.is_done(),
    }
}

fn name_of<'a>(names: &Named<'a>, child: &TaskOrPromise<Text>) -> &'a str {
    let is_it = |(one, _): &&(TaskOrPromise<Text>, &'a str)| std::ptr::eq(one, child);
    names.iter().find(is_it).expect("it was given").1
}

fn sets(names: &Named<'_>, (done, pending): (Vec<&TaskOrPromise<Text>>, Vec<&TaskOrPromise<Text>>)) -> String {
    assert!(done.iter().all(|child| is_done(child)) && !pending.iter().any(|child| is_done(child)));
    let list = |some: Vec<&TaskOrPromise<Text>>| {
        some.into_iter().map(|child| name_of(names, child)).collect::<Vec<_>>().join(" ")
    };
    format!("done {}, pending {}", list(done), list(pending))
}

async fn follow_wait(name: &'static str, names: &Named<'_>, when: ReturnWhen) {
    let list = names.iter().map(|(child, _)| child);
    let split = try_wait(list).return_when(when).await;
    say(format_args!("{name}: {}", sets(names, split)));
}

fn of<const N: usize>(list: [(&Promise<Text>, &'static str); N]) -> Named<'static> {
    list.map(|(promise, name)| (promise.clone().into(), name)).into()
}

async fn follow_completed(name: &'static str, results: AsCompleted<Text>) {
    while let Some(result) = results.next().await {
        say(format_args!("{name}: {}", printed(result)));
    }
    say(format_args!("{name}: over"));
}

fn take_log() -> Vec<String> {
    TURN.set(0);
    LOG.take()
}

/// The trace that asyncio left for a program.
fn expected(name: &str) -> Vec<String> {
    let mut lines = include_str!("promises/traces.txt").lines();
    lines.find(|line| *line == format!("== {name}")).expect("the program is in traces.txt");
    lines.take_while(|line| !line.starts_with("==")).map(Into::into).collect()
}

/// Runs a program together with a task that counts the turns, and compares the traces.
fn check<F: Future<Output = ()>>(name: &str, program: impl FnOnce() -> F) {
    virtual_loop().run(async {
        spawn(async {
            loop {
                TURN.set(TURN.get() + 1);
                yield_now().await;
            }
        });
        yield_now().await;
        program().await;
        assert_eq!(take_log(), expected(name), "{name}");
    });
}

/// Runs a program that logs the second, and compares the traces.
fn check_times<F: Future<Output = ()>>(name: &str, program: impl FnOnce() -> F) {
    virtual_loop().run(async {
        program().await;
        assert_eq!(take_log(), expected(name), "{name}");
    });
}

// ---- gather ----

#[test]
fn gather_mixed() {
    check("gather_mixed", || async {
        let (p, q) = (promise(), promise());
        tell("p", &p);
        let children: [TaskOrPromise<Text>; 3] = [p.clone().into(), spawn(worker("t", 2)).into(), q.clone().into()];
        let g = spawn(follow("g", try_gather(children), listed));
        tell("q", &q);
        spawn(follow("r", (&q).into_future(), printed));
        turns(2).await;
        set(&q, "Q");
        tell("q at once", &q);
        turns(3).await;
        set(&p, "P");
        g.await.unwrap();
    });
}

#[test]
fn gather_set_in_one_turn() {
    check("gather_set_in_one_turn", || async {
        let (p, q) = (promise(), promise());
        spawn(follow("g", try_gather([&p, &q]), listed));
        spawn(follow("h", try_gather([&q, &p]), listed));
        spawn(follow("p", (&p).into_future(), printed));
        turns(1).await;
        tell("p", &p);
        set(&q, "Q");
        set(&p, "P");
        turns(4).await;
    });
}

#[test]
fn gather_done() {
    check("gather_done", || async {
        let (p, q, r) = (promise(), promise(), promise());
        set(&p, "P");
        set(&q, "Q");
        follow("both", try_gather([&p, &q]), listed).await;
        let none: [Promise<Text>; 0] = [];
        follow("none", try_gather(none), listed).await;
        r.cancel();
        tell("r", &r);
        spawn(follow("cancelled", try_gather([&p, &r, &promise()]), listed));
        turns(3).await;
        let all = wait_for(try_gather([&p, &q]), Duration::from_secs(5));
        follow("all", all, |result| listed(result.unwrap())).await;
        let s = promise();
        spawn(follow("half", try_gather([&p, &s]), listed));
        turns(2).await;
        set(&s, "S");
        turns(4).await;
    });
}

#[test]
fn gather_duplicates() {
    check("gather_duplicates", || async {
        let (p, q) = (promise(), promise());
        spawn(follow("g", try_gather([&p, &q, &p, &p]), listed));
        turns(1).await;
        set(&p, "P");
        tell("p", &p);
        turns(2).await;
        set(&q, "Q");
        turns(4).await;
    });
}

fn listed_all(outcomes: Vec<Result<Text, TaskError>>) -> String {
    outcomes.into_iter().map(printed).collect::<Vec<_>>().join(" ")
}

#[test]
fn gather_child_cancelled() {
    check("gather_child_cancelled", || async {
        let (p, q) = (promise(), promise());
        spawn(follow("g", try_gather([&p, &q]), listed));
        spawn(follow("a", gather([&q, &p]).return_exceptions(), listed_all));
        turns(2).await;
        tell("p", &p);
        p.cancel();
        turns(3).await;
        say(format_args!("q is done: {}", truth(q.is_done())));
        set(&q, "Q");
        turns(4).await;
    });
}

#[test]
fn gather_outer_cancelled() {
    check("gather_outer_cancelled", || async {
        let (p, q) = (promise(), promise());
        let (t, u) = (Rc::new(spawn(worker("t", 9))), Rc::new(spawn(worker("u", 9))));
        spawn(follow("q", (&q).into_future(), printed));
        turns(1).await;
        let (first, second) = (t.clone(), u.clone());
        let (left, right) = (p.clone(), q.clone());
        let g = spawn(async move {
            let all = onelane::gather!(&left, &*first, &right, &*second);
            follow("g", all, |_| unreachable!()).await;
        });
        turns(1).await;
        tell("p", &p);
        tell("q", &q);
        tell_task("t", &t);
        tell_task("u", &u);
        turns(1).await;
        let cancelled = g.cancel();
        say(format_args!(
            "cancel {}, p is done: {}, t is done: {}",
            truth(cancelled),
            truth(p.is_done()),
            truth(t.is_done())
        ));
        turns(5).await;
        say(format_args!("g is cancelled: {}", truth(g.is_cancelled())));
    });
}

/// Catches a cancellation, and returns three turns later.
async fn resist() -> Text {
    catch_cancel(pending::<()>()).await.unwrap_err();
    turns(3).await;
    say("t has resisted");
    Ok("t")
}

#[test]
fn gather_all_outer_cancelled() {
    check("gather_all_outer_cancelled", || async {
        let (p, q) = (promise(), promise());
        let children: [TaskOrPromise<Text>; 3] = [p.clone().into(), spawn(resist()).into(), q.clone().into()];
        let g = spawn(follow("g", gather(children).return_exceptions(), listed_all));
        turns(2).await;
        tell("p", &p);
        tell("q", &q);
        g.cancel();
        turns(7).await;
        say(format_args!("g is cancelled: {}", truth(g.is_cancelled())));
    });
}

#[test]
fn gather_outer_cancelled_when_all_are_done() {
    check("gather_outer_cancelled_when_all_are_done", || async {
        let (p, q) = (promise(), promise());
        let g = spawn(follow("g", try_gather([&p, &q]), listed));
        turns(2).await;
        set(&p, "P");
        set(&q, "Q");
        tell("q", &q);
        g.cancel();
        turns(5).await;
        say(format_args!("g is cancelled: {}", truth(g.is_cancelled())));
    });
}

#[test]
fn gather_outer_cancelled_twice() {
    check("gather_outer_cancelled_twice", || async {
        let p = promise();
        let children: [TaskOrPromise<Text>; 2] = [spawn(resist()).into(), p.clone().into()];
        let g = spawn(follow("g", try_gather(children), listed));
        turns(2).await;
        tell("p", &p);
        g.cancel();
        g.cancel();
        turns(7).await;
        say(format_args!("g is cancelled: {}", truth(g.is_cancelled())));
    });
}

#[test]
fn gather_shared() {
    check("gather_shared", || async {
        let (p, q) = (promise(), promise());
        let g = spawn(follow("g", try_gather([&p, &q]), listed));
        spawn(follow("h", try_gather([&q, &p]), listed));
        turns(2).await;
        g.cancel();
        turns(6).await;
        say(format_args!(
            "g {}, p {}, q {}",
            truth(g.is_cancelled()),
            truth(p.is_cancelled()),
            truth(q.is_cancelled())
        ));
    });
}

#[test]
fn gather_with_an_error() {
    check("gather_with_an_error", || async {
        let (p, q) = (promise(), promise());
        spawn(follow("g", try_gather([&p, &q]), listed));
        turns(2).await;
        tell("q", &q);
        p.set_result(Err("no")).unwrap();
        set(&q, "Q");
        turns(4).await;
    });
}

/// A cleanup awaits promises. A second cancellation reaches them.
#[test]
fn gather_in_a_cleanup() {
    check("gather_in_a_cleanup", || async {
        let (p, q, r) = (promise(), promise(), promise());
        let clean_up = |name, promises: [Promise<Text>; 2]| {
            let cleanup = async move { follow(name, try_gather(&promises), listed).await };
            spawn(finally(pending::<()>(), cleanup))
        };
        let c = clean_up("c", [p.clone(), q.clone()]);
        let d = clean_up("d", [q.clone(), r.clone()]);
        turns(2).await;
        c.cancel();
        d.cancel();
        turns(2).await;
        tell("p", &p);
        set(&p, "P");
        turns(2).await;
        d.cancel();
        say(format_args!("q is cancelled: {}", truth(q.is_cancelled())));
        turns(5).await;
        say(format_args!(
            "c {}, d {}, r {}",
            truth(c.is_cancelled()),
            truth(d.is_cancelled()),
            truth(r.is_cancelled())
        ));
    });
}

// ---- wait ----

#[test]
fn wait_for_the_first() {
    check("wait_for_the_first", || async {
        let (p, q) = (promise(), promise());
        let t = spawn(worker("t", 3));
        let names: Rc<Named<'_>> = Rc::new(vec![(p.clone().into(), "p"), (t.into(), "t"), (q.clone().into(), "q")]);
        for (name, when) in [("first", ReturnWhen::FirstCompleted), ("all", ReturnWhen::AllCompleted)] {
            let names = names.clone();
            spawn(async move { follow_wait(name, &names, when).await });
        }
        turns(2).await;
        tell("q", &q);
        set(&q, "Q");
        turns(3).await;
        p.cancel();
        tell("p", &p);
        turns(4).await;
    });
}

#[test]
fn wait_for_those_done() {
    check("wait_for_those_done", || async {
        let (p, q) = (promise(), promise());
        set(&p, "P");
        let both = of([(&p, "p"), (&q, "q")]);
        spawn(async move { follow_wait("first", &both, ReturnWhen::FirstCompleted).await });
        let one = of([(&p, "p")]);
        spawn(async move { follow_wait("one", &one, ReturnWhen::AllCompleted).await });
        turns(1).await;
        tell("p", &p);
        turns(3).await;
        let both = of([(&p, "p"), (&q, "q")]);
        spawn(async move { follow_wait("both", &both, ReturnWhen::AllCompleted).await });
        turns(2).await;
        set(&q, "Q");
        turns(4).await;
    });
}

#[test]
fn wait_for_an_error() {
    check("wait_for_an_error", || async {
        let (p, q, r) = (promise(), promise(), promise());
        let names = of([(&p, "p"), (&q, "q"), (&r, "r")]);
        spawn(async move { follow_wait("e", &names, ReturnWhen::FirstException).await });
        turns(2).await;
        set(&p, "P");
        turns(3).await;
        q.set_result(Err("no")).unwrap();
        turns(4).await;
        let names = of([(&p, "p"), (&r, "r")]);
        spawn(async move { follow_wait("c", &names, ReturnWhen::FirstException).await });
        turns(2).await;
        r.cancel();
        turns(4).await;
    });
}

#[test]
fn wait_cancelled() {
    check("wait_cancelled", || async {
        let p = promise();
        let names = of([(&p, "p")]);
        let w = spawn(async move { follow_wait("w", &names, ReturnWhen::AllCompleted).await });
        turns(2).await;
        w.cancel();
        turns(2).await;
        say(format_args!("w is cancelled: {}, p is done: {}", truth(w.is_cancelled()), truth(p.is_done())));
    });
}

// ---- as_completed ----

#[test]
fn completed() {
    check("completed", || async {
        let (p, q) = (promise(), promise());
        let t = spawn(worker("t", 2));
        spawn(follow_completed("c", as_completed([&p])));
        spawn(follow_completed("d", as_completed([&q, &q])));
        turns(3).await;
        set(&q, "Q");
        tell("q", &q);
        turns(3).await;
        p.cancel();
        turns(4).await;
        spawn(follow_completed("done", as_completed([&q])));
        turns(4).await;
        spawn(follow_completed("t", as_completed([TaskOrPromise::from(t)])));
        turns(4).await;
    });
}

#[test]
fn completed_cancelled() {
    check("completed_cancelled", || async {
        let p = promise();
        let c = spawn(follow_completed("c", as_completed([&p])));
        turns(2).await;
        c.cancel();
        turns(2).await;
        say(format_args!("c is cancelled: {}, p is done: {}", truth(c.is_cancelled()), truth(p.is_done())));
    });
}

// ---- times ----

fn later(begun: std::time::Instant, seconds: u64, promise: &Promise<u64>) {
    let promise = promise.clone();
    call_later(Duration::from_secs(seconds), move || {
        TURN.set((time() - begun).as_secs() as usize);
        promise.set_result(seconds).unwrap();
    });
}

/// As `say`, with the second.
fn say_at(begun: std::time::Instant, text: impl Display) {
    TURN.set((time() - begun).as_secs() as usize);
    say(text);
}

#[test]
fn time_wait() {
    check_times("time_wait", || async {
        let (begun, limit) = (time(), Duration::from_secs(2));
        let [p, q] = [Promise::new(), Promise::new()];
        later(begun, 1, &p);
        let (done, pending) = wait([&p, &q]).timeout(limit).await;
        assert!(done == [&p] && pending == [&q]);
        say_at(begun, "w: done p, pending q");
        let (done, pending) = wait([&q]).timeout(limit).await;
        assert!(done.is_empty() && pending == [&q]);
        say_at(begun, "f: done , pending q");
        later(begun, 1, &q);
        let (done, pending) = wait([q.clone()]).timeout(limit).await;
        assert!(done == [q] && pending.is_empty());
        say_at(begun, "l: done q, pending ");
    });
}

#[test]
fn time_completed() {
    check_times("time_completed", || async {
        let begun = time();
        let [p, q, r] = [Promise::new(), Promise::new(), Promise::new()];
        later(begun, 2, &p);
        later(begun, 1, &q);
        let results = as_completed([&p, &q, &r]).timeout(Duration::from_secs(3));
        let error = loop {
            match results.next().await {
                Ok(Some(value)) => say_at(begun, format_args!("c: {}", value.unwrap())),
                Ok(None) => unreachable!(),
                Err(error) => break error,
            }
        };
        assert_eq!(error, Elapsed);
        say_at(begun, "time is up");
        say_at(begun, format_args!("r is done: {}", truth(r.is_done())));
    });
}

#[test]
fn time_of_a_gather() {
    check_times("time_of_a_gather", || async {
        let begun = time();
        let [p, q] = [Promise::new(), Promise::new()];
        later(begun, 1, &p);
        assert_eq!(wait_for(gather([&p, &q]), Duration::from_secs(2)).await, Err(Elapsed));
        say_at(begun, format_args!("p is {}, q is cancelled: {}", *p.result().unwrap(), truth(q.is_cancelled())));
        let [r, s] = [Promise::<u64>::new(), Promise::new()];
        let worker = spawn(async move {
            finally(sleep(Duration::from_secs(9)), async move {
                sleep(Duration::from_secs(1)).await;
                say_at(begun, "cleaned up");
            })
            .await;
        });
        let all = onelane::gather!(&r, worker, &s);
        assert!(timeout(Duration::from_secs(1), all).await.is_err());
        say_at(begun, format_args!("r {}, s {}", truth(r.is_cancelled()), truth(s.is_cancelled())));
    });
}

// ---- edges ----

/// A gather that is dropped before its first poll does not cancel its promises. A gather that was
/// polled cancels them in order, as it cancels tasks.
#[test]
fn drop_a_gather_half_way() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let promises: [Promise<Text>; 3] = [promise(), promise(), promise()];
        for (name, promise) in ["p", "q", "r"].into_iter().zip(&promises) {
            let trace = trace.clone();
            promise.add_done_callback(move |promise| trace.push(format!("{name} {}", promise.is_cancelled())));
        }
        drop(gather(&promises));
        assert!(promises.iter().all(|promise| !promise.is_done()));
        set(&promises[1], "Q");
        assert!(timeout(Duration::ZERO, gather([&promises[2], &promises[1], &promises[0]])).await.is_err());
        turns(1).await;
        assert!(promises[0].is_cancelled() && promises[2].is_cancelled());
    });
    assert_eq!(trace.take(), ["q false", "r true", "p true"]);
}

/// A `gather`, a `wait` or an `as_completed` is over, but one of its promises was never set. It
/// leaves nothing in this promise, and neither keeps the other alive.
#[test]
fn leave_nothing_with_a_promise() {
    let census = Census::new();
    virtual_loop().run(async {
        for way in 0..6 {
            let promise = Promise::new();
            let member = census.member();
            promise.add_done_callback(move |_: &Promise<u8>| drop(member));
            let done = Promise::new();
            done.cancel();
            match way {
                0 => drop(gather([&promise, &promise])),
                // The gather fails at once.
                1 => assert_eq!(gather([&promise, &done]).await, Err(TaskError::Cancelled)),
                2 => drop(wait([&promise]).timeout(Duration::from_secs(1)).await),
                3 => drop(wait([&promise, &done]).return_when(ReturnWhen::FirstCompleted).await),
                4 => drop(as_completed([&promise])),
                _ => drop(as_completed([&promise, &done]).next().await),
            }
            assert!(format!("{promise:?}").contains("waiters: 1"), "{way}: {promise:?}");
            drop(promise);
            assert_eq!(census.counts(), (way + 1, way + 1), "{way}");
        }
    });
}

/// A gather by value takes each value once. A gather by reference clones the value for each place.
#[test]
fn take_values_once_and_clone_them_often() {
    struct NoClone(u8);
    virtual_loop().run(async {
        let promises = [Promise::new(), Promise::new()];
        for (nth, promise) in promises.iter().enumerate() {
            assert!(promise.set_result(NoClone(nth as u8)).is_ok());
        }
        let values = gather(promises.clone()).await.unwrap();
        assert_eq!(values.iter().map(|value| value.0).collect::<Vec<_>>(), [0, 1]);
        let again = panic_of(|| drop(futures_util::FutureExt::now_or_never(gather(promises))));
        assert!(again.contains("taken twice; await `&promise`"), "{again}");

        // Every await sees a cancellation.
        let promise = Promise::<NoClone>::new();
        promise.cancel();
        for _ in 0..2 {
            let result = gather([promise.clone(), promise.clone()]).await;
            assert_eq!(result.err(), Some(TaskError::Cancelled));
        }
        assert!(promise.await.is_err());
    });
}

/// STEP-1: clones and destructors of values may use the promise. Their panics belong to the task
/// that reads.
#[test]
fn values_that_panic_and_come_back() {
    thread_local!(static HOME: RefCell<Option<Promise<Evil>>> = const { RefCell::new(None) });

    struct Evil(Trace);

    impl Clone for Evil {
        fn clone(&self) -> Self {
            let home = HOME.with_borrow(Clone::clone).unwrap();
            self.0.push(format!("{} {}", home.is_done(), home.cancel()));
            panic!("no clone");
        }
    }

    impl Drop for Evil {
        fn drop(&mut self) {
            let Some(home) = HOME.take() else { return };
            self.0.push(format!("dropped, {}", home.set_result(Evil(Trace::new())).err().is_some()));
            HOME.set(Some(home));
        }
    }

    let trace = Trace::new();
    virtual_loop().run(async {
        let promise = Promise::new();
        HOME.set(Some(promise.clone()));
        let reader = {
            let promise = promise.clone();
            spawn(async move { drop(gather([&promise, &promise]).await) })
        };
        turns(1).await;
        assert!(promise.set_result(Evil(trace.clone())).is_ok());
        let error = reader.await.unwrap_err();
        assert!(matches!(&error, TaskError::Panicked(panic) if panic.message() == "no clone"), "{error:?}");
        let values = gather([promise]).await.unwrap();
        assert_eq!(trace.take(), ["true false"]);
        drop(HOME.take());
        drop(values);
    });
}

/// A promise belongs to no loop. Two gathers in two loops await it, each in its own loop.
#[test]
fn gather_a_promise_in_two_loops() {
    let loops = [virtual_loop(), virtual_loop()];
    let promise = Promise::new();
    let tasks = loops.each_ref().map(|event_loop| {
        let promise = promise.clone();
        event_loop.spawn(async move { gather([&promise]).await })
    });
    loops.iter().for_each(|event_loop| _ = event_loop.turn());
    promise.set_result(7).unwrap();
    for (event_loop, task) in loops.iter().zip(tasks) {
        assert_eq!(event_loop.run(task), Ok(Ok(vec![7])));
    }
}

/// The task is cancelled, which cancels the promises. Before its next step, the request is taken
/// back. The promises stay cancelled, and the gather returns this as its error.
#[test]
fn cancel_and_uncancel_a_task_that_gathers_promises() {
    virtual_loop().run(async {
        let promise = Promise::<u8>::new();
        let copy = promise.clone();
        let task = spawn(async move { gather([&copy, &copy]).await });
        turns(1).await;
        assert!(task.cancel() && promise.is_cancelled());
        assert_eq!(task.uncancel(), 0);
        assert_eq!(task.await, Ok(Err(TaskError::Cancelled)));
    });
}

/// One task begins a gather, and another task polls it. When the second task is cancelled, the
/// gather cancels its promises.
#[test]
fn hand_a_begun_gather_to_another_task() {
    virtual_loop().run(async {
        let promise = Promise::<u8>::new();
        let slot = Rc::new(RefCell::new(Some(gather([&promise]))));
        let copy = slot.clone();
        let giver = spawn(async move {
            let mut begun = copy.take().unwrap();
            assert!(futures_util::poll!(&mut begun).is_pending());
            copy.replace(Some(begun));
        });
        giver.await.unwrap();
        let taker = spawn(slot.take().unwrap());
        turns(1).await;
        taker.cancel();
        assert!(promise.is_cancelled(), "at the moment of cancel()");
        assert_eq!(taker.await, Err(TaskError::Cancelled));
    });
}

/// The panic message says how to correct the call.
#[test]
fn next_task_of_a_promise() {
    virtual_loop().run(async {
        let promise = Promise::new();
        promise.set_result(1).unwrap();
        let tasks = as_completed([promise]);
        turns(1).await;
        let message = panic_of(|| drop(futures_util::FutureExt::now_or_never(tasks.next_task())));
        assert!(message.contains("use next_child()"), "{message}");
    });
}

// ---- reports ----

#[cfg(feature = "report")]
#[test]
fn tell_of_promises_beside_tasks() {
    virtual_loop().run(async {
        let (a, b, line) = (Promise::<()>::new(), Promise::<()>::new(), line!());
        b.set_result(()).unwrap();
        let named = |name: &str| onelane::task::Builder::new().name(name);
        let t = named("t").spawn(pending::<()>());
        let lists: [[TaskOrPromise<()>; 2]; 2] = [1, 2].map(|_| [a.clone().into(), b.clone().into()]);
        let [first, second] = lists;
        named("gather").spawn(onelane::gather!(&a, t, &b));
        named("wait").spawn(wait(first).return_when(ReturnWhen::FirstException));
        named("many").spawn(gather(vec![&a; 12]));
        named("as_completed").spawn(async move { as_completed(second).next().await });
        turns(1).await;
        let of = |column: u32| format!("a promise made at {}:{line}:{column}", file!());
        let (a_is, b_is) = (of(29), of(51));
        let waits: Vec<_> = onelane::call_graph().tasks[2..]
            .iter()
            .map(|task| format!("{}: {}", task.name, common::words(task)))
            .collect();
        let eight = [&*a_is; 8].join(", ");
        let expected = [
            format!(r#"gather: a gather of {a_is}, "t", {b_is} (done)"#),
            format!("wait: a wait on {a_is}, {b_is} (done)"),
            format!("many: a gather of 12 promises, of which 12 live: {eight}, .."),
            format!("as_completed: the next to complete of {a_is}, {b_is} (done)"),
        ];
        assert_eq!(waits, expected);
        assert_eq!(format!("{:?}", gather([&a, &b])), "Gather { children: 2, left: 1 }");
    });
}

/// The waits keep the promises alive, but no other code has them, so nothing can set them.
#[cfg(feature = "report")]
#[test]
fn wait_for_promises_that_nobody_keeps() {
    for way in 0..3 {
        let stuck = virtual_loop().try_run(async {
            let promises = [Promise::<()>::new(), Promise::new()];
            match way {
                0 => drop(gather(promises).await),
                1 => drop(wait(promises).await),
                _ => drop(as_completed(promises).next().await),
            }
        });
        let Err(onelane::RunError::Deadlock(report)) = stuck else { panic!("no deadlock: {stuck:?}") };
        assert!(common::words(&report.tasks[0]).contains("a promise made at tests/promises.rs:"), "{report}");
    }
}
