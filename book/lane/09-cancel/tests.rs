//! What holds from stage 9 on.

use super::lane::{TaskError, finally, gather, run, sleep, spawn, virtual_clock, wait, yield_now};
use super::tests_06_time::{Log, ms};

fn logged(body: impl AsyncFnOnce(Log) + 'static) -> Vec<String> {
    let log = Log::default();
    let copy = log.clone();
    virtual_clock();
    run(async move { body(copy).await });
    log.take()
}

/// Says when it is dropped.
struct Guard(Log, &'static str);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.add(format!("{} dropped", self.1));
    }
}

#[test]
fn a_cancelled_task_is_dropped_at_its_next_step() {
    let lines = logged(async |log| {
        let copy = log.clone();
        let task = spawn(async move {
            let _guard = Guard(copy.clone(), "sleeper");
            sleep(ms(10)).await;
            copy.add("never");
        });
        yield_now().await;
        log.add(format!("cancel: {}", task.cancel()));
        log.add(format!("{:?}", task.clone().await));
        log.add(format!("again: {}", task.cancel()));
    });
    assert_eq!(lines, ["0 cancel: true", "0 sleeper dropped", "0 Err(Cancelled)", "0 again: false"]);
}

#[test]
fn a_task_that_has_not_begun_never_runs() {
    let lines = logged(async |log| {
        let copy = log.clone();
        let task = spawn(async move { copy.add("never") });
        task.cancel();
        log.add(format!("{:?}", task.await));
    });
    assert_eq!(lines, ["0 Err(Cancelled)"]);
}

/// The child ends before its parent is dropped.
#[test]
fn a_cancellation_goes_down_first() {
    for through_gather in [false, true] {
        let lines = logged(async move |log| {
            let copy = log.clone();
            let child = spawn(async move {
                let _guard = Guard(copy, "child");
                sleep(ms(10)).await;
            });
            let (copy, theirs) = (log.clone(), child.clone());
            let parent = spawn(async move {
                let _guard = Guard(copy, "parent");
                if through_gather {
                    _ = gather([theirs]).await;
                } else {
                    _ = theirs.await;
                }
            });
            yield_now().await;
            parent.cancel();
            log.add(format!("{:?}", parent.await));
            log.add(format!("{:?}", child.result()));
        });
        assert_eq!(lines, ["0 child dropped", "0 parent dropped", "0 Err(Cancelled)", "0 Some(Err(Cancelled))"]);
    }
}

/// `wait` protects the tasks that it waits for.
#[test]
fn a_wait_passes_nothing_on() {
    let lines = logged(async |log| {
        let child = spawn(async {
            sleep(ms(5)).await;
            1
        });
        let theirs = child.clone();
        let parent = spawn(async move {
            wait(vec![theirs]).await;
        });
        yield_now().await;
        parent.cancel();
        log.add(format!("{:?}", parent.await));
        log.add(format!("{:?}", child.await));
    });
    assert_eq!(lines, ["0 Err(Cancelled)", "5 Ok(1)"]);
}

#[test]
fn a_circle_of_awaits_ends() {
    let lines = logged(async |log| {
        let other = std::rc::Rc::new(std::cell::RefCell::new(None));
        let its = other.clone();
        let a = spawn(async move {
            let b: super::lane::Task<()> = its.take().unwrap();
            _ = b.await;
        });
        let theirs = a.clone();
        let b = spawn(async move { _ = theirs.await });
        *other.borrow_mut() = Some(b.clone());
        yield_now().await;
        a.cancel();
        log.add(format!("{:?} {:?}", a.await, b.await));
    });
    assert_eq!(lines, ["0 Err(Cancelled) Err(Cancelled)"]);
}

/// The body stops at once. Its cleanups await, the innermost first; then the task has ended.
#[test]
fn a_cleanup_may_await() {
    let lines = logged(async |log| {
        let (body, inner, outer) = (log.clone(), log.clone(), log.clone());
        let task = spawn(async move {
            let inner = finally(
                async move {
                    let _guard = Guard(body, "body");
                    sleep(ms(10)).await;
                },
                async move {
                    sleep(ms(3)).await;
                    inner.add("inner cleanup");
                },
            );
            finally(inner, async move {
                sleep(ms(2)).await;
                outer.add("outer cleanup");
            })
            .await;
        });
        yield_now().await;
        task.cancel();
        log.add(format!("{:?}", task.await));
        let log_of_cleanup = log.clone();
        // Without a cancellation it runs too.
        log.add(finally(async { "value" }, async move { log_of_cleanup.add("cleanup") }).await);
    });
    let ends = ["3 inner cleanup", "5 outer cleanup", "5 Err(Cancelled)", "5 cleanup", "5 value"];
    assert_eq!(lines, [&["0 body dropped"][..], &ends].concat());
}

/// When `run` returns, every task has ended.
#[test]
fn end_1_run_cancels_what_is_left() {
    let lines = logged(async |log| {
        let (body, cleanup) = (log.clone(), log.clone());
        let task = spawn(finally(
            async move {
                let _guard = Guard(body, "left over");
                sleep(ms(10)).await;
            },
            async move {
                sleep(ms(2)).await;
                cleanup.add("cleaned up");
            },
        ));
        let copy = log.clone();
        task.add_done_callback(move |task| {
            let outcome = task.result().unwrap();
            assert_eq!(outcome, Err(TaskError::Cancelled));
            copy.add("callback");
        });
        yield_now().await;
        log.add("main ends");
    });
    assert_eq!(lines, ["0 main ends", "0 left over dropped", "2 cleaned up", "2 callback"]);
}
