//! The public functions one by one, in cases without CPython traces: combinators of other crates,
//! types, reports.

mod common;

use common::{Trace, ms, on_drop, virtual_loop};
use futures_util::stream::{FuturesUnordered, StreamExt};
use futures_util::task::{LocalSpawn, LocalSpawnExt, Spawn, SpawnExt};
use futures_util::{join, poll};
use onelane::{
    Elapsed, EventLoop, ReturnWhen, RunError, Task, TaskError, TaskState, TryGatherError, call_soon, current_task,
    gather, sleep, spawn, task, time, timeout, timeout_at, try_gather, try_wait, wait, wait_for, yield_now,
};
use std::future::pending;
use std::time::Duration;

// ---- tasks ----

#[test]
fn drop_a_task_and_it_runs_on() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let copy = trace.clone();
        drop(spawn(async move {
            sleep(ms(1)).await;
            copy.push("ran on");
        }));
        sleep(ms(2)).await;
    });
    assert_eq!(trace.take(), ["ran on"]);
}

#[test]
fn drop_an_await_that_has_begun_and_the_task_is_cancelled() {
    virtual_loop().run(async {
        let (begun, unbegun) = (spawn(pending::<()>()), spawn(pending::<()>()));
        let refs = [begun.task_ref(), unbegun.task_ref()];
        let (mut first, second) = (begun.into_future(), unbegun.into_future());
        assert!(poll!(&mut first).is_pending());
        drop((first, second));
        yield_now().await;
        assert_eq!(refs.map(|task| task.is_cancelled()), [true, false]);
    });
}

/// The children have ended when their parent's destructors run.
#[test]
fn cancel_a_parent_and_children_end_first() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let [grandchild, child, parent] = ["grandchild", "child", "parent"].map(|name| {
            let trace = trace.clone();
            on_drop(move || trace.push(name))
        });
        let parent = spawn(async move {
            let _parent = parent;
            let child = spawn(async move {
                let _child = child;
                gather([async move {
                    let _grandchild = grandchild;
                    pending::<()>().await;
                }])
                .await
            });
            child.await
        });
        sleep(ms(1)).await;
        parent.cancel();
        assert!(parent.await.unwrap_err().is_cancelled());
    });
    assert_eq!(trace.take(), ["grandchild", "child", "parent"]);
}

#[test]
fn tell_callbacks_and_awaits_in_the_order_in_which_they_came() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let task = std::rc::Rc::new(spawn(sleep(ms(1))));
        let callback = |text: &'static str| {
            let trace = trace.clone();
            task.add_done_callback(move |_| trace.push(text))
        };
        callback("first callback");
        let removed = callback("removed");
        let (awaited, copy) = (task.clone(), trace.clone());
        spawn(async move {
            (&*awaited).await.unwrap();
            copy.push("await");
        });
        yield_now().await;
        callback("last callback");
        assert!(task.remove_done_callback(removed));
        assert!(!task.remove_done_callback(removed));
        sleep(ms(2)).await;
        callback("late callback");
        assert_eq!(trace.take(), ["first callback", "await", "last callback"]);
        yield_now().await;
    });
    assert_eq!(trace.take(), ["late callback"]);
}

#[test]
fn name_a_task_and_follow_its_life() {
    virtual_loop().run(async {
        let named = task::Builder::new().name("early").spawn(async { current_task().unwrap().state() });
        assert_eq!((&*named.name(), named.task_ref().state()), ("early", TaskState::Queued));
        named.set_name("late");
        assert_eq!(&*named.task_ref().name(), "late");
        assert_eq!((&named).await, Ok(TaskState::Running));
        assert_eq!(named.task_ref().state(), TaskState::Done);
        let unnamed = spawn(sleep(ms(1)));
        yield_now().await;
        assert_eq!(
            (unnamed.name().to_string(), unnamed.task_ref().state()),
            (format!("Sleep-{}", unnamed.id()), TaskState::Waiting)
        );
    });
}

// ---- several at once ----

