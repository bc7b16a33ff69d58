//! The future of a socket that is bound to an address, which may be a name.

use crate::net::happy_eyeballs::AddressErrors;
use crate::net::lookup::Lookup;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// The future of [`TcpListener::bind`](crate::net::TcpListener::bind),
/// [`UdpSocket::bind`](crate::net::UdpSocket::bind) and similar functions. With a numeric address,
/// it is ready at the first poll.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, net::{Bind, TcpListener, UdpSocket}};
/// use std::net::Ipv4Addr;
///
/// EventLoop::new().run(async {
///     let listener: Bind<TcpListener> = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
///     let socket: Bind<UdpSocket> = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
///     assert_ne!(listener.await?.local_addr()?.port(), 0);
///     assert_ne!(socket.await?.local_addr()?.port(), 0);
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct Bind<S> {
    lookup: Lookup,
    bind: fn(&SocketAddr) -> io::Result<S>,
}

impl<S> Bind<S> {
    pub(super) fn new(lookup: Lookup, bind: fn(&SocketAddr) -> io::Result<S>) -> Self {
        Bind { lookup, bind }
    }
}

impl<S> Future for Bind<S> {
    type Output = io::Result<S>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<S>> {
        let addresses = ready!(self.lookup.poll(cx))?;
        Poll::Ready(first_that_succeeds(addresses.as_slice(), self.bind))
    }
}

/// Calls `act` for one address after the other, until it succeeds.
#[track_caller]
pub(super) fn first_that_succeeds<R>(
    addresses: &[SocketAddr],
    mut act: impl FnMut(&SocketAddr) -> io::Result<R>,
) -> io::Result<R> {
    let mut errors = Vec::new();
    for address in addresses {
        match act(address) {
            Ok(done) => return Ok(done),
            Err(error) => errors.push((*address, error)),
        }
    }
    Err(AddressErrors::of(errors))
}

impl<S> fmt::Debug for Bind<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bind").field(&self.lookup).finish()
    }
}
