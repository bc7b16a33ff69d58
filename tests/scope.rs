//! Scopes: what children may borrow, how they are stepped, and what happens if a scope is
//! forgotten, dropped, moved or polled by other code. `scope_and_group.rs` compares scopes with
//! task groups.

#[path = "common/mod.rs"]
mod common;

use common::{Census, Post, Trace, alone_and_leaking, ms, on_drop, panic_of, telling_loop, virtual_loop};
use futures_util::future::{Either, join, select};
use futures_util::poll;
use futures_util::stream::{FuturesUnordered, StreamExt};
use onelane::{
    ChildError, EventLoop, GroupError, Scope, TaskError, all_tasks, call_soon, catch_cancel, current_task, finally,
    raise_cancelled, scope, sleep, spawn, task_group, time, timeout, try_scope, yield_now,
};
use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::mem;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// The name of a task that got none. Without the feature `report`, the function is not known.
fn usual_name(function: &str, rest: &str) -> String {
    format!("{}-{rest}", if cfg!(feature = "report") { function } else { "Task" })
}

// ---- borrows ----

#[test]
fn borrow_and_change_locals() {
    virtual_loop().run(async {
        let words = vec!["tea".to_string(), "toast".to_string(), "egg".to_string()];
        let mut lengths = [0; 3];
        let mut total = 0;
        let result = scope(async |s| {
            for (word, length) in words.iter().zip(&mut lengths) {
                s.spawn(async move {
                    yield_now().await;
                    *length = word.len();
                });
            }
            s.spawn(async {
                sleep(ms(5)).await;
                total += 1;
            });
            words.len()
        })
        .await;
        assert_eq!((result, lengths, total), (Ok(3), [3, 5, 3], 1));
        assert_eq!(all_tasks().len(), 1);
        drop(words);
    });
}

#[test]
fn return_what_is_borrowed() {
    virtual_loop().run(async {
        let words = ["tea".to_string(), "toast".to_string()];
        let children = scope(async |s| {
            let first = s.spawn(async { &words[0] });
            let first = first.await.unwrap();
            (first, s.spawn(async { &words[1][1..] }))
        });
        let (first, second) = children.await.unwrap();
        assert_eq!((first, second.await), (&words[0], Ok("oast")));
    });
}

/// A child that borrows from its parent child, in a scope of its own.
#[test]
fn borrow_from_a_child() {
    virtual_loop().run(async {
        let trace = Trace::new();
        let base = 10;
        scope(async |s| {
            s.spawn(async {
                let own = base + 1;
                let mut sum = 0;
                scope(async |s| {
                    s.spawn(async {
                        sleep(ms(1)).await;
                        sum += own + base;
                        trace.push(format!("grandchild in {}", current_task().unwrap().name()));
                    });
                    s.spawn(async {
                        yield_now().await;
                        trace.push("other grandchild");
                    });
                    trace.push("body");
                })
                .await
                .unwrap();
                trace.push(format!("{sum}"));
            });
            s.spawn(async {
                yield_now().await;
                trace.push("sibling");
            });
        })
        .await
        .unwrap();
        let name = usual_name("borrow_from_a_child", "4");
        let all =
            ["body".into(), "sibling".into(), "other grandchild".into(), format!("grandchild in {name}"), "21".into()];
        assert_eq!(trace.take(), all);
    });
}

#[test]
fn spawn_from_a_child_and_from_its_destructor() {
    fn grow<'a>(s: &Scope<'a>, height: u32, trace: &'a Trace) {
        let copy = s.clone();
        s.spawn(async move {
            let again = copy.clone();
            let _guard = on_drop(move || {
                if height == 2 {
                    again.spawn(async { trace.push("of a destructor") });
                }
            });
            trace.push(format!("{height}"));
            if height > 0 {
                grow(&copy, height - 1, trace);
                yield_now().await;
            }
        });
    }
    virtual_loop().run(async {
        let trace = Trace::new();
        scope(async |s| grow(&s, 2, &trace)).await.unwrap();
        assert_eq!(trace.take(), ["2", "1", "0", "of a destructor"]);
    });
}

// ---- steps ----

/// Awaits a future for some turns of the loop. Returns whether it has ended.
async fn drive(future: impl Future + Unpin, turns: usize) -> bool {
    let other = spawn(async move {
        for _ in 0..turns {
            yield_now().await;
        }
    });
    matches!(select(future, other.into_future()).await, Either::Left(_))
}

/// Counts its polls, and is woken by its post.
fn counted<'a>(post: &'a Post, polls: &'a Cell<usize>) -> impl Future<Output = ()> + 'a {
    let mut wait = Box::pin(post.wait());
    poll_fn(move |context| {
        polls.set(polls.get() + 1);
        wait.as_mut().poll(context)
    })
}

