//! Waits beside a scope. *Beside* means in another branch of the same task, in a `join!` or a set.
//! The scope runs a cleanup, or it catches a cancellation. A *set* polls its futures with its own
//! wakers, and only those that were woken.

#[path = "common/mod.rs"]
mod common;

use common::{Trace, foreign, ms, virtual_loop};
use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, join};
use futures_util::stream::{FuturesUnordered, StreamExt};
use onelane::sync::{Event, Lock, Queue, Semaphore};
use onelane::{
    Task, as_completed, call_later, catch_cancel, finally, gather, sleep, spawn, task_group, time, timeout, yield_now,
};
use std::future::pending;
use std::rc::Rc;
use std::task::Context;
use std::time::Duration;

/// Puts `waits` into a set, with a future that waits for a cancellation and catches it.
async fn catch_beside(waits: impl Future + 'static) {
    let mut all: FuturesUnordered<LocalBoxFuture<'static, ()>> = FuturesUnordered::new();
    all.push(async { drop(waits.await) }.boxed_local());
    all.push(async { assert!(catch_cancel(pending::<()>()).await.is_err()) }.boxed_local());
    while all.next().await.is_some() {}
}

/// Waits for `waits` and, in the same task, for a cancellation, after which it cleans up.
fn clean_up_beside<F: Future + 'static>(waits: F, cleanup: impl Future<Output = ()> + 'static) -> Task<()> {
    spawn(async move { drop(join(waits, finally(pending::<()>(), cleanup)).await) })
}

async fn turns(count: u32) {
    for _ in 0..count {
        yield_now().await;
    }
}

/// The task goes on after the catch, so the wait beside the catch must be woken.
#[test]
fn catch_a_cancellation_and_wait_on_beside_it() {
    virtual_loop().run(async {
        let (event, queue) = (Rc::new(Event::new()), Rc::new(Queue::unbounded()));
        let copy = queue.clone();
        let tasks = [
            spawn(catch_beside(event.wait())),
            spawn(catch_beside(async move { assert_eq!(copy.get().await, Ok(1)) })),
        ];
        turns(1).await;
        tasks.iter().for_each(|task| assert!(task.cancel()));
        turns(2).await;
        event.set();
        queue.try_put(1).unwrap();
        for task in tasks {
            assert_eq!(timeout(ms(5), task).await, Ok(Ok(())));
        }
    });
}

/// The wait beside the catch must not block the next waiter while the lock is free.
#[test]
fn catch_a_cancellation_beside_a_lock_and_let_the_next_have_it() {
    virtual_loop().run(async {
        let lock = Rc::new(Lock::new(()));
        let guard = lock.lock_owned().await;
        let caught = spawn(catch_beside(lock.lock_owned()));
        turns(1).await;
        let next = spawn(lock.lock_owned());
        turns(1).await;
        caught.cancel();
        turns(2).await;
        drop(guard);
        assert!(timeout(ms(5), next).await.is_ok());
        assert_eq!(caught.await, Ok(()));
    });
}

#[test]
fn catch_the_end_of_a_timeout_and_wait_on_beside_it() {
    virtual_loop().run(async {
        let event = Rc::new(Event::new());
        let task = spawn(timeout(ms(5), catch_beside(event.wait())));
        sleep(ms(10)).await;
        event.set();
        assert_eq!(timeout(ms(5), task).await, Ok(Ok(Ok(()))));
    });
}

/// The lock is handed to a wait beside a cleanup. This wait is frozen (not polled any more), so the
/// lock must pass on to the cleanup, which also waits for it.
#[test]
fn clean_up_with_the_lock_that_was_promised_beside_it() {
    virtual_loop().run(async {
        for release_first in [true, false] {
            let lock = Rc::new(Lock::new(()));
            let guard = lock.lock_owned().await;
            let cleanup = lock.lock_owned();
            let task = clean_up_beside(lock.lock_owned(), async { drop(cleanup.await) });
            turns(1).await;
            if release_first {
                drop(guard);
                task.cancel();
            } else {
                task.cancel();
                turns(2).await;
                drop(guard);
            }
            assert!(timeout(ms(5), task).await.unwrap().unwrap_err().is_cancelled());
        }
    });
}

