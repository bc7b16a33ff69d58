//! Child processes: twins of CPython's `test_subprocess.py`, and what is our own.
//!
//! Each test of CPython 3.13 that has a meaning here has a twin, named after what it shows. The
//! programs are those of a minimal system: `sh`, `cat`, `sleep`, `echo`, `true`.
//!
//! | CPython | here |
//! | --- | --- |
//! | `test_proc_exited` | `signals_after_the_end_reach_nobody`; `kill` and `terminate` are no errors, as in the standard library |
//! | `test_subprocess_repr` | `show_the_number_and_the_state` |
//! | `test_stdin_stdout` | `write_to_the_input_and_read_the_output` |
//! | `test_communicate`, `test_communicate_none_input` | `communicate_with_input_and_without` |
//! | `test_shell` | `run_a_line_of_the_shell` |
//! | `test_start_new_session` | `start_in_a_new_process_group`; a new session needs unsafe code in the standard library (`pre_exec`) |
//! | `test_kill` | `kill_a_child` |
//! | `test_kill_issue43884` | `kill_a_shell_that_waits_for_its_child` |
//! | `test_terminate` | `terminate_a_child` |
//! | `test_send_signal` | `send_a_signal_to_a_child_that_is_ready_for_it` |
//! | `test_stdin_broken_pipe` | `write_to_a_child_that_has_gone` |
//! | `test_communicate_ignore_broken_pipe` | `communicate_with_a_child_that_reads_nothing` |
//! | `test_pause_reading` | `read_more_than_the_limit`; a reader here reads only when it is asked, so it never pauses |
//! | `test_stdin_not_inheritable` | `end_the_input_beside_other_children` |
//! | `test_empty_input` | `communicate_with_input_and_without` |
//! | `test_devnull_input`, `test_devnull_output`, `test_devnull_error` | `leave_out_input_output_and_errors` |
//! | `test_devstdin_input` | `read_the_input_by_its_path` |
//! | `test_cancel_process_wait` | `cancel_a_wait_and_wait_again` |
//! | `test_cancel_make_subprocess_transport_exec`, `test_cancel_post_init` | none: `spawn` does not suspend, so it cannot be cancelled |
//! | `test_close_kill_running` | `kill_on_drop` |
//! | `test_close_dont_kill_finished` | `drop_a_child_that_has_ended`; the signal that is not sent cannot be seen |
//! | `test_popen_error`, `test_popen_error_with_stdin_pipe` | `fail_to_start_and_leave_nothing_open` |
//! | `test_read_stdout_after_process_exit` | `read_the_output_after_the_end` |
//! | `test_create_subprocess_exec_text_mode_fails`, `test_create_subprocess_shell_text_mode_fails` | none: there is no text mode to be asked for |
//! | `test_create_subprocess_exec_with_path` | `name_program_and_arguments_by_paths` |
//! | `test_create_subprocess_env_shell`, `test_create_subprocess_env_exec` | `set_the_environment` |
//! | `test_subprocess_concurrent_wait` | `wait_in_ten_tasks` |
//! | `test_subprocess_protocol_events` | none: there are no protocols |
//! | `test_subprocess_communicate_stdout` | `communicate_with_ten_children_at_once` |
//! | `test_subprocess_send_signal_race` | `send_signals_to_children_that_are_ending` |
//! | `test_create_subprocess_with_pidfd` | `start_a_child_in_a_loop_of_another_thread` |
//! | `test_warns`, `test_create_subprocess_fails_with_inactive_watcher` | none: there are no child watchers to choose from; both ways of the library are tested in `src/outside/process/tests.rs` |
#![cfg(unix)]

mod common;

use common::{alone, foreign, ms, panic_of, virtual_loop, watched, words};
use futures_util::{AsyncReadExt, AsyncWriteExt};
use onelane::net::StreamReader;
use onelane::process::{Child, Command, SIGHUP, SIGKILL, SIGTERM, SIGUSR1, Stdio};
use onelane::{EventLoop, RunError, all_tasks, call_graph, gather, sleep, spawn, timeout, yield_now};
use rustix::process::{Pid, WaitId, WaitIdOptions, WaitOptions, test_kill_process, wait, waitid};
use std::cell::Cell;
use std::error::Error;
use std::future::pending;
use std::io::ErrorKind;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

/// Much longer than any test.
const LONG: Duration = Duration::from_secs(600);

/// Runs a future on a real clock. Fails after a minute.
fn run<F: Future<Output = ()>>(make: impl FnOnce() -> F + Send + 'static) {
    watched(move || EventLoop::new().run(make()));
}

/// Runs a future on a virtual clock. Fails after a minute.
fn run_virtually<F: Future<Output = ()>>(make: impl FnOnce() -> F + Send + 'static) {
    watched(move || virtual_loop().run(make()));
}

