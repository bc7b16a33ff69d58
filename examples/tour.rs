//! A tour of onelane in ten seconds. It runs the five seed programs, each with its output, its
//! time, and a picture of what the loop did.
//!
//! ```text
//! cargo run --example tour
//! # Also writes a trace of each program, for Perfetto.
//! cargo run --features probe --example tour -- --trace FOLDER
//! # Also writes a page that replays the programs step by step in a browser.
//! cargo run --features replay --example tour -- --html tour.html
//! ```
//!
//! The bodies of the tasks are those of `seed_gather.rs` and its four siblings. The main tasks are
//! the same too, except that each future is wrapped in a [`Recorder`], which records its steps
//! (`tour/recorder.rs`). `tour/timeline.rs` draws them.

#[path = "tour/recorder.rs"]
mod recorder;
#[path = "tour/timeline.rs"]
mod timeline;
#[path = "tour/trace.rs"]
mod trace;

#[path = "seed_callback.rs"]
#[expect(dead_code, reason = "its `main` is not used, because it has no recorder")]
mod seed_callback;
#[path = "seed_gather.rs"]
#[expect(dead_code, reason = "its `main` is not used, because it has no recorder")]
mod seed_gather;
#[path = "seed_introspect.rs"]
#[expect(dead_code, reason = "its `main` is not used, because it has no recorder")]
mod seed_introspect;
#[path = "seed_timeout.rs"]
#[expect(dead_code, reason = "its `main` is not used, because it has no recorder")]
mod seed_timeout;
#[path = "seed_wait.rs"]
#[expect(dead_code, reason = "its `main` is not used, because it has no recorder")]
mod seed_wait;

use onelane::{EventLoop, TaskError, all_tasks, current_task, gather, spawn, task, wait};
use recorder::{Column, Kind, Recorder, Recording, State};
use std::process::ExitCode;
use std::time::Duration;

/// One stop of the tour.
struct Stop {
    name: &'static str,
    what: &'static str,
    look_for: &'static str,
    run: fn(&Recorder) -> Result<(), TaskError>,
}

const STOPS: [Stop; 5] = [
    Stop {
        name: "gather",
        what: "many at once, and all their results",
        look_for: "all four begin before the first ends, and all four sleep at the same time",
        run: run_gather,
    },
    Stop {
        name: "wait",
        what: "the same, for tasks that were spawned by hand",
        look_for: "the same picture: gather only spawns for you, and gives values where wait gives tasks",
        run: run_wait,
    },
    Stop {
        name: "callback",
        what: "a function that is called when a task has ended",
        look_for: "the callbacks come after the tasks' ends, one by one, while no task runs; then main",
        run: run_callback,
    },
    Stop {
        name: "timeout",
        what: "waiting, but not for ever",
        look_for: "main goes on after 2.5 s with two tasks done; the other two are cancelled when it ends",
        run: run_timeout,
    },
    Stop {
        name: "introspect",
        what: "who runs, who is alive, and two mistakes",
        look_for: "each task knows its name; a loop inside of a loop is refused, and so is asking for none",
        run: run_introspect,
    },
];

const BEFORE: &str = "\
onelane in five programs
========================

One thread, one loop, many tasks. Each program below starts four tasks that sleep for seconds.
A row of a picture is a task. A narrow column is a step of the loop: one task runs, others wait.
A wide column is the loop at rest: all sleep, the clock moves, and the thread is parked.";

const AFTER: &str = "\
What to read next
-----------------

  examples/seed_gather.rs   and its four siblings: the programs, without the recorder
  src/kernel/mod.rs         the loop: a picture of one turn, and the turn
  docs/architecture.md      the parts, and what each does not know
  cargo test                what is promised, each promise with its test";

fn main() -> ExitCode {
    if let Err(problem) = trace::read_arguments() {
        eprintln!("tour: {problem}");
        return ExitCode::FAILURE;
    }
    println!("{BEFORE}");
    for (nth, stop) in STOPS.iter().enumerate() {
        if let Err(problem) = show(nth + 1, stop) {
            eprintln!("tour: {}: {problem}", stop.name);
            return ExitCode::FAILURE;
        }
    }
    trace::finish();
    println!("\n{AFTER}");
    ExitCode::SUCCESS
}