/// The cleanup takes an hour. What is handed to the wait beside it must go to other waiters at
/// once.
#[test]
fn give_way_to_others_while_a_cleanup_takes_its_time() {
    virtual_loop().run(async {
        let hour = || async { sleep(ms(3_600_000)).await };
        let start = time();

        let lock = Rc::new(Lock::new(()));
        let guard = lock.lock_owned().await;
        let slow = [clean_up_beside(lock.lock_owned(), hour())];
        turns(1).await;
        let next = spawn(lock.lock_owned());
        turns(1).await;
        slow[0].cancel();
        turns(2).await;
        drop(guard);
        drop(next.await.unwrap());

        let queue = Rc::new(Queue::unbounded());
        let (copy, other) = (queue.clone(), queue.clone());
        let slow = clean_up_beside(async move { copy.get().await }, hour());
        turns(1).await;
        let next = spawn(async move { other.get().await });
        turns(1).await;
        queue.try_put(1).unwrap();
        slow.cancel();
        assert_eq!(next.await, Ok(Ok(1)));

        let semaphore = Semaphore::new(1);
        let permit = semaphore.acquire().await;
        let slow = clean_up_beside(semaphore.acquire(), hour());
        turns(1).await;
        drop(permit);
        slow.cancel();
        drop(semaphore.acquire().await);
        assert_eq!(time(), start);
    });
}

/// A cancelled parent waits for the end of its child. The child's cleanup must get the lock that is
/// handed to the parent.
#[test]
fn give_way_to_the_cleanup_of_a_child() {
    virtual_loop().run(async {
        let lock = Rc::new(Lock::new(()));
        let guard = lock.lock_owned().await;
        let (own, childs) = (lock.lock_owned(), lock.lock_owned());
        let parent = spawn(async move {
            let child = spawn(finally(pending::<()>(), async { drop(childs.await) }));
            drop(join(own, child.into_future()).await);
        });
        turns(2).await;
        drop(guard);
        parent.cancel();
        assert!(timeout(ms(5), parent).await.unwrap().unwrap_err().is_cancelled());
    });
}

/// A result that arrives during the cancellation must notify the wait, even in a set.
#[test]
fn uncancel_a_wait_for_the_next_result() {
    virtual_loop().run(async {
        let all = as_completed([ms(5), ms(10)].map(sleep));
        let task = spawn(async move { std::iter::once(all.next()).collect::<FuturesUnordered<_>>().next().await });
        turns(2).await;
        task.cancel();
        assert_eq!(task.uncancel(), 0);
        assert_eq!(task.await, Ok(Some(Some(Ok(())))));
    });
}

/// A panic of the first waker must not prevent the wakes of the other waiters.
#[test]
fn panic_in_the_first_waker_and_wake_the_others() {
    virtual_loop().run(async {
        let event = Event::new();
        let waker = foreign(|| panic!("waker"), || ());
        let mut first = event.wait();
        assert!(first.poll_unpin(&mut Context::from_waker(&waker)).is_pending());
        let second = spawn(event.wait());
        turns(1).await;
        event.set();
        assert!(timeout(ms(5), second).await.unwrap().is_ok());
    });
}

/// The report names what the cleanup waits for. It does not name what is waited for beside the
/// cleanup, because that wait is frozen.
#[cfg(feature = "report")]
#[test]
fn report_what_a_cleanup_waits_for_alone() {
    let event = Rc::new(Event::new().named("bell"));
    let stuck = virtual_loop().try_run(async {
        let cleanup = event.clone();
        let task = clean_up_beside(sleep(Duration::MAX), async move { cleanup.wait().await });
        yield_now().await;
        task.cancel();
        task.await.unwrap();
    });
    let Err(onelane::RunError::Deadlock(report)) = stuck else { panic!("{stuck:?}") };
    assert_eq!(common::words(&report.tasks[1]), "event \"bell\"");
}

/// The time of a timeout is up, and the timeout waits for a cleanup inside it. A lock that is
/// handed to another wait inside it goes to the next waiter.
#[test]
fn give_way_to_others_while_a_timeout_waits_for_a_cleanup() {
    virtual_loop().run(async {
        let (begun, lock) = (time(), Rc::new(Lock::new(())));
        let (holder, waiter, other) = (lock.clone(), lock.clone(), lock.clone());
        drop(spawn(async move {
            let _guard = holder.lock().await;
            sleep(ms(10)).await;
        }));
        yield_now().await;
        let waits = async move {
            let _guard = waiter.lock().await;
            pending::<()>().await;
        };
        let cleans = finally(pending::<()>(), async { sleep(ms(100)).await });
        let limited = spawn(timeout(ms(5), join(waits, cleans)));
        yield_now().await;
        let other = spawn(async move {
            let _guard = other.lock().await;
            time() - begun
        });
        assert_eq!(other.await, Ok(ms(10)));
        assert!(limited.await.unwrap().is_err());
        assert_eq!(time() - begun, ms(105));
    });
}

