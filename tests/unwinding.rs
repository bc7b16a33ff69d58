//! Unwinding together with other events: futures beside a cleanup, the end of `run`, timeouts,
//! panics, other executors' wakers, other loops. *Unwinding* means that the scopes of a cancelled
//! task (`finally`, `catch_cancel`, timeouts, groups) end, from the innermost outwards, and clean
//! up.

#[path = "common/mod.rs"]
mod common;

use common::{Census, Trace, alone, ms, on_drop, panic_of, telling_loop, virtual_loop};
use futures_util::future::{FutureExt, LocalBoxFuture, join, select};
use futures_util::poll;
use futures_util::stream::{FuturesUnordered, StreamExt};
use onelane::sync::Lock;
use onelane::{
    Cancelled, Deadline, Elapsed, EventLoop, Finally, TaskError, call_soon, catch_cancel, current_task, finally,
    gather, sleep, spawn, time, timeout, yield_now,
};
use std::cell::RefCell;
use std::future::{Pending, pending, poll_fn};
use std::panic::panic_any;
use std::rc::Rc;
use std::task::Poll;

/// The panic message for a future that has cleaned up and was polled again.
const POLLED_AGAIN: &str = "a finally was polled after it was ready, or after a cancellation of the task that polled it last: \
     it has cleaned up; own it in the task that may be cancelled, and put a catch_cancel around it, not beside it";

/// Sleeps, and records its end and its drop.
async fn work(trace: Trace, name: &'static str, milliseconds: u64) {
    let copy = trace.clone();
    let _guard = on_drop(move || copy.push(format!("{name} dropped")));
    sleep(ms(milliseconds)).await;
    trace.push(format!("{name} ends"));
}

/// Waits until it is interrupted, and then runs `work` as its cleanup.
fn stuck(
    trace: &Trace,
    name: &'static str,
    milliseconds: u64,
) -> Finally<Pending<()>, impl Future<Output = ()> + use<>> {
    finally(pending(), work(trace.clone(), name, milliseconds))
}

/// Starts the parent, and lets `run` end while the parent waits. Records the parent's drop.
fn run_and_leave(event_loop: &EventLoop, trace: &Trace, parent: impl Future<Output = ()> + 'static) {
    let copy = trace.clone();
    event_loop.run(async move {
        drop(spawn(async move {
            let _guard = on_drop(move || copy.push("parent dropped"));
            parent.await;
        }));
        sleep(ms(1)).await;
    });
}

/// At the end of `run`, a parent that awaits its child is dropped only after the child's cleanup
/// has ended.
#[test]
fn end_run_while_a_parent_awaits_a_child_that_cleans_up() {
    let trace = Trace::new();
    let (first, second, third) = (trace.clone(), trace.clone(), trace.clone());
    run_and_leave(&virtual_loop(), &trace, async move {
        let _ = spawn(stuck(&first, "task", 10)).await;
    });
    run_and_leave(&virtual_loop(), &trace, async move {
        let _ = gather([stuck(&second, "gather", 10)]).await;
    });
    run_and_leave(&virtual_loop(), &trace, async move {
        let _ = timeout(ms(1000), spawn(stuck(&third, "timeout", 10))).await;
    });
    let expected = [
        "task ends",
        "task dropped",
        "parent dropped",
        "gather ends",
        "gather dropped",
        "parent dropped",
        "timeout ends",
        "timeout dropped",
        "parent dropped",
    ];
    assert_eq!(trace.take(), expected);
}

/// As above, on the real clock: the end of `run` has to sleep until the cleanup is over.
#[test]
fn end_run_on_the_real_clock_while_a_child_cleans_up() {
    let trace = Trace::new();
    let copy = trace.clone();
    run_and_leave(&EventLoop::new(), &trace, async move {
        let _ = gather([stuck(&copy, "cleanup", 5)]).await;
    });
    assert_eq!(trace.take(), ["cleanup ends", "cleanup dropped", "parent dropped"]);
}

