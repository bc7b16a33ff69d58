//! TCP: listeners and streams.

use crate::kernel::idle::sockets::reactor::Side;
use crate::net::bind::Bind;
use crate::net::datagram::Receive;
use crate::net::endpoint::ToSocketAddrs;
use crate::net::happy_eyeballs::{Options, happy_eyeballs};
use crate::net::lookup::Lookup;
use crate::net::socket::socket;
use crate::net::split::{OwnedReadHalf, OwnedWriteHalf, split};
use crate::outside::io::{Async, Operation};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketType, ipproto, sockopt};
use std::fmt;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::OwnedFd;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// How many connections may wait in the operating system to be accepted, if it allows that many.
const BACKLOG: i32 = 1024;

/// A socket that listens for connections.
///
/// asyncio: the listening socket that `start_server` creates first.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, net::{TcpListener, TcpStream}};
/// use std::net::Ipv4Addr;
///
/// EventLoop::new().run(async {
///     let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
///     let client = TcpStream::connect(listener.local_addr()?).await?;
///     let (peer, address) = listener.accept().await?;
///     assert_eq!((address, peer.peer_addr()?), (client.local_addr()?, client.local_addr()?));
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
#[derive(Debug)]
pub struct TcpListener {
    io: Async<std::net::TcpListener>,
}

impl TcpListener {
    /// Listens at an address. With port 0, the operating system chooses a port, and
    /// [`local_addr`](Self::local_addr) returns it. A port that was in use a moment ago can be used
    /// again (`SO_REUSEADDR`).
    ///
    /// If a name has several addresses, it listens at the first one that can be used.
    /// [`start_server`](crate::net::start_server()) listens at all of them.
    ///
    /// Cancel safety: nothing is bound before it is ready.
    ///
    /// # Errors
    ///
    /// If the address is in use, does not belong to this machine, or requires privileges. The
    /// errors of [`lookup_host`](crate::net::lookup_host()). With several addresses, an
    /// [`AddressErrors`](crate::net::AddressErrors).
    ///
    /// # Panics
    ///
    /// When polled, if no loop is running on this thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::TcpListener};
    /// use std::{io::ErrorKind, net::Ipv4Addr};
    ///
    /// EventLoop::new().run(async {
    ///     let first = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    ///     let error = TcpListener::bind(first.local_addr()?).await.unwrap_err();
    ///     assert_eq!(error.kind(), ErrorKind::AddrInUse);
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[track_caller]
    pub fn bind(address: impl ToSocketAddrs) -> Bind<Self> {
        Bind::new(Lookup::of(&address), Self::bind_alone)
    }

    #[track_caller]
    pub(super) fn bind_alone(address: &SocketAddr) -> io::Result<Self> {
        Self::on(socket_for(address)?, address)
    }

    /// For a server that also listens at other addresses with the same port: an IPv6 socket then
    /// leaves IPv4 to the others.
    #[track_caller]
    pub(super) fn bind_beside_others(address: &SocketAddr) -> io::Result<Self> {
        let socket = socket_for(address)?;
        if address.is_ipv6() {
            sockopt::set_ipv6_v6only(&socket, true)?;
        }
        Self::on(socket, address)
    }

    /// Like [`bind`](Self::bind), but others may listen at the same address if they use this method
    /// too (`SO_REUSEPORT`). The operating system distributes connections among them. So a program
    /// can run a loop per core, each with its own listener.
    ///
    /// # Errors
    ///
    /// The errors of [`bind`](Self::bind).
    ///
    /// # Panics
    ///
    /// When polled, if no loop is running on this thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::TcpListener};
    /// use std::net::Ipv4Addr;
    ///
    /// EventLoop::new().run(async {
    ///     let first = TcpListener::bind_shared((Ipv4Addr::LOCALHOST, 0)).await?;
    ///     let second = TcpListener::bind_shared(first.local_addr()?).await?;
    ///     assert_eq!(first.local_addr()?, second.local_addr()?);
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[doc(alias = "reuse_port")]
    #[track_caller]
    pub fn bind_shared(address: impl ToSocketAddrs) -> Bind<Self> {
        Bind::new(Lookup::of(&address), |address| {
            let socket = socket_for(address)?;
            sockopt::set_socket_reuseport(&socket, true)?;
            Self::on(socket, address)
        })
    }

