//! Handles, task cells and keys in extreme cases: futures of all sizes and alignments, panics at
//! each end of a task, reused nodes of keys, handles that outlive their loop, and sleeps that move.

mod common;

use common::{Post, Trace, foreign, ms, on_drop, panic_of, virtual_loop};
use onelane::{
    EventLoop, Join, Promise, Sleep, Task, TaskRef, TaskState, call_soon, current_task, gather, sleep, spawn, timeout,
    yield_now,
};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

#[repr(align(128))]
struct A128;
#[repr(align(4096))]
#[derive(Clone)]
struct A4096(u64);

struct Aligned<T>(T, u32);
impl<T: Unpin> Future for Aligned<T> {
    type Output = usize;
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<usize> {
        let me = &mut *self;
        assert_eq!((&raw const me.0).addr() % align_of::<T>(), 0);
        if me.1 == 0 {
            return Poll::Ready((&raw const me.0).addr() % align_of::<T>());
        }
        me.1 -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

#[test]
fn spawn_futures_of_all_sizes_and_alignments() {
    let event_loop = virtual_loop();
    event_loop.run(async {
        let one = spawn(Aligned(A128, 3));
        let two = spawn(Aligned(A4096(2), 3));
        let zero = spawn(async {});
        let huge = spawn(async {
            let page = [7u8; 1 << 15];
            yield_now().await;
            page.iter().map(|byte| u64::from(*byte)).sum::<u64>()
        });
        // The output's alignment is larger than the future's.
        let out = spawn(async { A4096(9) });
        yield_now().await;
        {
            let result = out.result().unwrap();
            assert_eq!(((&raw const *result).addr() % 4096, result.0), (0, 9));
        }
        assert_eq!((&out).await.unwrap().0, 9);
        let out2 = spawn(async {
            yield_now().await;
            A4096(11)
        });
        assert_eq!(out2.await.unwrap().0, 11);
        let cancelled = spawn(async {
            yield_now().await;
            A4096(11)
        });
        yield_now().await;
        cancelled.cancel();
        assert!(cancelled.await.is_err());
        assert_eq!((one.await, two.await, zero.await, huge.await), (Ok(0), Ok(0), Ok(()), Ok(7 << 15)));
    });
    // The same for a main future.
    assert_eq!(virtual_loop().run(async { A4096(3) }).0, 3);
    let text = String::from("borrowed");
    assert_eq!(
        virtual_loop().run(async {
            yield_now().await;
            &text[1..]
        }),
        "orrowed"
    );
}

struct Loud(Rc<Cell<u32>>, bool);
impl Drop for Loud {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
        if self.1 && !std::thread::panicking() {
            panic!("loud");
        }
    }
}

/// Panics in a poll, in the drop of the future, and in the drop of the outcome: each value is
/// dropped once.
#[test]
fn panic_at_each_end_of_a_task_and_drop_everything_once() {
    for in_future in [false, true] {
        for in_value in [false, true] {
            for how in 0..5 {
                let (futures, values) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
                let told = Rc::new(RefCell::new(Vec::new()));
                let copy = told.clone();
                let event_loop = EventLoop::builder()
                    .clock(onelane::Clock::Virtual)
                    .exception_handler(move |e| copy.borrow_mut().push(e.panic.message().to_string()))
                    .build();
                let (f, v) = (futures.clone(), values.clone());
                struct Fut(#[expect(dead_code, reason = "it is dropped")] Loud, Option<Loud>, u32);
                impl Future for Fut {
                    type Output = Loud;
                    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Loud> {
                        match self.2 {
                            0 => Poll::Ready(self.1.take().unwrap()),
                            1 => {
                                current_task().unwrap().cancel();
                                Poll::Ready(self.1.take().unwrap())
                            }
                            2 => panic!("poll"),
                            _ => Poll::Pending,
                        }
                    }
                }
                event_loop.run(async move {
                    let task = spawn(Fut(Loud(f, in_future), Some(Loud(v, in_value)), how));
                    let weak = task.task_ref();
                    yield_now().await;
                    if how == 3 {
                        task.cancel();
                    }
                    yield_now().await;
                    let _ = catch_unwind(AssertUnwindSafe(|| drop(task)));
                    assert_eq!(weak.is_done(), how != 4);
                    let _ = catch_unwind(AssertUnwindSafe(|| drop(weak)));
                });
                drop(event_loop);
                assert_eq!((futures.get(), values.get()), (1, 1), "{in_future} {in_value} {how}");
            }
        }
    }
}

/// An await of a task is dropped with the last clone of a foreign waker, whose destructor panics.
/// The task must still be cancelled.
#[test]
fn drop_an_await_whose_waker_panics_and_cancel_the_task() {
    struct Bomb;
    impl Wake for Bomb {
        fn wake(self: Arc<Self>) {}
    }
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("bang");
        }
    }
    virtual_loop().run(async {
        let task = spawn(std::future::pending::<()>());
        let known = task.task_ref();
        let mut join = Box::pin(task.into_future());
        let waker = Waker::from(Arc::new(Bomb));
        assert!(join.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        drop(waker);
        assert!(catch_unwind(AssertUnwindSafe(|| drop(join))).is_err());
        yield_now().await;
        assert!(known.is_cancelled());
    });
}

/// The same for waits on several tasks: the children of a gather are cancelled, and the timer of a
/// wait is removed.
#[test]
fn drop_what_awaits_several_and_whose_waker_panics() {
    fn begin<F: Future + Unpin>(future: &mut F) {
        let waker = foreign(|| (), || panic!("bang"));
        assert!(Pin::new(future).poll(&mut Context::from_waker(&waker)).is_pending());
        // The future owns the last clone.
        drop(waker);
    }
    fn drop_loudly<T>(value: T) {
        assert_eq!(panic_of(|| drop(value)), "bang");
    }
    virtual_loop().run(async {
        let children = [(); 2].map(|()| spawn(std::future::pending::<()>()));
        let known = children.each_ref().map(Task::task_ref);
        let mut all = gather(children);
        begin(&mut all);
        drop_loudly(all);
        yield_now().await;
        assert!(known.iter().all(TaskRef::is_cancelled));

        let child = spawn(std::future::pending::<()>());
        let mut some = onelane::wait([&child]).timeout(ms(5));
        begin(&mut some);
        assert_eq!(onelane::metrics().timers_pending, 1);
        drop_loudly(some);
        assert_eq!(onelane::metrics().timers_pending, 0);
    });
}

/// A foreign waker, when it is woken, drops other awaits and callbacks of the same task.
#[test]
fn tell_waiters_that_drop_each_other() {
    common::alone_and_leaking("tell_waiters_that_drop_each_other", waiters_drop_each_other);
}

fn waiters_drop_each_other() {
    type Slots = Vec<Option<Pin<Box<Join<u32>>>>>;
    thread_local!(static SLOTS: RefCell<Slots> = const { RefCell::new(Vec::new()) });
    let event_loop = virtual_loop();
    let trace = Trace::new();
    let t = trace.clone();
    event_loop.run(async move {
        let task = spawn(async {
            for _ in 0..3 {
                yield_now().await;
            }
            5u32
        });
        let wakers: Vec<Waker> = (0..6)
            .map(|n| {
                foreign(
                    move || {
                        // Drops awaits that are registered before and after this one.
                        for other in [1usize, 2, 4] {
                            if other != n {
                                let gone = SLOTS.with(|slots| slots.borrow_mut()[other].take());
                                drop(gone);
                            }
                        }
                    },
                    || {},
                )
            })
            .collect();
        for waker in &wakers {
            let mut join = Box::pin((&task).into_future());
            assert!(join.as_mut().poll(&mut Context::from_waker(waker)).is_pending());
            SLOTS.with(|slots| slots.borrow_mut().push(Some(join)));
        }
        let copy = t.clone();
        let first = task.add_done_callback(move |_| copy.push("first"));
        let copy = t.clone();
        task.add_done_callback(move |_| copy.push("second"));
        // Other waiters reuse the nodes.
        let more: Vec<_> = (0..10)
            .map(|n| {
                spawn(async move {
                    yield_now().await;
                    n
                })
            })
            .collect();
        let joins = gather(more);
        assert!(task.remove_done_callback(first) && !task.remove_done_callback(first));
        // An await in the middle is dropped before the end.
        std::mem::forget(SLOTS.with(|slots| slots.borrow_mut()[3].take()));
        assert_eq!(joins.await.unwrap().len(), 10);
        yield_now().await;
        yield_now().await;
        assert!(task.is_done());
        SLOTS.with(|slots| slots.borrow_mut().clear());
        yield_now().await;
        t.push(format!("{:?}", (&task).await));
    });
    assert_eq!(trace.take(), ["second", "Ok(5)"]);
}

/// Keys of waiters: a key of another task does nothing, even if it has the same node.
#[test]
fn keep_keys_apart_when_nodes_are_used_again() {
    virtual_loop().run(async {
        let called = Rc::new(Cell::new(0));
        let one = spawn(std::future::pending::<()>());
        let two = spawn(std::future::pending::<()>());
        let old = one.add_done_callback(|_| unreachable!());
        assert!(one.remove_done_callback(old));
        let copy = called.clone();
        let new = two.add_done_callback(move |_| copy.set(copy.get() + 1));
        assert!(!one.remove_done_callback(old) && !two.remove_done_callback(old) && !one.remove_done_callback(new));
        two.cancel();
        yield_now().await;
        yield_now().await;
        assert_eq!(called.get(), 1);
        assert!(!two.remove_done_callback(new));
    });
}

/// Handles of a dropped loop are used beside a new loop, which has the same lane (the loop's number
/// in wakers).
#[test]
fn use_handles_beside_a_new_loop() {
    let first = virtual_loop();
    let task = first.spawn(async { 1u32 });
    let callback = task.add_done_callback(|_| {});
    let slept = Rc::new(RefCell::new(None::<Sleep>));
    let copy = slept.clone();
    first.run(async move {
        let mut sleep = sleep(ms(50));
        let waker = std::task::Waker::noop();
        assert!(Pin::new(&mut sleep).poll(&mut Context::from_waker(waker)).is_pending());
        copy.replace(Some(sleep));
    });
    drop(first);
    let second = virtual_loop();
    let other = second.spawn(async {
        sleep(ms(10)).await;
        2u32
    });
    assert_eq!(format!("{:?}", task.task_ref().state()), format!("{:?}", TaskState::Done));
    assert!(!task.cancel() && !task.remove_done_callback(callback));
    task.add_done_callback(|_| unreachable!());
    let result = second.run(async {
        yield_now().await;
        drop(slept.take()); // has the key of a timer of the other loop
        let mut join = Box::pin((&task).into_future());
        let result = join.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(other.await, Ok(2));
        result
    });
    assert_eq!(result, Poll::Ready(Ok(1)));
}

/// Two loops on a thread run in turn. Sleeps of one are dropped while the other runs.
#[test]
fn run_two_loops_on_a_thread() {
    let (one, two) = (virtual_loop(), virtual_loop());
    let a = Rc::new(RefCell::new(Vec::<Sleep>::new()));
    let copy = a.clone();
    one.spawn(async move {
        let mut s = sleep(ms(5));
        std::future::poll_fn(|cx| Pin::new(&mut s).poll(cx)).await;
        copy.borrow_mut().push(s);
        let mut s = sleep(ms(7));
        assert!(Pin::new(&mut s).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        copy.borrow_mut().push(s);
        std::future::pending::<()>().await;
    });
    while a.borrow().len() < 2 {
        one.turn();
    }
    assert!(one.next_deadline().is_some());
    let t = two.spawn(async move {
        a.take();
        1
    });
    two.turn();
    assert!(t.is_done());
    assert!(one.next_deadline().is_none(), "the timer was not removed from its own loop");
}

/// A sleep moves from task to task. It is polled with the waker of each task in turn, and the last
/// waker is woken.
#[test]
fn move_sleeps_between_tasks_and_wakers() {
    let trace = Trace::new();
    let t = trace.clone();
    virtual_loop().run(async move {
        let shared = Rc::new(RefCell::new(sleep(ms(100))));
        let poll = |s: Rc<RefCell<Sleep>>| std::future::poll_fn(move |cx| Pin::new(&mut *s.borrow_mut()).poll(cx));
        let first = spawn(poll(shared.clone()));
        yield_now().await;
        let second = spawn(poll(shared.clone()));
        yield_now().await;
        // The second task owns the sleep now, and the first is not woken.
        first.cancel();
        t.push(format!("{:?}", first.await.is_err()));
        let post = Post::new();
        let third = spawn(post.wait());
        yield_now().await;
        // Polls the sleep with the waker of a third task.
        let waker = post.waker();
        assert!(Pin::new(&mut *shared.borrow_mut()).poll(&mut Context::from_waker(&waker)).is_pending());
        let before = post.polls();
        sleep(ms(100)).await;
        yield_now().await;
        t.push(format!("{}", post.polls() - before));
        t.push(format!("{}", second.is_done()));
        shared.borrow_mut().reset(onelane::time() + ms(5));
        second.cancel();
        third.cancel();
        let begun = onelane::time();
        poll(shared.clone()).await;
        t.push(format!("{:?}", onelane::time() - begun));
        std::thread::spawn(|| ()).join().unwrap();
    });
    assert_eq!(trace.take(), ["true", "1", "false", "5ms"]);
}

#[test]
fn drop_a_sleep_on_another_thread() {
    let event_loop = virtual_loop();
    event_loop.run(async {
        let mut s = sleep(ms(1000));
        assert!(Pin::new(&mut s).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        std::thread::spawn(move || drop(s)).join().unwrap();
        let begun = onelane::time();
        let mut other = sleep(ms(3));
        std::future::poll_fn(|cx| Pin::new(&mut other).poll(cx)).await;
        assert_eq!(onelane::time() - begun, ms(3));
    });
    event_loop.turn();
    assert!(event_loop.next_deadline().is_none());
}

/// A foreign waker in a sleep, whose clone and drop change the timers.
#[test]
fn poll_sleeps_with_foreign_wakers() {
    thread_local!(static HELD: RefCell<Vec<Sleep>> = const { RefCell::new(Vec::new()) });
    virtual_loop().run(async {
        let mut s = sleep(ms(10));
        for _ in 0..3 {
            let mut other = sleep(ms(20));
            assert!(Pin::new(&mut other).poll(&mut Context::from_waker(Waker::noop())).is_pending());
            HELD.with(|held| held.borrow_mut().push(other));
            let waker = foreign(
                || drop(HELD.with(|held| std::mem::take(&mut *held.borrow_mut()))),
                || drop(HELD.with(|held| held.borrow_mut().pop())),
            );
            assert!(Pin::new(&mut s).poll(&mut Context::from_waker(&waker)).is_pending());
        }
        sleep(ms(11)).await;
        assert!(HELD.with(|held| held.borrow().is_empty()));
    });
}

/// A task polls a timeout many times, while other tasks take numbers of waits. Only the waits
/// inside the timeout are interrupted.
#[test]
fn interrupt_only_what_is_inside_of_a_timeout() {
    let begun = Instant::now();
    virtual_loop().run(async {
        let child = spawn(std::future::pending::<()>());
        let noise: Vec<_> = (0..10)
            .map(|_| {
                spawn(async {
                    for _ in 0..1000 {
                        let task = spawn(yield_now());
                        let _ = task.await;
                    }
                })
            })
            .collect();
        let inner = spawn(std::future::pending::<()>());
        let inner_ref = inner.task_ref();
        // Outside of the timeout, the same task awaits `child` at the same time.
        let mut outside = Box::pin(child.into_future());
        let mut inside = Box::pin(timeout(ms(1), async {
            let _ = inner.await;
        }));
        let mut over = false;
        let mut n = 0;
        std::future::poll_fn(|cx| {
            n += 1;
            if n % 3 == 0 {
                assert!(outside.as_mut().poll(cx).is_pending());
            }
            if !over && inside.as_mut().poll(cx).is_ready() {
                over = true;
            }
            if over || n > 100_000 {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            if n > 2000 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        for noisy in noise {
            noisy.await.unwrap();
        }
        if !over {
            assert!(inside.await.is_err());
        }
        assert!(inner_ref.is_cancelled());
        let child = onelane::all_tasks();
        assert_eq!(child.len(), 2, "what was awaited beside the timeout is not cancelled: {child:?}");
    });
    println!("{:?}", begun.elapsed());
}

/// Public types keep their auto traits.
#[test]
fn keep_auto_traits() {
    fn unpin<T: Unpin>() {}
    fn send_sync<T: Send + Sync>() {}
    unpin::<Task<std::marker::PhantomPinned>>();
    unpin::<Join<std::marker::PhantomPinned>>();
    unpin::<TaskRef>();
    send_sync::<Sleep>();
    send_sync::<onelane::CallbackId>();
    fn safe<T: std::panic::UnwindSafe + std::panic::RefUnwindSafe>() {}
    safe::<Sleep>();
    safe::<onelane::CallbackId>();
}

/// The whole run borrows local values, and a destructor reads them.
#[test]
fn lend_to_run_and_keep_handles() {
    let event_loop = virtual_loop();
    let leaked = RefCell::new(None);
    for how in 0..3 {
        let data = RefCell::new(vec![String::from("a")]);
        let result = catch_unwind(AssertUnwindSafe(|| {
            event_loop.try_run(async {
                let _guard = on_drop(|| data.borrow_mut().push("dropped".into()));
                *leaked.borrow_mut() = Some(current_task().unwrap());
                let me = current_task().unwrap();
                call_soon(move || drop(me));
                yield_now().await;
                match how {
                    0 => {}
                    1 => panic!("main"),
                    _ => {
                        current_task().unwrap().cancel();
                        yield_now().await;
                    }
                }
                data.borrow()[0].clone()
            })
        }));
        assert_eq!(result.is_ok(), how != 1);
        assert_eq!(data.borrow().len(), 2);
        let handle: Option<TaskRef> = leaked.borrow_mut().take();
        assert!(handle.unwrap().is_done());
    }
}

/// Two handles of one task or of one promise are equal. Handles of different tasks or promises with
/// equal values are not.
#[test]
fn compare_tasks_and_promises() {
    virtual_loop().run(async {
        let tasks = [spawn(async { 1 }), spawn(async { 1 })];
        assert!(tasks[0] == tasks[0] && tasks[0] != tasks[1]);
        let known: HashMap<&Task<u32>, &str> = HashMap::from([(&tasks[0], "first"), (&tasks[1], "second")]);
        assert_eq!((known[&tasks[0]], known[&tasks[1]]), ("first", "second"));
        let promises = [Promise::<u32>::new(), Promise::new()];
        let copy = promises[0].clone();
        assert!(copy == promises[0] && copy != promises[1]);
        #[expect(clippy::mutable_key_type, reason = "what changes in there is not compared")]
        let waits = HashSet::from(promises.clone());
        copy.set_result(1).unwrap();
        promises[1].set_result(1).unwrap();
        assert!(waits.contains(&copy) && waits.len() == 2 && promises[0] != promises[1]);
    });
}
