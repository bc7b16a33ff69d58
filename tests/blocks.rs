//! Interrupted blocks. A *block* is a timeout or the body of a group; a *scope* is a block, a
//! `finally` or a `catch_cancel`. An interrupted block *unwinds* until its cleanups are over.
//! Before its end, other code polls it, moves it to another task, cancels it, interrupts it again,
//! or drops it. A *set* polls only the futures in it that were woken.

mod common;

use common::{Census, Post, Trace, foreign, ms, on_drop, virtual_loop};
use futures_util::future::{Either, FutureExt, LocalBoxFuture, join, select};
use futures_util::stream::{FuturesUnordered, StreamExt};
use onelane::sync::Lock;
use onelane::{
    ChildError, Deadline, Elapsed, Task, TaskError, catch_cancel, finally, gather, raise_cancelled, sleep, spawn,
    task_group, time, timeout, try_task_group, wait_for, yield_now,
};
use std::cell::{Cell, RefCell};
use std::future::{IntoFuture, pending, poll_fn};
use std::panic::panic_any;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Polls a future once. Other code may poll it later.
async fn poll_once<F: Future + Unpin + ?Sized>(future: &mut F) -> Poll<F::Output> {
    poll_fn(|context| Poll::Ready(future.poll_unpin(context))).await
}

fn message_of(error: TaskError) -> String {
    match error {
        TaskError::Panicked(panic) => panic.message().to_string(),
        TaskError::Cancelled => "cancelled".to_string(),
    }
}

/// Polls a future until it is ready, and keeps it.
fn polled_until_ready<F: Future + 'static>(future: F) -> Box<dyn FnMut(&mut Context<'_>)> {
    let (mut future, mut is_ready) = (Box::pin(future), false);
    Box::new(move |context| is_ready = is_ready || future.as_mut().poll(context).is_ready())
}

/// Counts its polls, and is never ready.
fn count_polls(polls: &Rc<Cell<u32>>) -> impl Future<Output = ()> + use<> {
    let polls = polls.clone();
    poll_fn(move |_| {
        polls.set(polls.get() + 1);
        Poll::Pending
    })
}

/// A callback is not a task, so the loop has no record of the waits inside the timeout.
#[test]
fn poll_a_timeout_in_callbacks_and_let_its_time_be_up() {
    let census = Census::new();
    virtual_loop().run(async {
        let member = census.member();
        let limited = timeout(ms(5), async move {
            let _member = member;
            pending::<()>().await;
        });
        let (limited, ended) = (Rc::new(RefCell::new(Box::pin(limited))), Rc::new(RefCell::new(Vec::new())));
        for at in [0, 4, 6] {
            sleep(ms(at)).await;
            let (limited, ended) = (limited.clone(), ended.clone());
            onelane::call_soon(move || ended.borrow_mut().push(limited.borrow_mut().as_mut().now_or_never()));
            yield_now().await;
        }
        assert_eq!(ended.take(), [None, None, Some(Err(Elapsed))]);
        assert_eq!(census.counts(), (1, 1), "the future is dropped though the timeout still exists");
    });
}

/// One poll drops the body of the inner group. During this poll, the outer group has no neighbour,
/// that is, no other future in its task.
#[test]
fn drop_the_bodies_of_groups_one_in_the_other_before_their_children_have_ended() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let says = |what: &'static str| {
            let trace = trace.clone();
            move || trace.push(what)
        };
        let (inner_body, inner_child) = (says("inner body"), says("inner child"));
        let (outer_body, outer_child) = (says("outer body"), says("outer child"));
        let task = spawn(task_group(async move |group| {
            let _body = on_drop(outer_body);
            group.spawn(finally(pending::<()>(), async move {
                sleep(ms(5)).await;
                outer_child();
            }));
            let inner = task_group(async move |group| {
                let _body = on_drop(inner_body);
                group.spawn(finally(pending::<()>(), async move {
                    sleep(ms(1)).await;
                    inner_child();
                }));
                pending::<()>().await;
            });
            _ = inner.await;
        }));
        sleep(ms(1)).await;
        task.cancel();
        assert_eq!(task.await.map(drop), Err(TaskError::Cancelled));
    });
    assert_eq!(trace.take(), ["inner body", "inner child", "outer body", "outer child"]);
}

