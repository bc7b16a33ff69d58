//! hyper-rustls and tokio-rustls: HTTPS, a server and a client with a pool.
//!
//! The server puts tokio-rustls's stream around our socket (feature `tokio-io`). hyper-util's
//! `TokioIo` adapts that stream for hyper. The client puts hyper-rustls's connector around ours
//! (feature `hyper-util`). Neither uses tokio's runtime.
//!
//! `cargo run --bin hyper_rustls`, in `examples/works-with`.

use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use onelane::hyper::{LoopExecutor, LoopTimer};
use onelane::hyper_util::Connector;
use onelane::net::TcpListener;
use onelane::{EventLoop, spawn};
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

async fn hello(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(Bytes::from_static(b"hello, in secret"))))
}

fn main() {
    let identity = rcgen::generate_simple_self_signed(vec!["localhost".to_string()]).unwrap();
    let certificate = identity.cert.der().clone();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(identity.signing_key.serialize_der());
    let server = rustls::ServerConfig::builder().with_no_client_auth();
    let mut server = server.with_single_cert(vec![certificate.clone()], key.into()).unwrap();
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();

    EventLoop::new().run(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let acceptor = TlsAcceptor::from(Arc::new(server));
        spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let acceptor = acceptor.clone();
                spawn(async move {
                    let stream = acceptor.accept(stream).await.unwrap();
                    let mut http = auto::Builder::new(LoopExecutor);
                    http.http1().timer(LoopTimer);
                    http.serve_connection(TokioIo::new(stream), service_fn(hello)).await
                });
            }
        });

        for (http2, version) in [(false, Version::HTTP_11), (true, Version::HTTP_2)] {
            let https = HttpsConnectorBuilder::new().with_tls_config(config.clone()).https_only();
            // It gets plain connections from ours, and makes TLS of them.
            let plain = Connector::new().enforce_http(false);
            let https = match http2 {
                false => https.enable_http1().wrap_connector(plain),
                true => https.enable_http2().wrap_connector(plain),
            };
            let client = Client::builder(LoopExecutor).pool_timer(LoopTimer).build::<_, Empty<Bytes>>(https);
            for _ in 0..2 {
                let response = client.get(format!("https://localhost:{port}/").parse().unwrap()).await.unwrap();
                assert_eq!(response.version(), version);
                assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello, in secret");
            }
        }
        println!("hyper-rustls, tokio-rustls: HTTPS, a server and a client with a pool");
    });
}
