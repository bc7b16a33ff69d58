//! `async_lock`: locks, semaphores, barriers, and a cell that is initialized once.

use crate::common::{ms, on_drop};
use crate::{Diary, on_virtual_clock};
use async_lock::{Barrier, Mutex, OnceCell, RwLock, RwLockUpgradableReadGuard, Semaphore};
use futures_util::future::join_all;
use onelane::{Elapsed, TaskError, gather, sleep, spawn, timeout, yield_now};
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

// ---- the lock ----

#[test]
fn lock_in_the_order_of_asking() {
    on_virtual_clock(async || {
        let (diary, lock) = (Diary::begin(), Rc::new(Mutex::new(0)));
        let tasks = ["first", "second", "third"].map(|name| {
            let (diary, lock) = (diary.clone(), lock.clone());
            spawn(async move {
                let mut count = lock.lock().await;
                sleep(ms(10)).await;
                *count += 1;
                diary.note(format!("{name} counts {count}"));
            })
        });
        gather(tasks).await.unwrap();
        let expected = ["10 ms: first counts 1", "20 ms: second counts 2", "30 ms: third counts 3"];
        assert_eq!(diary.take(), expected);
    });
}

/// A task that finds this lock free may take it before others that wait. But if a task has waited
/// for half a millisecond of real time, the lock becomes fair: a task that locks it repeatedly must
/// then wait in the queue.
#[test]
fn lock_again_and_again_and_be_fair() {
    on_virtual_clock(async || {
        let (diary, lock) = (Diary::begin(), Rc::new(Mutex::new(())));
        let tasks = [("greedy", 4), ("patient", 1)].map(|(name, times)| {
            let (diary, lock) = (diary.clone(), lock.clone());
            spawn(async move {
                for nth in 1..=times {
                    let _guard = lock.lock().await;
                    sleep(ms(1)).await;
                    if (name, nth) == ("greedy", 1) {
                        // After this sleep, the other task has waited long enough in real time too.
                        thread::sleep(ms(1));
                    }
                    diary.note(format!("{name} {nth}"));
                }
            })
        });
        gather(tasks).await.unwrap();
        let expected = ["1 ms: greedy 1", "2 ms: greedy 2", "3 ms: patient 1", "4 ms: greedy 3", "5 ms: greedy 4"];
        assert_eq!(diary.take(), expected);
    });
}

/// Cancelling the task that holds the lock drops its future, and with it the guard.
#[test]
fn cancel_who_has_the_lock_and_lock() {
    on_virtual_clock(async || {
        let (diary, lock) = (Diary::begin(), Rc::new(Mutex::new(0)));
        let copy = lock.clone();
        let holder = spawn(async move {
            *copy.lock().await = 1;
            let _guard = copy.lock().await;
            sleep(ms(3_600_000)).await;
        });
        let (copy, other) = (diary.clone(), lock.clone());
        let next = spawn(async move { copy.note(format!("it was set to {}", other.lock().await)) });
        sleep(ms(1)).await;
        assert!(lock.try_lock().is_none());
        holder.cancel();
        assert_eq!((holder.await, next.await), (Err(TaskError::Cancelled), Ok(())));
        assert_eq!(diary.take(), ["1 ms: it was set to 1"]);
        assert!(lock.try_lock().is_some());
    });
}

#[test]
fn time_out_of_a_lock_and_lock() {
    on_virtual_clock(async || {
        let diary = Diary::begin();
        let lock = Arc::new(Mutex::new(()));
        let guard = lock.lock_arc().await;
        let holder = spawn(async move {
            sleep(ms(10)).await;
            drop(guard);
        });
        diary.note(format!("{:?}", timeout(ms(7), lock.lock()).await.is_err()));
        diary.note(format!("{:?}", timeout(ms(7), lock.lock()).await.is_err()));
        holder.await.unwrap();
        assert_eq!(diary.take(), ["7 ms: true", "10 ms: false"]);
    });
}

/// Another thread drops the guard, and the loop waits for it.
#[test]
fn unlock_on_another_thread() {
    on_virtual_clock(async || {
        let lock = Arc::new(Mutex::new(1));
        for n in 1..50 {
            let mut guard = lock.lock_arc().await;
            let thread = thread::spawn(move || *guard += 1);
            assert_eq!(*lock.lock().await, n + 1);
            thread.join().unwrap();
        }
    });
}

// ---- readers and writers ----

/// Readers share the lock, a writer has it alone. A waiting writer keeps new readers out.
#[test]
fn read_together_and_write_alone() {
    on_virtual_clock(async || {
        let (diary, lock) = (Diary::begin(), Rc::new(RwLock::new(0)));
        let read = |name: &'static str| {
            let (diary, lock) = (diary.clone(), lock.clone());
            spawn(async move {
                let value = lock.read().await;
                sleep(ms(10)).await;
                diary.note(format!("{name} has read {value}"));
            })
        };
        let write = |name: &'static str| {
            let (diary, lock) = (diary.clone(), lock.clone());
            spawn(async move {
                let mut value = lock.write().await;
                sleep(ms(10)).await;
                *value += 1;
                diary.note(format!("{name} has written {value}"));
            })
        };
        gather([read("first"), read("second"), write("third"), read("fourth"), read("fifth")]).await.unwrap();
        let expected = [
            "10 ms: first has read 0",
            "10 ms: second has read 0",
            "20 ms: third has written 1",
            "30 ms: fourth has read 1",
            "30 ms: fifth has read 1",
        ];
        assert_eq!(diary.take(), expected);
    });
}

