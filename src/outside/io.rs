//! Awaiting file descriptors that can be polled: [`Async`].
//!
//! With the feature `io`, on Unix. The loop waits in a poller, on its own thread, and polls the
//! sockets from time to time while it is busy. No other thread is involved, except when a name is
//! looked up. An operation is tried
//! at once. If it would block, the task waits until the poller reports that another try is
//! worthwhile. So a successful operation takes one system call, and one call to the poller serves
//! all waiting tasks.
//!
//! [`net`](crate::net) has named sockets, and asyncio's streams. To read and write, use
//! futures-io's traits, [`AsyncRead`] and [`AsyncWrite`]. They are also implemented for references,
//! so that one task can read while another writes.
//!
//! ```
//! use futures_util::{AsyncReadExt, AsyncWriteExt};
//! use onelane::{EventLoop, io::Async};
//! use std::os::unix::net::UnixStream;
//!
//! EventLoop::new().run(async {
//!     let (ours, theirs) = UnixStream::pair()?;
//!     let (mut ours, mut theirs) = (Async::new(ours)?, Async::new(theirs)?);
//!     let mut word = [0; 4];
//!     let (read, written) = futures_util::join!(ours.read_exact(&mut word), theirs.write_all(b"lane"));
//!     (read?, written?);
//!     assert_eq!(&word, b"lane");
//!     Ok::<(), std::io::Error>(())
//! })
//! # .unwrap();
//! ```

use crate::kernel::callbacks::exceptions;
#[cfg(feature = "tokio-io")]
pub(crate) use crate::kernel::idle::sockets::reactor::SCRATCH;
use crate::kernel::idle::sockets::reactor::{Descriptor, Reactor, Side, SourceKey, Waiter};
use crate::kernel::table::records::Wait;
use crate::kernel::{Kernel, Message, clone_uncounted, context, inbox, wakes_the_same};
use crate::leaf::place_of;
use futures_io::{AsyncRead, AsyncWrite};
use rustix::io::ioctl_fionbio;
use std::any::type_name;
use std::fmt;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::panic::Location;
use std::pin::Pin;
use std::process::{ChildStderr, ChildStdout};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

/// An object with a file descriptor, and the loop that polls it.
///
/// It belongs to the loop in which it was created, and is polled there. It may be sent to another
/// thread and dropped there. Dropping it deregisters the descriptor, and closes it.
///
/// Several tasks may wait for the same side; all of them are woken, and each tries.
///
/// A task lets others run when its operations have taken 50 µs in one step, or when 64 of them have
/// succeeded in one step. Its further operations, on any source, then return `Pending` and wake the
/// task at once. So other tasks and timers run, even if the peer is as fast as this task, or if the
/// task selects from two such peers.
///
/// The descriptor that is registered is the one that `as_fd` returned when the `Async` was made. It
/// should always return the same one, because it is called at other times too.
///
/// To read and write, use [`AsyncRead`] and [`AsyncWrite`], which it implements if a `&T` reads and
/// writes in the standard library. A `ChildStdin` does; for the other pipes of a child process,
/// convert to `Async<File>` with `try_from`. The feature `tokio-io` adds tokio's traits of the same
/// names.
///
/// asyncio: `loop.add_reader`, `add_writer`, `sock_recv`, `connect_read_pipe` and similar
/// functions.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, io::Async};
/// use std::{io::{Read, Write}, os::unix::net::UnixStream};
///
/// EventLoop::new().run(async {
///     let (mut ours, theirs) = UnixStream::pair()?;
///     let theirs = Async::new(theirs)?;
///     ours.write_all(b"hello")?;
///     let mut buffer = [0; 16];
///     let count = theirs.read_with(|mut stream| stream.read(&mut buffer)).await?;
///     assert_eq!(&buffer[..count], b"hello");
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
#[doc(alias = "add_reader")]
#[doc(alias = "add_writer")]
#[doc(alias = "AsyncFd")]
pub struct Async<T> {
    source: Arc<Source<T>>,
    key: SourceKey,
    loop_id: u64,
    lane: u16,
    /// Whether it is a TCP connection; `reactor.rs` says what the length of a read means there.
    is_tcp: bool,
    /// The location to show for waits that are polled inside a library.
    made_at: &'static Location<'static>,
    /// The waiters that `poll_readable` and `poll_writable` have registered last, by their numbers;
    /// 0 for none.
    polled: Mutex<[u64; 2]>,
}

