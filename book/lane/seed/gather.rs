//! `gather.py` of the seed, on the reader's kernel.

use lane::seed_clock;
use lane::stage_13::lane::{TaskError, gather, run, sleep};
use std::time::Duration;

async fn func1(i: u64) {
    println!("协程函数{i}马上开始执行。");
    sleep(Duration::from_secs(2)).await;
    println!("协程函数{i}执行完毕!");
}

async fn main_task() -> Result<(), TaskError> {
    gather((1..5).map(func1)).await?;
    Ok(())
}

fn main() -> Result<(), TaskError> {
    seed_clock();
    run(main_task())
}
