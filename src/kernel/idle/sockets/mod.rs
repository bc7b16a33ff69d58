//! Sockets, with the feature `io`: a loop that has any sleeps in a poller.
//!
//! `reactor` keeps the sources and who waits for them, `poller` is the system's side of that, `listen` when a loop looks.

mod listen;
#[cfg(all(unix, feature = "io"))]
pub(crate) mod poller;
#[cfg(all(unix, feature = "io"))]
pub(crate) mod reactor;
#[cfg(all(unix, feature = "io"))]
pub(crate) mod source;
#[cfg(all(unix, feature = "io"))]
pub(crate) mod watched;
