//! `wait` takes tasks, not futures, so each future is spawned first. It takes two seconds, not
//! eight.
//!
//! It does the same as a Python program, `wait.py`. Next: `seed_callback.rs`.

use onelane::{sleep, spawn, wait};
use std::time::Duration;

pub(crate) async fn func1(i: u64) {
    println!("协程函数{i}马上开始执行。");
    sleep(Duration::from_secs(2)).await;
    println!("协程函数{i}执行完毕!");
}

pub(crate) async fn main_task() {
    let mut tasks = Vec::new();
    for i in 1..5 {
        tasks.push(spawn(func1(i)));
    }
    // `wait` returns the tasks that are done and the tasks that are pending. Without a timeout, all
    // are done.
    wait(tasks).await;
}

fn main() {
    onelane::run(main_task());
}