#[test]
fn poll_exactly_one_of_a_thousand() {
    virtual_loop().run(async {
        let posts: Vec<Post> = (0..1000).map(|_| Post::new()).collect();
        let polls: Vec<Cell<usize>> = posts.iter().map(|_| Cell::new(0)).collect();
        let counts = || polls.iter().map(Cell::get).collect::<Vec<_>>();
        let body_polls = Cell::new(0);
        let mut all = pin!(scope(async |s| {
            for (post, polls) in posts.iter().zip(&polls) {
                s.spawn(counted(post, polls));
            }
            poll_fn(|_| {
                body_polls.set(body_polls.get() + 1);
                Poll::<()>::Pending
            })
            .await;
        }));
        assert!(!drive(&mut all, 2).await);
        assert_eq!(counts(), vec![1; 1000]);
        let (bodies, before) = (body_polls.get(), onelane::metrics());
        posts[700].waker().wake();
        assert!(!drive(&mut all, 2).await);
        let mut expected = vec![1; 1000];
        expected[700] = 2;
        assert_eq!(counts(), expected);
        // `drive` polls the scope, and with it the body, twice. Its task takes three steps, this
        // task takes one, and the child takes one.
        assert_eq!((body_polls.get() - bodies, onelane::metrics().steps - before.steps), (2, 5));
        posts[701].open();
        assert!(!drive(&mut all, 2).await);
        expected[701] = 2;
        assert_eq!(counts(), expected);
        assert_eq!(all_tasks().len(), 1000);
    });
}

/// A child is the running task in its steps, and in its destructors; the parent is never.
#[test]
fn run_as_tasks() {
    virtual_loop().run(async {
        let trace = Trace::new();
        let name = || current_task().map_or("nobody".into(), |task| task.name().to_string());
        scope(async |s| {
            for _ in 0..2 {
                s.spawn(async {
                    let _guard = on_drop(|| trace.push(format!("{} ends", name())));
                    yield_now().await;
                    trace.push(name());
                });
            }
            let cancelled = s.spawn(async {
                let _guard = on_drop(|| trace.push(format!("{} is cancelled", name())));
                pending::<()>().await;
            });
            cancelled.set_name("third");
            yield_now().await;
            cancelled.cancel();
        })
        .await
        .unwrap();
        let of = |which: &str| usual_name("run_as_tasks", which);
        assert_eq!(trace.take(), [of("2"), of("2 ends"), of("3"), of("3 ends"), "third is cancelled".to_string()],);
    });
}

// ---- errors ----

#[test]
fn gather_panics_and_cancel_siblings() {
    let (event_loop, told) = telling_loop();
    event_loop.run(async {
        let census = Census::new();
        let begun = time();
        let result = scope(async |s| {
            s.spawn(async {
                let _member = census.member();
                sleep(ms(10)).await;
                panic!("one");
            });
            s.spawn(async {
                let _member = census.member();
                pending::<()>().await;
            });
            pending::<()>().await;
        })
        .await;
        let GroupError { errors } = result.unwrap_err();
        assert!(matches!(&errors[..], [ChildError::Panicked(panic)] if panic.message() == "one"), "{errors:?}");
        assert_eq!((census.counts(), time() - begun), ((2, 2), ms(10)));
    });
    assert_eq!(told.take(), Vec::<String>::new());
}

#[test]
fn report_errors_in_the_order_of_the_ends() {
    virtual_loop().run(async {
        let base = 5;
        let result = try_scope(async |s| {
            s.try_spawn(async {
                _ = catch_cancel(pending::<()>()).await;
                Err::<(), _>(base + 2)
            });
            s.try_spawn(async {
                sleep(ms(1)).await;
                Err::<(), _>(base + 1)
            });
            pending::<()>().await;
            Ok(())
        })
        .await;
        assert_eq!(result.unwrap_err().errors, [ChildError::Failed(6), ChildError::Failed(7)]);
    });
}

#[test]
fn survive_panics_of_destructors() {
    let (event_loop, told) = telling_loop();
    event_loop.run(async {
        let what = "a destructor".to_string();
        let bomb = || on_drop(|| panic!("{what}"));
        // At a child's end, when it is cancelled, and when it has panicked.
        let result = scope(async |s| {
            let returns = s.spawn(async {
                let _bomb = bomb();
                7
            });
            assert!(matches!(returns.await, Err(TaskError::Panicked(panic)) if panic.message() == what));
        });
        assert_eq!(result.await.unwrap_err().errors.len(), 1);
        let result = scope(async |s| {
            let cancelled = s.spawn(async {
                let _bomb = bomb();
                pending::<()>().await;
            });
            yield_now().await;
            cancelled.cancel();
        });
        assert_eq!(result.await.unwrap_err().errors.len(), 1);
        // When the scope is dropped.
        {
            let mut running = Box::pin(scope(async |s| {
                for _ in 0..2 {
                    s.spawn(async {
                        let _bomb = bomb();
                        pending::<()>().await;
                    });
                }
                pending::<()>().await;
            }));
            assert!(!drive(&mut running, 2).await);
            drop(running);
        }
        yield_now().await;
        assert_eq!(all_tasks().len(), 1);
    });
    let line = "a destructor or a foreign waker panicked when a task ended: a destructor";
    assert_eq!(told.take(), [line, line]);
}

