//! `raise_cancelled` is like `raise CancelledError` in asyncio, and `on_cancel` is like an `except`
//! that raises again. Also tests cancellations that a task requests of itself. Below, *raise* means
//! to call and await `raise_cancelled`.

mod common;

use common::{Trace, ms, on_drop, telling_loop, virtual_loop};
use futures_util::future::{Either, FutureExt, LocalBoxFuture, join, select};
use futures_util::stream::{FuturesUnordered, StreamExt};
use onelane::sync::Lock;
use onelane::{
    Cancelled, ChildError, Deadline, Elapsed, Promise, Task, TaskError, call_later, catch_cancel, current_task,
    finally, gather, on_cancel, raise_cancelled, sleep, spawn, task_group, time, timeout, try_task_group, yield_now,
};
use std::cell::RefCell;
use std::future::{IntoFuture, pending, poll_fn, ready};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

/// The number of turns until a task has ended.
async fn turns_until_done(task: &onelane::TaskRef) -> u32 {
    let mut turns = 0;
    while !task.is_done() {
        yield_now().await;
        turns += 1;
    }
    turns
}

#[test]
fn raise_and_end_in_the_same_step() {
    virtual_loop().run(async {
        let trace = Trace::new();
        let copy = trace.clone();
        let task = spawn(async move {
            let dropped = copy.clone();
            let _guard = on_drop(move || dropped.push("guard"));
            copy.push("before");
            raise_cancelled::<()>().await;
            copy.push("behind");
        });
        let other = spawn(yield_now());
        yield_now().await;
        assert_eq!(trace.take(), ["before", "guard"]);
        assert!(task.is_cancelled() && !other.is_done());
        assert_eq!((task.cancelling(), task.await), (0, Err(TaskError::Cancelled)));
    });
}

/// A catch followed by a raise ends the task in the same turn as no catch would, and adds no
/// request to the count.
#[test]
fn catch_and_raise_again_as_if_nobody_had_caught() {
    virtual_loop().run(async {
        for raises in [false, true] {
            let task = spawn(async move {
                if raises {
                    assert_eq!(catch_cancel(pending::<()>()).await, Err(Cancelled));
                    raise_cancelled().await
                } else {
                    pending::<()>().await
                }
            });
            yield_now().await;
            task.cancel();
            assert_eq!(turns_until_done(&task.task_ref()).await, 1);
            assert_eq!((task.cancelling(), task.await), (1, Err(TaskError::Cancelled)));
        }
    });
}

#[test]
fn raise_in_scopes_and_unwind_them() {
    virtual_loop().run(async {
        let trace = Trace::new();
        let (one, two) = (trace.clone(), trace.clone());
        let inner = finally(async { raise_cancelled::<u8>().await }, async move {
            sleep(ms(1)).await;
            one.push("finally");
        });
        let caught = catch_cancel(on_cancel(inner, async move {
            sleep(ms(1)).await;
            two.push("on_cancel");
        }));
        let start = time();
        assert_eq!(caught.await, Err(Cancelled));
        assert_eq!(trace.take(), ["finally", "on_cancel"]);
        assert_eq!(time() - start, ms(2));
        assert_eq!(current_task().unwrap().cancelling(), 0);
    });
}

/// A raise passes through a timeout whose time is not up, and becomes `Elapsed` if the time is up.
#[test]
fn raise_in_a_timeout() {
    virtual_loop().run(async {
        let through = catch_cancel(timeout(ms(5), async { raise_cancelled::<()>().await }));
        assert_eq!(through.await, Err(Cancelled));
        let caught_first = timeout(ms(5), async {
            assert_eq!(catch_cancel(pending::<()>()).await, Err(Cancelled));
            raise_cancelled::<()>().await
        });
        assert_eq!(caught_first.await, Err(Elapsed));
        assert_eq!(current_task().unwrap().cancelling(), 0);
        // The raise ends the whole task, through two timeouts.
        let task = spawn(timeout(ms(5), timeout(ms(9), raise_cancelled::<()>())));
        assert_eq!(task.await, Err(TaskError::Cancelled));
    });
}

