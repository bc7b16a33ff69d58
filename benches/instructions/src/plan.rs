//! The list of what is counted: the cases, the runtimes, and the two sizes of each.
//!
//! Two kinds of cases are left out, because their cost is not in instructions: those about memory
//! (`yield-1000000`, `spawn-100000`, the heap), and `foreign-wake`, which uses another thread.

use crate::virtual_time;
use onelane_cases::{Counting, Debugged, Floor, Onelane, Size, Work, Works, find, yields};

/// A case on a runtime.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) case: &'static str,
    pub(crate) runtime: &'static str,
    /// What one operation is.
    pub(crate) operation: &'static str,
    pub(crate) work: Work,
    pub(crate) small: Size,
    pub(crate) large: Size,
}

/// The large size has about this number of operations more than the small one. So a constant
/// difference hardly matters.
const OPERATIONS: usize = 10_000;

/// Cases of `benches/cases` that are repeated: the large size has twice the rounds of the small
/// one.
const REPEATED: &[&str] = &[
    "yield-1",
    "yield-300",
    "yield-1000",
    "own-yield-1",
    "own-yield-1000",
    "yield-1-timer",
    "baton",
    "ring-1000",
    "spawn-1",
    "spawn-1000",
    "spawn-recursive-300",
    "spawn-recursive-1000",
    "gather-10",
    "gather-100",
    "gather-1000",
    "oneshot",
    "channel-chain",
    "timer-create-drop",
    "run-ready",
    "make-and-run",
];

/// Returns all entries, in the order of the table.
pub(crate) fn entries() -> Vec<Entry> {
    let mut entries = Vec::new();
    for &id in REPEATED {
        let case = find(id).unwrap_or_else(|| panic!("benches/cases has no case `{id}`"));
        let rounds = OPERATIONS.div_ceil(case.width);
        let size = |rounds| Size { width: case.width, rounds };
        for (runtime, works) in [("floor", Floor::works()), ("onelane", Onelane::works())] {
            if let Some(&(_, work)) = works.iter().find(|(works_id, _)| *works_id == id) {
                let (small, large) = (size(rounds), size(2 * rounds));
                entries.push(Entry { case: id, runtime, operation: case.operation, work, small, large });
            }
        }
    }
    // The cost of metrics and of debug mode.
    let observed: [(&[(_, _)], Works); 2] = [
        (
            &[("yield-1", "yield-1-metrics"), ("yield-1000", "yield-1000-metrics"), ("ring-1000", "ring-1000-metrics")],
            yields::<Counting>(),
        ),
        (&[("yield-1000", "yield-1000-debug")], yields::<Debugged>()),
    ];
    for (ids, works) in observed {
        for &(id, name) in ids {
            let case = find(id).unwrap_or_else(|| panic!("benches/cases has no `{id}`"));
            let rounds = OPERATIONS.div_ceil(case.width);
            let size = |rounds| Size { width: case.width, rounds };
            let (work, operation) = (work_of(&works, id), case.operation);
            entries.push(Entry {
                case: name,
                runtime: "onelane",
                operation,
                work,
                small: size(rounds),
                large: size(2 * rounds),
            });
        }
    }
    // These do one operation for each of many things: the large size has twice as many.
    let many = |case, operation, work| {
        let size = |width| Size { width, rounds: 1 };
        Entry { case, runtime: "onelane", operation, work, small: size(OPERATIONS), large: size(2 * OPERATIONS) }
    };
    entries.push(many("timers-pending", "timer", of("timers-1000000")));
    entries.push(many("sleepers-virtual", "sleeper", virtual_time::sleepers));
    entries
}

fn of(id: &str) -> Work {
    work_of(&Onelane::works(), id)
}

fn work_of(works: &Works, id: &str) -> Work {
    works.iter().find(|(works_id, _)| *works_id == id).unwrap_or_else(|| panic!("benches/cases has no `{id}`")).1
}
