//! The table, as Markdown and as JSON, and the comparison with it. It does not know how the figures
//! were measured.

use crate::hello::{Build, Hello, Profile};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The table is between two of these marks in `footprint.md`.
const MARK: &str = "<!-- table -->";

/// `--check` fails if a size is more than this many times the size in the table.
const TOLERANCE: f64 = 1.02;

/// A row: its title, and a function that reads its value from a program, if the program has one.
struct Row {
    title: &'static str,
    id: &'static str,
    value: fn(&Hello) -> Option<f64>,
    unit: Unit,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Seconds,
    Packages,
    /// The size of a binary. The table shows the difference to an empty `main`.
    Kilobytes,
    Bytes,
}

const fn row(title: &'static str, id: &'static str, value: fn(&Hello) -> Option<f64>, unit: Unit) -> Row {
    Row { title, id, value, unit }
}

const ROWS: &[Row] = &[
    row("cold build, debug", "debug_seconds", |hello| wall(hello, Profile::Debug), Unit::Seconds),
    row("its CPU time", "debug_cpu_seconds", |hello| cpu(hello, Profile::Debug), Unit::Seconds),
    row("cold build, release", "release_seconds", |hello| wall(hello, Profile::Release), Unit::Seconds),
    row("its CPU time", "release_cpu_seconds", |hello| cpu(hello, Profile::Release), Unit::Seconds),
    row("packages", "packages", |hello| is_runtime(hello).then_some(hello.packages.len() as f64), Unit::Packages),
    row("binary, `release`", "binary_bytes", |hello| Some(hello.sizes[0].file as f64), Unit::Kilobytes),
    row("of which loaded", "loaded_bytes", |hello| Some(hello.sizes[0].loaded as f64), Unit::Kilobytes),
    row("binary, `lto`", "lto_bytes", |hello| Some(hello.sizes[1].file as f64), Unit::Kilobytes),
    row("of which loaded", "lto_loaded_bytes", |hello| Some(hello.sizes[1].loaded as f64), Unit::Kilobytes),
    row("binary, `small`", "small_bytes", |hello| Some(hello.sizes[2].file as f64), Unit::Kilobytes),
    row("of which loaded", "small_loaded_bytes", |hello| Some(hello.sizes[2].loaded as f64), Unit::Kilobytes),
    row("each further type of future", "further_bytes", |hello| bytes(hello, hello.further), Unit::Bytes),
    row("heap of an idle loop", "idle_bytes", |hello| bytes(hello, hello.idle), Unit::Bytes),
    row("heap of a waiting task", "task_bytes", |hello| bytes(hello, hello.task), Unit::Bytes),
];

fn is_runtime(hello: &Hello) -> bool {
    hello.name != "empty"
}

fn bytes(hello: &Hello, bytes: u64) -> Option<f64> {
    is_runtime(hello).then_some(bytes as f64)
}

fn wall(hello: &Hello, profile: Profile) -> Option<f64> {
    hello.median(profile, |build| build.wall)
}

fn cpu(hello: &Hello, profile: Profile) -> Option<f64> {
    hello.median(profile, |build| build.cpu)
}

fn title(hello: &Hello) -> String {
    match hello.name {
        "empty" => "empty `main`".into(),
        "minimal" => "onelane, of its features only `std`".into(),
        name => format!("{name} {}", hello.version),
    }
}

/// The table as Markdown. Each figure is followed by its ratio to the figure of tokio. For sizes,
/// this is the ratio of the differences to an empty `main`.
pub(crate) fn table(hellos: &[Hello]) -> String {
    let find = |name| hellos.iter().find(|hello| hello.name == name);
    let mut table = String::from("|");
    hellos.iter().for_each(|hello| _ = write!(table, " | {}", title(hello)));
    table.push_str(" |\n| ---");
    hellos.iter().for_each(|_| table.push_str(" | ---:"));
    table.push_str(" |\n");
    for row in ROWS {
        let of = |name| find(name).and_then(|hello| (row.value)(hello));
        let base = if row.unit == Unit::Kilobytes { of("empty") } else { None };
        let tokio = of("tokio").map(|tokio| tokio - base.unwrap_or(0.0));
        let _ = write!(table, "| {}", row.title);
        for hello in hellos {
            table.push_str(" | ");
            let Some(value) = (row.value)(hello) else { continue };
            let added = value - base.unwrap_or(0.0);
            let _ = match row.unit {
                Unit::Seconds => write!(table, "{value:.2} s"),
                Unit::Packages => write!(table, "{value}"),
                Unit::Bytes => write!(table, "{value} B"),
                Unit::Kilobytes if added == 0.0 => write!(table, "{:.0} kB", value / 1000.0),
                Unit::Kilobytes => write!(table, "+{:.0} kB", added / 1000.0),
            };
            if let Some(tokio) = tokio.filter(|_| is_runtime(hello) && hello.name != "tokio") {
                let _ = write!(table, " ({:.2})", added / tokio);
            }
        }
        table.push_str(" |\n");
    }
    table
}

