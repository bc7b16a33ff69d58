//! The loop inside a host: the contract in `src/host.rs`, rule by rule.

mod common;

use common::{Census, Post, Trace, alone, foreign, ms, on_drop, panic_of, telling_loop, virtual_loop};
use onelane::{Budget, Clock, Drive, EventLoop, Promise, Task, call_later, call_soon, gather, sleep, spawn, yield_now};
use std::cell::{Cell, RefCell};
use std::future::pending;
use std::panic::panic_any;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

/// A call that affects a loop from outside, with its name.
type Touch<'a> = (&'static str, Box<dyn Fn() + 'a>);

/// The deadline of a host's timer, and whether it has fired.
type HostTimer = (Instant, Rc<Cell<bool>>);

/// Counts the calls of a loop's wake hook.
#[derive(Clone, Default)]
struct Calls(Arc<AtomicUsize>);

impl Calls {
    fn of(event_loop: &EventLoop) -> Self {
        let calls = Calls::default();
        let copy = calls.clone();
        event_loop.set_wake_hook(move || _ = copy.0.fetch_add(1, Ordering::SeqCst));
        calls
    }

    /// The number of calls since the last `take`.
    fn take(&self) -> usize {
        self.0.swap(0, Ordering::SeqCst)
    }
}

async fn yield_for_ever() {
    loop {
        yield_now().await;
    }
}

/// Two tasks that record each of their steps.
fn spawn_talkers(event_loop: &EventLoop, trace: &Trace, times: usize) {
    for name in ["a", "b"] {
        let trace = trace.clone();
        drop(event_loop.spawn(async move {
            for nth in 1..=times {
                trace.push(format!("{name}{nth}"));
                yield_now().await;
            }
        }));
    }
}

// ---- rule 1: the hook is called once when an idle loop becomes ready, and no wake is lost ----

#[test]
fn wake_a_thousand_times_and_call_once() {
    let event_loop = virtual_loop();
    let post = Post::new();
    let task = event_loop.spawn(post.wait());
    event_loop.turn();
    let calls = Calls::of(&event_loop);
    assert_eq!(calls.take(), 0, "there is nothing to do");
    let (waker, remote) = (post.waker(), event_loop.remote());
    thread::spawn(move || {
        for _ in 0..1000 {
            waker.wake_by_ref();
            remote.call_soon(|| ()).unwrap();
        }
    })
    .join()
    .unwrap();
    assert_eq!(calls.take(), 1);
    let turn = event_loop.turn();
    assert_eq!((turn.callbacks, turn.steps, turn.is_idle()), (1000, 1, true));
    // The loop was idle again, so the hook is called again.
    post.open();
    assert_eq!(calls.take(), 1);
    event_loop.turn();
    assert!(task.is_done());
    post.waker().wake();
    assert_eq!(calls.take(), 1, "only the turn finds out whether the task is still alive");
}

/// Calls from this thread, outside of a turn. The first call that affects an idle loop calls the
/// hook, and a second one does not. Setting a promise must call the hook too.
#[test]
fn touch_an_idle_loop_and_be_called() {
    let (event_loop, trace) = (virtual_loop(), Trace::new());
    let (waits, post) = (event_loop.spawn(pending::<()>()), Post::new());
    drop(event_loop.spawn(post.wait()));
    let [set, cancelled] = [(); 2].map(|()| Promise::new());
    for promise in [&set, &cancelled] {
        drop(event_loop.spawn(promise.into_future()));
    }
    event_loop.turn();
    let calls = Calls::of(&event_loop);
    let home = event_loop.loop_ref();
    let touches: Vec<Touch<'_>> = vec![
        ("spawn", Box::new(|| drop(event_loop.spawn(async {})))),
        ("spawn by reference", Box::new(|| drop(home.spawn(async {})))),
        ("call_soon", Box::new(|| _ = event_loop.call_soon(|| ()))),
        ("call_later", Box::new(|| _ = event_loop.call_later(ms(5), || ()))),
        ("enter and spawn", Box::new(|| event_loop.enter(|| drop(spawn(async {}))))),
        ("enter and wake", Box::new(|| event_loop.enter(|| post.open()))),
        ("remote", Box::new(|| event_loop.remote().call_soon(|| ()).unwrap())),
        ("cancel", Box::new(|| _ = waits.cancel())),
        ("set a promise", Box::new(|| _ = set.set_result(()))),
        ("cancel a promise", Box::new(|| _ = cancelled.cancel())),
    ];
    while !event_loop.turn().is_idle() {}
    calls.take();
    for (what, touch) in &touches {
        touch();
        trace.push(format!("{what}: {}", calls.take()));
        touch();
        if calls.take() > 0 {
            trace.push(format!("{what} again"));
        }
        while event_loop.next_deadline().is_some() {
            event_loop.turn();
        }
    }
    let expected: Vec<String> = touches.iter().map(|(what, _)| format!("{what}: 1")).collect();
    assert_eq!(trace.take(), expected);
}

