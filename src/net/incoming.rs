//! The connections of a listener as a stream, with the feature `stream`.

use crate::net::tcp::{Accept, TcpListener, TcpStream};
use crate::net::unix::{UnixAccept, UnixListener, UnixStream};
use futures_core::Stream;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// The stream of [`TcpListener::incoming`].
///
/// # Examples
///
/// ```
/// use futures_util::TryStreamExt;
/// use onelane::{EventLoop, net::{TcpListener, TcpStream}};
///
/// EventLoop::new().run(async {
///     let listener = TcpListener::bind("127.0.0.1:0").await?;
///     let client = TcpStream::connect(listener.local_addr()?).await?;
///     let peer = listener.incoming().try_next().await?.expect("it never ends");
///     assert_eq!(peer.peer_addr()?, client.local_addr()?);
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
#[derive(Debug)]
#[must_use = "streams do nothing unless they are polled"]
pub struct Incoming<'a> {
    listener: &'a TcpListener,
    accept: Option<Accept<'a>>,
}

/// The stream of [`UnixListener::incoming`].
///
/// # Examples
///
/// ```
/// use futures_util::TryStreamExt;
/// use onelane::{EventLoop, net::{UnixListener, UnixStream}};
///
/// # let path = std::env::temp_dir().join(format!("onelane-incoming-{}", std::process::id()));
/// EventLoop::new().run(async {
///     let listener = UnixListener::bind(&path)?;
///     let _client = UnixStream::connect(&path).await?;
///     assert!(listener.incoming().try_next().await?.is_some());
///     std::fs::remove_file(&path)
/// })
/// # .unwrap();
/// ```
#[derive(Debug)]
#[must_use = "streams do nothing unless they are polled"]
pub struct UnixIncoming<'a> {
    listener: &'a UnixListener,
    accept: Option<UnixAccept<'a>>,
}

impl TcpListener {
    /// Returns the connections as a stream, which never ends. An item is what
    /// [`accept`](Self::accept) returns, without the address, which is the stream's `peer_addr`.
    ///
    /// An error is an item too, and does not end the stream. If no descriptors are left, the next
    /// item is an error again: wait a little, as for [`accept`](Self::accept).
    ///
    /// Cancel safety: no connection is lost when the stream is dropped.
    ///
    /// # Panics
    ///
    /// When polled outside its loop.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures_util::{AsyncReadExt, AsyncWriteExt, StreamExt};
    /// use onelane::{EventLoop, net::{TcpListener, TcpStream}, spawn};
    ///
    /// EventLoop::new().run(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let address = listener.local_addr()?;
    ///     let server = spawn(async move {
    ///         let mut incoming = listener.incoming();
    ///         while let Some(stream) = incoming.next().await {
    ///             let Ok(mut stream) = stream else { continue };
    ///             drop(spawn(async move { stream.write_all(b"welcome").await }));
    ///         }
    ///     });
    ///     let mut text = String::new();
    ///     TcpStream::connect(address).await?.read_to_string(&mut text).await?;
    ///     assert_eq!(text, "welcome");
    ///     server.cancel();
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self, accept: None }
    }
}

impl UnixListener {
    /// Returns the connections as a stream, which never ends. Like [`TcpListener::incoming`].
    ///
    /// # Examples
    ///
    /// ```
    /// use futures_util::StreamExt;
    /// use onelane::{EventLoop, net::{UnixListener, UnixStream}};
    ///
    /// # let path = std::env::temp_dir().join(format!("onelane-unix-incoming-{}", std::process::id()));
    /// EventLoop::new().run(async {
    ///     let listener = UnixListener::bind(&path)?;
    ///     let _clients = (UnixStream::connect(&path).await?, UnixStream::connect(&path).await?);
    ///     let peers: Vec<_> = listener.incoming().take(2).collect().await;
    ///     assert!(peers.iter().all(Result::is_ok));
    ///     std::fs::remove_file(&path)
    /// })
    /// # .unwrap();
    /// ```
    #[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
    pub fn incoming(&self) -> UnixIncoming<'_> {
        UnixIncoming { listener: self, accept: None }
    }
}

/// `Stream` for the connections of a listener.
macro_rules! stream {
    ($incoming:ident, $connection:ident) => {
        #[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
        impl Stream for $incoming<'_> {
            type Item = io::Result<$connection>;

            #[track_caller]
            fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
                let listener = self.listener;
                // Kept while it waits, so that its waiter is removed when the stream is dropped.
                let accept = self.accept.get_or_insert_with(|| listener.accept());
                let accepted = ready!(Pin::new(accept).poll(cx));
                self.accept = None;
                Poll::Ready(Some(accepted.map(|(connection, _)| connection)))
            }
        }
    };
}

stream!(Incoming, TcpStream);
stream!(UnixIncoming, UnixStream);
