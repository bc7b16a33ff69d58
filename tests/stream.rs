//! The feature `stream`: results in the order of completion are a `futures_core::Stream`.
#![cfg(feature = "stream")]

mod common;

use common::{ms, virtual_loop};
use futures_util::{FutureExt, Stream, StreamExt, TryStreamExt};
use onelane::{Elapsed, as_completed, sleep};

async fn sleeper(n: u64) -> u64 {
    sleep(ms(n)).await;
    n
}

#[test]
fn stream_results_as_they_come() {
    virtual_loop().run(async {
        let results = as_completed([3, 1, 2].map(sleeper));
        assert_eq!(results.size_hint(), (0, Some(3)));
        let doubled = results.map(|result| result.unwrap() * 2).collect::<Vec<_>>();
        assert_eq!(doubled.await, [2, 4, 6]);
    });
}

#[test]
fn stream_results_within_a_time() {
    virtual_loop().run(async {
        let mut results = as_completed([3, 1, 9].map(sleeper)).timeout(ms(5));
        assert_eq!(results.try_next().await, Ok(Some(Ok(1))));
        assert_eq!(results.next().await, Ok(Some(Ok(3))), "its own `next` and the stream's share what is left");
        assert_eq!(results.try_next().await, Err(Elapsed));
        assert_eq!(results.try_next().await, Ok(None));
    });
}

/// A poll of the stream is dropped. The next poll of the stream continues it, and keeps its place
/// in the queue.
#[test]
fn give_up_a_poll_of_the_stream() {
    virtual_loop().run(async {
        let mut results = as_completed([1, 2].map(sleeper));
        assert!(StreamExt::next(&mut results).now_or_never().is_none());
        assert_eq!((results.len(), results.size_hint()), (1, (0, Some(2))));
        let other = results.next();
        assert_eq!(StreamExt::next(&mut results).await, Some(Ok(1)));
        assert_eq!(other.await, Some(Ok(2)));
        assert_eq!(StreamExt::next(&mut results).await, None);
    });
}
