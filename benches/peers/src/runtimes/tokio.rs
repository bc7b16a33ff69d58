//! tokio on one thread, in its three forms: `spawn` on a `current_thread` runtime, a `LocalSet` on
//! one, and `LocalRuntime`.

use super::Peer;
use super::assert_send::AssertSend;
use super::shared::gathers_by_join_all;
use onelane_cases::runtime::{Channels, Gathers, Oneshots, Reuse, Runtime, Timers, Yields};
use onelane_cases::{Works, basics, channels, foreign_wakes, gathers, oneshots, own_yields, runs, sleeping, timers};
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet, LocalSet};

pub(super) fn peers() -> Vec<Peer> {
    let peer = |id, note, works| Peer::of(id, "tokio", note, works);
    vec![
        peer(
            "tokio",
            "A `current_thread` runtime with `enable_time`, `spawn`, `JoinSet`, tokio's own `oneshot` and `mpsc`. It has a budget \
             for each poll, keeps metrics, catches panics, and its own `yield_now` defers to the driver.",
            all::<Spawn>(),
        ),
        peer(
            "tokio-all",
            "The same with `enable_all`, so with an I/O driver that is polled now and then.",
            all::<SpawnWithIo>(),
        ),
        peer(
            "tokio-join-all",
            "As `tokio`, but gathers with `spawn` and `futures::future::join_all`.",
            gathers::<JoinAll>(),
        ),
        peer(
            "tokio-local-set",
            "`LocalSet::block_on` on a `current_thread` runtime, and `spawn_local`.",
            all::<InLocalSet>(),
        ),
        peer(
            "tokio-local-runtime",
            "`LocalRuntime`, stable since tokio 1.51, and `spawn_local`.",
            all::<InLocalRuntime>(),
        ),
    ]
}

fn all<F: Form>() -> Works {
    [
        basics::<Tokio<F>>(),
        own_yields::<Tokio<F>>(),
        gathers::<Tokio<F>>(),
        oneshots::<Tokio<F>>(),
        channels::<Tokio<F>>(),
        timers::<Tokio<F>>(),
        sleeping::<Tokio<F>>(),
        foreign_wakes::<Tokio<F>>(),
        runs::<Tokio<F>>(),
    ]
    .concat()
}

/// How tokio runs tasks.
trait Form: 'static {
    type Loop;

    fn make() -> Self::Loop;
    fn block_on<F: Future>(kept: &mut Self::Loop, main: F) -> F::Output;
    fn spawn<F: Future<Output: 'static> + 'static>(future: AssertSend<F>) -> JoinHandle<AssertSend<F::Output>>;
    fn spawn_into<F: Future<Output: 'static> + 'static>(
        set: &mut JoinSet<AssertSend<F::Output>>,
        future: AssertSend<F>,
    );
}

fn with_time() -> Builder {
    let mut builder = Builder::new_current_thread();
    builder.enable_time();
    builder
}

/// `tokio::spawn`, on the runtime that `$builder` builds.
macro_rules! spawning {
    ($form:ident, $builder:expr) => {
        struct $form;

        impl Form for $form {
            type Loop = tokio::runtime::Runtime;

            fn make() -> Self::Loop {
                $builder.build().unwrap()
            }

            fn block_on<F: Future>(kept: &mut Self::Loop, main: F) -> F::Output {
                kept.block_on(main)
            }

            fn spawn<F: Future<Output: 'static> + 'static>(future: AssertSend<F>) -> JoinHandle<AssertSend<F::Output>> {
                tokio::spawn(future)
            }

            fn spawn_into<F: Future<Output: 'static> + 'static>(
                set: &mut JoinSet<AssertSend<F::Output>>,
                future: AssertSend<F>,
            ) {
                set.spawn(future);
            }
        }
    };
}

spawning!(Spawn, with_time());
spawning!(SpawnWithIo, Builder::new_current_thread().enable_all());

