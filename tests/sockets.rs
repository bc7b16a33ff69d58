//! What one expects of a socket beside reading and writing: owned halves, clones, conversions,
//! readiness by polls, pipes of child processes, and listeners as streams. On this machine only.
#![cfg(unix)]

mod common;

use common::{Trace, foreign, ms, watched};
use futures_util::{AsyncReadExt, AsyncWriteExt, FutureExt};
use onelane::io::Async;
use onelane::net::{OwnedReadHalf, OwnedWriteHalf, TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixStream};
use onelane::{EventLoop, sleep, spawn, yield_now};
use std::fs::File;
use std::future::poll_fn;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::thread;

async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (client, listener.accept().await.unwrap().0)
}

/// Runs a future on a real clock. Fails after a minute.
fn run<F: Future<Output = ()>>(make: impl FnOnce() -> F + Send + 'static) {
    watched(move || EventLoop::new().run(make()));
}

// ---- halves ----

#[test]
fn two_tasks_own_the_halves_of_a_connection() {
    run(|| async {
        let (one, other) = tcp_pair().await;
        let ((mut reader, mut writer), (mut back, mut forth)) = (one.into_split(), other.into_split());
        // More than fits into the buffers of the system, so both sides must continue.
        let book: Vec<u8> = (0..3_000_000_u32).map(|n| n as u8).collect();
        let echo = spawn(async move {
            let mut piece = vec![0; 64 * 1024];
            while let Ok(count @ 1..) = back.read(&mut piece).await {
                forth.write_all(&piece[..count]).await.unwrap();
            }
            // Dropping the half that writes ends the stream.
        });
        let copy = book.clone();
        let writing = spawn(async move { writer.write_all(&copy).await });
        let mut echoed = Vec::new();
        reader.read_to_end(&mut echoed).await.unwrap();
        writing.await.unwrap().unwrap();
        echo.await.unwrap();
        assert!(echoed == book);
    });
}

#[test]
fn drop_a_half_that_writes_and_read_on() {
    run(|| async {
        let (one, mut other) = tcp_pair().await;
        let (mut reader, writer) = one.into_split();
        drop(writer);
        assert_eq!(other.read(&mut [0; 8]).await.unwrap(), 0);
        other.write_all(b"still here").await.unwrap();
        other.close().await.unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "still here");
    });
}

#[test]
fn reunite_the_halves_and_write_on() {
    run(|| async {
        let (one, other) = UnixStream::pair().unwrap();
        let ((reader, writer), (strange, _kept)) = (one.into_split(), other.into_split());
        let error = strange.reunite(writer).unwrap_err();
        let (mut strange, writer) = (error.0, error.1);
        // Nothing was shut down on the way.
        let mut one = writer.reunite(reader).unwrap();
        one.write_all(b"whole").await.unwrap();
        let mut buffer = [0; 5];
        strange.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"whole");
        assert_eq!(strange.get_ref().as_raw_fd(), strange.get_ref().as_fd().as_raw_fd());
    });
}

#[test]
fn halves_may_be_sent_and_dropped_elsewhere() {
    fn sends<T: Send>() {}
    sends::<OwnedReadHalf<TcpStream>>();
    sends::<OwnedWriteHalf<UnixStream>>();
    run(|| async {
        let (one, mut other) = UnixStream::pair().unwrap();
        let (_reader, writer) = one.into_split();
        thread::spawn(move || drop(writer)).join().unwrap();
        assert_eq!(other.read(&mut [0; 8]).await.unwrap(), 0);
    });
}

// ---- clones and conversions ----

#[test]
fn a_clone_keeps_the_connection_open() {
    run(|| async {
        let (mut one, mut other) = tcp_pair().await;
        let mut copy = one.try_clone().unwrap();
        one.write_all(b"one ").await.unwrap();
        drop(one);
        copy.write_all(b"two").await.unwrap();
        // Both wait for the same data; one gets it.
        let mut third = copy.try_clone().unwrap();
        let reading = spawn(async move { third.read(&mut [0; 8]).await });
        yield_now().await;
        other.write_all(b"answer").await.unwrap();
        assert_eq!(reading.await.unwrap().unwrap(), 6);
        drop(copy);
        let mut text = String::new();
        other.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "one two");
    });
}

