//! The counters of a loop: each event is counted once, and the equations between the counters
//! always hold.

mod common;
#[path = "metrics/laws.rs"]
mod laws;

use common::{Post, await_that, ms, on_drop, panic_of, watched};
use futures_util::future::{Either, join, select};
use futures_util::poll;
use onelane::sync::{Event, Lock};
use onelane::{
    CallHandle, Clock, EventLoop, Exception, Join, LoopBuilder, Metrics, Promise, Sleep, Task, TaskRef, call_later,
    call_soon, catch_cancel, current_task, finally, gather, metrics, shield, sleep, spawn, task_group, time, timeout,
    yield_now,
};
use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn, ready};
use std::panic::resume_unwind;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

/// The first law that does not hold, of the laws that must hold at any moment.
fn broken(metrics: &Metrics) -> Option<String> {
    let Metrics { spawned, alive, finished, cancelled, panicked, .. } = *metrics;
    let Metrics { wakes, wakes_queued, wakes_merged, wakes_late, wakes_foreign, .. } = *metrics;
    let Metrics { timers_armed, timers_fired, timers_cancelled, timers_pending, .. } = *metrics;
    let laws = [
        ("tasks", spawned == alive + finished + cancelled + panicked),
        ("wakes", wakes == wakes_queued + wakes_merged + wakes_late),
        ("foreign wakes", wakes_foreign <= wakes),
        ("timers", timers_armed == timers_fired + timers_cancelled + timers_pending),
    ];
    let law = laws.iter().find(|(_, holds)| !holds)?;
    Some(format!("{}: {metrics:?}", law.0))
}

#[track_caller]
fn check(metrics: &Metrics) {
    assert_eq!(broken(metrics), None);
}

#[track_caller]
fn check_now() {
    check(&metrics());
}

fn counting() -> EventLoop {
    EventLoop::builder().clock(Clock::Virtual).metrics(true).debug(false).exception_handler(|_| ()).build()
}

/// The counters that have changed between the two snapshots.
fn since(before: &Metrics, after: &Metrics) -> Vec<(&'static str, u64)> {
    macro_rules! fields {
        ($($field:ident)*) => { [$((stringify!($field), after.$field.wrapping_sub(before.$field))),*] };
    }
    let changes = fields! {
        turns steps callbacks wakes wakes_queued wakes_merged wakes_late wakes_foreign spawned finished cancelled panicked
        timers_armed timers_fired timers_cancelled parks
    };
    changes.into_iter().filter(|&(_, change)| change != 0).collect()
}

/// The changes of the counters during a program. Turns and steps are left out, because this
/// function itself causes some.
async fn counted(program: impl AsyncFnOnce()) -> Vec<(&'static str, u64)> {
    let before = metrics();
    program().await;
    let after = metrics();
    check(&after);
    since(&before, &after).into_iter().filter(|(name, _)| !["turns", "steps"].contains(name)).collect()
}

/// The waker of the current task. This future is ready at once, so no wait is counted.
async fn own_waker() -> Waker {
    poll_fn(|context| Poll::Ready(context.waker().clone())).await
}

/// Ends a task as a panic does, without a message.
fn fail() {
    resume_unwind(Box::new("fails"));
}

// ---- each counter against a known number ----

#[test]
fn count_turns_and_steps() {
    let event_loop = counting();
    let task = event_loop.spawn(async {
        for _ in 0..3 {
            yield_now().await;
        }
    });
    let mut seen = Vec::new();
    for _ in 0..5 {
        event_loop.turn();
        let now = event_loop.metrics();
        check(&now);
        seen.push((now.turns, now.steps, now.wakes, now.wakes_queued, now.finished));
    }
    assert_eq!(seen, [(1, 1, 1, 1, 0), (2, 2, 2, 2, 0), (3, 3, 3, 3, 0), (4, 4, 3, 3, 1), (5, 4, 3, 3, 1)]);
    assert!(task.is_done());
}

/// A running loop has several ways to begin the next turn. Each of these turns counts.
#[test]
fn count_turns_in_a_run() {
    for builder in [EventLoop::builder().clock(Clock::Virtual), EventLoop::builder().metrics(true)] {
        for debug in [false, true] {
            let event_loop = builder_with(&builder, debug);
            let after = event_loop.run(async {
                for _ in 0..99 {
                    yield_now().await;
                }
                metrics()
            });
            assert_eq!((after.turns, after.steps, after.callbacks, after.parks), (100, 100, 0, 0));
            // A callback reports the end of the main task.
            let after = event_loop.metrics();
            assert_eq!((after.turns, after.steps, after.callbacks, after.finished), (101, 100, 1, 1));
        }
    }
}

