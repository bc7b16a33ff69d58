//! kimojio, if the kernel has io_uring and permits us to use it.

use super::Peer;
use super::shared::gathers_by_join_all;
use kimojio::configuration::{Configuration, ExitBehavior};
use kimojio::operations::{self, TaskHandle};
use kimojio::{Receiver, ReceiverOneshot, Sender, SenderOneshot};
use onelane_cases::runtime::{Channels, Oneshots, Reuse, Runtime, Timers, Yields};
use onelane_cases::{Work, basics, channels, gathers, oneshots, own_yields, runs, sleeping, timers};
use std::panic::{catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// Returns the reason if kimojio cannot be measured here.
pub(super) fn try_it() -> Result<(), String> {
    match catch_unwind(|| Kimojio::run_on(&mut Kimojio::make(), async { 1 })) {
        Ok(_) => Ok(()),
        Err(_) => Err("it panics here when it starts".into()),
    }
}

/// kimojio counts the tasks of a thread in 16 bits, so these cases have too many tasks.
const TOO_MANY_TASKS: &[&str] =
    &["yield-1000000", "spawn-100000", "sleepers-100000", "resident-waiting", "resident-sleeping"];

pub(super) fn peer() -> Peer {
    let all = [
        basics::<Kimojio>(),
        own_yields::<Kimojio>(),
        gathers::<Kimojio>(),
        oneshots::<Kimojio>(),
        channels::<Kimojio>(),
        timers::<Kimojio>(),
        sleeping::<Kimojio>(),
        runs::<Kimojio>(),
    ]
    .concat();
    let few = |(id, _): &(&str, Work)| !TOO_MANY_TASKS.contains(id);
    Peer::of(
        "kimojio",
        "kimojio",
        "`Runtime::block_on` until the main task completes (in `run-ready` and `make-and-run` until all complete), \
         `spawn_task`, its own oneshots and channels, `yield_io`, `futures::future::join_all` over spawned tasks for gathers. \
         It catches panics, and has fields for traces in each task, but no record of what the task waits for. `abort` ends a \
         task only when it polls a future of kimojio's. Its wakers count references without atomics and without a check of the \
         thread, although a `Waker` may be sent: to clone or drop one on another thread is a data race, and a wake there \
         panics. So it does not take part in `foreign-wake`. A thread has at most 65,535 tasks, too few for some cases. A timer \
         is an operation of io_uring; its memory in the kernel is not counted. After each run it makes its rings again.",
        all.into_iter().filter(few).collect(),
    )
}

#[derive(Clone)]
struct Kimojio;

/// A task handle; awaiting it panics if the task has failed.
struct Handle<T: 'static>(TaskHandle<T>);

impl<T> Future for Handle<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        Pin::new(&mut self.0).poll(context).map(|result| result.ok().unwrap())
    }
}

impl Runtime for Kimojio {
    type Handle<T: 'static> = Handle<T>;

    fn run<T: 'static, F>(main: impl FnOnce(Self) -> F) -> T
    where
        F: Future<Output = T> + 'static,
    {
        // As with the other runtimes, tasks may still wait when the main task has completed.
        let configuration = Configuration::new().set_exit_behavior(ExitBehavior::WhenMainTaskCompletes);
        Self::run_on(&mut kimojio::Runtime::new(0, configuration), main(Kimojio))
    }

    fn spawn<F>(&self, future: F) -> Handle<F::Output>
    where
        F: Future<Output: 'static> + 'static,
    {
        Handle(operations::spawn_task(future))
    }
}

impl Yields for Kimojio {
    fn yield_now(&self) -> impl Future<Output = ()> {
        operations::yield_io()
    }
}

impl Timers for Kimojio {
    async fn sleep(duration: Duration) {
        operations::sleep(duration).await.unwrap();
    }
}

gathers_by_join_all!(Kimojio);

impl Oneshots for Kimojio {
    type Sender<T: 'static> = SenderOneshot<T>;
    type Receiver<T: 'static> = ReceiverOneshot<T>;

    fn oneshot<T: 'static>() -> (SenderOneshot<T>, ReceiverOneshot<T>) {
        kimojio::oneshot()
    }

    fn send<T: 'static>(sender: SenderOneshot<T>, value: T) {
        let _ = sender.send(value);
    }

    async fn receive<T: 'static>(receiver: ReceiverOneshot<T>) -> T {
        receiver.recv().await.unwrap()
    }
}

impl Channels for Kimojio {
    type Sender = Sender<u64>;
    type Receiver = Receiver<u64>;

    fn channel() -> (Self::Sender, Self::Receiver) {
        kimojio::async_channel()
    }

    async fn send(sender: &mut Self::Sender, message: u64) {
        sender.send(message).await.unwrap();
    }

    async fn receive(receiver: &mut Self::Receiver) -> Option<u64> {
        receiver.recv().await.ok()
    }
}

impl Reuse for Kimojio {
    type Loop = kimojio::Runtime;

    fn make() -> kimojio::Runtime {
        // By default, a run ends after all its tasks. One of these tasks reads a message that each
        // run leaves in a pipe. Without this task, the pipe of a reused runtime would fill up.
        kimojio::Runtime::new(0, Configuration::new())
    }

    fn run_on<T: 'static>(kept: &mut kimojio::Runtime, main: impl Future<Output = T> + 'static) -> T {
        let result = kept.block_on(main).expect("nobody shuts the loop down");
        result.unwrap_or_else(|payload| resume_unwind(payload))
    }
}
