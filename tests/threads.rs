//! Bugs of other executors with threads: what may be sent, what other threads may do, and what is
//! left when one side ends.

mod common;

use common::{Census, Post, Trace, await_that, ms, on_drop, virtual_loop, watched};
use futures_util::poll;
use onelane::{
    CallHandle, EventLoop, Interval, Join, Local, LoopClosed, LoopRef, Metrics, Panic, RaiseCancelled, Remote,
    RemoteTask, RunError, Sleep, Task, TaskError, TaskId, TaskRef, Tick, YieldNow, all_tasks, call_soon, current_task,
    sleep, spawn, timeout, yield_now,
};
use std::cell::RefCell;
use std::future::{pending, poll_fn};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;

// ---- types that are Send and Sync, and types that are not (checked at compile time) ----

const fn assert_send_and_sync<T: Send + Sync>() {}
const fn assert_send<T: Send>() {}
const fn assert_unpin<T: Unpin>() {}

const _: () = {
    assert_send_and_sync::<Sleep>();
    assert_unpin::<Sleep>();
    assert_send_and_sync::<Remote>();
    assert_send_and_sync::<RemoteTask<u8>>();
    // This does not require that the result is `Sync`.
    assert_send::<RemoteTask<std::cell::Cell<u8>>>();
    assert_send_and_sync::<TaskError>();
    assert_send_and_sync::<Panic>();
    assert_send_and_sync::<TaskId>();
    assert_send_and_sync::<Waker>();
    assert_send_and_sync::<Local<Rc<u8>>>();
    // For a thread that exports them.
    assert_send_and_sync::<Metrics>();
};

/// The futures that need no `local` where a framework requires `Send`. The others own a count that
/// is not atomic: of a task, of a primitive, or of the scope that they are.
const _: () = {
    assert_send_and_sync::<YieldNow>();
    assert_send_and_sync::<Tick<'_>>();
    assert_send_and_sync::<Interval>();
    assert_send_and_sync::<RaiseCancelled<u8>>();
    #[cfg(feature = "threads")]
    assert_send::<onelane::ToThread<std::cell::Cell<u8>>>();
    #[cfg(all(unix, feature = "signals"))]
    assert_send_and_sync::<(onelane::signals::Signals, onelane::signals::Next<'_>)>();
    #[cfg(all(unix, feature = "io"))]
    assert_send_and_sync::<onelane::net::Accept<'_>>();
    #[cfg(all(unix, feature = "io"))]
    assert_send::<(onelane::net::Connect, onelane::net::OpenConnection, onelane::net::Bind<onelane::net::TcpListener>)>(
    );
};

/// Fails to compile if the type implements the trait, because then two implementations of `answer`
/// match.
macro_rules! assert_not_implemented {
    ($trait:ident: $($type:ty),+ $(,)?) => {
        $(const _: () = {
            trait Ambiguous<Which> {
                fn answer() {}
            }
            impl<T: ?Sized> Ambiguous<()> for T {}
            struct Implements;
            impl<T: ?Sized + $trait> Ambiguous<Implements> for T {}
            let _: fn() = <$type as Ambiguous<_>>::answer;
        };)+
    };
}

assert_not_implemented!(Send: Task<u8>, TaskRef, EventLoop, LoopRef, CallHandle, Join<u8>, RemoteTask<Rc<u8>>);
// A timeout is a scope of its task.
assert_not_implemented!(Send: onelane::Timeout<std::future::Ready<()>>);
assert_not_implemented!(Sync: Task<u8>, TaskRef, EventLoop, LoopRef, CallHandle, Join<u8>);
assert_not_implemented!(Future: Task<u8>);

/// The checks above work: they tell types that are not `Send` from types that are.
#[test]
fn tell_what_is_send() {
    assert_not_implemented!(Send: Rc<u8>, *const u8);
    assert_send::<Box<u8>>();
    fn is_send<T: Send + 'static>(_: &T) -> bool {
        true
    }
    let asleep = common::sleep_of(&virtual_loop(), ms(1));
    // As hyper requires it: behind a pointer, and shared.
    let boxed: std::pin::Pin<Box<dyn Future<Output = ()> + Send + Sync>> = Box::pin(asleep);
    assert!(is_send(&boxed));
}

