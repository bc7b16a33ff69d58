//! async-local-executor, run as its `block_on` does it, and with its sister crate for oneshots.

use super::Peer;
use super::shared::gathers_by_join_all;
use async_local_channel::oneshot;
use async_local_executor::{Executor, JoinHandle};
use onelane_cases::runtime::{Oneshots, Reuse, Runtime};
use onelane_cases::{basics, foreign_wakes, gathers, oneshots, runs};
use std::thread;

pub(super) fn peer() -> Peer {
    Peer::of(
        "async-local-executor",
        "async-local-executor",
        "`block_on` and `spawn_local`, oneshots of `async-local-channel`, `futures::future::join_all` over spawned tasks for \
         gathers. It does not catch panics, keeps no record of what a task waits for, and has no timers, no driver and no \
         `yield_now`. Its channels are unbounded, so it does not take part in `channel-chain`. If a task completes after it was \
         woken again, the loop goes to sleep even if other tasks are ready. A wake from a thread that runs such an executor \
         itself is lost. Neither happens in the cases.",
        [basics::<Local>(), gathers::<Local>(), oneshots::<Local>(), foreign_wakes::<Local>(), runs::<Local>()]
            .concat(),
    )
}

#[derive(Clone)]
struct Local;

impl Runtime for Local {
    type Handle<T: 'static> = JoinHandle<T>;

    fn run<T: 'static, F>(main: impl FnOnce(Self) -> F) -> T
    where
        F: Future<Output = T> + 'static,
    {
        async_local_executor::block_on(main(Local))
    }

    fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: 'static> + 'static,
    {
        async_local_executor::spawn_local(future)
    }
}

gathers_by_join_all!(Local);

impl Oneshots for Local {
    type Sender<T: 'static> = oneshot::Sender<T>;
    type Receiver<T: 'static> = oneshot::Receiver<T>;

    fn oneshot<T: 'static>() -> (oneshot::Sender<T>, oneshot::Receiver<T>) {
        oneshot::channel()
    }

    fn send<T: 'static>(sender: oneshot::Sender<T>, value: T) {
        let _ = sender.send(value);
    }

    async fn receive<T: 'static>(receiver: oneshot::Receiver<T>) -> T {
        receiver.recv().await.unwrap()
    }
}

impl Reuse for Local {
    type Loop = Executor;

    fn make() -> Executor {
        let thread = thread::current();
        Executor::new(move || thread.unpark())
    }

    /// The same as the crate's `block_on`, which makes an executor for each run.
    fn run_on<T: 'static>(kept: &mut Executor, main: impl Future<Output = T> + 'static) -> T {
        let _entered = kept.enter();
        let main = async_local_executor::spawn_local(async move {
            let result = main.await;
            async_local_executor::exit();
            result
        });
        loop {
            async_local_executor::run_ready_tasks();
            if main.is_finished() {
                return main.result().unwrap();
            }
            thread::park();
        }
    }
}