/// Prints what to look for, runs the program, which prints its own output, and draws what it did.
fn show(number: usize, stop: &Stop) -> Result<(), String> {
    let heading = format!("{number}. {}: {}", stop.name, stop.what);
    println!("\n{heading}\n{}", "-".repeat(heading.len()));
    println!("Look for: {}.\n", stop.look_for);
    let recorder = Recorder::new();
    (stop.run)(&recorder).map_err(|error| error.to_string())?;
    let recording = recorder.recording();
    check(&recording)?;
    let (took, asleep) = (recording.took.as_secs_f64(), recording.asleep.as_secs_f64());
    println!("\nTook {took:.2} s. One after the other, the same sleeps would take {asleep:.2} s.\n");
    for line in timeline::draw(&recording) {
        println!("{line}");
    }
    Ok(())
}

/// Checks that the recording shows what the tour claims: that tasks sleep at the same time, and
/// that this saves time.
fn check(recording: &Recording) -> Result<(), String> {
    let Recording { rows, columns, took, asleep } = recording;
    for (row, name) in rows.iter().enumerate() {
        if !columns.iter().any(|column| column.states.get(row) == Some(&State::Running)) {
            return Err(format!("{name} never ran"));
        }
    }
    // Main sleeps with its tasks.
    let sleepers = |column: &Column| column.states.iter().filter(|&&state| state == State::Asleep).count();
    let most = columns.iter().filter(|column| column.kind == Kind::Rest).map(sleepers).max().unwrap_or(0);
    if most != 5 {
        return Err(format!("main and four tasks should sleep at the same time, but {most} did"));
    }
    if took >= asleep {
        return Err(format!("it took {took:?}, and one after the other would take {asleep:?}: nothing was gained"));
    }
    Ok(())
}

fn run_gather(recorder: &Recorder) -> Result<(), TaskError> {
    trace::run(
        "gather",
        recorder.main(async {
            let mut tasks = Vec::new();
            for i in 1..5 {
                tasks.push(recorder.task(format!("func1({i})"), seed_gather::func1(i)));
            }
            gather(tasks).await?;
            Ok(())
        }),
    )
}

fn run_wait(recorder: &Recorder) -> Result<(), TaskError> {
    trace::run(
        "wait",
        recorder.main(async {
            let mut tasks = Vec::new();
            for i in 1..5 {
                tasks.push(spawn(recorder.task(format!("func1({i})"), seed_wait::func1(i))));
            }
            wait(tasks).await;
            Ok(())
        }),
    )
}

fn run_callback(recorder: &Recorder) -> Result<(), TaskError> {
    trace::run(
        "callback",
        recorder.main(async {
            let mut tasks = Vec::new();
            for i in 1..5 {
                let task = spawn(recorder.task(format!("func1({i})"), seed_callback::func1(i)));
                let recorder = recorder.clone();
                task.add_done_callback(move |task| recorder.call(|| seed_callback::callback(task)));
                tasks.push(task);
            }
            wait(tasks).await;
            Ok(())
        }),
    )
}

fn run_timeout(recorder: &Recorder) -> Result<(), TaskError> {
    trace::run(
        "timeout",
        recorder.main(async {
            let spawn = |i| named(recorder, i, seed_timeout::func1(i));
            let tasks: Vec<_> = (1..5).map(spawn).collect();
            let (done, pending) = wait(tasks).timeout(Duration::from_millis(2500)).await;
            println!("done: {} {:?}", seed_timeout::names(&done), seed_timeout::results(&done)?);
            println!("pending: {}", seed_timeout::names(&pending));
            Ok(())
        }),
    )
}

fn run_introspect(recorder: &Recorder) -> Result<(), TaskError> {
    trace::run(
        "introspect",
        recorder.main(async {
            let spawn = |i| named(recorder, i, seed_introspect::func1(i));
            let tasks: Vec<_> = (1..5).map(spawn).collect();
            println!("未完成: {}", all_tasks().len());
            println!("结果: {:?}", gather(tasks).await?);
            println!("未完成: {}", all_tasks().len());
            current_task().unwrap().set_name("主任务");
            println!("当前任务: {}", current_task().unwrap().name());
            if let Err(error) = onelane::try_run(seed_introspect::func1(5)) {
                println!("RuntimeError: {error}");
            }
            Ok(())
        }),
    )?;
    if let Err(error) = EventLoop::try_current() {
        println!("RuntimeError: {error}");
    }
    Ok(())
}

/// A task that has the same name in the loop and in the picture.
fn named<F: Future + 'static>(recorder: &Recorder, i: u64, future: F) -> onelane::Task<F::Output> {
    let name = format!("任务{i}");
    task::Builder::new().name(name.as_str()).spawn(recorder.task(name, future))
}
