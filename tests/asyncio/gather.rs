//! gather: twins of the gather classes of `test_tasks.py`.

use crate::Cue;
use onelane::{EventLoop, Promise, Task, TaskError, TryGatherError, gather, try_gather};
use std::cell::Cell;
use std::rc::Rc;

/// The event that a child waits for: its value, or the text of its panic.
type Child = Cue<Result<i32, &'static str>>;

fn children<const N: usize>() -> [Child; N] {
    std::array::from_fn(|_| Cue::new())
}

async fn child(cue: Child) -> i32 {
    cue.wait().await.unwrap_or_else(|text| std::panic::panic_any(text))
}

/// Turns as long as anything is ready.
fn run_loop(event_loop: &EventLoop) {
    while !event_loop.turn().is_idle() {}
}

/// The kind of a gather's children: existing tasks, or futures for which the gather spawns tasks.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Tasks,
    Futures,
}

/// A task that awaits a gather, the tasks of the gather, and the number of calls of its done
/// callback.
struct Gathered<T> {
    outer: Task<T>,
    tasks: Rc<Vec<Task<i32>>>,
    called: Rc<Cell<usize>>,
}

impl<T: 'static> Gathered<T> {
    fn new(outer: Task<T>, tasks: Rc<Vec<Task<i32>>>) -> Self {
        let called = Rc::new(Cell::new(0));
        let copy = called.clone();
        outer.add_done_callback(move |_| copy.set(copy.get() + 1));
        Gathered { outer, tasks, called }
    }
}

fn make(event_loop: &EventLoop, kind: Kind, cues: &[Child]) -> Gathered<Result<Vec<i32>, TaskError>> {
    let cues: Vec<_> = cues.to_vec();
    match kind {
        Kind::Tasks => {
            let tasks = Rc::new(cues.into_iter().map(|cue| event_loop.spawn(child(cue))).collect::<Vec<_>>());
            let copy = tasks.clone();
            Gathered::new(event_loop.spawn(async move { gather(copy.iter()).await }), tasks)
        }
        Kind::Futures => {
            let outer = event_loop.spawn(async move { gather(cues.into_iter().map(child)).await });
            Gathered::new(outer, Rc::default())
        }
    }
}

fn make_all(event_loop: &EventLoop, kind: Kind, cues: &[Child]) -> Gathered<Vec<Result<i32, TaskError>>> {
    let cues: Vec<_> = cues.to_vec();
    match kind {
        Kind::Tasks => {
            let tasks = Rc::new(cues.into_iter().map(|cue| event_loop.spawn(child(cue))).collect::<Vec<_>>());
            let copy = tasks.clone();
            Gathered::new(event_loop.spawn(async move { gather(copy.iter()).return_exceptions().await }), tasks)
        }
        Kind::Futures => {
            let outer = event_loop.spawn(async move { gather(cues.into_iter().map(child)).return_exceptions().await });
            Gathered::new(outer, Rc::default())
        }
    }
}

/// The children in Python's own tests. An exception is an `Err`.
type Future = Promise<Result<i32, &'static str>>;

fn futures<const N: usize>() -> [Future; N] {
    std::array::from_fn(|_| Promise::new())
}

fn make_of(event_loop: &EventLoop, futures: &[Future]) -> Gathered<Result<Vec<i32>, TryGatherError<&'static str>>> {
    let futures = futures.to_vec();
    Gathered::new(event_loop.spawn(async move { try_gather(&futures).await }), Rc::default())
}

type Results = Vec<Result<Result<i32, &'static str>, TaskError>>;

fn make_all_of(event_loop: &EventLoop, futures: &[Future]) -> Gathered<Results> {
    let futures = futures.to_vec();
    Gathered::new(event_loop.spawn(async move { gather(&futures).return_exceptions().await }), Rc::default())
}

fn message(error: &TaskError) -> &str {
    match error {
        TaskError::Cancelled => "cancelled",
        TaskError::Panicked(panic) => panic.message(),
    }
}

mod gather_tests_base {
    use super::*;
    use crate::common::{telling_loop, virtual_loop};

