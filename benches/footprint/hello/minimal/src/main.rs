//! Spawns a task that sleeps for a millisecond and prints, and awaits it.

use std::time::Duration;

fn main() {
    onelane::run(async {
        let task = onelane::spawn(async {
            onelane::sleep(Duration::from_millis(1)).await;
            println!("hello");
        });
        task.await.unwrap();
    });
}
