//! Measures the growth of the resident memory of a process.
//!
//! Each sample is taken in a new process: this program, with an argument that `--help` does not
//! list. A process that has done other work would reuse memory that it has freed, and this would
//! not be counted. If the system does not report resident memory, there are no samples. Python's
//! children are new processes too, and read the same file (`python.rs`).

use crate::measure;
use onelane_cases::{Case, Meter, Size};
use onelane_peers::runtimes;
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::fs;
use std::process::{Command, ExitCode, Stdio};

/// The argument for a child process; runtime, case, width and rounds follow.
const ARGUMENT: &str = "--resident-sample";

/// A file with sizes in pages. The second number is the resident memory.
const STATM: &str = "/proc/self/statm";

/// The running program, even if its file has been replaced since it started.
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
/// Returns an error if the system does not report it.
pub(crate) fn bytes() -> Result<u64, String> {
    let text = fs::read_to_string(STATM).map_err(|error| format!("{STATM} cannot be read: {error}"))?;
    let pages: Option<u64> = text.split_whitespace().nth(1).and_then(|pages| pages.parse().ok());
    Ok(pages.ok_or_else(|| format!("{STATM} has an unknown format: {text:?}"))? * page_size())
}

#[allow(unsafe_code)]
fn page_size() -> u64 {
    // SAFETY: `sysconf` takes a number and returns a number.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(size).expect("the system reports its page size")
}

/// Takes one sample in a child process. Otherwise like [`measure::sample`].
pub(crate) fn sample(runtime: &str, case: &Case, size: Size) -> Result<f64, String> {
    let output = Command::new(PROGRAM)
        .args([ARGUMENT, runtime, case.id, &size.width.to_string(), &size.rounds.to_string()])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{PROGRAM} cannot be started: {error}"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        let last = errors.trim().lines().last().unwrap_or("it printed no error").to_owned();
        return Err(format!("its process ended with {}: {last}", output.status));
    }
    let Answer { value, done } = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("cannot parse the output of its process: {error}"))?;
    measure::check(done, size).map(|()| value)
}

/// Takes the sample, if this process is such a child.
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
