//! The settings of TLS: [`TlsConnector`] for clients, [`TlsAcceptor`] for servers.
//!
//! Both contain a configuration of rustls. The functions that make one of PEM files, and of the
//! certificates of the system, use the cryptography of ring.

use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection};
use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

/// How long a handshake may take, and the end of a connection; the same as in asyncio.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(60);
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    pub(super) handshake: Duration,
    pub(super) shutdown: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts { handshake: HANDSHAKE_TIMEOUT, shutdown: SHUTDOWN_TIMEOUT }
    }
}

/// The client's side of TLS: which certificates it trusts, and the name of the server.
///
/// A clone is cheap. Make one, and clone it for each connection: then sessions can be resumed, too.
///
/// asyncio: `ssl.SSLContext` of a client, with the arguments `server_hostname`,
/// `ssl_handshake_timeout` and `ssl_shutdown_timeout`.
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
///     let server = net::start_server("localhost:0", async |mut reader, mut writer| {
///         let line = reader.read_line().await.unwrap();
///         writer.write_all(&line).await.unwrap();
///     })
///     .tls(acceptor)
///     .await?;
///     let address = ("localhost", server.local_addr()?.port());
///     let connector = TlsConnector::with_roots(CERTIFICATE)?;
///     let (mut reader, mut writer) = net::open_connection(address).tls(connector).await?;
///     writer.write_all(b"hello\n").await?;
///     assert_eq!(reader.read_line().await?, b"hello\n");
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
#[doc(alias = "SSLContext")]
#[doc(alias = "ssl")]
#[derive(Clone)]
pub struct TlsConnector {
    config: Arc<ClientConfig>,
    server_name: Option<Box<str>>,
    pub(super) timeouts: Timeouts,
}

impl TlsConnector {
    /// Uses a configuration of rustls: [`ClientConfig`], or an `Arc` of one. It may have any
    /// cryptography, client certificates, or a verifier of yours.
    ///
    /// A verifier runs in the middle of a handshake. It must not use the connection that it is
    /// called for.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::net::{TlsConnector, rustls};
    /// use rustls::{ClientConfig, RootCertStore, crypto::ring};
    /// use std::sync::Arc;
    ///
    /// let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
    ///     .with_protocol_versions(&[&rustls::version::TLS13])
    ///     .unwrap()
    ///     .with_root_certificates(RootCertStore::empty()) // trusts nobody
    ///     .with_no_client_auth();
    /// let connector = TlsConnector::new(config);
    /// ```
    pub fn new(config: impl Into<Arc<ClientConfig>>) -> Self {
        TlsConnector { config: config.into(), server_name: None, timeouts: Timeouts::default() }
    }

