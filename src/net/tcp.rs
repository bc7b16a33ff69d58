//! TCP: listeners and streams.

use crate::kernel::idle::sockets::reactor::Side;
use crate::net::socket::socket;
use crate::outside::io::{Async, Operation};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketType, ipproto, sockopt};
use std::fmt;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// So many connections wait in the system until they are accepted, if it lets them.
const BACKLOG: i32 = 1024;

/// A socket that listens for connections.
///
/// asyncio: what `start_server` makes first.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, net::{TcpListener, TcpStream}};
/// use std::net::Ipv4Addr;
///
/// EventLoop::new().run(async {
///     let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
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
    /// Listens at an address; with port 0, at one that the system chooses, and [`local_addr`](Self::local_addr) tells. A port that
    /// was in use a moment ago can be had again (`SO_REUSEADDR`).
    ///
    /// # Errors
    ///
    /// If the address is in use, is not one of this machine's, or asks for rights.
    ///
    /// # Panics
    ///
    /// If no loop is running on this thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::TcpListener};
    /// use std::{io::ErrorKind, net::Ipv4Addr};
    ///
    /// EventLoop::new().run(async {
    ///     let first = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    ///     let error = TcpListener::bind(first.local_addr()?).unwrap_err();
    ///     assert_eq!(error.kind(), ErrorKind::AddrInUse);
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[track_caller]
    pub fn bind(address: impl Into<SocketAddr>) -> io::Result<Self> {
        let address = address.into();
        Self::on(socket_for(&address)?, address)
    }

    /// As [`bind`](Self::bind), but others may listen at the same address, if they ask for the same (`SO_REUSEPORT`): the system
    /// deals connections out among them. So a program has a loop for each core, and each loop its own listener.
    ///
    /// # Errors
    ///
    /// Those of [`bind`](Self::bind).
    ///
    /// # Panics
    ///
    /// If no loop is running on this thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::TcpListener};
    /// use std::net::Ipv4Addr;
    ///
    /// EventLoop::new().run(async {
    ///     let first = TcpListener::bind_shared((Ipv4Addr::LOCALHOST, 0))?;
    ///     let second = TcpListener::bind_shared(first.local_addr()?)?;
    ///     assert_eq!(first.local_addr()?, second.local_addr()?);
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[doc(alias = "reuse_port")]
    #[track_caller]
    pub fn bind_shared(address: impl Into<SocketAddr>) -> io::Result<Self> {
        let address = address.into();
        let socket = socket_for(&address)?;
        sockopt::set_socket_reuseport(&socket, true)?;
        Self::on(socket, address)
    }

    #[track_caller]
    fn on(socket: OwnedFd, address: SocketAddr) -> io::Result<Self> {
        sockopt::set_socket_reuseaddr(&socket, true)?;
        net::bind(&socket, &address)?;
        net::listen(&socket, BACKLOG)?;
        Ok(TcpListener { io: Async::register(std::net::TcpListener::from(socket), Side::Read, false)? })
    }

    /// Takes over a listener of the standard library's; it is made non-blocking.
    ///
    /// # Errors
    ///
    /// Those of [`Async::new`].
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

    /// Waits for a connection; gives it, and the address of the peer.
    ///
    /// Cancel safety: nothing is lost; a connection that nobody has accepted stays with the system.
    ///
    /// # Errors
    ///
    /// If the process or the system has no descriptors left (`EMFILE`, `ENFILE`): the connection is not lost, but waits in the
    /// system, and an `accept` that follows at once fails at once; wait a little, as
    /// asyncio does, or let a connection end. If the connection has been given up meanwhile (`ECONNABORTED`): accept the next.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::TcpListener, timeout};
    /// use std::{net::Ipv4Addr, time::Duration};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
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

    /// As `accept`, to be polled by hand.
    #[track_caller]
    pub(crate) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        let accepted = ready!(self.io.poll_read_with(cx, accept));
        Poll::Ready(accepted.and_then(accepted_by_us))
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// If the system does not say.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::TcpListener};
    /// use std::net::Ipv4Addr;
    ///
    /// EventLoop::new().run(async {
    ///     let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    ///     assert_ne!(listener.local_addr().unwrap().port(), 0);
    /// });
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.get_ref().local_addr()
    }

    /// The socket, for what is not here.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::TcpListener};
    /// use std::net::Ipv4Addr;
    ///
    /// EventLoop::new().run(async {
    ///     let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    ///     listener.as_async().get_ref().set_ttl(64).unwrap();
    /// });
    /// ```
    pub fn as_async(&self) -> &Async<std::net::TcpListener> {
        &self.io
    }
}

impl AsFd for TcpListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.as_fd()
    }
}

/// The system's part: a socket that is non-blocking, and is closed when another program is started.
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

