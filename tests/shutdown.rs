//! Shutdowns that cannot end: a destructor spawns a task, whose destructor spawns a task, and so
//! on.
//!
//! Each test has its own process, because such a loop leaks the tasks of the last round.

mod common;

use common::{Post, Trace, alone, alone_and_leaking, await_that, ms, on_drop, panic_of, virtual_loop};
use futures_util::future::select;
use onelane::sync::Event;
use onelane::{
    EventLoop, Remote, Task, catch_cancel, current_task, finally, gather, sleep, spawn, time, wait, yield_now,
};
use std::cell::{Cell, RefCell};
use std::future::pending;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::task::Waker;

/// A future whose destructor spawns the next such future and counts it. If it is never polled, it
/// only drops what it captured.
fn endless(count: Rc<Cell<u32>>) -> impl Future<Output = ()> + 'static {
    let next = on_drop(move || {
        count.set(count.get() + 1);
        assert!(count.get() < 1_000_000, "the shutdown does not end");
        SPAWNED_BELOW.store(line!(), Ordering::SeqCst);
        drop(spawn(endless(count)));
    });
    async move {
        let _next = next;
        pending::<()>().await;
    }
}

/// The line before the `spawn` above.
static SPAWNED_BELOW: AtomicU32 = AtomicU32::new(0);

const MESSAGE_BEGINS: &str = "the loop was to end, but tasks go on spawning tasks when they are dropped, or catch each cancellation; the last was spawned at tests/shutdown.rs:";
const MESSAGE_ENDS: &str = "; do not spawn in a destructor what spawns in its own, and let a cancellation through";

/// z-galaxy/zbus#380, glommio/glommio#51: destructors spawned tasks during a shutdown, and the
/// shutdown never ended.
#[test]
fn spawn_for_ever_in_destructors_and_run() {
    alone_and_leaking("spawn_for_ever_in_destructors_and_run", || {
        let count = Rc::new(Cell::new(0));
        let copy = count.clone();
        let message = panic_of(|| {
            onelane::run(async {
                drop(spawn(endless(copy)));
                yield_now().await;
            })
        });
        let line = SPAWNED_BELOW.load(Ordering::SeqCst) + 1;
        assert_eq!(message, format!("{MESSAGE_BEGINS}{line}:14{MESSAGE_ENDS}"));
        assert!(count.get() >= 1000, "it gave up after {} rounds", count.get());
    });
}

#[test]
fn spawn_for_ever_in_destructors_and_run_a_loop_again() {
    alone_and_leaking("spawn_for_ever_in_destructors_and_run_a_loop_again", || {
        let count = Rc::new(Cell::new(0));
        let event_loop = virtual_loop();
        drop(event_loop.spawn(endless(count.clone())));
        let message = panic_of(|| event_loop.run(async {}));
        assert!(message.starts_with(MESSAGE_BEGINS) && message.ends_with(MESSAGE_ENDS), "{message}");
        let first = count.get();
        // One of these tasks is still alive, so a second `run` panics with the same message.
        assert_eq!(event_loop.all_tasks().len(), 1);
        assert_eq!(panic_of(|| event_loop.run(async { 7 })), message);
        assert!(count.get() > first);
        std::mem::forget(event_loop);
    });
}

/// A loop that is dropped with such a task prints a line to stderr, and does not panic in a
/// destructor.
#[test]
fn spawn_for_ever_in_destructors_and_drop_the_loop() {
    alone_and_leaking("spawn_for_ever_in_destructors_and_drop_the_loop", || {
        let count = Rc::new(Cell::new(0));
        let event_loop = virtual_loop();
        drop(event_loop.spawn(endless(count.clone())));
        event_loop.turn();
        drop(event_loop);
        assert!(count.get() >= 1000, "it gave up after {} rounds", count.get());
    });
}

