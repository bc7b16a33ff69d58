//! What a call graph reports for each kind of wait: a description, the awaited tasks, and the tasks
//! that hold what is waited for.

mod common;

use common::{ms, virtual_loop};
use futures_util::FutureExt;
use futures_util::future::{join, pending, select};
use onelane::sync::{
    Barrier, BoundedSemaphore, Condition, Event, LifoQueue, Lock, PriorityQueue, Queue, Semaphore, channel, oneshot,
    unbounded,
};
use onelane::{
    Promise, ReturnWhen, RunError, Task, TaskId, TaskSnapshot, as_completed, call_graph, call_soon, catch_cancel,
    current_task, finally, gather, interval, shield, sleep, spawn, task, task_group, timeout, try_gather,
    try_task_group, wait, wait_for, yield_now,
};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Spawns a task with this name.
fn named<T: 'static>(name: &str, future: impl Future<Output = T> + 'static) -> Task<T> {
    task::Builder::new().name(name).spawn(future)
}

/// Runs everything that is ready, and everything that becomes ready through it.
async fn settle() {
    for _ in 0..8 {
        yield_now().await;
    }
}

/// One line for each wait of each task: `b: lock "db", held by "a" -> awaited tasks [holding
/// tasks]`. Places are shown as file and line.
fn lines(tasks: &[TaskSnapshot]) -> Vec<String> {
    let names = |ids: &[TaskId]| ids.iter().map(|id| name_in(tasks, *id)).collect::<Vec<_>>().join(", ");
    let mut lines = Vec::new();
    for task in tasks {
        for wait in &task.waits_for {
            let awaited = if wait.tasks.is_empty() { String::new() } else { format!(" -> {}", names(&wait.tasks)) };
            let held = if wait.held_by.is_empty() { String::new() } else { format!(" [{}]", names(&wait.held_by)) };
            lines.push(format!("{}: {}{awaited}{held}", task.name, without_column(&wait.what)));
        }
    }
    lines
}

fn name_in(tasks: &[TaskSnapshot], id: TaskId) -> &str {
    &tasks.iter().find(|task| task.id == id).expect("the graph names living tasks").name
}

/// `made at tests/waits.rs:12:34` without the `:34`.
fn without_column(text: &str) -> String {
    let Some((before, after)) = text.split_once(file!()) else { return text.into() };
    let number = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let line = &after[1..];
    let (line, column) = line.split_at(number(line));
    let column = &column[1..];
    format!("{before}{}:{line}{}", file!(), &column[number(column)..])
}

/// The description of an unnamed object that was made in this line.
fn made(line: u32) -> String {
    format!("made at {}:{line}", file!())
}

/// The line with this mark.
fn line_of(mark: &str) -> u32 {
    let mark = format!("// {mark}");
    let line = include_str!("waits.rs").lines().position(|line| line.ends_with(&mark)).unwrap();
    u32::try_from(line + 1).unwrap()
}

/// What the tasks wait for after everything has settled. A callback sees the same as a task.
async fn told() -> Vec<String> {
    settle().await;
    let seen = Rc::new(RefCell::new(Vec::new()));
    let copy = seen.clone();
    call_soon(move || *copy.borrow_mut() = lines(&call_graph().tasks));
    let here = lines(&call_graph().tasks);
    yield_now().await;
    assert_eq!(seen.take(), here, "a callback sees the same");
    here
}

// ---- what tasks share ----

