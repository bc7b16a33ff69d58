//! Cleanups that need something that a neighbour holds. A *neighbour* is another future of the same
//! task, for example another branch of a `join!`. While a cleanup runs, the future around it and
//! its neighbours are *frozen*: they are neither polled nor dropped. If a cleanup waits for a lock
//! or a permit of a frozen future, the loop drops this future.

mod common;

use common::{Trace, ms, on_drop, virtual_loop, watched};
use futures_util::future::{FutureExt, join, join3, ready, select};
use futures_util::stream::{FuturesUnordered, StreamExt};
use onelane::sync::{Event, Lock, OwnedLockGuard, Semaphore};
use onelane::{
    Elapsed, EventLoop, RunError, Task, TaskError, all_tasks, as_completed, call_later, catch_cancel, current_task,
    finally, gather, shield, sleep, spawn, task_group, time, timeout, try_task_group, wait, yield_now,
};
use std::cell::{Cell, RefCell};
use std::future::{IntoFuture, pending, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

type Fut = Pin<Box<dyn Future<Output = ()>>>;

/// Two futures for one task: the first holds something, and the second waits for it in its cleanup.
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

/// Puts both futures into one task. The cleanup belongs to a neighbour (before or after the first
/// future), to a child of a group beside it, or to a task that the neighbour's cleanup awaits.
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

/// On a real clock, the loop drops a neighbour even if it waits in a foreign future.
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

/// A loop on a virtual clock reports deadlocks. It drops the neighbour instead, because it knows
/// that the neighbour waits: the wait is one of our futures.
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

/// The future around a cleanup holds the lock for which the cleanup waits. As in asyncio, this is a
/// deadlock, and the report names the lock and its holder. The cleanup may also sleep beside this
/// wait. The sleep does not make the surrounding future a neighbour.
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

/// The cleanup waits for nothing that its own task holds. Its neighbour is therefore not dropped
/// before the cleanup has ended.
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

/// To let a cancelled group drop its body, the loop would poll the task's future. This poll would
/// also poll the future beside the group, which must not run any more.
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
                    "sleep" => sleep(ms(5)).await, // ends in the same turn as the neighbour's sleep
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

/// A destructor of the group's body wakes the neighbour, in the poll that drops the body. Even then
/// the neighbour does not go on.
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

/// A cleanup waits for a lock, and its neighbour in the same task keeps the guard. The guard was
/// acquired by another task or outside of any task.
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

/// The neighbour holds a guard that it did not acquire. A task that has ended acquired it, or code
/// outside of any task, or a task that waits for the neighbour's task.
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

/// As above, but the time of a timeout is up, and only the task around the timeout waits for its
/// end.
#[test]
fn expire_around_a_neighbour_that_was_given_a_guard() {
    let trace = Trace::new();
    let lock = Rc::new(Lock::new(()));
    EventLoop::new().run(async {
        let guard = spawn(lock.lock_owned()).await.unwrap();
        assert!(timeout(ms(1), keeps_a_guard_of_others(&lock, guard, &trace)).await.is_err());
        // The same in a set that polls with its own waker.
        let guard = spawn(lock.lock_owned()).await.unwrap();
        let set = FuturesUnordered::new();
        set.push(timeout(ms(1), keeps_a_guard_of_others(&lock, guard, &trace)));
        set.push(timeout(ms(3), Box::pin(pending()) as Fut));
        assert!(set.all(|result| ready(result.is_err())).await);
    });
    assert_eq!(trace.take(), ["cleaned up"; 2]);
}

/// The neighbour has one of two permits. Another task has the other permit, and waits for the end
/// of the neighbour's task. This wait begins before the cleanup waits, or after it.
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

/// The cleanup waits for a task. Later, this task waits for another task, which waits for what the
/// frozen neighbour holds. The loop notices this, also if a host turns it.
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

/// The task that acquired the lock is alive and waits for something else. It will release the lock,
/// so nothing is dropped before that.
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

/// The neighbour's sleep is over when the cancellation arrives. The loop then has no record that
/// the neighbour waits, so it cannot tell the neighbour from a future around the cleanup. A loop on
/// a virtual clock reports a deadlock, and the task ends with the loop.
#[test]
fn report_a_cleanup_that_waits_for_a_neighbour_whose_sleep_is_over() {
    let trace = Trace::new();
    let result = virtual_loop().try_run(async {
        let (has, cleanup) = contested("a lock", Box::pin(sleep(ms(1))), &trace);
        let task = spawn(beside("beside", has, cleanup));
        task.set_name("stuck");
        // Two timers are due together, and this task is woken first.
        sleep(ms(1)).await;
        task.cancel();
        drop(task.await);
    });
    let Err(RunError::Deadlock(report)) = result else { panic!("{result:?}") };
    let stuck = report.tasks.iter().find(|task| &*task.name == "stuck").unwrap();
    assert!(stuck.waits_for[0].what.ends_with("held by \"stuck\""), "{stuck:?}");
}

/// The neighbour is dropped for a cleanup, together with everything else in the frozen future. If
/// this drop panics, the timeout reports the panic.
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
        let Err(TaskError::Panicked(panic)) = task.await else { panic!("the timeout did not panic") };
        assert_eq!(panic.message(), "a destructor");
    });
    assert_eq!(trace.take(), ["cleaned up"]);
}

