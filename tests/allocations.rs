//! What the docs say under "Cost": how many allocations each thing makes, once the loop has warmed up.
#![allow(unsafe_code, reason = "counting allocations takes an allocator of one's own")]

#[path = "common/counting.rs"]
mod counting;

use counting::MADE;
use onelane::{
    EventLoop, Promise, as_completed, catch_cancel, finally, gather, interval, shield, sleep, spawn, task, task_group,
    timeout, wait, wait_for, yield_now,
};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// Allocations of the second time: the first grows tables and queues.
async fn count<F: Future<Output = ()>>(act: impl Fn() -> F) -> usize {
    act().await;
    let before = MADE.get();
    act().await;
    MADE.get() - before
}

#[test]
fn allocate_as_the_docs_say() {
    EventLoop::with_virtual_clock().run(async {
        let yields = count(yield_now).await;
        let sleeps = count(|| sleep(SECOND)).await;
        assert_eq!((yields, sleeps), (0, 0), "yield_now, sleep");

        let spawns = count(async || spawn(async {}).await.unwrap()).await;
        let names = count(async || task::Builder::new().name("n").spawn(async {}).await.unwrap()).await;
        // The name, and the room for it beside the task.
        assert_eq!((spawns, names), (1, 3), "spawn, with a name");

        // A callback in its box; the task.
        let callbacks = count(async || {
            let task = spawn(async {});
            task.add_done_callback(move |task| assert!(task.is_done()));
            yield_now().await;
            yield_now().await;
        });
        assert_eq!(callbacks.await, 1 + 1, "add_done_callback");

        let timeouts = count(async || timeout(SECOND, yield_now()).await.unwrap()).await;
        assert_eq!(timeouts, 3, "timeout");
        let waits_for = count(async || wait_for(spawn(async {}), SECOND).await.unwrap().unwrap()).await;
        assert_eq!(waits_for, 1 + 4, "wait_for and its task");

        // Run in one task, so that its list of scopes is there.
        let cleanups = count(async || finally(yield_now(), yield_now()).await).await;
        let catches = count(async || catch_cancel(yield_now()).await.unwrap()).await;
        assert_eq!((cleanups, catches), (3, 2), "finally, catch_cancel");
        let groups = count(async || task_group(async |_| yield_now().await).await.unwrap()).await;
        let children = count(async || drop(task_group(async |group| group.spawn(async {})).await.unwrap())).await;
        assert_eq!((groups, children), (3, 3 + 3), "task_group, with a child");

        let gathers = count(async || drop(gather([1, 2, 3].map(async |n| n)).await.unwrap())).await;
        assert_eq!(gathers, 3 + 4, "gather and its children");
        let waits = count(async || drop(wait([spawn(async {}), spawn(async {})]).await)).await;
        assert_eq!(waits, 2 + 7, "wait and its tasks");

        // The promise, the list of those who wait; the task that sets it.
        let promises = count(async || {
            let promise = Promise::new();
            let setter = promise.clone();
            drop(spawn(async move { setter.set_result(()).unwrap() }));
            promise.await.unwrap();
        });
        assert_eq!(promises.await, 1 + 1 + 1, "a promise, awaited");
        // The callback, and once more when it is queued.
        let callbacks = count(async || {
            let (promise, value) = (Promise::new(), std::hint::black_box(7));
            promise.add_done_callback(move |promise| assert_eq!(*promise.result().unwrap(), value));
            promise.set_result(7).unwrap();
            yield_now().await;
        });
        assert_eq!(callbacks.await, 2 + 2, "add_done_callback of a promise");
        let shields = count(async || shield(async {}).await.unwrap());
        assert_eq!(shields.await, 1 + 1, "shield and its task");
        let results = count(async || {
            let results = as_completed([1, 2, 3].map(async |n| n));
            while results.next().await.is_some() {}
        });
        assert_eq!(results.await, 3 + 8 + 2, "as_completed, its children, and a wait");
        let ticks = count(async || _ = interval(SECOND).tick().await);
        assert_eq!(ticks.await, 0, "interval");
    });
}
