//! Primitives in cases that CPython's traces do not cover: waiters that are cancelled at a bad
//! moment, dropped, moved, polled without reason, or called back by user code.

mod common;

use common::{Census, Trace, alone_and_leaking, foreign, ms, on_drop, panic_of, text_of, virtual_loop};
use futures_util::future::{Either, join, select};
use futures_util::{FutureExt, poll};
use onelane::sync::{
    Barrier, BoundedSemaphore, BrokenBarrier, Condition, Event, LifoQueue, Lock, PriorityQueue, PutError, Queue,
    QueueShutDown, Semaphore, SenderDropped, TryGetError, TryPutError, channel, oneshot, unbounded,
};
use onelane::{Elapsed, Task, call_soon, gather, sleep, spawn, time, timeout, yield_now};
use std::cell::{Cell, RefCell};
use std::cmp::{Ordering, Reverse};
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Runs everything that is ready, and everything that becomes ready through it.
async fn settle() {
    for _ in 0..5 {
        yield_now().await;
    }
}

/// A task that records when it goes on, and then keeps its result until it is cancelled.
fn holder<T: 'static>(trace: &Trace, name: &str, wait: impl Future<Output = T> + 'static) -> Task<()> {
    let (trace, name) = (trace.clone(), name.to_string());
    spawn(async move {
        let got = wait.await;
        trace.push(name);
        pending::<()>().await;
        drop(got);
    })
}

/// A task that records when it goes on, and releases its result.
fn passer<T: 'static>(trace: &Trace, name: &str, wait: impl Future<Output = T> + 'static) -> Task<()> {
    let (trace, name) = (trace.clone(), name.to_string());
    spawn(async move {
        drop(wait.await);
        trace.push(name);
    })
}

// ---- a waiter leaves at a bad moment ----

/// The ways in which a waiter can leave, before or after something was handed to it.
#[derive(Clone, Copy, Debug)]
enum Way {
    CancelThenGive,
    GiveThenCancel,
    /// The future is dropped by its own task, and the task goes on.
    LoseARace,
}

const WAYS: [Way; 3] = [Way::CancelThenGive, Way::GiveThenCancel, Way::LoseARace];

/// Two tasks wait. The first one leaves while one thing is handed over, and the second must receive
/// this thing.
async fn go_in_this_way<T: 'static>(way: Way, first: impl Future<Output = T> + 'static, give: impl FnOnce()) {
    let up = Rc::new(Event::new());
    let given_up = up.wait();
    // `given_up` is polled first, so `first` loses the race although both are ready.
    let task = spawn(async move {
        match select(pin!(given_up), pin!(first)).await {
            Either::Left(_) => "gave up",
            Either::Right(_) => "got it",
        }
    });
    // During this sleep, the second waiter queues behind the first.
    sleep(ms(1)).await;
    match way {
        Way::CancelThenGive => {
            task.cancel();
            give();
        }
        Way::GiveThenCancel => {
            give();
            task.cancel();
        }
        Way::LoseARace => {
            give();
            up.set();
        }
    }
    match task.await {
        Ok(text) => assert_eq!((text, matches!(way, Way::LoseARace)), ("gave up", true)),
        Err(error) => assert!(error.is_cancelled()),
    }
}

/// Runs `scene` for each way, with a list of what happened.
fn in_each_way<F: Future<Output = ()>>(scene: impl Fn(Way, Trace) -> F, expected: &[&str]) {
    for way in WAYS {
        let trace = Trace::new();
        virtual_loop().run(async {
            scene(way, trace.clone()).await;
            settle().await;
        });
        assert_eq!(trace.take(), expected, "{way:?}");
    }
}

#[test]
fn release_a_lock_to_one_that_goes() {
    in_each_way(
        async |way, trace| {
            let lock = Rc::new(Lock::new(()));
            let guard = lock.lock_owned().await;
            let mut going = pin!(go_in_this_way(way, lock.lock_owned(), move || drop(guard)));
            assert!(poll!(&mut going).is_pending());
            drop(holder(&trace, "second", lock.lock_owned()));
            going.await;
            settle().await;
            assert!(lock.is_locked() && lock.try_lock().is_none());
        },
        &["second"],
    );
}

#[test]
fn release_a_permit_to_one_that_goes() {
    in_each_way(
        async |way, trace| {
            let semaphore = Rc::new(Semaphore::new(0));
            let giver = semaphore.clone();
            let mut going = pin!(go_in_this_way(way, semaphore.acquire(), move || giver.release()));
            assert!(poll!(&mut going).is_pending());
            drop(holder(&trace, "second", semaphore.acquire()));
            going.await;
            settle().await;
            assert_eq!(semaphore.available_permits(), 0);
        },
        &["second"],
    );
}

#[test]
fn put_for_a_getter_that_goes() {
    in_each_way(
        async |way, trace| {
            let queue = Rc::new(Queue::unbounded());
            let (giver, one, two) = (queue.clone(), queue.clone(), queue.clone());
            let first = async move { one.get().await };
            let mut going = pin!(go_in_this_way(way, first, move || giver.try_put(7).unwrap()));
            assert!(poll!(&mut going).is_pending());
            let copy = trace.clone();
            drop(spawn(async move { copy.push(format!("second got {}", two.get().await.unwrap())) }));
            going.await;
            settle().await;
            assert!(queue.is_empty());
        },
        &["second got 7"],
    );
}

#[test]
fn make_room_for_a_putter_that_goes() {
    in_each_way(
        async |way, trace| {
            let queue = Rc::new(Queue::bounded(1));
            queue.try_put(0).unwrap();
            let (giver, one, two) = (queue.clone(), queue.clone(), queue.clone());
            let first = async move { one.put(1).await };
            let mut going = pin!(go_in_this_way(way, first, move || _ = giver.try_get().unwrap()));
            assert!(poll!(&mut going).is_pending());
            drop(passer(&trace, "second", async move { two.put(2).await }));
            going.await;
            settle().await;
            assert_eq!((queue.try_get(), queue.try_get()), (Ok(2), Err(TryGetError::Empty)));
        },
        &["second"],
    );
}

