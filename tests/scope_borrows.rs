//! What safe code may do to a scope and its children, so that a mistake in our code could let a
//! child use what is gone. `scope.rs` has the ordinary uses.

#[path = "common/mod.rs"]
mod common;

use common::{Post, Trace, alone_and_leaking, ms, on_drop, virtual_loop};
use futures_util::future::{Either, join, join3, select};
use futures_util::stream::{FuturesUnordered, StreamExt};
use onelane::sync::{Event, Lock};
use onelane::{
    Scope, ScopedTask, Task, TaskError, all_tasks, catch_cancel, current_task, finally, gather, scope, sleep, spawn,
    task_group, time, timeout, wait, yield_now,
};
use std::cell::{Cell, RefCell};
use std::future::{Future, IntoFuture, pending, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Begins all kinds of waits, and drops them.
fn begin_waits() {
    let context = &mut Context::from_waker(Waker::noop());
    let lock = Lock::new(());
    let guard = lock.try_lock();
    assert!(pin!(sleep(ms(5))).poll(context).is_pending());
    assert!(pin!(lock.lock()).poll(context).is_pending());
    assert!(pin!(spawn(async {}).into_future()).poll(context).is_pending());
    let mut work = pin!(scope(async |s| {
        s.spawn(async {});
        pending::<()>().await;
    }));
    assert!(work.as_mut().poll(context).is_pending());
    drop(guard);
}

/// The cancelled task cannot poll the scope, because a future waits beside it. So the task of the
/// child ends before the future of the child is dropped. Then another task has its row, or none.
#[test]
fn wait_in_the_destructor_of_a_child_whose_task_has_ended() {
    for reuses in [false, true] {
        let trace = Trace::new();
        let copy = trace.clone();
        virtual_loop().run(async move {
            let task = spawn(async move {
                let name = "local".to_string();
                let work = scope(async |s| {
                    s.spawn(async {
                        let _guard = on_drop(|| {
                            let task = current_task().map(|task| task.name());
                            begin_waits();
                            copy.push(format!("{name} {task:?}"));
                        });
                        _ = catch_cancel(pending::<()>()).await;
                        unreachable!("the scope cannot poll this");
                    });
                    s.spawn(finally(pending::<()>(), sleep(ms(20))));
                });
                join(work, sleep(ms(1000))).await.0.unwrap();
            });
            sleep(ms(1)).await;
            task.cancel();
            sleep(ms(1)).await;
            let others: Vec<_> = (0..if reuses { 5 } else { 0 }).map(|_| spawn(sleep(ms(100)))).collect();
            yield_now().await;
            assert!(task.await.unwrap_err().is_cancelled());
            #[cfg(feature = "report")]
            for other in &others {
                let graph = onelane::call_graph();
                let waits = graph.tasks.iter().find(|task| task.id == other.id()).unwrap().waits_for.len();
                assert_eq!((waits, other.is_done()), (1, false));
            }
            sleep(ms(200)).await;
            assert_eq!(all_tasks().len(), 1);
        });
        assert_eq!(trace.take(), ["local None"], "{reuses}");
    }
}

/// The cleanup of a child needs a lock that a branch beside the scope holds. So the kernel drops the
/// future of the cancelled task, and with it the scope, while the cancellation waits for the child.
/// A handle still spawns then: such children are dropped at once.
#[test]
fn spawn_into_a_scope_that_was_dropped_during_a_cancellation() {
    let trace = Trace::new();
    let copy = trace.clone();
    virtual_loop().run(async move {
        let handle = Rc::new(RefCell::new(None));
        let kept = handle.clone();
        let task = spawn(async move {
            let lock = Rc::new(Lock::new(()));
            let beside = async {
                let _guard = lock.lock().await;
                sleep(ms(1000)).await;
            };
            let needed = lock.clone();
            let work = scope(async move |s| {
                *kept.borrow_mut() = Some(s.clone());
                s.spawn(finally(pending::<()>(), async move {
                    drop(needed.lock().await);
                    sleep(ms(50)).await;
                }));
                sleep(ms(1000)).await;
            });
            join(beside, work).await.1.unwrap();
        });
        sleep(ms(1)).await;
        task.cancel();
        sleep(ms(1)).await;
        for number in 0..2 {
            let s: Scope<'static> = handle.borrow().clone().unwrap();
            let (again, trace) = (s.clone(), copy.clone());
            let guard = on_drop(move || trace.push(format!("{number} dropped")));
            let child = s.spawn(async move {
                let _owned = (again, guard);
                pending::<()>().await;
            });
            copy.push(format!("{number} spawned"));
            assert_eq!(child.await, Err(TaskError::Cancelled));
            sleep(ms(20)).await;
            assert!(!task.is_done());
        }
        assert!(task.await.unwrap_err().is_cancelled());
        assert_eq!(all_tasks().len(), 1);
    });
    assert_eq!(trace.take(), ["0 dropped", "0 spawned", "1 dropped", "1 spawned"]);
}

/// The scope polls the child in a step of its own task, because the child's step has missed it. What
/// the child wakes then is this task.
#[test]
fn wake_the_task_in_whose_step_a_child_is_polled() {
    virtual_loop().run(async {
        let (event, is_open) = (Event::new(), Cell::new(false));
        let mut work = pin!(scope(async |s| drop(s.spawn(async { event.set() }))));
        let gated = poll_fn(|context| if is_open.get() { work.as_mut().poll(context) } else { Poll::Pending });
        let opens = async {
            sleep(ms(5)).await;
            is_open.set(true);
        };
        // The wait comes first, so only a wake leads to another poll of it.
        let all = timeout(ms(50), join(event.wait(), join(opens, gated))).await;
        assert!(all.is_ok(), "a wake was lost");
    });
}

/// Code beside the scope wakes a task that is queued already. This is no wake of the child in whose
/// step that code is polled.
#[test]
fn step_a_child_only_when_it_is_woken() {
    virtual_loop().run(async {
        let (post, polls) = (Post::new(), Cell::new(0));
        let other = spawn(post.clone().wait());
        yield_now().await;
        let work = scope(async |s| {
            s.spawn(poll_fn(|_| {
                polls.set(polls.get() + 1);
                Poll::<()>::Pending
            }));
        });
        let wakes = poll_fn(|_| {
            for _ in 0..3 {
                post.waker().wake();
            }
            Poll::<()>::Pending
        });
        assert!(timeout(ms(10), join(wakes, work)).await.is_err());
        assert_eq!(polls.get(), 1);
        post.open();
        other.await.unwrap();
    });
}

/// A child begins a scope in a step that is another child's. A child of the new scope misses it, and
/// nothing else wakes the task.
#[test]
fn begin_a_scope_in_the_step_of_a_child_beside_it() {
    virtual_loop().run(async {
        let is_open = Cell::new(false);
        let first = scope(async |s| {
            s.spawn(async {
                yield_now().await;
                is_open.set(true);
                sleep(ms(1000)).await;
            });
        });
        let second = async {
            poll_fn(|_| if is_open.get() { Poll::Ready(()) } else { Poll::Pending }).await;
            scope(async |s| drop(s.spawn(yield_now()))).await.unwrap();
        };
        let (first, second) = (pin!(first), pin!(second));
        let ended = timeout(ms(10), select(first, second)).await;
        assert!(matches!(ended, Ok(Either::Right(_))), "a wake was lost");
    });
}

/// A child was cancelled by a timeout, or with its task, which waits for it. In the step of the child,
/// a branch beside it begins to await another task. That task is cancelled too. If it is the child
/// of a new scope, nothing would step it.
#[test]
fn await_a_task_beside_a_child_that_ends_as_cancelled() {
    for (times_out, has_scope) in [(true, true), (true, false), (false, true), (false, false)] {
        virtual_loop().run(async move {
            let begun = time();
            let work = async move {
                let first = scope(async |s| drop(s.spawn(sleep(ms(1000))).await));
                let second = async {
                    sleep(ms(10)).await;
                    if has_scope {
                        _ = scope(async |s| drop(s.spawn(sleep(ms(1000))).await)).await;
                    } else {
                        _ = spawn(sleep(ms(1000))).await;
                    }
                };
                _ = join(first, second).await;
            };
            let ended = if times_out {
                timeout(ms(10), work).await.is_ok()
            } else {
                let task = spawn(work);
                sleep(ms(10)).await;
                task.cancel();
                task.await.is_ok()
            };
            assert_eq!((ended, time() - begun), (false, ms(10)), "times out: {times_out}, has a scope: {has_scope}");
        });
    }
}

/// The same with a task that awaits the task of the scope. Neither waits for the other for ever.
#[test]
fn await_beside_a_cancelled_child_what_awaits_the_task_of_the_scope() {
    for times_out in [true, false] {
        virtual_loop().run(async move {
            let begun = time();
            let awaited = Rc::new(Cell::new(None));
            let copy = awaited.clone();
            let task = spawn(async move {
                let first = scope(async |s| drop(s.spawn(sleep(ms(1000))).await));
                let second = async {
                    sleep(ms(10)).await;
                    _ = copy.take().unwrap().await;
                };
                let limit = if times_out { ms(10) } else { ms(1000) };
                assert!(timeout(limit, join(first, second)).await.is_err());
            });
            let this = task.task_ref();
            awaited.set(Some(spawn(async move { task.await.unwrap() })));
            sleep(ms(10)).await;
            if !times_out {
                this.cancel();
            }
            _ = wait(&[this]).await;
            assert_eq!(time() - begun, ms(10), "times out: {times_out}");
        });
    }
}

/// The same with the task of the scope itself: it awaits its own end. The timeout does not wait for that.
#[test]
fn await_beside_a_cancelled_child_the_task_of_the_scope() {
    virtual_loop().run(async {
        let begun = time();
        let own = Rc::new(Cell::new(None));
        let copy = own.clone();
        let task = spawn(async move {
            let first = scope(async |s| drop(s.spawn(sleep(ms(1000))).await));
            let second = async {
                sleep(ms(10)).await;
                let own: Task<()> = copy.take().unwrap();
                _ = gather([own]).await;
            };
            assert!(timeout(ms(10), join(first, second)).await.is_err());
        });
        let this = task.task_ref();
        own.set(Some(task));
        _ = timeout(ms(100), wait(&[this])).await;
        assert_eq!(time() - begun, ms(10));
    });
}

/// A child cancels a group around the scope, or its task. In the same poll, a branch beside the scope
/// begins to await another task. That task is cancelled too, if the child is polled in its own step,
/// or in a step of the task.
#[test]
fn interrupt_in_the_poll_of_a_child() {
    for (has_group, has_scope, is_missed) in [true, false]
        .into_iter()
        .flat_map(|g| [true, false].into_iter().flat_map(move |s| [true, false].map(|missed| (g, s, missed))))
    {
        virtual_loop().run(async move {
            let begun = time();
            let [one, two, three] = [(); 3].map(|()| Rc::new(Event::new()));
            let (set_one, set_two, set_three) = (one.clone(), two.clone(), three.clone());
            let task = spawn(async move {
                let this = current_task().unwrap();
                let in_group = task_group(async |group| {
                    let mut first = pin!(scope(async |s| {
                        s.spawn(async {
                            one.wait().await;
                            if has_group { group.cancel() } else { _ = this.cancel() }
                        });
                        pending::<()>().await;
                    }));
                    let second = async {
                        two.wait().await;
                        if has_scope {
                            _ = scope(async |s| drop(s.spawn(sleep(ms(1000))).await)).await;
                        } else {
                            _ = spawn(sleep(ms(1000))).await;
                        }
                    };
                    if is_missed {
                        // The child's own step does not reach the scope.
                        _ = select(&mut first, sleep(ms(1))).await;
                        three.wait().await;
                    }
                    _ = join(first, second).await;
                });
                _ = in_group.await;
            });
            sleep(ms(10)).await;
            set_one.set();
            if is_missed {
                sleep(ms(10)).await;
                set_three.set();
            }
            set_two.set();
            _ = task.await;
            let expected = if is_missed { ms(20) } else { ms(10) };
            assert_eq!(time() - begun, expected, "group: {has_group}, scope: {has_scope}, missed: {is_missed}");
        });
    }
}

/// A child cancels its task, which has begun to await another task in the same poll. The other task
/// gets one request and not two.
#[test]
fn cancel_once_in_the_poll_of_a_child() {
    virtual_loop().run(async {
        let [one, two] = [(); 2].map(|()| Event::new());
        let seen = Rc::new(Cell::new(0));
        let copy = seen.clone();
        let other = spawn(async move {
            _ = catch_cancel(pending::<()>()).await;
            copy.set(current_task().unwrap().cancelling());
        });
        let work = scope(async |outer| {
            let child = outer.spawn(async {
                let this = current_task().unwrap();
                let first = async {
                    one.wait().await;
                    _ = other.await;
                };
                let second = scope(async |inner| {
                    inner.spawn(async {
                        two.wait().await;
                        this.cancel();
                    });
                    pending::<()>().await;
                });
                _ = join(first, second).await;
            });
            sleep(ms(10)).await;
            two.set();
            one.set();
            assert_eq!(child.await, Err(TaskError::Cancelled));
        });
        work.await.unwrap();
        assert_eq!(seen.get(), 1);
    });
}

/// A child of a scope cancels the task in which its own scope is, and this task is a child of another
/// scope. The poll of that task goes on, and begins to await another task.
#[test]
fn cancel_a_child_in_the_poll_of_its_own_child() {
    virtual_loop().run(async {
        let begun = time();
        let [one, two] = [(); 2].map(|()| Event::new());
        scope(async |outer| {
            let child = outer.spawn(async {
                let this = current_task().unwrap();
                let first = scope(async |inner| {
                    inner.spawn(async {
                        one.wait().await;
                        this.cancel();
                    });
                    pending::<()>().await;
                });
                let second = async {
                    two.wait().await;
                    _ = scope(async |s| drop(s.spawn(sleep(ms(1000))).await)).await;
                };
                _ = join(first, second).await;
            });
            sleep(ms(10)).await;
            one.set();
            two.set();
            assert_eq!(child.await, Err(TaskError::Cancelled));
        })
        .await
        .unwrap();
        assert_eq!(time() - begun, ms(10));
    });
}

/// A timeout has expired, and a `catch_cancel` in it has caught the interruption. What the timeout
/// begins to await after that, in the step of a child, is not interrupted.
#[test]
fn go_on_in_the_step_of_a_child_after_a_caught_interruption() {
    virtual_loop().run(async {
        let [one, two] = [(); 2].map(|()| Rc::new(Event::new()));
        let (set_one, set_two) = (one.clone(), two.clone());
        let task = spawn(timeout(ms(10), async move {
            catch_once().await;
            let first = pin!(scope(async |s| {
                s.spawn(async {
                    one.wait().await;
                    pending::<()>().await;
                });
                pending::<()>().await;
            }));
            let second = pin!(async {
                two.wait().await;
                spawn(sleep(ms(5))).await
            });
            match select(first, second).await {
                Either::Right((slept, _)) => slept,
                Either::Left(_) => unreachable!("the body of the scope does not end"),
            }
        }));
        sleep(ms(20)).await;
        set_one.set();
        set_two.set();
        assert_eq!(task.await, Ok(Ok(Ok(()))));
    });
}

// ---- children that catch a cancellation, and that nothing polls ----

/// The task of the scope waits elsewhere for the child, so it does not poll the scope. When it is
/// cancelled, the child ends although it catches the cancellation.
#[test]
fn await_a_child_that_catches_a_cancellation_without_polling_its_scope() {
    for waits_first_for_another in [false, true] {
        let trace = Trace::new();
        let copy = trace.clone();
        virtual_loop().run(async move {
            let task = spawn(async move {
                let children = RefCell::new(Vec::new());
                let mut work = pin!(scope(async |s| {
                    children.borrow_mut().push(s.spawn(finally(pending::<()>(), sleep(ms(5)))));
                    children.borrow_mut().push(s.spawn(async {
                        let _guard = on_drop(|| copy.push("dropped"));
                        _ = catch_cancel(pending::<()>()).await;
                        copy.push("goes on");
                    }));
                    pending::<()>().await;
                }));
                _ = select(&mut work, sleep(ms(1))).await;
                let mut children = children.take();
                let (last, first) = (children.pop().unwrap(), children.pop().unwrap());
                if waits_first_for_another {
                    _ = join(first.into_future(), last.into_future()).await;
                } else {
                    drop(first);
                    _ = last.await;
                }
            });
            sleep(ms(2)).await;
            task.cancel();
            let end = timeout(ms(50), task).await.expect("the task waits for a child that nothing polls");
            assert!(end.unwrap_err().is_cancelled());
            assert_eq!(all_tasks().len(), 1);
        });
        assert_eq!(trace.take(), ["dropped"], "{waits_first_for_another}");
    }
}

/// Runs `work` for 10 ms: a timeout around it expires, or it is a task, which is cancelled. Returns the
/// time that it took.
async fn interrupted<F: Future<Output = ()> + 'static>(times_out: bool, work: F) -> Duration {
    let begun = time();
    if times_out {
        assert!(timeout(ms(10), work).await.is_err());
    } else {
        let task = spawn(work);
        sleep(ms(10)).await;
        task.cancel();
        assert!(task.await.unwrap_err().is_cancelled());
    }
    time() - begun
}

