//! Bugs of other executors in the lifetimes of loops, tasks and wakers: what is dropped when,
//! where, and how often.

mod common;

use common::{Census, OnDrop, Post, Trace, alone, await_that, ms, on_drop, telling_loop, virtual_loop, watched};
use futures_util::poll;
use onelane::{
    EventLoop, LoopRef, Task, TaskError, all_tasks, call_later, call_soon, current_task, finally, gather, sleep, spawn,
    wait, yield_now,
};
use std::cell::{Cell, RefCell};
use std::future::pending;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::thread;

/// smol-rs/async-executor#163: the executor was freed after a wake was published and before the
/// waking function returned.
#[test]
fn wake_elsewhere_while_the_loop_is_dropped() {
    watched(|| {
        let census = Census::new();
        for _ in 0..50 {
            let event_loop = EventLoop::new();
            let post = Post::new();
            let (wait, member) = (post.wait(), census.member());
            drop(event_loop.spawn(async move {
                let _member = member;
                wait.await;
            }));
            event_loop.turn();
            let (waker, stop) = (post.waker(), Arc::new(AtomicBool::new(false)));
            let thread = thread::spawn({
                let stop = stop.clone();
                move || {
                    let mut wakes = 0u32;
                    while !stop.load(Ordering::SeqCst) || wakes == 0 {
                        let clone = waker.clone();
                        waker.wake_by_ref();
                        clone.wake();
                        wakes += 1;
                    }
                    wakes
                }
            });
            event_loop.turn();
            event_loop.turn();
            drop(event_loop);
            stop.store(true, Ordering::SeqCst);
            assert!(thread.join().unwrap() > 0);
        }
        assert_eq!(census.counts(), (50, 50));
    });
}

/// compio-rs/compio#850: a waker used the executor's memory after it was freed.
#[test]
fn drop_the_loop_and_use_its_wakers_on_both_threads() {
    let event_loop = virtual_loop();
    let posts: Vec<Post> = (0..10).map(|_| Post::new()).collect();
    let tasks: Vec<_> = posts.iter().map(|post| event_loop.spawn(post.wait())).collect();
    event_loop.turn();
    posts[3].open();
    event_loop.turn();
    drop(event_loop);
    let wakers: Vec<Waker> = posts.iter().map(Post::waker).collect();
    let use_all = |wakers: Vec<Waker>| {
        for (nth, waker) in wakers.iter().enumerate() {
            let clone = waker.clone();
            clone.wake_by_ref();
            assert!(clone.will_wake(waker));
            assert_eq!(wakers.iter().filter(|other| other.will_wake(waker)).count(), 1, "waker {nth}");
            clone.wake();
        }
    };
    thread::spawn({
        let wakers = wakers.clone();
        move || use_all(wakers)
    })
    .join()
    .unwrap();
    use_all(wakers);
    let done: Vec<bool> = tasks.iter().map(|task| task.is_cancelled()).collect();
    let expected: Vec<bool> = (0..10).map(|nth| nth != 3).collect();
    assert_eq!(done, expected);
    assert_eq!(posts.iter().map(Post::polls).collect::<Vec<_>>(), [1, 1, 1, 2, 1, 1, 1, 1, 1, 1]);
}

/// compio-rs/compio#494, #512, #513: a `!Send` future was dropped on the thread that dropped the
/// last waker.
#[test]
fn drop_the_last_waker_elsewhere_and_the_future_here() {
    let (census, here) = (Census::new(), thread::current().id());
    let event_loop = virtual_loop();
    let post = Post::new();
    let task = event_loop.spawn({
        let (wait, member, not_send) = (post.wait(), census.member(), Rc::new(()));
        async move {
            let _all = (member, not_send);
            wait.await;
        }
    });
    event_loop.turn();
    drop(task);
    let waker = post.waker();
    thread::spawn(move || {
        drop(post);
        waker.wake_by_ref();
        drop(waker);
    })
    .join()
    .unwrap();
    assert_eq!(census.counts(), (1, 0));
    event_loop.turn();
    assert_eq!(census.counts(), (1, 0));
    drop(event_loop);
    assert_eq!(census.dropped_on(), [here]);
}

