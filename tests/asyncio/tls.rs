//! `test_streams.py`: streams with TLS. More of them have their twins in `tests/tls/`, a package of
//! its own, because it makes certificates.

use crate::streams::{HERE, http, path, run};
use onelane::net::{self, StreamReader, StreamWriter, TlsAcceptor, TlsConnector};

const CERTIFICATE: &[u8] = include_bytes!("../../examples/tls/localhost.pem");
const KEY: &[u8] = include_bytes!("../../examples/tls/localhost.key");

fn acceptor() -> TlsAcceptor {
    TlsAcceptor::with_certificate(CERTIFICATE, KEY).unwrap()
}

fn connector() -> TlsConnector {
    TlsConnector::with_roots(CERTIFICATE).unwrap().server_name("localhost")
}

mod stream_tests {
    use super::*;
    use crate::streams::GET;

    async fn basetest_open_connection_no_loop_ssl((mut reader, mut writer): (StreamReader, StreamWriter)) {
        writer.write_all(GET).await.unwrap();
        assert_eq!(reader.read_to_end().await.unwrap().split_at(17).0, b"HTTP/1.0 200 OK\r\n");
        writer.close().await.unwrap();
    }

    #[test]
    fn test_open_connection_no_loop_ssl() {
        run(|| async {
            let server = net::start_server(HERE, http).tls(acceptor()).await.unwrap();
            let opening = net::open_connection(server.local_addr().unwrap()).tls(connector());
            basetest_open_connection_no_loop_ssl(opening.await.unwrap()).await;
        });
    }

    #[test]
    fn test_open_unix_connection_no_loop_ssl() {
        run(|| async {
            let path = path("open-ssl");
            let server = net::start_unix_server(&path, async |mut reader: StreamReader, mut writer: StreamWriter| {
                writer.start_tls(&mut reader, acceptor()).await.unwrap();
                http(reader, writer).await;
            });
            let opening = net::open_unix_connection(&path).tls(connector());
            basetest_open_connection_no_loop_ssl(opening.await.unwrap()).await;
            server.unwrap().close();
        });
    }

    #[test]
    fn test_start_tls() {
        run(|| async {
            let handle_client = async |mut reader: StreamReader, mut writer: StreamWriter| {
                let data1 = reader.read_line().await.unwrap();
                writer.write_all(&data1).await.unwrap();
                assert!(writer.tls().is_none());
                writer.start_tls(&mut reader, acceptor()).await.unwrap();
                assert!(writer.tls().is_some());
                let data2 = reader.read_line().await.unwrap();
                writer.write_all(&data2).await.unwrap();
                writer.close().await.unwrap();
            };
            let server = net::start_server(HERE, handle_client).await.unwrap();
            let (mut reader, mut writer) = net::open_connection(server.local_addr().unwrap()).await.unwrap();
            writer.write_all(b"hello world 1!\n").await.unwrap();
            let msgback1 = reader.read_line().await.unwrap();
            assert!(writer.tls().is_none());
            writer.start_tls(&mut reader, connector()).await.unwrap();
            assert!(writer.tls().is_some());
            writer.write_all(b"hello world 2!\n").await.unwrap();
            let msgback2 = reader.read_line().await.unwrap();
            writer.close().await.unwrap();
            assert_eq!(msgback1, b"hello world 1!\n");
            assert_eq!(msgback2, b"hello world 2!\n");
        });
    }
}
