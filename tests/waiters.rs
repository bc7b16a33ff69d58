//! Waiters of primitives with wakers of other executors. The `clone`, `wake` and `drop` of these
//! wakers cancel tasks, drop futures, and take what was handed to a waiter.
#![allow(unsafe_code, reason = "wakers whose clone and drop can be watched")]

#[path = "common/mod.rs"]
mod common;

use common::virtual_loop;
use futures_util::{FutureExt, poll};
use onelane::sync::{Event, Lock, Queue, Semaphore, SemaphoreAcquire};
use onelane::{Join, Promise, Task, spawn, timeout, yield_now};
use std::cell::{Cell, RefCell};
use std::future::{Future, IntoFuture, pending, poll_fn};
use std::rc::Rc;
use std::sync::Mutex;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};
use std::time::Duration;

type Hook = Cell<Option<Box<dyn FnOnce()>>>;

/// What a waker does, once, when it is cloned, woken or dropped.
#[derive(Default)]
struct Hooks {
    clone: Hook,
    wake: Hook,
    drop: Hook,
}

fn call(hook: &Hook) {
    if let Some(act) = hook.take() {
        act();
    }
}

/// A value that is never freed. Its address is kept, so that leak checkers do not report it.
fn keep<T>(value: T) -> &'static T {
    static KEPT: Mutex<Vec<usize>> = Mutex::new(Vec::new());
    let value: &'static T = Box::leak(Box::new(value));
    KEPT.lock().unwrap().push(std::ptr::from_ref(value).expose_provenance());
    value
}

/// Hooks that are never freed, and a waker that has them.
fn hooked() -> (&'static Hooks, Waker) {
    fn hooks(data: *const ()) -> &'static Hooks {
        // SAFETY: the data of these wakers is a reference to `Hooks` that is never freed.
        unsafe { &*data.cast() }
    }
    static FUNCTIONS: RawWakerVTable = RawWakerVTable::new(
        |data| {
            call(&hooks(data).clone);
            RawWaker::new(data, &FUNCTIONS)
        },
        |data| call(&hooks(data).wake),
        |data| call(&hooks(data).wake),
        |data| call(&hooks(data).drop),
    );
    let hooks: &'static Hooks = keep(Hooks::default());
    // SAFETY: the functions need nothing but the reference, and these hooks are for one thread.
    (hooks, unsafe { Waker::from_raw(RawWaker::new(std::ptr::from_ref(hooks).cast(), &FUNCTIONS)) })
}

type Shared<F> = Rc<RefCell<Option<F>>>;

fn shared<F>(future: F) -> Shared<F> {
    Rc::new(RefCell::new(Some(future)))
}

/// A task that awaits a child, and polls the futures as long as they exist. A cancellation of the
/// task waits for the child.
fn beside_a_child<F: Future + Unpin + 'static>(futures: Vec<Shared<F>>) -> Task<()> {
    let mut child = spawn(pending::<()>()).into_future();
    spawn(poll_fn(move |context| {
        _ = child.poll_unpin(context);
        for future in &futures {
            if let Some(future) = future.borrow_mut().as_mut() {
                _ = future.poll_unpin(context);
            }
        }
        Poll::Pending
    }))
}

async fn turns(count: usize) {
    for _ in 0..count {
        yield_now().await;
    }
}

/// A cancelled task passes a permit on. The waker of the next waiter drops another waiter of the
/// cancelled task. Then a new waiter begins at the same place in memory. The cancellation must not
/// remove this new waiter from its queue.
#[test]
fn waiter_gets_the_memory_of_one_that_is_being_cancelled() {
    virtual_loop().run(async {
        let (given, other) = (Semaphore::new(0), Rc::new(Semaphore::new(0)));
        let (first, second, late) = (shared(given.acquire()), shared(other.acquire()), shared(other.acquire()));
        let cancelled = beside_a_child::<SemaphoreAcquire>(vec![first, second.clone()]);
        let late_waker = Rc::new(RefCell::new(None::<Waker>));
        let waits = spawn({
            let (late, late_waker) = (late.clone(), late_waker.clone());
            poll_fn(move |context| {
                if late_waker.borrow().is_none() {
                    *late_waker.borrow_mut() = Some(context.waker().clone());
                    return Poll::Pending;
                }
                late.borrow_mut().as_mut().unwrap().poll_unpin(context).map(drop)
            })
        });
        turns(2).await;
        let (hooks, foreign) = hooked();
        let mut next = given.acquire();
        assert!(next.poll_unpin(&mut Context::from_waker(&foreign)).is_pending());
        hooks.wake.set(Some(Box::new(move || {
            second.borrow_mut().take();
            let waker = late_waker.borrow().clone().unwrap();
            assert!(late.borrow_mut().as_mut().unwrap().poll_unpin(&mut Context::from_waker(&waker)).is_pending());
        })));
        given.release();
        cancelled.cancel();
        turns(5).await;
        other.release();
        assert!(timeout(Duration::from_secs(5), waits).await.is_ok(), "a permit is free, and its waiter was not woken");
    });
}

