//! The feature `stream`: results in the order of completion, messages, items of queues, ticks and
//! signals are streams; futures and streams say whether they are over.
#![cfg(feature = "stream")]

mod common;

use common::{ms, virtual_loop};
use futures_util::future::FusedFuture;
use futures_util::stream::{FusedStream, select};
use futures_util::{FutureExt, Stream, StreamExt, TryStreamExt, poll, select_biased};
use onelane::sync::{
    Event, LifoQueue, Lock, PriorityQueue, Queue, QueueStream, Semaphore, channel, oneshot, unbounded,
};
use onelane::{Elapsed, Sleep, as_completed, interval, local, sleep, spawn, time, timeout, wait, yield_now};
use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

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

#[test]
fn stream_messages_until_the_senders_are_gone() {
    virtual_loop().run(async {
        let (sender, mut receiver) = channel(1);
        assert_eq!(receiver.size_hint(), (0, None));
        let sending = spawn(async move {
            for n in 1..=3 {
                sleep(ms(1)).await;
                sender.send(n).await.unwrap();
            }
        });
        assert_eq!(StreamExt::next(&mut receiver).await, Some(1));
        assert!(!receiver.is_terminated());
        assert_eq!(receiver.by_ref().collect::<Vec<_>>().await, [2, 3]);
        assert!(receiver.is_terminated());
        assert_eq!(receiver.size_hint(), (0, Some(0)));
        sending.await.unwrap();
    });
}

/// A poll of the stream has taken a place. A `recv` takes the place over, so that no message goes
/// to a stream that is not polled.
#[test]
fn take_over_the_place_of_the_stream() {
    virtual_loop().run(async {
        let (sender, mut receiver) = unbounded();
        assert!(StreamExt::next(&mut receiver).now_or_never().is_none());
        let copy = sender.clone();
        spawn(async move { copy.try_send(1).unwrap() });
        assert_eq!(receiver.recv().await, Some(1));
        // The place was given a message before `recv` came.
        assert!(StreamExt::next(&mut receiver).now_or_never().is_none());
        sender.try_send(2).unwrap();
        assert_eq!(receiver.recv().await, Some(2));
        assert!(StreamExt::next(&mut receiver).now_or_never().is_none());
        sender.try_send(3).unwrap();
        assert_eq!((receiver.try_recv(), receiver.size_hint()), (Ok(3), (0, None)));
        drop(sender);
        assert_eq!(StreamExt::next(&mut receiver).await, None);
    });
}

/// Each item goes to one stream, in the order in which the streams have come. A stream that is
/// dropped passes on what it was given.
#[test]
fn share_a_queue_among_streams() {
    virtual_loop().run(async {
        let queue = Rc::new(Queue::unbounded());
        let [mut one, mut two] = [(); 2].map(|()| QueueStream::new(queue.clone()));
        assert!(poll!(one.next()).is_pending());
        assert!(poll!(two.next()).is_pending());
        queue.try_put('a').unwrap();
        queue.try_put('b').unwrap();
        yield_now().await;
        assert_eq!(two.next().now_or_never(), Some(Some('a')));
        assert_eq!(one.next().now_or_never(), Some(Some('b')));

        assert!(poll!(one.next()).is_pending());
        assert!(poll!(two.next()).is_pending());
        queue.try_put('c').unwrap();
        drop(one);
        assert_eq!(two.next().await, Some('c'));
        queue.shutdown(false);
        assert_eq!((two.next().await, two.is_terminated(), two.size_hint()), (None, true, (0, Some(0))));
    });
}

#[test]
fn stream_every_kind_of_queue() {
    virtual_loop().run(async {
        let (lifo, smallest) = (LifoQueue::unbounded(), PriorityQueue::unbounded());
        for n in [2, 3, 1] {
            lifo.try_put(n).unwrap();
            smallest.try_put(n).unwrap();
        }
        lifo.shutdown(false);
        smallest.shutdown(false);
        assert_eq!(lifo.stream().collect::<Vec<_>>().await, [1, 3, 2]);
        assert_eq!(QueueStream::new(smallest).collect::<Vec<_>>().await, [1, 2, 3]);
    });
}

