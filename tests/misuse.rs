//! Wrong calls, and their panic messages.

mod common;

use common::{Census, Post, Trace, alone, ms, panic_of, text_of, virtual_loop, watched, words};
use futures_util::poll;
use onelane::{
    EventLoop, NoRunningLoop, RunError, Sleep, Task, TaskError, TaskRef, all_tasks, as_completed, call_at, call_later,
    call_soon, current_task, gather, run, shield, sleep, sleep_until, spawn, task, time, timeout, timeout_at,
    try_gather, try_run, wait, wait_for, yield_now,
};
use std::cell::RefCell;
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

/// A call, with its name.
type Case<'a> = (&'a str, Box<dyn Fn() + 'a>);

const NESTED: &str = "onelane::run() cannot be called from a running event loop";

/// Spawns tasks that find each other in one list, by their positions.
fn spawn_circle<F>(event_loop: &EventLoop, tasks: usize, body: impl Fn(usize, Circle) -> F) -> Circle
where
    F: Future<Output = ()> + 'static,
{
    let circle = Circle::default();
    for nth in 0..tasks {
        let task = event_loop.spawn(body(nth, circle.clone()));
        circle.0.borrow_mut().push(task);
    }
    circle
}

#[derive(Clone, Default)]
struct Circle(Rc<RefCell<Vec<Task<()>>>>);

impl Circle {
    fn join(&self, nth: usize) -> onelane::Join<()> {
        (&self.0.borrow()[nth]).into_future()
    }

    fn cancel(&self, nth: usize) -> bool {
        self.0.borrow()[nth].cancel()
    }

    fn states(&self) -> Vec<bool> {
        self.0.borrow().iter().map(Task::is_cancelled).collect()
    }
}

/// STEP-2.
#[test]
fn run_in_a_run_and_go_on() {
    let census = Census::new();
    let other = virtual_loop();
    let result = run(async {
        let (one, two) = (census.member(), census.member());
        assert_eq!(panic_of(|| run(async move { drop(one) })), NESTED);
        assert_eq!(panic_of(|| other.run(async move { drop(two) })), NESTED);
        assert_eq!(census.counts(), (2, 2));
        assert!(matches!(try_run(async {}), Err(RunError::Nested)));
        assert!(matches!(other.try_run(async {}), Err(RunError::Nested)));
        let from_a_callback = Rc::new(RefCell::new(String::new()));
        let copy = from_a_callback.clone();
        call_soon(move || *copy.borrow_mut() = panic_of(|| run(async {})));
        yield_now().await;
        assert_eq!(*from_a_callback.borrow(), NESTED);
        spawn(async { 7 }).await
    });
    assert_eq!(result, Ok(7));
    other.run(async {});
}

/// STEP-2.
#[test]
fn turn_in_a_running_loop() {
    let (event_loop, other) = (Rc::new(virtual_loop()), virtual_loop());
    let same = event_loop.clone();
    event_loop.run(async move {
        for event_loop in [&*same, &other] {
            assert_eq!(
                panic_of(|| event_loop.turn()),
                "EventLoop::turn() was called from a running event loop; call it from the host's loop, or spawn into the \
                 running one"
            );
        }
    });
}

#[test]
fn ask_for_a_loop_where_none_runs() {
    let moment = Instant::now();
    let cases: Vec<Case<'_>> = vec![
        ("spawn()", Box::new(|| drop(spawn(async {})))),
        ("task::Builder::spawn()", Box::new(|| drop(task::Builder::new().name("a").spawn(async {})))),
        ("sleep()", Box::new(|| drop(sleep(ms(1))))),
        ("sleep_until()", Box::new(move || drop(sleep_until(moment)))),
        ("current_task()", Box::new(|| drop(current_task()))),
        ("all_tasks()", Box::new(|| drop(all_tasks()))),
        ("call_soon()", Box::new(|| _ = call_soon(|| ()))),
        ("call_later()", Box::new(|| _ = call_later(ms(1), || ()))),
        ("call_at()", Box::new(move || _ = call_at(moment, || ()))),
        ("time()", Box::new(|| _ = time())),
        ("gather()", Box::new(|| drop(gather([async {}])))),
        ("gather()", Box::new(|| drop(onelane::gather!(async {})))),
        ("timeout()", Box::new(|| drop(timeout(ms(1), async {})))),
        ("timeout_at()", Box::new(move || drop(timeout_at(moment, async {})))),
        ("wait_for()", Box::new(|| drop(wait_for(async {}, ms(1))))),
        ("EventLoop::current()", Box::new(|| _ = EventLoop::current())),
    ];
    // Three situations of the thread: it has no loop, it has a loop that is not running, its loop
    // was dropped.
    let mut event_loop = None;
    for situation in 0..3 {
        for (asked, ask) in &cases {
            let expected = format!(
                "{asked} was called, but there is no running event loop; call it from inside of onelane::run()"
            );
            assert_eq!(panic_of(ask), expected);
        }
        event_loop = if situation == 0 { Some(virtual_loop()) } else { None };
        event_loop.iter().for_each(|event_loop| event_loop.run(async {}));
    }
    drop(event_loop);
    assert!(matches!(EventLoop::try_current(), Err(NoRunningLoop)));
    assert_eq!(NoRunningLoop.to_string(), "no running event loop");
}