/// The time of a timeout is up, and the timeout drives a cleanup. A cancellation of the task takes
/// this cleanup over, and a catch beside the timeout ends the cancellation. The timeout must then
/// drive the cleanup on. Otherwise the task waits for ever.
#[test]
fn catch_beside_a_timeout_that_cleans_up() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let (cleaner, catcher) = (trace.clone(), trace.clone());
        let cleanup = async move {
            sleep(ms(5)).await;
            cleaner.push("cleaned up");
        };
        let limited = timeout(ms(1), finally(pending::<()>(), cleanup));
        let catches = async move {
            assert!(catch_cancel(pending::<()>()).await.is_err());
            catcher.push("caught");
        };
        let task = spawn(join(limited, catches));
        sleep(ms(3)).await;
        task.cancel();
        // The cancellation came after the timeout was entered, so the result is not `Elapsed`.
        assert!(task.await.unwrap_err().is_cancelled());
        trace.push("ended");
    });
    assert_eq!(trace.take(), ["caught", "cleaned up", "ended"]);
}

/// As above, but around this timeout there is another one whose time is up. The outer timeout waits
/// for a task that the cleanup awaits. After the catch, its request must still end the cleanup.
#[test]
fn catch_beside_a_timeout_around_one_that_cleans_up() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let (cleaner, catcher, begun) = (trace.clone(), trace.clone(), time());
        let awaited = spawn(finally(pending::<()>(), sleep(ms(10))));
        yield_now().await;
        let cleanup = async move {
            cleaner.push("begins to clean up");
            drop(awaited.await);
            sleep(ms(100_000)).await;
            cleaner.push("cleaned up");
        };
        let limited = timeout(ms(2), timeout(ms(1), finally(pending::<()>(), cleanup)));
        let catches = async move {
            assert!(catch_cancel(pending::<()>()).await.is_err());
            catcher.push("caught");
        };
        let task = spawn(join(limited, catches));
        sleep(ms(4)).await;
        task.cancel();
        assert!(task.await.unwrap_err().is_cancelled());
        trace.push(format!("ended after {:?}", time() - begun));
    });
    assert_eq!(trace.take(), ["begins to clean up", "caught", "ended after 4ms"]);
}

/// Two nested timeouts clean up. A catch in the outer one ends the outer interruption. The inner
/// one must then go on, even if a catch beside both has caught a cancellation of the task.
#[test]
fn catch_beside_two_timeouts_that_clean_up() {
    for is_cancelled in [false, true] {
        let trace = Trace::new();
        virtual_loop().run(async {
            let told = || {
                let trace = trace.clone();
                move |what: &str| trace.push(what)
            };
            let (first, second, within, after, beside) = (told(), told(), told(), told(), told());
            let inner = timeout(
                ms(1),
                finally(pending::<()>(), async move {
                    sleep(ms(20)).await;
                    second("cleaned up inside");
                }),
            );
            let catches = async move {
                let cleanup = async move {
                    sleep(ms(5)).await;
                    first("cleaned up");
                };
                assert!(catch_cancel(finally(pending::<()>(), cleanup)).await.is_err());
                within("caught inside");
            };
            let outer = async move {
                assert!(timeout(ms(2), join(inner, catches)).await.is_err());
                after("elapsed");
            };
            let caught = async move {
                if is_cancelled {
                    assert!(catch_cancel(pending::<()>()).await.is_err());
                    beside("caught beside");
                }
            };
            let task = spawn(join(outer, caught));
            sleep(ms(4)).await;
            if is_cancelled {
                task.cancel();
            }
            assert_eq!(task.await.is_err(), is_cancelled);
        });
        let end = ["cleaned up", "caught inside", "cleaned up inside"];
        match is_cancelled {
            // The cancellation came after the timeout was entered, so there is no "elapsed".
            true => assert_eq!(trace.take(), [&["caught beside"][..], &end].concat()),
            false => assert_eq!(trace.take(), [&end[..], &["elapsed"]].concat()),
        }
    }
}

