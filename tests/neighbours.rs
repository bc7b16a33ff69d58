//! A cleanup that needs what something beside it has, in the same task.

mod common;

use common::{Trace, ms, on_drop, virtual_loop};
use futures_util::future::{FutureExt, join, ready};
use futures_util::stream::{FuturesUnordered, StreamExt};
use onelane::sync::{Event, Lock, OwnedLockGuard, Semaphore};
use onelane::{
    Elapsed, EventLoop, RunError, TaskError, all_tasks, catch_cancel, finally, sleep, spawn, task_group, timeout,
    try_task_group, yield_now,
};
use std::future::pending;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Instant;

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

/// A cleanup that waits for a lock, beside a part of the same task that has the guard, or keeps it when it is over: but another task has
/// taken it.
fn keeps_a_guard_of_others(lock: &Rc<Lock<()>>, guard: OwnedLockGuard<()>, trace: &Trace) -> Fut {
    let (copy, trace) = (lock.clone(), trace.clone());
    let keeps = async move {
        let _guard = guard;
        pending::<()>().await;
    };
    let cleanup = async move {
        drop(copy.lock().await);
        trace.push("cleaned up");
    };
    Box::pin(async move { _ = join(keeps, finally(pending::<()>(), cleanup)).await })
}

/// The task that took it has ended, or there never was one, or it waits for the task to which it gave the guard.
#[test]
fn clean_up_with_what_a_neighbour_was_given() {
    for taken in ["by a task that has ended", "outside of any task", "by the one that waits"] {
        let trace = Trace::new();
        let lock = Rc::new(Lock::new(()));
        let event_loop = EventLoop::new();
        let outside = (taken == "outside of any task").then(|| lock.lock_owned().now_or_never().unwrap());
        event_loop.run(async {
            let guard = match (taken, outside) {
                (_, Some(guard)) => guard,
                ("by the one that waits", _) => lock.lock_owned().await,
                _ => spawn(lock.lock_owned()).await.unwrap(),
            };
            let task = spawn(keeps_a_guard_of_others(&lock, guard, &trace));
            yield_now().await;
            task.cancel();
            assert!(task.await.unwrap_err().is_cancelled());
        });
        assert_eq!(trace.take(), ["cleaned up"], "{taken}");
    }
}

/// As above, and what unwinds is a block: its end is waited for by the task that is around it, and by nobody else.
#[test]
fn expire_around_a_neighbour_that_was_given_a_guard() {
    let trace = Trace::new();
    let lock = Rc::new(Lock::new(()));
    EventLoop::new().run(async {
        let guard = spawn(lock.lock_owned()).await.unwrap();
        assert!(timeout(ms(1), keeps_a_guard_of_others(&lock, guard, &trace)).await.is_err());
        // In a set that polls with a waker of its own.
        let guard = spawn(lock.lock_owned()).await.unwrap();
        let set = FuturesUnordered::new();
        set.push(timeout(ms(1), keeps_a_guard_of_others(&lock, guard, &trace)));
        set.push(timeout(ms(3), Box::pin(pending()) as Fut));
        assert!(set.all(|result| ready(result.is_err())).await);
    });
    assert_eq!(trace.take(), ["cleaned up"; 2]);
}

/// Of two permits the task has one, and another task, which waits for this one, the other: whether it came to wait before the
/// cleanup did or after.
#[test]
fn clean_up_with_a_permit_of_two() {
    for waits_first in [true, false] {
        let trace = Trace::new();
        EventLoop::new().run(async {
            let permits = Rc::new(Semaphore::new(2));
            let (one, two, copy) = (permits.clone(), permits.clone(), permits.clone());
            let cleaner = trace.clone();
            let keeps = async move {
                let _permit = one.acquire().await;
                pending::<()>().await;
            };
            let cleanup = async move {
                drop(copy.acquire().await);
                cleaner.push("cleaned up");
            };
            let task = spawn(async move { _ = join(keeps, finally(pending::<()>(), cleanup)).await });
            let end = task.task_ref();
            let other = spawn(async move {
                let _permit = two.acquire().await;
                if !waits_first {
                    sleep(ms(2)).await;
                }
                drop(task.await);
            });
            yield_now().await;
            end.cancel();
            other.await.unwrap();
        });
        assert_eq!(trace.take(), ["cleaned up"], "{waits_first}");
    }
}

/// The cleanup waits for a task that comes to wait, later, for a task that comes to wait for what is frozen here. A host's loop
/// notices it as well.
#[test]
fn clean_up_at_the_end_of_a_long_chain() {
    for by_a_host in [false, true] {
        let trace = Trace::new();
        let lock = Rc::new(Lock::new(()));
        let cleaner = trace.clone();
        let main = async move {
            let (copy, wanted) = (lock.clone(), lock.clone());
            let last = spawn(async move {
                sleep(ms(3)).await;
                drop(wanted.lock().await);
            });
            let middle = spawn(async move {
                sleep(ms(1)).await;
                last.await.unwrap();
            });
            let keeps = async move {
                let _guard = copy.lock().await;
                pending::<()>().await;
            };
            let cleanup = async move {
                middle.await.unwrap();
                cleaner.push("cleaned up");
            };
            let task = spawn(join(keeps, finally(pending::<()>(), cleanup)));
            yield_now().await;
            task.cancel();
            assert!(task.await.unwrap_err().is_cancelled());
        };
        let event_loop = EventLoop::new();
        if by_a_host {
            let main = event_loop.spawn(main);
            while !main.is_done() {
                let turn = event_loop.turn();
                if let Some(moment) = turn.next_deadline {
                    std::thread::sleep(moment.saturating_duration_since(Instant::now()));
                }
                assert!(main.is_done() || turn.next_deadline.is_some() || !turn.is_idle(), "a hang");
            }
        } else {
            event_loop.run(main);
        }
        assert_eq!(trace.take(), ["cleaned up"]);
    }
}

