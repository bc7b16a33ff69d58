//! The call graph, captured inside and outside a running loop. Capturing it changes nothing.

mod common;

use common::{Post, Trace, alone, ms, on_drop, panic_of, virtual_loop};
use futures_util::future::{join, select};
use onelane::sync::{Event, Lock};
use onelane::{
    CallGraph, EventLoop, Task, TaskState, Turn, call_graph, call_later, call_soon, current_task, finally, gather,
    print_call_graph, shield, sleep, spawn, task, task_group, timeout, wait, yield_now,
};
use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::thread;

/// Each task's name, state and waits, without the places.
fn short(graph: &CallGraph) -> Vec<String> {
    let line = |task: &onelane::TaskSnapshot| {
        let waits: Vec<&str> = task.waits_for.iter().map(|wait| wait.what.as_str()).collect();
        format!("{} {:?}: {}", task.name, task.state, waits.join(", "))
    };
    graph.tasks.iter().map(line).collect()
}

fn named<T: 'static>(name: &str, future: impl Future<Output = T> + 'static) -> Task<T> {
    task::Builder::new().name(name).spawn(future)
}

// ---- where it is captured ----

#[test]
fn capture_in_a_task_and_in_a_callback() {
    let seen = Trace::new();
    virtual_loop().run(async {
        current_task().unwrap().set_name("main");
        let sleeper = named("sleeper", async { sleep(ms(1500)).await });
        let copy = seen.clone();
        let _waiter = named("waiter", async move {
            call_soon({
                let copy = copy.clone();
                move || copy.push(short(&call_graph()).join("; "))
            });
            sleeper.await.unwrap();
        });
        seen.push(short(&call_graph()).join("; "));
        yield_now().await;
        sleep(ms(500)).await;
        seen.push(short(&call_graph()).join("; "));
    });
    assert_eq!(
        seen.take(),
        [
            "main Running: ; sleeper Queued: ; waiter Queued: ",
            "main Waiting: a sleep, 500.000 ms more; sleeper Waiting: a sleep, 1.500 s more; waiter Waiting: task \"sleeper\"",
            "main Running: ; sleeper Waiting: a sleep, 1.000 s more; waiter Waiting: task \"sleeper\"",
        ]
    );
}

/// Captures the graph in destructors: of a future at its task's end, of a cancelled future, of an
/// untaken value, and of the argument of an uncalled callback. Also captures it in a done callback.
#[test]
fn capture_in_destructors_and_done_callbacks() {
    let seen = Trace::new();
    let look = |word: &'static str| {
        let seen = seen.clone();
        move || seen.push(format!("{word}: {}", short(&call_graph()).join("; ")))
    };
    virtual_loop().run(async {
        current_task().unwrap().set_name("main");
        let (local, outcome) = (on_drop(look("local")), on_drop(look("outcome")));
        let ends = named("ends", async move {
            let _local = local;
            outcome
        });
        ends.add_done_callback({
            let look = look("done");
            move |_| look()
        });
        drop(ends);
        let frame = on_drop(look("cancelled"));
        let cancelled = named("cancelled", async move {
            let _frame = frame;
            sleep(ms(1000)).await;
        });
        let argument = on_drop(look("argument"));
        let handle = call_soon(move || drop(argument));
        yield_now().await;
        handle.cancel();
        cancelled.cancel();
        yield_now().await;
    });
    assert_eq!(
        seen.take(),
        [
            "local: main Queued: ; ends Running: ; cancelled Queued: ",
            "argument: main Queued: ; cancelled Waiting: a sleep, 1.000 s more",
            "done: main Queued: ; cancelled Queued: a sleep, 1.000 s more",
            // The done callback held the last handle.
            "outcome: main Queued: ; cancelled Queued: a sleep, 1.000 s more",
            "cancelled: main Queued: ; cancelled Running: ",
        ]
    );
}