/// Also owned by the loop's reactor.
struct Source<T>(T);

impl<T: AsFd> AsFd for Source<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl<T: AsFd + Send + Sync + 'static> Descriptor for Source<T> {
    fn kind(&self) -> &'static str {
        let name = type_name::<T>();
        name.rsplit("::").next().unwrap_or(name)
    }
}

impl<T: AsFd + Send + Sync + 'static> Async<T> {
    /// Makes `source` non-blocking, and registers it with the running loop.
    ///
    /// # Errors
    ///
    /// If the operating system cannot poll it: for example, epoll rejects a file on a disk, which
    /// is always ready. If the system has no room for another descriptor. In both cases the source
    /// is closed.
    ///
    /// # Panics
    ///
    /// If no loop is running on this thread.
    ///
    /// # Cost
    ///
    /// Two system calls, two allocations.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, io::Async};
    /// use std::net::UdpSocket;
    ///
    /// EventLoop::new().run(async {
    ///     let socket = Async::new(UdpSocket::bind("127.0.0.1:0")?)?;
    ///     assert!(socket.get_ref().local_addr()?.port() > 0);
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[track_caller]
    pub fn new(source: T) -> io::Result<Self> {
        ioctl_fionbio(&source, true)?;
        Self::register(source, Side::Read, false)
    }

    /// For a source that is already non-blocking, of which the side `first` is awaited first.
    #[track_caller]
    pub(crate) fn register(source: T, first: Side, is_tcp: bool) -> io::Result<Self> {
        let kernel = crate::leaf::running("io::Async::new()");
        let source = Arc::new(Source(source));
        let key = kernel.reactor()?.add(source.clone(), first)?;
        let (loop_id, lane) = (kernel.id(), kernel.table.lane().number);
        Ok(Async { source, key, loop_id, lane, is_tcp, made_at: Location::caller(), polled: Mutex::default() })
    }

    /// Sets the source location at which this counts as created.
    pub(crate) fn made_at(&mut self, place: &'static Location<'static>) {
        self.made_at = place;
    }
}

