//! Methods whose feature is off. A call does not compile, and the compiler's message names the
//! feature.
//!
//! For a function or a type whose feature is off, the compiler says this by itself; for a method it
//! does not. So each such method has a twin here, with a bound that nothing satisfies. `for<'any>`
//! delays the check of the bound until the method is called. The twins are hidden, and not part of
//! what this crate promises.
//!
//! This file knows only the names of the methods.
#![allow(unused_imports, reason = "of the types, those are used whose features are off")]

use crate::event_loop::{EventLoop, LoopBuilder, LoopRef};
use crate::host::Drive;
#[cfg(all(unix, feature = "io"))]
use crate::net::{OpenConnection, OpenUnixConnection, StartServer, StreamWriter, TcpListener, UnixListener};
#[cfg(feature = "sync")]
use crate::sync::Queue;

/// A trait that is never implemented, and methods that have it as their bound. A method with a word
/// in parentheses takes `self` and one argument, and returns `Self`; with two words, it takes
/// `&mut self` and two arguments; one without takes `&self`.
#[allow(unused_macros, reason = "all features may be on")]
macro_rules! absent {
    ($bound:ident, $message:literal, $cure:literal: $([$($generics:tt)*] $type:ty { $($methods:tt)+ })+) => {
        #[allow(unreachable_pub, reason = "a bound of public methods")]
        #[diagnostic::on_unimplemented(message = $message, label = "its feature is off", note = $cure)]
        #[doc(hidden)]
        pub trait $bound {}

        $(impl<$($generics)*> $type {
            absent!(methods $bound: $($methods)+);
        })+
    };
    (methods $bound:ident:) => {};
    (methods $bound:ident: $method:ident($argument:ident), $($rest:tt)*) => {
        #[doc(hidden)]
        pub fn $method<A>(self, _: A) -> Self
        where
            for<'any> Self: $bound,
        {
            self
        }
        absent!(methods $bound: $($rest)*);
    };
    (methods $bound:ident: $method:ident($one:ident, $other:ident), $($rest:tt)*) => {
        #[doc(hidden)]
        pub fn $method<A, B>(&mut self, _: A, _: B)
        where
            for<'any> Self: $bound,
        {
        }
        absent!(methods $bound: $($rest)*);
    };
    (methods $bound:ident: $method:ident(), $($rest:tt)*) => {
        #[doc(hidden)]
        pub fn $method(&self)
        where
            for<'any> Self: $bound,
        {
        }
        absent!(methods $bound: $($rest)*);
    };
}

#[cfg(not(feature = "report"))]
absent!(
    NeedsReport,
    "this method of onelane needs the feature `report`",
    "in the folder of your package: `cargo add onelane --features report`":
    [] LoopBuilder { debug(on), slow_step(limit), slow_step_handler(handler), deadlock_handler(handler), }
    [] EventLoop { call_graph(), }
    [] LoopRef { call_graph(), }
);

#[cfg(not(all(unix, feature = "signals")))]
absent!(
    NeedsSignals,
    "this method of onelane needs the feature `signals`, and Unix",
    "in the folder of your package: `cargo add onelane --features signals`":
    [] LoopBuilder { cancel_on_ctrl_c(on), }
);

#[cfg(not(all(unix, feature = "signals", feature = "report")))]
absent!(
    NeedsSignalsAndReport,
    "this method of onelane needs the features `signals` and `report`, and Unix",
    "in the folder of your package: `cargo add onelane --features signals,report`":
    [] LoopBuilder { print_call_graph_on(signal), }
);

#[cfg(not(feature = "threads"))]
absent!(
    NeedsThreads,
    "this method of onelane needs the feature `threads`",
    "in the folder of your package: `cargo add onelane --features threads`":
    [] LoopBuilder { thread_join_timeout(limit), }
);

#[cfg(not(feature = "probe"))]
absent!(
    NeedsProbe,
    "this method of onelane needs the feature `probe`",
    "in the folder of your package: `cargo add onelane --features probe`":
    [] LoopBuilder { probe(probe), }
);

#[cfg(not(feature = "replay"))]
absent!(
    NeedsReplay,
    "this method of onelane needs the feature `replay`",
    "in the folder of your package: `cargo add onelane --features replay`":
    [] LoopBuilder { replay(path), }
);

#[cfg(not(feature = "explore"))]
absent!(
    NeedsExplore,
    "this method of onelane needs the feature `explore`",
    "in the folder of your package: `cargo add onelane --features explore`":
    [] LoopBuilder { schedule(order), }
);

#[cfg(not(all(unix, feature = "io")))]
absent!(
    NeedsIo,
    "this method of onelane needs the feature `io`, and Unix",
    "in the folder of your package: `cargo add onelane --features io`":
    [] LoopBuilder { resolver(resolver), }
    [] EventLoop { as_fd(), }
    ['a] Drive<'a> { with_io(readable), }
);

#[cfg(all(feature = "sync", not(feature = "stream")))]
absent!(
    NeedsStream,
    "this method of onelane needs the feature `stream`",
    "in the folder of your package: `cargo add onelane --features stream`":
    [T] Queue<T> { stream(), }
);

#[cfg(all(unix, feature = "io", not(feature = "stream")))]
absent!(
    NeedsStreamToo,
    "this method of onelane needs the feature `stream`",
    "in the folder of your package: `cargo add onelane --features stream`":
    [] TcpListener { incoming(), }
    [] UnixListener { incoming(), }
);

#[cfg(all(unix, feature = "io", not(feature = "tls")))]
absent!(
    NeedsTls,
    "this method of onelane needs the feature `tls`",
    "in the folder of your package: `cargo add onelane --features tls`":
    [] OpenConnection { tls(connector), }
    [] OpenUnixConnection { tls(connector), }
    [H] StartServer<H> { tls(acceptor), }
    [] StreamWriter { start_tls(reader, role), tls(), }
);