/// Writes the samples and the table, with a description of the machine.
pub(crate) fn write(hellos: &[Hello], rounds: usize, folder: &Path) -> Result<()> {
    let machine = machine();
    let rustc = rustc()?;
    let figures = json!({
        "machine": machine,
        "rustc": rustc,
        "rounds": rounds,
        "programs": hellos.iter().map(figures).collect::<Vec<_>>(),
    });
    fs::create_dir_all(folder)?;
    fs::write(folder.join("footprint.json"), serde_json::to_string_pretty(&figures)? + "\n")?;

    let page = folder.join("footprint.md");
    let text = fs::read_to_string(&page).with_context(|| format!("reading {}", page.display()))?;
    let parts: Vec<&str> = text.split(MARK).collect();
    let [before, _, after] = parts[..] else {
        anyhow::bail!("{} must have two lines `{MARK}`, with the table between them", page.display());
    };
    let table = table(hellos);
    let caption =
        format!("{rustc}; {machine}; times are medians of {rounds}. In brackets: the ratio to tokio's figure.");
    fs::write(&page, format!("{before}{MARK}\n{caption}\n\n{table}{MARK}{after}"))?;
    Ok(())
}

/// Compares sizes and memory with the figures in the folder. The figures are exact for one
/// compiler, so they are not compared with those of another.
pub(crate) fn check(hellos: &[Hello], folder: &Path) -> Result<()> {
    let figures = read(folder)?;
    let (rustc, before) = (rustc()?, figures["rustc"].as_str().unwrap_or_default());
    if rustc != before {
        println!("skipped: the sizes in the table are from {before}, and this compiler is {rustc}");
        return Ok(());
    }
    let mut grown = 0;
    for hello in hellos {
        let medians = &program(&figures, hello.name)?["medians"];
        for row in ROWS.iter().filter(|row| matches!(row.unit, Unit::Kilobytes | Unit::Bytes)) {
            let (Some(now), Some(before)) = ((row.value)(hello), medians[row.id].as_f64()) else { continue };
            let has_grown = now > before * TOLERANCE;
            grown += usize::from(has_grown);
            let verdict = if has_grown { "  TOO MUCH" } else { "" };
            let change = (now / before - 1.0) * 100.0;
            println!("{:8} {:19} {before:8} {now:8} {change:+6.1} %{verdict}", hello.name, row.id);
        }
    }
    ensure!(grown == 0, "{grown} of these grew by more than 2 %; if this is intended, run --sizes to update the table");
    Ok(())
}

/// Reads the times of the builds from the figures in the folder.
pub(crate) fn take_times(hellos: &mut [Hello], folder: &Path) -> Result<()> {
    let figures = read(folder)?;
    for hello in hellos.iter_mut().filter(|hello| is_runtime(hello)) {
        let builds = program(&figures, hello.name)?["builds"].as_array().context("builds")?;
        for build in builds {
            let profile = if build["profile"] == "debug" { Profile::Debug } else { Profile::Release };
            let seconds = |of: &str| build[of].as_f64().with_context(|| format!("no {of}"));
            hello.builds.push(Build { profile, wall: seconds("wall")?, cpu: seconds("cpu")? });
        }
    }
    Ok(())
}

fn read(folder: &Path) -> Result<Value> {
    let file = folder.join("footprint.json");
    let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    Ok(serde_json::from_str(&text)?)
}

fn program<'a>(figures: &'a Value, name: &str) -> Result<&'a Value> {
    let programs = figures["programs"].as_array().context("no programs in footprint.json")?;
    programs.iter().find(|program| program["name"] == name).with_context(|| format!("no {name} in footprint.json"))
}

fn figures(hello: &Hello) -> Value {
    let build = |build: &Build| json!({ "profile": build.profile.name(), "wall": build.wall, "cpu": build.cpu });
    let medians: serde_json::Map<String, Value> =
        ROWS.iter().filter_map(|row| Some((row.id.into(), json!((row.value)(hello)?)))).collect();
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

/// The processor and the number of its cores, if known.
fn machine() -> String {
    let model = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split(':').nth(1)?.trim().to_string())
    });
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{}, {cores} cores, {}", model.unwrap_or("unknown processor".into()), std::env::consts::OS)
}
