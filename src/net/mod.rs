//! Sockets, with the feature `io`, on Unix.
//!
//! Each is an [`Async`](crate::io::Async) of the standard library's type with the same name.
//! Functions that are missing here are available through it: [`TcpStream::as_async`], for example.
//! Streams implement futures-io's [`AsyncRead`](futures_io::AsyncRead) and
//! [`AsyncWrite`](futures_io::AsyncWrite), also by reference. With the feature `tokio-io`, they
//! implement tokio's traits of the same names. With the features `hyper` and `hyper-util`, they
//! implement hyper's and hyper-util's traits.
//!
//! # Names
//!
//! An address is numeric or has a name: `"example.org:443"`, `("localhost", 80)`, a `SocketAddr`,
//! and everything else that [`ToSocketAddrs`] lists. Names are looked up on a few threads that
//! exist only for that, or by a [`Resolver`] of yours. If a name has several addresses,
//! [`TcpStream::connect`] dials them as RFC 8305 ("Happy Eyeballs") says: IPv6 and IPv4 in turn,
//! without waiting long for one that does not answer. [`start_server`] listens at all of them.
//!
//! ```
//! use onelane::{EventLoop, net};
//!
//! EventLoop::new().run(async {
//!     let server = net::start_server("localhost:0", async |mut reader, mut writer| {
//!         let line = reader.read_line().await.unwrap();
//!         writer.write_all(&line).await.unwrap();
//!     })
//!     .await?;
//!     let port = server.local_addr()?.port();
//!     let (mut reader, mut writer) = net::open_connection(("localhost", port)).await?;
//!     writer.write_all(b"hello\n").await?;
//!     assert_eq!(reader.read_line().await?, b"hello\n");
//!     Ok::<(), std::io::Error>(())
//! })
//! # .unwrap();
//! ```
//!
//! # TLS
//!
//! With the feature `tls`, asyncio's streams speak TLS. A client calls `tls` of [`open_connection`]
//! with a `TlsConnector`, a server `tls` of [`start_server`] with a `TlsAcceptor`. In the middle of a
//! connection, [`StreamWriter`] has `start_tls`. The sockets themselves have no TLS: for them, there
//! are crates for futures-io's traits, such as futures-rustls.
//!
//! # Ownership
//!
//! A future of a socket borrows the socket, so the socket cannot be dropped or taken apart while a
//! task waits for it:
//!
//! ```compile_fail,E0505
//! # async fn example(socket: onelane::net::UdpSocket) {
//! let mut buffer = [0; 8];
//! let receive = socket.recv(&mut buffer);
//! drop(socket);
//! receive.await;
//! # }
//! ```
//!
//! Two tasks can own a connection in two halves ([`TcpStream::into_split`]). Inside one task,
//! `(&stream, &stream)` reads and writes. A `try_clone` is another descriptor of the same socket.
//!
//! Sockets may be sent to another thread and dropped there, but not used in another loop. asyncio's
//! streams stay on their thread:
//!
//! ```compile_fail,E0277
//! fn send<T: Send>() {}
//! send::<onelane::net::StreamReader>();
//! ```
//!
//! ```
//! use futures_util::{AsyncReadExt, AsyncWriteExt};
//! use onelane::{EventLoop, net::{TcpListener, TcpStream}, spawn};
//! use std::net::Ipv4Addr;
//!
//! EventLoop::new().run(async {
//!     let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
//!     let address = listener.local_addr()?;
//!     let server = spawn(async move {
//!         let (mut peer, _) = listener.accept().await?;
//!         peer.write_all(b"welcome").await
//!     });
//!     let mut text = String::new();
//!     TcpStream::connect(address).await?.read_to_string(&mut text).await?;
//!     assert_eq!(text, "welcome");
//!     server.await.unwrap()
//! })
//! # .unwrap();
//! ```