/// The children are cancelled and awaited. An error of a child takes precedence over the raise.
#[test]
fn raise_in_the_body_of_a_group() {
    virtual_loop().run(async {
        for fails in [false, true] {
            let start = time();
            let group = try_task_group(async |group| {
                let slow = finally(pending::<()>(), sleep(ms(3)));
                group.spawn(slow);
                if fails {
                    group.try_spawn(async {
                        assert_eq!(catch_cancel(pending::<()>()).await, Err(Cancelled));
                        Err::<(), _>("child")
                    });
                }
                yield_now().await;
                raise_cancelled::<Result<(), &str>>().await
            });
            let result = catch_cancel(group).await;
            assert_eq!(time() - start, ms(3));
            match result {
                Ok(result) => assert!(fails && result.unwrap_err().errors == [ChildError::Failed("child")]),
                Err(Cancelled) => assert!(!fails),
            }
        }
    });
}

/// A child that raises ends as cancelled, and does not make the group fail.
#[test]
fn raise_in_a_child_of_a_group() {
    virtual_loop().run(async {
        let result = task_group(async |group| group.spawn(raise_cancelled::<()>())).await;
        assert!(result.unwrap().is_cancelled());
    });
}

/// A raise in a cleanup ends the cleanup, and the cancellation that began the cleanup goes on.
#[test]
fn raise_in_a_cleanup() {
    virtual_loop().run(async {
        let trace = Trace::new();
        let (one, two) = (trace.clone(), trace.clone());
        let inner = finally(pending::<()>(), async move {
            sleep(ms(1)).await;
            one.push("inner");
            raise_cancelled::<()>().await;
            one.push("behind");
        });
        let task = spawn(finally(inner, async move { two.push("outer") }));
        yield_now().await;
        task.cancel();
        assert_eq!(task.await, Err(TaskError::Cancelled));
        assert_eq!(trace.take(), ["inner", "outer"]);
        // The same after a body that has returned.
        let task = spawn(finally(async {}, raise_cancelled()));
        assert_eq!(task.await, Err(TaskError::Cancelled));
    });
}

#[test]
fn raise_where_an_awaited_promise_was_cancelled() {
    virtual_loop().run(async {
        let promise = Promise::<u8>::new();
        let copy = promise.clone();
        let task = spawn(async move {
            match copy.await {
                Err(TaskError::Cancelled) => raise_cancelled().await,
                outcome => outcome.unwrap(),
            }
        });
        yield_now().await;
        promise.cancel();
        assert_eq!(task.await, Err(TaskError::Cancelled));
    });
}

/// The raise also drops the neighbour (the other future of the `join`), and the lock that it holds.
#[test]
fn raise_beside_a_neighbour() {
    virtual_loop().run(async {
        let lock = Rc::new(Lock::new(()));
        let copy = lock.clone();
        let task = spawn(async move {
            let holder = async {
                let _guard = copy.lock().await;
                pending::<()>().await
            };
            join(holder, raise_cancelled::<()>()).await
        });
        assert_eq!(task.await.map(drop), Err(TaskError::Cancelled));
        assert!(!lock.is_locked());
    });
}

/// The task raises in a step in which it was also woken. It ends once, and the wake does not reach
/// another task.
#[test]
fn raise_and_be_woken_in_the_same_step() {
    virtual_loop().run(async {
        for _ in 0..3 {
            let task = spawn(async { join(yield_now(), raise_cancelled::<()>()).await.0 });
            assert_eq!(task.await, Err(TaskError::Cancelled));
            let caught = spawn(async {
                let raised = catch_cancel(async { join(yield_now(), raise_cancelled::<()>()).await }).await;
                assert!(raised.is_err());
                yield_now().await;
                7
            });
            assert_eq!(caught.await, Ok(7));
        }
    });
}

#[test]
#[should_panic(expected = "raise_cancelled() was polled outside a task")]
fn raise_outside_of_a_task() {
    use std::task::{Context, Waker};
    virtual_loop().enter(|| {
        let _ = pin!(raise_cancelled::<()>()).poll(&mut Context::from_waker(Waker::noop()));
    });
}

