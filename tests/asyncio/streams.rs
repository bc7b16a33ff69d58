//! `test_streams.py`: streams over pairs of sockets. The other end of a reader's connection feeds
//! the reader.

use crate::common::{telling_loop, watched};
use futures_util::FutureExt;
use onelane::net::{self, StreamReader, StreamWriter, UnixStream};
use rustix::net::sockopt::set_socket_linger;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

pub(crate) const HERE: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

pub(crate) const GET: &[u8] = b"GET / HTTP/1.0\r\n\r\n";

/// Runs a future on a virtual clock. Fails after a minute, or if the exception handler is called.
pub(crate) fn run<F: Future<Output = ()>>(make: impl FnOnce() -> F + Send + 'static) {
    watched(move || {
        let (event_loop, told) = telling_loop();
        event_loop.run(make());
        assert_eq!(told.take(), [""; 0]);
    });
}

/// A path at which there is no file yet.
pub(crate) fn path(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("onelane-asyncio-{name}-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

/// The response of `run_test_server`: a short message, or the content that was sent with a
/// `Content-Length`.
pub(crate) async fn http(mut reader: StreamReader, mut writer: StreamWriter) {
    let Ok(head) = reader.read_until(b"\r\n\r\n").await else { return };
    let head = String::from_utf8(head).unwrap();
    writer.write_all(b"HTTP/1.0 200 OK\r\nContent-type: text/plain\r\n\r\n").await.unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let Some(length) = length else { return writer.write_all(b"Test message").await.unwrap() };
    let mut left: usize = length.parse().unwrap();
    while left > 0 {
        let bytes = reader.read(left).await.unwrap();
        assert!(!bytes.is_empty());
        left -= bytes.len();
        writer.write_all(&bytes).await.unwrap();
    }
}

/// The other end of a reader's connection.
struct Feeder(StreamReader, StreamWriter);

impl Feeder {
    fn feed_data(&mut self, bytes: &[u8]) {
        self.1.write_all(bytes).now_or_never().expect("there is room").unwrap();
    }

    fn feed_eof(self) {}
}

fn stream() -> (StreamReader, Feeder) {
    let (one, other) = UnixStream::pair().unwrap();
    let ((reader, _), (kept, writer)) = (one.into_streams(), other.into_streams());
    (reader, Feeder(kept, writer))
}

/// The bytes that are left in a reader, after the end of its feed.
async fn left(mut reader: StreamReader, feeder: Feeder) -> Vec<u8> {
    feeder.feed_eof();
    reader.read_to_end().await.unwrap()
}

/// A reader, and the other end of its connection, which can cause an error.
async fn tcp_stream() -> (StreamReader, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (reader, _) = net::open_connection(listener.local_addr().unwrap()).await.unwrap();
    let (peer, _) = listener.accept().unwrap();
    (reader, peer)
}

/// `set_exception`: the connection is reset.
fn set_exception(peer: TcpStream) {
    set_socket_linger(&peer, Some(Duration::ZERO)).unwrap();
}

mod stream_tests {
    use super::{Feeder, GET, HERE, http, left, path, run, set_exception, stream, tcp_stream};
    use crate::Cue;
    use crate::common::{ms, panic_of, telling_loop, virtual_loop, watched};
    use futures_util::FutureExt;
    use onelane::net::{self, IncompleteRead, LimitOverrun, Server, StreamReader, StreamWriter, UnixStream};
    use onelane::sync::Lock;
    use onelane::{call_later, call_soon, current_task, gather, spawn, yield_now};
    use rustix::net::sockopt::set_socket_linger;
    use std::cell::Cell;
    use std::io::{ErrorKind, Read, Write};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixListener;
    use std::pin::pin;
    use std::process::Command;
    use std::rc::Rc;
    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::Duration;

    const DATA: &[u8] = b"line1\nline2\nline3\n";

    type Connection = (StreamReader, StreamWriter);

    async fn http_server() -> Server {
        net::start_server(HERE, http).await.unwrap()
    }

    async fn connect_to(server: &Server) -> Connection {
        net::open_connection(server.local_addr().unwrap()).await.unwrap()
    }

    async fn basetest_open_connection((mut reader, mut writer): Connection) {
        writer.write_all(GET).await.unwrap();
        assert_eq!(reader.read_line().await.unwrap(), b"HTTP/1.0 200 OK\r\n");
        assert!(reader.read_to_end().await.unwrap().ends_with(b"\r\n\r\nTest message"));
        writer.close().await.unwrap();
    }

    #[test]
    fn test_open_connection() {
        run(|| async { basetest_open_connection(connect_to(&http_server().await).await).await });
    }

    #[test]
    fn test_open_unix_connection() {
        run(|| async {
            let path = path("open");
            let _server = net::start_unix_server(&path, http).unwrap();
            basetest_open_connection(net::open_unix_connection(&path).await.unwrap()).await;
        });
    }

    #[test]
    fn test_open_connection_error() {
        run(|| async {
            let server = net::start_server(HERE, async |_reader, writer| {
                set_socket_linger(&writer, Some(Duration::ZERO)).unwrap();
            })
            .await;
            let (mut reader, writer) = connect_to(&server.unwrap()).await;
            assert_eq!(reader.read_to_end().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
            writer.close().await.unwrap();
        });
    }

    /// A Unix socket is dropped with unread bytes. Linux resets its connection, and other systems
    /// end it.
    #[test]
    fn test_open_unix_connection_error() {
        run(|| async {
            let path = path("open-error");
            let listener = UnixListener::bind(&path).unwrap();
            let (mut reader, mut writer) = net::open_unix_connection(&path).await.unwrap();
            std::fs::remove_file(&path).unwrap();
            let (peer, _) = listener.accept().unwrap();
            writer.write_all(b"not read").await.unwrap();
            drop(peer);
            let read = reader.read_to_end().await.map_err(|error| error.kind());
            assert_eq!(read, if cfg!(target_os = "linux") { Err(ErrorKind::ConnectionReset) } else { Ok(Vec::new()) });
            writer.close().await.unwrap();
        });
    }

    #[test]
    fn test_feed_empty_data() {
        run(|| async {
            let (reader, mut feeder) = stream();
            feeder.feed_data(b"");
            assert_eq!(left(reader, feeder).await, b"");
        });
    }

    #[test]
    fn test_feed_nonempty_data() {
        run(|| async {
            let (reader, mut feeder) = stream();
            feeder.feed_data(DATA);
            assert_eq!(left(reader, feeder).await, DATA);
        });
    }

    #[test]
    fn test_read_zero() {
        run(|| async {
            let (mut reader, mut feeder) = stream();
            feeder.feed_data(DATA);
            assert_eq!(reader.read(0).await.unwrap(), b"");
            assert_eq!(left(reader, feeder).await, DATA);
        });
    }

    #[test]
    fn test_read() {
        run(|| async {
            let (mut reader, mut feeder) = stream();
            let task = spawn(async move {
                let data = reader.read(30).await.unwrap();
                (data, reader.read_to_end().await.unwrap())
            });
            call_soon(move || feeder.feed_data(DATA));
            assert_eq!(task.await, Ok((DATA.to_vec(), vec![])));
        });
    }

    #[test]
    fn test_read_line_breaks() {
        run(|| async {
            let (mut reader, mut feeder) = stream();
            feeder.feed_data(b"line1");
            feeder.feed_data(b"line2");
            assert_eq!(reader.read(5).await.unwrap(), b"line1");
            assert_eq!(left(reader, feeder).await, b"line2");
        });
    }

    #[test]
    fn test_read_eof() {
        run(|| async {
            let (mut reader, feeder) = stream();
            let task = spawn(async move {
                let data = reader.read(1024).await.unwrap();
                (data, reader.at_eof())
            });
            call_soon(move || feeder.feed_eof());
            assert_eq!(task.await, Ok((vec![], true)));
        });
    }

    #[test]
    fn test_read_until_eof() {
        run(|| async {
            let (mut reader, mut feeder) = stream();
            let task = spawn(async move {
                let data = reader.read_to_end().await.unwrap();
                (data, reader.at_eof())
            });
            call_soon(move || {
                feeder.feed_data(b"chunk1\n");
                feeder.feed_data(b"chunk2");
                feeder.feed_eof();
            });
            assert_eq!(task.await, Ok((b"chunk1\nchunk2".to_vec(), true)));
        });
    }

    /// The bytes that arrived before the error are read first.
    #[test]
    fn test_read_exception() {
        run(|| async {
            let (mut reader, mut peer) = tcp_stream().await;
            peer.write_all(b"line\n").unwrap();
            assert_eq!(reader.read(2).await.unwrap(), b"li");
            set_exception(peer);
            assert_eq!(reader.read(2).await.unwrap(), b"ne");
            assert_eq!(reader.read(2).await.unwrap(), b"\n");
            assert_eq!(reader.read(2).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        });
    }

    /// A limit of 0 allows only empty lines.
    #[test]
    fn test_invalid_limit() {
        run(|| async {
            let (mut reader, mut feeder) = stream();
            reader.set_limit(0);
            feeder.feed_data(b"\nx\n");
            assert_eq!(reader.read_line().await.unwrap(), b"\n");
            assert_eq!(reader.read_line().await.unwrap_err().kind(), ErrorKind::InvalidData);
        });
    }

    #[test]
    fn test_read_limit() {
        run(|| async {
            let (mut reader, mut feeder) = stream();
            reader.set_limit(3);
            feeder.feed_data(b"chunk");
            assert_eq!(reader.read(5).await.unwrap(), b"chunk");
            assert_eq!(left(reader, feeder).await, b"");
        });
    }

    #[test]
    fn test_readline() {
        run(|| async {
            let (mut reader, mut feeder) = stream();
            feeder.feed_data(b"chunk1 ");
            let task = spawn(async move {
                let line = reader.read_line().await.unwrap();
                (line, reader.read_to_end().await.unwrap())
            });
            call_soon(move || {
                feeder.feed_data(b"chunk2 ");
                feeder.feed_data(b"chunk3 ");
                feeder.feed_data(b"\n chunk4");
            });
            assert_eq!(task.await, Ok((b"chunk1 chunk2 chunk3 \n".to_vec(), b" chunk4".to_vec())));
        });
    }

    /// Reads a line that is too long.
    async fn overruns(reader: &mut StreamReader) {
        let error = reader.read_line().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        error.downcast::<LimitOverrun>().unwrap();
    }

    #[test]
    fn test_readline_limit_with_existing_data() {
        run(|| async {
            let (mut reader, mut feeder) = stream();
            reader.set_limit(3);
            feeder.feed_data(b"li");
            feeder.feed_data(b"ne1\nline2\n");
            overruns(&mut reader).await;
            assert_eq!(left(reader, feeder).await, b"line2\n");

            let (mut reader, mut feeder) = stream();
            reader.set_limit(3);
            feeder.feed_data(b"li");
            feeder.feed_data(b"ne1");
            feeder.feed_data(b"li");
            overruns(&mut reader).await;
            assert_eq!(left(reader, feeder).await, b"");
        });
    }

    /// The read after the last line sees the end.
    #[test]
    fn test_at_eof() {
        run(|| async {
            let (mut reader, mut feeder) = stream();
            assert!(!reader.at_eof());
            feeder.feed_data(b"some data\n");
            assert!(!reader.at_eof());
            reader.read_line().await.unwrap();
            assert!(!reader.at_eof());
            feeder.feed_data(b"some data\n");
            feeder.feed_eof();
            assert_eq!(reader.read_line().await.unwrap(), b"some data\n");
            assert!(!reader.at_eof());
            assert_eq!(reader.read_line().await.unwrap(), b"");
            assert!(reader.at_eof());
        });
    }

    #[test]
    fn test_readline_limit() {
        run(|| async {
            for (chunks, rest) in [
                ([b"chunk1".as_slice(), b"chunk2", b"chunk3\n"], b"".as_slice()),
                ([b"chunk1", b"chunk2\n", b"chunk3\n"], b"chunk3\n"),
            ] {
                let (mut reader, mut feeder) = stream();
                reader.set_limit(7);
                call_soon(move || {
                    chunks.iter().for_each(|chunk| feeder.feed_data(chunk));
                    feeder.feed_eof();
                });
                overruns(&mut reader).await;
                assert_eq!(reader.read_to_end().await.unwrap(), rest);
            }

            // The limit is strict.
            let (mut reader, mut feeder) = stream();
            reader.set_limit(7);
            feeder.feed_data(b"1234567\n");
            assert_eq!(reader.read_line().await.unwrap(), b"1234567\n");
            feeder.feed_data(b"12345678\n");
            overruns(&mut reader).await;
            feeder.feed_data(b"12345678");
            overruns(&mut reader).await;
            assert_eq!(left(reader, feeder).await, b"");
        });
    }

    #[test]
    fn test_readline_nolimit_nowait() {
        run(|| async {
            let (mut reader, mut feeder) = stream();
            feeder.feed_data(&DATA[..6]);
            feeder.feed_data(&DATA[6..]);
            assert_eq!(reader.read_line().await.unwrap(), b"line1\n");
            assert_eq!(left(reader, feeder).await, b"line2\nline3\n");
        });
    }

    #[test]
    fn test_readline_eof() {
        run(|| async {
            let (mut reader, mut feeder) = stream();
            feeder.feed_data(b"some data");
            feeder.feed_eof();
            assert_eq!(reader.read_line().await.unwrap(), b"some data");
        });
    }

    #[test]
    fn test_readline_empty_eof() {
        run(|| async {
            let (mut reader, feeder) = stream();
            feeder.feed_eof();
            assert_eq!(reader.read_line().await.unwrap(), b"");
        });
    }

    #[test]
    fn test_readline_read_byte_count() {
        run(|| async {
            let (mut reader, mut feeder) = stream();
            feeder.feed_data(DATA);
            reader.read_line().await.unwrap();
            assert_eq!(reader.read(7).await.unwrap(), b"line2\nl");
            assert_eq!(left(reader, feeder).await, b"ine3\n");
        });
    }

    #[test]
    fn test_readline_exception() {
        run(|| async {
            let (mut reader, mut peer) = tcp_stream().await;
            peer.write_all(b"line\n").unwrap();
            assert_eq!(reader.read_line().await.unwrap(), b"line\n");
            set_exception(peer);
            assert_eq!(reader.read_line().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        });
    }

    #[test]
    fn test_readuntil_separator() {
        run(|| async {
            let (mut reader, _feeder) = stream();
            assert!(panic_of(|| drop(reader.read_until(b""))).contains("got an empty separator"));
            assert!(panic_of(|| drop(reader.read_until_any(&[b"x", b""]))).contains("or an empty one"));
            assert!(panic_of(|| drop(reader.read_until_any(&[]))).contains("got no separator"));
        });
    }

    #[test]
    fn test_readuntil_multi_chunks() {
        run(|| async {
            let (mut reader, mut feeder) = stream();
            for _ in 0..2 {
                feeder.feed_data(b"lineAAA");
                assert_eq!(reader.read_until(b"AAA").await.unwrap(), b"lineAAA");
            }
            feeder.feed_data(b"lineAAAxxx");
            assert_eq!(reader.read_until(b"AAA").await.unwrap(), b"lineAAA");
            assert_eq!(left(reader, feeder).await, b"xxx");
        });
    }

    #[test]
    fn test_readuntil_multi_chunks_1() {
        run(|| async {
            let (mut reader, mut feeder) = stream();
            for chunks in [
                &[b"QWEaa".as_slice(), b"XYaa", b"a"][..],
                &[b"QWEaa", b"XYa", b"aa"],
                &[b"aaa"],
                &[b"Xaaa"],
                &[b"XXX", b"a", b"a", b"a"],
            ] {
                chunks.iter().for_each(|chunk| feeder.feed_data(chunk));
                assert_eq!(reader.read_until(b"aaa").await.unwrap(), chunks.concat());
            }
            assert_eq!(left(reader, feeder).await, b"");
        });
    }

    /// The bytes stay in the reader after the error.
    #[test]
    fn test_readuntil_eof() {
        run(|| async {
            let (mut reader, mut feeder) = stream();
            feeder.feed_data(b"some dataAA");
            feeder.feed_eof();
            let error = reader.read_until(b"AAA").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
            assert!(error.to_string().contains("without the separator"), "{error}");
            assert_eq!(error.downcast::<IncompleteRead>().unwrap(), IncompleteRead { came: 11, wanted: None });
            assert_eq!(reader.read_to_end().await.unwrap(), b"some dataAA");
        });
    }

    #[test]
    fn test_readuntil_limit_found_sep() {
        run(|| async {
            let (mut reader, mut feeder) = stream();
            reader.set_limit(3);
            feeder.feed_data(b"some dataAA");
            let error = reader.read_until(b"AAA").await.unwrap_err();
            assert_eq!(error.downcast::<LimitOverrun>().unwrap(), LimitOverrun { consumed: 9, limit: 3 });
            feeder.feed_data(b"A");
            let error = reader.read_until(b"AAA").await.unwrap_err();
            assert_eq!(error.downcast::<LimitOverrun>().unwrap(), LimitOverrun { consumed: 9, limit: 3 });
            assert_eq!(left(reader, feeder).await, b"some dataAAA");
        });
    }

    #[test]
    fn test_readuntil_multi_separator() {
        run(|| async {
            let (mut reader, mut feeder) = stream();
            feeder.feed_data(b"line 1\nline 2\r");
            assert_eq!(reader.read_until_any(&[b"\r", b"\n"]).await.unwrap(), b"line 1\n");
            assert_eq!(reader.read_until_any(&[b"\r", b"\n"]).await.unwrap(), b"line 2\r");
            // The match that ends first is used, even if it is the longer one.
            feeder.feed_data(b"ABCDEFG");
            assert_eq!(reader.read_until_any(&[b"DEF", b"BCDE"]).await.unwrap(), b"ABCDE");
            assert_eq!(left(reader, feeder).await, b"FG");
        });
    }

    #[test]
    fn test_readuntil_multi_separator_limit() {
        run(|| async {
            let (mut reader, mut feeder) = stream();
            reader.set_limit(3);
            feeder.feed_data(b"some dataA");
            let error = reader.read_until_any(&[b"A", b"ome dataA"]).await.unwrap_err();
            assert_eq!(error.downcast::<LimitOverrun>().unwrap(), LimitOverrun { consumed: 9, limit: 3 });
            assert_eq!(left(reader, feeder).await, b"some dataA");
        });
    }

    #[test]
    fn test_readuntil_multi_separator_negative_offset() {
        run(|| async {
            let (mut reader, mut feeder) = stream();
            feeder.feed_data(b"data");
            {
                let mut read = pin!(reader.read_until_any(&[b"A", b"long sep"]));
                assert!(read.as_mut().now_or_never().is_none());
                feeder.feed_data(b"Z");
                assert!(read.as_mut().now_or_never().is_none());
                feeder.feed_data(b"Aaaa");
                assert_eq!(read.await.unwrap(), b"dataZA");
            }
            assert_eq!(left(reader, feeder).await, b"aaa");
        });
    }

    #[test]
    fn test_readuntil_bytearray() {
        run(|| async {
            let (mut reader, mut feeder) = stream();
            feeder.feed_data(b"some data\r\n");
            let separator = Vec::from(*b"\r\n");
            assert_eq!(reader.read_until(&separator).await.unwrap(), b"some data\r\n");
            assert_eq!(left(reader, feeder).await, b"");
        });
    }

    #[test]
    fn test_readexactly_zero_or_less() {
        run(|| async {
            let (mut reader, mut feeder) = stream();
            feeder.feed_data(DATA);
            assert_eq!(reader.read_exactly(0).await.unwrap(), b"");
            assert_eq!(left(reader, feeder).await, DATA);
        });
    }

    #[test]
    fn test_readexactly() {
        run(|| async {
            let (mut reader, mut feeder) = stream();
            let task = spawn(async move {
                let data = reader.read_exactly(2 * DATA.len()).await.unwrap();
                (data, reader.read_to_end().await.unwrap())
            });
            call_soon(move || (0..3).for_each(|_| feeder.feed_data(DATA)));
            assert_eq!(task.await, Ok(([DATA, DATA].concat(), DATA.to_vec())));
        });
    }

    #[test]
    fn test_readexactly_limit() {
        run(|| async {
            let (mut reader, mut feeder) = stream();
            reader.set_limit(3);
            feeder.feed_data(b"chunk");
            assert_eq!(reader.read_exactly(5).await.unwrap(), b"chunk");
            assert_eq!(left(reader, feeder).await, b"");
        });
    }

    /// The bytes stay in the reader after the error.
    #[test]
    fn test_readexactly_eof() {
        run(|| async {
            let (mut reader, mut feeder) = stream();
            let task = spawn(async move {
                let error = reader.read_exactly(2 * DATA.len()).await.unwrap_err();
                (error, reader.read_to_end().await.unwrap())
            });
            call_soon(move || {
                feeder.feed_data(DATA);
                feeder.feed_eof();
            });
            let (error, rest) = task.await.unwrap();
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
            assert_eq!(error.to_string(), "the stream ended after 18 of 36 bytes, which are still to be read");
            assert_eq!(error.downcast::<IncompleteRead>().unwrap(), IncompleteRead { came: 18, wanted: Some(36) });
            assert_eq!(rest, DATA);
        });
    }

    /// The bytes that arrived before the error are read first.
    #[test]
    fn test_readexactly_exception() {
        run(|| async {
            let (mut reader, mut peer) = tcp_stream().await;
            peer.write_all(b"line\n").unwrap();
            assert_eq!(reader.read_exactly(2).await.unwrap(), b"li");
            set_exception(peer);
            assert_eq!(reader.read_exactly(2).await.unwrap(), b"ne");
            assert_eq!(reader.read_exactly(2).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
            assert_eq!(reader.read(2).await.unwrap(), b"\n");
        });
    }

    /// Each read returns the error.
    #[test]
    fn test_exception() {
        run(|| async {
            let (mut reader, peer) = tcp_stream().await;
            set_exception(peer);
            for _ in 0..2 {
                assert_eq!(reader.read(1).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
            }
        });
    }

    #[test]
    fn test_exception_waiter() {
        run(|| async {
            let (mut reader, peer) = tcp_stream().await;
            let t1 = spawn(async move { reader.read_line().await.map_err(|error| error.kind()) });
            let t2 = spawn(async move { set_exception(peer) });
            assert_eq!(t1.await, Ok(Err(ErrorKind::ConnectionReset)));
            assert_eq!(t2.await, Ok(()));
        });
    }

    #[test]
    fn test_exception_cancel() {
        run(|| async {
            let (reader, peer) = tcp_stream().await;
            let reader = Rc::new(Lock::new(reader));
            let copy = reader.clone();
            let t = spawn(async move { copy.lock().await.read_line().await.map(drop) });
            yield_now().await;
            t.cancel();
            yield_now().await;
            assert!(t.is_cancelled());
            set_exception(peer);
            yield_now().await;
            assert_eq!(reader.lock().await.read(1).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        });
    }

    /// Sends a line, and reads it back.
    async fn client((mut reader, mut writer): Connection) -> Vec<u8> {
        writer.write_all(b"hello world!\n").await.unwrap();
        let msgback = reader.read_line().await.unwrap();
        writer.close().await.unwrap();
        msgback
    }

    async fn handle_client(mut reader: StreamReader, mut writer: StreamWriter) {
        let data = reader.read_line().await.unwrap();
        writer.write_all(&data).await.unwrap();
        writer.close().await.unwrap();
    }

    async fn handle_client_callback(reader: StreamReader, writer: StreamWriter) {
        drop(spawn(handle_client(reader, writer)));
    }

    #[test]
    fn test_start_server() {
        run(|| async {
            let server = net::start_server(HERE, handle_client).await.unwrap();
            assert_eq!(client(connect_to(&server).await).await, b"hello world!\n");
            server.close();
            server.wait_closed().await;

            let server = net::start_server(HERE, handle_client_callback).await.unwrap();
            assert_eq!(client(connect_to(&server).await).await, b"hello world!\n");
            server.close();
            server.wait_closed().await;
        });
    }

    #[test]
    fn test_start_unix_server() {
        run(|| async {
            let path = path("start");
            let server = net::start_unix_server(&path, handle_client).unwrap();
            assert_eq!(client(net::open_unix_connection(&path).await.unwrap()).await, b"hello world!\n");
            server.close();
            server.wait_closed().await;

            let server = net::start_unix_server(&path, handle_client_callback).unwrap();
            assert_eq!(client(net::open_unix_connection(&path).await.unwrap()).await, b"hello world!\n");
            server.close();
            server.wait_closed().await;
        });
    }

    /// A pair of Unix sockets replaces the pipe. The child has one of them as its stdout.
    #[test]
    fn test_read_all_from_pipe_reader() {
        run(|| async {
            let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
            let (mut reader, _writer) = UnixStream::from_std(ours).unwrap().into_streams();
            reader.set_limit(1);
            let mut command = Command::new("printf");
            command.arg("data").stdout(OwnedFd::from(theirs));
            let status = command.status().unwrap();
            // The command keeps the other end open.
            drop(command);
            assert!(status.success());
            assert_eq!(reader.read_to_end().await.unwrap(), b"data");
        });
    }

    #[test]
    fn test_streamreader_constructor_without_loop() {
        assert!(panic_of(UnixStream::pair).contains("there is no running event loop"));
    }

    #[test]
    fn test_streamreader_constructor_use_running_loop() {
        let (event_loop, other_loop) = (virtual_loop(), virtual_loop());
        let (mut reader, mut feeder) = event_loop.run(async { stream() });
        event_loop.run(async { feeder.feed_data(b"data") });
        let message = panic_of(|| other_loop.run(async { reader.read(1).await.map(drop) }));
        assert!(message.contains("its loop is not"), "{message}");
        assert_eq!(event_loop.run(async { reader.read(4).await.unwrap() }), b"data");
    }

    /// Ten tasks share a writer, which waits until the other end reads.
    #[test]
    fn test_multiple_drain() {
        run(|| async {
            let (mut reader, feeder) = stream();
            let writer = Rc::new(Lock::new(feeder));
            let drained = Rc::new(Cell::new(0));
            let drainers = gather((0..10).map(|_| {
                let (writer, drained) = (writer.clone(), drained.clone());
                async move {
                    writer.lock().await.1.write_all(&vec![7; 1_000_000]).await.unwrap();
                    drained.set(drained.get() + 1);
                }
            }));
            let copy = drained.clone();
            call_later(ms(100), move || {
                assert_eq!(copy.get(), 0, "the other end does not read yet");
                drop(spawn(async move { drop(reader.read_exactly(10_000_000).await.unwrap()) }));
            });
            drainers.await.unwrap();
            assert_eq!(drained.get(), 10);
        });
    }

    /// The server runs on a thread.
    #[test]
    fn test_drain_raises() {
        run(|| async {
            let (q, addresses) = channel();
            let server = thread::spawn(move || {
                let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
                q.send(listener.local_addr().unwrap()).unwrap();
                drop(listener.accept().unwrap());
            });
            let (_reader, mut writer) = net::open_connection(addresses.recv().unwrap()).await.unwrap();
            let error = loop {
                if let Err(error) = writer.write_all(b"foo\n").await {
                    break error.kind();
                }
            };
            assert!(matches!(error, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
            server.join().unwrap();
        });
    }

    /// The part of a reader's `Debug` text between the braces, without the socket.
    fn shown(reader: &StreamReader) -> String {
        let shown = format!("{reader:?}");
        assert!(shown.starts_with("StreamReader { stream: Unix("), "{shown}");
        shown.rsplit_once(", ").unwrap().1.to_string()
    }

    #[test]
    #[allow(non_snake_case, reason = "the name of the Python test")]
    fn test___repr__() {
        run(|| async { assert_eq!(shown(&stream().0), "unread: 0 }") });
    }

    #[test]
    #[allow(non_snake_case, reason = "the name of the Python test")]
    fn test___repr__nondefault_limit() {
        run(|| async {
            let (mut reader, _feeder) = stream();
            reader.set_limit(123);
            assert_eq!(shown(&reader), "unread: 0 }");
        });
    }

    #[test]
    #[allow(non_snake_case, reason = "the name of the Python test")]
    fn test___repr__eof() {
        run(|| async {
            let (mut reader, feeder) = stream();
            feeder.feed_eof();
            assert_eq!(reader.read(1).await.unwrap(), b"");
            assert_eq!((shown(&reader), reader.at_eof()), ("unread: 0 }".into(), true));
        });
    }

    /// Bytes are in the reader only after it has read them.
    #[test]
    #[allow(non_snake_case, reason = "the name of the Python test")]
    fn test___repr__data() {
        run(|| async {
            let (mut reader, mut feeder) = stream();
            feeder.feed_data(b"-data");
            assert_eq!(reader.read(1).await.unwrap(), b"-");
            assert_eq!(shown(&reader), "unread: 4 }");
        });
    }

    #[test]
    #[allow(non_snake_case, reason = "the name of the Python test")]
    fn test___repr__transport() {
        run(|| async {
            let (reader, _feeder) = stream();
            let shown = format!("{reader:?}");
            assert!(shown.contains("UnixStream {"), "{shown}");
        });
    }

    #[test]
    fn test_wait_closed_on_close() {
        run(|| async {
            let (mut rd, mut wr) = connect_to(&http_server().await).await;
            wr.write_all(GET).await.unwrap();
            assert_eq!(rd.read_line().await.unwrap(), b"HTTP/1.0 200 OK\r\n");
            assert!(rd.read_to_end().await.unwrap().ends_with(b"\r\n\r\nTest message"));
            wr.close().await.unwrap();
        });
    }

    #[test]
    fn test_wait_closed_on_close_with_unread_data() {
        run(|| async {
            let (mut rd, mut wr) = connect_to(&http_server().await).await;
            wr.write_all(GET).await.unwrap();
            assert_eq!(rd.read_line().await.unwrap(), b"HTTP/1.0 200 OK\r\n");
            wr.close().await.unwrap();
        });
    }

    #[test]
    fn test_async_writer_api() {
        run(|| async { basetest_open_connection(connect_to(&http_server().await).await).await });
    }

    /// The next read sees the end.
    #[test]
    fn test_eof_feed_when_closing_writer() {
        run(|| async {
            let (mut rd, wr) = connect_to(&http_server().await).await;
            wr.close().await.unwrap();
            assert!(!rd.at_eof());
            assert_eq!(rd.read_to_end().await.unwrap(), b"");
            assert!(rd.at_eof());
        });
    }

    /// The connection is closed when the reader is dropped.
    #[test]
    fn test_unclosed_resource_warnings() {
        run(|| async {
            let (mut peer, Feeder(rd, wr)) = stream();
            drop(wr);
            assert!(peer.read(1).now_or_never().is_none(), "the reader still exists");
            drop(rd);
            assert_eq!(peer.read(1).await.unwrap(), b"");
        });
    }

    /// The connection is also closed after the end of its loop.
    #[test]
    fn test_loop_is_closed_resource_warnings() {
        let event_loop = virtual_loop();
        let (reader, mut peer) = event_loop.run(tcp_stream());
        drop(event_loop);
        peer.set_nonblocking(true).unwrap();
        assert_eq!(peer.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        peer.set_nonblocking(false).unwrap();
        drop(reader);
        assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0);
    }

    #[test]
    fn test_unclosed_server_resource_warnings() {
        run(|| async {
            let fut = Cue::new();
            let copy = fut.clone();
            let server = net::start_server(HERE, async move |_rd, wr| {
                drop(wr);
                copy.set(true);
            })
            .await;
            let (mut reader, _writer) = connect_to(&server.unwrap()).await;
            assert!(fut.wait().await);
            assert_eq!(reader.read_to_end().await.unwrap(), b"");
        });
    }

    /// The reports to the exception handler while a client sends something.
    fn basetest_unhandled_exceptions<H>(handle_echo: H) -> Vec<String>
    where
        H: AsyncFn(StreamReader, StreamWriter) + Send + 'static,
    {
        watched(move || {
            let (event_loop, told) = telling_loop();
            event_loop.run(async {
                let server = net::start_server(HERE, handle_echo).await.unwrap();
                let (mut rd, mut wr) = connect_to(&server).await;
                wr.write_all(b"test msg").await.unwrap();
                // Reads until the handler has ended the connection.
                drop(rd.read_to_end().await);
                wr.close().await.unwrap();
                server.close();
                server.wait_closed().await;
            });
            told.take()
        })
    }

    #[test]
    fn test_unhandled_exception() {
        let messages = basetest_unhandled_exceptions(async |_, _| panic!("test"));
        assert_eq!(messages, ["a task panicked and its result was never read: test"]);
    }

    #[test]
    fn test_unhandled_cancel() {
        let messages = basetest_unhandled_exceptions(async |_, writer| {
            writer.close().await.unwrap();
            current_task().unwrap().cancel();
        });
        assert_eq!(messages, [""; 0]);
    }
}
