//! timeout, timeout_at: twins of `test_timeouts.py`. The value that `async with` binds in Python is
//! a `Deadline`.

mod timeout_tests {
    use crate::common::{ms, panic_of, virtual_loop};
    use crate::except_cancelled;
    use onelane::{
        Cancelled, Deadline, Elapsed, EventLoop, TaskError, catch_cancel, current_task, finally, sleep, spawn, time,
        timeout, yield_now,
    };
    use std::cell::Cell;
    use std::pin::Pin;
    use std::task::{Context, Waker};
    use std::thread;
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn test_timeout_basic() {
        virtual_loop().run(async {
            let start = time();
            let deadline = Deadline::after(ms(10));
            assert_eq!(deadline.limit(sleep(10 * SECOND)).await, Err(Elapsed));
            assert!(deadline.has_expired());
            assert_eq!(time() - start, ms(10));
        });
    }

    #[test]
    fn test_timeout_at_basic() {
        virtual_loop().run(async {
            let moment = time() + ms(10);
            let deadline = Deadline::at(moment);
            assert_eq!(deadline.limit(sleep(10 * SECOND)).await, Err(Elapsed));
            assert!(deadline.has_expired());
            assert_eq!((deadline.when(), time()), (Some(moment), moment));
        });
    }

    /// Of two timeouts with the same deadline, the outer one expires. The future in the inner one
    /// is interrupted.
    #[test]
    fn test_nested_timeouts() {
        virtual_loop().run(async {
            let cancelled = Cell::new(false);
            let moment = time() + ms(10);
            let (outer, inner) = (Deadline::at(moment), Deadline::at(moment));
            let body = async {
                let result = except_cancelled(inner.limit(sleep(10 * SECOND)), || cancelled.set(true)).await;
                unreachable!("the inner timeout returned {result:?}")
            };
            assert_eq!(outer.limit(body).await, Err::<(), _>(Elapsed));
            assert!(cancelled.get());
            assert!(outer.has_expired());
            assert!(inner.has_expired());
        });
    }

    #[test]
    fn test_waiter_cancelled() {
        virtual_loop().run(async {
            let cancelled = Cell::new(false);
            let body = except_cancelled(sleep(10 * SECOND), || cancelled.set(true));
            assert_eq!(timeout(ms(10), body).await, Err(Elapsed));
            assert!(cancelled.get());
        });
    }

    #[test]
    fn test_timeout_not_called() {
        let event_loop = virtual_loop();
        event_loop.run(async {
            let deadline = Deadline::after(10 * SECOND);
            assert_eq!(deadline.limit(sleep(ms(10))).await, Ok(()));
            assert!(!deadline.has_expired());
            assert!(deadline.when().unwrap() > time());
            assert_eq!(event_loop.next_deadline(), None, "no timer is left");
        });
    }

    #[test]
    fn test_timeout_disabled() {
        virtual_loop().run(async {
            let deadline = Deadline::never();
            assert_eq!(deadline.limit(sleep(ms(10))).await, Ok(()));
            assert!(!deadline.has_expired());
            assert_eq!(deadline.when(), None);
        });
    }

    /// The deadline is removed before the timeout begins.
    #[test]
    fn test_timeout_at_disabled() {
        virtual_loop().run(async {
            let deadline = Deadline::at(time());
            assert!(deadline.reschedule(None));
            assert_eq!(deadline.limit(sleep(ms(10))).await, Ok(()));
            assert!(!deadline.has_expired());
            assert_eq!(deadline.when(), None);
        });
    }

    #[test]
    fn test_timeout_zero() {
        virtual_loop().run(async {
            let start = time();
            let deadline = Deadline::after(Duration::ZERO);
            assert_eq!(deadline.limit(sleep(10 * SECOND)).await, Err(Elapsed));
            assert!(deadline.has_expired());
            assert_eq!((deadline.when(), time()), (Some(start), start));
        });
    }

    #[test]
    fn test_timeout_zero_sleep_zero() {
        virtual_loop().run(async {
            let start = time();
            let deadline = Deadline::after(Duration::ZERO);
            assert_eq!(deadline.limit(sleep(Duration::ZERO)).await, Err(Elapsed));
            assert!(deadline.has_expired());
            assert_eq!((deadline.when(), time()), (Some(start), start));
        });
    }

    /// A `Duration` is never negative, so the deadline is in the past.
    #[test]
    fn test_timeout_in_the_past_sleep_zero() {
        virtual_loop().run(async {
            sleep(20 * SECOND).await;
            let start = time();
            let deadline = Deadline::at(start - 11 * SECOND);
            assert_eq!(deadline.limit(sleep(Duration::ZERO)).await, Err(Elapsed));
            assert!(deadline.has_expired());
            assert_eq!((deadline.when(), time()), (Some(start - 11 * SECOND), start));
        });
    }

