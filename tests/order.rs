//! Bugs of other executors with order and fairness: starving, stalled and forgotten tasks.

mod common;

use common::{Census, Post, Trace, alone, ms, on_drop, virtual_loop, watched};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use onelane::{
    Clock, EventLoop, NoRunningLoop, ReturnWhen, Task, Turn, call_later, call_soon, current_task, gather, sleep, spawn,
    wait, yield_now,
};
use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::thread;

/// bytedance/monoio#322, #362: a task that yielded was put to the front, and the other tasks
/// starved. Tokio's local set reverses the order of the yields of a round.
#[test]
fn yield_and_alternate_strictly() {
    let trace = Trace::new();
    virtual_loop().run(async {
        for name in ["a", "b", "c"] {
            let trace = trace.clone();
            drop(spawn(async move {
                for _ in 0..3 {
                    trace.push(name);
                    yield_now().await;
                }
            }));
        }
        for _ in 0..4 {
            trace.push("main");
            yield_now().await;
        }
    });
    assert_eq!(trace.take(), ["main", "a", "b", "c", "main", "a", "b", "c", "main", "a", "b", "c", "main"]);
}

/// rust-lang/futures-rs#2551, #2593, e7678034: running until nothing is ready stopped while a
/// self-woken task was ready.
#[test]
fn turn_until_idle_with_a_task_that_wakes_itself() {
    let event_loop = virtual_loop();
    let steps = Rc::new(Cell::new(0));
    let copy = steps.clone();
    let task = event_loop.spawn(async move {
        for _ in 0..100 {
            copy.set(copy.get() + 1);
            yield_now().await;
        }
    });
    let mut turns = 0;
    while !event_loop.turn().is_idle() {
        turns += 1;
    }
    assert_eq!((turns, steps.get(), task.is_done()), (100, 100, true));
    // A task that wakes itself for ever: each turn returns, and steps it once.
    let copy = steps.clone();
    drop(event_loop.spawn(async move {
        loop {
            copy.set(copy.get() + 1);
            yield_now().await;
        }
    }));
    for nth in 1..=100 {
        assert!(!event_loop.turn().is_idle());
        assert_eq!(steps.get(), 100 + nth);
    }
}

/// rust-lang/futures-rs#2526, #2574: work grew with the square of the number of tasks, and tasks
/// that ended cut an iteration short. The test counts polls, not time.
#[test]
fn end_many_tasks_out_of_order() {
    const TASKS: usize = 50_000;
    let polls = Rc::new(Cell::new(0));
    let event_loop = virtual_loop();
    let order: Rc<RefCell<Vec<usize>>> = Rc::default();
    event_loop.run(async {
        // 17 and the number of tasks have no common divisor, so this visits all tasks, out of
        // order.
        let tasks: Vec<Task<usize>> = (0..TASKS)
            .map(|nth| {
                let (polls, order) = (polls.clone(), order.clone());
                let due = nth * 17 % TASKS;
                let mut asleep = Box::pin(sleep(ms(due as u64)));
                spawn(poll_fn(move |context| {
                    polls.set(polls.get() + 1);
                    let over = asleep.as_mut().poll(context);
                    over.map(|()| {
                        order.borrow_mut().push(due);
                        due
                    })
                }))
            })
            .collect();
        let first: Vec<_> = tasks.iter().take(3).map(|task| task.into_future()).collect();
        let mut streamed: FuturesUnordered<_> = first.into_iter().collect();
        let mut ended = 0;
        while streamed.next().await.is_some() {
            ended += 1;
        }
        let (done, pending) = wait(tasks).await;
        assert_eq!((ended, done.len(), pending.len()), (3, TASKS, 0));
    });
    assert!(order.borrow().iter().copied().eq(0..TASKS));
    assert_eq!(polls.get(), 2 * TASKS);
}