/// compio-rs/compio#489: a waker that was dropped late created a reference cycle again, and the
/// task leaked.
#[test]
fn park_on_its_own_waker_and_drop_the_loop() {
    let census = Census::new();
    let event_loop = virtual_loop();
    let kept = Rc::new(RefCell::new(None));
    for _ in 0..3 {
        let (member, kept) = (census.member(), kept.clone());
        drop(event_loop.spawn(async move {
            let _member = member;
            let mut own = None;
            std::future::poll_fn::<(), _>(|context| {
                own = Some(context.waker().clone());
                *kept.borrow_mut() = own.clone();
                std::task::Poll::Pending
            })
            .await;
        }));
    }
    event_loop.turn();
    assert_eq!(census.counts(), (3, 0));
    drop(event_loop);
    assert_eq!(census.counts(), (3, 3));
    kept.take().unwrap().wake();
    assert_eq!(census.counts(), (3, 3));
}

/// END-1. compio-rs/compio#936, #937: a destructor woke other tasks while the list of tasks was
/// being walked.
#[test]
fn wake_all_siblings_in_destructors_at_shutdown() {
    for forward in [true, false] {
        let (census, trace) = (Census::new(), Trace::new());
        let event_loop = virtual_loop();
        let posts: Vec<Post> = (0..4).map(|_| Post::new()).collect();
        for nth in 0..4 {
            let (wait, all, member, trace) = (posts[nth].wait(), posts.clone(), census.member(), trace.clone());
            drop(event_loop.spawn(async move {
                let _member = member;
                let _wake = on_drop(move || {
                    trace.push(format!("drop {nth}"));
                    let wake = |post: &Post| post.waker().wake();
                    if forward { all.iter().for_each(wake) } else { all.iter().rev().for_each(wake) }
                });
                wait.await;
            }));
        }
        event_loop.turn();
        drop(event_loop);
        assert_eq!(trace.take(), ["drop 0", "drop 1", "drop 2", "drop 3"]);
        assert_eq!(census.counts(), (4, 4));
        assert_eq!(posts.iter().map(Post::polls).collect::<Vec<_>>(), [1, 1, 1, 1]);
    }
}

/// WAKE-1. compio-rs/compio#502: a destructor spawned into a slot that was being freed, and the
/// wrong task was removed.
#[test]
fn spawn_in_a_destructor_and_keep_both_slots_apart() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let spawned = Rc::new(RefCell::new(Vec::new()));
        for round in 0..100 {
            let (slot, at_drop, at_run) = (spawned.clone(), trace.clone(), trace.clone());
            let doomed = spawn(async move {
                let _spawn = on_drop(move || {
                    at_drop.push(format!("drop {round}"));
                    slot.borrow_mut().push(spawn(async move {
                        yield_now().await;
                        at_run.push(format!("run {round}"));
                        round
                    }));
                });
                pending::<()>().await;
            });
            yield_now().await;
            doomed.cancel();
            assert_eq!((&doomed).await, Err(TaskError::Cancelled));
            let late = spawned.borrow_mut().pop().unwrap();
            assert!(!late.is_done());
            assert_eq!(late.await, Ok(round));
            assert_eq!(trace.take(), [format!("drop {round}"), format!("run {round}")]);
            assert_eq!(all_tasks(), [current_task().unwrap()]);
        }
    });
}

/// END-1. tokio-rs/tokio#1842: dropping a runtime with living tasks reached an `unreachable!`.
#[test]
fn drop_the_loop_with_tasks_in_every_state() {
    let census = Census::new();
    let event_loop = virtual_loop();
    let (parked, woken) = (Post::new(), Post::new());
    let counted = |future: std::pin::Pin<Box<dyn Future<Output = ()>>>| {
        let member = census.member();
        event_loop.spawn(async move {
            future.await;
            member
        })
    };
    let finished = counted(Box::pin(async {}));
    let taken = counted(Box::pin(async {}));
    let waits = [counted(Box::pin(parked.wait())), counted(Box::pin(woken.wait()))];
    let asleep = counted(Box::pin(async { pending::<()>().await }));
    let yielding = counted(Box::pin(async {
        loop {
            yield_now().await;
        }
    }));
    event_loop.turn();
    woken.waker().wake();
    let cancelled = counted(Box::pin(pending()));
    cancelled.cancel();
    let never_polled = counted(Box::pin(async {}));
    let states: Vec<bool> = [&finished, &taken, &waits[0], &waits[1], &asleep, &yielding, &cancelled, &never_polled]
        .map(|task| task.is_done())
        .to_vec();
    assert_eq!(states, [true, true, false, false, false, false, false, false]);
    assert_eq!(census.counts(), (8, 0));
    drop(event_loop);
    assert_eq!(census.counts(), (8, 6));
    for task in [&waits[0], &waits[1], &asleep, &yielding, &cancelled, &never_polled] {
        assert!(task.is_cancelled() && !task.cancel());
    }
    drop(finished);
    assert_eq!(census.counts(), (8, 7));
    drop(taken);
    assert_eq!(census.counts(), (8, 8));
}

