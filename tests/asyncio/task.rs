//! Tasks, their cancellation, `current_task` and `all_tasks`: twins of `test_tasks.py`.

mod base_task_tests {
    use crate::common::{Trace, ms, on_drop, panic_of, telling_loop, virtual_loop};
    use crate::{Cue, is_awaited};
    use onelane::{
        EventLoop, Promise, Task, TaskError, all_tasks, call_later, call_soon, current_task, gather, sleep, spawn,
        task, wait, yield_now,
    };
    use std::cell::{Cell, OnceCell};
    use std::error::Error;
    use std::fmt;
    use std::future::pending;
    use std::rc::Rc;
    use std::time::Duration;

    const LONG: Duration = Duration::from_secs(10);

    #[test]
    fn test_task_basics() {
        let sum = virtual_loop().run(async {
            let inner1 = async || 42;
            let inner2 = async || 1000;
            let a = inner1().await;
            let b = inner2().await;
            a + b
        });
        assert_eq!(sum, 1042);
    }

    #[test]
    fn test_task_class() {
        let (event_loop, other_loop) = (virtual_loop(), virtual_loop());
        let task = event_loop.spawn(async { "ok" });
        assert_eq!(event_loop.all_tasks(), [task.task_ref()]);
        assert!(other_loop.all_tasks().is_empty());
        assert_eq!(event_loop.run(&task), Ok("ok"));
        assert!(task.is_done());
        assert_eq!(*task.result().unwrap(), "ok");

        let task = other_loop.spawn(async { "ok" });
        assert_eq!(other_loop.all_tasks(), [task.task_ref()]);
        assert!(event_loop.all_tasks().is_empty());
        assert_eq!(other_loop.run(task), Ok("ok"));
    }

    #[test]
    fn test_task_awaits_on_itself() {
        let event_loop = virtual_loop();
        let own = Rc::new(OnceCell::<Rc<Task<()>>>::new());
        let copy = own.clone();
        let task = Rc::new(event_loop.spawn(async move {
            let own = copy.get().unwrap().clone();
            (&*own).await.unwrap();
        }));
        own.set(task.clone()).unwrap();
        let Err(TaskError::Panicked(panic)) = event_loop.run(&*task) else { panic!("it did not fail") };
        assert!(panic.message().contains("awaits itself"), "{}", panic.message());
    }

    #[test]
    fn test_other_loop_future() {
        let (event_loop, other_loop) = (virtual_loop(), virtual_loop());
        let task = other_loop.spawn(async {});
        let copy = task.task_ref();
        let message = panic_of(|| event_loop.run(async { task.await }));
        assert!(message.contains("belongs to another event loop"), "{message}");
        assert!(!copy.is_done());
    }

    #[test]
    fn test_ensure_future_coroutine() {
        let event_loop = virtual_loop();
        let task = event_loop.spawn(async { "ok" });
        assert_eq!(event_loop.all_tasks(), [task.task_ref()]);
        event_loop.run(&task).unwrap();
        assert!(task.is_done());
        assert_eq!(*task.result().unwrap(), "ok");

        assert!(panic_of(|| spawn(async { "ok" })).contains("there is no running event loop"));

        event_loop.run(async {
            let task = spawn(async { "ok" });
            assert!(event_loop.all_tasks().contains(&task.task_ref()));
            (&task).await.unwrap();
            assert!(task.is_done());
            assert_eq!(*task.result().unwrap(), "ok");
        });
    }

    /// A promise is awaited directly in any loop, because it belongs to no loop.
    #[test]
    fn test_ensure_future_future() {
        let (event_loop, other_loop) = (virtual_loop(), virtual_loop());
        let promise = Promise::new();
        promise.set_result("ko").unwrap();
        for running in [&event_loop, &other_loop, &event_loop] {
            let result = running.run(async {
                let tasks = all_tasks();
                let result = (&promise).await;
                assert_eq!(all_tasks(), tasks, "it was not wrapped");
                result
            });
            assert_eq!(result, Ok("ko"));
            assert_eq!(*promise.result().unwrap(), "ko");
        }
    }

