//! The handshake of TLS, on a new connection or on one in use.

use crate::net::streams::{Connection, OpenConnection, OpenUnixConnection, StreamReader, StreamWriter};
use crate::net::tls::config::{TlsConnector, TlsRole};
use crate::net::tls::session::Session;
use crate::time::sleep::{Sleep, sleep};
use std::fmt;
use std::io::{self, ErrorKind};
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// A handshake. If it fails, or is dropped before it is ready, the connection is closed.
pub(in crate::net) struct Handshake {
    connection: Rc<Connection>,
    /// Bytes of the peer that were read from the socket before the handshake began. They end before
    /// the handshake does: the peer's last message depends on what this side sends.
    early: io::Cursor<Vec<u8>>,
    timeout: Duration,
    /// Created at the first poll.
    limit: Option<Sleep>,
    is_over: bool,
}

impl Handshake {
    /// Begins a session on this connection. `early` is what was read from it already.
    pub(in crate::net) fn new(connection: Rc<Connection>, role: &TlsRole, early: Vec<u8>) -> io::Result<Self> {
        let timeouts = role.timeouts();
        let tls = role.session(connection.host())?;
        connection.set_session(Session::new(tls, timeouts))?;
        let early = io::Cursor::new(early);
        Ok(Handshake { connection, early, timeout: timeouts.handshake, limit: None, is_over: false })
    }

    /// A `write_all` cannot begin now, and no read is in progress. So this may use the socket's
    /// `poll` functions, which keep one waiter per direction.
    #[track_caller]
    fn advance(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Handshake { connection, early, .. } = self;
        let (stream, session) = (connection.stream(), session_of(connection));
        loop {
            if connection.is_closed() {
                let why = "this side closed the connection during the TLS handshake";
                return Poll::Ready(Err(io::Error::new(ErrorKind::ConnectionAborted, why)));
            }
            while session.wants_write() {
                match ready!(stream.poll_write_with(cx, |socket| session.write_tls(socket))) {
                    Ok(_) => {}
                    Err(error) if session.is_handshaking() => return Poll::Ready(Err(error)),
                    // A client may have sent all it has, and gone, before it gets its session tickets.
                    Err(_) => break,
                }
            }
            if !session.is_handshaking() {
                session.handshake_is_over();
                return Poll::Ready(Ok(()));
            }
            let amount = if (early.position() as usize) < early.get_ref().len() {
                session.read_tls(early)?
            } else {
                ready!(stream.poll_read_with(cx, |socket| session.read_tls(socket)))?
            };
            if amount == 0 && !connection.is_closed() {
                let why = "the peer closed the connection during the TLS handshake";
                return Poll::Ready(Err(io::Error::new(ErrorKind::UnexpectedEof, why)));
            }
            match session.process(stream) {
                Err(error) if session.is_handshaking() => return Poll::Ready(Err(error)),
                // The handshake is over. An error behind it is returned by the reads, after the data
                // that came before it.
                _ => {}
            }
        }
    }

    fn fail(&mut self) {
        self.is_over = true;
        session_of(&self.connection).handshake_has_failed();
        let _ = self.connection.close();
    }
}

fn session_of(connection: &Connection) -> &Session {
    connection.session().expect("a handshake has set the session")
}

impl Future for Handshake {
    type Output = io::Result<()>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        assert!(!this.is_over, "a TLS handshake was polled after it was ready; keep the result of the first await");
        let mut result = this.advance(cx);
        if result.is_pending() {
            let limit = this.limit.get_or_insert_with(|| sleep(this.timeout));
            ready!(Pin::new(limit).poll(cx));
            let why = format!("the TLS handshake was not finished after {:?}", this.timeout);
            result = Poll::Ready(Err(io::Error::new(ErrorKind::TimedOut, why)));
        }
        match result {
            Poll::Ready(Err(_)) => this.fail(),
            _ => this.is_over = true,
        }
        this.limit = None;
        result
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        if !self.is_over {
            self.fail();
        }
    }
}

// ---- on a new connection ----