impl<T> Async<T> {
    /// Returns the source. If you read or write it directly and no data or room is available, you
    /// get [`WouldBlock`](io::ErrorKind::WouldBlock), and can wait with
    /// [`readable`](Self::readable) or [`writable`](Self::writable).
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, io::Async};
    /// use std::{io::{ErrorKind, Read}, os::unix::net::UnixStream};
    ///
    /// EventLoop::new().run(async {
    ///     let (ours, _theirs) = UnixStream::pair()?;
    ///     let ours = Async::new(ours)?;
    ///     let error = ours.get_ref().read(&mut [0]).unwrap_err();
    ///     assert_eq!(error.kind(), ErrorKind::WouldBlock);
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn get_ref(&self) -> &T {
        &self.source.0
    }

    /// Deregisters the source and returns it, still non-blocking. Waiting tasks are woken.
    ///
    /// # Panics
    ///
    /// On a thread other than the loop's.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, io::Async};
    /// use std::os::unix::net::UnixStream;
    ///
    /// EventLoop::new().run(async {
    ///     let (ours, _theirs) = UnixStream::pair()?;
    ///     let ours: UnixStream = Async::new(ours)?.into_inner();
    ///     ours.set_nonblocking(false)
    /// })
    /// # .unwrap();
    /// ```
    #[track_caller]
    pub fn into_inner(self) -> T {
        let source = self.source.clone();
        drop(self);
        match Arc::try_unwrap(source) {
            Ok(source) => source.0,
            Err(_) => panic!("{}", elsewhere("io::Async::into_inner()")),
        }
    }

    /// Waits until the source is readable: until there is data, the end, or an error.
    ///
    /// It always waits for a poll of the loop, even if data is already there: a system call makes
    /// the poller report the source again. A read after the wait may still return
    /// [`WouldBlock`](io::ErrorKind::WouldBlock), if another task was faster. Then wait again, or
    /// use [`read_with`](Self::read_with), which does that.
    ///
    /// Cancel safety: nothing is lost; dropping it ends the wait.
    ///
    /// # Errors
    ///
    /// If the operating system has no room to register.
    ///
    /// # Panics
    ///
    /// When polled outside its loop.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, io::Async};
    /// use std::{io::{Read, Write}, os::unix::net::UnixStream};
    ///
    /// EventLoop::new().run(async {
    ///     let (ours, mut theirs) = UnixStream::pair()?;
    ///     let ours = Async::new(ours)?;
    ///     theirs.write_all(b"x")?;
    ///     ours.readable().await?;
    ///     assert_eq!(ours.get_ref().read(&mut [0; 8])?, 1);
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[doc(alias = "add_reader")]
    pub fn readable(&self) -> Readiness<'_, T> {
        self.readiness(Side::Read, false)
    }

    /// Waits until the source is writable: until there is room, or an error. Otherwise like
    /// [`readable`](Self::readable).
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, io::Async};
    /// use std::os::unix::net::UnixStream;
    ///
    /// EventLoop::new().run(async {
    ///     let (ours, _theirs) = UnixStream::pair()?;
    ///     Async::new(ours)?.writable().await // there is room
    /// })
    /// # .unwrap();
    /// ```
    #[doc(alias = "add_writer")]
    pub fn writable(&self) -> Readiness<'_, T> {
        self.readiness(Side::Write, false)
    }

    /// Waits for the side. If the caller `has_tried`, and the operation would block, only a new
    /// report of the poller ends the wait: what is already there has not helped the caller.
    pub(crate) fn readiness(&self, side: Side, has_tried: bool) -> Readiness<'_, T> {
        Readiness { source: self, side, stage: Stage::New { has_tried } }
    }

    /// Calls `read` until it returns something other than
    /// [`WouldBlock`](io::ErrorKind::WouldBlock), and waits in between. An operation that was
    /// interrupted by a signal is tried again.
    ///
    /// After a `WouldBlock` it waits until something new arrives. So `read` may return `WouldBlock`
    /// also if there is data, but not enough: for example a peek that waits for a whole header.
    /// Meanwhile other reads of the same source wait too. When this has ended or is dropped, the
    /// next read is tried at once.
    ///
    /// Cancel safety: dropping this ends the wait, and `read` is not called any more. A value that
    /// `read` has returned was already passed on.
    ///
    /// # Errors
    ///
    /// The errors of `read`.
    ///
    /// # Panics
    ///
    /// When polled outside its loop, or after it was ready.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, io::Async};
    /// use std::net::UdpSocket;
    ///
    /// EventLoop::new().run(async {
    ///     let socket = Async::new(UdpSocket::bind("127.0.0.1:0")?)?;
    ///     socket.get_ref().send_to(b"to myself", socket.get_ref().local_addr()?)?;
    ///     let mut buffer = [0; 32];
    ///     let (count, _from) = socket.read_with(|socket| socket.recv_from(&mut buffer)).await?;
    ///     assert_eq!(&buffer[..count], b"to myself");
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[doc(alias = "sock_recv")]
    pub fn read_with<R, F>(&self, read: F) -> Operation<'_, T, F>
    where
        F: FnMut(&T) -> io::Result<R>,
    {
        Operation { source: self, side: Side::Read, act: read, entered: None }
    }

    /// Like [`read_with`](Self::read_with), for writing.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, io::Async};
    /// use std::{io::Write, os::unix::net::UnixStream};
    ///
    /// EventLoop::new().run(async {
    ///     let (ours, _theirs) = UnixStream::pair()?;
    ///     let count = Async::new(ours)?.write_with(|mut stream| stream.write(b"three")).await?;
    ///     assert_eq!(count, 5);
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[doc(alias = "sock_sendall")]
    pub fn write_with<R, F>(&self, write: F) -> Operation<'_, T, F>
    where
        F: FnMut(&T) -> io::Result<R>,
    {
        Operation { source: self, side: Side::Write, act: write, entered: None }
    }

    /// As [`read_with`](Self::read_with), for futures that are written by hand. If this returns
    /// `Pending`, the task is woken when another try is worthwhile; it may also be woken
    /// spuriously. The loop cannot see that a future has stopped polling, so its waker stays
    /// registered until the side is next ready. When many such wakers have collected, the loop
    /// wakes them all, and a future that still waits polls again.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, io::Async};
    /// use std::{future::poll_fn, io::{Read, Write}, os::unix::net::UnixStream};
    ///
    /// EventLoop::new().run(async {
    ///     let (ours, mut theirs) = UnixStream::pair()?;
    ///     let ours = Async::new(ours)?;
    ///     theirs.write_all(b"x")?;
    ///     let count = poll_fn(|cx| ours.poll_read_with(cx, |mut stream| stream.read(&mut [0; 8]))).await?;
    ///     assert_eq!(count, 1);
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[track_caller]
    pub fn poll_read_with<R>(
        &self,
        cx: &mut Context<'_>,
        read: impl FnMut(&T) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        self.poll_with(Side::Read, cx, read)
    }

    /// Like [`poll_read_with`](Self::poll_read_with), for writing.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, io::Async};
    /// use std::{future::poll_fn, io::Write, os::unix::net::UnixStream};
    ///
    /// EventLoop::new().run(async {
    ///     let (ours, _theirs) = UnixStream::pair()?;
    ///     let ours = Async::new(ours)?;
    ///     let count = poll_fn(|cx| ours.poll_write_with(cx, |mut stream| stream.write(b"three"))).await?;
    ///     assert_eq!(count, 5);
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[track_caller]
    pub fn poll_write_with<R>(
        &self,
        cx: &mut Context<'_>,
        write: impl FnMut(&T) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        self.poll_with(Side::Write, cx, write)
    }

    /// Like [`readable`](Self::readable), for futures that are written by hand. Returns `Pending`
    /// first, even if data is already there, and `Ready` when the poller has reported the source
    /// since then. After a `Ready`, the next call begins a new wait. So call this before each read,
    /// and again if the read would block.
    ///
    /// Prefer [`poll_read_with`](Self::poll_read_with) where you can: it tries first, and a wait
    /// there costs no system call. Here each wait costs one.
    ///
    /// Only the task that has called this last is woken. The loop cannot see that a future has
    /// stopped polling, so its waker stays registered until the source is next reported.
    ///
    /// # Errors
    ///
    /// If the operating system has no room to register.
    ///
    /// # Panics
    ///
    /// When called outside its loop.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, io::Async};
    /// use std::{future::poll_fn, io::{Read, Write}, os::unix::net::UnixStream, task::ready};
    ///
    /// EventLoop::new().run(async {
    ///     let (ours, mut theirs) = UnixStream::pair()?;
    ///     let ours = Async::new(ours)?;
    ///     theirs.write_all(b"x")?;
    ///     let count = poll_fn(|cx| {
    ///         loop {
    ///             ready!(ours.poll_readable(cx))?;
    ///             match ours.get_ref().read(&mut [0; 8]) {
    ///                 Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
    ///                 result => return std::task::Poll::Ready(result),
    ///             }
    ///         }
    ///     });
    ///     assert_eq!(count.await?, 1);
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[track_caller]
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_ready(Side::Read, cx)
    }

    /// Like [`poll_readable`](Self::poll_readable), for writing.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, io::Async};
    /// use std::{future::poll_fn, os::unix::net::UnixStream};
    ///
    /// EventLoop::new().run(async {
    ///     let (ours, _theirs) = UnixStream::pair()?;
    ///     let ours = Async::new(ours)?;
    ///     poll_fn(|cx| ours.poll_writable(cx)).await // there is room
    /// })
    /// # .unwrap();
    /// ```
    #[track_caller]
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_ready(Side::Write, cx)
    }

    // ---- the steps of an operation ----

    /// The steps of a `Readiness`, whose stage is kept here.
    #[track_caller]
    fn poll_ready(&self, side: Side, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let kernel = self.kernel("poll() of a socket's readiness");
        let reactor = self.reactor(&kernel);
        // No user code runs while the lock is held.
        let polled = || self.polled.lock().unwrap_or_else(PoisonError::into_inner);
        let number = std::mem::take(&mut polled()[side as usize]);
        let has_tried = number != 0;
        if has_tried {
            match reactor.leave(self.key, side, number) {
                None => return Poll::Ready(Ok(())),
                Some(waiter) => end(&kernel, waiter),
            }
        }
        let number = self.enter(&kernel, reactor, side, cx, false, has_tried)?;
        polled()[side as usize] = number;
        Poll::Pending
    }

    #[track_caller]
    fn poll_with<R>(
        &self,
        side: Side,
        cx: &mut Context<'_>,
        act: impl FnMut(&T) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        let kernel = self.kernel(POLL);
        self.poll_in(&kernel, self.reactor(&kernel), side, cx, act)
    }

    /// Tries the operation, or registers a waiter for another try. The waiter stays registered when
    /// the caller's future is dropped, because nothing reports that; then it is woken once without
    /// effect.
    #[track_caller]
    fn poll_in<R>(
        &self,
        kernel: &Kernel,
        reactor: &Reactor,
        side: Side,
        cx: &mut Context<'_>,
        act: impl FnMut(&T) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        match self.attempt(kernel, reactor, side, cx, act) {
            Attempt::Done(result) => return Poll::Ready(result),
            Attempt::LetsOthersRun => return Poll::Pending,
            Attempt::WouldBlock => {}
        }
        // A waiter that is polled again without reason is already registered.
        if reactor.is_waiting(self.key, side, |waiter| wakes_the_same(&waiter.waker, cx.waker())) {
            return Poll::Pending;
        }
        let asked = reactor.to_be_asked(self.key, side, cx.waker());
        if !asked.waiters.is_empty() {
            let wakers = asked.waiters.iter().map(|waiter| clone_uncounted(&waiter.waker)).collect();
            drop(reactor.asked(self.key, side, wakers, kernel.tally().turns.get()));
            asked.waiters.into_iter().for_each(|waiter| kernel.wake_waiter(waiter));
        }
        match self.enter(kernel, reactor, side, cx, true, true) {
            Ok(_) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// Like `poll_in`, for at most this many bytes, in this many slices.
    #[track_caller]
    #[inline]
    fn poll_bytes(
        &self,
        kernel: &Kernel,
        side: Side,
        cx: &mut Context<'_>,
        (most, pieces): (usize, usize),
        act: impl FnMut(&T) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let reactor = self.reactor(kernel);
        if most == 0 {
            // Nothing to read or write.
            return Poll::Ready(Ok(0));
        }
        let amount = ready!(self.poll_in(kernel, reactor, side, cx, act))?;
        // The operating system handles no more than this in one call.
        let is_asked_for = pieces <= MOST_PIECES && most <= MOST_BYTES;
        if self.is_tcp && is_asked_for && 0 < amount && amount < most {
            reactor.drained(self.key, side);
        }
        Poll::Ready(Ok(amount))
    }

    /// Calls `act` if that is worthwhile. A task that has succeeded many times is woken instead,
    /// and tries again when others have run.
    #[inline]
    fn attempt<R>(
        &self,
        kernel: &Kernel,
        reactor: &Reactor,
        side: Side,
        cx: &mut Context<'_>,
        mut act: impl FnMut(&T) -> io::Result<R>,
    ) -> Attempt<R> {
        if !reactor.is_ready(self.key, side) {
            return Attempt::WouldBlock;
        }
        if !reactor.may_go_on(kernel.table.running_token(), kernel.tally().turns.get(), &kernel.clock) {
            cx.waker().wake_by_ref();
            return Attempt::LetsOthersRun;
        }
        loop {
            match act(&self.source.0) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    reactor.exhausted(self.key, side);
                    return Attempt::WouldBlock;
                }
                result => return Attempt::Done(result),
            }
        }
    }

    /// Registers the running task as a waiter. Returns the number by which it can be removed.
    #[track_caller]
    fn enter(
        &self,
        kernel: &Kernel,
        reactor: &Reactor,
        side: Side,
        cx: &mut Context<'_>,
        is_polled: bool,
        has_tried: bool,
    ) -> io::Result<u64> {
        // Cloning a waker may run user code, and nothing is borrowed here.
        let waker = clone_uncounted(cx.waker());
        let place = place_of(Location::caller(), self.made_at);
        let wait = kernel.table.begin_wait(Wait::On(reactor.awaited(self.key, side)), place);
        let waiter = reactor.waiter(waker, wait, is_polled);
        let number = waiter.number();
        // A caller that has tried waits for new events only; another also asks for what was
        // reported before.
        if let Err(error) = reactor.wait(self.key, side, waiter, has_tried) {
            wait.into_iter().for_each(|wait| kernel.table.end_wait(wait));
            return Err(error);
        }
        Ok(number)
    }

    /// Wakes the tasks that wait for something to read, so that each tries again.
    #[cfg(feature = "tls")]
    #[track_caller]
    pub(crate) fn wake_readers(&self) {
        let kernel = self.kernel("close() of a connection");
        let waiters = self.reactor(&kernel).interrupt(self.key, Side::Read);
        waiters.into_iter().for_each(|waiter| kernel.wake_waiter(waiter));
    }

    /// Panics if the loop of this source is not running on this thread. Without this check, only a
    /// later poll would panic.
    #[track_caller]
    pub(crate) fn check_loop(&self, asked: &str) {
        drop(self.kernel(asked));
    }

    #[track_caller]
    fn kernel(&self, asked: &str) -> Rc<Kernel> {
        match context::running() {
            Some(kernel) if kernel.id() == self.loop_id => kernel,
            _ => panic!("{}", elsewhere(asked)),
        }
    }

    fn reactor<'a>(&self, kernel: &'a Kernel) -> &'a Reactor {
        kernel.reactor().expect("the reactor is there: this has a source in it")
    }
}