/// Builds another loop like `like`, because a builder can build only one.
fn builder_with(like: &LoopBuilder, debug: bool) -> EventLoop {
    let clock = if format!("{like:?}").contains("Virtual") { Clock::Virtual } else { Clock::Real };
    EventLoop::builder().clock(clock).metrics(true).debug(debug).build()
}

#[test]
fn count_wakes_that_merge() {
    counting().run(async {
        let twice = counted(async || {
            let mut woken = false;
            let pause = poll_fn(|context| {
                if std::mem::replace(&mut woken, true) {
                    return Poll::Ready(());
                }
                context.waker().wake_by_ref();
                check_now();
                let waker = context.waker().clone();
                waker.wake();
                check_now();
                Poll::Pending
            });
            pause.await;
        });
        assert_eq!(twice.await, [("wakes", 2), ("wakes_queued", 1), ("wakes_merged", 1)]);

        // These wakes are for another task, which waits for the post.
        let post = Post::new();
        let other = spawn(post.wait());
        yield_now().await;
        let others = counted(async || {
            (0..4).for_each(|_| post.waker().wake());
            post.unlock();
        });
        assert_eq!(others.await, [("wakes", 4), ("wakes_queued", 1), ("wakes_merged", 3)]);
        other.await.unwrap();
    });
}

#[test]
fn count_wakes_that_come_late() {
    counting().run(async {
        // These wakes are for a task that has ended.
        let post = Post::new();
        let ended = spawn(post.wait());
        yield_now().await;
        post.open();
        ended.await.unwrap();
        let late = counted(async || (0..3).for_each(|_| post.waker().wake()));
        assert_eq!(late.await, [("wakes", 3), ("wakes_late", 3)]);

        // The task wakes itself twice in its last step, and the second wake merges with the first.
        // The third wake is that of the join.
        let itself = counted(async || {
            let last = spawn(async {
                let waker = own_waker().await;
                waker.wake_by_ref();
                check_now();
                waker.wake();
                check_now();
            });
            last.await.unwrap();
        });
        let expected = [("wakes", 3), ("wakes_queued", 2), ("wakes_merged", 1), ("spawned", 1), ("finished", 1)];
        assert_eq!(itself.await, expected);

        // Destructors wake their tasks: of a value that the future owns, when the future returns
        // and when it is cancelled, and of the future's output.
        let destructors = counted(async || {
            let waking = async || {
                let waker = own_waker().await;
                on_drop(move || {
                    waker.wake();
                    check_now();
                })
            };
            spawn(async move { drop(waking().await) }).await.unwrap();
            let cancelled = spawn(async move {
                let _woken = waking().await;
                pending::<()>().await;
            });
            yield_now().await;
            cancelled.cancel();
            assert!(cancelled.await.unwrap_err().is_cancelled());
            drop(spawn(async move { waking().await }).await.unwrap());
        });
        let expected = [
            // Late: the wake by the destructor of the output. Queued: the wakes by the other two
            // destructors, three joins, a yield, and a cancellation.
            ("wakes", 8),
            ("wakes_queued", 7),
            ("wakes_late", 1),
            ("spawned", 3),
            ("finished", 2),
            ("cancelled", 1),
        ];
        assert_eq!(destructors.await, expected);
    });
}

/// A join was polled by a task that has ended. The join wakes this task once, and the wake is late.
#[test]
fn count_a_join_that_was_left_behind_once() {
    counting().run(async {
        let event = Rc::new(Event::new());
        let left: Rc<RefCell<Option<Join<()>>>> = Rc::default();
        let (awaited, copy) = (spawn(event.wait()), left.clone());
        let leaves = spawn(async move {
            let mut join = awaited.into_future();
            assert!(poll!(&mut join).is_pending());
            *copy.borrow_mut() = Some(join);
        });
        leaves.await.unwrap();
        let late = counted(async || {
            event.set();
            yield_now().await;
            yield_now().await;
        });
        // The wakes of the event, of two yields, and of the join.
        assert_eq!(late.await, [("wakes", 4), ("wakes_queued", 3), ("wakes_late", 1), ("finished", 1)]);
        drop(left);
    });
}

