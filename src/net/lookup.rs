//! Looking up names: [`lookup_host`], and the [`Resolver`] of a loop.
//!
//! Where does a program say which resolver it wants? We considered two designs:
//!
//! - **At each call**: `TcpStream::connect(..).resolver(&resolver)`. It is explicit. But the call
//!   is often in a library, which would have to pass the resolver on. And the future of each socket
//!   would hold a resolver, so that it could not be sent to another thread, as some libraries ask.
//! - **At the loop**: `EventLoop::builder().resolver(resolver)`. All sockets of the loop use it,
//!   also those of libraries. A test gives its loop a resolver of its own, and does not change the
//!   program.
//!
//! We use the second. A single call needs no parameter for another resolver: all functions accept a
//! list of addresses, so the caller looks the name up, and passes what was found.
//!
//! What is numeric is never passed to a resolver, and is ready at the first poll.

use crate::kernel::callbacks::exceptions::drop_value;
use crate::kernel::table::records::{Awaited, Wait};
use crate::leaf::{Record, running};
use crate::net::endpoint::{Addresses, Endpoint, Kind, ToSocketAddrs};
use crate::net::slots::{Job, SLOTS};
use std::cell::RefCell;
use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};
use std::mem::ManuallyDrop;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::{Arc, Weak as ArcWeak};
use std::task::{Context, Poll, ready};

/// Looks up the addresses of a host. Returns them in the order in which they should be tried,
/// without duplicates, and with the port. There is at least one.
///
/// A numeric address is returned at the first poll. A name is looked up by the loop's
/// [`Resolver`]: usually by the operating system's `getaddrinfo`, on another
/// thread. At most eight such look-ups run at once in a process; further ones wait. These threads
/// are separate from those of `to_thread`, which may all be occupied.
///
/// `connect`, `bind` and similar functions do this themselves. Call it if you need the addresses.
///
/// On a virtual clock, the loop waits for the look-up instead of reporting a deadlock. Its clock
/// still jumps, so a timeout around this expires at once if nothing else is ready.
///
/// Cancel safety: nothing is lost. A look-up that a thread has begun cannot be stopped; its result
/// is dropped. One that waits for a thread leaves the queue. The end of `run` does not wait for it.
///
/// asyncio: `loop.getaddrinfo(host, port)`.
///
/// # Errors
///
/// If the endpoint is malformed or the name is empty ([`InvalidInput`](ErrorKind::InvalidInput)).
/// If the look-up fails: a [`LookupError`], with the kind of the resolver's error. If the name
/// exists and has no addresses ([`NotFound`](ErrorKind::NotFound)). If no thread can be started.
///
/// # Panics
///
/// When polled, if no loop is running on this thread, and after it was ready.
///
/// # Cost
///
/// For a name a few allocations, and two trips between threads; for an address, one allocation.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, net::lookup_host};
///
/// EventLoop::new().run(async {
///     let addresses = lookup_host("localhost:80").await?;
///     assert!(addresses.iter().all(|address| address.ip().is_loopback() && address.port() == 80));
///
///     let error = lookup_host("localhost").await.unwrap_err();
///     assert!(error.to_string().contains("has no port"));
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
#[doc(alias = "getaddrinfo")]
#[doc(alias = "resolve")]
#[track_caller]
pub fn lookup_host(host: impl ToSocketAddrs) -> LookupHost {
    LookupHost { lookup: Lookup::of(&host) }
}

/// The future of [`lookup_host`].
///
/// # Examples
///
/// ```
/// use futures_util::FutureExt;
/// use onelane::{EventLoop, net::lookup_host};
///
/// EventLoop::new().run(async {
///     // An address is ready at once.
///     let addresses = lookup_host("[::1]:80").now_or_never().unwrap()?;
///     assert_eq!(addresses, ["[::1]:80".parse().unwrap()]);
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub struct LookupHost {
    lookup: Lookup,
}

impl Future for LookupHost {
    type Output = io::Result<Vec<SocketAddr>>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(ready!(self.lookup.poll(cx))?.into_vec()))
    }
}

// ---- the look-up inside other futures ----

/// The addresses of an endpoint. There is at least one.
pub(super) struct Lookup {
    stage: Stage,
}

