//! Counts instructions: runs this program under callgrind, once per case and size, with one process
//! per core.
//!
//! A count must be the same in each run. So a run has no environment, and arguments of the same
//! length. The C library uses its functions for the simplest processor, and the clock is that of
//! `clock.rs`. Callgrind lays out memory in the same way each time.

use crate::plan::{self, Entry};
use anyhow::{Context, Result, ensure};
use onelane_cases::{Meter, Size, Work};
use std::hint::black_box;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// The first argument of a process whose instructions are counted.
pub(crate) const CHILD: &str = "count";

/// The instruction counts of an entry at its two sizes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Count {
    small: u64,
    large: u64,
    /// Number of operations that the large size has in addition.
    operations: u64,
}

impl Count {
    pub(crate) fn per_operation(self) -> f64 {
        (self.large as f64 - self.small as f64) / self.operations as f64
    }
}

/// Says which tool is missing, and how to install it.
pub(crate) fn missing() -> Option<&'static str> {
    let found = Command::new("valgrind").arg("--version").output().is_ok_and(|output| output.status.success());
    if found { None } else { Some("valgrind is not installed (on Debian: apt-get install valgrind)") }
}

/// Returns the counts of the entries, in their order.
pub(crate) fn all(entries: &[Entry]) -> Result<Vec<Count>> {
    // For each entry a run of the small size, then a run of the large size.
    let runs = 2 * entries.len();
    let next = AtomicUsize::new(0);
    let counts = Mutex::new(vec![0; runs]);
    let worker = || -> Result<()> {
        loop {
            let run = next.fetch_add(1, Ordering::Relaxed);
            if run >= runs {
                return Ok(());
            }
            let entry = &entries[run / 2];
            let count = one(entry, if run % 2 == 0 { entry.small } else { entry.large })
                .with_context(|| format!("counting {} on {}", entry.case, entry.runtime))?;
            counts.lock().unwrap()[run] = count;
        }
    };
    thread::scope(|scope| {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().unwrap())
    })?;
    let counts = counts.into_inner().unwrap();
    let count = |(entry, counts): (&Entry, &[u64])| Count {
        small: counts[0],
        large: counts[1],
        operations: entry.large.operations() - entry.small.operations(),
    };
    Ok(entries.iter().zip(counts.chunks(2)).map(count).collect())
}

/// Runs the entry at this size under callgrind, and returns the number of instructions.
fn one(entry: &Entry, size: Size) -> Result<u64> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", COLLECT])
        .arg(std::env::current_exe()?)
        .arg(CHILD)
        .args([format!("{:20}", entry.case), format!("{:10}", entry.runtime)])
        .args([format!("{:10}", size.width), format!("{:10}", size.rounds)])
        .env_clear()
        .env("PATH", path)
        .env("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-AVX,-AVX2,-AVX512F,-AVX512VL,-AVX512BW,-ERMS,-FSRM,-SSSE3")
        .output()
        .context("starting valgrind")?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "it failed:\n{text}");
    // `==123== Collected : 4567`
    let count = text.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    count.with_context(|| format!("the output of callgrind has no line `Collected`:\n{text}"))
}

/// Runs the measured work. The arguments are a case, a runtime, a width and rounds, padded with
/// spaces.
pub(crate) fn work(arguments: &[String]) -> Result<()> {
    let arguments: Vec<&str> = arguments.iter().map(|argument| argument.trim()).collect();
    let [case, runtime, width, rounds] = arguments[..] else {
        anyhow::bail!("`{CHILD}` takes a case, a runtime, a width and rounds; it got {arguments:?}");
    };
    let size = Size { width: width.parse()?, rounds: rounds.parse()? };
    let entry = plan::entries().into_iter().find(|entry| (entry.case, entry.runtime) == (case, runtime));
    let work = entry.with_context(|| format!("there is no {case} on {runtime}"))?.work;
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
