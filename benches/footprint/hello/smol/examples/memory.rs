//! Prints the number of heap bytes of an idle executor, and of a waiting task.

#[path = "../../counting.rs"]
mod counting;

use counting::held;
use std::future::pending;

const TASKS: usize = 10_000;

fn main() {
    let before = held();
    let executor = smol::LocalExecutor::new();
    smol::block_on(executor.run(async {}));
    let idle = held() - before;
    let mut tasks = Vec::with_capacity(TASKS);
    smol::block_on(executor.run(async {
        let before = held();
        tasks.extend((0..TASKS).map(|_| executor.spawn(pending::<()>())));
        for _ in 0..TASKS {
            smol::future::yield_now().await;
        }
        println!("{idle} {}", (held() - before) / TASKS);
    }));
}