enum Stage {
    Failed(io::Error),
    Numeric(Addresses),
    Name(Box<str>, u16),
    Asking(Box<str>, Lookups),
    Over,
}

impl Lookup {
    pub(super) fn of(host: &impl ToSocketAddrs) -> Self {
        Self::from(host.to_endpoint())
    }

    /// Like `of`, but an empty name stands for all local addresses.
    pub(super) fn to_listen(host: &impl ToSocketAddrs) -> Self {
        let mut this = Self::of(host);
        if let Stage::Name(host, port) = &this.stage {
            if host.is_empty() {
                let all = vec![(Ipv4Addr::UNSPECIFIED, *port).into(), (Ipv6Addr::UNSPECIFIED, *port).into()];
                this.stage = Stage::Numeric(Addresses::Several(all));
            }
        }
        this
    }

    fn from(endpoint: io::Result<Endpoint>) -> Self {
        let stage = match endpoint.map(Endpoint::into_kind) {
            Err(error) => Stage::Failed(error),
            Ok(Kind::Numeric(addresses)) => Stage::Numeric(addresses),
            Ok(Kind::Name(host, port)) => Stage::Name(host, port),
        };
        Lookup { stage }
    }

    #[track_caller]
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Addresses>> {
        let (host, mut asking) = match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Failed(error) => return Poll::Ready(Err(error)),
            Stage::Numeric(addresses) if addresses.as_slice().is_empty() => {
                let message = "the list of addresses is empty; pass at least one";
                return Poll::Ready(Err(io::Error::new(ErrorKind::InvalidInput, message)));
            }
            Stage::Numeric(addresses) => return Poll::Ready(Ok(addresses)),
            Stage::Name(host, _) if host.is_empty() => {
                let message = "the host name is empty; only start_server() accepts that, and listens everywhere";
                return Poll::Ready(Err(io::Error::new(ErrorKind::InvalidInput, message)));
            }
            Stage::Name(host, port) => {
                let asking = match resolver(running("poll() of a look-up").id()) {
                    Some(resolver) => resolver.lookup(&host, port),
                    None => SystemResolver.lookup(&host, port),
                };
                (host, asking)
            }
            Stage::Asking(host, asking) => (host, asking),
            Stage::Over => panic!("a look-up was polled after it was ready; keep the result of the first await"),
        };
        let Poll::Ready(found) = asking.as_mut().poll(cx) else {
            self.stage = Stage::Asking(host, asking);
            return Poll::Pending;
        };
        let mut found = found.map_err(|error| LookupError::from(&host, error))?;
        remove_duplicates(&mut found);
        Poll::Ready(match found[..] {
            [] => Err(io::Error::new(ErrorKind::NotFound, format!("the host {host:?} has no addresses"))),
            [address] => Ok(Addresses::One(address)),
            _ => Ok(Addresses::Several(found)),
        })
    }
}

/// Keeps the first of equal addresses. A file of hosts may contain a name twice.
pub(super) fn remove_duplicates(addresses: &mut Vec<SocketAddr>) {
    let mut kept = 0;
    for nth in 0..addresses.len() {
        if !addresses[..kept].contains(&addresses[nth]) {
            addresses[kept] = addresses[nth];
            kept += 1;
        }
    }
    addresses.truncate(kept);
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.stage {
            Stage::Failed(error) => f.debug_tuple("Failed").field(error).finish(),
            Stage::Numeric(addresses) => f.debug_list().entries(addresses.as_slice()).finish(),
            Stage::Name(host, _) => f.debug_tuple("New").field(host).finish(),
            Stage::Asking(host, _) => f.debug_tuple("Asking").field(host).finish(),
            Stage::Over => f.write_str("Over"),
        }
    }
}

/// The name could not be looked up. Such an [`io::Error`] contains this.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, net::{LookupError, TcpStream}};
///
/// EventLoop::new().run(async {
///     let error = TcpStream::connect("no-such-host.invalid:80").await.unwrap_err();
///     let error = error.downcast::<LookupError>().expect("it was not the connection that failed");
///     assert_eq!(error.host(), "no-such-host.invalid");
/// });
/// ```
#[doc(alias = "gaierror")]
#[derive(Debug)]
pub struct LookupError {
    host: Box<str>,
    error: io::Error,
}

