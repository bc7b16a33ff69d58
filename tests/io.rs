//! Edge cases of `io::Async`: types whose descriptor changes, dropped reads, which tasks are woken,
//! and hosts.
#![cfg(unix)]

mod common;

use common::{Trace, foreign, ms, on_drop, watched};
use futures_util::future::{Either, join, select};
use futures_util::stream::FuturesUnordered;
use futures_util::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, FutureExt, StreamExt};
use onelane::io::Async;
use onelane::net::{self, TcpListener, TcpStream};
use onelane::{EventLoop, call_graph, call_later, current_task, metrics, sleep, spawn, task_group, timeout, yield_now};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType};
use rustix::net::{RecvFlags, recv, send, sendmsg, socketpair};
use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

fn pair() -> (UnixStream, UnixStream) {
    UnixStream::pair().unwrap()
}

fn run<F: Future>(make: impl FnOnce() -> F + Send + 'static) -> F::Output
where
    F::Output: Send + 'static,
{
    watched(move || EventLoop::builder().metrics(true).build().run(make()))
}

// ---- foreign types ----

/// Returns one descriptor for this number of calls, and then another one. This needs no unsafe
/// code.
struct Flip {
    one: OwnedFd,
    other: OwnedFd,
    asked: AtomicUsize,
    times: usize,
}

impl Flip {
    fn new(one: UnixStream, other: UnixStream, times: usize) -> Self {
        Flip { one: one.into(), other: other.into(), asked: AtomicUsize::new(0), times }
    }
}

impl AsFd for Flip {
    fn as_fd(&self) -> BorrowedFd<'_> {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst);
        if asked < self.times { self.one.as_fd() } else { self.other.as_fd() }
    }
}

/// `Async` must remove the descriptor that it watches. Otherwise the next source receives events of
/// this one, and the loop spins.
#[test]
fn change_the_descriptor_and_leave_nothing_behind() {
    for times in 1..4 {
        run(move || async move {
            let (one, mut peer) = pair();
            let _clone = one.try_clone().unwrap();
            drop(Async::new(Flip::new(one, pair().0, times)).unwrap());
            peer.write_all(b"x").unwrap();
            let (quiet, _peer) = pair();
            let quiet = Async::new(quiet).unwrap();
            assert!(timeout(ms(20), quiet.readable()).await.is_err(), "readable, though nothing came");
            let before = metrics().parks;
            sleep(ms(20)).await;
            assert!(metrics().parks - before <= 10);
        });
    }
}

/// The same while the loop listens to the descriptor. The loop must stop listening to the same
/// descriptor.
#[test]
fn change_the_descriptor_while_the_loop_listens() {
    for times in 1..4 {
        run(move || async move {
            let (one, mut peer) = pair();
            let flip = Async::new(Flip::new(one, pair().0, times)).unwrap();
            peer.write_all(b"x").unwrap();
            for _ in 0..3 {
                sleep(ms(1)).await;
            }
            drop(flip);
        });
    }
}

/// STEP-1: a user's `as_fd` may drop a socket, and create one.
#[test]
fn drop_and_make_sockets_in_as_fd() {
    struct Busy {
        fd: OwnedFd,
        inner: Mutex<Option<Async<UnixStream>>>,
    }
    impl AsFd for Busy {
        fn as_fd(&self) -> BorrowedFd<'_> {
            let before = self.inner.lock().unwrap().take();
            drop(before);
            *self.inner.lock().unwrap() = Some(Async::new(pair().0).unwrap());
            self.fd.as_fd()
        }
    }
    run(|| async {
        let (one, _peer) = pair();
        let inner = Mutex::new(Some(Async::new(pair().0).unwrap()));
        let busy = Async::new(Busy { fd: one.into(), inner }).unwrap();
        assert!(busy.readable().now_or_never().is_none());
        drop(busy);
    });
}

// ---- reads and writes ----

