//! local-runtime: its `Executor`, driven by the reactor of the thread.

use super::Peer;
use super::shared::{channels_of_futures, gathers_by_join_all, oneshots_of_futures};
use local_runtime::{Executor, TaskHandle};
use onelane_cases::runtime::{Reuse, Runtime, Timers};
use onelane_cases::{Work, basics, channels, foreign_wakes, gathers, oneshots, runs, sleeping, timers};
use std::rc::Rc;
use std::time::Duration;

pub(super) fn peer() -> Peer {
    let all = [
        basics::<Local>(),
        gathers::<Local>(),
        oneshots::<Local>(),
        channels::<Local>(),
        timers::<Local>(),
        sleeping::<Local>(),
        foreign_wakes::<Local>(),
        runs::<Local>(),
    ]
    .concat();
    // local-runtime polls a new task while its list of new tasks is borrowed, so this task cannot
    // spawn.
    let spawns_later = |(id, _): &(&str, Work)| !id.starts_with("spawn-recursive");
    Peer::of(
        "local-runtime",
        "local-runtime",
        "`Executor::block_on` and `spawn`. It does not catch panics, keeps no record of what a task waits for, polls new tasks \
         in reverse order, and has no `yield_now`. A task that spawns in its first poll makes it panic, so it does not take \
         part in `spawn-recursive`. Its reactor belongs to the thread, so a new executor does not make one. Channels and \
         oneshots of `futures`, `futures::future::join_all` over spawned tasks for gathers.",
        all.into_iter().filter(spawns_later).collect(),
    )
}

#[derive(Clone)]
struct Local(Rc<Executor<'static>>);

impl Runtime for Local {
    type Handle<T: 'static> = TaskHandle<T>;

    fn run<T: 'static, F>(main: impl FnOnce(Self) -> F) -> T
    where
        F: Future<Output = T> + 'static,
    {
        let executor = Rc::new(Executor::new());
        executor.block_on(main(Local(executor.clone())))
    }

    fn spawn<F>(&self, future: F) -> TaskHandle<F::Output>
    where
        F: Future<Output: 'static> + 'static,
    {
        self.0.spawn(future)
    }
}

impl Timers for Local {
    async fn sleep(duration: Duration) {
        local_runtime::time::sleep(duration).await;
    }
}

gathers_by_join_all!(Local);
oneshots_of_futures!(Local);
channels_of_futures!(Local);

impl Reuse for Local {
    type Loop = Executor<'static>;

    fn make() -> Self::Loop {
        Executor::new()
    }

    fn run_on<T: 'static>(kept: &mut Self::Loop, main: impl Future<Output = T> + 'static) -> T {
        kept.block_on(main)
    }
}
