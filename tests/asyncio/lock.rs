//! Lock: twins of `LockTests` in `test_locks.py`.
//!
//! There is no `release()`: a lock is released by dropping its guard.

mod lock_tests {
    use crate::Cue;
    use crate::common::{Trace, virtual_loop};
    use onelane::sync::{Lock, OwnedLockGuard};
    use onelane::{Task, TaskError, call_soon, spawn, yield_now};
    use std::cell::Cell;
    use std::rc::Rc;

    /// The place of the guard, for the code that releases the lock.
    type Held = Rc<Cell<Option<OwnedLockGuard>>>;

    fn shown(locked: bool, waiters: usize) -> String {
        format!("Lock {{ locked: {locked}, waiters: {waiters}, .. }}")
    }

    #[test]
    fn test_repr() {
        virtual_loop().run(async {
            let lock = Lock::new(());
            assert_eq!(format!("{lock:?}"), shown(false, 0));
            let _guard = lock.lock().await;
            assert_eq!(format!("{lock:?}"), shown(true, 0));
        });
    }

    #[test]
    fn test_acquire() {
        virtual_loop().run(async {
            let (lock, result, held) = (Rc::new(Lock::new(())), Trace::new(), Held::default());
            held.set(Some(lock.lock_owned().await));
            let c = |name: &'static str| {
                let (lock, result, held) = (lock.clone(), result.clone(), held.clone());
                spawn(async move {
                    held.set(Some(lock.lock_owned().await));
                    result.push(name);
                    true
                })
            };
            let (t1, t2) = (c("1"), c("2"));
            yield_now().await;
            assert_eq!(result.take(), [""; 0]);

            drop(held.take());
            yield_now().await;
            assert_eq!(result.take(), ["1"]);
            yield_now().await;
            assert_eq!(result.take(), [""; 0]);

            let t3 = c("3");
            drop(held.take());
            yield_now().await;
            assert_eq!(result.take(), ["2"]);

            drop(held.take());
            yield_now().await;
            assert_eq!(result.take(), ["3"]);
            for task in [t1, t2, t3] {
                assert!(task.is_done() && *task.result().unwrap());
            }
        });
    }

    #[test]
    fn test_acquire_cancel() {
        virtual_loop().run(async {
            let lock = Rc::new(Lock::new(()));
            let _guard = lock.lock().await;
            let task = spawn(lock.lock_owned());
            let task_ref = task.task_ref();
            call_soon(move || {
                task_ref.cancel();
            });
            assert!(task.await.is_err_and(|error| error.is_cancelled()));
            assert_eq!(format!("{lock:?}"), shown(true, 0));
        });
    }

    /// The first waiter is cancelled while the lock is released. The second waiter goes on, because
    /// the first one does not count any more.
    #[test]
    fn test_cancel_race() {
        virtual_loop().run(async {
            let lock = Rc::new(Lock::new(()));
            let lockit = |blocker: Option<Cue<()>>| {
                let lock = lock.clone();
                spawn(async move {
                    let _guard = lock.lock().await;
                    if let Some(blocker) = blocker {
                        blocker.wait().await;
                    }
                })
            };
            let fa = Cue::new();
            let ta = lockit(Some(fa.clone()));
            yield_now().await;
            assert!(lock.is_locked());
            let tb = lockit(None);
            yield_now().await;
            assert_eq!(format!("{lock:?}"), shown(true, 1));
            let tc = lockit(None);
            yield_now().await;
            assert_eq!(format!("{lock:?}"), shown(true, 2));

            fa.set(());
            assert!(tb.cancel());
            assert_eq!(format!("{lock:?}"), shown(true, 1));
            yield_now().await;
            assert!(!lock.is_locked());
            assert!(ta.is_done());
            assert!(tb.is_cancelled());
            assert_eq!(tc.await, Ok(()));
        });
    }

    /// Two tasks wait behind a cancelled one. The release lets one of them go on.
    #[test]
    fn test_cancel_release_race() {
        virtual_loop().run(async {
            let (lock, held) = (Rc::new(Lock::new(())), Held::default());
            let (lock_count, call_count) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
            let lockit = || -> Task<()> {
                let (lock, held) = (lock.clone(), held.clone());
                let (locks, calls) = (lock_count.clone(), call_count.clone());
                spawn(async move {
                    calls.set(calls.get() + 1);
                    held.set(Some(lock.lock_owned().await));
                    locks.set(locks.get() + 1);
                })
            };
            held.set(Some(lock.lock_owned().await));
            let (t1, t2, t3) = (lockit(), lockit(), lockit());
            yield_now().await;

            let (t1_ref, copy) = (t1.task_ref(), held.clone());
            call_soon(move || {
                t1_ref.cancel();
                drop(copy.take());
            });
            assert_eq!((&t1).await, Err(TaskError::Cancelled));
            assert_eq!((lock_count.get(), call_count.get()), (1, 3));
            assert!(t1.is_cancelled() && t2.is_done());

            t3.cancel();
            yield_now().await;
            assert!(t3.is_cancelled());
        });
    }

    #[test]
    fn test_finished_waiter_cancelled() {
        virtual_loop().run(async {
            let lock = Rc::new(Lock::new(()));
            let guard = lock.lock().await;
            assert!(lock.is_locked());
            let tb = spawn(lock.lock_owned());
            yield_now().await;
            assert_eq!(format!("{lock:?}"), shown(true, 1));

            let tc = spawn(lock.lock_owned());
            tb.cancel();
            drop(guard);
            yield_now().await;
            assert!(lock.is_locked());
            assert!(tb.is_cancelled());
            assert!(tc.await.is_ok());
        });
    }

    #[test]
    fn test_release_no_waiters() {
        virtual_loop().run(async {
            let lock = Rc::new(Lock::new(()));
            let guard = lock.lock_owned().await;
            assert!(lock.is_locked());
            drop(guard);
            assert!(!lock.is_locked());
        });
    }

    #[test]
    fn test_context_manager() {
        virtual_loop().run(async {
            let lock = Lock::new(());
            assert!(!lock.is_locked());
            {
                let _guard = lock.lock().await;
                assert!(lock.is_locked());
            }
            assert!(!lock.is_locked());
        });
    }
}
