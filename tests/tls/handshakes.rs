//! Handshakes: both sides, what can go wrong, and how long it may take.

use crate::certificates::{Authority, Certified, signed_by_itself};
use crate::common::{Trace, alone_with, ms, telling_loop, virtual_loop, watched};
use crate::{AUTHORITY, LOCALHOST, acceptor, acceptor_of, client_config, connector, run, server_config};
use futures_util::future::{join, try_join_all};
use futures_util::{AsyncReadExt, AsyncWriteExt};
use onelane::net::rustls::crypto::ring;
use onelane::net::rustls::pki_types::pem::PemObject;
use onelane::net::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use onelane::net::rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use onelane::net::rustls::sign::CertifiedKey;
use onelane::net::rustls::{self, AlertDescription, CertificateError, ClientConfig, RootCertStore, ServerConfig};
use onelane::net::{self, StreamReader, StreamWriter, TcpListener, TlsAcceptor, TlsConnector, UnixStream};
use onelane::{sleep, spawn, time, timeout, yield_now};
use std::cell::RefCell;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::time::Duration;

async fn echo(mut reader: StreamReader, mut writer: StreamWriter) {
    while let Ok(line) = reader.read_line().await {
        if line.is_empty() || writer.write_all(&line).await.is_err() {
            return;
        }
    }
}

/// The error of rustls in an error of a stream.
fn cause(error: &io::Error) -> &rustls::Error {
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    error.get_ref().unwrap().downcast_ref().unwrap()
}

#[test]
fn serve_many_clients_at_once() {
    run(|| async {
        let server = net::start_server("127.0.0.1:0", echo).tls(acceptor()).await.unwrap();
        let address = server.local_addr().unwrap();
        let connector = connector();
        let client = async |number: usize| {
            let (mut reader, mut writer) = net::open_connection(address).tls(connector.clone()).await?;
            for round in 0..3 {
                let line = format!("client {number}, round {round}\n");
                writer.write_all(line.as_bytes()).await?;
                assert_eq!(reader.read_line().await?, line.as_bytes());
            }
            writer.close().await
        };
        let clients = try_join_all((0..20).map(client));
        clients.await.unwrap();
        server.close();
        server.wait_closed().await;
        assert_eq!(server.connections(), 0);
    });
}

#[test]
fn open_both_kinds_of_connections() {
    run(|| async {
        // The name is that of the address; an IP address is one too.
        let server = net::start_server("127.0.0.1:0", echo).tls(acceptor()).await.unwrap();
        let (_reader, writer) = net::open_connection(server.local_addr().unwrap()).tls(connector()).await.unwrap();
        assert!(writer.tls().is_some());

        let path = std::env::temp_dir().join(format!("onelane-tls-unix-{}", std::process::id()));
        let server = net::start_unix_server(&path, async |mut reader, mut writer| {
            writer.start_tls(&mut reader, acceptor()).await.unwrap();
            assert_eq!(writer.tls().unwrap().server_name(), Some("localhost"));
            echo(reader, writer).await;
        });
        let server = server.unwrap();
        let error = net::open_unix_connection(&path).tls(connector()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("call server_name() of the connector"), "{error}");
        server.close();

        let server = net::start_unix_server(&path, async |mut reader, mut writer| {
            writer.start_tls(&mut reader, acceptor()).await.unwrap();
            echo(reader, writer).await;
        });
        let server = server.unwrap();
        let named = connector().server_name("localhost");
        let (mut reader, mut writer) = net::open_unix_connection(&path).tls(named).await.unwrap();
        writer.write_all(b"hello\n").await.unwrap();
        assert_eq!(reader.read_line().await.unwrap(), b"hello\n");
        server.close();
    });
}

