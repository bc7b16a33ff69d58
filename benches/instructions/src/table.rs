//! The checked-in table: read, compared, written. It does not know how it was counted.

use crate::plan::Entry;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::fs;
use std::process::Command;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/table.md");

/// By so much may a count differ from the table's.
const TOLERANCE: f64 = 0.02;

/// What the figures depend on, besides the source.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Origin(String);

impl Origin {
    /// Of this machine: the compiler, its target, and the C library, whose allocator is counted too.
    pub(crate) fn here() -> Result<Origin> {
        let said = |command: &str, argument: &str| -> Result<String> {
            let output = Command::new(command).arg(argument).output().with_context(|| format!("starting {command}"))?;
            Ok(String::from_utf8_lossy(&output.stdout).trim().into())
        };
        let rustc = said("rustc", "-vV")?;
        let field =
            |name: &str| rustc.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("unknown").to_string();
        // Where there is no glibc, there is no such question, or no such command.
        let libc = said("getconf", "GNU_LIBC_VERSION").unwrap_or_default();
        Ok(Origin(format!("rustc {}, {}, {libc}", field("release: "), field("host: "))))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "no machine yet" } else { &self.0 })
    }
}

/// Instructions per operation.
#[derive(Default)]
pub(crate) struct Table {
    pub(crate) origin: Origin,
    /// In the order of the plan.
    rows: Vec<Row>,
}

struct Row {
    case: String,
    operation: String,
    /// By runtime.
    counts: BTreeMap<String, f64>,
}

const RUNTIMES: [&str; 2] = ["floor", "onelane"];

impl Table {
    pub(crate) fn new(origin: Origin, counts: impl Iterator<Item = (Entry, f64)>) -> Table {
        let mut table = Table { origin, rows: Vec::new() };
        for (entry, count) in counts {
            table.row(entry.case, entry.operation).counts.insert(entry.runtime.into(), count);
        }
        table
    }

    /// The row of the case, a new one if there is none.
    fn row(&mut self, case: &str, operation: &str) -> &mut Row {
        let index = self.rows.iter().position(|row| row.case == case).unwrap_or_else(|| {
            self.rows.push(Row { case: case.into(), operation: operation.into(), counts: BTreeMap::new() });
            self.rows.len() - 1
        });
        &mut self.rows[index]
    }

    fn get(&self, case: &str, runtime: &str) -> Option<f64> {
        self.rows.iter().find(|row| row.case == case)?.counts.get(runtime).copied()
    }
}

/// The table as it was checked in; an empty one if there is none.
pub(crate) fn read() -> Result<Table> {
    let text = match fs::read_to_string(FILE) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Table::default()),
        Err(error) => return Err(error).context(FILE),
    };
    let mut table = Table::default();
    for line in text.lines() {
        if let Some(origin) = line.strip_prefix(ORIGIN) {
            table.origin = Origin(origin.trim_end_matches('.').into());
        }
        // | `case` | operation | floor | onelane | ratio |
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [case, operation, counts @ .., _] = &cells[..] else { continue };
        let Some(case) = case.strip_prefix('`').and_then(|case| case.strip_suffix('`')) else { continue };
        for (runtime, cell) in RUNTIMES.iter().zip(counts) {
            if !cell.is_empty() {
                let count = cell.parse().with_context(|| format!("{FILE}: `{cell}` is no number in: {line}"))?;
                table.row(case, operation).counts.insert((*runtime).into(), count);
            }
        }
    }
    Ok(table)
}

const ORIGIN: &str = "Of ";

pub(crate) fn write(table: &Table) -> Result<()> {
    let mut text = format!(
        "# Instructions per operation\n\n\
         {ORIGIN}{}.\n\n\
         Written by `cargo run --release --manifest-path benches/instructions/Cargo.toml -- --update`; \
         `docs/performance/instructions.md` says what is counted, and how.\n\n\
         | case | one operation | floor | onelane | times the floor |\n\
         | --- | --- | ---: | ---: | ---: |\n",
        table.origin
    );
    for row in &table.rows {
        let count = |runtime| row.counts.get(runtime).copied();
        let cell = |runtime| count(runtime).map_or(String::new(), |count| format!("{count:.1}"));
        let ratio = match (count("floor"), count("onelane")) {
            (Some(floor), Some(ours)) => format!("{:.2}", ours / floor),
            _ => String::new(),
        };
        let Row { case, operation, .. } = row;
        writeln!(text, "| `{case}` | {operation} | {} | {} | {ratio} |", cell("floor"), cell("onelane"))?;
    }
    fs::write(FILE, text).context(FILE)
}

/// A count beside the table's.
struct Pair {
    case: String,
    runtime: &'static str,
    known: Option<f64>,
    counted: f64,
}

impl Pair {
    /// How much more it is than it was: 0.01 is one per cent.
    fn growth(&self) -> Option<f64> {
        self.known.map(|known| self.counted / known - 1.0)
    }

    /// The floor is there to compare with: it is told of, and holds nobody up.
    fn has_grown(&self) -> bool {
        self.runtime == "onelane" && self.growth().is_none_or(|growth| growth > TOLERANCE)
    }
}

/// All counts beside the table's.
pub(crate) struct Comparison(Vec<Pair>);

pub(crate) fn compare(known: &Table, counted: &Table) -> Comparison {
    let mut pairs = Vec::new();
    for row in &counted.rows {
        for runtime in RUNTIMES {
            if let Some(&counted) = row.counts.get(runtime) {
                pairs.push(Pair { case: row.case.clone(), runtime, known: known.get(&row.case, runtime), counted });
            }
        }
    }
    Comparison(pairs)
}

impl Comparison {
    /// One grew, or is not in the table.
    pub(crate) fn has_grown(&self) -> bool {
        self.0.iter().any(Pair::has_grown)
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:22} {:8} {:>10} {:>10} {:>8}", "case", "runtime", "table", "now", "")?;
        let mut lower = false;
        for pair in &self.0 {
            let known = pair.known.map_or("-".into(), |known| format!("{known:.1}"));
            let growth = pair.growth().map_or(String::new(), |growth| format!("{:+.2} %", 100.0 * growth));
            let is_lower = pair.growth().is_some_and(|growth| growth < -TOLERANCE);
            let remark = match (pair.has_grown(), pair.known) {
                (true, Some(_)) => "  GREW",
                (true, None) => "  not in the table",
                _ if is_lower => "  fell",
                _ => "",
            };
            lower |= is_lower;
            writeln!(f, "{:22} {:8} {known:>10} {:>10.1} {growth:>10}{remark}", pair.case, pair.runtime, pair.counted)?;
        }
        if self.has_grown() {
            writeln!(f, "\nWhat grew takes more instructions than benches/instructions/table.md says. Find out why.")?;
            writeln!(f, "If it must be so, or a case is new: --update.")?;
        }
        if lower {
            writeln!(f, "\nWhat fell takes fewer instructions than the table says: --update, and commit the table.")?;
        }
        Ok(())
    }
}