/// A child that copies its input to its output.
fn cat() -> Child {
    Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap()
}

/// A child that blocks.
fn blocked() -> Child {
    Command::new("sleep").arg("3600").kill_on_drop(true).spawn().unwrap()
}

/// Whether nothing is left of the process, no zombie either.
fn is_gone(id: u32) -> bool {
    test_kill_process(Pid::from_raw(id.try_into().unwrap()).unwrap()).is_err()
}

/// More than a pipe holds.
const LARGE: usize = 4 << 20;

// ---- twins ----

#[test]
fn write_to_the_input_and_read_the_output() {
    run(|| async {
        let mut child = cat();
        let mut input = child.stdin.take().unwrap().into_stream();
        let mut output = child.stdout.take().unwrap().into_stream();
        let talk = async {
            input.write_all(b"some data").await.unwrap();
            input.close().await.unwrap();
            (output.read_to_end().await.unwrap(), child.wait().await.unwrap().code())
        };
        assert_eq!(timeout(LONG, talk).await.unwrap(), (b"some data".to_vec(), Some(0)));
    });
}

#[test]
fn communicate_with_input_and_without() {
    run(|| async {
        for input in [&b"some data"[..], b""] {
            let output = timeout(LONG, cat().communicate(input)).await.unwrap().unwrap();
            assert_eq!((output.status.code(), output.stdout, output.stderr), (Some(0), input.to_vec(), Vec::new()));
        }
    });
}

#[test]
fn run_a_line_of_the_shell() {
    run(|| async {
        let child = Command::shell("exit 7").spawn().unwrap();
        assert_eq!(child.wait().await.unwrap().code(), Some(7));
    });
}

#[test]
fn start_in_a_new_process_group() {
    run(|| async {
        let mut command = Command::shell("ps -o pgid= -p $$ 2>/dev/null || cut -d' ' -f5 /proc/$$/stat; exit 8");
        command.as_std_mut().process_group(0);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let output = child.communicate(b"").await.unwrap();
        assert_eq!(output.status.code(), Some(8));
        assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), child.id().to_string());
    });
}

#[test]
fn kill_a_child() {
    run(|| async {
        let child = blocked();
        child.kill().unwrap();
        assert_eq!(child.wait().await.unwrap().signal(), Some(SIGKILL));
    });
}

#[test]
fn kill_a_shell_that_waits_for_its_child() {
    run(|| async {
        let mut child = Command::shell("echo begun; sleep 1; sleep 1").stdout(Stdio::piped()).spawn().unwrap();
        assert_eq!(child.stdout.as_mut().unwrap().read(&mut [0; 10]).await.unwrap(), 6);
        child.kill().unwrap();
        assert_eq!(child.wait().await.unwrap().signal(), Some(SIGKILL));
    });
}

#[test]
fn terminate_a_child() {
    run(|| async {
        let child = blocked();
        child.terminate().unwrap();
        assert_eq!(child.wait().await.unwrap().signal(), Some(SIGTERM));
    });
}

#[test]
fn send_a_signal_to_a_child_that_is_ready_for_it() {
    run(|| async {
        let line = "trap 'echo caught; exit 5' HUP; echo ready; while :; do sleep 0.01; done";
        let mut child = Command::shell(line).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut output = child.stdout.take().unwrap().into_stream();
        assert_eq!(output.read_line().await.unwrap(), b"ready\n");
        child.send_signal(SIGHUP).unwrap();
        assert_eq!(child.wait().await.unwrap().code(), Some(5));
        assert_eq!(output.read_line().await.unwrap(), b"caught\n");
    });
}

