//! Counts allocations, and compares with the numbers that the docs state under "Cost". The loop has
//! warmed up: a new task gets the memory of an ended one, so a spawn allocates nothing.
#![cfg(not(onelane_fresh_cells))]
#![allow(unsafe_code, reason = "counting allocations takes an allocator of one's own")]

#[path = "common/counting.rs"]
mod counting;

use counting::{HELD, MADE};
use futures_util::future::{Either, select};
use futures_util::{FutureExt, poll};
use onelane::sync::{Event, Lock, Queue, Semaphore};
use onelane::{
    EventLoop, Promise, as_completed, catch_cancel, finally, gather, interval, scope, shield, sleep, spawn, task,
    task_group, timeout, try_task_group, wait, wait_for, yield_now,
};
use std::future::{IntoFuture, pending};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// Returns the number of allocations of the second run. The first run lets tables and queues grow.
async fn count<F: Future<Output = ()>>(act: impl Fn() -> F) -> usize {
    act().await;
    let before = MADE.get();
    act().await;
    MADE.get() - before
}

#[test]
fn allocate_as_the_docs_say() {
    EventLoop::with_virtual_clock().run(async {
        let yields = count(yield_now).await;
        let sleeps = count(|| sleep(SECOND)).await;
        assert_eq!((yields, sleeps), (0, 0), "yield_now, sleep");

        let spawns = count(async || spawn(async {}).await.unwrap()).await;
        let names = count(async || task::Builder::new().name("n").spawn(async {}).await.unwrap()).await;
        // The name, and the space for it beside the task.
        assert_eq!((spawns, names), (0, 2), "spawn, with a name");

        // A boxed callback.
        let callbacks = count(async || {
            let task = spawn(async {});
            task.add_done_callback(move |task| assert!(task.is_done()));
            yield_now().await;
            yield_now().await;
        });
        assert_eq!(callbacks.await, 1, "add_done_callback");

        // From here on everything runs in one task, whose list of scopes exists already.
        let timeouts = count(async || timeout(SECOND, yield_now()).await.unwrap()).await;
        // An await inside has a number, and the timeout has a list of these numbers.
        let awaiting = count(async || timeout(SECOND, sleep(SECOND / 2)).await.unwrap()).await;
        assert_eq!((timeouts, awaiting), (2, 2 + 1), "timeout, with a wait inside");
        let waits_for = count(async || wait_for(spawn(async {}), SECOND).await.unwrap().unwrap()).await;
        assert_eq!(waits_for, 3, "wait_for and its task");

        let cleanups = count(async || finally(yield_now(), yield_now()).await).await;
        let catches = count(async || catch_cancel(yield_now()).await.unwrap()).await;
        assert_eq!((cleanups, catches), (3, 2), "finally, catch_cancel");
        let groups = count(async || task_group(async |_| yield_now().await).await.unwrap()).await;
        let children = count(async || drop(task_group(async |group| group.spawn(async {})).await.unwrap())).await;
        // A child adds the list of children, the list of awaits inside, and the callback of the
        // child.
        assert_eq!((groups, children), (2, 2 + 3), "task_group, with a child");
        let results = count(async || {
            let group = try_task_group(async |group| {
                (0..3).for_each(|_| drop(group.try_spawn(async { Ok::<_, ()>(()) })));
                Ok(())
            });
            group.await.unwrap();
        });
        assert_eq!(results.await, 2 + 2 + 3 * 2, "try_task_group with three children, each with room for its error");

        let scopes = count(async || scope(async |_| yield_now().await).await.unwrap()).await;
        let spawn_some = async |children: usize| {
            count(async || scope(async |s| (0..children).for_each(|_| drop(s.spawn(async {})))).await.unwrap()).await
        };
        let children = [spawn_some(0).await, spawn_some(1).await, spawn_some(2).await, spawn_some(3).await];
        // A scope has two shared states more than a group, and a function. A child has a callback, as in
        // a group, and its future, its value and a note. Its name takes three more. The first child adds
        // three lists.
        let child = 1 + 3 + if cfg!(feature = "report") { 3 } else { 0 };
        assert_eq!((scopes, children), (5, [5, 8 + child, 8 + 2 * child, 8 + 3 * child]), "scope, with children");

        let gathers = count(async || drop(gather([1, 2, 3].map(async |n| n)).await.unwrap())).await;
        assert_eq!(gathers, 3, "gather and its children");
        let waits = count(async || drop(wait([spawn(async {}), spawn(async {})]).await)).await;
        assert_eq!(waits, 7, "wait and its tasks");

        // The promise, and its list of waiters.
        let promises = count(async || {
            let promise = Promise::new();
            let setter = promise.clone();
            drop(spawn(async move { setter.set_result(()).unwrap() }));
            promise.await.unwrap();
        });
        assert_eq!(promises.await, 1 + 1, "a promise, awaited");
        // The callback is one allocation, and another when it is queued.
        let callbacks = count(async || {
            let (promise, value) = (Promise::new(), std::hint::black_box(7));
            promise.add_done_callback(move |promise| assert_eq!(*promise.result().unwrap(), value));
            promise.set_result(7).unwrap();
            yield_now().await;
        });
        assert_eq!(callbacks.await, 2 + 2, "add_done_callback of a promise");
        let shields = count(async || shield(async {}).await.unwrap());
        assert_eq!(shields.await, 1, "shield and its task");
        let results = count(async || {
            let results = as_completed([1, 2, 3].map(async |n| n));
            while results.next().await.is_some() {}
        });
        // The list of children is made in the memory of another list, if the sizes of their entries fit. They
        // do not where pointers have 32 bits.
        let lists = if cfg!(target_pointer_width = "64") { 7 } else { 8 };
        assert_eq!(results.await, lists + 2, "as_completed, its children, and a wait");
        let (lock, semaphore, event, queue) =
            (Lock::new(()), Semaphore::new(0), Event::new(), Queue::<()>::unbounded());
        let _guard = lock.lock().await;
        let waits = count(async || {
            assert!(poll!(pin!(lock.lock())).is_pending());
            assert!(poll!(pin!(semaphore.acquire())).is_pending());
            assert!(poll!(pin!(event.wait())).is_pending());
            assert!(poll!(pin!(queue.get())).is_pending());
        });
        assert_eq!(waits.await, 0, "waits for a lock, a semaphore, an event and a queue");
        let ticks = count(async || _ = interval(SECOND).tick().await);
        assert_eq!(ticks.await, 0, "interval");
    });
}

