//! The programs of the book, in the order of the chapters. Each is a module with `pub async fn main()`, which runs on
//! the real kernel with a virtual clock.

use std::pin::Pin;

macro_rules! programs {
    ($($name:ident)*) => {
        $(mod $name;)*

        pub const NAMES: &[&str] = &[$(stringify!($name)),*];

        /// The main future of a program.
        pub fn program(name: &str) -> Option<Pin<Box<dyn Future<Output = ()>>>> {
            match name {
                $(stringify!($name) => Some(Box::pin($name::main())),)*
                _ => None,
            }
        }
    };
}

programs! { gather wait lazy turns bell fair timers outcome awaits cancel down race circle remote }
