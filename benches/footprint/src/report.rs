//! The table, for people and as JSON. It does not know how the figures were found.

use crate::hello::{Build, Hello, Profile};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Between two of these the table stands in `footprint.md`.
const MARK: &str = "<!-- table -->";

/// A row: what it is, how to read it from a program, and how to write it.
struct Row {
    title: &'static str,
    id: &'static str,
    value: fn(&Hello) -> f64,
    show: fn(f64) -> String,
}

const fn row(title: &'static str, id: &'static str, value: fn(&Hello) -> f64, show: fn(f64) -> String) -> Row {
    Row { title, id, value, show }
}

const ROWS: &[Row] = &[
    row("cold build, debug", "debug_seconds", |hello| wall(hello, Profile::Debug), seconds),
    row("its CPU time", "debug_cpu_seconds", |hello| cpu(hello, Profile::Debug), seconds),
    row("cold build, release", "release_seconds", |hello| wall(hello, Profile::Release), seconds),
    row("its CPU time", "release_cpu_seconds", |hello| cpu(hello, Profile::Release), seconds),
    row("packages", "packages", |hello| hello.packages.len() as f64, |count| format!("{count}")),
    row("stripped binary", "binary_bytes", |hello| hello.binary as f64, kilobytes),
];

fn wall(hello: &Hello, profile: Profile) -> f64 {
    hello.median(profile, |build| build.wall)
}

fn cpu(hello: &Hello, profile: Profile) -> f64 {
    hello.median(profile, |build| build.cpu)
}

fn seconds(value: f64) -> String {
    format!("{value:.2} s")
}

fn kilobytes(value: f64) -> String {
    format!("{:.0} kB", value / 1000.0)
}

/// As Markdown: what each has, and behind it how many times `onelane`'s that is. The first of `hellos` is `onelane`.
pub(crate) fn table(hellos: &[Hello]) -> String {
    let mut table = String::from("|");
    for hello in hellos {
        let _ = write!(table, " | {} {}", hello.name, hello.version);
    }
    table.push_str(" |\n| ---");
    for _ in hellos {
        table.push_str(" | ---:");
    }
    table.push_str(" |\n");
    for row in ROWS {
        let ours = (row.value)(&hellos[0]);
        let _ = write!(table, "| {}", row.title);
        for (index, hello) in hellos.iter().enumerate() {
            let value = (row.value)(hello);
            let _ = write!(table, " | {}", (row.show)(value));
            if index > 0 {
                let _ = write!(table, " ({:.2})", value / ours);
            }
        }
        table.push_str(" |\n");
    }
    table
}

/// The raw figures and the table, with the machine that they are of.
pub(crate) fn write(hellos: &[Hello], rounds: usize, folder: &Path) -> Result<()> {
    let machine = machine();
    let figures = json!({
        "machine": machine,
        "rustc": rustc()?,
        "rounds": rounds,
        "programs": hellos.iter().map(figures).collect::<Vec<_>>(),
    });
    fs::create_dir_all(folder)?;
    fs::write(folder.join("footprint.json"), serde_json::to_string_pretty(&figures)? + "\n")?;

    let page = folder.join("footprint.md");
    let text = fs::read_to_string(&page).with_context(|| format!("reading {}", page.display()))?;
    let parts: Vec<&str> = text.split(MARK).collect();
    let [before, _, after] = parts[..] else {
        anyhow::bail!("{} must have two lines `{MARK}`, for the table to stand between", page.display());
    };
    let table = table(hellos);
    let rustc = rustc()?;
    let caption =
        format!("{rustc}; {machine}; medians of {rounds}, and behind them how many times `onelane`'s that is.");
    fs::write(&page, format!("{before}{MARK}\n{caption}\n\n{table}{MARK}{after}"))?;
    Ok(())
}

fn figures(hello: &Hello) -> Value {
    let build = |build: &Build| json!({ "profile": build.profile.name(), "wall": build.wall, "cpu": build.cpu });
    let medians: serde_json::Map<String, Value> =
        ROWS.iter().map(|row| (row.id.into(), json!((row.value)(hello)))).collect();
    json!({
        "name": hello.name,
        "version": hello.version,
        "medians": medians,
        "builds": hello.builds.iter().map(build).collect::<Vec<_>>(),
        "packages": hello.packages,
    })
}

fn rustc() -> Result<String> {
    let version = Command::new("rustc").arg("--version").output().context("starting rustc")?.stdout;
    Ok(String::from_utf8(version)?.trim().into())
}

/// The processor and the number of its cores, as far as they can be known.
fn machine() -> String {
    let model = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split(':').nth(1)?.trim().to_string())
    });
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{}, {cores} cores, {}", model.unwrap_or("unknown processor".into()), std::env::consts::OS)
}
