//! What holds from stage 4 on.

use super::lane::{run, spawn, yield_now};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Poll, Waker};

/// A flag for which one task can wait.
#[derive(Clone, Default)]
pub struct Signal(Rc<(Cell<bool>, RefCell<Option<Waker>>)>);

impl Signal {
    pub fn set(&self) {
        self.0.0.set(true);
        if let Some(waker) = self.0.1.take() {
            waker.wake();
        }
    }

    pub async fn wait(&self) {
        std::future::poll_fn(|cx| {
            *self.0.1.borrow_mut() = Some(cx.waker().clone());
            if self.0.0.get() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await
    }
}

#[test]
fn a_task_that_waits_is_polled_twice() {
    let polls = Rc::new(Cell::new(0));
    let count = polls.clone();
    run(async move {
        let (signal, done) = (Signal::default(), Signal::default());
        let (theirs, reached) = (signal.clone(), done.clone());
        spawn(async move {
            let mut wait = Box::pin(theirs.wait());
            std::future::poll_fn(|cx| {
                count.set(count.get() + 1);
                wait.as_mut().poll(cx)
            })
            .await;
            reached.set();
        });
        for _ in 0..1_000 {
            yield_now().await;
        }
        signal.set();
        done.wait().await;
    });
    assert_eq!(polls.get(), 2);
}

#[test]
fn tasks_run_in_the_order_of_their_wakes() {
    let log = Rc::new(RefCell::new(Vec::new()));
    let copy = log.clone();
    run(async move {
        let signals: [Signal; 3] = Default::default();
        for (n, signal) in signals.iter().cloned().enumerate() {
            let log = copy.clone();
            spawn(async move {
                signal.wait().await;
                log.borrow_mut().push(n);
            });
        }
        yield_now().await;
        for n in [2, 0, 1] {
            signals[n].set();
        }
        yield_now().await;
    });
    assert_eq!(*log.borrow(), [2, 0, 1]);
}

#[test]
#[should_panic = "deadlock"]
fn a_deadlock_is_seen() {
    run(async { Signal::default().wait().await });
}

#[test]
fn a_wake_of_a_task_that_has_ended_does_nothing() {
    let kept = Rc::new(RefCell::new(None));
    let copy = kept.clone();
    run(async move {
        let keep = copy.clone();
        spawn(async move {
            std::future::poll_fn(move |cx| {
                *keep.borrow_mut() = Some(cx.waker().clone());
                Poll::Ready(())
            })
            .await;
        });
        yield_now().await;
        copy.take().unwrap().wake();
        yield_now().await;
    });
    assert!(kept.borrow().is_none());
}
