//! What the examples of HTTP share: a service, a server that ends in order, a client.

pub(crate) mod client;
pub(crate) mod server;
pub(crate) mod service;
