//! The law of circles, on random waits.

use crate::common::{self, Random, fail};
use crate::kernel::circle;

/// Whether a circle is there: take away, again and again, the tasks that wait for nobody who is left.
fn is_stuck(waits: &[Vec<usize>]) -> bool {
    let mut left: Vec<usize> = (0..waits.len()).collect();
    loop {
        let before = left.len();
        let stays = |task: &usize| waits[*task].iter().any(|next| left.contains(next));
        left = left.iter().copied().filter(stays).collect();
        if left.len() == before {
            return !left.is_empty();
        }
    }
}

pub fn check() {
    for seed in 0..2_000u64 {
        let mut random = Random::new(seed + 19);
        let count = random.below(2 + seed as usize / 100);
        let most = 1 + random.below(3);
        let waits: Vec<Vec<usize>> =
            (0..count).map(|_| (0..random.below(most + 1)).map(|_| random.below(count)).collect()).collect();
        let source = waits.iter().enumerate().map(|(task, waits)| format!("task {task} waits for {waits:?}"));
        common::begin(format!("waits {seed}"), source.collect());
        let found = circle(&waits);
        common::event(&[], format!("circle returns {found:?}"));
        match (found, is_stuck(&waits)) {
            (None, true) => fail("CIRCLE-1", "there is a circle, and it is not found".into()),
            (Some(found), false) => fail("CIRCLE-1", format!("there is no circle, and {found:?} is said to be one")),
            (Some(found), true) => {
                if found.is_empty() {
                    fail("CIRCLE-1", "an empty circle".into());
                }
                for (nth, &task) in found.iter().enumerate() {
                    let next = found[(nth + 1) % found.len()];
                    if !waits.get(task).is_some_and(|waits| waits.contains(&next)) {
                        fail("CIRCLE-1", format!("task {task} does not wait for task {next}"));
                    }
                    if found[..nth].contains(&task) {
                        fail("CIRCLE-1", format!("task {task} is in the circle twice"));
                    }
                }
            }
            (None, false) => {}
        }
    }
    // Many ways, and no circle: each task waits for the next two, twice.
    let count = 60;
    let waits: Vec<Vec<usize>> = (0..count).map(|task| (task + 1..(task + 3).min(count)).collect()).collect();
    common::begin("sixty tasks, each waits for the next two".into(), Vec::new());
    if let Some(found) = circle(&waits) {
        fail("CIRCLE-1", format!("there is no circle, and {found:?} is said to be one"));
    }
}
