//! The laws of poll, on a join of two futures.

use crate::common::{self, Random, expect, fail};
use crate::kernel::join;
use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Wake, Waker};

struct Part {
    name: char,
    polls: u64,
    value: u64,
    is_over: bool,
    counts: Rc<[Cell<u64>; 2]>,
    waker: std::sync::Arc<Number>,
}

struct Number(u64);

impl Wake for Number {
    fn wake(self: std::sync::Arc<Self>) {}
}

impl Future for Part {
    type Output = u64;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u64> {
        let own = Waker::from(self.waker.clone());
        if !cx.waker().will_wake(&own) {
            fail("WAKE-3", format!("{} is polled with another waker than that of the join's task", self.name));
        }
        common::event(&[], format!("{} is polled", self.name));
        if self.is_over {
            fail("POLL-1", format!("{} has returned Ready, and is polled again", self.name));
        }
        let count = &self.counts[usize::from(self.name == 'b')];
        count.set(count.get() + 1);
        if self.polls == 0 {
            common::event(&[], format!("{} returns Ready({})", self.name, self.value));
            self.is_over = true;
            return Poll::Ready(self.value);
        }
        self.polls -= 1;
        Poll::Pending
    }
}

pub fn check() {
    for seed in 0..300u64 {
        let mut random = Random::new(seed + 13);
        let (a, b) = (random.below(5) as u64, random.below(5) as u64);
        let values = (random.below(1_000) as u64, random.below(1_000) as u64);
        let source = vec![
            format!("a: {a} times Pending, then {}", values.0),
            format!("b: {b} times Pending, then {}", values.1),
        ];
        common::begin(format!("join {seed}"), source);
        let counts: Rc<[Cell<u64>; 2]> = Rc::default();
        let waker = std::sync::Arc::new(Number(seed));
        let part = |name, polls, value| Part {
            name,
            polls,
            value,
            is_over: false,
            counts: counts.clone(),
            waker: waker.clone(),
        };
        let mut both = Box::pin(join(part('a', a, values.0), part('b', b, values.1)));
        expect("POLL-2", "the number of polls before the first poll of the join", counts[0].get() + counts[1].get(), 0);
        let task = Waker::from(waker.clone());
        let mut cx = Context::from_waker(&task);
        for nth in 0..=a.max(b) {
            common::event(&[], format!("poll {} of the join", nth + 1));
            let poll = both.as_mut().poll(&mut cx);
            common::event(&[], format!("it returns {poll:?}"));
            let expected = if nth == a.max(b) { Poll::Ready(values) } else { Poll::Pending };
            let polls = [a, b].map(|polls| (nth + 1).min(polls + 1));
            expect("POLL-2", "the polls of a and b", [counts[0].get(), counts[1].get()], polls);
            expect("POLL-2", "the result of this poll", poll, expected);
        }
        _ = waker.0;
    }
}