#[test]
fn gather_tuples_and_fail() {
    virtual_loop().run(async {
        let mixed = onelane::gather!(async { 1 }, spawn(async { "two" }), &spawn(async { 3.0 })).await;
        assert_eq!(mixed, Ok((1, "two", 3.0)));
        let cancelled = spawn(pending::<()>());
        cancelled.cancel();
        let (slow, refs) = (spawn(sleep(ms(5))), cancelled.task_ref());
        let slow_ref = slow.task_ref();
        assert_eq!(onelane::gather!(slow, cancelled).await, Err(TaskError::Cancelled));
        assert!(refs.is_cancelled() && !slow_ref.is_done(), "the other tasks go on");
        let all = onelane::gather!(async { 1 }, async { "two" }).return_exceptions().await;
        assert_eq!(all, (Ok(1), Ok("two")));
    });
}

#[test]
fn try_gather_and_stop_at_the_first_err() {
    virtual_loop().run(async {
        let begun = time();
        let results = try_gather([3u64, 1, 2].map(async |n| {
            sleep(Duration::from_millis(n)).await;
            if n == 2 { Err("two") } else { Ok(n) }
        }));
        assert_eq!(results.await, Err(TryGatherError::Failed("two")));
        assert_eq!(time() - begun, ms(2));
        let none: [Task<Result<(), ()>>; 0] = [];
        assert_eq!(try_gather(none).await, Ok(vec![]));
    });
}

#[test]
fn wait_for_the_first_error_and_keep_the_order() {
    virtual_loop().run(async {
        let tasks = [4u64, 1, 2, 3].map(|n| {
            spawn(async move {
                sleep(Duration::from_millis(n)).await;
                if n == 3 { Err(n) } else { Ok(n) }
            })
        });
        tasks[1].cancel();
        // A cancelled task is done, but not an exception. A task that occurs twice counts once.
        let twice = tasks.iter().chain([&tasks[0]]);
        let (done, pending) = try_wait(twice).return_when(ReturnWhen::FirstException).await;
        let ids = |tasks: &[&Task<_>]| tasks.iter().map(|task| task.id()).collect::<Vec<_>>();
        assert_eq!(ids(&done), [tasks[1].id(), tasks[2].id(), tasks[3].id()]);
        assert_eq!(ids(&pending), [tasks[0].id()]);
        let (done, pending) = wait([tasks[0].task_ref()]).timeout(Duration::ZERO).await;
        assert_eq!((done.len(), pending.len()), (0, 1));
    });
}

// ---- time ----

/// A timeout interrupts what is awaited inside it, and not the awaits beside it.
#[test]
fn timeout_beside_another_await() {
    virtual_loop().run(async {
        let (inside, beside) = (spawn(pending::<()>()), spawn(sleep(ms(9))));
        let (timed, other) = join!(timeout(ms(5), &inside), (&beside).into_future());
        assert_eq!((timed, other), (Err(Elapsed), Ok(())));
        assert!(inside.is_cancelled() && !beside.is_cancelled());

        // The same holds if the branches have their own wakers.
        let (inside, beside) = (spawn(pending::<()>()), spawn(sleep(ms(9))));
        let mut branches = FuturesUnordered::new();
        branches
            .push(Box::pin(async { timeout(ms(5), &inside).await.is_err() })
                as std::pin::Pin<Box<dyn Future<Output = bool>>>);
        branches.push(Box::pin(async { (&beside).await.is_ok() }));
        assert_eq!(
            (branches.next().await, branches.next().await, branches.next().await),
            (Some(true), Some(true), None)
        );
    });
}

#[test]
fn timeout_in_a_timeout() {
    virtual_loop().run(async {
        let begun = time();
        let outer_first = timeout(ms(2), timeout(ms(5), pending::<()>())).await;
        assert_eq!((outer_first, time() - begun), (Err(Elapsed), ms(2)));
        let inner_first = timeout(ms(5), timeout(ms(2), pending::<()>())).await;
        assert_eq!((inner_first, time() - begun), (Ok(Err(Elapsed)), ms(4)));
        let both = timeout_at(begun + ms(9), timeout_at(begun + ms(9), pending::<()>())).await;
        assert_eq!(both, Err(Elapsed), "the outer timeout was created first");
    });
}