    #[track_caller]
    fn on(socket: OwnedFd, address: &SocketAddr) -> io::Result<Self> {
        sockopt::set_socket_reuseaddr(&socket, true)?;
        net::bind(&socket, address)?;
        net::listen(&socket, BACKLOG)?;
        Ok(TcpListener { io: Async::register(std::net::TcpListener::from(socket), Side::Read, false)? })
    }

    /// Sets the source location at which this counts as created.
    pub(super) fn made_at(&mut self, place: &'static Location<'static>) {
        self.io.made_at(place);
    }

    /// Converts a listener of the standard library; it becomes non-blocking.
    ///
    /// # Errors
    ///
    /// The errors of [`Async::new`].
    ///
    /// # Panics
    ///
    /// If no loop is running on this thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::TcpListener};
    ///
    /// let early = std::net::TcpListener::bind("127.0.0.1:0").unwrap(); // before there is a loop
    /// EventLoop::new().run(async { TcpListener::from_std(early) }).unwrap();
    /// ```
    #[track_caller]
    pub fn from_std(listener: std::net::TcpListener) -> io::Result<Self> {
        Ok(TcpListener { io: Async::new(listener)? })
    }

    /// Waits for a connection. Returns it, and the address of the peer.
    ///
    /// Cancel safety: no connection is lost; one that was not accepted stays in the operating
    /// system.
    ///
    /// # Errors
    ///
    /// If the process or the system has no descriptors left (`EMFILE`, `ENFILE`): the connection is
    /// not lost, but waits in the operating system. An immediate second `accept` fails too; wait a
    /// little, as asyncio does, or close a connection. If the peer has given up the connection in
    /// the meantime (`ECONNABORTED`): accept the next one.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::TcpListener, timeout};
    /// use std::{net::Ipv4Addr, time::Duration};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    ///     // Nobody comes.
    ///     assert!(timeout(Duration::from_secs(60), listener.accept()).await.is_err());
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[doc(alias = "sock_accept")]
    #[track_caller]
    pub fn accept(&self) -> Accept<'_> {
        Accept { operation: self.io.read_with(accept) }
    }

    /// Like `accept`, for futures that are written by hand.
    #[track_caller]
    pub(crate) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        let accepted = ready!(self.io.poll_read_with(cx, accept));
        Poll::Ready(accepted.and_then(accepted_by_us))
    }

    /// Returns the address at which it listens.
    ///
    /// # Errors
    ///
    /// The error of the operating system.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::TcpListener};
    /// use std::net::Ipv4Addr;
    ///
    /// EventLoop::new().run(async {
    ///     let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    ///     assert_ne!(listener.local_addr().unwrap().port(), 0);
    /// });
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.get_ref().local_addr()
    }

    /// Deregisters the listener and returns it as the standard library's type. It stays
    /// non-blocking: to use it without a loop, call `set_nonblocking(false)`. Waiting tasks are
    /// woken.
    ///
    /// # Panics
    ///
    /// On a thread other than the loop's.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::TcpListener};
    ///
    /// EventLoop::new().run(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let listener = listener.into_std();
    ///     listener.set_nonblocking(false)?;
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[track_caller]
    pub fn into_std(self) -> std::net::TcpListener {
        self.io.into_inner()
    }

    /// Creates another handle to the same listener, in the running loop. The two share everything
    /// that the operating system knows of it: waiting connections and options. It stays open until
    /// both are dropped.
    ///
    /// # Errors
    ///
    /// If no descriptors are left, and the errors of [`Async::new`].
    ///
    /// # Panics
    ///
    /// If no loop is running on this thread.
    ///
    /// # Cost
    ///
    /// A descriptor, three system calls, two allocations.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::TcpListener};
    ///
    /// EventLoop::new().run(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let other = listener.try_clone()?;
    ///     drop(listener);
    ///     assert!(other.take_error()?.is_none());
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[track_caller]
    pub fn try_clone(&self) -> io::Result<Self> {
        Self::from_std(self.io.get_ref().try_clone()?)
    }

    /// Returns the pending error of the socket (`SO_ERROR`), and removes it.
    ///
    /// # Errors
    ///
    /// The error of the operating system.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::TcpListener};
    ///
    /// EventLoop::new().run(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     assert!(listener.take_error()?.is_none());
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.io.get_ref().take_error()
    }

    /// Sets the number of routers that a packet may pass (the TTL of IPv4). The default is usually
    /// 64. Accepted connections inherit it.
    ///
    /// # Errors
    ///
    /// The error of the operating system.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::TcpListener};
    ///
    /// EventLoop::new().run(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     listener.set_ttl(32)?;
    ///     assert_eq!(listener.ttl()?, 32);
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.io.get_ref().set_ttl(ttl)
    }

    /// Returns the number of routers that a packet may pass.
    ///
    /// # Errors
    ///
    /// The error of the operating system.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::TcpListener};
    ///
    /// EventLoop::new().run(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     listener.set_ttl(32)?;
    ///     assert_eq!(listener.ttl()?, 32);
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn ttl(&self) -> io::Result<u32> {
        self.io.get_ref().ttl()
    }

    /// Returns the socket as an `Async`, for functions that are missing here.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::TcpListener};
    /// use std::net::Ipv4Addr;
    ///
    /// EventLoop::new().run(async {
    ///     let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    ///     listener.as_async().get_ref().set_ttl(64).unwrap();
    /// });
    /// ```
    pub fn as_async(&self) -> &Async<std::net::TcpListener> {
        &self.io
    }
}

