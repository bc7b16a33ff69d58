//! The command line. It does not know how the orders are executed.

use anyhow::{Context, Result, bail, ensure};
use lexopt::Arg::{Long, Short, Value};
use lexopt::{Parser, ValueExt};
use std::fmt;
use std::path::{Path, PathBuf};

pub(crate) const HELP: &str = "\
Puts the same HTTP service on onelane and on tokio under the load of wrk, in turn.

    cargo run --release --manifest-path benches/http/Cargo.toml -- [OPTIONS]
    cargo run --release --manifest-path benches/http/Cargo.toml -- serve onelane|tokio --port N

    --loads NAME,NAME,..  the loads that wrk makes (small,large,pipelined,closing):
                            small      short responses, on connections that stay open
                            large      a MiB to the server, which sends it back
                            pipelined  sixteen requests in one write
                            closing    one connection per request
    --connections N,N,..  numbers of open connections for the small load (1,32,256,1000);
                          the other loads have 32
    --against PROGRAM     compare with another build of this program, serving on onelane,
                          instead of tokio; writes nothing
    --rounds N            number of samples of each, for the median (7)
    --seconds N           duration of a sample (5)
    --out DIR             the folder of servers.md and servers.json (docs/performance)
    --print               print the table, and write nothing
    --quick               2 rounds of 1 second, less than a minute; writes nothing
    --soak SECONDS        run a server under 1,000 connections for this long;
                          fails if memory grows, a descriptor leaks, or a request fails
    --runtime NAME        the server for --soak: onelane or tokio (onelane)
    --hostile SECONDS     good clients among hostile ones; fails if a good client is not served,
                          a timer is too late, or a resource leaks

    serve NAME            only the server; prints its port, and runs until it is killed
    --port N              the port on 127.0.0.1; 0 lets the system choose one (0)
    --with-parent         ends when its parent process ends (Linux)

Needs Linux, wrk, and two cores of a machine that does nothing else.
";

/// What the program should do.
#[derive(Debug, PartialEq)]
pub(crate) enum Order {
    Help,
    Serve(Serve),
    Measure(Plan),
    Soak(Soak),
    Hostile(Hostile),
    /// Run the server for `Hostile`.
    Withstand,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Runtime {
    Onelane,
    Tokio,
}

impl Runtime {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Runtime::Onelane => "onelane",
            Runtime::Tokio => "tokio",
        }
    }

    fn named(name: &str) -> Result<Self> {
        let found = [Runtime::Onelane, Runtime::Tokio].into_iter().find(|runtime| runtime.name() == name);
        found.with_context(|| format!("there is no server on {name:?}; give onelane or tokio"))
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A kind of load.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Load {
    Small,
    Large,
    Pipelined,
    Closing,
}

impl Load {
    pub(crate) const ALL: [Load; 4] = [Load::Small, Load::Large, Load::Pipelined, Load::Closing];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Load::Small => "small",
            Load::Large => "large",
            Load::Pipelined => "pipelined",
            Load::Closing => "closing",
        }
    }

    /// The script with which `wrk` makes this load.
    pub(crate) fn script(self) -> Option<PathBuf> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("wrk");
        (self != Load::Small).then(|| folder.join(self.name()).with_extension("lua"))
    }
}

/// A load and a number of connections. The table has a row per server for each case.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Case {
    pub(crate) load: Load,
    pub(crate) connections: u32,
}

/// A server that is measured.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Candidate<'a> {
    pub(crate) name: &'static str,
    pub(crate) runtime: Runtime,
    /// `None` for this program.
    pub(crate) program: Option<&'a Path>,
}

/// Number of connections of all loads except `Small`.
const CONNECTIONS: u32 = 32;

#[derive(Debug, PartialEq)]
pub(crate) struct Serve {
    pub(crate) runtime: Runtime,
    pub(crate) port: u16,
    pub(crate) with_parent: bool,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) loads: Vec<Load>,
    /// Numbers of connections of the small load.
    pub(crate) connections: Vec<u32>,
    pub(crate) rounds: usize,
    pub(crate) seconds: u32,
    /// `None` to write nothing.
    pub(crate) out: Option<PathBuf>,
    /// Another build of this program, which replaces tokio.
    pub(crate) against: Option<PathBuf>,
}

