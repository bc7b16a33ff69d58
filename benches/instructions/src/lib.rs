//! Counts the instructions of a case of `benches/cases` on a runtime. Callgrind counts them, so the
//! counts are the same in each run, even on a busy machine.
//!
//! Each case runs at two sizes. The difference of the counts is divided by the difference in the
//! number of operations. So the cost of starting the program and the loop cancels out. The library
//! does not measure how long an instruction takes, which depends above all on caches.
//!
//! A program that counts calls [`replace_the_clock!`] at its root, [`count::child`] when it starts,
//! and [`count::all`]. There are two: the program of this package counts `onelane`, and one of
//! `benches/peers` counts the other runtimes too.
//!
//! Next: `count.rs`, which runs callgrind.

pub mod clock;
pub mod count;
mod entry;
mod origin;

pub use entry::Entry;
pub use origin::Origin;