/// The same bug (row 34 of `docs/prior-bugs.md`), where many tasks wait for one. Each of them is
/// stepped once when this task ends.
#[test]
fn await_one_task_from_many() {
    const WAITERS: usize = 3000;
    let event_loop = virtual_loop();
    let post = Post::new();
    let one = Rc::new(event_loop.spawn(post.wait()));
    let waiting: Vec<_> = (0..WAITERS)
        .map(|_| {
            let one = one.clone();
            event_loop.spawn(async move { (&*one).await.is_ok() })
        })
        .collect();
    event_loop.turn();
    // The end of `one` makes all waiters ready, and each ends in its next step.
    post.open();
    assert_eq!(event_loop.turn().ready, WAITERS);
    let turn = event_loop.turn();
    assert_eq!((turn.ready, turn.tasks), (0, 0));
    assert!(waiting.iter().all(|task| *task.result().unwrap()));
}

/// tokio-rs/tokio#1899, #1900, #1905: a turn ran at most 61 tasks, and the rest was never run.
#[test]
fn spawn_more_tasks_than_a_limit() {
    for tasks in [1, 60, 61, 62, 63, 1000] {
        let event_loop = virtual_loop();
        let ran = Rc::new(Cell::new(0));
        let made: Vec<_> = (0..tasks)
            .map(|_| {
                let ran = ran.clone();
                event_loop.spawn(async move {
                    ran.set(ran.get() + 1);
                    yield_now().await;
                    ran.set(ran.get() + 1);
                })
            })
            .collect();
        let turns = [event_loop.turn(), event_loop.turn()].map(|turn| (turn.ready, turn.tasks));
        assert_eq!((turns, ran.get()), ([(tasks, tasks), (0, 0)], 2 * tasks));
        assert!(made.iter().all(Task::is_done));
    }
}

/// tokio-rs/tokio#2460, #2462: some tasks used up one budget for all, and the other tasks waited
/// for ever. Here there is no budget, and an await of a ready future takes no turn.
#[test]
fn await_what_is_ready_without_a_budget() {
    let event_loop = virtual_loop();
    let tasks: Vec<_> = (0..10)
        .map(|_| {
            event_loop.spawn(async {
                let ended = spawn(async {});
                yield_now().await;
                for _ in 0..1000 {
                    (&ended).await.unwrap();
                    std::future::ready(()).await;
                }
            })
        })
        .collect();
    event_loop.turn();
    assert_eq!(tasks.iter().filter(|task| task.is_done()).count(), 0);
    event_loop.turn();
    assert_eq!(tasks.iter().filter(|task| task.is_done()).count(), 10);
}

/// smol-rs/smol#171, tokio-rs/tokio#4730, #5223, #7185: a task that woke itself in each poll kept
/// timers from firing, and messages from being received.
#[test]
fn wake_itself_for_ever_beside_a_timer_and_a_thread() {
    watched(|| {
        let event_loop = EventLoop::new();
        let (spins, post) = (Rc::new(Cell::new(0u64)), Post::new());
        let copy = spins.clone();
        drop(event_loop.spawn(async move {
            loop {
                copy.set(copy.get() + 1);
                yield_now().await;
            }
        }));
        let remote = event_loop.remote();
        let waiting = event_loop.spawn(post.wait());
        let ticks = event_loop.run(async {
            let called = Arc::new(AtomicUsize::new(0));
            let count = called.clone();
            let thread = thread::spawn(move || {
                common::await_that(|| post.has_waker());
                remote.call_soon(move || _ = count.fetch_add(1, Ordering::SeqCst)).unwrap();
                post.open();
            });
            let mut ticks = 0;
            while ticks < 10 {
                sleep(ms(1)).await;
                ticks += 1;
            }
            waiting.await.unwrap();
            thread.join().unwrap();
            (ticks, called.load(Ordering::SeqCst))
        });
        assert_eq!(ticks, (10, 1));
        assert!(spins.get() >= 10);
    });
}

/// On a virtual clock, time does not advance while anything is ready. So a program with such a task
/// never reaches its timer, and the turn reports that the next one is due at once.
#[test]
fn wake_itself_for_ever_and_time_stands_still() {
    let event_loop = virtual_loop();
    let start = event_loop.time();
    drop(event_loop.spawn(async {
        loop {
            yield_now().await;
        }
    }));
    let asleep = event_loop.spawn(async { sleep(ms(1)).await });
    for _ in 0..100 {
        let turn = event_loop.turn();
        assert_eq!((turn.timers, turn.next_deadline), (0, Some(start)));
    }
    assert!(!asleep.is_done());
}

