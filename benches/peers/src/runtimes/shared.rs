//! Code that several runtimes share: gathers by `join_all` over spawned tasks, and the oneshots and
//! channels of `futures`.
//!
//! These are macros because each implements a trait of `onelane-cases` for a type of another file.

/// A gather spawns all futures, and awaits the tasks by `futures::future::join_all`.
macro_rules! gathers_by_join_all {
    ($runtime:ty) => {
        impl onelane_cases::runtime::Gathers for $runtime {
            async fn gather<F>(&self, futures: impl Iterator<Item = F> + 'static) -> Vec<u64>
            where
                F: Future<Output = u64> + 'static,
            {
                ::futures::future::join_all(futures.map(|future| self.spawn(future))).await
            }
        }
    };
}

/// Oneshots are the oneshots of `futures`.
macro_rules! oneshots_of_futures {
    ($runtime:ty) => {
        impl onelane_cases::runtime::Oneshots for $runtime {
            type Sender<T: 'static> = ::futures::channel::oneshot::Sender<T>;
            type Receiver<T: 'static> = ::futures::channel::oneshot::Receiver<T>;

            fn oneshot<T: 'static>() -> (Self::Sender<T>, Self::Receiver<T>) {
                ::futures::channel::oneshot::channel()
            }

            fn send<T: 'static>(sender: Self::Sender<T>, value: T) {
                let _ = sender.send(value);
            }

            async fn receive<T: 'static>(receiver: Self::Receiver<T>) -> T {
                receiver.await.unwrap()
            }
        }
    };
}

/// Channels are the channels of `futures`.
macro_rules! channels_of_futures {
    ($runtime:ty) => {
        impl onelane_cases::runtime::Channels for $runtime {
            type Sender = ::futures::channel::mpsc::Sender<u64>;
            type Receiver = ::futures::channel::mpsc::Receiver<u64>;

            fn channel() -> (Self::Sender, Self::Receiver) {
                // Each sender adds room for one message to this number.
                ::futures::channel::mpsc::channel(0)
            }

            async fn send(sender: &mut Self::Sender, message: u64) {
                ::futures::SinkExt::send(sender, message).await.unwrap();
            }

            async fn receive(receiver: &mut Self::Receiver) -> Option<u64> {
                ::futures::StreamExt::next(receiver).await
            }
        }
    };
}

pub(super) use {channels_of_futures, gathers_by_join_all, oneshots_of_futures};