/// A timeout has interrupted a group and still unwinds. Then another future of the task polls the
/// group. The group must not end because of this poll.
#[test]
fn poll_a_group_beside_the_timeout_that_unwinds_it() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let (copy, inside) = (trace.clone(), trace.clone());
        let task = spawn(async move {
            let group = task_group(async |group| {
                group.spawn(finally(pending::<()>(), async { sleep(ms(5)).await }));
                pending::<()>().await;
            });
            let shared = async move { drop(group.await) }.boxed_local().shared();
            let limited = timeout(
                ms(5),
                finally(shared.clone(), async move {
                    sleep(ms(5)).await;
                    inside.push("cleaned up");
                }),
            );
            let mut shared = Box::pin(shared);
            let begun = time();
            let beside = async {
                for moment in ["its child cleans up", "what is around it cleans up"] {
                    sleep(ms(6)).await;
                    assert!(poll_once(&mut shared).await.is_pending());
                    sleep(ms(1)).await;
                    copy.push(format!("{moment}, after {:?}", time() - begun));
                }
            };
            let (ended, ()) = join(limited, beside).await;
            copy.push(format!("{ended:?}"));
        });
        assert_eq!(task.await, Ok(()));
    });
    assert_eq!(
        trace.take(),
        ["its child cleans up, after 7ms", "what is around it cleans up, after 14ms", "cleaned up", "Err(Elapsed)"]
    );
}

/// A task is cancelled, and its group has errors instead. Another task takes the group and receives
/// the errors. The cancellation then ends the first task at its next suspension, not the second
/// task.
#[test]
fn hand_a_group_that_has_failed_to_another_task() {
    virtual_loop().run(async {
        let group = try_task_group(async |group| {
            group.try_spawn(async {
                _ = catch_cancel(pending::<()>()).await;
                Err::<(), _>("resists")
            });
            pending::<Result<(), _>>().await
        });
        let place = Rc::new(RefCell::new(None));
        let copy = place.clone();
        let task = spawn(async move {
            let mut group = Box::pin(group);
            let mut polls = 0;
            poll_fn(|context| {
                polls += 1;
                if polls < 3 { group.poll_unpin(context).map(drop) } else { Poll::Ready(()) }
            })
            .await;
            *copy.borrow_mut() = Some(spawn(async {
                let errors = group.await.unwrap_err().errors;
                yield_now().await;
                errors
            }));
            pending::<()>().await;
        });
        yield_now().await;
        yield_now().await;
        task.cancel();
        assert!(task.await.unwrap_err().is_cancelled());
        let other = place.take().unwrap();
        assert_eq!(other.await, Ok(vec![ChildError::Failed("resists")]));
    });
}

/// A cancellation passes through a timeout and is caught. The task goes on in the same step, so no
/// extra wake may cause another step.
#[test]
fn catch_around_a_timeout_and_be_polled_once() {
    virtual_loop().run(async {
        let polls = Rc::new(Cell::new(0));
        let copy = polls.clone();
        let task = spawn(async move {
            _ = catch_cancel(timeout(ms(100), pending::<()>())).await;
            count_polls(&copy).await;
        });
        sleep(ms(1)).await;
        task.cancel();
        sleep(ms(1)).await;
        assert_eq!(polls.get(), 1);
    });
}

/// The reverse: a catch in a timeout. The task goes on in the same step, and nothing wakes it for
/// another step. Such a step would run before other tasks in the next turn.
#[test]
fn catch_in_a_timeout_and_be_polled_once() {
    virtual_loop().run(async {
        let polls = Rc::new(Cell::new(0));
        let counts = count_polls(&polls);
        let task = spawn(timeout(ms(100), async move {
            assert!(catch_cancel(pending::<()>()).await.is_err());
            counts.await;
        }));
        yield_now().await;
        task.cancel();
        for _ in 0..5 {
            yield_now().await;
        }
        assert_eq!(polls.get(), 1);
    });
}

/// A payload whose destructor panics.
struct Grenade;

impl Drop for Grenade {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("the payload of a waker");
        }
    }
}

/// Passes each wake on, and then panics.
struct Fragile(Waker);

impl Wake for Fragile {
    fn wake(self: Arc<Self>) {
        self.0.wake_by_ref();
        panic_any(Grenade);
    }
}

/// Polls a future with a waker that panics. The destructor of the panic's payload panics as well.
fn under_a_grenade<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let mut future = Box::pin(future);
    poll_fn(move |context| {
        let waker = Waker::from(Arc::new(Fragile(context.waker().clone())));
        future.as_mut().poll(&mut Context::from_waker(&waker))
    })
}

