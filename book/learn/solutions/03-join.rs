//! Chapter 3: a future of two futures. `join(a, b)` is ready when both are, with both values.

use std::pin::Pin;
use std::task::{Context, Poll};

pub fn join<A: Future, B: Future>(a: A, b: B) -> Join<A, B> {
    Join { a: Side::Runs(Box::pin(a)), b: Side::Runs(Box::pin(b)) }
}

pub struct Join<A: Future, B: Future> {
    a: Side<A>,
    b: Side<B>,
}

enum Side<F: Future> {
    Runs(Pin<Box<F>>),
    /// The value, until the other side has one too.
    Done(Option<F::Output>),
}

impl<F: Future> Side<F> {
    /// Polls the future, unless it has returned Ready. Returns whether there is a value.
    fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        if let Side::Runs(future) = self {
            let Poll::Ready(value) = future.as_mut().poll(cx) else { return false };
            *self = Side::Done(Some(value));
        }
        true
    }

    fn take(&mut self) -> F::Output {
        match self {
            Side::Done(value) => value.take().expect("a join was polled after it had returned Ready"),
            Side::Runs(_) => unreachable!("both sides are done"),
        }
    }
}

impl<A: Future, B: Future> Future for Join<A, B>
where
    A::Output: Unpin,
    B::Output: Unpin,
{
    type Output = (A::Output, B::Output);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Both are polled, even if the first one is pending: only a future that was polled makes progress.
        let a = self.a.poll(cx);
        let b = self.b.poll(cx);
        if a && b { Poll::Ready((self.a.take(), self.b.take())) } else { Poll::Pending }
    }
}
