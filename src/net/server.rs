//! asyncio's servers: each connection is handled by its own task.
//!
//! A server is a task that accepts connections, and a state that it shares with its [`Server`]
//! handle and its connections. Closing it takes the listener out of the state, and the last
//! connection that closes reports that the server has ended. As in asyncio, a connection counts as
//! long as it is open, even if its handler has returned.

use crate::cancel::cleanup::{OnCancel, on_cancel};
#[cfg(feature = "tls")]
use crate::kernel::callbacks::exceptions;
use crate::kernel::callbacks::exceptions::complain;
#[cfg(feature = "tls")]
use crate::leaf::running;
use crate::net::endpoint::ToSocketAddrs;
use crate::net::happy_eyeballs::AddressErrors;
use crate::net::lookup::{Lookup, remove_duplicates};
use crate::net::streams::{Connection, StreamReader, StreamWriter};
use crate::net::tcp::TcpListener;
#[cfg(feature = "tls")]
use crate::net::tls::{Handshake, TlsAcceptor, TlsRole};
use crate::net::unix::UnixListener;
use crate::sync::{Event, EventWait};
use crate::task::yield_now::yield_now;
use crate::task::{Builder, TaskRef};
use crate::time::sleep::sleep;
use rustix::io::Errno;
use slab::Slab;
use std::cell::RefCell;
use std::fmt;
use std::fs;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// How long a server waits after it could not accept; the same as in asyncio.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_secs(1);

/// How many connections are accepted in a row before other tasks run.
const IN_A_ROW: u32 = 64;

/// Listens at a TCP address, or at all addresses of a name. For each connection, spawns a task that
/// calls `handler` with a reader and a writer. The connection is closed when the handler has
/// dropped both.
///
/// The empty name, as in `("", 80)`, stands for all addresses of this machine, of IPv4 and IPv6.
/// With port 0, the operating system chooses a port for each address. [`Server::local_addrs`]
/// returns the addresses. If a server listens at several addresses, an IPv6 address such as `[::]`
/// accepts no connections over IPv4. A family or an address that this machine does not have is
/// skipped, if another one is left.
///
/// A handler that panics ends only its own connection. The panic goes to the exception handler, as
/// for any task whose result is not read.
///
/// If no descriptors are left for a connection, the server prints this on stderr, once, and tries
/// again each second, on the loop's clock. In the meantime the connection waits in the operating
/// system.
///
/// The server runs until it is [closed](Server::close) or the loop ends, even if its `Server` is
/// dropped.
///
/// Cancel safety: nothing is bound before it is ready.
///
/// asyncio: `start_server(callback, host, port)`; there, `host=None` has the same meaning as the
/// empty name.
///
/// # Errors
///
/// The errors of [`lookup_host`](crate::net::lookup_host()), and of listening at an address: if one
/// address cannot be used, for example because it is in use, the others are closed, and its error
/// is returned. Of several addresses, the error is an [`AddressErrors`].
///
/// # Panics
///
/// When polled, if no loop is running on this thread, or after it was ready.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, net};
/// use std::net::Ipv4Addr;
///
/// async fn greet(mut reader: net::StreamReader, mut writer: net::StreamWriter) {
///     let Ok(name) = reader.read_line().await else { return };
///     let _ = writer.write_all(&[b"hello ", &name[..]].concat()).await;
/// }
///
/// EventLoop::new().run(async {
///     let server = net::start_server((Ipv4Addr::LOCALHOST, 0), greet).await?;
///     let (mut reader, mut writer) = net::open_connection(server.local_addr()?).await?;
///     writer.write_all(b"lane\n").await?;
///     assert_eq!(reader.read_line().await?, b"hello lane\n");
///     server.close();
///     server.wait_closed().await;
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
#[doc(alias = "create_server")]
#[track_caller]
pub fn start_server<H>(address: impl ToSocketAddrs, handler: H) -> StartServer<H>
where
    H: AsyncFn(StreamReader, StreamWriter) + 'static,
{
    StartServer {
        lookup: Lookup::to_listen(&address),
        handler: Some(handler),
        made_at: Location::caller(),
        #[cfg(feature = "tls")]
        tls: None,
    }
}