/// tokio-rs/tokio#1885, #1892: dropping the set looped for ever if the sender of a channel was
/// dropped first.
#[test]
fn drop_the_sender_first_and_the_loop_ends() {
    watched(|| {
        let census = Census::new();
        for sender_first in [true, false] {
            let event_loop = virtual_loop();
            let (sender, receiver) = coupled(&census);
            let receiving = event_loop.spawn(receiver);
            let sending = event_loop.spawn(sender);
            event_loop.turn();
            if sender_first {
                sending.cancel();
            } else {
                receiving.cancel();
            }
            drop(event_loop);
            assert!(sending.is_cancelled() && receiving.is_cancelled());
        }
        assert_eq!(census.counts(), (4, 4));
    });
}

type Coupled = std::pin::Pin<Box<dyn Future<Output = ()>>>;

/// Two futures that are coupled like the ends of a channel: the destructor of one wakes the other.
fn coupled(census: &Census) -> (Coupled, Coupled) {
    let (one, two) = (Post::new(), Post::new());
    let end = |own: &Post, other: &Post| -> Coupled {
        let (wait, other, member) = (own.wait(), other.clone(), census.member());
        Box::pin(async move {
            let _wake = on_drop(move || {
                if other.has_waker() {
                    other.open();
                }
                drop(member);
            });
            wait.await;
            pending().await
        })
    };
    (end(&one, &two), end(&two, &one))
}

/// tokio-rs/tokio#5162, #4976, #593, bytedance/monoio#257: a loop in a thread-local was dropped
/// after other thread-locals.
#[test]
fn end_the_thread_of_a_loop_in_a_thread_local() {
    type Kept = RefCell<Option<(Waker, OnDrop<Box<dyn FnOnce()>>)>>;
    thread_local! {
        static EARLY: Kept = const { RefCell::new(None) };
        static LOOP: RefCell<Option<EventLoop>> = const { RefCell::new(None) };
        static LATE: Kept = const { RefCell::new(None) };
    }
    for loop_first in [true, false] {
        let census = Census::new();
        let thread = thread::spawn({
            let census = census.clone();
            move || {
                let post = Post::new();
                let make = || {
                    let event_loop = virtual_loop();
                    for _ in 0..3 {
                        let (wait, member) = (post.wait(), census.member());
                        drop(event_loop.spawn(async move {
                            let _late = on_drop(move || {
                                // The thread may be ending. The loop's own thread-locals must still
                                // exist.
                                assert!(EventLoop::try_current().is_ok());
                                drop(spawn(pending::<()>()));
                                drop(member);
                            });
                            futures_util::future::join(wait, sleep(ms(5))).await;
                        }));
                    }
                    event_loop.turn();
                    LOOP.set(Some(event_loop));
                };
                let keep = |kept: &'static thread::LocalKey<Kept>| {
                    let (waker, member) = (post.waker(), census.member());
                    let act: Box<dyn FnOnce()> = Box::new(move || {
                        waker.wake();
                        assert!(EventLoop::try_current().is_err());
                        drop(member);
                    });
                    kept.set(Some((post.waker(), on_drop(act))));
                };
                // The destructors of thread-locals are registered at first use. The order in which
                // they run may differ.
                if loop_first {
                    LOOP.with(|_| ());
                    EARLY.with(|_| ());
                } else {
                    EARLY.with(|_| ());
                    LOOP.with(|_| ());
                }
                make();
                keep(&EARLY);
                keep(&LATE);
                assert_eq!(census.counts(), (5, 0));
                thread::current().id()
            }
        });
        let id = thread.thread().id();
        assert_eq!(thread.join().unwrap(), id);
        assert_eq!(census.counts(), (5, 5));
        assert_eq!(census.dropped_on(), [id; 5]);
    }
}