    /// Trusts the certificates of the system: on Linux, those in OpenSSL's folders; on macOS, those
    /// in the keychain. The environment variables `SSL_CERT_FILE` and `SSL_CERT_DIR` name others.
    ///
    /// asyncio: `ssl.create_default_context()`, which `ssl=True` stands for.
    ///
    /// # Errors
    ///
    /// If no certificate was found ([`NotFound`](ErrorKind::NotFound)). Certificates that cannot be
    /// read are skipped, if others can.
    ///
    /// # Cost
    ///
    /// Reads and parses the certificates, usually more than a hundred. That blocks the loop for
    /// some milliseconds, so make one connector and clone it.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::net::{self, TlsConnector};
    ///
    /// async fn fetch() -> std::io::Result<Vec<u8>> {
    ///     let connector = TlsConnector::with_system_roots()?;
    ///     let (mut reader, mut writer) = net::open_connection("example.org:443").tls(connector).await?;
    ///     writer.write_all(b"GET / HTTP/1.1\r\nhost: example.org\r\nconnection: close\r\n\r\n").await?;
    ///     reader.read_to_end().await
    /// }
    /// ```
    #[doc(alias = "create_default_context")]
    #[doc(alias = "load_default_certs")]
    pub fn with_system_roots() -> io::Result<Self> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        // Systems have certificates that are too old for this library; OpenSSL ignores those too.
        let (added, _) = roots.add_parsable_certificates(found.certs);
        if added == 0 {
            let why = found.errors.first().map_or_else(String::new, |error| format!(": {error}"));
            let cure = "install the package ca-certificates, set SSL_CERT_FILE, or use with_roots()";
            return Err(io::Error::new(
                ErrorKind::NotFound,
                format!("no certificate of an authority was found on this system{why}; {cure}"),
            ));
        }
        Ok(Self::trusting(roots))
    }

    /// Trusts the certificates in this text, in PEM format, and no others. A certificate is one of
    /// these:
    ///
    /// - that of an authority, which has signed the certificates of servers, or those of other
    ///   authorities in between;
    /// - that of a server, signed by its own key, and not marked as an authority
    ///   (`basicConstraints` is absent, or `CA:FALSE`). `openssl req -x509` marks it, unless it gets
    ///   `-addext basicConstraints=critical,CA:FALSE`. A handshake with a server that has a marked
    ///   certificate fails.
    ///
    /// The certificate of a server that an authority has signed does not suffice: give that of the
    /// authority.
    ///
    /// asyncio: `ssl.create_default_context(cafile=..)`.
    ///
    /// # Errors
    ///
    /// If there is no certificate in it, or one cannot be read
    /// ([`InvalidInput`](ErrorKind::InvalidInput)).
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::net::TlsConnector;
    /// # const CERTIFICATE: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/tls/localhost.pem"));
    ///
    /// assert!(TlsConnector::with_roots(CERTIFICATE).is_ok());
    /// let error = TlsConnector::with_roots(b"something else").unwrap_err();
    /// assert_eq!(error.to_string(), "with_roots() got a text without a certificate in PEM format");
    /// ```
    #[doc(alias = "load_verify_locations")]
    pub fn with_roots(pem: impl AsRef<[u8]>) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(pem.as_ref(), "with_roots()")? {
            roots
                .add(certificate)
                .map_err(|error| invalid(format!("with_roots() got a certificate that is wrong: {error}")))?;
        }
        Ok(Self::trusting(roots))
    }

    fn trusting(roots: RootCertStore) -> Self {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().expect("ring supports the default versions");
        Self::new(builder.with_root_certificates(roots).with_no_client_auth())
    }

    /// Sets the name, or the IP address, that the certificate of the server must have. Without
    /// this, it is the host that the connection was opened to.
    ///
    /// The name is checked when a handshake begins.
    ///
    /// asyncio: the argument `server_hostname`.
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
    ///     let server = net::start_server("127.0.0.1:0", async |_, _| {}).tls(acceptor).await?;
    ///     // The certificate is for the name `localhost`, and not for the address 127.0.0.1.
    ///     let connector = TlsConnector::with_roots(CERTIFICATE)?.server_name("localhost");
    ///     net::open_connection(server.local_addr()?).tls(connector).await?;
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[doc(alias = "server_hostname")]
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into().into());
        self
    }

    /// Sets the protocols that the client offers (ALPN), the preferred one first. The default is
    /// none. [`TlsInfo::alpn_protocol`](crate::net::TlsInfo::alpn_protocol) is the one that the
    /// server has chosen.
    ///
    /// asyncio: `SSLContext.set_alpn_protocols`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::net::TlsConnector;
    ///
    /// # const CERTIFICATE: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/tls/localhost.pem"));
    /// let connector = TlsConnector::with_roots(CERTIFICATE).unwrap().alpn_protocols(["h2", "http/1.1"]);
    /// ```
    #[doc(alias = "set_alpn_protocols")]
    pub fn alpn_protocols<P: Into<Vec<u8>>>(mut self, protocols: impl IntoIterator<Item = P>) -> Self {
        Arc::make_mut(&mut self.config).alpn_protocols = protocols.into_iter().map(Into::into).collect();
        self
    }

    /// Sets how long a handshake may take. The default is 60 seconds, on the loop's clock.
    ///
    /// asyncio: the argument `ssl_handshake_timeout`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::{TcpListener, TlsConnector, open_connection}};
    /// use std::{io::ErrorKind, time::Duration};
    ///
    /// # const CERTIFICATE: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/tls/localhost.pem"));
    /// EventLoop::with_virtual_clock().run(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?; // which never answers
    ///     let connector = TlsConnector::with_roots(CERTIFICATE)?.handshake_timeout(Duration::from_secs(5));
    ///     let error = open_connection(listener.local_addr()?).tls(connector).await.unwrap_err();
    ///     assert_eq!(error.kind(), ErrorKind::TimedOut);
    ///     assert_eq!(error.to_string(), "the TLS handshake was not finished after 5s");
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[doc(alias = "ssl_handshake_timeout")]
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.handshake = timeout;
        self
    }

    /// Sets how long [`StreamWriter::close`](crate::net::StreamWriter::close) waits until the peer
    /// ends the connection too. The default is 30 seconds, on the loop's clock.
    ///
    /// asyncio: the argument `ssl_shutdown_timeout`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::net::TlsConnector;
    /// use std::time::Duration;
    ///
    /// # const CERTIFICATE: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/tls/localhost.pem"));
    /// let connector = TlsConnector::with_roots(CERTIFICATE).unwrap().shutdown_timeout(Duration::from_secs(1));
    /// ```
    #[doc(alias = "ssl_shutdown_timeout")]
    pub fn shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.shutdown = timeout;
        self
    }

    /// Begins a session with the server at `host`.
    pub(super) fn session(&self, host: Option<&str>) -> io::Result<Connection> {
        let Some(name) = self.server_name.as_deref().or(host) else {
            return Err(invalid(
                "a TLS client needs the name of the server to check its certificate; call server_name() of the connector"
                    .into(),
            ));
        };
        let server = ServerName::try_from(name).map_err(|_| {
            invalid(format!(
                "{name:?} is neither a DNS name nor an IP address; call server_name() of the TLS connector"
            ))
        })?;
        let client = ClientConnection::new(self.config.clone(), server.to_owned());
        client.map(Connection::Client).map_err(io::Error::other)
    }
}

