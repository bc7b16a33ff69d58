//! The options of the examples on the command line: `--name VALUE`, each at most once.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Display;
use std::process::ExitCode;
use std::str::FromStr;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The values, by name.
pub(crate) struct Options(BTreeMap<String, String>);

impl Options {
    #[allow(dead_code, reason = "not every program uses it")]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// # Errors
    ///
    /// If the value cannot be read.
    pub(crate) fn get<T: FromStr<Err: Display>>(&self, name: &str) -> Result<Option<T>> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        let value = value.parse().map_err(|error| format!("{name} {value}: {error}"))?;
        Ok(Some(value))
    }
}

fn parse(known: &[&str]) -> Result<Options> {
    let mut options = BTreeMap::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        if !known.contains(&&*name) {
            return Err(format!("there is no option {name}").into());
        }
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        if options.insert(name.clone(), value).is_some() {
            return Err(format!("{name} was given twice").into());
        }
    }
    Ok(Options(options))
}

/// Runs a program with its options. If it fails, prints the error on stderr and exits with 1; with
/// 2 for an unknown option.
pub(crate) fn run_with(usage: &str, known: &[&str], program: impl FnOnce(&Options) -> Result<()>) -> ExitCode {
    if std::env::args().any(|argument| argument == "--help" || argument == "-h") {
        println!("{usage}");
        return ExitCode::SUCCESS;
    }
    let options = match parse(known) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("error: {error}\n{usage}");
            return ExitCode::from(2);
        }
    };
    match program(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
