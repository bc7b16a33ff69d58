//! tokio's `AsyncRead` and `AsyncWrite`, with the feature `tokio-io`: for [`Async`], for references
//! to it, and for what has one inside.
//!
//! Each method does what futures-io's does, so an operation waits, is cancelled and wakes in the
//! same way. One thing differs: tokio's buffer may have room that is not initialized. Such room is
//! filled from the loop's own buffer, as for hyper. So nothing is zeroed, and no `unsafe` is needed.
//!
//! This file knows neither tokio's runtime nor its reactor. The crate is used without features, which
//! leaves the traits.

use crate::net::{OwnedReadHalf, OwnedWriteHalf, TcpStream, UnixStream};
use crate::outside::io::{Async, SCRATCH};
use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// tokio's trait, for crates that need it. tokio's runtime and reactor are not used.
///
/// A crate that calls tokio's reactor, such as by `tokio::time::sleep` or `tokio::spawn`, panics here
/// also with these traits; `docs/porting.md` names the cure.
///
/// Cancel safety and wakes are those of futures-io's traits. Room of the buffer that is not
/// initialized is filled through a buffer of the loop, at most 64 KiB at a time. Initialized room is
/// read into directly.
///
/// The utilities are in tokio's `AsyncReadExt` and `AsyncWriteExt`, with its feature `io-util`.
/// [`TcpStream::shutdown`] and [`UnixStream::shutdown`] have a parameter and hide the trait's method:
/// write `AsyncWriteExt::shutdown(&mut stream)`.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, net::UnixStream};
/// use std::{future::poll_fn, mem::MaybeUninit, pin::Pin};
/// use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
///
/// EventLoop::new().run(async {
///     let (mut ours, mut theirs) = UnixStream::pair()?;
///     assert_eq!(poll_fn(|cx| AsyncWrite::poll_write(Pin::new(&mut theirs), cx, b"lane")).await?, 4);
///     let mut memory = [MaybeUninit::uninit(); 16];
///     let mut buffer = ReadBuf::uninit(&mut memory);
///     poll_fn(|cx| AsyncRead::poll_read(Pin::new(&mut ours), cx, &mut buffer)).await?;
///     assert_eq!(buffer.filled(), b"lane");
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
#[cfg_attr(docsrs, doc(cfg(feature = "tokio-io")))]
impl<T> AsyncRead for &Async<T>
where
    for<'a> &'a T: io::Read,
{
    #[track_caller]
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let room = buffer.remaining();
        let initialized = buffer.initialized().len() - buffer.filled().len();
        if initialized < room.min(SCRATCH) {
            return self.poll_read_copied(cx, room, |bytes| buffer.put_slice(bytes));
        }
        // This zeroes nothing, because these bytes are initialized.
        let bytes = buffer.initialize_unfilled_to(initialized);
        let amount = ready!(futures_io::AsyncRead::poll_read(self, cx, bytes))?;
        buffer.advance(amount);
        Poll::Ready(Ok(()))
    }
}

#[cfg_attr(docsrs, doc(cfg(feature = "tokio-io")))]
impl<T> AsyncWrite for &Async<T>
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

    /// Shuts a socket down for writing, so that the peer sees the end. Other objects are flushed,
    /// and closed when they are dropped.
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

/// `AsyncRead` by a reference to something that has it.
macro_rules! read_by_reference {
    ([$($generics:tt)*] $type:ty, $this:ident => $inner:expr $(, where $($bounds:tt)+)?) => {
        #[cfg_attr(docsrs, doc(cfg(feature = "tokio-io")))]
        impl<$($generics)*> AsyncRead for $type $(where $($bounds)+)? {
            #[track_caller]
            fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
                let $this = &*self;
                let mut inner = $inner;
                AsyncRead::poll_read(Pin::new(&mut inner), cx, buffer)
            }
        }
    };
}

/// `AsyncWrite` by a reference to something that has it.
macro_rules! write_by_reference {
    ([$($generics:tt)*] $type:ty, $this:ident => $inner:expr $(, where $($bounds:tt)+)?) => {
        #[cfg_attr(docsrs, doc(cfg(feature = "tokio-io")))]
        impl<$($generics)*> AsyncWrite for $type $(where $($bounds)+)? {
            #[track_caller]
            fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
                let $this = &*self;
                let mut inner = $inner;
                AsyncWrite::poll_write(Pin::new(&mut inner), cx, bytes)
            }

            #[track_caller]
            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                let $this = &*self;
                let mut inner = $inner;
                AsyncWrite::poll_flush(Pin::new(&mut inner), cx)
            }

            /// Shuts a socket down for writing: the peer sees the end.
            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                let $this = &*self;
                let mut inner = $inner;
                AsyncWrite::poll_shutdown(Pin::new(&mut inner), cx)
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
                let $this = &*self;
                let mut inner = $inner;
                AsyncWrite::poll_write_vectored(Pin::new(&mut inner), cx, slices)
            }
        }
    };
}

read_by_reference!([T] Async<T>, this => this, where for<'a> &'a T: io::Read);
write_by_reference!([T] Async<T>, this => this, where for<'a> &'a T: io::Write, T: AsFd);

read_by_reference!([] TcpStream, stream => stream.as_async());
write_by_reference!([] TcpStream, stream => stream.as_async());
read_by_reference!([] &TcpStream, stream => stream.as_async());
write_by_reference!([] &TcpStream, stream => stream.as_async());

read_by_reference!([] UnixStream, stream => stream.as_async());
write_by_reference!([] UnixStream, stream => stream.as_async());
read_by_reference!([] &UnixStream, stream => stream.as_async());
write_by_reference!([] &UnixStream, stream => stream.as_async());

read_by_reference!([S] OwnedReadHalf<S>, half => half.get_ref(), where for<'a> &'a S: AsyncRead);
write_by_reference!([S] OwnedWriteHalf<S>, half => half.get_ref(), where for<'a> &'a S: AsyncWrite);