/// A program exits inside a turn. The destructors of thread-locals run, also the destructor of the
/// loop. It must not panic, and must not end tasks while one of them is being stepped.
#[test]
fn exit_in_a_turn_and_give_the_code() {
    type Last = OnDrop<Box<dyn FnOnce()>>;
    type Way = (&'static str, fn(&EventLoop));
    const WAY: &str = "ONELANE_TEST_EXITS";
    thread_local! {
        static EARLY: RefCell<Option<Last>> = const { RefCell::new(None) };
        static LOOP: EventLoop = virtual_loop();
        static LATE: RefCell<Option<Last>> = const { RefCell::new(None) };
    }
    fn exit() {
        std::process::exit(3);
    }
    /// Exits in a task, while other tasks are ready or wait.
    async fn exit_beside_others() {
        drop(spawn(async {
            let _member = on_drop(|| println!("dropped"));
            pending::<()>().await;
        }));
        drop(spawn(async {
            loop {
                yield_now().await;
            }
        }));
        yield_now().await;
        exit();
    }
    /// `exit` drops this value, which uses the loop in the thread-local, even if that loop was
    /// already dropped.
    fn last(name: &'static str, home: &LoopRef) -> Option<Last> {
        let task = home.spawn(pending::<()>());
        let home = home.clone();
        Some(on_drop(Box::new(move || {
            task.cancel();
            assert!(home.is_closed() || !home.spawn(async {}).is_done());
            println!("{name}");
        })))
    }
    let ways: [Way; 7] = [
        ("run", |own| own.run(exit_beside_others())),
        ("turn", |own| {
            drop(own.spawn(exit_beside_others()));
            (0..3).for_each(|_| _ = own.turn());
        }),
        ("callback", |own| {
            own.call_soon(exit);
            own.turn();
        }),
        ("enter", |own| own.enter(exit)),
        ("enter another", |own| {
            own.run(async {
                drop(spawn(pending::<()>()));
                let other = virtual_loop();
                other.enter(|| own.enter(|| other.enter(exit)));
            });
        }),
        ("run another", |_| virtual_loop().run(exit_beside_others())),
        ("thread", |_| thread::spawn(|| LOOP.with(|own| own.run(exit_beside_others()))).join().unwrap()),
    ];
    if let Ok(name) = std::env::var(WAY) {
        let (_, way) = ways.iter().find(|(known, _)| *known == name).unwrap();
        EARLY.with(|_| ());
        LOOP.with(|own| {
            EARLY.set(last("early", &own.loop_ref()));
            LATE.set(last("late", &own.loop_ref()));
            way(own);
        });
        unreachable!("it has exited");
    }
    for (name, _) in ways {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        // Leak checks are off, because `exit` leaves memory behind.
        let command =
            command.env(WAY, name).env("ASAN_OPTIONS", "detect_leaks=0").env("LSAN_OPTIONS", "detect_leaks=0");
        let output = command.args(["--exact", "exit_in_a_turn_and_give_the_code", "--nocapture"]).output().unwrap();
        let (told, ran) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
        assert_eq!(output.status.code(), Some(3), "{name}: {}\n{told}", output.status);
        let mut dropped: Vec<&str> = ran.lines().filter(|line| ["early", "late", "dropped"].contains(line)).collect();
        // The order in which thread-locals are dropped depends on the system.
        dropped.sort_unstable();
        // The tasks of a loop that is in a turn are not dropped. The thread-locals of other threads
        // are not dropped either.
        let expected: &[&str] = if name == "thread" { &[] } else { &["early", "late"] };
        assert_eq!((dropped.as_slice(), &*told), (expected, ""), "{name}");
    }
}

/// tokio-rs/tokio#1916, z-galaxy/zbus#380, glommio/glommio#51: a spawn in a destructor during
/// shutdown panicked.
#[test]
fn spawn_in_a_destructor_at_shutdown_and_never_run() {
    let (census, trace) = (Census::new(), Trace::new());
    fn doomed(depth: u32, census: &Census, trace: &Trace) -> impl Future<Output = ()> + 'static {
        let (member, census, trace) = (census.member(), census.clone(), trace.clone());
        async move {
            let _spawn = on_drop(move || {
                trace.push(format!("drop {depth}"));
                drop(member);
                if depth > 0 {
                    drop(spawn(doomed(depth - 1, &census, &trace)));
                }
            });
            trace_never(depth).await;
        }
    }
    /// Only the first task is ever polled. Tasks that are spawned during shutdown are not.
    async fn trace_never(depth: u32) {
        assert_eq!(depth, 20, "a task that was spawned at shutdown was polled");
        pending().await
    }
    // An `async` block that was never polled only drops what it captured, and does not spawn. So
    // each task is made by hand.
    virtual_loop().run(async {
        drop(spawn(doomed(20, &census, &trace)));
        yield_now().await;
    });
    assert_eq!(trace.take(), ["drop 20"]);
    assert_eq!(census.counts(), (2, 2));

    fn chain(depth: u32, census: &Census, trace: &Trace) -> impl Future<Output = ()> + 'static {
        let (member, census, trace) = (census.member(), census.clone(), trace.clone());
        let link = on_drop(move || {
            trace.push(format!("drop {depth}"));
            drop(member);
            if depth > 0 {
                drop(spawn(chain(depth - 1, &census, &trace)));
            }
        });
        async move {
            let _link = link;
            trace_never(depth).await;
        }
    }
    for by_drop in [true, false] {
        let event_loop = virtual_loop();
        drop(event_loop.spawn(chain(20, &census, &trace)));
        event_loop.turn();
        if !by_drop {
            event_loop.run(async {});
            assert_eq!(event_loop.turn().tasks, 0);
        }
        drop(event_loop);
        let expected: Vec<String> = (0..=20).rev().map(|depth| format!("drop {depth}")).collect();
        assert_eq!(trace.take(), expected);
    }
    assert_eq!(census.counts(), (44, 44));
}

