//! What the programs in `src/bin/` share: how they are called.

use std::env::args;
use std::error::Error;
use std::process::exit;

/// The result of a program's `main`. An error ends the program with a status that is not zero.
pub type Result<T = (), E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// How a program was called.
pub enum Called {
    /// `PROGRAM`: it is client and server, or needs no server.
    Alone,
    /// `PROGRAM connect HOST:PORT`: it is a client of a server of other authors.
    Connect(String),
    /// `PROGRAM serve`: it prints `listening at 127.0.0.1:PORT`, and serves clients of other authors until it is killed.
    Serve,
}

pub fn called() -> Called {
    let arguments: Vec<_> = args().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        [] => Called::Alone,
        ["connect", address, ..] => Called::Connect(address.into()),
        ["serve", ..] => Called::Serve,
        _ => {
            eprintln!("no arguments, `connect HOST:PORT` or `serve` expected, not {words:?}");
            exit(2)
        }
    }
}
