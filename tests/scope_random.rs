//! Random programs that do to scopes what safe code can do: they forget them, drop them, move them,
//! poll them at odd times, beside other futures and by other wakers, and their children cancel,
//! panic, spawn siblings and scopes of their own, also in destructors.
//!
//! Each child borrows a value of the function around its scope, and of all functions further out.
//! It looks at them at each step, and when it is dropped. A value that is gone is found by its mark,
//! and by a sanitizer.
//!
//! `ONELANE_SEEDS=0..100000 cargo test --release --test scope_random -- --nocapture` runs other
//! seeds.

#[path = "common/mod.rs"]
mod common;
#[allow(dead_code, reason = "this test uses a part of it")]
#[path = "random_programs/random.rs"]
mod random;

use common::{alone_with, ms};
use futures_util::future::{Either, FutureExt, join, select};
use futures_util::poll;
use futures_util::stream::{FuturesUnordered, StreamExt};
use onelane::{
    Clock, EventLoop, Scope, TaskRef, catch_cancel, current_task, finally, raise_cancelled, scope, sleep, spawn, sync,
    timeout, yield_now,
};
use random::Random;
use std::cell::{Cell, RefCell};
use std::mem;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Mutex;
use std::task::{Context, Waker};
use std::thread;

/// The seeds of a plain `cargo test`.
const SEEDS: Range<u64> = 0..1500;

const ALIVE: u64 = 0x0a11_5e11_0a11_5e11;

/// Panics that no program has planned.
static FAULTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The loop refuses this by a panic.
const MISUSE: [&str; 2] = [
    "a child was spawned into a scope that has ended",
    // A `catch_cancel` beside it has caught the cancellation.
    "a finally was polled after it was ready, or after a cancellation of the task",
];

/// A local variable, with those of the functions further out.
struct Frame<'a> {
    up: Option<&'a Frame<'a>>,
    mark: Box<Cell<u64>>,
    /// A task may hold it at any await.
    lock: sync::Lock<()>,
}

impl<'a> Frame<'a> {
    fn new(up: Option<&'a Frame<'a>>) -> Self {
        Frame { up, mark: Box::new(Cell::new(ALIVE)), lock: sync::Lock::new(()) }
    }

    fn look(&self) {
        assert_eq!(self.mark.get(), ALIVE, "a value was used after its end");
        self.up.into_iter().for_each(Frame::look);
    }

    fn mark(&self) {
        self.mark.set(0);
    }
}

/// A type of its own, because a frame with a destructor could not borrow from its like.
struct End<'a>(&'a Frame<'a>);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.mark();
    }
}

/// What all of a program shares.
struct Shared {
    random: RefCell<Random>,
    forgets: bool,
    /// A program may spawn without end, so its statements are counted.
    left: Cell<u32>,
    made: Cell<u32>,
    dropped: Cell<u32>,
    looks: Cell<u32>,
    tasks: RefCell<Vec<TaskRef>>,
}

impl Shared {
    fn below(&self, end: usize) -> usize {
        self.random.borrow_mut().below(end)
    }

    /// Once in this number of calls.
    fn one_in(&self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn time(&self) -> std::time::Duration {
        ms(self.below(5) as u64)
    }

    fn goes_on(&self) -> bool {
        self.left.set(self.left.get().saturating_sub(1));
        self.left.get() > 0
    }

    fn cancel_any(&self) {
        let tasks = self.tasks.borrow();
        let task = (!tasks.is_empty()).then(|| tasks[self.below(tasks.len())].clone());
        drop(tasks);
        task.iter().for_each(|task| _ = task.cancel());
    }
}

fn planned() -> ! {
    resume_unwind(Box::new("planned"));
}

/// What a child owns: looks at what it borrows when it is dropped, and acts there.
struct Guard<'a> {
    frame: &'a Frame<'a>,
    shared: Rc<Shared>,
    scope: Option<Scope<'a>>,
}

impl<'a> Guard<'a> {
    fn new(frame: &'a Frame<'a>, shared: &Rc<Shared>, scope: Option<&Scope<'a>>) -> Self {
        shared.made.set(shared.made.get() + 1);
        Guard { frame, shared: shared.clone(), scope: scope.cloned() }
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let shared = &self.shared;
        shared.dropped.set(shared.dropped.get() + 1);
        self.frame.look();
        if !shared.goes_on() {
            return;
        }
        match shared.below(12) {
            0 => shared.cancel_any(),
            1 => _ = current_task().map(|task| task.cancel()),
            2 => {
                if let Some(s) = self.scope.as_ref().filter(|_| current_task().is_some()) {
                    let child = act(self.frame, shared.clone(), Some(s.clone()), 1);
                    // The scope may have ended, or the loop; then this panics.
                    _ = catch_unwind(AssertUnwindSafe(|| s.spawn(child)));
                }
            }
            3 => {
                let context = &mut Context::from_waker(Waker::noop());
                if current_task().is_some() {
                    assert!(pin!(sleep(ms(1))).poll(context).is_pending());
                    _ = pin!(self.frame.lock.lock()).poll(context);
                    _ = pin!(spawn(async {}).into_future()).poll(context);
                }
            }
            4 if !thread::panicking() => planned(),
            _ => {}
        }
    }
}

