//! `futures_util`: combinators that poll several futures within one task, some with their own
//! wakers; streams; spawning through its traits.

use crate::common::{Census, Trace, ms, on_drop, text_of, virtual_loop, watched};
use crate::{Diary, on_virtual_clock};
use futures_util::future::{
    AbortHandle, Either, FutureExt, LocalBoxFuture, abortable, join_all, select, select_all, try_join_all,
};
use futures_util::stream::{self, FuturesOrdered, FuturesUnordered, StreamExt, TryStreamExt};
use futures_util::task::{LocalSpawnExt, SpawnExt};
use futures_util::{join, pin_mut, select, select_biased, try_join};
use onelane::sync::{Event, Lock, Queue, Semaphore, oneshot};
use onelane::{
    Elapsed, EventLoop, Promise, TaskError, as_completed, call_later, finally, gather, metrics, shield, sleep, spawn,
    time, timeout, yield_now,
};
use std::cell::{Cell, RefCell};
use std::future::pending;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::thread;

/// Sleeps for `n` milliseconds, and returns `n`.
async fn sleeper(n: u64) -> u64 {
    sleep(ms(n)).await;
    n
}

// ---- several futures as one ----

/// `join_all` of three futures polls all of them in each poll; with forty futures, it polls only
/// those that were woken. The results are in the order of the futures.
#[test]
fn join_all_and_get_results_in_order() {
    for count in [3, 40] {
        on_virtual_clock(async move || {
            let begun = time();
            let durations: Vec<u64> = (0..count).map(|n| (n * 7) % count).collect();
            assert_eq!(join_all(durations.iter().map(|&n| sleeper(n))).await, durations);
            assert_eq!(time() - begun, ms(count - 1), "all at once");
        });
    }
}

/// The first failure ends the `try_join_all`, and the other sleeps are dropped.
#[test]
fn try_join_all_and_fail_early() {
    for count in [3, 40] {
        on_virtual_clock(async move || {
            let begun = time();
            let results = try_join_all((1..=count).map(async |n| match sleeper(n).await {
                2 => Err("two"),
                n => Ok(n),
            }));
            assert_eq!((results.await, time() - begun), (Err("two"), ms(2)));
            assert_eq!(metrics().timers_pending, 0, "of {count}");
        });
    }
}

#[test]
fn join_a_sleep_a_task_and_a_promise() {
    on_virtual_clock(async || {
        let (begun, promise) = (time(), Promise::new());
        let (task, setter) = (spawn(sleeper(20)), promise.clone());
        drop(call_later(ms(30), move || setter.set_result("set").unwrap()));
        let (slept, ended, set) = join!(sleeper(10), task.into_future(), promise.into_future());
        assert_eq!((slept, ended, set, time() - begun), (10, Ok(20), Ok("set"), ms(30)));
        let failed: Result<((), u64), TaskError> = try_join!(
            async {
                let task = spawn(pending::<()>());
                task.cancel();
                task.await
            },
            async { Ok(sleeper(3_600_000).await) }
        );
        assert_eq!((failed, time() - begun), (Err(TaskError::Cancelled), ms(30)));
    });
}

// ---- sets of futures ----

/// Sleeps and tasks are returned in the order in which they are ready, including those that were
/// added later.
#[test]
fn push_and_take_by_time() {
    on_virtual_clock(async || {
        let diary = Diary::begin();
        let mut set = FuturesUnordered::<LocalBoxFuture<'_, String>>::new();
        for n in [50, 10, 30] {
            set.push(sleeper(n).map(|n| format!("sleep of {n}")).boxed_local());
        }
        for n in [40, 20] {
            let task = spawn(sleeper(n));
            set.push(task.into_future().map(|n| format!("task of {}", n.unwrap())).boxed_local());
        }
        while let Some(done) = set.next().await {
            if done == "task of 20" {
                set.push(sleeper(5).map(|n| format!("late sleep of {n}")).boxed_local());
            }
            diary.note(done);
        }
        let expected = [
            "10 ms: sleep of 10",
            "20 ms: task of 20",
            "25 ms: late sleep of 5",
            "30 ms: sleep of 30",
            "40 ms: task of 40",
            "50 ms: sleep of 50",
        ];
        assert_eq!(diary.take(), expected);
    });
}

