//! The reduced search: random tiny programs have the same outcomes as in the search of all orders, and
//! fewer orders; how many orders are left; what it says, and when it gives up.

use crate::brute_force::Random;
use crate::failure;
use onelane::explore::{Explore, Fault, Statement, choose};
use onelane::sync::{Barrier, Condition, Event, Lock, Queue, Semaphore, Tracked, channel, oneshot};
use onelane::{Promise, Task, call_soon, explore, gather, sleep, spawn, timeout, yield_now};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::future::{Future, IntoFuture, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
enum Act {
    Yield,
    /// The task remembers the value of a variable.
    Read(usize),
    /// A variable becomes what the task remembers, plus this.
    Write(usize, u64),
    /// The task panics if the variable has this value.
    PanicIf(usize, u64),
    Wait(usize),
    Set(usize),
    Clear(usize),
    /// Remembers whether the event is set.
    Look(usize),
    /// Increments a variable under the lock, with a yield in between.
    Locked(usize),
    TryLock,
    Acquire,
    TryAcquire,
    Put(u64),
    /// Gets an item within a second.
    Get,
    TryGet,
    Send(u64),
    Receive,
    SetPromise(u64),
    CancelPromise,
    AwaitPromise,
    Barrier,
    Notify,
    AwaitNotification,
    SendChannel(u64),
    ReceiveChannel,
    Sleep(u64),
    /// A wait for an event, within a second.
    WaitWithin(usize),
    Cancel(usize),
    IsDone(usize),
    Join(usize),
    /// A child adds to a variable, and the task awaits it.
    Child(usize),
    Children(usize),
    CallSoon(usize),
    Choose,
}

type Program = Vec<Vec<Act>>;

fn act(kind: u64, random: &mut Random, tasks: u64) -> Act {
    let variable = random.below(2) as usize;
    let task = random.below(tasks) as usize;
    match kind {
        0..6 => Act::Read(variable),
        6..12 => Act::Write(variable, 1 + random.below(2)),
        12..16 => Act::Yield,
        16 => Act::PanicIf(variable, 1 + random.below(3)),
        17 => Act::Wait(variable),
        18 => Act::Set(variable),
        19 => Act::Clear(variable),
        20 => Act::Look(variable),
        21 => Act::Locked(variable),
        22 => Act::TryLock,
        23 => Act::Acquire,
        24 => Act::Put(random.below(9)),
        25 => Act::Get,
        26 => Act::TryGet,
        27 => Act::Send(random.below(9)),
        28 => Act::Receive,
        29 => Act::SetPromise(random.below(9)),
        30 => Act::CancelPromise,
        31 => Act::AwaitPromise,
        32 => Act::Barrier,
        33 => Act::Notify,
        34 => Act::AwaitNotification,
        35 => Act::SendChannel(random.below(9)),
        36 => Act::ReceiveChannel,
        37 => Act::Sleep(1 + random.below(2)),
        38 => Act::WaitWithin(variable),
        39 => Act::Cancel(task),
        40 => Act::IsDone(task),
        41 => Act::Join(task),
        42 => Act::Child(variable),
        43 => Act::Children(variable),
        44 => Act::CallSoon(variable),
        45 => Act::TryAcquire,
        _ => Act::Choose,
    }
}

fn program(random: &mut Random) -> Program {
    const KINDS: u64 = 47;
    let (tasks, acts) = if random.below(2) == 0 { (2, 5) } else { (3, 3) };
    // With few kinds of acts, there is more between them.
    // Neighbours in the list belong to one primitive.
    let (first, are_neighbours) = (random.below(KINDS - 5), random.below(2) == 0);
    let few: Vec<u64> = (0..5).map(|nth| if are_neighbours { first + nth } else { random.below(KINDS) }).collect();
    let has_few = random.below(2) == 0;
    let mut program = Program::new();
    for _ in 0..tasks {
        let count = 1 + random.below(acts);
        let kinds = (0..count).map(|_| if has_few { few[random.below(5) as usize] } else { random.below(KINDS) });
        let kinds: Vec<u64> = kinds.collect();
        program.push(kinds.into_iter().map(|kind| act(kind, random, tasks)).collect());
    }
    program
}

struct World {
    variables: [Tracked<u64>; 2],
    events: [Event; 2],
    lock: Lock,
    permits: Semaphore,
    queue: Queue<u64>,
    sender: Tracked<Option<oneshot::Sender<u64>>>,
    receiver: Tracked<Option<oneshot::Receiver<u64>>>,
    promise: Promise<u64>,
    barrier: Barrier,
    condition: Condition<u64>,
    channel: (channel::Sender<u64>, channel::Receiver<u64>),
    tasks: Tracked<Vec<Option<Rc<Task<u64>>>>>,
}

impl World {
    fn new(tasks: usize) -> Rc<Self> {
        let (sender, receiver) = oneshot();
        Rc::new(World {
            variables: Default::default(),
            events: Default::default(),
            lock: Lock::new(()),
            permits: Semaphore::new(1),
            queue: Queue::bounded(1),
            sender: Tracked::new(Some(sender)),
            receiver: Tracked::new(Some(receiver)),
            promise: Promise::new(),
            barrier: Barrier::new(2),
            condition: Condition::new(0),
            channel: channel(1),
            tasks: Tracked::new(vec![None; tasks]),
        })
    }

    fn task(&self, number: usize) -> Option<Rc<Task<u64>>> {
        self.tasks.with(|tasks| tasks[number].clone())
    }
}

async fn add(world: Rc<World>, variable: usize) {
    let before = world.variables[variable].get();
    yield_now().await;
    world.variables[variable].set(before + 1);
}

/// Returns what the task remembers at its end.
async fn run(own: usize, task: Vec<Act>, world: Rc<World>) -> u64 {
    let mut memory = 0;
    for act in task {
        match act {
            Act::Yield => yield_now().await,
            Act::Read(variable) => memory = world.variables[variable].get(),
            Act::Write(variable, more) => world.variables[variable].set(memory + more),
            Act::PanicIf(variable, value) => assert_ne!(world.variables[variable].get(), value),
            Act::Wait(event) => world.events[event].wait().await,
            Act::Set(event) => world.events[event].set(),
            Act::Clear(event) => world.events[event].clear(),
            Act::Look(event) => memory = u64::from(world.events[event].is_set()),
            Act::Locked(variable) => {
                let _guard = world.lock.lock().await;
                add(world.clone(), variable).await;
            }
            Act::TryLock => memory = u64::from(world.lock.try_lock().is_some()),
            Act::Acquire => {
                let _permit = world.permits.acquire().await;
                yield_now().await;
            }
            Act::TryAcquire => memory = u64::from(world.permits.try_acquire().is_some()),
            Act::Put(item) => world.queue.put(item).await.unwrap(),
            Act::Get => memory = timeout(SECOND, world.queue.get()).await.map_or(77, |got| got.unwrap()),
            Act::TryGet => memory = world.queue.try_get().unwrap_or(88),
            Act::Send(value) => {
                if let Some(sender) = world.sender.replace(None) {
                    memory = u64::from(sender.send(value).is_err());
                }
            }
            Act::Receive => {
                if let Some(receiver) = world.receiver.replace(None) {
                    memory = receiver.await.unwrap_or(66);
                }
            }
            Act::SetPromise(value) => memory = u64::from(world.promise.set_result(value).is_ok()),
            Act::CancelPromise => memory = u64::from(world.promise.cancel()),
            Act::AwaitPromise => memory = (&world.promise).await.unwrap_or(55),
            Act::Barrier => memory = world.barrier.wait().await.unwrap() as u64,
            Act::Notify => {
                let mut guard = world.condition.lock().await;
                *guard += 1;
                world.condition.notify_one(&guard);
            }
            Act::AwaitNotification => {
                let guard = world.condition.lock().await;
                memory = *world.condition.wait(guard).await;
            }
            Act::SendChannel(value) => world.channel.0.send(value).await.unwrap(),
            Act::ReceiveChannel => memory = world.channel.1.recv().await.unwrap(),
            Act::Sleep(seconds) => sleep(SECOND * seconds as u32).await,
            Act::WaitWithin(event) => memory = u64::from(timeout(SECOND, world.events[event].wait()).await.is_ok()),
            Act::Cancel(task) => memory = world.task(task).map_or(44, |task| u64::from(task.cancel())),
            Act::IsDone(task) => memory = world.task(task).map_or(44, |task| u64::from(task.is_done())),
            Act::Join(task) if task < own => {
                if let Some(task) = world.task(task) {
                    memory = (&*task).await.map_or(33, |value| 100 + value);
                }
            }
            Act::Join(_) => {}
            Act::Child(variable) => spawn(add(world.clone(), variable)).await.unwrap(),
            Act::Children(variable) => {
                gather([add(world.clone(), variable), add(world.clone(), 1 - variable)]).await.map(drop).unwrap()
            }
            Act::CallSoon(variable) => {
                let world = world.clone();
                call_soon(move || world.variables[variable].update(|value| 3 * value + 1));
            }
            Act::Choose => memory = choose(2) as u64,
        }
    }
    memory
}

/// The results of the tasks, and the variables. A task that waits for ever is cancelled.
async fn outcome(program: Program) -> (Vec<Result<u64, bool>>, [u64; 2]) {
    let world = World::new(program.len());
    for (own, task) in program.into_iter().enumerate() {
        let task = Rc::new(spawn(run(own, task, world.clone())));
        world.tasks.with_mut(|tasks| tasks[own] = Some(task));
    }
    sleep(100 * SECOND).await;
    let tasks: Vec<Rc<Task<u64>>> = world.tasks.with_mut(|tasks| tasks.drain(..).flatten().collect());
    tasks.iter().for_each(|task| _ = task.cancel());
    let mut results = Vec::new();
    for task in tasks {
        results.push((&*task).await.map_err(|error| error.is_cancelled()));
    }
    sleep(SECOND).await;
    (results, [0, 1].map(|variable| world.variables[variable].get()))
}

type Outcomes = BTreeSet<(Vec<Result<u64, bool>>, [u64; 2])>;

/// All outcomes of a program, if it has few orders.
fn outcomes(program: &Program, cancellations: u32, reduce: bool, most: u64) -> Option<(Outcomes, Statement)> {
    let seen = RefCell::new(Outcomes::new());
    let exploration = explore(|| async {
        let found = outcome(program.clone()).await;
        seen.borrow_mut().insert(found);
    });
    let exploration = exploration.cancellations(cancellations).max_orders(most);
    let exploration = if reduce { exploration.reduce() } else { exploration };
    let statement = exploration.check().unwrap_or_else(|failure| panic!("{program:?}\n{failure}"));
    statement.is_complete().then(|| (seen.take(), statement))
}

fn is_reduced(statement: &Statement) -> bool {
    statement.to_string().contains(" after reduction, complete")
}

/// Number of orders that were begun, and given up.
fn repeats(statement: &Statement) -> u64 {
    let text = statement.to_string();
    let (_, text) = text.split_once("sleep sets; ").unwrap();
    text.split_once(" given up as repeats").unwrap().0.parse().unwrap()
}

/// The panics of the programs are of no interest.
fn without_printing<R>(act: impl FnOnce() -> R) -> R {
    let hook = std::panic::take_hook();
    let thread = std::thread::current().id();
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().id() != thread {
            hook(panic);
        }
    }));
    act()
}

