//! `current_task` and `all_tasks`: which task runs, and which tasks exist. And two mistakes, with
//! their messages.
//!
//! It does the same as `introspect.py`. A call that raises a `RuntimeError` there returns an error
//! here, if you use `try_run` and `try_current`. Next: `tour.rs`, which draws all five.

use onelane::{EventLoop, TaskError, all_tasks, current_task, gather, sleep, task};
use std::time::Duration;

pub(crate) async fn func1(i: u64) -> u64 {
    println!("当前任务: {}", current_task().unwrap().name());
    sleep(Duration::from_secs(1)).await;
    i * 10
}

pub(crate) async fn main_task() -> Result<(), TaskError> {
    let spawn = |i| task::Builder::new().name(format!("任务{i}")).spawn(func1(i));
    let tasks: Vec<_> = (1..5).map(spawn).collect();
    println!("未完成: {}", all_tasks().len());
    println!("结果: {:?}", gather(tasks).await?);
    println!("未完成: {}", all_tasks().len());
    current_task().unwrap().set_name("主任务");
    println!("当前任务: {}", current_task().unwrap().name());
    let nested = func1(5);
    // `try_run` drops a future that it refuses, so there is nothing to close.
    if let Err(error) = onelane::try_run(nested) {
        println!("RuntimeError: {error}");
    }
    Ok(())
}

fn main() -> Result<(), TaskError> {
    onelane::run(main_task())?;
    if let Err(error) = EventLoop::try_current() {
        println!("RuntimeError: {error}");
    }
    Ok(())
}
