//! The location of each wait: programs with marked awaits, and the lines that the call graph
//! reports.
//!
//! A mark is a comment `MARK name` at the end of a line. Each test runs a program until nothing is
//! ready, and compares the marks at the locations of all waits. The waits are listed by task, in
//! the order in which they began.

mod common;

use common::{ms, virtual_loop};
use futures_util::future::{join_all, select, select_all};
use futures_util::stream::{FuturesUnordered, StreamExt};
use futures_util::{FutureExt, join, pin_mut};
use onelane::sync::{
    Barrier, BoundedSemaphore, Condition, Event, Lock, PriorityQueue, Queue, Semaphore, channel, oneshot,
};
use onelane::{
    CallGraph, Promise, as_completed, catch_cancel, finally, gather, interval, shield, sleep, sleep_until, spawn, task,
    task_group, timeout, timeout_at, try_gather, try_task_group, wait, wait_for, yield_now,
};
use std::future::{Future, pending, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;

const SOURCE: &str = include_str!("marks.rs");

/// The mark of a line of this file.
fn mark_of(line: u32) -> Option<&'static str> {
    SOURCE.lines().nth(line as usize - 1)?.split_once(concat!("// MA", "RK ")).map(|(_, name)| name.trim())
}

/// The marks of all waits: for each task that waits, in the order in which they began.
fn marks_in(graph: &CallGraph) -> Vec<String> {
    let mark = |wait: &onelane::WaitSnapshot| match mark_of(wait.at.line()) {
        Some(mark) if wait.at.file().ends_with("marks.rs") => mark.to_string(),
        _ => format!("{} at {}", wait.what, wait.at),
    };
    let marks = graph.tasks.iter().map(|task| task.waits_for.iter().map(mark).collect::<Vec<_>>().join(", "));
    marks.filter(|marks| !marks.is_empty()).collect()
}

/// The graph of a program after it has run until nothing is ready.
fn graph_of(program: impl Future + 'static) -> CallGraph {
    let event_loop = virtual_loop();
    let main = event_loop.spawn(async { drop(program.await) });
    while !event_loop.turn().is_idle() {}
    assert!(!main.is_done(), "the program waits for nothing");
    event_loop.call_graph()
}

fn marks(program: impl Future + 'static) -> Vec<String> {
    marks_in(&graph_of(program))
}

const LONG: Duration = Duration::from_secs(1000);

// ---- ways to await ----

#[test]
fn nested_functions() {
    async fn outer() {
        middle(1).await;
    }
    async fn middle(depth: u32) {
        if depth > 0 {
            return Box::pin(middle(depth - 1)).await;
        }
        inner().await
    }
    async fn inner() {
        yield_now().await;
        sleep(LONG).await; // MARK inner
    }
    assert_eq!(marks(outer()), ["inner"]);
}

#[test]
fn combinators_that_wait_for_several() {
    assert_eq!(
        marks(async {
            join!(
                sleep(LONG), // MARK joined leaf
                async {
                    sleep(LONG).await; // MARK joined block
                },
            )
        }),
        ["joined leaf, joined block"]
    );
    assert_eq!(
        marks(async {
            let mut one = pin!(sleep(LONG).fuse()); // MARK selected leaf
            let mut other = pin!(
                async {
                    sleep(LONG).await; // MARK selected block
                }
                .fuse()
            );
            futures_util::select_biased! {
                () = one => (),
                () = other => (),
            }
        }),
        ["selected leaf, selected block"]
    );
    assert_eq!(
        marks(async {
            let block = async {
                sleep(LONG).await; // MARK block of select()
            };
            select(
                pin!(block),
                sleep(LONG), // MARK leaf of select()
            )
            .await;
        }),
        ["block of select(), leaf of select()"]
    );
    assert_eq!(
        marks(async {
            let many = (0..3).map(|n| async move {
                sleep(LONG * n).await; // MARK join_all
                sleep(LONG).await; // MARK second of join_all
            });
            join_all(many).await;
        }),
        ["join_all, join_all, second of join_all"]
    );
    assert_eq!(
        marks(async {
            select_all((1..3).map(|n| {
                sleep(LONG * n) // MARK select_all
            }))
            .await;
        }),
        ["select_all, select_all"]
    );
}

