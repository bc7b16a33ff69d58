//! Compares an HTTP/1.1 server on `onelane` with the same hyper service on tokio's `current_thread`
//! runtime. `wrk` makes the load.
//!
//! ```text
//!      core 0                          core 1
//!      serve onelane <--- loopback --- wrk
//!      serve tokio   <--- loopback --- wrk      in turn, each sample in a new process
//! ```
//!
//! It measures how a server of one thread handles four kinds of load: small, large, pipelined, and
//! one connection per request. The figures are requests per second, latency, CPU time per request,
//! and memory. It does not measure TLS, HTTP/2, a real network, or several cores.
//!
//! Next: `serve/mod.rs`, the server; `measure.rs`, the rounds; `report.rs`, which writes the
//! results. `hostile/mod.rs` does not compare runtimes: it checks that a loop serves good clients
//! while hostile clients attack it.

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
