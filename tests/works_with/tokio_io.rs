//! `tokio::io`: the traits and utilities of tokio on our sockets, without its runtime.
//!
//! Each operation must do what it does by futures-io's traits: succeed, wait, be cancelled, wake, and
//! let others run. So some programs run twice, once by each, and their events are compared.

use crate::Trace;
use crate::common::{ms, watched, words};
use futures_util::future::{FutureExt, join};
use onelane::io::Async;
use onelane::net::{TcpListener, TcpStream, UnixStream};
use onelane::{EventLoop, sleep, spawn, timeout, yield_now};
use std::fs::File;
use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::task::Poll;
use tokio::io::{
    AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, ReadBuf, copy, copy_bidirectional,
};

/// The size of the loop's own buffer.
const SCRATCH: usize = 64 * 1024;

/// Runs a future on a real clock. Fails after a minute.
fn run<F: Future<Output = ()>>(make: impl FnOnce() -> F + Send + 'static) {
    watched(move || EventLoop::new().run(make()));
}

async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (client, listener.accept().await.unwrap().0)
}

/// The pipes of a process that copies one to the other.
fn pipes() -> (Child, Async<File>, Async<File>) {
    let mut cat = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (reader, writer) = (cat.stdout.take().unwrap(), File::from(OwnedFd::from(cat.stdin.take().unwrap())));
    (cat, Async::try_from(reader).unwrap(), Async::new(writer).unwrap())
}

/// Bytes whose places can be told apart.
fn book(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n % 251) as u8).collect()
}

// ---- the traits ----

#[test]
fn each_stream_and_half_has_the_traits() {
    fn reads<R: AsyncRead + Unpin>() {}
    fn writes<W: AsyncWrite + Unpin>() {}
    fn both<S: AsyncRead + AsyncWrite + Unpin>() {}

    both::<TcpStream>();
    both::<&TcpStream>();
    both::<UnixStream>();
    both::<&UnixStream>();
    both::<Async<std::net::TcpStream>>();
    both::<&Async<std::os::unix::net::UnixStream>>();
    both::<Async<File>>();
    reads::<onelane::net::OwnedReadHalf<TcpStream>>();
    writes::<onelane::net::OwnedWriteHalf<UnixStream>>();
    // Other crates move them between their own tasks.
    fn is_send<T: Send + Sync>() {}
    is_send::<TcpStream>();
    is_send::<UnixStream>();
}

#[test]
fn write_and_shut_down_and_read_to_the_end() {
    async fn talk(mut one: impl AsyncRead + AsyncWrite + Unpin, mut other: impl AsyncRead + AsyncWrite + Unpin) {
        one.write_all(b"question").await.unwrap();
        one.flush().await.unwrap();
        one.shutdown().await.unwrap();
        let mut text = String::new();
        other.read_to_string(&mut text).await.unwrap();
        other.write_all(b"answer to ").await.unwrap();
        other.write_all(text.as_bytes()).await.unwrap();
        other.shutdown().await.unwrap();
        text.clear();
        one.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "answer to question");
        // The peer has seen the end; another shutdown does not disturb.
        one.shutdown().await.unwrap();
        assert_eq!(one.write(b"more").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    }

    run(|| async {
        let (one, other) = tcp_pair().await;
        talk(one, other).await;
        let (one, other) = UnixStream::pair().unwrap();
        talk(one, other).await;
        let (one, other) = UnixStream::pair().unwrap();
        talk(&one, &other).await;
        let (one, other) = std::os::unix::net::UnixStream::pair().unwrap();
        talk(Async::new(one).unwrap(), Async::new(other).unwrap()).await;
    });
}

/// A pipe is not a socket: a shutdown flushes, and a drop closes.
#[test]
fn write_to_a_pipe_and_close_it_by_a_drop() {
    run(|| async {
        let (mut cat, mut reader, mut writer) = pipes();
        writer.write_all(b"through a pipe").await.unwrap();
        writer.shutdown().await.unwrap();
        let mut word = [0; 14];
        reader.read_exact(&mut word).await.unwrap();
        assert_eq!(&word, b"through a pipe");
        assert!(reader.read(&mut word).now_or_never().is_none());
        drop(writer);
        assert_eq!(reader.read(&mut word).await.unwrap(), 0);
        assert!(cat.wait().unwrap().success());
    });
}

