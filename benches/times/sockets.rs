//! What sockets cost a loop that is busy with something else: nanoseconds a yield, with none and with many that somebody waits for.
//!
//! Measured is the yield of a task in a loop in which nothing happens on any socket. Not measured: what a socket that is ready
//! costs, which is `benches/http`'s, and sockets that nobody waits for, which the loop does not look at.
//!
//! `cargo bench --manifest-path benches/times/Cargo.toml --features io --bench sockets`; compare the medians of one run with each
//! other, not with those of another run.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use onelane::io::Async;
use onelane::{EventLoop, spawn, yield_now};
use std::os::unix::net::UnixStream;

/// So many yields does an iteration make, of one task or of many.
const YIELDS: usize = 1_000_000;

async fn yields(tasks: usize) {
    let task = || async move {
        for _ in 0..YIELDS / tasks {
            yield_now().await;
        }
    };
    let tasks: Vec<_> = (0..tasks).map(|_| spawn(task())).collect();
    for task in tasks {
        task.await.unwrap();
    }
}

/// Sockets, of which each has a task that waits for something to read. The other ends are kept open.
async fn idle_sockets(count: usize) -> Vec<UnixStream> {
    let mut peers = Vec::new();
    for _ in 0..count {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let ours = Async::new(ours).unwrap();
        drop(spawn(async move { ours.readable().await }));
        peers.push(theirs);
    }
    // They come to their waits.
    yield_now().await;
    yield_now().await;
    peers
}

fn busy_loop(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("busy");
    group.throughput(Throughput::Elements(YIELDS as u64)).sample_size(20);
    for tasks in [1, 1000] {
        for sockets in [0, 1, 1000] {
            let id = BenchmarkId::new(format!("yield-{tasks}"), format!("{sockets} sockets"));
            group.bench_function(id, |bencher| {
                bencher.iter_custom(|iterations| {
                    EventLoop::new().run(async {
                        let _peers = idle_sockets(sockets).await;
                        let begun = std::time::Instant::now();
                        for _ in 0..iterations {
                            yields(tasks).await;
                        }
                        begun.elapsed()
                    })
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, busy_loop);
criterion_main!(benches);
