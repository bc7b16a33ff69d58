//! Semaphore, BoundedSemaphore: twins of `SemaphoreTests` in `test_locks.py`.
//!
//! Where the original acquires in one place and releases in another, the permit is forgotten.

mod semaphore_tests {
    use crate::common::{Trace, ms, panic_of, virtual_loop};
    use onelane::sync::{BoundedSemaphore, Semaphore};
    use onelane::{TaskError, call_soon, gather, sleep, spawn, task_group, wait_for, yield_now};
    use std::cell::{Cell, OnceCell};
    use std::rc::Rc;

    fn shown(permits: usize, locked: bool, waiters: usize) -> String {
        format!("Semaphore {{ permits: {permits}, locked: {locked}, waiters: {waiters} }}")
    }

    #[test]
    fn test_initial_value_zero() {
        assert!(Semaphore::new(0).is_locked());
    }

    #[test]
    fn test_acquire() {
        virtual_loop().run(async {
            let (sem, result) = (Rc::new(Semaphore::new(3)), Trace::new());
            sem.acquire().await.forget();
            sem.acquire().await.forget();
            assert!(!sem.is_locked());
            let c = |name: &'static str| {
                let (sem, result) = (sem.clone(), result.clone());
                spawn(async move {
                    sem.acquire().await.forget();
                    result.push(name);
                    true
                })
            };
            let (t1, t2, t3) = (c("1"), c("2"), c("3"));
            yield_now().await;
            assert_eq!(result.take(), ["1"]);
            assert_eq!(format!("{sem:?}"), shown(0, true, 2));

            let t4 = c("4");
            sem.release();
            sem.release();
            assert_eq!(sem.available_permits(), 0);
            yield_now().await;
            assert_eq!(result.take(), ["2", "3"]);
            assert_eq!(format!("{sem:?}"), shown(0, true, 1));

            assert!(t1.is_done() && *t1.result().unwrap());
            let race_tasks = [t2, t3, t4];
            assert_eq!(race_tasks.iter().filter(|task| task.is_done() && *task.result().unwrap()).count(), 2);

            sem.release();
            assert_eq!(gather(race_tasks).await, Ok(vec![true; 3]));
        });
    }

    #[test]
    fn test_acquire_cancel() {
        virtual_loop().run(async {
            let sem = Semaphore::new(1);
            let _permit = sem.acquire().await;
            let acquire = spawn(sem.acquire());
            let acquire_ref = acquire.task_ref();
            call_soon(move || {
                acquire_ref.cancel();
            });
            assert!(acquire.await.is_err_and(|error| error.is_cancelled()));
            assert_eq!(format!("{sem:?}"), shown(0, true, 0));
        });
    }

    #[test]
    fn test_acquire_cancel_before_awoken() {
        virtual_loop().run(async {
            let sem = Semaphore::new(0);
            let [t1, t2, t3, t4] = [(); 4].map(|()| spawn(sem.acquire()));
            yield_now().await;

            t1.cancel();
            t2.cancel();
            sem.release();
            yield_now().await;
            yield_now().await;
            assert!(t3.is_done() && !t3.is_cancelled());
            assert!(!t4.is_done());

            t3.cancel();
            t4.cancel();
            yield_now().await;
            assert!(t4.is_cancelled());
        });
    }

    #[test]
    fn test_acquire_hang() {
        virtual_loop().run(async {
            let sem = Semaphore::new(0);
            let (t1, t2) = (spawn(sem.acquire()), spawn(sem.acquire()));
            yield_now().await;

            t1.cancel();
            sem.release();
            yield_now().await;
            yield_now().await;
            assert!(sem.is_locked());
            assert!(t2.is_done() && !t2.is_cancelled());
        });
    }

    #[test]
    fn test_acquire_no_hang() {
        virtual_loop().run(async {
            let (sem, t2_ref) = (Rc::new(Semaphore::new(1)), Rc::new(OnceCell::new()));
            let (copy, slot) = (sem.clone(), t2_ref.clone());
            let t1 = spawn(async move {
                let permit = copy.acquire().await;
                yield_now().await;
                drop(permit);
                let t2: &onelane::TaskRef = slot.get().unwrap();
                t2.cancel();
            });
            let copy = sem.clone();
            let t2 = spawn(async move {
                let _permit = copy.acquire().await;
                unreachable!("it was cancelled after the permit had been handed over");
            });
            t2_ref.set(t2.task_ref()).unwrap();

            let results = gather([t1, t2]).return_exceptions().await;
            assert_eq!(results, [Ok(()), Err(TaskError::Cancelled)]);
            assert!(wait_for(sem.acquire(), ms(1000)).await.is_ok());
        });
    }

    #[test]
    fn test_release_not_acquired() {
        let sem = BoundedSemaphore::new(1);
        assert!(panic_of(|| sem.release()).starts_with("a BoundedSemaphore of 1 was released too many times"));
    }

    #[test]
    fn test_release_no_waiters() {
        virtual_loop().run(async {
            let sem = Semaphore::new(1);
            sem.acquire().await.forget();
            assert!(sem.is_locked());
            sem.release();
            assert!(!sem.is_locked());
        });
    }

    #[test]
    fn test_acquire_fifo_order() {
        virtual_loop().run(async {
            let (sem, result) = (Rc::new(Semaphore::new(1)), Trace::new());
            let coro = |tag: &'static str| {
                let (sem, result) = (sem.clone(), result.clone());
                async move {
                    for time in 1..=2 {
                        let _permit = sem.acquire().await;
                        result.push(format!("{tag}_{time}"));
                        sleep(ms(10)).await;
                    }
                }
            };
            let group = task_group(async |group| {
                for tag in ["c1", "c2", "c3"] {
                    group.spawn(coro(tag));
                }
            });
            group.await.unwrap();
            assert_eq!(result.take(), ["c1_1", "c2_1", "c3_1", "c1_2", "c2_2", "c3_2"]);
        });
    }

    /// Acquires a permit, forgets it, and records the name.
    async fn acquire(sem: Rc<Semaphore>, result: Trace, name: &'static str) {
        sem.acquire().await.forget();
        result.push(name);
    }

    #[test]
    fn test_acquire_fifo_order_2() {
        virtual_loop().run(async {
            let (sem, result) = (Rc::new(Semaphore::new(1)), Trace::new());
            let t1 = spawn(acquire(sem.clone(), result.clone(), "1"));
            let (copy, copied_result) = (sem.clone(), result.clone());
            let t2 = spawn(async move {
                copy.acquire().await.forget();
                copied_result.push("2");
                copy.release();
                copy.acquire().await.forget();
                copied_result.push("4");
            });
            let t3 = spawn(acquire(sem.clone(), result.clone(), "3"));
            yield_now().await;

            sem.release();
            sem.release();
            gather([t1, t2, t3]).await.unwrap();
            assert_eq!(result.take(), ["1", "2", "3", "4"]);
        });
    }

    #[test]
    fn test_acquire_fifo_order_3() {
        virtual_loop().run(async {
            let (sem, result) = (Rc::new(Semaphore::new(0)), Trace::new());
            let tasks = ["1", "2", "3"].map(|name| spawn(acquire(sem.clone(), result.clone(), name)));
            yield_now().await;
            tasks[0].cancel();
            yield_now().await;

            sem.release();
            sem.release();
            let results = gather(tasks).return_exceptions().await;
            assert_eq!(results, [Err(TaskError::Cancelled), Ok(()), Ok(())]);
            assert_eq!(result.take(), ["2", "3"]);
        });
    }

    /// A task that acquires wakes the later waiters, which had to wait although there were permits.
    #[test]
    fn test_acquire_fifo_order_4() {
        virtual_loop().run(async {
            let (sem, result) = (Rc::new(Semaphore::new(0)), Trace::new());
            let fourth = Rc::new(Cell::new(None));
            let (copy, copied_result, slot) = (sem.clone(), result.clone(), fourth.clone());
            let t1 = spawn(async move {
                assert_eq!(copy.available_permits(), 0);
                copy.acquire().await.forget();
                assert_eq!(copy.available_permits(), 0);
                let c4 = copied_result.clone();
                slot.set(Some(spawn(async move { c4.push("4") })));
                copied_result.push("1");
            });
            let (copy, copied_result) = (sem.clone(), result.clone());
            let t2 = spawn(async move {
                for _ in 0..3 {
                    copy.release();
                }
                assert_eq!(copy.available_permits(), 2);
                assert!(copy.is_locked());
                copy.acquire().await.forget();
                copied_result.push("2");
            });
            let (copy, copied_result) = (sem.clone(), result.clone());
            let t3 = spawn(async move {
                copy.acquire().await.forget();
                assert!(copy.is_locked());
                copied_result.push("3");
            });
            yield_now().await;
            assert_eq!(format!("{sem:?}"), shown(2, true, 3));
            yield_now().await;

            let t4 = fourth.take().unwrap();
            gather([t1, t2, t3, t4]).await.unwrap();
            assert_eq!(result.take(), ["1", "2", "3", "4"]);
        });
    }
}
