//! What is counted.

use onelane_cases::{Case, Size, Work};

/// A case on a runtime, at two sizes.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The name of the case.
    pub case: &'static str,
    /// The name of the runtime.
    pub runtime: &'static str,
    /// What one operation is.
    pub operation: &'static str,
    /// The case on the runtime.
    pub work: Work,
    /// The smaller size.
    pub small: Size,
    /// The larger size.
    pub large: Size,
}

/// The large size has about this number of operations more than the small one. So a constant
/// difference hardly matters.
const OPERATIONS: usize = 10_000;

impl Entry {
    /// A case that is repeated: the large size has twice the rounds of the small one.
    pub fn repeated(case: &Case, runtime: &'static str, work: Work) -> Self {
        let rounds = OPERATIONS.div_ceil(case.width);
        let size = |rounds| Size { width: case.width, rounds };
        let (small, large) = (size(rounds), size(2 * rounds));
        Entry { case: case.id, runtime, operation: case.operation, work, small, large }
    }

    /// A case that does one operation for each of many things: the large size has twice as many.
    pub fn wide(case: &'static str, operation: &'static str, runtime: &'static str, work: Work) -> Self {
        let size = |width| Size { width, rounds: 1 };
        let (small, large) = (size(OPERATIONS), size(2 * OPERATIONS));
        Entry { case, runtime, operation, work, small, large }
    }
}