/// Who took it lives, and waits for other things: it will let go, and nothing is dropped before that.
#[test]
fn wait_in_a_cleanup_for_a_guard_of_one_that_goes_on() {
    let trace = Trace::new();
    EventLoop::new().run(async {
        let lock = Rc::new(Lock::new(()));
        let (copy, beside, cleaner) = (lock.clone(), trace.clone(), trace.clone());
        let other = spawn(async move {
            let _guard = copy.lock().await;
            sleep(ms(3)).await;
        });
        yield_now().await;
        let keeps = async move {
            let _guard = on_drop(move || beside.push("neighbour dropped"));
            pending::<()>().await;
        };
        let cleanup = async move {
            drop(lock.lock().await);
            cleaner.push("cleaned up");
        };
        let task = spawn(join(keeps, finally(pending::<()>(), cleanup)));
        yield_now().await;
        task.cancel();
        assert!(task.await.unwrap_err().is_cancelled());
        other.await.unwrap();
    });
    assert_eq!(trace.take(), ["cleaned up", "neighbour dropped"]);
}

/// A neighbour whose sleep is over when the cancellation comes can't be told from a body that goes on: on a virtual clock, that is
/// reported, and the task ends with its loop.
#[test]
fn report_a_cleanup_that_waits_for_a_neighbour_whose_sleep_is_over() {
    let trace = Trace::new();
    let result = virtual_loop().try_run(async {
        let (has, cleanup) = contested("a lock", Box::pin(sleep(ms(1))), &trace);
        let task = spawn(beside("beside", has, cleanup));
        task.set_name("stuck");
        // Woken first, of two that are due together.
        sleep(ms(1)).await;
        task.cancel();
        drop(task.await);
    });
    let Err(RunError::Deadlock(report)) = result else { panic!("{result:?}") };
    let stuck = report.tasks.iter().find(|task| &*task.name == "stuck").unwrap();
    assert!(stuck.waits_for[0].what.ends_with("held by \"stuck\""), "{stuck:?}");
}

/// What has to go for a cleanup goes with all that stands beside that, a panic of it too.
#[test]
fn expire_beside_a_guard_that_goes_with_a_panic() {
    let trace = Trace::new();
    EventLoop::new().run(async {
        let keeps = async {
            let _bomb = on_drop(|| panic!("a destructor"));
            pending::<()>().await;
        };
        let (has, cleanup) = contested("a lock", Box::pin(keeps), &trace);
        let task = spawn(timeout(ms(1), beside("beside", has, cleanup)));
        let Err(TaskError::Panicked(panic)) = task.await else { panic!("the timeout has not panicked") };
        assert_eq!(panic.message(), "a destructor");
    });
    assert_eq!(trace.take(), ["cleaned up"]);
}

/// The future around a group is gone, for a child that needs what it had. The group's errors have nobody to come to.
#[test]
fn expire_around_a_group_that_fails_with_what_a_neighbour_has() {
    let trace = Trace::new();
    EventLoop::new().run(async {
        let (has, cleanup) = contested("a lock", Box::pin(pending()), &trace);
        let group = async move {
            let group = try_task_group(async |group| {
                group.try_spawn(async move {
                    _ = catch_cancel(pending::<()>()).await;
                    cleanup.await;
                    Err::<(), _>("fails")
                });
                pending::<Result<(), &str>>().await
            });
            drop(group.await);
        };
        assert_eq!(timeout(ms(1), join(has, group)).await.map(drop), Err(Elapsed));
    });
    assert_eq!(trace.take(), ["cleaned up"]);
}

/// What is left of the cleanup is the task's, also where it began in a timeout: the task ends after it.
#[test]
fn clean_up_in_a_timeout_with_what_a_neighbour_has() {
    let trace = Trace::new();
    EventLoop::new().run(async {
        let (has, cleanup) = contested("a lock", Box::pin(pending()), &trace);
        let cleanup = async move {
            cleanup.await;
            sleep(ms(1)).await;
        };
        let task = spawn(join(has, timeout(ms(1000), finally(pending::<()>(), cleanup))));
        yield_now().await;
        yield_now().await;
        task.cancel();
        assert!(task.await.unwrap_err().is_cancelled());
        trace.push(format!("ended with {} tasks", all_tasks().len()));
    });
    assert_eq!(trace.take(), ["cleaned up", "ended with 1 tasks"]);
}

/// The neighbour cleans up as well, afterwards. What its body has is there for the first cleanup.
#[test]
fn clean_up_with_what_a_neighbour_has_that_cleans_up_too() {
    let trace = Trace::new();
    EventLoop::new().run(async {
        let (has, cleanup) = contested("a lock", Box::pin(pending()), &trace);
        let copy = trace.clone();
        let has = finally(has, async move { copy.push("the neighbour has cleaned up") });
        let task = spawn(beside("beside", Box::pin(has), cleanup));
        yield_now().await;
        yield_now().await;
        task.cancel();
        let ended = timeout(ms(1000), task).await.expect("it does not hang");
        assert!(ended.unwrap_err().is_cancelled());
    });
    assert_eq!(trace.take(), ["cleaned up", "the neighbour has cleaned up"]);
}