/// Begins a scope with this child, and then does not poll it while `other` runs.
async fn leave_for<C, F>(child: C, other: impl FnOnce(ScopedTask<()>) -> F)
where
    C: Future<Output = ()>,
    F: Future,
{
    let spawned = RefCell::new(None);
    let mut work = pin!(scope(async |s| {
        *spawned.borrow_mut() = Some(s.spawn(child));
        pending::<()>().await;
    }));
    _ = select(&mut work, sleep(ms(1))).await;
    let child = spawned.take().unwrap();
    _ = other(child).await;
    work.await.unwrap();
}

async fn catch_once() {
    _ = catch_cancel(pending::<()>()).await;
}

/// The body of the scope awaits the child, and the scope is not polled. The timeout around both has
/// cancelled the child, and waits for its end before it polls the scope.
#[test]
fn expire_around_a_scope_that_is_not_polled_and_whose_body_awaits_a_child() {
    for times_out in [true, false] {
        let took = virtual_loop().run(interrupted(times_out, async {
            let mut work = pin!(scope(async |s| drop(s.spawn(catch_once()).await)));
            _ = select(&mut work, sleep(ms(1))).await;
            sleep(ms(1000)).await;
            work.await.unwrap();
        }));
        assert_eq!(took, ms(10), "times out: {times_out}");
    }
}

