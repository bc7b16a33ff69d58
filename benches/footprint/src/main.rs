//! Measures the cost of a hello-world with `onelane` (with and without its default features), with
//! tokio and with smol: the time of a build from nothing, the number of packages, and the memory of
//! an idle loop and of a task. It also measures how much larger the binary is than an empty `main`,
//! in three profiles.
//!
//! The programs are in `hello/`, each with its own lock file. Each spawns a task that sleeps for a
//! millisecond and prints. The figures hold for a user who gets the runtime from crates.io. So all
//! dependencies are built without incremental compilation and without warnings, even `onelane`,
//! which is in a local folder here. Downloads are not measured.
//!
//! Next: `hello.rs`, which builds and measures; `report.rs` writes the table, and compares with it.

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

    --rounds N   number of cold builds per program and profile, for the median (3)
    --out DIR    the folder of footprint.json and footprint.md (docs/performance)
    --print      print the table, and write nothing
    --sizes      measure only sizes and memory, and keep the build times of the table
    --check      measure only sizes and memory of onelane; fail if one grew by more than 2 %
";

/// The programs that `--check` compares with the table.
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
        hello.weigh().with_context(|| format!("measuring the hello-world of {}", hello.name))?;
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
        // The programs take turns, so a disturbance of the machine affects all of them.
        for round in 1..=rounds {
            for hello in hellos.iter_mut().filter(|hello| hello.name != "empty") {
                eprintln!("{} build {round} of {rounds} with {}", profile.name(), hello.name);
                hello.build_cold(profile).with_context(|| format!("building the hello-world of {}", hello.name))?;
            }
        }
    }
    Ok(())
}

/// Returns `None` for `--help`.
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