/// At the end of `run`, a cleanup may spawn tasks. They are not cancelled.
#[test]
fn gather_in_a_cleanup_at_the_end_of_run() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let copy = trace.clone();
        drop(spawn(finally(pending::<()>(), async move {
            let children = [2, 1].map(|n| work(copy.clone(), if n == 1 { "short" } else { "long" }, n));
            copy.push(format!("{:?}", gather(children).await));
        })));
        yield_now().await;
    });
    assert_eq!(trace.take(), ["short ends", "short dropped", "long ends", "long dropped", "Ok([(), ()])"]);
}

/// At the end of `run`, a chain of callbacks spawns a task late. No task is left behind.
#[test]
fn spawn_in_a_chain_of_callbacks_at_the_end_of_run() {
    fn chain(census: Census, depth: u32) {
        if depth == 0 {
            let member = census.member();
            drop(spawn(pending::<()>().map(move |()| drop(member))));
        } else {
            call_soon(move || chain(census, depth - 1));
        }
    }
    for depth in 0..8 {
        let census = Census::new();
        let event_loop = virtual_loop();
        event_loop.run(async {
            drop(spawn(pending::<()>()));
            yield_now().await;
            let copy = census.clone();
            call_soon(move || chain(copy, depth));
        });
        let (made, dropped) = census.counts();
        assert_eq!((made - dropped, event_loop.all_tasks().len()), (0, 0), "after {depth} callbacks");
    }
}

/// Dropping a loop ends a cleanup that is always ready.
#[test]
fn drop_the_loop_and_end_a_cleanup_that_is_always_busy() {
    alone("drop_the_loop_and_end_a_cleanup_that_is_always_busy", || {
        let census = Census::new();
        let event_loop = virtual_loop();
        let member = census.member();
        drop(event_loop.spawn(finally(pending::<()>(), async move {
            let _member = member;
            loop {
                yield_now().await;
            }
        })));
        event_loop.turn();
        drop(event_loop);
        assert_eq!(census.counts(), (1, 1));
    });
}

/// The main future of `run`, which may borrow, begins a scope. The scope outlives this future. The
/// loop must not poll the future after it was dropped.
#[test]
fn keep_a_scope_of_the_lent_future_beyond_its_end() {
    let trace = Trace::new();
    let mut kept = Box::pin(catch_cancel(pending::<()>()));
    let (event_loop, told) = telling_loop();
    let message = panic_of(|| {
        event_loop.run(async {
            let text = vec![String::from("hello"); 3];
            let _guard = on_drop(|| trace.push("dropped"));
            poll_fn(|context| {
                assert!(kept.as_mut().poll(context).is_pending());
                Poll::Ready(())
            })
            .await;
            loop {
                let _ = catch_cancel(pending::<()>()).await;
                std::hint::black_box(text[1].len());
            }
        })
    });
    assert!(message.starts_with("the loop was to end, but tasks go on"), "{message}");
    trace.push("over");
    for _ in 0..3 {
        event_loop.turn();
    }
    drop(event_loop);
    assert_eq!(trace.take(), ["dropped", "over"]);
    assert_eq!(told.take(), [""; 0], "a dropped future was polled");
}

/// The second cancellation ends the cleanup. It does not reach the await beside the cleanup, which
/// is frozen (not polled any more).
#[test]
fn cancel_again_beside_an_await_and_end_the_cleanup() {
    virtual_loop().run(async {
        let child = spawn(sleep(ms(100)));
        let besides: [LocalBoxFuture<'static, ()>; 2] =
            [Box::pin(child.into_future().map(drop)), Box::pin(gather([sleep(ms(100))]).into_future().map(drop))];
        for beside in besides {
            let start = time();
            let task = spawn(async move { join(finally(pending::<()>(), sleep(ms(3_600_000))), beside).await });
            for _ in 0..2 {
                sleep(ms(1)).await;
                task.cancel();
            }
            assert_eq!(task.await.map(drop), Err(TaskError::Cancelled));
            assert_eq!(time() - start, ms(2));
        }
    });
}

/// A cancelled parent awaits two children. It ends only after both have cleaned up.
#[test]
fn cancel_a_join_of_children_and_let_both_clean_up() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let [a, b] = [("a", 10), ("b", 20)].map(|(name, n)| spawn(stuck(&trace, name, n)));
        let copy = trace.clone();
        let task = spawn(async move {
            let _guard = on_drop(move || copy.push("parent dropped"));
            join(a.into_future(), b.into_future()).await
        });
        sleep(ms(1)).await;
        task.cancel();
        assert_eq!(task.await.map(drop), Err(TaskError::Cancelled));
        trace.push("over");
    });
    assert_eq!(trace.take(), ["a ends", "a dropped", "b ends", "b dropped", "parent dropped", "over"]);
}

