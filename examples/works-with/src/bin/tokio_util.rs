//! tokio-util: its codecs on our sockets, by tokio's traits (feature `tokio-io`).
//!
//! There is no glue: a `TcpStream` of ours is an `AsyncRead` and an `AsyncWrite` of tokio's.
//!
//! `cargo run --bin tokio_util`, in `examples/works-with`.

use futures_util::{SinkExt, StreamExt};
use onelane::net::{TcpListener, TcpStream};
use onelane::{EventLoop, spawn};
use std::net::Ipv4Addr;
use tokio_util::bytes::Bytes;
use tokio_util::codec::{Framed, FramedRead, FramedWrite, LengthDelimitedCodec, LinesCodec};

fn main() {
    EventLoop::new().run(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = spawn(async move {
            // Lines, over the whole connection.
            let (stream, _) = listener.accept().await.unwrap();
            let mut lines = Framed::new(stream, LinesCodec::new());
            while let Some(line) = lines.next().await {
                lines.send(line.unwrap().to_uppercase()).await.unwrap();
            }
            // Frames with a length, over its halves.
            let (reader, writer) = listener.accept().await.unwrap().0.into_split();
            let mut frames = FramedRead::new(reader, LengthDelimitedCodec::new());
            let mut replies = FramedWrite::new(writer, LengthDelimitedCodec::new());
            while let Some(frame) = frames.next().await {
                replies.send(frame.unwrap().freeze()).await.unwrap();
            }
        });

        let mut lines = Framed::new(TcpStream::connect(address).await.unwrap(), LinesCodec::new());
        for word in ["one", "two"] {
            lines.send(word).await.unwrap();
            assert_eq!(lines.next().await.unwrap().unwrap(), word.to_uppercase());
        }
        drop(lines);

        let stream = TcpStream::connect(address).await.unwrap();
        let mut frames = Framed::new(&stream, LengthDelimitedCodec::new());
        for length in [0, 1, 100_000] {
            frames.send(Bytes::from(vec![7; length])).await.unwrap();
            assert_eq!(frames.next().await.unwrap().unwrap().len(), length);
        }
        SinkExt::<Bytes>::close(&mut frames).await.unwrap();
        assert!(frames.next().await.is_none());
        server.await.unwrap();
        println!("tokio-util: lines and frames over our sockets");
    });
}