like_std!(TcpListener, std::net::TcpListener);

/// Creates the operating system's socket: non-blocking, and closed when the process executes
/// another program.
fn accept(listener: &std::net::TcpListener) -> io::Result<(OwnedFd, SocketAddr)> {
    #[cfg(not(target_vendor = "apple"))]
    let accepted = net::acceptfrom_with(listener, net::SocketFlags::NONBLOCK | net::SocketFlags::CLOEXEC)?;
    #[cfg(target_vendor = "apple")]
    let accepted = {
        let accepted = net::acceptfrom(listener)?;
        crate::net::socket::set_flags(&accepted.0)?;
        accepted
    };
    let (socket, address) = accepted;
    let address = address.ok_or(Errno::INVAL).and_then(SocketAddr::try_from)?;
    Ok((socket, address))
}

/// Registers an accepted socket with the loop.
fn accepted_by_us((socket, address): (OwnedFd, SocketAddr)) -> io::Result<(TcpStream, SocketAddr)> {
    let io = Async::register(std::net::TcpStream::from(socket), Side::Read, true)?;
    Ok((TcpStream { io }, address))
}

fn socket_for(address: &SocketAddr) -> rustix::io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    socket(family, SocketType::STREAM, Some(ipproto::TCP))
}

/// The future of [`TcpListener::accept`].
///
/// # Examples
///
/// ```
/// use futures_util::future::{Either, select};
/// use onelane::{EventLoop, net::TcpListener, yield_now};
/// use std::net::Ipv4Addr;
///
/// EventLoop::new().run(async {
///     let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
///     // Until there is something better to do; nothing is lost.
///     assert!(matches!(select(listener.accept(), yield_now()).await, Either::Right(_)));
/// });
/// ```
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub struct Accept<'a> {
    #[expect(clippy::type_complexity, reason = "it is the function's, and stands here alone")]
    operation: Operation<'a, std::net::TcpListener, fn(&std::net::TcpListener) -> io::Result<(OwnedFd, SocketAddr)>>,
}

