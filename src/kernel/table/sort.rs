//! Sorting, in one place: a heap does it, since std's sort would be several kilobytes of code in each binary.
//!
//! Does not know what is sorted, but by its keys.

use std::collections::BinaryHeap;

/// Numbers, each once.
pub(crate) fn sorted_once(numbers: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut numbers: Vec<u64> =
        sorted(numbers.map(|number| (number, 0, 0)).collect()).iter().map(|key| key.0).collect();
    numbers.dedup();
    numbers
}

/// By the first number, equals by the second, and so on.
#[inline(never)]
pub(crate) fn sorted(keys: Vec<(u64, u64, u64)>) -> Vec<(u64, u64, u64)> {
    BinaryHeap::from(keys).into_sorted_vec()
}
