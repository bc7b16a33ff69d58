//! Shows how to measure futures with criterion: a yield, a gather, a queue between two tasks.
//!
//! criterion runs a future on any `AsyncExecutor`. [`OnLoop`] implements this trait for an event
//! loop. To use it, copy it into a `[[bench]]` of your own with `harness = false`, and enable
//! criterion's feature `async`. The library itself does not depend on criterion.
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
/// `to_async(OnLoop(&event_loop))` calls `block_on` once per measurement, so all iterations share
/// the cost of beginning and ending a run. Each iteration of `iter` awaits one future in the main
/// task. To measure a task, the future has to spawn it. Sleeps on a virtual clock take no time, so
/// only the loop's work is measured.
struct OnLoop<'a>(&'a EventLoop);

impl AsyncExecutor for OnLoop<'_> {
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.0.run(future)
    }
}

/// Passes a thousand items, one after the other, through a queue with room for one.
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
        queue.put(item).await.expect("the queue is shut down only below");
    }
    queue.shutdown(false);
    taker.await.expect("the taker is not cancelled")
}

fn measure(criterion: &mut Criterion) {
    // All benchmarks use one loop, for one run after the other.
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
