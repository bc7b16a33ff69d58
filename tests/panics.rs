//! Bugs of other executors with panics. Wherever user code panics, the loop continues and the panic
//! is reported.

mod common;

use common::{Census, Post, Trace, alone, foreign, ms, on_drop, panic_of, telling_loop, virtual_loop, watched};
use futures_util::poll;
use onelane::{
    Clock, EventLoop, Promise, RunError, Task, TaskError, all_tasks, call_later, call_soon, gather, sleep, spawn,
    timeout, wait, yield_now,
};
use std::cell::RefCell;
use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::thread;

/// The message of the panic of a task.
fn message_of<T: 'static>(task: &Task<T>) -> String {
    match task.result() {
        Err(TaskError::Panicked(panic)) => panic.message().to_string(),
        Err(TaskError::Cancelled) => "cancelled".to_string(),
        Ok(_) => "a value".to_string(),
    }
}

/// Turns until nothing is ready.
fn settle(event_loop: &EventLoop) {
    while !event_loop.turn().is_idle() {}
}

/// A task that runs beside tasks that panic. It yields for this number of turns, and records each.
fn neighbour(event_loop: &EventLoop, trace: &Trace, turns: usize) -> Task<()> {
    let trace = trace.clone();
    event_loop.spawn(async move {
        for nth in 0..turns {
            trace.push(format!("turn {nth}"));
            yield_now().await;
        }
    })
}

/// rust-lang/futures-rs#2886: a panic left a task behind whose memory was used again.
#[test]
fn panic_in_a_poll_and_look_at_it() {
    let (event_loop, told) = telling_loop();
    let (trace, census) = (Trace::new(), Census::new());
    let before = neighbour(&event_loop, &trace, 3);
    let member = census.member();
    let task: Task<()> = event_loop.spawn(async move {
        let _member = member;
        yield_now().await;
        panic!("in a poll");
    });
    let waiting = event_loop.spawn(async move {
        let seen = match (&task).await {
            Err(TaskError::Panicked(panic)) => (panic.message().to_string(), panic.take_payload().is_some()),
            other => panic!("{other:?}"),
        };
        (seen, message_of(&task), format!("{}", task.result().unwrap_err()))
    });
    let after = neighbour(&event_loop, &trace, 3);
    settle(&event_loop);
    let seen = waiting.result().unwrap().clone();
    assert_eq!(seen.0, ("in a poll".to_string(), true));
    assert_eq!((seen.1.as_str(), seen.2.as_str()), ("in a poll", "the task panicked: in a poll"));
    assert_eq!(trace.take(), ["turn 0", "turn 0", "turn 1", "turn 1", "turn 2", "turn 2"]);
    assert!(before.is_done() && after.is_done());
    assert_eq!((census.counts(), told.take()), ((1, 1), vec![]));
}

/// No code reads the result. The exception handler is called when the last handle is dropped, not
/// before.
#[test]
fn panic_in_a_poll_and_look_away() {
    let (event_loop, told) = telling_loop();
    let task: Task<()> = event_loop.spawn(async { panic!("in a poll") });
    settle(&event_loop);
    assert_eq!(told.take(), [""; 0]);
    drop(task);
    assert_eq!(told.take(), ["a task panicked and its result was never read: in a poll"]);
    drop(event_loop.spawn(async { panic_any(7) }));
    settle(&event_loop);
    assert_eq!(told.take(), ["a task panicked and its result was never read: a payload that is no text"]);
    // Each kind of await counts as a read of the result.
    event_loop.run(async {
        let oh = || spawn(async { panic!("seen") });
        assert!(oh().await.unwrap_err().is_panic());
        let both: [Task<()>; 2] = [oh(), oh()];
        assert!(gather(both).await.unwrap_err().is_panic());
        let (done, _) = wait([oh() as Task<()>]).await;
        assert_eq!(message_of(&done[0]), "seen");
        assert!(timeout(ms(5), oh() as Task<()>).await.unwrap().unwrap_err().is_panic());
    });
    assert_eq!(told.take(), [""; 0]);
}

