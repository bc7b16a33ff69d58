//! `tokio::sync`: the synchronization primitives of tokio, without its runtime.

use crate::common::{ms, on_drop, virtual_loop, watched};
use crate::{Diary, on_virtual_clock};
use futures_util::future::{FutureExt, join, join_all};
use futures_util::{pin_mut, poll, select_biased};
use onelane::{Elapsed, EventLoop, TaskError, gather, sleep, spawn, time, timeout, yield_now};
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Barrier, Mutex, Notify, OnceCell, RwLock, Semaphore, broadcast, mpsc, oneshot, watch};

// ---- mpsc ----

/// The sender is never ahead of the receiver by more than the channel's capacity.
#[test]
fn send_and_wait_and_receive() {
    on_virtual_clock(async || {
        let diary = Diary::begin();
        let (sender, mut receiver) = mpsc::channel(1);
        let copy = diary.clone();
        let producer = spawn(async move {
            for n in 1..=3 {
                sender.send(n).await.unwrap();
                copy.note(format!("sent {n}"));
            }
        });
        loop {
            sleep(ms(10)).await;
            let Some(n) = receiver.recv().await else { break };
            diary.note(format!("received {n}"));
        }
        diary.note("closed");
        producer.await.unwrap();
        let expected = [
            "0 ms: sent 1",
            "10 ms: received 1",
            "10 ms: sent 2",
            "20 ms: received 2",
            "20 ms: sent 3",
            "30 ms: received 3",
            "40 ms: closed",
        ];
        assert_eq!(diary.take(), expected);
    });
}

/// Reserved room is kept for its task, and released if the task is cancelled.
#[test]
fn reserve_and_cancel_and_reserve() {
    on_virtual_clock(async || {
        let diary = Diary::begin();
        let (sender, mut receiver) = mpsc::channel(1);
        let tasks = ["first", "second", "third"].map(|name| {
            let (diary, sender) = (diary.clone(), sender.clone());
            spawn(async move {
                let room = sender.reserve().await.unwrap();
                diary.note(format!("{name} has room"));
                sleep(ms(10)).await;
                room.send(name);
            })
        });
        drop(sender);
        sleep(ms(5)).await;
        tasks[0].cancel(); // has room
        let mut names = Vec::new();
        while let Some(name) = receiver.recv().await {
            names.push(name);
        }
        assert_eq!(names, ["second", "third"]);
        assert_eq!(diary.take(), ["0 ms: first has room", "5 ms: second has room", "15 ms: third has room"]);
    });
}

/// A receive that times out, or loses a race, loses no message, even if the message arrives at the
/// same time.
#[test]
fn time_out_and_receive_all() {
    on_virtual_clock(async || {
        let (sender, mut receiver) = mpsc::channel(1);
        let producer = spawn(async move {
            for n in 1..=6 {
                sleep(ms(20)).await;
                sender.send(n).await.unwrap();
            }
        });
        let mut seen = Vec::new();
        while seen.last() != Some(&3) {
            seen.push(timeout(ms(10), receiver.recv()).await.map_or(0, Option::unwrap));
        }
        while seen.last() != Some(&6) {
            let mut limit = sleep(ms(10)).fuse();
            seen.push(select_biased! {
                () = limit => 0,
                n = receiver.recv().fuse() => n.unwrap(),
            });
        }
        producer.await.unwrap();
        assert_eq!(seen, [0, 0, 1, 0, 0, 2, 0, 0, 3, 0, 0, 4, 0, 0, 5, 0, 0, 6]);
    });
}

/// The message has woken the task, which is cancelled before its next step. The message is still in
/// the channel.
#[test]
fn send_and_cancel_the_receiver_and_receive() {
    on_virtual_clock(async || {
        let (sender, receiver) = mpsc::unbounded_channel();
        let receiver = Rc::new(Mutex::new(receiver));
        let copy = receiver.clone();
        let task = spawn(async move { copy.lock().await.recv().await });
        yield_now().await;
        sender.send(7).unwrap();
        task.cancel();
        assert_eq!(task.await, Err(TaskError::Cancelled));
        assert_eq!(receiver.lock().await.recv().await, Some(7));
    });
}

// ---- oneshot ----

