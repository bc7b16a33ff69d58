//! Cancellations of tasks whose futures are *neighbours*, that is, parts of one task, for example
//! branches of a `join!`. A neighbour of a scope (`finally`, `catch_cancel`, timeout, group) waits,
//! panics, or moves to another task. To drop the body of a group, the loop polls the task's future
//! once more.

mod common;

use common::{Census, Trace, ms, on_drop, telling_loop, virtual_loop};
use futures_util::future::{Either, FutureExt, LocalBoxFuture, join, select};
use futures_util::stream::{FuturesUnordered, StreamExt};
use onelane::sync::Lock;
use onelane::{
    Cancelled, ChildError, Elapsed, TaskError, TaskGroup, all_tasks, catch_cancel, finally, on_cancel, sleep, spawn,
    task_group, timeout, try_task_group, yield_now,
};
use std::cell::{Cell, RefCell};
use std::future::{IntoFuture, pending, poll_fn};
use std::panic::panic_any;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

/// A payload whose destructor panics.
struct Grenade;

impl Drop for Grenade {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("the payload of a cleanup");
        }
    }
}

/// A timeout unwinds with the panic of a cleanup, and a cancellation of the task takes over. It
/// ends the next cleanup.
#[test]
fn take_over_the_panic_of_a_cleanup_and_end_the_next_cleanup() {
    let census = Census::new();
    virtual_loop().run(async {
        let inner = finally(pending::<()>(), async { panic_any(Grenade) });
        let one = census.member();
        let outer = on_cancel(inner, async move {
            let _one = one;
            pending::<()>().await;
        });
        let task = spawn(timeout(ms(1), outer));
        sleep(ms(2)).await;
        task.cancel();
        sleep(ms(1)).await;
        assert!(task.is_done());
        assert_eq!(census.counts(), (1, 1), "the futures are dropped although the task handle exists");
        assert!(task.await.is_err());
    });
}

/// Passes each wake on, and then panics.
struct Fragile(Waker);

impl Wake for Fragile {
    fn wake(self: Arc<Self>) {
        self.0.wake_by_ref();
        panic!("a waker");
    }
}

#[test]
fn cancel_a_group_under_a_waker_that_panics() {
    virtual_loop().run(async {
        let task = spawn(async {
            let group = task_group(async |group| {
                group.spawn(pending::<()>());
                pending::<()>().await;
            });
            let mut group = Box::pin(group);
            poll_fn(move |context| {
                let waker = Waker::from(Arc::new(Fragile(context.waker().clone())));
                group.as_mut().poll(&mut Context::from_waker(&waker))
            })
            .await
        });
        yield_now().await;
        yield_now().await;
        task.cancel();
        assert_eq!(task.await.map(drop), Err(TaskError::Cancelled));
        assert_eq!(all_tasks().len(), 1, "the child has ended first");
    });
}

/// A cancelled group is in a set, which polls only the futures in it that were woken.
#[test]
fn cancel_a_group_in_a_set_and_get_its_errors() {
    virtual_loop().run(async {
        let task = spawn(async {
            let group = try_task_group(async |group| {
                group.try_spawn(async {
                    _ = catch_cancel(pending::<()>()).await;
                    Err::<(), _>("resists")
                });
                pending::<Result<(), _>>().await
            });
            let mut set = FuturesUnordered::from_iter([group]);
            set.next().await.unwrap()
        });
        yield_now().await;
        yield_now().await;
        task.cancel();
        let errors = task.await.unwrap().unwrap_err().errors;
        assert_eq!(errors, [ChildError::Failed("resists")]);
    });
}