/// The destructor of a future panics when its task is cancelled, when it returns, and when the loop
/// ends.
#[test]
fn panic_in_the_drop_of_a_future() {
    for way in ["cancel", "return", "run ends", "loop is dropped"] {
        let (event_loop, told) = telling_loop();
        let (trace, census) = (Trace::new(), Census::new());
        let post = Post::new();
        let (wait, member) = (post.wait(), census.member());
        // The future is written by hand, so that it is dropped after its last poll and not in it.
        let bomb = (on_drop(|| panic!("in a drop")), member);
        let mut wait = Box::pin(wait);
        let task = event_loop.spawn(poll_fn(move |context| {
            let _bomb = &bomb;
            wait.as_mut().poll(context)
        }));
        let beside = neighbour(&event_loop, &trace, 4);
        event_loop.turn();
        match way {
            "cancel" => assert!(task.cancel()),
            "return" => post.open(),
            "run ends" => event_loop.run(async {}),
            _ => {}
        }
        if way == "loop is dropped" {
            drop(event_loop);
        } else {
            settle(&event_loop);
            assert_eq!(event_loop.run(async { spawn(async { 7 }).await }), Ok(7), "{way}");
            assert_eq!(all_turns(way), trace.take().len(), "{way}");
        }
        assert!(beside.is_done());
        assert_eq!(
            (message_of(&task), census.counts(), told.take()),
            ("in a drop".to_string(), (1, 1), vec![]),
            "{way}"
        );
    }
    /// The number of turns of the neighbour. It is cancelled at the end of the run.
    fn all_turns(way: &str) -> usize {
        if way == "run ends" { 3 } else { 4 }
    }
}

/// The destructor of an output panics. In one case no handle wants the output. In the other case
/// the task was cancelled while it returned.
#[test]
fn panic_in_the_drop_of_an_output() {
    let (event_loop, told) = telling_loop();
    let trace = Trace::new();
    let bomb = |name: &'static str| on_drop(move || panic!("{name}"));
    let beside = neighbour(&event_loop, &trace, 4);
    // The handle was dropped, so the output is dropped at the end of the task.
    drop(event_loop.spawn(async move { bomb("unwanted") }));
    let condemned = event_loop.spawn(async move {
        onelane::current_task().unwrap().cancel();
        bomb("condemned")
    });
    let after = event_loop.spawn(async { 7 });
    let waiting = Rc::new(event_loop.spawn(yield_now()));
    let (one, two) = (waiting.clone(), waiting.clone());
    // Both wait for the same task, and both are woken, though an output panics in between.
    let woken = [
        event_loop.spawn(async move { (&*one).await.is_ok() }),
        event_loop.spawn(async move { (&*two).await.is_ok() }),
    ];
    settle(&event_loop);
    assert!(beside.is_done() && after.is_done());
    assert_eq!(woken.map(|task| *task.result().unwrap()), [true, true]);
    assert_eq!(trace.take(), ["turn 0", "turn 1", "turn 2", "turn 3"]);
    assert_eq!(message_of(&condemned), "condemned");
    let told = told.take();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].ends_with(": unwanted"), "{told:?}");
    // If the owner drops the output, the panic goes to the owner.
    let task = event_loop.spawn(async move { bomb("owned") });
    settle(&event_loop);
    assert_eq!(panic_of(|| drop(task)), "owned");
    assert_eq!(event_loop.run(async { 1 }), 1);
}

/// The message says that a destructor panicked, not a callback.
#[test]
fn panic_in_the_drop_of_an_output_and_name_it() {
    let (event_loop, told) = telling_loop();
    drop(event_loop.spawn(async move { on_drop(|| panic!("unwanted")) }));
    settle(&event_loop);
    assert_eq!(told.take(), ["a destructor or a foreign waker panicked when a task ended: unwanted"]);
}

