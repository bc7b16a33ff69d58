//! A small sort, for code that each binary contains: std's sort would add several kilobytes.
//! (The call graph and the probe's ring buffer, which are optional, use std's sort.)
//!
//! Sorts by keys only.

use alloc::vec::Vec;

/// Sorts numbers and removes duplicates.
pub(crate) fn sorted_once(numbers: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut keys = Vec::new();
    numbers.for_each(|number| keys.push((number, 0, 0)));
    let mut numbers = Vec::new();
    for (number, _, _) in sorted(keys) {
        if numbers.last() != Some(&number) {
            numbers.push(number);
        }
    }
    numbers
}

/// Sorts by the first number, then by the second, then by the third.
///
/// This is Shell's sort. It takes about n^1.3 steps, and the keys are often sorted already: then it
/// takes n log n. A heap sort has three times as much code.
#[inline(never)]
pub(crate) fn sorted(mut keys: Vec<(u64, u64, u64)>) -> Vec<(u64, u64, u64)> {
    let mut gap = keys.len();
    while gap > 1 {
        // By 2.2 and at last to 1: distances that are powers of two would compare the same keys again.
        gap = if gap < 5 { 1 } else { gap * 5 / 11 };
        for end in gap..keys.len() {
            let mut place = end;
            while place >= gap && keys[place] < keys[place - gap] {
                keys.swap(place, place - gap);
                place -= gap;
            }
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sort_as_std_does() {
        let mut random = 1u64;
        for length in (0..40).chain([1000, 4097]) {
            let mut keys = Vec::new();
            for _ in 0..length {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                keys.push((random >> 60, random >> 50 & 15, random >> 40 & 15));
            }
            let once = sorted_once(keys.iter().map(|key| key.0));
            let sorted = sorted(keys.clone());
            keys.sort_unstable();
            assert_eq!(sorted, keys);
            let mut numbers: Vec<u64> = keys.iter().map(|key| key.0).collect();
            numbers.dedup();
            assert_eq!(once, numbers);
        }
    }
}