/// The interruption waits for a task that ends first, and for a task that awaits the child, itself or
/// in a group.
#[test]
fn wait_for_a_child_that_nothing_polls_by_way_of_other_tasks() {
    for (times_out, has_group) in [(true, false), (false, false), (true, true), (false, true)] {
        let took = virtual_loop().run(interrupted(
            times_out,
            leave_for(catch_once(), move |child| {
                let first = spawn(finally(pending::<()>(), async { sleep(ms(5)).await }));
                let awaits = async { drop(child.await) };
                let second = if has_group {
                    spawn(async {
                        task_group(async |group| {
                            group.spawn(awaits);
                            pending::<()>().await;
                        })
                        .await
                        .unwrap();
                    })
                } else {
                    spawn(awaits)
                };
                join(first.into_future(), second.into_future())
            }),
        ));
        assert_eq!(took, ms(15), "times out: {times_out}, has a group: {has_group}");
    }
}

/// A cleanup awaits a child of a scope that is not polled before the cleanup has ended. The step of
/// the child comes before the cleanup begins, or while it runs.
#[test]
fn await_a_child_in_a_cleanup_beside_its_scope() {
    for (times_out, elsewhere, sleeps) in
        [true, false].into_iter().flat_map(|t| [(t, true, 5), (t, true, 20), (t, false, 20)])
    {
        let took = virtual_loop().run(interrupted(times_out, async move {
            let child = Rc::new(Cell::new(None));
            let copy = child.clone();
            let cleanup = async move { drop(wait(&[copy.take().unwrap()]).await) };
            let mut work = pin!(scope(async |s| {
                child.set(Some(s.spawn(sleep(ms(sleeps))).task_ref()));
                pending::<()>().await;
            }));
            if elsewhere {
                _ = select(&mut work, sleep(ms(1))).await;
                finally(pending::<()>(), cleanup).await;
            } else {
                _ = join3(work, sleep(ms(500)), finally(pending::<()>(), cleanup)).await;
            }
        }));
        assert_eq!(took, ms(sleeps.max(10)), "times out: {times_out}, elsewhere: {elsewhere}, {sleeps} ms");
    }
}