/// A sleep was polled with a waker of a task that has ended. The sleep wakes this task once, and
/// the wake is late.
#[test]
fn count_a_sleep_that_was_left_behind_once() {
    counting().run(async {
        let mut asleep = pin!(sleep(ms(5)));
        let waker = spawn(own_waker()).await.unwrap();
        assert!(asleep.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
        let late = counted(async || sleep(ms(6)).await);
        let expected = [("wakes", 2), ("wakes_queued", 1), ("wakes_late", 1), ("timers_armed", 1), ("timers_fired", 2)];
        assert_eq!(late.await, expected);
    });
}

#[test]
fn count_wakes_from_elsewhere() {
    let event_loop = counting();
    let posts = [Post::new(), Post::new()];
    for post in &posts {
        drop(event_loop.spawn(post.wait()));
    }
    event_loop.turn();
    let before = event_loop.metrics();
    assert_eq!((before.wakes, before.wakes_foreign), (0, 0));
    // Wakes between two turns, from this thread and from another one. The loop counts them when it
    // receives them.
    posts[0].open();
    let copy = posts[1].clone();
    thread::spawn(move || copy.open()).join().unwrap();
    assert_eq!(event_loop.metrics(), before);
    event_loop.turn();
    let expected =
        [("turns", 1), ("steps", 2), ("wakes", 2), ("wakes_queued", 2), ("wakes_foreign", 2), ("finished", 2)];
    assert_eq!(since(&before, &event_loop.metrics()), expected);
    // These wakes are late, because the tasks have ended.
    posts.iter().for_each(|post| post.waker().wake());
    event_loop.turn();
    let after = event_loop.metrics();
    assert_eq!((after.wakes_foreign, after.wakes_late, after.wakes), (4, 2, 4));
    check(&after);
}

/// A wake by another loop is foreign. Only the loop of the woken task counts it.
#[test]
fn count_wakes_by_another_loop() {
    let (here, there) = (counting(), counting());
    let post = Post::new();
    drop(here.spawn(post.wait()));
    here.turn();
    let before = there.metrics();
    there.run(async move { post.open() });
    assert_eq!(since(&before, &there.metrics()).iter().find(|(name, _)| name.starts_with("wakes")), None);
    here.turn();
    let after = here.metrics();
    assert_eq!((after.wakes, after.wakes_queued, after.wakes_foreign), (1, 1, 1));
}

/// A timer holds a waker of another loop. Its wake is foreign, and only the loop of the woken task
/// counts it.
#[test]
fn count_wakes_by_a_timer_of_another_loop() {
    let (here, there) = (counting(), counting());
    let post = Post::new();
    drop(here.spawn(post.wait()));
    here.turn();
    let before = there.metrics();
    let copy = post.clone();
    there.run(async move {
        let mut asleep = pin!(sleep(ms(1)));
        assert!(asleep.as_mut().poll(&mut std::task::Context::from_waker(&copy.waker())).is_pending());
        sleep(ms(2)).await;
    });
    let expected = [("wakes", 1), ("wakes_queued", 1)];
    let wakes: Vec<_> =
        since(&before, &there.metrics()).into_iter().filter(|(name, _)| name.starts_with("wakes")).collect();
    assert_eq!(wakes, expected);
    here.turn();
    let after = here.metrics();
    assert_eq!((after.wakes, after.wakes_queued, after.wakes_foreign), (1, 1, 1));
}

#[test]
fn count_callbacks() {
    counting().run(async {
        let program = counted(async || {
            call_soon(check_now);
            let cancelled = [call_soon(|| unreachable!()), call_later(ms(1), || unreachable!())];
            assert!(cancelled.iter().all(CallHandle::cancel));
            call_later(ms(1), check_now);
            let task = spawn(ready(()));
            task.add_done_callback(|_| check_now());
            call_soon(fail);
            sleep(ms(2)).await;
        });
        let expected = [
            ("callbacks", 4),
            ("wakes", 1),
            ("wakes_queued", 1),
            ("spawned", 1),
            ("finished", 1),
            ("timers_armed", 3),
            ("timers_fired", 2),
            ("timers_cancelled", 1),
        ];
        assert_eq!(program.await, expected);
    });
}

#[test]
fn count_tasks_by_their_ends() {
    counting().run(async {
        let program = counted(async || {
            spawn(ready(())).await.unwrap();
            spawn(async { fail() }).await.unwrap_err();
            // Cancelled while it waits, before it has begun, in a step that suspends, and in its
            // last step.
            let waits = spawn(pending::<()>());
            yield_now().await;
            waits.cancel();
            let new = spawn(ready(()));
            new.cancel();
            let cancel_this = || _ = current_task().unwrap().cancel();
            let suspends = spawn(async move {
                cancel_this();
                pending::<()>().await;
            });
            let returns = spawn(async move { cancel_this() });
            // This task panics while it unwinds.
            let panics = spawn(async {
                let _panics = on_drop(fail);
                pending::<()>().await;
            });
            // This task goes on after `uncancel`.
            let goes_on = spawn(yield_now());
            goes_on.cancel();
            goes_on.uncancel();
            let caught = spawn(async { assert!(catch_cancel(pending::<()>()).await.is_err()) });
            yield_now().await;
            panics.cancel();
            caught.cancel();
            for _ in 0..4 {
                yield_now().await;
            }
            for cancelled in [waits, new, suspends, returns] {
                assert!(cancelled.is_cancelled());
            }
            assert!(panics.is_done() && goes_on.result().is_ok() && caught.result().is_ok());
        });
        let ends: Vec<_> = program
            .await
            .into_iter()
            .filter(|(name, _)| ["spawned", "finished", "cancelled", "panicked"].contains(name))
            .collect();
        assert_eq!(ends, [("spawned", 9), ("finished", 3), ("cancelled", 4), ("panicked", 2)]);
        assert_eq!(metrics().alive, 1);
    });
}

#[test]
fn count_wakes_of_cancellations() {
    counting().run(async {
        let waits = spawn(pending::<()>());
        yield_now().await;
        let first = counted(async || _ = waits.cancel());
        assert_eq!(first.await, [("wakes", 1), ("wakes_queued", 1)]);
        let again = counted(async || _ = waits.cancel());
        assert_eq!(again.await, [("wakes", 1), ("wakes_merged", 1)]);
        yield_now().await;
        let late = counted(async || assert!(!waits.cancel()));
        assert_eq!(late.await, []);
        // The cancellation goes on to the awaited task. The end of the awaited task wakes the task
        // that awaits it.
        let inner = spawn(pending::<()>());
        let outer = spawn(inner.into_future());
        yield_now().await;
        let both = counted(async || {
            outer.cancel();
            yield_now().await;
            yield_now().await;
        });
        assert_eq!(both.await, [("wakes", 4), ("wakes_queued", 4), ("cancelled", 2)]);
    });
}

#[test]
fn count_timers() {
    counting().run(async {
        let fires = counted(async || sleep(ms(1)).await);
        let expected = [("wakes", 1), ("wakes_queued", 1), ("timers_armed", 1), ("timers_fired", 1)];
        assert_eq!(fires.await, expected);
        // A deadline that has passed needs no timer.
        let passed = counted(async || sleep(Duration::ZERO).await);
        assert_eq!(passed.await, [("wakes", 1), ("wakes_queued", 1)]);
        // A sleep that is never polled needs no timer either.
        assert_eq!(counted(async || drop(sleep(ms(1)))).await, []);
        let dropped = counted(async || {
            let mut asleep = sleep(ms(1));
            assert!(poll!(&mut asleep).is_pending());
            assert_eq!(metrics().timers_pending, 1);
        });
        assert_eq!(dropped.await, [("timers_armed", 1), ("timers_cancelled", 1)]);
        let reset = counted(async || {
            let mut asleep = sleep(ms(1));
            for n in 2..5 {
                assert!(poll!(&mut asleep).is_pending());
                asleep.reset(time() + ms(n));
                check_now();
            }
        });
        assert_eq!(reset.await, [("timers_armed", 3), ("timers_cancelled", 3)]);
        let in_time = counted(async || timeout(ms(1), ready(())).await.unwrap());
        assert_eq!(in_time.await, [("timers_armed", 1), ("timers_cancelled", 1)]);
        let never = spawn(sleep(Duration::MAX));
        yield_now().await;
        assert_eq!(metrics().timers_pending, 1);
        never.cancel();
        assert!(never.await.is_err());
        assert_eq!(metrics().timers_pending, 0);
    });
}

/// Two timers are due at the same time. The callback of the first cancels the second.
#[test]
fn cancel_a_timer_that_is_due() {
    counting().run(async {
        let second: Rc<Cell<Option<CallHandle>>> = Rc::default();
        let copy = second.clone();
        let before = metrics();
        call_later(ms(1), move || {
            assert_eq!(metrics().timers_pending, 2);
            assert!(copy.take().unwrap().cancel());
            check_now();
        });
        second.set(Some(call_later(ms(1), || unreachable!())));
        sleep(ms(1)).await;
        let after = metrics();
        check(&after);
        assert_eq!(
            (after.timers_fired - before.timers_fired, after.timers_cancelled - before.timers_cancelled),
            (2, 1)
        );
    });
}

/// A sleep may be dropped on another thread. The loop receives the drop in its next turn.
#[test]
fn drop_a_sleep_on_another_thread() {
    let event_loop = counting();
    let asleep = event_loop.run(async {
        let mut asleep = sleep(ms(5));
        assert!(poll!(&mut asleep).is_pending());
        Some(asleep)
    });
    thread::spawn(move || drop(asleep)).join().unwrap();
    event_loop.turn();
    let after = event_loop.metrics();
    check(&after);
    assert_eq!((after.timers_armed, after.timers_cancelled), (1, 1));
}

/// The thread does not park in three cases: there is nothing to wait for, the virtual clock jumps,
/// or there is a deadlock.
#[test]
fn count_parks() {
    let event_loop = counting();
    event_loop.run(async {
        sleep(ms(1000)).await;
        yield_now().await;
    });
    assert!(event_loop.try_run(pending::<()>()).is_err());
    assert_eq!(event_loop.metrics().parks, 0);

    let event_loop = EventLoop::builder().metrics(true).debug(false).build();
    event_loop.run(async {
        for _ in 0..1000 {
            yield_now().await;
        }
    });
    assert_eq!(event_loop.metrics().parks, 0);
    event_loop.run(async { sleep(ms(20)).await });
    let parks = event_loop.metrics().parks;
    assert!((1..20).contains(&parks), "{parks} parks in one sleep");
}

/// The loop is asleep when it is woken, so it must have parked at least once.
#[test]
fn park_until_a_thread_wakes() {
    watched(|| {
        for clock in [Clock::Virtual, Clock::Real] {
            let event_loop = EventLoop::builder().clock(clock).metrics(true).build();
            let post = Post::new();
            let (copy, is_first) = (post.clone(), Arc::new(AtomicBool::new(true)));
            let first = is_first.clone();
            let thread = thread::spawn(move || {
                await_that(|| copy.has_waker());
                thread::sleep(ms(20));
                first.store(false, Ordering::SeqCst);
                copy.open();
            });
            event_loop.run(async {
                post.wait().await;
                assert!(!is_first.load(Ordering::SeqCst));
            });
            thread.join().unwrap();
            let after = event_loop.metrics();
            check(&after);
            assert_eq!((after.wakes_foreign, after.wakes_queued, after.steps), (1, 1, 2));
            assert!(after.parks <= 2, "{} parks for one wake", after.parks);
        }
    });
}

#[test]
fn tell_the_longest_step() {
    let event_loop = EventLoop::builder().clock(Clock::Virtual).debug(true).slow_step(Duration::MAX).build();
    let line = line!() + 4;
    event_loop.run(async {
        let long = spawn(async {
            thread::sleep(ms(10));
            sleep(ms(1)).await;
        });
        long.set_name("long");
        long.await.unwrap();
        let longest = metrics().longest_step.unwrap();
        assert_eq!((&*longest.name, longest.at.line()), ("long", line), "{longest:?}");
        assert!(longest.took >= ms(10));
    });
    let unwatched = counting();
    unwatched.run(yield_now());
    assert_eq!(unwatched.metrics().longest_step, None);
}

// ---- loops with and without metrics ----

#[test]
fn ask_a_loop_that_does_not_count() {
    let event_loop = EventLoop::builder().debug(false).build();
    let told = "was called, but this loop does not count; build it with EventLoop::builder().metrics(true)";
    assert_eq!(panic_of(|| event_loop.metrics()), format!("EventLoop::metrics() {told}"));
    assert_eq!(panic_of(|| event_loop.run(async { metrics() })), format!("metrics() {told}"));
    assert!(panic_of(metrics).starts_with("metrics() was called, but there is no running event loop"));
    // A loop in debug mode counts.
    let in_debug = EventLoop::builder().debug(true).build();
    assert_eq!(in_debug.run(async { metrics().spawned }), 1);
}

/// Counts go on from run to run, and each loop has its own.
#[test]
fn count_from_the_making_of_the_loop_on() {
    let loops = [counting(), counting()];
    for run in 1..=3 {
        loops[0].run(yield_now());
        assert_eq!(loops[0].metrics().spawned, run);
    }
    assert_eq!(loops[1].metrics().spawned, 0);
}

/// The destructors of tasks, callbacks and timers check the laws at the end of a loop.
#[test]
fn look_while_the_loop_is_dropped() {
    let looks = Rc::new(Cell::new(0));
    let look = |looks: &Rc<Cell<u32>>| {
        let looks = looks.clone();
        on_drop(move || {
            check_now();
            looks.set(looks.get() + 1);
        })
    };
    let event_loop = counting();
    let [task, timer, later, soon] = [(); 4].map(|()| look(&looks));
    event_loop.run(async move {
        drop(task);
        let asleep = sleep(ms(5));
        call_later(ms(10), move || drop(timer));
        call_later(Duration::MAX, move || drop((later, asleep)));
    });
    drop(event_loop.spawn(async move {
        let _look = soon;
        finally(pending::<()>(), sleep(ms(1))).await;
    }));
    let callback = look(&looks);
    event_loop.call_soon(move || drop(callback));
    let kept = look(&looks);
    event_loop.call_soon(|| ());
    event_loop.turn();
    event_loop.call_soon(move || drop(kept));
    drop(event_loop);
    assert_eq!(looks.get(), 6);
}

// ---- random programs ----

/// xorshift64*
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }
}