/// The hook is called for a deadline only if it is earlier than the deadline that the host knows.
#[test]
fn set_timers_and_call_for_the_nearer_ones() {
    let event_loop = virtual_loop();
    event_loop.call_later(ms(100), || ());
    let calls = Calls::of(&event_loop);
    assert_eq!(calls.take(), 1, "a new host does not know the deadline");
    event_loop.turn_within(Budget::steps(0));
    event_loop.call_later(ms(100), || ());
    // The virtual clock has jumped. The host knows of no deadline now, so it is called.
    assert_eq!(calls.take(), 1);
    let real = EventLoop::new();
    let calls = Calls::of(&real);
    let hour = Duration::from_secs(3600);
    real.call_later(hour, || ());
    assert_eq!(calls.take(), 1);
    real.turn();
    real.call_later(2 * hour, || ());
    assert_eq!(calls.take(), 0);
    let nearer = real.call_later(hour / 2, || ());
    assert_eq!(calls.take(), 1);
    assert_eq!(real.turn().next_deadline, nearer.when());
}

/// The turn itself finds what arrives during a turn, so the hook is not called.
#[test]
fn wake_in_a_turn_and_find_it_in_the_report() {
    let event_loop = virtual_loop();
    let calls = Calls::of(&event_loop);
    let remote = event_loop.remote();
    event_loop.call_soon(move || {
        let sender = thread::spawn(move || remote.call_soon(|| ()).unwrap());
        sender.join().unwrap();
    });
    calls.take();
    let turn = event_loop.turn();
    assert_eq!((turn.callbacks, turn.ready, turn.is_idle(), calls.take()), (1, 1, false, 0));
    assert!(turn.next_deadline.is_some_and(|deadline| deadline <= event_loop.time()), "the host must turn at once");
    let turn = event_loop.turn();
    assert_eq!((turn.messages, turn.callbacks, turn.is_idle(), calls.take()), (1, 1, true, 0));
}

