//! Reading and writing through TLS, and the end of a connection.

use crate::common::{ms, telling_loop, watched, words};
use crate::{Streams, acceptor, connector, pair, pair_of, run, run_long};
use futures_rustls::TlsConnector as PeerConnector;
use futures_util::future::{join, try_join};
use futures_util::{AsyncReadExt, AsyncWriteExt};
use onelane::net::rustls;
use onelane::net::rustls::pki_types::pem::PemObject;
use onelane::net::rustls::pki_types::{CertificateDer, ServerName};
use onelane::net::{self, StreamReader, StreamWriter, UnixStream};
use onelane::{call_graph, spawn, time, timeout, yield_now};
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

/// A connection whose client is another library, which ends nothing by itself.
async fn with_a_peer() -> (futures_rustls::client::TlsStream<UnixStream>, Streams) {
    let mut roots = futures_rustls::rustls::RootCertStore::empty();
    let authority = crate::AUTHORITY.certificate();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
    let config = futures_rustls::rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let (client, server) = UnixStream::pair().unwrap();
    let mut server = server.into_streams();
    let name = ServerName::try_from("localhost").unwrap();
    let connect = PeerConnector::from(Arc::new(config)).connect(name, client);
    let (client, ()) = try_join(connect, server.1.start_tls(&mut server.0, acceptor())).await.unwrap();
    (client, server)
}

#[test]
fn end_in_order() {
    run(|| async {
        let ((mut reader, writer), (mut peer, mut answer)) = pair().await;
        let (closed, served) = join(writer.close(), async {
            let read = peer.read_to_end().await?;
            answer.write_all(b"bye").await.map(|()| read)
        })
        .await;
        drop((peer, answer));
        // The server has not ended TLS yet when it writes; the client drops what arrives.
        assert_eq!(served.unwrap(), b"");
        drop(closed);
        assert_eq!(reader.read_to_end().await.unwrap(), b"");

        let ((mut reader, mut writer), (mut peer, answer)) = pair().await;
        writer.write_all(b"the last words").await.unwrap();
        let (ours, theirs) = join(writer.close(), async {
            let read = peer.read_to_end().await;
            answer.close().await.unwrap();
            read
        })
        .await;
        ours.unwrap();
        assert_eq!(theirs.unwrap(), b"the last words");
        assert_eq!(reader.read_to_end().await.unwrap(), b"");
        assert!(reader.at_eof());
    });
}

#[test]
fn end_by_dropping_both_halves() {
    run(|| async {
        let ((reader, mut writer), (mut peer, _answer)) = pair().await;
        writer.write_all(b"the last words").await.unwrap();
        drop(writer);
        assert!(timeout(ms(1), peer.read_to_end()).await.is_err()); // the reader is still there
        drop(reader);
        assert_eq!(peer.read_to_end().await.unwrap(), b"the last words");
    });
}

fn assert_is_cut(result: io::Result<Vec<u8>>) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    let message = "the peer closed the connection without ending TLS (close_notify), so data may be missing";
    assert_eq!(error.to_string(), message);
}

#[test]
fn see_that_a_stream_was_cut() {
    run(|| async {
        let (mut client, (mut reader, mut writer)) = with_a_peer().await;
        client.write_all(b"half a line").await.unwrap();
        client.flush().await.unwrap();
        // The client reads all that was sent to it. Otherwise its end would be a reset.
        writer.write_all(b"1").await.unwrap();
        client.read_exact(&mut [0]).await.unwrap();
        drop(client); // futures-rustls does not end TLS here
        assert_is_cut(reader.read_line().await);
        assert_is_cut(reader.read_to_end().await);
        assert_eq!(reader.read(100).await.unwrap(), b"half a line");
        assert_is_cut(reader.read(100).await);
        assert_is_cut(reader.read_exactly(1).await);
        assert!(!reader.at_eof());

        let (mut client, (mut reader, _writer)) = with_a_peer().await;
        client.write_all(b"a whole line\n").await.unwrap();
        client.close().await.unwrap();
        assert_eq!(reader.read_line().await.unwrap(), b"a whole line\n");
        assert_eq!(reader.read_line().await.unwrap(), b"");
        assert!(reader.at_eof());
    });
}