/// The future of [`start_server`]. With a numeric address, it is ready at the first poll.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, net};
///
/// EventLoop::new().run(async {
///     let starting = net::start_server("127.0.0.1:0", async |_, _| {});
///     let server = starting.await?; // it listens only now
///     assert!(server.is_serving());
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct StartServer<H> {
    lookup: Lookup,
    handler: Option<H>,
    made_at: &'static Location<'static>,
    #[cfg(feature = "tls")]
    tls: Option<TlsRole>,
}

// It pins nothing.
impl<H> Unpin for StartServer<H> {}

#[cfg(feature = "tls")]
impl<H> StartServer<H> {
    /// Speaks TLS on each connection. The handler is called after the handshake; see
    /// [`OpenConnection::tls`](crate::net::OpenConnection::tls) for what is different for its reader
    /// and its writer.
    ///
    /// Each handshake runs in the task of its connection, so a slow client holds up no other. If it
    /// fails, the connection is closed without a call of the handler, the server continues, and the
    /// error is reported to the [exception handler](crate::LoopBuilder::exception_handler), or to
    /// stderr: on the open internet this happens often. [`Server::connections`] counts connections
    /// during their handshake too.
    ///
    /// asyncio: `start_server(.., ssl=..)`. There, a failed handshake is reported only in debug
    /// mode.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, Exception, net::{self, TlsAcceptor}};
    /// use std::{cell::RefCell, rc::Rc};
    /// # const CERTIFICATE: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/tls/localhost.pem"));
    /// # const KEY: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/tls/localhost.key"));
    ///
    /// let reported = Rc::new(RefCell::new(Vec::new()));
    /// let copy = reported.clone();
    /// let report = move |exception: &Exception| copy.borrow_mut().push(exception.message);
    /// EventLoop::builder().exception_handler(report).build().run(async {
    ///     let acceptor = TlsAcceptor::with_certificate(CERTIFICATE, KEY)?;
    ///     let server = net::start_server("127.0.0.1:0", async |_, _| unreachable!()).tls(acceptor).await?;
    ///     let (mut reader, mut writer) = net::open_connection(server.local_addr()?).await?;
    ///     writer.write_all(b"GET / HTTP/1.1\r\n\r\n").await?; // this is not TLS
    ///     let _alert = reader.read_to_end().await;
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// assert_eq!(*reported.borrow(), ["a TLS handshake failed"]);
    /// ```
    #[doc(alias = "ssl")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
    pub fn tls(mut self, acceptor: impl Into<TlsAcceptor>) -> Self {
        self.tls = Some(TlsRole::Server(acceptor.into()));
        self
    }
}

impl<H> Future for StartServer<H>
where
    H: AsyncFn(StreamReader, StreamWriter) + 'static,
{
    type Output = io::Result<Server>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Server>> {
        let addresses = ready!(self.lookup.poll(cx))?;
        let mut listeners = listen_at_all(addresses.into_vec())?;
        // Reports show this location for the waits of the accepting tasks.
        listeners.iter_mut().for_each(|listener| listener.made_at(self.made_at));
        let handler = self.handler.take().expect("the look-up is ready once");
        #[cfg(feature = "tls")]
        let service = Service { handler, tls: self.tls.take() };
        #[cfg(not(feature = "tls"))]
        let service = Service::new(handler);
        Poll::Ready(Server::start_tcp(listeners, service))
    }
}

impl<H> fmt::Debug for StartServer<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StartServer").field(&self.lookup).finish()
    }
}

/// Listens at each address that this machine has.
#[track_caller]
fn listen_at_all(mut addresses: Vec<SocketAddr>) -> io::Result<Vec<TcpListener>> {
    if let [address] = addresses[..] {
        return Ok(vec![TcpListener::bind_alone(&address)?]);
    }
    remove_duplicates(&mut addresses);
    let (mut listeners, mut skipped) = (Vec::new(), Vec::new());
    for address in addresses {
        match TcpListener::bind_beside_others(&address) {
            Ok(listener) => listeners.push(listener),
            // The family is not enabled, as asyncio assumes too.
            Err(error) if is_not_here(&error) => skipped.push((address, error)),
            Err(error) => return Err(AddressErrors::at(address, error)),
        }
    }
    if listeners.is_empty() { Err(AddressErrors::of(skipped)) } else { Ok(listeners) }
}

/// Whether this machine does not have the address, or its family.
fn is_not_here(error: &io::Error) -> bool {
    let number = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(number, Some(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT))
}

