//! Cancellations that are caught, and how they are counted: twins of `test_tasks.py`.

mod base_task_tests {
    use crate::common::{ms, virtual_loop};
    use crate::{except_cancelled, is_awaited};
    use onelane::{
        Cancelled, Elapsed, Promise, TaskError, call_later, catch_cancel, current_task, sleep, spawn, time, yield_now,
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

    /// A timeout written by hand, with a callback that cancels. Returns whether the time was up,
    /// whether the limited work ended, and whether the code after it was reached.
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

    #[test]
    fn test_cancel_task_catching() {
        let event_loop = virtual_loop();
        let [fut1, fut2] = [(); 2].map(|()| Promise::<()>::new());
        let (first, second) = (fut1.clone(), fut2.clone());
        let task = event_loop.spawn(async move {
            first.await.unwrap();
            match catch_cancel(second.into_future()).await {
                Err(Cancelled) => 42,
                Ok(result) => unreachable!("the second wait returned {result:?}"),
            }
        });
        event_loop.turn();
        assert!(is_awaited(&fut1));
        fut1.set_result(()).unwrap();
        event_loop.turn();
        assert!(is_awaited(&fut2));
        task.cancel();
        assert!(fut2.is_cancelled());
        assert_eq!(event_loop.run(&task), Ok(42));
        assert!(!task.is_cancelled());
    }

    #[test]
    fn test_cancel_task_ignoring() {
        let event_loop = virtual_loop();
        let (fut1, fut2, fut3) = (Promise::<()>::new(), Promise::<()>::new(), Promise::new());
        let (first, second, third) = (fut1.clone(), fut2.clone(), fut3.clone());
        let task = event_loop.spawn(async move {
            first.await.unwrap();
            assert_eq!(catch_cancel(second.into_future()).await, Err(Cancelled));
            (&third).await.unwrap()
        });
        event_loop.turn();
        assert!(is_awaited(&fut1));
        fut1.set_result(()).unwrap();
        event_loop.turn();
        assert!(is_awaited(&fut2));
        task.cancel();
        assert!(fut2.is_cancelled());
        event_loop.turn();
        assert!(is_awaited(&fut3));
        fut3.set_result(42).unwrap();
        assert_eq!(event_loop.run(&task), Ok(42));
        assert!(!fut3.is_cancelled() && !task.is_cancelled());
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
                    unreachable!("the waiter returned {result:?}");
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