/// Ours: the loop listens to it.
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
///     let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
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
/// To read and to write, there are [`AsyncRead`](futures_io::AsyncRead) and [`AsyncWrite`](futures_io::AsyncWrite), for `TcpStream` and
/// for `&TcpStream`. Closing it as `AsyncWrite` shuts it down for writing; dropping it closes it. With the feature `hyper`
/// it is hyper's `Read` and `Write` too.
///
/// A write that has come back has given its bytes to the system; it sends them, also after the stream was dropped, unless the peer
/// resets the connection, or unread bytes were dropped with it. Whoever must know that they have arrived lets the peer say so.
///
/// asyncio: a transport, or `StreamReader` and `StreamWriter`, which [`open_connection`](crate::net::open_connection()) gives.
///
/// # Examples
///
/// ```
/// use futures_util::{AsyncReadExt, AsyncWriteExt};
/// use onelane::{EventLoop, net::{TcpListener, TcpStream}};
/// use std::net::Ipv4Addr;
///
/// EventLoop::new().run(async {
///     let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
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
    /// Opens a connection.
    ///
    /// Cancel safety: dropping it gives the attempt up.
    ///
    /// # Errors
    ///
    /// If nobody listens there, or the network says no. How long it takes until a peer counts as gone that does not answer is the
    /// system's affair, and takes minutes: put a [`timeout`](crate::timeout()) around it.
    ///
    /// # Panics
    ///
    /// When it is polled, if no loop is running on this thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::TcpStream};
    /// use std::{io::ErrorKind, net::{Ipv4Addr, TcpListener}};
    ///
    /// EventLoop::new().run(async {
    ///     let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap(); // and nobody is there any more
    ///     let error = TcpStream::connect(address).await.unwrap_err();
    ///     assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    /// });
    /// ```
    #[doc(alias = "sock_connect")]
    #[track_caller]
    pub fn connect(address: impl Into<SocketAddr>) -> Connect {
        Connect { stage: Stage::New(address.into()), made_at: Location::caller() }
    }

    /// Takes over a connection of the standard library's; it is made non-blocking.
    ///
    /// # Errors
    ///
    /// Those of [`Async::new`].
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

    /// Who is at the other end.
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
    ///     let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    ///     let stream = TcpStream::connect(listener.local_addr()?).await?;
    ///     assert_eq!(stream.peer_addr()?, listener.local_addr()?);
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.io.get_ref().peer_addr()
    }

    /// This end.
    ///
    /// # Errors
    ///
    /// If the system does not say.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::{TcpListener, TcpStream}};
    /// use std::net::Ipv4Addr;
    ///
    /// EventLoop::new().run(async {
    ///     let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    ///     let stream = TcpStream::connect(listener.local_addr()?).await?;
    ///     assert!(stream.local_addr()?.ip().is_loopback());
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.get_ref().local_addr()
    }

    /// Whether small writes are sent at once (`TCP_NODELAY`). They are not, unless this says so: the system then waits for more
    /// while earlier ones are on their way.
    ///
    /// # Errors
    ///
    /// If the system refuses.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::{TcpListener, TcpStream}};
    /// use std::net::Ipv4Addr;
    ///
    /// EventLoop::new().run(async {
    ///     let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    ///     TcpStream::connect(listener.local_addr()?).await?.set_nodelay(true)
    /// })
    /// # .unwrap();
    /// ```
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.io.get_ref().set_nodelay(nodelay)
    }

    /// Ends one direction, or both. After `Shutdown::Write` the peer reads to the end of what was written, and then sees that it
    /// is the end.
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
    ///     let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
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

    /// The socket, for what is not here.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::{TcpListener, TcpStream}};
    /// use std::net::Ipv4Addr;
    ///
    /// EventLoop::new().run(async {
    ///     let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    ///     let stream = TcpStream::connect(listener.local_addr()?).await?;
    ///     stream.as_async().writable().await
    /// })
    /// # .unwrap();
    /// ```
    pub fn as_async(&self) -> &Async<std::net::TcpStream> {
        &self.io
    }
}

impl AsFd for TcpStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.as_fd()
    }
}

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
///     let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
///     let attempt = TcpStream::connect(listener.local_addr()?);
///     timeout(Duration::from_secs(10), attempt).await.expect("in time")
/// })
/// # .unwrap();
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct Connect {
    stage: Stage,
    made_at: &'static Location<'static>,
}

#[derive(Debug)]
enum Stage {
    New(SocketAddr),
    /// On its way, and whether somebody waits for that.
    WaitEntry(Option<TcpStream>),
}

impl Connect {
    #[track_caller]
    fn begin(address: SocketAddr) -> io::Result<TcpStream> {
        let socket = socket_for(&address)?;
        match net::connect(&socket, &address) {
            // A signal that comes in between does not stop it.
            Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        // Behind the attempt: before it, the socket counts as hung up.
        Ok(TcpStream { io: Async::register(std::net::TcpStream::from(socket), Side::Write, true)? })
    }
}

impl Future for Connect {
    type Output = io::Result<TcpStream>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Stage::New(address) = self.stage {
            let mut stream = Self::begin(address)?;
            stream.io.made_at(self.made_at);
            self.stage = Stage::WaitEntry(Some(stream));
        }
        let Stage::WaitEntry(stream) = &mut self.stage else { unreachable!("it has begun") };
        let connecting = stream.as_ref().expect("a connect() was polled after its end; keep what the first await gave");
        // The side is not taken for ready before the poller has said so; then the socket knows how it went.
        ready!(connecting.io.poll_write_with(cx, |socket| socket.take_error()?.map_or(Ok(()), Err)))?;
        Poll::Ready(Ok(stream.take().expect("it was there just now")))
    }
}

impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connect").field(&self.stage).finish()
    }
}
