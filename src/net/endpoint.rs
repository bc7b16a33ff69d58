//! Where to connect to, or to listen at: [`Endpoint`], and the types that stand for one.
//!
//! An endpoint is either numeric, or a name with a port. Nothing is looked up here; `lookup.rs`
//! does that.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Where to connect to, or to listen at: addresses, or a name and a port.
///
/// Most programs do not need this type. It is for types of your own that implement
/// [`ToSocketAddrs`].
///
/// asyncio: the arguments `host` and `port`.
///
/// # Examples
///
/// ```
/// use onelane::net::Endpoint;
///
/// assert_eq!(Endpoint::new("example.org", 443).unwrap().to_string(), "example.org:443");
/// assert_eq!(Endpoint::new("::1", 443).unwrap().to_string(), "[::1]:443");
/// assert!(Endpoint::new("example\0.org", 443).is_err());
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Endpoint {
    kind: Kind,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Kind {
    Numeric(Addresses),
    /// A name to be looked up. It contains no NUL. An empty name stands for all local addresses, if
    /// a server listens there.
    Name(Box<str>, u16),
}

/// One address, which is not on the heap, or any number.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Addresses {
    One(SocketAddr),
    Several(Vec<SocketAddr>),
}

impl Addresses {
    pub(super) fn as_slice(&self) -> &[SocketAddr] {
        match self {
            Addresses::One(address) => std::slice::from_ref(address),
            Addresses::Several(addresses) => addresses,
        }
    }

    pub(super) fn into_vec(self) -> Vec<SocketAddr> {
        match self {
            Addresses::One(address) => vec![address],
            Addresses::Several(addresses) => addresses,
        }
    }
}

impl Endpoint {
    /// A host and a port. The host is an IPv4 address, an IPv6 address without brackets, or a name,
    /// which is looked up when the endpoint is used.
    ///
    /// Names outside ASCII must be written in their ASCII form (`xn--..`), unless the resolver
    /// converts them. The empty name is for servers: [`start_server`](crate::net::start_server())
    /// then listens at all local addresses, of IPv4 and IPv6.
    ///
    /// # Errors
    ///
    /// If the name contains a NUL ([`InvalidInput`](ErrorKind::InvalidInput)).
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::{self, Endpoint}};
    ///
    /// EventLoop::new().run(async {
    ///     let addresses = net::lookup_host(Endpoint::new("127.0.0.1", 80)?).await?;
    ///     assert_eq!(addresses, ["127.0.0.1:80".parse().unwrap()]);
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn new(host: &str, port: u16) -> io::Result<Self> {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(SocketAddr::new(ip, port).into());
        }
        if host.contains('\0') {
            return Err(invalid(format!("the host name {host:?} contains a NUL, which no name may contain")));
        }
        Ok(Endpoint { kind: Kind::Name(host.into(), port) })
    }

    /// A numeric address, or a name and a port after the last colon.
    fn parse(text: &str) -> io::Result<Self> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(address.into());
        }
        let cure = "write host:port, such as \"example.org:443\" or \"[::1]:443\", or pass (host, port)";
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err(invalid(format!("the address {text:?} has no port; {cure}")));
        };
        if host.contains([':', '[', ']']) {
            return Err(invalid(format!(
                "the address {text:?} is neither an IPv6 address in brackets nor a name; {cure}"
            )));
        }
        // `parse` alone would accept a sign.
        let digits = Some(port).filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
        let Some(port) = digits.and_then(|port| port.parse().ok()) else {
            return Err(invalid(format!("the port {port:?} of {text:?} is not a number from 0 to 65535")));
        };
        Endpoint::new(host, port)
    }

    /// The name, or the address, that a certificate for this endpoint has. Several addresses have
    /// none.
    #[cfg(feature = "tls")]
    pub(super) fn host(&self) -> Option<Box<str>> {
        match &self.kind {
            Kind::Name(host, _) => Some(host.clone()),
            Kind::Numeric(Addresses::One(address)) => Some(address.ip().to_string().into()),
            Kind::Numeric(Addresses::Several(_)) => None,
        }
    }

    pub(super) fn into_kind(self) -> Kind {
        self.kind
    }
}

fn invalid(message: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, message)
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Endpoint { kind: Kind::Numeric(Addresses::One(address)) }
    }
}

/// Several addresses of one host. A connection is tried at each of them, as it is at the addresses
/// of a name.
impl From<Vec<SocketAddr>> for Endpoint {
    fn from(addresses: Vec<SocketAddr>) -> Self {
        Endpoint { kind: Kind::Numeric(Addresses::Several(addresses)) }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Name(host, port) => write!(f, "{host}:{port}"),
            Kind::Numeric(addresses) => {
                for (nth, address) in addresses.as_slice().iter().enumerate() {
                    let comma = if nth == 0 { "" } else { ", " };
                    write!(f, "{comma}{address}")?;
                }
                Ok(())
            }
        }
    }
}

