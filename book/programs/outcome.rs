//! A task's result waits in its cell. A panic is a result too.

use onelane::{spawn, yield_now};

pub async fn main() {
    std::panic::set_hook(Box::new(|_| {}));
    let sum = spawn(async { 2 + 2 });
    let wrong = spawn(async { panic!("wrong") });
    println!("before: {} {}", sum.is_done(), wrong.is_done());
    yield_now().await;
    println!("after: {} {}", sum.is_done(), wrong.is_done());
    println!("{:?}", sum.await.ok());
    println!("{}", wrong.await.map(|()| "a value").unwrap_or("a panic"));
}
