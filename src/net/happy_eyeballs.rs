//! Dialling several addresses, as RFC 8305 ("Happy Eyeballs v2") describes it.
//!
//! ```text
//!   time      0 ms                250 ms             500 ms
//!   [::1]     dial ......................................... dropped
//!   127.0.0.1                     dial ....................X
//!   [::2]                                            dial .. answers: it wins
//! ```
//!
//! The addresses come from a look-up, in the order in which the system prefers them. They are
//! reordered so that the families alternate. The first is dialled at once. While no address has
//! answered, the next one is dialled after a delay, or at once when an attempt fails.
//!
//! All attempts are polled by one future, in the task that awaits it. asyncio spawns a task per
//! attempt; here, nothing is left behind when the future is dropped.
//!
//! Two parts of the RFC have no place here. It delays the first attempt by 50 ms, so that IPv6
//! addresses which are looked up separately may arrive; `getaddrinfo` returns both families at
//! once. And the order inside a family (RFC 6724) is the resolver's.

use crate::time::sleep::{Sleep, sleep};
use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use std::vec;

/// How long a connection may take before the next address is dialled too. RFC 8305 recommends this
/// value.
pub const HAPPY_EYEBALLS_DELAY: Duration = Duration::from_millis(250);

/// How many addresses of the preferred family are dialled before one of the other. RFC 8305
/// recommends this value; asyncio has it too, if it dials in this way.
const FIRST_FAMILY: usize = 1;

/// Dials addresses with `dial` until one succeeds. Returns its result, and drops the other
/// attempts.
///
/// First the addresses are reordered so that their families, IPv4 and IPv6, alternate; the first
/// address stays the first. Then `dial` is called for one after the other: the next time after
/// [`HAPPY_EYEBALLS_DELAY`], or as soon as an attempt fails. The earlier attempts continue.
///
/// [`TcpStream::connect`](crate::net::TcpStream::connect) does this already. Use it if more than
/// TCP is needed before an address counts as good, for example the handshake of TLS, or for another
/// protocol.
///
/// Cancel safety: dropping it drops all attempts.
///
/// asyncio: `staggered_race`, which is what `create_connection(happy_eyeballs_delay=)` uses.
///
/// # Errors
///
/// If all attempts fail: with one address, its error. With several, an [`AddressErrors`] that
/// contains all of them, with the kind of the last. If there is no address
/// ([`InvalidInput`](ErrorKind::InvalidInput)).
///
/// # Panics
///
/// When polled, if no loop is running on this thread and a delay begins. After it was ready.
///
/// # Cost
///
/// One allocation per attempt, and a timer per delay. Each poll polls all running attempts.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, net::{TcpStream, happy_eyeballs}};
/// use std::net::TcpListener;
///
/// let listener = TcpListener::bind("127.0.0.1:0").unwrap();
/// let open = listener.local_addr().unwrap();
/// let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
///
/// EventLoop::new().run(async {
///     let greet = async |address| {
///         let stream = TcpStream::connect(address).await?;
///         // Here a handshake could follow.
///         Ok(stream)
///     };
///     let stream = happy_eyeballs([closed, open], greet).await?;
///     assert_eq!(stream.peer_addr()?, open);
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
#[doc(alias = "staggered_race")]
pub fn happy_eyeballs<D, F, T>(addresses: impl IntoIterator<Item = SocketAddr>, dial: D) -> HappyEyeballs<D, F>
where
    D: FnMut(SocketAddr) -> F,
    F: Future<Output = io::Result<T>>,
{
    let addresses = Addresses::Unsorted(addresses.into_iter().collect());
    let options = Options::default();
    HappyEyeballs { dial, addresses, options, pause: None, attempts: Vec::new(), errors: Vec::new(), is_over: false }
}

/// How several addresses are dialled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    pub(super) delay: Option<Duration>,
    pub(super) first_family: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options { delay: Some(HAPPY_EYEBALLS_DELAY), first_family: FIRST_FAMILY }
    }
}

/// The future of [`happy_eyeballs`].
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, net::{HAPPY_EYEBALLS_DELAY, happy_eyeballs}, sleep, time};
/// use std::{io, net::SocketAddr};
///
/// EventLoop::with_virtual_clock().run(async {
///     let begun = time();
///     let addresses: [SocketAddr; 2] = ["[::1]:80".parse().unwrap(), "127.0.0.1:80".parse().unwrap()];
///     let dial = async |address: SocketAddr| {
///         if address.is_ipv6() {
///             std::future::pending::<()>().await; // no answer
///         }
///         Ok(address)
///     };
///     assert_eq!(happy_eyeballs(addresses, dial).await?, addresses[1]);
///     assert_eq!(time() - begun, HAPPY_EYEBALLS_DELAY);
///     Ok::<(), io::Error>(())
/// })
/// # .unwrap();
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct HappyEyeballs<D, F> {
    dial: D,
    addresses: Addresses,
    options: Options,
    /// The time until the next address is dialled. `None` if there is none, or no delay.
    pause: Option<Sleep>,
    attempts: Vec<(SocketAddr, Pin<Box<F>>)>,
    errors: Vec<(SocketAddr, io::Error)>,
    is_over: bool,
}

