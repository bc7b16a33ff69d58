//! What a hello-world costs with `onelane`, with and without its default features, with tokio and with smol: the time to build it
//! from nothing, the packages, what it adds to an empty `main` in three profiles, and the memory of an idle loop and of a task.
//!
//! The programs stand in `hello/`, with lock files of their own. Each spawns a task that sleeps for a millisecond and prints.
//! Measured is what a user has who takes the runtime from crates.io: dependencies are built without incremental compilation and
//! without warnings, whether they come from there or, as `onelane` does here, from a folder. Not measured: downloads.
//!
//! Read on in `hello.rs`, which builds and counts; `report.rs` writes the table, and compares with it.

mod hello;
mod report;

use anyhow::{Context, Result, bail, ensure};
use hello::{Hello, Profile};
use lexopt::Arg::{Long, Short};
use lexopt::ValueExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const HELP: &str = "\
Measures a hello-world with onelane, tokio and smol: cold build, packages, size, memory.

    cargo run --release --manifest-path benches/footprint/Cargo.toml -- [OPTIONS]

    --rounds N   cold builds of each in each profile; the median counts (3)
    --out DIR    where footprint.json and footprint.md are (docs/performance)
    --print      print the table, and write nothing
    --sizes      measure sizes and memory alone, and keep the times that the table has
    --check      measure the sizes and memory of onelane alone; fail if one grew by more than 2 %
";

/// The programs that `--check` holds to the table.
const OURS: [&str; 2] = ["onelane", "minimal"];

struct Options {
    rounds: usize,
    out: PathBuf,
    print: bool,
    sizes: bool,
    check: bool,
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
    let names: &[&str] = if options.check { &OURS } else { &["empty", "onelane", "minimal", "tokio", "smol"] };
    let mut hellos = Vec::new();
    for name in names {
        hellos.push(Hello::find(name).with_context(|| format!("the hello-world of {name}"))?);
    }
    if !options.check && !options.sizes {
        build_cold(&mut hellos, options.rounds)?;
    }
    for hello in &mut hellos {
        eprintln!("sizes of {}", hello.name);
        hello.weigh().with_context(|| format!("weighing the hello-world of {}", hello.name))?;
    }
    if options.check {
        return report::check(&hellos, &options.out);
    }
    if options.sizes {
        report::take_times(&mut hellos, &options.out)?;
    }
    print!("{}", report::table(&hellos));
    if !options.print {
        report::write(&hellos, options.rounds, &options.out)
            .with_context(|| format!("writing to {}", options.out.display()))?;
    }
    Ok(())
}

fn build_cold(hellos: &mut [Hello], rounds: usize) -> Result<()> {
    for profile in [Profile::Debug, Profile::Release] {
        // A B C A B C: what slows the machine down for a while slows all of them.
        for round in 1..=rounds {
            for hello in hellos.iter_mut().filter(|hello| hello.name != "empty") {
                eprintln!("{} build {round} of {rounds} with {}", profile.name(), hello.name);
                hello.build_cold(profile).with_context(|| format!("building the hello-world of {}", hello.name))?;
            }
        }
    }
    Ok(())
}

/// None if help was asked for.
fn options() -> Result<Option<Options>> {
    let out = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/performance");
    let mut options = Options { rounds: 3, out, print: false, sizes: false, check: false };
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("rounds") => options.rounds = arguments.value()?.parse()?,
            Long("out") => options.out = arguments.value()?.into(),
            Long("print") => options.print = true,
            Long("sizes") => options.sizes = true,
            Long("check") => options.check = true,
            Long("help") | Short('h') => return Ok(None),
            other => bail!("{} (try --help)", other.unexpected()),
        }
    }
    ensure!(options.rounds > 0, "--rounds 0 measures nothing: give at least 1");
    Ok(Some(options))
}
