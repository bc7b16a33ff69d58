//! compio, with the driver that it chooses on this machine: io_uring or polling.

use super::Peer;
use super::shared::{channels_of_futures, gathers_by_join_all, oneshots_of_futures};
use compio::runtime::{JoinHandle, Runtime as Loop};
use onelane_cases::runtime::{Reuse, Runtime, Timers};
use onelane_cases::{basics, channels, foreign_wakes, gathers, oneshots, runs, sleeping, timers};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

pub(super) fn peer() -> Peer {
    Peer::of(
        "compio",
        "compio",
        "The driver that it chooses (io_uring if available, otherwise polling). It catches panics, and has no `yield_now`. \
         Channels of `futures`, `futures::future::join_all` over spawned tasks for gathers.",
        [
            basics::<Compio>(),
            gathers::<Compio>(),
            oneshots::<Compio>(),
            channels::<Compio>(),
            timers::<Compio>(),
            sleeping::<Compio>(),
            foreign_wakes::<Compio>(),
            runs::<Compio>(),
        ]
        .concat(),
    )
}

#[derive(Clone)]
struct Compio;

/// A task handle; awaiting it panics if the task has failed.
struct Handle<T>(JoinHandle<T>);

impl<T> Future for Handle<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        Pin::new(&mut self.0).poll(context).map(|result| result.ok().unwrap())
    }
}

impl Runtime for Compio {
    type Handle<T: 'static> = Handle<T>;

    fn run<T: 'static, F>(main: impl FnOnce(Self) -> F) -> T
    where
        F: Future<Output = T> + 'static,
    {
        Self::make().block_on(main(Compio))
    }

    fn spawn<F>(&self, future: F) -> Handle<F::Output>
    where
        F: Future<Output: 'static> + 'static,
    {
        Handle(compio::runtime::spawn(future))
    }
}

impl Timers for Compio {
    fn sleep(duration: Duration) -> impl Future<Output = ()> + 'static {
        compio::time::sleep(duration)
    }
}

gathers_by_join_all!(Compio);
oneshots_of_futures!(Compio);
channels_of_futures!(Compio);

impl Reuse for Compio {
    type Loop = Loop;

    fn make() -> Loop {
        Loop::new().unwrap()
    }

    fn run_on<T: 'static>(kept: &mut Loop, main: impl Future<Output = T> + 'static) -> T {
        kept.block_on(main)
    }
}