/// What such a loop leaves behind must not reach the next loop: neither its messages nor the wakers
/// of its tasks.
#[test]
fn spawn_for_ever_in_destructors_and_make_another_loop() {
    alone_and_leaking("spawn_for_ever_in_destructors_and_make_another_loop", || {
        let (wakers, calls) = (Rc::new(RefCell::new(Vec::<Waker>::new())), Arc::new(AtomicUsize::new(0)));
        let message = panic_of(|| {
            onelane::run(async {
                let remote = EventLoop::current().remote();
                drop(spawn(endless_with(remote, wakers.clone(), calls.clone())));
                yield_now().await;
            })
        });
        assert!(message.starts_with(MESSAGE_BEGINS), "{message}");
        let left = calls.load(Ordering::SeqCst);

        let polls = Rc::new(Cell::new(0));
        let next = virtual_loop();
        let tasks: Vec<Task<()>> = (0..3)
            .map(|_| {
                let polls = polls.clone();
                next.spawn(std::future::poll_fn(move |_| {
                    polls.set(polls.get() + 1);
                    std::task::Poll::Pending
                }))
            })
            .collect();
        next.turn();
        assert_eq!(polls.get(), 3);
        wakers.take().into_iter().for_each(Waker::wake);
        next.turn();
        let turn = next.turn();
        assert_eq!((polls.get(), turn.callbacks), (3, 0), "the wakers of one loop woke the tasks of another");
        assert_eq!(calls.load(Ordering::SeqCst), left, "a message to one loop reached another");
        drop(tasks);
    });
}

/// As `endless`, but each destructor also sends a message to the loop.
fn endless_with(
    remote: Remote,
    wakers: Rc<RefCell<Vec<Waker>>>,
    calls: Arc<AtomicUsize>,
) -> impl Future<Output = ()> + 'static {
    let kept = wakers.clone();
    let next = on_drop(move || {
        let counted = calls.clone();
        let _ = remote.call_soon(move || _ = counted.fetch_add(1, Ordering::SeqCst));
        drop(spawn(endless_with(remote, wakers, calls)));
    });
    async move {
        let _next = next;
        std::future::poll_fn::<(), _>(|context| {
            kept.borrow_mut().push(context.waker().clone());
            std::task::Poll::Pending
        })
        .await;
    }
}

/// A callback that queues itself again is not called for ever at the end of the run.
#[test]
fn call_soon_for_ever_and_end_the_run() {
    alone("call_soon_for_ever_and_end_the_run", || {
        fn again(count: Rc<Cell<u32>>) {
            onelane::call_soon(move || {
                count.set(count.get() + 1);
                again(count);
            });
        }
        let count = Rc::new(Cell::new(0));
        let event_loop = virtual_loop();
        event_loop.run(async {
            again(count.clone());
            drop(spawn(pending::<()>()));
            yield_now().await;
            yield_now().await;
        });
        let at_the_end = count.get();
        assert!((2..10).contains(&at_the_end), "{at_the_end}");
        // The callback still belongs to the loop. It is called when the loop turns again, and is
        // dropped with the loop.
        event_loop.turn();
        assert_eq!((count.get(), Rc::strong_count(&count)), (at_the_end + 1, 2));
        drop(event_loop);
        assert_eq!((count.get(), Rc::strong_count(&count)), (at_the_end + 1, 1));
    });
}

/// The loop is dropped with a callback whose destructor queues another such callback.
#[test]
fn call_soon_in_destructors_of_callbacks_and_drop_the_loop() {
    alone("call_soon_in_destructors_of_callbacks_and_drop_the_loop", || {
        fn link(depth: u32, count: Rc<Cell<u32>>) -> impl FnOnce() + 'static {
            let next = on_drop(move || {
                count.set(count.get() + 1);
                if depth > 0 {
                    onelane::call_soon(link(depth - 1, count.clone()));
                    onelane::call_later(std::time::Duration::ZERO, link(0, count.clone()));
                    let _ = EventLoop::current().remote().call_soon(|| ());
                }
            });
            move || {
                let _next = next;
                unreachable!("a callback was called while the loop was dropped");
            }
        }
        let count = Rc::new(Cell::new(0));
        let event_loop = virtual_loop();
        event_loop.run(async { EventLoop::current() }).call_soon(link(10, count.clone()));
        drop(event_loop);
        assert_eq!((count.get(), Rc::strong_count(&count)), (21, 1));
    });
}

