//! Counts the instructions of an operation on `onelane` and on the other runtimes, under callgrind.
//! The counts show, without noise, how many times more instructions a runtime needs than ours.
//!
//! The cases are those of `onelane-cases`; the library `onelane-instructions` counts. Everything is
//! counted twice, to find out which counts are exact. The counts are written as JSON, and the table
//! and the lines in both READMEs are generated from the JSON.
//! `docs/performance/instructions_of_peers.md` explains the figures.
//!
//! Next: `counts.rs`, which lists what is counted; `pages.rs` generates the tables.

mod counts;
mod pages;

use anyhow::{Context, Result, bail, ensure};
use counts::{Counts, Selection};
use lexopt::Arg::{Long, Short, Value};
use lexopt::ValueExt;
use onelane_instructions::count;
use onelane_peers::runtimes;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

#[cfg(not(test))]
onelane_instructions::replace_the_clock!();

const HELP: &str = "\
Counts the instructions of an operation on onelane and on other runtimes, with valgrind's callgrind.

    cargo run --release --manifest-path benches/peers/Cargo.toml --bin instructions [-- OPTIONS]

    --only CASE     only cases whose names begin with CASE; can be repeated; writes nothing
    --runtime NAME  only this runtime and onelane; can be repeated; writes nothing
    --render        count nothing; generate the tables from the existing counts
    --help          print this text

Without options it takes a few minutes. It then writes instructions_of_peers.json and
instructions_of_peers.md in docs/performance, and the ratios in README.md and README.zh-CN.md.
If a runtime fails in a case, the failure is reported and the case has no count for the runtime.
The exit code is then 1.
";

/// The root of the repository.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
/// The counts, from which the tables are generated.
const COUNTS: &str = "docs/performance/instructions_of_peers.json";

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn run() -> Result<ExitCode> {
    if let Some(done) = count::child(|case, runtime| runtimes::work(runtime, case)) {
        return done.map(|()| ExitCode::SUCCESS);
    }
    let Some(options) = options()? else {
        print!("{HELP}");
        return Ok(ExitCode::SUCCESS);
    };
    if options.render {
        let text = fs::read_to_string(Path::new(ROOT).join(COUNTS)).context(COUNTS)?;
        write(&serde_json::from_str(&text).context(COUNTS)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(missing) = count::missing() {
        bail!("{missing}");
    }
    if cfg!(debug_assertions) {
        eprintln!("This is a debug build: its counts are meaningless. Run it with --release.");
    }
    let counts = counts::take(&options.selection)?;
    print!("{}", pages::text(&counts));
    if options.selection.is_all() {
        write(&counts)?;
    }
    Ok(if counts.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Writes the counts, and what is generated from them.
fn write(counts: &Counts) -> Result<()> {
    let root = Path::new(ROOT);
    let mut files = vec![(COUNTS, serde_json::to_string_pretty(counts)? + "\n")];
    for (page, name, text) in pages::all(counts) {
        let old = fs::read_to_string(root.join(page)).context(page)?;
        files.push((page, onelane_peers::text::put_between_marks(old, name, &text)));
    }
    for (file, text) in files {
        fs::write(root.join(file), text).context(file)?;
        eprintln!("Written: {file}");
    }
    Ok(())
}

#[derive(Default)]
struct Options {
    selection: Selection,
    render: bool,
}

/// Returns `None` for `--help`.
fn options() -> Result<Option<Options>> {
    let mut options = Options::default();
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("only") => options.selection.cases.push(arguments.value()?.string()?),
            Long("runtime") => options.selection.runtimes.push(arguments.value()?.string()?),
            Long("render") => options.render = true,
            Long("help") | Short('h') => return Ok(None),
            Value(value) => bail!("unexpected argument {value:?} (try --help)"),
            other => bail!("{} (try --help)", other.unexpected()),
        }
    }
    ensure!(
        !options.render || options.selection.is_all(),
        "--render generates the tables from a full count; leave out the other options"
    );
    Ok(Some(options))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pages and READMEs show the counts of the file.
    #[test]
    fn pages_have_the_counts_of_the_file() {
        let read = |file: &str| fs::read_to_string(Path::new(ROOT).join(file)).unwrap();
        let counts = serde_json::from_str(&read(COUNTS)).unwrap();
        for (page, name, text) in pages::all(&counts) {
            let old = read(page);
            assert!(old.contains(&format!("<!-- {name} -->")), "{page} has no mark {name}");
            let is_current = onelane_peers::text::put_between_marks(old.clone(), name, &text) == old;
            assert!(is_current, "{page} is not generated from {COUNTS}: run --render");
        }
    }
}