#[test]
fn need_a_name_that_can_be_checked() {
    run(|| async {
        let server = net::start_server("127.0.0.1:0", echo).await.unwrap();
        let address = server.local_addr().unwrap();
        let error = net::open_connection([address, address]).tls(connector()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let error = net::open_connection(address).tls(connector().server_name("no name!")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().starts_with("\"no name!\" is neither a DNS name nor an IP address"), "{error}");
    });
}

/// What was reported of handshakes, without the addresses of the clients.
fn reasons(told: &Trace) -> Vec<String> {
    let reason = |text: &String| {
        let (_client, reason) = text.strip_prefix("a TLS handshake failed: connection from ")?.split_once(": ")?;
        Some(reason.to_string())
    };
    told.take().iter().map(|text| reason(text).unwrap_or_else(|| panic!("another report: {text}"))).collect()
}

/// Connects to a server that fails in the handshake. Returns the error of the client, and the report
/// of the server.
fn fail(
    connector: impl FnOnce() -> TlsConnector + Send + 'static,
    acceptor: fn() -> TlsAcceptor,
) -> (io::Error, Vec<String>) {
    watched(move || {
        let (event_loop, told) = telling_loop();
        let error = event_loop.run(async {
            let server = net::start_server("127.0.0.1:0", echo).tls(acceptor()).await.unwrap();
            let address = server.local_addr().unwrap();
            let error = match net::open_connection(address).tls(connector()).await {
                // The server rejects the client after the client is ready.
                Ok((mut reader, _writer)) => reader.read(1).await.unwrap_err(),
                Err(error) => error,
            };
            server.close();
            server.wait_closed().await;
            error
        });
        // Without the address of the client.
        let told = reasons(&told);
        (error, told)
    })
}

#[test]
fn reject_an_unknown_authority() {
    let stranger = || TlsConnector::with_roots(Authority::new("another one").certificate()).unwrap();
    let (error, told) = fail(stranger, acceptor);
    assert_eq!(*cause(&error), rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer));
    assert_eq!(error.to_string(), "invalid peer certificate: UnknownIssuer");
    assert_eq!(told, ["received fatal alert: UnknownCA"]);
}

#[test]
fn reject_the_wrong_name() {
    let (error, told) = fail(|| connector().server_name("example.org"), acceptor);
    let rustls::Error::InvalidCertificate(wrong) = cause(&error) else { panic!("{error}") };
    assert!(matches!(wrong, CertificateError::NotValidForNameContext { .. }), "{wrong:?}");
    assert!(error.to_string().contains("example.org") && error.to_string().contains("localhost"), "{error}");
    assert_eq!(told.len(), 1);
}

#[test]
fn reject_an_expired_certificate() {
    let (error, told) = fail(connector, || acceptor_of(&AUTHORITY.certify_in_the_past(&["localhost"])));
    let rustls::Error::InvalidCertificate(wrong) = cause(&error) else { panic!("{error}") };
    assert!(matches!(wrong, CertificateError::ExpiredContext { .. }), "{wrong:?}");
    assert!(error.to_string().contains("expired"), "{error}");
    assert_eq!(told.len(), 1);
}

#[test]
fn agree_on_no_protocol() {
    let (error, told) = fail(|| connector().alpn_protocols(["h2"]), || acceptor().alpn_protocols(["http/1.1"]));
    assert_eq!(*cause(&error), rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol));
    assert_eq!(told, ["peer doesn't support any known protocol"]);
}

