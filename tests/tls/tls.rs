//! TLS on asyncio's streams, through the public API, on this machine only.
//!
//! `handshakes.rs`: connections and servers, errors, time limits. `streams.rs`: reading, writing and
//! the end. `start_tls.rs`: TLS on a connection in use. `peers.rs`: against other programs and
//! another library. `certificates.rs` makes the certificates.
//!
//! Twins of CPython's tests, in `test_asyncio/test_ssl.py` where no other file is named:
//!
//! | CPython | here |
//! | --- | --- |
//! | `test_create_server_ssl_1`, `test_create_connection_ssl_1` | `handshakes::serve_many_clients_at_once` |
//! | `test_create_connection_ssl_failed_certificate` | `handshakes::reject_an_unknown_authority` |
//! | `test_create_connection_ssl_slow_handshake`, `test_ssl_handshake_timeout` | `handshakes::give_up_a_handshake_after_its_time` |
//! | `test_ssl_handshake_connection_lost` | `handshakes::see_the_peer_leave_in_the_handshake` |
//! | `test_sslproto.py`: `test_handshake_timeout_zero` | `handshakes::have_no_time_at_all` |
//! | `test_sslproto.py`: `test_handshake_timeout_negative` | none: a `Duration` is not negative |
//! | `test_sslproto.py`: `test_close_during_handshake` | `handshakes::close_the_clients_of_a_server_in_their_handshake` |
//! | `test_sslproto.py`: `test_write_after_closing` | `streams::end_writing_and_read_on` |
//! | `test_sslproto.py`: `test_data_received_after_closing` | `streams::drop_what_arrives_after_close` |
//! | `test_sslproto.py`: `test_start_tls_wrong_args` | `start_tls::use_the_wrong_halves` |
//! | `test_start_tls_client_reg_proto_1`, `test_start_tls_client_buf_proto_1`, `test_start_tls_server_1` | `start_tls::switch_after_plain_text` |
//! | `test_start_tls_slow_client_cancel` | `start_tls::cancel_a_handshake` |
//! | `test_start_tls_client_corrupted_ssl` | `streams::see_garbage_instead_of_records` |
//! | `test_create_server_ssl_over_ssl` | `start_tls::start_it_twice`: TLS in TLS is an error here |
//! | `test_shutdown_cleanly` | `streams::end_in_order` |
//! | `test_flush_before_shutdown` | `streams::flush_before_the_end` |
//! | `test_remote_shutdown_receives_trailing_data` | `streams::read_what_came_before_the_end` |
//! | `test_shutdown_timeout_handler_not_set` | `streams::wait_for_the_end_of_the_peer_and_give_up` |
//! | `test_streams.py`: `test_open_connection_no_loop_ssl`, `test_open_unix_connection_no_loop_ssl` | `handshakes::open_both_kinds_of_connections` |
//! | `test_streams.py`: `test_start_tls` | `start_tls::switch_after_plain_text` |

mod certificates;
#[path = "../common/mod.rs"]
mod common;
mod handshakes;
mod peers;
mod start_tls;
mod streams;

use certificates::{Authority, Certified};
use common::{virtual_loop, watched, watched_for};
use futures_util::future::try_join;
use onelane::EventLoop;
use onelane::net::rustls::crypto::ring;
use onelane::net::rustls::pki_types::pem::PemObject;
use onelane::net::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use onelane::net::rustls::{ClientConfig, RootCertStore, ServerConfig};
use onelane::net::{StreamReader, StreamWriter, TlsAcceptor, TlsConnector, UnixStream};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// The authority that our clients trust.
static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| Authority::new("ours"));
/// The certificate of our servers.
static LOCALHOST: LazyLock<Certified> = LazyLock::new(|| AUTHORITY.certify(&["localhost", "127.0.0.1"]));

fn acceptor() -> TlsAcceptor {
    acceptor_of(&LOCALHOST)
}

fn acceptor_of(certified: &Certified) -> TlsAcceptor {
    TlsAcceptor::with_certificate(&certified.certificate, &certified.key).unwrap()
}

fn connector() -> TlsConnector {
    TlsConnector::with_roots(AUTHORITY.certificate()).unwrap()
}

/// The configurations of rustls that these are made of.
fn client_config() -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(AUTHORITY.certificate().as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    config.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots).with_no_client_auth()
}

fn server_config() -> ServerConfig {
    let chain = vec![CertificateDer::from_pem_slice(LOCALHOST.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(LOCALHOST.key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    config.with_safe_default_protocol_versions().unwrap().with_no_client_auth().with_single_cert(chain, key).unwrap()
}

/// Runs a future on a virtual clock. Fails after a minute.
fn run<F: Future<Output = ()>>(make: impl FnOnce() -> F + Send + 'static) {
    watched(move || virtual_loop().run(make()));
}

/// Like `run`, for a test that encrypts much, which takes long on a busy machine. Fails after ten
/// minutes.
fn run_long<F: Future<Output = ()>>(make: impl FnOnce() -> F + Send + 'static) {
    watched_for(Duration::from_secs(600), move || virtual_loop().run(make()));
}

/// Runs a future on a real clock, because another program takes part. Fails after ten minutes: some
/// encrypt much.
fn run_in_real_time<F: Future<Output = ()>>(make: impl FnOnce() -> F + Send + 'static) {
    watched_for(Duration::from_secs(600), move || EventLoop::new().run(make()));
}

type Streams = (StreamReader, StreamWriter);

/// Both ends of a connection with TLS: the client's and the server's.
async fn pair_of(connector: TlsConnector, acceptor: TlsAcceptor) -> (Streams, Streams) {
    let (client, server) = UnixStream::pair().unwrap();
    let (mut client, mut server) = (client.into_streams(), server.into_streams());
    let connector = connector.server_name("localhost");
    try_join(client.1.start_tls(&mut client.0, connector), server.1.start_tls(&mut server.0, acceptor)).await.unwrap();
    (client, server)
}

async fn pair() -> (Streams, Streams) {
    pair_of(connector(), acceptor()).await
}
