//! A program that deadlocks, and reports why. Two clerks carry money between two accounts. Each
//! first takes the lock of its source, and then the lock of its target. A teller waits for both
//! clerks, and a printer waits for receipts, which are written after the money has moved. On the
//! virtual clock, the program reaches the deadlock at once.
//!
//! `kill -USR1` prints the same for a running program, if its loop was built with
//! `LoopBuilder::print_call_graph_on`.

use onelane::sync::{Lock, Queue};
use onelane::{EventLoop, RunError, call_graph, call_later, current_task, gather, sleep, spawn};
use std::rc::Rc;
use std::time::Duration;

type Account = Rc<Lock<i64>>;

const HOUR: Duration = Duration::from_secs(3600);

async fn carry(amount: i64, from: Account, to: Account, receipts: Rc<Queue<String>>) {
    let mut from = from.lock().await;
    // Counts the coins. In the meantime the other clerk begins.
    sleep(HOUR).await;
    let mut to = to.lock().await;
    *from -= amount;
    *to += amount;
    receipts.put(format!("carried {amount}")).await.expect("the queue is never shut down");
}

async fn print(receipts: Rc<Queue<String>>) {
    loop {
        println!("{}", receipts.get().await.expect("the queue is never shut down"));
    }
}

async fn serve() {
    current_task().expect("this is a task").set_name("teller");
    let [savings, checking]: [Account; 2] =
        [("savings", 100), ("checking", 50)].map(|(name, coins)| Rc::new(Lock::new(coins).named(name)));
    let receipts = Rc::new(Queue::unbounded().named("receipts"));
    let _printer = spawn(print(receipts.clone()));
    let clerks = gather([
        carry(30, savings.clone(), checking.clone(), receipts.clone()),
        carry(20, checking.clone(), savings.clone(), receipts),
    ]);
    // While a timer is pending, the program runs, and can inspect itself.
    call_later(2 * HOUR, || {
        let graph = call_graph();
        println!("After two hours:\n\n{}\n{graph}\n", graph.ps());
    });
    clerks.await.expect("the clerks are not cancelled");
}

fn main() {
    let result = EventLoop::with_virtual_clock().try_run(serve());
    match result {
        Err(RunError::Deadlock(report)) => println!("After the last timer:\n\n{report}"),
        result => panic!("this should report a deadlock: {result:?}"),
    }
}
