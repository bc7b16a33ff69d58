//! Runs good clients among hostile ones. Checks that the good ones are served, that timers are on
//! time, and that all resources are released.
//!
//! ```text
//!      core 0                                 core 1, one thread per client
//!      a loop with two servers of lines,  <-- clients that check the responses
//!      one of HTTP, one that takes        <-- urgent bytes, half-closed and stalled clients,
//!      descriptors, and ten timers            lines that are too long, descriptors
//! ```
//!
//! The loop runs in its own process, `server.rs`. Good clients are in `clients.rs`, hostile ones in
//! `intruders.rs`.

mod clients;
mod intruders;
mod server;

pub(crate) use server::serve;

use crate::limits;
use crate::options::Hostile;
use crate::pins::{self, Pins};
use crate::process::Process;
use crate::soak::{growth, show};
use anyhow::{Context, Result, ensure};
use server::{LIMITS, Lateness, Ports, Report};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A response that takes longer than this counts as failed. A timer that fires later than this
/// counts as forgotten.
const FORGOTTEN: Duration = Duration::from_secs(5);

/// The results of a thread.
#[derive(Default)]
struct Tally {
    kind: &'static str,
    done: u64,
    failed: u64,
    failure: Option<String>,
    slowest: Duration,
}

impl Tally {
    /// Repeats the action until the flag is set.
    fn of(kind: &'static str, stop: &AtomicBool, mut act: impl FnMut() -> Result<()>) -> Self {
        let mut tally = Tally { kind, ..Tally::default() };
        while !stop.load(Ordering::Relaxed) {
            let begun = Instant::now();
            match act() {
                Ok(()) => tally.done += 1,
                Err(error) => {
                    tally.failed += 1;
                    tally.failure.get_or_insert(format!("{error:#}"));
                }
            }
            tally.slowest = tally.slowest.max(begun.elapsed());
        }
        tally
    }

    fn add(&mut self, other: Tally) {
        self.done += other.done;
        self.failed += other.failed;
        self.failure = self.failure.take().or(other.failure);
        self.slowest = self.slowest.max(other.slowest);
    }
}

/// # Errors
///
/// Returns an error if a client was not served, a kind of hostile client did not run, a timer was
/// forgotten, or a resource was not released.
pub(crate) fn withstand(plan: &Hostile) -> Result<()> {
    limits::raise_descriptors()?;
    let pins = Pins::find();
    let server = Server::start(pins)?;
    pins.pin_this(pins::WRK)?;
    let process = Process::new(server.child.id());
    let (idle, descriptors) = (process.memory()?, process.descriptors()?);

    let (tallies, resident) = load(plan.seconds, &server.ports, &process)?;
    let kept = process.settle(descriptors)?;
    let after = process.memory()?;
    let report = server.end()?;

    print(&tallies, &report);
    let (first, last) = resident.split_at(resident.len() / 2);
    println!(
        "resident, kB: idle {}, then{}; in the second half{}; after {}",
        idle.now,
        show(first),
        show(last),
        after.now
    );
    println!(
        "descriptors: idle {descriptors}, at the end {kept}; connections {}, tasks {}",
        report.connections, report.tasks
    );

    for Tally { kind, done, failed, failure, .. } in &tallies {
        ensure!(*failed == 0, "{kind}: {failed} failed, for example: {}", failure.as_deref().unwrap_or("?"));
        ensure!(*done > 0, "{kind}: none was served");
    }
    let Lateness { timers, latest, .. } = report.lateness;
    ensure!(timers > 0 && latest < FORGOTTEN, "there were {timers} timers, and one was {latest:?} late");
    ensure!(kept == descriptors, "{kept} descriptors are open at the end, and {descriptors} were open at the start");
    ensure!(report.connections == 0, "{} connections are open at the end", report.connections);
    ensure!(report.tasks == 1, "{} tasks are left; only the main task should be", report.tasks);
    let (growth, allowed) = growth(&resident);
    ensure!(
        growth <= allowed,
        "memory grows: by {growth:.0} kB in the second half; at most {allowed:.0} kB are allowed"
    );
    Ok(())
}

/// Runs all clients for this number of seconds. Returns a tally per kind, and the server's resident
/// memory in each second.
fn load(seconds: u32, ports: &Ports, process: &Process) -> Result<(Vec<Tally>, Vec<f64>)> {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let clients = clients::all(ports).into_iter().chain(intruders::all(ports));
        let stop = &stop;
        let threads: Vec<_> = clients.map(|client| scope.spawn(move || client(stop))).collect();
        let mut resident = Vec::new();
        for _ in 0..seconds {
            thread::sleep(Duration::from_secs(1));
            resident.push(process.memory().map(|memory| memory.now as f64));
        }
        stop.store(true, Ordering::Relaxed);
        let mut tallies: Vec<Tally> = Vec::new();
        for tally in threads.into_iter().map(|thread| thread.join().expect("a client does not panic")) {
            match tallies.iter_mut().find(|other| other.kind == tally.kind) {
                Some(other) => other.add(tally),
                None => tallies.push(tally),
            }
        }
        Ok((tallies, resident.into_iter().collect::<Result<_>>()?))
    })
}

fn print(tallies: &[Tally], report: &Report) {
    for Tally { kind, done, failed, slowest, .. } in tallies {
        println!("{kind}: {done} done, {failed} failed, the slowest took {:.1} ms", slowest.as_secs_f64() * 1e3);
    }
    let Lateness { timers, within, latest } = &report.lateness;
    let share = |(count, limit)| format!("{:.2} % within {limit} ms", count as f64 * 100.0 / *timers as f64);
    let shares = within.iter().copied().zip(LIMITS).map(share).collect::<Vec<_>>().join(", ");
    println!("{timers} timers: {shares}; the latest {:.1} ms", latest.as_secs_f64() * 1e3);
}

/// The server as a child process, which runs this program. Dropping it before its end kills the
/// process.
struct Server {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
    ports: Ports,
}

impl Server {
    fn start(pins: Pins) -> Result<Self> {
        let mut command: Command = pins.command(pins::SERVER, std::env::current_exe()?);
        let mut child = command.arg("withstand").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut output = BufReader::new(child.stdout.take().context("its output is not piped")?);
        let mut line = String::new();
        output.read_line(&mut line)?;
        let ports =
            Ports::parse(&line).with_context(|| format!("the server did not report its ports, but printed {line:?}"));
        let mut server = Server { child, output, ports: Ports::default() };
        server.ports = ports?;
        Ok(server)
    }

    /// Closes the server's input, so that the server ends. Returns the server's report.
    fn end(mut self) -> Result<Report> {
        drop(self.child.stdin.take());
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "the server failed: {status}");
        Report::parse(&line).context("the server printed no report")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
