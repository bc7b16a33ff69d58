//! What the two programs of this package share: the runtimes, and how figures are written into the
//! documentation. `main.rs` measures time and memory; `bin/instructions` counts instructions.
//!
//! Next: `runtimes/mod.rs`.

pub mod runtimes;
pub mod text;