/// An acquire was moved out of a task. When the acquire clones a foreign waker, the clone cancels
/// that task. The acquire must not get a permit from this.
#[test]
fn clone_cancels_the_task_of_an_acquire() {
    virtual_loop().run(async {
        let semaphore = Semaphore::new(1);
        let permit = semaphore.try_acquire().unwrap();
        let acquire = shared(semaphore.acquire());
        let task = beside_a_child(vec![acquire.clone()]);
        turns(2).await;
        let mut acquire = acquire.take().unwrap();
        let (hooks, foreign) = hooked();
        hooks.clone.set(Some(Box::new(move || _ = task.cancel())));
        assert!(acquire.poll_unpin(&mut Context::from_waker(&foreign)).is_pending(), "two permits of one");
        assert!(acquire.poll_unpin(&mut Context::from_waker(&foreign)).is_pending());
        drop(permit);
        assert!(acquire.now_or_never().is_some());
    });
}

/// The same with a lock, which has only one guard.
#[test]
fn clone_cancels_the_task_of_a_lock() {
    virtual_loop().run(async {
        let lock: &'static Lock<u32> = keep(Lock::new(7));
        let guard = lock.try_lock().unwrap();
        let locking = shared(lock.lock());
        let task = beside_a_child(vec![locking.clone()]);
        turns(2).await;
        let mut locking = locking.take().unwrap();
        let (hooks, foreign) = hooked();
        hooks.clone.set(Some(Box::new(move || _ = task.cancel())));
        assert!(locking.poll_unpin(&mut Context::from_waker(&foreign)).is_pending(), "two guards of one lock");
        drop(guard);
        assert_eq!(*locking.now_or_never().unwrap(), 7);
    });
}

/// An acquire moves to another task. The poll there drops the old waker, and this drop cancels the
/// first task. The permit must still reach the acquire.
#[test]
fn drop_of_the_old_waker_cancels_the_first_task() {
    virtual_loop().run(async {
        let semaphore = Semaphore::new(0);
        let acquire = shared(semaphore.acquire());
        let (hooks, foreign) = hooked();
        let first = spawn({
            let acquire = acquire.clone();
            poll_fn(move |_| {
                if let Some(acquire) = acquire.borrow_mut().as_mut() {
                    _ = acquire.poll_unpin(&mut Context::from_waker(&foreign));
                }
                Poll::<()>::Pending
            })
        });
        turns(2).await;
        let acquire = acquire.take().unwrap();
        hooks.drop.set(Some(Box::new(move || _ = first.cancel())));
        let second = spawn(async move { drop(acquire.await) });
        turns(2).await;
        semaphore.release();
        assert!(
            timeout(Duration::from_secs(5), second).await.is_ok(),
            "a permit is free, and its waiter was not woken"
        );
    });
}

/// The clone of a waker releases a lock, which is handed to the waiter. The drop of the waker then
/// takes the lock with `try_lock`. Only one of them may get a guard.
#[test]
fn drop_of_a_waker_takes_the_lock_that_was_given() {
    virtual_loop().run(async {
        let lock: &'static Lock<u32> = keep(Lock::new(7));
        let guard = lock.try_lock();
        let mut locking = lock.lock();
        let (hooks, foreign) = hooked();
        hooks.clone.set(Some(Box::new(move || drop(guard))));
        let taken = Rc::new(Cell::new(None));
        let copy = taken.clone();
        hooks.drop.set(Some(Box::new(move || copy.set(lock.try_lock()))));
        let is_ready = locking.poll_unpin(&mut Context::from_waker(&foreign)).is_ready();
        let is_taken = taken.take().is_some();
        assert!(!(is_ready && is_taken), "two guards of one lock");
        assert!(is_ready || locking.now_or_never().is_some());
    });
}

