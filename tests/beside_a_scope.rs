//! Waits beside a cleanup, or beside a caught cancellation, in the same task, with wakers of their
//! own.

#[path = "common/mod.rs"]
mod common;

use common::{Trace, foreign, ms, virtual_loop};
use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, join};
use futures_util::stream::{FuturesUnordered, StreamExt};
use onelane::sync::{Event, Lock, Queue, Semaphore};
use onelane::{Task, as_completed, catch_cancel, finally, gather, sleep, spawn, time, timeout, yield_now};
use std::future::pending;
use std::rc::Rc;
use std::task::Context;
use std::time::Duration;

/// Waits for `waits` and, under a waker of its own, for a cancellation that it catches.
async fn catch_beside(waits: impl Future + 'static) {
    let mut all: FuturesUnordered<LocalBoxFuture<'static, ()>> = FuturesUnordered::new();
    all.push(async { drop(waits.await) }.boxed_local());
    all.push(async { assert!(catch_cancel(pending::<()>()).await.is_err()) }.boxed_local());
    while all.next().await.is_some() {}
}

/// Waits for `waits`, and beside it for a cancellation that it cleans up behind.
fn clean_up_beside<F: Future + 'static>(waits: F, cleanup: impl Future<Output = ()> + 'static) -> Task<()> {
    spawn(async move { drop(join(waits, finally(pending::<()>(), cleanup)).await) })
}

async fn turns(count: u32) {
    for _ in 0..count {
        yield_now().await;
    }
}

/// It stayed marked as about to be dropped, and was not woken.
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

/// It stood in the way of the next, and the lock was free for ever.
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

/// A lock that is promised to what stands beside a cleanup goes to others, to the cleanup itself too.
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

/// Others had to wait for the end of the cleanup, here an hour.
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

/// A parent that waits for the end of its child held what the child's cleanup needed.
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

/// What came meanwhile went past it, and nobody told it.
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

/// The first waker's panic cost those behind it their wake.
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

/// A report tells what the cleanup waits for, and not what stands beside it, which nobody polls any more.
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

/// What is promised to somebody in a timeout that is up, and waits for a cleanup, goes to the next.
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

/// A timeout is up, and drives a cleanup inside. Beside it, a catch ends a cancellation of the task, which had taken the cleanup over:
/// nobody drove it any more, and the task waited for ever.
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
        // The request came since the timeout was entered, so there is no `Elapsed`.
        assert!(task.await.unwrap_err().is_cancelled());
        trace.push("ended");
    });
    assert_eq!(trace.take(), ["caught", "cleaned up", "ended"]);
}

/// As above, and around that timeout another one is up, which waits for a task that is awaited inside: that request was lost, and the
/// cleanup was let run to its end.
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

/// Two timeouts clean up, one in the other, and in the outer one a catch ends its interruption, so that the inner one goes on. That it
/// had to was forgotten if a cancellation of the task was caught beside them meanwhile.
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
            // The request came since the timeout was entered.
            true => assert_eq!(trace.take(), [&["caught beside"][..], &end].concat()),
            false => assert_eq!(trace.take(), [&end[..], &["elapsed"]].concat()),
        }
    }
}

/// In a cleanup: a timeout cleans up, and beside it a second cancellation is caught. The timeout did not go on, and its future was
/// polled after its cleanup had been taken out.
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
            outer.push("cleaned up around it"); // the second request ends that, as the timeout passes it on
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

/// A cleanup in a timeout has panicked, and the next one runs. That panic was lost if a cancellation of the task was caught beside it
/// meanwhile.
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

/// A gather is decided by the first of its children that ends as cancelled, though another still cleans up. In a set that had been
/// woken before, nobody told the timeout around it, which waited for the other child.
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
