//! How a socket is created: non-blocking, and closed when the process executes another program.

use rustix::net::{self, AddressFamily, Protocol, SocketType};
use std::os::fd::OwnedFd;

pub(crate) fn socket(
    family: AddressFamily,
    kind: SocketType,
    protocol: Option<Protocol>,
) -> rustix::io::Result<OwnedFd> {
    #[cfg(not(target_vendor = "apple"))]
    let socket = net::socket_with(family, kind, net::SocketFlags::NONBLOCK | net::SocketFlags::CLOEXEC, protocol)?;
    #[cfg(target_vendor = "apple")]
    let socket = {
        let socket = net::socket(family, kind, protocol)?;
        set_flags(&socket)?;
        socket
    };
    Ok(socket)
}

/// For systems that cannot do this in one call.
#[cfg(target_vendor = "apple")]
pub(crate) fn set_flags(socket: &OwnedFd) -> rustix::io::Result<()> {
    rustix::io::ioctl_fionbio(socket, true)?;
    rustix::io::fcntl_setfd(socket, rustix::io::FdFlags::CLOEXEC)
}
