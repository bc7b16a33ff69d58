//! Futures measured by criterion, on a loop of ours: a yield, a gather, a queue between two tasks.
//!
//! `cargo run --release --features criterion --example benchmark` measures all three for a moment each, to show how it is done;
//! a word behind `--` chooses those that have it in their names. In a package of yours it is a `[[bench]]` with `harness = false`, and
//! `criterion_main!` in place of this `main`, so that `cargo bench` runs it.

use criterion::Criterion;
use onelane::sync::Queue;
use onelane::{EventLoop, gather, spawn, yield_now};
use std::hint::black_box;
use std::rc::Rc;
use std::time::Duration;

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
        bencher.to_async(&event_loop).iter(yield_now);
    });
    criterion.bench_function("a gather of a hundred", |bencher| {
        bencher.to_async(&event_loop).iter(|| gather((0..100).map(|number| async move { black_box(number) })));
    });
    criterion.bench_function("a thousand items through a queue", |bencher| {
        bencher.to_async(&event_loop).iter(hand_over);
    });
}

fn main() {
    // Short, so that it can be looked at. Figures that are to mean something take criterion's own seconds.
    let mut criterion = Criterion::default()
        .without_plots()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(300));
    if let Some(word) = std::env::args().nth(1) {
        criterion = criterion.with_filter(word);
    }
    measure(&mut criterion);
    criterion.final_summary();
}
