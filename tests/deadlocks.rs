//! Programs that can never continue are reported, with names and locations. Programs that look
//! similar but can continue are not.
//!
//! A mark is a comment `MARK name` that names a line of this file. The place
//! `tests/deadlocks.rs:12:34` of a report is compared as `@name` if line 12 has this mark, or the
//! line above it.

#[path = "deadlocks/circles.rs"]
mod circles;
mod common;

use common::{Post, Trace, await_that, ms, on_drop, watched};
use futures_util::future::{Either, abortable, join_all, select};
use futures_util::stream::{FuturesUnordered, StreamExt};
use onelane::sync::{Barrier, Condition, Event, Lock, OwnedLockGuard, Queue, Semaphore, channel, oneshot};
use onelane::{
    Clock, DeadlockReport, EventLoop, LoopBuilder, Promise, RunError, Task, TaskState, all_tasks, as_completed,
    call_graph, call_later, call_soon, current_task, finally, gather, shield, sleep, spawn, task, task_group, timeout,
    wait, wait_for, yield_now,
};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::{pending, poll_fn, ready};
use std::ptr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

// ---- helpers ----

/// Spawns a task with this name.
#[track_caller]
fn named<T: 'static>(name: &str, future: impl Future<Output = T> + 'static) -> Task<T> {
    task::Builder::new().name(name).spawn(future)
}

/// As `named`, and the body receives a clone of the shared value.
#[track_caller]
fn with<S: Clone, F: Future + 'static>(name: &str, shared: &S, body: impl FnOnce(S) -> F) -> Task<F::Output> {
    named(name, body(shared.clone()))
}

/// Tasks by name, for other tasks that await them.
#[derive(Clone, Default)]
struct Handles(Rc<RefCell<HashMap<String, Task<()>>>>);

impl Handles {
    fn put(&self, tasks: impl IntoIterator<Item = Task<()>>) {
        self.0.borrow_mut().extend(tasks.into_iter().map(|task| (task.name().to_string(), task)));
    }

    fn take(&self, name: &str) -> Task<()> {
        self.0.borrow_mut().remove(name).unwrap()
    }
}

fn lock(name: &str) -> Rc<Lock> {
    Rc::new(Lock::new(()).named(name))
}

/// Runs everything that is ready, and everything that becomes ready through it.
async fn settle() {
    for _ in 0..8 {
        yield_now().await;
    }
}

/// Waits for a wake that never comes, because the waker is not kept.
async fn forget_the_waker() {
    poll_fn::<(), _>(|_| Poll::Pending).await;
}

/// Pending once, and passes its waker to `keeper`. Ready at the next poll.
fn give_waker_to(keeper: impl FnOnce(Waker)) -> impl Future<Output = ()> {
    let mut keeper = Some(keeper);
    poll_fn(move |context| match keeper.take() {
        None => Poll::Ready(()),
        Some(keeper) => {
            keeper(context.waker().clone());
            Poll::Pending
        }
    })
}

/// The text with the names of marks in place of line numbers.
fn with_marks(text: &str) -> String {
    let source: Vec<&str> = include_str!("deadlocks.rs").lines().collect();
    let mut parts = text.split(concat!(file!(), ":"));
    let mut marked = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let (line, rest) = part.split_once(':').expect("a column after a line");
        let line: usize = line.parse().expect("the number of a line");
        let is_above = |line: &&str| line.trim_start().starts_with("// MARK ");
        let marked_line = if is_above(&source[line - 2]) { source[line - 2] } else { source[line - 1] };
        let mark = marked_line.split_once("// MARK ").map(|(_, mark)| mark.to_string());
        marked += &format!("@{}", mark.unwrap_or_else(|| format!("line {line}, which has no mark")));
        marked += rest.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    marked
}

/// The lines of the report that describe the tasks.
fn lines(report: &DeadlockReport) -> Vec<String> {
    let count = report.tasks.len();
    let text = with_marks(&report.to_string());
    let mut lines = text.lines().map(|line| line.trim_start().to_string());
    let first = match report.others_go_on {
        true => {
            let locks = text.contains(" for lock ");
            let unless = if locks { "unless a guard has moved to another task, " } else { "" };
            format!("deadlock: {count} task(s) wait for each other, and {unless}only a cancellation can end that")
        }
        false => format!(
            "deadlock: nothing is ready, no timer is pending, no waker is held elsewhere, and {count} task(s) wait"
        ),
    };
    assert_eq!(lines.next(), Some(first));
    lines.collect()
}

/// `a -> b -> c`
fn circles(report: &DeadlockReport) -> Vec<String> {
    let name = |id| &*report.tasks.iter().find(|task| task.id == id).expect("it is among the tasks").name;
    report.circles.iter().map(|circle| circle.iter().map(|&id| name(id)).collect::<Vec<_>>().join(" -> ")).collect()
}

/// Records the circles that a loop reports.
fn telling(builder: LoopBuilder) -> (EventLoop, Trace) {
    let told = Trace::new();
    let copy = told.clone();
    let event_loop = builder.deadlock_handler(move |report| {
        assert!(report.others_go_on);
        let [circle] = report.circles.as_slice() else { panic!("not one circle: {report}") };
        let mut members = circle.clone();
        members.sort();
        assert_eq!(report.tasks.iter().map(|task| task.id).collect::<Vec<_>>(), members);
        copy.extend(circles(report));
    });
    (event_loop.build(), told)
}

fn virtual_debug() -> LoopBuilder {
    EventLoop::builder().clock(Clock::Virtual).debug(true)
}

fn real_debug() -> LoopBuilder {
    EventLoop::builder().clock(Clock::Real).debug(true)
}

fn run_main(event_loop: &EventLoop, program: impl Future<Output = ()>) -> Result<(), RunError> {
    let main = async {
        current_task().unwrap().set_name("main");
        program.await;
    };
    event_loop.try_run(main) // MARK run
}

/// Runs the program on each kind of loop that detects deadlocks, and compares the reports. In debug
/// mode, also checks that each circle is reported at the moment when it closes.
fn stuck<F: Future<Output = ()>>(
    told: &'static [&'static str],
    expected: &'static [&'static str],
    program: impl Fn() -> F + Send + 'static,
) {
    watched(move || {
        for (kind, builder, is_debug) in [
            ("virtual", EventLoop::builder().clock(Clock::Virtual).debug(false), false),
            ("virtual, in debug mode", virtual_debug(), true),
            ("real, in debug mode", real_debug(), true),
        ] {
            let (event_loop, trace) = telling(builder);
            let result = run_main(&event_loop, program());
            let Err(RunError::Deadlock(report)) = result else { panic!("{kind}: no deadlock: {result:?}") };
            assert_eq!(lines(&report), expected, "{kind}");
            assert_eq!(trace.take(), if is_debug { told } else { &[] }, "{kind}");
            assert!(!report.others_go_on);
            assert!(report.tasks.is_sorted_by_key(|task| task.id));
            for task in &report.tasks {
                assert_eq!((task.state, task.outside_wakers), (TaskState::Waiting, Some(0)), "{kind}: {}", task.name);
            }
            assert!(event_loop.all_tasks().is_empty(), "{kind}: the loop has ended");
        }
    });
}

