//! `gather`: spawns four futures as tasks, runs them concurrently, and waits for all. This takes
//! two seconds, not eight.
//!
//! It does the same as a Python program, `gather.py`. Next: `seed_wait.rs`, which has to spawn its
//! tasks itself.

use onelane::{TaskError, gather, sleep};
use std::time::Duration;

pub(crate) async fn func1(i: u64) {
    println!("协程函数{i}马上开始执行。");
    sleep(Duration::from_secs(2)).await;
    println!("协程函数{i}执行完毕!");
}

pub(crate) async fn main_task() -> Result<(), TaskError> {
    let mut tasks = Vec::new();
    for i in 1..5 {
        // This is a future, not yet a task. It does not run before `gather` spawns it.
        tasks.push(func1(i));
    }
    gather(tasks).await?;
    Ok(())
}

fn main() -> Result<(), TaskError> {
    onelane::run(main_task())
}
