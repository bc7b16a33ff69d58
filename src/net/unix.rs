//! Unix sockets: listeners, streams and datagrams between processes of one machine.

use crate::kernel::idle::sockets::reactor::Side;
use crate::net::datagram::{Receive, Transmit};
use crate::net::socket::socket;
use crate::net::split::{OwnedReadHalf, OwnedWriteHalf, split};
use crate::outside::io::{Async, Operation};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
use std::fmt;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::SocketAddr;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A Unix socket that listens for connections.
///
/// Dropping it does not remove its file, and a second [`bind`](Self::bind) to the same path fails
/// while the file exists. Remove the file yourself.
///
/// asyncio: the listening socket that `start_unix_server` creates first.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, net::{UnixListener, UnixStream}};
///
/// # let path = std::env::temp_dir().join(format!("onelane-unix-listener-{}", std::process::id()));
/// EventLoop::new().run(async {
///     let listener = UnixListener::bind(&path)?;
///     let client = UnixStream::connect(&path).await?;
///     let (_peer, _) = listener.accept().await?;
///     assert_eq!(client.peer_addr()?.as_pathname(), Some(&*path));
///     std::fs::remove_file(&path)
/// })
/// # .unwrap();
/// ```
#[derive(Debug)]
pub struct UnixListener {
    io: Async<std::os::unix::net::UnixListener>,
}

impl UnixListener {
    /// Listens at a path, where it creates a file.
    ///
    /// # Errors
    ///
    /// If the file already exists, even if its listener has ended. If the path is longer than about
    /// a hundred bytes.
    ///
    /// # Panics
    ///
    /// If no loop is running on this thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UnixListener};
    /// use std::io::ErrorKind;
    ///
    /// # let path = std::env::temp_dir().join(format!("onelane-unix-bind-{}", std::process::id()));
    /// EventLoop::new().run(async {
    ///     drop(UnixListener::bind(&path)?);
    ///     assert_eq!(UnixListener::bind(&path).unwrap_err().kind(), ErrorKind::AddrInUse);
    ///     std::fs::remove_file(&path)?;
    ///     UnixListener::bind(&path)?;
    ///     std::fs::remove_file(&path)
    /// })
    /// # .unwrap();
    /// ```
    #[track_caller]
    pub fn bind(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::from_std(std::os::unix::net::UnixListener::bind(path)?)
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
    /// use onelane::{EventLoop, net::UnixListener};
    ///
    /// # let path = std::env::temp_dir().join(format!("onelane-unix-from-std-{}", std::process::id()));
    /// let early = std::os::unix::net::UnixListener::bind(&path).unwrap(); // before there is a loop
    /// EventLoop::new().run(async { UnixListener::from_std(early) }).unwrap();
    /// # std::fs::remove_file(&path).unwrap();
    /// ```
    #[track_caller]
    pub fn from_std(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        Ok(UnixListener { io: Async::new(listener)? })
    }

    /// Waits for a connection. Returns the connection and the address of the peer. The peer usually
    /// has no address.
    ///
    /// Cancel safety: no connection is lost; one that was not accepted stays in the operating
    /// system.
    ///
    /// # Errors
    ///
    /// As for [`TcpListener::accept`](crate::net::TcpListener::accept).
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UnixListener, timeout};
    /// use std::time::Duration;
    ///
    /// # let path = std::env::temp_dir().join(format!("onelane-unix-accept-{}", std::process::id()));
    /// EventLoop::with_virtual_clock().run(async {
    ///     let listener = UnixListener::bind(&path)?;
    ///     // Nobody comes.
    ///     assert!(timeout(Duration::from_secs(60), listener.accept()).await.is_err());
    ///     std::fs::remove_file(&path)
    /// })
    /// # .unwrap();
    /// ```
    #[doc(alias = "sock_accept")]
    #[track_caller]
    pub fn accept(&self) -> UnixAccept<'_> {
        UnixAccept { operation: self.io.read_with(std::os::unix::net::UnixListener::accept) }
    }

    /// Like `accept`, for futures that are written by hand.
    #[track_caller]
    pub(crate) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(UnixStream, SocketAddr)>> {
        let accepted = ready!(self.io.poll_read_with(cx, std::os::unix::net::UnixListener::accept));
        Poll::Ready(accepted.and_then(accepted_by_us))
    }

    /// Returns the address of the listener.
    ///
    /// # Errors
    ///
    /// The error of the operating system.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UnixListener};
    ///
    /// # let path = std::env::temp_dir().join(format!("onelane-unix-local-{}", std::process::id()));
    /// EventLoop::new().run(async {
    ///     let listener = UnixListener::bind(&path)?;
    ///     assert_eq!(listener.local_addr()?.as_pathname(), Some(&*path));
    ///     std::fs::remove_file(&path)
    /// })
    /// # .unwrap();
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
    /// use onelane::{EventLoop, net::UnixListener};
    ///
    /// # let path = std::env::temp_dir().join(format!("onelane-options-1-{}", std::process::id()));
    /// EventLoop::new().run(async {
    ///     let listener = UnixListener::bind(&path)?;
    ///     std::fs::remove_file(&path)?;
    ///     let listener = listener.into_std();
    ///     listener.set_nonblocking(false)?;
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[track_caller]
    pub fn into_std(self) -> std::os::unix::net::UnixListener {
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
    /// use onelane::{EventLoop, net::UnixListener};
    ///
    /// # let path = std::env::temp_dir().join(format!("onelane-options-2-{}", std::process::id()));
    /// EventLoop::new().run(async {
    ///     let listener = UnixListener::bind(&path)?;
    ///     std::fs::remove_file(&path)?;
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
    /// use onelane::{EventLoop, net::UnixListener};
    ///
    /// # let path = std::env::temp_dir().join(format!("onelane-options-3-{}", std::process::id()));
    /// EventLoop::new().run(async {
    ///     let listener = UnixListener::bind(&path)?;
    ///     std::fs::remove_file(&path)?;
    ///     assert!(listener.take_error()?.is_none());
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.io.get_ref().take_error()
    }

    /// Returns the socket as an `Async`, for functions that are missing here.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UnixListener};
    ///
    /// # let path = std::env::temp_dir().join(format!("onelane-unix-listener-async-{}", std::process::id()));
    /// EventLoop::new().run(async {
    ///     let listener = UnixListener::bind(&path)?;
    ///     assert!(listener.as_async().get_ref().take_error()?.is_none());
    ///     std::fs::remove_file(&path)
    /// })
    /// # .unwrap();
    /// ```
    pub fn as_async(&self) -> &Async<std::os::unix::net::UnixListener> {
        &self.io
    }
}