/// tokio-rs/tokio#3978: a task that was woken during shutdown stayed in the remote queue, and
/// leaked.
#[test]
fn wake_from_elsewhere_while_shutting_down_and_leak_nothing() {
    watched(|| {
        let census = Census::new();
        let event_loop = virtual_loop();
        let posts: Vec<Post> = (0..3).map(|_| Post::new()).collect();
        for nth in 0..3 {
            let (wait, all, member) = (posts[nth].wait(), posts.clone(), census.member());
            drop(event_loop.spawn(async move {
                let _wake = on_drop(move || {
                    let wakers: Vec<Waker> = all.iter().map(Post::waker).collect();
                    thread::spawn(move || wakers.into_iter().for_each(Waker::wake)).join().unwrap();
                    drop(member);
                });
                wait.await;
            }));
        }
        event_loop.turn();
        drop(event_loop);
        assert_eq!(census.counts(), (3, 3));
        assert_eq!(posts.iter().map(Post::polls).collect::<Vec<_>>(), [1, 1, 1]);
    });
}

/// tokio-rs/tokio#4724, #6505, #6986: two tasks that awaited each other kept each other alive.
#[test]
fn await_each_other_and_drop_everything() {
    for handles_first in [true, false] {
        let census = Census::new();
        let event_loop = virtual_loop();
        let handles: Rc<RefCell<Vec<Task<()>>>> = Rc::default();
        for nth in 0..2 {
            let (handles_of, member) = (handles.clone(), census.member());
            let task = event_loop.spawn(async move {
                let _member = member;
                let other = (&handles_of.borrow()[1 - nth]).into_future();
                let _ = other.await;
            });
            handles.borrow_mut().push(task);
        }
        event_loop.turn();
        assert_eq!(census.counts(), (2, 0));
        if handles_first {
            handles.borrow_mut().clear();
            drop(event_loop);
        } else {
            drop(event_loop);
            handles.borrow_mut().clear();
        }
        assert_eq!(census.counts(), (2, 2));
    }
}

/// tokio-rs/tokio#5861, redbadger/crux#268, udoprog/unicycle#30, DataDog/glommio#110,
/// rust-lang/rust#122180: a waker stored in the future itself kept memory alive.
#[test]
fn store_its_own_waker_and_end_in_each_way() {
    let census = Census::new();
    for way in ["return", "cancel", "panic", "loop dropped"] {
        let (event_loop, told) = telling_loop();
        let post = Post::new();
        let (own, member, wait) = (post.clone(), census.member(), post.wait());
        // The output holds the waker as well, through the post.
        let task = event_loop.spawn(async move {
            let all = (own, member);
            wait.await;
            assert!(way != "panic", "oh");
            all
        });
        event_loop.turn();
        match way {
            "cancel" => assert!(task.cancel()),
            "loop dropped" => {}
            _ => post.open(),
        }
        event_loop.turn();
        event_loop.turn();
        assert_eq!(task.is_done(), way != "loop dropped", "{way}");
        let before = census.counts().0;
        assert_eq!(census.counts().1, before - usize::from(matches!(way, "return" | "loop dropped")), "{way}");
        drop(task);
        drop(event_loop);
        assert_eq!(census.counts(), (before, before), "{way}");
        let expected: &[&str] =
            if way == "panic" { &["a task panicked and its result was never read: oh"] } else { &[] };
        assert_eq!(told.take(), expected);
    }
    assert_eq!(census.counts(), (4, 4));
}

