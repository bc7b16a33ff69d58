//! The server: what is the same on both runtimes. The service, hyper's settings, and how the port is told.
//!
//! The two accept loops stand in `on_onelane.rs` and `on_tokio.rs`, line for line. Neither knows that it is measured.

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

/// Behind an `accept` that has failed, since the next one would fail at once if no descriptor is left.
const PAUSE: Duration = Duration::from_millis(10);

/// A client has so long for the head of a request. It is a timer that each request sets anew.
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

/// What is posted comes back, as it comes in. To all else the answer is a short one.
async fn answer(request: Request<Incoming>) -> Result<Response<Either<Full<Bytes>, Incoming>>, Infallible> {
    if request.method() == Method::POST {
        return Ok(Response::new(Either::Right(request.into_body())));
    }
    let mut response = Response::new(Either::Left(Full::new(Bytes::from_static(b"hello world\n"))));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(response)
}

/// How connections are served, with the runtime's timer.
fn http(timer: impl Timer + Send + Sync + 'static) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(timer).keep_alive(true).header_read_timeout(HEAD_WITHIN);
    http
}

/// Tells whoever has started the server where it listens.
fn tell(address: SocketAddr) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{}", address.port())?;
    output.flush()
}
