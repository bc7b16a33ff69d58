//! Chapter 11: a deadlock. Each task waits for other tasks, and goes on when all of them have ended. A circle of tasks that
//! wait for each other never ends.

/// A circle: each task waits for the next one, and the last for the first. `waits[n]` has the tasks for which task `n` waits.
/// Returns `None` if there is no circle.
pub fn circle(waits: &[Vec<usize>]) -> Option<Vec<usize>> {
    // A task without a way into a circle is looked at once.
    let mut is_free = vec![false; waits.len()];
    (0..waits.len()).find_map(|task| search(waits, task, &mut Vec::new(), &mut is_free))
}

fn search(waits: &[Vec<usize>], task: usize, way: &mut Vec<usize>, is_free: &mut [bool]) -> Option<Vec<usize>> {
    if is_free[task] {
        return None;
    }
    if let Some(place) = way.iter().position(|&before| before == task) {
        return Some(way[place..].to_vec());
    }
    way.push(task);
    let found = waits[task].iter().find_map(|&next| search(waits, next, way, is_free));
    way.pop();
    is_free[task] = found.is_none();
    found
}