/// DataDog/glommio#404: memory leaked if the handle and the waker were dropped in one certain
/// order.
#[test]
fn drop_handle_waker_end_and_loop_in_every_order() {
    #[derive(Clone, Copy, PartialEq, Debug)]
    enum Act {
        Handle,
        Waker,
        End,
        Loop,
    }
    use Act::{End, Handle, Loop, Waker};
    let census = Census::new();
    let all = [Handle, Waker, End, Loop];
    let mut orders = Vec::new();
    for a in all {
        for b in all {
            for c in all {
                for d in all {
                    let order = [a, b, c, d];
                    if all.iter().all(|act| order.contains(act)) {
                        orders.push(order);
                    }
                }
            }
        }
    }
    assert_eq!(orders.len(), 24);
    for order in orders {
        let (future, output) = (Census::new(), Census::new());
        let post = Post::new();
        let mut event_loop = Some(virtual_loop());
        let (inside, made, wait, counted) = (future.member(), output.clone(), post.wait(), census.member());
        let mut handle = Some(event_loop.as_ref().unwrap().spawn(async move {
            let _inside = (inside, counted);
            wait.await;
            made.member()
        }));
        event_loop.as_ref().unwrap().turn();
        let mut waker = Some(post.waker());
        for act in order {
            match act {
                Handle => drop(handle.take()),
                Waker => drop(waker.take()),
                End => {
                    post.open();
                    if let Some(event_loop) = &event_loop {
                        event_loop.turn();
                    }
                }
                Loop => drop(event_loop.take()),
            }
            let past =
                |which: Act| order.iter().position(|&act| act == which) <= order.iter().position(|&one| one == act);
            let ended = past(End) || past(Loop);
            assert_eq!(future.counts(), (1, usize::from(ended)), "{order:?} at {act:?}");
            let returned =
                past(End) && order.iter().position(|&act| act == End) < order.iter().position(|&act| act == Loop);
            let made = usize::from(returned);
            assert_eq!(output.counts(), (made, made * usize::from(past(Handle))), "{order:?} at {act:?}");
        }
    }
    assert_eq!(census.counts(), (24, 24));
}

/// DataDog/glommio#379, #671: a 16-bit reference count overflowed.
#[test]
fn clone_seventy_thousand_wakers_of_one_task() {
    let census = Census::new();
    let event_loop = virtual_loop();
    let post = Post::new();
    let (wait, member) = (post.wait(), census.member());
    let task = event_loop.spawn(async move {
        let _member = member;
        wait.await;
    });
    event_loop.turn();
    let wakers = vec![post.waker(); 70_000];
    post.unlock();
    wakers.iter().for_each(Waker::wake_by_ref);
    assert_eq!(event_loop.turn().tasks, 0);
    assert_eq!((post.polls(), task.is_done(), census.counts()), (2, true, (1, 1)));
    wakers.into_iter().for_each(Waker::wake);
    let turn = event_loop.turn();
    assert_eq!((turn.ready, turn.tasks, post.polls()), (0, 0, 2));
}

/// END-1. Part C: the tasks that were spawned and have not ended count as alive, and nothing is
/// left after the drop.
#[test]
fn count_tasks_through_spawn_end_and_cancel() {
    let event_loop = virtual_loop();
    let posts: Vec<Post> = (0..6).map(|_| Post::new()).collect();
    let tasks: Vec<_> = posts.iter().map(|post| event_loop.spawn(post.wait())).collect();
    let mut counts = vec![event_loop.all_tasks().len()];
    counts.push(event_loop.turn().tasks);
    posts[1].open();
    counts.push(event_loop.turn().tasks);
    tasks[2].cancel();
    counts.push(event_loop.all_tasks().len());
    counts.push(event_loop.turn().tasks);
    let late = event_loop.spawn(async {});
    counts.push(event_loop.all_tasks().len());
    counts.push(event_loop.turn().tasks);
    assert_eq!(counts, [6, 6, 5, 5, 4, 5, 4]);
    event_loop.run(async {});
    assert_eq!((event_loop.all_tasks().len(), event_loop.turn().tasks), (0, 0));
    assert!(late.is_done() && tasks.iter().all(Task::is_done));
}