enum Addresses {
    Unsorted(Vec<SocketAddr>),
    /// Those that were not dialled yet.
    Sorted(vec::IntoIter<SocketAddr>),
}

// It pins nothing: the attempts are in boxes.
impl<D, F> Unpin for HappyEyeballs<D, F> {}

impl<D, F> HappyEyeballs<D, F> {
    /// Sets how long an attempt may take before the next address is dialled. With `None`, the next
    /// address is dialled only when an attempt fails. The default is [`HAPPY_EYEBALLS_DELAY`]. RFC
    /// 8305 allows 10 ms to 2 s for connections over the internet; a shorter delay burdens the
    /// network.
    ///
    /// asyncio: `happy_eyeballs_delay`, where `None` is the default.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::happy_eyeballs, sleep, time};
    /// use std::{io, net::SocketAddr, time::Duration};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let begun = time();
    ///     let slow_refusal = async |_| {
    ///         sleep(Duration::from_secs(1)).await;
    ///         Err::<(), _>(io::ErrorKind::ConnectionRefused.into())
    ///     };
    ///     let addresses: [SocketAddr; 2] = ["[::1]:80".parse().unwrap(), "127.0.0.1:80".parse().unwrap()];
    ///     assert!(happy_eyeballs(addresses, slow_refusal).delay(None).await.is_err());
    ///     assert_eq!(time() - begun, Duration::from_secs(2)); // one after the other
    /// });
    /// ```
    pub fn delay(mut self, delay: impl Into<Option<Duration>>) -> Self {
        self.options.delay = delay.into();
        self
    }

    /// Sets how many addresses of the first family are dialled before the families alternate. With
    /// 0, the addresses keep their order. The default is 1.
    ///
    /// asyncio: `interleave`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::happy_eyeballs};
    /// use std::{cell::RefCell, io, net::SocketAddr};
    ///
    /// EventLoop::new().run(async {
    ///     let addresses = ["[::1]:1", "[::1]:2", "[::1]:3", "127.0.0.1:4"].map(|text| text.parse::<SocketAddr>().unwrap());
    ///     for (interleave, order) in [(0, [1, 2, 3, 4]), (1, [1, 4, 2, 3]), (2, [1, 2, 4, 3])] {
    ///         let dialled = RefCell::new(Vec::new());
    ///         let refuse = async |address: SocketAddr| {
    ///             dialled.borrow_mut().push(address.port());
    ///             Err::<(), _>(io::ErrorKind::ConnectionRefused.into())
    ///         };
    ///         assert!(happy_eyeballs(addresses, refuse).interleave(interleave).await.is_err());
    ///         assert_eq!(dialled.take(), order);
    ///     }
    /// });
    /// ```
    pub fn interleave(mut self, first_family: usize) -> Self {
        self.options.first_family = first_family;
        self
    }

    pub(super) fn with(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// The next address to dial.
    fn next(&mut self) -> Option<SocketAddr> {
        if let Addresses::Unsorted(addresses) = &mut self.addresses {
            let sorted = interleave(std::mem::take(addresses), self.options.first_family);
            self.addresses = Addresses::Sorted(sorted.into_iter());
        }
        match &mut self.addresses {
            Addresses::Sorted(left) => left.next(),
            Addresses::Unsorted(_) => None,
        }
    }

    fn is_last(&self) -> bool {
        matches!(&self.addresses, Addresses::Sorted(left) if left.len() == 0)
    }
}

impl<D, F, T> Future for HappyEyeballs<D, F>
where
    D: FnMut(SocketAddr) -> F,
    F: Future<Output = io::Result<T>>,
{
    type Output = io::Result<T>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let this = &mut *self;
        assert!(!this.is_over, "a happy_eyeballs() was polled after it was ready; keep the result of the first await");
        // Attempts before this one were already polled in here.
        let mut first = 0;
        loop {
            let mut has_failed = false;
            while let Some((address, attempt)) = this.attempts.get_mut(first) {
                match attempt.as_mut().poll(cx) {
                    Poll::Pending => first += 1,
                    Poll::Ready(Ok(winner)) => {
                        this.is_over = true;
                        this.pause = None;
                        this.attempts.clear();
                        return Poll::Ready(Ok(winner));
                    }
                    Poll::Ready(Err(error)) => {
                        has_failed = true;
                        this.errors.push((*address, error));
                        drop(this.attempts.remove(first));
                    }
                }
            }
            let is_due = match &mut this.pause {
                _ if has_failed || this.attempts.is_empty() => true,
                Some(pause) => Pin::new(pause).poll(cx).is_ready(),
                None => false,
            };
            if !is_due {
                return Poll::Pending;
            }
            this.pause = None;
            match this.next() {
                Some(address) => {
                    let attempt = Box::pin((this.dial)(address));
                    this.attempts.push((address, attempt));
                    if let Some(delay) = this.options.delay.filter(|_| !this.is_last()) {
                        this.pause = Some(sleep(delay));
                    }
                }
                None if this.attempts.is_empty() => {
                    this.is_over = true;
                    return Poll::Ready(Err(AddressErrors::of(std::mem::take(&mut this.errors))));
                }
                None => return Poll::Pending,
            }
        }
    }
}

