//! Reads, compares and writes the table, which is in the repository. It does not know how the
//! instructions are counted.

use anyhow::{Context, Result};
use onelane_instructions::{Entry, Origin};
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::ErrorKind;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/table.md");

/// The check fails if a count exceeds the count in the table by more than this part.
const TOLERANCE: f64 = 0.02;

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
    /// Counts by runtime.
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

    /// Returns the row of the case; adds a row if there is none.
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

/// Reads the table from the repository; returns an empty table if there is no file.
pub(crate) fn read() -> Result<Table> {
    match fs::read_to_string(FILE) {
        Ok(text) => parse(&text).context(FILE),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Table::default()),
        Err(error) => Err(error).context(FILE),
    }
}

pub(crate) fn write(table: &Table) -> Result<()> {
    fs::write(FILE, table.to_string()).context(FILE)
}

/// The text before the table's origin.
const ORIGIN: &str = "Of ";

fn parse(text: &str) -> Result<Table> {
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
                let count = cell.parse().with_context(|| format!("`{cell}` is not a number in: {line}"))?;
                table.row(case, operation).counts.insert((*runtime).into(), count);
            }
        }
    }
    Ok(table)
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "# Instructions per operation\n\n\
             {ORIGIN}{}.\n\n\
             Written by `cargo run --release --manifest-path benches/instructions/Cargo.toml -- --update`; \
             `docs/performance/instructions.md` says what is counted, and how.\n\n\
             | case | one operation | floor | onelane | times the floor |\n\
             | --- | --- | ---: | ---: | ---: |",
            self.origin
        )?;
        for Row { case, operation, counts } in &self.rows {
            let count = |runtime| counts.get(runtime).copied();
            let cell = |runtime| count(runtime).map_or(String::new(), |count: f64| format!("{count:.1}"));
            let ratio = match (count("floor"), count("onelane")) {
                (Some(floor), Some(ours)) => format!("{:.2}", ours / floor),
                _ => String::new(),
            };
            writeln!(f, "| `{case}` | {operation} | {} | {} | {ratio} |", cell("floor"), cell("onelane"))?;
        }
        Ok(())
    }
}

/// A count, and the known count from the table.
struct Pair {
    case: String,
    runtime: &'static str,
    known: Option<f64>,
    counted: f64,
}

impl Pair {
    /// The relative growth: 0.01 is one per cent.
    fn growth(&self) -> Option<f64> {
        self.known.map(|known| self.counted / known - 1.0)
    }

    /// The floor is only a reference: its changes are printed, but they do not fail the check.
    fn has_grown(&self) -> bool {
        self.runtime == "onelane" && self.growth().is_none_or(|growth| growth > TOLERANCE)
    }
}

/// All counts, compared with the table.
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

/// Limits for the cost of metrics: a case, the same case without metrics, and the maximum ratio.
const LIMITS: [(&str, &str, f64); 2] =
    [("yield-1-metrics", "yield-1", 1.05), ("yield-1000-metrics", "yield-1000", 1.05)];

impl Comparison {
    /// Whether a count grew, is not in the table, or exceeds its limit.
    pub(crate) fn has_grown(&self) -> bool {
        self.0.iter().any(Pair::has_grown) || self.beyond_limits().next().is_some()
    }

    /// Returns the cases that exceed their limits, with the cases to which they are compared.
    fn beyond_limits(&self) -> impl Iterator<Item = (&str, &str, f64)> {
        let count = |case: &str| self.0.iter().find(|pair| pair.case == case && pair.runtime == "onelane");
        LIMITS.into_iter().filter(move |&(case, other, limit)| {
            let pair = count(case).zip(count(other));
            pair.is_some_and(|(case, other)| case.counted > limit * other.counted)
        })
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
            writeln!(
                f,
                "\nGREW: the case takes more instructions than in benches/instructions/table.md. Find out why."
            )?;
            writeln!(f, "If the growth is necessary, or the case is new, run --update.")?;
        }
        for (case, other, limit) in self.beyond_limits() {
            writeln!(f, "\n{case} takes more than {limit} times what {other} takes.")?;
        }
        if lower {
            writeln!(
                f,
                "\nfell: the case takes fewer instructions than in the table. Run --update, and commit the table."
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(counts: &[(&str, &str, f64)]) -> Table {
        let mut table = Table { origin: Origin("rustc 1.0.0, somewhere".into()), rows: Vec::new() };
        for &(case, runtime, count) in counts {
            table.row(case, "yield").counts.insert(runtime.into(), count);
        }
        table
    }

    #[test]
    fn writes_and_reads_again() {
        let written =
            table(&[("yield-1", "floor", 38.0), ("yield-1", "onelane", 94.5), ("spawn-1", "onelane", 1200.0)]);
        let read = parse(&written.to_string()).unwrap();
        assert_eq!(read.origin, written.origin);
        assert_eq!(read.to_string(), written.to_string());
        assert_eq!(read.get("yield-1", "onelane"), Some(94.5));
        assert_eq!(read.get("spawn-1", "floor"), None);
    }

    #[test]
    fn tells_of_a_growth_and_of_a_fall() {
        let known = table(&[("same", "onelane", 100.0), ("more", "onelane", 100.0), ("less", "onelane", 100.0)]);
        let now = table(&[("same", "onelane", 101.9), ("more", "onelane", 102.1), ("less", "onelane", 97.9)]);
        let comparison = compare(&known, &now);
        assert!(comparison.has_grown());
        let remarks: Vec<_> = comparison.to_string().lines().skip(1).take(3).map(remark).collect();
        assert_eq!(remarks, ["%", "GREW", "fell"]);
    }

    #[test]
    fn a_new_case_fails_and_a_dearer_floor_does_not() {
        let known = table(&[("old", "floor", 40.0)]);
        assert!(!compare(&known, &table(&[("old", "floor", 50.0)])).has_grown());
        assert!(compare(&known, &table(&[("new", "onelane", 1.0)])).has_grown());
    }

    #[test]
    fn looking_has_a_limit() {
        let counts =
            |with_metrics| table(&[("yield-1", "onelane", 100.0), ("yield-1-metrics", "onelane", with_metrics)]);
        let [within, beyond] = [104.9, 105.1].map(|count| compare(&counts(count), &counts(count)));
        assert_eq!([within.has_grown(), beyond.has_grown()], [false, true]);
        assert!(beyond.to_string().contains("yield-1-metrics takes more than 1.05 times what yield-1 takes"));
    }

    fn remark(line: &str) -> String {
        line.split_whitespace().last().unwrap().into()
    }
}