/// Like [`start_server`], on an existing listener. [`TcpListener::from_std`] converts a listener
/// that was inherited, or a socket with special options.
///
/// asyncio: `start_server(callback, sock=..)`.
///
/// # Errors
///
/// If the listener has no address any more.
///
/// # Panics
///
/// If no loop is running on this thread, or if the listener belongs to another loop.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, net};
///
/// EventLoop::new().run(async {
///     let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
///     let listener = net::TcpListener::from_std(listener)?;
///     let server = net::start_server_on(listener, async |_, mut writer| {
///         writer.write_all(b"welcome").await.unwrap();
///     })?;
///     let (mut reader, _writer) = net::open_connection(server.local_addr()?).await?;
///     assert_eq!(reader.read_to_end().await?, b"welcome");
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
#[doc(alias = "start_server")]
#[track_caller]
pub fn start_server_on<H>(listener: TcpListener, handler: H) -> io::Result<Server>
where
    H: AsyncFn(StreamReader, StreamWriter) + 'static,
{
    listener.as_async().check_loop("start_server_on()");
    Server::start_tcp(vec![listener], Service::new(handler))
}

/// Listens at a path, where it creates a file. The file is removed when the server is closed.
/// Otherwise like [`start_server`].
///
/// asyncio: `start_unix_server(callback, path)`.
///
/// # Errors
///
/// The errors of [`UnixListener::bind`]. An existing file is not removed, even if its server has
/// ended.
///
/// # Panics
///
/// If no loop is running on this thread.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, net};
///
/// # let path = std::env::temp_dir().join(format!("onelane-start-unix-{}", std::process::id()));
/// EventLoop::new().run(async {
///     let server = net::start_unix_server(&path, async |mut reader, mut writer| {
///         let question = reader.read_line().await.unwrap();
///         writer.write_all(&question).await.unwrap();
///     })?;
///     let (mut reader, mut writer) = net::open_unix_connection(&path).await?;
///     writer.write_all(b"hello\n").await?;
///     assert_eq!(reader.read_line().await?, b"hello\n");
///     server.close();
///     assert!(!path.exists());
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
#[track_caller]
pub fn start_unix_server<H>(path: impl AsRef<Path>, handler: H) -> io::Result<Server>
where
    H: AsyncFn(StreamReader, StreamWriter) + 'static,
{
    let path = path.as_ref();
    let listener = UnixListener::bind(path)?;
    let name = path.display().to_string();
    let listener = Listener::Unix(listener, SocketFile::at(path));
    Ok(Server::start(vec![(listener, name)], Vec::new(), Service::new(handler)))
}

/// What is done with a connection.
struct Service<H> {
    handler: H,
    /// Speaks TLS first.
    #[cfg(feature = "tls")]
    tls: Option<TlsRole>,
}

impl<H> Service<H>
where
    H: AsyncFn(StreamReader, StreamWriter) + 'static,
{
    fn new(handler: H) -> Self {
        Service {
            handler,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }
}

/// Makes the TLS handshake with a client. Returns whether it has succeeded. A failure is reported to
/// the loop's exception handler, unless the server has closed its connections. The future is in a
/// box, so that the tasks of servers without TLS stay small.
#[cfg(feature = "tls")]
fn shake_hands(reader: &StreamReader, role: &TlsRole, client: Rc<str>) -> Pin<Box<dyn Future<Output = bool>>> {
    let handshake = Handshake::new(reader.connection().clone(), role, Vec::new());
    Box::pin(async move {
        let result = match handshake {
            Ok(handshake) => handshake.await,
            Err(error) => Err(error),
        };
        match result {
            Ok(()) => return true,
            // The server has closed its connections.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => exceptions::handshake_failed(running("a server").id(), format!("{client}: {error}")),
        }
        false
    })
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, #[expect(dead_code, reason = "it removes the file when it is dropped")] Option<SocketFile>),
}

impl Listener {
    /// The next connection, and the peer's address, if it has one.
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        match self {
            Listener::Tcp(listener) => listener
                .poll_accept(cx)
                .map_ok(|(stream, peer)| Accepted { streams: stream.into_streams(), peer: Some(peer) }),
            Listener::Unix(listener, _) => {
                listener.poll_accept(cx).map_ok(|(stream, _)| Accepted { streams: stream.into_streams(), peer: None })
            }
        }
    }
}