/// tokio-rs/tokio#8212, #7835: the runtime parked although a hook had made work. The only hook here
/// is the exception handler. It may spawn, wake, call and panic, and the loop does not sleep.
#[test]
fn make_work_in_the_exception_handler() {
    let trace = Trace::new();
    let (told, post) = (trace.clone(), Post::new());
    let opened = post.clone();
    let event_loop = EventLoop::builder()
        .clock(Clock::Virtual)
        .exception_handler(move |exception| {
            told.push(format!("told of {}", exception.panic.message()));
            match exception.panic.message() {
                "one" => {
                    let told = told.clone();
                    drop(spawn(async move { told.push("spawned by the handler") }));
                }
                "two" => opened.open(),
                "three" => drop(call_soon(|| panic!("four"))),
                _ => panic!("the handler itself"),
            }
        })
        .build();
    let copy = trace.clone();
    event_loop.run(async move {
        let waiting = spawn(post.wait());
        yield_now().await;
        for message in ["one", "two", "three"] {
            call_soon(move || panic!("{message}"));
            // Nothing else is ready. If the loop slept now, this line would be the next one.
            sleep(ms(1)).await;
            copy.push("1 ms");
        }
        assert!(waiting.is_done());
    });
    assert_eq!(
        trace.take(),
        [
            "told of one",
            "spawned by the handler",
            "1 ms",
            "told of two",
            "1 ms",
            "told of three",
            "told of four",
            "1 ms"
        ]
    );
}

/// glommio/glommio#53: a loop used one flag for "nothing ran" and "nothing is there", and slept
/// with tasks in its queue.
#[test]
fn turn_and_tell_what_is_left() {
    let event_loop = virtual_loop();
    let told = |turn: Turn| (turn.callbacks, turn.timers, turn.ready, turn.tasks, turn.is_idle());
    assert_eq!(told(event_loop.turn()), (0, 0, 0, 0, true));
    let task = event_loop.spawn(async {
        call_soon(|| ());
        call_later(ms(1), || drop(spawn(yield_now())));
        sleep(ms(1)).await;
    });
    let seen: Vec<_> = (0..7).map(|_| told(event_loop.turn())).collect();
    let expected = [
        (0, 0, 1, 1, false), // the task has run, its callback is ready
        (1, 0, 0, 1, true),
        (0, 2, 2, 2, false), // the clock has jumped, the timer has spawned
        (0, 0, 1, 1, false),
        (0, 0, 0, 0, true),
        (0, 0, 0, 0, true),
        (0, 0, 0, 0, true),
    ];
    assert_eq!(seen, expected);
    assert!(task.is_done());
    assert_eq!(event_loop.turn().next_deadline, None);
}

/// smol-rs/async-executor#54, #55, #102, #103: driven only by single ticks, an executor did not see
/// some of its tasks.
#[test]
fn drive_by_turns_by_runs_and_by_both() {
    fn program(trace: &Trace, event_loop: &EventLoop) -> Task<()> {
        let trace = trace.clone();
        event_loop.spawn(async move {
            let inner = trace.clone();
            let tasks = [3, 1, 2].map(|n| {
                let trace = inner.clone();
                spawn(async move {
                    trace.push(format!("{n} begins"));
                    sleep(ms(n)).await;
                    yield_now().await;
                    trace.push(format!("{n} ends"));
                })
            });
            call_soon(move || inner.push("callback"));
            gather(tasks).await.unwrap();
            trace.push("over");
        })
    }
    let expected = ["3 begins", "1 begins", "2 begins", "callback", "1 ends", "2 ends", "3 ends", "over"];
    for turns_first in [0, 1, 2, 3, 5, 100] {
        for remote in [false, true] {
            let trace = Trace::new();
            let event_loop = virtual_loop();
            // A task that is woken from another thread is in another queue.
            let post = Post::new();
            let waiting = event_loop.spawn(post.wait());
            event_loop.turn();
            let task = program(&trace, &event_loop);
            if remote {
                post.open();
            }
            for _ in 0..turns_first {
                event_loop.turn();
            }
            event_loop.run(async move {
                if !remote {
                    post.open();
                }
                task.await.unwrap();
                waiting.await.unwrap();
            });
            assert_eq!(trace.take(), expected, "after {turns_first} turns");
        }
    }
}