impl OpenConnection {
    /// Speaks TLS on the connection, as a client. The name that the certificate of the server must
    /// have is the host of the address, unless [`TlsConnector::server_name`] names another.
    ///
    /// The connection has the same reader and writer as one without TLS. These are the differences:
    ///
    /// - If the peer closes the connection without ending TLS, a read returns an
    ///   [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) after the data, and not the end: somebody
    ///   else may have cut the connection.
    /// - [`StreamWriter::write_eof`] and [`StreamWriter::close`] end TLS. The latter waits until the
    ///   peer ends it too. Dropping both halves ends it too, without waiting; but not after a
    ///   [`write_all`](StreamWriter::write_all) that was dropped before it was ready, and not if the
    ///   writer is dropped during a panic. A task that is cancelled between two writes ends it in
    ///   order: only the program knows that more was to come.
    /// - An `AsFd` of the reader and the writer is the socket under TLS.
    ///
    /// This comes last: the other options of [`OpenConnection`] come before it.
    ///
    /// Cancel safety: dropping it closes the connection.
    ///
    /// asyncio: `open_connection(.., ssl=..)`.
    ///
    /// # Errors
    ///
    /// The errors of [`open_connection`](crate::net::open_connection()), and those of the
    /// handshake:
    ///
    /// - The peer breaks TLS, or its certificate is not accepted
    ///   ([`InvalidData`](io::ErrorKind::InvalidData), with a `rustls::Error`; as the source of the
    ///   error, if the certificate is that of an authority).
    /// - The peer closes the connection ([`UnexpectedEof`](io::ErrorKind::UnexpectedEof)).
    /// - The handshake takes longer than its limit ([`TimedOut`](io::ErrorKind::TimedOut)), which is
    ///   60 seconds by default.
    /// - There is no name, because the address is a list of several, or the name is not one
    ///   ([`InvalidInput`](io::ErrorKind::InvalidInput)).
    ///
    /// # Panics
    ///
    /// When polled, if no loop is running on this thread.
    ///
    /// # Cost
    ///
    /// An idle connection takes about 8 KB of memory more than one without TLS. rustls keeps its
    /// buffers: after a transfer that was larger than the buffers of the operating system, it is about
    /// 37 KB. A handshake takes milliseconds of the processor, on both sides, in which the loop does
    /// nothing else.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::{self, TlsAcceptor, TlsConnector}};
    /// use std::io::ErrorKind;
    /// # const CERTIFICATE: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/tls/localhost.pem"));
    /// # const KEY: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/tls/localhost.key"));
    ///
    /// EventLoop::new().run(async {
    ///     let acceptor = TlsAcceptor::with_certificate(CERTIFICATE, KEY)?;
    ///     let server = net::start_server("localhost:0", async |_, mut writer| {
    ///         writer.write_all(b"welcome").await.unwrap();
    ///     })
    ///     .tls(acceptor)
    ///     .await?;
    ///     let connector = TlsConnector::with_roots(CERTIFICATE)?;
    ///     let address = ("localhost", server.local_addr()?.port());
    ///     let (mut reader, _writer) = net::open_connection(address).tls(connector.clone()).await?;
    ///     assert_eq!(reader.read_to_end().await?, b"welcome");
    ///
    ///     // The certificate is not for this address.
    ///     let error = net::open_connection(server.local_addr()?).tls(connector).await.unwrap_err();
    ///     assert_eq!(error.kind(), ErrorKind::InvalidData);
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[doc(alias = "ssl")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
    pub fn tls(self, connector: impl Into<TlsConnector>) -> OpenTlsConnection {
        OpenTlsConnection { stage: Stage::Tcp(self), connector: connector.into(), here: PhantomData }
    }
}

impl OpenUnixConnection {
    /// Speaks TLS on the connection, as a client. The connector needs a
    /// [`server_name`](TlsConnector::server_name), because a path has none. Otherwise like
    /// [`OpenConnection::tls`].
    ///
    /// asyncio: `open_unix_connection(.., ssl=..)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::{self, TlsAcceptor, TlsConnector}};
    /// # const CERTIFICATE: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/tls/localhost.pem"));
    /// # const KEY: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/tls/localhost.key"));
    /// # let path = std::env::temp_dir().join(format!("onelane-unix-tls-{}", std::process::id()));
    ///
    /// EventLoop::new().run(async {
    ///     let acceptor = TlsAcceptor::with_certificate(CERTIFICATE, KEY)?;
    ///     let server = net::start_unix_server(&path, async move |mut reader, mut writer| {
    ///         writer.start_tls(&mut reader, acceptor.clone()).await.unwrap();
    ///         writer.write_all(b"welcome").await.unwrap();
    ///     })?;
    ///     let connector = TlsConnector::with_roots(CERTIFICATE)?.server_name("localhost");
    ///     let (mut reader, _writer) = net::open_unix_connection(&path).tls(connector).await?;
    ///     assert_eq!(reader.read_to_end().await?, b"welcome");
    ///     server.close();
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[doc(alias = "ssl")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
    pub fn tls(self, connector: impl Into<TlsConnector>) -> OpenTlsConnection {
        OpenTlsConnection { stage: Stage::Unix(self), connector: connector.into(), here: PhantomData }
    }
}

/// The future of [`OpenConnection::tls`] and [`OpenUnixConnection::tls`].
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, net::{self, TlsConnector}};
/// use std::io::ErrorKind;
///
/// # const CERTIFICATE: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/tls/localhost.pem"));
/// EventLoop::new().run(async {
///     let connector = TlsConnector::with_roots(CERTIFICATE)?;
///     let opening = net::open_unix_connection("/nonexistent/socket").tls(connector);
///     assert_eq!(opening.await.unwrap_err().kind(), ErrorKind::NotFound);
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct OpenTlsConnection {
    stage: Stage,
    connector: TlsConnector,
    /// Its streams stay on this thread.
    here: PhantomData<Rc<()>>,
}

enum Stage {
    Tcp(OpenConnection),
    Unix(OpenUnixConnection),
    Handshake(Handshake, Option<(StreamReader, StreamWriter)>),
    Over,
}

impl Future for OpenTlsConnection {
    type Output = io::Result<(StreamReader, StreamWriter)>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let opened = match &mut this.stage {
            Stage::Tcp(open) => Some(ready!(Pin::new(open).poll(cx))),
            Stage::Unix(open) => Some(ready!(Pin::new(open).poll(cx))),
            _ => None,
        };
        if let Some(opened) = opened {
            this.stage = Stage::Over;
            let streams = opened?;
            let role = TlsRole::Client(this.connector.clone());
            let handshake = Handshake::new(streams.0.connection().clone(), &role, Vec::new())?;
            this.stage = Stage::Handshake(handshake, Some(streams));
        }
        let Stage::Handshake(handshake, streams) = &mut this.stage else {
            panic!("an open_connection() with TLS was polled after it was ready; keep the result of the first await")
        };
        let result = ready!(Pin::new(handshake).poll(cx));
        let streams = streams.take().expect("a handshake is ready once");
        this.stage = Stage::Over;
        Poll::Ready(result.map(|()| streams))
    }
}

