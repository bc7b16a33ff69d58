//! The cost of a task switch and of a task: nanoseconds per yield, per hand-over, and per spawn
//! with its await.
//!
//! It measures what the loop adds to the work of a future, and compares with a floor: a bare loop
//! that polls boxed futures with a waker that does nothing. It does not measure timers, wakes from
//! other threads, cold caches, or tasks with much state: the futures here are a few words long.
//! Each iteration creates its own loop, whose cost is shared by a thousand switches or more.
//!
//! `cargo bench --manifest-path benches/times/Cargo.toml --bench switch`. Compare only medians of
//! the same run.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::hint::black_box;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Number of switches, hand-overs or spawns per iteration, for any number of tasks.
const STEPS: usize = 100_000;

/// Wakes itself and is pending once. The floor and the loop use the same future.
struct SelfWake {
    woken: bool,
}

impl Future for SelfWake {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.woken {
            return Poll::Ready(());
        }
        self.woken = true;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

async fn yields(times: usize) {
    for _ in 0..times {
        SelfWake { woken: false }.await;
    }
}

/// The floor: polls each future in turn until all are ready.
fn poll_all(mut futures: Vec<Pin<Box<dyn Future<Output = ()>>>>) {
    let mut context = Context::from_waker(Waker::noop());
    while !futures.is_empty() {
        futures.retain_mut(|future| future.as_mut().poll(&mut context).is_pending());
    }
}

/// Spawns all futures, then awaits the tasks in order.
async fn spawn_and_await<F: Future<Output = ()> + 'static>(futures: impl Iterator<Item = F>) {
    let tasks: Vec<_> = futures.map(onelane::spawn).collect();
    for task in tasks {
        task.await.unwrap();
    }
}

/// Two tasks that wake each other in turn.
async fn baton(rounds: usize) {
    struct Baton {
        with: Cell<usize>,
        wakers: RefCell<[Option<Waker>; 2]>,
    }
    let baton = Rc::new(Baton { with: Cell::new(0), wakers: RefCell::default() });
    let runner = |me: usize| {
        let baton = baton.clone();
        async move {
            for _ in 0..rounds {
                poll_fn(|context| {
                    if baton.with.get() == me {
                        return Poll::Ready(());
                    }
                    let mut wakers = baton.wakers.borrow_mut();
                    wakers[me].get_or_insert_with(|| context.waker().clone());
                    Poll::Pending
                })
                .await;
                baton.with.set(1 - me);
                if let Some(waker) = &baton.wakers.borrow()[1 - me] {
                    waker.wake_by_ref();
                }
            }
        }
    };
    spawn_and_await([runner(0), runner(1)].into_iter()).await;
}

fn switch(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("yield");
    group.throughput(Throughput::Elements(STEPS as u64));
    for tasks in [1, 1000] {
        let times = STEPS / tasks;
        group.bench_function(BenchmarkId::new("floor", tasks), |bencher| {
            bencher.iter(|| poll_all((0..tasks).map(|_| Box::pin(yields(black_box(times))) as _).collect()));
        });
        group.bench_function(BenchmarkId::new("onelane", tasks), |bencher| {
            bencher.iter(|| onelane::run(spawn_and_await((0..tasks).map(|_| yields(black_box(times))))));
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group("baton");
    group.throughput(Throughput::Elements(STEPS as u64));
    group.bench_function("onelane", |bencher| bencher.iter(|| onelane::run(baton(black_box(STEPS / 2)))));
    group.finish();
}

fn spawn(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("spawn and await");
    group.throughput(Throughput::Elements(STEPS as u64));
    // The floor allocates a boxed future, polls it once and frees it.
    group.bench_function("floor", |bencher| {
        bencher.iter(|| {
            for _ in 0..STEPS {
                let mut future: Pin<Box<dyn Future<Output = ()>>> = black_box(Box::pin(yields(black_box(0))));
                assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
            }
        });
    });
    group.bench_function(BenchmarkId::new("onelane", "one by one"), |bencher| {
        bencher.iter(|| {
            onelane::run(async {
                for _ in 0..STEPS {
                    onelane::spawn(yields(black_box(0))).await.unwrap();
                }
            });
        });
    });
    group.bench_function(BenchmarkId::new("onelane", "by the thousand"), |bencher| {
        bencher.iter(|| {
            onelane::run(async {
                for _ in 0..STEPS / 1000 {
                    spawn_and_await((0..1000).map(|_| yields(black_box(0)))).await;
                }
            });
        });
    });
    group.finish();
}

criterion_group!(benches, switch, spawn);
criterion_main!(benches);