#[cfg(any(feature = "hyper", feature = "tokio-io"))]
impl<T> Async<T>
where
    for<'a> &'a T: Read,
{
    /// Reads through a buffer of the loop, for callers whose own buffer is not initialized. Most
    /// reads are requests of a few hundred bytes, which are copied quickly.
    #[track_caller]
    pub(crate) fn poll_read_copied(
        &self,
        cx: &mut Context<'_>,
        room: usize,
        put: impl FnOnce(&[u8]),
    ) -> Poll<io::Result<()>> {
        let kernel = self.kernel(POLL);
        let reactor = self.reactor(&kernel);
        // Taken out, because reading may run user code.
        let mut scratch = reactor.take_scratch();
        let room = room.min(scratch.len());
        let read = |mut source: &T| source.read(&mut scratch[..room]);
        let amount = self.poll_bytes(&kernel, Side::Read, cx, (room, 1), read);
        if let Poll::Ready(Ok(amount)) = amount {
            put(&scratch[..amount]);
        }
        reactor.put_scratch(scratch);
        amount.map_ok(drop)
    }
}

/// Up to this length, several slices are copied into one buffer and written from there. This costs
/// less than a system call that writes two slices.
#[cfg(any(feature = "hyper", feature = "tokio-io"))]
const SMALL: usize = 4 * 1024;

