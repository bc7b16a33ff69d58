//! `test_tasks.py`, `shield`: the inner future is a promise, or a task. A shield cannot be
//! cancelled separately. To cancel the outer future is to cancel the task that awaits the shield.

mod base_task_tests {
    use crate::common::{Trace, ms, panic_of, telling_loop, virtual_loop};
    use futures_util::FutureExt;
    use onelane::{Promise, TaskError, gather, shield, sleep, spawn, yield_now};
    use std::cell::Cell;
    use std::rc::Rc;

    async fn run_briefly() {
        yield_now().await;
        yield_now().await;
    }

    async fn fails() -> u32 {
        sleep(ms(1)).await;
        panic!("foo")
    }

    #[test]
    fn test_shield_result() {
        virtual_loop().run(async {
            let inner = Promise::new();
            let outer = shield(&inner);
            inner.set_result(42).unwrap();
            assert_eq!(outer.await, Ok(42));
        });
    }

    /// An exception that is set is a value.
    #[test]
    fn test_shield_exception() {
        virtual_loop().run(async {
            let inner = Promise::<Result<(), Rc<str>>>::new();
            let outer = shield(&inner);
            run_briefly().await;
            let exc: Rc<str> = Rc::from("expected");
            inner.set_result(Err(exc.clone())).unwrap();
            run_briefly().await;
            let came = outer.now_or_never().unwrap().unwrap().unwrap_err();
            assert!(Rc::ptr_eq(&came, &exc));
        });
    }

    #[test]
    fn test_shield_cancel_inner() {
        virtual_loop().run(async {
            let inner = Promise::<()>::new();
            let outer = shield(&inner);
            run_briefly().await;
            inner.cancel();
            run_briefly().await;
            assert_eq!(outer.now_or_never(), Some(Err(TaskError::Cancelled)));
        });
    }

    /// No callback of the inner future is left. Nothing else could be left.
    #[test]
    fn test_shield_cancel_outer() {
        virtual_loop().run(async {
            let inner = Promise::<()>::new();
            let outer = spawn(shield(&inner));
            run_briefly().await;
            assert!(format!("{inner:?}").contains("waiters: 1"));
            outer.cancel();
            run_briefly().await;
            assert!(outer.is_cancelled());
            assert!(!inner.is_done());
            assert!(format!("{inner:?}").contains("waiters: 0"), "{inner:?}");
        });
    }

    #[test]
    fn test_shield_cancel_outer_result() {
        let (event_loop, told) = telling_loop();
        event_loop.run(async {
            let inner = Promise::new();
            let outer = spawn(shield(inner.clone()));
            run_briefly().await;
            outer.cancel();
            run_briefly().await;
            inner.set_result(1).unwrap();
            run_briefly().await;
        });
        assert!(told.take().is_empty());
    }

    /// Only panics reach the exception handler, so the inner future is a task that panics.
    #[test]
    fn test_shield_cancel_outer_exception() {
        let (event_loop, told) = telling_loop();
        event_loop.run(async {
            let outer = spawn(shield(fails()));
            run_briefly().await;
            outer.cancel();
            run_briefly().await;
            assert!(outer.is_cancelled());
            sleep(ms(2)).await;
        });
        assert_eq!(told.take(), ["a task panicked and its result was never read: foo"]);
    }

    #[test]
    fn test_shield_duplicate_log_once() {
        let (event_loop, told) = telling_loop();
        event_loop.run(async {
            let inner = spawn(fails());
            for _ in 0..2 {
                let outer = spawn(shield(&inner));
                run_briefly().await;
                outer.cancel();
                run_briefly().await;
            }
            drop(inner);
            sleep(ms(2)).await;
        });
        assert_eq!(told.take(), ["a task panicked and its result was never read: foo"]);
    }

    #[test]
    fn test_shield_shortcut() {
        virtual_loop().run(async {
            let fut = Promise::new();
            fut.set_result(42).unwrap();
            assert_eq!(shield(&fut).now_or_never(), Some(Ok(42)));
        });
    }

    #[test]
    fn test_shield_effect() {
        let proof = Rc::new(Cell::new(0));
        virtual_loop().run(async {
            let waiter = Promise::new();
            let (copy, inner_proof, outer_proof) = (waiter.clone(), proof.clone(), proof.clone());
            let inner = async move {
                copy.await.unwrap();
                inner_proof.set(inner_proof.get() + 1);
            };
            let f = spawn(async move {
                shield(inner).await.unwrap();
                outer_proof.set(outer_proof.get() + 100);
            });
            run_briefly().await;
            f.cancel();
            assert_eq!(f.await, Err(TaskError::Cancelled));
            waiter.set_result(()).unwrap();
            run_briefly().await;
        });
        assert_eq!(proof.get(), 1);
    }

    /// The gather is a task here, so that its result can be read.
    #[test]
    fn test_shield_gather() {
        virtual_loop().run(async {
            let [child1, child2] = [Promise::new(), Promise::new()];
            let parent = spawn(gather([&child1, &child2].map(IntoFuture::into_future)));
            let outer = spawn(shield(&parent));
            run_briefly().await;
            outer.cancel();
            run_briefly().await;
            assert!(outer.is_cancelled());
            child1.set_result(1).unwrap();
            child2.set_result(2).unwrap();
            // One turn each for a child's task, the callback that counts it, and the parent's task.
            run_briefly().await;
            yield_now().await;
            assert_eq!(*parent.result().unwrap(), Ok(vec![Ok(1), Ok(2)]));
        });
    }

    #[test]
    fn test_gather_shield() {
        virtual_loop().run(async {
            let [child1, child2] = [Promise::new(), Promise::new()];
            let inners = [&child1, &child2].map(|child| spawn(shield(child)));
            let refs = [inners[0].task_ref(), inners[1].task_ref()];
            let parent = spawn(gather(inners));
            run_briefly().await;
            parent.cancel();
            // This cancels both inner tasks, but not the children.
            assert_eq!(parent.await, Err(TaskError::Cancelled));
            assert!(refs.iter().all(|inner| inner.is_cancelled()));
            assert_eq!((child1.set_result(1), child2.set_result(2)), (Ok(()), Ok(())));
            run_briefly().await;
        });
    }

    #[test]
    fn shield_a_coroutine_without_a_loop() {
        let message = panic_of(|| drop(shield(async { 42 })));
        assert!(message.contains("shield() was called, but there is no running event loop"), "{message}");
    }

    #[test]
    fn test_shield_coroutine_use_running_loop() {
        let trace = Trace::new();
        let copy = trace.clone();
        let res = virtual_loop().run(async move {
            let outer = shield(async move {
                copy.push("in the running loop");
                42
            });
            outer.await
        });
        assert_eq!((res, trace.take()), (Ok(42), vec!["in the running loop".to_string()]));
    }
}