struct Accepted {
    streams: (StreamReader, StreamWriter),
    peer: Option<SocketAddr>,
}

/// The file of a Unix socket, which is removed with it.
struct SocketFile {
    path: PathBuf,
    device_and_number: (u64, u64),
}

impl SocketFile {
    fn at(path: &Path) -> Option<Self> {
        // Absolute, because the program may change its folder.
        let path = std::path::absolute(path).ok()?;
        let device_and_number = Self::look(&path)?;
        Some(SocketFile { path, device_and_number })
    }

    fn look(path: &Path) -> Option<(u64, u64)> {
        fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Another program may have created its own file there.
        if Self::look(&self.path) == Some(self.device_and_number) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A server that was started by [`start_server`] or [`start_unix_server`].
///
/// Dropping it does not stop the server, just as dropping a [`Task`](crate::Task) does not stop the
/// task.
///
/// asyncio: `Server`.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, net};
/// use std::net::Ipv4Addr;
///
/// EventLoop::new().run(async {
///     let server = net::start_server((Ipv4Addr::LOCALHOST, 0), async |mut reader, _| {
///         reader.read_to_end().await.unwrap();
///     }).await?;
///     let address = server.local_addr()?;
///     let (_reader, writer) = net::open_connection(address).await?;
///     while server.connections() < 1 {
///         onelane::yield_now().await;
///     }
///     server.close();
///     assert!(net::open_connection(address).await.is_err()); // no listener any more
///     assert_eq!(server.connections(), 1); // but open connections stay
///     writer.close().await?;
///     server.wait_closed().await;
///     assert_eq!(server.connections(), 0);
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
pub struct Server {
    state: Rc<State>,
    addresses: Vec<SocketAddr>,
    /// A task per listener.
    accepting: Rc<[TaskRef]>,
}

struct State {
    name: String,
    /// `None` when the server is closed.
    listeners: RefCell<Option<Rc<[Listener]>>>,
    /// The open connections.
    connections: RefCell<Slab<Weak<Connection>>>,
    /// Set when the server is closed and no connection is left.
    over: Event,
}

impl State {
    fn close(&self) {
        let listeners = self.listeners.take();
        drop(listeners);
        self.look_for_the_end();
    }

    fn look_for_the_end(&self) {
        if self.connections.borrow().is_empty() && self.listeners.borrow().is_none() {
            self.over.set();
        }
    }

    /// Accepts at the listener with this number. `None` when the server is closed.
    fn poll_accept(&self, nth: usize, cx: &mut Context<'_>) -> Poll<Option<io::Result<Accepted>>> {
        let listeners = self.listeners.borrow().clone();
        match listeners {
            Some(listeners) => listeners[nth].poll_accept(cx).map(Some),
            None => Poll::Ready(None),
        }
    }
}

/// Closes the server when an accepting task ends, for whatever reason.
struct Accepting {
    state: Rc<State>,
    /// The number of the task's listener, and the name of it.
    nth: usize,
    name: String,
}

impl Drop for Accepting {
    fn drop(&mut self) {
        self.state.close();
    }
}

/// A connection keeps this as long as it is open. The drop removes the connection from the server.
struct Open {
    state: Rc<State>,
    key: usize,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.state.connections.borrow_mut().remove(self.key);
        self.state.look_for_the_end();
    }
}

/// Accepts until the server is closed.
async fn accept_all<H>(accepting: Accepting, service: Rc<Service<H>>)
where
    H: AsyncFn(StreamReader, StreamWriter) + 'static,
{
    let Accepting { state, nth, name } = &accepting;
    let mut told = false;
    for count in 1_u32.. {
        match poll_fn(|cx| state.poll_accept(*nth, cx)).await {
            None => return,
            Some(Ok(accepted)) => {
                told = false;
                serve(state, name, accepted, service.clone());
            }
            // The peer gave the connection up before it was accepted.
            Some(Err(error)) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Some(Err(error)) => {
                if !std::mem::replace(&mut told, true) {
                    complain(&format_args!("the server at {name} cannot accept: {error}; it tries again every second"));
                }
                sleep(ACCEPT_RETRY_DELAY).await;
            }
        }
        if count % IN_A_ROW == 0 {
            yield_now().await;
        }
    }
}

/// Spawns the task of a connection.
fn serve<H>(state: &Rc<State>, listener: &str, Accepted { streams, peer }: Accepted, service: Rc<Service<H>>)
where
    H: AsyncFn(StreamReader, StreamWriter) + 'static,
{
    let name = match peer {
        Some(peer) => format!("connection from {peer}"),
        None => format!("connection at {listener}"),
    };
    let (reader, writer) = streams;
    let connection = reader.connection();
    let key = state.connections.borrow_mut().insert(Rc::downgrade(connection));
    connection.keep(Box::new(Open { state: state.clone(), key }));
    #[cfg(feature = "tls")]
    let handshake = service.tls.as_ref().map(|role| shake_hands(&reader, role, name.as_str().into()));
    let task = Builder::new().name(name).spawn(async move {
        #[cfg(feature = "tls")]
        if let Some(handshake) = handshake {
            if !handshake.await {
                return;
            }
        }
        (service.handler)(reader, writer).await
    });
    drop(task);
}

impl Server {
    #[track_caller]
    fn start_tcp<H>(listeners: Vec<TcpListener>, service: Service<H>) -> io::Result<Self>
    where
        H: AsyncFn(StreamReader, StreamWriter) + 'static,
    {
        let addresses = listeners.iter().map(TcpListener::local_addr).collect::<io::Result<Vec<_>>>()?;
        let names = addresses.iter().map(SocketAddr::to_string);
        let listeners = listeners.into_iter().map(Listener::Tcp).zip(names).collect();
        Ok(Self::start(listeners, addresses, service))
    }