impl<D, F> fmt::Debug for HappyEyeballs<D, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let attempts: Vec<_> = self.attempts.iter().map(|(address, _)| address).collect();
        let left = match &self.addresses {
            Addresses::Unsorted(addresses) => addresses.as_slice(),
            Addresses::Sorted(left) => left.as_slice(),
        };
        let mut debug = f.debug_struct("HappyEyeballs");
        debug.field("attempts", &attempts).field("failed", &self.errors).field("left", &left).finish()
    }
}

/// Reorders the addresses so that the families alternate, after `first_family` addresses of the
/// first one. Inside a family, the order stays.
fn interleave(addresses: Vec<SocketAddr>, first_family: usize) -> Vec<SocketAddr> {
    let (Some(first), true) = (addresses.first(), first_family > 0) else { return addresses };
    let is_first = first.is_ipv6();
    let (mut first, second): (Vec<_>, Vec<_>) = addresses.iter().partition(|address| address.is_ipv6() == is_first);
    let rest = first.split_off((first_family - 1).min(first.len()));
    let (mut rest, mut second) = (rest.into_iter(), second.into_iter());
    let mut order = first;
    loop {
        let before = order.len();
        order.extend(rest.next());
        order.extend(second.next());
        if order.len() == before {
            return order;
        }
    }
}

/// The errors of all addresses of a host. Such an [`io::Error`] contains this.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, net::{AddressErrors, TcpStream}};
/// use std::{io::ErrorKind, net::TcpListener};
///
/// // Two addresses where nobody listens.
/// let addresses = [0, 0].map(|port| TcpListener::bind(("127.0.0.1", port)).unwrap());
/// let addresses = addresses.map(|listener| listener.local_addr().unwrap());
///
/// EventLoop::new().run(async {
///     let error = TcpStream::connect(addresses).await.unwrap_err();
///     assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
///     let errors = error.downcast::<AddressErrors>().unwrap();
///     assert_eq!(errors.errors().len(), 2);
///     assert_eq!(errors.errors()[0].0, addresses[0]);
/// });
/// ```
#[derive(Debug)]
pub struct AddressErrors {
    errors: Vec<(SocketAddr, io::Error)>,
}

impl AddressErrors {
    /// The error of the only address, or all of them.
    pub(super) fn of(mut errors: Vec<(SocketAddr, io::Error)>) -> io::Error {
        let Some((_, last)) = errors.last() else {
            return io::Error::new(ErrorKind::InvalidInput, "the list of addresses is empty; pass at least one");
        };
        let kind = last.kind();
        match errors.len() {
            1 => errors.swap_remove(0).1,
            _ => io::Error::new(kind, AddressErrors { errors }),
        }
    }

    /// The error of one of several addresses.
    pub(super) fn at(address: SocketAddr, error: io::Error) -> io::Error {
        io::Error::new(error.kind(), AddressErrors { errors: vec![(address, error)] })
    }

    /// The addresses and their errors, in the order in which they failed. A server that
    /// could not listen at one of its addresses reports only that one.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::{AddressErrors, UdpSocket}};
    ///
    /// EventLoop::new().run(async {
    ///     // Two addresses that are in use.
    ///     let others = [0, 0].map(|port| std::net::UdpSocket::bind(("127.0.0.1", port)).unwrap());
    ///     let addresses = others.each_ref().map(|other| other.local_addr().unwrap());
    ///     let error = UdpSocket::bind(addresses).await.unwrap_err();
    ///     let errors = error.downcast::<AddressErrors>().unwrap();
    ///     let failed: Vec<_> = errors.errors().iter().map(|(address, _)| *address).collect();
    ///     assert_eq!(failed, addresses);
    /// });
    /// ```
    pub fn errors(&self) -> &[(SocketAddr, io::Error)] {
        &self.errors
    }
}

impl fmt::Display for AddressErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, (address, error)) in self.errors.iter().enumerate() {
            let separator = if nth == 0 { "" } else { "; " };
            write!(f, "{separator}{address}: {error}")?;
        }
        Ok(())
    }
}

impl Error for AddressErrors {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.errors.last().map(|(_, error)| error as &(dyn Error + 'static))
    }
}