#[test]
fn notify_a_waiter_that_goes() {
    in_each_way(
        async |way, trace| {
            let condition = Rc::new(Condition::new(()));
            let wait = |condition: &Rc<Condition>| {
                let condition = condition.clone();
                async move { drop(condition.wait(condition.lock().await).await) }
            };
            let giver = condition.clone();
            let give = move || giver.notify_one(&giver.try_lock().unwrap());
            let mut going = pin!(go_in_this_way(way, wait(&condition), give));
            assert!(poll!(&mut going).is_pending());
            drop(passer(&trace, "second", wait(&condition)));
            going.await;
            settle().await;
            assert!(!condition.is_locked());
        },
        &["second"],
    );
}

/// One of two waiters leaves a barrier of three. The barrier waits for a replacement.
#[test]
fn leave_a_barrier_of_three() {
    virtual_loop().run(async {
        let barrier = Barrier::new(3);
        let tasks = [(); 2].map(|()| spawn(barrier.wait()));
        yield_now().await;
        assert_eq!(barrier.n_waiting(), 2);
        tasks[0].cancel();
        let [_, second] = tasks;
        yield_now().await;
        assert_eq!((barrier.n_waiting(), barrier.is_broken()), (1, false));
        let third = spawn(barrier.wait());
        yield_now().await;
        assert_eq!(barrier.wait().await, Ok(2));
        // As in asyncio, `wait` returns the number of tasks that waited at arrival, so a number may
        // occur twice.
        assert_eq!((second.await, third.await), (Ok(Ok(1)), Ok(Ok(1))));
    });
}

/// A waiter is cancelled after its release. The barrier still drains, and the task that waits for
/// the draining goes on.
#[test]
fn drain_a_barrier_whose_waiter_was_cancelled() {
    virtual_loop().run(async {
        let barrier = Barrier::new(2);
        let released = spawn(barrier.wait());
        yield_now().await;
        assert_eq!(barrier.wait().await, Ok(1));
        let mut next = pin!(barrier.wait());
        assert!(poll!(&mut next).is_pending());
        assert_eq!(barrier.n_waiting(), 0, "it drains");
        released.cancel();
        assert!(released.await.is_err());
        yield_now().await;
        assert!(poll!(&mut next).is_pending());
        assert_eq!(barrier.n_waiting(), 1, "the next round has begun");
        assert_eq!((barrier.wait().await, next.await), (Ok(1), Ok(0)));
    });
}

#[test]
fn cancel_a_waiter_for_an_event_and_set_it() {
    virtual_loop().run(async {
        let event = Event::new();
        let tasks = [(); 3].map(|()| spawn(event.wait()));
        yield_now().await;
        tasks[0].cancel();
        event.set();
        tasks[1].cancel();
        settle().await;
        assert_eq!(tasks.map(|task| task.is_cancelled()), [true, true, false]);
        assert_eq!(format!("{event:?}"), "Event { set: true, waiters: 0 }");
    });
}

/// A timeout expires in the turn in which the lock is released. The lock must not be lost.
#[test]
fn expire_when_the_lock_is_released() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let lock = Rc::new(Lock::new(()));
        let timed = |name: &'static str, limit: Duration| {
            let (lock, trace) = (lock.clone(), trace.clone());
            spawn(async move {
                let got = timeout(limit, lock.lock()).await;
                trace.push(format!("{name} {} at {limit:?}", if got.is_ok() { "locked" } else { "expired" }));
            })
        };
        let guard = lock.lock().await;
        let tasks = [timed("first", ms(5)), timed("second", ms(5)), timed("third", ms(9))];
        sleep(ms(5)).await;
        drop(guard);
        gather(tasks).await.unwrap();
        assert!(!lock.is_locked());
    });
    // Main's sleep was armed before the timeouts, so main releases the lock in the turn in which
    // they expire.
    assert_eq!(trace.take(), ["first expired at 5ms", "second expired at 5ms", "third locked at 9ms"]);
}

/// A destructor of the releasing task cancels the waiter, in the same step as the release.
#[test]
fn cancel_from_the_destructor_of_the_one_that_releases() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let lock = Rc::new(Lock::new(()));
        let victim: Rc<RefCell<Option<Task<()>>>> = Rc::default();
        let (copy, doomed) = (lock.clone(), victim.clone());
        let releaser = spawn(async move {
            let _cancels = on_drop(move || _ = doomed.borrow().as_ref().unwrap().cancel());
            let _guard = copy.lock_owned().await; // dropped first
            pending::<()>().await;
        });
        yield_now().await;
        *victim.borrow_mut() = Some(holder(&trace, "victim", lock.lock_owned()));
        drop(holder(&trace, "heir", lock.lock_owned()));
        yield_now().await;
        releaser.cancel();
        settle().await;
        assert!(victim.borrow().as_ref().unwrap().is_cancelled());
    });
    assert_eq!(trace.take(), ["heir"]);
}

/// A notified waiter of a condition is cancelled before it has locked again. It must not keep the
/// lock from the next task.
#[test]
fn cancel_a_holder_and_a_waiter_that_locks_again() {
    virtual_loop().run(async {
        let condition = Rc::new(Condition::new(0));
        let copy = condition.clone();
        let waiter = spawn(async move {
            let guard = copy.lock().await;
            *copy.wait(guard).await += 1;
        });
        yield_now().await;
        let guard = condition.lock().await;
        condition.notify_one(&guard);
        yield_now().await;
        assert!(!waiter.is_done(), "it waits for the lock");
        let other = spawn({
            let condition = condition.clone();
            async move {
                let guard = condition.lock().await;
                *condition.wait(guard).await += 10;
            }
        });
        yield_now().await;
        waiter.cancel();
        drop(guard);
        settle().await;
        assert!(waiter.is_cancelled());
        // `other` did not wait yet when the notification was passed on, so no task received it.
        assert!(!other.is_done());
        condition.notify_all(&condition.lock().await);
        other.await.unwrap();
        assert_eq!(*condition.lock().await, 10);
    });
}

