//! call_soon, call_later, call_at, run, close: twins of `test_base_events.py` and `test_events.py`.

use onelane::{Clock, LoopBuilder, yield_now};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// The value of `get_debug`: whether a loop with a limit of zero reports slow steps.
pub(crate) fn is_debug(builder: LoopBuilder) -> bool {
    let told = Rc::new(Cell::new(false));
    let copy = told.clone();
    let builder = builder.clock(Clock::Virtual).slow_step(Duration::ZERO).slow_step_handler(move |_| copy.set(true));
    builder.build().run(yield_now());
    told.get()
}

mod base_event_loop_tests {
    use super::is_debug;
    use crate::Cue;
    use crate::common::{Census, Trace, ms, panic_of, telling_loop, virtual_loop};
    use crate::common::{stderr_of, stderr_with};
    use onelane::{Clock, EventLoop, RunError, call_soon, sleep, task, time, yield_now};
    use std::cell::Cell;
    use std::future::pending;
    use std::rc::Rc;
    use std::time::Duration;

    #[test]
    #[allow(non_snake_case, reason = "the name of the Python test")]
    fn test__add_callback_handle() {
        let event_loop = virtual_loop();
        event_loop.call_soon(|| ());
        assert_eq!(event_loop.next_deadline(), Some(event_loop.time()), "it is ready");
        let turn = event_loop.turn();
        assert_eq!((turn.callbacks, turn.timers, turn.ready, turn.next_deadline), (1, 0, 0, None));
    }

    #[test]
    fn test_call_soon() {
        let event_loop = virtual_loop();
        let called = Rc::new(Cell::new(0));
        let copy = called.clone();
        let handle = event_loop.call_soon(move || copy.set(copy.get() + 1));
        assert_eq!((called.get(), handle.when()), (0, None));
        let turns = [event_loop.turn(), event_loop.turn()];
        assert_eq!((turns.map(|turn| turn.callbacks), called.get()), ([1, 0], 1));
    }

    #[test]
    fn test_call_later() {
        let event_loop = virtual_loop();
        let second = Duration::from_secs(1);
        let due = event_loop.time() + 10 * second;
        let handle = event_loop.call_later(10 * second, || unreachable!());
        assert_eq!((event_loop.next_deadline(), handle.when()), (Some(due), Some(due)));
        // A virtual clock does not advance while something else is ready.
        event_loop.call_soon(|| ());
        let turn = event_loop.turn();
        assert_eq!((turn.callbacks, turn.timers, turn.ready, turn.next_deadline), (1, 0, 0, Some(due)));
    }

    /// A `Duration` is never negative, so the deadlines are in the past.
    #[test]
    fn test_call_later_negative_delays() {
        let event_loop = virtual_loop();
        event_loop.run(async { sleep(Duration::from_secs(5)).await });
        let calls = Trace::new();
        for (seconds, name) in [(1, "a"), (2, "b")] {
            let calls = calls.clone();
            event_loop.call_at(event_loop.time() - Duration::from_secs(seconds), move || calls.push(name));
        }
        event_loop.turn();
        assert_eq!(calls.take(), ["b", "a"]);
    }

    #[test]
    fn test_time_and_call_at() {
        for clock in [Clock::Virtual, Clock::Real] {
            let event_loop = EventLoop::builder().clock(clock).build();
            let delay = ms(100);
            let when = event_loop.time() + delay;
            let called = Cue::new();
            let copy = called.clone();
            event_loop.call_at(when, move || copy.set(time()));
            let start = event_loop.time();
            let called_at = event_loop.run(called.wait());
            assert!(called_at >= when && event_loop.time() >= when);
            assert!(clock == Clock::Real || event_loop.time() - start == delay);
        }
    }

    #[test]
    #[allow(non_snake_case, reason = "the name of the Python test")]
    fn test__run_once() {
        let event_loop = virtual_loop();
        let start = event_loop.time();
        let [first, second] =
            [5, 10].map(|seconds| event_loop.call_later(Duration::from_secs(seconds), move || assert_eq!(seconds, 10)));
        assert_eq!(event_loop.next_deadline(), first.when());
        first.cancel();
        assert_eq!(event_loop.next_deadline(), second.when());
        // The clock jumps to the moment until which the loop would have slept.
        let turn = event_loop.turn();
        assert_eq!((turn.timers, event_loop.time() - start), (1, Duration::from_secs(10)));
    }