/// What our sockets accept as an address: all that the standard library's trait of the same name
/// accepts.
///
/// | type | example |
/// | --- | --- |
/// | `&str`, `String` | `"example.org:443"`, `"127.0.0.1:0"`, `"[::1]:443"` |
/// | `(&str, u16)`, `(String, u16)` | `("example.org", 443)`, `("::1", 443)` |
/// | the standard library's addresses | `SocketAddr`, `(Ipv4Addr, u16)`, `(IpAddr, u16)`, .. |
/// | several addresses | `[SocketAddr; N]`, `Vec<SocketAddr>`, `&[SocketAddr]` |
/// | [`Endpoint`] | `Endpoint::new("example.org", 443)?` |
///
/// and references to these. Unlike the trait of the standard library, this one does not look up
/// names, which may take seconds. It only says what is to be looked up. The look-up then runs on
/// another thread, while the loop continues; see [`lookup_host`](crate::net::lookup_host()).
///
/// You can implement it for your own types.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, net::{Endpoint, TcpStream, ToSocketAddrs, start_server}};
/// use std::io;
///
/// /// A service in the settings of a program.
/// struct Service {
///     host: String,
///     port: u16,
/// }
///
/// impl ToSocketAddrs for Service {
///     fn to_endpoint(&self) -> io::Result<Endpoint> {
///         Endpoint::new(&self.host, self.port)
///     }
/// }
///
/// EventLoop::new().run(async {
///     let server = start_server("localhost:0", async |_, _| {}).await?;
///     let port = server.local_addr()?.port();
///     TcpStream::connect(Service { host: "localhost".into(), port }).await?;
///     Ok::<(), io::Error>(())
/// })
/// # .unwrap();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an address",
    label = "not an address",
    note = "an address is `\"example.org:443\"`, `(\"example.org\", 443)`, or a `SocketAddr`"
)]
pub trait ToSocketAddrs {
    /// Returns what is to be connected to, or listened at. Called once, when the socket's future is
    /// created; an error is returned by the first poll of that future.
    ///
    /// # Errors
    ///
    /// If this is no address: for example, a string without a port.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::net::ToSocketAddrs;
    ///
    /// assert_eq!("example.org:443".to_endpoint().unwrap(), ("example.org", 443).to_endpoint().unwrap());
    /// let error = "example.org".to_endpoint().unwrap_err();
    /// assert!(error.to_string().starts_with("the address \"example.org\" has no port"));
    /// let error = "example.org:99999".to_endpoint().unwrap_err();
    /// assert_eq!(error.to_string(), "the port \"99999\" of \"example.org:99999\" is not a number from 0 to 65535");
    /// ```
    fn to_endpoint(&self) -> io::Result<Endpoint>;
}

impl<T: ToSocketAddrs + ?Sized> ToSocketAddrs for &T {
    fn to_endpoint(&self) -> io::Result<Endpoint> {
        (**self).to_endpoint()
    }
}

impl ToSocketAddrs for Endpoint {
    fn to_endpoint(&self) -> io::Result<Endpoint> {
        Ok(self.clone())
    }
}

impl ToSocketAddrs for str {
    fn to_endpoint(&self) -> io::Result<Endpoint> {
        Endpoint::parse(self)
    }
}

impl ToSocketAddrs for String {
    fn to_endpoint(&self) -> io::Result<Endpoint> {
        Endpoint::parse(self)
    }
}

impl ToSocketAddrs for (&str, u16) {
    fn to_endpoint(&self) -> io::Result<Endpoint> {
        Endpoint::new(self.0, self.1)
    }
}

impl ToSocketAddrs for (String, u16) {
    fn to_endpoint(&self) -> io::Result<Endpoint> {
        Endpoint::new(&self.0, self.1)
    }
}

/// For types that convert to a `SocketAddr`.
macro_rules! numeric {
    ($($address:ty),*) => {
        $(
            impl ToSocketAddrs for $address {
                fn to_endpoint(&self) -> io::Result<Endpoint> {
                    Ok(SocketAddr::from(*self).into())
                }
            }
        )*
    };
}

numeric!(SocketAddr, SocketAddrV4, SocketAddrV6, (IpAddr, u16), (Ipv4Addr, u16), (Ipv6Addr, u16), ([u8; 4], u16));

impl ToSocketAddrs for [SocketAddr] {
    fn to_endpoint(&self) -> io::Result<Endpoint> {
        Ok(self.to_vec().into())
    }
}

impl<const N: usize> ToSocketAddrs for [SocketAddr; N] {
    fn to_endpoint(&self) -> io::Result<Endpoint> {
        self[..].to_endpoint()
    }
}

impl ToSocketAddrs for Vec<SocketAddr> {
    fn to_endpoint(&self) -> io::Result<Endpoint> {
        self[..].to_endpoint()
    }
}
