//! Counts instructions: runs this program under callgrind, once per case and size, with one process
//! per core.
//!
//! A count must be the same in each run. So a run has no environment variables, and its arguments
//! always have the same length. The C library uses its functions for the simplest processor, and
//! `clock.rs` replaces the clock. Callgrind lays out memory in the same way each time.

use crate::{Entry, clock};
use anyhow::{Context, Result, bail, ensure};
use onelane_cases::{Meter, Size, Work};
use std::hint::black_box;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// The first argument of a process whose instructions are counted.
const CHILD: &str = "count";

/// What callgrind counts in a run.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Run {
    instructions: u64,
    system_calls: u64,
}

/// The counts of an entry at its two sizes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Count {
    small: Run,
    large: Run,
    /// Number of operations that the large size has in addition.
    operations: u64,
}

impl Count {
    /// The number of instructions of an operation, without those of the kernel.
    pub fn instructions(self) -> f64 {
        self.per_operation(|run| run.instructions)
    }

    /// The number of system calls of an operation.
    pub fn system_calls(self) -> f64 {
        self.per_operation(|run| run.system_calls)
    }

    fn per_operation(self, number: impl Fn(Run) -> u64) -> f64 {
        (number(self.large) as f64 - number(self.small) as f64) / self.operations as f64
    }
}

/// Says which tool is missing, and how to install it.
pub fn missing() -> Option<&'static str> {
    let found = Command::new("valgrind").arg("--version").output().is_ok_and(|output| output.status.success());
    if found { None } else { Some("valgrind is not installed (on Debian: apt-get install valgrind)") }
}

/// Returns the counts of the entries, in their order.
pub fn all(entries: &[Entry]) -> Vec<Result<Count>> {
    // For each entry a run of the small size, then a run of the large size.
    let runs: Vec<(&Entry, Size)> =
        entries.iter().flat_map(|entry| [(entry, entry.small), (entry, entry.large)]).collect();
    let results: Vec<Mutex<Result<Run>>> = runs.iter().map(|_| Mutex::new(Ok(Run::default()))).collect();
    let next = AtomicUsize::new(0);
    let worker = || {
        loop {
            let run = next.fetch_add(1, Ordering::Relaxed);
            let Some(&(entry, size)) = runs.get(run) else { return };
            *results[run].lock().unwrap() = one(entry, size);
        }
    };
    thread::scope(|scope| {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..cores {
            scope.spawn(worker);
        }
    });
    let mut results = results.into_iter().map(|result| result.into_inner().unwrap());
    let count = |entry: &Entry| {
        let (small, large) = (results.next().unwrap(), results.next().unwrap());
        let operations = entry.large.operations() - entry.small.operations();
        Ok(Count { small: small?, large: large?, operations })
    };
    entries.iter().map(count).collect()
}

/// Runs the entry at this size under callgrind.
fn one(entry: &Entry, size: Size) -> Result<Run> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-systime=yes", COLLECT])
        .arg(std::env::current_exe()?)
        .arg(CHILD)
        .args([format!("{:20}", entry.case), format!("{:20}", entry.runtime)])
        .args([format!("{:10}", size.width), format!("{:10}", size.rounds)])
        .env_clear()
        .env("PATH", path)
        .env("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-AVX,-AVX2,-AVX512F,-AVX512VL,-AVX512BW,-ERMS,-FSRM,-SSSE3")
        .output()
        .context("starting valgrind")?;
    let text = String::from_utf8_lossy(&output.stderr);
    // Callgrind's own lines begin with `==`.
    let said = || text.lines().filter(|line| !line.starts_with("==")).collect::<Vec<_>>().join(" ");
    ensure!(output.status.success(), "it ended with {}: {}", output.status, said().trim());
    // `==123== Collected : 4567`, and if there were system calls, their number and their time.
    let counts = text.lines().find_map(|line| Some(line.split_once("Collected :")?.1));
    let counts = counts.with_context(|| format!("the output of callgrind has no line `Collected`:\n{text}"))?;
    let mut counts = counts.split_whitespace().map(str::parse);
    let mut next = || counts.next().unwrap_or(Ok(0)).with_context(|| format!("a count is not a number:\n{text}"));
    Ok(Run { instructions: next()?, system_calls: next()? })
}

/// If this process was started to be counted, does the work. `find` returns the work of a case on a
/// runtime.
pub fn child(find: impl FnOnce(&str, &str) -> Option<Work>) -> Option<Result<()>> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next()? != CHILD {
        return None;
    }
    let arguments: Vec<String> = arguments.map(|argument| argument.trim().to_owned()).collect();
    Some(work(&arguments, find))
}

/// Runs the measured work. The arguments are a case, a runtime, a width and rounds, padded with
/// spaces.
fn work(arguments: &[String], find: impl FnOnce(&str, &str) -> Option<Work>) -> Result<()> {
    let [case, runtime, width, rounds] = arguments else {
        bail!("`{CHILD}` takes a case, a runtime, a width and rounds; it got {arguments:?}");
    };
    ensure!(clock::is_read(), "the program reads the system's clock; its root must call `replace_the_clock!`");
    let size = Size { width: width.parse()?, rounds: rounds.parse()? };
    let work = find(case, runtime).with_context(|| format!("there is no {case} on {runtime}"))?;
    let done = measured(work, size);
    ensure!(done == size.operations(), "{case} on {runtime}: {done} operations of {}", size.operations());
    Ok(())
}

/// Counts only within `measured`. The code before `main` depends on the address of the stack, which
/// differs between runs.
const COLLECT: &str = "--toggle-collect=onelane_instructions::count::measured*";

#[inline(never)]
fn measured(work: Work, size: Size) -> u64 {
    // `black_box` prevents a tail call, which would end `measured` for callgrind at once.
    black_box(work(black_box(size), Meter::NONE))
}
