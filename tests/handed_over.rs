//! Handed-over cleanups. A future with a pending cleanup was dropped without a cancellation, for
//! example because it lost a race. The cleanup then continues in its own task. The first
//! cancellation of this task is only counted, and changes nothing.

mod common;

use common::{Trace, ms, virtual_loop, watched};
use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, join, select};
use futures_util::stream::{FuturesUnordered, StreamExt};
use onelane::sync::channel::{Receiver, Sender};
use onelane::sync::{Barrier, Condition, Event, Lock, Queue, Semaphore, channel, oneshot};
use onelane::{
    EventLoop, Promise, TaskRef, all_tasks, as_completed, catch_cancel, finally, gather, shield, sleep, spawn,
    task_group, time, timeout, try_task_group, wait, wait_for, yield_now,
};
use std::cell::Cell;
use std::fmt::Debug;
use std::future::pending;
use std::rc::Rc;

/// Starts a `finally` with this cleanup and drops it in a race. Returns the task of the cleanup,
/// which has begun.
async fn hand_over(cleanup: impl Future<Output = ()> + 'static) -> TaskRef {
    let mut work = finally(pending::<()>(), cleanup);
    select(&mut work, sleep(ms(1))).await;
    drop(work);
    yield_now().await;
    let is_cleanup = |task: &TaskRef| task.name().starts_with("cleanup of ");
    all_tasks().into_iter().find(is_cleanup).unwrap()
}

/// What a cleanup does first. The output describes its result.
type Part = LocalBoxFuture<'static, String>;

fn part<T: Debug>(future: impl Future<Output = T> + 'static) -> Part {
    future.map(|output| format!("{output:?}")).boxed_local()
}

/// The first cancellation must not interrupt the scopes inside the cleanup.
#[test]
fn cancel_a_cleanup_with_scopes_inside() {
    let trace = Trace::new();
    let tell = |what: &'static str, after: u64| {
        let trace = trace.clone();
        async move {
            sleep(ms(after)).await;
            trace.push(what);
        }
    };
    virtual_loop().run(async {
        let set: FuturesUnordered<_> =
            [finally(async { sleep(ms(10)).await }, tell("inner cleanup", 5))].into_iter().collect();
        let child = tell("child", 10);
        let parts = [
            ("finally", part(finally(async { sleep(ms(10)).await }, tell("inner cleanup", 0)))),
            ("catch_cancel", part(catch_cancel(async { sleep(ms(10)).await }))),
            ("task_group", part(task_group(async move |group| drop(group.spawn(child))))),
            ("timeout", part(async move { timeout(ms(20), sleep(ms(10))).await })),
            ("a set", part(set.collect::<Vec<()>>())),
            ("sleep", part(async { sleep(ms(10)).await })),
        ];
        for (name, part) in parts {
            let (copy, begun) = (trace.clone(), time());
            let cleanup = hand_over(async move {
                copy.push(format!("{name}: {}", part.await));
                sleep(ms(10)).await;
                copy.push(format!("cleaned up at {:?}", time() - begun));
            });
            let cleanup = cleanup.await;
            assert!(cleanup.cancel());
            sleep(ms(100)).await;
            assert!(cleanup.is_done() && !cleanup.is_cancelled(), "{name}: {cleanup:?}");
            assert_eq!(cleanup.cancelling(), 1, "{name}");
        }
    });
    let expected = [
        "inner cleanup",
        "finally: ()",
        "cleaned up at 21ms",
        "catch_cancel: Ok(())",
        "cleaned up at 21ms",
        "child",
        "task_group: Ok(())",
        "cleaned up at 21ms",
        "timeout: Ok(())",
        "cleaned up at 21ms",
        "inner cleanup",
        "a set: [()]",
        "cleaned up at 26ms",
        "sleep: ()",
        "cleaned up at 21ms",
    ];
    assert_eq!(trace.take(), expected);
}

/// A value that is taken once.
type Once<T> = Cell<Option<T>>;

/// One of each object that a cleanup can wait for. `open` ends each wait.
struct Gates {
    lock: Lock,
    full: Queue<u32>,
    empty: Queue<u32>,
    semaphore: Semaphore,
    event: Event,
    barrier: Barrier,
    condition: Condition,
    promise: Promise<u32>,
    channel: (Sender<u32>, Receiver<u32>),
    oneshot: (Once<oneshot::Sender<u32>>, Once<oneshot::Receiver<u32>>),
}

impl Gates {
    fn new() -> Rc<Self> {
        let (sender, receiver) = oneshot::oneshot();
        let gates = Gates {
            lock: Lock::new(()),
            full: Queue::bounded(1),
            empty: Queue::bounded(1),
            semaphore: Semaphore::new(0),
            event: Event::new(),
            barrier: Barrier::new(2),
            condition: Condition::new(()),
            promise: Promise::new(),
            channel: channel(1),
            oneshot: (Cell::new(Some(sender)), Cell::new(Some(receiver))),
        };
        gates.full.try_put(0).unwrap();
        Rc::new(gates)
    }

    async fn open(&self) {
        self.full.try_get().unwrap();
        self.empty.try_put(7).unwrap();
        self.semaphore.release();
        self.event.set();
        self.condition.notify_all(&self.condition.lock().await);
        self.promise.set_result(7).unwrap();
        self.channel.0.try_send(7).unwrap();
        let _ = self.oneshot.0.take().unwrap().send(7);
        let _ = timeout(ms(1), self.barrier.wait()).await;
    }
}

/// A way to wait: its name, the wait, and its result.
type Wait = (&'static str, fn(Rc<Gates>) -> Part, &'static str);

