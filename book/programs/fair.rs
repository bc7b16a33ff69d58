//! A task that is always ready, beside one that sleeps.

use onelane::{sleep, spawn, yield_now};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

pub async fn main() {
    let steps = Rc::new(Cell::new(0));
    let count = steps.clone();
    spawn(async move {
        loop {
            count.set(count.get() + 1);
            yield_now().await;
        }
    });
    for _ in 0..3 {
        yield_now().await;
    }
    println!("the busy task has run {} times", steps.get());
    sleep(Duration::ZERO).await;
    println!("main runs in each turn too");
}