/// The set of outcomes of the reduced search is that of the full one.
#[test]
fn outcomes_are_those_of_all_orders() {
    let seeds = std::env::var("ONELANE_SEEDS").ok();
    let seeds = seeds.and_then(|text| {
        let (first, last) = text.split_once("..")?;
        Some(first.parse().ok()?..last.parse().ok()?)
    });
    let (mut compared, mut reduced, mut several, mut all, mut left, mut given_up) = (0, 0, 0, 0, 0, 0);
    without_printing(|| {
        for seed in seeds.unwrap_or(0..2_000) {
            let mut random = Random(seed);
            let program = program(&mut random);
            let cancellations = u32::from(random.below(6) == 0);
            let Some((expected, full)) = outcomes(&program, cancellations, false, 1_000) else { continue };
            let (found, statement) = outcomes(&program, cancellations, true, 100_000).expect("it is smaller");
            assert_eq!(found, expected, "seed {seed}, {cancellations} cancellations: {program:?}\n{statement}");
            compared += 1;
            if is_reduced(&statement) {
                assert!(statement.orders <= full.orders, "seed {seed}: {statement}\n{full}");
                reduced += 1;
                several += u32::from(expected.len() > 1);
                all += full.orders;
                left += statement.orders;
                given_up += repeats(&statement);
            }
        }
    });
    println!(
        "{compared} programs, {reduced} reduced, {several} with several outcomes; {left} of {all} orders, and {given_up} repeats"
    );
    assert!(10 * reduced > 9 * compared && 3 * left < all, "{reduced} of {compared}; {left} of {all}");
}

