//! TLS for asyncio's streams, with the feature `tls`.
//!
//! ```text
//!   StreamReader  read ...  <- plaintext <- session <- read_tls  <- socket
//!   StreamWriter  write_all -> plaintext -> session -> write_tls -> socket
//! ```
//!
//! The session is rustls's state machine, which knows no sockets (`session.rs`). It is part of the
//! connection that a reader and a writer share. So TLS adds no types of streams: a connection gets
//! its session in a handshake (`handshake.rs`), and from then on its two halves read and write
//! through it. `ending.rs` ends it. `config.rs` has the settings of both sides.
//!
//! Reads and writes wait for the socket as they do without TLS: each future has its own wait, which
//! ends when the future is dropped, and which reports show. Therefore this is built on rustls and
//! not on a crate with streams of its own, such as futures-rustls. Such a stream has one `poll_read`
//! and one `poll_write`, which keep one waiter each, and is borrowed while it is polled.

mod config;
mod ending;
mod handshake;
mod info;
mod session;

pub use config::{TlsAcceptor, TlsConnector, TlsRole};
pub(super) use ending::Ending;
pub(super) use handshake::Handshake;
pub use handshake::{OpenTlsConnection, StartTls};
pub use info::TlsInfo;
pub(super) use session::{Session, TlsTrial};
