//! Compares `onelane` with other runtimes that do the same work: time, CPU time, memory and
//! allocations per operation. Also compares the results with our targets.
//!
//! It measures the cases of `onelane-cases`. In each round it takes one sample of each runtime, so
//! a disturbance of the machine affects all of them. It does not measure sockets, files, or work of
//! the tasks themselves. `--help` explains how to use it; `docs/performance/README.md` explains the
//! figures.

mod alloc;
mod charts;
mod figures;
mod footprint;
mod measure;
mod options;
mod python;
mod report;
mod resident;
mod run;
mod targets;

use figures::Figures;
use footprint::Footprint;
use onelane_peers::text::put_between_marks;
use options::{HELP, Options};
use std::fs;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = resident::child() {
        return code;
    }
    match Options::parse(&mut lexopt::Parser::from_env()).and_then(|options| act(&options)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn act(options: &Options) -> Result<ExitCode, String> {
    if options.help {
        print!("{HELP}");
        return Ok(ExitCode::SUCCESS);
    }
    if options.list {
        return list(options).map(|()| ExitCode::SUCCESS);
    }
    let footprint = Footprint::read();
    if options.render {
        let folder = options
            .folder()
            .ok_or("--render generates table and charts from a full run; leave out the other options")?;
        let text = fs::read_to_string(folder.join("figures.json"))
            .map_err(|error| format!("there are no figures in {}: {error}", folder.display()))?;
        let figures = serde_json::from_str(&text).map_err(|error| format!("figures.json cannot be read: {error}"))?;
        return write(&figures, &footprint, &folder).map(|()| ExitCode::SUCCESS);
    }
    if cfg!(debug_assertions) {
        eprintln!("This is a debug build: its figures are meaningless. Run it with --release.");
    }
    let figures = run::run(options)?;
    print!("{}", report::text(&figures, &footprint));
    if let Some(folder) = options.folder() {
        write(&figures, &footprint, &folder)?;
    }
    Ok(if figures.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn list(options: &Options) -> Result<(), String> {
    println!("Cases");
    for case in onelane_cases::CASES {
        println!("    {:<22} {}", case.id, case.title);
    }
    let (participants, absent) = run::participants(options)?;
    let names: Vec<&str> = participants.iter().map(|who| who.id).collect();
    println!("Runtimes\n    {}", names.join(", "));
    for absent in absent {
        println!("    cannot be measured here: {}: {}", absent.id, absent.why);
    }
    Ok(())
}

/// Writes figures, table and charts to the folder. If the folder has a page, also writes the table
/// and the list of losses into the page.
fn write(figures: &Figures, footprint: &Result<Footprint, String>, folder: &Path) -> Result<(), String> {
    let table = report::markdown(figures, footprint);
    let json = serde_json::to_string_pretty(figures).map_err(|error| error.to_string())? + "\n";
    let mut files = vec![("figures.json".to_owned(), json), ("table.md".to_owned(), table.clone())];
    files.extend(charts::all(figures));
    if let Ok(page) = fs::read_to_string(folder.join("README.md")) {
        let page = put_between_marks(page, "table", &table);
        files.push(("README.md".to_owned(), put_between_marks(page, "losses", &report::losses(figures))));
    }
    fs::create_dir_all(folder).map_err(|error| format!("{} cannot be created: {error}", folder.display()))?;
    for (name, text) in files {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
    }
    eprintln!("Written to {}", folder.display());
    Ok(())
}