/// `run` stops waiting and drops the main future, but the main task still exists. A cancellation
/// queues this task, and `uncancel()` removes the mark that prevents a poll. The loop must not poll
/// the dropped future.
#[test]
fn resist_the_end_of_run_and_uncancel() {
    alone("resist_the_end_of_run_and_uncancel", || {
        let event_loop = virtual_loop();
        let (known, catches) = (RefCell::new(None), Cell::new(0));
        let message = panic_of(|| {
            let text = vec![7_u8; 4096];
            let (text, known, catches) = (&text, &known, &catches);
            event_loop.run(async move {
                *known.borrow_mut() = current_task();
                loop {
                    let _ = catch_cancel(pending::<()>()).await;
                    catches.set(catches.get() + usize::from(text.iter().all(|&byte| byte == 7)));
                }
            })
        });
        assert!(message.starts_with(MESSAGE_BEGINS) && message.ends_with(MESSAGE_ENDS), "{message}");
        let (task, caught) = (known.take().unwrap(), catches.get());
        assert!(!task.is_done() && caught >= 1000, "{caught}");
        task.cancel();
        while task.uncancel() > 0 {}
        event_loop.turn();
        assert!(task.is_cancelled());
        assert_eq!(catches.get(), caught, "a dropped future was polled");
    });
}

/// The main task that such a run has left behind ends during a later run, and must not stop it.
#[test]
fn resist_the_end_of_run_and_end_in_the_next() {
    alone("resist_the_end_of_run_and_end_in_the_next", || {
        let event_loop = virtual_loop();
        let known = RefCell::new(None);
        let message = panic_of(|| {
            event_loop.run(async {
                *known.borrow_mut() = current_task();
                loop {
                    let _ = catch_cancel(pending::<()>()).await;
                }
            })
        });
        assert!(message.starts_with(MESSAGE_BEGINS), "{message}");
        let left = known.take().unwrap();
        let value = event_loop.run(async {
            yield_now().await;
            assert!(left.cancel() && !left.is_done());
            for _ in 0..10 {
                yield_now().await;
            }
            assert!(left.is_cancelled());
            8
        });
        assert_eq!(value, 8);
    });
}

/// At the end of the run, a cleanup spawns a task. This task goes on until all cleanups have ended,
/// and is then cancelled.
#[test]
fn spawn_in_a_cleanup_what_never_ends_and_end_the_run() {
    alone("spawn_in_a_cleanup_what_never_ends_and_end_the_run", || {
        let ticks = Rc::new(Cell::new(0));
        let (copy, event_loop) = (ticks.clone(), virtual_loop());
        let begun = event_loop.run(async move {
            let cleanup = async move {
                drop(spawn(async move {
                    loop {
                        sleep(ms(2)).await;
                        copy.set(copy.get() + 1);
                    }
                }));
                sleep(ms(7)).await;
            };
            drop(spawn(finally(pending::<()>(), cleanup)));
            yield_now().await;
            time()
        });
        assert_eq!((ticks.get(), event_loop.time() - begun), (3, ms(7)));
        assert!(event_loop.all_tasks().is_empty());
    });
}

/// Opens a post from another thread after a task waits there.
fn open_later(post: &Post) {
    let post = post.clone();
    std::thread::spawn(move || {
        await_that(|| post.has_waker());
        std::thread::sleep(ms(4));
        post.open();
    });
}

/// A task that records its drop.
fn telling<F: Future<Output = ()> + 'static>(name: &'static str, trace: &Trace, future: F) -> Rc<Task<()>> {
    let trace = trace.clone();
    Rc::new(spawn(async move {
        let _guard = on_drop(move || trace.push(name));
        future.await;
    }))
}

