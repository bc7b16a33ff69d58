//! h2: HTTP/2 by itself, several requests at a time on one connection.
//!
//! It asks for tokio's traits, which our sockets have with the feature `tokio-io`. The connection is
//! a future that we spawn.
//!
//! `cargo run --bin h2`, in `examples/works-with`.

use futures_util::future::poll_fn;
use h2::client::SendRequest;
use h2::server::SendResponse;
use h2::{RecvStream, client, server};
use hyper::body::Bytes;
use hyper::{Request, Response};
use onelane::net::{TcpListener, TcpStream};
use onelane::{EventLoop, spawn, try_gather};
use programs::{Called, Result, called};

/// The size of the body for the path `/large`: more than the peer may send at once.
const LARGE: usize = 300_000;

async fn body(mut body: RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut received = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        // Permits the peer to send as many bytes again.
        body.flow_control().release_capacity(chunk.len())?;
        received.extend_from_slice(&chunk);
    }
    Ok(received)
}

async fn get(client: SendRequest<Bytes>, uri: String) -> Result<Vec<u8>, h2::Error> {
    let request = Request::get(uri).body(()).unwrap();
    let (response, _) = client.ready().await?.send_request(request, true)?;
    let response = response.await?;
    assert_eq!(response.status(), 200);
    body(response.into_body()).await
}

async fn client(address: &str) -> Result {
    let stream = TcpStream::connect(address).await?;
    let (client, connection) = client::handshake(stream).await?;
    let connection = spawn(connection);
    let paths = ["hello", "large", "hello"];
    let bodies = try_gather(paths.map(|path| get(client.clone(), format!("http://{address}/{path}")))).await?;
    assert_eq!((&bodies[0][..], &bodies[2][..]), (&b"hello"[..], &b"hello"[..]));
    assert!(bodies[1].len() == LARGE && bodies[1].iter().all(|&byte| byte == b'.'));
    // The connection ends when its last handle is dropped.
    drop(client);
    connection.await??;
    Ok(())
}

async fn answer(path: String, mut response: SendResponse<Bytes>) -> Result<(), h2::Error> {
    let mut bytes = if path == "/large" { Bytes::from(vec![b'.'; LARGE]) } else { Bytes::from("hello") };
    let mut body = response.send_response(Response::new(()), false)?;
    while !bytes.is_empty() {
        // Waits until the peer permits more bytes.
        body.reserve_capacity(bytes.len());
        let Some(permitted) = poll_fn(|cx| body.poll_capacity(cx)).await else { return Ok(()) };
        body.send_data(bytes.split_to(permitted?), bytes.is_empty())?;
    }
    Ok(())
}

async fn serve(stream: TcpStream) -> Result<(), h2::Error> {
    let mut connection = server::handshake(stream).await?;
    while let Some(request) = connection.accept().await {
        let (request, response) = request?;
        spawn(answer(request.uri().path().into(), response));
    }
    Ok(())
}

fn main() -> Result {
    EventLoop::new().run(async {
        match called() {
            Called::Connect(address) => client(&address).await?,
            Called::Serve => return Err("this program has no `serve`".into()),
            Called::Alone => {
                let listener = TcpListener::bind("127.0.0.1:0").await?;
                let address = listener.local_addr()?.to_string();
                spawn(async move { serve(listener.accept().await.unwrap().0).await });
                client(&address).await?;
            }
        }
        println!("h2: three requests at a time on one connection, one with a body of {LARGE} bytes");
        Ok(())
    })
}