impl Future for Accept<'_> {
    type Output = io::Result<(TcpStream, SocketAddr)>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let accepted = ready!(Pin::new(&mut self.operation).poll(cx));
        Poll::Ready(accepted.and_then(accepted_by_us))
    }
}

/// A connection.
///
/// To read and write, use [`AsyncRead`](futures_io::AsyncRead) and
/// [`AsyncWrite`](futures_io::AsyncWrite), for `TcpStream` and for `&TcpStream`. Closing it by
/// `AsyncWrite` shuts it down for writing; dropping it closes it. With the feature `hyper` it also
/// implements hyper's `Read` and `Write`.
///
/// A write that is ready has passed its bytes to the operating system, which sends them even after
/// the stream is dropped, unless the peer resets the connection, or unread data is dropped with it.
/// To know that data has arrived, let the peer confirm it.
///
/// asyncio: a transport, or `StreamReader` and `StreamWriter`, which
/// [`open_connection`](crate::net::open_connection()) returns.
///
/// # Examples
///
/// ```
/// use futures_util::{AsyncReadExt, AsyncWriteExt};
/// use onelane::{EventLoop, net::{TcpListener, TcpStream}};
/// use std::net::Ipv4Addr;
///
/// EventLoop::new().run(async {
///     let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
///     let client = TcpStream::connect(listener.local_addr()?).await?;
///     let (mut peer, _) = listener.accept().await?;
///     // One reads while the other writes.
///     let mut answer = [0; 4];
///     let (mut reader, mut writer) = (&client, &client);
///     let (read, written) = futures_util::join!(reader.read_exact(&mut answer), async {
///         writer.write_all(b"ping").await?;
///         let mut question = [0; 4];
///         peer.read_exact(&mut question).await?;
///         peer.write_all(if &question == b"ping" { b"pong" } else { b"what" }).await
///     });
///     (read?, written?);
///     assert_eq!(&answer, b"pong");
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
#[derive(Debug)]
pub struct TcpStream {
    pub(crate) io: Async<std::net::TcpStream>,
}

impl TcpStream {
    /// Opens a connection to an address, or to a name and a port.
    ///
    /// A name is looked up on another thread; see [`lookup_host`](crate::net::lookup_host()). If it
    /// has several addresses, they are dialled as [`happy_eyeballs`](crate::net::happy_eyeballs())
    /// describes: IPv6 and IPv4 in turn, the next address after 250 ms or as soon as an attempt
    /// fails. The first that answers is the connection, and the other attempts are abandoned.
    ///
    /// Cancel safety: dropping it abandons all attempts.
    ///
    /// asyncio: `loop.sock_connect` for an address, `create_connection` for a name.
    ///
    /// # Errors
    ///
    /// If there is no listener, or the network rejects the connection. If a peer does not answer,
    /// the operating system decides when that is an error, usually after minutes: put a
    /// [`timeout`](crate::timeout()) around it.
    ///
    /// The errors of [`lookup_host`](crate::net::lookup_host()). If all of several addresses fail,
    /// an [`AddressErrors`](crate::net::AddressErrors) that contains all their errors.
    ///
    /// # Panics
    ///
    /// When polled, if no loop is running on this thread.
    ///
    /// # Cost
    ///
    /// For a numeric address, two allocations and five system calls.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::TcpStream};
    /// use std::{io::ErrorKind, net::{Ipv4Addr, TcpListener}};
    ///
    /// EventLoop::new().run(async {
    ///     let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap(); // and the listener is gone
    ///     let error = TcpStream::connect(address).await.unwrap_err();
    ///     assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    /// });
    /// ```
    #[doc(alias = "sock_connect")]
    #[doc(alias = "create_connection")]
    #[track_caller]
    pub fn connect(address: impl ToSocketAddrs) -> Connect {
        let (stage, made_at) = (Stage::Lookup(Lookup::of(&address)), Location::caller());
        Connect { stage, options: Options::default(), local: None, made_at }
    }

