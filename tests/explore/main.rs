//! Exploration: the number of orders, the cheapest failure, replay, what fails, and what a statement
//! says. `brute_force.rs` has a model that knows a queue and nothing else; `sources.rs` has programs that
//! use what no exploration sets.

mod brute_force;
#[path = "../../examples/explore/cache.rs"]
mod cache;
mod certificate;
#[path = "../../examples/explore/lost_update.rs"]
mod lost_update;
#[path = "../../examples/explore/permit.rs"]
mod permit;
#[path = "../../examples/explore/philosophers.rs"]
mod philosophers;
mod reduced;
#[path = "../../examples/explore/reply.rs"]
mod reply;
mod sources;

use onelane::explore::{Explore, Failure, Fault, Statement, choose};
use onelane::sync::{Event, Lock, Semaphore, Tracked};
use onelane::{Promise, call_soon, explore, gather, sleep, spawn, timeout, yield_now};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// Spawns tasks with these numbers of steps. Main continues only when all have ended, so no choice
/// is between main and a task.
async fn independent(steps: &[usize], see: Rc<dyn Fn(usize)>) {
    let (left, over) = (Rc::new(Cell::new(steps.len())), Rc::new(Promise::new()));
    for (task, &steps) in steps.iter().enumerate() {
        let (left, over, see) = (left.clone(), over.clone(), see.clone());
        drop(spawn(async move {
            for step in 0..steps {
                if step > 0 {
                    yield_now().await;
                }
                see(task);
            }
            left.set(left.get() - 1);
            if left.get() == 0 {
                over.set_result(()).unwrap();
            }
        }));
    }
    (&*over).await.unwrap();
}

fn orders(steps: &'static [usize]) -> (Statement, BTreeMap<Vec<usize>, usize>) {
    let seen = Rc::new(RefCell::new(BTreeMap::new()));
    let copy = seen.clone();
    let statement = explore(move || {
        let seen = copy.clone();
        async move {
            let order = Rc::new(RefCell::new(Vec::new()));
            let copy = order.clone();
            independent(steps, Rc::new(move |task| copy.borrow_mut().push(task))).await;
            *seen.borrow_mut().entry(order.take()).or_insert(0) += 1;
        }
    })
    .run();
    let seen = seen.take();
    (statement, seen)
}