/// As tokio-rs/tokio#6986, one step further: in its last step, a task begins to wait for itself.
/// This wait must not keep the task alive.
#[test]
fn wait_for_itself_in_the_last_step_and_drop() {
    let census = Census::new();
    let made = census.clone();
    virtual_loop().run(async move {
        let task = spawn(async move {
            let own = current_task().unwrap();
            // The wait begins and is dropped in the same step. `wait` cancels nothing.
            assert!(poll!(wait([own])).is_pending());
            made.member()
        });
        wait([task]).await;
    });
    assert_eq!(census.counts(), (1, 1));
}

/// The same with two tasks. In its last step, each of them begins to wait for the other.
#[test]
fn wait_for_each_other_in_the_last_step_and_drop() {
    let census = Census::new();
    let handles: Rc<RefCell<Vec<onelane::TaskRef>>> = Rc::default();
    let event_loop = virtual_loop();
    for nth in 0..2 {
        let (census, handles_of) = (census.clone(), handles.clone());
        let task = event_loop.spawn(async move {
            let other = handles_of.borrow()[1 - nth].clone();
            assert!(poll!(wait([other])).is_pending());
            census.member()
        });
        handles.borrow_mut().push(task.task_ref());
    }
    assert_eq!(event_loop.turn().tasks, 0);
    event_loop.turn();
    handles.borrow_mut().clear();
    drop(event_loop);
    assert_eq!(census.counts(), (2, 2));
}

/// In its last step, each task of a long chain begins to wait for the next one. Dropping the first
/// handle must not recurse through the whole chain.
#[test]
fn drop_a_chain_of_ended_tasks() {
    const TASKS: usize = 100_000;
    alone("drop_a_chain_of_ended_tasks", || {
        let event_loop = virtual_loop();
        let mut head: Option<Task<()>> = None;
        for _ in 0..TASKS {
            let next = head.take();
            head = Some(event_loop.spawn(async move {
                if let Some(next) = next {
                    assert!(poll!(wait([next])).is_pending());
                }
            }));
        }
        assert_eq!(event_loop.turn().tasks, 0);
        event_loop.turn();
        drop(head);
        assert!(event_loop.turn().is_idle());
    });
}

/// A gather that is dropped with children in every state drops each of them once.
#[test]
fn drop_a_gather_half_way_and_count() {
    let census = Census::new();
    let dropped_early = Rc::new(Cell::new(0));
    virtual_loop().run(async {
        let children = [0, 5, 50].map(|n| {
            let member = census.member();
            async move {
                sleep(ms(n)).await;
                member
            }
        });
        let mut gathered = gather(children);
        futures_util::select! {
            _ = futures_util::FutureExt::fuse(&mut gathered) => unreachable!(),
            () = futures_util::FutureExt::fuse(sleep(ms(20))) => (),
        }
        assert_eq!(census.counts(), (3, 0));
        drop(gathered);
        dropped_early.set(census.counts().1);
        yield_now().await;
        yield_now().await;
        assert_eq!(census.counts(), (3, 3));
    });
    assert_eq!(dropped_early.get(), 0, "a child that is cancelled is dropped in its next step, not inline");
}

/// References to a loop are used after its end, on its own thread. They report the end, and keep
/// nothing alive.
#[test]
fn drop_the_loop_and_ask_its_references() {
    let census = Census::new();
    let event_loop = virtual_loop();
    let (loop_ref, task_ref, remote): (LoopRef, _, _) = event_loop.run(async {
        let member = census.member();
        let task = spawn(async move {
            let _member = member;
            pending::<()>().await;
        });
        (EventLoop::current(), task.task_ref(), EventLoop::current().remote())
    });
    assert!(!loop_ref.is_closed());
    drop(event_loop);
    assert!(loop_ref.is_closed() && task_ref.is_cancelled() && !task_ref.cancel());
    assert_eq!(remote.call_soon(|| ()), Err(onelane::LoopClosed));
    assert_eq!(census.counts(), (1, 1));
}