/// Neither a panic of a waker, nor a panic of its payload, changes the result of a task.
#[test]
fn cancel_scopes_under_a_waker_whose_payload_panics() {
    virtual_loop().run(async {
        let scopes: [LocalBoxFuture<'static, ()>; 2] = [
            timeout(ms(100), pending::<()>()).map(drop).boxed_local(),
            finally(pending::<()>(), async {}).boxed_local(),
        ];
        for scope in scopes {
            let task = spawn(under_a_grenade(scope));
            yield_now().await;
            task.cancel();
            assert_eq!(task.await, Err(TaskError::Cancelled));
        }
    });
}

/// A timeout waits for the task that it has cancelled, and is dropped. The end of this task must
/// not wake the task that goes on.
#[test]
fn drop_a_timeout_that_waits_for_a_cancelled_task() {
    virtual_loop().run(async {
        let polls = Rc::new(Cell::new(0));
        let slow = spawn(finally(pending::<()>(), sleep(ms(20))));
        let copy = polls.clone();
        let task = spawn(async move {
            let limited = timeout(ms(5), slow.into_future());
            // This future wakes the task, so the timeout is polled and finds that `slow` is still
            // alive.
            let beside = async {
                sleep(ms(6)).await;
                sleep(ms(1)).await;
            };
            select(Box::pin(limited), Box::pin(beside)).await;
            count_polls(&copy).await;
        });
        sleep(ms(50)).await;
        assert_eq!(polls.get(), 1);
        task.cancel();
    });
}

/// As above, but `cancel` and `uncancel` of the task replace the timeout.
#[test]
fn uncancel_a_task_that_waits_for_a_cancelled_task() {
    virtual_loop().run(async {
        let polls = Rc::new(Cell::new(0));
        let slow = spawn(finally(pending::<()>(), sleep(ms(20))));
        let copy = polls.clone();
        let task = spawn(async move {
            let beside = async {
                sleep(ms(6)).await;
                sleep(ms(2)).await;
            };
            select(slow.into_future(), Box::pin(beside)).await;
            count_polls(&copy).await;
        });
        sleep(ms(5)).await;
        task.cancel();
        sleep(ms(2)).await;
        assert_eq!(task.uncancel(), 0);
        sleep(ms(50)).await;
        assert_eq!(polls.get(), 1);
        task.cancel();
    });
}

/// The awaited task ended in the same turn, just before the deadline. Its value came too late.
#[test]
fn end_in_the_turn_in_which_the_time_is_up() {
    virtual_loop().run(async {
        let task = spawn(async {
            sleep(ms(5)).await;
            7
        });
        yield_now().await;
        assert_eq!(wait_for(task, ms(5)).await, Err(Elapsed));
    });
}

/// Two tasks poll a timeout in turn. When its time is up, each poll finds that the other task owns
/// the timeout. The timeout must still end.
#[test]
fn let_the_time_be_up_of_a_timeout_that_two_tasks_poll_in_turn() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let limited = Rc::new(RefCell::new(Some(Box::pin(timeout(ms(5), pending::<()>())))));
        let poller = |name: &'static str, first: u64| {
            let (limited, trace) = (limited.clone(), trace.clone());
            spawn(async move {
                sleep(ms(first)).await;
                for nth in 0..10 {
                    let Some(mut one) = limited.take() else { return };
                    match poll_once(&mut one).await {
                        Poll::Pending => _ = limited.replace(Some(one)),
                        Poll::Ready(ended) => trace.push(format!("{name}, {nth}: {ended:?}")),
                    }
                    sleep(ms(6)).await;
                }
            })
        };
        let pollers = [poller("one", 0), poller("other", 3)];
        for task in pollers {
            assert_eq!(task.await, Ok(()));
        }
    });
    assert_eq!(trace.take(), ["other, 1: Err(Elapsed)"]);
}

/// A task awaits itself in a timeout, and the time is up. The timeout does not wait for its own
/// task. The same holds after a `raise_cancelled` beside it that was caught.
#[test]
fn raise_beside_a_timeout_in_which_a_task_awaits_itself() {
    virtual_loop().run(async {
        let place = Rc::new(RefCell::new(None::<Rc<Task<()>>>));
        let copy = place.clone();
        let done = Rc::new(Cell::new(false));
        let is_done = done.clone();
        let task = spawn(async move {
            yield_now().await;
            let itself = copy.take().unwrap();
            let mut limited = Box::pin(timeout(ms(5), gather([&*itself])));
            let raising = catch_cancel(async {
                sleep(ms(5)).await;
                raise_cancelled::<()>().await
            });
            assert!(poll_once(&mut limited).await.is_pending());
            assert!(raising.await.is_err());
            assert!(limited.await.is_err());
            is_done.set(true);
        });
        *place.borrow_mut() = Some(Rc::new(task));
        sleep(ms(100)).await;
        assert!(done.get());
    });
}