#[test]
fn write_to_a_child_that_has_gone() {
    run(|| async {
        let mut child = Command::shell("read line; exit 1").stdin(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap().into_stream();
        input.write_all(b"a line\n").await.unwrap();
        // The child ends while this write waits for room.
        let error = input.write_all(&vec![b'x'; LARGE]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        assert_eq!(child.wait().await.unwrap().code(), Some(1));
    });
}

#[test]
fn communicate_with_a_child_that_reads_nothing() {
    run(|| async {
        let mut child = Command::new("true").stdin(Stdio::piped()).spawn().unwrap();
        let output = child.communicate(&vec![b'x'; LARGE]).await.unwrap();
        assert!(output.status.success());
        assert!(child.stdin.is_none());
    });
}

/// A cancelled call has found that the child has closed its input. The next one returns the output.
#[test]
fn communicate_again_with_a_child_that_has_closed_its_input() {
    run(|| async {
        let mut command = Command::shell("exec 0<&-; kill -STOP $$; echo done");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = vec![b'x'; LARGE];
        let mut communicate = child.communicate(&input);
        assert!(timeout(ms(100), &mut communicate).await.is_err());
        let written = communicate.written();
        drop(communicate);
        child.send_signal(onelane::signals::SIGCONT).unwrap();
        let resumed = spawn(async move { (child.communicate(&input[written..]).await, child) });
        let (output, child) = resumed.await.unwrap();
        assert_eq!(output.unwrap().stdout, b"done\n");
        assert!(child.wait().await.unwrap().success());
    });
}

#[test]
fn read_more_than_the_limit() {
    run(|| async {
        let mut child = Command::shell("printf xxxxxxxxxxxxxxxxxxxxx").stdout(Stdio::piped()).spawn().unwrap();
        let mut output = child.stdout.take().unwrap().into_stream();
        output.set_limit(10);
        assert_eq!(output.read_to_end().await.unwrap(), [b'x'; 21]);
        assert!(child.wait().await.unwrap().success());
    });
}

/// A child must not inherit the other end of another child's input: that input would never end.
#[test]
fn end_the_input_beside_other_children() {
    run(|| async {
        let mut first = cat();
        let second = blocked();
        let third = cat();
        assert_eq!(first.communicate(b"abc").await.unwrap().stdout, b"abc");
        assert!(second.try_wait().unwrap().is_none() && third.try_wait().unwrap().is_none());
    });
}

#[test]
fn leave_out_input_output_and_errors() {
    run(|| async {
        let line = "cat; echo trouble >&2";
        let piped = || {
            let mut command = Command::shell(line);
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            command
        };
        let output = piped().stdin(Stdio::null()).spawn().unwrap().communicate(b"").await.unwrap();
        assert_eq!((&*output.stdout, &*output.stderr), (&b""[..], &b"trouble\n"[..]));
        let output = piped().stdout(Stdio::null()).spawn().unwrap().communicate(b"abc").await.unwrap();
        assert_eq!((&*output.stdout, &*output.stderr), (&b""[..], &b"trouble\n"[..]));
        let mut child = piped().stderr(Stdio::null()).spawn().unwrap();
        assert!(child.stderr.is_none());
        let output = child.communicate(b"abc").await.unwrap();
        assert_eq!((&*output.stdout, &*output.stderr), (&b"abc"[..], &b""[..]));
    });
}

#[test]
fn read_the_input_by_its_path() {
    if !Path::new("/dev/stdin").exists() {
        return;
    }
    run(|| async {
        let mut command = Command::new("cat");
        let mut child = command.arg("/dev/stdin").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        assert_eq!(child.communicate(b"abc").await.unwrap().stdout, b"abc");
    });
}

#[test]
fn cancel_a_wait_and_wait_again() {
    run(|| async {
        let child = blocked();
        let wait = spawn(child.wait());
        yield_now().await;
        wait.cancel();
        assert!(wait.await.unwrap_err().is_cancelled());
        assert!(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        assert_eq!(child.wait().await.unwrap().signal(), Some(SIGKILL));
    });
}

#[test]
fn kill_on_drop() {
    run(|| async {
        let child = blocked();
        let wait = child.wait();
        drop(child);
        assert_eq!(wait.await.unwrap().signal(), Some(SIGKILL));
        // Also if the task that has it is cancelled, and in the futures of `output` and `status`.
        let child = blocked();
        let wait = child.wait();
        let task = spawn(async move {
            child.wait().await.unwrap();
        });
        yield_now().await;
        task.cancel();
        assert_eq!(wait.await.unwrap().signal(), Some(SIGKILL));
        assert!(task.await.unwrap_err().is_cancelled());
    });
}

/// A child that is killed does not see the end of its input before, and takes it for complete.
#[test]
fn kill_before_the_pipes_are_closed() {
    run(|| async {
        for _ in 0..20 {
            let child = cat();
            let wait = child.wait();
            drop(child);
            assert_eq!(wait.await.unwrap().signal(), Some(SIGKILL));
        }
    });
}

#[test]
fn drop_a_child_that_has_ended() {
    run(|| async {
        let child = Command::new("true").kill_on_drop(true).spawn().unwrap();
        let wait = child.wait();
        // Ends while nobody looks.
        thread::sleep(ms(20));
        child.kill().unwrap();
        drop(child);
        assert!(wait.await.is_ok());
    });
}

#[test]
fn fail_to_start_and_leave_nothing_open() {
    alone("fail_to_start_and_leave_nothing_open", || {
        let event_loop = EventLoop::new();
        let mut counts = Vec::new();
        event_loop.run(async {
            for _ in 0..3 {
                let mut command = Command::new("/no/such/program");
                let error = command.stdin(Stdio::piped()).spawn().unwrap_err();
                assert_eq!(error.kind(), ErrorKind::NotFound);
                let text = error.to_string();
                assert!(text.starts_with("cannot start /no/such/program: "), "{text}");
                let source = error.source().unwrap().downcast_ref::<std::io::Error>().unwrap();
                assert_eq!(source.raw_os_error(), Some(rustix::io::Errno::NOENT.raw_os_error()));
                let error = Command::new("true").current_dir("/no/such/folder").status().await.unwrap_err();
                assert!(error.to_string().starts_with("cannot start true in /no/such/folder: "), "{error}");
                counts.push(open_descriptors());
            }
        });
        assert_eq!(counts[0], counts[2]);
    });
}

#[test]
fn read_the_output_after_the_end() {
    run(|| async {
        let line = "i=0; while [ $i -lt 64 ]; do printf %1024d 0; i=$((i+1)); done; exit 1";
        let mut child = Command::shell(line).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = child.stdout.take().unwrap().into_stream();
        assert_eq!(child.wait().await.unwrap().code(), Some(1));
        let mut length = 0;
        loop {
            let data = output.read(10_000).await.unwrap();
            length += data.len();
            if data.is_empty() {
                break;
            }
            sleep(ms(1)).await;
        }
        assert_eq!(length, 64 * 1024);
    });
}

#[test]
fn name_program_and_arguments_by_paths() {
    run(|| async {
        let output = Command::new(Path::new("/bin/sh")).args([Path::new("-c"), Path::new("pwd")]).output();
        assert_eq!(output.await.unwrap().stdout.last(), Some(&b'\n'));
    });
}

#[test]
fn set_the_environment() {
    run(|| async {
        let check = async |mut command: Command, expected: &[u8]| {
            let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
            let output = child.communicate(b"").await.unwrap();
            assert_eq!((&*output.stdout, output.status.code()), (expected, Some(0)));
            // The status is known, so a wait does not suspend.
            let wait = spawn(child.wait());
            yield_now().await;
            assert!(matches!(&*wait.result().unwrap(), Ok(status) if status.code() == Some(0)));
        };
        let mut command = Command::shell("printf %s $FOO");
        command.env("FOO", "bar");
        check(command, b"bar").await;
        let mut command = Command::new("sh");
        command.args(["-c", "printf %s $FOO"]).env("FOO", "baz");
        check(command, b"baz").await;
        let mut command = Command::new("sh");
        command.args(["-c", "printf %s ${HOME-none}$A$B"]).env_clear().envs([("A", "1"), ("B", "2")]).env_remove("B");
        check(command, b"none1").await;
    });
}

#[test]
fn wait_in_ten_tasks() {
    run(|| async {
        let mut child = cat();
        assert_eq!(child.communicate(b"some data").await.unwrap().stdout, b"some data");
        for status in gather((0..10).map(|_| child.wait())).await.unwrap() {
            assert_eq!(status.unwrap().code(), Some(0));
        }
        // And before the end.
        let mut child = cat();
        let waits = gather((0..10).map(|_| child.wait()));
        child.stdin = None;
        for status in waits.await.unwrap() {
            assert_eq!(status.unwrap().code(), Some(0));
        }
    });
}

#[test]
fn communicate_with_ten_children_at_once() {
    run(|| async {
        let words: Vec<String> = (0..10).map(|number| format!("foo{number}")).collect();
        let get = async |word: String| {
            let mut child = Command::new("echo").arg(word).stdout(Stdio::piped()).spawn().unwrap();
            String::from_utf8(child.communicate(b"").await.unwrap().stdout).unwrap().trim().to_string()
        };
        assert_eq!(gather(words.iter().cloned().map(get)).await.unwrap(), words);
    });
}

#[test]
fn send_signals_to_children_that_are_ending() {
    run(|| async {
        for pause in 0..10 {
            let child = Command::new("sleep").arg("0.005").spawn().unwrap();
            sleep(ms(pause)).await;
            if let Err(error) = child.send_signal(SIGUSR1) {
                assert_eq!(error.kind(), ErrorKind::NotFound);
            }
            let status = child.wait().await.unwrap();
            assert!(status.success() || status.signal() == Some(SIGUSR1), "{status}");
        }
    });
}

#[test]
fn start_a_child_in_a_loop_of_another_thread() {
    run(|| async {
        let other = thread::spawn(|| {
            EventLoop::new().run(async {
                let mut child = cat();
                child.communicate(b"some data").await.unwrap()
            })
        });
        let output = other.join().unwrap();
        assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"some data"[..]));
    });
}

#[test]
fn signals_after_the_end_reach_nobody() {
    run(|| async {
        let child = Command::shell("exit 6").spawn().unwrap();
        assert_eq!(child.wait().await.unwrap().code(), Some(6));
        assert_eq!(child.try_wait().unwrap().unwrap().code(), Some(6));
        let error = child.send_signal(SIGTERM).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        child.terminate().unwrap();
        child.kill().unwrap();
        assert_eq!(child.try_wait().unwrap().unwrap().code(), Some(6));
    });
}

#[test]
fn show_the_number_and_the_state() {
    run(|| async {
        let child = Command::shell("read line; exit 6").stdin(Stdio::piped()).spawn().unwrap();
        let id = child.id();
        assert_eq!(format!("{child:?}"), format!("Child(process {id} (read line; exit 6), running)"));
        assert_eq!(format!("{:?}", child.wait()), format!("Wait(process {id} (read line; exit 6), running)"));
        let (wait, mut child) = (child.wait(), child);
        child.stdin = None;
        wait.await.unwrap();
        assert_eq!(format!("{child:?}"), format!("Child(process {id} (read line; exit 6), exit status: 6)"));
    });
}

// ---- our own ----

/// The loop waits for children, for their input and their output, and reports no deadlock.
#[test]
fn wait_for_children_on_a_virtual_clock() {
    run_virtually(|| async {
        assert_eq!(Command::shell("sleep 0.02; exit 4").status().await.unwrap().code(), Some(4));
        let output = Command::shell("sleep 0.02; echo late").output().await.unwrap();
        assert_eq!(output.stdout, b"late\n");
        // The clock still jumps.
        let child = blocked();
        assert!(timeout(LONG, child.wait()).await.is_err());
    });
}

#[test]
fn tell_what_a_task_waits_for() {
    run_virtually(|| async {
        let mut child = cat();
        let id = child.id();
        let (wait, line) = (child.wait(), line!());
        let waiting = spawn(wait);
        sleep(ms(1)).await;
        let graph = call_graph();
        let task = graph.tasks.iter().find(|task| task.id == waiting.id()).unwrap();
        assert_eq!(words(task), format!("process {id} (cat)"));
        let place = task.waits_for[0].at.to_string();
        assert!(place.contains(&format!("tests/process.rs:{line}:")), "{place}");
        assert!(graph.to_string().contains(&format!("process {id} (cat)")), "{graph}");

        child.stdin = None;
        waiting.await.unwrap().unwrap();

        let mut child = blocked_with_pipes();
        let line = line!() + 1;
        let talking = spawn(async move { child.communicate(b"").await.map(|output| (output, child)) });
        sleep(ms(1)).await;
        let graph = call_graph();
        let task = graph.tasks.iter().find(|task| task.id == talking.id()).unwrap();
        assert_eq!(words(task), "something to read, ChildStdout, something to read, ChildStderr");
        for wait in &task.waits_for {
            assert!(wait.at.to_string().contains(&format!("tests/process.rs:{line}:")), "{}", wait.at);
        }
        talking.cancel();
        assert!(talking.await.unwrap_err().is_cancelled());
        assert_eq!(all_tasks().len(), 1);
    });
}

fn blocked_with_pipes() -> Child {
    let mut command = Command::new("sleep");
    command.arg("3600").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.kill_on_drop(true).spawn().unwrap()
}

/// A child of which nobody waits does not keep the loop from reporting a deadlock.
#[test]
fn report_a_deadlock_beside_a_child_that_runs() {
    watched(|| {
        let result = virtual_loop().try_run(async {
            let _child = blocked();
            pending::<()>().await;
        });
        assert!(matches!(result, Err(RunError::Deadlock(_))), "{result:?}");
    });
}

/// Both pipes are full at the same time.
#[test]
fn communicate_in_both_directions_at_once() {
    run(|| async {
        let input: Vec<u8> = (0..LARGE).map(|number| (number * 7 / 5) as u8).collect();
        let mut command = Command::shell("cat | tee /dev/stderr");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let output = child.communicate(&input).await.unwrap();
        assert!(output.stdout == input && output.stderr == input);
        assert!(child.stdin.is_none() && child.stdout.is_none() && child.stderr.is_none());
        // It has ended, and another call adds nothing.
        let output = child.communicate(b"").await.unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0));
    });
}

