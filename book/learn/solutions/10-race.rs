//! Chapter 10: an account, and payments that ask the bank. All tasks run on one thread, and still money can get lost.
//!
//! A payment is refused if there is not enough money, or if the bank says no. The account is never overdrawn.

use std::cell::Cell;

pub struct Account {
    balance: Cell<i64>,
}

impl Account {
    pub fn new(balance: i64) -> Self {
        Account { balance: Cell::new(balance) }
    }

    pub fn balance(&self) -> i64 {
        self.balance.get()
    }

    /// Pays, if there is enough money and the bank agrees. While the bank is asked, other tasks run.
    pub async fn pay(&self, amount: i64, bank: impl AsyncFnOnce() -> bool) -> bool {
        if self.balance.get() < amount {
            return false;
        }
        // The money is taken before the await, so that no other task counts on it.
        self.balance.set(self.balance.get() - amount);
        let agrees = bank().await;
        if !agrees {
            self.balance.set(self.balance.get() + amount);
        }
        agrees
    }
}