/// With equal deadlines, the order is that in which the sleeps were created, because timers fire in
/// this order.
#[test]
fn take_in_the_order_of_timers() {
    on_virtual_clock(async || {
        let mut set: FuturesUnordered<_> = (0..100).map(|n| sleeper(n % 2).map(move |_| n)).collect();
        let mut seen = Vec::new();
        while let Some(n) = set.next().await {
            seen.push(n);
        }
        let (even, odd): (Vec<u64>, Vec<u64>) = (0..100).partition(|n| n % 2 == 0);
        assert_eq!(seen, [even, odd].concat());
    });
}

#[test]
fn take_in_the_order_of_pushes() {
    on_virtual_clock(async || {
        let diary = Diary::begin();
        let ordered: FuturesOrdered<_> = [30, 10, 20].map(sleeper).into_iter().collect();
        ordered.for_each(async |n| diary.note(n)).await;
        assert_eq!(diary.take(), ["30 ms: 30", "30 ms: 10", "30 ms: 20"]);
    });
}

/// Dropping the set drops the awaits of tasks, which cancels the tasks, and the sleeps.
#[test]
fn drop_a_set_of_tasks_and_sleeps() {
    on_virtual_clock(async || {
        let trace = Trace::new();
        let tasks = [1, 2].map(|n| {
            let trace = trace.clone();
            spawn(async move {
                let _dropped = on_drop(move || trace.push(format!("{n} dropped")));
                sleep(ms(10)).await;
            })
        });
        let refs = tasks.each_ref().map(|task| task.task_ref());
        let mut set: FuturesUnordered<LocalBoxFuture<'_, ()>> = FuturesUnordered::new();
        set.extend(tasks.into_iter().map(|task| task.into_future().map(drop).boxed_local()));
        set.push(sleep(ms(3_600_000)).boxed_local());
        yield_now().await;
        assert!(set.next().now_or_never().is_none());
        assert_eq!((trace.take().len(), metrics().timers_pending), (0, 3));
        drop(set);
        yield_now().await;
        assert!(refs.iter().all(|task| task.is_cancelled()));
        assert_eq!(trace.take(), ["2 dropped", "1 dropped"], "it drops what was put in last first");
        assert_eq!(metrics().timers_pending, 0);
    });
}

/// Cancelling a task also cancels what it awaits in the set, and nothing else.
#[test]
fn cancel_a_task_that_waits_for_a_set() {
    on_virtual_clock(async || {
        let (inside, outside) = (spawn(pending::<()>()), spawn(sleeper(10)));
        let (within, task) = (inside.task_ref(), outside.task_ref());
        let waiting = spawn(async move {
            let awaits = [inside.into_future().map(drop).boxed_local(), sleep(ms(3_600_000)).boxed_local()];
            awaits.into_iter().collect::<FuturesUnordered<_>>().collect::<Vec<_>>().await
        });
        sleep(ms(1)).await;
        waiting.cancel();
        assert_eq!(waiting.await, Err(TaskError::Cancelled));
        assert_eq!([within.is_cancelled(), task.is_done()], [true, false]);
        assert_eq!(outside.await, Ok(10));
    });
}

// ---- the first of several ----

/// Each branch runs when its future is ready, and the macro ends when all are complete.
#[test]
fn select_until_all_are_complete() {
    on_virtual_clock(async || {
        let diary = Diary::begin();
        let (mut first, mut second) = (Box::pin(sleeper(10)).fuse(), Box::pin(sleeper(20)).fuse());
        let mut task = spawn(sleeper(15)).into_future().fuse();
        loop {
            select! {
                n = first => diary.note(format!("first, {n}")),
                n = second => diary.note(format!("second, {n}")),
                n = task => diary.note(format!("task, {}", n.unwrap())),
                complete => break,
            }
        }
        diary.note("complete");
        assert_eq!(diary.take(), ["10 ms: first, 10", "15 ms: task, 15", "20 ms: second, 20", "20 ms: complete"]);
    });
}

/// The loser is dropped. Here the loser is the await of a task, so the task is cancelled.
#[test]
fn select_and_drop_the_loser() {
    on_virtual_clock(async || {
        let (begun, slow) = (time(), spawn(sleeper(3_600_000)));
        let loser = slow.task_ref();
        let won = select_biased! {
            n = slow.into_future().fuse() => n.unwrap(),
            n = Box::pin(sleeper(5)).fuse() => n,
        };
        yield_now().await;
        assert_eq!((won, time() - begun, loser.is_cancelled()), (5, ms(5), true));
    });
}

