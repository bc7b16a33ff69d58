//! What holds from the second half of stage 4 on.

use super::lane::{run, spawn, yield_now};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Poll, Waker};

/// The second task gets the row of the first. The first one's waker must not step it.
#[test]
fn an_old_waker_does_not_wake_the_next_tenant() {
    let (kept, polls) = (Rc::new(RefCell::new(None::<Waker>)), Rc::new(Cell::new(0)));
    let (keep, count) = (kept.clone(), polls.clone());
    run(async move {
        let theirs = keep.clone();
        spawn(std::future::poll_fn(move |cx| {
            *theirs.borrow_mut() = Some(cx.waker().clone());
            Poll::Ready(())
        }));
        yield_now().await;
        spawn(std::future::poll_fn(move |_| {
            count.set(count.get() + 1);
            Poll::<()>::Pending
        }));
        yield_now().await;
        keep.borrow().as_ref().unwrap().wake_by_ref();
        yield_now().await;
        yield_now().await;
    });
    assert_eq!(polls.get(), 1);
    // The loop is over. The waker does nothing, for ever.
    kept.take().unwrap().wake();
}

#[test]
fn wakers_of_one_task_are_equal() {
    run(async {
        std::future::poll_fn(|cx| {
            assert!(cx.waker().will_wake(&cx.waker().clone()));
            Poll::Ready(())
        })
        .await;
    });
}
