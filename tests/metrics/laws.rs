//! The counters of a loop: their laws hold whenever they are read, and counting changes nothing
//! else.

use crate::common::{check_metrics as check, on_drop};
use onelane::{
    Clock, EventLoop, Promise, RunError, call_later, catch_cancel, current_task, finally, metrics, sleep, spawn,
    yield_now,
};
use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

fn counting_loop() -> EventLoop {
    EventLoop::builder().clock(Clock::Virtual).metrics(true).build()
}

fn ms(number: u64) -> Duration {
    Duration::from_millis(number)
}

/// Checks the laws when it is dropped.
fn look() -> impl Sized {
    on_drop(|| check(&metrics()))
}

/// Tasks that end in each possible way, and check the laws wherever their code runs.
async fn busy() {
    let cleans_up = spawn(finally(
        async {
            let _look = look();
            sleep(ms(50)).await;
        },
        async {
            check(&metrics());
            yield_now().await;
            check(&metrics());
            sleep(ms(1)).await;
        },
    ));
    let catches = spawn(async {
        let _ = catch_cancel(sleep(ms(60))).await;
        check(&metrics());
        yield_now().await;
    });
    let panics = spawn(async {
        let _look = look();
        yield_now().await;
        panic!("caught")
    });
    // This task is woken in its last step, and again by a destructor when its future is dropped.
    let outruns = spawn({
        let mut guards = Vec::new();
        poll_fn(move |context| {
            let waker = context.waker().clone();
            context.waker().wake_by_ref();
            check(&metrics());
            context.waker().wake_by_ref();
            check(&metrics());
            guards.push(on_drop(move || {
                waker.wake();
                check(&metrics());
            }));
            Poll::Ready(())
        })
    });
    // This task is cancelled in its own step, and then yields.
    let suspends = spawn(async {
        current_task().unwrap().cancel();
        check(&metrics());
        let _look = look();
        yield_now().await;
    });
    // `outer` waits for another task, which is cancelled with it. So `outer` ends one step after
    // this cancellation.
    let inner = spawn(async {
        let _look = look();
        sleep(ms(70)).await;
    });
    let outer = spawn(inner.into_future());
    call_later(ms(1), || check(&metrics()));
    sleep(ms(2)).await;
    cleans_up.cancel();
    catches.cancel();
    outer.cancel();
    check(&metrics());
    assert!(panics.await.is_err() && outruns.await.is_ok() && suspends.await.is_err());
    assert!(outer.await.is_err() && cleans_up.await.is_err() && catches.await.is_ok());
}

#[test]
fn obey_the_laws_wherever_one_looks() {
    let event_loop = counting_loop();
    let main = event_loop.spawn(busy());
    let mut turns = 0;
    while !main.is_done() {
        event_loop.turn();
        turns += 1;
        let now = event_loop.metrics();
        check(&now);
        assert_eq!(now.turns, turns);
    }
    drop(main.result().unwrap());
    // Some tasks are left, and end with the loop.
    event_loop.spawn(async {
        let _look = look();
        sleep(ms(5)).await;
    });
    event_loop.turn();
    check(&event_loop.metrics());
}

/// The remaining timers are cancelled.
#[test]
fn obey_the_laws_as_the_loop_is_dropped() {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let event_loop = counting_loop();
    for deadline in [0, 5] {
        let copy = seen.clone();
        let look = on_drop(move || copy.borrow_mut().push(metrics()));
        event_loop.call_later(ms(deadline), move || drop(look));
    }
    drop(event_loop);
    let seen = seen.take();
    seen.iter().for_each(check);
    let numbers = seen.iter().map(|now| (now.timers_armed, now.timers_cancelled, now.timers_pending));
    assert_eq!(numbers.collect::<Vec<_>>(), [(2, 2, 0); 2]);
}

/// A late wake counts once, even if the loop itself causes it.
#[test]
fn count_a_late_wake_once() {
    let event_loop = counting_loop();
    // Outlives the task that created it.
    let kept = Rc::new(RefCell::new(None));
    let copy = kept.clone();
    event_loop.run(async {
        let slow = spawn(sleep(ms(5)));
        let mut join = Box::pin(slow.into_future());
        let forgetful = spawn(async move {
            poll_fn(|context| {
                assert!(join.as_mut().poll(context).is_pending());
                Poll::Ready(())
            })
            .await;
            *copy.borrow_mut() = Some(join);
        });
        forgetful.await.unwrap();
        sleep(ms(10)).await;
    });
    assert_eq!(event_loop.metrics().wakes_late, 1);
}

/// Only the loop of the woken task counts a wake.
#[test]
fn count_the_wakes_of_others_nowhere_else() {
    let (here, there) = (counting_loop(), counting_loop());
    let promise = Promise::new();
    let awaited = here.spawn(yield_now());
    let mut join = Box::pin(awaited.into_future());
    let copy = promise.clone();
    // Awaited by hand, with the waker of a task of the other loop.
    there.spawn(async move {
        let waker = poll_fn(|context| Poll::Ready(context.waker().clone())).await;
        copy.set_result(waker).unwrap();
        std::future::pending::<()>().await;
    });
    there.turn();
    let waker = promise.result().unwrap().clone();
    assert!(join.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
    for _ in 0..3 {
        here.turn();
    }
    assert!(join.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_ready());
    there.turn();
    let (here, there) = (here.metrics(), there.metrics());
    assert_eq!([here.wakes_queued, here.wakes_late, there.wakes_queued, there.wakes_late], [1, 0, 1, 0]);
}

/// On a real clock a loop that counts waits for ever, as a loop that does not, for example for
/// Ctrl-C. Only debug mode reports a deadlock.
#[test]
fn count_and_wait_for_ever() {
    let ends = |debug| {
        std::thread::spawn(move || {
            let event_loop = EventLoop::builder().metrics(true).debug(debug).build();
            matches!(event_loop.try_run(Promise::<()>::new()), Err(RunError::Deadlock(_)))
        })
    };
    let (waits, gives_up) = (ends(false), ends(true));
    assert!(gives_up.join().unwrap());
    std::thread::sleep(ms(50));
    // This thread never ends, and is stopped with the process.
    assert!(!waits.is_finished(), "a deadlock was reported");
}

/// The place at which the longest step has ended is also reported for sleeps.
#[test]
fn tell_the_sleep_at_which_the_longest_step_has_ended() {
    let event_loop = EventLoop::builder().clock(Clock::Virtual).debug(true).slow_step(Duration::from_secs(60)).build();
    let line = line!() + 4;
    event_loop.run(async {
        spawn(async {
            std::thread::sleep(ms(20));
            sleep(ms(1)).await;
        })
        .await
        .unwrap();
    });
    assert_eq!(event_loop.metrics().longest_step.unwrap().at.line(), line);
}
