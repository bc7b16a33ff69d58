//! Barrier: twins of `BarrierTests` in `test_locks.py`.
//!
//! `async with barrier` is an await: nothing happens at its end.

mod barrier_tests {
    use crate::common::{panic_of, virtual_loop};
    use onelane::sync::{Barrier, BrokenBarrier};
    use onelane::{Task, TaskError, gather, spawn, wait, yield_now};
    use std::cell::{Cell, RefCell};
    use std::rc::Rc;

    const N: usize = 5;

    fn make_tasks<F: Future + 'static>(n: usize, coro: impl Fn() -> F) -> Vec<Task<F::Output>> {
        (0..n).map(|_| spawn(coro())).collect()
    }

    async fn gather_tasks<F: Future + 'static>(n: usize, coro: impl Fn() -> F) -> Vec<F::Output> {
        gather(make_tasks(n, coro)).await.unwrap()
    }

    /// The number of times that something happened; a list of `True` in the originals.
    #[derive(Clone, Default)]
    struct Count(Rc<Cell<usize>>);

    impl Count {
        /// Adds one, and returns the new count.
        fn add(&self) -> usize {
            self.0.set(self.0.get() + 1);
            self.0.get()
        }

        fn get(&self) -> usize {
            self.0.get()
        }
    }

    fn shown(state: &str, waiting: usize) -> String {
        format!("Barrier {{ state: {state}, waiting: {waiting}, parties: {N} }}")
    }

    /// No task waits, and the barrier is not broken.
    fn assert_idle(barrier: &Barrier) {
        let idle = format!("Barrier {{ state: Filling, waiting: 0, parties: {} }}", barrier.parties());
        assert_eq!(format!("{barrier:?}"), idle);
        assert_eq!((barrier.n_waiting(), barrier.is_broken()), (0, false));
    }

    #[test]
    fn test_repr() {
        virtual_loop().run(async {
            let barrier = Barrier::new(N);
            assert_eq!(format!("{barrier:?}"), shown("Filling", 0));
            let (mut waiters, incr) = (Vec::new(), 2);
            let mut add = |n| waiters.extend((0..n).map(|_| spawn(barrier.wait())));
            add(incr);
            yield_now().await;
            assert_eq!(format!("{barrier:?}"), shown("Filling", incr));

            add(barrier.parties() - barrier.n_waiting());
            yield_now().await;
            assert_eq!(format!("{barrier:?}"), shown("Draining", 0));

            add(incr);
            yield_now().await;
            barrier.reset();
            assert_eq!(format!("{barrier:?}"), shown("Resetting", 0));

            add(incr);
            yield_now().await;
            barrier.abort();
            assert_eq!(format!("{barrier:?}"), shown("Broken", 0));
            assert!(barrier.is_broken());

            let results = gather(waiters).await.unwrap();
            let indices = [0, 1, 2, 3, 4].map(Ok);
            assert_eq!(results, [&indices[..], &[Err(BrokenBarrier); 4]].concat());
        });
    }

    #[test]
    fn test_barrier_parties() {
        let message = "Barrier::new(0) was called, but no task could ever arrive; pass at least one party";
        assert_eq!(panic_of(|| Barrier::new(0)), message);
        assert_eq!(Barrier::new(N).parties(), N);
    }

    #[test]
    fn test_context_manager() {
        virtual_loop().run(async {
            let barrier = Rc::new(Barrier::new(3));
            let mut results = gather_tasks(3, || barrier.wait()).await;
            results.sort_by_key(|result| result.unwrap());
            assert_eq!(results, [0, 1, 2].map(Ok));
            assert_idle(&barrier);
        });
    }

    #[test]
    fn test_filling_one_task() {
        virtual_loop().run(async {
            let barrier = Barrier::new(1);
            assert_eq!(barrier.wait().await, Ok(0));
            assert_idle(&barrier);
        });
    }

    #[test]
    fn test_filling_one_task_twice() {
        virtual_loop().run(async {
            let barrier = Barrier::new(1);
            let t1 = spawn(barrier.wait());
            yield_now().await;
            assert_eq!(barrier.n_waiting(), 0);
            let t2 = spawn(barrier.wait());
            yield_now().await;
            assert!(t1.is_done() && t2.is_done());
            assert_eq!((t1.await, t2.await), (Ok(Ok(0)), Ok(Ok(0))));
            assert_idle(&barrier);
        });
    }

    #[test]
    fn test_filling_task_by_task() {
        virtual_loop().run(async {
            let barrier = Barrier::new(3);
            let shown = |waiting| format!("Barrier {{ state: Filling, waiting: {waiting}, parties: 3 }}");
            let t1 = spawn(barrier.wait());
            yield_now().await;
            assert_eq!((barrier.n_waiting(), format!("{barrier:?}")), (1, shown(1)));
            let t2 = spawn(barrier.wait());
            yield_now().await;
            assert_eq!((barrier.n_waiting(), format!("{barrier:?}")), (2, shown(2)));
            let t3 = spawn(barrier.wait());
            yield_now().await;

            wait([&t1, &t2, &t3]).await;
            assert_idle(&barrier);
        });
    }

    #[test]
    fn test_filling_tasks_wait_twice() {
        virtual_loop().run(async {
            let (barrier, results) = (Rc::new(Barrier::new(N)), Rc::new(RefCell::new(Vec::new())));
            let coro = || {
                let (barrier, results) = (barrier.clone(), results.clone());
                async move {
                    barrier.wait().await.unwrap();
                    results.borrow_mut().push(true);
                    barrier.wait().await.unwrap();
                    results.borrow_mut().push(false);
                }
            };
            gather_tasks(N, coro).await;
            let results = results.take();
            assert_eq!(results.len(), 2 * N);
            assert_eq!(results.iter().filter(|first| **first).count(), N);
            assert_idle(&barrier);
        });
    }

    #[test]
    fn test_filling_tasks_check_return_value() {
        virtual_loop().run(async {
            let (barrier, results1, results2) = (Rc::new(Barrier::new(N)), Count::default(), Count::default());
            let coro = || {
                let (barrier, results1, results2) = (barrier.clone(), results1.clone(), results2.clone());
                async move {
                    barrier.wait().await.unwrap();
                    results1.add();
                    let index = barrier.wait().await.unwrap();
                    results2.add();
                    index
                }
            };
            let mut indices = gather_tasks(N, coro).await;
            assert_eq!((results1.get(), results2.get()), (N, N));
            indices.sort_unstable();
            assert_eq!(indices, [0, 1, 2, 3, 4]);
            assert_idle(&barrier);
        });
    }

    #[test]
    fn test_draining_state() {
        virtual_loop().run(async {
            let (barrier, results) = (Rc::new(Barrier::new(N)), Rc::new(RefCell::new(Vec::new())));
            let coro = || {
                let (barrier, results) = (barrier.clone(), results.clone());
                async move {
                    barrier.wait().await.unwrap();
                    results.borrow_mut().push(format!("{barrier:?}"));
                }
            };
            gather_tasks(N, coro).await;
            let (draining, filling) = (shown("Draining", 0), shown("Filling", 0));
            assert_eq!(results.take(), [&draining, &draining, &draining, &draining, &filling].map(String::as_str));
            assert_idle(&barrier);
        });
    }

    /// Two tasks wait at the barrier again before the other three have left it. The other three
    /// then meet at a second barrier, and come back.
    #[test]
    fn test_blocking_tasks_while_draining() {
        virtual_loop().run(async {
            let rewait = 2;
            let (barrier, barrier_nowaiting) = (Rc::new(Barrier::new(N)), Rc::new(Barrier::new(N - rewait)));
            let (came, met) = (Count::default(), Count::default());
            let coro = || {
                let (barrier, barrier_nowaiting) = (barrier.clone(), barrier_nowaiting.clone());
                let (came, met) = (came.clone(), met.clone());
                async move {
                    barrier.wait().await.unwrap();
                    if came.add() > rewait {
                        barrier_nowaiting.wait().await.unwrap();
                        met.add();
                    }
                    barrier.wait().await.unwrap();
                }
            };
            gather_tasks(N, coro).await;
            assert_eq!((came.get(), met.get()), (N, N - rewait));
            assert_idle(&barrier);
            assert_idle(&barrier_nowaiting);
        });
    }

    #[test]
    fn test_filling_tasks_cancel_one() {
        virtual_loop().run(async {
            let (barrier, results) = (Rc::new(Barrier::new(3)), Count::default());
            let coro = || {
                let (barrier, results) = (barrier.clone(), results.clone());
                spawn(async move {
                    barrier.wait().await.unwrap();
                    results.add();
                })
            };
            let t1 = coro();
            yield_now().await;
            assert_eq!(barrier.n_waiting(), 1);
            let t2 = coro();
            yield_now().await;
            assert_eq!(barrier.n_waiting(), 2);

            t1.cancel();
            yield_now().await;
            assert_eq!(barrier.n_waiting(), 1);
            assert_eq!((&t1).await, Err(TaskError::Cancelled));
            assert!(t1.is_cancelled());

            let t3 = coro();
            yield_now().await;
            assert_eq!(barrier.n_waiting(), 2);
            let t4 = coro();
            gather([t2, t3, t4]).await.unwrap();
            assert_eq!(results.get(), 3);
            assert_idle(&barrier);
        });
    }

    /// A task that resets the barrier, as `create_task(barrier.reset())`.
    fn reset(barrier: &Rc<Barrier>) -> Task<()> {
        let barrier = barrier.clone();
        spawn(async move { barrier.reset() })
    }

    #[test]
    fn test_reset_barrier() {
        virtual_loop().run(async {
            let barrier = Rc::new(Barrier::new(1));
            let task = reset(&barrier);
            yield_now().await;
            assert!(task.is_done());
            assert_idle(&barrier);
        });
    }

    #[test]
    fn test_reset_barrier_while_tasks_waiting() {
        virtual_loop().run(async {
            let barrier = Rc::new(Barrier::new(N));
            let tasks = make_tasks(N - 1, || barrier.wait());
            yield_now().await;
            assert_eq!(barrier.n_waiting(), N - 1);
            drop(reset(&barrier));
            assert_eq!(gather(tasks).await.unwrap(), [Err(BrokenBarrier); N - 1]);
            assert_idle(&barrier);
        });
    }

    /// When three of the five tasks have left, the third one resets the barrier. The other two get
    /// `BrokenBarrier`.
    #[test]
    fn test_reset_barrier_when_tasks_half_draining() {
        virtual_loop().run(async {
            let (barrier, results1, drained) = (Rc::new(Barrier::new(N)), Count::default(), Count::default());
            let rest_of_tasks = N / 2;
            let coro = || {
                let (barrier, results1, drained) = (barrier.clone(), results1.clone(), drained.clone());
                async move {
                    match barrier.wait().await {
                        Err(BrokenBarrier) => {
                            results1.add();
                        }
                        Ok(_) => {
                            if N - drained.add() == rest_of_tasks {
                                barrier.reset();
                            }
                        }
                    }
                }
            };
            gather_tasks(N, coro).await;
            assert_eq!((results1.get(), drained.get()), (rest_of_tasks, N - rest_of_tasks));
            assert_idle(&barrier);
        });
    }

    /// Tasks that have left and returned belong to the next round, so a reset does not affect them.
    #[test]
    fn test_reset_barrier_when_tasks_half_draining_half_blocking() {
        virtual_loop().run(async {
            let (barrier, count) = (Rc::new(Barrier::new(N)), Count::default());
            let (results1, results2) = (Count::default(), Count::default());
            let blocking_tasks = N / 2;
            let coro = || {
                let (barrier, count) = (barrier.clone(), count.clone());
                let (results1, results2) = (results1.clone(), results2.clone());
                async move {
                    if barrier.wait().await == Err(BrokenBarrier) {
                        results1.add();
                        barrier.wait().await.unwrap();
                    } else if count.add() > blocking_tasks {
                        barrier.reset();
                        barrier.wait().await.unwrap();
                    } else if barrier.wait().await == Err(BrokenBarrier) {
                        results2.add();
                    }
                }
            };
            gather_tasks(N, coro).await;
            assert_eq!((results1.get(), results2.get()), (blocking_tasks, 0));
            assert_idle(&barrier);
        });
    }

    #[test]
    fn test_reset_barrier_while_tasks_waiting_and_waiting_again() {
        virtual_loop().run(async {
            let barrier = Rc::new(Barrier::new(N));
            let (results1, results2) = (Count::default(), Count::default());
            let coro1 = || {
                let (barrier, results1, results2) = (barrier.clone(), results1.clone(), results2.clone());
                async move {
                    if barrier.wait().await == Err(BrokenBarrier) {
                        results1.add();
                    }
                    barrier.wait().await.unwrap();
                    results2.add();
                }
            };
            let tasks = make_tasks(N - 1, coro1);
            drop(reset(&barrier));
            yield_now().await;
            let (copy, copied_results) = (barrier.clone(), results2.clone());
            drop(spawn(async move {
                copy.wait().await.unwrap();
                copied_results.add();
            }));
            gather(tasks).await.unwrap();
            assert_eq!((results1.get(), results2.get()), (N - 1, N));
            assert_idle(&barrier);
        });
    }

    /// The last task to leave resets the barrier. Tasks that already wait again belong to the next
    /// round.
    #[test]
    fn test_reset_barrier_while_tasks_draining() {
        virtual_loop().run(async {
            let (barrier, count) = (Rc::new(Barrier::new(N)), Count::default());
            let results: [Count; 3] = Default::default();
            let coro = || {
                let (barrier, count, [results1, results2, results3]) =
                    (barrier.clone(), count.clone(), results.clone());
                async move {
                    barrier.wait().await.unwrap();
                    if count.add() == N {
                        barrier.reset();
                        barrier.wait().await.unwrap();
                    } else if barrier.wait().await.is_ok() {
                        results1.add();
                    } else {
                        results2.add();
                    }
                    barrier.wait().await.unwrap();
                    results3.add();
                }
            };
            gather_tasks(N, coro).await;
            assert_eq!(results.map(|count| count.get()), [N - 1, 0, N]);
            assert_idle(&barrier);
        });
    }

    #[test]
    fn test_abort_barrier() {
        virtual_loop().run(async {
            let barrier = Rc::new(Barrier::new(1));
            let copy = barrier.clone();
            drop(spawn(async move { copy.abort() }));
            yield_now().await;
            assert_eq!((barrier.n_waiting(), barrier.is_broken()), (0, true));
        });
    }

    #[test]
    fn test_abort_barrier_when_tasks_half_draining_half_blocking() {
        virtual_loop().run(async {
            let (barrier, count) = (Rc::new(Barrier::new(N)), Count::default());
            let (results1, results2) = (Count::default(), Count::default());
            let blocking_tasks = N / 2;
            let coro = || {
                let (barrier, count) = (barrier.clone(), count.clone());
                let (results1, results2) = (results1.clone(), results2.clone());
                async move {
                    if barrier.wait().await == Err(BrokenBarrier) {
                        results1.add();
                    } else if count.add() > blocking_tasks {
                        barrier.abort();
                    } else if barrier.wait().await == Err(BrokenBarrier) {
                        results2.add();
                    }
                }
            };
            gather_tasks(N, coro).await;
            assert_eq!((results1.get(), results2.get()), (blocking_tasks, N - blocking_tasks - 1));
            assert_eq!(format!("{barrier:?}"), shown("Broken", 0));
            assert_eq!((barrier.n_waiting(), barrier.is_broken()), (0, true));
        });
    }

    /// What a task raises between two waits.
    enum Raised {
        Broken,
        Runtime,
    }

    impl From<BrokenBarrier> for Raised {
        fn from(_: BrokenBarrier) -> Self {
            Raised::Broken
        }
    }

    /// Waits twice. The task in the middle fails between the waits, and aborts the barrier.
    async fn wait_twice(barrier: &Barrier, results1: Count, results2: Count) {
        let work = async {
            let index = barrier.wait().await?;
            if index == N / 2 {
                return Err(Raised::Runtime);
            }
            barrier.wait().await?;
            results1.add();
            Ok(())
        };
        match work.await {
            Ok(()) => {}
            Err(Raised::Broken) => {
                results2.add();
            }
            Err(Raised::Runtime) => barrier.abort(),
        }
    }

    #[test]
    fn test_abort_barrier_when_exception() {
        virtual_loop().run(async {
            let barrier = Rc::new(Barrier::new(N));
            let (results1, results2) = (Count::default(), Count::default());
            let coro = || {
                let (barrier, results1, results2) = (barrier.clone(), results1.clone(), results2.clone());
                async move { wait_twice(&barrier, results1, results2).await }
            };
            gather_tasks(N, coro).await;
            assert_eq!((results1.get(), results2.get()), (0, N - 1));
            assert_eq!((barrier.n_waiting(), barrier.is_broken()), (0, true));
        });
    }

    #[test]
    fn test_abort_barrier_when_exception_then_resetting() {
        virtual_loop().run(async {
            let (barrier1, barrier2) = (Rc::new(Barrier::new(N)), Rc::new(Barrier::new(N)));
            let results: [Count; 3] = Default::default();
            let coro = || {
                let (barrier1, barrier2) = (barrier1.clone(), barrier2.clone());
                let [results1, results2, results3] = results.clone();
                async move {
                    wait_twice(&barrier1, results1, results2).await;
                    // Each task leaves `barrier1` before the reset, and comes back to it only after
                    // the reset.
                    if barrier2.wait().await == Ok(N / 2) {
                        barrier1.reset();
                    }
                    barrier2.wait().await.unwrap();
                    barrier1.wait().await.unwrap();
                    results3.add();
                }
            };
            gather_tasks(N, coro).await;
            assert_eq!(results.map(|count| count.get()), [0, N - 1, N]);
            assert_idle(&barrier1);
        });
    }
}