#[test]
fn answer_and_fail_to_answer() {
    on_virtual_clock(async || {
        let (requests, mut inbox) = mpsc::channel::<(u32, oneshot::Sender<u32>)>(4);
        let server = spawn(async move {
            while let Some((n, answer)) = inbox.recv().await {
                sleep(ms(5)).await;
                // For zero there is no answer, and `answer` is dropped.
                if let Some(quotient) = 100u32.checked_div(n) {
                    answer.send(quotient).unwrap();
                }
            }
        });
        let asked = [5, 0, 20].map(|n| {
            let requests = requests.clone();
            spawn(async move {
                let (answer, answered) = oneshot::channel();
                requests.send((n, answer)).await.unwrap();
                answered.await.ok()
            })
        });
        drop(requests);
        assert_eq!(gather(asked).await, Ok(vec![Some(20), None, Some(5)]));
        assert_eq!(server.await, Ok(()));
    });
}

/// The sender is notified when the receiver is cancelled.
#[test]
fn cancel_the_receiver_and_hear_of_it() {
    on_virtual_clock(async || {
        let diary = Diary::begin();
        let (mut sender, receiver) = oneshot::channel::<u32>();
        let waiting = spawn(receiver);
        let copy = diary.clone();
        let working = spawn(async move {
            sender.closed().await;
            copy.note("no receiver");
            sender.send(7)
        });
        sleep(ms(3)).await;
        waiting.cancel();
        assert_eq!((waiting.await, working.await), (Err(TaskError::Cancelled), Ok(Err(7))));
        assert_eq!(diary.take(), ["3 ms: no receiver"]);
    });
}

// ---- Notify ----

/// At most one permit is stored for a later task. Waiting tasks are notified in their order, or all
/// together.
#[test]
fn notify_one_and_notify_all() {
    on_virtual_clock(async || {
        let (diary, notify) = (Diary::begin(), Rc::new(Notify::new()));
        notify.notify_one();
        notify.notify_one();
        let tasks = [1, 2, 3, 4].map(|nth| {
            let (diary, notify) = (diary.clone(), notify.clone());
            spawn(async move {
                notify.notified().await;
                diary.note(format!("{nth} is told"));
            })
        });
        sleep(ms(5)).await;
        notify.notify_one();
        sleep(ms(5)).await;
        notify.notify_waiters();
        gather(tasks).await.unwrap();
        assert!(timeout(ms(5), notify.notified()).await.is_err(), "notify_waiters stores no permit");
        let expected = ["0 ms: 1 is told", "5 ms: 2 is told", "10 ms: 3 is told", "10 ms: 4 is told"];
        assert_eq!(diary.take(), expected);
    });
}

// ---- locks ----

/// tokio hands this lock over in the order of requests. A task that locks again at once has to wait
/// in the queue too.
#[test]
fn lock_again_and_stand_in_line() {
    on_virtual_clock(async || {
        let (diary, lock) = (Diary::begin(), Rc::new(Mutex::new(())));
        let tasks = ["first", "second"].map(|name| {
            let (diary, lock) = (diary.clone(), lock.clone());
            spawn(async move {
                for nth in 1..=2 {
                    let _guard = lock.lock().await;
                    sleep(ms(1)).await;
                    diary.note(format!("{name} {nth}"));
                }
            })
        });
        gather(tasks).await.unwrap();
        assert_eq!(diary.take(), ["1 ms: first 1", "2 ms: second 1", "3 ms: first 2", "4 ms: second 2"]);
    });
}

#[test]
fn cancel_who_has_the_lock_and_who_waits() {
    on_virtual_clock(async || {
        let (diary, lock) = (Diary::begin(), Rc::new(Mutex::new(0)));
        let tasks = [1, 2, 3].map(|nth| {
            let (diary, lock) = (diary.clone(), lock.clone());
            spawn(async move {
                let mut value = lock.lock().await;
                *value += nth;
                diary.note(format!("{nth} sees {value}"));
                sleep(ms(10)).await;
            })
        });
        sleep(ms(4)).await;
        tasks[1].cancel(); // waits
        tasks[0].cancel(); // has it
        let ends = join_all(tasks.map(IntoFuture::into_future)).await;
        assert_eq!(ends, [Err(TaskError::Cancelled), Err(TaskError::Cancelled), Ok(())]);
        assert_eq!(diary.take(), ["0 ms: 1 sees 1", "4 ms: 3 sees 4"]);
        assert!(lock.try_lock().is_ok());
    });
}

/// Requests are served in order: a reader behind a writer waits for the writer.
#[test]
fn read_and_write_in_the_order_of_asking() {
    on_virtual_clock(async || {
        let (diary, lock) = (Diary::begin(), Rc::new(RwLock::new(0)));
        let tasks = ["read", "read", "write", "read", "write"].map(|what| {
            let (diary, lock) = (diary.clone(), lock.clone());
            spawn(async move {
                if what == "read" {
                    let value = lock.read().await;
                    sleep(ms(10)).await;
                    diary.note(format!("read {value}"));
                } else {
                    let mut value = lock.write().await;
                    sleep(ms(10)).await;
                    *value += 1;
                    diary.note(format!("wrote {value}"));
                }
            })
        });
        gather(tasks).await.unwrap();
        let expected = ["10 ms: read 0", "10 ms: read 0", "20 ms: wrote 1", "30 ms: read 1", "40 ms: wrote 2"];
        assert_eq!(diary.take(), expected);
    });
}

