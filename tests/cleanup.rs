//! What a cancelled task still runs: cleanups, innermost first, and code after a catch.

#[path = "common/mod.rs"]
mod common;

use common::{Trace, alone_and_leaking, ms, on_drop, panic_of, telling_loop, virtual_loop};
use futures_util::future::{FutureExt, LocalBoxFuture, join, join3};
use futures_util::stream::{FuturesUnordered, StreamExt};
use onelane::{
    Cancelled, EventLoop, TaskError, call_later, catch_cancel, current_task, finally, gather, on_cancel, sleep, spawn,
    task_group, time, timeout, yield_now,
};
use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::panic::panic_any;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// Sleeps, and records its beginning, its end, and its drop.
async fn work(trace: Trace, name: &'static str, milliseconds: u64) {
    trace.push(format!("{name} begins"));
    let copy = trace.clone();
    let _guard = on_drop(move || copy.push(format!("{name} dropped")));
    sleep(ms(milliseconds)).await;
    trace.push(format!("{name} ends"));
}

#[test]
fn clean_up_behind_a_value() {
    let trace = Trace::new();
    let value = virtual_loop().run(async {
        let cleanup = work(trace.clone(), "cleanup", 10);
        finally(async { 42 }, cleanup).await
    });
    assert_eq!(value, 42);
    assert_eq!(trace.take(), ["cleanup begins", "cleanup ends", "cleanup dropped"]);
}

#[test]
fn cancel_and_clean_up_and_end() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let start = time();
        let task = spawn(finally(work(trace.clone(), "body", 100), work(trace.clone(), "cleanup", 10)));
        sleep(ms(5)).await;
        assert!(task.cancel());
        yield_now().await;
        assert!(!task.is_done(), "a task ends with its cleanup");
        assert_eq!(task.await, Err(TaskError::Cancelled));
        assert_eq!(time() - start, ms(15));
    });
    assert_eq!(trace.take(), ["body begins", "body dropped", "cleanup begins", "cleanup ends", "cleanup dropped"]);
}

#[test]
fn unwind_nested_scopes_from_the_inside() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let copy = trace.clone();
        let task = spawn(async move {
            let trace = copy.clone();
            let _outermost = on_drop(move || copy.push("frame dropped"));
            let inner = finally(work(trace.clone(), "body", 100), work(trace.clone(), "inner", 10));
            let middle = {
                let trace = trace.clone();
                async move {
                    let copy = trace.clone();
                    let _guard = on_drop(move || copy.push("guard dropped"));
                    inner.await;
                    trace.push("never");
                }
            };
            finally(middle, work(trace.clone(), "outer", 10)).await;
            trace.push("never");
        });
        yield_now().await;
        task.cancel();
        assert_eq!(task.await, Err(TaskError::Cancelled));
    });
    let expected = [
        "body begins",
        "body dropped",
        "inner begins",
        "inner ends",
        "inner dropped",
        "guard dropped",
        "outer begins",
        "outer ends",
        "outer dropped",
        "frame dropped",
    ];
    assert_eq!(trace.take(), expected);
}

#[test]
fn cancel_again_and_end_the_cleanup_but_not_the_next() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let inner = finally(work(trace.clone(), "body", 100), work(trace.clone(), "inner", 100));
        let task = spawn(finally(inner, work(trace.clone(), "outer", 100)));
        yield_now().await;
        for _ in 0..3 {
            assert!(task.cancel());
            sleep(ms(1)).await;
        }
        assert!(task.is_cancelled());
        assert_eq!(task.cancelling(), 3);
        assert!(!task.cancel());
    });
    let expected = ["body begins", "body dropped", "inner begins", "inner dropped", "outer begins", "outer dropped"];
    assert_eq!(trace.take(), expected);
}

#[test]
fn cancel_twice_before_the_step_and_clean_up_once() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let task = spawn(finally(work(trace.clone(), "body", 100), work(trace.clone(), "cleanup", 1)));
        yield_now().await;
        task.cancel();
        task.cancel();
        assert_eq!(task.await, Err(TaskError::Cancelled));
    });
    assert_eq!(trace.take(), ["body begins", "body dropped", "cleanup begins", "cleanup ends", "cleanup dropped"]);
}

/// One of two cancellations is taken back. The other one still counts.
#[test]
fn cancel_twice_and_uncancel_once() {
    virtual_loop().run(async {
        let task = spawn(async {
            yield_now().await;
            1
        });
        task.cancel();
        task.cancel();
        assert_eq!(task.uncancel(), 1);
        assert_eq!(task.await, Err(TaskError::Cancelled));
    });
}

