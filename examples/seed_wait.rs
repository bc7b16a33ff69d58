//! `wait`: takes tasks, not futures, so each is spawned first. Two seconds, not eight.
//!
//! The twin of the article's `wait.py`. Next: `seed_callback.rs`.

use onelane::{sleep, spawn, wait};
use std::time::Duration;

pub(crate) async fn func1(i: u64) {
    println!("协程函数{i}马上开始执行。");
    sleep(Duration::from_secs(2)).await;
    println!("协程函数{i}执行完毕!");
}

async fn main_task() {
    let mut tasks = Vec::new();
    for i in 1..5 {
        tasks.push(spawn(func1(i)));
    }
    // It returns the tasks that are done and those that are pending. Without a timeout, all are
    // done.
    wait(tasks).await;
}

fn main() {
    onelane::run(main_task());
}
