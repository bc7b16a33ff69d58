//! Twins of CPython's own tests of asyncio: the same names, in modules that are named after the Python classes, and what each
//! asserts, said in Rust.

#[path = "../common/mod.rs"]
mod common;

mod as_completed;
mod future;
mod shield;
