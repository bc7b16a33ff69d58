//! Edge cases of promises, shields, `as_completed` and intervals: orders, drops, other executors'
//! wakers, re-entrant code.

mod common;

use common::{Census, Trace, foreign, ms, on_drop, panic_of, telling_loop, virtual_loop};
use futures_util::{FutureExt, poll};
use onelane::{
    Elapsed, EventLoop, MissedTickBehavior, NextCompleted, Promise, TaskError, as_completed, call_later, call_soon,
    gather, interval, interval_at, shield, sleep, spawn, time, timeout, wait_for, yield_now,
};
use std::cell::{Cell, RefCell};
use std::future::pending;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Records the number of each turn, for the given number of turns.
fn count_turns(trace: &Trace, turns: u32) {
    let trace = trace.clone();
    drop(spawn(async move {
        for turn in 1..=turns {
            trace.push(format!("turn {turn}"));
            yield_now().await;
        }
    }));
}

fn poll_with<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

/// A waker that runs a function when its last clone is dropped.
mod cloning {
    use std::cell::RefCell;
    use std::task::{Wake, Waker};

    thread_local! {
        static AT_DROP: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
    }

    struct AtDrop;

    impl Wake for AtDrop {
        fn wake(self: std::sync::Arc<Self>) {}
    }

    impl Drop for AtDrop {
        fn drop(&mut self) {
            let act = AT_DROP.with(|act| act.borrow_mut().take());
            act.into_iter().for_each(|act| act());
        }
    }

    /// Runs `act` on this thread when its last clone is dropped.
    pub(crate) fn at_drop(act: impl FnOnce() + 'static) -> Waker {
        AT_DROP.with(|place| *place.borrow_mut() = Some(Box::new(act)));
        Waker::from(std::sync::Arc::new(AtDrop))
    }
}

// ---- promises ----

/// Awaits and callbacks of a promise run in the turn after it was set, in the order in which they
/// were registered.
#[test]
fn set_and_tell_awaits_and_callbacks_in_order() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let promise = Promise::new();
        let callback = |text: &'static str| {
            let trace = trace.clone();
            promise.add_done_callback(move |promise| trace.push(format!("{text}: {}", promise.result().unwrap())));
        };
        let awaiter = |text: &'static str| {
            let (promise, trace) = (promise.clone(), trace.clone());
            spawn(async move { trace.push(format!("{text}: {}", (&promise).await.unwrap())) })
        };
        callback("first callback");
        drop(awaiter("first await"));
        yield_now().await;
        callback("second callback");
        drop(awaiter("second await"));
        yield_now().await;
        count_turns(&trace, 2);
        promise.set_result(7).unwrap();
        trace.push("set");
        callback("late callback");
        assert_eq!((&promise).now_or_never_promised(), Some(Ok(7)), "without a pause");
        yield_now().await;
        yield_now().await;
    });
    let expected = [
        "set",
        "turn 1",
        "first callback: 7",
        "first await: 7",
        "second callback: 7",
        "second await: 7",
        "late callback: 7",
        "turn 2",
    ];
    assert_eq!(trace.take(), expected);
}

trait NowOrNever<T> {
    fn now_or_never_promised(self) -> Option<Result<T, TaskError>>;
}

impl<T: Clone + 'static> NowOrNever<T> for &Promise<T> {
    fn now_or_never_promised(self) -> Option<Result<T, TaskError>> {
        self.into_future().now_or_never()
    }
}

/// A promise that a host sets between two turns gives the same order.
#[test]
fn set_between_two_turns() {
    let (event_loop, trace) = (virtual_loop(), Trace::new());
    let promise = Promise::new();
    for n in [1, 2] {
        let (copy, awaited) = (trace.clone(), promise.clone());
        drop(event_loop.spawn(async move {
            (&awaited).await.unwrap();
            copy.push(format!("await {n}"));
        }));
        event_loop.turn();
        let (copy, promise) = (trace.clone(), promise.clone());
        drop(event_loop.spawn(async move {
            promise.add_done_callback(move |_| copy.push(format!("callback {n}")));
        }));
        event_loop.turn();
    }
    promise.set_result(()).unwrap();
    assert!(trace.take().is_empty());
    assert!(event_loop.turn().is_idle());
    assert_eq!(trace.take(), ["await 1", "callback 1", "await 2", "callback 2"]);
}