fn demands_certificates() -> TlsAcceptor {
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(AUTHORITY.certificate().as_bytes()).unwrap()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    let server = &*LOCALHOST;
    let chain = vec![CertificateDer::from_pem_slice(server.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(server.key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    TlsAcceptor::from(config.with_client_cert_verifier(verifier).with_single_cert(chain, key).unwrap())
}

fn has_a_certificate() -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(AUTHORITY.certificate().as_bytes()).unwrap()).unwrap();
    let client = AUTHORITY.certify(&["a client"]);
    let chain = vec![CertificateDer::from_pem_slice(client.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(client.key.as_bytes()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    TlsConnector::from(Arc::new(config.with_client_auth_cert(chain, key).unwrap()))
}

#[test]
fn demand_a_certificate_of_the_client() {
    let (error, told) = fail(connector, demands_certificates);
    assert_eq!(*cause(&error), rustls::Error::AlertReceived(AlertDescription::CertificateRequired));
    assert_eq!(told, ["peer sent no certificates"]);

    run(|| async {
        let server = net::start_server("127.0.0.1:0", async |_, mut writer: StreamWriter| {
            let certificates = writer.tls().unwrap().peer_certificates().len();
            writer.write_all(format!("{certificates} certificate").as_bytes()).await.unwrap();
        });
        let server = server.tls(demands_certificates()).await.unwrap();
        let address = server.local_addr().unwrap();
        let (mut reader, _writer) = net::open_connection(address).tls(has_a_certificate()).await.unwrap();
        assert_eq!(reader.read_to_end().await.unwrap(), b"1 certificate");
    });
}

/// A server goes on after clients that speak no TLS, leave, or say nothing.
#[test]
fn bear_with_clients_that_misbehave() {
    watched(|| {
        let (event_loop, told) = telling_loop();
        event_loop.run(async {
            let acceptor = acceptor().handshake_timeout(Duration::from_secs(5));
            let server = net::start_server("127.0.0.1:0", echo).tls(acceptor).await.unwrap();
            let address = server.local_addr().unwrap();
            // One says nothing: it takes time, and holds nobody up.
            let silent = net::open_connection(address).await.unwrap();
            let (mut garbage, mut writer) = net::open_connection(address).await.unwrap();
            writer.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
            // An alert, and the end.
            assert_eq!(garbage.read(100).await.unwrap()[0], 21);
            drop(net::open_connection(address).await.unwrap());
            let begun = time();
            let (mut reader, mut writer) = net::open_connection(address).tls(connector()).await.unwrap();
            writer.write_all(b"hello\n").await.unwrap();
            assert_eq!(reader.read_line().await.unwrap(), b"hello\n");
            assert_eq!(time() - begun, Duration::ZERO);
            writer.close().await.unwrap();
            sleep(Duration::from_secs(6)).await;
            assert_eq!(server.connections(), 0);
            drop(silent);
        });
        let expected = [
            "received corrupt message of type InvalidContentType",
            "the peer closed the connection during the TLS handshake",
            "the TLS handshake was not finished after 5s",
        ];
        assert_eq!(reasons(&told), expected);
    });
}

#[test]
fn close_the_clients_of_a_server_in_their_handshake() {
    watched(|| {
        let (event_loop, told) = telling_loop();
        event_loop.run(async {
            let server = net::start_server("127.0.0.1:0", async |_, _| unreachable!()).tls(acceptor()).await.unwrap();
            let address = server.local_addr().unwrap();
            let (mut reader, _writer) = net::open_connection(address).await.unwrap();
            while server.connections() == 0 {
                yield_now().await;
            }
            server.close();
            server.close_clients();
            timeout(ms(1), server.wait_closed()).await.unwrap();
            assert_eq!(reader.read_to_end().await.unwrap(), b"");
            // The handshake sees it in a later turn.
            for _ in 0..10 {
                yield_now().await;
            }
        });
        // It was our own doing.
        assert_eq!(told.take(), [""; 0]);
    });
}

/// The last message of the client has arrived, and the server has not seen it yet.
#[test]
fn close_the_clients_of_a_server_at_the_end_of_their_handshake() {
    watched(|| {
        let (event_loop, told) = telling_loop();
        event_loop.run(async {
            let server = net::start_server("127.0.0.1:0", async |_, _| unreachable!()).tls(acceptor()).await.unwrap();
            let address = server.local_addr().unwrap();
            let _client = net::open_connection(address).tls(connector()).await.unwrap();
            server.close_clients();
            for _ in 0..10 {
                yield_now().await;
            }
            assert_eq!(server.connections(), 0);
        });
        assert_eq!(told.take(), [""; 0]);
    });
}

thread_local! {
    static SERVER: RefCell<Option<net::Server>> = const { RefCell::new(None) };
}

/// Chooses a certificate, and closes the clients of the server.
#[derive(Debug)]
struct Closes(Arc<dyn ResolvesServerCert>);

impl ResolvesServerCert for Closes {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        SERVER.with_borrow(|server| server.as_ref().unwrap().close_clients());
        self.0.resolve(hello)
    }
}

#[test]
fn close_the_clients_of_a_server_while_a_certificate_is_chosen() {
    watched(|| {
        let (event_loop, told) = telling_loop();
        event_loop.run(async {
            let mut config = server_config();
            config.cert_resolver = Arc::new(Closes(config.cert_resolver.clone()));
            let server = net::start_server("127.0.0.1:0", async |_, _| unreachable!());
            let server = server.tls(TlsAcceptor::new(config)).await.unwrap();
            let address = server.local_addr().unwrap();
            SERVER.set(Some(server));
            net::open_connection(address).tls(connector()).await.unwrap_err();
            SERVER.take();
        });
        assert_eq!(told.take(), [""; 0]);
    });
}

/// A client sends all it has to say, and goes, before the server has sent its session tickets.
#[test]
fn serve_a_client_that_has_gone() {
    run(|| async {
        let (client, server) = UnixStream::pair().unwrap();
        let (mut client, mut server) = (client.into_streams(), server.into_streams());
        let send = async move {
            client.1.start_tls(&mut client.0, connector().server_name("localhost")).await.unwrap();
            client.1.write_all(b"a line for the log\n").await.unwrap();
        };
        let receive = async move {
            server.1.start_tls(&mut server.0, acceptor()).await.unwrap();
            assert_eq!(server.0.read_line().await.unwrap(), b"a line for the log\n");
            assert_eq!(server.0.read_line().await.unwrap(), b"");
        };
        join(send, receive).await;
    });
}

/// Data that comes with the last message of a handshake, and garbage behind it.
#[test]
fn return_the_data_before_an_error_in_the_same_read_as_the_handshake() {
    run(|| async {
        let (client, server) = UnixStream::pair().unwrap();
        let (mut client, mut server) = (client.into_streams(), server.into_streams());
        let send = async move {
            let name = "localhost".try_into().unwrap();
            let mut tls = rustls::ClientConnection::new(Arc::new(client_config()), name).unwrap();
            let mut bytes = Vec::new();
            tls.write_tls(&mut bytes).unwrap();
            client.1.write_all(&bytes).await.unwrap();
            while tls.is_handshaking() {
                let received = client.0.read(10_000).await.unwrap();
                let mut rest = &received[..];
                while !rest.is_empty() {
                    tls.read_tls(&mut rest).unwrap();
                    tls.process_new_packets().unwrap();
                }
            }
            tls.writer().write_all(b"the last words\n").unwrap();
            let mut bytes = Vec::new();
            while tls.wants_write() {
                tls.write_tls(&mut bytes).unwrap();
            }
            bytes.extend([0; 100]);
            client.1.write_all(&bytes).await.unwrap();
            client
        };
        let receive = async move {
            server.1.start_tls(&mut server.0, acceptor()).await.unwrap();
            assert_eq!(server.0.read_line().await.unwrap(), b"the last words\n");
            for _ in 0..2 {
                assert_eq!(server.0.read_line().await.unwrap_err().kind(), ErrorKind::InvalidData);
            }
        };
        join(send, receive).await;
    });
}

/// A server that is asked for early data does not take it, so the client sends it again.
#[test]
fn lose_no_early_data() {
    run(|| async {
        let mut config = server_config();
        config.max_early_data_size = 1000;
        let acceptor = TlsAcceptor::new(config);
        let mut config = client_config();
        config.enable_early_data = true;
        let config = Arc::new(config);
        for round in 0..2 {
            let (client, server) = UnixStream::pair().unwrap();
            let mut server = server.into_streams();
            let connect = futures_rustls::TlsConnector::from(config.clone()).early_data(true);
            let send = async {
                let name = "localhost".try_into().unwrap();
                let mut client = connect.connect(name, client).await.unwrap();
                client.write_all(b"early\n").await.unwrap();
                client.flush().await.unwrap();
                let mut answer = [0; 3];
                client.read_exact(&mut answer).await.unwrap();
                assert!(!client.get_ref().1.is_early_data_accepted());
                client.get_ref().1.handshake_kind()
            };
            let receive = async {
                server.1.start_tls(&mut server.0, acceptor.clone()).await.unwrap();
                assert_eq!(server.0.read_line().await.unwrap(), b"early\n");
                server.1.write_all(b"ok\n").await.unwrap();
            };
            let (kind, ()) = join(send, receive).await;
            let expected = if round == 0 { rustls::HandshakeKind::Full } else { rustls::HandshakeKind::Resumed };
            assert_eq!(kind, Some(expected));
        }
    });
}

/// Which certificates can be given as roots.
#[test]
fn trust_a_server_itself() {
    async fn shake_hands(server: &Certified, root: &str) -> io::Result<()> {
        let connector = TlsConnector::with_roots(root)?.server_name("localhost");
        let (client, peer) = UnixStream::pair()?;
        let (mut client, mut peer) = (client.into_streams(), peer.into_streams());
        let acceptor = acceptor_of(server);
        join(client.1.start_tls(&mut client.0, connector), peer.1.start_tls(&mut peer.0, acceptor)).await.0
    }
    run(|| async {
        let server = signed_by_itself(&["localhost"]);
        shake_hands(&server, &server.certificate).await.unwrap();

        let server = Authority::certify_itself(&["localhost"]);
        let error = shake_hands(&server, &server.certificate).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        let expected = "the server has a certificate of an authority (CaUsedAsEndEntity), as `openssl req -x509` makes \
                        by default; make one with `-addext basicConstraints=critical,CA:FALSE`, or one that the \
                        authority signs";
        assert_eq!(error.to_string(), expected);
        let source = error.get_ref().unwrap().source().unwrap();
        assert!(source.is::<rustls::Error>(), "{source:?}");

        let error = shake_hands(&LOCALHOST, &LOCALHOST.certificate).await.unwrap_err();
        assert_eq!(*cause(&error), rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer));
    });
}

#[test]
fn give_up_a_handshake_after_its_time() {
    run(|| async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        for (connector, seconds) in [(connector(), 60), (connector().handshake_timeout(Duration::from_secs(7)), 7)] {
            let begun = time();
            let (peer, opened) = join(listener.accept(), net::open_connection(address).tls(connector)).await;
            let error = opened.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            assert_eq!(error.to_string(), format!("the TLS handshake was not finished after {seconds}s"));
            assert_eq!(time() - begun, Duration::from_secs(seconds));
            // The socket is closed.
            let (mut reader, _writer) = peer.unwrap().0.into_streams();
            assert!(!reader.read_to_end().await.unwrap().is_empty());
        }
    });
}

#[test]
fn have_no_time_at_all() {
    run(|| async {
        let server = net::start_server("127.0.0.1:0", echo).tls(acceptor()).await.unwrap();
        let connector = connector().handshake_timeout(Duration::ZERO);
        let error = net::open_connection(server.local_addr().unwrap()).tls(connector).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    });
}

#[test]
fn cancel_a_handshake() {
    run(|| async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = spawn(async move { net::open_connection(address).tls(connector()).await.map(drop) });
        let (mut reader, _writer) = listener.accept().await.unwrap().0.into_streams();
        assert_eq!(reader.read_exactly(1).await.unwrap(), [22]); // a record of a handshake
        client.cancel();
        // To the end, because the socket is closed.
        reader.read_to_end().await.unwrap();
        assert!(client.await.unwrap_err().is_cancelled());
    });
}

