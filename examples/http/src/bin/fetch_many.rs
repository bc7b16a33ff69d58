//! A hundred requests, ten at a time, with their responses in order; a progress bar on the
//! terminal.
//!
//! A semaphore lets ten requests run at once, and as many connections stay open. The responses
//! arrive in any order; `try_gather` returns them in the order of the requests, and stops at the
//! first error.
//!
//! ```text
//! # Serves itself, in the same loop.
//! cargo run --release -p onelane-http-examples --bin fetch_many
//! # Sends requests to `http_server` at that port.
//! cargo run --release -p onelane-http-examples --bin fetch_many -- --port 8080
//! ```

#[path = "../../../options/mod.rs"]
mod options;

use onelane::net::TcpListener;
use onelane::sync::Semaphore;
use onelane::{EventLoop, spawn, time, try_gather};
use onelane_http_examples::client::Client;
use onelane_http_examples::server::{Limits, serve};
use options::Result;
use std::cell::{Cell, RefCell};
use std::future::pending;
use std::io::{IsTerminal, stderr};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

const REQUESTS: u64 = 100;
const AT_A_TIME: usize = 10;

struct Fetcher {
    server: SocketAddr,
    permits: Semaphore,
    /// Connections that are not in use at the moment.
    idle: RefCell<Vec<Client>>,
    opened: Cell<u32>,
    done: Cell<u64>,
}

impl Fetcher {
    async fn fetch(self: Rc<Self>, path: String) -> std::result::Result<String, String> {
        let _permit = self.permits.acquire().await;
        let idle = self.idle.borrow_mut().pop();
        let mut client = match idle {
            Some(client) => client,
            None => {
                self.opened.set(self.opened.get() + 1);
                Client::connect(self.server).await?
            }
        };
        let (status, text) = client.get(&path).await?;
        if !status.is_success() {
            return Err(format!("GET {path}: {status}: {}", text.trim_end()));
        }
        self.idle.borrow_mut().push(client);
        self.done.set(self.done.get() + 1);
        self.show_progress();
        Ok(text)
    }

    /// Shows the progress: on a terminal in one line that is overwritten, elsewhere (for example in
    /// a log) in a new line for every ten requests.
    fn show_progress(&self) {
        let done = self.done.get();
        if stderr().is_terminal() {
            let width = 40 * done / REQUESTS;
            let end = if done == REQUESTS { "\n" } else { "" };
            eprint!("\r[{:<40}] {done:3}/{REQUESTS}{end}", "#".repeat(width as usize));
        } else if done % 10 == 0 {
            eprintln!("{done} of {REQUESTS} are here");
        }
    }
}

/// A server in the same loop, which ends with it.
async fn serve_here() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let limits = Limits { header_timeout: Duration::from_secs(30), grace: Duration::ZERO, requests: None };
    drop(spawn(serve(listener, limits, pending())));
    Ok(address)
}

async fn fetch_all(port: Option<u16>) -> Result<()> {
    let server = match port {
        Some(port) => (Ipv4Addr::LOCALHOST, port).into(),
        None => serve_here().await?,
    };
    let fetcher = Rc::new(Fetcher {
        server,
        permits: Semaphore::new(AT_A_TIME).named("ten at a time"),
        idle: RefCell::default(),
        opened: Cell::default(),
        done: Cell::default(),
    });
    // Each request takes a different time, so the responses arrive in a different order.
    let delays: Vec<u64> = (0..REQUESTS).map(|number| number * 37 % 50).collect();
    let begun = time();
    let answers = try_gather(delays.iter().map(|delay| fetcher.clone().fetch(format!("/delay/{delay}")))).await;
    let took = time() - begun;
    if answers.is_err() && stderr().is_terminal() {
        eprintln!(); // behind the bar
    }
    let answers = answers.map_err(|error| error.to_string())?;

    for (delay, answer) in delays.iter().zip(&answers) {
        assert_eq!(*answer, format!("{delay} ms later\n"), "a response is in the wrong place");
    }
    let (waited, opened) = (delays.iter().sum::<u64>(), fetcher.opened.get());
    println!(
        "{} answers in order; {waited} ms of waiting took {} ms, on {opened} connections",
        answers.len(),
        took.as_millis()
    );
    Ok(())
}

fn main() -> ExitCode {
    options::run_with("usage: fetch_many [--port N]", &["--port"], |options| {
        let port = options.get("--port")?;
        EventLoop::new().try_run(fetch_all(port))?
    })
}
