//! wait_for: twins of `test_waitfor.py`.

mod asyncio_wait_for_test {
    use crate::Cue;
    use crate::common::{ms, on_drop, virtual_loop};
    use onelane::{Elapsed, TaskError, call_soon, sleep, spawn, time, wait_for, yield_now};
    use std::cell::Cell;
    use std::future::pending;
    use std::rc::Rc;
    use std::time::Duration;

    /// A task that has ended, which is what a done future is.
    #[test]
    fn test_wait_for_timeout_less_then_0_or_0_future_done() {
        virtual_loop().run(async {
            let task = spawn(async { "done" });
            yield_now().await;
            assert!(task.is_done());
            assert_eq!(wait_for(&task, Duration::ZERO).await, Ok(Ok("done")));
            assert!(task.is_done() && !task.is_cancelled());
        });
    }

    #[test]
    fn test_wait_for_timeout_less_then_0_or_0_coroutine_do_not_started() {
        virtual_loop().run(async {
            let foo_started = Cell::new(false);
            let foo = async { foo_started.set(true) };
            assert_eq!(wait_for(foo, Duration::ZERO).await, Err(Elapsed));
            assert!(!foo_started.get());
        });
    }

    /// A task that is cancelled, and whether it was still running when the wait was over. It is waited for without an end at
    /// first, and then for `duration`.
    fn foo(started: bool, duration: Duration) {
        virtual_loop().run(async {
            let foo_running = Rc::new(Cell::new(None));
            let (copy, begun) = (foo_running.clone(), Cue::new());
            let cue = begun.clone();
            let task = spawn(async move {
                copy.set(Some(true));
                cue.set(());
                let _finally = on_drop(move || copy.set(Some(false)));
                sleep(Duration::from_secs(10)).await;
                "done"
            });
            if started {
                begun.wait().await;
            }
            let start = time();
            assert_eq!(wait_for(&task, duration).await, Err(Elapsed));
            assert_eq!(time() - start, duration);
            assert!(task.is_done() && task.is_cancelled());
            assert_eq!(foo_running.get(), Some(false));
        });
    }

    /// No `Duration` is less than zero.
    #[test]
    fn test_wait_for_timeout_less_then_0_or_0() {
        foo(true, Duration::ZERO);
    }

    #[test]
    fn test_wait_for() {
        foo(false, ms(100));
    }

    /// No limit is a duration that reaches beyond what the clock can count.
    #[test]
    fn test_wait_for_blocking() {
        virtual_loop().run(async {
            assert_eq!(wait_for(async { "done" }, Duration::MAX).await, Ok("done"));
        });
    }

    #[test]
    fn test_wait_for_race_condition() {
        virtual_loop().run(async {
            let fut = Cue::new();
            let waiting = wait_for(fut.wait(), ms(200));
            let copy = fut.clone();
            call_soon(move || copy.set("ok"));
            assert_eq!(waiting.await, Ok("ok"));
        });
    }

    /// Cancelling the wait cancels the task.
    fn cancel_wait_for(duration: Duration) {
        let event_loop = virtual_loop();
        let start = event_loop.time();
        event_loop.run(async {
            let task = Rc::new(spawn(pending::<()>()));
            let copy = task.clone();
            let wait = spawn(async move { wait_for(&*copy, duration).await });
            let wait_ref = wait.task_ref();
            call_soon(move || {
                wait_ref.cancel();
            });
            assert_eq!(wait.await, Err(TaskError::Cancelled));
            assert!(task.is_cancelled());
        });
        assert_eq!(event_loop.time(), start);
    }

    #[test]
    fn test_cancel_blocking_wait_for() {
        cancel_wait_for(Duration::MAX);
    }

    #[test]
    fn test_cancel_wait_for() {
        cancel_wait_for(Duration::from_secs(60));
    }

    /// A cancellation that comes with the end of what is awaited is not lost, and neither is the value.
    #[test]
    fn test_wait_for_issue86296() {
        virtual_loop().run(async {
            let inner = Rc::new(spawn(async { "done" }));
            let reached_end = Rc::new(Cell::new(false));
            let (copy, end) = (inner.clone(), reached_end.clone());
            let task = spawn(async move {
                wait_for(&*copy, Duration::from_secs(100)).await.unwrap().unwrap();
                sleep(ms(1000)).await;
                end.set(true);
            });
            assert!(!task.is_done());
            yield_now().await;
            assert!(task.cancel());
            assert_eq!(task.await, Err(TaskError::Cancelled));
            assert!(inner.is_done());
            assert_eq!((&*inner).await, Ok("done"));
            assert!(!reached_end.get());
        });
    }
}