impl fmt::Debug for OpenTlsConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("OpenTlsConnection");
        match &self.stage {
            Stage::Tcp(open) => debug.field("stage", open),
            Stage::Unix(open) => debug.field("stage", open),
            Stage::Handshake(..) => debug.field("stage", &"handshake"),
            Stage::Over => debug.field("stage", &"over"),
        };
        debug.field("connector", &self.connector).finish()
    }
}

// ---- on a connection in use ----

impl StreamWriter {
    /// Speaks TLS from now on: as a client with a [`TlsConnector`], as a server with a
    /// [`TlsAcceptor`](crate::net::TlsAcceptor). Many protocols begin in plain text and switch when
    /// both sides have agreed on it (STARTTLS). `reader` is the other half of the connection.
    ///
    /// What the reader has in its buffer is taken as the beginning of TLS: it is bytes that the peer
    /// has sent behind the agreement. So no plain text of before can be mistaken for text that came
    /// through TLS.
    ///
    /// The name that the certificate of the server must have is the host that
    /// [`open_connection`](crate::net::open_connection()) was called with, unless
    /// [`TlsConnector::server_name`] names another.
    ///
    /// Cancel safety: if it is dropped after its first poll and before it is ready, the connection
    /// is closed.
    ///
    /// asyncio: `StreamWriter.start_tls`, and `loop.start_tls`.
    ///
    /// # Errors
    ///
    /// The errors of a handshake, as for [`OpenConnection::tls`]; the connection is closed then. If
    /// it has TLS already, or is a pipe ([`Unsupported`](io::ErrorKind::Unsupported)), or if the
    /// connector has no valid name ([`InvalidInput`](io::ErrorKind::InvalidInput)), nothing was
    /// changed.
    ///
    /// # Panics
    ///
    /// If `reader` belongs to another connection. When polled outside its loop.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::{self, TlsAcceptor, TlsConnector}};
    /// # const CERTIFICATE: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/tls/localhost.pem"));
    /// # const KEY: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/tls/localhost.key"));
    ///
    /// EventLoop::new().run(async {
    ///     let acceptor = TlsAcceptor::with_certificate(CERTIFICATE, KEY)?;
    ///     let server = net::start_server("localhost:0", async move |mut reader, mut writer| {
    ///         assert_eq!(reader.read_line().await.unwrap(), b"STARTTLS\r\n");
    ///         writer.write_all(b"220 go ahead\r\n").await.unwrap();
    ///         writer.start_tls(&mut reader, acceptor.clone()).await.unwrap();
    ///         writer.write_all(b"now it is secret\r\n").await.unwrap();
    ///     })
    ///     .await?;
    ///     let connector = TlsConnector::with_roots(CERTIFICATE)?;
    ///     let address = ("localhost", server.local_addr()?.port());
    ///     let (mut reader, mut writer) = net::open_connection(address).await?;
    ///     writer.write_all(b"STARTTLS\r\n").await?;
    ///     assert_eq!(reader.read_line().await?, b"220 go ahead\r\n");
    ///     writer.start_tls(&mut reader, connector).await?;
    ///     assert_eq!(reader.read_line().await?, b"now it is secret\r\n");
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[track_caller]
    #[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
    pub fn start_tls<'a>(&'a mut self, reader: &'a mut StreamReader, role: impl Into<TlsRole>) -> StartTls<'a> {
        let is_of_it = Rc::ptr_eq(self.connection(), reader.connection());
        assert!(is_of_it, "start_tls() got the reader of another connection; pass the one that came with this writer");
        StartTls { writer: self, reader, role: role.into(), handshake: None }
    }