like_std!(UnixListener, std::os::unix::net::UnixListener);

/// The future of [`UnixListener::accept`].
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, net::{UnixListener, UnixStream}};
///
/// # let path = std::env::temp_dir().join(format!("onelane-unix-accept-future-{}", std::process::id()));
/// EventLoop::new().run(async {
///     let listener = UnixListener::bind(&path)?;
///     let (accepted, connected) = futures_util::join!(listener.accept(), UnixStream::connect(&path));
///     (accepted?, connected?);
///     std::fs::remove_file(&path)
/// })
/// # .unwrap();
/// ```
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub struct UnixAccept<'a> {
    #[expect(clippy::type_complexity, reason = "it is the function's, and stands here alone")]
    operation: Operation<
        'a,
        std::os::unix::net::UnixListener,
        fn(&std::os::unix::net::UnixListener) -> io::Result<(std::os::unix::net::UnixStream, SocketAddr)>,
    >,
}

impl Future for UnixAccept<'_> {
    type Output = io::Result<(UnixStream, SocketAddr)>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let accepted = ready!(Pin::new(&mut self.operation).poll(cx));
        Poll::Ready(accepted.and_then(accepted_by_us))
    }
}

fn accepted_by_us(
    (stream, address): (std::os::unix::net::UnixStream, SocketAddr),
) -> io::Result<(UnixStream, SocketAddr)> {
    Ok((UnixStream::from_std(stream)?, address))
}

/// A connection to another process of this machine.
///
/// To read and write, use [`AsyncRead`](futures_io::AsyncRead) and
/// [`AsyncWrite`](futures_io::AsyncWrite), for `UnixStream` and for `&UnixStream`. Closing the
/// stream by `AsyncWrite` shuts it down for writing; dropping it closes it. With the feature
/// `hyper`, `UnixStream` also implements hyper's `Read` and `Write`.
///
/// asyncio: a transport, or `StreamReader` and `StreamWriter`, which
/// [`open_unix_connection`](crate::net::open_unix_connection()) returns.
///
/// # Examples
///
/// ```
/// use futures_util::{AsyncReadExt, AsyncWriteExt};
/// use onelane::{EventLoop, net::UnixStream};
///
/// EventLoop::new().run(async {
///     let (mut one, mut other) = UnixStream::pair()?;
///     one.write_all(b"hello").await?;
///     drop(one); // what was written arrives
///     let mut text = String::new();
///     other.read_to_string(&mut text).await?;
///     assert_eq!(text, "hello");
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
#[derive(Debug)]
pub struct UnixStream {
    pub(crate) io: Async<std::os::unix::net::UnixStream>,
}

