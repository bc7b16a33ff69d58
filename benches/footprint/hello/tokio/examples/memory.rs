//! Prints the number of heap bytes of an idle runtime, and of a waiting task.

#[path = "../../counting.rs"]
mod counting;

use counting::held;
use std::future::pending;

const TASKS: usize = 10_000;

fn main() {
    let before = held();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {});
    let idle = held() - before;
    let mut tasks = Vec::with_capacity(TASKS);
    runtime.block_on(async {
        let before = held();
        tasks.extend((0..TASKS).map(|_| tokio::spawn(pending::<()>())));
        tokio::task::yield_now().await;
        println!("{idle} {}", (held() - before) / TASKS);
    });
}
