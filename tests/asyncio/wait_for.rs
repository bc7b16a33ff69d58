//! wait_for: twins of `test_waitfor.py`.

mod asyncio_wait_for_test {
    use crate::Cue;
    use crate::common::{ms, on_drop, telling_loop, virtual_loop};
    use onelane::{
        Cancelled, Elapsed, Task, TaskError, call_soon, catch_cancel, finally, sleep, sleep_until, spawn, time, wait,
        wait_for, yield_now,
    };
    use std::cell::Cell;
    use std::future::pending;
    use std::rc::Rc;
    use std::time::Duration;

    /// A task that has ended stands for a done future.
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

    /// Waits for a task for `duration`. The task must be cancelled and must have ended when the
    /// wait is over. If `started` is set, the task runs before the wait begins.
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

    /// A `Duration` is never negative.
    #[test]
    fn test_wait_for_timeout_less_then_0_or_0() {
        foo(true, Duration::ZERO);
    }

    #[test]
    fn test_wait_for() {
        foo(false, ms(100));
    }

    /// The maximum duration, which the clock cannot count, stands for no limit.
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

    /// A cancellation arrives together with the end of the awaited task. Neither the cancellation
    /// nor the value is lost.
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

    const TASK_TIMEOUT: Duration = Duration::from_millis(200);
    /// A time that is up soon, and is not zero.
    const EPSILON: Duration = Duration::from_micros(100);

    /// Runs for its full time, and catches each cancellation.
    async fn slow_task(exited: Rc<Cell<bool>>) {
        let exit_at = time() + TASK_TIMEOUT;
        while time() < exit_at {
            let _ = catch_cancel(sleep_until(exit_at)).await;
        }
        exited.set(true);
    }

    #[test]
    fn test_asyncio_wait_for_cancelled() {
        virtual_loop().run(async {
            let exited = Rc::new(Cell::new(false));
            let task = spawn(wait_for(slow_task(exited.clone()), TASK_TIMEOUT * 2));
            yield_now().await;
            let start = time();
            assert!(task.cancel());
            wait([&task]).await;
            assert!(exited.get());
            assert_eq!((time() - start, task.cancelling()), (TASK_TIMEOUT, 1));
        });
    }

    #[test]
    fn test_asyncio_wait_for_timeout() {
        virtual_loop().run(async {
            let (exited, start) = (Rc::new(Cell::new(false)), time());
            assert_eq!(wait_for(slow_task(exited.clone()), TASK_TIMEOUT / 2).await, Ok(()));
            assert!(exited.get());
            assert_eq!(time() - start, TASK_TIMEOUT);
        });
    }

    #[test]
    fn test_wait_for_cancellation_race_condition() {
        virtual_loop().run(async {
            let inner = || async {
                assert_eq!(catch_cancel(sleep(ms(1000))).await, Err(Cancelled));
                1
            };
            let start = time();
            assert_eq!(wait_for(inner(), ms(10)).await, Ok(1));
            assert_eq!(time() - start, ms(10));
            assert_eq!(wait_for(spawn(inner()), ms(10)).await, Ok(Ok(1)));
            assert_eq!(time() - start, ms(20));
        });
    }

    /// A task whose cleanup takes a moment, and which is done after it.
    fn slow_to_clean_up(task_done: &Rc<Cell<bool>>) -> Task<()> {
        let done = task_done.clone();
        spawn(async move {
            let _done = on_drop(move || done.set(true));
            finally(sleep(ms(10_000)), async { sleep(EPSILON).await }).await;
        })
    }

    #[test]
    fn test_wait_for_waits_for_task_cancellation() {
        virtual_loop().run(async {
            let (task_done, start) = (Rc::new(Cell::new(false)), time());
            let inner_task = slow_to_clean_up(&task_done);
            assert_eq!(wait_for(&inner_task, EPSILON).await, Err(Elapsed));
            assert!(task_done.get() && inner_task.is_cancelled());
            assert_eq!(time() - start, 2 * EPSILON);
        });
    }

    #[test]
    fn test_wait_for_waits_for_task_cancellation_w_timeout_0() {
        virtual_loop().run(async {
            let (task_done, start) = (Rc::new(Cell::new(false)), time());
            let inner_task = slow_to_clean_up(&task_done);
            sleep(EPSILON).await;
            assert_eq!(wait_for(&inner_task, Duration::ZERO).await, Err(Elapsed));
            assert!(task_done.get() && inner_task.is_cancelled());
            assert_eq!(time() - start, 2 * EPSILON);
        });
    }

    /// A cleanup that panics in an awaited future ends the wait with its panic. In a task, the
    /// panic is the outcome of the task.
    #[test]
    fn test_wait_for_reraises_exception_during_cancellation() {
        let (event_loop, told) = telling_loop();
        let inner = || finally(sleep(ms(200)), async { panic!("foo") });
        event_loop.run(async {
            let in_place = spawn(wait_for(inner(), EPSILON));
            let Err(TaskError::Panicked(panic)) = in_place.await else { panic!("it was not raised") };
            assert_eq!(panic.message(), "foo");

            for limit in [EPSILON, Duration::ZERO] {
                let inner_task = spawn(inner());
                yield_now().await;
                let result = wait_for(inner_task, limit).await;
                let Ok(Err(TaskError::Panicked(panic))) = result else { panic!("it was not raised, but {result:?}") };
                assert_eq!(panic.message(), "foo");
            }
        });
        assert_eq!(told.take(), [""; 0]);
    }

    #[test]
    fn test_wait_for_cancel_suppressed() {
        virtual_loop().run(async {
            let return_42 = || async {
                match catch_cancel(sleep(ms(10_000))).await {
                    Err(Cancelled) => 42,
                    Ok(()) => 0,
                }
            };
            let start = time();
            assert_eq!(wait_for(return_42(), ms(100)).await, Ok(42));
            assert_eq!(time() - start, ms(100));
            assert_eq!(wait_for(spawn(return_42()), ms(100)).await, Ok(Ok(42)));
            assert_eq!(time() - start, ms(200));
        });
    }
}

mod wait_for_shield_tests {
    use crate::common::{ms, virtual_loop};
    use onelane::{Elapsed, Task, shield, sleep, spawn, time, wait_for};
    use std::time::Duration;

    fn done_after(milliseconds: u64) -> Task<&'static str> {
        spawn(async move {
            sleep(ms(milliseconds)).await;
            "done"
        })
    }

    #[test]
    fn test_zero_timeout() {
        virtual_loop().run(async {
            let task = done_after(10);
            assert_eq!(wait_for(shield(&task), Duration::ZERO).await, Err(Elapsed));
            assert!(!task.is_done() && task.cancelling() == 0);
            sleep(ms(100)).await;
            assert!(task.is_done() && !task.is_cancelled());
        });
    }

    #[test]
    fn test_none_timeout() {
        virtual_loop().run(async {
            let task = done_after(100);
            assert_eq!(wait_for(shield(&task), Duration::MAX).await, Ok(Ok("done")));
            assert!(task.is_done());
            assert_eq!(task.await, Ok("done"));
        });
    }

    #[test]
    fn test_shielded_timeout() {
        virtual_loop().run(async {
            let (task, start) = (done_after(100), time());
            assert_eq!(wait_for(shield(&task), ms(10)).await, Err(Elapsed));
            assert_eq!(time() - start, ms(10));
            assert!(!task.is_done() && task.cancelling() == 0);
            assert_eq!(task.await, Ok("done"));
            assert_eq!(time() - start, ms(100));
        });
    }
}