impl UnixStream {
    /// Opens a connection to the listener at a path.
    ///
    /// Cancel safety: nothing is lost.
    ///
    /// # Errors
    ///
    /// If the file does not exist, or its listener has ended. If the listener has no room for
    /// another connection that waits to be accepted
    /// ([`ConnectionRefused`](io::ErrorKind::ConnectionRefused), as on other systems): the
    /// operating system does not report when there is room, so try again later.
    ///
    /// # Panics
    ///
    /// When polled, if no loop is running on this thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UnixStream};
    /// use std::io::ErrorKind;
    ///
    /// EventLoop::new().run(async {
    ///     let error = UnixStream::connect("/nonexistent/socket").await.unwrap_err();
    ///     assert_eq!(error.kind(), ErrorKind::NotFound);
    /// });
    /// ```
    #[doc(alias = "sock_connect")]
    #[track_caller]
    pub fn connect(path: impl AsRef<Path>) -> UnixConnect {
        UnixConnect { path: path.as_ref().to_path_buf(), made_at: Location::caller() }
    }

    /// Creates two connected streams.
    ///
    /// # Errors
    ///
    /// If there are no file descriptors left.
    ///
    /// # Panics
    ///
    /// If no loop is running on this thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UnixStream};
    ///
    /// EventLoop::new().run(async {
    ///     let (one, _other) = UnixStream::pair().unwrap();
    ///     assert!(one.peer_addr().unwrap().is_unnamed());
    /// });
    /// ```
    #[doc(alias = "socketpair")]
    #[track_caller]
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = std::os::unix::net::UnixStream::pair()?;
        Ok((Self::from_std(one)?, Self::from_std(other)?))
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
    /// use onelane::{EventLoop, net::UnixStream};
    ///
    /// let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    /// EventLoop::new().run(async { UnixStream::from_std(ours) }).unwrap();
    /// ```
    #[track_caller]
    pub fn from_std(stream: std::os::unix::net::UnixStream) -> io::Result<Self> {
        Ok(UnixStream { io: Async::new(stream)? })
    }

