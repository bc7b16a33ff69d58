//! What the next stage cures: a task that waits is polled in each round.

use super::lane::{run, spawn, yield_now};
use std::cell::Cell;
use std::rc::Rc;
use std::task::Poll;

#[test]
fn a_task_that_waits_is_polled_all_the_time() {
    let polls = Rc::new(Cell::new(0));
    let count = polls.clone();
    run(async move {
        spawn(std::future::poll_fn(move |_| {
            count.set(count.get() + 1);
            Poll::Pending
        }));
        for _ in 0..1_000 {
            yield_now().await;
        }
    });
    assert_eq!(polls.get(), 1_000);
}
