//! The floor: the cost of the work without any bookkeeping. A bare loop polls boxed futures, with a
//! waker that does nothing.
//!
//! The floor is not a runtime, because it polls every future in every round. So it has only the
//! cases in which a runtime would do the same.

use crate::spawns::one;
use crate::yields::self_waking;
use crate::{Meter, Size, Work, Works};
use std::hint::black_box;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// The floor.
#[derive(Clone, Copy, Debug)]
pub struct Floor;

type Boxed = Pin<Box<dyn Future<Output = u64>>>;

impl Floor {
    /// Its works.
    pub fn works() -> Works {
        vec![
            ("yield-1", yields as Work),
            ("yield-300", yields),
            ("yield-1000", yields),
            ("yield-1000000", yields),
            ("spawn-1", spawns),
            ("spawn-1000", spawns),
            ("spawn-100000", spawns),
        ]
    }
}

/// Polls each future in turn until all are ready.
fn poll_all(mut futures: Vec<Boxed>) -> u64 {
    let mut context = Context::from_waker(Waker::noop());
    let mut sum = 0;
    while !futures.is_empty() {
        futures.retain_mut(|future| match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => {
                sum += value;
                false
            }
            Poll::Pending => true,
        });
    }
    sum
}

fn yields(size: Size, meter: Meter) -> u64 {
    poll_all(self_waking(size, meter).map(|future| Box::pin(future) as Boxed).collect())
}

/// Allocates the futures, polls each once, and frees them.
fn spawns(size: Size, meter: Meter) -> u64 {
    (meter.start)();
    let mut sum = 0;
    for _ in 0..size.rounds {
        sum += match size.width {
            1 => match black_box(Box::pin(one()) as Boxed).as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(value) => value,
                Poll::Pending => 0,
            },
            width => poll_all((0..width).map(|_| black_box(Box::pin(one()) as Boxed)).collect()),
        };
    }
    (meter.stop)();
    sum
}
