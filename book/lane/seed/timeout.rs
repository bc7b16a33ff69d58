//! `timeout.py` of the seed, on the reader's kernel.

use lane::seed_clock;
use lane::stage_13::lane::{Task, run, sleep, spawn, wait};
use std::time::Duration;

async fn func1(i: u64) -> u64 {
    println!("协程函数{i}马上开始执行。");
    sleep(Duration::from_secs(i)).await;
    println!("协程函数{i}执行完毕!");
    i
}

async fn main_task() {
    let tasks = (1..5).map(|i| spawn(func1(i)).named(format!("任务{i}"))).collect();
    let (done, pending) = wait(tasks).timeout(Duration::from_millis(2_500)).await;
    let results: Vec<_> = done.iter().map(|task| task.result().unwrap().unwrap()).collect();
    println!("done: {} {results:?}", names(&done));
    println!("pending: {}", names(&pending));
}

/// The names as Python prints a list of them.
fn names(tasks: &[Task<u64>]) -> String {
    let quoted: Vec<String> = tasks.iter().map(|task| format!("'{}'", task.task_ref().name())).collect();
    format!("[{}]", quoted.join(", "))
}

fn main() {
    seed_clock();
    run(main_task());
}