#[test]
fn unordered_futures() {
    assert_eq!(
        marks(async {
            let event = Event::new();
            let mut unordered = FuturesUnordered::new();
            for n in 0..3 {
                let event = &event;
                unordered.push(async move {
                    if n == 1 {
                        return event.wait().await; // MARK event inside
                    }
                    sleep(LONG * n).await // MARK sleep inside
                });
            }
            while unordered.next().await.is_some() {}
        }),
        // The sleep of zero time was ready, and is over.
        ["event inside, sleep inside"]
    );
}

#[test]
fn boxed_futures() {
    assert_eq!(
        marks(async {
            let boxed: Pin<Box<dyn Future<Output = ()>>> = Box::pin(sleep(LONG)); // MARK made and boxed
            boxed.await
        }),
        ["made and boxed"]
    );
    assert_eq!(
        marks(async {
            let boxed: Pin<Box<dyn Future<Output = ()>>> = Box::pin(async {
                sleep(LONG).await; // MARK in a box
            });
            boxed.await
        }),
        ["in a box"]
    );
    assert_eq!(
        marks(async {
            let boxed = sleep(LONG).boxed_local(); // MARK boxed_local
            boxed.map(|()| 5).await
        }),
        ["boxed_local"]
    );
}

#[test]
fn references_to_futures() {
    assert_eq!(
        marks(async {
            let mut one = sleep(LONG); // MARK made here
            (&mut one).await
        }),
        ["made here"]
    );
    assert_eq!(
        marks(async {
            let one = async {
                sleep(LONG).await // MARK in what is pinned
            };
            pin_mut!(one);
            one.as_mut().await
        }),
        ["in what is pinned"]
    );
    assert_eq!(
        marks(async {
            let mut one = pin!(sleep(LONG));
            poll_fn(|context| {
                one.as_mut().poll(context) // MARK polled by hand
            })
            .await
        }),
        ["polled by hand"]
    );
}

#[test]
fn polls_at_two_places() {
    assert_eq!(
        marks(async {
            let event = Event::new();
            let (mut asleep, mut waiting) = (sleep(LONG), event.wait());
            let first = poll_fn(|context| {
                assert!(Pin::new(&mut asleep).poll(context).is_pending());
                assert!(Pin::new(&mut waiting).poll(context).is_pending());
                context.waker().wake_by_ref();
                std::task::Poll::Ready(())
            });
            first.await;
            poll_fn(|context| {
                _ = Pin::new(&mut asleep).poll(context); // MARK second place of a sleep
                Pin::new(&mut waiting).poll(context) // MARK second place of an event
            })
            .await
        }),
        ["second place of a sleep, second place of an event"]
    );
}

#[test]
fn cancelled_branches() {
    assert_eq!(
        marks(async {
            let event = Event::new();
            // These waits are over: one lost, one timed out, one was dropped after a poll, one was
            // cancelled with its task.
            select(event.wait(), yield_now()).await;
            _ = timeout(Duration::ZERO, event.wait()).await;
            assert!(event.wait().now_or_never().is_none());
            let child = spawn(async { Event::new().wait().await });
            yield_now().await;
            child.cancel();
            _ = child.await;
            event.wait().await // MARK what is left
        }),
        ["what is left"]
    );
}

/// The exact column is that of the word after the dot.
#[test]
fn columns() {
    let graph = graph_of(async {
        let event = Event::new();
        let both = async { join!(async { sleep(LONG).await }, async { event.wait().await }) }; // MARK columns
        both.await;
    });
    let at = |nth: usize| graph.tasks[0].waits_for[nth].at;
    let line = SOURCE.lines().nth(at(0).line() as usize - 1).unwrap();
    let awaits: Vec<_> = line.match_indices("await").map(|(place, _)| place as u32 + 1).collect();
    assert_eq!((mark_of(at(0).line()), at(1).line()), (Some("columns"), at(0).line()));
    assert_eq!([at(0).column(), at(1).column()], awaits[..]);
    let graph = graph_of(spawn_in(async { spawn(sleep(LONG)).await })); // MARK column of a call
    let at = graph.tasks[1].waits_for[0].at;
    let line = SOURCE.lines().nth(at.line() as usize - 1).unwrap();
    assert_eq!(mark_of(at.line()), Some("column of a call"));
    assert!(line[at.column() as usize - 1..].starts_with("sleep(LONG)"), "{at}");
}