/// The destructor of an output panics, and only a finished wait still holds the output. The step of
/// another task drops this wait. The panic must not be attributed to that task.
#[test]
fn panic_in_the_drop_of_an_output_that_a_wait_held() {
    let (event_loop, told) = telling_loop();
    let task = event_loop.spawn(async {
        let child = spawn(async { on_drop(|| panic!("unwanted")) });
        // The wait begins and is dropped in the same step, while the child continues.
        assert!(poll!(wait([child])).is_pending());
        yield_now().await;
        yield_now().await;
        7
    });
    settle(&event_loop);
    assert_eq!((message_of(&task), told.take().len()), ("a value".to_string(), 1));
}

/// Panics in each kind of callback.
#[test]
fn panic_in_callbacks() {
    let (event_loop, told) = telling_loop();
    let trace = Trace::new();
    let beside = neighbour(&event_loop, &trace, 4);
    let remote = event_loop.remote();
    let copy = trace.clone();
    event_loop.run(async move {
        call_soon(|| panic!("call_soon"));
        let task = spawn(async {});
        task.add_done_callback(|_| panic!("done callback"));
        let fine = copy.clone();
        task.add_done_callback(move |_| fine.push("the other done callback"));
        remote.call_soon(|| panic!("remote")).unwrap();
        call_later(ms(1), || panic!("call_later"));
        let fine = copy.clone();
        call_later(ms(1), move || fine.push("the other timer"));
        beside.await.unwrap();
        sleep(ms(2)).await;
        // A panic in the destructor of a cancelled callback goes to the caller of `cancel`.
        let bomb = on_drop(|| panic!("cancelled callback"));
        let handle = call_soon(move || drop(bomb));
        assert_eq!(panic_of(|| handle.cancel()), "cancelled callback");
        assert!(!handle.cancel());
        copy.push("main");
    });
    let told = told.take();
    let mut sorted: Vec<_> = told.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    assert_eq!(
        sorted,
        [
            "a callback panicked: call_later",
            "a callback panicked: call_soon",
            "a callback panicked: done callback",
            "a callback panicked: remote",
        ]
    );
    assert_eq!(told[3], "a callback panicked: call_later");
    let seen = trace.take();
    assert_eq!(seen.iter().filter(|line| line.starts_with("turn")).count(), 4);
    assert_eq!(seen.iter().filter(|line| line.starts_with("the other")).count(), 2);
    assert_eq!(seen.last().unwrap(), "main");
}

/// rust-lang/futures-rs f2b6b87a: a foreign waker panics when it is woken, at each place that
/// wakes.
#[test]
fn panic_in_the_wake_of_a_foreign_waker() {
    let (event_loop, told) = telling_loop();
    let trace = Trace::new();
    let copy = trace.clone();
    event_loop.run(async move {
        let bomb = |name: &'static str| foreign(move || panic!("{name}"), || ());
        let poll_with = |future: Pin<&mut dyn Future<Output = ()>>, waker: &Waker| {
            assert!(future.poll(&mut Context::from_waker(waker)).is_pending());
        };
        // At the end of a task, between other tasks that wait for it.
        let task = Rc::new(spawn(yield_now()));
        let beside = [task.clone(), task.clone()].map(|task| spawn(async move { (&*task).await.is_ok() }));
        let mut join = Box::pin(async { (&*task).await.unwrap() });
        poll_with(join.as_mut(), &bomb("join"));
        yield_now().await;
        yield_now().await;
        yield_now().await;
        assert_eq!(beside.map(|task| *task.result().unwrap()), [true, true]);
        // At a timer, before another timer of the same moment.
        let mut asleep = Box::pin(sleep(ms(1)));
        poll_with(asleep.as_mut(), &bomb("sleep"));
        let fine = copy.clone();
        call_later(ms(1), move || fine.push("the other timer"));
        sleep(ms(2)).await;
        // In the callbacks of a gather and of a timeout.
        let mut gathered = Box::pin(async { drop(gather([yield_now()]).await) });
        poll_with(gathered.as_mut(), &bomb("gather"));
        let mut timed = Box::pin(async { _ = timeout(ms(1), pending::<()>()).await });
        poll_with(timed.as_mut(), &bomb("timeout"));
        let remote_task = EventLoop::current().remote().spawn(async {}).unwrap();
        let mut remote_task = Box::pin(async move { remote_task.await.unwrap() });
        poll_with(remote_task.as_mut(), &bomb("remote task"));
        sleep(ms(5)).await;
        copy.push("main");
    });
    let mut told: Vec<_> = told.take().iter().map(|line| line.rsplit(": ").next().unwrap().to_string()).collect();
    told.sort_unstable();
    assert_eq!(told, ["gather", "join", "remote task", "sleep", "timeout"]);
    assert_eq!(trace.take(), ["the other timer", "main"]);
}

