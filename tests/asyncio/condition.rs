//! Condition: twins of `ConditionTests` in `test_locks.py`.
//!
//! A lock is released when its guard is dropped, and a guard stays in its task. Some originals
//! leave the lock held, for other code to release. Here a task keeps the guard and follows the
//! orders of other code (`Order`). A cancelled wait leaves the lock released, because its guard is
//! gone. asyncio acquires the lock again for code that catches the cancellation.

mod condition_tests {
    use crate::common::{Trace, ms, panic_of, virtual_loop};
    use crate::{Cue, except_cancelled};
    use futures_util::FutureExt;
    use onelane::sync::{Condition, Lock};
    use onelane::{Elapsed, Task, TaskError, call_soon, catch_cancel, spawn, time, wait_for, yield_now};
    use std::cell::{Cell, RefCell};
    use std::rc::Rc;

    fn shown(locked: bool, waiters: usize) -> String {
        format!("Condition {{ locked: {locked}, waiters: {waiters}, .. }}")
    }

    /// An order to the task that holds the lock.
    enum Order {
        Notify(usize),
        Release,
    }

    #[test]
    fn test_wait() {
        virtual_loop().run(async {
            let (cond, result, orders) = (Rc::new(Condition::new(())), Trace::new(), Cue::new());
            let c = |name: &'static str| {
                let (cond, result, orders) = (cond.clone(), result.clone(), orders.clone());
                spawn(async move {
                    let guard = cond.wait(cond.lock().await).await;
                    result.push(name);
                    while let Order::Notify(count) = orders.wait().await {
                        cond.notify(&guard, count);
                    }
                    true
                })
            };
            let (t1, t2, t3) = (c("1"), c("2"), c("3"));
            yield_now().await;
            assert_eq!(result.take(), [""; 0]);
            assert!(!cond.is_locked());

            let guard = cond.lock().await;
            cond.notify_one(&guard);
            yield_now().await;
            assert_eq!(result.take(), [""; 0]);
            assert!(cond.is_locked());

            drop(guard);
            yield_now().await;
            assert_eq!(result.take(), ["1"]);
            assert!(cond.is_locked());

            orders.set(Order::Notify(2));
            yield_now().await;
            // The notified tasks wait for the lock.
            yield_now().await;
            assert_eq!(result.take(), [""; 0]);
            assert!(cond.is_locked());

            orders.set(Order::Release);
            yield_now().await;
            assert_eq!(result.take(), [""; 0]);
            assert!(!cond.is_locked());
            yield_now().await;
            assert_eq!(result.take(), ["2"]);
            assert!(cond.is_locked());

            orders.set(Order::Release);
            yield_now().await;
            assert_eq!(result.take(), [""; 0]);
            yield_now().await;
            assert_eq!(result.take(), ["3"]);
            assert!(cond.is_locked());

            orders.set(Order::Release);
            yield_now().await;
            for task in [t1, t2, t3] {
                assert!(task.is_done() && *task.result().unwrap());
            }
        });
    }

    /// A cancelled wait releases the lock, and leaves the queue.
    #[test]
    fn test_wait_cancel() {
        virtual_loop().run(async {
            let cond = Rc::new(Condition::new(()));
            let copy = cond.clone();
            let wait = spawn(async move {
                let guard = copy.lock().await;
                drop(copy.wait(guard).await);
            });
            let wait_ref = wait.task_ref();
            call_soon(move || {
                wait_ref.cancel();
            });
            assert_eq!(wait.await, Err(TaskError::Cancelled));
            assert_eq!(format!("{cond:?}"), shown(false, 0));
            assert!(cond.try_lock().is_some());
        });
    }

    /// The wait ends as cancelled although another task holds the lock.
    #[test]
    fn test_wait_cancel_contested() {
        virtual_loop().run(async {
            let (cond, orders) = (Rc::new(Condition::new(())), Cue::new());
            let copy = cond.clone();
            let wait_task = spawn(async move {
                let guard = copy.lock().await;
                drop(copy.wait(guard).await);
            });
            yield_now().await;
            assert!(!cond.is_locked());

            let (copy, order) = (cond.clone(), orders.clone());
            let notifier = spawn(async move {
                let guard = copy.lock().await;
                while let Order::Notify(count) = order.wait().await {
                    copy.notify(&guard, count);
                }
            });
            yield_now().await;
            assert!(cond.is_locked());

            orders.set(Order::Notify(1));
            yield_now().await;
            let wait_ref = wait_task.task_ref();
            call_soon(move || {
                wait_ref.cancel();
            });
            let order = orders.clone();
            call_soon(move || order.set(Order::Release));
            assert_eq!(wait_task.await, Err(TaskError::Cancelled));
            assert_eq!(notifier.await, Ok(()));
            assert_eq!(format!("{cond:?}"), shown(false, 0));
            assert!(cond.try_lock().is_some());
        });
    }

    #[test]
    fn test_wait_cancel_after_notify() {
        virtual_loop().run(async {
            let (cond, waited) = (Rc::new(Condition::new(())), Rc::new(Cell::new(false)));
            let (copy, reached) = (cond.clone(), waited.clone());
            let waiter = spawn(async move {
                let guard = copy.lock().await;
                reached.set(true);
                drop(copy.wait(guard).await);
            });
            yield_now().await;

            let guard = cond.lock().await;
            cond.notify_one(&guard);
            yield_now().await;
            assert!(!waiter.is_done());
            waiter.cancel();
            yield_now().await;
            drop(guard);
            yield_now().await;
            assert!(waiter.is_cancelled());
            assert!(waited.get());
        });
    }

    const FOREIGN_GUARD: &str =
        "of a condition was called with a guard of another lock; lock the condition's own: condition.lock().await";

    #[test]
    fn test_wait_unacquired() {
        let (cond, lock) = (Condition::new(()), Lock::new(()));
        let message = panic_of(|| cond.wait(lock.try_lock().unwrap()));
        assert_eq!(message, format!("wait() {FOREIGN_GUARD}"));
    }

    #[test]
    fn test_wait_for() {
        virtual_loop().run(async {
            let (cond, result) = (Rc::new(Condition::new(false)), Trace::new());
            let (copy, copied_result) = (cond.clone(), result.clone());
            let task = spawn(async move {
                let guard = copy.lock().await;
                let predicate = |presult: &mut bool| {
                    copied_result.push("asked");
                    *presult
                };
                drop(copy.wait_for(guard, predicate).await);
                copied_result.push("1");
                true
            });
            yield_now().await;
            assert_eq!(result.take(), ["asked"]);

            let guard = cond.lock().await;
            cond.notify_one(&guard);
            drop(guard);
            yield_now().await;
            assert_eq!(result.take(), ["asked"]);

            let mut guard = cond.lock().await;
            *guard = true;
            cond.notify_one(&guard);
            drop(guard);
            yield_now().await;
            assert_eq!(result.take(), ["asked", "1"]);
            assert!(task.is_done() && *task.result().unwrap());
        });
    }

    /// Every wait needs a guard.
    #[test]
    fn test_wait_for_unacquired() {
        virtual_loop().run(async {
            let (cond, lock) = (Condition::new([1, 2, 3]), Lock::new([0; 3]));
            let guard = cond.wait_for(cond.lock().await, |_| true).now_or_never();
            assert_eq!(guard.as_deref(), Some(&[1, 2, 3]));

            for answer in [false, true] {
                let message = panic_of(|| cond.wait_for(lock.try_lock().unwrap(), |_| answer));
                assert_eq!(message, format!("wait_for() {FOREIGN_GUARD}"));
            }
        });
    }

    /// A task that records its name after it was notified.
    fn c(cond: &Rc<Condition>, result: &Trace, name: &'static str) -> Task<bool> {
        let (cond, result) = (cond.clone(), result.clone());
        spawn(async move {
            let guard = cond.lock().await;
            let _guard = cond.wait(guard).await;
            result.push(name);
            true
        })
    }

    #[test]
    fn test_notify() {
        virtual_loop().run(async {
            let (cond, result) = (Rc::default(), Trace::new());
            let tasks = ["1", "2", "3"].map(|name| c(&cond, &result, name));
            yield_now().await;
            assert_eq!(result.take(), [""; 0]);

            let guard = cond.lock().await;
            cond.notify(&guard, 1);
            drop(guard);
            yield_now().await;
            assert_eq!(result.take(), ["1"]);

            let guard = cond.lock().await;
            cond.notify(&guard, 1);
            cond.notify(&guard, 2048);
            drop(guard);
            yield_now().await;
            assert_eq!(result.take(), ["2", "3"]);
            for task in tasks {
                assert!(task.is_done() && *task.result().unwrap());
            }
        });
    }

    #[test]
    fn test_notify_all() {
        virtual_loop().run(async {
            let (cond, result) = (Rc::default(), Trace::new());
            let tasks = ["1", "2"].map(|name| c(&cond, &result, name));
            yield_now().await;
            assert_eq!(result.take(), [""; 0]);

            let guard = cond.lock().await;
            cond.notify_all(&guard);
            drop(guard);
            yield_now().await;
            assert_eq!(result.take(), ["1", "2"]);
            for task in tasks {
                assert!(task.is_done() && *task.result().unwrap());
            }
        });
    }

    #[test]
    fn test_notify_unacquired() {
        let (cond, lock) = (Condition::new(()), Lock::new(()));
        let guard = lock.try_lock().unwrap();
        let message = panic_of(|| cond.notify_one(&guard));
        assert_eq!(message, format!("notify() {FOREIGN_GUARD}"));
    }

    #[test]
    fn test_notify_all_unacquired() {
        let (cond, lock) = (Condition::new(()), Lock::new(()));
        let guard = lock.try_lock().unwrap();
        let message = panic_of(|| cond.notify_all(&guard));
        assert_eq!(message, format!("notify() {FOREIGN_GUARD}"));
    }

    #[test]
    fn test_context_manager() {
        virtual_loop().run(async {
            let cond = Condition::new(());
            assert!(!cond.is_locked());
            {
                let _guard = cond.lock().await;
                assert!(cond.is_locked());
            }
            assert!(!cond.is_locked());
        });
    }

    #[test]
    fn test_explicit_lock() {
        async fn f(lock: Option<Rc<Lock>>, cond: Option<Condition>) {
            let lock = lock.unwrap_or_default();
            let cond = cond.unwrap_or_else(|| Condition::with_lock(lock.clone()));
            let locked = || (lock.is_locked(), cond.is_locked());
            assert_eq!(locked(), (false, false));
            let guard = cond.lock().await;
            assert_eq!(locked(), (true, true));
            drop(guard);
            assert_eq!(locked(), (false, false));
            let guard = lock.lock().await;
            assert_eq!(locked(), (true, true));
            // A guard of one condition is also a guard of the other.
            cond.notify_one(&guard);
            drop(guard);
            assert_eq!(locked(), (false, false));
        }
        virtual_loop().run(async {
            f(None, None).await;
            f(Some(Rc::default()), None).await;
            let lock = Rc::new(Lock::new(()));
            f(Some(lock.clone()), Some(Condition::with_lock(lock))).await;
        });
    }

    /// The guard is dropped with the wait.
    #[test]
    fn test_timeout_in_block() {
        virtual_loop().run(async {
            let (condition, start) = (Condition::new(()), time());
            let guard = condition.lock().await;
            assert_eq!(wait_for(condition.wait(guard), ms(500)).await.map(drop), Err(Elapsed));
            assert_eq!(time() - start, ms(500));
            assert_eq!(format!("{condition:?}"), shown(false, 0));
            assert!(condition.try_lock().is_some());
        });
    }

    /// A task that waits until the state is true, and records whether a cancellation arrived. It
    /// ends with the cancellation, or catches it.
    fn func(cond: &Rc<Condition<bool>>, raised: &Rc<Cell<bool>>, catches: bool) -> Task<bool> {
        let (cond, raised) = (cond.clone(), raised.clone());
        spawn(async move {
            let guard = cond.lock().await;
            let wait = except_cancelled(cond.wait_for(guard, |wake| *wake), || raised.set(true));
            if catches {
                return catch_cancel(wait).await.is_err();
            }
            drop(wait.await);
            false
        })
    }

    #[test]
    fn test_cancelled_error_wakeup() {
        virtual_loop().run(async {
            for (catches, end) in [(false, Err(TaskError::Cancelled)), (true, Ok(true))] {
                let (cond, raised) = (Rc::new(Condition::new(false)), Rc::default());
                let task = func(&cond, &raised, catches);
                yield_now().await;
                assert_eq!(format!("{cond:?}"), shown(false, 1));
                task.cancel();
                assert_eq!(task.await, end);
                assert!(raised.get());
            }
        });
    }

    #[test]
    fn test_cancelled_error_re_aquire() {
        virtual_loop().run(async {
            for (catches, end) in [(false, Err(TaskError::Cancelled)), (true, Ok(true))] {
                let (cond, raised) = (Rc::new(Condition::new(false)), Rc::default());
                let task = func(&cond, &raised, catches);
                yield_now().await;
                let mut guard = cond.lock().await;
                *guard = true;
                cond.notify_one(&guard);
                yield_now().await;
                assert_eq!(format!("{cond:?}"), shown(true, 0));
                assert!(!task.is_done());
                task.cancel();
                drop(guard);
                assert_eq!(task.await, end);
                assert!(raised.get());
            }
        });
    }

    /// Two consumers wait. The one that was notified of an item is cancelled, and the other
    /// receives the item.
    fn cancel_the_notified(while_it_locks: bool) {
        virtual_loop().run(async {
            let (condition, consumed) = (Rc::new(Condition::new(0)), Rc::new(RefCell::new(Vec::new())));
            let [c0, c1] = [0, 1].map(|number| {
                let (condition, consumed) = (condition.clone(), consumed.clone());
                spawn(async move {
                    let mut guard = condition.lock().await;
                    loop {
                        guard = condition.wait_for(guard, |state| *state != 0).await;
                        if *guard < 0 {
                            return;
                        }
                        *guard -= 1;
                        consumed.borrow_mut().push(number);
                    }
                })
            });
            yield_now().await;
            let mut guard = condition.lock().await;
            *guard += 1;
            condition.notify(&guard, 1);
            if while_it_locks {
                yield_now().await;
            }
            c0.cancel();

            // No task notifies the producer, so this lets time pass.
            let is_consumed = condition.wait_for(guard, |state| *state == 0);
            assert_eq!(wait_for(is_consumed, ms(10)).await.map(drop), Err(Elapsed));
            let mut guard = condition.lock().await;
            assert_eq!(*guard, 0);
            assert_eq!(consumed.take(), [1]);
            assert!(c0.is_cancelled());

            *guard = -1;
            condition.notify_all(&guard);
            drop(guard);
            assert_eq!(c1.await, Ok(()));
        });
    }

    #[test]
    fn test_cancelled_wakeup() {
        cancel_the_notified(false);
    }

    #[test]
    fn test_cancelled_wakeup_relock() {
        cancel_the_notified(true);
    }
}