#[cfg(any(feature = "hyper", feature = "tokio-io"))]
impl<T> Async<T>
where
    for<'a> &'a T: Write,
    T: AsFd,
{
    /// Writes several slices, such as the head and the body of a message. Short ones go through the
    /// buffer of the loop.
    #[track_caller]
    pub(crate) fn poll_write_slices(&self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let length = total(slices.iter().map(|slice| slice.len()));
        if length > SMALL {
            return AsyncWrite::poll_write_vectored(Pin::new(&mut &*self), cx, slices);
        }
        let kernel = self.kernel(POLL);
        let reactor = self.reactor(&kernel);
        let mut scratch = reactor.take_scratch();
        let mut end = 0;
        for slice in slices {
            scratch[end..end + slice.len()].copy_from_slice(slice);
            end += slice.len();
        }
        let write = |mut source: &T| source.write(&scratch[..length]);
        let amount = self.poll_bytes(&kernel, Side::Write, cx, (length, 1), write);
        reactor.put_scratch(scratch);
        amount
    }
}

const POLL: &str = "poll() of a socket";

/// The limits of Linux for one call: `MAX_RW_COUNT`, and `IOV_MAX`.
const MOST_BYTES: usize = 0x7fff_f000;
const MOST_PIECES: usize = 1024;