/// A short read does not mean that nothing is left: urgent bytes in between can end a read early.
#[test]
fn read_on_behind_urgent_bytes() {
    for polled in [true, false] {
        run(move || async move {
            let listener = TcpListener::bind(([127, 0, 0, 1], 0)).await.unwrap();
            let mut peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let mut ours = listener.accept().await.unwrap().0;
            for waits in [false, false, true] {
                let mut read = pin!(async {
                    let mut buffer = [0; 11];
                    if polled {
                        ours.read_exact(&mut buffer).await.unwrap();
                        return buffer;
                    }
                    let mut filled = 0;
                    while filled < 11 {
                        let rest = &mut buffer[filled..];
                        filled += ours.as_async().read_with(|mut socket| socket.read(rest)).await.unwrap();
                    }
                    buffer
                });
                if waits {
                    assert!(read.as_mut().now_or_never().is_none());
                }
                peer.write_all(b"before").unwrap();
                send(&peer, b"!", SendFlags::OOB).unwrap();
                peer.write_all(b"after").unwrap();
                assert_eq!(&read.await, b"beforeafter");
            }
        });
    }
}

/// A Unix socket ends a read at a passed descriptor, though more bytes follow.
#[test]
fn read_on_behind_a_descriptor_that_was_passed() {
    run(|| async {
        let (ours, peer) = pair();
        for _ in 0..3 {
            let mut space = [MaybeUninit::uninit(); 64];
            let mut passed = SendAncillaryBuffer::new(&mut space);
            let descriptors = [peer.as_fd()];
            assert!(passed.push(SendAncillaryMessage::ScmRights(&descriptors)));
            sendmsg(&peer, &[IoSlice::new(b"with it")], &mut passed, SendFlags::empty()).unwrap();
        }
        let mut ours = Async::new(ours).unwrap();
        let mut buffer = [0; 21];
        ours.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"with itwith itwith it");
        let (mut reader, _writer) = net_stream(ours).into_streams();
        drop(peer);
        assert_eq!(reader.read_to_end().await.unwrap(), b"");
    });
}

fn net_stream(ours: Async<UnixStream>) -> net::UnixStream {
    net::UnixStream::from_std(ours.into_inner()).unwrap()
}

/// The system accepts about a thousand slices at once, even if it has room for more.
#[test]
fn write_more_slices_than_the_system_takes_at_once() {
    run(|| async {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut peer = listener.accept().unwrap().0;
        let many = [IoSlice::new(b"x"); 1500];
        let count = poll_fn(|cx| Pin::new(&mut ours).poll_write_vectored(cx, &many)).await.unwrap();
        assert!(count < 1500, "the system accepts all slices at once, so this test checks nothing");
        ours.write_all(b"y").await.unwrap();
        drop(ours);
        let mut came = Vec::new();
        peer.read_to_end(&mut came).unwrap();
        assert_eq!((came.len(), came.last()), (count + 1, Some(&b'y')));
    });
}

/// Reads and writes one byte at a time, as a type with its own buffer may.
struct Grudging(UnixStream);

impl AsFd for Grudging {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Read for &Grudging {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = buffer.len().min(1);
        (&self.0).read(&mut buffer[..room])
    }
}

impl Write for &Grudging {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&self.0).write(&bytes[..bytes.len().min(1)])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn read_and_write_what_gives_less_than_it_could() {
    run(|| async {
        let (one, other) = pair();
        let (mut one, mut other) = (Async::new(Grudging(one)).unwrap(), Async::new(Grudging(other)).unwrap());
        one.write_all(b"byte by byte").await.unwrap();
        let mut buffer = [0; 12];
        other.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"byte by byte");
    });
}

/// One reader looks at more bytes than have arrived and waits. The next reader needs only the bytes
/// that are there.
#[test]
fn read_what_a_peek_for_more_has_left() {
    watched(|| {
        EventLoop::with_virtual_clock().run(async {
            let (one, mut peer) = pair();
            let mut one = Async::new(one).unwrap();
            peer.write_all(b"short").unwrap();
            for _ in 0..2 {
                let whole = one.read_with(|stream| match recv(stream, &mut [0; 100], RecvFlags::PEEK)?.0 {
                    100 => Ok(()),
                    _ => Err(ErrorKind::WouldBlock.into()),
                });
                assert!(timeout(Duration::from_secs(1), whole).await.is_err());
            }
            let read = timeout(Duration::from_secs(1), one.read(&mut [0; 100])).await;
            assert_eq!(read.expect("there is something to read").unwrap(), 5);
        });
    });
}

