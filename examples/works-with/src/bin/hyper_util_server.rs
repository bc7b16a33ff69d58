//! hyper-util: its server for HTTP/1 and HTTP/2 on one port, which ends after the requests that run.
//!
//! Our sockets implement hyper's traits, so the glue is `LoopExecutor` and `LoopTimer`.
//!
//! `cargo run --bin hyper_util_server`, in `examples/works-with`.

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, client};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use onelane::hyper::{LoopExecutor, LoopTimer};
use onelane::net::{TcpListener, TcpStream};
use onelane::{EventLoop, sleep, spawn, timeout};
use programs::{Called, Result, called};
use std::cell::Cell;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// The number of requests. All connections share it, and it need not be `Send`.
type Served = Rc<Cell<u32>>;

async fn handle(request: Request<Incoming>, served: Served) -> Result<Response<String>, Infallible> {
    served.set(served.get() + 1);
    if request.uri().path() == "/slow" {
        sleep(Duration::from_millis(50)).await;
    }
    Ok(Response::new(format!("{:?}\n", request.version())))
}

async fn serve(listener: TcpListener, graceful: Rc<GracefulShutdown>, served: Served) -> Result {
    let mut http = auto::Builder::new(LoopExecutor);
    http.http1().timer(LoopTimer);
    http.http2().timer(LoopTimer);
    loop {
        let (stream, _) = listener.accept().await?;
        let served = served.clone();
        let service = service_fn(move |request| handle(request, served.clone()));
        let connection = http.serve_connection(stream, service).into_owned();
        spawn(graceful.watch(connection));
    }
}

async fn text(response: Response<Incoming>) -> Result<String> {
    Ok(String::from_utf8(response.into_body().collect().await?.to_bytes().into())?)
}

async fn with_http1(address: SocketAddr, path: &str) -> Result<String> {
    let stream = TcpStream::connect(address).await?;
    let (mut client, connection) = client::conn::http1::handshake(stream).await?;
    spawn(connection);
    let request = Request::get(path).header("host", "localhost").body(String::new())?;
    text(client.send_request(request).await?).await
}

async fn with_http2(address: SocketAddr, path: &str) -> Result<String> {
    let stream = TcpStream::connect(address).await?;
    let (mut client, connection) = client::conn::http2::handshake(LoopExecutor, stream).await?;
    spawn(connection);
    let request = Request::get(format!("http://{address}{path}")).body(String::new())?;
    text(client.send_request(request).await?).await
}

fn main() -> Result {
    EventLoop::new().run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (graceful, served) = (Rc::new(GracefulShutdown::new()), Served::default());
        let server = serve(listener, graceful.clone(), served.clone());
        match called() {
            Called::Connect(_) => return Err("this program has no `connect`".into()),
            Called::Serve => {
                println!("listening at {address}");
                server.await?;
            }
            Called::Alone => {
                let server = spawn(server);
                assert_eq!(with_http1(address, "/").await?, "HTTP/1.1\n");
                assert_eq!(with_http2(address, "/").await?, "HTTP/2.0\n");
                // The server stops while two requests are under way.
                let one = spawn(with_http1(address, "/slow"));
                let two = spawn(with_http2(address, "/slow"));
                while served.get() < 4 {
                    sleep(Duration::from_millis(1)).await;
                }
                server.cancel();
                server.await.unwrap_err();
                let graceful = Rc::into_inner(graceful).unwrap();
                timeout(Duration::from_secs(10), graceful.shutdown()).await?;
                assert_eq!((one.await??, two.await??), ("HTTP/1.1\n".into(), "HTTP/2.0\n".into()));
                println!("hyper-util: HTTP/1 and HTTP/2 on one port; an end that waits for two requests");
            }
        }
        Ok(())
    })
}