/// Tasks that request one permit do not overtake a task that requests many, until it is cancelled.
#[test]
fn acquire_many_and_cancel_and_acquire_one() {
    on_virtual_clock(async || {
        let (diary, permits) = (Diary::begin(), Rc::new(Semaphore::new(3)));
        let [large, small, last] = [("large", 4), ("small", 1), ("last", 3)].map(|(name, count)| {
            let (diary, permits) = (diary.clone(), permits.clone());
            spawn(async move {
                let _permit = permits.acquire_many(count).await.unwrap();
                let _dropped = on_drop(|| diary.note(format!("{name} gives back")));
                diary.note(format!("{name} has {count}"));
                sleep(ms(10)).await;
            })
        });
        sleep(ms(5)).await;
        assert_eq!(permits.available_permits(), 0, "the large one has put three aside");
        large.cancel();
        assert_eq!(large.await, Err(TaskError::Cancelled));
        small.await.unwrap();
        last.await.unwrap();
        let expected = ["5 ms: small has 1", "15 ms: small gives back", "15 ms: last has 3", "25 ms: last gives back"];
        assert_eq!(diary.take(), expected);
    });
}

#[test]
fn close_a_semaphore_and_wait_no_longer() {
    on_virtual_clock(async || {
        let permits = Rc::new(Semaphore::new(0));
        let waiting = [1, 2].map(|count| {
            let permits = permits.clone();
            spawn(async move { permits.acquire_many(count).await.is_ok() })
        });
        yield_now().await;
        permits.close();
        assert_eq!(gather(waiting).await, Ok(vec![false, false]));
    });
}

/// All tasks continue when the last has arrived; the last is the leader.
#[test]
fn wait_for_all_round_by_round() {
    on_virtual_clock(async || {
        let (diary, barrier) = (Diary::begin(), Rc::new(Barrier::new(2)));
        let tasks = [1, 2].map(|nth| {
            let (diary, barrier) = (diary.clone(), barrier.clone());
            spawn(async move {
                for round in 1..=2 {
                    sleep(ms(nth)).await;
                    let leads = barrier.wait().await.is_leader();
                    diary.note(format!("{nth} in round {round}{}", if leads { ", leading" } else { "" }));
                }
            })
        });
        gather(tasks).await.unwrap();
        let expected =
            ["2 ms: 2 in round 1, leading", "2 ms: 1 in round 1", "4 ms: 2 in round 2, leading", "4 ms: 1 in round 2"];
        assert_eq!(diary.take(), expected);
    });
}

/// One task initializes the value while others wait. If it is cancelled, the next task initializes
/// it.
#[test]
fn cancel_who_initializes_and_initialize() {
    on_virtual_clock(async || {
        let (diary, cell) = (Diary::begin(), Rc::new(OnceCell::new()));
        let tasks = [1, 2, 3].map(|nth| {
            let (diary, cell) = (diary.clone(), cell.clone());
            spawn(async move {
                let make = async || {
                    sleep(ms(10)).await;
                    nth
                };
                let value = *cell.get_or_init(make).await;
                diary.note(format!("{nth} has {value}"));
            })
        });
        sleep(ms(5)).await;
        tasks[0].cancel();
        join_all(tasks.map(IntoFuture::into_future)).await;
        assert_eq!(diary.take(), ["15 ms: 2 has 2", "15 ms: 3 has 2"]);
    });
}

// ---- one to many ----

/// A receiver sees the last value, not each value. After a timeout it still sees the next change.
#[test]
fn watch_and_give_up_and_watch() {
    on_virtual_clock(async || {
        let diary = Diary::begin();
        let (sender, mut receiver) = watch::channel(0);
        let (copy, mut other) = (diary.clone(), receiver.clone());
        // This task returns its result instead of writing it to the diary, because the order in
        // which several receivers are notified is not fixed.
        let for_three = spawn(async move { (*other.wait_for(|&n| n >= 3).await.unwrap(), time()) });
        let follower = spawn(async move {
            loop {
                match timeout(ms(8), receiver.changed()).await {
                    Ok(Ok(())) => copy.note(*receiver.borrow_and_update()),
                    Ok(Err(_)) => break copy.note("closed"),
                    Err(Elapsed) => copy.note("no change"),
                }
            }
        });
        for n in [1, 3] {
            sleep(ms(10)).await;
            // If two values are sent in one step, receivers see the second.
            sender.send(n).unwrap();
            sender.send(n + 1).unwrap();
        }
        assert_eq!(for_three.await, Ok((4, time())));
        drop(sender);
        follower.await.unwrap();
        assert_eq!(diary.take(), ["8 ms: no change", "10 ms: 2", "18 ms: no change", "20 ms: 4", "20 ms: closed"]);
    });
}