/// An acquire waits in a task that is cancelled, and its place keeps its old waker. Then the acquire
/// is polled elsewhere. The drop of the old waker releases what the acquire waits for.
#[test]
fn drop_of_an_old_waker_releases_what_is_waited_for() {
    virtual_loop().run(async {
        let lock: &'static Lock<u32> = keep(Lock::new(7));
        let guard = lock.try_lock().unwrap();
        let (mut locking, hooks) = cancelled_elsewhere(lock.lock()).await;
        hooks.drop.set(Some(Box::new(move || drop(guard))));
        assert!(poll!(&mut locking).is_ready(), "the lock is free, and its waiter waits");

        let semaphore = Semaphore::new(1);
        let permit = semaphore.try_acquire().unwrap();
        let (mut acquire, hooks) = cancelled_elsewhere(semaphore.acquire()).await;
        hooks.drop.set(Some(Box::new(move || drop(permit))));
        assert!(poll!(&mut acquire).is_ready(), "the permit is free, and its waiter waits");

        let event = keep(Event::new());
        let (mut wait, hooks) = cancelled_elsewhere(event.wait()).await;
        hooks.drop.set(Some(Box::new(|| event.set())));
        assert!(poll!(&mut wait).is_ready(), "the event is set, and its waiter waits");

        let queue = keep(Queue::unbounded());
        queue.try_put(1).unwrap();
        let (mut join, hooks) = cancelled_elsewhere(queue.join()).await;
        hooks.drop.set(Some(Box::new(|| queue.task_done())));
        assert!(poll!(&mut join).is_ready(), "the work is done, and its waiter waits");
    });
}

/// Polls a future in a task, with a waker that has these hooks; then cancels the task, which waits
/// for a child, and returns the future.
async fn cancelled_elsewhere<F: Future + Unpin + 'static>(future: F) -> (F, &'static Hooks) {
    let (hooks, foreign) = hooked();
    let (future, mut child) = (shared(future), spawn(pending::<()>()).into_future());
    let copy = future.clone();
    let task = spawn(poll_fn(move |context| {
        if let Some(future) = copy.borrow_mut().as_mut() {
            assert!(future.poll_unpin(&mut Context::from_waker(&foreign)).is_pending());
        }
        child.poll_unpin(context).map(drop)
    }));
    turns(2).await;
    task.cancel();
    let future = future.take().unwrap();
    (future, hooks)
}

/// A task spawned by the wake of another executor gets no callback of the task that has just ended.
#[test]
fn wake_of_another_executor_spawns_while_waiters_are_left() {
    let log = Rc::new(RefCell::new(Vec::new()));
    let copy = log.clone();
    virtual_loop().run(async move {
        let ended = spawn(turns(5));
        let (hooks, foreign) = hooked();
        let mut first = (&ended).into_future();
        assert!(first.poll_unpin(&mut Context::from_waker(&foreign)).is_pending());
        hooks.wake.set(Some(Box::new(move || {
            let next = spawn(turns(20));
            for number in 0..2 {
                let log = copy.clone();
                next.add_done_callback(move |task| log.borrow_mut().push((number, task.is_done())));
            }
        })));
        (&ended).await.unwrap();
        turns(30).await;
    });
    assert_eq!(*log.borrow(), [(0, true), (1, true)]);
}

/// A wake of another executor drops the loop, and then sets a timer. No turn will come, so the
/// callback is dropped.
#[test]
fn wake_drops_the_loop_and_sets_a_timer() {
    let event_loop = virtual_loop();
    let promise: Promise<u8> = event_loop.enter(Promise::new);
    let (hooks, foreign) = hooked();
    let mut wait = (&promise).into_future();
    event_loop.enter(|| assert!(wait.poll_unpin(&mut Context::from_waker(&foreign)).is_pending()));
    let held = Rc::new(());
    let copy = held.clone();
    hooks.wake.set(Some(Box::new(move || {
        drop(event_loop);
        drop(onelane::call_later(Duration::from_secs(1), move || unreachable!("{copy:?}")));
    })));
    promise.set_result(1).unwrap();
    assert_eq!(Rc::strong_count(&held), 1);
}