async fn spawn_in(future: impl Future<Output = Result<(), onelane::TaskError>> + 'static) {
    future.await.unwrap();
}

#[test]
fn leaves_that_are_made_elsewhere() {
    fn make() -> onelane::Sleep {
        sleep(LONG) // MARK made in a function
    }
    assert_eq!(
        marks(async {
            let made = make();
            made.await // MARK awaited in another
        }),
        ["awaited in another"]
    );
    // Only the loop polls it.
    assert_eq!(
        marks(async {
            spawn(make());
            pending::<()>().await
        }),
        ["made in a function"]
    );
    assert_eq!(
        marks(async {
            spawn(Box::pin(sleep(LONG))); // MARK whole future
            let lock = Rc::new(Lock::new(()));
            let guard = lock.clone().lock_owned().await;
            spawn(lock.lock_owned()); // MARK whole future of a lock
            spawn(gather([pending::<()>()])); // MARK whole future of a gather
            pending::<()>().await;
            drop(guard);
        }),
        ["whole future", "whole future of a lock", "whole future of a gather"]
    );
}

// ---- each kind of wait ----

#[test]
fn times() {
    assert_eq!(
        marks(async {
            sleep_until(onelane::time() + LONG).await // MARK sleep_until
        }),
        ["sleep_until"]
    );
    assert_eq!(
        marks(async {
            let mut interval = interval(LONG);
            interval.tick().await;
            let tick = interval.tick();
            tick.await // MARK tick
        }),
        ["tick"]
    );
    assert_eq!(
        marks(async {
            let mut interval = interval(LONG);
            interval.tick().await;
            poll_fn(|context| {
                interval.poll_tick(context) // MARK poll_tick
            })
            .await
        }),
        ["poll_tick"]
    );
    assert_eq!(
        marks(async {
            let mut one = sleep(ms(1)); // MARK made, and put off
            one.reset(onelane::time() + LONG);
            (&mut one).await
        }),
        ["made, and put off"]
    );
}

#[test]
fn timeouts_around_leaves() {
    assert_eq!(
        marks(async {
            let event = Event::new();
            let waiting = event.wait();
            timeout(LONG, waiting).await // MARK timeout
        }),
        ["timeout"]
    );
    assert_eq!(
        marks(async {
            let asleep = sleep(LONG);
            timeout_at(onelane::time() + LONG, asleep).await // MARK timeout_at
        }),
        ["timeout_at"]
    );
    assert_eq!(
        marks(async {
            let asleep = sleep(LONG);
            let inner = timeout(LONG, asleep);
            timeout(LONG, inner).await // MARK outer timeout
        }),
        ["outer timeout"]
    );
    assert_eq!(
        marks(async {
            let inside = async {
                sleep(LONG).await // MARK inside of a timeout
            };
            timeout(LONG, inside).await
        }),
        ["inside of a timeout"]
    );
    assert_eq!(
        marks(async {
            let event = Event::new();
            let waiting = event.wait();
            wait_for(waiting, LONG).await // MARK wait_for
        }),
        ["wait_for"]
    );
    assert_eq!(
        marks(async {
            let task = spawn(pending::<()>());
            wait_for(&task, LONG).await // MARK wait_for of a task
        }),
        ["wait_for of a task"]
    );
    // No time: the task is cancelled, and is slow to end.
    assert_eq!(
        marks(async {
            let cleanup = async {
                sleep(LONG).await // MARK cleanup
            };
            let task = spawn(finally(pending::<()>(), cleanup));
            yield_now().await;
            let waiting = wait_for(task, Duration::ZERO);
            waiting.await // MARK wait_for without time
        }),
        ["wait_for without time", "cleanup"]
    );
}