#[test]
fn end_as_cancelled_by_raising() {
    virtual_loop().run(async {
        let name = "tea".to_string();
        scope(async |s| {
            let child = s.spawn(async {
                yield_now().await;
                let _borrow = &name;
                raise_cancelled::<()>().await;
            });
            assert_eq!(child.await, Err(TaskError::Cancelled));
        })
        .await
        .unwrap();
    });
}

// ---- cancellation ----

#[test]
fn wait_for_cleanups_and_caught_cancellations_that_borrow() {
    let trace = Trace::new();
    let copy = trace.clone();
    virtual_loop().run(async move {
        let begun = time();
        let task = spawn(async move {
            let name = "local".to_string();
            let _outer = on_drop(|| copy.push("the task is dropped"));
            scope(async |s| {
                s.spawn(async {
                    _ = catch_cancel(pending::<()>()).await;
                    sleep(ms(30)).await;
                    copy.push(format!("still has its {name}"));
                });
                s.spawn(finally(pending::<()>(), {
                    let copy = copy.clone();
                    async move {
                        sleep(ms(20)).await;
                        copy.push("cleaned up");
                    }
                }));
                let _body = on_drop(|| copy.push("the body is dropped"));
                pending::<()>().await;
            })
            .await
        });
        sleep(ms(10)).await;
        task.cancel();
        assert!(task.await.unwrap_err().is_cancelled());
        assert_eq!(time() - begun, ms(40));
    });
    let all = ["the body is dropped", "cleaned up", "still has its local", "the task is dropped"];
    assert_eq!(trace.take(), all);
}

#[test]
fn let_a_timeout_pass_through() {
    virtual_loop().run(async {
        let steps = Cell::new(0);
        let begun = time();
        let count = scope(async |s| {
            s.spawn(async {
                loop {
                    sleep(ms(10)).await;
                    steps.set(steps.get() + 1);
                }
            });
            s.spawn(async {
                _ = catch_cancel(pending::<()>()).await;
                sleep(ms(7)).await;
                steps.set(steps.get() + 100);
            });
        });
        assert!(timeout(ms(35), count).await.is_err());
        assert_eq!((steps.get(), time() - begun), (103, ms(42)));
    });
}

/// The task waits elsewhere when it is cancelled, so nothing polls the scope any more.
#[test]
fn end_children_of_a_scope_that_nothing_polls() {
    let trace = Trace::new();
    let copy = trace.clone();
    virtual_loop().run(async move {
        let begun = time();
        let task = spawn(async move {
            let name = "local".to_string();
            let mut work = pin!(scope(async |s| {
                s.spawn(async {
                    let _guard = on_drop(|| copy.push(format!("dropped with its {name}")));
                    _ = catch_cancel(pending::<()>()).await;
                    unreachable!("the scope cannot poll this");
                });
                s.spawn(finally(pending::<()>(), {
                    let copy = copy.clone();
                    async move {
                        sleep(ms(20)).await;
                        copy.push("cleaned up");
                    }
                }));
                pending::<()>().await;
            }));
            assert!(!drive(&mut work, 2).await);
            let _guard = on_drop(|| copy.push("the task is dropped"));
            sleep(ms(1000)).await;
        });
        sleep(ms(10)).await;
        task.cancel();
        assert!(task.await.unwrap_err().is_cancelled());
        assert_eq!((time() - begun, all_tasks().len()), (ms(30), 1));
    });
    assert_eq!(trace.take(), ["cleaned up", "the task is dropped", "dropped with its local"]);
}

// ---- forgetting ----

/// What a forgotten scope's children would use after its end.
struct Borrowed {
    words: Vec<String>,
    uses: Rc<Cell<usize>>,
}

impl Borrowed {
    fn new(uses: &Rc<Cell<usize>>) -> Self {
        Borrowed { words: vec!["tea".to_string(); 3], uses: uses.clone() }
    }

    fn look(&self) {
        self.uses.set(self.uses.get() + self.words.iter().map(String::len).sum::<usize>());
    }
}