/// compio-rs/compio#952: the current runtime was not set in one of the entry functions.
#[test]
fn see_the_loop_from_every_way_in() {
    let event_loop = virtual_loop();
    let (trace, remote) = (Trace::new(), event_loop.remote());
    let here = |trace: &Trace, name: &'static str| {
        let trace = trace.clone();
        move || {
            let current = EventLoop::try_current().is_ok();
            let task = current_task().map(|task| task.name().to_string());
            let task = task.map_or("no task".into(), |task| task.replace("see_the_loop_from_every_way_in", "F"));
            trace.push(format!("{name}: {current} {task}"));
        }
    };
    let outside = |trace: &Trace, name: &'static str| {
        assert!(matches!(EventLoop::try_current(), Err(NoRunningLoop)), "{name}");
        let _ = trace;
    };
    outside(&trace, "before");
    let seen = here(&trace, "spawned before");
    drop(event_loop.spawn(async move { seen() }));
    event_loop.turn();
    outside(&trace, "after a turn");
    let in_thread = Arc::new(AtomicBool::new(false));
    let (flag, in_main) = (in_thread.clone(), here(&trace, "main"));
    event_loop.run(async {
        in_main();
        call_soon(here(&trace, "call_soon"));
        yield_now().await;
        call_later(ms(1), here(&trace, "call_later"));
        sleep(ms(2)).await;
        let seen = here(&trace, "task");
        let task = spawn(async move { seen() });
        let seen = here(&trace, "done callback");
        task.add_done_callback(move |_| seen());
        (&task).await.unwrap();
        yield_now().await;
        remote.call_soon(move || flag.store(EventLoop::try_current().is_ok(), Ordering::SeqCst)).unwrap();
        sleep(ms(1)).await;
        let seen = here(&trace, "destructor");
        let doomed = spawn(async move {
            let _seen = on_drop(seen);
            pending::<()>().await;
        });
        yield_now().await;
        doomed.cancel();
        doomed.await.unwrap_err();
        let seen = here(&trace, "destructor at the end of a run");
        drop(spawn(async move {
            let _seen = on_drop(seen);
            pending::<()>().await;
        }));
        yield_now().await;
        thread::spawn(|| assert!(EventLoop::try_current().is_err())).join().unwrap();
    });
    outside(&trace, "after a run");
    assert!(in_thread.load(Ordering::SeqCst));
    let seen = here(&trace, "destructor at the end of the loop");
    drop(event_loop.spawn(async move {
        let _seen = on_drop(seen);
        pending::<()>().await;
    }));
    event_loop.turn();
    let message = common::panic_of(|| event_loop.run(async { panic!("out of main") }));
    outside(&trace, "after a panic");
    drop(event_loop);
    outside(&trace, "after the end");
    assert_eq!(message, "out of main");
    // Without the feature `report`, task names are not made from type names.
    let seen: Vec<String> = trace.take().iter().map(|line| line.replace("Task-", "F-")).collect();
    assert_eq!(
        seen,
        [
            "spawned before: true F-1",
            "main: true F-2",
            "call_soon: true no task",
            "call_later: true no task",
            "task: true F-3",
            "done callback: true no task",
            "destructor: true F-4",
            "destructor at the end of a run: true F-5",
            "destructor at the end of the loop: true F-6",
        ]
    );
}