    /// Children `b` and `a` end first, `c` last. The results are in the order of the arguments, and
    /// are returned after all have ended.
    fn check_success<T: Clone + PartialEq + std::fmt::Debug + 'static>(
        make: fn(&EventLoop, Kind, &[Child]) -> Gathered<T>,
        expected: &T,
    ) {
        for kind in [Kind::Tasks, Kind::Futures] {
            let event_loop = virtual_loop();
            let cues: [Child; 3] = children();
            let Gathered { outer, called, .. } = make(&event_loop, kind, &cues);
            cues[1].set(Ok(1));
            cues[0].set(Ok(2));
            run_loop(&event_loop);
            assert_eq!((called.get(), outer.is_done()), (0, false));
            cues[2].set(Ok(3));
            run_loop(&event_loop);
            assert_eq!(called.get(), 1);
            assert_eq!(&*outer.result().unwrap(), expected);
        }
    }

    /// The same with promises.
    fn check_success_of<T: Clone + PartialEq + std::fmt::Debug + 'static>(
        make: fn(&EventLoop, &[Future]) -> Gathered<T>,
        expected: &T,
    ) {
        let event_loop = virtual_loop();
        let [a, b, c]: [Future; 3] = futures();
        let Gathered { outer, called, .. } = make(&event_loop, &[a.clone(), b.clone(), c.clone()]);
        b.set_result(Ok(1)).unwrap();
        a.set_result(Ok(2)).unwrap();
        run_loop(&event_loop);
        assert_eq!((called.get(), outer.is_done()), (0, false));
        c.set_result(Ok(3)).unwrap();
        run_loop(&event_loop);
        assert_eq!(called.get(), 1);
        assert_eq!(&*outer.result().unwrap(), expected);
    }

    #[test]
    fn test_success() {
        check_success(make, &Ok(vec![2, 1, 3]));
        check_success_of(make_of, &Ok(vec![2, 1, 3]));
    }

    #[test]
    fn test_result_exception_success() {
        check_success(make_all, &vec![Ok(2), Ok(1), Ok(3)]);
        check_success_of(make_all_of, &vec![Ok(Ok(2)), Ok(Ok(1)), Ok(Ok(3))]);
    }

    #[test]
    fn test_one_exception() {
        for kind in [Kind::Tasks, Kind::Futures] {
            let (event_loop, told) = telling_loop();
            let cues: [Child; 5] = children();
            let Gathered { outer, tasks, called } = make(&event_loop, kind, &cues);
            cues[0].set(Ok(1));
            cues[1].set(Err("zero division"));
            run_loop(&event_loop);
            assert!(outer.is_done());
            assert_eq!(called.get(), 1);
            let error = outer.result().unwrap().clone().unwrap_err();
            assert_eq!(message(&error), "zero division");
            // These have no effect.
            cues[2].set(Ok(3));
            cues[4].set(Err("runtime"));
            if kind == Kind::Tasks {
                assert_eq!(tasks[1].result().map(|_| ()), Err(error.clone()), "the error is the same panic");
                assert!(!tasks[2].is_done() && tasks[3].cancel());
            }
            run_loop(&event_loop);
            assert_eq!(outer.result().unwrap().clone().unwrap_err(), error);
            assert_eq!(called.get(), 1);
            drop((outer, tasks));
            assert!(told.take().is_empty());
        }
        let event_loop = virtual_loop();
        let [a, b, c, d, e]: [Future; 5] = futures();
        let all = [&a, &b, &c, &d, &e].map(Promise::clone);
        let Gathered { outer, called, .. } = make_of(&event_loop, &all);
        a.set_result(Ok(1)).unwrap();
        b.set_result(Err("zero division")).unwrap();
        run_loop(&event_loop);
        assert!(outer.is_done());
        assert_eq!(called.get(), 1);
        assert_eq!(*outer.result().unwrap(), Err(TryGatherError::Failed("zero division")));
        // These have no effect.
        c.set_result(Ok(3)).unwrap();
        assert!(d.cancel());
        e.set_result(Err("runtime")).unwrap();
        run_loop(&event_loop);
        assert_eq!(called.get(), 1);
    }

    #[test]
    fn test_return_exceptions() {
        for kind in [Kind::Tasks, Kind::Futures] {
            let (event_loop, told) = telling_loop();
            let cues: [Child; 4] = children();
            let Gathered { outer, tasks, called } = make_all(&event_loop, kind, &cues);
            cues[1].set(Ok(1));
            cues[2].set(Err("zero division"));
            cues[0].set(Ok(3));
            run_loop(&event_loop);
            assert!(!outer.is_done());
            cues[3].set(Err("runtime"));
            run_loop(&event_loop);
            assert!(outer.is_done());
            assert_eq!(called.get(), 1);
            let results = outer.result().unwrap().clone();
            let results: Vec<_> = results.iter().map(|result| result.as_ref().map_err(message)).collect();
            assert_eq!(results, [Ok(&3), Ok(&1), Err("zero division"), Err("runtime")]);
            drop((outer, tasks));
            assert!(told.take().is_empty());
        }
        let event_loop = virtual_loop();
        let [a, b, c, d]: [Future; 4] = futures();
        let Gathered { outer, called, .. } = make_all_of(&event_loop, &[&a, &b, &c, &d].map(Promise::clone));
        b.set_result(Ok(1)).unwrap();
        c.set_result(Err("zero division")).unwrap();
        a.set_result(Ok(3)).unwrap();
        run_loop(&event_loop);
        assert!(!outer.is_done());
        d.set_result(Err("runtime")).unwrap();
        run_loop(&event_loop);
        assert_eq!(called.get(), 1);
        assert_eq!(*outer.result().unwrap(), [Ok(Ok(3)), Ok(Ok(1)), Ok(Err("zero division")), Ok(Err("runtime"))]);
    }
}

