//! What holds from stage 13 on.

use super::lane::{TaskError, run, sleep, spawn, to_thread, try_run, virtual_clock};
use super::tests_06_time::{Log, ms};
use std::sync::mpsc::channel;
use std::task::{Poll, Waker};

#[test]
fn a_thread_works_for_a_task() {
    let log = Log::default();
    let copy = log.clone();
    virtual_clock();
    run(async move {
        let (go, wait) = channel();
        let call = spawn(to_thread(move || {
            wait.recv().unwrap();
            6 * 7
        }));
        copy.add("the loop runs on");
        go.send(()).unwrap();
        copy.add(format!("{:?}", call.await.unwrap()));
        let panicked = to_thread(|| {
            if true {
                panic!("oh")
            }
        })
        .await;
        copy.add(panicked == Err(TaskError::Panicked("oh".into())));
    });
    assert_eq!(log.take(), ["0 the loop runs on", "0 Ok(42)", "0 true"]);
}

/// The other thread wakes the task while it is being polled, so long before the loop goes to sleep.
#[test]
fn wake_2_a_wake_before_the_sleep_is_not_lost() {
    for _ in 0..100 {
        run(async {
            let mut first = true;
            std::future::poll_fn(move |cx| {
                if !std::mem::take(&mut first) {
                    return Poll::Ready(());
                }
                let waker = cx.waker().clone();
                std::thread::spawn(move || waker.wake()).join().unwrap();
                Poll::Pending
            })
            .await
        });
    }
}

/// The wakes of two loops do not mix.
#[test]
fn each_loop_has_its_inbox() {
    let (give, take) = channel::<Waker>();
    let other = std::thread::spawn(move || {
        let waker = take.recv().unwrap();
        // Tasks in the same slots as those of the first loop.
        run(async move {
            let polls = std::rc::Rc::new(std::cell::Cell::new(0));
            let count = polls.clone();
            spawn(std::future::poll_fn(move |_| {
                count.set(count.get() + 1);
                Poll::<()>::Pending
            }));
            sleep(ms(1)).await;
            waker.wake();
            sleep(ms(1)).await;
            polls.get()
        })
    });
    let woken = try_run(async move {
        let first = std::cell::Cell::new(true);
        let wait = std::future::poll_fn(move |cx| {
            if !first.take() {
                return Poll::Ready(());
            }
            give.send(cx.waker().clone()).unwrap();
            Poll::Pending
        });
        // A timer, so that the loop waits for the other thread.
        let patience = spawn(sleep(ms(10_000)));
        wait.await;
        patience.cancel()
    });
    assert_eq!(woken, Ok(true));
    assert_eq!(other.join().unwrap(), 1);
}