/// A cancellation overtakes a timeout and is caught beside it. The timeout still waits for the end
/// of the task that it has cancelled.
#[test]
fn raise_beside_a_timeout_that_waits_for_a_task() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let (inside, copy) = (trace.clone(), trace.clone());
        let slow = spawn(finally(pending::<()>(), async move {
            sleep(ms(10)).await;
            inside.push("cleaned up");
        }));
        let task = spawn(async move {
            let mut limited = Box::pin(timeout(ms(5), slow.into_future()));
            let raising = catch_cancel(async {
                sleep(ms(6)).await;
                raise_cancelled::<()>().await
            });
            assert!(poll_once(&mut limited).await.is_pending());
            assert!(raising.await.is_err());
            copy.push(format!("{:?}", limited.await));
        });
        assert_eq!(task.await, Ok(()));
    });
    assert_eq!(trace.take(), ["cleaned up", "Err(Elapsed)"]);
}

/// As `catch_beside_a_timeout_that_is_up`, in a set, which polls only the futures that were woken.
#[test]
fn catch_in_a_set_with_a_timeout_that_is_up() {
    virtual_loop().run(async {
        let slow = spawn(finally(pending::<()>(), sleep(ms(20))));
        let task = spawn(async move {
            let limited = timeout(ms(5), async {
                _ = slow.await;
                pending::<()>().await
            });
            let both: [LocalBoxFuture<()>; 2] =
                [limited.map(drop).boxed_local(), catch_cancel(pending::<()>()).map(drop).boxed_local()];
            FuturesUnordered::from_iter(both).collect::<Vec<_>>().await;
        });
        sleep(ms(6)).await;
        task.cancel();
        let ended = timeout(ms(1000), task).await.expect("the task must not hang");
        assert_eq!(ended, Err(TaskError::Cancelled));
    });
}

/// A poll drops the body of a group, and also polls the timeout beside the group. The cancellation
/// is caught around the group, and then the timeout must be polled again.
#[test]
fn catch_around_a_group_in_a_set_with_a_timeout_that_is_up() {
    virtual_loop().run(async {
        let task = spawn(async {
            let limited = timeout(ms(5), pending::<()>());
            let group = task_group(async |_| pending::<()>().await);
            let both: [LocalBoxFuture<()>; 2] =
                [limited.map(drop).boxed_local(), catch_cancel(group).map(drop).boxed_local()];
            FuturesUnordered::from_iter(both).collect::<Vec<_>>().await;
        });
        // The sleep ends before the timeout's time, in the same turn.
        sleep(ms(5)).await;
        task.cancel();
        let ended = timeout(ms(1000), task).await.expect("the task must not hang");
        assert_eq!(ended, Err(TaskError::Cancelled));
    });
}

/// A future that wakes itself all the time waits for nothing that the loop knows. Nevertheless it
/// is not polled when the group beside it drops its body.
#[test]
fn cancel_a_group_beside_what_wakes_itself() {
    virtual_loop().run(async {
        let polls = Rc::new(Cell::new(0));
        let copy = polls.clone();
        let beside = poll_fn(move |context| -> Poll<()> {
            copy.set(copy.get() + 1);
            context.waker().wake_by_ref();
            Poll::Pending
        });
        let group = task_group(async |group| {
            group.spawn(pending::<()>());
            pending::<()>().await;
        });
        let task = spawn(join(group, beside));
        for _ in 0..3 {
            yield_now().await;
        }
        let before = polls.get();
        assert!(before > 1);
        task.cancel();
        assert_eq!(task.await.map(drop), Err(TaskError::Cancelled));
        assert_eq!(polls.get(), before);
    });
}

