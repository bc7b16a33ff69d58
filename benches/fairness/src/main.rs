//! Measures how late timers are beside a stream that is always ready, on `onelane` and on CPython's
//! asyncio.
//!
//! A thread sends or receives as fast as it can. In the event loop, one task reads or writes in a
//! loop, and another sleeps for 10 ms, a hundred times. The program measures how late each sleep
//! ends. It does not measure how many bytes are transferred.
//!
//! Next: `beside.rs`, and `twin.py`, which does the same on asyncio.

mod beside;
mod options;

use anyhow::{Context, Result, ensure};
use options::{Order, Other, Plan, Traffic};
use std::path::Path;
use std::process::{Command, ExitCode};

/// The table has the share of timers that were at most this many milliseconds late.
const LIMITS: [u64; 3] = [1, 2, 5];

fn main() -> ExitCode {
    match Order::parse(&mut lexopt::Parser::from_env()).and_then(obey) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn obey(order: Order) -> Result<()> {
    match order {
        Order::Help => print!("{}", options::HELP),
        Order::Once(traffic) => {
            let late = beside::lateness(traffic)?.iter().map(u64::to_string).collect::<Vec<_>>();
            println!("{}", late.join(" "));
        }
        Order::Compare(plan) => compare(&plan)?,
    }
    Ok(())
}

/// Runs each sample in its own process. The loop that runs first changes from round to round.
fn compare(plan: &Plan) -> Result<()> {
    let ours = std::env::current_exe()?;
    let twin = Path::new(env!("CARGO_MANIFEST_DIR")).join("twin.py");
    let limits = LIMITS.map(|limit| format!("≤ {limit} ms")).join(" | ");
    println!("| traffic | loop | {limits} | median | latest |\n| --- | --- {}|", "| ---: ".repeat(LIMITS.len() + 2));
    for traffic in Traffic::ALL {
        let mut late = [Vec::new(), Vec::new()];
        for round in 0..plan.rounds {
            for who in [round % 2, 1 - round % 2] {
                let mut command = match &plan.other {
                    Other::Python(python) if who == 1 => {
                        let mut command = Command::new(python);
                        command.arg(&twin);
                        command
                    }
                    Other::Build(program) if who == 1 => once(program),
                    _ => once(&ours),
                };
                late[who].extend(lateness(command.arg(traffic.name()))?);
            }
        }
        let other = match plan.other {
            Other::Python(_) => "asyncio",
            Other::Build(_) => "the other build",
        };
        for (name, late) in ["**onelane**", other].into_iter().zip(&mut late) {
            println!("| {} | {name} {}|", traffic.name(), row(late));
        }
    }
    Ok(())
}

fn once(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg("once");
    command
}

fn lateness(command: &mut Command) -> Result<Vec<u64>> {
    let output = command.output().with_context(|| format!("starting {command:?}"))?;
    ensure!(output.status.success(), "{command:?} failed:\n{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    text.split_whitespace().map(|number| Ok(number.parse()?)).collect()
}

/// The percentage of timers within each limit, the median lateness, and the largest.
fn row(late: &mut [u64]) -> String {
    late.sort_unstable();
    let share = |limit| late.iter().filter(|&&late| late <= limit * 1000).count() as f64 * 100.0 / late.len() as f64;
    let shares: String = LIMITS.map(|limit| format!("| {:.1} ", share(limit))).concat();
    let milliseconds = |late: u64| late as f64 / 1000.0;
    format!("{shares}| {:.2} ms | {:.2} ms ", milliseconds(late[late.len() / 2]), milliseconds(late[late.len() - 1]))
}
