//! Spawns a task that sleeps for a millisecond and prints, and awaits it.

use std::time::Duration;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let task = tokio::spawn(async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            println!("hello");
        });
        task.await.unwrap();
    });
}