    /// The builder sets the mode of a loop, and the mode never changes.
    #[test]
    fn test_set_debug() {
        assert_eq!([true, false].map(|debug| is_debug(EventLoop::builder().debug(debug))), [true, false]);
    }

    #[test]
    #[allow(non_snake_case, reason = "the name of the Python test")]
    fn test__run_once_schedule_handle() {
        let event_loop = virtual_loop();
        event_loop.run(async { sleep(Duration::from_secs(5)).await });
        let trace = Trace::new();
        let copy = trace.clone();
        event_loop.call_at(event_loop.time() - Duration::from_secs(1), move || {
            copy.push("processed");
            call_soon(move || copy.push("scheduled"));
        });
        let turn = event_loop.turn();
        assert_eq!((turn.timers, turn.callbacks, turn.ready), (1, 0, 1));
        assert_eq!(trace.take(), ["processed"]);
        let turn = event_loop.turn();
        assert_eq!((turn.timers, turn.callbacks, turn.ready), (0, 1, 0));
        assert_eq!(trace.take(), ["scheduled"]);
    }

    #[test]
    fn test_run_until_complete_loop() {
        let (event_loop, other_loop) = (virtual_loop(), virtual_loop());
        let task = event_loop.spawn(async {});
        let message = panic_of(|| other_loop.run(&task));
        assert!(message.contains("belongs to another event loop"), "{message}");
        assert!(!task.is_done());
        assert_eq!(event_loop.run(task), Ok(()));
    }

    /// A run that ends before its main task, here in a deadlock, leaves nothing behind that could
    /// end the next run.
    #[test]
    fn test_run_until_complete_loop_orphan_future_close_loop() {
        let (event_loop, told) = telling_loop();
        event_loop.call_soon(|| panic!("show stopper"));
        assert!(matches!(event_loop.try_run(pending::<()>()), Err(RunError::Deadlock(_))));
        assert_eq!(told.take(), ["a callback panicked: show stopper"]);
        let start = event_loop.time();
        event_loop.run(async { sleep(ms(200)).await });
        assert_eq!(event_loop.time() - start, ms(200));
    }

    #[test]
    fn test_default_exc_handler_callback() {
        let told = stderr_of("loop_core::base_event_loop_tests::test_default_exc_handler_callback", || {
            virtual_loop().run(async {
                let done = Rc::new(Cell::new(0));
                for delay in [None, Some(ms(10))] {
                    let done = done.clone();
                    let zero_error = move || {
                        done.set(done.get() + 1);
                        panic!("zero, delay {delay:?}");
                    };
                    match delay {
                        None => onelane::call_soon(zero_error),
                        Some(delay) => onelane::call_later(delay, zero_error),
                    };
                }
                sleep(ms(20)).await;
                assert_eq!(done.get(), 2);
            });
        });
        let Some(told) = told else { return };
        let lines: Vec<_> = told.lines().filter(|line| line.starts_with("onelane: ")).collect();
        assert_eq!(
            lines,
            ["onelane: a callback panicked: zero, delay None", "onelane: a callback panicked: zero, delay Some(10ms)"]
        );
    }

    #[test]
    fn test_default_exc_handler_coro() {
        let told = stderr_of("loop_core::base_event_loop_tests::test_default_exc_handler_coro", || {
            let event_loop = virtual_loop();
            let task = event_loop.spawn(async {
                sleep(ms(10)).await;
                panic!("zero");
            });
            event_loop.run(async { sleep(ms(20)).await });
            assert!(task.is_done());
            eprintln!("onelane: nothing was said so far");
            drop(task);
        });
        let Some(told) = told else { return };
        let lines: Vec<_> = told.lines().filter(|line| line.starts_with("onelane: ")).collect();
        assert_eq!(lines[0], "onelane: nothing was said so far");
        assert!(lines[1].contains("a task panicked and its result was never read") && lines[1].ends_with(": zero"));
        assert_eq!(lines.len(), 2);
    }

