//! Chapter 1: in which order do the lines of `gather.py` appear, and how long does it take?
//!
//! `gather` starts coroutines 1, 2, 3, ... Coroutine `i` prints `i begins`, sleeps `naps[i - 1]` seconds, and prints
//! `i ends`. Nothing is computed between, so only the sleeps take time.

/// The lines in their order, and the seconds until the last one.
pub fn predict(naps: &[u64]) -> (Vec<String>, u64) {
    let mut lines: Vec<String> = (1..=naps.len()).map(|i| format!("{i} begins")).collect();
    let mut order: Vec<usize> = (0..naps.len()).collect();
    // Timers fire by their deadlines, and equal ones in the order of their making. This sort keeps that order.
    order.sort_by_key(|&i| naps[i]);
    lines.extend(order.iter().map(|i| format!("{} ends", i + 1)));
    (lines, naps.iter().copied().max().unwrap_or(0))
}
