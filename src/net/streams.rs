//! asyncio's streams: a connection as a [`StreamReader`] and a [`StreamWriter`].
//!
//! The reader has a buffer, and asyncio's methods. It reads only when a method needs data; the
//! buffer holds what arrived together with that data. A peer that sends faster waits, with its data
//! in the buffers of the operating system.
//!
//! The writer has no buffer. In asyncio, `write` puts bytes into a buffer that the loop sends in
//! the background, and `drain` waits until there is room; whether the bytes were ever sent is not
//! reported. Here nothing is sent in the background, so the bytes of a `write` without `drain`
//! would be lost with the writer. One method does both: [`write_all`](StreamWriter::write_all) is
//! ready when the operating system has all the bytes, or has failed to take them.

#[cfg(feature = "tls")]
use crate::net::endpoint::Endpoint;
use crate::net::endpoint::ToSocketAddrs;
#[cfg(feature = "process")]
use crate::net::pipes::{Pipe, PipeTrial};
use crate::net::tcp::{Connect, TcpStream};
#[cfg(feature = "tls")]
use crate::net::tls::{Ending, Session, TlsTrial};
use crate::net::trial::Trial;
use crate::net::unix::{UnixConnect, UnixStream};
use rustix::net::sockopt::set_socket_linger;
use std::any::Any;
use std::cell::Cell;
#[cfg(feature = "tls")]
use std::cell::OnceCell;
use std::fmt;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// Default limit for the length of a line; the same as in asyncio.
const LIMIT: usize = 64 * 1024;

/// How many bytes are requested at once: at first, and when that was too little.
const FIRST_ROOM: usize = 4 * 1024;
const ROOM: usize = 64 * 1024;

/// An empty buffer keeps at most this much memory.
const KEPT: usize = 2 * ROOM;

/// Opens a TCP connection to an address, or to a name and a port, as [`TcpStream::connect`] does.
///
/// Small writes are sent immediately (`TCP_NODELAY`), as in asyncio.
///
/// Cancel safety: dropping it abandons all attempts.
///
/// asyncio: `open_connection(host, port)`.
///
/// # Errors
///
/// The errors of [`TcpStream::connect`].
///
/// # Panics
///
/// When polled, if no loop is running on this thread.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, net};
/// use std::net::Ipv4Addr;
///
/// EventLoop::new().run(async {
///     let server = net::start_server((Ipv4Addr::LOCALHOST, 0), async |mut reader, mut writer| {
///         let line = reader.read_line().await.unwrap();
///         writer.write_all(&line.to_ascii_uppercase()).await.unwrap();
///     }).await?;
///     let (mut reader, mut writer) = net::open_connection(server.local_addr()?).await?;
///     writer.write_all(b"hello\n").await?;
///     assert_eq!(reader.read_line().await?, b"HELLO\n");
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
#[track_caller]
pub fn open_connection(address: impl ToSocketAddrs) -> OpenConnection {
    #[cfg(feature = "tls")]
    let (address, host) = host_of(&address);
    OpenConnection {
        connect: TcpStream::connect(address),
        #[cfg(feature = "tls")]
        host,
    }
}

/// Returns the address, and the host in it, if there is one. An address is asked only once what it
/// stands for.
#[cfg(feature = "tls")]
fn host_of(address: &impl ToSocketAddrs) -> (Resolved, Option<Box<str>>) {
    let endpoint = address.to_endpoint();
    let host = endpoint.as_ref().ok().and_then(|endpoint| endpoint.host());
    (Resolved(Cell::new(Some(endpoint))), host)
}

/// Opens a connection to the listener at a path. Otherwise like [`open_connection`].
///
/// asyncio: `open_unix_connection(path)`.
///
/// # Errors
///
/// The errors of [`UnixStream::connect`].
///
/// # Panics
///
/// When polled, if no loop is running on this thread.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, net};
///
/// # let path = std::env::temp_dir().join(format!("onelane-open-unix-{}", std::process::id()));
/// EventLoop::new().run(async {
///     let server = net::start_unix_server(&path, async |_, mut writer| {
///         writer.write_all(b"welcome").await.unwrap();
///     })?;
///     let (mut reader, _writer) = net::open_unix_connection(&path).await?;
///     assert_eq!(reader.read_to_end().await?, b"welcome");
///     server.close();
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
#[track_caller]
pub fn open_unix_connection(path: impl AsRef<Path>) -> OpenUnixConnection {
    OpenUnixConnection { connect: UnixStream::connect(path) }
}

/// The future of [`open_connection`].
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, net, timeout};
/// use std::{net::Ipv4Addr, time::Duration};
///
/// EventLoop::new().run(async {
///     let listener = net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
///     let attempt = net::open_connection(listener.local_addr()?);
///     let (_reader, writer) = timeout(Duration::from_secs(10), attempt).await.expect("in time")?;
///     writer.close().await
/// })
/// # .unwrap();
/// ```
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub struct OpenConnection {
    connect: Connect,
    /// The name that the certificate of the server must have.
    #[cfg(feature = "tls")]
    host: Option<Box<str>>,
}

impl OpenConnection {
    /// Sets how long an attempt may take before the next address of a name is dialled too, like
    /// [`Connect::happy_eyeballs_delay`].
    ///
    /// asyncio: `open_connection(happy_eyeballs_delay=..)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net};
    /// use std::time::Duration;
    ///
    /// EventLoop::new().run(async {
    ///     let server = net::start_server("localhost:0", async |_, _| {}).await?;
    ///     let address = ("localhost", server.local_addr()?.port());
    ///     net::open_connection(address).happy_eyeballs_delay(Duration::from_millis(100)).await?;
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn happy_eyeballs_delay(mut self, delay: impl Into<Option<Duration>>) -> Self {
        self.connect = self.connect.happy_eyeballs_delay(delay);
        self
    }

    /// Sets how many addresses of the first family are dialled before the families alternate, like
    /// [`Connect::interleave`].
    ///
    /// asyncio: `open_connection(interleave=..)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net};
    ///
    /// EventLoop::new().run(async {
    ///     let server = net::start_server("localhost:0", async |_, _| {}).await?;
    ///     net::open_connection(("localhost", server.local_addr()?.port())).interleave(2).await?;
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn interleave(mut self, first_family: usize) -> Self {
        self.connect = self.connect.interleave(first_family);
        self
    }

    /// Sets the address from which the connection is made, like [`Connect::local_addr`].
    ///
    /// asyncio: `open_connection(local_addr=..)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net};
    /// use std::net::Ipv4Addr;
    ///
    /// EventLoop::new().run(async {
    ///     let server = net::start_server("127.0.0.1:0", async |_, _| {}).await?;
    ///     let local = (Ipv4Addr::LOCALHOST, 0).into();
    ///     net::open_connection(server.local_addr()?).local_addr(local).await?;
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn local_addr(mut self, local: SocketAddr) -> Self {
        self.connect = self.connect.local_addr(local);
        self
    }
}