    /// Tests only the part that exists here: a custom handler replaces the default handler, which
    /// then prints nothing.
    #[test]
    fn test_set_exc_handler_custom() {
        let told = stderr_of("loop_core::base_event_loop_tests::test_set_exc_handler_custom", || {
            let seen = Rc::new(Cell::new(0));
            let copy = seen.clone();
            let handler = move |exception: &onelane::Exception| {
                assert_eq!((exception.message, exception.panic.message()), ("a callback panicked", "zero_error"));
                assert!(exception.task.is_none());
                assert_eq!(exception.to_string(), "a callback panicked: zero_error");
                copy.set(copy.get() + 1);
            };
            let event_loop = EventLoop::builder().exception_handler(handler).build();
            event_loop.call_soon(|| panic!("zero_error"));
            event_loop.turn();
            assert_eq!(seen.get(), 1);
        });
        let Some(told) = told else { return };
        assert!(!told.lines().any(|line| line.starts_with("onelane: ")), "{told}");
    }

    #[test]
    fn test_set_exc_handler_broken() {
        let told = stderr_of("loop_core::base_event_loop_tests::test_set_exc_handler_broken", || {
            let event_loop = EventLoop::builder().exception_handler(|_| panic!("spam")).build();
            event_loop.call_soon(|| panic!("zero_error"));
            assert_eq!(event_loop.turn().callbacks, 1);
        });
        let Some(told) = told else { return };
        let lines: Vec<_> = told.lines().filter(|line| line.starts_with("onelane: ")).collect();
        assert_eq!(lines, ["onelane: a callback panicked: zero_error"]);
        assert!(told.contains("spam"), "the panic hook reports the handler's own panic");
    }

    #[test]
    fn test_create_named_task_with_default_factory() {
        virtual_loop().run(async {
            let task = task::Builder::new().name("test_task").spawn(async {});
            assert_eq!(&*task.name(), "test_task");
            task.await.unwrap();
        });
    }

    #[test]
    fn test_create_task_error_closes_coro() {
        let (event_loop, census) = (virtual_loop(), Census::new());
        let closed = event_loop.loop_ref();
        drop(event_loop);
        let member = census.member();
        let message = panic_of(|| closed.spawn(async move { drop(member) }));
        assert!(message.contains("the event loop is closed"), "{message}");
        assert_eq!(census.counts(), (1, 1));
    }

    /// A panic that leaves `run` stands for an exception that ends a Python program.
    #[test]
    fn test_run_forever_keyboard_interrupt() {
        let (event_loop, told) = telling_loop();
        assert_eq!(panic_of(|| event_loop.run(async { panic!("interrupt") })), "interrupt");
        drop(event_loop);
        assert!(told.take().is_empty());
    }

    #[test]
    fn test_run_until_complete_baseexception() {
        let event_loop = virtual_loop();
        assert_eq!(panic_of(|| event_loop.run(async { panic!("interrupt") })), "interrupt");
        let called = Rc::new(Cell::new(false));
        let copy = called.clone();
        event_loop.call_soon(move || {
            call_soon(move || copy.set(true));
        });
        event_loop.run(async {
            while !called.get() {
                yield_now().await;
            }
        });
    }

    #[test]
    fn test_run_once() {
        let event_loop = virtual_loop();
        let count = Rc::new(Cell::new(0));
        let copy = count.clone();
        event_loop.call_soon(move || copy.set(copy.get() + 1));
        event_loop.turn();
        assert_eq!(count.get(), 1);
    }

    /// A loop that is stopped before it runs makes one turn, and does not sleep. A sleep would take
    /// an hour.
    #[test]
    fn test_run_forever_pre_stopped() {
        let event_loop = EventLoop::new();
        event_loop.call_later(Duration::from_secs(3600), || unreachable!());
        let turn = event_loop.turn();
        assert_eq!((turn.steps, turn.callbacks, turn.timers, turn.messages, turn.is_idle()), (0, 0, 0, 0, true));
    }