#[test]
fn cancel_a_task_and_the_promise_that_it_awaits() {
    virtual_loop().run(async {
        let promise = Promise::<()>::new();
        let [first, second] = [promise.clone(), promise.clone()].map(|promise| spawn(async move { (&promise).await }));
        yield_now().await;
        first.cancel();
        assert!(promise.is_cancelled(), "at the moment of cancel()");
        assert_eq!(second.await, Ok(Err(TaskError::Cancelled)), "the other one is not cancelled");
        assert_eq!(first.await, Err(TaskError::Cancelled));
        assert_eq!(promise.set_result(()), Err(()));
    });
}

/// The task goes on, but the promise that it awaits stays cancelled.
#[test]
fn cancel_and_uncancel_a_task_that_awaits_a_promise() {
    virtual_loop().run(async {
        let promise = Promise::<()>::new();
        let awaited = promise.clone();
        let task = spawn(async move { awaited.await });
        yield_now().await;
        task.cancel();
        assert_eq!(task.uncancel(), 0);
        assert_eq!(task.await, Ok(Err(TaskError::Cancelled)));
    });
}

#[test]
fn drop_an_await_of_a_promise() {
    virtual_loop().run(async {
        let promise = Promise::<()>::new();
        drop((&promise).into_future());
        assert!(!promise.is_done(), "the await had not begun");
        let mut begun = (&promise).into_future();
        assert!(poll!(&mut begun).is_pending());
        drop(begun);
        assert!(promise.is_cancelled());
    });
}

#[test]
fn timeout_of_a_promise_and_of_its_shield() {
    virtual_loop().run(async {
        let begun = time();
        let [bare, shielded] = [Promise::<()>::new(), Promise::new()];
        assert_eq!(timeout(ms(5), &bare).await, Err(Elapsed));
        assert_eq!(timeout(ms(5), shield(&shielded)).await, Err(Elapsed));
        assert_eq!((bare.is_cancelled(), shielded.is_cancelled()), (true, false));
        assert_eq!(time() - begun, ms(10));
    });
}

/// An await that one task begins and another task continues belongs to the second task.
#[test]
fn hand_a_begun_await_of_a_promise_to_another_task() {
    virtual_loop().run(async {
        let promise = Promise::new();
        let slot = Rc::new(RefCell::new(None));
        let (awaited, begun) = (promise.clone(), slot.clone());
        let giver = spawn(async move {
            let mut future = awaited.into_future();
            assert!(poll!(&mut future).is_pending());
            *begun.borrow_mut() = Some(future);
            pending::<()>().await;
        });
        yield_now().await;
        let taker = spawn(slot.take().unwrap());
        yield_now().await;
        giver.cancel();
        assert!(giver.await.is_err() && !promise.is_done());
        promise.set_result(7).unwrap();
        assert_eq!(taker.await, Ok(Ok(7)));
    });
}

#[test]
fn take_the_value_and_ask_again() {
    let promise = Promise::new();
    assert!(panic_of(|| promise.result().is_ok()).contains("it is pending"));
    promise.set_result(7).unwrap();
    let borrowed = promise.result().unwrap();
    let taking = panic_of(|| promise.clone().into_future().now_or_never());
    assert!(taking.contains("while it was borrowed"), "{taking}");
    drop(borrowed);
    assert_eq!(promise.clone().into_future().now_or_never(), Some(Ok(7)));
    let again = panic_of(|| promise.clone().into_future().now_or_never());
    assert!(again.contains("taken twice; await `&promise`"), "{again}");
    let cloned = panic_of(|| (&promise).now_or_never_promised());
    assert!(cloned.contains("after it was taken"), "{cloned}");
    assert!(panic_of(|| promise.result().is_ok()).contains("its value was taken"));
}

/// A callback does not keep the promise alive, and is dropped with it.
#[test]
fn drop_a_pending_promise_with_its_callbacks() {
    let census = Census::new();
    virtual_loop().run(async {
        let promise = Promise::<()>::new();
        for _ in 0..2 {
            let member = census.member();
            promise.add_done_callback(move |_| unreachable!("{:?}", Rc::new(member).as_ref() as *const _));
        }
        let other = promise.clone();
        drop(promise);
        assert_eq!(census.counts(), (2, 0));
        drop(other);
        assert_eq!(census.counts(), (2, 2));
    });
}

