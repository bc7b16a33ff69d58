//! Compares the states of recordings with those that the page computes.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Computes the states of recordings, a line each, by the page's own code under Node, and compares
/// their hashes. Returns the number of states; `None` if there is no Node.
pub(crate) fn compare_states(name: &str, recordings: &str) -> Option<usize> {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&file, recordings).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("node")
        .arg(root.join("tests/replay/hashes.js"))
        .arg(root.join("src/inspect/replay/page/reducer.js"))
        .arg(&file)
        .output()
        .ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).trim().parse().unwrap())
}