/// The first cancellation must not reach what the cleanup waits for.
#[test]
fn cancel_a_cleanup_that_waits() {
    let waits: [Wait; 21] = [
        ("lock", |all| part(async move { drop(all.lock.lock().await) }), "()"),
        ("get", |all| part(async move { all.empty.get().await }), "Ok(7)"),
        ("put", |all| part(async move { all.full.put(2).await.is_ok() }), "true"),
        ("semaphore", |all| part(async move { drop(all.semaphore.acquire().await) }), "()"),
        ("event", |all| part(async move { all.event.wait().await }), "()"),
        ("barrier", |all| part(async move { all.barrier.wait().await }), "Ok(0)"),
        ("condition", |all| part(async move { drop(all.condition.wait(all.condition.lock().await).await) }), "()"),
        ("promise", |all| part(async move { (&all.promise).await }), "Ok(7)"),
        ("channel", |all| part(async move { all.channel.1.recv().await }), "Some(7)"),
        ("oneshot", |all| part(all.oneshot.1.take().unwrap().into_future()), "Ok(7)"),
        ("task", |_| part(spawn(sleep(ms(50))).into_future()), "Ok(())"),
        ("gather", |_| part(gather([sleep(ms(50))])), "Ok([()])"),
        ("shield", |_| part(shield(sleep(ms(50)))), "Ok(())"),
        ("wait", |_| part(async { wait([spawn(sleep(ms(50)))]).await.0.len() }), "1"),
        ("timeout", |_| part(timeout(ms(60), sleep(ms(50)))), "Ok(())"),
        ("expires", |_| part(timeout(ms(40), pending::<()>())), "Err(Elapsed)"),
        ("group", |_| part(task_group(async |group| drop(group.spawn(sleep(ms(50)))))), "Ok(())"),
        ("wait_for", |_| part(wait_for(spawn(sleep(ms(50))), ms(60))), "Ok(Ok(()))"),
        ("as_completed", |_| part(async { as_completed([sleep(ms(50))]).next().await }), "Some(Ok(()))"),
        ("finally", |_| part(finally(sleep(ms(50)), async {})), "()"),
        ("sleep", |_| part(sleep(ms(50))), "()"),
    ];
    let trace = Trace::new();
    virtual_loop().run(async {
        for (name, wait, expected) in waits {
            let gates = Gates::new();
            let held = gates.lock.lock().await;
            let (copy, trace) = (gates.clone(), trace.clone());
            let cleanup = hand_over(async move {
                assert_eq!(wait(copy).await, expected, "{name}");
                trace.push(name);
            });
            let cleanup = cleanup.await;
            sleep(ms(10)).await;
            assert!(cleanup.cancel());
            sleep(ms(10)).await;
            drop(held);
            gates.open().await;
            sleep(ms(100)).await;
            assert!(cleanup.is_done() && !cleanup.is_cancelled(), "{name}: {cleanup:?}");
        }
    });
    assert_eq!(trace.take(), waits.map(|(name, ..)| name));
}

/// A cancellation that was only counted must not end the task after a group with errors.
#[test]
fn fail_in_a_cleanup_that_was_cancelled_once() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let copy = trace.clone();
        let cleanup = hand_over(async move {
            let group = try_task_group(async |group| {
                group.try_spawn(async {
                    sleep(ms(20)).await;
                    Err::<(), _>("child")
                });
                Ok(())
            });
            assert!(group.await.is_err());
            sleep(ms(1)).await;
            copy.push("cleaned up");
        });
        let cleanup = cleanup.await;
        assert!(cleanup.cancel());
        sleep(ms(50)).await;
        assert_eq!((cleanup.cancelling(), cleanup.is_cancelled()), (1, false));
    });
    assert_eq!(trace.take(), ["cleaned up"]);
}

/// The end of `run` is the first cancellation of the cleanup. The cleanup must still get its lock,
/// and `run` must return.
#[test]
fn end_the_run_while_a_cleanup_waits_for_a_lock() {
    watched(|| {
        for event_loop in [virtual_loop(), EventLoop::new()] {
            let (lock, trace) = (Rc::new(Lock::new(())), Trace::new());
            event_loop.run(async {
                let (holder, cleaner, copy) = (lock.clone(), lock.clone(), trace.clone());
                drop(spawn(async move {
                    let _guard = holder.lock().await;
                    finally(pending::<()>(), async { sleep(ms(10)).await }).await;
                }));
                yield_now().await;
                let cleanup = hand_over(async move {
                    let _guard = cleaner.lock().await;
                    copy.push("cleaned up");
                });
                assert!(!cleanup.await.is_done());
            });
            assert_eq!(trace.take(), ["cleaned up"]);
            assert!(!lock.is_locked());
        }
    });
}

/// A cleanup waits for a lock that its neighbour (another future of the same task) holds, so the
/// timeout drops its whole future. Then the timeout loses a race and is dropped. The cleanup must
/// still run to its end.
#[test]
fn drop_a_timeout_after_its_future_and_before_the_end_of_the_cleanup() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let lock = Rc::new(Lock::new(()));
        let (beside, cleaner, copy) = (lock.clone(), lock.clone(), trace.clone());
        let holder = async move {
            let _guard = beside.lock().await;
            Event::new().wait().await;
        };
        let cleanup = async move {
            let _guard = cleaner.lock().await;
            copy.push("has the lock");
            sleep(ms(10)).await;
            copy.push("cleaned up");
        };
        let limited = timeout(ms(5), join(holder, finally(pending::<()>(), cleanup)));
        select(Box::pin(limited), sleep(ms(8))).await;
        trace.push(format!("raced, {} tasks", all_tasks().len()));
        sleep(ms(20)).await;
        assert!(!lock.is_locked());
    });
    assert_eq!(trace.take(), ["has the lock", "raced, 2 tasks", "cleaned up"]);
}
