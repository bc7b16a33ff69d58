//! An HTTP/1.1 server on `onelane` beside the same hyper service on tokio's `current_thread` runtime; `wrk` makes the load.
//!
//! ```text
//!      core 0                          core 1
//!      serve onelane <--- loopback --- wrk
//!      serve tokio   <--- loopback --- wrk      by turns, a process each time
//! ```
//!
//! Measured is what a server of one thread does with requests of four kinds (small, large, pipelined, each on a connection of its own):
//! requests a second, latency, CPU time of a request, memory. Not measured: TLS, HTTP/2, a network, many cores.
//!
//! Read on in `serve/mod.rs`, the server; in `measure.rs`, the rounds; in `report.rs`, which writes them down. `hostile/mod.rs` does not
//! measure, but sees whether a loop withstands.

mod hostile;
mod limits;
mod measure;
mod options;
mod page;
mod pins;
mod process;
mod report;
mod serve;
mod server;
mod soak;
mod statistics;
mod wrk;

use anyhow::Result;
use options::Order;
use std::process::ExitCode;

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
        Order::Serve(serve) => serve::serve(&serve)?,
        Order::Measure(plan) => {
            let samples = measure::measure(&plan)?;
            let report = report::Report::of(&plan, &samples)?;
            println!("{}", report.text());
            if let Some(folder) = &plan.out {
                report.write(folder)?;
            }
        }
        Order::Soak(plan) => soak::soak(&plan)?,
        Order::Hostile(plan) => hostile::withstand(&plan)?,
        Order::Withstand => hostile::serve()?,
    }
    Ok(())
}