/// The same for a task that waits in the body of a `finally`. In the second case, both
/// cancellations are taken back.
#[test]
fn cancel_a_wait_twice_and_uncancel_once_and_twice() {
    for (taken_back, expected) in [(1, Err(TaskError::Cancelled)), (2, Ok("value"))] {
        let trace = Trace::new();
        virtual_loop().run(async {
            let body = async {
                sleep(ms(5)).await;
                "value"
            };
            let task = spawn(finally(body, work(trace.clone(), "cleanup", 1)));
            sleep(ms(1)).await;
            assert!(task.cancel() && task.cancel());
            (0..taken_back).for_each(|nth| assert_eq!(task.uncancel(), 1 - nth));
            let begun = time();
            assert_eq!(task.await.map_err(|_| TaskError::Cancelled), expected);
            assert_eq!(time() - begun, if taken_back == 1 { ms(1) } else { ms(5) });
        });
        assert_eq!(trace.take(), ["cleanup begins", "cleanup ends", "cleanup dropped"]);
    }
}

#[test]
fn cancel_before_the_first_step_and_clean_up_nothing() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let task = spawn(finally(work(trace.clone(), "body", 100), work(trace.clone(), "cleanup", 1)));
        task.cancel();
        assert_eq!(task.await, Err(TaskError::Cancelled));
    });
    assert_eq!(trace.take(), [""; 0]);
}

/// When a cleanup is cancelled, its own scopes unwind first.
#[test]
fn cancel_a_cleanup_that_has_a_cleanup() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let cleanup = finally(work(trace.clone(), "cleanup", 100), work(trace.clone(), "its cleanup", 5));
        let inner = finally(work(trace.clone(), "body", 100), cleanup);
        let task = spawn(finally(inner, work(trace.clone(), "outer", 5)));
        yield_now().await;
        task.cancel();
        sleep(ms(1)).await;
        task.cancel();
        assert_eq!(task.await, Err(TaskError::Cancelled));
    });
    let expected = [
        "body begins",
        "body dropped",
        "cleanup begins",
        "cleanup dropped",
        "its cleanup begins",
        "its cleanup ends",
        "its cleanup dropped",
        "outer begins",
        "outer ends",
        "outer dropped",
    ];
    assert_eq!(trace.take(), expected);
}

/// A cleanup catches the second cancellation. The first cancellation goes on after the cleanup.
#[test]
fn catch_the_second_cancellation_in_a_cleanup() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let copy = trace.clone();
        let cleanup = async move {
            assert_eq!(catch_cancel(sleep(ms(100))).await, Err(Cancelled));
            copy.push("caught");
            sleep(ms(5)).await;
            copy.push("cleaned up");
        };
        let inner = finally(work(trace.clone(), "body", 100), cleanup);
        let task = spawn(finally(inner, work(trace.clone(), "outer", 5)));
        yield_now().await;
        task.cancel();
        sleep(ms(1)).await;
        task.cancel();
        assert_eq!(task.await, Err(TaskError::Cancelled));
    });
    let expected =
        ["body begins", "body dropped", "caught", "cleaned up", "outer begins", "outer ends", "outer dropped"];
    assert_eq!(trace.take(), expected);
}

#[test]
fn catch_and_go_on_in_the_same_step() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let copy = trace.clone();
        let task = spawn(async move {
            let start = time();
            let inside = finally(work(copy.clone(), "body", 100), work(copy.clone(), "cleanup", 10));
            assert_eq!(catch_cancel(inside).await, Err(Cancelled));
            assert_eq!((time() - start, current_task().unwrap().cancelling()), (ms(10), 1));
            assert_eq!(current_task().unwrap().uncancel(), 0);
            sleep(ms(5)).await;
            "goes on"
        });
        yield_now().await;
        task.cancel();
        assert_eq!((&task).await, Ok("goes on"));
        assert_eq!(task.cancelling(), 0);
    });
    assert_eq!(trace.take(), ["body begins", "body dropped", "cleanup begins", "cleanup ends", "cleanup dropped"]);
}