#[test]
fn tasks() {
    assert_eq!(
        marks(async {
            let task = spawn(pending::<()>());
            task.await // MARK task.await
        }),
        ["task.await"]
    );
    assert_eq!(
        marks(async {
            let task = spawn(pending::<()>());
            (&task).await // MARK (&task).await
        }),
        ["(&task).await"]
    );
    assert_eq!(
        marks(async {
            let task = task::Builder::new().name("x").spawn(pending::<()>());
            let ended = task.into_future();
            ended.await // MARK join
        }),
        ["join"]
    );
    assert_eq!(
        marks(async {
            let task = spawn(pending::<()>());
            let both = [(&task).into_future(), (&task).into_future()]; // MARK joins
            join_all(both).await
        }),
        ["joins, joins"]
    );
    assert_eq!(
        marks(async {
            let other = virtual_loop();
            let task = other.remote().spawn(pending::<()>()).unwrap();
            _ = task.await; // MARK remote task
        }),
        ["remote task"]
    );
    assert_eq!(
        marks(async {
            let promise = Promise::<()>::new();
            (&promise).await // MARK promise
        }),
        ["promise"]
    );
    assert_eq!(
        marks(async {
            let promise = Promise::<()>::new();
            promise.await // MARK promise by value
        }),
        ["promise by value"]
    );
    assert_eq!(
        marks(async {
            let inner = spawn(pending::<()>());
            let shielded = shield(inner);
            shielded.await // MARK shield
        }),
        ["shield"]
    );
}

#[test]
fn several_tasks() {
    let child = || async { pending::<()>().await };
    assert_eq!(
        marks(async move {
            let children = gather([child(), child()]);
            children.await // MARK gather
        }),
        ["gather"]
    );
    assert_eq!(
        marks(async move {
            gather!(child(), child()).await // MARK gather!
        }),
        ["gather!"]
    );
    assert_eq!(
        marks(async move {
            gather([child()]).return_exceptions().await // MARK return_exceptions
        }),
        ["return_exceptions"]
    );
    assert_eq!(
        marks(async move {
            try_gather([async { pending::<Result<(), ()>>().await }]).await // MARK try_gather
        }),
        ["try_gather"]
    );
    assert_eq!(
        marks(async move {
            let tasks = [spawn(child()), spawn(child())];
            let done = wait(&tasks);
            done.await.0.len() // MARK wait
        }),
        ["wait"]
    );
    assert_eq!(
        marks(async move {
            let tasks = [spawn(child())];
            wait(&tasks).timeout(LONG).await.0.len() // MARK wait with a timeout
        }),
        ["wait with a timeout"]
    );
    assert_eq!(
        marks(async move {
            let results = as_completed([child(), child()]);
            results.next().await // MARK as_completed
        }),
        ["as_completed"]
    );
    assert_eq!(
        marks(async move {
            let results = as_completed([child()]);
            results.next_task().await.is_some() // MARK next_task
        }),
        ["next_task"]
    );
    assert_eq!(
        marks(async move {
            let results = as_completed([child()]).timeout(LONG);
            results.next().await // MARK as_completed with a timeout
        }),
        ["as_completed with a timeout"]
    );
    assert_eq!(
        marks(async move {
            let results = as_completed([child()]);
            let [first, _other] = [(); 2].map(|()| results.next());
            first.await // MARK the first of two futures
        }),
        ["the first of two futures"]
    );
}

#[test]
fn task_groups() {
    assert_eq!(
        marks(async {
            let group = task_group(async |group| {
                group.spawn(pending::<()>());
            });
            group.await // MARK the end of a group
        }),
        ["the end of a group"]
    );
    assert_eq!(
        marks(async {
            let group = task_group(async |group| {
                group.spawn(async {
                    sleep(LONG).await // MARK child of a group
                });
                sleep(LONG).await // MARK body of a group
            });
            group.await
        }),
        ["body of a group", "child of a group"]
    );
    assert_eq!(
        marks(async {
            try_task_group(async |group| {
                group.spawn(async { pending::<Result<(), ()>>().await });
                Ok::<(), ()>(())
            })
            .await // MARK the end of a group that may fail
        }),
        ["the end of a group that may fail"]
    );
}