/// STEP-1: the destructor of a removed, replaced or dropped callback may use the promise.
#[test]
fn come_back_to_the_promise_from_a_destructor() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let promise = Promise::new();
        let (ids, copy, handle) = (Rc::new(RefCell::new(Vec::new())), trace.clone(), promise.clone());
        // The destructor of a callback removes the next callback, adds one, and sets the promise.
        let (to_remove, other) = (ids.clone(), trace.clone());
        let guard = on_drop(move || {
            let next: Option<onelane::CallbackId> = to_remove.borrow_mut().pop();
            copy.push(format!("removed another: {}", handle.remove_done_callback(next.unwrap())));
            let copy = copy.clone();
            handle.add_done_callback(move |_| copy.push("added by a destructor"));
            handle.set_result(1).unwrap();
        });
        let evil = promise.add_done_callback(move |_| drop(guard));
        ids.borrow_mut().push(promise.add_done_callback(|_| unreachable!()));
        promise.add_done_callback(move |_| other.push("stayed"));
        assert!(promise.remove_done_callback(evil));
        assert_eq!(promise.set_result(2), Err(2));
        yield_now().await;
    });
    assert_eq!(trace.take(), ["removed another: true", "stayed", "added by a destructor"]);
}

/// The drop of a replaced waker may set the promise.
#[test]
fn set_the_promise_when_a_waker_is_replaced() {
    virtual_loop().run(async {
        let promise = Promise::new();
        let setter = promise.clone();
        let waker = cloning::at_drop(move || setter.set_result(7).unwrap());
        let mut awaited = (&promise).into_future();
        assert!(poll_with(&mut awaited, &waker).is_pending());
        drop(waker);
        assert!(!promise.is_done(), "the promise holds a clone");
        assert_eq!(poll_with(&mut awaited, Waker::noop()), Poll::Ready(Ok(7)));
        assert!(format!("{promise:?}").contains("waiters: 0"), "{promise:?}");
    });
}

/// A foreign waker that panics does not keep other waiters from being woken.
#[test]
fn panic_in_a_foreign_waker() {
    let (event_loop, told) = telling_loop();
    let result = event_loop.run(async {
        let promise = Promise::new();
        let bad = foreign(|| panic!("in a waker"), || ());
        let mut first = (&promise).into_future();
        assert!(poll_with(&mut first, &bad).is_pending());
        let second = spawn((&promise).into_future());
        yield_now().await;
        promise.set_result(7).unwrap();
        drop(first);
        second.await
    });
    assert_eq!(result, Ok(Ok(7)));
    assert_eq!(told.take(), ["a foreign waker or a destructor panicked when a promise was done: in a waker"]);
}

/// A foreign waker drops the loop in which it waits. The drop must not panic, and must drop the
/// tasks.
#[test]
fn set_a_promise_and_drop_the_loop_in_a_waker() {
    thread_local!(static LOOP: RefCell<Option<EventLoop>> = const { RefCell::new(None) });
    let (event_loop, told) = telling_loop();
    let (promise, census) = (Promise::new(), Census::new());
    let member = census.member();
    drop(event_loop.spawn(async move {
        let _member = member;
        pending::<()>().await;
    }));
    event_loop.turn();
    let mut awaited = [(); 2].map(|()| (&promise).into_future());
    let waker = foreign(|| drop(LOOP.take()), || ());
    event_loop.enter(|| awaited.each_mut().map(|awaited| assert!(poll_with(awaited, &waker).is_pending())));
    let home = event_loop.loop_ref();
    LOOP.set(Some(event_loop));
    promise.set_result(7).unwrap();
    assert_eq!((census.counts(), home.is_closed()), ((1, 1), true));
    for mut awaited in awaited {
        assert_eq!(poll_with(&mut awaited, &waker), Poll::Ready(Ok(7)));
    }
    assert_eq!(told.take(), [""; 0]);
}