impl Future for OpenConnection {
    type Output = io::Result<(StreamReader, StreamWriter)>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let streams = ready!(Pin::new(&mut self.connect).poll(cx))?.into_streams();
        #[cfg(feature = "tls")]
        if let Some(host) = self.host.take() {
            let _ = streams.0.connection.host.set(host);
        }
        Poll::Ready(Ok(streams))
    }
}

/// The future of [`open_unix_connection`].
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, net};
///
/// EventLoop::new().run(async {
///     assert!(net::open_unix_connection("/nonexistent/socket").await.is_err());
/// });
/// ```
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub struct OpenUnixConnection {
    connect: UnixConnect,
}

impl Future for OpenUnixConnection {
    type Output = io::Result<(StreamReader, StreamWriter)>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(ready!(Pin::new(&mut self.connect).poll(cx))?.into_streams()))
    }
}

impl TcpStream {
    /// Splits the connection into asyncio's pair of a reader and a writer. Small writes are sent
    /// immediately from now on (`TCP_NODELAY`).
    ///
    /// asyncio: `open_connection(sock=..)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::{TcpListener, TcpStream}};
    /// use std::net::Ipv4Addr;
    ///
    /// EventLoop::new().run(async {
    ///     let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    ///     let (_, mut writer) = TcpStream::connect(listener.local_addr()?).await?.into_streams();
    ///     let (mut reader, _) = listener.accept().await?.0.into_streams();
    ///     writer.write_all(b"hello").await?;
    ///     assert_eq!(reader.read_exactly(5).await?, b"hello");
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn into_streams(self) -> (StreamReader, StreamWriter) {
        // A connection that has already ended may reject this; the next read or write reports that.
        let _ = self.set_nodelay(true);
        halves(Stream::Tcp(self))
    }
}

impl UnixStream {
    /// Splits the connection into asyncio's pair of a reader and a writer.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UnixStream};
    ///
    /// EventLoop::new().run(async {
    ///     let (one, other) = UnixStream::pair()?;
    ///     let (_, mut writer) = one.into_streams();
    ///     let (mut reader, _) = other.into_streams();
    ///     writer.write_all(b"a line\nand more").await?;
    ///     assert_eq!(reader.read_line().await?, b"a line\n");
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn into_streams(self) -> (StreamReader, StreamWriter) {
        halves(Stream::Unix(self))
    }
}

fn halves(stream: Stream) -> (StreamReader, StreamWriter) {
    let connection = Rc::new(Connection {
        stream,
        while_open: Cell::default(),
        #[cfg(feature = "tls")]
        session: OnceCell::new(),
        #[cfg(feature = "tls")]
        host: OnceCell::new(),
        #[cfg(feature = "tls")]
        is_closed: Cell::default(),
    });
    (StreamReader { connection: connection.clone(), buffer: Buffer::default() }, StreamWriter { connection })
}

#[cfg(feature = "process")]
pub(super) fn reader(stream: Stream) -> StreamReader {
    halves(stream).0
}

#[cfg(feature = "process")]
pub(super) fn writer(stream: Stream) -> StreamWriter {
    halves(stream).1
}

/// The shared part of both halves. Open until both halves are dropped, or one side closes it.
pub(super) struct Connection {
    stream: Stream,
    /// Belongs to the server that has accepted the connection. Dropped when the connection is
    /// closed.
    while_open: Cell<Option<Box<dyn Any>>>,
    /// Set if it has TLS.
    #[cfg(feature = "tls")]
    session: OnceCell<Box<Session>>,
    /// The host that it was opened to.
    #[cfg(feature = "tls")]
    host: OnceCell<Box<str>>,
    /// Whether this side has closed it.
    #[cfg(feature = "tls")]
    is_closed: Cell<bool>,
}

impl Connection {
    /// Keeps this until the connection is closed.
    pub(super) fn keep(&self, while_open: Box<dyn Any>) {
        self.while_open.set(Some(while_open));
    }

    /// Closes both directions: reads return what had arrived, and then the end; writes fail.
    pub(super) fn close(&self) -> io::Result<()> {
        #[cfg(feature = "tls")]
        // In the middle of a `write_all`, the peer must not take what it has for the whole.
        if let Some(session) = self.session().filter(|session| !self.is_closed() && !session.is_cut()) {
            session.end(&self.stream);
        }
        self.shut_down()
    }

    fn shut_down(&self) -> io::Result<()> {
        #[cfg(feature = "tls")]
        {
            self.is_closed.set(true);
            self.session().into_iter().for_each(Session::close);
        }
        let closed = self.stream.shutdown(Shutdown::Both);
        drop(self.while_open.take());
        closed
    }

    /// Like `close`. In addition, when both halves are dropped, the operating system discards
    /// unsent data and resets the connection.
    pub(super) fn abort(&self) -> io::Result<()> {
        set_socket_linger(&self.stream, Some(Duration::ZERO))?;
        self.shut_down()
    }
}

/// For TLS.
#[cfg(feature = "tls")]
impl Connection {
    pub(super) fn session(&self) -> Option<&Session> {
        self.session.get().map(Box::as_ref)
    }

    /// From now on, both halves read and write through this.
    pub(super) fn set_session(&self, session: Session) -> io::Result<()> {
        let unsupported = |why| Err(io::Error::new(io::ErrorKind::Unsupported, why));
        #[cfg(feature = "process")]
        if let Stream::Pipe(_) = self.stream {
            return unsupported("a pipe cannot have TLS, because it has one direction");
        }
        self.session.set(Box::new(session)).or_else(|_| unsupported("the connection has TLS already"))
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    pub(super) fn host(&self) -> Option<&str> {
        self.host.get().map(Box::as_ref)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.get()
    }
}

#[cfg(feature = "tls")]
impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(session) = self.session.get() {
            session.end_at_drop(&self.stream);
        }
    }
}

/// An address that was asked what it stands for.
#[cfg(feature = "tls")]
struct Resolved(Cell<Option<io::Result<Endpoint>>>);

#[cfg(feature = "tls")]
impl ToSocketAddrs for Resolved {
    fn to_endpoint(&self) -> io::Result<Endpoint> {
        self.0.take().expect("an address is asked once")
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stream.fmt(f)
    }
}

/// A connection of any kind.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    #[cfg(feature = "process")]
    Pipe(Pipe),
}

impl Stream {
    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        let done = match self {
            Stream::Tcp(stream) => stream.shutdown(how),
            Stream::Unix(stream) => stream.shutdown(how),
            // It ends when it is closed (`close_pipe`).
            #[cfg(feature = "process")]
            Stream::Pipe(_) => Ok(()),
        };
        match done {
            // The peer has already gone.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            done => done,
        }
    }
}