#[test]
fn catch_one_cancellation_and_end_by_the_next() {
    virtual_loop().run(async {
        let task = spawn(async {
            assert_eq!(catch_cancel(sleep(ms(100))).await, Err(Cancelled));
            sleep(ms(100)).await;
            unreachable!("the second cancellation is not caught")
        });
        yield_now().await;
        task.cancel();
        sleep(ms(1)).await;
        assert!(!task.is_done());
        task.cancel();
        assert_eq!(task.await, Err::<(), _>(TaskError::Cancelled));
    });
}

#[test]
fn catch_and_cancel_itself_again() {
    virtual_loop().run(async {
        let task = spawn(async {
            if catch_cancel(sleep(ms(100))).await.is_err() {
                current_task().unwrap().cancel();
            }
            sleep(ms(100)).await;
        });
        yield_now().await;
        task.cancel();
        assert_eq!(task.await, Err(TaskError::Cancelled));
    });
}

#[test]
fn catch_what_was_passed_on_to_a_child() {
    virtual_loop().run(async {
        let child = Rc::new(spawn(sleep(ms(100))));
        let copy = child.clone();
        let task = spawn(async move { catch_cancel(async move { (&*copy).await }).await });
        yield_now().await;
        task.cancel();
        assert_eq!(task.await, Ok(Err(Cancelled)));
        assert!(child.is_cancelled());
    });
}

#[test]
fn run_waits_for_cleanups_at_its_end() {
    let trace = Trace::new();
    let event_loop = virtual_loop();
    let start = event_loop.time();
    event_loop.run(async {
        drop(spawn(finally(work(trace.clone(), "body", 100), work(trace.clone(), "cleanup", 10))));
        call_later(ms(50), || unreachable!("no task waits so long"));
        yield_now().await;
    });
    assert_eq!(event_loop.time() - start, ms(10));
    assert!(event_loop.all_tasks().is_empty());
    assert_eq!(trace.take(), ["body begins", "body dropped", "cleanup begins", "cleanup ends", "cleanup dropped"]);
}

/// A cleanup that can never end is dropped. On a virtual clock, the loop knows that it can never
/// end.
#[test]
fn end_a_cleanup_that_waits_for_ever() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let stuck = finally(work(trace.clone(), "body", 100), std::future::pending());
        drop(spawn(finally(stuck, work(trace.clone(), "outer", 10))));
        yield_now().await;
    });
    assert_eq!(trace.take(), ["body begins", "body dropped", "outer begins", "outer ends", "outer dropped"]);
}

/// Dropping a loop does not wait.
#[test]
fn drop_the_loop_and_end_cleanups_that_would_wait() {
    let trace = Trace::new();
    let event_loop = EventLoop::new();
    let copy = trace.clone();
    let brief = async move {
        yield_now().await;
        copy.push("brief");
    };
    let inner = finally(work(trace.clone(), "body", 3_600_000), brief);
    drop(event_loop.spawn(finally(inner, work(trace.clone(), "long", 3_600_000))));
    event_loop.turn();
    drop(event_loop);
    assert_eq!(trace.take(), ["body begins", "body dropped", "brief", "long begins", "long dropped"]);
}

#[cfg(feature = "report")]
#[test]
fn drop_in_a_race_and_clean_up_in_a_task_of_its_own() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let losing = finally(work(trace.clone(), "body", 100), work(trace.clone(), "cleanup", 10));
        let winner = Box::pin(yield_now());
        let losing = Box::pin(losing);
        drop(futures_util::future::select(winner, losing).await);
        trace.push("the race is over");
        assert_eq!(&*onelane::all_tasks()[1].name(), "cleanup of drop_in_a_race_and_clean_up_in_a_task_of_its_own-1");
        sleep(ms(20)).await;
    });
    let expected =
        ["body begins", "body dropped", "the race is over", "cleanup begins", "cleanup ends", "cleanup dropped"];
    assert_eq!(trace.take(), expected);
}

#[test]
fn drop_at_the_end_of_run_and_still_clean_up() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let losing = finally(work(trace.clone(), "body", 100), work(trace.clone(), "cleanup", 10));
        drop(futures_util::future::select(Box::pin(yield_now()), Box::pin(losing)).await);
    });
    assert_eq!(trace.take(), ["body begins", "body dropped", "cleanup begins", "cleanup ends", "cleanup dropped"]);
}

