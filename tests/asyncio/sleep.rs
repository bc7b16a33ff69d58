//! sleep: twins of the tests of `sleep` in `test_tasks.py`.

mod base_task_tests {
    use crate::common::{ms, virtual_loop};
    use onelane::{TaskError, sleep};
    use std::time::Duration;

    #[test]
    fn test_sleep() {
        let event_loop = virtual_loop();
        let start = event_loop.time();
        let task = event_loop.spawn(async move {
            sleep(ms(50)).await;
            assert_eq!(onelane::time() - start, ms(50));
            sleep(ms(50)).await;
            "yeah"
        });
        event_loop.run(&task).unwrap();
        assert!(task.is_done());
        assert_eq!((*task.result().unwrap(), event_loop.time() - start), ("yeah", ms(100)));
    }

    #[test]
    fn test_sleep_cancel() {
        let event_loop = virtual_loop();
        let task = event_loop.spawn(async { sleep(Duration::from_secs(10)).await });
        let turn = event_loop.turn();
        assert_eq!(turn.next_deadline, Some(event_loop.time() + Duration::from_secs(10)));
        task.cancel();
        let turn = event_loop.turn();
        assert_eq!((turn.next_deadline, turn.ready, turn.tasks), (None, 0, 0), "the timer was removed");
        assert_eq!(task.result().map(|_| ()), Err(TaskError::Cancelled));
    }
}

mod sleep_tests {
    use crate::common::virtual_loop;
    use onelane::{call_soon, sleep, yield_now};
    use std::cell::Cell;
    use std::rc::Rc;
    use std::time::Duration;

    /// `sleep(0)` returns after the entries that are ready now. What these entries queue runs
    /// later.
    #[test]
    fn test_sleep_zero() {
        for zero in [true, false] {
            let result = Rc::new(Cell::new(0));
            virtual_loop().run(async {
                let (inc, copy) = (result.clone(), result.clone());
                call_soon(move || {
                    inc.set(inc.get() + 1);
                    call_soon(move || copy.set(copy.get() + 100));
                });
                assert_eq!(result.get(), 0);
                if zero {
                    sleep(Duration::ZERO).await;
                } else {
                    yield_now().await;
                }
                assert_eq!(result.get(), 1);
                result.set(result.get() + 10);
                assert_eq!(result.get(), 11);
            });
        }
    }
}