async fn yields(times: usize) {
    for _ in 0..times {
        yield_now().await;
    }
}

/// Tasks that share nothing are one class, whatever they do.
#[test]
fn independent_tasks_are_one_class() {
    let alone = || {
        let statement = explore(|| async { gather([yields(1), yields(1), yields(1)]).await.map(drop) }).run();
        statement.orders
    };
    assert_eq!(alone(), 1_680);
    for (tasks, steps) in [(1, 3), (2, 5), (3, 3), (4, 4), (6, 6)] {
        let statement = explore(|| async { gather((0..tasks).map(|_| yields(steps))).await.map(drop) }).reduce().run();
        assert_eq!((statement.orders, statement.is_complete()), (1, true), "{tasks} tasks: {statement}");
        assert_eq!(repeats(&statement), 0, "{statement}");
    }
    // Each has its own lock, its own queue, and its own time.
    let busy = |number: u64| async move {
        let (lock, queue) = (Lock::new(0), Queue::bounded(1));
        for turn in 0..3 {
            *lock.lock().await += turn;
            queue.put(turn).await.unwrap();
            sleep(SECOND).await;
            assert_eq!(queue.get().await, Ok(turn));
        }
        number
    };
    let statement = explore(|| async move { gather((0..4).map(busy)).await.map(drop) }).reduce().run();
    assert_eq!((statement.orders, statement.is_complete()), (1, true), "{statement}");
}