#[test]
fn interrupt_and_run_the_cleanup_alone() {
    virtual_loop().run(async {
        let trace = Trace::new();
        let made = |name: &'static str| {
            let trace = trace.clone();
            async move {
                sleep(ms(1)).await;
                trace.push(name);
            }
        };
        // The future returns, so there is no cleanup.
        assert_eq!(on_cancel(async { 7 }, made("returned")).await, 7);
        // A cancellation, a timeout, and a group that fails.
        let task = spawn(on_cancel(pending::<()>(), made("cancelled")));
        yield_now().await;
        task.cancel();
        assert_eq!(task.await, Err(TaskError::Cancelled));
        assert_eq!(timeout(ms(1), on_cancel(pending::<()>(), made("timed out"))).await, Err(Elapsed));
        let cleanup = made("failed");
        let group = try_task_group(async |group| {
            group.try_spawn(async { Err::<(), _>("child") });
            on_cancel(pending::<()>(), cleanup).await;
            Ok(())
        });
        assert!(group.await.is_err());
        assert_eq!(trace.take(), ["cancelled", "timed out", "failed"]);
        // Losing a race is an interruption too.
        let mut loser = on_cancel(pending::<()>(), made("lost"));
        select(&mut loser, yield_now()).await;
        drop(loser);
        sleep(ms(2)).await;
        assert_eq!(trace.take(), ["lost"]);
    });
}

/// A panic of the future goes on without a cleanup. A panic of the cleanup replaces the
/// cancellation.
#[test]
fn panic_in_an_on_cancel() {
    let (event_loop, told) = telling_loop();
    event_loop.run(async {
        let task = spawn(on_cancel(async { panic!("future") }, async { unreachable!() }));
        let _: Result<(), _> = task.await.inspect_err(|error| assert!(error.is_panic()));
        let task = spawn(on_cancel(pending::<()>(), async { panic!("cleanup") }));
        yield_now().await;
        task.cancel();
        assert!(task.await.unwrap_err().is_panic());
    });
    assert_eq!(told.take(), [""; 0]);
}

/// A task has cancelled itself when it enters the timeout. The timeout returns `Elapsed`, and the
/// cancellation still ends the task, unless it is taken back. asyncio raises a `TimeoutError` here,
/// and loses the cancellation.
#[test]
fn cancel_oneself_and_enter_a_timeout_that_is_up() {
    virtual_loop().run(async {
        for uncancels in [false, true] {
            let task = spawn(async move {
                let me = current_task().unwrap();
                me.cancel();
                let result = timeout(ms(0), async {
                    if uncancels {
                        assert_eq!(me.uncancel(), 0);
                    }
                    pending::<()>().await
                });
                assert_eq!(result.await, Err(Elapsed));
                yield_now().await;
                7
            });
            let expected = if uncancels { Ok(7) } else { Err(TaskError::Cancelled) };
            assert_eq!(task.await, expected);
        }
    });
}

/// A raise in one branch of a `select!` has no effect if the branch loses in the same step.
#[test]
fn raise_and_lose_a_select() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let (inner, outer) = (trace.clone(), trace.clone());
        let task = spawn(finally(
            finally(pending::<()>(), async move {
                select(raise_cancelled::<()>(), ready(())).await;
                inner.push("inner");
            }),
            async move {
                sleep(ms(1)).await;
                outer.push("outer");
            },
        ));
        yield_now().await;
        task.cancel();
        assert_eq!(task.await, Err(TaskError::Cancelled));

        let body = trace.clone();
        let task = spawn(async move {
            select(raise_cancelled::<()>(), ready(())).await;
            sleep(ms(1)).await;
            body.push("goes on");
        });
        assert_eq!(task.await, Ok(()));
    });
    assert_eq!(trace.take(), ["inner", "outer", "goes on"]);
}

/// A `catch_cancel` beside the raise catches the cancellation once. Then the cancellation is raised
/// again, and ends the task.
/// A raise that loses a `select`, but whose future is kept, does not end the cleanup that begins in
/// the same step, nor what follows a `catch_cancel`.
#[test]
fn raise_and_lose_a_select_that_keeps_the_loser() {
    virtual_loop().run(async {
        let kept = Rc::new(RefCell::new(Vec::new()));
        let lose = || {
            let kept = kept.clone();
            async move {
                let (_, loser) = select(Box::pin(raise_cancelled::<()>()), ready(())).await.factor_first();
                kept.borrow_mut().push(loser);
            }
        };
        let cleaned = Rc::new(RefCell::new(0));
        let copy = cleaned.clone();
        let clean = finally(lose(), async move {
            spawn(yield_now()).await.unwrap();
            *copy.borrow_mut() += 1;
        });
        assert_eq!(spawn(clean).await, Ok(()));
        assert_eq!(*cleaned.borrow(), 1);
        let caught = lose();
        let catch = async move {
            assert_eq!(catch_cancel(caught).await, Ok(()));
            sleep(ms(1)).await;
        };
        assert_eq!(spawn(catch).await, Ok(()));
        // What is raised beside the scope continues.
        let beside = join(raise_cancelled::<()>(), finally(ready(()), ready(())));
        assert_eq!(spawn(beside).await, Err(TaskError::Cancelled));
        let beside = join(raise_cancelled::<()>(), catch_cancel(ready(())));
        assert_eq!(spawn(beside).await, Err(TaskError::Cancelled));
    });
}