/// A scope that is over does not count as a neighbour of the group, though its future still exists.
/// So the group drops its body before its child ends.
#[test]
fn cancel_a_group_beside_scopes_that_are_over() {
    for kind in ["a timeout", "a finally", "a catch"] {
        let trace = Trace::new();
        virtual_loop().run(async {
            let (body, child) = (trace.clone(), trace.clone());
            let group = task_group(async move |group| {
                let _body = on_drop(move || body.push("body dropped"));
                group.spawn(finally(pending::<()>(), async move { child.push("child cleaned up") }));
                pending::<()>().await;
            });
            let mut keep: Box<dyn FnMut(&mut Context<'_>)> = match kind {
                "a timeout" => polled_until_ready(timeout(ms(100), async {})),
                "a finally" => polled_until_ready(finally(async {}, async {})),
                _ => polled_until_ready(catch_cancel(async {})),
            };
            let beside = poll_fn(move |context| -> Poll<()> {
                keep(context);
                Poll::Pending
            });
            let task = spawn(join(group, beside));
            sleep(ms(1)).await;
            task.cancel();
            assert_eq!(task.await.map(drop), Err(TaskError::Cancelled));
        });
        assert_eq!(trace.take(), ["body dropped", "child cleaned up"], "{kind}");
    }
}

/// A handle to a deadline outlives its timeout. It must not keep the waker that polled the timeout.
#[test]
fn drop_the_waker_of_a_timeout_that_is_over() {
    virtual_loop().run(async {
        for is_ready in [true, false] {
            let is_dropped = Arc::new(AtomicBool::new(false));
            let copy = is_dropped.clone();
            let waker = foreign(|| (), move || copy.store(true, Ordering::SeqCst));
            let (deadline, post) = (Deadline::after(ms(5)), Post::new());
            let mut limited = Box::pin(deadline.limit(post.wait()));
            assert!(limited.poll_unpin(&mut Context::from_waker(&waker)).is_pending());
            post.unlock();
            if is_ready {
                assert!(poll_once(&mut limited).await.is_ready());
            } else {
                drop(limited);
            }
            // The post still has the waker of the last poll.
            drop((waker, post));
            assert!(is_dropped.load(Ordering::SeqCst), "ready: {is_ready}");
            assert!(!deadline.has_expired());
        }
    });
}

/// A timeout is dropped while one of its cleanups runs. The remaining cleanups still run, from the
/// innermost outwards.
#[test]
fn drop_a_timeout_that_unwinds_and_clean_up_from_within() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let is_set = Rc::new(Cell::new(false));
        let (copy, inner, outer) = (is_set.clone(), trace.clone(), trace.clone());
        let inner = finally(pending::<()>(), async move {
            poll_fn(|_| if copy.get() { Poll::Ready(()) } else { Poll::Pending }).await;
            inner.push("inner");
        });
        let limited = timeout(ms(5), finally(inner, async move { outer.push("outer") }));
        select(Box::pin(limited), Box::pin(sleep(ms(7)))).await;
        is_set.set(true);
        sleep(ms(1)).await;
    });
    assert_eq!(trace.take(), ["inner", "outer"]);
}

/// A `raise_cancelled` in a timeout unwinds what is in the timeout. The neighbour of the timeout
/// goes on at the same time.
#[test]
fn raise_in_a_timeout_and_go_on_beside_it() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let (inside, beside) = (trace.clone(), trace.clone());
        let task = spawn(join(
            timeout(
                ms(100),
                finally(raise_cancelled::<()>(), async move {
                    sleep(ms(10)).await;
                    inside.push("cleaned up");
                }),
            ),
            async move {
                sleep(ms(5)).await;
                beside.push("beside");
                pending::<()>().await;
            },
        ));
        assert_eq!(task.await.map(drop), Err(TaskError::Cancelled));
    });
    assert_eq!(trace.take(), ["beside", "cleaned up"]);
}

/// A future in a block waits for a lock, and the lock is handed to it. Before the next poll, the
/// block is interrupted and has to wait for a task. The lock then passes to another task.
#[test]
fn pass_a_lock_on_while_a_block_waits_for_the_task_it_has_cancelled() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let lock = Rc::new(Lock::new(()));
        let (held, inner, other) = (lock.clone(), lock.clone(), lock.clone());
        spawn(async move {
            let _guard = held.lock().await;
            sleep(ms(5)).await;
            yield_now().await;
        });
        yield_now().await;
        let slow = spawn(finally(pending::<()>(), sleep(ms(20))));
        let task = spawn(try_task_group(async move |group| {
            group.try_spawn(async {
                sleep(ms(5)).await;
                Err::<(), _>("fails")
            });
            _ = join(inner.lock(), slow.into_future()).await;
            pending::<Result<(), &str>>().await
        }));
        yield_now().await;
        yield_now().await;
        let copy = trace.clone();
        spawn(async move {
            drop(other.lock().await);
            copy.push("lock");
        });
        sleep(ms(10)).await;
        trace.push("slept");
        assert_eq!(task.await.unwrap().unwrap_err().errors, [ChildError::Failed("fails")]);
    });
    assert_eq!(trace.take(), ["lock", "slept"]);
}