/// The list of scopes of a task does not grow, because scopes that are over are removed.
#[test]
fn allocate_for_a_thousand_scopes_as_for_one() {
    EventLoop::with_virtual_clock().run(async {
        let timeouts = count(async || {
            for _ in 0..1000 {
                timeout(SECOND, yield_now()).await.unwrap();
            }
        });
        assert_eq!(timeouts.await, 1000 * 2, "timeout");
        let cleanups = count(async || {
            for _ in 0..1000 {
                finally(yield_now(), yield_now()).await;
            }
        });
        assert_eq!(cleanups.await, 1000 * 3, "finally");
        let catches = count(async || {
            for _ in 0..1000 {
                catch_cancel(yield_now()).await.unwrap();
            }
        });
        assert_eq!(catches.await, 1000 * 2, "catch_cancel");
        let dropped = count(async || {
            for _ in 0..1000 {
                assert!(catch_cancel(pending::<()>()).now_or_never().is_none());
            }
        });
        // A box of `pending` needs no memory.
        assert_eq!(dropped.await, 1000, "catch_cancel, dropped");
        let groups = count(async || {
            for _ in 0..1000 {
                task_group(async |_| yield_now().await).await.unwrap();
            }
        });
        assert_eq!(groups.await, 1000 * 2, "task_group");
    });
}

/// A timeout around thousands of awaits keeps no numbers of awaits that are over.
#[test]
fn hold_no_more_behind_two_thousand_awaits_than_behind_a_hundred() {
    EventLoop::with_virtual_clock().run(async {
        // This task takes numbers too, so the numbers of the awaits are not consecutive.
        let neighbour = spawn(async {
            loop {
                sleep(SECOND).await;
            }
        });
        let held = timeout(5000 * SECOND, async {
            let mut held = Vec::with_capacity(2);
            for count in [100, 1900] {
                for _ in 0..count {
                    sleep(SECOND).await;
                }
                held.push(HELD.get());
            }
            held
        });
        let held = held.await.unwrap();
        assert_eq!(held[0], held[1], "bytes");
        drop(neighbour);
    });
}

