//! Sleepers on the virtual clock, without real waiting: this measures only the timer wheel and the
//! wakes.

use onelane::{EventLoop, sleep, spawn};
use onelane_cases::{Meter, Size};
use std::time::Duration;

/// As the case `sleepers-100000`. The deadlines are evenly spaced, 1 µs apart.
pub(crate) fn sleepers(size: Size, meter: Meter) -> u64 {
    EventLoop::with_virtual_clock().run(async move {
        (meter.start)();
        let sleeper = |number: u64| {
            spawn(async move {
                sleep(Duration::from_micros(number + 1)).await;
                1
            })
        };
        let tasks: Vec<_> = (0..size.operations()).map(sleeper).collect();
        let mut sum = 0;
        for task in tasks {
            sum += task.await.unwrap();
        }
        (meter.stop)();
        sum
    })
}
