//! The records of waits. Each wait on a future of onelane is recorded with its task. Cancellations
//! and timeouts must reach these waits, even if the futures are dropped, moved, or polled with
//! their own wakers. A *set* polls its futures with its own wakers, and only those that were woken.

mod common;

use common::{Trace, ms, on_drop, telling_loop, virtual_loop};
use futures_util::future::{Either, join, join_all, select};
use futures_util::stream::{FuturesUnordered, StreamExt};
use futures_util::{FutureExt, poll};
use onelane::{
    Elapsed, EventLoop, Join, ReturnWhen, Task, TaskError, TaskRef, call_soon, finally, gather, sleep, spawn,
    sync::Event, time, timeout, wait, wait_for, yield_now,
};
use std::cell::{Cell, RefCell};
use std::future::pending;
use std::panic::panic_any;
use std::rc::Rc;

/// A child that loses a race is dropped, and its records are removed. The task then waits only for
/// the sleep.
#[test]
fn lose_a_race_and_cancel() {
    virtual_loop().run(async {
        let parent = spawn(async {
            select(spawn(pending::<()>()).into_future(), sleep(ms(1))).await;
            sleep(ms(3600)).await;
        });
        sleep(ms(2)).await;
        let begun = time();
        parent.cancel();
        assert!(parent.await.unwrap_err().is_cancelled());
        assert_eq!(time() - begun, ms(0));
    });
}

#[test]
fn lose_a_race_inside_of_a_timeout() {
    virtual_loop().run(async {
        let begun = time();
        let timed = timeout(ms(5), async {
            select(spawn(pending::<()>()).into_future(), sleep(ms(1))).await;
            sleep(ms(3600)).await;
        });
        assert_eq!((timed.await, time() - begun), (Err(Elapsed), ms(5)));
    });
}

/// A gather is dropped after one poll, while its children live for one more turn.
#[test]
fn give_up_a_gather_and_cancel_in_the_same_turn() {
    virtual_loop().run(async {
        let begun = time();
        let own: Rc<RefCell<Option<TaskRef>>> = Rc::default();
        let parent = spawn({
            let own = own.clone();
            async move {
                assert!(gather([pending::<()>()]).now_or_never().is_none());
                call_soon(move || _ = own.borrow().as_ref().unwrap().cancel());
                sleep(ms(3600)).await;
            }
        });
        *own.borrow_mut() = Some(parent.task_ref());
        assert!(parent.await.unwrap_err().is_cancelled());
        assert_eq!(time() - begun, ms(0));
    });
}

/// An await that one task begins and another task continues belongs to the second task.
#[test]
fn hand_a_begun_await_to_another_task() {
    virtual_loop().run(async {
        let slot: Rc<RefCell<Option<Join<()>>>> = Rc::default();
        let child = spawn(sleep(ms(10)));
        let giver = spawn({
            let slot = slot.clone();
            async move {
                let mut begun = child.into_future();
                assert!(poll!(&mut begun).is_pending());
                *slot.borrow_mut() = Some(begun);
                pending::<()>().await;
            }
        });
        let taker = spawn(async move {
            yield_now().await;
            let begun = slot.borrow_mut().take().unwrap();
            begun.await
        });
        sleep(ms(1)).await;
        giver.cancel();
        assert_eq!(taker.await, Ok(Ok(())), "the cancellation went to a task that another task awaits");
        assert!(giver.is_cancelled());
    });
}

/// Futures with their own wakers are not polled in each step of their task. Their waits still
/// count.
#[test]
fn cancel_through_an_unordered_set() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let [child_ends, parent_ends] = ["child", "parent"].map(|name| {
            let trace = trace.clone();
            on_drop(move || trace.push(name))
        });
        let parent = spawn(async move {
            let _parent_ends = parent_ends;
            let child = spawn(async move {
                let _child_ends = child_ends;
                pending::<()>().await;
            });
            let mut set = FuturesUnordered::new();
            set.push(async move { drop(child.await) }.boxed_local());
            set.push(sleep(ms(1)).boxed_local());
            while set.next().await.is_some() {}
        });
        sleep(ms(2)).await;
        parent.cancel();
        assert!(parent.await.unwrap_err().is_cancelled());
    });
    assert_eq!(trace.take(), ["child", "parent"]);
}

