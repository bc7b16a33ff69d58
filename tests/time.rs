//! Bugs of other executors with time: extreme durations, far deadlines, and timers that are reset,
//! lost or left behind.

mod common;

use common::{Census, Post, Trace, foreign, ms, virtual_loop, watched};
use futures_util::{FutureExt, poll};
use onelane::{
    Elapsed, EventLoop, RunError, Sleep, call_at, call_later, call_soon, gather, sleep, sleep_until, spawn, time,
    timeout, timeout_at, wait, wait_for, yield_now,
};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::pending;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

fn ns(nanoseconds: u64) -> Duration {
    Duration::from_nanos(nanoseconds)
}

/// tokio-rs/tokio#8334: after twelve days, and beside a far timer, short sleeps waited for the far
/// timer.
#[test]
fn sleep_shortly_at_every_power_of_two_beside_a_far_timer() {
    let event_loop = virtual_loop();
    let called = Rc::new(Cell::new(0));
    event_loop.run(async {
        let start = time();
        let far = spawn(sleep(ns(u64::MAX - 1)));
        for power in 0..63 {
            for edge in [(1 << power) - 1, 1 << power, (1 << power) + 1] {
                let moment = start + ns(edge);
                if moment > time() {
                    sleep_until(moment).await;
                    assert_eq!(time() - start, ns(edge));
                }
                let now = time();
                let copy = called.clone();
                call_later(ns(1), move || copy.set(copy.get() + 1));
                gather([ns(3), ns(2), ms(1), Duration::from_secs(70)].map(|short| async move {
                    sleep(short).await;
                    assert_eq!(time() - now, short);
                }))
                .await
                .unwrap();
                assert!(!far.is_done());
            }
        }
        far.await.unwrap();
        assert_eq!(time() - start, ns(u64::MAX - 1));
    });
    assert_eq!(called.get(), 63 * 3);
}

/// The same as a property: timers with random deadlines of all sizes, some of them cancelled, are
/// compared with a sorted map. Timers with equal deadlines fire in the order of their creation
/// (TIME-3), and each timer fires at its deadline (TIME-2).
#[test]
fn fire_as_a_sorted_map_does() {
    let mut random = 7u64;
    let mut draw = move || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        random >> 16
    };
    for _ in 0..20 {
        let fired: Rc<RefCell<Vec<(Duration, usize)>>> = Rc::default();
        let mut model = BTreeMap::new();
        virtual_loop().run(async {
            let start = time();
            let mut handles = Vec::new();
            for nth in 0..300 {
                // Small and large deadlines are equally frequent, and many are equal.
                let bits = draw() % 47;
                let deadline = if draw() % 3 == 0 { 1 << bits } else { draw() & ((1 << bits) - 1) };
                let copy = fired.clone();
                handles.push(call_at(start + ns(deadline), move || copy.borrow_mut().push((time() - start, nth))));
                model.insert((ns(deadline), nth), ());
                if draw() % 4 == 0 {
                    let which = draw() as usize % handles.len();
                    let cancelled = handles[which].cancel();
                    let before = model.len();
                    model.retain(|&(_, nth), ()| nth != which);
                    assert_eq!(cancelled, before > model.len());
                }
            }
            sleep(ns(1 << 48)).await;
        });
        let expected: Vec<_> = model.into_keys().collect();
        assert_eq!(fired.take(), expected);
    }
}