#[test]
fn panic_in_the_body_and_clean_up_and_let_it_go_on() {
    let (event_loop, told) = telling_loop();
    let trace = Trace::new();
    let copy = trace.clone();
    event_loop.run(async move {
        let body = finally(async { panic!("body") }, work(copy.clone(), "inner", 10));
        let task = spawn(finally(body, work(copy, "outer", 10)));
        let error = task.await.unwrap_err();
        assert_eq!(error.to_string(), "the task panicked: body");
    });
    let expected = ["inner begins", "inner ends", "inner dropped", "outer begins", "outer ends", "outer dropped"];
    assert_eq!(trace.take(), expected);
    assert_eq!(told.take(), [""; 0]);
}

#[test]
fn panic_in_a_cleanup_and_go_on_with_the_next() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let inner = finally(sleep(ms(100)), async { panic!("cleanup") });
        let caught = catch_cancel(inner);
        let task = spawn(finally(async { assert!(caught.await.is_ok()) }, work(trace.clone(), "outer", 10)));
        yield_now().await;
        task.cancel();
        assert_eq!(task.await.unwrap_err().to_string(), "the task panicked: cleanup");
    });
    assert_eq!(trace.take(), ["outer begins", "outer ends", "outer dropped"]);
}

#[test]
fn panic_in_a_destructor_of_the_body_and_clean_up_all_the_same() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let body = async {
            let _guard = on_drop(|| panic!("destructor"));
            sleep(ms(100)).await;
        };
        let task = spawn(finally(body, work(trace.clone(), "cleanup", 10)));
        yield_now().await;
        task.cancel();
        assert_eq!(task.await.unwrap_err().to_string(), "the task panicked: destructor");
    });
    assert_eq!(trace.take(), ["cleanup begins", "cleanup ends", "cleanup dropped"]);
}

#[test]
fn panic_in_the_body_and_in_the_cleanup() {
    let message = panic_of(|| {
        virtual_loop().run(finally(async { panic!("body") }, async { panic!("cleanup") }));
    });
    assert_eq!(message, "cleanup");
}

#[test]
fn cancel_oneself_and_return() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let copy = trace.clone();
        let task = spawn(async move {
            let body = async { current_task().unwrap().cancel() };
            finally(body, work(copy, "cleanup", 10)).await
        });
        assert_eq!(task.await, Err(TaskError::Cancelled));
    });
    // The body returned, so the task was cleaning up already when the cancellation came.
    assert_eq!(trace.take(), ["cleanup begins", "cleanup dropped"]);
}

#[test]
fn gather_of_tasks_that_clean_up_ends_behind_them() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let copy = trace.clone();
        let task = spawn(async move {
            let children = [10, 20].map(|n| finally(sleep(ms(100)), sleep(ms(n))));
            let _guard = on_drop(move || copy.push("parent dropped"));
            gather(children).await
        });
        let start = time();
        yield_now().await;
        yield_now().await;
        task.cancel();
        assert_eq!(task.await.unwrap_err(), TaskError::Cancelled);
        trace.push(format!("after {:?}", time() - start));
    });
    assert_eq!(trace.take(), ["parent dropped", "after 10ms"], "the first child that has ended decides, as in asyncio");
}

#[test]
fn timeout_waits_for_the_cleanups_inside() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let start = time();
        let inside = finally(work(trace.clone(), "body", 100), work(trace.clone(), "cleanup", 10));
        let result = finally(timeout(ms(5), inside), work(trace.clone(), "outer", 1)).await;
        assert!(result.is_err());
        assert_eq!(time() - start, ms(16));
        assert_eq!(current_task().unwrap().cancelling(), 0);
    });
    let expected = [
        "body begins",
        "body dropped",
        "cleanup begins",
        "cleanup ends",
        "cleanup dropped",
        "outer begins",
        "outer ends",
        "outer dropped",
    ];
    assert_eq!(trace.take(), expected);
}

#[test]
fn cancel_while_a_timeout_waits_for_a_cleanup() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let inside = finally(work(trace.clone(), "body", 100), work(trace.clone(), "cleanup", 10));
        let task =
            spawn(finally(async { assert!(timeout(ms(5), inside).await.is_err()) }, work(trace.clone(), "outer", 1)));
        sleep(ms(7)).await;
        task.cancel();
        assert_eq!(task.await, Err(TaskError::Cancelled));
    });
    let expected = [
        "body begins",
        "body dropped",
        "cleanup begins",
        "cleanup dropped",
        "outer begins",
        "outer ends",
        "outer dropped",
    ];
    assert_eq!(trace.take(), expected);
}

