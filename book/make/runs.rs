//! Runs the programs of the book. Each run is a process of its own: it prints what the program prints, and then the
//! figure.

use crate::{figure, root};
use book_programs::{NAMES, program};
use std::collections::BTreeMap;
use std::process::Command;
use std::{env, fs};

/// What the programs printed, and their figures.
#[derive(Default)]
pub struct Runs(BTreeMap<&'static str, Run>);

pub struct Run {
    pub output: String,
    pub figure: String,
}

impl Runs {
    pub fn get(&self, name: &str) -> Result<&Run, String> {
        self.0.get(name).ok_or_else(|| unknown(name))
    }
}

/// Runs one program, and prints its figure.
pub fn run(name: &str) -> Result<(), String> {
    figure::record(name, program(name).ok_or_else(|| unknown(name))?);
    Ok(())
}

fn unknown(name: &str) -> String {
    format!("{name:?} is none of the programs {}", NAMES.join(", "))
}

/// Runs all programs. The pages that replay them are written into `target/book/figures`, unless this is a check.
pub fn run_all(check: bool) -> Result<Runs, String> {
    let mut runs = Runs::default();
    let pages = root().join("target/book/figures");
    fs::create_dir_all(&pages).map_err(|error| format!("{}: {error}", pages.display()))?;
    let this = env::current_exe().map_err(|error| error.to_string())?;
    for name in NAMES {
        let mut command = Command::new(&this);
        command.args(["--program", name]).env_remove("ONELANE_REPLAY");
        if !check {
            command.env(figure::PAGE, pages.join(format!("{name}.html")));
        }
        let run = command.output().map_err(|error| format!("{name}: {error}"))?;
        let text = String::from_utf8(run.stdout).map_err(|_| format!("{name} printed what is no UTF-8"))?;
        let errors = String::from_utf8_lossy(&run.stderr);
        if !run.status.success() {
            return Err(format!("the program {name} failed: {errors}"));
        }
        let (output, figure) = text.split_once(figure::BEGIN).ok_or_else(|| format!("{name} has no figure"))?;
        runs.0.insert(name, Run { output: output.to_string(), figure: figure.trim_start().to_string() });
    }
    Ok(runs)
}
