//! Cancellations that are caught, and how they are counted: twins of `test_tasks.py`.

mod base_task_tests {
    use crate::common::{Post, ms, virtual_loop};
    use crate::except_cancelled;
    use onelane::{
        Cancelled, Elapsed, TaskError, TaskState, call_later, catch_cancel, current_task, sleep, spawn, time, yield_now,
    };
    use std::cell::Cell;
    use std::future::pending;
    use std::rc::Rc;
    use std::time::Duration;

    const LONG: Duration = Duration::from_secs(10);

    #[test]
    fn test_uncancel_basic() {
        let event_loop = virtual_loop();
        let task = event_loop.spawn(async {
            if catch_cancel(sleep(LONG)).await == Err(Cancelled) {
                current_task().unwrap().uncancel();
                sleep(LONG).await;
            }
        });
        event_loop.run(async {
            sleep(ms(10)).await;
            assert!(task.cancel());
            assert_eq!((task.cancelling(), task.is_cancelled()), (1, false));
            sleep(ms(10)).await;
            assert_eq!((task.cancelling(), task.is_cancelled()), (0, false));
            assert!(!task.is_done());

            assert!(task.cancel());
            assert_eq!((task.cancelling(), task.is_cancelled()), (1, false));
            assert_eq!((&task).await, Err(TaskError::Cancelled));
            assert!(task.is_cancelled() && task.is_done());

            task.uncancel();
            assert!(task.is_cancelled() && task.is_done());
        });
    }

    /// A timeout written by hand, with a callback that cancels. Whether the time was up, whether what it limits has ended, and
    /// whether what is behind it was reached.
    async fn make_request_with_timeout(duration: Duration, limit: Duration) -> (bool, bool, bool) {
        let task = current_task().unwrap();
        let timed_out = Rc::new(Cell::new(false));
        let (copy, cancels) = (timed_out.clone(), task.clone());
        let handle = call_later(limit, move || {
            copy.set(true);
            cancels.cancel();
        });
        let finished = Cell::new(false);
        let block = async {
            sleep(duration).await;
            finished.set(true);
        };
        let result = catch_cancel(block).await;
        handle.cancel();
        let is_over = timed_out.get() && task.uncancel() == 0 && result == Err(Cancelled);
        let result = if is_over { Err(Elapsed) } else { Ok(()) };
        assert_eq!(result.is_err(), timed_out.get());
        yield_now().await;
        (timed_out.get(), finished.get(), true)
    }

    #[test]
    fn test_uncancel_structured_blocks() {
        virtual_loop().run(async {
            let start = time();
            let task = spawn(make_request_with_timeout(LONG, ms(100)));
            assert_eq!((&task).await, Ok((true, false, true)));
            assert_eq!((task.cancelling(), time() - start), (0, ms(100)));

            let task = spawn(make_request_with_timeout(Duration::ZERO, LONG));
            assert_eq!((&task).await, Ok((false, true, true)));
            assert_eq!((task.cancelling(), time() - start), (0, ms(100)));
        });
    }

    /// A future that is cancelled at the moment of `cancel` is a task: it counts the cancellation at once.
    #[test]
    fn test_cancel_task_catching() {
        virtual_loop().run(async {
            let first = Post::new();
            let second = Rc::new(spawn(pending::<()>()));
            let (wait, awaited) = (first.wait(), second.clone());
            let task = spawn(async move {
                wait.await;
                match catch_cancel(async move { (&*awaited).await }).await {
                    Err(Cancelled) => 42,
                    Ok(result) => unreachable!("the second gives {result:?}"),
                }
            });
            yield_now().await;
            assert!(first.has_waker());
            first.open();
            yield_now().await;
            assert_eq!((task.task_ref().state(), second.cancelling()), (TaskState::Waiting, 0));
            task.cancel();
            assert_eq!(second.cancelling(), 1);
            assert_eq!((&task).await, Ok(42));
            assert!(!task.is_cancelled() && second.is_cancelled());
        });
    }

    #[test]
    fn test_cancel_task_ignoring() {
        virtual_loop().run(async {
            let (first, third) = (Post::new(), Post::new());
            let second = Rc::new(spawn(pending::<()>()));
            let (waits, awaited) = ([first.wait(), third.wait()], second.clone());
            let task = spawn(async move {
                let [first, third] = waits;
                first.await;
                assert_eq!(catch_cancel(async move { (&*awaited).await }).await, Err(Cancelled));
                third.await;
                42
            });
            yield_now().await;
            assert!(first.has_waker());
            first.open();
            yield_now().await;
            assert_eq!((task.task_ref().state(), second.cancelling()), (TaskState::Waiting, 0));
            task.cancel();
            assert_eq!(second.cancelling(), 1);
            while !third.has_waker() {
                yield_now().await;
            }
            assert!(second.is_cancelled());
            third.open();
            assert_eq!((&task).await, Ok(42));
            assert_eq!((third.polls(), task.is_cancelled()), (2, false));
        });
    }

    #[test]
    fn test_yield_future_passes_cancel() {
        virtual_loop().run(async {
            let proof = Rc::new(Cell::new(0));
            let waiter = Rc::new(spawn(pending::<()>()));
            let (copy, awaited) = (proof.clone(), waiter.clone());
            let task = spawn(async move {
                let add = |by| copy.set(copy.get() + by);
                let inner = async {
                    let result = except_cancelled(async move { (&*awaited).await }, || add(1)).await;
                    unreachable!("the waiter gives {result:?}");
                };
                let result: Result<(), _> = catch_cancel(inner).await;
                add(if result.is_err() { 100 } else { 10 });
            });
            yield_now().await;
            task.cancel();
            assert_eq!(task.await, Ok(()));
            assert_eq!(proof.get(), 101);
            assert!(waiter.is_cancelled());
        });
    }
}