/// Captures in the destructors of the futures of each combinator, of a cleanup, of a panic, and of
/// the loop.
#[test]
fn capture_while_anything_is_dropped() {
    let count = Rc::new(Cell::new(0));
    let look = || {
        let count = count.clone();
        let frame = on_drop(move || {
            let graph = call_graph();
            assert_eq!(graph.to_string().matches("(T)").count(), graph.tasks.len());
            assert!(serde_json::from_str::<serde_json::Value>(&graph.to_json()).is_ok());
            count.set(count.get() + 1);
        });
        async move {
            let _frame = frame;
            sleep(ms(1000)).await;
        }
    };
    let event_loop = virtual_loop();
    event_loop.run(async {
        let waits: Vec<Task<()>> = vec![
            spawn({
                let children = gather([look(), look()]);
                async { drop(children.await) }
            }),
            spawn({
                let tasks = [spawn(look())];
                async move { drop(wait(&tasks).await) }
            }),
            spawn({
                let shielded = look();
                async move { drop(shield(spawn(shielded)).await) }
            }),
            spawn({
                let inside = look();
                async move { _ = timeout(ms(5), inside).await }
            }),
            spawn({
                let (body, cleanup) = (look(), look());
                finally(body, async move { _ = timeout(ms(1), cleanup).await })
            }),
            spawn({
                let (child, body) = (look(), look());
                async move {
                    let grouped = task_group(async move |group| {
                        group.spawn(child);
                        body.await
                    });
                    drop(grouped.await)
                }
            }),
            spawn(sleep(ms(1))),
        ];
        yield_now().await;
        yield_now().await;
        assert_eq!(call_graph().tasks.len(), 1 + 7 + 5);
        for task in &waits {
            task.cancel();
        }
        sleep(ms(100)).await;
    });
    assert_eq!(count.get(), 9);
    event_loop.spawn(look());
    event_loop.turn();
    drop(event_loop);
    assert_eq!(count.get(), 10);
}

#[test]
fn capture_outside_of_turns() {
    let event_loop = virtual_loop();
    assert!(event_loop.call_graph().tasks.is_empty());
    let home = event_loop.loop_ref();
    let task = event_loop.spawn(async { sleep(ms(2000)).await });
    event_loop.turn();
    let other = virtual_loop();
    let of_other = other.run(async { home.call_graph() });
    for graph in [event_loop.call_graph(), home.call_graph(), of_other] {
        let wait = &graph.task(task.id()).unwrap().waits_for[0];
        assert_eq!((wait.what.as_str(), wait.until.unwrap() - graph.time), ("a sleep, 2.000 s more", ms(2000)));
        assert_eq!((graph.time, graph.tasks[0].state), (event_loop.time(), TaskState::Waiting));
    }
    drop(event_loop);
    assert!(
        panic_of(|| home.call_graph()).starts_with("LoopRef::call_graph() was called, but the event loop is closed")
    );
    assert!(panic_of(call_graph).starts_with("call_graph() was called, but there is no running event loop"));
    assert!(
        panic_of(print_call_graph).starts_with("print_call_graph() was called, but there is no running event loop")
    );
}

/// A task of another loop has no edge, and a foreign future has no description.
#[test]
fn tell_no_more_than_is_known() {
    let other = virtual_loop();
    let elsewhere = other.remote().spawn(pending::<()>()).unwrap();
    let event_loop = virtual_loop();
    // A remote task of this loop. Its handle does not know the task before it is spawned.
    let here = event_loop.remote().spawn(pending::<()>()).unwrap();
    event_loop.spawn(elsewhere);
    event_loop.spawn(here);
    event_loop.spawn(pending::<()>());
    event_loop.turn();
    let graph = event_loop.call_graph();
    for task in &graph.tasks[..2] {
        assert_eq!(task.waits_for[0].what, "a task spawned by a Remote");
        assert!(task.waits_for[0].tasks.is_empty());
    }
    assert!(graph.tasks[2].waits_for.is_empty());
    assert!(graph.to_string().contains("    └── a future that is not onelane's, and its last waker was dropped"));
}

// ---- what it contains ----

#[test]
fn forget_waits_that_are_over() {
    let event_loop = virtual_loop();
    event_loop.run(async {
        let event = Event::new();
        let task = spawn(async move {
            // Waits that lost, that won, and that were dropped without a poll.
            select(Box::pin(event.wait()), Box::pin(sleep(ms(1)))).await;
            drop(event.wait());
            timeout(ms(1), event.wait()).await.unwrap_err();
            join(event.wait(), sleep(ms(5))).await;
        });
        sleep(ms(3)).await;
        let graph = call_graph();
        let waits: Vec<_> = graph.task(task.id()).unwrap().waits_for.iter().collect();
        assert_eq!(waits.len(), 2);
        assert_eq!((waits[0].until, waits[1].until.unwrap() - graph.time), (None, ms(4)));
        sleep(ms(5)).await;
        assert_eq!(call_graph().task(task.id()).unwrap().waits_for.len(), 1);
        task.cancel();
    });
}

