//! The accept loop on tokio's `current_thread` runtime, with hyper-util's adapters.

use super::{PAUSE, answer, http, tell};
use anyhow::Result;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::io;
use std::net::Ipv4Addr;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Builder;
use tokio::spawn;
use tokio::time::sleep;

pub(super) fn serve(port: u16) -> Result<()> {
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        let listener = listen(port)?;
        tell(listener.local_addr()?)?;
        accept(listener).await
    })
}

async fn accept(listener: TcpListener) -> Result<()> {
    let http = http(TokioTimer::new());
    loop {
        let accepted = listener.accept().await.and_then(|(stream, _)| stream.set_nodelay(true).map(|()| stream));
        let Ok(stream) = accepted else {
            sleep(PAUSE).await;
            continue;
        };
        let connection = http.serve_connection(TokioIo::new(stream), service_fn(answer));
        // Errors of a connection do not matter to the server.
        drop(spawn(async move { drop(connection.await) }));
    }
}

/// As `TcpListener::bind`, but the queue of pending connections has the same length as for
/// `onelane`. With tokio's 128, some of a thousand simultaneous connections might have to retry a
/// second later.
fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind((Ipv4Addr::LOCALHOST, port).into())?;
    socket.listen(1024)
}
