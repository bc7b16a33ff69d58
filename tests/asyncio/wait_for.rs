//! wait_for: twins of `test_waitfor.py`.

mod asyncio_wait_for_test {
    use crate::common::{ms, on_drop, telling_loop, virtual_loop};
    use onelane::{
        Cancelled, Elapsed, Task, TaskError, catch_cancel, finally, sleep, sleep_until, spawn, time, wait, wait_for,
        yield_now,
    };
    use std::cell::Cell;
    use std::rc::Rc;
    use std::time::Duration;

    const TASK_TIMEOUT: Duration = Duration::from_millis(200);
    /// A time that is up soon, and is not zero.
    const EPSILON: Duration = Duration::from_micros(100);

    /// Runs for its time, and lets no cancellation keep it from that.
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
            let inner = async {
                assert_eq!(catch_cancel(sleep(ms(1000))).await, Err(Cancelled));
                1
            };
            let start = time();
            assert_eq!(wait_for(inner, ms(10)).await, Ok(1));
            assert_eq!(time() - start, ms(10));
        });
    }

    /// A task that needs a moment for its cleanup, behind which it is done.
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

    /// Awaited in place, a cleanup that panics ends the wait with its panic; so does a task that is cancelled at once. A task that
    /// is cancelled when the time is up leaves `Elapsed`, and its panic is told to the exception handler.
    #[test]
    fn test_wait_for_reraises_exception_during_cancellation() {
        let (event_loop, told) = telling_loop();
        let inner = || finally(sleep(ms(200)), async { panic!("foo") });
        event_loop.run(async {
            let in_place = spawn(wait_for(inner(), EPSILON));
            let Err(TaskError::Panicked(panic)) = in_place.await else { panic!("it was not raised") };
            assert_eq!(panic.message(), "foo");

            let inner_task = spawn(inner());
            yield_now().await;
            let result = wait_for(inner_task, Duration::ZERO).await;
            let Ok(Err(TaskError::Panicked(panic))) = result else { panic!("it was not raised, but {result:?}") };
            assert_eq!(panic.message(), "foo");
            assert_eq!(told.take(), [""; 0]);

            assert_eq!(wait_for(spawn(inner()), EPSILON).await, Err(Elapsed));
        });
        assert_eq!(told.take(), ["a task panicked and nobody looked at its result: foo"]);
    }

    #[test]
    fn test_wait_for_cancel_suppressed() {
        virtual_loop().run(async {
            let return_42 = async {
                match catch_cancel(sleep(ms(10_000))).await {
                    Err(Cancelled) => 42,
                    Ok(()) => 0,
                }
            };
            let start = time();
            assert_eq!(wait_for(return_42, ms(100)).await, Ok(42));
            assert_eq!(time() - start, ms(100));
        });
    }
}