/// Without a loop, `try_gather` panics like the functions above.
#[test]
fn try_gather_where_no_loop_runs() {
    let message = panic_of(|| drop(try_gather([async { Ok::<(), ()>(()) }])));
    assert!(message.contains("gather() was called, but there is no running event loop"), "{message}");
}

#[test]
fn use_a_loop_reference_after_its_loop() {
    let current = virtual_loop().run(async { EventLoop::current() });
    let cases: [Case<'_>; 5] = [
        ("LoopRef::spawn()", Box::new(|| drop(current.spawn(async {})))),
        ("LoopRef::call_soon()", Box::new(|| _ = current.call_soon(|| ()))),
        ("LoopRef::call_later()", Box::new(|| _ = current.call_later(ms(1), || ()))),
        ("LoopRef::time()", Box::new(|| _ = current.time())),
        ("LoopRef::remote()", Box::new(|| drop(current.remote()))),
    ];
    for (asked, ask) in cases {
        let expected = format!("{asked} was called, but the event loop is closed; let the loop outlive what uses it");
        assert_eq!(panic_of(ask), expected);
    }
}

#[test]
fn wait_on_nothing() {
    let message = "wait() was called with no tasks, and would wait for ever; check for that first";
    virtual_loop().run(async {
        assert_eq!(panic_of(|| wait([] as [Task<()>; 0])), message);
        assert_eq!(panic_of(|| onelane::try_wait([] as [Task<Result<(), ()>>; 0])), message);
    });
}

#[test]
fn await_itself() {
    virtual_loop().run(async {
        let slot: Rc<RefCell<Option<Task<()>>>> = Rc::default();
        let own = slot.clone();
        *slot.borrow_mut() = Some(task::Builder::new().name("ouroboros").spawn(async move {
            let task = own.borrow_mut().take().unwrap();
            let _ = task.await;
        }));
        let task_ref = slot.borrow().as_ref().unwrap().task_ref();
        wait([task_ref.clone()]).await;
        assert!(task_ref.is_done() && !task_ref.is_cancelled());
    });
    let message = virtual_loop().run(async {
        let slot: Rc<RefCell<Option<Task<()>>>> = Rc::default();
        let own = slot.clone();
        let task = task::Builder::new().name("ouroboros").spawn(async move {
            let join = (own.borrow().as_ref().unwrap()).into_future();
            let _ = join.await;
        });
        let join = (&task).into_future();
        *slot.borrow_mut() = Some(task);
        match join.await {
            Err(TaskError::Panicked(panic)) => panic.message().to_string(),
            other => panic!("{other:?}"),
        }
    });
    assert_eq!(message, "task \"ouroboros\" awaits itself, and would wait for ever; await another task, or none");
}

