//! monoio with its legacy driver, which is epoll, because io_uring is not available everywhere.

use super::Peer;
use super::shared::gathers_by_join_all;
use local_sync::{mpsc::bounded, oneshot};
use monoio::task::JoinHandle;
use monoio::time::TimeDriver;
use monoio::{LegacyDriver, RuntimeBuilder};
use onelane_cases::runtime::{Channels, Oneshots, Reuse, Runtime, Timers};
use onelane_cases::{basics, channels, foreign_wakes, gathers, oneshots, runs, sleeping, timers};
use std::time::Duration;

pub(super) fn peer() -> Peer {
    Peer::of(
        "monoio",
        "monoio",
        "The legacy driver, with timers, and with the feature `sync` so that other threads may wake. It does not catch panics, \
         and has no `yield_now`. Channels of `local-sync`, `futures::future::join_all` over spawned tasks for gathers.",
        [
            basics::<Monoio>(),
            gathers::<Monoio>(),
            oneshots::<Monoio>(),
            channels::<Monoio>(),
            timers::<Monoio>(),
            sleeping::<Monoio>(),
            foreign_wakes::<Monoio>(),
            runs::<Monoio>(),
        ]
        .concat(),
    )
}

#[derive(Clone)]
struct Monoio;

impl Runtime for Monoio {
    type Handle<T: 'static> = JoinHandle<T>;

    fn run<T: 'static, F>(main: impl FnOnce(Self) -> F) -> T
    where
        F: Future<Output = T> + 'static,
    {
        Self::make().block_on(main(Monoio))
    }

    fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: 'static> + 'static,
    {
        monoio::spawn(future)
    }
}

impl Timers for Monoio {
    fn sleep(duration: Duration) -> impl Future<Output = ()> + 'static {
        monoio::time::sleep(duration)
    }
}

gathers_by_join_all!(Monoio);

impl Oneshots for Monoio {
    type Sender<T: 'static> = oneshot::Sender<T>;
    type Receiver<T: 'static> = oneshot::Receiver<T>;

    fn oneshot<T: 'static>() -> (oneshot::Sender<T>, oneshot::Receiver<T>) {
        oneshot::channel()
    }

    fn send<T: 'static>(sender: oneshot::Sender<T>, value: T) {
        let _ = sender.send(value);
    }

    async fn receive<T: 'static>(receiver: oneshot::Receiver<T>) -> T {
        receiver.await.ok().unwrap()
    }
}

impl Channels for Monoio {
    type Sender = bounded::Tx<u64>;
    type Receiver = bounded::Rx<u64>;

    fn channel() -> (Self::Sender, Self::Receiver) {
        bounded::channel(1)
    }

    async fn send(sender: &mut Self::Sender, message: u64) {
        sender.send(message).await.ok().unwrap();
    }

    async fn receive(receiver: &mut Self::Receiver) -> Option<u64> {
        receiver.recv().await
    }
}

impl Reuse for Monoio {
    type Loop = monoio::Runtime<TimeDriver<LegacyDriver>>;

    fn make() -> Self::Loop {
        RuntimeBuilder::<LegacyDriver>::new().enable_timer().build().unwrap()
    }

    fn run_on<T: 'static>(kept: &mut Self::Loop, main: impl Future<Output = T> + 'static) -> T {
        kept.block_on(main)
    }
}
