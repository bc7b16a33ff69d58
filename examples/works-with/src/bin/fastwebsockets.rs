//! fastwebsockets: websockets that begin as a request of hyper.
//!
//! Its client asks for tokio's traits, which our sockets have with the feature `tokio-io`. Its server
//! gets the connection from hyper, which uses our socket by the feature `hyper`.
//!
//! `cargo run --bin fastwebsockets`, in `examples/works-with`.

use fastwebsockets::{FragmentCollector, Frame, OpCode, WebSocketError, handshake, upgrade};
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, HOST, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use hyper::service::service_fn;
use hyper::{Request, Response, server};
use onelane::hyper::{LoopExecutor, LoopTimer};
use onelane::net::{TcpListener, TcpStream};
use onelane::{EventLoop, spawn};
use programs::{Called, Result, called};

async fn client(address: &str) -> Result {
    let request = Request::get("/")
        .header(HOST, address)
        .header(UPGRADE, "websocket")
        .header(CONNECTION, "upgrade")
        .header(SEC_WEBSOCKET_KEY, handshake::generate_key())
        .header(SEC_WEBSOCKET_VERSION, "13")
        .body(Empty::<Bytes>::new())?;
    let stream = TcpStream::connect(address).await?;
    let (socket, _) = handshake::client(&LoopExecutor, request, stream).await?;
    let mut socket = FragmentCollector::new(socket);
    let bytes = vec![7; 100_000];
    for (opcode, payload) in [(OpCode::Text, &b"hello"[..]), (OpCode::Binary, &bytes)] {
        socket.write_frame(Frame::new(true, opcode, None, payload.into())).await?;
        let answer = socket.read_frame().await?;
        assert_eq!((answer.opcode, &*answer.payload), (opcode, payload));
    }
    socket.write_frame(Frame::close(1000, b"")).await?;
    assert_eq!(socket.read_frame().await?.opcode, OpCode::Close);
    Ok(())
}

async fn echo(socket: upgrade::UpgradeFut) -> Result<(), WebSocketError> {
    let mut socket = FragmentCollector::new(socket.await?);
    loop {
        let frame = socket.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => socket.write_frame(frame).await?,
            _ => {}
        }
    }
}

async fn accept(mut request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, WebSocketError> {
    let (response, socket) = upgrade::upgrade(&mut request)?;
    spawn(echo(socket));
    Ok(response)
}

fn main() -> Result {
    EventLoop::new().run(async {
        match called() {
            Called::Connect(address) => client(&address).await?,
            Called::Serve => return Err("this program has no `serve`".into()),
            Called::Alone => {
                let listener = TcpListener::bind("127.0.0.1:0").await?;
                let address = listener.local_addr()?.to_string();
                spawn(async move {
                    let (stream, _) = listener.accept().await.unwrap();
                    let mut http = server::conn::http1::Builder::new();
                    http.timer(LoopTimer).serve_connection(stream, service_fn(accept)).with_upgrades().await
                });
                client(&address).await?;
            }
        }
        println!("fastwebsockets: a text and 100,000 bytes over a websocket, and an orderly end");
        Ok(())
    })
}
