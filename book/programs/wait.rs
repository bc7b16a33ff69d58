//! Four tasks of one to four seconds; after two and a half seconds two are done.

use onelane::{sleep, spawn, wait};
use std::time::Duration;

async fn func1(i: u64) -> u64 {
    sleep(Duration::from_secs(i)).await;
    i
}

pub async fn main() {
    let tasks: Vec<_> = (1..5).map(|i| spawn(func1(i))).collect();
    let (done, pending) = wait(tasks).timeout(Duration::from_millis(2500)).await;
    println!("{} are done, {} are pending", done.len(), pending.len());
}