#[test]
fn wait_for_a_task_and_it_has_ended_when_the_time_is_up() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let copy = trace.clone();
        let task = spawn(async move {
            let _guard = on_drop(move || copy.push("dropped"));
            pending::<()>().await;
        });
        assert_eq!(wait_for(&task, ms(5)).await, Err(Elapsed));
        trace.push(format!("cancelled: {}", task.is_cancelled()));
        // With a time limit of zero, an ended task returns its result, a running one is cancelled,
        // and a future is not even polled.
        assert_eq!(wait_for(&task, Duration::ZERO).await, Ok(Err(TaskError::Cancelled)));
        assert_eq!(wait_for(spawn(async { 7 }), Duration::ZERO).await, Err(Elapsed));
        assert_eq!(wait_for(async { unreachable!() }, Duration::ZERO).await, Err::<(), _>(Elapsed));
    });
    assert_eq!(trace.take(), ["dropped", "cancelled: true"]);
}

/// The task was not cancelled, but its value is too late, as in asyncio.
#[test]
fn wait_for_a_task_that_ends_just_before_the_time_is_up() {
    virtual_loop().run(async {
        let task = spawn(async {
            sleep(ms(10)).await;
            "value"
        });
        let waiting = wait_for(&task, ms(5));
        sleep(ms(10)).await;
        // The time limit has already passed. `wait_for` finds that out in the next turn, and the
        // task runs its last step before that.
        assert_eq!(waiting.await, Err(Elapsed));
        assert_eq!((task.cancelling(), task.await), (0, Ok("value")));
    });
}

// ---- the traits of futures-task ----

#[test]
fn spawn_through_the_traits() {
    let event_loop = virtual_loop();
    let (remote, trace) = (event_loop.remote(), Trace::new());
    let copy = trace.clone();
    event_loop.spawn_local(async move { copy.push("local, by the loop") }).unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    SpawnExt::spawn(&remote, async move { sender.send(7).unwrap() }).unwrap();
    let closed = event_loop.run(async {
        let current = EventLoop::current();
        let copy = trace.clone();
        current.spawn_local(async move { copy.push("local, by a reference") }).unwrap();
        yield_now().await;
        assert!(current.status_local().is_ok());
        current
    });
    assert_eq!(
        (trace.take(), receiver.recv()),
        (vec!["local, by the loop".into(), "local, by a reference".into()], Ok(7))
    );
    drop(event_loop);
    assert!(closed.status_local().unwrap_err().is_shutdown());
    assert!(closed.spawn_local(async {}).unwrap_err().is_shutdown());
    assert!(Spawn::spawn_obj(&remote, Box::new(async {}).into()).unwrap_err().is_shutdown());
}

// ---- reports ----

#[test]
fn report_a_deadlock_with_names_places_and_waits() {
    let first_line = line!() + 2;
    let stuck = virtual_loop().try_run(async {
        let lost = task::Builder::new().name("lost").spawn(pending::<()>());
        let both = task::Builder::new().name("both").spawn(async move { gather([lost]).await });
        let sleeper = task::Builder::new().name("sleeper").spawn(sleep(Duration::MAX));
        call_soon(|| ());
        current_task().unwrap().set_name("main");
        wait([both.task_ref(), sleeper.task_ref()]).await;
        unreachable!()
    });
    let Err(RunError::Deadlock(report)) = stuck else { panic!("no deadlock: {stuck:?}") };
    let place = |line: u32, column: u32| format!("tests/vocabulary.rs:{line}:{column}");
    let at = |line: u32, column: u32| place(first_line + line - 1, column);
    let expected = [
        "deadlock: nothing is ready, no timer is pending, no waker is held elsewhere, and 4 task(s) wait".to_string(),
        format!("  \"main\", spawned at {}, waits at {} for a wait on \"both\", \"sleeper\"", at(0, 32), at(6, 53)),
        format!(
            "  \"lost\", spawned at {}, waits for a future that is not onelane's, and its last waker was dropped",
            at(1, 54)
        ),
        format!("  \"both\", spawned at {}, waits at {} for a gather of \"lost\"", at(2, 54), at(2, 88)),
        format!("  \"sleeper\", spawned at {}, waits at {} for a sleep that never ends", at(3, 60), at(3, 66)),
    ];
    assert_eq!(report.to_string().lines().collect::<Vec<_>>(), expected);
}