/// READY-2. A turn steps only what was ready when it began, whatever queued the rest.
#[test]
fn queue_in_a_turn_and_run_in_the_next() {
    let trace = Trace::new();
    let event_loop = virtual_loop();
    let copy = trace.clone();
    let posts = [Post::new(), Post::new()];
    let _waiting = posts.each_ref().map(|post| event_loop.spawn(post.wait()));
    event_loop.turn();
    let wakers: Vec<Waker> = posts.iter().map(Post::waker).collect();
    let task = event_loop.spawn(async move {
        let (one, two) = (copy.clone(), copy.clone());
        drop(spawn(async move { one.push("spawned") }));
        call_soon(move || two.push("called"));
        wakers.into_iter().for_each(Waker::wake);
        copy.push("first");
    });
    let seen: Vec<_> = (0..3)
        .map(|_| {
            let turn = event_loop.turn();
            (turn.ready, posts.each_ref().map(Post::polls), trace.take())
        })
        .collect();
    assert!(task.is_done());
    assert_eq!(
        seen,
        [
            (4, [1, 1], vec!["first".to_string()]),
            (0, [2, 2], vec!["spawned".to_string(), "called".to_string()]),
            (0, [2, 2], vec![]),
        ]
    );
}

/// A task waits for the first of many tasks, again and again. Each of these waits costs one step,
/// and leaves no callbacks behind.
#[test]
fn wait_for_the_first_again_and_again() {
    const TASKS: u64 = 200;
    let census = Census::new();
    let polls = Rc::new(Cell::new(0));
    let event_loop = virtual_loop();
    let (copy, member) = (polls.clone(), census.member());
    event_loop.run(async move {
        let _member = member;
        let mut pending: Vec<_> = (0..TASKS).map(|n| spawn(async move { sleep(ms(TASKS - n)).await })).collect();
        let mut rounds = 0;
        while !pending.is_empty() {
            let mut first = Box::pin(wait(pending).return_when(ReturnWhen::FirstCompleted));
            let (done, left) = poll_fn(|context| {
                copy.set(copy.get() + 1);
                first.as_mut().poll(context)
            })
            .await;
            assert_eq!(done.len(), 1);
            pending = left;
            rounds += 1;
        }
        assert_eq!(rounds, TASKS);
    });
    assert_eq!((polls.get(), census.counts()), (2 * TASKS, (1, 1)));
}

/// A hundred thousand tasks wait for one another in a row. They end in this number of turns,
/// without recursion.
#[test]
fn end_a_chain_from_its_beginning() {
    alone("end_a_chain_from_its_beginning", || {
        const CHAIN: usize = 100_000;
        let event_loop = virtual_loop();
        let post = Post::new();
        let mut last = event_loop.spawn(post.wait());
        for _ in 1..CHAIN {
            last = event_loop.spawn(async move { last.await.unwrap() });
        }
        event_loop.turn();
        post.open();
        let mut turns = 0;
        while !last.is_done() {
            assert_eq!(event_loop.turn().ready, usize::from(turns + 1 < CHAIN));
            turns += 1;
        }
        assert_eq!((turns, last.is_cancelled()), (CHAIN, false));
    });
}

/// A poll that blocks holds up all tasks, and loses nothing. Overdue timers fire in the order of
/// their deadlines.
#[test]
fn block_in_a_poll_and_catch_up() {
    let trace = Trace::new();
    EventLoop::new().run(async {
        let tasks = [3, 1, 2].map(|n| {
            let trace = trace.clone();
            spawn(async move {
                sleep(ms(n)).await;
                trace.push(n.to_string());
            })
        });
        yield_now().await;
        thread::sleep(ms(10));
        gather(tasks).await.unwrap();
    });
    assert_eq!(trace.take(), ["1", "2", "3"]);
}

/// Callbacks are called in the order of the calls, whether they come from another thread or from
/// this one.
#[test]
fn call_from_elsewhere_and_from_here_in_the_order_of_the_calls() {
    let trace = Arc::new(Mutex::new(Vec::new()));
    let event_loop = virtual_loop();
    let remote = event_loop.remote();
    for (number, from_elsewhere) in [true, false, false, true, true, false].into_iter().enumerate() {
        let trace = trace.clone();
        let call = move || trace.lock().unwrap().push(number);
        if from_elsewhere {
            remote.call_soon(call).unwrap();
        } else {
            event_loop.call_soon(call);
        }
    }
    event_loop.turn();
    assert_eq!(*trace.lock().unwrap(), [0, 1, 2, 3, 4, 5]);
}