/// A timeout expires for several waiters, and the waker of the first one panics. The other waiters
/// must still be woken.
#[test]
fn panic_in_a_waker_when_the_time_is_up() {
    let (event_loop, told) = telling_loop();
    event_loop.run(async {
        let results = as_completed([pending::<()>(), pending()]).timeout(ms(5));
        let bad = foreign(|| panic!("in a waker"), || ());
        let mut first = results.next();
        assert!(poll_with(&mut first, &bad).is_pending());
        assert_eq!(results.next().await, Err(Elapsed));
        assert_eq!(poll_with(&mut first, Waker::noop()), Poll::Ready(Err(Elapsed)));
    });
    assert_eq!(told.take(), ["a foreign waker panicked: in a waker"]);
}

#[test]
fn poll_an_await_again_and_again() {
    virtual_loop().run(async {
        let promise = Promise::new();
        let mut awaited = (&promise).into_future();
        for _ in 0..3 {
            assert!(poll!(&mut awaited).is_pending());
        }
        assert!(format!("{promise:?}").contains("waiters: 1"), "{promise:?}");
        promise.set_result(()).unwrap();
        assert_eq!(awaited.await, Ok(()));
    });
}

/// Two loops wait for one promise, and each is notified in its own turn. A dropped loop is not
/// notified.
#[test]
fn set_a_promise_that_two_loops_wait_for() {
    let (one, other, gone) = (virtual_loop(), virtual_loop(), virtual_loop());
    let (promise, trace) = (Promise::new(), Trace::new());
    for (event_loop, name) in [(&one, "one"), (&other, "other"), (&gone, "gone")] {
        event_loop.run(async {
            let copy = trace.clone();
            promise.add_done_callback(move |_| copy.push(name));
        });
    }
    let awaited = promise.clone();
    let task = other.spawn(async move { (&awaited).await });
    other.turn();
    drop(gone);
    let setter = promise.clone();
    one.run(async move { setter.set_result(7).unwrap() });
    assert_eq!(trace.take(), ["one"]);
    assert_eq!(other.run(task), Ok(Ok(7)));
    assert_eq!(trace.take(), ["other"]);
}

/// A promise needs no loop. An await in a foreign executor is woken there.
#[test]
fn await_a_promise_without_a_loop() {
    let promise = Promise::new();
    let woken = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = woken.clone();
    let waker = foreign(move || _ = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst), || ());
    let mut awaited = promise.clone().into_future();
    assert!(poll_with(&mut awaited, &waker).is_pending());
    promise.set_result("set").unwrap();
    assert_eq!(woken.load(std::sync::atomic::Ordering::SeqCst), 1);
    assert_eq!(poll_with(&mut awaited, &waker), Poll::Ready(Ok("set")));
    let message = panic_of(|| promise.add_done_callback(|_| ()));
    assert!(message.contains("add_done_callback() of a promise was called, but there is no running event loop"));
}

#[cfg(feature = "report")]
#[test]
fn report_a_deadlock_on_promises_and_shields() {
    let line = line!() + 1;
    let (bare, shielded) = (Promise::<()>::new(), Promise::<()>::new());
    let stuck = virtual_loop().try_run(async {
        let task = onelane::task::Builder::new().name("bare").spawn(bare.into_future());
        let behind = shielded.clone();
        drop(onelane::task::Builder::new().name("shield").spawn(async move { shield(behind).await }));
        drop(onelane::task::Builder::new().name("next").spawn(as_completed([pending::<()>()]).next()));
        shield(task).await
    });
    let Err(onelane::RunError::Deadlock(report)) = stuck else { panic!("no deadlock: {stuck:?}") };
    let waits: Vec<_> = report.tasks.iter().map(|task| format!("{}: {}", task.name, common::words(task))).collect();
    let made_at = |column: u32| format!("a promise made at tests/combinators.rs:{line}:{column}");
    let expected = [
        "report_a_deadlock_on_promises_and_shields-1: a shield on \"bare\"".to_string(),
        format!("bare: {}", made_at(29)),
        format!("shield: a shield on {}", made_at(51)),
        "Pending-4: ".to_string(),
        "next: the next to complete of \"Pending-4\"".to_string(),
    ];
    assert_eq!(waits, expected);
    assert!(!shielded.is_done(), "the end of the run cancels tasks, but the promise was shielded");
}

// ---- shields ----

