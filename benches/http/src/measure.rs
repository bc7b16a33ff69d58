//! The rounds: a server and `wrk` in front of it, for each runtime in turn. It does not know what is written down.

use crate::limits;
use crate::options::{Candidate, Case, Plan};
use crate::pins::Pins;
use crate::process::Memory;
use crate::server::Server;
use crate::wrk::{Load, Run};
use anyhow::{Context, Result};

/// `wrk` does not run shorter than a second. The first one does not count.
const WARM_UP_SECONDS: u32 = 1;

/// All samples, and how they were taken.
pub(crate) struct Samples {
    pub(crate) all: Vec<Sample>,
    pub(crate) wrk: String,
    pub(crate) pinned: bool,
}

/// A run of `wrk` against a server that was started for it.
pub(crate) struct Sample {
    /// Its name.
    pub(crate) server: &'static str,
    pub(crate) case: Case,
    pub(crate) round: usize,
    pub(crate) load: Load,
    /// The server's, while `wrk` ran.
    pub(crate) cpu_seconds: f64,
    /// Before there was a connection.
    pub(crate) idle: Memory,
    /// When the last connection had gone.
    pub(crate) after: Memory,
}

impl Sample {
    /// Microseconds of the server's CPU time.
    pub(crate) fn cpu_per_request(&self) -> f64 {
        self.cpu_seconds * 1e6 / self.load.requests as f64
    }

    /// The part of the time in which the server had its core.
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

/// A B, B A, A B: who is second has nothing of it in the end.
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
        // What the end of a run costs does not count for the next one.
        process.settle(descriptors)?;
        anyhow::Ok(load)
    };
    run(WARM_UP_SECONDS)?;
    let before = process.cpu_seconds()?;
    let load = run(seconds)?;
    let cpu_seconds = process.cpu_seconds()? - before;
    Ok(Sample { server: candidate.name, case, round, load, cpu_seconds, idle, after: process.memory()? })
}
