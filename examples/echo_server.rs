//! A server that sends back what it receives, with a task per connection.
//!
//! ```text
//! # Runs a server and five clients in one loop.
//! cargo run --features io,signals --example echo_server
//! # Serves until Ctrl-C; try `nc 127.0.0.1 7000`.
//! cargo run --features io,signals --example echo_server -- --port 7000
//! ```

mod options;

use futures_util::io::{AsyncReadExt, AsyncWriteExt, copy};
use onelane::net::{TcpListener, TcpStream};
use onelane::{EventLoop, RunError, gather, sleep, spawn};
use options::{Options, Result};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

/// Runs until the client ends its side. Then it drops the stream, which closes it.
async fn echo(stream: TcpStream, peer: SocketAddr) {
    // Two references to the stream, so that `copy` reads and writes at the same time.
    match copy(&stream, &mut &stream).await {
        Ok(bytes) => println!("{peer} had {bytes} bytes back"),
        // The client disconnected in the middle. Other clients are not affected.
        Err(error) => println!("{peer} is lost: {error}"),
    }
}

/// Runs for ever, or until it is cancelled.
async fn serve(listener: TcpListener) {
    loop {
        match listener.accept().await {
            // This task is not awaited; it continues to run.
            Ok((stream, peer)) => drop(spawn(echo(stream, peer))),
            Err(error) => {
                // For example, too many connections are open; an immediate second try would not
                // help.
                eprintln!("cannot accept a connection: {error}");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Sends this many bytes, and compares what comes back.
async fn client(address: SocketAddr, length: usize) -> io::Result<usize> {
    let stream = TcpStream::connect(address).await?;
    let sent: Vec<u8> = (0..length).map(|number| (number % 251) as u8).collect();
    let mut received = Vec::new();
    let (mut reader, mut writer) = (&stream, &stream);
    let (written, read) = futures_util::join!(
        async {
            writer.write_all(&sent).await?;
            writer.close().await // its side; what comes back can still be read
        },
        reader.read_to_end(&mut received)
    );
    written.and(read)?;
    if received == sent { Ok(length) } else { Err(io::Error::other("something else came back than was sent")) }
}

async fn listen(port: u16) -> Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .map_err(|error| format!("cannot listen at 127.0.0.1:{port}: {error}").into())
}

async fn test_itself() -> Result<()> {
    let listener = listen(0).await?;
    let address = listener.local_addr()?;
    let server = spawn(serve(listener));
    // The last length is more than fits into the system's buffers.
    let clients = [0, 1, 1000, 65_536, 8_000_000].map(|length| client(address, length));
    for result in gather(clients).await? {
        println!("the same {} bytes came back", result?);
    }
    server.cancel();
    Ok(())
}

fn main() -> ExitCode {
    options::run_with("usage: echo_server [--port N]", &["--port"], |options: &Options| {
        let event_loop = EventLoop::builder().cancel_on_ctrl_c(true).build();
        let port = options.get("--port")?;
        let result = event_loop.try_run(async {
            let Some(port) = port else { return test_itself().await };
            let listener = listen(port).await?;
            println!("listening at {}", listener.local_addr()?);
            serve(listener).await;
            Ok(())
        });
        match result {
            Ok(result) => result,
            Err(RunError::Interrupted) => {
                println!("Ctrl-C: all connections are closed.");
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    })
}