/// A cancelled task that waits receives no permit, item or turn, and new waiters do not queue
/// behind it.
#[test]
fn overtake_the_dying() {
    virtual_loop().run(async {
        let (lock, semaphore) = (Rc::new(Lock::new(())), Semaphore::new(1));
        let (guard, permit) = (lock.lock().await, semaphore.acquire().await);
        let tasks = [spawn(drop_all(lock.lock_owned())), spawn(drop_all(semaphore.acquire()))];
        yield_now().await;
        tasks.iter().for_each(|task| assert!(task.cancel()));
        drop((guard, permit));
        assert!(lock.try_lock().is_some());
        assert!(!semaphore.is_locked() && semaphore.try_acquire().is_some());
    });
}

async fn drop_all<T>(future: impl Future<Output = T>) {
    drop(future.await);
}

/// The first waiter is cancelled and the lock is released. The lock passes to the second waiter
/// when the first one is dropped, not before. This is asyncio's order.
#[test]
fn release_while_the_first_is_dying() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let lock = Rc::new(Lock::new(()));
        let guard = lock.lock().await;
        let first = passer(&trace, "first", lock.lock_owned());
        drop(passer(&trace, "second", lock.lock_owned()));
        yield_now().await;
        first.cancel();
        drop(guard);
        let copy = trace.clone();
        call_soon(move || copy.push("soon"));
        settle().await;
    });
    assert_eq!(trace.take(), ["soon", "second"]);
}

/// A waiter that leaves wakes the next one only if the lock is free and no waiter was woken
/// already.
#[test]
fn go_while_the_lock_is_held_or_promised() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let lock = Rc::new(Lock::new(()));
        let guard = lock.lock().await;
        let gone = passer(&trace, "gone", lock.lock_owned());
        drop(holder(&trace, "heir", lock.lock_owned()));
        let next = holder(&trace, "next", lock.lock_owned());
        yield_now().await;
        gone.cancel();
        settle().await;
        assert!(trace.take().is_empty() && lock.is_locked());
        let mut given_up = lock.lock();
        assert!(poll!(&mut given_up).is_pending());
        drop(guard);
        drop(given_up);
        settle().await;
        assert!(!next.is_done());
    });
    assert_eq!(trace.take(), ["heir"]);
}

/// A task has to wait although a permit is free, because an earlier waiter goes first. This waiter
/// then wakes the task.
#[test]
fn come_between_a_release_and_its_waiter() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let semaphore = Semaphore::new(0);
        drop(holder(&trace, "first", semaphore.acquire()));
        yield_now().await;
        semaphore.release();
        semaphore.release();
        let mut second = semaphore.acquire();
        assert!(poll!(&mut second).is_pending() && semaphore.is_locked());
        drop(holder(&trace, "second", second));
        settle().await;
    });
    assert_eq!(trace.take(), ["first", "second"]);
}

/// As in asyncio, a waiter that leaves passes a wake to the next waiter, which then goes to the end
/// of the queue.
#[test]
fn leave_a_barrier_and_change_the_order() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let barrier = Barrier::new(4);
        let party = |name: &'static str| {
            let (wait, trace) = (barrier.wait(), trace.clone());
            spawn(async move { trace.push(format!("{name} {}", wait.await.unwrap())) })
        };
        let tasks = ["a", "b", "c"].map(party);
        yield_now().await;
        tasks[0].cancel();
        settle().await;
        let last = party("d");
        yield_now().await;
        assert_eq!(barrier.wait().await, Ok(3));
        last.await.unwrap();
        settle().await;
    });
    assert_eq!(trace.take(), ["c 2", "b 1", "d 2"]);
}

/// A future that is dropped while it waits leaves no waker behind.
#[test]
fn give_up_and_leave_no_waker() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let (event, semaphore, barrier) = (Event::new(), Semaphore::new(0), Barrier::new(2));
    let (lock, queue, (sender, receiver)) = (Lock::new(()), Queue::<u8>::unbounded(), oneshot::<u8>());
    let (guard, mut receiver) = (lock.try_lock(), receiver);
    let mut futures: (_, _, _, _, _) = (event.wait(), semaphore.acquire(), barrier.wait(), lock.lock(), queue.get());
    for nth in 0..6 {
        let count = dropped.clone();
        let waker = foreign(|| {}, move || _ = count.fetch_add(1, SeqCst));
        let context = &mut Context::from_waker(&waker);
        assert!(match nth {
            0 => futures.0.poll_unpin(context).is_pending(),
            1 => futures.1.poll_unpin(context).is_pending(),
            2 => futures.2.poll_unpin(context).is_pending(),
            3 => futures.3.poll_unpin(context).is_pending(),
            4 => futures.4.poll_unpin(context).is_pending(),
            _ => receiver.poll_unpin(context).is_pending(),
        });
    }
    assert_eq!(dropped.load(SeqCst), 0);
    drop((futures, receiver));
    assert_eq!(dropped.load(SeqCst), 6);
    drop((guard, sender));
}

// ---- uncancel ----

/// What is handed over while tasks are cancelled may go to other tasks. What is left then goes to
/// the cancelled tasks after `uncancel`.
#[test]
fn uncancel_and_get_what_is_left() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let (lock, semaphore, event) = (Rc::new(Lock::new(())), Semaphore::new(0), Event::new());
        let (getting, putting) = (Rc::new(Queue::unbounded()), Rc::new(Queue::bounded(1)));
        let (condition, barrier) = (Rc::new(Condition::new(())), Barrier::new(2));
        putting.try_put(0).unwrap();
        let guard = lock.lock().await;
        let (queue, room, waited) = (getting.clone(), putting.clone(), condition.clone());
        let tasks = [
            passer(&trace, "lock", lock.lock_owned()),
            passer(&trace, "semaphore", semaphore.acquire()),
            passer(&trace, "event", event.wait()),
            passer(&trace, "get", async move { queue.get().await }),
            passer(&trace, "put", async move { room.put(1).await }),
            passer(&trace, "condition", async move { drop(waited.wait(waited.lock().await).await) }),
            passer(&trace, "barrier", barrier.wait()),
        ];
        yield_now().await;
        tasks.iter().for_each(|task| assert!(task.cancel()));
        drop(guard);
        semaphore.release();
        event.set();
        event.clear();
        getting.try_put(1).unwrap();
        putting.try_get().unwrap();
        condition.notify_one(&condition.lock().await);
        assert_eq!(barrier.wait().now_or_never(), Some(Ok(1)));
        tasks.iter().for_each(|task| assert_eq!(task.uncancel(), 0));
        for task in tasks {
            task.await.unwrap();
        }
    });
    assert_eq!(trace.take(), ["lock", "semaphore", "event", "get", "put", "condition", "barrier"]);
}