    /// Starts a server at these listeners, each with its name.
    #[track_caller]
    fn start<H>(listeners: Vec<(Listener, String)>, addresses: Vec<SocketAddr>, service: Service<H>) -> Self
    where
        H: AsyncFn(StreamReader, StreamWriter) + 'static,
    {
        let (listeners, names): (Vec<_>, Vec<_>) = listeners.into_iter().unzip();
        let name = names.join(", ");
        let over = Event::new().named(format!("end of the server at {name}"));
        let listeners = RefCell::new(Some(Rc::from(listeners)));
        let state = Rc::new(State { name, listeners, connections: RefCell::default(), over });
        let service = Rc::new(service);
        let mut accepting = Vec::new();
        for (nth, name) in names.into_iter().enumerate() {
            let task = Builder::new().name(format!("server at {name}"));
            let its = Accepting { state: state.clone(), nth, name };
            accepting.push(task.spawn(accept_all(its, service.clone())).task_ref());
        }
        Server { state, addresses, accepting: accepting.into() }
    }

    /// Returns the address at which it listens, or has listened; the first one of several.
    ///
    /// asyncio: `server.sockets[0].getsockname()`.
    ///
    /// # Errors
    ///
    /// If it is a Unix socket ([`Unsupported`](io::ErrorKind::Unsupported)), which has a path
    /// instead.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net};
    /// use std::net::Ipv4Addr;
    ///
    /// EventLoop::new().run(async {
    ///     let server = net::start_server((Ipv4Addr::LOCALHOST, 0), async |_, _| {}).await.unwrap();
    ///     assert_ne!(server.local_addr().unwrap().port(), 0);
    /// });
    /// ```
    #[doc(alias = "sockets")]
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        let message = "a server at a path has no IP address";
        self.addresses.first().copied().ok_or_else(|| io::Error::new(io::ErrorKind::Unsupported, message))
    }

    /// The addresses at which it listens, or has listened. Empty for a server at a path.
    ///
    /// asyncio: `[socket.getsockname() for socket in server.sockets]`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net};
    ///
    /// EventLoop::new().run(async {
    ///     // All addresses of this machine.
    ///     let server = net::start_server(("", 0), async |_, _| {}).await?;
    ///     for address in server.local_addrs() {
    ///         assert!(address.ip().is_unspecified() && address.port() != 0);
    ///     }
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[doc(alias = "sockets")]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Whether it still listens, that is, was not closed.
    ///
    /// asyncio: `Server.is_serving`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net};
    /// use std::net::Ipv4Addr;
    ///
    /// EventLoop::new().run(async {
    ///     let server = net::start_server((Ipv4Addr::LOCALHOST, 0), async |_, _| {}).await.unwrap();
    ///     assert!(server.is_serving());
    ///     server.close();
    ///     assert!(!server.is_serving());
    /// });
    /// ```
    pub fn is_serving(&self) -> bool {
        self.state.listeners.borrow().is_some()
    }