/// How many orders are left, of a few programs whose classes can be counted by hand.
#[test]
fn classes_are_counted() {
    fn count<M: IntoFuture<Output: explore::Outcome>>(program: impl Fn() -> M) -> u64 {
        let statement = explore(program).reduce().run();
        assert!(statement.is_complete() && is_reduced(&statement), "{statement}");
        statement.orders
    }

    /// Each of these tasks runs in one step.
    async fn all(steps: Vec<Box<dyn Fn()>>) {
        gather(steps.into_iter().map(|step| async move { step() })).await.unwrap();
    }

    // Two readers and a writer: the writer is before or behind each of the readers.
    let readers = || async {
        let value = Rc::new(Tracked::new(0));
        let (one, other, third) = (value.clone(), value.clone(), value);
        let reads = |value: Rc<Tracked<i32>>| Box::new(move || _ = value.get()) as Box<dyn Fn()>;
        all(vec![reads(one), reads(other), Box::new(move || third.set(1))]).await;
    };
    assert_eq!(count(readers), 4);
    // Three writers: all their orders.
    let writers = || async {
        let value = Rc::new(Tracked::new(0));
        let write = |value: Rc<Tracked<i32>>| Box::new(move || value.update(|value| value + 1)) as Box<dyn Fn()>;
        all((0..3).map(|_| write(value.clone())).collect()).await;
    };
    assert_eq!(count(writers), 6);
    // Two pairs of writers.
    let pairs = || async {
        let values = [0, 1].map(|_| Rc::new(Tracked::new(0)));
        let write = |value: Rc<Tracked<i32>>| Box::new(move || value.set(1)) as Box<dyn Fn()>;
        all((0..4).map(|nth| write(values[nth % 2].clone())).collect()).await;
    };
    assert_eq!(count(pairs), 4);
    // Own choices are branches.
    let choices = || async { gather([3, 3].map(|among| async move { _ = choose(among) })).await.map(drop) };
    assert_eq!(count(choices), 9);
    // Timers that only wake are not ordered; the tasks that they wake share nothing.
    assert_eq!(count(|| async { gather([1, 1, 1, 2, 2].map(|s| sleep(s * SECOND))).await.map(drop) }), 1);
}

#[test]
fn the_statement_names_the_reduction() {
    let program = || async { gather([yields(2), yields(2)]).await.map(drop) };
    let text = explore(program).run().to_string();
    assert!(text.contains("orders, complete\n") && text.ends_with("\n  reduction: none"), "{text}");
    let text = explore(program).reduce().run().to_string();
    assert!(text.starts_with("1 order after reduction, complete\n"), "{text}");
    let line = "\n  reduction: one order of each class, by source sets and sleep sets; 0 given up as repeats; promised: \
                tasks share state only through sync, Tracked, promises and tasks";
    assert!(text.ends_with(line), "{text}");
    let races = || async {
        let value = Rc::new(Tracked::new(0));
        let write = || {
            let value = value.clone();
            async move {
                for _ in 0..5 {
                    value.update(|value| value + 1);
                    yield_now().await;
                }
            }
        };
        gather([write(), write(), write()]).await.map(drop)
    };
    let statement = explore(races).reduce().max_orders(20).run();
    assert_eq!(statement.orders + repeats(&statement), 20, "{statement}");
    assert!(statement.to_string().contains(" orders after reduction, not complete\n"), "{statement}");
    assert!(!statement.is_complete());
}