/// The result of an attempt.
enum Attempt<R> {
    Done(io::Result<R>),
    WouldBlock,
    LetsOthersRun,
}

fn elsewhere(asked: &str) -> String {
    format!("{asked} was called where its loop is not; use a socket in the loop that it was made in")
}

impl<T> Drop for Async<T> {
    fn drop(&mut self) {
        match context::find(self.loop_id) {
            Some(kernel) => kernel.remove_source(self.key),
            // On another thread, or the loop and its reactor have gone. A hook may be called, whose
            // panic must not come out of a destructor.
            None => exceptions::tolerate(self.loop_id, exceptions::IN_A_HOOK, || {
                drop(inbox(self.lane).send(self.loop_id, Message::RemoveSource(self.key)));
            }),
        }
    }
}

impl<T: AsFd> AsFd for Async<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.source.as_fd()
    }
}

impl<T: AsFd> AsRawFd for Async<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// The output of a child process of the standard library, for reading. The standard library can
/// read a [`ChildStdout`] only by an exclusive reference, so it is converted to a [`File`], which
/// refers to the same pipe.
///
/// # Examples
///
/// ```
/// use futures_util::AsyncReadExt;
/// use onelane::{EventLoop, io::Async};
/// use std::{fs::File, process::{Command, Stdio}};
///
/// EventLoop::new().run(async {
///     let mut child = Command::new("echo").arg("lane").stdout(Stdio::piped()).spawn()?;
///     let mut stdout = Async::<File>::try_from(child.stdout.take().unwrap())?;
///     let mut text = String::new();
///     stdout.read_to_string(&mut text).await?;
///     assert_eq!(text, "lane\n");
///     child.wait()?; // it has ended, so this does not block for long
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
impl TryFrom<ChildStdout> for Async<File> {
    type Error = io::Error;