    #[test]
    fn test_foreign_exception_passed() {
        virtual_loop().run(async {
            let deadline = Deadline::after(ms(10));
            assert_eq!(deadline.limit(async { Err::<(), _>("key error") }).await, Ok(Err("key error")));
            assert!(!deadline.has_expired());

            let deadline = Deadline::after(ms(10));
            let panics = spawn(deadline.limit(async { panic!("key error") }));
            let Err(TaskError::Panicked(panic)) = panics.await else { panic!("the panic did not pass") };
            assert_eq!(panic.message(), "key error");
            assert!(!deadline.has_expired());
        });
    }

    #[test]
    fn test_foreign_cancel_doesnt_timeout_if_not_expired() {
        virtual_loop().run(async {
            let start = time();
            let deadline = Deadline::after(10 * SECOND);
            let task = spawn(deadline.limit(async {
                current_task().unwrap().cancel();
                sleep(10 * SECOND).await;
            }));
            assert_eq!(task.await, Err(TaskError::Cancelled));
            assert!(!deadline.has_expired());
            assert_eq!(time(), start);
        });
    }

    #[test]
    fn test_outer_task_is_not_cancelled() {
        virtual_loop().run(async {
            let task = spawn(async { assert_eq!(timeout(ms(1), sleep(10 * SECOND)).await, Err(Elapsed)) });
            assert_eq!((&task).await, Ok(()));
            assert!(!task.is_cancelled() && task.is_done());
        });
    }

    /// The outer timeout expires while the loop is busy, long before the inner one. This uses real
    /// time, because virtual time does not pass in a step.
    #[test]
    fn test_nested_timeouts_concurrent() {
        EventLoop::new().run(async {
            let body = async {
                let inner = timeout(100 * SECOND, async {
                    thread::sleep(ms(10));
                    sleep(1000 * SECOND).await;
                });
                unreachable!("the inner timeout returned {:?}", inner.await)
            };
            assert_eq!(timeout(ms(2), body).await, Err::<(), _>(Elapsed));
        });
    }

    /// Both timeouts expire while the loop is busy. The sleep after the inner one ends at once.
    #[test]
    fn test_nested_timeouts_loop_busy() {
        EventLoop::new().run(async {
            let start = time();
            let result = timeout(ms(100), async {
                let inner = timeout(ms(10), async {
                    thread::sleep(ms(100));
                    sleep(1000 * SECOND).await;
                });
                assert_eq!(inner.await, Err(Elapsed));
                sleep(1000 * SECOND).await;
            });
            assert_eq!(result.await, Err(Elapsed));
            let took = time() - start;
            assert!(ms(100) <= took && took < 500 * SECOND, "{took:?}");
        });
    }

    #[test]
    fn test_reschedule() {
        virtual_loop().run(async {
            let first = time() + 10 * SECOND;
            let second = first + 20 * SECOND;
            let deadline = Deadline::at(first);
            let task = spawn(deadline.limit(sleep(50 * SECOND)));
            yield_now().await;

            assert_eq!(deadline.when(), Some(first));
            assert!(deadline.reschedule(Some(second)));
            assert_eq!(deadline.when(), Some(second));
            sleep(15 * SECOND).await;
            assert!(!task.is_done(), "the deadline was rescheduled");
            assert!(deadline.reschedule(None));
            assert_eq!(deadline.when(), None);
            sleep(30 * SECOND).await;
            assert!(!task.is_done(), "the deadline was removed");

            task.cancel();
            assert_eq!(task.await, Err(TaskError::Cancelled));
            assert!(!deadline.has_expired());
        });
    }

    #[test]
    fn test_repr_active() {
        virtual_loop().run(async {
            let deadline = Deadline::after(10 * SECOND);
            let inside = async { format!("{deadline:?}") };
            let repr = deadline.limit(inside).await.unwrap();
            assert_eq!(repr, "Deadline { stage: Active, when: Some(Time(10000000000)) }");
        });
    }

    #[test]
    fn test_repr_expired() {
        virtual_loop().run(async {
            let deadline = Deadline::after(ms(10));
            assert_eq!(deadline.limit(sleep(10 * SECOND)).await, Err(Elapsed));
            assert!(format!("{deadline:?}").contains("stage: Expired"), "{deadline:?}");
        });
    }

    #[test]
    fn test_repr_finished() {
        virtual_loop().run(async {
            let deadline = Deadline::after(10 * SECOND);
            assert_eq!(deadline.limit(yield_now()).await, Ok(()));
            assert!(format!("{deadline:?}").contains("stage: Finished"), "{deadline:?}");
        });
    }

    /// `Debug` shows a deadline that never comes as a number, and `when` returns `None` for it.
    #[test]
    fn test_repr_disabled() {
        virtual_loop().run(async {
            let deadline = Deadline::never();
            let inside = async { (format!("{deadline:?}"), deadline.when()) };
            let (repr, when) = deadline.limit(inside).await.unwrap();
            assert!(repr.contains("stage: Active"), "{repr}");
            assert_eq!(when, None);
        });
    }

    /// The cleanup has its own limit, which is later than the limit of the body.
    #[test]
    fn test_nested_timeout_in_finally() {
        virtual_loop().run(async {
            let start = time();
            let cleanup = async move {
                assert_eq!(time() - start, ms(10));
                assert_eq!(timeout(ms(10), sleep(10 * SECOND)).await, Err(Elapsed));
            };
            assert_eq!(timeout(ms(10), finally(sleep(SECOND), cleanup)).await, Err(Elapsed));
            assert_eq!(time() - start, ms(20));
        });
    }

