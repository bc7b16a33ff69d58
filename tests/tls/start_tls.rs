//! TLS on a connection in use.

use crate::common::{ms, panic_of, virtual_loop};
use crate::{acceptor, connector, pair, run};
use futures_util::future::join;
use onelane::net::{self, StreamReader, StreamWriter, TcpListener, UnixStream};
use onelane::{spawn, timeout};
use std::io::ErrorKind;

#[test]
fn switch_after_plain_text() {
    run(|| async {
        let server = net::start_server("localhost:0", async |mut reader: StreamReader, mut writer: StreamWriter| {
            assert_eq!(reader.read_line().await.unwrap(), b"STARTTLS\r\n");
            writer.write_all(b"220 go ahead\r\n").await.unwrap();
            writer.start_tls(&mut reader, acceptor()).await.unwrap();
            assert_eq!(writer.tls().unwrap().server_name(), Some("localhost"));
            let secret = reader.read_line().await.unwrap();
            writer.write_all(&secret).await.unwrap();
        });
        let server = server.await.unwrap();
        let address = ("localhost", server.local_addr().unwrap().port());
        let (mut reader, mut writer) = net::open_connection(address).await.unwrap();
        writer.write_all(b"STARTTLS\r\n").await.unwrap();
        assert_eq!(reader.read_line().await.unwrap(), b"220 go ahead\r\n");
        assert!(writer.tls().is_none());
        // The name is that of the connection.
        writer.start_tls(&mut reader, connector()).await.unwrap();
        assert_eq!(writer.tls().unwrap().peer_certificates().len(), 1);
        writer.write_all(b"secret\n").await.unwrap();
        assert_eq!(reader.read_line().await.unwrap(), b"secret\n");
        assert_eq!(reader.read_to_end().await.unwrap(), b"");
    });
}

/// A client may send its first record together with its plain text: it is then in the reader.
#[test]
fn take_what_the_reader_has_as_tls() {
    run(|| async {
        let (one, other) = UnixStream::pair().unwrap();
        let ((mut reader, mut writer), (mut peer, mut answer)) = (one.into_streams(), other.into_streams());
        writer.write_all(b"STARTTLS\n").await.unwrap();
        let client = spawn(async move {
            writer.start_tls(&mut reader, connector().server_name("localhost")).await.unwrap();
            writer.write_all(b"secret\n").await.unwrap();
            (reader, writer)
        });
        onelane::yield_now().await;
        onelane::yield_now().await;
        assert_eq!(peer.read_line().await.unwrap(), b"STARTTLS\n");
        assert!(format!("{peer:?}").contains("unread: ") && !format!("{peer:?}").contains("unread: 0"), "{peer:?}");
        answer.start_tls(&mut peer, acceptor()).await.unwrap();
        assert_eq!(peer.read_line().await.unwrap(), b"secret\n");
        drop(client.await.unwrap());
    });
}

/// Somebody in the middle adds plain text behind the agreement. It must not be taken for text that
/// came through TLS.
#[test]
fn take_no_plain_text_for_a_secret() {
    run(|| async {
        let (one, other) = UnixStream::pair().unwrap();
        let ((mut reader, mut writer), (mut peer, mut answer)) = (one.into_streams(), other.into_streams());
        writer.write_all(b"STARTTLS\nDELETE EVERYTHING\n").await.unwrap();
        assert_eq!(peer.read_line().await.unwrap(), b"STARTTLS\n");
        let client = writer.start_tls(&mut reader, connector().server_name("localhost"));
        let (client, server) = join(client, answer.start_tls(&mut peer, acceptor())).await;
        assert_eq!(server.unwrap_err().kind(), ErrorKind::InvalidData);
        client.unwrap_err();
        assert_eq!(peer.read_line().await.unwrap_or_default(), b"");
    });
}

#[test]
fn start_it_twice() {
    run(|| async {
        let ((mut reader, mut writer), (mut peer, mut answer)) = pair().await;
        let error = answer.start_tls(&mut peer, acceptor()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert_eq!(error.to_string(), "the connection has TLS already");
        // Nothing was changed.
        writer.write_all(b"hello\n").await.unwrap();
        assert_eq!(peer.read_line().await.unwrap(), b"hello\n");
        answer.write_all(b"hello\n").await.unwrap();
        assert_eq!(reader.read_line().await.unwrap(), b"hello\n");
    });
}

#[test]
fn use_the_wrong_halves() {
    let message = panic_of(|| {
        virtual_loop().run(async {
            let (one, other) = UnixStream::pair().unwrap();
            let ((_reader, mut writer), (mut peer, _answer)) = (one.into_streams(), other.into_streams());
            drop(writer.start_tls(&mut peer, acceptor()));
        })
    });
    assert_eq!(message, "start_tls() got the reader of another connection; pass the one that came with this writer");
}

#[test]
fn need_a_name() {
    run(|| async {
        let (one, other) = UnixStream::pair().unwrap();
        let ((mut reader, mut writer), (mut peer, _answer)) = (one.into_streams(), other.into_streams());
        let error = writer.start_tls(&mut reader, connector()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        // Nothing was changed.
        writer.write_all(b"hello\n").await.unwrap();
        assert_eq!(peer.read_line().await.unwrap(), b"hello\n");
    });
}

#[test]
fn cancel_a_handshake() {
    run(|| async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (mut reader, mut writer) = net::open_connection(address).await.unwrap();
        let (mut peer, mut answer) = listener.accept().await.unwrap().0.into_streams();
        assert!(timeout(ms(1), writer.start_tls(&mut reader, connector())).await.is_err());
        // The connection is closed for both sides, even though the halves are still there.
        assert_eq!(peer.read(1).await.unwrap(), [22]);
        peer.read_to_end().await.unwrap();
        answer.write_all(b"hello\n").await.unwrap_or_default();
        assert_eq!(writer.write_all(b"hello\n").await.unwrap_err().kind(), ErrorKind::NotConnected);
        assert_eq!(reader.read(1).await.unwrap_or_default(), b"");
        writer.close().await.unwrap();

        // A future that was never polled changes nothing.
        let (one, other) = UnixStream::pair().unwrap();
        let ((mut reader, mut writer), (mut peer, _answer)) = (one.into_streams(), other.into_streams());
        drop(writer.start_tls(&mut reader, acceptor()));
        writer.write_all(b"hello\n").await.unwrap();
        assert_eq!(peer.read_line().await.unwrap(), b"hello\n");
    });
}

#[test]
fn give_a_pipe_no_tls() {
    run(|| async {
        let mut child = onelane::process::Command::new("cat")
            .stdin(onelane::process::Stdio::piped())
            .stdout(onelane::process::Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap().into_stream();
        let output = child.stdout.take().unwrap().into_stream();
        // A pipe has one half only, so there is no pair to start it with.
        assert!(input.tls().is_none());
        drop((input, output));
        child.wait().await.unwrap();
    });
}
