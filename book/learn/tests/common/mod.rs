//! Grades many solutions, two at a time.

use learn::check::{Verdict, check};
use learn::exercise::Exercise;
use std::fmt::Debug;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Grades a text as a solution.
pub fn graded(exercise: &Exercise, text: &str, what: &str) -> Verdict {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("{}-{count}-{}", exercise.name, what.replace(|c: char| !c.is_alphanumeric(), "_"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("lane.rs");
    fs::write(&file, text).unwrap();
    let verdict = check(exercise, &file, &folder);
    fs::remove_dir_all(folder).unwrap();
    verdict
}

/// Tests all, and fails with the complaints. `LEARN_ONLY` is a part of the names to test.
pub fn for_each<T: Debug + Sync>(items: &[T], test: impl Fn(&T) -> Result<(), String> + Sync) {
    let (next, complaints) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let only = std::env::var("LEARN_ONLY").unwrap_or_default();
    let name = |item: &T| format!("{item:?}").split('"').nth(1).unwrap_or_default().to_string();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if !name(item).contains(&only) {
                        continue;
                    }
                    if let Err(complaint) = test(item) {
                        complaints.lock().unwrap().push(format!("{}: {complaint}", name(item)));
                    }
                }
            });
        }
    });
    let complaints = complaints.into_inner().unwrap();
    assert!(complaints.is_empty(), "{}", complaints.join("\n\n"));
}