// ---- many reads, and others ----

/// Many reads in one task must not wake each other again and again. This would use a full core, and
/// a virtual clock would not advance.
#[test]
fn wait_with_a_thousand_reads_in_one_task() {
    for count in [16, 17, 33, 1000] {
        let main = move || async move {
            let (one, mut peer) = pair();
            let one = Async::new(one).unwrap();
            let read = || async { (&one).read(&mut [0; 1]).await.unwrap() };
            let polls = Cell::new(0);
            let mut set: FuturesUnordered<_> = (0..count).map(|_| read()).collect();
            let mut next = pin!(poll_fn(|cx| {
                polls.set(polls.get() + 1);
                set.poll_next_unpin(cx)
            }));
            assert!(timeout(Duration::from_secs(60), next.as_mut()).await.is_err());
            assert!(polls.get() < 20 + count / 8, "{} polls of {count} reads", polls.get());
            peer.write_all(&vec![0; count]).unwrap();
            assert_eq!(next.await, Some(1));
            assert_eq!(set.count().await, count - 1);
        };
        watched(move || EventLoop::with_virtual_clock().run(main()));
    }
}

/// A task with much to read, or much room to write, yields to other tasks from time to time: after
/// 64 operations, or earlier if they take long, but not before four.
#[test]
fn let_others_run_beside_a_busy_socket() {
    run(|| async {
        let (one, mut peer) = pair();
        let mut one = Async::new(one).unwrap();
        peer.write_all(&[7; 1000]).unwrap();
        let turns = Rc::new(Cell::new(0));
        let copy = turns.clone();
        let other = spawn(async move {
            loop {
                copy.set(copy.get() + 1);
                yield_now().await;
            }
        });
        // The first read waits until the loop has polled the sockets.
        one.read_exact(&mut [0]).await.unwrap();
        turns.set(0);
        for _ in 1..1000 {
            one.read_exact(&mut [0]).await.unwrap();
        }
        let read = turns.take();
        assert!((10..260).contains(&read), "{read} turns for a thousand reads");
        for _ in 0..100 {
            one.write_with(|mut stream| stream.write(b"x")).await.unwrap();
        }
        let written = turns.take();
        assert!((1..30).contains(&written), "{written} turns for a hundred writes");
        let mut reader = net_stream(one).into_streams().0;
        peer.write_all(&[7; 50_000]).unwrap();
        for _ in 0..50_000 {
            reader.read_exactly(1).await.unwrap();
        }
        other.cancel();
    });
}

/// Both branches of a `select!` are ready again and again. If only one branch paused, the pause
/// would be lost with this branch, and the other branch would go on.
#[test]
fn let_others_run_beside_busy_sockets_that_are_selected_from() {
    run(|| async {
        let [left, right] = [(); 2].map(|()| {
            let (one, mut peer) = pair();
            peer.write_all(b"x").unwrap();
            (Async::new(one).unwrap(), peer)
        });
        left.0.readable().await.unwrap();
        right.0.readable().await.unwrap();
        let turns = Rc::new(Cell::new(0));
        let copy = turns.clone();
        let other = spawn(async move {
            loop {
                copy.set(copy.get() + 1);
                yield_now().await;
            }
        });
        for _ in 0..1000 {
            select(left.0.read_with(|_| Ok(())), right.0.read_with(|_| Ok(()))).await;
        }
        assert!(turns.get() >= 10, "{} turns for a thousand reads", turns.get());
        // A task that ignores the forced pause can still go on.
        turns.set(0);
        for _ in 0..1000 {
            while left.0.read_with(|_| Ok(())).now_or_never().is_none() {}
        }
        assert_eq!(turns.get(), 0);
        other.cancel();
    });
}

