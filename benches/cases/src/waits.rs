//! Waits for primitives that only onelane has in this form: a contended lock, and a queue.

use crate::{Meter, Size, Work, Works};
use onelane::sync::{Lock, Queue};
use onelane::{run, spawn, yield_now};
use std::rc::Rc;

/// The cases of [`ONELANE_ONLY`](crate::ONELANE_ONLY).
pub fn waits() -> Works {
    vec![("lock-contended", contend as Work), ("queue-wait", ping_pong)]
}

async fn contender(lock: Rc<Lock<u64>>, times: u64) {
    for _ in 0..times {
        let mut count = lock.lock().await;
        yield_now().await;
        *count += 1;
    }
}

/// Two tasks take a lock in turn. Each yields while it holds the lock, so the other has to wait.
fn contend(size: Size, meter: Meter) -> u64 {
    run(async move {
        let lock = Rc::new(Lock::new(0));
        (meter.start)();
        let tasks = [(); 2].map(|()| spawn(contender(lock.clone(), size.operations() / 2)));
        for task in tasks {
            task.await.unwrap();
        }
        (meter.stop)();
        *lock.lock().await
    })
}

/// Passes numbers on, each increased by one. Returns the last one.
async fn player(from: Rc<Queue<u64>>, to: Rc<Queue<u64>>, strokes: u64) -> u64 {
    let mut last = 0;
    for _ in 0..strokes {
        last = from.get().await.unwrap() + 1;
        to.try_put(last).unwrap();
    }
    last
}

/// Two tasks pass a number to each other through two queues. Each `get` waits.
fn ping_pong(size: Size, meter: Meter) -> u64 {
    run(async move {
        let [there, back] = [(); 2].map(|()| Rc::new(Queue::unbounded()));
        let strokes = size.operations() / 2;
        (meter.start)();
        let first = spawn(player(back.clone(), there.clone(), strokes));
        let second = spawn(player(there, back.clone(), strokes));
        back.try_put(0).unwrap();
        first.await.unwrap();
        let last = second.await.unwrap();
        (meter.stop)();
        last
    })
}
