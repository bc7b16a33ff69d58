//! Measures how many orders a second an exploration runs, and what other tools need that run every
//! order of the same program.
//!
//! The program: three tasks, each of which adds to a number three times, and suspends between two
//! additions. Main spawns them and waits until they have ended. Each task suspends by waking itself, or
//! where a tool chooses only at operations that it knows, by such an operation: see `tools.rs`.
//!
//! It does not measure how soon a failure is found, which depends on the order of the search more than
//! on its speed. The tools take turns, and each figure is a ratio of two samples that were taken one
//! after the other, because a machine is not equally fast all the time.

mod tools;

use std::process::ExitCode;
use std::time::{Duration, Instant};
use tools::{Program, TOOLS, Tool};

const HELP: &str = "\
Runs a small program in all its orders, with onelane and with other tools.

    cargo run --release --manifest-path benches/explore/Cargo.toml [-- --check | -- --million]

    --check    runs a smaller program once with each tool, and checks the number of orders
    --million  runs a million orders with onelane alone, and prints the time
";

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        None => measure(),
        Some("--check") => check(),
        Some("--million") => million(),
        _ => {
            print!("{HELP}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// The number of orders, and the time for all of them.
fn sample(tool: &Tool, program: Program) -> (u64, Duration) {
    let begin = Instant::now();
    let orders = (tool.explore)(program);
    (orders, begin.elapsed())
}

fn check() {
    for tool in &TOOLS {
        let orders = (tool.explore)(Program { tasks: 2, steps: 2 });
        // The tasks alone have 4!/(2!)^2 orders. A tool that also chooses when main runs has more.
        assert!(orders >= 6, "{}: {orders} orders, but the tasks alone have 6", tool.name);
        println!("{}: {orders} orders", tool.name);
    }
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

fn measure() {
    let program = Program { tasks: 3, steps: 3 };
    let mut ratios = vec![(0, Vec::new()); TOOLS.len()];
    let mut own = Vec::new();
    let per_order = |(orders, time): (u64, Duration)| time.as_secs_f64() / orders as f64;
    for _ in 0..11 {
        for (tool, (orders, ratios)) in TOOLS.iter().zip(&mut ratios) {
            let ours = per_order(sample(&TOOLS[0], program));
            let theirs = sample(tool, program);
            *orders = theirs.0;
            own.push(ours);
            ratios.push(per_order(theirs) / ours);
        }
    }
    println!("| tool | orders | time per order |\n| --- | ---: | ---: |");
    for (tool, (orders, ratios)) in TOOLS.iter().zip(ratios) {
        println!("| {} | {orders} | {:.2}× |", tool.name, median(ratios));
    }
    println!("\nonelane: {:.0} orders a second", 1.0 / median(own));
}

/// The first million orders of four tasks, the cheapest first. The time includes the search's own work.
fn million() {
    let (program, begin) = (Program { tasks: 4, steps: 3 }, Instant::now());
    let orders = tools::onelane_up_to(1_000_000, program);
    println!("{orders} orders in {:.1} s", begin.elapsed().as_secs_f64());
}