/// While a cancelled task unwinds, the graph shows what its cleanup waits for.
#[test]
fn show_the_cleanup_of_a_cancelled_task() {
    virtual_loop().run(async {
        let cleaning = spawn(finally(async { sleep(ms(1000)).await }, async { sleep(ms(7)).await }));
        let waits = || short(&call_graph())[1].clone();
        yield_now().await;
        assert!(waits().ends_with("Waiting: a sleep, 1.000 s more"), "{}", waits());
        cleaning.cancel();
        assert!(waits().ends_with("Queued: a sleep, 1.000 s more"), "{}", waits());
        yield_now().await;
        assert!(waits().ends_with("Waiting: a sleep, 7.000 ms more"), "{}", waits());
        assert!(cleaning.await.unwrap_err().is_cancelled());
    });
}

/// The sleeps of many tasks: the timers are searched once, not once for each task.
#[test]
fn capture_many_sleeps() {
    let event_loop = virtual_loop();
    const TASKS: u64 = 20_000;
    for n in 0..TASKS {
        event_loop.spawn(async move { _ = join(sleep(ms(TASKS - n)), sleep(ms(1_000_000))).await });
    }
    event_loop.turn();
    let graph = event_loop.call_graph();
    for (n, task) in (0..).zip(&graph.tasks) {
        let left: Vec<_> = task.waits_for.iter().map(|wait| wait.until.unwrap() - graph.time).collect();
        assert_eq!(left, [ms(TASKS - n), ms(1_000_000)]);
    }
    for task in event_loop.all_tasks() {
        task.cancel();
    }
    event_loop.turn();
    assert!(event_loop.call_graph().tasks.is_empty());
}

/// A very long chain is drawn without recursion, and not in quadratic time.
#[test]
fn draw_a_chain_of_twenty_thousand() {
    let event_loop = virtual_loop();
    let mut last = event_loop.spawn(pending::<()>());
    for _ in 1..20_000 {
        last = event_loop.spawn(async move { last.await.unwrap() });
    }
    event_loop.turn();
    let graph = event_loop.call_graph();
    assert_eq!(graph.to_string().matches("└── task \"").count(), 19_999);
    assert_eq!((graph.circles().len(), graph.ps().lines().count()), (0, 20_001));
    last.cancel();
    event_loop.turn();
}

// ---- it changes nothing ----

/// Waits of many kinds, in sequence and at the same time.
async fn program(trace: Trace, look: Rc<dyn Fn()>) {
    let lock = Rc::new(Lock::new(0));
    let event = Rc::new(Event::new());
    let workers: Vec<Task<u32>> = (0..4)
        .map(|n| {
            let (lock, event, trace) = (lock.clone(), event.clone(), trace.clone());
            spawn(async move {
                trace.push(format!("{n} begins"));
                let mut guard = lock.lock().await;
                sleep(ms(2)).await;
                *guard += 1;
                drop(guard);
                trace.push(format!("{n} has counted"));
                let _late = timeout(ms(n), event.wait()).await;
                trace.push(format!("{n} ends"));
                *lock.lock().await
            })
        })
        .collect();
    call_later(ms(3), {
        let trace = trace.clone();
        move || {
            event.set();
            trace.push("set");
            look();
        }
    });
    let group = task_group(async |group| {
        for n in 0..3 {
            let trace = trace.clone();
            group.spawn(async move {
                sleep(ms(3 - n)).await;
                trace.push(format!("child {n}"));
            });
        }
    });
    let (counts, _) = join(gather(workers), group).await;
    trace.push(format!("{:?}", counts.unwrap()));
}