/// `tokio::task::spawn_local`, on a `LocalSet` or a `LocalRuntime`.
macro_rules! spawning_locally {
    ($form:ident, $kept:ty, $make:expr, |$held:ident, $main:ident| $block_on:expr) => {
        struct $form;

        impl Form for $form {
            type Loop = $kept;

            fn make() -> Self::Loop {
                $make
            }

            fn block_on<F: Future>($held: &mut Self::Loop, $main: F) -> F::Output {
                $block_on
            }

            fn spawn<F: Future<Output: 'static> + 'static>(future: AssertSend<F>) -> JoinHandle<AssertSend<F::Output>> {
                tokio::task::spawn_local(future)
            }

            fn spawn_into<F: Future<Output: 'static> + 'static>(
                set: &mut JoinSet<AssertSend<F::Output>>,
                future: AssertSend<F>,
            ) {
                set.spawn_local(future);
            }
        }
    };
}

spawning_locally!(
    InLocalSet,
    (LocalSet, tokio::runtime::Runtime),
    (LocalSet::new(), with_time().build().unwrap()),
    |kept, main| kept.0.block_on(&kept.1, main)
);
spawning_locally!(
    InLocalRuntime,
    LocalRuntime,
    with_time().build_local(LocalOptions::default()).unwrap(),
    |kept, main| kept.block_on(main)
);

/// The runtime that runs on this thread.
struct Tokio<F>(PhantomData<F>);

impl<F> Clone for Tokio<F> {
    fn clone(&self) -> Self {
        Tokio(PhantomData)
    }
}

/// A task handle; awaiting it panics if the task has failed.
struct Handle<T>(JoinHandle<AssertSend<T>>);

impl<T> Future for Handle<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        Pin::new(&mut self.0).poll(context).map(|result| result.unwrap().0)
    }
}

impl<R: Form> Runtime for Tokio<R> {
    type Handle<T: 'static> = Handle<T>;

    fn run<T: 'static, F>(main: impl FnOnce(Self) -> F) -> T
    where
        F: Future<Output = T> + 'static,
    {
        R::block_on(&mut R::make(), main(Tokio(PhantomData)))
    }

    fn spawn<F>(&self, future: F) -> Handle<F::Output>
    where
        F: Future<Output: 'static> + 'static,
    {
        Handle(R::spawn(AssertSend(future)))
    }
}

impl<R: Form> Yields for Tokio<R> {
    fn yield_now(&self) -> impl Future<Output = ()> {
        tokio::task::yield_now()
    }
}

impl<R: Form> Timers for Tokio<R> {
    fn sleep(duration: Duration) -> impl Future<Output = ()> + 'static {
        tokio::time::sleep(duration)
    }
}

impl<R: Form> Gathers for Tokio<R> {
    async fn gather<F>(&self, futures: impl Iterator<Item = F> + 'static) -> Vec<u64>
    where
        F: Future<Output = u64> + 'static,
    {
        let mut set = JoinSet::new();
        for future in futures {
            R::spawn_into(&mut set, AssertSend(future));
        }
        let mut results = Vec::with_capacity(set.len());
        while let Some(result) = set.join_next().await {
            results.push(result.unwrap().0);
        }
        results
    }
}

impl<R: Form> Oneshots for Tokio<R> {
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

impl<R: Form> Channels for Tokio<R> {
    type Sender = mpsc::Sender<u64>;
    type Receiver = mpsc::Receiver<u64>;

    fn channel() -> (Self::Sender, Self::Receiver) {
        mpsc::channel(1)
    }

    async fn send(sender: &mut Self::Sender, message: u64) {
        sender.send(message).await.unwrap();
    }

    async fn receive(receiver: &mut Self::Receiver) -> Option<u64> {
        receiver.recv().await
    }
}

impl<R: Form> Reuse for Tokio<R> {
    type Loop = R::Loop;

    fn make() -> R::Loop {
        R::make()
    }

    fn run_on<T: 'static>(kept: &mut R::Loop, main: impl Future<Output = T> + 'static) -> T {
        R::block_on(kept, main)
    }
}

/// `spawn`, and `join_all` for gathers.
#[derive(Clone)]
struct JoinAll(Tokio<Spawn>);

impl Runtime for JoinAll {
    type Handle<T: 'static> = Handle<T>;

    fn run<T: 'static, F>(main: impl FnOnce(Self) -> F) -> T
    where
        F: Future<Output = T> + 'static,
    {
        Tokio::run(|runtime| main(JoinAll(runtime)))
    }

    fn spawn<F>(&self, future: F) -> Handle<F::Output>
    where
        F: Future<Output: 'static> + 'static,
    {
        self.0.spawn(future)
    }
}

gathers_by_join_all!(JoinAll);
