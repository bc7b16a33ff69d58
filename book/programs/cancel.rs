//! A cancelled task runs its cleanup, which may await.

use onelane::{finally, sleep, spawn, yield_now};
use std::time::Duration;

async fn transfer() {
    let body = async {
        println!("the transfer begins");
        sleep(Duration::from_secs(60)).await;
        println!("never printed");
    };
    let cleanup = async {
        println!("the cleanup begins");
        sleep(Duration::from_secs(1)).await;
        println!("the cleanup is done");
    };
    finally(body, cleanup).await;
}

pub async fn main() {
    let task = spawn(transfer());
    yield_now().await;
    task.cancel();
    println!("cancel was called");
    let result = task.await;
    println!("cancelled: {}", result.is_err());
}