#[test]
fn locks_and_semaphores() {
    assert_eq!(
        marks(async {
            let lock = Lock::new(());
            let _guard = lock.lock().await;
            _ = lock.lock().await; // MARK lock
        }),
        ["lock"]
    );
    assert_eq!(
        marks(async {
            let lock = Rc::new(Lock::new(()));
            let _guard = lock.clone().lock_owned().await;
            drop(lock.lock_owned().await) // MARK lock_owned
        }),
        ["lock_owned"]
    );
    assert_eq!(
        marks(async {
            let semaphore = Semaphore::new(0);
            drop(semaphore.acquire().await) // MARK semaphore
        }),
        ["semaphore"]
    );
    assert_eq!(
        marks(async {
            let semaphore = BoundedSemaphore::new(0);
            drop(semaphore.acquire().await) // MARK bounded semaphore
        }),
        ["bounded semaphore"]
    );
}

#[test]
fn events_barriers_and_conditions() {
    assert_eq!(
        marks(async {
            let event = Event::new();
            event.wait().await // MARK event
        }),
        ["event"]
    );
    assert_eq!(
        marks(async {
            let barrier = Barrier::new(2);
            _ = barrier.wait().await // MARK barrier
        }),
        ["barrier"]
    );
    assert_eq!(
        marks(async {
            let condition = Condition::new(());
            let guard = condition.lock().await;
            drop(condition.wait(guard).await) // MARK condition
        }),
        ["condition"]
    );
    assert_eq!(
        marks(async {
            let condition = Condition::new(());
            let guard = condition.lock().await;
            drop(condition.wait_for(guard, |()| false).await) // MARK condition with a predicate
        }),
        ["condition with a predicate"]
    );
    // The waiter was notified, and the notifier holds the lock.
    assert_eq!(
        marks(async {
            let condition = Rc::new(Condition::new(()));
            let copy = condition.clone();
            spawn(async move {
                let guard = copy.lock().await;
                drop(copy.wait(guard).await) // MARK the lock again
            });
            yield_now().await;
            let guard = condition.lock().await;
            condition.notify_all(&guard);
            pending::<()>().await;
            drop(guard);
        }),
        ["the lock again"]
    );
}

#[test]
fn queues_and_channels() {
    assert_eq!(
        marks(async {
            let queue = Queue::<u32>::unbounded();
            queue.get().await // MARK get
        }),
        ["get"]
    );
    assert_eq!(
        marks(async {
            let queue = PriorityQueue::<u32>::unbounded();
            queue.get().await // MARK get of a priority queue
        }),
        ["get of a priority queue"]
    );
    assert_eq!(
        marks(async {
            let queue = Queue::bounded(1);
            queue.put(1).await.unwrap();
            queue.put(2).await // MARK put
        }),
        ["put"]
    );
    assert_eq!(
        marks(async {
            let queue = Queue::bounded(1);
            queue.put(1).await.unwrap();
            queue.join().await // MARK end of a queue
        }),
        ["end of a queue"]
    );
    assert_eq!(
        marks(async {
            let (sender, receiver) = channel(1);
            sender.send(1).await.unwrap();
            _ = sender.send(2).await; // MARK send
            drop(receiver);
        }),
        ["send"]
    );
    assert_eq!(
        marks(async {
            let (sender, receiver) = channel::<u32>(1);
            _ = receiver.recv().await; // MARK recv
            drop(sender);
        }),
        ["recv"]
    );
    assert_eq!(
        marks(async {
            let (sender, receiver) = oneshot::<u32>();
            _ = receiver.await; // MARK oneshot
            drop(sender);
        }),
        ["oneshot"]
    );
}

#[test]
fn scopes_around_leaves() {
    assert_eq!(
        marks(async {
            let asleep = sleep(LONG);
            catch_cancel(asleep).await // MARK catch_cancel
        }),
        ["catch_cancel"]
    );
    assert_eq!(
        marks(async {
            let event = Event::new();
            let waiting = async move { event.wait().await }; // MARK in a finally
            finally(waiting, async {}).await
        }),
        ["in a finally"]
    );
    assert_eq!(
        marks(async {
            // A `finally` polls its future inside a closure that catches panics, so the place of
            // the poll is not known there.
            let asleep = sleep(LONG); // MARK made for a finally
            finally(asleep, async {}).await
        }),
        ["made for a finally"]
    );
    assert_eq!(
        marks(async {
            let asleep = sleep(LONG); // MARK made for a cleanup
            finally(async {}, asleep).await
        }),
        ["made for a cleanup"]
    );
}