/// A timeout passes the cancellation on that came before its time was up, although a catch beside it
/// has caught that cancellation and has ended the body of the `finally`.
#[test]
fn catch_beside_a_timeout_and_clean_up() {
    virtual_loop().run(async {
        let cleaned = Rc::new(RefCell::new(0));
        let copy = cleaned.clone();
        let task = spawn(finally(
            async {
                let limited = Box::pin(Deadline::after(ms(2)).limit(pending::<()>()));
                let Either::Right((caught, loser)) = select(limited, catch_cancel(pending::<()>())).await else {
                    panic!("the timeout has ended")
                };
                assert_eq!(caught, Err(Cancelled));
                // It goes on in another task.
                drop(spawn(loser));
            },
            async move {
                spawn(yield_now()).await.unwrap();
                *copy.borrow_mut() += 1;
            },
        ));
        // In the same turn as the timeout, and before it.
        let asked = task.task_ref();
        call_later(ms(2), move || assert!(asked.cancel()));
        assert_eq!(task.await, Ok(()));
        assert_eq!(*cleaned.borrow(), 1);
    });
}

#[test]
fn raise_beside_a_catch() {
    virtual_loop().run(async {
        let catch = || catch_cancel(sleep(ms(10)));
        let a_timeout = || timeout(ms(60), raise_cancelled::<()>());
        let in_a_set = async move {
            let both = [raise_cancelled::<()>().boxed_local(), async move { _ = catch().await }.boxed_local()];
            both.into_iter().collect::<FuturesUnordered<_>>().collect::<Vec<_>>().await;
        };
        let tasks = [
            spawn(async move { _ = join(raise_cancelled::<()>(), catch()).await }),
            spawn(async move { _ = join(raise_cancelled::<()>(), timeout(ms(60), catch())).await }),
            spawn(async move { _ = join(a_timeout(), catch()).await }),
            spawn(async move { _ = join(task_group(async |_| raise_cancelled::<()>().await), catch()).await }),
            spawn(in_a_set),
        ];
        for task in tasks {
            assert_eq!(timeout(ms(1000), task).await.expect("the task must not hang"), Err(TaskError::Cancelled));
        }
    });
}

/// A loop numbers its awaits and scopes. The timeout that is entered here gets the first number.
#[test]
fn cancel_oneself_and_enter_the_first_timeout_of_a_loop() {
    let event_loop = virtual_loop();
    let task = event_loop.spawn(async {
        current_task().unwrap().cancel();
        timeout(ms(0), yield_now()).await
    });
    // The task is not awaited in `run`, because this await would get the first number.
    while !task.is_done() {
        event_loop.turn();
    }
    assert!(task.is_cancelled());
}

/// A raise that is dropped without a poll has no effect: it neither cancels the task nor takes a
/// cancellation back.
#[test]
fn drop_beside_a_raise_another_that_was_never_polled() {
    virtual_loop().run(async {
        let beside = async {
            drop(raise_cancelled::<()>());
            sleep(ms(10)).await;
        };
        let begun = time();
        let task = spawn(async move { join(raise_cancelled::<()>(), beside).await });
        assert_eq!(task.await, Err(TaskError::Cancelled));
        assert_eq!(time(), begun);
    });
}

/// A task cancels itself and takes that back in the same step. The task that it awaits is not
/// cancelled.
#[test]
fn cancel_and_uncancel_in_a_step_and_await_on() {
    virtual_loop().run(async {
        let child = spawn(async {
            sleep(ms(5)).await;
            7
        });
        let task = spawn(async move {
            let mut child = child.into_future();
            assert!(futures_util::poll!(&mut child).is_pending());
            let this = current_task().unwrap();
            assert!(this.cancel());
            assert_eq!(this.uncancel(), 0);
            child.await
        });
        assert_eq!(task.await, Ok(Ok(7)));
    });
}