/// As in asyncio, a future that catches the interruption goes on, and the timeout returns its
/// value.
#[test]
fn catch_inside_of_a_timeout_and_go_on_without_a_limit() {
    virtual_loop().run(async {
        let start = time();
        let inside = async {
            assert_eq!(catch_cancel(sleep(ms(100))).await, Err(Cancelled));
            sleep(ms(50)).await;
            "in spite of it"
        };
        assert_eq!(timeout(ms(5), inside).await, Ok("in spite of it"));
        assert_eq!(time() - start, ms(55));
    });
}

#[test]
fn nested_timeouts_that_expire_at_once_clean_up_once() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let start = time();
        let inside = finally(work(trace.clone(), "body", 100), work(trace.clone(), "cleanup", 10));
        let inner =
            finally(async { assert!(timeout(ms(5), inside).await.is_err()) }, work(trace.clone(), "between", 10));
        assert!(timeout(ms(5), inner).await.is_err());
        trace.push(format!("after {:?}", time() - start));
    });
    let expected = [
        "body begins",
        "body dropped",
        "cleanup begins",
        "cleanup ends",
        "cleanup dropped",
        "between begins",
        "between ends",
        "between dropped",
        "after 25ms",
    ];
    assert_eq!(trace.take(), expected);
}

/// A wake without a reason polls a cleanup, and the cleanup must go on waiting.
#[test]
fn wake_a_task_in_its_cleanup_for_no_reason() {
    let polls = Rc::new(RefCell::new(0));
    virtual_loop().run(async {
        let copy = polls.clone();
        let waker = Rc::new(RefCell::new(None));
        let slot = waker.clone();
        let cleanup = async move {
            let mut asleep = Box::pin(sleep(ms(10)));
            std::future::poll_fn(|context| {
                *copy.borrow_mut() += 1;
                *slot.borrow_mut() = Some(context.waker().clone());
                asleep.as_mut().poll(context)
            })
            .await;
        };
        let task = spawn(finally(std::future::poll_fn(|_| Poll::<()>::Pending), cleanup));
        yield_now().await;
        task.cancel();
        sleep(ms(1)).await;
        waker.borrow().clone().unwrap().wake();
        sleep(ms(1)).await;
        assert!(!task.is_done());
        assert_eq!(task.await, Err(TaskError::Cancelled));
    });
    assert_eq!(*polls.borrow(), 3);
}

/// A future that is ready or panics when it is polled. Its destructor panics too.
struct Broken<T> {
    polled: Result<Option<T>, &'static str>,
    dropped: &'static str,
}

impl<T: Unpin> Future for Broken<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<T> {
        match &mut self.polled {
            Ok(output) => Poll::Ready(output.take().unwrap()),
            Err(message) => panic!("{message}"),
        }
    }
}

impl<T> Drop for Broken<T> {
    fn drop(&mut self) {
        panic_any(Explosive(self.dropped));
    }
}

