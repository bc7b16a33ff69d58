//! `callback.py` of the seed, on the reader's kernel.

use lane::seed_clock;
use lane::stage_13::lane::{Task, run, sleep, spawn, wait};
use std::time::Duration;

async fn func1(i: u64) -> u64 {
    println!("协程函数{i}马上开始执行。");
    sleep(Duration::from_secs(2)).await;
    i
}

fn callback(task: &Task<u64>) {
    println!("执行结果:{}", task.result().unwrap().unwrap());
}

async fn main_task() {
    let mut tasks = Vec::new();
    for i in 1..5 {
        let task = spawn(func1(i));
        task.add_done_callback(callback);
        tasks.push(task);
    }
    wait(tasks).await;
}

fn main() {
    seed_clock();
    run(main_task());
}
