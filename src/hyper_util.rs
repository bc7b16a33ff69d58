//! hyper-util's client with a pool of connections, with the feature `hyper-util`.
//!
//! [`Connector`] makes the connections of `hyper_util::client::legacy::Client`. For that, [`TcpStream`],
//! [`UnixStream`] and each [`Async`] implement [`Connection`]. Only this crate or hyper-util can
//! implement it for them. [`LoopExecutor`](crate::hyper::LoopExecutor) spawns the client's tasks,
//! and [`LoopTimer`](crate::hyper::LoopTimer) is the clock of its pool.
//!
//! hyper-util's servers need only the feature `hyper`: `server::conn::auto::Builder` takes our
//! sockets and the same executor.
//!
//! The client and the future of the connector must be `Send`. Ours are, so nothing needs
//! [`local`](crate::local). A connector of your own may need it.
//!
//! Programs: `examples/works-with/src/bin/hyper_util_client.rs`, and `hyper_util_server.rs` beside
//! it.
//!
//! ```
//! use hyper_util::client::legacy::connect::{Connect, Connection};
//! use onelane::{hyper_util::Connector, net::{TcpStream, UnixStream}};
//!
//! fn is_for_the_pool<Stream: Connection + hyper::rt::Read + hyper::rt::Write + Unpin + Send>() {}
//! is_for_the_pool::<TcpStream>();
//! is_for_the_pool::<UnixStream>();
//! fn is_for_the_client<C: Connect + Clone + Send + Sync>() {}
//! is_for_the_client::<Connector>();
//! ```
//!
//! # Cost
//!
//! The trait stands behind a feature of hyper-util that needs more crates: tokio with `net` and
//! `sync`, socket2, tracing and others. Nothing of tokio's runtime or reactor runs.

use crate::leaf::running;
use crate::net::{Connect, HAPPY_EYEBALLS_DELAY, TcpStream, UnixStream};
use crate::outside::io::Async;
use crate::time::sleep::{Sleep, sleep};
use hyper::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tower_service::Service;

impl Connection for TcpStream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Connection for UnixStream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl<T> Connection for Async<T> {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

/// Connects to the host of a URI, for hyper-util's client.
///
/// A host is looked up and dialled as [`TcpStream::connect`] does it, so the loop's
/// [`Resolver`](crate::net::Resolver) is used. A URI without a port means port 80, with `https` port
/// 443.
///
/// It makes no TLS, so it refuses `https`, unless [`enforce_http(false)`](Self::enforce_http) says
/// that a connector around it does.
///
/// asyncio: none; aiohttp's `TCPConnector`.
///
/// # Errors
///
/// The future returns the errors of [`TcpStream::connect`];
/// [`InvalidInput`](io::ErrorKind::InvalidInput) if the URI has no host, or a scheme that is
/// refused; [`TimedOut`](io::ErrorKind::TimedOut) after the
/// [`connect_timeout`](Self::connect_timeout). The client returns them as the source of its error.
///
/// # Examples
///
/// ```
/// use hyper::Uri;
/// use onelane::{EventLoop, hyper_util::Connector, net::TcpListener};
/// use std::time::Duration;
/// use tower_service::Service;
///
/// EventLoop::new().run(async {
///     let listener = TcpListener::bind("127.0.0.1:0").await?;
///     let uri: Uri = format!("http://{}/", listener.local_addr()?).parse().unwrap();
///     let mut connector = Connector::new().connect_timeout(Duration::from_secs(10));
///     let stream = connector.call(uri).await?;
///     assert_eq!(stream.peer_addr()?, listener.local_addr()?);
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
///
/// With the client, which needs hyper-util's feature `http1`, and the crate http-body-util:
///
/// ```ignore
/// let client = Client::builder(LoopExecutor).pool_timer(LoopTimer).build::<_, Empty<Bytes>>(Connector::new());
/// let response = client.get("http://example.org/".parse()?).await?;
/// ```
#[doc(alias = "HttpConnector")]
#[derive(Clone, Debug)]
pub struct Connector {
    connect_timeout: Option<Duration>,
    happy_eyeballs_delay: Option<Duration>,
    local_addr: Option<SocketAddr>,
    nodelay: bool,
    enforce_http: bool,
}

impl Default for Connector {
    fn default() -> Self {
        Self::new()
    }
}

impl Connector {
    /// Returns a connector without a time limit.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, hyper_util::Connector};
    /// use tower_service::Service;
    ///
    /// EventLoop::new().run(async {
    ///     let nowhere = "http://127.0.0.1:0/".parse().unwrap();
    ///     assert!(Connector::new().call(nowhere).await.is_err());
    /// });
    /// ```
    pub fn new() -> Self {
        Connector {
            connect_timeout: None,
            happy_eyeballs_delay: Some(HAPPY_EYEBALLS_DELAY),
            local_addr: None,
            nodelay: true,
            enforce_http: true,
        }
    }

