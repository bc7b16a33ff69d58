//! Tasks that are spawned, run and awaited.

use crate::runtime::Runtime;
use crate::yields::spawn_and_await;
use crate::{Meter, Size, Work, Works};
use std::hint::black_box;

/// The spawn cases.
pub fn spawns<R: Runtime>() -> Works {
    vec![
        ("spawn-1", many::<R> as Work),
        ("spawn-1000", many::<R>),
        ("spawn-100000", many::<R>),
        ("spawn-recursive-300", recursive::<R>),
        ("spawn-recursive-1000", recursive::<R>),
        ("allocations-spawn", many_after_the_first::<R>),
    ]
}

/// An empty task, which only returns a result.
pub(crate) async fn one() -> u64 {
    black_box(1)
}

async fn wide<R: Runtime>(runtime: &R, size: Size) -> u64 {
    let mut sum = 0;
    for _ in 0..size.rounds {
        sum += match size.width {
            // One task needs no list of tasks, which would cost an allocation per task.
            1 => runtime.spawn(one()).await,
            width => spawn_and_await(runtime, (0..width).map(|_| one())).await,
        };
    }
    sum
}

fn many<R: Runtime>(size: Size, meter: Meter) -> u64 {
    R::run(async move |runtime: R| {
        (meter.start)();
        let sum = wide(&runtime, size).await;
        (meter.stop)();
        sum
    })
}

/// Spawns the same number of tasks once before it measures. So allocations that the runtime makes
/// only once are not counted.
fn many_after_the_first<R: Runtime>(size: Size, meter: Meter) -> u64 {
    R::run(async move |runtime: R| {
        wide(&runtime, size).await;
        (meter.start)();
        let sum = wide(&runtime, size).await;
        (meter.stop)();
        sum
    })
}

/// Spawns a task that spawns and awaits the next.
fn descend<R: Runtime>(runtime: R, depth: usize) -> R::Handle<u64> {
    let below = runtime.clone();
    runtime.spawn(async move { if depth > 1 { descend(below, depth - 1).await + one().await } else { one().await } })
}

fn recursive<R: Runtime>(size: Size, meter: Meter) -> u64 {
    R::run(async move |runtime: R| {
        (meter.start)();
        let mut sum = 0;
        for _ in 0..size.rounds {
            sum += descend(runtime.clone(), size.width).await;
        }
        (meter.stop)();
        sum
    })
}