/// A cancellation passes through a group, and is caught beside it. Like a `finally`, the group
/// cannot go on then, so the cancellation goes on and ends the task.
#[test]
fn catch_beside_a_group_and_end_as_cancelled() {
    virtual_loop().run(async {
        for in_set in [true, false] {
            let catch: LocalBoxFuture<()> = async { _ = catch_cancel(pending::<()>()).await }.boxed_local();
            let group: LocalBoxFuture<()> =
                async { _ = task_group(async |_| pending::<()>().await).await }.boxed_local();
            let both = [catch, group];
            let task = spawn(async move {
                if in_set {
                    FuturesUnordered::from_iter(both).collect::<Vec<_>>().await;
                } else {
                    let [catch, group] = both;
                    join(catch, group).await;
                }
            });
            yield_now().await;
            task.cancel();
            assert_eq!(task.await, Err(TaskError::Cancelled), "in a set: {in_set}");
        }
    });
}

/// The await has moved to another task. Its end does not wake the cancelled task.
#[test]
fn move_an_await_and_cancel_the_task_that_it_left() {
    virtual_loop().run(async {
        let child = spawn(pending::<()>());
        let task = spawn(async move {
            let mut set = Box::pin(async move {
                let mut set = FuturesUnordered::from_iter([child.into_future()]);
                set.next().await
            });
            poll_fn(|context| Poll::Ready(set.as_mut().poll(context).is_pending())).await;
            spawn(async move { drop(set.await) });
            pending::<()>().await;
        });
        yield_now().await;
        yield_now().await;
        task.cancel();
        assert_eq!(task.await, Err(TaskError::Cancelled));
    });
}

/// A poll drops the body of a group. A neighbour panics in that poll, and there is no further poll.
#[test]
fn panic_beside_a_group_whose_body_is_dropped() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let copy = trace.clone();
        let inner = task_group(async |_| pending::<()>().await);
        let outer = task_group(async |_| drop(inner.await));
        let mut outer = Box::pin(async move { drop(outer.await) });
        let mut polls = 0;
        let task = spawn(poll_fn(move |context| -> Poll<()> {
            polls += 1;
            copy.push(format!("poll {polls}"));
            _ = outer.as_mut().poll(context);
            assert!(polls < 2, "beside a group");
            Poll::Pending
        }));
        yield_now().await;
        task.cancel();
        assert!(task.await.unwrap_err().is_panic());
    });
    assert_eq!(trace.take(), ["poll 1", "poll 2"]);
}

/// To drop the body of a group in a cleanup, the loop polls only the cleanup, and not the future
/// around it.
#[test]
fn drop_the_body_of_a_group_in_a_cleanup() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let (copy, mut polls) = (trace.clone(), 0);
        let cleanup = async move {
            let _frame = on_drop({
                let copy = copy.clone();
                move || copy.push("frame dropped")
            });
            let body = copy.clone();
            _ = task_group(async move |group| {
                group.spawn(finally(pending::<()>(), async move { copy.push("child cleaned up") }));
                let _body = on_drop(move || body.push("body dropped"));
                pending::<()>().await;
            })
            .await;
        };
        let mut scope = Box::pin(finally(pending::<()>(), cleanup));
        let task = spawn(poll_fn(move |context| {
            polls += 1;
            assert!(polls < 2, "the frame around it was polled");
            scope.as_mut().poll(context)
        }));
        yield_now().await;
        task.cancel();
        sleep(ms(1)).await;
        task.cancel();
        assert_eq!(task.await, Err(TaskError::Cancelled));
    });
    assert_eq!(trace.take(), ["body dropped", "child cleaned up", "frame dropped"]);
}

/// The loop knows of no wait for a yield beside a scope. It knows of the scope.
#[test]
fn cancel_a_finally_beside_a_group_and_poll_neither() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let copy = trace.clone();
        let group = async { drop(task_group(async |_| pending::<()>().await).await) }.boxed_local();
        let scope = async move {
            finally(async {}, pending::<()>()).await;
            copy.push("went on");
        };
        let task = spawn(join(group, scope));
        yield_now().await;
        task.cancel();
        assert_eq!(task.await.map(drop), Err(TaskError::Cancelled));
    });
    assert_eq!(trace.take(), [""; 0]);
}

