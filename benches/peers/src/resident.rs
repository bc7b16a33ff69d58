//! Memory as the system sees it: by how much the resident memory of a process grows.
//!
//! Each sample is taken in a process of its own, which is this program, started with an argument that `--help` does not tell of. In one
//! that has done other work before, memory that was freed would be used again, and not be seen. Where the system does not tell what is
//! resident, there are no samples. Python's children are fresh ones too, and read the same file (`python.rs`).

use crate::measure;
use crate::runtimes;
use onelane_cases::{Case, Meter, Size};
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::fs;
use std::process::{Command, ExitCode, Stdio};

/// The argument that makes a child of the program: runtime, case, width and rounds follow.
const ARGUMENT: &str = "--resident-sample";

/// Sizes in pages; the second is what is resident.
const STATM: &str = "/proc/self/statm";

/// The program that runs, even if its file has been replaced since.
const PROGRAM: &str = "/proc/self/exe";

#[derive(Serialize, Deserialize)]
struct Answer {
    value: f64,
    done: u64,
}

thread_local! {
    static START: Cell<Option<u64>> = const { Cell::new(None) };
    static STOP: Cell<Option<u64>> = const { Cell::new(None) };
}

const METER: Meter = Meter { start: || START.set(bytes().ok()), stop: || STOP.set(bytes().ok()) };

/// The resident memory of this process.
///
/// # Errors
///
/// If the system does not tell.
pub(crate) fn bytes() -> Result<u64, String> {
    let text = fs::read_to_string(STATM).map_err(|error| format!("{STATM} cannot be read: {error}"))?;
    let pages: Option<u64> = text.split_whitespace().nth(1).and_then(|pages| pages.parse().ok());
    Ok(pages.ok_or_else(|| format!("{STATM} says {text:?}"))? * page_size())
}

#[allow(unsafe_code)]
fn page_size() -> u64 {
    // SAFETY: it takes a number and gives a number.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(size).expect("a system with pages knows their size")
}

/// One sample, taken by a child. As [`measure::sample`].
pub(crate) fn sample(runtime: &str, case: &Case, size: Size) -> Result<f64, String> {
    let output = Command::new(PROGRAM)
        .args([ARGUMENT, runtime, case.id, &size.width.to_string(), &size.rounds.to_string()])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{PROGRAM} cannot be started: {error}"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        let last = errors.trim().lines().last().unwrap_or("it says nothing").to_owned();
        return Err(format!("its process ended with {}: {last}", output.status));
    }
    let Answer { value, done } =
        serde_json::from_slice(&output.stdout).map_err(|error| format!("its process answers nonsense: {error}"))?;
    measure::check(done, size).map(|()| value)
}

/// Does what a child is started for, if this process is one.
pub(crate) fn child() -> Option<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next()? != ARGUMENT {
        return None;
    }
    Some(match answer(&arguments.collect::<Vec<_>>()) {
        Ok(answer) => {
            println!("{answer}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    })
}

fn answer(arguments: &[String]) -> Result<String, String> {
    let [runtime, case, width, rounds] = arguments else {
        return Err(format!("{ARGUMENT} is for this program's own children"));
    };
    let number = |text: &str| text.parse().map_err(|error| format!("{text}: {error}"));
    let size = Size { width: number(width)?, rounds: number(rounds)? };
    let work = runtimes::work(runtime, case).ok_or_else(|| format!("{runtime} has no case {case}"))?;
    let done = work(size, METER);
    let (Some(start), Some(stop)) = (START.take(), STOP.take()) else {
        return Err("it has not told the meter of its beginning and its end".into());
    };
    let value = stop as f64 - start as f64;
    serde_json::to_string(&Answer { value, done }).map_err(|error| error.to_string())
}
