//! The coroutine and its twin do the same, poll for poll.

use super::greet::{Greet, Log, greet};
use std::pin::{Pin, pin};
use std::task::{Context, Waker};

fn polls(future: Pin<&mut dyn Future<Output = u32>>, log: &Log) -> Vec<String> {
    let mut future = future;
    let mut cx = Context::from_waker(Waker::noop());
    let mut seen = Vec::new();
    loop {
        let poll = future.as_mut().poll(&mut cx);
        seen.push(format!("{:?}: {poll:?}", log.borrow()));
        if poll.is_ready() {
            return seen;
        }
    }
}

#[test]
fn greet_and_its_twin() {
    let (a, b) = (Log::default(), Log::default());
    let compiled = polls(pin!(greet(a.clone(), 4)), &a);
    let by_hand = polls(pin!(Greet::Begin { log: b.clone(), i: 4 }), &b);
    assert_eq!(compiled, by_hand);
    assert_eq!(compiled, ["[\"4 begins\"]: Pending", "[\"4 begins\", \"4 ends\"]: Ready(40)"]);
}
