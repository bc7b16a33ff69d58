//! A hand-written semaphore that hands its permit to the next waiter. If that waiter is cancelled before
//! it runs, the permit is lost.

use onelane::explore::Explore;
use onelane::{explore, task, yield_now};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

#[derive(Default)]
struct Waiter {
    has_permit: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

#[derive(Default)]
struct Semaphore {
    permits: Cell<u32>,
    waiters: RefCell<VecDeque<Rc<Waiter>>>,
}

impl Semaphore {
    async fn acquire(&self) {
        if self.permits.get() > 0 {
            return self.permits.set(self.permits.get() - 1);
        }
        let waiter = Rc::new(Waiter::default());
        self.waiters.borrow_mut().push_back(waiter.clone());
        poll_fn(|context| {
            if waiter.has_permit.get() {
                return Poll::Ready(());
            }
            waiter.waker.replace(Some(context.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    /// Like `acquire`, but gives the permit back if the waiter is dropped with it.
    async fn acquire_carefully(&self) {
        struct Waits<'a>(&'a Semaphore, Rc<Waiter>);
        impl Drop for Waits<'_> {
            fn drop(&mut self) {
                self.0.waiters.borrow_mut().retain(|waiter| !Rc::ptr_eq(waiter, &self.1));
                if self.1.has_permit.take() {
                    self.0.release();
                }
            }
        }
        if self.permits.get() > 0 {
            return self.permits.set(self.permits.get() - 1);
        }
        let waits = Waits(self, Rc::new(Waiter::default()));
        self.waiters.borrow_mut().push_back(waits.1.clone());
        poll_fn(|context| {
            if waits.1.has_permit.take() {
                return Poll::Ready(());
            }
            waits.1.waker.replace(Some(context.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    fn release(&self) {
        let next = self.waiters.borrow_mut().pop_front();
        let Some(next) = next else { return self.permits.set(self.permits.get() + 1) };
        next.has_permit.set(true);
        if let Some(waker) = next.waker.take() {
            waker.wake();
        }
    }
}

/// Gives the permit back, however the work ends.
struct Permit<'a>(&'a Semaphore);

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.release();
    }
}

fn two_workers(is_careful: bool) -> Explore<'static> {
    explore(move || async move {
        let semaphore = Rc::new(Semaphore { permits: Cell::new(1), ..Semaphore::default() });
        let workers = ["one", "other"].map(|name| {
            let semaphore = semaphore.clone();
            task::Builder::new().name(name).spawn(async move {
                if is_careful {
                    semaphore.acquire_carefully().await;
                } else {
                    semaphore.acquire().await;
                }
                let _permit = Permit(&semaphore);
                yield_now().await; // works
            })
        });
        for worker in workers {
            _ = worker.await; // it may be cancelled
        }
        assert_eq!(semaphore.permits.get(), 1, "the permit was lost");
    })
    .cancellations(2)
}

pub(crate) fn broken() -> Explore<'static> {
    two_workers(false)
}

pub(crate) fn mended() -> Explore<'static> {
    two_workers(true)
}
