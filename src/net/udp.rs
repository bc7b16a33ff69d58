//! UDP.

use crate::net::bind::{Bind, first_that_succeeds};
use crate::net::datagram::{Receive, Transmit};
use crate::net::endpoint::ToSocketAddrs;
use crate::net::lookup::Lookup;
use crate::outside::io::Async;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

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
///     let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
///     let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
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
    /// [`local_addr`](Self::local_addr) returns it. If a name has several addresses, the first one
    /// that can be used is taken.
    ///
    /// Cancel safety: nothing is bound before it is ready.
    ///
    /// # Errors
    ///
    /// If the address is in use, does not belong to this machine, or requires privileges. The
    /// errors of [`lookup_host`](crate::net::lookup_host()). With several addresses, an
    /// [`AddressErrors`](crate::net::AddressErrors).
    ///
    /// # Panics
    ///
    /// When polled, if no loop is running on this thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UdpSocket};
    /// use std::{io::ErrorKind, net::Ipv4Addr};
    ///
    /// EventLoop::new().run(async {
    ///     let first = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    ///     let error = UdpSocket::bind(first.local_addr()?).await.unwrap_err();
    ///     assert_eq!(error.kind(), ErrorKind::AddrInUse);
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[track_caller]
    pub fn bind(address: impl ToSocketAddrs) -> Bind<Self> {
        Bind::new(Lookup::of(&address), |address| Self::from_std(std::net::UdpSocket::bind(address)?))
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
    /// This waits only for the look-up of a name, because nothing is sent. If a name has several
    /// addresses, the first one is taken that the socket can send to: an IPv4 socket takes an IPv4
    /// address.
    ///
    /// Cancel safety: nothing has changed before it is ready.
    ///
    /// # Errors
    ///
    /// If there is no route to the address. The errors of
    /// [`lookup_host`](crate::net::lookup_host()). With several addresses, an
    /// [`AddressErrors`](crate::net::AddressErrors).
    ///
    /// # Panics
    ///
    /// When polled with a name, if no loop is running on this thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UdpSocket};
    /// use std::net::Ipv4Addr;
    ///
    /// EventLoop::new().run(async {
    ///     let (one, other) = (UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?, UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?);
    ///     one.connect(other.local_addr()?).await?;
    ///     assert_eq!(one.peer_addr()?, other.local_addr()?);
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn connect(&self, address: impl ToSocketAddrs) -> UdpConnect<'_> {
        UdpConnect { socket: self.io.get_ref(), lookup: Lookup::of(&address) }
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
    ///     let (one, other) = (UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?, UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?);
    ///     one.connect(other.local_addr()?).await?;
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
    /// If a name has several addresses, the datagram is sent to the first one of the socket's
    /// family. Each call looks the name up again. To send often, look it up once, with
    /// [`lookup_host`](crate::net::lookup_host()) or [`connect`](Self::connect).
    ///
    /// asyncio: `loop.sock_sendto`, `DatagramTransport.sendto`.
    ///
    /// # Errors
    ///
    /// The errors of [`send`](Self::send) and of [`lookup_host`](crate::net::lookup_host()); and if
    /// there is no route to the address.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UdpSocket};
    /// use std::net::Ipv4Addr;
    ///
    /// EventLoop::new().run(async {
    ///     let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    ///     let error = socket.send_to(&[0; 70_000], socket.local_addr()?).await.unwrap_err();
    ///     assert!(error.to_string().contains("long")); // "Message too long"
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[doc(alias = "sock_sendto")]
    #[doc(alias = "sendto")]
    pub fn send_to<'a>(&'a self, bytes: &'a [u8], address: impl ToSocketAddrs) -> SendTo<'a> {
        SendTo { io: &self.io, bytes, stage: Stage::Lookup(Lookup::of(&address)) }
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
    ///     let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    ///     let gone = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?.local_addr()?;
    ///     socket.connect(gone).await?;
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
    ///     let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
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
    ///     let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
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
    ///     let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    ///     assert_eq!(socket.peer_addr().unwrap_err().kind(), ErrorKind::NotConnected);
    /// });
    /// ```
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.io.get_ref().peer_addr()
    }

    /// Deregisters the socket and returns it as the standard library's type. It stays non-blocking:
    /// to use it without a loop, call `set_nonblocking(false)`. Waiting tasks are woken.
    ///
    /// # Panics
    ///
    /// On a thread other than the loop's.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UdpSocket};
    ///
    /// EventLoop::new().run(async {
    ///     let socket = UdpSocket::bind("127.0.0.1:0").await?;
    ///     let socket = socket.into_std();
    ///     socket.set_nonblocking(false)?;
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[track_caller]
    pub fn into_std(self) -> std::net::UdpSocket {
        self.io.into_inner()
    }

    /// Creates another handle to the same socket, in the running loop. The two share everything
    /// that the operating system knows of it: datagrams that have arrived, the connected peer, and
    /// options. It stays open until both are dropped.
    ///
    /// # Errors
    ///
    /// If no descriptors are left, and the errors of [`Async::new`].
    ///
    /// # Panics
    ///
    /// If no loop is running on this thread.
    ///
    /// # Cost
    ///
    /// A descriptor, three system calls, two allocations.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UdpSocket};
    ///
    /// EventLoop::new().run(async {
    ///     let socket = UdpSocket::bind("127.0.0.1:0").await?;
    ///     let other = socket.try_clone()?;
    ///     drop(socket);
    ///     assert!(other.take_error()?.is_none());
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[track_caller]
    pub fn try_clone(&self) -> io::Result<Self> {
        Self::from_std(self.io.get_ref().try_clone()?)
    }

    /// Returns the pending error of the socket (`SO_ERROR`), and removes it.
    ///
    /// # Errors
    ///
    /// The error of the operating system.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UdpSocket};
    ///
    /// EventLoop::new().run(async {
    ///     let socket = UdpSocket::bind("127.0.0.1:0").await?;
    ///     assert!(socket.take_error()?.is_none());
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.io.get_ref().take_error()
    }

    /// Like [`recv`](Self::recv), but leaves the datagram for the next call.
    ///
    /// # Errors
    ///
    /// The errors of [`recv`](Self::recv).
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UdpSocket};
    ///
    /// EventLoop::new().run(async {
    ///     let socket = UdpSocket::bind("127.0.0.1:0").await?;
    ///     socket.connect(socket.local_addr()?).await?; // to itself
    ///     socket.send(b"lane").await?;
    ///     let mut buffer = [0; 8];
    ///     assert_eq!(socket.peek(&mut buffer).await?, 4);
    ///     assert_eq!(socket.recv(&mut buffer).await?, 4);
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn peek<'a>(&'a self, buffer: &'a mut [u8]) -> Receive<'a, std::net::UdpSocket, usize> {
        Receive::new(&self.io, buffer, std::net::UdpSocket::peek)
    }

    /// Like [`recv_from`](Self::recv_from), but leaves the datagram for the next call.
    ///
    /// # Errors
    ///
    /// The errors of [`recv`](Self::recv).
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UdpSocket};
    ///
    /// EventLoop::new().run(async {
    ///     let socket = UdpSocket::bind("127.0.0.1:0").await?;
    ///     let own = socket.local_addr()?;
    ///     socket.send_to(b"lane", own).await?;
    ///     let mut buffer = [0; 8];
    ///     assert_eq!(socket.peek_from(&mut buffer).await?, (4, own));
    ///     assert_eq!(socket.recv_from(&mut buffer).await?, (4, own));
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn peek_from<'a>(&'a self, buffer: &'a mut [u8]) -> Receive<'a, std::net::UdpSocket, (usize, SocketAddr)> {
        Receive::new(&self.io, buffer, std::net::UdpSocket::peek_from)
    }

    /// Sets the number of routers that a packet may pass (the TTL of IPv4). The default is usually
    /// 64.
    ///
    /// # Errors
    ///
    /// The error of the operating system.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UdpSocket};
    ///
    /// EventLoop::new().run(async {
    ///     let socket = UdpSocket::bind("127.0.0.1:0").await?;
    ///     socket.set_ttl(32)?;
    ///     assert_eq!(socket.ttl()?, 32);
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.io.get_ref().set_ttl(ttl)
    }

    /// Returns the number of routers that a packet may pass.
    ///
    /// # Errors
    ///
    /// The error of the operating system.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UdpSocket};
    ///
    /// EventLoop::new().run(async {
    ///     let socket = UdpSocket::bind("127.0.0.1:0").await?;
    ///     socket.set_ttl(32)?;
    ///     assert_eq!(socket.ttl()?, 32);
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn ttl(&self) -> io::Result<u32> {
        self.io.get_ref().ttl()
    }

    /// Sets whether the socket may send to broadcast addresses. The default is false.
    ///
    /// # Errors
    ///
    /// The error of the operating system.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UdpSocket};
    ///
    /// EventLoop::new().run(async {
    ///     let socket = UdpSocket::bind("127.0.0.1:0").await?;
    ///     socket.set_broadcast(true)?;
    ///     assert!(socket.broadcast()?);
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn set_broadcast(&self, broadcast: bool) -> io::Result<()> {
        self.io.get_ref().set_broadcast(broadcast)
    }

    /// Whether the socket may send to broadcast addresses.
    ///
    /// # Errors
    ///
    /// The error of the operating system.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UdpSocket};
    ///
    /// EventLoop::new().run(async {
    ///     let socket = UdpSocket::bind("127.0.0.1:0").await?;
    ///     socket.set_broadcast(true)?;
    ///     assert!(socket.broadcast()?);
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn broadcast(&self) -> io::Result<bool> {
        self.io.get_ref().broadcast()
    }

    /// Sets whether this machine receives the multicast datagrams that the socket sends (IPv4). The
    /// default is true.
    ///
    /// # Errors
    ///
    /// The error of the operating system.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UdpSocket};
    ///
    /// EventLoop::new().run(async {
    ///     let socket = UdpSocket::bind("127.0.0.1:0").await?;
    ///     socket.set_multicast_loop_v4(false)?;
    ///     assert!(!socket.multicast_loop_v4()?);
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn set_multicast_loop_v4(&self, multicast_loop: bool) -> io::Result<()> {
        self.io.get_ref().set_multicast_loop_v4(multicast_loop)
    }

    /// Whether this machine receives the multicast datagrams that the socket sends (IPv4).
    ///
    /// # Errors
    ///
    /// The error of the operating system.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UdpSocket};
    ///
    /// EventLoop::new().run(async {
    ///     let socket = UdpSocket::bind("127.0.0.1:0").await?;
    ///     socket.set_multicast_loop_v4(false)?;
    ///     assert!(!socket.multicast_loop_v4()?);
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn multicast_loop_v4(&self) -> io::Result<bool> {
        self.io.get_ref().multicast_loop_v4()
    }

    /// Sets the number of routers that a multicast datagram may pass (IPv4). The default is 1: it
    /// stays in the local network.
    ///
    /// # Errors
    ///
    /// The error of the operating system.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UdpSocket};
    ///
    /// EventLoop::new().run(async {
    ///     let socket = UdpSocket::bind("127.0.0.1:0").await?;
    ///     socket.set_multicast_ttl_v4(4)?;
    ///     assert_eq!(socket.multicast_ttl_v4()?, 4);
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn set_multicast_ttl_v4(&self, ttl: u32) -> io::Result<()> {
        self.io.get_ref().set_multicast_ttl_v4(ttl)
    }

    /// Returns the number of routers that a multicast datagram may pass (IPv4).
    ///
    /// # Errors
    ///
    /// The error of the operating system.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UdpSocket};
    ///
    /// EventLoop::new().run(async {
    ///     let socket = UdpSocket::bind("127.0.0.1:0").await?;
    ///     socket.set_multicast_ttl_v4(4)?;
    ///     assert_eq!(socket.multicast_ttl_v4()?, 4);
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn multicast_ttl_v4(&self) -> io::Result<u32> {
        self.io.get_ref().multicast_ttl_v4()
    }

    /// Joins a multicast group, on the interface with this address; with `Ipv4Addr::UNSPECIFIED`,
    /// the operating system chooses one.
    ///
    /// # Errors
    ///
    /// If the address is no multicast address, or no interface serves it.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UdpSocket};
    /// use std::net::Ipv4Addr;
    ///
    /// EventLoop::new().run(async {
    ///     let socket = UdpSocket::bind("0.0.0.0:0").await?;
    ///     let group = Ipv4Addr::new(224, 0, 0, 251);
    ///     // A machine without a network has no interface for it.
    ///     if socket.join_multicast_v4(&group, &Ipv4Addr::UNSPECIFIED).is_ok() {
    ///         socket.leave_multicast_v4(&group, &Ipv4Addr::UNSPECIFIED)?;
    ///     }
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn join_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        self.io.get_ref().join_multicast_v4(group, interface)
    }

    /// Leaves a multicast group.
    ///
    /// # Errors
    ///
    /// If the address is no multicast address, or no interface serves it.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UdpSocket};
    /// use std::net::Ipv4Addr;
    ///
    /// EventLoop::new().run(async {
    ///     let socket = UdpSocket::bind("0.0.0.0:0").await?;
    ///     let group = Ipv4Addr::new(224, 0, 0, 251);
    ///     // A machine without a network has no interface for it.
    ///     if socket.join_multicast_v4(&group, &Ipv4Addr::UNSPECIFIED).is_ok() {
    ///         socket.leave_multicast_v4(&group, &Ipv4Addr::UNSPECIFIED)?;
    ///     }
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn leave_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        self.io.get_ref().leave_multicast_v4(group, interface)
    }

    /// Joins a multicast group, on the interface with this index; with 0, the operating system
    /// chooses one.
    ///
    /// # Errors
    ///
    /// If the address is no multicast address, or no interface serves it.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UdpSocket};
    /// use std::net::Ipv6Addr;
    ///
    /// EventLoop::new().run(async {
    ///     let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
    ///     // A machine may have no IPv6, or no interface for it.
    ///     if let Ok(socket) = UdpSocket::bind("[::]:0").await {
    ///         if socket.join_multicast_v6(&group, 0).is_ok() {
    ///             socket.leave_multicast_v6(&group, 0)?;
    ///         }
    ///     }
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn join_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.io.get_ref().join_multicast_v6(group, interface)
    }

    /// Leaves a multicast group.
    ///
    /// # Errors
    ///
    /// If the address is no multicast address, or no interface serves it.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, net::UdpSocket};
    /// use std::net::Ipv6Addr;
    ///
    /// EventLoop::new().run(async {
    ///     let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
    ///     // A machine may have no IPv6, or no interface for it.
    ///     if let Ok(socket) = UdpSocket::bind("[::]:0").await {
    ///         if socket.join_multicast_v6(&group, 0).is_ok() {
    ///             socket.leave_multicast_v6(&group, 0)?;
    ///         }
    ///     }
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn leave_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.io.get_ref().leave_multicast_v6(group, interface)
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
    ///     let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    ///     socket.as_async().get_ref().set_ttl(4).unwrap();
    /// });
    /// ```
    pub fn as_async(&self) -> &Async<std::net::UdpSocket> {
        &self.io
    }
}