/// What the tasks of a random program share.
struct World {
    random: RefCell<Random>,
    wakers: RefCell<Vec<Waker>>,
    tasks: RefCell<Vec<TaskRef>>,
    joins: RefCell<Vec<Task<()>>>,
    callbacks: RefCell<Vec<CallHandle>>,
    sleeps: RefCell<Vec<Sleep>>,
    lock: Rc<Lock>,
    event: Rc<Event>,
    spawned: Cell<u64>,
    /// The number of callbacks and destructors in which the laws were checked.
    looks: Cell<u64>,
    broken: RefCell<Vec<String>>,
    /// Set before the last run of the loop. From then on `keep` stores no more wakers.
    is_over: Cell<bool>,
}

type Acting = Pin<Box<dyn Future<Output = ()>>>;

impl World {
    fn new(seed: u64) -> Rc<Self> {
        Rc::new(World {
            random: RefCell::new(Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)),
            wakers: RefCell::default(),
            tasks: RefCell::default(),
            joins: RefCell::default(),
            callbacks: RefCell::default(),
            sleeps: RefCell::default(),
            lock: Rc::default(),
            event: Rc::default(),
            spawned: Cell::new(0),
            looks: Cell::new(0),
            broken: RefCell::default(),
            is_over: Cell::new(false),
        })
    }

    fn below(&self, limit: usize) -> usize {
        self.random.borrow_mut().below(limit)
    }

    fn pick<T: Clone>(&self, from: &RefCell<Vec<T>>) -> Option<T> {
        let len = from.borrow().len();
        if len == 0 { None } else { Some(from.borrow()[self.below(len)].clone()) }
    }

    fn take<T>(&self, from: &RefCell<Vec<T>>) -> Option<T> {
        let len = from.borrow().len();
        if len == 0 { None } else { Some(from.borrow_mut().swap_remove(self.below(len))) }
    }

    fn time(&self) -> Duration {
        ms(self.below(4) as u64)
    }

    /// Checks the laws, and records a violation. A panic would be caught by the program.
    fn look(&self) {
        self.broken.borrow_mut().extend(broken(&metrics()));
        self.looks.set(self.looks.get() + 1);
    }

    fn spawn(self: &Rc<Self>, future: impl Future<Output = ()> + 'static) -> Task<()> {
        let task = spawn(future);
        self.entered(&task);
        task
    }

    fn entered(&self, task: &Task<()>) {
        self.spawned.set(self.spawned.get() + 1);
        self.tasks.borrow_mut().push(task.task_ref());
    }

    fn keep(&self, waker: Waker) {
        if !self.is_over.get() {
            self.wakers.borrow_mut().push(waker);
        }
    }

    fn wake_any(&self) {
        if let Some(waker) = self.pick(&self.wakers) {
            waker.wake();
        }
    }

    /// Keeps its waker, and waits for a wake of any source.
    fn keep_waker(self: &Rc<Self>) -> impl Future<Output = ()> + use<> {
        let world = self.clone();
        let mut kept = false;
        poll_fn(move |context| {
            if std::mem::replace(&mut kept, true) {
                return Poll::Ready(());
            }
            world.keep(context.waker().clone());
            Poll::Pending
        })
    }

    /// A future that makes several waits.
    fn acting(self: &Rc<Self>, depth: usize) -> Acting {
        let world = self.clone();
        Box::pin(async move {
            let _look = world.looker(depth);
            for _ in 0..world.below(5) {
                world.act(depth).await;
                world.look();
            }
        })
    }

    /// Checks the laws when it is dropped, and in some cases wakes a task first.
    fn looker(self: &Rc<Self>, depth: usize) -> impl Drop + use<> {
        let world = self.clone();
        on_drop(move || {
            if depth % 2 == 0 {
                world.wake_any();
            }
            world.look();
            if !thread::panicking() && world.below(40) == 0 {
                fail();
            }
        })
    }

    async fn act(self: &Rc<Self>, depth: usize) {
        let world = self.clone();
        let deeper = || if depth < 4 { self.acting(depth + 1) } else { Box::pin(yield_now()) };
        match self.below(30) {
            0 | 1 => drop(self.spawn(deeper())),
            2 => {
                let task = self.spawn(deeper());
                self.joins.borrow_mut().push(task);
            }
            3 => drop(self.spawn(deeper()).await),
            4 => {
                let tasks = [(); 3].map(|()| self.spawn(deeper()));
                drop(gather(tasks).await);
            }
            5 | 6 => yield_now().await,
            7 => {
                let mut polls = 0;
                let wakes = self.below(4);
                let pause = poll_fn(|context| {
                    (0..wakes).for_each(|_| context.waker().wake_by_ref());
                    world.look();
                    polls += 1;
                    if polls > 2 || wakes == 0 { Poll::Ready(()) } else { Poll::Pending }
                });
                pause.await;
            }
            8 => self.keep_waker().await,
            9 | 10 => self.wake_any(),
            11 => {
                let waker = self.pick(&self.wakers);
                thread::spawn(move || waker.into_iter().for_each(Waker::wake)).join().unwrap();
            }
            12 => sleep(self.time()).await,
            13 => {
                let mut asleep = sleep(self.time());
                let _is_over = poll!(&mut asleep);
                self.sleeps.borrow_mut().push(asleep);
            }
            14 => {
                let asleep = self.take(&self.sleeps);
                match (asleep, self.below(3)) {
                    (Some(mut asleep), 0) => {
                        asleep.reset(time() + self.time());
                        self.sleeps.borrow_mut().push(asleep);
                    }
                    (Some(asleep), 1) => asleep.await,
                    (Some(asleep), _) => thread::spawn(move || drop(asleep)).join().unwrap(),
                    (None, _) => {}
                }
            }
            15 => _ = timeout(self.time(), deeper()).await,
            16 | 17 => {
                if let Some(task) = self.pick(&self.tasks) {
                    task.cancel();
                }
            }
            18 => {
                if let Some(task) = self.pick(&self.tasks) {
                    task.cancel();
                    world.look();
                    if self.below(2) == 0 {
                        yield_now().await;
                    }
                    task.uncancel();
                }
            }
            19 => {
                if self.below(2) == 0 {
                    fail();
                }
            }
            20 => {
                let cleanup = world.acting(depth + 3);
                finally(deeper(), cleanup).await;
            }
            21 => {
                let callback = call_soon(move || {
                    world.wake_any();
                    world.look();
                    if world.below(5) == 0 {
                        fail();
                    }
                });
                self.callbacks.borrow_mut().push(callback);
            }
            22 => {
                let callback = call_later(self.time(), move || {
                    world.look();
                    if let Some(task) = world.pick(&world.tasks) {
                        task.cancel();
                    }
                    world.look();
                });
                self.callbacks.borrow_mut().push(callback);
            }
            23 => {
                let callback = self.take(&self.callbacks);
                _ = callback.map(|callback| callback.cancel());
            }
            24 => {
                let waker = own_waker().await;
                waker.wake_by_ref();
                self.keep(waker);
            }
            25 => {
                let this = current_task();
                let join = self.take(&self.joins).filter(|task| Some(task.task_ref()) != this);
                match (join, self.below(3)) {
                    (Some(task), 0) => drop(task.await),
                    (Some(task), 1) => match select(task.into_future(), sleep(self.time())).await {
                        // The join was begun here and goes on in another task.
                        Either::Right((_, join)) => drop(self.spawn(async move { drop(join.await) })),
                        Either::Left(_) => {}
                    },
                    (Some(task), _) => drop(shield(task).await),
                    (None, _) => {}
                }
            }
            26 => {
                let _guard = self.lock.lock().await;
                yield_now().await;
            }
            27 => match self.below(3) {
                0 => self.event.set(),
                1 => self.event.clear(),
                _ => self.event.wait().await,
            },
            28 => drop(catch_cancel(deeper()).await),
            _ => {
                let world = self.clone();
                let group = task_group(async move |group| {
                    let child = world.acting(depth + 2);
                    let task = group.spawn(child);
                    world.entered(&task);
                });
                drop(join(group, yield_now()).await);
            }
        }
    }
}

