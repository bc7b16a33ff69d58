//! The traits of runtimes: one that every runtime implements, and one for each optional ability.
//!
//! A runtime that lacks an ability does not implement its trait, and then has no cases that need
//! the ability. An error is a panic.

use std::time::Duration;

/// A measured runtime. The program keeps a value of this type while it runs.
pub trait Runtime: Clone + 'static {
    /// Returned by `spawn`; awaiting it returns the task's result.
    type Handle<T: 'static>: IntoFuture<Output = T> + 'static;

    /// Creates a runtime, runs `main` on it, and drops it.
    fn run<T: 'static, F>(main: impl FnOnce(Self) -> F) -> T
    where
        F: Future<Output = T> + 'static;

    /// Spawns a task.
    fn spawn<F>(&self, future: F) -> Self::Handle<F::Output>
    where
        F: Future<Output: 'static> + 'static;
}

/// The runtime's own yield.
pub trait Yields: Runtime {
    /// Lets other tasks run first.
    fn yield_now(&self) -> impl Future<Output = ()>;
}

/// Timers.
pub trait Timers: Runtime {
    /// Waits for `duration`.
    fn sleep(duration: Duration) -> impl Future<Output = ()> + 'static;
}

/// Waits for all of several tasks, in the way that users of the runtime would choose.
pub trait Gathers: Runtime {
    /// Runs each future as a task, and collects their results.
    fn gather<F>(&self, futures: impl Iterator<Item = F> + 'static) -> impl Future<Output = Vec<u64>>
    where
        F: Future<Output = u64> + 'static;
}

/// A channel for one value, of the kind that users of the runtime would choose.
pub trait Oneshots: Runtime {
    /// The sending end.
    type Sender<T: 'static>: 'static;
    /// The receiving end.
    type Receiver<T: 'static>: 'static;

    /// Creates the two ends.
    fn oneshot<T: 'static>() -> (Self::Sender<T>, Self::Receiver<T>);
    /// Sends the value.
    fn send<T: 'static>(sender: Self::Sender<T>, value: T);
    /// Waits for the value.
    fn receive<T: 'static>(receiver: Self::Receiver<T>) -> impl Future<Output = T>;
}

/// A bounded channel, of the kind that users of the runtime would choose.
pub trait Channels: Runtime {
    /// The sending end.
    type Sender: 'static;
    /// The receiving end.
    type Receiver: 'static;

    /// Creates a channel with room for one message.
    fn channel() -> (Self::Sender, Self::Receiver);
    /// Sends a message when there is room.
    fn send(sender: &mut Self::Sender, message: u64) -> impl Future<Output = ()>;
    /// Waits for a message. Returns `None` when the channel is closed and empty.
    fn receive(receiver: &mut Self::Receiver) -> impl Future<Output = Option<u64>>;
}

/// A runtime that can be reused for several runs.
pub trait Reuse: Runtime {
    /// The reused object.
    type Loop;

    /// Creates the reused object.
    fn make() -> Self::Loop;
    /// Runs a future on it until the future is ready.
    fn run_on<T: 'static>(kept: &mut Self::Loop, main: impl Future<Output = T> + 'static) -> T;
}