/// The same events happen in the same turns if the graph is captured after each turn and within the
/// turns.
#[test]
fn capture_without_changing_anything() {
    let run = |look: Rc<dyn Fn()>, after_a_turn: &dyn Fn(&EventLoop)| {
        let (trace, event_loop) = (Trace::new(), virtual_loop());
        let task = event_loop.spawn(program(trace.clone(), look.clone()));
        let mut turns = Vec::new();
        while !task.is_done() {
            // Only if something is ready anyway; otherwise the callback would keep the clock from
            // advancing.
            if turns.last().is_some_and(|turn: &Turn| !turn.is_idle()) {
                let look = look.clone();
                event_loop.call_soon(move || look());
            }
            turns.push(event_loop.turn());
            after_a_turn(&event_loop);
        }
        let turns: Vec<_> = turns.iter().map(|turn| (turn.steps, turn.callbacks, turn.timers, turn.tasks)).collect();
        (trace.take(), turns)
    };
    let pictures = Rc::new(Cell::new(0));
    let copy = pictures.clone();
    let looking = run(Rc::new(move || copy.set(copy.get() + call_graph().to_json().len())), &|event_loop| {
        assert_eq!(event_loop.call_graph().tasks.len(), event_loop.all_tasks().len());
    });
    assert_eq!(looking, run(Rc::new(|| ()), &|_| ()));
    assert!(pictures.get() > 1000 && looking.0.len() > 15, "{looking:?}");
}

/// A capture polls no task, and clones, wakes and drops no waker.
#[test]
fn poll_nobody() {
    let event_loop = virtual_loop();
    let post = Post::new();
    event_loop.spawn(post.wait());
    event_loop.turn();
    for _ in 0..3 {
        drop(event_loop.call_graph());
    }
    assert_eq!((post.polls(), event_loop.turn().steps), (1, 0));
}

// ---- printing ----

#[test]
fn print_at_once_and_on_stderr() {
    const NAME: &str = "print_at_once_and_on_stderr";
    const PRINTS: &str = "ONELANE_TEST_PRINTS";
    if std::env::var_os(PRINTS).is_some() {
        let event_loop = virtual_loop();
        let remote = event_loop.remote();
        event_loop.run(async {
            let _tea = named("te\na", async { sleep(ms(3000)).await });
            yield_now().await;
            // Sent from another thread, and printed on this one.
            thread::spawn(move || remote.call_soon(print_call_graph)).join().unwrap().unwrap();
            sleep(ms(1000)).await;
        });
        return;
    }
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--exact", NAME, "--nocapture"]).env(PRINTS, "1").output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    let places: Vec<&str> = told.lines().filter_map(|line| line.rsplit_once(", at ")).map(|(_, place)| place).collect();
    assert_eq!(places.len(), 2, "{told}");
    let expected = [
        &format!("onelane: 2 task(s) on thread {NAME}:"),
        "└── (T) print_at_once_and_on_stderr-1",
        &format!("    └── a sleep, 1.000 s more, at {}", places[0]),
        r"└── (T) te\na",
        &format!("    └── a sleep, 3.000 s more, at {}", places[1]),
    ];
    assert_eq!(told.lines().collect::<Vec<_>>(), expected);
    assert!(output.status.success());
}

/// Printing to a closed pipe does not panic.
#[cfg(unix)]
#[test]
fn print_where_nobody_reads() {
    const NAME: &str = "print_where_nobody_reads";
    const PRINTS: &str = "ONELANE_TEST_PRINTS_TO_NOBODY";
    if std::env::var_os(PRINTS).is_some() {
        virtual_loop().run(async { print_call_graph() });
        return;
    }
    let full = std::fs::File::options().write(true).open("/dev/full");
    let Ok(full) = full else { return eprintln!("skipped: there is no /dev/full") };
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    let status = command.args(["--exact", NAME, "--nocapture"]).env(PRINTS, "1").stderr(full).output().unwrap().status;
    assert!(status.success(), "{status}");
}

// ---- the names of unnamed tasks ----

struct Shop(Rc<RefCell<u32>>);

impl Shop {
    async fn count(&self) -> u32 {
        yield_now().await;
        *self.0.borrow()
    }

    async fn open(self) -> u32 {
        self.count().await
    }
}

trait Sells {
    fn sell(self) -> impl Future<Output = u32>;
}

impl Sells for Shop {
    async fn sell(self) -> u32 {
        self.count().await
    }
}