type Any<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Some statements, in a child of a scope or in a body.
fn act<'a>(frame: &'a Frame<'a>, shared: Rc<Shared>, s: Option<Scope<'a>>, depth: u32) -> Any<'a> {
    Box::pin(async move {
        let _guard = Guard::new(frame, &shared, s.as_ref());
        shared.tasks.borrow_mut().extend(current_task());
        let mut held = None;
        for _ in 0..=shared.below(4) {
            frame.look();
            shared.looks.set(shared.looks.get() + 1);
            if !shared.goes_on() {
                return;
            }
            match shared.below(18) {
                0 | 1 => yield_now().await,
                2 | 3 => sleep(shared.time()).await,
                4 => shared.cancel_any(),
                5 if shared.one_in(3) => planned(),
                6 if shared.one_in(3) => raise_cancelled().await,
                7 => held = timeout(ms(3), frame.lock.lock()).await.ok(),
                8 => _ = catch_cancel(sleep(shared.time())).await,
                9 => {
                    let copy = shared.clone();
                    let cleanup = async move {
                        sleep(copy.time()).await;
                        if copy.one_in(8) {
                            planned();
                        }
                    };
                    finally(sleep(shared.time()), cleanup).await;
                }
                10 => {
                    if let Some(s) = &s {
                        spawn_into(s, frame, &shared, depth).await;
                    }
                }
                11 => s.iter().filter(|_| shared.one_in(4)).for_each(Scope::cancel),
                12 if depth > 0 => _ = timeout(shared.time(), act(frame, shared.clone(), s.clone(), depth - 1)).await,
                13 if depth > 0 => {
                    _ = AssertUnwindSafe(act(frame, shared.clone(), None, depth - 1)).catch_unwind().await
                }
                _ if depth > 0 => {
                    let own = Frame::new(Some(frame));
                    let _end = End(&own);
                    drive(running(&own, &shared, depth - 1), &own, &shared, depth - 1).await;
                    own.look();
                }
                _ => yield_now().await,
            }
            if shared.one_in(2) {
                held = None;
            }
        }
        drop(held);
    })
}

async fn spawn_into<'a>(s: &Scope<'a>, frame: &'a Frame<'a>, shared: &Rc<Shared>, depth: u32) {
    let child = s.spawn(act(frame, shared.clone(), Some(s.clone()), depth.saturating_sub(1)));
    shared.tasks.borrow_mut().push(child.task_ref());
    match shared.below(6) {
        0 => _ = child.await,
        1 => _ = timeout(shared.time(), child.into_future()).await,
        2 => _ = child.cancel(),
        3 if shared.forgets => mem::forget(child),
        4 if shared.forgets => {
            let mut join = child.into_future();
            _ = poll!(&mut join);
            mem::forget(join);
        }
        _ => drop(child),
    }
}

/// A scope whose children borrow a frame.
fn running<'a>(frame: &'a Frame<'a>, shared: &Rc<Shared>, depth: u32) -> Any<'a> {
    let copy = shared.clone();
    let begins_early = shared.one_in(3);
    let new = move |s: Scope<'a>| {
        let (early, shared) = (s.clone(), copy.clone());
        if begins_early {
            // Before the scope is polled.
            early.spawn(act(frame, shared.clone(), Some(early.clone()), depth));
        }
        async move {
            for _ in 0..shared.below(4) {
                spawn_into(&s, frame, &shared, depth).await;
            }
            act(frame, shared, Some(s), depth).await;
        }
    };
    Box::pin(scope(new).map(|_| ()))
}

/// Drops all of its futures, also if the destructor of one panics.
struct Set<'a>(FuturesUnordered<Any<'a>>);

impl Drop for Set<'_> {
    fn drop(&mut self) {
        let dropped = mem::take(&mut self.0).into_iter().map(|work| catch_unwind(AssertUnwindSafe(|| drop(work))));
        let panic = dropped.filter_map(Result::err).last();
        if let Some(payload) = panic.filter(|_| !thread::panicking()) {
            resume_unwind(payload);
        }
    }
}

