//! Event: twins of `EventTests` in `test_locks.py`.

mod event_tests {
    use crate::common::{Trace, virtual_loop};
    use futures_util::FutureExt;
    use onelane::sync::Event;
    use onelane::{Task, TaskError, call_soon, spawn, yield_now};

    fn shown(set: bool, waiters: usize) -> String {
        format!("Event {{ set: {set}, waiters: {waiters} }}")
    }

    /// A task that records its name after the event was set.
    fn c(event: &Event, result: &Trace, name: &'static str) -> Task<()> {
        let (wait, result) = (event.wait(), result.clone());
        spawn(async move {
            wait.await;
            result.push(name);
        })
    }

    #[test]
    fn test_wait() {
        virtual_loop().run(async {
            let (event, result) = (Event::new(), Trace::new());
            assert!(!event.is_set());
            let (t1, t2) = (c(&event, &result, "1"), c(&event, &result, "2"));
            yield_now().await;
            assert_eq!(result.take(), [""; 0]);

            let t3 = c(&event, &result, "3");
            event.set();
            yield_now().await;
            assert_eq!(result.take(), ["3", "1", "2"]);
            for task in [t1, t2, t3] {
                assert!(task.is_done());
                assert_eq!(task.await, Ok(()));
            }
        });
    }

    #[test]
    fn test_wait_on_set() {
        virtual_loop().run(async {
            let event = Event::new();
            event.set();
            assert_eq!(event.wait().now_or_never(), Some(()));
        });
    }

    #[test]
    fn test_wait_cancel() {
        virtual_loop().run(async {
            let event = Event::new();
            let wait = spawn(event.wait());
            let wait_ref = wait.task_ref();
            call_soon(move || {
                wait_ref.cancel();
            });
            assert_eq!(wait.await, Err(TaskError::Cancelled));
            assert_eq!(format!("{event:?}"), shown(false, 0));
        });
    }

    #[test]
    fn test_clear() {
        let event = Event::new();
        assert!(!event.is_set());
        event.set();
        assert!(event.is_set());
        event.clear();
        assert!(!event.is_set());
    }

    #[test]
    fn test_clear_with_waiters() {
        virtual_loop().run(async {
            let (event, result) = (Event::new(), Trace::new());
            let task = c(&event, &result, "1");
            yield_now().await;
            assert_eq!(result.take(), [""; 0]);

            event.set();
            event.clear();
            assert!(!event.is_set());
            event.set();
            event.set();
            assert_eq!(format!("{event:?}"), shown(true, 1));

            yield_now().await;
            assert_eq!(result.take(), ["1"]);
            assert_eq!(format!("{event:?}"), shown(true, 0));
            assert!(task.is_done());
            assert_eq!(task.await, Ok(()));
        });
    }
}
