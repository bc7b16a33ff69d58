//! Properties of all these crates: a task that waits in a future of another crate is cancelled, or
//! its loop ends. Its future is dropped, and what it waited for still works.

use crate::common::{Trace, ms, on_drop, telling_loop, virtual_loop, watched};
use crate::{Diary, on_virtual_clock};
use futures_util::future::{FutureExt, LocalBoxFuture};
use futures_util::poll;
use onelane::{ChildError, Task, TaskError, finally, gather, sleep, spawn, time, timeout, try_task_group, yield_now};
use std::cell::{Cell, RefCell};
use std::future::pending;
use std::rc::Rc;
use std::sync::Arc;

/// Something that one task can pass at a time: `wait` waits for it, and `open` lets one task pass.
struct Turnstile {
    name: &'static str,
    wait: Box<dyn Fn() -> LocalBoxFuture<'static, ()>>,
    open: Box<dyn FnOnce()>,
}

fn turnstile<F>(name: &'static str, wait: impl Fn() -> F + 'static, open: impl FnOnce() + 'static) -> Turnstile
where
    F: Future + 'static,
{
    Turnstile { name, wait: Box::new(move || wait().map(drop).boxed_local()), open: Box::new(open) }
}

/// Each `wait` gives the resource back as soon as it has it. The resource lives as long as the
/// `wait` closure.
fn turnstiles() -> Vec<Turnstile> {
    [of_async_channel(), of_async_lock(), of_futures_util(), of_tokio_sync()].into_iter().flatten().collect()
}

fn of_async_channel() -> Vec<Turnstile> {
    use async_channel::bounded;
    let (sender, receiver) = bounded(1);
    let (full, other) = bounded(1);
    full.try_send(1).unwrap();
    let kept = other.clone();
    let receive = move || {
        let receiver = receiver.clone();
        async move { receiver.recv().await.unwrap() }
    };
    let send = move || {
        let (sender, _kept) = (full.clone(), &kept);
        async move { sender.send(2).await.unwrap() }
    };
    vec![
        turnstile("async_channel, recv", receive, move || sender.try_send(1).unwrap()),
        turnstile("async_channel, send", send, move || assert_eq!(other.try_recv(), Ok(1))),
    ]
}

fn of_async_lock() -> Vec<Turnstile> {
    use async_lock::{Mutex, RwLock, Semaphore};
    let (lock, permits, read_lock) = (Arc::new(Mutex::new(())), Arc::new(Semaphore::new(0)), Arc::new(RwLock::new(())));
    let (guard, reader, copy) = (lock.try_lock_arc(), read_lock.try_read_arc(), permits.clone());
    let write = move || {
        let read_lock = read_lock.clone();
        async move { drop(read_lock.write().await) }
    };
    vec![
        turnstile("async_lock, Mutex", move || lock.lock_arc(), move || drop(guard)),
        turnstile("async_lock, Semaphore", move || permits.acquire_arc(), move || copy.add_permits(1)),
        turnstile("async_lock, RwLock", write, move || drop(reader)),
    ]
}

fn of_futures_util() -> Vec<Turnstile> {
    let lock = Arc::new(futures_util::lock::Mutex::new(()));
    let guard = lock.try_lock_owned();
    vec![turnstile("futures_util, Mutex", move || lock.clone().lock_owned(), move || drop(guard))]
}

fn of_tokio_sync() -> Vec<Turnstile> {
    use tokio::sync::{Mutex, Notify, RwLock, Semaphore, mpsc};
    let (sender, receiver) = mpsc::channel(1);
    sender.try_send(1).unwrap();
    let receiver = Rc::new(RefCell::new(receiver));
    let kept = receiver.clone();
    let reserve = move || {
        let (sender, _kept) = (sender.clone(), &kept);
        async move { drop(sender.reserve().await.unwrap()) }
    };
    let (lock, permits, read_lock) = (Arc::new(Mutex::new(())), Arc::new(Semaphore::new(0)), Arc::new(RwLock::new(())));
    let (guard, reader) = (lock.clone().try_lock_owned(), read_lock.clone().try_read_owned());
    let (notify, copy) = (Arc::new(Notify::new()), permits.clone());
    let notifier = notify.clone();
    vec![
        turnstile("tokio, mpsc", reserve, move || assert_eq!(receiver.borrow_mut().try_recv(), Ok(1))),
        turnstile("tokio, Mutex", move || lock.clone().lock_owned(), move || drop(guard)),
        turnstile("tokio, Semaphore", move || permits.clone().acquire_owned(), move || copy.add_permits(1)),
        turnstile("tokio, RwLock", move || read_lock.clone().write_owned(), move || drop(reader)),
        turnstile("tokio, Notify", move || notify.clone().notified_owned(), move || notifier.notify_one()),
    ]
}

/// Two tasks that wait at a turnstile. They record when they have passed it, and when their futures
/// are dropped.
fn two_at(wait: &dyn Fn() -> LocalBoxFuture<'static, ()>, trace: &Trace) -> [Task<()>; 2] {
    ["first", "second"].map(|who| {
        let (trace, waiting) = (trace.clone(), wait());
        spawn(async move {
            let _dropped = on_drop(|| trace.push(format!("{who} dropped")));
            waiting.await;
            trace.push(format!("{who} is through"));
        })
    })
}

/// The first of two waiting tasks is cancelled, before the turnstile opens or after. In the second
/// case the turnstile has opened for the first task, which has not been stepped since. In both
/// cases the second task passes.
#[test]
fn cancel_the_first_and_let_the_second_through() {
    on_virtual_clock(async || {
        for Turnstile { name, wait, open } in turnstiles() {
            let trace = Trace::new();
            let [first, second] = two_at(&wait, &trace);
            yield_now().await;
            first.cancel();
            assert_eq!(first.await, Err(TaskError::Cancelled), "{name}");
            trace.push("open");
            open();
            assert_eq!(second.await, Ok(()), "{name}");
            assert_eq!(trace.take(), ["first dropped", "open", "second is through", "second dropped"], "{name}");
        }
        for Turnstile { name, wait, open } in turnstiles() {
            let trace = Trace::new();
            let [first, second] = two_at(&wait, &trace);
            yield_now().await;
            trace.push("open");
            open();
            first.cancel();
            assert_eq!(first.await, Err(TaskError::Cancelled), "{name}");
            assert_eq!(second.await, Ok(()), "{name}");
            assert_eq!(trace.take(), ["open", "first dropped", "second is through", "second dropped"], "{name}");
        }
    });
}

/// Without a cancellation the first task passes. This shows that the test above cancels the right
/// one.
#[test]
fn let_the_first_through() {
    on_virtual_clock(async || {
        for Turnstile { name, wait, open } in turnstiles() {
            let trace = Trace::new();
            let [first, second] = two_at(&wait, &trace);
            yield_now().await;
            open();
            assert_eq!(first.await, Ok(()), "{name}");
            let seen = trace.take();
            assert_eq!(seen[..2], ["first is through", "first dropped"], "{name}");
            second.cancel();
            drop(second.await);
        }
    });
}

/// A future that has timed out is not in the queue any more.
#[test]
fn time_out_and_let_the_second_through() {
    on_virtual_clock(async || {
        for Turnstile { name, wait, open } in turnstiles() {
            let diary = Diary::begin();
            let (copy, waiting) = (diary.clone(), wait());
            let first = spawn(async move { copy.note(format!("{:?}", timeout(ms(5), waiting).await)) });
            let (copy, waiting) = (diary.clone(), wait());
            let second = spawn(async move {
                waiting.await;
                copy.note("second is through");
            });
            sleep(ms(10)).await;
            open();
            gather([first, second]).await.unwrap();
            assert_eq!(diary.take(), ["5 ms: Err(Elapsed)", "10 ms: second is through"], "{name}");
        }
    });
}

/// END-1. When the loop ends, the futures of the waiting tasks are dropped. A task that waits in
/// another loop then passes.
#[test]
fn end_a_loop_and_let_through_in_another() {
    watched(|| {
        for Turnstile { name, wait, open } in turnstiles() {
            let trace = Trace::new();
            virtual_loop().run(async {
                drop(two_at(&wait, &trace));
                yield_now().await;
            });
            assert_eq!(trace.take(), ["first dropped", "second dropped"], "{name}");
            virtual_loop().run(async {
                let task = spawn(wait());
                yield_now().await;
                assert!(!task.is_done(), "{name}");
                open();
                assert_eq!(task.await, Ok(()), "{name}");
            });
        }
    });
}

/// WAKE-1. A wait that began in a loop that has ended continues in another loop; the waker is
/// replaced.
#[test]
fn begin_a_wait_in_one_loop_and_end_it_in_another() {
    watched(|| {
        for Turnstile { name, wait, open } in turnstiles() {
            let mut waiting = wait();
            virtual_loop().run(async { assert!(poll!(&mut waiting).is_pending(), "{name}") });
            let through = virtual_loop().run(async {
                let task = spawn(waiting);
                yield_now().await;
                open();
                task.await
            });
            assert_eq!(through, Ok(()), "{name}");
        }
    });
}

/// The loop that waited has been dropped when the turnstile opens. The wake has no effect, also not
/// on another loop.
#[test]
fn drop_the_loop_and_wake_it() {
    watched(|| {
        for Turnstile { name, wait, open } in turnstiles() {
            let mut waiting = wait();
            virtual_loop().run(async { assert!(poll!(&mut waiting).is_pending(), "{name}") });
            let other = virtual_loop();
            let task = other.spawn(pending::<()>());
            assert_eq!(other.turn().steps, 1);
            open();
            assert_eq!((other.turn().steps, task.is_done()), (0, false), "{name}");
            assert_eq!(waiting.now_or_never(), Some(()), "{name}");
        }
    });
}

/// A lock is released when its holder panics, as when its holder ends in any other way.
#[test]
fn panic_with_a_lock_and_lock() {
    let (event_loop, told) = telling_loop();
    event_loop.run(async {
        let (lock, other) = (Rc::new(async_lock::Mutex::new(0)), Rc::new(tokio::sync::Mutex::new(0)));
        let (copies, guards) = ((lock.clone(), other.clone()), (lock.clone(), other.clone()));
        drop(spawn(async move {
            let (mut one, mut two) = (copies.0.lock().await, copies.1.lock().await);
            (*one, *two) = (1, 2);
            sleep(ms(1)).await;
            panic!("with two locks");
        }));
        let next = spawn(async move { (*guards.0.lock().await, *guards.1.lock().await) });
        assert_eq!(next.await, Ok((1, 2)));
    });
    assert_eq!(told.take(), ["a task panicked and its result was never read: with two locks"]);
}

/// A cleanup can wait in other crates like any future, here for room in a channel.
#[test]
fn cancel_and_clean_up_by_a_message() {
    on_virtual_clock(async || {
        let diary = Diary::begin();
        let (goodbye, heard) = async_channel::bounded(1);
        goodbye.send("hello").await.unwrap();
        let (_sender, mut requests) = tokio::sync::mpsc::channel::<()>(1);
        let copy = diary.clone();
        let body = async move {
            let _dropped = on_drop(|| copy.note("body dropped"));
            requests.recv().await;
        };
        let task = spawn(finally(body, async move { goodbye.send("goodbye").await.unwrap() }));
        sleep(ms(5)).await;
        task.cancel();
        sleep(ms(5)).await;
        assert!(!task.is_done(), "there is no room yet");
        while let Ok(message) = heard.recv().await {
            diary.note(message);
        }
        assert_eq!(task.await, Err(TaskError::Cancelled));
        assert_eq!(diary.take(), ["5 ms: body dropped", "10 ms: hello", "10 ms: goodbye"]);
    });
}

/// A child fails, and its siblings, which wait in different ways, are cancelled.
#[test]
fn fail_in_a_group_and_end_the_others() {
    on_virtual_clock(async || {
        let begun = time();
        let (waits, dropped) = (turnstiles(), Rc::new(Cell::new(0)));
        let result = try_task_group(async |group| {
            for Turnstile { wait, .. } in &waits {
                let (waiting, dropped) = (wait(), dropped.clone());
                group.spawn(async move {
                    let _dropped = on_drop(|| dropped.set(dropped.get() + 1));
                    waiting.await;
                });
            }
            group.try_spawn(async {
                sleep(ms(5)).await;
                Err::<(), _>("failed")
            });
            Ok(())
        })
        .await;
        assert_eq!(result.unwrap_err().errors, [ChildError::Failed("failed")]);
        assert_eq!((dropped.get(), time() - begun), (waits.len(), ms(5)));
        for Turnstile { name, wait, open } in waits {
            open();
            assert_eq!(timeout(ms(1), wait()).await, Ok(()), "{name}");
        }
    });
}
