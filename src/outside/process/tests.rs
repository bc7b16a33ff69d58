//! How the end of a process becomes known, each way: with a pidfd, and by `SIGCHLD`.

use crate::outside::process::{Child, Command, Stdio, orphans};
use crate::{EventLoop, RunError, sleep, spawn, timeout};
use rustix::process::{Pid, test_kill_process};
use std::cell::Cell;
use std::future::pending;
use std::os::unix::process::ExitStatusExt;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

thread_local! {
    static WITHOUT_PIDFDS: Cell<bool> = const { Cell::new(false) };
}

pub(super) fn is_without_pidfds() -> bool {
    WITHOUT_PIDFDS.get()
}

const MOMENT: Duration = Duration::from_millis(1);

/// Runs the test with pidfds and without, each on its own thread. Fails after a minute.
fn each_way<F: Future<Output = ()>>(make: impl Fn() -> F + Send + Sync + 'static) {
    let (over, is_over) = channel();
    let thread = thread::spawn(move || {
        for is_without in [false, true] {
            WITHOUT_PIDFDS.set(is_without);
            for event_loop in [EventLoop::new(), EventLoop::with_virtual_clock()] {
                event_loop.run(make());
            }
        }
        over.send(()).unwrap();
    });
    if is_over.recv_timeout(Duration::from_secs(60)) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
        panic!("this test hangs");
    }
    thread.join().unwrap();
}

/// A process that ends when its input ends.
fn cat() -> Child {
    Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
}

fn pid(id: u32) -> Pid {
    Pid::from_raw(id.try_into().unwrap()).unwrap()
}

/// Whether nothing is left of the process, no zombie either.
fn is_gone(id: u32) -> bool {
    test_kill_process(pid(id)).is_err()
}

async fn wait_until_gone(id: u32) {
    while !is_gone(id) {
        sleep(MOMENT).await;
    }
}

#[test]
fn wait_for_the_end_in_several_tasks() {
    each_way(|| async {
        let mut child = cat();
        assert_eq!(child.process_has_pidfd(), cfg!(target_os = "linux") && !is_without_pidfds());
        let waits: Vec<_> = (0..3).map(|_| spawn(child.wait())).collect();
        let cancelled = spawn(child.wait());
        sleep(MOMENT).await;
        cancelled.cancel();
        assert!(cancelled.await.unwrap_err().is_cancelled());
        assert!(child.try_wait().unwrap().is_none());
        child.stdin = None;
        for wait in waits {
            assert!(wait.await.unwrap().unwrap().success());
        }
        assert!(child.try_wait().unwrap().unwrap().success());
        assert!(child.wait().await.unwrap().success());
    });
}

/// A process that another look has found to have ended.
#[test]
fn wake_the_others_when_a_look_takes_the_status() {
    each_way(|| async {
        let mut child = cat();
        let wait = spawn(child.wait());
        sleep(MOMENT).await;
        child.stdin = None;
        while child.try_wait().unwrap().is_none() {
            thread::yield_now();
        }
        assert!(is_gone(child.id()));
        assert!(wait.await.unwrap().unwrap().success());
    });
}

#[test]
fn wait_after_the_end() {
    each_way(|| async {
        let mut child = cat();
        child.stdin = None;
        // The poller has reported the end before anybody waits.
        for _ in 0..20 {
            thread::sleep(MOMENT);
            sleep(MOMENT).await;
        }
        assert!(!is_gone(child.id()), "somebody has taken the exit status");
        assert!(child.wait().await.unwrap().success());
        assert!(is_gone(child.id()));
    });
}

#[test]
fn send_signals_while_it_runs_and_none_afterwards() {
    each_way(|| async {
        let child = cat();
        child.send_signal(signal_hook::consts::SIGUSR1).unwrap();
        let status = child.wait().await.unwrap();
        assert_eq!(status.signal(), Some(signal_hook::consts::SIGUSR1));
        let error = child.send_signal(signal_hook::consts::SIGUSR1).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        assert_eq!(error.to_string(), format!("process {} (cat) has ended, and cannot get a signal", child.id()));
        child.kill().unwrap();
        child.terminate().unwrap();
        let error = child.send_signal(1000).unwrap_err();
        assert_eq!(error.to_string(), "signal 1000 is not known; pass one of the constants of onelane::process");
    });
}

/// If other code takes the exit status, the process may be gone, and its number that of another.
#[test]
fn tell_that_other_code_has_taken_the_status() {
    each_way(|| async {
        let child = cat();
        let waiting = spawn(child.wait());
        sleep(MOMENT).await;
        child.kill().unwrap();
        let id = pid(child.id());
        rustix::process::waitpid(Some(id), rustix::process::WaitOptions::empty()).unwrap();
        child.kill().unwrap();
        let error = child.send_signal(signal_hook::consts::SIGUSR1).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        for error in [waiting.await.unwrap().unwrap_err(), child.wait().await.unwrap_err()] {
            assert!(error.to_string().contains("its exit status was taken by other code"), "{error}");
        }
    });
}