/// Two tasks own the halves, and more is sent than fits into the buffers of the system.
#[test]
fn copy_through_halves_and_back() {
    run(|| async {
        let (one, other) = tcp_pair().await;
        let ((mut reader, mut writer), (mut back, mut forth)) = (one.into_split(), other.into_split());
        let echo = spawn(async move {
            let count = copy(&mut back, &mut forth).await.unwrap();
            forth.shutdown().await.map(|()| count)
        });
        let sent = book(3_000_000);
        let copy = sent.clone();
        let writing = spawn(async move {
            writer.write_all(&copy).await.unwrap();
            writer.shutdown().await
        });
        let mut echoed = Vec::new();
        reader.read_to_end(&mut echoed).await.unwrap();
        writing.await.unwrap().unwrap();
        assert_eq!(echo.await.unwrap().unwrap(), 3_000_000);
        assert!(echoed == sent);
    });
}

#[test]
fn forward_both_ways_between_two_connections() {
    run(|| async {
        let ((mut client, mut near), (mut far, mut server)) = (tcp_pair().await, tcp_pair().await);
        let proxy = spawn(async move { copy_bidirectional(&mut near, &mut far).await });
        let server = spawn(async move {
            let mut lines = BufReader::new(&mut server).lines();
            let line = lines.next_line().await.unwrap().unwrap();
            let stream = lines.into_inner().into_inner();
            stream.write_all(line.to_uppercase().as_bytes()).await.unwrap();
            AsyncWriteExt::shutdown(stream).await
        });
        client.write_all(b"a line\n").await.unwrap();
        // Our own `shutdown` has a parameter, so the trait is named.
        AsyncWriteExt::shutdown(&mut client).await.unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "A LINE");
        server.await.unwrap().unwrap();
        assert_eq!(proxy.await.unwrap().unwrap(), (7, 6));
    });
}

/// One task reads while another writes, by references.
#[test]
fn read_and_write_at_once_by_references() {
    run(|| async {
        let (one, other) = tcp_pair().await;
        let sent = book(2_000_000);
        let read = async {
            let mut received = vec![0; sent.len()];
            (&other).read_exact(&mut received).await.unwrap();
            received
        };
        let write = async { (&one).write_all(&sent).await.unwrap() };
        assert!(join(read, write).await.0 == sent);
    });
}

// ---- the buffer of a read ----

async fn read_into(mut stream: &UnixStream, buffer: &mut ReadBuf<'_>) -> io::Result<()> {
    poll_fn(|cx| Pin::new(&mut stream).poll_read(cx, buffer)).await
}

/// What is not written to is not initialized: it is neither zeroed, nor said to be initialized.
#[test]
fn read_into_a_buffer_that_is_not_initialized() {
    run(|| async {
        let (one, mut other) = UnixStream::pair().unwrap();
        let mut memory = vec![MaybeUninit::uninit(); 2 * SCRATCH];
        let mut buffer = ReadBuf::uninit(&mut memory);
        other.write_all(b"hello").await.unwrap();
        read_into(&one, &mut buffer).await.unwrap();
        assert_eq!((buffer.filled(), buffer.initialized().len()), (&b"hello"[..], 5));
        // It is appended to.
        other.write_all(b", lane").await.unwrap();
        read_into(&one, &mut buffer).await.unwrap();
        assert_eq!((buffer.filled(), buffer.initialized().len()), (&b"hello, lane"[..], 11));
        // The end adds nothing.
        AsyncWriteExt::shutdown(&mut other).await.unwrap();
        read_into(&one, &mut buffer).await.unwrap();
        assert_eq!((buffer.filled(), buffer.initialized().len()), (&b"hello, lane"[..], 11));
    });
}

