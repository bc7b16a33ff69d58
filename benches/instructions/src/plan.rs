//! The list of what is counted: the cases, the runtimes, and the two sizes of each.
//!
//! Two kinds of cases are left out, because their cost is not in instructions: those about memory
//! (`yield-1000000`, `spawn-100000`, the heap), and `foreign-wake`, which uses another thread.

use crate::virtual_time;
use onelane_cases::{Counting, Debugged, Floor, Onelane, Work, Works, find, waits, yields};
use onelane_instructions::Entry;

/// Cases of `benches/cases` that are repeated.
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
        for (runtime, works) in [("floor", Floor::works()), ("onelane", Onelane::works())] {
            if let Some(&(_, work)) = works.iter().find(|(works_id, _)| *works_id == id) {
                entries.push(Entry::repeated(case, runtime, work));
            }
        }
    }
    for (id, work) in waits() {
        let case = find(id).unwrap_or_else(|| panic!("benches/cases has no case `{id}`"));
        entries.push(Entry::repeated(case, "onelane", work));
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
            entries.push(Entry { case: name, ..Entry::repeated(case, "onelane", work_of(&works, id)) });
        }
    }
    entries.push(Entry::wide("timers-pending", "timer", "onelane", of("timers-1000000")));
    entries.push(Entry::wide("sleepers-virtual", "sleeper", "onelane", virtual_time::sleepers));
    entries
}

fn of(id: &str) -> Work {
    work_of(&Onelane::works(), id)
}

fn work_of(works: &Works, id: &str) -> Work {
    works.iter().find(|(works_id, _)| *works_id == id).unwrap_or_else(|| panic!("benches/cases has no `{id}`")).1
}
