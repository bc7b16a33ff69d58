//! A future by hand: it keeps a waker, and the task that rings wakes it.

use onelane::{spawn, yield_now};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

#[derive(Default)]
struct Bell {
    has_rung: Cell<bool>,
    waiter: RefCell<Option<Waker>>,
}

impl Bell {
    fn ring(&self) {
        self.has_rung.set(true);
        if let Some(waker) = self.waiter.take() {
            waker.wake();
        }
    }

    async fn wait(&self) {
        poll_fn(|cx| {
            if self.has_rung.get() {
                return Poll::Ready(());
            }
            *self.waiter.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

pub async fn main() {
    let bell = Rc::new(Bell::default());
    let theirs = bell.clone();
    let waiter = spawn(async move {
        println!("the waiter waits");
        theirs.wait().await;
        println!("the waiter has heard it");
    });
    for n in 1..4 {
        println!("main is busy, {n}");
        yield_now().await;
    }
    bell.ring();
    println!("main has rung");
    waiter.await.unwrap();
}
