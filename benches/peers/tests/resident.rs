//! Tests that a sample of resident memory is taken in a child process.
#![cfg(target_os = "linux")]

use std::process::{Command, Output};

fn peers(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_onelane-peers")).args(arguments).output().unwrap()
}

#[test]
fn child_answers_with_bytes_and_operations() {
    for (runtime, case) in
        [("onelane", "resident-waiting"), ("tokio", "resident-sleeping"), ("smol", "resident-waiting")]
    {
        let output = peers(&["--resident-sample", runtime, case, "20000", "1"]);
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(answer["done"], 20_000);
        let bytes = answer["value"].as_f64().unwrap();
        // Each task has a future of at least two words, and takes at most a page.
        assert!((20_000.0 * 16.0..20_000.0 * 4096.0).contains(&bytes), "{runtime} in {case}: {bytes}");
    }
}

#[test]
fn child_says_what_is_wrong() {
    let output = peers(&["--resident-sample", "onelane", "resident-dreaming", "1", "1"]);
    assert!(!output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "onelane has no case resident-dreaming\n");
}

#[test]
fn resident_memory_stands_in_the_report() {
    let output = peers(&["--quick", "--only", "resident-waiting", "--runtime", "tokio", "--rounds", "1"]);
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("resident bytes for each task"), "{text}");
    let line = text.lines().find(|line| line.trim().starts_with("resident-waiting") && line.contains("at most"));
    assert!(line.is_some_and(|line| line.contains("MET") || line.contains("met")), "{text}");
}