/// As above, but a timeout around the awaits expires.
#[test]
fn expire_around_a_join_of_children_and_let_both_clean_up() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let [a, b] = [("a", 10), ("b", 20)].map(|(name, n)| spawn(stuck(&trace, name, n)));
        assert_eq!(timeout(ms(5), join(a.into_future(), b.into_future())).await.map(drop), Err(Elapsed));
        sleep(ms(50)).await;
    });
    assert_eq!(trace.take(), ["a ends", "a dropped", "b ends", "b dropped"]);
}

/// The first child of a cancelled gather ends. The gather may then end too, but it must not cancel
/// the other children a second time, so that they can finish their cleanups.
#[test]
fn cancel_a_gather_and_let_each_child_clean_up() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let children = || [("a", 10), ("b", 20)].map(|(name, n)| stuck(&trace, name, n));
        let (plain, in_timeout, all) = (children(), children(), children());
        let gathers: [LocalBoxFuture<'static, ()>; 3] = [
            Box::pin(async { drop(gather(plain).await) }),
            Box::pin(async { drop(timeout(ms(50), gather(in_timeout)).await) }),
            Box::pin(async { drop(gather(all).return_exceptions().await) }),
        ];
        for gather in gathers {
            let task = spawn(gather);
            yield_now().await;
            yield_now().await;
            task.cancel();
            let end = task.await;
            trace.push(format!("over {end:?}"));
            sleep(ms(50)).await;
        }
    });
    let expected = [
        ["a ends", "a dropped", "over Err(Cancelled)", "b ends", "b dropped"], // the first end decides
        ["a ends", "a dropped", "over Err(Cancelled)", "b ends", "b dropped"],
        ["a ends", "a dropped", "b ends", "b dropped", "over Err(Cancelled)"],
    ];
    assert_eq!(trace.take(), expected.concat());
}

/// As above, but a timeout around the gather expires.
#[test]
fn expire_around_a_gather_and_let_each_child_clean_up() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let children = [("a", 10), ("b", 20)].map(|(name, n)| stuck(&trace, name, n));
        assert!(timeout(ms(5), gather(children)).await.is_err());
        trace.push("over");
        sleep(ms(50)).await;
    });
    assert_eq!(trace.take(), ["a ends", "a dropped", "over", "b ends", "b dropped"]);
}

/// A task begins a `finally`, and moves it into another task, which has not polled it yet. The
/// cancellation of the first task must neither unwind nor drop the `finally`.
#[test]
fn move_a_begun_finally_and_cancel_the_task_that_it_left() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let slot = Rc::new(RefCell::new(None));
        let (copy, moved) = (trace.clone(), slot.clone());
        let first = spawn(async move {
            let mut begun = Box::pin(finally(sleep(ms(10)).map(|()| 1), async move { copy.push("cleaned up") }));
            assert!(poll_fn(|context| Poll::Ready(begun.poll_unpin(context))).await.is_pending());
            *moved.borrow_mut() = Some(spawn(begun));
            pending::<()>().await;
        });
        yield_now().await;
        first.cancel();
        let second = slot.take().unwrap();
        trace.push(format!("{:?}", second.await));
        trace.push(format!("{:?}", first.await));
    });
    assert_eq!(trace.take(), ["cleaned up", "Ok(1)", "Err(Cancelled)"]);
}

