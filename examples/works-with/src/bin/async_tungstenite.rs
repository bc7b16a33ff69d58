//! async-tungstenite: websockets on our sockets. It asks for futures-io's traits, so there is no
//! glue. Leave its feature `tokio-runtime` off.
//!
//! The server sends each message back.
//!
//! `cargo run --bin async_tungstenite`, in `examples/works-with`.

use async_tungstenite::tungstenite::Message;
use async_tungstenite::{accept_async, client_async};
use futures_util::StreamExt;
use onelane::net::{TcpListener, TcpStream};
use onelane::{EventLoop, spawn, timeout};
use programs::{Called, Result, called};
use std::time::Duration;

async fn client(address: &str) -> Result {
    let stream = TcpStream::connect(address).await?;
    let (mut socket, _) = client_async(format!("ws://{address}/"), stream).await?;
    // Nothing comes, since nothing was sent. A receive that is given up does no harm to the next.
    assert!(timeout(Duration::from_millis(1), socket.next()).await.is_err());
    for message in [Message::text("hello"), Message::binary(vec![7; 100_000])] {
        socket.send(message.clone()).await?;
        assert_eq!(socket.next().await.ok_or("closed")??, message);
    }
    socket.close(None).await?;
    assert!(matches!(socket.next().await, Some(Ok(Message::Close(_)))));
    assert!(socket.next().await.is_none());
    Ok(())
}

async fn echo(stream: TcpStream) -> Result {
    let mut socket = accept_async(stream).await?;
    while let Some(message) = socket.next().await {
        let message = message?;
        if message.is_text() || message.is_binary() {
            socket.send(message).await?;
        }
    }
    Ok(())
}

async fn serve(listener: TcpListener) -> Result {
    loop {
        let (stream, _) = listener.accept().await?;
        spawn(echo(stream));
    }
}

fn main() -> Result {
    EventLoop::new().run(async {
        match called() {
            Called::Connect(address) => client(&address).await?,
            Called::Serve => {
                let listener = TcpListener::bind("127.0.0.1:0").await?;
                println!("listening at {}", listener.local_addr()?);
                serve(listener).await?;
            }
            Called::Alone => {
                let listener = TcpListener::bind("127.0.0.1:0").await?;
                let address = listener.local_addr()?.to_string();
                spawn(serve(listener));
                client(&address).await?;
            }
        }
        println!("async-tungstenite: a text and 100,000 bytes over a websocket, and an orderly end");
        Ok(())
    })
}