/// What TLS needs of a socket. A pipe has no TLS.
#[cfg(feature = "tls")]
impl Stream {
    /// Reads without waiting.
    pub(super) fn read_now<R>(&self, read: impl FnOnce(&mut dyn io::Read) -> io::Result<R>) -> io::Result<R> {
        match self {
            Stream::Tcp(stream) => read(&mut stream.as_async().get_ref()),
            Stream::Unix(stream) => read(&mut stream.as_async().get_ref()),
            #[cfg(feature = "process")]
            Stream::Pipe(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Writes without waiting.
    pub(super) fn write_now<R>(&self, write: impl FnOnce(&mut dyn io::Write) -> io::Result<R>) -> io::Result<R> {
        match self {
            Stream::Tcp(stream) => write(&mut stream.as_async().get_ref()),
            Stream::Unix(stream) => write(&mut stream.as_async().get_ref()),
            #[cfg(feature = "process")]
            Stream::Pipe(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Wakes the tasks that wait for something to read: each tries again.
    pub(super) fn wake_readers(&self) {
        match self {
            Stream::Tcp(stream) => stream.as_async().wake_readers(),
            Stream::Unix(stream) => stream.as_async().wake_readers(),
            #[cfg(feature = "process")]
            Stream::Pipe(_) => {}
        }
    }

    #[track_caller]
    pub(super) fn poll_read_with<R>(
        &self,
        cx: &mut Context<'_>,
        mut read: impl FnMut(&mut dyn io::Read) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        match self {
            Stream::Tcp(stream) => stream.as_async().poll_read_with(cx, |mut stream| read(&mut stream)),
            Stream::Unix(stream) => stream.as_async().poll_read_with(cx, |mut stream| read(&mut stream)),
            #[cfg(feature = "process")]
            Stream::Pipe(_) => Poll::Ready(Err(io::ErrorKind::Unsupported.into())),
        }
    }

    #[track_caller]
    pub(super) fn poll_write_with<R>(
        &self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&mut dyn io::Write) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        match self {
            Stream::Tcp(stream) => stream.as_async().poll_write_with(cx, |mut stream| write(&mut stream)),
            Stream::Unix(stream) => stream.as_async().poll_write_with(cx, |mut stream| write(&mut stream)),
            #[cfg(feature = "process")]
            Stream::Pipe(_) => Poll::Ready(Err(io::ErrorKind::Unsupported.into())),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
            #[cfg(feature = "process")]
            Stream::Pipe(pipe) => pipe.as_fd(),
        }
    }
}

/// If it is a pipe, closes it: that is how a pipe ends.
fn close_pipe(connection: &mut Rc<Connection>) {
    #[cfg(feature = "process")]
    if let Some(Stream::Pipe(pipe)) = Rc::get_mut(connection).map(|connection| &mut connection.stream) {
        *pipe = Pipe::Closed;
    }
    #[cfg(not(feature = "process"))]
    let _ = connection;
}

// ---- reading ----

/// The reading half of a connection.
///
/// Data that was read and not returned stays in the reader's buffer. So each of its futures may be
/// dropped at any time, and the next one continues with the same bytes; an error loses no bytes
/// either.
///
/// The connection is closed when both halves have been dropped.
///
/// asyncio: `StreamReader`.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, net::UnixStream};
///
/// EventLoop::new().run(async {
///     let (one, other) = UnixStream::pair()?;
///     let (mut reader, _) = one.into_streams();
///     let (_, mut writer) = other.into_streams();
///     writer.write_all(b"GET /\r\nfour: 4\r\n\r\nbody").await?;
///     writer.write_eof()?;
///     assert_eq!(reader.read_line().await?, b"GET /\r\n");
///     assert_eq!(reader.read_until(b"\r\n\r\n").await?, b"four: 4\r\n\r\n");
///     assert_eq!(reader.read_exactly(3).await?, b"bod");
///     assert_eq!(reader.read_to_end().await?, b"y");
///     assert!(reader.at_eof());
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
pub struct StreamReader {
    connection: Rc<Connection>,
    buffer: Buffer,
}

impl StreamReader {
    pub(super) fn connection(&self) -> &Rc<Connection> {
        &self.connection
    }

    /// Reads what is available, up to `count` bytes, and waits only if there is nothing. Returns an
    /// empty vector at the end of the stream, and if `count` is zero. It makes one system call, for
    /// about 64 KiB. With TLS, it returns at most a record of the peer, which has up to 16 KiB, and
    /// makes a system call for each 4 KiB.
    ///
    /// Does not suspend while data is available.
    ///
    /// Cancel safety: no data is lost.
    ///
    /// asyncio: `StreamReader.read(n)`; `read(-1)` is [`read_to_end`](Self::read_to_end).
    ///
    /// # Errors
    ///
    /// If the connection has failed, and the buffer is empty; again at each call.
    ///
    /// # Panics
    ///
    /// When polled outside its loop.
    ///
    /// # Cost
    ///
    /// One allocation, for the bytes.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UnixStream};
    ///
    /// EventLoop::new().run(async {
    ///     let (mut reader, _ours) = UnixStream::pair()?.0.into_streams(); // and the other end is gone
    ///     assert_eq!(reader.read(100).await?, b"");
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn read(&mut self, count: usize) -> Read<'_> {
        self.begin(Goal::UpTo(count))
    }

    /// Reads exactly `count` bytes.
    ///
    /// Cancel safety: no data is lost; what has arrived stays in the buffer.
    ///
    /// asyncio: `StreamReader.readexactly`.
    ///
    /// # Errors
    ///
    /// If the stream ends before ([`UnexpectedEof`](io::ErrorKind::UnexpectedEof), with an
    /// [`IncompleteRead`] that contains the number of bytes that arrived): these bytes stay in the
    /// reader, and [`read`](Self::read) returns them. If the connection has failed.
    ///
    /// # Panics
    ///
    /// When polled outside its loop.
    ///
    /// # Cost
    ///
    /// Memory grows with the data that has arrived, not with `count`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::{IncompleteRead, UnixStream}};
    /// use std::io::ErrorKind;
    ///
    /// EventLoop::new().run(async {
    ///     let (one, other) = UnixStream::pair()?;
    ///     let (mut reader, _) = one.into_streams();
    ///     let (_, mut writer) = other.into_streams();
    ///     writer.write_all(b"abc").await?;
    ///     writer.close().await?;
    ///     let error = reader.read_exactly(10).await.unwrap_err();
    ///     assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    ///     assert_eq!(error.downcast::<IncompleteRead>().unwrap().came, 3);
    ///     assert_eq!(reader.read(10).await?, b"abc");
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[doc(alias = "readexactly")]
    pub fn read_exactly(&mut self, count: usize) -> Read<'_> {
        self.begin(Goal::Exactly(count))
    }

    /// Reads a line: bytes up to a `\n`, and that too. If the stream ends without a `\n`, this
    /// returns the remaining bytes. At the end of the stream it returns an empty vector at once,
    /// every time: a loop over lines must check for that, or it never ends.
    ///
    /// The result is bytes, as in asyncio; `String::from_utf8` converts it to text.
    ///
    /// Cancel safety: no data is lost.
    ///
    /// asyncio: `StreamReader.readline`.
    ///
    /// # Errors
    ///
    /// If the line is longer than the [limit](Self::set_limit)
    /// ([`InvalidData`](io::ErrorKind::InvalidData), with a [`LimitOverrun`]): then the part of the
    /// line that has arrived is discarded, with the `\n` if that has arrived, and the next call
    /// continues after it. If the rest of the line arrives later, the next call returns that rest
    /// as a line. To keep the bytes, use [`read_until`](Self::read_until). If the connection has
    /// failed.
    ///
    /// # Panics
    ///
    /// When polled outside its loop.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UnixStream};
    ///
    /// EventLoop::new().run(async {
    ///     let (one, other) = UnixStream::pair()?;
    ///     let (mut reader, _) = one.into_streams();
    ///     let (_, mut writer) = other.into_streams();
    ///     writer.write_all(b"one\ntwo").await?;
    ///     writer.close().await?;
    ///     let mut lines = Vec::new();
    ///     while !reader.at_eof() {
    ///         lines.push(String::from_utf8(reader.read_line().await?).unwrap());
    ///     }
    ///     assert_eq!(lines[..2], ["one\n", "two"]);
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[doc(alias = "readline")]
    pub fn read_line(&mut self) -> Read<'_> {
        self.begin(Goal::Line)
    }

    /// Reads up to and including `separator`.
    ///
    /// Cancel safety: no data is lost.
    ///
    /// asyncio: `StreamReader.readuntil`.
    ///
    /// # Errors
    ///
    /// - The stream ends without a separator: [`UnexpectedEof`](io::ErrorKind::UnexpectedEof), with an
    ///   [`IncompleteRead`]. The bytes stay, and [`read`](Self::read) returns them.
    /// - More bytes than the [limit](Self::set_limit) come before the separator:
    ///   [`InvalidData`](io::ErrorKind::InvalidData), with a [`LimitOverrun`]. The bytes stay, too.
    /// - The connection has failed.
    ///
    /// # Panics
    ///
    /// If `separator` is empty. When polled outside its loop.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UnixStream};
    /// use std::io::ErrorKind;
    ///
    /// EventLoop::new().run(async {
    ///     let (one, other) = UnixStream::pair()?;
    ///     let (mut reader, _) = one.into_streams();
    ///     let (_, mut writer) = other.into_streams();
    ///     writer.write_all(b"key: value").await?;
    ///     writer.close().await?;
    ///     assert_eq!(reader.read_until(b": ").await?, b"key: ");
    ///     assert_eq!(reader.read_until(b": ").await.unwrap_err().kind(), ErrorKind::UnexpectedEof);
    ///     assert_eq!(reader.read_to_end().await?, b"value");
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[doc(alias = "readuntil")]
    #[track_caller]
    pub fn read_until<'a>(&'a mut self, separator: &'a [u8]) -> Read<'a> {
        assert!(
            !separator.is_empty(),
            "read_until() got an empty separator, which matches everywhere; pass at least one byte"
        );
        self.begin(Goal::Until(separator))
    }

    /// Reads up to and including the separator that ends first. Otherwise like
    /// [`read_until`](Self::read_until).
    ///
    /// asyncio: `StreamReader.readuntil` with a tuple.
    ///
    /// # Errors
    ///
    /// The errors of [`read_until`](Self::read_until).
    ///
    /// # Panics
    ///
    /// If there is no separator, or one of them is empty. When polled outside its loop.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UnixStream};
    ///
    /// EventLoop::new().run(async {
    ///     let (one, other) = UnixStream::pair()?;
    ///     let (mut reader, _) = one.into_streams();
    ///     let (_, mut writer) = other.into_streams();
    ///     writer.write_all(b"one, two; three").await?;
    ///     assert_eq!(reader.read_until_any(&[b", ", b"; "]).await?, b"one, ");
    ///     assert_eq!(reader.read_until_any(&[b", ", b"; "]).await?, b"two; ");
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[doc(alias = "readuntil")]
    #[track_caller]
    pub fn read_until_any<'a>(&'a mut self, separators: &'a [&'a [u8]]) -> Read<'a> {
        assert!(
            !separators.is_empty() && separators.iter().all(|separator| !separator.is_empty()),
            "read_until_any() got no separator, or an empty one; pass at least one, each of at least one byte"
        );
        self.begin(Goal::UntilAny(separators))
    }

    /// Reads until the end of the stream. There is no limit, so use it only with trusted peers.
    ///
    /// Cancel safety: no data is lost.
    ///
    /// asyncio: `StreamReader.read()`.
    ///
    /// # Errors
    ///
    /// If the connection has failed; what arrived before stays.
    ///
    /// # Panics
    ///
    /// When polled outside its loop.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net};
    /// use std::net::Ipv4Addr;
    ///
    /// EventLoop::new().run(async {
    ///     let server = net::start_server((Ipv4Addr::LOCALHOST, 0), async |mut reader, mut writer| {
    ///         let question = reader.read_to_end().await.unwrap();
    ///         writer.write_all(format!("{} bytes", question.len()).as_bytes()).await.unwrap();
    ///     }).await?;
    ///     let (mut reader, mut writer) = net::open_connection(server.local_addr()?).await?;
    ///     writer.write_all(&[7; 1000]).await?;
    ///     writer.write_eof()?;
    ///     assert_eq!(reader.read_to_end().await?, b"1000 bytes");
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn read_to_end(&mut self) -> Read<'_> {
        self.begin(Goal::End)
    }

    /// Whether the end of the stream was seen, and the buffer is empty. It is false until a read
    /// has seen the end.
    ///
    /// asyncio: `StreamReader.at_eof`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UnixStream};
    ///
    /// EventLoop::new().run(async {
    ///     let (mut reader, _) = UnixStream::pair()?.0.into_streams(); // and the other end is gone
    ///     assert!(!reader.at_eof());
    ///     assert!(reader.read(1).await?.is_empty() && reader.at_eof());
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn at_eof(&self) -> bool {
        self.buffer.is_at_end && self.buffer.unread().is_empty()
    }

    /// Sets how many bytes [`read_line`](Self::read_line) and [`read_until`](Self::read_until)
    /// accept before the separator. The default is 64 KiB. A peer that never ends its line takes no
    /// more memory than this and one read.
    ///
    /// asyncio: `open_connection(.., limit=..)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::{LimitOverrun, UnixStream}};
    ///
    /// EventLoop::new().run(async {
    ///     let (one, other) = UnixStream::pair()?;
    ///     let (mut reader, _) = one.into_streams();
    ///     let (_, mut writer) = other.into_streams();
    ///     reader.set_limit(10);
    ///     writer.write_all(b"a long line that nobody has asked for\nthe next\n").await?;
    ///     let error = reader.read_line().await.unwrap_err();
    ///     assert_eq!(error.downcast::<LimitOverrun>().unwrap().limit, 10);
    ///     assert_eq!(reader.read_line().await?, b"the next\n");
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn set_limit(&mut self, limit: usize) {
        self.buffer.limit = limit;
    }

    /// For `start_tls`: the bytes in the buffer belong to TLS.
    #[cfg(feature = "tls")]
    pub(super) fn unread(&self) -> &[u8] {
        self.buffer.unread()
    }

    #[cfg(feature = "tls")]
    pub(super) fn forget_unread(&mut self) {
        let (start, end) = (self.buffer.start, self.buffer.end);
        drop(self.buffer.take(end - start));
    }

    fn begin<'a>(&'a mut self, goal: Goal<'a>) -> Read<'a> {
        let trial = AnyTrial::to_read(&self.connection);
        let mut read = Read { trial, buffer: &mut self.buffer, goal, searched: 0 };
        if read.buffer.is_drained {
            read.trial.wait_first();
        }
        read
    }
}

