//! `add_done_callback`: the loop calls a function with each task that has ended.
//!
//! It does the same as a Python program, `callback.py`. Next: `seed_timeout.rs`.

use onelane::{Task, sleep, spawn, wait};
use std::time::Duration;

pub(crate) async fn func1(i: u64) -> u64 {
    println!("协程函数{i}马上开始执行。");
    sleep(Duration::from_secs(2)).await;
    i
}

pub(crate) fn callback(future: &Task<u64>) {
    println!("执行结果:{}", future.result().unwrap());
}

pub(crate) async fn main_task() {
    let mut tasks = Vec::new();
    for i in 1..5 {
        let task = spawn(func1(i));
        task.add_done_callback(callback);
        tasks.push(task);
    }
    wait(tasks).await;
}

fn main() {
    onelane::run(main_task());
}
