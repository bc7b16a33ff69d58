//! The exercises of the book, and the checker that grades them.
//!
//! An exercise is a small kernel, or a part of one, which is wrong or not finished. The reader edits a copy of it. The checker
//! compiles this copy together with a check, and runs it: random programs, whose steps are compared with the laws. So
//! nothing in the reader's file decides whether it passes.
//!
//! - `exercise.rs`: what an exercise is. `exercises.rs`: all of them.
//! - `check.rs`: compiles and runs. `laws.rs`: the laws in words. `replay.rs`: a run that broke a law, as a page.
//! - `progress.rs`: what the reader has done.
//! - `../checks/`: the programs that are compiled with the reader's file.

pub mod check;
pub mod exercise;
pub mod exercises;
pub mod laws;
#[path = "../../../src/inspect/replay/page.rs"]
mod page;
pub mod progress;
pub mod replay;
