//! Messages between tasks.

use crate::runtime::{Channels, Oneshots};
use crate::{Meter, Size, Work, Works};

/// The oneshot case.
pub fn oneshots<R: Oneshots>() -> Works {
    vec![("oneshot", ping_pong::<R> as Work)]
}

/// The case for bounded channels.
pub fn channels<R: Channels>() -> Works {
    vec![("channel-chain", chain::<R> as Work)]
}

/// The message of the ping-pong: the number of strokes so far, and where to send the next message.
struct Ball<R: Oneshots> {
    strokes: u64,
    back: R::Sender<Ball<R>>,
}

/// Sends each ball back until the number of strokes is reached. Returns the number of strokes.
async fn play<R: Oneshots>(mut receiver: R::Receiver<Ball<R>>, enough: u64) -> u64 {
    loop {
        let ball = R::receive(receiver).await;
        let (sender, next) = R::oneshot();
        R::send(ball.back, Ball { strokes: ball.strokes + 1, back: sender });
        if ball.strokes + 1 >= enough {
            return ball.strokes + 1;
        }
        receiver = next;
    }
}

fn ping_pong<R: Oneshots>(size: Size, meter: Meter) -> u64 {
    R::run(async move |runtime: R| {
        let enough = size.operations();
        let (serve, first) = R::oneshot();
        let (back, second) = R::oneshot();
        let first = runtime.spawn(play::<R>(first, enough));
        let second = runtime.spawn(play::<R>(second, enough));
        (meter.start)();
        R::send(serve, Ball { strokes: 0, back });
        // The player that reaches the number of strokes sends the ball once more, and the other
        // player then counts one more. The smaller number is the right one.
        let strokes = first.await.min(second.await);
        (meter.stop)();
        strokes
    })
}

/// Forwards each message, increased by one.
async fn pass_on<R: Channels>(mut from: R::Receiver, mut to: R::Sender) {
    while let Some(message) = R::receive(&mut from).await {
        R::send(&mut to, message + 1).await;
    }
}

/// Each round is a message that passes through all tasks.
fn chain<R: Channels>(size: Size, meter: Meter) -> u64 {
    R::run(async move |runtime: R| {
        let (mut first, mut last) = R::channel();
        let mut tasks = Vec::new();
        for _ in 0..size.width {
            let (sender, receiver) = R::channel();
            tasks.push(runtime.spawn(pass_on::<R>(std::mem::replace(&mut last, receiver), sender)));
        }
        (meter.start)();
        let source = runtime.spawn(async move {
            for _ in 0..size.rounds {
                R::send(&mut first, 0).await;
            }
        });
        let mut sum = 0;
        while let Some(message) = R::receive(&mut last).await {
            sum += message;
        }
        (meter.stop)();
        source.await;
        for task in tasks {
            task.await;
        }
        sum
    })
}