/// A future with its own wakers polls a catch. When the catch has caught the cancellation, it must
/// be polled again.
#[test]
fn catch_under_a_waker_of_somebody_else() {
    async fn catch_in_a_set() -> Option<Result<(), Cancelled>> {
        let mut all = FuturesUnordered::new();
        all.push(catch_cancel(pending::<()>()));
        all.next().await
    }
    virtual_loop().run(async {
        let start = time();
        let task = spawn(catch_in_a_set());
        yield_now().await;
        task.cancel();
        assert_eq!(task.await, Ok(Some(Err(Cancelled))));
        assert_eq!(time() - start, ms(0));
        assert_eq!(timeout(ms(5), catch_in_a_set()).await, Ok(Some(Err(Cancelled))));
        assert_eq!(time() - start, ms(5));
    });
}

/// A waiter beside a catch still receives its lock, because its task continues.
#[test]
fn catch_and_get_the_lock_beside_it() {
    virtual_loop().run(async {
        let lock = Rc::new(Lock::new(()));
        let wait = |copy: Rc<Lock<()>>| join(catch_cancel(pending::<()>()), async move { drop(copy.lock().await) });
        let held = lock.lock().await;
        let cancelled = spawn(wait(lock.clone()));
        let interrupted = spawn(timeout(ms(5), wait(lock.clone())));
        yield_now().await;
        cancelled.cancel();
        sleep(ms(10)).await;
        drop(held);
        assert_eq!(cancelled.await, Ok((Err(Cancelled), ())));
        assert_eq!(interrupted.await, Ok(Ok((Err(Cancelled), ()))));
    });
}

/// A `finally` is beside a catch. Its cleanup ends before the catch continues, and it has no value,
/// so its next poll panics.
#[test]
fn catch_beside_a_finally_and_be_told() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let copy = trace.clone();
        let task = spawn(join(
            catch_cancel(pending::<()>()),
            finally(pending::<()>(), async move { copy.push("cleaned up") }),
        ));
        yield_now().await;
        task.cancel();
        trace.push(task.await.unwrap_err().to_string());
    });
    assert_eq!(trace.take(), ["cleaned up".to_string(), format!("the task panicked: {POLLED_AGAIN}")]);
}

/// Two tasks share a `finally`. The cancellation of one task unwinds it. The other task then gets a
/// panic, and does not wait for ever.
#[test]
fn share_a_finally_and_cancel_one_of_its_owners() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let copy = trace.clone();
        let shared = finally(sleep(ms(10)), async move { copy.push("cleaned up") }).shared();
        // The `finally` is a scope of the task that polls it last.
        let (first, last) = (spawn(shared.clone()), spawn(shared));
        yield_now().await;
        last.cancel();
        trace.push(last.await.unwrap_err().to_string());
        trace.push(first.await.unwrap_err().to_string());
    });
    let expected =
        ["cleaned up".to_string(), TaskError::Cancelled.to_string(), format!("the task panicked: {POLLED_AGAIN}")];
    assert_eq!(trace.take(), expected);
}

/// A timeout borrows a `finally` and expires. An await of this `finally` then panics, and does not
/// wait for ever.
#[test]
fn lend_a_finally_to_a_timeout_and_await_it_again() {
    let trace = Trace::new();
    let message = panic_of(|| {
        virtual_loop().run(async {
            let copy = trace.clone();
            let mut lent = Box::pin(finally(sleep(ms(10)), async move { copy.push("cleaned up") }));
            trace.push(format!("{:?}", timeout(ms(5), lent.as_mut()).await));
            lent.await;
        })
    });
    assert_eq!(message, POLLED_AGAIN);
    assert_eq!(trace.take(), ["cleaned up", "Err(Elapsed)"]);
}

/// The body of a `finally` has returned, and its cleanup runs. This is not an unwinding, so the
/// first cancellation interrupts the cleanup.
#[test]
fn cancel_once_and_end_the_cleanup_behind_a_value() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let task = spawn(finally(async { "value" }, work(trace.clone(), "cleanup", 10)));
        sleep(ms(1)).await;
        task.cancel();
        trace.push(format!("{:?}", task.await));
    });
    assert_eq!(trace.take(), ["cleanup dropped", "Err(Cancelled)"]);
}

