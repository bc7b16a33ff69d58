//! Good clients. Each sends a request, checks the response, and repeats. It opens a new connection
//! after some hundred requests.

use super::server::Ports;
use super::{FORGOTTEN, Tally};
use anyhow::{Context, Result, ensure};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// A client, which runs until the flag is set.
pub(super) type Client<'a> = Box<dyn Fn(&AtomicBool) -> Tally + Send + Sync + 'a>;

/// Number of clients of each kind.
const CLIENTS: [usize; 3] = [16, 16, 4];

/// Number of requests per connection.
const REQUESTS: usize = 500;

pub(super) fn all(ports: &Ports) -> Vec<Client<'_>> {
    let [http, lines, unix_lines] = CLIENTS;
    let http = (0..http).map(|_| client("good, HTTP", || tcp(ports.http), get));
    let lines = (0..lines).map(|_| client("good, lines", || tcp(ports.lines), echo));
    let unix_lines = (0..unix_lines).map(|_| client("good, lines at a path", || unix(&ports.unix_lines), echo));
    http.chain(lines).chain(unix_lines).collect()
}

fn client<'a, S: 'a>(
    kind: &'static str,
    connect: impl Fn() -> Result<BufReader<S>> + Send + Sync + 'a,
    ask: fn(&mut BufReader<S>) -> Result<()>,
) -> Client<'a> {
    Box::new(move |stop| {
        let mut connection = None;
        Tally::of(kind, stop, || {
            let (mut stream, used) = match connection.take() {
                Some((stream, used)) if used < REQUESTS => (stream, used),
                _ => (connect()?, 0),
            };
            ask(&mut stream)?;
            connection = Some((stream, used + 1));
            Ok(())
        })
    })
}

pub(super) fn tcp(port: u16) -> Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("connecting")?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(FORGOTTEN))?;
    Ok(BufReader::new(stream))
}

pub(super) fn unix(path: &Path) -> Result<BufReader<UnixStream>> {
    let stream = UnixStream::connect(path).context("connecting")?;
    stream.set_read_timeout(Some(FORGOTTEN))?;
    Ok(BufReader::new(stream))
}

fn get(connection: &mut BufReader<TcpStream>) -> Result<()> {
    connection.get_mut().write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    expect_hello(connection)
}

/// Reads the response of the HTTP server, and checks it.
pub(super) fn expect_hello(connection: &mut BufReader<TcpStream>) -> Result<()> {
    let mut line = String::new();
    connection.read_line(&mut line)?;
    ensure!(line == "HTTP/1.1 200 OK\r\n", "it answered {line:?}");
    while line != "\r\n" {
        line.clear();
        ensure!(connection.read_line(&mut line)? > 0, "the response was cut off");
    }
    let mut body = [0; 12];
    connection.read_exact(&mut body)?;
    ensure!(&body == b"hello world\n", "it answered {body:?}");
    Ok(())
}

fn echo<S: Read + Write>(connection: &mut BufReader<S>) -> Result<()> {
    connection.get_mut().write_all(b"a line that comes back\n")?;
    expect_line(connection, "a line that comes back\n")
}

/// Reads the response of a line server, and checks it.
pub(super) fn expect_line(connection: &mut impl BufRead, expected: &str) -> Result<()> {
    let mut line = String::new();
    connection.read_line(&mut line)?;
    ensure!(line == expected, "it answered {line:?} instead of {expected:?}");
    Ok(())
}
