//! The table, as Markdown and as JSON. It does not know how the figures were measured.

use crate::measure::{Sample, Samples};
use crate::options::{Candidate, Case, Plan};
use crate::page;
use crate::statistics::{median, spread};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

pub(crate) struct Report {
    text: String,
    figures: Value,
}

impl Report {
    pub(crate) fn of(plan: &Plan, samples: &Samples) -> Result<Self> {
        let (machine, rustc) = (machine(), rustc()?);
        let versions = ["onelane", "tokio", "hyper", "hyper-util"].map(|name| format!("{name} {}", locked(name)));
        let versions = versions.join(", ");
        let pinned = if samples.pinned { "server and `wrk` pinned to one core each" } else { "nothing pinned" };
        let (rounds, seconds) = (plan.rounds, plan.seconds);
        let caption = format!(
            "{versions}; {}; {rustc}; {machine}; {pinned}; medians of {rounds} rounds of {seconds} s; for {}, the ratio is the median of its ratios to `onelane` in the same round, ± half of the interquartile range.",
            samples.wrk,
            if plan.against.is_some() { "the other build" } else { "tokio" },
        );
        let text = format!("{caption}\n\n{}", table(&plan.cases(), plan.candidates(), &samples.all));
        let figures = json!({
            "versions": versions,
            "wrk": samples.wrk,
            "rustc": rustc,
            "machine": machine,
            "pinned": samples.pinned,
            "rounds": rounds,
            "seconds": seconds,
            "samples": samples.all.iter().map(figures).collect::<Vec<_>>(),
        });
        Ok(Report { text, figures })
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Writes `servers.md` and `servers.json` in the folder.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let file = folder.join("servers.json");
        let figures = serde_json::to_string_pretty(&self.figures)? + "\n";
        fs::write(&file, figures).with_context(|| format!("writing {}", file.display()))?;
        page::fill(&folder.join("servers.md"), &self.text)
    }
}

/// A column: its title, how to read its value from a sample, and how to format the value.
struct Column {
    title: &'static str,
    value: fn(&Sample) -> f64,
    show: fn(f64) -> String,
    /// Whether it shows the ratio to `onelane`.
    is_compared: bool,
}

const fn column(title: &'static str, value: fn(&Sample) -> f64, show: fn(f64) -> String, is_compared: bool) -> Column {
    Column { title, value, show, is_compared }
}

const COLUMNS: &[Column] = &[
    column("requests/s", |sample| sample.load.rate, thousands, true),
    column("p50", |sample| sample.load.p50, duration, true),
    column("p99", |sample| sample.load.p99, duration, true),
    column("CPU time of a request", Sample::cpu_per_request, duration, true),
    column("its core is busy", Sample::busy, per_cent, false),
    column("resident, idle", |sample| sample.idle.now as f64, megabytes, false),
    column("at most", |sample| sample.after.peak as f64, megabytes, false),
    column("after", |sample| sample.after.now as f64, megabytes, false),
];

fn table(cases: &[Case], [ours, other]: [Candidate<'_>; 2], samples: &[Sample]) -> String {
    let mut table = String::from("| load | connections | server");
    COLUMNS.iter().for_each(|column| table.extend([" | ", column.title]));
    table.push_str(" | failed |\n| --- | ---: | ---");
    COLUMNS.iter().for_each(|_| table.push_str(" | ---:"));
    table.push_str(" | ---: |");
    for &case in cases {
        let of = |name| -> Vec<&Sample> {
            samples.iter().filter(|sample| sample.case == case && sample.server == name).collect()
        };
        let (load, number) = (case.load.name(), thousands(f64::from(case.connections)));
        let (our_samples, others) = (of(ours.name), of(other.name));
        let _ = write!(table, "\n| {load} | {number} | **{}**{}", ours.name, row(&our_samples, None));
        let _ = write!(table, "\n| {load} | {number} | {}{}", other.name, row(&others, Some(&our_samples)));
    }
    table
}

/// Formats the figures of one server. `ours` is given for the other server, to add the ratios to
/// our figures.
fn row(samples: &[&Sample], ours: Option<&[&Sample]>) -> String {
    let mut row = String::new();
    for column in COLUMNS {
        let values: Vec<f64> = samples.iter().map(|sample| (column.value)(sample)).collect();
        let _ = write!(row, " | {}", (column.show)(median(&values)));
        if column.is_compared {
            let ratios = ours.map(|ours| ratios(samples, ours, column.value));
            let times = ratios.as_ref().map_or(1.0, |ratios| median(ratios));
            let spread = spread(&ratios.unwrap_or(values)) * 100.0;
            let _ = write!(row, "<br>{times:.2}× ±{spread:.1} %");
        }
    }
    let failed: u64 = samples.iter().map(|sample| sample.load.socket_errors + sample.load.bad_answers).sum();
    let _ = write!(row, " | {} |", thousands(failed as f64));
    row
}

/// The ratio to ours, for each round separately: a slow phase of the machine affects both servers
/// of a round.
fn ratios(samples: &[&Sample], ours: &[&Sample], value: fn(&Sample) -> f64) -> Vec<f64> {
    let in_the_same_round = |sample: &&Sample| ours.iter().find(|other| other.round == sample.round);
    let ratio = |sample: &&Sample| in_the_same_round(sample).map(|other| value(sample) / value(other));
    samples.iter().filter_map(ratio).collect()
}

/// `1,234,567`
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Formats a duration, given in microseconds, with at least three digits. From 1,000 µs on the unit
/// is ms.
fn duration(microseconds: f64) -> String {
    match microseconds {
        value if value < 10.0 => format!("{value:.2} µs"),
        value if value < 100.0 => format!("{value:.1} µs"),
        value if value < 1000.0 => format!("{value:.0} µs"),
        value => format!("{:.2} ms", value / 1000.0),
    }
}

fn per_cent(part: f64) -> String {
    format!("{:.0} %", part * 100.0)
}

/// Converts from units of 1,024 bytes.
fn megabytes(kilobytes: f64) -> String {
    format!("{:.2} MB", kilobytes * 1024.0 / 1e6)
}

fn figures(sample: &Sample) -> Value {
    json!({
        "server": sample.server,
        "load": sample.case.load.name(),
        "connections": sample.case.connections,
        "round": sample.round,
        "requests": sample.load.requests,
        "requests_per_second": sample.load.rate,
        "p50_microseconds": sample.load.p50,
        "p99_microseconds": sample.load.p99,
        "cpu_seconds": sample.cpu_seconds,
        "resident_idle_kib": sample.idle.now,
        "resident_peak_kib": sample.after.peak,
        "resident_after_kib": sample.after.now,
        "socket_errors": sample.load.socket_errors,
        "bad_answers": sample.load.bad_answers,
    })
}

/// The version of a package in the lock file of this package.
fn locked(name: &str) -> &'static str {
    let mut lines = include_str!("../Cargo.lock").lines();
    let found = lines.any(|line| line.strip_prefix("name = ").is_some_and(|found| found.trim_matches('"') == name));
    let version = lines.next().and_then(|line| line.strip_prefix("version = ")).filter(|_| found);
    version.map_or("?", |version| version.trim_matches('"'))
}