async fn serve(n: u32) -> u32 {
    yield_now().await;
    n
}

async fn twice<F: Future<Output = u32>>(make: impl Fn() -> F) -> u32 {
    make().await + make().await
}

fn boxed(n: u32) -> Pin<Box<dyn Future<Output = u32>>> {
    Box::pin(serve(n))
}

fn not_async(n: u32) -> impl Future<Output = u32> {
    serve(n)
}

#[test]
fn name_tasks_after_their_functions() {
    let shop = || Shop(Rc::default());
    let closure = async || 1;
    virtual_loop().run(async {
        // The handles are kept, so that nothing is dropped before it is named.
        let tasks = [
            spawn(serve(1)),
            spawn(async { 1 }),
            spawn(async move { 1 }),
            spawn(shop().open()),
            spawn(async move { shop().count().await }),
            spawn(shop().sell()),
            spawn(twice(|| serve(1))),
            spawn(twice::<Pin<Box<dyn Future<Output = u32>>>>(|| boxed(1))),
            spawn(not_async(1)),
            spawn(Box::pin(serve(1))),
            spawn(boxed(1)),
            spawn(poll_fn(|_| std::task::Poll::Ready(1))),
            spawn(closure()),
        ];
        let names: Vec<String> = tasks.iter().map(|task| task.name().rsplit_once('-').unwrap().0.to_string()).collect();
        let here = "name_tasks_after_their_functions";
        assert_eq!(
            names,
            ["serve", here, here, "open", here, "sell", "twice", "twice", "serve", "serve", "Task", here, here,]
        );
        let numbers: Vec<_> = tasks.iter().map(|task| task.name().rsplit_once('-').unwrap().1.to_string()).collect();
        assert_eq!(numbers, (2..15).map(|n| n.to_string()).collect::<Vec<_>>());
    });
}

#[test]
fn name_the_children_of_combinators_after_their_functions() {
    fn names() -> Vec<String> {
        call_graph().tasks.iter().map(|task| task.name.clone()).collect()
    }
    virtual_loop().run(async {
        let here = "name_the_children_of_combinators_after_their_functions";
        assert_eq!(names(), [format!("{here}-1")]);
        let gathered = gather([serve(1), serve(2)]);
        assert_eq!(names()[1..], ["serve-2", "serve-3"]);
        gathered.await.unwrap();
        let results = onelane::as_completed([serve(1), serve(2)]);
        assert_eq!(names()[1..], ["serve-4", "serve-5"]);
        while results.next().await.is_some() {}
        task_group(async |group| {
            group.spawn(serve(1));
            group.spawn(async { 5 });
            assert_eq!(names()[1..], ["serve-6".to_string(), format!("{here}-7")]);
        })
        .await
        .unwrap();
        let (one, other) = gather!(serve(1), async { names()[1..].to_vec() }).await.unwrap();
        assert_eq!((one, other), (1, vec!["serve-8".to_string(), format!("{here}-9")]));
        let late = spawn(timeout(ms(1), serve(1)));
        let sleeper = spawn(sleep(ms(1)));
        assert_eq!((&*late.name(), &*sleeper.name()), ("serve-10", "Sleep-11"));
        assert_eq!(names()[1..], ["serve-10", "Sleep-11"]);
        drop((late.await, sleeper.await));
    });
}

/// The name is available as long as there is a handle, even after the future was dropped.
#[test]
fn keep_the_name_of_a_task_that_has_ended() {
    virtual_loop().run(async {
        let task = spawn(serve(1));
        (&task).await.unwrap();
        assert_eq!((&*task.name(), task.task_ref().state()), ("serve-2", TaskState::Done));
        task.set_name("other");
        assert_eq!(&*task.task_ref().name(), "other");
    });
}

#[test]
fn name_the_main_task() {
    fn name() -> String {
        current_task().unwrap().name().to_string()
    }
    async fn main() -> String {
        name()
    }
    alone("name_the_main_task", || {
        assert_eq!(onelane::run(main()), "main-1");
        assert_eq!(virtual_loop().run(Box::pin(main())), "main-1");
        assert_eq!(virtual_loop().run(async { name() }), "name_the_main_task-1");
    });
}