/// A cancellation stops at the shield. The outer task ends at once, and the shielded future goes
/// on.
#[test]
fn cancel_before_a_shield() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let begun = time();
        let copy = trace.clone();
        let outer = spawn(async move {
            let inner = async move {
                sleep(ms(5)).await;
                copy.push("the inner one has run");
            };
            shield(inner).await
        });
        sleep(ms(1)).await;
        outer.cancel();
        assert_eq!((outer.await, time() - begun), (Err(TaskError::Cancelled), ms(1)));
        sleep(ms(9)).await;
    });
    assert_eq!(trace.take(), ["the inner one has run"]);
}

/// A cancellation does not pass through `shield(gather(..))`.
#[test]
fn cancel_before_a_shield_of_a_gather() {
    virtual_loop().run(async {
        let children = [spawn(sleep(ms(5))), spawn(sleep(ms(6)))];
        let refs = [children[0].task_ref(), children[1].task_ref()];
        let outer = spawn(shield(gather(children)));
        sleep(ms(1)).await;
        outer.cancel();
        assert!(outer.await.is_err());
        sleep(ms(9)).await;
        assert!(refs.iter().all(|child| child.is_done() && !child.is_cancelled()));
    });
}

/// An await returns one turn after the end of its task, a shield two turns after it. If the task
/// has already ended, neither of them takes a turn.
#[test]
fn count_the_turns_of_a_shield() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let copy = trace.clone();
        let inner = Rc::new(spawn(async move {
            yield_now().await;
            copy.push("end");
        }));
        for shielded in [true, false] {
            let (copy, inner) = (trace.clone(), inner.clone());
            drop(spawn(async move {
                if shielded {
                    shield(&*inner).await.unwrap();
                } else {
                    (&*inner).await.unwrap();
                }
                copy.push(if shielded { "shield" } else { "await" });
            }));
        }
        count_turns(&trace, 4);
        sleep(ms(1)).await;
        assert_eq!(shield(&*inner).now_or_never(), Some(Ok(())));
    });
    assert_eq!(trace.take(), ["turn 1", "end", "turn 2", "await", "turn 3", "shield", "turn 4"]);
}

/// The promise is set after the call of `shield`, before the first poll. The result reaches the
/// shield by a queued callback, one turn later.
#[test]
fn shield_and_await_after_the_end() {
    virtual_loop().run(async {
        let promise = Promise::new();
        let mut shielded = shield(&promise);
        promise.set_result(7).unwrap();
        assert!(poll!(&mut shielded).is_pending(), "its callback is queued");
        assert!(poll!(&mut shielded).is_pending(), "an unneeded poll");
        yield_now().await;
        assert_eq!(shielded.now_or_never(), Some(Ok(7)));
    });
}

#[test]
fn cancel_what_is_behind_a_shield() {
    virtual_loop().run(async {
        let inner = spawn(pending::<()>());
        let behind = inner.task_ref();
        let outer = spawn(shield(inner));
        yield_now().await;
        behind.cancel();
        assert_eq!((&outer).await, Ok(Err(TaskError::Cancelled)));
        assert_eq!((outer.is_cancelled(), outer.cancelling()), (false, 0));
    });
}

#[test]
fn drop_a_shield_and_leave_nothing_with_the_task() {
    virtual_loop().run(async {
        let (held, task) = (Rc::new(()), spawn(pending::<()>()));
        let (copy, waker) = (held.clone(), foreign(|| (), || ()));
        let mut shielded = shield(&task);
        assert!(poll_with(&mut shielded, &waker).is_pending());
        drop(shielded);
        let callback = task.add_done_callback(move |_| drop(copy));
        assert!(task.remove_done_callback(callback) && !task.is_done());
        assert_eq!(Rc::strong_count(&held), 1);
    });
}

// ---- as_completed ----

/// Even results that exist from the beginning are delivered by callbacks. Once delivered, they are
/// returned without a pause.
#[test]
fn ask_for_results_that_are_there() {
    virtual_loop().run(async {
        let tasks = [spawn(async { 1 }), spawn(async { 2 })];
        sleep(ms(1)).await;
        let results = as_completed([&tasks[1], &tasks[0]]);
        assert!(results.next().now_or_never().is_none(), "the callbacks are queued");
        assert_eq!(results.len(), 2, "the result of the dropped future is not lost");
        yield_now().await;
        assert_eq!(results.next().now_or_never(), Some(Some(Ok(2))));
        assert_eq!(results.next().now_or_never(), Some(Some(Ok(1))));
        assert_eq!(results.next().now_or_never(), Some(None));
        assert_eq!(results.next().now_or_never(), Some(None));
    });
}