    #[test]
    fn test_custom_run_forever_integration() {
        let event_loop = virtual_loop();
        let count = Rc::new(Cell::new(0));
        let (copy, expected) = (count.clone(), event_loop.loop_ref());
        event_loop.call_soon(move || {
            assert!(EventLoop::current() == expected);
            copy.set(copy.get() + 1);
        });
        let seen = event_loop.spawn(std::future::poll_fn({
            let event_loop = event_loop.loop_ref();
            move |_| std::task::Poll::Ready(EventLoop::try_current().is_ok_and(|current| current == event_loop))
        }));
        let callbacks: Vec<_> = (0..10).map(|_| event_loop.turn().callbacks).collect();
        assert_eq!(callbacks, [1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert!(*seen.result().unwrap() && count.get() == 1);
        assert!(EventLoop::try_current().is_err() && !event_loop.is_running());
    }

    #[test]
    fn test_env_var_debug() {
        for (variable, debug) in [(None, false), (Some(""), false), (Some("1"), true)] {
            let told = stderr_with("loop_core::base_event_loop_tests::test_env_var_debug", variable, || {
                eprintln!("debug mode: {}", is_debug(EventLoop::builder()));
            });
            let Some(told) = told else { return };
            assert!(told.contains(&format!("debug mode: {debug}\n")), "{told}");
        }
    }

    /// The event comes from a socket. A `turn()` replaces the loop that is stopped at once.
    #[test]
    #[cfg(all(unix, feature = "io"))]
    fn test_single_selecter_event_callback_after_stopping() {
        use onelane::net::UnixStream;
        use std::io::{Read, Write};

        let event_loop = EventLoop::new();
        let callcount = Rc::new(Cell::new(0));
        let count = callcount.clone();
        let (ours, theirs) = event_loop.enter(|| UnixStream::pair().unwrap());
        event_loop.spawn(async move {
            let mut buffer = [0; 1];
            loop {
                ours.as_async().read_with(|mut socket| socket.read(&mut buffer)).await.unwrap();
                count.set(count.get() + 1);
            }
        });
        event_loop.turn();
        theirs.as_async().get_ref().write_all(b"x").unwrap();
        for _ in 0..2 {
            event_loop.turn();
            assert_eq!(callcount.get(), 1);
        }
    }

    #[test]
    #[cfg(feature = "threads")]
    fn test_shutdown_default_executor_timeout() {
        let (release, released) = std::sync::mpsc::channel::<()>();
        let told = stderr_of("loop_core::base_event_loop_tests::test_shutdown_default_executor_timeout", || {
            let (begin, begun) = std::sync::mpsc::channel();
            EventLoop::builder().clock(Clock::Virtual).thread_join_timeout(ms(100)).build().run(async {
                drop(onelane::spawn(onelane::to_thread(move || {
                    begin.send(()).unwrap();
                    released.recv()
                })));
                yield_now().await;
                begun.recv().unwrap();
            });
        });
        drop(release);
        if let Some(told) = told {
            assert!(
                told.contains("1 function(s) of to_thread() still run, 100ms after their loop has ended"),
                "{told}"
            );
        }
    }
}

mod base_event_loop_with_selector_tests {
    use crate::common::stderr_of;
    use onelane::{Clock, EventLoop};
    use std::time::Duration;

    #[test]
    fn test_log_slow_callbacks() {
        let told = stderr_of("loop_core::base_event_loop_with_selector_tests::test_log_slow_callbacks", || {
            let event_loop = EventLoop::builder().clock(Clock::Virtual).debug(true).slow_step(Duration::ZERO).build();
            event_loop.call_soon(|| ());
            event_loop.turn();
            event_loop.spawn(async {});
            event_loop.turn();
        });
        let Some(told) = told else { return };
        let lines: Vec<_> = told.lines().filter(|line| line.starts_with("onelane: ")).collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].starts_with("onelane: a callback took "), "{lines:?}");
        let step = "onelane: a step of task \"test_log_slow_callbacks-1\", spawned at tests/asyncio/loop_core.rs:";
        assert!(lines[1].starts_with(step) && lines[1].contains(", took "), "{lines:?}");
    }
}

mod running_loop_tests {
    use crate::common::{panic_of, virtual_loop};
    use onelane::RunError;