/// A task waits for itself through `shield`, `wait`, `as_completed` or `gather`, with a timeout.
/// When the time is up, the task continues and is not cancelled. Awaiting itself directly is a
/// panic.
#[test]
fn wait_for_itself_for_a_while() {
    let trace = Trace::new();
    virtual_loop().run(async {
        for way in ["shield", "wait", "as_completed", "gather"] {
            let slot: Rc<RefCell<Option<Rc<Task<()>>>>> = Rc::default();
            let (copy, trace) = (slot.clone(), trace.clone());
            let task = Rc::new(spawn(async move {
                let me = copy.take().unwrap();
                let result = match way {
                    "shield" => timeout(ms(10), shield(&*me)).await.map(drop),
                    "wait" => timeout(ms(10), wait([me.task_ref()])).await.map(drop),
                    "gather" => timeout(ms(10), gather([&*me])).await.map(drop),
                    _ => as_completed([&*me]).timeout(ms(10)).next().await.map(drop),
                };
                trace.push(format!("{way}: {result:?}, cancelled {} times", me.cancelling()));
                yield_now().await;
            }));
            *slot.borrow_mut() = Some(task.clone());
            sleep(ms(20)).await;
            assert!(task.is_done() && !task.is_cancelled(), "{way}: {task:?}");
        }
    });
    let expected =
        ["shield", "wait", "as_completed", "gather"].map(|way| format!("{way}: Err(Elapsed), cancelled 0 times"));
    assert_eq!(trace.take(), expected);
    // Awaiting itself directly is a panic, even in a timeout.
    let message = virtual_loop().run(async {
        let slot: Rc<RefCell<Option<Rc<Task<()>>>>> = Rc::default();
        let copy = slot.clone();
        let task = Rc::new(spawn(async move {
            let me = copy.take().unwrap();
            let _ = timeout(ms(10), &*me).await;
        }));
        *slot.borrow_mut() = Some(task.clone());
        (&*task).await.unwrap_err().to_string()
    });
    assert!(message.contains("awaits itself"), "{message}");
}

#[test]
fn await_each_other_and_cancel_one() {
    watched(|| {
        for tasks in [2, 3] {
            for cancelled in 0..tasks {
                let trace = Trace::new();
                virtual_loop().run(async {
                    let circle = Circle::default();
                    for nth in 0..tasks {
                        let (others, trace) = (circle.clone(), trace.clone());
                        let task = spawn(async move {
                            let _end = common::on_drop(move || trace.push(format!("{nth} ends")));
                            let _ = others.join((nth + 1) % tasks).await;
                            unreachable!("its task only ends by being cancelled");
                        });
                        circle.0.borrow_mut().push(task);
                    }
                    yield_now().await;
                    assert!(circle.cancel(cancelled));
                    for _ in 0..tasks + 1 {
                        yield_now().await;
                    }
                    assert_eq!(circle.states(), vec![true; tasks], "{tasks} tasks, {cancelled} is cancelled");
                });
                // The last task of the circle ends first, then the task that awaits it, and so on
                // until the cancelled task.
                let order: Vec<_> =
                    (1..=tasks).map(|back| format!("{} ends", (cancelled + tasks - back) % tasks)).collect();
                assert_eq!(trace.take(), order);
            }
        }
    });
}

/// As above, but no task is cancelled. The program cannot continue, so `run` ends with a deadlock
/// report.
#[test]
fn await_each_other_and_end_the_run() {
    watched(|| {
        for tasks in [2, 3] {
            let event_loop = virtual_loop();
            let circle = spawn_circle(&event_loop, tasks, |nth, circle| async move {
                let _ = circle.join((nth + 1) % tasks).await;
            });
            let error = event_loop.try_run(pending::<()>()).unwrap_err();
            let RunError::Deadlock(report) = error else { panic!("{error:?}") };
            let waits: Vec<_> = report.tasks.iter().map(words).collect();
            let mut expected: Vec<_> = (0..tasks)
                .map(|nth| format!("task \"await_each_other_and_end_the_run-{}\"", (nth + 1) % tasks + 1))
                .collect();
            expected.push(String::new());
            assert_eq!(waits, expected);
            assert_eq!(circle.states(), vec![true; tasks]);
        }
    });
}

const CHAIN: usize = 100_000;

/// Spawns a chain: the first task waits for ever, and each other task awaits the one before it.
fn spawn_chain(event_loop: &EventLoop, census: &Census) -> Task<()> {
    let member = census.member();
    let mut last = event_loop.spawn(async move {
        let _member = member;
        pending::<()>().await;
    });
    for _ in 1..CHAIN {
        let member = census.member();
        last = event_loop.spawn(async move {
            let _member = member;
            let _ = last.await;
        });
    }
    last
}

