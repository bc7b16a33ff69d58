//! Tasks that wait for each other in a circle while others continue, which debug mode reports, and
//! programs that only look similar.

use futures_util::future::{Either, select};
use onelane::sync::{Event, Lock};
use onelane::{Clock, DeadlockReport, EventLoop, Task, sleep, spawn, task, timeout};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// The names in each reported circle.
fn told_of(main: impl Future<Output = ()>) -> Vec<Vec<String>> {
    let told: Rc<RefCell<Vec<_>>> = Rc::default();
    let copy = told.clone();
    let hear = move |report: &DeadlockReport| {
        assert!(report.others_go_on && report.circles.len() == 1 && report.circles[0].len() == report.tasks.len());
        copy.borrow_mut().push(report.tasks.iter().map(|task| task.name.clone()).collect());
    };
    // On a slow machine a step may take long. Such a step must not be reported.
    let builder = EventLoop::builder().clock(Clock::Virtual).debug(true).slow_step(Duration::MAX);
    builder.deadlock_handler(hear).build().run(main);
    let told = told.borrow();
    told.clone()
}

/// The task that the first of two tasks in a circle awaits.
type Chair = Rc<RefCell<Option<Task<()>>>>;

/// Task `a` awaits `b` with the function `wait`, and `b` awaits `a`.
fn two<F: Future<Output = ()> + 'static>(wait: impl FnOnce(Task<()>) -> F + 'static) -> Rc<Task<()>> {
    let chair = Chair::default();
    let copy = chair.clone();
    let a = task::Builder::new().name("a").spawn(async move {
        let b = copy.take().unwrap();
        wait(b).await;
    });
    let a = Rc::new(a);
    let first = a.clone();
    let b = task::Builder::new().name("b").spawn(async move {
        let _ = (&*first).await;
    });
    chair.replace(Some(b));
    a
}

async fn end(task: Task<()>) {
    let _ = task.await;
}

#[test]
fn await_each_other_is_told_once() {
    let told = told_of(async {
        let _a = two(end);
        sleep(SECOND).await;
    });
    assert_eq!(told, [["a", "b"]]);
}

#[test]
fn await_what_a_holder_of_a_lock_awaits_is_told() {
    let told = told_of(async {
        let lock = Rc::new(Lock::new(()));
        task::Builder::new().name("holder").spawn(async move {
            let guard = lock.clone().lock_owned().await;
            drop(guard);
            let copy = lock.clone();
            let _guard = lock.lock().await;
            let waiter = task::Builder::new().name("waiter").spawn(async move { drop(copy.lock().await) });
            end(waiter).await;
        });
        sleep(SECOND).await;
    });
    assert_eq!(told, [["holder", "waiter"]]);
}

/// The time is up before the circle closes, but the callback of the timeout has not run yet.
#[test]
fn timeout_of_no_time_frees_a_circle() {
    let told = told_of(async {
        let a = two(async |b| drop(timeout(Duration::ZERO, b).await));
        sleep(SECOND).await;
        assert!(a.is_done());
    });
    assert_eq!(told, [[""; 0]; 0]);
}

#[test]
fn sleep_beside_an_await_of_a_member_frees_a_circle() {
    let told = told_of(async {
        let a = two(async |b| {
            sleep(SECOND / 2).await;
            end(b).await;
        });
        let awaits = async move {
            let _ = (&*a).await;
        };
        // After one second the await is dropped, which cancels the task.
        let other = spawn(async move { drop(select(Box::pin(awaits), sleep(SECOND)).await) });
        other.await.unwrap();
        sleep(SECOND).await;
        assert_eq!(onelane::all_tasks().len(), 1);
    });
    assert_eq!(told, [[""; 0]; 0]);
}

/// An endless sleep and an endless timeout do not end the circle.
#[test]
fn endless_sleeps_and_timeouts_free_nobody() {
    let told = told_of(async {
        let _a = two(async |b| drop(timeout(Duration::MAX, select(b.into_future(), sleep(Duration::MAX))).await));
        sleep(SECOND).await;
    });
    assert_eq!(told, [["a", "b"]]);
}

/// A future that holds the guard begins in one task and goes on in another task, which will release
/// the lock.
#[test]
fn lock_that_went_to_another_task_closes_no_circle() {
    for by_sleep in [false, true] {
        let told = told_of(async move {
            let (lock, go) = (Rc::new(Lock::new(())), Rc::new(Event::new()));
            let (copy, starter) = (lock.clone(), go.clone());
            let work = Box::pin(async move {
                let _guard = copy.lock().await;
                if by_sleep { sleep(5 * SECOND).await } else { go.wait().await }
            });
            let first = spawn(async move {
                let Either::Right((_, work)) = select(work, sleep(SECOND)).await else { unreachable!() };
                drop(spawn(work));
                // This task acquires the lock after the work is over, and the first holder of the
                // lock awaits it.
                spawn(async move { drop(lock.lock().await) }).await.unwrap();
            });
            sleep(3 * SECOND).await;
            starter.set();
            first.await.unwrap();
        });
        assert_eq!(told, [[""; 0]; 0], "{by_sleep}");
    }
}
