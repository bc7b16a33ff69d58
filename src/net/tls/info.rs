//! What is known of a session after its handshake: [`TlsInfo`].

use rustls::pki_types::CertificateDer;
use rustls::{CipherSuite, Connection, HandshakeKind, ProtocolVersion};
use std::fmt;

/// What the two sides have agreed on in a handshake, and the certificates of the peer:
/// [`StreamWriter::tls`](crate::net::StreamWriter::tls).
///
/// asyncio: `StreamWriter.get_extra_info`, with `'peercert'`, `'cipher'` and `'ssl_object'`.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, net::{self, TlsAcceptor, TlsConnector}};
/// # const CERTIFICATE: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/tls/localhost.pem"));
/// # const KEY: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/tls/localhost.key"));
///
/// EventLoop::new().run(async {
///     let acceptor = TlsAcceptor::with_certificate(CERTIFICATE, KEY)?.alpn_protocols(["http/1.1"]);
///     let server = net::start_server("localhost:0", async |_, _| {}).tls(acceptor).await?;
///     let address = ("localhost", server.local_addr()?.port());
///     let connector = TlsConnector::with_roots(CERTIFICATE)?.alpn_protocols(["h2", "http/1.1"]);
///     let (_reader, writer) = net::open_connection(address).tls(connector).await?;
///     let info = writer.tls().expect("this is a connection with TLS");
///     assert_eq!(info.alpn_protocol(), Some(&b"http/1.1"[..]));
///     assert_eq!(info.peer_certificates().len(), 1);
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
#[doc(alias = "get_extra_info")]
#[derive(Clone)]
pub struct TlsInfo {
    alpn_protocol: Option<Vec<u8>>,
    peer_certificates: Vec<CertificateDer<'static>>,
    protocol_version: ProtocolVersion,
    cipher_suite: CipherSuite,
    server_name: Option<String>,
    is_resumed: bool,
}

impl TlsInfo {
    /// `None` before the handshake is over.
    pub(super) fn of(session: &Connection) -> Option<Self> {
        Some(TlsInfo {
            alpn_protocol: session.alpn_protocol().map(<[u8]>::to_vec),
            peer_certificates: session.peer_certificates().map(<[_]>::to_vec).unwrap_or_default(),
            protocol_version: session.protocol_version()?,
            cipher_suite: session.negotiated_cipher_suite()?.suite(),
            server_name: match session {
                Connection::Server(server) => server.server_name().map(String::from),
                Connection::Client(_) => None,
            },
            is_resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
        })
    }

    /// Returns the protocol that was chosen (ALPN), if both sides have named some.
    ///
    /// asyncio: `writer.get_extra_info('ssl_object').selected_alpn_protocol()`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::net::StreamWriter;
    ///
    /// fn speaks_http_2(writer: &StreamWriter) -> bool {
    ///     writer.tls().is_some_and(|tls| tls.alpn_protocol() == Some(b"h2"))
    /// }
    /// ```
    #[doc(alias = "selected_alpn_protocol")]
    pub fn alpn_protocol(&self) -> Option<&[u8]> {
        self.alpn_protocol.as_deref()
    }

    /// Returns the certificates of the peer, its own first, as they were sent. They were checked.
    /// A server has them only if it demands certificates of its clients; otherwise there are none.
    ///
    /// asyncio: `writer.get_extra_info('peercert')`, and `getpeercert(True)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::net::StreamWriter;
    ///
    /// /// The certificate of the peer, in DER format.
    /// fn certificate(writer: &StreamWriter) -> Option<&[u8]> {
    ///     writer.tls()?.peer_certificates().first().map(|certificate| certificate.as_ref())
    /// }
    /// ```
    #[doc(alias = "peercert")]
    #[doc(alias = "getpeercert")]
    pub fn peer_certificates(&self) -> &[CertificateDer<'static>] {
        &self.peer_certificates
    }

    /// Returns the version of TLS.
    ///
    /// asyncio: `writer.get_extra_info('ssl_object').version()`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::net::{StreamWriter, rustls::ProtocolVersion};
    ///
    /// fn is_newest(writer: &StreamWriter) -> bool {
    ///     writer.tls().is_some_and(|tls| tls.protocol_version() == ProtocolVersion::TLSv1_3)
    /// }
    /// ```
    pub fn protocol_version(&self) -> ProtocolVersion {
        self.protocol_version
    }

    /// Returns the cipher suite.
    ///
    /// asyncio: `writer.get_extra_info('cipher')`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::net::StreamWriter;
    ///
    /// fn print_cipher(writer: &StreamWriter) {
    ///     println!("{:?}", writer.tls().map(|tls| tls.cipher_suite())); // TLS13_AES_256_GCM_SHA384
    /// }
    /// ```
    #[doc(alias = "cipher")]
    pub fn cipher_suite(&self) -> CipherSuite {
        self.cipher_suite
    }

    /// On a server, returns the name that the client has asked for (SNI), if it has sent one.
    ///
    /// asyncio: `SSLContext.sni_callback`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::net::StreamWriter;
    ///
    /// fn host(writer: &StreamWriter) -> &str {
    ///     writer.tls().and_then(|tls| tls.server_name()).unwrap_or("default")
    /// }
    /// ```
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// Whether the handshake was a short one, because an earlier session with the same peer was
    /// continued. That needs clones of one connector, and of one acceptor.
    ///
    /// asyncio: `writer.get_extra_info('ssl_object').session_reused`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::net::StreamWriter;
    ///
    /// fn was_quick(writer: &StreamWriter) -> bool {
    ///     writer.tls().is_some_and(|tls| tls.is_resumed())
    /// }
    /// ```
    #[doc(alias = "session_reused")]
    pub fn is_resumed(&self) -> bool {
        self.is_resumed
    }
}

impl fmt::Debug for TlsInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let alpn = self.alpn_protocol.as_ref().map(|name| name.escape_ascii().to_string());
        let mut debug = f.debug_struct("TlsInfo");
        debug.field("version", &self.protocol_version).field("cipher_suite", &self.cipher_suite);
        debug.field("alpn_protocol", &alpn).field("peer_certificates", &self.peer_certificates.len());
        debug.field("server_name", &self.server_name).finish()
    }
}