    /// The number of open connections. A connection is open from its acceptance until its writer is
    /// [closed](StreamWriter::close), until [`close_clients`](Self::close_clients) closes it, or
    /// until both its reader and its writer are dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net};
    /// use std::net::Ipv4Addr;
    ///
    /// EventLoop::new().run(async {
    ///     let server = net::start_server((Ipv4Addr::LOCALHOST, 0), async |_, _| {}).await.unwrap();
    ///     assert_eq!(server.connections(), 0);
    /// });
    /// ```
    pub fn connections(&self) -> usize {
        self.state.connections.borrow().len()
    }

    /// Stops listening immediately: the address is free, and connections that were not accepted are
    /// reset. Accepted connections continue; [`wait_closed`](Self::wait_closed) waits for them.
    /// Does nothing if the server is already closed.
    ///
    /// asyncio: `Server.close`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net};
    /// use std::net::Ipv4Addr;
    ///
    /// EventLoop::new().run(async {
    ///     let server = net::start_server((Ipv4Addr::LOCALHOST, 0), async |_, _| {}).await?;
    ///     server.close();
    ///     net::start_server(server.local_addr()?, async |_, _| {}).await?; // the next one may have it
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn close(&self) {
        close(&self.state, &self.accepting);
    }

    /// Closes all connections that are open, as [`StreamWriter::close`] does. A handler can still
    /// read the data that has arrived, and then the end of the stream; its writes fail. Call
    /// [`close`](Self::close) first, because the server accepts new connections until then.
    ///
    /// asyncio: `Server.close_clients`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net};
    /// use std::net::Ipv4Addr;
    ///
    /// EventLoop::new().run(async {
    ///     let server = net::start_server((Ipv4Addr::LOCALHOST, 0), async |mut reader, _| {
    ///         assert_eq!(reader.read_to_end().await.unwrap(), b""); // the client sends nothing, and stays
    ///     }).await?;
    ///     let (mut reader, _writer) = net::open_connection(server.local_addr()?).await?;
    ///     while server.connections() == 0 {
    ///         onelane::yield_now().await;
    ///     }
    ///     server.close();
    ///     server.close_clients();
    ///     server.wait_closed().await;
    ///     assert_eq!(reader.read_to_end().await?, b"");
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn close_clients(&self) {
        self.each_connection(Connection::close);
    }

    /// Like [`close_clients`](Self::close_clients), but when a handler drops its reader and its
    /// writer, the system discards the data that it has not sent yet, and resets the connection.
    /// The peer sees the reset, unless it has read to the end before.
    ///
    /// asyncio: `Server.abort_clients`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net};
    /// use std::net::Ipv4Addr;
    ///
    /// EventLoop::new().run(async {
    ///     let server = net::start_server((Ipv4Addr::LOCALHOST, 0), async |_, mut writer| {
    ///         // The client does not read.
    ///         while writer.write_all(&[0; 100_000]).await.is_ok() {}
    ///     }).await?;
    ///     let _client = net::open_connection(server.local_addr()?).await?;
    ///     while server.connections() == 0 {
    ///         onelane::yield_now().await;
    ///     }
    ///     server.close();
    ///     server.abort_clients();
    ///     server.wait_closed().await;
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn abort_clients(&self) {
        self.each_connection(Connection::abort);
    }

    /// Calls `act` for each connection that is open now. An error of `act` is ignored: that
    /// connection is already lost, and its handler gets an error.
    fn each_connection(&self, act: fn(&Connection) -> io::Result<()>) {
        let connections: Vec<_> =
            self.state.connections.borrow().iter().filter_map(|(_, connection)| connection.upgrade()).collect();
        connections.iter().for_each(|connection| drop(act(connection)));
    }

