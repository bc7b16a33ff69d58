//! wait: twins of the tests of `wait` in `test_tasks.py`.

mod base_task_tests {
    use crate::common::{ms, panic_of, virtual_loop};
    use onelane::{EventLoop, ReturnWhen, Task, TaskError, sleep, spawn, wait, yield_now};
    use std::collections::HashSet;
    use std::rc::Rc;

    /// A task that sleeps, and returns its number.
    fn sleeper(event_loop: &EventLoop, milliseconds: u64) -> Task<u64> {
        event_loop.spawn(async move {
            sleep(ms(milliseconds)).await;
            milliseconds
        })
    }

    fn ids<'a, T: 'a>(tasks: impl IntoIterator<Item = &'a Task<T>>) -> Vec<onelane::TaskId> {
        tasks.into_iter().map(|task| task.id()).collect()
    }

    /// The results of a `wait` on borrowed tasks, as numbers of tasks.
    fn split<T>(sets: (Vec<&Task<T>>, Vec<&Task<T>>)) -> (Vec<onelane::TaskId>, Vec<onelane::TaskId>) {
        (ids(sets.0), ids(sets.1))
    }

    #[test]
    fn test_wait() {
        let event_loop = virtual_loop();
        let start = event_loop.time();
        let (a, b) = (sleeper(&event_loop, 100), sleeper(&event_loop, 150));
        // The second wait takes no time, because the tasks have ended.
        for _ in 0..2 {
            let result = event_loop.run(async {
                assert_eq!(split(wait([&b, &a]).await), (ids([&b, &a]), vec![]));
                42
            });
            assert_eq!((result, event_loop.time() - start), (42, ms(150)));
        }
    }

    #[test]
    fn test_wait_duplicate_coroutines() {
        virtual_loop().run(async {
            let (c, other) = (spawn(async { "test" }), spawn(async { "spam" }));
            let (done, pending) = wait([&c, &c, &other]).await;
            assert!(pending.is_empty());
            assert_eq!(done.len(), 2);
            let results: HashSet<_> = done.iter().map(|task| *task.result().unwrap()).collect();
            assert_eq!(results, HashSet::from(["test", "spam"]));
        });
    }

    /// The type system excludes an invalid `return_when`.
    #[test]
    fn test_wait_errors() {
        let none: HashSet<onelane::TaskRef> = HashSet::new();
        let message = panic_of(|| virtual_loop().run(async { wait(none).await }));
        assert!(message.contains("wait() was called with no tasks"), "{message}");
    }

    /// A task or a future in place of a list does not compile. The doc test of `Waitable` shows
    /// this for a future in a list.
    #[test]
    fn test_wait_invalid_args() {
        let none: [Task<()>; 0] = [];
        let message = panic_of(|| virtual_loop().run(async { wait(none).await }));
        assert!(message.contains("wait() was called with no tasks"), "{message}");
    }

    #[test]
    fn test_wait_first_completed() {
        let event_loop = virtual_loop();
        let start = event_loop.time();
        let (a, b) = (sleeper(&event_loop, 10_000), sleeper(&event_loop, 100));
        event_loop.run(async {
            let sets = wait([&b, &a]).return_when(ReturnWhen::FirstCompleted).await;
            assert_eq!(split(sets), (ids([&b]), ids([&a])));
            assert!(!a.is_done() && b.is_done());
            assert_eq!((*b.result().unwrap(), event_loop.time() - start), (100, ms(100)));
            assert_eq!(wait([&a, &b]).await.0.len(), 2);
            assert_eq!((*a.result().unwrap(), event_loop.time() - start), (10_000, ms(10_000)));
        });
    }

    /// A task that ends just before the wait returns counts as done.
    #[test]
    fn test_wait_really_done() {
        let event_loop = virtual_loop();
        let a = event_loop.spawn(yield_now());
        let b = event_loop.spawn(async {
            yield_now().await;
            yield_now().await;
        });
        let tasks = Rc::new([a, b]);
        let copy = tasks.clone();
        let task = event_loop.spawn(async move {
            let (done, pending) = wait([&copy[1], &copy[0]]).return_when(ReturnWhen::FirstCompleted).await;
            (ids(done), pending.len())
        });
        assert_eq!(event_loop.run(task), Ok((ids([&tasks[1], &tasks[0]]), 0)));
        assert!(tasks.iter().all(|task| task.result().is_ok()));
    }

