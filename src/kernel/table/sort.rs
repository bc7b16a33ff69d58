//! Sorting by a heap, for code that each binary contains: std's sort would add several kilobytes.
//! (The call graph and the probe's ring buffer, which are optional, use std's sort.)
//!
//! Sorts by keys only.

use alloc::{collections::BinaryHeap, vec::Vec};

/// Sorts numbers and removes duplicates.
pub(crate) fn sorted_once(numbers: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut numbers: Vec<u64> =
        sorted(numbers.map(|number| (number, 0, 0)).collect()).iter().map(|key| key.0).collect();
    numbers.dedup();
    numbers
}

/// Sorts by the first number, then by the second, then by the third.
#[inline(never)]
pub(crate) fn sorted(keys: Vec<(u64, u64, u64)>) -> Vec<(u64, u64, u64)> {
    BinaryHeap::from(keys).into_sorted_vec()
}