/// A waiting writer that is cancelled does not keep readers out any more.
#[test]
fn cancel_a_writer_and_read() {
    on_virtual_clock(async || {
        let (diary, lock) = (Diary::begin(), Arc::new(RwLock::new(7)));
        let reader = lock.read_arc().await;
        let copy = lock.clone();
        let writer = spawn(async move { *copy.write().await = 8 });
        yield_now().await;
        let (copy, other) = (diary.clone(), lock.clone());
        let next = spawn(async move { copy.note(format!("read {}", other.read().await)) });
        sleep(ms(1)).await;
        assert!(!next.is_done(), "the writer came first");
        writer.cancel();
        assert_eq!((writer.await, next.await), (Err(TaskError::Cancelled), Ok(())));
        assert_eq!((*reader, diary.take()), (7, vec!["1 ms: read 7".to_string()]));
    });
}

#[test]
fn read_and_upgrade_and_write() {
    on_virtual_clock(async || {
        let (diary, lock) = (Diary::begin(), Rc::new(RwLock::new(1)));
        let (copy, other) = (diary.clone(), lock.clone());
        let reader = spawn(async move {
            let value = other.read().await;
            sleep(ms(5)).await;
            copy.note(format!("read {value}"));
        });
        yield_now().await;
        let value = lock.upgradable_read().await;
        diary.note(format!("may write, read {value}"));
        let mut value = RwLockUpgradableReadGuard::upgrade(value).await;
        *value += 1;
        diary.note(format!("wrote {value}"));
        reader.await.unwrap();
        assert_eq!(diary.take(), ["0 ms: may write, read 1", "5 ms: read 1", "5 ms: wrote 2"]);
    });
}

// ---- semaphores and barriers ----

/// Five tasks, two at a time. The next task gets the permit of a cancelled task.
#[test]
fn acquire_two_at_a_time_and_cancel_one() {
    on_virtual_clock(async || {
        let (diary, permits) = (Diary::begin(), Rc::new(Semaphore::new(2)));
        let tasks = [1, 2, 3, 4, 5].map(|nth| {
            let (diary, permits) = (diary.clone(), permits.clone());
            spawn(async move {
                let _permit = permits.acquire().await;
                let _dropped = on_drop(|| diary.note(format!("{nth} ends")));
                diary.note(format!("{nth} begins"));
                sleep(ms(10)).await;
            })
        });
        sleep(ms(4)).await;
        tasks[1].cancel(); // has a permit
        tasks[3].cancel(); // waits for one
        let ends: Vec<_> =
            join_all(tasks.map(IntoFuture::into_future)).await.into_iter().map(|end| end.is_ok()).collect();
        assert_eq!(ends, [true, false, true, false, true]);
        let expected = [
            "0 ms: 1 begins",
            "0 ms: 2 begins",
            "4 ms: 2 ends",
            "4 ms: 3 begins",
            "10 ms: 1 ends",
            "10 ms: 5 begins",
            "14 ms: 3 ends",
            "20 ms: 5 ends",
        ];
        assert_eq!(diary.take(), expected);
        let all = [permits.try_acquire(), permits.try_acquire(), permits.try_acquire()];
        assert_eq!(all.map(|permit| permit.is_some()), [true, true, false]);
    });
}

/// In each round, all tasks continue when the last has arrived, and one of them is the leader.
#[test]
fn wait_for_all_round_by_round() {
    on_virtual_clock(async || {
        let (diary, barrier) = (Diary::begin(), Rc::new(Barrier::new(3)));
        let tasks = [1, 2, 3].map(|nth| {
            let (diary, barrier) = (diary.clone(), barrier.clone());
            spawn(async move {
                for round in 1..=2 {
                    sleep(ms(nth * round)).await;
                    let leads = barrier.wait().await.is_leader();
                    diary.note(format!("{nth} in round {round}{}", if leads { ", leading" } else { "" }));
                }
            })
        });
        gather(tasks).await.unwrap();
        let expected = [
            "3 ms: 3 in round 1, leading",
            "3 ms: 1 in round 1",
            "3 ms: 2 in round 1",
            "9 ms: 3 in round 2, leading",
            "9 ms: 1 in round 2",
            "9 ms: 2 in round 2",
        ];
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
                    diary.note(format!("{nth} makes"));
                    sleep(ms(10)).await;
                    nth
                };
                let value = *cell.get_or_init(make).await;
                diary.note(format!("{nth} has {value}"));
            })
        });
        sleep(ms(5)).await;
        assert_eq!(timeout(Duration::ZERO, cell.wait()).await, Err(Elapsed));
        tasks[0].cancel();
        join_all(tasks.map(IntoFuture::into_future)).await;
        let expected = ["0 ms: 1 makes", "5 ms: 2 makes", "15 ms: 2 has 2", "15 ms: 3 has 2"];
        assert_eq!(diary.take(), expected);
    });
}
