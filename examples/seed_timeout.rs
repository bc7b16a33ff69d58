//! `wait` with a timeout: after two and a half seconds two tasks are done and two are pending.
//!
//! It does the same as `timeout.py`. The timeout cancels no task; tasks 3 and 4 end with the
//! program, in the middle of their sleep. Next: `seed_introspect.rs`.

use onelane::{Task, TaskError, sleep, task, wait};
use std::time::Duration;

pub(crate) async fn func1(i: u64) -> u64 {
    println!("协程函数{i}马上开始执行。");
    sleep(Duration::from_secs(i)).await;
    println!("协程函数{i}执行完毕!");
    i
}

pub(crate) async fn main_task() -> Result<(), TaskError> {
    let spawn = |i| task::Builder::new().name(format!("任务{i}")).spawn(func1(i));
    let tasks: Vec<_> = (1..5).map(spawn).collect();
    let (done, pending) = wait(tasks).timeout(Duration::from_millis(2500)).await;
    println!("done: {} {:?}", names(&done), results(&done)?);
    println!("pending: {}", names(&pending));
    Ok(())
}

/// The tasks' names as Python prints a list of them. They need no sorting: `wait` keeps the order
/// of its arguments.
pub(crate) fn names(tasks: &[Task<u64>]) -> String {
    let quoted: Vec<String> = tasks.iter().map(|task| format!("'{}'", task.name())).collect();
    format!("[{}]", quoted.join(", "))
}

pub(crate) fn results(tasks: &[Task<u64>]) -> Result<Vec<u64>, TaskError> {
    tasks.iter().map(|task| Ok(*task.result()?)).collect()
}

fn main() -> Result<(), TaskError> {
    onelane::run(main_task())
}