/// WAKE-2: a host only waits for the hook, while threads wake its tasks as fast as possible.
#[test]
fn race_wakes_against_a_host_that_sleeps() {
    const THREADS: usize = 2;
    const ROUNDS: usize = 2000;
    thread_local!(static CALLED: Cell<usize> = const { Cell::new(0) });
    let event_loop = EventLoop::new();
    let (post, events) = channel();
    event_loop.set_wake_hook(move || post.send(()).unwrap());
    let start = Arc::new(Barrier::new(THREADS + 1));
    let threads = [(); THREADS].map(|()| {
        let (remote, start) = (event_loop.remote(), start.clone());
        thread::spawn(move || {
            start.wait();
            for _ in 0..ROUNDS {
                remote.call_soon(|| CALLED.set(CALLED.get() + 1)).unwrap();
                thread::yield_now();
            }
        })
    });
    start.wait();
    while CALLED.get() < THREADS * ROUNDS {
        // If a wake were lost, this would wait for ever.
        events.recv_timeout(Duration::from_secs(60)).expect("WAKE-2: a wake was lost");
        while !event_loop.turn().is_idle() {}
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!((CALLED.get(), event_loop.turn().messages), (THREADS * ROUNDS, 0));
}

/// A hook that is set inside `enter` is called for the work that exists already, and for later
/// work.
#[test]
fn set_the_hook_inside_enter() {
    let event_loop = virtual_loop();
    event_loop.call_soon(|| ());
    let calls = event_loop.enter(|| Calls::of(&event_loop));
    assert_eq!(calls.take(), 1, "there is something to do already");

    let event_loop = virtual_loop();
    let calls = event_loop.enter(|| Calls::of(&event_loop));
    let remote = event_loop.remote();
    thread::spawn(move || remote.call_soon(|| ()).unwrap()).join().unwrap();
    assert_eq!(calls.take(), 1, "WAKE-2");
}

/// A hook is set in a turn, while another loop is entered. The hook must be called at the end of
/// the turn, not in the middle. Otherwise a panic of the hook would lose wakes.
#[test]
fn set_the_hook_in_a_turn_and_call_it_at_the_end() {
    for panics in [false, true] {
        let ((own, told), other) = (telling_loop(), virtual_loop());
        let (calls, trace) = (Calls::default(), Trace::new());
        own.run(async {
            let tasks: Vec<_> = (1..=3).map(|nth| spawn(async move { nth })).collect();
            for task in &tasks {
                for name in ["first", "second"] {
                    let copy = trace.clone();
                    task.add_done_callback(move |task| copy.push(format!("{name} of {}", *task.result().unwrap())));
                }
            }
            other.enter(|| {
                let copy = calls.clone();
                own.set_wake_hook(move || {
                    copy.0.fetch_add(1, Ordering::SeqCst);
                    assert!(!panics, "the host is out");
                });
                drop(own.spawn(async {}));
                own.enter(|| drop(spawn(async {})));
                own.enter(|| other.enter(|| own.call_later(ms(1), || ())));
            });
            assert_eq!(gather(tasks).await.unwrap(), [1, 2, 3]);
            sleep(ms(5)).await;
            assert_eq!((calls.take(), trace.take().len()), (0, 6));
            call_later(ms(5), || ());
        });
        assert_eq!((calls.take(), own.turn().timers), (1, 1));
        let expected = if panics { vec!["a wake hook panicked: the host is out"] } else { vec![] };
        assert_eq!(told.take(), expected);
    }
}

/// A host enters its loop and makes work. The hook is called when the host leaves the loop, so a
/// panic of the hook does not interrupt the code inside.
#[test]
fn spawn_where_the_loop_is_entered_and_be_called_at_the_end() {
    let (event_loop, told) = telling_loop();
    event_loop.turn();
    let calls = Calls::default();
    let copy = calls.clone();
    event_loop.set_wake_hook(move || {
        copy.0.fetch_add(1, Ordering::SeqCst);
        panic!("the host is out");
    });
    event_loop.turn();
    let all = event_loop.enter(|| {
        let all = gather([yield_now(), yield_now()]);
        event_loop.enter(|| drop(spawn(async {})));
        assert_eq!(calls.take(), 0);
        all
    });
    assert_eq!((calls.take(), told.take()), (1, vec!["a wake hook panicked: the host is out".to_string()]));
    assert_eq!(event_loop.run(all), Ok(vec![(), ()]));
}

/// The rest of a paused turn is cancelled. The host must still be asked to finish the turn.
#[test]
fn cancel_what_is_left_of_a_paused_turn() {
    let event_loop = virtual_loop();
    let calls = Calls::of(&event_loop);
    event_loop.call_later(ms(1), || ());
    let second = event_loop.call_later(ms(1), || ());
    assert_eq!(event_loop.turn_within(Budget::steps(1)).ready, 1);
    second.cancel();
    assert_eq!(event_loop.next_deadline(), Some(event_loop.time()));
    calls.take();
    assert!(event_loop.turn().is_idle());
    event_loop.remote().call_soon(|| ()).unwrap();
    assert_eq!(calls.take(), 1);
}

// ---- rule 2: the hook may be called at any moment, and does not turn the loop ----

#[test]
fn call_the_hook_in_a_turn_of_another_loop() {
    let (guest, other) = (virtual_loop(), virtual_loop());
    guest.turn();
    let calls = Calls::of(&guest);
    other.run(async {
        guest.call_soon(|| ());
        assert_eq!(calls.take(), 1);
        // No other code can turn the loop now either.
        let message = panic_of(|| guest.turn_within(Budget::steps(1)));
        assert!(message.starts_with("EventLoop::turn_within() was called from a running event loop; call it from"));
    });
    assert_eq!(guest.turn().callbacks, 1);
}

#[test]
fn panic_in_the_hook_and_lose_nothing() {
    let event_loop = virtual_loop();
    event_loop.turn();
    event_loop.set_wake_hook(|| panic!("the host is out"));
    let remote = event_loop.remote();
    assert_eq!(panic_of(|| remote.call_soon(|| ())), "the host is out");
    assert_eq!(event_loop.turn().callbacks, 1);
}

/// A panic of the hook must not propagate in the middle of an operation. Otherwise handles of new
/// tasks would be lost, and only the first child of a dropped gather would be cancelled.
#[test]
fn panic_in_the_hook_on_the_loops_thread_and_lose_nothing() {
    let (event_loop, told) = telling_loop();
    event_loop.set_wake_hook(|| panic!("the host is out"));
    let complaint = || vec!["a wake hook panicked: the host is out".to_string()];
    let all = event_loop.enter(|| {
        let mut all = gather([pending::<()>(), pending()]);
        assert!(Pin::new(&mut all).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        all
    });
    let settle = || while !event_loop.turn().is_idle() {};
    settle();
    assert_eq!((told.take(), event_loop.all_tasks().len()), (complaint(), 2));

    drop(all);
    settle();
    assert_eq!((told.take(), event_loop.all_tasks().len()), (complaint(), 0));

    let task = event_loop.spawn(async { 7 });
    settle();
    assert_eq!((told.take(), task.is_done()), (complaint(), true));

    let handle = event_loop.call_later(ms(1), || unreachable!());
    assert_eq!((told.take(), handle.cancel()), (complaint(), true));

    // A destructor runs on another thread, which has no exception handler. The panic is ignored
    // there.
    let event_loop = EventLoop::new();
    event_loop.set_wake_hook(|| panic!("the host is out"));
    let asleep = event_loop.enter(|| {
        let mut asleep = sleep(Duration::from_secs(3600));
        assert!(Pin::new(&mut asleep).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        asleep
    });
    event_loop.turn();
    assert!(thread::spawn(move || drop(asleep)).join().is_ok());
    assert_eq!((event_loop.turn().messages, event_loop.next_deadline()), (1, None));
}

/// A panic in a destructor can only go to the exception handler.
#[test]
fn panic_in_the_hook_while_enter_unwinds() {
    alone("panic_in_the_hook_while_enter_unwinds", || {
        let told = Rc::new(RefCell::new(Vec::new()));
        let copy = told.clone();
        let event_loop = EventLoop::builder()
            .clock(Clock::Virtual)
            .exception_handler(move |exception| copy.borrow_mut().push(exception.to_string()))
            .build();
        let post = Post::new();
        drop(event_loop.spawn(post.wait()));
        event_loop.turn();
        event_loop.set_wake_hook(|| panic!("the host is out"));
        // A wake inside `enter` reaches the loop, and the host is called when `enter` ends.
        let message = panic_of(|| {
            event_loop.enter(|| {
                post.open();
                panic!("first")
            })
        });
        assert_eq!((&*message, told.borrow().len()), ("first", 1));
        assert!(told.borrow()[0].starts_with("a wake hook panicked"), "{}", told.borrow()[0]);
        assert_eq!(event_loop.turn().tasks, 0);
    });
}

/// STEP-1: the hook is called when the loop is in a consistent state, so it may query the loop.
#[test]
fn ask_the_loop_in_the_hook() {
    thread_local!(static SEEN: RefCell<Vec<(bool, usize)>> = const { RefCell::new(Vec::new()) });
    thread_local!(static LOOP: Rc<EventLoop> = Rc::new(virtual_loop()));
    let event_loop = LOOP.with(Rc::clone);
    event_loop.turn();
    event_loop.set_wake_hook(|| {
        LOOP.with(|event_loop| {
            let seen = (event_loop.next_deadline().is_some(), event_loop.all_tasks().len());
            SEEN.with_borrow_mut(|all| all.push(seen));
            // The loop is not idle any more, so this does not call the hook.
            event_loop.call_soon(|| ());
        });
    });
    drop(event_loop.spawn(async {}));
    assert_eq!(SEEN.take(), [(true, 1)]);
    assert_eq!(event_loop.turn().callbacks, 1);
}

// ---- rule 3: a turn is bounded ----

#[test]
fn pause_in_the_middle_of_a_turn_and_go_on() {
    let (event_loop, trace) = (virtual_loop(), Trace::new());
    spawn_talkers(&event_loop, &trace, 2);
    let reports = [(); 6].map(|()| {
        let turn = event_loop.turn_within(Budget::steps(1));
        trace.push("|");
        (turn.steps, turn.ready, turn.tasks)
    });
    assert_eq!(trace.take(), ["a1", "|", "b1", "|", "a2", "|", "b2", "|", "|", "|"]);
    assert_eq!(reports, [(1, 2, 2), (1, 2, 2), (1, 2, 2), (1, 2, 2), (1, 1, 1), (1, 0, 0)]);
}

/// READY-2, TIME-3: a task spawned while a turn is paused waits for the next turn. So do timers
/// that were set during the pause.
#[test]
fn touch_a_paused_turn() {
    let (event_loop, trace) = (virtual_loop(), Trace::new());
    let say = |text: &'static str| {
        let trace = trace.clone();
        move || trace.push(text)
    };
    event_loop.call_later(ms(5), say("timer of this turn"));
    event_loop.call_later(ms(5), say("its neighbour"));
    event_loop.turn_within(Budget::steps(1));
    assert_eq!(trace.take(), ["timer of this turn"]);
    event_loop.call_soon(say("next turn"));
    event_loop.call_at(event_loop.time(), say("timer of the next turn"));
    let turn = event_loop.turn_within(Budget::steps(1));
    assert_eq!((trace.take(), turn.timers, turn.is_idle()), (vec!["its neighbour".to_string()], 1, false));
    event_loop.turn();
    assert_eq!(trace.take(), ["next turn", "timer of the next turn"]);
}

/// A paused turn that has only timers left is not idle.
#[test]
fn pause_before_the_timers() {
    let event_loop = virtual_loop();
    let fired = Rc::new(Cell::new(0));
    for _ in 0..3 {
        let fired = fired.clone();
        event_loop.call_later(ms(1), move || fired.set(fired.get() + 1));
    }
    let turns = [(); 3].map(|()| event_loop.turn_within(Budget::steps(1)));
    assert_eq!(
        turns.map(|turn| (turn.timers, turn.ready, turn.is_idle())),
        [(1, 2, false), (1, 1, false), (1, 0, true)]
    );
    assert_eq!((fired.get(), event_loop.next_deadline()), (3, None));
}

/// A paused turn is finished by what comes next: a plain turn, a run, or the end of the loop.
#[test]
fn finish_a_paused_turn() {
    let (event_loop, trace) = (virtual_loop(), Trace::new());
    spawn_talkers(&event_loop, &trace, 3);
    event_loop.turn_within(Budget::steps(1));
    assert_eq!((event_loop.turn().steps, trace.take()), (1, vec!["a1".to_string(), "b1".into()]));
    event_loop.turn_within(Budget::steps(1));
    let copy = trace.clone();
    event_loop.run(async move { copy.push("main") });
    assert_eq!(trace.take(), ["a2", "b2", "a3", "b3", "main"]);

    let census = Census::new();
    for _ in 0..2 {
        let member = census.member();
        drop(event_loop.spawn(async move {
            let _member = member;
            pending::<()>().await;
        }));
    }
    event_loop.turn_within(Budget::steps(1));
    drop(event_loop);
    assert_eq!(census.counts(), (2, 2), "END-1");
}

#[test]
fn yield_for_ever_and_give_the_frame_back() {
    let event_loop = EventLoop::new();
    drop(event_loop.spawn(yield_for_ever()));
    let turn = event_loop.turn_within(Budget::time(ms(1)));
    assert!(turn.steps > 0 && !turn.is_idle());
    let turn = event_loop.turn_within(Budget::time(Duration::MAX).and_steps(17));
    assert_eq!((turn.steps, turn.ready), (17, 1));
    // A budget without time still makes one step.
    assert_eq!(event_loop.turn_within(Budget::time(Duration::ZERO)).steps, 1);
    assert_eq!(event_loop.turn_within(Budget::steps(0)).steps, 1);
}

/// In debug mode and with metrics the loop inspects each entry, and the budget has the same effect.
#[cfg(feature = "report")]
#[test]
fn pause_a_watched_loop() {
    let event_loop = EventLoop::builder().clock(Clock::Virtual).debug(true).metrics(true).build();
    let trace = Trace::new();
    spawn_talkers(&event_loop, &trace, 2);
    let steps = [(); 3].map(|()| event_loop.turn_within(Budget::steps(2)).steps);
    assert_eq!((steps, trace.take()), ([2, 2, 2], ["a1", "b1", "a2", "b2"].map(String::from).to_vec()));
    assert_eq!((event_loop.metrics().turns, event_loop.metrics().steps), (3, 6));
}

/// A panic ends its task, and does not use up the budget of other tasks.
#[test]
fn panic_in_a_budget() {
    let event_loop = EventLoop::builder().clock(Clock::Virtual).exception_handler(|_| ()).build();
    let fails = event_loop.spawn(async { panic!("oh") as () });
    let lives = event_loop.spawn(async { 1 });
    event_loop.turn_within(Budget::steps(1));
    assert!(fails.is_done() && !lives.is_done());
    assert_eq!(event_loop.turn_within(Budget::steps(1)).tasks, 0);
    assert_eq!(lives.result().as_deref(), Ok(&1));
}

/// Messages that queue nothing, for example late wakes, are not steps. Many of them do not keep the
/// host from getting control back.
#[cfg(feature = "probe")]
#[test]
fn flood_with_messages_and_give_the_frame_back() {
    use onelane::probe::{Event, EventKind, Probe, WakeOutcome};
    /// Sends one more message for each message that is read.
    struct Flood(Waker, Rc<Cell<usize>>);
    impl Probe for Flood {
        fn event(&self, event: &Event<'_>) {
            if let EventKind::Wake { outcome: WakeOutcome::Late, .. } = event.kind {
                self.1.set(self.1.get() + 1);
                let waker = self.0.clone();
                thread::spawn(move || waker.wake()).join().unwrap();
            }
        }
    }
    let (ended, read) = (Post::new(), Rc::new(Cell::new(0)));
    ended.unlock();
    // A waker of a task that has ended.
    let event_loop = virtual_loop();
    event_loop.run(ended.wait());
    let flood = Flood(ended.waker(), read.clone());
    drop(event_loop);
    let event_loop = EventLoop::builder().clock(Clock::Virtual).probe(flood).build();
    event_loop.run(ended.wait());
    ended.waker().wake();
    let turn = event_loop.turn_within(Budget::time(Duration::from_secs(3600)));
    assert_eq!((turn.steps, turn.messages, read.get()), (0, 1, 1));
}

// ---- rules 4 and 5: the clock is read once, and what a report says ----

#[test]
fn fire_what_is_due_and_tell_when_to_come_again() {
    let (event_loop, trace) = (virtual_loop(), Trace::new());
    let begun = event_loop.time();
    for (delay, name) in [(20, "late"), (10, "early"), (10, "second")] {
        let trace = trace.clone();
        event_loop.call_later(ms(delay), move || trace.push(name));
    }
    assert_eq!(event_loop.next_deadline(), Some(begun + ms(10)));
    let turn = event_loop.turn_within(Budget::UNLIMITED);
    assert_eq!((trace.take(), turn.timers), (vec!["early".to_string(), "second".into()], 2));
    assert_eq!((turn.next_deadline, turn.is_idle()), (Some(begun + ms(20)), true));
    drop(event_loop.spawn(yield_for_ever()));
    let turn = event_loop.turn_within(Budget::steps(1));
    assert_eq!(turn.next_deadline, Some(event_loop.time()), "there is work");
}

/// A timer that becomes due during the steps of a turn waits for the next turn, which reads the
/// clock again.
#[test]
fn look_at_the_clock_once_a_turn() {
    let event_loop = EventLoop::new();
    let timer = event_loop.call_later(ms(5), || ());
    drop(event_loop.spawn(async move {
        // Long enough that the timer is due afterwards.
        let due = timer.when().unwrap();
        thread::sleep(due.saturating_duration_since(Instant::now()));
        assert!(Instant::now() >= due);
    }));
    let first = event_loop.turn();
    assert_eq!((first.steps, first.timers), (1, 0));
    assert_eq!(event_loop.turn().timers, 1);
}

// ---- rule 7: no turn blocks ----

/// A loop counts its parks. A turn never parks, whatever the loop waits for.
#[test]
fn turn_without_a_park() {
    let event_loop = EventLoop::builder().metrics(true).build();
    let (_remote, post) = (event_loop.remote(), Post::new());
    drop(event_loop.spawn(post.wait()));
    event_loop.call_later(Duration::from_secs(3600), || ());
    for _ in 0..3 {
        event_loop.turn();
        event_loop.turn_within(Budget::UNLIMITED);
        event_loop.turn_within(Budget::time(ms(1)));
    }
    let metrics = event_loop.metrics();
    assert_eq!((metrics.parks, metrics.turns), (0, 9));
}

// ---- rule 6: the host or the loop is dropped ----

#[test]
fn drop_the_loop_and_call_nobody() {
    let event_loop = virtual_loop();
    event_loop.turn();
    let (calls, census) = (Calls::of(&event_loop), Census::new());
    let (member, post) = (census.member(), Post::new());
    let waits = post.wait();
    drop(event_loop.spawn(async move {
        waits.await;
        drop(member);
    }));
    event_loop.turn();
    calls.take();
    let remote = event_loop.remote();
    drop(event_loop);
    assert_eq!((census.counts(), census.dropped_on()), ((1, 1), vec![thread::current().id()]));
    post.open();
    assert!(remote.call_soon(|| ()).is_err());
    assert_eq!(calls.take(), 0);
    assert_eq!(Arc::strong_count(&calls.0), 1, "the hook was dropped with the loop");
}

/// END-1: the destructor of the hook runs while the loop still exists.
#[test]
fn spawn_and_panic_in_the_destructor_of_the_hook() {
    let census = Census::new();
    let told = Rc::new(Cell::new(0));
    let copy = told.clone();
    let event_loop =
        EventLoop::builder().clock(Clock::Virtual).exception_handler(move |_| copy.set(copy.get() + 1)).build();
    struct Last(Census);
    impl Drop for Last {
        fn drop(&mut self) {
            LOOP.with(|home| {
                let member = self.0.member();
                let home: onelane::LoopRef = home.take().unwrap();
                drop(home.spawn(async move {
                    let _member = member;
                    pending::<()>().await;
                }));
            });
            panic!("in the destructor of the hook");
        }
    }
    thread_local!(static LOOP: RefCell<Option<onelane::LoopRef>> = const { RefCell::new(None) });
    LOOP.set(Some(event_loop.loop_ref()));
    let last = Last(census.clone());
    event_loop.set_wake_hook(move || _ = &last);
    drop(event_loop);
    assert_eq!((census.counts(), told.get()), ((1, 1), 1));
}

/// A turn that is paused when its loop is dropped is over. A probe sees the begin and the end of
/// each turn.
#[cfg(feature = "probe")]
#[test]
fn drop_a_loop_with_a_paused_turn_and_a_probe() {
    use onelane::probe::{Event, EventKind, Probe};
    #[derive(Clone, Default)]
    struct Turns(Trace);
    impl Probe for Turns {
        fn event(&self, event: &Event<'_>) {
            match event.kind {
                EventKind::TurnBegin => self.0.push("begin"),
                EventKind::TurnEnd => self.0.push("end"),
                _ => {}
            }
        }
    }
    for tasks in [0, 2] {
        let turns = Turns::default();
        let event_loop = EventLoop::builder().clock(Clock::Virtual).probe(turns.clone()).build();
        (0..tasks).for_each(|_| drop(event_loop.spawn(pending::<()>())));
        (0..2).for_each(|_| _ = event_loop.call_later(ms(1), || ()));
        event_loop.turn_within(Budget::steps(1));
        drop(event_loop);
        let seen = turns.0.take();
        assert!(seen.chunks(2).all(|pair| pair == ["begin", "end"]), "{seen:?}");
        assert!(seen.len() >= 2);
    }
}

/// The destructor of the previous hook panics. The new hook must still be called for the existing
/// work.
#[test]
fn replace_a_hook_that_panics_as_it_is_dropped() {
    let event_loop = virtual_loop();
    event_loop.turn();
    let last = on_drop(|| panic!("in the destructor of the hook"));
    event_loop.set_wake_hook(move || _ = &last);
    event_loop.call_soon(|| ());
    let calls = Calls::default();
    let copy = calls.clone();
    let message = panic_of(|| event_loop.set_wake_hook(move || _ = copy.0.fetch_add(1, Ordering::SeqCst)));
    assert_eq!((&*message, calls.take()), ("in the destructor of the hook", 1));
}

#[test]
fn replace_the_hook() {
    let event_loop = virtual_loop();
    event_loop.turn();
    let first = Calls::of(&event_loop);
    let second = Calls::of(&event_loop);
    event_loop.call_soon(|| ());
    assert_eq!((first.take(), second.take(), Arc::strong_count(&first.0)), (0, 1, 1));
}

/// A `run` in between does not call the hook. What it leaves behind is reported.
#[test]
fn run_a_hosted_loop() {
    let event_loop = virtual_loop();
    event_loop.turn();
    let calls = Calls::of(&event_loop);
    event_loop.run(async {
        yield_now().await;
        drop(spawn(async {}));
    });
    assert_eq!(calls.take(), 0, "nothing is left");
    event_loop.run(async { _ = call_later(ms(5), || ()) });
    assert_eq!((calls.take(), event_loop.turn().timers), (1, 1));
    event_loop.call_soon(|| ());
    assert_eq!(calls.take(), 1);
}

// ---- enter ----

#[test]
fn enter_and_find_the_loop() {
    let event_loop = virtual_loop();
    assert!(EventLoop::try_current().is_err());
    let task: Task<u8> = event_loop.enter(|| {
        assert!(event_loop.is_running() && onelane::current_task().is_none());
        _ = call_soon(|| ());
        event_loop.enter(|| spawn(async { 1 }))
    });
    assert!(EventLoop::try_current().is_err() && !task.is_done());
    let turn = event_loop.turn();
    assert_eq!((turn.callbacks, turn.steps, task.is_done()), (1, 1, true));
}

#[test]
fn enter_and_run_or_turn_nothing() {
    let (event_loop, other) = (virtual_loop(), virtual_loop());
    event_loop.enter(|| {
        for refuse in [&event_loop, &other] {
            assert!(panic_of(|| refuse.turn()).starts_with("EventLoop::turn() was called from a running event loop"));
            assert!(refuse.try_run(async {}).is_err());
        }
    });
    assert_eq!(panic_of(|| event_loop.enter(|| panic!("out"))), "out");
    assert!(EventLoop::try_current().is_err(), "the panic has left the loop too");
    event_loop.run(async {});
}

/// `enter` inside a turn of another loop. The tasks of that other loop go on normally.
#[test]
fn enter_one_loop_in_a_turn_of_another() {
    let (outer, inner) = (virtual_loop(), virtual_loop());
    let (task, after) = outer.run(async {
        let task = inner.enter(|| spawn(async { EventLoop::current() }));
        yield_now().await;
        (task, EventLoop::current())
    });
    assert_eq!(after, outer.loop_ref());
    assert_eq!(inner.run(task), Ok(inner.loop_ref()));
}

// ---- drive ----

/// An executor of one future, on this thread. It counts its polls, and fires its timers itself.
#[derive(Clone, Default)]
struct Host {
    wakes: Arc<HostWaker>,
    timers: Rc<RefCell<Vec<HostTimer>>>,
}

#[derive(Default)]
struct HostWaker(AtomicUsize);

impl Wake for HostWaker {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Host {
    fn drive<'a>(&self, event_loop: &'a EventLoop) -> Drive<'a> {
        let timers = self.timers.clone();
        event_loop.drive(move |deadline| {
            let is_up = Rc::new(Cell::new(false));
            timers.borrow_mut().push((deadline, is_up.clone()));
            std::future::poll_fn(move |_| if is_up.get() { Poll::Ready(()) } else { Poll::Pending })
        })
    }

    /// Polls as long as it is woken. Returns the number of polls, and whether the future is ready.
    fn poll(&self, mut drive: Pin<&mut Drive<'_>>) -> (usize, bool) {
        let waker = Waker::from(self.wakes.clone());
        let mut polls = 0;
        loop {
            polls += 1;
            if drive.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                return (polls, true);
            }
            if self.wakes.0.swap(0, Ordering::SeqCst) == 0 {
                return (polls, false);
            }
        }
    }
}

