//! Two tasks that give way three times each.

use onelane::{spawn, yield_now};

async fn count(name: &'static str) {
    for n in 1..4 {
        println!("{name} {n}");
        yield_now().await;
    }
}

pub async fn main() {
    let (a, b) = (spawn(count("a")), spawn(count("b")));
    a.await.unwrap();
    b.await.unwrap();
}