/// A write that was cancelled leaves a part. The end does not look like an orderly one then.
#[test]
fn do_not_end_in_order_after_a_part() {
    run_long(|| async {
        let book = vec![7; 10_000_000];
        let ((reader, mut writer), (mut peer, _answer)) = pair().await;
        assert!(timeout(ms(1), writer.write_all(&book)).await.is_err());
        drop((reader, writer));
        assert_is_cut(peer.read_to_end().await);

        // Unless the program ends it itself.
        let ((_reader, mut writer), (mut peer, answer)) = pair().await;
        let mut write = writer.write_all(&book);
        assert!(timeout(ms(1), &mut write).await.is_err());
        let written = write.written();
        drop(write);
        let (closed, read) = join(writer.close(), async {
            let read = peer.read_to_end().await;
            drop((peer, answer));
            read
        })
        .await;
        closed.unwrap();
        assert_eq!(read.unwrap().len(), written);
    });
}

/// A cancelled write, whose bytes have all been taken to be encrypted: the reader, which waits for
/// the answer, sends the rest of them.
#[test]
fn send_the_rest_of_a_cancelled_write() {
    run(|| async {
        let ((mut reader, mut writer), (mut peer, mut answer)) = pair().await;
        let mut total = 0;
        // Until the socket is full.
        loop {
            let mut write = writer.write_all(&[7; 1000]);
            let result = timeout(ms(1), &mut write).await;
            assert_eq!(write.written(), 1000);
            total += 1000;
            if result.is_err() {
                break;
            }
        }
        let serve = async {
            peer.read_exactly(total).await.unwrap();
            answer.write_all(b"all of it\n").await.unwrap();
        };
        let (read, ()) = join(reader.read_line(), serve).await;
        assert_eq!(read.unwrap(), b"all of it\n");
    });
}

/// The end of the written data waits behind it for room. The reader sends it, or the drop.
#[test]
fn send_the_end_that_did_not_fit() {
    run(|| async {
        let book = vec![7; 10_000_000];
        for is_dropped in [false, true] {
            let ((mut reader, mut writer), (mut peer, mut answer)) = pair().await;
            let mut write = writer.write_all(&book);
            assert!(timeout(ms(1), &mut write).await.is_err());
            let written = write.written();
            drop(write);
            writer.write_eof().unwrap();
            if is_dropped {
                let mut got = 0;
                while let Ok(data) = timeout(ms(1), peer.read(1_000_000)).await {
                    got += data.unwrap().len();
                }
                assert!(got < written);
                drop((reader, writer));
                assert_eq!(got + peer.read_to_end().await.unwrap().len(), written);
                continue;
            }
            let read = async {
                let got = peer.read_to_end().await.unwrap();
                answer.write_eof().unwrap();
                got.len()
            };
            let (end, got) = join(reader.read_to_end(), read).await;
            assert_eq!((end.unwrap(), got), (Vec::new(), written));
        }
    });
}

/// `close_clients` in the middle of a `write_all`: the peer must not take a part for the whole.
#[test]
fn do_not_end_in_order_when_a_server_closes_a_client_that_gets_data() {
    run(|| async {
        let path = std::env::temp_dir().join(format!("onelane-tls-close-clients-{}", std::process::id()));
        let server = net::start_unix_server(&path, async |mut reader: StreamReader, mut writer: StreamWriter| {
            writer.start_tls(&mut reader, acceptor()).await.unwrap();
            writer.write_all(&vec![7; 10_000_000]).await.unwrap_err();
        });
        let server = server.unwrap();
        let connector = connector().server_name("localhost");
        let (mut reader, _writer) = net::open_unix_connection(&path).tls(connector).await.unwrap();
        for _ in 0..10 {
            yield_now().await;
        }
        // Makes room for an end.
        let mut got = 0;
        while got < 100_000 {
            got += reader.read(100_000).await.unwrap().len();
        }
        server.close_clients();
        assert_is_cut(reader.read_to_end().await);
        server.close();
    });
}