fn rustc() -> Result<String> {
    let version = Command::new("rustc").arg("--version").output().context("starting rustc")?.stdout;
    Ok(String::from_utf8(version)?.trim().into())
}

/// The processor, the number of its cores and the system, if known.
fn machine() -> String {
    let model = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split(':').nth(1)?.trim().to_string())
    });
    let system = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "{}, {cores} cores, {} {}",
        model.unwrap_or("unknown processor".into()),
        std::env::consts::OS,
        system.trim()
    )
}

#[cfg(test)]
mod tests {
    use super::{duration, locked, megabytes, table, thousands};
    use crate::measure::Sample;
    use crate::options::{Candidate, Case, Load as Asked, Runtime};
    use crate::process::Memory;
    use crate::wrk::Load;

    const CASE: Case = Case { load: Asked::Small, connections: 1000 };

    fn sample(server: &'static str, round: usize, rate: f64) -> Sample {
        Sample {
            server,
            case: CASE,
            round,
            load: Load { requests: rate as u64, rate, p50: 300.0, p99: 1270.0, socket_errors: 1, bad_answers: 2 },
            cpu_seconds: 0.5,
            idle: Memory { now: 1000, peak: 1000 },
            after: Memory { now: 2000, peak: 3000 },
        }
    }

    #[test]
    fn each_has_the_median_and_is_compared() {
        let samples = [
            sample("onelane", 1, 100_000.0),
            sample("tokio", 1, 40_000.0),
            sample("tokio", 2, 60_000.0),
            sample("onelane", 2, 100_000.0),
        ];
        let candidates = [Runtime::Onelane, Runtime::Tokio].map(|runtime| Candidate {
            name: runtime.name(),
            runtime,
            program: None,
        });
        let expected = "\
| load | connections | server | requests/s | p50 | p99 | CPU time of a request | its core is busy | resident, idle | at most | after | failed |
| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| small | 1,000 | **onelane** | 100,000<br>1.00× ±0.0 % | 300 µs<br>1.00× ±0.0 % | 1.27 ms<br>1.00× ±0.0 % | 5.00 µs<br>1.00× ±0.0 % | 50 % | 1.02 MB | 3.07 MB | 2.05 MB | 6 |
| small | 1,000 | tokio | 50,000<br>0.50× ±10.0 % | 300 µs<br>1.00× ±0.0 % | 1.27 ms<br>1.00× ±0.0 % | 10.4 µs<br>2.08× ±10.0 % | 50 % | 1.02 MB | 3.07 MB | 2.05 MB | 6 |";
        assert_eq!(table(&[CASE], candidates, &samples), expected);
    }

    #[test]
    fn numbers_for_people() {
        assert_eq!([0.0, 999.0, 1000.0, 1_234_567.0].map(thousands), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([1.5, 15.25, 150.4, 1500.0].map(duration), ["1.50 µs", "15.2 µs", "150 µs", "1.50 ms"]);
        assert_eq!(megabytes(1000.0), "1.02 MB");
    }

    #[test]
    fn versions_are_those_of_the_lock_file() {
        assert_eq!(locked("onelane-http"), "0.0.0");
        assert!(locked("hyper").starts_with("1."), "{}", locked("hyper"));
        assert_eq!(locked("no-such-package"), "?");
    }
}