    /// Sets how long a connection may take, with the look-up of its name. The default is `None`:
    /// as long as the operating system tries.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{Clock, EventLoop, hyper_util::Connector, net::{Lookups, Resolver}};
    /// use std::{future::pending, io::ErrorKind, time::Duration};
    /// use tower_service::Service;
    ///
    /// struct Silent;
    ///
    /// impl Resolver for Silent {
    ///     fn lookup(&self, _host: &str, _port: u16) -> Lookups {
    ///         Box::pin(pending())
    ///     }
    /// }
    ///
    /// EventLoop::builder().clock(Clock::Virtual).resolver(Silent).build().run(async {
    ///     let mut connector = Connector::new().connect_timeout(Duration::from_secs(10));
    ///     let error = connector.call("http://example.org/".parse().unwrap()).await.unwrap_err();
    ///     assert_eq!(error.kind(), ErrorKind::TimedOut);
    ///     assert_eq!(error.to_string(), "no connection for http://example.org/ within 10s");
    /// });
    /// ```
    pub fn connect_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.connect_timeout = limit.into();
        self
    }

    /// Sets the delay of [`Connect::happy_eyeballs_delay`].
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::hyper_util::Connector;
    /// use std::time::Duration;
    ///
    /// let _patient = Connector::new().happy_eyeballs_delay(Duration::from_millis(500));
    /// let _one_by_one = Connector::new().happy_eyeballs_delay(None);
    /// ```
    pub fn happy_eyeballs_delay(mut self, delay: impl Into<Option<Duration>>) -> Self {
        self.happy_eyeballs_delay = delay.into();
        self
    }

    /// Sets the address from which connections are made, as [`Connect::local_addr`] does. Without
    /// it, the operating system chooses.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, hyper_util::Connector, net::TcpListener};
    /// use std::net::Ipv4Addr;
    /// use tower_service::Service;
    ///
    /// EventLoop::new().run(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let uri = format!("http://{}/", listener.local_addr()?).parse().unwrap();
    ///     let mut connector = Connector::new().local_addr((Ipv4Addr::LOCALHOST, 0).into());
    ///     assert!(connector.call(uri).await?.local_addr()?.ip().is_loopback());
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn local_addr(mut self, local: SocketAddr) -> Self {
        self.local_addr = Some(local);
        self
    }

    /// Sets whether connections have `TCP_NODELAY`. The default is `true`, because hyper writes
    /// whole messages; with `false`, the end of a message may wait until the peer has acknowledged
    /// what came before.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, hyper_util::Connector, net::TcpListener};
    /// use tower_service::Service;
    ///
    /// EventLoop::new().run(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let uri: hyper::Uri = format!("http://{}/", listener.local_addr()?).parse().unwrap();
    ///     assert!(Connector::new().call(uri.clone()).await?.nodelay()?);
    ///     assert!(!Connector::new().nodelay(false).call(uri).await?.nodelay()?);
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn nodelay(mut self, nodelay: bool) -> Self {
        self.nodelay = nodelay;
        self
    }

    /// Sets whether each scheme but `http` is refused. The default is `true`. Set it to `false` only
    /// for a connector of TLS around this one, such as hyper-rustls's, which gets a plain connection
    /// for `https`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, hyper_util::Connector, net::TcpListener};
    /// use std::io::ErrorKind;
    /// use tower_service::Service;
    ///
    /// EventLoop::new().run(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let uri: hyper::Uri = format!("https://{}/", listener.local_addr()?).parse().unwrap();
    ///     let error = Connector::new().call(uri.clone()).await.unwrap_err();
    ///     assert_eq!(error.kind(), ErrorKind::InvalidInput);
    ///     Connector::new().enforce_http(false).call(uri).await?; // not encrypted
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn enforce_http(mut self, is_enforced: bool) -> Self {
        self.enforce_http = is_enforced;
        self
    }

