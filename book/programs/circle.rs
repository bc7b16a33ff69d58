//! Two locks, taken in two orders. The loop can say who waits for whom.

use onelane::sync::Lock;
use onelane::{call_graph, sleep, task, yield_now};
use std::rc::Rc;
use std::time::Duration;

async fn carry(from: Rc<Lock<i32>>, to: Rc<Lock<i32>>) {
    let _from = from.lock().await;
    yield_now().await;
    let _to = to.lock().await;
}

pub async fn main() {
    let savings = Rc::new(Lock::new(100).named("savings"));
    let checking = Rc::new(Lock::new(50).named("checking"));
    let there = carry(savings.clone(), checking.clone());
    let back = carry(checking, savings);
    let _there = task::Builder::new().name("there").spawn(there);
    let _back = task::Builder::new().name("back").spawn(back);
    sleep(Duration::from_secs(1)).await;
    println!("{}", call_graph().ps());
}