/// Other tasks run while a child writes as fast as it can.
#[test]
fn a_fast_child_does_not_keep_others_from_running() {
    run(|| async {
        let mut child = Command::new("cat").arg("/dev/zero").stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let id = child.id();
        let wait = child.wait();
        assert!(timeout(ms(20), child.communicate(b"")).await.is_err());
        drop(child);
        assert_eq!(wait.await.unwrap().signal(), Some(SIGKILL), "process {id}");
    });
}

#[test]
fn a_communicate_that_is_cancelled_loses_no_output() {
    run(|| async {
        let mut child = cat();
        let input: Vec<u8> = (0..LARGE).map(|number| (number * 7 / 5) as u8).collect();
        let mut begin = 0;
        let output = loop {
            let mut communicate = child.communicate(&input[begin..]);
            // Cancelled after some of its polls.
            let result = timeout(Duration::from_micros(200), &mut communicate).await;
            begin += communicate.written();
            drop(communicate);
            match result {
                Ok(output) => break output.unwrap(),
                Err(_) if begin == input.len() => {
                    break child.communicate(b"").await.unwrap();
                }
                Err(_) => {}
            }
        };
        assert!(output.stdout == input, "{} of {} bytes", output.stdout.len(), input.len());
    });
}

#[test]
fn refuse_input_for_a_child_without_a_pipe() {
    run(|| async {
        let mut child = blocked();
        let error = child.communicate(b"lost").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let id = child.id();
        assert_eq!(
            error.to_string(),
            format!(
                "process {id} (sleep) has no standard input to write to; start it with stdin(Stdio::piped()), and leave the pipe there"
            )
        );
        assert!(child.try_wait().unwrap().is_none());
    });
}

