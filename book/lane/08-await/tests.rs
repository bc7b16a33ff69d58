//! What holds from stage 8 on.

use super::lane::{Gather, Task, TaskError, gather, run, sleep, spawn, turn, virtual_clock, wait, yield_now};
use super::tests_06_time::{Log, ms};
use std::cell::RefCell;
use std::rc::Rc;

fn logged(body: impl AsyncFnOnce(Log) + 'static) -> Vec<String> {
    let log = Log::default();
    let copy = log.clone();
    virtual_clock();
    run(async move { body(copy).await });
    log.take()
}

async fn nap(log: Log, i: u64, time: u64) -> u64 {
    log.add(format!("{i} begins"));
    sleep(ms(time)).await;
    log.add(format!("{i} ends"));
    i * 10
}

#[test]
fn an_await_returns_the_outcome() {
    let lines = logged(async |log| {
        let task = spawn(nap(log.clone(), 1, 5));
        log.add(format!("{:?}", task.clone().await));
        // It has ended, so this does not pause.
        let other = spawn(nap(log.clone(), 2, 5));
        log.add(format!("{:?}", task.await));
        log.add(format!("{:?}", other.await));
    });
    assert_eq!(lines, ["0 1 begins", "5 1 ends", "5 Ok(10)", "5 Ok(10)", "5 2 begins", "10 2 ends", "10 Ok(20)"]);
}

/// Those who wait are notified in the order of registration: a task steps, a callback is called, in one queue.
#[test]
fn awaits_and_callbacks_keep_their_order() {
    let lines = logged(async |log| {
        let task = spawn(sleep(ms(1)));
        for i in 0..4 {
            let (task, log) = (task.clone(), log.clone());
            if i % 2 == 0 {
                spawn(async move {
                    task.await.unwrap();
                    log.add(format!("await {i}"));
                });
                // The task begins to wait.
                yield_now().await;
            } else {
                task.add_done_callback(move |_| log.add(format!("callback {i}")));
            }
        }
        task.await.unwrap();
        log.add("main");
    });
    assert_eq!(lines, ["1 await 0", "1 callback 1", "1 await 2", "1 callback 3", "1 main"]);
}

#[test]
fn gather_keeps_the_order_of_its_arguments() {
    let lines = logged(async |log| {
        let items = [3, 1, 2].map(|i| nap(log.clone(), i, i));
        let values = gather(items).await;
        log.add(format!("{values:?}"));
        let empty: Vec<Task<u64>> = Vec::new();
        log.add(format!("{:?}", gather(empty).await));
    });
    let ends = ["1 1 ends", "2 2 ends", "3 3 ends", "3 Ok([30, 10, 20])", "3 Ok([])"];
    assert_eq!(lines, [&["0 3 begins", "0 1 begins", "0 2 begins"][..], &ends].concat());
}

#[test]
fn gather_stops_at_the_first_error() {
    let lines = logged(async |log| {
        let bad = spawn(async {
            sleep(ms(1)).await;
            if true { panic!("bad") } else { 0 }
        });
        let long = spawn(nap(log.clone(), 7, 5));
        log.add(format!("{:?}", gather([long.clone(), bad.clone()]).await));
        log.add(format!("{:?}", Gather::new([long, bad], |_| false).await));
    });
    let panicked = format!("{:?}", TaskError::Panicked("bad".into()));
    let (first, all) = (format!("1 Err({panicked})"), format!("5 Ok([Ok(70), Err({panicked})])"));
    assert_eq!(lines, ["0 7 begins", &first, "5 7 ends", &all]);
}

/// A direct await goes on one turn earlier than a gather, which waits for its callbacks.
#[test]
fn gather_takes_a_turn_more_than_an_await() {
    let turns = |through_gather: bool| {
        virtual_clock();
        let over = Rc::new(RefCell::new(false));
        let flag = over.clone();
        let task = spawn(yield_now());
        spawn(async move {
            if through_gather {
                _ = gather([task]).await;
            } else {
                _ = task.await;
            }
            *flag.borrow_mut() = true;
        });
        (1..).find(|_| turn() && *over.borrow()).unwrap()
    };
    assert_eq!((turns(false), turns(true)), (3, 4));
}

#[test]
fn wait_returns_done_and_pending() {
    let lines = logged(async |log| {
        let tasks = || {
            let nap = async |time| {
                sleep(ms(time)).await;
                time
            };
            (1..5).map(|time| spawn(nap(time))).collect::<Vec<_>>()
        };
        let show = |(done, pending): (Vec<Task<u64>>, Vec<Task<u64>>)| {
            let values: Vec<_> = done.iter().map(|task| task.result().unwrap().unwrap()).collect();
            log.add(format!("{values:?}, {} pending", pending.len()));
        };
        // The timer of task 2 is older than that of the wait, so the task ends before the wait goes on.
        let started = tasks();
        yield_now().await;
        show(wait(started).timeout(ms(2)).await);
        show(wait(tasks()).until(|_| true).await);
        show(wait(tasks()).await);
    });
    assert_eq!(lines, ["2 [1, 2], 2 pending", "3 [1], 3 pending", "7 [1, 2, 3, 4], 0 pending"]);
}