#[test]
fn count_the_turns_of_a_completion() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let copy = trace.clone();
        let results = as_completed([async move { copy.push("end") }]);
        count_turns(&trace, 3);
        results.next().await;
        trace.push("result");
    });
    assert_eq!(trace.take(), ["end", "turn 1", "turn 2", "result", "turn 3"]);
}

/// A result that was meant for a cancelled waiter goes to the next waiter.
#[test]
fn cancel_one_of_two_who_wait() {
    for when in ["before it is woken", "when it is woken"] {
        virtual_loop().run(async {
            let promise = Promise::new();
            // With one child only one of the two would wait, so there is a second child.
            let both = as_completed([promise.clone(), Promise::new()].map(shielded));
            let [first, second] = [spawn(both.next()), spawn(both.next())];
            yield_now().await;
            if when == "before it is woken" {
                first.cancel();
                promise.set_result(7).unwrap();
            } else {
                promise.set_result(7).unwrap();
                // One turn each for the callback of the shield, the child's task, and the callback
                // of the child.
                for _ in 0..3 {
                    yield_now().await;
                }
                assert_eq!(first.task_ref().state(), onelane::TaskState::Queued, "{when}");
                first.cancel();
            }
            assert_eq!(second.await, Ok(Some(Ok(Ok(7)))), "{when}");
            assert!(first.await.is_err());
            assert_eq!(both.len(), 1, "the result that the cancelled task claimed is free again");
        });
    }
}

async fn shielded(promise: Promise<u32>) -> Result<u32, TaskError> {
    shield(&promise).await
}

/// A result that was delivered while a task was cancelled is still there after `uncancel`.
#[test]
fn cancel_and_uncancel_a_task_that_waits_for_a_result() {
    virtual_loop().run(async {
        let results = as_completed([sleep(ms(1)), sleep(ms(2))]);
        let task = Rc::new(spawn(results.next()));
        sleep(ms(1)).await;
        // In this turn the first child has ended, and its callback is queued.
        let copy = task.clone();
        call_soon(move || assert_eq!(copy.uncancel(), 0));
        task.cancel();
        assert_eq!((&*task).await, Ok(Some(Ok(()))));
        assert_eq!(time_of(results.next()).await, ms(1), "the second is not lost either");

        let results = as_completed([sleep(ms(1))]);
        let task = spawn(results.next());
        yield_now().await;
        task.cancel();
        task.uncancel();
        assert_eq!(task.await, Ok(Some(Ok(()))), "uncancelled before any delivery");
    });
}

async fn time_of<F: Future>(future: F) -> Duration {
    let begun = time();
    future.await;
    time() - begun
}

/// Two waiters have claimed the two results, so a third waiter gets `None`, until another waiter is
/// dropped.
#[test]
fn wait_in_threes_for_two_results() {
    virtual_loop().run(async {
        let results = as_completed([5, 6].map(|n| sleep(ms(n))));
        let [mut first, mut second] = [results.next(), results.next()];
        assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
        assert_eq!((results.len(), results.next().now_or_never()), (0, Some(None)));
        drop(first);
        assert_eq!(results.len(), 1);
        assert_eq!((second.await, results.next().await), (Some(Ok(())), Some(Ok(()))));
        assert_eq!(results.next().await, None);
    });
}

#[test]
fn hand_a_begun_next_to_another_task() {
    virtual_loop().run(async {
        type Begun = NextCompleted<u32, Option<Result<u32, TaskError>>>;
        let slot: Rc<RefCell<Option<Begun>>> = Rc::default();
        let results = as_completed([async {
            sleep(ms(5)).await;
            7
        }]);
        let (mut next, copy) = (results.next(), slot.clone());
        let giver = spawn(async move {
            assert!(poll!(&mut next).is_pending());
            *copy.borrow_mut() = Some(next);
            pending::<()>().await;
        });
        yield_now().await;
        giver.cancel();
        assert_eq!(slot.take().unwrap().await, Some(Ok(7)));
    });
}