impl Plan {
    pub(crate) fn cases(&self) -> Vec<Case> {
        let of = |&load| match load {
            Load::Small => self.connections.clone(),
            _ => vec![CONNECTIONS],
        };
        let cases = |load| of(load).into_iter().map(|connections| Case { load: *load, connections });
        self.loads.iter().flat_map(cases).collect()
    }

    /// Our server, and the one to compare with.
    pub(crate) fn candidates(&self) -> [Candidate<'_>; 2] {
        let of = |runtime: Runtime| Candidate { name: runtime.name(), runtime, program: None };
        let other = match &self.against {
            None => of(Runtime::Tokio),
            Some(program) => Candidate { name: "the other build", runtime: Runtime::Onelane, program: Some(program) },
        };
        [of(Runtime::Onelane), other]
    }
}

#[derive(Debug, PartialEq)]
pub(crate) struct Soak {
    pub(crate) runtime: Runtime,
    pub(crate) seconds: u32,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Hostile {
    pub(crate) seconds: u32,
}

impl Order {
    /// # Errors
    ///
    /// Says what is wrong with the arguments, and what to give instead.
    pub(crate) fn parse(parser: &mut Parser) -> Result<Self> {
        let out = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/performance");
        let (loads, connections) = (Load::ALL.to_vec(), vec![1, 32, 256, 1000]);
        let mut plan = Plan { loads, connections, rounds: 7, seconds: 5, out: Some(out), against: None };
        let (mut soak, mut hostile, mut runtime) = (None, None, Runtime::Onelane);
        while let Some(argument) = parser.next()? {
            match argument {
                Value(word) if word == "serve" => return Serve::parse(parser),
                Value(word) if word == "withstand" => return Ok(Order::Withstand),
                Long("loads") => plan.loads = named(&parser.value()?.string()?)?,
                Long("against") => (plan.against, plan.out) = (Some(parser.value()?.into()), None),
                Long("connections") => plan.connections = numbers(&parser.value()?.string()?)?,
                Long("rounds") => plan.rounds = parser.value()?.parse()?,
                Long("seconds") => plan.seconds = parser.value()?.parse()?,
                Long("out") => plan.out = Some(parser.value()?.into()),
                Long("print") => plan.out = None,
                Long("quick") => (plan.rounds, plan.seconds, plan.out) = (2, 1, None),
                Long("soak") => soak = Some(parser.value()?.parse()?),
                Long("hostile") => hostile = Some(parser.value()?.parse()?),
                Long("runtime") => runtime = Runtime::named(&parser.value()?.string()?)?,
                Long("help") | Short('h') => return Ok(Order::Help),
                other => bail!("{} (try --help)", other.unexpected()),
            }
        }
        ensure!(plan.rounds > 0, "--rounds 0 measures nothing: give at least 1");
        ensure!(plan.seconds > 0, "--seconds 0 measures nothing: give at least 1");
        for (name, seconds) in [("soak", soak), ("hostile", hostile)] {
            let is_enough = seconds.is_none_or(|seconds| seconds >= SHORTEST);
            ensure!(is_enough, "--{name} {} tells nothing: give at least {SHORTEST}", seconds.unwrap_or(0));
        }
        Ok(match (soak, hostile) {
            (Some(seconds), _) => Order::Soak(Soak { runtime, seconds }),
            (None, Some(seconds)) => Order::Hostile(Hostile { seconds }),
            (None, None) => Order::Measure(plan),
        })
    }
}

/// The shortest run in seconds. A shorter run has too few readings to compare the third quarter
/// with the fourth.
const SHORTEST: u32 = 10;

impl Serve {
    fn parse(parser: &mut Parser) -> Result<Order> {
        let (mut runtime, mut port, mut with_parent) = (None, 0, false);
        while let Some(argument) = parser.next()? {
            match argument {
                Value(name) if runtime.is_none() => runtime = Some(Runtime::named(&name.string()?)?),
                Long("port") => port = parser.value()?.parse()?,
                Long("with-parent") => with_parent = true,
                Long("help") | Short('h') => return Ok(Order::Help),
                other => bail!("{} (try --help)", other.unexpected()),
            }
        }
        let runtime = runtime.context("serve whom? give onelane or tokio")?;
        Ok(Order::Serve(Serve { runtime, port, with_parent }))
    }
}

fn named(list: &str) -> Result<Vec<Load>> {
    let load = |text: &str| Load::ALL.into_iter().find(|load| load.name() == text.trim());
    let loads = list.split(',').map(load).collect::<Option<Vec<Load>>>();
    loads.with_context(|| format!("--loads {list}: give small, large, pipelined or closing, with commas between them"))
}

fn numbers(list: &str) -> Result<Vec<u32>> {
    let number = |text: &str| text.trim().parse().ok().filter(|number| (1..=10_000).contains(number));
    let numbers = list.split(',').map(number).collect::<Option<Vec<u32>>>();
    numbers.with_context(|| format!("--connections {list}: give numbers from 1 to 10000, with commas between them"))
}

#[cfg(test)]
mod tests {
    use super::{Case, Load, Order, Plan, Runtime, Serve, Soak};
    use std::path::Path;

