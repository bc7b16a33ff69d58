//! A cleanup that needs what something beside it has, in the same task.

mod common;

use common::{Trace, ms, on_drop, virtual_loop, watched};
use futures_util::future::{FutureExt, join, ready, select};
use futures_util::stream::{FuturesUnordered, StreamExt};
use onelane::sync::{Event, Lock, OwnedLockGuard, Semaphore};
use onelane::{
    Elapsed, EventLoop, RunError, Task, TaskError, all_tasks, catch_cancel, finally, gather, sleep, spawn, task_group,
    time, timeout, try_task_group, yield_now,
};
use std::cell::{Cell, RefCell};
use std::future::{IntoFuture, pending, poll_fn};
use std::pin::{Pin, pin};
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

/// A frame around a cleanup has what that waits for: as in asyncio, that is a deadlock, and it is reported with both places. It is no
/// neighbour that sleeps, if the cleanup does.
#[test]
fn report_a_cleanup_that_waits_for_what_is_around_it() {
    for sleeps in [false, true] {
        let lock = Rc::new(Lock::new(()).named("db"));
        let result = virtual_loop().try_run(async {
            let (inner, copy) = (lock.clone(), lock.clone());
            let task = spawn(async move {
                let _guard = inner.lock().await;
                let cleanup = async move {
                    let asleep = async { sleep(ms(if sleeps { 5 } else { 0 })).await };
                    _ = join(copy.lock(), asleep).await;
                };
                finally(pending::<()>(), cleanup).await;
            });
            task.set_name("stuck");
            yield_now().await;
            task.cancel();
            let _ = task.await;
        });
        let Err(RunError::Deadlock(report)) = result else { panic!("{result:?}, sleeps: {sleeps}") };
        let stuck = report.tasks.iter().find(|task| &*task.name == "stuck").unwrap();
        assert_eq!(stuck.waits_for[0].what, r#"lock "db", held by "stuck""#);
        assert!(!lock.is_locked());
    }
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

/// A cleanup beside something that tells when it is dropped: in a task whose handle is in the place.
fn beside_a_witness(cleanup: impl Future<Output = ()> + 'static, trace: &Trace) -> Rc<Task<()>> {
    let (witness, cleaner) = (trace.clone(), trace.clone());
    let keeps = async move {
        let _witness = on_drop(move || witness.push("neighbour dropped"));
        pending::<()>().await;
    };
    let cleanup = async move {
        cleanup.await;
        cleaner.push("cleaned up");
    };
    Rc::new(spawn(async move { _ = join(keeps, finally(pending::<()>(), cleanup)).await }))
}

/// Tasks that wait for each other's ends wait for nothing that a neighbour could have, and one of them waits
/// for something else as well.
#[test]
fn wait_in_a_cleanup_for_a_task_that_waits_for_it() {
    for kind in ["an await", "a gather", "beside a lock of others"] {
        let trace = Trace::new();
        EventLoop::new().run(async {
            let lock = Rc::new(Lock::new(()));
            let (taken, wanted) = (lock.clone(), lock.clone());
            spawn(async move {
                let _guard = taken.lock().await;
                sleep(ms(4)).await;
            });
            yield_now().await;
            let place = Rc::new(RefCell::new(None::<Rc<Task<()>>>));
            let copy = place.clone();
            let peer = spawn(async move {
                yield_now().await;
                let task = copy.take().unwrap();
                if kind == "beside a lock of others" {
                    select((&*task).into_future(), pin!(wanted.lock())).await;
                } else {
                    select((&*task).into_future(), pin!(sleep(ms(4)))).await;
                }
            });
            let cleanup = async move {
                if kind == "a gather" {
                    _ = gather([peer]).await;
                } else {
                    _ = peer.await;
                }
            };
            let task = beside_a_witness(cleanup, &trace);
            *place.borrow_mut() = Some(task.clone());
            yield_now().await;
            yield_now().await;
            task.cancel();
            assert!((&*task).await.unwrap_err().is_cancelled());
        });
        assert_eq!(trace.take(), ["cleaned up", "neighbour dropped"], "{kind}");
    }
}

/// Who has one permit waits for what the neighbour has, and who has the other one will give it back.
#[test]
fn wait_in_a_cleanup_for_either_of_two_permits() {
    let trace = Trace::new();
    EventLoop::new().run(async {
        let (lock, permits) = (Rc::new(Lock::new(())), Rc::new(Semaphore::new(2)));
        let (one, other, wanted) = (permits.clone(), permits.clone(), permits);
        let (has, needs) = (lock.clone(), lock);
        spawn(async move {
            let _permit = one.acquire().await;
            sleep(ms(4)).await;
        });
        let (witness, cleaner) = (trace.clone(), trace.clone());
        let keeps = async move {
            let _witness = on_drop(move || witness.push("neighbour dropped"));
            let _guard = has.lock().await;
            pending::<()>().await;
        };
        let cleanup = async move {
            drop(wanted.acquire().await);
            cleaner.push("cleaned up");
        };
        let task = spawn(join(keeps, finally(pending::<()>(), cleanup)));
        yield_now().await;
        spawn(async move {
            let _permit = other.acquire().await;
            drop(needs.lock().await);
        });
        yield_now().await;
        yield_now().await;
        task.cancel();
        assert!(task.await.unwrap_err().is_cancelled());
    });
    assert_eq!(trace.take(), ["cleaned up", "neighbour dropped"]);
}

/// A task of another loop has taken the lock, and lives: what becomes of its guard nobody here knows.
#[test]
fn wait_in_a_cleanup_for_a_guard_of_another_loop() {
    let trace = Trace::new();
    let (lock, other) = (Rc::new(Lock::new(())), EventLoop::new());
    let guard = Rc::new(RefCell::new(None));
    let (copy, place) = (lock.clone(), guard.clone());
    let taker = other.spawn(async move {
        *place.borrow_mut() = Some(copy.lock_owned().await);
        pending::<()>().await;
    });
    other.turn();
    assert!(lock.is_locked());
    EventLoop::new().run(async {
        let task = beside_a_witness(async move { drop(lock.lock().await) }, &trace);
        yield_now().await;
        task.cancel();
        sleep(ms(4)).await;
        drop(guard.take());
        assert!((&*task).await.unwrap_err().is_cancelled());
    });
    assert_eq!(trace.take(), ["cleaned up", "neighbour dropped"]);
    drop(taker);
}

/// What a cleanup waits for has been waiting in turn for the neighbour's lock, with a limit that is over in the next turn. A host's
/// loop, which has more to do, does not look before that.
#[test]
fn wait_in_a_cleanup_under_a_host_for_what_is_over_soon() {
    let trace = Trace::new();
    let (event_loop, lock) = (EventLoop::new(), Rc::new(Lock::new(())));
    let (has, wanted) = (lock.clone(), lock);
    let (witness, cleaner) = (trace.clone(), trace.clone());
    let task = event_loop.spawn(async move {
        let keeps = async move {
            let _witness = on_drop(move || witness.push("neighbour dropped"));
            let _guard = has.lock().await;
            pending::<()>().await;
        };
        let cleanup = async move {
            _ = spawn(async move { _ = timeout(ms(0), wanted.lock()).await.is_ok() }).await;
            cleaner.push("cleaned up");
        };
        _ = join(keeps, finally(pending::<()>(), cleanup)).await;
    });
    event_loop.turn();
    task.cancel();
    while !task.is_done() {
        event_loop.turn();
    }
    assert_eq!(trace.take(), ["cleaned up", "neighbour dropped"]);
}

/// Polls of a future.
fn counted<F: Future>(future: F, polls: &Rc<Cell<u32>>) -> impl Future<Output = F::Output> + use<F> {
    let (mut future, polls) = (Box::pin(future), polls.clone());
    poll_fn(move |context| {
        polls.set(polls.get() + 1);
        future.as_mut().poll(context)
    })
}

/// The neighbour has gone for a guard that it did not have, and nobody looks at that again.
#[test]
fn look_once_for_a_guard_that_nobody_has() {
    let polls = Rc::new(Cell::new(0));
    EventLoop::new().run(async {
        let lock = Rc::new(Lock::new(()));
        let guard = spawn(lock.clone().lock_owned()).await.unwrap();
        let cleanup = counted(async move { drop(lock.lock().await) }, &polls);
        let task = spawn(finally(pending::<()>(), cleanup));
        yield_now().await;
        task.cancel();
        sleep(ms(4)).await;
        drop(guard);
        assert!(task.await.unwrap_err().is_cancelled());
    });
    assert_eq!(polls.get(), 2);
}

/// A cleanup has waited for others, and is over. What its task waits for later is not looked at.
#[test]
fn look_at_no_task_whose_cleanup_is_over() {
    let polls = Rc::new(Cell::new(0));
    EventLoop::new().run(async {
        let (lock, own) = (Rc::new(Lock::new(())), Rc::new(Lock::new(())));
        let guard = lock.clone().lock_owned().await;
        let (copy, kept) = (polls.clone(), Rc::new(RefCell::new(None)));
        let place = kept.clone();
        let task = spawn(async move {
            _ = catch_cancel(finally(pending::<()>(), async move { drop(lock.lock().await) })).await;
            *place.borrow_mut() = Some(own.clone().lock_owned().await);
            drop(counted(own.lock(), &copy).await);
        });
        yield_now().await;
        task.cancel();
        yield_now().await;
        yield_now().await;
        drop(guard);
        sleep(ms(4)).await;
        drop(kept.take());
        task.await.unwrap();
    });
    assert_eq!(polls.get(), 2);
}

/// Of many cleanups that wait for others, one comes to wait for what a neighbour has, while timers go off. It is found at that moment,
/// however many the others are.
#[test]
fn find_one_of_many_cleanups_that_wait_for_others() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let (helper, lock) = (Rc::new(spawn(pending::<()>())), Rc::new(Lock::new(())));
        let many: Vec<_> = (0..36)
            .map(|_| {
                let helper = helper.clone();
                spawn(finally(pending::<()>(), async move { drop((&*helper).await) }))
            })
            .collect();
        let (has, wanted, copy) = (lock.clone(), lock, trace.clone());
        let keeps = async move {
            let _guard = has.lock().await;
            sleep(ms(100_000)).await;
        };
        let begun = time();
        let cleanup = async move {
            let other = async move {
                sleep(ms(70)).await;
                drop(wanted.lock().await);
            };
            spawn(other).await.unwrap();
            copy.push(format!("cleaned up after {:?}", time() - begun));
        };
        let task = spawn(join(keeps, finally(pending::<()>(), cleanup)));
        yield_now().await;
        many.iter().for_each(|task| _ = task.cancel());
        task.cancel();
        for _ in 0..12 {
            sleep(ms(20)).await;
        }
        helper.cancel();
    });
    assert_eq!(trace.take(), ["cleaned up after 70ms"]);
}

/// Before a long rest it looks in any case.
#[test]
fn look_at_many_cleanups_before_a_long_rest() {
    watched(|| {
        EventLoop::new().run(async {
            let (helper, lock) = (Rc::new(spawn(pending::<()>())), Rc::new(Lock::new(())));
            let many: Vec<_> = (0..36)
                .map(|_| {
                    let helper = helper.clone();
                    spawn(finally(pending::<()>(), async move { drop((&*helper).await) }))
                })
                .collect();
            let (has, wanted) = (lock.clone(), lock);
            let keeps = async move {
                let _guard = has.lock().await;
                pending::<()>().await;
            };
            let cleanup = async move {
                let other = async move {
                    sleep(ms(4)).await;
                    drop(wanted.lock().await);
                };
                spawn(other).await.unwrap();
            };
            let task = spawn(join(keeps, finally(pending::<()>(), cleanup)));
            yield_now().await;
            many.iter().for_each(|task| _ = task.cancel());
            task.cancel();
            assert!(timeout(ms(100_000), task).await.unwrap().unwrap_err().is_cancelled());
            helper.cancel();
        });
    });
}
