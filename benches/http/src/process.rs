//! Reads CPU time, memory and open descriptors of a running process from `/proc` on Linux. It does
//! not know which process this is.

use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a server may take to close its connections after the clients have gone.
const GRACE: Duration = Duration::from_secs(2);

/// A process, identified by its folder in `/proc`.
pub(crate) struct Process {
    folder: PathBuf,
}

/// Memory in units of 1,024 bytes, as the system reports it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Memory {
    /// `VmRSS`: the resident memory now.
    pub(crate) now: u64,
    /// `VmHWM`: the maximum of the resident memory.
    pub(crate) peak: u64,
}

impl Process {
    pub(crate) fn new(id: u32) -> Self {
        Process { folder: format!("/proc/{id}").into() }
    }

    /// CPU time in seconds since the process began, in user code and in the kernel.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        let ticks = ticks(&self.read("stat")?).context("/proc/PID/stat has an unknown format")?;
        Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }

    pub(crate) fn memory(&self) -> Result<Memory> {
        memory(&self.read("status")?).context("/proc/PID/status has an unknown format")
    }

    pub(crate) fn descriptors(&self) -> Result<usize> {
        let folder = self.folder.join("fd");
        Ok(fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?.count())
    }

    /// Waits until this number of descriptors is open, up to a time limit. Returns the number of
    /// open descriptors.
    pub(crate) fn settle(&self, descriptors: usize) -> Result<usize> {
        let begun = Instant::now();
        loop {
            let open = self.descriptors()?;
            if open == descriptors || begun.elapsed() > GRACE {
                return Ok(open);
            }
            sleep(Duration::from_millis(10));
        }
    }

    fn read(&self, name: &str) -> Result<String> {
        let file = self.folder.join(name);
        fs::read_to_string(&file).with_context(|| format!("reading {}; has the process ended?", file.display()))
    }
}

/// Adds `utime` and `stime`, the fields 14 and 15. The second field is the name in brackets, and
/// the name may contain brackets and spaces.
fn ticks(stat: &str) -> Option<u64> {
    let (_, from_third) = stat.rsplit_once(')')?;
    let mut fields = from_third.split_whitespace().skip(11).map(|field| field.parse::<u64>().ok());
    Some(fields.next()?? + fields.next()??)
}

fn memory(status: &str) -> Option<Memory> {
    let kilobytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix(" kB")?.parse().ok()
    };
    Some(Memory { now: kilobytes("VmRSS")?, peak: kilobytes("VmHWM")? })
}

#[cfg(test)]
mod tests {
    use super::{Memory, Process, memory, ticks};

    #[test]
    fn ticks_are_found_behind_any_name() {
        let stat = "17 (a (b) c) S 1 17 17 0 -1 4194560 120 0 0 0 250 31 0 0 20 0 1 0 4711 8000000 900";
        assert_eq!(ticks(stat), Some(281));
        assert_eq!(ticks("17 (cut off) S 1 17"), None);
    }

    #[test]
    fn memory_is_found_among_the_rest() {
        let status = "Name:\tserver\nVmPeak:\t    9000 kB\nVmHWM:\t    4100 kB\nVmRSS:\t    4000 kB\nThreads:\t1\n";
        assert_eq!(memory(status), Some(Memory { now: 4000, peak: 4100 }));
        assert_eq!(memory("Name:\tzombie\n"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_process_can_look_at_itself() {
        let process = Process::new(std::process::id());
        let memory = process.memory().unwrap();
        assert!(0 < memory.now && memory.now <= memory.peak, "{memory:?}");
        assert!(process.cpu_seconds().unwrap() >= 0.0);
        assert!(process.descriptors().unwrap() >= 3);
    }
}