/// Children of many kinds: they yield, sleep, await each other, catch a cancellation, have a scope.
async fn use_it(borrowed: &Borrowed) {
    scope(async |s| {
        s.spawn(async {
            let _guard = on_drop(|| borrowed.look());
            loop {
                borrowed.look();
                yield_now().await;
            }
        });
        let sleeps = s.spawn(async {
            let _guard = on_drop(|| borrowed.look());
            for _ in 0..10 {
                borrowed.look();
                sleep(ms(1)).await;
            }
        });
        s.spawn(async {
            let _guard = on_drop(|| borrowed.look());
            _ = sleeps.await;
            borrowed.look();
        });
        s.spawn(async {
            let _guard = on_drop(|| borrowed.look());
            _ = catch_cancel(pending::<()>()).await;
            for _ in 0..2 {
                borrowed.look();
                sleep(ms(1)).await;
            }
            borrowed.look();
        });
        s.spawn(async {
            scope(async |s| {
                s.spawn(async {
                    let _guard = on_drop(|| borrowed.look());
                    loop {
                        sleep(ms(1)).await;
                        borrowed.look();
                    }
                });
                pending::<()>().await;
            })
            .await
            .unwrap();
        });
        loop {
            sleep(ms(1)).await;
            borrowed.look();
        }
    })
    .await
    .unwrap();
}

/// Runs a future for some turns, forgets it, and frees what it has borrowed. Then lets the loop run
/// on.
async fn forget_after(turns: usize) -> usize {
    let uses = Rc::default();
    let borrowed = Borrowed::new(&uses);
    let mut future = Box::pin(use_it(&borrowed));
    if turns > 0 {
        assert!(!drive(&mut future, turns - 1).await);
    }
    // Some children have just been woken.
    if turns % 2 == 1 {
        sleep(ms(1)).await;
    }
    mem::forget(future);
    drop(borrowed);
    let last = uses.get();
    for _ in 0..5 {
        yield_now().await;
        sleep(ms(3)).await;
    }
    assert_eq!(uses.get(), last, "a child was polled after its scope was forgotten");
    last
}

#[test]
fn leak_when_forgotten_after_any_poll() {
    alone_and_leaking("leak_when_forgotten_after_any_poll", || {
        virtual_loop().run(async {
            let mut uses = Vec::new();
            for turns in 0..14 {
                uses.push(forget_after(turns).await);
            }
            assert!(uses[0] == 0 && uses.is_sorted() && uses[13] > 100, "{uses:?}");
            // The tasks of such children wait, until the loop ends.
            assert!(all_tasks().len() > 13 * 5);
        });
    });
}

/// The task of a forgotten scope is cancelled, or ends, or panics; the loop is dropped, too.
#[test]
fn leak_when_forgotten_in_a_task_that_ends() {
    alone_and_leaking("leak_when_forgotten_in_a_task_that_ends", || {
        let event_loop = EventLoop::builder().clock(onelane::Clock::Virtual).exception_handler(|_| {}).build();
        let kept = event_loop.run(async {
            let mut tasks = Vec::new();
            for end in 0..3 {
                for turns in 0..6 {
                    let task = spawn(async move {
                        forget_after(turns).await;
                        match end {
                            0 => {}
                            1 => panic!("ends by a panic"),
                            _ => pending().await,
                        }
                    });
                    tasks.push(task);
                }
            }
            sleep(ms(100)).await;
            tasks.iter().for_each(|task| _ = task.cancel());
            for task in &tasks {
                _ = task.await;
            }
            sleep(ms(100)).await;
            all_tasks()
        });
        assert!(kept.iter().all(|task| task.state() == onelane::TaskState::Done));
        drop(event_loop);
    });
}

/// The scope is forgotten while its children clean up after a cancellation, and while they are
/// about to be dropped.
#[test]
fn leak_when_forgotten_during_a_cancellation() {
    alone_and_leaking("leak_when_forgotten_during_a_cancellation", || {
        virtual_loop().run(async {
            let uses = Rc::default();
            for turns in 0..12 {
                let borrowed = Borrowed::new(&uses);
                let mut future = Box::pin(timeout(ms(0), use_it(&borrowed)));
                if drive(&mut future, turns).await {
                    assert!(turns > 5);
                    break;
                }
                mem::forget(future);
                drop(borrowed);
                let last = uses.get();
                for _ in 0..5 {
                    yield_now().await;
                    sleep(ms(3)).await;
                }
                assert_eq!(uses.get(), last);
            }
        });
    });
}

/// A child forgets a scope in which its own children borrow from it.
#[test]
fn leak_when_a_child_forgets_its_scope() {
    alone_and_leaking("leak_when_a_child_forgets_its_scope", || {
        virtual_loop().run(async {
            scope(async |s| {
                for turns in 0..6 {
                    s.spawn(forget_after(turns));
                }
            })
            .await
            .unwrap();
            sleep(ms(10)).await;
        });
    });
}