/// Like [`TlsConnector::new`].
impl From<Arc<ClientConfig>> for TlsConnector {
    fn from(config: Arc<ClientConfig>) -> Self {
        Self::new(config)
    }
}

/// Like [`TlsConnector::new`].
impl From<ClientConfig> for TlsConnector {
    fn from(config: ClientConfig) -> Self {
        Self::new(config)
    }
}

impl fmt::Debug for TlsConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("TlsConnector");
        debug.field("server_name", &self.server_name).field("timeouts", &self.timeouts).finish_non_exhaustive()
    }
}

/// The server's side of TLS: its certificate and its key.
///
/// A clone is cheap.
///
/// asyncio: `ssl.SSLContext` of a server, with the arguments `ssl_handshake_timeout` and
/// `ssl_shutdown_timeout`.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, net::{self, TlsAcceptor}};
/// # const CERTIFICATE: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/tls/localhost.pem"));
/// # const KEY: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/tls/localhost.key"));
///
/// EventLoop::new().run(async {
///     let acceptor = TlsAcceptor::with_certificate(CERTIFICATE, KEY)?.alpn_protocols(["http/1.1"]);
///     let server = net::start_server("127.0.0.1:0", async |_, _| {}).tls(acceptor).await?;
///     server.close();
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
#[doc(alias = "SSLContext")]
#[derive(Clone)]
pub struct TlsAcceptor {
    config: Arc<ServerConfig>,
    pub(super) timeouts: Timeouts,
}

