//! `run`, and a loop that is run by its owner: twins of `test_runners.py`.

mod run_tests {
    use crate::common::stderr_with;
    use crate::common::{ms, on_drop, panic_of, telling_loop, virtual_loop};
    use crate::loop_core::is_debug;
    use onelane::{EventLoop, RunError, Task, sleep, spawn, yield_now};

    #[test]
    fn test_asyncio_run_return() {
        let value = onelane::run(async {
            yield_now().await;
            42
        });
        assert_eq!(value, 42);
    }

    #[test]
    fn test_asyncio_run_raises() {
        let message = panic_of(|| {
            onelane::run(async {
                yield_now().await;
                panic!("spam")
            })
        });
        assert_eq!(message, "spam");
        let error: Result<(), _> = onelane::run(async {
            yield_now().await;
            Err("spam")
        });
        assert_eq!(error, Err("spam"));
    }

    /// The builder overrides the environment, and the environment overrides the default.
    #[test]
    fn test_asyncio_run_debug() {
        for (variable, by_default) in [(None, false), (Some("1"), true)] {
            let told = stderr_with("runner::run_tests::test_asyncio_run_debug", variable, || {
                let builder = || EventLoop::builder();
                let debug = [builder(), builder().debug(false), builder().debug(true)].map(is_debug);
                eprintln!("debug mode: {debug:?}");
            });
            let Some(told) = told else { return };
            assert!(told.contains(&format!("debug mode: [{by_default}, false, true]")), "{told}");
        }
    }

    #[test]
    fn test_asyncio_run_from_running_loop() {
        let message = panic_of(|| onelane::run(async { onelane::run(async {}) }));
        assert_eq!(message, "onelane::run() cannot be called from a running event loop");
        assert!(matches!(onelane::run(async { onelane::try_run(async {}) }), Err(RunError::Nested)));
    }

    #[test]
    fn test_asyncio_run_cancels_hanging_tasks() {
        let mut leftover: Option<Task<()>> = None;
        let value = onelane::run(async {
            leftover = Some(spawn(sleep(ms(100))));
            123
        });
        let leftover = leftover.unwrap();
        assert_eq!(value, 123);
        assert!(leftover.is_done() && leftover.is_cancelled());
    }

    /// A destructor panics when the task is cancelled. The panic is reported when the last handle
    /// is dropped without a read.
    #[test]
    fn test_asyncio_run_reports_hanging_tasks_errors() {
        let (event_loop, told) = telling_loop();
        let mut leftover: Option<Task<()>> = None;
        let value = event_loop.run(async {
            leftover = Some(spawn(async {
                let _cancelled = on_drop(|| panic!("zero division"));
                sleep(ms(100)).await;
            }));
            123
        });
        assert_eq!(value, 123);
        let leftover = leftover.unwrap();
        assert!(leftover.is_done() && !leftover.is_cancelled());
        drop(leftover);
        assert_eq!(told.take(), ["a task panicked and its result was never read: zero division"]);
    }

    /// The caller of `run` makes the loop, not `run` itself.
    #[test]
    fn test_asyncio_run_loop_factory() {
        let event_loop = virtual_loop();
        event_loop.run(async { assert!(EventLoop::current() == event_loop.loop_ref()) });
    }
}

mod runner_tests {
    use crate::common::{Census, panic_of, virtual_loop};
    use crate::loop_core::is_debug;
    use onelane::{EventLoop, yield_now};
    use std::future::{Ready, ready};

    #[test]
    fn test_non_debug() {
        assert!(!is_debug(EventLoop::builder().debug(false)));
    }

    #[test]
    fn test_debug() {
        assert!(is_debug(EventLoop::builder().debug(true)));
    }

    onelane::task_local! {
        static CVAR: i32 = -1;
    }

    /// Values belong to tasks, and each run begins without values.
    #[test]
    fn test_run_keeps_context() {
        let event_loop = virtual_loop();
        let f = async |val| {
            let old = CVAR.get();
            yield_now().await;
            drop(CVAR.set(val));
            (old, CVAR.get())
        };
        assert_eq!(event_loop.run(f(1)), (-1, 1));
        assert_eq!(event_loop.run(f(2)), (-1, 2));
        assert_eq!(event_loop.run(async { CVAR.get() }), -1);
    }

    #[test]
    fn test_run() {
        let event_loop = virtual_loop();
        let done = event_loop.run(async {
            yield_now().await;
            "done"
        });
        assert_eq!(done, "done");
        let loop_ref = event_loop.loop_ref();
        assert!(!loop_ref.is_closed());
        drop(event_loop);
        assert!(loop_ref.is_closed());
        assert!(panic_of(|| loop_ref.time()).contains("the event loop is closed"));
    }

    #[test]
    fn test_run_future() {
        let event_loop = virtual_loop();
        let task = event_loop.spawn(async { "done" });
        event_loop.turn();
        assert!(task.is_done());
        assert_eq!(event_loop.run(task), Ok("done"));
        assert_eq!(event_loop.run(ready("done")), "done");
    }

    struct MyAwaitable;

    impl IntoFuture for MyAwaitable {
        type Output = &'static str;
        type IntoFuture = Ready<&'static str>;

        fn into_future(self) -> Self::IntoFuture {
            ready("done")
        }
    }

    #[test]
    fn test_run_awaitable() {
        assert_eq!(virtual_loop().run(MyAwaitable), "done");
        assert_eq!(onelane::run(MyAwaitable), "done");
    }

    #[test]
    fn test_explicit_close() {
        let event_loop = virtual_loop();
        let loop_ref = event_loop.loop_ref();
        drop(event_loop);
        assert!(loop_ref.is_closed());
        assert!(panic_of(|| loop_ref.remote()).contains("the event loop is closed"));
    }

    #[test]
    fn test_recursive_run() {
        let (event_loop, census) = (virtual_loop(), Census::new());
        let message = panic_of(|| {
            event_loop.run(async {
                let member = census.member();
                event_loop.run(async move {
                    drop(member);
                    unreachable!()
                })
            })
        });
        assert_eq!(message, "onelane::run() cannot be called from a running event loop");
        assert_eq!(census.counts(), (1, 1), "the inner future was never polled, and was dropped");
        assert!(EventLoop::try_current().is_err());
    }
}
