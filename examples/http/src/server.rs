//! Serves a listener until it is stopped, and then finishes the requests that have begun.

use super::service::answer;
use futures_util::future::{Either, select};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use onelane::hyper::LoopTimer;
use onelane::net::{TcpListener, TcpStream};
use onelane::sync::Event;
use onelane::{Task, TaskId, sleep, spawn, wait};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::convert::Infallible;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

#[derive(Clone, Copy)]
pub struct Limits {
    /// How long a client may take for the head of a request, and for the next head on an open
    /// connection.
    pub header_timeout: Duration,
    /// How long the server waits at its end for requests that have begun.
    pub grace: Duration,
    /// Number of requests after which it ends.
    pub requests: Option<u64>,
}

/// What was done.
#[derive(Clone, Copy, Default, Debug)]
#[allow(dead_code, reason = "not every program uses all fields")]
pub struct Report {
    pub connections: u64,
    /// Requests that were answered, whether or not the client has read the response.
    pub requests: u64,
    /// Connections that were dropped at the end because their requests took too long.
    pub dropped: usize,
}

struct Server {
    limits: Limits,
    report: Cell<Report>,
    /// Connections finish the current request, and accept no other.
    closing: Event,
    /// It has served the requested number of requests.
    has_served: Event,
    open: RefCell<HashMap<TaskId, Task<()>>>,
}

/// Serves until `stop` is ready, or the number of requests is reached.
pub async fn serve(listener: TcpListener, limits: Limits, stop: impl Future<Output = ()>) -> Report {
    let server = Rc::new(Server {
        limits,
        report: Cell::default(),
        closing: Event::new(),
        has_served: Event::new(),
        open: RefCell::default(),
    });
    let stop = pin!(stop);
    select(pin!(server.accept(&listener)), select(stop, server.has_served.wait())).await;
    // From now on connections are refused.
    drop(listener);
    server.closing.set();
    let open: Vec<Task<()>> = server.open.take().into_values().collect();
    // `wait` needs at least one task, as in asyncio.
    let (_, slow) = if open.is_empty() { Default::default() } else { wait(open).timeout(limits.grace).await };
    slow.iter().for_each(|task| _ = task.cancel());
    Report { dropped: slow.len(), ..server.report.get() }
}

impl Server {
    async fn accept(self: &Rc<Self>, listener: &TcpListener) {
        let mut fails = false;
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    fails = false;
                    self.begin(stream, peer);
                }
                // The client has given the connection up before it was accepted.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    // Usually too many files are open. The client waits in the operating system
                    // until a connection has ended here.
                    if !std::mem::replace(&mut fails, true) {
                        eprintln!("cannot accept a connection: {error}; trying again until it works");
                    }
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// Each connection is a task. If it fails or panics, others are not affected.
    fn begin(self: &Rc<Self>, stream: TcpStream, peer: SocketAddr) {
        self.count(|report| report.connections += 1);
        let task = spawn(self.clone().connection(stream, peer));
        let server = self.clone();
        task.add_done_callback(move |task| {
            let ended = server.open.borrow_mut().remove(&task.id());
            drop(ended);
        });
        self.open.borrow_mut().insert(task.id(), task);
    }

    async fn connection(self: Rc<Self>, stream: TcpStream, peer: SocketAddr) {
        // Responses are small, and sent in one piece.
        let _ = stream.set_nodelay(true);
        let service = service_fn(async |request| {
            let response = answer(request).await;
            self.count(|report| report.requests += 1);
            if self.limits.requests.is_some_and(|requests| self.report.get().requests >= requests) {
                self.has_served.set();
            }
            Ok::<_, Infallible>(response)
        });
        let mut connection = pin!(
            http1::Builder::new()
                // Without this timer, the timeout has no effect.
                .timer(LoopTimer)
                .header_read_timeout(self.limits.header_timeout)
                .serve_connection(stream, service)
        );
        let result = match select(connection.as_mut(), self.closing.wait()).await {
            Either::Left((result, _)) => result,
            Either::Right(_) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            eprintln!("{peer}: {}", with_causes(&error));
        }
    }

    fn count(&self, act: impl FnOnce(&mut Report)) {
        let mut report = self.report.get();
        act(&mut report);
        self.report.set(report);
    }
}

/// hyper's errors say what failed, and their causes say why.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
