//! TaskGroup: twins of `test_taskgroups.py`.
//!
//! An exception is an `Err`, in a child that is started with `try_spawn`, or a panic. An error in a
//! `finally` of the original is the panic of a cleanup, or an `Err` after a `catch_cancel`.

mod base_test_task_group {
    use crate::common::{Census, Post, ms, panic_of, telling_loop, virtual_loop};
    use crate::except_cancelled;
    use onelane::{
        Cancelled, ChildError, GroupError, TaskError, TaskGroup, all_tasks, catch_cancel, current_task, finally, sleep,
        spawn, task_group, time, try_task_group, yield_now,
    };
    use std::cell::{Cell, OnceCell, RefCell};
    use std::pin::Pin;
    use std::rc::Rc;
    use std::task::{Context, Waker};

    const ZERO_DIVISION: &str = "division by zero";

    /// The errors of a group, in their order.
    fn errors_of<E: Clone>(error: &GroupError<E>) -> Vec<E> {
        let failed = |error: &ChildError<E>| match error {
            ChildError::Failed(error) => error.clone(),
            ChildError::Panicked(panic) => panic!("a child panicked: {}", panic.message()),
        };
        error.errors.iter().map(failed).collect()
    }

    /// The panics of a group's children, in their order.
    fn panics_of<E>(error: &GroupError<E>) -> Vec<&str> {
        let panics = error.errors.iter().map(|error| match error {
            ChildError::Panicked(panic) => panic.message(),
            ChildError::Failed(_) => panic!("a child returned an error"),
        });
        panics.collect()
    }

    /// Sleeps, and panics in its cleanup.
    async fn foo() {
        finally(sleep(ms(10_000)), async { panic!("{ZERO_DIVISION}") }).await;
    }

    async fn later<T>(milliseconds: u64, value: T) -> T {
        sleep(ms(milliseconds)).await;
        value
    }

    async fn crash_after<E>(milliseconds: u64, error: E) -> Result<(), E> {
        sleep(ms(milliseconds)).await;
        Err(error)
    }