/// tokio-rs/tokio#2667, #3551, #5183, #6634, #8384, #4494, #2408, #3595; embassy-rs/embassy#3204,
/// #6141; Smithay/calloop#121: long durations overflowed, or were equal to a reserved value.
#[test]
fn wait_for_durations_at_the_edges() {
    let long = [
        Duration::MAX,
        Duration::MAX / 2,
        Duration::MAX / 10,
        Duration::MAX - ns(1),
        Duration::from_millis(u64::MAX),
        Duration::from_millis(u64::MAX / 10),
        Duration::from_secs(u64::MAX),
        Duration::from_nanos(u64::MAX),
        Duration::from_nanos(u64::MAX - 1),
        Duration::from_nanos(1 << 63),
        Duration::from_secs(86_400 * 365 * 100),
    ];
    // With a clock that has not moved, and with one that has advanced.
    for before in [ns(0), ns(1), Duration::from_secs(1_000_000)] {
        for duration in long {
            let event_loop = virtual_loop();
            let seen = event_loop.run(async move {
                sleep(before).await;
                let begin = time();
                // Longer than everything that is awaited here, so none of these may end.
                let sleeping = spawn(sleep(duration));
                let timed = spawn(timeout(duration, pending::<()>()));
                let waited = spawn(wait_for(pending::<()>(), duration));
                let some = spawn(pending::<()>());
                let waiting = spawn(wait([some.task_ref()]).timeout(duration).map(drop));
                let callback = call_later(duration, || unreachable!("a callback that is due in centuries"));
                let mut again = sleep(ms(1));
                if let Some(moment) = begin.checked_add(duration) {
                    again.reset(moment);
                    assert!(poll!(&mut again).is_pending());
                    let until = sleep_until(moment);
                    let at = timeout_at(moment, sleep(ms(2)));
                    assert_eq!(at.await, Ok(()));
                    drop(until);
                }
                assert_eq!(timeout(duration, sleep(ms(3))).await, Ok(()));
                assert_eq!(wait_for(sleep(ms(4)), duration).await, Ok(()));
                sleep(ms(5)).await;
                again.reset(time() + ms(1));
                again.await;
                let tasks = [sleeping.is_done(), timed.is_done(), waited.is_done(), waiting.is_done()];
                (tasks, callback.cancel())
            });
            assert_eq!(seen, ([false; 4], true), "{duration:?} after {before:?}");
        }
    }
}

/// The shortest sleeps. DataDog/glommio#326: a very short sleep hung.
#[test]
fn wait_for_nothing_and_for_a_nanosecond() {
    let event_loop = virtual_loop();
    event_loop.run(async {
        let start = time();
        sleep(Duration::ZERO).await;
        sleep_until(start).await;
        sleep_until(start.checked_sub(ms(1)).unwrap_or(start)).await;
        assert_eq!(timeout(Duration::ZERO, pending::<()>()).await, Err(Elapsed));
        assert_eq!(timeout(Duration::ZERO, async { 1 }).await, Ok(1));
        assert_eq!(timeout_at(start, pending::<()>()).await, Err(Elapsed));
        assert_eq!(wait_for(pending::<()>(), Duration::ZERO).await, Err(Elapsed));
        let some = spawn(pending::<()>());
        let (done, pending) = wait([&some]).timeout(Duration::ZERO).await;
        assert_eq!((done.len(), pending.len()), (0, 1));
        assert_eq!(time(), start, "none of these takes time");
        sleep(ns(1)).await;
        assert_eq!(time() - start, ns(1));
        assert_eq!(timeout(ns(1), sleep(ns(2))).await, Err(Elapsed));
        assert_eq!(time() - start, ns(2));
    });
    watched(|| {
        EventLoop::new().run(async {
            for n in 0..100 {
                sleep(ns(n)).await;
            }
        });
    });
}

/// tokio-rs/tokio-timer#38, tokio-rs/tokio#5536, restatedev/restate#5017: a deadline beyond the
/// wheel's range was lost, or caused a panic.
#[test]
fn sleep_for_centuries_in_steps_and_at_once() {
    let century = Duration::from_secs(86_400 * 36_525);
    let trace = Trace::new();
    virtual_loop().run(async {
        let start = time();
        let tasks = [5, 1, 3].map(|n| {
            let trace = trace.clone();
            spawn(async move {
                sleep(century * n).await;
                assert_eq!(time() - start, century * n);
                trace.push(n.to_string());
            })
        });
        for n in 1..=5 {
            sleep(century).await;
            assert_eq!(time() - start, century * n);
        }
        yield_now().await;
        assert_eq!(tasks.iter().filter(|task| task.is_done()).count(), 3);
        // The latest deadline that the clock can count. A longer sleep never ends, so it would be a
        // deadlock and not a panic.
        sleep_until(start + ns(u64::MAX - 1)).await;
        assert_eq!(time() - start, ns(u64::MAX - 1));
        sleep(ns(0)).await;
    });
    assert_eq!(trace.take(), ["1", "3", "5"]);
    let error = virtual_loop().try_run(async {
        sleep(ns(u64::MAX - 1)).await;
        sleep(ns(1)).await;
    });
    assert!(matches!(error, Err(RunError::Deadlock(_))));
}