/// A waiter that is uncancelled keeps its place in the queue.
#[test]
fn uncancel_and_keep_the_place() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let semaphore = Semaphore::new(0);
        let tasks = ["first", "second", "third"].map(|name| passer(&trace, name, semaphore.acquire()));
        yield_now().await;
        tasks[0].cancel();
        tasks[1].cancel();
        tasks[1].uncancel();
        tasks[0].uncancel();
        yield_now().await;
        assert!(trace.take().is_empty(), "polled without a wake");
        semaphore.release();
        settle().await;
    });
    assert_eq!(trace.take(), ["first", "second", "third"]);
}

/// The waiter also awaits a task. So a cancellation goes to that task and does not queue the
/// waiter. The event that is set in the meantime must wake the waiter.
#[test]
fn uncancel_one_that_awaits_a_task_too() {
    virtual_loop().run(async {
        let event = Event::new();
        let child = spawn(async {
            // The sleep ends normally, because the cancellation is taken back before the child is
            // stepped.
            sleep(ms(5)).await;
        });
        let (wait, begun) = (event.wait(), Rc::new(Cell::new(false)));
        let flag = begun.clone();
        let child_ref = child.task_ref();
        let parent = spawn(async move {
            let waits = async {
                wait.await;
                flag.set(true);
            };
            join(waits, child.into_future()).await.1
        });
        yield_now().await;
        yield_now().await;
        parent.cancel();
        event.set();
        child_ref.uncancel();
        parent.uncancel();
        yield_now().await;
        assert!(begun.get(), "the event did not wake it");
        assert_eq!(parent.await, Ok(Ok(())));
    });
}

/// A wait that begins in one task and ends in another survives the end of the first task.
#[test]
fn hand_a_begun_wait_to_another_task() {
    virtual_loop().run(async {
        let semaphore = Semaphore::new(0);
        let slot = Rc::new(RefCell::new(Some(Box::pin(semaphore.acquire()))));
        let copy = slot.clone();
        let giver = spawn(async move {
            let mut begun = copy.borrow_mut().take().unwrap();
            assert!(poll!(&mut begun).is_pending());
            *copy.borrow_mut() = Some(begun);
            pending::<()>().await;
        });
        yield_now().await;
        giver.cancel();
        let begun = slot.borrow_mut().take().unwrap();
        let taker = spawn(async move { begun.await.forget() });
        yield_now().await;
        semaphore.release();
        taker.await.unwrap();
        assert_eq!(semaphore.available_permits(), 0);
    });
}

// ---- unneeded polls ----

#[test]
fn poll_without_a_reason() {
    virtual_loop().run(async {
        let (lock, semaphore, event) = (Rc::new(Lock::new(())), Semaphore::new(0), Event::new());
        let (getting, putting) = (Queue::unbounded(), Queue::bounded(1));
        let (condition, barrier) = (Condition::new(()), Barrier::new(2));
        putting.try_put(0).unwrap();
        let guard = lock.lock().await;
        // Behind each first waiter is a second one. In the loop below, the first waiter is woken,
        // but is not polled again.
        let mut first: (_, _, _, _) =
            (lock.lock(), semaphore.acquire(), Box::pin(getting.get()), Box::pin(putting.put(1)));
        let mut second: (_, _, _, _) =
            (lock.lock(), semaphore.acquire(), Box::pin(getting.get()), Box::pin(putting.put(2)));
        let (mut waiting, mut arrived) = (event.wait(), barrier.wait());
        let mut notified = Box::pin(condition.wait(condition.lock().await));
        assert!(poll!(&mut first.0).is_pending() && poll!(&mut first.1).is_pending());
        assert!(poll!(&mut first.2).is_pending() && poll!(&mut first.3).is_pending());
        for round in 0..6 {
            if round == 3 {
                semaphore.release();
                getting.try_put(1).unwrap();
                putting.try_get().unwrap();
            }
            assert!(poll!(&mut second.0).is_pending() && poll!(&mut second.1).is_pending());
            assert!(poll!(&mut second.2).is_pending() && poll!(&mut second.3).is_pending());
            assert!(poll!(&mut waiting).is_pending() && poll!(&mut arrived).is_pending());
            assert!(poll!(&mut notified).is_pending());
            assert_eq!(barrier.n_waiting(), 1);
        }
        drop(guard);
        assert!(poll!(&mut second.0).is_pending(), "it overtook the first");
        assert!(poll!(&mut first.0).is_ready());
        assert!(poll!(&mut first.1).is_ready());
        assert_eq!((poll!(&mut first.2), poll!(&mut first.3)), (Poll::Ready(Ok(1)), Poll::Ready(Ok(()))));
    });
}

/// A woken waiter does not own the item yet. Another task may take the item first, and the woken
/// waiter then goes to the end of the queue.
#[test]
fn lose_the_item_and_line_up_again() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let queue = Rc::new(Queue::unbounded());
        let getter = |name: &'static str| {
            let (queue, trace) = (queue.clone(), trace.clone());
            spawn(async move { trace.push(format!("{name} got {}", queue.get().await.unwrap())) })
        };
        let tasks = [getter("first"), getter("second")];
        yield_now().await;
        queue.try_put(1).unwrap();
        assert_eq!(queue.get().await, Ok(1));
        yield_now().await;
        queue.try_put(2).unwrap();
        queue.try_put(3).unwrap();
        gather(tasks).await.unwrap();
    });
    assert_eq!(trace.take(), ["second got 2", "first got 3"]);
}

// ---- code of others ----

thread_local! {
    /// What a foreign waker does when it is woken or dropped. It is stored here because wakers must
    /// be `Send`, and primitives are not.
    static ACT: RefCell<Option<Rc<dyn Fn()>>> = const { RefCell::new(None) };
}

fn acting_waker(act: impl Fn() + 'static) -> Waker {
    ACT.set(Some(Rc::new(act)));
    let act = || {
        if let Some(act) = ACT.with_borrow(Clone::clone) {
            act();
        }
    };
    foreign(act, act)
}