#[test]
fn do_not_end_in_order_in_a_panic() {
    watched(|| {
        let (event_loop, told) = telling_loop();
        event_loop.run(async {
            let server = net::start_server("127.0.0.1:0", async |_, mut writer: StreamWriter| {
                writer.write_all(b"the first half").await.unwrap();
                panic!("in the middle");
            });
            let server = server.tls(acceptor()).await.unwrap();
            let address = server.local_addr().unwrap();
            let (mut reader, _writer) = net::open_connection(address).tls(connector()).await.unwrap();
            assert_is_cut(reader.read_to_end().await);
            assert_eq!(reader.read(100).await.unwrap(), b"the first half");
        });
        assert_eq!(told.take(), ["a task panicked and its result was never read: in the middle"]);
    });
}

/// The reader is in another task than the writer, and is dropped after the panic.
#[test]
fn do_not_end_in_order_after_a_panic_of_the_writer() {
    watched(|| {
        let (event_loop, told) = telling_loop();
        event_loop.run(async {
            let serve = async |mut reader: StreamReader, mut writer: StreamWriter| {
                let writing = spawn(async move {
                    writer.write_all(b"the first half").await.unwrap();
                    panic!("in the middle");
                });
                writing.await.unwrap_err();
                timeout(ms(1), reader.read(1)).await.unwrap_err();
            };
            let server = net::start_server("127.0.0.1:0", serve).tls(acceptor()).await.unwrap();
            let address = server.local_addr().unwrap();
            let (mut reader, _writer) = net::open_connection(address).tls(connector()).await.unwrap();
            assert_is_cut(reader.read_to_end().await);
        });
        assert_eq!(told.take(), [""; 0]);
    });
}

/// Only the program knows that more was to come.
#[test]
fn end_in_order_when_cancelled_between_two_writes() {
    run(|| async {
        let ((reader, mut writer), (mut peer, _answer)) = pair().await;
        let task = spawn(async move {
            let _reader = reader;
            writer.write_all(b"the first half").await.unwrap();
            onelane::sleep(ms(1000)).await;
            writer.write_all(b"the second half").await.unwrap();
        });
        yield_now().await;
        task.cancel();
        assert_eq!(peer.read_to_end().await.unwrap(), b"the first half");
    });
}

#[test]
fn end_writing_and_read_on() {
    run(|| async {
        let ((mut reader, mut writer), (mut peer, mut answer)) = pair().await;
        writer.write_all(b"the question").await.unwrap();
        writer.write_eof().unwrap();
        writer.write_eof().unwrap();
        let error = writer.write_all(b"more").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        assert_eq!(peer.read_to_end().await.unwrap(), b"the question");
        answer.write_all(b"the answer").await.unwrap();
        assert_eq!(reader.read(100).await.unwrap(), b"the answer");
        answer.write_eof().unwrap();
        assert_eq!(reader.read(100).await.unwrap(), b"");
        assert!(reader.at_eof());
        // Both sides have ended, so nobody waits.
        let begun = time();
        writer.close().await.unwrap();
        answer.close().await.unwrap();
        assert_eq!(time() - begun, Duration::ZERO);
    });
}

#[test]
fn wait_for_the_end_of_the_peer_and_give_up() {
    run(|| async {
        for (connector, seconds) in [(connector(), 30), (connector().shutdown_timeout(Duration::from_secs(3)), 3)] {
            let ((mut reader, writer), (mut peer, mut answer)) = pair_of(connector, acceptor()).await;
            let begun = time();
            let error = writer.close().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            assert_eq!(time() - begun, Duration::from_secs(seconds));
            assert_eq!(reader.read(1).await.unwrap(), b"");
            assert_eq!(peer.read(1).await.unwrap(), b"");
            assert!(answer.write_all(b"too late").await.is_err());
        }
    });
}

