//! `introspect.py` of the seed, on the reader's kernel.

use lane::seed_clock;
use lane::stage_13::lane::{TaskError, all_tasks, current_task, gather, run, sleep, spawn, try_run};
use std::time::Duration;

async fn func1(i: u64) -> u64 {
    println!("当前任务: {}", current_task().unwrap().name());
    sleep(Duration::from_secs(1)).await;
    i * 10
}

async fn main_task() -> Result<(), TaskError> {
    let tasks: Vec<_> = (1..5).map(|i| spawn(func1(i)).named(format!("任务{i}"))).collect();
    println!("未完成: {}", all_tasks().len());
    println!("结果: {:?}", gather(tasks).await?);
    println!("未完成: {}", all_tasks().len());
    current_task().unwrap().set_name("主任务");
    println!("当前任务: {}", current_task().unwrap().name());
    if let Err(error) = try_run(func1(5)) {
        println!("RuntimeError: {error}");
    }
    Ok(())
}

fn main() -> Result<(), TaskError> {
    seed_clock();
    run(main_task())?;
    if current_task().is_none() {
        println!("RuntimeError: no running event loop");
    }
    Ok(())
}
