//! governor: limits how often something is done, on the loop's clock.
//!
//! governor's `until_ready` waits on a thread of the crate futures-timer, in real time. With the glue
//! below, a task waits by `sleep_until` instead: there is no thread, and a virtual clock works.
//!
//! `cargo run --bin governor`, in `examples/works-with`.

use governor::clock::Clock;
use governor::{Quota, RateLimiter};
use onelane::{EventLoop, sleep_until, spawn, time};
use programs::Result;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The clock of the running loop.
#[derive(Clone)]
struct LoopClock;

impl Clock for LoopClock {
    type Instant = Instant;

    fn now(&self) -> Instant {
        time()
    }
}

fn main() -> Result {
    EventLoop::with_virtual_clock().run(async {
        // Ten a second, of which two may come at once.
        let quota = Quota::per_second(NonZeroU32::new(10).unwrap()).allow_burst(NonZeroU32::new(2).unwrap());
        let limiter = Rc::new(RateLimiter::direct_with_clock(quota, LoopClock));
        let begun = time();
        let tasks = (0..5).map(|_| {
            let limiter = limiter.clone();
            spawn(async move {
                while let Err(not_until) = limiter.check() {
                    sleep_until(not_until.earliest_possible()).await;
                }
                time() - begun
            })
        });
        let passed = onelane::gather(tasks).await?;
        assert_eq!(passed, [0, 0, 100, 200, 300].map(Duration::from_millis));
        println!("governor: five tasks passed after {passed:?}, on a virtual clock");
        Ok(())
    })
}
