//! Implements the runtime traits for `onelane`.

use crate::runtime::{Channels, Gathers, Oneshots, Reuse, Runtime, Timers, Yields};
use crate::{Works, basics, channels, foreign_wakes, gathers, oneshots, own_yields, runs, sleeping, timers};
use onelane::sync::{channel, oneshot};
use onelane::{EventLoop, Join, Task, TaskError};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// The loop that runs on this thread.
#[derive(Clone, Copy, Debug)]
pub struct Onelane;

impl Onelane {
    /// Its works: all cases.
    pub fn works() -> Works {
        [
            basics::<Self>(),
            own_yields::<Self>(),
            gathers::<Self>(),
            oneshots::<Self>(),
            channels::<Self>(),
            timers::<Self>(),
            sleeping::<Self>(),
            foreign_wakes::<Self>(),
            runs::<Self>(),
        ]
        .concat()
    }
}

/// A task handle; awaiting it panics if the task has failed.
#[derive(Debug)]
pub struct Handle<T>(Task<T>);

impl<T: 'static> IntoFuture for Handle<T> {
    type Output = T;
    type IntoFuture = Joined<T>;

    fn into_future(self) -> Joined<T> {
        Joined(self.0.into_future())
    }
}

/// An await of a [`Handle`].
#[derive(Debug)]
pub struct Joined<T>(Join<T>);

impl<T> Future for Joined<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        Pin::new(&mut self.0).poll(context).map(|result: Result<T, TaskError>| result.unwrap())
    }
}

impl Runtime for Onelane {
    type Handle<T: 'static> = Handle<T>;

    fn run<T: 'static, F>(main: impl FnOnce(Self) -> F) -> T
    where
        F: Future<Output = T> + 'static,
    {
        onelane::run(main(Onelane))
    }

    fn spawn<F>(&self, future: F) -> Handle<F::Output>
    where
        F: Future<Output: 'static> + 'static,
    {
        Handle(onelane::spawn(future))
    }
}

/// [`Onelane`] with metrics.
#[derive(Clone, Copy, Debug)]
pub struct Counting;

/// [`Onelane`] in debug mode.
#[derive(Clone, Copy, Debug)]
pub struct Debugged;

macro_rules! observed {
    ($runtime:ident, $builder:expr) => {
        impl Runtime for $runtime {
            type Handle<T: 'static> = Handle<T>;

            fn run<T: 'static, F>(main: impl FnOnce(Self) -> F) -> T
            where
                F: Future<Output = T> + 'static,
            {
                $builder.build().run(main($runtime))
            }

            fn spawn<F>(&self, future: F) -> Handle<F::Output>
            where
                F: Future<Output: 'static> + 'static,
            {
                Handle(onelane::spawn(future))
            }
        }
    };
}

observed!(Counting, EventLoop::builder().metrics(true));
observed!(Debugged, EventLoop::builder().debug(true).slow_step(Duration::MAX));

impl Yields for Onelane {
    fn yield_now(&self) -> impl Future<Output = ()> {
        onelane::yield_now()
    }
}

impl Timers for Onelane {
    fn sleep(duration: Duration) -> impl Future<Output = ()> + 'static {
        onelane::sleep(duration)
    }
}

impl Gathers for Onelane {
    async fn gather<F>(&self, futures: impl Iterator<Item = F> + 'static) -> Vec<u64>
    where
        F: Future<Output = u64> + 'static,
    {
        onelane::gather(futures).await.unwrap()
    }
}

impl Oneshots for Onelane {
    type Sender<T: 'static> = oneshot::Sender<T>;
    type Receiver<T: 'static> = oneshot::Receiver<T>;

    fn oneshot<T: 'static>() -> (oneshot::Sender<T>, oneshot::Receiver<T>) {
        oneshot::oneshot()
    }

    fn send<T: 'static>(sender: oneshot::Sender<T>, value: T) {
        // The last message of the ping-pong has no receiver.
        let _ = sender.send(value);
    }

    async fn receive<T: 'static>(receiver: oneshot::Receiver<T>) -> T {
        receiver.await.unwrap()
    }
}

impl Channels for Onelane {
    type Sender = channel::Sender<u64>;
    type Receiver = channel::Receiver<u64>;

    fn channel() -> (Self::Sender, Self::Receiver) {
        channel::channel(1)
    }

    async fn send(sender: &mut Self::Sender, message: u64) {
        sender.send(message).await.unwrap();
    }

    fn receive(receiver: &mut Self::Receiver) -> impl Future<Output = Option<u64>> {
        receiver.recv()
    }
}

impl Reuse for Onelane {
    type Loop = EventLoop;

    fn make() -> EventLoop {
        EventLoop::new()
    }

    fn run_on<T: 'static>(kept: &mut EventLoop, main: impl Future<Output = T> + 'static) -> T {
        kept.run(main)
    }
}