/// A connection that is not ended in time is reset, so what the peer has not got yet is discarded.
#[test]
fn reset_when_the_peer_does_not_end() {
    run(|| async {
        let listener = net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, server) = join(net::open_connection(address).tls(connector()), async {
            let (mut reader, mut writer) = listener.accept().await.unwrap().0.into_streams();
            writer.start_tls(&mut reader, acceptor()).await.unwrap();
            (reader, writer)
        })
        .await;
        let ((mut reader, _writer), (peer, mut answer)) = (client.unwrap(), server);
        let book = vec![7; 20_000_000];
        assert!(timeout(ms(1), answer.write_all(&book)).await.is_err());
        assert_eq!(answer.close().await.unwrap_err().kind(), ErrorKind::TimedOut);
        drop(peer);
        assert_eq!(reader.read_to_end().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn wake_a_read_that_waits_when_this_side_closes() {
    run(|| async {
        let ((mut reader, writer), _peer) = pair().await;
        let begun = time();
        let reading = spawn(async move { (reader.read(1).await.unwrap(), time()) });
        yield_now().await;
        assert_eq!(writer.close().await.unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(time() - begun, Duration::from_secs(30));
        assert_eq!(reading.await.unwrap(), (Vec::new(), begun));
    });
}

#[test]
fn close_while_the_peer_takes_nothing() {
    run(|| async {
        let ((_reader, mut writer), _peer) = pair().await;
        let book = vec![7; 10_000_000];
        assert!(timeout(ms(1), writer.write_all(&book)).await.is_err());
        let begun = time();
        assert_eq!(writer.close().await.unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(time() - begun, Duration::from_secs(30));
    });
}

#[test]
fn give_up_an_end() {
    run(|| async {
        let ((_reader, writer), (mut peer, mut answer)) = pair().await;
        assert!(timeout(ms(1), writer.close()).await.is_err());
        // The end was sent, and the connection is closed.
        assert_eq!(peer.read_to_end().await.unwrap(), b"");
        assert!(answer.write_all(b"too late").await.is_err());
    });
}

#[test]
fn flush_before_the_end() {
    run_long(|| async {
        let ((_reader, mut writer), (mut peer, answer)) = pair().await;
        let book: Vec<u8> = (0..3_000_000_u32).map(|number| number as u8).collect();
        let copy = book.clone();
        let reading = spawn(async move {
            let read = peer.read_to_end().await.unwrap();
            answer.close().await.unwrap();
            read == copy
        });
        writer.write_all(&book).await.unwrap();
        writer.close().await.unwrap();
        assert_eq!(reading.await, Ok(true));
    });
}

#[test]
fn read_what_came_before_the_end() {
    run(|| async {
        let ((_reader, mut writer), (mut peer, _answer)) = pair().await;
        writer.write_all(&[7; 100_000]).await.unwrap();
        writer.write_eof().unwrap();
        assert_eq!(peer.read_exactly(3).await.unwrap(), [7; 3]);
        assert_eq!(peer.read_to_end().await.unwrap().len(), 99_997);
    });
}

#[test]
fn drop_what_arrives_after_close() {
    run(|| async {
        let ((mut reader, writer), (mut peer, mut answer)) = pair().await;
        answer.write_all(b"before").await.unwrap();
        assert_eq!(reader.read_exactly(2).await.unwrap(), b"be");
        let (closed, ()) = join(writer.close(), async {
            for _ in 0..100 {
                answer.write_all(&[7; 10_000]).await.unwrap();
            }
            assert_eq!(peer.read(1).await.unwrap(), b"");
            answer.close().await.unwrap();
        })
        .await;
        closed.unwrap();
        // What was in the reader stays.
        assert_eq!(reader.read_to_end().await.unwrap(), b"fore");
    });
}

#[test]
fn see_garbage_instead_of_records() {
    run(|| async {
        let (one, other) = UnixStream::pair().unwrap();
        let (mut server, (mut raw_reader, mut raw_writer)) = (other.into_streams(), one.into_streams());
        let handshake = server.1.start_tls(&mut server.0, acceptor());
        let (error, ()) = join(handshake, async { raw_writer.write_all(&[0; 1000]).await.unwrap() }).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidData);
        assert_eq!(raw_reader.read_exactly(1).await.unwrap(), [21]); // an alert
        raw_reader.read_to_end().await.unwrap();
        // And again for each use.
        for _ in 0..2 {
            assert_eq!(server.1.write_all(b"more").await.unwrap_err().kind(), ErrorKind::InvalidData);
        }
        assert!(server.1.tls().is_none());
        server.1.close().await.unwrap();
    });
}

/// Garbage after records: the data before it is returned first. The peer gets one alert, and nothing
/// behind it.
#[test]
fn see_garbage_behind_records() {
    run(|| async {
        let (mut client, (mut reader, mut writer)) = with_a_peer().await;
        // The client takes the session tickets.
        writer.write_all(b"1").await.unwrap();
        client.read_exact(&mut [0]).await.unwrap();
        client.write_all(b"the last words\n").await.unwrap();
        client.flush().await.unwrap();
        let (socket, tls) = client.get_mut();
        socket.write_all(&[0; 100]).await.unwrap();
        assert_eq!(reader.read_line().await.unwrap(), b"the last words\n");
        for _ in 0..2 {
            let error = reader.read_line().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData);
            assert_eq!(error.to_string(), "received corrupt message of type InvalidContentType");
        }
        let mut alert = vec![0; 100];
        let length = timeout(ms(1), socket.read(&mut alert)).await.expect("an alert").unwrap();
        alert.truncate(length);
        drop((reader, writer));
        assert_eq!(socket.read(&mut [0]).await.unwrap(), 0);
        // One record: its type, its version, and its length.
        assert_eq!(alert.len(), 5 + usize::from(u16::from_be_bytes([alert[3], alert[4]])));
        tls.read_tls(&mut &alert[..]).unwrap();
        let error = tls.process_new_packets().unwrap_err();
        assert!(matches!(error, rustls::Error::AlertReceived(_)), "{error}");
    });
}

/// Both directions at once, more than any buffer has, with reads and writes of random lengths.
#[test]
fn transfer_much_in_both_directions_at_once() {
    async fn send(mut writer: StreamWriter, seed: u64, length: usize) -> StreamWriter {
        let bytes = bytes(seed, length);
        let mut rest = &bytes[..];
        let mut numbers = seed;
        while !rest.is_empty() {
            numbers = numbers.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let count = ((numbers >> 33) as usize % 200_000 + 1).min(rest.len());
            writer.write_all(&rest[..count]).await.unwrap();
            rest = &rest[count..];
        }
        writer.write_eof().unwrap();
        writer
    }
    async fn receive(mut reader: StreamReader, seed: u64, length: usize) {
        let mut all = Vec::new();
        let mut numbers = seed;
        while !reader.at_eof() {
            numbers = numbers.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            all.extend(reader.read((numbers >> 33) as usize % 300_000 + 1).await.unwrap());
        }
        assert!(all == bytes(seed, length));
    }
    fn bytes(seed: u64, length: usize) -> Vec<u8> {
        (0..length as u64).map(|number| (number.wrapping_mul(seed) >> 8) as u8).collect()
    }
    run_long(|| async {
        let length = 8_000_000;
        let ((reader, writer), (peer, answer)) = pair().await;
        let tasks = (spawn(send(writer, 77, length)), spawn(send(answer, 99_991, length)));
        let readers = (spawn(receive(reader, 99_991, length)), spawn(receive(peer, 77, length)));
        let writers = (tasks.0.await.unwrap(), tasks.1.await.unwrap());
        readers.0.await.unwrap();
        readers.1.await.unwrap();
        drop(writers);
    });
}

#[test]
fn cancel_reads_and_lose_nothing() {
    run(|| async {
        let ((_reader, mut writer), (mut peer, _answer)) = pair().await;
        for byte in b"a line" {
            writer.write_all(&[*byte]).await.unwrap();
            assert!(timeout(ms(1), peer.read_line()).await.is_err());
        }
        writer.write_all(b"\n").await.unwrap();
        assert_eq!(peer.read_line().await.unwrap(), b"a line\n");
    });
}

/// A peer that changes its keys expects an answer. rustls sends it together with the next write.
#[test]
fn answer_a_change_of_keys() {
    run(|| async {
        let (mut client, (mut reader, mut writer)) = with_a_peer().await;
        for round in 0..5 {
            client.get_mut().1.refresh_traffic_keys().unwrap();
            client.write_all(b"new keys\n").await.unwrap();
            client.flush().await.unwrap();
            assert_eq!(reader.read_line().await.unwrap(), b"new keys\n");
            if round % 2 == 1 {
                writer.write_all(b"fine\n").await.unwrap();
                let mut answer = [0; 5];
                client.read_exact(&mut answer).await.unwrap();
                assert_eq!(&answer, b"fine\n");
            }
        }
    });
}

#[test]
fn abort_the_clients_of_a_server() {
    run(|| async {
        let server = net::start_server("127.0.0.1:0", async |mut reader: StreamReader, _writer| {
            assert_eq!(reader.read_to_end().await.unwrap(), b"");
        });
        let server = server.tls(acceptor()).await.unwrap();
        let address = server.local_addr().unwrap();
        let (mut reader, _writer) = net::open_connection(address).tls(connector()).await.unwrap();
        for _ in 0..10 {
            yield_now().await;
        }
        server.close();
        server.abort_clients();
        server.wait_closed().await;
        // A reset, or an end that is none.
        reader.read_to_end().await.unwrap_err();

        // `close_clients` ends TLS.
        let server = net::start_server("127.0.0.1:0", async |mut reader: StreamReader, _writer| {
            assert_eq!(reader.read_to_end().await.unwrap(), b"");
        });
        let server = server.tls(acceptor()).await.unwrap();
        let address = server.local_addr().unwrap();
        let (mut reader, _writer) = net::open_connection(address).tls(connector()).await.unwrap();
        for _ in 0..10 {
            yield_now().await;
        }
        server.close();
        server.close_clients();
        assert_eq!(reader.read_to_end().await.unwrap(), b"");
        server.wait_closed().await;
    });
}

/// Reports show where a task waits, as for a socket without TLS.
#[test]
fn name_the_place_of_a_wait() {
    run(|| async {
        let ((mut reader, _writer), _peer) = pair().await;
        let line = line!() + 1;
        let reading = spawn(async move { reader.read_line().await.map(drop) });
        yield_now().await;
        let graph = call_graph();
        let task = graph.tasks.iter().find(|task| task.id == reading.id()).unwrap();
        let places: Vec<_> = task.waits_for.iter().map(|wait| (wait.at.file(), wait.at.line())).collect();
        assert_eq!(places, [(file!(), line)]);
        assert!(words(task).starts_with("something to read"), "{}", words(task));
    });
}

#[test]
fn continue_a_close_after_a_timeout() {
    run(|| async {
        let ((mut reader, writer), (mut peer, answer)) = pair().await;
        let mut close = writer.close();
        assert!(timeout(ms(1), &mut close).await.is_err());
        // A read of the other half does not wait for the peer.
        assert_eq!(reader.read(1).await.unwrap(), b"");
        assert_eq!(peer.read_to_end().await.unwrap(), b"");
        answer.close().await.unwrap();
        close.await.unwrap();
    });
}