/// Only a callback polls the `finally`, so it has no task in which it could clean up. The cleanup
/// runs nevertheless.
#[test]
fn begin_in_a_callback_and_drop_it_there() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let copy = trace.clone();
        call_soon(move || {
            let mut begun = Box::pin(stuck(&copy, "cleanup", 1));
            assert!(begun.as_mut().now_or_never().is_none());
        });
        sleep(ms(10)).await;
    });
    assert_eq!(trace.take(), ["cleanup ends", "cleanup dropped"]);
}

/// A task is cancelled inside a timeout. The timeout still limits the cleanup inside it.
#[test]
fn limit_a_cleanup_that_a_cancellation_began() {
    virtual_loop().run(async {
        let start = time();
        let task = spawn(timeout(ms(10), finally(pending::<()>(), sleep(ms(1000)))));
        sleep(ms(5)).await;
        task.cancel();
        assert_eq!(task.await, Err(TaskError::Cancelled));
        assert_eq!(time() - start, ms(10), "as in asyncio");
    });
}

/// As above, with an outer timeout in place of the cancellation.
#[test]
fn limit_a_cleanup_that_an_outer_timeout_began() {
    virtual_loop().run(async {
        let start = time();
        let stuck = finally(pending::<()>(), sleep(ms(1000)));
        assert_eq!(timeout(ms(5), timeout(ms(7), stuck)).await, Err(Elapsed));
        assert_eq!(time() - start, ms(7), "as in asyncio");
    });
}

/// The cancellation arrives while the timeout waits for a cleanup. The catch around the cleanup
/// catches it.
#[test]
fn cancel_while_a_timeout_waits_for_a_cleanup_and_catch_it() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let copy = trace.clone();
        let task = spawn(async move {
            let inner = copy.clone();
            let result = timeout(ms(5), async move {
                let result = catch_cancel(stuck(&inner, "cleanup", 100)).await;
                inner.push(format!("inside {result:?}"));
            });
            copy.push(format!("around {:?}", result.await));
        });
        sleep(ms(10)).await;
        task.cancel();
        trace.push(format!("task {:?}", task.await));
    });
    assert_eq!(trace.take(), ["cleanup dropped", "inside Err(Cancelled)", "around Ok(())", "task Ok(())"]);
}

/// A deadline that is used in another loop panics with a message. Timers of two loops may have the
/// same number, and the callback with the number of the deadline's timer is not cancelled.
#[test]
fn use_the_deadline_of_another_loop_and_be_told() {
    let trace = Trace::new();
    let (first, second) = (virtual_loop(), virtual_loop());
    let deadline = first.run(async { Deadline::after(ms(50)) });
    let copy = trace.clone();
    first.call_later(ms(5), move || copy.push("called"));
    trace.push(panic_of(|| second.run(async move { deadline.limit(sleep(ms(1))).await })));
    first.run(async { sleep(ms(10)).await });
    let expected = [
        "poll() of a timeout was called in another event loop than its deadline's; make both in the loop that runs them",
        "called",
    ];
    assert_eq!(trace.take(), expected);
}

/// A timeout with a pending cleanup moves to another task, and the first task is cancelled. The
/// cleanup must then run in the second task.
#[test]
fn move_a_begun_timeout_and_cancel_the_task_that_it_left() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let (slot, copy) = (Rc::new(RefCell::new(None)), trace.clone());
        let seconds = slot.clone();
        let first = spawn(async move {
            let cleanup = async move {
                sleep(ms(1)).await;
                copy.push("cleaned up");
            };
            let mut limited = Box::pin(timeout(ms(0), finally(pending::<()>(), cleanup)));
            assert!(poll!(&mut limited).is_pending());
            *seconds.borrow_mut() = Some(spawn(limited));
            current_task().unwrap().cancel();
            pending::<()>().await;
        });
        assert_eq!(first.await, Err(TaskError::Cancelled));
        let (second, start) = (slot.take().unwrap(), time());
        assert_eq!((second.await, time() - start), (Ok(Err(Elapsed)), ms(1)));
    });
    assert_eq!(trace.take(), ["cleaned up"]);
}

