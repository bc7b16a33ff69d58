//! asyncio's streams and servers, through the public API, on this machine only.
#![cfg(unix)]

mod common;

use common::{Trace, ms, panic_of, virtual_loop, watched};
use futures_util::{FutureExt, join};
use onelane::net::{self, IncompleteRead, LimitOverrun, StreamReader, StreamWriter, UnixStream};
use onelane::{EventLoop, RunError, all_tasks, call_graph, gather, sleep, spawn, sync, time, timeout, yield_now};
use rustix::net::sockopt::{set_socket_linger, tcp_nodelay};
use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, Read, Write};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::rc::Rc;

const HERE: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

/// A reader, a writer whose bytes arrive at the reader, and the other halves, which must stay open.
fn pipe() -> (StreamReader, StreamWriter, (StreamReader, StreamWriter)) {
    let (one, other) = UnixStream::pair().unwrap();
    let ((reader, one), (other, writer)) = (one.into_streams(), other.into_streams());
    (reader, writer, (other, one))
}

/// Runs a future on a virtual clock. Fails after a minute.
fn run<F: Future<Output = ()>>(make: impl FnOnce() -> F + Send + 'static) {
    watched(move || virtual_loop().run(make()));
}

fn path(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("onelane-streams-{name}-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

// ---- reading ----

#[test]
fn a_read_that_is_cancelled_at_each_byte_loses_none() {
    run(|| async {
        let (mut reader, mut writer, _held) = pipe();
        let text = b"a line\nkey--value--12345";
        for byte in &text[..6] {
            writer.write_all(&[*byte]).await.unwrap();
            assert!(timeout(ms(1), reader.read_line()).await.is_err());
        }
        writer.write_all(b"\n").await.unwrap();
        assert_eq!(timeout(ms(1), reader.read_line()).await.unwrap().unwrap(), b"a line\n");
        for (separated, byte) in text[7..18].iter().enumerate() {
            writer.write_all(&[*byte]).await.unwrap();
            match timeout(ms(1), reader.read_until(b"--")).await {
                Ok(part) if separated == 4 => assert_eq!(part.unwrap(), b"key--"),
                Ok(part) if separated == 11 => assert_eq!(part.unwrap(), b"value--"),
                other => assert!(other.is_err(), "{other:?} behind byte {separated}"),
            }
        }
        writer.write_all(b"-").await.unwrap();
        assert_eq!(timeout(ms(1), reader.read_until(b"--")).await.unwrap().unwrap(), b"value--");
        for byte in b"1234" {
            writer.write_all(&[*byte]).await.unwrap();
            assert!(timeout(ms(1), reader.read_exactly(5)).await.is_err());
        }
        writer.write_all(b"5").await.unwrap();
        assert_eq!(timeout(ms(1), reader.read_exactly(5)).await.unwrap().unwrap(), b"12345");
    });
}

/// A small, deterministic generator of numbers.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % limit
    }
}

