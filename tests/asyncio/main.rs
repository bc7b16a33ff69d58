//! CPython's own tests of asyncio, as twins: each has the name of its original, in a module named after its class.

#[path = "../common/mod.rs"]
mod common;

mod remote;
mod runner_interrupt;
mod to_thread;