    #[track_caller]
    fn try_from(pipe: ChildStdout) -> io::Result<Self> {
        Async::new(File::from(OwnedFd::from(pipe)))
    }
}

/// The error output of a child process of the standard library, like its output.
impl TryFrom<ChildStderr> for Async<File> {
    type Error = io::Error;

    #[track_caller]
    fn try_from(pipe: ChildStderr) -> io::Result<Self> {
        Async::new(File::from(OwnedFd::from(pipe)))
    }
}

impl<T: fmt::Debug> fmt::Debug for Async<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Async").field(&self.source.0).finish()
    }
}

// ---- waiting ----

/// The future of [`Async::readable`] and [`Async::writable`].
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, io::Async, timeout};
/// use std::{os::unix::net::UnixStream, time::Duration};
///
/// EventLoop::with_virtual_clock().run(async {
///     let (ours, _theirs) = UnixStream::pair()?;
///     let ours = Async::new(ours)?;
///     // Nobody writes.
///     assert!(timeout(Duration::from_secs(60), ours.readable()).await.is_err());
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct Readiness<'a, T> {
    source: &'a Async<T>,
    side: Side,
    stage: Stage,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    New {
        has_tried: bool,
    },
    /// Registered as the waiter with this number.
    Entered(u64),
    Over,
}

impl<T> Future for Readiness<'_, T> {
    type Output = io::Result<()>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (source, side) = (self.source, self.side);
        let kernel = source.kernel("poll() of a socket's readiness");
        let reactor = source.reactor(&kernel);
        let has_tried = match self.stage {
            Stage::New { has_tried } => has_tried,
            Stage::Over => return Poll::Ready(Ok(())),
            Stage::Entered(number) => match reactor.leave(source.key, side, number) {
                None => {
                    self.stage = Stage::Over;
                    return Poll::Ready(Ok(()));
                }
                Some(waiter) => {
                    // Another task may be polling now, so the waiter is replaced. The report that
                    // was requested at the first poll is still to come.
                    end(&kernel, waiter);
                    true
                }
            },
        };
        match source.enter(&kernel, reactor, side, cx, false, has_tried) {
            Ok(number) => {
                self.stage = Stage::Entered(number);
                Poll::Pending
            }
            Err(error) => {
                self.stage = Stage::Over;
                Poll::Ready(Err(error))
            }
        }
    }
}

impl<T> Drop for Readiness<'_, T> {
    fn drop(&mut self) {
        if let Stage::Entered(number) = self.stage {
            leave(self.source, self.side, number);
        }
    }
}

impl<T> fmt::Debug for Readiness<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readiness").field("side", &self.side).field("stage", &self.stage).finish()
    }
}

/// Removes a waiter. On another thread, or after the loop has gone, it cannot be removed, and is at
/// worst woken once without effect.
fn leave<T>(source: &Async<T>, side: Side, number: u64) {
    let Some(kernel) = context::find(source.loop_id) else { return };
    let waiter = kernel.reactor().ok().and_then(|reactor| reactor.leave(source.key, side, number));
    waiter.into_iter().for_each(|waiter| end(&kernel, waiter));
}

/// The wait has ended; the waker is dropped where nothing is borrowed.
fn end(kernel: &Kernel, waiter: Waiter) {
    waiter.wait.into_iter().for_each(|wait| kernel.table.end_wait(wait));
}

/// The future of [`Async::read_with`] and [`Async::write_with`].
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, io::Async};
/// use std::{io::Write, os::unix::net::UnixStream};
///
/// EventLoop::new().run(async {
///     let (ours, _theirs) = UnixStream::pair()?;
///     let ours = Async::new(ours)?;
///     let write = ours.write_with(|mut stream| stream.write(b"later"));
///     assert_eq!(write.await?, 5); // only now
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct Operation<'a, T, F> {
    source: &'a Async<T>,
    side: Side,
    act: F,
    /// The number of the waiter, while this waits.
    entered: Option<u64>,
}

// It pins nothing.
impl<T, F> Unpin for Operation<'_, T, F> {}