/// Chunks of random lengths and random reads, some of them cancelled, are compared with the bytes
/// themselves.
#[test]
fn any_reads_give_what_any_chunks_have_brought() {
    for seed in 0..30 {
        run(move || async move {
            let mut numbers = Numbers(seed);
            let (mut reader, mut writer, _held) = pipe();
            let alphabet = [b'a', b'b', b'-', b'\n'];
            let length = 1 + numbers.below(30_000);
            let text: Vec<u8> = (0..length).map(|_| alphabet[numbers.below(4) as usize]).collect();
            let (copy, mut chunks) = (text.clone(), Numbers(seed + 1000));
            let sender = spawn(async move {
                let mut rest = &copy[..];
                while !rest.is_empty() {
                    let count = rest.len().min(1 + chunks.below(900) as usize);
                    writer.write_all(&rest[..count]).await.unwrap();
                    rest = &rest[count..];
                    if chunks.below(3) == 0 {
                        sleep(ms(1 + chunks.below(3))).await;
                    }
                }
                writer.write_eof().unwrap();
            });
            let mut at = 0;
            while !reader.at_eof() {
                let rest = &text[at..];
                let find = |what: &[u8]| rest.windows(what.len()).position(|it| it == what).map(|it| it + what.len());
                let patience = ms(numbers.below(4));
                let count = 1 + numbers.below(200) as usize;
                let (read, expected) = match numbers.below(4) {
                    0 => (timeout(patience, reader.read(count)).await, None),
                    1 => {
                        (timeout(patience, reader.read_exactly(count)).await, Some(count).filter(|&n| n <= rest.len()))
                    }
                    2 => (timeout(patience, reader.read_line()).await, find(b"\n").or(Some(rest.len()))),
                    _ => (timeout(patience, reader.read_until(b"\n-")).await, find(b"\n-")),
                };
                match read {
                    Err(_) => {}
                    Ok(Ok(bytes)) => {
                        assert!(bytes.len() == expected.unwrap_or(bytes.len()), "seed {seed} at {at}");
                        assert!(bytes[..] == rest[..bytes.len()], "seed {seed} at {at}");
                        at += bytes.len();
                    }
                    Ok(Err(error)) => {
                        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
                        assert_eq!((error.downcast::<IncompleteRead>().unwrap().came, expected), (rest.len(), None));
                    }
                }
            }
            assert_eq!(at, text.len());
            sender.await.unwrap();
        });
    }
}

#[test]
fn large_reads_are_whole() {
    run(|| async {
        let (mut reader, mut writer, _held) = pipe();
        let book: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
        let copy = book.clone();
        let sender = spawn(async move {
            for _ in 0..3 {
                writer.write_all(&copy).await.unwrap();
            }
            writer.close().await.unwrap();
        });
        assert!(reader.read_exactly(book.len()).await.unwrap() == book);
        let mut by_pieces = Vec::new();
        while by_pieces.len() < book.len() {
            let piece = reader.read(book.len() - by_pieces.len()).await.unwrap();
            assert!(!piece.is_empty());
            by_pieces.extend(piece);
        }
        assert!(by_pieces == book);
        assert!(reader.read_to_end().await.unwrap() == book);
        assert!(reader.at_eof());
        sender.await.unwrap();
    });
}

#[test]
fn at_the_limit_and_beyond() {
    run(|| async {
        for limit in [0, 1, 10, 5000] {
            let (mut reader, mut writer, _held) = pipe();
            reader.set_limit(limit);
            let (fits, too_long) = ([vec![b'x'; limit], b"\n".to_vec()].concat(), vec![b'y'; limit + 1]);
            writer.write_all(&fits).await.unwrap();
            assert_eq!(reader.read_line().await.unwrap(), fits);
            // A line that is too long: without a separator, with one, and with more bytes behind
            // it.
            for (separator, next) in [("", ""), ("\n", ""), ("\n", "next")] {
                let sent = [&too_long, separator.as_bytes(), next.as_bytes()].concat();
                writer.write_all(&sent).await.unwrap();
                // The bytes that arrived stay in the buffer.
                for _ in 0..2 {
                    let error = reader.read_until(b"\n").await.unwrap_err();
                    assert_eq!((error.kind(), reader.at_eof()), (ErrorKind::InvalidData, false));
                    let told = format!("{} bytes before the separator, and the limit is {limit}", limit + 1);
                    assert!(error.to_string().starts_with(&told), "{error}");
                    assert_eq!(error.downcast::<LimitOverrun>().unwrap(), LimitOverrun { consumed: limit + 1, limit });
                }
                reader.set_limit(limit + 1);
                let whole = reader.read_exactly(sent.len()).await.unwrap();
                assert_eq!(whole, sent);
                reader.set_limit(limit);
            }
        }
    });
}

