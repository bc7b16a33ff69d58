//! The futures of sockets that send and receive datagrams.

use crate::net::trial::Trial;
use crate::outside::io::Async;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A future that receives a datagram: of [`UdpSocket::recv_from`](crate::net::UdpSocket::recv_from)
/// and similar methods.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, net::UdpSocket, timeout};
/// use std::{net::Ipv4Addr, time::Duration};
///
/// EventLoop::with_virtual_clock().run(async {
///     let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
///     let mut buffer = [0; 8];
///     // Nobody sends.
///     assert!(timeout(Duration::from_secs(60), socket.recv_from(&mut buffer)).await.is_err());
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct Receive<'a, T, R> {
    trial: Trial<'a, T>,
    buffer: &'a mut [u8],
    receive: fn(&T, &mut [u8]) -> io::Result<R>,
}

impl<'a, T, R> Receive<'a, T, R> {
    pub(crate) fn new(io: &'a Async<T>, buffer: &'a mut [u8], receive: fn(&T, &mut [u8]) -> io::Result<R>) -> Self {
        Receive { trial: Trial::to_read(io), buffer, receive }
    }
}

impl<T, R> Future for Receive<'_, T, R> {
    type Output = io::Result<R>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<R>> {
        let Receive { trial, buffer, receive } = &mut *self;
        trial.poll(cx, |socket| receive(socket, buffer))
    }
}

impl<T, R> fmt::Debug for Receive<'_, T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receive").field("trial", &self.trial).field("room", &self.buffer.len()).finish()
    }
}

/// A future that sends a datagram: of [`UdpSocket::send_to`](crate::net::UdpSocket::send_to) and
/// similar methods.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, net::UdpSocket};
/// use std::net::Ipv4Addr;
///
/// EventLoop::new().run(async {
///     let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
///     let sending = socket.send_to(b"later", socket.local_addr()?);
///     assert_eq!(sending.await?, 5); // only now
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct Transmit<'a, T, A> {
    trial: Trial<'a, T>,
    bytes: &'a [u8],
    address: A,
    transmit: fn(&T, &[u8], &A) -> io::Result<usize>,
}

// It pins nothing.
impl<T, A> Unpin for Transmit<'_, T, A> {}

impl<'a, T, A> Transmit<'a, T, A> {
    pub(crate) fn new(
        io: &'a Async<T>,
        bytes: &'a [u8],
        address: A,
        transmit: fn(&T, &[u8], &A) -> io::Result<usize>,
    ) -> Self {
        Transmit { trial: Trial::to_write(io), bytes, address, transmit }
    }
}

impl<T, A> Future for Transmit<'_, T, A> {
    type Output = io::Result<usize>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Transmit { trial, bytes, address, transmit } = &mut *self;
        trial.poll(cx, |socket| transmit(socket, bytes, address))
    }
}

impl<T, A: fmt::Debug> fmt::Debug for Transmit<'_, T, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trial, length) = (&self.trial, self.bytes.len());
        let mut debug = f.debug_struct("Transmit");
        debug.field("trial", trial).field("length", &length).field("address", &self.address).finish()
    }
}