/// A cleanup contains a timeout, which cleans up, and a catch beside it, which catches a second
/// cancellation. The timeout must go on with its cleanup, and must not poll its dropped future.
#[test]
fn catch_in_a_cleanup_beside_a_timeout_that_cleans_up() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let (cleaner, catcher, outer) = (trace.clone(), trace.clone(), trace.clone());
        let limited = timeout(
            ms(1),
            finally(pending::<()>(), async move {
                sleep(ms(10)).await;
                cleaner.push("cleaned up");
            }),
        );
        let catches = async move {
            assert!(catch_cancel(pending::<()>()).await.is_err());
            catcher.push("caught");
        };
        let cleanup = async move {
            _ = join(limited, catches).await;
            outer.push("cleaned up around it"); // ended by the second request
        };
        let task = spawn(finally(pending::<()>(), cleanup));
        yield_now().await;
        task.cancel();
        sleep(ms(4)).await;
        task.cancel();
        assert!(task.await.unwrap_err().is_cancelled());
        trace.push("ended");
    });
    assert_eq!(trace.take(), ["caught", "cleaned up", "ended"]);
}

/// A cleanup in a timeout has panicked, and the next cleanup runs. The panic must not be lost if a
/// catch beside the timeout catches a cancellation of the task.
#[test]
fn catch_beside_a_timeout_in_which_a_cleanup_has_panicked() {
    for is_cancelled in [false, true] {
        let trace = Trace::new();
        virtual_loop().run(async {
            let (cleaner, catcher) = (trace.clone(), trace.clone());
            let panics = finally(pending::<()>(), async { std::panic::resume_unwind(Box::new("a panic")) });
            let limited = timeout(
                ms(1),
                finally(panics, async move {
                    sleep(ms(5)).await;
                    cleaner.push("cleaned up");
                }),
            );
            let catches = async move {
                if is_cancelled {
                    assert!(catch_cancel(pending::<()>()).await.is_err());
                    catcher.push("caught");
                }
            };
            let task = spawn(join(limited, catches));
            sleep(ms(3)).await;
            if is_cancelled {
                task.cancel();
            }
            trace.push(task.await.unwrap_err().to_string());
        });
        let end = ["cleaned up", "the task panicked: a panic"];
        match is_cancelled {
            true => assert_eq!(trace.take(), [&["caught"][..], &end].concat()),
            false => assert_eq!(trace.take(), end),
        }
    }
}

/// The first child that ends as cancelled decides a gather, though another child still cleans up.
/// The timeout around the set that contains the gather must be notified of this, even if the set
/// was woken before. It does not wait for the other child.
#[test]
fn expire_around_a_gather_in_a_set() {
    for cancels in [false, true] {
        virtual_loop().run(async move {
            let begun = time();
            let child = || finally(pending::<()>(), sleep(Duration::from_secs(60)));
            let mut set = FuturesUnordered::new();
            let children: [LocalBoxFuture<'static, ()>; 2] = [Box::pin(child()), Box::pin(pending())];
            set.push(gather(children).map(drop).boxed_local());
            set.push(yield_now().boxed_local());
            let all = async move { while set.next().await.is_some() {} };
            if cancels {
                let task = spawn(all);
                yield_now().await;
                task.cancel();
                assert!(task.await.unwrap_err().is_cancelled());
            } else {
                assert!(timeout(ms(0), all).await.is_err());
            }
            assert_eq!(time(), begun);
        });
    }
}

/// A group whose task is cancelled in the turn in which a wait beside it ends. The body of the group
/// is not dropped by a poll then, because such a poll would run a line behind that wait.
#[test]
fn cancel_a_group_when_a_wait_beside_it_has_just_ended() {
    let trace = Trace::new();
    for is_first in [false, true] {
        virtual_loop().run(async {
            let beside = trace.clone();
            let group = task_group(async |group| {
                group.spawn(pending::<()>());
                sleep(ms(1)).await;
                pending::<()>().await;
            });
            let (mut sleeper, mut group) = (
                Box::pin(async move {
                    sleep(ms(1)).await;
                    beside.push("a line of a cancelled task");
                }),
                Box::pin(group),
            );
            // The timers fire in the order in which the futures are polled first.
            let task = spawn(async move {
                if is_first {
                    drop(join(&mut sleeper, &mut group).await);
                } else {
                    drop(join(&mut group, &mut sleeper).await);
                }
            });
            yield_now().await;
            let asked = task.task_ref();
            call_later(ms(1), move || assert!(asked.cancel()));
            assert!(task.await.unwrap_err().is_cancelled());
        });
    }
    assert_eq!(trace.take(), [""; 0]);
}