/// `join_all` of more than thirty futures polls only those that were woken.
#[test]
fn wait_for_many_in_a_join_of_all() {
    virtual_loop().run(async {
        let tasks: Vec<Task<()>> = (1..=40).map(|n| spawn(sleep(ms(n)))).collect();
        let outcomes = join_all(tasks.iter().map(async |task| (wait_for(task, ms(20)).await.is_ok(), task.is_done())));
        let in_time = outcomes.await.into_iter().filter(|&outcome| {
            assert!(outcome.1, "wait_for returned before the task had ended");
            outcome.0
        });
        assert_eq!(in_time.count(), 19, "at 20 ms, the older timer is the timeout's");
    });
}

/// An await of a task that takes this time to end after it was cancelled.
fn slow_to_end(milliseconds: u64) -> Join<()> {
    spawn(finally(pending::<()>(), async move { sleep(ms(milliseconds)).await })).into_future()
}

/// A cancelled task awaits children in a set. Each end of a child must wake the task, not only the
/// first end. Otherwise the task never ends.
#[test]
fn cancel_a_set_of_children_that_end_one_after_the_other() {
    virtual_loop().run(async {
        let start = time();
        let task = spawn(async {
            let mut set: FuturesUnordered<_> = [slow_to_end(10), slow_to_end(20)].into_iter().collect();
            while set.next().await.is_some() {}
        });
        sleep(ms(5)).await;
        task.cancel();
        assert_eq!((task.await, time() - start), (Err(TaskError::Cancelled), ms(25)));
    });
}

/// The same in a `join_all` of more than thirty futures, which uses a set inside.
#[test]
fn cancel_a_join_of_all_whose_children_end_one_after_the_other() {
    virtual_loop().run(async {
        let start = time();
        let task = spawn(async {
            let _ = join_all((10..50).map(slow_to_end)).await;
        });
        sleep(ms(5)).await;
        task.cancel();
        assert_eq!((task.await, time() - start), (Err(TaskError::Cancelled), ms(54)));
    });
}

/// One task awaits nothing. The other task awaits a task, and therefore ends one turn later.
fn of_two_depths() -> FuturesUnordered<Join<()>> {
    let shallow = spawn(sleep(ms(60_000)));
    let deep = spawn(async { drop(spawn(sleep(ms(60_000))).await) });
    [shallow, deep].into_iter().map(IntoFuture::into_future).collect()
}

/// The same without cleanups, for two tasks of which one ends a turn later.
#[test]
fn cancel_a_set_of_children_of_two_depths() {
    virtual_loop().run(async {
        let start = time();
        let task = spawn(async {
            let mut set = of_two_depths();
            while set.next().await.is_some() {}
        });
        sleep(ms(5)).await;
        task.cancel();
        assert_eq!((task.await, time() - start), (Err(TaskError::Cancelled), ms(5)));
    });
}

/// The same in a timeout, which must return.
#[test]
fn expire_around_a_set_of_children_of_two_depths() {
    virtual_loop().run(async {
        let start = time();
        let mut set = of_two_depths();
        let result = timeout(ms(10), async { while set.next().await.is_some() {} }).await;
        assert_eq!((result, time() - start), (Err(Elapsed), ms(10)));
    });
}

/// A cancelled task still waits for a task that it awaits. Then another wait of the task is over.
/// When the cancellation is taken back, the task must still get this wake.
#[test]
fn wake_a_cancelled_task_and_uncancel() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let start = time();
        let tell = {
            let trace = trace.clone();
            move |what: &str| trace.push(format!("{what} at {:?}", time() - start))
        };
        let copy = tell.clone();
        let races = spawn(async move {
            match select(sleep(ms(10)), slow_to_end(95)).await {
                Either::Left(_) => copy("the sleep"),
                Either::Right(_) => copy("the task"),
            }
        });
        let in_a_set = spawn(async move {
            let mut set = FuturesUnordered::new();
            set.push(sleep(ms(10)).boxed_local());
            set.push(slow_to_end(95).map(drop).boxed_local());
            while set.next().await.is_some() {
                tell("one of the set");
            }
        });
        sleep(ms(5)).await;
        races.cancel();
        in_a_set.cancel();
        sleep(ms(10)).await;
        assert_eq!((races.uncancel(), in_a_set.uncancel()), (0, 0));
        assert_eq!((races.await, in_a_set.await), (Ok(()), Ok(())));
    });
    assert_eq!(trace.take(), ["the sleep at 15ms", "one of the set at 15ms", "one of the set at 100ms"]);
}