impl AsFd for StreamReader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.stream.as_fd()
    }
}

impl fmt::Debug for StreamReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unread = self.buffer.unread().len();
        f.debug_struct("StreamReader").field("stream", &self.connection).field("unread", &unread).finish()
    }
}

/// The data that was read and not returned.
struct Buffer {
    /// The data is in `start..end`.
    memory: Vec<u8>,
    start: usize,
    end: usize,
    limit: usize,
    is_at_end: bool,
    /// Whether the last read has emptied the socket, so that the next one would block.
    is_drained: bool,
    /// The error of the connection. The operating system reports it once.
    failure: Option<i32>,
}

impl Default for Buffer {
    fn default() -> Self {
        let (memory, limit) = (Vec::new(), LIMIT);
        Buffer { memory, start: 0, end: 0, limit, is_at_end: false, is_drained: false, failure: None }
    }
}

impl Buffer {
    fn unread(&self) -> &[u8] {
        &self.memory[self.start..self.end]
    }

    /// Returns the first bytes.
    fn take(&mut self, count: usize) -> Vec<u8> {
        // Large results are returned without a copy.
        let whole = count == self.end && self.memory.len() > KEPT;
        let taken = if whole {
            let mut memory = std::mem::take(&mut self.memory);
            memory.truncate(count);
            memory
        } else {
            self.memory[self.start..self.start + count].to_vec()
        };
        self.start += count;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.memory.len() > KEPT {
                self.memory = Vec::new();
            }
        }
        taken
    }

    /// Reads once, behind the data in the buffer.
    fn fill(&mut self, stream: &mut dyn io::Read) -> io::Result<()> {
        self.make_room();
        let room = self.memory.len() - self.end;
        let count = stream.read(&mut self.memory[self.end..])?;
        self.end += count;
        self.is_at_end = count == 0;
        self.is_drained = 0 < count && count < room;
        if count == room && self.memory.len() < ROOM {
            // There is more data, so the next request is larger.
            self.memory.resize(self.memory.len() * 2, 0);
        }
        Ok(())
    }

    fn make_room(&mut self) {
        if self.start > 0 {
            self.memory.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let length = self.memory.len();
        if length - self.end <= length / 4 {
            self.memory.resize((2 * length).max(FIRST_ROOM), 0);
        }
    }
}