    /// Converts a connection of the standard library; it becomes non-blocking.
    ///
    /// # Errors
    ///
    /// The errors of [`Async::new`].
    ///
    /// # Panics
    ///
    /// If no loop is running on this thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::TcpStream};
    ///
    /// let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// let early = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// EventLoop::new().run(async { TcpStream::from_std(early) }).unwrap();
    /// ```
    #[track_caller]
    pub fn from_std(stream: std::net::TcpStream) -> io::Result<Self> {
        Ok(TcpStream { io: Async::new(stream)? })
    }

    /// Returns the address of the peer.
    ///
    /// # Errors
    ///
    /// If it is not connected any more.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::{TcpListener, TcpStream}};
    /// use std::net::Ipv4Addr;
    ///
    /// EventLoop::new().run(async {
    ///     let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    ///     let stream = TcpStream::connect(listener.local_addr()?).await?;
    ///     assert_eq!(stream.peer_addr()?, listener.local_addr()?);
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.io.get_ref().peer_addr()
    }

    /// Returns the local address.
    ///
    /// # Errors
    ///
    /// The error of the operating system.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::{TcpListener, TcpStream}};
    /// use std::net::Ipv4Addr;
    ///
    /// EventLoop::new().run(async {
    ///     let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    ///     let stream = TcpStream::connect(listener.local_addr()?).await?;
    ///     assert!(stream.local_addr()?.ip().is_loopback());
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.get_ref().local_addr()
    }

    /// Sets whether small writes are sent immediately (`TCP_NODELAY`). By default they are not: the
    /// operating system waits for more data while earlier data is on its way.
    ///
    /// # Errors
    ///
    /// The error of the operating system.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::{TcpListener, TcpStream}};
    /// use std::net::Ipv4Addr;
    ///
    /// EventLoop::new().run(async {
    ///     let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    ///     TcpStream::connect(listener.local_addr()?).await?.set_nodelay(true)
    /// })
    /// # .unwrap();
    /// ```
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.io.get_ref().set_nodelay(nodelay)
    }

    /// Closes one direction, or both. After `Shutdown::Write` the peer reads everything that was
    /// written, and then sees the end.
    ///
    /// # Errors
    ///
    /// If it is not connected any more.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures_util::AsyncReadExt;
    /// use onelane::{EventLoop, net::{TcpListener, TcpStream}};
    /// use std::net::{Ipv4Addr, Shutdown};
    ///
    /// EventLoop::new().run(async {
    ///     let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    ///     let client = TcpStream::connect(listener.local_addr()?).await?;
    ///     client.shutdown(Shutdown::Write)?;
    ///     let (mut peer, _) = listener.accept().await?;
    ///     assert_eq!(peer.read(&mut [0; 8]).await?, 0);
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[doc(alias = "write_eof")]
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.io.get_ref().shutdown(how)
    }

    /// Deregisters the connection and returns it as the standard library's type. It stays
    /// non-blocking: to use it without a loop, call `set_nonblocking(false)`. Waiting tasks are
    /// woken.
    ///
    /// # Panics
    ///
    /// On a thread other than the loop's.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::{TcpListener, TcpStream}};
    ///
    /// EventLoop::new().run(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let stream = TcpStream::connect(listener.local_addr()?).await?;
    ///     let stream = stream.into_std();
    ///     stream.set_nonblocking(false)?;
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[track_caller]
    pub fn into_std(self) -> std::net::TcpStream {
        self.io.into_inner()
    }

    /// Creates another handle to the same connection, in the running loop. The two share everything
    /// that the operating system knows of it: data, options, and `shutdown`. It stays open until both
    /// are dropped.
    ///
    /// # Errors
    ///
    /// If no descriptors are left, and the errors of [`Async::new`].
    ///
    /// # Panics
    ///
    /// If no loop is running on this thread.
    ///
    /// # Cost
    ///
    /// A descriptor, three system calls, two allocations.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::{TcpListener, TcpStream}};
    ///
    /// EventLoop::new().run(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let stream = TcpStream::connect(listener.local_addr()?).await?;
    ///     let other = stream.try_clone()?;
    ///     drop(stream);
    ///     assert!(other.take_error()?.is_none());
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[track_caller]
    pub fn try_clone(&self) -> io::Result<Self> {
        Self::from_std(self.io.get_ref().try_clone()?)
    }

    /// Returns the pending error of the socket (`SO_ERROR`), and removes it.
    ///
    /// # Errors
    ///
    /// The error of the operating system.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::{TcpListener, TcpStream}};
    ///
    /// EventLoop::new().run(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let stream = TcpStream::connect(listener.local_addr()?).await?;
    ///     assert!(stream.take_error()?.is_none());
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.io.get_ref().take_error()
    }

    /// Whether small writes are sent immediately (`TCP_NODELAY`).
    ///
    /// # Errors
    ///
    /// The error of the operating system.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::{TcpListener, TcpStream}};
    ///
    /// EventLoop::new().run(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let stream = TcpStream::connect(listener.local_addr()?).await?;
    ///     stream.set_nodelay(true)?;
    ///     assert!(stream.nodelay()?);
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn nodelay(&self) -> io::Result<bool> {
        self.io.get_ref().nodelay()
    }

    /// Sets the number of routers that a packet may pass (the TTL of IPv4). The default is usually
    /// 64.
    ///
    /// # Errors
    ///
    /// The error of the operating system.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::{TcpListener, TcpStream}};
    ///
    /// EventLoop::new().run(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let stream = TcpStream::connect(listener.local_addr()?).await?;
    ///     stream.set_ttl(32)?;
    ///     assert_eq!(stream.ttl()?, 32);
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.io.get_ref().set_ttl(ttl)
    }

    /// Returns the number of routers that a packet may pass.
    ///
    /// # Errors
    ///
    /// The error of the operating system.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::{TcpListener, TcpStream}};
    ///
    /// EventLoop::new().run(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let stream = TcpStream::connect(listener.local_addr()?).await?;
    ///     stream.set_ttl(32)?;
    ///     assert_eq!(stream.ttl()?, 32);
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn ttl(&self) -> io::Result<u32> {
        self.io.get_ref().ttl()
    }

    /// Reads what is available, up to the length of the buffer, and leaves it for the next read.
    /// Waits only if there is nothing. Returns 0 at the end of the stream.
    ///
    /// Cancel safety: nothing is lost.
    ///
    /// # Errors
    ///
    /// If the connection has failed.
    ///
    /// # Panics
    ///
    /// When polled outside its loop.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures_util::{AsyncReadExt, AsyncWriteExt};
    /// use onelane::{EventLoop, net::{TcpListener, TcpStream}};
    ///
    /// EventLoop::new().run(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let mut client = TcpStream::connect(listener.local_addr()?).await?;
    ///     let (mut peer, _) = listener.accept().await?;
    ///     client.write_all(b"lane").await?;
    ///     let mut buffer = [0; 4];
    ///     assert!(peer.peek(&mut buffer).await? > 0);
    ///     peer.read_exact(&mut buffer).await?;
    ///     assert_eq!(&buffer, b"lane");
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn peek<'a>(&'a self, buffer: &'a mut [u8]) -> Receive<'a, std::net::TcpStream, usize> {
        Receive::new(&self.io, buffer, std::net::TcpStream::peek)
    }

    /// Splits the connection into a half that reads and a half that writes, which two tasks can
    /// own. [`reunite`](crate::net::OwnedReadHalf::reunite) puts them together again.
    ///
    /// Inside one task, `(&stream, &stream)` reads and writes as well, without an allocation. For
    /// asyncio's pair of streams, use [`into_streams`](Self::into_streams).
    ///
    /// # Cost
    ///
    /// One allocation.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures_util::{AsyncReadExt, AsyncWriteExt};
    /// use onelane::{EventLoop, net::{TcpListener, TcpStream}, spawn};
    ///
    /// EventLoop::new().run(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let (_reader, mut writer) = TcpStream::connect(listener.local_addr()?).await?.into_split();
    ///     let (mut reader, _writer) = listener.accept().await?.0.into_split();
    ///     let sending = spawn(async move { writer.write_all(b"lane").await }); // then it is dropped
    ///     let mut text = String::new();
    ///     reader.read_to_string(&mut text).await?;
    ///     sending.await.unwrap()?;
    ///     assert_eq!(text, "lane");
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn into_split(self) -> (OwnedReadHalf<Self>, OwnedWriteHalf<Self>) {
        split(self, |stream| drop(stream.shutdown(Shutdown::Write)))
    }

    /// Returns the socket as an `Async`, for functions that are missing here.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::{TcpListener, TcpStream}};
    /// use std::net::Ipv4Addr;
    ///
    /// EventLoop::new().run(async {
    ///     let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    ///     let stream = TcpStream::connect(listener.local_addr()?).await?;
    ///     stream.as_async().writable().await
    /// })
    /// # .unwrap();
    /// ```
    pub fn as_async(&self) -> &Async<std::net::TcpStream> {
        &self.io
    }
}

