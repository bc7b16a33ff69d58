//! The rounds: for each runtime in turn, starts a server and runs `wrk` against it. It does not
//! know how the results are reported.

use crate::limits;
use crate::options::{Candidate, Case, Plan};
use crate::pins::Pins;
use crate::process::Memory;
use crate::server::Server;
use crate::wrk::{Load, Run};
use anyhow::{Context, Result};

/// `wrk` cannot run for less than a second. This first second is not counted.
const WARM_UP_SECONDS: u32 = 1;

/// All samples, and the conditions under which they were taken.
pub(crate) struct Samples {
    pub(crate) all: Vec<Sample>,
    pub(crate) wrk: String,
    pub(crate) pinned: bool,
}

/// A run of `wrk` against a server that was started for it.
pub(crate) struct Sample {
    /// The name of the server.
    pub(crate) server: &'static str,
    pub(crate) case: Case,
    pub(crate) round: usize,
    pub(crate) load: Load,
    /// CPU time of the server while `wrk` ran.
    pub(crate) cpu_seconds: f64,
    /// Memory before the first connection.
    pub(crate) idle: Memory,
    /// Memory after the last connection.
    pub(crate) after: Memory,
}

impl Sample {
    /// CPU time of the server per request, in microseconds.
    pub(crate) fn cpu_per_request(&self) -> f64 {
        self.cpu_seconds * 1e6 / self.load.requests as f64
    }

    /// The part of the time in which the server ran.
    pub(crate) fn busy(&self) -> f64 {
        self.cpu_seconds * self.load.rate / self.load.requests as f64
    }
}

pub(crate) fn measure(plan: &Plan) -> Result<Samples> {
    let wrk = crate::wrk::version()?;
    let pins = Pins::find();
    limits::ensure_room_for(plan.cases().iter().map(|case| case.connections).max().unwrap_or(0))?;
    let mut all = Vec::new();
    for case in plan.cases() {
        let (load, connections) = (case.load.name(), case.connections);
        for round in 1..=plan.rounds {
            eprintln!("{load}, {connections} connections, round {round} of {}", plan.rounds);
            for candidate in turns(plan.candidates(), round) {
                let sample = sample(candidate, pins, case, plan.seconds, round);
                let told =
                    || format!("the server on {} under the {load} load of {connections} connections", candidate.name);
                all.push(sample.with_context(told)?);
            }
        }
    }
    Ok(Samples { all, wrk, pinned: pins.work() })
}

/// The server that runs first changes from round to round, so the order favours neither.
fn turns<T>([first, second]: [T; 2], round: usize) -> [T; 2] {
    if round % 2 == 1 { [first, second] } else { [second, first] }
}

fn sample(candidate: Candidate<'_>, pins: Pins, case: Case, seconds: u32, round: usize) -> Result<Sample> {
    let mut server = Server::start(candidate, pins)?;
    let process = server.process();
    let (idle, descriptors) = (process.memory()?, process.descriptors()?);
    let mut run = |seconds| {
        let load = Run::start(pins, server.port(), case, seconds)?.finish()?;
        server.ensure_it_runs()?;
        // The cost of closing connections must not count for the next run.
        process.settle(descriptors)?;
        anyhow::Ok(load)
    };
    run(WARM_UP_SECONDS)?;
    let before = process.cpu_seconds()?;
    let load = run(seconds)?;
    let cpu_seconds = process.cpu_seconds()? - before;
    Ok(Sample { server: candidate.name, case, round, load, cpu_seconds, idle, after: process.memory()? })
}