/// A task is cancelled with a group. A child of the group was waiting for a lock of the task, and
/// is cancelled too. So the task keeps the lock until the child has ended.
#[test]
fn keep_the_lock_for_which_a_cancelled_child_has_waited() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let copy = trace.clone();
        let task = spawn(async move {
            let lock = Rc::new(Lock::new(()));
            let _guard = lock.lock().await;
            let frame = copy.clone();
            let _frame = on_drop(move || frame.push("frame dropped"));
            let child = copy.clone();
            let other = lock.clone();
            let group = task_group(async move |group| {
                group.spawn(async move {
                    let _child = on_drop(move || child.push("child dropped"));
                    drop(other.lock().await);
                });
                drop(Lock::new(()).lock().await);
                pending::<()>().await;
            });
            _ = join(group, sleep(ms(100))).await;
        });
        sleep(ms(1)).await;
        task.cancel();
        assert_eq!(task.await, Err(TaskError::Cancelled));
    });
    assert_eq!(trace.take(), ["child dropped", "frame dropped"]);
}

/// A group moves into its own child, which awaits the group. Then the child is cancelled.
#[test]
fn await_a_group_in_its_only_child_and_cancel_that() {
    virtual_loop().run(async {
        let place = Rc::new(RefCell::new(None::<LocalBoxFuture<()>>));
        let (copy, child) = (place.clone(), Rc::new(RefCell::new(None)));
        let kept = child.clone();
        let mut group = async move {
            let body = async move |group: TaskGroup| {
                let child = group.spawn(async move {
                    let group = copy.take().unwrap();
                    group.await;
                });
                *kept.borrow_mut() = Some(child);
            };
            drop(task_group(body).await);
        }
        .boxed_local();
        poll_fn(|context| Poll::Ready(group.as_mut().poll(context).is_pending())).await;
        *place.borrow_mut() = Some(group);
        yield_now().await;
        let child = child.take().unwrap();
        child.cancel();
        assert_eq!(child.await, Err(TaskError::Cancelled));
    });
}

/// Another task has polled the outer `finally` once, so the outer one is registered after the inner
/// one. A `catch_cancel` around the outer one catches a cancellation. This cancellation does not
/// reach the inner `finally`, whose cleanup goes on.
#[test]
fn catch_around_a_cleanup_that_has_lost_its_future() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let copy = trace.clone();
        let inner = finally(async {}, async move {
            sleep(ms(5)).await;
            copy.push("inner cleaned up");
        });
        let set = async { FuturesUnordered::from_iter([inner]).collect::<Vec<_>>().await };
        let copy = trace.clone();
        let mut outer = finally(set, async move { copy.push("outer cleaned up") }).boxed_local();
        let task = spawn(async move {
            poll_fn(|context| Poll::Ready(outer.as_mut().poll(context).is_pending())).await;
            let outer = spawn(async move {
                poll_fn(|context| Poll::Ready(outer.as_mut().poll(context).is_pending())).await;
                Some(outer)
            });
            let outer = outer.await.unwrap();
            _ = catch_cancel(outer.unwrap()).await;
            sleep(ms(10)).await;
        });
        sleep(ms(1)).await;
        task.cancel();
        assert_eq!(task.await, Ok(()));
    });
    assert_eq!(trace.take(), ["outer cleaned up", "inner cleaned up"]);
}

/// When a timeout expires or a child fails, this limits the cleanups inside the timeout or the
/// group, but not the cleanups beside it.
#[test]
fn end_a_timeout_beside_a_cleanup() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let copy = trace.clone();
        let cleaner = move || {
            let copy = copy.clone();
            finally(pending::<()>(), async move {
                sleep(ms(10)).await;
                copy.push("cleaned up");
            })
        };
        let beside = cleaner();
        let task = spawn(async move { _ = join(timeout(ms(5), pending::<()>()), beside).await });
        sleep(ms(1)).await;
        task.cancel();
        assert_eq!(task.await, Err(TaskError::Cancelled));

        let beside = cleaner();
        let task = spawn(async move { _ = timeout(ms(1), join(timeout(ms(5), pending::<()>()), beside)).await });
        assert_eq!(task.await, Ok(()));

        let beside = cleaner();
        let fails = async |group: TaskGroup<()>| {
            group.try_spawn(async {
                sleep(ms(5)).await;
                Err::<(), ()>(())
            });
            pending::<Result<(), ()>>().await
        };
        let task = spawn(async move { _ = join(try_task_group(fails), beside).await });
        sleep(ms(1)).await;
        task.cancel();
        _ = task.await;
    });
    assert_eq!(trace.take(), ["cleaned up"; 3]);
}