#[test]
fn cancel_a_chain_at_its_end() {
    alone("cancel_a_chain_at_its_end", || {
        let (event_loop, census) = (virtual_loop(), Census::new());
        let last = spawn_chain(&event_loop, &census);
        event_loop.turn();
        assert!(last.cancel());
        assert_eq!(census.counts(), (CHAIN, 0));
        let mut turns = 0;
        while !last.is_done() {
            assert_eq!(event_loop.turn().tasks, CHAIN - 1 - turns);
            turns += 1;
        }
        assert_eq!((turns, census.counts()), (CHAIN, (CHAIN, CHAIN)));
        assert!(last.is_cancelled());
    });
}

#[test]
fn cancel_a_chain_at_its_beginning() {
    alone("cancel_a_chain_at_its_beginning", || {
        let (event_loop, census) = (virtual_loop(), Census::new());
        let last = spawn_chain(&event_loop, &census);
        event_loop.turn();
        let first = event_loop.all_tasks()[0].clone();
        assert!(first.cancel());
        while !last.is_done() {
            event_loop.turn();
        }
        // The first task was cancelled. The second received its result and went on.
        assert_eq!((first.is_cancelled(), last.is_cancelled()), (true, false));
        assert_eq!(census.counts(), (CHAIN, CHAIN));
    });
}

#[test]
fn end_the_run_with_a_chain_waiting() {
    alone("end_the_run_with_a_chain_waiting", || {
        let (event_loop, census) = (virtual_loop(), Census::new());
        let last = spawn_chain(&event_loop, &census);
        event_loop.run(yield_now());
        assert_eq!((last.is_cancelled(), census.counts()), (true, (CHAIN, CHAIN)));
    });
}

#[test]
fn drop_the_loop_with_a_chain_waiting() {
    alone("drop_the_loop_with_a_chain_waiting", || {
        let (event_loop, census) = (virtual_loop(), Census::new());
        let last = spawn_chain(&event_loop, &census);
        event_loop.turn();
        drop(event_loop);
        assert_eq!((last.is_cancelled(), census.counts()), (true, (CHAIN, CHAIN)));
    });
}

#[test]
fn take_a_result_twice() {
    virtual_loop().run(async {
        let named = || task::Builder::new().name("once").spawn(async { 7 });
        // The result can be read by reference any number of times, and through `result` as well.
        let task = named();
        assert_eq!(((&task).await, (&task).await, *task.result().unwrap()), (Ok(7), Ok(7), 7));
        let both = gather([&task, &task]).await;
        assert_eq!(both, Ok(vec![7, 7]));

        // A gather by reference is running when the result is taken by value.
        let (begun, by_value) = (gather([&task]), task.await);
        assert_eq!(by_value, Ok(7));
        let message = panicked(spawn(begun)).await;
        assert_eq!(message, "the result of task \"once\" was read after it was taken; await `&task` everywhere");

        // The result is taken by value, and then the await is polled again.
        let mut join = named().into_future();
        assert_eq!((&mut join).await, Ok(7));
        let message = "the result of task \"once\" was taken twice; await `&task` to leave it for others";
        assert_eq!(panic_of(|| poll_once(&mut join)), message);
    });
}

#[test]
fn look_at_a_result_that_was_taken() {
    let message = "result() of task \"once\" was called, but the result was taken; await `&task` to leave it in place";
    virtual_loop().run(async {
        let told: Rc<RefCell<Option<String>>> = Rc::default();
        let copy = told.clone();
        let task = task::Builder::new().name("once").spawn(async { 7 });
        task.add_done_callback(move |task| {
            assert_eq!(*task.result().unwrap(), 7);
            // This callback is queued behind the awaiting task, which takes the result first.
            task.add_done_callback(move |task| *copy.borrow_mut() = Some(panic_of(|| drop(task.result()))));
        });
        assert_eq!(task.await, Ok(7));
        yield_now().await;
        assert_eq!(told.take().as_deref(), Some(message));
    });
}

fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// The message of the panic with which a task ends.
async fn panicked<T>(task: Task<T>) -> String {
    match task.await {
        Err(TaskError::Panicked(panic)) => panic.message().to_string(),
        Err(TaskError::Cancelled) => "it was cancelled".to_string(),
        Ok(_) => "it returned".to_string(),
    }
}