/// Polls a scope in one of many ways.
async fn drive<'a>(mut work: Any<'a>, frame: &'a Frame<'a>, shared: &Rc<Shared>, depth: u32) {
    let end = |work: Any<'a>| if shared.forgets && shared.one_in(2) { mem::forget(work) } else { drop(work) };
    match shared.below(12) {
        0 => end(work),
        1 => _ = timeout(shared.time(), work).await,
        2 => match select(work, sleep(shared.time())).await {
            Either::Right(((), work)) if shared.one_in(2) => work.await,
            Either::Right(((), work)) => end(work),
            Either::Left(_) => {}
        },
        3 => {
            for _ in 0..shared.below(4) {
                if work.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                    return;
                }
                sleep(shared.time()).await;
            }
            end(work);
        }
        4 => _ = join(work, sleep(shared.time())).await,
        5 => {
            let mut set = Set(FuturesUnordered::new());
            set.0.push(work);
            set.0.push(running(frame, shared, depth));
            while set.0.next().await.is_some() && !shared.one_in(3) {}
            if shared.forgets && shared.one_in(3) {
                mem::forget(set);
            }
        }
        6 => {
            // The same task waits elsewhere for some time.
            if poll!(&mut work).is_pending() {
                sleep(shared.time()).await;
                act(frame, shared.clone(), None, depth).await;
                work.await;
            }
        }
        7 => _ = join(running(frame, shared, depth), work).await,
        8 => {
            if AssertUnwindSafe(&mut work).catch_unwind().await.is_err() {
                end(work);
            }
        }
        9 => {
            // A branch without a wait that the loop knows.
            let other = std::future::poll_fn(|_| if shared.one_in(9) { Some(()).into() } else { None.into() });
            if let Either::Right((_, work)) = select(work, other.map(|_: Option<()>| ())).await {
                end(work);
            }
        }
        10 => match select(work, act(frame, shared.clone(), None, depth)).await {
            Either::Right(((), work)) => end(work),
            Either::Left(((), other)) => end(other),
        },
        _ => work.await,
    }
}

/// Runs the program of a seed. Returns the number of statements in which it has looked at what it
/// borrows.
fn run(seed: u64) -> u32 {
    let shared = Rc::new(Shared {
        random: RefCell::new(Random::new(seed)),
        forgets: seed % 2 == 1,
        left: Cell::new(300),
        made: Cell::new(0),
        dropped: Cell::new(0),
        looks: Cell::new(0),
        tasks: RefCell::default(),
    });
    let event_loop = EventLoop::builder().clock(Clock::Virtual).exception_handler(|_| {}).build();
    let copy = shared.clone();
    event_loop.run(async move {
        let roots = (0..3).map(|_| {
            let shared = copy.clone();
            spawn(async move {
                let own = Frame::new(None);
                let _end = End(&own);
                drive(running(&own, &shared, 3), &own, &shared, 3).await;
                own.look();
            })
        });
        let roots: Vec<_> = roots.collect();
        sleep(ms(copy.below(60) as u64)).await;
        // A cancelled task may wait for ever for a child of a scope that it has forgotten.
        if copy.one_in(2) && !copy.forgets {
            for root in roots {
                if copy.one_in(2) {
                    root.cancel();
                }
                _ = timeout(ms(100), root.into_future()).await;
            }
        }
    });
    drop(event_loop);
    shared.tasks.take();
    let (made, dropped) = (shared.made.get(), shared.dropped.get());
    assert!(dropped == made || shared.forgets && dropped < made, "seed {seed}: {made} made, {dropped} dropped");
    shared.looks.get()
}

fn run_all(seeds: Range<u64>) {
    // What a program plans reaches no hook, except misuse that the docs describe.
    std::panic::set_hook(Box::new(|panic| {
        let told = panic.to_string();
        let is_planned = MISUSE.iter().any(|misuse| told.contains(misuse));
        if !is_planned {
            FAULTS.lock().unwrap().push(told);
        }
    }));
    let mut looks = 0;
    for seed in seeds.clone() {
        let result = catch_unwind(|| run(seed));
        let faults = mem::take(&mut *FAULTS.lock().unwrap());
        if let Some(fault) = faults.first() {
            eprintln!("seed {seed}: {fault}");
            std::process::exit(101);
        }
        looks += result.unwrap_or_else(|payload| resume_unwind(payload));
    }
    println!("seeds {seeds:?}: {looks} statements");
    assert!(u64::from(looks) > 10 * (seeds.end - seeds.start), "{looks}");
}

/// Some programs leak, so they run in processes of their own, where a sanitizer does not report
/// leaks.
#[test]
fn never_use_what_is_gone() {
    let seeds = std::env::var("ONELANE_SEEDS").ok().map_or(SEEDS, |range| {
        let (begin, end) = range.split_once("..").expect("ONELANE_SEEDS is a range such as 0..1000");
        begin.parse().unwrap()..end.parse().unwrap()
    });
    for begin in seeds.clone().step_by(500) {
        let some = begin..seeds.end.min(begin + 500);
        let range = format!("{}..{}", some.start, some.end);
        let variables =
            [("ASAN_OPTIONS", "detect_leaks=0"), ("LSAN_OPTIONS", "detect_leaks=0"), ("ONELANE_SEEDS", &range)];
        alone_with("never_use_what_is_gone", &variables, || run_all(some));
    }
    println!("{seeds:?}: nothing was used after its end");
}