like_std!(TcpStream, std::net::TcpStream);

read_and_write!(TcpStream);

/// The future of [`TcpStream::connect`].
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, net::{TcpListener, TcpStream}, timeout};
/// use std::{net::Ipv4Addr, time::Duration};
///
/// EventLoop::new().run(async {
///     let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
///     let attempt = TcpStream::connect(listener.local_addr()?);
///     timeout(Duration::from_secs(10), attempt).await.expect("in time")
/// })
/// # .unwrap();
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct Connect {
    stage: Stage,
    options: Options,
    local: Option<SocketAddr>,
    made_at: &'static Location<'static>,
}

enum Stage {
    Lookup(Lookup),
    One(Dial),
    Several(Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>),
    Over,
}

impl Connect {
    /// Sets how long an attempt may take before the next address of a name is dialled too. With
    /// `None`, the next address is dialled only when an attempt fails. The default is
    /// [`HAPPY_EYEBALLS_DELAY`](crate::net::HAPPY_EYEBALLS_DELAY), 250 ms.
    ///
    /// asyncio: `create_connection(happy_eyeballs_delay=..)`, where `None` is the default.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::{TcpListener, TcpStream}};
    /// use std::time::Duration;
    ///
    /// EventLoop::new().run(async {
    ///     let listener = TcpListener::bind("localhost:0").await?;
    ///     let address = ("localhost", listener.local_addr()?.port());
    ///     TcpStream::connect(address).happy_eyeballs_delay(Duration::from_millis(100)).await?;
    ///     TcpStream::connect(address).happy_eyeballs_delay(None).await?;
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn happy_eyeballs_delay(mut self, delay: impl Into<Option<Duration>>) -> Self {
        self.options.delay = delay.into();
        self
    }

