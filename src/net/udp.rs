//! UDP.

use crate::net::datagram::{Receive, Transmit};
use crate::outside::io::Async;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};

/// A socket that sends and receives datagrams: each arrives whole or not at all, without a report.
///
/// Several tasks may receive from one socket; each datagram goes to one of them.
///
/// asyncio: `loop.create_datagram_endpoint`, without the protocol.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, net::UdpSocket};
/// use std::net::Ipv4Addr;
///
/// EventLoop::new().run(async {
///     let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
///     let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
///     client.send_to(b"what time is it?", server.local_addr()?).await?;
///     let mut buffer = [0; 1500];
///     let (count, from) = server.recv_from(&mut buffer).await?;
///     assert_eq!((&buffer[..count], from), (&b"what time is it?"[..], client.local_addr()?));
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
#[doc(alias = "create_datagram_endpoint")]
#[derive(Debug)]
pub struct UdpSocket {
    io: Async<std::net::UdpSocket>,
}

impl UdpSocket {
    /// Creates a socket at an address. With port 0, the operating system chooses a port, and
    /// [`local_addr`](Self::local_addr) returns it.
    ///
    /// # Errors
    ///
    /// If the address is in use, does not belong to this machine, or requires privileges.
    ///
    /// # Panics
    ///
    /// If no loop is running on this thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UdpSocket};
    /// use std::{io::ErrorKind, net::Ipv4Addr};
    ///
    /// EventLoop::new().run(async {
    ///     let first = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    ///     let error = UdpSocket::bind(first.local_addr()?).unwrap_err();
    ///     assert_eq!(error.kind(), ErrorKind::AddrInUse);
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[track_caller]
    pub fn bind(address: impl Into<SocketAddr>) -> io::Result<Self> {
        Self::from_std(std::net::UdpSocket::bind(address.into())?)
    }

    /// Converts a socket of the standard library; it becomes non-blocking.
    ///
    /// # Errors
    ///
    /// The errors of [`Async::new`].
    ///
    /// # Panics
    ///
    /// If no loop is running on this thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UdpSocket};
    ///
    /// let early = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    /// EventLoop::new().run(async { UdpSocket::from_std(early) }).unwrap();
    /// ```
    #[track_caller]
    pub fn from_std(socket: std::net::UdpSocket) -> io::Result<Self> {
        Ok(UdpSocket { io: Async::new(socket)? })
    }

    /// Connects the socket to a peer: from now on it sends to this peer, and receives only from it.
    /// This does not wait, because nothing is sent.
    ///
    /// # Errors
    ///
    /// If there is no route to the address.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UdpSocket};
    /// use std::net::Ipv4Addr;
    ///
    /// EventLoop::new().run(async {
    ///     let (one, other) = (UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?, UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?);
    ///     one.connect(other.local_addr()?)?;
    ///     assert_eq!(one.peer_addr()?, other.local_addr()?);
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn connect(&self, address: impl Into<SocketAddr>) -> io::Result<()> {
        self.io.get_ref().connect(address.into())
    }

    /// Sends a datagram to the [connected](Self::connect) peer. Returns its length.
    ///
    /// Cancel safety: if this is dropped before it is ready, nothing was sent.
    ///
    /// # Errors
    ///
    /// If it is not connected, if the datagram is too long (the maximum is 65,507 bytes in IPv4),
    /// or if the peer's machine has reported, for an earlier datagram, that no socket is there
    /// ([`ConnectionRefused`](io::ErrorKind::ConnectionRefused)).
    ///
    /// # Panics
    ///
    /// When polled outside its loop.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UdpSocket};
    /// use std::net::Ipv4Addr;
    ///
    /// EventLoop::new().run(async {
    ///     let (one, other) = (UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?, UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?);
    ///     one.connect(other.local_addr()?)?;
    ///     assert_eq!(one.send(b"hello").await?, 5);
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[doc(alias = "sendto")]
    pub fn send<'a>(&'a self, bytes: &'a [u8]) -> Transmit<'a, std::net::UdpSocket, ()> {
        Transmit::new(&self.io, bytes, (), |socket, bytes, ()| socket.send(bytes))
    }