/// A child of a group needs what a neighbour of the group holds. So the future around the group is
/// dropped, and nothing receives the errors of the group.
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

/// The cleanup belongs to a timeout, which is dropped together with the neighbour. The rest of the
/// cleanup then belongs to the task, and the task ends after it.
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

/// The neighbour cleans up as well, after the first cleanup. The first cleanup can use what the
/// neighbour's body held.
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
        let ended = timeout(ms(1000), task).await.expect("the task must not hang");
        assert!(ended.unwrap_err().is_cancelled());
    });
    assert_eq!(trace.take(), ["cleaned up", "the neighbour has cleaned up"]);
}

/// Spawns a task with a cleanup beside a future that records when it is dropped.
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

/// A cleanup and another task wait for each other, but the other task also waits for something
/// else, which ends the wait. Neither of them waits for something that a neighbour holds. So the
/// neighbour is not dropped before the cleanup has ended.
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

/// The cleanup waits for one of two permits. The task with one permit waits for what the neighbour
/// holds, but the task with the other permit goes on and releases its permit. So nothing is
/// dropped.
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

/// A task of another loop has acquired the lock and is alive. This loop does not know what that
/// task does with the guard, so it drops nothing.
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

/// The cleanup awaits a task, which waits for the neighbour's lock under a timeout. The timeout
/// expires in the next turn. The loop of this host has other work until then, so it does not search
/// before, and drops nothing.
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

/// Counts the polls of a future.
fn counted<F: Future>(future: F, polls: &Rc<Cell<u32>>) -> impl Future<Output = F::Output> + use<F> {
    let (mut future, polls) = (Box::pin(future), polls.clone());
    poll_fn(move |context| {
        polls.set(polls.get() + 1);
        future.as_mut().poll(context)
    })
}

/// The main task holds the guard for which a cleanup waits. The cleanup is polled when it begins
/// and when it gets the lock. The search for the holder causes no other poll.
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

/// A cleanup waits for a lock, and is over. Later its task waits again. The loop does not check
/// this wait, so it causes no additional poll.
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

/// Many cleanups wait for other tasks, and timers fire. Then a task that one cleanup awaits starts
/// to wait for what a neighbour holds. The loop finds this cleanup at once, whatever the number of
/// the others.
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

/// The loop always checks the waiting cleanups before it sleeps for a long time.
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

/// One loop on the real clock, one on a virtual clock, one in debug mode. The last two report
/// deadlocks.
fn loops() -> [EventLoop; 3] {
    [EventLoop::new(), virtual_loop(), EventLoop::builder().debug(true).build()]
}

