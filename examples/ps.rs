//! A program that hangs, and says why.
//!
//! Two clerks carry money between two accounts, and each takes the lock of the one that it begins with first. A teller waits
//! for both of them, and a printer waits for receipts, which nobody writes before the money has moved. On the virtual clock
//! it takes no time to come to where nothing can happen any more.
//!
//! `kill -USR1` shows the same of a program that runs, if its loop was built with `Builder::print_call_graph_on`.

use onelane::sync::{Lock, Queue};
use onelane::{EventLoop, RunError, call_graph, call_later, current_task, gather, sleep, spawn};
use std::rc::Rc;
use std::time::Duration;

type Account = Rc<Lock<i64>>;

const HOUR: Duration = Duration::from_secs(3600);

async fn carry(amount: i64, from: Account, to: Account, receipts: Rc<Queue<String>>) {
    let mut from = from.lock().await;
    // Counts the coins, and meanwhile the other clerk begins.
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
    // While there is still a timer, the program runs, and can look at itself.
    call_later(2 * HOUR, || {
        let graph = call_graph();
        println!("After two hours:\n\n{}\n{graph}\n", graph.ps());
    });
    clerks.await.expect("nobody cancels them");
}

fn main() {
    let result = EventLoop::with_virtual_clock().try_run(serve());
    match result {
        Err(RunError::Deadlock(report)) => println!("After the last timer:\n\n{report}"),
        result => panic!("this was to hang: {result:?}"),
    }
}
