//! The docs of `onelane::hyper` show a program that the library itself cannot build, because the
//! library depends only on hyper's traits. So the program is in this package too. This test
//! compares the two and runs it.

use std::process::Command;

#[test]
fn hello_is_the_program_in_the_docs_and_runs() {
    let docs = include_str!("../../../src/hyper.rs");
    let shown =
        docs.split("```ignore\n").nth(1).and_then(|rest| rest.split("//! ```").next()).expect("a program in the docs");
    let shown: Vec<&str> = shown.lines().map(|line| line.trim_start_matches("//!").trim_start_matches(' ')).collect();
    let program: Vec<&str> = include_str!("../src/bin/hello.rs").lines().skip(2).map(str::trim_start).collect();
    assert_eq!(shown, program);
    assert!(Command::new(env!("CARGO_BIN_EXE_hello")).status().unwrap().success());
}
