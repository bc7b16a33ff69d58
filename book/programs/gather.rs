//! Four tasks that sleep two seconds each, gathered.

use onelane::{gather, sleep};
use std::time::Duration;

async fn func1(i: u64) {
    println!("task {i} starts");
    sleep(Duration::from_secs(2)).await;
    println!("task {i} is done");
}

pub async fn main() {
    gather([func1(1), func1(2), func1(3), func1(4)]).await.unwrap();
}