#[test]
fn call_primitives_by_their_names() {
    virtual_loop().run(async {
        current_task().unwrap().set_name("main");
        let lock = Rc::new(Lock::new(()).named("db"));
        let _guard = lock.lock().await;
        let owned = lock.clone();
        named("lock", async move { drop(owned.lock().await) });
        named("lock_owned", lock.lock_owned());
        named("event", Event::new().named("ready").wait());
        let condition = Rc::new(Condition::new(()).named("stock"));
        named("condition", async move { drop(condition.wait(condition.lock().await).await) });
        let condition = Rc::new(Condition::new(0).named("shelf"));
        named("wait_for", async move { drop(condition.wait_for(condition.lock().await, |n| *n > 0).await) });
        named("semaphore", Semaphore::new(0).named("slots").acquire());
        named("bounded", BoundedSemaphore::new(0).named("licences").acquire());
        named("barrier", Barrier::new(3).named("start").wait());
        let queue = Queue::<u8>::unbounded().named("jobs");
        named("get", async move { queue.get().await });
        let queue = Queue::bounded(1).named(String::from("belt"));
        named("put", async move { (queue.put(1).await, queue.put(2).await) });
        let queue = LifoQueue::<u8>::bounded(2).named(Rc::<str>::from("undo"));
        named("lifo", async move { queue.get().await });
        let queue = PriorityQueue::unbounded().named("alarms");
        queue.try_put(1).unwrap();
        named("join", queue.join());
        let expected = [
            r#"lock: lock "db", held by "main" [main]"#,
            r#"lock_owned: lock "db", held by "main" [main]"#,
            r#"event: event "ready""#,
            r#"condition: a notification of condition "stock""#,
            r#"wait_for: a notification of condition "shelf""#,
            r#"semaphore: a permit of semaphore "slots" (0 free)"#,
            r#"bounded: a permit of semaphore "licences" (0 free)"#,
            r#"barrier: barrier "start" (1 of 3 have come)"#,
            r#"get: an item of queue "jobs""#,
            r#"put: room in queue "belt" (1 of 1 taken)"#,
            r#"lifo: an item of queue "undo""#,
            r#"join: the end of all items of queue "alarms" (1 unfinished)"#,
        ];
        assert_eq!(told().await, expected);
    });
}