#[test]
fn drop_as_completed_and_let_the_children_run() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let held = Rc::new(());
        let task = spawn({
            let (held, trace) = (held.clone(), trace.clone());
            async move {
                sleep(ms(5)).await;
                trace.push("ran on");
                held
            }
        });
        let done = spawn(async {});
        let results = as_completed([task.task_ref()].iter().map(|_| sleep(ms(1)))).timeout(ms(3600));
        drop(results);
        let results = as_completed([task]);
        assert!(results.next().now_or_never().is_none());
        drop(results);
        done.await.unwrap();
        sleep(ms(9)).await;
        assert_eq!(Rc::strong_count(&held), 1, "another clone of the task's result exists");
    });
    assert_eq!(trace.take(), ["ran on"]);
}

/// A pending `next` keeps its results alive, even after the `AsCompleted` was dropped.
#[test]
fn drop_as_completed_and_keep_a_next() {
    virtual_loop().run(async {
        let next = {
            let results = as_completed([sleep(ms(5))]);
            results.next()
        };
        assert_eq!(next.await, Some(Ok(())));
    });
}

/// Results that were delivered in time are returned first, even if `next` is called later.
#[test]
fn ask_late_and_get_what_was_in_time() {
    let event_loop = virtual_loop();
    event_loop.run(async {
        let results = as_completed([1, 2, 8, 9].map(|n| async move {
            sleep(ms(n)).await;
            n
        }))
        .timeout(ms(5));
        sleep(ms(20)).await;
        assert_eq!(results.len(), 4);
        let mut seen = Vec::new();
        loop {
            match results.next().await {
                Ok(Some(result)) => seen.push(result.unwrap()),
                Ok(None) => break,
                Err(Elapsed) => seen.push(0),
            }
        }
        assert_eq!(seen, [1, 2, 0, 0]);
    });
}

#[test]
fn timeout_zero_with_a_task_that_has_ended() {
    virtual_loop().run(async {
        let (done, running) = (spawn(async { 1 }), spawn(pending()));
        sleep(ms(1)).await;
        let results = as_completed([&running, &done]).timeout(Duration::ZERO);
        assert_eq!(results.next().await, Ok(Some(Ok(1))));
        assert_eq!(results.next().await, Err(Elapsed));
        assert_eq!(results.next().await, Ok(None));
        assert!(!running.is_done());
    });
}

#[test]
fn leave_no_timer_behind() {
    let event_loop = virtual_loop();
    event_loop.run(async {
        let given_up = as_completed([pending::<()>()]).timeout(ms(3600));
        drop(given_up);
        let completed = as_completed([async {}]).timeout(ms(3600));
        sleep(ms(1)).await;
        assert_eq!((event_loop.next_deadline(), completed.len()), (None, 1));
    });
}

/// Only the panic of a child whose result is never read is reported.
#[test]
fn look_at_panics_or_not() {
    let (event_loop, told) = telling_loop();
    event_loop.run(async {
        let results = as_completed(["seen", "unseen"].map(async |text| panic!("{text}") as ()));
        assert!(results.next().await.unwrap().unwrap_err().is_panic());
    });
    assert_eq!(told.take(), ["a task panicked and its result was never read: unseen"]);
}

// ---- intervals ----

/// Calls `tick` repeatedly. After each tick the task is busy for the given number of milliseconds.
/// Returns when each tick was due and when it returned.
fn ticks(behavior: MissedTickBehavior, busy: &[u64]) -> Vec<(u64, u64)> {
    virtual_loop().run(async {
        let begun = time();
        let mut interval = interval(ms(10));
        interval.set_missed_tick_behavior(behavior);
        assert_eq!((interval.period(), interval.missed_tick_behavior()), (ms(10), behavior));
        let mut seen = Vec::new();
        for &busy in busy {
            let due = interval.tick().await;
            seen.push(((due - begun).as_millis() as u64, (time() - begun).as_millis() as u64));
            if busy > 0 {
                sleep(ms(busy)).await;
            }
        }
        seen
    })
}

#[test]
fn miss_ticks_and_go_on() {
    let busy = [0, 3, 25, 0, 0, 0, 20, 0, 0];
    let burst = [(0, 0), (10, 10), (20, 20), (30, 45), (40, 45), (50, 50), (60, 60), (70, 80), (80, 80)];
    assert_eq!(ticks(MissedTickBehavior::Burst, &busy), burst);
    let delay = [(0, 0), (10, 10), (20, 20), (30, 45), (55, 55), (65, 65), (75, 75), (85, 95), (105, 105)];
    assert_eq!(ticks(MissedTickBehavior::Delay, &busy), delay);
    let skip = [(0, 0), (10, 10), (20, 20), (30, 45), (50, 50), (60, 60), (70, 70), (80, 90), (100, 100)];
    assert_eq!(ticks(MissedTickBehavior::Skip, &busy), skip);
}

