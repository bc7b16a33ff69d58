//! Everything outside the loop: other threads, code that requires `Send`, signals, the operating
//! system.

#[cfg(all(unix, feature = "io"))]
pub mod io;
pub(crate) mod local;
#[cfg(all(unix, feature = "process"))]
pub mod process;
pub(crate) mod remote;
#[cfg(feature = "sync")]
pub(crate) mod remote_sender;
#[cfg(all(unix, feature = "signals"))]
pub mod signals;
#[cfg(feature = "threads")]
pub(crate) mod to_thread;
