//! Stage 2: a future is a state machine. There is no kernel yet, only something to poll.

use std::pin::Pin;
use std::task::{Context, Poll};

/// Pauses once, so that others may run: `sleep(0)` in asyncio.
pub fn yield_now() -> YieldNow {
    YieldNow { paused: false }
}

/// The state machine of `yield_now`. It has two states, so one flag is enough.
pub struct YieldNow {
    paused: bool,
}

impl Future for YieldNow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        if self.paused {
            return Poll::Ready(());
        }
        self.paused = true;
        Poll::Pending
    }
}
