//! A connection to a server, for requests one after the other.

use super::server::with_causes;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::HOST;
use hyper::{Method, Request, StatusCode};
use onelane::net::TcpStream;
use onelane::spawn;
use std::net::SocketAddr;

pub struct Client {
    address: SocketAddr,
    requests: SendRequest<Full<Bytes>>,
}

type Result<T> = std::result::Result<T, String>;

impl Client {
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let failed = |error: &dyn std::error::Error| format!("cannot connect to {address}: {}", with_causes(error));
        let stream = TcpStream::connect(address).await.map_err(|error| failed(&error))?;
        stream.set_nodelay(true).map_err(|error| failed(&error))?;
        let (requests, connection) = handshake(stream).await.map_err(|error| failed(&error))?;
        // This task lives as long as requests can be sent. It reports errors through `requests`.
        drop(spawn(async { drop(connection.await) }));
        Ok(Client { address, requests })
    }

    /// The status of the response, and its text.
    pub async fn get(&mut self, path: &str) -> Result<(StatusCode, String)> {
        self.send(Method::GET, path, Bytes::new()).await
    }

    pub async fn send(&mut self, method: Method, path: &str, body: Bytes) -> Result<(StatusCode, String)> {
        let failed = |error: &dyn std::error::Error| format!("{method} {path} failed: {}", with_causes(error));
        let request = Request::builder().method(&method).uri(path).header(HOST, self.address.to_string());
        let request = request.body(Full::new(body)).map_err(|error| failed(&error))?;
        self.requests.ready().await.map_err(|error| failed(&error))?;
        let response = self.requests.send_request(request).await.map_err(|error| failed(&error))?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(|error| failed(&error))?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }
}
