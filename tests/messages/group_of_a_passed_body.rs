//! A group whose body is an `AsyncFnOnce` of the caller.
//~ // an `AsyncFnOnce` that you pass on: `|group| body(group)`

use onelane::{TaskGroup, try_task_group};

async fn passed(body: impl AsyncFnOnce(TaskGroup<String>) -> Result<(), String>) {
    _ = try_task_group(|group| body(group)).await;
}

async fn passed_directly(body: impl AsyncFnOnce(TaskGroup<String>) -> Result<(), String>) {
    _ = try_task_group(body).await;
}

fn main() {
    onelane::run(async {
        passed(async |_| Ok(())).await;
        passed_directly(async |_| Ok(())).await;
    });
}