/// tokio-rs/tokio#2573, #2587: the reset of an expired timer panicked.
#[test]
fn reset_a_sleep_in_every_state() {
    virtual_loop().run(async {
        let start = time();
        // Each sleep, in a given state, is reset to five more milliseconds.
        let reset_and_await = |mut asleep: Sleep, state: &'static str| async move {
            let from = time();
            asleep.reset(from + ms(5));
            assert!(!asleep.is_elapsed(), "{state}");
            (&mut asleep).await;
            assert_eq!((time() - from, asleep.is_elapsed()), (ms(5), true), "{state}");
            // A reset to a moment in the past: other tasks run first, and no time passes.
            asleep.reset(from);
            assert!(poll!(&mut asleep).is_pending(), "{state}");
            yield_now().await;
            assert!(poll!(&mut asleep).is_ready(), "{state}");
            assert_eq!(time() - from, ms(5), "{state}");
            // Reset once more.
            asleep.reset(time() + ms(1));
            asleep.await;
            assert_eq!(time() - from, ms(6), "{state}");
        };
        reset_and_await(sleep(ms(1)), "new").await;
        reset_and_await(sleep(ms(0)), "new, of no time").await;
        let mut asleep = sleep(ms(3));
        assert!(poll!(&mut asleep).is_pending());
        reset_and_await(asleep, "armed").await;
        let mut asleep = sleep(ms(3));
        assert!(poll!(&mut asleep).is_pending());
        sleep(ms(9)).await;
        assert!(!asleep.is_elapsed());
        reset_and_await(asleep, "fired, not polled").await;
        let mut asleep = sleep(ms(3));
        (&mut asleep).await;
        reset_and_await(asleep, "over").await;
        let mut asleep = sleep(ms(0));
        assert!(poll!(&mut asleep).is_pending());
        reset_and_await(asleep, "yielded").await;
        let mut asleep = sleep(Duration::MAX);
        assert!(poll!(&mut asleep).is_pending());
        reset_and_await(asleep, "never").await;
        assert_eq!(time() - start, ms(7 * 6 + 9 + 3));
    });
}

/// TIME-1. tokio-rs/tokio#6683: timers were lost if others were added and removed while timers
/// fired.
#[test]
fn insert_and_cancel_while_timers_fire() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let start = time();
        let later: Rc<RefCell<Vec<onelane::CallHandle>>> = Rc::default();
        let note = |name: &'static str| {
            let trace = trace.clone();
            move || trace.push(format!("{name} at {:?}", time() - start))
        };
        // All timers are due at the same moment. The first one cancels the third, and adds timers
        // before and after the current time.
        let (first, handles) = (note("first"), later.clone());
        let (same, next, past) = (note("same moment"), note("next moment"), note("past"));
        call_later(ms(5), move || {
            first();
            assert!(handles.borrow()[0].cancel());
            assert!(!handles.borrow()[0].cancel());
            assert!(handles.borrow()[1].cancel());
            call_later(ns(0), same);
            call_later(ns(1), next);
            call_at(start, past);
        });
        call_later(ms(5), note("second"));
        later.borrow_mut().push(call_later(ms(5), note("third")));
        later.borrow_mut().push(call_later(ms(6), note("much later")));
        // A foreign waker does the same inside its wake.
        let calls = Arc::new(AtomicUsize::new(0));
        let count = calls.clone();
        let waker = foreign(
            move || {
                count.fetch_add(1, Ordering::SeqCst);
                let inner = count.clone();
                call_later(ms(1), move || _ = inner.fetch_add(10, Ordering::SeqCst));
                assert!(call_later(ms(1), || unreachable!()).cancel());
            },
            || (),
        );
        let mut asleep = sleep(ms(5));
        assert!(Pin::new(&mut asleep).poll(&mut Context::from_waker(&waker)).is_pending());
        call_later(ms(5), note("last"));
        sleep(ms(20)).await;
        assert_eq!(calls.load(Ordering::SeqCst), 11);
        assert!(poll!(&mut asleep).is_ready());
    });
    assert_eq!(
        trace.take(),
        [
            "first at 5ms",
            "second at 5ms",
            "last at 5ms",
            "past at 5ms",
            "same moment at 5ms",
            "next moment at 5.000001ms",
        ]
    );
}