/// Runs one random program. Returns the number of checks, and the counters at its end.
fn run_program(seed: u64) -> (u64, Metrics) {
    let world = World::new(seed);
    let copy = world.clone();
    let handler = move |_: &Exception| copy.look();
    let builder = EventLoop::builder().clock(Clock::Virtual).metrics(true).exception_handler(handler);
    let event_loop = builder.debug(seed % 4 == 3).deadlock_handler(|_| ()).slow_step(Duration::MAX).build();
    let (mut turns, mut steps, mut timers) = (0, 0, 0);
    let turn = |world: &World| {
        let turn = event_loop.turn();
        check(&event_loop.metrics());
        assert!(turn.tasks as u64 <= world.spawned.get());
        (turn.steps as u64, turn.timers as u64)
    };
    for nth in 0..60 {
        // Some events happen outside of turns.
        if nth % 10 == 0 {
            let task = event_loop.spawn(world.acting(0));
            world.entered(&task);
        }
        match world.below(6) {
            0 => world.wake_any(),
            1 => _ = world.pick(&world.tasks).map(|task| task.cancel()),
            2 => {
                let waker = world.pick(&world.wakers);
                thread::spawn(move || waker.into_iter().for_each(Waker::wake)).join().unwrap();
            }
            3 => drop(world.take(&world.sleeps)),
            _ => {}
        }
        check(&event_loop.metrics());
        let (of_turn, fired) = turn(&world);
        (turns, steps, timers) = (turns + 1, steps + of_turn, timers + fired);
        let now = event_loop.metrics();
        assert_eq!((now.turns, now.steps, now.timers_fired), (turns, steps, timers), "seed {seed}");
        assert_eq!((now.spawned, now.alive), (world.spawned.get(), event_loop.all_tasks().len() as u64), "seed {seed}");
        let ends = |is: fn(&TaskRef) -> bool| world.tasks.borrow().iter().filter(|task| is(task)).count() as u64;
        assert_eq!(now.cancelled, ends(|task| task.is_cancelled()), "seed {seed}");
        assert_eq!(now.spawned - now.alive, ends(|task| task.is_done()), "seed {seed}");
    }
    // At the end of a run all tasks end, except cleanups that a kept waker could still wake.
    world.joins.take();
    world.is_over.set(true);
    world.wakers.take();
    event_loop.run(async { world.look() });
    let after = event_loop.metrics();
    check(&after);
    assert_eq!((after.alive, after.spawned), (0, world.spawned.get() + 1), "seed {seed}");
    // The sleeps hold the last timers of the loop, and are dropped before the last check.
    world.sleeps.take();
    event_loop.turn();
    check(&event_loop.metrics());
    drop(event_loop);
    assert_eq!(world.broken.take(), [""; 0], "seed {seed}");
    (world.looks.get(), after)
}