/// The results of CPython 3.13 for these chunks; `None` is its `ValueError`. A line that is too
/// long can be skipped.
#[test]
fn skip_lines_that_are_too_long() {
    type Case = (usize, &'static [&'static str], &'static [Option<&'static str>]);
    const CASES: [Case; 6] = [
        (8, &["a line that is too long\nend\n"], &[None, Some("end\n"), Some("")]),
        (8, &["a line that", " is too long\nend\n"], &[None, None, Some("end\n"), Some("")]),
        (4, &["too long for it\n\nx\n"], &[None, Some("\n"), Some("x\n"), Some("")]),
        (8, &["12345678\n123456789\nok\n"], &[Some("12345678\n"), None, Some("ok\n"), Some("")]),
        (8, &["123456789", "\nok"], &[None, Some("\n"), Some("ok"), Some("")]),
        (4, &["longlong", "longlong", "\n", "z"], &[None, None, Some("\n"), Some("z"), Some("")]),
    ];
    for (limit, chunks, lines) in CASES {
        run(move || async move {
            let (mut reader, mut writer, _held) = pipe();
            reader.set_limit(limit);
            let mut chunks = chunks.iter();
            for line in lines {
                let read = loop {
                    // The next chunk is sent when the reader waits for it.
                    if let Ok(read) = timeout(ms(1), reader.read_line()).await {
                        break read;
                    }
                    match chunks.next() {
                        Some(chunk) => writer.write_all(chunk.as_bytes()).await.unwrap(),
                        None => writer.write_eof().unwrap(),
                    }
                };
                let read = read.ok().map(|bytes| String::from_utf8(bytes).unwrap());
                assert_eq!(read.as_deref(), *line, "{lines:?}");
            }
        });
    }
}

/// The separator may begin at the end of the buffer. The error does not count this part as
/// consumed.
#[test]
fn consume_what_is_before_a_separator() {
    run(|| async {
        for (text, limit, consumed) in [("12345\r\nrest", 3, 5), ("12345\r", 3, 5), ("123456", 4, 5)] {
            let (mut reader, mut writer, _held) = pipe();
            reader.set_limit(limit);
            writer.write_all(text.as_bytes()).await.unwrap();
            let error = reader.read_until(b"\r\n").await.unwrap_err();
            let overrun: LimitOverrun = error.downcast().unwrap();
            assert_eq!(overrun, LimitOverrun { consumed, limit });
            assert_eq!(reader.read_exactly(consumed).await.unwrap(), &text.as_bytes()[..consumed]);
        }
    });
}

#[test]
fn a_peer_that_never_ends_its_line_takes_no_more_than_the_limit() {
    run(|| async {
        let (mut reader, mut writer, _held) = pipe();
        let sender = spawn(async move { writer.write_all(&vec![b'x'; 10_000_000]).await });
        let error = reader.read_line().await.unwrap_err();
        let LimitOverrun { consumed, limit } = error.downcast().unwrap();
        assert_eq!(limit, 65_536);
        assert!(consumed <= 3 * limit, "{consumed} bytes");
        assert!(!sender.is_done(), "the rest waits at the sender");
        sender.cancel();
    });
}

#[test]
fn nothing_is_asked_for() {
    run(|| async {
        let (mut reader, _writer, _held) = pipe();
        assert_eq!(reader.read(0).await.unwrap(), b"");
        assert_eq!(reader.read_exactly(0).await.unwrap(), b"");
        let told = panic_of(|| drop(reader.read_until(b"")));
        assert!(told.contains("pass at least one byte"), "{told}");
    });
}