    #[test]
    fn test_running_loop_within_a_loop() {
        let (event_loop, outer_loop) = (virtual_loop(), virtual_loop());
        let message = panic_of(|| outer_loop.run(async { event_loop.run(async {}) }));
        assert_eq!(message, "onelane::run() cannot be called from a running event loop");
        let message = panic_of(|| outer_loop.run(async { event_loop.turn() }));
        assert!(message.contains("was called from a running event loop"), "{message}");
        assert!(matches!(outer_loop.run(async { event_loop.try_run(async {}) }), Err(RunError::Nested)));
    }
}

mod event_loop_tests_mixin {
    use crate::Cue;
    #[cfg(feature = "threads")]
    use crate::common::telling_loop;
    use crate::common::{Census, ms, panic_of, virtual_loop, watched};
    use onelane::{Clock, EventLoop, LoopClosed, TaskError, sleep, yield_now};
    use std::cell::RefCell;
    use std::rc::Rc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Mutex};
    use std::thread;
    use std::time::Duration;

    #[test]
    fn test_run_until_complete() {
        for clock in [Clock::Virtual, Clock::Real] {
            let event_loop = EventLoop::builder().clock(clock).build();
            let start = event_loop.time();
            event_loop.run(async { sleep(ms(100)).await });
            assert!(event_loop.time() - start >= ms(100));
        }
    }

    #[test]
    fn test_run_until_complete_nesting() {
        let (event_loop, census) = (virtual_loop(), Census::new());
        let message = panic_of(|| {
            event_loop.run(async {
                assert!(event_loop.is_running());
                let member = census.member();
                event_loop.run(async move {
                    yield_now().await;
                    drop(member);
                    unreachable!()
                })
            })
        });
        assert_eq!(message, "onelane::run() cannot be called from a running event loop");
        assert_eq!(census.counts(), (1, 1), "the future was never polled, and was dropped");
    }

    #[test]
    fn test_call_later() {
        let event_loop = virtual_loop();
        let (results, stop) = (Rc::new(RefCell::new(Vec::new())), Cue::new());
        let (copy, arg, stopper) = (results.clone(), "hello world", stop.clone());
        let start = event_loop.time();
        event_loop.call_later(ms(100), move || {
            copy.borrow_mut().push(arg);
            stopper.set(());
        });
        event_loop.run(stop.wait());
        assert_eq!((results.take(), event_loop.time() - start), (vec!["hello world"], ms(100)));
    }

    #[test]
    fn test_call_soon() {
        let event_loop = virtual_loop();
        let (results, stop) = (Rc::new(RefCell::new(Vec::new())), Cue::new());
        let (copy, args, stopper) = (results.clone(), ("hello", "world"), stop.clone());
        event_loop.call_soon(move || {
            copy.borrow_mut().push(args);
            stopper.set(());
        });
        event_loop.run(stop.wait());
        assert_eq!(results.take(), [("hello", "world")]);
    }

    #[test]
    fn test_call_soon_threadsafe() {
        watched(|| {
            let event_loop = EventLoop::new();
            let (results, stop) = (Arc::new(Mutex::new(Vec::new())), Cue::new());
            let (remote, copy) = (event_loop.remote(), results.clone());
            let thread = thread::spawn(move || remote.call_soon(move || copy.lock().unwrap().push("hello")).unwrap());
            thread.join().unwrap();
            let (copy, stopper) = (results.clone(), stop.clone());
            event_loop.call_soon(move || {
                copy.lock().unwrap().push("world");
                stopper.set(());
            });
            event_loop.run(async {
                stop.wait().await;
                yield_now().await;
            });
            assert_eq!(*results.lock().unwrap(), ["hello", "world"]);
        });
    }

    #[test]
    fn test_call_soon_threadsafe_same_thread() {
        let event_loop = virtual_loop();
        let results = Arc::new(Mutex::new(Vec::new()));
        let callback = |arg| {
            let copy = results.clone();
            move || copy.lock().unwrap().push(arg)
        };
        event_loop.remote().call_soon(callback("hello")).unwrap();
        event_loop.call_soon(callback("world"));
        event_loop.turn();
        assert_eq!(*results.lock().unwrap(), ["hello", "world"]);
    }

    #[test]
    #[cfg(feature = "threads")]
    fn test_run_in_executor() {
        let run = |arg| move || (arg, thread::current().id());
        let (res, thread_id) = virtual_loop().run(onelane::to_thread(run("yo"))).unwrap();
        assert_eq!(res, "yo");
        assert_ne!(thread_id, thread::current().id());
    }

    /// The function runs on, and its end is not reported to any task.
    #[test]
    #[cfg(feature = "threads")]
    fn test_run_in_executor_cancel() {
        watched(|| {
            use std::sync::mpsc::channel;
            let ((begun, has_begun), (release, released), (end, has_ended)) = (channel(), channel::<()>(), channel());
            let (event_loop, told) = telling_loop();
            let task = event_loop.spawn(onelane::to_thread(move || {
                begun.send(()).unwrap();
                let _ = released.recv();
                end.send(()).unwrap();
            }));
            event_loop.turn();
            has_begun.recv().unwrap();
            task.cancel();
            // `run` waits for the function at its end.
            drop(release);
            assert_eq!(event_loop.run(task), Err(TaskError::Cancelled));
            has_ended.try_recv().unwrap();
            drop(event_loop);
            assert!(told.take().is_empty());
        });
    }

    /// Another thread can cancel a task, so a task replaces the handle.
    #[test]
    fn test_call_soon_threadsafe_handle_cancel_other_thread() {
        watched(|| {
            let event_loop = EventLoop::new();
            let ran = Arc::new(AtomicBool::new(false));
            let (remote, copy) = (event_loop.remote(), ran.clone());
            let task = thread::spawn(move || {
                let task = remote.spawn(async move { copy.store(true, Ordering::SeqCst) }).unwrap();
                task.cancel();
                task
            });
            let task = task.join().unwrap();
            event_loop.run(async { assert_eq!(task.await, Err(TaskError::Cancelled)) });
            assert!(!ran.load(Ordering::SeqCst));
        });
    }

    /// An idle loop sleeps exactly until the next deadline, so it makes few turns.
    #[test]
    fn test_timeout_rounding() {
        let event_loop = EventLoop::new();
        let task = event_loop.spawn(async {
            for nanoseconds in [10_000_000, 100_000, 1_000, 10, 0] {
                sleep(Duration::from_nanos(nanoseconds)).await;
            }
        });
        let mut turns = 0;
        while !task.is_done() {
            turns += 1;
            let turn = event_loop.turn();
            if let Some(deadline) = turn.next_deadline {
                thread::sleep(deadline.saturating_duration_since(event_loop.time()));
            }
        }
        assert!(turns <= 20, "{turns} turns for five sleeps");
    }

    #[test]
    fn test_close() {
        let event_loop = virtual_loop();
        let (closed, remote, census) = (event_loop.loop_ref(), event_loop.remote(), Census::new());
        let when = event_loop.time();
        assert!(!closed.is_closed());
        drop(event_loop);
        assert!(closed.is_closed());
        let uncalled = || {
            let member = census.member();
            move || {
                drop(member);
                unreachable!()
            }
        };
        let panics = [
            panic_of(|| closed.call_soon(uncalled())),
            panic_of(|| closed.call_later(ms(1000), uncalled())),
            panic_of(|| closed.call_at(when, uncalled())),
            panic_of(|| closed.spawn(async {})),
            panic_of(|| closed.time()),
            panic_of(|| closed.remote()),
        ];
        for message in panics {
            assert!(message.contains("the event loop is closed"), "{message}");
        }
        assert_eq!(remote.call_soon(uncalled()), Err(LoopClosed));
        assert!(matches!(remote.spawn(async {}), Err(LoopClosed)));
        assert_eq!(census.counts(), (4, 4), "the uncalled callbacks were dropped");
    }
}