mod future_gather_tests {
    use super::*;
    use crate::common::{panic_of, virtual_loop};
    use futures_util::poll;
    use std::future::Pending;
    use std::task::Poll;

    #[test]
    fn test_constructor_empty_sequence_without_loop() {
        let message = panic_of(|| gather(Vec::<Pending<()>>::new()));
        assert!(message.contains("there is no running event loop"), "{message}");
    }

    #[test]
    fn test_constructor_empty_sequence_use_running_loop() {
        virtual_loop().run(async {
            let mut gathered = gather(Vec::<Pending<()>>::new());
            assert_eq!(poll!(&mut gathered), Poll::Ready(Ok(vec![])));
        });
    }

    #[test]
    fn test_constructor_heterogenous_futures() {
        let (one_loop, other_loop) = (virtual_loop(), virtual_loop());
        let tasks = [&one_loop, &other_loop].map(|event_loop| event_loop.spawn(async {}));
        let message = panic_of(|| one_loop.run(async { gather(&tasks).await }));
        assert!(message.contains("belongs to another event loop"), "{message}");
    }

    /// Promises belong to no loop. The running loop gathers them, even twice.
    #[test]
    fn test_constructor_homogenous_futures() {
        let other_loop = virtual_loop();
        let children: [Future; 3] = futures();
        for _ in 0..2 {
            let Gathered { outer, .. } = make_of(&other_loop, &children);
            run_loop(&other_loop);
            assert!(!outer.is_done());
        }
    }

    /// A cancelled child makes the gather fail, and cancels no other child.
    #[test]
    fn test_one_cancellation() {
        let event_loop = virtual_loop();
        let cues: [Child; 5] = children();
        let Gathered { outer, tasks, called } = make(&event_loop, Kind::Tasks, &cues);
        cues[0].set(Ok(1));
        run_loop(&event_loop);
        tasks[1].cancel();
        run_loop(&event_loop);
        assert!(outer.is_done());
        assert_eq!(called.get(), 1);
        assert!(!outer.is_cancelled());
        assert_eq!(*outer.result().unwrap(), Err(TaskError::Cancelled));
        // These have no effect.
        assert!(!tasks[2].is_done() && !tasks[3].is_done() && !tasks[4].is_done());
        cues[2].set(Ok(3));
        tasks[3].cancel();
        cues[4].set(Err("runtime"));
        run_loop(&event_loop);
        assert!(tasks[4].result().is_err());
        assert_eq!((&*outer.result().unwrap(), called.get()), (&Err(TaskError::Cancelled), 1));
        promises_with_one_cancellation();
    }

    fn promises_with_one_cancellation() {
        let event_loop = virtual_loop();
        let [a, b, c, d, e]: [Future; 5] = futures();
        let all = [&a, &b, &c, &d, &e].map(Promise::clone);
        let Gathered { outer, called, .. } = make_of(&event_loop, &all);
        a.set_result(Ok(1)).unwrap();
        b.cancel();
        run_loop(&event_loop);
        assert!(outer.is_done());
        assert_eq!(called.get(), 1);
        assert!(!outer.is_cancelled());
        assert_eq!(*outer.result().unwrap(), Err(TryGatherError::Task(TaskError::Cancelled)));
        // These have no effect.
        c.set_result(Ok(3)).unwrap();
        assert!(d.cancel());
        e.set_result(Err("runtime")).unwrap();
        run_loop(&event_loop);
        assert_eq!(called.get(), 1);
    }

    #[test]
    fn test_result_exception_one_cancellation() {
        let event_loop = virtual_loop();
        let cues: [Child; 6] = children();
        let Gathered { outer, tasks, called } = make_all(&event_loop, Kind::Tasks, &cues);
        cues[0].set(Ok(1));
        cues[1].set(Err("zero division"));
        tasks[2].cancel();
        run_loop(&event_loop);
        assert!(!outer.is_done());
        cues[3].set(Ok(3));
        tasks[4].cancel();
        cues[5].set(Err("runtime"));
        let results = event_loop.run(&outer).unwrap();
        assert!(matches!((&results[2], &results[4]), (Err(TaskError::Cancelled), Err(TaskError::Cancelled))));
        let results: Vec<_> = results.iter().map(|result| result.as_ref().map_err(message)).collect();
        let expected = [Ok(&1), Err("zero division"), Err("cancelled"), Ok(&3), Err("cancelled"), Err("runtime")];
        assert_eq!((&results[..], called.get()), (&expected[..], 1));

        let [a, b, c, d, e, f]: [Future; 6] = futures();
        let all = [&a, &b, &c, &d, &e, &f].map(Promise::clone);
        let Gathered { outer, called, .. } = make_all_of(&event_loop, &all);
        a.set_result(Ok(1)).unwrap();
        b.set_result(Err("zero division")).unwrap();
        c.cancel();
        run_loop(&event_loop);
        assert!(!outer.is_done());
        d.set_result(Ok(3)).unwrap();
        e.cancel();
        f.set_result(Err("runtime")).unwrap();
        let results = event_loop.run(&outer).unwrap();
        let cancelled = Err(TaskError::Cancelled);
        let expected =
            [Ok(Ok(1)), Ok(Err("zero division")), cancelled.clone(), Ok(Ok(3)), cancelled, Ok(Err("runtime"))];
        assert_eq!((&results[..], called.get()), (&expected[..], 1));
    }
}

