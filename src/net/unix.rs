//! Unix sockets.

use crate::io::Async;

/// A connection to another process of this machine.
#[derive(Debug)]
pub struct UnixStream {
    pub(crate) io: Async<std::os::unix::net::UnixStream>,
}

read_and_write!(UnixStream);
