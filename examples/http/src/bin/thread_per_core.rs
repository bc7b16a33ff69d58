//! A loop per core: each has its own listener at the same port, and the operating system
//! distributes the connections.
//!
//! The loops share nothing. Messages to a thread go through its `Remote`: a closure that finds the
//! thread's own data when it runs there. At the end each thread reports how much it did.
//!
//! ```text
//! # Tests itself.
//! cargo run --release -p onelane-http-examples --bin thread_per_core
//! # Serves until Ctrl-C.
//! cargo run --release -p onelane-http-examples --bin thread_per_core -- --port 8080
//! ```

#[path = "../../../options/mod.rs"]
mod options;

use onelane::net::TcpListener;
use onelane::signals::{self, SIGINT};
use onelane::sync::{Event, Semaphore};
use onelane::{EventLoop, Remote, gather};
use onelane_http_examples::client::Client;
use onelane_http_examples::server::{Limits, Report, serve};
use options::Result;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

const USAGE: &str = "usage: thread_per_core [--port N] [--threads N]";
const LIMITS: Limits =
    Limits { header_timeout: Duration::from_secs(30), grace: Duration::from_secs(5), requests: None };
/// Number of connections for the self-test.
const CONNECTIONS: u64 = 200;

thread_local! {
    /// Ends the loop of this thread.
    static STOP: Rc<Event> = Rc::new(Event::new());
}

/// A thread with a loop.
struct Lane {
    thread: JoinHandle<Report>,
    remote: Remote,
}

impl Lane {
    /// Starts a thread. Returns when the thread listens, with the address at which it listens.
    fn start(number: usize, address: SocketAddr) -> io::Result<(Self, SocketAddr)> {
        let (tell, told) = mpsc::channel();
        let body = move || {
            let event_loop = EventLoop::new();
            let remote = event_loop.remote();
            event_loop.run(async {
                let listener = TcpListener::bind_shared(address).await.and_then(|it| Ok((it.local_addr()?, it)));
                // The starter of a lane waits for this.
                let listener = match listener {
                    Ok((address, listener)) => {
                        let _ = tell.send(Ok((remote, address)));
                        listener
                    }
                    Err(error) => {
                        let _ = tell.send(Err(error));
                        return Report::default();
                    }
                };
                let stop = STOP.with(Rc::clone);
                serve(listener, LIMITS, stop.wait()).await
            })
        };
        let thread = thread::Builder::new().name(format!("lane-{number}")).spawn(body)?;
        let (remote, address) = told.recv().map_err(io::Error::other)??;
        Ok((Lane { thread, remote }, address))
    }
}

fn start(count: usize, port: u16) -> Result<(Vec<Lane>, SocketAddr)> {
    let failed = |error| format!("cannot listen at 127.0.0.1:{port}: {error}");
    // The first one chooses the port, if any port will do.
    let (first, address) = Lane::start(0, (Ipv4Addr::LOCALHOST, port).into()).map_err(failed)?;
    let mut lanes = vec![first];
    for number in 1..count {
        lanes.push(Lane::start(number, address).map_err(failed)?.0);
    }
    Ok((lanes, address))
}

/// Returns when all requests that have begun are answered, with the number of requests.
fn stop(lanes: Vec<Lane>) -> u64 {
    for lane in &lanes {
        // The closure runs on the lane's thread. An error means that the loop has already ended.
        let _ = lane.remote.call_soon(|| STOP.with(|stop| stop.set()));
    }
    let mut sum = 0;
    for (number, lane) in lanes.into_iter().enumerate() {
        match lane.thread.join() {
            Ok(Report { connections, requests, .. }) => {
                println!("loop {number}: {requests:6} requests, {connections:6} connections");
                sum += requests;
            }
            Err(_) => println!("loop {number} panicked"),
        }
    }
    sum
}

/// Each request uses a new connection, because the operating system distributes connections, not
/// requests.
async fn ask(address: SocketAddr) -> Result<()> {
    let permits = Rc::new(Semaphore::new(20));
    let requests = (0..CONNECTIONS).map(|number| {
        let permits = permits.clone();
        async move {
            let _permit = permits.acquire().await;
            Client::connect(address).await?.get(&format!("/item/{number}")).await
        }
    });
    for answer in gather(requests).await? {
        answer?;
    }
    Ok(())
}

fn main() -> ExitCode {
    options::run_with(USAGE, &["--port", "--threads"], |options| {
        let cores = thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 16));
        let count = options.get::<std::num::NonZero<usize>>("--threads")?.map_or(cores, |count| count.get());
        let port = options.get("--port")?;
        EventLoop::new().try_run(async {
            // Listens before the port is announced, so that an early signal is received.
            let interrupts = port.map(|_| signals::listen(SIGINT)).transpose()?;
            let (lanes, address) = start(count, port.unwrap_or(0))?;
            println!("{count} loops listen on http://{address}");
            let result = match interrupts {
                Some(mut interrupts) => {
                    interrupts.next().await;
                    Ok(())
                }
                None => ask(address).await,
            };
            let served = stop(lanes);
            assert!(port.is_some() || result.is_err() || served == CONNECTIONS, "{served} were served");
            result
        })?
    })
}