impl TlsAcceptor {
    /// Uses a configuration of rustls: [`ServerConfig`], or an `Arc` of one. It may have any
    /// cryptography, several certificates, or demand certificates of the clients.
    ///
    /// Early data (0-RTT) is not supported: `max_early_data_size` is set to zero, so a client sends
    /// that data again after the handshake.
    ///
    /// A resolver of certificates runs in the middle of a handshake. It may close the clients of its
    /// server, which ends the handshake.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::net::{TlsAcceptor, rustls};
    /// use rustls::{ServerConfig, crypto::ring, server::ResolvesServerCertUsingSni};
    /// use std::sync::Arc;
    ///
    /// let by_name = ResolvesServerCertUsingSni::new(); // and `add` a certificate for each name
    /// let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
    ///     .with_safe_default_protocol_versions()
    ///     .unwrap()
    ///     .with_no_client_auth()
    ///     .with_cert_resolver(Arc::new(by_name));
    /// let acceptor = TlsAcceptor::new(config);
    /// ```
    pub fn new(config: impl Into<Arc<ServerConfig>>) -> Self {
        let mut config = config.into();
        // The streams would not return early data, and the client would take it for received.
        if config.max_early_data_size > 0 {
            Arc::make_mut(&mut config).max_early_data_size = 0;
        }
        TlsAcceptor { config, timeouts: Timeouts::default() }
    }

    /// Has this certificate, with those of the authorities between it and a root behind it, and
    /// this key. Both are texts in PEM format. The key is in PKCS#8, PKCS#1 (RSA) or SEC1 (EC)
    /// format, without a password.
    ///
    /// asyncio: `SSLContext.load_cert_chain(certfile, keyfile)`.
    ///
    /// # Errors
    ///
    /// If a text has no certificate or no key, or the key is not that of the certificate
    /// ([`InvalidInput`](ErrorKind::InvalidInput)).
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::net::TlsAcceptor;
    /// # const CERTIFICATE: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/tls/localhost.pem"));
    /// # const KEY: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/tls/localhost.key"));
    ///
    /// assert!(TlsAcceptor::with_certificate(CERTIFICATE, KEY).is_ok());
    /// let error = TlsAcceptor::with_certificate(CERTIFICATE, CERTIFICATE).unwrap_err();
    /// assert_eq!(error.to_string(), "with_certificate() got a text without a private key in PEM format");
    /// ```
    #[doc(alias = "load_cert_chain")]
    pub fn with_certificate(chain_pem: impl AsRef<[u8]>, key_pem: impl AsRef<[u8]>) -> io::Result<Self> {
        let chain = certificates(chain_pem.as_ref(), "with_certificate()")?;
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_ref()).map_err(|error| match error {
            pem::Error::NoItemsFound => {
                invalid("with_certificate() got a text without a private key in PEM format".into())
            }
            error => invalid(format!("with_certificate() got a private key that cannot be read: {error}")),
        })?;
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().expect("ring supports the default versions");
        let config = builder.with_no_client_auth().with_single_cert(chain, key);
        let wrong = |error| invalid(format!("with_certificate() cannot use the certificate with the key: {error}"));
        config.map(Self::new).map_err(wrong)
    }

    /// Sets the protocols that the server supports (ALPN), the preferred one first. The default is
    /// none. A client that offers only others is rejected.
    ///
    /// asyncio: `SSLContext.set_alpn_protocols`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::net::TlsAcceptor;
    /// # const CERTIFICATE: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/tls/localhost.pem"));
    /// # const KEY: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/tls/localhost.key"));
    ///
    /// let acceptor = TlsAcceptor::with_certificate(CERTIFICATE, KEY).unwrap().alpn_protocols(["h2", "http/1.1"]);
    /// ```
    #[doc(alias = "set_alpn_protocols")]
    pub fn alpn_protocols<P: Into<Vec<u8>>>(mut self, protocols: impl IntoIterator<Item = P>) -> Self {
        Arc::make_mut(&mut self.config).alpn_protocols = protocols.into_iter().map(Into::into).collect();
        self
    }

    /// Sets how long a handshake may take. The default is 60 seconds, on the loop's clock.
    ///
    /// asyncio: the argument `ssl_handshake_timeout`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::net::TlsAcceptor;
    /// use std::time::Duration;
    /// # const CERTIFICATE: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/tls/localhost.pem"));
    /// # const KEY: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/tls/localhost.key"));
    ///
    /// let acceptor = TlsAcceptor::with_certificate(CERTIFICATE, KEY).unwrap().handshake_timeout(Duration::from_secs(5));
    /// ```
    #[doc(alias = "ssl_handshake_timeout")]
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.handshake = timeout;
        self
    }

    /// Sets how long [`StreamWriter::close`](crate::net::StreamWriter::close) waits until the peer
    /// ends the connection too. The default is 30 seconds, on the loop's clock.
    ///
    /// asyncio: the argument `ssl_shutdown_timeout`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::net::TlsAcceptor;
    /// use std::time::Duration;
    /// # const CERTIFICATE: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/tls/localhost.pem"));
    /// # const KEY: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/tls/localhost.key"));
    ///
    /// let acceptor = TlsAcceptor::with_certificate(CERTIFICATE, KEY).unwrap().shutdown_timeout(Duration::from_secs(1));
    /// ```
    #[doc(alias = "ssl_shutdown_timeout")]
    pub fn shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.shutdown = timeout;
        self
    }

    fn session(&self) -> io::Result<Connection> {
        ServerConnection::new(self.config.clone()).map(Connection::Server).map_err(io::Error::other)
    }
}

