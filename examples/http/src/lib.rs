//! What the programs in `src/bin` share: a service, a server that ends in order, a client.

pub mod client;
pub mod server;
pub mod service;
