//! Runs a server for a long time. Checks that its memory does not grow, and that its descriptors
//! are closed when its clients have gone.
//!
//! About every ten seconds, `wrk` reconnects with all connections, so that connections are opened
//! and closed too.

use crate::limits;
use crate::options::{Candidate, Case, Load, Soak};
use crate::pins::Pins;
use crate::process::Process;
use crate::server::Server;
use crate::statistics::median;
use crate::wrk::Run;
use anyhow::{Result, ensure};
use std::thread::sleep;
use std::time::Duration;

const CONNECTIONS: u32 = 1000;
const CASE: Case = Case { load: Load::Small, connections: CONNECTIONS };

/// Duration of one run of `wrk`, in seconds.
const VISIT: u32 = 10;

/// Number of readings that are printed at the beginning and at the end.
const SHOWN: usize = 10;

/// The memory counts as constant if its growth in the second half is less than this part, or less
/// than this number of kilobytes.
const STAYS: (f64, f64) = (0.01, 256.0);

/// The results.
#[derive(Default)]
struct Seen {
    /// Resident kilobytes in each second while `wrk` ran.
    resident: Vec<f64>,
    most_descriptors: usize,
    requests: u64,
    failed: u64,
}

/// # Errors
///
/// Returns an error if memory grows, a descriptor stays open, or a request fails.
pub(crate) fn soak(plan: &Soak) -> Result<()> {
    crate::wrk::version()?;
    let pins = Pins::find();
    limits::ensure_room_for(CONNECTIONS)?;
    let candidate = Candidate { name: plan.runtime.name(), runtime: plan.runtime, program: None };
    let mut server = Server::start(candidate, pins)?;
    let process = server.process();
    let (descriptors, idle) = (process.descriptors()?, process.memory()?);
    println!("{}, {} s, {CONNECTIONS} connections; idle: {} kB resident", plan.runtime, plan.seconds, idle.now);

    let mut seen = Seen::default();
    let mut left = plan.seconds;
    while left > 0 {
        // The last run takes the remaining time too.
        let seconds = if left < 2 * VISIT { left } else { VISIT };
        visit(&mut seen, &process, Run::start(pins, server.port(), CASE, seconds)?)?;
        server.ensure_it_runs()?;
        left -= seconds;
    }
    let kept = process.settle(descriptors)?;
    seen.print(process.memory()?.now);
    println!("descriptors: idle {descriptors}, at most {}, at the end {kept}", seen.most_descriptors);
    println!("requests: {}, of which {} failed", seen.requests, seen.failed);

    let (growth, allowed) = growth(&seen.resident);
    ensure!(
        growth <= allowed,
        "memory grows: by {growth:.0} kB in the second half; at most {allowed:.0} kB are allowed"
    );
    ensure!(kept == descriptors, "{kept} descriptors are open at the end, and {descriptors} were open at the start");
    ensure!(seen.failed == 0, "{} requests failed", seen.failed);
    Ok(())
}

/// Reads memory and descriptors every second, until `wrk` has ended.
fn visit(seen: &mut Seen, process: &Process, mut run: Run) -> Result<()> {
    loop {
        sleep(Duration::from_secs(1));
        if run.has_ended()? {
            break;
        }
        seen.resident.push(process.memory()?.now as f64);
        seen.most_descriptors = seen.most_descriptors.max(process.descriptors()?);
    }
    let load = run.finish()?;
    seen.requests += load.requests;
    seen.failed += load.socket_errors + load.bad_answers;
    Ok(())
}

impl Seen {
    fn print(&self, after: u64) {
        let (first, rest) = self.resident.split_at(SHOWN.min(self.resident.len()));
        let last = &rest[rest.len().saturating_sub(SHOWN)..];
        println!("resident, kB, first seconds:{}", show(first));
        println!("              last seconds:{}; without clients: {after}", show(last));
    }
}

pub(crate) fn show(kilobytes: &[f64]) -> String {
    kilobytes.iter().map(|value| format!(" {value:.0}")).collect()
}

/// Compares the third and the fourth quarter of the time, by medians. Returns the growth, and the
/// allowed growth.
pub(crate) fn growth(resident: &[f64]) -> (f64, f64) {
    let half = &resident[resident.len() / 2..];
    let (before, after) = half.split_at(half.len() / 2);
    let (before, after) = (median(before), median(after));
    (after - before, STAYS.1.max(before * STAYS.0))
}

#[cfg(test)]
mod tests {
    use super::growth;

    #[test]
    fn what_grows_at_first_may() {
        let resident = (0..100).map(|second| f64::from(second.min(50)) * 1000.0);
        assert_eq!(growth(&resident.collect::<Vec<_>>()), (0.0, 500.0));
    }

    #[test]
    fn what_grows_on_is_seen() {
        let (growth, allowed) = growth(&(0..100).map(|second| 4000.0 + f64::from(second) * 20.0).collect::<Vec<_>>());
        assert_eq!((growth, allowed), (500.0, 256.0));
    }
}