/// The first task waits for the second, whose cleanup waits for the end of the first. The loop ends
/// the first task, and then the cleanup completes.
#[test]
fn end_the_run_with_a_cleanup_that_waits_for_who_waits_for_it() {
    alone("end_the_run_with_a_cleanup_that_waits_for_who_waits_for_it", || {
        for event_loop in [EventLoop::new(), virtual_loop()] {
            let trace = Trace::new();
            event_loop.run(async {
                let place = Rc::new(RefCell::new(None::<Task<()>>));
                let (copy, cleaner) = (place.clone(), trace.clone());
                let first = telling("first", &trace, async move {
                    yield_now().await;
                    let second = copy.take().unwrap();
                    _ = second.await;
                });
                let known = first.task_ref();
                let cleanup = async move {
                    wait([known]).await;
                    cleaner.push("cleaned up");
                };
                *place.borrow_mut() = Some(spawn(finally(pending::<()>(), cleanup)));
                yield_now().await;
                yield_now().await;
            });
            assert_eq!(trace.take(), ["first", "cleaned up"]);
        }
    });
}

/// Two tasks wait for one task, and another task waits for both. This is not a circle, so each
/// waits until its tasks have ended.
#[test]
fn end_the_run_with_two_that_wait_for_one() {
    alone("end_the_run_with_two_that_wait_for_one", || {
        let (trace, post) = (Trace::new(), Post::new());
        open_later(&post);
        EventLoop::new().run(async {
            let (waited, copy) = (post.clone(), trace.clone());
            let one = Rc::new(spawn(finally(pending::<()>(), async move {
                waited.wait().await;
                copy.push("cleaned up");
            })));
            let [left, right] = ["left", "right"].map(|name| {
                let one = one.clone();
                telling(name, &trace, async move { drop((&*one).await) })
            });
            telling("both", &trace, async move { drop(gather([&*left, &*right]).await) });
            yield_now().await;
            yield_now().await;
        });
        assert_eq!(trace.take(), ["cleaned up", "left", "right", "both"]);
    });
}

/// A task has caught the cancellation. It waits for another task, which waits for it, or for a
/// post. The post opens, so the loop does not have to end one of the tasks.
#[test]
fn end_the_run_with_one_who_goes_on_and_waits_for_who_waits_for_it() {
    alone("end_the_run_with_one_who_goes_on_and_waits_for_who_waits_for_it", || {
        let (trace, post) = (Trace::new(), Post::new());
        open_later(&post);
        EventLoop::new().run(async {
            let place = Rc::new(RefCell::new(None::<Rc<Task<()>>>));
            let (copy, waited) = (place.clone(), post.clone());
            let goes_on = telling("goes on", &trace, async move {
                _ = catch_cancel(pending::<()>()).await;
                let other = copy.take().unwrap();
                select(pin!(wait([other.task_ref()])), pin!(waited.wait())).await;
            });
            *place.borrow_mut() = Some(telling("waits", &trace, async move { drop((&*goes_on).await) }));
            yield_now().await;
            yield_now().await;
        });
        assert_eq!(trace.take(), ["goes on", "waits"]);
    });
}

/// Two cleanups wait for each other, and one of them also waits for a post, which opens. A task
/// that waits for one of the cleanups is not part of their circle, and must not be ended.
#[test]
fn end_the_run_with_one_who_waits_for_a_circle_of_cleanups() {
    alone("end_the_run_with_one_who_waits_for_a_circle_of_cleanups", || {
        let (trace, post) = (Trace::new(), Post::new());
        open_later(&post);
        EventLoop::new().run(async {
            let place = Rc::new(RefCell::new(None::<Rc<Task<()>>>));
            let (copy, first) = (place.clone(), trace.clone());
            telling("waits", &trace, async move {
                yield_now().await;
                let one = copy.borrow().clone().unwrap();
                drop((&*one).await);
            });
            let (copy, waited, other_trace) = (place.clone(), post.clone(), trace.clone());
            let other = Rc::new(spawn(finally(pending::<()>(), async move {
                let one = copy.borrow().clone().unwrap();
                select(pin!(wait([one.task_ref()])), pin!(waited.wait())).await;
                other_trace.push("other cleaned up");
            })));
            let one = spawn(finally(pending::<()>(), async move {
                wait([other.task_ref()]).await;
                first.push("one cleaned up");
            }));
            *place.borrow_mut() = Some(Rc::new(one));
            yield_now().await;
            yield_now().await;
        });
        assert_eq!(trace.take(), ["other cleaned up", "one cleaned up", "waits"]);
    });
}