    /// A function that accepts futures and tasks uses a task directly.
    #[test]
    fn test_ensure_future_task() {
        let (event_loop, other_loop) = (virtual_loop(), virtual_loop());
        let task = event_loop.spawn(async { "ok" });
        event_loop.run(async {
            let tasks = all_tasks();
            let gathered = gather([&task]);
            assert_eq!(all_tasks(), tasks, "it was not wrapped");
            assert_eq!(gathered.await, Ok(vec!["ok"]));
        });
        assert!(task.is_done());
        assert_eq!(*task.result().unwrap(), "ok");
        let message = panic_of(|| other_loop.run(async { gather([&task]).await }));
        assert!(message.contains("belongs to another event loop"), "{message}");
        assert_eq!(event_loop.run(async { gather([&task]).await }), Ok(vec!["ok"]));
    }

    /// An awaitable that is not a coroutine.
    struct Aw<F>(F);

    impl<F: Future> IntoFuture for Aw<F> {
        type Output = F::Output;
        type IntoFuture = F;

        fn into_future(self) -> F {
            self.0
        }
    }

    #[test]
    fn test_ensure_future_awaitable() {
        let event_loop = virtual_loop();
        let task = event_loop.spawn(Aw(async { "ok" }).into_future());
        event_loop.run(&task).unwrap();
        assert_eq!(*task.result().unwrap(), "ok");
        assert_eq!(event_loop.run(Aw(async { "ok" })), "ok");
    }

    #[test]
    fn test_ensure_future_task_awaitable() {
        let event_loop = virtual_loop();
        let later = async {
            sleep(Duration::ZERO).await;
            "ok"
        };
        let task: Task<&str> = event_loop.spawn(Aw(later).into_future());
        event_loop.run(&task).unwrap();
        assert!(task.is_done());
        assert_eq!(*task.result().unwrap(), "ok");
    }

    #[test]
    fn test_ensure_future_error_msg() {
        let (event_loop, other_loop) = (virtual_loop(), virtual_loop());
        let task = event_loop.spawn(async {});
        let expected = r#"task "test_ensure_future_error_msg-1" belongs to another event loop; await it there, and send its result over a channel"#;
        assert_eq!(panic_of(|| other_loop.run(async { gather([&task]).await })), expected);
    }

    #[test]
    fn test_task_repr() {
        let event_loop = virtual_loop();
        event_loop.run(async {
            let builder = task::Builder::new().name("TestTask");
            let (task, line) = (builder.clone().spawn(async { "abc" }), line!());
            let text = |id: u64, state: &str, line: u32| {
                let place = format!("spawned_at: tests/asyncio/task.rs:{line}:");
                format!("Task {{ id: {id}, name: \"TestTask\", {state}, {place}")
            };
            let starts = |task: &Task<_>, expected: String| {
                let text = format!("{task:?}");
                assert!(text.starts_with(&expected), "{text} is not {expected}");
            };
            // The main task is the first.
            let id = 2;
            task.add_done_callback(|_| ());
            starts(&task, text(id, "state: Queued", line));
            // The cancellation has no effect yet.
            task.cancel();
            starts(&task, text(id, "state: Queued, cancelling: 1", line));
            assert_eq!((&task).await, Err(TaskError::Cancelled));
            starts(&task, text(id, "state: Done, ending: Cancelled", line));

            let (task, line) = (builder.spawn(async { "abc" }), line!());
            (&task).await.unwrap();
            starts(&task, text(id + 1, "state: Done, ending: Value", line));
        });
    }

    #[test]
    fn test_task_repr_autogenerated() {
        let event_loop = virtual_loop();
        let tasks = [(); 2].map(|()| event_loop.spawn(async { 123 }));
        assert_ne!(format!("{:?}", tasks[0]), format!("{:?}", tasks[1]));
        let numbers = tasks.each_ref().map(|task| {
            let text = format!("{task:?}");
            let name = text.split('"').nth(1).unwrap();
            name.strip_prefix("test_task_repr_autogenerated-").unwrap().parse::<u64>().unwrap()
        });
        assert!(numbers[0] < numbers[1], "{numbers:?}");
    }

    #[test]
    fn test_bare_create_task() {
        virtual_loop().run(async {
            let task: Task<i32> = spawn(async { 1 });
            assert_eq!(task.await, Ok(1));
        });
    }