#[test]
fn stream_ticks_beside_messages() {
    virtual_loop().run(async {
        let begun = time();
        let (sender, receiver) = unbounded();
        sender.try_send("message").unwrap();
        let ticks = interval(ms(2)).skip(1).take(2).map(|_| "tick");
        let both = select(ticks, receiver.take(1)).map(|what| (what, (time() - begun).as_millis()));
        assert_eq!(both.collect::<Vec<_>>().await, [("message", 0), ("tick", 2), ("tick", 4)]);
        assert!(!interval(ms(1)).is_terminated());
    });
}

#[cfg(all(unix, feature = "signals", feature = "report"))]
#[test]
fn stream_signals_and_show_the_wait() {
    use onelane::{EventLoop, call_graph, signals};
    EventLoop::new().run(async {
        let hangups = signals::listen(signals::SIGWINCH).unwrap();
        let seen = Rc::new(Cell::new(0));
        let copy = seen.clone();
        let task = spawn(hangups.take(2).for_each(move |()| {
            copy.set(copy.get() + 1);
            std::future::ready(())
        }));
        yield_now().await;
        let wait = call_graph().task(task.id()).unwrap().waits_for[0].clone();
        assert_eq!((&*wait.what, wait.at.file()), ("signal SIGWINCH", file!()));
        for count in 1..=2 {
            signal_hook::low_level::raise(signals::SIGWINCH).unwrap();
            while seen.get() < count {
                sleep(ms(1)).await;
            }
        }
        assert_eq!(task.await, Ok(()));
    });
}

#[test]
fn stream_from_a_send_wrapper() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    virtual_loop().run(async {
        let results = is_send(local(as_completed([2, 1].map(sleeper))));
        assert_eq!(results.size_hint(), (0, Some(2)));
        assert!(!results.is_terminated());
        assert_eq!(results.map(Result::unwrap).collect::<Vec<_>>().await, [1, 2]);
    });
}

/// Polls the future until it is ready, and checks that it then says so.
async fn ends<F: FusedFuture>(future: F) -> F::Output {
    let mut future = pin!(future);
    assert!(!future.is_terminated(), "it has not begun");
    let output = future.as_mut().await;
    assert!(future.is_terminated(), "it is ready");
    output
}

#[test]
fn say_that_they_are_over() {
    virtual_loop().run(async {
        ends(sleep(ms(1))).await;
        assert_eq!(ends(timeout(ms(1), sleep(ms(5)))).await, Err(Elapsed));
        assert_eq!(ends(timeout(ms(5), sleep(ms(1)))).await, Ok(()));
        ends(wait([spawn(async {})])).await;
        let (lock, semaphore, event) = (Rc::new(Lock::new(())), Semaphore::new(1), Event::new());
        drop(ends(lock.lock()).await);
        drop(ends(lock.lock_owned()).await);
        drop(ends(semaphore.acquire()).await);
        event.set();
        ends(event.wait()).await;
        let queue = Queue::bounded(1);
        ends(queue.put(1)).await.unwrap();
        assert_eq!(ends(queue.get()).await, Ok(1));
        queue.task_done();
        ends(queue.join()).await;
        let (sender, receiver) = channel(1);
        ends(sender.send(1)).await.unwrap();
        assert_eq!(ends(receiver.recv()).await, Some(1));
        let (sender, receiver) = oneshot();
        sender.send(1).unwrap();
        assert_eq!(ends(receiver).await, Ok(1));
        let mut finished = as_completed([sleep(ms(1))]);
        assert!(!finished.is_terminated());
        assert_eq!(poll!(StreamExt::next(&mut finished)), Poll::Pending);
        assert!(!finished.is_terminated(), "one is on its way");
        assert_eq!(StreamExt::next(&mut finished).await, Some(Ok(())));
        assert!(finished.is_terminated());
        assert!(as_completed(Vec::<Sleep>::new()).timeout(ms(1)).is_terminated());
    });
}

/// They need no `fuse` in the `select!` of futures.
#[test]
fn select_in_a_loop() {
    virtual_loop().run(async {
        let (mut late, mut seen) = (sleep(ms(5)), Vec::new());
        let (sender, mut receiver) = unbounded();
        sender.try_send(1).unwrap();
        drop(sender);
        loop {
            select_biased! {
                message = receiver.select_next_some() => seen.push(message),
                () = late => seen.push(5),
                complete => break,
            }
        }
        assert_eq!(seen, [1, 5]);
    });
}
