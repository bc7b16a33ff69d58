//! The part of the server that both runtimes share: the service, hyper's settings, and the report
//! of the port.
//!
//! The two accept loops, in `on_onelane.rs` and `on_tokio.rs`, are equal line for line. Neither
//! knows that it is measured.

mod on_onelane;
mod on_tokio;

pub(crate) use on_onelane::accept;

use crate::limits;
use crate::options::{Runtime, Serve};
use anyhow::Result;
use http_body_util::{Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::rt::Timer;
use hyper::server::conn::http1;
use hyper::{Method, Request, Response};
use std::convert::Infallible;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

/// Pause after a failed `accept`. Without a free descriptor, the next `accept` would fail
/// immediately.
const PAUSE: Duration = Duration::from_millis(10);

/// Time limit for the head of a request. It is a timer that is set again for each request.
const HEAD_WITHIN: Duration = Duration::from_secs(30);

/// Serves until the process is killed.
pub(crate) fn serve(order: &Serve) -> Result<()> {
    if order.with_parent {
        limits::end_with_parent()?;
    }
    limits::raise_descriptors()?;
    match order.runtime {
        Runtime::Onelane => on_onelane::serve(order.port),
        Runtime::Tokio => on_tokio::serve(order.port),
    }
}

/// Sends posted data back as it arrives. Responds to all other requests with a short text.
async fn answer(request: Request<Incoming>) -> Result<Response<Either<Full<Bytes>, Incoming>>, Infallible> {
    if request.method() == Method::POST {
        return Ok(Response::new(Either::Right(request.into_body())));
    }
    let mut response = Response::new(Either::Left(Full::new(Bytes::from_static(b"hello world\n"))));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(response)
}

/// Settings for connections, with the runtime's timer.
fn http(timer: impl Timer + Send + Sync + 'static) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(timer).keep_alive(true).header_read_timeout(HEAD_WITHIN);
    http
}

/// Prints the port, for the process that has started the server.
fn tell(address: SocketAddr) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{}", address.port())?;
    output.flush()
}
