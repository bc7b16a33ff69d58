//! hyper-util: its client with a pool of connections, and a connector of our own.
//!
//! `onelane::hyper_util::Connector` is enough for most programs (`hyper_util_client.rs`). This one
//! limits the number of attempts at a time. The connector's future must be `Send` and `Unpin`, and so
//! must the connection. Our sockets are both. The rest of the connector is in `local(..)`.
//!
//! `cargo run --bin hyper_util_connector`, in `examples/works-with`.

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, Uri, server};
use hyper_util::client::legacy::Client;
use onelane::hyper::{LoopExecutor, LoopTimer};
use onelane::net::{TcpListener, TcpStream};
use onelane::sync::Semaphore;
use onelane::{EventLoop, Local, local, spawn, timeout, to_thread};
use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tower_service::Service;

/// Connects with a time limit, and with a limited number of connections at a time.
#[derive(Clone)]
struct Connector {
    limit: Local<Rc<Semaphore>>,
    made: Local<Rc<Cell<u32>>>,
}

impl Connector {
    /// Not `Send`, and it need not be.
    async fn connect(self, uri: Uri) -> io::Result<TcpStream> {
        let _permit = self.limit.acquire().await;
        let name = (uri.host().unwrap_or_default().to_string(), uri.port_u16().unwrap_or(80));
        let address: SocketAddr = spawn(to_thread(move || name.to_socket_addrs().map(|mut all| all.next())))
            .await??
            .transpose()
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))??;
        let stream = timeout(Duration::from_secs(10), TcpStream::connect(address)).await??;
        self.made.set(self.made.get() + 1);
        Ok(stream)
    }
}

impl Service<Uri> for Connector {
    type Response = TcpStream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(local(self.clone().connect(uri)))
    }
}

async fn hello(_: Request<Incoming>) -> Result<Response<String>, Infallible> {
    Ok(Response::new("hello".into()))
}

fn main() {
    EventLoop::new().run(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let mut http = server::conn::http1::Builder::new();
                spawn(http.timer(LoopTimer).serve_connection(stream, service_fn(hello)));
            }
        });
        let connector = Connector { limit: local(Rc::new(Semaphore::new(4))), made: local(Rc::new(Cell::new(0))) };
        let client = Client::builder(LoopExecutor).pool_timer(LoopTimer).build::<_, Empty<Bytes>>(connector.clone());
        let uri: Uri = format!("http://{address}/").parse().unwrap();
        for _ in 0..3 {
            let response = client.get(uri.clone()).await.unwrap();
            assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
        }
        // The pool has kept the connection.
        assert_eq!(connector.made.get(), 1);
        println!("hyper-util: a client with a pool; its connector with timeout, spawn, to_thread and Semaphore");
    });
}