/// Like [`TlsAcceptor::new`].
impl From<Arc<ServerConfig>> for TlsAcceptor {
    fn from(config: Arc<ServerConfig>) -> Self {
        Self::new(config)
    }
}

/// Like [`TlsAcceptor::new`].
impl From<ServerConfig> for TlsAcceptor {
    fn from(config: ServerConfig) -> Self {
        Self::new(config)
    }
}

impl fmt::Debug for TlsAcceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsAcceptor").field("timeouts", &self.timeouts).finish_non_exhaustive()
    }
}

/// The side on which a connection speaks TLS, for
/// [`StreamWriter::start_tls`](crate::net::StreamWriter::start_tls). A connector and an acceptor
/// convert to it, so most programs do not name this type.
///
/// # Examples
///
/// ```
/// use onelane::net::{TlsConnector, TlsRole};
///
/// # const CERTIFICATE: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/tls/localhost.pem"));
/// let role = TlsRole::from(TlsConnector::with_roots(CERTIFICATE).unwrap());
/// assert!(matches!(role, TlsRole::Client(_)));
/// ```
#[derive(Clone, Debug)]
pub enum TlsRole {
    /// It begins the handshake, and checks the certificate of the server.
    Client(TlsConnector),
    /// It waits for the handshake of the client.
    Server(TlsAcceptor),
}

impl TlsRole {
    pub(super) fn session(&self, host: Option<&str>) -> io::Result<Connection> {
        match self {
            TlsRole::Client(connector) => connector.session(host),
            TlsRole::Server(acceptor) => acceptor.session(),
        }
    }

    pub(super) fn timeouts(&self) -> Timeouts {
        match self {
            TlsRole::Client(connector) => connector.timeouts,
            TlsRole::Server(acceptor) => acceptor.timeouts,
        }
    }
}

impl From<TlsConnector> for TlsRole {
    fn from(connector: TlsConnector) -> Self {
        TlsRole::Client(connector)
    }
}

impl From<TlsAcceptor> for TlsRole {
    fn from(acceptor: TlsAcceptor) -> Self {
        TlsRole::Server(acceptor)
    }
}

/// The certificates in a text; at least one.
fn certificates(pem: &[u8], asked: &str) -> io::Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| invalid(format!("{asked} got a text that is not in PEM format: {error}")))?;
    if found.is_empty() {
        return Err(invalid(format!("{asked} got a text without a certificate in PEM format")));
    }
    Ok(found)
}

fn invalid(message: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, message)
}
