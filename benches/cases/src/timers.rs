//! Timers that are dropped, timers that expire, and very many timers.

use crate::runtime::Timers;
use crate::yields::{beside_a_timer, spawn_and_await};
use crate::{Meter, Size, Work, Works};
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// The timer cases.
pub fn timers<R: Timers>() -> Works {
    vec![
        ("yield-1-timer", beside_a_timer::<R> as Work),
        ("timer-create-drop", create_and_drop::<R>),
        ("sleepers-100000", sleepers::<R>),
        ("timers-1000000", pending::<R>),
    ]
}

fn create_and_drop<R: Timers>(size: Size, meter: Meter) -> u64 {
    R::run(async move |_: R| {
        (meter.start)();
        let pending = poll_fn(|context| {
            let mut pending = 0;
            for _ in 0..size.operations() {
                let timer = pin!(R::sleep(Duration::from_secs(1)));
                pending += u64::from(timer.poll(context).is_pending());
            }
            Poll::Ready(pending)
        })
        .await;
        (meter.stop)();
        pending
    })
}

fn sleepers<R: Timers>(size: Size, meter: Meter) -> u64 {
    const SPREAD: Duration = Duration::from_millis(100);
    R::run(async move |runtime: R| {
        (meter.start)();
        let sleeper = |number: usize| {
            let duration = SPREAD.mul_f64((number + 1) as f64 / size.width as f64);
            async move {
                R::sleep(duration).await;
                1
            }
        };
        let sum = spawn_and_await(&runtime, (0..size.width).map(sleeper)).await;
        (meter.stop)();
        sum
    })
}

/// A duration between ten minutes and two hours. Consecutive numbers give unordered durations.
fn far(number: usize) -> Duration {
    let scattered = (number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
    Duration::from_secs(600) + Duration::from_micros(scattered * 393)
}

fn pending<R: Timers>(size: Size, meter: Meter) -> u64 {
    R::run(async move |_: R| {
        let mut timers = Vec::with_capacity(size.width);
        (meter.start)();
        // The timers are boxed on all runtimes, because some must not move after their first poll.
        timers.extend((0..size.width).map(|number| Box::pin(R::sleep(far(number)))));
        let poll_all = |context: &mut std::task::Context<'_>| {
            Poll::Ready(
                timers.iter_mut().filter_map(|timer| timer.as_mut().poll(context).is_pending().then_some(1)).sum(),
            )
        };
        let pending: u64 = poll_fn(poll_all).await;
        drop(timers);
        (meter.stop)();
        pending
    })
}