impl LookupError {
    fn from(host: &str, error: io::Error) -> io::Error {
        io::Error::new(error.kind(), LookupError { host: host.into(), error })
    }

    /// The name that was looked up.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::{LookupError, lookup_host}};
    ///
    /// EventLoop::new().run(async {
    ///     let error = lookup_host(("no-such-host.invalid", 80)).await.unwrap_err();
    ///     assert!(error.to_string().starts_with("cannot look up \"no-such-host.invalid\": "));
    ///     assert_eq!(error.downcast::<LookupError>().unwrap().host(), "no-such-host.invalid");
    /// });
    /// ```
    pub fn host(&self) -> &str {
        &self.host
    }
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot look up {:?}: {}", self.host, self.error)
    }
}

impl Error for LookupError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}

// ---- resolvers ----

/// The result of a resolver: a future of addresses. It is `Send`, so that the futures of sockets
/// are too; some libraries require that of connections.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, net::Lookups};
///
/// let nothing: Lookups = Box::pin(async { Ok(Vec::new()) });
/// assert_eq!(EventLoop::new().run(nothing).unwrap(), []);
/// ```
pub type Lookups = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// Looks up names for the sockets of a loop, in place of the operating system:
/// [`LoopBuilder::resolver`](crate::LoopBuilder::resolver) sets it.
///
/// Addresses and empty names are not passed to it. A future that is not `Send` needs a wrapper that
/// is, or a task of its own that sends the result.
///
/// asyncio: `loop.getaddrinfo`, which a subclass of the loop may override.
///
/// # Examples
///
/// A resolver with a table, which asks the operating system for other names:
///
/// ```
/// use onelane::{EventLoop, net::{self, Lookups, Resolver, SystemResolver}};
/// use std::{collections::HashMap, net::{IpAddr, Ipv4Addr}};
///
/// struct Table(HashMap<&'static str, IpAddr>);
///
/// impl Resolver for Table {
///     fn lookup(&self, host: &str, port: u16) -> Lookups {
///         match self.0.get(host) {
///             Some(&ip) => Box::pin(async move { Ok(vec![(ip, port).into()]) }),
///             None => SystemResolver.lookup(host, port),
///         }
///     }
/// }
///
/// let table = Table(HashMap::from([("api.test", Ipv4Addr::LOCALHOST.into())]));
/// EventLoop::builder().resolver(table).build().run(async {
///     let server = net::start_server(("api.test", 0), async |_, mut writer| {
///         writer.write_all(b"welcome").await.unwrap();
///     });
///     let port = server.await?.local_addr()?.port();
///     let (mut reader, _writer) = net::open_connection(("api.test", port)).await?;
///     assert_eq!(reader.read_to_end().await?, b"welcome");
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
pub trait Resolver {
    /// Returns a future of the addresses of `host`, in the order in which they should be tried,
    /// each with the port.
    ///
    /// An empty list means that the name exists without addresses. Called in the loop, when a
    /// look-up is polled first.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::{Resolver, SystemResolver}};
    ///
    /// let addresses = EventLoop::new().run(SystemResolver.lookup("localhost", 80)).unwrap();
    /// assert_eq!(addresses[0].port(), 80);
    /// ```
    fn lookup(&self, host: &str, port: u16) -> Lookups;
}

impl<R: Resolver + ?Sized> Resolver for Rc<R> {
    fn lookup(&self, host: &str, port: u16) -> Lookups {
        (**self).lookup(host, port)
    }
}

/// The default resolver: the operating system's `getaddrinfo`, on threads of its own. See
/// [`lookup_host`].
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, net::{SystemResolver, lookup_host}};
///
/// // The same as without `resolver`.
/// let event_loop = EventLoop::builder().resolver(SystemResolver).build();
/// assert!(event_loop.run(lookup_host("localhost:80")).is_ok());
/// ```
#[derive(Clone, Copy, Default, Debug)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    #[track_caller]
    fn lookup(&self, host: &str, port: u16) -> Lookups {
        Box::pin(Query { stage: QueryStage::New(host.into(), port), record: Record::here() })
    }
}

/// A look-up by the system.
struct Query {
    stage: QueryStage,
    record: Record,
}

