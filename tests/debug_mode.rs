//! Debug mode tells of steps that keep the others waiting.

#[path = "common/mod.rs"]
mod common;

use common::{Trace, ms};
use onelane::{
    Clock, EventLoop, SlowStep, TaskError, call_later, call_soon, catch_cancel, finally, gather, sleep, spawn, task,
    yield_now,
};
use std::future::pending;
use std::panic::Location;
use std::time::Duration;

fn loop_that_tells(limit: Duration, tell: impl Fn(&SlowStep) + 'static) -> EventLoop {
    EventLoop::builder().clock(Clock::Virtual).debug(true).slow_step(limit).slow_step_handler(tell).build()
}

fn block() {
    std::thread::sleep(ms(5));
}

#[test]
fn tell_of_slow_steps_with_name_place_and_wait() {
    let trace = Trace::new();
    let copy = trace.clone();
    let event_loop = loop_that_tells(ms(5), move |step| {
        assert!(step.took >= ms(5));
        let name = step.task.as_ref().map(|task| task.name().to_string());
        let waits: Vec<_> = step.waits_for.iter().map(|wait| &*wait.what).collect();
        copy.push(format!("{name:?} waits for {waits:?}"));
        assert!(onelane::current_task().is_none(), "the handler is nobody's step");
    });
    let line = Location::caller().line() + 2;
    event_loop.run(async {
        let slow = task::Builder::new().name("slow").spawn(async {
            block();
            sleep(ms(1)).await;
            block();
        });
        assert_eq!(slow.task_ref().spawned_at().line(), line);
        call_soon(block);
        gather([slow]).await.unwrap();
        let cancelled = spawn(catch_cancel(sleep(ms(1))));
        yield_now().await;
        cancelled.cancel();
        assert!(cancelled.await.unwrap().is_err());
    });
    assert_eq!(
        trace.take(),
        [r#"Some("slow") waits for ["a sleep, 1.000 ms more"]"#, "None waits for []", r#"Some("slow") waits for []"#]
    );
}

#[test]
fn show_a_slow_step_in_a_line() {
    let trace = Trace::new();
    let copy = trace.clone();
    let event_loop = loop_that_tells(ms(5), move |step| {
        let micros = step.took.as_micros();
        copy.push(step.to_string().replace(&format!("{}.{:03} ms", micros / 1000, micros % 1000), "T"));
    });
    event_loop.run(async {
        let waits = spawn(async {
            block();
            sleep(ms(1)).await;
        });
        waits.set_name("waits");
        waits.await.unwrap();
        call_soon(block);
        yield_now().await;
        yield_now().await;
    });
    let told = trace.take();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("a step of task \"waits\", spawned at tests/debug_mode.rs:"), "{told:?}");
    let place = format!("tests/debug_mode.rs:{}:26", Location::caller().line() - 11);
    assert!(told[0].ends_with(&format!(", took T; it waits at {place} for a sleep, 1.000 ms more")), "{told:?}");
    assert_eq!(told[1], "a callback took T, and kept the others waiting");
}

/// With a limit of zero each entry is told of, in the order in which asyncio would run them.
#[test]
fn tell_of_each_entry_in_order() {
    let trace = Trace::new();
    let copy = trace.clone();
    let event_loop = loop_that_tells(Duration::ZERO, move |step| {
        let name = step.task.as_ref().map_or("callback".into(), |task| task.name().to_string());
        copy.push(name.replace("tell_of_each_entry_in_order-1", "main"))
    });
    event_loop.run(async {
        spawn(async { yield_now().await }).set_name("a");
        call_soon(|| ());
        spawn(async { panic!("told of as a panic") }).set_name("b");
        yield_now().await;
        yield_now().await;
    });
    assert_eq!(trace.take(), ["main", "a", "callback", "b", "main", "a", "main", "callback"]);
}

/// Callbacks of timers were not measured, and steps that end by a panic were not told of.
#[test]
fn tell_of_a_slow_timer_and_of_a_slow_panic() {
    let trace = Trace::new();
    let copy = trace.clone();
    let event_loop = loop_that_tells(ms(5), move |step| copy.push(format!("of a task: {}", step.task.is_some())));
    event_loop.run(async {
        call_later(ms(1), block);
        sleep(ms(2)).await;
        let panics = spawn(async {
            block();
            panic!("x")
        });
        assert!(panics.await.unwrap_err().is_panic());
    });
    assert_eq!(trace.take(), ["of a task: false", "of a task: true"]);
}

/// What is frozen beside a cleanup was told of as well, as if the task waited for it.
#[test]
fn tell_what_a_cleanup_waits_for_and_nothing_beside_it() {
    let trace = Trace::new();
    let copy = trace.clone();
    let event_loop =
        loop_that_tells(ms(5), move |step| copy.extend(step.waits_for.iter().map(|wait| wait.what.clone())));
    event_loop.run(async {
        let beside = spawn(sleep(ms(100)));
        let cleanup = async {
            block();
            sleep(ms(1)).await;
        };
        let both = futures_util::future::join(finally(pending::<()>(), cleanup), beside.into_future());
        let task = spawn(both);
        yield_now().await;
        task.cancel();
        assert_eq!(task.await.map(drop), Err(TaskError::Cancelled));
    });
    assert_eq!(trace.take(), ["a sleep, 1.000 ms more"]);
}

/// What a handler does is its own affair: it may use the loop, and panic.
#[test]
fn use_the_loop_in_the_handler_and_panic() {
    let told = Trace::new();
    let copy = told.clone();
    let event_loop = EventLoop::builder()
        .clock(Clock::Virtual)
        .debug(true)
        .slow_step(Duration::ZERO)
        .slow_step_handler(|step| {
            if step.task.as_ref().is_some_and(|task| &*task.name() == "victim" && !task.is_done()) {
                step.task.as_ref().unwrap().cancel();
                panic!("handler");
            }
        })
        .exception_handler(move |exception| copy.push(exception.to_string()))
        .build();
    let ended = event_loop.run(async {
        let victim = task::Builder::new().name("victim").spawn(sleep(ms(10)));
        victim.await
    });
    assert_eq!(
        (ended, told.take()),
        (Err(TaskError::Cancelled), vec!["the handler of slow steps panicked: handler".to_string()])
    );
}

#[test]
fn tell_of_nothing_without_debug_mode() {
    let event_loop = EventLoop::builder()
        .clock(Clock::Virtual)
        .debug(false)
        .slow_step(Duration::ZERO)
        .slow_step_handler(|step| unreachable!("{step}"))
        .build();
    event_loop.run(yield_now());
}
