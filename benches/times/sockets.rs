//! The cost of idle sockets in a busy loop: nanoseconds per yield, with no socket, with one, and
//! with many that tasks await.
//!
//! It measures the yield of a task in a loop while no socket becomes ready. It does not measure
//! sockets that are ready, which `benches/http` does. It does not measure sockets that no task
//! awaits, because the loop does not poll them.
//!
//! `cargo bench --manifest-path benches/times/Cargo.toml --features io --bench sockets`. Compare
//! only medians of the same run.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use onelane::io::Async;
use onelane::{EventLoop, spawn, yield_now};
use std::os::unix::net::UnixStream;

/// Number of yields per iteration, of all tasks together.
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

/// Creates sockets, each with a task that waits until it is readable. Returns the other ends, to
/// keep them open.
async fn idle_sockets(count: usize) -> Vec<UnixStream> {
    let mut peers = Vec::new();
    for _ in 0..count {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let ours = Async::new(ours).unwrap();
        drop(spawn(async move { ours.readable().await }));
        peers.push(theirs);
    }
    // Lets the tasks run until they wait.
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