    #[test]
    fn test_bare_create_named_task() {
        virtual_loop().run(async {
            let task = task::Builder::new().name("No-op").spawn(async {});
            assert_eq!(&*task.name(), "No-op");
            task.await.unwrap();
        });
    }

    #[test]
    fn test_cancelling() {
        let event_loop = virtual_loop();
        let task = event_loop.spawn(async { sleep(LONG).await });
        assert_eq!(task.cancelling(), 0);
        assert!(!format!("{task:?}").contains("cancelling:"));
        assert!(task.cancel());
        assert_eq!(task.cancelling(), 1);
        assert!(format!("{task:?}").contains("cancelling: 1"));
        assert!(task.cancel());
        assert_eq!(event_loop.run(task), Err(TaskError::Cancelled));
    }

    #[test]
    fn test_uncancel_resets_must_cancel() {
        virtual_loop().run(async {
            let cue = Cue::new();
            let copy = cue.clone();
            let task = spawn(async move {
                copy.wait().await;
                42
            });
            yield_now().await;
            cue.set(());
            task.cancel();
            assert_eq!(task.cancelling(), 1);
            assert_eq!(task.uncancel(), 0);
            assert_eq!(task.cancelling(), 0);
            assert_eq!(task.await, Ok(42));
        });
    }

    #[test]
    fn test_cancel() {
        let event_loop = virtual_loop();
        let start = event_loop.time();
        let task = event_loop.spawn(async {
            sleep(LONG).await;
            12
        });
        let copy = task.task_ref();
        event_loop.call_soon(move || assert!(copy.cancel()));
        assert_eq!(event_loop.run(&task), Err(TaskError::Cancelled));
        assert!(task.is_done() && task.is_cancelled());
        assert!(!task.cancel());
        assert_eq!(event_loop.time(), start);
    }

    /// An error that was caused by another one.
    #[derive(Debug)]
    struct ValueError(TaskError);