#[test]
fn clone_each_kind_of_socket() {
    run(|| async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let copy = listener.try_clone().unwrap();
        drop(listener);
        let client = TcpStream::connect(copy.local_addr().unwrap()).await.unwrap();
        assert_eq!(copy.accept().await.unwrap().1, client.local_addr().unwrap());

        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let copy = socket.try_clone().unwrap();
        socket.send_to(b"x", copy.local_addr().unwrap()).await.unwrap();
        assert_eq!(copy.peek_from(&mut [0; 8]).await.unwrap().0, 1);
        assert_eq!(copy.recv(&mut [0; 8]).await.unwrap(), 1);

        let (one, other) = UnixDatagram::pair().unwrap();
        one.try_clone().unwrap().send(b"xy").await.unwrap();
        assert_eq!(other.try_clone().unwrap().recv(&mut [0; 8]).await.unwrap(), 2);
    });
}

#[test]
fn a_socket_goes_through_the_standard_library_to_another_loop() {
    watched(|| {
        let (one, other) = EventLoop::new().run(async {
            let (one, other) = tcp_pair().await;
            (one.into_std(), other.into_std())
        });
        // Without a loop, and still non-blocking.
        assert_eq!((&one).read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        (&other).write_all(b"lane").unwrap();
        EventLoop::new().run(async {
            let mut one = TcpStream::try_from(one).unwrap();
            let mut buffer = [0; 4];
            one.read_exact(&mut buffer).await.unwrap();
            assert_eq!(&buffer, b"lane");
        });
    });
}

#[test]
fn a_peek_leaves_the_data() {
    run(|| async {
        let (one, mut other) = tcp_pair().await;
        let peeking = spawn(async move {
            let mut buffer = [0; 8];
            let count = one.peek(&mut buffer).await.unwrap();
            (one, buffer[..count].to_vec())
        });
        yield_now().await;
        other.write_all(b"lane").await.unwrap();
        let (mut one, peeked) = peeking.await.unwrap();
        let mut buffer = [0; 4];
        one.read_exact(&mut buffer).await.unwrap();
        assert!(buffer.starts_with(&peeked) && !peeked.is_empty());
    });
}

// ---- readiness by polls ----

/// As quinn receives: it asks for readiness, and reads behind the back of the `Async`.
async fn receive(socket: &Async<std::net::UdpSocket>, buffer: &mut [u8]) -> std::io::Result<usize> {
    poll_fn(|cx| {
        loop {
            ready!(socket.poll_readable(cx))?;
            match socket.get_ref().recv(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    })
    .await
}

#[test]
fn receive_by_polls_for_readiness() {
    run(|| async {
        let socket = Async::new(std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
        let own = socket.get_ref().local_addr().unwrap();
        let mut buffer = [0; 32];
        // What is already there, and several at once.
        for text in ["one", "three", "eleven"] {
            socket.get_ref().send_to(text.as_bytes(), own).unwrap();
        }
        for length in [3, 5, 6] {
            assert_eq!(receive(&socket, &mut buffer).await.unwrap(), length);
        }
        // What comes later, from another thread.
        let later = thread::spawn(move || {
            thread::sleep(ms(20));
            std::net::UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"late", own).unwrap()
        });
        assert_eq!(receive(&socket, &mut buffer).await.unwrap(), 4);
        later.join().unwrap();
    });
}

#[test]
fn a_poll_for_readiness_begins_with_pending_and_wakes_its_last_caller() {
    watched(|| {
        let event_loop = EventLoop::new();
        event_loop.run(async {
            let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
            let ours = Async::new(ours).unwrap();
            let woken = Arc::new(AtomicUsize::new(0));
            let wakers = [1, 100].map(|weight| {
                let woken = woken.clone();
                foreign(
                    move || {
                        woken.fetch_add(weight, Ordering::SeqCst);
                    },
                    || (),
                )
            });
            let poll = |nth: usize| ours.poll_readable(&mut Context::from_waker(&wakers[nth])).map(Result::unwrap);
            theirs.write_all(b"x").unwrap();
            assert_eq!((poll(0), poll(1)), (Poll::Pending, Poll::Pending));
            while woken.load(Ordering::SeqCst) == 0 {
                sleep(ms(1)).await;
            }
            assert_eq!(woken.load(Ordering::SeqCst), 100);
            assert_eq!(poll(1), Poll::Ready(()));
            // The byte is still there: the next wait ends too.
            assert_eq!(poll(0), Poll::Pending);
            while woken.load(Ordering::SeqCst) == 100 {
                sleep(ms(1)).await;
            }
            assert_eq!(poll(0), Poll::Ready(()));
            assert_eq!(ours.get_ref().read(&mut [0; 8]).unwrap(), 1);
            // Nothing is there: no wake.
            assert_eq!(poll(0), Poll::Pending);
            sleep(ms(20)).await;
            assert_eq!((poll(0), woken.load(Ordering::SeqCst)), (Poll::Pending, 101));
            // The other side has its own wait.
            poll_fn(|cx| ours.poll_writable(cx)).await.unwrap();
            assert_eq!(poll(0), Poll::Pending);
        });
    });
}

#[test]
fn wait_by_a_poll_until_there_is_room() {
    run(|| async {
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let ours = Async::new(ours).unwrap();
        while ours.get_ref().write(&[0; 65_536]).is_ok() {}
        let mut waiting = Box::pin(poll_fn(|cx| ours.poll_writable(cx)));
        assert!((&mut waiting).now_or_never().is_none());
        let reader = thread::spawn(move || {
            let mut buffer = vec![0; 1 << 20];
            let mut count = 0;
            while let Ok(some @ 1..) = theirs.read(&mut buffer) {
                count += some;
            }
            count
        });
        waiting.await.unwrap();
        assert!(ours.get_ref().write(b"more").is_ok());
        drop(ours);
        assert!(reader.join().unwrap() > 65_536);
    });
}

// ---- pipes of child processes ----

#[test]
fn read_the_output_of_a_child_while_others_run() {
    run(|| async {
        let mut shell = Command::new("sh");
        shell.args(["-c", "read line; echo got $line; echo oh >&2; exit 3"]);
        let mut child = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = Async::new(child.stdin.take().unwrap()).unwrap();
        let mut stdout = Async::<File>::try_from(child.stdout.take().unwrap()).unwrap();
        let mut stderr = Async::<File>::try_from(child.stderr.take().unwrap()).unwrap();
        let trace = Trace::new();
        let copy = trace.clone();
        let reading = spawn(async move {
            let (mut out, mut err) = (String::new(), String::new());
            stdout.read_to_string(&mut out).await.unwrap();
            stderr.read_to_string(&mut err).await.unwrap();
            copy.push(out);
            copy.push(err);
        });
        // The child waits for its input, so this read would block for ever.
        yield_now().await;
        trace.push("others run");
        stdin.write_all(b"lane\n").await.unwrap();
        reading.await.unwrap();
        assert_eq!(trace.take(), ["others run", "got lane\n", "oh\n"]);
        assert_eq!(child.wait().unwrap().code(), Some(3));
    });
}

// ---- listeners as streams ----

#[cfg(feature = "stream")]
#[test]
fn a_stream_of_connections_that_is_dropped_loses_none() {
    use futures_util::StreamExt;
    run(|| async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        {
            let mut incoming = listener.incoming();
            assert!(incoming.next().now_or_never().is_none());
        }
        let mut clients = Vec::new();
        for _ in 0..3 {
            clients.push(TcpStream::connect(address).await.unwrap());
        }
        let mut peers = Vec::new();
        for _ in 0..3 {
            // A new stream for each.
            peers.push(listener.incoming().next().await.unwrap().unwrap());
        }
        for (client, peer) in clients.iter().zip(&peers) {
            assert_eq!(client.local_addr().unwrap(), peer.peer_addr().unwrap());
        }
        let waiting = spawn(async move { listener.incoming().next().await.unwrap().unwrap().peer_addr().unwrap() });
        yield_now().await;
        let client = TcpStream::connect(address).await.unwrap();
        assert_eq!(waiting.await.unwrap(), client.local_addr().unwrap());
    });
}

#[cfg(feature = "stream")]
#[test]
fn a_stream_of_unix_connections() {
    use futures_util::StreamExt;
    use onelane::net::UnixListener;
    run(|| async {
        let path = std::env::temp_dir().join(format!("onelane-sockets-incoming-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let mut clients = (UnixStream::connect(&path).await.unwrap(), UnixStream::connect(&path).await.unwrap());
        std::fs::remove_file(&path).unwrap();
        clients.0.write_all(b"a").await.unwrap();
        clients.1.write_all(b"b").await.unwrap();
        let mut read = Vec::new();
        let mut incoming = listener.incoming().take(2);
        while let Some(stream) = incoming.next().await {
            let mut byte = [0];
            stream.unwrap().read_exact(&mut byte).await.unwrap();
            read.extend(byte);
        }
        assert_eq!(read, b"ab");
    });
}
