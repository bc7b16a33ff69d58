//! Prints the number of heap bytes of an idle loop, and of a waiting task.

#[path = "../../counting.rs"]
mod counting;

use counting::held;
use std::future::pending;

const TASKS: usize = 10_000;

fn main() {
    let before = held();
    let event_loop = onelane::EventLoop::new();
    event_loop.run(async {});
    let idle = held() - before;
    let mut tasks = Vec::with_capacity(TASKS);
    event_loop.run(async {
        let before = held();
        tasks.extend((0..TASKS).map(|_| onelane::spawn(pending::<()>())));
        onelane::yield_now().await;
        println!("{idle} {}", (held() - before) / TASKS);
    });
}
