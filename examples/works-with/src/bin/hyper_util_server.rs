//! hyper-util: a server of HTTP/1 and HTTP/2 on one port, which ends in order.
//!
//! hyper-util's builder takes our sockets and the loop's executor as they are (feature `hyper`). The
//! handler is not `Send`, and need not be.
//!
//! `cargo run --bin hyper_util_server`, in `examples/works-with`.

use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::client::legacy::Client;
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use onelane::hyper::{LoopExecutor, LoopTimer};
use onelane::hyper_util::Connector;
use onelane::net::TcpListener;
use onelane::sync::Event;
use onelane::{EventLoop, sleep, spawn, timeout};
use std::cell::Cell;
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

/// Accepts until `stop` is set. Then waits until the requests in progress have been answered.
async fn serve(listener: TcpListener, stop: Rc<Event>, visits: Rc<Cell<u32>>) {
    let mut http = auto::Builder::new(LoopExecutor);
    http.http1().timer(LoopTimer);
    http.http2().timer(LoopTimer);
    let shutdown = GracefulShutdown::new();
    let accepting = async {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let visits = visits.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let visits = visits.clone();
                async move {
                    visits.set(visits.get() + 1);
                    if request.uri().path() == "/slow" {
                        sleep(Duration::from_millis(20)).await;
                    }
                    let text = format!("visit {}, {:?}", visits.get(), request.version());
                    Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(text)))
                }
            });
            let connection = http.serve_connection(stream, service).into_owned();
            spawn(shutdown.watch(connection));
        }
    };
    futures_util::future::select(std::pin::pin!(accepting), std::pin::pin!(stop.wait())).await;
    drop(listener);
    timeout(Duration::from_secs(10), shutdown.shutdown()).await.expect("no request takes that long");
}

async fn body(response: Response<Incoming>) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

fn main() {
    EventLoop::new().run(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, visits) = (Rc::new(Event::new()), Rc::new(Cell::new(0)));
        let serving = spawn(serve(listener, stop.clone(), visits.clone()));

        let client = |http2| {
            let mut builder = Client::builder(LoopExecutor);
            builder.pool_timer(LoopTimer).timer(LoopTimer).http2_only(http2);
            builder.build::<_, Empty<Bytes>>(Connector::new())
        };
        let (one, two) = (client(false), client(true));
        let uri = |path: &str| format!("http://{address}{path}").parse().unwrap();
        let response = one.get(uri("/")).await.unwrap();
        assert_eq!(response.version(), Version::HTTP_11);
        assert_eq!(body(response).await, "visit 1, HTTP/1.1");
        let response = two.get(uri("/")).await.unwrap();
        assert_eq!(response.version(), Version::HTTP_2);
        assert_eq!(body(response).await, "visit 2, HTTP/2.0");

        // Two requests are in progress when the server is stopped. Both are answered.
        let slow = [one.get(uri("/slow")), two.get(uri("/slow"))].map(spawn);
        while visits.get() < 4 {
            sleep(Duration::from_millis(1)).await;
        }
        stop.set();
        for request in slow {
            let response = request.await.unwrap().unwrap();
            assert!(body(response).await.starts_with(b"visit 4"));
        }
        serving.await.unwrap();
        assert!(client(false).get(uri("/")).await.unwrap_err().is_connect());
        println!("hyper-util: a server of HTTP/1 and HTTP/2, and its orderly end");
    });
}