    /// Sends a datagram to an address. Returns its length. Otherwise like [`send`](Self::send).
    ///
    /// asyncio: `loop.sock_sendto`, `DatagramTransport.sendto`.
    ///
    /// # Errors
    ///
    /// The errors of [`send`](Self::send); and if there is no route to the address.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UdpSocket};
    /// use std::net::Ipv4Addr;
    ///
    /// EventLoop::new().run(async {
    ///     let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    ///     let error = socket.send_to(&[0; 70_000], socket.local_addr()?).await.unwrap_err();
    ///     assert!(error.to_string().contains("long")); // "Message too long"
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[doc(alias = "sock_sendto")]
    #[doc(alias = "sendto")]
    pub fn send_to<'a>(
        &'a self,
        bytes: &'a [u8],
        address: impl Into<SocketAddr>,
    ) -> Transmit<'a, std::net::UdpSocket, SocketAddr> {
        Transmit::new(&self.io, bytes, address.into(), |socket, bytes, address| socket.send_to(bytes, address))
    }

    /// Waits for a datagram of the [connected](Self::connect) peer. Returns its length. Bytes that
    /// do not fit into the buffer are lost.
    ///
    /// Cancel safety: no datagram is lost; dropping it ends the wait.
    ///
    /// # Errors
    ///
    /// If the peer's machine has reported that no socket is there
    /// ([`ConnectionRefused`](io::ErrorKind::ConnectionRefused)).
    ///
    /// # Panics
    ///
    /// When polled outside its loop.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UdpSocket};
    /// use std::{io::ErrorKind, net::Ipv4Addr};
    ///
    /// EventLoop::new().run(async {
    ///     let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    ///     let gone = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    ///     socket.connect(gone)?;
    ///     socket.send(b"anybody there?").await?;
    ///     let error = socket.recv(&mut [0; 8]).await.unwrap_err();
    ///     assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[doc(alias = "sock_recv")]
    pub fn recv<'a>(&'a self, buffer: &'a mut [u8]) -> Receive<'a, std::net::UdpSocket, usize> {
        Receive::new(&self.io, buffer, std::net::UdpSocket::recv)
    }

    /// Waits for a datagram. Returns its length, and the address of its sender. Otherwise like
    /// [`recv`](Self::recv).
    ///
    /// asyncio: `loop.sock_recvfrom`, `DatagramProtocol.datagram_received`.
    ///
    /// # Errors
    ///
    /// The errors of [`recv`](Self::recv).
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UdpSocket};
    /// use std::net::Ipv4Addr;
    ///
    /// EventLoop::new().run(async {
    ///     let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    ///     let own = socket.local_addr()?;
    ///     socket.send_to(b"too long", own).await?;
    ///     let mut buffer = [0; 3];
    ///     assert_eq!(socket.recv_from(&mut buffer).await?, (3, own));
    ///     assert_eq!(&buffer, b"too");
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[doc(alias = "sock_recvfrom")]
    #[doc(alias = "datagram_received")]
    pub fn recv_from<'a>(&'a self, buffer: &'a mut [u8]) -> Receive<'a, std::net::UdpSocket, (usize, SocketAddr)> {
        Receive::new(&self.io, buffer, std::net::UdpSocket::recv_from)
    }

    /// Returns the local address.
    ///
    /// # Errors
    ///
    /// The error of the operating system.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UdpSocket};
    /// use std::net::Ipv4Addr;
    ///
    /// EventLoop::new().run(async {
    ///     let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    ///     assert_ne!(socket.local_addr().unwrap().port(), 0);
    /// });
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.get_ref().local_addr()
    }

    /// Returns the address of the [connected](Self::connect) peer.
    ///
    /// # Errors
    ///
    /// If it is not connected ([`NotConnected`](io::ErrorKind::NotConnected)).
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UdpSocket};
    /// use std::{io::ErrorKind, net::Ipv4Addr};
    ///
    /// EventLoop::new().run(async {
    ///     let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    ///     assert_eq!(socket.peer_addr().unwrap_err().kind(), ErrorKind::NotConnected);
    /// });
    /// ```
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.io.get_ref().peer_addr()
    }

    /// Returns the socket as an `Async`, for functions that are missing here.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UdpSocket};
    /// use std::net::Ipv4Addr;
    ///
    /// EventLoop::new().run(async {
    ///     let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    ///     socket.as_async().get_ref().set_ttl(4).unwrap();
    /// });
    /// ```
    pub fn as_async(&self) -> &Async<std::net::UdpSocket> {
        &self.io
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.as_fd()
    }
}
