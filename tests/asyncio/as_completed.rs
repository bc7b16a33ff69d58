//! `test_tasks.py`, `as_completed`: Python's loop over coroutines is `next()`, and its `async for`
//! over tasks is `next_task()`.

mod base_task_tests {
    use crate::common::{ms, panic_of, virtual_loop};
    use onelane::{
        AsCompleted, Elapsed, EventLoop, Promise, Task, TaskError, TaskId, TaskOrPromise, as_completed, sleep, spawn,
        time, wait,
    };

    async fn sleeper(duration: u64, value: char) -> char {
        sleep(ms(duration)).await;
        value
    }

    async fn coro(value: u32) -> u32 {
        value
    }

    async fn try_iterator<T: 'static>(results: &AsCompleted<T>, at_most: usize) -> Vec<T> {
        let mut values = Vec::new();
        while values.len() < at_most {
            let Some(result) = results.next().await else { break };
            values.push(result.unwrap());
        }
        values
    }

    async fn try_async_iterator<T: 'static>(results: &AsCompleted<T>, at_most: usize) -> Vec<T> {
        let mut values = Vec::new();
        while values.len() < at_most {
            let Some(task) = results.next_task().await else { break };
            assert!(task.is_done());
            values.push(task.await.unwrap());
        }
        values
    }

    #[test]
    fn test_as_completed() {
        for by_tasks in [false, true] {
            virtual_loop().run(async {
                let begun = time();
                let results = as_completed([(10, 'b'), (150, 'c'), (10, 'a')].map(|(ms, value)| sleeper(ms, value)));
                let res = match by_tasks {
                    false => try_iterator(&results, 9).await,
                    true => try_async_iterator(&results, 9).await,
                };
                assert_eq!(time() - begun, ms(150));
                // Of two that end at once, the first argument comes first. In Python the order is
                // that of a set.
                assert_eq!(res, ['b', 'a', 'c']);
            });
        }
    }

    /// A list has one type in Rust, so tasks and coroutines do not mix; tasks and promises do.
    #[test]
    fn test_as_completed_same_tasks_in_as_out() {
        async fn out(results: AsCompleted<u32>) -> Vec<TaskId> {
            let mut ids = Vec::new();
            while let Some(task) = results.next_task().await {
                ids.push(task.id());
            }
            ids
        }
        virtual_loop().run(async {
            let tasks = [1, 2].map(|n| spawn(coro(n)));
            let ids_in = [tasks[0].id(), tasks[1].id()];
            assert_eq!(out(as_completed(&tasks)).await, ids_in);
            assert_eq!(out(as_completed(tasks)).await, ids_in);
            let ids_of_coroutines = out(as_completed((0..4).map(coro))).await;
            assert_eq!(ids_of_coroutines.len(), 4);
            assert!(ids_of_coroutines.iter().all(|id| !ids_in.contains(id)));
            let (promise, task) = (Promise::new(), spawn(coro(7)));
            promise.set_result(8).unwrap();
            let id = task.id();
            let results = as_completed([TaskOrPromise::from(promise.clone()), task.into()]);
            let Some(TaskOrPromise::Promise(first)) = results.next_child().await else { panic!("a promise was first") };
            let Some(TaskOrPromise::Task(second)) = results.next_child().await else { panic!("a task was second") };
            assert!(first == promise && second.id() == id);
        });
    }

    #[test]
    fn test_as_completed_with_timeout() {
        for by_tasks in [false, true] {
            virtual_loop().run(async {
                let begun = time();
                let [a, b] = [(100, 'a'), (150, 'b')].map(|(ms, value)| spawn(sleeper(ms, value)));
                let results = as_completed([&a, &b]).timeout(ms(120));
                let first = match by_tasks {
                    false => results.next().await.unwrap().unwrap(),
                    true => results.next_task().await.unwrap().unwrap().await,
                };
                assert_eq!(first, Ok('a'));
                let second = match by_tasks {
                    false => results.next().await.err(),
                    true => results.next_task().await.err(),
                };
                assert_eq!(second, Some(Elapsed));
                assert_eq!(time() - begun, ms(120));
                assert!(!b.is_done());
                let (done, pending) = wait([a, b]).await;
                assert_eq!((done.len(), pending.len()), (2, 0));
                assert!(done.iter().all(|task| !task.is_cancelled()));
            });
        }
    }

    #[test]
    fn test_as_completed_with_unused_timeout() {
        for by_tasks in [false, true] {
            let event_loop = virtual_loop();
            event_loop.run(async {
                let results = as_completed([sleeper(10, 'a')]).timeout(ms(1000));
                let mut values = Vec::new();
                loop {
                    let value = match by_tasks {
                        false => results.next().await.unwrap().map(Result::unwrap),
                        true => match results.next_task().await.unwrap() {
                            Some(task) => Some(task.await.unwrap()),
                            None => None,
                        },
                    };
                    let Some(value) = value else { break };
                    values.push(value);
                }
                assert_eq!(values, ['a']);
            });
            assert_eq!(event_loop.next_deadline(), None, "the timer was removed");
        }
    }

    #[test]
    fn test_as_completed_resume_iterator() {
        for by_tasks in [false, true] {
            virtual_loop().run(async {
                let iterator = as_completed((0..4).map(coro));
                let mut collected = Vec::new();
                for at_most in [2, 9] {
                    collected.extend(match by_tasks {
                        false => try_iterator(&iterator, at_most).await,
                        true => try_async_iterator(&iterator, at_most).await,
                    });
                    assert_eq!(collected.len(), if at_most == 2 { 2 } else { 4 });
                }
                collected.sort();
                assert_eq!(collected, [0, 1, 2, 3]);
            });
        }
    }

    #[test]
    fn test_as_completed_reverse_wait() {
        virtual_loop().run(async {
            let begun = time();
            let results = as_completed([(50, 'a'), (100, 'b')].map(|(ms, value)| sleeper(ms, value)));
            let [first, second] = [results.next(), results.next()];
            assert_eq!(second.await, Some(Ok('a')));
            assert_eq!(time() - begun, ms(50));
            assert_eq!(first.await, Some(Ok('b')));
            assert_eq!(time() - begun, ms(100));
        });
    }

    #[test]
    fn test_as_completed_concurrent() {
        virtual_loop().run(async {
            let begun = time();
            let results = as_completed([(50, 'a'), (50, 'b')].map(|(ms, value)| sleeper(ms, value)));
            let futs = [spawn(results.next()), spawn(results.next())];
            let (done, pending) = wait(futs).await;
            assert_eq!((pending.len(), time() - begun), (0, ms(50)));
            let value = |task: &Task<Option<Result<char, TaskError>>>| task.result().unwrap().clone().unwrap().unwrap();
            assert_eq!(done.iter().map(value).collect::<Vec<_>>(), ['a', 'b']);
            assert!(results.is_empty());
        });
    }

    /// A future cannot be passed twice, so these are tasks.
    #[test]
    fn test_as_completed_duplicate_coroutines() {
        for by_tasks in [false, true] {
            virtual_loop().run(async {
                let (c, spam) = (spawn(async { "ham" }), spawn(async { "spam" }));
                let results = as_completed([&c, &c, &spam]);
                let result = match by_tasks {
                    false => try_iterator(&results, 9).await,
                    true => {
                        let mut values = Vec::new();
                        while let Some(task) = results.next_task().await {
                            values.push(*task.result().unwrap());
                        }
                        values
                    }
                };
                assert_eq!(result, ["ham", "spam"]);
            });
        }
    }

    #[test]
    fn test_as_completed_coroutine_without_loop() {
        let message = panic_of(|| as_completed([coro(42)]).len());
        assert!(message.contains("as_completed() was called, but there is no running event loop"), "{message}");
    }

    #[test]
    fn test_as_completed_coroutine_use_running_loop() {
        let event_loop = EventLoop::new();
        event_loop.run(async {
            let futs = as_completed([coro(42)]);
            assert_eq!(futs.len(), 1);
            assert_eq!(futs.next().await, Some(Ok(42)));
        });
    }
}