    /// Returns the address of the peer. A peer that has connected to a listener usually has none.
    ///
    /// # Errors
    ///
    /// If it is not connected any more.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::{UnixListener, UnixStream}};
    ///
    /// # let path = std::env::temp_dir().join(format!("onelane-unix-peer-{}", std::process::id()));
    /// EventLoop::new().run(async {
    ///     let _listener = UnixListener::bind(&path)?;
    ///     let stream = UnixStream::connect(&path).await?;
    ///     assert_eq!(stream.peer_addr()?.as_pathname(), Some(&*path));
    ///     std::fs::remove_file(&path)
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
    /// use onelane::{EventLoop, net::UnixStream};
    ///
    /// EventLoop::new().run(async {
    ///     let (one, _other) = UnixStream::pair().unwrap();
    ///     assert!(one.local_addr().unwrap().is_unnamed());
    /// });
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.get_ref().local_addr()
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
    /// use onelane::{EventLoop, net::UnixStream};
    /// use std::net::Shutdown;
    ///
    /// EventLoop::new().run(async {
    ///     let (one, mut other) = UnixStream::pair()?;
    ///     one.shutdown(Shutdown::Write)?;
    ///     assert_eq!(other.read(&mut [0; 8]).await?, 0);
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
    /// use onelane::{EventLoop, net::UnixStream};
    ///
    /// EventLoop::new().run(async {
    ///     let (stream, _other) = UnixStream::pair()?;
    ///     let stream = stream.into_std();
    ///     stream.set_nonblocking(false)?;
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[track_caller]
    pub fn into_std(self) -> std::os::unix::net::UnixStream {
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
    /// use onelane::{EventLoop, net::UnixStream};
    ///
    /// EventLoop::new().run(async {
    ///     let (stream, _other) = UnixStream::pair()?;
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
    /// use onelane::{EventLoop, net::UnixStream};
    ///
    /// EventLoop::new().run(async {
    ///     let (stream, _other) = UnixStream::pair()?;
    ///     assert!(stream.take_error()?.is_none());
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.io.get_ref().take_error()
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
    /// use onelane::{EventLoop, net::UnixStream, spawn};
    ///
    /// EventLoop::new().run(async {
    ///     let (one, other) = UnixStream::pair()?;
    ///     let ((mut reader, _), (_, mut writer)) = (one.into_split(), other.into_split());
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
    /// use onelane::{EventLoop, net::UnixStream};
    ///
    /// EventLoop::new().run(async {
    ///     let (one, _other) = UnixStream::pair()?;
    ///     one.as_async().writable().await
    /// })
    /// # .unwrap();
    /// ```
    pub fn as_async(&self) -> &Async<std::os::unix::net::UnixStream> {
        &self.io
    }
}

like_std!(UnixStream, std::os::unix::net::UnixStream);

read_and_write!(UnixStream);

/// The future of [`UnixStream::connect`]. It is ready at once: the operating system connects Unix
/// sockets without waiting, or not at all.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, net::UnixStream};
///
/// EventLoop::new().run(async {
///     let attempt = UnixStream::connect("/nonexistent/socket"); // nothing is tried yet
///     assert!(attempt.await.is_err());
/// });
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct UnixConnect {
    path: PathBuf,
    made_at: &'static Location<'static>,
}

const QUEUE_IS_FULL: &str =
    "the listener has no room for another connection that waits to be accepted; try again later";

impl Future for UnixConnect {
    type Output = io::Result<UnixStream>;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
        let address = SocketAddrUnix::new(&*self.path)?;
        let socket = socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
        match rustix::net::connect(&socket, &address) {
            Ok(()) => {}
            // The listener's queue is full. Other systems refuse such a connection. Linux reports
            // that it would block, and never reports when there is room.
            Err(Errno::AGAIN) => {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionRefused, QUEUE_IS_FULL)));
            }
            Err(error) => return Poll::Ready(Err(error.into())),
        }
        let mut io = Async::register(std::os::unix::net::UnixStream::from(socket), Side::Read, false)?;
        io.made_at(self.made_at);
        Poll::Ready(Ok(UnixStream { io }))
    }
}

impl fmt::Debug for UnixConnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UnixConnect").field(&self.path).finish()
    }
}

/// A Unix socket that sends and receives datagrams. Each arrives whole and in order while the
/// receiver exists.
///
/// asyncio: `loop.create_datagram_endpoint(family=AF_UNIX)`, without the protocol.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, net::UnixDatagram};
///
/// EventLoop::new().run(async {
///     let (one, other) = UnixDatagram::pair()?;
///     one.send(b"first").await?;
///     one.send(b"second").await?;
///     let mut buffer = [0; 16];
///     assert_eq!(other.recv(&mut buffer).await?, 5);
///     assert_eq!(other.recv(&mut buffer).await?, 6);
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
#[doc(alias = "create_datagram_endpoint")]
#[derive(Debug)]
pub struct UnixDatagram {
    io: Async<std::os::unix::net::UnixDatagram>,
}

impl UnixDatagram {
    /// Creates a socket at a path, where it creates a file. Dropping the socket does not remove the
    /// file.
    ///
    /// # Errors
    ///
    /// If the file already exists. If the path is longer than about a hundred bytes.
    ///
    /// # Panics
    ///
    /// If no loop is running on this thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UnixDatagram};
    ///
    /// # let path = std::env::temp_dir().join(format!("onelane-datagram-bind-{}", std::process::id()));
    /// EventLoop::new().run(async {
    ///     let socket = UnixDatagram::bind(&path)?;
    ///     UnixDatagram::unbound()?.send_to(b"hello", &path).await?;
    ///     assert_eq!(socket.recv(&mut [0; 16]).await?, 5);
    ///     std::fs::remove_file(&path)
    /// })
    /// # .unwrap();
    /// ```
    #[track_caller]
    pub fn bind(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::from_std(std::os::unix::net::UnixDatagram::bind(path)?)
    }

    /// Creates a socket without an address: it can send, but cannot get replies.
    ///
    /// # Errors
    ///
    /// If there are no file descriptors left.
    ///
    /// # Panics
    ///
    /// If no loop is running on this thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UnixDatagram};
    ///
    /// EventLoop::new().run(async { UnixDatagram::unbound() }).unwrap();
    /// ```
    #[track_caller]
    pub fn unbound() -> io::Result<Self> {
        Self::from_std(std::os::unix::net::UnixDatagram::unbound()?)
    }

