//! The laws of wakes from other threads. In most cases the wake comes at a known moment. In the last one, forty thousand wakes come
//! at random moments.

use crate::common::{self, Random, expect, hangs_by};
use crate::kernel;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

fn begin(what: &str) {
    common::begin(what.into(), Vec::new());
    hangs_by("WAKE-2", format!("{what}: the loop sleeps, and nothing wakes it any more"));
}

/// The wake comes during the poll, so long before the sleep.
fn before_the_sleep(wakes: usize, with_timer: bool) {
    begin("a wake that comes while its task runs");
    let polls = Rc::new(Cell::new(0));
    let count = polls.clone();
    let begun = std::time::Instant::now();
    kernel::run(async move {
        // So that the loop has something to wait for. It is too long to be waited for.
        let patience = kernel::spawn(kernel::sleep(Duration::from_secs(if with_timer { 40 } else { 3_600 })));
        std::future::poll_fn(move |cx| {
            count.set(count.get() + 1);
            if count.get() > 1 {
                return Poll::Ready(());
            }
            let waker = cx.waker().clone();
            let work = move || (0..wakes).for_each(|_| waker.wake_by_ref());
            std::thread::spawn(work).join().unwrap();
            common::event(&[], "another thread has woken the task, before the loop sleeps".into());
            Poll::Pending
        })
        .await;
        patience.cancel();
    });
    common::event(&[], "the task has gone on".into());
    expect("READY-1", "the number of polls", polls.get(), 2);
    expect("WAKE-2", "whether the loop has waited for a timer", begun.elapsed() > Duration::from_secs(30), false);
}

/// The wake comes when the loop sleeps for certain, or nearly so.
fn during_the_sleep() {
    begin("a wake that comes while the loop sleeps");
    for _ in 0..3 {
        let value = kernel::run(async {
            kernel::to_thread(|| {
                std::thread::sleep(Duration::from_millis(20));
                common::event(&[], "the other thread is done".into());
                7
            })
            .await
        });
        expect("AWAIT-1", "the value of the call", value, Ok(7));
    }
}

/// The task and the other thread play ball, so that sooner or later a wake comes at every moment: also between the loop's last
/// look into its inbox and its sleep.
fn at_every_moment() {
    begin("a wake between the last look and the sleep");
    const ROUNDS: usize = 40_000;
    let shared: Arc<(AtomicUsize, AtomicUsize, Mutex<Option<Waker>>)> = Arc::default();
    let theirs = shared.clone();
    let player = std::thread::spawn(move || {
        let mut random = Random::new(1);
        for round in 1..=ROUNDS {
            while theirs.0.load(Ordering::Acquire) < round {
                std::hint::spin_loop();
            }
            for _ in 0..random.below(600) {
                std::hint::spin_loop();
            }
            theirs.1.store(round, Ordering::Release);
            let waker = theirs.2.lock().unwrap().take();
            waker.unwrap().wake();
        }
    });
    kernel::run(async move {
        let patience = kernel::spawn(kernel::sleep(Duration::from_secs(3_600)));
        for round in 1..=ROUNDS {
            std::future::poll_fn(|cx| {
                if shared.1.load(Ordering::Acquire) >= round {
                    return Poll::Ready(());
                }
                if shared.0.load(Ordering::Acquire) < round {
                    *shared.2.lock().unwrap() = Some(cx.waker().clone());
                    shared.0.store(round, Ordering::Release);
                }
                Poll::Pending
            })
            .await;
            if round % 100 == 0 {
                common::event(&[], format!("{round} wakes have arrived"));
            }
        }
        patience.cancel();
    });
    player.join().unwrap();
}

/// Many calls at the same time, and none is lost.
fn many() {
    begin("many threads");
    let sum = kernel::run(async {
        let calls: Vec<_> = (0..40u64).map(|nth| kernel::spawn(kernel::to_thread(move || nth))).collect();
        let mut sum = 0;
        for call in calls {
            sum += call.await.unwrap().unwrap();
            common::event(&[], format!("the sum is {sum}"));
        }
        sum
    });
    expect("AWAIT-1", "the sum", sum, 780);
}

/// A wake finds its own loop, although another loop has a task in the same row.
fn two_loops() {
    begin("two loops");
    let (give, take) = channel::<Waker>();
    let (started, ready) = channel();
    let other = std::thread::spawn(move || {
        kernel::run(async move {
            let polls = Rc::new(Cell::new(0));
            let count = polls.clone();
            _ = kernel::spawn(std::future::poll_fn(move |_| {
                count.set(count.get() + 1);
                Poll::<()>::Pending
            }));
            kernel::yield_now().await;
            started.send(()).unwrap();
            let waker = take.recv().unwrap();
            waker.wake();
            common::event(&[], "the second loop has woken a task of the first".into());
            kernel::sleep(Duration::from_millis(5)).await;
            polls.get()
        })
    });
    ready.recv().unwrap();
    kernel::run(async move {
        let patience = kernel::spawn(kernel::sleep(Duration::from_secs(3_600)));
        let mut first = true;
        std::future::poll_fn(move |cx| {
            if !std::mem::take(&mut first) {
                return Poll::Ready(());
            }
            give.send(cx.waker().clone()).unwrap();
            Poll::Pending
        })
        .await;
        patience.cancel();
    });
    expect("WAKE-3", "the number of polls of the other loop's task", other.join().unwrap(), 1);
}

/// A wake of a task that has ended, from another thread, and while the loop is over.
fn late() {
    begin("late wakes");
    let (give, take) = channel::<Waker>();
    let polls = Rc::new(Cell::new(0));
    let count = polls.clone();
    kernel::run(async move {
        let once = std::future::poll_fn(move |cx| {
            give.send(cx.waker().clone()).unwrap();
            Poll::Ready(())
        });
        kernel::spawn(once).await.unwrap();
        // It gets the row of the first one.
        _ = kernel::spawn(std::future::poll_fn(move |_| {
            count.set(count.get() + 1);
            Poll::<()>::Pending
        }));
        kernel::yield_now().await;
        let waker = take.recv().unwrap();
        std::thread::spawn(move || (0..3).for_each(|_| waker.wake_by_ref())).join().unwrap();
        kernel::yield_now().await;
        kernel::yield_now().await;
    });
    expect("WAKE-1", "the number of polls of the next tenant", polls.get(), 1);
}

pub fn check() {
    for wakes in [1, 3] {
        before_the_sleep(wakes, true);
        before_the_sleep(wakes, false);
    }
    late();
    during_the_sleep();
    two_loops();
    many();
    at_every_moment();
}
