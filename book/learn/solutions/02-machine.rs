//! Chapter 2: a coroutine by hand. This is the one to write:
//!
//! ```text
//! async fn relay(log: Log, mut fetch: Fetch, rounds: u32) -> u32 {
//!     log("begin".to_string());
//!     let mut sum = 0;
//!     for round in 0..rounds {
//!         log(format!("round {round}"));
//!         sum += fetch(round).await;
//!     }
//!     log("end".to_string());
//!     sum
//! }
//! ```
//!
//! Polled after Ready, it panics.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

pub type Log = Rc<dyn Fn(String)>;
/// Begins to fetch a number.
pub type Fetch = Box<dyn FnMut(u32) -> Pin<Box<dyn Future<Output = u32>>>>;

pub fn relay(log: Log, fetch: Fetch, rounds: u32) -> Relay {
    Relay { log, fetch, rounds, state: State::Begin }
}

pub struct Relay {
    log: Log,
    fetch: Fetch,
    rounds: u32,
    state: State,
}

/// Where the coroutine stands, with what it needs from there on.
enum State {
    Begin,
    Fetching { round: u32, sum: u32, number: Pin<Box<dyn Future<Output = u32>>> },
    Over,
}

impl Future for Relay {
    type Output = u32;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u32> {
        let this = &mut *self;
        let (mut round, mut sum) = match &mut this.state {
            State::Begin => {
                (this.log)("begin".to_string());
                (0, 0)
            }
            State::Fetching { round, sum, number } => {
                let Poll::Ready(number) = number.as_mut().poll(cx) else { return Poll::Pending };
                (*round + 1, *sum + number)
            }
            State::Over => panic!("a future was polled after it had returned Ready"),
        };
        this.state = State::Over;
        while round < this.rounds {
            (this.log)(format!("round {round}"));
            let mut number = (this.fetch)(round);
            match number.as_mut().poll(cx) {
                Poll::Ready(number) => (round, sum) = (round + 1, sum + number),
                Poll::Pending => {
                    this.state = State::Fetching { round, sum, number };
                    return Poll::Pending;
                }
            }
        }
        (this.log)("end".to_string());
        Poll::Ready(sum)
    }
}
