//! What holds from stage 3 on.

use super::lane::{run, spawn, yield_now};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

#[test]
fn run_returns_the_value() {
    assert_eq!(run(async { 42 }), 42);
}

#[test]
fn tasks_take_turns() {
    let log = Rc::new(RefCell::new(Vec::new()));
    let copy = log.clone();
    run(async move {
        for name in ["a", "b"] {
            let log = copy.clone();
            spawn(async move {
                for n in 0..3 {
                    log.borrow_mut().push(format!("{name}{n}"));
                    yield_now().await;
                }
            });
        }
        for _ in 0..4 {
            yield_now().await;
        }
    });
    assert_eq!(*log.borrow(), ["a0", "b0", "a1", "b1", "a2", "b2"]);
}

#[test]
fn tasks_that_are_left_are_dropped_once() {
    struct Guard(Rc<Cell<u32>>);

    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }

    let dropped = Rc::new(Cell::new(0));
    let guard = Guard(dropped.clone());
    run(async move {
        spawn(async move {
            let _guard = guard;
            std::future::pending::<()>().await;
        });
        yield_now().await;
        yield_now().await;
    });
    assert_eq!(dropped.get(), 1);
}
