//! What a hello-world costs with `onelane`, tokio and smol: the time to build it from nothing, the packages, the binary.
//!
//! The three programs stand in `hello/`, with lock files of their own. Each spawns a task that sleeps for a millisecond and prints.
//! Measured is what a user has who takes the runtime from crates.io: dependencies are built without incremental compilation and
//! without warnings, whether they come from there or, as `onelane` does here, from a folder. Not measured: downloads.
//!
//! Read on in `hello.rs`, which builds and counts; `report.rs` writes it down.

mod hello;
mod report;

use anyhow::{Context, Result, bail, ensure};
use hello::{Hello, Profile};
use lexopt::Arg::{Long, Short};
use lexopt::ValueExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const HELP: &str = "\
Measures a hello-world with onelane, tokio and smol: cold build, packages, size of the binary.

    cargo run --release --manifest-path benches/footprint/Cargo.toml -- [OPTIONS]

    --rounds N   cold builds of each in each profile; the median counts (3)
    --out DIR    where footprint.json and footprint.md are (docs/performance)
    --print      print the table, and write nothing
";

struct Options {
    rounds: usize,
    out: PathBuf,
    print: bool,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let Some(options) = options()? else {
        print!("{HELP}");
        return Ok(());
    };
    let mut hellos = Vec::new();
    for name in ["onelane", "tokio", "smol"] {
        hellos.push(Hello::find(name).with_context(|| format!("the hello-world of {name}"))?);
    }
    for profile in [Profile::Debug, Profile::Release] {
        // A B C A B C: what slows the machine down for a while slows all of them.
        for round in 1..=options.rounds {
            for hello in &mut hellos {
                eprintln!("{} build {round} of {} with {}", profile.name(), options.rounds, hello.name);
                hello.build(profile).with_context(|| format!("building the hello-world of {}", hello.name))?;
            }
        }
    }
    print!("{}", report::table(&hellos));
    if !options.print {
        report::write(&hellos, options.rounds, &options.out)
            .with_context(|| format!("writing to {}", options.out.display()))?;
    }
    Ok(())
}

/// None if help was asked for.
fn options() -> Result<Option<Options>> {
    let out = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/performance");
    let mut options = Options { rounds: 3, out, print: false };
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("rounds") => options.rounds = arguments.value()?.parse()?,
            Long("out") => options.out = arguments.value()?.into(),
            Long("print") => options.print = true,
            Long("help") | Short('h') => return Ok(None),
            other => bail!("{} (try --help)", other.unexpected()),
        }
    }
    ensure!(options.rounds > 0, "--rounds 0 measures nothing: give at least 1");
    Ok(Some(options))
}
