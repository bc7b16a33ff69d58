//! hyper 1.x on this loop, with the feature `hyper`.
//!
//! [`TcpStream`], [`UnixStream`] and each [`Async`] stream implement hyper's [`Read`] and
//! [`Write`]; the future of [`sleep`] implements its [`Sleep`](hyper::rt::Sleep). [`LoopTimer`] and
//! [`LoopExecutor`] use the running loop.
//!
//! A server needs a timer: without one, hyper's limit of thirty seconds for the head of a request
//! has no effect.
//!
//! ```
//! use onelane::net::{TcpStream, UnixStream};
//!
//! fn is_for_hyper<Stream: hyper::rt::Read + hyper::rt::Write + Unpin>() {}
//! is_for_hyper::<TcpStream>();
//! is_for_hyper::<UnixStream>();
//! ```
//!
//! A server, and a client that makes one request: `examples/http/src/bin/hello.rs`. It needs
//! hyper's features `client`, `http1` and `server`, and the crate http-body-util:
//!
//! ```ignore
//! use http_body_util::Full;
//! use hyper::body::{Bytes, Incoming};
//! use hyper::{Request, Response, client, server, service::service_fn};
//! use onelane::net::{TcpListener, TcpStream};
//! use onelane::{EventLoop, hyper::LoopTimer, spawn};
//! use std::{convert::Infallible, net::Ipv4Addr};
//!
//! async fn hello(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
//!     Ok(Response::new(Full::new(Bytes::from_static(b"hello"))))
//! }
//!
//! fn main() {
//!     EventLoop::new().run(async {
//!         let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
//!         let address = listener.local_addr().unwrap();
//!         spawn(async move {
//!             let (stream, _) = listener.accept().await.unwrap();
//!             let mut http = server::conn::http1::Builder::new();
//!             http.timer(LoopTimer).serve_connection(stream, service_fn(hello)).await
//!         });
//!
//!         let stream = TcpStream::connect(address).await.unwrap();
//!         let (mut client, connection) = client::conn::http1::handshake(stream).await.unwrap();
//!         spawn(async { drop(connection.await) });
//!         let request = Request::get("/").header("host", "localhost").body(Full::new(Bytes::new())).unwrap();
//!         assert_eq!(client.send_request(request).await.unwrap().status(), 200);
//!     });
//! }
//! ```

use crate::leaf::running;
use crate::net::{TcpStream, UnixStream};
use crate::outside::io::Async;
use crate::task::spawn;
use crate::time::sleep::{Sleep, sleep, sleep_until};
use hyper::rt::{Executor, Read, ReadBufCursor, Timer, Write};
use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// The timers of the running loop, for hyper. On a virtual clock they are virtual.
///
/// # Panics
///
/// Its methods panic if no loop is running on this thread.
///
/// # Examples
///
/// ```
/// use hyper::rt::Timer;
/// use onelane::{EventLoop, hyper::LoopTimer, time};
/// use std::time::Duration;
///
/// EventLoop::with_virtual_clock().run(async {
///     let begun = time();
///     LoopTimer.sleep(Duration::from_secs(30)).await;
///     assert_eq!(LoopTimer.now() - begun, Duration::from_secs(30));
/// });
/// ```
#[derive(Clone, Copy, Default, Debug)]
pub struct LoopTimer;

impl hyper::rt::Sleep for Sleep {}

impl Timer for LoopTimer {
    #[track_caller]
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(sleep(duration))
    }

    #[track_caller]
    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(sleep_until(deadline))
    }

    #[track_caller]
    fn now(&self) -> Instant {
        running("LoopTimer::now()").clock.now_as_instant()
    }

    /// Reuses the box if the sleep is one of ours.
    #[track_caller]
    fn reset(&self, sleep: &mut Pin<Box<dyn hyper::rt::Sleep>>, deadline: Instant) {
        match sleep.as_mut().downcast_mut_pin::<Sleep>() {
            Some(sleep) => sleep.get_mut().reset(deadline),
            None => *sleep = self.sleep_until(deadline),
        }
    }
}

/// Spawns on the running loop, for hyper. The futures may be `!Send`.
///
/// # Panics
///
/// Its method panics if no loop is running on this thread.
///
/// # Examples
///
/// ```
/// use hyper::rt::Executor;
/// use onelane::{EventLoop, all_tasks, hyper::LoopExecutor};
/// use std::rc::Rc;
///
/// EventLoop::with_virtual_clock().run(async {
///     let local = Rc::new(1);
///     LoopExecutor.execute(async move { drop(local) });
///     assert_eq!(all_tasks().len(), 2);
/// });
/// ```
#[derive(Clone, Copy, Default, Debug)]
pub struct LoopExecutor;

impl<F: Future<Output: 'static> + 'static> Executor<F> for LoopExecutor {
    #[track_caller]
    fn execute(&self, future: F) {
        drop(spawn(future));
    }
}

impl<T> Read for Async<T>
where
    for<'a> &'a T: io::Read,
{
    #[track_caller]
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, mut buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_read_copied(cx, buffer.remaining(), |bytes| buffer.put_slice(bytes)))?;
        Poll::Ready(Ok(()))
    }
}

impl<T> Write for Async<T>
where
    for<'a> &'a T: io::Write,
    T: AsFd,
{
    #[track_caller]
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        futures_io::AsyncWrite::poll_write(self, cx, bytes)
    }

    #[track_caller]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        futures_io::AsyncWrite::poll_flush(self, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        futures_io::AsyncWrite::poll_close(self, cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    #[track_caller]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_slices(cx, slices)
    }
}

/// The same traits for a socket that has an `Async` in its field `io`.
macro_rules! as_its_async {
    ($stream:ty) => {
        impl Read for $stream {
            #[track_caller]
            fn poll_read(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffer: ReadBufCursor<'_>,
            ) -> Poll<io::Result<()>> {
                Read::poll_read(Pin::new(&mut self.io), cx, buffer)
            }
        }

        impl Write for $stream {
            #[track_caller]
            fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
                Write::poll_write(Pin::new(&mut self.io), cx, bytes)
            }

            /// A socket buffers nothing.
            fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Write::poll_shutdown(Pin::new(&mut self.io), cx)
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            #[track_caller]
            fn poll_write_vectored(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                slices: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                Write::poll_write_vectored(Pin::new(&mut self.io), cx, slices)
            }
        }
    };
}

as_its_async!(TcpStream);
as_its_async!(UnixStream);
