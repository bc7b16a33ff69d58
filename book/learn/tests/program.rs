//! The program itself: what it prints, and what it keeps.

use learn::exercise::{Exercise, edited};
use learn::exercises::EXERCISES;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Runs the program with an empty input. Returns whether it has succeeded, and its output.
fn learn(work: &Path, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_learn"));
    let output = command.args(arguments).env("LEARN_WORK", work).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    (output.status.success(), text)
}

fn fresh(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    _ = fs::remove_dir_all(&folder);
    folder
}

fn exercise(name: &str) -> &'static Exercise {
    EXERCISES.iter().find(|exercise| exercise.name == name).unwrap()
}

#[test]
fn names_the_law_and_the_event_and_writes_the_replay() {
    let work = fresh("law");
    let (passed, text) = learn(&work, &["check", "05-twice"]);
    assert!(!passed && text.contains("READY-1 is broken: a task is in the queue at most once"), "{text}");
    assert!(text.contains("\nAt event ") && text.contains("> event "), "{text}");
    let page = fs::read_to_string(work.join("05-twice.html")).unwrap();
    assert!(page.contains("\"fault\":\"READY-1: ") && page.contains("</html>"));
    let all = fs::read_to_string(work.join("05-twice.txt")).unwrap();
    assert!(all.contains("event    1 ") && all.starts_with("READY-1: "), "{all}");
}

#[test]
fn keeps_progress_and_shows_the_solution_after() {
    let work = fresh("progress");
    let (passed, text) = learn(&work, &["check", "03"]);
    assert!(!passed && text.contains("POLL-2 is broken"), "{text}");
    assert!(!learn(&work, &["solution", "03"]).0);
    fs::write(work.join("03-join.rs"), exercise("03-join").solution()).unwrap();
    let (passed, text) = learn(&work, &["check", "03"]);
    assert!(passed && text.contains("Passed: ") && text.contains("+         let a = self.a.poll(cx);"), "{text}");
    assert!(learn(&work, &["solution", "03"]).0);
    let (_, text) = learn(&work, &["list"]);
    assert!(text.contains("done  03-join") && text.contains(&format!("1 of {}", EXERCISES.len())), "{text}");
    // To begin again keeps the reader's file.
    assert!(learn(&work, &["reset", "03"]).0);
    assert!(work.join("03-join.old.rs").exists());
    assert!(!learn(&work, &["list"]).1.contains("done  03-join"));
    assert_eq!(fs::read_to_string(work.join("03-join.rs")).unwrap(), exercise("03-join").begin());
}

#[test]
fn hints_come_in_steps() {
    let work = fresh("hints");
    let count = |text: &str| text.lines().filter(|line| line.starts_with("Hint ")).count();
    for shown in [1, 2, 3, 3] {
        let (_, text) = learn(&work, &["hint", "05-lifo"]);
        assert_eq!(count(&text), shown, "{text}");
    }
    // After the last hint, the solution may be seen.
    assert!(learn(&work, &["solution", "05-lifo"]).0);
    assert!(!learn(&work, &["solution", "05-twice"]).0);
}

/// Without input, the watch mode checks once.
#[test]
fn begins_with_the_first_exercise() {
    let work = fresh("first");
    let (passed, text) = learn(&work, &[]);
    assert!(!passed && text.contains("01-order") && text.contains("Edit "), "{text}");
    assert!(work.join("01-order.rs").exists());
}

#[test]
fn a_file_that_does_not_compile_is_shown() {
    let work = fresh("compile");
    fs::create_dir_all(&work).unwrap();
    let text = edited(&exercise("03-join").solution(), &[("let b = self.b.poll(cx);", "let b = self.c.poll(cx);")]);
    fs::write(work.join("03-join.rs"), text).unwrap();
    let (passed, text) = learn(&work, &["check", "03-join"]);
    // The compiler names the reader's own file.
    assert!(!passed && text.contains("no field `c`") && text.contains("03-join.rs:"), "{text}");
}

#[test]
fn unknown_names_are_refused() {
    let work = fresh("unknown");
    for arguments in [&["04"][..], &["nothing"], &["check", "99"], &["check", "a", "b"]] {
        let (passed, text) = learn(&work, arguments);
        assert!(!passed && text.starts_with("learn: "), "{text}");
    }
    assert!(learn(&work, &["help"]).1.contains("cargo run -p learn"));
}

/// Each law that an exercise is about has a sentence, and names are in the order of the chapters.
#[test]
fn exercises_are_complete() {
    let names: Vec<_> = EXERCISES.iter().map(|exercise| &exercise.name[..2]).collect();
    assert!(names.is_sorted());
    for exercise in EXERCISES {
        assert!(!learn::laws::sentence(exercise.law).is_empty(), "{}", exercise.name);
        assert!(exercise.hints.len() >= 3, "{}", exercise.name);
        assert_ne!(exercise.begin(), exercise.solution());
    }
    // Each chapter has one.
    for chapter in 1..=14 {
        assert!(names.contains(&format!("{chapter:02}").as_str()), "chapter {chapter}");
    }
}