/// A process that the child has started has the same output, so this ends later than the child.
#[test]
fn read_the_output_of_a_grandchild() {
    run(|| async {
        let mut child =
            Command::shell("(sleep 0.02; echo grandchild) & echo child").stdout(Stdio::piped()).spawn().unwrap();
        assert_eq!(child.communicate(b"").await.unwrap().stdout, b"child\ngrandchild\n");
    });
}

#[test]
fn use_the_traits_of_futures_io() {
    run(|| async {
        let mut child = cat();
        let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        input.write_all(b"hello").await.unwrap();
        let mut word = [0; 5];
        output.read_exact(&mut word).await.unwrap();
        assert_eq!(&word, b"hello");
        // By reference, from two tasks.
        let book = vec![7; LARGE];
        let write = async {
            (&input).write_all(&book).await.unwrap();
            drop(input);
        };
        let mut copy = Vec::new();
        futures_util::join!(write, output.read_to_end(&mut copy)).1.unwrap();
        assert!(copy.len() == LARGE && child.wait().await.unwrap().success());
    });
}

#[test]
fn end_the_input_by_write_eof() {
    run(|| async {
        let mut child = cat();
        let mut input = child.stdin.take().unwrap().into_stream();
        let mut output = child.stdout.take().unwrap().into_stream();
        input.write_all(b"hello").await.unwrap();
        assert_eq!(input.peer_addr().unwrap_err().kind(), ErrorKind::Unsupported);
        input.write_eof().unwrap();
        assert_eq!(output.read_to_end().await.unwrap(), b"hello");
        assert!(child.wait().await.unwrap().success());
        let error = input.write_all(b"more").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        input.write_eof().unwrap();
        // The future of `close` still exists when the pipe is closed.
        let mut child = cat();
        let mut close = child.stdin.take().unwrap().into_stream().close();
        (&mut close).await.unwrap();
        assert!(child.wait().await.unwrap().success());
        drop(close);
    });
}