enum QueryStage {
    New(Box<str>, u16),
    Out(Arc<Job>),
    Over,
}

impl Future for Query {
    type Output = io::Result<Vec<SocketAddr>>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        match &this.stage {
            QueryStage::New(host, port) => {
                let job = SLOTS.begin(host, *port, cx.waker());
                this.stage = QueryStage::Over;
                this.stage = QueryStage::Out(job?);
            }
            QueryStage::Out(job) => {
                if let Poll::Ready(found) = job.poll(cx) {
                    this.record.end();
                    this.stage = QueryStage::Over;
                    forget_ended();
                    return Poll::Ready(found);
                }
            }
            QueryStage::Over => panic!("a look-up was polled after it was ready; keep the result of the first await"),
        }
        if let QueryStage::Out(job) = &this.stage {
            // Not in the closure, which must only copy a reference (`begin_wait`).
            let asked = describe(job);
            this.record.begin(|| Wait::On(asked));
        }
        Poll::Pending
    }
}

impl Drop for Query {
    fn drop(&mut self) {
        self.record.end();
        if let QueryStage::Out(job) = std::mem::replace(&mut self.stage, QueryStage::Over) {
            SLOTS.give_up(&job);
            forget_ended();
        }
    }
}

/// The object of the wait, for reports.
struct Asked {
    job: ArcWeak<Job>,
}

impl Awaited for Asked {
    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.job.upgrade() {
            Some(job) => write!(f, "the addresses of {:?}", job.host),
            None => f.write_str("the addresses of a host"),
        }
    }
}

type Resolvers = Vec<(u64, Rc<dyn Resolver>)>;

thread_local! {
    /// The resolvers of this thread's loops, by the loop's id. Without a destructor, like all
    /// thread-locals here. Removing the last one frees the memory.
    static RESOLVERS: ManuallyDrop<RefCell<Resolvers>> =
        const { ManuallyDrop::new(RefCell::new(Vec::new())) };

    /// The objects of the waits for look-ups. They cannot be in the futures, which are `Send`. A
    /// future that ends on another thread leaves its object here, and the end of the next look-up
    /// removes it.
    static ASKED: ManuallyDrop<RefCell<Vec<Rc<Asked>>>> =
        const { ManuallyDrop::new(RefCell::new(Vec::new())) };
}

/// The object of the wait for a look-up. Each poll calls this, so it is made only once.
fn describe(job: &Arc<Job>) -> Weak<dyn Awaited> {
    ASKED.with(|all| {
        let mut all = all.borrow_mut();
        if let Some(asked) = all.iter().find(|asked| asked.job.as_ptr() == Arc::as_ptr(job)) {
            return Rc::downgrade(asked) as Weak<dyn Awaited>;
        }
        let asked = Rc::new(Asked { job: Arc::downgrade(job) });
        let weak = Rc::downgrade(&asked);
        all.push(asked);
        weak
    })
}

/// Removes the objects whose look-ups have ended. Their destructors run no user code.
fn forget_ended() {
    ASKED.with(|all| {
        let mut all = all.borrow_mut();
        all.retain(|asked| asked.job.upgrade().is_some_and(|job| job.is_wanted()));
        if all.is_empty() {
            *all = Vec::new();
        }
    });
}

/// The resolver of a loop, or `None` for the system's.
fn resolver(loop_id: u64) -> Option<Rc<dyn Resolver>> {
    RESOLVERS.with(|all| all.borrow().iter().find(|(id, _)| *id == loop_id).map(|(_, resolver)| resolver.clone()))
}

pub(crate) fn set_resolver(loop_id: u64, resolver: Rc<dyn Resolver>) {
    RESOLVERS.with(|all| all.borrow_mut().push((loop_id, resolver)));
}

/// Called when the loop is dropped.
pub(crate) fn remove_resolver(loop_id: u64) {
    let removed = RESOLVERS.with(|all| {
        let mut all = all.borrow_mut();
        let place = all.iter().position(|(id, _)| *id == loop_id)?;
        let (_, resolver) = all.remove(place);
        if all.is_empty() {
            *all = Vec::new();
        }
        Some(resolver)
    });
    // Its destructor is user code.
    drop_value(removed);
}