/// Selects between the next tick and the end, as the main task of a program often does.
#[test]
fn select_over_a_stream_and_a_sleep() {
    on_virtual_clock(async || {
        let diary = Diary::begin();
        let ticks = stream::unfold(1, async |n| {
            sleep(ms(4)).await;
            Some((n, n + 1))
        });
        pin_mut!(ticks);
        let mut ticks = ticks.fuse();
        let mut end = Box::pin(sleep(ms(10))).fuse();
        loop {
            select! {
                n = ticks.select_next_some() => diary.note(format!("tick {n}")),
                () = end => break,
            }
        }
        diary.note("end");
        assert_eq!(diary.take(), ["4 ms: tick 1", "8 ms: tick 2", "10 ms: end"]);
    });
}

/// The loser can still be awaited.
#[test]
fn select_and_go_on_with_the_loser() {
    on_virtual_clock(async || {
        let diary = Diary::begin();
        let (fast, slow) = (sleep(ms(10)), spawn(sleeper(20)).into_future());
        match select(fast, slow).await {
            Either::Left(((), slow)) => {
                diary.note("the sleep");
                diary.note(format!("the task, {}", slow.await.unwrap()));
            }
            Either::Right(_) => diary.note("the task first"),
        }
        let (n, index, rest) = select_all([30, 10, 20].map(|n| Box::pin(sleeper(n)))).await;
        diary.note(format!("{n} at {index}, {} are left", rest.len()));
        assert_eq!(diary.take(), ["10 ms: the sleep", "20 ms: the task, 20", "30 ms: 10 at 1, 2 are left"]);
    });
}

// ---- streams ----

/// At most two futures run at the same time. `buffer_unordered` returns their outputs in the order
/// in which they are ready. `buffered` keeps the order of the stream, so the first future delays
/// the others.
#[test]
fn buffer_two_at_a_time() {
    on_virtual_clock(async || {
        let (running, most) = (Cell::new(0), Cell::new(0));
        let work = async |n| {
            running.set(running.get() + 1);
            most.set(most.get().max(running.get()));
            sleep(ms(n)).await;
            running.set(running.get() - 1);
            n
        };
        let diary = Diary::begin();
        stream::iter([30, 10, 10, 5]).map(work).buffer_unordered(2).for_each(async |n| diary.note(n)).await;
        assert_eq!(diary.take(), ["10 ms: 10", "20 ms: 10", "25 ms: 5", "30 ms: 30"]);
        let diary = Diary::begin();
        stream::iter([30, 10, 10, 5]).map(work).buffered(2).for_each(async |n| diary.note(n)).await;
        assert_eq!(diary.take(), ["30 ms: 30", "30 ms: 10", "40 ms: 10", "40 ms: 5"]);
        let diary = Diary::begin();
        stream::iter([30, 10, 10, 5]).for_each_concurrent(2, async |n| diary.note(work(n).await)).await;
        assert_eq!(diary.take(), ["10 ms: 10", "20 ms: 10", "25 ms: 5", "30 ms: 30"]);
        assert_eq!((running.get(), most.get()), (0, 2));
    });
}

/// A stream can run tasks like other futures. The first failure ends the stream, and the tasks that
/// have begun are cancelled.
#[test]
fn buffer_tasks_and_fail() {
    on_virtual_clock(async || {
        let refs = Rc::new(RefCell::new(Vec::new()));
        let copy = refs.clone();
        let tasks = stream::iter([5, 50, 7, 60, 70]).map(move |n| {
            let task = spawn(async move {
                assert!(sleeper(n).await != 7, "seven");
                n
            });
            copy.borrow_mut().push(task.task_ref());
            task.into_future()
        });
        let sum = tasks.buffer_unordered(3).try_fold(0, async |sum, n| Ok(sum + n)).await;
        let Err(TaskError::Panicked(panic)) = sum else { panic!("it did not fail: {sum:?}") };
        assert_eq!(panic.message(), "seven");
        yield_now().await;
        let ends: Vec<_> = refs.borrow().iter().map(|task| (task.is_done(), task.is_cancelled())).collect();
        assert_eq!(ends, [(true, false), (true, true), (true, false), (true, true)], "the fifth was not begun");
    });
}

// ---- abort handles ----