/// The wakers use the same primitives, when they are woken and when they are dropped.
#[test]
fn come_back_from_a_waker() {
    let semaphore = Rc::new(Semaphore::new(0));
    let (event, queue) = (Rc::new(Event::new()), Rc::new(Queue::unbounded()));
    let calls = Rc::new(Cell::new(0));
    let waker = acting_waker({
        let (semaphore, event, queue, calls) = (semaphore.clone(), event.clone(), queue.clone(), calls.clone());
        move || {
            calls.set(calls.get() + 1);
            drop(semaphore.try_acquire());
            event.set();
            event.clear();
            _ = queue.try_get();
            _ = format!("{semaphore:?} {event:?} {queue:?}");
            _ = event.wait().now_or_never();
            drop(semaphore.acquire().now_or_never());
        }
    });
    let mut context = Context::from_waker(&waker);
    let (mut acquire, mut wait, mut get) = (semaphore.acquire(), event.wait(), queue.get());
    for _ in 0..2 {
        assert!(acquire.poll_unpin(&mut context).is_pending());
        assert!(get.poll_unpin(&mut context).is_pending());
    }
    assert!(wait.poll_unpin(&mut context).is_pending());
    semaphore.release();
    event.set();
    queue.try_put(1).unwrap();
    assert!(calls.get() >= 3);
    assert!(acquire.poll_unpin(&mut context).is_ready());
    assert!(wait.poll_unpin(&mut context).is_ready());
    assert!(get.poll_unpin(&mut context).is_pending(), "the waker took the item");
    drop((acquire, wait, get));
    assert_eq!((semaphore.available_permits(), semaphore.is_locked()), (1, false));
    ACT.set(None);
}

/// The second poll drops the waker of the first poll, and the destructor of this waker releases a
/// permit. The second poll notices this.
#[test]
fn release_while_an_old_waker_is_dropped() {
    let semaphore = Rc::new(Semaphore::new(0));
    let copy = semaphore.clone();
    let first = acting_waker(move || copy.release());
    let mut acquire = semaphore.acquire();
    assert!(acquire.poll_unpin(&mut Context::from_waker(&first)).is_pending());
    drop(first);
    assert!(acquire.poll_unpin(&mut Context::from_waker(Waker::noop())).is_ready());
    ACT.set(None);
}

/// A queue drops its items, and their destructors use this queue.
#[test]
fn drop_items_that_use_the_queue() {
    struct Item(Rc<Queue<Item>>, Trace);
    impl Drop for Item {
        fn drop(&mut self) {
            let refused = matches!(self.0.try_get(), Err(TryGetError::ShutDown));
            self.1.push(format!("{} {refused} {}", self.0.len(), self.0.join().now_or_never().is_some()));
        }
    }
    let (queue, trace) = (Rc::new(Queue::unbounded()), Trace::new());
    for _ in 0..2 {
        queue.try_put(Item(queue.clone(), trace.clone())).unwrap();
    }
    queue.shutdown(true);
    assert_eq!(trace.take(), ["0 true true"; 2]);
    drop(queue.try_put(Item(queue.clone(), trace.clone())));
    assert_eq!((trace.take(), Rc::strong_count(&queue)), (vec!["0 true true".to_string()], 1));
}

#[test]
fn panic_with_a_guard() {
    virtual_loop().run(async {
        let lock = Rc::new(Lock::new(1));
        let copy = lock.clone();
        let task = spawn(async move {
            let mut guard = copy.lock().await;
            *guard = 2;
            panic!("with the lock");
        });
        yield_now().await;
        assert_eq!((*lock.lock().await, task.await.unwrap_err().is_panic()), (2, true), "nothing is poisoned");
    });
}

/// A comparison that panics loses only the item that was being taken. A comparison that uses its
/// own queue panics with a message.
#[test]
fn panic_in_a_comparison() {
    thread_local!(static QUEUE: RefCell<Option<Rc<PriorityQueue<Touchy>>>> = const { RefCell::new(None) });
    #[derive(PartialEq, Eq, Debug)]
    struct Touchy(u32);
    impl Ord for Touchy {
        fn cmp(&self, other: &Self) -> Ordering {
            assert!(self.0 < 100 && other.0 < 100, "not with me");
            if let Some(queue) = QUEUE.take() {
                _ = queue.try_get();
            }
            self.0.cmp(&other.0)
        }
    }
    impl PartialOrd for Touchy {
        fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }
    let queue = Rc::new(PriorityQueue::unbounded());
    queue.try_put(Touchy(2)).unwrap();
    assert_eq!(panic_of(|| queue.try_put(Touchy(100))), "not with me");
    assert_eq!(queue.len(), 2);
    queue.shutdown(true);
    assert_eq!(queue.len(), 0);

    let queue = Rc::new(PriorityQueue::unbounded());
    queue.try_put(Touchy(2)).unwrap();
    QUEUE.set(Some(queue.clone()));
    let message = panic_of(|| queue.try_put(Touchy(1)));
    assert!(message.contains("from inside of a comparison"), "{message}");
    // The order is unknown, because the comparison failed.
    let mut left: Vec<_> = std::iter::from_fn(|| queue.try_get().ok()).map(|touchy| touchy.0).collect();
    left.sort_unstable();
    assert_eq!(left, [1, 2]);
}

// ---- lifetimes ----

/// The loop drops its tasks at its end. The primitives can still be used in another loop.
#[test]
fn use_in_one_loop_after_another() {
    let (lock, semaphore, event) = (Rc::new(Lock::new(0)), Rc::new(Semaphore::new(1)), Event::new());
    let (queue, barrier) = (Rc::new(Queue::bounded(1)), Barrier::new(2));
    for round in 1..=3 {
        let (lock, semaphore, queue) = (lock.clone(), semaphore.clone(), queue.clone());
        let (wait, arrival) = (event.wait(), barrier.wait());
        virtual_loop().run(async {
            let copy = (lock.clone(), semaphore.clone(), queue.clone());
            drop(spawn(async move {
                let _held = (copy.0.lock().await, copy.1.acquire().await, copy.2.put(1).await);
                pending::<()>().await;
            }));
            yield_now().await;
            for _ in 0..3 {
                drop(spawn(drop_all(lock.clone().lock_owned())));
                drop(spawn(drop_all(semaphore.acquire())));
            }
            drop(spawn(wait));
            drop(spawn(arrival));
            yield_now().await;
        });
        *lock.try_lock().expect("the loop has dropped its guard and its waiters") += 1;
        assert!(!semaphore.is_locked());
        assert_eq!((queue.try_get(), barrier.n_waiting()), (Ok(1), 0), "round {round}");
        assert_eq!(format!("{event:?}"), "Event { set: false, waiters: 0 }");
    }
    assert_eq!(*lock.try_lock().unwrap(), 3);
}