    /// Creates two connected sockets.
    ///
    /// # Errors
    ///
    /// If there are no file descriptors left.
    ///
    /// # Panics
    ///
    /// If no loop is running on this thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UnixDatagram};
    ///
    /// EventLoop::new().run(async { UnixDatagram::pair() }).unwrap();
    /// ```
    #[doc(alias = "socketpair")]
    #[track_caller]
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = std::os::unix::net::UnixDatagram::pair()?;
        Ok((Self::from_std(one)?, Self::from_std(other)?))
    }

    /// Converts a socket of the standard library; it becomes non-blocking.
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
    /// use onelane::{EventLoop, net::UnixDatagram};
    ///
    /// let early = std::os::unix::net::UnixDatagram::unbound().unwrap();
    /// EventLoop::new().run(async { UnixDatagram::from_std(early) }).unwrap();
    /// ```
    #[track_caller]
    pub fn from_std(socket: std::os::unix::net::UnixDatagram) -> io::Result<Self> {
        Ok(UnixDatagram { io: Async::new(socket)? })
    }

    /// Connects the socket: from now on [`send`](Self::send) sends to the socket at this path. This
    /// does not wait.
    ///
    /// # Errors
    ///
    /// If there is no socket.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UnixDatagram};
    /// use std::io::ErrorKind;
    ///
    /// EventLoop::new().run(async {
    ///     let error = UnixDatagram::unbound()?.connect("/nonexistent/socket").unwrap_err();
    ///     assert_eq!(error.kind(), ErrorKind::NotFound);
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn connect(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.io.get_ref().connect(path)
    }

    /// Sends a datagram to the connected peer, when the peer has room for it. Returns its length.
    ///
    /// Cancel safety: if this is dropped before it is ready, nothing was sent.
    ///
    /// # Errors
    ///
    /// If it is not connected, if the peer has gone, or if the datagram is too long.
    ///
    /// # Panics
    ///
    /// When polled outside its loop.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UnixDatagram, timeout};
    /// use std::time::Duration;
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let (one, other) = UnixDatagram::pair()?;
    ///     let mut sent = 0;
    ///     while timeout(Duration::from_secs(1), one.send(b"again")).await.is_ok() {
    ///         sent += 1; // until there is no more room
    ///     }
    ///     for _ in 0..sent {
    ///         other.recv(&mut [0; 8]).await?;
    ///     }
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn send<'a>(&'a self, bytes: &'a [u8]) -> Transmit<'a, std::os::unix::net::UnixDatagram, ()> {
        Transmit::new(&self.io, bytes, (), |socket, bytes, ()| socket.send(bytes))
    }

    /// Sends a datagram to the socket at a path. Returns its length. Otherwise like
    /// [`send`](Self::send).
    ///
    /// If that socket has no room, this tries again in each turn, because the operating system
    /// reports room only to [connected](Self::connect) sockets.
    ///
    /// # Errors
    ///
    /// The errors of [`send`](Self::send).
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UnixDatagram};
    /// use std::io::ErrorKind;
    ///
    /// EventLoop::new().run(async {
    ///     let error = UnixDatagram::unbound()?.send_to(b"hello", "/nonexistent/socket").await.unwrap_err();
    ///     assert_eq!(error.kind(), ErrorKind::NotFound);
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[doc(alias = "sock_sendto")]
    pub fn send_to<'a, P>(&'a self, bytes: &'a [u8], path: P) -> Transmit<'a, std::os::unix::net::UnixDatagram, P>
    where
        P: AsRef<Path>,
    {
        Transmit::new(&self.io, bytes, path, |socket, bytes, path| socket.send_to(bytes, path))
    }

    /// Waits for a datagram. Returns its length. Bytes that do not fit into the buffer are lost.
    ///
    /// Cancel safety: no datagram is lost; dropping the future ends the wait.
    ///
    /// # Errors
    ///
    /// The error of the operating system.
    ///
    /// # Panics
    ///
    /// When polled outside its loop.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UnixDatagram};
    ///
    /// EventLoop::new().run(async {
    ///     let (one, other) = UnixDatagram::pair()?;
    ///     one.send(b"too long").await?;
    ///     let mut buffer = [0; 3];
    ///     assert_eq!(other.recv(&mut buffer).await?, 3);
    ///     assert_eq!(&buffer, b"too");
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[doc(alias = "sock_recv")]
    pub fn recv<'a>(&'a self, buffer: &'a mut [u8]) -> Receive<'a, std::os::unix::net::UnixDatagram, usize> {
        Receive::new(&self.io, buffer, std::os::unix::net::UnixDatagram::recv)
    }

    /// Waits for a datagram. Returns its length and the address of its sender, if the sender has
    /// one. Otherwise like [`recv`](Self::recv).
    ///
    /// # Errors
    ///
    /// The errors of [`recv`](Self::recv).
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UnixDatagram};
    ///
    /// EventLoop::new().run(async {
    ///     let (one, other) = UnixDatagram::pair()?;
    ///     one.send(b"hello").await?;
    ///     let (count, from) = other.recv_from(&mut [0; 16]).await?;
    ///     assert!(count == 5 && from.is_unnamed());
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[doc(alias = "sock_recvfrom")]
    pub fn recv_from<'a>(
        &'a self,
        buffer: &'a mut [u8],
    ) -> Receive<'a, std::os::unix::net::UnixDatagram, (usize, SocketAddr)> {
        Receive::new(&self.io, buffer, std::os::unix::net::UnixDatagram::recv_from)
    }

    /// Deregisters the socket and returns it as the standard library's type. It stays non-blocking:
    /// to use it without a loop, call `set_nonblocking(false)`. Waiting tasks are woken.
    ///
    /// # Panics
    ///
    /// On a thread other than the loop's.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UnixDatagram};
    ///
    /// EventLoop::new().run(async {
    ///     let (socket, _other) = UnixDatagram::pair()?;
    ///     let socket = socket.into_std();
    ///     socket.set_nonblocking(false)?;
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[track_caller]
    pub fn into_std(self) -> std::os::unix::net::UnixDatagram {
        self.io.into_inner()
    }

    /// Creates another handle to the same socket, in the running loop. The two share everything
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
    /// use onelane::{EventLoop, net::UnixDatagram};
    ///
    /// EventLoop::new().run(async {
    ///     let (socket, _other) = UnixDatagram::pair()?;
    ///     let other = socket.try_clone()?;
    ///     drop(socket);
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
    /// use onelane::{EventLoop, net::UnixDatagram};
    ///
    /// EventLoop::new().run(async {
    ///     let (socket, _other) = UnixDatagram::pair()?;
    ///     assert!(socket.take_error()?.is_none());
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.io.get_ref().take_error()
    }

    /// Returns the local address: the path at which the socket was bound, if it was.
    ///
    /// # Errors
    ///
    /// The error of the operating system.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UnixDatagram};
    ///
    /// EventLoop::new().run(async {
    ///     let socket = UnixDatagram::unbound()?;
    ///     assert!(socket.local_addr()?.is_unnamed());
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.get_ref().local_addr()
    }

    /// Returns the address of the connected peer.
    ///
    /// # Errors
    ///
    /// If it is not connected.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UnixDatagram};
    ///
    /// EventLoop::new().run(async {
    ///     let (socket, _other) = UnixDatagram::pair()?;
    ///     assert!(socket.peer_addr()?.is_unnamed());
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.io.get_ref().peer_addr()
    }

    /// Closes one direction, or both: after `Shutdown::Write`, sends fail; after `Shutdown::Read`,
    /// sends of the connected peer fail.
    ///
    /// # Errors
    ///
    /// If it is not connected.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UnixDatagram};
    /// use std::net::Shutdown;
    ///
    /// EventLoop::new().run(async {
    ///     let (socket, _other) = UnixDatagram::pair()?;
    ///     socket.shutdown(Shutdown::Write)?;
    ///     assert!(socket.send(b"too late").await.is_err());
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.io.get_ref().shutdown(how)
    }

    /// Returns the socket as an `Async`, for functions that are missing here.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UnixDatagram};
    ///
    /// EventLoop::new().run(async {
    ///     let socket = UnixDatagram::unbound().unwrap();
    ///     assert!(socket.as_async().get_ref().local_addr().unwrap().is_unnamed());
    /// });
    /// ```
    pub fn as_async(&self) -> &Async<std::os::unix::net::UnixDatagram> {
        &self.io
    }
}

like_std!(UnixDatagram, std::os::unix::net::UnixDatagram);
