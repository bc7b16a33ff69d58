//! The hello-world, which also spawns futures of sixteen more types.

use std::time::Duration;

async fn further<const NTH: u64>() -> u64 {
    onelane::sleep(Duration::from_millis(NTH)).await;
    NTH
}

macro_rules! spawn_each {
    ($($nth:literal)*) => { $( println!("{}", onelane::spawn(further::<$nth>()).await.unwrap()); )* };
}

fn main() {
    onelane::run(async {
        let task = onelane::spawn(async {
            onelane::sleep(Duration::from_millis(1)).await;
            println!("hello");
        });
        task.await.unwrap();
        spawn_each!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16);
    });
}