/// A `finally` is beside a group. The body of the `finally` returns in the poll in which the group
/// drops its body. The cancellation then starts the cleanup of the `finally`, and must not end it.
#[test]
fn return_beside_a_group_that_is_cancelled() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let is_set = Rc::new(std::cell::Cell::new(false));
        let (copy, cleaner) = (is_set.clone(), trace.clone());
        let foreign = poll_fn(move |_| if copy.get() { Poll::Ready(()) } else { Poll::Pending });
        let cleanup = async move {
            sleep(ms(1)).await;
            cleaner.push("cleaned up");
        };
        let group = task_group(async |group| {
            group.spawn(sleep(ms(60)));
            pending::<()>().await
        });
        let task = spawn(join(finally(foreign, cleanup), group));
        yield_now().await;
        yield_now().await;
        is_set.set(true);
        task.cancel();
        assert!(task.await.unwrap_err().is_cancelled());
    });
    assert_eq!(trace.take(), ["cleaned up"]);
}

/// While a task unwinds, a neighbour enters a timeout. This timeout must not catch the
/// cancellation.
#[test]
fn enter_a_timeout_beside_a_group_that_is_cancelled() {
    virtual_loop().run(async {
        for beside in 0..3 {
            let group = task_group(async |group| {
                group.spawn(finally(pending::<()>(), sleep(ms(20))));
                sleep(ms(8)).await;
            });
            let task = spawn(async move {
                let beside = async move {
                    sleep(ms(3)).await;
                    _ = timeout(ms(beside), pending::<()>()).await;
                };
                select(Box::pin(group), Box::pin(beside)).await;
            });
            sleep(ms(3)).await;
            task.cancel();
            assert_eq!(timeout(ms(1000), task).await.expect("the task must not hang"), Err(TaskError::Cancelled));
        }
    });
}

/// When a group is dropped, a destructor in its body panics. The errors of the children must still
/// be reported.
#[test]
fn drop_a_group_whose_body_panics_as_it_is_dropped() {
    let (event_loop, told) = telling_loop();
    event_loop.run(async {
        let group = try_task_group(async |group| {
            let _bomb = on_drop(|| panic!("a destructor"));
            group.try_spawn(async {
                _ = catch_cancel(pending::<()>()).await;
                Err::<(), _>("lost")
            });
            pending::<Result<(), &str>>().await
        });
        select(Box::pin(group), Box::pin(sleep(ms(1)))).await;
        sleep(ms(1)).await;
    });
    let told = told.take();
    assert!(told.iter().any(|line| line.contains("a destructor")), "{told:?}");
    assert!(told.iter().any(|line| line.contains("a child of a task group failed")), "{told:?}");
}

/// The time of a timeout is up, and the timeout waits for the end of a task. Then its own task is
/// cancelled, and a `catch_cancel` beside the timeout catches this. The timeout must still end.
#[test]
fn catch_beside_a_timeout_that_is_up() {
    virtual_loop().run(async {
        let slow = spawn(finally(pending::<()>(), sleep(ms(20))));
        let task = spawn(async move {
            let limited = timeout(ms(5), async {
                _ = slow.await;
                pending::<()>().await
            });
            _ = join(limited, catch_cancel(pending::<()>())).await;
        });
        sleep(ms(6)).await;
        task.cancel();
        // The result is not `Elapsed`, because the cancellation request still counts.
        let ended = timeout(ms(1000), task).await.expect("the task must not hang");
        assert_eq!(ended, Err(TaskError::Cancelled));
    });
}