/// On each kind of loop the program ends, and nothing is reported.
fn goes_on<F: Future<Output = ()>>(program: impl Fn() -> F + Send + 'static) {
    watched(move || {
        for builder in [virtual_debug().debug(false), virtual_debug(), real_debug()] {
            let (event_loop, told) = telling(builder);
            let result = event_loop.try_run(program());
            assert!(result.is_ok(), "{result:?}");
            assert!(told.take().is_empty());
        }
    });
}

#[test]
fn give_each_mark_to_one_line() {
    let marks = include_str!("deadlocks.rs").lines().filter_map(|line| line.split_once("// MARK "));
    let mut marks: Vec<_> = marks.map(|(_, mark)| mark).filter(|mark| !mark.contains('"')).collect();
    marks.sort();
    let count = marks.len();
    marks.dedup();
    assert_eq!((marks.len(), count > 50), (count, true));
}

// ---- locks and joins: circles ----

#[test]
fn lock_a_lock_twice() {
    stuck(&["main"], &[r#"circle: "main" waits at @twice for lock "db", held by "main""#], || async {
        let lock = lock("db");
        let _first = lock.lock().await;
        drop(lock.lock().await); // MARK twice
    });
}

#[test]
fn cross_two_locks() {
    let expected = &[
        r#"circle: "a" waits at @crossed.a for lock "y", held by "b""#,
        r#""b" waits at @crossed.b for lock "x", held by "a""#,
        r#""main", spawned at @run, waits at @crossed for a gather of "a", "b""#,
    ];
    stuck(&["a -> b"], expected, || async {
        let locks = ["x", "y"].map(lock);
        let a = with("a", &locks, |[x, y]| async move {
            let _x = x.lock().await;
            yield_now().await;
            drop(y.lock().await); // MARK crossed.a
        });
        let b = with("b", &locks, |[x, y]| async move {
            let _y = y.lock().await;
            yield_now().await;
            drop(x.lock().await); // MARK crossed.b
        });
        drop(gather([a, b]).await); // MARK crossed
    });
}

#[test]
fn join_in_a_ring_of_three() {
    let expected = &[
        r#"circle: "a" waits at @three.a for task "b""#,
        r#""b" waits at @three.b for task "c""#,
        r#""c" waits at @three.c for task "a""#,
        r#""main", spawned at @run, waits at @three for event "never""#,
    ];
    stuck(&["a -> b -> c"], expected, || async {
        let handles = Handles::default();
        handles.put([
            with("a", &handles, |handles| async move {
                handles.take("b").await.unwrap(); // MARK three.a
            }),
            with("b", &handles, |handles| async move {
                handles.take("c").await.unwrap(); // MARK three.b
            }),
            with("c", &handles, |handles| async move {
                handles.take("a").await.unwrap(); // MARK three.c
            }),
        ]);
        Event::new().named("never").wait().await; // MARK three
    });
}

/// The circle begins with the task that was spawned first. Each task waits for the next one in the
/// list.
#[test]
fn join_and_lock_in_a_ring_of_five() {
    let expected = &[
        r#"circle: "a" waits at @five.a for task "d""#,
        r#""d" waits at @five.d for lock "x", held by "b""#,
        r#""b" waits at @five.b for task "e""#,
        r#""e" waits at @five.e for lock "y", held by "c""#,
        r#""c" waits at @five.c for task "a""#,
        r#""main", spawned at @run, waits at @five for event "never""#,
    ];
    stuck(&["a -> d -> b -> e -> c"], expected, || async {
        let shared = (Handles::default(), lock("x"), lock("y"));
        shared.0.put([
            with("a", &shared, |(handles, ..)| async move {
                handles.take("d").await.unwrap(); // MARK five.a
            }),
            with("b", &shared, |(handles, x, _)| async move {
                let _x = x.lock().await;
                handles.take("e").await.unwrap(); // MARK five.b
            }),
            with("c", &shared, |(handles, _, y)| async move {
                let _y = y.lock().await;
                handles.take("a").await.unwrap(); // MARK five.c
            }),
            with("d", &shared, |(_, x, _)| async move {
                drop(x.lock().await); // MARK five.d
            }),
            with("e", &shared, |(_, _, y)| async move {
                drop(y.lock().await); // MARK five.e
            }),
        ]);
        Event::new().named("never").wait().await; // MARK five
    });
}

/// Debug mode does not report this circle before the end, because a `wait` may end in more than one
/// way.
#[test]
fn wait_on_oneself() {
    stuck(&[], &[r#"circle: "main" waits at @wait.own for a wait on "main""#], || async {
        drop(wait([current_task().unwrap()]).await); // MARK wait.own
    });
}

/// Two circles that share a task, and one separate circle.
#[test]
fn stand_in_two_circles() {
    let expected = &[
        r#"circle: "main" waits at @two.main for a gather of "a", "b", "c""#,
        r#""a" waits at @two.a for a wait on "main""#,
        r#"circle: "main" waits at @two.main for a gather of "a", "b", "c""#,
        r#""b" waits at @two.b for lock "x", held by "main""#,
        r#"circle: "c" waits at @two.c for lock "y", held by "c""#,
    ];
    stuck(&["c"], expected, || async {
        let (shared, main) = ([lock("x"), lock("y")], current_task().unwrap());
        let _x = shared[0].lock().await;
        let a = named("a", async move {
            drop(wait([main]).await); // MARK two.a
        });
        let b = with("b", &shared, |[x, _]| async move {
            drop(x.lock().await); // MARK two.b
        });
        let c = with("c", &shared, |[_, y]| async move {
            let _y = y.lock().await;
            drop(y.lock().await); // MARK two.c
        });
        drop(gather([a, b, c]).await); // MARK two.main
    });
}

// ---- lost wakers ----

#[test]
fn join_who_waits_for_ever() {
    let expected = &[
        r#""main", spawned at @run, waits at @ever for task "lost""#,
        r#""lost", spawned at @ever.spawn, waits for a future that is not onelane's, and its last waker was dropped"#,
    ];
    stuck(&[], expected, || async {
        let lost = named("lost", pending::<()>()); // MARK ever.spawn
        lost.await.unwrap(); // MARK ever
    });
}

