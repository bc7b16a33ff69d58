//! glommio, if the kernel has io_uring and permits us to lock enough memory for it.

use super::Peer;
use super::shared::{gathers_by_join_all, oneshots_of_futures};
use glommio::channels::local_channel::{LocalReceiver, LocalSender, new_bounded};
use glommio::{LocalExecutor, LocalExecutorBuilder, Placement, Task};
use onelane_cases::runtime::{Channels, Reuse, Runtime, Timers, Yields};
use onelane_cases::{Work, basics, channels, foreign_wakes, gathers, oneshots, own_yields, runs, sleeping, timers};
use std::time::Duration;

/// Returns the reason if glommio cannot be measured here.
pub(super) fn try_it() -> Result<(), String> {
    let tried = std::panic::catch_unwind(|| make().map(|executor| executor.run(async { 1 })));
    match tried {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(format!("it cannot start here: {error}")),
        Err(_) => Err("it panics here when it starts".into()),
    }
}

pub(super) fn peer() -> Peer {
    let all = [
        basics::<Glommio>(),
        own_yields::<Glommio>(),
        gathers::<Glommio>(),
        oneshots::<Glommio>(),
        channels::<Glommio>(),
        timers::<Glommio>(),
        sleeping::<Glommio>(),
        foreign_wakes::<Glommio>(),
        runs::<Glommio>(),
    ]
    .concat();
    // A million timers in one task have a million wakers, but glommio counts the wakers of a task
    // in 16 bits.
    let counted = |(id, _): &(&str, Work)| *id != "timers-1000000";
    Peer::of(
        "glommio",
        "glommio",
        "`LocalExecutor`, unbound, io_uring. It reads the clock for each queue that it runs, looks for preemption, keeps \
         statistics, and does not catch panics. Its local channels, oneshots of `futures`, `executor().yield_now()`, \
         `futures::future::join_all` over spawned tasks for gathers. A spawned task runs at once. A \
         task has at most 32,767 wakers, too few for a million timers.",
        all.into_iter().filter(counted).collect(),
    )
}

fn make() -> glommio::Result<LocalExecutor, ()> {
    LocalExecutorBuilder::new(Placement::Unbound).make()
}

#[derive(Clone)]
struct Glommio;

impl Runtime for Glommio {
    type Handle<T: 'static> = Task<T>;

    fn run<T: 'static, F>(main: impl FnOnce(Self) -> F) -> T
    where
        F: Future<Output = T> + 'static,
    {
        Self::make().run(main(Glommio))
    }

    fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future<Output: 'static> + 'static,
    {
        glommio::spawn_local(future)
    }
}

impl Yields for Glommio {
    async fn yield_now(&self) {
        glommio::executor().yield_now().await;
    }
}

impl Timers for Glommio {
    async fn sleep(duration: Duration) {
        glommio::timer::Timer::new(duration).await;
    }
}

gathers_by_join_all!(Glommio);
oneshots_of_futures!(Glommio);

impl Channels for Glommio {
    type Sender = LocalSender<u64>;
    type Receiver = LocalReceiver<u64>;

    fn channel() -> (Self::Sender, Self::Receiver) {
        new_bounded(1)
    }

    async fn send(sender: &mut Self::Sender, message: u64) {
        sender.send(message).await.unwrap();
    }

    async fn receive(receiver: &mut Self::Receiver) -> Option<u64> {
        receiver.recv().await
    }
}

impl Reuse for Glommio {
    type Loop = LocalExecutor;

    fn make() -> LocalExecutor {
        make().unwrap()
    }

    fn run_on<T: 'static>(kept: &mut LocalExecutor, main: impl Future<Output = T> + 'static) -> T {
        kept.run(main)
    }
}