    /// Sets how many addresses of the family of the first address are dialled before the families
    /// alternate. With 0, the addresses are dialled in the order in which they were found. The
    /// default is 1.
    ///
    /// asyncio: `create_connection(interleave=..)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::{TcpListener, TcpStream}};
    ///
    /// EventLoop::new().run(async {
    ///     let listener = TcpListener::bind("localhost:0").await?;
    ///     let address = ("localhost", listener.local_addr()?.port());
    ///     TcpStream::connect(address).interleave(0).await?;
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn interleave(mut self, first_family: usize) -> Self {
        self.options.first_family = first_family;
        self
    }

    /// Sets the address from which the connection is made. With port 0, the operating system
    /// chooses a port. With another port, only one attempt can be made at a time. The next address
    /// is then dialled when the attempt before it has failed, and not after a delay. An address of
    /// the other family (IPv4, IPv6) fails with
    /// [`AddrNotAvailable`](io::ErrorKind::AddrNotAvailable).
    ///
    /// asyncio: `create_connection(local_addr=..)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::{TcpListener, TcpStream}};
    /// use std::net::Ipv4Addr;
    ///
    /// EventLoop::new().run(async {
    ///     let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    ///     let local = (Ipv4Addr::LOCALHOST, 0).into();
    ///     let stream = TcpStream::connect(listener.local_addr()?).local_addr(local).await?;
    ///     assert!(stream.local_addr()?.ip().is_loopback());
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn local_addr(mut self, local: SocketAddr) -> Self {
        self.local = Some(local);
        self
    }
}