/// The pipe blocks again for the second program, as a program expects.
#[test]
fn connect_two_children_by_a_pipe() {
    run(|| async {
        let mut first = Command::shell("sleep 0.02; echo through two").stdout(Stdio::piped()).spawn().unwrap();
        let pipe = first.stdout.take().unwrap().into_inner().into_std().unwrap();
        let mut second = Command::new("cat").stdin(pipe).stdout(Stdio::piped()).spawn().unwrap();
        assert_eq!(second.communicate(b"").await.unwrap().stdout, b"through two\n");
        assert!(first.wait().await.unwrap().success());
    });
}

/// `output` and `status` leave the settings for a later `spawn` as they were.
#[test]
fn use_a_command_several_times() {
    run(|| async {
        let mut command = Command::shell("cat; echo trouble >&2; exit 3");
        let output = command.output().await.unwrap();
        assert_eq!((output.status.code(), &*output.stderr), (Some(3), &b"trouble\n"[..]));
        command.stderr(Stdio::null()).stdin(Stdio::null());
        assert_eq!(command.status().await.unwrap().code(), Some(3));
        assert_eq!(command.output().await.unwrap().stderr, b"");
        let child = command.spawn().unwrap();
        assert!(child.stdin.is_none() && child.stdout.is_none() && child.stderr.is_none());
        assert_eq!(child.wait().await.unwrap().code(), Some(3));
        // From the standard library's builder.
        let mut command = Command::from({
            let mut command = std::process::Command::new("sh");
            command.arg0("other").args(["-c", "echo $0"]);
            command
        });
        assert_eq!(command.output().await.unwrap().stdout, b"other\n");
        assert_eq!(command.as_std().get_program(), "sh");
    });
}