/// The place is known however an object was made: with `new`, with `default`, or with a function
/// that returns two ends.
#[test]
fn call_primitives_by_the_places_where_they_were_made() {
    virtual_loop().run(async {
        current_task().unwrap().set_name("main");
        let mut expected = Vec::new();
        let mut expect = |line: u32, before: &str, after: &str| {
            expected.push(format!("{before}{}{after}", made(line)));
        };

        let (lock, line) = (Rc::new(Lock::<u8>::default()), line!());
        let _guard = lock.lock().await;
        named("lock", lock.lock_owned());
        expect(line, "lock: a lock (", r#"), held by "main" [main]"#);
        for (which, (event, line)) in [(Event::new(), line!()), (Event::default(), line!())].into_iter().enumerate() {
            named(&format!("event-{which}"), event.wait());
            expect(line, &format!("event-{which}: an event ("), ")");
        }
        let line = line!() + 1;
        for (which, condition) in [Condition::new(0), Condition::default()].into_iter().enumerate() {
            named(&format!("condition-{which}"), async move { drop(condition.wait(condition.lock().await).await) });
            expect(line, &format!("condition-{which}: a notification of a condition ("), ")");
        }
        let (semaphore, line) = (Semaphore::new(0), line!());
        named("semaphore", semaphore.acquire());
        expect(line, "semaphore: a permit of a semaphore (", ", 0 free)");
        let (semaphore, line) = (BoundedSemaphore::new(0), line!());
        named("bounded", semaphore.acquire());
        expect(line, "bounded: a permit of a semaphore (", ", 0 free)");
        let (barrier, line) = (Barrier::new(2), line!());
        named("barrier", barrier.wait());
        expect(line, "barrier: a barrier (", ", 1 of 2 have come)");
        let line = line!() + 1;
        for (which, queue) in [Queue::<u8>::bounded(1), Queue::unbounded(), Queue::default()].into_iter().enumerate() {
            named(&format!("queue-{which}"), async move { queue.get().await });
            expect(line, &format!("queue-{which}: an item of a queue ("), ")");
        }
        let (queue, line) = (Queue::bounded(1), line!());
        named("put", async move { (queue.put(1).await, queue.put(2).await) });
        expect(line, "put: room in a queue (", ", 1 of 1 taken)");
        let line = line!() + 1;
        for queue in [LifoQueue::bounded(1), LifoQueue::unbounded(), LifoQueue::default()] {
            queue.try_put('a').unwrap();
            named("lifo", queue.join());
            expect(line, "lifo: the end of all items of a queue (", ", 1 unfinished)");
        }
        let line = line!() + 1;
        for queue in [PriorityQueue::bounded(1), PriorityQueue::unbounded(), PriorityQueue::default()] {
            queue.try_put('a').unwrap();
            named("ranked", queue.join());
            expect(line, "ranked: the end of all items of a queue (", ", 1 unfinished)");
        }
        let ((full, _receiver), line) = (channel(1), line!());
        named("send", async move { (full.send(1).await, full.send(2).await) });
        expect(line, "send: room in a channel (", ", 1 of 1 taken)");
        let ((_sender, receiver), line) = (unbounded::<u8>(), line!());
        named("recv", async move { receiver.recv().await });
        expect(line, "recv: a message of a channel (", ")");
        let ((_sender, receiver), line) = (oneshot::<u8>(), line!());
        named("oneshot", receiver);
        expect(line, "oneshot: the value of a oneshot (", ")");
        assert_eq!(told().await, expected);
    });
}

#[test]
fn tell_the_column_and_quote_odd_names() {
    virtual_loop().run(async {
        #[rustfmt::skip]
        let event =
            Event::new();
        let line = line!() - 1;
        let named = Event::new().named("thrown\naway").named("a \"b\"\n\u{1b}[0m");
        let (event, named) = (spawn(event.wait()), spawn(named.wait()));
        yield_now().await;
        let graph = call_graph();
        let what = |task: &Task<()>| graph.task(task.id()).unwrap().waits_for[0].what.clone();
        assert_eq!(what(&event), format!("an event (made at {}:{line}:13)", file!()));
        assert_eq!(what(&named), r#"event "a \"b\"\n\u{1b}[0m""#);
    });
}

#[test]
fn count_who_has_come_to_a_barrier() {
    virtual_loop().run(async {
        let barrier = Rc::new(Barrier::new(3).named("start"));
        let party = |name: &str| named(name, barrier.wait());
        let (_a, _b) = (party("a"), party("b"));
        let expected = [r#"a: barrier "start" (2 of 3 have come)"#, r#"b: barrier "start" (2 of 3 have come)"#];
        assert_eq!(told().await, expected);

        // The last party arrives and goes on. The others are released, and leave at their next
        // step. A party that arrives before that waits until they have left.
        let late = Rc::new(RefCell::new(Vec::new()));
        let (copy, comes) = (late.clone(), barrier.wait());
        named("c", barrier.wait());
        named("d", comes);
        call_soon(move || *copy.borrow_mut() = lines(&call_graph().tasks));
        yield_now().await;
        let expected = [
            r#"a: barrier "start" (2 of 3 have not left yet)"#,
            r#"b: barrier "start" (2 of 3 have not left yet)"#,
            r#"d: barrier "start" (2 of 3 have not left yet)"#,
        ];
        assert_eq!(late.take(), expected);
        assert_eq!(told().await, [r#"d: barrier "start" (1 of 3 have come)"#]);

        barrier.reset();
        assert_eq!(lines(&call_graph().tasks), [r#"d: barrier "start" (1 of 3 have not left yet)"#]);
        assert!(told().await.is_empty());
        let _e = party("e");
        settle().await;
        barrier.abort();
        assert_eq!(lines(&call_graph().tasks), [r#"e: barrier "start" (broken)"#]);
        assert!(told().await.is_empty());
    });
}

/// A task waits for a permit although one is free, because earlier waiters go first.
#[test]
fn count_the_permits_that_are_free() {
    virtual_loop().run(async {
        let semaphore = Rc::new(Semaphore::new(0).named("slots"));
        let first = named("first", semaphore.acquire());
        settle().await;
        first.cancel();
        semaphore.release();
        // The next step of the cancelled waiter removes it from the queue.
        let seen = Rc::new(RefCell::new(Vec::new()));
        let copy = seen.clone();
        call_soon(move || *copy.borrow_mut() = lines(&call_graph().tasks));
        assert_eq!(lines(&call_graph().tasks), [r#"first: a permit of semaphore "slots" (1 free)"#]);
        yield_now().await;
        assert!(seen.take().is_empty());

        let _rest = semaphore.acquire().await;
        named("second", semaphore.acquire());
        named("third", semaphore.acquire());
        let expected =
            [r#"second: a permit of semaphore "slots" (0 free)"#, r#"third: a permit of semaphore "slots" (0 free)"#];
        assert_eq!(told().await, expected);
    });
}

#[test]
fn follow_a_condition_through_its_stages() {
    virtual_loop().run(async {
        current_task().unwrap().set_name("main");
        let condition = Rc::new(Condition::new(()).named("stock"));
        let waiter = |name: &str, condition: &Rc<Condition>| {
            let condition = condition.clone();
            named(name, async move { drop(condition.wait(condition.lock().await).await) })
        };
        let _a = waiter("a", &condition);
        assert_eq!(told().await, [r#"a: a notification of condition "stock""#]);
        let guard = condition.lock().await;
        condition.notify_one(&guard);
        // A lock that the condition itself has made has the condition's name.
        assert_eq!(told().await, [r#"a: lock "stock", held by "main" [main]"#]);
        drop(guard);
        assert!(told().await.is_empty());

        // A lock that was passed in keeps its own name. Without a name, its place is shown.
        let (lock, line) = (Rc::new(Lock::new(())), line!());
        let empty = Rc::new(Condition::with_lock(lock.clone()).named("empty"));
        let (full, other) = (Rc::new(Condition::with_lock(lock.clone())), line!());
        let (_b, _c) = (waiter("b", &empty), waiter("c", &full));
        let expected = [
            r#"b: a notification of condition "empty""#.to_string(),
            format!("c: a notification of a condition ({})", made(other)),
        ];
        assert_eq!(told().await, expected);
        let guard = lock.lock().await;
        empty.notify_one(&guard);
        full.notify_one(&guard);
        let lock = format!(r#"a lock ({}), held by "main" [main]"#, made(line));
        assert_eq!(told().await, [format!("b: {lock}"), format!("c: {lock}")]);
        drop(guard);
        assert!(told().await.is_empty());
    });
}

// ---- holders ----

#[test]
fn hand_a_lock_down_the_line() {
    virtual_loop().run(async {
        let lock = Rc::new(Lock::new(()).named("db"));
        let stages = ["a", "b", "c"].map(|name| {
            let (lock, done) = (lock.clone(), Rc::new(Event::new().named(name)));
            let copy = done.clone();
            named(name, async move {
                let _guard = lock.lock().await;
                copy.wait().await;
            });
            done
        });
        let expected = [r#"a: event "a""#, r#"b: lock "db", held by "a" [a]"#, r#"c: lock "db", held by "a" [a]"#];
        assert_eq!(told().await, expected);
        stages[0].set();
        yield_now().await;
        // "a" has released it, and "b" is not stepped yet, so there is no holder.
        assert_eq!(lines(&call_graph().tasks), [r#"b: lock "db""#, r#"c: lock "db""#]);
        assert_eq!(told().await, [r#"b: event "b""#, r#"c: lock "db", held by "b" [b]"#]);
        stages[1].set();
        assert_eq!(told().await, [r#"c: event "c""#]);
        // Taken while it is free.
        stages[2].set();
        settle().await;
        let _guard = lock.try_lock().unwrap();
        current_task().unwrap().set_name("main");
        named("d", lock.clone().lock_owned());
        assert_eq!(told().await, [r#"d: lock "db", held by "main" [main]"#]);
    });
}

/// A lock does not know where its guard is. The holder is the task that acquired it.
#[test]
fn move_and_forget_guards() {
    virtual_loop().run(async {
        let lock = |name: &str| Rc::new(Lock::new(()).named(name));

        // The guard moves into another task, and the first task goes on.
        let moved = lock("moved");
        let copy = moved.clone();
        named("first", async move {
            let guard = copy.lock_owned().await;
            named("second", async move {
                let _guard = guard;
                pending::<()>().await;
            });
            sleep(ms(10)).await;
        });
        // The guard is the output of a task.
        let returned = lock("returned");
        let guard = named("third", returned.lock_owned()).await.unwrap();
        // The guard is forgotten.
        let forgotten = lock("forgotten");
        let copy = forgotten.clone();
        named("fourth", async move { std::mem::forget(copy.lock().await) }).await.unwrap();
        for lock in [&moved, &returned, &forgotten] {
            named("waiter", lock.lock_owned());
        }
        let has_ended = |name| format!(r#"waiter: lock "{name}", held by a task that has ended"#);
        let expected = [
            "first: a sleep, 10.000 ms more".to_string(),
            r#"waiter: lock "moved", held by "first" [first]"#.to_string(),
            has_ended("returned"),
            has_ended("forgotten"),
        ];
        assert_eq!(told().await, expected);
        sleep(ms(20)).await;
        drop(guard);
        assert_eq!(told().await, [has_ended("moved"), has_ended("forgotten")]);
    });
}

#[test]
fn take_a_lock_outside_of_tasks() {
    let (before, within) = (Rc::new(Lock::new(()).named("before")), Rc::new(Lock::new(()).named("within")));
    let guard = before.try_lock().unwrap();
    virtual_loop().run({
        let (before, within) = (before.clone(), within.clone());
        async move {
            let taken = Rc::new(Cell::new(None));
            let (copy, lock) = (taken.clone(), within.clone());
            call_soon(move || copy.set(lock.lock_owned().now_or_never()));
            yield_now().await;
            named("a", before.lock_owned());
            named("b", within.lock_owned());
            let expected =
                [r#"a: lock "before", held outside of any task"#, r#"b: lock "within", held outside of any task"#];
            assert_eq!(told().await, expected);
            assert!(taken.take().is_some());
        }
    });
    drop(guard);
}

/// The holder is shown by its name while its loop exists. It is only in the graph of its own loop.
#[test]
fn take_a_lock_in_another_loop() {
    let lock = Rc::new(Lock::new(()).named("shared"));
    let (here, there) = (virtual_loop(), virtual_loop());
    let guard = Rc::new(Cell::new(None));
    let (copy, kept) = (lock.clone(), guard.clone());
    let holder = there.spawn(async move {
        kept.set(Some(copy.lock_owned().await));
        pending::<()>().await;
    });
    holder.set_name("holder");
    there.turn();
    let told = |holder: &str| {
        let (lock, expected) = (lock.clone(), format!(r#"waiter: lock "shared", {holder}"#));
        here.run(async move {
            named("waiter", lock.lock_owned());
            assert_eq!(told().await, [expected]);
        });
    };
    told(r#"held by "holder""#);
    drop(there);
    told("held by a task that has ended");
    drop(guard);
}

#[test]
fn wait_in_a_circle_of_locks() {
    let stuck = virtual_loop().try_run(async {
        current_task().unwrap().set_name("main");
        let locks = ["x", "y"].map(|name| Rc::new(Lock::new(()).named(name)));
        let crossed = |name: &str, [first, second]: [&Rc<Lock>; 2]| {
            let (first, second) = (first.clone(), second.clone());
            named(name, async move {
                let _guards = (first.lock().await, yield_now().await, second.lock().await);
            })
        };
        let (a, b) = (crossed("a", [&locks[0], &locks[1]]), crossed("b", [&locks[1], &locks[0]]));
        let alone = named("twice", async {
            let lock = Lock::new(()).named("own");
            let _twice = (lock.lock().await, lock.lock().await);
        });
        gather([a, b, alone]).await
    });
    let Err(RunError::Deadlock(report)) = stuck else { panic!("no deadlock: {stuck:?}") };
    let expected = [
        r#"main: a gather of "a", "b", "twice" -> a, b, twice"#,
        r#"a: lock "y", held by "b" [b]"#,
        r#"b: lock "x", held by "a" [a]"#,
        r#"twice: lock "own", held by "twice" [twice]"#,
    ];
    assert_eq!(lines(&report.tasks), expected);
    let circles =
        report.circles.iter().map(|circle| circle.iter().map(|id| name_in(&report.tasks, *id)).collect::<Vec<_>>());
    assert_eq!(circles.collect::<Vec<_>>(), [vec!["a", "b"], vec!["twice"]]);
}

// ---- awaited tasks ----

/// As `told`, without the lines of sleeping children.
async fn told_but_sleeps() -> Vec<String> {
    told().await.into_iter().filter(|line| !line.contains(": a sleep, ")).collect()
}

/// A task that has ended is not awaited any more, whatever the description says.
#[test]
fn tell_whom_combinators_await() {
    virtual_loop().run(async {
        let long = |name: &str| named(name, sleep(ms(1000)));
        let short = |name: &str| named(name, sleep(ms(1)));
        named("gather", gather([short("a"), long("b")]));
        let failing = |name: &str, ms| named(name, sleep(ms).map(Ok::<(), ()>));
        named("try_gather", try_gather([failing("c", ms(1)), failing("d", ms(1000))]));
        named("gather!", onelane::gather!(long("e"), long("f")));
        named("wait", wait([short("g"), long("h")]));
        named("first", wait([long("i"), long("j")]).return_when(ReturnWhen::FirstCompleted).timeout(ms(500)));
        let results = as_completed([short("k"), long("l"), long("m")]);
        named("as_completed", async move { while results.next().await.is_some() {} });
        named("shield", shield(long("n")));
        let task = long("o");
        named("join", async move { (&task).await });
        named("wait_for", wait_for(long("p"), ms(500)));
        named("timeout", timeout(ms(500), long("q").into_future()));
        named("catch_cancel", catch_cancel(long("r").into_future()));
        named("finally", finally(long("s").into_future(), async {}));
        named(
            "group",
            task_group(async |group| {
                for child in ["t", "u", "v"] {
                    let seconds = if child == "t" { 0 } else { 1 };
                    group.spawn(sleep(ms(1000 * seconds))).set_name(child);
                }
            }),
        );
        named(
            "try_group",
            try_task_group(async |group| {
                group.try_spawn(sleep(ms(1000)).map(Ok::<(), ()>)).set_name("w");
                Ok(())
            }),
        );
        // While the body of a group runs, the waits of the body are reported.
        named(
            "body",
            task_group(async |group| {
                group.spawn(sleep(ms(1000))).set_name("x");
                Event::new().named("body").wait().await;
            }),
        );
        sleep(ms(10)).await;
        let expected = [
            r#"gather: a gather of "a" (done), "b" -> b"#,
            r#"try_gather: a gather of "c" (done), "d" -> d"#,
            r#"gather!: a gather of "e", "f" -> e, f"#,
            r#"wait: a wait on "g" (done), "h" -> h"#,
            r#"first: a wait on "i", "j" -> i, j"#,
            r#"as_completed: the next to complete of "l", "m" -> l, m"#,
            r#"shield: a shield on "n" -> n"#,
            r#"join: task "o" -> o"#,
            r#"wait_for: task "p" -> p"#,
            r#"timeout: task "q" -> q"#,
            r#"catch_cancel: task "r" -> r"#,
            r#"finally: task "s" -> s"#,
            r#"group: a group of "u", "v" -> u, v"#,
            r#"try_group: a group of "w" -> w"#,
            r#"body: event "body""#,
        ];
        assert_eq!(told_but_sleeps().await, expected);
    });
}

/// Between the end of an awaited task and the next step of the awaiting task, no task is awaited.
#[test]
fn look_between_an_end_and_the_step_after_it() {
    virtual_loop().run(async {
        let ended = Rc::new(Event::new());
        let task = |name: &str| named(name, ended.wait());
        named("join", task("a").into_future());
        named("gather", gather([task("b")]));
        named("wait", wait([task("c")]));
        let results = as_completed([task("d")]);
        named("as_completed", async move { results.next().await });
        named("shield", shield(task("e")));
        let child = ended.wait();
        named("group", task_group(async |group| group.spawn(child).set_name("f")));
        settle().await;
        ended.set();
        yield_now().await;
        let expected = [
            "join: a task that has ended",
            r#"gather: a gather of "b" (done)"#,
            r#"wait: a wait on "c" (done)"#,
            r#"as_completed: the next to complete of "d" (done)"#,
            r#"shield: a shield on "e" (done)"#,
            r#"group: a group of "f" (done)"#,
        ];
        assert_eq!(lines(&call_graph().tasks), expected);
        assert!(told().await.is_empty());
    });
}

#[test]
fn tell_of_promises_and_times() {
    virtual_loop().run(async {
        let (promise, line) = (Promise::<()>::new(), line!());
        named("promise", promise.clone().into_future());
        named("shield", shield(&promise));
        named("sleep", sleep(ms(1500)));
        named("tick", async {
            let mut ticks = interval(ms(250));
            ticks.tick().await;
            ticks.tick().await;
        });
        named("zero", wait_for(named("slow", finally(pending::<()>(), sleep(ms(70)))), ms(0)));
        let of_a_promise = format!("a promise {}", made(line));
        let expected = [
            format!("promise: {of_a_promise}"),
            format!("shield: a shield on {of_a_promise}"),
            "sleep: a sleep, 1.500 s more".to_string(),
            "tick: a sleep, 250.000 ms more".to_string(),
            "slow: a sleep, 70.000 ms more".to_string(),
            r#"zero: the end of task "slow", which it has cancelled -> slow"#.to_string(),
        ];
        assert_eq!(told().await, expected);
    });
}

/// If there are many tasks, the description names only some living ones. The list of awaited tasks
/// contains all.
#[test]
fn gather_many() {
    virtual_loop().run(async {
        let child = |n: u64| named(&format!("c{n}"), sleep(ms(n)));
        let gathered = named("many", gather((1..=1000).map(child)));
        let told = async || {
            settle().await;
            let graph = call_graph();
            let [wait] = graph.task(gathered.id()).unwrap().waits_for.as_slice() else { unreachable!() };
            let living = graph.tasks.iter().filter(|task| task.name.starts_with('c')).map(|task| task.id);
            assert_eq!(wait.tasks, living.collect::<Vec<_>>());
            (wait.tasks.len(), wait.what.clone())
        };
        let begin = r#"a gather of 1000 tasks, of which 1000 live: "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", .."#;
        assert_eq!(told().await, (1000, begin.to_string()));
        sleep(ms(998)).await;
        assert_eq!(told().await, (2, r#"a gather of 1000 tasks, of which 2 live: "c999", "c1000""#.to_string()));
    });
}

// ---- several waits, and waits with another end ----

#[test]
fn wait_for_two_things_at_once() {
    virtual_loop().run(async {
        current_task().unwrap().set_name("main");
        let (lock, queue) = (Rc::new(Lock::new(()).named("db")), Rc::new(Queue::unbounded().named("jobs")));
        let guard = lock.lock().await;
        let (task, copy, locking) = (named("task", pending::<()>()), queue.clone(), lock.lock_owned());
        named("both", async move {
            let _ = select(locking, Box::pin(copy.get())).await;
            join(sleep(ms(5)), task.into_future()).await
        });
        let expected = [r#"both: lock "db", held by "main" [main]"#, r#"both: an item of queue "jobs""#];
        assert_eq!(told().await, expected);
        // The branches that lost are not waited for any more.
        queue.try_put('a').unwrap();
        assert_eq!(told().await, ["both: a sleep, 5.000 ms more", r#"both: task "task" -> task"#]);
        sleep(ms(5)).await;
        assert_eq!(told().await, [r#"both: task "task" -> task"#]);
        drop(guard);
    });
}

/// A group waits for its children in further cases: while a cancelled task unwinds, and after its
/// body was interrupted.
#[test]
fn wait_for_the_children_of_a_group_that_ends() {
    virtual_loop().run(async {
        // A child that is slow to end.
        let slow = || finally(pending::<()>(), sleep(ms(20)));
        let tasks = ["body", "exit", "time", "failed"].map(|name| {
            named(name, async move {
                let group = task_group(async move |group| {
                    // MADE
                    group.spawn(slow()).set_name(format!("child of {name}"));
                    match name {
                        "exit" => {}
                        "failed" => {
                            group.spawn(async {
                                sleep(ms(5)).await;
                                panic!("fails")
                            });
                            pending().await
                        }
                        _ => Event::new().named(name).wait().await,
                    }
                });
                match name {
                    "time" => drop(timeout(ms(5), group).await),
                    _ => drop(group.await), // AWAITED
                }
            })
        });
        sleep(ms(1)).await;
        let before =
            [r#"body: event "body""#, r#"exit: a group of "child of exit" -> child of exit"#, r#"time: event "time""#];
        assert_eq!(told_but_sleeps().await, before);
        tasks[0].cancel();
        tasks[1].cancel();
        sleep(ms(5)).await;
        let after = [
            r#"body: a group of "child of body" -> child of body"#,
            r#"exit: a group of "child of exit" -> child of exit"#,
            r#"time: a group of "child of time" -> child of time"#,
            r#"failed: a group of "child of failed" -> child of failed"#,
        ];
        assert_eq!(told_but_sleeps().await, after);
        // The reported place is where the group was awaited. If the group was interrupted before
        // that, it is the place where the group was made.
        let graph = call_graph();
        let places = tasks.iter().map(|task| graph.task(task.id()).unwrap().waits_for.last().unwrap().at.line());
        let (made, awaited) = (line_of("MADE") - 1, line_of("AWAITED"));
        assert_eq!(places.collect::<Vec<_>>(), [made, awaited, made, awaited]);
        // Nothing is left behind.
        sleep(ms(30)).await;
        assert!(told().await.is_empty());
    });
}

/// A second cancellation, and a timeout around the unwinding, reach a group that already waits.
#[test]
fn cancel_a_group_that_waits_for_its_children() {
    virtual_loop().run(async {
        let slow = || finally(pending::<()>(), sleep(ms(20)));
        let task = named("twice", task_group(async move |group| group.spawn(slow()).set_name("child")));
        settle().await;
        let expected = [r#"twice: a group of "child" -> child"#];
        assert_eq!(told_but_sleeps().await, expected);
        for _ in 0..3 {
            task.cancel();
            assert_eq!(told_but_sleeps().await, expected);
        }
        assert!(task.await.unwrap_err().is_cancelled());
        assert!(told().await.is_empty());
    });
}
