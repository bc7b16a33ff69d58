//! A coroutine twice: as an `async fn`, and as what the compiler makes of it.

use super::lane::{YieldNow, yield_now};
use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

pub type Log = Rc<RefCell<Vec<String>>>;

pub async fn greet(log: Log, i: u32) -> u32 {
    log.borrow_mut().push(format!("{i} begins"));
    yield_now().await;
    log.borrow_mut().push(format!("{i} ends"));
    i * 10
}

/// `greet`, written by hand. A variant for each place where it can stand, with what it needs from there on.
pub enum Greet {
    Begin { log: Log, i: u32 },
    Paused { pause: YieldNow, log: Log, i: u32 },
    Over,
}

impl Future for Greet {
    type Output = u32;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u32> {
        loop {
            match std::mem::replace(&mut *self, Greet::Over) {
                Greet::Begin { log, i } => {
                    log.borrow_mut().push(format!("{i} begins"));
                    *self = Greet::Paused { pause: yield_now(), log, i };
                }
                Greet::Paused { mut pause, log, i } => {
                    if Pin::new(&mut pause).poll(cx).is_pending() {
                        *self = Greet::Paused { pause, log, i };
                        return Poll::Pending;
                    }
                    log.borrow_mut().push(format!("{i} ends"));
                    return Poll::Ready(i * 10);
                }
                Greet::Over => panic!("a future was polled after it had returned Ready"),
            }
        }
    }
}
