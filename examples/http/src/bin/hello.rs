//! A server and a client of one request, in one loop; shown in the docs of `onelane::hyper`.

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, client, server, service::service_fn};
use onelane::net::{TcpListener, TcpStream};
use onelane::{EventLoop, hyper::LoopTimer, spawn};
use std::{convert::Infallible, net::Ipv4Addr};

async fn hello(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(Bytes::from_static(b"hello"))))
}

fn main() {
    EventLoop::new().run(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut http = server::conn::http1::Builder::new();
            http.timer(LoopTimer).serve_connection(stream, service_fn(hello)).await
        });

        let stream = TcpStream::connect(address).await.unwrap();
        let (mut client, connection) = client::conn::http1::handshake(stream).await.unwrap();
        spawn(async { drop(connection.await) });
        let request = Request::get("/").header("host", "localhost").body(Full::new(Bytes::new())).unwrap();
        assert_eq!(client.send_request(request).await.unwrap().status(), 200);
    });
}