    /// The host and the port, or why the URI is refused.
    fn target<'a>(&self, uri: &'a Uri) -> io::Result<(&'a str, u16)> {
        let refused = |why: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{uri} {why}")));
        let scheme = uri.scheme_str().unwrap_or("http");
        if self.enforce_http && scheme != "http" {
            return refused(
                "is not an http URI, and Connector makes no TLS; put a connector of TLS around it, with \
                 enforce_http(false)",
            );
        }
        let Some(host) = uri.host().filter(|host| !host.is_empty()) else {
            return refused("has no host to connect to; a client needs http://HOST/PATH");
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let usual = if scheme == "https" { 443 } else { 80 };
        Ok((host, uri.port_u16().unwrap_or(usual)))
    }
}

impl Service<Uri> for Connector {
    type Response = TcpStream;
    type Error = io::Error;
    type Future = Connecting;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    #[track_caller]
    fn call(&mut self, uri: Uri) -> Connecting {
        drop(running("hyper_util::Connector::call()"));
        let stage = match self.target(&uri) {
            Err(error) => Stage::Refused(error),
            Ok(target) => {
                let mut connect = TcpStream::connect(target).happy_eyeballs_delay(self.happy_eyeballs_delay);
                if let Some(local) = self.local_addr {
                    connect = connect.local_addr(local);
                }
                Stage::Dials(connect)
            }
        };
        Connecting { stage, limit: self.connect_timeout.map(|limit| (limit, sleep(limit))), uri, nodelay: self.nodelay }
    }
}

/// The future of [`Connector`]: a connection.
///
/// Cancel safety: dropping it ends the attempt.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, hyper_util::{Connecting, Connector}};
/// use tower_service::Service;
///
/// EventLoop::new().run(async {
///     let connecting: Connecting = Connector::new().call("/only/a/path".parse().unwrap());
///     assert!(connecting.await.unwrap_err().to_string().contains("has no host"));
/// });
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct Connecting {
    stage: Stage,
    limit: Option<(Duration, Sleep)>,
    uri: Uri,
    nodelay: bool,
}

enum Stage {
    Refused(io::Error),
    Dials(Connect),
    Over,
}

impl Future for Connecting {
    type Output = io::Result<TcpStream>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<TcpStream>> {
        let this = &mut *self;
        let result = match &mut this.stage {
            Stage::Dials(connect) => match Pin::new(connect).poll(cx) {
                Poll::Ready(result) => result,
                Poll::Pending => {
                    let Some((limit, sleep)) = &mut this.limit else { return Poll::Pending };
                    ready!(Pin::new(sleep).poll(cx));
                    let message = format!("no connection for {} within {limit:?}", this.uri);
                    Err(io::Error::new(io::ErrorKind::TimedOut, message))
                }
            },
            Stage::Refused(_) | Stage::Over => match std::mem::replace(&mut this.stage, Stage::Over) {
                Stage::Refused(error) => Err(error),
                _ => panic!("a Connecting was polled after it was ready; keep the result of the first await"),
            },
        };
        this.stage = Stage::Over;
        this.limit = None;
        Poll::Ready(result.and_then(|stream| stream.set_nodelay(this.nodelay).map(|()| stream)))
    }
}

impl fmt::Debug for Connecting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connecting").field(&self.uri).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(connector: &Connector, uri: &str) -> Result<(String, u16), String> {
        let found = connector.target(&uri.parse().unwrap()).map(|(host, port)| (host.to_string(), port));
        found.map_err(|error| error.to_string())
    }

    #[test]
    fn targets_of_uris() {
        let plain = Connector::new();
        assert_eq!(target(&plain, "http://example.org/a?b"), Ok(("example.org".into(), 80)));
        assert_eq!(target(&plain, "http://user@example.org:8080"), Ok(("example.org".into(), 8080)));
        assert_eq!(target(&plain, "http://[::1]:81/"), Ok(("::1".into(), 81)));
        assert_eq!(target(&plain, "127.0.0.1:82"), Ok(("127.0.0.1".into(), 82)));
        assert!(target(&plain, "/path").unwrap_err().starts_with("/path has no host"));
        for uri in ["https://example.org/", "ftp://example.org/"] {
            let message = target(&plain, uri).unwrap_err();
            assert!(message.starts_with(&format!("{uri} is not an http URI")), "{message}");
        }
        let inner = Connector::new().enforce_http(false);
        assert_eq!(target(&inner, "https://example.org/"), Ok(("example.org".into(), 443)));
        assert_eq!(target(&inner, "http://example.org/"), Ok(("example.org".into(), 80)));
    }
}
