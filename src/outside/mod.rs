//! What is outside of the loop: other threads, signals, hosts, the system.

#[cfg(all(unix, feature = "io"))]
pub mod io;
pub(crate) mod remote;
#[cfg(all(unix, feature = "signals"))]
pub mod signals;
#[cfg(feature = "threads")]
pub(crate) mod to_thread;
