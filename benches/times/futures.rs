//! How to measure futures with criterion: a yield, a gather, a queue between two tasks.
//!
//! criterion runs a future on any `AsyncExecutor`. [`OnLoop`] makes one of an event loop; copy it into a `[[bench]]` of yours with
//! `harness = false`, and turn on criterion's feature `async`. The library itself does not depend on criterion.
//!
//! `cargo bench --manifest-path benches/times/Cargo.toml --bench futures`

use criterion::async_executor::AsyncExecutor;
use criterion::{Criterion, criterion_group, criterion_main};
use onelane::sync::Queue;
use onelane::{EventLoop, gather, spawn, yield_now};
use std::hint::black_box;
use std::rc::Rc;

/// An event loop that runs what criterion measures.
///
/// `to_async(OnLoop(&event_loop))` calls `block_on` once for each measurement, so the beginning and the end of a run are paid
/// once for all iterations of the measurement. Each iteration of `iter` awaits one future in the main task; to measure a task,
/// the future has to spawn it. Sleeps on a virtual clock take no time, so only the loop's work is measured.
struct OnLoop<'a>(&'a EventLoop);

impl AsyncExecutor for OnLoop<'_> {
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.0.run(future)
    }
}

/// A thousand items, one after the other, through a queue with room for one.
async fn hand_over() -> u64 {
    let queue = Rc::new(Queue::bounded(1));
    let copy = queue.clone();
    let taker = spawn(async move {
        let mut sum = 0;
        while let Ok(item) = copy.get().await {
            sum += item;
        }
        sum
    });
    for item in 0..1000 {
        queue.put(item).await.expect("the queue is shut down below");
    }
    queue.shutdown(false);
    taker.await.expect("nobody cancels the taker")
}

fn measure(criterion: &mut Criterion) {
    // One loop for all: a run begins and ends it.
    let event_loop = EventLoop::new();
    criterion.bench_function("a yield", |bencher| {
        bencher.to_async(OnLoop(&event_loop)).iter(yield_now);
    });
    criterion.bench_function("a gather of a hundred", |bencher| {
        bencher.to_async(OnLoop(&event_loop)).iter(|| gather((0..100).map(|number| async move { black_box(number) })));
    });
    criterion.bench_function("a thousand items through a queue", |bencher| {
        bencher.to_async(OnLoop(&event_loop)).iter(hand_over);
    });
}

criterion_group!(benches, measure);
criterion_main!(benches);