/// A panic in the destructor of a waker goes to the code that drops the waker. If the loop drops
/// it, the exception handler is called.
#[test]
fn panic_in_the_drop_of_a_foreign_waker_at_the_end() {
    let (event_loop, told) = telling_loop();
    let mut asleep = common::sleep_of(&event_loop, ms(5));
    let bomb = foreign(|| (), || panic!("in the drop of a waker"));
    assert!(common::poll_in(&event_loop, &mut asleep, &bomb).is_pending());
    drop(bomb);
    std::mem::forget(asleep);
    drop(event_loop);
    assert_eq!(told.take(), ["a destructor or a foreign waker panicked when a task ended: in the drop of a waker"]);
}

/// The destructor of a payload panics. No code has asked for the payload, and the panic must not
/// leave the loop.
#[test]
fn panic_in_the_drop_of_a_payload() {
    alone("panic_in_the_drop_of_a_payload", || {
        let (event_loop, _told) = telling_loop();
        let trace = Trace::new();
        let beside = neighbour(&event_loop, &trace, 3);
        let payload = || on_drop(|| panic!("in the drop of a payload"));
        event_loop.run(async { EventLoop::current() }).call_soon(move || panic_any(payload()));
        let turned = catch_unwind(AssertUnwindSafe(|| settle(&event_loop)));
        assert!(turned.is_ok(), "a payload's destructor panicked out of turn()");
        assert!(beside.is_done());
    });
}

/// The handler panics with a payload whose destructor panics. This panic must not leave `run` or
/// leave tasks behind.
#[test]
fn panic_in_the_handler_and_in_the_drop_of_its_payload() {
    alone("panic_in_the_handler_and_in_the_drop_of_its_payload", || {
        let handler = |_: &onelane::Exception| panic_any(on_drop(|| panic!("in the drop of a payload")));
        let event_loop = EventLoop::builder().clock(Clock::Virtual).exception_handler(handler).build();
        let result = event_loop.run(async {
            call_soon(|| panic!("in a callback"));
            drop(spawn(async { panic!("in a poll") }));
            let task = spawn(async { 7 });
            yield_now().await;
            drop(on_drop(|| drop(spawn(async { panic!("in another poll") }))));
            yield_now().await;
            task.await
        });
        assert_eq!((result, event_loop.all_tasks().len()), (Ok(7), 0));
    });
}

/// The handler drops its own loop. The handler itself is dropped when it returns, outside of the
/// catch around its call.
#[test]
fn drop_the_loop_in_its_handler_and_panic_in_the_drop_of_the_handler() {
    thread_local!(static LOOP: RefCell<Option<EventLoop>> = const { RefCell::new(None) });
    let (trace, promise) = (Trace::new(), Promise::new());
    let (copy, last) = (trace.clone(), on_drop(|| panic!("in the drop of the handler")));
    let handler = move |exception: &onelane::Exception| {
        let _last = &last;
        copy.push(exception.panic.message());
        drop(LOOP.take());
    };
    let event_loop = EventLoop::builder().clock(Clock::Virtual).exception_handler(handler).build();
    let mut awaited = [(); 2].map(|()| (&promise).into_future());
    let waker = foreign(|| panic!("in a waker"), || ());
    event_loop.enter(|| {
        for awaited in &mut awaited {
            assert!(Pin::new(awaited).poll(&mut Context::from_waker(&waker)).is_pending());
        }
    });
    LOOP.set(Some(event_loop));
    assert_eq!(promise.set_result(()), Ok(()));
    assert_eq!((trace.take(), LOOP.take().is_none()), (vec!["in a waker".to_string()], true));
}

