//! Each exercise is refused as it is shipped, by the law that it is about, and its solution passes.

mod common;

use common::{for_each, graded};
use learn::check::Verdict;
use learn::exercises::EXERCISES;

#[test]
fn begin_is_refused_by_its_law() {
    for_each(EXERCISES, |exercise| match graded(exercise, &exercise.begin(), "begin") {
        Verdict::Broken(broken) if broken.law == exercise.law => Ok(()),
        Verdict::Broken(broken) => {
            let text = learn::replay::text(&broken, 30);
            Err(format!("breaks {} and not {}: {}\n{text}", broken.law, exercise.law, broken.what))
        }
        other => Err(format!("{other:?}")),
    });
}

#[test]
fn solution_passes() {
    for_each(EXERCISES, |exercise| match graded(exercise, &exercise.solution(), "solution") {
        Verdict::Passed { programs, events } if programs > 0 && events > 10 => Ok(()),
        Verdict::Broken(broken) => {
            let text = learn::replay::text(&broken, 30);
            Err(format!("breaks {}: {}\n{text}", broken.law, broken.what))
        }
        Verdict::NotCompiled(text) => Err(text),
        other => Err(format!("{other:?}")),
    });
}
