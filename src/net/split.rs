//! A connection as two halves that are owned: one reads, the other writes.
//!
//! References read and write too, so `(&stream, &stream)` is enough inside one task. Two tasks need
//! halves that they own.

use futures_io::{AsyncRead, AsyncWrite};
use std::error::Error;
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// The half of a connection that reads: of a [`TcpStream`](crate::net::TcpStream) or a
/// [`UnixStream`](crate::net::UnixStream), after `into_split`. It implements [`AsyncRead`].
///
/// The connection is closed when both halves are dropped. Dropping this half does not stop the peer
/// from sending.
///
/// # Examples
///
/// ```
/// use futures_util::{AsyncReadExt, AsyncWriteExt};
/// use onelane::{EventLoop, net::UnixStream, spawn};
///
/// EventLoop::new().run(async {
///     let (one, mut other) = UnixStream::pair()?;
///     let (mut reader, mut writer) = one.into_split();
///     let reading = spawn(async move {
///         let mut text = String::new();
///         reader.read_to_string(&mut text).await.map(|_| text)
///     });
///     writer.write_all(b"question").await?;
///     other.write_all(b"answer").await?;
///     other.close().await?;
///     assert_eq!(reading.await.unwrap()?, "answer");
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
pub struct OwnedReadHalf<S> {
    stream: Arc<S>,
}

/// The half of a connection that writes: of a [`TcpStream`](crate::net::TcpStream) or a
/// [`UnixStream`](crate::net::UnixStream), after `into_split`. It implements [`AsyncWrite`].
///
/// Dropping it shuts the connection down for writing, so that the peer sees the end, as closing it
/// does. [`forget`](Self::forget) drops it without that.
///
/// # Examples
///
/// ```
/// use futures_util::AsyncReadExt;
/// use onelane::{EventLoop, net::UnixStream};
///
/// EventLoop::new().run(async {
///     let (one, mut other) = UnixStream::pair()?;
///     let (_reader, writer) = one.into_split();
///     drop(writer);
///     assert_eq!(other.read(&mut [0; 8]).await?, 0); // the end
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
pub struct OwnedWriteHalf<S> {
    stream: Arc<S>,
    /// Called by the drop. `None` after `forget`.
    shut_down: Option<fn(&S)>,
}

pub(super) fn split<S>(stream: S, shut_down: fn(&S)) -> (OwnedReadHalf<S>, OwnedWriteHalf<S>) {
    let stream = Arc::new(stream);
    (OwnedReadHalf { stream: stream.clone() }, OwnedWriteHalf { stream, shut_down: Some(shut_down) })
}

impl<S> OwnedReadHalf<S> {
    /// Puts the two halves of a connection together again.
    ///
    /// # Errors
    ///
    /// If they are of two connections; the error returns them.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UnixStream};
    ///
    /// EventLoop::new().run(async {
    ///     let (one, other) = UnixStream::pair()?;
    ///     let (reader, writer) = one.into_split();
    ///     let (other_reader, other_writer) = other.into_split();
    ///     let error = reader.reunite(other_writer).unwrap_err();
    ///     assert_eq!(error.to_string(), "the halves are of two connections");
    ///     let one: UnixStream = error.0.reunite(writer).unwrap();
    ///     let other: UnixStream = other_reader.reunite(error.1).unwrap();
    ///     Ok::<(), std::io::Error>(drop((one, other)))
    /// })
    /// # .unwrap();
    /// ```
    pub fn reunite(self, writer: OwnedWriteHalf<S>) -> Result<S, ReuniteError<S>> {
        if !Arc::ptr_eq(&self.stream, &writer.stream) {
            return Err(ReuniteError(self, writer));
        }
        writer.forget();
        Ok(Arc::into_inner(self.stream).expect("there are two halves of a connection"))
    }