/// Only the future of the scope is forgotten; a handle is left, and still spawns.
#[test]
fn leak_what_a_handle_spawns_into_a_forgotten_scope() {
    alone_and_leaking("leak_what_a_handle_spawns_into_a_forgotten_scope", || {
        virtual_loop().run(async {
            let polled = Cell::new(false);
            let mut handle = None;
            let mut future = Box::pin(scope(async |s| {
                handle = Some(s);
                pending::<()>().await;
            }));
            assert!(poll!(&mut future).is_pending());
            mem::forget(future);
            let child = handle.unwrap().spawn(async { polled.set(true) });
            sleep(ms(5)).await;
            assert!(!polled.get() && !child.is_done());
        });
    });
}

// ---- dropping ----

#[test]
fn drop_children_in_order_when_dropped() {
    let (event_loop, told) = telling_loop();
    event_loop.run(async {
        let trace = Trace::new();
        let cleaned = Rc::new(Cell::new(0));
        let name = || current_task().map_or("nobody".into(), |task| task.name().to_string());
        let mut tasks = Vec::new();
        let mut running = Box::pin(scope(async |s| {
            for number in [3, 1, 2] {
                let (trace, name) = (&trace, &name);
                let child = s.spawn(async move {
                    let _guard = on_drop(|| trace.push(format!("{number} in {}", name())));
                    pending::<()>().await;
                });
                child.set_name(format!("child {number}"));
                tasks.push(child.task_ref());
            }
            let copy = cleaned.clone();
            s.spawn(finally(pending::<()>(), async move {
                sleep(ms(1)).await;
                copy.set(copy.get() + 1);
            }));
            let _guard = on_drop(|| trace.push(format!("body in {}", name())));
            pending::<()>().await;
        }));
        assert!(!drive(&mut running, 2).await);
        drop(running);
        let main = usual_name("drop_children_in_order_when_dropped", "1");
        let all = [&format!("body in {main}"), "3 in child 3", "1 in child 1", "2 in child 2"];
        assert_eq!(trace.take(), all);
        yield_now().await;
        assert!(tasks.iter().all(|task| task.is_cancelled()));
        assert_eq!(all_tasks().len(), 2, "the cleanup has a task of its own");
        sleep(ms(2)).await;
        assert_eq!((cleaned.get(), all_tasks().len()), (1, 1));
    });
    assert_eq!(told.take(), Vec::<String>::new());
}

#[test]
fn drop_a_scope_that_has_lost() {
    virtual_loop().run(async {
        let (census, word) = (Census::new(), "tea".to_string());
        let loses = scope(async |s| {
            s.spawn(async {
                let _member = census.member();
                sleep(ms(20)).await;
                unreachable!("{word}");
            });
        });
        let winner = select(Box::pin(loses), sleep(ms(10))).await;
        assert!(matches!(winner, Either::Right(_)));
        drop(winner);
        yield_now().await;
        sleep(ms(50)).await;
        assert_eq!(census.counts(), (1, 1));
    });
}

/// A scope that is dropped outside any turn, and after its loop.
#[test]
fn drop_a_scope_outside_its_loop() {
    for outlives in [false, true] {
        let census = Census::new();
        let event_loop = virtual_loop();
        let mut running = Box::pin(scope(async |s| {
            s.spawn(async {
                let _member = census.member();
                pending::<()>().await;
            });
            pending::<()>().await;
        }));
        let task = Rc::new(RefCell::new(None));
        event_loop.run(async {
            assert!(!drive(&mut running, 2).await);
            *task.borrow_mut() = all_tasks().pop();
        });
        assert!(task.borrow().as_ref().unwrap().is_cancelled() || !outlives);
        assert_eq!(census.counts(), (1, 0), "the future is not the loop's");
        if outlives {
            drop(event_loop);
            drop(running);
        } else {
            drop(running);
            drop(event_loop);
        }
        assert_eq!(census.counts(), (1, 1));
    }
}

// ---- other code that polls ----

/// A combinator that polls only what was woken.
#[test]
fn run_in_a_set_that_polls_what_was_woken() {
    virtual_loop().run(async {
        let trace = Trace::new();
        let numbers = [1, 2];
        let mut set = FuturesUnordered::new();
        for number in &numbers {
            let trace = &trace;
            set.push(async move {
                scope(async |s| {
                    for round in 0..2 {
                        s.spawn(async move {
                            trace.push(format!("{number}.{round} begins"));
                            sleep(ms(10 * number)).await;
                            trace.push(format!("{number}.{round} ends"));
                        });
                    }
                })
                .await
                .unwrap();
            });
        }
        while set.next().await.is_some() {
            trace.push("one of the set");
        }
        assert_eq!(
            trace.take(),
            [
                "1.0 begins",
                "1.1 begins",
                "2.0 begins",
                "2.1 begins",
                "1.0 ends",
                "1.1 ends",
                "one of the set",
                "2.0 ends",
                "2.1 ends",
                "one of the set",
            ]
        );
    });
}