/// A buffer that was used before is partly initialized. No byte of before is shown, and no room is
/// lost.
#[test]
fn read_into_a_buffer_that_is_partly_initialized() {
    for initialized in [0, 1, 4, 5, 6, 7, 8] {
        run(move || async move {
            let (one, mut other) = UnixStream::pair().unwrap();
            let mut memory = [MaybeUninit::uninit(); 8];
            let mut buffer = ReadBuf::uninit(&mut memory);
            buffer.initialize_unfilled_to(initialized).fill(b'x');
            other.write_all(b"abcdefghij").await.unwrap();
            let mut part = buffer.take(5);
            read_into(&one, &mut part).await.unwrap();
            assert_eq!(part.filled(), b"abcde", "{initialized}");

            buffer.clear();
            buffer.put_slice(b"AB");
            read_into(&one, &mut buffer).await.unwrap();
            assert_eq!(buffer.filled(), b"ABfghij", "{initialized}");
            read_into(&one, &mut buffer).now_or_never().ok_or(()).unwrap_err();
            // Full: there is nothing to wait for.
            buffer.put_slice(b"!");
            read_into(&one, &mut buffer).await.unwrap();
            assert_eq!(buffer.filled(), b"ABfghij!");
        });
    }
}

/// Large buffers of each kind, with more data than the loop's buffer has room for.
#[test]
fn read_much_into_each_kind_of_buffer() {
    run(|| async {
        for length in [SCRATCH - 1, SCRATCH, SCRATCH + 1, 5 * SCRATCH + 3] {
            let sent = book(length);
            let (mut one, mut other) = tcp_pair().await;
            let copy = sent.clone();
            let writing = spawn(async move {
                for _ in 0..3 {
                    other.write_all(&copy).await.unwrap();
                }
                AsyncWriteExt::shutdown(&mut other).await
            });
            let mut initialized = vec![0; length];
            one.read_exact(&mut initialized).await.unwrap();
            assert!(initialized == sent);
            // A `Vec` has room that is not initialized.
            let mut vec = Vec::with_capacity(length);
            while vec.len() < length {
                let mut part = (&mut one).take((length - vec.len()) as u64);
                assert!(part.read_buf(&mut vec).await.unwrap() > 0);
            }
            assert!(vec == sent);
            vec.clear();
            one.read_to_end(&mut vec).await.unwrap();
            assert!(vec == sent);
            writing.await.unwrap().unwrap();
        }
    });
}

/// A reader that says it has read more than there was room for.
#[test]
fn a_source_that_reports_too_much_is_stopped() {
    struct Liar(UnixStreamOfStd);
    type UnixStreamOfStd = std::os::unix::net::UnixStream;
    impl io::Read for &Liar {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            Ok(buffer.len() + 1)
        }
    }
    impl std::os::fd::AsFd for Liar {
        fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
            self.0.as_fd()
        }
    }
    for initialized in [0, 8] {
        let end = EventLoop::new().run(async move {
            let (one, mut other) = UnixStreamOfStd::pair().unwrap();
            io::Write::write_all(&mut other, b"x").unwrap();
            let liar = Async::new(Liar(one)).unwrap();
            let reading = spawn(async move {
                let mut memory = [MaybeUninit::uninit(); 8];
                let mut buffer = ReadBuf::uninit(&mut memory);
                buffer.initialize_unfilled_to(initialized);
                poll_fn(|cx| Pin::new(&mut &liar).poll_read(cx, &mut buffer)).await.map(|()| buffer.filled().len())
            });
            reading.await
        });
        // With room that was not initialized, the bytes come from the loop's buffer, and do not fit.
        assert!(end.unwrap_err().is_panic(), "{initialized}");
    }
}

// ---- slices ----

