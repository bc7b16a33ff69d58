//! Context variables, which are [`task_local!`](onelane::task_local) here: twins of `test_tasks.py`
//! and `test_futures2.py`.

mod base_task_tests {
    use crate::common::{ms, virtual_loop};
    use onelane::{EventLoop, Promise, Task, call_soon, gather, sleep, spawn, task, yield_now};
    use std::cell::Cell;
    use std::rc::Rc;

    onelane::task_local! {
        static CVAR: String = "nope".to_string();
        static NUMBER: i32 = -1;
        static SHARED: Rc<Cell<Option<i32>>>;
    }

    #[test]
    fn test_context_1() {
        virtual_loop().run(async {
            assert_eq!(CVAR.get(), "nope");
            let subtask = spawn(async {
                sleep(ms(10)).await;
                assert_eq!(CVAR.get(), "nope");
                drop(CVAR.set("something else".into()));
            });
            drop(CVAR.set("yes".into()));
            assert_eq!(CVAR.get(), "yes");
            subtask.await.unwrap();
            assert_eq!(CVAR.get(), "yes");
        });
    }

    /// A value that a callback sets does not reach the task that added the callback.
    #[test]
    fn test_context_2() {
        virtual_loop().run(async {
            assert_eq!(CVAR.get(), "nope");
            for j in 0..2 {
                let fut = Promise::new();
                fut.add_done_callback(|_| drop(CVAR.set("something else".into())));
                drop(CVAR.set(format!("yes{j}")));
                let copy = fut.clone();
                call_soon(move || copy.set_result(()).unwrap());
                fut.await.unwrap();
                assert_eq!(CVAR.get(), format!("yes{j}"));
                for i in 0..3 {
                    drop(CVAR.set(format!("yes{i}-{j}")));
                    sleep(ms(1)).await;
                    assert_eq!(CVAR.get(), format!("yes{i}-{j}"));
                }
            }
        });
        assert_eq!(CVAR.get(), "nope");
    }

    #[test]
    fn test_context_3() {
        virtual_loop().run(async {
            let sub = |number: i32| async move {
                for i in 0..10 {
                    drop(NUMBER.set(number + i));
                    sleep(ms(1 + (number * 7 + i * 13) as u64 % 50)).await;
                    assert_eq!(NUMBER.get(), number + i);
                }
            };
            gather((0..100).map(|number| spawn(sub(number % 11)))).await.unwrap();
            assert_eq!(NUMBER.get(), -1);
        });
        assert_eq!(NUMBER.get(), -1);
    }

    async fn set_shared(val: i32) {
        yield_now().await;
        SHARED.get().set(Some(val));
        // This value stays in this task.
        drop(SHARED.set(Rc::default()));
    }

    /// A task always begins with a copy of the values. To share something, the value itself must be
    /// shared.
    fn check_shared(spawn: fn(i32) -> Task<()>) {
        let seen = virtual_loop().run(async {
            drop(SHARED.set(Rc::default()));
            let mut seen = vec![SHARED.get().get()];
            for val in [1, 2] {
                spawn(val).await.unwrap();
                seen.push(SHARED.get().get());
            }
            seen
        });
        assert_eq!(seen, [None, Some(1), Some(2)]);
    }

    #[test]
    fn test_context_4() {
        check_shared(|val| task::Builder::new().spawn(set_shared(val)));
    }

    #[test]
    fn test_context_5() {
        check_shared(|val| spawn(set_shared(val)));
    }

    #[test]
    fn test_context_6() {
        check_shared(|val| EventLoop::current().spawn(set_shared(val)));
    }
}

mod future_tests {
    use crate::common::Trace;
    use onelane::{Clock, EventLoop, call_soon, spawn, yield_now};

    onelane::task_local! {
        static NAME: &'static str = "foo";
    }

    /// A loop whose exception handler records the value that it sees.
    fn seeing_loop() -> (EventLoop, Trace) {
        let seen = Trace::new();
        let copy = seen.clone();
        let handler = move |exception: &onelane::Exception| {
            copy.push(format!("{}: {}", exception.panic.message(), NAME.get()));
        };
        (EventLoop::builder().clock(Clock::Virtual).exception_handler(handler).build(), seen)
    }

    /// The values of a task are dropped when it ends. The handler sees the values of the code that
    /// drops the last handle, and here there are none.
    #[test]
    fn test_task_exc_handler_correct_context() {
        let (event_loop, seen) = seeing_loop();
        event_loop.run(async {
            spawn(async {
                drop(NAME.set("bar"));
                panic!("zero division");
            });
            yield_now().await;
        });
        assert_eq!(seen.take(), ["zero division: foo"]);
    }

    #[test]
    fn test_handle_exc_handler_correct_context() {
        let (event_loop, seen) = seeing_loop();
        event_loop.run(async {
            call_soon(|| {
                drop(NAME.set("bar"));
                panic!("zero division");
            });
            yield_now().await;
        });
        assert_eq!(seen.take(), ["zero division: bar"]);
    }
}
