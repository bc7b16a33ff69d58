//! A server for a long time: does its memory stay as it is, and do its descriptors go when its clients do?
//!
//! `wrk` comes anew every ten seconds or so, with all its connections, so that also those come and go.

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

/// A visit of `wrk` is that long.
const VISIT: u32 = 10;

/// So many seconds are printed at the beginning and at the end.
const SHOWN: usize = 10;

/// Memory that grows by less than this part in the second half of the time, or by less than so many kilobytes, stays as it is.
const STAYS: (f64, f64) = (0.01, 256.0);

/// What was seen.
#[derive(Default)]
struct Seen {
    /// Kilobytes of each second in which `wrk` was there.
    resident: Vec<f64>,
    most_descriptors: usize,
    requests: u64,
    failed: u64,
}

/// # Errors
///
/// If memory grows, a descriptor stays, or a request fails.
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
        // What is left over goes with the last visit.
        let seconds = if left < 2 * VISIT { left } else { VISIT };
        visit(&mut seen, &process, Run::start(pins, server.port(), CASE, seconds)?)?;
        server.ensure_it_runs()?;
        left -= seconds;
    }
    let kept = process.settle(descriptors)?;
    seen.print(process.memory()?.now);
    println!("descriptors: idle {descriptors}, at most {}, in the end {kept}", seen.most_descriptors);
    println!("requests: {}, of which {} failed", seen.requests, seen.failed);

    let (growth, allowed) = growth(&seen.resident);
    ensure!(growth <= allowed, "memory grows: by {growth:.0} kB in the second half, where {allowed:.0} may be");
    ensure!(kept == descriptors, "{kept} descriptors are open in the end, and there were {descriptors}");
    ensure!(seen.failed == 0, "{} requests failed", seen.failed);
    Ok(())
}

/// Looks each second, until `wrk` has gone.
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
        println!("resident, kB, each second at first:{}", show(first));
        println!("                  and in the end:{}; without clients: {after}", show(last));
    }
}

pub(crate) fn show(kilobytes: &[f64]) -> String {
    kilobytes.iter().map(|value| format!(" {value:.0}")).collect()
}

/// From the first to the second half of the second half of the seconds, by medians, and how much of that is nothing.
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
