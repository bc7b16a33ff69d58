//! Programs that do not compile, and what the compiler says about them.
//!
//! Each program in `tests/messages/` names, in comments that begin with `//~`, texts that the
//! compiler must print: those that stand in our source. The rest of a message changes from compiler
//! to compiler. `//~ 1.95 ` begins a text that older compilers do not print. Each program also has lines without `//~` that compile, so that it is not wrong for
//! another reason.
//!
//! What no crate can change: the message for two types of futures in one array (E0308), for a moved
//! task (E0382, a second `task.await`), and for a `finally` that borrows `self` (E0521). They come
//! from checks of types and lifetimes that ask no trait. The docs of these items say what to do.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Checks all programs as the binaries of one package, which this function writes. Returns the name
/// of each program that the compiler has rejected, with the messages. The features of the library are the
/// default ones.
fn messages(programs: &[(String, String)]) -> Vec<(String, String)> {
    let root = env!("CARGO_MANIFEST_DIR");
    // A folder of its own: the package is a copy, so that nothing is written beside the sources.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("messages");
    fs::create_dir_all(folder.join("src/bin")).unwrap();
    for entry in fs::read_dir(folder.join("src/bin")).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    for (name, text) in programs {
        fs::write(folder.join(format!("src/bin/{name}.rs")), text).unwrap();
    }
    let manifest = format!(
        "[package]\nname = \"messages\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n[dependencies]\n\
         onelane = {{ path = {root:?} }}\n"
    );
    fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    // The versions that the library is tested with. They are here already, so no network is needed.
    fs::copy(Path::new(root).join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut check = Command::new(cargo);
    check.args(["check", "--bins", "--keep-going", "--offline", "--quiet", "--message-format=json"]);
    check.current_dir(&folder).env("CARGO_TARGET_DIR", folder.join("target"));
    for flags in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTDOCFLAGS"] {
        check.env_remove(flags);
    }
    let output = check.output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    let mut found: Vec<(String, String)> = Vec::new();
    for line in told.lines() {
        let message: serde_json::Value = serde_json::from_str(line).unwrap();
        if message["message"]["level"] != "error" {
            continue;
        }
        let name = message["target"]["name"].as_str().unwrap().to_string();
        let text = message["message"]["rendered"].as_str().unwrap();
        match found.iter_mut().find(|(other, _)| *other == name) {
            Some((_, all)) => all.push_str(text),
            None => found.push((name, text.into())),
        }
    }
    assert!(!found.is_empty(), "nothing was rejected:\n{told}\n{}", String::from_utf8_lossy(&output.stderr));
    found
}

/// The `95` of Rust 1.95.
fn minor_version() -> u32 {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    version.split('.').nth(1).and_then(|minor| minor.parse().ok()).unwrap_or_else(|| panic!("{version}"))
}

#[test]
fn name_the_cure() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/messages");
    let mut programs = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_string();
        programs.push((name, fs::read_to_string(&path).unwrap()));
    }
    programs.sort();
    let is_new = minor_version() >= 95;
    assert!(programs.len() >= 9, "{}", programs.len());
    let found = messages(&programs);
    for (name, text) in &programs {
        let (_, told) = found.iter().find(|(other, _)| other == name).unwrap_or_else(|| panic!("{name} compiles"));
        let expected: Vec<&str> = text.lines().filter_map(|line| line.trim().strip_prefix("//~ ")).collect();
        assert!(!expected.is_empty(), "{name} expects nothing");
        let told_now = |line: &&str| is_new || !line.starts_with("1.95 ");
        for line in expected.into_iter().filter(told_now).map(|line| line.trim_start_matches("1.95 ")) {
            assert!(told.contains(line), "{name}: the compiler does not say {line:?}, but:\n{told}");
        }
    }
}