/// Awaits `first`, then waits in one of our futures, and records when it is dropped.
fn waits_with(first: impl Future + 'static, trace: &Trace) -> impl Future<Output = ()> + 'static {
    let trace = trace.clone();
    async move {
        let _first = first.await;
        let _told = on_drop(move || trace.push("neighbour dropped"));
        Event::new().wait().await;
    }
}

/// Waits for `wanted` in a cleanup.
fn clean_up_with(wanted: impl Future + 'static, trace: &Trace) -> impl Future<Output = ()> + 'static {
    let trace = trace.clone();
    finally(pending::<()>(), async move {
        drop(wanted.await);
        trace.push("cleaned up");
    })
}

/// Both futures in one task, which catches its cancellation and goes on.
fn catch_around(first: impl Future + 'static, wanted: impl Future + 'static, trace: &Trace) -> Task<()> {
    let both = join(waits_with(first, trace), clean_up_with(wanted, trace));
    let trace = trace.clone();
    spawn(async move {
        assert!(catch_cancel(both).await.is_err());
        trace.push("caught");
    })
}

async fn turns(count: u32) {
    for _ in 0..count {
        yield_now().await;
    }
}

/// A task acquired a guard or a permit, and has ended. Another task or a callback now holds it,
/// goes on, and releases it. So the loop drops neither the frozen future nor the catch in it.
#[test]
fn wait_in_a_cleanup_for_what_others_were_given() {
    for given in ["a permit to a job", "a guard to a job", "a guard to a callback", "a guard to the main task"] {
        for event_loop in loops() {
            let trace = Trace::new();
            // Acquired outside of any task.
            let outside = Rc::new(Lock::new(()));
            let guard = outside.lock_owned().now_or_never().unwrap();
            event_loop.run(async {
                let (jobs, taken) = (Rc::new(Semaphore::new(2)), Rc::new(Lock::new(())));
                let told = trace.clone();
                let lets_go = move || told.push("let go");
                let wanted: Fut = match given {
                    "a permit to a job" => {
                        let copy = jobs.clone();
                        let starter = spawn(async move {
                            let (first, second) = (copy.acquire().await, copy.acquire().await);
                            drop(spawn(async move {
                                sleep(ms(3)).await;
                                lets_go();
                                drop(first);
                            }));
                            drop(spawn(async move {
                                sleep(Duration::from_secs(9)).await;
                                drop(second);
                            }));
                        });
                        starter.await.unwrap();
                        Box::pin(async move { drop(jobs.acquire().await) })
                    }
                    "a guard to a job" => {
                        let guard = spawn(taken.lock_owned()).await.unwrap();
                        drop(spawn(async move {
                            sleep(ms(3)).await;
                            lets_go();
                            drop(guard);
                        }));
                        Box::pin(async move { drop(taken.lock().await) })
                    }
                    "a guard to a callback" => {
                        call_later(ms(3), move || {
                            lets_go();
                            drop(guard);
                        });
                        Box::pin(async move { drop(outside.lock().await) })
                    }
                    _ => {
                        let guard = spawn(taken.lock_owned()).await.unwrap();
                        let worker = catch_around(ready(()), taken.lock_owned(), &trace);
                        turns(2).await;
                        worker.cancel();
                        sleep(ms(3)).await;
                        lets_go();
                        drop(guard);
                        return worker.await.unwrap();
                    }
                };
                let worker = catch_around(ready(()), wanted, &trace);
                turns(2).await;
                worker.cancel();
                worker.await.unwrap();
            });
            assert_eq!(trace.take(), ["let go", "cleaned up", "neighbour dropped", "caught"], "{given}");
        }
    }
}

/// A permit was forgotten. Any task may release it, so the loop drops nothing.
#[test]
fn wait_in_a_cleanup_for_a_permit_that_was_forgotten() {
    for by_itself in [true, false] {
        for event_loop in loops() {
            let trace = Trace::new();
            event_loop.run(async {
                let permits = Rc::new(Semaphore::new(1));
                let (own, copy, told) = (permits.clone(), permits.clone(), trace.clone());
                let first: Fut = match by_itself {
                    true => Box::pin(async move { own.acquire().await.forget() }),
                    false => {
                        permits.acquire().await.forget();
                        Box::pin(ready(()))
                    }
                };
                let worker = catch_around(first, permits.acquire(), &trace);
                turns(2).await;
                worker.cancel();
                call_later(ms(3), move || {
                    told.push("released");
                    copy.release();
                });
                worker.await.unwrap();
            });
            assert_eq!(trace.take(), ["released", "cleaned up", "neighbour dropped", "caught"], "{by_itself}");
        }
    }
}

/// The holder of the lock waits for this task, or for something that happens earlier, and then
/// releases the lock. So the holder is not stuck, and nothing is dropped.
#[test]
fn wait_in_a_cleanup_for_one_that_waits_a_while() {
    for limit in ["a sleep", "a timeout", "a task that sleeps", "an event", "a timeout of a shield"] {
        for event_loop in loops() {
            let trace = Trace::new();
            event_loop.run(async {
                let lock = Rc::new(Lock::new(()));
                let worker = Rc::new(catch_around(ready(()), lock.lock_owned(), &trace));
                let (copy, told) = (worker.clone(), trace.clone());
                let event = Rc::new(Event::new());
                let set = event.clone();
                call_later(ms(3), move || set.set());
                let holder = spawn(async move {
                    let guard = lock.lock().await;
                    let over: Fut = match limit {
                        "a sleep" => Box::pin(sleep(ms(3))),
                        "a timeout" => Box::pin(async { _ = timeout(ms(3), pending::<()>()).await }),
                        "a task that sleeps" => {
                            let task = spawn(sleep(ms(3)));
                            Box::pin(async move { task.await.unwrap() })
                        }
                        "an event" => Box::pin(async move { event.wait().await }),
                        _ => Box::pin(pending()),
                    };
                    let ends = async move { drop((&*copy).await) };
                    if limit == "a timeout of a shield" {
                        assert!(timeout(ms(3), shield(spawn(ends))).await.is_err());
                    } else {
                        select(over, Box::pin(ends)).await;
                    }
                    told.push("let go");
                    drop(guard);
                });
                turns(2).await;
                worker.cancel();
                holder.await.unwrap();
                (&*worker).await.unwrap();
            });
            assert_eq!(trace.take(), ["let go", "cleaned up", "neighbour dropped", "caught"], "{limit}");
        }
    }
}

/// The neighbour has one of two permits, and the other permit is being passed to another task. The
/// loop must not assume that the neighbour has both.
#[test]
fn wait_in_a_cleanup_for_a_permit_on_its_way() {
    for event_loop in loops() {
        let trace = Trace::new();
        event_loop.run(async {
            let permits = Rc::new(Semaphore::new(2));
            let first = permits.acquire().await;
            let worker = catch_around(permits.acquire(), permits.acquire(), &trace);
            turns(2).await;
            let (copy, told) = (permits.clone(), trace.clone());
            let next = spawn(async move {
                let permit = copy.acquire().await;
                told.push("taken");
                sleep(ms(3)).await;
                told.push("let go");
                drop(permit);
            });
            turns(2).await;
            worker.cancel();
            drop(first);
            worker.await.unwrap();
            next.await.unwrap();
        });
        assert_eq!(trace.take(), ["taken", "let go", "cleaned up", "neighbour dropped", "caught"]);
    }
}

/// A lock is being passed to another task when a cleanup starts to wait for the lock. The other
/// task puts the guard into the frozen neighbour and waits for the cleanup's task. The loop notices
/// this, and drops the neighbour.
#[test]
fn clean_up_with_a_lock_that_was_on_its_way() {
    watched(|| {
        for event_loop in loops() {
            let trace = Trace::new();
            event_loop.run(async {
                let lock = Rc::new(Lock::new(()));
                let guard = lock.lock_owned().await;
                let slot = Rc::new(RefCell::new(None));
                let given = Rc::downgrade(&slot);
                let keeps = join(async move { slot }, waits_with(ready(()), &trace));
                let task = spawn(join(keeps, clean_up_with(lock.lock_owned(), &trace)));
                let end = task.task_ref();
                let (copy, told) = (lock.clone(), trace.clone());
                let next = spawn(async move {
                    let guard = copy.lock_owned().await;
                    told.push("taken");
                    *given.upgrade().unwrap().borrow_mut() = Some(guard);
                    assert!(task.await.unwrap_err().is_cancelled());
                    told.push("ended");
                });
                turns(2).await;
                end.cancel();
                drop(guard);
                next.await.unwrap();
            });
            assert_eq!(trace.take(), ["taken", "neighbour dropped", "cleaned up", "ended"]);
        }
    });
}

/// Spawns `count` tasks whose cleanups wait for other tasks until the event is set.
async fn many_that_clean_up(count: u32, event: &Rc<Event>) {
    let slow = |_| {
        let event = event.clone();
        spawn(finally(pending::<()>(), async move { spawn(event.wait()).await.unwrap() }))
    };
    let many: Vec<_> = (0..count).map(slow).collect();
    turns(1).await;
    many.iter().for_each(|task| assert!(task.cancel()));
    sleep(ms(1)).await;
}

/// Keeps a timer pending at all times.
async fn tick() {
    loop {
        sleep(Duration::from_secs(3600)).await;
    }
}

/// Many cleanups wait for other tasks. The loop still finds the one that waits for what its
/// neighbour holds, before the clock advances.
#[test]
fn clean_up_with_what_a_neighbour_has_among_many() {
    for count in [0, 15, 16, 40, 100] {
        for ticks in [false, true] {
            for wants_at in [ms(0), ms(5)] {
                let trace = Trace::new();
                virtual_loop().run(async {
                    let event = Rc::new(Event::new());
                    many_that_clean_up(count, &event).await;
                    if ticks {
                        drop(spawn(tick()));
                    }
                    let lock = Rc::new(Lock::new(()));
                    let copy = lock.clone();
                    let other = async move {
                        if !wants_at.is_zero() {
                            sleep(wants_at).await;
                        }
                        drop(copy.lock().await);
                    };
                    let wanted = async move { spawn(other).await.unwrap() };
                    let task = spawn(join(waits_with(lock.lock_owned(), &trace), clean_up_with(wanted, &trace)));
                    turns(1).await;
                    let begun = time();
                    task.cancel();
                    assert!(task.await.unwrap_err().is_cancelled());
                    assert_eq!(time() - begun, wants_at);
                    event.set();
                });
                assert_eq!(trace.take(), ["neighbour dropped", "cleaned up"], "{count}, {ticks}, {wants_at:?}");
            }
        }
    }
}

/// As above, but another task acquired what the neighbour holds. This other task waits for the
/// neighbour's task.
#[test]
fn clean_up_with_what_a_neighbour_was_given_among_many() {
    for count in [0, 16, 100, 300] {
        for neighbour_sleeps in [false, true] {
            for ticks in [false, true] {
                let trace = Trace::new();
                let result = virtual_loop().try_run(async {
                    let event = Rc::new(Event::new());
                    many_that_clean_up(count, &event).await;
                    if ticks {
                        drop(spawn(tick()));
                    }
                    let lock = Rc::new(Lock::new(()));
                    let guard = lock.lock_owned().await;
                    let told = trace.clone();
                    let has: Fut = match neighbour_sleeps {
                        true => Box::pin(async move {
                            let _guard = guard;
                            let _told = on_drop(move || told.push("neighbour dropped"));
                            sleep(ms(9)).await;
                        }),
                        false => Box::pin(waits_with(ready(guard), &trace)),
                    };
                    let task = spawn(join(has, clean_up_with(lock.lock_owned(), &trace)));
                    turns(1).await;
                    task.cancel();
                    sleep(ms(5)).await;
                    let begun = time();
                    assert!(task.await.unwrap_err().is_cancelled());
                    assert!(time() - begun < Duration::from_secs(1), "{count}, {neighbour_sleeps}, {ticks}");
                    event.set();
                });
                assert!(result.is_ok(), "{count}, {neighbour_sleeps}, {ticks}: {result:?}");
                assert_eq!(trace.take(), ["neighbour dropped", "cleaned up"], "{count}, {neighbour_sleeps}, {ticks}");
            }
        }
    }
}

/// Some task is always ready. Then another task starts to wait for the lock. The loop checks at
/// this moment, and not only when it has nothing else to do.
#[test]
fn clean_up_with_what_a_neighbour_has_in_a_loop_that_never_rests() {
    for event_loop in loops() {
        let trace = Trace::new();
        event_loop.run(async {
            let (lock, event) = (Rc::new(Lock::new(())), Rc::new(Event::new()));
            let (copy, set) = (lock.clone(), event.clone());
            let other = spawn(async move {
                event.wait().await;
                drop(copy.lock().await);
            });
            let task = spawn(join(waits_with(lock.lock_owned(), &trace), clean_up_with(other.into_future(), &trace)));
            turns(2).await;
            task.cancel();
            turns(2).await;
            set.set();
            turns(9).await;
            assert!(task.is_done());
        });
        assert_eq!(trace.take(), ["neighbour dropped", "cleaned up"]);
    }
}

/// A cleanup waits, in one of several ways, for a task that wants what a neighbour holds. In each
/// case, the loop drops the neighbour.
#[test]
fn clean_up_by_waiting_for_a_task_in_any_way() {
    watched(|| {
        for way in ["await", "gather", "shield", "wait", "as_completed", "timeout", "task_group"] {
            for event_loop in loops() {
                let trace = Trace::new();
                event_loop.run(async {
                    let lock = Rc::new(Lock::new(()));
                    let copy = lock.clone();
                    let other = async move { drop(copy.lock().await) };
                    let wanted: Fut = match way {
                        "await" => Box::pin(async move { spawn(other).await.unwrap() }),
                        "gather" => Box::pin(async move { drop(gather([other]).await) }),
                        "shield" => Box::pin(async move { shield(spawn(other)).await.unwrap() }),
                        "wait" => Box::pin(async move { drop(wait([spawn(other)]).await) }),
                        "as_completed" => Box::pin(async move { drop(as_completed([spawn(other)]).next().await) }),
                        "timeout" => {
                            Box::pin(async move { drop(timeout(Duration::from_secs(99), spawn(other)).await) })
                        }
                        _ => {
                            Box::pin(async move { drop(task_group(async move |group| drop(group.spawn(other))).await) })
                        }
                    };
                    let task = spawn(join(waits_with(lock.lock_owned(), &trace), clean_up_with(wanted, &trace)));
                    turns(2).await;
                    task.cancel();
                    assert!(task.await.unwrap_err().is_cancelled());
                });
                assert_eq!(trace.take(), ["neighbour dropped", "cleaned up"], "{way}");
            }
        }
    });
}

/// Cancels a task that holds a lock and awaits another task, whose cleanup wants this lock. The
/// await is in the body, in a cleanup, or in the cleanup of a timeout.
fn cancel_one_that_awaits(way: &str, event_loop: &EventLoop, neighbour_sleeps: bool) {
    let trace = Trace::new();
    event_loop.run(async {
        let lock = Rc::new(Lock::new(()));
        let other = spawn(clean_up_with(lock.lock_owned(), &trace));
        let (told, copy) = (trace.clone(), lock.clone());
        let has: Fut = match neighbour_sleeps {
            true => Box::pin(async move {
                let _guard = copy.lock().await;
                let _told = on_drop(move || told.push("neighbour dropped"));
                sleep(Duration::from_secs(9)).await;
            }),
            false => Box::pin(waits_with(lock.lock_owned(), &trace)),
        };
        let awaits = async move { assert!(other.await.unwrap_err().is_cancelled()) };
        let task = match way {
            "at once" => spawn(async move { _ = join(has, awaits).await }),
            "in a cleanup" => spawn(async move { _ = join(has, finally(pending::<()>(), awaits)).await }),
            _ => spawn(async move { _ = timeout(ms(1), join(has, finally(pending::<()>(), awaits))).await }),
        };
        turns(2).await;
        match way {
            "at once" => {}
            "in a cleanup" => _ = task.cancel(),
            _ => sleep(ms(3)).await,
        }
        turns(2).await;
        task.cancel();
        assert!(task.await.unwrap_err().is_cancelled());
    });
    assert_eq!(trace.take(), ["neighbour dropped", "cleaned up"], "{way}");
}

const WAYS_TO_AWAIT: [&str; 3] = ["at once", "in a cleanup", "in the cleanup of a timeout"];

/// Before anything in a cancelled task is dropped, the task that it awaits must have ended. There
/// is one exception: if the awaited task waits for a lock of the cancelled task, the future that
/// holds the lock is dropped first.
#[test]
fn cancel_a_task_that_awaits_one_that_wants_its_lock() {
    watched(|| {
        for way in WAYS_TO_AWAIT {
            loops().iter().for_each(|event_loop| cancel_one_that_awaits(way, event_loop, true));
            cancel_one_that_awaits(way, &EventLoop::new(), false);
        }
    });
}

/// As above, with a neighbour that does not sleep, in loops that report deadlocks.
#[test]
fn cancel_a_task_that_awaits_one_that_wants_its_lock_and_report_no_deadlock() {
    for way in WAYS_TO_AWAIT {
        let [_, by_clock, debugged] = loops();
        [by_clock, debugged].iter().for_each(|event_loop| cancel_one_that_awaits(way, event_loop, false));
    }
}

/// A timeout expires, and a cleanup in it waits for a lock. A future beside the timeout holds the
/// lock, goes on and releases it. So the neighbour of the cleanup is not dropped before the cleanup
/// has ended.
#[test]
fn wait_in_a_cleanup_of_a_timeout_for_a_lock_taken_beside_that() {
    for event_loop in loops() {
        let trace = Trace::new();
        event_loop.run(async {
            let lock = Rc::new(Lock::new(()));
            let both = join(waits_with(ready(()), &trace), clean_up_with(lock.lock_owned(), &trace));
            let holder = async {
                let _guard = lock.lock().await;
                sleep(ms(5)).await;
                trace.push("let go");
            };
            assert!(join(holder, timeout(ms(1), both)).await.1.is_err());
        });
        assert_eq!(trace.take(), ["let go", "cleaned up", "neighbour dropped"]);
    }
}

/// A future beside a timeout holds a lock for which another task waits. The cleanup in the timeout
/// waits neither for this task nor for the lock. So the neighbour of the cleanup is not dropped
/// before the cleanup has ended.
#[test]
fn clean_up_in_a_timeout_beside_which_the_lock_is_waited_for() {
    for event_loop in loops() {
        let trace = Trace::new();
        event_loop.run(async {
            let (lock, event) = (Rc::new(Lock::new(())), Event::new());
            let other = spawn(lock.lock_owned());
            let both = join(waits_with(ready(()), &trace), clean_up_with(sleep(ms(2)), &trace));
            let holder = async {
                let _guard = lock.lock().await;
                event.wait().await;
                trace.push("let go");
            };
            let limited = async {
                assert!(timeout(ms(1), both).await.is_err());
                event.set();
            };
            join3(holder, async { drop(other.await.unwrap()) }, limited).await;
        });
        assert_eq!(trace.take(), ["cleaned up", "neighbour dropped", "let go"]);
    }
}

/// Each of two tasks waits in its cleanup for what the other task's frozen neighbour holds. One
/// neighbour is dropped, and both tasks clean up.
#[test]
fn clean_up_with_what_another_cleanup_holds_up() {
    for event_loop in loops() {
        let trace = Trace::new();
        event_loop.run(async {
            let (a, b) = (Rc::new(Lock::new(())), Rc::new(Lock::new(())));
            let tasks = [(&a, &b), (&b, &a)].map(|(has, wants)| {
                spawn(join(waits_with(has.lock_owned(), &trace), clean_up_with(wants.lock_owned(), &trace)))
            });
            turns(2).await;
            tasks.iter().for_each(|task| assert!(task.cancel()));
            for task in tasks {
                assert!(task.await.unwrap_err().is_cancelled());
            }
        });
        assert_eq!(trace.take(), ["neighbour dropped", "cleaned up", "neighbour dropped", "cleaned up"]);
    }
}

/// One of two permits was forgotten, and main releases it later. The holder of the other permit
/// waits for the cleanup's task. The loop drops nothing.
#[test]
fn wait_in_a_cleanup_for_a_forgotten_permit_beside_one_that_waits_for_it() {
    let trace = Trace::new();
    EventLoop::new().run(async {
        let permits = Rc::new(Semaphore::new(2));
        permits.acquire().await.forget();
        let (copy, cleanup) = (permits.clone(), permits.clone());
        let task = beside_a_witness(async move { drop(cleanup.acquire().await) }, &trace);
        let end = task.task_ref();
        let other = spawn(async move {
            let _permit = copy.acquire().await;
            drop((&*task).await);
        });
        yield_now().await;
        end.cancel();
        sleep(ms(3)).await;
        permits.release();
        other.await.unwrap();
    });
    assert_eq!(trace.take(), ["cleaned up", "neighbour dropped"]);
}

/// A cleanup waits for a lock that a task of another loop holds. Nothing else is alive in the
/// cleanup's loop. A host turns both loops.
#[test]
fn wait_in_a_cleanup_under_a_host_for_a_guard_of_another_loop() {
    let trace = Trace::new();
    let (lock, event, other, ours) =
        (Rc::new(Lock::new(())), Rc::new(Event::new()), EventLoop::new(), EventLoop::new());
    let (copy, waits) = (lock.clone(), event.clone());
    let holder = other.spawn(async move {
        let _guard = copy.lock().await;
        waits.wait().await;
    });
    other.turn();
    let task = ours.enter(|| beside_a_witness(async move { drop(lock.lock().await) }, &trace));
    ours.turn();
    task.cancel();
    (0..4).for_each(|_| _ = ours.turn());
    event.set();
    (0..4).for_each(|_| _ = other.turn());
    (0..4).for_each(|_| _ = ours.turn());
    assert!(holder.is_done() && task.is_done());
    assert_eq!(trace.take(), ["cleaned up", "neighbour dropped"]);
}

/// A task waits for a lock, and also for a child that holds it. The task is cancelled, and the
/// child releases the lock and cleans up slowly. The next waiter acquires the lock, though the task
/// is not stepped before the child has ended.
#[test]
fn pass_a_lock_on_while_a_cancelled_task_waits_for_its_child() {
    for limited in [false, true] {
        virtual_loop().run(async {
            let lock = Rc::new(Lock::new(()));
            let (has, wants, waits) = (lock.clone(), lock.clone(), lock);
            let child = async move {
                finally(
                    async move {
                        let _guard = has.lock().await;
                        pending::<()>().await;
                    },
                    sleep(ms(1000)),
                )
                .await;
            };
            let both = async move {
                join(spawn(child).into_future(), async move {
                    yield_now().await;
                    drop(wants.lock().await);
                })
                .await
            };
            let task = if limited { spawn(timeout(ms(1), both).map(drop)) } else { spawn(both.map(drop)) };
            turns(3).await;
            let next = spawn(async move { drop(waits.lock().await) });
            turns(2).await;
            if limited {
                sleep(ms(2)).await;
            } else {
                task.cancel();
            }
            assert_eq!(timeout(ms(10), next).await, Ok(Ok(())), "{limited}");
            assert!(!task.is_done());
            assert_eq!(task.await.is_ok(), limited);
        });
    }
}

/// A group is interrupted beside a future that the loop does not know. This future returns in the
/// poll that drops the group's body, and then the task begins to await a child. The await is
/// dropped with the task, which cancels the child.
#[test]
fn await_a_child_behind_a_neighbour_of_a_body_that_is_dropped() {
    for limited in [false, true] {
        let trace = Trace::new();
        virtual_loop().run(async {
            let late = trace.clone();
            let work = async move {
                let group = task_group(async |_| {
                    if !limited {
                        current_task().unwrap().cancel();
                    }
                    pending::<()>().await;
                });
                let polls = Cell::new(0);
                let unseen = poll_fn(move |_| if polls.replace(1) == 1 { Poll::Ready(()) } else { Poll::Pending });
                select(pin!(unseen), pin!(group)).await;
                late.push("goes on");
                let late = late.clone();
                drop(spawn(finally(pending::<()>(), async move { late.push("cleans up") })).await);
            };
            let task = if limited { spawn(timeout(ms(1), work).map(drop)) } else { spawn(work) };
            let is_ended = timeout(ms(10), task).await.unwrap();
            assert_eq!(is_ended, if limited { Ok(()) } else { Err(TaskError::Cancelled) });
            turns(2).await;
            assert_eq!(all_tasks().len(), 1, "the child was cancelled as well");
        });
        assert_eq!(trace.take(), ["goes on"], "{limited}");
    }
}

/// A cancelled task holds a lock and waits for its child, which cleans up. A third task begins to
/// wait for the lock. That does not hurry the cancelled task: it ends after its child.
#[test]
fn want_what_a_cancelled_task_has_that_waits_for_its_child() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let lock = Rc::new(Lock::new(()));
        let (cleaner, holder, other) = (trace.clone(), trace.clone(), trace.clone());
        let child = spawn(finally(pending::<()>(), async move {
            sleep(ms(5)).await;
            cleaner.push("the child has cleaned up");
        }));
        let held = lock.clone();
        let parent = spawn(async move {
            let _guard = held.lock().await;
            let _gone = on_drop(move || holder.push("the parent is gone"));
            _ = child.await;
        });
        yield_now().await;
        yield_now().await;
        parent.cancel();
        sleep(ms(1)).await;
        let wants = spawn(async move {
            drop(lock.lock().await);
            other.push("the third has the lock");
        });
        assert!(parent.await.unwrap_err().is_cancelled());
        wants.await.unwrap();
    });
    assert_eq!(trace.take(), ["the child has cleaned up", "the parent is gone", "the third has the lock"]);
}

/// An expired timeout waits for the child that it awaits. The child's cleanup begins to wait for a
/// lock that is held inside the timeout, so the timeout does not wait any longer.
#[test]
fn want_in_a_child_what_is_held_in_a_timeout_that_waits_for_the_child() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let lock = Rc::new(Lock::new(()));
        let (cleaner, wanted) = (trace.clone(), lock.clone());
        let child = spawn(finally(pending::<()>(), async move {
            sleep(ms(5)).await;
            drop(wanted.lock().await);
            cleaner.push("the child had the lock");
        }));
        let holds = async {
            let _guard = lock.lock().await;
            sleep(ms(100)).await;
        };
        assert!(timeout(ms(1), join(holds, child.into_future())).await.is_err());
        trace.push("the timeout has ended");
    });
    assert_eq!(trace.take(), ["the timeout has ended", "the child had the lock"]);
}