/// DataDog/glommio#229, #258: a timer that was pending at the end caused an abort.
#[test]
fn drop_the_loop_with_timers_pending() {
    let census = Census::new();
    for turns in 0..4 {
        let event_loop = virtual_loop();
        for n in [0, 1, 5] {
            let (in_task, in_callback) = (census.member(), census.member());
            drop(event_loop.spawn(async move {
                call_later(ms(50), move || drop(in_callback));
                sleep(ms(n)).await;
                let _ = timeout(Duration::MAX, pending::<()>()).await;
                drop(in_task);
            }));
        }
        for _ in 0..turns {
            event_loop.turn();
        }
        let before = census.counts();
        assert_eq!(before.0 - before.1, 6);
        drop(event_loop);
        assert_eq!(census.counts(), (before.0, before.0));
    }
    // A sleep outlives its loop.
    let event_loop = virtual_loop();
    let mut asleep = common::sleep_of(&event_loop, ms(5));
    assert!(common::poll_in(&event_loop, &mut asleep, Waker::noop()).is_pending());
    drop(event_loop);
    assert!(!asleep.is_elapsed());
    virtual_loop().run(async { assert!(!asleep.is_elapsed()) });
    asleep = common::sleep_of(&virtual_loop(), ms(1));
    drop(asleep);
}

/// embassy-rs/embassy a2aa93f81, 64b177ca2: a timer stayed in the queue after its task had ended,
/// and woke the next task in its slot.
#[test]
fn end_a_task_with_a_living_timer_and_use_its_slot_again() {
    let event_loop = virtual_loop();
    let kept: Rc<RefCell<Vec<Sleep>>> = Rc::default();
    let copy = kept.clone();
    let first = event_loop.spawn(async move {
        let mut asleep = sleep(ms(5));
        assert!(poll!(&mut asleep).is_pending());
        copy.borrow_mut().push(asleep);
    });
    event_loop.turn();
    assert!(first.is_done());
    let post = Post::new();
    let second = event_loop.spawn(post.wait());
    let turns: Vec<_> = (0..4).map(|_| (event_loop.turn().timers, post.polls())).collect();
    assert_eq!(turns, [(0, 1), (1, 1), (0, 1), (0, 1)]);
    assert!(!second.is_done());
    // A pending sleep that is dropped before its deadline removes its timer.
    event_loop.run(async {
        let before = time();
        let asleep = spawn(sleep(ms(5)));
        yield_now().await;
        asleep.cancel();
        yield_now().await;
        sleep(ms(1)).await;
        assert_eq!(time() - before, ms(1));
    });
    assert_eq!(event_loop.turn().next_deadline, None);
}