/// Pipes that `status` does not read are closed, so a child that writes does not wait for ever.
/// `output` pipes the outputs in any case: the other builder does not show whether they are set.
#[test]
fn keep_what_is_set_on_a_builder_of_the_standard_library() {
    run(|| async {
        let path = std::env::temp_dir().join(format!("onelane-set-on-std-{}", std::process::id()));
        let read = || std::fs::read_to_string(&path).unwrap();
        let file = || std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        std::fs::write(&path, "line\n").unwrap();
        let cat = || {
            let mut cat = std::process::Command::new("cat");
            cat.stdin(std::fs::File::open(&path).unwrap());
            cat
        };
        assert_eq!(Command::from(cat()).output().await.unwrap().stdout, b"line\n");

        let mut echo = std::process::Command::new("echo");
        echo.arg("more").stdout(file());
        let mut echo = Command::from(echo);
        assert!(echo.status().await.unwrap().success());
        assert!(echo.status().await.unwrap().success());
        assert_eq!(read(), "line\nmore\nmore\n");
        assert_eq!(echo.output().await.unwrap().stdout, b"more\n");
        assert_eq!(read(), "line\nmore\nmore\n");

        let mut echo = Command::new("echo");
        echo.arg("last").as_std_mut().stdout(file());
        assert!(echo.status().await.unwrap().success());
        assert_eq!(read(), "line\nmore\nmore\nlast\n");
        std::fs::remove_file(&path).unwrap();
    });
}

#[test]
fn ask_for_the_status_of_a_child_with_pipes() {
    run(|| async {
        let mut command = Command::shell("cat; yes 2>/dev/null; exit 3");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        assert_eq!(command.status().await.unwrap().code(), Some(3));
    });
}

#[test]
fn refuse_to_wait_in_another_loop() {
    watched(|| {
        let (first, second) = (EventLoop::new(), EventLoop::new());
        let child = first.run(async { blocked() });
        let message = panic_of(|| second.run(async { child.wait().await.unwrap() }));
        assert_eq!(
            message,
            "poll() of Child::wait() was called where its loop is not; await a process in the loop that started it"
        );
        // In its own loop again, in another run.
        child.kill().unwrap();
        assert_eq!(first.run(async { child.wait().await.unwrap() }).signal(), Some(SIGKILL));
        // The status is known, so it does not matter where it is asked for.
        assert_eq!(second.run(async { child.wait().await.unwrap() }).signal(), Some(SIGKILL));
        let message = panic_of(|| Command::new("true").spawn());
        assert!(message.starts_with("process::Command::spawn() was called, but there is no running event loop"));
    });
}

thread_local! {
    static WATCHED: Cell<Option<Child>> = const { Cell::new(None) };
}

/// User code in the drop of a waker takes the exit status, while a wait is polled.
#[test]
fn take_the_status_while_a_waker_is_dropped() {
    run(|| async {
        let mut child = cat();
        let (id, input, mut wait) = (child.id(), child.stdin.take(), child.wait());
        WATCHED.set(Some(child));
        let waker = foreign(|| {}, || assert!(WATCHED.take().unwrap().try_wait().unwrap().unwrap().success()));
        assert!(Pin::new(&mut wait).poll(&mut Context::from_waker(&waker)).is_pending());
        drop((waker, input));
        // Waits for the end, and leaves the status.
        let pid = Pid::from_raw(id.try_into().unwrap()).unwrap();
        waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).unwrap();
        match Pin::new(&mut wait).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(status)) => assert!(status.success()),
            other => panic!("{other:?}"),
        }
        assert!(WATCHED.take().is_none(), "the waker was not dropped");
    });
}

/// A stream of a child works like any other.
#[test]
fn read_lines_that_arrive_in_parts() {
    run(|| async {
        let mut child = cat();
        let mut output: StreamReader = child.stdout.take().unwrap().into_stream();
        let mut input = child.stdin.take().unwrap();
        for part in [&b"hal"[..], b"f a line", b"\nthe next\nand no"] {
            assert!(timeout(ms(1), output.read_line()).await.is_err());
            input.write_all(part).await.unwrap();
        }
        assert_eq!(output.read_line().await.unwrap(), b"half a line\n");
        assert_eq!(output.read_line().await.unwrap(), b"the next\n");
        assert!(timeout(ms(1), output.read_line()).await.is_err());
        drop(input);
        assert_eq!(output.read_line().await.unwrap(), b"and no");
        assert!(output.read_line().await.unwrap().is_empty() && output.at_eof());
    });
}

// ---- what is left behind ----

fn open_descriptors() -> usize {
    let folder = if Path::new("/proc/self/fd").exists() { "/proc/self/fd" } else { "/dev/fd" };
    std::fs::read_dir(folder).unwrap().count()
}

/// Whether this process has children, zombies included.
fn has_children() -> bool {
    // It takes the status of a zombie, so a test may ask only once.
    match wait(WaitOptions::NOHANG) {
        Ok(None) => true,
        Ok(Some(_)) => panic!("there was a zombie"),
        Err(error) => {
            assert_eq!(error, rustix::io::Errno::CHILD);
            false
        }
    }
}

