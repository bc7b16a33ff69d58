//! tower: layers around a service: a time limit, retries, a limited number of calls, a buffer.
//!
//! tower's layers `timeout`, `rate_limit` and `buffer` need tokio's timers and its `spawn`. So
//! `map_future` with our `timeout` takes the place of the first, a retry waits by our `sleep`, and
//! `Buffer::pair` returns the worker of a buffer for us to spawn.
//!
//! `cargo run --bin tower`, in `examples/works-with`.

use onelane::{Elapsed, EventLoop, Sleep, gather, local, sleep, spawn, time, timeout};
use programs::Result;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;
use tower::buffer::Buffer;
use tower::retry::Policy;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt, service_fn};

const SECOND: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_millis(1500);

/// Tries again if the time limit ended the call: a second later, then two seconds later, then no more.
#[derive(Clone, Default)]
struct Backoff {
    retries: u32,
}

impl Policy<u32, u32, BoxError> for Backoff {
    type Future = Sleep;

    fn retry(&mut self, _: &mut u32, result: &mut Result<u32, BoxError>) -> Option<Sleep> {
        if !matches!(result, Err(error) if error.is::<Elapsed>()) || self.retries == 2 {
            return None;
        }
        self.retries += 1;
        Some(sleep(self.retries * SECOND))
    }

    fn clone_request(&mut self, request: &u32) -> Option<u32> {
        Some(*request)
    }
}

/// A service whose first calls take longer than the limit.
async fn retries() -> Result {
    let calls = Rc::new(Cell::new(0));
    let copy = calls.clone();
    let slow_at_first = service_fn(move |number: u32| {
        copy.set(copy.get() + 1);
        let calls = copy.get();
        async move {
            sleep((4 - calls) * SECOND).await;
            Ok::<u32, BoxError>(number * number)
        }
    });
    let service = ServiceBuilder::new()
        .retry(Backoff::default())
        .map_future(|call| async { timeout(LIMIT, call).await? })
        .service(slow_at_first);
    let begun = time();
    assert_eq!(service.oneshot(7).await?, 49);
    // 1.5 s, a pause of 1 s, 1.5 s, a pause of 2 s, and the call that takes 1 s.
    assert_eq!((calls.get(), time() - begun), (3, 7 * SECOND));
    Ok(())
}

/// A service that many tasks share, two calls at a time.
async fn shared() -> Result {
    // A buffer asks for `Send`, which `local` gives to the future of a call.
    let service = ServiceBuilder::new().concurrency_limit(2).service(service_fn(|number: u32| {
        local(async move {
            sleep(SECOND).await;
            Ok::<u32, BoxError>(number * number)
        })
    }));
    let (buffer, worker) = Buffer::pair(service, 8);
    spawn(worker);
    let begun = time();
    let calls = (1..=6).map(|number| {
        let mut buffer = buffer.clone();
        async move { buffer.ready().await.unwrap().call(number).await.unwrap() }
    });
    assert_eq!(gather(calls).await?, [1, 4, 9, 16, 25, 36]);
    assert_eq!(time() - begun, 3 * SECOND);
    Ok(())
}

fn main() -> Result {
    EventLoop::with_virtual_clock().run(async {
        retries().await?;
        shared().await?;
        println!("tower: a time limit and retries in 7 s, six calls two at a time in 3 s, on a virtual clock");
        Ok(())
    })
}
