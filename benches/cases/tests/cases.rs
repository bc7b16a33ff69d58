//! Runs each case on the two runtimes of this package. Each must do all its operations, and start
//! and stop the meter once.

use onelane_cases::{CASES, Floor, Meter, ONELANE_ONLY, Onelane, Size, Works, find, waits};
use std::cell::Cell;

thread_local! {
    static CALLS: Cell<(u32, u32)> = const { Cell::new((0, 0)) };
}

const COUNTING: Meter = Meter {
    start: || CALLS.set((CALLS.get().0 + 1, CALLS.get().1)),
    stop: || CALLS.set((CALLS.get().0, CALLS.get().1 + 1)),
};

fn does_all(works: Works) {
    for (id, work) in works {
        let case = find(id).unwrap_or_else(|| panic!("{id} is not in the catalogue"));
        let size = Size { width: case.quick_width.min(2000), ..case.least(true) };
        CALLS.set((0, 0));
        assert_eq!(work(size, COUNTING), size.operations(), "{id} at {size:?}");
        assert_eq!(CALLS.get(), (1, 1), "{id} at {size:?}");
    }
}

#[test]
fn the_floor_does_its_work() {
    does_all(Floor::works());
}

#[test]
fn onelane_does_its_work() {
    does_all(Onelane::works());
    does_all(waits());
    assert!(waits().into_iter().map(|(id, _)| id).eq(ONELANE_ONLY.iter().map(|case| case.id)));
}

#[test]
fn onelane_has_every_case() {
    let mut works: Vec<&str> = Onelane::works().into_iter().map(|(id, _)| id).collect();
    let mut cases: Vec<&str> = CASES.iter().map(|case| case.id).collect();
    works.sort_unstable();
    cases.sort_unstable();
    assert_eq!(works, cases);
}