/// A cancellation is caught beside a timeout whose time is not up. The timeout goes on unchanged.
#[test]
fn catch_beside_a_timeout_that_is_not_up() {
    virtual_loop().run(async {
        let limited = timeout(ms(50), async { sleep(ms(20)).await });
        let task = spawn(join(limited, catch_cancel(pending::<()>())));
        sleep(ms(5)).await;
        task.cancel();
        assert_eq!(task.await, Ok((Ok(()), Err(Cancelled))));
    });
}

/// The same, but the cancellation comes to the timeout first, and passes. Like a group, the timeout
/// cannot go on then, so the cancellation goes on and ends the task.
#[test]
fn catch_beside_a_timeout_that_was_passed() {
    virtual_loop().run(async {
        let limited = timeout(ms(50), pending::<()>());
        let task = spawn(join(catch_cancel(pending::<()>()), limited));
        sleep(ms(5)).await;
        task.cancel();
        assert_eq!(timeout(ms(100), task).await, Ok(Err(TaskError::Cancelled)));
    });
}

/// The time of a timeout is up while a cleanup runs beside it. The interruption is caught there, so
/// the timeout ends after that.
#[test]
fn catch_beside_a_timeout_whose_time_was_up_during_a_cleanup() {
    virtual_loop().run(async {
        for in_set in [false, true] {
            let begun = onelane::time();
            let cleanup = async { sleep(ms(50)).await };
            let limited: LocalBoxFuture<bool> = async { timeout(ms(30), pending::<()>()).await.is_ok() }.boxed_local();
            let caught: LocalBoxFuture<bool> =
                async { catch_cancel(finally(pending::<()>(), cleanup)).await.is_ok() }.boxed_local();
            let task = spawn(async move {
                if in_set {
                    FuturesUnordered::from_iter([limited, caught]).collect::<Vec<_>>().await
                } else {
                    let (limited, caught) = join(limited, caught).await;
                    vec![limited, caught]
                }
            });
            sleep(ms(10)).await;
            task.cancel();
            let ended = timeout(ms(1000), task).await;
            assert_eq!(onelane::time() - begun, ms(60), "in a set: {in_set}");
            // As above, the cancellation request still counts.
            assert_eq!(ended, Ok(Err(TaskError::Cancelled)));
        }
    });
}

/// A cancelled task cleans up in the body of a group. A second cancellation ends this cleanup, and
/// a scope inside it. The group has no neighbour, so its body is dropped before the child ends.
#[test]
fn end_a_cleanup_in_the_body_of_a_group() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let (body, child) = (trace.clone(), trace.clone());
        let task = spawn(task_group(async move |group| {
            let _body = on_drop(move || body.push("body dropped"));
            group.spawn(finally(pending::<()>(), async move { child.push("child cleaned up") }));
            finally(pending::<()>(), finally(pending::<()>(), async {})).await;
        }));
        sleep(ms(1)).await;
        task.cancel();
        sleep(ms(1)).await;
        task.cancel();
        assert_eq!(task.await.map(drop), Err(TaskError::Cancelled));
    });
    assert_eq!(trace.take(), ["body dropped", "child cleaned up"]);
}

/// A cleanup contains a group, which is cancelled. The cleanup returns in the poll that drops the
/// group's body. The scopes around the cleanup and beside it must go on with the cancellation.
#[test]
fn end_a_cleanup_beside_a_group_that_is_cancelled_in_there() {
    for has_group in [false, true] {
        virtual_loop().run(async {
            let is_set = Rc::new(std::cell::Cell::new(false));
            let copy = is_set.clone();
            let foreign = poll_fn(move |_| if copy.get() { Poll::Ready(()) } else { Poll::Pending });
            let cleanup = async move {
                let group = task_group(async |_| pending::<()>().await);
                select(Box::pin(group), foreign).await;
            };
            let scope = finally(pending::<()>(), cleanup);
            let task = if has_group {
                let group = task_group(async |_| pending::<()>().await);
                spawn(async { _ = join(group, scope).await })
            } else {
                spawn(scope)
            };
            yield_now().await;
            task.cancel();
            sleep(ms(1)).await;
            is_set.set(true);
            task.cancel();
            assert_eq!(task.await, Err(TaskError::Cancelled), "with a group beside it: {has_group}");
        });
    }
}