/// No task can go on, and one of them waits for the other, which cleans up. The loop drops the
/// waiting task, and this lets the cleanup go on.
#[test]
fn end_the_run_with_a_cleanup_that_goes_on_when_another_is_dropped() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let event = Rc::new(Event::new());
        let (set, cleaner) = (event.clone(), trace.clone());
        let cleans = spawn(finally(pending::<()>(), async move {
            event.wait().await;
            cleaner.push("cleaned up");
        }));
        drop(spawn(async move {
            let _guard = on_drop(move || set.set());
            _ = cleans.await;
        }));
        yield_now().await;
        yield_now().await;
    });
    assert_eq!(trace.take(), ["cleaned up"]);
}

/// A loop that is always ready during its shutdown still receives messages.
#[test]
fn send_a_message_to_a_cleanup_that_never_rests() {
    alone("send_a_message_to_a_cleanup_that_never_rests", || {
        let is_set = Arc::new(AtomicUsize::new(0));
        virtual_loop().run(async {
            let (remote, copy) = (EventLoop::current().remote(), is_set.clone());
            let cleanup = async move {
                let sent = copy.clone();
                remote.call_soon(move || sent.store(1, Ordering::SeqCst)).unwrap();
                while copy.load(Ordering::SeqCst) == 0 {
                    yield_now().await;
                }
            };
            drop(spawn(finally(pending::<()>(), cleanup)));
            yield_now().await;
        });
        assert_eq!(is_set.load(Ordering::SeqCst), 1);
    });
}

/// While the loop waits for cleanups, the cleanups can spawn tasks, and so can tasks that caught
/// the cancellation. These tasks run. A task that a destructor spawns is cancelled before its first
/// step. While a loop is dropped, every new task is cancelled.
#[test]
fn spawn_at_the_end_and_run_or_not() {
    for is_dropped in [false, true] {
        let trace = Trace::new();
        let helps = |name: &'static str| {
            let trace = trace.clone();
            move || {
                spawn(async move {
                    sleep(ms(0)).await;
                    trace.push(name);
                })
            }
        };
        let (in_destructor, in_cleanup, goes_on) = (helps("destructor"), helps("cleanup"), helps("goes on"));
        let tasks = move || {
            drop(spawn(async move {
                let _guard = on_drop(move || drop(in_destructor()));
                pending::<()>().await;
            }));
            drop(spawn(finally(pending::<()>(), async move { drop(in_cleanup().await) })));
            drop(spawn(async move {
                _ = catch_cancel(pending::<()>()).await;
                _ = goes_on().await;
            }));
        };
        let event_loop = virtual_loop();
        if is_dropped {
            event_loop.call_soon(tasks);
            event_loop.turn();
            event_loop.turn();
            drop(event_loop);
            assert_eq!(trace.take(), [""; 0]);
        } else {
            event_loop.run(async {
                tasks();
                yield_now().await;
            });
            assert_eq!(trace.take(), ["cleanup", "goes on"]);
        }
    }
}

/// A spawn in a cleanup at the end of one run has no effect on the next run.
#[test]
fn end_a_run_again_and_let_go_on_who_catches() {
    let event_loop = virtual_loop();
    event_loop.run(async {
        drop(spawn(finally(pending::<()>(), async { drop(spawn(async {}).await) })));
        yield_now().await;
    });
    let trace = Trace::new();
    let copy = trace.clone();
    event_loop.run(async {
        drop(spawn(async move {
            _ = catch_cancel(pending::<()>()).await;
            sleep(ms(5)).await;
            copy.push("went on");
        }));
        yield_now().await;
    });
    assert_eq!(trace.take(), ["went on"]);
}