/// A read that is dropped does not notify the loop. When many dropped reads have accumulated, the
/// loop wakes all waiters to see which are alive.
#[test]
fn give_up_reads_under_new_wakers_again_and_again() {
    run(|| async {
        let (one, mut peer) = pair();
        let one = Async::new(one).unwrap();
        for _ in 0..1000 {
            let mut set = FuturesUnordered::new();
            set.push(async { (&one).read(&mut [0; 8]).await });
            assert!(matches!(select(set.next(), pin!(yield_now())).await, Either::Right(_)));
        }
        let id = current_task().unwrap().id();
        let waits = call_graph().task(id).unwrap().waits_for.len();
        assert!(waits <= 50, "{waits} waits of one task at one socket");
        // The reads that are alive are woken.
        let mut set: FuturesUnordered<_> = (0..10).map(|_| async { (&one).read(&mut [0; 1]).await.unwrap() }).collect();
        assert!(set.next().now_or_never().is_none());
        peer.write_all(&[0; 10]).unwrap();
        let mut read = 0;
        while let Some(count) = set.next().await {
            read += count;
        }
        assert_eq!(read, 10);
    });
}

/// A read of a message returns less than the buffer holds, and the next message may have arrived
/// already.
#[test]
fn read_messages_one_after_the_other() {
    struct Packets(OwnedFd);
    impl AsFd for Packets {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }
    }
    impl Read for &Packets {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            Ok(rustix::io::read(&self.0, buffer)?)
        }
    }
    run(|| async {
        let flags = SocketFlags::CLOEXEC;
        let (one, peer) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        for message in ["a", "bc", "def"] {
            rustix::io::write(&peer, message.as_bytes()).unwrap();
        }
        let mut one = Async::new(Packets(one)).unwrap();
        let mut read = Vec::new();
        for _ in 0..3 {
            let mut buffer = [0; 64];
            let count = one.read(&mut buffer).await.unwrap();
            read.push(String::from_utf8_lossy(&buffer[..count]).into_owned());
        }
        assert_eq!(read, ["a", "bc", "def"]);
    });
}

#[test]
fn flush_a_socket_that_is_full() {
    run(|| async {
        let (one, _peer) = pair();
        let mut one = Async::new(one).unwrap();
        while let Some(written) = one.write(&[0; 100_000]).now_or_never() {
            written.unwrap();
        }
        // Nothing is buffered, so there is nothing to wait for.
        one.flush().now_or_never().expect("at once").unwrap();
    });
}

#[test]
fn read_and_write_nothing() {
    run(|| async {
        let (one, _peer) = pair();
        let mut one = Async::new(one).unwrap();
        assert_eq!(one.read(&mut []).now_or_never().expect("at once").unwrap(), 0);
        assert_eq!(one.write(&[]).now_or_never().expect("at once").unwrap(), 0);
    });
}

#[test]
fn wake_in_the_order_of_waiting_behind_one_that_leaves() {
    run(|| async {
        let (one, mut peer) = pair();
        let (one, trace) = (Rc::new(Async::new(one).unwrap()), Trace::new());
        let tasks = ["a", "b", "c", "d"].map(|name| {
            let (one, trace) = (one.clone(), trace.clone());
            spawn(async move {
                one.readable().await.unwrap();
                trace.push(name);
            })
        });
        yield_now().await;
        let [first, others @ ..] = tasks;
        first.cancel();
        yield_now().await;
        peer.write_all(b"x").unwrap();
        for other in others {
            other.await.unwrap();
        }
        assert_eq!(trace.take(), ["b", "c", "d"]);
    });
}

// ---- hosts ----

/// A socket that other code may take out.
type Held = Rc<RefCell<Option<Async<UnixStream>>>>;