/// A cleanup beside a group is over. Another cleanup, in the group's body, still runs. A second
/// cancellation ends this cleanup and then reaches the group.
#[test]
fn cancel_a_group_again_beside_a_cleanup_that_is_over() {
    virtual_loop().run(async {
        let group = task_group(async |_| finally(pending::<()>(), pending::<()>()).await);
        let task = spawn(join(group, finally(pending::<()>(), async {})));
        yield_now().await;
        task.cancel();
        sleep(ms(1)).await;
        task.cancel();
        assert_eq!(task.await.map(drop), Err(TaskError::Cancelled));
    });
}

/// The time of a timeout is up. Inside it, an await of a cancelled task has moved to another task.
/// The end of the cancelled task then wakes that other task, and the timeout must end all the same.
#[test]
fn move_an_await_out_of_a_timeout_that_is_up() {
    virtual_loop().run(async {
        let child = spawn(finally(pending::<()>(), async { sleep(ms(10)).await }));
        let task = spawn(timeout(ms(5), async move {
            let mut set = Box::pin(async move {
                let mut set = FuturesUnordered::from_iter([child.into_future()]);
                set.next().await
            });
            poll_fn(|context| Poll::Ready(set.as_mut().poll(context).is_pending())).await;
            spawn(async move {
                sleep(ms(7)).await;
                drop(set.await);
            });
            pending::<()>().await;
        }));
        let ended = timeout(ms(1000), task).await.expect("the task must not hang");
        assert_eq!(ended, Ok(Err(Elapsed)));
    });
}

/// To let a group drop its body, the loop polls the task's future once more. A `finally` beside the
/// group was never polled. It must not begin in this poll, because the cancellation would not reach
/// it.
#[test]
fn begin_nothing_in_a_poll_that_drops_a_body() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let (woken, is_over) = (Rc::new(Cell::new(false)), trace.clone());
        let begins = woken.clone();
        let task = spawn(async move {
            let group = Box::pin(task_group(async |group| {
                group.spawn(pending::<()>());
                pending::<()>().await;
            }));
            let mut work = Box::pin(finally(
                poll_fn({
                    let trace = is_over.clone();
                    move |_| {
                        trace.push("begins");
                        Poll::<()>::Pending
                    }
                }),
                async move { is_over.push("cleans up") },
            ));
            let beside = poll_fn(move |context| if begins.get() { work.as_mut().poll(context) } else { Poll::Pending });
            join(group, beside).await
        });
        yield_now().await;
        yield_now().await;
        woken.set(true);
        task.cancel();
        assert!(timeout(ms(10), task).await.unwrap().unwrap_err().is_cancelled());
        sleep(ms(1)).await;
    });
    assert_eq!(trace.take(), Vec::<String>::new());
}

/// A cancellation passes through a group, and is caught beside it. The group still has its body and
/// moves to another task. There the body is dropped, and is not polled again.
#[test]
fn move_a_group_that_was_unwound_and_has_kept_its_body() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let (rest, in_body) = (Rc::new(RefCell::new(None)), trace.clone());
        let put = rest.clone();
        let task = spawn(async move {
            let group = Box::pin(task_group(async move |group| {
                let _late = on_drop(move || {
                    in_body.push("the body is dropped");
                    drop(group.spawn(pending::<()>()));
                });
                on_cancel(pending::<()>(), yield_now()).await;
            }));
            let beside = Box::pin(join(yield_now(), catch_cancel(pending::<()>())));
            match select(beside, group).await {
                Either::Left((_, group)) => *put.borrow_mut() = Some(spawn(group)),
                Either::Right(_) => unreachable!("the body never returns"),
            }
        });
        sleep(ms(1)).await;
        task.cancel();
        task.await.unwrap();
        let moved = rest.take().unwrap();
        assert!(timeout(ms(10), moved).await.unwrap().unwrap_err().is_cancelled());
        assert_eq!(all_tasks().len(), 1);
    });
    assert_eq!(trace.take(), ["the body is dropped"]);
}
