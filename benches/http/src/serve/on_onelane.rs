//! The accept loop on `onelane`.

use super::{PAUSE, answer, http, tell};
use anyhow::Result;
use hyper::service::service_fn;
use onelane::hyper::LoopTimer;
use onelane::net::TcpListener;
use onelane::{EventLoop, sleep, spawn};
use std::net::Ipv4Addr;

pub(super) fn serve(port: u16) -> Result<()> {
    EventLoop::new().run(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        tell(listener.local_addr()?)?;
        accept(listener).await
    })
}

pub(crate) async fn accept(listener: TcpListener) -> Result<()> {
    let http = http(LoopTimer);
    loop {
        let accepted = listener.accept().await.and_then(|(stream, _)| stream.set_nodelay(true).map(|()| stream));
        let Ok(stream) = accepted else {
            sleep(PAUSE).await;
            continue;
        };
        let connection = http.serve_connection(stream, service_fn(answer));
        // Errors of a connection do not matter to the server.
        drop(spawn(async move { drop(connection.await) }));
    }
}
