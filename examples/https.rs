//! HTTPS by hand, on asyncio's streams with TLS.
//!
//! ```text
//! # Runs a server and five clients in one loop, with the certificate in `examples/tls/`.
//! cargo run --features tls --example https
//! # Fetches a page with the certificates of the system.
//! cargo run --features tls --example https -- example.org
//! ```

use onelane::net::{self, StreamReader, StreamWriter, TlsAcceptor, TlsConnector};
use onelane::{gather, timeout};
use std::io::{self, ErrorKind};
use std::process::ExitCode;
use std::time::Duration;

/// A certificate for `localhost`. Everyone has its key, so it is for examples only.
const CERTIFICATE: &[u8] = include_bytes!("tls/localhost.pem");
const KEY: &[u8] = include_bytes!("tls/localhost.key");

/// Answers one request. When it returns, both halves are dropped, which ends TLS and closes the
/// connection.
async fn answer(mut reader: StreamReader, mut writer: StreamWriter) {
    let Ok(head) = reader.read_until(b"\r\n\r\n").await else { return };
    let request = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_string();
    let cipher = writer.tls().map(|tls| format!("{:?}", tls.cipher_suite())).unwrap_or_default();
    let body = format!("you have sent {request:?} with {cipher}\n");
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    // If the client has gone, nobody needs the answer.
    let _ = writer.write_all((head + &body).as_bytes()).await;
}

/// Returns the status line and the body of a page.
async fn fetch(host: &str, port: u16, path: &str, connector: TlsConnector) -> io::Result<(String, Vec<u8>)> {
    let (mut reader, mut writer) = net::open_connection((host, port)).tls(connector).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    writer.write_all(request.as_bytes()).await?;
    let status = String::from_utf8_lossy(&reader.read_line().await?).trim().to_string();
    let rest = reader.read_until(b"\r\n\r\n").await?;
    let length = String::from_utf8_lossy(&rest).lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") { value.trim().parse().ok() } else { None }
    });
    // Without a length, the end of TLS is the end of the page. If it were cut, this would be an error.
    let body = match length {
        Some(length) => reader.read_exactly(length).await?,
        None => reader.read_to_end().await?,
    };
    writer.close().await?;
    Ok((status, body))
}

async fn on_this_machine() -> io::Result<()> {
    let acceptor = TlsAcceptor::with_certificate(CERTIFICATE, KEY)?;
    let server = net::start_server("localhost:0", answer).tls(acceptor).await?;
    let port = server.local_addr()?.port();
    let connector = TlsConnector::with_roots(CERTIFICATE)?;
    let clients = (1..=5).map(|number| {
        let connector = connector.clone();
        async move { fetch("localhost", port, &format!("/page/{number}"), connector).await }
    });
    for page in gather(clients).await.expect("no client panics") {
        let (status, body) = page?;
        print!("{status}: {}", String::from_utf8_lossy(&body));
    }
    // A client that does not trust the certificate gets an error. The server prints it too, and goes
    // on.
    match fetch("127.0.0.1", port, "/", connector).await {
        Err(error) if error.kind() == ErrorKind::InvalidData => println!("rejected: {error}"),
        other => panic!("the certificate is for localhost only, but: {other:?}"),
    }
    server.close();
    server.wait_closed().await;
    Ok(())
}

async fn on_the_internet(host: &str) -> io::Result<()> {
    let connector = TlsConnector::with_system_roots()?;
    let fetching = fetch(host, 443, "/", connector);
    let (status, body) = timeout(Duration::from_secs(30), fetching).await.map_err(|_| ErrorKind::TimedOut)??;
    println!("{status}\n{}", String::from_utf8_lossy(&body));
    Ok(())
}

fn main() -> ExitCode {
    let host = std::env::args().nth(1);
    let result = onelane::run(async {
        match &host {
            Some(host) => on_the_internet(host).await,
            None => on_this_machine().await,
        }
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("https: {error}");
            ExitCode::FAILURE
        }
    }
}