#[test]
fn write_slices_in_order() {
    run(|| async {
        let (one, other) = tcp_pair().await;
        let mut one = &one;
        assert!(one.is_write_vectored());
        // Short ones are copied together; long ones are passed to the system.
        for piece in [0, 1, 700, 5_000, 400_000] {
            let sent: Vec<Vec<u8>> = (0..7).map(|nth| book(piece + nth)[nth..].to_vec()).collect();
            let all = sent.concat();
            let write = async {
                let mut slices: Vec<IoSlice<'_>> = sent.iter().map(|piece| IoSlice::new(piece)).collect();
                let mut rest = &mut slices[..];
                IoSlice::advance_slices(&mut rest, 0);
                while !rest.is_empty() {
                    let count = one.write_vectored(rest).await.unwrap();
                    assert!(count > 0);
                    IoSlice::advance_slices(&mut rest, count);
                }
            };
            let read = async {
                let mut received = vec![0; all.len()];
                (&other).read_exact(&mut received).await.unwrap();
                received
            };
            assert!(join(write, read).await.1 == all, "{piece}");
        }
        assert_eq!(one.write_vectored(&[]).await.unwrap(), 0);
        assert_eq!(one.write_vectored(&[IoSlice::new(b""), IoSlice::new(b"")]).await.unwrap(), 0);
    });
}

// ---- the same as by futures-io ----

#[derive(Clone, Copy, PartialEq, Debug)]
enum By {
    Futures,
    Tokio,
}

impl By {
    async fn read(self, mut stream: impl Both, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            By::Futures => futures_util::AsyncReadExt::read(&mut stream, bytes).await,
            By::Tokio => AsyncReadExt::read(&mut stream, bytes).await,
        }
    }

    async fn write(self, mut stream: impl Both, bytes: &[u8]) -> io::Result<usize> {
        match self {
            By::Futures => futures_util::AsyncWriteExt::write(&mut stream, bytes).await,
            By::Tokio => AsyncWriteExt::write(&mut stream, bytes).await,
        }
    }
}

trait Both: AsyncRead + AsyncWrite + futures_util::AsyncRead + futures_util::AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + futures_util::AsyncRead + futures_util::AsyncWrite + Unpin> Both for S {}

/// The events of a program, with either.
fn events<F: Future<Output = ()>>(program: fn(By, Trace) -> F) -> Vec<String> {
    let [futures, tokio] = [By::Futures, By::Tokio].map(|by| {
        let trace = Trace::new();
        EventLoop::with_virtual_clock().run(program(by, trace.clone()));
        trace.take()
    });
    assert_eq!(futures, tokio);
    tokio
}

#[test]
fn cancel_a_read_and_lose_nothing() {
    let events = events(|by, trace| async move {
        let (one, mut other) = UnixStream::pair().unwrap();
        let one = Rc::new(one);
        let copy = one.clone();
        let reading = spawn(async move { by.read(&*copy, &mut [0; 8]).await });
        yield_now().await;
        // What arrives belongs to the next reader, also if the task was woken for it.
        other.write_all(b"kept").await.unwrap();
        reading.cancel();
        trace.push(format!("{:?}", reading.await.unwrap_err().is_cancelled()));
        let mut word = [0; 8];
        let count = by.read(&*one, &mut word).await.unwrap();
        trace.push(String::from_utf8_lossy(&word[..count]));
        let late = timeout(ms(1_000), by.read(&*one, &mut word)).await;
        trace.push(format!("{late:?}"));
        other.write_all(b"later").await.unwrap();
        let count = by.read(&*one, &mut word).await.unwrap();
        trace.push(String::from_utf8_lossy(&word[..count]));
    });
    assert_eq!(events, ["true", "kept", "Err(Elapsed)", "later"]);
}

/// A write that waits for room is cancelled. What was written is what the peer reads.
#[test]
fn cancel_a_write_and_lose_nothing() {
    let events = events(|by, trace| async move {
        let (one, other) = UnixStream::pair().unwrap();
        let (one, chunk) = (Rc::new(one), book(10_000));
        let written = Rc::new(std::cell::Cell::new(0));
        let (copy, count) = (one.clone(), written.clone());
        let writing = spawn(async move {
            loop {
                count.set(count.get() + by.write(&*copy, &chunk).await.unwrap());
            }
        });
        // Until it waits.
        let mut before = usize::MAX;
        while before != written.get() {
            before = written.get();
            sleep(ms(1)).await;
        }
        writing.cancel();
        trace.push(format!("{:?}", writing.await.unwrap_err().is_cancelled()));
        drop(one);
        let (mut received, mut piece) = (0, [0; 5_000]);
        loop {
            match by.read(&other, &mut piece).await.unwrap() {
                0 => break,
                count => received += count,
            }
        }
        trace.push(if received == written.get() { "all" } else { "not all" });
    });
    assert_eq!(events, ["true", "all"]);
}