#[test]
fn abort_a_future_from_a_callback() {
    on_virtual_clock(async || {
        let diary = Diary::begin();
        let copy = diary.clone();
        let (work, handle) = abortable(async move {
            let _dropped = on_drop(move || copy.note("dropped"));
            sleep(ms(3_600_000)).await;
        });
        let task = spawn(work);
        drop(call_later(ms(10), move || handle.abort()));
        let ended = task.await;
        diary.note(format!("{ended:?}"));
        // The future is dropped with the task, which has ended by then.
        assert_eq!(diary.take(), ["10 ms: dropped", "10 ms: Ok(Err(Aborted))"]);
        assert_eq!(metrics().timers_pending, 0);
    });
}

/// The handle is `Send`, and wakes the loop from another thread.
#[test]
fn abort_a_stream_from_another_thread() {
    on_virtual_clock(async || {
        let (handle, registration) = AbortHandle::new_pair();
        let (endless, stopper) = (stream::pending::<()>(), handle.clone());
        let stoppable = stream::Abortable::new(endless, registration);
        let thread = thread::spawn(move || stopper.abort());
        assert_eq!(stoppable.count().await, 0);
        thread.join().unwrap();
        assert!(handle.is_aborted());
    });
}

/// Three tasks await a shared future, which runs once. When one of them is cancelled, even the last
/// that polled the future, the others still get the result. A shared task needs a shield for this.
#[test]
fn share_a_future_and_cancel_one_who_awaits_it() {
    type Make = fn() -> LocalBoxFuture<'static, u64>;
    let sorts: [(&str, Make); 3] = [
        ("a sleep", || sleeper(10).boxed_local()),
        ("a task", || async { shield(spawn(sleeper(10))).await.unwrap() }.boxed_local()),
        ("a message", || {
            let (sender, receiver) = async_channel::bounded(1);
            drop(call_later(ms(10), move || sender.try_send(10).unwrap()));
            async move { receiver.recv().await.unwrap() }.boxed_local()
        }),
    ];
    for (name, make) in sorts {
        for cancelled in 0..3 {
            on_virtual_clock(async move || {
                let (diary, runs) = (Diary::begin(), Rc::new(Cell::new(0)));
                let (work, count) = (make(), runs.clone());
                let shared = async move {
                    count.set(count.get() + 1);
                    work.await
                };
                let shared = shared.shared();
                let tasks = [0, 1, 2].map(|nth| {
                    let (diary, shared) = (diary.clone(), shared.clone());
                    spawn(async move { diary.note(format!("{nth} has {}", shared.await)) })
                });
                sleep(ms(5)).await;
                tasks[cancelled].cancel();
                let ends = join_all(tasks.map(IntoFuture::into_future)).await;
                assert_eq!(ends[cancelled], Err(TaskError::Cancelled));
                let others = (0..3).filter(|&nth| nth != cancelled);
                let expected: Vec<_> = others.map(|nth| format!("10 ms: {nth} has 10")).collect();
                assert_eq!(diary.take(), expected, "{name}, of which {cancelled} was cancelled");
                assert_eq!((runs.get(), shared.now_or_never()), (1, Some(10)));
            });
        }
    }
}

// ---- spawning through its traits ----

/// A function that knows the executor only through the trait.
fn spawn_twice(spawner: &impl LocalSpawnExt, trace: &Trace) {
    for nth in [1, 2] {
        let trace = trace.clone();
        let future = async move {
            sleep(ms(3 - nth)).await;
            trace.push(format!("{nth} has slept"));
        };
        spawner.spawn_local(future).unwrap();
    }
}

#[test]
fn spawn_local_between_turns_and_within() {
    let (event_loop, trace) = (virtual_loop(), Trace::new());
    spawn_twice(&event_loop, &trace);
    event_loop.run(async { sleep(ms(5)).await });
    assert_eq!(trace.take(), ["2 has slept", "1 has slept"]);
    let home = event_loop.loop_ref();
    event_loop.run(async {
        spawn_twice(&EventLoop::current(), &trace);
        sleep(ms(5)).await;
        spawn_twice(&home, &trace);
        sleep(ms(5)).await;
    });
    assert_eq!(trace.take(), ["2 has slept", "1 has slept", "2 has slept", "1 has slept"]);
    drop(event_loop);
    let census = Census::new();
    let member = census.member();
    let refused = home.spawn_local(async move { drop(member) });
    assert!(refused.unwrap_err().is_shutdown());
    assert_eq!(census.counts(), (1, 1), "what could not be spawned is dropped");
}