/// A timeout with many waits inside forgets the numbers of finished waits. It must keep the numbers
/// of pending waits.
#[test]
fn wait_for_many_in_a_timeout_beside_one_that_goes_on() {
    virtual_loop().run(async {
        let event = Rc::new(Event::new());
        let copy = event.clone();
        let ticker = spawn(async move {
            loop {
                sleep(ms(1)).await;
                copy.set();
                copy.clear();
            }
        });
        let many = async |times: usize| {
            for _ in 0..times {
                event.wait().await;
                spawn(async {}).await.unwrap();
                yield_now().await;
            }
            pending::<()>().await;
        };
        // The many short waits are not in this timeout, but in another one.
        let task = spawn(pending::<()>());
        let known = task.task_ref();
        let later = async {
            sleep(ms(1)).await;
            pending::<()>().await;
        };
        let inside = finally(join(task.into_future(), later), async {});
        let (long, short) = join(timeout(ms(300), inside), timeout(ms(250), many(200))).await;
        assert!(long.is_err() && short.is_err() && known.is_cancelled());
        // The short waits are inside.
        let task = spawn(pending::<()>());
        let known = task.task_ref();
        assert!(timeout(ms(50), join(task.into_future(), many(usize::MAX))).await.is_err() && known.is_cancelled());
        ticker.cancel();
    });
}

#[test]
fn wait_and_give_up_and_leave_nothing_with_the_task() {
    virtual_loop().run(async {
        let held = Rc::new(());
        let task = spawn(pending::<()>());
        for _ in 0..3 {
            let (done, pending) = wait([&task]).timeout(ms(1)).await;
            assert_eq!((done.len(), pending.len()), (0, 1));
            let held = held.clone();
            let callback = task.add_done_callback(move |_| drop(held));
            assert!(task.remove_done_callback(callback));
        }
        assert_eq!(Rc::strong_count(&held), 1);
    });
}

#[test]
fn evaluate_all_arguments_before_the_first_is_spawned() {
    let trace = Trace::new();
    let (first, second) = (trace.clone(), trace.clone());
    virtual_loop().run(async move {
        let gathered = onelane::gather!(async move { first.push("future") }, spawn(async move { second.push("task") }));
        gathered.await.unwrap();
    });
    assert_eq!(trace.take(), ["task", "future"]);
}

/// The panic of a child counts as reported only if the gather's result was read.
#[test]
fn gather_and_look_at_panics_or_not() {
    for awaited in [false, true] {
        let (event_loop, told) = telling_loop();
        event_loop.run(async {
            let gathered = gather([async { panic!("in a child") }]);
            if awaited {
                assert!(gathered.await.unwrap_err().is_panic());
            } else {
                drop(gathered);
            }
            yield_now().await;
            yield_now().await;
        });
        assert_eq!(told.take().len(), usize::from(!awaited));
    }
}

/// The destructor of a payload panics. The panic stays inside the loop, whatever drops the payload
/// last.
#[test]
fn panic_with_a_payload_that_panics() {
    struct Payload;
    impl Drop for Payload {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                panic!("in the drop of a payload");
            }
        }
    }
    let event_loop = virtual_loop();
    drop(event_loop.spawn(async { panic_any(Payload) }));
    assert_eq!(event_loop.turn().tasks, 0);
    drop(event_loop.spawn(async { panic_any(Payload) }));
    let result = event_loop.run(async {
        yield_now().await;
        7
    });
    assert_eq!(result, 7);
    drop(event_loop.spawn(async { panic_any(Payload) }));
    drop(event_loop);
}

/// The callbacks that are ready when the last task ends are called, and also those that they queue.
#[test]
fn end_the_run_with_callbacks_ready() {
    for with_another in [true, false] {
        let called = Rc::new(Cell::new(0));
        let count = called.clone();
        onelane::run(async move {
            if with_another {
                drop(spawn(pending::<()>()));
            }
            call_soon(move || {
                count.set(1);
                call_soon(move || count.set(2));
            });
        });
        assert_eq!(called.get(), 2, "another task: {with_another}");
    }
}

/// `run` ends after the same number of turns as `run_until_complete` and the wait for cancelled
/// tasks in asyncio: the turn of main's callback, the turn in which the last task ends, and two
/// more.
#[test]
fn end_the_run_with_a_chain_of_callbacks() {
    fn again(count: Rc<Cell<u32>>) {
        count.set(count.get() + 1);
        call_soon(move || again(count));
    }
    let (event_loop, count) = (virtual_loop(), Rc::new(Cell::new(0)));
    let chain = count.clone();
    event_loop.run(async move {
        drop(spawn(pending::<()>()));
        call_soon(move || again(chain));
    });
    assert_eq!(count.get(), 4);
}