/// A future panics when it is dropped after its last poll, and so does its output. Two panics at
/// once would abort.
#[test]
fn panic_in_the_drop_of_a_future_and_of_its_output() {
    alone("panic_in_the_drop_of_a_future_and_of_its_output", || {
        let (event_loop, told) = telling_loop();
        let census = Census::new();
        let bomb = |name: &'static str| {
            let member = census.member();
            on_drop(move || {
                drop(member);
                panic!("{name}")
            })
        };
        let (kept, mut value) = (bomb("future"), Some(bomb("output")));
        let task = event_loop.spawn(poll_fn(move |_| {
            let _kept = &kept;
            Poll::Ready(value.take().unwrap())
        }));
        settle(&event_loop);
        assert_eq!((message_of(&task), census.counts(), told.take()), ("future".to_string(), (2, 2), vec![]));
    });
}

/// compio-rs/compio#913, glommio/glommio#29: a panic during the teardown of a thread caused a
/// second panic and an abort.
#[test]
fn panic_in_destructors_while_the_thread_ends() {
    thread_local! {
        static LOOP: RefCell<Option<EventLoop>> = const { RefCell::new(None) };
    }
    alone("panic_in_destructors_while_the_thread_ends", || {
        let census = Census::new();
        let copy = census.clone();
        let thread = thread::spawn(move || {
            let event_loop = virtual_loop();
            for _ in 0..3 {
                let member = copy.member();
                drop(event_loop.spawn(async move {
                    let _bomb = on_drop(move || {
                        drop(member);
                        panic!("at the end of the thread");
                    });
                    pending::<()>().await;
                }));
            }
            event_loop.turn();
            LOOP.set(Some(event_loop));
        });
        assert!(thread.join().is_ok());
        assert_eq!(census.counts(), (3, 3));
    });
}

/// The same when the loop is dropped, also by a panic of its owner. In the second case, a further
/// panic would abort.
#[test]
fn panic_in_a_task_while_the_loop_is_dropped() {
    alone("panic_in_a_task_while_the_loop_is_dropped", || {
        let census = Census::new();
        let make = |panics: bool| {
            let (event_loop, told) = telling_loop();
            for nth in 0..3 {
                let member = census.member();
                drop(event_loop.spawn(async move {
                    let _end = on_drop(move || {
                        drop(member);
                        if panics && !thread::panicking() {
                            panic!("destructor {nth}");
                        }
                    });
                    pending::<()>().await;
                }));
            }
            event_loop.turn();
            (event_loop, told)
        };
        let (event_loop, told) = make(true);
        drop(event_loop);
        let lines = [0, 1, 2].map(|nth| format!("a task panicked and its result was never read: destructor {nth}"));
        assert_eq!((told.take(), census.counts()), (lines.to_vec(), (3, 3)));
        let message = panic_of(|| {
            let (_event_loop, _told) = make(true);
            panic!("of the owner");
        });
        assert_eq!((message.as_str(), census.counts()), ("of the owner", (6, 6)));
        let message = panic_of(|| {
            let (event_loop, _told) = make(false);
            event_loop.run(async { panic!("of main") })
        });
        assert_eq!((message.as_str(), census.counts()), ("of main", (9, 9)));
    });
}