    impl fmt::Display for ValueError {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("cancelled")
        }
    }

    impl Error for ValueError {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn test_cancellation_exception_context() {
        let event_loop = virtual_loop();
        let task = event_loop.spawn(async {
            let begun = Cue::new();
            let copy = begun.clone();
            let inner = spawn(async move {
                copy.set(());
                sleep(LONG).await;
            });
            begun.wait().await;
            let inner_ref = inner.task_ref();
            call_soon(move || assert!(inner_ref.cancel()));
            inner.await.map_err(ValueError)
        });
        let error = event_loop.run(task).unwrap().unwrap_err();
        assert_eq!(error.to_string(), "cancelled");
        assert_eq!(error.source().and_then(|source| source.downcast_ref()), Some(&TaskError::Cancelled));
    }

    #[test]
    fn test_cancel_yield() {
        let event_loop = virtual_loop();
        let task = event_loop.spawn(async {
            sleep(Duration::ZERO).await;
            yield_now().await;
            12
        });
        event_loop.turn();
        task.cancel();
        assert_eq!(event_loop.run(&task), Err(TaskError::Cancelled));
        assert!(task.is_done() && task.is_cancelled());
        assert!(!task.cancel());
    }

    /// A task that has begun to await a promise.
    fn awaits(event_loop: &EventLoop, promise: &Promise<()>) -> Task<Result<(), TaskError>> {
        let awaited = promise.clone();
        let task = event_loop.spawn(async move { awaited.await });
        event_loop.turn();
        assert!(is_awaited(promise));
        task
    }

    /// A task that awaits a cancelled promise receives an error value, and is not cancelled.
    #[test]
    fn test_cancel_inner_future() {
        let (event_loop, promise) = (virtual_loop(), Promise::new());
        let task = awaits(&event_loop, &promise);
        promise.cancel();
        assert_eq!(event_loop.run(&task), Ok(Err(TaskError::Cancelled)));
        assert!(promise.is_cancelled() && !task.is_cancelled());
    }

    #[test]
    fn test_cancel_both_task_and_inner_future() {
        let (event_loop, promise) = (virtual_loop(), Promise::new());
        let task = awaits(&event_loop, &promise);
        promise.cancel();
        task.cancel();
        assert_eq!(event_loop.run(&task), Err(TaskError::Cancelled));
        assert!(task.is_done() && promise.is_cancelled() && task.is_cancelled());
    }

    #[test]
    fn test_task_cancel_waiter_future() {
        let (event_loop, promise) = (virtual_loop(), Promise::new());
        let task = awaits(&event_loop, &promise);
        task.cancel();
        event_loop.turn();
        assert_eq!(event_loop.run(&task), Err(TaskError::Cancelled));
        assert!(!is_awaited(&promise) && promise.is_cancelled());
    }

    #[test]
    fn test_step_result_future() {
        let (event_loop, fut) = (virtual_loop(), Promise::new());
        let result = Rc::new(OnceCell::new());
        let (awaited, copy) = (fut.clone(), result.clone());
        let task = event_loop.spawn(async move { copy.set(awaited.await.unwrap()).unwrap() });
        event_loop.turn();
        assert!(is_awaited(&fut));
        let res = Rc::new(());
        fut.set_result(res.clone()).unwrap();
        event_loop.turn();
        assert!(Rc::ptr_eq(&res, result.get().unwrap()));
        assert!(task.is_done());
        assert!(task.result().is_ok());
    }

    #[test]
    fn test_cancel_current_task() {
        let event_loop = virtual_loop();
        let task = event_loop.spawn(async {
            let own = current_task().unwrap();
            assert!(own.cancel());
            assert_eq!(own.cancelling(), 1);
            sleep(10 * LONG).await;
            12
        });
        assert!(!task.is_cancelled());
        let start = event_loop.time();
        assert_eq!(event_loop.run(&task), Err(TaskError::Cancelled));
        assert!(task.is_done() && task.is_cancelled());
        assert!(!task.cancel());
        assert_eq!(event_loop.time(), start, "the sleep was cancelled at once");
    }

    /// A coroutine that returns right after its task is cancelled.
    #[test]
    fn test_cancel_at_end() {
        let event_loop = virtual_loop();
        let task = event_loop.spawn(async {
            assert!(current_task().unwrap().cancel());
            12
        });
        assert!(!task.is_cancelled());
        assert_eq!(event_loop.run(&task), Err(TaskError::Cancelled));
        assert!(task.is_done() && task.is_cancelled());
        assert!(!task.cancel());
    }

    /// A task is cancelled while it runs. The task that it awaits next is cancelled too, and what
    /// that task awaits is dropped.
    #[test]
    fn test_cancel_awaited_task() {
        let (event_loop, trace) = (virtual_loop(), Trace::new());
        let copy = trace.clone();
        let task = event_loop.spawn(async move {
            let fut = on_drop(move || copy.push("the innermost await is dropped"));
            let nested = spawn(async move {
                let _fut = fut;
                pending::<()>().await;
            });
            yield_now().await;
            current_task().unwrap().cancel();
            let nested_ref = nested.task_ref();
            let _end = on_drop(move || assert!(nested_ref.is_cancelled()));
            nested.await
        });
        assert_eq!(event_loop.run(&task), Err(TaskError::Cancelled));
        assert!(task.is_cancelled());
        assert_eq!(trace.take(), ["the innermost await is dropped"]);
    }

    #[test]
    fn test_task_cancel_sleeping_task() {
        let event_loop = virtual_loop();
        let start = event_loop.time();
        let how = event_loop.run(async {
            let sleeper = spawn(sleep(Duration::from_secs(5000)));
            let copy = sleeper.task_ref();
            call_later(ms(100), move || assert!(copy.cancel()));
            match sleeper.await {
                Err(TaskError::Cancelled) => "cancelled",
                _ => "slept in",
            }
        });
        assert_eq!((how, event_loop.time() - start), ("cancelled", ms(100)));
    }

    /// A cancelled task leaves its `wait` early, and the awaited tasks go on.
    #[test]
    fn test_yield_wait_does_not_shield_cancel() {
        let event_loop = virtual_loop();
        let proof = Rc::new(Cell::new(0));
        let waiter = Cue::new();
        let add = |number: i32| {
            let proof = proof.clone();
            move || proof.set(proof.get() + number)
        };
        event_loop.run(async {
            let (inner, outer) = (add(1), add(100));
            let copy = waiter.clone();
            let task = spawn(async move {
                let inner = spawn(async move {
                    copy.wait().await;
                    inner();
                });
                wait([inner]).await;
                outer();
            });
            yield_now().await;
            task.cancel();
            assert_eq!(task.await, Err(TaskError::Cancelled));
            waiter.set(());
            yield_now().await;
            assert_eq!(proof.get(), 1);
        });
    }

    /// A destructor panics when its task is cancelled. The task ends with this panic.
    #[test]
    fn test_baseexception_during_cancel() {
        let event_loop = virtual_loop();
        let task = event_loop.spawn(async {
            let _fatal = on_drop(|| panic!("system exit"));
            sleep(LONG).await;
        });
        event_loop.turn();
        task.cancel();
        assert!(!task.is_done());
        event_loop.turn();
        assert!(task.is_done() && !task.is_cancelled());
        let Err(TaskError::Panicked(panic)) = task.result().map(|_| ()) else { panic!("it did not fail") };
        assert_eq!(panic.message(), "system exit");
    }

    /// A host stops a loop by not turning it any more.
    #[test]
    fn test_stop_while_run_in_complete() {
        let event_loop = virtual_loop();
        let start = event_loop.time();
        let x = Rc::new(Cell::new(0));
        let copy = x.clone();
        let task = event_loop.spawn(async move {
            while copy.get() < 10 {
                sleep(ms(100)).await;
                copy.set(copy.get() + 1);
            }
        });
        while x.get() < 2 {
            event_loop.turn();
        }
        assert!(!task.is_done());
        assert_eq!((x.get(), event_loop.time() - start), (2, ms(200)));
        task.cancel();
        assert_eq!(event_loop.run(task), Err(TaskError::Cancelled));
        assert_eq!(x.get(), 2);
    }

    #[test]
    fn test_current_task() {
        let event_loop = virtual_loop();
        assert_eq!(event_loop.current_task(), None);
        let other_loop = virtual_loop();
        event_loop.run(async {
            let task = spawn(async { current_task() });
            let task_ref = task.task_ref();
            // The result is taken, because a task whose result is the task itself would keep itself
            // alive.
            assert_eq!(task.await, Ok(Some(task_ref)));
            assert_eq!(event_loop.current_task(), current_task());
            assert_eq!(event_loop.current_task(), event_loop.all_tasks().pop());
            assert_eq!(other_loop.current_task(), None);
        });
        assert_eq!(event_loop.current_task(), None);
    }

    #[test]
    fn test_current_task_with_interleaving_tasks() {
        let event_loop = virtual_loop();
        assert_eq!(event_loop.current_task(), None);
        let (fut1, fut2) = (Cue::new(), Cue::new());
        event_loop.run(async {
            let name = || current_task().unwrap().name().to_string();
            let (set1, wait1) = (fut1.clone(), fut1.clone());
            let (set2, wait2) = (fut2.clone(), fut2.clone());
            let task1 = task::Builder::new().name("task1").spawn(async move {
                let before = name();
                wait1.wait().await;
                let after = name();
                set2.set(());
                [before, after]
            });
            let task2 = task::Builder::new().name("task2").spawn(async move {
                let before = name();
                set1.set(());
                wait2.wait().await;
                [before, name()]
            });
            wait([&task1, &task2]).await;
            assert_eq!(task1.await.unwrap(), ["task1", "task1"]);
            assert_eq!(task2.await.unwrap(), ["task2", "task2"]);
        });
        assert_eq!(event_loop.current_task(), None);
    }

    #[test]
    fn test_tb_logger_not_called_after_cancel() {
        let (event_loop, told) = telling_loop();
        event_loop.run(async {
            let task = spawn(async { panic!("a type error") });
            sleep(ms(50)).await;
            assert!(!task.cancel());
        });
        assert!(told.take().is_empty());
    }

    #[test]
    fn test_task_source_traceback() {
        let event_loop = virtual_loop();
        let task = event_loop.spawn(async {});
        let line = line!() - 1;
        let place = task.task_ref().spawned_at();
        assert_eq!((place.file(), place.line()), (file!(), line));
        event_loop.run(task).unwrap();
    }
}

