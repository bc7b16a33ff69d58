//! Runs the library without its feature `std`: a platform of threads, the conformance programs, and
//! wakes from other threads. One program and not a test, because all loops run on one thread.

#[path = "../../conformance/comparison.rs"]
mod comparison;
#[path = "../../conformance/level_d.rs"]
mod level_d;
#[path = "../../conformance/levels_a_to_c.rs"]
mod levels_a_to_c;
#[path = "../../conformance/machine.rs"]
mod machine;
#[path = "../../conformance/outcome.rs"]
mod outcome;
mod platform;
#[path = "../../conformance/program.rs"]
#[allow(dead_code, reason = "the folder of the programs is another one here")]
mod program;
#[path = "../../conformance/shared.rs"]
mod shared;
#[path = "../../conformance/statement.rs"]
mod statement;

use comparison::{Comparison, Trace};
use onelane::sync::unbounded;
use onelane::{Budget, EventLoop, Instant, RunError, gather, sleep, spawn, timeout};
use std::future::{pending, poll_fn};
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

fn main() {
    onelane::platform::set(&platform::THREADS);
    compare_with_cpython();
    wake_from_threads();
    send_from_threads();
    sleep_on_the_clock_of_the_platform();
    report_a_deadlock();
    refuse_a_loop_on_another_thread();
    println!("bare: all passed");
}

fn compare_with_cpython() {
    let budgets = [Budget::steps(1), Budget::steps(3), Budget::time(Duration::ZERO), Budget::UNLIMITED];
    let mut budgets = budgets.into_iter().cycle();
    let (mut whole, mut within) = (Comparison::new(), Comparison::new());
    for name in ["programs-A", "programs-B", "programs-C", "programs-D", "found-D"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance");
        let path = folder.join(name).with_extension("jsonl");
        for program in program::programs(&path) {
            whole.begin(&path, &program);
            within.begin(&path, &program);
            whole.end(&path, &program, machine::run(&program.bodies, &EventLoop::with_virtual_clock));
            let (lines, _) = machine::lines_within(&program.bodies, budgets.next().unwrap());
            let (shutdown, end) = (program.trace.shutdown.clone(), program.trace.end.clone());
            within.end(&path, &program, Trace { lines, shutdown, end });
        }
    }
    whole.finish();
    within.finish();
}

/// WAKE-2: a thread wakes the loop at any moment, also while it is about to wait.
fn wake_from_threads() {
    onelane::run(async {
        for _ in 0..2_000 {
            let shared = Arc::new((AtomicBool::new(false), Mutex::new(None::<Waker>)));
            let other = shared.clone();
            let thread = thread::spawn(move || {
                other.0.store(true, Ordering::SeqCst);
                if let Some(waker) = other.1.lock().unwrap().take() {
                    waker.wake();
                }
            });
            let woken = poll_fn(|context| {
                *shared.1.lock().unwrap() = Some(context.waker().clone());
                if shared.0.load(Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }
            });
            timeout(Duration::from_secs(60), pin!(woken)).await.expect("the thread has woken the task");
            thread.join().unwrap();
        }
    });
}

fn send_from_threads() {
    const EACH: u32 = 5_000;
    let received = onelane::run(async {
        let (sender, receiver) = unbounded();
        let threads = [0, 1, 2].map(|thread| {
            let remote = sender.remote_sender();
            thread::spawn(move || (0..EACH).for_each(|number| remote.send(thread * EACH + number).unwrap()))
        });
        drop(sender);
        let mut received = Vec::new();
        while let Some(number) = receiver.recv().await {
            received.push(number);
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        received
    });
    for thread in 0..3 {
        let of_thread: Vec<u32> = received.iter().copied().filter(|number| number / EACH == thread).collect();
        assert!(of_thread.iter().copied().eq(thread * EACH..(thread + 1) * EACH), "thread {thread}: {of_thread:?}");
    }
}

fn sleep_on_the_clock_of_the_platform() {
    let begun = Instant::now();
    let order = onelane::run(async {
        let napped = |milliseconds| async move {
            sleep(Duration::from_millis(milliseconds)).await;
            milliseconds
        };
        let sum = spawn(async move { gather([30, 10, 20].map(napped)).await.unwrap() });
        sum.await.unwrap()
    });
    assert_eq!(order, [30, 10, 20]);
    assert!(begun.elapsed() >= Duration::from_millis(30), "TIME-2: a sleep ended early");
}

fn report_a_deadlock() {
    let stuck = EventLoop::with_virtual_clock().try_run(pending::<()>());
    assert!(matches!(stuck, Err(RunError::Deadlock(_))));
}

fn refuse_a_loop_on_another_thread() {
    std::panic::set_hook(Box::new(|_| ()));
    assert!(thread::spawn(|| drop(EventLoop::new())).join().is_err(), "a loop was made on another thread");
}