/// The laws hold in each turn, task, callback and destructor.
#[test]
fn keep_the_laws_in_random_programs() {
    watched(|| {
        let mut sums = [0; 12];
        for seed in 0..300 {
            let (looks, now) = run_program(seed);
            let parts = [
                looks,
                now.spawned,
                now.finished,
                now.cancelled,
                now.panicked,
                now.callbacks,
                now.wakes_queued,
                now.wakes_merged,
                now.wakes_late,
                now.wakes_foreign,
                now.timers_fired,
                now.timers_cancelled,
            ];
            sums.iter_mut().zip(parts).for_each(|(sum, part)| *sum += part);
        }
        // The programs cause many events of each kind.
        assert!(sums.iter().all(|&sum| sum > 200), "{sums:?}");
    });
}

#[test]
fn count_the_same_again() {
    for seed in [1, 5, 6] {
        assert_eq!(run_program(seed).1, run_program(seed).1);
    }
}

/// Setting a promise counts as one wake for each waiting task. The other two wakes are yields.
#[test]
fn count_waits_of_a_promise() {
    counting().run(async {
        let promise = Promise::new();
        let tasks = [(); 3].map(|()| {
            let promise = promise.clone();
            spawn(async move { (&promise).await.unwrap() })
        });
        yield_now().await;
        let set = counted(async || {
            promise.set_result(5).unwrap();
            yield_now().await;
            yield_now().await;
        });
        let wakes: Vec<_> = set.await.into_iter().filter(|(name, _)| name.starts_with("wakes")).collect();
        assert_eq!(wakes, [("wakes", 5), ("wakes_queued", 5)]);
        assert!(tasks.iter().all(Task::is_done));
    });
}
