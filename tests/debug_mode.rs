//! Debug mode reports steps that delay other tasks.

#[path = "common/mod.rs"]
mod common;

use common::{Trace, ms};
use onelane::{
    Clock, EventLoop, SlowStep, TaskError, call_later, call_soon, catch_cancel, finally, gather, sleep, spawn, task,
    try_task_group, yield_now,
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
        assert!(onelane::current_task().is_none(), "the handler runs outside of any step");
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

/// With a limit of zero each entry is reported, in the order in which asyncio would run them.
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

/// Callbacks of timers are measured too, and steps that end by a panic are reported too.
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

/// While a cleanup runs, a wait beside it in the same task is frozen: it is not polled. The report
/// must not name this wait.
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

/// A handler may use the loop, and may panic.
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
        (Err(TaskError::Cancelled), vec!["a handler of debug mode panicked: handler".to_string()])
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

/// In debug mode, a result that was never read is reported when the last handle is dropped. A
/// zero-sized result is not reported.
#[test]
fn tell_of_results_that_nobody_takes() {
    let told = common::stderr_of("tell_of_results_that_nobody_takes", || {
        let run = |debug| {
            let event_loop = EventLoop::builder().clock(Clock::Virtual).debug(debug).exception_handler(|_| ()).build();
            event_loop.run(async {
                let _detached = spawn(async { 1_u8 });
                spawn(async { Err::<(), _>("nobody hears this") }).set_name("failing");
                spawn(async {}).set_name("of no size");
                spawn(async { panic!("told of elsewhere") }).set_name("panics");
                let cancelled = spawn(sleep(ms(1)));
                cancelled.cancel();
                drop(cancelled);
                let looked_at = spawn(async { 2_u8 });
                let taken = spawn(async { 3_u8 });
                assert_eq!(gather([spawn(async { 4 })]).await, Ok(vec![4]));
                assert_eq!(taken.await, Ok(3));
                assert_eq!(*looked_at.result().unwrap(), 2);
                // The group reports its failed children, but not unread values.
                let group = try_task_group(async |group| {
                    drop(group.try_spawn(async { Ok::<u8, &str>(5) }));
                    drop(group.try_spawn(async { Ok(()) }));
                    yield_now().await;
                    drop(group.try_spawn(async { Err::<u8, _>("the group tells") }));
                    Ok(())
                });
                assert!(group.await.is_err());
            });
        };
        run(false);
        run(true);
    });
    let Some(told) = told else { return };
    let lines: Vec<_> = told.lines().filter_map(|line| line.strip_prefix("onelane: ")).collect();
    let place = |code: &str| {
        let before = include_str!("debug_mode.rs").lines().take_while(|line| !line.contains(code)).count();
        format!("tests/debug_mode.rs:{}", before + 1)
    };
    let [failing, child, detached] = lines[..] else { panic!("{told}") };
    assert!(child.contains(&place("<u8, &str>(5)")) && child.ends_with("Failed>` that was never read"), "{child}");
    let start = format!("task \"failing\", spawned at {}:", place("nobody hears this"));
    assert!(failing.starts_with(&start), "{failing} {start}");
    assert!(failing.ends_with("returned a `core::result::Result<(), &str>` that was never read"), "{failing}");
    let start = format!("task \"tell_of_results_that_nobody_takes-2\", spawned at {}:", place("let _detached"));
    assert!(detached.starts_with(&start) && detached.ends_with("returned a `u8` that was never read"), "{detached}");
}