/// A cleanup in a timeout has panicked. The next cleanup waits for a task when an inner timeout
/// interrupts it. The panic must not be lost.
#[test]
fn keep_the_panic_of_a_cleanup_when_the_next_is_interrupted() {
    virtual_loop().run(async {
        let slow = spawn(finally(pending::<()>(), sleep(ms(10))));
        let panics = finally(pending::<()>(), async { panic!("a cleanup") });
        let inner = timeout(ms(8), finally(panics, async move { drop(slow.await) }));
        let task = spawn(join(timeout(ms(5), inner), async { sleep(ms(9)).await }));
        assert_eq!(message_of(task.await.unwrap_err()), "a cleanup");
    });
}

/// A task awaits itself in a timeout, and the timeout does not wait for this task. Then a cleanup
/// in it awaits another task, and the timeout interrupts the cleanup. It waits for this other task.
#[test]
fn wait_for_a_task_at_the_second_interruption() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let place = Rc::new(RefCell::new(None::<Rc<Task<()>>>));
        let copy = place.clone();
        let (first, second, third) = (trace.clone(), trace.clone(), trace.clone());
        let slow = spawn(finally(pending::<()>(), async move {
            sleep(ms(10)).await;
            first.push("slow has cleaned up");
        }));
        let task = spawn(async move {
            yield_now().await;
            let itself = copy.take().unwrap();
            let cleanup = async move {
                let _frame = on_drop(move || second.push("cleanup dropped"));
                drop(slow.await);
            };
            let inner = timeout(ms(8), finally(async move { drop(gather([&*itself]).await) }, cleanup));
            let beside = async { sleep(ms(9)).await };
            third.push(format!("{:?}", join(timeout(ms(5), inner), beside).await.0));
        });
        *place.borrow_mut() = Some(Rc::new(task));
        sleep(ms(100)).await;
    });
    assert_eq!(trace.take(), ["slow has cleaned up", "cleanup dropped", "Err(Elapsed)"]);
}

/// A poll drops the body of a group in a timeout. The group's neighbour ends in that poll, or
/// panics, and may panic again when it is dropped.
#[test]
fn panic_beside_a_group_in_a_timeout() {
    virtual_loop().run(async {
        let bomb = |message: &'static str| on_drop(move || panic!("{message}"));
        for (kind, expected) in
            [("an output", "an output"), ("a poll", "a poll"), ("a poll and a destructor", "a destructor")]
        {
            let mut polls = 0;
            let mut kept = (kind == "a poll and a destructor").then(|| bomb("a destructor"));
            let beside = poll_fn(move |_| {
                _ = &mut kept;
                polls += 1;
                match kind {
                    _ if polls < 2 => Poll::Pending,
                    "an output" => Poll::Ready(bomb("an output")),
                    _ => panic!("a poll"),
                }
            });
            let inner = task_group(async |_| pending::<()>().await);
            let outer = Box::pin(task_group(async |_| drop(inner.await)));
            let limited = timeout(
                ms(5),
                select(outer, Box::pin(beside)).map(|either| match either {
                    Either::Left(_) => None,
                    Either::Right((bomb, _)) => Some(bomb),
                }),
            );
            let task = spawn(limited.map(|ended| _ = std::mem::ManuallyDrop::new(ended)));
            assert_eq!(message_of(task.await.unwrap_err()), expected, "{kind}");
        }
    });
}

/// As `catch_around_a_cleanup_that_has_lost_its_future`, but the end of a timeout is caught.
#[test]
fn catch_the_end_of_a_timeout_around_a_cleanup_that_has_lost_its_future() {
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
        let task = spawn(timeout(ms(1), async move {
            _ = poll_once(&mut outer).await;
            let outer = spawn(async move {
                _ = poll_once(&mut outer).await;
                Some(outer)
            });
            let outer = outer.await.unwrap();
            _ = catch_cancel(outer.unwrap()).await;
            sleep(ms(10)).await;
        }));
        assert_eq!(task.await, Ok(Ok(())));
    });
    assert_eq!(trace.take(), ["outer cleaned up", "inner cleaned up"]);
}

