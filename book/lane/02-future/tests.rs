//! What holds from stage 2 on.

use super::lane::yield_now;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

#[test]
fn yield_now_pauses_once() {
    let mut pause = pin!(yield_now());
    let mut cx = Context::from_waker(Waker::noop());
    assert_eq!(pause.as_mut().poll(&mut cx), Poll::Pending);
    assert_eq!(pause.as_mut().poll(&mut cx), Poll::Ready(()));
}

#[test]
fn nothing_happens_before_the_first_poll() {
    let mut begun = false;
    let body = async { begun = true };
    drop(body);
    assert!(!begun);
}