/// bytedance/monoio#241, compio-rs/compio#512: a join handle that was sent to another thread hung.
/// Here a join handle cannot be sent (see above). The handle of a remotely spawned task can be
/// sent, and can be awaited on any executor.
#[test]
fn await_a_remote_task_in_another_loop() {
    watched(|| {
        let event_loop = EventLoop::new();
        let remote = event_loop.remote();
        let thread = thread::spawn(move || {
            let result = EventLoop::new().run(async {
                let first = remote.spawn(async { current_task().unwrap().name().to_string() }).unwrap();
                let second = remote.spawn(async { sleep(ms(1)).await }).unwrap();
                (first.await, second.await)
            });
            drop(remote);
            result
        });
        while !thread.is_finished() {
            event_loop.turn();
        }
        let name = if cfg!(feature = "report") { "await_a_remote_task_in_another_loop-1" } else { "Task-1" };
        assert_eq!(thread.join().unwrap(), (Ok(name.to_string()), Ok(())));
    });
}

/// WAKE-2. bytedance/monoio#121, tokio-rs/tokio#3662: wakers are `Send` by contract, even if
/// everything else stays on its thread.
#[test]
fn clone_and_wake_on_eight_threads_while_the_loop_sleeps_and_ends() {
    watched(|| {
        let census = Census::new();
        let (polls, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let posts: Vec<Post> = (0..4).map(|_| Post::new()).collect();
        let event_loop = EventLoop::new();
        for post in &posts {
            let (wait, member, polls) = (post.wait(), census.member(), polls.clone());
            let mut wait = Box::pin(wait);
            drop(event_loop.spawn(poll_fn(move |context| {
                let _member = &member;
                polls.fetch_add(1, Ordering::SeqCst);
                wait.as_mut().poll(context)
            })));
        }
        event_loop.turn();
        let threads: Vec<_> = (0..8)
            .map(|nth| {
                let (wakers, stop) = (posts.iter().map(Post::waker).collect::<Vec<_>>(), stop.clone());
                thread::spawn(move || {
                    let mut wakes = 0usize;
                    while !stop.load(Ordering::SeqCst) || wakes < 100 {
                        let waker = wakers[(nth + wakes) % wakers.len()].clone();
                        if wakes % 3 == 0 {
                            waker.wake_by_ref()
                        } else {
                            waker.wake()
                        }
                        wakes += 1;
                        if wakes % 16 == 0 {
                            thread::yield_now();
                        }
                    }
                    wakes
                })
            })
            .collect();
        // The loop contains only a timer from time to time, so it sleeps between the wakes.
        let copy = polls.clone();
        event_loop.run(async {
            while copy.load(Ordering::SeqCst) < 200 {
                sleep(ms(1)).await;
            }
        });
        assert_eq!(census.counts(), (4, 4));
        let at_the_end = polls.load(Ordering::SeqCst);
        // The tasks have ended. The wakes continue during turns, during the end of the loop, and
        // after it.
        for _ in 0..50 {
            event_loop.turn();
        }
        drop(event_loop);
        let other = EventLoop::new();
        other.run(async { sleep(ms(2)).await });
        drop(other);
        stop.store(true, Ordering::SeqCst);
        assert!(threads.into_iter().map(|thread| thread.join().unwrap()).all(|wakes| wakes >= 100));
        assert_eq!(polls.load(Ordering::SeqCst), at_the_end);
    });
}

/// compio-rs/compio#1044, with a larger number: a million wakes while the loop does not turn. Each
/// wake returns, and together they cause one step.
#[test]
fn wake_a_million_times_and_step_once() {
    watched(|| {
        let event_loop = virtual_loop();
        let posts = [Post::new(), Post::new()];
        let tasks = posts.each_ref().map(|post| event_loop.spawn(post.wait()));
        event_loop.turn();
        let threads = [0, 1, 2, 3].map(|nth| {
            let waker = posts[nth % 2].waker();
            thread::spawn(move || (0..250_000).for_each(|_| waker.wake_by_ref()))
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        posts.iter().for_each(Post::unlock);
        let turn = event_loop.turn();
        assert!((2..200_000).contains(&turn.messages), "{} wakes were kept", turn.messages);
        assert_eq!((turn.tasks, turn.ready, posts.each_ref().map(Post::polls)), (0, 0, [2, 2]));
        assert!(tasks.iter().all(Task::is_done));
    });
}

/// compio-rs/compio#494: the last waker is dropped on another thread, while the loop sleeps and
/// after the loop was dropped.
#[test]
fn drop_the_last_waker_elsewhere() {
    watched(|| {
        let (census, here) = (Census::new(), thread::current().id());
        let event_loop = EventLoop::new();
        let (post, member) = (Post::new(), census.member());
        let wait = post.wait();
        drop(event_loop.spawn(async move {
            let _member = member;
            wait.await;
        }));
        event_loop.turn();
        let wakers = vec![post.waker(); 10];
        let thread = thread::spawn(move || {
            drop(post);
            let last = wakers[0].clone();
            drop(wakers);
            last
        });
        event_loop.run(async { sleep(ms(1)).await });
        let last = thread.join().unwrap();
        drop(event_loop);
        thread::spawn(move || drop(last)).join().unwrap();
        assert_eq!(census.dropped_on(), [here]);
    });
}

/// tokio-rs/tokio#3117: another thread sends to a loop that sleeps, on either clock, with and
/// without a timer.
#[test]
fn send_to_a_sleeping_loop() {
    watched(|| {
        for virtual_clock in [false, true] {
            for timer in [false, true] {
                if virtual_clock && timer {
                    // A virtual clock does not sleep while there is a timer.
                    continue;
                }
                let event_loop = if virtual_clock { virtual_loop() } else { EventLoop::new() };
                let remote = event_loop.remote();
                let sender = thread::spawn(move || {
                    let mut seen = Vec::new();
                    for n in 0..20 {
                        if n % 4 == 0 {
                            thread::sleep(ms(1));
                        }
                        seen.push(remote.spawn(async move { n }).unwrap().wait().unwrap());
                        let flag = Arc::new(AtomicBool::new(false));
                        let copy = flag.clone();
                        remote.call_soon(move || copy.store(true, Ordering::SeqCst)).unwrap();
                        await_that(|| flag.load(Ordering::SeqCst));
                    }
                    // The remote lives until `ender` has woken main.
                    (remote, seen)
                });
                let over = Arc::new(AtomicBool::new(false));
                let waker_of_main = Post::new();
                let ender = thread::spawn({
                    let (over, main) = (over.clone(), waker_of_main.clone());
                    move || {
                        let (remote, seen) = sender.join().unwrap();
                        over.store(true, Ordering::SeqCst);
                        await_that(|| main.has_waker());
                        main.open();
                        drop(remote);
                        seen
                    }
                });
                event_loop.run(async {
                    if timer {
                        assert!(timeout(ms(3_600_000), waker_of_main.wait()).await.is_ok());
                    } else {
                        waker_of_main.wait().await;
                    }
                });
                assert!(over.load(Ordering::SeqCst));
                assert!(ender.join().unwrap().into_iter().eq(0..20));
            }
        }
    });
}

/// Tasks, callbacks and wakes arrive in the order in which they were sent.
#[test]
fn send_and_keep_the_order() {
    let event_loop = virtual_loop();
    let (remote, post) = (event_loop.remote(), Post::new());
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let note = |name: &'static str| {
        let order = order.clone();
        move || order.lock().unwrap().push(name)
    };
    let (woken, wait) = (note("woken"), post.wait());
    drop(event_loop.spawn(async move {
        wait.await;
        woken();
    }));
    event_loop.turn();
    let (one, two, three) = (note("one"), note("two"), note("three"));
    thread::spawn(move || {
        remote.call_soon(one).unwrap();
        post.open();
        drop(remote.spawn(async move { two() }).unwrap());
        remote.call_soon(three).unwrap();
    })
    .join()
    .unwrap();
    let turn = event_loop.turn();
    assert_eq!((turn.messages, turn.callbacks, turn.ready), (4, 3, 1));
    event_loop.turn();
    assert_eq!(*order.lock().unwrap(), ["one", "woken", "three", "two"]);
}

/// Each way in which a remotely spawned task can end, with a blocking wait and with an await.
#[test]
fn wait_for_remote_tasks_that_end_in_every_way() {
    watched(|| {
        let census = Census::new();
        let event_loop = EventLoop::new();
        let remote = event_loop.remote();
        let counted = census.clone();
        let thread = thread::spawn(move || {
            let ok = remote.spawn(async { 7 }).unwrap();
            let late = remote.spawn(async { sleep(ms(2)).await }).unwrap();
            let panics: RemoteTask<()> = remote.spawn(async { panic!("oh") }).unwrap();
            let member = counted.member();
            let cancelled = remote
                .spawn(async move {
                    let _member = member;
                    pending::<()>().await;
                })
                .unwrap();
            let dropped = remote.spawn(async {}).unwrap();
            drop(dropped);
            let ends = (ok.wait(), late.wait(), panics.wait().map_err(|error| error.to_string()));
            // The task runs at this point.
            cancelled.cancel();
            cancelled.cancel();
            (ends, cancelled.wait())
        });
        while !thread.is_finished() {
            event_loop.turn();
        }
        let (ends, cancelled) = thread.join().unwrap();
        assert_eq!(ends, (Ok(7), Ok(()), Err("the task panicked: oh".to_string())));
        assert_eq!((cancelled, census.counts()), (Err(TaskError::Cancelled), (1, 1)));
        assert!(event_loop.all_tasks().is_empty());
    });
}

/// The loop is dropped first: before it received the task, while the task runs, and after the task
/// ended but before any wait.
#[test]
fn drop_the_loop_before_a_remote_task_is_waited_for() {
    watched(|| {
        for turns in 0..4 {
            let (census, here) = (Census::new(), thread::current().id());
            let event_loop = virtual_loop();
            let remote = event_loop.remote();
            let member = census.member();
            let task = remote
                .spawn(async move {
                    let _member = member;
                    yield_now().await;
                })
                .unwrap();
            let awaited = remote.spawn(pending::<()>()).unwrap();
            for _ in 0..turns {
                event_loop.turn();
            }
            // One thread waits already.
            let waiting = thread::spawn(move || awaited.wait());
            drop(event_loop);
            assert_eq!(waiting.join().unwrap(), Err(TaskError::Cancelled));
            assert_eq!(census.dropped_on(), [here]);
            task.cancel();
            // The task ends in the third turn. A callback reports this, and it is called when the
            // other task is dropped.
            let expected = if turns == 3 { Ok(()) } else { Err(TaskError::Cancelled) };
            assert_eq!(task.wait(), expected, "after {turns} turns");
            assert_eq!(remote.call_soon(|| unreachable!()), Err(LoopClosed));
            assert!(remote.spawn(async {}).is_err());
            drop(remote.clone());
        }
    });
}

/// What could not be sent to a dropped loop is dropped by the sender, on the sender's thread.
#[test]
fn send_to_a_loop_that_has_gone() {
    let census = Census::new();
    let remote = virtual_loop().remote();
    let (callback, future) = (census.member(), census.member());
    let copy = remote.clone();
    let thread = thread::spawn(move || {
        assert_eq!(copy.call_soon(move || drop(callback)), Err(LoopClosed));
        assert_eq!(copy.spawn(async move { drop(future) }).err(), Some(LoopClosed));
        thread::current().id()
    });
    let there = thread.join().unwrap();
    assert_eq!(census.dropped_on(), [there, there]);
    // A new loop may reuse the lane (the number) of the dropped loop. It must receive nothing from
    // the old `Remote`.
    let next = virtual_loop();
    assert_eq!(remote.call_soon(|| unreachable!()), Err(LoopClosed));
    assert_eq!((next.turn().messages, LoopClosed.to_string()), (0, "the event loop is closed".to_string()));
}

/// If no one waits for a remote task, its result is dropped with the last of the two ends. A panic
/// of the task is still reported.
#[test]
fn let_go_of_remote_tasks() {
    watched(|| {
        let census = Census::new();
        let event_loop = virtual_loop();
        let remote = event_loop.remote();
        let made = census.clone();
        let kept = remote.spawn(async move { made.member() }).unwrap();
        let made = census.clone();
        drop(remote.spawn(async move { made.member() }).unwrap());
        for _ in 0..3 {
            event_loop.turn();
        }
        assert_eq!(census.counts(), (2, 1));
        drop(event_loop);
        assert_eq!(census.counts(), (2, 1));
        drop(kept.wait().unwrap());
        assert_eq!(census.counts(), (2, 2));
    });
}

/// A sleep is sent to another thread and dropped there. Its timer is removed too, whether or not
/// the loop still exists.
#[test]
fn drop_a_sleep_on_another_thread() {
    watched(|| {
        let event_loop = virtual_loop();
        let start = event_loop.time();
        let post = Post::new();
        let mut asleep: Vec<Sleep> = event_loop.run(async { (1..=3).map(|n| sleep(ms(n))).collect() });
        for asleep in &mut asleep {
            let polled = event_loop.run(async { poll!(asleep).is_pending() });
            assert!(polled);
        }
        assert_eq!(event_loop.next_deadline(), Some(start + ms(1)));
        let third = asleep.pop();
        thread::spawn(move || drop(asleep)).join().unwrap();
        // A message reports each drop, and the messages make a turn due.
        assert_eq!(event_loop.next_deadline(), Some(start));
        let turn = event_loop.turn();
        assert_eq!((turn.messages, turn.timers), (2, 1));
        assert_eq!((event_loop.time(), event_loop.next_deadline()), (start + ms(3), None));
        // The third timer has fired, and its sleep was not polled since. The message finds no
        // timer, and must not remove the next one.
        let next = event_loop.spawn(async { sleep(ms(1)).await });
        event_loop.turn();
        thread::spawn(move || drop(third)).join().unwrap();
        let turn = event_loop.turn();
        assert_eq!((turn.messages, turn.timers), (1, 1));
        event_loop.turn();
        assert!(next.is_done());
        // The message also removes no timer of another loop after the first loop was dropped.
        let mut late = common::sleep_of(&event_loop, ms(1));
        assert!(common::poll_in(&event_loop, &mut late, Waker::noop()).is_pending());
        drop(event_loop);
        let next = virtual_loop();
        let timer = next.spawn(async { sleep(ms(1)).await });
        next.turn();
        thread::spawn(move || drop(late)).join().unwrap();
        assert_eq!((next.turn().timers, post.polls()), (1, 0));
        next.turn();
        assert!(timer.is_done());
    });
}

/// tokio-rs/tokio#6035, #6185, zed-industries/zed#21020: listing all tasks from inside a task
/// deadlocked.
#[test]
fn list_all_tasks_from_everywhere() {
    let trace = Trace::new();
    let event_loop = virtual_loop();
    let look = |trace: &Trace, name: &'static str| {
        let trace = trace.clone();
        move || {
            let all: Vec<_> = all_tasks().iter().map(|task| format!("{} {:?}", task.name(), task.state())).collect();
            assert_eq!(format!("{:?}", all_tasks()).matches("TaskRef").count(), all.len());
            trace.push(format!("{name}: {}", all.join(", ").replace("list_all_tasks_from_everywhere", "F")));
        }
    };
    let (in_handler, waiting) = (look(&trace, "handler"), Post::new());
    let told = EventLoop::builder().exception_handler(move |_| in_handler()).build();
    drop(told.spawn(async { panic!("oh") }));
    told.turn();
    event_loop.run(async {
        look(&trace, "main")();
        let (in_task, in_done, in_drop) = (look(&trace, "task"), look(&trace, "done"), look(&trace, "destructor"));
        let task = spawn(async move { in_task() });
        task.add_done_callback(move |_| in_done());
        drop(spawn(waiting.wait()));
        let doomed = spawn(async move {
            let _look = on_drop(in_drop);
            pending::<()>().await;
        });
        yield_now().await;
        call_soon(look(&trace, "callback"));
        doomed.cancel();
        yield_now().await;
    });
    // Without the feature `report`, task names are not made from type names.
    let seen: Vec<String> =
        trace.take().iter().map(|line| line.replace("Task-", "F-").replace("wait-", "F-")).collect();
    assert_eq!(
        seen,
        [
            "handler: ",
            "main: F-1 Running",
            "task: F-1 Queued, F-2 Running, F-3 Queued, F-4 Queued",
            "done: F-1 Queued, F-3 Waiting, F-4 Queued",
            "callback: F-1 Queued, F-3 Waiting, F-4 Queued",
            "destructor: F-1 Queued, F-3 Waiting, F-4 Running",
        ]
    );
}

/// Part C: a task is polled only on its own thread, whichever thread wakes or spawns it.
#[test]
fn poll_on_the_own_thread_alone() {
    watched(|| {
        let here = thread::current().id();
        let event_loop = EventLoop::new();
        let remote = event_loop.remote();
        let (post, polls) = (Post::new(), Arc::new(AtomicUsize::new(0)));
        let (count, mut wait) = (polls.clone(), Box::pin(post.wait()));
        let future = poll_fn(move |context| {
            assert_eq!(thread::current().id(), here);
            count.fetch_add(1, Ordering::SeqCst);
            wait.as_mut().poll(context)
        });
        let thread = thread::spawn(move || {
            let task = remote.spawn(future).unwrap();
            await_that(|| post.has_waker());
            for seen in 1..20 {
                post.waker().wake();
                await_that(|| polls.load(Ordering::SeqCst) > seen);
            }
            post.open();
            task.wait().unwrap();
            polls.load(Ordering::SeqCst)
        });
        while !thread.is_finished() {
            event_loop.turn();
        }
        // The last wake may arrive before the previous poll has read the count.
        assert!(thread.join().unwrap() >= 20);
    });
}

/// Many threads create and drop loops, and keep the wakers. No wake reaches a later loop with the
/// same lane (the loop's number in wakers).
#[test]
fn make_and_drop_loops_on_eight_threads() {
    watched(|| {
        let stale = Arc::new(std::sync::Mutex::new(Vec::<Waker>::new()));
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let stale = stale.clone();
                thread::spawn(move || {
                    for round in 0..50 {
                        let event_loop = virtual_loop();
                        let posts = [Post::new(), Post::new()];
                        let tasks = posts.each_ref().map(|post| event_loop.spawn(post.wait()));
                        event_loop.turn();
                        let wakers: Vec<Waker> = stale.lock().unwrap().clone();
                        assert!(wakers.iter().all(|waker| !waker.will_wake(&posts[0].waker())));
                        wakers.into_iter().rev().take(32).for_each(Waker::wake);
                        event_loop.turn();
                        event_loop.turn();
                        assert_eq!(posts.each_ref().map(Post::polls), [1, 1], "round {round}");
                        posts[0].open();
                        event_loop.turn();
                        assert_eq!(tasks.each_ref().map(Task::is_done), [true, false]);
                        drop(event_loop);
                        stale.lock().unwrap().extend(posts.iter().map(Post::waker));
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(stale.lock().unwrap().len(), 8 * 50 * 2);
    });
}

/// Remotes are cloned and dropped while a loop on a virtual clock waits for them. The loop notices
/// that the last one was dropped.
#[test]
fn drop_remotes_while_the_loop_waits() {
    watched(|| {
        for _ in 0..50 {
            let event_loop = virtual_loop();
            let remote = event_loop.remote();
            let threads = [0, 1, 2, 3].map(|_| {
                let remote = remote.clone();
                thread::spawn(move || drop(remote.clone()))
            });
            drop(remote);
            let error = event_loop.try_run(pending::<()>()).unwrap_err();
            assert!(matches!(error, RunError::Deadlock(_)));
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        }
    });
}

/// On a real clock, a loop with metrics waits in the same way as a loop without. Here it waits for
/// a cancellation, and only debug mode would report a deadlock.
#[cfg(feature = "report")]
#[test]
fn count_and_wait_all_the_same() {
    thread_local!(static OVER: Rc<onelane::sync::Event> = Rc::new(onelane::sync::Event::new()));
    for counts in [false, true] {
        let event_loop = EventLoop::builder().debug(false).metrics(counts).build();
        let task = event_loop.remote().spawn(async {
            let _over = on_drop(|| OVER.with(|over| over.set()));
            pending::<()>().await
        });
        let task = task.unwrap();
        let thread = thread::spawn(move || {
            thread::sleep(ms(20));
            task.cancel();
        });
        let ended = event_loop.try_run(async {
            OVER.with(Rc::clone).wait().await;
            OVER.with(|over| over.clear());
        });
        thread.join().unwrap();
        assert!(ended.is_ok(), "{counts}: {ended:?}");
    }
}

/// The only clone of a waker is in a future of a loop on another thread. That loop may still wake
/// the task.
#[test]
fn wait_in_a_loop_of_another_thread() {
    watched(|| {
        let (sender, wakers) = std::sync::mpsc::channel::<Waker>();
        let other = thread::spawn(move || {
            let waker = wakers.recv().unwrap();
            EventLoop::new().run(async move {
                let mut pause = Box::pin(sleep(ms(30)));
                // This task of the other loop polls `pause` once with `waker`. Later it awaits
                // `pause`, and its own waker replaces `waker`.
                assert!(pause.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
                drop(waker);
                sleep(ms(60)).await;
                drop(pause);
            });
        });
        let mut sender = Some(sender);
        let result = virtual_loop().try_run(poll_fn(move |context| match sender.take() {
            Some(sender) => {
                sender.send(context.waker().clone()).unwrap();
                Poll::Pending
            }
            None => Poll::Ready(()),
        }));
        assert!(result.is_ok(), "{result:?}");
        other.join().unwrap();
    });
}

/// A waker is sent around a ring of threads, and each thread wakes it.
#[test]
fn pass_a_waker_around() {
    watched(|| {
        let seen: Rc<RefCell<Vec<usize>>> = Rc::default();
        let copy = seen.clone();
        let hop = Arc::new(AtomicUsize::new(0));
        EventLoop::new().run(poll_fn(move |context| {
            let now = hop.load(Ordering::SeqCst);
            if copy.borrow().last() != Some(&now) {
                copy.borrow_mut().push(now);
                let (waker, hop) = (context.waker().clone(), hop.clone());
                drop(thread::spawn(move || {
                    hop.fetch_add(1, Ordering::SeqCst);
                    waker.wake();
                }));
            }
            if now == 20 { Poll::Ready(()) } else { Poll::Pending }
        }));
        assert!(seen.borrow().iter().copied().eq(0..=20));
    });
}
