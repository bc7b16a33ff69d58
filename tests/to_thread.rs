//! `to_thread`: when a function begins, where it runs, and what happens if no task awaits it any
//! more.

mod common;

use common::{Census, Trace, alone, await_that, ms, on_drop, panic_of, virtual_loop, watched};
use futures_util::poll;
use onelane::{Clock, Elapsed, EventLoop, RunError, TaskError, spawn, timeout, to_thread, yield_now};
use std::cell::Cell;
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::task::{Context, Poll, Waker};
use std::thread;

/// A loop that waits for no function at the end of `run`.
fn impatient() -> EventLoop {
    EventLoop::builder().clock(Clock::Virtual).thread_join_timeout(ms(0)).build()
}

#[test]
fn call_on_another_thread() {
    let here = thread::current().id();
    let (there, text) = virtual_loop().run(async {
        let text = String::from("from here");
        to_thread(move || (thread::current().id(), text)).await.unwrap()
    });
    assert_ne!(there, here);
    assert_eq!(text, "from here");
}

#[test]
fn begin_nothing_before_it_is_awaited() {
    let census = Census::new();
    let called = Arc::new(AtomicBool::new(false));
    let (member, flag) = (census.member(), called.clone());
    let job = to_thread(move || {
        let _member = member;
        flag.store(true, Ordering::SeqCst);
    });
    assert_eq!(format!("{job:?}"), r#"ToThread { stage: "new" }"#);
    drop(job);
    // The function was dropped without a call, at once and on this thread.
    assert_eq!(census.dropped_on(), [thread::current().id()]);
    assert!(!called.load(Ordering::SeqCst));
}

/// The function waits for what a task does later. If it blocked the loop, the test would hang.
#[test]
fn let_others_run_meanwhile() {
    watched(|| {
        let trace = Trace::new();
        virtual_loop().run(async {
            let (send, receive) = channel();
            let copy = trace.clone();
            drop(spawn(async move {
                copy.push("the other task");
                send.send("was here").unwrap();
            }));
            trace.push(to_thread(move || receive.recv().unwrap()).await.unwrap());
        });
        assert_eq!(trace.take(), ["the other task", "was here"]);
    });
}

#[test]
fn panic_and_keep_the_payload() {
    virtual_loop().run(async {
        let error = to_thread(|| -> u8 { std::panic::panic_any(7_u8) }).await.unwrap_err();
        let TaskError::Panicked(panic) = error else { unreachable!() };
        assert_eq!(panic.take_payload().unwrap().downcast_ref::<u8>(), Some(&7));

        let error = to_thread(|| -> () { panic!("text") }).await.unwrap_err();
        assert_eq!(error.to_string(), "the task panicked: text");
    });
}

/// On a virtual clock, nothing is ready and no timer is pending while the function runs. This is no
/// deadlock until the function has ended.
#[test]
fn hold_off_the_deadlock_until_it_is_over() {
    watched(|| {
        let result = virtual_loop().try_run(async {
            to_thread(|| thread::sleep(ms(5))).await.unwrap();
            pending::<()>().await;
        });
        let Err(RunError::Deadlock(report)) = result else { panic!("{result:?}") };
        assert_eq!(report.tasks.len(), 1);
        assert!(report.tasks[0].waits_for.is_empty(), "{report}");
    });
}

/// A function that is not awaited does not keep a loop waiting, neither before a deadlock report
/// nor at the end of a run.
#[test]
fn end_while_a_dropped_function_runs() {
    watched(|| {
        let (go_on, wait) = channel::<()>();
        let over = Arc::new(AtomicBool::new(false));
        let flag = over.clone();
        let result = impatient().try_run(async {
            let (begun, has_begun) = channel();
            {
                let mut job = pin!(to_thread(move || {
                    begun.send(()).unwrap();
                    wait.recv().unwrap();
                    flag.store(true, Ordering::SeqCst);
                }));
                assert!(poll!(&mut job).is_pending());
                assert_eq!(format!("{job:?}"), r#"ToThread { stage: "out" }"#);
                has_begun.recv().unwrap();
            }
            pending::<()>().await;
        });
        assert!(matches!(result, Err(RunError::Deadlock(_))), "{result:?}");
        assert!(!over.load(Ordering::SeqCst));
        // The function still runs.
        go_on.send(()).unwrap();
        await_that(|| over.load(Ordering::SeqCst));
    });
}

#[test]
fn drop_the_result_of_a_function_that_nobody_waits_for() {
    watched(|| {
        let census = Census::new();
        let (go_on, wait) = channel::<()>();
        let (begun, has_begun) = channel();
        let member = census.member();
        impatient().run(async move {
            let task = spawn(to_thread(move || {
                begun.send(()).unwrap();
                wait.recv().unwrap();
                member
            }));
            yield_now().await;
            has_begun.recv().unwrap();
            assert!(task.cancel());
            // The task does not wait for the function.
            assert_eq!(task.await.map(|_| ()), Err(TaskError::Cancelled));
        });
        assert_eq!(census.counts(), (1, 0));
        go_on.send(()).unwrap();
        await_that(|| census.counts() == (1, 1));
        assert_ne!(census.dropped_on(), [thread::current().id()]);
    });
}

/// With a pool of one thread, the second function waits for the first. It is dropped before it
/// begins.
#[test]
fn forget_a_function_that_has_not_begun() {
    alone("forget_a_function_that_has_not_begun", || {
        blocking::set_max_blocking_threads(1.try_into().unwrap());
        let (go_on, wait) = channel::<()>();
        let called = Arc::new(AtomicBool::new(false));
        let census = Census::new();
        virtual_loop().run(async {
            let first = spawn(to_thread(move || wait.recv().unwrap()));
            yield_now().await;
            {
                let (member, flag) = (census.member(), called.clone());
                let mut second = pin!(to_thread(move || {
                    let _member = member;
                    flag.store(true, Ordering::SeqCst);
                }));
                assert!(poll!(&mut second).is_pending());
            }
            go_on.send(()).unwrap();
            first.await.unwrap().unwrap();
            // This function is behind the second one in the queue of the pool.
            to_thread(|| ()).await.unwrap();
        });
        assert!(!called.load(Ordering::SeqCst));
        assert_eq!(census.counts(), (1, 1));
    });
}

#[test]
fn let_a_virtual_clock_jump_meanwhile() {
    watched(|| {
        virtual_loop().run(async {
            let (go_on, wait) = channel::<()>();
            let before = onelane::time();
            let job = to_thread(move || wait.recv().unwrap_err());
            assert!(matches!(timeout(ms(3_600_000), job).await, Err(Elapsed { .. })));
            assert_eq!(onelane::time() - before, ms(3_600_000));
            drop(go_on);
        });
    });
}

/// A function begins in one loop and is awaited in another. The other loop waits for it.
#[test]
fn go_on_in_another_loop() {
    watched(|| {
        let (go_on, wait) = channel::<()>();
        let mut job = to_thread(move || {
            wait.recv().unwrap();
            thread::sleep(ms(5));
            5
        });
        let first = impatient();
        first.run(async { assert!(poll!(&mut job).is_pending()) });
        go_on.send(()).unwrap();
        assert_eq!(virtual_loop().run(async { (&mut job).await }), Ok(5));
        // The first loop does not wait for the function any more.
        assert!(matches!(first.try_run(pending::<()>()), Err(RunError::Deadlock(_))));
    });
}

/// A panic in a destructor of the function is a panic of the function.
#[test]
fn panic_in_a_destructor_of_the_function() {
    virtual_loop().run(async {
        let bomb = on_drop(|| panic!("in the destructor"));
        let error = to_thread(move || drop(bomb)).await.unwrap_err();
        assert_eq!(error.to_string(), "the task panicked: in the destructor");
    });
}

#[test]
fn poll_where_it_cannot_be() {
    let outside = panic_of(|| pin!(to_thread(|| ())).poll(&mut Context::from_waker(Waker::noop())));
    assert_eq!(
        outside,
        "poll() of a to_thread() was called, but there is no running event loop; call it from inside of onelane::run()"
    );
    let polled = Cell::new(0);
    let twice = panic_of(|| {
        virtual_loop().run(async {
            let mut job = to_thread(|| 1);
            assert_eq!((&mut job).await, Ok(1));
            assert_eq!(format!("{job:?}"), r#"ToThread { stage: "over" }"#);
            polled.set(1);
            let again: Poll<_> = poll!(&mut job);
            drop(again);
        })
    });
    assert_eq!((polled.get(), &*twice), (1, "a to_thread() was polled after its end; keep what the first await gave"));
}

/// The end of `run` waits until the function has saved its data.
#[test]
fn wait_at_the_end_of_run_for_functions_that_still_run() {
    let saved = Arc::new(AtomicBool::new(false));
    let (copy, (begin, begun)) = (saved.clone(), channel());
    virtual_loop().run(async move {
        let task = spawn(to_thread(move || {
            begin.send(()).unwrap();
            thread::sleep(ms(50));
            copy.store(true, Ordering::SeqCst);
        }));
        yield_now().await;
        begun.recv().unwrap();
        task.cancel();
        assert!(task.await.unwrap_err().is_cancelled());
    });
    assert!(saved.load(Ordering::SeqCst));
}

/// With a limit of zero, `run` waits for no function. It never waits for functions of another loop.
#[test]
fn end_beside_functions_that_still_run() {
    let (release, released) = channel::<()>();
    let (begin, begun) = channel();
    impatient().run(async move {
        drop(spawn(to_thread(move || {
            begin.send(()).unwrap();
            released.recv().unwrap_err();
        })));
        yield_now().await;
        begun.recv().unwrap();
    });
    virtual_loop().run(async { assert_eq!(to_thread(|| 1).await, Ok(1)) });
    drop(release);
}
