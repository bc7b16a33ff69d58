//! Compares the cost of a switch between two tasks in `onelane` with goroutines, coroutines of C++
//! and Lua, Python's generators and asyncio, and threads of the operating system.
//!
//! ```text
//!     driver ── builds programs/*, pins itself to one core
//!        └── in each round, for each shape, one new process per program:
//!            PROGRAM yield TASKS ROUNDS       prints  SWITCHES NANOSECONDS
//!            PROGRAM hand-over 2 ROUNDS
//! ```
//!
//! Each program measures by its own clock, and counts the switches that it has made. A sample with
//! a wrong count has failed. The programs in Rust are in this binary, and run in a process of their
//! own as well.
//!
//! Next: `programs.rs`, the list of programs; `here/mod.rs`, those in Rust; `measure.rs`, the
//! rounds; `report.rs`, which writes the table.

mod here;
mod measure;
mod options;
mod programs;
mod report;

use anyhow::{Result, ensure};
use measure::Plan;
use options::Order;
use std::process::ExitCode;

fn main() -> ExitCode {
    match Order::parse(&mut lexopt::Parser::from_env()).and_then(obey) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn obey(order: Order) -> Result<ExitCode> {
    match order {
        Order::Help => print!("{}", options::HELP),
        Order::Sample { program, shape, tasks, rounds } => {
            let (switches, took) = here::sample(&program, &shape, tasks, rounds)?;
            println!("{switches} {}", took.as_nanos());
        }
        Order::Check => {
            let prepared = programs::prepare()?;
            for missing in &prepared.missing {
                eprintln!("skipped: {missing}");
            }
            let failures = [prepared.failures, measure::check(&prepared.programs)].concat();
            ensure!(failures.is_empty(), "{}", failures.join("\n"));
        }
        Order::Measure { quick } => {
            if cfg!(debug_assertions) {
                eprintln!("This is a debug build: its figures are meaningless. Run it with --release.");
            }
            // Before pinning, because a compiler can use several cores.
            let prepared = programs::prepare()?;
            let figures = measure::measure(prepared, Plan::new(quick));
            print!("{}", report::text(&figures));
            if !quick {
                report::write(&figures)?;
            }
            if !figures.failures.is_empty() {
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