/// What a method reads.
#[derive(Clone, Copy, Debug)]
enum Goal<'a> {
    UpTo(usize),
    Exactly(usize),
    Line,
    Until(&'a [u8]),
    UntilAny(&'a [&'a [u8]]),
    End,
}

impl Goal<'_> {
    /// Returns the result, if the bytes in the buffer are enough for one. It is known that no
    /// separator begins in the first `searched` bytes.
    fn reach(self, buffer: &mut Buffer, searched: &mut usize) -> Option<io::Result<Vec<u8>>> {
        let (unread, is_at_end) = (buffer.unread().len(), buffer.is_at_end);
        match self {
            Goal::UpTo(0) => Some(Ok(Vec::new())),
            Goal::UpTo(count) => (unread > 0 || is_at_end).then(|| Ok(buffer.take(unread.min(count)))),
            Goal::Exactly(count) if unread >= count => Some(Ok(buffer.take(count))),
            Goal::Exactly(count) => is_at_end.then(|| Err(IncompleteRead { came: unread, wanted: Some(count) }.into())),
            Goal::End => is_at_end.then(|| Ok(buffer.take(unread))),
            Goal::Line => match buffer.search(&[b"\n"], searched) {
                Err(overrun) => {
                    // Drops the `\n` of the line too, if it is there, so that the next line
                    // follows.
                    let rest = buffer.unread().get(overrun.consumed).map_or(unread, |_| overrun.consumed + 1);
                    drop(buffer.take(rest));
                    Some(Err(overrun.into()))
                }
                Ok(None) => is_at_end.then(|| Ok(buffer.take(unread))),
                Ok(Some(count)) => Some(Ok(buffer.take(count))),
            },
            Goal::Until(separator) => Goal::UntilAny(&[separator]).reach(buffer, searched),
            Goal::UntilAny(separators) => match buffer.search(separators, searched) {
                Err(overrun) => Some(Err(overrun.into())),
                Ok(None) => is_at_end.then(|| Err(IncompleteRead { came: unread, wanted: None }.into())),
                Ok(Some(count)) => Some(Ok(buffer.take(count))),
            },
        }
    }
}

impl Buffer {
    /// The number of bytes before and with the separator that ends first, if one is there.
    fn search(&self, separators: &[&[u8]], searched: &mut usize) -> Result<Option<usize>, LimitOverrun> {
        let unread = &self.unread()[*searched..];
        let find = |separator: &[u8]| {
            let place = match separator {
                [byte] => unread.iter().position(|it| it == byte),
                _ => unread.windows(separator.len()).position(|it| it == separator),
            };
            place.map(|place| (place + separator.len(), separator.len()))
        };
        let longest = separators.iter().map(|separator| separator.len()).max().unwrap_or(1);
        // If two separators end at the same place, the shorter one counts.
        let found = separators.iter().filter_map(|separator| find(separator)).min();
        let before = match found {
            Some((end, length)) => *searched + end - length,
            // The last bytes may be the beginning of a separator.
            None => *searched + (unread.len() + 1).saturating_sub(longest),
        };
        if before > self.limit {
            return Err(LimitOverrun { consumed: before, limit: self.limit });
        }
        // If a separator was found, the search has ended, and `searched` is not used any more.
        *searched = before;
        Ok(found.map(|(_, length)| before + length))
    }
}

