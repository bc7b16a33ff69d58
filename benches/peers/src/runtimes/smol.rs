//! smol: `async-executor`'s `LocalExecutor`, driven by `async-io`'s `block_on`, as `smol::block_on`
//! does.

use super::Peer;
use super::shared::gathers_by_join_all;
use async_channel::{Receiver, Sender};
use async_executor::{LocalExecutor, Task};
use onelane_cases::runtime::{Channels, Oneshots, Reuse, Runtime, Timers, Yields};
use onelane_cases::{basics, channels, foreign_wakes, gathers, oneshots, own_yields, runs, sleeping, timers};
use std::rc::Rc;
use std::time::Duration;

pub(super) fn peer() -> Peer {
    Peer::of(
        "smol",
        "async-executor",
        "`LocalExecutor` in `async_io::block_on`, `async_io::Timer`, `futures_lite::future::yield_now`, `async-channel` for both \
         channels and oneshots, `futures::future::join_all` over spawned tasks for gathers.",
        [
            basics::<Smol>(),
            own_yields::<Smol>(),
            gathers::<Smol>(),
            oneshots::<Smol>(),
            channels::<Smol>(),
            timers::<Smol>(),
            sleeping::<Smol>(),
            foreign_wakes::<Smol>(),
            runs::<Smol>(),
        ]
        .concat(),
    )
}

#[derive(Clone)]
struct Smol(Rc<LocalExecutor<'static>>);

impl Runtime for Smol {
    type Handle<T: 'static> = Task<T>;

    fn run<T: 'static, F>(main: impl FnOnce(Self) -> F) -> T
    where
        F: Future<Output = T> + 'static,
    {
        // The process has one reactor. During this wait, the reactor frees what earlier runs have
        // left, so that the measurement does not include it.
        async_io::block_on(async_io::Timer::after(Duration::from_micros(1)));
        let executor = Rc::new(LocalExecutor::new());
        async_io::block_on(executor.run(main(Smol(executor.clone()))))
    }

    fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future<Output: 'static> + 'static,
    {
        self.0.spawn(future)
    }
}

impl Yields for Smol {
    fn yield_now(&self) -> impl Future<Output = ()> {
        futures_lite::future::yield_now()
    }
}

impl Timers for Smol {
    async fn sleep(duration: Duration) {
        async_io::Timer::after(duration).await;
    }
}

gathers_by_join_all!(Smol);

impl Oneshots for Smol {
    type Sender<T: 'static> = Sender<T>;
    type Receiver<T: 'static> = Receiver<T>;

    fn oneshot<T: 'static>() -> (Sender<T>, Receiver<T>) {
        async_channel::bounded(1)
    }

    fn send<T: 'static>(sender: Sender<T>, value: T) {
        let _ = sender.try_send(value);
    }

    async fn receive<T: 'static>(receiver: Receiver<T>) -> T {
        receiver.recv().await.unwrap()
    }
}

impl Channels for Smol {
    type Sender = Sender<u64>;
    type Receiver = Receiver<u64>;

    fn channel() -> (Self::Sender, Self::Receiver) {
        async_channel::bounded(1)
    }

    async fn send(sender: &mut Self::Sender, message: u64) {
        sender.send(message).await.unwrap();
    }

    async fn receive(receiver: &mut Self::Receiver) -> Option<u64> {
        receiver.recv().await.ok()
    }
}

impl Reuse for Smol {
    type Loop = LocalExecutor<'static>;

    fn make() -> Self::Loop {
        LocalExecutor::new()
    }

    fn run_on<T: 'static>(kept: &mut Self::Loop, main: impl Future<Output = T> + 'static) -> T {
        async_io::block_on(kept.run(main))
    }
}
