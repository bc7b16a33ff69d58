//! An HTTP/1.1 server with hyper on onelane: keep-alive, limits for slow clients, and an orderly
//! shutdown.
//!
//! `GET /` says hello, `POST /echo` sends the body back, `GET /delay/MS` responds after that many
//! milliseconds, `GET /item/N` returns a little JSON. Ctrl-C and SIGTERM end it: no more
//! connections are accepted, requests that have begun are answered, and those that take longer than
//! five seconds are dropped. A second Ctrl-C ends it at once.
//!
//! ```text
//! # Tests itself.
//! cargo run --release -p onelane-http-examples --bin http_server
//! # Serves until Ctrl-C; try `curl http://127.0.0.1:8080/`.
//! cargo run --release -p onelane-http-examples --bin http_server -- --port 8080
//! ```

#[path = "../../../options/mod.rs"]
mod options;

use futures_util::future::select;
use futures_util::io::{AsyncReadExt, AsyncWriteExt};
use hyper::Method;
use hyper::body::Bytes;
use onelane::net::{TcpListener, TcpStream};
use onelane::signals::{self, SIGINT, SIGTERM};
use onelane::{EventLoop, sleep, spawn, time};
use onelane_http_examples::client::Client;
use onelane_http_examples::server::{Limits, Report, serve};
use options::{Options, Result};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "\
usage: http_server                             tests itself
       http_server --port N                    serves at 127.0.0.1; 0 for any free port
           [--header-timeout SECONDS]          limit for the head of a request (30)
           [--grace SECONDS]                   limit for open requests at the end (5)
           [--requests N]                      ends after N requests";

fn main() -> ExitCode {
    let known = ["--port", "--header-timeout", "--grace", "--requests"];
    options::run_with(USAGE, &known, |options| {
        let limits = Limits {
            header_timeout: seconds(options, "--header-timeout")?.unwrap_or(Duration::from_secs(30)),
            grace: seconds(options, "--grace")?.unwrap_or(Duration::from_secs(5)),
            requests: options.get("--requests")?,
        };
        let port = options.get("--port")?;
        if port.is_none() && !options.is_empty() {
            return Err("without --port the server only tests itself, and takes no options".into());
        }
        let event_loop = EventLoop::new();
        event_loop.try_run(async {
            match port {
                Some(port) => serve_until_signal(port, limits).await,
                None => try_itself().await,
            }
        })?
    })
}

fn seconds(options: &Options, name: &str) -> Result<Option<Duration>> {
    let Some(seconds) = options.get(name)? else { return Ok(None) };
    Ok(Some(Duration::try_from_secs_f64(seconds).map_err(|error| format!("{name} {seconds}: {error}"))?))
}

async fn listen(port: u16) -> Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .map_err(|error| format!("cannot listen at 127.0.0.1:{port}: {error}").into())
}

async fn serve_until_signal(port: u16, limits: Limits) -> Result<()> {
    // Listens before the port is announced, so that an early signal is received.
    let (mut interrupts, mut terminations) = (signals::listen(SIGINT)?, signals::listen(SIGTERM)?);
    let listener = listen(port).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let stop = async move {
        select(interrupts.next(), terminations.next()).await;
        println!("stopping: open requests have {:?} to end", limits.grace);
        // The listeners are dropped here, so a second signal has its default effect.
    };
    print(serve(listener, limits, stop).await);
    Ok(())
}

fn print(Report { connections, requests, dropped }: Report) {
    println!("served {requests} requests on {connections} connections; {dropped} took too long and were dropped");
}

// ---- the self-test ----

async fn try_itself() -> Result<()> {
    let listener = listen(0).await?;
    let address = listener.local_addr()?;
    println!("listening on http://{address}");
    let limits = Limits { header_timeout: Duration::from_millis(100), grace: Duration::from_secs(1), requests: None };
    let (stop, stopped) = onelane::sync::oneshot();
    let server = spawn(serve(listener, limits, async { stopped.await.unwrap_or_default() }));

    // All of these requests use one connection.
    let mut client = Client::connect(address).await?;
    let large = "onelane ".repeat(100_000);
    for (method, path, body, status, expected) in [
        (Method::GET, "/", "", 200, "Hello from one lane.\n"),
        (Method::POST, "/echo", "over and out", 200, "over and out"),
        (Method::POST, "/echo", &large, 200, &large),
        (Method::GET, "/delay/20", "", 200, "20 ms later\n"),
        (Method::GET, "/item/12", "", 200, "{\"item\":12,\"square\":144}\n"),
        (Method::GET, "/item/dozen", "", 400, "/item/N: N is a number below four billion\n"),
        (Method::DELETE, "/", "", 405, "the methods here are GET, HEAD\n"),
        (Method::GET, "/nowhere", "", 404, "try /, /echo, /delay/MS or /item/N\n"),
    ] {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let answer = client.send(method.clone(), path, body).await?;
        println!("{method} {path}: {}, {} bytes", answer.0, answer.1.len());
        assert_eq!((answer.0.as_u16(), &*answer.1), (status, expected));
    }

    let (answer, _) = send_raw(address, b"This is no HTTP.\r\n\r\n").await?;
    println!("nonsense: {}", answer.lines().next().unwrap_or("closed"));
    assert!(answer.starts_with("HTTP/1.1 400"));

    let (answer, after) = send_raw(address, b"GET / HTTP/1.1\r\nhost: and then it falls asl").await?;
    println!(
        "half of a head: {} after about {} ms",
        answer.lines().next().unwrap_or("closed"),
        after.as_millis() / 10 * 10
    );
    assert!(after >= limits.header_timeout);

    // The server is stopped in the middle of a request.
    let mut client = Client::connect(address).await?;
    let last = spawn(async move { client.get("/delay/200").await });
    sleep(Duration::from_millis(50)).await;
    let _ = stop.send(());
    println!("the request that was open when it stopped: {}", last.await??.0);
    let refused = TcpStream::connect(address).await.err().ok_or("a server that has stopped accepts connections")?;
    println!("a later connection: {refused}");
    print(server.await?);
    Ok(())
}

/// Returns what arrives until the server closes the connection, and how long that took.
async fn send_raw(address: SocketAddr, bytes: &[u8]) -> Result<(String, Duration)> {
    let begun = time();
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(bytes).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok((String::from_utf8_lossy(&answer).into_owned(), time() - begun))
}