#[test]
fn leave_no_zombie_of_a_child_that_is_dropped() {
    each_way(|| async {
        // While it runs, and when it has ended.
        let mut child = cat();
        let (id, input) = (child.id(), child.stdin.take());
        drop(child);
        sleep(MOMENT).await;
        assert!(!is_gone(id), "it was killed");
        drop(input);
        wait_until_gone(id).await;
        let mut child = cat();
        let id = child.id();
        child.stdin = None;
        thread::sleep(Duration::from_millis(20));
        drop(child);
        wait_until_gone(id).await;
        // A wait that is not finished keeps the process, and takes its status.
        let mut child = cat();
        let (id, input, wait) = (child.id(), child.stdin.take(), child.wait());
        drop(child);
        let waiting = spawn(wait);
        sleep(MOMENT).await;
        waiting.cancel();
        drop((waiting, input));
        wait_until_gone(id).await;
    });
}

#[test]
fn kill_on_drop() {
    each_way(|| async {
        let child = Command::new("sleep").arg("3600").kill_on_drop(true).spawn().unwrap();
        let id = child.id();
        drop(child);
        wait_until_gone(id).await;
        let child = Command::new("sleep").arg("3600").kill_on_drop(true).spawn().unwrap();
        let wait = child.wait();
        drop(child);
        assert_eq!(wait.await.unwrap().signal(), Some(signal_hook::consts::SIGKILL));
    });
}

/// The loop of the orphans has gone. The next start of a process, in any loop, takes their
/// statuses.
#[test]
fn reap_the_orphans_of_a_loop_that_has_gone() {
    let (id, input) = EventLoop::new().run(async {
        let mut child = cat();
        (child.id(), child.stdin.take().unwrap().into_inner().into_std().unwrap())
    });
    assert!(!is_gone(id) && orphans::count() > 0);
    drop(input);
    EventLoop::new().run(async {
        while !is_gone(id) {
            Command::new("true").status().await.unwrap();
        }
    });
}

/// A child that is dropped after its loop.
#[test]
fn outlive_the_loop() {
    for is_without in [false, true] {
        let thread = thread::spawn(move || {
            WITHOUT_PIDFDS.set(is_without);
            let child =
                EventLoop::new().run(async { Command::new("sleep").arg("3600").kill_on_drop(true).spawn().unwrap() });
            assert!(child.try_wait().unwrap().is_none());
            let id = child.id();
            drop(child);
            while !is_gone(id) {
                orphans::reap();
                thread::yield_now();
            }
        });
        thread.join().unwrap();
    }
}

/// On a virtual clock: the loop waits for a child that is awaited, and not for one that is not.
#[test]
fn report_a_deadlock_beside_an_orphan() {
    for is_without in [false, true] {
        let thread = thread::spawn(move || {
            WITHOUT_PIDFDS.set(is_without);
            let (mut inputs, mut ids) = (Vec::new(), Vec::new());
            let result = EventLoop::with_virtual_clock().try_run(async {
                let mut orphan = cat();
                inputs.push(orphan.stdin.take());
                ids.push(orphan.id());
                drop(orphan);
                let mut held = cat();
                inputs.push(held.stdin.take());
                assert!(timeout(Duration::from_secs(60), held.wait()).await.is_err());
                let awaited = Command::shell("sleep 0.05; exit 4").status().await.unwrap();
                assert_eq!(awaited.code(), Some(4));
                pending::<()>().await;
            });
            assert!(matches!(result, Err(RunError::Deadlock(_))), "{result:?}");
            drop(inputs);
            while !ids.iter().all(|&id| is_gone(id)) {
                orphans::reap();
                thread::yield_now();
            }
        });
        thread.join().unwrap();
    }
}

/// All threads of the program block `SIGCHLD`. With a pidfd, the end of a process becomes known all
/// the same. Without one it does not, until the program asks.
#[cfg(target_os = "linux")]
#[test]
fn wait_while_all_threads_block_the_signal() {
    const BLOCKS: &str = "ONELANE_TEST_BLOCKS_SIGCHLD";
    const LONG: Duration = Duration::from_millis(200);
    if std::env::var_os(BLOCKS).is_none() {
        // A program inherits what is blocked, and its threads inherit it too.
        let name = "outside::process::tests::wait_while_all_threads_block_the_signal";
        let mut command = std::process::Command::new("env");
        command.arg("--block-signal=CHLD").arg(std::env::current_exe().unwrap());
        let output = command.args(["--exact", name, "--nocapture"]).env(BLOCKS, "").output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && told.contains("1 passed"), "{told}{output:?}");
        return;
    }
    let blocked = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let blocked = blocked.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
    let blocked = u64::from_str_radix(blocked.trim(), 16).unwrap();
    assert_ne!(blocked & 1 << (signal_hook::consts::SIGCHLD - 1), 0, "{blocked:x}");
    for is_without in [false, true] {
        WITHOUT_PIDFDS.set(is_without);
        EventLoop::new().run(async {
            let mut child = cat();
            let wait = spawn(child.wait());
            sleep(MOMENT).await;
            child.stdin = None;
            let ended = timeout(if is_without { LONG } else { 300 * LONG }, wait).await;
            assert_eq!(ended.is_err(), is_without, "{ended:?}");
            // The process has ended in any case.
            while child.try_wait().unwrap().is_none() {
                sleep(MOMENT).await;
            }
        });
    }
}
