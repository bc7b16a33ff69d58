//! The command line.

use onelane_cases::CASES;
use std::path::PathBuf;

pub(crate) const HELP: &str = "\
Runs the same work on onelane and on other runtimes, and prints the cost of an operation on each.

    cargo run --release --manifest-path benches/peers/Cargo.toml [-- OPTIONS]

    --quick         less than a minute: few rounds, short samples, small sizes; writes nothing
    --only CASE     only cases whose names begin with CASE; can be repeated; writes nothing
    --runtime NAME  only this runtime and onelane; can be repeated; writes nothing
    --rounds N      number of samples per runtime and case, without the warm-up
    --out DIR       write figures, charts and table to DIR, with any other options
    --render        measure nothing; generate table and charts from the existing figures
    --list          list the cases and runtimes
    --help          print this text

Without options it takes a quarter of an hour. It then writes figures.json, table.md, the charts,
and the tables in README.md, all in docs/performance.
If a runtime fails in a case, the failure is reported and the case has no figure for the runtime.
The exit code is then 1.
Use a machine that does nothing else.
PYTHON names the interpreter for asyncio and uvloop, if it is not python3.
";

#[derive(Debug, Default, PartialEq)]
pub(crate) struct Options {
    pub(crate) quick: bool,
    pub(crate) only: Vec<String>,
    pub(crate) runtimes: Vec<String>,
    pub(crate) rounds: Option<usize>,
    pub(crate) out: Option<PathBuf>,
    pub(crate) render: bool,
    pub(crate) list: bool,
    pub(crate) help: bool,
}

impl Options {
    /// Reads the arguments of the command line.
    ///
    /// # Errors
    ///
    /// The text says what is wrong with the arguments, and what to give instead.
    pub(crate) fn parse(parser: &mut lexopt::Parser) -> Result<Self, String> {
        use lexopt::prelude::*;
        let mut options = Options::default();
        while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
            match argument {
                Long("quick") => options.quick = true,
                Long("render") => options.render = true,
                Long("list") => options.list = true,
                Short('h') | Long("help") => options.help = true,
                Long("only") => {
                    let start = value(parser)?;
                    if !CASES.iter().any(|case| case.id.starts_with(&start)) {
                        return Err(format!("no case begins with {start:?}; --list shows them"));
                    }
                    options.only.push(start);
                }
                Long("runtime") => options.runtimes.push(value(parser)?),
                Long("rounds") => {
                    let rounds = value(parser)?;
                    let number = rounds.parse().ok().filter(|number| (1..=1000).contains(number));
                    options.rounds = Some(number.ok_or(format!("--rounds {rounds}: give a number from 1 to 1000"))?);
                }
                Long("out") => options.out = Some(value(parser)?.into()),
                Short(_) | Long(_) | Value(_) => {
                    return Err(format!("{}; --help shows what there is", argument.unexpected()));
                }
            }
        }
        Ok(options)
    }

    /// Whether the case is selected.
    pub(crate) fn wants_case(&self, id: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|start| id.starts_with(start))
    }

    /// Whether the runtime is selected. `onelane` always is, because the others are compared with
    /// it.
    pub(crate) fn wants_runtime(&self, id: &str) -> bool {
        self.runtimes.is_empty() || id == "onelane" || self.runtimes.iter().any(|name| name == id)
    }

    /// The folder to write to, if any. By default only a full run writes, to the documentation.
    pub(crate) fn folder(&self) -> Option<PathBuf> {
        let documents = || concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/performance").into();
        let full = !self.quick && self.only.is_empty() && self.runtimes.is_empty();
        self.out.clone().or_else(|| full.then(documents))
    }
}

/// The value of the option that was just read.
fn value(parser: &mut lexopt::Parser) -> Result<String, String> {
    parser
        .value()
        .map_err(|error| error.to_string())?
        .into_string()
        .map_err(|value| format!("{value:?} is not valid UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::Options;

    fn parse(arguments: &[&str]) -> Result<Options, String> {
        Options::parse(&mut lexopt::Parser::from_args(arguments))
    }

    #[test]
    fn cases_are_chosen_by_their_beginning() {
        let options = parse(&["--only", "yield", "--only=spawn-1", "--rounds", "3"]).unwrap();
        assert_eq!(options.rounds, Some(3));
        assert!(options.wants_case("yield-1000") && options.wants_case("spawn-1000"));
        assert!(!options.wants_case("own-yield-1"));
    }

    #[test]
    fn onelane_is_always_among_the_runtimes() {
        let options = parse(&["--runtime", "smol"]).unwrap();
        assert!(options.wants_runtime("smol") && options.wants_runtime("onelane") && !options.wants_runtime("tokio"));
    }

    #[test]
    fn a_part_of_a_run_does_not_overwrite_the_documents() {
        assert!(parse(&[]).unwrap().folder().is_some());
        for part in [&["--quick"][..], &["--only", "baton"], &["--runtime", "smol"]] {
            assert_eq!(parse(part).unwrap().folder(), None);
        }
        assert_eq!(parse(&["--quick", "--out", "here"]).unwrap().folder(), Some("here".into()));
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (arguments, told) in [
            (&["--only", "yeild"][..], "no case begins with \"yeild\"; --list shows them"),
            (&["--rounds", "0"], "--rounds 0: give a number from 1 to 1000"),
            (&["--fast"], "invalid option '--fast'; --help shows what there is"),
            (&["--only"], "missing argument for option '--only'"),
        ] {
            assert_eq!(parse(arguments).unwrap_err(), told);
        }
    }
}