/// A group has failed, but no code polls it any more or receives its errors. A cancellation of its
/// task must still end the task.
#[test]
fn cancel_a_task_that_has_put_a_failed_group_aside() {
    virtual_loop().run(async {
        let group = try_task_group(async |group| {
            group.try_spawn(async { Err::<(), _>("lost") });
            Ok::<_, &str>(())
        });
        let task = spawn(async move {
            let mut group = Box::pin(group);
            assert!((&mut group).now_or_never().is_none());
            pending::<()>().await;
            drop(group);
        });
        yield_now().await;
        yield_now().await;
        task.cancel();
        assert!(timeout(ms(1), task).await.unwrap().unwrap_err().is_cancelled());
    });
}

/// A block moves to another task. Other code has dropped the future of a cleanup in this block. The
/// cleanup must move with the block, although only the first task knew of it.
#[test]
fn move_a_group_and_leave_a_cleanup_behind() {
    let trace = Trace::new();
    let copy = trace.clone();
    virtual_loop().run(async {
        let aside = Rc::new(RefCell::new(None));
        let keep = aside.clone();
        let mut group = Box::pin(task_group(async move |_| {
            let mut work = Box::pin(finally(pending::<()>(), async move {
                copy.push("begins");
                sleep(ms(1)).await;
                copy.push("cleans up");
            }));
            assert!(poll_once(&mut work).await.is_pending());
            *keep.borrow_mut() = Some(work);
            raise_cancelled::<()>().await;
        }));
        let put = Rc::new(RefCell::new(None));
        let keep = put.clone();
        let first = spawn(async move {
            assert!(poll_once(&mut group).await.is_pending());
            *keep.borrow_mut() = Some(group);
            pending::<()>().await;
        });
        yield_now().await;
        // The group still drives the cleanup after the future is dropped.
        drop(aside.take());
        let group = put.take().unwrap();
        assert!(spawn(group).await.unwrap_err().is_cancelled());
        sleep(ms(2)).await;
        assert!(!first.is_done());
    });
    assert_eq!(trace.take(), ["begins", "cleans up"]);
}

/// A task begins a cleanup, moves the cleanup's future to other code, and returns. When that future
/// is dropped, nothing of the cleanup may be left in the task.
#[test]
fn return_beside_a_cleanup_that_was_put_aside() {
    let census = Census::new();
    let aside = Rc::new(RefCell::new(None));
    let (keep, member) = (aside.clone(), census.member());
    let task = virtual_loop().run(async {
        let task = spawn(async move {
            let mut limited = Box::pin(timeout(
                ms(0),
                finally(raise_cancelled::<()>(), async move {
                    let _member = member;
                    pending::<()>().await;
                }),
            ));
            assert!(poll_once(&mut limited).await.is_pending());
            *keep.borrow_mut() = Some(limited);
        });
        while !task.is_done() {
            yield_now().await;
        }
        task.task_ref()
    });
    drop(aside.take());
    assert_eq!(census.counts(), (1, 1));
    assert!(task.is_done());
}

/// A task cancels itself, and enters a timeout in the same step. The time is up while a cleanup in
/// the timeout runs. The timeout must then pass the cancellation on, so the task does not go on.
#[test]
fn enter_a_timeout_in_the_step_of_a_cancellation() {
    let trace = Trace::new();
    let copy = trace.clone();
    virtual_loop().run(async {
        let task = spawn(async move {
            onelane::current_task().unwrap().cancel();
            let cleanup = copy.clone();
            let limited = timeout(
                ms(1),
                finally(pending::<()>(), async move {
                    cleanup.push("cleans up");
                    pending::<()>().await;
                }),
            );
            copy.push(format!("{:?}", limited.await));
        });
        assert!(timeout(ms(10), task).await.unwrap().unwrap_err().is_cancelled());
    });
    assert_eq!(trace.take(), ["cleans up"]);
}

/// Two tasks poll a `wait_for` in turn, through a `Shared`. The `wait_for` cancels the awaited task
/// once and waits for its end, whichever of the two tasks began the await.
#[test]
fn wait_for_a_task_in_two_tasks() {
    let trace = Trace::new();
    let copy = trace.clone();
    virtual_loop().run(async {
        let child = spawn(finally(pending::<()>(), async move {
            sleep(ms(5)).await;
            copy.push("cleaned up");
        }));
        let waits = async move {
            let waits = wait_for(child, ms(1)).map(|ended| ended.is_err());
            join(waits, sleep(ms(1))).await.0
        };
        let shared = waits.boxed_local().shared();
        let others = [spawn(shared.clone()), spawn(shared)];
        for other in others {
            assert_eq!(other.await, Ok(true));
            trace.push("elapsed");
        }
    });
    assert_eq!(trace.take(), ["cleaned up", "elapsed", "elapsed"]);
}