/// After the panic of the inner cleanup, the timeout still waits for the outer cleanup.
#[test]
fn panic_in_a_cleanup_in_a_timeout_and_go_on_with_the_next() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let inner = finally(sleep(ms(100)), async { panic!("inner") });
        let task = spawn(timeout(ms(5), finally(inner, work(trace.clone(), "outer", 10))));
        trace.push(task.await.unwrap_err().to_string());
        sleep(ms(20)).await;
    });
    assert_eq!(trace.take(), ["outer ends", "outer dropped", "the task panicked: inner"]);
}

/// After the panic of the inner cleanup, a catch in the outer cleanup catches the next
/// cancellation.
#[test]
fn panic_in_a_cleanup_and_catch_the_second_cancellation_in_the_next() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let copy = trace.clone();
        let inner = finally(pending::<()>(), async { panic!("inner") });
        let task = spawn(finally(inner, async move {
            copy.push(format!("{:?}", catch_cancel(sleep(ms(100))).await));
        }));
        yield_now().await;
        task.cancel();
        sleep(ms(1)).await;
        task.cancel();
        trace.push(task.await.unwrap_err().to_string());
    });
    assert_eq!(trace.take(), ["Err(Cancelled)", "the task panicked: inner"]);
}

/// A destructor panics while a `finally` is dropped. The cleanup runs all the same.
#[test]
fn panic_in_a_destructor_in_a_race_and_clean_up_all_the_same() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let cleanup = work(trace.clone(), "cleanup", 1);
        let task = spawn(async {
            let body = async {
                let _guard = on_drop(|| panic!("destructor"));
                pending::<()>().await;
            };
            drop(select(Box::pin(yield_now()), Box::pin(finally(body, cleanup))).await);
        });
        trace.push(task.await.unwrap_err().to_string());
        sleep(ms(10)).await;
    });
    assert_eq!(trace.take(), ["the task panicked: destructor", "cleanup ends", "cleanup dropped"]);
}

/// A second panic replaces the first. The destructor of the first panic's payload panics too, which
/// does not end the process.
#[test]
fn panic_in_the_destructor_of_a_panic() {
    alone("panic_in_the_destructor_of_a_panic", || {
        let (event_loop, told) = telling_loop();
        event_loop.run(async {
            let task = spawn(async {
                let _guard = on_drop(|| panic!("destructor"));
                finally(pending::<()>(), async { panic_any(on_drop(|| panic!("payload"))) }).await;
            });
            yield_now().await;
            task.cancel();
            assert_eq!(task.await.unwrap_err().to_string(), "the task panicked: destructor");
        });
        assert_eq!(told.take(), [""; 0]);
    });
}

/// An expired timeout waits until both tasks in it have cleaned up, and does not return when the
/// first has ended.
#[test]
fn wait_behind_a_timeout_for_all_that_clean_up() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let child = |name: &'static str, cleanup: u64| {
            let trace = trace.clone();
            spawn(finally(pending::<()>(), async move {
                sleep(ms(cleanup)).await;
                trace.push(format!("{name} ends"));
            }))
        };
        let both = join(child("a", 10).into_future(), child("b", 20).into_future());
        assert!(timeout(ms(5), both).await.is_err());
        trace.push("over");
    });
    assert_eq!(trace.take(), ["a ends", "b ends", "over"]);
}

