//! Checks that both servers send the same responses. It does not measure their speed.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(runtime: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_onelane-http"))
            .args(["serve", runtime, "--port", "0", "--with-parent"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Server { child, port: line.trim().parse().unwrap() }
    }

    fn connect(&self) -> BufReader<TcpStream> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        BufReader::new(stream)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[derive(PartialEq, Debug)]
struct Answer {
    status: String,
    headers: BTreeMap<String, String>,
    body: String,
}

fn line(connection: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    connection.read_line(&mut line).unwrap();
    line.strip_suffix("\r\n").unwrap_or_else(|| panic!("a line was cut off: {line:?}")).to_string()
}

/// Sends a request on a connection that stays open.
fn get(connection: &mut BufReader<TcpStream>) -> Answer {
    connection.get_mut().write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let status = line(connection);
    let mut headers = BTreeMap::new();
    loop {
        let header = line(connection);
        let Some((name, value)) = header.split_once(": ") else { break };
        headers.insert(name.to_string(), value.to_string());
    }
    // The date differs from second to second.
    if let Some(date) = headers.get_mut("date") {
        assert!(date.ends_with(" GMT"), "{date}");
        *date = "now".into();
    }
    let mut body = vec![0; headers["content-length"].parse().unwrap()];
    connection.read_exact(&mut body).unwrap();
    Answer { status, headers, body: String::from_utf8(body).unwrap() }
}

fn expected() -> Answer {
    let headers = [("content-length", "12"), ("content-type", "text/plain"), ("date", "now")];
    let headers = headers.map(|(name, value)| (name.into(), value.into())).into();
    Answer { status: "HTTP/1.1 200 OK".into(), headers, body: "hello world\n".into() }
}

/// Sends two requests on one connection, and one on another connection in between.
fn answers_on_a_connection_that_stays(runtime: &str) {
    let server = Server::start(runtime);
    let (mut first, mut second) = (server.connect(), server.connect());
    assert_eq!(get(&mut first), expected());
    assert_eq!(get(&mut second), expected());
    assert_eq!(get(&mut first), expected());
}

#[test]
fn onelane_answers_on_a_connection_that_stays() {
    answers_on_a_connection_that_stays("onelane");
}

#[test]
fn tokio_answers_on_a_connection_that_stays() {
    answers_on_a_connection_that_stays("tokio");
}