/// The future of [`StreamReader`]'s methods. Returns bytes.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, net::UnixStream, timeout};
/// use std::time::Duration;
///
/// EventLoop::with_virtual_clock().run(async {
///     let (one, other) = UnixStream::pair()?;
///     let (mut reader, _) = one.into_streams();
///     let (_, mut writer) = other.into_streams();
///     writer.write_all(b"half a line, ").await?;
///     assert!(timeout(Duration::from_secs(60), reader.read_line()).await.is_err());
///     writer.write_all(b"and the rest\n").await?;
///     assert_eq!(reader.read_line().await?, b"half a line, and the rest\n");
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct Read<'a> {
    trial: AnyTrial<'a>,
    buffer: &'a mut Buffer,
    goal: Goal<'a>,
    searched: usize,
}

impl Future for Read<'_> {
    type Output = io::Result<Vec<u8>>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Read { trial, buffer, goal, searched } = &mut *self;
        // The room doubles each time that a read fills it. So it is soon larger than the operating
        // system's buffer; then a read empties that buffer, and this waits. So other tasks run,
        // however fast the peer sends.
        loop {
            if let Some(reached) = goal.reach(buffer, searched) {
                return Poll::Ready(reached);
            }
            if let Some(failure) = buffer.failure {
                return Poll::Ready(Err(io::Error::from_raw_os_error(failure)));
            }
            if let Err(error) = ready!(trial.poll_read(cx, |stream| buffer.fill(stream))) {
                buffer.failure = error.raw_os_error();
                return Poll::Ready(Err(error));
            }
            if buffer.is_drained {
                trial.wait_first();
            }
        }
    }
}

impl fmt::Debug for Read<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unread = self.buffer.unread().len();
        f.debug_struct("Read").field("goal", &self.goal).field("unread", &unread).finish_non_exhaustive()
    }
}

/// The stream has ended early: the error inside an [`UnexpectedEof`](io::ErrorKind::UnexpectedEof).
/// The bytes that arrived are still in the reader.
///
/// asyncio: `IncompleteReadError`.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, net::{IncompleteRead, UnixStream}};
///
/// EventLoop::new().run(async {
///     let (mut reader, _) = UnixStream::pair()?.0.into_streams(); // and the other end is gone
///     let error = reader.read_exactly(4).await.unwrap_err();
///     assert_eq!(error.to_string(), "the stream ended after 0 of 4 bytes, which are still to be read");
///     assert_eq!(error.downcast::<IncompleteRead>().unwrap(), IncompleteRead { came: 0, wanted: Some(4) });
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
#[doc(alias = "IncompleteReadError")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IncompleteRead {
    /// Number of bytes that arrived.
    pub came: usize,
    /// Number of bytes that were requested, if it was a number and not a separator.
    pub wanted: Option<usize>,
}

impl fmt::Display for IncompleteRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let came = self.came;
        match self.wanted {
            Some(wanted) => write!(f, "the stream ended after {came} of {wanted} bytes, which are still to be read"),
            None => write!(f, "the stream ended after {came} bytes without the separator; they are still to be read"),
        }
    }
}

impl std::error::Error for IncompleteRead {}

impl From<IncompleteRead> for io::Error {
    fn from(error: IncompleteRead) -> Self {
        io::Error::new(io::ErrorKind::UnexpectedEof, error)
    }
}

/// There are more bytes before the separator than the limit allows: the error inside an
/// [`InvalidData`](io::ErrorKind::InvalidData). After [`read_until`](StreamReader::read_until)
/// these bytes are still in the reader: [`read_exactly`](StreamReader::read_exactly) with
/// `consumed` takes them, and no part of the separator. [`read_line`](StreamReader::read_line) has
/// dropped the bytes.
///
/// asyncio: `LimitOverrunError`.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, net::{LimitOverrun, UnixStream}};
///
/// EventLoop::new().run(async {
///     let (one, other) = UnixStream::pair()?;
///     let (mut reader, _) = one.into_streams();
///     let (_, mut writer) = other.into_streams();
///     reader.set_limit(3);
///     writer.write_all(b"four").await?;
///     let error = reader.read_until(b";").await.unwrap_err();
///     assert_eq!(error.downcast::<LimitOverrun>().unwrap(), LimitOverrun { consumed: 4, limit: 3 });
///     assert_eq!(reader.read(4).await?, b"four");
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
#[doc(alias = "LimitOverrunError")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LimitOverrun {
    /// The number of bytes before the separator. If the separator has not arrived, the number of
    /// bytes that cannot be part of it.
    ///
    /// asyncio: `LimitOverrunError.consumed`.
    pub consumed: usize,
    /// The greatest number of bytes allowed before the separator.
    pub limit: usize,
}

impl fmt::Display for LimitOverrun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LimitOverrun { consumed, limit } = self;
        write!(f, "{consumed} bytes before the separator, and the limit is {limit}; set_limit() allows more")
    }
}

impl std::error::Error for LimitOverrun {}

impl From<LimitOverrun> for io::Error {
    fn from(error: LimitOverrun) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}

// ---- writing ----

/// The writing half of a connection.
///
/// It buffers nothing. What [`write_all`](Self::write_all) has written is in the operating system,
/// which sends it even after the writer is dropped, unless the peer resets the connection, or
/// unread data is dropped with it. To know that data has arrived, let the peer confirm it.
///
/// The connection is closed when both halves are dropped; [`close`](Self::close) does not wait for
/// the reader.
///
/// asyncio: `StreamWriter`. Its `write` and `drain` are one method here, `write_all`, because
/// nothing is sent in the background.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, net};
/// use std::net::Ipv4Addr;
///
/// EventLoop::new().run(async {
///     let server = net::start_server((Ipv4Addr::LOCALHOST, 0), async |mut reader, mut writer| {
///         while let Ok(bytes) = reader.read(1000).await {
///             if bytes.is_empty() || writer.write_all(&bytes).await.is_err() {
///                 break;
///             }
///         }
///     }).await?;
///     let (mut reader, mut writer) = net::open_connection(server.local_addr()?).await?;
///     writer.write_all(b"echo").await?;
///     writer.write_eof()?;
///     assert_eq!(reader.read_to_end().await?, b"echo");
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
#[derive(Debug)]
pub struct StreamWriter {
    connection: Rc<Connection>,
}

impl StreamWriter {
    #[cfg(feature = "tls")]
    pub(super) fn connection(&self) -> &Rc<Connection> {
        &self.connection
    }

