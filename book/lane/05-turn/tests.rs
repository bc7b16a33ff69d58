//! What holds from stage 5 on.

use super::lane::{RunError, run, spawn, try_run, turn, yield_now};
use super::tests_04_arc::Signal;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Poll;

#[test]
fn ready_1_a_task_that_is_woken_twice_steps_once() {
    let polls = Rc::new(Cell::new(0));
    let count = polls.clone();
    run(async move {
        let kept = Rc::new(RefCell::new(None::<std::task::Waker>));
        let keep = kept.clone();
        spawn(std::future::poll_fn(move |cx| {
            count.set(count.get() + 1);
            *keep.borrow_mut() = Some(cx.waker().clone());
            Poll::<()>::Pending
        }));
        yield_now().await;
        for _ in 0..5 {
            kept.borrow().as_ref().unwrap().wake_by_ref();
        }
        yield_now().await;
        yield_now().await;
    });
    assert_eq!(polls.get(), 2);
}

/// A task that is always ready does not keep a turn from its end.
#[test]
fn ready_2_a_turn_steps_what_was_ready_when_it_began() {
    let steps = Rc::new(Cell::new(0));
    let count = steps.clone();
    spawn(async move {
        loop {
            count.set(count.get() + 1);
            yield_now().await;
        }
    });
    for turns in 1..10 {
        assert!(turn());
        assert_eq!(steps.get(), turns);
    }
    // A run drops what is left over.
    run(async {});
    assert!(!turn());
}

#[test]
fn a_task_that_was_spawned_in_a_turn_steps_in_the_next() {
    let log = Rc::new(RefCell::new(Vec::new()));
    let copy = log.clone();
    spawn(async move {
        copy.borrow_mut().push("parent");
        let log = copy.clone();
        spawn(async move { log.borrow_mut().push("child") });
        copy.borrow_mut().push("spawned");
    });
    assert!(turn());
    assert_eq!(*log.borrow(), ["parent", "spawned"]);
    assert!(turn());
    assert_eq!(log.borrow().last(), Some(&"child"));
    assert!(!turn());
}

/// A wake that comes while the task runs is not lost.
#[test]
fn wake_0_a_wake_in_the_own_step_counts() {
    let signal = Signal::default();
    run(async move {
        let mut first = true;
        std::future::poll_fn(|cx| {
            if !std::mem::take(&mut first) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        })
        .await;
        signal.set();
        signal.wait().await;
    });
}

#[test]
fn nested_and_stuck() {
    let inner = run(async { try_run(async { 1 }) });
    assert_eq!(inner, Err(RunError::Nested));
    assert_eq!(inner.unwrap_err().to_string(), "lane::run() cannot be called from a running event loop");
    assert_eq!(try_run(async { Signal::default().wait().await }), Err(RunError::Deadlock));
    assert_eq!(try_run(async { 1 }), Ok(1));
}