#[test]
fn ask_for_the_result_before_the_end() {
    virtual_loop().run(async {
        let task = task::Builder::new().name("slow").spawn(sleep(ms(5)));
        for _ in 0..2 {
            let message =
                "result() of task \"slow\" was called, but the task has not ended; check is_done(), or await it";
            assert_eq!(panic_of(|| drop(task.result())), message);
            yield_now().await;
        }
        assert_eq!((&task).await, Ok(()));
        assert!(task.result().is_ok());
    });
}

#[test]
fn take_the_result_while_it_is_borrowed() {
    virtual_loop().run(async {
        let told: Rc<RefCell<Option<(String, String)>>> = Rc::default();
        let (copy, slot): (_, Rc<RefCell<Option<onelane::Join<String>>>>) = (told.clone(), Rc::default());
        let task = task::Builder::new().name("lent").spawn(async { String::from("value") });
        let taker = slot.clone();
        task.add_done_callback(move |task| {
            let borrowed = task.result().unwrap();
            let mut join = taker.borrow_mut().take().unwrap();
            let message = panic_of(|| poll_once(&mut join));
            *copy.borrow_mut() = Some((borrowed.clone(), message));
            drop(borrowed);
            // The panic lost nothing.
            assert_eq!(poll_once(&mut join), Poll::Ready(Ok(String::from("value"))));
        });
        *slot.borrow_mut() = Some(task.into_future());
        yield_now().await;
        yield_now().await;
        let message =
            "the result of task \"lent\" was to be taken while it was borrowed; drop the borrow that result() returned first";
        assert_eq!(told.take(), Some((String::from("value"), message.to_string())));
    });
}

#[test]
fn poll_a_sleep_after_its_loop() {
    let asleep = common::sleep_of(&virtual_loop(), ms(5));
    let message = virtual_loop().run(async { panicked(spawn(asleep)).await });
    assert_eq!(message, ELSEWHERE);
}

const ELSEWHERE: &str =
    "poll() of a sleep was called where its loop is not; use a sleep in the loop that it was made in";

#[test]
fn poll_a_sleep_on_another_thread() {
    for begun in [false, true] {
        let event_loop = virtual_loop();
        let mut asleep = common::sleep_of(&event_loop, ms(5));
        if begun {
            assert!(common::poll_in(&event_loop, &mut asleep, Waker::noop()).is_pending());
        }
        let message =
            thread::spawn(move || virtual_loop().run(async { panicked(spawn(asleep)).await })).join().unwrap();
        assert_eq!(message, ELSEWHERE);
        event_loop.run(async {});
    }
}

/// The loop of the sleep exists on this thread, but another loop is running.
#[test]
fn poll_a_sleep_in_another_loop_of_the_thread() {
    let first = virtual_loop();
    let asleep = common::sleep_of(&first, ms(5));
    let message = match virtual_loop().try_run(async { panicked(spawn(asleep)).await }) {
        Ok(message) => message,
        Err(error) => error.to_string(),
    };
    assert_eq!(message, ELSEWHERE);
}

/// The loop of the sleep exists on this thread, but is not in a turn.
#[test]
fn poll_a_sleep_where_no_loop_runs() {
    let event_loop = virtual_loop();
    let mut asleep = common::sleep_of(&event_loop, ms(5));
    let message = panic_of(|| poll_once(&mut asleep));
    assert!(message.starts_with("poll() of a sleep was called"), "{message}");
}

#[test]
fn reset_a_sleep_after_its_loop() {
    let mut asleep: Sleep = common::sleep_of(&virtual_loop(), ms(5));
    assert_eq!(
        panic_of(|| asleep.reset(Instant::now())),
        "Sleep::reset() was called where its loop is not; use a sleep in the loop that it was made in"
    );
}

#[test]
fn poll_what_is_over() {
    virtual_loop().run(async {
        let mut timed = timeout(ms(5), async {});
        assert!(poll!(&mut timed).is_ready());
        assert_eq!(panicked(spawn(timed)).await, "a timeout was polled after it was ready");
        let mut waited = wait([spawn(async {})]);
        (&mut waited).await;
        assert_eq!(panicked(spawn(waited)).await, "a wait was polled after it was ready");
    });
}