/// A task whose peer is always ready lets others run. How often is counted in turns.
#[test]
fn read_much_and_let_others_run() {
    let events = events(|by, trace| async move {
        let (one, mut other) = UnixStream::pair().unwrap();
        other.write_all(&[7; 1_000]).await.unwrap();
        AsyncWriteExt::shutdown(&mut other).await.unwrap();
        let reading = spawn(async move {
            let mut count = 0;
            while by.read(&one, &mut [0]).await.unwrap() == 1 {
                count += 1;
            }
            count
        });
        let mut turns = 0;
        while !reading.is_done() {
            yield_now().await;
            turns += 1;
        }
        assert!(turns >= 1_000 / 64, "{turns}");
        trace.push(format!("{}", reading.await.unwrap()));
    });
    assert_eq!(events, ["1000"]);
}

/// A wait is registered once, however often it is polled, and its task is woken once.
#[test]
fn poll_a_read_often_and_be_woken_once() {
    let events = events(|by, trace| async move {
        let (one, mut other) = UnixStream::pair().unwrap();
        let copy = trace.clone();
        let reading = spawn(async move {
            let mut buffer = [0; 8];
            let mut read = std::pin::pin!(by.read(&one, &mut buffer));
            poll_fn(|cx| {
                copy.push("polled");
                for _ in 0..3 {
                    if let Poll::Ready(count) = read.as_mut().poll(cx) {
                        copy.push(format!("{count:?}"));
                        return Poll::Ready(());
                    }
                }
                Poll::Pending
            })
            .await;
        });
        sleep(ms(1)).await;
        trace.push("writes");
        other.write_all(b"word").await.unwrap();
        reading.await.unwrap();
    });
    assert_eq!(events, ["polled", "writes", "polled", "Ok(4)"]);
}

/// A report shows a wait by tokio's traits as it shows any other.
#[test]
fn a_wait_is_shown_with_what_it_waits_for() {
    let events = events(|by, trace| async move {
        let (one, other) = UnixStream::pair().unwrap();
        let reading = spawn(async move { by.read(&one, &mut [0; 8]).await });
        yield_now().await;
        trace.extend(onelane::call_graph().tasks.iter().map(words));
        drop(other);
        reading.await.unwrap().unwrap();
    });
    assert_eq!(events, ["", "something to read, UnixStream"]);
}

/// Operations panic where the loop of the socket is not running.
#[test]
fn read_and_write_only_in_the_loop_of_the_socket() {
    let (mut one, mut other) = EventLoop::new().run(async { UnixStream::pair().unwrap() });
    let ends = EventLoop::new().run(async {
        let reading = spawn(async move { one.read(&mut [0; 8]).await });
        let writing = spawn(async move { other.write_vectored(&[IoSlice::new(b"x"), IoSlice::new(b"y")]).await });
        [reading.await.unwrap_err(), writing.await.unwrap_err()]
    });
    for end in ends {
        assert!(end.to_string().contains("use a socket in the loop that it was made in"), "{end}");
    }
}

#[test]
fn errors_of_the_system_are_returned() {
    run(|| async {
        let (mut one, other) = UnixStream::pair().unwrap();
        drop(other);
        assert_eq!(one.read(&mut [0; 8]).await.unwrap(), 0);
        assert_eq!(one.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        let slices = [IoSlice::new(b"x"), IoSlice::new(b"y")];
        assert_eq!(one.write_vectored(&slices).await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        // Read again, to see that a failed write has not disturbed the loop's buffer.
        let mut text = String::new();
        one.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "");
    });
}
