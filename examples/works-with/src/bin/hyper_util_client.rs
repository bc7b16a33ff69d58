//! hyper-util: its client with a pool of connections, by our `Connector` (feature `hyper-util`).
//!
//! The glue is one line: the loop's executor, its timer and the connector. For a connector of your
//! own, see `hyper_util_connector.rs`.
//!
//! `cargo run --bin hyper_util_client`, in `examples/works-with`.

use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, Uri, server};
use hyper_util::client::legacy::Client;
use onelane::hyper::{LoopExecutor, LoopTimer};
use onelane::hyper_util::Connector;
use onelane::net::TcpListener;
use onelane::{EventLoop, gather, sleep, spawn};
use programs::{Called, called};
use std::cell::Cell;
use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

async fn hello(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    sleep(Duration::from_millis(1)).await;
    Ok(Response::new(Full::new(request.uri().path().to_string().into())))
}

/// Serves, and counts the connections.
async fn serve(listener: TcpListener, connections: Rc<Cell<u32>>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        connections.set(connections.get() + 1);
        let mut http = server::conn::http1::Builder::new();
        spawn(http.timer(LoopTimer).serve_connection(stream, service_fn(hello)));
    }
}

/// The `io::Error` in which an error of the client has its cause.
fn cause(error: &hyper_util::client::legacy::Error) -> &io::Error {
    let mut source = error.source();
    while let Some(error) = source {
        match error.downcast_ref() {
            Some(error) => return error,
            None => source = error.source(),
        }
    }
    panic!("{error:?}")
}

/// Requests to a server of other authors, one after the other on one connection.
async fn connect(address: &str) {
    let client = Client::builder(LoopExecutor).pool_timer(LoopTimer).build::<_, Empty<Bytes>>(Connector::new());
    for _ in 0..3 {
        let response = client.get(format!("http://{address}/").parse().unwrap()).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
    }
    println!("hyper-util: three requests to another server");
}

fn main() {
    EventLoop::new().run(async {
        if let Called::Connect(address) = called() {
            return connect(&address).await;
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Rc::new(Cell::new(0));
        spawn(serve(listener, connections.clone()));

        let connector = Connector::new().connect_timeout(Duration::from_secs(10));
        let client = Client::builder(LoopExecutor)
            .pool_timer(LoopTimer)
            .pool_idle_timeout(Duration::from_millis(50))
            .build::<_, Empty<Bytes>>(connector);
        // A name, which is looked up.
        let get = |path: String| {
            let uri: Uri = format!("http://localhost:{port}{path}").parse().unwrap();
            let response = client.get(uri);
            async move {
                let body = response.await.unwrap().into_body().collect().await.unwrap();
                String::from_utf8(body.to_bytes().to_vec()).unwrap()
            }
        };
        // One after the other: one connection, which the pool keeps.
        for nth in 0..3 {
            assert_eq!(get(format!("/{nth}")).await, format!("/{nth}"));
        }
        assert_eq!(connections.get(), 1);
        // At once: each needs a connection, and the first is used again.
        let paths = gather((0..4).map(|nth| get(format!("/at-once/{nth}")))).await.unwrap();
        assert_eq!(paths[3], "/at-once/3");
        assert!((2..=4).contains(&connections.get()), "{}", connections.get());
        // The pool closes idle connections by the loop's timer.
        sleep(Duration::from_millis(150)).await;
        let before = connections.get();
        get("/later".into()).await;
        assert_eq!(connections.get(), before + 1);

        // The connector makes no TLS, and says so.
        let error = client.get("https://localhost/".parse().unwrap()).await.unwrap_err();
        assert_eq!(cause(&error).kind(), io::ErrorKind::InvalidInput, "{error:?}");
        // The errors of the system are there too.
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
        let error = client.get(format!("http://{free}/").parse().unwrap()).await.unwrap_err();
        assert_eq!(cause(&error).kind(), io::ErrorKind::ConnectionRefused, "{error:?}");
        println!("hyper-util: a client with a pool, and {} connections for 8 requests", connections.get());
    });
}