/// A catch in a set, in a timeout, in a set. The timeout has begun to unwind when a cancellation
/// overtakes it, and the catch catches this cancellation. The timeout must not consume the wake of
/// the inner set, because nothing would poll the set again.
#[test]
fn catch_in_a_set_in_a_timeout_in_a_set() {
    virtual_loop().run(async {
        let task = spawn(async {
            let work = catch_cancel(finally(pending::<()>(), pending::<()>()));
            let inner: FuturesUnordered<_> = [work].into_iter().collect();
            let limited = timeout(ms(1), async move { inner.collect::<Vec<_>>().await.len() });
            let outer: FuturesUnordered<_> = [limited].into_iter().collect();
            outer.collect::<Vec<_>>().await
        });
        sleep(ms(2)).await;
        task.cancel();
        assert_eq!(timeout(ms(10), task).await.unwrap(), Ok(vec![Ok(1)]));
    });
}

/// The time of a timeout in a set is up, and the timeout polls a cleanup. Another task has taken
/// over the future of this cleanup, polls it, and owns it from then on. The set must be woken, so
/// that the timeout does not wait for a cleanup that it no longer owns.
#[test]
fn take_a_cleanup_over_from_a_timeout_in_a_set() {
    virtual_loop().run(async {
        let aside = Rc::new(RefCell::new(None));
        let keep = aside.clone();
        let task = spawn(async move {
            let limited = timeout(ms(1), async move {
                let work = finally(pending::<()>(), pending::<()>());
                let mut set: FuturesUnordered<_> = [work].into_iter().collect();
                assert!(poll_once(&mut set.next()).await.is_pending());
                *keep.borrow_mut() = Some(set);
                pending::<()>().await;
            });
            let set: FuturesUnordered<_> = [limited].into_iter().collect();
            set.collect::<Vec<_>>().await
        });
        yield_now().await;
        let mut set = aside.take().unwrap();
        let other = spawn(async move { set.next().await });
        assert_eq!(timeout(ms(10), task).await.unwrap(), Ok(vec![Err(Elapsed)]));
        assert!(!other.is_done());
    });
}

/// A block has dropped its future, because a cleanup waits for a lock that the future held. Then
/// another task polls the block. The block must not panic, although it has no future to poll.
#[test]
fn move_a_block_that_has_dropped_its_future() {
    let trace = Trace::new();
    let copy = trace.clone();
    virtual_loop().run(async {
        let lock = Rc::new(Lock::new(()));
        let wanted = lock.clone();
        let mut limited = Box::pin(timeout(ms(100), async move {
            let _guard = lock.lock().await;
            let work = finally(pending::<()>(), async move {
                drop(wanted.lock().await);
                yield_now().await;
                copy.push("cleaned up");
            });
            join(work, join(sleep(ms(1000)), raise_cancelled::<()>())).await;
        }));
        #[allow(clippy::async_yields_async, reason = "another task is to go on with it")]
        let first = spawn(async move {
            assert!(poll_once(&mut limited).await.is_pending());
            limited
        });
        let limited = first.await.unwrap();
        assert!(timeout(ms(10), spawn(limited)).await.unwrap().unwrap_err().is_cancelled());
        sleep(ms(1)).await;
    });
    assert_eq!(trace.take(), ["cleaned up"]);
}

/// As `return_beside_a_cleanup_that_was_put_aside`, for a task that ends by a cancellation.
#[test]
fn end_as_cancelled_beside_a_cleanup_that_was_put_aside() {
    let census = Census::new();
    let aside = Rc::new(RefCell::new(None));
    let (keep, member) = (aside.clone(), census.member());
    let task = virtual_loop().run(async {
        let task = spawn(async move {
            let mut group = Box::pin(task_group(async move |_| {
                let work = finally(raise_cancelled::<()>(), async move {
                    let _member = member;
                    pending::<()>().await;
                });
                work.await;
            }));
            // The task is cancelled in its last step.
            onelane::current_task().unwrap().cancel();
            assert!(poll_once(&mut group).await.is_pending());
            *keep.borrow_mut() = Some(group);
        });
        sleep(ms(1)).await;
        task.task_ref()
    });
    drop(aside.take());
    assert!(task.is_done());
    assert_eq!(census.counts(), (1, 1));
}