/// glommio/glommio#37, #62: a thread waited for ever for remote work that had panicked or was
/// cancelled.
#[test]
fn give_up_what_is_awaited_from_elsewhere() {
    watched(|| {
        let ends = [0, 1, 2].map(|way| {
            let event_loop = EventLoop::new();
            let remote = event_loop.remote();
            let waiting = thread::spawn(move || {
                let task = remote.spawn(async move {
                    assert!(way != 0, "on the loop");
                    pending::<()>().await;
                });
                let task = task.unwrap();
                if way == 1 {
                    task.cancel();
                }
                task.wait().unwrap_err()
            });
            while event_loop.turn().messages == 0 {}
            if way == 2 {
                drop(event_loop);
            } else {
                while !waiting.is_finished() {
                    event_loop.turn();
                }
            }
            waiting.join().unwrap().to_string()
        });
        assert_eq!(ends, ["the task panicked: on the loop", "the task was cancelled", "the task was cancelled"]);
    });
}

/// tokio-rs/tokio#5177: a panic that unwound through a nested executor left its context behind.
#[test]
fn unwind_out_of_run_and_run_again() {
    for _ in 0..3 {
        let event_loop = virtual_loop();
        let census = Census::new();
        for message in ["one", "two"] {
            let caught = panic_of(|| {
                event_loop.run(async {
                    let (here, there) = (census.member(), census.member());
                    drop(spawn(async move {
                        let _there = there;
                        pending::<()>().await;
                    }));
                    yield_now().await;
                    let _here = here;
                    // A nested `run` in this task panics as well.
                    assert!(panic_of(|| onelane::run(async {})).starts_with("onelane::run() cannot be called"));
                    panic!("{message}")
                })
            });
            assert_eq!(caught, message);
            assert!(EventLoop::try_current().is_err());
        }
        assert_eq!(census.counts(), (4, 4));
        assert_eq!(event_loop.run(async { spawn(async { 7 }).await }), Ok(7));
        // A panic through `run` does not damage the loop, which can turn again.
        assert_eq!(event_loop.turn().tasks, 0);
        assert_eq!(onelane::run(async { 8 }), 8);
    }
}

/// STEP-1. tokio-rs/tokio#3662, #3672, #3157: a cancellation from certain places panicked.
#[test]
fn cancel_from_everywhere() {
    watched(|| {
        let ends = Trace::new();
        let (event_loop, told) = telling_loop();
        let make = |name: &'static str| {
            let ends = ends.clone();
            event_loop.spawn(async move {
                let _end = on_drop(move || ends.push(name));
                pending::<()>().await;
            })
        };
        let names =
            ["host", "task", "callback", "timer", "done callback", "destructor", "thread", "another loop", "itself"];
        let mut tasks: Vec<_> = names.iter().map(|name| Some(make(name))).collect();
        let refs: Vec<_> = tasks.iter().flatten().map(Task::task_ref).collect();
        event_loop.turn();
        let mut take = || tasks.remove(0).unwrap();
        let host = take();
        assert!(host.cancel() && host.cancel());
        let other = virtual_loop();
        event_loop.turn();
        let (by_task, by_callback, by_timer, by_done, by_destructor) = (take(), take(), take(), take(), take());
        let remote = event_loop.remote();
        let in_thread = thread::spawn(move || {
            let task = remote.spawn(async { pending::<()>().await }).unwrap();
            task.cancel();
            task.wait()
        });
        let (_thread, by_other) = (take(), take());
        assert!(other.run(async move { by_other.cancel() }));
        event_loop.run(async {
            assert!(by_task.cancel());
            call_soon(move || assert!(by_callback.cancel()));
            call_later(ms(1), move || assert!(by_timer.cancel()));
            spawn(async {}).add_done_callback(move |_| assert!(by_done.cancel()));
            drop(spawn(async move {
                let _cancel = on_drop(move || assert!(by_destructor.cancel()));
                yield_now().await;
            }));
            sleep(ms(2)).await;
            let own = spawn(async {
                assert!(onelane::current_task().unwrap().cancel());
                yield_now().await;
                unreachable!("it was cancelled");
            });
            assert_eq!(own.await, Err::<(), _>(TaskError::Cancelled));
            while !in_thread.is_finished() {
                yield_now().await;
            }
            assert_eq!(in_thread.join().unwrap(), Err(TaskError::Cancelled));
            let left: Vec<_> = refs.iter().filter(|task| !task.is_done()).collect();
            assert_eq!(left.len(), 2);
        });
        assert!(refs.iter().all(|task| task.is_cancelled()));
        assert_eq!(
            ends.take(),
            ["host", "another loop", "task", "callback", "done callback", "destructor", "timer", "thread", "itself"]
        );
        assert_eq!(told.take(), [""; 0]);
    });
}

