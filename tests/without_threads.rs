//! A platform without threads: the loop sleeps for its timers, and does not wait for what cannot come.
#![cfg(all(target_family = "wasm", not(target_feature = "atomics")))]

use onelane::{EventLoop, Promise, RunError, sleep, try_run};
use std::future::pending;
use std::time::{Duration, Instant};

#[test]
fn sleep_on_the_real_clock() {
    let begun = Instant::now();
    onelane::run(async { sleep(Duration::from_millis(20)).await });
    assert!(begun.elapsed() >= Duration::from_millis(20));
}

#[test]
fn end_when_nothing_can_come() {
    assert!(matches!(try_run(pending::<()>()), Err(RunError::Deadlock(_))));
    let promise = Promise::<()>::new();
    assert!(matches!(try_run(async { (&promise).await.unwrap() }), Err(RunError::Deadlock(_))));
}

/// With threads, a `Remote` or a waker could still bring something.
#[test]
fn end_although_senders_are_left() {
    for observed in [false, true] {
        let event_loop = EventLoop::builder().debug(observed).build();
        let remote = event_loop.remote();
        assert!(matches!(event_loop.try_run(pending::<()>()), Err(RunError::Deadlock(_))));
        drop(remote);
    }
    let event_loop = EventLoop::with_virtual_clock();
    let remote = event_loop.remote();
    assert!(matches!(event_loop.try_run(pending::<()>()), Err(RunError::Deadlock(_))));
    drop(remote);
}