/// A callback and an await may have the same number, on different tasks. Removing the callback must
/// not remove the await.
#[test]
fn remove_the_callback_of_another_task() {
    let ended = virtual_loop().try_run(async {
        let (one, other) = (spawn(yield_now()), spawn(yield_now()));
        let callback = one.add_done_callback(|_| ());
        let other = Rc::new(other);
        let awaited = other.clone();
        let awaiting = spawn(async move { (&*awaited).await.is_ok() });
        yield_now().await;
        let removed = other.remove_done_callback(callback);
        (removed, awaiting.await)
    });
    assert!(matches!(ended, Ok((false, Ok(true)))), "{ended:?}");
}

/// A remote task returns its result once. A second poll panics with a message, and does not wait
/// for ever.
#[test]
fn poll_a_remote_task_again() {
    let event_loop = virtual_loop();
    let mut remote_task = event_loop.remote().spawn(async { 7 }).unwrap();
    for _ in 0..3 {
        event_loop.turn();
    }
    assert_eq!(poll_once(&mut remote_task), Poll::Ready(Ok(7)));
    let again = catch_unwind(AssertUnwindSafe(|| poll_once(&mut remote_task)));
    assert!(again.is_err(), "it was polled after it was ready, and returned {:?}", again.unwrap());
}

/// A task of one loop is awaited in another loop, and the awaiting task is cancelled. The
/// cancellation must not reach a task in the table of the wrong loop.
#[test]
fn await_a_task_of_another_loop_and_cancel() {
    alone("await_a_task_of_another_loop_and_cancel", || {
        for rows in [0, 3] {
            let (first, second) = (virtual_loop(), virtual_loop());
            let census = Census::new();
            let fillers: Vec<_> = (0..rows).map(|_| first.spawn(pending::<()>())).collect();
            let (post, member) = (Post::new(), census.member());
            let wait = post.wait();
            let task = first.spawn(async move {
                let _member = member;
                wait.await;
            });
            first.turn();
            let seen = catch_unwind(AssertUnwindSafe(|| {
                second.run(async {
                    let awaiting = spawn(task.into_future());
                    yield_now().await;
                    awaiting.cancel();
                    yield_now().await;
                    (awaiting.is_done(), awaiting.is_cancelled())
                })
            }));
            let seen = seen.map_err(|payload| text_of(&*payload));
            // Either the await is refused (the awaiting task has ended, and was not cancelled), or
            // it works.
            let refused = Ok((true, false));
            let works = Ok((true, true));
            assert!(seen == refused || seen == works, "after {rows} others: {seen:?}");
            drop(fillers);
            drop((first, second));
            assert_eq!(census.counts(), (1, 1));
        }
    });
}

/// A remote task must not be waited for in a turn. (The static checks of `Send` are in
/// `threads.rs`.)
#[test]
fn wait_for_a_remote_task_in_a_turn() {
    let (event_loop, other) = (EventLoop::new(), EventLoop::new());
    let remote_task = other.remote().spawn(async {}).unwrap();
    event_loop.run(async move {
        assert_eq!(
            panic_of(|| remote_task.wait()),
            "RemoteTask::wait() was called in a turn of a loop, which it would block; await it there"
        );
    });
    other.turn();
}

#[test]
fn sleep_longer_than_can_be_counted_and_deadlock() {
    let error = virtual_loop().try_run(async { sleep(Duration::MAX).await }).unwrap_err();
    let RunError::Deadlock(report) = error else { panic!("{error:?}") };
    assert_eq!(report.tasks.len(), 1);
    assert_eq!(words(&report.tasks[0]), "a sleep that never ends");
}

/// The messages for a cancelled main task, and for a main task that cannot continue.
#[test]
fn run_what_does_not_return() {
    let cancel_main = async {
        assert!(current_task().unwrap().cancel());
        yield_now().await;
    };
    assert_eq!(panic_of(|| virtual_loop().run(cancel_main)), "the main task was cancelled");
    let message = panic_of(|| virtual_loop().run(pending::<()>()));
    assert!(
        message.starts_with(
            "deadlock: nothing is ready, no timer is pending, no waker is held elsewhere, and 1 task(s) wait\n"
        ),
        "{message}"
    );
    assert!(message.ends_with("waits for a future that is not onelane's, and its last waker was dropped"), "{message}");
    let ended: Vec<TaskRef> = virtual_loop().run(async { all_tasks() });
    assert!(ended[0].is_done());
}