    fn parse(arguments: &[&str]) -> Result<Order, String> {
        Order::parse(&mut lexopt::Parser::from_args(arguments)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_server_has_a_runtime_and_a_port() {
        let serve = |runtime, port, with_parent| Ok(Order::Serve(Serve { runtime, port, with_parent }));
        assert_eq!(parse(&["serve", "tokio", "--port", "80"]), serve(Runtime::Tokio, 80, false));
        assert_eq!(parse(&["serve", "--with-parent", "onelane"]), serve(Runtime::Onelane, 0, true));
    }

    #[test]
    fn quick_writes_nothing() {
        let loads = Load::ALL.to_vec();
        let quick = Plan { loads, connections: vec![1, 2], rounds: 2, seconds: 1, out: None, against: None };
        assert_eq!(parse(&["--connections", "1, 2", "--quick"]), Ok(Order::Measure(quick)));
        assert!(matches!(parse(&[]), Ok(Order::Measure(Plan { rounds: 7, seconds: 5, out: Some(_), .. }))));
    }

    #[test]
    fn loads_have_their_connections_and_another_build_is_in_place_of_tokio() {
        let arguments = ["--against", "old", "--loads", "large,small", "--connections", "1,2"];
        let Ok(Order::Measure(plan)) = parse(&arguments) else { panic!("it is a plan") };
        let cases = [(Load::Large, 32), (Load::Small, 1), (Load::Small, 2)];
        assert_eq!(plan.cases(), cases.map(|(load, connections)| Case { load, connections }));
        assert_eq!((plan.candidates()[1].program, plan.out.as_deref()), (Some(Path::new("old")), None));
    }

    #[test]
    fn scripts_are_there() {
        for load in Load::ALL {
            assert!(load.script().is_none_or(|script| script.exists()), "{load:?}");
        }
    }

    #[test]
    fn a_soak_has_one_server() {
        assert_eq!(parse(&["--soak", "60"]), Ok(Order::Soak(Soak { runtime: Runtime::Onelane, seconds: 60 })));
        let tokio = parse(&["--runtime", "tokio", "--soak", "60"]);
        assert_eq!(tokio, Ok(Order::Soak(Soak { runtime: Runtime::Tokio, seconds: 60 })));
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (arguments, told) in [
            (&["serve"][..], "serve whom? give onelane or tokio"),
            (&["serve", "smol"], "there is no server on \"smol\"; give onelane or tokio"),
            (&["--rounds", "0"], "--rounds 0 measures nothing: give at least 1"),
            (&["--seconds", "0"], "--seconds 0 measures nothing: give at least 1"),
            (&["--hostile", "3"], "--hostile 3 tells nothing: give at least 10"),
            (&["--soak", "3"], "--soak 3 tells nothing: give at least 10"),
            (&["--connections", "1,0"], "--connections 1,0: give numbers from 1 to 10000, with commas between them"),
            (&["--loads", "x"], "--loads x: give small, large, pipelined or closing, with commas between them"),
            (&["--fast"], "invalid option '--fast' (try --help)"),
        ] {
            assert_eq!(parse(arguments).unwrap_err(), told);
        }
    }
}