/// A wait that is finished is dropped, with all that it held, even if some of its tasks go on.
#[test]
fn wait_for_one_of_two_and_drop_its_result() {
    virtual_loop().run(async {
        let held = Rc::new(());
        let (copy, long) = (held.clone(), spawn(async { pending::<Rc<()>>().await }));
        let short = spawn(async move { copy });
        let (done, running) = wait([short, long]).return_when(ReturnWhen::FirstCompleted).await;
        assert_eq!((done.len(), running.len()), (1, 1));
        drop(done);
        assert_eq!(Rc::strong_count(&held), 1, "the first task's result is still held");
    });
}

/// The result of a remote task is not lost when the loop is dropped.
#[test]
fn drop_the_loop_with_an_outcome_on_its_way() {
    let event_loop = EventLoop::new();
    let remote_task = event_loop.remote().spawn(async { 42 }).unwrap();
    while event_loop.turn().tasks == 0 {}
    while event_loop.turn().tasks > 0 {}
    drop(event_loop);
    assert_eq!(remote_task.wait(), Ok(42));
}

/// A remote task does not count as a source of events. To await a stuck remote task of the same
/// loop is a deadlock.
#[test]
fn await_a_remote_task_that_waits_for_ever() {
    let event_loop = virtual_loop();
    let remote_task = event_loop.remote().spawn(pending::<()>()).unwrap();
    assert!(event_loop.try_run(remote_task).is_err());
}

#[test]
fn wait_for_a_task_of_another_loop_without_time() {
    let other = virtual_loop();
    let task = other.spawn(pending::<()>());
    let message = virtual_loop().run(async {
        let waiting = std::panic::AssertUnwindSafe(wait_for(&task, ms(0)));
        common::text_of(&*waiting.catch_unwind().await.unwrap_err())
    });
    assert!(message.contains("belongs to another event loop"), "{message}");
    assert!(!task.is_done() && task.cancelling() == 0);
}

/// A timeout keeps the numbers of its awaits as ranges, and forgets ranges that are finished. It
/// must not forget the range of the early await, which still goes on.
#[test]
fn expire_around_an_early_await_and_thousands_of_later_ones() {
    virtual_loop().run(async {
        // This task takes numbers too, so the numbers of the awaits below are not consecutive.
        drop(spawn(async {
            loop {
                sleep(ms(1)).await;
            }
        }));
        let (early, begun) = (spawn(finally(pending::<()>(), async { sleep(ms(7)).await })), time());
        let child = early.task_ref();
        let later = async {
            for _ in 0..1000 {
                spawn(sleep(ms(1))).await.unwrap();
            }
            pending::<()>().await;
        };
        let ended = timeout(ms(5000), join(early.into_future(), later)).await;
        assert_eq!((ended.is_err(), child.is_cancelled(), time() - begun), (true, true, ms(5007)));
    });
}

/// A timeout moves to another task. The move must not interrupt it, because nothing has cancelled
/// it.
#[test]
fn hand_a_begun_timeout_to_another_task() {
    virtual_loop().run(async {
        for (milliseconds, expected) in [(3, Ok("value")), (9, Err(Elapsed))] {
            let begun = time();
            let mut limited = Box::pin(timeout(ms(5), async move {
                sleep(ms(1)).await;
                sleep(ms(milliseconds - 1)).await;
                "value"
            }));
            assert!(poll!(&mut limited).is_pending());
            let other = spawn(limited);
            assert_eq!(other.await.unwrap(), expected);
            assert_eq!(time() - begun, ms(milliseconds.min(5)));
        }
    });
}

/// A cancellation reaches a task on two ways, through two other tasks. It counts once, and both
/// other tasks wait for the end of this task.
#[test]
fn cancel_a_diamond_and_count_each_task_once() {
    for has_child in [false, true] {
        virtual_loop().run(async {
            let cleans = finally(pending::<()>(), async { sleep(ms(10)).await });
            let bottom = Rc::new(spawn(async move {
                if has_child {
                    _ = spawn(cleans).await;
                } else {
                    cleans.await;
                }
            }));
            let [left, right] = [bottom.clone(), bottom.clone()].map(|bottom| {
                spawn(async move {
                    _ = (&*bottom).await;
                })
            });
            let ends = Rc::new(RefCell::new(Vec::new()));
            for side in [&left, &right] {
                let (ends, begun) = (ends.clone(), time());
                side.add_done_callback(move |side| ends.borrow_mut().push((time() - begun, side.cancelling())));
            }
            let top = spawn(join(left.into_future(), right.into_future()));
            for _ in 0..4 {
                yield_now().await;
            }
            top.cancel();
            assert!(top.await.unwrap_err().is_cancelled());
            assert_eq!((bottom.cancelling(), ends.take()), (1, vec![(ms(10), 1); 2]), "{has_child}");
        });
    }
}
