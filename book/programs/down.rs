//! A cancellation goes down to what a task awaits, and comes up again.

use onelane::{sleep, spawn, yield_now};
use std::time::Duration;

async fn child() {
    sleep(Duration::from_secs(60)).await;
}

async fn parent() {
    spawn(child()).await.unwrap();
}

pub async fn main() {
    let task = spawn(parent());
    yield_now().await;
    yield_now().await;
    task.cancel();
    println!("cancelled: {}", task.await.is_err());
}