/// Part C: a task that was spawned from another thread is dropped on the loop's thread, whichever
/// thread drops its last handle.
#[test]
fn spawn_from_elsewhere_and_drop_here() {
    watched(|| {
        let (census, here) = (Census::new(), thread::current().id());
        let event_loop = EventLoop::new();
        let (remote, sent) = (event_loop.remote(), Arc::new(AtomicBool::new(false)));
        let thread = thread::spawn({
            let (census, sent) = (census.clone(), sent.clone());
            move || {
                for nth in 0..3 {
                    let (member, post) = (census.member(), Post::new());
                    if nth == 0 {
                        post.unlock();
                    }
                    let task = remote.spawn(async move {
                        let _member = member;
                        post.wait().await;
                    });
                    if nth < 2 {
                        drop(task.unwrap());
                    } else {
                        task.unwrap().cancel();
                    }
                }
                sent.store(true, Ordering::SeqCst);
            }
        });
        await_that(|| sent.load(Ordering::SeqCst));
        let first = event_loop.turn();
        assert_eq!((first.messages, first.callbacks, first.tasks), (3, 3, 3));
        // The first task returns. The last one was cancelled before it was created.
        assert_eq!(event_loop.turn().tasks, 1);
        assert_eq!(census.counts(), (3, 2));
        thread.join().unwrap();
        drop(event_loop);
        assert_eq!(census.dropped_on(), [here; 3]);
    });
}

/// DONE-1. A task has not ended while its future is being dropped. When the end is reported, the
/// future is already dropped.
#[test]
fn drop_the_future_and_then_tell() {
    for cancelled in [false, true] {
        let (trace, event_loop) = (Trace::new(), virtual_loop());
        let (dropped, called) = (trace.clone(), trace.clone());
        event_loop.run(async {
            let task = spawn(async move {
                let _guard = common::on_drop(move || {
                    let own = current_task().unwrap();
                    dropped.push(format!("dropped, done: {}", own.is_done()));
                });
                yield_now().await;
                yield_now().await;
                7
            });
            task.add_done_callback(move |task| called.push(format!("called: {:?}", task.result().map(|value| *value))));
            yield_now().await;
            yield_now().await;
            if cancelled {
                task.cancel();
            }
            trace.push(format!("awaited: {:?}", (&task).await));
        });
        let outcome = if cancelled { "Err(Cancelled)" } else { "Ok(7)" };
        let told = [format!("called: {outcome}"), format!("awaited: {outcome}")];
        assert_eq!(trace.take(), ["dropped, done: false", &told[0], &told[1]]);
    }
}

/// If a main task ends at once and nothing else is to be done, a loop without observers leaves out
/// its last turn. Programs cannot notice this: the trace equals that of an observed loop.
#[test]
fn end_main_at_once_as_an_observed_loop_does() {
    let traces = [EventLoop::new(), virtual_loop()].map(|event_loop| {
        let trace = Trace::new();
        let say = |what: &'static str| {
            let trace = trace.clone();
            move || trace.push(what)
        };
        let twice = |trace: Trace, now: &'static str, next: &'static str| {
            move || {
                trace.push(now);
                call_soon(move || trace.push(next));
            }
        };
        event_loop.run(async {});
        event_loop.call_soon(twice(trace.clone(), "before main", "behind main"));
        event_loop.run(async { trace.push("main ends") });
        event_loop.run(async { trace.push("main again") });
        event_loop.run(async {
            call_soon(twice(trace.clone(), "from main", "not in this run"));
            call_later(ms(0), say("timer"));
            trace.push("main has called");
        });
        event_loop.run(async { trace.push("main once more") });
        let remote = event_loop.remote();
        event_loop.run(async {
            remote.call_soon(|| ()).unwrap();
            let done = say("done callback of a child");
            spawn(async {}).add_done_callback(move |_| done());
            yield_now().await;
        });
        event_loop.run(async {
            let trace = trace.clone();
            drop(spawn(finally(pending::<()>(), async move { trace.push("child cleaned up") })));
        });
        // A main task that waits before it ends.
        event_loop.run(async { yield_now().await });
        while !event_loop.turn().is_idle() {}
        trace.take()
    });
    assert_eq!(traces[0], traces[1]);
    assert!(traces[0].len() > 10, "{traces:?}");
}
