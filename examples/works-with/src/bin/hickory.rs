//! hickory: its resolver on our sockets, timers and tasks, by its trait `RuntimeProvider`.
//!
//! All futures of the trait must be `Send`. Those of our sockets and `sleep` are. Code
//! that uses `timeout` is in `local(..)`. Alone, the name server is in this program.
//!
//! `cargo run --bin hickory`, in `examples/works-with`.

use async_trait::async_trait;
use futures_util::io::{AsyncRead, AsyncWrite};
use hickory_proto::ProtoError;
use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::{RData, Record, rdata::A};
use hickory_proto::runtime::{RuntimeProvider, Spawn, Time};
use hickory_proto::tcp::DnsTcpStream;
use hickory_proto::udp::DnsUdpSocket;
use hickory_proto::xfer::Protocol;
use hickory_resolver::Resolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig};
use hickory_resolver::name_server::GenericConnector;
use onelane::net::{TcpStream, UdpSocket};
use onelane::sync::Lock;
use onelane::{EventLoop, gather, local, sleep, spawn, timeout, to_thread};
use programs::{Called, Result, called};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

#[derive(Clone)]
struct Onelane;

impl RuntimeProvider for Onelane {
    type Handle = Onelane;
    type Timer = Onelane;
    type Udp = Udp;
    type Tcp = Tcp;

    fn create_handle(&self) -> Onelane {
        Onelane
    }

    fn connect_tcp(
        &self,
        server: SocketAddr,
        _bind_to: Option<SocketAddr>,
        limit: Option<Duration>,
    ) -> Pin<Box<dyn Send + Future<Output = io::Result<Tcp>>>> {
        let limit = limit.unwrap_or(Duration::from_secs(5));
        Box::pin(local(async move { Ok(Tcp(timeout(limit, TcpStream::connect(server)).await??)) }))
    }

    fn bind_udp(
        &self,
        local_address: SocketAddr,
        _server: SocketAddr,
    ) -> Pin<Box<dyn Send + Future<Output = io::Result<Udp>>>> {
        Box::pin(async move { UdpSocket::bind(local_address).await.map(Udp) })
    }
}

impl Spawn for Onelane {
    fn spawn_bg<F>(&mut self, future: F)
    where
        F: Future<Output = Result<(), ProtoError>> + Send + 'static,
    {
        spawn(future);
    }
}

#[async_trait]
impl Time for Onelane {
    async fn delay_for(duration: Duration) {
        sleep(duration).await;
    }

    async fn timeout<F: Future + Send + 'static>(duration: Duration, future: F) -> io::Result<F::Output> {
        Ok(local(timeout(duration, future)).await?)
    }
}

struct Tcp(TcpStream);

impl DnsTcpStream for Tcp {
    type Time = Onelane;
}

impl AsyncRead for Tcp {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        AsyncRead::poll_read(Pin::new(&mut self.0), cx, buffer)
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.0), cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.0), cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_close(Pin::new(&mut self.0), cx)
    }
}

struct Udp(UdpSocket);

impl DnsUdpSocket for Udp {
    type Time = Onelane;

    fn poll_recv_from(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<(usize, SocketAddr)>> {
        self.0.as_async().poll_read_with(cx, |socket| socket.recv_from(buffer))
    }

    fn poll_send_to(&self, cx: &mut Context<'_>, bytes: &[u8], target: SocketAddr) -> Poll<io::Result<usize>> {
        self.0.as_async().poll_write_with(cx, |socket| socket.send_to(bytes, target))
    }
}

/// A name server that knows one address for all names.
async fn serve(socket: UdpSocket) -> io::Result<()> {
    let mut buffer = [0; 1024];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).await?;
        let mut message = Message::from_vec(&buffer[..length]).map_err(io::Error::other)?;
        let name = message.queries()[0].name().clone();
        message.set_message_type(MessageType::Response);
        message.add_answer(Record::from_rdata(name, 60, RData::A(A::new(10, 0, 0, 7))));
        socket.send_to(&message.to_vec().map_err(io::Error::other)?, from).await?;
    }
}

/// What an application does in a future that must be `Send`.
fn resolve_all(resolver: Rc<Resolver<GenericConnector<Onelane>>>) -> Pin<Box<dyn Future<Output = Vec<String>> + Send>> {
    Box::pin(local(async move {
        let names = to_thread(|| ["tea.test.", "toast.test."]).await.unwrap();
        let found = Rc::new(Lock::new(Vec::new()));
        let jobs = names.map(|name| {
            let (resolver, found) = (resolver.clone(), found.clone());
            spawn(async move {
                let addresses = resolver.lookup_ip(name).await.unwrap();
                found.lock().await.push(format!("{name} {}", addresses.iter().next().unwrap()));
            })
        });
        gather(jobs).await.unwrap();
        let mut found = found.lock().await.clone();
        found.sort();
        found
    }))
}

/// Looks up the names at this name server.
async fn client(server: SocketAddr, protocol: Protocol) {
    let mut config = ResolverConfig::new();
    config.add_name_server(NameServerConfig::new(server, protocol));
    let resolver = Resolver::builder_with_config(config, GenericConnector::new(Onelane)).build();
    assert_eq!(resolve_all(Rc::new(resolver)).await, ["tea.test. 10.0.0.7", "toast.test. 10.0.0.7"]);
}

fn main() -> Result {
    EventLoop::new().run(async {
        match called() {
            Called::Connect(address) => {
                client(address.parse()?, Protocol::Udp).await;
                client(address.parse()?, Protocol::Tcp).await;
                println!("hickory: two names of another server, by UDP and by TCP");
            }
            Called::Serve => return Err("this program has no `serve`".into()),
            Called::Alone => {
                let socket = UdpSocket::bind("127.0.0.1:0").await?;
                let server = socket.local_addr()?;
                spawn(serve(socket));
                client(server, Protocol::Udp).await;
                println!("hickory: its resolver on our sockets; with timeout, spawn, gather, Lock and to_thread");
            }
        }
        Ok(())
    })
}
