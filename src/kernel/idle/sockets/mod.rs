//! Sockets, with the feature `io`: a loop that has sockets waits in a poller when it is idle.
//!
//! `reactor` has the sources and their waiters, `poller` calls the operating system, `listen`
//! decides when the loop polls.

mod listen;
#[cfg(all(unix, feature = "io"))]
pub(crate) mod poller;
#[cfg(all(unix, feature = "io"))]
pub(crate) mod reactor;
#[cfg(all(unix, feature = "io"))]
pub(crate) mod source;
#[cfg(all(unix, feature = "io"))]
pub(crate) mod watched;