/// (nk)!/(k!)^n orders, each once. The normal order is run two more times, to compare its runs.
#[test]
fn independent_tasks_have_each_order_once() {
    let numbers: [(&'static [usize], u64); 6] =
        [(&[1], 1), (&[1, 1], 2), (&[2, 2], 6), (&[3, 3, 3], 1680), (&[5, 5], 252), (&[1, 1, 1, 1, 1], 120)];
    for (steps, expected) in numbers {
        let (statement, seen) = orders(steps);
        assert_eq!((statement.orders, statement.is_complete()), (expected, true), "{steps:?}: {statement}");
        assert_eq!(seen.len() as u64, expected, "{steps:?}");
        let round_robin = (0..steps[0]).flat_map(|_| 0..steps.len()).collect::<Vec<_>>();
        for (order, times) in seen {
            assert_eq!(times, if order == round_robin { 3 } else { 1 }, "{order:?}");
        }
    }
}

/// The numbers of an enumerator that knows a queue and nothing else.
#[test]
fn orders_by_cost() {
    assert_eq!(orders(&[3, 3, 3]).0.costs, [1, 8, 35, 100, 204, 311, 359, 314, 206, 99, 34, 8, 1]);
    assert_eq!(orders(&[5, 5]).0.costs, [1, 9, 32, 62, 70, 49, 22, 6, 1]);
}

#[test]
fn statement_names_the_bound() {
    let program = || independent(&[3, 3, 3], Rc::new(|_| ()));
    let statement = explore(program).max_cost(2).run();
    assert_eq!(statement.to_string().lines().next(), Some("44 orders, all of cost <= 2; not complete"));
    let statement = explore(program).run();
    assert_eq!(statement.to_string().lines().next(), Some("1,680 orders, complete"));
    let statement = explore(program).max_orders(50).run();
    assert_eq!(statement.to_string().lines().next(), Some("50 orders, all of cost <= 2; not complete"));
    let statement = explore(program).max_cost(12).run();
    assert!(statement.is_complete());
}

async fn loses_an_update() {
    let count = Rc::new(Cell::new(0));
    let add = |amount| {
        let count = count.clone();
        async move {
            let before = count.get();
            if amount == 1 {
                yield_now().await;
            }
            count.set(before + amount);
        }
    };
    // FIFO runs `after` behind `first`'s second step.
    let first = onelane::task::Builder::new().name("first").spawn(add(1));
    let second = add(2);
    let second = onelane::task::Builder::new().name("second").spawn(async {
        yield_now().await;
        second.await;
    });
    first.await.unwrap();
    second.await.unwrap();
    assert_eq!(count.get(), 3, "an update was lost");
}

fn failure(exploration: Explore<'_>) -> Box<Failure> {
    exploration.check().expect_err("an order fails")
}

#[test]
fn lost_update_is_found_at_cost_1_and_told() {
    let failure = failure(explore(loses_an_update));
    assert_eq!(failure.cost, 1);
    assert!(failure.is_cheapest);
    let text = failure.to_string();
    println!("{text}");
    assert!(text.contains("an update was lost"));
    let certificate = "certificate: no cheaper order fails; number of cheaper orders: 1, each was run";
    assert!(text.contains(&format!("cost 1, the smallest\n{certificate}\n")), "{text}");
    assert!(text.contains("`second` ran before `first`; FIFO runs `first`"), "{text}");
    assert!(text.contains(&format!("ONELANE_SCHEDULE='{}'", failure.schedule)));
    assert!(text.contains(&format!(".replay(\"{}\").run();", failure.schedule)));
    assert_eq!(failure.passes.as_deref(), Some(""));
}

#[test]
fn replays_are_equal() {
    let found = failure(explore(loses_an_update));
    let texts: BTreeSet<String> = (0..1000)
        .map(|_| {
            let again = failure(explore(loses_an_update).replay(&found.schedule));
            assert_eq!((again.cost, &again.schedule, &again.fault), (found.cost, &found.schedule, &found.fault));
            again.to_string()
        })
        .collect();
    assert_eq!(texts.len(), 1);
    assert!(explore(loses_an_update).replay("").check().is_ok());
}

#[test]
fn replay_says_where_it_diverges() {
    for (schedule, words) in [
        ("1=1/9", "diverged at choice 1: recorded 9 to choose from, now 2 {first, second}"),
        ("1=1/3{a b c}", "diverged at choice 1: recorded 3 to choose from {a, b, c}, now 2 {first, second}"),
        ("1=1/2{first third}", "diverged at choice 1: recorded 2 to choose from {first, third}, now 2 {first, second}"),
        ("99=1/2{a b}", "diverged at choice 99: recorded 2 to choose from {a, b}, now the run ends after"),
        ("99=1/2", "diverged at choice 99: recorded 2 to choose from, now the run ends after"),
    ] {
        let text = failure(explore(loses_an_update).replay(schedule)).to_string();
        assert!(text.contains(words), "{text}");
    }
    let wrong = std::panic::catch_unwind(|| explore(loses_an_update).replay("1-2").check());
    let message = *wrong.unwrap_err().downcast::<String>().unwrap();
    assert_eq!(message, "a schedule cannot be replayed: \"1-2\" in the schedule \"1-2\" is not of the form 7=2/3");
}

/// Runs in a process of its own: see `a_panic_is_printed_once`.
#[test]
#[ignore = "only prints"]
fn panics_in_some_order() {
    assert_eq!(failure(explore(loses_an_update)).cost, 1);
    let normal = explore(|| async { panic!("in the normal order") as () });
    assert_eq!(failure(normal).cost, 0);
    // Of a task whose result nobody reads.
    let unread = |message: &'static str| {
        move || async move {
            let is_first = Rc::new(Tracked::new(true));
            let copy = is_first.clone();
            let other = spawn(async move {
                yield_now().await;
                assert!(copy.get(), "{message}");
            });
            drop(other);
            yield_now().await;
            yield_now().await;
            is_first.set(false);
            yield_now().await;
            yield_now().await;
        }
    };
    assert_eq!(failure(explore(unread("unread, in some order"))).cost, 1);
    failure(explore(unread("unread, drawn")).seeds(0..200));
    failure(explore(unread("unread, drawn by priorities")).pct(3).seeds(0..200));
    failure(explore(unread("unread, and reduced")).reduce());
    #[cfg(feature = "replay")]
    {
        let path = std::env::temp_dir().join(format!("onelane-once-{}.html", std::process::id()));
        failure(explore(unread("unread, on a page")).page(&path));
        std::fs::remove_file(path).unwrap();
    }
}

/// The order that fails is run again to be shown, shrunk, and written to a page.
#[test]
fn a_panic_is_printed_once() {
    let this = std::env::current_exe().unwrap();
    let options = ["--exact", "panics_in_some_order", "--ignored", "--nocapture"];
    let output = std::process::Command::new(this).args(options).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8(output.stderr).unwrap();
    let mut messages = vec!["an update was lost", "in the normal order", "unread, in some order"];
    messages.extend(["unread, drawn\n", "unread, drawn by priorities", "unread, and reduced"]);
    #[cfg(feature = "replay")]
    messages.push("unread, on a page");
    for message in messages {
        assert_eq!(printed.matches(message).count(), 1, "{printed}");
    }
}

#[test]
fn everything_that_fails() {
    let fault = |exploration: Explore<'_>| failure(exploration).fault;
    assert!(matches!(fault(explore(|| async { panic!("oh") as () })), Fault::Panic(message) if message == "oh"));
    let unread = explore(|| async {
        drop(spawn(async { panic!("unread") as () }));
        yield_now().await;
    });
    assert!(matches!(fault(unread), Fault::UnhandledPanic(message) if message.contains("unread")));
    let in_a_callback = explore(|| async {
        call_soon(|| panic!("callback"));
        yield_now().await;
    });
    assert!(matches!(fault(in_a_callback), Fault::UnhandledPanic(message) if message.contains("callback")));
    assert_eq!(fault(explore(|| async { Err::<(), _>(7) })), Fault::Error("main returned an error: 7".into()));
    let cancelled = explore(|| async {
        onelane::current_task().unwrap().cancel();
        yield_now().await;
    });
    assert_eq!(fault(cancelled), Fault::Error("the main task was cancelled".into()));
    let left = explore(|| async { drop(spawn(sleep(SECOND))) });
    assert!(matches!(fault(left.no_task_left()), Fault::TasksLeft(names) if names == ["Sleep-2"]));
}

/// Two locks in two orders: FIFO passes, since the first task has both locks before the second begins.
#[test]
fn deadlock_of_two_locks() {
    let both = |mend: bool| {
        explore(move || async move {
            let locks = [(); 2].map(|()| Rc::new(Lock::new(())));
            let take = |first: &Rc<Lock<()>>, second: &Rc<Lock<()>>, wait: bool| {
                let (first, second) = (first.clone(), second.clone());
                spawn(async move {
                    if wait {
                        yield_now().await;
                        yield_now().await;
                    }
                    let _first = first.lock().await;
                    yield_now().await;
                    let _second = second.lock().await;
                })
            };
            let one = take(&locks[0], &locks[1], false);
            let other = if mend { take(&locks[0], &locks[1], true) } else { take(&locks[1], &locks[0], true) };
            one.await.unwrap();
            other.await.unwrap();
        })
    };
    let found = failure(both(false));
    assert!(matches!(&found.fault, Fault::Deadlock(report) if report.contains("circle")), "{found}");
    assert!(found.cost >= 1);
    let statement = both(true).run();
    assert!(statement.is_complete(), "{statement}");
}

#[test]
fn livelock_prints_what_repeats() {
    let spins = explore(|| async {
        let is_set = Rc::new(Cell::new(false));
        let copy = is_set.clone();
        drop(spawn(async move { copy.set(true) }));
        let looks_once = spawn(async move {
            if !is_set.get() {
                loop {
                    yield_now().await;
                }
            }
        });
        while !looks_once.is_done() {
            yield_now().await;
        }
    });
    let found = failure(spins.max_steps(40).max_cost(1));
    assert_eq!(found.cost, 1);
    assert!(matches!(&found.fault, Fault::StepLimit(repeating) if repeating.len() == 2), "{found}");
    assert!(found.to_string().contains("may be a livelock"), "{found}");
}

/// A cleanup that never ends does not end the exploration either: the step limit is for the shutdown too.
#[test]
fn livelock_in_the_shutdown() {
    let spins = explore(|| async {
        let cleanup = async {
            loop {
                yield_now().await;
            }
        };
        let worker = onelane::task::Builder::new().name("worker");
        drop(worker.spawn(onelane::finally(sleep(SECOND), cleanup)));
        yield_now().await;
    });
    let found = failure(spins.max_steps(40));
    assert_eq!(found.cost, 0);
    let Fault::StepLimit(repeating) = &found.fault else { panic!("{found}") };
    assert_eq!(*repeating, ["`worker`, while the loop shuts down"]);
}

/// A cleanup waits for a wake that never comes from outside of the loop. The shutdown ends after a second.
#[test]
fn a_shutdown_that_waits_for_a_wake_from_outside() {
    let kept = RefCell::new(Vec::new());
    let waits = || async {
        let store: std::sync::Arc<std::sync::Mutex<Option<std::task::Waker>>> = Default::default();
        kept.borrow_mut().push(store.clone());
        let cleanup = std::future::poll_fn(move |context| {
            *store.lock().unwrap() = Some(context.waker().clone());
            std::task::Poll::<()>::Pending
        });
        drop(spawn(onelane::finally(sleep(SECOND), cleanup)));
        yield_now().await;
    };
    let begun = std::time::Instant::now();
    let found = failure(explore(waits));
    assert_eq!((found.fault, found.cost), (Fault::Stalled, 0));
    assert!(begun.elapsed() < 60 * SECOND, "the runs to compare and the one that is searched wait a second each");
}

/// Of timers for the same moment, each order is tried, and timers for later moments stay behind.
#[test]
fn timers_for_the_same_moment() {
    let seen = Rc::new(RefCell::new(BTreeSet::new()));
    let copy = seen.clone();
    let statement = explore(move || {
        let seen = copy.clone();
        async move {
            let order = Rc::new(RefCell::new(String::new()));
            for (name, seconds) in [('a', 1), ('b', 1), ('c', 1), ('d', 2)] {
                let order = order.clone();
                drop(onelane::call_later(seconds * SECOND, move || order.borrow_mut().push(name)));
            }
            sleep(3 * SECOND).await;
            seen.borrow_mut().insert(order.take());
        }
    })
    .run();
    assert_eq!((statement.orders, statement.is_complete()), (6, true));
    let expected = ["abcd", "acbd", "bacd", "bcad", "cabd", "cbad"];
    assert_eq!(*seen.borrow(), expected.map(String::from).into());
}

#[test]
fn late_timers_race_with_the_reply() {
    let race = || async {
        let reply = spawn(async {
            sleep(SECOND).await;
            "tea"
        });
        assert_eq!(timeout(2 * SECOND, reply).await.expect("in time").unwrap(), "tea");
    };
    assert!(explore(race).run().is_complete());
    let found = failure(explore(race).late_timers());
    assert_eq!(found.cost, 1);
    let text = found.to_string();
    assert!(text.contains("time passed before the timers were seen"), "{text}");
    assert!(text.contains("explore(program).late_timers().replay("), "{text}");
}

/// A permit is lost if a waiter is cancelled between the wake and its step.
#[test]
fn cancellation_at_an_await() {
    let permits = || async {
        let semaphore = Rc::new(Semaphore::new(1));
        let use_it = || {
            let semaphore = semaphore.clone();
            spawn(async move {
                let _permit = semaphore.acquire().await;
                yield_now().await;
            })
        };
        let (one, other) = (use_it(), use_it());
        _ = one.await;
        _ = other.await;
        assert!(!semaphore.is_locked(), "a permit was lost");
    };
    let statement = explore(permits).cancellations(2).run();
    assert!(statement.is_complete(), "{statement}");
    assert!(statement.orders > explore(permits).run().orders);

    let leaks = || async {
        let (permits, freed) = (Rc::new(Cell::new(1)), Rc::new(Event::new()));
        let use_it = || {
            let (permits, freed) = (permits.clone(), freed.clone());
            spawn(async move {
                while permits.get() == 0 {
                    freed.wait().await;
                }
                permits.set(permits.get() - 1);
                yield_now().await; // no guard: a cancellation here loses the permit
                permits.set(permits.get() + 1);
                freed.set();
            })
        };
        let (one, other) = (use_it(), use_it());
        _ = one.await;
        _ = other.await;
        assert_eq!(permits.get(), 1, "a permit was lost");
    };
    assert!(explore(leaks).max_cost(1).check().is_ok());
    let found = failure(explore(leaks).cancellations(1));
    assert_eq!(found.cost, 1, "{found}");
    assert!(found.to_string().contains("was cancelled"), "{found}");
}

#[test]
fn own_choices() {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let copy = seen.clone();
    let statement = explore(move || {
        let seen = copy.clone();
        async move {
            let chosen = (choose(2), choose(3), choose(1));
            seen.borrow_mut().push(chosen);
        }
    })
    .run();
    assert_eq!((statement.orders, statement.is_complete()), (6, true));
    // Twice to compare, and then by cost.
    let expected = [(0, 0, 0), (0, 0, 0), (0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 2, 0), (1, 1, 0), (1, 2, 0)];
    assert_eq!(*seen.borrow(), expected);
    assert_eq!(choose(5), 0, "outside of an exploration");
}

#[test]
fn seeds_find_shrink_and_replay() {
    for exploration in [explore(loses_an_update).seeds(0..200), explore(loses_an_update).pct(2).seeds(0..200)] {
        let found = failure(exploration);
        assert!(!found.is_cheapest);
        assert_eq!(found.schedule.split(',').count(), 1, "{found}");
        let again = failure(explore(loses_an_update).replay(&found.schedule));
        assert_eq!(again.fault, found.fault);
    }
    let statement = explore(|| independent(&[5, 5, 5, 5], Rc::new(|_| ()))).seeds(0..100).run();
    assert_eq!((statement.orders, statement.is_complete()), (100, false));
}

/// The program sees a value that no exploration sets.
#[test]
fn two_equal_runs_that_differ() {
    let runs = Rc::new(Cell::new(0));
    let first = explore(|| {
        let runs = runs.clone();
        async move {
            runs.set(runs.get() + 1);
            if runs.get() == 2 {
                yield_now().await;
            }
            yield_now().await;
        }
    });
    let text = failure(first).to_string();
    assert!(text.contains("two equal runs differ at step 1"), "{text}");

    // Later, so that the search finds it.
    let runs = Rc::new(Cell::new(0));
    let later = explore(|| {
        runs.set(runs.get() + 1);
        let is_late = runs.get() > 10;
        async move {
            if is_late {
                drop(spawn(yield_now()));
            }
            gather([(); 3].map(|()| yield_now())).await.unwrap();
        }
    });
    assert!(matches!(failure(later).fault, Fault::Differs(_)));
}

#[test]
fn a_loop_cannot_explore() {
    let nested = std::panic::catch_unwind(|| onelane::run(async { explore(|| async {}).run() }));
    let message = *nested.unwrap_err().downcast::<&str>().unwrap();
    assert!(message.starts_with("onelane::explore() was called from a running event loop"), "{message}");
}

/// The programs of `examples/explore/`: each fails in its cheapest order, and its mended twin in none.
#[test]
fn examples_fail_and_their_twins_are_complete() {
    let programs = [
        (lost_update::broken(), lost_update::broken(), lost_update::mended(), 1, "a payment was lost"),
        (cache::broken(), cache::broken(), cache::mended(), 1, "a page was loaded twice"),
        (philosophers::broken(), philosophers::broken(), philosophers::mended(), 2, "deadlock: nothing is ready"),
        (permit::broken(), permit::broken(), permit::mended(), 1, "the permit was lost"),
        (reply::broken(), reply::broken(), reply::mended(), 1, "a parcel, or the money back, and not both"),
    ];
    for (broken, again, mended, cost, words) in programs {
        let found = failure(broken);
        assert_eq!((found.cost, found.is_cheapest), (cost, true), "{found}");
        assert!(found.fault.to_string().contains(words), "{found}");
        // The certificate: no cheaper order fails.
        let cheaper = again.max_cost(cost - 1).run();
        assert_eq!(cheaper.costs.len() as u64, cost, "{cheaper}");
        let statement = mended.run();
        assert!(statement.is_complete(), "{statement}");
    }
}

/// Both READMEs show a report, from its beginning to the end of its table.
#[test]
fn the_readmes_show_a_report() {
    let report = failure(lost_update::broken()).to_string();
    for readme in [include_str!("../../README.md"), include_str!("../../README.zh-CN.md")] {
        let shown = readme.split("<!-- explore -->").nth(1).expect("the README has a part between two marks");
        let shown = shown.trim().trim_start_matches("```text\n").trim_end_matches("```").trim_end();
        assert!(report.starts_with(shown) && shown.contains("  *    2"), "{shown}\n---\n{report}");
    }
}