#[test]
fn what_came_before_a_reset_can_be_read_and_the_reset_is_told_each_time() {
    watched(|| {
        EventLoop::new().run(async {
            let listener = net::TcpListener::bind(HERE).await.unwrap();
            let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (mut reader, mut writer) = listener.accept().await.unwrap().0.into_streams();
            client.write_all(b"line\nhalf a li").unwrap();
            assert_eq!(reader.read_line().await.unwrap(), b"line\n");
            set_socket_linger(&client, Some(ms(0))).unwrap();
            drop(client);
            for _ in 0..3 {
                assert_eq!(reader.read_line().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
                assert!(!reader.at_eof());
            }
            assert_eq!(reader.read(100).await.unwrap(), b"half a li");
            assert_eq!(reader.read(100).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
            assert_eq!(writer.write_all(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
            // The connection is gone, and closing it again is not an error.
            writer.write_eof().unwrap();
            writer.close().await.unwrap();
        });
    });
}

// ---- writing ----

#[test]
fn a_write_waits_for_the_reader_and_can_be_given_up() {
    run(|| async {
        let (mut reader, mut writer, _held) = pipe();
        let book: Vec<u8> = (0..2_000_000_u32).map(|n| (n % 253) as u8).collect();
        let begun = time();
        let mut write = writer.write_all(&book);
        assert!(timeout(ms(1000), &mut write).await.is_err());
        assert_eq!(time() - begun, ms(1000));
        let written = write.written();
        drop(write);
        // The bytes that the system has accepted arrive, and the rest can be sent after them.
        let (rest, read) = join!(writer.write_all(&book[written..]), reader.read_exactly(book.len()));
        rest.unwrap();
        assert!(read.unwrap() == book);
    });
}

#[test]
fn what_was_written_arrives_although_the_writer_is_dropped() {
    watched(|| {
        EventLoop::new().run(async {
            let ended = Rc::new(sync::Event::new());
            let copy = ended.clone();
            let server = net::start_server(HERE, async move |reader, mut writer| {
                writer.write_all(&[9; 30_000]).await.unwrap();
                drop((reader, writer));
                copy.set();
            })
            .await
            .unwrap();
            let (mut reader, _writer) = net::open_connection(server.local_addr().unwrap()).await.unwrap();
            ended.wait().await;
            assert_eq!(reader.read_to_end().await.unwrap(), [9; 30_000]);
        });
    });
}

#[test]
fn a_connection_is_closed_when_both_halves_are_gone() {
    run(|| async {
        let (one, other) = UnixStream::pair().unwrap();
        let (reader, writer) = one.into_streams();
        let (mut peer, _peer_writer) = other.into_streams();
        drop(writer);
        assert!(timeout(ms(100), peer.read(1)).await.is_err(), "the reader still exists");
        drop(reader);
        assert_eq!(timeout(ms(100), peer.read(1)).await.unwrap().unwrap(), b"");
    });
}

#[test]
fn close_ends_a_read_of_the_other_half() {
    run(|| async {
        let (one, _other) = UnixStream::pair().unwrap();
        let (mut reader, mut writer) = one.into_streams();
        let waiting = spawn(async move { reader.read_line().await.unwrap() });
        yield_now().await;
        assert!(!waiting.is_done());
        writer.write_eof().unwrap();
        yield_now().await;
        assert_eq!(writer.write_all(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        assert!(!waiting.is_done());
        writer.close().await.unwrap();
        assert_eq!(waiting.await, Ok(Vec::new()));
    });
}

#[test]
fn a_reader_that_is_never_short_of_bytes_lets_others_run() {
    watched(|| {
        EventLoop::new().run(async {
            let (one, mut other) = std::os::unix::net::UnixStream::pair().unwrap();
            let (mut reader, _writer) = UnixStream::from_std(one).unwrap().into_streams();
            let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
            let copy = stop.clone();
            let thread = std::thread::spawn(move || {
                while !copy.load(std::sync::atomic::Ordering::SeqCst) {
                    other.write_all(&[0; 4096]).unwrap();
                }
            });
            let all = spawn(async move { reader.read_to_end().await.unwrap().len() });
            // However fast the chunks arrive, other tasks get their turns.
            for _ in 0..20 {
                yield_now().await;
            }
            stop.store(true, std::sync::atomic::Ordering::SeqCst);
            assert_eq!(all.await.unwrap() % 4096, 0);
            thread.join().unwrap();
        });
    });
}

#[test]
fn small_writes_are_sent_at_once_on_both_sides() {
    watched(|| {
        EventLoop::new().run(async {
            let ended = Rc::new(sync::Event::new());
            let copy = ended.clone();
            let server = net::start_server(HERE, async move |reader, _writer| {
                assert!(tcp_nodelay(&reader).unwrap());
                copy.set();
            })
            .await
            .unwrap();
            let (_reader, writer) = net::open_connection(server.local_addr().unwrap()).await.unwrap();
            assert!(tcp_nodelay(&writer).unwrap());
            ended.wait().await;
        });
    });
}

// ---- servers ----

#[test]
fn each_connection_is_a_task_with_a_name_and_waits_where_it_is_written() {
    watched(|| {
        EventLoop::new().run(async {
            let started_at = line!() + 1;
            let server = net::start_server(HERE, async |mut reader, _writer| {
                reader.read_line().await.unwrap();
            })
            .await
            .unwrap();
            let address = server.local_addr().unwrap();
            let client = std::net::TcpStream::connect(address).unwrap();
            let own = client.local_addr().unwrap();
            let waits = |name: &str| {
                let graph = call_graph();
                let task = graph.tasks.iter().find(|task| &*task.name == name)?.clone();
                let wait = task.waits_for.first()?;
                Some((wait.what.to_string(), wait.at.file(), wait.at.line()))
            };
            let (here, name) = (file!(), format!("connection from {own}"));
            while waits(&name).is_none() {
                yield_now().await;
            }
            assert_eq!(waits(&name), Some((format!("something to read, TcpStream to {own}"), here, started_at + 1)));
            let acceptor = waits(&format!("server at {address}"));
            assert_eq!(acceptor, Some((format!("something to read, TcpListener at {address}"), here, started_at)));
            drop(client);
        });
    });
}

#[test]
fn a_handler_that_panics_ends_its_connection_and_no_other() {
    watched(|| {
        let told = Rc::new(RefCell::new(Vec::new()));
        let copy = told.clone();
        let event_loop = EventLoop::builder()
            .exception_handler(move |exception| copy.borrow_mut().push(exception.panic.message().to_string()))
            .build();
        event_loop.run(async {
            let server = net::start_server(HERE, async |mut reader, mut writer| {
                let line = reader.read_line().await.unwrap();
                assert_ne!(line, b"panic\n", "as asked");
                writer.write_all(&line).await.unwrap();
            })
            .await
            .unwrap();
            let ask = async |question: &[u8]| {
                let (mut reader, mut writer) = net::open_connection(server.local_addr().unwrap()).await.unwrap();
                writer.write_all(question).await.unwrap();
                reader.read_to_end().await.unwrap()
            };
            let (one, two, three) = join!(ask(b"one\n"), ask(b"panic\n"), ask(b"three\n"));
            assert_eq!((&*one, &*two, &*three), (&b"one\n"[..], &b""[..], &b"three\n"[..]));
            assert_eq!(ask(b"still here\n").await, b"still here\n");
            server.close();
            server.wait_closed().await;
        });
        assert_eq!(told.borrow().len(), 1);
        assert!(told.borrow()[0].contains("as asked"));
    });
}

#[test]
fn close_frees_the_address_and_lets_connections_end() {
    watched(|| {
        EventLoop::new().run(async {
            let trace = Trace::new();
            let copy = trace.clone();
            let server = Rc::new(
                net::start_server(HERE, async move |mut reader, mut writer| {
                    let line = reader.read_line().await.unwrap();
                    writer.write_all(&line).await.unwrap();
                    copy.push("the connection ends");
                })
                .await
                .unwrap(),
            );
            let address = server.local_addr().unwrap();
            let (mut reader, mut writer) = net::open_connection(address).await.unwrap();
            while server.connections() == 0 {
                yield_now().await;
            }
            assert!(server.wait_closed().now_or_never().is_none());
            server.close();
            server.close();
            assert!(net::open_connection(address).await.is_err());
            let next = net::TcpListener::bind(address).await.unwrap();
            let (watcher, copy) = (server.clone(), trace.clone());
            let waiter = spawn(async move {
                watcher.wait_closed().await;
                copy.push("closed");
            });
            yield_now().await;
            writer.write_all(b"bye\n").await.unwrap();
            assert_eq!(reader.read_line().await.unwrap(), b"bye\n");
            waiter.await.unwrap();
            assert_eq!(trace.take(), ["the connection ends", "closed"]);
            assert_eq!(server.connections(), 0);
            // The task that accepts has ended as well.
            assert_eq!(all_tasks().len(), 1);
            drop(next);
        });
    });
}

#[test]
fn a_handler_may_close_its_server_and_hold_what_it_likes() {
    watched(|| {
        EventLoop::new().run(async {
            let slot = Rc::new(RefCell::new(None::<Rc<net::Server>>));
            let (copy, served) = (slot.clone(), Rc::new(Cell::new(0)));
            let count = served.clone();
            // An async closure whose future borrows from the closure.
            let server = net::start_server(HERE, async move |_, _| {
                count.set(count.get() + 1);
                yield_now().await;
                copy.borrow().as_ref().unwrap().close();
            })
            .await
            .unwrap();
            let server = Rc::new(server);
            *slot.borrow_mut() = Some(server.clone());
            let (mut reader, _writer) = net::open_connection(server.local_addr().unwrap()).await.unwrap();
            server.serve_forever().await;
            assert_eq!(reader.read_to_end().await.unwrap(), b"");
            assert_eq!(served.get(), 1);
            slot.take();
        });
    });
}

#[test]
fn serve_forever_that_is_cancelled_closes_the_server() {
    run(|| async {
        let server = Rc::new(net::start_server(HERE, async |_, _| {}).await.unwrap());
        let copy = server.clone();
        let serving = spawn(async move { copy.serve_forever().await });
        assert!(timeout(ms(60_000), serving).await.is_err());
        timeout(ms(1), server.wait_closed()).await.unwrap();
        assert!(net::open_connection(server.local_addr().unwrap()).await.is_err());
    });
}

/// A cancelled `serve_forever` closes the server, and must also wait for its connections.
#[test]
fn serve_forever_that_is_cancelled_waits_for_its_connections() {
    for second in [false, true] {
        run(move || async move {
            let trace = Trace::new();
            let copy = trace.clone();
            let server = net::start_server(HERE, async move |_, mut writer| {
                sleep(ms(100)).await;
                writer.write_all(b"late").await.unwrap();
                copy.push("answered");
            })
            .await;
            let server = server.unwrap();
            let address = server.local_addr().unwrap();
            let (mut reader, _writer) = net::open_connection(address).await.unwrap();
            while server.connections() == 0 {
                yield_now().await;
            }
            let serving = spawn(server.serve_forever());
            yield_now().await;
            serving.cancel();
            yield_now().await;
            yield_now().await;
            assert!(!server.is_serving() && net::open_connection(address).await.is_err());
            assert!(!serving.is_done());
            if second {
                serving.cancel();
            }
            assert!(serving.await.unwrap_err().is_cancelled());
            trace.push("serve_forever ended");
            assert_eq!(reader.read_to_end().await.unwrap(), b"late");
            let order = if second { ["serve_forever ended", "answered"] } else { ["answered", "serve_forever ended"] };
            assert_eq!(trace.take(), order);
        });
    }
}

/// A connection counts as long as it is open, even after its handler has ended.
#[test]
fn wait_closed_waits_for_what_a_handler_has_kept() {
    run(|| async {
        let kept = Rc::new(RefCell::new(Vec::new()));
        let (copy, ended) = (kept.clone(), Rc::new(Cell::new(0)));
        let count = ended.clone();
        let server = net::start_server(HERE, async move |reader, writer| {
            copy.borrow_mut().push((reader, writer));
            count.set(count.get() + 1);
        })
        .await;
        let server = server.unwrap();
        let mut clients = Vec::new();
        for _ in 0..3 {
            clients.push(net::open_connection(server.local_addr().unwrap()).await.unwrap());
        }
        while ended.get() < 3 {
            yield_now().await;
        }
        server.close();
        for left in [3, 2, 1] {
            assert_eq!(server.connections(), left);
            assert!(timeout(ms(10), server.wait_closed()).await.is_err());
            let (reader, writer) = kept.borrow_mut().pop().unwrap();
            if left == 2 {
                // The reader is kept, but the connection is closed.
                writer.close().await.unwrap();
                assert_eq!(server.connections(), 1);
                drop(reader);
            }
        }
        server.wait_closed().await;
        assert_eq!(server.connections(), 0);
    });
}

/// A reading handler sees the end, and a writing handler fails. The peer sees the end, or an error
/// if bytes were thrown away.
#[test]
fn close_and_abort_the_clients_of_a_server() {
    for aborts in [false, true] {
        watched(move || {
            EventLoop::new().run(async move {
                let trace = Trace::new();
                let copy = trace.clone();
                let begun = Rc::new(Cell::new(0));
                let count = begun.clone();
                let server = net::start_server(HERE, async move |mut reader, mut writer| {
                    let what = reader.read_exactly(1).await.unwrap();
                    count.set(count.get() + 1);
                    if what == b"r" {
                        assert_eq!(reader.read_to_end().await.unwrap(), b"");
                        copy.push("read to the end");
                    } else {
                        while writer.write_all(&[0; 100_000]).await.is_ok() {}
                        copy.push("can write no more");
                    }
                    drop((reader, writer));
                    count.set(count.get() - 1);
                })
                .await;
                let server = server.unwrap();
                let address = server.local_addr().unwrap();
                let (mut idle, mut ours) = net::open_connection(address).await.unwrap();
                ours.write_all(b"r").await.unwrap();
                let (mut full, mut other) = net::open_connection(address).await.unwrap();
                other.write_all(b"w").await.unwrap();
                while begun.get() < 2 {
                    yield_now().await;
                }
                assert_eq!(server.connections(), 2);
                server.close();
                if aborts {
                    server.abort_clients()
                } else {
                    server.close_clients()
                }
                assert_eq!(server.connections(), 0);
                server.wait_closed().await;
                // Waits until the handlers have dropped their values.
                while begun.get() > 0 {
                    yield_now().await;
                }
                let end = full.read_to_end().await;
                assert_eq!(end.is_err(), aborts, "{end:?}");
                assert_eq!(idle.read_to_end().await.unwrap(), b"");
                let mut told = trace.take();
                told.sort();
                assert_eq!(told, ["can write no more", "read to the end"]);
            });
        });
    }
}

#[test]
fn a_server_goes_on_without_its_handle_until_the_loop_ends() {
    watched(|| {
        let event_loop = EventLoop::new();
        let (address, mut client) = event_loop.run(async {
            let server = net::start_server(HERE, async |mut reader, mut writer| {
                while !reader.at_eof() {
                    let line = reader.read_line().await.unwrap();
                    writer.write_all(&line).await.unwrap();
                }
            })
            .await
            .unwrap();
            let address = server.local_addr().unwrap();
            drop(server);
            let (mut reader, mut writer) = net::open_connection(address).await.unwrap();
            writer.write_all(b"there?\n").await.unwrap();
            assert_eq!(reader.read_line().await.unwrap(), b"there?\n");
            (address, std::net::TcpStream::connect(address).unwrap())
        });
        // `run` has ended the server's task, and those of its connections.
        assert!(std::net::TcpStream::connect(address).is_err());
        let mut text = Vec::new();
        assert!(matches!(client.read_to_end(&mut text), Ok(0) | Err(_)));
    });
}

/// A client that connected before the server was started is served too.
#[test]
fn start_a_server_on_a_listener_that_is_there() {
    run(|| async {
        let inherited = std::net::TcpListener::bind(HERE).unwrap();
        let early = std::net::TcpStream::connect(inherited.local_addr().unwrap()).unwrap();
        let listener = net::TcpListener::from_std(inherited).unwrap();
        let server = net::start_server_on(listener, async |_, mut writer| writer.write_all(b"welcome").await.unwrap());
        let (mut reader, writer) = net::TcpStream::from_std(early).unwrap().into_streams();
        assert_eq!(reader.read_to_end().await.unwrap(), b"welcome");
        assert_eq!(server.unwrap().local_addr().unwrap(), writer.peer_addr().unwrap());
    });
}

/// A wrong loop is reported to the caller that starts the server, and not later to the exception
/// handler.
#[test]
fn a_server_is_started_in_the_loop_of_its_listener() {
    let (home, other) = (EventLoop::new(), EventLoop::new());
    let listener = home.run(async { net::TcpListener::bind(HERE).await.unwrap() });
    let told = other.run(async { panic_of(|| net::start_server_on(listener, async |_, _| {})) });
    assert!(told.starts_with("start_server_on() was called where its loop is not"), "{told}");
}

#[test]
fn a_server_whose_task_is_cancelled_is_closed() {
    watched(|| {
        EventLoop::new().run(async {
            let server = net::start_server(HERE, async |_, _| {}).await.unwrap();
            let tasks = all_tasks();
            tasks.iter().find(|task| task.name().starts_with("server at ")).unwrap().cancel();
            server.wait_closed().await;
            assert!(net::open_connection(server.local_addr().unwrap()).await.is_err());
        });
    });
}

#[test]
fn a_unix_server_removes_its_own_file() {
    run(|| async {
        let path = path("own");
        let server =
            net::start_unix_server(&path, async |_, mut writer| writer.write_all(b"x").await.unwrap()).unwrap();
        assert_eq!(net::start_unix_server(&path, async |_, _| {}).unwrap_err().kind(), ErrorKind::AddrInUse);
        assert_eq!(server.local_addr().unwrap_err().kind(), ErrorKind::Unsupported);
        let (mut reader, writer) = net::open_unix_connection(&path).await.unwrap();
        assert_eq!(writer.peer_addr().unwrap_err().kind(), ErrorKind::Unsupported);
        assert_eq!(reader.read_to_end().await.unwrap(), b"x");
        server.close();
        assert!(!path.exists());
        // The file of another listener is kept.
        let server = net::start_unix_server(&path, async |_, _| {}).unwrap();
        std::fs::remove_file(&path).unwrap();
        let other = net::UnixListener::bind(&path).unwrap();
        server.close();
        assert!(path.exists());
        drop(other);
        std::fs::remove_file(&path).unwrap();
    });
}

#[test]
fn a_unix_server_removes_its_file_when_the_loop_ends() {
    let path = path("end");
    let copy = path.clone();
    run(|| async move {
        drop(net::start_unix_server(&copy, async |_, _| {}).unwrap());
        assert!(copy.exists());
    });
    assert!(!path.exists());
}

#[test]
fn a_server_that_waits_is_no_deadlock() {
    watched(|| {
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let address: std::net::SocketAddr = told.recv().unwrap();
            let mut text = String::new();
            std::net::TcpStream::connect(address).unwrap().read_to_string(&mut text).unwrap();
            text
        });
        let result = virtual_loop().try_run(async {
            let closing = Rc::new(sync::Event::new());
            let copy = closing.clone();
            let server = net::start_server(HERE, async move |_, mut writer| {
                writer.write_all(b"once").await.unwrap();
                copy.set();
            })
            .await
            .unwrap();
            tell.send(server.local_addr().unwrap()).unwrap();
            closing.wait().await;
            server.close();
            server.wait_closed().await;
            // No client can connect any more.
            sync::Event::new().named("never").wait().await;
        });
        assert_eq!(thread.join().unwrap(), "once");
        let Err(RunError::Deadlock(report)) = result else { panic!("{result:?}") };
        assert_eq!(report.tasks.len(), 1);
    });
}

#[test]
fn many_clients_at_once() {
    watched(|| {
        EventLoop::new().run(async {
            let server = net::start_server(HERE, async |mut reader, mut writer| {
                loop {
                    let line = reader.read_line().await.unwrap();
                    if line.is_empty() {
                        break;
                    }
                    writer.write_all(&line).await.unwrap();
                }
            })
            .await
            .unwrap();
            let address = server.local_addr().unwrap();
            let client = |n: usize| async move {
                let (mut reader, mut writer) = net::open_connection(address).await.unwrap();
                for round in 0..10 {
                    let line = format!("{n} in round {round}\n");
                    writer.write_all(line.as_bytes()).await.unwrap();
                    assert_eq!(reader.read_line().await.unwrap(), line.as_bytes());
                }
                writer.close().await.unwrap();
            };
            gather((0..150).map(client)).await.unwrap();
            server.close();
            server.wait_closed().await;
        });
    });
}