/// Two loops on one thread pass a baton to each other. Each loop is turned by hand.
#[test]
fn hand_over_between_two_loops() {
    let trace = Trace::new();
    let queues = [(); 2].map(|()| Rc::new(Queue::bounded(1)));
    let loops = [virtual_loop(), virtual_loop()];
    for (which, event_loop) in loops.iter().enumerate() {
        let (mine, other, trace) = (queues[which].clone(), queues[1 - which].clone(), trace.clone());
        drop(event_loop.spawn(async move {
            while let Ok(baton) = mine.get().await {
                trace.push(format!("{which} has {baton}"));
                other.put(baton + 1).await.unwrap();
                if baton >= 3 {
                    break;
                }
            }
        }));
    }
    loops.iter().for_each(|event_loop| _ = event_loop.turn());
    queues[0].try_put(0).unwrap();
    for _ in 0..20 {
        loops.iter().for_each(|event_loop| _ = event_loop.turn());
    }
    assert_eq!(trace.take(), ["0 has 0", "1 has 1", "0 has 2", "1 has 3", "0 has 4"]);
}

/// A waiter outlives its primitive, and its loop.
#[test]
fn drop_the_primitive_and_the_loop_first() {
    let census = Census::new();
    let event_loop = virtual_loop();
    let (event, semaphore, barrier) = (Event::new(), Semaphore::new(0), Barrier::new(2));
    let lock = Rc::new(Lock::new(census.member()));
    let guard = lock.lock_owned().now_or_never().unwrap();
    let slot = Rc::new(RefCell::new(Vec::<Pin<Box<dyn Future<Output = ()>>>>::new()));
    let waits: [Pin<Box<dyn Future<Output = ()>>>; 4] = [
        Box::pin(event.wait()),
        Box::pin(drop_all(semaphore.acquire())),
        Box::pin(drop_all(barrier.wait())),
        Box::pin(drop_all(lock.lock_owned())),
    ];
    let copy = slot.clone();
    event_loop.run(async move {
        for mut wait in waits {
            assert!(poll!(&mut wait).is_pending());
            copy.borrow_mut().push(wait);
        }
    });
    drop((event, semaphore, barrier, guard, lock));
    drop(event_loop);
    assert_eq!(census.counts(), (1, 0), "a waiter keeps its lock");
    assert!(slot.borrow_mut()[3].as_mut().now_or_never().is_some(), "the guard was dropped, so the lock is free");
    slot.take().clear();
    assert_eq!(census.counts(), (1, 1));
}

/// The primitives can be used outside of any loop, with foreign wakers.
#[test]
fn use_without_a_loop() {
    let lock = Lock::new(1);
    let guard = lock.lock().now_or_never().unwrap();
    let mut second = lock.lock();
    assert!(second.poll_unpin(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(guard);
    assert!(lock.try_lock().is_none(), "a waiter has priority");
    assert_eq!(second.now_or_never().as_deref(), Some(&1));
    assert_eq!(lock.into_inner(), 1);
}

#[test]
fn forget_a_guard_and_ask_for_the_value() {
    alone_and_leaking("forget_a_guard_and_ask_for_the_value", || {
        let lock = Lock::new(1);
        std::mem::forget(lock.try_lock());
        assert!(panic_of(move || lock.into_inner()).contains("drop guards"));
    });
}

/// Ten thousand tasks wait at each primitive, and leave in an order unrelated to their arrival. If
/// each departure walked through all waiters, this test would be noticeably slow.
#[test]
fn cancel_ten_thousand_in_any_order() {
    const COUNT: usize = 10_000;
    virtual_loop().run(async {
        let (lock, semaphore, event) = (Rc::new(Lock::new(())), Semaphore::new(0), Event::new());
        let queue = Rc::new(Queue::<u8>::unbounded());
        let guard = lock.lock().await;
        let waits: [&dyn Fn() -> Task<()>; 4] = [
            &|| spawn(drop_all(lock.lock_owned())),
            &|| spawn(drop_all(semaphore.acquire())),
            &|| spawn(event.wait()),
            &|| {
                let queue = queue.clone();
                spawn(async move { _ = queue.get().await })
            },
        ];
        for wait in waits {
            let tasks: Vec<_> = (0..COUNT).map(|_| wait()).collect();
            yield_now().await;
            // 7919 and COUNT have no common factor, so this visits each task once.
            (0..COUNT).for_each(|n| assert!(tasks[n * 7919 % COUNT].cancel()));
            settle().await;
            assert!(tasks.iter().all(Task::is_cancelled));
        }
        drop(guard);
        assert!(lock.try_lock().is_some());
        semaphore.release();
        assert_eq!(semaphore.available_permits(), 1);

        // The queue is filled while half of the tasks are cancelled.
        let tasks: Vec<_> = (0..COUNT).map(|_| spawn(get_of(&queue))).collect();
        yield_now().await;
        tasks.iter().step_by(2).for_each(|task| assert!(task.cancel()));
        (0..COUNT / 2).for_each(|_| queue.try_put(1).unwrap_or_else(|_| unreachable!()));
        settle().await;
        assert!(queue.is_empty());
        assert_eq!(tasks.iter().filter(|task| !task.is_cancelled()).count(), COUNT / 2);
    });
    fn get_of(queue: &Rc<Queue<u8>>) -> impl Future<Output = ()> + 'static {
        let queue = queue.clone();
        async move { _ = queue.get().await }
    }
}

// ---- the methods of each primitive ----

#[test]
fn wait_before_and_after_an_event_is_set() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let event = Event::new();
        let first = [passer(&trace, "1", event.wait()), passer(&trace, "2", event.wait())];
        yield_now().await;
        let late = passer(&trace, "3", event.wait());
        event.set();
        event.set();
        gather(first.into_iter().chain([late])).await.unwrap();
    });
    // Task 3 was spawned before the event was set, so it is queued before the woken tasks.
    assert_eq!(trace.take(), ["3", "1", "2"]);
}