    #[test]
    fn test_wait_first_exception() {
        let event_loop = virtual_loop();
        let start = event_loop.time();
        let a = sleeper(&event_loop, 10_000);
        let b = event_loop.spawn(async { panic!("err") });
        event_loop.run(async {
            let sets = wait([&b, &a]).return_when(ReturnWhen::FirstException).await;
            assert_eq!(split(sets), (ids([&b]), ids([&a])));
            assert_eq!(event_loop.time(), start);
            wait([&a, &b]).await;
            assert!(a.result().is_ok() && b.result().is_err());
        });
    }

    #[test]
    fn test_wait_first_exception_in_wait() {
        let event_loop = virtual_loop();
        let start = event_loop.time();
        let a = sleeper(&event_loop, 10_000);
        let b = event_loop.spawn(async {
            sleep(ms(10)).await;
            panic!("err")
        });
        event_loop.run(async {
            let sets = wait([&b, &a]).return_when(ReturnWhen::FirstException).await;
            assert_eq!(split(sets), (ids([&b]), ids([&a])));
            assert_eq!(event_loop.time() - start, ms(10));
            wait([&a, &b]).await;
            assert!(a.result().is_ok() && b.result().is_err());
        });
    }

    #[test]
    fn test_wait_with_exception() {
        let event_loop = virtual_loop();
        let start = event_loop.time();
        let a = sleeper(&event_loop, 100);
        let b = event_loop.spawn(async {
            sleep(ms(150)).await;
            panic!("really")
        });
        for _ in 0..2 {
            event_loop.run(async {
                let (done, pending) = wait([&b, &a]).await;
                assert_eq!((done.len(), pending.len()), (2, 0));
                let errors = done.iter().filter_map(|task| task.result().map(|_| ()).err());
                let errors: Vec<TaskError> = errors.collect();
                assert!(errors.len() == 1 && errors[0].is_panic());
            });
            assert_eq!(event_loop.time() - start, ms(150));
        }
    }

    #[test]
    fn test_wait_with_timeout() {
        let event_loop = virtual_loop();
        let start = event_loop.time();
        let (a, b) = (sleeper(&event_loop, 100), sleeper(&event_loop, 150));
        event_loop.run(async {
            assert_eq!(split(wait([&b, &a]).timeout(ms(110)).await), (ids([&a]), ids([&b])));
            assert_eq!(event_loop.time() - start, ms(110));
            assert_eq!(wait([&a, &b]).await.0.len(), 2);
            assert!(b.result().is_ok(), "it was left alone");
        });
    }

    /// A task that ends together with the timeout counts as done.
    #[test]
    fn test_wait_concurrent_complete() {
        let event_loop = virtual_loop();
        let start = event_loop.time();
        let (a, b) = (sleeper(&event_loop, 100), sleeper(&event_loop, 150));
        event_loop.run(async {
            assert_eq!(split(wait([&b, &a]).timeout(ms(100)).await), (ids([&a]), ids([&b])));
            assert_eq!(event_loop.time() - start, ms(100));
            assert_eq!(wait([&a, &b]).await.0.len(), 2);
        });
    }

    #[test]
    fn test_wait_with_iterator_of_tasks() {
        let event_loop = virtual_loop();
        let start = event_loop.time();
        let (a, b) = (sleeper(&event_loop, 100), sleeper(&event_loop, 150));
        let result = event_loop.run(async {
            assert_eq!(split(wait([&b, &a].into_iter()).await), (ids([&b, &a]), vec![]));
            42
        });
        assert_eq!((result, event_loop.time() - start), (42, ms(150)));
    }

    #[test]
    fn test_wait_generator() {
        virtual_loop().run(async {
            let tasks = (0..10).map(|number| spawn(async move { number }));
            let (done, pending) = wait(tasks).return_when(ReturnWhen::AllCompleted).await;
            assert_eq!((done.len(), pending.len()), (10, 0));
            assert!(done.iter().map(|task| *task.result().unwrap()).eq(0..10));
        });
    }
}