/// Part C: the next deadline is exactly that of the earliest timer.
#[test]
fn ask_for_the_next_deadline_as_timers_come_and_go() {
    let event_loop = virtual_loop();
    let start = event_loop.time();
    let current = event_loop.run(async { EventLoop::current() });
    let next = || event_loop.next_deadline().map(|moment| moment - start);
    let mut seen = vec![next()];
    let handles: Vec<_> = [50, 20, 70, 20].map(|n| current.call_later(ms(n), || ())).into();
    seen.push(next());
    handles[1].cancel();
    seen.push(next());
    handles[3].cancel();
    seen.push(next());
    let turn = event_loop.turn();
    assert_eq!((turn.timers, turn.next_deadline), (1, Some(start + ms(70))));
    seen.push(next());
    current.call_later(Duration::MAX, || unreachable!());
    seen.push(next());
    handles[2].cancel();
    seen.push(next());
    let expected = [None, Some(ms(20)), Some(ms(20)), Some(ms(50)), Some(ms(70)), Some(ms(70)), None];
    assert_eq!(seen, expected);
    current.call_soon(|| ());
    assert_eq!(event_loop.next_deadline(), Some(start + ms(50)));
}

/// tokio-rs/tokio#4614, #5115, #6242: a virtual clock jumped although other threads were working,
/// or never jumped. Here the clock jumps when nothing is ready and a timer is pending. Without a
/// timer, the loop waits while a `Remote` is alive, and otherwise reports a deadlock.
#[test]
fn jump_or_wait_or_report() {
    watched(|| {
        // With a timer it jumps, whether or not another thread is working.
        let event_loop = virtual_loop();
        let remote = event_loop.remote();
        let real = Instant::now();
        event_loop.run(async { sleep(Duration::from_secs(86_400)).await });
        assert!(real.elapsed() < Duration::from_secs(3600));
        // Without a timer it waits for the holder of a remote.
        let post = Post::new();
        let (go, wait) = (Arc::new(AtomicUsize::new(0)), post.wait());
        let went = go.clone();
        let thread = thread::spawn(move || {
            common::await_that(|| went.load(Ordering::SeqCst) == 1);
            remote.call_soon(move || post.open()).unwrap();
            drop(remote);
        });
        let before = event_loop.time();
        event_loop.run(async {
            call_soon(move || go.store(1, Ordering::SeqCst));
            wait.await;
            assert_eq!(time(), before);
        });
        thread.join().unwrap();
        // After the last remote was dropped, nothing more can arrive.
        let remote = event_loop.remote();
        let thread = thread::spawn(move || drop(remote));
        let error = event_loop.try_run(pending::<()>()).unwrap_err();
        assert!(matches!(error, RunError::Deadlock(_)), "{error:?}");
        thread.join().unwrap();
    });
}

/// A sleep that is polled with several wakers in turn wakes the last one.
#[test]
fn replace_the_waker_of_a_sleep_and_wake_the_last() {
    let event_loop = virtual_loop();
    let woken = Arc::new(AtomicUsize::new(0));
    let mut asleep = common::sleep_of(&event_loop, ms(5));
    for nth in 0..5 {
        let woken = woken.clone();
        let waker = foreign(move || _ = woken.fetch_add(10usize.pow(nth), Ordering::SeqCst), || ());
        assert!(common::poll_in(&event_loop, &mut asleep, &waker).is_pending());
    }
    assert_eq!(event_loop.turn().timers, 1);
    assert_eq!(woken.load(Ordering::SeqCst), 10_000);
    assert!(common::poll_in(&event_loop, &mut asleep, Waker::noop()).is_ready());
}

/// TIME-2. Sleeps on the real clock are never early, and end in order.
#[test]
fn sleep_on_the_real_clock_and_never_wake_early() {
    watched(|| {
        let trace = Trace::new();
        EventLoop::new().run(async {
            let tasks = [9, 3, 6].map(|n| {
                let trace = trace.clone();
                spawn(async move {
                    let before = Instant::now();
                    sleep(ms(n)).await;
                    assert!(before.elapsed() >= ms(n));
                    trace.push(n.to_string());
                })
            });
            gather(tasks).await.unwrap();
        });
        assert_eq!(trace.take(), ["3", "6", "9"]);
    });
}