    /// Writes all the bytes. Waits while the buffers of the operating system are full because the
    /// peer does not read.
    ///
    /// Cancel safety: if it is dropped before it is ready, only a part of the bytes was sent;
    /// [`WriteAll::written`] returns how many. With TLS, the last of these may still be encrypted in
    /// memory. They are sent by the next call, by a read that waits, or by [`close`](Self::close).
    ///
    /// asyncio: `StreamWriter.write` and `drain`.
    ///
    /// # Errors
    ///
    /// If the peer has closed the connection ([`BrokenPipe`](io::ErrorKind::BrokenPipe),
    /// [`ConnectionReset`](io::ErrorKind::ConnectionReset)), or the writer has ended it. How much
    /// has arrived is then unknown.
    ///
    /// # Panics
    ///
    /// When polled outside its loop.
    ///
    /// # Cost
    ///
    /// Mostly one system call.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UnixStream};
    /// use std::io::ErrorKind;
    ///
    /// EventLoop::new().run(async {
    ///     let (_, mut writer) = UnixStream::pair()?.0.into_streams(); // and the other end is gone
    ///     assert_eq!(writer.write_all(b"anybody there?").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[doc(alias = "write")]
    #[doc(alias = "drain")]
    #[doc(alias = "writelines")]
    pub fn write_all<'a>(&'a mut self, bytes: &'a [u8]) -> WriteAll<'a> {
        let trial = AnyTrial::to_write(&self.connection);
        WriteAll { trial, bytes, written: 0 }
    }

    /// Ends the written data: the peer reads what was written before, and then sees the end. The
    /// reader continues. A pipe to a child process is closed. With TLS, it sends `close_notify`, or as
    /// soon as there is room for it, when the reader reads; older peers then end their side too.
    ///
    /// asyncio: `StreamWriter.write_eof`. There, TLS does not have it.
    ///
    /// # Errors
    ///
    /// The error of the operating system. If the peer has already gone, that is not an error.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UnixStream};
    ///
    /// EventLoop::new().run(async {
    ///     let (one, other) = UnixStream::pair()?;
    ///     let ((mut reader, mut writer), (mut peer, mut answer)) = (one.into_streams(), other.into_streams());
    ///     writer.write_all(b"the question").await?;
    ///     writer.write_eof()?;
    ///     assert_eq!(peer.read_to_end().await?, b"the question");
    ///     answer.write_all(b"the answer").await?;
    ///     assert_eq!(reader.read(100).await?, b"the answer");
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn write_eof(&mut self) -> io::Result<()> {
        #[cfg(feature = "tls")]
        if let Some(session) = self.connection.session() {
            session.end(&self.connection.stream);
            return Ok(());
        }
        close_pipe(&mut self.connection);
        self.connection.stream.shutdown(Shutdown::Write)
    }

    /// Returns the address of the peer.
    ///
    /// asyncio: `StreamWriter.get_extra_info('peername')`.
    ///
    /// # Errors
    ///
    /// If it is not connected any more. If it is a Unix socket, or a pipe
    /// ([`Unsupported`](io::ErrorKind::Unsupported)).
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net};
    /// use std::net::Ipv4Addr;
    ///
    /// EventLoop::new().run(async {
    ///     let listener = net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    ///     let (_reader, writer) = net::open_connection(listener.local_addr()?).await?;
    ///     assert_eq!(writer.peer_addr()?, listener.local_addr()?);
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[doc(alias = "get_extra_info")]
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        match &self.connection.stream {
            Stream::Tcp(stream) => stream.peer_addr(),
            Stream::Unix(_) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "a Unix socket has no IP address; use its file descriptor (AsFd) to find the peer",
            )),
            #[cfg(feature = "process")]
            Stream::Pipe(_) => Err(io::Error::new(io::ErrorKind::Unsupported, "a pipe has no address")),
        }
    }

    /// Closes the connection in both directions. A read of the other half sees the end.
    ///
    /// Nothing is buffered, so it is ready at once. With TLS, it sends `close_notify` and waits until
    /// the peer ends TLS too, or closes the connection. What arrives in the meantime is dropped.
    ///
    /// Cancel safety: nothing happens before it is polled. The connection is closed in any case
    /// when both halves are dropped. With TLS, dropping it in the middle closes the connection
    /// without waiting.
    ///
    /// asyncio: `StreamWriter.close` and `wait_closed`.
    ///
    /// # Errors
    ///
    /// The error of the operating system. If the peer has already gone, that is not an error. With
    /// TLS, if the peer does not end it in time ([`TimedOut`](io::ErrorKind::TimedOut)), 30 seconds by
    /// default: then the connection was reset.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UnixStream};
    ///
    /// EventLoop::new().run(async {
    ///     let (one, other) = UnixStream::pair()?;
    ///     let ((mut reader, writer), (mut peer, _)) = (one.into_streams(), other.into_streams());
    ///     writer.close().await?;
    ///     assert_eq!(peer.read_to_end().await?, b"");
    ///     assert_eq!(reader.read_to_end().await?, b""); // as well
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[doc(alias = "wait_closed")]
    pub fn close(self) -> Close {
        Close {
            connection: self.connection.clone(),
            #[cfg(feature = "tls")]
            ending: None,
        }
    }
}

#[cfg(feature = "tls")]
impl Drop for StreamWriter {
    fn drop(&mut self) {
        // The reader may belong to another task, and be dropped later, when there is no panic.
        if let Some(session) = self.connection.session().filter(|_| std::thread::panicking()) {
            session.cut();
        }
    }
}

impl AsFd for StreamWriter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.stream.as_fd()
    }
}

/// The future of [`StreamWriter::write_all`].
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, net::UnixStream, timeout};
/// use std::time::Duration;
///
/// EventLoop::with_virtual_clock().run(async {
///     let (one, other) = UnixStream::pair()?;
///     let ((mut reader, _), (_, mut writer)) = (one.into_streams(), other.into_streams());
///     let book = vec![7; 10_000_000];
///     let mut write = writer.write_all(&book);
///     // Nobody reads.
///     assert!(timeout(Duration::from_secs(60), &mut write).await.is_err());
///     let written = write.written();
///     assert!(0 < written && written < book.len());
///     assert_eq!(reader.read_exactly(written).await?, book[..written]);
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct WriteAll<'a> {
    trial: AnyTrial<'a>,
    bytes: &'a [u8],
    written: usize,
}

impl WriteAll<'_> {
    /// Number of bytes that the operating system has taken. With TLS, up to 64 KiB of them may still
    /// be encrypted in memory, as [`write_all`](StreamWriter::write_all) says.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UnixStream};
    ///
    /// EventLoop::new().run(async {
    ///     let (one, _other) = UnixStream::pair()?;
    ///     let (_, mut writer) = one.into_streams();
    ///     let mut write = writer.write_all(b"hello");
    ///     assert_eq!(write.written(), 0);
    ///     (&mut write).await?;
    ///     assert_eq!(write.written(), 5);
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn written(&self) -> usize {
        self.written
    }
}

