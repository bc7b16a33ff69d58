//! Runs payments in every order in which their tasks can be stepped.

use crate::common::{self, fail};
use crate::kernel::Account;
use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// A payment: its amount, how long the bank thinks, and what it says.
#[derive(Clone, Copy)]
struct Payment(i64, u32, bool);

const CASES: &[(i64, &[Payment])] = &[
    (100, &[Payment(100, 1, true)]),
    (100, &[Payment(101, 1, true)]),
    (100, &[Payment(60, 1, false)]),
    (100, &[Payment(60, 1, true), Payment(40, 1, true)]),
    (100, &[Payment(60, 1, true), Payment(60, 1, true)]),
    (100, &[Payment(60, 2, true), Payment(50, 1, true)]),
    (100, &[Payment(100, 1, false), Payment(100, 1, true)]),
    (100, &[Payment(30, 1, true), Payment(30, 2, true), Payment(40, 1, true)]),
    (100, &[Payment(70, 1, true), Payment(50, 1, false), Payment(40, 1, true)]),
    (90, &[Payment(50, 2, true), Payment(40, 1, true), Payment(10, 1, true)]),
    (7, &[Payment(5, 1, true), Payment(3, 0, true), Payment(2, 1, false)]),
];

async fn pause() {
    let mut first = true;
    std::future::poll_fn(|_| if std::mem::take(&mut first) { Poll::Pending } else { Poll::Ready(()) }).await;
}

/// Runs one order: `choices` are the tasks to step, as places among those that have not ended. Returns how many there were at
/// each choice.
fn run(balance: i64, payments: &[Payment], choices: &[usize]) -> Vec<usize> {
    common::event(&[], format!("a new order: {choices:?}"));
    let account = Rc::new(Account::new(balance));
    // What was paid; what is asked now; the payments that ran.
    let paid = Rc::new(Cell::new(0));
    let asked: Rc<RefCell<Vec<i64>>> = Rc::default();
    let mut tasks: Vec<(usize, Pin<Box<dyn Future<Output = bool>>>)> = Vec::new();
    for (nth, &Payment(amount, time, says)) in payments.iter().enumerate() {
        let (account, asked) = (account.clone(), asked.clone());
        tasks.push((
            nth,
            Box::pin(async move {
                let count = Rc::new(Cell::new(0));
                let (calls, pending) = (count.clone(), asked.clone());
                let done = account.pay(amount, async move || {
                    calls.set(calls.get() + 1);
                    pending.borrow_mut().push(amount);
                    common::event(&[], format!("payment {} of {amount} asks the bank", nth + 1));
                    for _ in 0..time {
                        pause().await;
                    }
                    common::event(&[], format!("the bank says {says} to payment {}", nth + 1));
                    let place = pending.borrow().iter().position(|other| *other == amount).unwrap();
                    pending.borrow_mut().remove(place);
                    says
                });
                let done = done.await;
                if done && (count.get() != 1 || !says) {
                    fail("RACE-1", format!("payment {} is done, and the bank has not agreed", nth + 1));
                }
                // Money that is being asked for may be counted as spent.
                let free = account.balance().min(account.balance() - asked.borrow().iter().sum::<i64>());
                let is_refused_by_bank = count.get() == 1 && !says;
                if !done && !is_refused_by_bank && free >= amount {
                    fail("RACE-1", format!("payment {} of {amount} is refused, and {free} is there", nth + 1));
                }
                done
            }),
        ));
    }
    let mut counts = Vec::new();
    while !tasks.is_empty() {
        let place = choices.get(counts.len()).copied().unwrap_or(0);
        counts.push(tasks.len());
        if counts.len() > 100 {
            fail("LIVE", "a hundred steps, and the payments have not ended".into());
        }
        let (nth, mut task) = tasks.remove(place);
        let amount = payments[nth].0;
        match task.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => tasks.insert(place, (nth, task)),
            Poll::Ready(done) => {
                paid.set(paid.get() + if done { amount } else { 0 });
                let text = if done { "done" } else { "refused" };
                common::event(
                    &[],
                    format!("payment {} of {amount} is {text}; the balance is {}", nth + 1, account.balance()),
                );
            }
        }
        if account.balance() < 0 {
            fail("RACE-1", format!("the account is overdrawn: {}", account.balance()));
        }
    }
    let rest = balance - paid.get();
    if account.balance() != rest {
        fail("RACE-1", format!("{} was paid out of {balance}, and {} is left", paid.get(), account.balance()));
    }
    counts
}

pub fn check() {
    for (balance, payments) in CASES {
        let lines = payments.iter().zip(1..).map(|(payment, nth)| {
            let steps = common::count(payment.1 as usize, "step");
            format!("payment {nth}: {}, the bank thinks for {steps} and says {}", payment.0, payment.2)
        });
        let all: Vec<_> = lines.collect();
        common::begin(format!("an account with {balance}"), all.clone());
        let mut choices: Vec<usize> = Vec::new();
        loop {
            common::begin(format!("an account with {balance}"), all.clone());
            let counts = run(*balance, payments, &choices);
            choices.resize(counts.len(), 0);
            // The next order: the last choice that has an alternative takes it.
            let Some(last) = (0..counts.len()).rev().find(|&nth| choices[nth] + 1 < counts[nth]) else { break };
            choices.truncate(last + 1);
            choices[last] += 1;
        }
    }
}