/// A payload, or an output, whose destructor panics.
struct Explosive(&'static str);

impl Drop for Explosive {
    fn drop(&mut self) {
        panic!("{}", self.0);
    }
}

fn message_of(error: TaskError) -> String {
    match error {
        TaskError::Panicked(panic) => panic.message().to_string(),
        TaskError::Cancelled => "cancelled".to_string(),
    }
}

/// If several things panic, a panic of a cleanup counts first, and then the first panic of the
/// body. Each panic is caught separately, because two at once would end the process.
#[test]
fn panic_in_several_ways_in_a_body_and_in_its_cleanup() {
    alone_and_leaking("panic_in_several_ways_in_a_body_and_in_its_cleanup", || {
        let trace = Trace::new();
        virtual_loop().run(async {
            let cleanup = || {
                let trace = trace.clone();
                async move { trace.push("cleaned up") }
            };
            // The poll panics, and so do the future's destructor and the payload's destructor.
            let body: Broken<()> = Broken { polled: Err("a poll"), dropped: "a payload" };
            let task = spawn(finally(body, cleanup()));
            trace.push(message_of(task.await.unwrap_err()));
            // The future's destructor panics, and so does that of the output.
            let body = Broken { polled: Ok(Some(Explosive("an output"))), dropped: "a payload" };
            let task = spawn(finally(body, cleanup()).map(std::mem::forget));
            let TaskError::Panicked(panic) = task.await.unwrap_err() else { panic!("it was not cancelled") };
            trace.push(panic.message());
            std::mem::forget(panic);
            // The cleanup panics, and so does the destructor of the output that is lost because of
            // that.
            let body = async { Explosive("an output") };
            let task = spawn(async { std::mem::forget(finally(body, async { panic!("a cleanup") }).await) });
            trace.push(message_of(task.await.unwrap_err()));
            // As above, but the cleanup is not needed.
            let bomb = on_drop(|| panic!("a destructor of a cleanup"));
            let unneeded = async move {
                let _bomb = bomb;
            };
            let body = async { Explosive("an output") };
            let task = spawn(async { std::mem::forget(on_cancel(body, unneeded).await) });
            trace.push(message_of(task.await.unwrap_err()));
            // A panic unwinds through the scope. The body is dropped because of that, and panics.
            let copy = trace.clone();
            let task = spawn(async move {
                let body = async {
                    let _bomb = on_drop(|| panic!("a destructor of a body"));
                    pending::<()>().await;
                };
                let mut scope = Box::pin(finally(body, async move { copy.push("cleaned up") }));
                assert!(futures_util::poll!(&mut scope).is_pending());
                panic!("around it");
            });
            trace.push(message_of(task.await.unwrap_err()));
            yield_now().await;
        });
        let expected = [
            "cleaned up",
            "a poll",
            "cleaned up",
            "a payload that is no text",
            "a cleanup",
            "a destructor of a cleanup",
            "cleaned up",
            "around it",
        ];
        assert_eq!(trace.take(), expected);
    });
}

/// A body returns beside two groups that drop their bodies one after the other. The value of the
/// body is kept, and is returned after a catch beside it has caught the cancellation.
#[test]
fn return_beside_groups_that_are_cancelled_and_catch_beside_them() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let is_set = Rc::new(Cell::new(false));
        let (copy, returned) = (is_set.clone(), trace.clone());
        let body = poll_fn(move |_| if copy.get() { Poll::Ready("returned") } else { Poll::Pending });
        let scope = async move { returned.push(finally(body, async {}).await) };
        let groups = task_group(async |group| {
            group.spawn(pending::<()>());
            let inner = task_group(async |group| {
                group.spawn(pending::<()>());
                pending::<()>().await;
            });
            _ = inner.await;
        });
        let task = spawn(join3(catch_cancel(pending::<()>()), scope, groups));
        yield_now().await;
        yield_now().await;
        is_set.set(true);
        task.cancel();
        assert_eq!(task.await.map(drop), Err(TaskError::Cancelled));
    });
    assert_eq!(trace.take(), ["returned"]);
}

/// A timeout and a set in one task poll the same `finally`. When its cleanup is over, or is ended,
/// the set must be woken, because a set polls only futures that were woken.
#[test]
fn clean_up_in_a_timeout_what_a_set_polls_as_well() {
    for is_ended in [false, true] {
        let message = virtual_loop().run(async {
            let begun = time();
            let cleanup = async { sleep(ms(10)).await };
            let shared = finally(pending::<()>(), cleanup).boxed_local().shared();
            // The timeout polls the cleanup last.
            let inside = join(shared.clone(), sleep(ms(7)));
            let limited = timeout(ms(5), timeout(ms(if is_ended { 8 } else { 100 }), inside));
            let both: [LocalBoxFuture<()>; 2] = [limited.map(drop).boxed_local(), shared.boxed_local()];
            let task = spawn(async { FuturesUnordered::from_iter(both).collect::<Vec<_>>().await });
            let ended = timeout(ms(1000), task).await.expect("the task must not hang");
            format!("{:?}: {}", time() - begun, message_of(ended.unwrap_err()))
        });
        let after = if is_ended { "8ms" } else { "15ms" };
        assert!(message.starts_with(&format!("{after}: a finally was polled after it was ready")), "{message}");
    }
}

/// A `finally` that was begun in a loop is dropped while the loop does not run. The cleanup runs
/// when the loop turns again.
#[test]
fn drop_a_finally_outside_of_its_loop() {
    let trace = Trace::new();
    let (event_loop, copy) = (virtual_loop(), trace.clone());
    let scope = event_loop.run(async move {
        let mut scope = Box::pin(finally(pending::<()>(), async move { copy.push("cleaned up") }));
        assert!(futures_util::poll!(&mut scope).is_pending());
        Some(scope)
    });
    drop(scope);
    assert_eq!(trace.take(), [""; 0]);
    event_loop.turn();
    assert_eq!(trace.take(), ["cleaned up"]);
}