/// A task cancels another task, which awaits the first task in two ways. So the first task cancels
/// itself, and gets one request, not two.
#[test]
fn cancel_a_task_that_leads_back_to_this_one_in_two_ways() {
    virtual_loop().run(async {
        let place = Rc::new(RefCell::new(None::<Rc<Task<u32>>>));
        let copy = place.clone();
        let task = Rc::new(spawn(async move {
            yield_now().await;
            let this = copy.borrow().clone().unwrap();
            let ways = [this.clone(), this.clone()].map(|this| spawn(async move { drop((&*this).await) }));
            let both = spawn(async move { drop(gather(ways).await) });
            yield_now().await;
            yield_now().await;
            both.cancel();
            let asked = this.cancelling();
            while this.uncancel() > 0 {}
            asked
        }));
        *place.borrow_mut() = Some(task.clone());
        assert_eq!((&*task).await, Ok(1));
    });
}

/// A task cancels itself and takes that back in the same step. Later, when the time of a timeout is
/// up, it raises outside of the timeout and polls it. As always, the timeout treats the raise as
/// its own interruption.
#[test]
fn cancel_and_uncancel_and_raise_when_the_time_of_a_timeout_is_up() {
    for uncancels in [false, true] {
        virtual_loop().run(async {
            let task = spawn(async move {
                if uncancels {
                    let this = current_task().unwrap();
                    assert!(this.cancel());
                    assert_eq!(this.uncancel(), 0);
                }
                let mut limited = Box::pin(timeout(ms(5), pending::<()>()));
                assert!(futures_util::poll!(&mut limited).is_pending());
                sleep(ms(5)).await;
                let mut raises = Some(raise_cancelled::<()>());
                let mut has_raised = false;
                poll_fn(|context| {
                    if std::mem::replace(&mut has_raised, true) {
                        return limited.as_mut().poll(context);
                    }
                    raises.as_mut().unwrap().poll_unpin(context).map(|()| Ok(()))
                })
                .await
            });
            assert_eq!(task.await, Ok(Err(Elapsed)), "{uncancels}");
        });
    }
}

/// The time of a timeout is up at once. Inside it, a request is made and taken back, while an older
/// request remains. The timeout returns `Elapsed`, as with the older request alone.
#[test]
fn cancel_and_uncancel_behind_another_request_in_a_timeout() {
    virtual_loop().run(async {
        let task = spawn(async {
            _ = catch_cancel(pending::<()>()).await;
            let this = current_task().unwrap();
            assert_eq!(this.cancelling(), 1);
            let inside = poll_fn(move |_| -> Poll<()> {
                if this.cancelling() == 1 {
                    assert!(this.cancel());
                    assert_eq!(this.uncancel(), 1);
                }
                Poll::Pending
            });
            timeout(ms(0), inside).await
        });
        yield_now().await;
        task.cancel();
        assert_eq!(task.await, Ok(Err(Elapsed)));
    });
}

/// Beside the raise, a scope panics in the same step, and the panic is caught. The cancellation
/// continues: it was raised beside the scope.
#[test]
fn raise_beside_a_scope_that_panics() {
    async fn panics() {
        panic!("in a scope")
    }
    let scopes: [fn() -> LocalBoxFuture<'static, ()>; 5] = [
        || Box::pin(finally(panics(), async {})),
        || Box::pin(on_cancel(panics(), async {})),
        || Box::pin(async { _ = catch_cancel(panics()).await }),
        || Box::pin(async { _ = timeout(ms(1000), panics()).await }),
        || Box::pin(panics()),
    ];
    virtual_loop().run(async {
        for (nth, scope) in scopes.into_iter().enumerate() {
            let task = spawn(async move {
                let caught = AssertUnwindSafe(scope()).catch_unwind();
                _ = join(raise_cancelled::<()>(), caught).await;
            });
            sleep(ms(1)).await;
            assert!(task.is_cancelled(), "scope {nth}: the raise was lost, and the task waits for ever");
        }
    });
}