/// Twenty thousand tasks have waited at once. What recorded their waits is freed, although the main
/// task is awaited all the time.
#[test]
fn give_the_memory_of_a_burst_of_waits_back_during_a_run() {
    const BURST: usize = 20_000;
    /// At least so much would be held if the records of the burst were kept.
    const RECORDS: usize = BURST * if cfg!(target_pointer_width = "64") { 40 } else { 28 };
    EventLoop::with_virtual_clock().run(async {
        let before = HELD.get();
        let held = |count: usize| async move {
            let promise = Promise::new();
            let waits = |promise: Promise<()>| async move { (&promise).await.unwrap() };
            let tasks: Vec<_> = (0..count).map(|_| spawn(waits(promise.clone()))).collect();
            sleep(SECOND).await;
            promise.set_result(()).unwrap();
            sleep(SECOND).await;
            drop((tasks, promise));
            HELD.get() - before
        };
        let most = held(BURST).await;
        let mut later = most;
        for _ in 0..100 {
            later = held(1).await;
        }
        assert!(most > RECORDS && later + RECORDS <= most, "{most} bytes behind the burst, {later} later");
    });
}

/// A timeout is polled many times because of a future beside the pending wait.
#[test]
fn poll_a_timeout_a_thousand_times_and_allocate_nothing() {
    EventLoop::with_virtual_clock().run(async {
        let event = Event::new();
        let beside = async {
            let mut made = Vec::with_capacity(2);
            for _ in 0..2 {
                for _ in 0..1000 {
                    yield_now().await;
                }
                made.push(MADE.get());
            }
            made
        };
        let (waits, beside) = (pin!(event.wait()), pin!(beside));
        let Ok(Either::Right((made, _))) = timeout(SECOND, select(waits, beside)).await else {
            panic!("the event is never set")
        };
        assert_eq!(made[0], made[1]);
    });
}

/// The loop keeps a list of cleanups that wait for other tasks, to detect those that wait for their
/// own task. A loop that is always ready never checks this list, but still removes cleanups that
/// are over.
#[test]
fn hold_little_more_behind_two_thousand_cleanups_than_behind_a_hundred() {
    EventLoop::with_virtual_clock().run(async {
        let mut held = Vec::with_capacity(2);
        for count in [100, 1900] {
            for _ in 0..count {
                let other = spawn(async {
                    for _ in 0..4 {
                        yield_now().await;
                    }
                });
                let task = spawn(finally(pending::<()>(), async { other.await.unwrap() }));
                yield_now().await;
                task.cancel();
                assert!(task.await.is_err());
            }
            held.push(HELD.get());
        }
        assert!(held[1] <= 2 * held[0], "{held:?} bytes");
    });
}

/// The same for two cleanups that suspend many times.
#[test]
fn hold_no_more_behind_two_thousand_steps_of_two_cleanups_than_behind_a_hundred() {
    EventLoop::with_virtual_clock().run(async {
        let other = Rc::new(spawn(pending::<()>()));
        let tasks = [0, 1].map(|_| {
            let other = other.clone();
            spawn(finally(pending::<()>(), async move {
                let mut ended = pin!((&*other).into_future());
                while futures_util::poll!(&mut ended).is_pending() {
                    yield_now().await;
                }
            }))
        });
        yield_now().await;
        for task in &tasks {
            task.cancel();
        }
        let mut held = Vec::with_capacity(2);
        for count in [100, 1900] {
            for _ in 0..count {
                yield_now().await;
            }
            held.push(HELD.get());
        }
        assert_eq!(held[0], held[1], "bytes");
        other.cancel();
        for task in tasks {
            assert!(task.await.is_err());
        }
    });
}

/// The only record of the loop is a waiter with another executor's waker. It has no number.
#[test]
fn free_the_record_of_an_await_in_another_executor() {
    let await_outside = || {
        let event_loop = EventLoop::new();
        let mut outside = pin!(event_loop.spawn(async { 1 }).into_future());
        assert!(outside.as_mut().now_or_never().is_none());
        event_loop.turn();
        assert_eq!(outside.now_or_never(), Some(Ok(1)));
    };
    await_outside();
    let before = HELD.get();
    await_outside();
    assert_eq!(HELD.get(), before, "bytes");
}