/// The children wait while the scope is not polled, and lose nothing.
#[test]
fn wait_while_the_scope_is_not_polled() {
    virtual_loop().run(async {
        let trace = Trace::new();
        let mut work = pin!(scope(async |s| {
            for number in 0..2 {
                let trace = &trace;
                s.spawn(async move {
                    for round in 0..3 {
                        trace.push(format!("{number}.{round}"));
                        yield_now().await;
                    }
                    number
                });
            }
        }));
        assert!(poll!(&mut work).is_pending());
        assert_eq!(trace.take(), Vec::<String>::new(), "children begin in the next turn");
        let gate = Cell::new(false);
        let mut gated = pin!(poll_fn(|context| if gate.get() { work.as_mut().poll(context) } else { Poll::Pending }));
        assert!(!drive(&mut gated, 5).await);
        assert_eq!(trace.take(), Vec::<String>::new(), "a child was polled although the scope was not");
        gate.set(true);
        gated.await.unwrap();
        let all = ["0.0", "1.0", "0.1", "1.1", "0.2", "1.2"];
        assert_eq!(trace.take(), all);
    });
}

/// A child that is woken many times while nothing polls the scope is polled once.
#[test]
fn poll_once_for_many_wakes_that_were_missed() {
    virtual_loop().run(async {
        let (post, polls) = (Post::new(), Cell::new(0));
        let mut work = pin!(scope(async |s| drop(s.spawn(counted(&post, &polls)))));
        assert!(!drive(&mut work, 2).await);
        let steps = onelane::metrics().steps;
        for _ in 0..10 {
            post.waker().wake();
            drive(Box::pin(pending::<()>()), 2).await;
        }
        // `drive` takes five steps, the child one, and the first miss wakes this task.
        assert_eq!((polls.get(), onelane::metrics().steps - steps), (1, 10 * (4 + 1) + 1));
        assert!(!drive(&mut work, 2).await);
        assert_eq!(polls.get(), 2);
        post.open();
        work.await.unwrap();
    });
}

/// The scope begins in one task, and continues in others.
#[test]
#[allow(clippy::async_yields_async, reason = "it is not to be awaited there")]
fn move_from_task_to_task() {
    virtual_loop().run(async {
        let trace = Trace::new();
        let copy = trace.clone();
        let mut running: Pin<Box<dyn Future<Output = _>>> = Box::pin(scope(async move |s| {
            for number in 0..2 {
                let trace = copy.clone();
                s.spawn(async move {
                    for round in 0..4 {
                        trace.push(format!("{number}.{round}"));
                        sleep(ms(1)).await;
                    }
                });
            }
            "body"
        }));
        for _ in 0..3 {
            running = spawn(async move {
                assert!(poll!(&mut running).is_pending());
                yield_now().await;
                running
            })
            .await
            .unwrap();
            sleep(ms(1)).await;
        }
        assert_eq!(spawn(running).await.unwrap(), Ok("body"));
        let mut seen = trace.take();
        seen.sort();
        assert_eq!(seen, ["0.0", "0.1", "0.2", "0.3", "1.0", "1.1", "1.2", "1.3"]);
    });
}

/// Polled in a callback, outside any task.
#[test]
fn run_outside_a_task() {
    virtual_loop().run(async {
        let trace = Trace::new();
        let copy = trace.clone();
        let running: Pin<Box<dyn Future<Output = _>>> = Box::pin(scope(async move |s| {
            let trace = copy.clone();
            s.spawn(async move {
                trace.push("begins");
                yield_now().await;
                trace.push("ends");
            });
        }));
        let running = Rc::new(RefCell::new(Some(running)));
        for _ in 0..8 {
            let running = running.clone();
            call_soon(move || {
                let mut place = running.borrow_mut();
                let Some(future) = place.as_mut() else { return };
                if future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                    *place = None;
                }
            });
            yield_now().await;
            yield_now().await;
        }
        assert!(running.borrow().is_none());
        assert_eq!(trace.take(), ["begins", "ends"]);
    });
}

// ---- code beside a scope ----