    #[test]
    fn test_timeout_after_cancellation() {
        virtual_loop().run(async {
            let start = time();
            let task = spawn(async {
                let work = async {
                    current_task().unwrap().cancel();
                    sleep(SECOND).await;
                };
                assert_eq!(catch_cancel(work).await, Err(Cancelled));
                assert_eq!(timeout(Duration::ZERO, sleep(SECOND)).await, Err(Elapsed));
                assert_eq!(current_task().unwrap().cancelling(), 1);
            });
            assert_eq!(task.await, Ok(()));
            assert_eq!(time(), start);
        });
    }

    #[test]
    fn test_cancel_in_timeout_after_cancellation() {
        virtual_loop().run(async {
            let start = time();
            let task = spawn(async {
                let cancel_and_sleep = async |duration| {
                    current_task().unwrap().cancel();
                    sleep(duration).await;
                };
                assert_eq!(catch_cancel(cancel_and_sleep(SECOND)).await, Err(Cancelled));
                let deadline = Deadline::after(SECOND);
                assert_eq!(catch_cancel(deadline.limit(cancel_and_sleep(2 * SECOND))).await, Err(Cancelled));
                assert!(!deadline.has_expired());
                assert_eq!(current_task().unwrap().cancelling(), 2);
            });
            assert_eq!(task.await, Ok(()));
            assert_eq!(time(), start);
        });
    }

    const TWICE: &str = "Deadline::limit() was called for a second future; make a deadline for each";

    #[test]
    fn test_timeout_already_entered() {
        virtual_loop().run(async {
            let deadline = Deadline::after(ms(10));
            let inside = async { panic_of(|| deadline.limit(async {})) };
            assert_eq!(deadline.limit(inside).await.as_deref(), Ok(TWICE));
        });
    }

    #[test]
    fn test_timeout_double_enter() {
        virtual_loop().run(async {
            let deadline = Deadline::after(ms(10));
            let mut once = deadline.limit(async {});
            assert_eq!((&mut once).await, Ok(()));
            assert_eq!(panic_of(|| deadline.limit(async {})), TWICE);
            let Err(TaskError::Panicked(panic)) = spawn(once).await else { panic!("it was entered again") };
            assert_eq!(panic.message(), "a timeout was polled after it was ready");
        });
    }

    #[test]
    fn test_timeout_finished() {
        virtual_loop().run(async {
            let deadline = Deadline::after(ms(10));
            let when = deadline.when();
            assert_eq!(deadline.limit(async {}).await, Ok(()));
            assert!(!deadline.reschedule(Some(time() + ms(20))));
            assert_eq!(deadline.when(), when);
            assert!(format!("{deadline:?}").contains("Finished"), "{deadline:?}");
        });
    }

    #[test]
    fn test_timeout_expired() {
        virtual_loop().run(async {
            let deadline = Deadline::after(ms(10));
            let when = deadline.when();
            assert_eq!(deadline.limit(sleep(SECOND)).await, Err(Elapsed));
            assert!(!deadline.reschedule(Some(time() + ms(20))));
            assert_eq!(deadline.when(), when);
            assert!(format!("{deadline:?}").contains("Expired"), "{deadline:?}");
        });
    }

    #[test]
    fn test_timeout_expiring() {
        virtual_loop().run(async {
            let deadline = Deadline::after(ms(10));
            let body = async {
                assert_eq!(catch_cancel(sleep(SECOND)).await, Err(Cancelled));
                assert!(!deadline.reschedule(Some(time() + ms(20))));
            };
            assert_eq!(deadline.limit(body).await, Ok(()));
            assert!(deadline.has_expired());
            assert_eq!(current_task().unwrap().cancelling(), 0);
        });
    }

    /// A deadline can be rescheduled before its timeout begins.
    #[test]
    fn test_timeout_not_entered() {
        virtual_loop().run(async {
            let (start, deadline) = (time(), Deadline::after(ms(10)));
            assert!(deadline.reschedule(Some(start + ms(20))));
            assert_eq!(deadline.limit(sleep(SECOND)).await, Err(Elapsed));
            assert_eq!(time() - start, ms(20));
        });
    }

    /// A timeout needs a running loop, but no task.
    #[test]
    fn test_timeout_without_task() {
        let message = panic_of(|| Deadline::after(ms(10)));
        assert!(message.contains("Deadline::after() was called, but there is no running event loop"), "{message}");
        let event_loop = virtual_loop();
        #[allow(clippy::async_yields_async, reason = "it is not to be awaited there")]
        let mut outside = event_loop.run(async { timeout(ms(10), async {}) });
        let message = panic_of(|| Pin::new(&mut outside).poll(&mut Context::from_waker(Waker::noop())));
        assert!(message.contains("poll() of a timeout was called, but there is no running event loop"), "{message}");
        assert!(outside.deadline().reschedule(None), "it was not entered");
    }
}