like_std!(UdpSocket, std::net::UdpSocket);

/// The future of [`UdpSocket::connect`].
///
/// # Examples
///
/// ```
/// use futures_util::FutureExt;
/// use onelane::{EventLoop, net::UdpSocket};
/// use std::net::Ipv4Addr;
///
/// EventLoop::new().run(async {
///     let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
///     // An address is ready at once.
///     socket.connect((Ipv4Addr::LOCALHOST, 9)).now_or_never().unwrap()
/// })
/// # .unwrap();
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct UdpConnect<'a> {
    socket: &'a std::net::UdpSocket,
    lookup: Lookup,
}

impl Future for UdpConnect<'_> {
    type Output = io::Result<()>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let addresses = ready!(self.lookup.poll(cx))?;
        Poll::Ready(first_that_succeeds(addresses.as_slice(), |address| self.socket.connect(address)))
    }
}

impl fmt::Debug for UdpConnect<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UdpConnect").field(&self.lookup).finish()
    }
}

/// The future of [`UdpSocket::send_to`].
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, net::UdpSocket};
///
/// EventLoop::new().run(async {
///     let socket = UdpSocket::bind("127.0.0.1:0").await?;
///     let port = socket.local_addr()?.port();
///     let sending = socket.send_to(b"later", ("localhost", port)); // to its IPv4 address
///     assert_eq!(sending.await?, 5); // only now
///     assert_eq!(socket.recv_from(&mut [0; 8]).await?, (5, socket.local_addr()?));
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct SendTo<'a> {
    io: &'a Async<std::net::UdpSocket>,
    bytes: &'a [u8],
    stage: Stage<'a>,
}

#[derive(Debug)]
enum Stage<'a> {
    Lookup(Lookup),
    Transmit(Transmit<'a, std::net::UdpSocket, SocketAddr>),
}

impl Future for SendTo<'_> {
    type Output = io::Result<usize>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if let Stage::Lookup(lookup) = &mut this.stage {
            let addresses = ready!(lookup.poll(cx))?;
            let address = match addresses.as_slice() {
                [address] => *address,
                several => {
                    let is_ipv4 = this.io.get_ref().local_addr()?.is_ipv4();
                    *several.iter().find(|address| address.is_ipv4() == is_ipv4).unwrap_or(&several[0])
                }
            };
            let send = Transmit::new(this.io, this.bytes, address, |socket, bytes, to| socket.send_to(bytes, to));
            this.stage = Stage::Transmit(send);
        }
        let Stage::Transmit(transmit) = &mut this.stage else { unreachable!("the look-up has ended") };
        Pin::new(transmit).poll(cx)
    }
}

impl fmt::Debug for SendTo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendTo").field("stage", &self.stage).field("length", &self.bytes.len()).finish()
    }
}