impl Future for WriteAll<'_> {
    type Output = io::Result<()>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let WriteAll { trial, bytes, written } = &mut *self;
        loop {
            let rest = &bytes[*written..];
            if rest.is_empty() {
                return trial.poll_flush(cx);
            }
            let count = ready!(trial.poll_write(cx, |stream| stream.write(rest)))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *written += count;
            if count < rest.len() {
                // The operating system's buffer is full, so another try would block.
                trial.wait_first();
            }
        }
    }
}

impl fmt::Debug for WriteAll<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = self.bytes.len();
        f.debug_struct("WriteAll").field("written", &self.written).field("length", &length).finish_non_exhaustive()
    }
}

/// The future of [`StreamWriter::close`].
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, net::UnixStream};
///
/// EventLoop::new().run(async {
///     let (one, _other) = UnixStream::pair()?;
///     let (_reader, writer) = one.into_streams();
///     writer.close().await
/// })
/// # .unwrap();
/// ```
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub struct Close {
    connection: Rc<Connection>,
    #[cfg(feature = "tls")]
    ending: Option<Ending>,
}

impl Future for Close {
    type Output = io::Result<()>;

    #[cfg_attr(not(feature = "tls"), expect(unused_variables, reason = "only TLS waits"))]
    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        #[cfg(feature = "tls")]
        {
            let this = &mut *self;
            if this.ending.is_none() {
                this.ending = Ending::of(&this.connection);
            }
            if let Some(ending) = &mut this.ending {
                return Pin::new(ending).poll(cx);
            }
        }
        close_pipe(&mut self.connection);
        Poll::Ready(self.connection.close())
    }
}

// ---- TCP, Unix, pipes and TLS ----

/// How an operation is tried and waited for.
enum AnyTrial<'a> {
    Raw(RawTrial<'a>),
    /// In a box, because it is large and most connections are without.
    #[cfg(feature = "tls")]
    Tls(Box<TlsTrial<'a>>),
}

impl<'a> AnyTrial<'a> {
    fn to_read(connection: &'a Connection) -> Self {
        #[cfg(feature = "tls")]
        if let Some(session) = connection.session() {
            return AnyTrial::Tls(Box::new(TlsTrial::new(session, &connection.stream)));
        }
        AnyTrial::Raw(RawTrial::to_read(&connection.stream))
    }

    fn to_write(connection: &'a Connection) -> Self {
        #[cfg(feature = "tls")]
        if let Some(session) = connection.session() {
            return AnyTrial::Tls(Box::new(TlsTrial::new(session, &connection.stream)));
        }
        AnyTrial::Raw(RawTrial::to_write(&connection.stream))
    }

    /// Waits before the next try, which would probably block.
    fn wait_first(&mut self) {
        match self {
            AnyTrial::Raw(trial) => trial.wait_first(),
            // A record that was read in part says nothing about the socket.
            #[cfg(feature = "tls")]
            AnyTrial::Tls(_) => {}
        }
    }

    /// Waits until the operating system has what was written. Only TLS keeps some of it.
    #[cfg_attr(not(feature = "tls"), expect(unused_variables, reason = "only TLS waits"))]
    #[track_caller]
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            AnyTrial::Raw(_) => Poll::Ready(Ok(())),
            #[cfg(feature = "tls")]
            AnyTrial::Tls(trial) => trial.poll_flush(cx),
        }
    }

    #[track_caller]
    fn poll_read<R>(
        &mut self,
        cx: &mut Context<'_>,
        read: impl FnMut(&mut dyn io::Read) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        match self {
            AnyTrial::Raw(trial) => trial.poll_read(cx, read),
            #[cfg(feature = "tls")]
            AnyTrial::Tls(trial) => trial.poll_read(cx, read),
        }
    }

    #[track_caller]
    fn poll_write<R>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnMut(&mut dyn io::Write) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        match self {
            AnyTrial::Raw(trial) => trial.poll_write(cx, write),
            #[cfg(feature = "tls")]
            AnyTrial::Tls(trial) => trial.poll_write(cx, write),
        }
    }
}

/// Tries on the socket or the pipe itself.
pub(super) enum RawTrial<'a> {
    Tcp(Trial<'a, std::net::TcpStream>),
    Unix(Trial<'a, std::os::unix::net::UnixStream>),
    #[cfg(feature = "process")]
    Pipe(PipeTrial<'a>),
}

impl<'a> RawTrial<'a> {
    pub(super) fn to_read(stream: &'a Stream) -> Self {
        match stream {
            Stream::Tcp(stream) => RawTrial::Tcp(Trial::to_read(stream.as_async())),
            Stream::Unix(stream) => RawTrial::Unix(Trial::to_read(stream.as_async())),
            #[cfg(feature = "process")]
            Stream::Pipe(pipe) => RawTrial::Pipe(PipeTrial::new(pipe)),
        }
    }

    pub(super) fn to_write(stream: &'a Stream) -> Self {
        match stream {
            Stream::Tcp(stream) => RawTrial::Tcp(Trial::to_write(stream.as_async())),
            Stream::Unix(stream) => RawTrial::Unix(Trial::to_write(stream.as_async())),
            #[cfg(feature = "process")]
            Stream::Pipe(pipe) => RawTrial::Pipe(PipeTrial::new(pipe)),
        }
    }

    fn wait_first(&mut self) {
        match self {
            RawTrial::Tcp(trial) => trial.wait_first(),
            RawTrial::Unix(trial) => trial.wait_first(),
            #[cfg(feature = "process")]
            RawTrial::Pipe(trial) => trial.wait_first(),
        }
    }

    #[track_caller]
    pub(super) fn poll_read<R>(
        &mut self,
        cx: &mut Context<'_>,
        mut read: impl FnMut(&mut dyn io::Read) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        match self {
            RawTrial::Tcp(trial) => trial.poll(cx, |mut stream| read(&mut stream)),
            RawTrial::Unix(trial) => trial.poll(cx, |mut stream| read(&mut stream)),
            #[cfg(feature = "process")]
            RawTrial::Pipe(trial) => trial.poll_read(cx, read),
        }
    }

    #[track_caller]
    pub(super) fn poll_write<R>(
        &mut self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&mut dyn io::Write) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        match self {
            RawTrial::Tcp(trial) => trial.poll(cx, |mut stream| write(&mut stream)),
            RawTrial::Unix(trial) => trial.poll(cx, |mut stream| write(&mut stream)),
            #[cfg(feature = "process")]
            RawTrial::Pipe(trial) => trial.poll_write(cx, write),
        }
    }
}