#[test]
fn drive_to_the_end_in_portions() {
    let (event_loop, host) = (virtual_loop(), Host::default());
    let task = event_loop.spawn(async {
        for _ in 0..10 {
            yield_now().await;
        }
        sleep(Duration::from_secs(3600)).await;
        7
    });
    let drive = pin!(host.drive(&event_loop).budget(Budget::steps(5)));
    // Eleven steps, a jump of the clock, and a last step.
    assert_eq!(host.poll(drive), (4, true));
    assert_eq!(event_loop.run(task), Ok(7));
    assert!(host.timers.borrow().iter().all(|(deadline, _)| *deadline <= event_loop.time()));
}

#[test]
fn drive_and_wait_for_the_hosts_timer() {
    let (event_loop, host) = (EventLoop::new(), Host::default());
    let begun = event_loop.time();
    drop(event_loop.spawn(sleep_for(&event_loop, ms(20))));
    let mut drive = pin!(host.drive(&event_loop));
    assert_eq!(host.poll(drive.as_mut()), (1, false));
    assert_eq!(host.poll(drive.as_mut()), (1, false), "the timer exists already");
    let timers = host.timers.borrow().clone();
    assert_eq!(timers.len(), 1);
    assert!(timers[0].0 >= begun + ms(20));
    thread::sleep(timers[0].0.saturating_duration_since(Instant::now()));
    timers[0].1.set(true);
    assert!(host.poll(drive).1);
}