#[test]
fn see_the_peer_leave_in_the_handshake() {
    run(|| async {
        let server = net::start_server("127.0.0.1:0", async |mut reader: StreamReader, _| {
            reader.read(10_000).await.unwrap();
        });
        let server = server.await.unwrap();
        let error = net::open_connection(server.local_addr().unwrap()).tls(connector()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        assert_eq!(error.to_string(), "the peer closed the connection during the TLS handshake");
    });
}

#[test]
fn resume_a_session() {
    run(|| async {
        let server = net::start_server("127.0.0.1:0", echo).tls(acceptor()).await.unwrap();
        let address = server.local_addr().unwrap();
        // Both connections share what the server has sent in the first.
        let connector = connector();
        let mut resumed = Vec::new();
        for _ in 0..2 {
            let (mut reader, mut writer) = net::open_connection(address).tls(connector.clone()).await.unwrap();
            writer.write_all(b"hello\n").await.unwrap();
            assert_eq!(reader.read_line().await.unwrap(), b"hello\n");
            assert_eq!(writer.tls().unwrap().peer_certificates().len(), 1);
            resumed.push(writer.tls().unwrap().is_resumed());
            writer.close().await.unwrap();
        }
        assert_eq!(resumed, [false, true]);
    });
}

#[test]
fn refuse_a_key_that_belongs_to_another_certificate() {
    let (one, other) = (AUTHORITY.certify(&["one"]), AUTHORITY.certify(&["other"]));
    let error = TlsAcceptor::with_certificate(&one.certificate, &other.key).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().starts_with("with_certificate() cannot use the certificate with the key"), "{error}");
    let error = TlsAcceptor::with_certificate("", &other.key).unwrap_err();
    assert_eq!(error.to_string(), "with_certificate() got a text without a certificate in PEM format");
}

