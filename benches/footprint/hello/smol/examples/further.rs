//! The hello-world, which also spawns futures of sixteen more types.

use std::time::Duration;

async fn further<const NTH: u64>() -> u64 {
    smol::Timer::after(Duration::from_millis(NTH)).await;
    NTH
}

macro_rules! spawn_each {
    ($executor:expr, $($nth:literal)*) => { $( println!("{}", $executor.spawn(further::<$nth>()).await); )* };
}

fn main() {
    let executor = smol::LocalExecutor::new();
    smol::block_on(executor.run(async {
        let task = executor.spawn(async {
            smol::Timer::after(Duration::from_millis(1)).await;
            println!("hello");
        });
        task.await;
        spawn_each!(executor, 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16);
    }));
}