    /// Returns the connection, for its other functions.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::{TcpListener, TcpStream}};
    ///
    /// EventLoop::new().run(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let (reader, _writer) = TcpStream::connect(listener.local_addr()?).await?.into_split();
    ///     assert_eq!(reader.get_ref().peer_addr()?, listener.local_addr()?);
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn get_ref(&self) -> &S {
        &self.stream
    }
}

impl<S> OwnedWriteHalf<S> {
    /// Puts the two halves of a connection together again. Like
    /// [`OwnedReadHalf::reunite`].
    ///
    /// # Errors
    ///
    /// If they are of two connections; the error returns them.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UnixStream};
    ///
    /// EventLoop::new().run(async {
    ///     let (reader, writer) = UnixStream::pair()?.0.into_split();
    ///     let _stream: UnixStream = writer.reunite(reader).unwrap();
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn reunite(self, reader: OwnedReadHalf<S>) -> Result<S, ReuniteError<S>> {
        reader.reunite(self)
    }

    /// Drops this half without shutting the connection down: the peer sees the end only when the
    /// reading half is dropped too.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures_util::{AsyncReadExt, FutureExt};
    /// use onelane::{EventLoop, net::UnixStream};
    ///
    /// EventLoop::new().run(async {
    ///     let (one, mut other) = UnixStream::pair()?;
    ///     let (reader, writer) = one.into_split();
    ///     writer.forget();
    ///     assert!(other.read(&mut [0; 8]).now_or_never().is_none()); // no end yet
    ///     drop(reader);
    ///     assert_eq!(other.read(&mut [0; 8]).await?, 0);
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn forget(mut self) {
        self.shut_down = None;
    }

    /// Returns the connection, for its other functions.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::{TcpListener, TcpStream}};
    ///
    /// EventLoop::new().run(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let (_reader, writer) = TcpStream::connect(listener.local_addr()?).await?.into_split();
    ///     writer.get_ref().set_nodelay(true)
    /// })
    /// # .unwrap();
    /// ```
    pub fn get_ref(&self) -> &S {
        &self.stream
    }
}

impl<S> Drop for OwnedWriteHalf<S> {
    fn drop(&mut self) {
        if let Some(shut_down) = self.shut_down {
            shut_down(&self.stream);
        }
    }
}

impl<S> AsyncRead for OwnedReadHalf<S>
where
    for<'a> &'a S: AsyncRead,
{
    #[track_caller]
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self.stream).poll_read(cx, buffer)
    }

    #[track_caller]
    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self.stream).poll_read_vectored(cx, buffers)
    }
}

impl<S> AsyncWrite for OwnedWriteHalf<S>
where
    for<'a> &'a S: AsyncWrite,
{
    #[track_caller]
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self.stream).poll_write(cx, bytes)
    }

    #[track_caller]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self.stream).poll_write_vectored(cx, slices)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self.stream).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self.stream).poll_close(cx)
    }
}

impl<S: fmt::Debug> fmt::Debug for OwnedReadHalf<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnedReadHalf").field(&self.stream).finish()
    }
}

impl<S: fmt::Debug> fmt::Debug for OwnedWriteHalf<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnedWriteHalf").field(&self.stream).finish()
    }
}

/// The halves of two connections cannot be put together; here they are again.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, net::{ReuniteError, UnixStream}};
///
/// EventLoop::new().run(async {
///     let (one, other) = UnixStream::pair()?;
///     let ((reader, _one), (_other, writer)) = (one.into_split(), other.into_split());
///     let ReuniteError(_reader, _writer) = reader.reunite(writer).unwrap_err();
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
pub struct ReuniteError<S>(pub OwnedReadHalf<S>, pub OwnedWriteHalf<S>);

impl<S> fmt::Debug for ReuniteError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReuniteError").finish_non_exhaustive()
    }
}

impl<S> fmt::Display for ReuniteError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the halves are of two connections")
    }
}

impl<S> Error for ReuniteError<S> {}