impl<T, F, R> Future for Operation<'_, T, F>
where
    F: FnMut(&T) -> io::Result<R>,
{
    type Output = io::Result<R>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<R>> {
        let this = &mut *self;
        let kernel = this.source.kernel("poll() of an operation on a socket");
        let reactor = this.source.reactor(&kernel);
        if let Some(number) = this.entered.take() {
            let waiter = reactor.leave(this.source.key, this.side, number);
            waiter.into_iter().for_each(|waiter| end(&kernel, waiter));
        }
        match this.source.attempt(&kernel, reactor, this.side, cx, &mut this.act) {
            Attempt::Done(result) => return Poll::Ready(result),
            Attempt::LetsOthersRun => return Poll::Pending,
            Attempt::WouldBlock => {}
        }
        match this.source.enter(&kernel, reactor, this.side, cx, false, true) {
            Ok(number) => {
                this.entered = Some(number);
                Poll::Pending
            }
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl<T, F> Operation<'_, T, F> {
    /// Whether the operation was tried, and now waits.
    pub(crate) fn would_block(&self) -> bool {
        self.entered.is_some()
    }
}

impl<T, F> Drop for Operation<'_, T, F> {
    fn drop(&mut self) {
        let Some(number) = self.entered else { return };
        leave(self.source, self.side, number);
        if let Some(Ok(reactor)) = context::find(self.source.loop_id).as_deref().map(Kernel::reactor) {
            reactor.given_up(self.source.key, self.side);
        }
    }
}

impl<T, F> fmt::Debug for Operation<'_, T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operation").field("side", &self.side).field("waits", &self.entered.is_some()).finish()
    }
}

// ---- futures-io ----

/// The sum, at most `usize::MAX`: several slices may refer to the same bytes, so their sum may
/// exceed the size of the memory.
fn total(lengths: impl Iterator<Item = usize>) -> usize {
    lengths.fold(0, usize::saturating_add)
}

/// The traits on references, so that one task can read while another writes.
impl<T> AsyncRead for &Async<T>
where
    for<'a> &'a T: Read,
{
    #[track_caller]
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let room = (buffer.len(), 1);
        self.poll_bytes(&self.kernel(POLL), Side::Read, cx, room, |mut source: &T| source.read(buffer))
    }

    #[track_caller]
    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let room = (total(buffers.iter().map(|buffer| buffer.len())), buffers.len());
        self.poll_bytes(&self.kernel(POLL), Side::Read, cx, room, |mut source: &T| source.read_vectored(buffers))
    }
}

impl<T> AsyncWrite for &Async<T>
where
    for<'a> &'a T: Write,
    T: AsFd,
{
    #[track_caller]
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let length = (bytes.len(), 1);
        self.poll_bytes(&self.kernel(POLL), Side::Write, cx, length, |mut source: &T| source.write(bytes))
    }

    #[track_caller]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = (total(slices.iter().map(|slice| slice.len())), slices.len());
        self.poll_bytes(&self.kernel(POLL), Side::Write, cx, length, |mut source: &T| source.write_vectored(slices))
    }

    #[track_caller]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Does not wait for room if there is nothing to flush.
        let mut source = self.get_ref();
        match source.flush() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let kernel = self.kernel(POLL);
                self.reactor(&kernel).exhausted(self.key, Side::Write);
                self.poll_write_with(cx, |mut source| source.flush())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.poll_write_with(cx, |mut source| source.flush())
            }
            result => Poll::Ready(result),
        }
    }

    /// Shuts a socket down for writing, so that the peer sees the end. Other objects are flushed,
    /// and closed when they are dropped.
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match rustix::net::shutdown(self.as_fd(), rustix::net::Shutdown::Write) {
            Ok(()) => Poll::Ready(Ok(())),
            // It is not a socket.
            Err(rustix::io::Errno::NOTSOCK) => self.poll_flush(cx),
            // The peer has already gone.
            Err(rustix::io::Errno::NOTCONN) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }
}

impl<T> AsyncRead for Async<T>
where
    for<'a> &'a T: Read,
{
    #[track_caller]
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self).poll_read(cx, buffer)
    }

    #[track_caller]
    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self).poll_read_vectored(cx, buffers)
    }
}

impl<T> AsyncWrite for Async<T>
where
    for<'a> &'a T: Write,
    T: AsFd,
{
    #[track_caller]
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self).poll_write(cx, bytes)
    }

    #[track_caller]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self).poll_write_vectored(cx, slices)
    }

    #[track_caller]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self).poll_close(cx)
    }
}