/// Each receiver gets each message. A receiver that is too slow gets the number of messages that it
/// has missed.
#[test]
fn broadcast_to_a_quick_and_to_a_slow_one() {
    on_virtual_clock(async || {
        let diary = Diary::begin();
        let (sender, _) = broadcast::channel(2);
        let receivers = [("quick", 1), ("slow", 35)].map(|(name, pause)| {
            let (diary, mut receiver) = (diary.clone(), sender.subscribe());
            spawn(async move {
                loop {
                    match receiver.recv().await {
                        Ok(n) => diary.note(format!("{name} has {n}")),
                        Err(RecvError::Lagged(missed)) => diary.note(format!("{name} missed {missed}")),
                        Err(RecvError::Closed) => break,
                    }
                    sleep(ms(pause)).await;
                }
            })
        });
        for n in 1..=4 {
            sleep(ms(10)).await;
            assert_eq!(sender.send(n).unwrap(), 2);
        }
        drop(sender);
        gather(receivers).await.unwrap();
        let expected = [
            "10 ms: quick has 1",
            "10 ms: slow has 1",
            "20 ms: quick has 2",
            "30 ms: quick has 3",
            "40 ms: quick has 4",
            "45 ms: slow missed 1",
            "80 ms: slow has 3",
            "115 ms: slow has 4",
        ];
        assert_eq!(diary.take(), expected);
    });
}

/// A receive that is dropped just after a message was sent does not lose the message.
#[test]
fn cancel_a_broadcast_receive_and_receive() {
    on_virtual_clock(async || {
        let (sender, mut receiver) = broadcast::channel(8);
        for n in 1..=3 {
            {
                let receive = receiver.recv();
                pin_mut!(receive);
                assert!(poll!(&mut receive).is_pending());
                sender.send(n).unwrap();
            }
            assert_eq!(receiver.recv().await, Ok(n));
        }
    });
}

// ---- threads ----

/// WAKE-2. Each side waits until the other has sent, so each message must wake the loop.
#[test]
fn send_to_another_thread_and_back() {
    for event_loop in [EventLoop::new, virtual_loop] {
        watched(move || {
            let ((to_thread, mut inbox), (outbox, mut from_thread)) = (mpsc::channel(1), mpsc::channel(1));
            let thread = thread::spawn(move || {
                while let Some(n) = inbox.blocking_recv() {
                    outbox.blocking_send(n).unwrap();
                }
            });
            event_loop().run(async {
                for n in 0..200 {
                    to_thread.send(n).await.unwrap();
                    assert_eq!(from_thread.recv().await, Some(n));
                }
                drop(to_thread);
                assert_eq!(from_thread.recv().await, None, "the thread has gone, and its sender with it");
            });
            thread.join().unwrap();
        });
    }
}

/// A thread that answers each request through a channel of the request, like a database driver.
#[test]
fn ask_another_thread_for_answers() {
    on_virtual_clock(async || {
        let (requests, mut inbox) = mpsc::unbounded_channel::<(u64, oneshot::Sender<u64>)>();
        let thread = thread::spawn(move || {
            while let Some((n, answer)) = inbox.blocking_recv() {
                answer.send(n * n).unwrap();
            }
        });
        let asked = (0..50).map(async |n| {
            let (answer, answered) = oneshot::channel();
            requests.send((n, answer)).unwrap();
            answered.await.unwrap()
        });
        assert_eq!(join_all(asked).await, (0..50).map(|n| n * n).collect::<Vec<_>>());
        drop(requests);
        thread.join().unwrap();
    });
}

/// The loop and two threads share one lock.
#[test]
fn lock_here_and_on_other_threads() {
    on_virtual_clock(async || {
        let lock = Arc::new(Mutex::new(0));
        let threads = [(); 2].map(|()| {
            let lock = lock.clone();
            thread::spawn(move || (0..100).for_each(|_| *lock.blocking_lock() += 1))
        });
        let count = async || {
            for _ in 0..100 {
                *lock.lock().await += 1;
            }
        };
        join(count(), count()).await;
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(*lock.lock().await, 400);
    });
}
