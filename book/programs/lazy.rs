//! A call of an async function runs nothing.

use onelane::yield_now;

async fn greet() {
    println!("greet begins");
    yield_now().await;
    println!("greet ends");
}

pub async fn main() {
    let greeting = greet();
    println!("greet was called");
    greeting.await;
    println!("greet was awaited");
}
