//! The executor that the readers of the book build. Each chapter adds a stage, and each stage is one file, `lane.rs`
//! in its folder: the whole kernel so far. It passes the tests of its own stage and of all stages before it; the file
//! `mod.rs` of a stage lists them.
//!
//! What a chapter adds is the difference of two files:
//! `diff -u book/lane/04-arc/lane.rs book/lane/04-number/lane.rs`.

#[path = "02-future/mod.rs"]
pub mod stage_02;
#[path = "03-poll/mod.rs"]
pub mod stage_03;
#[path = "04-arc/mod.rs"]
pub mod stage_04_arc;
#[path = "04-number/mod.rs"]
pub mod stage_04_number;
#[path = "05-turn/mod.rs"]
pub mod stage_05;
#[path = "06-time/mod.rs"]
pub mod stage_06;
#[path = "07-cell/mod.rs"]
pub mod stage_07;
#[path = "08-await/mod.rs"]
pub mod stage_08;
#[path = "09-cancel/mod.rs"]
pub mod stage_09;
#[path = "11-introspect/mod.rs"]
pub mod stage_11;
#[path = "13-threads/mod.rs"]
pub mod stage_13;

/// Makes time virtual if the program was started with `--virtual`.
pub fn seed_clock() {
    if std::env::args().any(|argument| argument == "--virtual") {
        stage_13::lane::virtual_clock();
    }
}