    /// Waits until the server is closed and the last of its connections is closed. It also waits
    /// for a connection whose handler has returned, if its reader or its writer is still alive. It
    /// does not wait for a handler that continues after its connection is closed.
    ///
    /// Cancel safety: nothing is lost.
    ///
    /// asyncio: `Server.wait_closed`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net};
    /// use std::net::Ipv4Addr;
    ///
    /// EventLoop::new().run(async {
    ///     let server = net::start_server((Ipv4Addr::LOCALHOST, 0), async |_, _| {}).await?;
    ///     server.close();
    ///     server.wait_closed().await;
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[track_caller]
    pub fn wait_closed(&self) -> WaitClosed {
        WaitClosed { over: self.state.over.wait() }
    }

    /// Waits until another task closes the server and the last of its connections is closed. If the
    /// task is cancelled, or a timeout around this expires, this closes the server and then waits
    /// until the last connection closes. To end this wait, ask the clients to disconnect, or call
    /// [`close_clients`](Self::close_clients) before cancelling; a second cancellation also ends
    /// it. Dropping this closes the server as well.
    ///
    /// asyncio: `Server.serve_forever`. There it raises `CancelledError` when the server is closed;
    /// here it returns.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net, timeout};
    /// use std::{net::Ipv4Addr, time::Duration};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let server = net::start_server((Ipv4Addr::LOCALHOST, 0), async |_, _| {}).await?;
    ///     let _ = timeout(Duration::from_secs(3600), server.serve_forever()).await;
    ///     assert!(net::open_connection(server.local_addr()?).await.is_err());
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[track_caller]
    pub fn serve_forever(&self) -> ServeForever {
        let closing = Closing { state: self.state.clone(), accepting: self.accepting.clone() };
        let end = CloseAndWait { closing: closing.clone(), over: None };
        ServeForever { serving: on_cancel(self.wait_closed(), end), closing }
    }
}

fn close(state: &State, accepting: &[TaskRef]) {
    state.close();
    // An accepting task may be sleeping because it could not accept.
    for task in accepting {
        task.cancel();
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_closed = self.state.listeners.borrow().is_none();
        let mut debug = f.debug_struct("Server");
        debug.field("at", &self.state.name).field("closed", &is_closed).field("connections", &self.connections());
        debug.finish()
    }
}

/// The future of [`Server::wait_closed`].
///
/// # Examples
///
/// ```
/// use futures_util::FutureExt;
/// use onelane::{EventLoop, net};
/// use std::net::Ipv4Addr;
///
/// EventLoop::new().run(async {
///     let server = net::start_server((Ipv4Addr::LOCALHOST, 0), async |_, _| {}).await.unwrap();
///     assert!(server.wait_closed().now_or_never().is_none());
///     server.close();
///     assert!(server.wait_closed().now_or_never().is_some());
/// });
/// ```
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub struct WaitClosed {
    over: EventWait,
}

impl Future for WaitClosed {
    type Output = ();

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.over).poll(cx)
    }
}

/// The future of [`Server::serve_forever`]. Dropping it closes the server.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, net, spawn, yield_now};
/// use std::{net::Ipv4Addr, rc::Rc};
///
/// EventLoop::new().run(async {
///     let server = Rc::new(net::start_server((Ipv4Addr::LOCALHOST, 0), async |_, _| {}).await.unwrap());
///     let serving = spawn({
///         let server = server.clone();
///         async move { server.serve_forever().await }
///     });
///     yield_now().await;
///     server.close();
///     assert_eq!(serving.await, Ok(()));
/// });
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct ServeForever {
    serving: OnCancel<WaitClosed, CloseAndWait>,
    closing: Closing,
}

impl Future for ServeForever {
    type Output = ();

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.serving).poll(cx)
    }
}

impl Drop for ServeForever {
    fn drop(&mut self) {
        self.closing.close();
    }
}

impl fmt::Debug for ServeForever {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServeForever").field("at", &self.closing.state.name).finish_non_exhaustive()
    }
}

#[derive(Clone)]
struct Closing {
    state: Rc<State>,
    accepting: Rc<[TaskRef]>,
}

impl Closing {
    fn close(&self) {
        close(&self.state, &self.accepting);
    }
}

/// Closes a server at its first poll.
struct CloseAndWait {
    closing: Closing,
    over: Option<EventWait>,
}

impl Future for CloseAndWait {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let CloseAndWait { closing, over } = &mut *self;
        let over = over.get_or_insert_with(|| {
            closing.close();
            closing.state.over.wait()
        });
        Pin::new(over).poll(cx)
    }
}
