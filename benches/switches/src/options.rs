//! The command line.

use anyhow::{Context, Result, bail};
use lexopt::ValueExt;

pub(crate) const HELP: &str = "\
Measures the cost of a switch in onelane, Go, C++, Lua, Python and the operating system.

    cargo run --release --manifest-path benches/switches/Cargo.toml [-- OPTIONS]

    --quick  less than half a minute: few rounds, short samples; writes nothing
    --check  measure nothing: run each program with small numbers, and compare its counts
    --help   print this text

Without options it takes about two minutes, and writes the table in docs/performance/switches.md.
A language that is not installed is named, with the command that installs it; the others are
measured. If a program fails, the failure is reported, the rest is measured, and the exit code is 1.
Use a machine that does nothing else.
PYTHON names the interpreter for generators and asyncio, if it is not python3.

The program runs itself for a sample of a program in Rust:

    onelane-switches sample PROGRAM yield TASKS ROUNDS
    onelane-switches sample PROGRAM hand-over 2 ROUNDS
";

#[derive(Debug, PartialEq)]
pub(crate) enum Order {
    Help,
    Check,
    Measure { quick: bool },
    Sample { program: String, shape: String, tasks: usize, rounds: usize },
}

impl Order {
    /// # Errors
    ///
    /// Says what is wrong with the arguments.
    pub(crate) fn parse(parser: &mut lexopt::Parser) -> Result<Self> {
        use lexopt::Arg::{Long, Short, Value};
        let mut order = Order::Measure { quick: false };
        while let Some(argument) = parser.next()? {
            order = match argument {
                Short('h') | Long("help") => return Ok(Order::Help),
                Long("quick") => Order::Measure { quick: true },
                Long("check") => Order::Check,
                Value(word) if word == "sample" => Order::Sample {
                    program: parser.value()?.string()?,
                    shape: parser.value()?.string()?,
                    tasks: number(parser)?,
                    rounds: number(parser)?,
                },
                _ => bail!("{}; --help shows what there is", argument.unexpected()),
            };
        }
        Ok(order)
    }
}

fn number(parser: &mut lexopt::Parser) -> Result<usize> {
    parser.value()?.parse().context("`sample` needs the numbers of tasks and rounds")
}

#[cfg(test)]
mod tests {
    use super::Order;

    fn parse(arguments: &[&str]) -> Result<Order, String> {
        Order::parse(&mut lexopt::Parser::from_args(arguments)).map_err(|error| error.to_string())
    }

    #[test]
    fn only_a_full_run_is_not_quick() {
        assert_eq!(parse(&[]), Ok(Order::Measure { quick: false }));
        assert_eq!(parse(&["--quick"]), Ok(Order::Measure { quick: true }));
    }

    #[test]
    fn a_sample_has_a_program_a_shape_and_two_numbers() {
        let order = Order::Sample { program: "threads".into(), shape: "hand-over".into(), tasks: 2, rounds: 30 };
        assert_eq!(parse(&["sample", "threads", "hand-over", "2", "30"]), Ok(order));
        assert_eq!(
            parse(&["sample", "threads", "yield", "1", "often"]).unwrap_err(),
            "`sample` needs the numbers of tasks and rounds"
        );
    }

    #[test]
    fn an_unknown_argument_is_named() {
        assert_eq!(parse(&["--fast"]).unwrap_err(), "invalid option '--fast'; --help shows what there is");
    }
}
