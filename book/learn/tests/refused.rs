//! At least ten wrong solutions of each exercise are refused: partly mended, right by luck, commented out, and such that try to get
//! around the check.

mod common;
mod wrong;

use common::{for_each, graded};
use learn::check::Verdict;
use learn::exercise::{Exercise, edited};
use learn::exercises::EXERCISES;
use wrong::{WRONG, Wrong};

/// The wrong solutions that every exercise has: names and texts.
fn usual(exercise: &Exercise, entry: &str) -> Vec<(&'static str, String)> {
    let begin = exercise.begin();
    let comment = |text: &str| text.lines().map(|line| format!("// {line}\n")).collect::<String>();
    let commented: Vec<(&str, String)> =
        exercise.edits.iter().map(|(right, wrong)| (*right, format!("{wrong}\n{}", comment(right)))).collect();
    let commented: Vec<(&str, &str)> = commented.iter().map(|(from, to)| (*from, to.as_str())).collect();
    let at_entry = |code: &str| edited(&begin, &[(entry, &format!("{entry}{code}\n"))]);
    // Edits within a line have no line to put a comment on.
    let in_comment = match exercise.edits.iter().all(|edit| edit.0.ends_with('\n')) {
        true => edited(&exercise.solution(), &commented),
        false => begin.clone() + &commented.iter().map(|edit| comment(edit.0)).collect::<String>(),
    };
    vec![
        ("as it is, with a comment", format!("// It is right now.\n{begin}")),
        ("the right lines in a comment", in_comment),
        ("ends with success", at_entry("if true { std::process::exit(0); }")),
        (
            "says that it has passed",
            at_entry(
                "if true { println!(\"\\npassed\\t400\\t10000\\n0 passed\\t400\\t10000\"); std::process::exit(0); }",
            ),
        ),
        ("aborts", at_entry("if true { std::process::abort(); }")),
        ("hangs", at_entry("if true { loop { std::thread::yield_now(); } }")),
    ]
}

#[test]
fn wrong_solutions_are_refused() {
    let mut all: Vec<(String, &Exercise, String)> = Vec::new();
    for Wrong { exercise: name, entry, solutions } in WRONG {
        let exercise = EXERCISES.iter().find(|exercise| exercise.name == *name).unwrap();
        let own = solutions.iter().map(|(what, edits)| (*what, edited(&exercise.solution(), edits)));
        let texts: Vec<_> = usual(exercise, entry).into_iter().chain(own).collect();
        assert!(texts.len() >= 10, "{name}: {}", texts.len());
        all.extend(texts.into_iter().map(|(what, text)| (format!("{name}: {what}"), exercise, text)));
    }
    assert_eq!(WRONG.len(), EXERCISES.len());
    for_each(&all, |(name, exercise, text)| match graded(exercise, text, name.split(": ").nth(1).unwrap()) {
        Verdict::Broken(broken) => {
            println!("{name}: {}, {}", broken.law, broken.what);
            let is_named = !learn::laws::sentence(&broken.law).is_empty() && !broken.what.is_empty();
            if is_named { Ok(()) } else { Err(format!("no law is named: {broken:?}")) }
        }
        Verdict::Passed { .. } => Err("it passes".into()),
        Verdict::NotCompiled(messages) => Err(format!("it does not compile: {messages}")),
    });
}