/// Polls an await with a foreign waker, and `act` runs while this waker is cloned. Returns whether
/// the waker was woken by the end of the poll.
fn clone_and(wait: &mut Join<u8>, act: impl FnOnce() + 'static) -> bool {
    let (hooks, foreign) = hooked();
    let woken = Rc::new(Cell::new(false));
    let copy = woken.clone();
    hooks.wake.set(Some(Box::new(move || copy.set(true))));
    hooks.clone.set(Some(Box::new(act)));
    assert!(wait.poll_unpin(&mut Context::from_waker(&foreign)).is_pending());
    woken.get()
}

/// The clone runs a turn. The awaited task ends in it, and another task gets its slot. The await is
/// woken, and the callback of the other task is called.
#[test]
fn clone_ends_the_awaited_task() {
    let event_loop = Rc::new(virtual_loop());
    let called = Rc::new(Cell::new(0));
    let mut wait = event_loop.spawn(async { 1 }).into_future();
    let (home, copy) = (event_loop.clone(), called.clone());
    assert!(clone_and(&mut wait, move || {
        home.turn();
        home.spawn(yield_now()).add_done_callback(move |_| copy.set(copy.get() + 1));
    }));
    (0..3).for_each(|_| _ = event_loop.turn());
    assert_eq!((called.get(), wait.now_or_never()), (1, Some(Ok(1))));
}

/// The await was polled before, and changes its waker. The await of the other task keeps its own.
#[test]
fn clone_ends_the_task_whose_await_changes_its_waker() {
    for is_foreign in [false, true] {
        let event_loop = Rc::new(virtual_loop());
        let woken = Rc::new(Cell::new(0));
        let mut wait = event_loop.spawn(async { 1 }).into_future();
        assert!(wait.poll_unpin(&mut Context::from_waker(Waker::noop())).is_pending());
        let (home, copy, other) = (event_loop.clone(), woken.clone(), Rc::new(Cell::new(None)));
        let kept = other.clone();
        assert!(clone_and(&mut wait, move || {
            home.turn();
            let (hooks, foreign) = hooked();
            hooks.wake.set(Some(Box::new(move || copy.set(copy.get() + 1))));
            let mut wait = home.spawn(async { 2 }).into_future();
            if is_foreign {
                assert!(wait.poll_unpin(&mut Context::from_waker(&foreign)).is_pending());
                kept.set(Some(wait));
            } else {
                drop(home.spawn(async move {
                    drop(wait.await);
                    foreign.wake();
                }));
            }
        }));
        (0..5).for_each(|_| _ = event_loop.turn());
        assert_eq!((woken.get(), wait.now_or_never()), (1, Some(Ok(1))), "foreign: {is_foreign}");
        drop(other);
    }
}

/// The clone drops the loop. The task is cancelled by that, and the await is woken.
#[test]
fn clone_drops_the_loop_of_the_awaited_task() {
    let event_loop = virtual_loop();
    let mut wait = event_loop.spawn(async { 1 }).into_future();
    assert!(clone_and(&mut wait, move || drop(event_loop)));
    assert!(wait.now_or_never().unwrap().unwrap_err().is_cancelled());
}

/// A wake of another executor drops the loop, and then spawns and schedules. The loop is closed
/// already, and what it got is dropped before the wake is over.
#[test]
fn wake_drops_the_loop_and_spawns() {
    let event_loop = virtual_loop();
    let home = event_loop.loop_ref();
    let promise: Promise<u8> = event_loop.enter(Promise::new);
    let (hooks, foreign) = hooked();
    let mut wait = (&promise).into_future();
    event_loop.enter(|| assert!(wait.poll_unpin(&mut Context::from_waker(&foreign)).is_pending()));
    let held = Rc::new(());
    let [in_task, in_call, in_callback] = [(); 3].map(|()| held.clone());
    let is_closed = Rc::new(Cell::new(false));
    let copy = is_closed.clone();
    hooks.wake.set(Some(Box::new(move || {
        drop(event_loop);
        copy.set(home.is_closed());
        let task = spawn(async move {
            yield_now().await;
            unreachable!("{in_task:?}")
        });
        task.add_done_callback(move |_| drop(in_callback));
        drop(onelane::call_soon(move || drop(in_call)));
    })));
    promise.set_result(1).unwrap();
    assert_eq!((Rc::strong_count(&held), is_closed.get()), (1, true));
}
