//! futures: `LocalPool`, and for gathers also `FuturesUnordered`, whose children are not tasks.

use super::Peer;
use super::shared::{channels_of_futures, oneshots_of_futures};
use futures::StreamExt;
use futures::executor::{LocalPool, LocalSpawner};
use futures::future::RemoteHandle;
use futures::stream::FuturesUnordered;
use futures::task::LocalSpawnExt;
use onelane_cases::runtime::{Gathers, Reuse, Runtime};
use onelane_cases::{basics, channels, foreign_wakes, gathers, oneshots, runs};

pub(super) fn peer() -> Peer {
    Peer::of(
        "futures",
        "futures",
        "`LocalPool`, `spawn_local_with_handle`, `futures::channel`. It has no timers and no `yield_now`, and a panic of a task \
         is passed to the task that awaits it. Its gather is `join_all` of futures that are not spawned: the children are not tasks.",
        [
            basics::<Futures>(),
            gathers::<Futures>(),
            oneshots::<Futures>(),
            channels::<Futures>(),
            foreign_wakes::<Futures>(),
            runs::<Futures>(),
        ]
        .concat(),
    )
}

pub(super) fn unordered() -> Peer {
    Peer::of(
        "futures-unordered",
        "futures",
        "`FuturesUnordered` in one task, collected as the children end. They are not tasks.",
        gathers::<Unordered>(),
    )
}

#[derive(Clone)]
struct Futures(LocalSpawner);

impl Runtime for Futures {
    type Handle<T: 'static> = RemoteHandle<T>;

    fn run<T: 'static, F>(main: impl FnOnce(Self) -> F) -> T
    where
        F: Future<Output = T> + 'static,
    {
        let mut pool = LocalPool::new();
        let main = main(Futures(pool.spawner()));
        pool.run_until(main)
    }

    fn spawn<F>(&self, future: F) -> RemoteHandle<F::Output>
    where
        F: Future<Output: 'static> + 'static,
    {
        self.0.spawn_local_with_handle(future).unwrap()
    }
}

impl Gathers for Futures {
    async fn gather<F>(&self, futures: impl Iterator<Item = F> + 'static) -> Vec<u64>
    where
        F: Future<Output = u64> + 'static,
    {
        futures::future::join_all(futures).await
    }
}

oneshots_of_futures!(Futures);
channels_of_futures!(Futures);

impl Reuse for Futures {
    type Loop = LocalPool;

    fn make() -> LocalPool {
        LocalPool::new()
    }

    fn run_on<T: 'static>(kept: &mut LocalPool, main: impl Future<Output = T> + 'static) -> T {
        kept.run_until(main)
    }
}

#[derive(Clone)]
struct Unordered(Futures);

impl Runtime for Unordered {
    type Handle<T: 'static> = RemoteHandle<T>;

    fn run<T: 'static, F>(main: impl FnOnce(Self) -> F) -> T
    where
        F: Future<Output = T> + 'static,
    {
        Futures::run(|runtime| main(Unordered(runtime)))
    }

    fn spawn<F>(&self, future: F) -> RemoteHandle<F::Output>
    where
        F: Future<Output: 'static> + 'static,
    {
        self.0.spawn(future)
    }
}

impl Gathers for Unordered {
    async fn gather<F>(&self, futures: impl Iterator<Item = F> + 'static) -> Vec<u64>
    where
        F: Future<Output = u64> + 'static,
    {
        futures.collect::<FuturesUnordered<F>>().collect().await
    }
}
