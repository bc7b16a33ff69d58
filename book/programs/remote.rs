//! A wake from another thread.

use onelane::to_thread;

pub async fn main() {
    println!("main asks a thread");
    let sum = to_thread(|| (1..=10).sum::<u32>()).await.unwrap();
    println!("the thread says {sum}");
}
