//! Spawns a task that sleeps for a millisecond and prints, and awaits it.

use std::time::Duration;

fn main() {
    let executor = smol::LocalExecutor::new();
    smol::block_on(executor.run(async {
        let task = executor.spawn(async {
            smol::Timer::after(Duration::from_millis(1)).await;
            println!("hello");
        });
        task.await;
    }));
}