impl Future for Connect {
    type Output = io::Result<TcpStream>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let (local, made_at) = (this.local, this.made_at);
        if let Stage::Lookup(lookup) = &mut this.stage {
            let addresses = ready!(lookup.poll(cx)).inspect_err(|_| this.stage = Stage::Over)?;
            let dial = move |address| Dial { address, local, made_at, stream: None };
            if local.is_some_and(|local| local.port() != 0) {
                // A second socket could not be bound to the same port.
                this.options.delay = None;
            }
            this.stage = match addresses.as_slice() {
                [address] => Stage::One(dial(*address)),
                _ => Stage::Several(Box::pin(happy_eyeballs(addresses.into_vec(), dial).with(this.options))),
            };
        }
        let result = match &mut this.stage {
            Stage::One(dial) => ready!(Pin::new(dial).poll(cx)),
            Stage::Several(race) => ready!(race.as_mut().poll(cx)),
            Stage::Lookup(_) | Stage::Over => {
                panic!("a connect() was polled after it was ready; keep the result of the first await")
            }
        };
        this.stage = Stage::Over;
        Poll::Ready(result)
    }
}

impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_tuple("Connect");
        match &self.stage {
            Stage::Lookup(lookup) => debug.field(lookup),
            Stage::One(dial) => debug.field(&dial.address),
            Stage::Several(_) => debug.field(&"several addresses"),
            Stage::Over => debug.field(&"over"),
        };
        debug.finish()
    }
}

/// An attempt to connect to one address.
struct Dial {
    address: SocketAddr,
    local: Option<SocketAddr>,
    made_at: &'static Location<'static>,
    /// `Some` while the attempt is in progress.
    stream: Option<TcpStream>,
}

impl Dial {
    #[track_caller]
    fn begin(&self) -> io::Result<TcpStream> {
        let socket = socket_for(&self.address)?;
        if let Some(local) = self.local {
            if local.is_ipv4() != self.address.is_ipv4() {
                let message = format!("the local address {local} is of another family than {}", self.address);
                return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, message));
            }
            net::bind(&socket, &local)?;
        }
        match net::connect(&socket, &self.address) {
            // A signal during the call does not stop the attempt.
            Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        // Registered after the attempt has begun: before that, the poller reports a hang-up.
        let mut stream = TcpStream { io: Async::register(std::net::TcpStream::from(socket), Side::Write, true)? };
        stream.io.made_at(self.made_at);
        Ok(stream)
    }
}

impl Future for Dial {
    type Output = io::Result<TcpStream>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.begin()?,
        };
        // The side counts as ready only when the poller has reported it. Then the socket knows the
        // result of the attempt.
        match stream.io.poll_write_with(cx, |socket| socket.take_error()?.map_or(Ok(()), Err)) {
            Poll::Ready(result) => Poll::Ready(result.map(|()| stream)),
            Poll::Pending => {
                self.stream = Some(stream);
                Poll::Pending
            }
        }
    }
}
