//! A lost update: what stands between two awaits can be overtaken.

use onelane::explore::Explore;
use onelane::sync::Lock;
use onelane::{explore, task, yield_now};
use std::cell::Cell;
use std::rc::Rc;

/// Writes the payment into a journal, which takes a moment.
async fn journal(_amount: i32) {
    yield_now().await;
}

async fn pay_in(balance: Rc<Cell<i32>>, amount: i32) {
    let before = balance.get();
    journal(amount).await;
    balance.set(before + amount);
}

pub(crate) fn broken() -> Explore<'static> {
    explore(|| async {
        let balance = Rc::new(Cell::new(0));
        let (first, second) = (pay_in(balance.clone(), 10), pay_in(balance.clone(), 5));
        let salary = task::Builder::new().name("salary").spawn(first);
        let interest = task::Builder::new().name("interest").spawn(async {
            yield_now().await; // looks up the rate
            second.await;
        });
        salary.await.unwrap();
        interest.await.unwrap();
        assert_eq!(balance.get(), 15, "a payment was lost");
    })
}

async fn pay_in_alone(balance: Rc<Lock<i32>>, amount: i32) {
    let mut balance = balance.lock().await;
    journal(amount).await;
    *balance += amount;
}

pub(crate) fn mended() -> Explore<'static> {
    explore(|| async {
        let balance = Rc::new(Lock::new(0));
        let (first, second) = (pay_in_alone(balance.clone(), 10), pay_in_alone(balance.clone(), 5));
        let salary = task::Builder::new().name("salary").spawn(first);
        let interest = task::Builder::new().name("interest").spawn(async {
            yield_now().await;
            second.await;
        });
        salary.await.unwrap();
        interest.await.unwrap();
        assert_eq!(*balance.lock().await, 15, "a payment was lost");
    })
}
