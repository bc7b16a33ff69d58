//! Timers fire by deadline. Timers with one deadline fire in the order in which they were made.

use onelane::{sleep, spawn, timeout};
use std::future::pending;
use std::time::Duration;

async fn after(milliseconds: u64, name: &'static str) {
    sleep(Duration::from_millis(milliseconds)).await;
    println!("{name}");
}

pub async fn main() {
    let tasks = [spawn(after(20, "c")), spawn(after(10, "a")), spawn(after(20, "d")), spawn(after(10, "b"))];
    for task in tasks {
        task.await.unwrap();
    }
    let waited = timeout(Duration::from_millis(5), pending::<()>()).await;
    println!("pending() ended: {}", waited.is_ok());
}