/// Missed ticks that return at once do not starve other tasks.
#[test]
fn catch_up_a_turn_each() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let mut interval = interval_at(time(), ms(1));
        sleep(ms(2)).await;
        count_turns(&trace, 3);
        for _ in 0..3 {
            interval.tick().await;
            trace.push("tick");
        }
    });
    assert_eq!(trace.take(), ["turn 1", "tick", "turn 2", "tick", "turn 3", "tick"]);
}

#[test]
fn give_up_a_tick_and_lose_none() {
    virtual_loop().run(async {
        let begun = time();
        let mut interval = interval_at(begun + ms(10), ms(10));
        assert_eq!(timeout(ms(4), interval.tick()).await, Err(Elapsed));
        assert_eq!(interval.tick().await - begun, ms(10));
        interval.reset();
        sleep(ms(3)).await;
        interval.reset();
        assert_eq!((interval.tick().await - begun, time() - begun), (ms(23), ms(23)));
    });
}

#[cfg(feature = "report")]
#[test]
fn tick_at_the_ends_of_time() {
    let message = virtual_loop().run(async { panic_of(|| interval(Duration::ZERO)) });
    assert!(message.contains("interval() was called with a period of zero"), "{message}");
    let stuck = virtual_loop().try_run(async {
        for behavior in [MissedTickBehavior::Delay, MissedTickBehavior::Skip, MissedTickBehavior::Burst] {
            let mut interval = interval(Duration::MAX);
            interval.set_missed_tick_behavior(behavior);
            sleep(ms(1)).await;
            interval.tick().await;
            if behavior == MissedTickBehavior::Burst {
                interval.tick().await;
            }
        }
    });
    let Err(onelane::RunError::Deadlock(report)) = stuck else { panic!("no deadlock: {stuck:?}") };
    assert_eq!(common::words(&report.tasks[0]), "a sleep that never ends");
}

/// An interval may be awaited in another task of the loop.
#[test]
fn send_an_interval_to_another_task() {
    fn is_send<T: Send>(it: T) -> T {
        it
    }
    let event_loop = EventLoop::with_virtual_clock();
    let count = Rc::new(Cell::new(0));
    let copy = count.clone();
    event_loop.run(async move {
        let mut interval = is_send(interval(ms(1)));
        drop(spawn(async move {
            loop {
                interval.tick().await;
                copy.set(copy.get() + 1);
            }
        }));
        sleep(Duration::from_micros(3500)).await;
    });
    assert_eq!(count.get(), 4);
}

/// As CPython's traces of the same programs show, `wait_for` cancels a promise when the time is up,
/// like any other awaitable.
#[test]
fn wait_for_a_promise() {
    for case in ["pending", "set before", "set in time", "taken"] {
        let trace = Trace::new();
        virtual_loop().run(async {
            let (promise, copy) = (Promise::<&str>::new(), trace.clone());
            drop(spawn(async move {
                for turn in 0..4 {
                    copy.push(turn.to_string());
                    yield_now().await;
                }
            }));
            match case {
                "set before" => promise.set_result("value").unwrap(),
                "set in time" => {
                    let promise = promise.clone();
                    drop(call_later(ms(10), move || promise.set_result("value").unwrap()));
                }
                _ => {}
            }
            let result = match case {
                "taken" => wait_for(promise.clone(), ms(0)).await,
                "set in time" => wait_for(&promise, ms(20)).await,
                _ => wait_for(&promise, ms(0)).await,
            };
            trace.push(result.map_or("Elapsed", Result::unwrap));
            trace.push(promise.is_cancelled().to_string());
            sleep(ms(1)).await;
        });
        let expected = match case {
            "set before" => "value false 0 1 2 3",
            "set in time" => "0 1 2 3 value false",
            _ => "0 1 Elapsed true 2 3",
        };
        assert_eq!(trace.take().join(" "), expected, "{case}");
    }
}
