//! A cleanup that needs what something beside it has, in the same task.

mod common;

use common::{Trace, ms, on_drop, virtual_loop};
use futures_util::future::join;
use onelane::sync::{Event, Lock, Semaphore};
use onelane::{EventLoop, RunError, finally, sleep, spawn, task_group, timeout, yield_now};
use std::future::pending;
use std::pin::Pin;
use std::rc::Rc;

type Fut = Pin<Box<dyn Future<Output = ()>>>;

/// What one part of a task has, and another waits for in its cleanup.
fn contested(kind: &str, rest: Fut, trace: &Trace) -> (Fut, Fut) {
    let (lock, semaphore) = (Rc::new(Lock::new(())), Rc::new(Semaphore::new(2)));
    let (copy, other) = (lock.clone(), semaphore.clone());
    let trace = trace.clone();
    match kind {
        "a lock" => (
            Box::pin(async move {
                let _guard = lock.lock().await;
                rest.await;
            }),
            Box::pin(async move {
                drop(copy.lock().await);
                trace.push("cleaned up");
            }),
        ),
        "an owned lock" => (
            Box::pin(async move {
                let _guard = lock.lock_owned().await;
                rest.await;
            }),
            Box::pin(async move {
                drop(copy.lock_owned().await);
                trace.push("cleaned up");
            }),
        ),
        _ => (
            Box::pin(async move {
                let _permits = (semaphore.acquire().await, semaphore.acquire().await);
                rest.await;
            }),
            Box::pin(async move {
                drop(other.acquire().await);
                trace.push("cleaned up");
            }),
        ),
    }
}

/// Both in one task: the cleanup is that of a neighbour, of a child of a group that is the neighbour, or of a task that the cleanup
/// awaits.
fn beside(place: &str, has: Fut, cleanup: Fut) -> Fut {
    match place {
        "beside" => Box::pin(async move { _ = join(has, finally(pending::<()>(), cleanup)).await }),
        "before" => Box::pin(async move { _ = join(finally(pending::<()>(), cleanup), has).await }),
        "child" => Box::pin(async move {
            let group = task_group(async move |group| drop(group.spawn(finally(pending::<()>(), cleanup))));
            drop(join(has, group).await);
        }),
        _ => Box::pin(async move {
            let cleanup = async move { spawn(cleanup).await.unwrap() };
            join(has, finally(pending::<()>(), cleanup)).await;
        }),
    }
}

const KINDS: [&str; 3] = ["a lock", "an owned lock", "a semaphore"];
const PLACES: [&str; 4] = ["beside", "before", "child", "awaited"];

/// What no clock tells of: a neighbour that waits in a future of others.
#[test]
fn clean_up_with_what_a_neighbour_has() {
    for kind in KINDS {
        for place in PLACES {
            let trace = Trace::new();
            EventLoop::new().run(async {
                // A cancellation, then the end of a timeout.
                let (has, cleanup) = contested(kind, Box::pin(pending()), &trace);
                let task = spawn(beside(place, has, cleanup));
                yield_now().await;
                yield_now().await;
                task.cancel();
                assert!(task.await.unwrap_err().is_cancelled());
                let (has, cleanup) = contested(kind, Box::pin(pending()), &trace);
                assert!(timeout(ms(1), beside(place, has, cleanup)).await.is_err());
            });
            assert_eq!(trace.take(), ["cleaned up"; 2], "{kind}, {place}");
        }
    }
}

/// On a virtual clock it is known that the task can never go on; a neighbour that waits in a future of ours is seen.
#[test]
fn clean_up_with_what_a_neighbour_has_on_a_virtual_clock() {
    for kind in KINDS {
        for place in PLACES {
            let trace = Trace::new();
            virtual_loop().run(async {
                let (has, cleanup) = contested(kind, Box::pin(sleep(ms(9))), &trace);
                let task = spawn(beside(place, has, cleanup));
                sleep(ms(1)).await;
                task.cancel();
                assert!(task.await.unwrap_err().is_cancelled());
                let (has, cleanup) = contested(kind, Box::pin(sleep(ms(9))), &trace);
                assert!(timeout(ms(1), beside(place, has, cleanup)).await.is_err());
            });
            assert_eq!(trace.take(), ["cleaned up"; 2], "{kind}, {place}");
        }
    }
}