mod base_task_introspection_tests {
    use crate::common::{panic_of, virtual_loop};
    use onelane::{TaskRef, all_tasks, call_soon, current_task, sleep, spawn, yield_now};
    use std::cell::RefCell;
    use std::future::pending;
    use std::rc::Rc;
    use std::time::Duration;

    #[test]
    #[allow(non_snake_case, reason = "the name of the Python test")]
    fn test__register_task_1() {
        let event_loop = virtual_loop();
        assert!(event_loop.all_tasks().is_empty());
        let task = event_loop.spawn(pending::<()>());
        assert_eq!(event_loop.all_tasks(), [task.task_ref()]);
        event_loop.turn();
        assert_eq!(event_loop.all_tasks(), [task.task_ref()]);
        assert!(virtual_loop().all_tasks().is_empty());
    }

    #[test]
    #[allow(non_snake_case, reason = "the name of the Python test")]
    fn test__register_task_3() {
        let event_loop = virtual_loop();
        let task = event_loop.spawn(async {});
        event_loop.turn();
        assert!(task.is_done());
        assert!(event_loop.all_tasks().is_empty());
        event_loop.run(async { assert_eq!(all_tasks(), [current_task().unwrap()]) });
    }

    /// The current task in each step, and between the steps.
    fn seen() -> (Rc<RefCell<Vec<Option<TaskRef>>>>, impl Fn() + Clone) {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let copy = seen.clone();
        (seen, move || copy.borrow_mut().push(current_task()))
    }