mod handle_tests {
    use crate::common::{telling_loop, virtual_loop};

    #[test]
    fn test_handle() {
        let (event_loop, told) = telling_loop();
        let handle = event_loop.call_soon(|| unreachable!());
        let copy = handle.clone();
        assert!(!handle.is_cancelled() && !copy.is_cancelled());
        assert!(handle.cancel());
        assert!(handle.is_cancelled() && copy.is_cancelled() && copy.clone().is_cancelled());
        event_loop.turn();
        assert!(told.take().is_empty(), "it was not called");
    }

    #[test]
    fn test_callback_with_exception() {
        let (event_loop, told) = telling_loop();
        event_loop.call_soon(|| panic!("a value error"));
        event_loop.turn();
        assert_eq!(told.take(), ["a callback panicked: a value error"]);
    }

    /// The text names the place of the call, because a closure has no name.
    #[test]
    fn test_handle_repr() {
        let event_loop = virtual_loop();
        let (handle, line) = (event_loop.call_soon(|| ()), line!());
        let text = |cancelled: bool| {
            format!("CallHandle {{ asked_at: tests/asyncio/loop_core.rs:{line}:42, cancelled: {cancelled} }}")
        };
        assert_eq!(format!("{handle:?}"), text(false));
        handle.cancel();
        assert_eq!(format!("{handle:?}"), text(true));
    }