#[test]
fn spawn_from_another_thread() {
    watched(|| {
        let event_loop = virtual_loop();
        let (remote, here) = (event_loop.remote(), thread::current().id());
        event_loop.run(async {
            let (sender, receiver) = async_channel::bounded(1);
            thread::spawn(move || {
                let future = async move { sender.send(thread::current().id()).await.unwrap() };
                SpawnExt::spawn(&remote, future).unwrap();
            });
            assert_eq!(receiver.recv().await, Ok(here));
        });
        let remote = event_loop.remote();
        drop(event_loop);
        let refused = thread::spawn(move || SpawnExt::spawn(&remote, async {}).unwrap_err());
        assert!(refused.join().unwrap().is_shutdown());
    });
}

/// A panic within a task can be caught there, and the task continues.
#[test]
fn catch_a_panic_and_go_on() {
    on_virtual_clock(async || {
        let task = spawn(async {
            let failing = async {
                sleep(ms(1)).await;
                panic!("in here");
            };
            let caught = AssertUnwindSafe(failing).catch_unwind().await;
            sleep(ms(1)).await;
            caught.map(|()| "no panic").map_err(|payload| text_of(&*payload))
        });
        assert_eq!(gather([task]).await, Ok(vec![Err("in here".to_string())]));
    });
}

/// A wait: its name, and a function that begins it and returns what ends it.
type Wait = (&'static str, fn() -> (LocalBoxFuture<'static, ()>, Box<dyn FnOnce()>));

/// Waits of onelane that outlive the task or timeout that polled them, in a set or in a `Shared`.
const WAITS: [Wait; 6] = [
    ("event", || {
        let event = Rc::new(Event::new());
        let wait = event.wait();
        (wait.boxed_local(), Box::new(move || event.set()))
    }),
    ("lock", || {
        let lock = Rc::new(Lock::new(()));
        let (guard, copy) = (lock.lock_owned().now_or_never().unwrap(), lock.clone());
        (async move { drop(copy.lock().await) }.boxed_local(), Box::new(move || drop(guard)))
    }),
    ("semaphore", || {
        let semaphore = Rc::new(Semaphore::new(0));
        let copy = semaphore.clone();
        (async move { drop(copy.acquire().await) }.boxed_local(), Box::new(move || semaphore.release()))
    }),
    ("queue", || {
        let queue = Rc::new(Queue::unbounded());
        let copy = queue.clone();
        (async move { copy.get().await.unwrap() }.boxed_local(), Box::new(move || queue.try_put(()).unwrap()))
    }),
    ("oneshot", || {
        let (sender, receiver) = oneshot();
        (async move { receiver.await.unwrap() }.boxed_local(), Box::new(move || sender.send(()).unwrap()))
    }),
    ("as_completed", || {
        let event = Rc::new(Event::new());
        let results = as_completed([event.wait()]);
        (async move { results.next().await.unwrap().unwrap() }.boxed_local(), Box::new(move || event.set()))
    }),
];

/// A wait outlives the timeout or the task that polled it. It must not count as abandoned: it is
/// polled again, and its wake must reach its new owner.
#[test]
fn outlive_who_polled_and_be_woken() {
    on_virtual_clock(async || {
        for (name, begin) in WAITS {
            let (wait, give) = begin();
            let mut set: FuturesUnordered<_> = [wait].into_iter().collect();
            assert_eq!(timeout(ms(5), set.next()).await, Err(Elapsed), "{name}");
            give();
            assert_eq!(set.next().await, Some(()), "{name}");

            let (wait, give) = begin();
            let shared = wait.shared();
            let [first, last] = [spawn(shared.clone()), spawn(shared)];
            yield_now().await;
            last.cancel();
            yield_now().await;
            give();
            assert_eq!(first.await, Ok(()), "{name}");
        }
    });
}

/// A task that shares a cancelled `finally` gets a panic that explains the misuse, even if the
/// cleanup takes time.
#[test]
fn share_a_finally_and_be_told() {
    on_virtual_clock(async || {
        let shared = finally(sleep(ms(10)), async { sleep(ms(3)).await }).shared();
        let [first, last] = [spawn(shared.clone()), spawn(shared)];
        yield_now().await;
        last.cancel();
        assert!(last.await.is_err());
        let Err(TaskError::Panicked(panic)) = first.await else { panic!("it went on") };
        assert!(panic.message().starts_with("a finally was polled after it was ready"), "{}", panic.message());
    });
}
