//! Bugs of other executors with wakes: lost wakes, stale wakes, wakers that call back into the
//! executor, and wakes that run a task at once instead of queuing it.

mod common;

use common::{Census, Post, Trace, alone, await_that, foreign, ms, telling_loop, virtual_loop, watched};
use futures_util::FutureExt;
use futures_util::future::join;
use onelane::{
    EventLoop, ReturnWhen, Sleep, TaskState, call_soon, current_task, gather, sleep, spawn, time, timeout, try_run,
    wait, wait_for, yield_now,
};
use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

/// compio-rs/compio#948, #949: an early return left a bit set, and each later wake from another
/// thread was lost.
#[test]
fn wake_from_two_threads_and_lose_none() {
    watched(|| {
        const ROUNDS: usize = 300;
        let event_loop = EventLoop::new();
        // Each thread requests a round, and waits until the task has seen it. A lost wake hangs.
        let (asked, seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (asked_inside, seen_inside, post) = (asked.clone(), seen.clone(), Post::new());
        let waker = Arc::new(Mutex::new(None::<Waker>));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (asked, seen, waker) = (asked.clone(), seen.clone(), waker.clone());
                thread::spawn(move || {
                    await_that(|| waker.lock().unwrap().is_some());
                    let waker = waker.lock().unwrap().clone().unwrap();
                    for _ in 0..ROUNDS {
                        let mine = asked.fetch_add(1, Ordering::SeqCst) + 1;
                        waker.wake_by_ref();
                        await_that(|| seen.load(Ordering::SeqCst) >= mine);
                    }
                })
            })
            .collect();
        let total = event_loop.run(poll_fn(move |context| {
            *waker.lock().unwrap() = Some(context.waker().clone());
            let now = asked_inside.load(Ordering::SeqCst);
            seen_inside.store(now, Ordering::SeqCst);
            if now == 2 * ROUNDS { Poll::Ready(now) } else { Poll::Pending }
        }));
        assert_eq!((total, post.polls()), (2 * ROUNDS, 0));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// READY-1. Part C: a task is queued once, whatever the number and the source of its wakes.
#[test]
fn wake_many_times_and_step_once() {
    let event_loop = virtual_loop();
    let post = Post::new();
    let task = event_loop.spawn(post.wait());
    assert_eq!(task.task_ref().state(), TaskState::Queued);
    event_loop.turn();
    assert_eq!(task.task_ref().state(), TaskState::Waiting);
    let waker = post.waker();
    for _ in 0..5 {
        waker.wake_by_ref();
    }
    thread::spawn({
        let waker = waker.clone();
        move || (0..5).for_each(|_| waker.wake_by_ref())
    })
    .join()
    .unwrap();
    let inside = event_loop.spawn(async move {
        for _ in 0..5 {
            waker.wake_by_ref();
        }
    });
    let turn = event_loop.turn();
    assert_eq!((turn.ready, turn.tasks, post.polls(), inside.is_done()), (0, 1, 2, true));
    assert_eq!(event_loop.turn().ready, 0);
    assert_eq!(post.polls(), 2);
}

/// A turn reports its number of steps, whether they poll or end a task.
#[test]
fn count_steps_of_a_turn() {
    let event_loop = virtual_loop();
    let tasks: Vec<_> = (0..3).map(|_| event_loop.spawn(yield_now())).collect();
    let mut steps = vec![event_loop.turn().steps];
    tasks[0].cancel();
    steps.push(event_loop.turn().steps);
    steps.push(event_loop.turn().steps);
    assert_eq!(steps, [3, 3, 0]);
}

/// compio-rs/compio#1044, #1045: `wake` waited for room in a full queue, while its caller held a
/// lock that a task needed.
#[test]
fn wake_from_elsewhere_with_a_lock_that_the_task_takes() {
    watched(|| {
        const WAKES: usize = 100_000;
        let event_loop = EventLoop::new();
        let (lock, post) = (Arc::new(Mutex::new(0)), Post::new());
        let (inside, wait) = (lock.clone(), post.wait());
        let mut wait = Box::pin(wait);
        let task = event_loop.spawn(poll_fn(move |context| {
            let woken = *inside.lock().unwrap();
            let _ = wait.as_mut().poll(context);
            if woken == WAKES { Poll::Ready(()) } else { Poll::Pending }
        }));
        event_loop.turn();
        let waker = post.waker();
        thread::spawn(move || {
            for _ in 0..WAKES {
                let mut woken = lock.lock().unwrap();
                *woken += 1;
                waker.wake_by_ref();
            }
        })
        .join()
        .unwrap();
        let turn = event_loop.turn();
        assert_eq!((turn.tasks, turn.ready, post.polls(), task.is_done()), (0, 0, 2, true));
    });
}

/// tokio-rs/tokio#3117, #3369: a spawn from outside did not wake the set that had to run the new
/// task.
#[test]
fn spawn_onto_a_waiting_loop() {
    watched(|| {
        let trace = Trace::new();
        let event_loop = virtual_loop();
        event_loop.run(async {
            let (from_main, in_destructor) = (trace.clone(), trace.clone());
            spawn(async move { from_main.push("from main") }).await.unwrap();
            let doomed = spawn(async move {
                let _spawn = common::on_drop(move || {
                    drop(spawn(async move { in_destructor.push("from a destructor") }));
                });
                pending::<()>().await;
            });
            yield_now().await;
            doomed.cancel();
            doomed.await.unwrap_err();
            yield_now().await;
            // From another thread, while the loop has nothing else to do.
            let remote = EventLoop::current().remote();
            let (post, copy) = (Post::new(), Post::new());
            let sent = copy.clone();
            let thread = thread::spawn(move || {
                drop(remote.spawn(async move {
                    sent.wait().now_or_never();
                    post.wait().now_or_never();
                }));
                remote
            });
            while copy.polls() == 0 {
                sleep(ms(1)).await;
            }
            thread.join().unwrap();
            trace.push("from a thread");
        });
        assert_eq!(trace.take(), ["from main", "from a destructor", "from a thread"]);
    });
}

/// tokio-rs/tokio#6016; nexus-async-rt: a wake outside of a turn was lost, and the task with it.
#[test]
fn wake_between_turns_and_in_callbacks() {
    let event_loop = virtual_loop();
    let post = Post::new();
    drop(event_loop.spawn(post.wait()));
    let mut polls = vec![];
    let mut after_turn = |event_loop: &EventLoop| {
        event_loop.turn();
        polls.push(post.polls());
    };
    after_turn(&event_loop);
    post.waker().wake();
    after_turn(&event_loop);
    // In another loop's turn.
    let (other, waker) = (virtual_loop(), post.waker());
    other.run(async move { waker.wake() });
    after_turn(&event_loop);
    // In a callback of its own loop: a task that the callback wakes is stepped in the next turn.
    let waker = post.waker();
    let current = event_loop.spawn(async { EventLoop::current() });
    after_turn(&event_loop);
    let current = turn_until_done(&event_loop, current);
    current.call_soon(move || waker.wake());
    after_turn(&event_loop);
    after_turn(&event_loop);
    assert_eq!(polls, [1, 2, 3, 3, 3, 4]);
}

/// Turns by hand until a task has ended.
fn turn_until_done<T: 'static>(event_loop: &EventLoop, task: onelane::Task<T>) -> T {
    while !task.is_done() {
        event_loop.turn();
    }
    task.into_future().now_or_never().unwrap().unwrap()
}

/// tokio-rs/tokio#6996, #6999: a yield that was pending when the scheduler stopped was never woken.
#[test]
fn leave_the_loop_with_yields_pending() {
    let trace = Trace::new();
    let event_loop = virtual_loop();
    let copy = trace.clone();
    let task = event_loop.spawn(async move {
        for nth in 0..4 {
            copy.push(format!("yield {nth}"));
            if nth == 1 {
                assert!(try_run(async {}).is_err());
            }
            yield_now().await;
        }
    });
    event_loop.turn();
    trace.push("left");
    event_loop.turn();
    trace.push("left");
    virtual_loop().run(yield_now());
    while !task.is_done() {
        event_loop.turn();
    }
    assert_eq!(trace.take(), ["yield 0", "left", "yield 1", "left", "yield 2", "yield 3"]);
    // The same with the end of a run in between. The run does not wait for the yield, and the next
    // run works.
    let copy = trace.clone();
    event_loop.run(async move {
        drop(spawn(async move {
            copy.push("a");
            yield_now().await;
            // This step is in the turn that calls main's done callback, and that turn is completed.
            copy.push("b");
            yield_now().await;
            copy.push("never");
        }));
        yield_now().await;
    });
    let ended = event_loop.run(async { spawn(yield_now()).await });
    assert_eq!((ended, trace.take()), (Ok(()), vec!["a".to_string(), "b".to_string()]));
}

/// tokio-rs/tokio#7622: what was written before a wake must be visible in the step that the wake
/// causes. The same holds for the second of two wakes.
#[test]
fn write_and_wake_and_read() {
    watched(|| {
        let (post, data) = (Post::new(), Arc::new([const { AtomicUsize::new(0) }; 2]));
        let event_loop = EventLoop::new();
        let (inside, mut wait) = (data.clone(), Box::pin(post.wait()));
        let task = event_loop.spawn(poll_fn(move |context| {
            let _ = wait.as_mut().poll(context);
            let sum = inside[0].load(Ordering::Relaxed) + inside[1].load(Ordering::Relaxed);
            if sum == 2000 { Poll::Ready(()) } else { Poll::Pending }
        }));
        event_loop.turn();
        let threads = [0, 1].map(|nth| {
            let (data, waker) = (data.clone(), post.waker());
            thread::spawn(move || {
                for value in 1..=1000 {
                    data[nth].store(value, Ordering::Relaxed);
                    waker.wake_by_ref();
                }
            })
        });
        // There are no other wakes. The loop hangs if no step after the last two wakes sees both
        // values.
        event_loop.run(async move { task.await.unwrap() });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// bytedance/monoio#146: wakes of the main future through a clone of its waker were ignored.
#[test]
fn wake_main_from_each_side() {
    watched(|| {
        let event_loop = EventLoop::new();
        let post = Post::new();
        let mut wait = Box::pin(post.wait());
        let stage = Rc::new(Cell::new(0));
        let copy = stage.clone();
        let mut first = None;
        event_loop.run(poll_fn(move |context| {
            let _ = wait.as_mut().poll(context);
            let first = first.get_or_insert_with(|| context.waker().clone()).clone();
            copy.set(copy.get() + 1);
            let waker = context.waker().clone();
            match copy.get() {
                1 => drop(spawn(async move { waker.wake() })),
                2 => drop(thread::spawn(move || waker.wake())),
                3 => drop(spawn(async move { first.wake_by_ref() })),
                4 => drop(thread::spawn(move || first.wake_by_ref())),
                5 => drop(call_soon(move || waker.wake())),
                _ => return Poll::Ready(()),
            }
            Poll::Pending
        }));
        assert_eq!((stage.get(), post.polls()), (6, 6));
    });
}

/// STEP-1. tokio-rs/tokio#2062, #5429, #2046, smol-rs/smol#143, and two unreported bugs (compio,
/// unsend): wakers are foreign code. They may call back when they are woken or dropped, so no lock
/// and no borrow may be held then.
#[test]
fn call_back_from_foreign_wakers() {
    let calls = Arc::new(AtomicUsize::new(0));
    let call_back = {
        let calls = calls.clone();
        move || {
            calls.fetch_add(1, Ordering::SeqCst);
            if EventLoop::try_current().is_err() {
                return;
            }
            // The waker uses each part of the loop that could be borrowed.
            drop(spawn(async {}));
            let handle = call_soon(|| ());
            assert!(handle.cancel());
            let handle = onelane::call_later(ms(1), || ());
            assert!(handle.cancel());
            let mut asleep = sleep(ms(3));
            let mut context = Context::from_waker(Waker::noop());
            let _ = std::pin::Pin::new(&mut asleep).poll(&mut context);
            asleep.reset(time() + ms(1));
            assert!(!onelane::all_tasks().is_empty());
            let _ = current_task();
        }
    };
    let waker = || foreign(call_back.clone(), call_back.clone());
    let poll_with = |future: std::pin::Pin<&mut dyn Future<Output = ()>>, waker: &Waker| {
        future.poll(&mut Context::from_waker(waker)).is_ready()
    };
    let event_loop = virtual_loop();
    event_loop.run(async {
        type Made = Box<dyn Fn() -> std::pin::Pin<Box<dyn Future<Output = ()>>>>;
        let futures: Vec<(&str, Made)> = vec![
            ("sleep", Box::new(|| Box::pin(sleep(ms(5))))),
            ("sleep of no time", Box::new(|| Box::pin(sleep(ms(0))))),
            ("join", Box::new(|| Box::pin(spawn(sleep(ms(5))).into_future().map(drop)))),
            ("gather", Box::new(|| Box::pin(gather([sleep(ms(5)), sleep(ms(6))]).map(drop)))),
            ("wait", Box::new(|| Box::pin(wait([spawn(sleep(ms(5)))]).timeout(ms(9)).map(drop)))),
            ("wait until its timeout", Box::new(|| Box::pin(wait([spawn(sleep(ms(5)))]).timeout(ms(1)).map(drop)))),
            ("timeout", Box::new(|| Box::pin(timeout(ms(5), pending::<()>()).map(drop)))),
            ("wait_for", Box::new(|| Box::pin(wait_for(spawn(pending::<()>()), ms(5)).map(drop)))),
            ("wait_for no time", Box::new(|| Box::pin(wait_for(spawn(pending::<()>()), ms(0)).map(drop)))),
            ("remote", {
                let remote = EventLoop::current().remote();
                Box::new(move || Box::pin(remote.spawn(yield_now()).unwrap().map(drop)))
            }),
        ];
        for (name, make) in futures {
            // The future runs to its end. On the way, its waker is replaced, and the old waker is
            // dropped.
            let mut future = make();
            calls.store(0, Ordering::SeqCst);
            let (one, two) = (waker(), waker());
            assert!(!poll_with(future.as_mut(), &one), "{name}");
            drop(one);
            if !poll_with(future.as_mut(), &two) {
                drop(two);
                sleep(ms(20)).await;
                assert!(poll_with(future.as_mut(), Waker::noop()), "{name}");
                assert!(calls.load(Ordering::SeqCst) >= 3, "{name}: one was dropped, one was woken and dropped");
            }
            drop(future);
            // The future is dropped while it waits.
            let mut future = make();
            assert!(!poll_with(future.as_mut(), &waker()), "{name}");
            yield_now().await;
            drop(future);
            sleep(ms(20)).await;
        }
        // A timer that is still in the loop when the loop is dropped.
        let mut left = sleep(ms(500));
        assert!(left.poll_unpin(&mut Context::from_waker(&waker())).is_pending());
        std::mem::forget(left);
        calls.store(0, Ordering::SeqCst);
    });
    drop(event_loop);
    assert_eq!(calls.load(Ordering::SeqCst), 1, "it was dropped with the loop");
}

/// STEP-2. richardanaya/executor#4: a wake inside a poll hung. nginx/ngx-rust#294, #295: such a
/// wake polled at once.
#[test]
fn wake_itself_and_others_inside_a_poll() {
    let event_loop = virtual_loop();
    let (polling, trace) = (Rc::new(Cell::new(false)), Trace::new());
    let posts: Rc<RefCell<Vec<Waker>>> = Rc::default();
    for nth in 0..3 {
        let (polling, trace, wakers) = (polling.clone(), trace.clone(), posts.clone());
        let mut polls = 0;
        drop(event_loop.spawn(poll_fn(move |context| {
            assert!(!polling.replace(true), "a poll inside of a poll");
            polls += 1;
            trace.push(format!("{nth}: {polls}"));
            wakers.borrow_mut().push(context.waker().clone());
            let all = wakers.borrow().clone();
            for waker in &all {
                waker.wake_by_ref();
                let clone = waker.clone();
                assert!(clone.will_wake(waker));
                clone.wake();
            }
            polling.set(false);
            if polls == 3 { Poll::Ready(()) } else { Poll::Pending }
        })));
    }
    let turns: Vec<_> = (0..4).map(|_| (event_loop.turn().ready, trace.take())).collect();
    let line = |polls: u32| (0..3).map(|nth| format!("{nth}: {polls}")).collect::<Vec<_>>();
    assert_eq!(turns, [(3, line(1)), (3, line(2)), (0, line(3)), (0, vec![])]);
}

/// rust-embedded-community/async-on-embedded#6, dfinity/cdk-rs#357: the main future's waker pointed
/// to a stack frame that had returned.
#[test]
fn keep_the_waker_of_main_and_use_it_after_the_run() {
    let census = Census::new();
    let borrowed = String::from("borrowed by main");
    let event_loop = virtual_loop();
    let post = Post::new();
    let (length, task_ref) = event_loop.run(async {
        let _member = census.member();
        assert!(post.wait().now_or_never().is_none());
        poll_fn(|context| {
            let _ = pin!(post.wait()).poll(context);
            Poll::Ready(())
        })
        .await;
        (borrowed.len(), current_task().unwrap())
    });
    assert_eq!((length, census.counts()), (16, (1, 1)));
    let waker = post.waker();
    waker.wake_by_ref();
    thread::spawn(move || waker.wake()).join().unwrap();
    // A new task in the table row of main.
    let other = Post::new();
    drop(event_loop.spawn(other.wait()));
    event_loop.turn();
    post.waker().wake();
    let turn = event_loop.turn();
    assert_eq!((turn.tasks, turn.ready, other.polls()), (1, 0, 1));
    assert!(task_ref.is_done() && !task_ref.cancel());
    drop(event_loop);
    post.waker().wake();
    assert!(task_ref.is_done());
}

/// rust-lang/futures-rs 34bca9dc, async-rs/async-std#358, zesterer/pollster#9,
/// MaterializeInc/materialize#13776: other code took or left the token of `thread::park`.
#[test]
fn leave_the_park_token_alone() {
    watched(|| {
        /// A foreign executor, which parks the thread.
        fn block_on<F: Future>(future: F) -> F::Output {
            struct Unpark(thread::Thread);
            impl Wake for Unpark {
                fn wake(self: Arc<Self>) {
                    self.0.unpark();
                }
            }
            let waker = Waker::from(Arc::new(Unpark(thread::current())));
            let mut future = pin!(future);
            loop {
                match future.as_mut().poll(&mut Context::from_waker(&waker)) {
                    Poll::Ready(value) => return value,
                    Poll::Pending => thread::park(),
                }
            }
        }
        let event_loop = EventLoop::new();
        let remote = event_loop.remote();
        // The token is set before the sleep. The loop must still sleep, and must leave the token
        // set.
        thread::current().unpark();
        let before = std::time::Instant::now();
        event_loop.run(async { sleep(ms(5)).await });
        assert!(before.elapsed() >= ms(5));
        thread::park();
        // A thread sets and takes tokens while the loop sleeps, and while it waits for a wake from
        // another thread.
        let main = thread::current();
        let stop = Arc::new(AtomicBool::new(false));
        let giver = thread::spawn({
            let stop = stop.clone();
            move || {
                while !stop.load(Ordering::SeqCst) {
                    main.unpark();
                    thread::yield_now();
                }
            }
        });
        let post = Post::new();
        let waiting = event_loop.spawn(post.wait());
        let other = post.clone();
        let opener = thread::spawn(move || {
            await_that(|| other.has_waker());
            other.open();
        });
        let ended = event_loop.run(async move {
            // Another executor inside a step takes tokens as well.
            let answer = block_on(async {
                let thread = thread::spawn(move || remote.call_soon(|| ()));
                thread.join().unwrap()
            });
            (waiting.await, answer)
        });
        assert_eq!(ended, (Ok(()), Ok(())));
        stop.store(true, Ordering::SeqCst);
        giver.join().unwrap();
        opener.join().unwrap();
        assert_eq!(post.polls(), 2);
    });
}

/// hawkw/mycelium#449, #453: a primitive did not work if it was polled without a wake.
#[test]
fn poll_every_future_without_a_reason() {
    /// Stores the wakers of each poll, to wake them later without a reason.
    async fn seen<F: Future>(wakers: &Rc<RefCell<Vec<Waker>>>, future: F) -> F::Output {
        let mut future = pin!(future);
        poll_fn(|context| {
            wakers.borrow_mut().push(context.waker().clone());
            future.as_mut().poll(context)
        })
        .await
    }
    fn program(seed: u32, shakes: usize) -> Vec<String> {
        let trace = Trace::new();
        let event_loop = virtual_loop();
        let out = trace.clone();
        event_loop.run(async move {
            let start = time();
            let wakers: Rc<RefCell<Vec<Waker>>> = Rc::default();
            let note = |name: &'static str| {
                let out = out.clone();
                move |what: String| out.push(format!("{name}: {what} at {:?}", time() - start))
            };
            let mut tasks = Vec::new();
            macro_rules! worker {
                ($name:literal, $future:expr) => {{
                    let (wakers, note) = (wakers.clone(), note($name));
                    tasks.push(spawn(async move {
                        let result = seen(&wakers, $future).await;
                        note(format!("{result:?}"));
                    }));
                }};
            }
            let slow = |n: u64| async move {
                sleep(ms(n)).await;
                n
            };
            worker!("sleep", sleep(ms(10)));
            worker!("until", onelane::sleep_until(start + ms(11)));
            worker!("join", spawn(slow(12)).into_future());
            worker!("gather", gather([slow(13), slow(3)]));
            worker!("all", gather([slow(14), slow(4)]).return_exceptions());
            worker!("wait", wait([spawn(slow(15))]).map(|(done, pending)| (done.len(), pending.len())));
            worker!("first", {
                let tasks = [spawn(slow(16)), spawn(slow(60))];
                wait(tasks).return_when(ReturnWhen::FirstCompleted).map(|(done, pending)| (done.len(), pending.len()))
            });
            worker!("wait timed out", {
                wait([spawn(slow(60))]).timeout(ms(17)).map(|(done, pending)| (done.len(), pending.len()))
            });
            worker!("timeout", timeout(ms(60), slow(18)));
            worker!("timed out", timeout(ms(19), spawn(slow(60))));
            worker!("nested", timeout(ms(60), timeout(ms(20), pending::<()>())));
            worker!("wait_for", wait_for(spawn(slow(21)), ms(60)));
            worker!("waited in vain", wait_for(spawn(slow(60)), ms(22)));
            worker!("both", join(sleep(ms(23)), spawn(slow(5)).into_future()));
            let shaken = wakers.clone();
            drop(spawn(async move {
                let mut random = seed;
                for round in 0..24 {
                    sleep(ms(1)).await;
                    for _ in 0..shakes {
                        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        let wakers = shaken.borrow();
                        let which = (random >> 8) as usize % wakers.len();
                        wakers[which].wake_by_ref();
                    }
                    assert!(round < 24);
                }
            }));
            for task in tasks {
                task.await.unwrap();
            }
        });
        trace.take()
    }
    let calm = program(1, 0);
    assert_eq!(calm.len(), 14);
    for seed in 1..=10 {
        assert_eq!(program(seed, 8), calm, "with seed {seed}");
    }
}

/// WAKE-1. awslabs/shuttle#54, #91, local-runtime: the waker of a task that had ended woke the next
/// task in the same slot.
#[test]
fn wake_a_task_that_has_ended_and_not_the_next_in_its_slot() {
    let event_loop = virtual_loop();
    let mut stale: Vec<Waker> = Vec::new();
    for round in 0..50 {
        let post = Post::new();
        let task = event_loop.spawn(post.wait());
        event_loop.turn();
        for waker in &stale {
            waker.wake_by_ref();
            assert!(!waker.will_wake(&post.waker()));
        }
        let wakers = stale.clone();
        drop(event_loop.spawn(async move { wakers.into_iter().for_each(Waker::wake) }));
        let turn = event_loop.turn();
        assert_eq!((post.polls(), turn.tasks, turn.ready), (1, 1, 0), "round {round}");
        stale.push(post.waker());
        if round % 2 == 0 {
            post.open();
        } else {
            task.cancel();
        }
        assert_eq!(event_loop.turn().tasks, 0);
    }
}

/// async-local-executor: a stale id at the head of the queue hid the ids behind it.
#[test]
fn wake_the_dead_and_then_the_living() {
    let event_loop = virtual_loop();
    let (dead, living) = (Post::new(), Post::new());
    let tasks = [event_loop.spawn(dead.wait()), event_loop.spawn(living.wait())];
    event_loop.turn();
    dead.open();
    event_loop.turn();
    for elsewhere in [false, true] {
        let wakers = [dead.waker(), dead.waker(), living.waker()];
        let wake = move || wakers.into_iter().for_each(Waker::wake);
        if elsewhere {
            thread::spawn(wake).join().unwrap();
        } else {
            drop(event_loop.spawn(async { wake() }));
            event_loop.turn();
        }
        event_loop.turn();
    }
    assert_eq!((dead.polls(), living.polls()), (2, 3));
    assert_eq!(tasks.map(|task| task.is_done()), [true, false]);
}

/// async-local-executor: a wake on a thread that ran another executor went to that executor.
#[test]
fn wake_across_two_loops_on_one_thread_and_on_two() {
    watched(|| {
        let (one, two) = (virtual_loop(), virtual_loop());
        let posts = [Post::new(), Post::new()];
        let _tasks = [one.spawn(posts[0].wait()), two.spawn(posts[1].wait())];
        one.turn();
        two.turn();
        let wakers = [posts[0].waker(), posts[1].waker()];
        // Both are woken inside a turn of the first loop, then of the second, then on a thread that
        // has its own loop.
        let wake_both = move || {
            let wakers = wakers.clone();
            async move { wakers.iter().for_each(Waker::wake_by_ref) }
        };
        let mut seen = Vec::new();
        let mut turn_both = || {
            let turns = [one.turn(), two.turn()];
            seen.push(([posts[0].polls(), posts[1].polls()], turns.map(|turn| turn.tasks)));
        };
        drop(one.spawn(wake_both()));
        turn_both();
        turn_both();
        drop(two.spawn(wake_both()));
        turn_both();
        turn_both();
        thread::spawn(move || EventLoop::new().run(wake_both())).join().unwrap();
        turn_both();
        turn_both();
        let expected = [[1, 2], [2, 2], [2, 2], [3, 3], [4, 4], [4, 4]].map(|polls| (polls, [1, 1]));
        assert_eq!(seen, expected);
    });
}

/// Another loop of the thread is dropped inside a turn of a running loop. The wakes of the running
/// loop's tasks are not lost.
#[test]
fn drop_another_loop_in_a_turn_and_wake() {
    let post = Post::new();
    let trace = Trace::new();
    let event_loop = virtual_loop();
    let waiting = event_loop.spawn(post.wait());
    event_loop.turn();
    let (waker, at_end) = (post.waker(), trace.clone());
    let other = virtual_loop();
    drop(other.spawn(async move {
        let _wake = common::on_drop(move || {
            at_end.push(format!("{} in the loop that is dropped", onelane::all_tasks().len()));
            waker.wake();
        });
        pending::<()>().await;
    }));
    other.turn();
    let copy = trace.clone();
    event_loop.run(async move {
        post.unlock();
        drop(other);
        copy.push(format!("{} in the loop that runs", onelane::all_tasks().len()));
        waiting.await.unwrap();
    });
    assert_eq!(trace.take(), ["1 in the loop that is dropped", "2 in the loop that runs"]);
}

/// A sleep with a foreign waker is dropped on another thread. The loop receives the message and
/// drops the waker, whose destructor panics. The panic must not leave `turn`, and must not lose a
/// wake that arrived with the message.
#[test]
fn drop_a_sleep_elsewhere_whose_waker_panics() {
    alone("drop_a_sleep_elsewhere_whose_waker_panics", || {
        let (event_loop, told) = telling_loop();
        let mut asleep: Sleep = common::sleep_of(&event_loop, ms(500));
        let panicking = foreign(|| (), || panic!("in the drop of a waker"));
        assert!(common::poll_in(&event_loop, &mut asleep, &panicking).is_pending());
        let post = Post::new();
        let task = event_loop.spawn(post.wait());
        event_loop.turn();
        let waker = post.waker();
        post.unlock();
        // The timer owns the last clone.
        drop(panicking);
        thread::spawn(move || {
            drop(asleep);
            waker.wake();
        })
        .join()
        .unwrap();
        let turned = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| event_loop.turn()));
        assert!(turned.is_ok(), "the panic came out of turn()");
        event_loop.turn();
        assert!(task.is_done(), "a wake that arrived with the message was lost");
        assert_eq!(told.take().len(), 1);
    });
}

/// The same while `run` has a main future, which may borrow. If `run` has unwound, the loop must
/// not poll the main future any more.
#[test]
fn unwind_out_of_run_and_turn_again() {
    alone("unwind_out_of_run_and_turn_again", || {
        let (event_loop, _told) = telling_loop();
        let mut asleep: Sleep = common::sleep_of(&event_loop, ms(500));
        let panicking = foreign(|| (), || panic!("in the drop of a waker"));
        assert!(common::poll_in(&event_loop, &mut asleep, &panicking).is_pending());
        drop(panicking);
        let (post, opened) = (Post::new(), Post::new());
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let borrowed = vec![String::from("borrowed by main"); 3];
            let mut asleep = Some(asleep);
            event_loop.run(async {
                let mut wait = Box::pin(post.wait());
                let length = poll_fn(|context| {
                    if let Some(asleep) = asleep.take() {
                        thread::spawn(move || drop(asleep)).join().unwrap();
                    }
                    wait.as_mut().poll(context).map(|()| borrowed.iter().map(String::len).sum::<usize>())
                });
                timeout(ms(5), length).await.unwrap_or(0)
            })
        }));
        // Whether or not `run` has panicked, the main future that was dropped must not be stepped.
        post.unlock();
        post.waker().wake();
        let polls = post.polls();
        let turned = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| event_loop.turn()));
        assert_eq!((post.polls(), opened.polls()), (polls, 0), "the main future was polled after its end");
        assert!(turned.is_ok(), "a turn after it panicked");
        assert_eq!(result.ok(), Some(0), "the panic of a waker's destructor came out of run()");
    });
}