#[test]
fn acquire_again_behind_those_who_wait() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let semaphore = Rc::new(Semaphore::new(1));
        let worker = |name: &'static str| {
            let (semaphore, trace) = (semaphore.clone(), trace.clone());
            spawn(async move {
                for round in 0..2 {
                    let _permit = semaphore.acquire().await;
                    trace.push(format!("{name}{round}"));
                    yield_now().await;
                }
            })
        };
        gather(["a", "b", "c"].map(worker)).await.unwrap();
    });
    assert_eq!(trace.take(), ["a0", "b0", "c0", "a1", "b1", "c1"]);
}

#[test]
fn release_a_bounded_semaphore_too_often() {
    let semaphore = BoundedSemaphore::new(1);
    let permit = semaphore.try_acquire().unwrap();
    // The permit is released later by its drop.
    let message = panic_of(|| semaphore.release());
    assert!(message.contains("of 1 was released too many times"), "{message}");
    drop(permit);
    semaphore.try_acquire().unwrap().forget();
    semaphore.release();
    assert!(catch_unwind(AssertUnwindSafe(|| semaphore.release())).is_err());
    assert_eq!(semaphore.available_permits(), 1);
}

#[test]
fn notify_with_a_guard_of_another_lock() {
    let (condition, lock) = (Condition::new(()), Lock::new(()));
    let guard = lock.try_lock().unwrap();
    let message = panic_of(|| condition.notify_one(&guard));
    assert!(message.starts_with("notify() of a condition was called with a guard of another lock"), "{message}");
    assert!(panic_of(|| condition.wait(guard)).starts_with("wait() of a condition"));
}

/// Two conditions on one lock: the bounded buffer of the textbooks.
#[test]
fn share_a_lock_between_two_conditions() {
    let got = virtual_loop().run(async {
        let lock = Rc::new(Lock::new(Vec::new()));
        let not_empty = Rc::new(Condition::with_lock(lock.clone()));
        let not_full = Rc::new(Condition::with_lock(lock));
        let (full, empty) = (not_full.clone(), not_empty.clone());
        let producer = spawn(async move {
            for n in 0..5 {
                let guard = full.lock().await;
                let mut guard = full.wait_for(guard, |items: &mut Vec<i32>| items.len() < 2).await;
                guard.push(n);
                // The guard fits both conditions, because they share the lock.
                empty.notify_one(&guard);
            }
        });
        let mut got = Vec::new();
        while got.len() < 5 {
            let guard = not_empty.lock().await;
            let mut guard = not_empty.wait_for(guard, |items| !items.is_empty()).await;
            got.push(guard.remove(0));
            not_full.notify_one(&guard);
        }
        producer.await.unwrap();
        got
    });
    assert_eq!(got, [0, 1, 2, 3, 4]);
}

#[test]
fn wait_for_with_a_timeout() {
    virtual_loop().run(async {
        let condition = Condition::new(0);
        let guard = condition.lock().await;
        let begun = time();
        assert_eq!(timeout(ms(3), condition.wait_for(guard, |n| *n > 0)).await.map(drop), Err(Elapsed));
        assert_eq!(time() - begun, ms(3));
        assert!(!condition.is_locked());
        assert_eq!(format!("{condition:?}"), "Condition { locked: false, waiters: 0, .. }");
    });
}

#[test]
fn abort_and_reset_a_barrier() {
    virtual_loop().run(async {
        let barrier = Barrier::new(3);
        let waiters = [(); 2].map(|()| spawn(barrier.wait()));
        yield_now().await;
        barrier.abort();
        assert_eq!(gather(waiters).await, Ok(vec![Err(BrokenBarrier); 2]));
        assert_eq!(barrier.wait().await, Err(BrokenBarrier));
        assert_eq!(format!("{barrier:?}"), "Barrier { state: Broken, waiting: 0, parties: 3 }");
        barrier.reset();
        let indices = gather([(); 6].map(|()| barrier.wait())).await.unwrap();
        assert_eq!(indices, [0, 1, 2, 0, 1, 2].map(Ok));
    });
    assert!(panic_of(|| Barrier::new(0)).contains("at least one party"));
}