/// The code beside a scope returns, panics or is cancelled in the step of a child.
#[test]
fn end_the_task_in_the_step_of_a_child() {
    let (event_loop, told) = telling_loop();
    event_loop.run(async {
        for end in ["returns", "panics", "raises", "is cancelled"] {
            let trace = Trace::new();
            let copy = trace.clone();
            let task = spawn(async move {
                let due = Cell::new(false);
                let (due, trace) = (&due, &copy);
                let work = scope(async |s| {
                    s.spawn(async move {
                        let _guard = on_drop(|| trace.push("the child is dropped"));
                        yield_now().await;
                        // From now on, a poll of the code beside ends the task. Nothing has woken
                        // it.
                        due.set(true);
                        sleep(ms(5)).await;
                        trace.push("the child runs on");
                        sleep(ms(5)).await;
                        trace.push("the child ends");
                    });
                    pending::<()>().await;
                });
                let beside = async {
                    poll_fn(|_| if due.get() { Poll::Ready(()) } else { Poll::Pending }).await;
                    trace.push(format!("beside {end}"));
                    match end {
                        "panics" => panic!("beside"),
                        "raises" => raise_cancelled().await,
                        "is cancelled" => {
                            current_task().unwrap().cancel();
                            pending().await
                        }
                        _ => {}
                    }
                };
                // The code beside comes first.
                select(pin!(beside), pin!(work)).await;
            });
            let ended = task.await;
            sleep(ms(20)).await;
            let beside = format!("beside {end}");
            match end {
                "returns" => assert_eq!(ended, Ok(())),
                "panics" => assert!(matches!(ended, Err(TaskError::Panicked(panic)) if panic.message() == "beside")),
                _ => assert_eq!(ended, Err(TaskError::Cancelled)),
            }
            // What is cancelled still polls the scope in this step.
            let cancelled = !matches!(end, "returns" | "panics");
            let runs_on = cancelled.then_some("the child runs on");
            let all: Vec<&str> = [&*beside].into_iter().chain(runs_on).chain(["the child is dropped"]).collect();
            assert_eq!(trace.take(), all, "{end}");
            assert_eq!(all_tasks().len(), 1, "{end}");
        }
    });
    assert_eq!(told.take(), Vec::<String>::new());
}

/// The code beside a scope wakes or cancels the child in whose step it is polled.
#[test]
fn wake_and_cancel_the_child_that_is_stepped() {
    virtual_loop().run(async {
        for cancels in [false, true] {
            let (polls, beside) = (Cell::new(0), Cell::new(0));
            let (first, second) = (Post::new(), Post::new());
            let child = RefCell::new(None);
            let work = scope(async |s| {
                let task = s.spawn(async {
                    let mut wait = pin!(first.wait());
                    poll_fn(|context| {
                        polls.set(polls.get() + 1);
                        wait.as_mut().poll(context)
                    })
                    .await;
                });
                *child.borrow_mut() = Some(task.task_ref());
                assert_eq!(task.await.is_err(), cancels);
            });
            let others = poll_fn(|_| {
                beside.set(beside.get() + 1);
                if polls.get() == 1 && first.has_waker() {
                    if cancels {
                        child.borrow().as_ref().unwrap().cancel();
                    } else {
                        first.open();
                    }
                    polls.set(2);
                }
                if beside.get() > 2 { Poll::Ready(()) } else { Poll::Pending }
            });
            let ended = timeout(ms(100), join(work, others)).await;
            _ = second;
            assert!(ended.is_ok(), "the wake of the child was lost, {cancels}");
            assert_eq!(polls.get(), if cancels { 2 } else { 3 });
        }
    });
}

/// A block beside a scope neither expires nor continues in the step of a child.
#[test]
fn leave_blocks_beside_alone() {
    virtual_loop().run(async {
        let trace = Trace::new();
        let work = scope(async |s| {
            for _ in 0..3 {
                s.spawn(async {
                    for _ in 0..4 {
                        sleep(ms(10)).await;
                        trace.push("child");
                    }
                });
            }
        });
        let limited = async {
            sleep(ms(5)).await;
            let ended = timeout(ms(5), task_group(async |_| pending::<()>().await)).await;
            trace.push(format!("expired: {}", ended.is_err()));
        };
        let (ended, ()) = join(work, limited).await;
        ended.unwrap();
        let seen = trace.take();
        assert_eq!(seen.iter().filter(|line| *line == "child").count(), 12);
        // All timers of the same time fire first, and this task is queued behind them.
        assert_eq!(seen.iter().position(|line| line == "expired: true"), Some(3), "{seen:?}");
    });
}

/// A cancelled task runs no further line, also beside a scope whose children clean up. So such
/// children are not polled any more; their cleanups run nevertheless.
#[test]
fn leave_what_waits_beside_alone_after_a_cancellation() {
    for (which, beside_ends) in [("sleep", ms(15)), ("forever", ms(100_000))] {
        let trace = Trace::new();
        let copy = trace.clone();
        virtual_loop().run(async move {
            let begun = time();
            let task = spawn(async move {
                let name = "local".to_string();
                let work = scope(async |s| {
                    s.spawn(async {
                        let _guard = on_drop(|| copy.push(format!("dropped with its {name}")));
                        _ = catch_cancel(pending::<()>()).await;
                        unreachable!("a poll of this would also poll what is beside");
                    });
                    s.spawn(finally(pending::<()>(), {
                        let copy = copy.clone();
                        async move {
                            for _ in 0..4 {
                                sleep(ms(5)).await;
                            }
                            copy.push("cleaned up");
                        }
                    }));
                });
                let beside = async {
                    sleep(beside_ends).await;
                    copy.push("beside");
                };
                drop(join(work, beside).await);
            });
            sleep(ms(10)).await;
            task.cancel();
            assert!(task.await.unwrap_err().is_cancelled());
            assert_eq!(time() - begun, ms(30), "{which}");
        });
        assert_eq!(trace.take(), ["cleaned up", "dropped with its local"], "{which}");
    }
}