/// What the search does not know makes it give up, with the same result as without reduction.
#[test]
fn gives_up_what_it_does_not_know() {
    fn given_up<M: IntoFuture<Output: explore::Outcome>>(program: impl Fn() -> M, why: &str) {
        compare(explore(&program), explore(&program), why);
    }

    fn compare(full: Explore<'_>, reduced: Explore<'_>, why: &str) {
        let (expected, statement) = (full.run(), reduced.reduce().run());
        assert_eq!(statement.orders, expected.orders, "{statement}");
        let line = format!("\n  reduction: none; it was asked for, and given up because of {why}");
        assert!(statement.to_string().ends_with(&line), "{statement}");
    }

    given_up(
        || async {
            drop(spawn(sleep(SECOND)));
            yields(1).await;
        },
        "tasks, callbacks or timers that are left when main has ended",
    );
    given_up(
        || async { drop(onelane::call_later(SECOND, || ())) },
        "tasks, callbacks or timers that are left when main has ended",
    );
    given_up(|| async { drop(onelane::call_later(Duration::ZERO, || ())) }, "timers that are due at once");
    let sleeps = || async {
        let sleeps = spawn(sleep(SECOND));
        yields(2).await;
        sleeps.await.map(drop)
    };
    compare(explore(sleeps).late_timers(), explore(sleeps).late_timers(), "late timers, while something is ready");
    given_up(|| async { drop(onelane::metrics()) }, "metrics()");
    // The value's destructor closes the channel: in the step of its task, or before in that of main.
    let drops_a_value = || async {
        let (sender, receiver) = oneshot::<()>();
        let value = spawn(async move { Some(receiver) });
        yields(1).await;
        drop(value);
        _ = sender.is_closed();
        sleep(SECOND).await;
    };
    given_up(drops_a_value, "a value that was dropped with the last handle of its task");
    given_up(|| async { drop(onelane::all_tasks()) }, "all_tasks()");
    given_up(|| async { drop(onelane::call_graph()) }, "call_graph()");
    given_up(|| async { _ = onelane::EventLoop::current() }, "EventLoop::current()");
    given_up(|| async { onelane::task_group(async |_| ()).await.map(drop) }, "task groups");
    given_up(|| async { onelane::scope(async |_| ()).await.map(drop) }, "scopes");
    given_up(|| async { onelane::finally(yields(1), yields(1)).await }, "finally()");
    given_up(|| async { onelane::on_cancel(yields(1), yields(1)).await }, "on_cancel()");
    given_up(|| async { onelane::catch_cancel(yields(1)).await.map(drop) }, "catch_cancel()");
    given_up(|| async { onelane::as_completed([yields(1)]).next().await.unwrap() }, "as_completed()");
    given_up(|| async { onelane::shield(yields(1)).await }, "shield()");
    given_up(|| async { drop(onelane::wait([spawn(yields(1))]).await) }, "wait()");
    given_up(|| async { _ = onelane::interval(SECOND).tick().await }, "intervals");
    given_up(|| async { drop(onelane::Deadline::after(SECOND)) }, "deadlines");
    given_up(|| async { drop(onelane::EventLoop::new()) }, "another event loop");

    let bounded = explore(|| yields(1)).max_cost(0).reduce().run();
    assert!(bounded.to_string().contains("given up because of max_cost()"), "{bounded}");
}

