//! quinn: QUIC over our UDP sockets, a server and its clients.
//!
//! quinn asks its runtime for four things: timers, tasks, a socket, and a wait until the socket is
//! writable. All of ours are `Send`, as quinn requires, so none needs `local(..)`. The tasks use
//! only quinn's own values.
//!
//! `cargo run --bin quinn`, in `examples/works-with`.

use onelane::net::UdpSocket;
use onelane::{EventLoop, Sleep, gather, sleep_until, spawn};
use quinn::udp::{RecvMeta, Transmit, UdpSocketState};
use quinn::{AsyncTimer, AsyncUdpSocket, ClientConfig, Connection, Endpoint, EndpointConfig, Runtime, ServerConfig};
use quinn::{UdpPoller, VarInt};
use std::error::Error;
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

/// The runtime that quinn uses: the running loop.
#[derive(Debug)]
struct LoopRuntime;

impl Runtime for LoopRuntime {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        Box::pin(Timer(sleep_until(at)))
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        drop(spawn(future));
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let state = UdpSocketState::new((&socket).into())?;
        Ok(Arc::new(Socket { socket: UdpSocket::from_std(socket)?, state }))
    }
}

#[derive(Debug)]
struct Timer(Sleep);

impl AsyncTimer for Timer {
    fn reset(mut self: Pin<&mut Self>, at: Instant) {
        self.0.reset(at);
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx)
    }
}

/// Our socket. quinn's `UdpSocketState` makes the system calls, with several datagrams in each.
#[derive(Debug)]
struct Socket {
    socket: UdpSocket,
    state: UdpSocketState,
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Writable { socket: self, wait: None })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.state.send((&self.socket).into(), transmit)
    }

    /// Only the endpoint's task receives, so the socket needs to store only one waker.
    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.socket.as_async().poll_read_with(cx, |socket| self.state.recv(socket.into(), buffers, meta))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.state.gro_segments()
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }
}

type Wait = Pin<Box<dyn Future<Output = io::Result<()>> + Send + Sync>>;

/// Waits until the socket is writable, for one connection. The connections of an endpoint share its
/// socket, and all of them must be woken. So each has its own future of `writable`; `poll_writable`
/// would wake only the last that has called it.
struct Writable {
    socket: Arc<Socket>,
    wait: Option<Wait>,
}

impl UdpPoller for Writable {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let wait = this.wait.get_or_insert_with(|| {
            let socket = this.socket.clone();
            Box::pin(async move { socket.socket.as_async().writable().await })
        });
        let result = ready!(wait.as_mut().poll(cx));
        this.wait = None;
        Poll::Ready(result)
    }
}

impl fmt::Debug for Writable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writable").field("waits", &self.wait.is_some()).finish()
    }
}

fn endpoint(server: Option<ServerConfig>) -> io::Result<Endpoint> {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    Endpoint::new(EndpointConfig::default(), server, socket, Arc::new(LoopRuntime))
}

/// Returns what each stream sends, until the client closes the connection.
async fn echo(connection: Connection) {
    while let Ok((mut send, mut receive)) = connection.accept_bi().await {
        spawn(async move {
            while let Some(chunk) = receive.read_chunk(usize::MAX, true).await.unwrap() {
                send.write_chunk(chunk.bytes).await.unwrap();
            }
            send.finish().unwrap();
        });
    }
}

/// A connection with three streams at once. Returns the number of bytes that came back.
async fn client(server: SocketAddr, config: ClientConfig, length: usize) -> Result<usize, Box<dyn Error>> {
    let mut endpoint = endpoint(None)?;
    endpoint.set_default_client_config(config);
    let connection = endpoint.connect(server, "localhost")?.await?;
    let streams = (0..3_u8).map(|nth| {
        let connection = connection.clone();
        async move {
            let (mut send, mut receive) = connection.open_bi().await.unwrap();
            let sent = vec![nth; length];
            let copy = sent.clone();
            let sending = spawn(async move {
                send.write_all(&copy).await.unwrap();
                send.finish().unwrap();
            });
            let received = receive.read_to_end(length).await.unwrap();
            assert!(received == sent);
            sending.await.unwrap();
            received.len()
        }
    });
    let lengths = gather(streams).await?;
    connection.close(VarInt::from_u32(0), b"done");
    endpoint.wait_idle().await;
    Ok(lengths.iter().sum())
}

fn main() {
    let identity = rcgen::generate_simple_self_signed(vec!["localhost".to_string()]).unwrap();
    let certificate = identity.cert.der().clone();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(identity.signing_key.serialize_der());
    let server = ServerConfig::with_single_cert(vec![certificate.clone()], key.into()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let config = ClientConfig::with_root_certificates(Arc::new(roots)).unwrap();

    EventLoop::new().run(async {
        let server = endpoint(Some(server)).unwrap();
        let address = server.local_addr().unwrap();
        let accepting = server.clone();
        let serving = spawn(async move {
            while let Some(incoming) = accepting.accept().await {
                spawn(async move { echo(incoming.await.unwrap()).await });
            }
        });
        let clients = gather((0..3).map(|_| {
            let config = config.clone();
            async move { client(address, config, 400_000).await.unwrap() }
        }));
        assert_eq!(clients.await.unwrap(), [1_200_000; 3]);
        server.close(VarInt::from_u32(0), b"done");
        server.wait_idle().await;
        serving.await.unwrap();
    });
    println!("quinn: three clients, nine streams, 3.6 MB there and back");
}
