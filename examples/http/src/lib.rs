//! What the programs in `src/bin` share: a service, a server with an orderly shutdown, a client.

pub mod client;
pub mod server;
pub mod service;
