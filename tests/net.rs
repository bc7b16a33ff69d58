//! Sockets, through the public API, on this machine only. Statements about time are tested on the
//! virtual clock, or hold on any machine.
#![cfg(unix)]

mod common;

use common::{Trace, alone, ms, panic_of, watched};
use futures_util::future::{Either, select};
use futures_util::stream::FuturesUnordered;
use futures_util::{AsyncReadExt, AsyncWriteExt, FutureExt, StreamExt, join};
use onelane::io::Async;
use onelane::net::{TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream};
use onelane::{
    Clock, EventLoop, RunError, call_graph, gather, metrics, sleep, spawn, sync, task, time, timeout, yield_now,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::{set_socket_linger, set_socket_send_buffer_size};
use rustix::net::{SendFlags, send};
use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

const HERE: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

/// Runs a future on a real clock. Fails after a minute.
fn run<F: Future>(make: impl FnOnce() -> F + Send + 'static) -> F::Output
where
    F::Output: Send + 'static,
{
    watched(move || EventLoop::new().run(make()))
}

/// A TCP connection: both ends, after the connect and the accept.
async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(HERE).await.unwrap();
    let (client, accepted) = join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (client.unwrap(), accepted.unwrap().0)
}

/// A path at which no file exists.
fn path(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("onelane-net-{name}-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

/// Drops a stream of the standard library so that the connection is reset.
fn reset(stream: std::net::TcpStream) {
    set_socket_linger(&stream, Some(ms(0))).unwrap();
    drop(stream);
}

/// A blocking connection from outside the loop.
fn from_outside(listener: &TcpListener) -> std::net::TcpStream {
    std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap()
}

/// The numbers of turns and parks of the loop during a sleep of 50 ms.
async fn turns_of_a_rest() -> (u64, u64) {
    // Lets the events arrive that are already on their way.
    sleep(ms(5)).await;
    let before = metrics();
    sleep(ms(50)).await;
    let after = metrics();
    (after.turns - before.turns, after.parks - before.parks)
}

/// Runs a future on a real clock with metrics, and keeps its output. Asserts that the loop then
/// sleeps.
fn rests<T, F: Future<Output = T>>(make: impl FnOnce() -> F + Send + 'static) {
    watched(|| {
        EventLoop::builder().metrics(true).build().run(async {
            let _held = make().await;
            let (turns, parks) = turns_of_a_rest().await;
            assert!((1..=10).contains(&turns) && parks <= 10, "{turns} turns, {parks} parks");
        });
    });
}

// ---- echo ----

#[test]
fn connect_write_and_read_over_tcp() {
    let echoed = run(|| async {
        let listener = TcpListener::bind(HERE).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = spawn(async move {
            let (mut peer, from) = listener.accept().await.unwrap();
            let mut bytes = Vec::new();
            peer.read_to_end(&mut bytes).await.unwrap();
            peer.write_all(&bytes).await.unwrap();
            peer.close().await.unwrap();
            from
        });
        let mut client = TcpStream::connect(address).await.unwrap();
        let own = client.local_addr().unwrap();
        // More than fits into the buffers of the system.
        let book: Vec<u8> = (0..3_000_000_u32).map(|n| n as u8).collect();
        let mut echoed = Vec::new();
        client.write_all(&book).await.unwrap();
        client.close().await.unwrap();
        client.read_to_end(&mut echoed).await.unwrap();
        assert_eq!(server.await, Ok(own));
        echoed == book
    });
    assert!(echoed);
}

#[test]
fn connect_write_and_read_over_unix() {
    let path = path("echo");
    let copy = path.clone();
    run(|| async move {
        let listener = UnixListener::bind(&copy).unwrap();
        let client = spawn(async move {
            let mut stream = UnixStream::connect(&copy).await.unwrap();
            stream.write_all(b"ping").await.unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        });
        let (mut peer, _) = listener.accept().await.unwrap();
        let mut question = String::new();
        peer.read_to_string(&mut question).await.unwrap();
        peer.write_all(question.to_uppercase().as_bytes()).await.unwrap();
        drop(peer);
        assert_eq!(client.await.unwrap(), "PING");
    });
    std::fs::remove_file(path).unwrap();
}

#[test]
fn send_and_receive_datagrams() {
    run(|| async {
        let (server, client) = (UdpSocket::bind(HERE).await.unwrap(), UdpSocket::bind(HERE).await.unwrap());
        let address = server.local_addr().unwrap();
        let echo = spawn(async move {
            let mut buffer = [0; 64];
            for _ in 0..3 {
                let (count, from) = server.recv_from(&mut buffer).await.unwrap();
                assert_eq!(server.send_to(&buffer[..count], from).await.unwrap(), count);
            }
        });
        client.connect(address).await.unwrap();
        for text in ["one", "", "three"] {
            client.send(text.as_bytes()).await.unwrap();
            let mut buffer = [0; 64];
            assert_eq!(client.recv(&mut buffer).await.unwrap(), text.len());
            assert_eq!(&buffer[..text.len()], text.as_bytes());
        }
        echo.await.unwrap();
    });
}

#[test]
fn fill_a_datagram_socket_and_empty_it() {
    run(|| async {
        let (one, other) = UnixDatagram::pair().unwrap();
        let mut sent = 0;
        while one.as_async().get_ref().send(b"again").is_ok() {
            sent += 1;
        }
        let mut last = pin!(one.send(b"last"));
        assert!(last.as_mut().now_or_never().is_none());
        let mut buffer = [0; 8];
        for _ in 0..sent {
            assert_eq!(other.recv(&mut buffer).await.unwrap(), 5);
        }
        last.await.unwrap();
        assert_eq!(other.recv(&mut buffer).await.unwrap(), 4);
    });
}

// ---- the end of a stream ----

#[test]
fn data_and_end_arrive_together_and_are_read_one_after_the_other() {
    run(|| async {
        let listener = TcpListener::bind(HERE).await.unwrap();
        let mut client = from_outside(&listener);
        client.write_all(b"the last words").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let (mut peer, _) = listener.accept().await.unwrap();
        // The end of the stream must have arrived before the first read.
        while peer.as_async().get_ref().peek(&mut [0; 32]).is_err() {
            yield_now().await;
        }
        let mut buffer = [0; 64];
        assert_eq!(peer.read(&mut buffer).await.unwrap(), 14);
        assert_eq!(peer.read(&mut buffer).await.unwrap(), 0);
        assert_eq!(peer.read(&mut buffer).await.unwrap(), 0, "and again");
        // The other direction still works.
        peer.write_all(b"understood").await.unwrap();
        drop(peer);
        let answer = std::thread::spawn(move || {
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            answer
        });
        assert_eq!(answer.join().unwrap(), "understood");
    });
}

#[test]
fn an_end_wakes_who_waits() {
    run(|| async {
        let (mut one, other) = UnixStream::pair().unwrap();
        let reader = spawn(async move { one.read(&mut [0; 8]).await.unwrap() });
        yield_now().await;
        assert!(!reader.is_done());
        drop(other);
        assert_eq!(reader.await, Ok(0));
    });
}

#[test]
fn a_reset_is_an_error_of_reader_and_writer() {
    run(|| async {
        let listener = TcpListener::bind(HERE).await.unwrap();
        let client = from_outside(&listener);
        let (peer, _) = listener.accept().await.unwrap();
        let peer = Rc::new(peer);
        let copy = peer.clone();
        let reader = spawn(async move { (&*copy).read(&mut [0; 8]).await.unwrap_err().kind() });
        yield_now().await;
        reset(client);
        assert_eq!(reader.await, Ok(ErrorKind::ConnectionReset));
        // The system reports the reset once, and then a broken pipe.
        assert_eq!((&*peer).write(b"hello").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn a_reset_wakes_a_writer_that_waits_for_room() {
    run(|| async {
        let listener = TcpListener::bind(HERE).await.unwrap();
        let client = from_outside(&listener);
        let (mut peer, _) = listener.accept().await.unwrap();
        let writer = spawn(async move { peer.write_all(&vec![0; 50_000_000]).await.unwrap_err().kind() });
        while call_graph().task(writer.id()).unwrap().waits_for.is_empty() {
            yield_now().await;
        }
        reset(client);
        let kind = writer.await.unwrap();
        assert!(matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{kind}");
    });
}

// ---- events for which no task waits must not keep the loop awake ----

#[test]
fn rest_with_a_reset_that_nobody_reads() {
    rests(|| async {
        let listener = TcpListener::bind(HERE).await.unwrap();
        let client = from_outside(&listener);
        let peer = listener.accept().await.unwrap();
        reset(client);
        (listener, peer)
    });
}

#[test]
fn rest_with_a_reset_behind_a_wait_that_was_given_up() {
    rests(|| async {
        let listener = TcpListener::bind(HERE).await.unwrap();
        let client = from_outside(&listener);
        let (peer, _) = listener.accept().await.unwrap();
        for _ in 0..2 {
            assert!(matches!(select(peer.as_async().readable(), yield_now()).await, Either::Right(_)));
            assert!(matches!(select(pin!((&peer).read(&mut [0; 8])), yield_now()).await, Either::Right(_)));
        }
        reset(client);
        (listener, peer)
    });
}

#[test]
fn rest_with_bytes_that_nobody_reads() {
    rests(|| async {
        let (mut one, mut other) = tcp_pair().await;
        let mut word = [0; 4];
        one.write_all(b"one of many").await.unwrap();
        other.read_exact(&mut word).await.unwrap();
        (one, other)
    });
}

#[test]
fn rest_with_an_end_that_nobody_reads() {
    rests(|| async {
        let (one, other) = tcp_pair().await;
        let pair = UnixStream::pair().unwrap();
        drop((one, pair.0));
        (other, pair.1)
    });
}

#[test]
fn rest_with_a_connection_that_nobody_accepts() {
    rests(|| async {
        let listener = TcpListener::bind(HERE).await.unwrap();
        assert!(listener.accept().now_or_never().is_none());
        let client = from_outside(&listener);
        (listener, client)
    });
}

#[test]
fn rest_while_one_side_is_awaited_and_the_other_is_not_wanted() {
    rests(|| async {
        let (one, mut other) = UnixStream::pair().unwrap();
        other.write_all(b"unread").await.unwrap();
        let writer = spawn(async move {
            let mut one = one;
            one.write_all(&vec![0; 10_000_000]).await
        });
        yield_now().await;
        (writer, other)
    });
}

#[test]
fn rest_while_a_reader_waits_and_there_is_room_to_write() {
    rests(|| async {
        let (one, mut other) = tcp_pair().await;
        let copy = Rc::new(other.as_fd().try_clone_to_owned().unwrap());
        // Write readiness was awaited before, but is not awaited any more.
        other.as_async().writable().await.unwrap();
        let reader = spawn(async move { other.read(&mut [0; 8]).await });
        yield_now().await;
        (one, reader, copy)
    });
}

/// The system reports an urgent byte as readable, but a read returns nothing.
#[cfg(target_os = "linux")]
#[test]
fn rest_with_an_urgent_byte() {
    rests(|| async {
        let (one, mut other) = tcp_pair().await;
        let reader = spawn(async move { other.read(&mut [0; 8]).await });
        yield_now().await;
        send(&one, b"!", SendFlags::OOB).unwrap();
        (one, reader)
    });
}

/// The reader must be notified of urgent bytes and of the end in two further cases: the loop waits
/// less than a millisecond, or another thread ends its wait.
#[test]
fn hear_of_the_end_and_of_urgent_bytes_that_came_with_others_while_a_timer_is_near() {
    for notifies in [false, true].into_iter().cycle().take(40) {
        run(move || async move {
            let (one, mut other) = tcp_pair().await;
            let remote = EventLoop::current().remote();
            let reader = spawn(async move {
                let (mut all, mut buffer) = (Vec::new(), [0; 100]);
                while let count @ 1.. = other.read(&mut buffer).await.unwrap() {
                    all.extend_from_slice(&buffer[..count]);
                }
                all
            });
            // The reader waits, and the loop is idle. Everything that follows has arrived when the
            // loop wakes.
            sleep(Duration::from_micros(300)).await;
            if notifies {
                thread::spawn(move || remote.call_soon(|| ()).unwrap()).join().unwrap();
            }
            send(&one, b"before", SendFlags::empty()).unwrap();
            send(&one, b"!", SendFlags::OOB).unwrap();
            send(&one, b"last", SendFlags::empty()).unwrap();
            one.shutdown(Shutdown::Write).unwrap();
            sleep(Duration::from_micros(500)).await;
            assert_eq!(reader.await.unwrap(), b"beforelast");
        });
    }
}

#[test]
fn rest_with_what_becomes_of_a_dropped_socket_whose_descriptor_has_a_clone() {
    rests(|| async {
        let (mut one, other) = UnixStream::pair().unwrap();
        let clone = other.as_fd().try_clone_to_owned().unwrap();
        one.write_all(b"unread").await.unwrap();
        drop(other);
        (one, clone)
    });
}

// ---- a peer that never reads ----

#[test]
fn a_writer_waits_for_room_and_others_go_on() {
    watched(|| {
        EventLoop::with_virtual_clock().run(async {
            let (one, mut other) = UnixStream::pair().unwrap();
            let written = Rc::new(Cell::new(0));
            let (stream, count) = (Rc::new(one), written.clone());
            let copy = stream.clone();
            let writer = spawn(async move {
                loop {
                    count.set(count.get() + (&*copy).write(&[7; 1000]).await.unwrap());
                }
            });
            let ticks = spawn(async {
                for _ in 0..10 {
                    sleep(ms(100)).await;
                }
            });
            // The writer makes no progress during 1.5 seconds of the clock.
            assert!(timeout(ms(1500), writer).await.is_err());
            assert!(ticks.is_done());
            let before = written.get();
            assert!(before > 1000);
            // All written bytes have arrived, and there is room again.
            let mut bytes = vec![0; before];
            other.read_exact(&mut bytes).await.unwrap();
            assert!(bytes.iter().all(|byte| *byte == 7));
            (&*stream).write_all(b"end").await.unwrap();
            drop(stream);
            let mut rest = String::new();
            other.read_to_string(&mut rest).await.unwrap();
            assert_eq!(rest, "end");
        });
    });
}

// ---- several tasks at one socket ----

#[test]
fn two_read_from_one_stream() {
    run(|| async {
        let (one, mut other) = tcp_pair().await;
        let one = Rc::new(one);
        let reader = |one: Rc<TcpStream>| {
            spawn(async move {
                let mut byte = [0];
                assert_eq!((&*one).read(&mut byte).await.unwrap(), 1);
                byte[0]
            })
        };
        let readers = [reader(one.clone()), reader(one.clone())];
        yield_now().await;
        other.write_all(b"ab").await.unwrap();
        let mut bytes = gather(readers).await.unwrap();
        bytes.sort_unstable();
        assert_eq!(bytes, b"ab");
    });
}

#[test]
fn one_reads_while_another_writes() {
    run(|| async {
        let (one, other) = tcp_pair().await;
        let other = Rc::new(other);
        let (from, to) = (other.clone(), other);
        let echo = spawn(async move { futures_util::io::copy(&*from, &mut &*to).await.unwrap() });
        let book = vec![3; 2_000_000];
        let (mut reader, mut writer) = (&one, &one);
        let mut back = vec![0; book.len()];
        let (written, read) = join!(writer.write_all(&book), reader.read_exact(&mut back));
        written.and(read).unwrap();
        assert!(back == book);
        drop(one);
        assert_eq!(echo.await, Ok(2_000_000));
    });
}

#[test]
fn several_accept_from_one_listener() {
    run(|| async {
        let listener = Rc::new(TcpListener::bind(HERE).await.unwrap());
        let acceptor = |listener: Rc<TcpListener>| spawn(async move { listener.accept().await.unwrap().1 });
        let acceptors: Vec<_> = (0..4).map(|_| acceptor(listener.clone())).collect();
        yield_now().await;
        let clients: Vec<_> = (0..4).map(|_| from_outside(&listener)).collect();
        let mut peers = gather(acceptors).await.unwrap();
        let mut addresses: Vec<_> = clients.iter().map(|client| client.local_addr().unwrap()).collect();
        peers.sort();
        addresses.sort();
        assert_eq!(peers, addresses);
    });
}

// ---- cancel and continue ----

#[test]
fn cancel_an_accept_and_accept() {
    run(|| async {
        let listener = Rc::new(TcpListener::bind(HERE).await.unwrap());
        let copy = listener.clone();
        let acceptor = spawn(async move { copy.accept().await.map(|(_, from)| from) });
        yield_now().await;
        let client = from_outside(&listener);
        // The acceptor may have been woken now, but was not stepped.
        acceptor.cancel();
        assert!(acceptor.await.unwrap_err().is_cancelled());
        let (_, from) = listener.accept().await.unwrap();
        assert_eq!(from, client.local_addr().unwrap());
    });
}

#[test]
fn cancel_a_read_that_was_woken_and_read() {
    run(|| async {
        let (one, mut other) = UnixStream::pair().unwrap();
        let one = Rc::new(one);
        for turns in 0..4 {
            let copy = one.clone();
            let reader = spawn(async move { (&*copy).read(&mut [0; 8]).await });
            yield_now().await;
            other.write_all(b"bytes").await.unwrap();
            // The loop notices the bytes in one of the following turns. This turn comes before,
            // with, or after the cancellation.
            let mut left = turns;
            while left > 0 && !reader.is_done() {
                yield_now().await;
                left -= 1;
            }
            reader.cancel();
            let read = reader.await.map_or(0, |read| read.unwrap());
            let mut rest = vec![0; 5 - read];
            (&*one).read_exact(&mut rest).await.unwrap();
            assert_eq!(rest, b"bytes"[read..]);
        }
    });
}

#[test]
fn cancel_a_wait_at_each_moment() {
    watched(|| {
        EventLoop::with_virtual_clock().run(async {
            let (one, mut other) = UnixStream::pair().unwrap();
            let mut buffer = [0; 8];
            for _ in 0..3 {
                assert!(timeout(ms(10), (&one).read(&mut buffer)).await.is_err());
                assert!(timeout(ms(10), one.as_async().readable()).await.is_err());
                let read = one.as_async().read_with(|mut stream| stream.read(&mut buffer));
                assert!(timeout(ms(10), read).await.is_err());
            }
            other.write_all(b"here").await.unwrap();
            let count = timeout(ms(10), (&one).read(&mut buffer)).await.unwrap().unwrap();
            assert_eq!(&buffer[..count], b"here");
        });
    });
}

#[test]
fn cancel_a_connect_and_connect() {
    run(|| async {
        let listener = TcpListener::bind(HERE).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut attempt = pin!(TcpStream::connect(address));
        let begun = attempt.as_mut().now_or_never();
        if begun.is_none() {
            attempt.set(TcpStream::connect(address));
        }
        let client = match begun {
            Some(connected) => connected.unwrap(),
            None => TcpStream::connect(address).await.unwrap(),
        };
        let own = client.local_addr().unwrap();
        // The listener may have accepted the cancelled attempt. Then this connection is at its end.
        loop {
            let (mut peer, from) = listener.accept().await.unwrap();
            if from == own {
                break;
            }
            assert!(matches!(peer.read(&mut [0; 8]).await, Ok(0) | Err(_)));
        }
    });
}

#[test]
fn receive_behind_a_receive_that_was_cancelled() {
    watched(|| {
        EventLoop::with_virtual_clock().run(async {
            let (one, other) = UnixDatagram::pair().unwrap();
            let mut buffer = [0; 8];
            assert!(timeout(ms(10), one.recv(&mut buffer)).await.is_err());
            other.send(b"whole").await.unwrap();
            assert_eq!(timeout(ms(10), one.recv(&mut buffer)).await.unwrap().unwrap(), 5);
        });
    });
}

// ---- the loop of a socket ----

#[test]
fn sockets_may_go_to_other_threads() {
    fn is_send<T: Send>() {}
    is_send::<Async<std::net::TcpStream>>();
    is_send::<(TcpListener, TcpStream, UdpSocket, UnixListener, UnixStream, UnixDatagram)>();
}

#[test]
fn drop_a_socket_on_another_thread_while_its_loop_waits() {
    run(|| async {
        let (one, mut other) = UnixStream::pair().unwrap();
        let thread = thread::spawn(move || drop(one));
        // The other thread drops the socket. The socket's loop, which sleeps now or soon, must
        // close it.
        assert_eq!(other.read(&mut [0; 8]).await.unwrap(), 0);
        thread.join().unwrap();
    });
}

#[test]
fn drop_a_socket_on_another_thread_behind_its_loop() {
    let (one, mut other) = std::os::unix::net::UnixStream::pair().unwrap();
    let event_loop = EventLoop::new();
    let socket = event_loop.run(async { UnixStream::from_std(one) }).unwrap();
    drop(event_loop);
    thread::spawn(move || drop(socket)).join().unwrap();
    assert_eq!(other.read(&mut [0; 8]).unwrap(), 0);
}

#[test]
fn a_socket_whose_loop_has_gone_can_be_dropped_and_not_awaited() {
    let event_loop = EventLoop::new();
    let (one, mut other) = std::os::unix::net::UnixStream::pair().unwrap();
    let socket = event_loop.run(async { UnixStream::from_std(one) }).unwrap();
    drop(event_loop);
    let told = panic_of(|| EventLoop::new().run(async { (&socket).read(&mut [0; 8]).await }));
    assert!(told.contains("use a socket in the loop that it was made in"), "{told}");
    drop(socket);
    assert_eq!(other.read(&mut [0; 8]).unwrap(), 0);
}

#[test]
fn whoever_polls_a_socket_elsewhere_is_told() {
    let (home, other) = (EventLoop::new(), EventLoop::new());
    let made =
        home.run(async { (UnixStream::pair().unwrap(), UnixDatagram::pair().unwrap(), TcpListener::bind(HERE).await) });
    let ((mut stream, _peer), (datagram, sender), listener) = made;
    let listener = listener.unwrap();
    home.run(async { sender.send(b"there").await }).unwrap();
    let told = "was called where its loop is not; use a socket in the loop that it was made in";
    let messages = [
        panic_of(|| other.run(async { stream.read(&mut [0; 8]).await })),
        panic_of(|| other.run(async { stream.write(b"x").await })),
        panic_of(|| other.run(async { stream.as_async().readable().await })),
        panic_of(|| other.run(async { datagram.recv(&mut [0; 8]).await })),
        panic_of(|| other.run(async { listener.accept().await })),
        panic_of(|| Pin::new(&mut listener.accept()).poll(&mut Context::from_waker(Waker::noop()))),
    ];
    for message in messages {
        assert!(message.ends_with(told), "{message}");
    }
    // The socket can still be used in its own loop.
    assert_eq!(home.run(async { datagram.recv(&mut [0; 8]).await.unwrap() }), 5);
}

/// After a read that would block, the task waits for new events only. Otherwise an error that no
/// read clears, for example an unread error queue, would wake the task again and again. Here the
/// socket is always writable, and this must not end a sleep early.
#[test]
fn wait_behind_a_read_that_would_block_without_asking_again() {
    const ROUNDS: u64 = 20;
    let main = || async {
        let (ours, theirs) = std::os::unix::net::UnixDatagram::pair().unwrap();
        let ours = UnixDatagram::from_std(ours).unwrap();
        let (ask, asked) = std::sync::mpsc::channel();
        let peer = thread::spawn(move || {
            while asked.recv().is_ok() {
                thread::sleep(ms(2));
                theirs.send(b"x").unwrap();
            }
        });
        // Waits until the loop has received all events of the new socket.
        assert!(timeout(ms(2), ours.recv(&mut [0])).await.is_err());
        let before = metrics().parks;
        for _ in 0..ROUNDS {
            ask.send(()).unwrap();
            assert_eq!(ours.recv(&mut [0]).await.unwrap(), 1);
        }
        let parks = metrics().parks - before;
        assert!(parks <= ROUNDS + ROUNDS / 4, "{parks} sleeps for {ROUNDS} messages");
        drop(ask);
        peer.join().unwrap();
    };
    watched(move || EventLoop::builder().metrics(true).build().run(main()));
}

#[test]
fn sockets_are_made_in_a_loop() {
    for message in [panic_of(|| TcpListener::bind(HERE).now_or_never()), panic_of(|| UnixStream::pair())] {
        assert!(message.contains("there is no running event loop"), "{message}");
    }
}

#[test]
fn taking_a_socket_out_wakes_who_waits_for_it() {
    run(|| async {
        let (one, _other) = UnixStream::pair().unwrap();
        let ours = Async::new(one.as_fd().try_clone_to_owned().unwrap()).unwrap();
        let ours = Rc::new(RefCell::new(Some(ours)));
        let copy = ours.clone();
        let waiter = spawn(poll_fn(move |cx| match &*copy.borrow() {
            Some(io) => io.poll_read_with(cx, |_| Err::<(), _>(ErrorKind::WouldBlock.into())).map(|_| "read"),
            None => Poll::Ready("taken out"),
        }));
        yield_now().await;
        let fd = ours.borrow_mut().take().unwrap().into_inner();
        assert_eq!(waiter.await, Ok("taken out"));
        drop(fd);
    });
}

#[test]
fn take_a_socket_out_and_put_it_into_another_loop() {
    let (one, other) = (EventLoop::new(), EventLoop::new());
    let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let ours = one.run(async { Async::new(ours).unwrap().into_inner() });
    theirs.write_all(b"moved").unwrap();
    let mut word = [0; 5];
    other.run(async { UnixStream::from_std(ours).unwrap().read_exact(&mut word).await }).unwrap();
    assert_eq!(&word, b"moved");
}

#[test]
fn between_two_runs_a_socket_can_be_dropped_and_taken_out() {
    let event_loop = EventLoop::new();
    let (one, mut other) = std::os::unix::net::UnixStream::pair().unwrap();
    let (three, four) = std::os::unix::net::UnixStream::pair().unwrap();
    let (one, three) = event_loop.run(async { (Async::new(one).unwrap(), Async::new(three).unwrap()) });
    drop(one);
    assert_eq!(other.read(&mut [0; 8]).unwrap(), 0, "it is closed at once");
    three.into_inner().write_all(b"ours").unwrap();
    let mut word = [0; 4];
    (&four).read_exact(&mut word).unwrap();
    assert_eq!(&word, b"ours");
}

#[test]
fn taking_a_socket_out_elsewhere_is_a_panic_and_closes_it() {
    watched(|| {
        let event_loop = EventLoop::new();
        let (one, mut other) = std::os::unix::net::UnixStream::pair().unwrap();
        let one = event_loop.run(async { Async::new(one).unwrap() });
        let told = thread::spawn(move || panic_of(|| one.into_inner())).join().unwrap();
        assert!(told.starts_with("io::Async::into_inner() was called where its loop is not"), "{told}");
        event_loop.run(yield_now());
        assert_eq!(other.read(&mut [0; 8]).unwrap(), 0);
    });
}

#[test]
fn a_socket_of_a_loop_that_has_gone_takes_none_of_the_next_loop_with_it() {
    watched(|| {
        for on_another_thread in [false, true] {
            let first = EventLoop::new();
            let old = first.run(async { UnixStream::pair().unwrap() });
            drop(first);
            // The next loop of this thread reuses the lane (the loop's number in wakers), and its
            // sockets have the same numbers.
            let next = EventLoop::new();
            let (mut one, mut other) = next.run(async { UnixStream::pair().unwrap() });
            if on_another_thread {
                thread::spawn(move || drop(old)).join().unwrap();
            } else {
                drop(old);
            }
            next.run(async {
                let mut word = [0; 4];
                let (read, written) = join!(one.read_exact(&mut word), async {
                    yield_now().await;
                    other.write_all(b"here").await
                });
                read.and(written).unwrap();
            });
        }
    });
}

// ---- foreign wakers, and cleanups ----

#[test]
fn each_of_many_waits_in_one_task_has_its_waker() {
    run(|| async {
        let pairs: Vec<_> = (0..20).map(|_| UnixStream::pair().unwrap()).collect();
        let (ours, mut theirs): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let read = |nth: usize, mut stream: UnixStream| async move {
            let mut byte = [0];
            stream.read_exact(&mut byte).await.unwrap();
            (nth, byte[0])
        };
        let mut reads: FuturesUnordered<_> = ours.into_iter().enumerate().map(|(nth, one)| read(nth, one)).collect();
        assert!(reads.next().now_or_never().is_none());
        for nth in (0..20).rev() {
            theirs[nth].write_all(&[nth as u8]).await.unwrap();
            assert_eq!(reads.next().await, Some((nth, nth as u8)));
        }
        assert_eq!(reads.next().await, None);
    });
}

#[test]
fn two_reads_of_one_task_at_one_stream() {
    run(|| async {
        let (one, mut other) = UnixStream::pair().unwrap();
        let (mut first, mut second) = ([0], [0]);
        let (mut left, mut right) = (&one, &one);
        let (a, b, c) = join!(left.read_exact(&mut first), right.read_exact(&mut second), async {
            yield_now().await;
            other.write_all(b"ab").await
        });
        a.and(b).and(c).unwrap();
        assert_eq!(first[0] + second[0], b'a' + b'b');
    });
}

#[test]
fn run_waits_for_a_cleanup_that_waits_for_a_socket() {
    for clock in [Clock::Real, Clock::Virtual] {
        watched(move || {
            let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
            let thread = thread::spawn(move || {
                let mut word = [0; 3];
                theirs.read_exact(&mut word).unwrap();
                thread::sleep(ms(20));
                theirs.write_all(b"yes").unwrap();
                word
            });
            let answered = Rc::new(Cell::new(false));
            let copy = answered.clone();
            EventLoop::builder().clock(clock).build().run(async move {
                let mut ours = UnixStream::from_std(ours).unwrap();
                drop(spawn(onelane::finally(pending::<()>(), async move {
                    ours.write_all(b"bye").await.unwrap();
                    ours.read_exact(&mut [0; 3]).await.unwrap();
                    copy.set(true);
                })));
                yield_now().await;
            });
            assert!(answered.get());
            assert_eq!(&thread.join().unwrap(), b"bye");
        });
    }
}

// ---- clocks ----

#[test]
fn sockets_that_are_ready_go_before_a_jump_of_the_clock() {
    watched(|| {
        EventLoop::with_virtual_clock().run(async {
            let (trace, begun) = (Trace::new(), time());
            let (mut one, mut other) = UnixStream::pair().unwrap();
            let copy = trace.clone();
            let told = move |what: &str| copy.push(format!("{what} at {} ms", (time() - begun).as_millis()));
            let reader = spawn(async move {
                let mut bytes = [0; 3];
                for _ in 0..3 {
                    one.read_exact(&mut bytes).await.unwrap();
                    told("read");
                }
            });
            let copy = trace.clone();
            let sleeper = spawn(async move {
                sleep(ms(1000)).await;
                copy.push("slept");
            });
            for _ in 0..3 {
                // Each read happens before the clock jumps to the sleeper's deadline.
                other.write_all(b"abc").await.unwrap();
                yield_now().await;
                yield_now().await;
            }
            assert_eq!((reader.await, sleeper.await), (Ok(()), Ok(())));
            assert_eq!(trace.take(), ["read at 0 ms", "read at 0 ms", "read at 0 ms", "slept"]);
            assert_eq!(time() - begun, ms(1000));
        });
    });
}

#[test]
fn a_virtual_clock_without_timers_waits_for_the_socket() {
    watched(|| {
        EventLoop::with_virtual_clock().run(async {
            let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
            let mut ours = UnixStream::from_std(ours).unwrap();
            let begun = time();
            let (go, is_to_go) = std::sync::mpsc::channel();
            let thread = thread::spawn(move || {
                is_to_go.recv().unwrap();
                theirs.write_all(b"at last").unwrap();
            });
            go.send(()).unwrap();
            let mut text = String::new();
            ours.read_to_string(&mut text).await.unwrap();
            assert_eq!((&*text, time()), ("at last", begun));
            thread.join().unwrap();
        });
    });
}

#[test]
fn a_timeout_around_a_read_counts_from_its_beginning() {
    watched(|| {
        EventLoop::with_virtual_clock().run(async {
            let (mut one, mut other) = UnixStream::pair().unwrap();
            let writer = spawn(async move {
                sleep(ms(500)).await;
                other.write_all(b"late").await.unwrap();
                other
            });
            let begun = time();
            let mut word = [0; 4];
            assert!(timeout(ms(499), one.read_exact(&mut word)).await.is_err());
            assert_eq!(time() - begun, ms(499));
            timeout(ms(2), one.read_exact(&mut word)).await.unwrap().unwrap();
            assert_eq!((&word, time() - begun), (b"late", ms(500)));
            writer.await.unwrap();
        });
    });
}

// ---- call graphs ----

#[test]
fn a_wait_tells_for_what_and_where() {
    run(|| async {
        let (one, _other) = tcp_pair().await;
        let peer = one.peer_addr().unwrap();
        let line = line!() + 1;
        let reader = spawn(async move { one.as_async().read_with(|mut stream| stream.read(&mut [0; 8])).await });
        let udp = UdpSocket::bind(HERE).await.unwrap();
        let at = udp.local_addr().unwrap();
        let receiver = spawn(async move { udp.recv_from(&mut [0; 8]).await });
        let made_at = line!() + 1;
        let (unix, _peer) = UnixStream::pair().unwrap();
        let writer = spawn(async move { (&unix).write_all(&vec![0; 10_000_000]).await });
        let listener = TcpListener::bind(HERE).await.unwrap();
        let listens_at = listener.local_addr().unwrap();
        let acceptor = spawn(async move { listener.accept().await.map(drop) });
        yield_now().await;
        yield_now().await;
        let graph = call_graph();
        let wait = &graph.task(reader.id()).unwrap().waits_for[0];
        assert_eq!(wait.what, format!("something to read, TcpStream to {peer}"));
        assert_eq!((wait.at.file(), wait.at.line()), (file!(), line));
        let what = |id| graph.task(id).unwrap().waits_for[0].what.clone();
        assert_eq!(what(receiver.id()), format!("something to read, UdpSocket at {at}"));
        assert_eq!(what(acceptor.id()), format!("something to read, TcpListener at {listens_at}"));
        assert_eq!(what(writer.id()), "room to write, UnixStream");
        // A function of a library has polled this wait, so the caller is unknown. The report then
        // names the place where the socket was made.
        assert_eq!(graph.task(writer.id()).unwrap().waits_for[0].at.line(), made_at);
        assert!(graph.tasks.iter().all(|task| task.waits_for.len() <= 1), "{graph}");
    });
}

#[test]
fn a_wait_that_is_over_is_told_of_no_more() {
    watched(|| {
        EventLoop::with_virtual_clock().run(async {
            let (one, _other) = UnixStream::pair().unwrap();
            let reader = spawn(async move {
                let io = one.as_async();
                let _ = timeout(ms(10), io.readable()).await;
                let _ = timeout(ms(10), io.read_with(|mut stream| stream.read(&mut [0; 8]))).await;
                sync::Event::new().named("never").wait().await;
            });
            sleep(ms(50)).await;
            let graph = call_graph();
            let waits: Vec<_> = graph.task(reader.id()).unwrap().waits_for.iter().map(|wait| &*wait.what).collect();
            assert_eq!(waits, [r#"event "never""#]);
        });
    });
}

// ---- deadlocks ----

#[test]
fn no_deadlock_as_long_as_a_socket_is_awaited() {
    // On a real clock, only debug mode reports a deadlock.
    for clock in [Clock::Virtual, Clock::Real] {
        watched(move || no_deadlock_on(clock));
    }
}

fn no_deadlock_on(clock: Clock) {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let event_loop = EventLoop::builder().clock(clock).debug(true).build();
    let thread = thread::spawn(move || {
        thread::sleep(ms(20));
        drop(theirs);
    });
    let ended = Rc::new(Cell::new(false));
    let copy = ended.clone();
    let result = event_loop.try_run(async move {
        spawn(async move {
            let mut ours = UnixStream::from_std(ours).unwrap();
            assert_eq!(ours.read(&mut [0; 8]).await.unwrap(), 0);
            copy.set(true);
        });
        sync::Event::new().named("never").wait().await;
    });
    // There was no deadlock until the reader ended.
    assert!(ended.get());
    let Err(RunError::Deadlock(report)) = result else { panic!("{result:?}") };
    assert_eq!(report.tasks.len(), 1);
    assert_eq!(report.tasks[0].waits_for[0].what, r#"event "never""#);
    thread.join().unwrap();
}

#[test]
fn a_deadlock_is_told_of_behind_waits_for_sockets_that_were_given_up() {
    watched(|| {
        let result = EventLoop::with_virtual_clock().try_run(async {
            let (one, other) = UnixStream::pair().unwrap();
            let (datagram, _peer) = UnixDatagram::pair().unwrap();
            let _ = timeout(ms(10), one.as_async().readable()).await;
            let _ = timeout(ms(10), datagram.recv(&mut [0; 8])).await;
            let (mut reader, _writer) = other.into_streams();
            let _ = timeout(ms(10), reader.read_line()).await;
            pending::<()>().await;
        });
        assert!(matches!(result, Err(RunError::Deadlock(_))), "{result:?}");
    });
}

/// The traits of futures-io cannot cancel a read. So a task that has polled a read stays
/// registered, and is woken once more, even if it has dropped the read.
#[test]
fn a_read_of_the_traits_that_was_given_up_counts_until_there_is_news() {
    watched(|| {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let thread = thread::spawn(move || {
            thread::sleep(ms(20));
            drop(theirs);
        });
        let result = EventLoop::with_virtual_clock().try_run(async {
            let mut ours = UnixStream::from_std(ours).unwrap();
            assert!(timeout(ms(10), ours.read(&mut [0; 8])).await.is_err());
            pending::<()>().await;
        });
        assert!(matches!(result, Err(RunError::Deadlock(_))), "{result:?}");
        thread.join().unwrap();
    });
}

// ---- the loop's descriptor ----

/// Whether the loop's descriptor can be read now.
fn is_readable(event_loop: &EventLoop) -> bool {
    let fd = event_loop.as_fd().unwrap();
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() == 1
}

fn turn_until_idle(event_loop: &EventLoop) {
    while !event_loop.turn().is_idle() {}
}

#[test]
fn the_descriptor_is_readable_when_there_is_something_to_do_and_not_else() {
    let event_loop = EventLoop::new();
    assert!(!is_readable(&event_loop), "the loop has no event");
    let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let reader = event_loop.spawn(async move {
        let mut ours = UnixStream::from_std(ours).unwrap();
        let mut words = Vec::new();
        for _ in 0..2 {
            let mut word = [0; 4];
            ours.read_exact(&mut word).await.unwrap();
            words.extend(word);
        }
        pending::<()>().await;
    });
    turn_until_idle(&event_loop);
    assert!(!is_readable(&event_loop), "the reader waits");
    for word in [b"one ", b"two "] {
        theirs.write_all(word).unwrap();
        assert!(is_readable(&event_loop), "there is something to read");
        turn_until_idle(&event_loop);
        assert!(!is_readable(&event_loop), "and it was read");
    }
    theirs.write_all(b"more").unwrap();
    turn_until_idle(&event_loop);
    assert!(!is_readable(&event_loop), "no task waits for that");
    reader.cancel();
    turn_until_idle(&event_loop);
    assert!(!is_readable(&event_loop), "the socket is closed");
}

#[test]
fn the_descriptor_is_readable_when_something_comes_from_elsewhere() {
    let event_loop = EventLoop::new();
    assert!(!is_readable(&event_loop));
    let remote = event_loop.remote();
    for _ in 0..3 {
        let remote = remote.clone();
        thread::spawn(move || remote.call_soon(|| {}).unwrap()).join().unwrap();
        assert!(is_readable(&event_loop));
        turn_until_idle(&event_loop);
        assert!(!is_readable(&event_loop));
    }
    drop(event_loop.spawn(async {}));
    assert!(is_readable(&event_loop), "a wake between two turns comes from outside the loop");
    turn_until_idle(&event_loop);
    assert!(!is_readable(&event_loop));
}

// ---- a busy loop ----

#[test]
fn a_busy_loop_hears_its_sockets() {
    for clock in [Clock::Real, Clock::Virtual] {
        watched(move || {
            EventLoop::builder().clock(clock).build().run(async {
                drop(spawn(async {
                    loop {
                        yield_now().await;
                    }
                }));
                let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
                let mut ours = UnixStream::from_std(ours).unwrap();
                let thread = thread::spawn(move || {
                    for _ in 0..100 {
                        theirs.write_all(b"ping").unwrap();
                        theirs.read_exact(&mut [0; 4]).unwrap();
                    }
                });
                let mut word = [0; 4];
                for _ in 0..100 {
                    ours.read_exact(&mut word).await.unwrap();
                    ours.write_all(b"pong").await.unwrap();
                }
                thread.join().unwrap();
            });
        });
    }
}

// ---- many ----

/// Raises the limit of open descriptors to `count`, if the system allows it.
fn make_room_for_descriptors(count: u64) -> u64 {
    let (current, maximum) = rlimit::Resource::NOFILE.get().unwrap();
    let room = count.min(maximum);
    if current < room {
        rlimit::Resource::NOFILE.set(room, maximum).unwrap();
    }
    room.max(current)
}

#[test]
fn a_thousand_connections_at_once() {
    let connections = 1000.min((make_room_for_descriptors(3000) as usize - 200) / 2);
    run(move || async move {
        let listener = TcpListener::bind(HERE).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = task::Builder::new().name("server").spawn(async move {
            let mut echoes = Vec::new();
            for _ in 0..connections {
                let (stream, _) = listener.accept().await.unwrap();
                echoes.push(spawn(async move { futures_util::io::copy(&stream, &mut &stream).await.unwrap() }));
            }
            gather(echoes).await.unwrap()
        });
        let all_here = Rc::new(sync::Barrier::new(connections));
        let client = |n: usize, all_here: Rc<sync::Barrier>| async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(&n.to_le_bytes()).await.unwrap();
            let mut back = [0; size_of::<usize>()];
            stream.read_exact(&mut back).await.unwrap();
            assert_eq!(usize::from_le_bytes(back), n);
            // All connections are open here.
            all_here.wait().await.unwrap();
            stream.write_all(b"end").await.unwrap();
        };
        gather((0..connections).map(|n| client(n, all_here.clone()))).await.unwrap();
        let copied = server.await.unwrap();
        assert_eq!(copied, vec![size_of::<usize>() as u64 + 3; connections]);
    });
}

#[cfg(target_os = "linux")]
#[test]
fn no_descriptor_stays_open() {
    alone("no_descriptor_stays_open", || {
        let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let before = open();
        let mut kept = Vec::new();
        for _ in 0..10 {
            let event_loop = EventLoop::new();
            let stream = event_loop.run(async {
                let (one, other) = tcp_pair().await;
                let gone = TcpListener::bind(HERE).await.unwrap().local_addr().unwrap();
                assert!(TcpStream::connect(gone).await.is_err());
                assert!(UnixStream::connect("/nonexistent/socket").await.is_err());
                assert!(Async::new(std::fs::File::open("/proc/self/stat").unwrap()).is_err());
                // Its task is cancelled at the end of the loop, in the middle of a wait.
                drop(spawn(async move { (&one).read(&mut [0; 8]).await }));
                yield_now().await;
                let elsewhere = UnixStream::pair().unwrap();
                thread::spawn(move || drop(elsewhere)).join().unwrap();
                other
            });
            kept.push((event_loop, stream));
        }
        assert!(open() > before);
        // The loop and the stream are dropped in either order.
        for (nth, (event_loop, stream)) in kept.into_iter().enumerate() {
            if nth % 2 == 0 {
                drop(event_loop);
                drop(stream);
            } else {
                drop(stream);
                drop(event_loop);
            }
        }
        assert_eq!(open(), before);
    });
}

// ---- connecting ----

#[test]
fn nobody_listens() {
    run(|| async {
        let gone: SocketAddr = TcpListener::bind(HERE).await.unwrap().local_addr().unwrap();
        for _ in 0..2 {
            assert_eq!(TcpStream::connect(gone).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        }
        let path = path("nobody");
        drop(UnixListener::bind(&path).unwrap());
        assert_eq!(UnixStream::connect(&path).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        std::fs::remove_file(path).unwrap();
    });
}

#[test]
fn a_peer_that_has_gone_before_the_accept() {
    run(|| async {
        let listener = TcpListener::bind(HERE).await.unwrap();
        reset(from_outside(&listener));
        let client = from_outside(&listener);
        // The system may omit the first connection, return an error for it, or return a connection
        // that is over.
        loop {
            match listener.accept().await {
                Ok((_, from)) if from == client.local_addr().unwrap() => break,
                Ok((mut stream, _)) => assert!(stream.read(&mut [0; 8]).await.is_err()),
                Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionAborted),
            }
        }
    });
}

#[test]
fn small_buffers_and_vectored_writes() {
    run(|| async {
        let (mut one, mut other) = UnixStream::pair().unwrap();
        set_socket_send_buffer_size(&one, 4096).unwrap();
        let book: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
        let copy = book.clone();
        let writer = spawn(async move {
            let mut rest = &copy[..];
            while !rest.is_empty() {
                let (head, tail) = rest.split_at(rest.len() / 2);
                let slices = [std::io::IoSlice::new(head), std::io::IoSlice::new(tail)];
                let count = one.write_vectored(&slices).await.unwrap();
                rest = &rest[count..];
            }
        });
        let (mut bytes, mut first, mut second) = (Vec::new(), [0; 700], [0; 1300]);
        loop {
            let mut slices = [std::io::IoSliceMut::new(&mut first), std::io::IoSliceMut::new(&mut second)];
            let count = other.read_vectored(&mut slices).await.unwrap();
            if count == 0 {
                break;
            }
            bytes.extend_from_slice(&first[..count.min(700)]);
            bytes.extend_from_slice(&second[..count.saturating_sub(700)]);
        }
        assert!(bytes == book);
        writer.await.unwrap();
    });
}

#[test]
fn a_remote_wakes_a_loop_that_sleeps_in_its_poller() {
    run(|| async {
        let (mut one, _other) = UnixStream::pair().unwrap();
        drop(spawn(async move { one.read(&mut [0; 8]).await }));
        let (remote, done) = (EventLoop::current().remote(), Rc::new(sync::Event::new()));
        let thread = thread::spawn(move || {
            // The loop is mostly asleep when a message arrives. No message has to wait for the
            // socket.
            let answers = (0..200).map(|n| remote.spawn(async move { n }).unwrap().wait().unwrap());
            answers.sum::<u64>()
        });
        let watcher = done.clone();
        drop(spawn(async move {
            while !thread.is_finished() {
                sleep(ms(1)).await;
            }
            assert_eq!(thread.join().unwrap(), 199 * 100);
            watcher.set();
        }));
        done.wait().await;
    });
}

/// If the queue is full, `connect` returns `ConnectionRefused`. It must not return `WouldBlock`,
/// because no task can wait for that.
#[test]
fn connect_to_a_unix_socket_whose_queue_is_full() {
    run(|| async {
        let path = std::env::temp_dir().join(format!("onelane-full-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let mut waiting = Vec::new();
        let error = loop {
            match UnixStream::connect(&path).await {
                Ok(stream) => waiting.push(stream),
                Err(error) => break error,
            }
            assert!(waiting.len() < 100, "the queue must have an end");
        };
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
        // When some connections were accepted, the queue has room.
        for _ in 0..waiting.len() {
            listener.accept().await.unwrap();
        }
        UnixStream::connect(&path).await.unwrap();
        std::fs::remove_file(path).unwrap();
    });
}
