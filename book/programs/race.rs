//! A check, an await, an act. `explore` runs it in all orders.

use onelane::{explore, spawn, yield_now};
use std::cell::Cell;
use std::rc::Rc;

async fn withdraw(balance: Rc<Cell<i32>>, amount: i32) {
    if balance.get() >= amount {
        yield_now().await; // asks the bank
        balance.set(balance.get() - amount);
    }
}

async fn two_withdrawals() {
    let balance = Rc::new(Cell::new(100));
    let first = spawn(withdraw(balance.clone(), 70));
    let theirs = balance.clone();
    let second = spawn(async move {
        yield_now().await; // finds its wallet
        withdraw(theirs, 70).await;
    });
    first.await.unwrap();
    second.await.unwrap();
    assert!(balance.get() >= 0, "the account is overdrawn");
}

pub async fn main() {
    std::panic::set_hook(Box::new(|_| {}));
    // It makes loops of its own, one for each order.
    let explorer = std::thread::spawn(|| match explore(two_withdrawals).check() {
        Ok(statement) => println!("{statement}"),
        Err(failure) => println!("{failure}"),
    });
    explorer.join().unwrap();
}