    /// Returns what the handshake has agreed on. `None` if the connection has no TLS, or the
    /// handshake has failed.
    ///
    /// asyncio: `StreamWriter.get_extra_info`, with `'peercert'`, `'cipher'` and `'ssl_object'`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UnixStream};
    ///
    /// EventLoop::new().run(async {
    ///     let (_, writer) = UnixStream::pair()?.0.into_streams();
    ///     assert!(writer.tls().is_none());
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[doc(alias = "get_extra_info")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
    pub fn tls(&self) -> Option<&crate::net::tls::TlsInfo> {
        self.connection().session()?.info()
    }
}

/// The future of [`StreamWriter::start_tls`].
///
/// # Examples
///
/// ```
/// use futures_util::future::try_join;
/// use onelane::{EventLoop, net::{TlsAcceptor, TlsConnector, UnixStream}};
/// # const CERTIFICATE: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/tls/localhost.pem"));
/// # const KEY: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/tls/localhost.key"));
///
/// EventLoop::new().run(async {
///     let (one, other) = UnixStream::pair()?;
///     let ((mut reader, mut writer), (mut peer, mut answer)) = (one.into_streams(), other.into_streams());
///     let connector = TlsConnector::with_roots(CERTIFICATE)?.server_name("localhost");
///     let acceptor = TlsAcceptor::with_certificate(CERTIFICATE, KEY)?;
///     try_join(writer.start_tls(&mut reader, connector), answer.start_tls(&mut peer, acceptor)).await?;
///     answer.write_all(b"secret\n").await?;
///     assert_eq!(reader.read_line().await?, b"secret\n");
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct StartTls<'a> {
    writer: &'a mut StreamWriter,
    reader: &'a mut StreamReader,
    role: TlsRole,
    /// `None` before the first poll.
    handshake: Option<Handshake>,
}

impl Future for StartTls<'_> {
    type Output = io::Result<()>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let StartTls { writer, reader, role, handshake } = &mut *self;
        let handshake = match handshake {
            Some(handshake) => handshake,
            None => {
                let begun = Handshake::new(writer.connection().clone(), role, reader.unread().to_vec())?;
                reader.forget_unread();
                handshake.insert(begun)
            }
        };
        Pin::new(handshake).poll(cx)
    }
}

impl fmt::Debug for StartTls<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("StartTls");
        debug.field("writer", &self.writer).field("role", &self.role).field("begun", &self.handshake.is_some()).finish()
    }
}
