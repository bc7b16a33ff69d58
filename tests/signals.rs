//! Signals: the first Ctrl-C cancels the main task, the second kills the process; other listeners.
//!
//! A signal affects the whole process, so each test runs in its own process. Most tests raise their
//! signals on their own thread. When that call returns, the handler has run.
#![cfg(unix)]

mod common;

use common::{Trace, alone, await_that, ctrl_c_is_ignored, killed, ms, on_drop, panic_of, virtual_loop};
use futures_util::poll;
use onelane::signals::{self, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
use onelane::sync::Event;
use onelane::{Clock, EventLoop, RunError, call_soon, current_task, sleep, spawn, task, timeout, yield_now};
use signal_hook::low_level::raise;
use std::cell::Cell;
use std::future::pending;
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::Barrier;
use std::thread;

fn interruptible() -> EventLoop {
    EventLoop::builder().cancel_on_ctrl_c(true).build()
}

/// Longer than any test.
async fn for_long() {
    sleep(ms(3_600_000)).await;
}

/// Sends a signal from another process, as the terminal and `kill` do.
fn kill(signal: &str) {
    let status = Command::new("sh").args(["-c", &format!("kill -{signal} {}", std::process::id())]).status().unwrap();
    assert!(status.success());
}

/// Runs a test in its own process. Returns what the test has written to stderr.
fn told(name: &str, test: impl FnOnce()) -> String {
    const TELLS: &str = "ONELANE_TEST_TELLS";
    if std::env::var(TELLS).as_deref() == Ok(name) {
        thread::spawn(|| {
            thread::sleep(ms(60_000));
            std::process::exit(101);
        });
        test();
        std::process::exit(0);
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--exact", name, "--nocapture"]).env(TELLS, name).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{}: {told}", output.status);
    told
}

// ---- Ctrl-C ----

#[test]
fn interrupt_main_and_unwind_everything() {
    alone("interrupt_main_and_unwind_everything", || {
        let trace = Trace::new();
        let result = interruptible().try_run(async {
            let (child, orphan, main) = (trace.clone(), trace.clone(), trace.clone());
            let _main = on_drop(move || main.push("main"));
            drop(spawn(async move {
                let _orphan = on_drop(move || orphan.push("orphan"));
                pending::<()>().await;
            }));
            let child = spawn(async move {
                let _child = on_drop(move || child.push("child"));
                raise(SIGINT).unwrap();
                for_long().await;
            });
            child.await.unwrap();
        });
        assert!(matches!(result, Err(RunError::Interrupted)), "{result:?}");
        // The tasks that main awaits end before main, the other tasks after main.
        assert_eq!(trace.take(), ["child", "main", "orphan"]);
    });
}

/// On a real clock, a program that waits for Ctrl-C is not a deadlock, not even in debug mode.
#[test]
fn wait_for_ctrl_c_in_debug_mode() {
    alone("wait_for_ctrl_c_in_debug_mode", || {
        let event_loop = EventLoop::builder().debug(true).cancel_on_ctrl_c(true).build();
        let result = event_loop.try_run(async {
            thread::spawn(|| {
                // Leaves enough time for a wrong report.
                thread::sleep(ms(20));
                raise(SIGINT).unwrap();
            });
            pending::<()>().await;
        });
        assert!(matches!(result, Err(RunError::Interrupted)), "{result:?}");
        // Without `cancel_on_ctrl_c`, the loop does not wait for the signal.
        let result = EventLoop::builder().debug(true).build().try_run(pending::<()>());
        assert!(matches!(result, Err(RunError::Deadlock(_))), "{result:?}");
    });
}

#[test]
fn interrupt_a_loop_that_sleeps_from_another_process() {
    alone("interrupt_a_loop_that_sleeps_from_another_process", || {
        let result = interruptible().try_run(async {
            let killer = thread::spawn(|| kill("INT"));
            let _joined = on_drop(move || killer.join().unwrap());
            for_long().await;
        });
        assert!(matches!(result, Err(RunError::Interrupted)), "{result:?}");
    });
}

/// A loop that is always ready handles Ctrl-C too.
#[test]
fn interrupt_a_loop_that_never_rests() {
    alone("interrupt_a_loop_that_never_rests", || {
        let result = interruptible().try_run(async {
            raise(SIGINT).unwrap();
            loop {
                yield_now().await;
            }
        });
        assert!(matches!(result, Err::<(), _>(RunError::Interrupted)), "{result:?}");
    });
}

#[test]
fn interrupt_each_run_again() {
    alone("interrupt_each_run_again", || {
        let event_loop = interruptible();
        for _ in 0..3 {
            let result = event_loop.try_run(async {
                raise(SIGINT).unwrap();
                for_long().await;
            });
            assert!(matches!(result, Err(RunError::Interrupted)), "{result:?}");
            assert_eq!(event_loop.try_run(async { 5 }).unwrap(), 5);
        }
        let message = panic_of(|| {
            event_loop.run(async {
                raise(SIGINT).unwrap();
                for_long().await;
            })
        });
        assert_eq!(message, "the main task was cancelled by Ctrl-C");
    });
}

#[test]
fn interrupt_several_loops_at_once() {
    alone("interrupt_several_loops_at_once", || {
        let running = Arc::new(Barrier::new(3));
        let threads = [(); 2].map(|()| {
            let running = running.clone();
            thread::spawn(move || {
                let result = interruptible().try_run(async {
                    running.wait();
                    for_long().await;
                });
                assert!(matches!(result, Err(RunError::Interrupted)), "{result:?}");
            })
        });
        running.wait();
        raise(SIGINT).unwrap();
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn kill_with_the_second() {
    let told = killed("kill_with_the_second", SIGINT, || {
        let _unreachable = interruptible().try_run(async {
            let _stuck = on_drop(|| {
                eprintln!("main is dropped");
                raise(SIGINT).unwrap();
                eprintln!("and stays");
            });
            raise(SIGINT).unwrap();
            for_long().await;
        });
    });

    assert!(told.contains("main is dropped") && !told.contains("and stays"), "{told}");
}

/// There is no turn between the two signals, so the loop does not kill the process.
#[test]
fn kill_a_loop_that_is_stuck() {
    let told = killed("kill_a_loop_that_is_stuck", SIGINT, || {
        let _unreachable = interruptible().try_run(async {
            raise(SIGINT).unwrap();
            eprintln!("goes on");
            kill("INT");
            loop {
                std::hint::spin_loop();
            }
        });
    });
    assert!(told.contains("goes on"));
}

/// The same with a listener. A listener does not prevent the second signal from killing the
/// process.
#[test]
fn kill_with_the_second_although_somebody_listens() {
    let told = killed("kill_with_the_second_although_somebody_listens", SIGINT, || {
        let _unreachable = interruptible().try_run(async {
            let mut listener = signals::listen(SIGINT).unwrap();
            let main = current_task().unwrap();
            // This child takes back the cancellation by Ctrl-C.
            let child = spawn(async move {
                let _pardon = on_drop(move || assert_eq!(main.uncancel(), 0));
                raise(SIGINT).unwrap();
                for_long().await;
            });
            assert!(child.await.unwrap_err().is_cancelled());
            listener.next().await;
            eprintln!("heard");
            raise(SIGINT).unwrap();
        });
    });
    assert!(told.contains("heard"));
}

#[test]
fn return_a_value_and_be_killed_as_before() {
    if ctrl_c_is_ignored() {
        return;
    }
    let told = killed("return_a_value_and_be_killed_as_before", SIGINT, || {
        // The main task ends before the loop has handled the signal.
        let value = interruptible().try_run(async {
            raise(SIGINT).unwrap();
            7
        });
        eprintln!("the value is {}", value.unwrap());
        raise(SIGINT).unwrap();
    });
    assert!(told.contains("the value is 7"));
}

/// After main has ended, its loop does not handle Ctrl-C, even if other tasks are still ending.
#[test]
fn be_killed_while_the_other_tasks_end() {
    if ctrl_c_is_ignored() {
        return;
    }
    let told = killed("be_killed_while_the_other_tasks_end", SIGINT, || {
        let _unreachable = interruptible().try_run(async {
            let other = async {
                let _last = on_drop(|| {
                    eprintln!("the end");
                    raise(SIGINT).unwrap();
                });
                pending::<()>().await;
            };
            drop(spawn(other));
            yield_now().await;
        });
    });
    assert!(told.contains("the end"));
}

#[test]
fn be_killed_by_the_first_in_a_loop_that_did_not_ask() {
    if ctrl_c_is_ignored() {
        return;
    }
    killed("be_killed_by_the_first_in_a_loop_that_did_not_ask", SIGINT, || {
        // The handler exists already, because of another run.
        interruptible().run(async {});
        onelane::run(async {
            raise(SIGINT).unwrap();
        });
    });
}

#[test]
fn go_on_when_the_request_is_taken_back() {
    alone("go_on_when_the_request_is_taken_back", || {
        let value = interruptible().try_run(async {
            let main = current_task().unwrap();
            let child = spawn(async move {
                let _pardon = on_drop(move || assert_eq!(main.uncancel(), 0));
                raise(SIGINT).unwrap();
                for_long().await;
            });
            assert!(child.await.unwrap_err().is_cancelled());
            9
        });
        assert_eq!(value.unwrap(), 9);
    });
}

/// Other code cancels main as well, after Ctrl-C or before it.
#[test]
fn be_cancelled_by_somebody_else_too() {
    alone("be_cancelled_by_somebody_else_too", || {
        let result = interruptible().try_run(async {
            let main = current_task().unwrap();
            let _also = on_drop(move || assert!(main.cancel()));
            raise(SIGINT).unwrap();
            for_long().await;
        });
        assert!(matches!(result, Err(RunError::Cancelled)), "{result:?}");
        let result = interruptible().try_run(async {
            current_task().unwrap().cancel();
            raise(SIGINT).unwrap();
            for_long().await;
        });
        assert!(matches!(result, Err(RunError::Cancelled)), "{result:?}");
    });
}

/// On a virtual clock, a deadlock is reported even if a Ctrl-C could still come.
#[test]
fn report_a_deadlock_all_the_same() {
    let result =
        EventLoop::builder().clock(onelane::Clock::Virtual).cancel_on_ctrl_c(true).build().try_run(pending::<()>());
    assert!(matches!(result, Err(RunError::Deadlock(_))), "{result:?}");
}

// ---- listeners ----

#[test]
fn listen_and_hear() {
    alone("listen_and_hear", || {
        virtual_loop().run(async {
            let mut listener = signals::listen(SIGTERM).unwrap();
            assert_eq!(listener.signal(), SIGTERM);
            for _ in 0..3 {
                raise(SIGTERM).unwrap();
                listener.next().await;
            }
            assert!(poll!(&mut listener.next()).is_pending());
        });
    });
}

/// On a virtual clock, nothing is ready and no timer is pending. A listener may still receive a
/// signal, so this is not a deadlock.
#[test]
fn hold_off_the_deadlock_while_somebody_listens() {
    alone("hold_off_the_deadlock_while_somebody_listens", || {
        let result = virtual_loop().try_run(async {
            let mut listener = signals::listen(SIGUSR1).unwrap();
            let killer = thread::spawn(|| kill("USR1"));
            listener.next().await;
            killer.join().unwrap();
            drop(listener);
            pending::<()>().await;
        });
        assert!(matches!(result, Err(RunError::Deadlock(_))), "{result:?}");
    });
}

#[test]
fn hear_what_one_listens_for() {
    alone("hear_what_one_listens_for", || {
        virtual_loop().run(async {
            let mut first = signals::listen(SIGUSR1).unwrap();
            let mut other = signals::listen(SIGUSR2).unwrap();
            let mut second = signals::listen(SIGUSR1).unwrap();
            raise(SIGUSR1).unwrap();
            first.next().await;
            second.next().await;
            assert!(poll!(&mut other.next()).is_pending());
            raise(SIGUSR2).unwrap();
            other.next().await;
            assert!(poll!(&mut first.next()).is_pending() && poll!(&mut second.next()).is_pending());
        });
    });
}

/// A panic of a wake hook, on the thread that receives signals, must not end this thread. Otherwise
/// no more signals would arrive.
#[test]
fn panic_in_the_hook_and_hear_the_next_signal() {
    alone("panic_in_the_hook_and_hear_the_next_signal", || {
        let event_loop = EventLoop::new();
        let heard = Rc::new(Cell::new(0));
        let copy = heard.clone();
        event_loop.spawn(async move {
            let mut listener = signals::listen(SIGUSR1).unwrap();
            loop {
                listener.next().await;
                copy.set(copy.get() + 1);
            }
        });
        event_loop.turn();
        event_loop.set_wake_hook(|| panic!("the host is out"));
        for nth in 1..=3 {
            while !event_loop.turn().is_idle() {}
            raise(SIGUSR1).unwrap();
            while heard.get() < nth {
                event_loop.turn();
            }
        }
    });
}

/// Each loop receives the signal, on its own thread.
#[test]
fn hear_in_several_loops() {
    alone("hear_in_several_loops", || {
        let listening = Arc::new(Barrier::new(3));
        let threads = [(); 2].map(|()| {
            let listening = listening.clone();
            thread::spawn(move || {
                EventLoop::new().run(async {
                    let mut listener = signals::listen(SIGHUP).unwrap();
                    listening.wait();
                    listener.next().await;
                });
            })
        });
        listening.wait();
        raise(SIGHUP).unwrap();
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

/// The system decides how many of several simultaneous signals arrive. At least one arrives, and
/// none arrives twice.
#[test]
fn count_signals_that_come_together() {
    alone("count_signals_that_come_together", || {
        EventLoop::new().run(async {
            let mut listener = signals::listen(SIGUSR1).unwrap();
            for _ in 0..3 {
                raise(SIGUSR1).unwrap();
            }
            listener.next().await;
            let mut heard = 1;
            while timeout(ms(20), listener.next()).await.is_ok() {
                heard += 1;
            }
            assert!(heard <= 3, "{heard} of 3 signals were heard");
        });
    });
}

/// Cancel safety: a signal that arrived while no task waited is returned by the next call, once.
#[test]
fn lose_nothing_when_a_wait_is_dropped() {
    alone("lose_nothing_when_a_wait_is_dropped", || {
        virtual_loop().run(async {
            let mut listener = signals::listen(SIGUSR1).unwrap();
            // This listener is notified after the other one.
            let mut later = signals::listen(SIGUSR1).unwrap();
            assert!(timeout(ms(5), listener.next()).await.is_err());
            raise(SIGUSR1).unwrap();
            later.next().await;
            assert!(poll!(&mut listener.next()).is_ready());
            assert!(poll!(&mut listener.next()).is_pending());
        });
    });
}

/// A loop whose tasks are busy receives signals at the beginning of a turn.
#[test]
fn hear_between_turns() {
    alone("hear_between_turns", || {
        virtual_loop().run(async {
            let turns = Rc::new(Cell::new(0));
            let copy = turns.clone();
            let busy = spawn(async move {
                loop {
                    copy.set(copy.get() + 1);
                    yield_now().await;
                }
            });
            let mut listener = signals::listen(SIGUSR1).unwrap();
            raise(SIGUSR1).unwrap();
            listener.next().await;
            assert!(turns.get() > 0);
            busy.cancel();
        });
    });
}

#[test]
fn be_killed_when_nobody_listens_any_more() {
    let told = killed("be_killed_when_nobody_listens_any_more", SIGTERM, || {
        virtual_loop().run(async {
            let first = signals::listen(SIGTERM).unwrap();
            let mut second = signals::listen(SIGTERM).unwrap();
            drop(first);
            raise(SIGTERM).unwrap();
            second.next().await;
            eprintln!("the second is still there");
            drop(second);
            // A listener that was created and dropped again.
            drop(signals::listen(SIGTERM).unwrap());
            raise(SIGTERM).unwrap();
        });
    });
    assert!(told.contains("the second is still there"));
}

/// A signal that is ignored by default, or was ignored before the first listener, is ignored again
/// afterwards.
#[test]
fn be_ignored_again() {
    alone("be_ignored_again", || {
        // Rust programs ignore SIGPIPE, which kills by default. Only Linux can report whether a
        // signal is ignored.
        let sigpipe = cfg!(target_os = "linux").then_some(signal_hook::consts::SIGPIPE);
        for signal in [SIGWINCH].into_iter().chain(sigpipe) {
            virtual_loop().run(async {
                let mut listener = signals::listen(signal).unwrap();
                raise(signal).unwrap();
                listener.next().await;
            });
            raise(signal).unwrap();
        }
    });
}

/// A listener that outlives its run, and its loop.
#[test]
fn keep_a_listener_for_the_next_run() {
    alone("keep_a_listener_for_the_next_run", || {
        let event_loop = virtual_loop();
        let mut listener = event_loop.run(async { signals::listen(SIGUSR1).unwrap() });
        raise(SIGUSR1).unwrap();
        event_loop.run(async { listener.next().await });
        drop(event_loop);
        // No loop receives the signal, but a listener exists, so the signal does not kill.
        raise(SIGUSR1).unwrap();
        let message = panic_of(|| virtual_loop().run(async { listener.next().await }));
        assert_eq!(
            message,
            "poll() of Signals::next() was called where its loop is not; listen in the loop that waits for the signal"
        );
    });
}

/// Callbacks and listeners: the signal is queued as a callback, behind the entries that were ready
/// before.
#[test]
fn wake_through_the_ready_queue() {
    alone("wake_through_the_ready_queue", || {
        let trace = Trace::new();
        virtual_loop().run(async {
            let mut listener = signals::listen(SIGUSR1).unwrap();
            let copy = trace.clone();
            call_soon(move || copy.push("a callback that was ready"));
            raise(SIGUSR1).unwrap();
            listener.next().await;
            trace.push("the signal");
        });
        assert_eq!(trace.take(), ["a callback that was ready", "the signal"]);
    });
}

#[test]
fn listen_where_it_cannot_be() {
    let message = panic_of(|| signals::listen(SIGUSR1));
    assert_eq!(
        message,
        "signals::listen() was called, but there is no running event loop; call it from inside of onelane::run()"
    );
    virtual_loop().run(async {
        for (signal, why) in [
            (9, "signal 9 cannot be listened for; choose one that a process can live with"),
            (0, "signal 0 is not known; choose one of those in onelane::signals"),
            (-1, "signal -1 is not known; choose one of those in onelane::signals"),
            (1000, "signal 1000 is not known; choose one of those in onelane::signals"),
        ] {
            let error = signals::listen(signal).unwrap_err();
            assert_eq!((error.kind(), error.to_string()), (std::io::ErrorKind::InvalidInput, why.to_string()));
        }
    });
}

// ---- the call graph on a signal ----

fn printing(clock: Clock) -> EventLoop {
    EventLoop::builder().clock(clock).print_call_graph_on(SIGUSR1).build()
}

/// The printed lines without the places.
fn without_places(told: &str) -> Vec<&str> {
    told.lines().map(|line| line.split(", at ").next().unwrap()).collect()
}

/// The loop has no timer, and sleeps until the signal arrives. The listener was registered after the
/// part that prints the call graph, and is notified after it. So when `next` returns, the graph is
/// printed.
#[test]
fn print_the_call_graph_of_a_loop_that_sleeps() {
    const NAME: &str = "print_the_call_graph_of_a_loop_that_sleeps";
    let told = told(NAME, || {
        printing(Clock::Real).run(async {
            current_task().unwrap().set_name("main");
            let _other = task::Builder::new().name("other").spawn(async { Event::new().named("e").wait().await });
            let mut listener = signals::listen(SIGUSR1).unwrap();
            for _ in 0..2 {
                let killer = thread::spawn(|| kill("USR1"));
                listener.next().await;
                killer.join().unwrap();
            }
        });
    });
    let head = format!("onelane: 2 task(s) on thread {NAME}:");
    let one = [&head, "└── (T) main", "    └── signal SIGUSR1", "└── (T) other", "    └── event \"e\""];
    assert_eq!(without_places(&told), [one, one].concat());
}

#[test]
fn print_the_call_graphs_of_several_loops() {
    let told = told("print_the_call_graphs_of_several_loops", || {
        let listening = Arc::new(Barrier::new(3));
        let threads = ["one", "other"].map(|name| {
            let listening = listening.clone();
            let run = move || {
                printing(Clock::Virtual).run(async {
                    current_task().unwrap().set_name(name);
                    let mut listener = signals::listen(SIGUSR1).unwrap();
                    listening.wait();
                    listener.next().await;
                });
            };
            thread::Builder::new().name(format!("lane {name}")).spawn(run).unwrap()
        });
        listening.wait();
        raise(SIGUSR1).unwrap();
        for thread in threads {
            thread.join().unwrap();
        }
    });
    let lines = without_places(&told);
    // Their order is not defined, but the lines of each loop are printed together.
    let mut printed: Vec<_> = lines.chunks(3).map(|lines| lines.join("\n")).collect();
    printed.sort();
    let expected = ["one", "other"].map(|name| {
        let task = "    └── signal SIGUSR1";
        format!("onelane: 1 task(s) on thread lane {name}:\n└── (T) {name}\n{task}")
    });
    assert_eq!(printed, expected);
}

/// A signal that prints the call graph does not hold off a deadlock report, because the program
/// does not wait for it.
#[test]
fn report_a_deadlock_though_a_signal_could_come() {
    alone("report_a_deadlock_though_a_signal_could_come", || {
        let result = printing(Clock::Virtual).try_run(pending::<()>());
        assert!(matches!(result, Err(RunError::Deadlock(_))), "{result:?}");
    });
}

/// A host turns the loop itself. The signal makes a turn due, and several signals before that turn
/// count as one.
#[test]
fn print_the_call_graph_in_the_next_turn() {
    const NAME: &str = "print_the_call_graph_in_the_next_turn";
    let told = told(NAME, || {
        let event_loop = printing(Clock::Real);
        raise(SIGUSR1).unwrap();
        await_that(|| event_loop.next_deadline().is_some());
        for _ in 0..3 {
            raise(SIGUSR1).unwrap();
        }
        eprintln!("now");
        event_loop.turn();
        eprintln!("then");
    });
    let head = format!("onelane: 0 task(s) on thread {NAME}:");
    assert_eq!(told.lines().take(3).collect::<Vec<_>>(), ["now", &head, "then"]);
}

#[test]
fn be_killed_when_no_loop_prints_any_more() {
    let told = killed("be_killed_when_no_loop_prints_any_more", SIGUSR1, || {
        let [one, other] = [(); 2].map(|()| printing(Clock::Virtual));
        drop(one);
        raise(SIGUSR1).unwrap();
        eprintln!("the other is still there");
        drop(other);
        raise(SIGUSR1).unwrap();
    });
    assert!(told.contains("the other is still there"));
}

#[test]
fn print_on_a_signal_that_cannot_be() {
    for (signal, why) in [
        (9, "signal 9 cannot be listened for; choose one that a process can live with"),
        (0, "signal 0 is not known; choose one of those in onelane::signals"),
    ] {
        let message = panic_of(|| EventLoop::builder().print_call_graph_on(signal).build());
        assert_eq!(message, format!("LoopBuilder::print_call_graph_on({signal}) was called, but {why}"));
    }
    assert_eq!(virtual_loop().run(async { 1 }), 1);
}