/// The child of a forgotten scope catches each cancellation. It ends with the loop nevertheless.
#[test]
fn end_a_loop_with_a_child_of_a_forgotten_scope_that_catches_its_cancellation() {
    alone_and_leaking("end_a_loop_with_a_child_of_a_forgotten_scope_that_catches_its_cancellation", || {
        let task = virtual_loop().run(async {
            let task = Rc::new(RefCell::new(None));
            let copy = task.clone();
            let forgets = spawn(async move {
                let mut work = Box::pin(scope(async move |s| {
                    let child = s.spawn(async {
                        loop {
                            _ = catch_cancel(pending::<()>()).await;
                        }
                    });
                    *copy.borrow_mut() = Some(child.task_ref());
                    pending::<()>().await;
                }));
                _ = select(&mut work, sleep(ms(1))).await;
                std::mem::forget(work);
            });
            forgets.await.unwrap();
            task.take().unwrap()
        });
        assert!(task.is_done() && task.is_cancelled());
    });
}

// ---- combinators that poll only what was woken ----

/// The body is woken, and the step of a child comes first: it uses up this wake.
#[test]
fn keep_the_wake_of_a_body_that_waits_beside_its_children() {
    virtual_loop().run(async {
        let trace = Trace::new();
        let yields = async |who: &str| {
            for round in 0..3 {
                trace.push(format!("{who} {round}"));
                yield_now().await;
            }
        };
        let mut set = FuturesUnordered::new();
        set.push(scope(async |s| {
            s.spawn(yields("child"));
            yield_now().await;
            yields("body").await;
        }));
        assert!(timeout(ms(10), set.next()).await.is_ok(), "a wake was lost: {:?}", trace.take());
        let mut seen = trace.take();
        seen.sort();
        assert_eq!(seen, ["body 0", "body 1", "body 2", "child 0", "child 1", "child 2"]);
    });
}

/// The same with a timeout beside the scope, and one around it.
#[test]
fn keep_the_wakes_of_timeouts_beside_a_scope() {
    virtual_loop().run(async {
        let begun = time();
        let mut set = FuturesUnordered::<Pin<Box<dyn Future<Output = bool>>>>::new();
        let ticks = || {
            scope(async |s| {
                s.spawn(async {
                    loop {
                        sleep(ms(5)).await;
                    }
                });
                pending::<()>().await;
            })
        };
        set.push(Box::pin(async move { timeout(ms(20), ticks()).await.is_err() }));
        set.push(Box::pin(async { timeout(ms(10), pending::<()>()).await.is_err() }));
        for expected in [10, 20] {
            let ended = timeout(ms(1000), set.next()).await;
            assert_eq!((ended, time() - begun), (Ok(Some(true)), ms(expected)));
        }
    });
}
