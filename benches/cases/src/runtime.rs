//! What a runtime must have to be measured, and what it may have beyond that.
//!
//! A runtime that lacks an ability does not implement its trait, and has no such case. Errors are panics.

use std::time::Duration;

/// A runtime under measurement. A value of it is what a program holds while it runs.
pub trait Runtime: Clone + 'static {
    /// What `spawn` gives: awaited, it gives the task's result.
    type Handle<T: 'static>: IntoFuture<Output = T> + 'static;

    /// Makes a runtime, runs `main` on it, and drops it.
    fn run<T: 'static, F>(main: impl FnOnce(Self) -> F) -> T
    where
        F: Future<Output = T> + 'static;

    /// Starts a task.
    fn spawn<F>(&self, future: F) -> Self::Handle<F::Output>
    where
        F: Future<Output: 'static> + 'static;
}

/// The runtime's own way to let others go first.
pub trait Yields: Runtime {
    /// Lets others go first.
    fn yield_now(&self) -> impl Future<Output = ()>;
}

/// Waiting for a moment.
pub trait Timers: Runtime {
    /// Waits for `duration`.
    fn sleep(duration: Duration) -> impl Future<Output = ()> + 'static;
}

/// Waiting for all of several tasks, in the way that the runtime's users would choose.
pub trait Gathers: Runtime {
    /// Runs each future as a task and collects what they return.
    fn gather<F>(&self, futures: impl Iterator<Item = F> + 'static) -> impl Future<Output = Vec<u64>>
    where
        F: Future<Output = u64> + 'static;
}

/// A channel for one value, the one that the runtime's users would choose.
pub trait Oneshots: Runtime {
    /// The end that sends.
    type Sender<T: 'static>: 'static;
    /// The end that receives.
    type Receiver<T: 'static>: 'static;

    /// Makes the two ends.
    fn oneshot<T: 'static>() -> (Self::Sender<T>, Self::Receiver<T>);
    /// Sends the value.
    fn send<T: 'static>(sender: Self::Sender<T>, value: T);
    /// Waits for the value.
    fn receive<T: 'static>(receiver: Self::Receiver<T>) -> impl Future<Output = T>;
}

/// A bounded channel, the one that the runtime's users would choose.
pub trait Channels: Runtime {
    /// The end that sends.
    type Sender: 'static;
    /// The end that receives.
    type Receiver: 'static;

    /// Makes a channel with room for one message.
    fn channel() -> (Self::Sender, Self::Receiver);
    /// Sends a message when there is room.
    fn send(sender: &mut Self::Sender, message: u64) -> impl Future<Output = ()>;
    /// Waits for a message; `None` when there will be none any more.
    fn receive(receiver: &mut Self::Receiver) -> impl Future<Output = Option<u64>>;
}

/// A runtime that can be kept between two runs.
pub trait Reuse: Runtime {
    /// What is kept.
    type Loop;

    /// Makes it.
    fn make() -> Self::Loop;
    /// Runs a future on it to its end.
    fn run_on<T: 'static>(kept: &mut Self::Loop, main: impl Future<Output = T> + 'static) -> T;
}
