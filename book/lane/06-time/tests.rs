//! What holds from stage 6 on.

use super::lane::{RunError, now, run, sleep, spawn, try_run, turn, virtual_clock, yield_now};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

pub const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// What happened, with the milliseconds at which it did.
#[derive(Clone, Default)]
pub struct Log(Rc<RefCell<Vec<String>>>);

impl Log {
    pub fn add(&self, text: impl std::fmt::Display) {
        self.0.borrow_mut().push(format!("{} {text}", now().as_millis()));
    }

    pub fn take(&self) -> Vec<String> {
        self.0.take()
    }
}

#[test]
fn four_sleeps_overlap() {
    let log = Log::default();
    let copy = log.clone();
    virtual_clock();
    run(async move {
        for i in 1..=4 {
            let log = copy.clone();
            spawn(async move {
                log.add(format!("{i} begins"));
                sleep(ms(2_000)).await;
                log.add(format!("{i} ends"));
            });
        }
        sleep(ms(2_001)).await;
    });
    let (begin, end) = ((1..=4).map(|i| format!("0 {i} begins")), (1..=4).map(|i| format!("2000 {i} ends")));
    assert_eq!(log.take(), begin.chain(end).collect::<Vec<_>>());
}

#[test]
fn time_3_deadlines_then_age() {
    let log = Log::default();
    let copy = log.clone();
    virtual_clock();
    run(async move {
        for (i, time) in [30, 10, 20, 10, 30].into_iter().enumerate() {
            let log = copy.clone();
            spawn(async move {
                sleep(ms(time)).await;
                log.add(i);
            });
        }
        sleep(ms(40)).await;
    });
    assert_eq!(log.take(), ["10 1", "10 3", "20 2", "30 0", "30 4"]);
}

/// The task of a timer steps in the turn after the one in which the timer fires.
#[test]
fn time_2_a_timer_fires_in_the_first_turn_that_has_reached_it() {
    let log = Log::default();
    let copy = log.clone();
    virtual_clock();
    spawn(async move {
        sleep(ms(5)).await;
        copy.add("woken");
    });
    assert!(turn());
    assert_eq!(now(), ms(0));
    assert!(turn());
    assert_eq!((now(), log.take()), (ms(5), vec![]));
    assert!(turn());
    assert_eq!(log.take(), ["5 woken"]);
    assert!(!turn());
}

#[test]
fn time_stands_still_while_anything_is_ready() {
    virtual_clock();
    run(async {
        spawn(sleep(ms(10)));
        for _ in 0..100 {
            yield_now().await;
        }
        assert_eq!(now(), ms(0));
        sleep(Duration::ZERO).await;
        assert_eq!(now(), ms(0));
    });
}

#[test]
fn a_sleep_that_was_dropped_moves_no_clock() {
    virtual_clock();
    let stuck = try_run(async {
        let mut long = Box::pin(sleep(ms(1_000)));
        std::future::poll_fn(|cx| {
            assert!(long.as_mut().poll(cx).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
        drop(long);
        std::future::pending::<()>().await;
    });
    assert_eq!((stuck, now()), (Err(RunError::Deadlock), ms(0)));
}

#[test]
fn a_real_clock_sleeps() {
    let before = std::time::Instant::now();
    run(async { sleep(ms(3)).await });
    assert!(before.elapsed() >= ms(3));
}