/// futures-io's traits for a socket that has an `Async` under the name `io`, and for references to
/// it.
macro_rules! read_and_write {
    ($stream:ty) => {
        read_and_write!(@ $stream);
        read_and_write!(@ &$stream);
    };
    (@ $stream:ty) => {
        impl futures_io::AsyncRead for $stream {
            #[track_caller]
            fn poll_read(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                buffer: &mut [u8],
            ) -> std::task::Poll<std::io::Result<usize>> {
                std::pin::Pin::new(&mut &self.io).poll_read(cx, buffer)
            }

            #[track_caller]
            fn poll_read_vectored(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                buffers: &mut [std::io::IoSliceMut<'_>],
            ) -> std::task::Poll<std::io::Result<usize>> {
                std::pin::Pin::new(&mut &self.io).poll_read_vectored(cx, buffers)
            }
        }

        impl futures_io::AsyncWrite for $stream {
            #[track_caller]
            fn poll_write(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                bytes: &[u8],
            ) -> std::task::Poll<std::io::Result<usize>> {
                std::pin::Pin::new(&mut &self.io).poll_write(cx, bytes)
            }

            #[track_caller]
            fn poll_write_vectored(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                slices: &[std::io::IoSlice<'_>],
            ) -> std::task::Poll<std::io::Result<usize>> {
                std::pin::Pin::new(&mut &self.io).poll_write_vectored(cx, slices)
            }

            /// Nothing is buffered, so there is nothing to do.
            fn poll_flush(
                self: std::pin::Pin<&mut Self>,
                _cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                std::task::Poll::Ready(Ok(()))
            }

            /// Shuts the socket down for writing: the peer sees the end.
            fn poll_close(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                std::pin::Pin::new(&mut &self.io).poll_close(cx)
            }
        }
    };
}

/// Traits of the standard library for a socket that has an `Async` under the name `io`.
macro_rules! like_std {
    ($socket:ident, $std:ty) => {
        impl std::os::fd::AsFd for $socket {
            fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
                self.io.as_fd()
            }
        }

        impl std::os::fd::AsRawFd for $socket {
            fn as_raw_fd(&self) -> std::os::fd::RawFd {
                self.io.as_raw_fd()
            }
        }

        /// The same as `from_std`.
        impl TryFrom<$std> for $socket {
            type Error = std::io::Error;

            #[track_caller]
            fn try_from(socket: $std) -> std::io::Result<Self> {
                Self::from_std(socket)
            }
        }
    };
}

mod bind;
mod datagram;
mod endpoint;
mod happy_eyeballs;
#[cfg(feature = "stream")]
mod incoming;
mod lookup;
#[cfg(feature = "process")]
mod pipes;
mod server;
mod slots;
mod socket;
mod split;
mod streams;
mod tcp;
#[cfg(feature = "tls")]
mod tls;
mod trial;
mod udp;
mod unix;

pub use bind::Bind;
pub use datagram::{Receive, Transmit};
pub use endpoint::{Endpoint, ToSocketAddrs};
pub use happy_eyeballs::{AddressErrors, HAPPY_EYEBALLS_DELAY, HappyEyeballs, happy_eyeballs};
#[cfg(feature = "stream")]
#[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
pub use incoming::{Incoming, UnixIncoming};
pub use lookup::{LookupError, LookupHost, Lookups, Resolver, SystemResolver, lookup_host};
pub(crate) use lookup::{remove_resolver, set_resolver};
/// The crate that TLS is built on, for configurations that [`TlsConnector`] and [`TlsAcceptor`] have
/// no function for.
#[cfg(feature = "tls")]
#[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
pub use rustls;
pub use server::{ServeForever, Server, StartServer, WaitClosed, start_server, start_server_on, start_unix_server};
pub use split::{OwnedReadHalf, OwnedWriteHalf, ReuniteError};
pub use streams::{Close, IncompleteRead, LimitOverrun, OpenConnection, OpenUnixConnection, Read, WriteAll};
pub use streams::{StreamReader, StreamWriter, open_connection, open_unix_connection};
pub use tcp::{Accept, Connect, TcpListener, TcpStream};
#[cfg(feature = "tls")]
#[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
pub use tls::{OpenTlsConnection, StartTls, TlsAcceptor, TlsConnector, TlsInfo, TlsRole};
pub use udp::{SendTo, UdpConnect, UdpSocket};
pub use unix::{UnixAccept, UnixConnect, UnixDatagram, UnixListener, UnixStream};
