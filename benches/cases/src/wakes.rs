//! Wakes from another thread, and runs of a ready future.

use crate::runtime::{Reuse, Runtime};
use crate::spawns::one;
use crate::{Meter, Size, Work, Works};
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;

/// The case of wakes from another thread. It is not for runtimes whose wakers must stay on their
/// thread.
pub fn foreign_wakes<R: Runtime>() -> Works {
    vec![("foreign-wake", round_trips::<R> as Work)]
}

/// The cases for short runs.
pub fn runs<R: Reuse>() -> Works {
    vec![("run-ready", run_ready::<R> as Work), ("make-and-run", make_and_run::<R>)]
}

/// What the task and the other thread share.
#[derive(Default)]
struct Bell {
    waker: Mutex<Option<Waker>>,
    answered: AtomicBool,
    over: AtomicBool,
}

fn round_trips<R: Runtime>(size: Size, meter: Meter) -> u64 {
    let bell = Arc::new(Bell::default());
    let answering = thread::spawn({
        let bell = bell.clone();
        move || {
            while !bell.over.load(Ordering::Acquire) {
                let waker = bell.waker.lock().unwrap().take();
                let Some(waker) = waker else {
                    thread::park();
                    continue;
                };
                bell.answered.store(true, Ordering::Release);
                waker.wake();
            }
        }
    });
    let other = answering.thread().clone();
    let answers = R::run({
        let bell = bell.clone();
        async move |runtime: R| {
            let asking = async move {
                (meter.start)();
                let mut answers = 0;
                for _ in 0..size.operations() {
                    let mut asked = false;
                    poll_fn(|context| {
                        if bell.answered.swap(false, Ordering::Acquire) {
                            return Poll::Ready(());
                        }
                        if !asked {
                            asked = true;
                            *bell.waker.lock().unwrap() = Some(context.waker().clone());
                            other.unpark();
                        }
                        Poll::Pending
                    })
                    .await;
                    answers += 1;
                }
                (meter.stop)();
                answers
            };
            runtime.spawn(asking).await
        }
    });
    bell.over.store(true, Ordering::Release);
    answering.thread().unpark();
    answering.join().unwrap();
    answers
}

fn run_ready<R: Reuse>(size: Size, meter: Meter) -> u64 {
    let mut kept = R::make();
    (meter.start)();
    let sum = (0..size.operations()).map(|_| R::run_on(&mut kept, one())).sum();
    (meter.stop)();
    sum
}

fn make_and_run<R: Reuse>(size: Size, meter: Meter) -> u64 {
    (meter.start)();
    let sum = (0..size.operations()).map(|_| R::run_on(&mut R::make(), one())).sum();
    (meter.stop)();
    sum
}