/// A cancelled task cleans up. Another await of this task is dropped. This must not cancel the task
/// a second time, because that would end its cleanup.
#[test]
fn give_up_an_await_and_a_gather_of_a_task_that_cleans_up() {
    let trace = Trace::new();
    virtual_loop().run(async {
        for way in ["await", "gather"] {
            let task = spawn(stuck(&trace, "cleanup", 10));
            let asked = task.task_ref();
            yield_now().await;
            task.cancel();
            yield_now().await;
            let waits = if way == "await" {
                task.into_future().map(drop).boxed_local()
            } else {
                gather([task]).map(drop).boxed_local()
            };
            // The wait begins, loses the race, and is dropped.
            drop(select(waits, Box::pin(sleep(ms(1)))).await);
            trace.push(format!("{way} given up, cancelled {} time", asked.cancelling()));
            sleep(ms(20)).await;
            trace.push(format!("{:?}", asked.state()));
        }
    });
    let expected = [
        "await given up, cancelled 1 time",
        "cleanup ends",
        "cleanup dropped",
        "Done",
        "gather given up, cancelled 1 time",
        "cleanup ends",
        "cleanup dropped",
        "Done",
    ];
    assert_eq!(trace.take(), expected);
}

/// The body returns, so the cleanup of the `on_cancel` never runs. The destructor of the cleanup
/// panics.
#[test]
fn return_from_an_on_cancel_and_panic_in_the_destructor_of_its_cleanup() {
    let trace = Trace::new();
    let message = panic_of(|| {
        virtual_loop().run(async {
            let (dropped, guard) = (trace.clone(), on_drop(|| panic!("in the destructor")));
            let body = async move { on_drop(move || dropped.push("value dropped")) };
            drop(onelane::on_cancel(body, async move { drop(guard) }).await);
            trace.push("went on");
        })
    });
    assert_eq!((message.as_str(), trace.take()), ("in the destructor", vec!["value dropped".to_string()]));
}

/// The body has returned a value, and its destructor panics. The panic is reported after the
/// cleanup.
#[test]
fn return_a_value_and_panic_in_the_destructor_of_the_body() {
    let trace = Trace::new();
    let message = panic_of(|| {
        virtual_loop().run(async {
            let (dropped, cleaned) = (trace.clone(), trace.clone());
            let guard = on_drop(|| panic!("in the destructor"));
            let mut value = Some(on_drop(move || dropped.push("value dropped")));
            let body = poll_fn(move |_| {
                let _ = &guard;
                Poll::Ready(value.take())
            });
            drop(finally(body, async move { cleaned.push("cleaned up") }).await);
            trace.push("went on");
        })
    });
    assert_eq!(message, "in the destructor");
    assert_eq!(trace.take(), ["value dropped", "cleaned up"]);
}

/// The content of a finished scope is dropped, though the scope itself is kept.
#[test]
fn keep_a_catch_beyond_its_end_and_drop_what_was_inside() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let copy = trace.clone();
        let guard = on_drop(move || copy.push("dropped"));
        let mut kept = Box::pin(catch_cancel(poll_fn(move |_| {
            let _ = &guard;
            Poll::Ready(())
        })));
        assert_eq!(kept.as_mut().await, Ok(()));
        trace.push("kept");
    });
    assert_eq!(trace.take(), ["dropped", "kept"]);
}

/// A cleanup in a timeout catches a cancellation of the task. Beside the timeout is a `finally`,
/// which was entered after the timeout and before the catch. The `finally` must clean up too,
/// before the task ends.
#[test]
fn catch_in_a_cleanup_and_clean_up_beside_it() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let (first, second) = (trace.clone(), trace.clone());
        let cleanup = async move {
            assert!(catch_cancel(pending::<()>()).await.is_err());
            sleep(ms(2)).await;
            first.push("cleaned up in the timeout");
        };
        let beside = async move {
            let cleanup = async move {
                sleep(ms(1)).await;
                second.push("cleaned up beside it");
            };
            finally(pending::<()>(), cleanup).await;
        };
        let task = spawn(join(timeout(ms(0), finally(pending::<()>(), cleanup)), beside));
        sleep(ms(2)).await;
        task.cancel();
        assert!(task.await.unwrap_err().is_cancelled());
        trace.push("ended");
    });
    assert_eq!(trace.take(), ["cleaned up beside it", "cleaned up in the timeout", "ended"]);
}
