//! The hello-world, which also spawns futures of sixteen more types.

use std::time::Duration;

async fn further<const NTH: u64>() -> u64 {
    tokio::time::sleep(Duration::from_millis(NTH)).await;
    NTH
}

macro_rules! spawn_each {
    ($($nth:literal)*) => { $( println!("{}", tokio::spawn(further::<$nth>()).await.unwrap()); )* };
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let task = tokio::spawn(async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            println!("hello");
        });
        task.await.unwrap();
        spawn_each!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16);
    });
}