#[test]
fn rank_items_and_keep_equals_in_order() {
    #[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
    struct Job(u32, Always<&'static str>);
    /// Equal to all others.
    #[derive(Debug)]
    struct Always<T>(T);
    impl<T> PartialEq for Always<T> {
        fn eq(&self, _: &Self) -> bool {
            true
        }
    }
    impl<T> Eq for Always<T> {}
    impl<T> PartialOrd for Always<T> {
        fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }
    impl<T> Ord for Always<T> {
        fn cmp(&self, _: &Self) -> Ordering {
            Ordering::Equal
        }
    }
    let queue = PriorityQueue::unbounded();
    for (rank, name) in [(2, "a"), (1, "b"), (2, "c"), (1, "d"), (1, "e"), (2, "f")] {
        queue.try_put(Job(rank, Always(name))).unwrap();
    }
    let names: Vec<_> = std::iter::from_fn(|| queue.try_get().ok()).map(|job| job.1.0).collect();
    assert_eq!(names, ["b", "d", "e", "a", "c", "f"]);

    let largest = PriorityQueue::bounded(2);
    largest.try_put(Reverse(1)).unwrap();
    largest.try_put(Reverse(2)).unwrap();
    assert_eq!(largest.try_put(Reverse(3)), Err(TryPutError::Full(Reverse(3))));
    assert_eq!(largest.try_get(), Ok(Reverse(2)));
}

#[test]
fn shut_down_with_tasks_at_both_ends() {
    virtual_loop().run(async {
        let (full, empty) = (Rc::new(LifoQueue::bounded(1)), Rc::new(Queue::<u8>::unbounded()));
        full.try_put('a').unwrap();
        let (one, two) = (full.clone(), empty.clone());
        let putter = spawn(async move { one.put('b').await });
        let getter = spawn(async move { two.get().await });
        yield_now().await;
        full.shutdown(false);
        empty.shutdown(false);
        assert_eq!((putter.await, getter.await), (Ok(Err(PutError('b'))), Ok(Err(QueueShutDown))));
        assert_eq!((full.try_get(), full.try_get()), (Ok('a'), Err(TryGetError::ShutDown)));
        let joined = full.join().now_or_never();
        assert!(joined.is_none(), "one item was taken and not reported as done");
        full.task_done();
        assert!(full.join().now_or_never().is_some());
        assert!(panic_of(|| full.task_done()).contains("too many times"));
    });
}

/// A join that was woken returns, even if more items were put in the meantime.
#[test]
fn join_and_put_meanwhile() {
    virtual_loop().run(async {
        let queue = Rc::new(Queue::unbounded());
        queue.try_put(1).unwrap();
        let joined = spawn(queue.join());
        yield_now().await;
        queue.task_done();
        queue.try_put(2).unwrap();
        assert_eq!(joined.await, Ok(()));
        assert_eq!(
            format!("{queue:?}"),
            "Queue { len: 2, max_size: None, getters: 0, putters: 0, unfinished: 1, shut_down: false }"
        );
    });
}

#[test]
fn send_once() {
    let census = Census::new();
    virtual_loop().run(async {
        let (sender, receiver) = oneshot();
        let waiter = spawn(receiver);
        yield_now().await;
        assert!(sender.send(census.member()).is_ok());
        waiter.cancel();
        assert!(waiter.await.is_err());
        assert_eq!(census.counts(), (1, 1), "what was sent to a task that was cancelled is dropped");

        let (sender, receiver) = oneshot::<u8>();
        let waiter = spawn(receiver);
        yield_now().await;
        drop(sender);
        assert_eq!(waiter.await, Ok(Err(SenderDropped)));

        let (sender, receiver) = oneshot();
        drop(receiver);
        assert!(sender.is_closed());
        assert_eq!(sender.send(1), Err(1));
    });
}

#[test]
fn send_and_close() {
    virtual_loop().run(async {
        let (sender, receiver) = channel(1);
        sender.send(1).await.unwrap();
        let copy = sender.clone();
        let blocked = spawn(async move { copy.send(2).await });
        yield_now().await;
        drop(sender);
        assert_eq!((receiver.recv().await, receiver.recv().await, receiver.recv().await), (Some(1), Some(2), None));
        assert_eq!(blocked.await, Ok(Ok(())));

        let (sender, receiver) = channel(1);
        sender.send(Rc::new(1)).await.unwrap();
        let (kept, copy) = (Rc::new(2), sender.clone());
        let message = kept.clone();
        let blocked = spawn(async move { copy.send(message).await });
        yield_now().await;
        drop(receiver);
        assert_eq!(blocked.await.unwrap().unwrap_err().0, kept);
        assert!(sender.is_closed());

        let (sender, receiver) = unbounded::<u8>();
        let waiter = spawn(async move { receiver.recv().await });
        yield_now().await;
        drop(sender);
        assert_eq!(waiter.await, Ok(None));
    });
}

/// The report says where a stuck task waits.
#[cfg(feature = "report")]
#[test]
fn report_what_is_waited_for() {
    type Scene = Pin<Box<dyn Future<Output = ()>>>;
    let report = |scene: Scene| match onelane::EventLoop::with_virtual_clock().try_run(scene) {
        Err(onelane::RunError::Deadlock(report)) => common::words(&report.tasks[0]),
        _ => "no deadlock".to_string(),
    };
    let scenes: [(Scene, &str); 8] = [
        (Box::pin(async { Event::new().named("e").wait().await }), "event \"e\""),
        (
            Box::pin(async { drop(Semaphore::new(0).named("s").acquire().await) }),
            "a permit of semaphore \"s\" (0 free)",
        ),
        (Box::pin(async { _ = Barrier::new(3).named("b").wait().await }), "barrier \"b\" (1 of 3 have come)"),
        (Box::pin(async { _ = Queue::<u8>::unbounded().named("q").get().await }), "an item of queue \"q\""),
        (
            Box::pin(async {
                let lock = Lock::new(()).named("l");
                let _twice = (lock.lock().await, lock.lock().await);
            }),
            "lock \"l\", held by \"Task-1\"",
        ),
        (
            Box::pin(async {
                let queue = Queue::bounded(1).named("q");
                let _twice = (queue.put(1).await, queue.put(2).await);
            }),
            "room in queue \"q\" (1 of 1 taken)",
        ),
        (
            Box::pin(async {
                let condition = Condition::new(()).named("c");
                drop(condition.wait(condition.lock().await).await);
            }),
            "a notification of condition \"c\"",
        ),
        (
            Box::pin(async {
                let queue = Queue::unbounded().named("q");
                queue.try_put(1).unwrap();
                queue.join().await;
            }),
            "the end of all items of queue \"q\" (1 unfinished)",
        ),
    ];
    for (scene, expected) in scenes {
        assert_eq!(report(scene), expected);
    }
    let scene = Box::pin(async {
        let (_sender, receiver) = channel::<u8>(1);
        _ = receiver.recv().await;
    });
    let made_at = format!("tests/sync.rs:{}:35", line!() - 3);
    assert_eq!(report(scene), format!("a message of a channel (made at {made_at})"));
    let scene = Box::pin(async {
        let (_sender, receiver) = oneshot::<u8>();
        _ = receiver.await;
    });
    let made_at = format!("tests/sync.rs:{}:35", line!() - 3);
    assert_eq!(report(scene), format!("the value of a oneshot (made at {made_at})"));
}

/// Futures that are polled after they were ready panic with a message.
#[test]
fn poll_after_it_was_over() {
    virtual_loop().run(async {
        let lock = Lock::new(());
        let mut over = lock.lock();
        drop(poll!(&mut over));
        let panic = AssertUnwindSafe(over).catch_unwind().await.unwrap_err();
        assert!(text_of(&*panic).contains("polled after it was ready"));
        assert!(!lock.is_locked());
    });
}
