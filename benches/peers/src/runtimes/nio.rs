//! nio with one worker, which is the thread that builds the runtime.
//!
//! nio panics if a task is dropped outside its runtime, and aborts in a debug build. So it does not
//! take part in the cases in which a waker outlives the runtime and its task.

use super::Peer;
use super::shared::{channels_of_futures, gathers_by_join_all, oneshots_of_futures};
use nio::{JoinHandle, LocalRuntime, RuntimeBuilder};
use onelane_cases::runtime::{Reuse, Runtime, Timers};
use onelane_cases::{channels, foreign_wakes, gathers, oneshots, runs, sleeping, spawns, timers, yields};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

pub(super) fn peer() -> Peer {
    Peer::of(
        "nio",
        "nio",
        "One worker, `LocalRuntime::block_on` and `spawn_local`. It catches panics, can abort a task, and keeps no record of \
         what a task waits for. It reads the clock and polls the driver once for 61 polls of tasks; a `sleep` counts from the \
         last such reading, not from its call. It has no `yield_now`. Channels and oneshots of `futures`, \
         `futures::future::join_all` over spawned tasks for gathers. A task that sleeps when its runtime ends is never dropped. \
         A task that waits then makes the drop of its last waker panic, so nio does not take part in `heap-waiting` and \
         `resident-waiting`.",
        [
            yields::<Nio>(),
            spawns::<Nio>(),
            gathers::<Nio>(),
            oneshots::<Nio>(),
            channels::<Nio>(),
            timers::<Nio>(),
            sleeping::<Nio>(),
            foreign_wakes::<Nio>(),
            runs::<Nio>(),
        ]
        .concat(),
    )
}

#[derive(Clone)]
struct Nio;

pin_project_lite::pin_project! {
    /// A task handle; awaiting it panics if the task has failed.
    struct Handle<T> {
        #[pin]
        task: JoinHandle<T>,
    }
}

impl<T> Future for Handle<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        self.project().task.poll(context).map(|result| result.unwrap())
    }
}

impl Runtime for Nio {
    type Handle<T: 'static> = Handle<T>;

    fn run<T: 'static, F>(main: impl FnOnce(Self) -> F) -> T
    where
        F: Future<Output = T> + 'static,
    {
        Self::make().block_on(main(Nio))
    }

    fn spawn<F>(&self, future: F) -> Handle<F::Output>
    where
        F: Future<Output: 'static> + 'static,
    {
        Handle { task: nio::spawn_local(future) }
    }
}

impl Timers for Nio {
    fn sleep(duration: Duration) -> impl Future<Output = ()> + 'static {
        nio::sleep(duration)
    }
}

gathers_by_join_all!(Nio);
oneshots_of_futures!(Nio);
channels_of_futures!(Nio);

impl Reuse for Nio {
    type Loop = LocalRuntime;

    fn make() -> LocalRuntime {
        RuntimeBuilder::new().worker_threads(1).build().unwrap()
    }

    fn run_on<T: 'static>(kept: &mut LocalRuntime, main: impl Future<Output = T> + 'static) -> T {
        kept.block_on(main)
    }
}