/// A frame around a cleanup has what that waits for: as in asyncio, that is a deadlock, and it is reported with both places.
#[test]
fn report_a_cleanup_that_waits_for_what_is_around_it() {
    let lock = Rc::new(Lock::new(()).named("db"));
    let result = virtual_loop().try_run(async {
        let (inner, copy) = (lock.clone(), lock.clone());
        let task = spawn(async move {
            let _guard = inner.lock().await;
            finally(pending::<()>(), async move { drop(copy.lock().await) }).await;
        });
        task.set_name("stuck");
        yield_now().await;
        task.cancel();
        let _ = task.await;
    });
    let Err(RunError::Deadlock(report)) = result else { panic!("{result:?}") };
    let stuck = report.tasks.iter().find(|task| &*task.name == "stuck").unwrap();
    assert_eq!(stuck.waits_for[0].what, r#"lock "db", held by "stuck""#);
    assert!(!lock.is_locked());
}

/// A cleanup that waits for nothing of its own task has no effect on what stands beside it before it ends.
#[test]
fn keep_what_stands_beside_a_cleanup_until_that_has_ended() {
    for event_loop in [virtual_loop(), EventLoop::new()] {
        let trace = Trace::new();
        event_loop.run(async {
            let (beside, cleaner) = (trace.clone(), trace.clone());
            let waits = async move {
                let _guard = on_drop(move || beside.push("neighbour dropped"));
                Event::new().wait().await;
            };
            let cleanup = async move {
                sleep(ms(2)).await;
                cleaner.push("cleaned up");
            };
            let task = spawn(join(waits, finally(pending::<()>(), cleanup)));
            yield_now().await;
            task.cancel();
            assert!(task.await.unwrap_err().is_cancelled());
        });
        assert_eq!(trace.take(), ["cleaned up", "neighbour dropped"]);
    }
}

/// A group drops its body by a poll of its task's future. What stands beside the group, and could go on in that poll, must not.
#[test]
fn cancel_a_group_and_run_no_line_beside_it() {
    let trace = Trace::new();
    virtual_loop().run(async {
        for neighbour in ["sleep", "event", "task", "yields"] {
            for group_first in [true, false] {
                let event = Rc::new(Event::new());
                let (waited, cancelled, lines) = (event.clone(), event.clone(), trace.clone());
                let beside = async move {
                    match neighbour {
                        "sleep" => sleep(ms(5)).await,
                        "event" => waited.wait().await,
                        "task" => drop(spawn(pending::<()>()).await),
                        _ => {
                            while !cancelled.is_set() {
                                yield_now().await;
                            }
                            yield_now().await;
                        }
                    }
                    lines.push(format!("{neighbour} goes on"));
                };
                let body = trace.clone();
                let group = task_group(async move |group| {
                    let _guard = on_drop(move || body.push("body"));
                    group.spawn(pending::<()>());
                    pending::<()>().await;
                });
                let both: Fut = match group_first {
                    true => Box::pin(async move { _ = join(group, beside).await }),
                    false => Box::pin(async move { _ = join(beside, group).await }),
                };
                let task = spawn(both);
                match neighbour {
                    "sleep" => sleep(ms(5)).await, // over in the same turn as the neighbour's
                    _ => {
                        yield_now().await;
                        yield_now().await;
                    }
                }
                event.set();
                task.cancel();
                assert!(task.await.unwrap_err().is_cancelled());
                assert_eq!(trace.take(), ["body"], "{neighbour}, group first: {group_first}");
            }
        }
    });
}

/// Nor does it when a destructor of the body wakes it, in the poll that drops the body.
#[test]
fn cancel_a_group_whose_body_wakes_its_neighbour() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let event = Rc::new(Event::new());
        let (set, copy) = (event.clone(), trace.clone());
        let group = task_group(async move |_| {
            let _guard = on_drop(move || set.set());
            pending::<()>().await;
        });
        let beside = async move {
            event.wait().await;
            copy.push("ran");
        };
        let task = spawn(join(group, beside));
        yield_now().await;
        task.cancel();
        assert!(task.await.is_err());
    });
    assert_eq!(trace.take(), [""; 0]);
}