mod coroutine_gather_tests {
    use super::*;
    use crate::common::{Trace, on_drop, telling_loop, virtual_loop};
    use onelane::{all_tasks, spawn, yield_now};
    use std::future::pending;

    #[test]
    fn test_constructor_use_running_loop() {
        let event_loop = virtual_loop();
        event_loop.run(async {
            let before = event_loop.all_tasks().len();
            let gathered = gather(["abc", "abc"].map(async |text| text));
            assert_eq!(event_loop.all_tasks().len(), before + 2);
            assert_eq!(gathered.await, Ok(vec!["abc", "abc"]));
        });
    }

    /// A future is moved, so it cannot be passed twice. A task can be passed twice by reference.
    #[test]
    fn test_duplicate_coroutines() {
        virtual_loop().run(async {
            let runs = Rc::new(Cell::new(0));
            let coro = |text: &'static str| {
                let runs = runs.clone();
                spawn(async move {
                    runs.set(runs.get() + 1);
                    text
                })
            };
            let (c, other) = (coro("abc"), coro("def"));
            assert_eq!(gather([&c, &c, &other, &c]).await, Ok(vec!["abc", "abc", "def", "abc"]));
            assert_eq!(runs.get(), 2);
        });
    }

    /// A task that is cancelled while it awaits a gather cancels all children.
    #[test]
    fn test_cancellation_broadcast() {
        let trace = Trace::new();
        virtual_loop().run(async {
            let inner = |name: &'static str| {
                let (dropped, proof) = (trace.clone(), trace.clone());
                spawn(async move {
                    let _waiter = on_drop(move || dropped.push(format!("{name} is dropped")));
                    pending::<()>().await;
                    proof.push("inner went on");
                })
            };
            let children = Rc::new([inner("child1"), inner("child2")]);
            let (copy, proof) = (children.clone(), trace.clone());
            let outer = spawn(async move {
                gather(copy.iter()).await.ok();
                proof.push("outer went on");
            });
            yield_now().await;
            yield_now().await;
            assert!(outer.cancel());
            assert_eq!((&outer).await, Err(TaskError::Cancelled));
            assert!(!outer.cancel());
            assert!(children.iter().all(|child| child.is_cancelled()));
            yield_now().await;
        });
        assert_eq!(trace.take(), ["child1 is dropped", "child2 is dropped"]);
    }

    /// The panic of the second child comes after the gather has failed, and is not reported.
    #[test]
    fn test_exception_marking() {
        let (event_loop, told) = telling_loop();
        let [a, b]: [Child; 2] = children();
        event_loop.run(async {
            let cues = [a.clone(), b.clone()];
            let outer = spawn(async move { gather(cues.map(child)).await });
            yield_now().await;
            yield_now().await;
            a.set(Err("first"));
            for _ in 0..3 {
                yield_now().await;
            }
            assert!(outer.is_done() && all_tasks().len() == 2);
            b.set(Err("should be ignored"));
            yield_now().await;
            assert_eq!(all_tasks().len(), 1);
            assert_eq!(message(&outer.await.unwrap().unwrap_err()), "first");
        });
        assert!(told.take().is_empty());
    }
}

mod base_task_tests {
    use super::*;
    use crate::common::{ms, virtual_loop};
    use onelane::{sleep, spawn, time};

    /// A cancellation ends a task that awaits a gather, whatever the kind of the gather.
    #[test]
    fn test_cancel_gather_2() {
        let event_loop = virtual_loop();
        let start = event_loop.time();
        let result = event_loop.run(async {
            let task = spawn(async {
                let start = time();
                while time() - start <= ms(1000) {
                    let results = gather([async { sleep(ms(50)).await }]).return_exceptions().await;
                    assert_eq!(results, [Ok(())]);
                }
            });
            sleep(ms(200)).await;
            assert!(task.cancel());
            task.await
        });
        assert_eq!((result, event_loop.time() - start), (Err(TaskError::Cancelled), ms(200)));
    }
}
