//! The command line.

use anyhow::{Context, Result, bail, ensure};
use lexopt::Arg::{Long, Short, Value};
use lexopt::{Parser, ValueExt};
use std::path::PathBuf;

pub(crate) const HELP: &str = "\
Measures how late timers of 10 ms are beside a stream whose peer is always ready.
Alternates between onelane and CPython's asyncio.

    cargo run --release --manifest-path benches/fairness/Cargo.toml -- [OPTIONS]

    --rounds N        number of rounds; a round takes a second per loop and kind of traffic (15)
    --python PROGRAM  CPython 3.12 or later (python3)
    --against PROGRAM compare with another build of this program instead of CPython

    once KIND         run once on onelane; KIND is reads, writes or both;
                      prints the lateness of each timer, in microseconds
";

#[derive(Debug, PartialEq)]
pub(crate) enum Order {
    Help,
    Once(Traffic),
    Compare(Plan),
}

#[derive(Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    pub(crate) other: Other,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Other {
    Python(PathBuf),
    Build(PathBuf),
}

/// What the stream does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Traffic {
    Reads,
    Writes,
    Both,
}

impl Traffic {
    pub(crate) const ALL: [Traffic; 3] = [Traffic::Reads, Traffic::Writes, Traffic::Both];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Traffic::Reads => "reads",
            Traffic::Writes => "writes",
            Traffic::Both => "both",
        }
    }

    pub(crate) fn reads(self) -> bool {
        self != Traffic::Writes
    }

    pub(crate) fn writes(self) -> bool {
        self != Traffic::Reads
    }
}

impl Order {
    pub(crate) fn parse(parser: &mut Parser) -> Result<Self> {
        let mut plan = Plan { rounds: 15, other: Other::Python("python3".into()) };
        while let Some(argument) = parser.next()? {
            match argument {
                Value(word) if word == "once" => {
                    let name = parser.value()?.string()?;
                    let found = Traffic::ALL.into_iter().find(|traffic| traffic.name() == name);
                    let traffic = found.with_context(|| format!("once {name}: give reads, writes or both"))?;
                    return Ok(Order::Once(traffic));
                }
                Long("rounds") => plan.rounds = parser.value()?.parse()?,
                Long("python") => plan.other = Other::Python(parser.value()?.into()),
                Long("against") => plan.other = Other::Build(parser.value()?.into()),
                Long("help") | Short('h') => return Ok(Order::Help),
                other => bail!("{} (try --help)", other.unexpected()),
            }
        }
        ensure!(plan.rounds > 0, "--rounds 0 measures nothing: give at least 1");
        Ok(Order::Compare(plan))
    }
}
