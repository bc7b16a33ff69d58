//! Counts the instructions of each operation: a yield, a hand-over, a spawn, a message. `table.md`
//! has the known counts, and `--check` compares with them.
//!
//! The cases are those of `benches/cases`, on `onelane` and on the floor. The library of this
//! package says how they are counted.
//!
//! Next: `plan.rs`, which lists what is counted; `table.rs` compares.

mod plan;
mod table;
mod virtual_time;

use anyhow::{Context, Result, bail, ensure};
use lexopt::Arg::{Long, Short, Value};
use lexopt::ValueExt;
use onelane_instructions::count::{self, Count};
use onelane_instructions::{Entry, Origin};
use std::process::ExitCode;
use table::Table;

#[cfg(not(test))]
onelane_instructions::replace_the_clock!();

const HELP: &str = "\
Counts the instructions of each operation with valgrind's callgrind.
Compares the counts with benches/instructions/table.md.

    cargo run --release --manifest-path benches/instructions/Cargo.toml -- [OPTIONS]

    --check       fail if a count grew by more than 2 %
    --update      write the table
    --twice       count twice, and fail if the counts differ
    --only CASE   only cases whose names begin with CASE; can be repeated
";

#[derive(Default)]
struct Options {
    check: bool,
    update: bool,
    twice: bool,
    only: Vec<String>,
}

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn run() -> Result<ExitCode> {
    let find = |case: &str, runtime: &str| {
        let entry = plan::entries().into_iter().find(|entry| (entry.case, entry.runtime) == (case, runtime));
        entry.map(|entry| entry.work)
    };
    if let Some(done) = count::child(find) {
        done?;
    } else if let Some(options) = options()? {
        return compare(&options);
    } else {
        print!("{HELP}");
    }
    Ok(ExitCode::SUCCESS)
}

fn compare(options: &Options) -> Result<ExitCode> {
    let known = table::read()?;
    let here = Origin::here()?;
    if options.check && known.origin != here {
        // Not a failure: counts of different compilers or machines cannot be compared.
        println!("skipped: instructions, because the table is from {}, and this is {here}", known.origin);
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(missing) = count::missing() {
        if options.check {
            println!("skipped: instructions, because {missing}");
            return Ok(ExitCode::SUCCESS);
        }
        bail!("{missing}");
    }

    let entries: Vec<_> = plan::entries()
        .into_iter()
        .filter(|entry| options.only.is_empty() || options.only.iter().any(|start| entry.case.starts_with(start)))
        .collect();
    ensure!(!entries.is_empty(), "no case begins with {}", options.only.join(" or "));
    let counts = counts(&entries)?;
    if options.twice {
        let again = self::counts(&entries)?;
        for ((entry, first), second) in entries.iter().zip(&counts).zip(&again) {
            ensure!(first == second, "{} on {}: first {first:?}, then {second:?}", entry.case, entry.runtime);
        }
        println!("Counted twice: all {} counts are equal.\n", 2 * entries.len());
    }

    let counted = Table::new(here, entries.iter().zip(&counts).map(|(entry, count)| (*entry, count.instructions())));
    let comparison = table::compare(&known, &counted);
    print!("{comparison}");
    if options.update {
        ensure!(options.only.is_empty(), "--update writes the whole table: leave out --only");
        table::write(&counted)?;
    }
    Ok(if options.check && comparison.has_grown() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The counts of all entries, or the first error.
fn counts(entries: &[Entry]) -> Result<Vec<Count>> {
    let counts = count::all(entries).into_iter().zip(entries);
    counts
        .map(|(count, entry)| count.with_context(|| format!("counting {} on {}", entry.case, entry.runtime)))
        .collect()
}

/// Returns `None` for `--help`.
fn options() -> Result<Option<Options>> {
    let mut options = Options::default();
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("check") => options.check = true,
            Long("update") => options.update = true,
            Long("twice") => options.twice = true,
            Long("only") => options.only.push(arguments.value()?.string()?),
            Long("help") | Short('h') => return Ok(None),
            Value(value) => bail!("unexpected argument {value:?} (try --help)"),
            other => bail!("{} (try --help)", other.unexpected()),
        }
    }
    ensure!(
        !(options.check && options.update),
        "give --check or --update, not both: --check compares with the table, --update changes it"
    );
    Ok(Some(options))
}