/// Clients are cancelled at any point of their handshakes. The server notices each.
#[test]
fn cancel_handshakes_after_each_number_of_turns() {
    watched(|| {
        let (event_loop, told) = telling_loop();
        let opened = event_loop.run(async {
            let server = net::start_server("127.0.0.1:0", echo).tls(acceptor()).await.unwrap();
            let address = server.local_addr().unwrap();
            let mut opened = 0;
            for turns in 0..40 {
                let client = spawn(async move { net::open_connection(address).tls(connector()).await.map(drop) });
                for _ in 0..turns {
                    yield_now().await;
                }
                client.cancel();
                opened += usize::from(matches!(client.await, Ok(Ok(()))));
            }
            server.close();
            timeout(Duration::from_secs(1), server.wait_closed()).await.unwrap();
            opened
        });
        assert!(opened > 0, "no handshake was finished");
        let gone = "the peer closed the connection during the TLS handshake";
        assert!(reasons(&told).iter().all(|reason| reason == gone));
    });
}

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/tls/localhost.pem");
const KEY_OF_IT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/tls/localhost.key");

/// The variable of the environment stands for the certificates of the system.
#[test]
fn trust_the_certificates_of_the_system() {
    alone_with("handshakes::trust_the_certificates_of_the_system", &[("SSL_CERT_FILE", EXAMPLE)], || {
        virtual_loop().run(async {
            let acceptor = TlsAcceptor::with_certificate(fs::read(EXAMPLE).unwrap(), fs::read(KEY_OF_IT).unwrap());
            let server = net::start_server("127.0.0.1:0", echo).tls(acceptor.unwrap()).await.unwrap();
            let connector = TlsConnector::with_system_roots().unwrap().server_name("localhost");
            let opening = net::open_connection(server.local_addr().unwrap()).tls(connector);
            assert!(opening.await.unwrap().1.tls().is_some());
        });
    });
}

#[test]
fn say_that_the_system_has_no_certificates() {
    // A file without certificates, and a folder without them.
    let nothing = [("SSL_CERT_FILE", KEY_OF_IT), ("SSL_CERT_DIR", env!("CARGO_MANIFEST_DIR"))];
    alone_with("handshakes::say_that_the_system_has_no_certificates", &nothing, || {
        let error = TlsConnector::with_system_roots().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().starts_with("no certificate of an authority was found on this system"), "{error}");
    });
}