/// No other test starts processes here, so only the loop takes the exit statuses.
#[test]
fn leave_no_zombie_and_no_descriptor() {
    alone("leave_no_zombie_and_no_descriptor", || {
        EventLoop::new().run(async {
            drop(Command::new("true").status().await);
            let before = open_descriptors();
            let mut inputs = Vec::new();
            let mut ids = Vec::new();
            for _ in 0..20 {
                let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
                inputs.extend(child.stdin.take());
                ids.push(child.id());
            }
            sleep(ms(1)).await;
            assert!(!ids.iter().any(|&id| is_gone(id)));
            // They end while nobody waits for them. The loop is idle meanwhile.
            drop(inputs);
            while !ids.iter().all(|&id| is_gone(id)) {
                sleep(ms(1)).await;
            }
            assert!(!has_children());
            assert_eq!(open_descriptors(), before);
        });
        // The same on a virtual clock, beside a task that waits for another child.
        virtual_loop().run(async {
            let mut child = cat();
            let mut other = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
            let (id, input) = (other.id(), other.stdin.take());
            drop(other);
            drop(input);
            let waiting = spawn(child.wait());
            while !is_gone(id) {
                sleep(ms(1)).await;
            }
            child.stdin = None;
            assert!(waiting.await.unwrap().unwrap().success());
            assert!(!has_children());
        });
    });
}

/// A process that is killed because its task is dropped with the loop. No later start is needed.
#[test]
fn leave_no_zombie_of_a_process_that_is_killed_with_its_loop() {
    alone("leave_no_zombie_of_a_process_that_is_killed_with_its_loop", || {
        let held = EventLoop::new().run(async {
            let blocked = || Command::new("sleep").arg("3600").kill_on_drop(true).spawn().unwrap();
            let (in_a_task, killed, held) = (blocked(), blocked(), blocked());
            drop(spawn(async move { in_a_task.wait().await }));
            yield_now().await;
            killed.kill().unwrap();
            held
        });
        assert!(held.try_wait().unwrap().is_none());
        // Its loop has gone already.
        drop(held);
        assert!(!has_children());
    });
}

/// A loop that is never idle does not poll for orphans; the start of a child looks for them.
#[test]
fn leave_no_zombies_in_a_busy_loop() {
    alone("leave_no_zombies_in_a_busy_loop", || {
        EventLoop::new().run(async {
            let mut ids = Vec::new();
            for _ in 0..5 {
                ids.push(Command::new("true").spawn().unwrap().id());
            }
            while !ids.iter().all(|&id| is_gone(id)) {
                yield_now().await;
                assert!(Command::new("/no/such/program").spawn().is_err());
            }
            assert!(!has_children());
        });
    });
}

/// While the program is out of descriptors, each step of a start fails in turn. No process is left.
#[test]
fn fail_at_each_step_of_a_start() {
    alone("fail_at_each_step_of_a_start", || {
        EventLoop::new().run(async {
            assert!(Command::new("true").status().await.unwrap().success());
            let before = open_descriptors();
            // The pidfd, and six ends of three pipes. Descriptors that the program has inherited may
            // stand between, so that more attempts fail.
            assert!(start_with_few_descriptors(blocked_command, before).await >= 7);
            // Without pipes, only the pidfd fails.
            let inheriting = || {
                let mut command = Command::new("sleep");
                command.arg("3600");
                command
            };
            assert!(start_with_few_descriptors(inheriting, before).await >= 1);
            assert_eq!(open_descriptors(), before);
        });
    });
}

/// Starts the command with room for no descriptor, for one, and so on. Returns how many starts have
/// failed; the following ones have not.
async fn start_with_few_descriptors(command: impl Fn() -> Command, before: usize) -> u32 {
    use rlimit::Resource;
    let (limit, maximum) = Resource::NOFILE.get().unwrap();
    let mut has_started = false;
    let mut failures = 0;
    for room in 0..40 {
        let next = std::os::fd::AsRawFd::as_raw_fd(&std::fs::File::open("/").unwrap()) as u64;
        Resource::NOFILE.set(next + room, maximum).unwrap();
        let started = command().spawn();
        Resource::NOFILE.set(limit, maximum).unwrap();
        match started {
            Ok(child) => {
                has_started = true;
                child.kill().unwrap();
                assert_eq!(child.wait().await.unwrap().signal(), Some(SIGKILL));
            }
            Err(error) => {
                assert!(!has_started, "it fails with more room: {error}");
                assert!(!has_children(), "a process was started, although the start fails: {error}");
                failures += 1;
            }
        }
        assert!(open_descriptors() <= before + 2, "{} descriptors, {room}", open_descriptors());
    }
    assert!(has_started, "{failures}");
    failures
}

fn blocked_command() -> Command {
    let mut command = Command::new("sleep");
    command.arg("3600").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}