/// A scope in a cleanup, whose children are stepped while the task around it unwinds.
#[test]
fn run_in_a_cleanup() {
    let trace = Trace::new();
    let copy = trace.clone();
    virtual_loop().run(async move {
        let task = spawn(finally(pending::<()>(), {
            let trace = copy.clone();
            async move {
                let name = "local".to_string();
                scope(async |s| {
                    for number in 0..2 {
                        let (trace, name) = (&trace, &name);
                        s.spawn(async move {
                            for round in 0..2 {
                                yield_now().await;
                                trace.push(format!("{number}.{round} {name}"));
                            }
                        });
                    }
                    spawn(async {
                        for _ in 0..4 {
                            yield_now().await;
                        }
                    })
                    .await
                    .unwrap();
                    trace.push("body");
                })
                .await
                .unwrap();
                trace.push("cleaned up");
            }
        }));
        yield_now().await;
        task.cancel();
        assert!(task.await.unwrap_err().is_cancelled());
    });
    assert_eq!(trace.take(), ["0.0 local", "1.0 local", "0.1 local", "1.1 local", "body", "cleaned up"]);
}

// ---- reports ----

#[cfg(feature = "report")]
mod reports {
    use super::*;
    use onelane::{RunError, call_graph, sync::Lock};

    #[test]
    fn show_children_with_names_places_and_edges() {
        virtual_loop().run(async {
            let lock = Lock::new(());
            let here = file!();
            scope(async |s| {
                let _guard = lock.lock().await;
                let child = s.spawn(async { drop(lock.lock().await) });
                child.set_name("tea");
                s.spawn(async { sleep(ms(5)).await });
                assert!(!drive(Box::pin(pending::<()>()), 2).await);
                let graph = call_graph();
                let task = |name: &str| graph.tasks.iter().find(|task| task.name == name).unwrap();
                let tea = task("tea");
                let other = task("show_children_with_names_places_and_edges-3");
                assert_eq!((tea.spawned_at.file(), tea.waits_for.len(), other.waits_for.len()), (here, 1, 1));
                assert_eq!(
                    (tea.waits_for[0].at.file(), tea.spawned_at.line() + 1),
                    (here, other.spawned_at.line() - 1)
                );
                assert!(tea.waits_for[0].what.contains("lock"), "{}", tea.waits_for[0].what);
            })
            .await
            .unwrap();
        });
    }

    #[test]
    fn tell_of_deadlocked_children() {
        let result = virtual_loop().try_run(async {
            let [one, other] = [Lock::new(()).named("one"), Lock::new(()).named("other")];
            scope(async |s| {
                for (first, second) in [(&one, &other), (&other, &one)] {
                    s.spawn(async move {
                        let _first = first.lock().await;
                        yield_now().await;
                        drop(second.lock().await);
                    });
                }
            })
            .await
        });
        let Err(RunError::Deadlock(report)) = result else { panic!("{result:?}") };
        assert_eq!(report.circles.len(), 1, "{report}");
        let told = report.to_string();
        assert!(told.contains("for a group of \"tell_of_deadlocked_children-2\""), "{told}");
        assert!(told.contains("for lock \"other\", held by \"tell_of_deadlocked_children-3\""), "{told}");
    }
}

// ---- misuse ----

#[test]
fn refuse_children_after_the_end_and_without_a_loop() {
    let mut handle = None;
    virtual_loop().run(async {
        scope(async |s| handle = Some(s)).await.unwrap();
    });
    let handle = handle.unwrap();
    let told = panic_of(|| handle.spawn(async {}));
    assert_eq!(told, "a child was spawned into a scope that has ended; spawn while its body or a child runs");
    let running = scope(|s: Scope<'_>| {
        handle_outside(&s);
        async {}
    });
    drop(running);
}

fn handle_outside(s: &Scope<'_>) {
    let told = panic_of(|| s.spawn(async {}));
    let expected =
        "Scope::spawn() was called, but there is no running event loop; call it from inside of onelane::run()";
    assert_eq!(told, expected);
}

#[test]
fn refuse_another_loop() {
    let mut running = Box::pin(scope(async |s| {
        s.spawn(pending::<()>());
        pending::<()>().await;
    }));
    virtual_loop().run(async { assert!(poll!(&mut running).is_pending()) });
    let told = panic_of(|| virtual_loop().run(running));
    assert!(told.contains("belongs to another event loop"), "{told}");
}