    /// Runs a future in a task other than the main task, so that it can be cancelled.
    fn in_a_task<T: 'static>(main: impl Future<Output = T> + 'static) -> Result<T, TaskError> {
        virtual_loop().run(async { spawn(main).await })
    }

    #[test]
    fn test_taskgroup_01() {
        virtual_loop().run(async {
            let spawned = task_group(async |group| (group.spawn(later(100, 42)), group.spawn(later(200, 11))));
            let (t1, t2) = spawned.await.unwrap();
            assert_eq!((*t1.result().unwrap(), *t2.result().unwrap()), (42, 11));
        });
    }

    #[test]
    fn test_taskgroup_02() {
        virtual_loop().run(async {
            let spawned = task_group(async |group| {
                let t1 = group.spawn(later(100, 42));
                sleep(ms(150)).await;
                (t1, group.spawn(later(200, 11)))
            });
            let (t1, t2) = spawned.await.unwrap();
            assert_eq!((*t1.result().unwrap(), *t2.result().unwrap()), (42, 11));
        });
    }

    #[test]
    fn test_taskgroup_03() {
        virtual_loop().run(async {
            let spawned = task_group(async |group| {
                let t1 = group.spawn(later(1000, 42));
                sleep(ms(150)).await;
                t1.cancel();
                (t1, group.spawn(later(200, 11)))
            });
            let (t1, t2) = spawned.await.unwrap();
            assert!(t1.is_cancelled());
            assert_eq!(*t2.result().unwrap(), 11);
        });
    }

    #[test]
    fn test_taskgroup_04() {
        virtual_loop().run(async {
            let (number, t2_cancel) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
            let t2 = Rc::new(OnceCell::new());
            let (runs, cancelled, slot) = (number.clone(), t2_cancel.clone(), t2.clone());
            let runner = spawn(async move {
                try_task_group(async |group| {
                    group.try_spawn(crash_after(100, ZERO_DIVISION));
                    let runs = runs.clone();
                    let sibling = group.spawn(async move {
                        except_cancelled(sleep(ms(1000)), || cancelled.set(true)).await;
                        runs.set(runs.get() + 1);
                    });
                    slot.set(sibling).unwrap();
                    Ok(())
                })
                .await?;
                runs.set(runs.get() + 10);
                Ok(())
            });
            let error: GroupError<_> = runner.await.unwrap().unwrap_err();
            assert_eq!(errors_of(&error), [ZERO_DIVISION]);
            assert_eq!(number.get(), 0);
            assert!(t2_cancel.get());
            assert!(t2.get().unwrap().is_cancelled());
        });
    }

    /// The group contains all three errors of one turn.
    #[test]
    fn test_cancel_children_on_child_error() {
        virtual_loop().run(async {
            let number = Rc::new(Cell::new(0));
            let (t2_cancel, runner_cancel) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(false)));
            let (runs, child_cancelled, body_cancelled) = (number.clone(), t2_cancel.clone(), runner_cancel.clone());
            let runner = spawn(async move {
                try_task_group(async |group| {
                    for _ in 0..3 {
                        group.try_spawn(crash_after(100, ZERO_DIVISION));
                    }
                    let runs = runs.clone();
                    group.spawn(async move {
                        except_cancelled(sleep(ms(5000)), || child_cancelled.set(true)).await;
                        runs.set(runs.get() + 1);
                    });
                    except_cancelled(sleep(ms(10_000)), || body_cancelled.set(true)).await;
                    Ok(())
                })
                .await?;
                runs.set(runs.get() + 10);
                Ok(())
            });
            let error: GroupError<_> = runner.await.unwrap().unwrap_err();
            assert_eq!(errors_of(&error), [ZERO_DIVISION; 3]);
            assert_eq!(number.get(), 0);
            assert!(t2_cancel.get());
            assert!(runner_cancel.get());
        });
    }

    /// A group with five children that count their cancellations. It is cancelled from outside,
    /// while it exits or while its body runs.
    fn cancel_from_outside(in_body: bool) -> u32 {
        virtual_loop().run(async {
            let number = Rc::new(Cell::new(0));
            let copy = number.clone();
            let runner = spawn(async move {
                let add = |count: &Cell<u32>, by| count.set(count.get() + by);
                let group = task_group(async |group| {
                    for _ in 0..5 {
                        let number = copy.clone();
                        group.spawn(async move { except_cancelled(sleep(ms(5000)), || add(&number, 1)).await });
                    }
                    if in_body {
                        except_cancelled(sleep(ms(10_000)), || add(&copy, 10)).await;
                    }
                });
                group.await.unwrap();
            });
            let start = time();
            sleep(ms(100)).await;
            assert!(!runner.is_done());
            runner.cancel();
            assert_eq!(runner.await, Err(TaskError::Cancelled));
            assert_eq!(time() - start, ms(100));
            number.get()
        })
    }

    #[test]
    fn test_cancellation() {
        assert_eq!(cancel_from_outside(false), 5);
    }

    #[test]
    fn test_taskgroup_07() {
        assert_eq!(cancel_from_outside(true), 15);
    }

    /// The group contains the panics of the children, and the exception handler is not called.
    #[test]
    fn test_taskgroup_08() {
        let (event_loop, told) = telling_loop();
        event_loop.run(async {
            let runner = spawn(task_group(async |group| {
                for _ in 0..5 {
                    group.spawn(foo());
                }
                sleep(ms(10_000)).await;
            }));
            sleep(ms(100)).await;
            assert!(!runner.is_done());
            runner.cancel();
            assert_eq!(panics_of(&runner.await.unwrap().unwrap_err()), [ZERO_DIVISION; 5]);
            assert_eq!(all_tasks().len(), 1);
        });
        assert_eq!(told.take(), [""; 0]);
    }

    #[test]
    fn test_taskgroup_09() {
        virtual_loop().run(async {
            let start = time();
            let tasks = OnceCell::new();
            let result = try_task_group(async |group| {
                tasks.set([group.spawn(later(1000, 42)), group.spawn(later(2000, 11))]).unwrap();
                sleep(ms(100)).await;
                Err::<(), _>(ZERO_DIVISION)
            });
            assert_eq!(errors_of(&result.await.unwrap_err()), [ZERO_DIVISION]);
            assert!(tasks.get().unwrap().iter().all(|task| task.is_cancelled()));
            assert_eq!(time() - start, ms(100));
        });
    }

    #[test]
    fn test_taskgroup_10() {
        virtual_loop().run(async {
            let tasks = OnceCell::new();
            let result = try_task_group(async |group| {
                let child = || {
                    group.spawn(async {
                        unreachable!("it is cancelled before it begins");
                    })
                };
                tasks.set([child(), child()]).unwrap();
                Err::<(), _>(ZERO_DIVISION)
            });
            assert_eq!(errors_of(&result.await.unwrap_err()), [ZERO_DIVISION]);
            assert!(tasks.get().unwrap().iter().all(|task| task.is_cancelled()));
        });
    }

    /// As `test_taskgroup_08`, with the group in the body of another group.
    fn cancel_nested_groups(with_sibling: bool) {
        let (event_loop, told) = telling_loop();
        event_loop.run(async {
            let runner = spawn(try_task_group(async move |outer| {
                if with_sibling {
                    outer.spawn(sleep(ms(10_000)));
                }
                let inner = task_group(async |inner| {
                    for _ in 0..5 {
                        inner.spawn(foo());
                    }
                    sleep(ms(10_000)).await;
                });
                inner.await
            }));
            let start = time();
            sleep(ms(100)).await;
            assert!(!runner.is_done());
            runner.cancel();
            let error = runner.await.unwrap().unwrap_err();
            let [inner] = &errors_of(&error)[..] else { panic!("{error}") };
            assert_eq!(panics_of(inner), [ZERO_DIVISION; 5]);
            assert_eq!((time() - start, all_tasks().len()), (ms(100), 1));
        });
        assert_eq!(told.take(), [""; 0]);
    }

    #[test]
    fn test_taskgroup_11() {
        cancel_nested_groups(false);
    }

    #[test]
    fn test_taskgroup_12() {
        cancel_nested_groups(true);
    }

    /// The error of a group that is in the body of another group, or in a child of another group.
    #[derive(Clone, PartialEq, Debug)]
    enum Nested {
        Value(u64),
        Group(GroupError<Nested>),
    }

    async fn crash_with_value(milliseconds: u64) -> Result<(), Nested> {
        crash_after(milliseconds, Nested::Value(milliseconds)).await
    }

    async fn nest(outer_crash: u64, inner_crash: u64) -> Result<(), GroupError<Nested>> {
        let runner = spawn(try_task_group(async move |outer| {
            outer.try_spawn(crash_with_value(outer_crash));
            let inner = try_task_group(async |inner| {
                inner.try_spawn(crash_with_value(inner_crash));
                Ok(())
            });
            inner.await.map_err(Nested::Group)
        }));
        runner.await.unwrap()
    }

    #[test]
    fn test_taskgroup_13() {
        virtual_loop().run(async {
            let start = time();
            let error = nest(100, 10_000).await.unwrap_err();
            assert_eq!(errors_of(&error), [Nested::Value(100)]);
            assert_eq!((time() - start, all_tasks().len()), (ms(100), 1));
        });
    }

    #[test]
    fn test_taskgroup_14() {
        virtual_loop().run(async {
            let start = time();
            let error = nest(10_000, 100).await.unwrap_err();
            let inner = GroupError { errors: vec![ChildError::Failed(Nested::Value(100))] };
            assert_eq!(errors_of(&error), [Nested::Group(inner)]);
            assert_eq!((time() - start, all_tasks().len()), (ms(100), 1));
        });
    }

    /// A group whose child crashes after 300 ms, and whose body is cancelled and sleeps for 500 ms
    /// in its cleanup.
    async fn crash_in_slow_cleanup() -> Result<(), GroupError<&'static str>> {
        try_task_group(async |group| {
            group.try_spawn(crash_after(300, ZERO_DIVISION));
            assert_eq!(catch_cancel(sleep(ms(10_000))).await, Err(Cancelled));
            sleep(ms(500)).await;
            unreachable!("the failure of the child ends the cleanup")
        })
        .await
    }

    /// The original raises again in an `except`. Here this is the cleanup of a `finally`. The
    /// failure of the child ends this cleanup, and also the code after a `catch_cancel`. The group
    /// returns the error.
    #[test]
    fn test_taskgroup_15() {
        virtual_loop().run(async {
            let in_finally = spawn(try_task_group(async |group| {
                group.try_spawn(crash_after(300, ZERO_DIVISION));
                finally(sleep(ms(10_000)), async { sleep(ms(500)).await }).await;
                unreachable!("the body was cancelled")
            }));
            let behind_catch = spawn(crash_in_slow_cleanup());
            let start = time();
            sleep(ms(100)).await;
            for runner in [&in_finally, &behind_catch] {
                assert!(!runner.is_done());
                runner.cancel();
            }
            for runner in [in_finally, behind_catch] {
                let error: GroupError<_> = (&runner).await.unwrap().unwrap_err();
                assert_eq!(errors_of(&error), [ZERO_DIVISION]);
                assert_eq!((time() - start, runner.cancelling()), (ms(300), 1));
            }
        });
    }

    /// The middle task is cancelled, whatever the result of the task that it awaits. If the middle
    /// task catches its cancellation, this result is the error of the group.
    #[test]
    fn test_taskgroup_16() {
        virtual_loop().run(async {
            for catches in [false, true] {
                let nested = Rc::new(spawn(crash_in_slow_cleanup()));
                let copy = nested.clone();
                let runner = spawn(async move {
                    if catches {
                        let awaited = copy.clone();
                        assert_eq!(catch_cancel(async move { (&*awaited).await }).await, Err(Cancelled));
                        return copy.result().unwrap().clone();
                    }
                    (&*copy).await.unwrap()
                });
                let start = time();
                sleep(ms(100)).await;
                assert!(!runner.is_done());
                runner.cancel();
                let result = runner.await;
                assert_eq!(time() - start, ms(300));
                assert_eq!(errors_of(nested.result().unwrap().as_ref().unwrap_err()), [ZERO_DIVISION]);
                if catches {
                    assert_eq!(errors_of(&result.unwrap().unwrap_err()), [ZERO_DIVISION]);
                } else {
                    assert_eq!(result, Err(TaskError::Cancelled));
                }
            }
        });
    }

    #[test]
    fn test_taskgroup_17() {
        virtual_loop().run(async {
            let number = Rc::new(Cell::new(0));
            let copy = number.clone();
            let runner = spawn(task_group(async move |_| {
                except_cancelled(sleep(ms(10_000)), || copy.set(copy.get() + 10)).await;
            }));
            sleep(ms(100)).await;
            assert!(!runner.is_done());
            runner.cancel();
            assert_eq!(runner.await, Err(TaskError::Cancelled));
            assert_eq!(number.get(), 10);
        });
    }

    #[test]
    fn test_taskgroup_18() {
        virtual_loop().run(async {
            let number = Rc::new(Cell::new(0));
            let copy = number.clone();
            let runner = spawn(try_task_group(async move |_| {
                if catch_cancel(sleep(ms(10_000))).await == Err(Cancelled) {
                    copy.set(copy.get() + 10);
                    return Err("mine");
                }
                Ok(())
            }));
            sleep(ms(100)).await;
            assert!(!runner.is_done());
            runner.cancel();
            assert_eq!(errors_of(&runner.await.unwrap().unwrap_err()), ["mine"]);
            assert_eq!(number.get(), 10);
        });
    }

    #[test]
    fn test_taskgroup_19() {
        virtual_loop().run(async {
            let runner = spawn(try_task_group(async |group| {
                group.try_spawn(crash_after(100, ZERO_DIVISION));
                let nested = async || {
                    let _ = catch_cancel(sleep(ms(10_000))).await;
                    Err::<(), _>("mine")
                };
                nested().await
            }));
            assert_eq!(errors_of(&runner.await.unwrap().unwrap_err()), [ZERO_DIVISION, "mine"]);
        });
    }

    /// A panic of the body stands for an exception that a group must not hold up.
    #[test]
    fn test_taskgroup_20() {
        let message = panic_of(|| {
            virtual_loop().run(try_task_group(async |group| {
                group.try_spawn(crash_after(100, ZERO_DIVISION));
                finally(sleep(ms(10_000)), async { panic!("keyboard interrupt") }).await;
                Ok(())
            }))
        });
        assert_eq!(message, "keyboard interrupt");
    }

    /// The group contains the panic of a child and the error of the body.
    #[test]
    fn test_taskgroup_21a() {
        virtual_loop().run(async {
            let result = try_task_group(async |group| {
                group.spawn(async {
                    sleep(ms(100)).await;
                    panic!("my base exception")
                });
                let nested = async || {
                    let _ = catch_cancel(sleep(ms(10_000))).await;
                    Err::<(), _>("type error")
                };
                nested().await
            });
            let error = result.await.unwrap_err();
            let [ChildError::Panicked(panic), ChildError::Failed("type error")] = &error.errors[..] else {
                panic!("{error}")
            };
            assert_eq!(panic.message(), "my base exception");
        });
    }

    #[test]
    fn test_taskgroup_22() {
        virtual_loop().run(async {
            let start = time();
            let runner = spawn(task_group(async |group| {
                group.spawn(later(1000, 42));
                group.spawn(later(2000, 11));
            }));
            sleep(ms(50)).await;
            runner.cancel();
            assert_eq!(runner.await, Err(TaskError::Cancelled));
            assert_eq!((time() - start, all_tasks().len()), (ms(50), 1));
        });
    }

    /// A group forgets a child that has ended. Its result is dropped unless it is still held
    /// elsewhere.
    #[test]
    fn test_taskgroup_23() {
        virtual_loop().run(async {
            let census = Census::new();
            let forgetful = task_group(async |group| {
                for count in 0..10 {
                    sleep(ms(100)).await;
                    group.spawn(later(300, census.member()));
                    if count == 5 {
                        let (made, dropped) = census.counts();
                        assert!(made - dropped < 5, "{dropped} of {made} were dropped");
                        assert!(format!("{group:?}").contains("children: 4,"), "{group:?}");
                    }
                }
                sleep(ms(1350)).await;
                assert!(format!("{group:?}").contains("children: 0,"), "{group:?}");
                assert_eq!(census.counts(), (10, 10));
            });
            forgetful.await.unwrap();
        });
    }

    #[test]
    fn test_taskgroup_24() {
        virtual_loop().run(async {
            let (start, ended) = (time(), Rc::new(Cell::new(0)));
            let copy = ended.clone();
            let runner = task_group(async |group| {
                let handle = group.clone();
                group.spawn(async move {
                    sleep(ms(100)).await;
                    for delay in [100, 200] {
                        let ended = copy.clone();
                        handle.spawn(async move {
                            sleep(ms(delay)).await;
                            ended.set(ended.get() + 1);
                        });
                    }
                });
            });
            runner.await.unwrap();
            assert_eq!((time() - start, ended.get()), (ms(300), 2));
        });
    }

    fn hydra(group: &TaskGroup<&'static str>, hydras: &Rc<Cell<u32>>) {
        let (handle, hydras) = (group.clone(), hydras.clone());
        group.spawn(async move {
            hydras.set(hydras.get() + 1);
            sleep(ms(10)).await;
            hydra(&handle, &hydras);
            hydra(&handle, &hydras);
        });
    }

    #[test]
    fn test_taskgroup_25() {
        virtual_loop().run(async {
            let hydras = Rc::new(Cell::new(0));
            let copy = hydras.clone();
            let result = try_task_group(async |group| {
                hydra(&group, &copy);
                let hydras = copy.clone();
                group.try_spawn(async move {
                    while hydras.get() < 10 {
                        sleep(ms(15)).await;
                    }
                    Err::<(), _>(ZERO_DIVISION)
                });
                Ok(())
            });
            assert_eq!(errors_of(&result.await.unwrap_err()), [ZERO_DIVISION]);
            assert!(hydras.get() >= 10);
            assert_eq!(all_tasks().len(), 1);
        });
    }

    #[test]
    fn test_taskgroup_task_name() {
        virtual_loop().run(async {
            let named = task_group(async |group| {
                let task = group.spawn(yield_now());
                task.set_name("yolo");
                assert_eq!(&*task.name(), "yolo");
                task
            });
            assert_eq!(&*named.await.unwrap().name(), "yolo");
        });
    }

    onelane::task_local! {
        static CVAR: Rc<Cell<Option<i32>>>;
    }

    /// A child begins with a copy of the values. To share something, the value itself must be
    /// shared.
    #[test]
    fn test_taskgroup_task_context() {
        async fn set(val: i32) {
            yield_now().await;
            CVAR.get().set(Some(val));
            drop(CVAR.set(Rc::default()));
        }
        virtual_loop().run(async {
            drop(CVAR.set(Rc::default()));
            let group = task_group(async |group| {
                assert_eq!(CVAR.get().get(), None);
                group.spawn(set(1)).await.unwrap();
                assert_eq!(CVAR.get().get(), Some(1));
                group.spawn(set(2)).await.unwrap();
                assert_eq!(CVAR.get().get(), Some(2));
            });
            group.await.unwrap();
        });
    }

    /// A child that is spawned after the failure is cancelled before its first step.
    #[test]
    fn test_taskgroup_no_create_task_after_failure() {
        virtual_loop().run(async {
            let late = Rc::new(OnceCell::new());
            let copy = late.clone();
            let result = try_task_group(async |group| {
                group.try_spawn(crash_after(1, ZERO_DIVISION));
                let handle = group.clone();
                group.spawn(async move {
                    assert_eq!(catch_cancel(sleep(ms(1000))).await, Err(Cancelled));
                    let task = handle.try_spawn(async { unreachable!("it must not begin") });
                    copy.set(task).map_err(drop).unwrap();
                });
                Ok(())
            });
            assert_eq!(errors_of(&result.await.unwrap_err()), [ZERO_DIVISION]);
            let late: &onelane::Task<Result<(), _>> = late.get().expect("the late child was not spawned");
            assert!(late.is_cancelled());
        });
    }

    #[test]
    fn test_taskgroup_context_manager_exit_raises() {
        let main = in_a_task(async {
            let result = try_task_group(async |group| {
                let database = async {
                    group.try_spawn(async { Err::<(), _>("custom") });
                    sleep(ms(1000)).await;
                };
                let _ = catch_cancel(database).await;
                Err::<(), _>("custom")
            });
            let error = result.await.unwrap_err();
            assert_eq!(current_task().unwrap().cancelling(), 0);
            assert_eq!(errors_of(&error), ["custom"; 2]);
        });
        assert_eq!(main, Ok(()));
    }

    /// A group is entered by an await.
    #[test]
    fn test_taskgroup_double_enter() {
        virtual_loop().run(async {
            let mut once = task_group(async |_| ());
            assert_eq!((&mut once).await, Ok(()));
            let again = spawn(once);
            let Err(TaskError::Panicked(panic)) = again.await else { panic!("it was entered again") };
            assert_eq!(panic.message(), "a task group was polled after it was ready");
        });
    }

    /// A handle outlives its group. The future of a late spawn is dropped without a step.
    fn spawn_into_finished() {
        virtual_loop().run(async {
            let group = task_group(async |group| group).await.unwrap();
            let census = Census::new();
            let member = census.member();
            let message = panic_of(|| {
                group.spawn(async move {
                    drop(member);
                    unreachable!("it must not begin")
                })
            });
            assert!(message.contains("a task group that has ended"), "{message}");
            assert_eq!(census.counts(), (1, 1));
            yield_now().await;
            assert_eq!(all_tasks().len(), 1);
        });
    }

    #[test]
    fn test_taskgroup_finished() {
        spawn_into_finished();
    }

    #[test]
    fn test_coro_closed_when_tg_closed() {
        spawn_into_finished();
    }

    /// A group needs a running loop, but no task. Without a loop, its spawn panics.
    #[test]
    fn test_taskgroup_without_parent_task() {
        let census = Census::new();
        let member = census.member();
        let mut group = task_group(async |group| {
            group.spawn(async move {
                drop(member);
                unreachable!("it must not begin")
            });
        });
        let message = panic_of(|| Pin::new(&mut group).poll(&mut Context::from_waker(Waker::noop())));
        assert!(message.contains("TaskGroup::spawn() was called, but there is no running event loop"), "{message}");
        assert_eq!(census.counts(), (1, 1));
    }

    /// The handle exists as soon as the group does, and may be used. The group awaits the child
    /// that it spawns, or cancels it.
    #[test]
    fn test_taskgroup_not_entered() {
        virtual_loop().run(async {
            for is_awaited in [true, false] {
                let child = Rc::new(OnceCell::new());
                let slot = child.clone();
                let group = task_group(|group| {
                    slot.set(group.spawn(sleep(ms(10)))).unwrap();
                    async {}
                });
                let child = child.get().unwrap();
                yield_now().await;
                assert!(!child.is_done());
                if is_awaited {
                    assert_eq!(group.await, Ok(()));
                    assert_eq!(*child.result().unwrap(), ());
                } else {
                    drop(group);
                    yield_now().await;
                    assert!(child.is_cancelled());
                }
            }
        });
    }

    #[test]
    fn test_cancelling_level_preserved() {
        virtual_loop().run(async {
            let result = try_task_group(async |group| {
                group.try_spawn(crash_after(0, "runtime error"));
                Ok(())
            });
            assert_eq!(errors_of(&result.await.unwrap_err()), ["runtime error"]);
            assert_eq!(current_task().unwrap().cancelling(), 0);
        });
    }

    /// The inner group returns its error to the code around it, in the body of the outer group,
    /// which has failed in the same turn. `cancelling()` does not count the request of a group, and
    /// it is 1 here in the original.
    #[test]
    fn test_nested_groups_both_cancelled() {
        virtual_loop().run(async {
            let result = try_task_group(async |outer| {
                let inner = try_task_group(async |inner| {
                    inner.try_spawn(crash_after(0, "runtime error"));
                    outer.try_spawn(crash_after(0, "value error"));
                    Ok(())
                });
                assert_eq!(errors_of(&inner.await.unwrap_err()), ["runtime error"]);
                assert_eq!(current_task().unwrap().cancelling(), 0);
                Ok(())
            });
            assert_eq!(errors_of(&result.await.unwrap_err()), ["value error"]);
            assert_eq!(current_task().unwrap().cancelling(), 0);
        });
    }

    #[test]
    fn test_error_and_cancel() {
        virtual_loop().run(async {
            let event = Post::new();
            let post = event.clone();
            let seen = Rc::new(Cell::new(false));
            let copy = seen.clone();
            let inner = spawn(async move {
                let group = try_task_group(async |group| {
                    group.try_spawn(async move {
                        post.open();
                        yield_now().await;
                        Err::<(), _>("runtime error")
                    });
                    sleep(ms(1000)).await;
                    unreachable!("a sleep in the group")
                });
                let result: Result<(), _> = group.await;
                assert_eq!(errors_of(&result.unwrap_err()), ["runtime error"]);
                assert_eq!(current_task().unwrap().cancelling(), 1);
                copy.set(true);
                sleep(ms(1000)).await;
                unreachable!("a sleep after the group")
            });
            let start = time();
            event.wait().await;
            assert_eq!(inner.cancelling(), 0);
            inner.cancel();
            assert_eq!(inner.cancelling(), 1);
            assert_eq!((&inner).await, Err::<(), _>(TaskError::Cancelled));
            assert!(inner.is_cancelled());
            assert_eq!((time() - start, seen.get()), (ms(0), true));
        });
    }

    #[test]
    fn test_name() {
        virtual_loop().run(async {
            let name = Rc::new(RefCell::new(None));
            let slot = name.clone();
            let group = task_group(async |group| {
                let task = group.spawn(async move {
                    *slot.borrow_mut() = Some(current_task().unwrap().name());
                });
                task.set_name("example name");
            });
            group.await.unwrap();
            assert_eq!(name.take().as_deref(), Some("example name"));
        });
    }

    #[test]
    fn test_cancels_task_if_created_during_creation() {
        virtual_loop().run(async {
            let ran = Rc::new(Cell::new(false));
            let copy = ran.clone();
            let result = try_task_group(async |group| {
                let handle = group.clone();
                group.spawn(async move {
                    handle.try_spawn(async { Err::<(), _>("third task failed") });
                    let two_turns = async {
                        yield_now().await;
                        yield_now().await;
                    };
                    assert_eq!(catch_cancel(two_turns).await, Err(Cancelled));
                    copy.set(true);
                    assert_eq!(current_task().unwrap().cancelling(), 1);
                });
                Ok(())
            });
            assert_eq!(errors_of(&result.await.unwrap_err()), ["third task failed"]);
            assert!(ran.get());
        });
    }

    #[test]
    fn test_cancellation_does_not_leak_out_of_tg() {
        let main = in_a_task(async {
            let result = try_task_group(async |group| {
                group.try_spawn(async { Err::<(), _>("mine") });
                Ok(())
            });
            assert_eq!(errors_of(&result.await.unwrap_err()), ["mine"]);
            yield_now().await;
            yield_now().await;
        });
        assert_eq!(main, Ok(()));
    }
}
