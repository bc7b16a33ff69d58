//! soketto: websockets on our sockets, with a sender and a receiver that two tasks can own. It asks
//! for futures-io's traits, so there is no glue.
//!
//! The server sends each message back.
//!
//! `cargo run --bin soketto`, in `examples/works-with`.

use onelane::net::{TcpListener, TcpStream};
use onelane::{EventLoop, spawn};
use programs::{Called, Result, called};
use soketto::Data;
use soketto::connection::Error;
use soketto::handshake::server::Response;
use soketto::handshake::{Client, Server, ServerResponse};

async fn client(address: &str) -> Result {
    let stream = TcpStream::connect(address).await?;
    let mut client = Client::new(stream, address, "/");
    let ServerResponse::Accepted { .. } = client.handshake().await? else { return Err("refused".into()) };
    let (mut sender, mut receiver) = client.into_builder().finish();
    // One task sends while another receives.
    let sending = spawn(async move {
        for nth in 0..3 {
            sender.send_text(format!("message {nth}")).await?;
            sender.flush().await?;
        }
        Ok::<_, Error>(sender)
    });
    for nth in 0..3 {
        let mut message = Vec::new();
        receiver.receive_data(&mut message).await?;
        assert_eq!(message, format!("message {nth}").as_bytes());
    }
    let mut sender = sending.await??;
    sender.close().await?;
    assert!(matches!(receiver.receive_data(&mut Vec::new()).await, Err(Error::Closed)));
    Ok(())
}

async fn echo(stream: TcpStream) -> Result {
    let mut server = Server::new(stream);
    let key = server.receive_request().await?.key();
    server.send_response(&Response::Accept { key, protocol: None }).await?;
    let (mut sender, mut receiver) = server.into_builder().finish();
    let mut message = Vec::new();
    loop {
        match receiver.receive_data(&mut message).await? {
            Data::Text(_) => sender.send_text(str::from_utf8(&message)?).await?,
            Data::Binary(_) => sender.send_binary(&message).await?,
        }
        sender.flush().await?;
        message.clear();
    }
}

fn main() -> Result {
    EventLoop::new().run(async {
        match called() {
            Called::Connect(address) => client(&address).await?,
            Called::Serve => return Err("this program has no `serve`".into()),
            Called::Alone => {
                let listener = TcpListener::bind("127.0.0.1:0").await?;
                let address = listener.local_addr()?.to_string();
                spawn(async move { echo(listener.accept().await?.0).await });
                client(&address).await?;
            }
        }
        println!("soketto: three messages over a websocket, sent by one task and received by another");
        Ok(())
    })
}
