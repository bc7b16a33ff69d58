//! `test_runners.py`: Ctrl-C while a main task runs. A signal affects the whole process, so each
//! test has its own process.
#![cfg(all(unix, feature = "signals"))]

mod runner_tests {
    use crate::common::{Trace, alone, ms, on_drop};
    use onelane::signals::SIGINT;
    use onelane::{EventLoop, RunError, current_task, sleep, spawn, yield_now};
    use std::future::pending;
    use std::thread;

    fn runner() -> EventLoop {
        EventLoop::builder().cancel_on_ctrl_c(true).build()
    }

    fn interrupt_self() {
        signal_hook::low_level::raise(SIGINT).unwrap();
    }

    #[test]
    fn test_interrupt_call_soon() {
        alone("runner_interrupt::runner_tests::test_interrupt_call_soon", || {
            let trace = Trace::new();
            let result = runner().try_run(async {
                onelane::call_later(ms(100), interrupt_self);
                let _cancelled = on_drop(|| trace.push("main is dropped"));
                loop {
                    yield_now().await;
                }
            });
            assert!(matches!(result, Err::<(), _>(RunError::Interrupted)), "{result:?}");
            assert_eq!(trace.take(), ["main is dropped"]);
        });
    }

    #[test]
    fn test_interrupt_wait() {
        alone("runner_interrupt::runner_tests::test_interrupt_wait", || {
            let event_loop = runner();
            let waited_for = event_loop.spawn(pending::<()>());
            let task = waited_for.task_ref();
            let result = event_loop.try_run(async move {
                onelane::call_later(ms(100), interrupt_self);
                waited_for.await.unwrap();
            });
            assert!(matches!(result, Err(RunError::Interrupted)), "{result:?}");
            assert!(task.is_cancelled());
        });
    }

    #[test]
    fn test_interrupt_cancelled_task() {
        alone("runner_interrupt::runner_tests::test_interrupt_cancelled_task", || {
            let result = runner().try_run(async {
                let main = current_task().unwrap();
                drop(spawn(async move {
                    yield_now().await;
                    main.cancel();
                    interrupt_self();
                }));
                sleep(ms(10_000)).await;
            });
            assert!(matches!(result, Err(RunError::Cancelled)), "{result:?}");
        });
    }

    /// In CPython only the main thread can install a handler. Here any thread can.
    #[test]
    fn test_signal_install_not_supported_ok() {
        alone("runner_interrupt::runner_tests::test_signal_install_not_supported_ok", || {
            let thread = thread::spawn(|| {
                runner().run(async {});
                runner().try_run(async {
                    interrupt_self();
                    sleep(ms(10_000)).await;
                })
            });
            let result = thread.join().unwrap();
            assert!(matches!(result, Err(RunError::Interrupted)), "{result:?}");
        });
    }
}