/// The failure is the one that the search by cost finds, with its certificate.
#[test]
fn a_failure_is_the_cheapest() {
    let program = || async {
        let value = Rc::new(Tracked::new(0));
        let tasks = [1, 2].map(|_| spawn(add_slowly(value.clone())));
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(value.get(), 2, "an update was lost");
    };
    async fn add_slowly(value: Rc<Tracked<i32>>) {
        yields(1).await;
        let before = value.get();
        value.set(before + choose(2) as i32 + 1 - choose(2) as i32);
    }
    let expected = failure(explore(program));
    let found = failure(explore(program).reduce());
    assert_eq!((&found.fault, &found.schedule, found.cost), (&expected.fault, &expected.schedule, expected.cost));
    assert!(found.is_cheapest);
    let text = found.to_string();
    assert!(text.contains("reduction: none; with it, order "), "{text}");

    // The search by cost has too few orders to find it. So the failure is shrunk.
    let far = || async {
        let event = Rc::new(Event::new());
        let copies = [0; 6].map(|_| event.clone());
        let first = spawn(async move { copies.iter().for_each(|event| event.clear()) });
        let value = Rc::new(Tracked::new(0));
        let count = |value: Rc<Tracked<i32>>| async move {
            for _ in 0..4 {
                value.update(|value| value + 1);
                yield_now().await;
            }
        };
        let (one, other) = (spawn(count(Rc::default())), spawn(count(Rc::default())));
        let looks = spawn({
            let value = value.clone();
            async move {
                yields(3).await;
                assert_ne!(value.get(), 0, "nobody has come");
            }
        });
        let last = spawn(async move {
            yields(2).await;
            value.set(1);
        });
        for task in [first, one, other, looks, last] {
            task.await.unwrap();
        }
    };
    let found = failure(explore(far).reduce().max_orders(12));
    assert!(!found.is_cheapest && found.cost > 0, "{found}");
    assert!(matches!(found.fault, Fault::Panic(_)));
    assert!(found.to_string().contains(" after reduction, not complete"), "{found}");
    assert_eq!(failure(explore(far).replay(&found.schedule)).fault, found.fault);
}

/// A program that is not the same twice.
#[test]
fn a_difference_between_two_orders_is_noticed() {
    let runs = Cell::new(0);
    let program = || {
        runs.set(runs.get() + 1);
        let is_late = runs.get() > 4;
        async move {
            let value = Rc::new(Tracked::new(0));
            let write = |value: Rc<Tracked<i32>>| async move {
                yields(if is_late { 2 } else { 1 }).await;
                value.update(|value| value + 1);
                yield_now().await;
                value.update(|value| value + 1);
            };
            gather([write(value.clone()), write(value)]).await.map(drop)
        }
    };
    let found = failure(explore(program).reduce());
    assert!(matches!(found.fault, Fault::Differs(_)), "{found}");
}

/// Drops an await of a task that may have ended meanwhile: if not, this cancels the task. The drop and
/// the end are a race, although the drop polls nothing. If `is_moved`, the await was polled by another
/// task before.
async fn drop_an_await(is_moved: bool, is_through: Rc<Cell<bool>>) -> Result<(), onelane::TaskError> {
    let event = Rc::new(Event::new());
    let copy = event.clone();
    let worker = spawn(async move {
        yield_now().await;
        is_through.set(true);
    });
    let (sender, receiver) = oneshot();
    let first = spawn(async move {
        let mut join = worker.into_future();
        if is_moved {
            _ = poll_once(&mut join).await;
        }
        _ = sender.send(join);
    });
    let second = spawn(async move {
        let mut join = receiver.await.unwrap();
        let mut come = Box::pin(async move { copy.wait().await });
        poll_fn(|context| {
            let has_come = come.as_mut().poll(context).is_ready();
            if has_come || !is_moved && Pin::new(&mut join).poll(context).is_ready() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
        drop(join);
    });
    let third = spawn(async move {
        yield_now().await;
        event.set();
    });
    first.await?;
    second.await?;
    third.await?;
    sleep(SECOND).await;
    Ok(())
}

async fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    poll_fn(|context| match Pin::new(&mut *future).poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

#[test]
fn the_drop_of_an_await_and_the_end_of_its_task_are_a_race() {
    for is_moved in [false, true] {
        let ends = |is_reduced: bool| {
            let ends = RefCell::new(BTreeSet::new());
            let run = || async {
                let is_through = Rc::new(Cell::new(false));
                drop_an_await(is_moved, is_through.clone()).await?;
                ends.borrow_mut().insert(is_through.get());
                Ok::<_, onelane::TaskError>(())
            };
            let search = explore(run);
            let statement = if is_reduced { search.reduce().run() } else { search.run() };
            assert!(statement.is_complete() && is_reduced == crate::reduced::is_reduced(&statement), "{statement}");
            ends.into_inner()
        };
        assert_eq!(ends(true), ends(false), "moved: {is_moved}");
        assert_eq!(ends(true).len(), 2, "moved: {is_moved}");
    }
}