#[test]
fn forget_a_waker() {
    let expected =
        &[r#""main", spawned at @run, waits for a future that is not onelane's, and its last waker was dropped"#];
    stuck(&[], expected, forget_the_waker);
}

/// The waker was cloned, kept and moved. At last a callback and another task drop it.
#[test]
fn drop_the_last_waker_in_the_loop() {
    let expected = &[
        r#""main", spawned at @run, waits at @last for a gather of "a", "b""#,
        r#""a", spawned at @last.a, waits for a future that is not onelane's, and its last waker was dropped"#,
        r#""b", spawned at @last.b, waits for a future that is not onelane's, and its last waker was dropped"#,
    ];
    stuck(&[], expected, || async {
        let by_callback = give_waker_to(|waker| drop(call_later(ms(1), move || drop(waker))));
        let by_task = give_waker_to(|waker| {
            let wakers = vec![waker.clone(), waker];
            drop(spawn(async move {
                sleep(ms(1)).await;
                drop(wakers);
            }));
        });
        let a = named("a", by_callback); // MARK last.a
        let b = named("b", by_task); // MARK last.b
        drop(gather([a, b]).await); // MARK last
    });
}

/// The loop sleeps, because the thread could still wake the task. Only when the thread has dropped
/// the waker, the loop reports the deadlock.
#[test]
fn drop_the_last_waker_on_another_thread() {
    let expected =
        &[r#""main", spawned at @run, waits for a future that is not onelane's, and its last waker was dropped"#];
    watched(move || {
        for builder in [virtual_debug().debug(false), virtual_debug(), real_debug()] {
            let (event_loop, told) = telling(builder);
            let has_dropped = Arc::new(AtomicBool::new(false));
            let (sender, receiver) = mpsc::channel::<Waker>();
            let flag = has_dropped.clone();
            let thread = thread::spawn(move || {
                let waker = receiver.recv().unwrap();
                let copy = waker.clone();
                drop(waker);
                // The loop is most likely asleep after this time. The result must not depend on it.
                thread::sleep(ms(20));
                flag.store(true, Ordering::SeqCst);
                drop(copy);
            });
            let result = run_main(&event_loop, give_waker_to(|waker| sender.send(waker).unwrap()));
            assert!(has_dropped.load(Ordering::SeqCst), "the report came before the drop");
            let Err(RunError::Deadlock(report)) = result else { panic!("no deadlock: {result:?}") };
            assert_eq!(lines(&report), expected);
            assert_eq!(report.tasks[0].outside_wakers, Some(0));
            assert!(told.take().is_empty());
            thread.join().unwrap();
        }
    });
}

/// A waker of a task that has ended does not keep the loop waiting.
#[test]
fn keep_a_waker_of_a_task_that_has_ended() {
    let expected = &[
        r#""main", spawned at @run, waits at @kept.main for task "next""#,
        r#""next", spawned at @kept.next, waits at @kept for event "never""#,
    ];
    static KEPT: Mutex<Vec<Waker>> = Mutex::new(Vec::new());
    stuck(&[], expected, || async {
        for name in ["cancelled", "ended"] {
            let task = named(name, give_waker_to(|waker| KEPT.lock().unwrap().extend([waker.clone(), waker])));
            yield_now().await;
            match name {
                "cancelled" => _ = task.cancel(),
                _ => KEPT.lock().unwrap()[0].wake_by_ref(),
            }
            KEPT.lock().unwrap().last().unwrap().wake_by_ref();
            drop(task.await);
        }
        // In the table row of the ended tasks.
        // MARK kept.next
        let next = named("next", async {
            Event::new().named("never").wait().await; // MARK kept
        });
        next.await.unwrap(); // MARK kept.main
    });
    KEPT.lock().unwrap().clear();
}

// ---- objects that tasks share ----

#[test]
fn fill_a_queue_whose_consumer_waits_for_the_producer() {
    let expected = &[
        r#""main", spawned at @run, waits at @full for task "producer""#,
        r#""producer", spawned at @full.producer, waits at @full.put for room in queue "belt" (2 of 2 taken)"#,
    ];
    stuck(&[], expected, || async {
        let belt = Rc::new(Queue::bounded(2).named("belt"));
        // MARK full.producer
        let producer = with("producer", &belt, |belt| async move {
            for item in 0.. {
                belt.put(item).await.unwrap(); // MARK full.put
            }
        });
        producer.await.unwrap(); // MARK full
        belt.get().await.unwrap();
    });
}

#[test]
fn get_from_a_queue_that_nobody_fills() {
    let expected = &[
        r#""main", spawned at @run, waits at @empty for a gather of "first", "second""#,
        r#""first", spawned at @empty.first, waits at @empty.get for an item of queue "jobs""#,
        r#""second", spawned at @empty.second, waits at @empty.join for the end of all items of queue "jobs" (1 unfinished)"#,
    ];
    stuck(&[], expected, || async {
        let jobs = Rc::new(Queue::unbounded().named("jobs"));
        jobs.try_put(()).unwrap();
        // MARK empty.first
        let first = with("first", &jobs, |jobs| async move {
            while jobs.get().await.is_ok() {} // MARK empty.get
        });
        // MARK empty.second
        let second = with("second", &jobs, |jobs| async move {
            jobs.join().await; // MARK empty.join
        });
        drop(gather([first, second]).await); // MARK empty
    });
}

#[test]
fn come_to_a_barrier_with_one_missing() {
    let expected = &[
        r#""main", spawned at @run, waits at @barrier for barrier "start" (3 of 4 have come)"#,
        r#""a", spawned at @barrier.spawn, waits at @barrier.party for barrier "start" (3 of 4 have come)"#,
        r#""b", spawned at @barrier.spawn, waits at @barrier.party for barrier "start" (3 of 4 have come)"#,
    ];
    stuck(&[], expected, || async {
        let barrier = Rc::new(Barrier::new(4).named("start"));
        for name in ["a", "b", "c"] {
            // MARK barrier.spawn
            let party = with(name, &barrier, |barrier| async move {
                barrier.wait().await.unwrap(); // MARK barrier.party
            });
            if name == "c" {
                party.cancel();
            }
        }
        yield_now().await;
        barrier.wait().await.unwrap(); // MARK barrier
    });
}

#[test]
fn wait_for_a_condition_of_which_nobody_notifies() {
    let expected = &[
        r#""main", spawned at @run, waits at @condition for a notification of condition "stock""#,
        r#""late", spawned at @condition.spawn, waits at @condition.for for a notification of condition "stock""#,
    ];
    stuck(&[], expected, || async {
        let stock = Rc::new(Condition::new(0).named("stock"));
        // MARK condition.spawn
        let late = with("late", &stock, |stock| async move {
            let guard = stock.lock().await;
            drop(stock.wait_for(guard, |count| *count > 1).await); // MARK condition.for
        });
        yield_now().await;
        let mut guard = stock.lock().await;
        *guard = 1;
        stock.notify_all(&guard);
        drop(stock.wait(guard).await); // MARK condition
        drop(late);
    });
}

#[test]
fn hold_the_permits_for_which_others_wait() {
    let expected = &[
        r#""main", spawned at @run, waits at @permits for a gather of "a", "b""#,
        r#""a", spawned at @permits.spawn, waits at @permits.second for a permit of semaphore "slots" (0 free)"#,
        r#""b", spawned at @permits.spawn, waits at @permits.second for a permit of semaphore "slots" (0 free)"#,
    ];
    stuck(&[], expected, || async {
        let slots = Rc::new(Semaphore::new(2).named("slots"));
        let tasks = ["a", "b"].map(|name| {
            // MARK permits.spawn
            with(name, &slots, |slots| async move {
                let _first = slots.acquire().await;
                yield_now().await;
                let _second = slots.acquire().await; // MARK permits.second
            })
        });
        drop(gather(tasks).await); // MARK permits
    });
}

#[test]
fn wait_for_an_event_that_nobody_sets() {
    stuck(&[], &[r#""main", spawned at @run, waits at @event for an event (made at @event.made)"#], || async {
        let event = Event::new(); // MARK event.made
        event.set();
        event.wait().await;
        event.clear();
        event.wait().await; // MARK event
    });
}

#[test]
fn wait_for_a_value_that_one_has_to_send_oneself() {
    stuck(
        &[],
        &[r#""main", spawned at @run, waits at @oneshot for the value of a oneshot (made at @oneshot.made)"#],
        || async {
            let (sender, receiver) = oneshot::<u8>(); // MARK oneshot.made
            let value = receiver.await; // MARK oneshot
            sender.send(value.unwrap() + 1).unwrap();
        },
    );
}

#[test]
fn wait_for_a_promise_that_nobody_keeps() {
    let expected = &[
        r#""main", spawned at @run, waits at @promise for a promise made at @promise.made"#,
        r#""too", spawned at @promise.spawn, waits at @promise.shield for a shield on a promise made at @promise.made"#,
    ];
    stuck(&[], expected, || async {
        let promise = Promise::<()>::new(); // MARK promise.made
        // MARK promise.spawn
        let too = with("too", &promise, |promise| async move {
            drop(shield(&promise).await); // MARK promise.shield
        });
        drop(promise.await); // MARK promise
        drop(too);
    });
}

#[test]
fn receive_from_a_channel_whose_sender_is_kept() {
    let expected = &[
        r#""main", spawned at @run, waits at @channel for a message of a channel (made at @channel.made)"#,
        r#""keeper", spawned at @channel.keeper, waits at @channel.send for room in a channel (made at @channel.other, 1 of 1 taken)"#,
    ];
    stuck(&[], expected, || async {
        let (sender, receiver) = channel::<u8>(1); // MARK channel.made
        let (other, kept) = channel::<u8>(1); // MARK channel.other
        // MARK channel.keeper
        let keeper = named("keeper", async move {
            sender.send(1).await.unwrap();
            for item in 0.. {
                other.send(item).await.unwrap(); // MARK channel.send
            }
        });
        while receiver.recv().await.is_some() {} // MARK channel
        drop((keeper, kept));
    });
}

// ---- several waits at once, and what is around a wait ----

#[test]
fn sleep_for_ever() {
    let expected = &[
        r#""main", spawned at @run, waits at @sleep.main for a gather of "a", "b""#,
        r#""a", spawned at @sleep.a, waits at @sleep for a sleep that never ends"#,
        r#""b", spawned at @sleep.b, waits at @sleep.both for a sleep that never ends, and at @sleep.both for event "never""#,
    ];
    stuck(&[], expected, || async {
        // MARK sleep.a
        let a = named("a", async {
            sleep(Duration::MAX).await; // MARK sleep
        });
        // MARK sleep.b
        let b = named("b", async {
            let never = Event::new().named("never");
            select(sleep(Duration::MAX), never.wait()).await; // MARK sleep.both
        });
        drop(gather([a, b]).await); // MARK sleep.main
    });
}

/// A timeout that never expires does not end the circle.
#[test]
fn limit_a_circle_by_a_time_that_never_comes() {
    stuck(&["main"], &[r#"circle: "main" waits at @limit for lock "db", held by "main""#], || async {
        let lock = lock("db");
        let _first = lock.lock().await;
        let second = async {
            drop(lock.lock().await); // MARK limit
        };
        timeout(Duration::MAX, second).await.unwrap();
    });
}

#[test]
fn gather_those_who_are_stuck() {
    let expected = &[
        r#""main", spawned at @run, waits at @gather for a gather of "a" (done), "b", "c""#,
        r#""b", spawned at @gather.b, waits for a future that is not onelane's, and its last waker was dropped"#,
        r#""c", spawned at @gather.c, waits at @gather.join for task "b""#,
    ];
    stuck(&[], expected, || async {
        let a = named("a", ready(()));
        let b = Rc::new(named("b", forget_the_waker())); // MARK gather.b
        let copy = b.clone();
        // MARK gather.c
        let c = named("c", async move {
            (&*copy).await.unwrap(); // MARK gather.join
        });
        yield_now().await;
        drop(gather([&a, &b, &c]).await); // MARK gather
    });
}

#[test]
fn leave_a_group_whose_child_is_stuck() {
    let expected = &[
        r#""main", spawned at @run, waits at @group for a group of "stuck""#,
        r#""stuck", spawned at @group.spawn, waits at @group.child for event "never""#,
    ];
    stuck(&[], expected, || async {
        let group = task_group(async |group| {
            group.spawn(ready(())).set_name("ended");
            let child = async {
                Event::new().named("never").wait().await; // MARK group.child
            };
            group.spawn(child).set_name("stuck"); // MARK group.spawn
        });
        drop(group.await); // MARK group
    });
}

#[test]
fn clean_up_for_ever() {
    let expected = &[
        r#""main", spawned at @run, waits at @finally.join for task "task""#,
        r#""task", spawned at @finally.spawn, waits at @finally for event "never""#,
    ];
    stuck(&[], expected, || async {
        let cleanup = async {
            Event::new().named("never").wait().await; // MARK finally
        };
        let task = named("task", finally(pending::<()>(), cleanup)); // MARK finally.spawn
        yield_now().await;
        task.cancel();
        drop(task.await); // MARK finally.join
    });
}

#[test]
fn shield_a_task_that_is_stuck() {
    let expected = &[
        r#""main", spawned at @run, waits at @shield for a shield on "stuck""#,
        r#""stuck", spawned at @shield.spawn, waits for a future that is not onelane's, and its last waker was dropped"#,
    ];
    stuck(&[], expected, || async {
        let stuck = named("stuck", pending::<()>()); // MARK shield.spawn
        drop(shield(stuck).await); // MARK shield
    });
}

#[test]
fn wait_for_the_next_of_whom_one_is_stuck() {
    let expected = &[
        r#""main", spawned at @run, waits at @next for the next to complete of "b""#,
        r#""b", spawned at @next.spawn, waits at @next.get for an item of queue "jobs""#,
    ];
    stuck(&[], expected, || async {
        let jobs = Queue::<()>::unbounded().named("jobs");
        // MARK next.spawn
        let b = named("b", async move {
            jobs.get().await.unwrap(); // MARK next.get
        });
        let results = as_completed([named("a", ready(())), b, named("c", yield_now())]);
        while results.next().await.is_some() {} // MARK next
    });
}

#[test]
fn wait_for_a_lock_whose_guard_was_forgotten() {
    let expected = &[r#""main", spawned at @run, waits at @forgotten for lock "db", held by a task that has ended"#];
    stuck(&[], expected, || async {
        let lock = lock("db");
        let forgetful = with("forgetful", &lock, |lock| async move { std::mem::forget(lock.lock().await) });
        forgetful.await.unwrap();
        drop(lock.lock().await); // MARK forgotten
    });
}

/// The report describes the moment of the deadlock. It contains neither the tasks that ended
/// earlier, nor the cleanups that run because of the deadlock.
#[test]
fn clean_up_after_a_deadlock() {
    for builder in [virtual_debug(), real_debug()] {
        let (event_loop, _told) = telling(builder);
        let trace = Trace::new();
        let (cleaned, dropped) = (trace.clone(), trace.clone());
        let result = event_loop.try_run(async move {
            drop(spawn(ready(())));
            let cleanup = async move {
                sleep(ms(1)).await;
                cleaned.push("cleaned up");
            };
            let _dropped = on_drop(move || dropped.push("dropped"));
            finally(forget_the_waker(), cleanup).await;
        });
        let Err(RunError::Deadlock(report)) = result else { panic!("no deadlock: {result:?}") };
        assert_eq!(report.tasks.len(), 1);
        assert_eq!(trace.take(), ["cleaned up", "dropped"]);
        // The loop can be used again.
        assert_eq!(event_loop.run(async { spawn(async { 7 }).await }), Ok(7));
    }
}

// ---- similar programs that can continue ----

#[test]
fn be_woken_by_a_thread() {
    goes_on(|| async {
        for wake in [Waker::wake, |waker: Waker| waker.wake_by_ref()] {
            let woken = Rc::new(Cell::new(None));
            give_waker_to(|waker| {
                woken.set(Some(thread::spawn(move || {
                    // The loop is most likely asleep after this time.
                    thread::sleep(ms(10));
                    wake(waker);
                })));
            })
            .await;
            woken.take().unwrap().join().unwrap();
        }
    });
}

/// The thread clones a waker that is stored in a shared place. It wakes the clone after the other
/// wakers were dropped.
#[test]
fn be_woken_late_through_a_shared_place() {
    goes_on(|| async {
        let post = Post::new();
        let copy = post.clone();
        let thread = thread::spawn(move || {
            await_that(|| copy.has_waker());
            thread::sleep(ms(10));
            copy.open();
        });
        let sent = named("sent", post.wait());
        sent.await.unwrap();
        thread.join().unwrap();

        // The place holds the waker for a time. Other clones of the waker are dropped before the
        // wake.
        let place: Arc<Mutex<Option<Waker>>> = Arc::default();
        let (copy, (dropped, is_dropped)) = (place.clone(), mpsc::channel());
        let thread = thread::spawn(move || {
            is_dropped.recv().unwrap();
            let waker = copy.lock().unwrap().take().unwrap();
            thread::sleep(ms(10));
            waker.wake();
        });
        give_waker_to(|waker| {
            *place.lock().unwrap() = Some(waker.clone());
            drop(waker);
            dropped.send(()).unwrap();
        })
        .await;
        thread.join().unwrap();
    });
}

#[test]
fn wait_for_a_timer() {
    goes_on(|| async {
        let event = Rc::new(Event::new());
        let copy = event.clone();
        call_later(ms(5), move || copy.set());
        event.wait().await;
        gather([spawn(sleep(ms(2))), spawn(sleep(ms(1)))]).await.unwrap();
        assert!(timeout(ms(3), pending::<()>()).await.is_err());
    });
}

#[test]
fn wait_for_a_callback_that_has_the_waker() {
    goes_on(|| async {
        give_waker_to(|waker| drop(call_later(ms(3), move || waker.wake()))).await;
        give_waker_to(|waker| drop(call_soon(move || waker.wake()))).await;
    });
}

#[test]
fn wait_for_a_remote() {
    goes_on(|| async {
        let (sender, receiver) = oneshot();
        let remote = EventLoop::current().remote();
        thread_local!(static SENDER: RefCell<Option<onelane::sync::oneshot::Sender<u8>>> = const { RefCell::new(None) });
        SENDER.set(Some(sender));
        let thread = thread::spawn(move || {
            thread::sleep(ms(10));
            remote.call_soon(|| SENDER.take().unwrap().send(5).unwrap()).unwrap();
            let nested = remote.spawn(async { sleep(ms(1)).await }).unwrap();
            nested.wait().unwrap();
        });
        assert_eq!(receiver.await, Ok(5));
        while !thread.is_finished() {
            sleep(ms(1)).await;
        }
        thread.join().unwrap();
    });
}

/// While a `Remote` exists, the loop waits even if all tasks are stuck, because a message may free
/// them. After the last `Remote` is dropped, the loop reports the deadlock.
#[test]
fn drop_the_last_remote() {
    watched(|| {
        for builder in [virtual_debug().debug(false), virtual_debug(), real_debug()] {
            let (event_loop, _told) = telling(builder);
            let remotes = [event_loop.remote(), event_loop.remote()];
            let is_over = Arc::new(AtomicBool::new(false));
            let flag = is_over.clone();
            let thread = thread::spawn(move || {
                for remote in remotes {
                    thread::sleep(ms(10));
                    assert!(remote.call_soon(|| ()).is_ok());
                    flag.store(true, Ordering::SeqCst);
                }
            });
            let result = event_loop.try_run(pending::<()>());
            assert!(matches!(result, Err(RunError::Deadlock(_))) && is_over.load(Ordering::SeqCst));
            thread.join().unwrap();
        }
    });
}

#[cfg(feature = "threads")]
#[test]
fn wait_for_a_blocking_function() {
    goes_on(|| async {
        let slow = || thread::sleep(ms(10));
        let tasks = [named("direct", onelane::to_thread(slow)), named("behind", onelane::to_thread(slow))];
        settle().await;
        let graph = call_graph();
        assert_eq!(graph.task(tasks[0].id()).unwrap().waits_for[0].what, "a thread");
        drop(gather(tasks).await.unwrap());
    });
}

#[cfg(all(unix, feature = "signals"))]
#[test]
fn listen_for_a_signal() {
    use onelane::signals::{self, SIGWINCH};
    goes_on(|| async {
        let mut listener = signals::listen(SIGWINCH).unwrap();
        let thread = thread::spawn(|| {
            thread::sleep(ms(10));
            signal_hook::low_level::raise(SIGWINCH).unwrap();
        });
        listener.next().await;
        thread.join().unwrap();
    });
}

#[test]
fn let_a_detached_task_go_on() {
    goes_on(|| async {
        let event = Rc::new(Event::new());
        let copy = event.clone();
        drop(spawn(async move {
            for _ in 0..100 {
                yield_now().await;
            }
            copy.set();
        }));
        event.wait().await;
    });
}

/// A thread holds the guard of another crate's lock, and aborts another crate's future.
#[test]
fn wait_in_primitives_of_another_crate() {
    goes_on(|| async {
        let lock = Arc::new(futures_util::lock::Mutex::new(1));
        let guard = lock.clone().try_lock_owned().unwrap();
        let (aborted, abort) = abortable(forget_the_waker());
        let (seen, is_seen) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mut guard = guard;
            is_seen.recv().unwrap();
            thread::sleep(ms(5));
            *guard += 1;
            drop(guard);
            thread::sleep(ms(5));
            abort.abort();
        });
        let tasks = [
            named("lock", async move { assert_eq!(*lock.lock().await, 2) }),
            named("abort", async move { assert!(aborted.await.is_err()) }),
        ];
        settle().await;
        let graph = call_graph();
        for task in &tasks {
            let snapshot = graph.task(task.id()).unwrap();
            assert!(snapshot.outside_wakers > Some(0) && snapshot.waits_for.is_empty(), "{snapshot:?}");
        }
        seen.send(()).unwrap();
        gather(tasks).await.unwrap();
        thread.join().unwrap();
    });
}

/// The sleeps are polled with wakers of another crate.
#[test]
fn sleep_among_unordered_futures() {
    goes_on(|| async {
        let mut sleeps: FuturesUnordered<_> = (0..40).map(|n| sleep(ms(n % 4))).collect();
        let mut count = 0;
        while sleeps.next().await.is_some() {
            count += 1;
        }
        assert_eq!(count, 40);
        let events = [(); 40].map(|()| Rc::new(Event::new()));
        let copies = events.clone();
        call_later(ms(2), move || copies.iter().for_each(|event| event.set()));
        join_all(events.iter().map(|event| event.wait())).await;
    });
}

/// The body of two tasks that acquire two locks in opposite order. Each test adds its own kind of
/// limit.
async fn lock_both(first: Rc<Lock>, second: Rc<Lock>) {
    let _first = first.lock().await;
    yield_now().await;
    drop(second.lock().await);
}

async fn lock_twice(lock: Rc<Lock>) {
    let _first = lock.lock().await;
    drop(lock.lock().await);
}

#[test]
fn cross_locks_inside_of_a_timeout() {
    goes_on(|| async {
        let locks = ["x", "y"].map(lock);
        let crossed = [[0, 1], [1, 0]].map(|[first, second]| (locks[first].clone(), locks[second].clone()));
        // The limit is inside a task, around a task, and around both tasks.
        let [(x, y), (y2, x2)] = crossed.clone();
        let tasks =
            [named("a", lock_both(x, y)), named("b", async move { _ = timeout(ms(5), lock_both(y2, x2)).await })];
        gather(tasks).await.unwrap();

        let [(x, y), (y2, x2)] = crossed.clone();
        let (a, b) = (named("c", lock_both(x, y)), named("d", lock_both(y2, x2)));
        assert!(wait_for(a, ms(5)).await.is_err());
        b.await.unwrap();

        let [(x, y), (y2, x2)] = crossed;
        let both = gather([named("e", lock_both(x, y)), named("f", lock_both(y2, x2))]);
        assert!(timeout(ms(5), both).await.is_err());
    });
}

#[test]
fn sleep_beside_a_join_of_a_ring() {
    goes_on(|| async {
        let handles = Handles::default();
        let next =
            |name: &str, next: &'static str| with(name, &handles, async move |handles| drop(handles.take(next).await));
        let tired = with("c", &handles, |handles| async move {
            let join = handles.take("a").into_future();
            select(sleep(ms(5)), join).await;
        });
        handles.put([next("a", "b"), next("b", "c"), tired]);
        let last = handles.clone();
        settle().await;
        assert!(last.0.borrow().is_empty());
        while onelane::all_tasks().len() > 1 {
            sleep(ms(1)).await;
        }
    });
}

/// The guard was moved to a task that will drop it.
#[test]
fn wait_for_a_lock_whose_guard_was_moved() {
    goes_on(|| async {
        let lock = lock("db");
        let guard = lock.lock_owned().await;
        let keep = |guard: OwnedLockGuard| async move {
            sleep(ms(2)).await;
            drop(guard);
        };
        drop(named("keeper", keep(guard)));
        drop(lock.lock().await);
        // A callback drops the guard.
        let guard = lock.lock_owned().await;
        call_later(ms(2), move || drop(guard));
        drop(lock.lock().await);
        // Two tasks that each moved their guard to another task.
        let locks = ["x", "y"].map(self::lock);
        let crossed = [[0, 1], [1, 0]].map(|[first, second]| {
            let (first, second) = (locks[first].clone(), locks[second].clone());
            spawn(async move {
                drop(named("keeper", keep(first.lock_owned().await)));
                yield_now().await;
                drop(second.lock().await);
            })
        });
        gather(crossed).await.unwrap();
    });
}

#[test]
fn wait_to_be_cancelled() {
    goes_on(|| async {
        let victim = named("victim", pending::<()>());
        let copy = victim.task_ref();
        drop(spawn(async move {
            sleep(ms(2)).await;
            copy.cancel();
        }));
        assert!(victim.await.unwrap_err().is_cancelled());
    });
}

#[test]
fn sleep_with_a_lock() {
    goes_on(|| async {
        let lock = lock("db");
        let tasks = ["a", "b", "c"].map(|name| {
            with(name, &lock, |lock| async move {
                let _guard = lock.lock().await;
                sleep(ms(2)).await;
            })
        });
        gather(tasks).await.unwrap();
    });
}

#[test]
fn clean_up_for_a_while() {
    goes_on(|| async {
        let task = named("task", finally(pending::<()>(), sleep(ms(3))));
        yield_now().await;
        task.cancel();
        assert!(task.await.unwrap_err().is_cancelled());
    });
}

/// A host turns the loop. Such a loop never sleeps, so it reports no deadlock at its end. In debug
/// mode it still reports circles.
#[test]
fn turn_a_loop_in_which_nothing_can_happen() {
    for (builder, expected) in
        [(virtual_debug().debug(false), &[][..]), (virtual_debug(), &["main"]), (real_debug(), &["main"])]
    {
        let (event_loop, told) = telling(builder);
        let stuck = event_loop.spawn(async {
            current_task().unwrap().set_name("main");
            let lock = lock("db");
            let _first = lock.lock().await;
            drop(lock.lock().await);
        });
        let turns = [(); 4].map(|()| event_loop.turn());
        assert!(turns[1].is_idle() && turns[3].is_idle() && !stuck.is_done());
        assert_eq!((turns[3].tasks, event_loop.next_deadline()), (1, None));
        assert_eq!(told.take(), expected);
        assert!(stuck.cancel());
        assert_eq!((event_loop.turn().tasks, stuck.is_cancelled()), (0, true));
    }
}

/// The awaited object belongs to another loop of the same thread. That loop turns between the turns
/// of this one.
#[test]
fn wait_for_what_another_loop_does() {
    let [here, there] = [virtual_debug(), real_debug()].map(telling);
    let post = Post::new();
    let waiting = here.0.spawn(post.wait());
    here.0.turn();
    there.0.run(async move {
        sleep(ms(1)).await;
        post.open();
    });
    here.0.turn();
    assert!(waiting.is_done() && here.1.take().is_empty() && there.1.take().is_empty());
}

// ---- circles while other tasks continue ----

/// The report comes before the end of the turn. Tasks that wait for the circle are not part of it.
#[test]
fn tell_of_a_circle_at_the_step_that_closes_it() {
    for builder in [virtual_debug(), real_debug()] {
        let trace = Trace::new();
        let copy = trace.clone();
        let handler = move |report: &DeadlockReport| {
            assert!(current_task().is_none() && report.others_go_on);
            copy.extend(lines(report));
        };
        let event_loop = builder.deadlock_handler(handler).build();
        let locks = ["x", "y"].map(lock);
        let tasks = [("a", [0, 1]), ("b", [1, 0])].map(|(name, [first, second])| {
            let (first, second, trace) = (locks[first].clone(), locks[second].clone(), trace.clone());
            let task = event_loop.spawn(async move {
                let _first = first.lock().await;
                trace.push(format!("{name} has the first"));
                yield_now().await;
                let _last = on_drop(|| trace.push(format!("{name} leaves")));
                trace.push(format!("{name} wants the second"));
                drop(second.lock().await); // MARK closing
                trace.push(format!("{name} had both"));
            });
            task.set_name(name);
            task
        });
        let join = tasks[0].task_ref();
        let follower = event_loop.spawn(async move { drop(wait([join]).await) });
        let copy = trace.clone();
        let other = event_loop.spawn(async move {
            for turn in 1..=8 {
                copy.push(format!("turn {turn}"));
                yield_now().await;
            }
        });
        event_loop.turn();
        assert_eq!(trace.take(), ["a has the first", "b has the first", "turn 1"]);
        event_loop.turn();
        let expected = [
            "a wants the second",
            "b wants the second",
            r#"circle: "a" waits at @closing for lock "y", held by "b""#,
            r#""b" waits at @closing for lock "x", held by "a""#,
            "turn 2",
        ];
        assert_eq!(trace.take(), expected);
        event_loop.turn();
        assert_eq!(trace.take(), ["turn 3"]);
        // Another task can end the circle by a cancellation, as the report says.
        assert!(tasks[1].cancel());
        event_loop.turn();
        event_loop.turn();
        assert_eq!(trace.take(), ["turn 4", "b leaves", "turn 5", "a had both", "a leaves"]);
        event_loop.run(async {});
        assert!(other.is_done() || other.is_cancelled());
        assert!(follower.is_done());
    }
}

/// Other tasks may await a member of the circle and stop again. The circle is reported only once.
#[test]
fn tell_of_a_circle_once() {
    for builder in [virtual_debug(), real_debug()] {
        let (event_loop, told) = telling(builder);
        event_loop.run(async {
            let lock = lock("db");
            let stuck = named("stuck", lock_twice(lock.clone()));
            settle().await;
            assert_eq!(told.take(), ["stuck"]);
            let [waits, leaves] = ["waits", "leaves"].map(|name| named(name, lock_twice(lock.clone())));
            let joins = stuck.task_ref();
            drop(named("joins", async move { drop(wait([joins]).await) }));
            settle().await;
            drop(call_graph());
            leaves.cancel();
            settle().await;
            assert!(told.take().is_empty());
            stuck.cancel();
            settle().await;
            assert_eq!(told.take(), ["waits"]);
            waits.cancel();
        });
    }
}

/// A cancellation that was taken back does not change the circle.
#[test]
fn tell_of_a_circle_once_though_a_member_was_stepped() {
    for builder in [virtual_debug(), real_debug()] {
        let (event_loop, told) = telling(builder);
        event_loop.run(async {
            let stuck = named("stuck", lock_twice(lock("db")));
            settle().await;
            stuck.cancel();
            stuck.uncancel();
            settle().await;
            assert_eq!(told.take(), ["stuck"]);
            stuck.cancel();
        });
    }
}

/// A circle that a cancellation opened may close again. It is then reported as a new circle.
#[test]
fn tell_of_the_next_circle() {
    for builder in [virtual_debug(), real_debug()] {
        let (event_loop, told) = telling(builder);
        event_loop.run(async {
            let locks = ["x", "y"].map(lock);
            for round in 0..3 {
                let [a, b] = [("a", [0, 1]), ("b", [1, 0])]
                    .map(|(name, [first, second])| named(name, lock_both(locks[first].clone(), locks[second].clone())));
                settle().await;
                assert_eq!(told.take(), ["a -> b"], "round {round}");
                a.cancel();
                b.await.unwrap();
            }
        });
    }
}

/// A timeout in a member or around an await of a member ends the circle in time.
#[test]
fn tell_of_no_circle_that_ends_by_itself() {
    goes_on(|| async {
        let lock = lock("db");
        let twice = |name: &str| named(name, lock_twice(lock.clone()));
        // Around one wait, and around all of the work.
        let own = with("own", &lock, |lock| async move {
            let _first = lock.lock().await;
            assert!(timeout(ms(2), lock.lock()).await.is_err());
        });
        own.await.unwrap();
        // One task awaits a member, and another task awaits the first one. Both limits are set
        // before the circle closes.
        let (ahead, copy) = (twice("awaited"), lock.clone());
        assert!(wait_for(ahead, ms(2)).await.is_err());
        let chain = named("chain", async move { named("inner", lock_twice(copy)).await });
        assert!(wait_for(chain, ms(2)).await.is_err());
        // A deadline that was set before the tasks started.
        let all = timeout(ms(2), gather([twice("e"), twice("f")]));
        assert!(all.await.is_err());
    });
}

/// A task outside the circle waits for a member's lock with a timeout. The timeout does not open
/// the circle.
#[test]
fn tell_of_a_circle_although_somebody_else_has_a_limit() {
    for builder in [virtual_debug(), real_debug()] {
        let (event_loop, told) = telling(builder);
        event_loop.run(async {
            let lock = lock("db");
            let stuck = with("stuck", &lock, |lock| async move {
                let _first = lock.lock().await;
                settle().await;
                drop(lock.lock().await);
            });
            yield_now().await;
            // This task is not connected to the circle.
            let other = named("other", async { timeout(ms(5), pending::<()>()).await.is_err() });
            let wants = named("wants", async move { timeout(ms(5), lock.lock()).await.is_err() });
            assert_eq!(wants.await, Ok(true));
            assert_eq!(told.take(), ["stuck"]);
            stuck.cancel();
            assert_eq!(other.await, Ok(true));
        });
    }
}

/// The guard of a lock that is never dropped moves, and the loop does not see where. Its report may
/// then be wrong, and says so.
#[test]
fn say_that_a_guard_may_have_moved() {
    let told = Trace::new();
    let copy = told.clone();
    let builder = virtual_debug().deadlock_handler(move |report| copy.push(report.to_string()));
    builder.build().run(async {
        let lock: &'static Lock = Box::leak(Box::new(Lock::new(()).named("global")));
        // The static keeps the lock reachable, so that leak checkers do not report it.
        static GLOBAL: AtomicPtr<Lock> = AtomicPtr::new(ptr::null_mut());
        GLOBAL.store(ptr::from_ref(lock).cast_mut(), Ordering::Relaxed);
        let guard = lock.lock().await;
        drop(named("keeper", async move {
            settle().await;
            drop(guard);
        }));
        drop(lock.lock().await);
    });
    let told = told.take();
    let hedge = "and unless a guard has moved to another task, only a cancellation can end that";
    assert!(told.len() == 1 && told[0].contains(hedge), "{told:?}");
}

/// A future begins in this task, holds a guard, and goes on in another task. The loop notices that
/// the guard moves with it.
#[test]
fn wait_for_a_lock_whose_guard_was_moved_in_a_future() {
    goes_on(|| async {
        let lock = lock("db");
        let copy = lock.clone();
        let work = Box::pin(async move {
            let _guard = copy.lock().await;
            sleep(ms(10)).await;
        });
        // The work is slow, and goes on in the background.
        match select(work, sleep(ms(1))).await {
            Either::Left(_) => unreachable!(),
            Either::Right((_, work)) => drop(named("background", work)),
        }
        yield_now().await;
        drop(lock.lock().await);
    });
}

/// A thread holds a waker of a member and may wake it. So no circle is reported, even if the member
/// also waits for something else.
#[test]
fn tell_of_no_circle_that_somebody_else_can_open() {
    goes_on(|| async {
        let lock = lock("db");
        let post = Post::new();
        let member = with("member", &(lock, post.clone()), |(lock, post)| async move {
            let _first = lock.lock().await;
            select(Box::pin(lock.lock()), Box::pin(post.wait())).await;
        });
        settle().await;
        let graph = call_graph();
        assert_eq!(graph.circles(), [[member.id()]]);
        assert_eq!(graph.task(member.id()).unwrap().outside_wakers, Some(1));
        post.open();
        member.await.unwrap();
    });
}

// ---- wakers held outside the loop ----

/// The number of wakers that others hold, without the wakers that onelane's own futures keep.
#[test]
fn count_the_wakers_that_others_hold() {
    for builder in
        [virtual_debug().debug(false), virtual_debug(), real_debug(), real_debug().debug(false).metrics(true)]
    {
        let (event_loop, _told) = telling(builder);
        event_loop.run(async {
            let event = Rc::new(Event::new());
            let outside = |task: &Task<()>| {
                let id = task.id();
                let alone = all_tasks().into_iter().find(|task| task.id() == id).map(|task| task.outside_wakers());
                let in_graph = call_graph().task(id).map(|task| task.outside_wakers);
                assert_eq!(alone, in_graph);
                in_graph
            };
            let own = named("own", event.wait());
            let joins = named("joins", async move { drop(gather([own]).await) });
            let sleeps = named("sleeps", sleep(ms(3)));
            let kept = Rc::new(RefCell::new(Vec::new()));
            let copy = kept.clone();
            let keeps = named("keeps", give_waker_to(move |waker| copy.borrow_mut().push(waker)));
            let [has_waker, keep_on] = [Post::new(), Post::new()];
            let both = {
                let waits = [has_waker.wait(), keep_on.wait()];
                named("both", async move { drop(join_all(waits).await) })
            };
            settle().await;
            assert_eq!([&joins, &sleeps].map(outside), [Some(Some(0)); 2]);
            assert_eq!([&keeps, &both].map(outside), [Some(Some(1)), Some(Some(2))]);
            let clones = vec![kept.borrow()[0].clone(); 9];
            assert_eq!(outside(&keeps), Some(Some(10)));
            let thread = thread::spawn(move || clones.into_iter().skip(4).collect::<Vec<_>>());
            let clones = thread.join().unwrap();
            assert_eq!((clones.len(), outside(&keeps)), (5, Some(Some(6))));
            clones[0].wake_by_ref();
            drop(clones);
            assert_eq!(outside(&keeps), Some(Some(1)));
            // The last waker is used, and the task ends.
            kept.take().pop().unwrap().wake();
            assert_eq!(outside(&keeps), Some(Some(0)));
            yield_now().await;
            assert_eq!(outside(&keeps), None);
            [has_waker, keep_on].iter().for_each(Post::open);
            event.set();
            drop(gather([joins, sleeps, both]).await);
        });
    }
    let event_loop = EventLoop::builder().debug(false).build();
    event_loop.run(async {
        assert_eq!(call_graph().tasks[0].outside_wakers, None, "this loop does not count");
        assert_eq!(all_tasks()[0].outside_wakers(), None);
    });
}