fn sleep_for(event_loop: &EventLoop, duration: Duration) -> impl Future<Output = ()> + use<> {
    event_loop.enter(|| sleep(duration))
}

/// The waker of the drive is the hook. It is woken once when the loop becomes ready, from any
/// thread.
#[test]
fn drive_and_be_woken_from_elsewhere() {
    let (event_loop, host, post) = (virtual_loop(), Host::default(), Post::new());
    drop(event_loop.spawn(post.wait()));
    let mut drive = pin!(host.drive(&event_loop));
    assert_eq!(host.poll(drive.as_mut()), (1, false));
    let waker = post.waker();
    thread::spawn(move || (0..100).for_each(|_| waker.wake_by_ref())).join().unwrap();
    assert_eq!(host.wakes.0.load(Ordering::SeqCst), 1);
    host.wakes.0.store(0, Ordering::SeqCst);
    assert_eq!(host.poll(drive.as_mut()), (1, false), "the post is not open");
    post.open();
    assert_eq!(host.wakes.0.load(Ordering::SeqCst), 1);
    assert_eq!(host.poll(drive), (1, true));
}

/// Another drive continues the work of a dropped drive, because the tasks belong to the loop.
#[test]
fn drop_a_drive_and_make_another() {
    let (event_loop, host, trace) = (virtual_loop(), Host::default(), Trace::new());
    spawn_talkers(&event_loop, &trace, 2);
    {
        let mut drive = pin!(host.drive(&event_loop).budget(Budget::steps(3)));
        let waker = Waker::from(host.wakes.clone());
        assert!(drive.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        assert!(format!("{drive:?}").starts_with("Drive { budget: Budget { steps: 3, time: None }"));
    }
    assert_eq!(trace.take(), ["a1", "b1", "a2"]);
    host.wakes.0.store(0, Ordering::SeqCst);
    event_loop.call_soon(|| ());
    assert_eq!(host.wakes.0.load(Ordering::SeqCst), 0, "no drive exists now");
    assert!(host.poll(pin!(host.drive(&event_loop))).1);
    assert_eq!(trace.take(), ["b2"]);
}

/// Two drives of a loop are both woken. A dropped drive removes only its own waker.
#[test]
fn drive_twice_and_drop_one() {
    let (event_loop, post) = (virtual_loop(), Post::new());
    drop(event_loop.spawn(post.wait()));
    let hosts = [(); 2].map(|()| Host::default());
    let mut first = Box::pin(hosts[0].drive(&event_loop));
    let mut second = pin!(hosts[1].drive(&event_loop));
    assert_eq!((hosts[0].poll(first.as_mut()), hosts[1].poll(second.as_mut())), ((1, false), (1, false)));
    drop(first);
    post.open();
    assert_eq!(hosts.each_ref().map(|host| host.wakes.0.load(Ordering::SeqCst)), [0, 1]);
    assert_eq!(hosts[1].poll(second), (1, true));
}

/// A dropped drive may have been woken for something that the hook does not know: remaining work,
/// or a deadline. The hook is then called. It is not called if it was already called for the same
/// thing.
#[test]
fn drop_a_drive_under_a_hook() {
    let (event_loop, host, post) = (EventLoop::new(), Host::default(), Post::new());
    let calls = Calls::of(&event_loop);
    let waker = Waker::from(host.wakes.clone());
    let poll_once = |budget| {
        let mut drive = pin!(host.drive(&event_loop).budget(budget));
        assert!(drive.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        calls.take()
    };
    let task = event_loop.spawn(yield_for_ever());
    poll_once(Budget::steps(3));
    assert_eq!(calls.take(), 1, "there is work");
    task.cancel();
    drop(event_loop.spawn(post.wait()));
    while !event_loop.turn().is_idle() {}

    event_loop.call_later(Duration::from_secs(3600), || ());
    poll_once(Budget::UNLIMITED);
    assert_eq!(calls.take(), 1, "there is a deadline");
    event_loop.turn();

    let mut drive = Box::pin(host.drive(&event_loop));
    assert!(drive.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    post.waker().wake();
    assert_eq!(calls.take(), 1);
    drop(drive);
    assert_eq!(calls.take(), 0, "it was called already, and has not turned the loop yet");
}

/// The waker of a dropped drive panics when it is dropped. The hook must still be called for the
/// remaining work.
#[test]
fn drop_a_drive_whose_waker_panics() {
    let event_loop = virtual_loop();
    let calls = Calls::of(&event_loop);
    event_loop.spawn(yield_for_ever());
    let mut drive = Box::pin(event_loop.drive(|_| pending()).budget(Budget::steps(1)));
    let waker = foreign(|| (), || panic!("in the drop of a waker"));
    assert!(drive.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    // The drive owns the last clone.
    drop(waker);
    calls.take();
    assert_eq!(panic_of(|| drop(drive)), "in the drop of a waker");
    assert_eq!(calls.take(), 1);
}

/// A hook that panics does not keep a drive from being woken.
#[test]
fn panic_in_the_hook_beside_a_drive() {
    let (event_loop, host, post) = (virtual_loop(), Host::default(), Post::new());
    drop(event_loop.spawn(post.wait()));
    event_loop.turn();
    event_loop.set_wake_hook(|| panic!("out"));
    let mut drive = pin!(host.drive(&event_loop));
    assert_eq!(host.poll(drive.as_mut()), (1, false));
    let remote = event_loop.remote();
    assert_eq!(panic_of(|| remote.call_soon(|| ())), "out");
    assert_eq!(host.wakes.0.load(Ordering::SeqCst), 1);
    host.wakes.0.store(0, Ordering::SeqCst);
    assert_eq!(host.poll(drive), (1, false));
}

/// The hook and the wakers of two drives panic. Their payloads and drops panic too. The third drive
/// is still woken.
#[test]
fn panic_in_all_that_is_called_and_call_the_rest() {
    alone("panic_in_all_that_is_called_and_call_the_rest", || {
        let (event_loop, host) = (virtual_loop(), Host::default());
        event_loop.set_wake_hook(|| panic!("the hook"));
        let bomb = || panic_any(on_drop(|| panic!("in the drop of a payload")));
        let keep = event_loop.spawn(pending::<()>());
        let mut drives = [(); 3].map(|()| Box::pin(event_loop.drive(|_| pending())));
        for drive in &mut drives[..2] {
            let waker = foreign(bomb, || panic!("in the drop of a waker"));
            assert!(drive.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            // The loop owns the last clone.
            drop(waker);
        }
        assert_eq!(host.poll(drives[2].as_mut()), (1, false));
        let remote = event_loop.remote();
        assert_eq!(panic_of(|| remote.call_soon(|| ())), "the hook");
        assert_eq!(host.wakes.0.load(Ordering::SeqCst), 1);
        assert_eq!((event_loop.turn().callbacks, keep.is_done()), (1, false));
    });
}

/// The laws of the metrics also hold in a paused turn.
#[test]
fn count_in_a_paused_turn() {
    let event_loop = EventLoop::builder().clock(Clock::Virtual).metrics(true).build();
    for nth in 0..5 {
        drop(event_loop.spawn(async move {
            for _ in 0..3 {
                sleep(ms(nth)).await;
                yield_now().await;
            }
        }));
        event_loop.call_later(ms(nth), || ());
    }
    let mut looks = 0;
    while event_loop.next_deadline().is_some() {
        event_loop.turn_within(Budget::steps(1));
        let now = event_loop.metrics();
        assert_eq!(now.spawned, now.alive + now.finished + now.cancelled + now.panicked, "{now:?}");
        assert_eq!(now.wakes, now.wakes_queued + now.wakes_merged + now.wakes_late, "{now:?}");
        assert_eq!(now.timers_armed, now.timers_fired + now.timers_cancelled + now.timers_pending, "{now:?}");
        looks += 1;
    }
    assert!(looks > 30, "{looks} turns");
}

/// A future that is dropped in a turn of a driven loop may spawn a task, and the drive runs this
/// task too.
#[test]
fn spawn_at_the_end_of_a_driven_loop() {
    let (event_loop, host) = (virtual_loop(), Host::default());
    let last = Rc::new(Cell::new(false));
    let copy = last.clone();
    let heir = on_drop(move || drop(spawn(async move { copy.set(true) })));
    drop(event_loop.spawn(async move { drop(heir) }));
    assert!(host.poll(pin!(host.drive(&event_loop))).1);
    assert!(last.get());
}