    #[test]
    fn test_handle_repr_debug() {
        let event_loop = virtual_loop();
        let handle = event_loop.call_soon(|| ());
        let place = format!("asked_at: tests/asyncio/loop_core.rs:{}:", line!() - 1);
        assert!(format!("{handle:?}").contains(&place), "{handle:?}");
        for _ in 0..2 {
            handle.cancel();
            let text = format!("{handle:?}");
            assert!(text.contains(&place) && text.contains("cancelled: true"), "{text}");
        }
    }
}

mod timer_tests {
    use crate::common::{ms, virtual_loop};
    use std::rc::Rc;

    #[test]
    fn test_when() {
        let event_loop = virtual_loop();
        for when in [event_loop.time(), event_loop.time() - ms(7), event_loop.time() + ms(7)] {
            assert_eq!(event_loop.call_at(when, || ()).when(), Some(when));
        }
    }

    #[test]
    fn test_timer() {
        let event_loop = virtual_loop();
        let args = Rc::new((1, 2, 3));
        let copy = args.clone();
        let handle = event_loop.call_at(event_loop.time(), move || drop(copy));
        assert!(!handle.is_cancelled() && Rc::strong_count(&args) == 2);
        handle.cancel();
        assert!(handle.is_cancelled());
        assert_eq!((Rc::strong_count(&args), event_loop.next_deadline()), (1, None));
    }

    #[test]
    fn test_timer_repr() {
        let event_loop = virtual_loop();
        let handle = event_loop.call_later(ms(123), || ());
        let when = format!("CallHandle {{ when: {:?}, asked_at: ", Some(event_loop.time() + ms(123)));
        for cancelled in [false, true] {
            let text = format!("{handle:?}");
            assert!(text.starts_with(&when) && text.ends_with(&format!("cancelled: {cancelled} }}")), "{text}");
            handle.cancel();
        }
    }
}

mod get_event_loop_tests_mixin {
    use crate::common::{panic_of, virtual_loop};
    use onelane::{EventLoop, NoRunningLoop, RunError, yield_now};
    use std::cell::Cell;

    /// A nested run fails, and does not change the running loop.
    #[test]
    fn test_get_running_loop_already_running() {
        let event_loop = virtual_loop();
        let seen = Cell::new(0);
        event_loop.run(async {
            assert!(matches!(event_loop.try_run(async {}), Err(RunError::Nested)));
            assert!(matches!(EventLoop::new().try_run(async {}), Err(RunError::Nested)));
            assert!(EventLoop::current() == event_loop.loop_ref() && event_loop.is_running());
            yield_now().await;
            assert!(EventLoop::current() == event_loop.loop_ref());
            seen.set(seen.get() + 1);
        });
        assert!(seen.get() == 1 && EventLoop::try_current().is_err());
    }

    #[test]
    fn test_get_event_loop_returns_running_loop() {
        let none = || {
            assert_eq!(EventLoop::try_current().err(), Some(NoRunningLoop));
            assert!(panic_of(EventLoop::current).contains("there is no running event loop"));
        };
        none();
        let event_loop = virtual_loop();
        none();
        event_loop.run(async {
            assert!(EventLoop::current() == event_loop.loop_ref());
            assert!(EventLoop::try_current() == Ok(event_loop.loop_ref()));
            assert!(EventLoop::current() != virtual_loop().loop_ref());
        });
        none();
        drop(event_loop);
        none();
    }
}