    #[test]
    #[allow(non_snake_case, reason = "the name of the Python test")]
    fn test__enter_task() {
        let (event_loop, (seen, look)) = (virtual_loop(), seen());
        assert_eq!(event_loop.current_task(), None);
        let copy = look.clone();
        let task = event_loop.spawn(async move { copy() });
        event_loop.turn();
        assert_eq!(seen.take(), [Some(task.task_ref())]);
    }

    /// A step could enter another task only by turning a loop, which panics.
    #[test]
    #[allow(non_snake_case, reason = "the name of the Python test")]
    fn test__enter_task_failure() {
        let (event_loop, other_loop) = (virtual_loop(), virtual_loop());
        let other = other_loop.spawn(async { unreachable!() });
        event_loop.run(async {
            let task = current_task();
            for turning in [&event_loop, &other_loop] {
                let message = panic_of(|| turning.turn());
                assert!(message.contains("was called from a running event loop"), "{message}");
                assert!(task.is_some() && current_task() == task);
            }
        });
        assert!(!other.is_done());
    }

    #[test]
    #[allow(non_snake_case, reason = "the name of the Python test")]
    fn test__leave_task() {
        let (event_loop, (seen, look)) = (virtual_loop(), seen());
        let (inside, behind) = (look.clone(), look.clone());
        let task = event_loop.spawn(async move {
            call_soon(behind);
            inside();
            sleep(Duration::from_secs(1)).await;
        });
        event_loop.turn();
        assert_eq!(event_loop.current_task(), None);
        event_loop.turn();
        assert_eq!(seen.take(), [Some(task.task_ref()), None]);
    }

    #[test]
    #[allow(non_snake_case, reason = "the name of the Python test")]
    fn test__unregister_task() {
        virtual_loop().run(async {
            let main = current_task().unwrap();
            let task = spawn(pending::<()>());
            assert_eq!(all_tasks(), [main.clone(), task.task_ref()]);
            task.cancel();
            yield_now().await;
            assert_eq!(all_tasks(), std::slice::from_ref(&main));
            // A second cancellation has no effect.
            task.cancel();
            assert_eq!(all_tasks(), std::slice::from_ref(&main));
        });
    }
}

mod base_current_loop_tests {
    use crate::common::{panic_of, virtual_loop};
    use onelane::{current_task, spawn};

    #[test]
    fn test_current_task_no_running_loop() {
        assert_eq!(virtual_loop().current_task(), None);
    }

    #[test]
    fn test_current_task_no_running_loop_implicit() {
        let message = panic_of(current_task);
        assert!(message.contains("there is no running event loop"), "{message}");
    }

    #[test]
    fn test_current_task_with_implicit_loop() {
        let event_loop = virtual_loop();
        event_loop.run(async {
            let task = spawn(async { current_task() });
            let task_ref = task.task_ref();
            assert_eq!(task.await, Ok(Some(task_ref)));
            assert_eq!(event_loop.current_task(), current_task());
        });
        assert_eq!(event_loop.current_task(), None);
    }
}
