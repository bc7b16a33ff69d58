//! Polls the reader's state machine and the compiler's side by side.

use crate::common::{self, Random, fail};
use crate::kernel::{Fetch, Log, relay};
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

async fn original(log: Log, mut fetch: Fetch, rounds: u32) -> u32 {
    log("begin".to_string());
    let mut sum = 0;
    for round in 0..rounds {
        log(format!("round {round}"));
        sum += fetch(round).await;
    }
    log("end".to_string());
    sum
}

/// Returns its number after some polls, and logs each of them, and its end.
struct Number {
    round: u32,
    polls: u32,
    value: u32,
    log: Log,
    is_over: bool,
}

impl Future for Number {
    type Output = u32;

    fn poll(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<u32> {
        (self.log)(format!("number {} is polled", self.round));
        if self.is_over {
            fail("POLL-1", format!("number {} has returned Ready, and is polled again", self.round));
        }
        if self.polls == 0 {
            self.is_over = true;
            return Poll::Ready(self.value);
        }
        self.polls -= 1;
        Poll::Pending
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        (self.log)(format!("number {} is dropped", self.round));
    }
}

/// What each poll does: the lines, and what it returns. `most` is the number of polls before the future is dropped.
fn polls(future: Pin<Box<dyn Future<Output = u32>>>, lines: &Rc<RefCell<Vec<String>>>, most: usize) -> Vec<String> {
    let mut future = future;
    let mut cx = Context::from_waker(Waker::noop());
    for nth in 1..=most {
        lines.borrow_mut().push(format!("poll {nth}"));
        let poll = future.as_mut().poll(&mut cx);
        lines.borrow_mut().push(format!("returns {poll:?}"));
        if poll.is_ready() {
            let again = AssertUnwindSafe(|| future.as_mut().poll(&mut Context::from_waker(Waker::noop())));
            if catch_unwind(again).is_ok() {
                let what = "the machine has returned Ready, and is polled again: it does not panic, as `Over` should";
                fail("POLL-1", what.into());
            }
            lines.borrow_mut().push("polled after Ready, it panics".into());
            break;
        }
    }
    lines.borrow_mut().push("the coroutine is dropped".into());
    drop(future);
    lines.take()
}

pub fn check() {
    for seed in 0..400 {
        let mut random = Random::new(seed + 11);
        let rounds = random.below(1 + seed as usize / 40) as u32;
        let plan: Vec<(u32, u32)> = (0..rounds).map(|_| (random.below(3) as u32, random.below(100) as u32)).collect();
        let most = if random.below(3) == 0 { random.below(6) } else { 100 };
        let mut source = vec![format!(
            "relay of {}, polled {} at most",
            common::count(rounds as usize, "round"),
            common::times(most)
        )];
        source.extend(
            plan.iter().map(|(polls, value)| {
                format!("    a number: {} Pending, then {value}", common::times(*polls as usize))
            }),
        );
        common::begin(format!("relay {seed}"), source);
        let run = |make: &dyn Fn(Log, Fetch) -> Pin<Box<dyn Future<Output = u32>>>| {
            let lines = Rc::new(RefCell::new(Vec::new()));
            let copy = lines.clone();
            let log: Log = Rc::new(move |line| copy.borrow_mut().push(line));
            let (plan, inner) = (plan.clone(), log.clone());
            let made = Cell::new(0);
            let fetch: Fetch = Box::new(move |round| {
                inner(format!("fetch({round})"));
                made.set(made.get() + 1);
                let Some(&(polls, value)) = plan.get(round as usize) else {
                    fail("POLL-2", format!("fetch({round}) is called, and there are {} rounds", plan.len()))
                };
                Box::pin(Number { round, polls, value, log: inner.clone(), is_over: false })
            });
            polls(make(log, fetch), &lines, most)
        };
        let expected = run(&|log, fetch| Box::pin(original(log, fetch, rounds)));
        let found = run(&|log, fetch| Box::pin(relay(log, fetch, rounds)));
        // A number that is over may be dropped a little earlier or later than the compiler does it.
        let shown = |lines: &[String]| -> Vec<String> {
            lines.iter().filter(|line| !line.ends_with("is dropped") || line.starts_with("the")).cloned().collect()
        };
        let drops = |lines: &[String]| lines.iter().filter(|line| line.ends_with("is dropped")).count();
        let (wanted, got) = (shown(&expected), shown(&found));
        for nth in 0..wanted.len().max(got.len()) {
            let of = |lines: &[String]| lines.get(nth).map_or("nothing".to_string(), |line| format!("`{line}`"));
            common::event(&[], format!("the coroutine: {}", of(&wanted)));
            if wanted.get(nth) != got.get(nth) {
                fail("POLL-2", format!("the coroutine does {}, and the machine {}", of(&wanted), of(&got)));
            }
        }
        common::expect("END-1", "the number of dropped numbers", drops(&found), drops(&expected));
    }
}
