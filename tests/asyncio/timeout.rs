//! timeout, timeout_at: twins of `test_timeouts.py`.

mod timeout_tests {
    use crate::common::{ms, on_drop, panic_of, virtual_loop};
    use futures_util::poll;
    use onelane::{Elapsed, EventLoop, TaskError, current_task, sleep, spawn, time, timeout, timeout_at, yield_now};
    use std::cell::Cell;
    use std::future::pending;
    use std::pin::Pin;
    use std::task::{Context, Waker};
    use std::thread;
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);
    /// Beyond what the loop's clock can count, so that it never comes.
    const NEVER: Duration = Duration::from_secs(600 * 365 * 86_400);

    #[test]
    fn test_timeout_basic() {
        virtual_loop().run(async {
            let start = time();
            assert_eq!(timeout(ms(10), sleep(10 * SECOND)).await, Err(Elapsed));
            assert_eq!(time() - start, ms(10));
        });
    }

    #[test]
    fn test_timeout_at_basic() {
        virtual_loop().run(async {
            let deadline = time() + ms(10);
            assert_eq!(timeout_at(deadline, sleep(10 * SECOND)).await, Err(Elapsed));
            assert_eq!(time(), deadline);
        });
    }

    /// Of two with the same deadline, the outer one is over; what is in the inner one is interrupted.
    #[test]
    fn test_nested_timeouts() {
        virtual_loop().run(async {
            let cancelled = Cell::new(false);
            let deadline = time() + ms(10);
            let inner = async {
                let _cancelled = on_drop(|| cancelled.set(true));
                let result = timeout_at(deadline, sleep(10 * SECOND)).await;
                unreachable!("the inner one gives {result:?}")
            };
            assert_eq!(timeout_at(deadline, inner).await, Err::<(), _>(Elapsed));
            assert_eq!((time(), cancelled.get()), (deadline, true));
        });
    }

    #[test]
    fn test_waiter_cancelled() {
        virtual_loop().run(async {
            let cancelled = Cell::new(false);
            let body = async {
                let _cancelled = on_drop(|| cancelled.set(true));
                sleep(10 * SECOND).await;
                unreachable!()
            };
            assert_eq!(timeout(ms(10), body).await, Err::<(), _>(Elapsed));
            assert!(cancelled.get());
        });
    }

    #[test]
    fn test_timeout_not_called() {
        let event_loop = virtual_loop();
        event_loop.run(async {
            let start = time();
            assert_eq!(timeout(10 * SECOND, sleep(ms(10))).await, Ok(()));
            assert_eq!(time() - start, ms(10));
            assert_eq!(event_loop.next_deadline(), None, "nothing is left of it that would fire");
        });
    }

    #[test]
    fn test_timeout_disabled() {
        let event_loop = virtual_loop();
        event_loop.run(async {
            assert_eq!(timeout(Duration::MAX, sleep(ms(10))).await, Ok(()));
            let mut endless = timeout(Duration::MAX, pending::<()>());
            assert!(poll!(&mut endless).is_pending());
            assert_eq!(event_loop.next_deadline(), None);
        });
    }

    #[test]
    fn test_timeout_at_disabled() {
        let event_loop = virtual_loop();
        event_loop.run(async {
            assert_eq!(timeout_at(time() + NEVER, sleep(ms(10))).await, Ok(()));
            let mut endless = timeout_at(time() + NEVER, pending::<()>());
            assert!(poll!(&mut endless).is_pending());
            assert_eq!(event_loop.next_deadline(), None);
        });
    }

    #[test]
    fn test_timeout_zero() {
        virtual_loop().run(async {
            let start = time();
            assert_eq!(timeout(Duration::ZERO, sleep(10 * SECOND)).await, Err(Elapsed));
            assert_eq!(time(), start);
        });
    }

    #[test]
    fn test_timeout_zero_sleep_zero() {
        virtual_loop().run(async {
            let start = time();
            assert_eq!(timeout(Duration::ZERO, sleep(Duration::ZERO)).await, Err(Elapsed));
            assert_eq!(timeout(Duration::ZERO, yield_now()).await, Err(Elapsed));
            assert_eq!(time(), start);
        });
    }

    /// A `Duration` is never negative: a moment that has passed.
    #[test]
    fn test_timeout_in_the_past_sleep_zero() {
        virtual_loop().run(async {
            sleep(20 * SECOND).await;
            let start = time();
            assert_eq!(timeout_at(start - 11 * SECOND, sleep(Duration::ZERO)).await, Err(Elapsed));
            assert_eq!(time(), start);
        });
    }

    #[test]
    fn test_foreign_exception_passed() {
        virtual_loop().run(async {
            assert_eq!(timeout(ms(10), async { Err::<(), _>("key error") }).await, Ok(Err("key error")));
            let panics = spawn(async { timeout(ms(10), async { panic!("key error") }).await });
            let Err(TaskError::Panicked(panic)) = panics.await else { panic!("it did not pass") };
            assert_eq!(panic.message(), "key error");
        });
    }

    #[test]
    fn test_foreign_cancel_doesnt_timeout_if_not_expired() {
        virtual_loop().run(async {
            let start = time();
            let task = spawn(async {
                timeout(10 * SECOND, async {
                    current_task().unwrap().cancel();
                    sleep(10 * SECOND).await;
                })
                .await
            });
            assert_eq!(task.await, Err(TaskError::Cancelled));
            assert_eq!(time(), start);
        });
    }

    #[test]
    fn test_outer_task_is_not_cancelled() {
        virtual_loop().run(async {
            let task = spawn(async { timeout(ms(1), sleep(10 * SECOND)).await });
            assert_eq!((&task).await, Ok(Err(Elapsed)));
            assert!(!task.is_cancelled() && task.is_done());
            assert_eq!(task.cancelling(), 0);
        });
    }

    /// The outer one is up while the loop is busy, long before the inner one.
    #[test]
    fn test_nested_timeouts_concurrent() {
        EventLoop::new().run(async {
            let inner = async {
                let result = timeout(100 * SECOND, async {
                    thread::sleep(ms(10));
                    sleep(1000 * SECOND).await;
                })
                .await;
                unreachable!("the inner one gives {result:?}")
            };
            assert_eq!(timeout(ms(2), inner).await, Err::<(), _>(Elapsed));
        });
    }

    /// Both are up while the loop is busy: the outer one does not wait for what comes behind the inner one.
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
            })
            .await;
            let took = time() - start;
            assert_eq!(result, Err(Elapsed));
            assert!(ms(100) <= took && took < 500 * SECOND, "{took:?}");
        });
    }

    #[test]
    fn test_repr_active() {
        virtual_loop().run(async {
            let mut active = timeout(10 * SECOND, pending::<()>());
            assert!(poll!(&mut active).is_pending());
            assert_eq!(
                format!("{active:?}"),
                "Timeout { deadline: Deadline { stage: Active, when: Time(10000000000) }, .. }"
            );
        });
    }

    #[test]
    fn test_timeout_double_enter() {
        virtual_loop().run(async {
            let mut once = timeout(ms(10), async {});
            assert_eq!((&mut once).await, Ok(()));
            let again = spawn(once);
            let Err(TaskError::Panicked(panic)) = again.await else { panic!("it was entered again") };
            assert_eq!(panic.message(), "a timeout was polled after it was over");
        });
    }

    /// It needs a loop that runs, where asyncio's needs a task as well.
    #[test]
    fn test_timeout_without_task() {
        let message = panic_of(|| timeout(ms(10), async {}));
        assert!(message.contains("timeout() was called, but there is no running event loop"), "{message}");
        let event_loop = virtual_loop();
        #[allow(clippy::async_yields_async, reason = "it is not to be awaited there")]
        let mut outside = event_loop.run(async { timeout(ms(10), async {}) });
        let message = panic_of(|| Pin::new(&mut outside).poll(&mut Context::from_waker(Waker::noop())));
        assert!(message.contains("poll() of a timeout was called, but there is no running event loop"), "{message}");
    }
}