/// tokio-rs/tokio#6744, hawkw/mycelium#483, rust-lang/miri#3780: a shared read of a task's state
/// aliased the exclusive borrow of the poll. This test reads the state in each possible way while a
/// self-referential future is polled, and checks the values. Miri and the sanitizers check that
/// this is sound.
#[test]
fn read_a_task_while_it_is_polled() {
    let trace = Trace::new();
    let event_loop = virtual_loop();
    type Slot = Rc<RefCell<Option<Task<Option<Box<u32>>>>>>;
    let slot = Slot::default();
    let (own, copy, post) = (slot.clone(), trace.clone(), Post::new());
    let opened = post.wait();
    let task = event_loop.spawn(async move {
        let values = [1u32, 2, 3];
        let inside = &values[1];
        for round in 0..2 {
            let task = own.take().unwrap();
            let state = format!("{:?} {} {}", task.task_ref().state(), task.is_done(), task.cancelling());
            copy.push(format!("{round}: {state} {}", all_tasks().len()));
            task.set_name(format!("round {round}"));
            task.add_done_callback(|_| ());
            assert!(poll!(wait([task.task_ref()])).is_pending());
            assert!(format!("{task:?}").contains("Running"));
            own.replace(Some(task));
        }
        opened.await;
        Some(Box::new(*inside))
    });
    *slot.borrow_mut() = Some(task);
    event_loop.turn();
    post.open();
    settle(&event_loop);
    let task = slot.take().unwrap();
    assert_eq!((task.result().unwrap().as_deref(), &*task.name()), (Some(&2), "round 1"));
    assert_eq!(trace.take(), ["0: Running false 0 1", "1: Running false 0 1"]);
}

/// The handler panics. It is not called again for its own panic, and the loop goes on.
#[test]
fn panic_in_the_exception_handler() {
    let calls = Trace::new();
    let copy = calls.clone();
    let event_loop = EventLoop::builder()
        .clock(Clock::Virtual)
        .exception_handler(move |exception| {
            copy.push(exception.panic.message());
            panic!("the handler itself");
        })
        .build();
    event_loop.run(async {
        call_soon(|| panic!("one"));
        drop(spawn(async { panic!("two") }));
        yield_now().await;
        yield_now().await;
    });
    drop(event_loop.spawn(async {
        let _bomb = on_drop(|| panic!("three"));
        pending::<()>().await;
    }));
    event_loop.turn();
    drop(event_loop);
    assert_eq!(calls.take(), ["one", "two", "three"]);
}

/// A panic of main leaves `run` with its payload, after all other tasks have ended.
#[test]
fn panic_in_main_with_a_payload() {
    #[derive(Debug, PartialEq)]
    struct Payload(u32);
    let census = Census::new();
    let payload = catch_unwind(AssertUnwindSafe(|| {
        virtual_loop().run(async {
            let member = census.member();
            drop(spawn(async move {
                let _member = member;
                pending::<()>().await;
            }));
            panic_any(Payload(7));
        })
    }))
    .unwrap_err();
    assert_eq!((payload.downcast_ref(), census.counts()), (Some(&Payload(7)), (1, 1)));
    let cancelled = virtual_loop().try_run(poll_fn::<(), _>(|_| {
        onelane::current_task().unwrap().cancel();
        Poll::Ready(())
    }));
    assert!(matches!(cancelled, Err(RunError::Cancelled)));
}