/// A socket is taken out while its loop is idle. Its waiter is woken, and the host is called.
#[test]
fn take_a_socket_out_and_be_called() {
    let take_out: [fn(Held); 2] = [
        |held| drop(held.take()),
        // In a turn of another loop.
        |held| EventLoop::with_virtual_clock().run(async move { drop(held.take()) }),
    ];
    for take_out in take_out {
        let event_loop = EventLoop::with_virtual_clock();
        let (one, _peer) = pair();
        let held = Rc::new(RefCell::new(Some(event_loop.run(async { Async::new(one).unwrap() }))));
        let copy = held.clone();
        let task = event_loop.spawn(poll_fn(move |cx| match &mut *copy.borrow_mut() {
            None => Poll::Ready(()),
            Some(stream) => Pin::new(stream).poll_read(cx, &mut [0; 8]).map(|_| ()),
        }));
        let calls = Arc::new(AtomicUsize::new(0));
        let copy = calls.clone();
        event_loop.set_wake_hook(move || _ = copy.fetch_add(1, Ordering::SeqCst));
        while !event_loop.turn().is_idle() {}
        calls.store(0, Ordering::SeqCst);
        take_out(held);
        assert_eq!(calls.load(Ordering::SeqCst), 1, "WAKE-2");
        event_loop.turn();
        assert!(task.is_done());
    }
}

/// A host that requests the descriptor inside `enter` is notified of later events.
#[test]
fn ask_for_the_descriptor_inside_enter() {
    let event_loop = EventLoop::with_virtual_clock();
    let fd = event_loop.enter(|| event_loop.as_fd().unwrap());
    let remote = event_loop.remote();
    thread::spawn(move || remote.call_soon(|| ()).unwrap()).join().unwrap();
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    assert_eq!(poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&at_once)).unwrap(), 1, "WAKE-2");
}

/// A socket that was dropped on another thread is removed when its loop is dropped. That wakes the
/// waker of another executor, which spawns a task and sets a timer. Both are dropped with the loop.
#[test]
fn schedule_in_a_waker_while_the_loop_is_dropped() {
    watched(|| {
        static DROPPED: AtomicUsize = AtomicUsize::new(0);
        let count = || on_drop(|| _ = DROPPED.fetch_add(1, Ordering::SeqCst));
        let waker = foreign(
            move || {
                let (in_task, in_timer) = (count(), count());
                drop(spawn(async { drop(in_task) }));
                drop(call_later(ms(1), || drop(in_timer)));
            },
            || {},
        );
        let event_loop = EventLoop::new();
        let (ours, _theirs) = pair();
        let socket = event_loop.run(async {
            let socket = Async::new(ours).unwrap();
            assert!(socket.poll_readable(&mut Context::from_waker(&waker)).is_pending());
            socket
        });
        thread::spawn(move || drop(socket)).join().unwrap();
        assert_eq!(DROPPED.load(Ordering::SeqCst), 0);
        drop(event_loop);
        assert_eq!(DROPPED.load(Ordering::SeqCst), 2);
    });
}

/// A task in a group is cancelled in the turn in which a wait for a socket beside the group has
/// ended. No line behind that wait may run.
#[test]
fn cancel_a_group_when_a_socket_beside_it_is_ready() {
    run(|| async {
        let trace = Trace::new();
        let (ours, mut theirs) = pair();
        let (socket, beside) = (Async::new(ours).unwrap(), trace.clone());
        let task = spawn(async move {
            let group = task_group(async |group| {
                group.spawn(pending::<()>());
                pending::<()>().await;
            });
            let waits = async move {
                socket.readable().await.unwrap();
                beside.push("a line of a cancelled task");
            };
            join(Box::pin(waits), Box::pin(group)).await.1.unwrap();
        });
        for _ in 0..5 {
            yield_now().await;
        }
        theirs.write_all(b"x").unwrap();
        // The loop polls its sockets at the beginning of the next turn, in which this task is ready.
        thread::sleep(ms(2));
        yield_now().await;
        assert!(task.cancel());
        assert!(task.await.unwrap_err().is_cancelled());
        assert_eq!(trace.take(), [""; 0]);
    });
}
